"""Who should review what: the decision.

A version that stands complete in staging, and lacks reviews alone, is to be reviewed; so is the one in production once drift
of it is confirmed, or its reviews end or soon will. Each is asked for once (see `review_requests`).
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from platform_assets.governance.release import Release
from platform_assets.governance.review_requests import ReviewRequest
from platform_assets.ledger.ledger import Entry, fingerprint_of


@dataclass(frozen=True, slots=True)
class Staged:
    """The version in staging, and what keeps it there."""

    release: Release
    lacks: Sequence[str] = ()
    """What is missing beside reviews."""
    gaps: Sequence[str] = ()
    """What is missing of reviews."""


@dataclass(frozen=True, slots=True)
class Served:
    """The version in production, and how its reviews stand."""

    release: Release
    drift: Sequence[Entry] = ()
    """Changes by which columns now stand confirmed as drifted, of whatever version, oldest first."""
    reviews: Sequence[Entry] = ()
    """What each person has said last about its model."""
    gaps: Sequence[str] = ()
    """What is missing of its reviews, or soon will be."""
    was_reviewed: bool = True
    """Whether it got to production on reviews."""
    is_objected_to: bool = False
    """Whether one of them is a rejection."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be asked for, and why nothing else is."""

    requests: tuple[ReviewRequest, ...]
    reasons: tuple[str, ...]


def reviews_wanted(roles: Collection[str], staged: Staged | None, served: Served | None) -> Wanted:
    """The reviews that a line calls for now.

    Args:
        roles: Whose reviews the line demands.
        staged: What is in staging; None where nothing is.
        served: What is in production; None where nothing is.
    """
    if not roles:
        return Wanted((), ("its promotion asks for no reviews",))
    found = [
        *_of_staging(tuple(roles), staged),
        *_of_drift(tuple(roles), served),
        *_of_expiry(tuple(roles), served),
    ]
    return Wanted(
        tuple(each for each in found if isinstance(each, ReviewRequest)),
        tuple(each for each in found if isinstance(each, str)),
    )


def _of_staging(roles: tuple[str, ...], staged: Staged | None) -> Iterator[ReviewRequest | str]:
    if staged is None:
        yield "nothing is in staging"
        return
    number = staged.release.card.registered.number
    if staged.lacks:
        yield f"version {number} is in staging and not complete: {staged.lacks[0]}"
    elif not staged.gaps:
        yield f"version {number} in staging lacks no review"
    else:
        yield ReviewRequest(
            staged.release,
            "staging",
            key="",
            why=f"version {number} stands complete in staging, and lacks reviews alone",
            roles=roles,
        )


def _of_drift(roles: tuple[str, ...], served: Served | None) -> Iterator[ReviewRequest | str]:
    if served is None:
        return
    number = served.release.card.registered.number
    drift = [entry for entry in served.drift if entry.body["model_version"] == number]
    if not drift:
        return
    newest, columns = drift[-1], ", ".join(sorted(entry.body["column"] for entry in drift))
    if any(review.seq > newest.seq for review in served.reviews):
        yield f"version {number} in production has drifted ({columns}), and was reviewed since"
        return
    yield ReviewRequest(
        served.release,
        "drift",
        key=newest.hash,
        why=f"drift of {columns} is confirmed for version {number}, which is in production",
        roles=roles,
    )


def _of_expiry(roles: tuple[str, ...], served: Served | None) -> Iterator[ReviewRequest | str]:
    if served is None or not served.gaps:
        return
    number = served.release.card.registered.number
    if not served.was_reviewed:
        yield f"version {number} got to production without reviews, so none ends"
    elif served.is_objected_to:
        yield f"somebody objects to version {number}, which is in production: another review would not change that"
    else:
        yield ReviewRequest(
            served.release,
            "expiry",
            key=fingerprint_of(reviews=sorted(entry.hash for entry in served.reviews)),
            why=f"the reviews of version {number}, which is in production, end or soon will: {served.gaps[0]}",
            roles=roles,
        )
