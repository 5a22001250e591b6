"""Many columns at once, and files."""

import json
import math
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.drift.errors import DriftError
from platform_assets.drift.pairs import paired
from platform_assets.drift.report import compare_files, judged, report
from platform_assets.sketch.sketch import ReferenceProfile

ROWS = 1_000
NOTHING = {"missing": 0, "positive_infinity": 0, "negative_infinity": 0}


def table(rows, *, seed, shift=0.0):
    """Numbers, integers with nulls, truth values, texts, and a time that stands still."""
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "score": random.normal(size=rows) + shift,
            "words": pa.array(random.integers(0, 300, rows), mask=random.random(rows) < 0.1),
            "float32": random.normal(size=rows).astype(np.float32),
            "flag": pa.array((random.random(rows) < 0.3).tolist()),
            "source": pa.array(random.choice(["imdb", "tomatoes"], rows)).dictionary_encode(),
            "event_time": pa.array([0] * rows, pa.timestamp("ms")),
        }
    )


@pytest.fixture
def files(tmp_path):
    """A reference, and events of which only the score has drifted."""
    reference, events = tmp_path / "reference.parquet", tmp_path / "events.parquet"
    pq.write_table(table(4_000, seed=1), reference)
    pq.write_table(table(3_000, seed=2, shift=0.3), events, row_group_size=1_000)
    return reference, events


@pytest.fixture
def compared(tmp_path):
    """What is told of the columns of two tables."""

    def compared(reference, events, **options):
        paths = [tmp_path / "reference.parquet", tmp_path / "events.parquet"]
        for columns, path in zip((reference, events), paths, strict=True):
            pq.write_table(pa.table(columns), path, row_group_size=300)
        return json.loads(json.dumps(compare_files(*paths, **options), allow_nan=False))

    return compared


def uniform(seed, *, rows=ROWS, most=2_000):
    """Whole numbers up to `most`."""
    return np.random.default_rng(seed).integers(1, most, rows)


