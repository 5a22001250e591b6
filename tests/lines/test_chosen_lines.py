"""What commands look at: lines with the transformers of files and of a cluster, and what cannot be loaded of them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.cli.common import chosen_line, chosen_lines
from platform_assets.features.transformer_objects import record, registration_of
from platform_assets.features.transformer_spec import read_transformer
from platform_assets.lines.line import Lines, load_line, with_transformers
from platform_assets.manifest import ManifestError
from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings
from tests.features.shops import WOE, ZSCORE, declared, write_line, write_transformer


def test_commands_know_what_is_registered_on_a_cluster(tmp_path: Path) -> None:
    """As the code location does: by the line's name, and of a spec that is given."""
    spec = write_line(tmp_path, transformers="sales_woe@latest")
    settings = PlatformSettings(home=tmp_path / "home", specs=(spec,))
    outside = OutsideSystems(settings.model_copy(update={"profile": "cluster"}))
    content = read_transformer(write_transformer(tmp_path / "object", "sales_woe", WOE)).content
    record(outside.ledger, registration_of(content, namespace="risk", uid="u", generation=1))

    for line in (chosen_line(outside, "sales", None), chosen_line(outside, None, spec)):
        assert set(line.transformers) == {"sales_woe"}
    assert [line.name for line in chosen_lines(outside, None).sound] == ["sales"]
    with pytest.raises(ManifestError, match="there is no transformer sales_woe"):
        chosen_line(OutsideSystems(settings), None, spec)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose settings name a line, and a folder `declared` of transformers."""
    spec = write_line(tmp_path, transformers="sales_woe@latest")
    write_transformer(tmp_path / "declared", "sales_woe", WOE)
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PLATFORM_SPECS", json.dumps([str(spec)]))
    monkeypatch.setenv("PLATFORM_TRANSFORMERS", json.dumps([str(tmp_path / "declared")]))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    return tmp_path


def test_a_given_spec_has_no_transformer_of_its_assets_names(shop: Path) -> None:
    """One error with the transformer's file, and not two assets of one key; a dataset of another line may be read."""
    spec = write_line(shop / "other", "resale", transformers="resale_model@latest")
    write_transformer(shop / "declared", "resale_model", WOE)
    outside = OutsideSystems(PlatformSettings())

    with pytest.raises(
        ManifestError, match=r"resale_model\.yaml: metadata.name: resale_model is the name of a"
    ):
        chosen_line(outside, None, spec)
    write_line(shop / "other", "resale", transformers="sales_woe@latest")
    assert set(chosen_line(outside, None, spec).transformers) == {"sales_woe"}


def test_status_tells_of_broken_transformers(shop: Path) -> None:
    """All of them, or those that the asked line uses; the lines go on."""
    write_transformer(shop / "declared", "wrong_woe", WOE, columns=[])

    told = CliRunner().invoke(app, ["status", "--json"], catch_exceptions=False)
    shown = CliRunner().invoke(app, ["status"], catch_exceptions=False)
    of_line = CliRunner().invoke(app, ["status", "sales", "--json"], catch_exceptions=False)

    (broken,) = json.loads(told.stdout)["broken_transformers"]
    assert broken["transformer"] == "wrong_woe"
    assert broken["declared_in"] == str(shop / "declared" / "wrong_woe.yaml")
    assert "columns" in broken["problem"]
    assert set(json.loads(told.stdout)["lines"]) == {"sales"}
    assert "transformer wrong_woe\n  broken    " in shown.stdout
    assert json.loads(of_line.stdout)["broken_transformers"] == []


def test_a_file_that_cannot_be_read_is_named_where_a_transformer_is_missed(shop: Path) -> None:
    """Its name is in there, where nobody can read it."""
    unread = shop / "declared" / "weights.yaml"
    (shop / "declared" / "sales_woe.yaml").rename(unread)
    unread.write_text("metadata: {name: [", encoding="utf-8")

    (broken,) = chosen_lines(OutsideSystems(PlatformSettings()), None).broken

    assert "there is no transformer sales_woe; known are" in broken.problem
    assert broken.problem.endswith(f"these cannot be loaded: {unread}")


def test_no_transformer_has_a_name_of_former_tables(tmp_path: Path) -> None:
    """Its table would be the one in which features of earlier releases lie."""
    lines = Lines((load_line(write_line(tmp_path)),), ())
    found = declared(write_transformer(tmp_path, "sales_tokens", ZSCORE))

    _, beside = with_transformers(lines, found)

    assert not beside.sound
    assert "sales_tokens is the name of a line or of an asset, or one that the platform keeps" in (
        beside.broken[0].problem
    )
