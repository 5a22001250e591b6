"""A line as steps: what each takes and hands on, and how values travel as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_assets.export.workflow import (
    ExportError,
    assigned,
    figure_texts,
    key_figures,
    line_workflow,
    spelled,
)
from platform_assets.lines.line import load_line
from platform_assets.references import STAGES, TUNED_STAGES, DatasetVersion, TableSnapshot
from tests.export.factory import make_workflow
from tests.features.shops import write_line
from tests.line_factory import SMALL_SPEC

LINE = load_line(SMALL_SPEC)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def test_steps_are_the_assets_in_the_order_in_which_data_flows():
    """Every asset is one step, made from the one before it."""
    steps = make_workflow().steps

    assert [step.stage for step in steps] == list(STAGES)
    assert [step.after for step in steps] == [None, *list(STAGES)[:-1]]


def test_parameters_are_what_one_run_may_change_with_the_values_of_the_spec():
    """Neither more, which would loosen what a run is judged by, nor less; and each name stands once."""
    workflow = make_workflow()

    assert {step.stage: {each.name: each.value for each in step.parameters} for step in workflow.steps} == {
        stage: LINE.overrides.get(stage, {}) for stage in STAGES
    }
    names = [each.name for each in workflow.parameters]
    assert len(names) == len(set(names)) == 21


def test_only_the_steps_that_compute_may_be_answered_from_a_cache():
    """A dataset reads the world, the rest judge or act: none of them is equal to an earlier one by its inputs."""
    assert {step.stage for step in make_workflow().steps if step.is_pure} == {"features", "model"}


def test_a_tuning_is_a_step_that_no_cache_answers_for():
    """Its Experiment is a file of its own: the step is the same when that has changed."""
    tuned = {step.stage: step for step in make_workflow(experiment="experiment.yaml").steps}

    assert list(tuned) == list(TUNED_STAGES)
    assert (tuned["tuning"].after, tuned["model"].after) == ("features", "tuning")
    assert not tuned["tuning"].is_pure
    assert tuned["model"].is_pure


@pytest.mark.parametrize(
    ("transformers", "pure"),
    [([], True), (["sales_woe@v3"], True), (["sales_woe@v3", "sales_z@latest"], False)],
)
def test_features_of_what_is_the_latest_are_never_answered_from_a_cache(tmp_path, transformers, pure):
    """Their inputs do not say which version that is; a pinned one stays."""
    line = load_line(write_line(tmp_path, transformers=transformers))
    steps = line_workflow(line.task, line.spec, basis=line.basis, image="image").steps

    assert {step.stage: step.is_pure for step in steps if step.stage in {"features", "model"}} == {
        "features": pure,
        "model": True,
    }


def test_deployment_stands_under_the_gate_on_the_headline():
    """The condition is the spec's own; a line without such a gate has none, and asks the ledger as always."""
    conditions = {step.stage: step.condition for step in make_workflow(gates={"auc": ">= 0.92"}).steps}
    ungated = make_workflow(gates={"beats_baseline": True})

    assert str(conditions.pop("deployment")) == ">= 0.92"
    assert set(conditions.values()) == {None}
    assert [step.condition for step in ungated.steps] == [None] * 7


@given(JSON)
def test_every_value_is_read_back_as_it_was_spelled(value):
    """Text that a person reads, and the same value on the other side."""
    from platform_assets.export.workflow import _read

    assert _read(spelled(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [("package://a/b", "package://a/b"), ("7", '"7"'), ("null", '"null"'), (None, "null"), (["a"], '["a"]')],
)
def test_strings_stand_as_they_are_unless_they_look_like_something_else(value, text):
    """Quotes only where the text would be read as a number, null or a list."""
    assert spelled(value) == text


@pytest.mark.parametrize("stage", [stage for stage in STAGES if LINE.overrides.get(stage)])
def test_values_of_the_spec_pass_through_their_texts(stage):
    """What an exported workflow passes on by default is what the spec says."""
    values = LINE.overrides[stage]

    assert (
        assigned(LINE.task, LINE.spec, stage, [f"{name}={spelled(value)}" for name, value in values.items()])
        == values
    )


def test_a_single_source_may_be_given_as_plain_text():
    """A list of one is what the field takes."""
    assert assigned(LINE.task, LINE.spec, "dataset", ["train_data_uri=package://x?a=b"]) == {
        "train_data_uri": ["package://x?a=b"]
    }


@pytest.mark.parametrize(
    ("stage", "text", "told"),
    [
        ("model", "epochs", "write FIELD=VALUE"),
        ("model", "train_rows=300", "model takes epochs"),
        ("model", "epochs=0", "greater than or equal to 1"),
        ("model", "epochs=many", "valid integer"),
        ("dataset", "split=1", "dataset takes train_data_uri"),
        ("validation", 'gates={"auc": "> 0.1"}', "validation takes reference_mix"),
        ("deployment", "requires=[]", "deployment takes no values"),
    ],
)
def test_what_a_step_cannot_take_is_one_error_that_says_what_it_takes(stage, text, told):
    """Unknown fields, fields of another step, values out of range, and whatever a run is judged by."""
    with pytest.raises(ExportError, match=told):
        assigned(LINE.task, LINE.spec, stage, [text])


@pytest.mark.parametrize(
    "uri",
    ["https://me:token@data.example/reviews.csv", "https://data.example/reviews.csv?X-Amz-Signature=abc"],
)
def test_spec_with_a_secret_in_a_uri_is_not_exported(uri):
    """An exported file is copied and committed; the error does not show the secret either."""
    with pytest.raises(ExportError, match="leave it out") as refused:
        make_workflow(train_data_uri=(uri,))

    assert "token" not in str(refused.value)
    assert "abc" not in str(refused.value)


def make_dataset() -> DatasetVersion:
    """A dataset version whose hash reads like a number."""
    return DatasetVersion(
        line="reviews_small",
        snapshot=TableSnapshot(table="t", snapshot_id="1", content_hash="12345", rows=7),
        rows_by_split={},
        sources=(),
        source_hash="",
        contract_rule_sets={},
        contract_quality=1.0,
        ge_run_id="",
        published_at="",
    )


def test_a_version_is_written_as_it_is_even_where_it_reads_like_a_number():
    """The next step is given the text of this file, and looks for exactly that version."""
    assert figure_texts(key_figures(make_dataset()), ["version", "rows"]) == {"version": "12345", "rows": "7"}


def test_unknown_figure_is_refused_by_name():
    """A misspelled output would leave a runtime waiting for a file."""
    with pytest.raises(ExportError, match="--output acu: no such figure; there are version, rows"):
        figure_texts(key_figures(make_dataset()), ["acu"])


def test_equal_specs_give_equal_workflows():
    """Nothing of the machine or the moment gets in."""
    again = load_line(SMALL_SPEC)

    assert make_workflow() == line_workflow(
        again.task, again.spec, basis="0" * 64, image=make_workflow().image
    )
