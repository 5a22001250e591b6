"""What a row is given depends on the events of its window, to the last bit, and on nothing older."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.features.transformer_spec import TransformerSpec
from platform_assets.features.windows import WindowStream
from tests.features.window_factory import current, cuts, known, spec, table, whole
from tests.features.window_reference import DAY, Row

LOOKING_BACK = {
    "zscore": spec(windowDays=3),
    "current": spec(windowDays=3, zscore={"includeCurrent": True}),
    "population": spec(windowDays=7, zscore={"deviation": "population", "minPeriods": 3}),
    "late": spec(windowDays=3, available=True),
    "late-current": spec(windowDays=3, available=True, zscore={"includeCurrent": True}),
    "late-one-day": spec(windowDays=1, available=True),
    "lag": spec("lag", lag={"days": 2, "tolerance": 1}),
    "lag-late": spec("lag", available=True, lag={"days": 2, "tolerance": 1}),
    "lag-rows": spec("lag", lag={"rows": 3, "tolerance": 2}),
    "lag-rows-late": spec("lag", available=True, lag={"rows": 3, "tolerance": 2}),
}
"""Specs that say how far they look back."""
SPECS = st.sampled_from(sorted(LOOKING_BACK)).map(LOOKING_BACK.__getitem__)


def readings(
    seed: int, *, rows: int = 150, hours: float = 8, gaps: float = 0.02, begin: int = 0
) -> list[Row]:
    """Rows of two entities, some hours apart, whose sums all round: ties, gaps, missing values, late and no knowledge."""
    drawn = np.random.default_rng(seed)
    steps = drawn.exponential(hours * DAY / 24, rows) * (drawn.random(rows) > 0.2)
    steps += 4 * DAY * (drawn.random(rows) < gaps)
    times = begin + np.cumsum(steps.astype(np.int64))
    values = drawn.normal(100, 7, rows) * np.where(drawn.random(rows) < 0.03, 1e6, 1)
    delays = (drawn.exponential(DAY, rows) * drawn.integers(0, 3, rows)).astype(np.int64) - DAY // 24
    return [
        Row(
            "ab"[int(drawn.random() < 0.3)],
            int(time),
            None if drawn.random() < 0.1 else float(value),
            None if drawn.random() < 0.05 else int(time + delay),
        )
        for time, value, delay in zip(times, values, delays, strict=True)
    ]


STREAMS = st.builds(
    readings,
    st.integers(0, 2**32),
    hours=st.sampled_from([1, 4, 12, 30]),
    begin=st.sampled_from([0, -(10**15), 1_700_000_000_000_000]),
)


def since(said: TransformerSpec, rows: list[Row], time: int) -> tuple[list[Row], int]:
    """The rows that those from a time on depend on and they themselves, and how many are the former alone."""
    assert said.history_us is not None
    kept = [row for row in rows if row.time >= time - said.history_us]
    return kept, sum(row.time < time for row in kept)


def _begins_later(data: st.DataObject) -> None:
    said, rows = data.draw(SPECS), data.draw(STREAMS)
    kept, before = since(said, rows, data.draw(st.sampled_from(rows)).time)
    older = data.draw(st.integers(0, len(rows) - len(kept)))
    right = whole(said, rows)[len(rows) - len(kept) + before :]

    assert whole(said, kept)[before:] == right
    assert whole(said, rows[older:])[-len(right) :] == right


@given(st.data())
@settings(max_examples=100)
def test_a_table_may_begin_where_the_window_does(data: st.DataObject) -> None:
    """All older rows left out, or some: those that stay are given equal bits."""
    _begins_later(data)


@pytest.mark.long
@given(st.data())
@settings(max_examples=3_000)
def test_a_table_may_begin_where_the_window_does_often(data: st.DataObject) -> None:
    """The same, many times."""
    _begins_later(data)


@given(st.data())
@settings(max_examples=60)
def test_a_stream_may_begin_where_the_window_does(data: st.DataObject) -> None:
    """In chunks, and one row at a time, whatever is asked in between; saved and loaded on the way."""
    said, rows = data.draw(SPECS), data.draw(STREAMS)
    kept, before = since(said, rows, data.draw(st.sampled_from(rows)).time)
    right = whole(said, rows)[len(rows) - len(kept) :]
    stream, found = WindowStream(said), []
    for chunk in cuts(data, said, kept):
        if current(said) or data.draw(st.booleans()):
            found += stream.process(table(chunk)).column(0).to_pylist()
        else:
            for row in chunk:
                stream.query(
                    row.entity, row.time + data.draw(st.sampled_from([0, 1, DAY])), [1.0], *known(said, row)
                )
                found += stream.update(row.entity, row.time, [row.value], *known(said, row))
        if data.draw(st.booleans()):
            stream = WindowStream(said, stream.to_bytes())

    assert found[before:] == right[before:]


@pytest.mark.parametrize("name", LOOKING_BACK)
def test_days_are_computed_in_any_order(name: str) -> None:
    """Each from the first row that it looks back to, the last day first: the bits of one run over all of them."""
    said, rows = LOOKING_BACK[name], readings(1, rows=1_500, hours=1, gaps=0)
    found: list[float | None] = []
    for day in range(rows[-1].time // DAY, -1, -1):
        kept, before = since(said, [row for row in rows if row.time < (day + 1) * DAY], day * DAY)
        found = whole(said, kept)[before:] + found

    assert found == whole(said, rows)


@pytest.mark.parametrize("name", LOOKING_BACK)
def test_one_more_row_changes_what_looks_back_to_it(name: str) -> None:
    """And no bit of any row before it, or so much later that its window does not hold it."""
    said, rows = LOOKING_BACK[name], readings(2, rows=600, hours=2, gaps=0)
    assert said.history_us is not None
    at = max(range(200, 400), key=lambda k: rows[k].time - rows[k - 1].time)
    more = Row("a", rows[at - 1].time + 1, 3.0, rows[at - 1].time + 1)
    right, found = whole(said, rows), whole(said, [*rows[:at], more, *rows[at:]])
    del found[at]
    changed = [k for k, (one, other) in enumerate(zip(right, found, strict=True)) if one != other]

    assert changed
    assert rows[changed[0]].time >= more.time
    assert rows[changed[-1]].time <= more.time + said.history_us


@pytest.mark.parametrize("name", LOOKING_BACK)
def test_no_less_history_will_do(name: str) -> None:
    """An event that is as old as may be counts; without it, the answer is another."""
    said = LOOKING_BACK[name]
    assert said.history_us is not None
    newest = 5 * said.history_us
    rows = [
        Row("a", newest - said.history_us + late, value, newest - said.history_us + late)
        for late, value in ((0, 1.0), (1, 2.5), (2, 4.5), (3, 5.0))
    ]
    if said.transformer_type == "lag":
        # The one that counts is the newest for one by days, and the third from the last for one by rows.
        rows = rows[:1] if said.of_type().rows is None else rows[:3]
    asked = Row("a", newest, 9.0, newest)

    assert whole(said, [*rows, asked])[-1] not in {None, whole(said, [*rows[1:], asked])[-1]}


def test_a_lag_without_tolerance_looks_back_without_end() -> None:
    """There is no day from which it might begin; a weight of evidence looks at no other row."""
    woe = {"inputSource": "rows.csv", "transformerType": "woe", "columns": ["x"], "target": "y"}

    assert spec("lag", lag={"rows": 1}).history_us is None
    assert spec("lag").history_us is None
    assert TransformerSpec.model_validate(woe).history_us == 0
