"""What executors of Spark are told to do, without Spark: slices, parts, blocks and faults."""

import pickle
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.features.engine import fit_rows, fit_to_file, run_transformer
from platform_assets.features.errors import FeatureError
from platform_assets.features.external_sort import entity_ranks
from platform_assets.features.row_files import open_rows
from platform_assets.features.row_slices import slices_of
from platform_assets.features.spark_engine import PART_ROWS, SparkEngine
from platform_assets.features.spark_tasks import (
    OnSlices,
    Release,
    bounds_of,
    parts_of,
    read_answer,
)
from tests.features.conformance import TransformerContract
from tests.features.spark_frame import Session
from tests.features.transformers import (
    TINY,
    credit_rows,
    event_rows,
    left_beside,
    transformer,
    write_rows,
)


def spark(**changes):
    """An engine whose tasks run in this process; small slices and several parts unless said otherwise."""
    return SparkEngine(Session(), **{"slice_rows": 60, "parts": 3} | changes)


class TestTasks(TransformerContract):
    """Files in slices, rows dealt out by entity, each part sorted on disk, and parts put together."""

    @pytest.fixture
    def engine(self, tmp_path):
        """`run_transformer` with tasks of Spark."""
        return partial(through_tasks, tmp_path)


def through_tasks(folder, transformer, rows):
    """The features, by way of Parquet."""
    source, target = folder / "rows.parquet", folder / "features.parquet"
    pq.write_table(rows, source, row_group_size=50)
    run_transformer(transformer, source, target, budget=TINY, spark=spark())
    return pq.read_table(target)


@pytest.mark.parametrize("kind", ["zscore", "lag", "woe"])
@pytest.mark.parametrize("in_order", [False, True])
def test_the_file_is_the_one_that_the_local_engine_writes(tmp_path, kind, in_order):
    """Rows, their order, columns with their types, and what metadata says; nothing else is left."""
    table = credit_rows() if kind == "woe" else event_rows(ordered=in_order)
    source = write_rows(tmp_path / "rows.parquet", table)
    made = transformer(kind)
    local, by_spark = tmp_path / "local.parquet", tmp_path / "spark.parquet"
    expected = run_transformer(made, source, local)
    found = run_transformer(made, source, by_spark, spark=spark())
    ours, theirs = pq.read_table(local), pq.read_table(by_spark)
    assert theirs.equals(ours)
    assert theirs.schema.equals(ours.schema, check_metadata=True)
    assert (found.rows, found.nulls) == (expected.rows, expected.nulls)
    assert left_beside(by_spark) == []


def test_files_that_are_read_whole_are_handed_to_executors_as_parquet(tmp_path):
    """A csv has no row groups."""
    (tmp_path / "rows.csv").write_text("entity,time,amount\n" + "".join(
        f"{at % 7},2024-05-{1 + at % 28:02}T00:00:00,{at}\n" for at in range(200)
    ))  # fmt: skip
    made = transformer("zscore", zscore={"minPeriods": 2})
    run_transformer(made, tmp_path / "rows.csv", tmp_path / "local.parquet")
    run_transformer(made, tmp_path / "rows.csv", tmp_path / "spark.parquet", spark=spark())
    assert pq.read_table(tmp_path / "spark.parquet").equals(pq.read_table(tmp_path / "local.parquet"))


def test_a_fit_has_the_bytes_of_the_local_one(tmp_path):
    """Of several files, more rows than a sample has: which rows are of it follows from their number alone."""
    folder = tmp_path / "rows"
    folder.mkdir()
    for number in range(3):
        write_rows(folder / f"{number}.parquet", credit_rows(60_000, seed=number), row_group_rows=25_000)
    made = transformer("woe")
    local = fit_rows(made, folder).to_bytes()
    fit_to_file(made, folder, tmp_path / "state.json", spark=spark(slice_rows=50_000))
    assert (tmp_path / "state.json").read_bytes() == local
    assert fit_rows(made, folder, spark=spark(slice_rows=30_000)).to_bytes() == local


def spoilt(column, values, *, rows=300, at=200):
    """Rows of which one in the fourth slice is wrong, and one in the sixth."""
    table = event_rows(rows)
    found = table[column].to_pylist()
    found[at], found[at + 70] = values
    return table.set_column(table.column_names.index(column), column, pa.array(found))


def _both():
    table = spoilt("amount", (float("inf"), 1.0))
    entities = table["entity"].to_pylist()
    entities[290] = None
    return table.set_column(0, "entity", pa.array(entities))


def _texts():
    table = event_rows(300)
    times = [f"2024-05-01T00:{at % 60:02}:00" for at in range(300)]
    times[222] = "secret"
    return table.set_column(1, "time", pa.array(times))


