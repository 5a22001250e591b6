"""Releases of a line, and the pointers to those in production and in staging.

A release is one immutable ledger entry: what was made of which data, by which model, judged by
which verdicts. The release in production, or active release, of a line *is* the newest `activation` entry of that
line. There is no second place that says so, hence nothing to keep in step: appending the entry is the switch,
a reader sees the old release or the new one, and the history of the pointer is the ledger itself.

A line whose production moves by promotion alone is deployed to *staging*: the newest `staging` entry, until its
release gets to production or the line is deployed to production again.

The pointers are written here and nowhere else: `activate` deploys, and `promotion.py` decides for people. Whoever
writes holds the ledger while it decides, so the verdicts, the pin and
the active release that it saw are still the newest when its entry lands. The fingerprint of an
activation is the hash of the activation it succeeds: no two can ever succeed the same one.

A pin holds from an activation that says so until a newer `unpin` entry.

A release is *erased* once rows were taken out of the data that it was made of. It never becomes active
again; the one that is active at that moment serves until a retrained one takes its place.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, model_validator

from platform_assets.governance import verdict
from platform_assets.governance.errors import PinnedError, ReleaseError
from platform_assets.governance.review_rule import ReviewRule
from platform_assets.governance.verdict import ResolvedRequirement, SubjectKind
from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.keys import Key
from platform_assets.ledger.ledger import GENESIS, Entry, Ledger, Writer, fingerprint_of
from platform_assets.references import CardVersion, FeaturesVersion, ModelVersion

RELEASE, ACTIVATION, STAGED, UNPIN = "release", "activation", "staging", "unpin"
Stage = Literal["staging", "production"]
POINTERS: Final[Mapping[Stage, str]] = {"staging": STAGED, "production": ACTIVATION}
"""Kind of the entries that say which release is in a stage."""
Act = Literal["promote", "demote", "rollback"]
"""What a person does to the production of a line that is promoted."""
ERASURE, RETENTION = "erasure", "retention"
"""Kinds of entries that name, under `versions`, the table versions that rows were taken out of."""


def _content_id(content: dict[str, Any]) -> str:
    return fingerprint_of(**content | {"card": content["card"].model_dump()})[:16]


class Release(BaseModel):
    """One immutable release of a line. Equal content has an equal id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    line: str
    card: CardVersion
    """Nests the registered version, the report, the model, the features and the dataset."""
    deployment: dict[str, JsonValue]
    """Where and how it is served: the manifest's object key and the like."""
    verdicts: tuple[str, ...] = Field(min_length=1)
    """Hashes of the ledger entries that spoke for it when it was made."""
    release_id: str = Field(default_factory=_content_id)
    """First 16 hexadecimal digits of the SHA-256 over all of the above."""
    created_at: AwareDatetime | None = Field(default=None, exclude=True)
    """Time of its ledger entry; no part of its content, and None until it is recorded."""

    @model_validator(mode="after")
    def _is_of_its_line(self) -> Self:
        made_for = self.card.registered.report.model.features.dataset.line
        if made_for != self.line:
            raise ValueError(f"a release of {self.line} cannot be made of assets of {made_for}")
        return self

    @property
    def versions(self) -> dict[SubjectKind, str]:
        """The data versions that verdicts speak of."""
        return subject_versions(self.card.registered.report.model, card=self.card)


def subject_versions(model: ModelVersion, *, card: CardVersion | None = None) -> dict[SubjectKind, str]:
    """The data versions that verdicts on a model and its surroundings speak of, as far as there are such.

    Args:
        model: The model; the tuning is there where its hyper-parameters come from one.
        card: Its card, where it has one already.
    """
    versions: dict[SubjectKind, str] = {
        "dataset": model.features.dataset.version,
        "features": model.features.version,
        "model": model.version,
    }
    if model.tuned_by is not None:
        versions["tuning"] = model.tuned_by.tuning
    if card is not None:
        versions["card"] = card.version
    return versions


@dataclass(frozen=True, slots=True)
class Promotion:
    """What a person did to production, as its activation says it."""

    act: Act
    by: str
    """Who, as printed."""
    spec_commit: str
    """Of the spec that said what the act demands."""
    reviewers_commit: str
    """Of the file that said who may; empty where it could not be read."""
    rules: tuple[ReviewRule, ...] = ()
    """What was demanded of reviews; of verdicts, those that allowed it tell."""
    reviews: tuple[str, ...] = ()
    """Hashes of the entries of the reviews that counted."""

    def to_json(self) -> dict[str, JsonValue]:
        """As it stands in the entry."""
        return {
            "act": self.act,
            "by": self.by,
            "spec_commit": self.spec_commit,
            "reviewers_commit": self.reviewers_commit,
            "rules": [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in self.rules],
            "reviews": list(self.reviews),
        }


