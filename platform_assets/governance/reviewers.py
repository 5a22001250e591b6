"""Who may review: people with roles, validity and keys, as `reviewers.yaml` has them in Git's history.

What people gave themselves does not count for them. A commit is theirs where its author or its committer has one of their
names, old or new. Of each grant (a role, a principal, a public key, a longer validity) the state before a commit of their
own counts; a restriction counts whoever made it. So a key that they changed themselves leaves them with none, and a role
that they gave themselves counts once somebody else has taken it out and put it back.

A merge that takes over what one side has changed is no change of whoever merged; any other merge is. Where both sides
agree, what counts is what counted on both. A file that cannot be read names nobody; what was written into it meanwhile is
the work of everybody who left it so, and of who mended it.

Git takes an author's name on trust. What is checked here keeps honest people apart from their own permissions, and leaves a
trail of the others; that nobody commits in another name is for the repository (protected branches, signed commits).
"""

import base64
import binascii
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from platform_assets.manifest import Manifest, ManifestError, Many, Section, bound, parsed_yaml
from resources.git_history import FileHistory, FileState, GitHistoryError, Maker, file_history

SHIPPED: Final = Path(__file__).with_name("reviewers.yaml")
"""Names nobody, and shows the form."""
ADVICE: Final = (
    "name people in a file that is committed in a Git checkout, and set PLATFORM_REVIEWERS to its path there"
)
_KEY_BYTES: Final = 32
_ADDRESSED: Final = re.compile(r"(?P<name>.*?)\s*<(?P<email>[^<>]*)>\s*")
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


def _moment(value: Any) -> datetime:
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        found = None
    if found is None or found.tzinfo is None:
        raise ValueError("write a time with its zone, such as 2026-12-01T09:30:00Z")
    return found.astimezone(UTC)


def _day_or_moment(value: Any, of_day: Callable[[date], datetime]) -> datetime:
    try:
        return of_day(date.fromisoformat(value))
    except (TypeError, ValueError):
        try:
            return _moment(value)
        except ValueError:
            raise ValueError(
                "write a day such as 2026-12-01, or a time such as 2026-12-01T09:30:00Z"
            ) from None


def _from(value: Any) -> datetime:
    return _day_or_moment(value, lambda day: datetime.combine(day, time.min, UTC))


def _until(value: Any) -> datetime:
    """Of a day, its end."""
    return _day_or_moment(value, lambda day: datetime.combine(day, time.min, UTC) + timedelta(days=1))


def _is_key(text: str) -> bool:
    try:
        raw = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return False
    return len(raw) == _KEY_BYTES and base64.b64encode(raw).decode() == text


