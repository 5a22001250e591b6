"""A line whose production people move: from staging to production and back, and what its spec may say of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from platform_assets.cli import app
from platform_assets.governance import release as releases
from platform_assets.governance.errors import PromotionRefusedError
from platform_assets.governance.review_rule import ReviewRule
from platform_assets.lines.line import LineError, load_line
from platform_assets.lines.runner import RunOutcome, run_line
from platform_assets.manifest import ManifestError
from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings
from tests.reviewing import ReviewersRepository, person
from tests.tasks.toys import toy_task, write_line

DEPLOY = [
    {"subject": "dataset", "rule_set": "contract.schema"},
    {"subject": "model", "rule_set": "gate.auc"},
]
PROMOTE = [
    {"subject": "dataset", "rule_set": "contract.labels"},
    {"subject": "model", "rule_set": "gate.beats_baseline"},
    {"subject": "model", "rule_set": "gate.odd_share"},
    {"review": {"role": "radiologist"}},
]
PEOPLE = (
    person(principals=["lee"]),
    person(id="kay", name="Dr. Kay", emails=["kay@hospital.example"], principals=["kay"]),
    person(id="grace", name="Grace", roles=[], emails=["grace@hospital.example"], principals=["grace"]),
)


@pytest.fixture(scope="module", autouse=True)
def _toy() -> Iterator[None]:
    """The toy is a task while these tests run."""
    with toy_task():
        yield


class House:
    """Where the line runs, and who works there."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, patch
        self.write(promote=PROMOTE)

    def write(self, promote: list[dict[str, Any]], **changes: Any) -> Path:
        """The line's spec."""
        deploy = DEPLOY if promote else [*DEPLOY, *PROMOTE[:-1]]
        self.spec = write_line(
            self.folder / "toy", requires={"deploy": deploy, "promote": promote}, **changes
        )
        return self.spec

    def run(self) -> RunOutcome:
        """Brings it up to date."""
        outcome = run_line(load_line(self.spec), self.outside)
        assert outcome.success, outcome.failure
        return outcome

    @property
    def outside(self) -> OutsideSystems:
        """The systems of its home."""
        return OutsideSystems(PlatformSettings())

    def call(self, *arguments: object, user: str = "grace") -> Result:
        """A command, in somebody's name."""
        self.patch.setenv("PLATFORM_PRINCIPAL__USER", user)
        return CliRunner().invoke(app, [*map(str, arguments)])

    def done(self, *arguments: object, user: str = "grace") -> str:
        """What a command prints that does what it is told."""
        result = self.call(*arguments, user=user)
        assert result.exit_code == 0, (result.output, result.exception)
        return result.stdout

    def approve(self, number: int) -> None:
        """Two radiologists, since nobody knows who wrote the spec."""
        for user in ("lee", "kay"):
            self.done(
                *(
                    "review",
                    "toy",
                    "--version",
                    number,
                    "--by",
                    user,
                    "--decision",
                    "approve",
                    "--comment",
                    "good",
                ),
                user=user,
            )

    @property
    def stages(self) -> dict[str, int | None]:
        """Number of the version in each stage, by the ledger; and by MLflow alike."""
        ledger, shown = self.outside.ledger, self.outside.model_registry.shown("toy")
        found = {}
        for stage in ("production", "staging"):
            release = releases.active(ledger, "toy", stage)
            found[stage] = release.card.registered.number if release else None
            named = [number for number, each in shown.versions.items() if each.stage == stage.title()]
            # MLflow has one stage for a version, also where another release of the one in production is in staging.
            is_shown = release is not None and (stage == "production" or found[stage] != found["production"])
            assert named == [found[stage]] * is_shown
            assert shown.aliases.get(stage) == found[stage]
        return found


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """With people in a repository of their own."""
    repository = ReviewersRepository(tmp_path / "people")
    repository.commit(*PEOPLE)
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "platform"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "platform" / "dagster"))
    monkeypatch.setenv("PLATFORM_SPECS", json.dumps([str(tmp_path / "toy" / "training-spec.yaml")]))
    monkeypatch.setenv("PLATFORM_REVIEWERS", str(repository.file))
    return House(tmp_path, monkeypatch)


PROMOTION = ("promote", "toy", "--by", "grace", "--reason", "reviewed")


@pytest.mark.long
def test_a_run_ends_in_staging_and_people_do_the_rest(house: House) -> None:
    """Staged, reviewed and promoted: ledger, MLflow, answers and runs agree all along."""
    house.run()
    assert house.stages == {"production": None, "staging": 1}
    assert "--stage staging" in str(house.call("predict", "toy", "7").exception)
    assert (
        json.loads(house.done("predict", "toy", "7", "--json", "--stage", "staging"))[0]["model_version"] == 1
    )
    dry = house.call(*PROMOTION, "--version", 1, "--dry-run")
    assert dry.exit_code == 1
    assert "missing  2 people (radiologist) must approve" in dry.stdout
    assert isinstance(house.call(*PROMOTION, "--version", 1).exception, PromotionRefusedError)
    assert house.stages == {"production": None, "staging": 1}

    house.approve(1)
    assert "would get to production" in house.done(*PROMOTION, "--version", 1, "--dry-run")
    assert json.loads(house.done(*PROMOTION, "--version", 1, "--json"))["version"] == 1
    assert house.stages == {"production": 1, "staging": None}
    assert json.loads(house.done("predict", "toy", "7", "--json"))[0]["model_version"] == 1
    assert "has nothing in staging" in str(house.call("predict", "toy", "7", "--stage", "staging").exception)
    assert {step.outcome for step in house.run().steps} == {"reused"}
    assert "no version was in production before" in str(
        house.call("demote", "toy", "--by", "grace", "--reason", "odd").exception
    )


