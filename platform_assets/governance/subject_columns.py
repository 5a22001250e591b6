"""Columns whose values name subjects, and stored tables that say which of their columns does.

A table of the warehouse says it in its policy. A table that lies in the object store, as Parquet, says it
itself: key-value metadata of its schema, `platform.subject` = `applicant:applicant_id`.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from platform_assets.governance.errors import SubjectError
from platform_assets.governance.subjects import LARGEST_EXACT, checked_namespace

if TYPE_CHECKING:
    import pyarrow as pa

_SUBJECT = b"platform.subject"


@dataclass(frozen=True, slots=True)
class SubjectColumn:
    """Whose rows a table holds, and in which column it says so; `str` gives `namespace:column`."""

    namespace: str
    column: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """What such a text says.

        Raises:
            SubjectError: It says nothing of the kind.
        """
        namespace, _, column = text.partition(":")
        if not column:
            raise SubjectError(
                f"{text!r} does not say whose rows a table holds; write namespace:column, "
                "as in applicant:applicant_id"
            )
        return cls(checked_namespace(namespace), column)

    def __str__(self) -> str:
        return f"{self.namespace}:{self.column}"


def as_object(table: "pa.Table", *, namespace: str, column: str) -> bytes:
    """The Parquet file of a table, which says whose rows it holds.

    Args:
        table: Any table with this column.
        namespace: Of the subjects.
        column: Its values are their ids.

    Raises:
        SubjectError: There is no such column, it cannot hold ids, or the namespace is none.
    """
    subject = SubjectColumn(checked_namespace(namespace), column)
    if column not in table.column_names:
        raise SubjectError(
            f"the table has no column {column!r} that could name its {namespace} subjects; "
            f"it has {', '.join(table.column_names)}"
        )
    ids_of(table[column])
    metadata = (table.schema.metadata or {}) | {_SUBJECT: str(subject).encode()}
    return parquet_of(table.replace_schema_metadata(metadata))


def subject_of(table: "bytes | pa.Schema") -> SubjectColumn | None:
    """Whose rows a Parquet file, or a table of this schema, holds; None where it does not say.

    Raises:
        SubjectError: It says something that cannot be understood.
    """
    import pyarrow.parquet as pq

    schema = pq.read_schema(io.BytesIO(table)) if isinstance(table, bytes) else table
    told = (schema.metadata or {}).get(_SUBJECT)
    return None if told is None else SubjectColumn.parse(told.decode(errors="replace"))


def parquet_of(table: "pa.Table") -> bytes:
    """The Parquet file of a table, with what its schema says besides the columns."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def about_others(column: "pa.ChunkedArray", written: Sequence[str]) -> "pa.ChunkedArray":
    """Which rows are about somebody else, or about nobody: a mask without nulls.

    Args:
        column: Names subjects.
        written: How it may write the one, as `Subject.written` has it.

    Raises:
        SubjectError: The column can hold no ids.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.invert(pc.is_in(ids_of(column), pa.array(written, pa.string())))


def ids_of(column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """The ids of a column as the texts by which they are compared; null in a row about nobody.

    As `id_text` of each value.

    Raises:
        SubjectError: The column can hold no ids.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    kind = column.type
    if types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if types.is_floating(kind):
        column = column.cast(pa.float64())
        column = pc.if_else(pc.is_nan(column), None, column)
        if pc.any(pc.greater(pc.abs(column), LARGEST_EXACT)).as_py():
            raise SubjectError("ids as floats beyond 2^53 are not exact; use texts or whole numbers")
    if types.is_floating(kind) or types.is_decimal(kind):
        try:
            column = column.cast(pa.int64())
        except pa.ArrowInvalid:
            raise SubjectError("numbers with a fraction cannot be ids; use texts or whole numbers") from None
    elif not (
        types.is_integer(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_null(kind)
    ):
        raise SubjectError(f"a column of {kind} can hold no ids; use texts or whole numbers")
    return column.cast(pa.string())
