"""Event files: as people's programs write them, and as a request holds them."""

import json
import math
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.drift.event_reading import NoEventError, json_events, read_events
from tests.drift.test_event import make_event

ROWS = 5


def lines(count=ROWS, **changes):
    """So many events as JSON; the third has the changes."""
    made = [make_event(event_id=f"e{row}").to_json() for row in range(count)]
    made[2] |= changes
    return [json.dumps(each) for each in made]


def both(content):
    """Ids of the events that are read, and row and problem of what is not."""
    refused = []
    read = [event.event_id for _, event in json_events(content, name="events.jsonl", refused=refused.append)]
    return read, {problem.row: problem.problem for problem in refused}


@pytest.mark.parametrize(
    "content",
    [
        "\n".join(lines()).encode(),
        "\n".join(lines()).encode() + b"\n\n",
        "\n\n".join(lines()).encode(),
        "\r\n".join(lines()).encode(),
        b"\xef\xbb\xbf" + "\n".join(lines()).encode(),
        f"[{','.join(lines())}]".encode(),
        b"\xef\xbb\xbf [" + ",".join(lines()).encode() + b"]",
    ],
    ids=["lines", "blank end", "blank between", "CRLF", "mark", "array", "array after a mark"],
)
def test_each_form_holds_the_same_events(content):
    """Blank lines, ends of lines and a mark before the text are no part of it."""
    assert both(content) == ([f"e{row}" for row in range(ROWS)], {})


@pytest.mark.parametrize(
    ("third", "problem"),
    [
        ('{"event_id": ', "is no JSON"),
        ("7", "no object"),
        (lines(score=math.nan)[2], "NaN"),
        (lines(event_id="cut \ud83d")[2], "half a surrogate pair"),
        ('{"score": 1, "score": 2}', "'score' twice"),
        (lines(event_id="e\0")[2], "event_id of a prediction event holds the character NUL"),
        (lines(label=2)[2], "label of a prediction event must be 0 or 1"),
        (lines(event_time="2026-01-31T12:00:00")[2], "a time with its zone"),
    ],
)
def test_a_bad_line_is_named_and_stops_no_other(third, problem):
    """By its line in the file, and what is wrong with it; without somebody to tell, it ends the reading."""
    content = "\n".join(["", *lines()[:2], third, *lines()[3:]]).encode()
    read, refused = both(content)
    assert read == ["e0", "e1", "e3", "e4"]
    assert list(refused) == [4]
    assert problem in refused[4]
    with pytest.raises(NoEventError, match=r"events\.jsonl: row 4: "):
        list(json_events(content, name="events.jsonl"))


def test_an_array_that_is_nested_too_deeply_is_refused():
    """As a line of that depth is."""
    deep = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    assert [*both(deep)[1]] == [1]
    for depth in (1_000, 100_000):
        with pytest.raises(NoEventError, match=r"events\.json: row 1: "):
            list(json_events(b"[" * depth + b"]" * depth, name="events.json"))


def test_a_refusal_shows_no_value():
    """It may be somebody's."""
    _, refused = both("\n".join(lines(score="MARKER-0815", columns={"words": ["MARKER-0815"]})).encode())
    assert refused
    assert "MARKER" not in str(refused)


@pytest.mark.parametrize(("label", "expected"), [(1.0, 1), (0.0, 0), (None, None), (math.nan, None)])
def test_whole_numbers_may_be_floats(tmp_path, label, expected):
    """A column with gaps holds floats in many programs: labels and versions are read as what they say."""
    row = make_event().to_json() | {"model_version": 3.0, "label": label}
    columns = row.pop("columns")
    pq.write_table(pa.Table.from_pylist([row | columns]), tmp_path / "events.parquet")
    ((_, event),) = read_events(tmp_path / "events.parquet")
    assert (event.model_version, event.label) == (3, expected)
    assert isinstance(event.model_version, int)
    assert event.columns == {"words": 120.0, "source": "imdb"}


@given(
    st.datetimes(timezones=st.just(UTC)).map(
        lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000)
    ),
    st.sampled_from(["ms", "us"]),
)
@settings(max_examples=20)
def test_any_time_of_a_parquet_file_is_the_same_in_json(tmp_path_factory, time, unit):
    """In any year, and in any unit that holds it."""
    path = tmp_path_factory.mktemp("times") / "events.parquet"
    row = make_event(event_time=time).to_json() | {"event_time": time}
    columns = row.pop("columns")
    table = pa.Table.from_pylist([row | columns])
    at = table.schema.get_field_index("event_time")
    pq.write_table(table.set_column(at, "event_time", pa.array([time], pa.timestamp(unit, "UTC"))), path)
    ((_, event),) = read_events(path)
    assert event == make_event(event_time=time)


def test_columns_of_other_types_are_no_part_of_an_event(tmp_path, caplog):
    """They are told, and refuse nothing; decimals are the numbers that they are in JSON."""
    row = make_event().to_json() | {"event_time": datetime(2026, 1, 31, 12, tzinfo=UTC)}
    del row["columns"]
    row |= {"tags": ["a"], "price": Decimal("21.12"), "seen": datetime(2026, 1, 1, tzinfo=UTC)}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "events.parquet")
    ((_, event),) = read_events(tmp_path / "events.parquet")
    assert event.columns == {"price": 21.12}
    assert [record.message.split(": ")[1] for record in caplog.records] == [
        "column 'tags' of type 'list<element",
        "column 'seen' of type 'timestamp[us, tz=UTC]' is no part of its events",
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("events.parquet", b"no parquet"),
        ("events.jsonl", b"\x1f\x8b of gzip"),
        ("events.jsonl", "[1".encode("utf-16")),
        ("missing.jsonl", None),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, content):
    """Even where bad rows are only told: nothing of it was read."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(NoEventError, match=name.replace(".", r"\.")):
        list(read_events(tmp_path / name, refused=lambda problem: None))


def test_a_column_twice_is_one_clear_error(tmp_path):
    """As in every file that is read."""
    table = pa.table([pa.array(["e1"]), pa.array(["e2"])], names=["event_id", "event_id"])
    pq.write_table(table, tmp_path / "events.parquet")
    with pytest.raises(NoEventError, match="have one name"):
        list(read_events(tmp_path / "events.parquet"))
