"""Texts that an Experiment gives to parameters become values of a training spec."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_assets.lines.line import SPEC_FILE, SPECS_FOLDER
from platform_assets.tasks.registry import find_task, known_tasks, read_training_spec
from platform_assets.tuning.assignment import (
    ALIASES,
    AssignmentError,
    assigned,
    fields_of,
    parameter_problems,
)

IMAGE, MANIFEST = read_training_spec(SPECS_FOLDER / "chest_xray_detector" / SPEC_FILE)
SPEC = MANIFEST.content
FIELDS = IMAGE.trainer.fields


def set_(**values: str):
    """The shipped spec of X-rays with these texts."""
    return assigned(SPEC, values, FIELDS)


def test_a_parameter_sets_the_field_of_its_name_or_the_one_stated_for_it():
    """Katib's own names of the reference, beside names of the spec."""
    assert fields_of(["learning_rate", "dropout_rate"], FIELDS) == {
        "learning_rate": "learning_rate",
        "dropout_rate": "dropout",
    }


def test_each_alias_is_of_a_field_and_is_none():
    """Whatever a task has; a field of that very name comes first, so no alias may shadow one."""
    every = {field for task in known_tasks() for field in find_task(task).trainer.fields}
    assert set(ALIASES.values()) <= every
    assert not ALIASES.keys() & every
    assert fields_of(["lr"], ["lr", "learning_rate"]) == {"lr": "lr"}


def test_what_sets_nothing_is_told_by_parameter():
    """With what was probably meant, and what there is; all of it at once."""
    problems = parameter_problems(["learning_rat", "lr", "learning_rate", "gpu"], FIELDS)
    assert set(problems) == {"learning_rat", "learning_rate", "gpu"}
    assert "did you mean learning_rate?" in problems["learning_rat"]
    assert problems["learning_rate"] == "sets learning_rate, as lr does; keep one of them"
    assert "there are epochs, batch_size" in problems["gpu"]
    with pytest.raises(AssignmentError, match=r"learning_rat: is no field .*; gpu: is no field"):
        fields_of(["learning_rat", "gpu"], FIELDS)


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("epochs", "8", 8),
        ("learning_rate", "1e-05", 1e-5),
        ("learning_rate", "0.003", 0.003),
        ("schedule", "linear", "linear"),
        ("augment_flip", "false", False),
        ("widths", "[8, 16, 32, 64]", (8, 16, 32, 64)),
        ("local_contrast_px", "null", None),
        ("model_name", "microsoft/resnet-50", "microsoft/resnet-50"),
        ("model_name", "50", "50"),
    ],
)
def test_a_text_is_read_as_the_type_of_its_field(field, text, value):
    """An int field gets an int, and a field of text gets text, also where it looks like a number."""
    found = getattr(set_(**{field: text}), field)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("parameter", "text", "told"),
    [
        ("epochs", "8.5", "epochs: Input should be a valid integer"),
        ("epochs", "eight", "epochs: Input should be a valid integer"),
        ("epochs", "true", "epochs: Input should be a valid integer"),
        ("epochs", "0", "epochs: Input should be greater than or equal to 1"),
        ("learning_rate", "1.5", "learning_rate: Input should be less than 1"),
        ("learning_rate", "NaN", "learning_rate: Input should be"),
        ("learning_rate", "", "learning_rate: Input should be a valid number"),
        ("schedule", "steep", "schedule: Input should be 'linear' or 'cosine'"),
        ("dropout_rate", "1.5", "dropout_rate sets dropout: Input should be less than 1"),
        ("widths", "[8]", "widths and depths must be as many"),
    ],
)
def test_a_value_that_is_none_is_one_error(parameter, text, told):
    """It names the parameter, and the field where that is called otherwise."""
    with pytest.raises(AssignmentError) as refused:
        set_(**{parameter: text})
    assert str(refused.value).startswith(told)


@given(rate=st.floats(1e-12, 0.999), epochs=st.integers(1, 1000), dropout=st.floats(0, 0.99))
def test_every_number_comes_back_as_it_was_written(rate, epochs, dropout):
    """Python's shortest form of a number, by which trials are told them, loses nothing."""
    spec = set_(learning_rate=repr(rate), epochs=str(epochs), dropout_rate=repr(dropout))
    assert (spec.learning_rate, spec.epochs, spec.dropout) == (rate, epochs, dropout)
