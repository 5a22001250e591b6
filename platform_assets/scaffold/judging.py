"""What becomes of each column: the role that it gets, or why it is left out, and what is suspicious about it."""

import re
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
FEWEST_OF_A_CATEGORY: Final = 30
"""Rows that the commonest category must have: so many that its training rows are enough to be kept."""
_FREE_TEXT_WORDS: Final = 4
_MANY: Final = 0.5
"""Distinct values by row: from here on an integer is rather a number of somebody than of something counted."""
_IDENTIFIER: Final = re.compile(
    "id|key|uuid|guid|identifier|"
    "(customer|client|user|account|member|patient|person|employee|applicant|order|loan|case|session|transaction)id"
)
_NUMBER: Final = re.compile("number|no|nr|num")
"""`AccountNo` is an identifier where no two rows share it, else it may count something."""
_CODE: Final = re.compile("code|zip|zipcode|postcode")


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
    strength = {column.name: separation(column.codes, column.numbers, target.label) for column in others}
    taken = _taken_names(columns, target, reserved)
    usable = [column for column in others if column.name not in taken]
    key = min(filter(_may_be_key, usable), key=lambda column: not column.is_unique, default=None)
    time = next((column for column in usable if column.kind == "time" and _is_plain(column)), None)
    found: dict[str, Judged] = {}
    for column in others:
        if column is key or column is time:
            found[column.name] = Judged(column, "key" if column is key else "time")
        elif why := taken.get(column.name) or _left_out(column, strength[column.name]):
            found[column.name] = Judged(column, None, why)
        elif column.kind == "time":
            found[column.name] = Judged(column, None, "a time; a line has one, which is known of every row")
        else:
            found[column.name] = Judged(column, "categorical" if _is_category(column) else "numeric")
    found = _without_twins(found)
    found = {name: _marked(judged, strength[name]) for name, judged in found.items()}
    if not any(judged.role in ("numeric", "categorical") for judged in found.values()):
        reasons = "; ".join(
            f"{name}: {judged.suspicion}" for name, judged in list(found.items())[:MOST_CATEGORIES]
        )
        raise ScaffoldError(f"no column is left to tell {target.column.name!r} from ({reasons})")
    return tuple(found.get(column.name) or Judged(column, "target") for column in columns)


def _taken_names(columns: Sequence[Column], target: Target, reserved: Collection[str]) -> dict[str, str]:
    """Why a column cannot be used under its name, by its name."""
    taken, seen = {}, {target.column.name.casefold(): target.column.name}
    for column in columns:
        earlier = seen.setdefault(column.name.casefold(), column.name)
        if column is target.column:
            continue
        if column.name.casefold() in reserved:
            taken[column.name] = (
                "its name is that of a column which the platform adds; rename it in the file to use it"
            )
        elif column.name != earlier:
            taken[column.name] = (
                f"its name differs from {earlier!r} in case only; rename one of them in the file to use it"
            )
    return taken


def _may_be_key(column: Column) -> bool:
    """Whether it can tell whose a row is, without being personal data by itself."""
    *_, last = words_of(column.name) or [""]
    named = _IDENTIFIER.fullmatch(last) or (column.is_unique and _NUMBER.fullmatch(last))
    return (
        bool(named)
        and column.kind in ("integer", "string")
        and not column.missing
        and _is_many(column)
        and not _personal(column)
    )


def _is_plain(column: Column) -> bool:
    return not column.missing and column.distinct > 1 and not _personal(column)


def _is_many(column: Column) -> bool:
    """Whether there are more different values than anything can be learnt of, or than hide who is who."""
    return column.distinct > min(MOST_CATEGORIES, MOST_CATEGORIES_SHARE * column.rows)


def _is_code(column: Column) -> bool:
    """Whether its numbers name something, so that their size means nothing."""
    *_, last = words_of(column.name) or [""]
    return column.kind == "integer" and bool(_IDENTIFIER.fullmatch(last) or _CODE.fullmatch(last))


def _is_category(column: Column) -> bool:
    """Whether its values are categories, if it is used as what a model learns from."""
    return column.kind != "time" and (not column.is_numeric or _is_code(column))


def _left_out(column: Column, auc: float) -> str:
    """Why the column is not used; empty where it is."""
    if column.kind == "empty":
        return "empty in every row"
    if column.is_constant:
        return "the same value in every row"
    if column.missing_share >= NEARLY_EMPTY:
        return f"empty in {percent(column.missing_share)} of the rows"
    if what := _personal(column):
        return f"personal data: {what}"
    if auc >= LEAK_AUC:
        return f"tells the target alone (AUC {auc:.3f}): most likely written down after it was known"
    if column.is_counter:
        return "the number of the row"
    if column.oddity:
        return column.oddity
    if _is_code(column) and _is_many(column):
        return (
            "an identifier, whose size means nothing; where rows of one value belong together, its role is group, and the "
            "split is by group"
        )
    if column.kind == "string" and column.is_unique:
        return "another value in every row; if it says whose the row is, its role is key"
    if column.kind == "string" and _is_many(column):
        return f"{column.distinct:,} categories, too many to learn from; group them in the file"
    if _is_category(column) and column.commonest[0][1] < FEWEST_OF_A_CATEGORY:
        return f"no category has {FEWEST_OF_A_CATEGORY} rows, too few to learn from; group them in the file"
    return ""


def _personal(column: Column) -> str:
    """What of people the column holds, in words; empty where nothing."""
    if column.kind in ("number", "boolean", "empty"):
        return ""
    if found := personal_by_values(column.sample):
        return found
    # A name alone says nothing of few values: `phone_service` with its yes and no.
    if not _is_many(column) or (column.kind == "integer" and column.distinct <= _MANY * column.rows):
        return ""
    if found := personal_by_name(column.name):
        return found
    return "free text" if column.kind == "string" and column.whole_words >= _FREE_TEXT_WORDS else ""


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


def _marked(judged: Judged, auc: float) -> Judged:
    """A used column with what is suspicious about it all the same."""
    column = judged.column
    if judged.role not in ("numeric", "categorical"):
        return judged
    marks = []
    if auc >= STRONG_AUC:
        marks.append(f"tells much of the target alone (AUC {auc:.3f}): is it known beforehand?")
    if is_protected(column.name):
        marks.append("nobody may be treated worse for it: may the model use it?")
    if column.kind == "integer" and column.is_unique:
        marks.append("another value in every row: is it an identifier?")
    return Judged(column, judged.role, "; ".join(marks))
