"""Domains `dicom.image` and `dicom.acquisition`, header stage: whether a file is the kind of image that was asked for."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from platform_assets.tasks.image_classification.dicom.limits import Limits
from platform_assets.tasks.image_classification.dicom.reading import (
    NATIVE,
    Header,
    element_of,
    text_of,
    value_of,
)
from platform_assets.tasks.image_classification.dicom.rules import (
    AcquisitionRules,
    AllowedOrAbsentRule,
    AllowedRule,
    ImageRules,
    Rule,
)
from platform_assets.tasks.image_classification.dicom.standard import (
    DIGITAL_X_RAY,
    attribute_types,
    tag_name,
)
from platform_assets.tasks.image_classification.dicom.verdicts import FailedVerdict, Finding

SOP_CLASS, SOP_INSTANCE = 0x00080016, 0x00080018
MODALITY, INTENT, REGION = 0x00080060, 0x00080068, 0x00082218
BODY_PART, VIEW, LATERALITY = 0x00180015, 0x00185101, 0x00200062
DETECTOR_SPACING, SPACING = 0x00181164, 0x00280030
SAMPLES, PHOTOMETRIC, FRAMES = 0x00280002, 0x00280004, 0x00280008
ROWS, COLUMNS = 0x00280010, 0x00280011
ALLOCATED, STORED, HIGH_BIT, SIGNED = 0x00280100, 0x00280101, 0x00280102, 0x00280103
SIGN, LUT_SHAPE, LOSSY = 0x00281041, 0x20500020, 0x00282110
PIXELS: Final = 0x7FE00010
_META_CLASS, _META_INSTANCE, _META_SYNTAX = 0x00020002, 0x00020003, 0x00020010
_CODE_VALUE: Final = 0x00080100
_MOST_DIGITS: Final = 12


def judge_image(header: Header, rules: ImageRules, limits: Limits) -> Iterator[Finding]:
    """The findings of `dicom.image` that need no pixels."""
    sop_class = header.text(SOP_CLASS)
    if (kind := rules.sop_class) and sop_class not in kind.allowed:
        verdict: FailedVerdict = "quarantine" if sop_class in kind.doubtful else kind.verdict
        yield _image("sop_class", verdict, SOP_CLASS)
    yield from _broken(rules.same_object, "same_object", lambda: _other_object(header, sop_class))
    if (encoding := rules.encoding) and header.transfer_syntax not in encoding.allowed:
        yield _image("encoding", encoding.verdict, _META_SYNTAX)
    if (photometric := rules.photometric) and header.text(PHOTOMETRIC) not in photometric.allowed:
        yield _image("photometric", photometric.verdict, PHOTOMETRIC)
    yield from _broken(rules.samples, "samples", lambda: [SAMPLES] * (header.number(SAMPLES) != 1))
    yield from _bits(header, rules)
    yield from _size(header, rules, limits)
    if sop_class in DIGITAL_X_RAY:
        yield from _broken(rules.intensity, "intensity", lambda: _wrong_intensity(header))
    yield from _broken(rules.lossy, "lossy", lambda: [LOSSY] * (header.text(LOSSY) not in ("", "00")))
    yield from _broken(rules.attribute_types, "attribute_types", lambda: _missing(header, sop_class))
    yield from _broken(rules.pixel_data, "pixel_data", lambda: [PIXELS] * (not _has_all_pixels(header)))


def judge_acquisition(header: Header, rules: AcquisitionRules) -> Iterator[Finding]:
    """The findings of `dicom.acquisition`."""
    is_digital = header.text(SOP_CLASS) in DIGITAL_X_RAY
    if (rule := rules.modality) and header.text(MODALITY) not in rule.allowed:
        yield _acquisition("modality", rule.verdict, MODALITY)
    if is_digital:
        yield from _allowed(header, rules.presentation_intent, "presentation_intent", INTENT)
        yield from _allowed(header, rules.laterality, "laterality", LATERALITY)
    yield from _allowed(header, rules.view_position, "view_position", VIEW)
    if part := rules.body_part:
        codes = {text_of(value_of(element_of(item, _CODE_VALUE))) for item in header.items(REGION)} - {""}
        if header.text(BODY_PART) or not codes:
            yield from _allowed(header, part, "body_part", BODY_PART)
        elif not codes <= set(part.codes):
            yield _acquisition("body_part", part.verdict, REGION)
    if spacing := rules.pixel_spacing:
        found = millimetres_between_pixels(header)
        if found is None and spacing.absent:
            yield _acquisition("pixel_spacing", spacing.absent, DETECTOR_SPACING, SPACING)
        elif found is not None and not all(spacing.least <= each <= spacing.most for each in found):
            yield _acquisition("pixel_spacing", spacing.verdict, DETECTOR_SPACING, SPACING)


def millimetres_between_pixels(header: Header) -> tuple[float, ...] | None:
    """Between rows and between columns, at the detector or else in the patient; None where neither is told."""
    for tag in (DETECTOR_SPACING, SPACING):
        if texts := header.texts(tag):
            try:
                return tuple(float(text) for text in texts)
            except ValueError:
                return (float("nan"),)
    return None


def frames_of(header: Header) -> int | None:
    """How many frames a file claims: 1 where it does not say, None where it says nonsense."""
    text = header.text(FRAMES)
    if not text:
        return 1
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def _broken(rule: Rule | None, name: str, wrong: Callable[[], Sequence[int]]) -> Iterator[Finding]:
    if rule is not None and (tags := wrong()):
        yield _image(name, rule.verdict, *tags)


def _image(name: str, verdict: FailedVerdict, *tags: int) -> Finding:
    return Finding(
        f"dicom.image.{name}", verdict, tuple(sorted({tag_name(tag) for tag in tags})), max(1, len(tags))
    )


def _acquisition(name: str, verdict: FailedVerdict, *tags: int) -> Finding:
    return Finding(f"dicom.acquisition.{name}", verdict, tuple(sorted(tag_name(tag) for tag in tags)))


def _allowed(header: Header, rule: AllowedRule | None, name: str, tag: int) -> Iterator[Finding]:
    if rule is None:
        return
    value = header.text(tag)
    absent = rule.absent if isinstance(rule, AllowedOrAbsentRule) else rule.verdict
    if not value:
        if absent:
            yield _acquisition(name, absent, tag)
    elif value not in rule.allowed:
        yield _acquisition(name, rule.verdict, tag)


def _other_object(header: Header, sop_class: str) -> list[int]:
    """What of the file's own header is about another object."""
    meta = header.meta
    stated = (
        (_META_CLASS, SOP_CLASS, sop_class),
        (_META_INSTANCE, SOP_INSTANCE, header.text(SOP_INSTANCE)),
    )
    return [
        tag
        for in_meta, tag, value in stated
        if not value or text_of(value_of(element_of(meta, in_meta))) != value
    ]