class _Person(Section):
    """One entry of the file."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    name: Text
    roles: Many[Text] = ()
    emails: Annotated[Many[Text], Field(min_length=1)]
    principals: Many[Text] = ()
    valid_from: Annotated[datetime, BeforeValidator(_from)]
    valid_until: Annotated[datetime | None, BeforeValidator(lambda each: each and _until(each))] = None
    revoked_at: Annotated[datetime | None, BeforeValidator(lambda each: each and _moment(each))] = None
    public_key: str | None = None

    # Of the whole entry, so that nothing of it is shown: it may be the other one of the pair.
    @model_validator(mode="after")
    def _has_a_key(self) -> Self:
        if self.public_key is not None and not _is_key(self.public_key):
            raise ValueError(f"public_key: must be base64 of the {_KEY_BYTES} bytes of an Ed25519 public key")
        return self

    @property
    def names(self) -> frozenset[str]:
        """All that may name this person, as `normalised` writes it."""
        return frozenset(map(normalised, (self.id, self.name, *self.emails, *self.principals)))


class _File(Section):
    """The whole file."""

    reviewers: Many[_Person]

    @model_validator(mode="after")
    def _each_name_means_one(self) -> Self:
        seen: dict[str, int] = {}
        for index, person in enumerate(self.reviewers):
            if person.valid_until is not None and person.valid_until <= person.valid_from:
                raise ValueError(f"reviewers.{index}.valid_until: must be later than valid_from")
            for token in sorted(_tokens(person)):
                if seen.setdefault(token, index) != index:
                    raise ValueError(
                        f"reviewers.{index}: shares a name, an address, a principal or a key with entry {seen[token] + 1}; what "
                        "names a person must name one alone"
                    )
        return self


@dataclass(frozen=True, slots=True)
class Reviewer:
    """A person, with what counts of what the file says."""

    id: str
    name: str
    """As it is printed."""
    roles: tuple[str, ...]
    emails: tuple[str, ...]
    principals: tuple[str, ...]
    valid_from: datetime
    valid_until: datetime | None
    """The first moment at which it holds no more."""
    public_key: str | None
    """Base64, Ed25519."""
    revoked_at: datetime | None
    withheld: tuple[str, ...] = ()
    """What the file says and does not count, since they gave it themselves: `role radiologist`."""

    def problem(self, at: datetime) -> str:
        """Why nothing of this person counts at that time; empty where it does."""
        if self.revoked_at is not None and at >= self.revoked_at:
            return f"{self.name} was revoked as a reviewer at {self.revoked_at:%Y-%m-%d %H:%M} UTC"
        if at < self.valid_from:
            return f"{self.name} is a reviewer from {self.valid_from:%Y-%m-%d %H:%M} UTC on"
        if self.valid_until is not None and at >= self.valid_until:
            return f"{self.name} was a reviewer until {self.valid_until:%Y-%m-%d %H:%M} UTC"
        return ""


@dataclass(frozen=True, slots=True)
class Reviewers:
    """Everybody whom the file names at one commit, and by which names it has ever named them."""

    commit: str
    """What `HEAD` was; empty where nobody is a reviewer because of `problem`."""
    people: Mapping[str, Reviewer] = field(default_factory=dict)
    """By id."""
    known_as: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By id, of everybody who was ever in the file: all names of the person, as `normalised` writes them."""
    persons: Mapping[str, str] = field(default_factory=dict)
    """By id, one id that stands for the person: ids that have ever shared a name are of one person."""
    problem: str = ""
    """Why nobody is a reviewer, and what to do; empty where the file could be read."""
    history: FileHistory | None = field(default=None, repr=False)
    """Where all of this was read; None where it could not be."""

    @property
    def ids(self) -> frozenset[str]:
        """Of everybody who was ever in the file."""
        return frozenset(self.known_as)

    def find(self, name: str) -> Reviewer | None:
        """Whom a name means: an id, a printed name, an address, `Name <address>` or a principal.

        None where it means nobody, or where name and address mean two.
        """
        found = {
            each.id
            for part in _parts(name)
            for each in self.people.values()
            if part in {normalised(one) for one in (each.id, each.name, *each.emails, *each.principals)}
        }
        return self.people[found.pop()] if len(found) == 1 else None

    def counting(self, reviewer_id: str, at: datetime) -> Reviewer | None:
        """The person, where what they do counts at that time."""
        found = self.people.get(reviewer_id)
        return None if found is None or found.problem(at) else found

    def is_named(self, reviewer_id: str, name: str) -> bool:
        """Whether a name, or the address beside it, is or was one of a person's."""
        known = self.known_as.get(reviewer_id, frozenset({normalised(reviewer_id)}))
        return not known.isdisjoint(_parts(name))

    def stand_on(self, commit: str) -> bool:
        """Whether the file was read at a commit, or at one that came after it."""
        return commit == self.commit or (self.history is not None and self.history.has(commit))

    def person(self, reviewer_id: str) -> str:
        """The id that stands for a person who may have had several."""
        return self.persons.get(reviewer_id, reviewer_id)


def read_reviewers(file: Path | None) -> Reviewers:
    """Everybody whom the file names in the history of its checkout, up to `HEAD`; the working copy is not looked at.

    Where it cannot be read, nobody is a reviewer, and the answer says why.

    Args:
        file: Setting `PLATFORM_REVIEWERS`; None for the one that ships.
    """
    try:
        history = file_history(file or SHIPPED)
    except GitHistoryError as problem:
        return Reviewers(commit="", problem=f"nobody is a reviewer: {problem}; {ADVICE}")
    return _counted(history)


