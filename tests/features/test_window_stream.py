"""Windows of chunks and of single events: the same bits as of the table, wherever it was cut, saved and loaded."""

import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.features.errors import FeatureError
from platform_assets.features.transformer_spec import TransformerSpec
from platform_assets.features.window_entity import OutOfOrderError
from platform_assets.features.window_state import WindowStateError
from platform_assets.features.windows import WindowStream
from tests.features.window_factory import SPECS, current, cuts, history, known, spec, streams, table, whole
from tests.features.window_reference import DAY, Row, expected

GOLDEN = Path(__file__).with_name("golden")


@given(st.data())
@settings(max_examples=80)
def test_chunks_in_the_order_of_time_equal_the_table(data: st.DataObject) -> None:
    """Entities alternate, and all are remembered; saving and loading between chunks changes no bit."""
    said = data.draw(SPECS)
    rows = data.draw(streams(said))
    stream, found = WindowStream(said), []
    for chunk in cuts(data, said, rows):
        found += stream.process(table(chunk)).column(0).to_pylist()
        if data.draw(st.booleans()):
            stream = WindowStream.from_bytes(said, stream.to_bytes())

    assert found == whole(said, rows)


@given(st.data())
@settings(max_examples=80)
def test_chunks_by_entity_equal_the_table(data: st.DataObject) -> None:
    """Entity after entity: only the newest is remembered."""
    said = data.draw(SPECS)
    rows = sorted(data.draw(streams(said)), key=lambda row: row.entity)
    stream, found = WindowStream(said, keep="newest"), []
    for chunk in cuts(data, said, rows):
        found += stream.process(table(chunk)).column(0).to_pylist()
        if data.draw(st.booleans()):
            stream = WindowStream(said, stream.to_bytes(), keep="newest")

    assert found == whole(said, rows)


@given(st.data())
@settings(max_examples=80)
def test_one_at_a_time_equals_the_table(data: st.DataObject) -> None:
    """Each row is asked, with the same answer as when it is recorded; what else is asked in between changes no bit."""
    said = data.draw(SPECS.filter(lambda said: not current(said)))
    rows = data.draw(streams(said))
    stream, found = WindowStream(said), []
    for row in rows:
        later = data.draw(st.sampled_from([None, 0, 1, DAY, 29 * DAY, 100 * DAY]))
        if later is not None:
            stream.query(row.entity, row.time + later, [1.0], *known(said, row))
        asked = stream.query(row.entity, row.time, [row.value], *known(said, row))
        if data.draw(st.booleans()):
            stream = WindowStream(said, stream.to_bytes())
        given_it = stream.update(row.entity, row.time, [row.value], *known(said, row))
        found += given_it

        assert asked == given_it
    assert found == whole(said, rows)


@given(st.data())
@settings(max_examples=60)
def test_one_at_a_time_a_row_sees_itself_where_it_is_told_to(data: st.DataObject) -> None:
    """With includeCurrent: of rows none of which share an instant, the answers are those of the table."""
    said = data.draw(SPECS.filter(current))
    rows = list({(row.entity, row.time): row for row in data.draw(streams(said))}.values())
    stream, found = WindowStream(said), []
    for row in rows:
        asked = stream.query(row.entity, row.time, [row.value], *known(said, row))
        found += stream.update(row.entity, row.time, [row.value], *known(said, row))

        assert asked == tuple(found[-1:])
    assert found == whole(said, rows)


@given(st.data())
@settings(max_examples=50)
def test_observing_is_updating_unanswered(data: st.DataObject) -> None:
    """What is remembered is the same, to the byte."""
    said = data.draw(SPECS)
    rows = data.draw(streams(said))
    updated, observed = WindowStream(said), WindowStream(said)
    for row in rows:
        updated.update(row.entity, row.time, [row.value], *known(said, row))
        observed.observe(row.entity, row.time, [row.value], *known(said, row))

    assert observed.to_bytes() == updated.to_bytes()


@given(st.data())
@settings(max_examples=50)
def test_a_saved_state_is_the_same_however_it_came_to_be(data: st.DataObject) -> None:
    """Loaded and saved again, the bytes are equal."""
    said = data.draw(SPECS)
    stream = WindowStream(said)
    for row in data.draw(streams(said)):
        stream.observe(row.entity, row.time, [row.value], *known(said, row))

    assert WindowStream(said, stream.to_bytes()).to_bytes() == stream.to_bytes()


