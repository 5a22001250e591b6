"""Whether text is written into an image, told without reading it.

Signs are small, thin and lie on one line; anatomy is none of these for long. What is brighter than all that surrounds
it within nine pixels (a white top-hat), falls apart into pieces of the size of signs, and has several such pieces of
about one height on one baseline, at the distances of letters, is taken for text. So is the same in dark.

It finds most of what is legible and misses some: docs/image-gate.md tells how much. It is no proof of its absence.
"""

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

LONGEST_SIDE: Final = 1024
"""Pixels; a larger image is made smaller by a whole number first, for signs of a larger image are larger."""
_OPENING: Final = 9
"""Pixels that a stroke must be narrower than."""
_LEAST_CONTRAST: Final = 20
"""Of 255, that a stroke stands out by."""
_OVER_NOISE: Final = 4.0
"""Times the mean of all strokes, noise among them, that it stands out by."""
_HEIGHTS: Final = (5, 36)
_WIDEST: Final = 40
_FILLED: Final = (0.12, 0.92)
"""Share of a sign's box that its strokes fill."""
_BASELINE: Final = 0.15
"""Of its height, by which the foot of a sign may be off."""
_MOST_PIECES: Final = 4000
_LARGEST_OF_16_BITS: Final = 16
"""Of factors, by which the sum of a block fits into so many bits."""


def signs_on_a_line(image: "npt.NDArray[np.uint8]") -> int:
    """How many signs the longest line of text in an image seems to have; 0 where there is none.

    Args:
        image: Shape (rows, columns), the usual range stretched to 0 to 255.
    """
    if (factor := -(-max(image.shape) // LONGEST_SIDE)) > 1:
        image = _smaller(image, factor)
    return max(_longest_line(image), _longest_line(255 - image))


def _smaller(image: "npt.NDArray[np.uint8]", factor: int) -> "npt.NDArray[np.uint8]":
    """The means of blocks of so many pixels a side; what is left over at the far edges is left out."""
    rows, columns = (max(1, side // factor) for side in image.shape)
    # Rows first, which lie side by side in memory.
    by_rows = np.zeros(
        (rows, image.shape[1]), dtype=np.uint16 if factor <= _LARGEST_OF_16_BITS else np.uint32
    )
    for row in range(min(factor, image.shape[0])):
        by_rows += image[row::factor][:rows]
    summed = np.zeros((rows, columns), dtype=by_rows.dtype)
    for column in range(min(factor, image.shape[1])):
        summed += by_rows[:, column::factor][:, :columns]
    return (summed // factor**2).astype(np.uint8)


def _longest_line(image: "npt.NDArray[np.uint8]") -> int:
    from scipy.ndimage import find_objects, label

    strokes = image - _opened(image)
    marks = strokes > max(_LEAST_CONTRAST, _OVER_NOISE * float(strokes.mean()))
    if not marks.any():
        return 0
    labels, count = label(marks, structure=np.ones((3, 3), dtype=bool))
    if count > _MOST_PIECES:
        return 0
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    boxes = np.array(
        [[part.start, part.stop] for box in find_objects(labels) for part in box], dtype=np.int32
    ).reshape(-1, 4)
    top, bottom, left, right = boxes.T
    height, width = bottom - top, right - left
    filled = areas / (height * width)
    is_sign = (
        (height >= _HEIGHTS[0])
        & (height <= _HEIGHTS[1])
        & (width <= np.minimum(_WIDEST, 2 * height))
        & (filled >= _FILLED[0])
        & (filled <= _FILLED[1])
    )
    return _longest_run(bottom[is_sign], height[is_sign], left[is_sign], right[is_sign])


def _opened(image: "npt.NDArray[np.uint8]") -> "npt.NDArray[np.uint8]":
    """The grey opening by 9 × 9 pixels, which takes away all that is brighter and narrower than that."""
    return _extremes(_extremes(image, np.minimum), np.maximum)


def _extremes(image: "npt.NDArray[np.uint8]", extreme: np.ufunc) -> "npt.NDArray[np.uint8]":
    """The extreme of 9 × 9 pixels around each, by doubling: four passes an axis, each as fast as memory."""
    half = _OPENING // 2
    for axis in (0, 1):
        one = np.moveaxis(
            np.pad(image, [(half, half) if at == axis else (0, 0) for at in (0, 1)], "edge"), axis, 0
        )
        two = extreme(one[:-1], one[1:])
        four = extreme(two[:-2], two[2:])
        eight = extreme(four[:-4], four[4:])
        image = np.moveaxis(extreme(eight[:-1], one[8:]), 0, axis)
    return image


def _longest_run(
    bottom: "npt.NDArray[np.int32]",
    height: "npt.NDArray[np.int32]",
    left: "npt.NDArray[np.int32]",
    right: "npt.NDArray[np.int32]",
) -> int:
    """The most signs of one height on one baseline, each near the one before."""
    most = 0
    for foot, tall in {(int(foot), int(tall)) for foot, tall in zip(bottom, height, strict=True)}:
        slack = max(1.0, _BASELINE * tall)
        alike = (np.abs(bottom - foot) <= slack) & (height >= 0.65 * tall) & (height <= 1.35 * tall)
        order = np.argsort(left[alike])
        starts, ends = left[alike][order], right[alike][order]
        gaps = starts[1:] - ends[:-1]
        run = best = 1
        for gap in gaps:
            run = run + 1 if -1 <= gap <= 1.2 * tall else 1
            best = max(best, run)
        most = max(most, best)
    return most
