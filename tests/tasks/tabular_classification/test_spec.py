"""What a spec of tables may say, and how it complains about the rest."""

from pathlib import Path

import pytest
from pydantic import ValidationError

import platform_assets.models
from platform_assets.governance.errors import SubjectError
from platform_assets.governance.subjects import Subject
from platform_assets.lines.line import load_line
from tests.tasks.tabular_classification.tables import COLUMNS, make_spec

FAIRNESS = {"favourable": 0, "groups": {"home": {"column": "Home"}}}


def complaint(**changed):
    """The messages about a spec with these changes, fields included."""
    with pytest.raises(ValidationError) as caught:
        make_spec(**changed)
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in caught.value.errors())


def test_the_shipped_line_is_sound():
    """The credit scorecard's spec, contract, gates and demands fit together, and its drift can be watched."""
    line = load_line(Path(platform_assets.models.__file__).parent / "credit_scorecard/training-spec.yaml")
    assert (line.name, line.task.name) == ("credit_scorecard", "tabular-classification")
    assert set(line.spec.drift.columns) <= set(line.task.watchable(line.spec))


def test_a_spec_survives_its_own_values():
    """Written out and read again it is the same: so one run can change a value of it."""
    spec = make_spec(fairness=FAIRNESS, monotonic={"Income": "decreasing", "Grade": "increasing"})
    assert type(spec).model_validate(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"Income": "numerical"}, "columns.Income.role: Input should be 'key', 'target', 'numeric'"),
        ({"Income": {"role": "numeric", "positive": 1}}, "a target, and nothing else, states which value"),
        ({"Status": "target"}, "a target, and nothing else, states which value is `positive`"),
        ({"Grade": "ordinal"}, "an ordinal column, and nothing else, states the `order`"),
        ({"Grade": {"role": "ordinal", "order": [1, "1"]}}, "a value stands twice in `order`"),
        ({"person": {"role": "key", "feature": False}}, "a key is no feature anyway"),
        ({"other": "key"}, "columns: person and other both are the key"),
        ({"score": "numeric"}, "columns.score: is the name of a column that the platform adds"),
    ],
)
def test_columns_that_make_no_sense_are_refused(columns, message):
    """Each complaint names the column or the role."""
    assert message in complaint(columns={**COLUMNS, **columns})


def test_a_target_and_a_feature_are_needed():
    """A table without either teaches nothing."""
    assert "none is the target" in complaint(columns={"Income": "numeric"})
    assert "none is a feature" in complaint(columns={"Status": COLUMNS["Status"]})


def test_a_target_may_be_called_label():
    """It is the table's label; any other column of that name is refused."""
    spec = make_spec(columns={"label": {"role": "target", "positive": 1}, "Income": "numeric"})
    assert spec.target == "label"


@pytest.mark.parametrize("subject", ["Kunde", "größe", "2_nd_customer", "two words", "a:b", "a\n", ""])
def test_a_subject_is_a_kind_that_erasing_can_name(subject):
    """What `erase --subject` refuses is no spec either; else it would publish rows that nobody can erase."""
    with pytest.raises(SubjectError):
        Subject(subject, "4711")
    assert "subject: String should match pattern" in complaint(subject=subject)


@pytest.mark.parametrize(
    ("split", "columns", "message"),
    [
        ({"by": "time"}, {}, "split.by: time needs a column of the role time"),
        (
            {"by": "group"},
            {"person": "numeric"},
            "split.by: group needs a column of the role group, or a key",
        ),
        ({"by": "rows"}, {"household": "group"}, "would divide the groups of column household"),
        ({"by": "month"}, {}, "split: `by` must be rows, group, time or blocks"),
        ({"block_rows": 5}, {}, "split.rows.block_rows: Extra inputs are not permitted"),
    ],
)
def test_a_split_has_what_it_needs(split, columns, message):
    """A column to split by, and no value that decides nothing."""
    assert message in complaint(split=split, columns={**COLUMNS, **columns})


@pytest.mark.parametrize("resources", [{"gpu": 1}, {"nodes": 2}])
def test_gpus_and_several_machines_are_refused(resources):
    """Models of tables would not use them."""
    assert "resources: models of tables train on the CPUs of one machine" in complaint(resources=resources)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"monotonic": {"Home": "increasing"}}, "monotonic.Home: is no numeric or ordinal feature"),
        ({"monotonic": {"Income": "down"}}, "monotonic.Income: String should match pattern"),
        (
            {"model": "logistic", "monotonic": {"Income": "decreasing"}},
            "monotonic: a logistic model has none",
        ),
        ({"model": "logistic", "max_iterations": 7}, "max_iterations: a logistic model has none"),
        ({"model": "logistic", "gates": {"beats_baseline": True}}, "gates.beats_baseline: the baseline is a"),
        ({"gates": {"parity_ratio": "> 0.8"}}, "gates.parity_ratio: nothing is compared"),
    ],
)
def test_what_a_model_cannot_keep_is_refused(changed, message):
    """Rather than ignored."""
    assert message in complaint(**changed)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"column": "Income"}, "fairness.groups.x: a numeric column, and no other, needs bands"),
        ({"column": "Home", "bands": [1]}, "fairness.groups.x: a numeric column, and no other, needs bands"),
        ({"column": "person"}, "person is no numeric, categorical or ordinal column"),
        ({"column": "Income", "bands": [2, 1]}, "bands must ascend"),
    ],
)
def test_groups_that_cannot_be_told_apart_are_refused(groups, message):
    """Each complaint names the groups."""
    assert message in complaint(fairness={"favourable": 0, "groups": {"x": groups}})
