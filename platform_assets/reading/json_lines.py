"""JSON Lines, strictly: one object a line, every name once in an object, and whatever is none is named.

Strictly means what RFC 8259 says and Python's parser does not insist on. A mark before the text, blank lines and
Windows' line ends are no part of it and are passed over.
"""

import io
import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from platform_assets.reading.errors import ReadingError, shown_name
from platform_assets.reading.forms import not_utf8, refuse_foreign_form, without_mark
from platform_assets.reading.texts import is_text

_ESCAPE: Final = "\\u"
_HALF: Final = re.compile(r"\\u[dD][89a-fA-F]")
"""Half a pair, written as only an escape can write it into text that is UTF-8."""


class _OddError(ValueError):
    """JSON to Python's parser, and still refused."""

    def __init__(self, reason: str, column: str | None = None) -> None:
        super().__init__(reason)
        self.column = column


class _RepeatedNameError(_OddError):
    def __init__(self, name: str | None = None, column: str | None = None) -> None:
        shown = "a name" if name is None else f"the name {shown_name(name)}"
        super().__init__(f"has {shown} twice in one object; remove or rename one of them", column)


class _Pairs(list[tuple[str, Any]]):
    """An object as it is written."""


def json_lines(
    content: bytes, *, name: str, refused: Callable[[ReadingError], None] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number of its line in the file, object) for each line that is not blank; lines count from 1.

    Whole numbers keep every digit, other numbers are the nearest float.

    Args:
        content: The file.
        name: What it is called in messages.
        refused: Is told of each line that is refused, and reading goes on with the next. Without it the first
            such line ends the reading.

    Raises:
        ReadingError: the file is no UTF-8 text, or a line of it is no JSON object, has a name twice, NaN or an
            infinite number, or half a surrogate pair. The message names row and line, and never a value.
    """
    decoder = json.JSONDecoder(object_pairs_hook=once, parse_float=_finite, parse_constant=_no_constant)
    for _, line, value in objects(content, decoder, name=name, refused=refused):
        yield line, value


def objects(
    content: bytes,
    decoder: json.JSONDecoder,
    *,
    name: str,
    refused: Callable[[ReadingError], None] | None = None,
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(row, line, object) as `json_lines` has them, by a decoder that may read numbers in another way."""
    refuse_foreign_form(content, ".jsonl", name=name)
    lines = io.BytesIO(content)
    lines.seek(without_mark(content))
    row = 0
    for line, written in enumerate(lines, start=1):
        if written.isspace():
            continue
        row += 1
        try:
            value = _object(written, decoder)
        except UnicodeDecodeError:
            problem = ReadingError(name, not_utf8(written, what="it"), row=row, line=line)
        except RecursionError:
            problem = ReadingError(name, "is nested too deeply to be read", row=row, line=line)
        except json.JSONDecodeError as found:
            reason = f"is no JSON: {_explained(found)}; write one object a line"
            problem = ReadingError(name, reason, row=row, line=line)
        except _OddError as found:
            column = None if found.column is None else f"column {shown_name(found.column)}"
            problem = ReadingError(name, str(found), row=row, line=line, column=column)
        except ValueError:  # of `int`, which stops at 4,300 digits
            problem = ReadingError(name, "holds a number of thousands of digits", row=row, line=line)
        else:
            yield row, line, value
            continue
        if refused is None:
            raise problem
        refused(problem)


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs, as a decoder's hook.

    Raises:
        ValueError: a name stands twice. It is not quoted: within values names may be data.
    """
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _RepeatedNameError
    return made


def _object(written: bytes, decoder: json.JSONDecoder) -> dict[str, Any]:
    text = written.decode("utf-8")
    try:
        value = decoder.decode(text)
    except _RepeatedNameError:
        raise _repeated(text) from None
    if not isinstance(value, dict):
        raise _OddError("is JSON and no object; write one object a line")
    if _ESCAPE in text and _HALF.search(text) and (place := _half_pair(value)) is not None:
        if not place:
            raise _OddError(
                "has a name with half a surrogate pair, which is no text; write the whole character"
            )
        raise _OddError("holds half a surrogate pair, which is no text; write the whole character", place)
    return value


def _repeated(text: str) -> _RepeatedNameError:
    """Which name stands twice, or below which column one does."""
    pairs = json.JSONDecoder(object_pairs_hook=_Pairs, parse_float=str, parse_int=str).decode(text)
    if not isinstance(pairs, _Pairs):
        return _RepeatedNameError()
    if (twice := _twice(pairs)) is not None:
        return _RepeatedNameError(twice)
    return _RepeatedNameError(column=next(name for name, value in pairs if _repeats(value)))


def _twice(pairs: _Pairs) -> str | None:
    names: set[str] = set()
    for name, _ in pairs:
        if name in names:
            return name
        names.add(name)
    return None


def _repeats(value: Any) -> bool:
    """Whether a name stands twice in an object within."""
    if isinstance(value, _Pairs):
        return _twice(value) is not None or any(_repeats(each) for _, each in value)
    return isinstance(value, list) and any(map(_repeats, value))


def _half_pair(value: dict[str, Any]) -> str | None:
    """The first column that holds half a surrogate pair, empty where its name does; None where none does."""
    if not all(map(is_text, value)):
        return ""
    return next((column for column, each in value.items() if not _is_whole(each)), None)


def _is_whole(value: Any) -> bool:
    """Whether all texts within are texts, names included."""
    match value:
        case str():
            return is_text(value)
        case dict():
            return all(map(is_text, value)) and all(map(_is_whole, value.values()))
        case list():
            return all(map(_is_whole, value))
    return True


def _finite(literal: str) -> float:
    number = float(literal)
    if not math.isfinite(number):
        raise _OddError("holds a number beyond any float; write a smaller one, or a text")
    return number


def _no_constant(constant: str) -> float:
    raise _OddError(f"holds {constant}, which JSON does not have; write null where there is no number")


def _explained(problem: json.JSONDecodeError) -> str:
    """What is wrong with a line, without a word of it."""
    before, after = problem.doc[: problem.pos].rstrip(), problem.doc[problem.pos :].strip()
    where = f"at character {problem.pos + 1:,}"
    if problem.msg.startswith("Extra data"):
        return f"something stands behind its end, {where}"
    if problem.msg.startswith("Unterminated string") or (
        problem.msg.startswith("Invalid control") and not after
    ):
        return f"a text is not closed, {where}"
    if problem.msg.startswith("Invalid control character"):
        return f"a control character stands unescaped in a text, {where}"
    if not after:
        return "it ends in the middle"
    closing = after[1:].lstrip() if after.startswith(",") else after if before.endswith(",") else ""
    if closing.startswith(("}", "]")):
        return f"a comma stands before a closing bracket, {where}"
    return f"it cannot go on as it does {where}"