def _bits(header: Header, rules: ImageRules) -> Iterator[Finding]:
    if (rule := rules.bits) is None:
        return
    allocated, stored = header.number(ALLOCATED), header.number(STORED)
    wrong = []
    if allocated not in rule.allocated:
        wrong.append(ALLOCATED)
    if stored is None or not rule.least_stored <= stored <= min(rule.most_stored, allocated or 0):
        wrong.append(STORED)
    if stored is None or header.number(HIGH_BIT) != stored - 1:
        wrong.append(HIGH_BIT)
    if header.number(SIGNED) != 0:
        wrong.append(SIGNED)
    if wrong:
        yield _image("bits", rule.verdict, *wrong)


def _size(header: Header, rules: ImageRules, limits: Limits) -> Iterator[Finding]:
    rows, columns = header.number(ROWS) or 0, header.number(COLUMNS) or 0
    if rule := rules.size:
        wrong = [
            tag for tag, side in ((ROWS, rows), (COLUMNS, columns)) if not rule.least <= side <= rule.most
        ]
        aspect = max(rows, columns) / max(1, min(rows, columns))
        if wrong or aspect > rule.most_aspect or rows * columns > limits.pixels:
            yield _image("size", rule.verdict, *(wrong or (ROWS, COLUMNS)))
    frames = frames_of(header)
    if (several := rules.frames) and (frames is None or not 1 <= frames <= several.most):
        yield _image("frames", several.verdict, FRAMES)


def _wrong_intensity(header: Header) -> list[int]:
    """What does not fit the photometric interpretation: with MONOCHROME2 more exposure is darker, so the sign is -1."""
    is_inverse = header.text(PHOTOMETRIC) == "MONOCHROME1"
    return [
        tag
        for tag, is_right in (
            (SIGN, header.number(SIGN) == (1 if is_inverse else -1)),
            (LUT_SHAPE, header.text(LUT_SHAPE) == ("INVERSE" if is_inverse else "IDENTITY")),
        )
        if not is_right
    ]


def _missing(header: Header, sop_class: str) -> list[int]:
    return [
        each.tag
        for each in attribute_types(sop_class)
        if not header.has(each.tag) or (each.type == "1" and header.raw(each.tag) is None)
    ]


def _has_all_pixels(header: Header) -> bool:
    """Whether there are pixels, as many as the header says; of compressed ones only whether there are any."""
    pixels, frames = header.pixels, frames_of(header)
    sizes = [header.number(tag) for tag in (ROWS, COLUMNS, SAMPLES, ALLOCATED)]
    if (
        pixels is None
        or frames is None
        or None in sizes
        or pixels.is_encapsulated == (header.transfer_syntax in NATIVE)
    ):
        return False
    if pixels.is_encapsulated:
        return pixels.length > 0
    rows, columns, samples, allocated = (size or 0 for size in sizes)
    bits = rows * columns * samples * allocated * frames
    # One byte of padding makes an odd length even; chroma that is shared makes it less.
    needed = (bits + 7) // 8
    if header.text(PHOTOMETRIC).endswith("_422"):
        needed = needed * 2 // 3
    return 0 < needed <= pixels.length <= needed + 1
