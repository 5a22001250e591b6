"""Columns that are made of others: of a source as of what somebody asks, and never of the answer."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from platform_assets.datasets.errors import DatasetError
from platform_assets.features.errors import FeatureError
from platform_assets.features.transformer_spec import TransformerSpec
from platform_assets.lines.line import load_line
from platform_assets.manifest import ManifestError, identity_of
from platform_assets.models.errors import InstanceError
from platform_assets.tasks.tabular_classification.derived import with_derived
from platform_assets.tasks.tabular_classification.derived_spec import DerivedSpec, Lineage
from platform_assets.tasks.tabular_classification.inputs import DERIVED_FILE, ModelInputs
from platform_assets.tasks.tabular_classification.scorer import TabularScorer, example_instance
from platform_assets.tasks.tabular_classification.task import TASK
from tests.tasks.tabular_classification.tables import (
    COLUMNS,
    fitted_woe,
    make_spec,
    prepared,
    trained,
    written,
)

DERIVED = {
    "scheduled": {"time": "hour_of", "plus_minutes": "minute"},
    "departed": {"time": "scheduled", "plus_minutes": "delay"},
    "route": {"joined": ["carrier", "origin"]},
    "far": {"number": "miles", "at_least": 1000},
    "late": {"number": "arrival_delay", "above": 15},
}
ROLES = {
    "flight": "key",
    "scheduled": "time",
    "departed": "available",
    "route": "categorical",
    "far": "categorical",
    "delay": "numeric",
    "late": {"role": "target", "positive": True},
}
RAW = {
    "flight": "string",
    "hour_of": "timestamp",
    "minute": "integer",
    "delay": "integer",
    "arrival_delay": "integer",
    "carrier": "string",
    "origin": "string",
    "miles": "integer",
}


def flights(rows=400, *, seed=0):
    """As many departures; some were cancelled, so nobody knows how late they came."""
    rng = np.random.default_rng(seed)
    delay = rng.integers(-10, 60, rows)
    frame = pd.DataFrame(
        {
            "flight": [f"f{at}" for at in range(rows)],
            "hour_of": pd.Timestamp("2013-01-01T10:00Z")
            + pd.to_timedelta(np.sort(rng.integers(0, 2000, rows)), "h"),
            "minute": rng.integers(0, 60, rows),
            "delay": pd.array(delay, dtype="Int64"),
            "arrival_delay": pd.array(delay + rng.integers(-20, 20, rows), dtype="Int64"),
            "carrier": rng.choice(["UA", "B6"], rows).astype(object),
            "origin": rng.choice(["EWR", "JFK"], rows).astype(object),
            "miles": rng.integers(100, 3000, rows),
        }
    )
    frame.loc[5:9, ["delay", "arrival_delay"]] = pd.NA
    return frame


def flight_spec(**changed):
    """A spec of these flights."""
    return make_spec(**{"columns": ROLES, "derived": DERIVED, "split": {"by": "time"}} | changed)


def made(frame, **derived):
    """The frame with these columns."""
    return with_derived(
        frame, {name: DerivedSpec.model_validate(each) for name, each in derived.items()}, "here"
    )


def complaint(**changed):
    """The messages about a spec with these changes."""
    with pytest.raises(ValidationError) as caught:
        flight_spec(**changed)
    return "; ".join(each["msg"] for each in caught.value.errors())


# --- What is made ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_a_dataset_has_the_derived_columns_with_a_role(tmp_path, ending):
    """As pandas computes them of the raw ones, whatever the format; the label too."""
    frame = flights()
    table = (
        prepared(flight_spec(train_data_uri=written(tmp_path, frame, f"flights.{ending}")))
        .rows.read()
        .to_pandas()
    )
    kept = frame.dropna(subset="arrival_delay").reset_index(drop=True)
    scheduled = kept["hour_of"] + pd.to_timedelta(kept["minute"], "min")
    departed = scheduled + pd.to_timedelta(kept["delay"].astype(int), "min")
    assert list(table) == [
        "flight",
        *(name for name in ROLES if name not in {"flight", "late"}),
        "label",
        "source",
        "split",
    ]
    assert (table["scheduled"] == scheduled).all()
    assert (table["departed"] == departed).all()
    assert table["route"].tolist() == (kept["carrier"] + "|" + kept["origin"]).tolist()
    assert table["far"].tolist() == np.where(kept["miles"] >= 1000, "true", "false").tolist()
    assert table["label"].tolist() == (kept["arrival_delay"] > 15).astype(int).tolist()


def test_rows_whose_target_cannot_be_derived_are_left_out_and_counted(tmp_path):
    """As rows without a target always are."""
    found = prepared(flight_spec(train_data_uri=written(tmp_path, flights())))
    assert (found.rows.num_rows, found.left_out["without_target_removed"]) == (395, 5)


AMOUNTS = st.none() | st.integers(-(10**5), 10**5) | st.decimals(-(10**5), 10**5, places=3)
EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
STARTS = st.none() | st.integers(-(10**15), 10**15).map(lambda at: EPOCH + at * MICROSECOND)
UNITS = {
    "plus_minutes": timedelta(minutes=1),
    "plus_hours": timedelta(hours=1),
    "plus_days": timedelta(days=1),
}


@given(
    rows=st.lists(st.tuples(STARTS, AMOUNTS, AMOUNTS), min_size=1, max_size=8),
    units=st.permutations(list(UNITS)),
)
def test_times_and_what_is_added_are_exact(rows, units):
    """To the microsecond, in every unit; a missing part is a missing time."""
    one, other, _ = units
    frame = pd.DataFrame(rows, columns=["start", "a", "b"], dtype=object)
    found = made(frame, end={"time": "start", one: "a", other: "b"})["end"]
    for (start, a, b), end in zip(rows, found, strict=True):
        if start is None or a is None or b is None:
            assert pd.isna(end)
            continue
        expected = (start - EPOCH) // MICROSECOND
        for unit, amount in ((one, a), (other, b)):
            expected += int(Decimal(amount) * 1000) * (UNITS[unit] // MICROSECOND // 1000)
        assert int(np.datetime64(end, "us").astype(np.int64)) == expected


NUMBERS = (
    st.none()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(allow_nan=False, allow_infinity=False)
)


@given(
    values=st.lists(NUMBERS, min_size=1, max_size=8),
    constant=st.integers(-(2**53), 2**53) | st.floats(-(2.0**53), 2.0**53),
    how=st.sampled_from(["above", "at_least", "below", "at_most"]),
)
def test_numbers_are_compared_exactly(values, constant, how):
    """Integers and decimals to the last digit; floats as Python compares them with the constant."""
    compare = {"above": "__gt__", "at_least": "__ge__", "below": "__lt__", "at_most": "__le__"}[how]
    found = made(pd.DataFrame({"n": pd.Series(values, dtype=object)}), is_so={"number": "n", how: constant})[
        "is_so"
    ]
    for value, answer in zip(values, found, strict=True):
        if value is None:
            assert answer is None
            continue
        plain = isinstance(value, float) and isinstance(constant, float)
        left, right = (value, constant) if plain else (Decimal(str(value)), Decimal(str(constant)))
        assert answer is getattr(left, compare)(right)


@pytest.mark.parametrize(
    ("value", "constant", "expected"),
    [
        (9007199254740993, 2**53, True),
        ("9007199254740993", 2**53, True),
        (Decimal("15.00000000000000000001"), 15, True),
        ("15.00000000000000000001", 15, True),
        (0.1, 0.1, False),
        ("0.1", 0.1, False),
        (Decimal("0.1"), 0.1, False),
        (np.float64(0.30000000000000004), 0.3, True),
    ],
)
def test_no_digit_is_lost_before_a_number_is_compared(value, constant, expected):
    """A float is the shortest decimal that reads as it, so 0.1 is not above 0.1 in any format."""
    found = made(
        pd.DataFrame({"n": pd.Series([value], dtype=object)}), more={"number": "n", "above": constant}
    )
    assert found["more"].tolist() == [expected]


@pytest.mark.parametrize("dtype", ["float32", "Float32", "float16", "float64", "Float64"])
def test_a_float_of_any_width_is_the_shortest_decimal_that_reads_as_it(dtype):
    """A file of narrow floats means the 0.1 that whoever asks writes."""
    values = pd.Series([0.1, None, 0.2], dtype=dtype)
    found = made(pd.DataFrame({"n": values}), more={"number": "n", "above": 0.1})["more"]
    assert found.tolist() == [False, None, True]


PARTS = st.text(alphabet="a|\\", max_size=4)


@given(one=st.tuples(PARTS, PARTS), other=st.tuples(PARTS, PARTS))
def test_joined_texts_are_the_same_only_where_their_parts_are(one, other):
    """Whatever stands in them."""
    found = made(pd.DataFrame([one, other], columns=["a", "b"]), both={"joined": ["a", "b"]})["both"].tolist()
    assert (found[0] == found[1]) == (one == other)


def test_a_joined_text_is_missing_where_a_part_is():
    """Half a route is none."""
    frame = pd.DataFrame({"a": ["x", None], "b": ["y", "z"]})
    assert made(frame, both={"joined": ["a", "b"]})["both"].tolist() == ["x|y", None]


def test_columns_are_made_of_those_before_them_and_leave_the_frame_alone():
    """Also three deep."""
    frame = pd.DataFrame({"n": [1, 20], "a": ["x", "y"]})
    found = made(
        frame, big={"number": "n", "above": 15}, one={"joined": ["a", "big"]}, two={"joined": ["one", "a"]}
    )
    assert found["two"].tolist() == ["x\\|false|x", "y\\|true|y"]
    assert list(frame) == ["n", "a"]


def test_a_long_chain_goes_back_to_its_source_at_once():
    """Each column named twice by the next: no path to the source is walked twice, nor deeper than the stack."""
    pair = {"joined": ["carrier", "carrier"]}
    chain = {"x0": pair} | {f"x{at}": {"joined": [f"x{at - 1}"] * 2} for at in range(1, 2000)}
    lineage = Lineage({name: DerivedSpec.model_validate(each) for name, each in chain.items()})
    assert lineage.raw("x1999") == {"carrier"}
    assert lineage.raw("other") == {"other"}


# --- What is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("derived", "message"),
    [
        ({}, "has one of `time`, `joined` and `number`"),
        (
            {"time": "hour_of", "joined": ["a", "b"], "plus_days": "n"},
            "has one of `time`, `joined` and `number`",
        ),
        ({"time": "hour_of"}, "time: nothing is added to it"),
        ({"time": "hour_of", "plus_days": "n", "above": 3}, "above: belongs to `number`"),
        ({"number": "n"}, "number: is compared with one constant"),
        ({"number": "n", "above": 1, "below": 3}, "number: is compared with one constant"),
        ({"number": "n", "above": 1, "plus_hours": "m"}, "plus_hours: belongs to `time`"),
        ({"joined": ["a"]}, "joined: one column is joined with nothing"),
        ({"number": "n", "above": "15"}, "Input should be a valid"),
        ({"number": "n", "above": True}, "Input should be a valid"),
        ({"number": "n", "over": 15}, "Extra inputs are not permitted"),
        ({"number": "n", "above": 2**53 + 1}, "Input should be less than or equal to"),
        ({"number": "n", "above": float("inf")}, "Input should be"),
    ],
)
def test_a_derived_column_is_of_one_form(derived, message):
    """Anything else is one complaint."""
    assert message in complaint(derived={**DERIVED, "odd": derived})


@pytest.mark.parametrize(
    ("derived", "message"),
    [
        ({"odd": {"joined": ["odd", "carrier"]}}, "derived.odd.joined: odd is made of itself"),
        (
            {"a": {"joined": ["b", "carrier"]}, "b": {"joined": ["a", "carrier"]}},
            "derived.a.joined: b is stated after it",
        ),
        (
            {"odd": {"time": "route", "plus_days": "delay"}},
            "derived.odd.time: route is a text, and a time is needed",
        ),
        (
            {"odd": {"time": "far", "plus_days": "delay"}},
            "derived.odd.time: far is true or false, and a time",
        ),
        (
            {"odd": {"time": "hour_of", "plus_days": "far"}},
            "derived.odd.plus_days: far is true or false, and a number",
        ),
        (
            {"odd": {"number": "scheduled", "above": 1}},
            "derived.odd.number: scheduled is a time, and a number",
        ),
        ({"odd": {"joined": ["scheduled", "route"]}}, "derived.odd.joined: scheduled is a time, and a text"),
        ({"odd": {"joined": ["carrier", "route"]}}, "derived.odd: nothing reads it"),
    ],
)
def test_columns_that_cannot_be_made_of_each_other_are_refused(derived, message):
    """Circles, wrong kinds, and what is made for nobody; with the field."""
    assert message in complaint(derived={**DERIVED, **derived})


@pytest.mark.parametrize(
    ("column", "role", "message"),
    [
        (
            "departed",
            "numeric",
            "columns.departed: is a time, which is no numeric; give it the role time or available",
        ),
        ("route", "numeric", "columns.route: is a text, which is no numeric"),
        ("route", "available", "columns.route: is a text, which is no available"),
        ("far", "numeric", "columns.far: is true or false, which is no numeric"),
    ],
)
def test_a_role_fits_what_a_column_holds(column, role, message):
    """A time is no number."""
    columns = {name: each for name, each in ROLES.items() if each != role}
    assert message in complaint(columns={**columns, column: role}, split={})


@pytest.mark.parametrize(
    ("columns", "derived", "message"),
    [
        ({"arrival_delay": "numeric"}, {}, "columns.arrival_delay: is what the target late is made of"),
        (
            {"arrival_delay": {"role": "numeric", "feature": False}},
            {},
            "columns.arrival_delay: is what the target late is made of",
        ),
        (
            {"very": "categorical"},
            {"very": {"number": "arrival_delay", "above": 60}},
            "columns.very: is made of arrival_delay, what the target late is made of",
        ),
        (
            {"way": "categorical"},
            {"very": {"number": "arrival_delay", "above": 60}, "way": {"joined": ["origin", "very"]}},
            "columns.way: is made of arrival_delay,",
        ),
        (
            {"scheduled": "available", "departed": "time"},
            {"departed": {"time": "hour_of", "plus_minutes": "arrival_delay"}},
            "columns.departed: is made of arrival_delay,",
        ),
        (
            {"route": "key", "flight": "categorical"},
            {"route": {"joined": ["origin", "late"]}, "late": DERIVED["late"]},
            "columns.route: is made of arrival_delay,",
        ),
    ],
)
def test_what_the_target_is_made_of_is_no_feature_by_any_other_name(columns, derived, message):
    """Nor a key, a group or the time of a row: each of them would tell a model the answer."""
    listed = {name: each for name, each in DERIVED.items() if name not in derived}
    if "late" in derived:
        derived = dict(reversed(derived.items()))
    assert message in complaint(columns={**ROLES, **columns}, derived={**listed, **derived})


def test_a_feature_made_of_a_raw_target_is_refused():
    """The target need not be derived itself."""
    told = {"own": {"joined": ["Status", "Home"]}}
    with pytest.raises(
        ValidationError, match=r"columns.own: is made of Status, what the target Status is made of"
    ):
        make_spec(columns={**COLUMNS, "own": "categorical"}, derived=told)


def test_when_a_target_became_known_may_follow_from_it():
    """An arrival is known when it is over; by it rows of a history cannot be ordered, or their place would tell."""
    derived = {**DERIVED, "arrived": {"time": "scheduled", "plus_minutes": "arrival_delay"}}
    columns = {**ROLES, "departed": "time", "scheduled": "group", "arrived": "available"}
    columns = {name: role for name, role in columns.items() if name != "scheduled"}
    spec = flight_spec(columns=columns, derived=derived)
    given = {
        "inputSource": "asset://loans_dataset",
        "transformerType": "lag",
        "columns": ["delay"],
        "entityKey": "route",
        "lag": {"rows": 1},
    }
    sound = TransformerSpec.model_validate(
        {**given, "timestampColumn": "departed", "availableColumn": "arrived"}
    )
    assert TASK.featurizer.refusal(spec, "a_lag", {"a_lag": sound}) is None
    told = TransformerSpec.model_validate({**given, "timestampColumn": "arrived"})
    refusal = TASK.featurizer.refusal(spec, "a_lag", {"a_lag": told})
    assert refusal is not None
    assert "orders rows by arrived, which is made of arrival_delay, as the target is" in refusal.reason
    along = TransformerSpec.model_validate({**given, "timestampColumn": "departed", "entityKey": "arrived"})
    refusal = TASK.featurizer.refusal(spec, "a_lag", {"a_lag": along})
    assert refusal is not None
    assert "looks along arrived, which is made of arrival_delay, as the target is" in refusal.reason


@pytest.mark.parametrize("name", ["miles", "hour_of", "odd"])
def test_a_feature_is_called_as_no_column_that_others_are_made_of(name):
    """Whoever asks gives both, so one name would be two values; derived columns without a role count too."""
    derived = {"odd": {"joined": ["carrier", "origin"]}, **DERIVED, "route": {"joined": ["odd", "origin"]}}
    wanted = TransformerSpec.model_validate(
        {
            "inputSource": "asset://loans_dataset",
            "transformerType": "lag",
            "columns": ["delay"],
            "entityKey": "route",
            "timestampColumn": "scheduled",
            "availableColumn": "departed",
            "lag": {"rows": 1},
            "outputNames": {"delay": name},
        }
    )
    refusal = TASK.featurizer.refusal(flight_spec(derived=derived), "a_lag", {"a_lag": wanted})
    assert refusal is not None
    assert f"a_lag makes {name}, which is the name of a column of this line" in refusal.reason


@pytest.mark.parametrize("current", [False, True])
def test_a_row_is_in_its_own_window_only_by_what_the_target_does_not_tell(current):
    """With includeCurrent it is there where it was known at its time: were that the arrival, it would be the answer."""
    derived = {
        **{name: each for name, each in DERIVED.items() if name != "departed"},
        "arrived": {"time": "scheduled", "plus_minutes": "arrival_delay"},
    }
    columns = {name: role for name, role in ROLES.items() if name != "departed"} | {"arrived": "available"}
    wanted = TransformerSpec.model_validate(
        {
            "inputSource": "asset://loans_dataset",
            "transformerType": "zscore",
            "columns": ["delay"],
            "entityKey": "route",
            "timestampColumn": "scheduled",
            "availableColumn": "arrived",
            "windowDays": 30,
            "zscore": {"includeCurrent": current},
        }
    )
    refusal = TASK.featurizer.refusal(flight_spec(columns=columns, derived=derived), "z", {"z": wanted})
    assert (refusal is not None) == current
    if refusal is not None:
        assert "includes a row in its own window where arrived says that it was known" in refusal.reason


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (
            "delay",
            "soon",
            "derived.departed: column 'delay': 1 of 400 values are not a number (first: row 3)",
        ),
        ("delay", "inf", "derived.departed: column 'delay': 1 of 400 values are not a number (first: row 3)"),
        (
            "hour_of",
            "noon",
            "derived.scheduled: column 'hour_of': 1 of 400 values are not a date or time (first: row 3)",
        ),
        ("minute", "1e15", "derived.scheduled: 1 of 400 times lie beyond the years 1 to 9999 (first: row 3)"),
        (
            "arrival_delay",
            "much",
            "derived.late: column 'arrival_delay': 1 of 400 values are not a number (first",
        ),
    ],
)
def test_a_value_that_nothing_can_be_made_of_is_one_error_that_never_shows_it(
    tmp_path, column, value, message
):
    """It names source, derived column, source column and the first such row."""
    frame = flights().astype(object)
    frame.loc[2, column] = value
    with pytest.raises(DatasetError) as caught:
        prepared(flight_spec(train_data_uri=written(tmp_path, frame, "flights.csv")))
    assert message in str(caught.value)
    assert value not in str(caught.value)


def test_a_source_must_have_what_is_derived_of_and_not_what_is_derived(tmp_path):
    """Each by name; the raw columns are listed as they are in the source."""
    missing = flight_spec(train_data_uri=written(tmp_path, flights().drop(columns="minute")))
    with pytest.raises(
        DatasetError, match=r"derived.scheduled.plus_minutes: column 'minute' is missing \(400 rows, col"
    ):
        prepared(missing)
    own = flight_spec(train_data_uri=written(tmp_path, flights().assign(route="x")))
    with pytest.raises(
        DatasetError, match=r"has a column 'route' of its own, and derived.route makes one of that name"
    ):
        prepared(own)


def write_line(folder: Path, *, raw=RAW, **changed) -> Path:
    """A line's spec and a contract of this raw schema."""
    spec = flight_spec(**changed).model_dump(mode="json", exclude_unset=True)
    spec["derived"] = changed.get("derived", DERIVED)
    (folder / "loans.yaml").write_text(
        yaml.safe_dump(
            {
                "name": "loans",
                "raw": {"columns": raw, "keys": ["flight"]},
                "expectations": [
                    {
                        "type": "expect_column_values_to_not_be_null",
                        "kwargs": {"column": "label"},
                        "meta": {"domain": "label_quality", "owner": "o"},
                        "severity": "critical",
                    }
                ],
            },
            sort_keys=False,
        )
    )
    path = folder / "training-spec.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return path


