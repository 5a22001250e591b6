"""The raw schema: what a source file looks like before anything touches it, and how that differs.

A contract's section `raw` states columns, their order, types and keys. Columns, order and keys are
asserted by GE (its column set ignores the order, so the ordered list stands beside it), types here: a
format that has no such type writes it as text, and then the text tells.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from platform_assets.datasets.batch_judge import evaluate_batches
from platform_assets.datasets.batches import BatchedTable, Family, family_of
from platform_assets.datasets.contract import SCHEMA_DOMAIN, Contract, Expectation, RawSchema, RawType
from platform_assets.datasets.contract_run import (
    DomainResult,
    Engine,
    ExpectationResult,
    Outcome,
    domain_result,
    evaluate,
)
from platform_assets.datasets.row_hash import MOST_ROW_HASHES, row_hashes
from platform_assets.datasets.sources import RDATASET
from platform_assets.reading.frames import series_of
from platform_assets.reading.values import UnfitValueError, arrow_array, exact_number, exact_numbers

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

TYPE_EXPECTATION: Final = "expect_column_values_to_be_of_type"
_EMPTY: Final = "empty"
"""The observed type of a column without any value."""
_LONGEST_NAME: Final = 64
"""In a file without a header the first row is taken for one; whatever is longer is shown by its position."""

_WRITTEN_AS_TEXT: Final[Mapping[str, tuple[RawType, ...]]] = {
    ".csv": ("integer", "number", "boolean", "timestamp"),
    ".jsonl": ("timestamp",),
    ".parquet": (),
    RDATASET: (),
}
"""Types that a format has no values of, by the file's ending; the narrowest first."""

# What pandas calls the values of a column that has one type; any other column is `other`.
_KINDS: Final[Mapping[str, RawType]] = {
    "string": "string",
    "integer": "integer",
    "floating": "number",
    "decimal": "number",
    "mixed-integer-float": "number",
    "boolean": "boolean",
    "datetime64": "timestamp",
    "datetime": "timestamp",
    "date": "timestamp",
}

_FAMILIES: Final[Mapping[Family, RawType]] = {
    "text": "string",
    "whole": "integer",
    "float": "number",
    "narrow": "number",
    "boolean": "boolean",
    "time": "timestamp",
}
"""Of a column of Parquet, by how its cells are compared."""

# As many digits as the widest decimal has: an identifier of any length in use is one.
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,76}")
_SHORT: Final = 70
"""Characters that the widest decimal holds, whatever digits they are."""
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_BOOLEAN: Final = re.compile(r"true|false", re.IGNORECASE)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].+)?")
_FRACTION: Final = re.compile(r"[.,][0-9]{6}([0-9]+)")
"""What is finer than a microsecond, which Python leaves away."""
_NANOSECOND_DIGITS: Final = 3
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Column(NamedTuple):
    """A column as a contract states it or as a file has it."""

    name: str
    type: str


class Retyped(NamedTuple):
    """A column whose type is another one than before."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """How one schema differs from another; true where it does at all.

    A renamed column is a dropped and an added one: which became which is not guessed.
    """

    added: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    retyped: tuple[Retyped, ...] = ()
    reordered: bool = False
    """Whether the columns that both have stand in another order."""
    nullability: tuple[tuple[str, int], ...] = ()
    """(key, nulls) of every key that holds nulls now."""

    def __bool__(self) -> bool:
        return bool(self.added or self.dropped or self.retyped or self.reordered or self.nullability)

    def __str__(self) -> str:
        parts = [f"column `{name}` was added" for name in self.added]
        parts += [f"column `{name}` was dropped" for name in self.dropped]
        parts += [f"column `{name}` was {before} and is {after}" for name, before, after in self.retyped]
        parts += ["the columns stand in another order"] if self.reordered else []
        parts += [f"key `{name}` holds nulls: {nulls:,}" for name, nulls in self.nullability]
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class RawReport:
    """What became of the schema assertion on one raw frame. Holds no cell value."""

    result: DomainResult
    """The domain `schema`: GE's double assertion, its keys, and the type of every stated column."""
    ge_run_id: str
    rows: int
    observed: tuple[Column, ...]
    """The frame's columns. A type is the stated one where all values read as that, else the narrowest
    that they do; `empty` where there is no value, `other` where there is no such type."""
    change: SchemaChange
    """What is different from the contract."""
    reason: str

    @property
    def outcome(self) -> Outcome:
        """pass, fail, or error where something could not be evaluated."""
        return self.result.outcome

    @property
    def rule_set_hash(self) -> str:
        """Of the section `raw` that was asserted."""
        return self.result.rule_set_hash


