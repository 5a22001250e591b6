"""Domain `dicom.identity`, header stage: whether a file tells whose image it is.

Every attribute is looked at, at every depth, before the pixels and behind them, and in the file's own header. What an
element holds is only ever compared: findings name attributes, never what stands in them.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from platform_assets.tasks.image_classification.dicom.files import FileProblemError
from platform_assets.tasks.image_classification.dicom.forms import fits, is_free, looks_like_a_name
from platform_assets.tasks.image_classification.dicom.limits import Limits
from platform_assets.tasks.image_classification.dicom.reading import (
    TRUNCATED,
    Header,
    element_of,
    items_of,
    text_of,
    value_of,
)
from platform_assets.tasks.image_classification.dicom.rules import IdentifiersRule, IdentityRules, Rule
from platform_assets.tasks.image_classification.dicom.standard import (
    STANDARD_UIDS,
    Identifier,
    identifiers,
    tag_name,
    vr_of,
)
from platform_assets.tasks.image_classification.dicom.structure import HEADER_TOO_LARGE
from platform_assets.tasks.image_classification.dicom.verdicts import Finding

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

DOMAIN: Final = "dicom.identity"
PATIENT_NAME, PATIENT_ID, PATIENT_BIRTH_DATE = 0x00100010, 0x00100020, 0x00100030
_IDENTITY_REMOVED, _METHOD_CODES = 0x00120062, 0x00120064
_BURNED_IN, _RECOGNIZABLE, _TIMES_MODIFIED = 0x00280301, 0x00280302, 0x00280303
_CODE_VALUE, _CODE_SCHEME = 0x00080100, 0x00080102
_PADDING: Final = 0xFFFCFFFC
_OF_THE_FILE: Final = frozenset(
    {0x00020016, 0x00020017, 0x00020018, 0x00020026, 0x00020027, 0x00020028, 0x00020102}
)
"""Names of systems and private data in the file's own header, which PS3.15 leaves to whoever writes it."""
_UIDS_OF_THE_FILE: Final = 0x00020003
_OVERLAY_GROUPS, _CURVE_GROUPS = 0x6000, 0x5000
_UID: Final = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+")
_LONGEST_UID: Final = 64
_LARGEST_UUID: Final = 2**128
_OF_UUIDS: Final = "2.25."
_SHORTEST_NAME_PART: Final = 3
_LONGEST_DUMMY: Final = 64
_UNDEFINED: Final = 0xFFFFFFFF
_LENGTH_BYTES: Final = 4
_TIMES: Final = frozenset({"DA", "DT", "TM"})


@dataclass(slots=True)
class _Seen:
    """Tags of what stands in a file, by what it is."""

    direct: set[int] = field(default_factory=set)
    private: set[int] = field(default_factory=set)
    forms: set[int] = field(default_factory=set)
    free: set[int] = field(default_factory=set)
    overlays: set[int] = field(default_factory=set)
    uids: set[int] = field(default_factory=set)
    times: set[int] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)
    padding: bool = False

    def add(self, kind: str, tag: int) -> None:
        getattr(self, kind).add(tag)
        self.counts[kind] = self.counts.get(kind, 0) + 1