def test_a_sound_line_loads(tmp_path):
    """Its raw columns are those of the source, and the derived ones none of them."""
    assert load_line(write_line(tmp_path)).spec.derived.keys() == DERIVED.keys()


@pytest.mark.parametrize(
    ("raw", "field", "message"),
    [
        (
            {"minute": None},
            "derived.scheduled.plus_minutes",
            "the contract states no raw column minute; known are",
        ),
        (
            {"route": "string"},
            "derived.route",
            "the contract states a raw column route; give what is derived another",
        ),
        (
            {"minute": "string"},
            "derived.scheduled.plus_minutes",
            "states minute as string, and integer or number is",
        ),
        (
            {"hour_of": "integer"},
            "derived.scheduled.time",
            "states hour_of as integer, and timestamp or string is",
        ),
        (
            {"carrier": "number"},
            "derived.route.joined",
            "states carrier as number, and string or integer or boolean",
        ),
        (
            {"arrival_delay": "boolean"},
            "derived.late.number",
            "states arrival_delay as boolean, and integer or number",
        ),
    ],
)
def test_what_the_contract_does_not_state_is_told_with_file_line_and_field(tmp_path, raw, field, message):
    """Before any data is read."""
    stated = {name: kind for name, kind in {**RAW, **raw}.items() if kind is not None}
    path = write_line(tmp_path, raw=stated)
    with pytest.raises(ManifestError) as caught:
        load_line(path)
    place, _, problem = str(caught.value).partition(f": {field}: ")
    file, _, line = place.rpartition(":")
    text = path.read_text().splitlines()[int(line) - 1]
    assert file == str(path)
    assert field.rsplit(".", maxsplit=1)[-1] in text
    assert message in problem


