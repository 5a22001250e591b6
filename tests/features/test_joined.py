"""A transformer of another source as a line reads it: what its rows are given of a table, and the rule that looks at it again."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.features import joined as joining
from platform_assets.features import leak_join
from platform_assets.features.errors import FeatureError
from platform_assets.features.join_inputs import FeatureTable
from platform_assets.features.joined import JoinedTransformer, is_joined, oldest_known
from platform_assets.features.leak_join import looked_up
from platform_assets.features.transformer import fit
from platform_assets.features.transformer_spec import TransformerSpec
from tests.features.join_reference import joined_slowly

START = datetime(2026, 1, 1, tzinfo=UTC)
LAG: Mapping[str, Any] = {
    "inputSource": "events.parquet",
    "transformerType": "lag",
    "columns": ["amount"],
    "entityKey": "who",
    "timestampColumn": "at",
    "availableColumn": "known",
    "lag": {"days": 3},
}
ENTITIES = st.sampled_from(["a", "b", "ü", ""])
HOURS = st.integers(0, 120)
EVENTS = st.lists(
    st.tuples(ENTITIES, HOURS, st.none() | st.integers(-20, 60), st.none() | st.floats(-9, 9)), max_size=25
)
ASKED = st.lists(st.tuples(ENTITIES, HOURS), max_size=12)


def spec_of(**changes: Any) -> TransformerSpec:
    """A lag of three days; a change of None leaves a field out."""
    found = {**LAG, **changes}
    return TransformerSpec.model_validate({name: value for name, value in found.items() if value is not None})


def events_of(rows: list[tuple[str, int, int | None, float | None]]) -> pa.Table:
    """A table of features: whose, of which hour, known so many hours later or not at all, and the feature."""
    when = [START + timedelta(hours=at) for _, at, _, _ in rows]
    known = [
        None if late is None else time + timedelta(hours=late)
        for time, (_, _, late, _) in zip(when, rows, strict=True)
    ]
    return pa.table(
        {
            "who": pa.array([who for who, *_ in rows], pa.string()),
            "at": pa.array(when, pa.timestamp("us", "UTC")),
            "known": pa.array(known, pa.timestamp("us", "UTC")),
            "amount_lag": pa.array([value for *_, value in rows], pa.float64()),
        }
    )


def asked_of(rows: list[tuple[str, int]]) -> pa.Table:
    """Rows of a line: whose, and of which hour."""
    return pa.table(
        {
            "who": pa.array([who for who, _ in rows], pa.string()),
            "decided": pa.array([START + timedelta(hours=at) for _, at in rows], pa.timestamp("us", "UTC")),
        }
    )


def transformer(table: pa.Table | None, **changes: Any) -> JoinedTransformer:
    """The lag of another source, beside its table."""
    spec = spec_of(**changes)
    return JoinedTransformer(fit(spec, pa.table({})), "decided", table)


@settings(max_examples=60, deadline=None)
@given(EVENTS, ASKED)
def test_each_row_has_the_newest_that_was_known_before_it(
    events: list[tuple[str, int, int | None, float | None]], asked: list[tuple[str, int]]
) -> None:
    """No row is lost or moved, and the counts say why the others have none; the gate's own reading agrees."""
    table, rows = events_of(events), asked_of(asked)
    one = transformer(table)

    made, outcomes = one.joined(rows)

    expected, counts = joined_slowly(
        rows.rename_columns(["who", "at"]), table, entity=["who"], time="at", available="known",
        max_age=timedelta(days=3),
    )  # fmt: skip
    assert made["amount_lag"].to_pylist() == [row["amount_lag"] for row in expected]
    assert (outcomes.found, outcomes.no_row, outcomes.not_yet, outcomes.too_old) == tuple(counts.values())
    found = looked_up("events_lag@v1", one, rows)
    assert (found.outcome, found.counts["sampled_rows"]) == ("pass", len(asked))


@pytest.mark.parametrize(
    ("changes", "days"),
    [
        ({"transformerType": "zscore", "lag": None, "windowDays": 12}, 12),
        ({}, 3),
        ({"lag": None, "windowDays": 9}, 9),
        ({"lag": {"rows": 2, "tolerance": 5}}, 5),
        ({"lag": {"rows": 2}}, None),
    ],
)
def test_a_row_may_be_as_old_as_it_looks_back_itself(changes: dict[str, Any], days: int | None) -> None:
    """And says so wherever it is fitted: the age follows from what is kept of it."""
    spec = spec_of(**changes)

    oldest = oldest_known(spec)

    assert oldest == (None if days is None else timedelta(days=days))
    assert oldest_known(fit(spec, pa.table({})).spec) == oldest