def judge_identity(header: Header, rules: IdentityRules, limits: Limits, *, name: str) -> list[Finding]:
    """The findings of the header stage.

    Args:
        header: Of the file.
        rules: What is asked.
        limits: Bounds.
        name: Of the file within its source.

    Raises:
        FileProblemError: A sequence cannot be read, or is too deep.
    """
    codes = method_codes(header)
    walk = _Walk(rules, limits, codes, header)
    for attributes in filter(None, (header.meta, header.attributes, header.behind)):
        walk.over(attributes, 0)
    seen = walk.seen
    found = [
        _plain(rules.identity_removed, "identity_removed", header, _IDENTITY_REMOVED, passes={"YES"}),
        _plain(rules.burned_in_annotation, "burned_in_annotation", header, _BURNED_IN, passes={"NO"}),
        _plain(
            rules.recognizable_features, "recognizable_features", header, _RECOGNIZABLE, passes={"NO", ""}
        ),
    ]
    if (methods := rules.methods) and (missing := set(methods.codes) - codes):
        found.append(_finding(methods, "methods", (_METHOD_CODES,), len(missing)))
    for declared, kind, rule_name in (
        (rules.direct_identifiers, "direct", "direct_identifiers"),
        (rules.private_tags, "private", "private_tags"),
        (rules.value_forms, "forms", "value_forms"),
        (rules.free_text, "free", "free_text"),
        (rules.overlays, "overlays", "overlays"),
        (rules.uid_roots, "uids", "uid_roots"),
    ):
        if declared and (tags := getattr(seen, kind)):
            found.append(_finding(declared, rule_name, tags, seen.counts[kind]))
    if (dates := rules.dates) and (state := _dates(header, seen, codes)) not in dates.allowed:
        found.append(
            _finding(dates, "dates", seen.times if state != "removed" else (), seen.counts.get("times", 0))
        )
    if (rule := rules.hidden_bytes) and (header.has_preamble or header.has_hidden_bytes or seen.padding):
        found.append(_finding(rule, "hidden_bytes", ()))
    if (rule := rules.file_name) and names_its_patient(header, name):
        found.append(_finding(rule, "file_name", (PATIENT_NAME,)))
    return [each for each in found if each]


def method_codes(header: Header) -> set[str]:
    """Codes of De-identification Method Code Sequence that are DICOM's own."""
    return {
        text_of(value_of(element_of(item, _CODE_VALUE)))
        for item in header.items(_METHOD_CODES)
        if text_of(value_of(element_of(item, _CODE_SCHEME))) == "DCM"
    }


def names_its_patient(header: Header, name: str) -> bool:
    """Whether the name of a file holds a part of the patient's name, or the date of birth."""
    if header.raw(PATIENT_NAME) == header.raw(PATIENT_ID):
        return False
    parts = {part for text in spellings(header.raw(PATIENT_NAME)) for part in re.split(r"[\^=\s,]+", text)}
    parts.add(header.text(PATIENT_BIRTH_DATE))
    # A name of two signs is one in Chinese, and could be anything in English.
    return any(len(part.encode()) >= _SHORTEST_NAME_PART and part in name.casefold() for part in parts)


def spellings(raw: Any) -> set[str]:
    """What bytes may spell, in small letters: a file's name is text, and the attribute's own encoding may be any."""
    if not isinstance(raw, bytes):
        return set()
    found = {text_of(raw), raw.decode("utf-8", "replace").strip(" \0")}
    return {unicodedata.normalize("NFC", text).casefold() for text in found if text}


def _finding(rule: Rule, name: str, tags: Iterable[int], count: int = 1) -> Finding:
    return Finding(f"{DOMAIN}.{name}", rule.verdict, tuple(sorted({tag_name(tag) for tag in tags})), count)


def _plain(rule: Rule | None, name: str, header: Header, tag: int, *, passes: set[str]) -> Finding | None:
    return None if rule is None or header.text(tag) in passes else _finding(rule, name, (tag,))


def _dates(header: Header, seen: _Seen, codes: set[str]) -> str:
    """What became of dates and times, as far as the file tells."""
    if not seen.times:
        return "removed"
    stated = header.text(_TIMES_MODIFIED)
    if "113107" in codes and stated == "MODIFIED":
        return "modified"
    return "retained" if "113106" in codes and stated in ("", "UNMODIFIED") else "unstated"


def _may_hold_items(tag: int, vr: str | None, value: Any) -> bool:
    return vr == "SQ" or not isinstance(value, bytes | int) or (vr in (None, "UN") and vr_of(tag) == "SQ")