@pytest.mark.parametrize(("kind", "sound"), [("integer", True), ("string", False), ("boolean", False)])
def test_a_number_is_joined_only_where_a_source_spells_it_as_who_asks(tmp_path, kind, sound):
    """A text `05` and `true` are numbers to a numeric column, but 5 and 1 have other texts."""
    changed = {
        "raw": {**RAW, "gate": kind},
        "columns": {**ROLES, "gate": "numeric"},
        "derived": {**DERIVED, "route": {"joined": ["carrier", "gate"]}},
    }
    path = write_line(tmp_path, **changed)
    if sound:
        assert load_line(path).spec.columns["gate"].role == "numeric"
        return
    with pytest.raises(
        ManifestError,
        match=rf"derived.route.joined: the contract states gate as {kind}, and columns.gate is num",
    ):
        load_line(path)


def test_a_complaint_about_a_circle_names_file_line_and_field(tmp_path):
    """As one about any other field."""
    path = write_line(tmp_path)
    path.write_text(path.read_text().replace("time: scheduled", "time: departed"))
    with pytest.raises(
        ManifestError, match=r"training-spec.yaml:\d+: derived.departed.time: departed is made of itself"
    ):
        load_line(path)


# --- Who a row is ----------------------------------------------------------------------------------------


def test_a_row_without_a_key_is_the_same_whatever_is_derived_of_it(tmp_path):
    """What the target is made of counts as little as a target does: a corrected delay is the same subject."""
    frame = flights().drop(columns="flight")
    keyless = {name: role for name, role in ROLES.items() if name != "flight"}
    before = prepared(flight_spec(train_data_uri=written(tmp_path, frame), columns=keyless)).rows.read()
    fewer = {name: role for name, role in keyless.items() if name != "far"}
    other = {name: each for name, each in DERIVED.items() if name != "far"}
    corrected = frame.assign(arrival_delay=frame["arrival_delay"] + 1)
    after = prepared(
        flight_spec(train_data_uri=written(tmp_path, corrected), columns=fewer, derived=other)
    ).rows.read()
    assert after["row_id"].to_pylist() == before["row_id"].to_pylist()


