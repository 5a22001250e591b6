"""What holds of weights of evidence for any rows."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from platform_assets.features import woe_kernels, woe_table
from platform_assets.features.errors import FeatureError
from platform_assets.features.woe import Woe, fit_woe, prebins
from tests.features.woe_factory import woe_spec

SPECIAL = (-999, "code")
numbers = st.one_of(
    st.none(),
    st.sampled_from([0.0, -0.0, 1.0, -999.0, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308]),
    st.integers(-3, 3).map(float),
    st.floats(),
)
texts = st.one_of(st.none(), st.sampled_from(["a", "b", "code", "-999", "", "ä\n$"]), st.text(max_size=2))


@st.composite
def tables(draw: Callable[..., Any], least: int = 0) -> pa.Table:
    """Rows of two columns and a target."""
    rows = draw(st.lists(st.tuples(numbers, texts, st.integers(0, 1)), min_size=least, max_size=60))
    # Some rows stand many times, or no category would be common enough to be named.
    rows += rows[:3] * draw(st.integers(0, 30))
    x, c, bad = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {"x": pa.array(x, pa.float64()), "c": pa.array(c, pa.string()), "bad": pa.array(bad, pa.int64())}
    )


specs = st.fixed_dictionaries(
    {
        "maxBins": st.integers(2, 6),
        "minBinShare": st.sampled_from([0.0, 0.05, 0.3]),
        "monotonic": st.sampled_from(["auto", "up", "down", "peak", "none"]),
        "missing": st.sampled_from(["bin", "neutral"]),
        "rareShare": st.sampled_from([0.0, 0.01, 0.2]),
        "smoothing": st.sampled_from([0.5, 1.0, 100.0]),
        "specialValues": st.sampled_from([[], list(SPECIAL)]),
    }
).map(lambda settings: woe_spec(["x", "c"], **settings))


def fitted(spec, rows: pa.Table) -> Woe:
    """The weights; the case is passed over where the rows have none, for a reason that must be right."""
    bad = rows["bad"].to_pylist()
    knows_x = any(value is not None and not math.isnan(value) for value in rows["x"].to_pylist())
    knows_c = any(value is not None for value in rows["c"].to_pylist())
    if len(set(bad)) < 2 or not knows_x or not knows_c:
        with pytest.raises(FeatureError, match="has no value" if len(set(bad)) == 2 else "weights need both"):
            fit_woe(spec, rows)
        reject()
    return fit_woe(spec, rows)


def bits(table: pa.Table) -> list[bytes]:
    """The columns, to the last bit."""
    return [np.ascontiguousarray(column.to_numpy()).tobytes() for column in table.columns]


@given(specs, tables())
@settings(max_examples=150)
def test_the_table_agrees_with_the_rows(spec, rows):
    """Bins partition the rows; formulas, limits and directions hold; the bytes are read as they were."""
    woe = fitted(spec, rows)
    asked = spec.woe
    bad = np.array(rows["bad"].to_pylist())
    totals = np.array([(bad == 0).sum(), (bad == 1).sum()])

    assert Woe.from_bytes(woe.to_bytes()) == woe
    for column in woe.columns:
        at = woe.indices(rows)[column.name]
        surplus = np.zeros(2, int)
        for position, found in enumerate(column.bins):
            there = np.array([(at[bad == label] == position).sum() for label in (0, 1)])
            counts = np.array([found.rows - found.events, found.events])
            surplus += counts - there
            if found.kind not in ("interval", "categories") and counts.any():
                assert found.rows >= 10 or not any(each.rows for each in column.bins if each is not found)
            shares = (counts + asked.smoothing * totals / bad.size) / totals
            neutral = found.rows < 10 or (found.kind == "missing" and asked.missing == "neutral")
            assert found.woe == pytest.approx(0 if neutral else math.log(shares[0] / shares[1]), abs=1e-12)
            assert math.copysign(1, found.woe) == 1 or found.woe < 0
            assert found.iv == pytest.approx(
                (counts[0] / totals[0] - counts[1] / totals[1]) * found.woe, abs=1e-12
            )
            assert found.iv >= -1e-15
        assert surplus.tolist() == [0, 0]
        assert column.iv == pytest.approx(sum(found.iv for found in column.bins), abs=1e-12)
        regular = [found for found in column.bins if found.kind in ("interval", "categories")]
        assert len(regular) <= asked.max_bins
        if len(regular) > 1:
            assert min(found.rows for found in regular) >= asked.min_bin_share * bad.size - 1e-9
        steps = np.sign(np.diff([found.events / found.rows for found in regular if found.rows]))
        assert {
            "up": (steps >= 0).all(),
            "down": (steps <= 0).all(),
            "peak": (np.diff(steps[steps != 0]) <= 0).all(),
            "none": True,
        }[column.direction]
    named = [name for found in woe.columns[1].bins if found.kind == "categories" for name in found.categories]
    common = rows["c"].to_pylist()
    assert all(common.count(name) >= max(10, asked.rare_share * bad.size) for name in named)


@given(specs, tables(), st.randoms(use_true_random=False))
def test_the_order_of_rows_and_their_chunks_do_not_matter(spec, rows, random):
    """Neither to what is fitted nor, counted piece by piece, to a bit of it."""
    woe = fitted(spec, rows)
    order = list(range(rows.num_rows))
    random.shuffle(order)
    cut = random.randint(0, rows.num_rows)
    chunked = pa.concat_tables([rows.slice(0, cut), rows.slice(cut)])

    fine = prebins(spec, rows)
    assert fit_woe(spec, rows.take(order)).to_bytes() == woe.to_bytes()
    assert fit_woe(spec, chunked).to_bytes() == woe.to_bytes()
    assert (
        fine.fitted(fine.count(rows.slice(cut)) + fine.count(rows.slice(0, cut))).to_bytes() == woe.to_bytes()
    )


@given(specs, tables(), tables(least=1))
def test_batch_chunks_and_single_rows_have_equal_bits(spec, rows, others):
    """On rows never seen: by Python, by numpy, and by the compiled loops."""
    woe = fitted(spec, rows)
    many = pa.concat_tables([others] * (woe_table.FEW_ROWS // others.num_rows + 1)).combine_chunks()
    assert woe_table.kernels_for(1) is woe_kernels

    compiled = bits(woe.transform(many))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(woe_table, "loaded_kernels", lambda: None)
        plain = bits(woe.transform(many))
    singly = bits(pa.concat_tables([woe.transform(many.slice(at, 1)) for at in range(many.num_rows)]))
    dictionaries = many.set_column(1, "c", many["c"].dictionary_encode())

    assert compiled == plain == singly == bits(woe.transform(dictionaries))
    for name, at in woe.indices(many).items():
        column = next(found for found in woe.columns if found.name == name)
        weights = [column.bins[position].woe for position in at]
        assert weights == woe.transform(many)[column.output].to_pylist()


@given(specs, tables())
@settings(max_examples=50)
def test_compiled_and_plain_counts_are_the_same(spec, rows):
    """A fit of few rows imports no compiler, and has the bytes of one that does."""
    woe = fitted(spec, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(woe_table, "loaded_kernels", lambda: None)
        assert fit_woe(spec, rows).to_bytes() == woe.to_bytes()


@given(tables(), st.floats(allow_nan=False))
def test_a_number_belongs_to_the_interval_that_holds_it(rows, value):
    """Lower end excluded, upper end included; infinite ones to those at the ends."""
    woe = fitted(woe_spec(["x", "c"], minBinShare=0), rows)
    (at,) = woe.indices(pa.table({"x": [value], "c": ["a"]}))["x"].tolist()

    found = woe.columns[0].bins[at]
    assert found.kind == "interval"
    assert found.lower is None or found.lower < value
    assert found.upper is None or value <= found.upper


@given(tables())
def test_an_edge_is_a_value_only_where_it_must(rows):
    """No number of a row is told by the table, unless its neighbour is the next float."""
    woe = fitted(woe_spec(["x", "c"], minBinShare=0, monotonic="none"), rows)
    values = np.unique(
        [value for value in rows["x"].to_pylist() if value is not None and math.isfinite(value)]
    )

    for found in woe.columns[0].bins:
        if found.kind == "interval" and found.upper is not None and found.upper in values:
            above = values[values > found.upper].min()
            assert np.nextafter(found.upper, math.inf) == above
