"""Experiment tracking of a training step, through dagster-mlflow, in a thread of its own (docs/adr/0036).

Training hands over what it has to tell and goes on; the thread sends it, again and again where the tracker does not
answer. So a tracker that is away, or that accepts and never answers, costs what it is not told in time, and that is
said: it never holds a training up and never ends one.

dagster-mlflow is an old-style resource that opens an MLflow run as soon as it is initialised, in every
process that initialises it. Training alone tracks anything, and not when finished weights are reused, so
its `MlFlow` object is made here on demand (docs/adr/0006).
"""

import logging
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from threading import Condition, Event, Thread
from types import SimpleNamespace
from typing import Any, Final, Literal, Protocol
from urllib.parse import urlsplit

from resources.model_registry import prepared

_IDENTITY_TAG = "model_fingerprint"
_STUDY_TAG: Final = "platform/study"
"""On the run of a study and of each of its trials: what tells it from every other."""
_PARENT_TAG: Final = "mlflow.parentRunId"
_NAME_TAG: Final = "mlflow.runName"
End = Literal["FINISHED", "FAILED", "KILLED"]
"""How a run ends, as MLflow calls it."""
_MOST_WAITING: Final = 20_000
"""Measurements that wait for a tracker; a training of any length tells some hundreds."""
_MOST_AT_ONCE: Final = 1000
"""Measurements that MLflow takes in one request."""
_FIRST_RETRY_SECONDS: Final = 1.0
_LONGEST_RETRY_SECONDS: Final = 60.0
_SERVER_PATIENCE_SECONDS: Final = 30.0
_FILE_PATIENCE_SECONDS: Final = 300.0
"""A database of this machine is slow at most: a fresh one is first brought through all of MLflow's migrations."""
_ENDED_PATIENCE_SECONDS: Final = 5.0
"""Whoever ends a process from outside gives it some seconds, and a checkpoint needs them more."""
_SHOWN_CHARACTERS: Final = 300
_SYSTEM_ERROR: Final = re.compile(r"\[Errno -?\d+\] [\w ]+|[Rr]ead timed out|[Cc]onnection aborted")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One value at one optimizer step."""

    name: str
    value: float
    step: int
    time_ms: int
    """When it was measured, which may be long before it is sent."""


class Tracker(Protocol):
    """One run at the tracker. Whatever these raise is taken for an outage, and tried again."""

    @property
    def run_id(self) -> str:
        """The tracker's own id of this run."""
        ...

    def params(self, values: Mapping[str, Any]) -> None:
        """Record the resolved configuration.

        Raises:
            RefusedError: the tracker does not want these, now or later.
        """
        ...

    def metrics(self, values: list[Measurement]) -> None:
        """Record measurements; raises as `params` does."""
        ...

    def end(self, status: str) -> None:
        """End the run: FINISHED, FAILED or KILLED."""
        ...


class RefusedError(Exception):
    """The tracker answers, and says no."""


