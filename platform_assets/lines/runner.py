"""Runs from the command line: a line brought up to date, or one asset of it as a step of somebody else's workflow."""

import logging
import os
import signal
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg
from pydantic import JsonValue

from platform_assets.execution.process_runs import is_gone, line_lock, process_of, process_tag
from platform_assets.governance.registry_moves import follow
from platform_assets.governance.release import PinState, pin_state
from platform_assets.lines.assets import asset_key
from platform_assets.lines.definitions import line_definitions
from platform_assets.lines.line import Line
from platform_assets.lines.plan import Step, plan, plan_transformers, refuse_unmade_inputs
from platform_assets.lines.promotion_status import show_promotions
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import TUNING, AssetReference, TuningVersion
from platform_assets.starters import person_tag
from platform_assets.step import REFERENCE_KEY, recorded_reference
from resources.dagster_home import LINE_TAG, prepare_dagster_home
from resources.errors import PlatformError
from resources.locks import LockTimeoutError
from resources.settings import PlatformSettings
from resources.signals import Ended, name_of, told_to_end

_WAIT_POLL_SECONDS = 5.0
_VERSIONS_SEARCHED = 1000
_UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


class RunError(PlatformError):
    """A run cannot be started, or what it was to make was not made."""


class InterruptedRunError(RunError):
    """A run was ended from outside, by SIGTERM or Ctrl-C."""


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What became of one asset in a run."""

    stage: str
    outcome: str
    """`done`, `reused`, `failed`, `skipped` or `pinned`."""
    seconds: float | None
    reason: str
    asset: str
    """Its key."""


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


@dataclass(frozen=True, slots=True)
class Materialization:
    """One asset, materialized by itself."""

    run_id: str
    reference: AssetReference
    checks: dict[str, bool]
    """Whether each check of the asset passed."""


def open_instance(settings: PlatformSettings) -> dg.DagsterInstance:
    """The Dagster instance of these settings; an own `DAGSTER_HOME` in the environment comes first."""
    os.environ.setdefault("DAGSTER_HOME", str(prepare_dagster_home(settings)))
    return dg.DagsterInstance.get()


def run_line(line: Line, outside: OutsideSystems) -> RunOutcome:
    """Bring the line up to date.

    Raises:
        InterruptedRunError: this process was told to end.
        RunError: another run of the line is in progress.
        PlatformError: a source or the ledger cannot be read.
    """
    with _only_run(line, outside), open_instance(outside.settings) as instance:
        definitions = line_definitions(outside, [line], loggers={"console": progress_logger})
        _follow(line, outside)
        pin = pin_state(outside.ledger, line.name)
        if pin is not None:
            steps = plan(line, instance, outside)
            return RunOutcome(line.name, None, True, _unexecuted(steps, pin), None, pin)  # noqa: FBT003
        _end_dead_runs(instance, line, outside)
        _sweep(outside)
        steps = plan(line, instance, outside)
        stale = [step for step in steps if step.runs]
        if not stale:
            return RunOutcome(line.name, None, True, _unexecuted(steps, None), None, None)  # noqa: FBT003
        refuse_unmade_inputs(line, stale, instance)
        result = _execute(definitions, line, instance, [step.key for step in stale], outside)
        if line.promotion is not None:
            show_promotions(line.name, outside, instance)
        outcome = _outcome(line, steps, result, instance)
        if _was_interrupted(result):
            raise _interrupted(result, instance, done=_done(outcome))
        return outcome


def materialize(
    line: Line,
    stage: str,
    outside: OutsideSystems,
    *,
    made_from: str | None = None,
    config: Mapping[str, JsonValue] | None = None,
    tags: Mapping[str, str] | None = None,
    wait_seconds: float = 0.0,
) -> Materialization:
    """One asset of the line, materialized whether or not anything has changed.

    Args:
        line: The line.
        stage: One of the line's.
        outside: Where everything is.
        made_from: Data version of the asset before it that it must be made from; None for the newest.
        config: Values that this run uses instead of the spec's.
        tags: Further tags of the run.
        wait_seconds: How long other runs of the line may take to end.

    Raises:
        InterruptedRunError: this process was told to end.
        RunError: the asset failed, another run of the line does not end, the line is pinned, or there is
            no such version to make it from.
    """
    deadline = time.monotonic() + wait_seconds
    with (
        _only_run(line, outside, wait_seconds=wait_seconds),
        open_instance(outside.settings) as instance,
    ):
        definitions = line_definitions(outside, [line], loggers={"console": progress_logger})
        if pin := pin_state(outside.ledger, line.name):
            raise RunError(
                f"{line.name} is pinned to release {pin.release_id} by {pin.by} ({pin.reason}), and nothing was "
                f"changed; `platform-assets unpin {line.name}` lets go of it"
            )
        _wait_for_others(instance, line, outside, deadline)
        _sweep(outside)
        _follow(line, outside)
        if made_from is not None:
            _make_newest_before(instance, line, stage, made_from)
        ops = line.run_config({stage: config}) if config else {}
        keys = [asset_key(line, stage)]
        if stage == "features":
            # Whoever runs assets one by one knows the line's own only.
            applied = plan_transformers(line, instance, outside)
            refuse_unmade_inputs(line, applied, instance)
            keys += [step.key for step in applied if step.runs]
        result = _execute(definitions, line, instance, keys, outside, config=ops, tags=tags)
        if _was_interrupted(result):
            raise _interrupted(result, instance)
        if failure := _failure(result):
            raise RunError(failure)
        reference = recorded_reference(
            instance, asset_key(line, stage), line.stages[stage], run_id=result.run_id
        )
        if not result.success or reference is None:
            raise RunError(f"run {result.run_id} of {line.name}_{stage} came to nothing; see it in the UI")
        checks = {each.check_name: each.passed for each in result.get_asset_check_evaluations()}
        return Materialization(result.run_id, reference, checks)


def _execute(
    definitions: dg.Definitions,
    line: Line,
    instance: dg.DagsterInstance,
    keys: Sequence[dg.AssetKey],
    outside: OutsideSystems,
    *,
    config: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
) -> dg.ExecuteInProcessResult:
    run_id = str(uuid.uuid4())
    job = definitions.resolve_job_def(line.name)
    try:
        return job.execute_in_process(
            run_id=run_id,
            instance=instance,
            asset_selection=list(keys),
            # A logger that is not named here is not used: Dagster falls back to its own.
            run_config={"loggers": {"console": {}}, **(config or {})},
            tags={
                **(tags or {}),
                **process_tag(run_id),
                **person_tag(outside.principal, run_id, outside.salt),
            },
            raise_on_error=False,
        )
    except Ended:
        # It came where Dagster does not look out for signals.
        _report_ended(instance, run_id)
        raise


def _stage_before(line: Line, stage: str) -> str:
    stages = list(line.stages)
    at = stages.index(stage)
    if not at:
        raise RunError(f"a {stage} is made from no other asset; leave out the version to make it from")
    return stages[at - 1]


def _make_newest_before(instance: dg.DagsterInstance, line: Line, stage: str, version: str) -> None:
    before = _stage_before(line, stage)
    _make_newest(instance, line, before, version)
    if before == TUNING:
        # Whoever is made from a tuning reads features, too: those that it is of.
        tuning = recorded_reference(instance, asset_key(line, TUNING), TuningVersion)
        assert tuning is not None, "made the newest just now"
        _make_newest(instance, line, "features", tuning.features.version)


def _make_newest(instance: dg.DagsterInstance, line: Line, stage: str, version: str) -> None:
    """Let the asset's materialization of this version be its newest, as it was when it was made.

    Steps read the newest. Whoever runs them one by one may have left out the step before (a cache answered
    in its place), or somebody may have run it in between for another purpose.

    Raises:
        RunError: the asset never had this version, or the event log has forgotten it.
    """
    key = asset_key(line, stage)
    kind = line.stages[stage]
    newest = recorded_reference(instance, key, kind)
    if newest is not None and newest.version == version:
        return
    for record in instance.fetch_materializations(key, limit=_VERSIONS_SEARCHED).records:
        materialization = record.asset_materialization
        value = materialization.metadata.get(REFERENCE_KEY) if materialization else None
        if materialization and value and kind.model_validate(value.value).version == version:
            instance.report_runless_asset_event(materialization)
            return
    raise RunError(
        f"no materialization of {key.to_user_string()} has version {version}: materialize it again, and where a "
        "cache answered in its place, without the cache"
    )


def _unexecuted(steps: list[Step], pin: PinState | None) -> tuple[StepOutcome, ...]:
    return tuple(
        StepOutcome(
            step.stage,
            "pinned" if pin and step.runs else "reused",
            None,
            step.reason,
            step.key.to_user_string(),
        )
        for step in steps
    )


def _outcome(
    line: Line, steps: list[Step], result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance
) -> RunOutcome:
    stats = {stats.step_key: stats for stats in instance.get_run_step_stats(result.run_id)}
    failures = {event.step_key for event in _failures(result)}
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
        outcomes.append(StepOutcome(step.stage, outcome, seconds, step.reason, step.key.to_user_string()))
    return RunOutcome(line.name, result.run_id, result.success, tuple(outcomes), _failure(result), None)


def _failures(result: dg.ExecuteInProcessResult) -> list[dg.DagsterEvent]:
    return [event for event in result.all_events if event.is_step_failure]


def _failure(result: dg.ExecuteInProcessResult) -> str | None:
    return "\n".join(_failure_text(event) for event in _failures(result)) or None


def _failure_text(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    foreseen = data.user_failure_data
    if foreseen is not None and foreseen.description:
        return str(foreseen.description)
    # Not foreseen, so a bug: everything known about it is shown.
    return f"{event.step_key}: {data.error.to_string() if data.error else event.message}"


def _was_interrupted(result: dg.ExecuteInProcessResult) -> bool:
    # A library may have wrapped what interrupted it into an error of its own.
    return not result.success and told_to_end() is not None


def _interrupted(
    result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance, *, done: str = ""
) -> InterruptedRunError:
    """The error of a run that was told to end; Dagster records it as failed, and nobody asked for that."""
    _report_ended(instance, result.run_id)
    signal_name = name_of(told_to_end() or signal.SIGTERM)
    begun = ", ".join(dict.fromkeys(str(event.step_key) for event in _failures(result))) or "its steps"
    return InterruptedRunError(
        f"run {result.run_id} was told to end by {signal_name} in the middle of {begun}; {done}the same command goes on "
        "from there"
    )


def _done(outcome: RunOutcome) -> str:
    done = [step.asset for step in outcome.steps if step.outcome == "done"]
    return (
        f"{', '.join(done)} {'is' if len(done) == 1 else 'are'} done, and "
        if done
        else "nothing was done before, and "
    )


def _report_ended(instance: dg.DagsterInstance, run_id: str) -> None:
    run = instance.get_run_by_id(run_id)
    if run is not None and run.status is not dg.DagsterRunStatus.SUCCESS:
        instance.report_run_canceled(run, message="The process of this run was told to end.")


@contextmanager
def _only_run(line: Line, outside: OutsideSystems, *, wait_seconds: float = 0.0) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(outside.locks.hold(line_lock(line.name), timeout_seconds=wait_seconds))
        except LockTimeoutError as problem:
            raise RunError(f"another run of {line.name} is in progress: {problem}") from None
        yield


def _wait_for_others(
    instance: dg.DagsterInstance, line: Line, outside: OutsideSystems, deadline: float
) -> None:
    """Returns once Dagster itself runs nothing of the line; its own runs do not take the line's lock.

    Raises:
        RunError: the deadline is over.
    """
    while True:
        try:
            _end_dead_runs(instance, line, outside)
        except RunError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_WAIT_POLL_SECONDS)
        else:
            return


def _end_dead_runs(instance: dg.DagsterInstance, line: Line, outside: OutsideSystems) -> None:
    """Mark runs whose process was killed as failed: nobody else will, and the UI would show them for ever.

    Raises:
        RunError: a run of the line that this process cannot judge is in progress.
    """
    keys = {asset_key(line, stage) for stage in line.stages}
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        # Runs of single assets, as the UI starts them, carry no tag of the line.
        if run.tags.get(LINE_TAG) != line.name and not keys & set(run.asset_selection or ()):
            continue
        process = process_of(run)
        # On a cluster all machines share the lock.
        if process is None or not is_gone(process, lock_is_shared=outside.settings.profile == "cluster"):
            raise RunError(
                f"run {run.run_id} of {line.name} is in progress; wait for it, or cancel it in the UI"
            )
        instance.report_run_failed(run, "its process was killed")


def _follow(line: Line, outside: OutsideSystems) -> None:
    """Let the model registry say what the ledger says; a killed act, or a registry that was away, has left it behind."""
    if behind := follow(outside.model_registry, outside.ledger, line.name):
        logging.getLogger(__name__).warning(behind)


def _sweep(outside: OutsideSystems) -> None:
    """Remove what killed runs left in the warehouse and the object store."""
    removed = outside.warehouse.sweep() + outside.object_store.sweep()
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
