"""One run of a line from the command line: clean up, plan, execute what is stale, tell the outcome."""

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from filelock import FileLock, Timeout

from platform_assets.definitions import build_definitions
from platform_assets.governance.ledger import Ledger
from platform_assets.governance.release import PinState, pin_state
from platform_assets.line import Line, Step, plan
from platform_assets.references import STAGES
from resources.dagster_home import LINE_TAG, prepare_dagster_home
from resources.errors import PlatformError
from resources.settings import PlatformSettings

PROCESS_TAG = "platform/process"
_UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


class RunError(PlatformError):
    """A run cannot be started."""


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What became of one asset in a run."""

    stage: str
    outcome: str
    """`done`, `reused`, `failed`, `skipped` or `pinned`."""
    seconds: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What a run of a line came to."""

    line: str
    run_id: str | None
    """None where everything was reused, or the line is pinned."""
    success: bool
    steps: tuple[StepOutcome, ...]
    failure: str | None
    pin: PinState | None


def open_instance(settings: PlatformSettings) -> dg.DagsterInstance:
    """The Dagster instance of these settings; an own `DAGSTER_HOME` in the environment comes first."""
    os.environ.setdefault("DAGSTER_HOME", str(prepare_dagster_home(settings)))
    return dg.DagsterInstance.get()


def run_line(line: Line, settings: PlatformSettings) -> RunOutcome:
    """Bring the line up to date.

    Raises:
        RunError: another run of the line is in progress.
        PlatformError: a source or the ledger cannot be read.
    """
    with _only_run(line, settings), open_instance(settings) as instance:
        definitions = build_definitions(settings, [line], loggers={"console": progress_logger})
        resources = definitions.resources or {}
        ledger: Ledger = resources["ledger"]
        pin = pin_state(ledger, line.name)
        if pin is not None:
            steps = plan(line, instance, ledger, settings)
            return RunOutcome(line.name, None, True, _unexecuted(steps, pin), None, pin)  # noqa: FBT003
        _end_dead_runs(instance, line)
        _sweep(resources)
        steps = plan(line, instance, ledger, settings)
        stale = [step for step in steps if step.runs]
        if not stale:
            return RunOutcome(line.name, None, True, _unexecuted(steps, None), None, None)  # noqa: FBT003
        result = definitions.resolve_job_def(line.name).execute_in_process(
            instance=instance,
            asset_selection=[step.key for step in stale],
            # A logger that is not named here is not used: Dagster falls back to its own.
            run_config={"loggers": {"console": {}}},
            tags={PROCESS_TAG: process_identity(os.getpid())},
            raise_on_error=False,
        )
        return _outcome(line, steps, result, instance)


def _unexecuted(steps: list[Step], pin: PinState | None) -> tuple[StepOutcome, ...]:
    return tuple(
        StepOutcome(step.stage, "pinned" if pin and step.runs else "reused", None, step.reason)
        for step in steps
    )


def _outcome(
    line: Line, steps: list[Step], result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance
) -> RunOutcome:
    stats = {stats.step_key: stats for stats in instance.get_run_step_stats(result.run_id)}
    failures = {event.step_key: event for event in result.all_events if event.is_step_failure}
    outcomes = []
    for step in steps:
        found = stats.get(step.key.to_python_identifier())
        seconds = found.end_time - found.start_time if found and found.end_time and found.start_time else None
        if not step.runs:
            outcome = "reused"
        elif step.key.to_python_identifier() in failures:
            outcome = "failed"
        else:
            outcome = "done" if found and found.status and found.status.value == "SUCCESS" else "skipped"
        outcomes.append(StepOutcome(step.stage, outcome, seconds, step.reason))
    failure = "\n".join(_failure_text(event) for event in failures.values()) or None
    return RunOutcome(line.name, result.run_id, result.success, tuple(outcomes), failure, None)


def _failure_text(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    foreseen = data.user_failure_data
    if foreseen is not None and foreseen.description:
        return str(foreseen.description)
    # Not foreseen, so a bug: everything known about it is shown.
    return f"{event.step_key}: {data.error.to_string() if data.error else event.message}"


@contextmanager
def _only_run(line: Line, settings: PlatformSettings) -> Iterator[None]:
    settings.locks_path.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(settings.locks_path / f"line-{line.name}.lock", timeout=0):
            yield
    except Timeout:
        raise RunError(
            f"another run of {line.name} is in progress on this machine; wait for it to end"
        ) from None


def _end_dead_runs(instance: dg.DagsterInstance, line: Line) -> None:
    """Mark runs whose process was killed as failed: nobody else will, and the UI would show them for ever.

    Raises:
        RunError: a run of the line that this process cannot judge is in progress.
    """
    keys = {line.key(stage) for stage in STAGES}
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        # Runs of single assets, as the UI starts them, carry no tag of the line.
        if run.tags.get(LINE_TAG) != line.name and not keys & set(run.asset_selection or ()):
            continue
        identity = run.tags.get(PROCESS_TAG)
        if identity is None or not _is_dead(identity):
            raise RunError(
                f"run {run.run_id} of {line.name} is in progress; wait for it, or cancel it in the UI"
            )
        instance.report_run_failed(run, "its process was killed")


def process_identity(pid: int) -> str:
    """Host, process id and start time: tells a process from a later one with the same id."""
    try:
        # Field 22 of /proc/<pid>/stat; the name in field 2 may hold blanks, so count from its closing bracket.
        started = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        started = "gone"
    return f"{socket.gethostname()}:{pid}:{started}"


def _is_dead(identity: str) -> bool:
    host, pid, _ = identity.rsplit(":", 2)
    return host == socket.gethostname() and process_identity(int(pid)) != identity


def _sweep(resources: Mapping[str, Any]) -> None:
    """Remove what killed runs left in the warehouse and the object store."""
    removed = resources["warehouse"].sweep() + resources["object_store"].sweep()
    if removed:
        logging.getLogger(__name__).info("removed %s files that a killed run had left behind", removed)


class ProgressHandler(logging.Handler):
    """Tells a person at a terminal what a run is doing: one line per asset, and what its logic reports."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a step's begin and end, and every message that is not an event of Dagster's own."""
        from rich.console import Console

        console = Console(stderr=True, highlight=False, soft_wrap=True)
        event = getattr(record, "dagster_event", None)
        if event is None:
            if record.levelno >= logging.INFO:
                console.print(
                    f"    {_message(record)}",
                    style="yellow" if record.levelno >= logging.WARNING else "dim",
                    markup=False,
                )
        elif event.is_step_start:
            console.print(f"▶ {event.step_key}")
        elif event.is_step_success:
            console.print(
                f"✓ {event.step_key}  {event.step_success_data.duration_ms / 1000:.1f} s", style="green"
            )
        elif event.is_step_failure:
            console.print(f"✗ {event.step_key}", style="red")
        elif event.event_type_value == "ASSET_CHECK_EVALUATION":
            check = event.asset_check_evaluation_data
            console.print(
                f"    {'pass' if check.passed else 'FAIL'}  {check.check_name}",
                style=None if check.passed else "red",
            )


def _message(record: logging.LogRecord) -> str:
    metadata = getattr(record, "dagster_meta", None) or {}
    return str(metadata.get("orig_message") or record.getMessage())


@dg.logger({}, description="Progress lines for the command line.")
def progress_logger(_context: dg.InitLoggerContext) -> logging.Logger:
    """The logger of runs that the command line starts."""
    progress = logging.getLogger("platform_assets_progress")
    progress.setLevel(logging.DEBUG)
    progress.propagate = False
    progress.handlers = [ProgressHandler()]
    return progress
