"""A real Spark of two workers on this machine, for tests; where there is none to be had, they say so and skip."""

import os
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from platform_assets.features.engine import run_transformer
from platform_assets.features.external_sort import SortBudget
from platform_assets.features.memory_budget import Budget
from platform_assets.features.spark_engine import SparkEngine
from resources.spark import java, spark_session
from tests.features.transformers import event_rows, left_beside

CLUSTER = "local-cluster[2,1,1024]"
EXECUTOR = "CoarseGrainedExecutorBackend"
"""Stands in the command line of one."""
WORKER = "pyspark.daemon"
"""Of what forks an executor's Python workers, and of each of them."""


def need_spark():
    """Skip, where pyspark or Java is missing."""
    if find_spec("pyspark") is None:
        pytest.skip("NO SPARK: install the extra `spark`")
    if java() is None:
        pytest.skip("NO JAVA: apt-get install openjdk-17-jre-headless; transformers on Spark are not tested")


SMALL = Budget(batch_rows=4_000, sort=SortBudget(run_bytes=500_000, fan_in=8, fewest_block_rows=100))
"""So small that parts of some ten thousand rows are sorted on disk."""
HASTE = "-XX:TieredStopAtLevel=1"
"""Java is to compile quickly rather than well: it does not run long."""


@contextmanager
def cluster(folder, remote=CLUSTER, **options):
    """A session of two workers."""
    need_spark()
    hasty = {f"spark.{who}.extraJavaOptions": HASTE for who in ("driver", "executor")}
    with spark_session(remote, folder, options=hasty | options) as session:
        yield session


def processes_below(pid, sign):
    """Ids of a process' descendants with this in their command lines."""
    parents, found = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text(encoding="utf-8", errors="replace")
            told = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        number = int(folder.name)
        parents[number] = int(stat.rpartition(")")[2].split()[1])
        if sign in told:
            found.append(number)
    return sorted(number for number in found if _is_below(number, pid, parents))


def _is_below(number, pid, parents):
    while number and number != pid:
        number = parents.get(number, 0)
    return number == pid


def own_executors():
    """Of sessions of this process."""
    return processes_below(os.getpid(), EXECUTOR)


def own_workers():
    """Python processes of executors of sessions of this process."""
    return processes_below(os.getpid(), WORKER)


def assert_as_local(made, source, session, *, budget=None, **engine):
    """The local engine's file, and the summary of Spark's run."""
    local, by_spark = source.with_name("local.parquet"), source.with_name("spark.parquet")
    run_transformer(made, source, local)
    summary = run_transformer(made, source, by_spark, budget=budget, spark=SparkEngine(session, **engine))
    assert pq.read_table(by_spark).equals(pq.read_table(local))
    assert left_beside(by_spark) == []
    return summary


def skewed(rows):
    """Half of all rows are of one entity."""
    table = event_rows(rows, entities=400)
    entities = np.where(np.arange(rows) % 2, 77, np.random.default_rng(4).integers(0, 400, rows))
    return table.set_column(0, "entity", pa.array(entities.astype(np.int32)))