FAULTS = {
    "entity": lambda: spoilt("entity", (None, None)),
    "time": lambda: spoilt("time", (None, None)),
    "value": lambda: spoilt("amount", (float("inf"), 1e200)),
    "value and, later, entity": _both,
    "no time": _texts,
    "no such column": lambda: event_rows().drop_columns("amount"),
    "type": lambda: event_rows().set_column(2, "amount", pa.array(["secret"] * 1000)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_with_rows_is_said_as_the_local_engine_says_it(tmp_path, fault):
    """The first of several, whatever task finds it first; no value, and nothing is left."""
    source = write_rows(tmp_path / "rows.parquet", FAULTS[fault](), row_group_rows=60)
    target = tmp_path / "features.parquet"
    with pytest.raises(FeatureError) as local:
        run_transformer(transformer("zscore"), source, target)
    with pytest.raises(FeatureError) as found:
        run_transformer(transformer("zscore"), source, target, spark=spark())
    said = str(found.value)
    if "rows are counted from" in said:
        # A slice counts its own; the local engine's chunk began with the file.
        said = without_places(said)
        assert said == without_places(str(local.value))
    else:
        assert said == str(local.value)
    assert "secret" not in said
    assert not target.exists()
    assert left_beside(target) == []


def without_places(said):
    """A message without numbers of rows."""
    before, counted, after = said.partition(" (rows are counted from row ")
    said = before + (after.partition(")")[2] if counted else "")
    return "".join(sign for sign in said if not sign.isdigit())


def test_rows_that_are_counted_from_a_slice_on_are_the_right_ones(tmp_path):
    """The message leads to row 201 of the file."""
    source = write_rows(tmp_path / "rows.parquet", FAULTS["value"](), row_group_rows=60)
    with pytest.raises(FeatureError, match=r"counted from row 181 on\).*value of row 21 is"):
        run_transformer(transformer("lag"), source, tmp_path / "f.parquet", spark=spark())


def test_woe_refuses_as_the_local_engine_does(tmp_path):
    """A target without a value, in the middle of the rows."""
    table = credit_rows(300)
    bad = table["bad"].to_pylist()
    bad[7] = None
    source = write_rows(
        tmp_path / "rows.parquet", table.set_column(2, "bad", pa.array(bad)), row_group_rows=60
    )
    for spark_or_none in (None, spark()):
        with pytest.raises(FeatureError, match=r"target bad: 1 of \d+ values are missing \(first: row 8\)"):
            fit_to_file(transformer("woe"), source, tmp_path / "state.json", spark=spark_or_none)
        assert not (tmp_path / "state.json").exists()


def test_a_row_that_fitted_weights_refuse_is_told_by_its_place_in_the_file(tmp_path):
    """Row 205: the 25th of the slice that begins behind row 180."""
    whole = credit_rows(300).drop_columns("amount").append_column("amount", pa.array(np.arange(300.0)))
    whole = whole.set_column(0, "home", pa.array(["rent", "own"] * 150))
    made = transformer("woe", woe={"missing": "refuse"})
    fitted = fit_rows(made, write_rows(tmp_path / "whole.parquet", whole))
    spoilt = whole.set_column(2, "amount", pa.array([None if at == 204 else 1.0 for at in range(300)]))
    source = write_rows(tmp_path / "rows.parquet", spoilt, row_group_rows=60)
    with pytest.raises(FeatureError, match=r"counted from row 181 on\).*\(first: row 25\)"):
        run_transformer(made, source, tmp_path / "f.parquet", fitted=fitted, spark=spark())


def test_executors_of_another_release_are_refused(tmp_path):
    """Their kernels might give other bits."""
    source = write_rows(tmp_path / "rows.parquet", event_rows())
    slices = slices_of(open_rows(source, transformer("zscore").spec), most_rows=60)
    task = OnSlices(lambda _: 1, slices, Release("zscore", "0123456789abcdef"))
    (answer,) = task([pa.RecordBatch.from_pydict({"id": pa.array([0], pa.int64())})])
    with pytest.raises(FeatureError, match="another release of platform-assets"):
        read_answer(answer["answer"][0].as_py())


class Blind(Session):
    """Its executors look at another disk, on which something is not there."""

    def __init__(self, hide):
        self.hide = hide

    def range(self, *span):
        """Numbers, of which tasks are made once the driver has seen all."""
        self.hide()
        return super().range(*span)


@pytest.mark.parametrize("kind", ["zscore", "woe"])
@pytest.mark.parametrize("what", ["input", "scratch"])
def test_executors_that_see_other_disks_are_told_as_that(tmp_path, kind, what):
    """The driver sees the file: to check the path would be no advice."""
    source = write_rows(tmp_path / "rows.parquet", credit_rows(300) if kind == "woe" else event_rows(300))
    made = transformer(kind)
    fitted = fit_rows(made, source)

    def hide():
        if what == "input":
            source.unlink(missing_ok=True)
        for each in tmp_path.glob(".*.scratch/*"):
            each.rmdir()

    with pytest.raises(FeatureError) as found:
        run_transformer(
            made,
            source,
            tmp_path / "features.parquet",
            fitted=fitted,
            spark=SparkEngine(Blind(hide), parts=3),
        )
    said = str(found.value)
    assert "Spark's executors do not see it; they have to see input, output and scratch under the" in said
    assert said.startswith(f"{source}: " if what == "input" else f"{tmp_path}/.platform-assets-")
    assert left_beside(tmp_path / "features.parquet") == []


def test_rows_that_executors_do_not_find_are_missed(tmp_path):
    """Their file of that name has fewer rows: an older copy. What they made of it becomes nothing."""
    source = write_rows(tmp_path / "rows.parquet", event_rows(300))
    engine = SparkEngine(Blind(lambda: write_rows(source, event_rows(200))), parts=3)
    with pytest.raises(FeatureError, match="has 300 rows, and Spark's executors have found 200 there"):
        run_transformer(transformer("lag"), source, tmp_path / "features.parquet", spark=engine)
    assert left_beside(tmp_path / "features.parquet") == []


def test_slices_are_all_rows_in_their_order(tmp_path):
    """Row groups that fit go together; one that does not is by itself."""
    folder = tmp_path / "rows"
    folder.mkdir()
    write_rows(folder / "a.parquet", event_rows(100), row_group_rows=30)
    write_rows(folder / "b.parquet", event_rows(1).slice(0, 0))
    write_rows(folder / "c.parquet", event_rows(200), row_group_rows=150)
    rows = open_rows(folder, transformer("zscore").spec)
    found = slices_of(rows, most_rows=60)
    assert [(each.start, each.rows.rows) for each in found] == [(0, 60), (60, 40), (100, 150), (250, 50)]
    read = [pa.concat_tables(each.rows.chunks(batch_rows=17)) for each in found]
    assert pa.concat_tables(read).equals(pa.concat_tables(rows.chunks(batch_rows=1000)))


KEYS = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1).map(partial(pa.array, type=pa.int64())),
    st.lists(st.integers(0, 2**64 - 1), min_size=1).map(partial(pa.array, type=pa.uint64())),
    st.lists(st.integers(-3, 3), min_size=1).map(partial(pa.array, type=pa.int8())),
    st.lists(st.text(max_size=3), min_size=1).map(partial(pa.array, type=pa.large_string())),
)


