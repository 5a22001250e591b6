"""Transformers on a real Spark: two workers of this machine, of which one may be lost in the middle."""

import os
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from platform_assets.features.engine import fit_rows, run_transformer
from platform_assets.features.errors import FeatureError
from platform_assets.features.spark_engine import SparkEngine
from platform_assets.features.transformer import fit
from resources.spark import SparkError
from tests.features.conformance import (
    HISTORIES,
    LOANS,
    OPTIONS,
    WOE_OPTIONS,
    TransformerContract,
    assert_same,
)
from tests.features.spark_cluster import SMALL, assert_as_local, cluster, need_spark, processes_below, skewed
from tests.features.transformers import (
    TINY,
    credit_rows,
    event_rows,
    transformer,
    write_rows,
    write_transformer,
)
from tests.line_factory import ROOT, command, environment

FEW = (
    ("zscore-late-current", "one instant"),
    ("lag-rows-late", "texts"),
    ("zscore", "nanoseconds"),
)
FEW_WOE = (("special", "plain"),)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """One for all tests of a module: it takes longer to come than they do."""
    with cluster(tmp_path_factory.mktemp("spark")) as session:
        yield session


def through_spark(session, folder, transformer, rows):
    """The features, by way of Parquet."""
    source, target = folder / "rows.parquet", folder / "features.parquet"
    pq.write_table(rows, source, row_group_size=80)
    engine = SparkEngine(session, slice_rows=80, parts=2)
    run_transformer(transformer, source, target, budget=TINY, spark=engine)
    return pq.read_table(target)


def heard_elsewhere(pids):
    """Addresses other than the loopback that these processes listen on, as the kernel writes them."""
    found = set()
    for pid in pids:
        sockets = set()
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # files are closed all the time
                sockets.add(str(each.readlink()))
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:
                    found.add(words[1].partition(":")[0])
    return {each for each in found if not each.endswith(("0100007F", "01000000"))}


def test_two_workers_give_the_bits_of_one_table_and_say_what_is_wrong_in_one_sentence(session, tmp_path):
    """A few of the contract's pairs; the long tier has them all. Of a fault, there is neither Java nor a value."""
    for options, rows in FEW:
        kind, spec = OPTIONS[options]
        made, table = transformer(kind, **spec), HISTORIES[rows]
        expected = fit(made.spec, table).transform(table)
        assert_same(through_spark(session, tmp_path, made, table), expected, [f"amount_{kind}"])
    for options, rows in FEW_WOE:
        made, table = transformer("woe", woe=WOE_OPTIONS[options]), LOANS[rows]
        expected = fit(made.spec, table).transform(table)
        assert_same(through_spark(session, tmp_path, made, table), expected, ["amount_woe", "home_woe"])
    table = event_rows(300)
    amounts = np.where(np.arange(300) == 222, np.inf, 1.5)
    (tmp_path / "features.parquet").unlink()
    with pytest.raises(FeatureError) as found:
        through_spark(
            session, tmp_path, transformer("zscore"), table.set_column(2, "amount", pa.array(amounts))
        )
    assert str(found.value) == (
        f"{tmp_path}/rows.parquet (rows are counted from row 209 on): column amount: the value of row 15 is infinite or "
        "beyond 1e140; no window has a mean with it: make it null where nothing was measured"
    )
    assert sorted(each.name for each in tmp_path.iterdir()) == ["rows.parquet"]
    assert not heard_elsewhere(processes_below(os.getpid(), "org.apache.spark"))


@pytest.mark.long
class TestSpark(TransformerContract):
    """Every option over every table."""

    @pytest.fixture
    def engine(self, session, tmp_path):
        """`run_transformer` on two workers."""
        return partial(through_spark, session, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["zscore", "lag"])
def test_an_entity_of_half_of_all_rows_is_sorted_on_disk(session, tmp_path, kind):
    """Its part is many times what may lie in memory."""
    source = write_rows(tmp_path / "rows.parquet", skewed(300_000), row_group_rows=30_000)
    found = assert_as_local(transformer(kind), source, session, budget=SMALL, slice_rows=30_000, parts=4)
    assert found.runs > 20


@pytest.mark.long
def test_a_job_that_fails_again_and_again_is_told_without_java_and_values(session, tmp_path):
    """What nobody foresaw: its type is said, and nothing of what it says."""
    source = write_rows(tmp_path / "rows.parquet", event_rows(100))
    engine = SparkEngine(session)
    slices = engine.slices(_opened(source), tmp_path)
    with pytest.raises(SparkError) as found:
        engine.answers(_breaks, slices, "zscore")
    assert str(found.value) == (
        "Spark gave up: a task failed again and again (ZeroDivisionError); the log of its executors says why. "
        "Nothing was written"
    )


def _opened(source):
    from platform_assets.features.row_files import open_rows

    return open_rows(source, transformer("zscore").spec)


def _breaks(part):
    raise ZeroDivisionError("secret value")


@pytest.mark.long
def test_the_command_writes_the_same_file_and_state_and_leaves_the_terminal_alone(tmp_path):
    """As people use it; Java's log is not for them, and nothing stays behind."""
    need_spark()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    variables = environment(tmp_path / "home", PLATFORM_SPARK_REMOTE="local[2]", TMPDIR=str(scratch))
    write_rows(tmp_path / "rows.parquet", event_rows(20_000), row_group_rows=3_000)
    write_rows(tmp_path / "credit.parquet", credit_rows(20_000), row_group_rows=3_000)
    for what, kind, source, ending in (("run", "lag", "rows", "parquet"), ("fit", "woe", "credit", "json")):
        spec = write_transformer(tmp_path / f"{kind}.yaml", kind)
        for engine in ("local", "spark"):
            done = subprocess.run(
                command(
                    "features", what, spec, "--input", tmp_path / f"{source}.parquet", "--output",
                    tmp_path / f"{engine}.{ending}", "--engine", engine,
                ),
                env=variables, cwd=ROOT, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert (done.returncode, done.stderr) == (0, "")
        assert (tmp_path / f"spark.{ending}").read_bytes() == (tmp_path / f"local.{ending}").read_bytes()
    assert list(scratch.iterdir()) == []


@pytest.mark.long
def test_a_fit_on_two_workers_has_the_bytes_of_the_local_one(session, tmp_path):
    """More rows than a sample has."""
    source = write_rows(tmp_path / "rows.parquet", credit_rows(300_000), row_group_rows=40_000)
    made = transformer("woe")
    found = fit_rows(made, source, spark=SparkEngine(session, slice_rows=40_000), scratch=tmp_path)
    assert found.to_bytes() == fit_rows(made, source).to_bytes()
