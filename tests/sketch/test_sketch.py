"""The sketch: its bins, its certificate, its bytes."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import ks_2samp, kstwo, kstwobign

from platform_assets.sketch.binning import FAST_COMPARES, Missing, NumericBinning
from platform_assets.sketch.errors import SketchError
from platform_assets.sketch.significance import EXACT_ROWS, holm, p_value
from platform_assets.sketch.sketch import (
    SAMPLING_CONFIDENCE,
    ColumnProfile,
    Histogram,
    ReferenceProfile,
    compare,
)

DATA = Path(__file__).parent / "data"
KERNELS = "platform_assets.sketch.kernels"

numbers = st.one_of(
    st.integers(-4, 4).map(float),
    st.floats(-3, 3, width=32),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 1.7e308, -1.7e308, 0.1, np.nextafter(0.1, 1)]),
)
columns = arrays.arrays(np.float64, st.integers(1, 40), elements=numbers)
anything = arrays.arrays(
    np.float64, st.integers(0, 40), elements=numbers | st.sampled_from([math.nan, math.inf, -math.inf])
)
few = settings(max_examples=30)
weights = st.sampled_from([0.0, 0.25, 1.0, 3.0])


def exact_ks(reference, current, weight=None):
    """The definition: the largest difference of the distribution functions at any value."""
    weight = np.ones(reference.size) if weight is None else weight
    at = np.union1d(reference, current)[:, None]
    return np.abs(((reference <= at) * weight).sum(1) / weight.sum() - (current <= at).mean(1)).max()


def drawn(kind, random, n, *, shift=0.0):
    """A sample of one of the shapes that streams have."""
    match kind:
        case "normal":
            values = random.normal(size=n)
        case "cauchy":
            values = random.standard_cauchy(n)
        case "lognormal":
            values = random.lognormal(0, 2, n)
        case "atoms":
            values = random.integers(0, 30, n) / 10
        case "mixed":
            values = np.where(random.random(n) < 0.5, random.normal(size=n).round(1), random.normal(size=n))
        case _:
            values = np.where(random.random(n) < 0.5, random.normal(-4, 1, n), random.normal(4, 0.1, n))
    return values + shift


shapes = st.sampled_from(["normal", "cauchy", "lognormal", "atoms", "mixed", "bimodal"])


def result(profile, values, **options):
    """The comparison of these values with a profile."""
    histogram = profile.histogram()
    histogram.add(values)
    return compare(profile, histogram, **options)


class TestBins:
    """Where values fall, by the compiled loops and without them."""

    @given(columns, anything, st.integers(2, 40), st.sampled_from([np.float64, np.float32]))
    @few
    def test_both_ways_find_the_bin_of_the_definition(self, reference, values, bins, dtype):
        """Bin i is (edges[i-1], edges[i]], for any value and any edges, in compiled loops and in numpy."""
        from platform_assets.sketch import kernels

        profile = ColumnProfile.of(reference, bins=bins)
        edges = profile.binning.edges
        with np.errstate(over="ignore"):
            # Values, and the edges with their neighbours, where a rounding error would show.
            values = np.concatenate(
                [values, edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf)]
            ).astype(dtype)
        expected = np.where(
            np.isfinite(values), np.searchsorted(edges, values.astype(np.float64)), profile.bins
        )
        missing = Missing(
            *(int(found.sum()) for found in (np.isnan(values), values == np.inf, values == -np.inf))
        )
        counts = np.bincount(expected, minlength=profile.bins + 1)[:-1]
        for loaded in (kernels, None):
            with pytest.MonkeyPatch.context() as patch:
                patch.setitem(sys.modules, KERNELS, loaded)
                np.testing.assert_array_equal(profile.index(values), expected)
                found, found_missing = profile.binning.count(values)
            np.testing.assert_array_equal(found, counts)
            assert found_missing == missing

    @given(shapes, st.integers(0, 2**32))
    @settings(max_examples=30)
    def test_a_table_serves_every_shape(self, shape, seed):
        """Heavy tails, atoms and two modes need no more comparisons than the fast path makes."""
        binning = ColumnProfile.of(drawn(shape, np.random.default_rng(seed), 5_000)).binning
        assert binning._table.compares <= FAST_COMPARES

    def test_an_empty_side_of_the_table_is_no_special_case(self):
        """One value, huge values and the smallest ones have their bins too."""
        for values in ([0.0], [1.7e308, -1.7e308], [5e-324, 1e-323], [1e16, 1e16 + 2]):
            binning = ColumnProfile.of(values).binning
            assert binning.is_single[binning.index(np.repeat(values, 3))].all()

    @given(columns, st.integers(2, 40))
    @example(np.repeat([-1, -0.5, 0, 0.25, 0.5, 1, 2, 3, 4], [3, 1, 5, 1, 3, 3, 3, 3, 3]), 7)
    @few
    def test_no_bin_is_heavy_unless_it_is_one_value(self, reference, bins):
        """A bin of several values holds less than 2/B of the reference, and there are at most B such bins."""
        profile = ColumnProfile.of(reference, bins=bins)
        assert profile.inside.max() * bins < 2 * profile.total
        assert (profile.inside > 0).sum() <= bins
        assert profile.total == reference.size == profile.rows

    def test_a_column_is_read_as_it_lies(self):
        """Integers, booleans, strided, read-only and object columns count as their numbers do."""
        numbers = np.arange(60) % 7
        profile = ColumnProfile.of(numbers)
        expected = profile.index(numbers.astype(np.float64))
        read_only = numbers.astype(np.float64)
        read_only.flags.writeable = False
        for column in (
            numbers.astype(np.int8),
            numbers.astype(object),
            np.repeat(numbers, 2)[::2],
            read_only,
        ):
            np.testing.assert_array_equal(profile.index(column), expected)
        assert profile.index([True, False]).tolist() == profile.index([1.0, 0.0]).tolist()

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ([], "no reference row can be compared: 0 are missing"),
            ([math.nan, math.inf], "no reference row can be compared: 2 are missing"),
            ([[1.0]], "a column has one dimension"),
            ([2**60, 1], "integers beyond"),
            (np.array(["2026-01-01"], "datetime64[s]"), "datetime64"),
            (np.array([1.5, "high"], dtype=object), "holds something else"),
        ],
    )
    def test_a_reference_that_is_none_is_refused(self, values, message):
        """The message says what is wrong with the column."""
        with pytest.raises(SketchError, match=message):
            ColumnProfile.of(values)


class TestCertificate:
    """The interval around the distance."""

    @given(columns, columns, st.integers(2, 60))
    @few
    def test_the_exact_distance_lies_in_the_interval(self, reference, current, bins):
        """Whatever the values: D_B <= D <= upper end, no wider than the heaviest bin of several values."""
        profile = ColumnProfile.of(reference, bins=bins)
        found = result(profile, current)
        exact = exact_ks(reference, current)
        assert found.ks_lower - 1e-12 <= exact <= found.ks_upper + 1e-12
        assert found.ks_upper - found.ks_lower <= profile.inside.max() / profile.total + 1e-12
        assert found.ks == pytest.approx((found.ks_lower + found.ks_upper) / 2)

    @given(columns, columns)
    @few
    def test_it_is_exact_where_the_reference_has_few_values(self, reference, current):
        """With no more distinct values than bins the interval is the distance of scipy."""
        assume(reference.size + current.size > 2)  # scipy divides by zero
        found = result(ColumnProfile.of(reference), current)
        assert (
            found.ks_lower
            == found.ks_upper
            == pytest.approx(ks_2samp(reference, current, method="asymp").statistic, abs=1e-12)
        )

    @given(columns, st.integers(2, 30), st.data())
    @few
    def test_weights_count_rows_so_many_times(self, reference, bins, data):
        """Profile and interval of a weighted reference are those of its weighted distribution function."""
        weight = data.draw(arrays.arrays(np.float64, reference.size, elements=weights))
        assume(weight.any())
        current = data.draw(columns)
        profile = ColumnProfile.of(reference, bins=bins, weights=weight)
        found = result(profile, current)
        assert found.ks_lower - 1e-9 <= exact_ks(reference, current, weight) <= found.ks_upper + 1e-9
        assert profile.effective_rows == pytest.approx(weight.sum() ** 2 / (weight**2).sum())
        assert profile.rows == np.count_nonzero(weight)

    @given(columns, columns, st.integers(2, 60), st.integers(1, 60))
    @few
    def test_bins_that_are_not_looked_at_widen_the_interval(self, reference, current, bins, top_k):
        """A top-k comparison is certified as well, and never narrower than a full one."""
        profile = ColumnProfile.of(reference, bins=bins)
        full, quick = result(profile, current), result(profile, current, top_k=top_k)
        assert quick.ks_lower <= full.ks_lower + 1e-12
        assert quick.ks_upper >= full.ks_upper - 1e-12
        assert quick.rows == full.rows
        if top_k >= profile.bins:
            assert quick == full

    def test_compiled_and_plain_comparison_agree(self):
        """To the last bit, so that a verdict does not depend on what a process has imported."""
        from platform_assets.sketch import kernels

        random = np.random.default_rng(1)
        for shape in ("normal", "atoms", "mixed"):
            profile = ColumnProfile.of(drawn(shape, random, 5_000), weights=random.random(5_000))
            found = []
            for loaded in (kernels, None):
                with pytest.MonkeyPatch.context() as patch:
                    patch.setitem(sys.modules, KERNELS, loaded)
                    found.append(result(profile, drawn(shape, np.random.default_rng(2), 700)))
            assert found[0] == found[1]

    def _certify(self, cases):
        random = np.random.default_rng(cases)
        for case in range(cases):
            shape = ("normal", "cauchy", "lognormal", "atoms", "mixed", "bimodal")[case % 6]
            reference = drawn(shape, random, int(random.integers(2, 3_000)))
            current = drawn(shape, random, int(random.integers(2, 1_000)), shift=random.choice([0, 0.1, 1.0]))
            bins = int(random.integers(2, 512))
            found = result(ColumnProfile.of(reference, bins=bins), current)
            exact = ks_2samp(reference, current, method="asymp").statistic
            assert found.ks_lower - 1e-12 <= exact <= found.ks_upper + 1e-12
            assert found.ks_upper - found.ks_lower < 2 / bins + 1e-12

    def test_it_holds_in_random_cases(self):
        """Against scipy, on the shapes that streams have."""
        self._certify(100)

    @pytest.mark.long
    def test_it_holds_in_many_random_cases(self):
        """As above, 6,000 times."""
        self._certify(6_000)

    @given(shapes, st.sampled_from([0.1, 0.5, 0.9]))
    @settings(max_examples=10)
    def test_sampling_widens_the_interval_as_far_as_it_must(self, shape, sample_rate):
        """Of streams of which a share was counted, the interval misses the whole's distance no more than it says."""
        random = np.random.default_rng(3)
        profile = ColumnProfile.of(drawn(shape, random, 2_000))
        missed = 0
        for _ in range(100):
            stream = drawn(shape, random, 400, shift=0.2)
            counted = stream[random.random(400) < sample_rate]
            found = result(profile, counted, sample_rate=sample_rate)
            whole = result(profile, stream)
            missed += not found.ks_lower <= whole.ks_lower <= whole.ks_upper <= found.ks_upper + 1e-12
        # Chance of more than 6 at the promised 1 %: 2 in 10,000.
        assert missed <= 6
        assert SAMPLING_CONFIDENCE == 0.99

    def test_nothing_is_known_of_an_empty_stream(self):
        """The interval is 0 to 1 and the p-value 1, also where all values are missing."""
        found = result(ColumnProfile.of([1.0, 2.0]), [math.nan, math.inf, -math.inf])
        assert math.isnan(found.ks)
        assert (found.ks_lower, found.ks_upper, found.p_value, found.rows) == (0.0, 1.0, 1.0, 0)
        assert found.missing == Missing(1, 1, 1)

    @pytest.mark.parametrize("options", [{"sample_rate": 0.0}, {"sample_rate": 1.1}, {"top_k": 0}])
    def test_options_that_mean_nothing_are_refused(self, options):
        """They raise rather than widen nothing."""
        with pytest.raises(SketchError):
            result(ColumnProfile.of([1.0, 2.0]), [1.0], **options)


