"""Windows of tables: what each row is given, by exact arithmetic."""

import math
import random
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.features.transformer import fit
from platform_assets.features.transformer_spec import TransformerSpec
from platform_assets.features.window_columns import SMALLEST_DEVIATION
from platform_assets.features.windows import WindowTransformer
from tests.features.window_factory import SPECS, history, spec, streams, table
from tests.features.window_reference import DAY, Row, expected, signed_root


def answered(said: TransformerSpec, rows: list[Row], **options: Any) -> list[float | None]:
    """What each row is given."""
    return WindowTransformer(said, **options).transform(table(rows)).column(0).to_pylist()


def assert_close(found: list[float | None], right: list[float | None]) -> None:
    """Null where it must be, and else within 1e-12, of the size of the answer where that is large."""
    assert [value is None for value in found] == [value is None for value in right]
    for value, exact in zip(found, right, strict=True):
        if value is not None and exact is not None:
            assert abs(value - exact) <= 1e-12 * max(1, abs(exact))


@given(st.data())
@settings(max_examples=120)
def test_every_row_is_given_what_is_written(data: st.DataObject) -> None:
    """Ties, gaps, duplicates, missing values, late and early knowledge, in any order of rows."""
    said = data.draw(SPECS)
    rows = data.draw(streams(said))
    if data.draw(st.booleans()):
        rows = data.draw(st.permutations(rows))

    assert_close(answered(said, rows), expected(said, rows))


@pytest.mark.long
@given(st.data())
@settings(max_examples=5_000)
def test_every_row_is_given_what_is_written_often(data: st.DataObject) -> None:
    """The same, many times."""
    said = data.draw(SPECS)
    rows = data.draw(streams(said))

    assert_close(answered(said, rows), expected(said, rows))


@given(st.data())
@settings(max_examples=50)
def test_threads_change_no_bit(data: st.DataObject) -> None:
    """However many threads share the entities, the answers are equal."""
    said = data.draw(SPECS)
    rows = data.draw(streams(said))

    assert answered(said, rows, threads=3) == answered(said, rows)


@given(st.data())
@settings(max_examples=120)
def test_a_row_sees_nothing_that_was_not_known(data: st.DataObject) -> None:
    """Other values, or none, of rows that were not available before a row change no bit of its answer."""
    said = data.draw(SPECS)
    rows = data.draw(streams(said).filter(bool))
    at = data.draw(st.integers(0, len(rows) - 1))
    row = rows[at]
    current = said.transformer_type == "zscore" and said.of_type().include_current

    def unknown(other: Row) -> bool:
        """Whether it may not be seen; an event is no earlier known than it is."""
        if other is row:
            return False
        if other.available is None:
            return True
        known = max(other.available, other.time)
        return known > row.time or (known == row.time and not current)

    other_values = [
        Row(other.entity, other.time, 7.5, other.available) if unknown(other) else other for other in rows
    ]
    without = [other for other in rows if not unknown(other)]
    place = next(k for k, other in enumerate(without) if other is row)

    assert answered(said, other_values)[at] == answered(said, rows)[at]
    assert answered(said, without)[place] == answered(said, rows)[at]


@pytest.mark.parametrize(
    ("apart", "counts"), [(1.01 * SMALLEST_DEVIATION, True), (0.99 * SMALLEST_DEVIATION, False)]
)
def test_the_least_deviation_that_counts(*, apart: float, counts: bool) -> None:
    """Two values have half their distance as deviation: nearer together, they are taken for equal: no z-score."""
    (*_, answer) = answered(spec(), history(0.0, apart, apart))
    assert (answer is not None) is counts


def test_a_zscore_by_hand() -> None:
    """Of 1, 2, 3 before it, the row of 4 is two sample deviations above the mean, and its own value is not among them."""
    assert answered(spec(), history(1, 2, 3, 4)) == [None, None, pytest.approx(3 / math.sqrt(2)), 2.0]


def test_the_window_holds_its_first_instant_and_not_its_last() -> None:
    """By default [t - w, t); with includeCurrent (t - w, t]."""
    rows = history(1, 3, 9)

    assert answered(spec(windowDays=2), rows)[2] == pytest.approx(7 / math.sqrt(2))
    assert answered(spec(windowDays=2, zscore={"includeCurrent": True}), rows)[2] == pytest.approx(
        3 / math.sqrt(18)
    )


