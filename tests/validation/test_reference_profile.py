"""The reference profile of a model version: held-out rows only, weighted to a mix where one is given."""

import math
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.drift.spec import DriftSpec
from platform_assets.sketch.sketch import ReferenceProfile, compare
from platform_assets.validation.errors import ValidationError
from platform_assets.validation.reference import reference_profile
from platform_assets.validation.source_names import hashed_source
from tests.validation.scored import make_scored

SALT = b"of these tests"
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
    profile = reference_profile(make_scored(ROWS | {("yelp", "shift"): 900}), ("words",), mix=None, salt=SALT)

    assert tuple(profile.columns) == COLUMNS
    assert {column.rows for column in profile.columns.values()} == {960}
    assert distances(profile, held_out) == pytest.approx(dict.fromkeys(COLUMNS, 0.0), abs=1e-12)


def test_the_profile_may_be_of_one_split():
    """Its rows and no others; no reference is of rows that were trained on, or never held out."""
    scored = make_scored(ROWS)
    chosen = DriftSpec(reference_splits="validation").reference_splits
    profile = reference_profile(scored, ("words",), mix=None, salt=SALT, splits=chosen)

    of_split = scored.filter(pc.equal(scored["split"], "validation"))
    assert {column.rows for column in profile.columns.values()} == {of_split.num_rows}
    assert distances(profile, of_split) == pytest.approx(dict.fromkeys(COLUMNS, 0.0), abs=1e-12)
    for wrong in ("train", "shift", []):
        with pytest.raises(ValueError, match="reference_splits"):
            DriftSpec(reference_splits=wrong)


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

    profile = reference_profile(scored, ("words",), mix=shares, salt=SALT)

    assert distances(profile, repeated) == pytest.approx(dict.fromkeys(COLUMNS, 0.0), abs=1e-9)
    assert profile.columns["score"].rows == 960
    assert profile.columns["score"].effective_rows <= 960 + 1e-6


def test_a_source_may_stand_as_the_hash_that_the_ledger_has_of_it():
    """Equal to the mix by names: so nobody needs the names of what a stream calls its sources."""
    scored, mix = make_scored(ROWS), {"imdb": 0.2, "rt": 0.8}
    hashed = {hashed_source(name, SALT): share for name, share in mix.items()}
    expected = reference_profile(scored, ("words",), mix=mix, salt=SALT).to_bytes()

    assert reference_profile(scored, ("words",), mix=hashed, salt=SALT).to_bytes() == expected
    with pytest.raises(ValidationError, match="held-out rows are of imdb, rt only"):
        reference_profile(scored, ("words",), mix=hashed, salt=b"another")


def test_a_source_outside_the_mix_is_left_out():
    """A mix of one source is the profile of that source's rows."""
    of_rt = make_scored({key: n for key, n in ROWS.items() if key[0] == "rt"})
    profile = reference_profile(make_scored(ROWS), ("words",), mix={"rt": 0.3}, salt=SALT)

    assert profile.columns["score"].rows == 160
    assert distances(profile, of_rt) == pytest.approx(dict.fromkeys(COLUMNS, 0.0), abs=1e-9)


def test_a_source_of_the_mix_without_held_out_rows_is_left_out_and_told(caplog):
    """A stream may hold what nobody has data of; the others keep their shares. A shifted source is such a one."""
    scored = make_scored(ROWS | {("yelp", "shift"): 900})

    profile = reference_profile(scored, ("words",), mix={"imdb": 0.45, "rt": 0.45, "yelp": 0.1}, salt=SALT)

    even = reference_profile(make_scored(ROWS), ("words",), mix={"imdb": 0.5, "rt": 0.5}, salt=SALT)
    assert profile.columns["source"].mass == pytest.approx(even.columns["source"].mass * 0.9)
    assert "reference_mix names yelp, and held-out rows are of imdb, rt only" in caplog.text


def test_a_mix_of_no_source_with_held_out_rows_is_refused():
    """The error names the sources, and those that there are."""
    with pytest.raises(ValidationError, match="reference_mix names yelp, and held-out rows are of imdb, rt"):
        reference_profile(make_scored(ROWS), ("words",), mix={"yelp": 1.0}, salt=SALT)


@pytest.mark.parametrize(
    ("odd", "because"),
    [
        (pa.nulls(960), "no reference row can be compared: 960 are missing"),
        (pa.array([None, *range(2**60, 2**60 + 959)]), "integers beyond 2^53 are identifiers"),
        (pa.array([date(2026, 1, 1)] * 960), "values of type datetime64[D] cannot be compared"),
        (pa.array([f"case {row}" for row in range(960)]), "no category has 5 rows: they are identifiers"),
    ],
)
def test_a_column_that_cannot_be_compared_is_left_out_and_told(caplog, odd, because):
    """The others have their profiles; the reason is stored with them, and read back."""
    scored = make_scored(ROWS)
    scored = scored.append_column("odd", odd)

    profile = reference_profile(scored, ("words", "odd"), mix=None, salt=SALT)

    assert tuple(profile.columns) == COLUMNS
    assert profile.left_out["odd"].startswith(because)
    assert f"drift is not measured of odd: {because}" in caplog.text
    assert ReferenceProfile.from_bytes(profile.to_bytes()).left_out == profile.left_out


def test_scores_that_cannot_be_compared_are_refused():
    """Without them there is nothing to watch."""
    scored = make_scored(ROWS)
    at = scored.schema.get_field_index("score")
    with pytest.raises(ValidationError, match="score of the held-out rows: no reference row can be compared"):
        reference_profile(scored.set_column(at, "score", pa.array([math.nan] * 960)), (), mix=None, salt=SALT)


def test_a_category_of_few_rows_is_counted_and_not_named():
    """It may be about one person, and a profile is kept as long as its model."""
    scored = make_scored(ROWS)
    towns = ["Bonn"] * 500 + ["Köln"] * 456 + ["Ada's village"] * 4
    profile = reference_profile(scored.append_column("town", pa.array(towns)), ("town",), mix=None, salt=SALT)

    assert profile.columns["town"].binning.names == ("Bonn", "Köln")
    assert profile.columns["town"].mass.tolist() == [500, 456, 4]
    assert b"village" not in profile.to_bytes()


def test_no_held_out_row_is_no_profile():
    """Drift is never measured against rows that the model was trained on, nor against nothing."""
    with pytest.raises(ValidationError, match="no row was held out"):
        reference_profile(make_scored({("yelp", "shift"): 900}), ("words",), mix=None, salt=SALT)


def test_equal_rows_give_equal_bytes_that_can_be_read_back():
    """The stored profile is named by its hash, and says the same after reading."""
    stored, again = (
        reference_profile(make_scored(ROWS), ("words",), mix={"imdb": 1, "rt": 2}, salt=SALT).to_bytes()
        for _ in range(2)
    )

    assert stored == again
    assert distances(ReferenceProfile.from_bytes(stored), make_scored(ROWS)) == distances(
        reference_profile(make_scored(ROWS), ("words",), mix={"imdb": 1, "rt": 2}, salt=SALT),
        make_scored(ROWS),
    )
