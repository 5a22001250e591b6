"""Files that the gate has set aside, as rows of the quarantine, with a picture small enough to name nobody."""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from platform_assets.datasets.quarantine import NO_BYTES, quarantine_schema
from platform_assets.tasks.image_classification.dicom.files import SourceFile
from platform_assets.tasks.image_classification.dicom.judge import FileReport
from platform_assets.tasks.image_classification.dicom.pixel_rules import TAILS
from platform_assets.tasks.image_classification.dicom.verdicts import FailedVerdict, Finding
from platform_assets.tasks.image_classification.image_form import reduced

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

_SIDE_PX: Final = 192
_BLURRED_PX: Final = 24
"""Of a picture on which somebody's name may be burned in: a chest can be told at that size, and no letter."""
_NAMING: Final = frozenset(
    {
        "dicom.identity.burned_in_text",
        "dicom.identity.burned_in_annotation",
        "dicom.identity.recognizable_features",
    }
)
"""Rules of files whose pixels may identify somebody."""


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A file and what it is held for."""

    file_id: str
    """See `quarantine_schema`, and so the rest."""
    name: str | None
    verdict: FailedVerdict
    findings: tuple[Finding, ...]
    size_bytes: int

    @classmethod
    def of(cls, file: SourceFile, report: FileReport, name_hash: str) -> Self:
        """The file of a report that is no pass.

        Without a patient or an image it can be no row, whoever would let it in: a release would only hide it.
        """
        can_be_row = report.patient is not None and report.levels is not None
        return cls(
            file_id=report.sha256 or f"{NO_BYTES}{name_hash}",
            name=file.name
            if report.is_nameable and report.patient is not None and _is_text(file.name)
            else None,
            verdict="reject" if report.verdict == "reject" or not can_be_row else "quarantine",
            findings=report.findings,
            size_bytes=file.size_bytes,
        )

    @property
    def rules(self) -> tuple[str, ...]:
        """Ids of the rules that it breaks, sorted, each once."""
        return tuple(sorted({each.rule for each in self.findings}))


def held_back_rows(
    held: "Iterable[tuple[HeldFile, str, str | None, int | None, int | None, bytes | None]]",
) -> "pa.Table":
    """Rows of the quarantine.

    Args:
        held: File, source, patient (a salted hash), and of the image as it is kept: rows, columns, uint16 values.
    """
    import pyarrow as pa

    schema = quarantine_schema().append(pa.field("patient", pa.string()))
    return pa.Table.from_pylist([_row(*each) for each in held], schema=schema)


def thumbnail(image: "NDArray[np.uint16]", *, side_px: int) -> bytes:
    """A PNG of 8 bits, its usual range stretched.

    Args:
        image: Shape (rows, columns).
        side_px: Of the longest side.
    """
    from PIL import Image

    small = reduced(image, side_px).astype(np.float32)
    low, high = np.quantile(small, (TAILS, 1 - TAILS))
    grey = np.clip((small - low) * (255 / max(1.0, high - low)), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def _is_text(name: str) -> bool:
    """Whether a name can be written down: one whose bytes are in another encoding cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _row(
    held: HeldFile,
    source: str,
    patient: str | None,
    rows: int | None,
    columns: int | None,
    image: bytes | None,
) -> dict[str, Any]:
    picture = None
    # Of nobody's files nothing is kept that an erasure would have to find.
    if patient is not None and image is not None and rows and columns:
        picture = thumbnail(
            np.frombuffer(image, "<u2").reshape(rows, columns),
            side_px=_BLURRED_PX if _NAMING.intersection(held.rules) else _SIDE_PX,
        )
    return {
        "file_id": held.file_id,
        "name": held.name,
        "source": source,
        "verdict": held.verdict,
        "rules": list(held.rules),
        "findings": [
            {"rule": each.rule, "verdict": each.verdict, "tags": list(each.tags), "count": each.count}
            for each in held.findings
        ],
        "thumbnail": picture,
        "size_bytes": held.size_bytes,
        "patient": patient,
    }
