"""The queue of pushes: entries of the ledger, so durable, in order, and each push once.

Whoever learns of a push, the poller or a webhook, enqueues it under the same key; the second of two
changes nothing. That a branch was pushed back to a commit it had before is for the poller to find: it sees where the
branch stands, while a webhook that says so may be an old one that was sent again.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Final, Self

from platform_assets.ledger.ledger import Entry, Ledger, fingerprint_of
from resources.git_names import (
    BRANCH_PREFIX,
    GitNameError,
    branch_of,
    canonical_repository,
    is_commit_id,
    is_same_repository,
)
from resources.settings import WatchedRepository

PUSH: Final = "push"
"""Kind of the entries. Their subject is the repository, their fingerprint the push's key."""
BASELINE: Final = "push_baseline"
"""Kind of the entries that say where the branches stood when a repository was first looked at."""

_SETTLED: Final = timedelta(minutes=1)
"""So long a forge's replicas may still show a branch where it stood before a push."""
_LAGGING: Final = timedelta(days=1)
"""So long after a push, a branch at an earlier commit may be a replica that has not caught up."""
_REMEMBERED: Final = timedelta(days=7)
"""So long after a push it is still found that it was taken back before the poller saw it."""


@dataclass(frozen=True, slots=True)
class Push:
    """A branch that was moved to a commit."""

    repository: str
    """Canonical form of its URL: nothing in it is secret."""
    ref: str
    """`refs/heads/<branch>`."""
    sha: str
    returned: int = 0
    """How often the branch was pushed back to this commit, this time among them."""

    @property
    def key(self) -> str:
        """What makes it one push, whoever tells of it and how often."""
        again = f":{self.returned}" if self.returned else ""
        return f"git:{self.repository}:{self.ref}:{self.sha}{again}"

    @property
    def body(self) -> dict[str, str | int]:
        """What its entry says."""
        again: dict[str, str | int] = {"returned": self.returned} if self.returned else {}
        return {"repository": self.repository, "ref": self.ref, "sha": self.sha} | again

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """The push that an entry of the queue is."""
        body = entry.body
        return cls(body["repository"], body["ref"], body["sha"], body.get("returned", 0))


def push_of(url: str, ref: str, sha: str, watched: Iterable[WatchedRepository]) -> Push | None:
    """The push that moved `ref` of the repository at `url` to `sha`; None where nobody watches that.

    Nobody watches an unknown repository, another branch, a tag, or a deletion (a SHA of zeros). Any text
    may be given, as a webhook brings it.
    """
    branch = branch_of(ref)
    try:
        repository = canonical_repository(url)
    except GitNameError:
        return None
    found = _watched(repository, watched)
    if found is None or branch is None or not found.watches_branch(branch) or not is_commit_id(sha):
        return None
    return Push(found.name, BRANCH_PREFIX + branch, sha)


def _watched(name: str, watched: Iterable[WatchedRepository]) -> WatchedRepository | None:
    """The repository that has this name; else the only one that a forge may mean by it."""
    alike = [each for each in watched if any(is_same_repository(name, known) for known in each.names)]
    exact = [each for each in alike if name in each.names]
    return next(iter(exact), alike[0] if len(alike) == 1 else None)


def enqueue(ledger: Ledger, push: Push) -> bool:
    """Puts a push into the queue, durable when this returns; False where it is there already."""
    with ledger.exclusive() as writer:
        newest = ledger.latest(PUSH, push.repository)
        entry = writer.append(PUSH, push.repository, fingerprint=push.key, body=push.body)
    return newest is None or entry.seq > newest.seq


@dataclass(frozen=True, slots=True)
class Queued:
    """A push in the queue, and what was there before it."""

    push: Push
    time: datetime
    """When it was enqueued."""
    base: str | None
    """Where its branch stood before, as far as the ledger knows."""
    seq: int
    """Of its entry."""
    elsewhere: tuple[str, ...] = ()
    """Of a branch that is new to the ledger: where the others of its repository stood."""


class Branches:
    """Where the branches stand, as far as the entries of the queue tell."""

    def __init__(self) -> None:
        self._heads: defaultdict[str, dict[str, str]] = defaultdict(dict)

    def moved_by(self, entry: Entry) -> Queued | None:
        """Takes the next entry of the queue; the push that it is, unless it is a baseline."""
        queued = None
        if entry.kind == PUSH:
            push = Push.of(entry)
            heads = self._heads[push.repository]
            base = heads.get(push.ref)
            others = () if base else tuple(sorted(set(heads.values())))
            queued = Queued(push, entry.time, base, entry.seq, others)
        self._heads[entry.subject] |= _heads(entry)
        return queued


def queued(ledger: Ledger) -> list[Queued]:
    """Every push that was ever enqueued, in order."""
    branches = Branches()
    return [found for entry in _movements(ledger) if (found := branches.moved_by(entry))]


