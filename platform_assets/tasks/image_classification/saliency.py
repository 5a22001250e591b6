"""What an answer rests on: squares of an image are covered, and the answer is asked for again.

Maps that are made of a network's inside (Grad-CAM and the like) were seen to light what has nothing to do with its answer.
Covering asks the model itself, whatever it is, and whether the map is worth looking at is measured: how often its
maximum lies within the box of a finding that the model has found, beside how often a point by chance would.

Symbols used below:

    n  images        s  side in pixels        q  squares
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from platform_assets.models.scorer import Scorer
from platform_assets.tasks.image_classification.model_spec import ImageFormSpec
from platform_assets.validation.clusters import Clusters
from platform_assets.validation.rates import rate
from platform_assets.validation.scorecard import Interval

if TYPE_CHECKING:
    import pyarrow as pa

BOX_COLUMNS: Final = ("box_top", "box_left", "box_bottom", "box_right")
_BYTES_AT_ONCE: Final = 32 << 20
"""Of covered images, of which there are some copies in memory."""
_BATCH: Final = 32
"""Images that a scorer looks at together: whole batches have the same scores however many are asked for."""
_LEAST: Final = 1e-9
"""A score of exactly 0 or 1 has no log-odds."""


class Pointing(BaseModel):
    """How often the maximum of a map lies within the box of the finding."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    asked: int
    """Findings with a box that the model has found."""
    hits: int
    rate: Interval
    chance: float
    """Mean share of the image that a box covers: how often a point anywhere would hit."""


