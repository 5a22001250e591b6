"""Features joined to label rows as of the time of each: what is known, what is newest, and what is refused."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.features.errors import FeatureError
from platform_assets.features.external_sort import SortBudget
from platform_assets.features.join import Join, point_in_time_join
from platform_assets.features.join_files import FeatureFiles, join_files
from platform_assets.features.join_inputs import FeatureTable, Labels
from platform_assets.features.memory_budget import Budget
from platform_assets.features.row_files import rows_of_table
from tests.features.join_reference import joined_slowly
from tests.features.transformers import TINY

BEGIN = datetime(2024, 3, 1, tzinfo=UTC)
TIME = pa.timestamp("us", "UTC")
UNBOUNDED = Budget(1 << 40, SortBudget(run_bytes=1 << 60))


def at(*hours):
    """Times, so many hours after the beginning; null where there is none."""
    return pa.array([None if hour is None else BEGIN + timedelta(hours=hour) for hour in hours], TIME)


def labels_of(who, hours, **columns):
    """Label rows."""
    return pa.table({"who": who, "time": at(*hours), **columns})


def features_of(who, hours, values, *, known=None, **columns):
    """Feature rows; `known` is when they became available."""
    more = {} if known is None else {"known": at(*known)}
    return pa.table({"who": who, "time": at(*hours), **more, "value": values, **columns})


def as_type(values, kind):
    """An array of these values; Arrow makes no dictionary of integers by a cast."""
    if not pa.types.is_dictionary(kind):
        return pa.array(values).cast(kind)
    return pa.array(values, kind.value_type).dictionary_encode().cast(kind)


def joined(labels, features, *, entity=("who",), include_current=False, **of_table):
    """The values that are joined, where there is one table of features."""
    table = FeatureTable(rows_of_table(features, name="features"), "time", **of_table)
    made = point_in_time_join(labels, [table], entity=entity, time="time", include_current=include_current)
    assert made.select(labels.column_names).equals(labels)
    return made["value"].to_pylist()


class TestWhatIsKnown:
    """Rules, one by one."""

    def test_the_newest_row_before(self):
        """Not the first, not one that comes later, not that of another entity."""
        features = features_of(["a", "a", "a", "b"], [1, 3, 9, 4], [10, 30, 90, 40])
        assert joined(labels_of(["a", "b"], [5, 5]), features) == [30, 40]

    def test_no_row_is_lost_and_the_order_stays(self):
        """Rows come back as they came, with null where nothing was known; the field's best-known store drops them."""
        labels = labels_of(["b", "c", "a", "a"], [0, 9, 5, 2], y=[1, 2, 3, 4])
        features = features_of(["a", "b"], [3, 1], [30, 10])
        assert joined(labels, features) == [None, None, 30, None]

    def test_its_own_instant_is_no_past(self):
        """As windows have it, which end before an instant; with `include_current` they do not."""
        labels, features = labels_of(["a"], [5]), features_of(["a", "a"], [4, 5], [40, 50])
        assert joined(labels, features) == [40]
        assert joined(labels, features, include_current=True) == [50]

    def test_what_became_available_later_was_not_known(self):
        """However old it is; and from then on it is."""
        features = features_of(["a", "a"], [1, 3], [10, 30], known=[1, 8])
        labels = labels_of(["a"] * 4, [2, 5, 8, 9])
        assert joined(labels, features, available="known") == [10, 10, 10, 30]
        assert joined(labels, features, available="known", include_current=True) == [10, 10, 30, 30]

    def test_a_late_row_of_an_earlier_time_is_not_newer(self):
        """Event time decides, not when one heard of it."""
        features = features_of(["a", "a"], [5, 1], [50, 10], known=[6, 8])
        assert joined(labels_of(["a"], [9]), features, available="known") == [50]

    def test_what_is_known_before_its_time_waits_for_it(self):
        """A row of the future is none, even if somebody knew of it."""
        features = features_of(["a", "a"], [1, 6], [10, 60], known=[1, 2])
        assert joined(labels_of(["a", "a"], [4, 7]), features, available="known") == [10, 60]

    def test_of_one_event_time_the_one_that_became_available_last(self):
        """A correction; and before it, what it corrects."""
        features = features_of(["a", "a"], [1, 1], [11, 10], known=[7, 2])
        assert joined(labels_of(["a", "a"], [5, 9]), features, available="known") == [10, 11]

    def test_of_two_that_are_alike_the_later_in_the_input(self):
        """In whatever order the rest comes."""
        features = features_of(["a", "b", "a", "a"], [1, 1, 1, 0], [10, 0, 11, 12])
        assert joined(labels_of(["a"], [5]), features) == [11]

    def test_one_that_never_became_available_is_never_known(self):
        """Its availability is null."""
        features = features_of(["a", "a"], [1, 3], [10, 30], known=[1, None])
        assert joined(labels_of(["a"], [99]), features, available="known", include_current=True) == [10]

    def test_a_null_in_the_newest_row_stays(self):
        """It is not looked for in older ones: the row says that there was nothing."""
        features = features_of(["a", "a"], [1, 3], [10, None])
        assert joined(labels_of(["a"], [5]), features) == [None]

    def test_a_largest_age(self):
        """From event time to the label's; one that is exactly as old counts."""
        labels, features = labels_of(["a", "a"], [5, 6]), features_of(["a"], [1], [10])
        assert joined(labels, features, max_age=timedelta(hours=4)) == [10, None]

    def test_what_was_known_late_is_as_old_as_its_time(self):
        """Not as when it became known."""
        features = features_of(["a"], [1], [10], known=[8])
        labels = labels_of(["a"], [9])
        assert joined(labels, features, available="known", max_age=timedelta(hours=2)) == [None]

    def test_several_tables_each_by_its_own_rules(self):
        """One behind the other, told apart by their prefixes; each says why nothing was known."""
        labels = labels_of(["a", "b", "c"], [5, 5, 5])
        fast, slow = features_of(["a", "b"], [4, 9], [40, 90]), features_of(["a", "b"], [1, 2], [1, 2])
        tables = [
            FeatureTable(rows_of_table(fast, name="fast"), "time", prefix="fast_"),
            FeatureTable(
                rows_of_table(slow, name="slow"), "time", max_age=timedelta(hours=3), prefix="slow_"
            ),
        ]
        join = Join(Labels(rows_of_table(labels, name="labels"), ("who",), "time"), tables, UNBOUNDED)
        made = pa.concat_tables(join.chunks())
        assert made["fast_value"].to_pylist() == [40, None, None]
        assert made["slow_value"].to_pylist() == [None, 2, None]
        assert [asdict(each) for each in join.outcomes] == [
            {"found": 1, "no_row": 1, "not_yet": 1, "too_old": 0},
            {"found": 1, "no_row": 1, "not_yet": 0, "too_old": 1},
        ]

    def test_features_that_come_out_have_their_types(self):
        """Texts, dictionaries, lists, times, decimals, views; and metadata of the labels."""
        columns = {
            "dictionary": pa.array(["x", "y"]).dictionary_encode(),
            "list": pa.array([[1], [2, 3]]),
            "nanoseconds": pa.array([1, 2], pa.timestamp("ns")),
            "view": pa.array(["one", "two"]).cast(pa.string_view()),
        }
        features = features_of(["a", "b"], [1, 1], [1, 2], **columns)
        labels = labels_of(["b", "c"], [5, 5]).replace_schema_metadata({"kept": "so"})
        table = FeatureTable(rows_of_table(features, name="features"), "time")
        made = point_in_time_join(labels, [table], entity=["who"], time="time")
        assert made.schema.metadata == {b"kept": b"so"}
        assert made["dictionary"].to_pylist() == ["y", None]
        assert made["list"].to_pylist() == [[2, 3], None]
        assert made["view"].to_pylist() == ["two", None]
        assert made.schema.field("nanoseconds").type == pa.timestamp("ns")
        assert made.schema.field("dictionary").type == features.schema.field("dictionary").type

    def test_dictionaries_that_cannot_be_made_one(self, tmp_path):
        """Of int8 that have more values together than it has room for, as categories of several days; or with null."""
        chunks = [pa.array([f"{day} {number}" for number in range(100)]) for day in "abc"]
        kind = pa.dictionary(pa.int8(), pa.string())
        codes = pa.chunked_array([each.dictionary_encode().cast(kind) for each in chunks])
        features, labels = features_of(["a"] * 300, range(300), codes), labels_of(["a"] * 2, [50, 251])
        assert joined(labels, features) == ["a 49", "c 50"]
        (tmp_path / "features").mkdir()
        for day in range(3):
            pq.write_table(features.slice(100 * day, 100), tmp_path / "features" / f"{day}.parquet")
        pq.write_table(labels, tmp_path / "labels.parquet")
        sides = tmp_path / "labels.parquet", [FeatureFiles(tmp_path / "features", "time")]
        join_files(*sides, tmp_path / "joined.parquet", entity=["who"], time_column="time")
        assert pq.read_table(tmp_path / "joined.parquet")["value"].to_pylist() == ["a 49", "c 50"]
        holes = [pa.DictionaryArray.from_arrays([0, 1], pa.array([name, None])) for name in "xy"]
        features = features_of(["a"] * 4, range(4), pa.chunked_array(holes))
        assert joined(labels_of(["a"] * 2, [1, 2]), features) == ["x", None]

    def test_no_rows_on_either_side(self):
        """Nothing is joined to nothing."""
        empty = features_of([], [], [])
        empty = empty.cast(pa.schema([("who", pa.string()), ("time", TIME), ("value", pa.int64())]))
        assert joined(labels_of(["a"], [5]), empty) == [None]
        assert joined(labels_of(["a"], [5]).slice(1), features_of(["a"], [1], [10])) == []