@pytest.mark.parametrize(
    "said",
    [
        spec(),
        spec(zscore={"includeCurrent": True}),
        spec(available=True),
        spec("lag"),
        spec("lag", available=True, lag={"rows": 40}),
    ],
    ids=["zscore", "current", "late", "lag", "rows"],
)
def test_many_rows_in_chunks_and_one_at_a_time(said: TransformerSpec) -> None:
    """Thousands of rows: room is made, and given up, on the way."""
    drawn = np.random.default_rng(6)
    times = np.cumsum(drawn.integers(0, 2, 6_000) * drawn.integers(1, 3 * DAY // 100, 6_000))
    late = times + drawn.integers(0, DAY, 6_000)
    rows = [
        Row(
            "ab"[k % 7 == 0],
            int(times[k]),
            float(drawn.normal()),
            int(late[k] if said.available_column else times[k]),
        )
        for k in range(6_000)
    ]
    right = whole(said, rows)
    stream, found, rest = WindowStream(said), [], table(rows)
    while rest.num_rows:
        batch = rest.slice(0, 700)
        done = stream.complete_rows(batch) if rest.num_rows > 700 else rest.num_rows
        found += stream.process(batch.slice(0, done)).column(0).to_pylist()
        rest = rest.slice(done)
    assert found == right
    if not current(said):
        handles = {name: WindowStream(said).entity(name) for name in "ab"}
        assert [
            handles[row.entity].update(row.time, (row.value,), *known(said, row))[0] for row in rows
        ] == right


@pytest.mark.parametrize("days_late", [1, 4, 6, 8, 9])
def test_what_becomes_known_late_takes_its_place(days_late: int) -> None:
    """Also among events that have been summed already: as of the reference, in chunks and after every save, to the bit."""
    said = spec(available=True, windowDays=10)
    rows = [
        Row("a", k * DAY, float(k * k % 13), k * DAY + (k % 3 == 1) * days_late * DAY - k % 2)
        for k in range(80)
    ]
    found = whole(said, rows)
    stream, one_at_a_time = WindowStream(said), []
    for row in rows:
        stream = WindowStream(said, stream.to_bytes())
        asked = stream.query("a", row.time, [row.value], row.available)
        one_at_a_time += stream.update("a", row.time, [row.value], row.available)
        assert asked == tuple(one_at_a_time[-1:])

    assert one_at_a_time == found
    assert found == pytest.approx(expected(said, rows), abs=1e-12)


def test_what_is_not_needed_any_more_is_forgotten() -> None:
    """A state is as large as its window, however many rows there were."""
    for said in (spec(windowDays=5), spec("lag", lag={"days": 5}), spec("lag", lag={"rows": 5})):
        stream = WindowStream(said)
        sizes = []
        for row in history(*range(2_000)):
            stream.observe("a", row.time, [row.value])
            sizes.append(len(stream.to_bytes()))

        assert max(sizes[1_000:]) == max(sizes[20:1_000]) < 600


def test_an_instant_may_not_be_divided_where_its_rows_see_one_another() -> None:
    """`complete_rows` says where a batch can be cut; the one who does not listen is refused."""
    said = spec(zscore={"includeCurrent": True})
    rows = [*history(1, 2), Row("a", DAY, 3.0, DAY), Row("b", DAY, 3.0, DAY)]
    stream = WindowStream(said)

    assert stream.complete_rows(table(rows)) == 1
    assert stream.complete_rows(table(rows[1:])) == 0
    assert stream.complete_rows(table([])) == 0
    assert WindowStream(said, keep="newest").complete_rows(table(rows)) == 3
    assert WindowStream(spec()).complete_rows(table(rows)) == 4
    stream.process(table(rows[:2]))
    before = stream.to_bytes()
    with pytest.raises(OutOfOrderError, match=r"^row 1 of the batch is of an instant whose other rows"):
        stream.process(table(rows[2:]))
    assert stream.to_bytes() == before


@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        (
            [("a", 5)],
            [("b", 9), ("a", 7), ("a", 6)],
            "row 3 of the batch is earlier than a row of its entity before",
        ),
        ([("a", 5)], [("b", 1), ("a", 4)], "row 2 of the batch is earlier than its entity's newest row"),
    ],
)
def test_rows_out_of_order_are_refused(
    first: list[tuple[str, int]], then: list[tuple[str, int]], message: str
) -> None:
    """The message names the row; nothing of the batch is remembered."""
    stream = WindowStream(spec())
    stream.process(table([Row(entity, time, 1.0, time) for entity, time in first]))
    before = stream.to_bytes()
    with pytest.raises(OutOfOrderError, match=message):
        stream.process(table([Row(entity, time, 1.0, time) for entity, time in then]))
    assert stream.to_bytes() == before
    with pytest.raises(OutOfOrderError, match="earlier than the newest of its entity"):
        stream.update("a", 4, [1.0])
    with pytest.raises(OutOfOrderError, match="earlier than the newest of its entity"):
        stream.query("a", 4, [1.0])
    assert stream.to_bytes() == before


