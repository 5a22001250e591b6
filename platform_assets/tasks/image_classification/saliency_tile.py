"""One image with what an answer rests on, as a PNG."""

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray

_LEAST_SIDE: Final = 256
_WARM: Final = (213, 94, 0)
_BOX: Final = (0, 158, 115)
_MARK: Final = (255, 255, 255)
_STRONGEST: Final = 0.55
"""Share of the colour where a map is highest: the image stays to be seen beneath."""


def tile(
    image: NDArray[np.uint8],
    found: NDArray[np.float64],
    peak: tuple[float, float],
    box: NDArray[np.float64] | None,
) -> bytes:
    """The image in grey, the map's positive part in orange over it, its maximum as a ring, the box of a finding in green.

    Args:
        image: Shape (s, s).
        found: Shape (s, s); above 0 where the answer would be lower without it.
        peak: Row and column of the map's maximum.
        box: Top, left, bottom and right; None where there is none.

    Returns:
        A PNG, enlarged by a whole number to 256 pixels a side where it was smaller.
    """
    from PIL import Image, ImageDraw

    times = -(-_LEAST_SIDE // len(image))
    strength = np.clip(found, 0, None)
    strength = (strength / strength.max() if strength.max() > 0 else strength) * _STRONGEST
    grey = np.repeat(image[..., None].astype(np.float64), 3, axis=2)
    mixed = grey * (1 - strength[..., None]) + np.array(_WARM) * strength[..., None]
    picture = Image.fromarray(np.rint(mixed).astype(np.uint8)).resize(
        (len(image) * times,) * 2, Image.Resampling.BICUBIC
    )
    draw = ImageDraw.Draw(picture)
    if box is not None:
        top, left, bottom, right = (float(edge) * times for edge in box)
        draw.rectangle((left, top, right - 1, bottom - 1), outline=_BOX, width=2)
    row, column = ((each + 0.5) * times for each in peak)
    draw.ellipse((column - 6, row - 6, column + 6, row + 6), outline=_MARK, width=2)
    buffer = io.BytesIO()
    picture.save(buffer, format="png", optimize=True)
    return buffer.getvalue()
