"""YAML as a person would write it, and as readers of YAML 1.1 and 1.2 agree to read it."""

import json
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from platform_assets.yaml_scalars import is_text

WIDTH: Final = 110
_COMMENT_COLUMN: Final = 38
"""Where comments beside entries begin, unless the entries are longer."""

# What begins with a letter and holds nothing that has a meaning in YAML is text to every reader, but for words that
# stand for something else to one of them (`is_text`), and to people.
_PLAIN: Final = re.compile(r"[A-Za-z](?:[A-Za-z0-9_./+()-]|[ ](?=[A-Za-z0-9(]))*", re.ASCII)
_WORD: Final = re.compile("none|nan|inf|infinity", re.IGNORECASE)

# JSON leaves these as they are; in YAML they are line breaks, or may not stand in a file.
_UNPRINTABLE: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


def scalar(value: str | float | bool | None) -> str:  # noqa: FBT001
    """A value as YAML text that stands anywhere, in a flow collection and as a key too.

    Raises:
        ValueError: a number is not finite.
    """
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _number(value)
    if (
        _PLAIN.fullmatch(value)
        and is_text(value)
        and not _WORD.fullmatch(value)
        and not value.endswith((".", "-", "+", "/"))
    ):
        return value
    if "\\" in value and value.isascii() and value.isprintable():
        return "'" + value.replace("'", "''") + "'"  # a regular expression reads as it is
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


def flow(value: Any) -> str:
    """A value, a list or a mapping on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(str(key))}: {flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


def comment(text: str, *, indent: int = 0) -> str:
    """Lines of comment, wrapped; ends with a line break."""
    prefix = " " * indent + "# "
    lines = textwrap.wrap(text, WIDTH - len(prefix), break_long_words=False, break_on_hyphens=False)
    return "".join(f"{prefix}{line}\n" for line in lines)


def entries(rows: Iterable[Sequence[str]], *, indent: int = 0) -> str:
    """Lines of (text, comment): comments stand below each other, and those that are too long above their text."""
    written = ""
    for text, said in rows:
        line = " " * indent + text
        beside = f"{line:<{_COMMENT_COLUMN}}  # {said}"
        if not said:
            written += f"{line}\n"
        elif len(beside) <= WIDTH:
            written += f"{beside}\n"
        else:
            written += comment(said, indent=indent) + f"{line}\n"
    return written


def entry(key: str, value: Mapping[str, Any], *, indent: int) -> str:
    """A mapping under its key: on one line where it fits, else a line for each of its keys and lists wrapped."""
    margin = " " * indent
    line = f"{margin}{key}: {flow(value)}"
    if len(line) <= WIDTH:
        return f"{line}\n"
    written = f"{margin}{key}:\n"
    for name, each in value.items():
        if isinstance(each, list | tuple):
            written += (
                f"{margin}  {scalar(name)}: [" + _wrapped([flow(item) for item in each], indent + 4) + "]\n"
            )
        else:
            written += f"{margin}  {scalar(name)}: {flow(each)}\n"
    return written


def one_line(text: str) -> str:
    """The text as it may stand in a comment or on a terminal: quoted where it is not plainly printable."""
    return text if text.isprintable() else json.dumps(text)


def percent(share: float) -> str:
    """A share as text, to a tenth where it is not whole: `14.1 %`. What is there is never told as nothing."""
    rounded = round(100 * share, 1)
    return "under 0.1 %" if share > 0 and not rounded else f"{rounded:g} %"


def _wrapped(items: Sequence[str], indent: int) -> str:
    """Items on as few lines as there must be; a line breaks between two of them, never within one."""
    margin, lines = " " * indent, [""]
    for at, item in enumerate(items):
        text = item + ("," if at < len(items) - 1 else "")
        if lines[-1] and len(margin) + len(lines[-1]) + 1 + len(text) <= WIDTH:
            lines[-1] += f" {text}"
        else:
            lines.append(text)
    return "".join(f"\n{margin}{line}" for line in lines[1:])


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError(f"{value} has no place in a manifest; give a finite number")
    text = repr(value)
    mantissa, exponent, power = text.partition("e")
    # YAML 1.1 knows no exponent without a point before it.
    return f"{mantissa}.0e{power}" if exponent and "." not in mantissa else text
