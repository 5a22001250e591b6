"""The Basic Application Level Confidentiality Profile (PS3.15, annex E), applied to the attributes of one file.

Which attribute gets which action is the library's table; what an action does is ours, since the library draws UIDs
anew in each run, leaves what stands within sequences, and puts words where nothing would do: what may be emptied or
replaced is emptied, so that nobody has to tell a dummy from a value. What no table names goes too, where it is private,
a person's name, a time, text, or bytes.
"""

from collections import Counter
from collections.abc import Callable, Collection
from datetime import date, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from platform_assets.tasks.image_classification.deidentify.errors import DeidentifyError
from platform_assets.tasks.image_classification.deidentify.options import Keep
from platform_assets.tasks.image_classification.deidentify.pseudonyms import Pseudonyms
from platform_assets.tasks.image_classification.dicom.files import FileProblemError
from platform_assets.tasks.image_classification.dicom.forms import is_free
from platform_assets.tasks.image_classification.dicom.identity import PATIENT_ID
from platform_assets.tasks.image_classification.dicom.reading import element_of, text_of, value_of
from platform_assets.tasks.image_classification.dicom.standard import (
    STANDARD_UIDS,
    identifiers,
    tag_name,
    vr_of,
)
from platform_assets.tasks.image_classification.dicom.structure import HEADER_TOO_LARGE

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

EDITION: Final = "2026c"
"""Of table E.1-1."""
_AGE: Final = 0x00101010
_STUDY: Final = 0x0020000D
_CLEANED: Final = frozenset({0x00102110, 0x00380050, 0x00380500, 0x00400012})
"""Allergies, Special Needs, Patient State, Pre-Medication: texts that may stay under 113108 once they are cleaned (code C of the
table), which takes a person."""
_OLDEST: Final = 89
"""Years; whoever is older is said to be 90, since so few are."""
_FIRST_REPEATING, _LAST_REPEATING = 0x5000, 0x6000
_TIMES: Final = frozenset({"DA", "DT", "TM"})
_DATE_DIGITS: Final = 8
_PLAIN: Final = 2
"""Numbers by which the library names one attribute; of a group that repeats there are masks besides."""

_Action = Callable[["Dataset", tuple[int, int]], None]


