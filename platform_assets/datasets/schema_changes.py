"""The audit table of schema changes: one row a change, a projection of the ledger.

| column | meaning |
|---|---|
| time | when it was seen (ISO 8601, UTC) |
| dataset, source | whose shape, and the URI that had it |
| added, dropped, retyped, reordered, nullability | what is different; empty where nothing is |
| accepted | whether the contract allows it |
| ge_run_id, git_commit, dagster_run_id | the GE run that saw it, the contract's commit, the run |
| principal | in whose name that run acted |
| breaker_state | of the dataset, as far as this change is concerned: closed again, half-open or open |
| closed_by, closed_at, close_reason | who let it be tried again, when and why |
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from platform_assets.datasets.schema_breaker import BREAKER, SCHEMA_CHANGE
from platform_assets.ledger.ledger import Ledger

if TYPE_CHECKING:
    import pyarrow as pa

TABLE = "governance.schema_changes"
COLUMNS = (
    "time",
    "dataset",
    "source",
    "added",
    "dropped",
    "retyped",
    "reordered",
    "nullability",
    "accepted",
    "ge_run_id",
    "git_commit",
    "dagster_run_id",
    "principal",
    "breaker_state",
    "closed_by",
    "closed_at",
    "close_reason",
)


def schema_changes(ledger: Ledger) -> list[dict[str, Any]]:
    """Every schema change of every dataset, oldest first, with what became of it."""
    entries = [*ledger.entries(kind=SCHEMA_CHANGE), *ledger.entries(kind=BREAKER)]
    changes: list[dict[str, Any]] = []
    unsettled: dict[str, list[dict[str, Any]]] = {}
    for entry in sorted(entries, key=lambda each: each.seq):
        body, pending = entry.body, unsettled.setdefault(entry.subject, [])
        if entry.kind == SCHEMA_CHANGE:
            change = {
                "time": entry.time.isoformat(),
                "dataset": entry.subject,
                "source": body["source"],
                **{name: ", ".join(body[name]) for name in ("added", "dropped", "retyped", "nullability")},
                "reordered": body["reordered"],
                "accepted": body["accepted"],
                "ge_run_id": body["ge_run_id"],
                "git_commit": body["contract_commit"],
                "dagster_run_id": body["dagster_run_id"],
                "principal": entry.principal,
                "breaker_state": "closed" if body["accepted"] else "open",
                "closed_by": "",
                "closed_at": "",
                "close_reason": "",
            }
            changes.append(change)
            if not body["accepted"]:
                pending.append(change)
            continue
        for change in pending:
            change["breaker_state"] = body["state"]
            if body["state"] == "half-open":
                change |= {"closed_by": body["by"], "close_reason": body["reason"]}
                change["closed_at"] = entry.time.isoformat()
        if body["state"] == "closed":
            pending.clear()
    return changes


def summary_of(change: Mapping[str, Any]) -> str:
    """The change, told to people: `added stars; label: integer → string`."""
    parts = [f"{name} {change[name]}" for name in ("added", "dropped") if change[name]]
    parts += [change[name] for name in ("retyped", "nullability") if change[name]]
    return "; ".join(parts + (["reordered"] if change["reordered"] else []))


def schema_changes_table(ledger: Ledger) -> "pa.Table":
    """The same as an Arrow table: strings and two booleans, columns as above."""
    import pyarrow as pa

    kinds = {"reordered": pa.bool_(), "accepted": pa.bool_()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
    return pa.Table.from_pylist(schema_changes(ledger), schema=schema)
