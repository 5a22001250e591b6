"""Hypothesis builders of Arrow tables: every type that tables keep, nested ones and nulls included."""

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=4)
_BYTES = st.binary(max_size=4)
_DAYS = st.dates(date(1, 1, 2), date(9999, 12, 30))
_INSTANTS = st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001 - the strategy adds zones
_SECONDS = st.builds(
    lambda second: time(second // 3600, second // 60 % 60, second % 60), st.integers(0, 86399)
)
_TIMES = st.builds(time.replace, _SECONDS, microsecond=st.integers(0, 999_999))


def _integers(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    low = -(2 ** (bits - 1)) if signed else 0
    return st.integers(low, low + 2**bits - 1)


def _floats(bits: int) -> st.SearchStrategy[float]:
    # Neither is equal to itself, or differs from what it is equal to, as tests of equality want.
    told_apart = st.floats(allow_nan=False, width=bits)
    return told_apart.filter(lambda value: value != 0 or math.copysign(1, value) > 0)


def _decimals(digits: int, scale: int) -> st.SearchStrategy[Decimal]:
    largest = 10**digits - 1
    return st.integers(-largest, largest).map(lambda unscaled: Decimal(unscaled).scaleb(-scale))


CELLS: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.string(): _TEXT,
    pa.large_string(): _TEXT,
    pa.binary(): _BYTES,
    pa.large_binary(): _BYTES,
    pa.binary(3): st.binary(min_size=3, max_size=3),
    **{pa.type_for_alias(f"int{bits}"): _integers(bits, signed=True) for bits in (8, 16, 32, 64)},
    **{pa.type_for_alias(f"uint{bits}"): _integers(bits, signed=False) for bits in (8, 16, 32, 64)},
    **{pa.type_for_alias(f"float{bits}"): _floats(bits) for bits in (16, 32, 64)},
    pa.bool_(): st.booleans(),
    pa.decimal32(5, 2): _decimals(5, 2),
    pa.decimal64(15, 3): _decimals(15, 3),
    pa.decimal128(38, 10): _decimals(28, 10),
    pa.decimal256(30, 0): _decimals(28, 0),
    pa.date32(): _DAYS,
    pa.date64(): _DAYS,
    pa.time32("s"): _SECONDS,
    pa.time32("ms"): _SECONDS,
    pa.time64("us"): _TIMES,
    pa.time64("ns"): _TIMES,
    pa.timestamp("s"): _INSTANTS.map(lambda instant: instant.replace(microsecond=0)),
    pa.timestamp("ms", "UTC"): _INSTANTS.map(lambda instant: instant.replace(microsecond=7000, tzinfo=UTC)),
    pa.timestamp("us", "Asia/Shanghai"): _INSTANTS.map(lambda instant: instant.replace(tzinfo=UTC)),
    pa.timestamp("ns", "+02:00"): _INSTANTS.map(lambda instant: instant.replace(tzinfo=UTC)),
}
"""Leaf types, and values of each."""


def kinds() -> st.SearchStrategy[pa.DataType]:
    """Leaf types, and lists and structs of them, at most some levels deep; fields below may be declared not null."""

    def fields(name: str, children: st.SearchStrategy[pa.DataType]) -> st.SearchStrategy[pa.Field]:
        return st.builds(
            lambda kind, nullable: pa.field(name, kind, nullable=nullable), children, st.booleans()
        )

    def nested(children: st.SearchStrategy[pa.DataType]) -> st.SearchStrategy[pa.DataType]:
        items = fields("item", children)
        return (
            st.builds(pa.list_, items)
            | st.builds(pa.large_list, items)
            | st.builds(pa.list_, items, st.just(2))
            | st.builds(
                pa.struct, st.lists(children, min_size=1, max_size=2).flatmap(
                    lambda parts: st.tuples(*(fields(f"part {at}", st.just(part)) for at, part in enumerate(parts)))
                ),
            )
        )  # fmt: skip

    return st.recursive(st.sampled_from(list(CELLS)), nested, max_leaves=3)


def cells(kind: pa.DataType) -> st.SearchStrategy[Any]:
    """Values of a type; no null at the top."""

    def of(field: pa.Field) -> st.SearchStrategy[Any]:
        return st.none() | cells(field.type) if field.nullable else cells(field.type)

    if pa.types.is_struct(kind):
        return st.fixed_dictionaries({field.name: of(field) for field in kind})
    if pa.types.is_fixed_size_list(kind):
        return st.lists(of(kind.value_field), min_size=2, max_size=2)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return st.lists(of(kind.value_field), max_size=3)
    return CELLS[kind]


@st.composite
def tables(
    draw: st.DrawFn,
    min_rows: int = 0,
    names: Sequence[str] = ("a", "b", "column c", "d.d"),
    max_rows: int = 6,
) -> pa.Table:
    """Tables of one to four columns, under some of these names in any order."""
    rows = draw(st.integers(min_rows, max_rows))
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, max_size=len(names), unique=True))
    fields = [pa.field(name, draw(kinds()), nullable=draw(st.booleans())) for name in chosen]
    columns = []
    for field in fields:
        values = st.none() | cells(field.type) if field.nullable else cells(field.type)
        columns.append(pa.array(draw(st.lists(values, min_size=rows, max_size=rows)), field.type))
    return pa.table(columns, schema=pa.schema(fields))
