"""One file from its bytes to its verdict, and what later stages need of it. Nothing that comes out identifies anybody.

Patients, studies, instances and names leave as salted hashes. Codes leave as they are where the standard defines them,
else as `other`: a field for a code holds whatever somebody has typed into it.
"""

import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from platform_assets.governance.subjects import hash_of
from platform_assets.tasks.image_classification.dicom import header_rules as tags
from platform_assets.tasks.image_classification.dicom.extra import quiet_pydicom
from platform_assets.tasks.image_classification.dicom.files import UNREADABLE, FileProblemError
from platform_assets.tasks.image_classification.dicom.identity import (
    PATIENT_BIRTH_DATE,
    PATIENT_ID,
    PATIENT_NAME,
    judge_identity,
    method_codes,
    spellings,
)
from platform_assets.tasks.image_classification.dicom.likeness import perceptual_hash
from platform_assets.tasks.image_classification.dicom.pixel_rules import greys_of, judge_pixels, stretched
from platform_assets.tasks.image_classification.dicom.pixels import DECODES, NO_DECODER, Image, read_image
from platform_assets.tasks.image_classification.dicom.reading import NOT_DICOM, Header, read_header
from platform_assets.tasks.image_classification.dicom.rules import GateRules
from platform_assets.tasks.image_classification.dicom.standard import STANDARD_UIDS
from platform_assets.tasks.image_classification.dicom.verdicts import Finding, Verdict, worst

PATIENTS, STUDIES, INSTANCES, FILE_NAMES = "patient", "dicom-study", "dicom-instance", "dicom-file"
"""Namespaces of the salted hashes; patients are subjects, whom an erasure finds by the same hash."""
OTHER: Final = "other"
_MODALITIES: Final = frozenset(
    {
        "CR",
        "CT",
        "DX",
        "ECG",
        "ES",
        "IO",
        "MG",
        "MR",
        "NM",
        "OT",
        "PT",
        "PX",
        "RF",
        "RG",
        "SC",
        "SEG",
        "SR",
        "US",
        "XA",
    }
)
_INTENTS: Final = frozenset({"FOR PRESENTATION", "FOR PROCESSING"})
_PHOTOMETRICS: Final = frozenset(
    {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}
)
_VIEWS: Final = frozenset({"AP", "PA", "LL", "RL", "RLD", "LLD", "RLO", "LLO"})
_BODY_PARTS: Final = frozenset(
    {"CHEST", "ABDOMEN", "FOOT", "HAND", "HEAD", "LEG", "PELVIS", "SKULL", "SPINE"}
)
_SEXES: Final = frozenset({"M", "F", "O"})
_SEX, _AGE = 0x00100040, 0x00101010
_KEEPS_CHARACTERISTICS: Final = "113108"
_STUDY, _ACCESSION = 0x0020000D, 0x00080050
_OLDEST_BAND: Final = 90
"""Years; whoever is older is in one band, since so few are."""
_YEARS: Final = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
_AGE_FORM_LENGTH: Final = 4


@dataclass(frozen=True, slots=True)
class FileReport:
    """What is known of one file. The fields after `findings` are None where it could not be told."""

    sha256: str | None
    findings: tuple[Finding, ...]
    is_nameable: bool = True
    """Whether the file's name may be shown: it holds nothing of what the file says about its patient."""
    patient: str | None = None
    study: str | None = None
    instance: str | None = None
    transfer_syntax: str | None = None
    sop_class: str | None = None
    modality: str | None = None
    presentation_intent: str | None = None
    photometric: str | None = None
    body_part: str | None = None
    view_position: str | None = None
    sex: str | None = None
    age_band: str | None = None
    rows: int | None = None
    columns: int | None = None
    frames: int | None = None
    bits_stored: int | None = None
    pixel_spacing: float | None = None
    """Millimetres between rows."""
    was_inverted: bool | None = None
    levels: int | None = None
    clipped_share: float | None = None
    likeness: bytes | None = field(default=None, repr=False)
    """Perceptual hash, 256 bits."""
    kept: Any = field(default=None, repr=False)
    """What a `Keep` has made of the file."""

    @property
    def verdict(self) -> Verdict:
        """The worst of the findings."""
        return worst(self.findings)


Keep = Callable[[Header, Image | None], Any]
"""Takes of a file that was judged, and of its image where it was decoded, what somebody needs; a module's function or a
`partial` of one, since it goes to other processes."""


def refused(rule: str, sha256: str | None) -> FileReport:
    """The report of a file that is not looked into."""
    return FileReport(sha256, (Finding(rule, "reject"),))