@pytest.mark.parametrize("current", [False, True])
def test_rows_of_one_instant_see_the_same_window(*, current: bool) -> None:
    """Whatever their order."""
    early = history(1, 2, 4)
    tied = [Row("a", 3 * DAY, value, 3 * DAY) for value in (5.0, 6.0, 5.0)]
    said = spec(zscore={"includeCurrent": current})
    found = answered(said, early + tied)[3:]

    assert found[0] == found[2] != found[1]
    assert answered(said, [*early, tied[1], tied[0], tied[2]])[3:] == pytest.approx(
        [found[1], found[0], found[2]]
    )


def test_no_deviation_has_no_zscore() -> None:
    """Equal values, also of the kind whose sums round, give null and never a quotient of roundings."""
    for value in (0.1, 1e9 + 0.1, -1e-9, 1e139):
        assert answered(spec(), history(*[value] * 50, 2 * value))[1:] == [None] * 50


def test_a_missing_value_has_no_zscore_and_a_lag() -> None:
    """A row without a value is answered, and is nobody's history."""
    rows = history(1, 2, None, 4)

    assert answered(spec(), rows)[2] is None
    assert answered(spec("lag", lag={"rows": 1}), rows) == [None, 1.0, 2.0, 2.0]


def test_of_equal_times_the_last_known_is_the_lag() -> None:
    """And of those known as late, the later row."""
    said = spec("lag", available=True, lag={"days": 1})
    old = [Row("a", 0, 1.0, 5), Row("a", 0, 2.0, 7), Row("a", 0, 3.0, 7), Row("a", 0, 4.0, 6)]

    assert answered(said, [*old, Row("a", DAY, None, DAY)])[-1] == 3.0


def test_a_value_known_late_is_seen_from_then_on() -> None:
    """A flight's delay is no history of the flights that took off before it had landed."""
    said = spec("lag", available=True, lag={"rows": 1})
    rows = [Row("a", 0, 5.0, 100), Row("a", 99, 6.0, 200), Row("a", 100, 7.0, 101), Row("a", 101, 8.0, 300)]

    assert answered(said, rows) == [None, None, None, 5.0]
    assert answered(said, [*rows, Row("a", 102, 1.0, 400)])[-1] == 7.0


def test_two_zones_that_name_the_same_instants_give_equal_answers() -> None:
    """Through the night in which clocks are put back, and as texts, too; a day has 24 hours."""
    pc = pytest.importorskip("pyarrow.compute")
    hours = pa.array(range(0, 100 * 3_600_000_000, 3_600_000_000), pa.int64())
    start = 1_729_900_800_000_000  # 2024-10-26T00:00Z, the day before
    utc = pc.add(hours, start).cast(pa.timestamp("us", "UTC"))
    values = np.random.default_rng(1).normal(size=100)
    berlin = utc.cast(pa.timestamp("us", "Europe/Berlin"))
    texts = pa.array([time.as_py().isoformat() for time in berlin])
    assert len({text[-6:] for text in texts.to_pylist()}) == 2
    for kind, said in (("zscore", {"windowDays": 1}), ("lag", {"lag": {"days": 1}})):
        transformer = WindowTransformer(spec(kind, **said))
        found = [
            transformer.transform(pa.table({"e": ["a"] * 100, "t": times, "x": values})).column(0).to_pylist()
            for times in (utc, berlin, texts, utc.cast(pa.timestamp("us")), utc.cast(pa.timestamp("ms")))
        ]

        assert found[0][30] is not None
        assert all(other == found[0] for other in found[1:])
    assert found[0][24:] == values[:-24].tolist()


@pytest.mark.parametrize(
    "times",
    [
        pa.array([0, 1, 2, 3], pa.date32()),
        pa.array([k * 86_400_000 for k in range(4)], pa.date64()),
        pa.array([k * 86_400 for k in range(4)], pa.timestamp("s")),
        pa.array([k * DAY * 1_000 + 999 for k in range(4)], pa.timestamp("ns", "Asia/Tokyo")),
        pa.array(["1970-01-01", "1970-01-02T00:00", "1970-01-03 00:00:00", "1970-01-04T02:00+02:00"]),
        pa.array(["1970-01-01", "1970-01-02", "1970-01-03", "1970-01-04"]).dictionary_encode(),
        pa.array(["1970-01-01", "1970-01-02", "1970-01-03", "1970-01-04"], pa.large_string()),
    ],
    ids=lambda times: str(times.type),
)
def test_times_of_every_kind(times: pa.Array) -> None:
    """Whatever a time is written as, it is the same instant, to the microsecond below."""
    rows = pa.table({"e": ["a"] * 4, "t": times, "x": [1.0, 2.0, 3.0, 4.0]})

    assert WindowTransformer(spec("lag", lag={"days": 1})).transform(rows).column(0).to_pylist() == [
        None,
        1.0,
        2.0,
        3.0,
    ]