class Profiled:
    """Applies the profile to one file, and counts."""

    def __init__(
        self,
        pseudonyms: Pseudonyms,
        *,
        keep: Collection[Keep],
        texts: Collection[str],
        depth: int,
    ) -> None:
        """Begin with a file.

        Args:
            pseudonyms: What replaces identifiers.
            keep: What stays.
            texts: Names of attributes whose text stays, though the profile does not name them.
            depth: Of sequences inside sequences.
        """
        self.counts: dict[str, Counter[str]] = {}
        """How often each action was taken, by the attribute's name."""
        self._pseudonyms, self._keep, self._texts, self._depth = pseudonyms, keep, texts, depth
        self._patient = ""
        codes = {each.code[0] for each in keep}
        self._kept = {tag for tag, known in identifiers().items() if known.kept_by in codes} - _CLEANED
        self._dates = {tag for tag, known in identifiers().items() if known.kept_by == "dates"}

    def apply(self, attributes: "Dataset") -> None:
        """Take away or replace whatever identifies.

        Raises:
            FileProblemError: Sequences are too deep.
        """
        patient = text_of(value_of(element_of(attributes, PATIENT_ID)))
        self._patient = patient or text_of(value_of(element_of(attributes, _STUDY)))
        self._over(attributes, 0)

    def count(self, action: str, tag: int) -> None:
        """Note that an action was taken."""
        self.counts.setdefault(action, Counter())[tag_name(tag)] += 1

    def _over(self, attributes: "Dataset", depth: int) -> None:
        from dicomanonymizer.simpledicomanonymizer import anonymize_dataset

        if depth > self._depth:
            raise FileProblemError(HEADER_TOO_LARGE)
        for tag in [int(each) for each in attributes.keys()]:  # noqa: SIM118 - iterating a Dataset converts
            if self._is_foreign(tag):
                self.remove(attributes, tag)
        rules = self._rules(attributes)
        anonymize_dataset(attributes, delete_private_tags=False, base_rules_gen=lambda: rules)
        for tag in [int(each) for each in attributes.keys()]:  # noqa: SIM118 - likewise
            if tag not in identifiers():
                self._unnamed(attributes, tag)
            if tag in attributes and attributes[tag].VR == "SQ":
                for item in attributes[tag].value:
                    self._over(item, depth + 1)

    def _rules(self, attributes: "Dataset") -> dict[tuple[int, int], _Action]:
        """An action for each attribute that is there and in the table: the library would look for every one of it."""
        return {
            (tag >> 16, tag & 0xFFFF): self._action(self._does(tag, name))
            for tag in map(int, attributes.keys())
            if (name := _table().get(tag))
        }

    @staticmethod
    def _action(does: "Callable[[Dataset, int], None]") -> _Action:
        return lambda attributes, tag: does(attributes, tag[0] << 16 | tag[1])

    def _does(self, tag: int, name: str) -> "Callable[[Dataset, int], None]":
        if tag == PATIENT_ID:
            return self._rename
        if tag in self._kept:
            return self._leave
        if tag in self._dates and Keep.DATES_MODIFIED in self._keep:
            return self._shift
        if name == "replace_UID":
            return self._replace
        return self.remove if name == "delete" else self._empty

    @staticmethod
    def _is_foreign(tag: int) -> bool:
        """Whether an attribute is private, of an overlay or a curve, or in no dictionary at all."""
        group = tag >> 16
        return bool(group & 1) or group & 0xFF00 in (_FIRST_REPEATING, _LAST_REPEATING) or vr_of(tag) is None

    def _unnamed(self, attributes: "Dataset", tag: int) -> None:
        element = attributes[tag]
        if element.VR == "PN" or vr_of(tag) == "PN":
            self.remove(attributes, tag)
        elif element.VR in _TIMES or vr_of(tag) in _TIMES:
            does = self._shift if Keep.DATES_MODIFIED in self._keep else self.remove
            does(attributes, tag)
        elif is_free(tag, element.value) and tag_name(tag) not in self._texts:
            self.remove(attributes, tag)

    def remove(self, attributes: "Dataset", tag: int) -> None:
        """Take an attribute away."""
        if tag in attributes:
            self.count("removed", tag)
            del attributes[tag]

    def _empty(self, attributes: "Dataset", tag: int) -> None:
        if (element := _filled(attributes, tag)) is not None:
            self.count("emptied", tag)
            element.clear()

    def _leave(self, attributes: "Dataset", tag: int) -> None:
        if (element := _filled(attributes, tag)) is None:
            return
        self.count("kept", tag)
        if tag == _AGE:
            years = str(element.value)
            if years[:3].isdecimal() and years.endswith("Y") and int(years[:3]) > _OLDEST:
                element.value = f"{_OLDEST + 1:03}Y"

    def _rename(self, attributes: "Dataset", tag: int) -> None:
        if (element := _filled(attributes, tag)) is not None:
            self.count("replaced", tag)
            element.value = self._pseudonyms.patient(str(element.value).strip())

    def _replace(self, attributes: "Dataset", tag: int) -> None:
        if (element := _filled(attributes, tag)) is None:
            return
        self.count("replaced", tag)
        if element.VR != "UI":
            element.clear()
        else:
            element.value = [self._uid(each) for each in _values(element)]

    def _uid(self, old: str) -> str:
        return old if old.startswith(STANDARD_UIDS) or not old else self._pseudonyms.uid(old)

    def _shift(self, attributes: "Dataset", tag: int) -> None:
        """All dates of a patient by the same days; times of day stay."""
        if (element := _filled(attributes, tag)) is None:
            return
        if element.VR == "TM":
            self.count("kept", tag)
            return
        try:
            element.value = [self._earlier(each) for each in _values(element)]
        except (ValueError, OverflowError):
            self.count("emptied", tag)
            element.clear()
        else:
            self.count("shifted", tag)

    def _earlier(self, text: str) -> str:
        """A date, or a time that begins with one.

        Raises:
            ValueError: It is none.
        """
        days = timedelta(days=self._pseudonyms.days(self._patient))
        day = date.fromisoformat(f"{text[:4]}-{text[4:6]}-{text[6:_DATE_DIGITS]}") - days
        return f"{day:%Y%m%d}{text[_DATE_DIGITS:]}"


@cache
def _table() -> dict[int, str]:
    """What the library does to each attribute, by the name of its function. Groups that repeat are left out: all go.

    Raises:
        DeidentifyError: The library does not know this edition of the table.
    """
    from dicomanonymizer.simpledicomanonymizer import initialize_actions

    try:
        found = initialize_actions(f"dicomfields_{EDITION}")
    except ValueError:
        raise DeidentifyError(
            f"the library dicom-anonymizer does not know edition {EDITION} of the profile; install the version "
            "that the extra imaging asks for"
        ) from None
    return {tag[0] << 16 | tag[1]: action.__name__ for tag, action in found.items() if len(tag) == _PLAIN}


def _filled(attributes: "Dataset", tag: int) -> "DataElement | None":
    """The element, where it holds something."""
    if tag not in attributes:
        return None
    element: DataElement = attributes[tag]
    return None if element.is_empty else element


def _values(element: Any) -> list[str]:
    from pydicom.multival import MultiValue

    value = element.value
    return [str(each) for each in value] if isinstance(value, MultiValue) else [str(value)]