def check_raw(
    contract: Contract, frame: "pd.DataFrame", *, suffix: str, run_name: str, salt: bytes | None = None
) -> RawReport:
    """The report on a raw frame, as `read_frame` gives it.

    Args:
        contract: One with a section `raw`.
        frame: The source before anything touched it.
        suffix: The format of its file, as `Source.suffix` tells it.
        run_name: What GE's run id begins with.
        salt: Of the row hashes; without one the report has none.

    Raises:
        ContractError: The contract has no section `raw`.
    """
    import pandas as pd

    raw = contract.require_raw()
    names = [str(name) for name in frame.columns]
    named = frame.copy(deep=False)
    named.columns, named.index = pd.Index(names), pd.RangeIndex(len(frame))
    types = _types(raw, named, suffix)
    # GE raises about a column that is not there: a key that was dropped is a plain violation.
    present = [key for key in raw.keys if key in types]
    assertions = _assertions(contract, raw, present)
    ge_run_id, asserted = evaluate(contract, assertions, named, run_name=run_name, salt=salt)
    held = [
        _type_result(len(asserted) + at, column, named, types, suffix, salt)
        for at, column in enumerate(column for column in _stated(raw) if column.name in types)
    ]
    nulls = {key: int(named[key].isna().sum()) for key in present}
    return _report(raw, types, asserted, held, nulls=nulls, ge_run_id=ge_run_id, rows=len(frame))


def check_raw_batches(
    contract: Contract, table: BatchedTable, *, run_name: str, salt: bytes | None = None
) -> RawReport:
    """The report on a Parquet file that comes in batches, as `check_raw` gives it of one that is read whole.

    Args:
        contract: One with a section `raw`.
        table: The rows of the file.
        run_name: What the run's id begins with.
        salt: Of the row hashes; without one the report has none.

    Raises:
        ContractError: The contract has no section `raw`.
        DatasetError: The rows cannot be read to their end, or hold what no table has.
    """
    raw, names = contract.require_raw(), table.schema.names
    present = [key for key in raw.keys if key in names]
    assertions = _assertions(contract, raw, present)
    judged = evaluate_batches(contract, assertions, table, run_name=run_name, salt=salt, also=names)
    types = {name: _arrow_type(table.schema.field(name).type) for name in names}
    types = {
        name: raw.columns.get(name, _EMPTY)
        if not judged.filled.get(name)
        else "number"
        if (kind, raw.columns.get(name)) == ("integer", "number")
        else kind
        for name, kind in types.items()
    }
    held = [
        _held(
            len(judged.results) + at,
            column,
            types[column.name],
            rows=judged.rows,
            filled=judged.filled.get(column.name, 0),
            engine="batches",
        )
        for at, column in enumerate(column for column in _stated(raw) if column.name in types)
    ]
    nulls = {key: judged.rows - judged.filled.get(key, 0) for key in present}
    return _report(
        raw, types, judged.results, held, nulls=nulls, ge_run_id=judged.ge_run_id, rows=judged.rows
    )


def _stated(raw: RawSchema) -> list[Column]:
    return [Column(name, kind) for name, kind in raw.columns.items()]