@pytest.mark.parametrize(("age_hours", "expected"), [(72, [1.0]), (73, [None])])
def test_what_is_too_old_is_not_known(age_hours: int, expected: list[float | None]) -> None:
    """One that is exactly as old as may be counts."""
    table = events_of([("a", 0, 0, 1.0)])

    made, outcomes = transformer(table).joined(asked_of([("a", age_hours)]))

    assert made["amount_lag"].to_pylist() == expected
    assert outcomes.too_old == expected.count(None)


@pytest.mark.parametrize(
    "numbers", [pa.array([7, 12], kind) for kind in (pa.int64(), pa.int8(), pa.uint64())]
)
@pytest.mark.parametrize("encoded", [False, True])
def test_integers_of_a_file_meet_keys_of_a_line(numbers: pa.Array, *, encoded: bool) -> None:
    """A line has every key as text, as its ingestion writes integers."""
    table = events_of([("7", 1, 0, 1.0), ("12", 1, 0, 2.0)])
    table = table.set_column(0, "who", numbers.dictionary_encode() if encoded else numbers)
    one, rows = transformer(table), asked_of([("12", 5), ("7", 5), ("007", 5)])

    assert one.transform(rows)["amount_lag"].to_pylist() == [2.0, 1.0, None]
    assert looked_up("events_lag@v1", one, rows).outcome == "pass"


@pytest.mark.parametrize(
    "broken",
    [
        {"available": None},
        {"max_age": None},
        {"time": "known", "available": None},
    ],
)
def test_a_value_that_was_not_known_yet_is_found(
    monkeypatch: pytest.MonkeyPatch, broken: dict[str, Any]
) -> None:
    """A join that forgets when a value became known, or how old it may be, fails the rule by as many rows as differ."""
    events = [("a", 1, 30, 1.0), ("a", 2, 3, 4.0), ("a", 3, 90, 2.0), ("b", 0, 0, 3.0)]
    one, rows = transformer(events_of(events)), asked_of([("a", 10), ("a", 40), ("b", 100), ("c", 9)])
    assert looked_up("events_lag@v1", one, rows).outcome == "pass"

    def careless(*args: Any, **given: Any) -> FeatureTable:
        found = FeatureTable(*args, **given)
        return FeatureTable(
            **{name: getattr(found, name) for name in ("rows", "time", "available", "max_age")} | broken
        )

    monkeypatch.setattr(joining, "FeatureTable", careless)
    found = looked_up("events_lag@v1", one, rows)

    assert found.outcome == "fail"
    assert 0 < found.counts["differing"] < rows.num_rows
    assert "than the newest of its table that was known before them" in found.reason


def test_a_value_of_the_rows_own_instant_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What becomes available at the very time of a row may be its own outcome."""
    one, rows = transformer(events_of([("a", 5, 0, 1.0)])), asked_of([("a", 5), ("a", 6)])
    labels = joining.Labels
    monkeypatch.setattr(joining, "Labels", lambda *given: labels(*given, include_current=True))

    found = looked_up("events_lag@v1", one, rows)

    assert (found.outcome, found.counts["differing"]) == ("fail", 1)


def test_long_histories_are_looked_at_as_far_as_they_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """The finding says of how many rows it speaks, and never of none."""
    one = transformer(events_of([("a", at, 0, 1.0) for at in range(10)]))
    rows = asked_of([("a", at) for at in range(8)])
    for most, looked_at in ((35, 3), (1, 1)):
        monkeypatch.setattr(leak_join, "MOST_HISTORY", most)

        assert looked_up("events_lag@v1", one, rows).counts["sampled_rows"] == looked_at


@pytest.mark.parametrize(
    ("changes", "line", "expected"),
    [
        ({"inputSource": "asset://loans_dataset"}, "loans", False),
        ({"inputSource": "asset://loans_dataset"}, "cards", True),
        ({"inputSource": "events.parquet"}, "loans", True),
    ],
)
def test_what_looks_back_on_another_source_is_joined(
    changes: dict[str, Any], line: str, *, expected: bool
) -> None:
    """That of the line's own dataset looks along the line's own rows."""
    assert is_joined(spec_of(**changes), line) is expected


def test_a_row_that_says_not_whose_it_is_is_refused() -> None:
    """As everywhere: nobody guesses, and no value is quoted."""
    rows = asked_of([("a", 1), ("b", 2)])
    rows = rows.set_column(0, "who", pa.array(["a", None]))

    with pytest.raises(FeatureError, match=r"the rows of the line: column 'who' is null in 1 of 2 rows"):
        transformer(events_of([("a", 0, 0, 1.0)])).transform(rows)


def test_without_its_table_nothing_is_guessed() -> None:
    """As a model has it that was loaded without the platform."""
    with pytest.raises(FeatureError, match="amount_lag: is looked up in a table that is not here"):
        transformer(None).transform(asked_of([("a", 1)]))


def test_the_state_is_that_of_the_transformer() -> None:
    """Its table is no part of it: equal transformers have equal bytes."""
    one = transformer(events_of([("a", 0, 0, 1.0)]))

    assert one.to_bytes() == one.fitted.to_bytes()