@pytest.mark.long
def test_a_version_is_replaced_and_people_go_back(house: House) -> None:
    """Replaced, demoted, rolled back: ledger, MLflow, answers and runs agree all along."""
    house.run()
    house.approve(1)
    house.done(*PROMOTION, "--version", 1)
    house.write(PROMOTE, modulus=4)
    house.run()
    assert house.stages == {"production": 1, "staging": 2}
    assert json.loads(house.done("predict", "toy", "7", "--json"))[0]["model_version"] == 1
    assert {step.outcome for step in house.run().steps} == {"reused"}
    house.approve(2)
    house.done(*PROMOTION, "--version", 2)
    assert house.stages == {"production": 2, "staging": None}
    shown = house.outside.model_registry.shown("toy").versions
    assert (shown[1].stage, shown[1].tags["stage"]) == ("Archived", "archived")
    assert "already" in house.done(*PROMOTION, "--version", 2)

    assert "would get" in house.done("demote", "toy", "--by", "grace", "--reason", "odd", "--dry-run")
    house.done("demote", "toy", "--by", "grace", "--reason", "odd")
    assert house.stages == {"production": 1, "staging": None}
    assert {step.outcome for step in house.run().steps} == {"reused"}
    assert house.stages == {"production": 1, "staging": None}

    back = ("rollback", "toy_version@2", "--reason", "even so")
    assert "name yourself with --by" in str(house.call(*back).exception)
    assert "went back from this version (odd)" in str(house.call(*back, "--by", "grace").exception)
    house.approve(2)
    house.done(*back, "--by", "grace")
    assert house.stages == {"production": 2, "staging": None}
    # As a kill before the registry followed would leave it; a run of a pinned line, which makes nothing, repairs it.
    house.outside.model_registry.transition("toy", 1, "Production")
    assert house.run().pin is not None
    assert house.stages == {"production": 2, "staging": None}
    acts = [
        entry.body["promotion"]["act"] for entry in house.outside.ledger.entries(kind=releases.ACTIVATION)
    ]
    assert acts == ["promote", "promote", "demote", "rollback"]
    assert house.outside.ledger.verify().ok

    house.spec.write_text("line: toy\n")
    with pytest.raises(LineError, match="only by what its spec demands of a promotion"):
        raise house.call("rollback", "toy_version@1", "--by", "grace").exception or AssertionError


@pytest.mark.long
def test_a_line_that_is_promoted_no_more_deploys_to_production(house: House) -> None:
    """What waited in staging gets there with the next run; once it is promoted again, a new release of it waits."""
    house.run()
    assert house.stages == {"production": None, "staging": 1}
    assert "its deployments go to production" not in str(house.call(*PROMOTION, "--version", 1).exception)

    house.write([])
    steps = {step.stage: step.reason for step in house.run().steps if step.outcome == "done"}
    assert "deployment" in steps
    assert house.stages == {"production": 1, "staging": None}
    assert "its deployments go to production" in str(house.call(*PROMOTION, "--version", 1).exception)
    (entry,) = house.outside.ledger.entries(kind=releases.ACTIVATION)
    assert set(entry.body) == {"release_id", "previous", "reason", "pinned", "verdicts"}

    house.write(PROMOTE)
    house.run()
    assert house.stages == {"production": 1, "staging": 1}
    house.approve(1)
    house.done(*PROMOTION, "--version", 1)
    assert house.stages == {"production": 1, "staging": None}


# --- What a spec may say -----------------------------------------------------------------------------


def spec(folder: Path, **requires: Any) -> Path:
    """A spec that requires this."""
    return write_line(folder, requires={"deploy": DEPLOY, "promote": PROMOTE} | requires)


def test_a_promotion_demands_what_a_deployment_does_and_more(tmp_path: Path) -> None:
    """Each verdict once; gates that stand under promote alone decide something."""
    line = load_line(spec(tmp_path, promote=[DEPLOY[0], *PROMOTE], waivable=["gate.odd_share"]))

    assert line.promotion is not None
    assert [each.rule_set for each in line.requirements] == ["contract.schema", "gate.auc"]
    assert [each.rule_set for each in line.promotion.verdicts.requirements] == [
        "contract.schema",
        "gate.auc",
        "contract.labels",
        "gate.beats_baseline",
        "gate.odd_share",
    ]
    assert line.promotion.reviews == (ReviewRule(role="radiologist"),)
    assert (
        line.promotion.waivable
        == line.promotion.verdicts.waivable
        == line.demands.waivable
        == {"gate.odd_share"}
    )
    assert [each.key.kind for each in line.promotion.conditions] == ["breaker"]
    assert line.deployment_stage == "staging"


def test_without_a_promotion_deployments_go_to_production(tmp_path: Path) -> None:
    """As they always did."""
    line = load_line(spec(tmp_path, deploy=[*DEPLOY, *PROMOTE[:-1]], promote=[]))

    assert line.promotion is None
    assert line.deployment_stage == "production"


@pytest.mark.parametrize(
    ("requires", "told"),
    [
        (
            {"promote": [*PROMOTE, {"subject": "model", "rule_set": "gate.beauty"}]},
            r"requires\.promote\.4\.rule_set: nothing yields verdicts of gate\.beauty",
        ),
        ({"promote": PROMOTE[:-2] + PROMOTE[-1:]}, r"gates\.odd_share: decides nothing"),
        ({"waivable": ["gate.auc", "gate.beauty"]}, r"requires\.waivable\.1: gate\.beauty is not demanded"),
    ],
)
def test_what_nothing_yields_or_demands_is_an_error_of_the_spec(
    tmp_path: Path, requires: dict[str, Any], told: str
) -> None:
    """With file, line and field."""
    with pytest.raises(ManifestError, match=told):
        load_line(spec(tmp_path, **requires))