def normalised(name: str) -> str:
    """As names are compared: without case, width and repeated blanks."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


# --- What counts -----------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _counted(history: FileHistory) -> Reviewers:
    newest = history.states[-1]
    if newest.content is None:
        return Reviewers(
            commit="",
            problem=f"nobody is a reviewer: {history.path} is gone in commit {history.commit[:12]}; {ADVICE}",
        )
    try:
        parsed = _parsed(newest.content, history.path, history.commit)
    except ManifestError as problem:
        return Reviewers(commit="", problem=f"nobody is a reviewer: {problem}; {ADVICE}")
    files = [_people(state.content, history) for state in history.states]
    known_as, persons = _known([each for each in files if each is not None])
    seen: dict[str, _Seen] = {}
    for state, here in zip(history.states, files, strict=True):
        seen[state.commit] = _after(history, state, here, seen, known_as)
    (last,) = seen[newest.commit].bases
    people = {each.id: _reviewer(each, last.granted[each.id]) for each in parsed.content.reviewers}
    return Reviewers(
        commit=history.commit, people=people, known_as=known_as, persons=persons, history=history
    )


@dataclass(frozen=True, slots=True)
class _Base:
    """A file that could be read, and what counts of it."""

    said: Mapping[str, _Person]
    granted: Mapping[str, _Person]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a commit stands on: its own file, or where it cannot be read, those before it."""

    bases: tuple[_Base, ...]
    unread: frozenset[Maker] = frozenset()
    """Who made the commits since then: what they wrote shows with the next one that can be read."""


def _after(
    history: FileHistory,
    state: FileState,
    here: Mapping[str, _Person] | None,
    seen: Mapping[str, _Seen],
    known_as: Mapping[str, frozenset[str]],
) -> _Seen:
    """What is known after a commit; None of `here`: its file cannot be read."""
    parents = [seen[each] for each in state.parents]
    unread = frozenset[Maker]().union(*(each.unread for each in parents))
    bases = tuple(base for each in parents for base in each.bases) or (_Base({}, {}),)
    makers = unread.union(state.makers)
    if here is None:
        return _Seen(bases, makers)
    granted = {}
    for person, new in here.items():
        by_themselves = any(
            not known_as[person].isdisjoint({normalised(maker.name), normalised(maker.email)})
            for maker in makers
        )
        side = None if unread else _taken_over(history, state, [each.said.get(person) for each in bases], new)
        counted = _at(bases if side is None else bases[side : side + 1], new, by_themselves=by_themselves)
        if counted is not None:
            granted[person] = counted
    return _Seen((_Base(here, granted),))


def _at(bases: Iterable[_Base], new: _Person, *, by_themselves: bool) -> _Person | None:
    """What counts of an entry in a commit that stands on all of these."""
    found: list[_Person | None] = []
    for base in bases:
        was, old = base.granted.get(new.id), base.said.get(new.id)
        found.append(was if old == new else _step(was, old, new, by_themselves=by_themselves))
    counted = found[0]
    for other in found[1:]:
        counted = None if counted is None or other is None else _both(counted, other)
    return counted


def _taken_over(
    history: FileHistory, state: FileState, before: "list[_Person | None]", new: _Person
) -> int | None:
    """The side of a merge that alone had changed an entry, where the merge has it as that side; None otherwise."""
    sides = [side for side, each in enumerate(before) if each == new]
    if len(before) != 2 or len(sides) != 1:  # noqa: PLR2004 - a side and the other
        return None
    unchanged = before[1 - sides[0]]
    forks = [_people(each, history) for each in history.at_forks(*state.parents)]
    same = bool(forks) and all(each is not None and each.get(new.id) == unchanged for each in forks)
    return sides[0] if same else None


