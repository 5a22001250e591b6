"""Texts of two files as categories, in memory that their own bytes bound.

Each distinct text of the reference is held once, as UTF-8; of the events, texts that the reference does not have are only
counted. Nothing is padded, and a dictionary that a file holds is never written out.
"""

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from platform_assets.drift.column_types import NotComparableError, decoded, is_text
from platform_assets.sketch.binning import CategoryBinning, Missing
from platform_assets.sketch.sketch import DEFAULT_BINS, ColumnProfile, KsResult, compare

if TYPE_CHECKING:
    import pyarrow as pa

_MISSING: Final = -1
_HALVES: Final = 2


class ReferenceTexts:
    """How often each text occurs in either half of a reference, rows being dealt out at random.

    Raises:
        NotComparableError: A text is no UTF-8; the message names its row.
    """

    def __init__(self, values: "pa.ChunkedArray") -> None:
        self._code_of: dict[bytes, int] = {}
        self._rows = np.zeros((_HALVES, 0), np.int64)
        random, start = np.random.default_rng(0), 0
        for chunk in values.chunks:
            codes = self._codes(chunk, new=True, first_row=start, side="reference")
            half = random.integers(_HALVES, size=len(codes))
            rows = [
                np.bincount(codes[(half == each) & (codes != _MISSING)], minlength=len(self._code_of))
                for each in range(_HALVES)
            ]
            self._rows = np.stack(rows) + np.pad(
                self._rows, ((0, 0), (0, len(self._code_of) - self._rows.shape[1]))
            )
            start += len(chunk)

    def counted(self, events: "pa.Array", *, first_row: int) -> NDArray[np.int64]:
        """How many of these events have each text of the reference, and last, how many have another one.

        Args:
            events: A piece of them.
            first_row: How many came before.

        Raises:
            NotComparableError: A text is no UTF-8; the message names its row.
        """
        codes = self._codes(events, new=False, first_row=first_row, side="events")
        return np.bincount(codes[codes != _MISSING], minlength=len(self._code_of) + 1)

    @property
    def none(self) -> NDArray[np.int64]:
        """What `counted` tells of no events."""
        return np.zeros(len(self._code_of) + 1, np.int64)

    def compared(self, counts: NDArray[np.int64]) -> KsResult:
        """How far events are from the reference, texts being in the order of their frequency in it.

        Their p-value is no smaller than that of one half of the reference, with names and order of the other half. For
        how far events are from names that were taken from the very rows that they are compared with says
        little: of texts that seldom come twice, a reference has named its own, and no other sample has these.

        Args:
            counts: As `counted` tells them, all pieces together.
        """
        rows = self._rows.sum(axis=0)
        found = _compared(counts, frequency=rows, rows=rows)
        naming, compared = self._rows
        if not compared.any():
            return found._replace(p_value=1.0)
        apart = _compared(counts, frequency=naming, rows=compared)
        return found._replace(p_value=max(found.p_value, apart.p_value))

    def _codes(self, values: "pa.Array", *, new: bool, first_row: int, side: str) -> NDArray[np.int64]:
        """The number of each value's text, `_MISSING` for null; of one that is not known, the next unused number."""
        import pyarrow as pa
        import pyarrow.compute as pc
        from pyarrow import types

        encoded = values if types.is_dictionary(values.type) else pc.dictionary_encode(values)
        indices = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy(zero_copy_only=False)
        texts = encoded.dictionary.cast(pa.large_binary()).to_pylist()
        try:
            encoded.dictionary.validate(full=True)
        except pa.ArrowInvalid:
            row = next(
                row for row, index in enumerate(indices.tolist()) if not _is_utf8([*texts, None][index])
            )
            raise NotComparableError(
                f"row {first_row + row + 1} of the {side} holds text that is no UTF-8"
            ) from None
        if new:
            known = [
                _MISSING if text is None else self._code_of.setdefault(text, len(self._code_of))
                for text in texts
            ]
        else:
            other = len(self._code_of)
            known = [_MISSING if text is None else self._code_of.get(text, other) for text in texts]
        codes: NDArray[np.int64] = np.array([*known, _MISSING], np.int64)[indices]
        return codes


def share_a_text(reference: "pa.ChunkedArray", events: "pa.ChunkedArray") -> bool:
    """Whether the reference is of texts, and one of the events' texts is among them."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    if not is_text(decoded(reference.type)):
        return False
    wanted = events.unique().drop_null().cast(pa.large_string())
    for chunk in reference.chunks:
        texts = chunk.dictionary if types.is_dictionary(chunk.type) else chunk
        known = texts.drop_null().cast(pa.large_string())
        if pc.any(pc.is_in(wanted, value_set=known)).as_py():
            return True
    return False


def _compared(
    counts: NDArray[np.int64], *, frequency: NDArray[np.int64], rows: NDArray[np.int64]
) -> KsResult:
    """Bins for the most frequent texts and one for all others, with the rows of the reference and the events in each."""
    seen = np.flatnonzero(frequency)
    named = seen[np.argsort(-frequency[seen], kind="stable")][:DEFAULT_BINS]
    total = int(rows.sum())
    mass = np.append(rows[named], total - rows[named].sum()).astype(np.float64)
    binning = CategoryBinning(tuple(map(str, named.tolist())))
    histogram = ColumnProfile(binning, mass, total, float(total), Missing(), 0.0).histogram()
    histogram.counts = np.append(counts[named], counts.sum() - counts[named].sum())
    return compare(histogram.profile, histogram)


def _is_utf8(text: bytes | None) -> bool:
    try:
        (text or b"").decode()
    except UnicodeDecodeError:
        return False
    return True