def judge_file(
    content: bytes,
    rules: GateRules,
    *,
    name: str,
    salt: bytes,
    with_pixels: bool = True,
    keep: Keep | None = None,
) -> FileReport:
    """Hold one file against the rules.

    Args:
        content: Its bytes.
        rules: What is asked.
        name: Within its source.
        salt: Of hashes.
        with_pixels: Whether files that the header stage does not reject are decoded.
        keep: Makes `FileReport.kept` of each file whose header can be read.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        report, header, image = _judged(content, sha256, rules, name=name, salt=salt, with_pixels=with_pixels)
    except ImportError:
        raise
    except Exception:  # noqa: BLE001 - whatever nobody has thought of: the others go on, and no message quotes a value
        return FileReport(sha256, (Finding(UNREADABLE, "reject"),), is_nameable=False)
    if keep is None or header is None:
        return report
    # Not guarded: what is wrong with it is wrong with no file.
    with quiet_pydicom():
        return replace(report, kept=keep(header, image))


def _judged(
    content: bytes, sha256: str, rules: GateRules, *, name: str, salt: bytes, with_pixels: bool
) -> tuple[FileReport, Header | None, Image | None]:
    """The report, and the header and image as far as they could be read."""
    with quiet_pydicom():
        try:
            header = read_header(content, rules.limits)
            findings = [
                *judge_identity(header, rules.identity, rules.limits, name=name),
                *tags.judge_image(header, rules.image, rules.limits),
                *tags.judge_acquisition(header, rules.acquisition),
            ]
            told = _told(header, rules, name, salt)
        except FileProblemError as problem:
            # Of a file that is DICOM, and does not tell whose, nobody knows whether its name does.
            is_nameable = problem.rule == NOT_DICOM
            return (
                FileReport(sha256, (Finding(problem.rule, "reject", problem.tags),), is_nameable),
                None,
                None,
            )
        if not with_pixels or worst(findings) == "reject":
            return FileReport(sha256, tuple(findings), **told), header, None
        try:
            image = read_image(header, rules.limits)
        except FileProblemError as problem:
            findings += _undecoded(problem.rule, rules)
            return FileReport(sha256, tuple(findings), **told), header, None
    greys = greys_of(image)
    light = stretched(image, greys)
    findings += judge_pixels(image, rules, greys, light)
    report = FileReport(
        sha256,
        tuple(findings),
        was_inverted=image.was_inverted,
        levels=greys.levels,
        clipped_share=greys.clipped,
        likeness=perceptual_hash(light) if rules.image.near_duplicate else None,
        **told,
    )
    return report, header, image


def _undecoded(rule: str, rules: GateRules) -> list[Finding]:
    """No decoder is no fault of the file: a person decides."""
    if rule == NO_DECODER:
        return [Finding(NO_DECODER, "quarantine", ("TransferSyntaxUID",))]
    return [Finding(DECODES, declared.verdict, ("PixelData",))] if (declared := rules.image.decodes) else []


def _told(header: Header, rules: GateRules, name: str, salt: bytes) -> dict[str, Any]:
    spacing = tags.millimetres_between_pixels(header)
    frames = tags.frames_of(header)
    sop_class = header.text(tags.SOP_CLASS)
    # Sex and age may be looked at where the file states that they were kept, and the line lets it.
    kept = rules.identity.direct_identifiers
    may_keep = kept is None or (
        _KEEPS_CHARACTERISTICS in kept.keep and _KEEPS_CHARACTERISTICS in method_codes(header)
    )
    return {
        "is_nameable": not _is_in(name, header),
        "patient": _hashed(PATIENTS, header.spelt(PATIENT_ID), salt),
        "study": _hashed(STUDIES, header.text(_STUDY), salt),
        "instance": _hashed(INSTANCES, header.text(tags.SOP_INSTANCE), salt),
        "transfer_syntax": _standard_uid(header.transfer_syntax),
        "sop_class": _standard_uid(sop_class),
        "modality": _known(header.text(tags.MODALITY), _MODALITIES),
        "presentation_intent": _known(header.text(tags.INTENT), _INTENTS),
        "photometric": _known(header.text(tags.PHOTOMETRIC), _PHOTOMETRICS),
        "body_part": _known(header.text(tags.BODY_PART), _BODY_PARTS),
        "view_position": _known(header.text(tags.VIEW), _VIEWS),
        "sex": _known(header.text(_SEX), _SEXES) if may_keep else None,
        "age_band": _age_band(header.text(_AGE)) if may_keep else None,
        "rows": header.number(tags.ROWS),
        "columns": header.number(tags.COLUMNS),
        "frames": frames if frames is not None and frames <= rules.limits.frames else None,
        "bits_stored": header.number(tags.STORED),
        "pixel_spacing": spacing[0] if spacing and math.isfinite(spacing[0]) else None,
    }


def _is_in(name: str, header: Header) -> bool:
    """Whether a file's name holds anything of its patient: a name, an id, a date of birth, an accession number."""
    texts = {
        text for tag in (PATIENT_ID, PATIENT_BIRTH_DATE, _ACCESSION) for text in spellings(header.raw(tag))
    }
    texts |= {part for text in spellings(header.raw(PATIENT_NAME)) for part in re.split(r"[\^=\s,]+", text)}
    # Letters of another alphabet may be spelled in ways that are not tried here.
    is_foreign = not name.isascii() and any(
        len(text.encode()) > len(text) or "\x1b" in text for text in texts
    )
    return is_foreign or any(len(text) > 1 and text in name.casefold() for text in texts)


def _hashed(namespace: str, text: str, salt: bytes) -> str | None:
    return hash_of(namespace, text, salt) if text else None


def _known(text: str, codes: frozenset[str]) -> str | None:
    return None if not text else text if text in codes else OTHER


def _standard_uid(uid: str) -> str | None:
    from pydicom.uid import UID_dictionary

    return None if not uid else uid if uid.startswith(STANDARD_UIDS) and uid in UID_dictionary else OTHER


def _age_band(text: str) -> str | None:
    """Ten years, e.g. `40-49`."""
    # Letters that Python takes for digits are none: text comes from bytes, whatever they are.
    is_age = len(text) == _AGE_FORM_LENGTH and text.isascii() and text[:3].isdigit() and text[3] in _YEARS
    if not is_age:
        return None
    years = int(text[:3]) * _YEARS[text[3]]
    first = int(years // 10 * 10)
    return f"{_OLDEST_BAND}+" if first >= _OLDEST_BAND else f"{first}-{first + 9}"