class TestKeys:
    """What names an entity, and what is a time."""

    @pytest.mark.parametrize(
        ("mine", "theirs"),
        [
            (pa.int32(), pa.uint64()),
            (pa.int16(), pa.dictionary(pa.int32(), pa.int64())),
            (pa.string(), pa.large_string()),
            (pa.dictionary(pa.int32(), pa.string()), pa.string()),
            (pa.string_view(), pa.dictionary(pa.int8(), pa.large_string())),
        ],
    )
    def test_integers_meet_integers_and_texts_texts(self, mine, theirs):
        """Whatever they are stored as, on whatever side."""
        values = ["7", "70000", "8"] if "string" in str(mine) else [7, 70, 8]
        for left, right in ((mine, theirs), (theirs, mine)):
            labels = labels_of(as_type(values, left), [5, 5, 5])
            features = features_of(as_type(values[::-1], right), [1, 2, 3], [8, 70, 7])
            assert joined(labels, features) == [7, 70, 8]

    @pytest.mark.parametrize("kind", [pa.int8(), pa.int32()])
    def test_dictionaries_that_cannot_be_made_one(self, kind):
        """Together they have more values than int8 can number; or one of them holds null, which no row has."""
        parts = [[f"{part} {number}" for number in range(100)] for part in "abc"]
        numbers = pa.array(range(100), kind)
        chunks = [pa.DictionaryArray.from_arrays(numbers, pa.array([*each, None])) for each in parts]
        features = features_of(pa.chunked_array(chunks), range(300), range(300))
        assert joined(labels_of(["a 7", "c 99", "d"], [500] * 3), features) == [7, 299, None]

    def test_several_columns_name_one_entity(self):
        """All of them; no other combination of the same values is it."""
        labels = labels_of(["a", "ab", "b", "a"], [5] * 4, part=[1, 1, 2, 2], day=["x", "", "x", "x"])
        features = features_of(
            ["a", "a", "b", "ab"], [1] * 4, [1, 2, 3, 4], part=[1, 2, 2, 1], day=["x", "x", "x", "y"]
        )
        assert joined(labels, features, entity=("who", "part", "day")) == [1, None, 3, 2]

    def test_texts_of_all_lengths_are_told_apart(self):
        """Also those that begin alike, or hold a zero byte."""
        names = ["", "\0", "\0\0", "a" * 7, "a" * 8, "a" * 9, "a" * 16, "a" * 15 + "b", "ä", "12345678\0"]
        labels = labels_of(names, [5] * len(names))
        features = features_of(names[::-1], [1] * len(names), list(range(len(names)))[::-1])
        assert joined(labels, features) == list(range(len(names)))

    def test_slices_and_chunks(self):
        """Arrays that begin elsewhere than their memory, and columns of many pieces."""
        names = [f"shop {number % 97}" for number in range(500)]
        features = features_of(names, range(500), range(500)).slice(3)
        pieces = pa.concat_tables([features.slice(start, 7) for start in range(0, 497, 7)])
        labels = labels_of(names[::-1], [1000] * 500).slice(2)
        expected = joined_slowly(labels, features, entity=["who"], time="time")[0]
        for table in (features, pieces):
            assert joined(labels, table) == [row["value"] for row in expected]

    def test_a_time_without_a_zone_is_utc(self):
        """And units do not matter; nanoseconds are rounded down."""
        labels = pa.table({"who": ["a"], "time": ["2024-03-01T05:00:00+01:00"]})
        stamps = pa.array(["2024-03-01T03:59:59.999999999", "2024-03-01T04:00:00"]).cast(pa.timestamp("ns"))
        features = pa.table({"who": ["a", "a"], "time": stamps, "value": [1, 2]})
        assert joined(labels, features) == [1]
        assert joined(labels, features, include_current=True) == [2]

    def test_times_at_the_ends_of_the_range(self):
        """Far from 1970, differences have room still."""
        ends = pa.array([-(2**62), 2**62], pa.timestamp("us"))
        features = pa.table({"who": [1, 1], "time": ends, "value": [1, 2]})
        labels = pa.table({"who": [1, 1], "time": ends[::-1]})
        assert joined(labels, features) == [1, None]
        assert joined(labels, features, max_age=timedelta(days=50_000_000)) == [None, None]
        assert joined(labels, features, include_current=True) == [2, 1]


