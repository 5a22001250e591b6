"""The monitors of a line, kept running: events in, verdicts to the log, changes to the ledger.

    receive ─▶ Monitor (one a model version) ─▶ tick ─▶ changes ─▶ keep ─▶ ledger
                                                  └──▶ verdicts ──▶ DriftLog ──▶ segments

`tick` is what the deadline is measured on and touches memory alone. Whatever may have to wait (ledger,
object store, loading a profile) is done by `keep`, in a thread of its own; so is `measure_decay`, which
reads a month of labels.

A line is in the state of its deployed release: only that version's changes are recorded. A new release
starts in the state in which the line is, so that it is the one to clear an alarm.
"""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Event, Lock, Thread
from typing import Final, TypeAlias

from platform_assets.drift.decay import DecayRate, labelled_days, model_decay_rate
from platform_assets.drift.errors import DriftError
from platform_assets.drift.event import EventBatch, PredictionEvent
from platform_assets.drift.monitor import SOURCE, Monitor, StateChange, WindowVerdict, wall_clock_ms
from platform_assets.drift.record import record_change, states
from platform_assets.drift.segments import DriftLog
from platform_assets.drift.source_names import keep_names
from platform_assets.drift.spec import DriftSpec
from platform_assets.governance import release as releases
from platform_assets.ledger.ledger import Ledger
from platform_assets.sketch.binning import CategoryBinning
from platform_assets.sketch.errors import SketchError
from platform_assets.sketch.sketch import ReferenceProfile
from resources.errors import ResourceError
from resources.object_store import ObjectStore

ProfileOf: TypeAlias = Callable[[str, int], tuple[str, ReferenceProfile]]
"""Release id and reference profile of a line's model version; raises DriftError where there are none."""

TICK_SECONDS: Final = 0.02
_KEEP_SECONDS: Final = 1.0
_LOOK_UP_SECONDS: Final = 5.0
_FLUSH_SECONDS: Final = 60.0
_DECAY_SECONDS: Final = 600.0
_STALLED_SECONDS: Final = 5.0
_VERSIONS_KEPT: Final = 2
_UNNAMED_KEPT: Final = 100
"""Changes whose names wait for a store that takes them; of older ones nobody will know the names."""

log = logging.getLogger(__name__)


class RefusedEventError(DriftError):
    """An event of a request cannot be taken, and so none of it was."""

    def __init__(self, row: int, problem: str, *, of_version: bool = False) -> None:
        super().__init__(f"row {row}: {problem}; nothing of this request was taken")
        self.row, self.problem, self.of_version = row, problem, of_version
        """The row is counted from 1. Of its version: no event of that model version can be taken."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A model version and its monitor."""

    release_id: str
    monitor: Monitor
    is_text: Mapping[str, bool]
    """Whether a column of the reference holds texts, by its name."""

    def misfit(self, event: PredictionEvent) -> str | None:
        """What of the event cannot be compared with the reference; a missing value always can."""
        for name, value in event.columns.items():
            is_text = self.is_text.get(name)
            if is_text is True and not isinstance(value, str) and not math.isnan(value):
                return f"columns.{name} must be a text, as in the reference"
            if is_text is False and isinstance(value, str):
                return f"columns.{name} must be a number, as in the reference"
        return None


