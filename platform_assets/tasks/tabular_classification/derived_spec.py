r"""Columns that a spec makes of others: what may be said, and what they go back to.

| form | what it is | missing where |
|---|---|---|
| `{time: a, plus_minutes: b}` | the time in a, and so many minutes (hours, days) as b has later | a or b is |
| `{joined: [a, b]}` | the texts of a and b with `|` between; `\` stands before a `|` or `\` of their own | one of them is |
| `{number: a, above: 15}` | whether a is above 15: true or false | a is |
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from platform_assets.manifest import AddedLater, Many, Section

Made = Literal["time", "text", "truth"]
"""What a derived column holds."""
PLUS: Final = ("plus_minutes", "plus_hours", "plus_days")
COMPARED: Final = ("above", "at_least", "below", "at_most")
_LARGEST: Final = 2**53
"""Integers beyond it have no canonical JSON."""
_FEWEST_JOINED: Final = 2
_ROLES: Final[Mapping[Made, tuple[str, ...]]] = {
    "time": ("time", "available"),
    "text": ("key", "group", "target", "categorical", "ordinal"),
    "truth": ("key", "group", "target", "categorical", "ordinal"),
}
_SAID: Final[Mapping[Made, str]] = {"time": "a time", "text": "a text", "truth": "true or false"}

Source = Annotated[str, Field(min_length=1)]
Constant = Annotated[int | float, Field(ge=-_LARGEST, le=_LARGEST)]


class DerivedSpec(Section):
    """One column that is made of others; it has one of `time`, `joined` and `number`."""

    time: Source | None = None
    """A column of times, to which the next are added."""
    plus_minutes: Source | None = None
    """A column of numbers: so many minutes later. To the microsecond; below zero it is earlier."""
    plus_hours: Source | None = None
    """Likewise, hours of 60 minutes."""
    plus_days: Source | None = None
    """Likewise, days of 24 hours."""
    joined: Many[Source] = ()
    """Columns whose texts become one, as `UA|EWR`; different texts never become the same."""
    number: Source | None = None
    """A column of numbers, compared with one of the next; exactly, however many digits it has."""
    above: Constant | None = None
    """True where the number is greater."""
    at_least: Constant | None = None
    """True where the number is the same or greater."""
    below: Constant | None = None
    """True where the number is less."""
    at_most: Constant | None = None
    """True where the number is the same or less."""

    @model_validator(mode="after")
    def _is_of_one_form(self) -> Self:
        forms = [name for name in ("time", "joined", "number") if getattr(self, name)]
        if len(forms) != 1:
            raise ValueError(
                "a derived column has one of `time`, `joined` and `number`, as "
                "{time: ordered, plus_days: delay}, {joined: [shop, till]} or {number: delay, above: 15}"
            )
        parts: Mapping[str, tuple[str, ...]] = {"time": PLUS, "joined": (), "number": COMPARED}
        for form, names in parts.items():
            if form != forms[0] and (said := next((name for name in names if self._says(name)), None)):
                raise ValueError(f"{said}: belongs to `{form}`, and this column has `{forms[0]}`; remove it")
        if self.time and not any(map(self._says, PLUS)):
            raise ValueError(f"time: nothing is added to it; say {' or '.join(PLUS)}")
        if self.number and sum(map(self._says, COMPARED)) != 1:
            raise ValueError(f"number: is compared with one constant; say one of {', '.join(COMPARED)}")
        if self.joined and len(self.joined) < _FEWEST_JOINED:
            raise ValueError("joined: one column is joined with nothing; name two or more")
        return self

    def _says(self, name: str) -> bool:
        return getattr(self, name) is not None

    @property
    def makes(self) -> Made:
        """What it holds."""
        return "time" if self.time else "text" if self.joined else "truth"

    @property
    def plus(self) -> dict[str, str]:
        """The column of what is added, by field."""
        return {name: column for name in PLUS if (column := getattr(self, name)) is not None}

    @property
    def comparison(self) -> tuple[str, int | float]:
        """How its number is compared, and with what."""
        return next((name, getattr(self, name)) for name in COMPARED if self._says(name))

    def reads(self) -> Iterator[tuple[str, str]]:
        """(field, column) of all that it is made of."""
        for name in ("time", *PLUS, "number"):
            if self._says(name):
                yield name, getattr(self, name)
        for column in self.joined:
            yield "joined", column


Derived = Annotated[dict[Annotated[str, Field(min_length=1)], DerivedSpec], AddedLater({})]


@dataclass(frozen=True, slots=True)
class Lineage:
    """What derived columns go back to."""

    derived: Mapping[str, DerivedSpec]
    """By name; each is made of raw columns and of derived ones before it."""

    def raw(self, name: str) -> frozenset[str]:
        """The columns of the source that a column is made of; of a raw one itself."""
        if name not in self.derived:
            return frozenset({name})
        made = self.needed({name: None}).values()
        return frozenset(column for each in made for _, column in each.reads() if column not in self.derived)

    def needed(self, names: Mapping[str, object]) -> dict[str, DerivedSpec]:
        """The derived columns that these are or are made of, in order."""
        wanted = set(names)
        for name, each in reversed(list(self.derived.items())):
            if name in wanted:
                wanted |= {column for _, column in each.reads()}
        return {name: each for name, each in self.derived.items() if name in wanted}


def refused_derivations(derived: Mapping[str, DerivedSpec], roles: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with derived columns beside each other and by the roles that they are given.

    Args:
        derived: By name, as the spec lists them.
        roles: Role by column.
    """
    before: dict[str, DerivedSpec] = {}
    for name, each in derived.items():
        for field, column in each.reads():
            where = f"derived.{name}.{field}"
            if column == name:
                yield f"{where}: {name} is made of itself; name another column, or give it another name than its source"
            elif column in derived and column not in before:
                yield f"{where}: {column} is stated after it; a column is made of those before it, so put it first"
            elif column in before and (wanted := _refused_kind(field, before[column].makes)):
                yield f"{where}: {column} is {_SAID[before[column].makes]}, and {wanted} is needed"
        before[name] = each
        if name in roles and roles[name] not in _ROLES[each.makes]:
            yield (
                f"columns.{name}: is {_SAID[each.makes]}, which is no {roles[name]}; give it the role "
                f"{' or '.join(_ROLES[each.makes])}"
            )
    needed = Lineage(derived).needed(roles)
    for name in derived:
        if name not in needed:
            yield f"derived.{name}: nothing reads it; give it a role under columns, or remove it"