def _report(
    raw: RawSchema,
    types: Mapping[str, str],
    asserted: Sequence[ExpectationResult],
    held: Sequence[ExpectationResult],
    *,
    nulls: Mapping[str, int],
    ge_run_id: str,
    rows: int,
) -> RawReport:
    """What the assertions and the types of the columns come to."""
    names = [*types]
    respelt = _respelt(names, raw.columns)
    headed = bool(respelt) or any(name in raw.columns for name in names)
    observed = tuple(
        Column(name if name in raw.columns else _shown(name, at, headed=headed), kind)
        for at, (name, kind) in enumerate(zip(names, types.values(), strict=True), start=1)
    )
    stated = _stated(raw)
    results = (*(_explained(result, observed, stated) for result in asserted), *held)
    result = domain_result(SCHEMA_DOMAIN, results, rule_set_hash=raw.rule_set_hash, rows=rows)
    change = difference(stated, observed, nulls=nulls)
    return RawReport(
        result=result,
        ge_run_id=ge_run_id,
        rows=rows,
        observed=observed,
        change=change,
        reason=_reason(result, change, respelt),
    )


def difference(
    expected: Sequence[tuple[str, str]],
    observed: Sequence[tuple[str, str]],
    *,
    nulls: Mapping[str, int] | None = None,
) -> SchemaChange:
    """How the observed (name, type) columns differ from the expected ones.

    Args:
        expected: In order; names may repeat.
        observed: Likewise.
        nulls: Null count by key, where keys were looked at.
    """
    before, after = ([name for name, _ in columns] for columns in (expected, observed))
    # Of columns of one name the first counts.
    types_before, types_after = (dict(reversed(columns)) for columns in (expected, observed))
    return SchemaChange(
        added=tuple((Counter(after) - Counter(before)).elements()),
        dropped=tuple((Counter(before) - Counter(after)).elements()),
        retyped=tuple(
            Retyped(name, types_before[name], types_after[name])
            for name in _common(before, types_after)
            if types_before[name] != types_after[name]
        ),
        reordered=_common(before, types_after) != _common(after, types_before),
        nullability=tuple((key, number) for key, number in (nulls or {}).items() if number),
    )


def typed_frame(raw: RawSchema, frame: "pd.DataFrame", *, suffix: str) -> "pd.DataFrame":
    """The frame with its text read as the stated types, wherever all values of a column can be; no digit is lost."""
    types = _types(raw, frame, suffix)
    return frame.assign(
        **{
            name: _typed(kind, frame[name])
            for name, kind in raw.columns.items()
            if kind != "string" and types.get(name) == kind and _kind(frame[name]) == "string"
        }
    )


def _typed(kind: RawType, texts: "pd.Series[Any]") -> "pd.Series[Any]":
    """The values that texts state, all of which read as this type; the texts where no column holds all of them."""
    import pyarrow as pa

    given = [None if absent else text for text, absent in zip(texts, texts.isna(), strict=True)]
    try:
        match kind:
            case "integer":
                array = arrow_array([None if text is None else int(text) for text in given])
            case "number":
                array = arrow_array(exact_numbers(given))
            case "boolean":
                array = pa.array([None if text is None else text.lower() == "true" for text in given])
            case _:
                array = _instants(given)
    except (UnfitValueError, OverflowError):
        return texts
    return series_of(pa.chunked_array([array])).set_axis(texts.index)


def _assertions(contract: Contract, raw: RawSchema, keys: Sequence[str]) -> list[Expectation]:
    rules: list[tuple[str, dict[str, Any]]] = [
        ("expect_table_columns_to_match_set", {"column_set": list(raw.columns), "exact_match": True}),
        ("expect_table_columns_to_match_ordered_list", {"column_list": list(raw.columns)}),
        *(("expect_column_values_to_not_be_null", {"column": key}) for key in keys),
    ]
    return [
        Expectation(
            index=index,
            type=kind,
            kwargs=kwargs,
            domain=SCHEMA_DOMAIN,
            severity="critical",
            meta={"domain": SCHEMA_DOMAIN},
            line=contract.manifest.lines[("raw",)],
        )
        for index, (kind, kwargs) in enumerate(rules)
    ]


