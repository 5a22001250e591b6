"""What becomes of a push: for each training spec that it concerns, one ruling, taken once all is known.

    retraining      the spec, exactly as the commit has it, is requested to be trained
    rejected        the spec is wrong, or of a line that nobody has served for a week;
                    or the repository has not been watched for a week
    nothing to do   the push concerns no spec, the spec is gone, or it is as it was when it was last trained
    superseded      it waited, and a later push of the branch or of the line is ruled upon in its place;
                    or it was told of late, and the branch stands at a commit that was queued before it

These are final: ledger entries, and so is the end of the push as a whole. Until then a spec waits, and is
looked at again at every tick:

    needs deploy    the commit's code is not the code that runs here; nothing is trained under a commit
                    that did not run
    waiting         the line is pinned, its schema breaker is open, or it is not served at present

Everything is derived from the ledger and the repository, and each step is idempotent: whoever dies in
between leaves nothing to lose and nothing to do twice.
"""

import logging
import math
import time
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final, Literal

from platform_assets.datasets.schema_breaker import breaker_state
from platform_assets.governance import retraining
from platform_assets.governance.release import pin_state
from platform_assets.governance.retraining import UNSERVED_FOR, Retraining
from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.follower import Follower
from platform_assets.ledger.ledger import Entry, Ledger
from platform_assets.lines.line import Line
from resources.git_remote import GitRemote, GitRemoteError, UnreachableError
from resources.provenance import running_code
from resources.settings import WatchedRepository
from sensors.push_change import (
    PLATFORM_FILE,
    Change,
    PushRejectedError,
    changed_since,
    fixed_differences,
    look_at,
    missing_code,
    pushed_line,
)
from sensors.push_queue import BASELINE, PUSH, Branches, Push, Queued, has_stood_at

_LOG = logging.getLogger(__name__)

DECISION: Final = "push_decision"
"""Kind of the entries that end a push or a part of it. Their subject is the repository."""
WAITED: Final = "push_waiting"
"""Kind of the entries that say that a spec had to wait, and for what: once, when it began to.

Without a path it is the whole push that waits.
"""
TRIGGER: Final = "git"

Outcome = Literal["retraining", "rejected", "nothing to do", "superseded", "needs deploy", "waiting"]
_OPEN: Final = {"needs deploy", "waiting"}
_FINAL: Final[frozenset[Outcome]] = frozenset({"retraining", "rejected", "superseded", "nothing to do"})
_BY_WEIGHT: Final[tuple[Outcome, ...]] = ("retraining", "rejected", "superseded", "nothing to do")
_SHA1_DIGITS: Final = 40
_UNWATCHED: Final = "its repository is no longer watched"

_PLATFORM_SPECS: Final = "platform_assets/models/"
_GIVE_UP_AFTER: Final = timedelta(hours=1)
"""A forge's replicas may tell of a commit before they give it out."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What becomes of one spec of a push, or of a push as a whole."""

    outcome: Outcome
    reason: str
    retraining: Retraining | None = None

    @property
    def is_final(self) -> bool:
        """Whether it is never looked at again."""
        return self.outcome not in _OPEN


@dataclass(frozen=True, slots=True)
class Waiting:
    """A push, or one spec of it, that is not ruled upon yet."""

    push: Push
    path: str | None
    """The spec's; None where nothing is known about the commit yet."""
    reason: str

    def __str__(self) -> str:
        branch = self.push.ref.removeprefix("refs/heads/")
        at = f"{self.push.repository} {branch}@{self.push.sha[:12]}"
        return f"{at}{f' {self.path}' if self.path else ''}: {self.reason}"


