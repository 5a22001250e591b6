"""What governance refuses, and why.

GovernanceError
├── VerdictMissingError        an act lacks verdicts
├── ReleaseError               a release is unknown, or does not fit the line
│   ├── PinnedError            a person pinned the line to another release
│   ├── PromotionRefusedError  a person's act on production lacks what it demands
│   └── PromotionConflictError somebody else has moved production meanwhile
├── WaiverError                what is to be waived cannot be, or not so
├── LineageError               what is to be traced or rolled back to names nothing
├── SubjectError               what should name a subject does not
├── ErasureError               a subject is unknown, or must not be erased
├── RetentionError             what is past its date could not be removed
└── ReviewError                a review cannot be given, or is not what somebody signed
"""

from collections.abc import Sequence

from resources.errors import PlatformError


class GovernanceError(PlatformError):
    """Root of all governance errors; raised itself where nothing at all is demanded."""


class VerdictMissingError(GovernanceError):
    """An act is blocked. `unmet` holds every requirement that stands against it, each telling why as a text."""

    def __init__(self, act: str, unmet: Sequence[object]) -> None:
        super().__init__(act, unmet)
        self.act = act
        self.unmet = tuple(unmet)

    def __str__(self) -> str:
        return "\n".join(f"{self.act} is blocked: {each}" for each in self.unmet)


class ReleaseError(GovernanceError):
    """A release that does not exist, is incomplete, or is asked to do what it cannot."""


class PinnedError(ReleaseError):
    """The line is pinned to another release; automation must leave it alone."""


class PromotionRefusedError(ReleaseError):
    """A person's act on production is refused. `problems` holds everything that is missing, each as a text."""

    def __init__(self, act: str, problems: Sequence[str]) -> None:
        super().__init__(act, problems)
        self.act = act
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(f"{self.act} is refused: {each}" for each in self.problems)


class PromotionConflictError(ReleaseError):
    """Somebody else has moved production since the caller looked at it; nothing was changed."""


class WaiverError(GovernanceError):
    """A waiver of what stands, of what nobody may waive, or in nobody's name."""


class LineageError(GovernanceError):
    """A name of a version, release or entry that the ledger does not know."""


class SubjectError(GovernanceError):
    """A name, an id or a column that should say whom something is about, and does not."""


class ErasureError(GovernanceError):
    """A subject that nothing holds, or whose rows must not or cannot be removed."""


class RetentionError(GovernanceError):
    """Something is past its date and still there, or is asked to be held and is not there."""


class ReviewError(GovernanceError):
    """A review by somebody who may not give it, of what it is not about, or with a signature that is wrong."""
