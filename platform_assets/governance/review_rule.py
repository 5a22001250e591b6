"""What a spec demands of reviews: of whom, how many, how young, and from whom not."""

from collections.abc import Collection
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from platform_assets.governance.verdict import Requirement
from platform_assets.manifest import Many, Section

LONGEST_DAYS: Final = 3650
"""For which a review may count."""
Involved = Literal["author", "trainer"]
"""Who made the spec's commit, and who started the run that trained."""


class ReviewRule(Section):
    """Reviews of one role that a promotion demands."""

    model_config = ConfigDict(populate_by_name=True)

    role: Annotated[str, Field(min_length=1)]
    """As `reviewers.yaml` names it, e.g. `radiologist`."""
    approvals: Annotated[int, Field(ge=1, le=9)] = 1
    """How many people must approve. One more than one where an author or a starter is not known."""
    max_age_days: Annotated[float, Field(gt=0, le=LONGEST_DAYS)] = 30.0
    """An older approval counts no more."""
    excluded: Annotated[Many[Involved], Field(alias="not")] = ("author", "trainer")
    """Whose approvals do not count."""
    signature: Literal["required"] | None = None
    """`required`: only a review that carries a signature by the reviewer's own key counts."""


class ReviewRequirement(Section):
    """An entry of `requires.promote` that asks for reviews, beside those that ask for verdicts."""

    review: ReviewRule


def _kind(entry: Any) -> str:
    return "review" if isinstance(entry, ReviewRequirement) or "review" in _keys(entry) else "verdict"


def _keys(entry: Any) -> Collection[str]:
    return entry if isinstance(entry, dict) else ()


PromotionRequirement = Annotated[
    Annotated[Requirement, Tag("verdict")] | Annotated[ReviewRequirement, Tag("review")], Discriminator(_kind)
]
