"""What else is in front of a lung: leads and their wires, lines, a pacemaker, nipples, old scars, folds of skin.

None of it is a finding. Everything is what it adds, in millimetres of water, at the pixels of an image, shape (SIDE, SIDE);
rows count downwards and columns to the viewer's right, which is the patient's left.
"""

from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from platform_assets.tasks.image_classification.phantom.cohort import Cohort
from platform_assets.tasks.image_classification.phantom.geometry import SIDE, Places

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

_OF_PERSON, _OF_IMAGE, _LEADS, _BREASTS = 21, 22, 23, 24
_PACER, _SCARS, _NIPPLES, _FOLD, _LINE = 0.04, 0.12, 0.14, 0.12, 0.22
"""How often; folds and lines only where somebody lies (AP)."""
_WIRE_MM, _DISC_MM, _PACER_MM, _LINE_MM = 16.0, 26.0, 60.0, 12.0
_LETTER: Final = ("1....", "1....", "1....", "1....", "1....", "1....", "11111")
_MARKER_ROWS, _MARKER_COLUMNS = (4, 12), (4, 14)


def hardware_of(cohort: Cohort, at: int, places: Places, depth: "Floats") -> "Floats":
    """All of it, for image `at`.

    Args:
        cohort: All images.
        at: Which.
        places: Where its pixels look.
        depth: Lung at its pixels, in millimetres.
    """
    added = np.zeros((SIDE, SIDE), dtype=np.float32)
    person = cohort.random(_OF_PERSON, int(cohort.patient[at]))
    image = cohort.random(_OF_IMAGE, at)
    if person.random() < _SCARS:
        for _ in range(int(person.integers(1, 4))):
            row, column = person.uniform(25, 85), person.choice((-1, 1)) * person.uniform(14, 38) + 71.5
            radius = person.uniform(0.8, 1.4)
            away = (places.rows - np.float32(row)) ** 2 + (places.columns - np.float32(column)) ** 2
            added += np.float32(person.uniform(8, 18)) * np.exp(-away / np.float32(radius**2)) * (depth > 0)
    if person.random() < _NIPPLES:
        row, out = person.uniform(72, 84), person.uniform(28, 36)
        for column in (71.5 - out, 71.5 + out):
            away = (places.rows - np.float32(row)) ** 2 + (places.columns - np.float32(column)) ** 2
            added += np.float32(person.uniform(3, 7)) * np.exp(-((away / np.float32(1.9**2)) ** 2))
    if person.random() < _PACER:
        _pacer(person, added)
    if cohort.has_leads[at]:
        _leads(image, added)
    if cohort.is_ap[at]:
        if image.random() < _FOLD:
            _fold(image, added)
        if image.random() < _LINE:
            start, end = (8, image.uniform(82, 96)), (image.uniform(50, 62), image.uniform(58, 64))
            _curve(added, start, end, image.uniform(-8, 8), _LINE_MM)
    return added


def marker_of(cohort: Cohort, at: int) -> "Floats":
    """The letter of lead that tells the patient's left, 1 where it is; shape (SIDE, SIDE)."""
    marker = np.zeros((SIDE, SIDE), dtype=np.float32)
    image = cohort.random(_LEADS, at)
    letter = np.array([[sign == "1" for sign in row] for row in _LETTER], dtype=np.float32)
    row, column = int(image.integers(*_MARKER_ROWS)), SIDE - int(image.integers(*_MARKER_COLUMNS)) - 5
    marker[row : row + 7, column : column + 5] = letter
    return marker


def breasts_of(cohort: Cohort, at: int, places: Places) -> "Floats | None":
    """Millimetres of water of breasts; None for who has none."""
    if not cohort.is_woman[at]:
        return None
    person = cohort.random(_BREASTS, int(cohort.patient[at]))
    size, down = np.float32(person.uniform(8, 38)), np.float32(person.uniform(74, 86))
    out, radius = np.float32(person.uniform(24, 30)), np.float32(person.uniform(15, 21))
    summed = np.zeros_like(places.rows)
    for side in (-1, 1):
        across = (places.columns - np.float32(71.5) - side * out) / radius
        along = places.rows - down
        along = along / (radius * np.where(along > 0, np.float32(0.8), np.float32(1.3)))
        summed += np.sqrt(np.maximum(0, 1 - across**2 - along**2))
    return size * summed