class TestFiles:
    """What `drift replay` prints."""

    def test_the_column_that_drifted_alarms(self, files):
        """Each comparable column has its interval and p-value, and the report is JSON."""
        told = json.loads(json.dumps(compare_files(*files), allow_nan=False))
        found = told["columns"]
        assert list(found) == ["score", "words", "float32", "flag", "source", "event_time"]
        assert list(found["score"])[:5] == ["ks", "ks_lower", "ks_upper", "p_value", "alarm"]
        assert [name for name, each in found.items() if each["alarm"]] == ["score"]
        assert found["score"]["alarm_because"] == ["distance"]
        assert found["score"]["ks_lower"] <= found["score"]["ks"] <= found["score"]["ks_upper"]
        assert found["score"]["reference"] == NOTHING | {"rows": 4_000}
        assert (told["rows"], told["not_compared"]) == ({"reference": 4_000, "events": 3_000}, {})

    def test_a_column_without_a_value_alarms(self, files):
        """Nothing is known of it, no NaN gets into the JSON, and the others are judged."""
        reference, events = files
        changed = pq.read_table(events).set_column(0, "score", pa.array([None] * 3_000, pa.float64()))
        pq.write_table(changed, events)
        told = compare_files(reference, events)
        score = told["not_compared"]["score"]
        assert score["because"] == "the events have no value to compare: 3000 missing of 3000"
        assert score["alarm"]
        assert score["alarm_because"] == ("missing", "nothing to compare")
        assert list(told["columns"]) == ["words", "float32", "flag", "source", "event_time"]

    @pytest.mark.parametrize(
        ("kind", "value_of"),
        [
            (pa.decimal128(12, 2), lambda number: Decimal(number) / 100),
            (pa.decimal256(60, 30), lambda number: Decimal(number) / 100),
            (pa.date32(), lambda number: date(2026, 1, 1) + timedelta(days=number)),
            (pa.timestamp("us"), lambda number: datetime(2026, 1, 1) + timedelta(minutes=number)),  # noqa: DTZ001
            (
                pa.timestamp("ns", tz="Europe/Berlin"),
                lambda number: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number),
            ),
            (pa.duration("ms"), lambda number: timedelta(milliseconds=number)),
            (
                pa.time64("us"),
                lambda number: (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)).time(),
            ),
            (pa.string_view(), lambda number: f"text {number // 500}"),
            (pa.large_string(), lambda number: f"text {number // 500}"),
        ],
        ids=lambda each: str(each) if isinstance(each, pa.DataType) else "values",
    )
    def test_every_ordered_type_is_compared(self, compared, kind, value_of):
        """Values of one distribution raise no alarm, ten times as large ones do."""
        values = [pa.array([*map(value_of, uniform(seed).tolist()), None], kind) for seed in (1, 2)]
        tenfold = pa.array([*map(value_of, (10 * uniform(2)).tolist()), None], kind)
        same, scaled = (
            compared({"value": values[0]}, {"value": each})["columns"]["value"]
            for each in (values[1], tenfold)
        )
        assert not same["alarm"]
        assert scaled["alarm_because"] == ["distance"]
        assert scaled["ks_lower"] > 0.5
        assert scaled["events"] == NOTHING | {"rows": ROWS + 1, "missing": 1}

    @pytest.mark.parametrize(
        ("reference", "events", "because"),
        [
            ([None] * ROWS, uniform(1), "the reference has no value to compare: 1000 missing of 1000"),
            (pa.nulls(ROWS), uniform(1), "the reference has no value to compare: 1000 missing of 1000"),
            (uniform(1), pa.nulls(ROWS), "the events have no value to compare: 1000 missing of 1000"),
            (pa.nulls(ROWS), pa.nulls(ROWS), "the reference has no value to compare"),
            (np.full(ROWS, -np.inf), uniform(1), "the reference has no value to compare: 1000 infinite"),
            (uniform(1) + 2**60, uniform(2) + 2**60, "integers beyond 2^53 are identifiers"),
            ([None, *(uniform(1)[1:] + 2**60).tolist()], uniform(2) + 2**60, "integers beyond 2^53"),
            ((uniform(1) + 2**60).astype(float), uniform(2) + 2**60, "integers beyond 2^53 on one side"),
            (uniform(1), np.array(["a"] * ROWS, dtype=object), "it is int64 in the reference and string in"),
            (pa.array([["a"]] * ROWS), pa.array([["b"]] * ROWS), "values of type list<"),
            (pa.array([{"a": 1}] * ROWS), pa.array([{"a": 1}] * ROWS), "values of type struct<"),
            (pa.array([b"a"] * ROWS), pa.array([b"a"] * ROWS), "values of type binary have no distance"),
            (
                pa.array([0] * ROWS, pa.timestamp("s")),
                pa.array([0] * ROWS, pa.timestamp("s", tz="UTC")),
                "it is timestamp[ms] in the reference and timestamp[ms, tz=UTC] in the events",
            ),
        ],
    )
    def test_an_odd_column_is_named_with_its_reason_and_hides_no_other(
        self, compared, reference, events, because
    ):
        """Whatever is odd about one column, the others are judged."""
        score = np.random.default_rng(3).normal(size=ROWS)
        told = compared({"odd": reference, "score": score}, {"odd": events, "score": score + 1})
        assert told["not_compared"]["odd"]["because"].startswith(because)
        assert {side: told["not_compared"]["odd"][side]["rows"] for side in ("reference", "events")} == {
            "reference": ROWS,
            "events": ROWS,
        }
        assert told["columns"]["score"]["alarm"]

    def test_a_column_of_one_file_is_told(self, compared):
        """With what is missing in it there."""
        told = compared(
            {"both": uniform(1), "before": [None, *uniform(2)[1:]]}, {"both": uniform(3), "new": uniform(4)}
        )
        assert list(told["columns"]) == ["both"]
        assert told["not_compared"] == {
            "before": {
                "because": "only the reference has it",
                "alarm": False,
                "alarm_because": [],
                "reference": NOTHING | {"rows": ROWS, "missing": 1},
                "events": None,
            },
            "new": {
                "because": "only the events have it",
                "alarm": False,
                "alarm_because": [],
                "reference": None,
                "events": NOTHING | {"rows": ROWS},
            },
        }

    def test_a_file_without_rows_alarms_and_says_so(self, compared):
        """Nothing came: that is told of every column that the reference has values of."""
        empty = pa.table({"score": pa.array([], pa.float64()), "coupon": pa.nulls(0)})
        told = compared({"score": uniform(1), "coupon": ["X"] * ROWS}, empty)
        assert {each["because"] for each in told["not_compared"].values()} == {"the events have no rows"}
        assert all(each["alarm"] for each in told["not_compared"].values())

    @pytest.mark.parametrize("odd", [None, math.nan, math.inf, -math.inf])
    def test_another_share_of_what_cannot_be_compared_is_drift(self, compared, odd):
        """Null, NaN and infinite values are counted a side, and a change of their share is an alarm of its own."""
        values = np.random.default_rng(4).normal(size=ROWS).tolist()
        several, none = [odd] * 20 + values[20:], values
        told = compared({"score": several, "same": several}, {"score": none, "same": several})["columns"]
        name = {None: "missing", math.inf: "positive_infinity", -math.inf: "negative_infinity"}.get(
            odd, "missing"
        )
        assert told["score"]["alarm_because"] == [name]
        assert (told["score"]["reference"][name], told["score"]["events"][name]) == (20, 0)
        assert not told["same"]["alarm"]

    def test_a_narrower_type_of_the_same_numbers_is_no_drift(self, compared):
        """Both sides are compared in the less precise of their types, and that is told."""
        numbers = np.arange(1, ROWS + 1) / 10
        for reference, events in (
            (numbers, numbers.astype(np.float32)),
            (numbers.astype(np.float32), numbers),
            (
                pa.array([Decimal(int(each)) / 10 for each in range(1, ROWS + 1)], pa.decimal128(9, 1)),
                numbers,
            ),
        ):
            price = compared({"price": reference}, {"price": events})["columns"]["price"]
            assert (price["ks_upper"], price["alarm"]) == (0.0, False)
        assert price["compared_as"] == "float64"

    def test_numbers_that_a_narrow_type_cannot_hold_stay_finite(self, compared):
        """They lie beyond all others; none becomes infinite by being compared."""
        told = compared({"value": np.ones(ROWS, np.float32)}, {"value": np.full(ROWS, 1e300)})["columns"][
            "value"
        ]
        assert (told["ks_lower"], told["events"]["positive_infinity"]) == (1.0, 0)

    def test_an_integer_beyond_2_to_the_53_is_never_rounded_to_one_of_the_reference(self, compared):
        """As floats, 2^53 and 2^53 + 1 are one number."""
        told = compared({"value": [2**53] * ROWS}, {"value": [2**53 + 1] * ROWS})["columns"]["value"]
        assert told["ks_lower"] == 1.0

    def test_a_name_with_a_dot_is_no_path_into_another_column(self, compared):
        """The column `a.b` is compared, and not the child b of a."""
        drifted = {
            seed: {"a": pa.array([{"b": 1.0}] * ROWS), "a.b": uniform(seed) * factor}
            for seed, factor in ((1, 1), (2, 10))
        }
        told = compared(drifted[1], drifted[2])
        assert list(told["not_compared"]) == ["a"]
        assert told["columns"]["a.b"]["alarm_because"] == ["distance"]
        assert told["columns"]["a.b"]["ks_lower"] > 0.5

    def test_texts_need_memory_that_their_bytes_bound(self, tmp_path):
        """One long text among many, and one that comes in every row: none is padded to it, or held row by row."""
        long, rows = "x" * 500_000, 500
        texts = pa.table({"one": [*(f"review {row}" for row in range(rows - 1)), long], "all": [long] * rows})
        path = tmp_path / "texts.parquet"
        pq.write_table(texts, path)
        code = (
            "import resource, sys; from pathlib import Path; from platform_assets.drift.report import compare_files;"
            "import pyarrow.parquet; before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
            "found = compare_files(Path(sys.argv[1]), Path(sys.argv[1]));"
            "assert not any(each['alarm'] for each in found['columns'].values()), found;"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
        )
        grown = subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True)
        assert int(grown.stdout) < 100_000  # KB; 250 MB unpacked, 1 GB padded

    def test_texts_that_come_once_are_no_drift_of_themselves(self, compared):
        """Two samples of which hardly a text is in both: a reference that names its own would always be far away."""
        reference, events = ([f"{seed}-{row}" for row in range(3_000)] for seed in (1, 2))
        text = compared({"text": reference}, {"text": events})["columns"]["text"]
        assert not text["alarm"]
        assert text["ks_lower"] < 0.5 < text["ks_upper"]

    def test_texts_are_told_apart_to_the_last_character(self, compared):
        """A trailing NUL is one, and so is a difference far behind."""
        long = "x" * 10_000
        told = compared({"text": ["a\0", long + "y"] * 500}, {"text": ["a", long + "z"] * 500})["columns"][
            "text"
        ]
        assert told["ks_upper"] == 1.0

    def test_times_of_the_old_type_are_read_where_nanoseconds_do_not_reach(self, tmp_path):
        """Year 3000 lies in the future, which INT96 read as nanoseconds of 64 bits does not know."""
        paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
        for path, year in zip(paths, (2026, 3000), strict=True):
            times = pa.array([datetime(year, 1, 1, tzinfo=UTC)] * 50, pa.timestamp("us"))
            pq.write_table(pa.table({"time": times}), path, use_deprecated_int96_timestamps=True)
        found = compare_files(paths[1], paths[0])["columns"]["time"]
        assert (found["ks_lower"], found["alarm"]) == (1.0, True)
        assert compare_files(paths[1], paths[1])["columns"]["time"]["ks_upper"] == 0.0

    def test_a_text_that_is_no_utf8_is_named_by_its_row(self, compared):
        """Its bytes are not shown, and other columns are judged."""
        latin = pa.Array.from_buffers(pa.string(), 3, pa.array([b"ok", b"caf\xe9", None]).buffers())
        told = compared({"text": ["a", "b", "c"], "n": [1, 2, 3]}, {"text": latin, "n": [1, 2, 3]})
        assert told["not_compared"]["text"]["because"] == "row 2 of the events holds text that is no UTF-8"
        assert list(told["columns"]) == ["n"]

    @pytest.mark.parametrize("twice", ["reference", "events"])
    def test_a_column_twice_is_one_clear_error(self, files, twice):
        """In either file: nobody knows which one is meant."""
        path = dict(zip(("reference", "events"), files, strict=True))[twice]
        rows = pq.read_table(path)
        pq.write_table(rows.append_column("score", rows["words"]), path)
        with pytest.raises(DriftError, match=rf"{twice}\.parquet: columns? 1.* have one name"):
            compare_files(*files)

    def test_names_that_differ_in_case_only_are_one_clear_error(self, files):
        """They are hardly two columns that each file happens to lack."""
        reference, events = files
        pq.write_table(pq.read_table(events).rename_columns({"score": "Score"}), events)
        with pytest.raises(DriftError, match=r"has the column 'Score' where the reference .* has 'score'"):
            compare_files(reference, events)

    @pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".CSV"])
    def test_text_files_are_compared_as_what_they_hold(self, tmp_path, suffix):
        """Numbers of csv are numbers, codes stay texts, and long integers are identifiers as in Parquet."""
        rows = [{"n": n / 8, "code": f"0{n % 7}", "id": str(10**19 + n % 3)} for n in uniform(5).tolist()]
        paths = []
        for name, factor in (("a", 1), ("b", 10)):
            scaled = [row | {"n": factor * row["n"]} for row in rows]
            paths.append(tmp_path / f"{name}{suffix}")
            if suffix == ".jsonl":
                paths[-1].write_text("\n".join(map(json.dumps, scaled)))
            else:
                paths[-1].write_text(
                    "\n".join(["n,code,id", *(",".join(map(str, row.values())) for row in scaled)])
                )
        told = compare_files(*paths)
        found, kinds = told["columns"], {"n": "float64", "code": "text", "id": "text"}
        if suffix != ".jsonl":
            del kinds["id"]
            assert "19 and more digits are identifiers" in told["not_compared"]["id"]["because"]
        assert {name: each["compared_as"] for name, each in found.items()} == kinds
        assert [name for name, each in found.items() if each["alarm"]] == ["n"]

    @pytest.mark.parametrize(
        ("field", "odd", "because"),
        [
            ("{}.5", "NA", "20 of 1,000 fields are no number; write them as 1234.5, or leave them empty"),
            ("{}", "see note", "20 of 1,000 fields are no number"),
            ("{}.5", "007", "20 of 1,000 fields are no number"),
            ('"1,{:03}.50"', "", "980 of 1,000 fields are no number"),
            ("{}.5 €", "", "980 of 1,000 fields are no number"),
            ("1{:018}", "", "integers of 19 and more digits are identifiers"),
            ("2026-01-01T00:{:02}:00", "unknown", "20 of 1,000 fields are no time"),
            ("2026-01-01T00:{:02}:00", "2026-01-01T00:00:00Z", "20 of 1,000 times have a zone"),
            ("2026-01-01T00:{:02}:00", "2026-02-30T00:00:00", "some of its times do not exist"),
        ],
    )
    def test_a_few_odd_fields_make_no_texts_of_numbers_or_times(self, tmp_path, field, odd, because):
        """Texts that seldom come twice never alarm: so it is told, and lost to the events it is an alarm."""
        odd_rows = [odd if row % 50 == 0 else field.format(row % 60) for row in range(ROWS)]
        clean_rows = ["2026-01-01" if "-" in field else str(row) for row in range(ROWS)]
        paths = [tmp_path / "odd.csv", tmp_path / "clean.csv"]
        for path, rows in zip(paths, (odd_rows, clean_rows), strict=True):
            path.write_text("\n".join(["value,n", *(f"{each},1" for each in rows)]))
        for reference, events, side, alarm in (
            (*paths, "the reference", []),
            (*paths[::-1], "the events", ["nothing to compare"]),
        ):
            told = compare_files(reference, events)["not_compared"]["value"]
            assert told["because"].startswith(f"in {side}, {because}")
            assert [each for each in told["alarm_because"] if each != "missing"] == alarm

    @pytest.mark.parametrize(
        "form", ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"]
    )
    def test_iso_times_of_csv_are_times(self, tmp_path, form):
        """A later month is drift, though no text comes twice; and Parquet's times are the same ones."""
        zone, paths = UTC if form.endswith("Z") else None, [tmp_path / "a.csv", tmp_path / "b.csv"]
        months = [
            [datetime(2026, month, 1, tzinfo=zone) + timedelta(minutes=row) for row in range(ROWS)]
            for month in (1, 2)
        ]
        for path, times in zip(paths, months, strict=True):
            path.write_text("\n".join(["time", *(time.strftime(form) for time in times)]))
        found = compare_files(*paths)["columns"]["time"]
        assert (found["ks_lower"], found["alarm"]) == (1.0, True)
        assert found["compared_as"].startswith("date" if form == "%Y-%m-%d" else "timestamp")
        kind = pa.date32() if form == "%Y-%m-%d" else pa.timestamp("ms", zone and "UTC")
        pq.write_table(pa.table({"time": pa.array(months[0], kind)}), tmp_path / "a.parquet")
        assert compare_files(tmp_path / "a.parquet", paths[0])["columns"]["time"]["ks_upper"] == 0.0

    @pytest.mark.parametrize("form", ["01{:03}", "{}A", "10.0.0.{}", "S{}"])
    def test_codes_of_csv_are_texts(self, tmp_path, form):
        """Digits behind a leading zero, and whatever else is no number, can be told from each other."""
        path = tmp_path / "codes.csv"
        path.write_text("\n".join(["code", *(form.format(row % 90) for row in range(ROWS))]))
        assert compare_files(path, path)["columns"]["code"]["compared_as"] == "text"

    def test_a_few_codes_that_look_like_numbers_are_codes_as_in_the_reference(self, tmp_path):
        """A few rows may have no leading zero; where all have lost theirs, nothing is left to compare."""
        rows = {
            "a": [f"{row % 40:02}" for row in range(ROWS)],
            "few": ["12", "30", "25"],
            "lost": ["1", "2", "3"],
        }
        for name, codes in rows.items():
            (tmp_path / f"{name}.csv").write_text("\n".join(["code", *codes]))
        few, lost = (compare_files(tmp_path / "a.csv", tmp_path / f"{name}.csv") for name in ("few", "lost"))
        assert (few["columns"]["code"]["compared_as"], few["columns"]["code"]["alarm"]) == ("text", False)
        assert lost["not_compared"]["code"]["alarm_because"] == ("nothing to compare",)

    @pytest.mark.parametrize(
        ("reference", "events", "is_alarm"),
        [
            ([1.5] * ROWS, ["a"] * ROWS, True),
            (["a"] * ROWS, [1] * ROWS, True),
            ([1.5] * ROWS, [[1]] * ROWS, True),
            ([[1]] * ROWS, [1.5] * ROWS, False),
            ([[1]] * ROWS, [[1]] * ROWS, False),
            ([2**60] * ROWS, [2**60] * ROWS, False),
            ([2**60] * ROWS, ["a"] * ROWS, False),
        ],
    )
    def test_events_of_another_kind_than_a_comparable_reference_alarm(
        self, compared, reference, events, is_alarm
    ):
        """What could be compared no longer can; what never could is only told."""
        told = compared({"value": reference, "n": [1] * ROWS}, {"value": events, "n": [1] * ROWS})
        assert told["not_compared"]["value"]["alarm_because"] == ["nothing to compare"] * is_alarm

    def test_missing_values_are_counted_wherever_null_stands(self, tmp_path):
        """In a dictionary, and in a column of several types."""
        texts = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 2]), pa.array(["a", None, "b"]))
        assert paired(pa.chunked_array([texts]), [texts], texts.type).events == (4, 2, 0, 0)
        path = tmp_path / "a.jsonl"
        path.write_text('{"odd": 1, "n": 1}\n{"odd": "one", "n": 2}\n{"odd": null, "n": 3}')
        odd = compare_files(path, path)["not_compared"]["odd"]
        assert odd["because"].startswith("values of type dense_union")
        assert odd["events"] == NOTHING | {"rows": 3, "missing": 1}

    def test_what_a_text_file_holds_twice_is_one_clear_error(self, tmp_path):
        """A column of csv, or a name in one object."""
        (tmp_path / "a.csv").write_text("id,value,value\n1,2,3\n")
        (tmp_path / "a.jsonl").write_text('{"id": 1, "value": 2, "value": 3}')
        for name, problem in (("a.csv", "have one name"), ("a.jsonl", "'value' twice")):
            with pytest.raises(DriftError, match=problem):
                compare_files(tmp_path / name, tmp_path / name)

    def test_files_that_cannot_be_read_are_named(self, files, tmp_path):
        """Each message names the file."""
        reference, events = files
        with pytest.raises(DriftError, match=r"nowhere\.parquet cannot be read"):
            compare_files(reference, tmp_path / "nowhere.parquet")
        whole = reference.read_bytes()
        reference.write_bytes(whole[:4] + b"damaged" * 900 + whole[6304:])
        for arguments in ((reference, events), (events, reference)):
            with pytest.raises(DriftError, match=r"reference\.parquet cannot be read: damaged"):
                compare_files(*arguments)
        reference.write_bytes(b"no Parquet")
        with pytest.raises(DriftError, match=r"reference\.parquet cannot be read"):
            compare_files(reference, reference)


