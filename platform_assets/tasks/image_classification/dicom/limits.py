"""Bounds that hold before anything is read, unpacked or decoded: a file's own words about its size are not trusted."""

from typing import Annotated

from pydantic import Field

from platform_assets.manifest import Section

_Positive = Annotated[int, Field(gt=0)]


class Limits(Section):
    """How much a source and a file may take. The defaults hold any chest X-ray, and 2 cores with 2 GB of memory."""

    files: _Positive = 1_000_000
    """Of a source; entries of an archive."""
    file_bytes: _Positive = 128 << 20
    """Of one file. A larger one is rejected unread."""
    header_bytes: _Positive = 4 << 20
    """Of all that stands before the pixels, and of what stands behind them."""
    header_elements: _Positive = 20_000
    """Attributes there, with those inside sequences."""
    depth: Annotated[int, Field(gt=0, le=32)] = 12
    """Of sequences inside sequences."""
    inflated_bytes: _Positive = 128 << 20
    """What a deflated file may come to."""
    pixels: _Positive = 64_000_000
    """Rows × columns × samples of one frame."""
    frames: _Positive = 10_000
    """That a file may claim."""
    archive_ratio: _Positive = 250
    """How many bytes one byte of an archive may stand for, where that is more than a mebibyte."""
    directory_bytes: _Positive = 256 << 20
    """Of an archive's list of its entries."""
