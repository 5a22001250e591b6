"""Files judged in several processes: a decoder that crashes on one file takes that file down and no other."""

import hashlib
import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Final

from platform_assets.tasks.image_classification.dicom.files import FileProblemError, SourceFiles
from platform_assets.tasks.image_classification.dicom.judge import FileReport, Keep, judge_file, refused
from platform_assets.tasks.image_classification.dicom.rules import GateRules
from resources.process_tree import die_with_parent

CRASHES: Final = "dicom.image.crashes"
_MOST_FILES: Final = 32
"""That go to a process at once."""
_MOST_BYTES: Final = 8 << 20
_AHEAD: Final = 2
"""Such batches a process; with the one that is being read they lie in memory."""

_PRELOADED: Final = (__name__, "pydicom.pixels", "scipy.fft", "scipy.ndimage")

_Read = tuple[str, bytes] | FileReport
"""Name and bytes of a file, or the report of one that cannot be read."""


def in_processes(
    source: SourceFiles,
    rules: GateRules,
    *,
    salt: bytes,
    with_pixels: bool,
    workers: int,
    keep: Keep | None = None,
) -> Iterator[FileReport]:
    """The reports of all files, in order. Files are read here and judged there.

    Args:
        source: The files.
        rules: What is asked.
        salt: Of hashes.
        with_pixels: Whether the pixel stage follows the header stage.
        workers: Processes.
        keep: As `judge_file` has it.
    """
    judge = partial(_judge, rules=rules, salt=salt, with_pixels=with_pixels, keep=keep)
    waiting: deque[tuple[list[_Read], Future[list[FileReport]]]] = deque()
    pool = _pool(workers)
    try:
        for batch in _batches(source):
            try:
                future = pool.submit(judge, batch)
            except BrokenProcessPool:
                pool.shutdown()
                pool = _pool(workers)
                future = pool.submit(judge, batch)
            waiting.append((batch, future))
            if len(waiting) > _AHEAD * workers:
                yield from _reports(*waiting.popleft(), judge)
        while waiting:
            yield from _reports(*waiting.popleft(), judge)
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(workers: int) -> ProcessPoolExecutor:
    # A fork of this process would take along whatever locks other threads hold. That of a server which has nothing but
    # these modules does not, and takes them along, so that the second pool starts at once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start)


def _start() -> None:
    """Whoever is interrupted is the process that reads; these end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(signal.SIGKILL)


def _batches(source: SourceFiles) -> Iterator[list[_Read]]:
    batch: list[_Read] = []
    size = 0
    for at, file in enumerate(source.files):
        try:
            content = source.read(at)
        except FileProblemError as problem:
            batch.append(refused(problem.rule, source.sha256(at)))
        else:
            batch.append((file.name, content))
            size += len(content)
        if len(batch) >= _MOST_FILES or size >= _MOST_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _judge(
    batch: Sequence[_Read], *, rules: GateRules, salt: bytes, with_pixels: bool, keep: Keep | None
) -> list[FileReport]:
    return [
        each
        if isinstance(each, FileReport)
        else judge_file(each[1], rules, name=each[0], salt=salt, with_pixels=with_pixels, keep=keep)
        for each in batch
    ]


def _reports(
    batch: list[_Read], future: "Future[list[FileReport]]", judge: "partial[list[FileReport]]"
) -> Iterator[FileReport]:
    """The reports of a batch; where its process, or another of the pool, has crashed: each file in one of its own."""
    try:
        yield from future.result()
    except BrokenProcessPool:
        for each in batch:
            if isinstance(each, FileReport):
                yield each
            else:
                yield from _alone(each, judge)


def _alone(read: tuple[str, bytes], judge: "partial[list[FileReport]]") -> list[FileReport]:
    with _pool(1) as pool:
        try:
            return pool.submit(judge, [read]).result()
        except BrokenProcessPool:
            return [refused(CRASHES, hashlib.sha256(read[1]).hexdigest())]