def _step(
    was: _Person | None,
    old: _Person | None,
    new: _Person,
    *,
    by_themselves: bool,
) -> _Person | None:
    """What counts of an entry after a commit.

    Args:
        was: What counted before it.
        old: What the file said before it.
        new: What it says now.
        by_themselves: Whether the person made the commit.
    """
    if was is None or old is None:
        return (
            new.model_copy(update={"roles": (), "principals": (), "public_key": None})
            if by_themselves
            else new
        )

    def kept(field_name: str) -> tuple[str, ...]:
        given, said, now = (getattr(each, field_name) for each in (was, old, new))
        return tuple(each for each in now if each in given or (each not in said and not by_themselves))

    def bounded(field_name: str, stricter: Callable[[list[datetime]], datetime]) -> datetime | None:
        times: list[datetime | None] = [getattr(each, field_name) for each in (was, old, new)]
        given, said, now = times
        if now == said:
            return given
        if not by_themselves:
            return now
        bounds = [each for each in (given, now) if each is not None]
        return stricter(bounds) if bounds else None

    key = was.public_key
    if new.public_key != old.public_key:
        key = None if by_themselves else new.public_key
    return new.model_copy(
        update={
            "roles": kept("roles"),
            "principals": kept("principals"),
            "valid_from": bounded("valid_from", max),
            "valid_until": bounded("valid_until", min),
            "revoked_at": bounded("revoked_at", min),
            "public_key": key,
        }
    )


def _both(one: _Person, other: _Person) -> _Person:
    """What counts on both sides of a merge."""
    untils, revocations = (
        [each for each in (getattr(one, name), getattr(other, name)) if each is not None]
        for name in ("valid_until", "revoked_at")
    )
    return one.model_copy(
        update={
            "roles": tuple(each for each in one.roles if each in other.roles),
            "principals": tuple(each for each in one.principals if each in other.principals),
            "valid_from": max(one.valid_from, other.valid_from),
            "valid_until": min(untils, default=None),
            "revoked_at": min(revocations, default=None),
            "public_key": one.public_key if one.public_key == other.public_key else None,
        }
    )


def _reviewer(said: _Person, counted: _Person) -> Reviewer:
    withheld = [
        *(f"role {each}" for each in said.roles if each not in counted.roles),
        *(f"principal {each}" for each in said.principals if each not in counted.principals),
        *(["the public key"] if said.public_key != counted.public_key else []),
        *(
            ["the validity"]
            if (said.valid_from, said.valid_until, said.revoked_at)
            != (counted.valid_from, counted.valid_until, counted.revoked_at)
            else []
        ),
    ]
    return Reviewer(**counted.model_dump(), withheld=tuple(withheld))


# --- The file --------------------------------------------------------------------------------------


def _parsed(content: bytes, path: str, commit: str) -> Manifest[_File]:
    return bound(parsed_yaml(content, Path(f"{path}@{commit[:12]}")), _File)


def _people(content: bytes | None, history: FileHistory) -> dict[str, _Person] | None:
    """Entries by id; nobody where a commit had no such file, None where it cannot be read."""
    if content is None:
        return {}
    try:
        found = _parsed(content, history.path, history.commit).content
    except ManifestError:
        return None
    return {each.id: each for each in found.reviewers}


def _known(files: Iterable[Mapping[str, _Person]]) -> tuple[dict[str, frozenset[str]], dict[str, str]]:
    """All names of each person by id, and the id that stands for the person."""
    tokens: dict[str, set[str]] = {}
    names: dict[str, set[str]] = {}
    for people in files:
        for each in people.values():
            tokens.setdefault(each.id, set()).update(_tokens(each))
            names.setdefault(each.id, set()).update(each.names)
    stands_for = {each: each for each in tokens}

    def root(each: str) -> str:
        while stands_for[each] != each:
            each = stands_for[each]
        return each

    first: dict[str, str] = {}
    for person in sorted(tokens):
        for token in tokens[person]:
            one, other = sorted((root(person), root(first.setdefault(token, person))))
            stands_for[other] = one
    persons = {each: root(each) for each in tokens}
    joined: dict[str, set[str]] = {}
    for one, stands in persons.items():
        joined.setdefault(stands, set()).update(names[one])
    return {one: frozenset(joined[stands]) for one, stands in persons.items()}, persons


def _tokens(person: _Person) -> frozenset[str]:
    """What names this person alone: a key too."""
    return person.names | ({f"key {person.public_key}"} if person.public_key else frozenset())


def _parts(name: str) -> frozenset[str]:
    """What may be looked for in `Name <address>`, or in a name alone."""
    match = _ADDRESSED.fullmatch(name)
    parts = match.groups() if match else (name,)
    return frozenset(found for each in parts if (found := normalised(each)))