ENTITY_VALUES = st.sampled_from(["a", "b", "cc"])
HOURS = st.integers(0, 6)


@st.composite
def sides(draw):
    """Labels and features with many ties, out of order, some late, some never known."""
    count, rows = draw(st.integers(0, 25)), draw(st.integers(0, 25))

    def several(strategy, size):
        return draw(st.lists(strategy, min_size=size, max_size=size))

    def keys(size):
        return {
            "who": pa.array(several(ENTITY_VALUES, size), pa.string()),
            "part": pa.array(several(st.integers(-1, 1), size), pa.int32()),
            "time": at(*several(HOURS, size)),
        }

    labels = pa.table({**keys(count), "y": pa.array(range(count), pa.int64())})
    of_features = keys(rows)
    known = at(*several(st.one_of(st.none(), st.integers(-1, 12)), rows))
    values = pa.array(several(st.one_of(st.none(), st.text("xyz", max_size=3)), rows), pa.string())
    features = pa.table(
        {
            **of_features,
            "known": known,
            "value": values,
            "code": values.dictionary_encode(),
            "number": pa.array(range(rows), pa.int64()),
        }
    )
    return labels, features


def rules(draw):
    """Of a join, as both the real one and the reference take them."""
    return {
        "available": draw(st.sampled_from([None, "known"])),
        "max_age": draw(st.sampled_from([None, timedelta(hours=1), timedelta(hours=3, microseconds=1)])),
        "include_current": draw(st.booleans()),
        "entity": draw(st.sampled_from([("who",), ("part",), ("who", "part"), ("part", "who")])),
    }