@pytest.mark.parametrize(
    "entities",
    [
        pa.array(["b", "a", "b", "a"]),
        pa.array(["b", "a", "b", "a"], pa.large_string()),
        pa.array(["b", "a", "b", "a"], pa.string_view()),
        pa.array(["b", "a", "b", "a"]).dictionary_encode(),
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 3], pa.int8()), ["b", "a", "b", "a"]),
        pa.DictionaryArray.from_arrays(pa.array([1, 0, 1, 0], pa.uint16()), ["unused", "b", "a"][1:]),
        pa.array([2, 1, 2, 1], pa.int8()),
        pa.array([2**63 + 5, 1, 2**63 + 5, 1], pa.uint64()),
        pa.array([2, 1, 2, 1]).dictionary_encode(),
    ],
    ids=lambda entities: str(entities.type),
)
def test_entities_of_every_kind(entities: pa.Array) -> None:
    """Texts and integers, as columns of categories or plain, in one chunk or several, name the same entities."""
    times = pa.array([0, 1, 2, 3], pa.timestamp("us"))
    rows = pa.table({"e": entities, "t": times, "x": [1.0, 2.0, 3.0, 4.0]})
    transformer = WindowTransformer(spec("lag", lag={"rows": 1}))
    right = [None, None, 1.0, 2.0]

    assert transformer.transform(rows).column(0).to_pylist() == right
    in_chunks = pa.concat_tables([rows.slice(0, 1), rows.slice(1, 2), rows.slice(3)])
    assert transformer.transform(in_chunks).column(0).to_pylist() == right


def test_values_of_every_kind() -> None:
    """Integers, decimals, halves of a float and booleans are numbers; a null of theirs is missing."""
    times = pa.array([0, 1, 2], pa.timestamp("us"))
    for values in (
        pa.array([1, None, 0], pa.int8()),
        pa.array([1, None, 0], pa.decimal128(5)),
        pa.array([1, None, 0], pa.float32()),
        pa.array([True, None, False]),
        pa.array([1.0, None, 0.0]).dictionary_encode(),
    ):
        rows = pa.table({"e": ["a"] * 3, "t": times, "x": values})
        found = WindowTransformer(spec("lag", lag={"rows": 1})).transform(rows)
        assert found.column(0).to_pylist() == [None, 1.0, 1.0]


def test_columns_have_histories_of_their_own() -> None:
    """What one lacks is no gap of another; features are named as the spec says."""
    said = TransformerSpec.model_validate(
        spec("lag", lag={"rows": 1}).model_dump(by_alias=True)
        | {"columns": ["x", "y"], "outputNames": {"y": "before"}}
    )
    rows = pa.table(
        {
            "y": [5.0, None, 7.0],
            "e": ["a"] * 3,
            "t": pa.array([2, 1, 0], pa.timestamp("us")),
            "x": [1.0, 2.0, 3.0],
        }
    )

    assert WindowTransformer(said).transform(rows).to_pydict() == {
        "x_lag": [2.0, 3.0, None],
        "before": [7.0, 7.0, None],
    }


@pytest.mark.parametrize("kind", ["zscore", "lag"])
def test_no_rows_have_no_features(kind: str) -> None:
    """A table without rows has columns without rows."""
    found = WindowTransformer(spec(kind)).transform(table([]))

    assert (found.num_rows, found.column_names, found.column(0).type) == (0, [f"x_{kind}"], pa.float64())


def test_a_hundred_years_have_room() -> None:
    """The longest window reaches to the first event, also of times long ago."""
    rows = [
        Row("a", time, value, time)
        for time, value in ((-(2**62), 1.0), (-(2**62) + 36_500 * DAY, 2.0), (2**62, 3.0))
    ]

    assert answered(spec("lag", lag={"days": 36_500}), rows) == [None, 1.0, 2.0]
    assert answered(spec(windowDays=36_500), rows) == [None, None, None]