@dataclass(frozen=True)
class PinState:
    """Who holds a line at which release."""

    release_id: str
    by: str
    reason: str
    since: datetime


def record(ledger: Ledger, release: Release) -> Entry:
    """The ledger entry of a release; recording it again changes nothing.

    Raises:
        ReleaseError: Its id is not that of its content, or the ledger lacks one of its verdicts.
    """
    content = release.model_dump(exclude={"release_id"})
    if release.release_id != fingerprint_of(**content)[:16]:
        raise ReleaseError(
            f"release {release.release_id} of {release.line} does not have the id of its content"
        )
    for entry_hash in release.verdicts:
        entry = ledger.get(entry_hash)
        if entry is None or entry.kind != verdict.KIND:
            raise ReleaseError(
                f"release {release.release_id} of {release.line}: {entry_hash} is no verdict of the ledger"
            )
    return ledger.append(RELEASE, release.line, fingerprint=release.release_id, body=release.model_dump())


def releases(ledger: Ledger, line: str) -> list[Release]:
    """All releases of a line, oldest first."""
    return list(map(_release_of, ledger.entries(kind=RELEASE, subject=line)))


def newest_releases(ledger: Ledger, line: str) -> Iterator[Release]:
    """The releases of a line, newest first, for whoever stops at the first that will do."""
    return map(_release_of, ledger.entries(kind=RELEASE, subject=line, newest_first=True))


def release(ledger: Ledger, line: str, release_id: str) -> Release:
    """One release of a line.

    Raises:
        ReleaseError: The line has no such release.
    """
    return _release_of(_recorded(ledger, line, release_id))


def active(ledger: Ledger, line: str, stage: Stage = "production") -> Release | None:
    """The release of a line in a stage. Resolve it once, then keep to what it names."""
    moved = pointer(ledger, line, stage)
    return None if moved is None else release(ledger, line, moved.body["release_id"])


def pointer(ledger: Ledger, line: str, stage: Stage) -> Entry | None:
    """The entry that says which release of a line is in a stage; None where there is none in it."""
    newest = ledger.latest(POINTERS[stage], line)
    if newest is None or stage == "production":
        return newest
    since = ledger.entries(kind=ACTIVATION, subject=line, after=newest.seq)
    return None if any(leaves_staging(entry, newest) for entry in since) else newest


def leaves_staging(activation: Entry, staged: Entry) -> bool:
    """Whether staging is empty since an activation: its release is in production, or the line has no staging any more."""
    return (
        activation.body["release_id"] == staged.body["release_id"] or activation.body.get("promotion") is None
    )


def newest_move(ledger: Ledger, line: str) -> Entry | None:
    """The newest entry that moved a pointer of a line: what was deployed, promoted or gone back to last."""
    found = filter(None, (ledger.latest(kind, line) for kind in POINTERS.values()))
    return max(found, key=lambda entry: entry.seq, default=None)


def is_moved_by_people(ledger: Ledger, line: str) -> bool:
    """Whether the last that moved a pointer of a line did so under a spec that demands promotions."""
    last = newest_move(ledger, line)
    return last is not None and (last.kind == STAGED or bool(last.body.get("promotion")))


def require_committed(ledger: Ledger, line: str, stage: Stage, spec_commit: Callable[[], str]) -> None:
    """Nothing, unless what moves production of a line without people is a change of its spec that was not committed.

    Args:
        ledger: Says how production was moved before.
        line: The line.
        stage: Where the spec has deployments go.
        spec_commit: As `source_commit` tells it; asked where it matters, since Git is.

    Raises:
        ReleaseError: It is so.
    """
    if stage == "production" and is_moved_by_people(ledger, line) and spec_commit().endswith("+dirty"):
        raise ReleaseError(
            f"production of {line} was moved by people, and its spec asks for no promotion any more in a change that was not "
            "committed: commit it, or take it back"
        )


def retraining_of(ledger: Ledger, line: str, release_id: str) -> str | None:
    """Hash of the request that a release followed when it was last activated; None where it followed none."""
    moves = []
    for kind in POINTERS.values():
        entries = ledger.entries(kind=kind, subject=line, newest_first=True)
        moves += [next((entry for entry in entries if entry.body["release_id"] == release_id), None)]
    newest = max(filter(None, moves), key=lambda entry: entry.seq, default=None)
    return None if newest is None else newest.body.get("retraining")


def data_of(features: FeaturesVersion) -> set[tuple[str, str]]:
    """The tables behind features, each with the snapshot's id and with its content hash."""
    return {(each.table, name) for each in features.tables for name in (each.snapshot_id, each.content_hash)}


