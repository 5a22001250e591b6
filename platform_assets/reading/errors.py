"""The one error of reading: where in which file, and what to do; never what stands there."""

from resources.errors import PlatformError

_LONGEST_NAME = 64
"""In a file without a header the first row is taken for one; whatever is longer is shown by its position."""


class ReadingError(PlatformError):
    """A file is not what its ending says, or holds what cannot be kept as it is."""

    def __init__(
        self,
        name: str,
        reason: str,
        *,
        row: int | None = None,
        line: int | None = None,
        column: str | None = None,
    ) -> None:
        """The sentence of all parts.

        Args:
            name: What the file is called.
            reason: What is wrong and what to do; holds no value, and no text of a library.
            row: Number of the row, from 1, a header not counted.
            line: Number of the line in the file that the row begins with, from 1.
            column: Which column, as `column_label` has it.
        """
        self.row, self.line, self.column, self.reason = row, line, column, reason
        places = [] if row is None else [f"row {row:,}" + (f" (line {line:,})" if line is not None else "")]
        places += [] if column is None else [column]
        super().__init__(": ".join(part for part in (name, ", ".join(places), reason) if part))


def column_label(name: str, position: int) -> str:
    """A column by its position, from 1, and by its name unless that looks like a cell of a file without a header."""
    looks_like_a_name = 0 < len(name) <= _LONGEST_NAME and name.isprintable() and not _is_number(name)
    return f"column {position} ({name!r})" if looks_like_a_name else f"column {position}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
