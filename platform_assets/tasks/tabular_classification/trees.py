"""Gradient-boosted trees as plain arrays: grown by scikit-learn, kept and scored without it.

A saved model is numbers and nothing else, so loading one runs no code, and it outlives the release of the library that
grew it. Scores are those of scikit-learn to the last bit: leaves are added up tree by tree, in its order.

Symbols: N rows, F features, T trees, K nodes of all trees, S splits by categories, C codes of a category.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from platform_assets.models.errors import TrainingError
from platform_assets.tasks.tabular_classification.encoding import MOST_CATEGORIES, Kind
from platform_assets.tasks.tabular_classification.spec import TabularParameters

TREES_FILE: Final = "trees.safetensors"
_CODES: Final = MOST_CATEGORIES + 1
_WALKED_CELLS: Final = 1 << 20
"""Rows times trees at a time: bounds memory at some tens of MB."""
_DIRECTIONS: Final = {"increasing": 1, "decreasing": -1}
_WORD: Final = 32


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """An ensemble. Children stand behind their parents; a leaf is its own child."""

    baseline: NDArray[np.float64]
    """Log-odds before any tree, shape (1,)."""
    roots: NDArray[np.int32]
    """(T,)."""
    feature: NDArray[np.int32]
    """Read at each node, (K,); 0 at leaves."""
    threshold: NDArray[np.float64]
    """Values up to it go left, (K,)."""
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    missing_left: NDArray[np.uint8]
    """Whether a missing value or an unknown category goes left, (K,)."""
    category_set: NDArray[np.int32]
    """Row of `left_categories` at a split by categories, else -1; (K,)."""
    left_categories: NDArray[np.uint8]
    """Whether each code goes left, (S, C), S at least 1."""
    known_categories: NDArray[np.uint8]
    """Whether training rows have each code, (F, C); all 0 for a feature of numbers."""
    value: NDArray[np.float64]
    """What each leaf adds to the log-odds, (K,)."""

    def log_odds(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-odds of label 1, shape (N,), of features (N, F). A row's own do not depend on the others."""
        found = np.empty(len(features))
        for rows, values in self.leaves(features):
            total = np.full(len(values), self.baseline[0])
            for of_tree in values.T:
                total += of_tree
            found[rows] = total
        return found

    def leaves(self, features: NDArray[np.float64]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """What each tree adds for some rows at a time: (rows, values of shape (rows, T))."""
        step = max(1, _WALKED_CELLS // max(1, self.roots.size))
        for start in range(0, len(features), step):
            rows = slice(start, start + step)
            yield rows, self.value[self._walk(features[rows])]

    def _walk(self, features: NDArray[np.float64]) -> NDArray[np.int32]:
        """The leaf of each row in each tree, (N, T)."""
        places = np.arange(len(features))[:, None]
        node = np.repeat(self.roots[None, :], len(features), axis=0)
        while True:
            feature = self.feature[node]
            value = features[places, feature]
            by_category = self.category_set[node]
            code = np.where((value >= 0) & (value < _CODES), value, _CODES - 1).astype(np.int64)
            known = self.known_categories[feature, code].astype(bool) & (value >= 0)
            missing = np.isnan(value) | ((by_category >= 0) & ~known)
            goes_left = np.where(
                missing,
                self.missing_left[node].astype(bool),
                np.where(
                    by_category >= 0,
                    self.left_categories[by_category, code].astype(bool),
                    value <= self.threshold[node],
                ),
            )
            following = np.where(goes_left, self.left[node], self.right[node])
            if np.array_equal(following, node):
                return node
            node = following

    def save(self, folder: Path) -> Sequence[str]:
        """Write the arrays; equal trees give equal bytes. Returns the files' names."""
        from safetensors.numpy import save_file

        save_file({each.name: getattr(self, each.name) for each in fields(self)}, folder / TREES_FILE)
        return (TREES_FILE,)

    @classmethod
    def load(cls, folder: Path, *, features: int) -> Self:
        """The trees in a folder, over so many features.

        Raises:
            TrainingError: the file is damaged, or holds something else.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        file = folder / TREES_FILE
        try:
            trees = cls(**load_file(file))
        except (SafetensorError, OSError, TypeError, ValueError) as problem:
            raise TrainingError(f"{file.name}: is no model of trees ({problem}); train it again") from None
        if problem_found := trees._problem(features):
            raise TrainingError(f"{file.name}: is no model of trees ({problem_found}); train it again")
        return trees

    def _problem(self, features: int) -> str | None:
        """Why these arrays are no ensemble over so many features; None where they are."""
        nodes, sets = self.feature.shape, len(self.left_categories)
        expected: dict[str, tuple[type, tuple[int, ...]]] = {
            **dict.fromkeys(("threshold", "value"), (np.float64, nodes)),
            **dict.fromkeys(("feature", "left", "right", "category_set"), (np.int32, nodes)),
            "baseline": (np.float64, (1,)),
            "roots": (np.int32, self.roots.shape[:1]),
            "missing_left": (np.uint8, nodes),
            "left_categories": (np.uint8, (sets, _CODES)),
            "known_categories": (np.uint8, (features, _CODES)),
        }
        for name, (dtype, shape) in expected.items():
            found = getattr(self, name)
            if found.dtype != dtype or found.shape != shape:
                return f"{name} has type {found.dtype} and shape {found.shape}"
        own = np.arange(self.feature.size)
        is_leaf = (self.left == own) & (self.right == own)
        # What only goes forward ends.
        if not (is_leaf | ((self.left > own) & (self.right > own))).all():
            return "its nodes form no trees"
        for name, array, least, end in (
            ("roots", self.roots, 0, own.size),
            ("left", self.left, 0, own.size),
            ("right", self.right, 0, own.size),
            ("feature", self.feature, 0, features),
            ("category_set", self.category_set, -1, sets),
        ):
            if not ((array >= least) & (array < end)).all():
                return f"{name} points at nothing"
        if not (sets and np.isfinite(self.value).all() and np.isfinite(self.baseline).all()):
            return "it has no sets of categories, or values that are not finite"
        return None


def grow(
    features: NDArray[np.float64],
    labels: NDArray[np.int64],
    kinds: Sequence[Kind],
    names: Sequence[str],
    parameters: TabularParameters,
) -> Trees:
    """Trees that are grown on these rows; equal input gives equal trees, with any number of threads.

    Args:
        features: NaN is missing; categories as codes from 0, negative where unknown. Shape (N, F).
        labels: 0 or 1, both, shape (N,).
        kinds: Of each feature.
        names: Of each feature.
        parameters: How.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    is_category = np.array([kind == "category" for kind in kinds])
    # The library numbers the categories that it sees anew; so the numbers are made dense before, and are its own.
    codes = {at: _codes(features[:, at]) for at in np.flatnonzero(is_category)}
    dense = features.copy()
    for at, of_feature in codes.items():
        seen = features[:, at] >= 0
        dense[:, at] = np.where(seen, np.searchsorted(of_feature, features[:, at]), np.nan)
    model = HistGradientBoostingClassifier(
        learning_rate=parameters.learning_rate,
        max_iter=parameters.max_iterations,
        max_leaf_nodes=parameters.max_leaf_nodes,
        min_samples_leaf=parameters.min_samples_leaf,
        l2_regularization=parameters.regularisation,
        monotonic_cst=[_DIRECTIONS.get(parameters.monotonic.get(name, ""), 0) for name in names],
        categorical_features=is_category if is_category.any() else None,
        # Stopping early would take training rows away, which a small table misses; the validation split is not its.
        early_stopping=False,
        random_state=parameters.seed,
    ).fit(dense, labels)
    return _plain(model, is_category, codes)


def _codes(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.unique(values[values >= 0]).astype(np.int64)


def _plain(model: Any, is_category: NDArray[np.bool_], codes: dict[Any, NDArray[np.int64]]) -> Trees:
    """The arrays of a grown model.

    Its trees are no public part of the library; that they are read right, a test sees by scores equal to its own.
    """
    # It puts categories before numbers.
    original = np.concatenate([np.flatnonzero(is_category), np.flatnonzero(~is_category)])
    parts: dict[str, list[NDArray[Any]]] = {}
    sets: list[NDArray[np.uint8]] = []
    offset = 0
    for (tree,) in model._predictors:  # noqa: SLF001 - see above
        nodes, own = tree.nodes, offset + np.arange(len(tree.nodes))
        leaf, by_category = nodes["is_leaf"] == 1, nodes["is_categorical"] == 1
        feature = np.where(leaf, 0, original[nodes["feature_idx"]])
        category_set = np.full(len(nodes), -1)
        for node in np.flatnonzero(by_category & ~leaf):
            category_set[node] = len(sets)
            sets.append(
                _left_codes(tree.raw_left_cat_bitsets[nodes["bitset_idx"][node]], codes[feature[node]])
            )
        for name, values in (
            ("feature", feature),
            ("threshold", np.where(leaf | by_category, 0.0, nodes["num_threshold"])),
            ("left", np.where(leaf, own, offset + nodes["left"].astype(np.int64))),
            ("right", np.where(leaf, own, offset + nodes["right"].astype(np.int64))),
            ("missing_left", nodes["missing_go_to_left"]),
            ("category_set", category_set),
            ("value", np.where(leaf, nodes["value"], 0.0)),
            ("roots", np.array([offset])),
        ):
            parts.setdefault(name, []).append(values)
        offset += len(nodes)
    arrays = {name: np.concatenate(values) for name, values in parts.items()}
    known = np.zeros((is_category.size, _CODES), np.uint8)
    for at, of_feature in codes.items():
        known[at, of_feature] = 1
    # A last row that nothing points at: where no split is by categories, there is still one to look into.
    sets.append(np.zeros(_CODES, np.uint8))
    return Trees(
        baseline=np.asarray(model._baseline_prediction, np.float64).reshape(1),  # noqa: SLF001 - see above
        roots=arrays["roots"].astype(np.int32),
        feature=arrays["feature"].astype(np.int32),
        threshold=arrays["threshold"].astype(np.float64),
        left=arrays["left"].astype(np.int32),
        right=arrays["right"].astype(np.int32),
        missing_left=arrays["missing_left"].astype(np.uint8),
        category_set=arrays["category_set"].astype(np.int32),
        left_categories=np.stack(sets),
        known_categories=known,
        value=arrays["value"].astype(np.float64),
    )


def _left_codes(bitset: NDArray[np.uint32], codes: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Whether each code goes left, (C,): bit i of the set is of the i-th code that was seen."""
    dense = np.arange(codes.size)
    goes_left = np.zeros(_CODES, np.uint8)
    goes_left[codes] = bitset[dense // _WORD] >> (dense % _WORD).astype(np.uint32) & 1
    return goes_left
