"""What the rows of the next day may look at, kept so that this day is made without the days before it.

| what | where |
|---|---|
| what is remembered when a day has ended | `models/<env>/<name>_daily/states/<day>-<16 digits of its fingerprint>.state` |

Two are kept: that of the newest day, which the next day goes on from, and the one before, from which the newest day is made
again when rows of it come late. Any other day is made of the rows of its window, with the same bits.

A state holds values of rows and does not say whose they are, so no erasure would find them in it. Of personal and sensitive
data none is kept, nor where entities are the subjects. One of other data goes as soon as its days are not those of the input
any more, and after some days anyway.
"""

import logging
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Final

from platform_assets.features.daily import ENDING
from platform_assets.features.day_index import Fingerprints
from platform_assets.features.transformer_spec import TransformerSpec
from platform_assets.features.window_state import WindowStateError
from platform_assets.features.windows import WindowStream
from platform_assets.outside_systems import OutsideSystems
from resources.object_store import ObjectMissingError, ObjectStoreError
from resources.provenance import code_commit
from resources.warehouse import TablePolicy

KEPT: Final = 2
_KEEPS: Final = frozenset({"public", "internal"})
_MOST_RETENTION_DAYS: Final = 30
_NAME: Final = re.compile(r"(\d{4}-\d\d-\d\d)-([0-9a-f]{16})\.state")
_DIGITS: Final = 16

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DayStates:
    """The kept states of a transformer's days."""

    name: str
    spec: TransformerSpec
    fingerprints: Fingerprints
    policy: TablePolicy
    """Of its input."""
    subject_column: str
    """Likewise."""
    outside: OutsideSystems

    def newest_before(self, day: date, *, since: date) -> tuple[date, WindowStream] | None:
        """The newest state of a day in [since, day) that fits the input as it is, and its day; None where there is none."""
        fitting = [
            each for key, each in self._known().items() if since <= each < day and key == self._key(each)
        ]
        for each in sorted(fitting, reverse=True):
            try:
                return each, WindowStream(self.spec, self.outside.object_store.get(self._key(each)))
            except ObjectMissingError:
                continue  # somebody else has just let go of it
            except (ObjectStoreError, WindowStateError) as problem:
                log.warning("the state of %s is not used: %s", each, problem)
        return None

    def keep(self, day: date, stream: WindowStream) -> None:
        """Keep what is remembered when a day has ended, and let go of all others but the newest that fit the input."""
        store = self.outside.object_store
        keeps = self.policy.gdpr_class in _KEEPS and self.spec.entity_key != self.subject_column
        if keeps:
            store.put(
                self._key(day),
                stream.to_bytes(),
                gdpr_class=self.policy.gdpr_class,
                retention_days=min(self.policy.retention_days, _MOST_RETENTION_DAYS),
                source_commit=code_commit(),
            )
        known = self._known()
        fitting = [key for key, each in known.items() if key == self._key(each)]
        for key in known.keys() - set(sorted(fitting)[-KEPT:] if keeps else ()):
            with suppress(ObjectMissingError):
                store.delete(key)

    def _known(self) -> dict[str, date]:
        """Days by key."""
        named = (
            (key, _NAME.fullmatch(key.rpartition("/")[2]))
            for key in self.outside.object_store.list(self._prefix)
        )
        return {key: date.fromisoformat(name[1]) for key, name in named if name}

    def _key(self, day: date) -> str:
        return f"{self._prefix}/{day}-{self.fingerprints.at_the_end_of(day)[:_DIGITS]}.state"

    @property
    def _prefix(self) -> str:
        return f"models/{self.outside.env}/{self.name}{ENDING}/states"
