"""Denied accesses are decisions too: each is a line of the denial log, and the ledger holds what they add up to.

Requests come from outside, and whoever is refused may ask again. So no number of them makes the ledger grow by more
than an entry an hour: a `denial_summary` with the counts by principal, action and reasons, and the hashes of the
segments of the log. Before summaries were made, each denial was an entry `denial` of its own; those stay what they are.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from multiprocessing.util import Finalize
from typing import Any, Final

from platform_assets.ledger.denial_log import Denial, DenialLog
from platform_assets.ledger.denial_tally import Kind
from platform_assets.ledger.entry import Entry, fingerprint_of
from platform_assets.ledger.ledger import Ledger
from resources.errors import PlatformError
from resources.policy_engine import Decision

SUMMARY: Final = "denial_summary"
"""The kind of the entries."""
_LONGEST = 256
_LONGEST_IN_SUMMARY = 64
_MOST_GROUPS = 32
_NAMES_OF_A_SESSION = ("ldapUsername", "parent", "sub")
_HOUR = len("2026-11-29T20")

log = logging.getLogger(__name__)


class Denials:
    """Takes denials, and tells the ledger of them once an hour. May be shared among threads."""

    def __init__(self, denial_log: DenialLog, ledger: Callable[[], Ledger], *, lasting: bool = True) -> None:
        """Touches nothing yet.

        Args:
            denial_log: Where the lines go.
            ledger: Gives the ledger, when there is something to tell.
            lasting: Whether others find the log when this process has ended. Where not, its end tells all.
        """
        self._log = denial_log
        self._ledger = ledger
        self._lasting = lasting
        self._at_end_lock = threading.Lock()
        self._at_end: Finalize | None = None

    def record(self, request: Mapping[str, Any], decision: Decision) -> None:
        """Write a line about the denial of this request. Never raises, and never waits for the ledger.

        Only the fields that `_denial` names are recorded, and of each only text of moderate length. Other claims,
        conditions and headers may hold secrets and are left out.

        Args:
            request: A request of either form that k8s/policy/minio_authz.rego describes.
            decision: The denial of it.
        """
        self._log.record(_denial(request, decision))
        with self._at_end_lock:
            if self._at_end is None:
                # Unlike atexit, this is also called in processes that multiprocessing started.
                self._at_end = Finalize(None, self._tell_at_end, exitpriority=0)

    def summarise(self, *, at_once: bool = False) -> Entry | None:
        """The entry of what was denied since the last one; None where there is nothing to tell, or it is not due.

        A second entry in the same hour waits for the next. Where the ledger cannot be reached nothing is lost: a
        warning tells it, and the next call tries again.

        Args:
            at_once: Whatever the hour.
        """
        try:
            summary = self._log.summary(at_once=at_once)
            if summary is None:
                return None
            # Idempotent by all of it: where a kill came before the log knows, the same entry is found again.
            entry = self._ledger().append(
                SUMMARY,
                f"hour {str(summary['last'])[:_HOUR]}",
                fingerprint=fingerprint_of(**summary),
                body=summary,
            )
            self._log.kept(summary)
        except (OSError, PlatformError) as problem:
            log.warning("denials are not in the ledger yet: %s", problem)
            return None
        return entry

    def report(self, *, newest: int) -> dict[str, Any]:
        """What the ledger and the log hold, as JSON.

        `summaries` are the newest, oldest first, each with the state of its segments: `kept` as they were, `gone` with
        time, `changed` since; of another machine's log none is known. `waiting` is in no summary yet, `entries` counts
        those of single denials.

        Raises:
            LedgerError: The ledger cannot be read.
            OSError: The log cannot be read.
        """
        ledger = self._ledger()
        name, waiting = self._log.waiting()
        summaries = deque(ledger.entries(kind=SUMMARY), maxlen=newest)
        return {
            "summaries": [
                {
                    "entry": entry.hash,
                    "time": entry.time,
                    **{key: value for key, value in entry.body.items() if key != "segments"},
                    "segments": self._states(entry.body["segments"]) if entry.body["log"] == name else None,
                }
                for entry in summaries
            ],
            "waiting": waiting.to_json(),
            "entries": sum(1 for _ in ledger.entries(kind="denial")),
        }

    def _tell_at_end(self) -> None:
        self.summarise(at_once=not self._lasting)
        if self._log.unwritten:
            log.warning("%d denials could not be written, and end with this process", self._log.unwritten)

    def _states(self, segments: list[dict[str, Any]]) -> dict[str, str]:
        hashes = {each["name"]: (each["sha256"], self._log.hash_of(each["name"])) for each in segments}
        return {
            name: "gone" if now is None else "kept" if now == then else "changed"
            for name, (then, now) in hashes.items()
        }


def _denial(request: Mapping[str, Any], decision: Decision) -> Denial:
    user = _mapping(request.get("user"))
    claims = _mapping(request.get("claims"))
    if "action" in request:
        path = f"/{_text(request.get('bucket'))}/{_text(request.get('object'))}"
    else:
        path = _text(request.get("path"))
    groups = user.get("groups", request.get("groups") or claims.get("groups"))
    account = user.get("name", request.get("account"))
    # The account of a session is a key that was made for it: hundreds of keys may be one person.
    known = (claims.get(name) for name in _NAMES_OF_A_SESSION)
    principal = next((name for name in known if isinstance(name, str) and name), account)
    return Denial(
        Kind(
            principal=_text(principal, _LONGEST_IN_SUMMARY),
            action=_text(request.get("method", request.get("action")), _LONGEST_IN_SUMMARY),
            reasons=decision.reasons,
        ),
        account=_text(account),
        # Behind a question mark stand signatures and tokens.
        path=path.partition("?")[0],
        groups=tuple(_text(group) for group in groups[:_MOST_GROUPS]) if isinstance(groups, list) else (),
        env=_text(_mapping(user.get("labels", claims)).get("env")),
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object, longest: int = _LONGEST) -> str:
    """A text without what no ledger can hold and no terminal should be sent; empty for anything else."""
    if not isinstance(value, str):
        return ""
    text = value[:longest]
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
