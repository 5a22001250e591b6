"""What a tuning comes to: the best trial, held against the values of the spec, and kept in the object store."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from platform_assets.lines.line import Line, load_line
from platform_assets.references import FeaturesVersion
from platform_assets.tuning import tuning
from platform_assets.tuning.experiment import Experiment, read_experiment
from platform_assets.tuning.stored import experiment_with_status, find_tuning, store_tuning
from platform_assets.tuning.tuning import Tuned, trials_identity, tune
from resources.locks import FileLocks
from resources.object_store import LocalObjectStore, ObjectStore
from tests.governance.conftest import example
from tests.tasks.toys import toy_task, write_line
from tests.tuned_line import write_experiment
from tests.tuning.toy import Reports, ToyRunner, ToyTrial

OWN = "1.0"
"""The toy's smoothing, where nothing else is said."""


@pytest.fixture(autouse=True)
def _toy() -> Iterator[None]:
    """The toy is a task while these tests run."""
    with toy_task():
        yield


@pytest.fixture
def line(tmp_path: Path) -> Line:
    """A line of the toy."""
    return load_line(write_line(tmp_path / "line"))


@pytest.fixture
def object_store(tmp_path: Path) -> ObjectStore:
    """An empty one."""
    return LocalObjectStore(tmp_path / "objects")


def searched(folder: Path, **spec: object) -> Experiment:
    """An Experiment of three trials."""
    return read_experiment(write_experiment(folder, **{"maxTrialCount": 3, "maxFailedTrialCount": 2} | spec))


@pytest.fixture
def tuned(tmp_path: Path, line: Line) -> Callable[..., tuple[Tuned, ToyRunner]]:
    """What a tuning comes to whose trials report so, by the text of their smoothing, and what was run."""

    def tuned(play: Callable[[str], Reports | ToyTrial], **spec: object) -> tuple[Tuned, ToyRunner]:
        runner = ToyRunner(lambda assignment: play(assignment["smoothing"]))
        found = tune(
            searched(tmp_path, **spec),
            line.spec,
            line.task.trainer,
            runner,
            storage=f"{tmp_path}/study.journal",
            locks=FileLocks(tmp_path / "locks"),
            identity="one",
            on_change=lambda _: None,
        )
        return found, runner

    return tuned


def test_the_best_trial_is_held_against_the_values_of_the_spec(tuned) -> None:
    """These are one trial more, which is none of the study's."""
    found, runner = tuned(lambda smoothing: [0.5 if smoothing == OWN else 0.7])
    assert found.is_complete
    assert found.beats_defaults
    assert (found.value, found.default_value) == (0.7, 0.5)
    assert found.trial == found.status.trials[0].name
    assert found.assignment == {"smoothing": float(found.status.trials[0].assignment["smoothing"])}
    assert (len(found.status.trials), len(runner.started)) == (3, 4)
    assert found.sentence == f"{found.trial} reached 0.7000, and the values of the spec 0.5000"


@pytest.mark.parametrize(("objective", "own"), [("maximize", 0.7), ("maximize", 0.8), ("minimize", 0.1)])
def test_what_is_not_better_than_the_values_of_the_spec_does_not_take_their_place(
    tuned, objective: str, own: float
) -> None:
    """Equal is not better; of a loss the lower one is."""
    found, runner = tuned(
        lambda smoothing: [own if smoothing == OWN else 0.7],
        objective={"type": objective, "objectiveMetricName": "auc"},
    )
    assert found.is_complete
    assert not found.beats_defaults
    assert (found.trial, found.assignment) == (runner.started[-1][0], {"smoothing": 1.0})
    assert "those stay" in found.sentence


@pytest.mark.parametrize(
    "own",
    [
        ["nan"],
        [],
        ToyTrial("", [0.9, 0.9], ends="failed"),
    ],
)
def test_a_trial_of_the_specs_own_values_that_fails_leaves_them_unmeasured(tuned, own) -> None:
    """The best trial's values are taken, and it is said that nothing was compared."""
    found, _ = tuned(lambda smoothing: own if smoothing == OWN else [0.7])
    assert found.is_complete
    assert found.default_value is None
    assert found.beats_defaults
    assert "could not be measured" in found.sentence


def test_a_study_that_fails_has_no_values(tuned) -> None:
    """And the spec's own are not tried."""
    found, runner = tuned(lambda _: ToyTrial("", [0.9], ends="failed"))
    assert not found.is_complete
    assert (found.trial, found.assignment, found.default_value) == ("", {}, None)
    assert found.sentence == "Experiment has failed because max failed count has reached"
    assert OWN not in [assignment["smoothing"] for _, assignment in runner.started]


def test_a_study_whose_trials_report_nothing_is_not_complete(tuned) -> None:
    """However many may fail: where none has a value, none is the best."""
    found, _ = tuned(lambda _: [], maxFailedTrialCount=None)
    assert found.status.condition.type == "Succeeded"
    assert not found.is_complete
    assert found.trial == ""


def test_trials_are_others_where_features_or_the_code_that_judges_them_differ(
    tmp_path: Path, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a study that is over would answer for them; the spec's own value of what is searched is of no matter."""
    experiment, trainer = searched(tmp_path), line.task.trainer
    ours, other = (example(FeaturesVersion, featurizer_sha256=each * 64) for each in "ab")
    identity = trials_identity(line.spec, trainer, experiment, ours)
    assert identity != trials_identity(line.spec, trainer, experiment, other)
    assert identity == trials_identity(
        line.spec.model_copy(update={"smoothing": 9.0}), trainer, experiment, ours
    )
    monkeypatch.setattr(tuning, "_TRIAL_CODE", "of another day")
    assert identity != trials_identity(line.spec, trainer, experiment, ours)


# --- Kept -------------------------------------------------------------------------------------------


def test_a_tuning_that_was_stored_is_found_as_it_was(
    tuned, tmp_path: Path, object_store: ObjectStore
) -> None:
    """With its status in Katib's form, whose hash the reference holds, and its pictures."""
    found, _ = tuned(lambda smoothing: [0.5 if smoothing == OWN else 0.7])
    experiment = searched(tmp_path)
    kept = store_tuning(object_store, "here", experiment, found, {"history": b"png"}, source_commit="c")
    features = example(FeaturesVersion)

    again = find_tuning(object_store, "here")

    assert again == kept
    assert again.is_complete
    assert again.reference(features).assignment == dict(found.assignment)
    status = json.loads(object_store.get(again.status_key))
    assert status["status"]["trialsSucceeded"] == 3
    assert status["spec"]["maxTrialCount"] == 3
    assert object_store.get("here/history.png") == b"png"
    assert object_store.info(again.status_key).sha256 == again.reference(features).status_sha256


def test_a_tuning_that_is_not_whole_is_none(object_store: ObjectStore) -> None:
    """`tuning.json` is the last that is put; what a killed process has left is made anew."""
    assert find_tuning(object_store, "here") is None
    object_store.put(
        "here/experiment.json", b"{}", gdpr_class="internal", retention_days=1, source_commit="c"
    )
    assert find_tuning(object_store, "here") is None


def test_a_failed_tuning_is_kept_as_one(tuned, tmp_path: Path, object_store: ObjectStore) -> None:
    """So that its verdict can be read, and nobody takes its values."""
    found, _ = tuned(lambda _: ToyTrial("", [0.9], ends="failed"))
    kept = store_tuning(object_store, "here", searched(tmp_path), found, {}, source_commit="c")
    assert not kept.is_complete
    assert experiment_with_status(searched(tmp_path), found)["status"]["trialsFailed"] == 2
