"""Many columns at once, and files."""

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from platform_assets.drift.errors import DriftError
from platform_assets.drift.report import compare_files, report
from platform_assets.sketch.sketch import ReferenceProfile


def table(rows, *, seed, shift=0.0):
    """Numbers, integers with nulls, truth values, texts, and a time that cannot be compared."""
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


class TestFiles:
    """What `drift replay` prints."""

    def test_the_column_that_drifted_alarms(self, files):
        """Each comparable column has its interval and p-value, and the report is JSON."""
        found = json.loads(json.dumps(compare_files(*files), allow_nan=False))["columns"]
        assert list(found) == ["score", "words", "float32", "flag", "source"]
        assert all(set(each) == {"ks", "ks_lower", "ks_upper", "p_value", "alarm"} for each in found.values())
        assert [name for name, each in found.items() if each["alarm"]] == ["score"]
        assert found["score"]["ks_lower"] <= found["score"]["ks"] <= found["score"]["ks_upper"]

    def test_a_column_without_a_value_alarms(self, files):
        """Nothing is known of it, and no NaN gets into the JSON."""
        reference, events = files
        changed = pq.read_table(events).set_column(0, "score", pa.array([None] * 3_000, pa.float64()))
        pq.write_table(changed, events)
        assert compare_files(reference, events)["columns"]["score"] == {
            "ks": None,
            "ks_lower": 0.0,
            "ks_upper": 1.0,
            "p_value": 1.0,
            "alarm": True,
        }

    def test_files_that_do_not_fit_are_refused(self, files, tmp_path):
        """Each message names the file and what it lacks."""
        reference, events = files
        complete = pq.read_table(events)
        pq.write_table(complete.drop_columns(["score", "flag"]), events)
        with pytest.raises(DriftError, match=r"events.parquet: lacks score, flag of the reference"):
            compare_files(reference, events)
        pq.write_table(complete.set_column(0, "score", pa.array(["high"] * 3_000)), events)
        with pytest.raises(DriftError, match=r"events.parquet: score are of another type"):
            compare_files(reference, events)
        pq.write_table(complete.select(["event_time"]), events)
        with pytest.raises(DriftError, match="no column of numbers or texts; it has event_time"):
            compare_files(events, events)
        with pytest.raises(DriftError, match="cannot be compared"):
            compare_files(reference, tmp_path / "nowhere.parquet")
        reference.write_bytes(b"no Parquet")
        with pytest.raises(DriftError, match="cannot be compared"):
            compare_files(reference, events)


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
