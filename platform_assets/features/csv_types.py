"""What the texts of a csv file are to a transformer: numbers, times, booleans or categories.

csv has no types, so a column has one by its values, and only where nothing is lost or guessed:

- Only an empty field is missing. `NA`, `null` and the like are texts.
- Numbers are written as `12`, `-0.5` or `1e-3`. With a zero in front, as `007`, or of other signs, they are codes: texts.
- `true` and `false`, in any case, are booleans where a column holds nothing else.
- What names an entity stays text, whatever it looks like; so does what the transformer does not read.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from platform_assets.features.errors import FeatureError
from platform_assets.reading.errors import shown_name

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.features.transformer import FittedTransformer

_NUMBER: Final = r"^-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_FRACTION: Final = "[.eE]"
_CODE: Final = r"^[+-]?0[0-9]+$"
_BLEMISH: Final = r"^[ \t]*([+-]?[0-9.]+([eE][+-]?[0-9]+)?|(?i:n/?a|n\.a\.|#n/a|nan|null|none|nil|[+-]?inf|missing|-+|\?|\.))[ \t]*$"
"""Of texts among numbers: a number written otherwise, or a word for none."""
_MOST_CODES: Final = 64
"""Different numbers that may be codes beside others, as `1`, `2`, `A`; more of them are measurements."""
_SPELT: Final = ("false", "true")
_CsvKind = Literal["numbers", "booleans", "texts"]


class ReadColumns(Protocol):
    """Which columns are read, and as what; e.g. a `TransformerSpec`."""

    @property
    def transformer_type(self) -> str:
        """Of all but woe, columns are numbers; of woe, they are what their values are."""
        ...

    @property
    def columns(self) -> Sequence[str]:
        """What values are read of."""
        ...

    @property
    def timestamp_column(self) -> str | None:
        """What times are read of."""
        ...

    @property
    def available_column(self) -> str | None:
        """Likewise."""
        ...

    @property
    def target(self) -> str | None:
        """What labels are read of."""
        ...


def typed(
    table: "pa.Table", spec: ReadColumns, *, name: str, fitted: "FittedTransformer | None" = None
) -> "pa.Table":
    """The same rows, with types where the transformer needs them.

    Args:
        table: Columns of texts; one that is of another type stays as it is.
        spec: Which columns are read, and as what.
        name: What the rows are called in messages.
        fitted: Of woe: what says which columns are numbers, whatever the values of these rows look like.

    Raises:
        FeatureError: a column that is to be numbers has something else, or one has numbers and a few texts that are
            none; the message names the column and the first row.
    """
    import pyarrow as pa

    known = _fitted_kinds(fitted)
    for at, column in enumerate(table.column_names):
        texts = table.column(at)
        if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
            continue
        if column in (spec.timestamp_column, spec.available_column):
            made = _times(texts)
        elif column in spec.columns:
            kind = "numbers" if spec.transformer_type != "woe" else known.get(column)
            try:
                made = _values(texts, kind or _kind_of(texts))
            except _NotTypedError as problem:
                raise FeatureError(f"{name}: column {shown_name(column)} {problem}") from None
        elif column == spec.target:
            made = _labels(texts)
        else:
            continue
        table = table.set_column(at, column, made)
    return table


class _NotTypedError(ValueError):
    """Why a column has no type."""


def _fitted_kinds(fitted: "FittedTransformer | None") -> dict[str, _CsvKind]:
    from platform_assets.features.woe import Woe

    if not isinstance(fitted, Woe):
        return {}
    kinds: dict[str, _CsvKind] = {}
    for column in fitted.columns:
        categories = {name for each in column.bins for name in each.categories}
        of_words: _CsvKind = "booleans" if categories and categories <= set(_SPELT) else "texts"
        kinds[column.name] = "numbers" if column.kind == "numeric" else of_words
    return kinds


def _times(texts: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Times where each is one that Arrow reads; else the texts, of which the transformer may know more."""
    import pyarrow as pa

    # With an offset first: without one, a value that has one is no time.
    for kind in (pa.timestamp("us", "UTC"), pa.timestamp("us")):
        try:
            return texts.cast(kind)
        except pa.ArrowInvalid:
            continue
    return texts


def _labels(texts: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Of a target: 1.0 is 1, and True is true. Whatever is neither has two spellings at most, or is refused later."""
    if _only_booleans(texts):
        return _values(texts, "booleans")
    if texts.null_count < len(texts) and _first_odd(texts) is None:
        try:
            return _values(texts, "numbers")
        except _NotTypedError:
            return texts
    return texts


def _kind_of(texts: "pa.ChunkedArray") -> _CsvKind:
    """What a column is by its values.

    Raises:
        _NotTypedError: it is neither numbers nor categories.
    """
    import pyarrow.compute as pc

    if texts.null_count == len(texts):
        return "texts"
    if _only_booleans(texts):
        return "booleans"
    found = pc.unique(texts).drop_null()
    is_number = pc.match_substring_regex(found, _NUMBER)
    numbers, others = found.filter(is_number), found.filter(pc.invert(is_number))
    if not len(others):
        return "numbers"
    if not len(numbers) or pc.any(pc.match_substring_regex(others, _CODE)).as_py():
        return "texts"
    are_measured = len(numbers) > _MOST_CODES or pc.any(pc.match_substring_regex(numbers, _FRACTION)).as_py()
    if pc.all(pc.match_substring_regex(others, _BLEMISH)).as_py() or (
        are_measured and len(numbers) > len(others)
    ):
        raise _odd(texts)
    return "texts"


def _values(texts: "pa.ChunkedArray", kind: _CsvKind) -> "pa.ChunkedArray":
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind == "texts":
        return texts
    if kind == "booleans":
        # What is neither, in rows that come later, is a category that was never seen.
        return pc.equal(pc.utf8_lower(texts), _SPELT[True]) if _only_booleans(texts) else texts
    if _first_odd(texts) is not None:
        raise _odd(texts)
    if texts.null_count == len(texts) or pc.any(pc.match_substring_regex(texts, _FRACTION)).as_py():
        return texts.cast(pa.float64())
    for whole in (pa.int64(), pa.uint64()):
        try:
            return texts.cast(whole)
        except pa.ArrowInvalid:
            continue
    raise _NotTypedError(
        "has integers of more than 64 bits; an identifier is no measurement: leave the column out"
    )


def _only_booleans(texts: "pa.ChunkedArray") -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    if texts.null_count == len(texts):
        return False
    spelt: Any = pa.array(_SPELT, texts.type)
    return bool(pc.all(pc.is_in(pc.utf8_lower(pc.unique(texts).drop_null()), spelt)).as_py())


def _first_odd(texts: "pa.ChunkedArray") -> int | None:
    """The first row with a text that is no number, from 1."""
    import pyarrow.compute as pc

    at = int(pc.index(pc.match_substring_regex(texts, _NUMBER), False).as_py())
    return at + 1 if at >= 0 else None


def _odd(texts: "pa.ChunkedArray") -> _NotTypedError:
    import pyarrow.compute as pc

    is_odd = pc.invert(pc.match_substring_regex(texts, _NUMBER))
    return _NotTypedError(
        f"is of numbers, and {pc.sum(is_odd).as_py():,} of {len(texts):,} rows have a text that is none as `-12.5` is "
        f"(first: row {_first_odd(texts)}); only an empty field is missing: leave the field empty, correct it, or write the "
        "rows as Parquet, where each column has a type"
    )
