"""The model registry ends at what the ledger says: whatever it said before, whoever died, and whoever comes last."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from platform_assets.governance.assets import require_not_gone
from platform_assets.governance.lineage import REGISTRATION
from platform_assets.governance.registry_moves import VersionGoneError, follow, reconcile
from platform_assets.ledger.ledger import Ledger
from resources.locks import FileLocks
from resources.model_registry import MlflowRegistry, RegistryError
from tests.promoting import LINE, Desk
from tests.servers import free_ports


class Counting(MlflowRegistry):
    """MLflow's registry, which counts what is changed, and may be killed at one of them."""

    left: float = float("inf")
    changes: int = 0

    def _changed(self) -> None:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.changes += 1

    def transition(self, *given):
        """As it does; counted."""
        self._changed()
        super().transition(*given)

    def point(self, *given):
        """As it does; counted."""
        self._changed()
        super().point(*given)

    def unpoint(self, *given):
        """As it does; counted."""
        self._changed()
        super().unpoint(*given)

    def tag(self, *given):
        """As it does; counted."""
        self._changed()
        super().tag(*given)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A registry with four versions."""
    folder = tmp_path_factory.mktemp("registry")
    registry = opened(folder)
    for number in range(1, 5):
        registry.register(LINE, fingerprint=f"f{number}", source="s3://b/1", run_id="", tags={})
    return folder


def opened(folder: Path) -> Counting:
    """The registry, as another process would open it."""
    return Counting(f"sqlite:///{folder / 'mlflow.sqlite'}", locks=FileLocks(folder / "locks"))


@pytest.fixture
def registry(place):
    """As it was before anything was deployed."""
    registry = opened(place)
    for number in range(1, 5):
        registry._client.set_model_version_tag(LINE, str(number), "stage", "none")
        registry.transition(LINE, number, "Archived")
    for alias in ("production", "deployed", "staging"):
        registry.unpoint(LINE, alias)
    registry.changes = 0
    return registry


@pytest.fixture
def desk(ledger, clock):
    """Where nothing was staged yet."""
    return Desk(ledger, clock)


def told(registry):
    """Stages, tags and aliases, by what MLflow shows."""
    shown = registry.shown(LINE)
    versions = {number: (each.stage, each.tags["stage"]) for number, each in shown.versions.items()}
    return versions, dict(shown.aliases)


def test_what_is_in_a_stage_is_shown_and_the_former_version_archived(desk, registry):
    """Stage, tag and alias; the tags name the release, and a second time nothing is changed."""
    first = desk.promoted(1)
    desk.promoted(2)
    desk.stage(3)

    assert reconcile(registry, desk.ledger, LINE)
    desk.promoted(4)
    assert reconcile(registry, desk.ledger, LINE)

    versions, aliases = told(registry)
    assert versions == {
        1: ("Archived", "archived"),
        2: ("Archived", "archived"),
        3: ("Archived", "archived"),
        4: ("Production", "production"),
    }
    assert aliases == {"production": 4, "deployed": 4}
    tags = registry.shown(LINE).versions[4].tags
    assert (tags["gate_status"], tags["release_id"]) == (
        "passed",
        desk.asked(first)["ledger"].latest("activation", LINE).body["release_id"],
    )
    before = registry.changes
    assert not reconcile(registry, desk.ledger, LINE)
    assert registry.changes == before


def test_staging_is_shown_beside_production(desk, registry):
    """Each has its alias; what a demotion went back from is archived."""
    first = desk.promoted(1)
    desk.promoted(2)
    desk.stage(3)
    reconcile(registry, desk.ledger, LINE)
    assert told(registry)[1] == {"production": 2, "deployed": 2, "staging": 3}

    desk.bring_back(first)
    reconcile(registry, desk.ledger, LINE)

    versions, aliases = told(registry)
    assert aliases == {"production": 1, "deployed": 1, "staging": 3}
    assert {number: stage for number, (stage, _) in versions.items()} == {
        1: "Production",
        2: "Archived",
        3: "Staging",
        4: "Archived",
    }


def test_a_crash_in_between_is_repaired_on_the_next_start(desk, registry):
    """Wherever it happens; and MLflow is never seen without a version in production meanwhile."""
    desk.promoted(1)
    desk.stage(3)
    reconcile(registry, desk.ledger, LINE)
    desk.promoted(2)
    desk.stage(4)
    crashes = 0
    for at in range(20):  # fewer will do
        registry.left = at
        try:
            reconcile(registry, desk.ledger, LINE)
        except KeyboardInterrupt:
            crashes += 1
            registry.left = float("inf")
            (_,) = [number for number, (stage, _) in told(registry)[0].items() if stage == "Production"]
            assert "production" in told(registry)[1]
        else:
            break

    assert crashes > 0
    registry.left = float("inf")
    assert not reconcile(registry, desk.ledger, LINE)
    versions, aliases = told(registry)
    assert (versions[2], versions[4]) == (("Production", "production"), ("Staging", "staging"))
    assert aliases == {"production": 2, "deployed": 2, "staging": 4}


def test_what_somebody_elses_hand_has_changed_is_put_right(desk, registry):
    """Two versions in production, an alias that leads elsewhere."""
    desk.promoted(1)
    reconcile(registry, desk.ledger, LINE)
    with pytest.warns(FutureWarning):
        registry._client.transition_model_version_stage(LINE, "4", "Production")
    registry.point(LINE, "production", 4)

    assert reconcile(registry, desk.ledger, LINE)

    versions, aliases = told(registry)
    assert [number for number, (stage, _) in versions.items() if stage == "Production"] == [1]
    assert aliases["production"] == 1


def test_a_server_without_stages_shows_aliases_and_tags(desk, registry, monkeypatch):
    """MLflow says that it will have no stages one day."""
    monkeypatch.setattr("mlflow.entities.model_registry.ModelVersion.current_stage", None)
    desk.promoted(1)

    assert reconcile(registry, desk.ledger, LINE)
    assert not reconcile(registry, desk.ledger, LINE)
    versions, aliases = told(registry)
    assert versions[1] == (None, "production")
    assert aliases == {"production": 1, "deployed": 1}


def test_whoever_comes_last_the_registry_ends_at_what_the_ledger_says(desk, registry, place):
    """Several that follow at once, while production moves."""
    desk.promoted(1)
    with ThreadPoolExecutor(3) as pool:
        following = []
        for number in (2, 3, 4):
            desk.promoted(number)
            following.append(
                pool.submit(
                    reconcile,
                    opened(place),
                    Ledger(desk.ledger._store, principal="x", clock=desk.clock),
                    LINE,
                )
            )
        for each in following:
            each.result()

    assert not reconcile(registry, desk.ledger, LINE)
    assert told(registry)[1]["production"] == 4


def test_a_line_that_was_never_deployed_asks_nobody(ledger, tmp_path):
    """So a first run does not wait for a server."""
    assert not reconcile(MlflowRegistry("http://127.0.0.1:1", locks=FileLocks(tmp_path)), ledger, LINE)


def test_a_registry_that_is_away_follows_later(desk, tmp_path, monkeypatch):
    """What the ledger says stands, and the warning says when the registry will."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (port,) = free_ports(1)
    desk.promoted(1)

    warning = follow(MlflowRegistry(f"http://127.0.0.1:{port}", locks=FileLocks(tmp_path)), desk.ledger, LINE)

    assert warning.startswith("the ledger's word on chest stands")
    assert "follows on the next start" in warning
    assert desk.production == 1


def test_a_version_that_the_registry_lacks_is_told_and_hides_no_other(desk, registry):
    """Nobody points at what is not there; what is there is shown as the ledger says."""
    desk.promoted(5)
    registry.point(LINE, "production", 1)
    desk.stage(2)

    with pytest.raises(VersionGoneError, match="version 5 of model chest is not in the registry"):
        reconcile(registry, desk.ledger, LINE)
    shown = registry.shown(LINE)
    assert (shown.aliases, shown.versions[2].stage) == ({"staging": 2}, "Staging")


def test_a_model_whose_version_was_deleted_is_not_registered_under_another_number(desk, registry):
    """The ledger knows it by the number it had, and whoever registers it again is told."""
    model = desk.stage(4).card.registered.report.model
    body = {"name": LINE, "number": 4, "weights_sha256": model.weights_sha256}
    require_not_gone(registry, desk.ledger, LINE, model)
    desk.ledger.append(
        REGISTRATION, f"{LINE}_model@{model.version}", fingerprint=model.fingerprint, body=body
    )

    with pytest.raises(RegistryError, match=r"registered as version 4 of chest .* has it no more"):
        require_not_gone(registry, desk.ledger, LINE, model)
