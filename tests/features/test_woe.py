"""Weight of evidence, fitted and used."""

import math
import subprocess
import sys
from collections import Counter
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from platform_assets.features import woe_prebins
from platform_assets.features.errors import FeatureError
from platform_assets.features.transformer import fit, read_fitted
from platform_assets.features.woe import SAMPLE_ROWS, Woe, fit_woe, prebins, sample_of, sampled
from tests.features.woe_factory import loans, woe_spec

GOLDEN = {
    "income_woe": [-0.9922277924233955, 0.5985414021954263, 0.3848252244152284, 0.11102991937278706],
    "home_woe": [-0.580240112950116, 1.6558038329920262, 0.2471793813854415, 0.37951017021853417],
}


def column(woe: Woe, name: str):
    """The fitted column of this name."""
    return next(found for found in woe.columns if found.name == name)


def labels(woe: Woe, name: str) -> list[str]:
    """What its bins are called."""
    return [found.label for found in column(woe, name).bins]


def of_kind(woe: Woe, name: str, kind: str):
    """Its bins of this kind."""
    return [found for found in column(woe, name).bins if found.kind == kind]


def refusal(spec, rows) -> str:
    """What a fit is refused with."""
    with pytest.raises(FeatureError) as refused:
        fit_woe(spec, rows)
    return str(refused.value)


def with_column(rows: pa.Table, name: str, values) -> pa.Table:
    """The rows with this column replaced, or added."""
    if name in rows.column_names:
        return rows.set_column(rows.column_names.index(name), name, values)
    return rows.append_column(name, values)


