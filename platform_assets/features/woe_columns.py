"""Columns of an Arrow table as weight of evidence reads them: numbers with NaN, or categories with codes."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from platform_assets.features.errors import FeatureError

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["numeric", "categorical"]
LARGEST_EXACT: Final = 2**53
"""Up to here every integer is a float of its own."""
_TOLD: Final = {"numeric": "numbers", "categorical": "texts"}


def kind_of(column: "pa.ChunkedArray", name: str) -> Kind | None:
    """Whether a column holds numbers or categories; None where it has no type because it has no values.

    Raises:
        FeatureError: it holds something else.
    """
    try:
        return _kind_of_type(column.type)
    except TypeError:
        raise FeatureError(
            f"column {name} has type {column.type}; weights are fitted to numbers, texts and booleans: "
            "make one of these of it first"
        ) from None


@lru_cache(maxsize=256)
def _kind_of_type(kind: "pa.DataType") -> Kind | None:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "numeric"
    if types.is_boolean(kind) or any(
        is_text(kind) for is_text in (types.is_string, types.is_large_string, types.is_string_view)
    ):
        return "categorical"
    if types.is_null(kind):
        return None
    raise TypeError


def check_kind(column: "pa.ChunkedArray", name: str, fitted: Kind) -> None:
    """Nothing, where a column is of the kind that it was fitted as.

    Raises:
        FeatureError: it is of another.
    """
    kind = kind_of(column, name)
    if kind not in (fitted, None):
        raise FeatureError(
            f"column {name} was fitted as {_TOLD[fitted]} and holds {_TOLD[kind or fitted]} now ({column.type}); "
            "give it the type that it had, or fit anew"
        )


def number_chunks(column: "pa.ChunkedArray", name: str) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Pieces of a column of numbers and the row at which each begins, from 0; null is NaN, a decimal the nearest float.

    Raises:
        FeatureError: an integer lies beyond 2^53, where not each has a float of its own.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    start = 0
    for chunk in column.chunks:
        numbers = chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk
        if pa.types.is_decimal(numbers.type):
            numbers = numbers.cast(pa.string())  # by itself, Arrow would not round to the nearest float
        try:
            floats = numbers.cast(pa.float64())
        except pa.ArrowInvalid:
            # Arrow refuses what it would have to round, and it quotes the value.
            beyond = (
                np.abs(numbers.fill_null(0).to_numpy(zero_copy_only=False).astype(object)) > LARGEST_EXACT
            )
            raise _identifiers(name, int(beyond.sum()), start + int(beyond.argmax()) + 1) from None
        if floats.null_count:
            floats = pc.fill_null(floats, np.nan)
        # Of Arrow's null type even without a null.
        yield start, floats.to_numpy(zero_copy_only=False)
        start += len(chunk)


def as_held(column: "pa.ChunkedArray", numbers: Sequence[float]) -> tuple[float, ...]:
    """The numbers as a column's type has them: -99.9 is another float in 32 bits than in 64. Too large ones stay."""
    from pyarrow import types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    narrow = np.float32 if types.is_float32(kind) else np.float16 if types.is_float16(kind) else None
    if narrow is None:
        return tuple(numbers)
    with np.errstate(over="ignore"):
        rounded = np.array(numbers, np.float64).astype(narrow).astype(np.float64)
    return tuple(np.where(np.isfinite(rounded), rounded, numbers).tolist())


def _identifiers(name: str, count: int, first: int) -> FeatureError:
    return FeatureError(
        f"column {name}: {count} integers lie beyond 2^53 (first: row {first}), where not each has a float of its own; "
        "an identifier is no measurement: leave the column out, or make texts of it"
    )


def code_chunks(column: "pa.ChunkedArray") -> Iterator[tuple[int, list[str | None], NDArray[np.int32]]]:
    """Pieces of a column of categories: the row at which each begins, from 0, its names, and the code of each row.

    The code after the last name is that of null; a name may be None, too.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    start = 0
    for chunk in column.chunks:
        if pa.types.is_null(chunk.type):
            yield start, [], np.zeros(len(chunk), np.int32)
            start += len(chunk)
            continue
        if pa.types.is_dictionary(chunk.type):
            coded = chunk
        else:
            texts = chunk if pa.types.is_large_string(chunk.type) else chunk.cast(pa.string())
            coded = texts.dictionary_encode()
        names = coded.dictionary
        if not pa.types.is_string(names.type):
            names = names.cast(pa.large_string())
        codes = coded.indices.cast(pa.int32())
        if codes.null_count:
            codes = pc.fill_null(codes, len(names))
        yield start, names.to_pylist(), codes.to_numpy(zero_copy_only=False)
        start += len(chunk)


def listed(column: "pa.ChunkedArray", name: str, kind: Kind) -> Sequence[Any]:
    """The values of a few rows: floats, NaN for null, or texts, None for null.

    Raises:
        FeatureError: as `number_chunks`.
    """
    values = column.to_pylist()
    if kind == "categorical":
        return [
            value if isinstance(value, str) or value is None else ("false", "true")[value] for value in values
        ]
    if beyond := [
        row for row, value in enumerate(values, 1) if isinstance(value, int) and abs(value) > LARGEST_EXACT
    ]:
        raise _identifiers(name, len(beyond), beyond[0])
    return [np.nan if value is None else float(value) for value in values]
