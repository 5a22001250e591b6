"""How much a single column tells about a target, and which columns say the same.

Symbols: n rows, k categories. Codes: which category a row is of, -1 where it has none; shape (n,).
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from platform_assets.validation.metrics import roc_auc

_FOLDS: Final = 5
_BINS: Final = 32
_FEWEST_ROWS: Final = 30
"""Numbers in fewer rows of a class are not ranked: chance alone would order them."""
_SAMPLED: Final = 20_000
"""Rows by which correlation is told."""
_SAME: Final = 0.999
"""Correlation of numbers that say the same, rounding apart."""
_PRIOR_ROWS: Final = 1.0


def separation(
    codes: NDArray[np.int64], numbers: NDArray[np.float64] | None, label: NDArray[np.int64]
) -> float:
    """AUC (0.5 … 1) of the best model of one column, whatever the direction and the shape of the dependence.

    Categories, bins of numbers, and whether a value is missing are scored by the share of label 1 in the other
    folds, so that a column of many values does not seem to tell what it only remembers.

    Args:
        codes: Category of each row.
        numbers: Number of each row, NaN where missing; None where the values are none.
        label: 0 or 1, shape (n,); both must occur.
    """
    found = [0.5, roc_auc(label, _shares_elsewhere(codes, label))]
    if numbers is not None:
        given = np.isfinite(numbers)
        found.append(roc_auc(label, _shares_elsewhere(_binned(numbers), label)))
        of_class = np.bincount(label[given], minlength=2)
        if of_class.min() >= _FEWEST_ROWS:
            ranked = roc_auc(label[given], numbers[given])
            # What is known of the given rows only is worth as much as there are of them.
            found.append(0.5 + (max(ranked, 1 - ranked) - 0.5) * given.mean())
    return max(found)


def twins(
    columns: Sequence[tuple[NDArray[np.int64], NDArray[np.float64] | None]],
) -> tuple[tuple[int, ...], ...]:
    """For each column the earlier ones that say the same: value for value, or numbers that rise and fall together.

    Args:
        columns: Codes by first appearance, and numbers or None, of each.
    """
    same = [set[int]() for _ in columns]
    by_codes: dict[bytes, list[int]] = {}
    for at, (codes, _) in enumerate(columns):
        # Two columns without repetitions map to each other, whatever they say.
        if codes.max(initial=-1) + 1 <= len(codes) / 2:
            earlier = by_codes.setdefault(codes.tobytes(), [])
            same[at].update(earlier)
            earlier.append(at)
    numeric = [at for at, (_, numbers) in enumerate(columns) if numbers is not None]
    if len(numeric) > 1:
        close = np.abs(_correlations([columns[at][1] for at in numeric])) >= _SAME  # type: ignore[misc]
        for row, column in np.argwhere(np.tril(close, k=-1)):
            same[numeric[row]].add(numeric[column])
    return tuple(tuple(sorted(each)) for each in same)


def _shares_elsewhere(codes: NDArray[np.int64], label: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of label 1 among the rows of the same category in other folds, shape (n,)."""
    categories = codes + 1
    k = int(categories.max()) + 1
    # By position: neighbours fall into different folds, however the rows are sorted.
    cells = (np.arange(len(codes)) % _FOLDS) * k + categories
    rows = np.bincount(cells, minlength=_FOLDS * k)
    ones = np.bincount(cells, weights=label, minlength=_FOLDS * k)
    total_rows = rows.reshape(_FOLDS, k).sum(axis=0)[categories] - rows[cells]
    total_ones = ones.reshape(_FOLDS, k).sum(axis=0)[categories] - ones[cells]
    shares: NDArray[np.float64] = (total_ones + _PRIOR_ROWS * label.mean()) / (total_rows + _PRIOR_ROWS)
    return shares


def _binned(numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    """The quantile bin of each number, -1 where there is none; equal numbers share a bin."""
    given = np.isfinite(numbers)
    edges: NDArray[np.float64] = np.unique(
        np.quantile(numbers[given], np.linspace(0, 1, _BINS + 1)[1:-1]) if given.any() else np.empty(0)
    )
    return np.where(given, np.searchsorted(edges, numbers, side="left"), -1).astype(np.int64)


def _correlations(columns: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Pearson's r of each pair; shape (columns, columns). A column that does not vary has 0 with all."""
    step = max(1, len(columns[0]) // _SAMPLED)
    table = np.stack([column[::step] for column in columns])
    table = np.where(np.isfinite(table), table, np.nan)
    missing = np.isnan(table)
    count = np.maximum((~missing).sum(axis=1, keepdims=True), 1)
    centred = np.where(missing, 0.0, table - np.nansum(table, axis=1, keepdims=True) / count)
    length = np.sqrt((centred**2).sum(axis=1, keepdims=True))
    scaled: NDArray[np.float64] = np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
    correlations: NDArray[np.float64] = scaled @ scaled.T
    return correlations