class _Walk:
    """Goes over all attributes and sorts those that matter."""

    def __init__(self, rules: IdentityRules, limits: Limits, codes: set[str], header: Header) -> None:
        self.seen = _Seen()
        self._depth, self._left = limits.depth, limits.header_elements
        self._table = identifiers()
        rule = rules.direct_identifiers or IdentifiersRule()
        self._kept = codes & set(rule.keep)
        self._dummies = {name: re.compile(pattern) for name, pattern in rule.dummies.items()}
        self._patient = header.text(PATIENT_ID)
        self._texts = frozenset(rules.free_text.allowed if rules.free_text else ())
        self._roots = rules.uid_roots.allowed if rules.uid_roots else ()

    def over(self, attributes: "Dataset", depth: int) -> None:
        """Sort these attributes, and those of the items within."""
        if depth > self._depth:
            raise FileProblemError(HEADER_TOO_LARGE)
        table, seen = self._table, self.seen
        for each, element in attributes.items():
            tag = int(each)
            self._left -= 1
            if self._left < 0:
                raise FileProblemError(HEADER_TOO_LARGE)
            value = element.value
            if isinstance(value, bytes) and getattr(element, "length", _UNDEFINED) not in (
                len(value),
                _UNDEFINED,
            ):
                raise FileProblemError(TRUNCATED)
            if not value or (isinstance(value, bytes) and not value.strip(b" \0")):
                continue
            group = tag >> 16
            if group & 1:
                seen.add("private", tag)
            elif group & 0xFF00 in (_OVERLAY_GROUPS, _CURVE_GROUPS):
                seen.add("overlays", tag)
            elif tag == _PADDING:
                seen.padding = True
                seen.add("direct", tag)
            else:
                vr = element.VR
                if not fits(tag, vr, value):
                    seen.add("forms", tag)
                if (known := table.get(tag)) is not None:
                    self._known(tag, known, value)
                elif tag in _OF_THE_FILE:
                    seen.add("direct", tag)
                else:
                    self._other(tag, vr, value)
                if _may_hold_items(tag, vr, value):
                    for item in items_of(attributes, tag):
                        self.over(item, depth + 1)

    def _known(self, tag: int, known: Identifier, value: Any) -> None:
        if known.action == "U":
            if known.kept_by not in self._kept and not self._is_foreign(value):
                self.seen.add("uids", tag)
        elif known.kept_by == "dates":
            self.seen.add("times", tag)
        elif known.kept_by not in self._kept and not self._is_dummy(tag, known, value):
            self.seen.add("direct", tag)

    def _other(self, tag: int, vr: str | None, value: Any) -> None:
        """Whatever the profile does not name: persons' names, times and text all the same."""
        known = vr_of(tag)
        if known is None:
            if tag & 0xFFFF:  # lengths of groups, which some still write, are in no dictionary
                self.seen.add("private", tag)  # it means what its maker says, too
            elif not isinstance(value, bytes) or len(value) != _LENGTH_BYTES:
                self.seen.add("forms", tag)
        elif "PN" in (vr, known):
            self.seen.add("direct", tag)
        elif vr in _TIMES or known in _TIMES:
            self.seen.add("times", tag)
        elif is_free(tag, value) and (tag_name(tag) not in self._texts or looks_like_a_name(tag, value)):
            self.seen.add("free", tag)

    def _is_dummy(self, tag: int, known: Identifier, value: Any) -> bool:
        """Whether what stands there is what the profile put in its place."""
        if not known.may_be_dummy or not isinstance(value, bytes):
            return False
        text = text_of(value)
        if tag == PATIENT_NAME and text == self._patient != "":
            return True
        pattern = self._dummies.get(known.keyword)
        return pattern is not None and len(text) <= _LONGEST_DUMMY and pattern.fullmatch(text) is not None

    def _is_foreign(self, value: Any) -> bool:
        """Whether UIDs lead to nobody: their makers are known, or a number that was drawn."""
        return all(self._is_known_uid(uid.strip(" \0")) for uid in text_of(value).split("\\"))

    def _is_known_uid(self, uid: str) -> bool:
        if len(uid) > _LONGEST_UID or not _UID.fullmatch(uid):
            return False
        if uid.startswith(STANDARD_UIDS):
            return True
        if uid.startswith(_OF_UUIDS) and not (uid[5:].isdigit() and int(uid[5:]) < _LARGEST_UUID):
            return False
        return uid.startswith(self._roots)
