"""A line with an Experiment: tuned, trained by what was found, and what people are told of it."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.governance import release, verdict
from platform_assets.governance.release import subject_versions
from platform_assets.lines.assets import asset_key
from platform_assets.lines.line import load_line
from platform_assets.lines.plan import training_prefix
from platform_assets.lines.runner import RunOutcome, materialize, open_instance, run_line
from platform_assets.manifest import ManifestError
from platform_assets.models.errors import TrainingError
from platform_assets.models.job_files import files_prefix
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import ModelVersion
from platform_assets.step import recorded_reference
from platform_assets.tuning.declared import RULE_SET
from platform_assets.tuning.errors import TuningError
from platform_assets.tuning.stored import TUNING_FILE, find_tuning
from resources.settings import PlatformSettings
from tests.line_factory import materialize_alone
from tests.tasks.toys import write_line
from tests.tuned_line import EXPERIMENT_FILE, LINE, played_trials, write_experiment, write_tuned_line
from tests.tuning.toy import ToyRunner


@pytest.fixture(scope="module", autouse=True)
def trials() -> Iterator[ToyRunner]:
    """What has been tried: any smoothing but the spec's own is the better one."""
    with played_trials(lambda assignment: [0.5 if assignment["smoothing"] == "1.0" else 0.7]) as runner:
        yield runner


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tuned line, which demands that its Experiment has ended as it should."""
    return write_tuned_line(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def outside(spec: Path) -> Iterator[OutsideSystems]:
    """Systems of a home of its own, which processes and commands find, too."""
    home = spec.parent / "platform"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLATFORM_HOME", str(home))
        patch.setenv("PLATFORM_SPECS", json.dumps([str(spec)]))
        patch.setenv("DAGSTER_HOME", str(home / "dagster"))
        yield OutsideSystems(PlatformSettings())


@pytest.fixture(scope="module")
def outcome(spec: Path, outside: OutsideSystems) -> RunOutcome:
    """What the line's first run came to."""
    return run_line(load_line(spec), outside)


@pytest.fixture
def model(outcome: RunOutcome, outside: OutsideSystems) -> ModelVersion:
    """The model of that run, whatever has been materialized since."""
    assert outcome.success, outcome.failure
    return release.active(outside.ledger, LINE).card.registered.report.model


def newest_model(outside: OutsideSystems) -> ModelVersion:
    """The one that was materialized last."""
    with open_instance(outside.settings) as instance:
        return recorded_reference(instance, dg.AssetKey(f"{LINE}_model"), ModelVersion)


def test_the_model_says_which_trial_its_values_are_of(outside: OutsideSystems, model: ModelVersion) -> None:
    """So do the trace, the state and the card; the tuning has its verdict, and is judged with the model."""
    said = model.tuned_by
    assert said.experiment == "toy-search"
    assert said.assignment == {"smoothing": model.training["smoothing"]}
    assert model.training["smoothing"] > 1.0
    assert subject_versions(model)["tuning"] == said.tuning

    told = CliRunner().invoke(app, ["trace", f"{LINE}_tuning@{said.tuning[:12]}", "--json"])
    found = json.loads(told.stdout)
    assert found["versions"]["tuning"] == said.tuning
    assert found["tuned_by"] == said.model_dump()

    card = json.loads(outside.object_store.get(release.active(outside.ledger, LINE).card.json_ld_key))
    made = card["training_provenance"]
    assert (made["tuning_experiment"], made["tuning_trial"]) == ("toy-search", said.trial)
    assert [(each["name"], each["value"]) for each in made["tuned_values"]] == [*said.assignment.items()]

    (status,) = json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)["lines"].values()
    tuning = status["tuning"]
    assert (tuning["version"], tuning["objective"], tuning["default_value"]) == (said.tuning, "auc", 0.5)

    judged = [
        each.body
        for each in outside.ledger.entries(kind=verdict.KIND, subject=f"{LINE}_tuning@{said.tuning}")
    ]
    assert {(each["rule_set"], each["outcome"]) for each in judged} == {(RULE_SET, "pass")}


def test_an_experiment_that_has_failed_is_executed_again(
    outside: OutsideSystems, spec: Path, model: ModelVersion, trials: ToyRunner
) -> None:
    """What made its trials fail may have been mended; a failed one that is kept bars nobody for ever."""
    folder = model.tuned_by.status_key.rpartition("/")[0]
    kept = find_tuning(outside.object_store, folder)
    content = asdict(kept) | {"outcome": kept.outcome | {"trial": ""}}
    del content["folder"]
    outside.object_store.put(
        f"{folder}/{TUNING_FILE}",
        json.dumps(content).encode(),
        gdpr_class="internal",
        retention_days=1,
        source_commit="c",
    )
    assert not find_tuning(outside.object_store, folder).is_complete
    tried = len(trials.started)

    result, failure = materialize_alone(outside.settings, spec, "tuning")

    assert result.success, failure
    assert find_tuning(outside.object_store, folder).is_complete
    # The study itself had succeeded, so the spec's own values alone are tried again.
    assert len(trials.started) == tried + 1


