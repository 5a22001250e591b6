"""The reference profile of a model version: held-out rows only, weighted to a mix where one is given."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.sketch.sketch import ReferenceProfile, compare
from platform_assets.validation.errors import ValidationError
from platform_assets.validation.reference import reference_profile
from tests.validation.scored import make_scored

COLUMNS = ("score", "words", "source", "error")
ROWS = {("imdb", "validation"): 300, ("imdb", "test"): 500, ("rt", "validation"): 70, ("rt", "test"): 90}


def values(scored):
    """The profiled columns of rows, by name, computed here once more."""
    columns = {name: scored[name].to_numpy() for name in ("score", "words", "source", "label")}
    return columns | {"error": np.abs(columns.pop("label") - columns["score"])}


def distances(profile, scored):
    """Certified lower bound of the KS distance of each column of `scored` from the profile."""
    found = {}
    for name, column in values(scored).items():
        histogram = profile.columns[name].histogram()
        histogram.add(column)
        found[name] = compare(profile.columns[name], histogram).ks_lower
    return found


def test_the_profile_holds_the_held_out_rows():
    """Score, words, source and error of the validation and test rows; nothing of a shifted source."""
    held_out = make_scored(ROWS)
    profile = reference_profile(make_scored(ROWS | {("yelp", "shift"): 900}), ("words",), mix=None)

    assert tuple(profile.columns) == COLUMNS
    assert {column.rows for column in profile.columns.values()} == {960}
    assert distances(profile, held_out) == pytest.approx(dict.fromkeys(COLUMNS, 0.0), abs=1e-12)


@settings(max_examples=20)
@given(imdb=st.integers(1, 5), rt=st.integers(1, 5), scale=st.floats(0.01, 100))
def test_a_mix_weighs_sources_as_repeated_rows_would(imdb, rt, scale):
    """The profile equals that of a table in which rows are repeated until the sources have these shares."""
    scored = make_scored(ROWS)
    rows_of = {name: scored.filter(pc.equal(scored["source"], name)) for name in ("imdb", "rt")}
    repeated = pa.concat_tables(
        [rows_of["imdb"]] * (imdb * rows_of["rt"].num_rows // 80)
        + [rows_of["rt"]] * (rt * rows_of["imdb"].num_rows // 80)
    )
    shares = {"imdb": imdb * scale, "rt": rt * scale}

    profile = reference_profile(scored, ("words",), mix=shares)

    assert distances(profile, repeated) == pytest.approx(dict.fromkeys(COLUMNS, 0.0), abs=1e-9)
    assert profile.columns["score"].rows == 960
    assert profile.columns["score"].effective_rows <= 960 + 1e-6


def test_a_source_outside_the_mix_is_left_out():
    """A mix of one source is the profile of that source's rows."""
    of_rt = make_scored({key: n for key, n in ROWS.items() if key[0] == "rt"})
    profile = reference_profile(make_scored(ROWS), ("words",), mix={"rt": 0.3})

    assert profile.columns["score"].rows == 160
    assert distances(profile, of_rt) == pytest.approx(dict.fromkeys(COLUMNS, 0.0), abs=1e-9)


def test_a_source_of_the_mix_without_held_out_rows_is_left_out_and_told(caplog):
    """A stream may hold what nobody has data of; the others keep their shares. A shifted source is such a one."""
    scored = make_scored(ROWS | {("yelp", "shift"): 900})

    profile = reference_profile(scored, ("words",), mix={"imdb": 0.45, "rt": 0.45, "yelp": 0.1})

    even = reference_profile(make_scored(ROWS), ("words",), mix={"imdb": 0.5, "rt": 0.5})
    assert profile.columns["source"].mass == pytest.approx(even.columns["source"].mass * 0.9)
    assert "reference_mix names yelp, and held-out rows are of imdb, rt only" in caplog.text


def test_a_mix_of_no_source_with_held_out_rows_is_refused():
    """The error names the sources, and those that there are."""
    with pytest.raises(ValidationError, match="reference_mix names yelp, and held-out rows are of imdb, rt"):
        reference_profile(make_scored(ROWS), ("words",), mix={"yelp": 1.0})


def test_no_held_out_row_is_no_profile():
    """Drift is never measured against rows that the model was trained on, nor against nothing."""
    with pytest.raises(ValidationError, match="no row was held out"):
        reference_profile(make_scored({("yelp", "shift"): 900}), ("words",), mix=None)


def test_equal_rows_give_equal_bytes_that_can_be_read_back():
    """The stored profile is named by its hash, and says the same after reading."""
    stored, again = (
        reference_profile(make_scored(ROWS), ("words",), mix={"imdb": 1, "rt": 2}).to_bytes()
        for _ in range(2)
    )

    assert stored == again
    assert distances(ReferenceProfile.from_bytes(stored), make_scored(ROWS)) == distances(
        reference_profile(make_scored(ROWS), ("words",), mix={"imdb": 1, "rt": 2}), make_scored(ROWS)
    )