class TestCategories:
    """Texts: each is an atom, and there is a bin for all others."""

    def test_each_category_is_a_bin_the_most_frequent_first(self):
        """Unseen texts fall into the last bin, None and NaN count as missing."""
        profile = ColumnProfile.of(np.array(["b", "a", "b", None, "c"], dtype=object))
        assert profile.binning.names == ("b", "a", "c")
        assert profile.index(["c", "b", "unseen", None, math.nan]).tolist() == [2, 0, 3, 4, 4]
        found = result(profile, np.array(["b", "b", "a", "new", None], dtype=object))
        assert found.ks_lower == found.ks_upper == pytest.approx(0.25)
        assert (found.missing, profile.missing) == (Missing(nan=1), Missing(nan=1))

    @given(
        st.lists(st.sampled_from("abcdefgh"), min_size=1), st.lists(st.sampled_from("abcdefghi"), min_size=1)
    )
    def test_rare_categories_beyond_the_bins_are_certified(self, reference, current):
        """With more categories than bins, the distance over all of them lies in the interval."""
        full = ColumnProfile.of(reference)
        few = result(ColumnProfile.of(reference, bins=3), current)
        exact = result(full, current).ks_lower
        assert few.ks_lower - 1e-12 <= exact <= few.ks_upper + 1e-12

    def test_weights_reach_categories(self):
        """A source that is to count three times as much has three times the mass."""
        profile = ColumnProfile.of(["x", "y", "y", "y"], weights=np.array([3.0, 1, 1, 1]))
        assert profile.mass.tolist() == [3.0, 3.0, 0.0]
        assert profile.effective_rows == pytest.approx(3.0)


