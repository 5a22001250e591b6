"""Processes that promote at once, and one that is killed while it moves production, again and again.

`promoters.py race FOLDER ROUNDS [registry]`: eight processes promote eight versions at once, and let the registry follow if
there is to be one; prints what came of each, a line for a round.
`promoters.py kill FOLDER TIMES SEED`: one process promotes, demotes or rolls back and is killed at a random moment; prints
a line of JSON for each kill, and how often readers looked.
"""

import json
import multiprocessing
import os
import random
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from platform_assets.governance import release as releases
from platform_assets.governance.errors import PromotionConflictError, PromotionRefusedError
from platform_assets.governance.promotion import former
from platform_assets.governance.registry_moves import reconcile
from platform_assets.governance.release import Release, pin_state, unpin
from platform_assets.ledger.ledger import GENESIS, Ledger
from resources.locks import FileLocks
from resources.model_registry import MlflowRegistry
from tests.promoting import DEMANDS, LINE, Desk

PROCESSES: Final = 8
_READ_SECONDS: Final = 0.005
"""Between two looks of a reader, so that others have the processor as well."""


def now() -> datetime:  # noqa: D103
    return datetime.now(UTC)


def opened(folder: Path) -> tuple[Desk, MlflowRegistry]:
    """The desk and the registry of a folder; the way of data has no end here, so that a way back is always open."""
    ledger = Ledger.open(folder / "ledger.sqlite", principal="tests")
    registry = MlflowRegistry(f"sqlite:///{folder / 'mlflow.sqlite'}", locks=FileLocks(folder / "locks"))
    verdicts = replace(DEMANDS.verdicts, requirements=DEMANDS.verdicts.requirements[:1])
    return Desk(ledger, now, demands=replace(DEMANDS, verdicts=verdicts)), registry


def prepare(folder: Path, versions: int, *, registered: bool) -> None:
    """These versions, staged and reviewed one after the other; the first is in production."""
    desk, registry = opened(folder)
    for number in range(1, versions + 1):
        if registered:
            registry.register(LINE, fingerprint=f"f{number}", source="s3://b/1", run_id="", tags={})
        made = desk.stage(number)
        desk.review(made)
        if number == 1:
            desk.promote(made)
    if registered:
        reconcile(registry, desk.ledger, LINE)


def forked(act: Callable[..., object], *given: object, **named: object) -> int:
    """The process id of this act; its exit status is 0, or 1 where it raised."""
    child = os.fork()  # nothing is open here, so nothing is inherited
    if child:
        return child
    try:
        act(*given, **named)
    except BaseException:  # noqa: BLE001 - it must not go on in the parent's program
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def done(child: int) -> None:
    """Once it has ended well."""
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise SystemExit("a process failed")


def releases_of(desk: Desk) -> list[Release]:
    """By number."""
    return sorted(releases.releases(desk.ledger, LINE), key=lambda each: each.card.registered.number)


# --- At once -----------------------------------------------------------------------------------------


def promote_again_and_again(
    folder: Path, place: int, rounds: int, together: Any, told: Any, *, registered: bool
) -> None:
    """Its own version, by the production that all have seen."""
    desk, registry = opened(folder)
    made = releases_of(desk)[place]
    for number in range(rounds):
        together.wait()
        seen = desk.seen
        together.wait()
        try:
            desk.deploy(made, stage="staging")
            entry = desk.promote(made, expected=seen)
            outcome = "already" if entry.hash == seen else "won"
            assert outcome == "already" or entry.fingerprint == (seen or GENESIS)
        except PromotionConflictError:
            outcome = "conflict"
        except PromotionRefusedError as refused:
            (problem,) = refused.problems
            outcome = "refused" if "is not in staging" in problem else problem
        if registered:
            reconcile(registry, desk.ledger, LINE)
        told.put((number, outcome))


def race(folder: Path, rounds: int, *, registered: bool) -> None:
    """What comes of each round."""
    done(forked(prepare, folder, PROCESSES, registered=registered))
    context = multiprocessing.get_context("fork")
    together, told = context.Barrier(PROCESSES), context.SimpleQueue()
    children = [
        forked(promote_again_and_again, folder, place, rounds, together, told, registered=registered)
        for place in range(PROCESSES)
    ]
    for number in range(rounds):
        found = [told.get() for _ in range(PROCESSES)]
        assert {each for each, _ in found} == {number}
        print(*sorted(outcome for _, outcome in found), flush=True)
    for child in children:
        done(child)
    if registered:
        done(forked(start_again, folder))


