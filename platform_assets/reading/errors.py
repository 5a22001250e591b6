"""The one error of reading: where in which file, and what to do; never what stands there."""

from resources.errors import PlatformError

_LONGEST_NAME = 64


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


def shown_name(name: str) -> str:
    """A name as messages have it: quoted, in one line, cut where it is long."""
    return ascii(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…")


def column_label(name: str, position: int, *, is_named: bool) -> str:
    """A column in messages.

    Args:
        name: What it is called.
        position: Where it stands, from 1.
        is_named: Whether the name is one for sure. Where a csv file has no header, cells of its first row stand in
            the place of names, and no message quotes a cell.
    """
    return f"column {shown_name(name)}" if is_named else f"column {position}"