class TestHistograms:
    """Counting in parts, and what is kept of it."""

    @given(columns, anything, st.integers(0, 40))
    @few
    def test_parts_make_the_whole(self, reference, values, cut):
        """Adding in pieces, by bins, or merging gives the counts of all at once."""
        profile = ColumnProfile.of(reference, bins=16)
        whole, pieces, other = profile.histogram(), profile.histogram(), profile.histogram()
        whole.add(values)
        pieces.add(values[:cut])
        other.add_index(profile.index(values[cut:]))
        pieces.merge(other)
        np.testing.assert_array_equal(pieces.counts, whole.counts)
        assert pieces.missing.rows == whole.missing.rows
        read = Histogram.from_bytes(profile, pieces.to_bytes())
        np.testing.assert_array_equal(read.counts, whole.counts)
        assert read.missing == pieces.missing

    def test_other_bins_are_refused(self):
        """Counts over other bins can be neither merged nor read."""
        one, other = ColumnProfile.of([1.0, 2.0]).histogram(), ColumnProfile.of([1.0, 3.0]).histogram()
        with pytest.raises(SketchError, match="different profiles"):
            one.merge(other)
        with pytest.raises(SketchError, match="another profile"):
            Histogram.from_bytes(one.profile, other.to_bytes())
        one.merge(ColumnProfile.of([1.0, 2.0]).histogram())