def test_a_value_that_a_person_gives_a_run_is_not_the_tunings(
    outside: OutsideSystems, spec: Path, model: ModelVersion
) -> None:
    """The model is trained by it, and does not pass for tuned."""
    other = model.training["smoothing"] + 1
    result, failure = materialize_alone(outside.settings, spec, "model", smoothing=other)
    assert result.success, failure
    found = newest_model(outside)
    assert found.training["smoothing"] == other
    assert found.tuned_by is None
    assert "tuning" not in subject_versions(found)


def test_a_model_of_other_features_than_its_tuning_is_refused(
    outside: OutsideSystems, spec: Path, model: ModelVersion
) -> None:
    """Whoever materializes the features alone is told to tune on them first; whoever names the tuning gets its features."""
    result, failure = materialize_alone(outside.settings, spec, "features", modulus=3)
    assert result.success, failure

    result, failure = materialize_alone(outside.settings, spec, "model")

    assert not result.success
    assert f"toy_tuning is of features {model.features.version[:12]}, and the newest are " in failure
    assert "materialize toy_tuning, then toy_model" in failure
    made = materialize(load_line(spec), "model", outside, made_from=model.tuned_by.tuning)
    assert made.reference.version == model.version
    assert made.reference.tuned_by == model.tuned_by


def test_a_training_on_several_nodes_goes_by_the_tunings_values(
    outside: OutsideSystems, spec: Path, model: ModelVersion
) -> None:
    """The Job that is exported for it writes where the run will look for its model."""
    line = load_line(spec)
    resources = line.spec.resources.model_copy(update={"nodes": 2})
    content = line.spec.model_copy(update={"resources": resources})
    wide = replace(line, manifest=replace(line.manifest, content=content))
    with open_instance(outside.settings) as instance:
        assert training_prefix(wide, instance, env=outside.env) == files_prefix(model.object_prefix)
    with (
        dg.DagsterInstance.ephemeral() as empty,
        pytest.raises(TrainingError, match="toy_features was never materialized"),
    ):
        training_prefix(wide, empty, env=outside.env)


def test_tune_tells_what_would_be_better_and_changes_nothing(
    outside: OutsideSystems, spec: Path, model: ModelVersion, tmp_path: Path
) -> None:
    """By the line's Experiment or another; what the spec's own values reach beside it."""
    before = [entry.hash for entry in outside.ledger.entries()]
    other = write_experiment(tmp_path, maxTrialCount=2)
    for further in ((), ("--experiment", str(other))):
        told = CliRunner().invoke(app, ["tune", LINE, "--json", *further], catch_exceptions=False)
        found = json.loads(told.stdout)
        assert told.exit_code == 0
        assert (found["value"], found["default_value"]) == (0.7, 0.5)
        assert found["assignment"]["smoothing"] > 1
    assert len(found["trials"]) == 2
    shown = CliRunner().invoke(app, ["tune", LINE, "--experiment", str(other)]).stdout
    assert f"write into {spec}:" in shown
    assert f"smoothing: {found['assignment']['smoothing']}" in shown
    assert [entry.hash for entry in outside.ledger.entries()] == before


def test_a_line_without_an_experiment_is_tuned_by_one_that_is_named(
    outside: OutsideSystems, outcome: RunOutcome, tmp_path: Path
) -> None:
    """Else it is said that it has none."""
    plain = write_line(tmp_path)
    told = CliRunner().invoke(app, ["tune", "--spec", str(plain), LINE])
    assert isinstance(told.exception, TuningError)
    assert "toy has no Experiment: name one with --experiment FILE" in str(told.exception)


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("missing.yaml", r"training-spec\.yaml:\d+: experiment: there is no file missing\.yaml"),
        ("../experiment.yaml", r"experiment: \.\./experiment\.yaml must lie beside the spec or below"),
        ("/etc/hostname", r"experiment: /etc/hostname must lie beside the spec or below"),
        (".", r"experiment: there is no file \."),
        ("training-spec.yaml", r"training-spec\.yaml:1: apiVersion: is missing"),
    ],
)
def test_a_line_names_an_experiment_that_there_is(tmp_path: Path, named: str, told: str) -> None:
    """Beside its spec, and of Katib's form."""
    with pytest.raises(ManifestError, match=told):
        load_line(write_tuned_line(tmp_path, experiment=named))


def test_another_experiment_is_another_tuning(tmp_path: Path) -> None:
    """The line's stages and its own identity stay: they are the spec's."""
    first = load_line(write_tuned_line(tmp_path))
    write_experiment(tmp_path, maxTrialCount=2)
    second = load_line(tmp_path / "training-spec.yaml")
    assert first.experiment.sha256 != second.experiment.sha256
    assert [*first.stages] == ["dataset", "features", "tuning", *[*first.stages][3:]]
    assert asset_key(first, "tuning").to_user_string() == "toy_tuning"
    assert (tmp_path / EXPERIMENT_FILE).is_file()