def _worst(values: np.ndarray, *, window: int, days: int = 30) -> float:
    """The largest error of a z-score, of sample deviation over `window` values before each, by exact arithmetic."""
    times = (np.arange(len(values)) * days * DAY) // window
    rows = pa.table({"e": ["a"] * len(values), "t": pa.array(times, pa.timestamp("us")), "x": values})
    found = WindowTransformer(spec(windowDays=days)).transform(rows).column(0).to_pylist()
    exact = [Fraction(float(value)) for value in values]
    sums, squares = [Fraction(0)], [Fraction(0)]
    for value in exact:
        sums.append(sums[-1] + value)
        squares.append(squares[-1] + value * value)
    worst = 0.0
    for at in range(2, len(values)):
        start = max(at - window, 0)
        n, total = at - start, sums[at] - sums[start]
        variance = (squares[at] - squares[start] - total * total / n) / (n - 1)
        distance = exact[at] - total / n
        right = signed_root(distance * distance / variance, distance)
        worst = max(worst, abs(found[at] - right))
    return worst


def test_ordinary_values_are_right_to_1e_12() -> None:
    """Small windows and large ones, of normal and of skewed values."""
    drawn = np.random.default_rng(2)

    assert _worst(drawn.normal(size=1_000), window=10) <= 1e-12
    assert _worst(drawn.normal(size=3_000), window=1_000) <= 1e-12
    assert _worst(drawn.lognormal(0, 2, size=1_000), window=100) <= 1e-12


def test_with_a_billion_added_they_are_right_to_1e_6() -> None:
    """And to 1e-12 against the values as they are then: what adding loses is not the window's fault."""
    values = np.random.default_rng(3).normal(size=2_000)

    assert _worst(values + 1e9, window=50) <= 1e-12
    rows = history(*(values + 1e9).tolist(), step_days=0.5)
    meant = answered(spec(), history(*values.tolist(), step_days=0.5))
    assert max(abs(a - b) for a, b in zip(answered(spec(), rows)[5:], meant[5:], strict=True)) <= 1e-6


@pytest.mark.parametrize("outlier", [1e12, -1e15, 1e100])
def test_an_outlier_that_has_left_leaves_nothing(outlier: float) -> None:
    """The answers after it are those of rows that never had it, within 1e-12."""
    values = np.random.default_rng(4).normal(size=400)
    for at in (0, 37, 60, 61, 120):
        spoilt = values.copy()
        spoilt[at] = outlier
        found = answered(spec(), history(*spoilt.tolist(), step_days=0.5))
        right = answered(spec(), history(*values.tolist(), step_days=0.5))

        assert found[at + 61 :] == pytest.approx(right[at + 61 :], abs=1e-12)


def test_a_fitted_window_is_its_spec() -> None:
    """It is written and read; what means the same has equal bytes, and another meaning other bytes."""
    fitted = fit(spec(windowDays=30), table([]))
    again = WindowTransformer.from_bytes(fitted.to_bytes())

    assert again.to_bytes() == fitted.to_bytes() == WindowTransformer(spec()).to_bytes()
    assert again.spec.normalised() == spec().normalised()
    assert WindowTransformer(spec(windowDays=31)).to_bytes() != fitted.to_bytes()
    lag = WindowTransformer(spec("lag"))
    assert lag.to_bytes() == WindowTransformer(spec("lag", lag={"days": 30})).to_bytes()
    assert WindowTransformer.from_bytes(lag.to_bytes()).spec.normalised() == lag.spec.normalised()
    by_rows = WindowTransformer(spec("lag", lag={"rows": 2}))
    assert WindowTransformer.from_bytes(by_rows.to_bytes()).to_bytes() == by_rows.to_bytes()


def test_sorted_rows_and_others_have_equal_answers() -> None:
    """Rows by entity and time, by time alone, and in no order: of distinct times, each has the same bits."""
    drawn = random.Random(5)
    rows = [
        Row(entity, 1_000 * k + place, drawn.gauss(), 0)
        for place, entity in enumerate("abc")
        for k in range(200)
    ]
    right = dict(zip(rows, answered(spec(), rows), strict=True))
    for order in (sorted(rows, key=lambda row: row.time), drawn.sample(rows, len(rows))):
        assert answered(spec(), order) == [right[row] for row in order]


@pytest.mark.parametrize("kind", [pa.decimal128(12, 3), pa.decimal256(50, 12)])
def test_decimals_are_the_floats_nearest_to_them(kind: pa.DataType) -> None:
    """Bit by bit what the floats give, as a stream is given them."""
    numbers = [number / 1000 for number in range(-20_117, 20_117, 37)]
    plain = table(history(*numbers))
    exact = plain.set_column(2, "x", pa.array([Decimal(str(number)) for number in numbers], kind))
    assert (
        WindowTransformer(spec("lag", lag={"rows": 1}))
        .transform(exact)
        .equals(WindowTransformer(spec("lag", lag={"rows": 1})).transform(plain))
    )