class TestBytes:
    """The artifact of a model version."""

    def _profile(self):
        return ReferenceProfile.of(
            {"score": np.arange(40) ** 2 / 100, "source": ["imdb", "tomatoes"] * 20},
            bins=8,
            weights=np.repeat([1.0, 3.0], 20),
        )

    def test_what_is_read_is_what_was_written(self):
        """Bins, masses, counts of rows and names survive; equal profiles make equal bytes."""
        written = self._profile()
        read = ReferenceProfile.from_bytes(written.to_bytes())
        assert list(read.columns) == ["score", "source"]
        assert read.to_bytes() == written.to_bytes() == self._profile().to_bytes()
        for name, values in (("score", np.linspace(-1, 20, 99)), ("source", ["imdb", "else"])):
            assert result(read.columns[name], values) == result(written.columns[name], values)
            assert read.columns[name].fingerprint == written.columns[name].fingerprint

    def test_bytes_of_format_1_are_read_for_ever(self):
        """A profile and a histogram that were written when the format was made give the results of that day."""
        profile = ReferenceProfile.from_bytes((DATA / "reference_profile_v1.bin").read_bytes())
        score = profile.columns["score"]
        assert profile.columns["source"].binning.names == ("imdb", "tomatoes")
        assert (score.rows, score.bins) == (40, 8)
        assert score.effective_rows == pytest.approx(32.0)
        histogram = Histogram.from_bytes(score, (DATA / "histogram_v1.bin").read_bytes())
        assert histogram.missing == Missing(1, 2, 0, 0)
        found = compare(score, histogram)
        assert (found.ks_lower, found.ks_upper) == (0.2625, 0.375)
        assert histogram.counts.tolist() == [2, 6, 2, 3, 4, 3, 0, 0]

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda data: data[:20], "these 20 bytes are no DRIFTREF"),
            (lambda data: b"PARQUET!" + data[8:], "are no DRIFTREF"),
            (lambda data: data[:8] + b"\x02\x00" + data[10:], "format 2: this code reads up to 1"),
            (lambda data: data[:-40] + bytes([data[-40] ^ 1]) + data[-39:], "damaged"),
        ],
    )
    def test_other_bytes_are_refused(self, damage, message):
        """Cut, foreign, later and damaged files are told apart."""
        with pytest.raises(SketchError, match=message):
            ReferenceProfile.from_bytes(damage(self._profile().to_bytes()))

    def test_a_column_that_cannot_be_used_is_named(self):
        """So is the lack of any."""
        with pytest.raises(SketchError, match="words: no reference row"):
            ReferenceProfile.of({"score": [1.0], "words": [math.nan]})
        with pytest.raises(SketchError, match="at least one column"):
            ReferenceProfile.of({})
        with pytest.raises(SketchError, match="weights must be finite"):
            ReferenceProfile.of({"score": [1.0]}, weights=np.array([-1.0]))