class TestTheTable:
    """What is fitted."""

    def test_every_row_is_in_one_bin_of_each_column(self):
        """Rows and events of the bins are those of the table."""
        rows = loans()

        woe = fit_woe(woe_spec(specialValues=[-999]), rows)

        assert (woe.rows, woe.events) == (2_000, sum(rows["bad"].to_pylist()))
        for found in woe.columns:
            assert sum(one.rows for one in found.bins) == 2_000
            assert sum(one.events for one in found.bins) == woe.events

    def test_weights_and_information_follow_the_formulas(self):
        """They are recomputed in plain Python from the rows that `indices` puts into each bin."""
        rows = loans()
        woe = fit_woe(woe_spec(specialValues=[-999], smoothing=2), rows)
        bad = rows["bad"].to_numpy()
        totals = {0: 2_000 - bad.sum(), 1: bad.sum()}

        for found in woe.columns:
            pairs = Counter(zip(woe.indices(rows)[found.name].tolist(), bad.tolist(), strict=True))
            iv = 0.0
            for at, one in enumerate(found.bins):
                assert (one.rows, one.events) == (pairs[at, 0] + pairs[at, 1], pairs[at, 1])
                share = [(pairs[at, y] + 2 * totals[y] / 2_000) / totals[y] for y in (0, 1)]
                assert one.woe == pytest.approx(math.log(share[0] / share[1]) if one.rows else 0, abs=1e-12)
                iv += (pairs[at, 0] / totals[0] - pairs[at, 1] / totals[1]) * one.woe
            assert found.iv == pytest.approx(iv, abs=1e-12)
            assert found.iv > 0.01

    def test_fewer_events_weigh_more(self):
        """Weights fall along a rising share of events (Siddiqi 2006)."""
        woe = fit_woe(woe_spec(["income"]), loans())

        weights = [one.woe for one in of_kind(woe, "income", "interval")]
        shares = [one.events / one.rows for one in of_kind(woe, "income", "interval")]
        assert column(woe, "income").direction == "down"
        assert shares == sorted(shares, reverse=True)
        assert weights == sorted(weights)

    @pytest.mark.parametrize("monotonic", ["up", "down"])
    def test_the_direction_that_is_asked_for_holds(self, monotonic):
        """Even where the rows go the other way."""
        woe = fit_woe(woe_spec(["income"], monotonic=monotonic), loans())

        shares = [one.events / one.rows for one in of_kind(woe, "income", "interval")]
        assert shares == sorted(shares, reverse=monotonic == "down")

    def test_bins_keep_to_their_number_and_size(self):
        """At most maxBins, and each of at least minBinShare of all rows."""
        woe = fit_woe(woe_spec(maxBins=4, minBinShare=0.12, monotonic="none"), loans())

        for name, kind in (("income", "interval"), ("home", "categories")):
            assert 2 <= len(of_kind(woe, name, kind)) <= 4
        assert min(one.rows for one in of_kind(woe, "income", "interval")) >= 240

    def test_special_rare_and_missing_values_have_bins_of_their_own(self):
        """A code, a dozen houseboats and caravans, and what is not there."""
        woe = fit_woe(woe_spec(specialValues=[-999]), loans())

        (code,) = of_kind(woe, "income", "special")
        assert (code.label, code.lower, code.upper, code.rows) == ("special -999", -999.0, -999.0, 65)
        assert of_kind(woe, "home", "rare")[0].rows == 12
        assert of_kind(woe, "income", "missing")[0].rows == 102
        assert of_kind(woe, "home", "missing")[0].rows == 13

    def test_what_few_rows_have_weighs_nothing(self):
        """Nine without an income are told by no number: not by a weight, nor by what the sums over all bins lack."""
        rows = loans().set_column(0, "income", [[None] * 9 + [float(at) for at in range(1_991)]])
        ten = loans().set_column(0, "income", [[None] * 10 + [float(at) for at in range(1_990)]])
        few, enough = fit_woe(woe_spec(["income"]), rows), fit_woe(woe_spec(["income"]), ten)

        missing = of_kind(few, "income", "missing")[0]
        assert (missing.rows, missing.events, missing.woe, missing.iv) == (0, 0, 0.0, 0.0)
        assert sum(each.rows for each in column(few, "income").bins) == 2_000
        assert sum(each.events for each in column(few, "income").bins) == few.events
        assert few.transform(rows.slice(0, 1))["income_woe"].to_pylist() == [0.0]
        assert of_kind(enough, "income", "missing")[0].rows == 10
        assert of_kind(enough, "income", "missing")[0].woe != 0

    def test_special_values_do_not_move_the_prebins(self):
        """However many rows have the code: fine bins are those of the rows that were measured."""
        measured = np.arange(1.0, 201.0)
        coded = pa.table({"x": np.concatenate([measured, np.full(5_000, 100.0)])})
        spec = woe_spec(["x"], specialValues=[100])

        plain = prebins(woe_spec(["x"]), pa.table({"x": measured[measured != 100]}))
        assert prebins(spec, coded).columns[0].edges.tolist() == plain.columns[0].edges.tolist()

    def test_a_category_of_few_is_not_named(self):
        """Fewer than ten fitted rows may be one person's: neither bytes nor labels tell it, whatever rareShare is."""
        woe = fit_woe(woe_spec(["home"], rareShare=0), loans())

        assert b"houseboat" not in woe.to_bytes()
        named = {name for one in column(woe, "home").bins for name in one.categories}
        assert named == {"rent", "owner", "parents", "other"}

    def test_a_category_of_fewer_than_the_rare_share_is_rare(self):
        """The share counts where it asks for more than ten rows."""
        woe = fit_woe(woe_spec(["home"], rareShare=0.2), loans())

        named = {name for one in column(woe, "home").bins for name in one.categories}
        assert named == {"rent", "owner"}
        assert 300 < of_kind(woe, "home", "rare")[0].rows < 600

    def test_no_edge_is_anybodys_value(self):
        """What is fitted outlives an erasure; edges lie between values."""
        rows = loans()
        woe = fit_woe(woe_spec(["income"]), rows)

        edges = {one.upper for one in of_kind(woe, "income", "interval")} - {None}
        assert edges
        assert not edges & set(rows["income"].to_pylist())

    def test_labels_tell_bins_apart(self):
        """An interval has its edges, with as many digits as it takes; categories their names."""
        bad = [0, 0, 1] * 15 + [0, 1, 1] * 15
        tens = fit_woe(woe_spec(["x"]), pa.table({"x": [10, 20, 30] * 30, "bad": bad}))
        near = fit_woe(woe_spec(["x"]), pa.table({"x": [1.0, 1.0000001, 1.0000002] * 30, "bad": bad}))

        assert labels(tens, "x") == ["≤ 15.5", "(15.5, 25.5]", "> 25.5", "missing"]
        assert len(set(labels(near, "x"))) == 4
        assert {"rent", "missing", "rare or new"} < set(labels(fit_woe(woe_spec(["home"]), loans()), "home"))

    def test_booleans_are_categories(self):
        """Named true and false."""
        rows = with_column(loans(), "flag", pa.array([True, False] * 1_000))

        named = {
            name for one in column(fit_woe(woe_spec(["flag"]), rows), "flag").bins for name in one.categories
        }
        assert named == {"true", "false"}

    def test_many_categories_are_merged(self):
        """Far more than there are prebins: some hundred, each common enough to be named."""
        random = np.random.default_rng(0)
        codes = random.integers(0, 500, 50_000)
        bad = random.random(50_000) < codes / 500
        rows = pa.table({"c": [f"c{code}" for code in codes], "bad": bad.astype(int)})

        woe = fit_woe(woe_spec(["c"], rareShare=0, maxBins=10), rows)

        bins = of_kind(woe, "c", "categories")
        shares = [one.events / one.rows for one in bins]
        assert len(bins) == 10
        assert sum(len(one.categories) for one in bins) == 500
        assert shares == sorted(shares)

    def test_a_special_text_has_its_bin_whether_rows_have_it_or_not(self):
        """One that nobody had weighs nothing."""
        woe = fit_woe(woe_spec(["home"], specialValues=["other", "n/a"]), loans())

        other, unknown = of_kind(woe, "home", "special")
        assert (other.categories, unknown.categories) == (("other",), ("n/a",))
        assert other.rows > 0
        assert (unknown.rows, unknown.woe) == (0, 0.0)


