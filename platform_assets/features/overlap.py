"""Reading, computing and writing side by side: each in a thread of its own, a few chunks ahead at most."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Final, Generic, TypeVar

T = TypeVar("T")
_AHEAD: Final = 2
"""Chunks that may wait: one more than is worked on."""
_LOOK_SECONDS: Final = 0.1
"""How often somebody who waits looks whether the other side has given up."""


class _End:
    """What the last chunk is followed by."""


@contextmanager
def read_ahead(chunks: Iterator[T], *, threads: int) -> Iterator[Iterator[T]]:
    """The same chunks, read by another thread while one is worked on.

    Args:
        chunks: Where they come from; closed in the end.
        threads: With one, all is done in this one.

    Raises:
        Exception: whatever reading raises, where its chunk would have come.
    """
    if threads < 2:  # noqa: PLR2004 - one and another
        yield chunks
        return
    queue: Queue[T | _End | BaseException] = Queue(_AHEAD)
    stopped = Event()

    def read() -> None:
        try:
            for chunk in chunks:
                if not _put(queue, chunk, stopped):
                    return
            _put(queue, _End(), stopped)
        except BaseException as problem:  # noqa: BLE001 - raised again by whoever takes it
            _put(queue, problem, stopped)

    def taken() -> Iterator[T]:
        while True:
            item = queue.get()
            if isinstance(item, _End):
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = Thread(target=read, name="reader", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        stopped.set()
        thread.join()


class Behind(Generic[T]):
    """Takes chunks and hands them on to a function that another thread calls."""

    def __init__(self, write: Callable[[T], object]) -> None:
        self._queue: Queue[T | _End] = Queue(_AHEAD)
        self._given_up = Event()
        self._problem: BaseException | None = None
        self._write = write
        self._thread = Thread(target=self._work, name="writer", daemon=True)
        self._thread.start()

    def __call__(self, chunk: T) -> None:
        """Hand one on.

        Raises:
            Exception: whatever writing an earlier one has raised.
        """
        if not _put(self._queue, chunk, self._given_up):
            self._raise()

    def finish(self) -> None:
        """Wait for all of them.

        Raises:
            Exception: whatever writing one has raised.
        """
        _put(self._queue, _End(), self._given_up)
        self._thread.join()
        self._raise()

    def give_up(self) -> None:
        """Write no more; what is being written is waited for."""
        self._given_up.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._given_up.is_set():
            try:
                item = self._queue.get(timeout=_LOOK_SECONDS)
            except Empty:
                continue
            if isinstance(item, _End):
                return
            try:
                self._write(item)
            except BaseException as problem:  # noqa: BLE001 - raised again by whoever hands on
                self._problem = problem
                self._given_up.set()

    def _raise(self) -> None:
        if self._problem is not None:
            raise self._problem


@contextmanager
def written_behind(write: Callable[[T], object], *, threads: int) -> Iterator[Callable[[T], object]]:
    """A function that does what `write` does, in another thread; all is done when the block has ended well.

    Args:
        write: Is called with one chunk at a time, in order.
        threads: With one, all is done in this one.

    Raises:
        Exception: whatever writing raises.
    """
    if threads < 2:  # noqa: PLR2004 - one and another
        yield write
        return
    behind = Behind(write)
    try:
        yield behind
        behind.finish()
    finally:
        behind.give_up()


def _put(queue: "Queue[T]", item: T, stopped: Event) -> bool:
    """Whether it was taken before the other side gave up."""
    while not stopped.is_set():
        try:
            queue.put(item, timeout=_LOOK_SECONDS)
        except Full:
            continue
        return True
    return False
