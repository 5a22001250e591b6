"""One image in the one form that features, training and answers share: square, 8 bits, light is high.

An image is reduced or enlarged first, then its own range is stretched. Reducing takes means of areas, so that no pixel
is lost and nothing new appears; enlarging interpolates between neighbours. Both are sums along rows, then along columns,
always in the same order: the same image becomes the same bytes, whatever else is in a table and however many cores there
are.

Symbols: R rows and C columns of an image, S side of the form.
"""

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from platform_assets.features.errors import FeatureError
from platform_assets.tasks.image_classification.model_spec import ImageFormSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

IMAGE_COLUMNS: Final = ("image", "stored_rows", "stored_columns")
"""Of a dataset: where its images stand."""
_TOP: Final = 255
_CHUNK_ROWS: Final = 64


def formed(image: "NDArray[np.uint16]", form: ImageFormSpec) -> "NDArray[np.uint8]":
    """The image in this form, shape (S, S).

    Args:
        image: Shape (R, C), at least a pixel; whatever its highest value is, only order and proportion matter.
        form: Side, fit and window.
    """
    side = form.image_size
    if form.fit == "crop":
        image = _middle(image)
    height, width = (side, side) if form.fit == "stretch" else _within(image.shape, side)
    values = _resized(_resized(image, height).T, width).T
    low, high = np.percentile(values, (form.window_low_percentile, form.window_high_percentile))
    # A plain image is dark: half of nothing is nothing, and dividing by it would make noise of rounding.
    scale = _TOP / (high - low) if high - low > 1e-6 * max(1.0, abs(high)) else 0.0
    grey = np.rint(np.clip((values - low) * scale, 0, _TOP)).astype(np.uint8)
    if grey.shape == (side, side):
        return np.ascontiguousarray(grey)
    padded = np.zeros((side, side), dtype=np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    padded[top : top + height, left : left + width] = grey
    return padded


def reduced(image: "NDArray[np.uint16]", longest_px: int) -> "NDArray[np.uint16]":
    """The image with its longest side at most so long, by the means of areas; itself where it already is.

    Args:
        image: Shape (R, C).
        longest_px: Pixels of the longest side.
    """
    if max(image.shape) <= longest_px:
        return image
    height, width = _within(image.shape, longest_px)
    values = _resized(_resized(image, height).T, width).T
    return np.ascontiguousarray(np.rint(values).astype(np.uint16))


def formed_rows(
    rows: "pa.Table", form: ImageFormSpec, chosen: "NDArray[np.bool_] | None" = None
) -> "NDArray[np.uint8]":
    """The images of a dataset's rows in this form, shape (N, S, S), in their order.

    Args:
        rows: With `IMAGE_COLUMNS`.
        form: Side, fit and window.
        chosen: Which of the rows, shape (rows,); all of them if None.

    Raises:
        FeatureError: An image is not as large as its row says.
    """
    count = rows.num_rows if chosen is None else int(np.count_nonzero(chosen))
    pixels = np.empty((count, form.image_size, form.image_size), dtype=np.uint8)
    for at, image in enumerate(_images(rows, chosen)):
        pixels[at] = formed(image, form)
    return pixels


def brightness_and_contrast(
    pixels: "NDArray[np.uint8]",
) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    """Mean and standard deviation of each image's pixels as shares of the whole range, shapes (N,): what drift watches.

    Args:
        pixels: Shape (N, S, S).
    """
    flat = pixels.reshape(len(pixels), pixels.shape[1] * pixels.shape[2])
    # Exact in integers, so that they do not depend on the order in which they are added up.
    counts = max(1, flat.shape[1])
    sums = flat.sum(axis=1, dtype=np.int64)
    squares = np.array([int(np.dot(each, each)) for each in flat.astype(np.int64)], dtype=np.int64)
    means = sums / counts
    spread = np.sqrt(np.maximum(0, squares / counts - means**2))
    return means / _TOP, spread / _TOP


def _images(rows: "pa.Table", chosen: "NDArray[np.bool_] | None") -> "Iterator[NDArray[np.uint16]]":
    """The stored images, one after the other: all of them at once may be more than there is memory."""
    at = 0
    for batch in rows.select(list(IMAGE_COLUMNS)).to_batches(max_chunksize=_CHUNK_ROWS):
        stored, heights, widths = (batch.column(name) for name in IMAGE_COLUMNS)
        for within, (height, width) in enumerate(zip(heights.to_pylist(), widths.to_pylist(), strict=True)):
            if chosen is None or chosen[at + within]:
                yield _image(stored[within], height, width, row=at + within)
        at += batch.num_rows


def _image(stored: Any, height: int | None, width: int | None, *, row: int) -> "NDArray[np.uint16]":
    content = stored.as_buffer() if stored.is_valid else b""
    flat = np.frombuffer(content, "<u2", len(content) // 2) if len(content) else np.empty(0, "<u2")
    if not height or not width or len(content) != 2 * height * width:
        raise FeatureError(
            f"row {row + 1} of the dataset: column image has {len(content)} bytes, which are no {height} rows of "
            f"{width} pixels of 2 bytes; make the dataset again"
        )
    return flat.reshape(height, width)


def _middle(image: "NDArray[np.uint16]") -> "NDArray[np.uint16]":
    height, width = image.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def _within(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Rows and columns of an image whose longest side becomes `side`."""
    longest = max(shape)
    height, width = (max(1, (2 * each * side + longest) // (2 * longest)) for each in shape)
    return height, width


def _resized(values: "NDArray[Any]", rows: int) -> "NDArray[np.float64]":
    """So many rows instead of those that there are."""
    if values.shape[0] == rows:
        return values.astype(np.float64, copy=False)
    resized: NDArray[np.float64] = _weights(values.shape[0], rows) @ values
    return resized


@lru_cache(maxsize=64)
def _weights(before: int, after: int) -> Any:
    """Of each old row in each new one: a sparse matrix, shape (after, before), whose rows add up to 1."""
    from scipy.sparse import csr_array

    dense = np.zeros((after, before))
    if after < before:
        edges = np.arange(after + 1) * (before / after)
        for row, (start, end) in enumerate(pairwise(edges)):
            first, last = int(start), min(before, int(np.ceil(end - 1e-9)))
            cells = np.arange(first, last)
            dense[row, first:last] = np.minimum(cells + 1, end) - np.maximum(cells, start)
    else:
        # Centres of pixels lie in the middle of them; beyond the outermost centres, these go on.
        centres = np.clip((np.arange(after) + 0.5) * (before / after) - 0.5, 0, before - 1)
        lower = np.minimum(centres.astype(np.int64), max(0, before - 2))
        share = centres - lower
        dense[np.arange(after), lower] = 1 - share
        dense[np.arange(after), np.minimum(lower + 1, before - 1)] += share
    return csr_array(dense / dense.sum(axis=1, keepdims=True))