def without_others(labels, features, entity, available):
    """The same, without columns that are neither keys nor features."""
    gone = {"who", "part"} - set(entity)
    features = features.drop_columns(sorted(gone | ({"known"} - {available})))
    return labels, features


def by_definition(labels, features, rules):
    """The right rows and outcomes."""
    return joined_slowly(labels, features, time="time", **rules)


class TestAgainstTheDefinition:
    """Every label row against every feature row."""

    @given(data=st.data())
    @settings(max_examples=150, deadline=None)
    def test_tables(self, data):
        """Rows, features, types and counts."""
        chosen = rules(data.draw)
        labels, features = without_others(*data.draw(sides()), chosen["entity"], chosen["available"])
        rows, outcomes = by_definition(labels, features, chosen)
        table = FeatureTable(
            rows_of_table(features, name="features"), "time", chosen["available"], chosen["max_age"]
        )
        asked = Labels(
            rows_of_table(labels, name="labels"), chosen["entity"], "time", chosen["include_current"]
        )
        join = Join(asked, [table], UNBOUNDED)
        found = [row for chunk in join.chunks() for row in chunk.to_pylist()]
        assert found == rows
        assert asdict(join.outcomes[0]) == (outcomes if labels.num_rows else dict.fromkeys(outcomes, 0))

    @given(data=st.data())
    @settings(max_examples=40, deadline=None)
    def test_files_a_few_rows_at_a_time(self, data, tmp_path_factory):
        """Of which a block has a few, whatever their row groups are; with one thread and with two."""
        folder = tmp_path_factory.mktemp("files")
        chosen = rules(data.draw)
        labels, features = without_others(*data.draw(sides()), chosen["entity"], chosen["available"])
        rows, outcomes = by_definition(labels, features, chosen)
        pq.write_table(labels, folder / "labels.parquet", row_group_size=data.draw(st.integers(1, 9)))
        pq.write_table(features, folder / "features.parquet", row_group_size=data.draw(st.integers(1, 9)))
        done = join_files(
            folder / "labels.parquet",
            [FeatureFiles(folder / "features.parquet", "time", chosen["available"], chosen["max_age"])],
            folder / "joined.parquet",
            entity=chosen["entity"],
            time_column="time",
            include_current=chosen["include_current"],
            threads=data.draw(st.sampled_from([1, 2])),
            budget=Budget(5, SortBudget(run_bytes=data.draw(st.sampled_from([1, 500, 2_000]))), 2_000),
        )
        made = pq.read_table(folder / "joined.parquet")
        assert made.to_pylist() == rows
        assert asdict(done.outcomes[str(folder / "features.parquet")]) == (
            outcomes if labels.num_rows else dict.fromkeys(outcomes, 0)
        )

    @pytest.mark.long
    @given(data=st.data())
    @settings(max_examples=1_000, deadline=None)
    def test_a_thousand_tables(self, data):
        """The same as of tables, more often."""
        chosen = rules(data.draw)
        labels, features = without_others(*data.draw(sides()), chosen["entity"], chosen["available"])
        rows, _ = by_definition(labels, features, chosen)
        of_table = {"available": chosen["available"], "max_age": chosen["max_age"]}
        table = FeatureTable(rows_of_table(features, name="features"), "time", **of_table)
        made = point_in_time_join(
            labels,
            [table],
            entity=chosen["entity"],
            time="time",
            include_current=chosen["include_current"],
        )
        assert made.to_pylist() == rows

    def test_many_entities(self):
        """More than a hash table begins with; half of the features are of nobody who is asked about."""
        rng = np.random.default_rng(0)
        names = np.array([f"customer {number}" for number in range(4_000)])
        labels = labels_of(names[rng.integers(0, 2_000, 3_000)], rng.integers(0, 500, 3_000).tolist())
        who = rng.integers(0, 4_000, 20_000)
        hours = rng.integers(0, 500, 20_000)
        features = features_of(names[who], hours.tolist(), range(20_000))
        by_entity = {}
        for row, (name, hour) in enumerate(zip(names[who], hours, strict=True)):
            by_entity.setdefault(name, []).append((hour, row))
        expected = []
        for label in labels.to_pylist():
            hour = int((label["time"] - BEGIN).total_seconds()) // 3600
            known = [each for each in by_entity.get(label["who"], []) if each[0] < hour]
            expected.append(max(known)[1] if known else None)
        assert joined(labels, features) == expected


