"""What windows hold, and why values are null."""

import errno
import fcntl
import os
import stat

import numpy as np
import pyarrow as pa
import pytest

from platform_assets.features.engine import run_transformer
from platform_assets.features.errors import FeatureError
from platform_assets.features.external_sort import SortBudget
from platform_assets.features.file_output import own_scratch
from platform_assets.features.memory_budget import Budget
from platform_assets.features.row_files import open_rows, rows_of_table
from platform_assets.features.transformer import fit
from platform_assets.features.window_report import (
    EQUAL,
    NO_ANSWER,
    NO_VALUE,
    NOT_YET,
    TOO_FEW,
    TOO_OLD,
    window_report,
)
from tests.features.transformers import DAY_US, TINY, event_rows, transformer, write_rows


def rows_at(*days_and_values):
    """Rows of one entity."""
    days, values = zip(*days_and_values, strict=True)
    return pa.table(
        {
            "entity": pa.array([7] * len(days)),
            "time": pa.array([int(day * DAY_US) for day in days], pa.timestamp("us")),
            "amount": pa.array(values, pa.float64()),
        }
    )


def test_each_null_has_a_reason(tmp_path):
    """Of z-scores: no value, too few in the window, or all of one value."""
    rows = rows_at((0, 1.0), (1, 1.0), (2, 5.0), (3, None), (4, 2.0), (40, 3.0))
    made = transformer("zscore", zscore={"minPeriods": 2}, windowDays=10)
    found = window_report(made, write_rows(tmp_path / "rows.parquet", rows), budget=TINY)
    assert found.nulls == {"amount_zscore": {NO_VALUE: 1, TOO_FEW: 3, EQUAL: 1}}
    assert (found.rows, found.entities, found.fewest_rows, found.most_rows) == (6, 1, 6, 6)
    assert (found.mean_gap_days, found.longest_gap_days, found.ties) == (8, 36, 0)


def test_values_of_a_dictionary_are_missing_where_it_holds_nan(tmp_path):
    """Which no index says; the run and the report count alike."""
    rows = rows_at((0, 1.0), (1, 2.0), (2, 5.0), (3, 1.0), (4, 2.0))
    values = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 2, 1]), pa.array([1.0, 2.0, float("nan")]))
    source = rows_of_table(rows.set_column(2, "amount", values), name="rows")
    made = transformer("zscore", zscore={"minPeriods": 2}, windowDays=10)
    found = window_report(made, source, budget=TINY)
    assert found.nulls == {"amount_zscore": {NO_VALUE: 2, TOO_FEW: 2, EQUAL: 0}}
    done = run_transformer(made, source, tmp_path / "f.parquet", budget=TINY)
    assert done.nulls == {"amount_zscore": {NO_VALUE: 2, NO_ANSWER: 2}}


def test_lags_are_not_yet_there_or_too_old(tmp_path):
    """By days with a tolerance."""
    rows = rows_at((0, 1.0), (1, 1.0), (2, 5.0), (30, 3.0))
    made = transformer("lag", lag={"days": 2, "tolerance": 3})
    found = window_report(made, write_rows(tmp_path / "rows.parquet", rows), budget=TINY)
    assert found.nulls == {"amount_lag": {NOT_YET: 2, TOO_OLD: 1}}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("zscore", {}),
        ("zscore", {"zscore": {"includeCurrent": True, "minPeriods": 3}}),
        ("lag", {"lag": {"days": 3, "tolerance": 1}}),
    ],
)
@pytest.mark.parametrize("ordered", [True, False])
def test_counts_are_those_of_one_table(tmp_path, kind, spec, ordered, threads):
    """Through chunks, and sorted on disk where the rows are in no order; scratch is gone in the end."""
    rows = event_rows(600, ordered=ordered)
    (tmp_path / "scratch").mkdir()
    made = transformer(kind, **spec)
    source = write_rows(tmp_path / "rows.parquet", rows)
    found = window_report(made, source, budget=TINY, scratch=tmp_path / "scratch", threads=threads)

    nulls = fit(made.spec, rows).transform(rows)[f"amount_{kind}"].null_count
    assert sum(found.nulls[f"amount_{kind}"].values()) == nulls
    sizes = rows["entity"].value_counts().field("counts").to_pylist()
    assert (found.entities, found.fewest_rows, found.most_rows) == (len(sizes), min(sizes), max(sizes))
    gaps = []
    for entity in set(rows["entity"].to_pylist()):
        of_entity = np.asarray(rows["entity"]) == entity
        gaps.append(np.diff(np.sort(np.asarray(rows["time"].cast(pa.int64()))[of_entity])) / DAY_US)
    gaps = np.concatenate(gaps)
    assert found.mean_gap_days == pytest.approx(gaps.mean())
    assert (found.longest_gap_days, found.ties) == (gaps.max(), (gaps == 0).sum())
    assert list((tmp_path / "scratch").iterdir()) == []


def test_what_a_killed_one_left_is_removed_by_the_next(tmp_path):
    """What others have locked stays, and what is none of it."""
    with own_scratch(tmp_path) as others:
        (others / "run-000000.arrows").write_text("theirs")
        with own_scratch(tmp_path) as left:
            pass
        left.mkdir()
        (left / "run-000000.arrows").write_text("half")
        (tmp_path / "mine").mkdir()
        source = write_rows(tmp_path / "rows.parquet", event_rows(600))
        window_report(transformer("lag"), source, budget=TINY, scratch=tmp_path)
        kept = {"rows.parquet", "mine", others.name, f"{others.name}.lock"}
        assert {each.name for each in tmp_path.iterdir()} == kept
        assert (others / "run-000000.arrows").read_text() == "theirs"
    assert {each.name for each in tmp_path.iterdir()} == {"rows.parquet", "mine"}


def test_scratch_of_another_machine_stays(tmp_path, monkeypatch):
    """On NFS a lock on a folder holds on one machine only, and one that excludes others wants a file open for writing."""
    flock = fcntl.flock

    def nfs(descriptor, operation):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            return
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", nfs)
    with own_scratch(tmp_path) as others, own_scratch(tmp_path) as own:
        assert {others, own} == {each for each in tmp_path.iterdir() if each.is_dir()}
    assert list(tmp_path.iterdir()) == []


def test_scratch_that_is_not_there(tmp_path):
    """Is named as what it is."""
    source = write_rows(tmp_path / "rows.parquet", event_rows(600))
    with pytest.raises(FeatureError, match="nowhere: no such folder; make it, or name another as scratch"):
        window_report(transformer("lag"), source, budget=TINY, scratch=tmp_path / "nowhere")


def test_room_for_sorting_is_asked_for(small_disk, tmp_path):
    """In several passes, twice that of the rows."""
    source = write_rows(tmp_path / "rows.parquet", event_rows(3_000))
    made, rows = transformer("lag"), open_rows(source, transformer("lag").spec)
    disk = small_disk(int(1.6 * rows.row_bytes(["entity", "time", "amount"]).usual * rows.rows))
    budget = Budget(100, SortBudget(run_bytes=5_000, fan_in=3))
    with pytest.raises(FeatureError, match=r"not enough space: about .* for rows that are sorted are needed"):
        window_report(made, source, budget=budget, scratch=disk)
    assert list(disk.iterdir()) == []


def test_no_rows(tmp_path):
    """Nothing is counted."""
    source = write_rows(tmp_path / "rows.parquet", event_rows().slice(0, 0))
    found = window_report(transformer("lag"), source)
    assert (found.rows, found.entities, found.mean_gap_days) == (0, 0, None)
