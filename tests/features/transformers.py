"""Builders of transformers, their files, and rows for them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from platform_assets.features.external_sort import SortBudget
from platform_assets.features.memory_budget import Budget
from platform_assets.features.transformer_spec import FeatureTransformer

DAY_US = 86_400_000_000
BEGIN = datetime(2024, 3, 1, tzinfo=UTC)
TINY = Budget(batch_rows=16, sort=SortBudget(run_bytes=1_000, fan_in=3, fewest_block_rows=4))
"""So small that some hundred rows are sorted on disk, in several passes."""


def content_of(kind: str, **spec: Any) -> dict[str, Any]:
    """A FeatureTransformer as its file has it; fields of the spec by their names in YAML."""
    of_type: dict[str, Any] = {"columns": ["amount"], "inputSource": "rows.parquet", "transformerType": kind}
    if kind == "woe":
        of_type |= {"columns": ["amount", "home"], "target": "bad"}
    else:
        of_type |= {"entityKey": "entity", "timestampColumn": "time"}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "FeatureTransformer",
        "metadata": {"name": f"some-{kind}"},
        "spec": of_type | spec,
    }


def transformer(kind: str, **spec: Any) -> FeatureTransformer:
    """A FeatureTransformer; fields of the spec by their names in YAML."""
    return FeatureTransformer.model_validate(content_of(kind, **spec))


def write_transformer(file: Path, kind: str, **spec: Any) -> Path:
    """The file of one."""
    file.write_text(yaml.safe_dump(content_of(kind, **spec), sort_keys=False), encoding="utf-8")
    return file


def credit_rows(rows: int = 1_000, seed: int = 0) -> pa.Table:
    """Rows for woe: a number with gaps and a code, a category with rare ones, and a target that depends on both."""
    rng = np.random.default_rng(seed)
    amount = rng.lognormal(8, 1, rows).round(2)
    home = rng.choice(["rent", "owner", "parents", "priv", "other"], rows, p=[0.4, 0.4, 0.15, 0.04, 0.01])
    bad = rng.random(rows) < 0.1 + 0.3 * (amount < 2500) + 0.2 * (home == "rent")
    missing = rng.random(rows) < 0.05
    return pa.table(
        {
            "amount": pa.array(np.where(rng.random(rows) < 0.03, -999.0, amount), mask=missing),
            "home": pa.array(home, mask=rng.random(rows) < 0.02),
            "bad": pa.array(bad.astype(np.int8)),
        }
    )


def event_rows(
    rows: int = 1_000, *, entities: int = 12, days: float = 90, seed: int = 0, ordered: bool = False
) -> pa.Table:
    """Rows for zscore and lag: entities of very different sizes, ties, gaps, and columns that only pass through."""
    rng = np.random.default_rng(seed)
    entity = np.minimum(rng.geometric(0.2, rows), entities) - 1
    # Minutes, so that some rows of an entity are of one instant.
    time = BEGIN.timestamp() * 1e6 + rng.integers(0, int(days * 1440), rows) * 60_000_000
    table = pa.table(
        {
            "entity": pa.array(entity.astype(np.int32)),
            "time": pa.array(time.astype(np.int64), pa.timestamp("us", "UTC")),
            "amount": pa.array(rng.normal(100, 20, rows), mask=rng.random(rows) < 0.05),
            "note": pa.array([f"note {number % 7}" for number in range(rows)]).dictionary_encode(),
            "number": pa.array(range(rows), pa.int64()),
        }
    )
    return in_order(table) if ordered else table


def in_order(table: pa.Table) -> pa.Table:
    """The rows by entity and time, those of one instant as they stand."""
    return table.take(np.lexsort((np.asarray(table["time"].cast(pa.int64())), np.asarray(table["entity"]))))


def write_rows(file: Path, table: pa.Table, *, row_group_rows: int = 300) -> Path:
    """A Parquet file of these rows."""
    pq.write_table(table, file, row_group_size=row_group_rows)
    return file


def left_beside(target: Path) -> list[str]:
    """What lies in the target's folder that nobody asked for: hidden files and folders."""
    return sorted(each.name for each in target.parent.iterdir() if each.name.startswith("."))
