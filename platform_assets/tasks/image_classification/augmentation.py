"""Training images, each a little different every time: turned, scaled, moved, mirrored, lighter or darker.

Every image of a batch draws for itself. What is drawn follows from torch's seed alone, which the loop sets for every step
and process, so that a run that goes on draws the same. Imported only where torch is needed anyway.

Symbols: B images, S side.
"""

import math
from typing import Any

import torch  # noqa: TID253 - nothing that definitions import imports this module

from platform_assets.tasks.image_classification.model_spec import ResNetParameters

_DRAWN = 7
"""Numbers of an image: turn, scale, two shifts, mirror, contrast, brightness."""


def augmented(pixels: Any, parameters: ResNetParameters) -> Any:
    """The images as they are seen this time, float32 from 0 to 1, shape (B, 1, S, S).

    Args:
        pixels: uint8, shape (B, 1, S, S), on any device.
        parameters: By how much they are changed.
    """
    # On the CPU, so that the same is drawn wherever the images are.
    drawn = torch.rand(len(pixels), _DRAWN).to(pixels.device)
    either_way = drawn * 2 - 1
    values = pixels.float() / 255
    if (grid := _grid(drawn, either_way, values.shape, parameters)) is not None:
        values = torch.nn.functional.grid_sample(values, grid, padding_mode="border", align_corners=False)
    contrast, brightness = parameters.augment_contrast, parameters.augment_brightness
    if contrast or brightness:
        means = values.mean(dim=(2, 3), keepdim=True)
        factors = (1 + contrast * either_way[:, 5])[:, None, None, None]
        offsets = (brightness * either_way[:, 6])[:, None, None, None]
        values = ((values - means) * factors + means + offsets).clamp_(0, 1)
    return values


def _grid(drawn: Any, either_way: Any, shape: Any, parameters: ResNetParameters) -> Any:
    """Where each pixel is taken from, shape (B, S, S, 2); None where all stay where they are."""
    turn, scale, shift = (
        math.radians(parameters.augment_rotation_degrees),
        parameters.augment_scale,
        parameters.augment_shift,
    )
    if not (turn or scale or shift or parameters.augment_flip):
        return None
    angles = turn * either_way[:, 0]
    sizes = 1 + scale * either_way[:, 1]
    cosines, sines = sizes * angles.cos(), sizes * angles.sin()
    mirrored = torch.where(drawn[:, 4] < 0.5, -1.0, 1.0) if parameters.augment_flip else 1.0  # noqa: PLR2004 - a half
    # Coordinates run from -1 to 1: a side is 2 long.
    moves = 2 * shift * either_way[:, 2:4]
    across = torch.stack([cosines * mirrored, -sines, moves[:, 0]], dim=1)
    down = torch.stack([sines * mirrored, cosines, moves[:, 1]], dim=1)
    return torch.nn.functional.affine_grid(
        torch.stack([across, down], dim=1), list(shape), align_corners=False
    )