def removed_by(entry: Entry) -> set[tuple[str, str]]:
    """The table versions that an entry took rows out of, to be compared with `data_of`.

    An erased content must not come back under whatever snapshot. An expired one may: the same sources,
    read again, are new data.
    """
    name = "content_hash" if entry.kind == ERASURE else "snapshot_id"
    return {(version["table"], version[name]) for version in entry.body["versions"]}


def erased(ledger: Ledger, line: str) -> dict[str, Entry]:
    """Ids of the erased releases of a line, each with the first entry that erased it."""
    made_of: dict[tuple[str, str], list[str]] = {}
    for each in releases(ledger, line):
        for version in data_of(each.card.registered.report.model.features):
            made_of.setdefault(version, []).append(each.release_id)
    found: dict[str, Entry] = {}
    for kind in (ERASURE, RETENTION) if made_of else ():
        for entry in ledger.entries(kind=kind):
            for version in removed_by(entry) & made_of.keys():
                for release_id in made_of[version]:
                    found.setdefault(release_id, entry)
    return found


def pin_state(ledger: Ledger, line: str) -> PinState | None:
    """The pin that holds the line, if one does."""
    return _pin(ledger.latest(ACTIVATION, line), lambda: ledger.latest(UNPIN, line))


def _pin(activation: Entry | None, newest_unpin: Callable[[], Entry | None]) -> PinState | None:
    if activation is None or not activation.body["pinned"]:
        return None
    unpinned = newest_unpin()
    if unpinned is not None and unpinned.seq > activation.seq:
        return None
    return PinState(
        release_id=activation.body["release_id"],
        by=activation.principal,
        reason=activation.body["reason"],
        since=activation.time,
    )


def activate(
    ledger: Ledger,
    line: str,
    release_id: str,
    *,
    reason: str,
    requirements: Sequence[ResolvedRequirement],
    stage: Stage = "production",
    pin: bool = False,
    retraining: str | None = None,
    now: datetime,
) -> Entry:
    """Deploys a release to a stage, and returns the entry that says so.

    Nothing is appended where it is there already (and pinned, if `pin` asks for that), nor where it is past staging,
    in production; the verdicts are demanded all the same.

    Args:
        ledger: Holds the release, its verdicts and the pointer.
        line: The line.
        release_id: One of its recorded releases.
        reason: Why, for whoever reads the history.
        requirements: The verdicts demanded, on the versions that this release is made of.
        stage: Where to; a line whose production moves by promotion alone is deployed to staging.
        pin: Hold the line here, as a rollback does. Overrides a pin that stands.
        retraining: Hash of the request that the release follows, where one made it.
        now: The current time, with its time zone.

    Raises:
        ReleaseError: The line has no such release, it is erased, or a requirement concerns another one.
        PinnedError: The line is pinned to another release.
        VerdictMissingError: The demanded verdicts do not all stand.
        LedgerError: The ledger is damaged.
    """
    with suppress(LedgerError):  # told below, to whoever relies on what is damaged
        # Not while the others wait.
        ledger.renew_checkpoint(only_if_needed=True)
    with ledger.exclusive() as writer:
        target = release(ledger, line, release_id)
        known = established(ledger, target, verdict.keys_of_demand(requirements))
        if not pin and (problem := pin_problem(target, known)):
            raise PinnedError(problem)
        if problem := erasure_problem(target, known):
            raise ReleaseError(problem)
        require_fitting(target, requirements)
        where = "activation" if stage == "production" else "staging"
        act = f"{where} of release {release_id} of {line}"
        accepted = verdict.allowing(act, requirements, known, now=now)
        production, current = known.get(Key(ACTIVATION, line)), known.get(Key(POINTERS[stage], line))
        if production and production.body["release_id"] == release_id:
            pinned = _pin(production, lambda: known.get(Key(UNPIN, line)))
            if stage == "staging" or pinned or not pin:
                return production
        if stage == "staging" and current == pointer(ledger, line, stage) and _names(current, release_id):
            assert current is not None
            return current
        return move(
            writer,
            target,
            stage,
            current,
            reason=reason,
            verdicts=accepted,
            pin=pin,
            retraining=retraining,
        )


def move(
    writer: Writer,
    target: Release,
    stage: Stage,
    current: Entry | None,
    *,
    reason: str,
    verdicts: Sequence[Entry],
    pin: bool = False,
    retraining: str | None = None,
    promotion: Promotion | None = None,
) -> Entry:
    """Appends the entry that is the switch: for who holds the ledger and has judged by `established`.

    Args:
        writer: Holds the ledger.
        target: The release that the pointer is to name.
        stage: Which pointer.
        current: Its newest entry.
        reason: Why, for whoever reads the history.
        verdicts: The entries that allow it.
        pin: Whether the line is held there; of production only.
        retraining: Hash of the request that the release follows, where one made it.
        promotion: The person's act, where it is one.
    """
    return writer.append(
        POINTERS[stage],
        target.line,
        fingerprint=current.hash if current else GENESIS,
        body={
            "release_id": target.release_id,
            "previous": current.body["release_id"] if current else None,
            "reason": reason,
            **({"pinned": pin} if stage == "production" else {}),
            "verdicts": [entry.hash for entry in verdicts],
            **({"retraining": retraining} if retraining else {}),
            **({"promotion": promotion.to_json()} if promotion else {}),
        },
    )