def test_identity_changes_only_where_something_is_derived():
    """A spec without derived columns is what it was before there were any; with them, each of them counts."""
    plain = make_spec()
    for fields in (TASK.ingestion.fields, TASK.featurizer.fields):
        assert "derived" in fields
        assert "derived" not in identity_of(plain, fields)
        told = identity_of(flight_spec(), fields)
        later = {**DERIVED, "late": {"number": "arrival_delay", "above": 16}}
        assert told["derived"] != identity_of(flight_spec(derived=later), fields)["derived"]


def test_a_spec_with_derived_columns_survives_its_own_values():
    """Written out and read again it is the same."""
    spec = flight_spec()
    assert type(spec).model_validate(spec.model_dump(mode="json")) == spec


# --- Who asks a model ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a model of flights, its scorer, the raw rows and the prepared ones."""
    folder = tmp_path_factory.mktemp("flights")
    frame = flights(1000)
    spec = flight_spec(train_data_uri=written(folder, frame))
    rows = prepared(spec).rows.read()
    _, scorer, _ = trained(rows, spec, folder / "model")
    return folder / "model", scorer, frame.dropna(subset="arrival_delay"), rows


def asked(frame, *names):
    """Rows of a frame as somebody asks about them: JSON, without what is missing."""
    return json.loads(frame[list(names)].to_json(orient="records"))


