"""The pages of what lines hold back: some files at a time, each with its thumbnail. Whatever is shown is recorded first."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from platform_assets.datasets.quarantine_cases import STATES, Case, Quarantine, State
from platform_assets.datasets.quarantine_reading import QuarantineReader

FILES_A_PAGE: Final = 25
_SHOWN_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class ShownCase:
    """A file as the page shows it."""

    case: Case
    has_thumbnail: bool

    @property
    def short_id(self) -> str:
        """Enough of the id to name it by."""
        head, colon, digits = self.case.file_id.rpartition(":")
        return f"{head}{colon}{digits[:_SHOWN_DIGITS]}"

    @property
    def commands(self) -> tuple[str, ...]:
        """What a person may type about it."""
        held = self.case.held
        choices = {"waiting": ("release", "reject"), "released": ("reject",), "rejected": ("release",)}
        return tuple(
            f"platform-assets quarantine {choice} {held.line} {self.short_id} --by NAME --reason TEXT"
            for choice in (choices[self.case.state] if held.can_be_released else ())
        )


@dataclass(frozen=True)
class HeldFiles:
    """One page of a line's quarantine."""

    quarantine: Quarantine
    decided_by: str
    """The group that decides."""
    state: State | None
    """Only files in this state; None: all."""
    number: int
    """Of the page, from 1."""
    pages: int
    files: int
    """How many there are in this state."""
    shown: tuple[ShownCase, ...]


def held_files(
    reader: QuarantineReader, line: str, decided_by: str, query: Mapping[str, str]
) -> HeldFiles | None:
    """A page, once it is recorded that somebody looks at it; None where the query names none.

    Args:
        reader: Reads in the name of the server's principal.
        line: Whose.
        decided_by: The group that decides.
        query: `state` and `page`, where they are not all and the first.

    Raises:
        AccessDeniedError: The policy does not let the principal look.
        LedgerError: It cannot be recorded.
        WarehouseError: The table cannot be read.
    """
    stated, page = query.get("state"), query.get("page", "1")
    state = next((each for each in STATES if each == stated), None)
    if (stated is not None and state is None) or not (page.isascii() and page.isdigit()):
        return None
    quarantine = reader.read(line)
    cases = [case for case in quarantine.cases if state in (None, case.state)]
    number, pages = int(page), max(1, -(-len(cases) // FILES_A_PAGE))
    if not 1 <= number <= pages:
        return None
    chosen = cases[(number - 1) * FILES_A_PAGE : number * FILES_A_PAGE]
    pictured: frozenset[str] = frozenset()
    if chosen and quarantine.snapshot is not None:
        reader.look_at(line, quarantine.snapshot, [case.file_id for case in chosen], "page")
        pictured = reader.with_thumbnail(quarantine.snapshot)
    shown = tuple(ShownCase(case, case.file_id in pictured) for case in chosen)
    return HeldFiles(quarantine, decided_by, state, number, pages, len(cases), shown)
