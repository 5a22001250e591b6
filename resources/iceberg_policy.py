"""A table's policy, kept in the properties of its Iceberg table: what holds for every published version of it.

A version carries the policy that it was staged with, which becomes the table's when it is published, and of whom
it holds rows. Versions of earlier releases carry neither: they are about whom the table says.
"""

import json
import re
from collections.abc import Mapping
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
_TIME_COLUMN = "platform.time-column"
_SUBJECT = "platform.subject"
_TABLES_SUBJECT = ("platform.subject-column", "platform.subject-namespace")
"""Written by earlier releases, and true of their versions; nobody changes it any more."""

Subject = tuple[str | None, str | None]
"""Column and namespace."""


def checked(table: str, policy: TablePolicy, subject: Subject, schema: "pa.Schema") -> TablePolicy:
    """The policy, if it is sound for rows of this schema that are about this subject.

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
    subject_column, namespace = subject
    for role, column in (("subject", subject_column), ("time", policy.time_column)):
        if column is not None and column not in schema.names:
            raise WarehouseError(
                f"table {table}: its {role} column {column!r} is not among its columns {', '.join(schema.names)}"
            )
    if namespace is not None:
        if subject_column is None:
            raise WarehouseError(
                f"table {table}: subject namespace {namespace!r} comes without a subject column; "
                "give both or neither"
            )
        if not re.fullmatch(SUBJECT_NAMESPACE, namespace):
            raise WarehouseError(
                f"table {table}: {namespace!r} is no namespace of subjects, so nobody could erase a row; "
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
    return {
        _GDPR_CLASS: policy.gdpr_class,
        _RETENTION_DAYS: str(policy.retention_days),
        **({} if policy.time_column is None else {_TIME_COLUMN: policy.time_column}),
    }


def version_properties(policy: TablePolicy, subject: Subject) -> dict[str, str]:
    """What a version carries of how it was staged."""
    return properties_of(policy) | {_SUBJECT: json.dumps(subject)}


def policy_of(target: Any) -> TablePolicy:
    """What an Iceberg table carries; defaults where it carries nothing."""
    return replace(_policy_in(target.properties), legal_hold=target.properties.get(LEGAL_HOLD) == "true")


def staged_policy_of(target: Any, carried: Mapping[str, str]) -> TablePolicy:
    """What a version was staged with; the table's where it does not say."""
    return _policy_in(carried) if _GDPR_CLASS in carried else policy_of(target)


def subject_of(target: Any, carried: Mapping[str, str]) -> Subject:
    """Of whom a version holds rows: as it says, or in versions of earlier releases, as the table does."""
    if _SUBJECT in carried:
        column, namespace = json.loads(carried[_SUBJECT])
        return column, namespace
    column, namespace = map(target.properties.get, _TABLES_SUBJECT)
    return column, namespace


def set_policy(change: Any, target: Any, policy: TablePolicy) -> None:
    """Let a table carry this policy, with the transaction's commit; its legal hold stays as it is."""
    held = policy_of(target).legal_hold
    if policy_of(target) == replace(policy, legal_hold=held):
        return
    if policy.time_column is None and _TIME_COLUMN in target.properties:
        change.remove_properties(_TIME_COLUMN)
    change.set_properties(NEW_TABLE | properties_of(policy))


def _policy_in(properties: Mapping[str, str]) -> TablePolicy:
    default = TablePolicy()
    gdpr_class: Any = properties.get(_GDPR_CLASS, default.gdpr_class)
    return TablePolicy(
        gdpr_class=gdpr_class,
        retention_days=int(properties.get(_RETENTION_DAYS, default.retention_days)),
        time_column=properties.get(_TIME_COLUMN),
    )