def _leads(random: np.random.Generator, added: "Floats") -> None:
    for side in (-1, 1):
        for low in range(int(random.integers(1, 3))):
            row = random.uniform(18, 34) if not low else random.uniform(78, 98)
            column = 63.5 + side * random.uniform(26, 44)
            _disc(added, row, column, random.uniform(2.0, 2.8), _DISC_MM)
            end = (random.uniform(100, 130), 63.5 + side * random.uniform(8, 50))
            _curve(added, (row, column), end, random.uniform(-14, 14), _WIRE_MM)


def _pacer(random: np.random.Generator, added: "Floats") -> None:
    row, column = random.uniform(22, 32), random.uniform(96, 106)
    rows, columns = _grid()
    away = ((rows - np.float32(row)) / 6.5) ** 4 + ((columns - np.float32(column)) / 7.5) ** 4
    added += np.float32(_PACER_MM) / (1 + np.exp(np.clip(14 * (away - 1), -40, 40))).astype(np.float32)
    _curve(added, (row + 3, column - 6), (random.uniform(72, 84), random.uniform(66, 78)), -14, 10)


def _fold(random: np.random.Generator, added: "Floats") -> None:
    """An edge that runs down one side, with a shade that fades away from it."""
    rows, columns = _grid()
    side = random.choice((-1, 1))
    edge = np.float32(63.5 + side * random.uniform(22, 38)) + np.float32(random.uniform(-0.25, 0.25)) * (
        rows - 64
    )
    beyond = (columns - edge) * np.float32(side)
    shade = np.where(beyond > 0, np.exp(-np.maximum(beyond, 0) / np.float32(random.uniform(6, 14))), 0)
    lasts = np.exp(-(((rows - np.float32(random.uniform(50, 80))) / 34) ** 4))
    added += (np.float32(random.uniform(4, 9)) * shade * lasts).astype(np.float32)


def _disc(added: "Floats", row: float, column: float, radius: float, height: float) -> None:
    top, left, rows, columns = _window(row, column, radius + 2)
    away = np.sqrt((rows - np.float32(row)) ** 2 + (columns - np.float32(column)) ** 2)
    part = np.float32(height) * np.clip(np.float32(radius) + 0.5 - away, 0, 1)
    added[top : top + rows.shape[0], left : left + columns.shape[1]] += part


def _curve(
    added: "Floats", start: tuple[float, float], end: tuple[float, float], bow: float, height: float
) -> None:
    """A wire of about one pixel from one place to another."""
    length = int(3 * (abs(end[0] - start[0]) + abs(end[1] - start[1]))) + 2
    along = np.linspace(0, 1, length, dtype=np.float32)
    rows = start[0] + (end[0] - start[0]) * along
    columns = start[1] + (end[1] - start[1]) * along + bow * np.sin(np.pi * along)
    wire = np.zeros((SIDE + 2, SIDE + 2), dtype=np.float32)
    row, column = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    down, right = rows - row, columns - column
    for low, share_down in ((0, 1 - down), (1, down)):
        for over, share_right in ((0, 1 - right), (1, right)):
            at = (np.clip(row + low, 0, SIDE + 1), np.clip(column + over, 0, SIDE + 1))
            np.maximum.at(wire, at, (share_down * share_right).astype(np.float32))
    added += np.float32(height) * np.sqrt(wire[:SIDE, :SIDE])


def _window(row: float, column: float, reach: float) -> Any:
    top, left = (max(0, int(each - reach)) for each in (row, column))
    bottom, right = (min(SIDE, int(each + reach) + 1) for each in (row, column))
    rows, columns = _grid()
    return top, left, rows[top:bottom], columns[:, left:right]


@cache
def _grid() -> "tuple[Floats, Floats]":
    rows, columns = np.ogrid[0:SIDE, 0:SIDE]
    return rows.astype(np.float32), columns.astype(np.float32)
