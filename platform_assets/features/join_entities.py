"""Entities of label rows as numbers, and those of feature rows as the same numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from platform_assets.features.errors import FeatureError
from platform_assets.features.table_columns import decoded
from platform_assets.reading.errors import shown_name

if TYPE_CHECKING:
    import pyarrow as pa

EntityKind = Literal["text", "integer"]
Codes = NDArray[np.int32]


def entity_kind(kind: "pa.DataType", name: str) -> EntityKind:
    """Whether a column of this type names entities by texts or by integers.

    Raises:
        FeatureError: by neither.
    """
    from pyarrow import types

    inner = kind.value_type if types.is_dictionary(kind) else kind
    if types.is_integer(inner):
        return "integer"
    if types.is_string(inner) or types.is_large_string(inner) or types.is_string_view(inner):
        return "text"
    raise FeatureError(
        f"column {shown_name(name)}: is of type {kind}; an entity is named by texts or integers: convert it"
    )


class Entities:
    """The entities of label rows, which may be named by several columns."""

    def __init__(self, columns: Sequence["pa.ChunkedArray"]) -> None:
        """Number them.

        Args:
            columns: One or more, without nulls, of the types that `entity_kind` knows; integers below 2^63.
        """
        self._columns: list[_Numbers] = [
            _Texts.of(each) if entity_kind(each.type, "") == "text" else _Integers.of(_integers(each))
            for each in columns
        ]
        self._pairs: list[_Integers] = []
        codes, count = self._columns[0].codes, self._columns[0].count
        for column in self._columns[1:]:
            pairs = _Integers.of(_paired(codes, column.codes, column.count))
            self._pairs.append(pairs)
            codes, count = pairs.codes, pairs.count
        self.codes: Codes = codes
        """Whose each label row is, shape (rows,)."""
        self.count: int = count
        """How many there are."""

    def find(self, columns: Sequence["pa.ChunkedArray"]) -> Codes:
        """The numbers of these rows' entities, -1 where no label row is of it; shape (rows,).

        Args:
            columns: As many as label rows have, of the same kinds, without nulls.
        """
        codes = self._columns[0].find(columns[0])
        for pairs, known, column in zip(self._pairs, self._columns[1:], columns[1:], strict=True):
            other = known.find(column)
            codes = pairs.find_keys(np.where(codes < 0, -1, _paired(codes, other, known.count)))
            codes[other < 0] = -1
        return codes


class _Numbers(Protocol):
    """Values of one column by number."""

    @property
    def codes(self) -> Codes: ...

    @property
    def count(self) -> int: ...

    def find(self, column: "pa.ChunkedArray") -> Codes: ...


@dataclass(frozen=True, slots=True)
class _Integers:
    codes: Codes
    count: int
    slots: Codes = field(repr=False)
    known: NDArray[np.int64] = field(repr=False)

    @classmethod
    def of(cls, keys: NDArray[np.int64]) -> "_Integers":
        from platform_assets.features import join_kernels

        slots, codes, known = _slots(keys.size), np.empty(keys.size, np.int32), np.empty(keys.size, np.int64)
        count = join_kernels.number_integers(keys, slots, known, codes)
        return cls(codes, count, slots, known[:count].copy())

    def find(self, column: "pa.ChunkedArray") -> Codes:
        return self.find_keys(_integers(column))

    def find_keys(self, keys: NDArray[np.int64]) -> Codes:
        from platform_assets.features import join_kernels

        codes = np.empty(keys.size, np.int32)
        join_kernels.find_integers(keys, self.slots, self.known, codes)
        return codes


@dataclass(frozen=True, slots=True)
class _Texts:
    codes: Codes
    count: int
    slots: Codes = field(repr=False)
    hashes: NDArray[np.uint64] = field(repr=False)
    firsts: NDArray[np.int64] = field(repr=False)
    offsets: NDArray[np.int64] = field(repr=False)
    data: NDArray[np.uint8] = field(repr=False)

    @classmethod
    def of(cls, column: "pa.ChunkedArray") -> "_Texts":
        from platform_assets.features import join_kernels

        offsets, data = _texts(column)
        rows = offsets.size - 1
        slots, codes = _slots(rows), np.empty(rows, np.int32)
        hashes, firsts = np.empty(rows, np.uint64), np.empty(rows, np.int64)
        count = join_kernels.number_texts(offsets, data, slots, hashes, firsts, codes)
        return cls(codes, count, slots, hashes[:count].copy(), firsts[:count].copy(), offsets, data)

    def find(self, column: "pa.ChunkedArray") -> Codes:
        import pyarrow as pa

        if pa.types.is_dictionary(column.type):
            try:
                column = column.unify_dictionaries()
            except (
                pa.ArrowInvalid
            ):  # one holds null, or together they have more values than their numbers have room for
                return self._find(*_texts(column))
            if not column.num_chunks:
                return np.empty(0, np.int32)
            of_values = self._find(*_texts(pa.chunked_array([column.chunk(0).dictionary])))
            indices = [np.asarray(chunk.indices.cast(pa.int64())) for chunk in column.chunks]
            found: Codes = of_values[np.concatenate(indices)]
            return found
        return self._find(*_texts(column))

    def _find(self, offsets: NDArray[np.int64], data: NDArray[np.uint8]) -> Codes:
        from platform_assets.features import join_kernels

        codes = np.empty(offsets.size - 1, np.int32)
        join_kernels.find_texts(
            offsets, data, self.offsets, self.data, self.slots, self.hashes, self.firsts, codes
        )
        return codes


def _slots(rows: int) -> Codes:
    """Of a table in which at least every other place is free."""
    return np.full(1 << max(3, (2 * rows - 1).bit_length()), -1, np.int32)


def _paired(left: Codes, right: Codes, right_count: int) -> NDArray[np.int64]:
    """Numbers of pairs: a row has fewer than 2^31 of either side."""
    return left.astype(np.int64) * max(right_count, 1) + right


def _integers(column: "pa.ChunkedArray") -> NDArray[np.int64]:
    import pyarrow as pa

    column = decoded(column).cast(pa.int64())
    parts: list[Any] = [chunk.to_numpy(zero_copy_only=False) for chunk in column.chunks]
    if len(parts) == 1:
        return np.asarray(parts[0])
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _texts(column: "pa.ChunkedArray") -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Where each text begins and the last one ends, shape (rows + 1,), and the bytes of all."""
    import pyarrow as pa

    plain = decoded(column).cast(pa.large_string()).combine_chunks()
    if isinstance(plain, pa.ChunkedArray):
        plain = plain.chunk(0) if plain.num_chunks else pa.array([], pa.large_string())
    if not len(plain):
        return np.zeros(1, np.int64), np.empty(0, np.uint8)
    _, offsets, data = plain.buffers()
    found = np.frombuffer(offsets, np.int64, len(plain) + 1, 8 * plain.offset)
    return found, np.empty(0, np.uint8) if data is None or not data.size else np.frombuffer(data, np.uint8)
