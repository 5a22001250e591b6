"""The first image of a file, decoded within bounds: two dimensions, light is high, nothing else done to it.

Sizes are checked before any byte is decoded: those of the header against the limits, those of a compressed stream
against the header. MONOCHROME1, where high is dark, is inverted here, once, and nowhere else.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from platform_assets.tasks.image_classification.dicom.codestream_extras import has_extras
from platform_assets.tasks.image_classification.dicom.codestreams import is_of_size
from platform_assets.tasks.image_classification.dicom.files import FileProblemError
from platform_assets.tasks.image_classification.dicom.header_rules import (
    ALLOCATED,
    COLUMNS,
    PHOTOMETRIC,
    ROWS,
    SAMPLES,
    SIGNED,
    STORED,
    frames_of,
)
from platform_assets.tasks.image_classification.dicom.limits import Limits
from platform_assets.tasks.image_classification.dicom.reading import (
    BIG_ENDIAN,
    NATIVE,
    Header,
    Pixels,
    fragments,
)

if TYPE_CHECKING:
    import numpy.typing as npt

DECODES: Final = "dicom.image.decodes"
NO_DECODER: Final = "dicom.image.no_decoder"
_SAMPLE_BYTES: Final = {8: 1, 16: 2}
_OFFSET_BYTES: Final = 4
_PANIC: Final = "PanicException"


@dataclass(frozen=True, slots=True)
class Image:
    """One image."""

    values: "npt.NDArray[np.uint16]"
    """Shape (rows, columns); 0 to 2**bits - 1, light is high."""
    bits: int
    """Bits Stored."""
    was_inverted: bool
    """Whether the file has it the other way round (MONOCHROME1)."""
    hidden: int
    """Pixels that hold something in bits that are not theirs."""
    has_extras: bool = False
    """Whether a compressed image carries what is no pixels: comments, EXIF, another image, offsets that are none."""


def read_image(header: Header, limits: Limits) -> Image:
    """The first frame of a file. To be called within `quiet_pydicom`.

    Raises:
        FileProblemError: It has none of one unsigned sample a pixel, it is larger than the limits, it is not what its
            header says, or no decoder is installed that can read it.
    """
    rows, columns, samples, allocated, stored, signed = (
        header.number(tag) or 0 for tag in (ROWS, COLUMNS, SAMPLES, ALLOCATED, STORED, SIGNED)
    )
    sample_bytes, frames, pixels = _SAMPLE_BYTES.get(allocated), frames_of(header), header.pixels
    if sample_bytes is None or not frames or pixels is None or samples != 1 or signed:
        raise FileProblemError(DECODES)
    if not 0 < rows * columns <= limits.pixels or frames > limits.frames or not 0 < stored <= allocated:
        raise FileProblemError(DECODES)
    if pixels.is_encapsulated == (header.transfer_syntax in NATIVE):
        raise FileProblemError(DECODES)
    extras = False
    if pixels.is_encapsulated:
        values, extras = _decoded(header, pixels, rows, columns, sample_bytes, frames)
    else:
        values = _native(header, pixels, rows, columns, sample_bytes)
    top = (1 << stored) - 1
    hidden = int(np.count_nonzero(values > top)) if stored < allocated else 0
    if hidden:
        values = values & np.uint16(top)
    was_inverted = header.text(PHOTOMETRIC) == "MONOCHROME1"
    upright = np.subtract(top, values, dtype=np.uint16) if was_inverted else values
    return Image(upright, stored, was_inverted, hidden, extras)


def _native(
    header: Header, pixels: Pixels, rows: int, columns: int, sample_bytes: int
) -> "npt.NDArray[np.uint16]":
    if pixels.length < rows * columns * sample_bytes:
        raise FileProblemError(DECODES)
    order = ">" if header.transfer_syntax == BIG_ENDIAN else "<"
    if order == ">" and sample_bytes == 1:
        # Of words (OW) the bytes are swapped: PS3.5, annex A.3.
        words = np.frombuffer(header.content, ">u2", (rows * columns + 1) // 2, pixels.start)
        return words.astype("<u2").view(np.uint8)[: rows * columns].reshape(rows, columns).astype(np.uint16)
    flat = np.frombuffer(header.content, f"{order}u{sample_bytes}", rows * columns, pixels.start)
    # Where they are so already, they stay where they are: nothing here writes to them.
    return flat.reshape(rows, columns).astype(np.uint16, copy=False)


def _decoded(
    header: Header, pixels: Pixels, rows: int, columns: int, sample_bytes: int, frames: int
) -> "tuple[npt.NDArray[np.uint16], bool]":
    """The pixels, and whether there is more than pixels."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels import get_decoder

    syntax = header.transfer_syntax
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:  # pydicom's word for a transfer syntax that it knows no decoder of
        raise FileProblemError(NO_DECODER) from None
    if not decoder.is_available:
        raise FileProblemError(NO_DECODER)
    frame, has_other_offsets = _first_frame(header.content, pixels, frames)
    if not is_of_size(frame, syntax, rows=rows, columns=columns, samples=1, sample_bytes=sample_bytes):
        raise FileProblemError(DECODES)
    described: dict[str, Any] = {
        "rows": rows,
        "columns": columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "photometric_interpretation": header.text(PHOTOMETRIC),
        "bits_allocated": sample_bytes * 8,
        "bits_stored": header.number(STORED),
        "pixel_representation": 0,
        "pixel_keyword": "PixelData",
    }
    try:
        values, _ = decoder.as_array(encapsulate([frame]), index=0, raw=True, **described)
    except BaseException as problem:
        # The decoders raise RuntimeError, ValueError, AttributeError and more; one in Rust panics, which is no Exception.
        if isinstance(problem, Exception) or type(problem).__name__ == _PANIC:
            raise FileProblemError(DECODES) from None
        raise
    if values.shape != (rows, columns):
        raise FileProblemError(DECODES)
    return np.asarray(values, dtype=np.uint16), has_other_offsets or has_extras(frame, syntax)


def _first_frame(content: bytes, pixels: Pixels, frames: int) -> tuple[bytes, bool]:
    """The first compressed frame, and whether the table of offsets before it holds something else (PS3.5, A.4)."""
    from pydicom.encaps import get_frame

    (_, start, end), *parts, _ = fragments(content[: pixels.start + pixels.length], pixels.start)
    if frames == 1:
        return b"".join(content[first:last] for _, first, last in parts), bool(
            content[start:end].strip(b"\0")
        )
    if end - start not in (0, frames * _OFFSET_BYTES):
        raise FileProblemError(DECODES)
    try:
        return get_frame(
            content[pixels.start : pixels.start + pixels.length], 0, number_of_frames=frames
        ), False
    except Exception:  # noqa: BLE001 - pydicom raises many kinds
        raise FileProblemError(DECODES) from None
