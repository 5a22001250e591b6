"""What people see of an asset in the UI: tables of figures, and a stored table with columns, lineage and address.

A leaf like `step`: asset modules import it, logic never does.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from platform_assets.references import TableSnapshot
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_ROWS = 300
"""Of a table in metadata: every page of the UI that shows the materialization loads it, and a person reads no more."""


def shown_table(name: str, records: Sequence[Mapping[str, Any]]) -> dict[str, dg.MetadataValue]:
    """Metadata that shows records as a table, up to some hundred of them, and how many are left out under `<name>_left_out`.

    Those that have the first field in common, such as the bins of a column, are shown all or not at all.
    """
    shown = list(records[:_MOST_ROWS])
    if len(records) > _MOST_ROWS:
        by = next(iter(records[0]))
        whole = [each for each in shown if each[by] != records[_MOST_ROWS][by]]
        shown = whole or shown
    left_out = len(records) - len(shown)
    return {
        name: dg.MetadataValue.table([dg.TableRecord(dict(each)) for each in shown]),
        **(
            {f"{name}_left_out": dg.MetadataValue.text(f"{left_out:,} of {len(records):,} rows")}
            if left_out
            else {}
        ),
    }


def stored_table(
    snapshot: TableSnapshot,
    schema: "pa.Schema",
    warehouse: Warehouse,
    *,
    constraints: Mapping[str, Sequence[str]] | None = None,
    made_from: Mapping[str, Sequence[tuple[str, str]]] | None = None,
) -> dict[str, Any]:
    """Metadata of a version of a table, under the names that Dagster has for them.

    Args:
        snapshot: The version.
        schema: Its columns.
        warehouse: Where it lies.
        constraints: What each column keeps, in words; `not null` and `unique` are those that Dagster knows.
        made_from: Asset and column that a column is made of, several for some.
    """
    kept = constraints or {}
    shown: dict[str, Any] = {
        "dagster/row_count": snapshot.rows,
        "dagster/table_name": snapshot.table,
        "dagster/storage_kind": "iceberg",
        "dagster/uri": warehouse.location(snapshot.table),
        "dagster/column_schema": dg.TableSchema(
            columns=[_column(field.name, str(field.type), kept.get(field.name, ())) for field in schema]
        ),
        "snapshot_id": snapshot.snapshot_id,
    }
    if made_from:
        shown["dagster/column_lineage"] = dg.TableColumnLineage(
            {
                column: [
                    dg.TableColumnDep(asset_key=dg.AssetKey(asset), column_name=name)
                    for asset, name in dict.fromkeys(of)
                ]
                for column, of in made_from.items()
            }
        )
    return shown


def _column(name: str, type_: str, kept: Sequence[str]) -> dg.TableColumn:
    return dg.TableColumn(
        name,
        type_,
        constraints=dg.TableColumnConstraints(
            nullable="not null" not in kept,
            unique="unique" in kept,
            other=[each for each in kept if each not in {"not null", "unique"}],
        ),
    )