@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        ("b", "a", "row 1 of the batch is of an entity that should have come earlier"),
        ("a", "bab", "row 3 of the batch is not beside the other rows of its entity"),
        ("a", "cb", "row 2 of the batch is of an entity that should have come earlier"),
    ],
)
def test_entities_out_of_order_are_refused_where_only_the_newest_is_kept(
    first: str, then: str, message: str
) -> None:
    """An entity that comes back would silently have lost its history."""
    stream = WindowStream(spec(), keep="newest")
    stream.process(table([Row(entity, 5, 1.0, 5) for entity in first]))
    with pytest.raises(OutOfOrderError, match=message):
        stream.process(table([Row(entity, 9, 1.0, 9) for entity in then]))


def test_integers_ascend_as_numbers() -> None:
    """9 comes before 10, and as a text after it; the two are not mixed."""

    def rows(entities: pa.Array) -> pa.Table:
        times = pa.array([0] * len(entities), pa.timestamp("us"))
        return pa.table({"e": entities, "t": times, "x": [1.0] * len(entities)})

    stream = WindowStream(spec(), keep="newest")
    stream.process(rows(pa.array([8, 9])))
    stream = WindowStream(spec(), stream.to_bytes(), keep="newest")
    stream.process(rows(pa.array([10])))
    with pytest.raises(FeatureError, match="was integers in the batch before"):
        stream.process(rows(pa.array(["11"])))


def test_an_integer_is_the_entity_of_its_text() -> None:
    """So that whoever asks need not know how a column was stored."""
    stream = WindowStream(spec("lag", lag={"rows": 1}))
    stream.process(pa.table({"e": [7], "t": pa.array([0], pa.timestamp("us")), "x": [1.5]}))

    assert stream.query("7", 1, [None]) == stream.query(7, 1, [None]) == (1.5,)


@pytest.mark.parametrize("key", [1.0, True, np.True_, None, b"1", ("1",)])
def test_a_key_is_text_or_integer(key: object) -> None:
    """1.0 would have a history beside that of 1; whoever asks or tells by such a key is refused, and nothing changes."""
    stream = WindowStream(spec("lag", lag={"rows": 1}))
    stream.observe(np.int64(1), 0, [1.5])
    before = stream.to_bytes()
    for said in (stream.update, stream.observe, stream.query):
        with pytest.raises(FeatureError, match="an entity is named by a text or an integer"):
            said(key, 1, [2.0])  # type: ignore[arg-type]
    assert stream.to_bytes() == before
    assert stream.query("1", 1, [None]) == (1.5,)


def test_asking_makes_no_entity() -> None:
    """An entity that was only asked about is not remembered."""
    stream = WindowStream(spec())
    empty = stream.to_bytes()

    assert stream.query("nobody", 0, [1.0]) == (None,)
    assert stream.to_bytes() == empty


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, [1.0, 2.0]), r"the row has 2 values, and the transformer 1 columns \(x\)"),
        ((0, [float("inf")]), "column x: the value is infinite"),
        ((0, [-1e200]), "column x: the value is infinite or beyond 1e140"),
        ((0.5, [1.0]), "a time is no integer"),
        ((2**63, [1.0]), "a time is more than 146,000 years from 1970"),
        ((0, [1.0], 5), "names no availableColumn"),
    ],
)
def test_events_that_cannot_be(arguments: tuple[object, ...], message: str) -> None:
    """Each has one clear error, and is not remembered."""
    stream = WindowStream(spec())
    stream.observe("a", 0, [1.0])
    before = stream.to_bytes()
    for said in (stream.update, stream.observe, stream.query):
        with pytest.raises(FeatureError, match=message):
            said("a", *arguments)
    assert stream.to_bytes() == before