def has_stood_at(ledger: Ledger, push: Push, sha: str, *, before: int | None = None) -> bool:
    """Whether the branch of a push was known to stand at a commit.

    Args:
        ledger: Holds the queue.
        push: Moved the branch.
        sha: The commit.
        before: Only entries with a smaller `seq` count; None for all.
    """
    found = ledger.find(PUSH, push.repository, Push(push.repository, push.ref, sha).key)
    if found is not None and (before is None or found.seq < before):
        return True
    until = None if before is None else before - 1
    baselines = ledger.entries(kind=BASELINE, subject=push.repository, until=until)
    return any(_heads(entry).get(push.ref) == sha for entry in baselines)


# --- Polling ---------------------------------------------------------------------------------------


def baseline_exists(ledger: Ledger, repository: WatchedRepository) -> bool:
    """Whether these branches of the repository were ever looked at."""
    return ledger.find(BASELINE, repository.name, _baseline_fingerprint(repository)) is not None


def known_heads(ledger: Ledger, repository: str) -> dict[str, str]:
    """Commit by ref, as the ledger knows them; empty before the first sight of the repository."""
    heads: dict[str, str] = {}
    for entry in _movements(ledger, repository):
        heads |= _heads(entry)
    return heads


def observe(
    ledger: Ledger,
    repository: WatchedRepository,
    known: Mapping[str, str],
    heads: Mapping[str, str],
    *,
    now: datetime | None = None,
) -> list[Push]:
    """Enqueues what has moved since; returns what is new in the queue.

    The first sight of a repository, or of branches that the settings now name for the first time, is a
    baseline: it is recorded and starts nothing. Of a branch that is seen at a commit where it stood before, shortly
    after it was pushed to another, two looks in a row must tell so: a forge's replicas may take turns.

    Args:
        ledger: Holds the queue.
        repository: The repository that was looked at.
        known: Commit by ref when it was looked at before.
        heads: Commit by watched ref now.
        now: The current time, with its time zone.
    """
    seen_before = baseline_exists(ledger, repository)
    now = now or datetime.now(UTC)
    told = _last_told(ledger, repository.name, heads.keys(), since=now - _REMEMBERED)

    def has_moved(ref: str, sha: str) -> bool:
        told_sha, told_at = told.get(ref, (sha, now))
        if known.get(ref) == sha:
            # Taken back between two looks, or before the last one, which waited for this one to agree.
            return told_sha != sha and told_at < now - _SETTLED
        if ref not in known and not seen_before:
            return False
        may_be_stale = told_sha != sha and told_at > now - _LAGGING
        return not (may_be_stale and has_stood_at(ledger, Push(repository.name, ref, told_sha), sha))

    moved = [(ref, sha) for ref, sha in sorted(heads.items()) if has_moved(ref, sha)]
    new = [push for ref, sha in moved if (push := _enqueue_seen(ledger, repository.name, ref, sha))]
    if not seen_before:
        # Last: whoever dies before this looks again, and enqueues nothing twice.
        ledger.append(
            BASELINE,
            repository.name,
            fingerprint=_baseline_fingerprint(repository),
            body={"branches": sorted(repository.branches), "refs": dict(heads)},
        )
    return new


def _enqueue_seen(ledger: Ledger, repository: str, ref: str, sha: str) -> Push | None:
    """The push to a commit at which a branch was seen, if it is new: for the first time, or back to it."""
    with ledger.exclusive() as writer:
        push = Push(repository, ref, sha)
        if ledger.find(PUSH, repository, push.key) is not None:
            if _last_told(ledger, repository, {ref}).get(ref, ("", None))[0] == sha:
                return None
            while ledger.find(PUSH, repository, push.key) is not None:
                push = replace(push, returned=push.returned + 1)
        writer.append(PUSH, repository, fingerprint=push.key, body=push.body)
    return push


def _last_told(
    ledger: Ledger, repository: str, refs: Collection[str], *, since: datetime | None = None
) -> dict[str, tuple[str, datetime]]:
    """To which commit each branch was last said to have been pushed, and when that was said.

    Args:
        ledger: Holds the queue.
        repository: Whose branches.
        refs: Which of them.
        since: Where it stops to look.
    """
    found: dict[str, tuple[str, datetime]] = {}
    for entry in ledger.entries(kind=PUSH, subject=repository, newest_first=True):
        if len(found) == len(refs) or (since and entry.time < since):
            break
        if entry.body["ref"] in refs:
            found.setdefault(entry.body["ref"], (entry.body["sha"], entry.time))
    return found


def _movements(ledger: Ledger, repository: str | None = None) -> list[Entry]:
    kinds = (ledger.entries(kind=kind, subject=repository) for kind in (BASELINE, PUSH))
    return sorted(chain.from_iterable(kinds), key=lambda entry: entry.seq)


def _heads(entry: Entry) -> dict[str, str]:
    body = entry.body
    return {body["ref"]: body["sha"]} if entry.kind == PUSH else body["refs"]


def _baseline_fingerprint(repository: WatchedRepository) -> str:
    return fingerprint_of(branches=sorted(repository.branches))
