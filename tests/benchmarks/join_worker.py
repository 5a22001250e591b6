"""Point-in-time join of two tables, by one tool, measured from inside: run by each tool's own Python.

    python join_worker.py TOOL LABELS.parquet FEATURES.parquet ANSWERS.parquet

Columns are the entity `e` and the time `t`, of labels the row's number `i`, of features the value `x`; neither side is
sorted. What is of a label's own time is known, as all peers have it. Writes number and value of each row that comes back,
and prints JSON: processor seconds of the join alone, from the tool's own kind of table to one of its answers; of feast and
of `files`, from Parquet, which they read themselves.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from json import dumps
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Compute = Callable[[], Any]
AsArrow = Callable[[Any], pa.Table]


def _platform_assets(labels: Path, features: Path) -> tuple[Compute, AsArrow]:
    from platform_assets.features.join import point_in_time_join
    from platform_assets.features.join_inputs import FeatureTable
    from platform_assets.features.row_files import rows_of_table

    rows = pq.read_table(labels)
    table = FeatureTable(rows_of_table(pq.read_table(features), name="features"), "t")
    return (
        lambda: point_in_time_join(rows, [table], entity=["e"], time="t", include_current=True),
        lambda answers: answers,
    )


def _platform_assets_files(labels: Path, features: Path) -> tuple[Compute, AsArrow]:
    from platform_assets.features.join_files import FeatureFiles, join_files

    target = Path(tempfile.mkdtemp()) / "joined.parquet"

    def join() -> Path:
        files = [FeatureFiles(features, "t")]
        join_files(labels, files, target, entity=["e"], time_column="t", include_current=True)
        return target

    return join, pq.read_table


def _polars(labels: Path, features: Path) -> tuple[Compute, AsArrow]:
    import polars as pl

    rows, known = pl.from_arrow(pq.read_table(labels)), pl.from_arrow(pq.read_table(features))

    def join() -> Any:
        # It joins what is sorted by time, and gives labels in that order.
        return (
            rows.sort("t")
            .join_asof(known.sort("t"), on="t", by="e", strategy="backward", check_sortedness=False)
            .sort("i")
        )

    return join, lambda answers: answers.to_arrow()


def _duckdb(labels: Path, features: Path) -> tuple[Compute, AsArrow]:
    import duckdb

    connection = duckdb.connect()
    for name, file in (("labels", labels), ("features", features)):
        connection.register(f"arrow_{name}", pq.read_table(file))
        connection.execute(f"create table {name} as select * from arrow_{name}")
    statement = (
        "select l.i, f.x from labels l asof left join features f on l.e = f.e and l.t >= f.t order by l.i"
    )
    return lambda: connection.sql(statement).to_arrow_table(), lambda answers: answers


def _feast(labels: Path, features: Path) -> tuple[Compute, AsArrow]:
    os.environ["FEAST_USAGE"] = "False"
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
    from feast.types import Float64
    from feast.value_type import ValueType

    rows = pq.read_table(labels).to_pandas().rename(columns={"t": "event_timestamp"})
    store = FeatureStore(
        config=RepoConfig(
            project="benchmark",
            registry=str(Path(tempfile.mkdtemp()) / "registry.db"),
            provider="local",
            offline_store={"type": "dask"},
            online_store=None,
            entity_key_serialization_version=3,
        )
    )
    entity = Entity(name="e", join_keys=["e"], value_type=ValueType.STRING)
    view = FeatureView(
        name="view",
        entities=[entity],
        ttl=timedelta(0),
        schema=[Field(name="x", dtype=Float64)],
        source=FileSource(path=str(features), timestamp_field="t"),
        online=False,
    )
    store.apply([entity, view])
    return (
        lambda: store.get_historical_features(entity_df=rows, features=["view:x"]).to_df(),
        lambda answers: pa.Table.from_pandas(answers, preserve_index=False),
    )


TOOLS = {
    "platform-assets": _platform_assets,
    "platform-assets, files": _platform_assets_files,
    "polars": _polars,
    "DuckDB": _duckdb,
    "feast": _feast,
}


def _few(file: Path, folder: str) -> Path:
    """The first rows, in a file of their own."""
    target = Path(folder) / file.name
    pq.write_table(pq.read_table(file).slice(0, 1_000), target)
    return target


def main() -> None:
    """Join once, and tell what it took."""
    tool, answers_file = sys.argv[1], Path(sys.argv[4])
    files = [Path(each) for each in sys.argv[2:4]]
    with tempfile.TemporaryDirectory() as folder:
        # A few rows first: what is imported, compiled or started at first use is paid then.
        TOOLS[tool](*(_few(file, folder) for file in files))[0]()
    compute, as_arrow = TOOLS[tool](*files)
    begun = time.process_time()
    answers = compute()
    seconds = time.process_time() - begun
    pq.write_table(as_arrow(answers).select(["i", "x"]), answers_file, compression="none")
    print(dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
