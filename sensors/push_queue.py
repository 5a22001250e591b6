"""The queue of pushes: entries of the ledger, so durable, in order, and each push once.

Whoever learns of a push, the poller or a webhook, enqueues it under the same key; the second of two
changes nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Final, Self

from platform_assets.ledger.ledger import Entry, Ledger, fingerprint_of
from resources.git_names import BRANCH_PREFIX, GitNameError, branch_of, canonical_repository, is_commit_id
from resources.settings import WatchedRepository

PUSH: Final = "push"
"""Kind of the entries. Their subject is the repository, their fingerprint the push's key."""
BASELINE: Final = "push_baseline"
"""Kind of the entries that say where the branches stood when a repository was first looked at."""


@dataclass(frozen=True, slots=True)
class Push:
    """A branch that was moved to a commit."""

    repository: str
    """Canonical form of its URL: nothing in it is secret."""
    ref: str
    """`refs/heads/<branch>`."""
    sha: str

    @property
    def key(self) -> str:
        """What makes it one push, whoever tells of it and how often."""
        return f"git:{self.repository}:{self.ref}:{self.sha}"

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """The push that an entry of the queue is."""
        return cls(entry.body["repository"], entry.body["ref"], entry.body["sha"])


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
    found = next((each for each in watched if each.name == repository), None)
    if found is None or branch is None or not found.watches_branch(branch) or not is_commit_id(sha):
        return None
    return Push(repository, BRANCH_PREFIX + branch, sha)


def enqueue(ledger: Ledger, push: Push) -> bool:
    """Puts a push into the queue, durable when this returns; False where it is there already."""
    with ledger.exclusive() as writer:
        newest = ledger.latest(PUSH, push.repository)
        body = {"repository": push.repository, "ref": push.ref, "sha": push.sha}
        entry = writer.append(PUSH, push.repository, fingerprint=push.key, body=body)
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


class Branches:
    """Where the branches stand, as far as the entries of the queue tell."""

    def __init__(self) -> None:
        self._heads: dict[tuple[str, str], str] = {}

    def moved_by(self, entry: Entry) -> Queued | None:
        """Takes the next entry of the queue; the push that it is, unless it is a baseline."""
        queued = None
        if entry.kind == PUSH:
            push = Push.of(entry)
            base = self._heads.get((push.repository, push.ref))
            queued = Queued(push, entry.time, base, entry.seq)
        self._heads |= {(entry.subject, ref): sha for ref, sha in _heads(entry).items()}
        return queued


def queued(ledger: Ledger) -> list[Queued]:
    """Every push that was ever enqueued, in order."""
    branches = Branches()
    return [found for entry in _movements(ledger) if (found := branches.moved_by(entry))]


def has_stood_at(ledger: Ledger, push: Push, sha: str, *, before: int) -> bool:
    """Whether the branch of a push was known to stand at a commit.

    Args:
        ledger: Holds the queue.
        push: Moved the branch.
        sha: The commit.
        before: Only entries with a smaller `seq` count.
    """
    found = ledger.find(PUSH, push.repository, Push(push.repository, push.ref, sha).key)
    if found is not None and found.seq < before:
        return True
    baselines = ledger.entries(kind=BASELINE, subject=push.repository, until=before - 1)
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
    ledger: Ledger, repository: WatchedRepository, known: Mapping[str, str], heads: Mapping[str, str]
) -> list[Push]:
    """Enqueues what has moved since; returns what is new in the queue.

    The first sight of a repository, or of branches that the settings now name for the first time, is a
    baseline: it is recorded and starts nothing.

    Args:
        ledger: Holds the queue.
        repository: The repository that was looked at.
        known: Commit by ref when it was looked at before.
        heads: Commit by watched ref now.
    """
    seen_before = baseline_exists(ledger, repository)
    moved = [
        Push(repository.name, ref, sha)
        for ref, sha in sorted(heads.items())
        if (known[ref] != sha if ref in known else seen_before)
    ]
    new = [push for push in moved if enqueue(ledger, push)]
    if not seen_before:
        # Last: whoever dies before this looks again, and enqueues nothing twice.
        ledger.append(
            BASELINE,
            repository.name,
            fingerprint=_baseline_fingerprint(repository),
            body={"branches": sorted(repository.branches), "refs": dict(heads)},
        )
    return new


def _movements(ledger: Ledger, repository: str | None = None) -> list[Entry]:
    kinds = (ledger.entries(kind=kind, subject=repository) for kind in (BASELINE, PUSH))
    return sorted(chain.from_iterable(kinds), key=lambda entry: entry.seq)


def _heads(entry: Entry) -> dict[str, str]:
    body = entry.body
    return {body["ref"]: body["sha"]} if entry.kind == PUSH else body["refs"]


def _baseline_fingerprint(repository: WatchedRepository) -> str:
    return fingerprint_of(branches=sorted(repository.branches))