class Backlog:
    """The queue from the oldest open push on, and what was decided on it: all that a look needs to know."""

    def __init__(self) -> None:
        self._branches = Branches()
        self.queue: deque[Queued] = deque()
        self.ended: set[str] = set()
        """Keys of the pushes in the queue that are open no more."""
        self.decisions: defaultdict[str, dict[str, Entry]] = defaultdict(dict)
        """By key of the push, by path of the spec."""
        self.waited: defaultdict[str, set[str]] = defaultdict(set)
        """Paths of the specs that had to wait, by key of the push."""
        self.unwatched: dict[str, datetime] = {}
        """When a push was first seen to be of a repository that nobody watches any more, by its key."""
        self.late: dict[tuple[str, str, str], Queued] = {}
        """Pushes that were told of late, and so moved no branch; by repository, ref and commit."""
        self.retrained_lines: dict[str, Queued] = {}
        """The newest push that each line was retrained for."""
        self.trained_specs: dict[tuple[str, str], str] = {}
        """The commit that each spec was last trained at, by repository and path."""
        self._by_key: dict[str, Queued] = {}

    def take(self, entry: Entry) -> None:
        """Takes the next entry of the queue, or the next thing that is said of a push in it."""
        if entry.kind in {BASELINE, PUSH}:
            if queued := self._branches.moved_by(entry):
                self.queue.append(queued)
                self._by_key[queued.push.key] = queued
        else:
            self.note(entry)
            self._let_go()

    def note(self, entry: Entry) -> None:
        """Takes a decision, or that a spec has to wait."""
        body, key = entry.body, entry.body["push"]
        each = self._by_key.get(key)
        if each is None:
            return  # has ended, with all before it
        name, ref, sha = each.push.repository, each.push.ref, each.push.sha
        if entry.kind == WAITED and body["path"] is None:
            self.unwatched[key] = entry.time
        elif entry.kind == WAITED:
            self.waited[key].add(body["path"])
        elif "path" not in body:
            self.ended.add(key)
            if "late" in body:
                self.late[name, ref, sha] = each
        else:
            self.decisions[key][body["path"]] = entry
            if body["outcome"] == "retraining":
                self.trained_specs[name, body["path"]] = sha
                line = body.get("line", "")
                self.retrained_lines[line] = max(
                    self.retrained_lines.get(line, each), each, key=lambda one: one.seq
                )

    def copy(self) -> "Backlog":
        """The same, for one look, which notes what it decides."""
        copied = copy(self)
        copied.ended, copied.late = set(self.ended), dict(self.late)
        copied.decisions = defaultdict(dict, {key: dict(each) for key, each in self.decisions.items()})
        copied.waited = defaultdict(set, {key: set(each) for key, each in self.waited.items()})
        copied.retrained_lines, copied.trained_specs = dict(self.retrained_lines), dict(self.trained_specs)
        copied.unwatched = dict(self.unwatched)
        return copied

    def _let_go(self) -> None:
        # One that ended behind an open one stays: the open one may yet end in it.
        while self.queue and (key := self.queue[0].push.key) in self.ended:
            self.queue.popleft()
            self.ended.discard(key)
            del self._by_key[key]
            self.decisions.pop(key, None)
            self.waited.pop(key, None)
            self.unwatched.pop(key, None)


def backlog_follower() -> Follower[Backlog]:
    """Keeps the backlog between looks, so that each reads only what is new."""
    return Follower((BASELINE, PUSH, DECISION, WAITED), Backlog, Backlog.take)


