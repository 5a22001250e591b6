"""A table's policy, kept in the properties of its Iceberg table: what holds for every version of it."""

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from resources.object_store import GdprClass
from resources.warehouse import SUBJECT_NAMESPACE, TablePolicy, WarehouseError

if TYPE_CHECKING:
    import pyarrow as pa

LEGAL_HOLD = "platform.legal-hold"
# One old metadata file is kept for whoever is about to open it; the sweep removes the others.
NEW_TABLE = {"write.metadata.previous-versions-max": "1"}
_GDPR_CLASS = "platform.gdpr-class"
_RETENTION_DAYS = "platform.retention-days"
_OPTIONAL = {
    "platform.subject-column": "subject_column",
    "platform.subject-namespace": "subject_namespace",
    "platform.time-column": "time_column",
}


def checked(table: str, policy: TablePolicy, schema: "pa.Schema") -> TablePolicy:
    """The policy, if it is sound for rows of this schema.

    Raises:
        WarehouseError: Its class or its days are none, or it names a column that is not there or tells no time, or a
            namespace that is none.
    """
    from pyarrow import types

    if policy.gdpr_class not in get_args(GdprClass):
        known = ", ".join(get_args(GdprClass))
        raise WarehouseError(
            f"table {table}: GDPR class {policy.gdpr_class!r} is unknown; use one of {known}"
        )
    if policy.retention_days <= 0:
        raise WarehouseError(f"table {table}: retention_days is {policy.retention_days}; give at least 1")
    for role, column in (("subject", policy.subject_column), ("time", policy.time_column)):
        if column is not None and column not in schema.names:
            raise WarehouseError(
                f"table {table}: its {role} column {column!r} is not among its columns {', '.join(schema.names)}"
            )
    if policy.subject_namespace is not None:
        if policy.subject_column is None:
            raise WarehouseError(
                f"table {table}: subject namespace {policy.subject_namespace!r} comes without a subject column; "
                "give both or neither"
            )
        if not re.fullmatch(SUBJECT_NAMESPACE, policy.subject_namespace):
            raise WarehouseError(
                f"table {table}: {policy.subject_namespace!r} is no namespace of subjects, so nobody could erase a row; "
                "use lower-case letters, digits, _ and -, a letter first"
            )
    if policy.time_column is not None:
        kind = schema.field(policy.time_column).type
        if not (types.is_timestamp(kind) or types.is_date(kind)):
            raise WarehouseError(
                f"table {table}: its time column {policy.time_column!r} holds {kind}; give a date or a timestamp"
            )
    return policy


def properties_of(policy: TablePolicy) -> dict[str, str]:
    """What a table carries; the legal hold is set by itself."""
    optional = {name: getattr(policy, field) for name, field in _OPTIONAL.items()}
    return {
        _GDPR_CLASS: policy.gdpr_class,
        _RETENTION_DAYS: str(policy.retention_days),
        **{name: value for name, value in optional.items() if value is not None},
    }


def policy_of(target: Any) -> TablePolicy:
    """What an Iceberg table carries; defaults where it carries nothing."""
    properties, default = target.properties, TablePolicy()
    return TablePolicy(
        gdpr_class=properties.get(_GDPR_CLASS, default.gdpr_class),
        retention_days=int(properties.get(_RETENTION_DAYS, default.retention_days)),
        legal_hold=properties.get(LEGAL_HOLD) == "true",
        **{field: properties.get(name) for name, field in _OPTIONAL.items()},
    )


def set_policy(target: Any, policy: TablePolicy) -> None:
    """Let a table carry this policy, in one commit; its legal hold stays as it is."""
    held = policy_of(target).legal_hold
    if policy_of(target) == replace(policy, legal_hold=held):
        return
    wanted = properties_of(policy)
    with target.transaction() as change:
        if stale := _OPTIONAL.keys() & target.properties.keys() - wanted.keys():
            change.remove_properties(*stale)
        change.set_properties(NEW_TABLE | wanted)