def established(ledger: Ledger, target: Release, further: Collection[Key] = ()) -> dict[Key, Entry]:
    """What a decision about a release may rely on: itself, the pointers, the pin, removals from its data, and more.

    Raises:
        LedgerError: The ledger is damaged, or the release is not the one that its chain holds.
    """
    line = target.line
    recorded = _recorded(ledger, line, target.release_id)
    of_release = Key(RELEASE, line, "release_id", target.release_id)
    pointers = {Key(kind, line) for kind in (*POINTERS.values(), UNPIN)}
    known = ledger.established({of_release, *pointers, *_removals_of(target), *further})
    if known.get(of_release) != recorded:
        raise LedgerError(f"entry {recorded.seq} is not the release {target.release_id} that the chain holds")
    return known


def pin_problem(target: Release, known: Mapping[Key, Entry]) -> str:
    """Who holds the line at another release, by what is `established`; empty where nobody does."""
    line = target.line
    pinned = _pin(known.get(Key(ACTIVATION, line)), lambda: known.get(Key(UNPIN, line)))
    if pinned is None or pinned.release_id == target.release_id:
        return ""
    return (
        f"{line} is pinned to release {pinned.release_id} by {pinned.by} ({pinned.reason}); "
        f"`platform-assets unpin {line}` lets go of it"
    )


def erasure_problem(target: Release, known: Mapping[Key, Entry]) -> str:
    """What took rows out of the release's data, by what is `established`; empty where nothing did."""
    found = [known[key] for key in _removals_of(target) if key in known]
    removal = min(found, key=lambda each: (each.kind != ERASURE, each.seq), default=None)
    if removal is None:
        return ""
    return (
        f"release {target.release_id} of {target.line} is erased: entry {removal.seq} ({removal.kind}, "
        f"{removal.time:%Y-%m-%d}) took rows out of the data that it was made of; train and release a new model"
    )


def require_fitting(target: Release, requirements: Sequence[ResolvedRequirement]) -> None:
    """Nothing, where every requirement is one on the versions that a release is made of.

    Raises:
        ReleaseError: One concerns another release.
    """
    for resolved in requirements:
        kind = resolved.requirement.subject_kind
        version = target.versions.get(kind)
        if not resolved.lack and resolved.subject.partition("@")[2] != version:
            raise ReleaseError(
                f"release {target.release_id} of {target.line} is made of {kind} {version}; "
                f"a verdict on {resolved.subject} says nothing about it"
            )


def _names(entry: Entry | None, release_id: str) -> bool:
    return entry is not None and entry.body["release_id"] == release_id


def _recorded(ledger: Ledger, line: str, release_id: str) -> Entry:
    entry = ledger.find(RELEASE, line, release_id)
    if entry is None:
        raise ReleaseError(
            f"{line} has no release {release_id}: `platform-assets releases {line}` lists them"
        )
    return entry


def _release_of(entry: Entry) -> Release:
    return Release.model_validate(entry.body | {"created_at": entry.time})


def _removals_of(target: Release) -> list[Key]:
    """What the first entries that took rows out of a release's data are found by, as `removed_by` compares them."""
    snapshots = target.card.registered.report.model.features.tables
    return [
        *(Key(ERASURE, each.table, "content_hash", each.content_hash) for each in snapshots),
        *(Key(RETENTION, each.table, "snapshot_id", each.snapshot_id) for each in snapshots),
    ]


def unpin(ledger: Ledger, line: str, *, by: str, reason: str) -> Entry:
    """Lets automation move the line again.

    Raises:
        ReleaseError: The line is not pinned, or nobody says who lets go of it and why.
    """
    if not (by.strip() and reason.strip()):
        raise ReleaseError(f"{line} stays pinned: an unpin names who lets go of it, and why")
    with ledger.exclusive() as writer:
        pinned, activation = pin_state(ledger, line), ledger.latest(ACTIVATION, line)
        if pinned is None or activation is None:
            raise ReleaseError(f"{line} is not pinned")
        return writer.append(
            UNPIN,
            line,
            fingerprint=activation.hash,
            body={"release_id": pinned.release_id, "by": by, "reason": reason},
        )