class TestSignificance:
    """p-values, and many of them."""

    @given(st.integers(1, EXACT_ROWS), st.integers(1, EXACT_ROWS), st.data())
    @settings(max_examples=60)
    def test_small_samples_have_the_exact_p_value(self, m, n, data):
        """As scipy counts it, for any distance that samples of these sizes can have."""
        random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
        one, other = random.normal(size=m), random.normal(data.draw(st.sampled_from([0, 0.5, 2])), size=n)
        test = ks_2samp(one, other, method="exact")
        assert p_value(test.statistic, m, n) == pytest.approx(test.pvalue, rel=1e-6, abs=1e-14)

    @given(st.integers(101, 3_000), st.integers(101, 3_000), st.floats(0.3, 2.5))
    @settings(max_examples=60)
    def test_large_samples_have_the_limit(self, m, n, height):
        """Within 0.02 of scipy's, which takes the one-sample distribution, and within a fifth where it matters."""
        ks = height * math.sqrt((m + n) / (m * n))
        size = m * n / (m + n)
        below = math.floor(size)
        # scipy's knows whole sizes only.
        expected = np.interp(size, [below, below + 1], kstwo.sf(ks, [below, below + 1]))
        assert p_value(ks, m, n) == pytest.approx(expected, abs=0.02 if expected > 0.05 else 0.2 * expected)

    @given(st.floats(0.01, 5))
    def test_both_series_of_the_limit_distribution_are_right(self, x):
        """On either side of where they meet."""
        from platform_assets.sketch.significance import _kolmogorov

        assert _kolmogorov(x) == pytest.approx(kstwobign.sf(x), rel=1e-6, abs=1e-12)

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(0.001, 0.5))
    def test_holm_rejects_what_bonferroni_does_and_no_null_too_many(self, p_values, rate):
        """At least Bonferroni's, in the order of the p-values, and nothing above the rate."""
        rejected = holm(dict(enumerate(p_values)), rate)
        assert rejected >= {name for name, p in enumerate(p_values) if p <= rate / len(p_values)}
        assert all(p_values[name] <= rate for name in rejected)
        left = [p for name, p in enumerate(p_values) if name not in rejected]
        assert not left or min(left) > rate / len(left)


def test_a_small_batch_pays_for_nothing_heavy():
    """Profiles and comparisons of a few thousand values load neither numba nor scipy nor pandas."""
    program = (
        "import sys, numpy as np\n"
        "from platform_assets.sketch.sketch import ColumnProfile, compare\n"
        "profile = ColumnProfile.of(np.arange(5000.0)); histogram = profile.histogram()\n"
        "histogram.add(np.arange(5000.0)); compare(profile, histogram)\n"
        "assert not {'numba', 'scipy', 'pandas', 'pyarrow'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_edges_are_where_the_reference_has_its_quantiles():
    """A thousand rows in four bins: each ends at the last of its quarter, and the last has no end."""
    assert NumericBinning.of(np.arange(1000.0), np.ones(1000), bins=4).edges.tolist() == [249, 499, 749]