def test_instances_are_given_in_columns_of_the_source(model):
    """And score to the bit as the same rows of the dataset."""
    _, scorer, frame, rows = model
    given = asked(frame, "carrier", "origin", "miles", "delay")
    assert (scorer.score_instances(given) == scorer.score_rows(rows)).all()


def test_what_is_watched_is_what_the_model_reads(model):
    """The derived values, since the reference profile has those; not what only served to derive them."""
    _, scorer, _, _ = model
    given = [{"carrier": "UA", "origin": "EWR", "miles": 1000, "delay": 3}, {"carrier": "UA", "miles": None}]
    assert scorer.watched(given) == [{"delay": 3.0, "route": "UA|EWR", "far": "true"}, {}]


@pytest.mark.parametrize(
    ("instance", "message"),
    [
        ({"route": "UA|EWR"}, "route: is no field; known are delay, carrier, origin, miles"),
        ({"arrival_delay": 3}, "arrival_delay: is no field"),
        ({"miles": "1000"}, "miles: is no number; write it without quotes"),
        ({"carrier": 1.5}, "carrier: is no category"),
    ],
)
def test_an_instance_that_nothing_can_be_derived_of_is_refused(model, instance, message):
    """By the rules for every other field."""
    with pytest.raises(InstanceError, match="instance 1: ") as caught:
        model[1].score_instances([instance])
    assert message in str(caught.value)


