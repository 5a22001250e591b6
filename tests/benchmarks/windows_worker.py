"""Sliding z-score or lag of one table, by one tool, measured from inside: run by each tool's own Python.

    python windows_worker.py TOOL ROWS.parquet ANSWERS.parquet zscore|lag

Columns are the row's number `i`, the entity `e`, the time `t` and the value `x`; rows are sorted by entity and time. Writes
the answers row by row, and prints JSON: processor seconds of the computation alone, from the tool's own kind of table to
one of its answers.
"""

import sys
import time
from collections.abc import Callable
from json import dumps
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

DAYS = 30
LEAST = 10

Compute = Callable[[], Any]
AsArrow = Callable[[Any], pa.Array]


def _platform_assets(rows: pa.Table, kind: str) -> tuple[Compute, AsArrow]:
    from platform_assets.features.transformer_spec import TransformerSpec
    from platform_assets.features.windows import WindowTransformer

    transformer = WindowTransformer(
        TransformerSpec.model_validate(
            {
                "inputSource": "rows.parquet",
                "transformerType": kind,
                "columns": ["x"],
                "entityKey": "e",
                "timestampColumn": "t",
                "windowDays": DAYS,
            }
        )
    )
    return lambda: transformer.transform(rows), lambda answers: answers.column(0)


def _polars(rows: pa.Table, kind: str) -> tuple[Compute, AsArrow]:
    import polars as pl

    frame = pl.from_arrow(rows)
    window = {"by": "t", "window_size": f"{DAYS}d", "closed": "left", "min_samples": LEAST}

    def zscore() -> Any:
        return frame.select(
            (
                (pl.col("x") - pl.col("x").rolling_mean_by(**window)) / pl.col("x").rolling_std_by(**window)
            ).over("e")
        )

    def lag() -> Any:
        asked = frame.select("e", (pl.col("t") - pl.duration(days=DAYS)).set_sorted().alias("t"))
        return asked.join_asof(
            frame.select("e", "t", "x"), on="t", by="e", strategy="backward", check_sortedness=False
        ).select("x")

    return (zscore if kind == "zscore" else lag), lambda answers: answers.to_series().to_arrow()


def _duckdb(rows: pa.Table, kind: str) -> tuple[Compute, AsArrow]:
    import duckdb

    connection = duckdb.connect()
    connection.register("arrow_rows", rows)
    connection.execute("create table rows as select * from arrow_rows")
    statement = (
        f"""select i, case when count(x) over w >= {LEAST} then (x - avg(x) over w) / stddev_samp(x) over w end as x
        from rows window w as (partition by e order by t
            range between interval {DAYS} days preceding and interval 1 microsecond preceding)"""
        if kind == "zscore"
        else f"""select l.i, r.x from rows l asof left join rows r
        on l.e = r.e and l.t - interval {DAYS} days >= r.t"""
    )
    return (
        lambda: connection.sql(statement).to_arrow_table(),
        lambda answers: answers.sort_by("i")["x"],
    )


TOOLS = {"platform-assets": _platform_assets, "polars": _polars, "DuckDB": _duckdb}


def main() -> None:
    """Compute once, and tell what it took."""
    tool, rows_file, answers_file, kind = sys.argv[1:]
    rows = pq.read_table(rows_file).combine_chunks()
    # A small table first: what is imported, compiled or started at first use is paid then.
    TOOLS[tool](rows.slice(0, 5_000), kind)[0]()
    compute, as_arrow = TOOLS[tool](rows, kind)
    begun = time.process_time()
    answers = compute()
    seconds = time.process_time() - begun
    pq.write_table(pa.table({"answer": as_arrow(answers)}), Path(answers_file), compression="none")
    print(dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