class TestRefusals:
    """One sentence each: what, where, and what to do; no value."""

    def refused(self, labels=None, features=None, **changes):
        """What is said."""
        if labels is None:
            labels = labels_of(["secret"], [5])
        if features is None:
            features = features_of(["secret"], [1], [10])
        entity = changes.pop("entity", ("who",))
        time = changes.pop("time", "time")
        of_table = {"time": "time", **changes}
        with pytest.raises(FeatureError) as caught:
            point_in_time_join(
                labels,
                [FeatureTable(rows_of_table(features, name="scores"), **of_table)],
                entity=entity,
                time=time,
            )
        assert "secret" not in str(caught.value)
        return str(caught.value)

    def test_no_features(self):
        """There is nothing to join."""
        with pytest.raises(FeatureError, match="no table of features; name one"):
            point_in_time_join(labels_of(["a"], [1]), [], entity=["who"], time="time")

    @pytest.mark.parametrize("entity", [(), ("who", "who")])
    def test_no_entity_and_one_twice(self, entity):
        """Each is named once."""
        assert self.refused(entity=entity) == "entity: name the columns that say whose a row is, each once"

    def test_missing_columns(self):
        """Of labels, and of features; those that are there are told."""
        assert "labels: has no column 'whose', only 'who', 'time'" in self.refused(entity=("whose",))
        assert "scores: has no column 'at', only" in self.refused(time="time", available="at")
        features = features_of(["a"], [1], [10]).drop_columns(["who"])
        assert "scores: has no column 'who'" in self.refused(features=features)

    @pytest.mark.parametrize(("side", "name"), [("labels", "labels"), ("features", "scores")])
    @pytest.mark.parametrize("column", ["who", "time"])
    def test_nulls(self, side, name, column):
        """Nobody knows whose such a row is, or of when."""
        tables = {
            "labels": labels_of(["a", None, None], [5, 5, 5]),
            "features": features_of(["a"] * 3, [1] * 3, [1] * 3),
        }
        if column == "time":
            tables["labels"] = labels_of(["a"] * 3, [5, None, None])
        if side == "features":
            tables["features"] = tables["labels"].append_column("value", pa.array([1, 2, 3]))
            tables["labels"] = labels_of(["a"], [5])
        said = self.refused(**tables)
        assert said.startswith(f"{name}: column '{column}' is null in 2 of 3 rows (first: row 2);")
        assert "leave the row out" in said

    def test_entities_of_two_kinds(self):
        """7 is not "7": whether 007 is, too, nobody knows."""
        said = self.refused(features=features_of([7], [1], [10]))
        assert said.startswith("scores: column 'who' is of type int64, and in labels of type string;")

    @pytest.mark.parametrize("values", [[1.0], [True], [b"x"]])
    def test_entities_of_no_kind(self, values):
        """Floats, booleans, bytes."""
        said = self.refused(labels=labels_of(values, [5]), features=features_of(values, [1], [10]))
        assert said.startswith("labels: column 'who': is of type")

    def test_an_integer_beyond_all(self):
        """Of which there is no room."""
        values = pa.array([2**63], pa.uint64())
        assert "labels: column 'who'" in self.refused(
            labels=labels_of(values, [5]), features=features_of([1], [1], [1])
        )

    def test_times_that_are_none(self):
        """Of labels, of features, and of their availability."""
        features = features_of(["a"], [1], [10], known=[1])
        assert "scores: column value: is of type int64; whether an integer counts seconds" in self.refused(
            features=features, available="value"
        )
        labels = labels_of(["a"], [5], number=[1.5])
        assert "labels: column number: is of type double" in self.refused(labels=labels, time="number")

    def test_a_time_that_names_an_entity(self):
        """It would be both."""
        assert "'time' is named as entity and as time" in self.refused(entity=("time",))

    def test_names_that_clash(self):
        """With the labels' own; the message says what helps."""
        said = self.refused(labels=labels_of(["a"], [5], value=[1]))
        assert said == (
            "scores: column 'value' would be called 'value', as one of labels is; give its features a prefix, or rename it"
        )

    def test_names_that_stand_twice(self):
        """Which of them is meant?"""
        labels = labels_of(["a"], [5])
        labels = labels.append_column("who", labels["who"])
        assert "labels: column 'who' stands 2 times" in self.refused(labels=labels)

    def test_nothing_but_keys(self):
        """There is no feature."""
        said = self.refused(features=labels_of(["a"], [5]))
        assert said.startswith("scores: has no column besides those of entity and time")

    @pytest.mark.parametrize("age", [timedelta(0), timedelta(days=-1), timedelta(days=100_000_000)])
    def test_ages_that_are_none(self, age):
        """Nothing is that young, or has to be that old."""
        assert "a largest age is more than 0 and less than 146,000 years" in self.refused(max_age=age)