class Reviewer:
    """Rules upon the open pushes, for these lines and the code that runs here. Made anew for each look.

    Args:
        ledger: Holds the queue and the rulings.
        lines: The lines that are served.
        broken: Names of lines whose specs are wrong where this runs.
        repositories: The watched ones.
        remotes: The same by canonical name.
        running_code: Blob id by path, by SHA-1.
        follower: Of the backlog, where looks before this one have left it; without it, all is read.
    """

    def __init__(
        self,
        ledger: Ledger,
        lines: Iterable[Line],
        repositories: Iterable[WatchedRepository],
        remotes: Mapping[str, GitRemote],
        running_code: Mapping[str, str],
        *,
        broken: Collection[str] = (),
        follower: Follower[Backlog] | None = None,
    ) -> None:
        self._broken = frozenset(broken)
        self._ledger = ledger
        self._lines = {line.name: line for line in lines}
        self._repositories = {repository.name: repository for repository in repositories}
        self._remotes = remotes
        self._running_code = running_code
        self._known = (follower or backlog_follower()).look(ledger).copy()
        self._queue = list(self._known.queue)
        self._places = {each.push.key: place for place, each in enumerate(self._queue)}
        self._changes: dict[str, Change] = {}
        self._heads: dict[str, Mapping[str, str]] = {}
        self._now = datetime.now(UTC)

    def review(self, *, now: datetime, seconds: float = math.inf) -> list[Waiting]:
        """Rules upon all that can be ruled upon, in the order of the pushes; returns what has to wait.

        Args:
            now: The current time.
            seconds: When to stop; the rest is left for the next look.
        """
        self._now = now
        waiting: list[Waiting] = []
        deadline = time.monotonic() + seconds
        for each in self._open():
            if time.monotonic() > deadline:
                waiting.append(Waiting(each.push, None, "others come first; its turn is at the next look"))
                break
            if each.push.repository not in self._repositories:
                waiting += self._unwatched(each)
                continue
            try:
                waiting += self._review(each)
            except GitRemoteError as problem:
                if isinstance(problem, UnreachableError) or now - each.time < _GIVE_UP_AFTER:
                    waiting.append(Waiting(each.push, None, str(problem)))
                else:
                    self._end(each.push, Ruling("rejected", str(problem)))
            except LedgerError:
                raise
            except Exception as problem:  # noqa: BLE001 - a push that nobody foresaw holds up no other
                _LOG.exception("%s cannot be ruled upon", each.push.key)
                waiting.append(Waiting(each.push, None, _unforeseen(problem)))
        return waiting

    def waiting(self) -> Iterator[Waiting]:
        """What has to wait, without ruling upon anything and without a network."""
        for each in self._open():
            remote = self._remotes.get(each.push.repository)
            if remote is None:
                yield Waiting(each.push, None, _UNWATCHED)
            elif not all(remote.holds(sha) for sha in (each.push.sha, each.base) if sha):
                yield Waiting(each.push, None, "not looked at yet")
            else:
                try:
                    yield from list(self._foreseen(each))
                except LedgerError:
                    raise
                except Exception as problem:  # noqa: BLE001 - told by `review`, which meets it too
                    yield Waiting(each.push, None, _unforeseen(problem))

    def _foreseen(self, each: Queued) -> Iterator[Waiting]:
        change = self._look_at(each)
        for path in self._undecided(change):
            ruling = self._rule(change, path)
            yield Waiting(each.push, path, "about to be ruled upon" if ruling.is_final else ruling.reason)

    def _open(self) -> list[Queued]:
        return [each for each in self._queue if each.push.key not in self._known.ended]

    def _look_at(self, each: Queued) -> Change:
        key, name = each.push.key, each.push.repository
        if key not in self._changes:
            self._changes[key] = look_at(
                each.push, self._base(each), self._remotes[name], self._repositories[name], each.elsewhere
            )
        return self._changes[key]

    def _base(self, each: Queued) -> str | None:
        """Where its branch stood before, whatever was told of late in between."""
        name, ref, base, seen = each.push.repository, each.push.ref, each.base, set[str]()
        while base and base not in seen and (late := self._known.late.get((name, ref, base))):
            seen.add(base)
            base = late.base
        return base

    def _undecided(self, change: Change) -> list[str]:
        return [path for path in change.specs if path not in self._known.decisions[change.push.key]]

    def _review(self, each: Queued) -> Iterator[Waiting]:
        change = self._look_at(each)
        if late := self._told_of_late(each):
            self._end(each.push, late, late="yes")
            return
        for path in self._undecided(change):
            ruling = self._rule(change, path)
            if ruling.outcome == "needs deploy":
                ruling = self._ruling_in_a_later_push(each, change, path, _FINAL) or ruling
            elif ruling.retraining:
                line = ruling.retraining.line
                ruling = self._later_retrained(each, line) or ruling
                if ruling.retraining and path in self._known.waited[each.push.key]:
                    ruling = (
                        self._later_retraining(each, line)
                        or self._ruling_in_a_later_push(each, change, path, {"retraining", "nothing to do"})
                        or ruling
                    )
            if ruling.is_final:
                self._record(each.push, path, ruling)
            else:
                self._wait(each.push, path, ruling)
                yield Waiting(each.push, path, ruling.reason)
        if not self._undecided(change):
            self._end(each.push, self._summary(each.push))

    def _unwatched(self, each: Queued) -> Iterator[Waiting]:
        key = each.push.key
        if key not in self._known.unwatched:
            self._wait(each.push, None, Ruling("waiting", _UNWATCHED))
        if self._now - self._known.unwatched[key] < UNSERVED_FOR:
            yield Waiting(each.push, None, _UNWATCHED)
        else:
            # All that comes after an open push is kept in memory.
            self._end(each.push, Ruling("rejected", f"{_UNWATCHED}, nor was it for {UNSERVED_FOR.days} days"))

    def _told_of_late(self, each: Queued) -> Ruling | None:
        """The end of a push that its branch had already left behind when it was queued.

        A webhook may come after that of a later push, or be sent again: trained in the order of the queue,
        it would undo what the branch says now.
        """
        name, ref, sha = each.push.repository, each.push.ref, each.push.sha
        if each.base is None:
            return None
        remote = self._remotes[name]
        if name not in self._heads:
            self._heads[name] = remote.heads()
        head = self._heads[name].get(ref)
        # History must prove it: what a forge's replica tells of its branches may itself be late.
        if head is None or head == sha or not has_stood_at(self._ledger, each.push, head, before=each.seq):
            return None
        if not remote.contains(head, sha):
            return None
        return Ruling("superseded", f"told of late: its branch stands at {head}, which holds it")

    def _rule(self, change: Change, path: str, *, since: Change | None = None) -> Ruling:
        """The ruling upon one spec of a commit.

        Args:
            change: The push.
            path: The spec's.
            since: An earlier push whose changes it stands for as well.
        """
        if problem := change.linked.broken.get(path):
            return Ruling("rejected", problem)
        if path not in change.tree:
            return Ruling("nothing to do", f"{path} is gone")
        if same := self._as_last_trained(change, path):
            return Ruling("nothing to do", f"{path} is as it was at {same}, which was trained")
        changed = filter(change.repository.watches_path, {*change.changed, *(since.changed if since else ())})
        # Before the spec is read: the code that it was pushed with may read it differently.
        is_sha1 = len(change.push.sha) == _SHA1_DIGITS
        running = self._running_code if is_sha1 else self._running_code_sha256
        if missing := missing_code(running, change.tree, changed):
            return Ruling("needs deploy", f"needs deploy: {_few(missing)} is not the code that runs here")
        try:
            pushed = pushed_line(path, change.tree, self._remotes[change.push.repository])
        except PushRejectedError as problem:
            return Ruling("rejected", str(problem))
        line = self._lines.get(pushed.name)
        if line is None:
            if pushed.name in self._broken:
                return Ruling(
                    "needs deploy", f"needs deploy: line {pushed.name} cannot be loaded where this runs"
                )
            unknown = f"line {pushed.name} is not among those served ({_few(list(self._lines))})"
            if path.startswith(_PLATFORM_SPECS) and PLATFORM_FILE in change.tree:
                return Ruling("needs deploy", f"needs deploy: {unknown}")
            if self._now - self._queue[self._places[change.push.key]].time < UNSERVED_FOR:
                return Ruling("waiting", unknown)
            return Ruling("rejected", f"{path}: {unknown}, nor was it for {UNSERVED_FOR.days} days")
        if fixed := fixed_differences(line, pushed):
            return Ruling(
                "needs deploy", f"needs deploy: {_few(fixed)} differs from the definitions that run"
            )
        if pin := pin_state(self._ledger, line.name):
            return Ruling("waiting", f"{line.name} is pinned by {pin.by}: {pin.reason}")
        breaker = breaker_state(self._ledger, f"{line.name}_dataset")
        if breaker.state == "open":
            return Ruling("waiting", str(breaker))
        return Ruling(
            "retraining",
            f"{line.name} is retrained",
            Retraining(
                key=f"{change.push.key}:{line.name}",
                line=line.name,
                trigger=TRIGGER,
                config=pushed.overrides,
                basis=line.basis,
                source_commit=change.push.sha,
                source_author=self._author(change, path),
                evidence=change.evidence | {"spec": path},
            ),
        )

    def _author(self, change: Change, path: str) -> str | None:
        """Who answers for a pushed spec: who changed it last, or else who made the commit that concerns it.

        Not who made the pushed commit in any case: that may be a merge of somebody else's work.
        """
        if path not in change.changed:
            return change.commit.identity
        remote = self._remotes[change.push.repository]
        return remote.author(change.push.sha, path) or change.commit.identity

    @cached_property
    def _running_code_sha256(self) -> Mapping[str, str]:
        """The same as repositories have it that name their objects by SHA-256."""
        return running_code(sha256=True)

    def _as_last_trained(self, change: Change, path: str) -> str | None:
        """The commit that a spec was last trained at, if nothing that concerns the spec is different there."""
        remote = self._remotes[change.push.repository]
        trained = self._known.trained_specs.get((change.push.repository, path))
        if trained is None or not remote.holds(trained):
            return None
        differing = changed_since(trained, change.push.sha, change.linked, remote)
        return None if path in change.specs_of(differing) else trained

    def _ruling_in_a_later_push(
        self, each: Queued, change: Change, path: str, outcomes: Collection[Outcome]
    ) -> Ruling | None:
        """How a push that waited ends where the newest of its branch need not wait: in that one.

        Its own code will hardly be deployed any more, and what it changed is in the later one.

        Args:
            each: The push.
            change: What it changed.
            path: The spec's.
            outcomes: The rulings upon the later one that end this one.
        """
        for later in self._later_than(each):
            if (later.push.repository, later.push.ref) != (each.push.repository, each.push.ref):
                continue
            try:
                ruling = self._rule(self._look_at(later), path, since=change)
                if self._told_of_late(later):
                    continue
            except LedgerError:
                raise
            except Exception:  # noqa: BLE001, S112 - told when its own turn comes; it ends no other
                continue
            if ruling.outcome in outcomes:
                if path not in self._known.decisions[later.push.key]:
                    self._record(later.push, path, ruling)
                return Ruling("superseded", f"by {later.push.sha}: {ruling.reason}")
        return None

    def _later_retrained(self, each: Queued, line: str) -> Ruling | None:
        """The end of a push where a later one, of whichever branch, has retrained the line.

        That one was ruled upon while this one waited, or while its repository did not answer.
        """
        newest = self._known.retrained_lines.get(line)
        if newest is None or newest.seq <= each.seq:
            return None
        return Ruling("superseded", f"by {newest.push.sha}, a later push of {line}")

    def _later_retraining(self, each: Queued, line: str) -> Ruling | None:
        """The end of a push that waited where a later one, of whichever branch, retrains the line."""
        for later in self._later_than(each):
            if later.push.key in self._known.ended or later.push.repository not in self._repositories:
                continue
            try:
                change = self._look_at(later)
                rulings = {path: self._rule(change, path) for path in self._undecided(change)}
                if self._told_of_late(later):
                    continue
            except LedgerError:
                raise
            except Exception:  # noqa: BLE001, S112 - told when its own turn comes; it ends no other
                continue
            for path, ruling in rulings.items():
                if ruling.retraining and ruling.retraining.line == line:
                    self._record(later.push, path, ruling)
                    return Ruling("superseded", f"by {later.push.sha}, a later push of {line}")
        return None

    def _later_than(self, each: Queued) -> Iterator[Queued]:
        """The pushes after this one, the newest first."""
        return reversed(self._queue[self._places[each.push.key] + 1 :])

    def _record(self, push: Push, path: str, ruling: Ruling) -> None:
        wanted = ruling.retraining
        if wanted and wanted.line in {
            entry.body["line"] for entry in self._known.decisions[push.key].values()
        }:
            twice = f"{path}: line {wanted.line} is declared by another spec of the commit as well"
            ruling, wanted = Ruling("rejected", twice), None
        entry = self._request(wanted) if wanted else None
        self._append(
            push,
            _part(push, wanted.line if wanted else path),
            ruling,
            path=path,
            line=wanted.line if wanted else None,
            retraining=entry.hash if entry else None,
        )

    def _request(self, wanted: Retraining) -> Entry:
        # One that was asked for before its decision could be recorded stands as it was: the line, and with
        # it the request's basis, may have changed since.
        found = retraining.asked_before(self._ledger, wanted.line, wanted.key)
        return found or retraining.request(self._ledger, wanted)

    def _summary(self, push: Push) -> Ruling:
        outcomes = [entry.body["outcome"] for entry in self._known.decisions[push.key].values()]
        for outcome in _BY_WEIGHT:
            if outcome in outcomes:
                counts = ", ".join(f"{outcomes.count(each)} × {each}" for each in sorted(set(outcomes)))
                return Ruling(outcome, counts)
        return Ruling("nothing to do", "it changed no watched path that concerns a training spec")

    def _wait(self, push: Push, path: str | None, ruling: Ruling) -> None:
        if path is None or path not in self._known.waited[push.key]:
            body = {"push": push.key, "path": path, "outcome": ruling.outcome, "reason": ruling.reason}
            fingerprint = push.key if path is None else _part(push, path)
            self._known.note(self._ledger.append(WAITED, push.repository, fingerprint=fingerprint, body=body))

    def _end(self, push: Push, ruling: Ruling, **details: str) -> None:
        self._append(push, push.key, ruling, **details)

    def _append(self, push: Push, fingerprint: str, ruling: Ruling, **details: str | None) -> None:
        body = {"push": push.key, "outcome": ruling.outcome, "reason": ruling.reason, **details}
        self._known.note(self._ledger.append(DECISION, push.repository, fingerprint=fingerprint, body=body))


def _part(push: Push, name: str) -> str:
    """Fingerprint of what is said of one line, or one spec, of a push."""
    return f"{push.key}:{name}"


def _unforeseen(problem: Exception) -> str:
    return f"cannot be ruled upon, which is a fault of the platform ({type(problem).__name__}): see the log"


def _few(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