class TrackedRun:
    """What a training tells about itself: kept until the tracker has it, and sent by a thread of its own."""

    def __init__(self, open_run: Callable[[], Tracker], *, where: str) -> None:
        """Begins to open the run.

        Args:
            open_run: Finds or begins the run at the tracker.
            where: The tracker, for messages.
        """
        self._open_run = open_run
        self._where = where
        self._changed = Condition()
        self._params: dict[str, Any] = {}
        self._waiting: deque[Measurement] = deque()
        self._told = self._dropped = 0
        self._run_id = ""
        self._problem = self._refusal = ""
        self._warned = False
        self._status: str | None = None
        self._is_last_chance = False
        self._given_up = False
        self._opened = Event()
        self._thread = Thread(target=self._send_all, name="run-tracking", daemon=True)
        self._thread.start()

    @property
    def run_id(self) -> str:
        """The tracker's own id of this run; empty while it has not answered."""
        return self._run_id

    def await_id(self) -> str:
        """`run_id`, as soon as the tracker has answered; empty where it never does."""
        self._opened.wait()
        return self._run_id

    @property
    def lost(self) -> str | None:
        """What the tracker was not told, and why; None where it was told everything. Final once the run has ended."""
        with self._changed:
            lost = self._dropped + len(self._waiting) + len(self._params)
            reason = self._refusal or self._problem or "it does not answer"
            if lost:
                return f"{lost} of {self._told} values did not reach {self._where}: {reason}"
            return f"the end of the run did not reach {self._where}: {reason}" if self._given_up else None

    def params(self, values: Mapping[str, Any]) -> None:
        """Record the resolved configuration."""
        with self._changed:
            self._params |= values
            self._told += len(values)
            self._changed.notify_all()

    def metrics(self, values: Mapping[str, float], *, step: int, time_ms: int | None = None) -> None:
        """Record measurements at an optimizer step.

        Args:
            values: By name.
            step: The step.
            time_ms: When they were made; None for now.
        """
        now = time.time_ns() // 1_000_000 if time_ms is None else time_ms
        with self._changed:
            self._waiting.extend(Measurement(name, value, step, now) for name, value in values.items())
            self._told += len(values)
            while len(self._waiting) > _MOST_WAITING:
                self._waiting.popleft()
                self._dropped += 1
            self._changed.notify_all()
        self._warn_once()

    def close(self, status: End) -> None:
        """Nothing more comes: the run ends once the tracker has all, and nobody waits for that. `end` comes yet."""
        with self._changed:
            self._status = self._status or status
            self._changed.notify_all()

    def end(self, status: End, *, patience_seconds: float) -> None:
        """Send what waits, for so long at most, and end the run; what is not sent by then never will be.

        Args:
            status: How; of one that was closed, as was said then.
            patience_seconds: For all of it.
        """
        self.end_quietly(status, patience_seconds=patience_seconds)
        self._warn_once()
        if lost := self.lost:
            log.warning("tracking: %s", lost)

    def end_quietly(self, status: End, *, patience_seconds: float) -> None:
        """As `end`, and the caller says what was lost."""
        with self._changed:
            self._status, self._is_last_chance = self._status or status, True
            self._changed.notify_all()
        self._thread.join(patience_seconds)
        with self._changed:
            self._given_up = self._given_up or self._thread.is_alive()

    def _warn_once(self) -> None:
        # In the thread that trains: Dagster's log belongs to the step.
        if self._problem and not self._warned:
            self._warned = True
            log.warning(
                "tracking: %s cannot be told (%s); training goes on, and what waits is sent when it answers",
                self._where,
                self._problem,
            )

    def _send_all(self) -> None:
        try:
            self._send_until_the_end()
        finally:
            self._opened.set()

    def _send_until_the_end(self) -> None:
        tracker: Tracker | None = None
        pause = _FIRST_RETRY_SECONDS
        while not self._given_up:
            is_last = self._is_last_chance
            try:
                if tracker is None:
                    tracker = self._open_run()
                    self._run_id = tracker.run_id
                    self._opened.set()
                if not self._send_some(tracker):
                    break
                self._problem, pause = "", _FIRST_RETRY_SECONDS
            except Exception as problem:  # noqa: BLE001 - a tracker may fail in any way, and may not end a training
                self._problem = _said(problem)
                if is_last:
                    self._given_up = True
                    break
                with self._changed:
                    self._changed.wait_for(lambda: self._is_last_chance, pause)
                pause = min(2 * pause, _LONGEST_RETRY_SECONDS)

    def _send_some(self, tracker: Tracker) -> bool:
        """Wait for something to send, and send it; False once all is sent and the run is ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._params or self._waiting or self._status)
            params, metrics = dict(self._params), list(islice(self._waiting, _MOST_AT_ONCE))
            status = self._status
        if not (params or metrics):
            if status is not None and not self._given_up:
                tracker.end(status)
            return False
        refusal = ""
        try:
            if params:
                tracker.params(params)
            else:
                tracker.metrics(metrics)
        except RefusedError as problem:
            refusal = _said(problem)
        with self._changed:
            if params:
                self._params = {name: self._params[name] for name in self._params if name not in params}
                sent = len(params)
            else:
                sent = self._forget(metrics)
            if refusal:
                self._refusal = refusal
                self._dropped += sent
        return True

    def _forget(self, sent: list[Measurement]) -> int:
        """Take what was sent out of what waits; some of it may have been dropped meanwhile for want of room."""
        taken = {id(each) for each in sent}
        forgotten = 0
        while self._waiting and id(self._waiting[0]) in taken:
            self._waiting.popleft()
            forgotten += 1
        return forgotten


@dataclass
class TrackedStudy:
    """What a study tells about itself: a run of its own, and below it one for each trial."""

    run: TrackedRun
    _open: Callable[[str], Callable[[], Tracker]]
    _where: str
    _trials: dict[str, TrackedRun] = field(default_factory=dict)

    def trial(self, name: str) -> TrackedRun:
        """The run of a trial, found or begun; whoever began it closes it when the trial ends."""
        if name not in self._trials:
            self._trials[name] = TrackedRun(self._open(name), where=self._where)
        return self._trials[name]

    def end(self, status: End, *, patience_seconds: float) -> None:
        """End all runs, for so long together; trials that nobody has closed were killed."""
        deadline = time.monotonic() + patience_seconds
        for each in self._trials.values():
            each.close("KILLED")
        # Before the others, which cannot begin without it: where it is given up, so are they.
        self.run.end(status, patience_seconds=patience_seconds)
        for each in self._trials.values():
            each.end_quietly("KILLED", patience_seconds=max(0.0, deadline - time.monotonic()))
        if lost := [told for each in self._trials.values() if (told := each.lost)]:
            log.warning("tracking: of %s of %s trials: %s", len(lost), len(self._trials), lost[0])


class RunTracking:
    """Opens one MLflow run for each model; a training that was killed and goes on finds the run it began."""

    def __init__(self, tracking_uri: str) -> None:
        self._tracking_uri = tracking_uri
        of_a_server = tracking_uri.startswith(("http://", "https://"))
        # Its host alone: the address may hold a password.
        host = urlsplit(tracking_uri).netloc.rpartition("@")[2]
        self._where = f"the tracker {host}" if of_a_server else "the tracker of this platform's home"
        self._patience_seconds = _SERVER_PATIENCE_SECONDS if of_a_server else _FILE_PATIENCE_SECONDS

    @contextmanager
    def run(
        self, context: Any, *, experiment: str, identity: str, tags: Mapping[str, str]
    ) -> Iterator[TrackedRun]:
        """The tracked run of the model with this identity; it ends FINISHED, or FAILED on an error.

        Args:
            context: of the Dagster step that trains.
            experiment: MLflow experiment.
            identity: what tells this training from every other; the same after a kill.
            tags: set on the run.
        """
        dagster_run = context.run

        def open_run() -> Tracker:
            return _MlflowRun(self._tracking_uri, dagster_run, experiment, identity, tags)

        tracked = TrackedRun(open_run, where=self._where)
        with self._told_its_end(tracked, cut_off="FAILED"):
            yield tracked

    @contextmanager
    def study(
        self, *, experiment: str, identity: str, name: str, tags: Mapping[str, str]
    ) -> Iterator[TrackedStudy]:
        """The tracked runs of a study; those still open end FINISHED, FAILED on an error, KILLED where it is ended.

        Args:
            experiment: MLflow experiment.
            identity: What tells this study from every other; the same after a kill.
            name: Of its run, for people.
            tags: Set on each run.
        """
        run = TrackedRun(
            lambda: _ClientRun(self._tracking_uri, experiment, identity, {**tags, _NAME_TAG: name}),
            where=self._where,
        )

        def open_trial(trial: str) -> Callable[[], Tracker]:
            def open_run() -> Tracker:
                parent = run.await_id()
                if not parent:
                    raise ConnectionError("the run of its study could not be begun")
                told = {**tags, _NAME_TAG: trial, _PARENT_TAG: parent}
                return _ClientRun(self._tracking_uri, experiment, f"{identity}/{trial}", told)

            return open_run

        tracked = TrackedStudy(run, open_trial, self._where)
        with self._told_its_end(tracked, cut_off="KILLED"):
            yield tracked

    @contextmanager
    def _told_its_end(self, tracked: TrackedRun | TrackedStudy, *, cut_off: End) -> Iterator[None]:
        """Ends what is tracked as the block ends; `cut_off` where that is told to end from outside."""
        try:
            yield
        except Exception:
            tracked.end("FAILED", patience_seconds=self._patience_seconds)
            raise
        except BaseException:
            tracked.end(cut_off, patience_seconds=_ENDED_PATIENCE_SECONDS)
            raise
        tracked.end("FINISHED", patience_seconds=self._patience_seconds)


class _ClientRun:
    """A run of MLflow, found or begun, that is nobody's active run: several are open at once."""

    def __init__(self, tracking_uri: str, experiment: str, identity: str, tags: Mapping[str, str]) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient(prepared(tracking_uri))
        experiment_id = _experiment_id(self._client, experiment)
        found = self._client.search_runs(
            [experiment_id], f"tags.`{_STUDY_TAG}` = '{identity}'", max_results=1
        )
        if found:
            self.run_id = str(found[0].info.run_id)
            # A process that was killed has left it running, or the one that it was ended by has not been the last.
            self._client.update_run(self.run_id, status="RUNNING")
        else:
            # Tags travel with the creation: an attempt that is cut off leaves no run that the next one would not find.
            made = self._client.create_run(experiment_id, tags={**tags, _STUDY_TAG: identity})
            self.run_id = str(made.info.run_id)

    def params(self, values: Mapping[str, Any]) -> None:
        """See `Tracker.params`."""
        from mlflow.entities import Param

        with _refusals():
            self._client.log_batch(
                self.run_id, params=[Param(name, str(value)) for name, value in values.items()]
            )

    def metrics(self, values: list[Measurement]) -> None:
        """See `Tracker.metrics`."""
        with _refusals():
            _log_metrics(self._client, self.run_id, values)

    def end(self, status: str) -> None:
        """See `Tracker.end`."""
        self._client.set_terminated(self.run_id, status)


