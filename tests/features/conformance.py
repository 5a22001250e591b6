"""What every engine of transformers does alike, to the last bit: one contract, which an engine joins by one subclass.

    class TestMyEngine(TransformerContract):
        @pytest.fixture
        def engine(self):
            return my_engine        # (transformer, rows) -> the column `row` and the features, in any order

Rows are the table's, in its order: where two of an entity are of one instant, the later one stands later. A column `row`
numbers them; an engine hands it through. Weights of evidence are fitted to the rows themselves. The numbers to agree with
are those of one table, which tests of their own hold against exact arithmetic.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from platform_assets.features.transformer import fit
from platform_assets.features.transformer_spec import FeatureTransformer
from tests.features.transformers import DAY_US, transformer

Engine = Callable[[FeatureTransformer, pa.Table], pa.Table]
ROW = "row"
_BEGIN = datetime(2024, 3, 1, tzinfo=UTC)

OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "zscore": ("zscore", {}),
    "zscore-current": ("zscore", {"zscore": {"includeCurrent": True, "minPeriods": 2}}),
    "zscore-population": (
        "zscore",
        {"zscore": {"deviation": "population", "minPeriods": 2}, "windowDays": 2},
    ),
    "zscore-one-day": ("zscore", {"zscore": {"minPeriods": 3}, "windowDays": 1}),
    "zscore-late": ("zscore", {"zscore": {"minPeriods": 2}, "availableColumn": "known"}),
    "zscore-late-current": (
        "zscore",
        {"zscore": {"minPeriods": 2, "includeCurrent": True}, "availableColumn": "known", "windowDays": 5},
    ),
    "lag": ("lag", {"windowDays": 3}),
    "lag-tolerance": ("lag", {"lag": {"days": 2, "tolerance": 1}}),
    "lag-late": ("lag", {"lag": {"days": 1}, "availableColumn": "known"}),
    "lag-rows": ("lag", {"lag": {"rows": 1}}),
    "lag-rows-late": ("lag", {"lag": {"rows": 3, "tolerance": 4}, "availableColumn": "known"}),
}
"""Type and spec of each transformer that looks along a history."""

WOE_OPTIONS: dict[str, dict[str, Any]] = {
    "auto": {},
    **{name: {"monotonic": name} for name in ("up", "down", "peak", "none")},
    "few": {"maxBins": 2, "minBinShare": 0.3, "rareShare": 0.2, "smoothing": 0.5},
    "many": {"maxBins": 40, "minBinShare": 0, "rareShare": 0},
    "special": {"specialValues": [-999, "other", 7]},
    "neutral": {"missing": "neutral"},
}


def history(*, rows: int = 160, seed: int = 0, **changed: Any) -> pa.Table:
    """Rows of some entities: ties, repeated rows, gaps, missing values, and values that became known late or never."""
    rng = np.random.default_rng(seed)
    entity = np.minimum(rng.geometric(0.35, rows), 6)
    # Hours, so that rows of an entity are often of one instant.
    times = rng.integers(0, 24 * 12, rows) * 3_600_000_000 + int(_BEGIN.timestamp() * 1e6)
    known = times + (rng.exponential(1.0, rows) * DAY_US).astype(np.int64) * (rng.random(rows) < 0.5)
    columns = {
        "entity": pa.array(entity),
        "time": pa.array(times, pa.timestamp("us", "UTC")),
        "known": pa.array(known, pa.timestamp("us", "UTC"), mask=rng.random(rows) < 0.05),
        "amount": pa.array(rng.normal(5, 3, rows), mask=rng.random(rows) < 0.1),
    }
    return numbered(pa.table(columns | changed))


def numbered(table: pa.Table) -> pa.Table:
    """The table with its rows numbered."""
    return table.append_column(ROW, pa.array(range(table.num_rows), pa.int64()))


def shuffled(table: pa.Table, seed: int = 0) -> pa.Table:
    """The rows in another order."""
    order = np.random.default_rng(seed).permutation(table.num_rows)
    return numbered(table.drop_columns(ROW).take(pa.array(order)))


def ordered(table: pa.Table) -> pa.Table:
    """The rows by entity and time."""
    keys = [("entity", "ascending"), ("time", "ascending")]
    return numbered(table.drop_columns(ROW).sort_by(keys))


def histories() -> Iterator[tuple[str, pa.Table]]:
    """Tables that engines get wrong."""
    rng = np.random.default_rng(7)
    plain = history()
    rows = plain.num_rows
    times = np.asarray(plain["time"].cast(pa.int64()))
    amounts = rng.normal(5, 3, rows)

    def with_column(name: str, column: pa.Array) -> pa.Table:
        return plain.set_column(plain.column_names.index(name), name, column)

    yield "shuffled", plain
    yield "ordered", ordered(plain)
    yield "ordered twice over", ordered(pa.concat_tables([plain, plain]))
    yield "no rows", plain.slice(0, 0)
    yield "one row", plain.slice(0, 1)
    yield "each of its own", with_column("entity", pa.array(rng.permutation(rows)))
    yield "all of one", with_column("entity", pa.array([7] * rows))
    yield "one instant", with_column("time", pa.array([0] * rows, pa.timestamp("us", "UTC")))
    yield "no value", with_column("amount", pa.nulls(rows, pa.float64()))
    yield "not a number", with_column("amount", pa.array(np.where(rng.random(rows) < 0.3, np.nan, amounts)))
    yield "one value", with_column("amount", pa.array([0.1] * rows))
    yield "far from zero", with_column("amount", pa.array(amounts + 1e9))
    yield "huge and tiny", with_column("amount", pa.array(amounts * 10.0 ** rng.integers(-140, 140, rows)))
    yield (
        "an outlier leaves",
        with_column("amount", pa.array(np.where(rng.random(rows) < 0.05, 1e15, amounts))),
    )
    yield "integers", with_column("amount", pa.array(rng.integers(-5, 5, rows)))
    yield (
        "decimals",
        with_column(
            "amount", pa.array([Decimal(int(each)) / 4 for each in amounts * 10], pa.decimal128(9, 2))
        ),
    )
    yield "float32", with_column("amount", pa.array(amounts.astype(np.float32)))
    yield "booleans", with_column("amount", pa.array(rng.random(rows) < 0.5, mask=rng.random(rows) < 0.2))
    yield "negative entities", with_column("entity", pa.array(rng.integers(-3, 3, rows).astype(np.int8)))
    yield (
        "large entities",
        with_column("entity", pa.array(rng.integers(2**63, 2**64, 4, np.uint64)[rng.integers(0, 4, rows)])),
    )
    texts = np.array(["", "10", "9", "é", "😀", "z", "Z"])[rng.integers(0, 7, rows)]
    yield "texts", with_column("entity", pa.array(texts))
    yield "dictionaries", with_column("entity", pa.array(texts).dictionary_encode())
    yield "before 1970", with_column("time", pa.array(times - 60 * 365 * DAY_US, pa.timestamp("us", "UTC")))
    yield (
        "nanoseconds",
        with_column("time", pa.array(times * 1000 + rng.integers(0, 3000, rows), pa.timestamp("ns"))),
    )
    yield "no zone", with_column("time", pa.array(times, pa.timestamp("us")))
    yield (
        "summer time begins",
        with_column("time", pa.array(times + 25 * DAY_US, pa.timestamp("us", "Europe/Berlin"))),
    )
    yield (
        "dates",
        with_column(
            "time", pa.array([date(2024, 3, 1) + timedelta(int(at)) for at in rng.integers(0, 30, rows)])
        ),
    )
    yield "seconds", with_column("time", pa.array(times // 1_000_000, pa.timestamp("s", "UTC")))


def loans(*, rows: int = 300, seed: int = 0, **changed: Any) -> pa.Table:
    """Rows for weights of evidence: numbers and categories with gaps, codes and rare ones."""
    rng = np.random.default_rng(seed)
    amount = rng.lognormal(3, 1, rows).round(1)
    home = rng.choice(["rent", "owner", "parents", "other"], rows, p=[0.5, 0.3, 0.15, 0.05])
    bad = rng.random(rows) < 0.15 + 0.4 * (amount < 15) + 0.2 * (home == "rent")
    columns = {
        "amount": pa.array(np.where(rng.random(rows) < 0.1, -999.0, amount), mask=rng.random(rows) < 0.1),
        "home": pa.array(home, mask=rng.random(rows) < 0.1),
        "bad": pa.array(bad.astype(np.int64)),
    }
    return numbered(pa.table(columns | changed))


def loan_tables() -> Iterator[tuple[str, pa.Table]]:
    """Tables that weights of evidence are fitted to."""
    rng = np.random.default_rng(3)
    plain = loans()
    rows = plain.num_rows

    def with_column(name: str, column: pa.Array) -> pa.Table:
        return plain.set_column(plain.column_names.index(name), name, column)

    yield "plain", plain
    yield (
        "infinite",
        with_column("amount", pa.array(rng.choice([-np.inf, 0.0, -0.0, 1.5, np.inf, np.nan], rows))),
    )
    yield "integers", with_column("amount", pa.array(rng.integers(-3, 9, rows), mask=rng.random(rows) < 0.1))
    yield "float32", with_column("amount", pa.array(rng.normal(size=rows).astype(np.float32)))
    yield "one value", with_column("amount", pa.array([3.25] * rows))
    yield "dictionaries", with_column("home", plain["home"].combine_chunks().dictionary_encode())
    yield "booleans", with_column("home", pa.array(rng.random(rows) < 0.4, mask=rng.random(rows) < 0.1))
    yield (
        "many categories",
        with_column("home", pa.array([f"town {town}" for town in rng.geometric(0.05, rows)])),
    )
    yield "few rows", plain.slice(0, 25)
    yield "words", with_column("bad", pa.array(np.where(np.asarray(plain["bad"]) > 0, "1", "no")))


HISTORIES, LOANS = dict(histories()), dict(loan_tables())


def pairs(options: Iterable[str], tables: Iterable[str]) -> list[Any]:
    """Each option over each table: an eighth of them in the first tier, so that each of both is in it; the rest in the long."""
    return [
        pytest.param(option, table, marks=[] if (at + by) % 8 == 0 else pytest.mark.long)
        for at, option in enumerate(options)
        for by, table in enumerate(tables)
    ]


def bits(column: pa.ChunkedArray) -> list[int | None]:
    """What tells floats apart to the last bit."""
    assert column.type == pa.float64()
    values = column.combine_chunks()
    words = np.asarray(values.fill_null(0.0)).view(np.int64)
    return [
        int(word) if valid else None for word, valid in zip(words, np.asarray(values.is_valid()), strict=True)
    ]


def assert_same(found: pa.Table, expected: pa.Table, names: list[str]) -> None:
    """Equal bits of every feature of every row."""
    assert sorted(found[ROW].to_pylist()) == list(range(expected.num_rows))
    found = found.sort_by(ROW)
    for name in names:
        assert bits(found[name]) == bits(expected[name]), name


class TransformerContract:
    """What an engine does, whatever it is made of."""

    @pytest.fixture
    def engine(self) -> Engine:
        """The engine in question, which each subclass gives: without one nothing would be tested."""
        raise NotImplementedError

    @pytest.mark.parametrize(("options", "rows"), pairs(OPTIONS, HISTORIES))
    def test_windows_have_the_bits_of_one_table(self, engine, options, rows):
        """z-scores and lags, with each option, over each table."""
        kind, spec = OPTIONS[options]
        table, made = HISTORIES[rows], transformer(kind, **spec)
        expected = fit(made.spec, table).transform(table)
        assert_same(engine(made, table), expected, list(made.spec.outputs.values()))

    @pytest.mark.parametrize(("options", "rows"), pairs(WOE_OPTIONS, LOANS))
    def test_weights_have_the_bits_of_one_table(self, engine, options, rows):
        """Weights of evidence, with each option, over each table, fitted to that table."""
        table, made = LOANS[rows], transformer("woe", woe=WOE_OPTIONS[options])
        expected = fit(made.spec, table).transform(table)
        assert_same(engine(made, table), expected, list(made.spec.outputs.values()))

    @pytest.mark.parametrize("kind", ["zscore", "lag"])
    def test_columns_do_not_disturb_each_other(self, engine, kind):
        """Several at once are as each by itself, under the names that the spec gives them."""
        table = history().append_column("price", pa.array(np.random.default_rng(5).normal(size=160)))
        made = transformer(kind, columns=["price", "amount"], outputNames={"price": "p"}, windowDays=4)
        expected = fit(made.spec, table).transform(table)
        alone = transformer(kind, columns=["amount"], windowDays=4)
        assert bits(expected[f"amount_{kind}"]) == bits(
            fit(alone.spec, table).transform(table)[f"amount_{kind}"]
        )
        assert_same(engine(made, table), expected, ["p", f"amount_{kind}"])

    @pytest.mark.parametrize("order", [shuffled, ordered])
    def test_the_order_of_rows_that_are_not_of_one_instant_is_of_no_consequence(self, engine, order):
        """A row has its feature wherever it stands."""
        plain = history(
            time=pa.array(np.arange(160) * 7_200_000_000, pa.timestamp("us", "UTC")), amount=np.arange(160.0)
        )
        made = transformer("zscore", zscore={"minPeriods": 2}, windowDays=2)
        moved = order(plain)
        expected = dict(
            zip(
                plain["amount"].to_pylist(),
                bits(fit(made.spec, plain).transform(plain)["amount_zscore"]),
                strict=True,
            )
        )
        found = engine(made, moved).sort_by(ROW)
        assert bits(found["amount_zscore"]) == [expected[amount] for amount in moved["amount"].to_pylist()]
