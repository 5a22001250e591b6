"""Trials as processes of this machine: the very command of the Experiment's template, run as Katib would have it run.

Each is a process group of its own behind a guard, so that it ends, with all that it has started, when it is told to, when
this process is asked to end, and when it is killed.
"""

import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Condition, Thread, Timer
from types import TracebackType
from typing import IO, Final, Self

from platform_assets.processors import THREAD_VARIABLES, available_cpus
from platform_assets.tuning.collector import collected
from platform_assets.tuning.experiment import Experiment
from platform_assets.tuning.trial_runner import Observation, Outcome, RunningTrial
from resources.process_tree import guarded

PROGRAM: Final = "platform-assets"
THREADS: Final = "PLATFORM_TRIAL_THREADS"
_OWN_PROGRAM: Final = (sys.executable, "-m", "platform_assets.cli")
_REASON_CHARACTERS: Final = 4000
_FORESEEN: Final = "error: "
"""What the sentence begins with by which the platform's commands end."""
_PLACE: Final = re.compile(r' *(File ".*", line \d+), in \S+')
_KIND: Final = re.compile(r"([A-Za-z_][\w.]*)(?::|$)")
_LONGEST_LINE: Final = 1 << 16
"""Of what is printed without an end of line; nothing that a collector looks for is as long."""

log = logging.getLogger(__name__)


class ProcessTrials:
    """Runs the trials of one Experiment as processes, sharing the CPUs; the end of the block ends them all.

    The thread that starts them is the one that ends the block: the kernel ends a process with the thread that began it.
    """

    def __init__(self, experiment: Experiment, *, environment: Mapping[str, str], scratch: Path) -> None:
        """Starts nothing yet.

        Args:
            experiment: Whose trials.
            environment: Variables of each trial, all of them but those that say how many threads it may start.
            scratch: A folder for what trials write meanwhile, in use by nobody else; what lies there goes.
        """
        self._experiment = experiment
        self._scratch = scratch
        self._news = Condition()
        self._started: list[_TrialProcess] = []
        threads = str(max(1, available_cpus() // experiment.parallel_trials))
        programs = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
        self._environment = {
            **environment,
            **dict.fromkeys(THREAD_VARIABLES, threads),
            THREADS: threads,
            "PATH": programs,
            "PYTHONUNBUFFERED": "1",
        }

    def __enter__(self) -> Self:
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        # All are told before the first is waited for.
        for each in self._started:
            each.tell()
        for each in self._started:
            each.stop()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def start(self, trial: str, assignment: Mapping[str, str]) -> "_TrialProcess":
        """See `TrialRunner.start`."""
        program, *arguments = self._experiment.trial_arguments(assignment, trial)
        command = [*(_OWN_PROGRAM if program == PROGRAM else (program,)), *arguments]
        started = _TrialProcess(
            trial,
            command,
            self._environment,
            self._scratch / trial,
            self._experiment,
            self._news,
            deadline_seconds=self._experiment.trial_deadline_seconds,
        )
        self._started.append(started)
        return started

    def wait(self, running: Sequence[RunningTrial], timeout_seconds: float) -> None:
        """See `TrialRunner.wait`."""
        own = [each for each in self._started if any(each is one for one in running)]
        with self._news:
            self._news.wait_for(lambda: any(each.has_news for each in own), timeout_seconds)
            for each in own:
                each.take_news()


class _TrialProcess:
    """A trial that was started. A thread of its own reads what it prints."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        experiment: Experiment,
        news: Condition,
        *,
        deadline_seconds: int | None,
    ) -> None:
        self._name = name
        self._experiment = experiment
        self._news = news
        self._found: list[Observation] = []
        self._status: int | None = None
        self._reason = ""
        self._untold = False
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._errors = folder / "stderr"
        with self._errors.open("wb") as errors:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                guarded(command),
                env={**environment, "TMPDIR": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        self._deadline_seconds = deadline_seconds
        self._is_late = False
        self._reader = Thread(target=self._read, name=f"trial {name}", daemon=True)
        self._reader.start()

    @property
    def name(self) -> str:
        """See `RunningTrial.name`."""
        return self._name

    @property
    def reason(self) -> str:
        """Why it has failed, as it said itself; empty while it runs, and where it has not."""
        with self._news:
            return self._reason

    def observations(self) -> Sequence[Observation]:
        """See `RunningTrial.observations`."""
        with self._news:
            return tuple(self._found)

    def outcome(self) -> Outcome:
        """See `RunningTrial.outcome`."""
        with self._news:
            if self._status is None:
                return "running"
            return "succeeded" if self._status == 0 else "failed"

    @property
    def has_news(self) -> bool:
        """Whether there is something new since it was last taken; of one that has ended there always is."""
        return self._untold or self._status is not None

    def take_news(self) -> None:
        """It is known now."""
        self._untold = False

    def stop(self) -> None:
        """See `RunningTrial.stop`."""
        self.tell()
        self._reader.join()

    def tell(self) -> None:
        """Tell it to end, and wait for nothing."""
        with suppress(ProcessLookupError):
            self._process.terminate()

    def _read(self) -> None:
        metrics, filters = self._experiment.objective.metrics, self._experiment.metrics_filter
        assert self._process.stdout is not None
        with self._deadline(), self._process.stdout as printed:
            for line in _lines(printed):
                found = collected(line, filters, metrics, read_at=datetime.now(UTC))
                if found:
                    with self._news:
                        self._found += found
                        self._tell_news()
            # Of the whole tree: its guard ends when nothing of it is left.
            status = self._process.wait()
        told = _tail(self._errors)
        shutil.rmtree(self._folder, ignore_errors=True)
        if status:
            log.debug("trial %s has ended with %s: %s", self._name, status, told)
        with self._news:
            self._status = status
            if self._is_late:
                self._reason = f"it ran for longer than its activeDeadlineSeconds, {self._deadline_seconds} s"
            else:
                self._reason = reason_of(status, told) if status else ""
            self._tell_news()

    @contextmanager
    def _deadline(self) -> Iterator[None]:
        """Its Job would be ended then, and so is it."""
        if self._deadline_seconds is None:
            yield
            return
        timer = Timer(self._deadline_seconds, self._end_late)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _end_late(self) -> None:
        self._is_late = True
        self.tell()

    def _tell_news(self) -> None:
        self._untold = True
        self._news.notify_all()


def _lines(printed: IO[bytes]) -> Iterator[str]:
    while line := printed.readline(_LONGEST_LINE):
        yield line.decode(errors="replace").rstrip("\r\n")


def reason_of(status: int, told: str) -> str:
    """Why a command has failed: what it said itself, or of an error that nobody foresaw its kind and place.

    The rest of what it wrote may quote the data.

    Args:
        status: As shells tell it.
        told: The end of what it wrote to its standard error.
    """
    lines = told.splitlines()
    begins = [at for at, line in enumerate(lines) if line.startswith(_FORESEEN)]
    if begins:
        return "\n".join(lines[begins[-1] :]).removeprefix(_FORESEEN)
    places = [found for line in lines if (found := _PLACE.fullmatch(line))]
    kind = _KIND.match(lines[-1]) if lines else None
    if places and kind:
        return f"{kind[1]} at {places[-1][1]}; its message is not kept, as it may quote the data"
    return f"its command has ended with {status}"


def _tail(file: Path) -> str:
    """The end of a file."""
    with suppress(OSError), file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - _REASON_CHARACTERS))
        return opened.read().decode(errors="replace").strip()
    return ""
