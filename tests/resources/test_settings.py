"""Settings: one object, each field from the environment by itself."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from pydantic import ValidationError

from platform_assets.lines.runner import open_instance
from platform_assets.outside_systems import OutsideSystems
from resources.errors import PlatformError, ResourceError
from resources.settings import LockSettings, PlatformSettings, SettingsError, reports_address
from tests.warehouse_factory import TABLE, write

ODD = "b#c%20 d;é&f+g%zz=[1]{2}"
"""A folder whose name has signs that mean something in URLs, to SQL libraries and in configuration files."""


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """No setting but those that a test makes."""
    for name in [name for name in os.environ if name.startswith("PLATFORM_")]:
        monkeypatch.delenv(name)
    return monkeypatch


def test_everything_lies_under_the_home(environment, tmp_path):
    """Without a setting all state is under .platform in the working directory; one variable moves it all."""
    environment.chdir(tmp_path)
    assert PlatformSettings().home == tmp_path / ".platform"
    environment.setenv("PLATFORM_HOME", "elsewhere")
    settings = PlatformSettings()
    assert settings.home == tmp_path / "elsewhere"
    for path in (
        settings.ledger_path,
        settings.objects_path,
        settings.dagster_home,
        settings.checkpoints_path,
        settings.locks_path,
    ):
        assert path.is_relative_to(settings.home)
    for uri in (
        settings.resolved_catalog_uri,
        settings.resolved_warehouse_uri,
        settings.resolved_tracking_uri,
    ):
        assert str(settings.home) in uri
    environment.setenv("PLATFORM_HOME", "~/platform")
    assert PlatformSettings().home == Path.home() / "platform"


def test_whatever_a_home_is_called_all_lies_in_it(environment, tmp_path):
    """Nothing beside it, and nothing where the process works."""
    home, work = tmp_path / ODD, tmp_path / "work"
    work.mkdir()
    environment.chdir(work)
    environment.delenv("DAGSTER_HOME", raising=False)
    outside = OutsideSystems(PlatformSettings(home=home))
    outside.warehouse.publish(write(outside.warehouse, pa.table({"review_id": ["a"]})))
    assert outside.warehouse.current(TABLE).rows == 1
    stored = {"gdpr_class": "internal", "retention_days": 1, "source_commit": "0c0ffee"}
    outside.object_store.put("reports/dev/reviews/1/report.json", b"{}", **stored)
    assert outside.ledger.head().count == 0
    with open_instance(outside.settings) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("reviews"))

    assert sorted(tmp_path.iterdir()) == sorted([home, work])
    assert list(work.iterdir()) == []
    for database in ("dagster/history/runs.db", "ledger/ledger.sqlite", "warehouse/catalog.sqlite"):
        assert (home / database).stat().st_size > 0


@pytest.mark.long
def test_whatever_a_home_is_called_mlflow_keeps_to_it(environment, tmp_path):
    """Its database takes most of the time that all of them need."""
    environment.chdir(tmp_path)
    outside = OutsideSystems(PlatformSettings(home=tmp_path / ODD))
    assert outside.model_registry.find("reviews", "abc") is None
    assert list(tmp_path.iterdir()) == [tmp_path / ODD]
    assert (tmp_path / ODD / "mlflow" / "mlflow.sqlite").stat().st_size > 0


@pytest.mark.parametrize(
    ("home", "why"),
    [
        ("a?b", "'.*/a?b': a SQLite URL ends its path at the `?`"),
        (os.fsdecode(b"caf\xe9"), r"caf\\xe9', which is no UTF-8"),
    ],
    ids=["question mark", "bytes"],
)
def test_a_home_that_no_url_can_name_is_refused(environment, tmp_path, home, why):
    """Dagster and MLflow know no escape: their databases would lie elsewhere, without a word."""
    with pytest.raises(SettingsError, match=why.replace("?b", r"\?b").replace("`?`", r"`\?`")):
        PlatformSettings(home=tmp_path / home)
    with pytest.raises(SettingsError, match="choose"):
        LockSettings(home=tmp_path / home / "deeper")


@pytest.mark.parametrize(
    ("variable", "field"),
    [
        ("PLATFORM_CATALOG_URI", "resolved_catalog_uri"),
        ("PLATFORM_WAREHOUSE_URI", "resolved_warehouse_uri"),
        ("PLATFORM_TRACKING_URI", "resolved_tracking_uri"),
    ],
)
def test_each_outside_system_can_be_set_by_itself(environment, variable, field):
    """A URI from the environment is taken as it is, and moves nothing else."""
    default = PlatformSettings()
    environment.setenv(variable, "outside://system")
    changed = PlatformSettings()
    assert getattr(changed, field) == "outside://system"
    assert changed.ledger_path == default.ledger_path


def test_the_principal_can_be_set_field_by_field(environment):
    """User, groups and labels come from nested variables; what is not set keeps its default."""
    environment.setenv("PLATFORM_PRINCIPAL__USER", "ada")
    environment.setenv("PLATFORM_PRINCIPAL__GROUPS", '["privacy", "auditors"]')
    environment.setenv("PLATFORM_PRINCIPAL__LABELS__ENV", "prod")
    environment.setenv("PLATFORM_PRINCIPAL__CONSENT", "false")
    settings = PlatformSettings()
    assert settings.principal.user == "ada"
    assert settings.principal.groups == ("privacy", "auditors")
    assert (settings.principal.labels.env, settings.principal.labels.region) == ("prod", None)
    assert settings.env == "prod"
    assert not settings.principal.consent


def test_the_principal_can_be_set_as_a_whole(environment):
    """One variable may hold the principal as JSON."""
    environment.setenv("PLATFORM_PRINCIPAL", '{"user": "ada", "labels": {"env": "staging", "region": "eu"}}')
    principal = PlatformSettings().principal
    assert (principal.user, principal.labels.region) == ("ada", "eu")
    assert principal.groups == ("ml-engineers",)


def test_a_local_process_acts_for_whoever_started_it(environment):
    """Without a setting the principal is the user of this machine, in the environment dev."""
    environment.setenv("LOGNAME", "grace")
    principal = PlatformSettings().principal
    assert (principal.user, principal.labels.env, principal.consent) == ("grace", "dev", True)


def test_a_pod_without_a_user_needs_a_principal_only():
    """Where the machine knows no user, as in a pod with a number for one, the setting is enough."""
    program = """
