"""What of a file is kept when it passes through the gate: its image, reduced, and what is drawn of its patient."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from platform_assets.datasets.row_spool import RowSpool
from platform_assets.datasets.splits import drawn_splits
from platform_assets.governance.subjects import hash_of
from platform_assets.tasks.image_classification.dataset_spec import PatientSplitSpec
from platform_assets.tasks.image_classification.dicom.identity import PATIENT_ID
from platform_assets.tasks.image_classification.image_form import reduced
from resources.row_batches import RowBatches

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.tasks.image_classification.dicom.judge import Keep
    from platform_assets.tasks.image_classification.dicom.pixels import Image
    from platform_assets.tasks.image_classification.dicom.reading import Header

_DETECTOR: Final = (0x00080070, 0x00081090, 0x0018700A, 0x00181000)
"""Manufacturer, its model name, detector id, device serial number."""
_UNKNOWN: Final = "train"
"""Of a file of which nothing could be read; it is in no split."""
_BATCH_BYTES: Final = 8 << 20
_BATCH_ROWS: Final = 1024


@dataclass(frozen=True, slots=True)
class Kept:
    """Of one file."""

    split: str
    """That its patient is drawn into."""
    detector: str | None
    """Salted hash of the device."""
    rows: int | None = None
    columns: int | None = None
    """Of the image as it is kept; None where it was not decoded."""
    image: bytes | None = None
    """uint16, little endian, row by row; light is high."""


def keeping(split: PatientSplitSpec, *, cut_test: bool, side_px: int, salt: bytes) -> "Keep":
    """What the gate is to keep of each file.

    Args:
        split: How patients are drawn; by their id, so that it is the same draw wherever it is made.
        cut_test: Whether a test split is drawn.
        side_px: Longest side of images that are kept.
        salt: Of the hash of devices.
    """
    return partial(_kept, split=split, cut_test=cut_test, side_px=side_px, salt=salt)


def _kept(
    header: "Header",
    image: "Image | None",
    *,
    split: PatientSplitSpec,
    cut_test: bool,
    side_px: int,
    salt: bytes,
) -> Kept:
    (drawn,) = drawn_splits([header.spelt(PATIENT_ID)], split, cut_test=cut_test)
    device = [header.text(tag) for tag in _DETECTOR]
    detector = hash_of("device", "\\".join(device), salt) if any(device) else None
    if image is None:
        return Kept(str(drawn), detector)
    values = reduced(image.values, side_px)
    rows, columns = values.shape
    return Kept(str(drawn), detector, rows, columns, values.astype("<u2").tobytes())


class KeptSpool:
    """What is kept of the files of a source, in their order, a row a file."""

    def __init__(self) -> None:
        self._spool = RowSpool(kept_schema())
        self._waiting: list[Kept] = []
        self._bytes = 0

    def take(self, at: int, kept: Kept | None) -> None:  # noqa: ARG002 - they come in order
        """The next file's; None where nothing of it could be read."""
        self._waiting.append(kept or Kept(_UNKNOWN, None))
        self._bytes += len(kept.image or b"") if kept else 0
        if self._bytes > _BATCH_BYTES or len(self._waiting) >= _BATCH_ROWS:
            self._flush()

    def rows(self) -> RowBatches:
        """All of them; none is taken from now on."""
        self._flush()
        return self._spool.rows()

    def _flush(self) -> None:
        import pyarrow as pa

        schema = kept_schema()
        columns = {name: [getattr(each, name) for each in self._waiting] for name in schema.names}
        self._spool.add(pa.RecordBatch.from_pydict(columns, schema))
        self._waiting, self._bytes = [], 0


def kept_schema() -> "pa.Schema":
    """The columns of what is kept: those of `Kept`."""
    import pyarrow as pa

    count = pa.int32()
    return pa.schema(
        [
            pa.field("split", pa.string(), nullable=False),
            ("detector", pa.string()),
            ("rows", count),
            ("columns", count),
            ("image", pa.binary()),
        ]
    )
