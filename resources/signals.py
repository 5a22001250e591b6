"""How a process learns that it is to end, whoever started it and whatever its libraries make of signals.

Three things stand between SIGTERM and the end of a process of ours:

- a shell that starts something in the background has it ignore SIGINT, and Dagster gives SIGTERM the disposition that
  SIGINT has, so both are ignored from then on;
- while Dagster executes, and while uvicorn serves, they have handlers of their own, and do not tell which signal it was;
- Python runs a handler between two of its own instructions: not while a library computes for minutes.

So the entry gives all three signals one handler, the kernel's own word of a signal goes to a thread besides, and that
thread ends the process where nothing else has done so in time. A process may end at any moment without harm: what it
writes is there wholly or not at all.
"""

import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

from resources.errors import PlatformError

GRACE_SECONDS: Final = 25.0
"""From the signal to the end, at most; Kubernetes waits 30 s before it kills."""

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_IMPATIENT_SECONDS: Final = 1.0
"""A signal so long after the first is a second one, from somebody who does not want to wait. `timeout` and terminals
send one twice."""


_NOTED: Final = 0
"""What handlers write where the kernel writes numbers of signals: a handler's turn may come long after its signal."""


class Ended(SystemExit):
    """This process was told to end: what goes up through whatever it was doing; its status is the one a shell tells."""

    def __init__(self, number: int, told: str = "") -> None:
        """Args: number: The signal. told: What a person should know of it; empty for what all commands say."""
        super().__init__(status_of(number))
        self.number = number
        self.told = told


@contextmanager
def ending(told: str) -> Iterator[None]:
    """A block, or a function that this decorates, of which a person is told something of its own if a signal ends it.

    Args:
        told: In place of what all commands say; true at whatever moment the signal comes.
    """
    try:
        yield
    except PlatformError:
        raise
    except BaseException as problem:
        # Whatever else comes up after a signal comes of it.
        number = told_to_end()
        if number is None or (isinstance(problem, Ended) and problem.told):
            raise
        raise Ended(number, told) from problem


class _State:
    """What has reached this process."""

    number: int | None = None
    raised = False
    writer: int | None = None


def told_to_end() -> int | None:
    """The first signal that told this process to end; None before any, and where nobody heeds them."""
    return _State.number


def name_of(number: int) -> str:
    """As people call it: SIGTERM; Ctrl-C is told besides."""
    return "SIGINT (Ctrl-C)" if number == signal.SIGINT else signal.Signals(number).name


def status_of(number: int) -> int:
    """The exit status by which a shell tells that a signal ended something."""
    return 128 + number


@contextmanager
def heeded(*, grace_seconds: float = GRACE_SECONDS) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end this process by `Ended`, however it was started.

    SIGINT is heeded also where it was ignored: nobody chose that, shells do it. SIGHUP stays ignored where it was,
    since that is what `nohup` is for. Afterwards all is as it was, except where a signal has come: then the process
    is to end, and threads that it would wait for are no reason not to.

    Args:
        grace_seconds: After so long the process is ended wherever it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what becomes of signals
        return
    heeds = [each for each in _ENDING if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN]
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    former_writer = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    former = {each: signal.signal(each, _raise_ended) for each in heeds}
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, heeds)
    _State.number, _State.raised, _State.writer = None, False, writer
    threading.Thread(target=_watch, args=(reader, grace_seconds), name="signals", daemon=True).start()
    try:
        yield
    finally:
        if _State.number is None:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            for number, handler in former.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(former_writer)
            _State.writer = None
            os.close(writer)


def note(number: int) -> None:
    """For handlers of others, which keep a signal to themselves."""
    if _State.number is None:
        _State.number = number
    if _State.writer is not None:
        with suppress(OSError):
            os.write(_State.writer, bytes([_NOTED]))


def _raise_ended(number: int, _frame: FrameType | None) -> None:
    note(number)
    if not _State.raised:  # once: the rest is cleaning up, which nothing should cut short
        _State.raised = True
        raise Ended(number)


def _watch(reader: int, grace_seconds: float) -> None:
    """Until the pipe is closed: after the first signal, ends this process when its time is over, or at a second one."""
    deadline: float | None = None
    begun = 0.0
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([pipe], [], [], left)
            if not ready:
                _end_now()
            numbers = pipe.read(64)
            if not numbers:
                return
            come, now = [number for number in numbers if number in _ENDING], time.monotonic()
            if deadline is None and (come or _NOTED in numbers):
                begun, deadline = now, now + grace_seconds
                _State.number = _State.number or come[0]
            elif come and now - begun > _IMPATIENT_SECONDS:
                _end_now()


def _end_now() -> None:
    number = _State.number or signal.SIGTERM
    text = f"error: {name_of(number)} ended this in the middle of what it was doing; the same command goes on from there\n"
    with suppress(OSError):
        os.write(2, text.encode())
    os._exit(status_of(number))


def _forget() -> None:
    """In a forked process: the pipe is its parent's, and signals end it as they end any other."""
    if _State.writer is None:
        return
    signal.set_wakeup_fd(-1)
    for number in _ENDING:
        if signal.getsignal(number) is _raise_ended:
            signal.signal(number, signal.SIG_DFL)
    os.close(_State.writer)
    _State.number, _State.raised, _State.writer = None, False, None


os.register_at_fork(after_in_child=_forget)
