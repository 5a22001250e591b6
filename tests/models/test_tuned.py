"""Which values a model is trained by where a tuning has found some, and what its record says of that."""

import pytest

from platform_assets.models.errors import TrainingError
from platform_assets.models.tuned import require_of, tuned, tuned_by
from platform_assets.references import FeaturesVersion, TuningVersion
from platform_assets.tasks.registry import read_training_spec
from platform_assets.tasks.training_spec import TrainingSpec
from tests.governance.conftest import example
from tests.line_factory import SMALL_SPEC

_, MANIFEST = read_training_spec(SMALL_SPEC)
FILE = MANIFEST.content


def tuning(**assignment: object) -> TuningVersion:
    """One whose best trial had these values."""
    return example(TuningVersion, experiment="search", trial="search-1", assignment=assignment)


def asked(**values: object) -> TrainingSpec:
    """What a run resolved: the file's, and values that a person gave."""
    return FILE.model_copy(update=values)


def test_the_best_trials_values_stand_in_the_place_of_the_files() -> None:
    """And the record says which they are."""
    found = tuning(learning_rate=0.00011, epochs=3)
    resolved, said = tuned(FILE, found, file=FILE), tuned_by(FILE, found, file=FILE)
    assert (resolved.learning_rate, resolved.epochs) == (0.00011, 3)
    assert said is not None
    assert (said.tuning, said.experiment, said.trial) == (found.version, "search", "search-1")
    assert said.assignment == {"learning_rate": 0.00011, "epochs": 3}


def test_a_value_that_a_person_gives_a_run_stands_and_is_not_the_tunings() -> None:
    """The record names the others alone."""
    found, given = tuning(learning_rate=0.00011, epochs=3), asked(epochs=7)
    assert tuned(given, found, file=FILE).epochs == 7
    said = tuned_by(given, found, file=FILE)
    assert said is not None
    assert said.assignment == {"learning_rate": 0.00011}


def test_a_model_all_of_whose_values_a_person_gave_was_not_tuned() -> None:
    """Else it would pass for tuned where a promotion demands that."""
    assert tuned_by(asked(epochs=7), tuning(epochs=3), file=FILE) is None


def test_of_a_line_without_tuning_nothing_is_said() -> None:
    """And its spec is as it was."""
    assert tuned(FILE, None, file=FILE) is FILE
    assert tuned_by(FILE, None, file=FILE) is None


def test_a_tuning_of_other_features_is_refused() -> None:
    """Its values were judged on other rows; both are named, and what to do."""
    ours, other = (example(FeaturesVersion, featurizer_sha256=each * 64) for each in "ab")
    found = tuning().model_copy(update={"features": ours})
    require_of(found, ours)
    with pytest.raises(TrainingError, match=rf"{ours.version[:12]}, and the newest are {other.version[:12]}"):
        require_of(found, other)


def test_values_that_do_not_go_with_the_spec_are_refused() -> None:
    """A trial comes to no gate, and a value that it was given may fit no model that the gates are of."""
    with pytest.raises(
        TrainingError, match=r"the values of trial search-1 do not go .*epochs: Input should be"
    ):
        tuned(FILE, tuning(epochs=0), file=FILE)