def test_blocks_whose_features_are_larger_than_expected_are_divided(tmp_path):
    """Into halves, until they fit; rows and counts are those of one block."""
    labels = labels_of([f"shop {number}" for number in range(300)], [5] * 300)
    texts = ["x"] * 150 + ["x" * 10_000] * 150
    features = features_of(labels["who"], [1] * 300, texts)
    pq.write_table(labels, tmp_path / "labels.parquet")
    pq.write_table(features, tmp_path / "features.parquet", row_group_size=300)
    blocks = {}
    for name, run_bytes in (("one", 1 << 30), ("many", 500_000)):
        done = join_files(
            tmp_path / "labels.parquet",
            [FeatureFiles(tmp_path / "features.parquet", "time")],
            tmp_path / f"{name}.parquet",
            entity=["who"],
            time_column="time",
            budget=Budget(16, SortBudget(run_bytes=run_bytes)),
        )
        blocks[name] = done.blocks
        assert [each.found for each in done.outcomes.values()] == [300]
        assert pq.read_table(tmp_path / f"{name}.parquet")["value"].to_pylist() == texts
    assert blocks["one"] == 1
    assert blocks["many"] > 3


def test_a_large_feature_that_many_rows_have_is_put_behind_a_few_at_a_time():
    """However many rows a chunk of labels has: it is there once, and behind all of them it might not fit."""
    labels = labels_of(["a"] * 5 + ["b"] * 10 + ["a"] * 5, [5] * 20)
    table = FeatureTable(rows_of_table(features_of(["a", "b"], [1, 1], ["x" * 100, "y"]), name="f"), "time")
    asked = Labels(rows_of_table(labels, name="labels"), ("who",), "time")
    chunks = list(Join(asked, [table], Budget(100, UNBOUNDED.sort, 400)).chunks())
    assert [chunk.num_rows for chunk in chunks] == [3, 12, 3, 2]
    assert pa.concat_tables(chunks)["value"].to_pylist() == ["x" * 100] * 5 + ["y"] * 10 + ["x" * 100] * 5


@pytest.mark.parametrize("side", ["labels", "features"])
def test_a_row_that_is_wrong_is_told_by_its_place_in_the_file(tmp_path, side):
    """Wherever a chunk or a block began; and nothing is left behind."""
    rows = [f"shop {number}" for number in range(60)]
    names = {"labels": rows, "features": rows} | {side: [*rows[:50], None, *rows[51:]]}
    pq.write_table(labels_of(names["labels"], [5] * 60), tmp_path / "labels.parquet")
    pq.write_table(features_of(names["features"], [1] * 60, range(60)), tmp_path / "features.parquet")
    with pytest.raises(
        FeatureError, match=r"counted from row 49 on\): column 'who' is null in 1 of 12 rows \(first: row 3\)"
    ) as caught:
        join_files(
            tmp_path / "labels.parquet",
            [FeatureFiles(tmp_path / "features.parquet", "time")],
            tmp_path / "joined.parquet",
            entity=["who"],
            time_column="time",
            budget=TINY,
        )
    assert f"{side}.parquet" in str(caught.value)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["features.parquet", "labels.parquet"]