def told_by_the_target(
    derived: Mapping[str, DerivedSpec], target: str, roles: Mapping[str, str]
) -> Iterator[str]:
    """Columns that are made of what the target is made of: whoever reads them is told the answer.

    Only when something became known may follow from it.
    """
    lineage = Lineage(derived)
    of_target = lineage.raw(target)
    for name, role in roles.items():
        if name != target and role != "available" and (shared := sorted(of_target & lineage.raw(name))):
            how = "is" if name in shared else f"is made of {shared[0]},"
            yield (
                f"columns.{name}: {how} what the target {target} is made of, so it tells the answer; remove it from columns"
            )


def misfit(
    derived: Mapping[str, DerivedSpec], raw: Mapping[str, str], numeric: Collection[str] = ()
) -> tuple[tuple[str, ...], str] | None:
    """Field and problem of the first derived column that these raw columns do not give.

    Args:
        derived: By name.
        raw: Type by column, as the contract states them.
        numeric: The columns that are read as numbers.
    """
    for name, each in derived.items():
        if name in raw:
            return (
                ("derived", name),
                f"the contract states a raw column {name}; give what is derived another name",
            )
        for field, column in each.reads():
            if column in derived:
                continue
            if column not in raw:
                return (
                    ("derived", name, field),
                    f"the contract states no raw column {column}; known are {', '.join(raw)}",
                )
            if raw[column] not in _RAW[field]:
                wanted = " or ".join(_RAW[field])
                return (
                    ("derived", name, field),
                    f"the contract states {column} as {raw[column]}, and {wanted} is needed",
                )
            # Whoever asks gives a number, whose text is neither `true` nor `05`.
            if field == "joined" and column in numeric and raw[column] != "integer":
                problem = (
                    f"the contract states {column} as {raw[column]}, and columns.{column} is numeric: who asks gives a number, "
                    "whose text may be another; give it the role categorical"
                )
                return ("derived", name, field), problem
    return None


_RAW: Final[Mapping[str, tuple[str, ...]]] = {
    "time": ("timestamp", "string"),  # formats without times write them as text
    **dict.fromkeys((*PLUS, "number"), ("integer", "number")),
    "joined": ("string", "integer", "boolean"),  # a decimal has several spellings
}


def _refused_kind(field: str, made: Made) -> str | None:
    """What a field needs, where a column of this kind is none."""
    if field == "time":
        return None if made == "time" else _SAID["time"]
    if field == "joined":
        return "a text, a number or a truth value" if made == "time" else None
    return "a number of the source"
