"""Releases of a line, and the pointer to the active one.

A release is one immutable ledger entry: what was made of which data, by which model, judged by
which verdicts. The active release of a line *is* the newest `activation` entry of that line. There
is no second place that says so, hence nothing to keep in step: appending the entry is the switch,
a reader sees the old release or the new one, and the history of the pointer is the ledger itself.

`activate` is the only writer. It holds the ledger while it decides, so the verdicts, the pin and
the active release that it saw are still the newest when its entry lands. The fingerprint of an
activation is the hash of the activation it succeeds: no two can ever succeed the same one.

A pin holds from an activation that says so until a newer `unpin` entry.

A release is *erased* once rows were taken out of the data that it was made of. It never becomes active
again; the one that is active at that moment serves until a retrained one takes its place.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, model_validator

from platform_assets.governance import verdict
from platform_assets.governance.errors import PinnedError, ReleaseError
from platform_assets.governance.verdict import ResolvedRequirement, SubjectKind
from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.keys import Key
from platform_assets.ledger.ledger import GENESIS, Entry, Ledger, fingerprint_of
from platform_assets.references import CardVersion, FeaturesVersion

RELEASE, ACTIVATION, UNPIN = "release", "activation", "unpin"
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
        model = self.card.registered.report.model
        return {
            "dataset": model.features.dataset.version,
            "features": model.features.version,
            "model": model.version,
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


def active(ledger: Ledger, line: str) -> Release | None:
    """The active release of a line. Resolve it once, then keep to what it names."""
    activation = ledger.latest(ACTIVATION, line)
    return None if activation is None else release(ledger, line, activation.body["release_id"])


def retraining_of(ledger: Ledger, line: str, release_id: str) -> str | None:
    """Hash of the request that a release followed when it was last activated; None where it followed none."""
    activations = ledger.entries(kind=ACTIVATION, subject=line, newest_first=True)
    return next(
        (entry.body.get("retraining") for entry in activations if entry.body["release_id"] == release_id),
        None,
    )


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
    pin: bool = False,
    retraining: str | None = None,
    now: datetime,
) -> Entry:
    """Makes a release the active one, and returns the activation that says so.

    Nothing is appended where it is active already (and pinned, if `pin` asks for that); the verdicts
    are demanded all the same.

    Args:
        ledger: Holds the release, its verdicts and the pointer.
        line: The line.
        release_id: One of its recorded releases.
        reason: Why, for whoever reads the history.
        requirements: The verdicts demanded, on the versions that this release is made of.
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
        recorded = _recorded(ledger, line, release_id)
        target, of_release = _release_of(recorded), Key(RELEASE, line, "release_id", release_id)
        pointer, unpinned = Key(ACTIVATION, line), Key(UNPIN, line)
        removals = _removals_of(target)
        known = ledger.established(
            {of_release, pointer, unpinned, *removals, *verdict.keys_of_demand(requirements)}
        )
        if known.get(of_release) != recorded:
            raise LedgerError(f"entry {recorded.seq} is not the release {release_id} that the chain holds")
        current, pinned = known.get(pointer), _pin(known.get(pointer), lambda: known.get(unpinned))
        if pinned and pinned.release_id != release_id and not pin:
            raise PinnedError(
                f"{line} is pinned to release {pinned.release_id} by {pinned.by} ({pinned.reason}); "
                f"`platform-assets unpin {line}` lets go of it"
            )
        found = [known[key] for key in removals if key in known]
        if removal := min(found, key=lambda each: (each.kind != ERASURE, each.seq), default=None):
            raise ReleaseError(
                f"release {release_id} of {line} is erased: entry {removal.seq} ({removal.kind}, {removal.time:%Y-%m-%d}) "
                "took rows out of the data that it was made of; train and release a new model"
            )
        for resolved in requirements:
            version = target.versions[resolved.requirement.subject_kind]
            if resolved.subject.partition("@")[2] != version:
                raise ReleaseError(
                    f"release {release_id} of {line} is made of {resolved.requirement.subject_kind} {version}; "
                    f"a verdict on {resolved.subject} says nothing about it"
                )
        act = f"activation of release {release_id} of {line}"
        accepted = verdict.allowing(act, requirements, known, now=now)
        if current and current.body["release_id"] == release_id and (pinned or not pin):
            return current
        return writer.append(
            ACTIVATION,
            line,
            fingerprint=current.hash if current else GENESIS,
            body={
                "release_id": release_id,
                "previous": current.body["release_id"] if current else None,
                "reason": reason,
                "pinned": pin,
                "verdicts": [entry.hash for entry in accepted],
                **({"retraining": retraining} if retraining else {}),
            },
        )


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