def test_an_availability_that_cannot_be() -> None:
    """It is no integer, or too far away."""
    stream = WindowStream(spec(available=True))
    with pytest.raises(FeatureError, match="a time is no integer"):
        stream.update("a", 0, [1.0], "later")
    with pytest.raises(FeatureError, match="a time is more than 146,000 years"):
        stream.update("a", 0, [1.0], -(2**63))


def _golden_streams() -> dict[str, tuple[TransformerSpec, WindowStream]]:
    made = {}
    for name, said in (
        ("zscore", spec(available=True, windowDays=10, zscore={"minPeriods": 3})),
        ("lag_days", spec("lag", available=True, lag={"days": 3})),
        ("lag_rows", spec("lag", available=True, lag={"rows": 2})),
    ):
        stream = WindowStream(said)
        for k in range(40):
            late = [0, 0, DAY // 2, 3 * DAY, 0, 0][k % 6]
            stream.observe(["ada", "bó", 7][k % 3], k * DAY, [((k * k) % 17) / 8], k * DAY + late)
        made[name] = (said, stream)
    return made


@pytest.mark.parametrize("name", ["zscore", "lag_days", "lag_rows"])
def test_a_state_of_version_2_goes_on(name: str) -> None:
    """Files that version 2 wrote are read, have the bits that they had, and are what is written today."""
    said, stream = _golden_streams()[name]
    content = (GOLDEN / f"window_{name}_v2.bin").read_bytes()

    assert stream.to_bytes() == content
    read = WindowStream(said, content)
    answers = [
        read.update(key, (40 + k) * DAY, [k / 4], (40 + k) * DAY)[0]
        for k, key in enumerate(["ada", "bó", 7, "ada"])
    ]
    assert (
        answers
        == {
            "zscore": [-0.8819171036881969, -0.769800358919501, -0.3779644730092272, 0.7651691780042776],
            "lag_days": [0.5, 1.125, 2.0, 0.0],
            "lag_rows": [0.125, 0.0, 0.125, 1.0],
        }[name]
    )


def test_a_state_of_version_1_is_refused() -> None:
    """Its sums followed from more than it tells: no other could go on with the bits that it would have had."""
    said, _ = _golden_streams()["zscore"]
    with pytest.raises(WindowStateError, match=r"format version 1, .* compute the state again"):
        WindowStream(said, (GOLDEN / "window_zscore_v1.bin").read_bytes())


def _state() -> bytes:
    stream = WindowStream(spec())
    for row in history(1, 2, 3):
        stream.observe("a", row.time, [row.value])
    return stream.to_bytes()


def test_every_cut_of_a_state_is_refused() -> None:
    """However much of it is there."""
    content = _state()
    for size in range(8, len(content)):
        with pytest.raises(WindowStateError, match="is cut off"):
            WindowStream(spec(), content[:size])


def test_every_damage_of_a_state_is_refused() -> None:
    """Whichever byte is another; none goes on from it."""
    content = _state()
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 1
        with pytest.raises(WindowStateError, match=r"^window state: "):
            WindowStream(spec(), bytes(damaged))
    with pytest.raises(WindowStateError, match="is damaged"):
        WindowStream(spec(), content + b"\0")


def test_states_that_are_none_or_are_not_ours() -> None:
    """Other bytes, a later version, another spec, another way of keeping: one message each, saying what to do."""
    content = _state()
    later = bytearray(content)
    struct.pack_into("<H", later, 8, 3)
    for state, said, message in (
        (b"PAR1 and more", spec(), "these bytes are none"),
        (b"", spec(), "these bytes are none"),
        (bytes(later), spec(), "format version 3, and this release reads up to 2; update"),
        (content, spec(windowDays=31), "by another spec than this one"),
        (content, spec("lag"), "by another spec than this one"),
    ):
        with pytest.raises(WindowStateError, match=message):
            WindowStream(said, state)
    with pytest.raises(FeatureError, match="made with keep=all"):
        WindowStream(spec(), content, keep="newest")
