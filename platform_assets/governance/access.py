"""Who looks at cases: the policy is asked, and each look is an entry of the ledger, written before anything is shown.

An entry says who looked at which objects, when, for what, and how it came out; HIPAA's audit controls ask for no less. What
cannot be recorded is not shown; what the policy denies is counted among the denials. So that no reader makes the ledger
grow, an entry names all objects that were looked at together, and whoever looks at an object again within the hour adds
nothing: its key are the principal, the hour, the act and these objects.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Final

from pydantic import JsonValue

from platform_assets.ledger.ledger import Entry, Ledger, fingerprint_of
from platform_assets.outside_systems import OutsideSystems
from resources.object_store import GdprClass
from resources.policed_object_store import AccessDeniedError

ACCESS: Final = "access"
"""The kind of the entries, of whatever has none of its own."""
SHOWN: Final = "shown"
"""The outcome that is recorded here; the other one is a denial."""
_HOUR: Final = "%Y-%m-%dT%H"


@dataclass(frozen=True, slots=True)
class Look:
    """What somebody looks at, and for what."""

    subject: str
    """Of the entry: what the objects are of, such as a quarantine or a model."""
    about: Mapping[str, JsonValue]
    """What the entry says besides objects and hour: line, act, purpose, outcome."""
    kind: str = ACCESS
    """Of the entry."""
    objects: str = "objects"
    """The field of the entry that names them."""
    again: str = ""
    """Looks that are alike in this and in their subject show the same: the second one within the hour adds nothing."""


class AccessLog:
    """Lets the settings' principal look at what the policy lets it, and records it. May be shared among threads."""

    def __init__(
        self, outside: OutsideSystems, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Asks nothing yet.

        Args:
            outside: The systems.
            clock: Gives the current time with its time zone.
        """
        self._outside, self._clock, self._lock = outside, clock, Lock()
        self._hour = ""
        self._noted: set[tuple[str, str]] = set()

    def look_at(self, look: Look, objects: Collection[str], *, path: str, gdpr_class: GdprClass) -> None:
        """Lets somebody look at these objects, and records it.

        Args:
            look: What they are of, and what they are looked at for.
            objects: Their ids or hashes: nothing that shows what is in them.
            path: By which the policy knows them.
            gdpr_class: Of what is looked at.

        Raises:
            AccessDeniedError: The policy does not let the principal read what is of this class; the denial is counted.
            LedgerError: It cannot be recorded.
        """
        self._ask(path, gdpr_class)
        self._note(look, objects)

    def _ask(self, path: str, gdpr_class: GdprClass) -> None:
        principal = self._outside.settings.principal
        request: dict[str, Any] = {
            "method": "GET",
            "path": path,
            "user": {
                "name": principal.user,
                "groups": list(principal.groups),
                "roles": list(principal.roles),
                "labels": principal.labels.model_dump(),
                "consent": {"gdpr": principal.consent},
            },
            "object": {"gdpr_class": gdpr_class, "region": None},
        }
        decision = self._outside.policy_engine.decide(request)
        if not decision.allow:
            self._outside.denials.record(request, decision)
            raise AccessDeniedError(request, decision)

    def _note(self, look: Look, objects: Collection[str]) -> None:
        of = f"{look.kind} {look.subject} {look.again}"
        hour = self._clock().strftime(_HOUR)
        with self._lock:
            if hour != self._hour:
                self._hour, self._noted = hour, set()
            new = sorted(each for each in set(objects) if (of, each) not in self._noted)
        if not new:
            return
        body = {**look.about, look.objects: new, "hour": f"{hour} UTC"}
        self._outside.ledger.append(
            look.kind,
            look.subject,
            fingerprint=fingerprint_of(principal=self._outside.principal, **body),
            body=body,
        )
        with self._lock:
            if hour == self._hour:
                self._noted.update((of, each) for each in new)


def review_look(line: str, model_fingerprint: str, *, act: str, by: str) -> Look:
    """A look at cases of a model for its review.

    Args:
        line: The line.
        model_fingerprint: Of the model.
        act: How they are looked at.
        by: Id of the reviewer that they are shown to, or the principal where it is none.
    """
    return Look(
        subject=f"{line}_model@{model_fingerprint}",
        about={"line": line, "act": act, "purpose": "review", "by": by, "outcome": SHOWN},
        again=f"{act} {by}",
    )


@dataclass(frozen=True, slots=True)
class Viewed:
    """The cases of a model that were shown to a person."""

    cases: frozenset[str] = frozenset()
    """Salted hashes."""
    entries: tuple[str, ...] = field(default=())
    """Hashes of the entries that say so, oldest first."""


def viewed_by(ledger: Ledger, line: str, model_fingerprint: str, by: str) -> Viewed:
    """The cases of a model that a reviewer was shown for its review."""
    entries = ledger.entries(kind=ACCESS, subject=f"{line}_model@{model_fingerprint}")
    return viewed([each for each in entries if each.body.get("by") == by])


def viewed(entries: Collection[Entry]) -> Viewed:
    """What was shown by these entries."""
    cases = frozenset(case for each in entries for case in each.body["objects"])
    return Viewed(cases, tuple(each.hash for each in entries))
