"""Which strings are texts, and how a message shows one that may not be.

Python's strings can hold halves of surrogate pairs: JSON may spell them, and bytes of arguments and file names that the
locale cannot decode become them. UTF-8 has no form for them, so no file, table or database of ours can hold one.
"""

import os
import re
from typing import Final

_SHOWN_SIGNS: Final = 120
_LONG_WORD: Final = re.compile(r"\S{300,}")


def is_text(text: str) -> bool:
    """Whether UTF-8 can hold it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def quoted(text: str) -> str:
    """A string for a message: between quotes, on one line, what is no text escaped as bytes or as JSON does, not too long."""
    try:
        escaped = os.fsencode(text).decode("utf-8", "backslashreplace") if not is_text(text) else text
    except UnicodeEncodeError:
        escaped = text  # half of a pair that stands for no byte: repr shows it as \ud83d
    inner = repr(escaped)[1:-1].replace("\\\\x", "\\x")
    whole = f"'{inner}'"
    return whole if len(whole) <= _SHOWN_SIGNS else f"{whole[:_SHOWN_SIGNS]}…' ({len(text):,} characters)"


def without_long_words(message: str) -> str:
    """A message in which nobody has to look for the end of a word: an argument may be quoted in it, however long."""
    return _LONG_WORD.sub(lambda word: f"{word[0][:_SHOWN_SIGNS]}…({len(word[0]):,} characters)", message)