def exact_ks(reference, events):
    """The definition, in rational numbers."""
    at = {*reference, *events}
    return max(
        abs(
            Fraction(sum(value <= x for value in reference), len(reference))
            - Fraction(sum(value <= x for value in events), len(events))
        )
        for x in at
    )


_near = st.integers(-3, 3).flatmap(
    lambda low: st.sampled_from([0, 2**53, 2**60, 10**30]).map(lambda high: high + low)
)


class TestExactness:
    """What no float can hold is compared as it is."""

    @staticmethod
    def _distance(reference, events):
        pair = paired(pa.chunked_array([reference]), [events], events.type)
        assert pair.found is not None, pair.because
        return pair.found

    @given(
        st.lists(_near, min_size=1, max_size=30), st.lists(_near, min_size=1, max_size=30), st.integers(0, 3)
    )
    @settings(max_examples=60)
    def test_decimals_of_any_width(self, reference, events, scale):
        """Also of two scales, whatever their digits."""
        columns = [
            pa.array([Decimal(f"{each}e-{own}") for each in values], pa.decimal256(60, own))
            for values, own in ((reference, 0), ([each * 10**scale for each in events], scale))
        ]
        found = self._distance(*columns)
        assert (
            found.ks_lower == found.ks_upper == pytest.approx(float(exact_ks(reference, events)), abs=1e-12)
        )

    @given(
        st.lists(st.integers(-(2**62), 2**62) | st.integers(-2, 2), min_size=1, max_size=30),
        st.lists(st.integers(-(2**62), 2**62) | st.integers(-2, 2), min_size=1, max_size=30),
        st.sampled_from(["s", "ms", "us", "ns"]),
        st.sampled_from(["s", "ms", "us", "ns"]),
    )
    @settings(max_examples=60)
    def test_times_of_any_two_units(self, reference, events, reference_unit, events_unit):
        """Nanoseconds of today are no floats, and seconds of year 9999 no nanoseconds of 64 bits."""
        seconds = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
        found = self._distance(
            pa.array(reference, pa.timestamp(reference_unit)), pa.array(events, pa.timestamp(events_unit))
        )
        expected = exact_ks(
            [Fraction(each, seconds[reference_unit]) for each in reference],
            [Fraction(each, seconds[events_unit]) for each in events],
        )
        assert found.ks_lower == found.ks_upper == pytest.approx(float(expected), abs=1e-12)