@dataclass(frozen=True, slots=True)
class Occlusion:
    """How an image is covered."""

    side: int
    stride: int

    def starts(self, image_side: int) -> list[int]:
        """Where squares begin, along either side; the last one ends where the image does."""
        last = max(0, image_side - self.side)
        return sorted({*range(0, last, self.stride), last})

    def corners(self, image_side: int) -> list[tuple[int, int]]:
        """The top left corner of each square."""
        starts = self.starts(image_side)
        return [(top, left) for top in starts for left in starts]

    def covered(self, image: NDArray[np.uint8], corners: Sequence[tuple[int, int]]) -> NDArray[np.uint8]:
        """The image once for each square with one of these corners, shape (q, s, s).

        A square is filled with the mean of what surrounds it, twice as wide: a hole that is darker or lighter than its
        surroundings would be an edge, which is something to see.
        """
        sums = np.zeros((len(image) + 1, len(image) + 1), np.int64)
        sums[1:, 1:] = image.astype(np.int64).cumsum(axis=0).cumsum(axis=1)
        covered = np.repeat(image[None], len(corners), axis=0)
        for at, (top, left) in enumerate(corners):
            up, down, before, after = (
                min(max(0, edge), len(image))
                for edge in (
                    top - self.side // 2, top + self.side * 3 // 2, left - self.side // 2, left + self.side * 3 // 2,
                )
            )  # fmt: skip
            total = sums[down, after] - sums[up, after] - sums[down, before] + sums[up, before]
            fill = total // max(1, (down - up) * (after - before))
            covered[at, top : top + self.side, left : left + self.side] = fill
        return covered

    def map(
        self, image: NDArray[np.uint8], score: Callable[[NDArray[np.uint8]], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """By how much covering a pixel takes the log-odds of label 1 down: the mean over the squares on it, shape (s, s).

        Args:
            image: Shape (s, s).
            score: Probability of label 1 of each of some images, (q, s, s) gives (q,); asked several times where all would
                be large.
        """
        corners = self.corners(len(image))
        at_once = max(1, _BYTES_AT_ONCE // (image.size * _BATCH)) * _BATCH
        # The image itself goes before its covered copies.
        scores = [score(np.concatenate([image[None], self.covered(image, corners[: at_once - 1])]))]
        scores += [
            score(self.covered(image, corners[start : start + at_once]))
            for start in range(at_once - 1, len(corners), at_once)
        ]
        log_odds = _log_odds(np.concatenate(scores))
        drops = log_odds[0] - log_odds[1:]
        total, squares = np.zeros(image.shape), np.zeros(image.shape)
        for (top, left), drop in zip(corners, drops.tolist(), strict=True):
            total[top : top + self.side, left : left + self.side] += drop
            squares[top : top + self.side, left : left + self.side] += 1
        found: NDArray[np.float64] = total / squares
        return found


def pixels_of(features: "pa.Table") -> NDArray[np.uint8]:
    """Images of rows of the features, shape (n, s, s)."""
    content = [np.frombuffer(each, np.uint8) for each in features["pixels"].to_pylist()]
    side = int(np.sqrt(content[0].size)) if content else 0
    return np.array(content, np.uint8).reshape(len(content), side, side)


def asking(scorer: Scorer, row: "pa.Table") -> Callable[[NDArray[np.uint8]], NDArray[np.float64]]:
    """Scores of other images in the place of one row's.

    Args:
        scorer: The model.
        row: The row of the features; what else stands in it stays.
    """

    def score(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        import pyarrow as pa

        rows = row.take(np.zeros(len(images), np.int64))
        at = rows.column_names.index("pixels")
        pixels = pa.array([image.tobytes() for image in images], rows.schema.field(at).type)
        return scorer.score_features(rows.set_column(at, "pixels", pixels))

    return score


def peak(found: NDArray[np.float64]) -> tuple[float, float]:
    """Row and column of the middle of a map's maximum; of several that are equally high, of the first."""
    from scipy.ndimage import label

    # Pixels that touch each other are one: the middle of two that do not would lie where the map is lower.
    pieces, _ = label(found >= found.max() - _LEAST)
    rows, columns = np.nonzero(pieces == 1)
    return float(rows.mean()), float(columns.mean())


def pointing(
    maps: NDArray[np.float64], boxes: NDArray[np.float64], clusters: Clusters | None = None
) -> Pointing | None:
    """How often the maximum lies within the box; None where there is no map.

    Args:
        maps: Shape (n, s, s).
        boxes: Top, left, bottom and right of each finding in pixels of the maps; shape (n, 4).
        clusters: Which images depend on each other; none do if None.
    """
    if not len(maps):
        return None
    peaks = np.array([peak(each) for each in maps]) + 0.5
    hits = np.logical_and(peaks >= boxes[:, :2], peaks < boxes[:, 2:]).sum(axis=1) == peaks.shape[1]
    found = rate(hits, clusters)
    assert found is not None
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return Pointing(
        asked=len(maps), hits=int(hits.sum()), rate=found, chance=float(np.mean(areas / maps[0].size))
    )


def formed_boxes(rows: "pa.Table", form: ImageFormSpec) -> NDArray[np.float64]:
    """Where findings are once their image has its form: top, left, bottom and right in its pixels, shape (n, 4).

    NaN where a row has no box, or where the form has cut it away.

    Args:
        rows: Columns `box_*` in pixels of the original image, `image_rows` and `image_columns`.
        form: How images are brought into one form.
    """
    side = form.image_size
    boxes = np.stack([rows[name].to_numpy().astype(np.float64) for name in BOX_COLUMNS], axis=1)
    size = np.stack(
        [rows[name].to_numpy().astype(np.float64) for name in ("image_rows", "image_columns")], axis=1
    )
    match form.fit:
        case "stretch":
            scale, offset = side / size, np.zeros_like(size)
        case "crop":
            shortest = size.min(axis=1, keepdims=True)
            scale = np.repeat(side / shortest, 2, axis=1)
            offset = -(size - shortest) / 2 * scale
        case _:
            longest = size.max(axis=1, keepdims=True)
            scale = np.repeat(side / longest, 2, axis=1)
            offset = (side - size * scale) / 2
    formed: NDArray[np.float64] = np.clip(boxes * np.tile(scale, 2) + np.tile(offset, 2), 0, side)
    gone = ~(formed[:, 2:] > formed[:, :2]).all(axis=1)
    formed[gone] = np.nan
    return formed


def _log_odds(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.clip(scores, _LEAST, 1 - _LEAST)
    found: NDArray[np.float64] = np.log(inside / (1 - inside))
    return found