# --- Killed ------------------------------------------------------------------------------------------


def act(folder: Path, kind: str, seed: int, ready: int) -> None:
    """Moves production, from whatever state an earlier kill has left."""
    chance, (desk, registry) = random.Random(seed), opened(folder)
    registry.shown(LINE)
    os.write(ready, b"!")
    reconcile(registry, desk.ledger, LINE)
    if pin_state(desk.ledger, LINE):
        unpin(desk.ledger, LINE, by="grace", reason="next")
    others = [each for each in releases_of(desk) if each.card.registered.number != desk.production]
    target: Release | None
    if kind == "promote":
        target = chance.choice(others)
        desk.deploy(target, stage="staging")
    elif kind == "demote":
        target = former(desk.ledger, LINE)
    else:
        served = {entry.body["release_id"] for entry in desk.ledger.entries(kind=releases.ACTIVATION)}
        target = next((each for each in others if each.release_id in served), None)
    if target is not None:
        desk.review(target)  # since the approvals of before a demotion count no more
        if kind == "promote":
            desk.promote(target)
        else:
            desk.bring_back(target, kind)
    reconcile(registry, desk.ledger, LINE)


def start_again(folder: Path) -> None:
    """What the next command does first; then registry and ledger say the same."""
    desk, registry = opened(folder)
    report = desk.ledger.verify()
    assert report.ok, report.problem
    reconcile(registry, desk.ledger, LINE)
    assert not reconcile(registry, desk.ledger, LINE)
    shown = registry.shown(LINE)
    stages = {number: each.stage for number, each in shown.versions.items()}
    in_stage = {
        stage: [number for number, each in stages.items() if each == stage] for stage in stages.values()
    }
    assert in_stage["Production"] == [desk.production]
    assert in_stage.get("Staging", []) == ([desk.staged] if desk.staged else [])
    aliases = {"production": desk.production, "deployed": desk.production, "staging": desk.staged}
    assert shown.aliases == {alias: number for alias, number in aliases.items() if number}
    tags = {number: each.tags.get("stage") for number, each in shown.versions.items()}
    assert [number for number, tag in tags.items() if tag == "production"] == [desk.production]


def read_on(folder: Path, stop: Path, counted: int) -> None:
    """What readers of the ledger, and of MLflow, see all along: always one version in production."""
    desk, registry = opened(folder)
    reads = 0
    while not stop.exists():
        assert desk.production is not None
        shown = registry.shown(LINE)
        in_production = [number for number, each in shown.versions.items() if each.stage == "Production"]
        assert len(in_production) == 1, shown
        assert "production" in shown.aliases
        reads += 1
        time.sleep(_READ_SECONDS)
    os.write(counted, f"{reads}".encode())


def started(folder: Path, kind: str, seed: int, wait: Callable[[], object] | None) -> tuple[int, float]:
    """Exit status of an act and its seconds; it is killed after the wait, where there is one."""
    told, ready = os.pipe()
    child = forked(act, folder, kind, seed, ready)
    os.close(ready)
    select.select([told], [], [])
    begun = time.monotonic()
    if wait is not None:
        wait()
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(told)
    assert status in (0, -signal.SIGKILL), status
    return status, time.monotonic() - begun


def kill(folder: Path, times: int, seed: int) -> None:
    """Kills, and what was there afterwards."""
    done(forked(prepare, folder, 4, registered=True))
    chance, stop = random.Random(seed), folder / "stop"
    counted, count = os.pipe()
    reader = forked(read_on, folder, stop, count)
    takes = started(folder, "promote", seed, None)[1]  # which nobody kills
    for number in range(times):
        kind = ("promote", "demote", "rollback")[number % 3]
        status, _ = started(
            # The first at once: on a busy machine the others may all have ended before.
            folder,
            kind,
            chance.getrandbits(32),
            partial(time.sleep, chance.uniform(0, takes) if number else 0),
        )
        before = len(list(opened(folder)[0].ledger.entries(kind=releases.ACTIVATION)))
        done(forked(start_again, folder))
        print(json.dumps({"act": kind, "killed": status != 0, "activations": before}), flush=True)
    stop.touch()
    done(reader)
    print(json.dumps({"reads": int(os.read(counted, 20))}), flush=True)


if __name__ == "__main__":
    what, home, count, *rest = sys.argv[1:]
    if what == "kill" or rest:
        # Once, for all processes.
        import mlflow.store.model_registry.sqlalchemy_store
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
    if what == "race":
        race(Path(home), int(count), registered=bool(rest))
    else:
        kill(Path(home), int(count), int(rest[0]))
