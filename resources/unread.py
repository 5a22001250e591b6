"""What may be told of an error that is not ours.

A library's message may quote a cell of the data: `could not convert string to float: 'Jane Doe'`. Whatever is
stored (ledger, event log, logs of runs, reports) names the class of such an error and the lines that it passed,
and never its message.
"""

import traceback
from pathlib import PurePath
from typing import Final

_MOST_FRAMES: Final = 20


def unread(problem: BaseException) -> str:
    """`<class> at <file>:<line>` of an error, without its message."""
    frames = traceback.extract_tb(problem.__traceback__)
    at = f" at {_place(frames[-1])}" if frames else ""
    return f"{type(problem).__name__}{at}"


def unread_trace(problem: BaseException) -> str:
    """The lines of code that an error and its causes passed, the innermost last, without their messages."""
    told: list[str] = []
    each: BaseException | None = problem
    while each is not None and len(told) < _MOST_FRAMES:
        frames = traceback.extract_tb(each.__traceback__)[-_MOST_FRAMES:]
        lines = [f"  {_place(frame)} in {frame.name}: {frame.line or ''}".rstrip() for frame in frames]
        told.append("\n".join([type(each).__name__, *lines]))
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return "\ncaused by ".join(told)


def _place(frame: traceback.FrameSummary) -> str:
    """The file within its package, which is the same on every machine, and the line."""
    return f"{'/'.join(PurePath(frame.filename).parts[-3:])}:{frame.lineno}"
