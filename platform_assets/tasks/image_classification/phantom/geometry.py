"""Where each pixel of an image looks into the maps: every patient has another shape, every image another stance.

Glossary:

    rows, columns   (SIDE, SIDE)  places in a map that the pixels of an image show
    knots           (5, 5)        what a smooth warp moves the knots of a coarse grid by, in pixels
"""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from platform_assets.tasks.image_classification.phantom.cohort import Cohort
from platform_assets.tasks.image_classification.phantom.poses import COLUMNS, ROWS

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

SIDE: Final = 128
PATIENT, STANCE = 1, 2
"""What is drawn, for `Cohort.random`."""
_KNOTS: Final = 5
_WARP_PX: Final = 2.2
_BREATH_PX: Final = 0.8
_MIDDLE: Final = (67.0, (COLUMNS - 1) / 2)
"""Of an image, in a map."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the pixels of an image look: the four pixels around each place, and their shares."""

    rows: "Floats"
    columns: "Floats"
    corner: "npt.NDArray[np.int32]"
    """Of the pixel above and to the left, in a map that is laid flat."""
    down: "Floats"
    right: "Floats"

    def of(self, maps: "Floats") -> "Floats":
        """Values of maps at the places; shape (…, ROWS, COLUMNS) becomes (…, SIDE, SIDE)."""
        flat = maps.reshape(*maps.shape[:-2], ROWS * COLUMNS)
        corner, down, right = self.corner, self.down, self.right
        top = flat[..., corner] * (1 - right) + flat[..., corner + 1] * right
        low = flat[..., corner + COLUMNS] * (1 - right) + flat[..., corner + COLUMNS + 1] * right
        return np.asarray(top * (1 - down) + low * down, dtype=np.float32)


def places_at(rows: "Floats", columns: "Floats") -> Places:
    """The places, those beyond the edges moved to them."""
    inside_rows: Floats = np.clip(rows, 0, ROWS - 1.001).astype(np.float32)
    inside_columns: Floats = np.clip(columns, 0, COLUMNS - 1.001).astype(np.float32)
    row, column = inside_rows.astype(np.int32), inside_columns.astype(np.int32)
    down, right = inside_rows - row.astype(np.float32), inside_columns - column.astype(np.float32)
    return Places(inside_rows, inside_columns, row * np.int32(COLUMNS) + column, down, right)


def places_of(cohort: Cohort, at: int) -> Places:
    """Where the pixels of image `at` look."""
    person = cohort.random(PATIENT, int(cohort.patient[at]))
    tall, wide = person.normal(1.0, 0.05, 2)
    warps = person.normal(0, _WARP_PX, (2, _KNOTS, _KNOTS))
    stance = cohort.random(STANCE, at)
    zoom, turn = stance.normal(1.0, 0.02), np.radians(stance.normal(0, 1.5))
    shift = stance.normal(0, 2.0, 2)
    warps = warps + stance.normal(0, _BREATH_PX, warps.shape)
    v, u = (np.mgrid[0:SIDE, 0:SIDE] - (SIDE - 1) / 2).astype(np.float32)
    moved_v, moved_u = (_woven(knots.astype(np.float32)) for knots in warps)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    rows = (cos * v - sin * u) * np.float32(zoom * tall) + moved_v + np.float32(_MIDDLE[0] + shift[0])
    columns = (sin * v + cos * u) * np.float32(zoom * wide) + moved_u + np.float32(_MIDDLE[1] + shift[1])
    return places_at(rows, columns)


def _woven(knots: "Floats") -> "Floats":
    """A smooth surface through 5 × 5 knots. Added up by hand: see `render`, where it blurs."""
    weave = _weave()
    lines = np.zeros((SIDE, _KNOTS), dtype=np.float32)
    surface = np.zeros((SIDE, SIDE), dtype=np.float32)
    for at in range(_KNOTS):
        lines += weave[:, at, None] * knots[at]
    for at in range(_KNOTS):
        surface += lines[:, at, None] * weave[:, at]
    return surface


@cache
def _weave() -> "Floats":
    """What makes a smooth line through 5 values: the natural cubic spline, shape (SIDE, 5)."""
    from scipy.interpolate import CubicSpline

    spline = CubicSpline(np.arange(_KNOTS), np.eye(_KNOTS), bc_type="natural")
    woven: Floats = spline(np.linspace(0, _KNOTS - 1, SIDE)).astype(np.float32)
    return woven
