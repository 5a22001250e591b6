"""Each rule of the leak gate, on rows that lie in memory: what passes, what fails, and that findings are counts."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from platform_assets.features import leak
from platform_assets.features.errors import FeatureError
from platform_assets.features.fit_input import rows_to_fit
from platform_assets.features.leak import Finding, FittedRows, kept_apart, past_only, targets_known
from platform_assets.features.transformer import FittedTransformer, fit
from platform_assets.features.transformer_spec import TransformerSpec

DAY = 86_400_000_000
WINDOW: Mapping[str, Any] = {
    "inputSource": "rows.parquet",
    "transformerType": "zscore",
    "windowDays": 3,
    "columns": ["value"],
    "entityKey": "who",
    "timestampColumn": "at",
    "zscore": {"minPeriods": 2},
}


def spec_of(**changes: Any) -> TransformerSpec:
    """A z-score over three days; a change of None leaves a field out."""
    given = {**WINDOW, **changes}
    return TransformerSpec.model_validate({name: value for name, value in given.items() if value is not None})


def line_rows(splits: list[str], people: list[str], **columns: Any) -> pa.Table:
    """Rows of a line, one for each split that is given."""
    return pa.table({"person": people, "split": splits} | columns)


def apart(fitted: list[str], rows: pa.Table) -> Finding:
    """What rule (a) finds of a transformer that these people were fitted on."""
    return kept_apart("some_woe@v1", FittedRows(pa.table({"person": fitted}), "person"), rows, "person")


@pytest.mark.parametrize("split", ["validation", "test", "shift"])
def test_whoever_is_measured_on_may_not_have_been_fitted_on(split: str) -> None:
    """One person is enough, in whichever of the splits that are measured on."""
    rows = line_rows(["train", "train", split], ["a", "b", "c"])

    assert apart(["a", "b"], rows).outcome == "pass"
    found = apart(["a", "c"], rows)

    assert (found.outcome, found.counts["met"]) == ("fail", 1)


def test_what_is_put_aside_is_not_measured_on() -> None:
    """Rows of split `reserve` were training rows before `train_rows` took fewer."""
    assert apart(["a", "c"], line_rows(["train", "test", "reserve"], ["a", "b", "c"])).outcome == "pass"


def test_a_number_and_a_text_name_one_person() -> None:
    """Whole numbers are the texts that they are written as, as everywhere else."""
    rows = line_rows(["train", "test"], ["1", "2"])
    fitted = FittedRows(pa.table({"who": [2.0, 3.0]}), "who")

    assert kept_apart("some_woe@v1", fitted, rows, "person").outcome == "fail"


def both_sides(fitted: pa.Table, rows: pa.Table) -> Finding:
    """What rule (a) finds where rows are split by time."""
    return kept_apart("w@v1", FittedRows(fitted, "person"), rows, "person", time_column="at")


def test_where_people_are_on_both_sides_rows_are_compared() -> None:
    """By time, last year's customers are this year's too; their rows are others, and must be."""
    rows = line_rows(["train", "train", "test"], ["a", "b", "a"], at=times(1, 2, 3))
    train = pa.table({"person": ["a", "b"], "at": times(1, 2)})
    every = pa.table({"person": ["a", "b", "a"], "at": times(1, 2, 3)})

    assert both_sides(train, rows).outcome == "pass"
    assert both_sides(every, rows).counts["met"] == 1


def test_a_corrected_value_hides_no_row() -> None:
    """Whoever it is about and when it was make a row, and not what else was told of it."""
    rows = line_rows(["train", "test"], ["a", "a"], at=times(1, 3), amount=[1.0, 3.5])
    before = pa.table({"person": ["a", "a"], "at": times(1, 3), "amount": [1.0, 3.0]})

    assert both_sides(before, rows).outcome == "fail"


def test_rows_of_people_on_both_sides_need_a_time() -> None:
    """Without one nobody can tell them apart, and without one among the fitted rows neither."""
    rows = line_rows(["train", "test"], ["a", "a"], at=times(1, 3))
    fitted = FittedRows(pa.table({"person": ["a"]}), "person")

    with pytest.raises(FeatureError, match="on both sides of its split"):
        kept_apart("w@v1", fitted, rows, "person")
    with pytest.raises(FeatureError, match="column at is missing"):
        kept_apart("w@v1", fitted, rows, "person", time_column="at")


def test_ids_that_can_never_match_are_an_error() -> None:
    """Nobody of the fitted rows is in the line at all, training rows included: they may be numbered otherwise."""
    rows = line_rows(["train", "test", "reserve"], ["a", "b", "c"])

    found = apart(["1", "2"], rows)

    assert (found.outcome, found.counts["strangers"]) == ("error", 2)
    assert "none of the 2 rows that it was fitted on is about anybody in this line" in found.reason
    assert apart(["1", "c"], rows).outcome == "pass"
    assert apart([], rows).outcome == "error"


def test_without_a_key_every_fitted_row_must_be_found_again() -> None:
    """A hash of all values is another one after a correction, so what is not found may be a test row."""
    rows = line_rows(["train", "test"], ["a", "b"])
    fitted = FittedRows(pa.table({"person": ["a", "b before its correction"]}), "person")

    assert kept_apart("w@v1", fitted, rows, "person").outcome == "pass"
    found = kept_apart("w@v1", fitted, rows, "person", has_key=False)

    assert (found.outcome, found.counts["strangers"]) == ("error", 1)


def test_groups_are_kept_apart_too() -> None:
    """Of a split by group, other people of a group that is measured on are as bad; without the column it is an error."""
    rows = line_rows(["train", "test"], ["a", "b"], shop=["x", "y"])

    def found(people: list[str], **columns: list[str]) -> Finding:
        fitted = FittedRows(pa.table({"person": people} | columns), "person")
        return kept_apart("w@v1", fitted, rows, "person", group_column="shop")

    assert found(["a", "c"], shop=["x", "z"]).outcome == "pass"
    assert found(["c"], shop=["y"]).outcome == "fail"
    assert found(["b"], shop=["z"]).outcome == "fail"
    assert found(["c"], shop=["z"]).outcome == "error"
    with pytest.raises(FeatureError, match="there is no column shop"):
        found(["a"])


def test_a_finding_names_nobody() -> None:
    """Counts, and no value of a cell."""
    found = apart(["secret-name"], line_rows(["train", "test"], ["a", "secret-name"]))

    assert found.outcome == "fail"
    assert "secret" not in found.reason


def times(*days: float | None) -> pa.Array:
    """Instants, so many days after an epoch."""
    return pa.array([None if day is None else int(day * DAY) for day in days], pa.timestamp("us", tz="UTC"))


def test_targets_must_be_known_before_the_first_held_out_row() -> None:
    """The same instant is too late, and so is never."""
    rows = pa.table({"split": ["train", "validation", "test"], "at": times(1, 5, 9)})

    def late(*known: float | None) -> int:
        return targets_known("w@v1", pa.table({"known": times(*known)}), ["known"], rows, "at").counts["late"]

    assert late(1, 4.999) == 0
    assert late(1, 5) == 1
    assert late(1, None) == 1


def test_a_time_that_is_none_is_an_error() -> None:
    """It is never taken for known."""
    rows = pa.table({"split": ["train", "test"], "at": times(1, 5)})

    with pytest.raises(FeatureError, match="column known: 1 of 1 texts are no time"):
        targets_known("w@v1", pa.table({"known": ["secret"]}), ["known"], rows, "at")


def test_rows_whose_target_came_too_late_are_left_out_of_the_fit() -> None:
    """Of a split by time; where rows were drawn at random nothing is left out, and the gate has nothing to ask."""
    woe = {"transformerType": "woe", "zscore": None, "windowDays": None, "target": "label"}
    spec = spec_of(**woe, entityKey=None, availableColumn="known")
    columns = {
        "at": times(1, 2, 3),
        "known": times(1.5, 3.5, 9),
        "value": [1.0, 2.0, 3.0],
        "label": [0, 1, 0],
    }

    by_time = rows_to_fit(spec, pa.table({"split": ["train", "train", "test"], **columns}))
    at_random = rows_to_fit(spec, pa.table({"split": ["train", "test", "train"], **columns}))

    assert (by_time.count, by_time.not_yet_known) == (1, 1)
    assert (at_random.count, at_random.not_yet_known) == (2, 0)


def test_a_row_of_later_is_late_whatever_is_said_of_its_target() -> None:
    """Each of the times that are told must be before the first held-out row."""
    rows = pa.table({"split": ["train", "test"], "at": times(1, 5)})
    fitted = pa.table({"at": times(1, 6), "known": times(2, 2)})

    assert targets_known("w@v1", fitted, ["at", "known"], rows, "at").counts["late"] == 1
    assert targets_known("w@v1", fitted, ["known"], rows, "at").counts["late"] == 0


@pytest.mark.parametrize("available", [None, "known"])
def test_the_fit_leaves_out_what_the_gate_would_count(available: str | None) -> None:
    """Sources that are cut by themselves: of a later one no training row was known before the first held-out row."""
    woe = {"transformerType": "woe", "zscore": None, "windowDays": None, "target": "label"}
    spec = spec_of(**woe, entityKey=None, availableColumn=available)
    rows = pa.table(
        {
            "source": ["one"] * 3 + ["two"] * 3,
            "split": ["train", "train", "test"] * 2,
            "at": times(1, 2, 3, 201, 202, 203),
            "known": times(1.5, 3.5, 4, 201.5, 202.5, 204),
            "value": [1.0] * 6,
            "label": [0, 1, 0] * 2,
        }
    )

    chosen = rows_to_fit(spec, rows)

    assert chosen.count == (1 if available else 2)
    known = ["at", available] if available else ["at"]
    assert targets_known("w@v1", chosen.rows, known, rows, "at").outcome == "pass"


@st.composite
def histories(draw: st.DrawFn) -> pa.Table:
    """Events of a few entities, many at one instant, some known late or never, some without a value."""
    rows = draw(st.integers(1, 30))
    at = draw(st.lists(st.integers(0, 12), min_size=rows, max_size=rows))
    late = draw(st.lists(st.sampled_from([0, 0, 1, 3, None]), min_size=rows, max_size=rows))
    values = st.one_of(st.none(), st.floats(-1e3, 1e3).map(lambda value: 1e6 + value))
    return pa.table(
        {
            "who": draw(st.lists(st.sampled_from("ab"), min_size=rows, max_size=rows)),
            "at": times(*at),
            "known": times(
                *(None if each is None else day + each for day, each in zip(at, late, strict=True))
            ),
            "value": pa.array(draw(st.lists(values, min_size=rows, max_size=rows)), pa.float64()),
        }
    )


@pytest.mark.parametrize("available", [None, "known"])
@pytest.mark.parametrize(
    "section",
    [
        {"zscore": {"minPeriods": 2}},
        {"zscore": {"minPeriods": 2, "includeCurrent": True}},
        {"transformerType": "lag", "windowDays": None, "zscore": None, "lag": {"days": 2, "tolerance": 4}},
        {"transformerType": "lag", "windowDays": None, "zscore": None, "lag": {"rows": 2}},
    ],
    ids=["zscore", "zscore with current", "lag by days", "lag by rows"],
)
@settings(max_examples=25, deadline=None)
@given(rows=histories())
@example(
    rows=pa.table(
        {
            "who": ["a"] * 3,
            "at": pa.array([0] * 3, pa.timestamp("us", tz="UTC")),
            "known": pa.array([0] * 3, pa.timestamp("us", tz="UTC")),
            "value": [1e6, 1e6 + 1, 1e6],
        }
    )
)
def test_windows_look_at_the_past_only(
    section: dict[str, Any], available: str | None, rows: pa.Table
) -> None:
    """Made again from what was available alone, each feature has the same bits."""
    spec = spec_of(**section, availableColumn=available)

    found = past_only("some@v1", fit(spec, rows), rows)

    assert (found.outcome, found.counts["sampled_rows"]) == ("pass", rows.num_rows)


@pytest.mark.parametrize("late_hours", [0, 5, 30, 200])
def test_rows_that_were_asked_in_between_change_no_bit(late_hours: int) -> None:
    """Of values that round, too: a window that became known late is the same whether or not other rows looked at it."""
    rng = np.random.default_rng(late_hours)
    at = np.arange(800) * (DAY // 24)
    moment = pa.timestamp("us", "UTC")
    rows = pa.table(
        {
            "who": rng.choice(list("abc"), 800),
            "at": pa.array(at, moment),
            "known": pa.array(at + late_hours * (DAY // 24) + rng.integers(0, 60_000_000, 800), moment),
            "value": rng.gamma(3, 20, 800).round(2),
        }
    )
    fitted = fit(spec_of(availableColumn="known", windowDays=5), rows)

    assert past_only("some@v1", fitted, rows).counts["differing"] == 0


IN_TEXT = ["2024-03-01T10:00:00+02:00", "2024-03-01T09:00:00", "20240302T100000", None]


@pytest.mark.parametrize(
    "known",
    [
        pa.array(IN_TEXT),
        pa.array(IN_TEXT).dictionary_encode(),
        pa.array([None if each is None else each * 1000 + 1 for each in (1, 2, 3, None)], pa.timestamp("ns")),
        pa.DictionaryArray.from_arrays(
            pa.array([0, 0, 0, 1]), pa.array([datetime(2024, 3, 1, tzinfo=UTC), None])
        ),
    ],
    ids=["texts", "coded texts", "nanoseconds", "null within a dictionary"],
)
def test_times_are_read_as_windows_read_them(known: pa.Array) -> None:
    """Whatever is a time to a transformer is one to the gate, and null is never."""
    rows = pa.table(
        {
            "who": ["a"] * 4,
            "at": pa.array(["2024-03-01", "2024-03-02T00:00:00+00:00", "20240303", "2024-03-04"]),
            "known": known,
            "value": [1.0, 2.0, 4.0, 8.0],
        }
    )
    spec = spec_of(availableColumn="known")

    assert past_only("some@v1", fit(spec, rows), rows).outcome == "pass"
    line = pa.table({"split": ["test"], "at": ["2124-01-01"]})
    assert targets_known("some@v1", rows, ["known"], line, "at").counts["late"] == 1


def test_no_rows_are_no_leak() -> None:
    """There is nothing that could be known too early."""
    rows = pa.table({"who": pa.array([], pa.string()), "at": times(), "value": pa.array([], pa.float64())})

    assert past_only("some@v1", fit(spec_of(), rows), rows).outcome == "pass"


class _AllRowsMean:
    """A z-score as it is often written by mistake: over all rows, those to come among them."""

    def __init__(self, spec: TransformerSpec) -> None:
        self.spec = spec

    def transform(self, rows: pa.Table) -> pa.Table:
        values = rows["value"].to_numpy()
        return pa.table({name: values - values.mean() for name in self.spec.outputs.values()})

    def to_bytes(self) -> bytes:
        raise AssertionError("the gate computes features and writes no transformer")


def test_a_feature_of_rows_to_come_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a sample of the rows as in all of them."""
    rows = pa.table(
        {"who": ["a"] * 50, "at": times(*range(50)), "value": np.random.default_rng(1).normal(size=50)}
    )
    peeking: FittedTransformer = _AllRowsMean(spec_of())

    assert past_only("peeking@v1", peeking, rows).outcome == "fail"
    monkeypatch.setattr(leak, "SAMPLE_ROWS", 10)
    found = past_only("peeking@v1", peeking, rows)

    assert (found.outcome, found.counts["sampled_rows"]) == ("fail", 10)


