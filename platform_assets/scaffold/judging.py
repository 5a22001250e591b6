"""What becomes of each column: the role that it gets, or why it is left out, and what is suspicious about it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from platform_assets.scaffold.association import separation, twins
from platform_assets.scaffold.errors import ScaffoldError
from platform_assets.scaffold.look import MOST_CATEGORIES, Column
from platform_assets.scaffold.personal import is_protected, personal_by_name, personal_by_values, words_of
from platform_assets.scaffold.target import Target
from platform_assets.scaffold.yaml_text import percent

Role = Literal["key", "target", "numeric", "categorical", "time"]

LEAK_AUC: Final = 0.98
"""A column that tells the target so well alone is most likely written down after it was known."""
STRONG_AUC: Final = 0.9
NEARLY_EMPTY: Final = 0.95
MOST_CATEGORIES_SHARE: Final = 0.05
"""Of the rows: more categories have too few rows each to learn anything of them."""
_FREE_TEXT_WORDS: Final = 4
_MANY: Final = 0.5
"""Distinct values by row: from here on an integer is rather a number of somebody than of something counted."""
_IDENTIFIERS: Final = frozenset(
    {"id", "ids", "key", "uuid", "guid", "identifier", "number", "no", "nr", "num"}
)


@dataclass(frozen=True, slots=True)
class Judged:
    """A column, and what becomes of it."""

    column: Column
    role: Role | None
    """None where it is left out."""
    suspicion: str = ""
    """What somebody should look at, in words and without a value of the column; empty where there is nothing."""

    @property
    def name(self) -> str:
        """The column's name."""
        return self.column.name


def judge(columns: Sequence[Column], target: Target, *, reserved: Collection[str]) -> tuple[Judged, ...]:
    """What becomes of each column, in order.

    Args:
        columns: All of a file.
        target: One of them.
        reserved: Names that the tables of a line use themselves.

    Raises:
        ScaffoldError: no column is left to tell the target from.
    """
    others = [column for column in columns if column is not target.column]
    key = next((column for column in others if _is_key(column)), None)
    time = next((column for column in others if column.kind == "time" and _is_plain(column)), None)
    seen: dict[str, str] = {target.column.name.casefold(): target.column.name}
    found: dict[str, Judged] = {}
    for column in others:
        earlier = seen.setdefault(column.name.casefold(), column.name)
        why = _reserved(column, earlier, reserved) or ("" if column is key else _left_out(column, target))
        if not why and column.kind == "time" and column is not time:
            why = (
                f"a second time beside {_quoted(time)}; a line has one"
                if time
                else "a time that is often missing"
            )
        found[column.name] = Judged(column, None if why else _role(column, key), why)
    found = _without_twins(found)
    found = {name: _marked(judged, target) for name, judged in found.items()}
    if not any(judged.role in ("numeric", "categorical") for judged in found.values()):
        reasons = "; ".join(
            f"{name}: {judged.suspicion}" for name, judged in list(found.items())[:MOST_CATEGORIES]
        )
        raise ScaffoldError(f"no column is left to tell {target.column.name!r} from ({reasons})")
    return tuple(found.get(column.name) or Judged(column, "target") for column in columns)


def _role(column: Column, key: Column | None) -> Role:
    if column is key:
        return "key"
    if column.kind == "time":
        return "time"
    return "numeric" if column.is_numeric else "categorical"


def _is_key(column: Column) -> bool:
    """Whether each row has an identifier of its own in here, which is no personal data by itself."""
    words = words_of(column.name)
    return (
        column.is_unique
        and column.kind in ("integer", "string")
        and bool(words)
        and (words[-1] in _IDENTIFIERS or words[0] == "id" or words[-1].endswith("id"))
        and not _personal(column)
    )


def _is_plain(column: Column) -> bool:
    return not column.missing and column.distinct > 1 and not _personal(column)


def _reserved(column: Column, earlier: str, reserved: Collection[str]) -> str:
    if column.name.casefold() in reserved:
        return "its name is that of a column which the platform adds; rename it in the file to use it"
    if column.name != earlier:
        return f"its name differs from {earlier!r} in case only; rename one of them in the file to use it"
    return ""


def _left_out(column: Column, target: Target) -> str:
    """Why the column is not used; empty where it is."""
    if column.kind == "empty":
        return "empty in every row"
    if column.is_constant:
        return "the same value in every row"
    if column.missing_share >= NEARLY_EMPTY:
        return f"empty in {percent(column.missing_share)} of the rows"
    if what := _personal(column):
        return f"personal data: {what}"
    auc = separation(column.codes, column.numbers, target.label)
    if auc >= LEAK_AUC:
        return f"tells the target alone (AUC {auc:.3f}): most likely written down after it was known"
    if column.is_counter:
        return "the number of the row"
    if column.oddity:
        return column.oddity
    if column.kind != "string":
        return ""
    if column.is_unique:
        return "another value in every row; if it says whose the row is, its role is key"
    if column.distinct > MOST_CATEGORIES or column.distinct > MOST_CATEGORIES_SHARE * column.rows:
        return f"{column.distinct:,} categories, too many to learn from; group them in the file"
    return ""


def _personal(column: Column) -> str:
    """What of people the column holds, in words; empty where nothing."""
    identifies = column.distinct > MOST_CATEGORIES or column.distinct > MOST_CATEGORIES_SHARE * column.rows
    if not identifies:
        return ""  # `phone_service` with its yes and no
    if column.kind == "string":
        found = personal_by_values(column.sample) or personal_by_name(column.name)
        return found or ("free text" if column.whole_words >= _FREE_TEXT_WORDS else "")
    if column.kind == "time" or (column.kind == "integer" and column.distinct > _MANY * column.rows):
        return personal_by_name(column.name) or personal_by_values(column.sample)
    return ""


def _without_twins(found: dict[str, Judged]) -> dict[str, Judged]:
    """Of columns that say the same, the first one only."""
    used = [judged for judged in found.values() if judged.role in ("numeric", "categorical")]
    same = twins([(judged.column.codes, judged.column.numbers) for judged in used])
    kept: set[int] = set()
    result = dict(found)
    for at, (judged, earlier) in enumerate(zip(used, same, strict=True)):
        original = next((each for each in earlier if each in kept), None)
        if original is None:
            kept.add(at)
        else:
            result[judged.name] = Judged(judged.column, None, f"says the same as {used[original].name!r}")
    return result


def _marked(judged: Judged, target: Target) -> Judged:
    """A used column with what is suspicious about it all the same."""
    column = judged.column
    if judged.role not in ("numeric", "categorical"):
        return judged
    marks = []
    auc = separation(column.codes, column.numbers, target.label)
    if auc >= STRONG_AUC:
        marks.append(f"tells much of the target alone (AUC {auc:.3f}): is it known beforehand?")
    if is_protected(column.name):
        marks.append("nobody may be treated worse for it: may the model use it?")
    if column.kind == "integer" and column.is_unique:
        marks.append("another value in every row: is it an identifier?")
    return Judged(column, judged.role, "; ".join(marks))


def _quoted(column: Column | None) -> str:
    return repr(column.name) if column else ""