def _explained(
    result: ExpectationResult, observed: Sequence[Column], stated: Sequence[Column]
) -> ExpectationResult:
    """A failed assertion on the columns as a whole says what they are: GE gives no figure for those."""
    if result.outcome != "fail" or result.column:
        return result
    found, wanted = (", ".join(name for name, _ in columns) for columns in (observed, stated))
    reason = f"The columns are {found}; the contract states exactly {wanted}, in this order."
    return result.model_copy(update={"reason": reason})


def _type_result(
    index: int,
    column: Column,
    frame: "pd.DataFrame",
    types: Mapping[str, str],
    suffix: str,
    salt: bytes | None,
) -> ExpectationResult:
    """Whether a column has its stated type; where text tells, how many values do not read as that, and where."""
    values = frame[column.name]
    filled = int(values.notna().sum())
    result = _held(index, column, types[column.name], rows=len(values), filled=filled)
    if result.outcome == "pass" or column.type not in _WRITTEN_AS_TEXT[suffix] or _kind(values) != "string":
        return result
    given = values.dropna()
    wrong = given[~_reads_as(column.type, given)]
    told: dict[str, Any] = {
        "unexpected_count": len(wrong),
        "unexpected_percent": 100 * len(wrong) / filled if filled else None,
        "row_hashes": () if salt is None else row_hashes(frame.loc[wrong.index[:MOST_ROW_HASHES]], salt),
    }
    if len(wrong):
        first = int(wrong.index[0]) + 1
        told["reason"] = (
            f"{result.reason} {len(wrong):,} of {len(values):,} values are no {column.type}, first in row {first:,}."
        )
    return result.model_copy(update=told)


def _held(
    index: int, column: Column, found: str, *, rows: int, filled: int, engine: Engine = "great_expectations"
) -> ExpectationResult:
    """Whether a column has its stated type, by the type that was found."""
    held = found == column.type
    reason = f"Column `{column.name}` is {found}, as stated."
    if not held:
        reason = f"Column `{column.name}` is {found}; the contract states {column.type}."
    return ExpectationResult(
        index=index,
        type=TYPE_EXPECTATION,
        column=column.name,
        domain=SCHEMA_DOMAIN,
        severity="critical",
        outcome="pass" if held else "fail",
        unexpected_count=0 if held else None,
        element_count=rows,
        unexpected_percent=0.0 if held and filled else None,
        observed=None,
        reason=reason,
        engine=engine,
    )


def _arrow_type(kind: "pa.DataType") -> str:
    """What a contract calls the values of a column of this type."""
    import pyarrow as pa

    if pa.types.is_decimal(kind):
        return "number" if kind.scale else "integer"
    return _FAMILIES.get(family_of(kind), "other")


def _reason(schema: DomainResult, change: SchemaChange, respelt: Mapping[str, str]) -> str:
    if schema.outcome == "pass":
        return "Every column is as the contract states."
    stated = str(change)
    sentences = [f"{stated[:1].upper()}{stated[1:]}."] if change else []
    if respelt:
        pairs = ", ".join(f"`{found}` is stated as `{name}`" for found, name in respelt.items())
        sentences.append(f"Names differ in case only: {pairs}.")
    sentences += [
        result.reason
        for result in schema.results
        if result.outcome == "error"
        # A change that is told needs no second telling, but where it begins.
        or (
            result.outcome == "fail"
            and (not change or (result.type == TYPE_EXPECTATION and result.unexpected_count))
        )
    ]
    return " ".join(dict.fromkeys(sentences))


def _types(raw: RawSchema, frame: "pd.DataFrame", suffix: str) -> dict[str, str]:
    """Observed type by column name, in the order of the frame."""
    return {name: observed_type(frame[name], raw.columns.get(name), suffix=suffix) for name in frame.columns}


