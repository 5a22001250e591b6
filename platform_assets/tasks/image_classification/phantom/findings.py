"""The findings: what they add to a lung, in millimetres of water, and the box that they are in."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from platform_assets.tasks.image_classification.phantom.cohort import FINDINGS, Cohort
from platform_assets.tasks.image_classification.phantom.geometry import SIDE, Places
from platform_assets.tasks.image_classification.phantom.poses import COLUMNS

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

AMPLITUDE_MM: Final = 75.0
_BY_GRADE: Final = (0.40, 0.20)
"""Of the amplitude: a share for any grade, and one for each."""
_FINDING: Final = 11
_DEEP_MM: Final = 60.0
"""From where on lung is deep enough to hold a whole finding."""
_LEAST_DEPTH_MM: Final = 85.0
"""Of lung, in every pose, at the middle of a finding."""
_IN_BOX: Final = 0.3
"""Of the greatest value, that is still in the box."""
_LEAST_SIDE: Final = 3


@dataclass(frozen=True, slots=True)
class Box:
    """Pixels of an image; bottom and right are the first beyond."""

    top: int
    left: int
    bottom: int
    right: int


def common_depth(maps: "Floats") -> "Floats":
    """The least lung that any pose has at each place of a map, in millimetres.

    Args:
        maps: Of lung depth, shape (poses, rows, columns).
    """
    least: Floats = maps.min(axis=0)
    return least


def finding_of(cohort: Cohort, at: int, places: Places, depth: "Floats", common: "Floats") -> "Floats | None":
    """What the finding of image `at` adds, shape (SIDE, SIDE); None where it has none.

    Args:
        cohort: All images.
        at: Which.
        places: Where its pixels look.
        depth: Lung at its pixels, in millimetres.
        common: `common_depth`.
    """
    if cohort.finding[at] < 0:
        return None
    random = cohort.random(_FINDING, at)
    row, column = _middle(random, common)
    pattern = _PATTERNS[FINDINGS[cohort.finding[at]]](random, places.rows - row, places.columns - column)
    pattern *= np.minimum(depth / np.float32(_DEEP_MM), 1)
    share, by_grade = _BY_GRADE
    pattern *= np.float32(AMPLITUDE_MM * (share + by_grade * cohort.grade[at]))
    return pattern


def box_of(added: "Floats") -> Box:
    """The box that a finding is in."""
    is_in = added > _IN_BOX * added.max()
    rows, columns = np.flatnonzero(is_in.any(axis=1)), np.flatnonzero(is_in.any(axis=0))
    (top, bottom), (left, right) = (_widened(int(each[0]), int(each[-1]) + 1) for each in (rows, columns))
    return Box(top, left, bottom, right)


def _widened(first: int, end: int) -> tuple[int, int]:
    while end - first < _LEAST_SIDE:
        first, end = max(0, first - 1), min(SIDE, end + 1)
    return first, end


def _middle(random: np.random.Generator, common: "Floats") -> tuple[np.float32, np.float32]:
    inside = np.flatnonzero(common > _LEAST_DEPTH_MM)
    place = int(inside[random.integers(len(inside))])
    return np.float32(place // COLUMNS), np.float32(place % COLUMNS)


def _nodule(random: np.random.Generator, rows: "Floats", columns: "Floats") -> "Floats":
    """A ball with a soft rim."""
    radius = np.float32(random.uniform(3.0, 5.6))
    away = (rows**2 + columns**2) / radius**2
    ball: Floats = np.exp(-(away**1.5))
    return ball


def _consolidation(random: np.random.Generator, rows: "Floats", columns: "Floats") -> "Floats":
    """A wide cloud, longer one way than the other, with lighter places in it."""
    long, short = (np.float32(each) for each in (random.uniform(11, 18), random.uniform(8, 12)))
    turn = random.uniform(0, np.pi)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    away = ((cos * rows + sin * columns) / long) ** 2 + ((cos * columns - sin * rows) / short) ** 2
    haze = np.ones_like(rows)
    for _ in range(6):
        down, right, phase = (np.float32(each) for each in random.uniform(-1, 1, 3) * (0.5, 0.5, np.pi))
        haze += np.float32(0.10) * np.sin(down * rows + right * columns + phase)
    return np.asarray(np.exp(-(away**1.5)) * np.maximum(haze, 0), dtype=np.float32)


def _multifocal(random: np.random.Generator, rows: "Floats", columns: "Floats") -> "Floats":
    """Several small clouds near each other."""
    summed = np.zeros_like(rows)
    for _ in range(int(random.integers(3, 7))):
        row, column = (np.float32(each) for each in random.normal(0, 8.0, 2))
        radius = np.float32(random.uniform(3.0, 5.5))
        away = ((rows - row) ** 2 + (columns - column) ** 2) / radius**2
        summed = np.maximum(summed, np.float32(random.uniform(0.7, 1.0)) * np.exp(-away))
    return summed


_PATTERNS: Final = {"nodule": _nodule, "consolidation": _consolidation, "multifocal": _multifocal}