import getpass
def nobody(): raise OSError("no user")
getpass.getuser = nobody
from resources.settings import PlatformSettings
print(PlatformSettings().principal.user)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ
        | {"PLATFORM_PRINCIPAL__USER": "trainer", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "trainer\n", done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "field"),
    [
        ("PLATFORM_PROFILE", "laptop", "profile"),
        ("PLATFORM_PRINCIPAL__USER", "", "principal.user"),
        ("PLATFORM_PRINCIPAL__LABELS__ENV", "Prod env", "principal.labels.env"),
        ("PLATFORM_PRINCIPAL__LABELS__ENV", "../prod", "principal.labels.env"),
        ("PLATFORM_PRINCIPAL__ROLE", "admin", "principal.role"),
        ("PLATFORM_PRINCIPAL__CONSENT", "perhaps", "principal.consent"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(environment, variable, value, field):
    """A value out of its range, or a field that the principal does not have, names the field."""
    environment.setenv(variable, value)
    with pytest.raises(ValidationError) as caught:
        PlatformSettings()
    (error,) = caught.value.errors()
    assert ".".join(map(str, error["loc"])) == field


def test_settings_stay_as_they_were_read(environment):
    """Nobody changes them underway."""
    settings = PlatformSettings()
    with pytest.raises(ValidationError):
        settings.profile = "cluster"


SHARED = {
    "PLATFORM_LEDGER_URI": "postgresql://platform@postgres/platform",
    "PLATFORM_CATALOG_URI": "postgresql://platform@postgres/platform",
    "PLATFORM_WAREHOUSE_URI": "s3://platform/warehouse",
    "PLATFORM_OBJECTS_URI": "s3://platform/objects",
    "PLATFORM_TRACKING_URI": "http://mlflow:5000",
    "PLATFORM_ROW_SALT": "a salt of the tests only",
}
"""What a cluster needs."""


def test_a_cluster_needs_all_state_outside_its_pods(environment):
    """One error names everything that would lie on a pod's disk, each with its variable."""
    environment.setenv("PLATFORM_PROFILE", "cluster")
    with pytest.raises(SettingsError) as refusal:
        PlatformSettings()
    assert [name for name in SHARED if name in str(refusal.value)] == [*SHARED]
    assert isinstance(refusal.value, PlatformError)
    for name, value in SHARED.items():
        environment.setenv(name, value)
    assert PlatformSettings().profile == "cluster"


@pytest.mark.parametrize("value", ["", "sqlite:////data/state.sqlite", "file:///data", "/data", "data"])
@pytest.mark.parametrize("variable", SHARED)
def test_a_cluster_refuses_what_lies_on_a_pods_disk(environment, variable, value):
    """A path is a path under any scheme; the one field that is wrong is named, and no other."""
    environment.setenv("PLATFORM_PROFILE", "cluster")
    for name, shared in SHARED.items():
        environment.setenv(name, shared)
    environment.setenv(variable, "" if variable == "PLATFORM_ROW_SALT" else value)
    with pytest.raises(SettingsError) as refusal:
        PlatformSettings()
    assert [name for name in SHARED if name in str(refusal.value)] == [variable]


def test_a_password_of_the_tracking_server_is_refused(environment):
    """MLflow repeats its address in its messages; the refusal does not."""
    environment.setenv("PLATFORM_TRACKING_URI", "https://ada:s3cret@mlflow:5000")
    with pytest.raises(ValidationError, match="MLFLOW_TRACKING_PASSWORD") as refusal:
        PlatformSettings()
    assert "s3cret" not in str(refusal.value)


def test_other_specs_can_be_served(environment):
    """The specs to serve are a list of paths."""
    environment.setenv("PLATFORM_SPECS", '["a.yaml", "b/c.yaml"]')
    assert PlatformSettings().specs == (Path("a.yaml"), Path("b/c.yaml"))


def test_trusted_proxies_are_networks(environment):
    """From the environment as a list; everybody is none, and neither is a name."""
    environment.setenv("PLATFORM_TRUSTED_PROXIES", '["10.42.0.0/16", "fd00::/8", "192.0.2.1"]')
    assert [str(network) for network in PlatformSettings().trusted_proxies] == [
        "10.42.0.0/16",
        "fd00::/8",
        "192.0.2.1/32",
    ]
    for wrong in ("0.0.0.0/0", "::/0", "ingress", "10.42.0.1/16"):
        environment.setenv("PLATFORM_TRUSTED_PROXIES", f'["{wrong}"]')
        with pytest.raises(ValueError, match="trusted_proxies"):
            PlatformSettings()


@pytest.mark.parametrize(
    ("url", "link"),
    [
        (None, "http://127.0.0.1:3001/objects/cards/dev/line/1/card.html"),
        ("https://reports.example.org/", "https://reports.example.org/objects/cards/dev/line/1/card.html"),
        ("https://example.org/reports", "https://example.org/reports/objects/cards/dev/line/1/card.html"),
    ],
)
def test_links_begin_where_people_reach_the_report_server(environment, tmp_path, url, link):
    """On this machine without a setting; also below a path that a proxy serves it under."""
    if url:
        environment.setenv("PLATFORM_REPORTS_URL", url)
    outside = OutsideSystems(PlatformSettings(home=tmp_path))
    assert outside.report_url("cards/dev/line/1/card.html") == link
    with pytest.raises(ResourceError, match="not a plain relative path"):
        outside.report_url("../x.html")


@pytest.mark.parametrize(
    "url", ["reports.example.org", "ftp://x", "http://", "https://ann:secret@example.org", "https://x/?a=1"]
)
def test_a_link_cannot_begin_otherwise(environment, url):
    """With what is no address of the web, or with what is not for everybody's eyes."""
    environment.setenv("PLATFORM_REPORTS_URL", url)
    with pytest.raises(ValidationError) as refused:
        PlatformSettings()
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://git.acme.com/{commit}",
        "file:///{commit}/{path}",
        "https://ann:secret@git.acme.com/{commit}/{path}",
    ],
)
def test_a_template_of_links_to_code_cannot_be_otherwise(environment, url):
    """It names commit and file, opens in a browser, and tells nobody a password."""
    environment.setenv("PLATFORM_CODE_URL", url)
    with pytest.raises(ValidationError) as refused:
        PlatformSettings()
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "http://127.0.0.1:9"), ("0.0.0.0", "http://127.0.0.1:9"), ("::1", "http://[::1]:9")],
)
def test_a_browser_finds_a_server_by_where_it_listens(host, address):
    """On every address is on this machine's own, too."""
    assert reports_address(host, 9) == address