class TestTransform:
    """What rows become."""

    def test_each_value_becomes_the_weight_of_its_bin(self):
        """By hand: edges belong to the bin below, infinite values to the ends."""
        woe = fit_woe(woe_spec(["income"], specialValues=[-999]), loans())
        bins = of_kind(woe, "income", "interval")
        first, last = bins[0], bins[-1]
        values = [
            first.upper,
            math.nextafter(first.upper, math.inf),
            -math.inf,
            math.inf,
            -999,
            math.nan,
            None,
        ]

        found = woe.transform(pa.table({"income": pa.array(values, pa.float64())}))["income_woe"].to_pylist()

        special, missing = (of_kind(woe, "income", kind)[0].woe for kind in ("special", "missing"))
        assert found == [first.woe, bins[1].woe, first.woe, last.woe, special, missing, missing]

    def test_a_category_never_seen_weighs_as_the_rare_ones(self):
        """And nothing where there were none."""
        new = pa.table({"home": ["castle"]})
        some = fit_woe(woe_spec(["home"]), loans())
        none = fit_woe(woe_spec(["home"]), loans().slice(12))

        assert some.transform(new)["home_woe"].to_pylist() == [of_kind(some, "home", "rare")[0].woe]
        assert of_kind(some, "home", "rare")[0].woe != 0
        assert none.transform(new)["home_woe"].to_pylist() == [0.0]

    def test_missing_values_can_be_neutral(self):
        """They weigh nothing, and their bin adds nothing to the information."""
        woe = fit_woe(woe_spec(missing="neutral"), loans())

        found = woe.transform(
            pa.table({"income": pa.nulls(1, pa.float64()), "home": pa.nulls(1, pa.string())})
        )

        assert found.to_pylist() == [{"income_woe": 0.0, "home_woe": 0.0}]
        assert of_kind(woe, "income", "missing")[0].rows == 102
        assert of_kind(woe, "income", "missing")[0].iv == 0

    def test_missing_values_can_be_refused(self):
        """At the fit and later, with the first row."""
        rows = loans().drop_columns("home")
        known = rows.filter(pa.compute.is_finite(rows["income"]))
        spec = woe_spec(["income"], missing="refuse")
        woe = fit_woe(spec, known)

        assert "102 of 2000 values are missing (first: row 20)" in refusal(spec, rows)
        later = pa.table({"income": [1.0, math.nan, None]})
        with pytest.raises(FeatureError, match=r"2 of 3 values are missing \(first: row 2\)"):
            woe.transform(later)
        with pytest.raises(FeatureError, match="first: row 2"):
            woe.transform(pa.concat_tables([later] * 100))

    def test_outputs_are_named_by_the_spec(self):
        """In the order of its columns, as float64."""
        spec = woe_spec(["home", "income"]).model_copy(update={"output_names": {"income": "wealth"}})

        found = fit_woe(spec, loans()).transform(loans(10))

        assert found.schema == pa.schema([("home_woe", pa.float64()), ("wealth", pa.float64())])

    def test_no_rows_become_no_rows(self):
        """With the same columns."""
        woe = fit_woe(woe_spec(), loans())

        assert woe.transform(loans().slice(0, 0)).num_rows == 0
        assert woe.transform(loans().slice(0, 0)).column_names == ["income_woe", "home_woe"]

    def test_numbers_for_texts_and_texts_for_numbers_are_refused(self):
        """They would all be new, or fail somewhere deep."""
        woe = fit_woe(woe_spec(), loans())
        for name, values in (("income", ["12"]), ("home", [3])):
            rows = with_column(loans(1), name, pa.array(values))
            with pytest.raises(FeatureError, match=f"column {name} was fitted as"):
                woe.transform(rows)

    @pytest.mark.parametrize(
        "kind",
        [pa.int8(), pa.uint8(), pa.int16(), pa.uint32(), pa.int64(), pa.uint64(), pa.float32(), pa.float16()],
    )
    @pytest.mark.parametrize("count", [3, 300])
    def test_numbers_of_any_width_are_numbers(self, kind, count):
        """One weight, whatever a column is stored as."""
        woe = fit_woe(woe_spec(["income"]), loans())
        values = [17, 20, 40] * (count // 3)

        stored = woe.transform(pa.table({"income": pa.array(values).cast(kind)}))
        assert stored.equals(woe.transform(pa.table({"income": pa.array(values, pa.float64())})))

    @pytest.mark.parametrize("count", [4, 400])
    def test_texts_of_any_layout_are_texts(self, count):
        """Large, dictionary-encoded, with null among the names."""
        woe = fit_woe(woe_spec(["home"]), loans())
        plain = pa.array(["rent", None, "castle", "owner"] * (count // 4))
        with_null = pa.DictionaryArray.from_arrays(
            pa.array([0, 1, 2, None] * (count // 4), pa.int8()), pa.array(["rent", None, "owner"])
        )

        expected = woe.transform(pa.table({"home": plain}))["home_woe"].to_pylist()
        for stored in (
            plain.cast(pa.large_string()),
            plain.cast(pa.string_view()),
            plain.dictionary_encode(),
            plain.cast(pa.large_string()).dictionary_encode(),
        ):
            assert woe.transform(pa.table({"home": stored}))["home_woe"].to_pylist() == expected
        missing = of_kind(woe, "home", "missing")[0].woe
        found = woe.transform(pa.table({"home": with_null}))["home_woe"].to_pylist()
        assert found[:4] == [expected[0], missing, expected[3], missing]

    @pytest.mark.parametrize("count", [2, 200])
    def test_identifiers_are_refused(self, count):
        """An integer beyond 2^53 has no float of its own; none is quoted."""
        woe = fit_woe(woe_spec(["income"]), loans())
        rows = pa.table({"income": pa.chunked_array([[1] * (count - 1), [2**53 + 1]])})

        with pytest.raises(
            FeatureError, match=rf"1 integers lie beyond 2\^53 \(first: row {count}\)"
        ) as refused:
            woe.transform(rows)
        assert str(2**53 + 1) not in str(refused.value)

    def test_few_rows_import_no_compiler(self):
        """A service that scores one row at a time never pays for numba, nor does a fit of a few thousand rows."""
        code = (
            "import sys; from tests.features.woe_factory import loans, woe_spec;"
            "from platform_assets.features.woe import fit_woe;"
            "fit_woe(woe_spec(), loans()).transform(loans(3)); assert 'numba' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


class TestStability:
    """PSI between fitted rows and others."""

    def test_the_fitted_rows_have_not_moved(self):
        """The index is 0 of the same rows."""
        woe = fit_woe(woe_spec(), loans())

        assert woe.psi(loans()) == {"income": 0.0, "home": 0.0}

    def test_the_index_follows_its_formula(self):
        """Σ (p - q) ln(p / q) with half a row more in each bin; bins that both sides lack are left out."""
        woe = fit_woe(woe_spec(["home"], specialValues=["n/a"]), loans())
        others = loans(500, seed=3).filter(pa.compute.equal(loans(500, seed=3)["home"], "rent"))
        fitted = np.array([one.rows for one in column(woe, "home").bins], float)
        counts = woe.bin_counts(others)["home"]
        used = (fitted + counts) > 0
        q, p = ((side[used] + 0.5) / (side[used] + 0.5).sum() for side in (fitted, counts))

        assert not used.all()
        assert woe.psi(others)["home"] == pytest.approx(((p - q) * np.log(p / q)).sum(), abs=1e-12)
        assert woe.psi(others)["home"] > 1

    def test_counts_of_pieces_add_up(self):
        """A file is compared piece by piece."""
        woe, others = fit_woe(woe_spec(), loans()), loans(1_000, seed=5)
        pieces = [woe.bin_counts(others.slice(at, 300)) for at in range(0, 1_000, 300)]

        added = {name: sum(piece[name] for piece in pieces) for name in ("income", "home")}
        assert woe.stability(added) == woe.psi(others)

    def test_no_rows_cannot_be_compared(self):
        """An index of nothing would look like a verdict."""
        with pytest.raises(FeatureError, match="no rows to compare"):
            fit_woe(woe_spec(), loans()).psi(loans().slice(0, 0))


class TestPieces:
    """Fitting in steps."""

    def test_counts_of_pieces_make_the_weights_of_the_whole(self):
        """To the last bit, in any order."""
        rows = loans()
        fine = prebins(woe_spec(specialValues=[-999]), rows)
        pieces = [fine.count(rows.slice(at, 300)) for at in range(0, 2_000, 300)]

        forwards, backwards = pieces[0], pieces[-1]
        for piece in pieces[1:]:
            forwards += piece
        for piece in reversed(pieces[:-1]):
            backwards += piece
        whole = fit_woe(woe_spec(specialValues=[-999]), rows).to_bytes()
        assert fine.fitted(forwards).to_bytes() == fine.fitted(backwards).to_bytes() == whole

    def test_more_rows_than_a_sample_has_are_sampled_evenly(self):
        """Who fits a file in pieces takes the same rows, and has the same weights."""
        count = SAMPLE_ROWS + 10_000
        rows = pa.concat_tables([loans(count // 2), loans(count // 2, seed=1)])
        assert np.diff(sample_of(count)).max() == 2
        assert (sample_of(count)[0], sample_of(count).size) == (0, SAMPLE_ROWS)

        fine = prebins(woe_spec(), sampled(woe_spec(), rows))
        counts = fine.count(rows.slice(0, 50_000)) + fine.count(rows.slice(50_000))
        assert fine.fitted(counts) == fit_woe(woe_spec(), rows)

    def test_pieces_with_different_other_values_are_refused(self):
        """Two values in each, three on the whole."""
        fine = prebins(woe_spec(), loans())
        other = with_column(loans(), "bad", pa.array([1, 2] * 1_000))

        with pytest.raises(FeatureError, match="target bad has 2 different values that are not the event"):
            fine.fitted(fine.count(loans()) + fine.count(other))


class TestTheTarget:
    """Which rows are events."""

    @pytest.mark.parametrize(
        ("values", "event"),
        [
            (pa.array([0, 1]), 1),
            (pa.array([0.0, 1.0]), 1),
            (pa.array([False, True]), 1),
            (pa.array(["0", "1"]), 1),
            (pa.array([0, 1]), "1"),
            (pa.array(["good", "bad"]), "bad"),
            (pa.array(["good", "bad"]).dictionary_encode(), "bad"),
            (pa.array([False, True]), "true"),
            (pa.array([True, False]), "false"),
            (pa.array([True, False]), 0),
            (pa.array([2, 1], pa.uint8()), 1),
            (pa.array([2, 1], pa.float16()), 1),
            (pa.array(["n", "y"], pa.large_string()), "y"),
        ],
        ids=str,
    )
    def test_one_is_one_in_every_type(self, values, event):
        """Two values, of which the second is the event."""
        rows = loans()
        taken = values.take(rows["bad"].combine_chunks())

        found = fit_woe(woe_spec(event=event), with_column(rows, "bad", taken))
        assert found.columns == fit_woe(woe_spec(), rows).columns

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ([0, 1, 2, 1] * 500, "target bad has 2 different values that are not the event"),
            ([0.5, 1, 2, 1] * 500, "target bad has 2 different values that are not the event"),
            ([1] * 2_000, "each of the 2000 rows is an event"),
            ([0] * 2_000, "each of the 2000 rows is not an event"),
            ([0, 1, None, 1] * 500, "500 of 2000 values are missing (first: row 3)"),
            ([0, 1, math.nan, 1] * 500, "500 of 2000 values are missing (first: row 3)"),
            ([[0]] * 2_000, "column bad has type list"),
        ],
        ids=str,
    )
    def test_what_has_not_two_values_is_refused(self, values, said):
        """Each with its reason."""
        assert said in refusal(woe_spec(), with_column(loans(), "bad", pa.array(values)))

    def test_views_of_texts_are_texts(self):
        """Arrow cannot encode them as they are."""
        rows = loans()
        texts = pa.array(["n", "y"]).take(rows["bad"].combine_chunks())

        found = fit_woe(woe_spec(event="y"), with_column(rows, "bad", texts.cast(pa.string_view())))
        assert found.columns == fit_woe(woe_spec(), rows).columns

    def test_a_table_without_rows_is_refused(self):
        """There is nothing to fit."""
        assert "each of the 0 rows" in refusal(woe_spec(), loans().slice(0, 0))


class TestRefusals:
    """What cannot be fitted."""

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            (pa.array([[1]] * 2_000), "column income has type list<item: int64>"),
            (pa.array([{"a": 1}] * 2_000), "column income has type struct"),
            (pa.array([0] * 2_000, pa.timestamp("us")), "column income has type timestamp[us]"),
            (pa.array([b"1"] * 2_000), "column income has type binary"),
            (pa.nulls(2_000), "column income has no value"),
            (pa.nulls(2_000, pa.float64()), "column income has no value"),
            (pa.nulls(2_000, pa.string()), "column income has no value"),
            (pa.array([math.nan] * 2_000), "column income has no value"),
            (pa.array([2**60 + 1] * 2_000), "2000 integers lie beyond 2^53 (first: row 1)"),
        ],
        ids=lambda value: str(getattr(value, "type", "")),
    )
    def test_columns_that_have_no_weights(self, values, said):
        """Each with its reason."""
        assert said in refusal(woe_spec(), with_column(loans(), "income", values))

    def test_a_column_that_is_not_there(self):
        """The message says which there are."""
        assert refusal(woe_spec(["age"]), loans()) == ("column age is missing; there are income, home, bad")
        assert "column bad is missing" in refusal(woe_spec(), loans().drop_columns("bad"))
        with pytest.raises(FeatureError, match="column home is missing"):
            fit_woe(woe_spec(), loans()).transform(loans().drop_columns("home"))

    def test_a_column_that_is_there_twice(self):
        """Which one is meant, nobody knows."""
        rows = loans().append_column("home", loans()["home"])

        assert "column home stands 2 times" in refusal(woe_spec(), rows)

    def test_a_bin_of_one_class_needs_smoothing(self):
        """An infinite weight is none; no name of a category is quoted."""
        rows = with_column(loans(), "home", pa.array(["a", "b"] * 1_000))
        rows = with_column(rows, "bad", pa.array([0, 1] * 1_000))

        said = refusal(woe_spec(["home"], smoothing=0, specialValues=["a"]), rows)
        assert "set woe.smoothing above 0" in said
        assert all(math.isfinite(one.woe) for one in fit_woe(woe_spec(["home"]), rows).columns[0].bins)

    def test_texts_that_name_single_rows_are_refused(self, monkeypatch):
        """They are counted in memory, each: so many, and no more; in one table, or in pieces of one."""
        monkeypatch.setattr(woe_prebins, "MOST_CATEGORIES", 1_500)
        rows = with_column(loans(), "home", pa.array([f"id {at}" for at in range(2_000)]))
        fine = prebins(woe_spec(["home"]), rows)

        assert "column home has more than 1,500 different texts" in refusal(woe_spec(["home"]), rows)
        with pytest.raises(FeatureError, match="different texts"):
            fine.count(rows.slice(0, 1_000)) + fine.count(rows.slice(1_000))

    def test_another_type_is_refused(self):
        """Who calls this with the spec of a z-score is told."""
        spec = woe_spec().model_copy(update={"transformer_type": "zscore"})

        assert "type zscore has no weights" in refusal(spec, loans())


class TestBytes:
    """What is stored."""

    def test_they_are_read_as_they_were(self):
        """Also by who does not know the type; fitting again gives the same bytes."""
        woe = fit(woe_spec(specialValues=[-999, "x"]), loans())

        assert Woe.from_bytes(woe.to_bytes()) == woe == read_fitted(woe.to_bytes())
        assert fit(woe_spec(specialValues=[-999, "x"]), loans()).to_bytes() == woe.to_bytes()

    def test_those_of_format_1_mean_what_they_meant(self, pytestconfig):
        """A file of 2026 gives the weights of then, to the bit."""
        content = (pytestconfig.rootpath / "tests/features/data/woe_v1.json").read_bytes()
        rows = pa.table({"income": [10.0, 30.0, -999.0, None], "home": ["rent", "castle", None, "owner"]})

        woe = read_fitted(content)

        assert woe.to_bytes() == content
        assert woe.transform(rows).to_pydict() == GOLDEN

    def test_every_damage_is_found(self):
        """A byte that is another, or lacking, at many places."""
        content = fit_woe(woe_spec(), loans()).to_bytes()

        for at in range(0, len(content), 97):
            for damaged in (
                content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :],
                content[:at],
                content[:at] + content[at + 1 :],
            ):
                with pytest.raises(FeatureError):
                    Woe.from_bytes(damaged)

    def test_a_damaged_state_is_taken_for_nothing_else(self):
        """Of whatever type it was: what cannot be read does not say."""
        content = fit_woe(woe_spec(), loans()).to_bytes()
        for damaged in (content[:-1], content[1:], b"", b"[]", b"{}", content.replace(b'"type"', b'"tipe"')):
            with pytest.raises(FeatureError, match="bytes are a damaged fitted transformer, or none"):
                read_fitted(damaged)

    def test_a_later_format_is_refused(self):
        """It may mean something else."""
        content = fit_woe(woe_spec(), loans()).to_bytes()

        with pytest.raises(FeatureError, match="of format 2: this code reads 1; install a newer one"):
            Woe.from_bytes(content.replace(b'"format":1', b'"format":2'))
        with pytest.raises(FeatureError, match="are no fitted weights"):
            Woe.from_bytes(b"{}")
        with pytest.raises(FeatureError, match="damaged"):
            Woe.from_bytes(content.replace(b'"rows":2000', b'"rows":20000000000000000'))

    def test_bins_that_contradict_each_other_are_refused(self):
        """Whoever writes a valid hash must still write valid bins."""
        woe = fit_woe(woe_spec(), loans())
        income, home = woe.columns
        for bins, said in (
            (income.bins[1:], "do not follow"),
            (income.bins[:-1], "not those of a numeric column"),
            ((income.bins[1], income.bins[0], *income.bins[2:]), "do not follow"),
        ):
            with pytest.raises(ValueError, match=said):
                type(income).model_validate({**dict(income), "bins": bins})
        with pytest.raises(ValueError, match="stands twice"):
            type(home).model_validate({**dict(home), "bins": (home.bins[0], *home.bins)})
        with pytest.raises(ValueError, match="not those of the spec"):
            Woe.model_validate({**dict(woe), "columns": (home,)})
        with pytest.raises(ValueError, match="are not all rows"):
            Woe.model_validate({**dict(woe), "rows": 1})


def sentinels(values, kind, rows=600):
    """Rows of ascending numbers in which every tenth is one of these, and their target."""
    numbers = [None if at % 10 == 1 else float(at) for at in range(rows)]
    numbers[::10] = [values[at % len(values)] for at in range(len(numbers[::10]))]
    return pa.table({"x": pa.array(numbers, kind), "bad": [at % 3 % 2 for at in range(rows)]})


class TestSpecialNumbers:
    """A special value is found in a column of numbers of any type, or is refused."""

    @pytest.mark.parametrize("few", [True, False])
    @pytest.mark.parametrize(
        ("special", "value", "kind"),
        [
            ("-99.9", -99.9, pa.float32()),
            ("-99.9", -99.9, pa.float64()),
            ("-99.9", -99.9, pa.float16()),
            ("1e30", 1e30, pa.float32()),
            ("3.4028234663852886e38", 3.4028234663852886e38, pa.float32()),
            ("1.7976931348623157e308", sys.float_info.max, pa.float64()),
            (str(2**53), float(2**53), pa.float64()),
            (str(2**63 - 1), float(2**63), pa.float64()),
            ("-1e300", -1e300, pa.float64()),
        ],
    )
    def test_it_is_compared_in_the_width_of_the_column(self, special, value, kind, few):
        """In 32 bits, -99.9 is another float than in 64; and a code may be larger than any exact integer."""
        if kind == pa.float16():
            value = np.float16(value)
        rows = sentinels([value], kind) if kind != pa.float16() else sentinels([-99.9], pa.float32())
        if kind == pa.float16():
            rows = with_column(rows, "x", pa.array(rows["x"].to_numpy().astype(np.float16)))
        woe = fit_woe(woe_spec(["x"], specialValues=[special]), rows)
        (found,) = of_kind(woe, "x", "special")
        assert found.rows == 60
        asked = rows.slice(0, 20 if few else 600)
        place = [each.kind for each in column(woe, "x").bins].index("special")
        assert (woe.indices(asked)["x"][::10] == place).all()
        assert (woe.indices(asked)["x"] == place).sum() == asked.num_rows // 10

    def test_a_state_knows_it_in_other_widths(self):
        """Fitted on 32 bits, asked in 64, and the other way round; a number beyond the narrow ones is in none of them."""
        spec = woe_spec(["x"], specialValues=["-99.9", "1e300"])
        for fitted_as, asked_as in ((pa.float32(), pa.float64()), (pa.float64(), pa.float32())):
            woe = read_fitted(fit_woe(spec, sentinels([-99.9], fitted_as)).to_bytes())
            place = [each.kind for each in column(woe, "x").bins].index("special")
            infinite = pa.table({"x": pa.array([-99.9, math.inf, -99.0], asked_as)})
            found = woe.indices(infinite)["x"].tolist()
            assert found[0] == place
            assert place not in found[1:]
            assert place + 1 not in found

    @pytest.mark.parametrize("special", ["nan", " -999", "inf", "1_000", "-999 ", "1e400"])
    def test_one_that_no_number_is_is_refused(self, special):
        """Rather than that its rows are measurements without a word; it is not quoted."""
        said = refusal(woe_spec(["income"], specialValues=[-999, special]), loans())
        assert "woe.specialValues: value 2 looks like a number" in said
        assert f"{special!r}" not in said

    def test_texts_need_a_column_of_texts(self):
        """Beside one, they are its categories; without one they could match nothing."""
        said = refusal(woe_spec(["income"], specialValues=["unknown"]), loans())
        assert "woe.specialValues: value 1 is no number, and all columns are of numbers" in said
        assert fit_woe(woe_spec(specialValues=["unknown"]), loans()).rows == 2_000


class TestDecimals:
    """Decimals are numbers: each is the float that is nearest to it."""

    @pytest.mark.parametrize("kind", [pa.decimal128(12, 2), pa.decimal256(60, 20)])
    @pytest.mark.parametrize("rows", [40, 2_000])
    def test_they_weigh_as_floats_do(self, kind, rows):
        """Bit by bit, in small tables and large; with codes, and in dictionaries."""
        plain = loans().slice(0, 2_000)
        income = plain["income"].to_pylist()
        exact = [None if math.isnan(each) else Decimal(str(each)) for each in income]
        decimals = with_column(plain, "income", pa.array(exact, kind))
        spec = woe_spec(["income"], specialValues=[-999])
        woe = fit_woe(spec, decimals)
        assert woe.to_bytes() == fit_woe(spec, plain).to_bytes()
        expected = woe.transform(plain.slice(0, rows))
        assert woe.transform(decimals.slice(0, rows)).equals(expected)
        coded = with_column(decimals, "income", decimals["income"].combine_chunks().dictionary_encode())
        assert woe.transform(coded.slice(0, rows)).equals(expected)

    def test_so_does_a_target_of_decimals(self):
        """1.00 is 1."""
        plain = loans()
        decimals = with_column(plain, "bad", plain["bad"].cast(pa.decimal128(21, 2)))
        assert fit_woe(woe_spec(), decimals).to_bytes() == fit_woe(woe_spec(), plain).to_bytes()