def samples(random, *, rows, shares):
    """Two columns of one distribution: numbers, of which these shares are missing and infinite, and seldom texts."""
    kind = random.random(rows)
    numbers = random.normal(size=rows).round(1)
    numbers[kind < shares[0]] = np.nan
    numbers[(kind >= shares[0]) & (kind < sum(shares))] = np.inf
    texts = [f"text {each}" for each in random.zipf(1.3, rows)]
    return {"number": pa.array(numbers, from_pandas=True), "text": pa.array(texts)}


def false_alarms(reports, *, rate, seed):
    """In how many of so many reports on two samples of one distribution anything alarms."""
    random = np.random.default_rng(seed)
    alarmed = 0
    for _ in range(reports):
        shares = random.random(2) * 0.3
        before, after = (samples(random, rows=int(random.integers(20, 300)), shares=shares) for _ in range(2))
        pairs = {
            name: paired(pa.chunked_array([before[name]]), [after[name]], after[name].type) for name in before
        }
        alarmed += any(each.alarm for each in judged(pairs, false_alarm_rate=rate).values())
    return alarmed


class TestFalseAlarms:
    """The rate that a report of files states, missing values and seldom texts included."""

    def test_it_is_held(self):
        """In 300 reports."""
        assert false_alarms(300, rate=0.1, seed=1) <= 300 * 0.1 + 3 * math.sqrt(300 * 0.1 * 0.9)

    @pytest.mark.long
    def test_it_is_held_in_many(self):
        """In 10,000 reports."""
        assert false_alarms(10_000, rate=0.1, seed=2) <= 10_000 * 0.1 + 3 * math.sqrt(10_000 * 0.1 * 0.9)