class Watch:
    """The monitors of one line.

    Args:
        line: The line.
        policy: Its section `drift`.
        ledger: Where changes go, and where states and the active release come from.
        store: Where segments go.
        env: The environment's part of the keys.
        salt: Of the hashes by which the ledger knows the sources of a stream.
        profile_of: Gives the reference profile of a model version.
        clock: Milliseconds since the epoch.
    """

    def __init__(
        self,
        line: str,
        policy: DriftSpec,
        *,
        ledger: Ledger,
        store: ObjectStore,
        env: str,
        salt: bytes,
        profile_of: ProfileOf,
        clock: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self.line, self.policy = line, policy
        self.log = DriftLog(store, env=env, line=line)
        self._ledger, self._store, self._env, self._salt = ledger, store, env, salt
        self._profile_of, self._clock = profile_of, clock
        self._watched: dict[int, Watched] = {}
        self._watching, self._handing_over = Lock(), Lock()
        self._ticked: dict[int, Watched] = {}
        self._activation: str | None = None
        self._active_version: int | None = None
        self._changes: deque[tuple[int, str, StateChange]] = deque()
        self._unnamed: deque[tuple[Mapping[str, float], datetime]] = deque(maxlen=_UNNAMED_KEPT)
        self._newest: dict[tuple[int, str, str], WindowVerdict] = {}
        self._changed, self._stopped = Event(), Event()
        self._threads: list[Thread] = []
        self._ticked_at = time.monotonic()
        self._looked_up_at = self._flushed_at = float("-inf")
        self._decay: tuple[int, DecayRate] | None = None
        self._problems: dict[str, str] = {}
        self.verdicts_total = 0
        """Of all windows, since it began."""
        self._attempt("release", self._look_up)

    # --- What comes in -------------------------------------------------------------------------------------

    def receive(self, events: Sequence[PredictionEvent], source: str = "") -> None:
        """Hand each event to the monitor of its model version: all of them, or none.

        Args:
            events: Of this line.
            source: Who sends them; each source has its own watermark.

        Raises:
            RefusedEventError: An event is of another line, or of a version that cannot be watched, or a
                column of it holds text where the reference holds numbers, or the other way round.
            PlatformError: The profile of a version cannot be loaded now; a later call may succeed.
        """
        by_version: dict[int, list[PredictionEvent]] = {}
        monitors: dict[int, Watched] = {}
        for row, event in enumerate(events, start=1):
            if event.line != self.line:
                raise RefusedEventError(row, f"line is not {self.line!r}, which is watched here")
            if event.model_version not in monitors:
                try:
                    monitors[event.model_version] = self.watched(event.model_version)
                except (DriftError, SketchError) as problem:
                    raise RefusedEventError(row, f"model_version: {problem}", of_version=True) from problem
            if misfit := monitors[event.model_version].misfit(event):
                raise RefusedEventError(row, misfit)
            by_version.setdefault(event.model_version, []).append(event)
        for version, of_version in by_version.items():
            batch = EventBatch.of(of_version, columns={*monitors[version].is_text, SOURCE})
            # The monitor may have been replaced meanwhile.
            with self._handing_over:
                self._watched.get(version, monitors[version]).monitor.receive(batch, source)
            self.log.add_labels(batch, version)

    def watched(self, version: int) -> Watched:
        """The monitor of a model version, made where there is none yet.

        Raises:
            DriftError: The version has no profile, or is older than those that are watched.
        """
        found = self._watched.get(version)
        return found if found is not None else self._begin(version)

    def _begin(self, version: int, *, anew: bool = False) -> Watched:
        with self._watching:
            if version in self._watched and not anew:
                return self._watched[version]
            kept = {*sorted({*self._watched, version})[-_VERSIONS_KEPT:], self._active_version}
            if version not in kept:
                raise DriftError(f"version {version} of {self.line} is not watched any more: newer ones are")
            release_id, profile = self._profile_of(self.line, version)
            begun = Watched(
                release_id,
                Monitor(
                    self.line,
                    version,
                    profile,
                    self.policy,
                    clock=self._clock,
                    states=states(self._ledger, self.line),
                ),
                {name: isinstance(each.binning, CategoryBinning) for name, each in profile.columns.items()},
            )
            for name, because in begun.monitor.not_watched.items():
                log.warning("%s version %d: %s is not watched: %s", self.line, version, name, because)
            with self._handing_over:
                if before := self._watched.get(version):
                    begun.monitor.succeed(before.monitor)
                # A new dict: whoever iterates over the old one is not disturbed.
                self._watched = {number: each for number, each in self._watched.items() if number in kept} | {
                    version: begun
                }
            return begun

    # --- What comes out ------------------------------------------------------------------------------------

    def tick(self) -> list[StateChange]:
        """Let every monitor judge what has come; the changes, which the next `keep` records."""
        changes = []
        watching = self._watched
        for version, watched in watching.items():
            if self._ticked.get(version) is not watched:
                self.log.forget(version)
            found = watched.monitor.tick()
            self.verdicts_total += len(found.verdicts)
            self.log.add(found.verdicts, watched.monitor.counters, watched.monitor.latency)
            self._newest |= {(version, each.column, each.window): each for each in found.verdicts}
            self._changes += [(version, watched.release_id, change) for change in found.changes]
            changes += found.changes
        self._ticked = watching
        self._ticked_at = time.monotonic()
        if changes:
            self._changed.set()
        return changes

    def keep(self, *, everything: bool = False) -> None:
        """Record changes, look the active release up, write segments; each when it is due.

        What fails is told by `problems` and tried again by the next call.

        Args:
            everything: Whether it is due or not.
        """
        self._changed.clear()
        changed = bool(self._changes)
        now = time.monotonic()
        self._attempt("ledger", self._record_changes)
        if everything or now - self._looked_up_at >= _LOOK_UP_SECONDS:
            self._attempt("release", self._look_up)
            self._looked_up_at = now
        if everything or changed or now - self._flushed_at >= _FLUSH_SECONDS:
            self._attempt("names", self._keep_names)
            self._attempt("store", self.log.flush)
            self._flushed_at = now

    @property
    def by_version(self) -> Mapping[int, Watched]:
        """The monitors as they are now."""
        return self._watched

    @property
    def newest_verdicts(self) -> list[WindowVerdict]:
        """The newest verdict of each version, column and window."""
        newest, watched = self._newest.copy(), self._watched
        return [newest[kind] for kind in sorted(newest) if kind[0] in watched]

    @property
    def problems(self) -> dict[str, str]:
        """What does not work at the moment, by the part concerned; empty when all is well."""
        stalled = time.monotonic() - self._ticked_at
        late = (
            {"tick": f"no tick for {stalled:.0f} s"} if self._threads and stalled > _STALLED_SECONDS else {}
        )
        return self._problems | late

    @property
    def decay(self) -> tuple[int, DecayRate] | None:
        """How fast the newest model version with labels decayed when it was last measured."""
        return self._decay

    def measure_decay(self) -> None:
        """Measure `decay` from the labels in the store."""
        by_version = labelled_days(self._store, env=self._env, line=self.line)
        if by_version:
            version = max(by_version)
            self._decay = version, model_decay_rate(by_version[version])

    def start(self) -> None:
        """Tick, keep and measure decay, each in a thread of its own."""
        self._threads = [
            Thread(
                target=self._repeat,
                args=(step, seconds, woken),
                name=f"{step.__name__}-{self.line}",
                daemon=True,
            )
            for step, seconds, woken in (
                (self.tick, TICK_SECONDS, self._stopped),
                (self.keep, _KEEP_SECONDS, self._changed),
                (self.measure_decay, _DECAY_SECONDS, self._stopped),
            )
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads; what was received is judged, recorded and written."""
        self._stopped.set()
        self._changed.set()
        for thread in self._threads:
            thread.join()
        self._threads = []
        self.tick()
        self.keep(everything=True)

    def _repeat(self, step: Callable[[], object], seconds: float, woken: Event) -> None:
        while not self._stopped.is_set():
            self._attempt(step.__name__, step)
            woken.wait(seconds)

    def _attempt(self, part: str, step: Callable[[], object]) -> None:
        # Whatever it is, the thread must outlive it; `problems` and the log tell of it.
        try:
            step()
        except Exception as problem:
            if self._problems.get(part) != str(problem):
                log.exception("%s: %s", self.line, part)
            self._problems = self._problems | {part: str(problem)}
        else:
            self._problems = {name: each for name, each in self._problems.items() if name != part}

    def _record_changes(self) -> None:
        while self._changes:
            version, release_id, change = self._changes[0]
            if version == self._speaking:
                if change.verdict is not None:
                    names = change.mix, change.verdict.window_end
                    if names not in self._unnamed:
                        self._unnamed.append(names)
                # First: a kill in between leaves names without an entry, and not the other way round. An entry holds
                # hashes only, so a state does not wait for a store that takes no names.
                self._attempt("names", self._keep_names)
                record_change(self._ledger, self.line, release_id, change, salt=self._salt)
            self._changes.popleft()

    def _keep_names(self) -> None:
        """Those of each change that lacks them; the next call tries again what fails, which keeps no others back."""
        refused: ResourceError | None = None
        for names in list(self._unnamed):
            try:
                keep_names(self._store, *names, env=self._env, line=self.line, salt=self._salt)
            except ResourceError as problem:
                refused = refused or problem
            else:
                self._unnamed.remove(names)
        if refused is not None:
            raise refused

    @property
    def _speaking(self) -> int | None:
        """The version whose state is the line's: the deployed one, or without any the newest."""
        return self._active_version or max(self._watched, default=None)

    def _look_up(self) -> None:
        activation = self._ledger.latest(releases.ACTIVATION, self.line)
        if activation is None or activation.hash == self._activation:
            return
        active = releases.release(self._ledger, self.line, activation.body["release_id"])
        version = active.card.registered.number
        self._active_version = version
        # A monitor from before has states of its own by now; the line's are what this release is to clear.
        self._begin(version, anew=True)
        self._activation = activation.hash