@given(entities=KEYS, parts=st.integers(1, 9), seed=st.integers(0, 9))
@settings(max_examples=150, deadline=None)
def test_parts_are_ranges_of_entities_in_their_order(entities, parts, seed):
    """An entity is in one part; a lower one is in no later part; the least of all begins the first."""
    rng = np.random.default_rng(seed)
    told = entities.take(
        pa.array(np.sort(rng.choice(len(entities), max(1, len(entities) // 2), replace=False)))
    )
    bounds = bounds_of(told, parts)
    assert len(bounds) < parts
    found, ranks = parts_of(entities, bounds), entity_ranks(entities)
    order = np.argsort(ranks, kind="stable")
    assert (np.diff(found[order]) >= 0).all()
    assert (np.diff(found[order])[np.diff(ranks[order]) == 0] == 0).all()
    assert parts_of(told, bounds).min() == 0
    assert parts_of(bounds, bounds).tolist() == list(range(1, len(bounds) + 1))  # each begins one


def test_parts_have_about_equally_many_rows_but_for_an_entity_that_has_most():
    """Half of all rows are of one entity, and the others are shared out."""
    rng = np.random.default_rng(0)
    entities = pa.array(np.where(rng.random(40_000) < 0.5, 500, rng.integers(0, 1000, 40_000)))
    counts = np.bincount(parts_of(entities, bounds_of(entities, 8)))
    assert counts.max() < 0.7 * 40_000
    assert np.sort(counts)[:-1].max() < 0.2 * 40_000
    assert len(counts) >= 4


def test_many_rows_have_many_parts():
    """A few thousand need no second one; the number grows with the rows."""
    engine = SparkEngine(Session())
    assert [engine.parts_for(rows) for rows in (0, 10_000, 100_000, 10**7)] == [
        1,
        1,
        4,
        -(-(10**7) // PART_ROWS),
    ]


def test_tasks_can_be_pickled(tmp_path):
    """As Spark sends them."""
    source = write_rows(tmp_path / "rows.parquet", event_rows())
    slices = slices_of(open_rows(source, transformer("zscore").spec), most_rows=60)
    assert pickle.loads(pickle.dumps(slices)) == slices