class TestReport:
    """Verdicts that many columns share a false-alarm rate for."""

    def _histograms(self, random, *, columns, shifts=()):
        profile = ReferenceProfile.of(
            {str(name): random.normal(size=300) for name in range(columns)}, bins=32
        )
        found = {}
        for name, column in profile.columns.items():
            found[name] = column.histogram()
            found[name].add(random.normal(size=200) + (1.0 if name in shifts else 0.0))
        return found

    def test_the_rate_is_that_of_the_whole_report(self):
        """Of 200 reports of 5 columns without drift, at most about 10 % have an alarm at the rate of 10 %."""
        random = np.random.default_rng(4)
        reports = [report(self._histograms(random, columns=5), false_alarm_rate=0.1) for _ in range(200)]
        alarmed = sum(any(column.alarm for column in found.values()) for found in reports)
        assert 0 < alarmed <= 200 * 0.1 + 3 * math.sqrt(200 * 0.1 * 0.9)

    def test_drift_is_found_among_many(self):
        """Two shifted columns of 50 are the ones that alarm."""
        found = report(self._histograms(np.random.default_rng(5), columns=50, shifts=("7", "31")))
        assert [name for name, column in found.items() if column.alarm] == ["7", "31"]

    @pytest.mark.parametrize("rate", [0.0, 1.0, math.nan])
    def test_a_rate_that_is_none_is_refused(self, rate):
        """It must lie between 0 and 1."""
        with pytest.raises(DriftError, match="must lie between"):
            report({}, false_alarm_rate=rate)