def observed_type(values: "pd.Series[Any]", stated: RawType | None = None, *, suffix: str) -> str:
    """The stated type where all values read as that, else the narrowest that they do.

    `empty` (or the stated one) where there is no value, `other` where there is no such type.
    """
    kind = _kind(values)
    if suffix == RDATASET and kind == "number" and _are_integers_with_nulls(values):
        kind = "integer"
    if kind == _EMPTY or (kind, stated) == ("integer", "number"):
        return stated or kind
    readable = _WRITTEN_AS_TEXT[suffix]
    if kind != "string" or stated == "string" or not readable:
        return kind
    given = values.dropna()
    candidates = ([stated] if stated in readable else []) + list(readable)
    return next((each for each in candidates if _reads_as(each, given).all()), "string")


def _kind(values: "pd.Series[Any]") -> str:
    """The type of the values, whatever they say as text."""
    from pandas.api.types import infer_dtype

    given = values.dropna()
    if given.empty:
        return _EMPTY
    inferred = infer_dtype(given.astype(object) if given.dtype == "category" else given)
    # Integers beyond 64 bits, and those of databases, are decimals without a fraction.
    if inferred == "decimal" and all(value.as_tuple().exponent == 0 for value in given):
        return "integer"
    return _KINDS.get(inferred, "other")


def _are_integers_with_nulls(values: "pd.Series[Any]") -> bool:
    """Whether these are what pandas makes of integers with nulls among them where no file says what they are."""
    from pandas.api.types import is_float_dtype

    given = values.dropna()
    return is_float_dtype(values) and len(given) < len(values) and bool((given % 1 == 0).all())


def _reads_as(kind: RawType, values: "pd.Series[Any]") -> "pd.Series[bool]":
    """For each text whether it is a literal of this type."""
    match kind:
        case "integer":
            return values.str.fullmatch(_INTEGER)
        case "number":
            return values.str.fullmatch(_NUMBER) & values.map(_has_number)
        case "boolean":
            return values.str.fullmatch(_BOOLEAN)
        case "timestamp":
            return values.str.fullmatch(_DATE) & values.map(lambda text: _instant(text) is not None)
        case "string":
            return values.notna()


def _has_number(text: str) -> bool:
    """Whether some number is what this literal, of the form of one, says to the last digit."""
    if len(text) <= _SHORT and "e" not in text and "E" not in text:
        return True
    try:
        arrow_array([exact_number(text)])
    except (ValueError, ArithmeticError):
        return False
    return True


def _instant(text: str) -> int | None:
    """The time that an ISO 8601 text states, in UTC where it states no offset: nanoseconds since 1970."""
    fraction = _FRACTION.search(text)
    finer = fraction[1].rstrip("0") if fraction else ""
    try:
        stated = datetime.fromisoformat(text)
        instant = stated.astimezone(UTC) if stated.tzinfo else stated.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    if len(finer) > _NANOSECOND_DIGITS:
        return None
    return (instant - _EPOCH) // _MICROSECOND * 1000 + int(finer.ljust(_NANOSECOND_DIGITS, "0"))


def _instants(given: Sequence[str | None]) -> "pa.Array":
    """The times as Arrow has them: microseconds, or nanoseconds where one is stated so finely."""
    import pyarrow as pa

    instants = [None if text is None else _instant(text) for text in given]
    if all(instant is None or instant % 1000 == 0 for instant in instants):
        instants = [None if instant is None else instant // 1000 for instant in instants]
        return pa.array(instants, pa.int64()).cast(pa.timestamp("us", "UTC"))
    return pa.array(instants, pa.int64()).cast(pa.timestamp("ns", "UTC"))


def _common(names: Sequence[str], others: Mapping[str, str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name in others]


def _respelt(names: Sequence[str], stated: Collection[str]) -> dict[str, str]:
    """The stated name by each name that is not stated and differs from one in case only."""
    folded = {name.casefold(): name for name in stated if name not in names}
    return {
        name: folded[name.casefold()] for name in names if name not in stated and name.casefold() in folded
    }


def _shown(name: str, position: int, *, headed: bool) -> str:
    """The name of a column that nobody has announced; its position where it looks like a cell."""
    looks_like_a_name = headed and len(name) <= _LONGEST_NAME and name.isprintable()
    return name if looks_like_a_name else f"#{position} ({len(name):,} characters)"
