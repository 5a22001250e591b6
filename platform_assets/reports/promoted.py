"""What the pages tell of a promoted line: its stages, what is missing, what is asked for, and what stood when."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from platform_assets.governance.history import Stay, history
from platform_assets.governance.promotion import promotion_problems
from platform_assets.governance.release import Stage
from platform_assets.governance.requirements import PromotionDemands
from platform_assets.governance.review_requests import open_requests
from platform_assets.governance.reviewers import Reviewers
from platform_assets.ledger.ledger import Ledger

_SHOWN_STAYS = 50


@dataclass(frozen=True, slots=True)
class ShownRequest:
    """A review that is asked for."""

    why: str
    roles: tuple[str, ...]
    since: datetime
    entry: int
    """Its number."""


@dataclass(frozen=True, slots=True)
class PromotionView:
    """How a promoted line stands."""

    staging: Stay | None
    production: Stay | None
    missing: tuple[str, ...]
    """What keeps the version in staging from production."""
    requests: tuple[ShownRequest, ...]
    stays: tuple[Stay, ...]
    """The newest 50, newest first."""
    left_out: int
    """How many stays there were before those."""


def promotion_view(
    ledger: Ledger,
    line: str,
    demands: PromotionDemands,
    reviewers: Reviewers,
    *,
    stored_card: str | None,
    notice: timedelta,
    now: datetime,
) -> PromotionView:
    """How a promoted line stands.

    Args:
        ledger: Holds what was decided.
        line: The line.
        demands: What promoting demands.
        reviewers: Who may review.
        stored_card: SHA-256 of the card of what is in staging, as it is stored.
        notice: How long before reviews end others are asked for.
        now: The current time, with its time zone.

    Raises:
        LedgerError: The ledger cannot be read.
    """
    stays = history(ledger, line)

    def there(stage: Stage) -> Stay | None:
        return next((each for each in stays if each.stage == stage and each.until is None), None)

    staged, missing = there("staging"), list[str]()
    if staged is not None:
        missing = promotion_problems(
            ledger, staged.release, demands, reviewers, stored_card=stored_card, now=now
        )
    asked = open_requests(ledger, line, demands, reviewers, notice=notice, now=now)
    return PromotionView(
        staging=staged,
        production=there("production"),
        missing=tuple(missing),
        requests=tuple(
            ShownRequest(each.body["why"], tuple(each.body["roles"]), each.time, each.seq) for each in asked
        ),
        stays=tuple(reversed(stays[-_SHOWN_STAYS:])),
        left_out=max(len(stays) - _SHOWN_STAYS, 0),
    )