def _experiment_id(client: Any, name: str) -> str:
    from mlflow.exceptions import MlflowException

    known = client.get_experiment_by_name(name)
    if known is not None:
        return str(known.experiment_id)
    try:
        return str(client.create_experiment(name))
    except MlflowException:
        # Somebody else was first: the runs of a study open side by side.
        if (made := client.get_experiment_by_name(name)) is None:
            raise
        return str(made.experiment_id)


def _log_metrics(client: Any, run_id: str, values: list[Measurement]) -> None:
    from mlflow.entities import Metric

    client.log_batch(
        run_id, metrics=[Metric(each.name, each.value, each.time_ms, each.step) for each in values]
    )


class _MlflowRun:
    """A run of MLflow, found or begun. MLflow's notion of the active run is a thread's own, so this belongs to one."""

    def __init__(
        self, tracking_uri: str, dagster_run: Any, experiment: str, identity: str, tags: Mapping[str, str]
    ) -> None:
        from dagster_mlflow.resources import MlFlow
        from mlflow import MlflowClient

        uri = prepared(tracking_uri)
        told = log.getChild("mlflow")
        told.setLevel(logging.WARNING)
        self._client = MlflowClient(uri)
        self._mlflow = MlFlow(
            SimpleNamespace(
                log=told,
                dagster_run=dagster_run,
                run_id=dagster_run.run_id,
                resource_config={
                    "experiment_name": experiment,
                    "mlflow_tracking_uri": uri,
                    "mlflow_run_id": self._begun(experiment, identity),
                    "env": {},
                    "extra_tags": {_IDENTITY_TAG: identity, **tags},
                },
            )
        )
        self.run_id = str(self._mlflow.active_run().info.run_id)

    def params(self, values: Mapping[str, Any]) -> None:
        """See `Tracker.params`."""
        with _refusals():
            self._mlflow.log_params(dict(values))

    def metrics(self, values: list[Measurement]) -> None:
        """See `Tracker.metrics`."""
        with _refusals():
            _log_metrics(self._client, self.run_id, values)

    def end(self, status: str) -> None:
        """See `Tracker.end`."""
        self._client.set_terminated(self.run_id, status)

    def _begun(self, experiment: str, identity: str) -> str:
        """Id of the run that an earlier process, or an attempt without an answer, began for this training."""
        experiment_id = _experiment_id(self._client, experiment)
        found = self._client.search_runs(
            [experiment_id], f"tags.{_IDENTITY_TAG} = '{identity}'", max_results=1
        )
        # Tags travel with the creation: an attempt that is cut off leaves no run that the next one would not find.
        run = found[0] if found else self._client.create_run(experiment_id, tags={_IDENTITY_TAG: identity})
        return str(run.info.run_id)


def _said(problem: BaseException) -> str:
    """What went wrong, in one line: the operating system's own words where a library has wrapped them often."""
    text = " ".join(str(problem).split()) or type(problem).__name__
    innermost = _SYSTEM_ERROR.findall(text)
    return innermost[-1] if innermost else text[:_SHOWN_CHARACTERS]


@contextmanager
def _refusals() -> Iterator[None]:
    """Tells what will never be taken from what may be taken later."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as problem:
        if problem.error_code in {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST"}:
            raise RefusedError(str(problem)) from problem
        raise