def test_a_category_that_is_compared_as_a_number_must_be_one(tmp_path):
    """A column may be a category and be compared, too; what is no number is refused and not quoted."""
    frame = flights(1000).assign(miles=lambda each: each["miles"] // 500)
    spec = flight_spec(
        train_data_uri=written(tmp_path, frame),
        columns={**ROLES, "miles": "categorical"},
        derived={**DERIVED, "far": {"number": "miles", "above": 2}},
    )
    rows = prepared(spec).rows.read()
    _, scorer, _ = trained(rows, spec, tmp_path / "model")
    given = asked(frame.dropna(subset="arrival_delay"), "carrier", "origin", "miles", "delay")
    assert (scorer.score_instances(given) == scorer.score_rows(rows)).all()
    with pytest.raises(
        InstanceError, match=r"derived.far: column 'miles': 1 of 1 values are not a number"
    ) as caught:
        scorer.score_instances([{"miles": "secret"}])
    assert "secret" not in str(caught.value)


def test_weights_of_evidence_of_derived_columns_are_computed_of_the_raw_ones(tmp_path):
    """The model reads weights only; an instance still gives carrier and origin."""
    frame = flights(1000)
    spec = flight_spec(train_data_uri=written(tmp_path, frame))
    rows = prepared(spec).rows.read()
    _, scorer, _ = trained(rows, spec, tmp_path / "model", transformers=fitted_woe(rows, "route", "far"))
    given = asked(frame.dropna(subset="arrival_delay"), "carrier", "origin", "miles", "delay")
    assert set(scorer.features) == {"delay", "far_woe", "route_woe"}
    assert (scorer.score_instances(given) == scorer.score_rows(rows)).all()


@pytest.mark.parametrize("weighed", [False, True])
def test_a_derived_value_without_a_place_in_the_order_is_refused(tmp_path, weighed):
    """As in a source, and as of an ordinal column that is given: the order is all there is."""
    order = ["UA|EWR", "UA|JFK", "B6|EWR", "B6|JFK"]
    columns = {**ROLES, "route": {"role": "ordinal", "order": order}}
    spec = flight_spec(train_data_uri=written(tmp_path, flights(1000)), columns=columns)
    rows = prepared(spec).rows.read()
    weights = fitted_woe(rows, "route") if weighed else {}
    _, scorer, _ = trained(rows, spec, tmp_path / "model", transformers=weights)
    sound = {"carrier": "UA", "origin": "JFK"}
    assert scorer.score_instances([sound, {"carrier": "UA"}]).shape == (2,)
    with pytest.raises(
        InstanceError, match=r"instance 2: route: what is derived is none of UA\|EWR, "
    ) as caught:
        scorer.score_instances([sound, {"carrier": "secret", "origin": "JFK"}])
    assert "secret" not in str(caught.value)


def test_only_a_model_that_reads_derived_columns_keeps_how_they_are_made(model, loans, tmp_path):
    """Of those only what it needs, in order; a damaged file is refused."""
    kept = json.loads((model[0] / DERIVED_FILE).read_text())
    assert [each["name"] for each in kept["columns"]] == ["route", "far"]
    trained(loans, make_spec(), tmp_path / "model")
    assert not (tmp_path / "model" / DERIVED_FILE).exists()
    damaged = shutil.copytree(model[0], tmp_path / "damaged")
    (damaged / DERIVED_FILE).write_text('{"columns": [{"name": "route"}]}')
    with pytest.raises(
        FeatureError, match=r"derived.json: does not say how columns are derived \(1 problems\)"
    ):
        TabularScorer.load(damaged)


def test_a_run_without_overrides_keeps_the_same_bytes(model):
    """What the spec leaves unsaid is not written, though a run states every value of it."""
    spec, rows = flight_spec(), model[3]
    stated = type(spec).model_validate(spec.model_dump())
    states = [
        ModelInputs.fit(rows, each.features, derived=each.derived).to_state() for each in (spec, stated)
    ]
    assert states[0] == states[1]


def test_the_example_that_is_printed_can_be_answered(model):
    """It shows raw columns only."""
    shown = json.loads(example_instance(flight_spec(), {}))
    assert shown == {"delay": 1}
    assert model[1].score_instances([shown]).shape == (1,)