def test_long_histories_allow_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read again has a bound, and the finding says how many rows that was."""
    rows = pa.table({"who": ["a"] * 40, "at": times(*range(40)), "value": np.arange(40.0)})
    monkeypatch.setattr(leak, "MOST_HISTORY", 100)

    found = past_only("some@v1", fit(spec_of(), rows), rows)

    assert found.outcome == "pass"
    assert 1 <= found.counts["sampled_rows"] < 40


def test_histories_are_read_in_batches_of_the_columns_that_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a row's window does not read is not copied with its past, and no more rows lie in memory than allowed."""
    rows = pa.table(
        {"who": ["a"] * 60, "at": times(*range(60)), "value": np.arange(60.0), "note": ["long"] * 60}
    )
    peeking: FittedTransformer = _AllRowsMean(spec_of())
    seen: list[tuple[int, list[str]]] = []
    inner = fit(spec_of(), rows)

    class Seen(_AllRowsMean):
        def transform(self, table: pa.Table) -> pa.Table:
            seen.append((table.num_rows, table.column_names))
            return inner.transform(table)

    monkeypatch.setattr(leak, "_BATCH_HISTORY", 200)
    found = past_only("some@v1", Seen(spec_of()), rows)

    assert (found.outcome, found.counts["sampled_rows"]) == ("pass", 60)
    assert all(columns == ["who", "at", "value"] for _, columns in seen)
    assert max(count for count, _ in seen[1:]) <= 200
    assert sum(count for count, _ in seen[1:]) == 60 * 61 // 2
    # To the last row alone, all rows are its past.
    assert past_only("peeking@v1", peeking, rows).counts["differing"] == 59
