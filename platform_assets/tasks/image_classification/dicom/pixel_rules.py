"""The pixel stage: what is wrong with an image that decodes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from platform_assets.tasks.image_classification.dicom.burned_text import signs_on_a_line
from platform_assets.tasks.image_classification.dicom.pixels import Image
from platform_assets.tasks.image_classification.dicom.rules import GateRules
from platform_assets.tasks.image_classification.dicom.verdicts import Finding

if TYPE_CHECKING:
    import numpy.typing as npt

_AT_ONCE: Final = 1 << 16
"""Pixels that fit into a processor's cache, as the wider numbers that numpy makes of them do."""
TAILS: Final = 0.0005
"""Share of pixels at each end of the range that stretching leaves out."""


@dataclass(frozen=True, slots=True)
class Greys:
    """What the histogram of an image tells."""

    levels: int
    """How many values occur."""
    clipped: float
    """Share of pixels with the lowest or with the highest of them, whichever is more."""
    low: int
    """Of the range that all but the tails are in."""
    high: int


def greys_of(image: Image) -> Greys:
    """The histogram of an image, summed up."""
    values, size = image.values.ravel(), int(image.values.max()) + 1
    counts = np.zeros(size, dtype=np.int64)
    for start in range(0, len(values), _AT_ONCE):
        counts += np.bincount(values[start : start + _AT_ONCE], minlength=size)
    occurring = np.flatnonzero(counts)
    sums = np.cumsum(counts)
    low, high = np.searchsorted(sums, [TAILS * sums[-1], (1 - TAILS) * sums[-1]])
    ends = max(counts[occurring[0]], counts[occurring[-1]])
    return Greys(len(occurring), float(ends / sums[-1]), int(low), int(high))


def stretched(image: Image, greys: Greys) -> "npt.NDArray[np.uint8]":
    """The image with its usual range stretched to 0 to 255; shape (rows, columns)."""
    table = np.arange(1 << 16, dtype=np.float32) - greys.low
    table *= 255 / max(1, greys.high - greys.low)
    lights = np.clip(table, 0, 255).astype(np.uint8)
    values, light = image.values.ravel(), np.empty(image.values.shape, dtype=np.uint8)
    flat = light.ravel()
    for start in range(0, len(values), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        np.take(
            lights, values[part], out=flat[part], mode="clip"
        )  # of 16 bits each is within; clipping asks nothing
    return light


def judge_pixels(
    image: Image, rules: GateRules, greys: Greys, light: "npt.NDArray[np.uint8]"
) -> Iterator[Finding]:
    """The findings of an image by itself.

    Args:
        image: The image.
        rules: What is asked.
        greys: Its histogram.
        light: What `stretched` makes of it.
    """
    of_image, of_identity = rules.image, rules.identity
    if (rule := of_image.constant) and greys.levels < rule.least_levels:
        yield Finding("dicom.image.constant", rule.verdict, (), greys.levels)
    elif (clipped := of_image.clipped) and greys.clipped > clipped.most_share:
        yield Finding("dicom.image.clipped", clipped.verdict, (), round(greys.clipped * image.values.size))
    if (hidden := of_identity.hidden_bytes) and (image.hidden or image.has_extras):
        yield Finding("dicom.identity.hidden_bytes", hidden.verdict, ("PixelData",), max(1, image.hidden))
    if (text := of_identity.burned_in_text) and greys.levels > 1:
        signs = signs_on_a_line(light)
        if signs >= text.least_signs:
            yield Finding("dicom.identity.burned_in_text", text.verdict, ("PixelData",), signs)
