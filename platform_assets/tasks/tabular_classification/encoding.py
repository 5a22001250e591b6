"""Columns of a table become numbers, the same way offline and online.

| kind | its number | missing | a category that fewer than `FEWEST_ROWS` training rows have |
|---|---|---|---|
| number | itself | NaN | |
| ordinal | its place in the order, from 0 | NaN | refused, the order is all there is |
| category | its place among the other categories of training rows, sorted, from 0 | NaN | `UNKNOWN` |

What is fitted lies beside every model and outlives an erasure (docs/adr/0028), so it is kept from telling of anybody.
Nothing is filled in or scaled here: what a missing value or an unknown category means is the model's to learn.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import numpy as np
import rfc8785
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic import ValidationError as PydanticValidationError

from platform_assets.features.errors import FeatureError
from platform_assets.models.errors import InstanceError
from platform_assets.tasks.tabular_classification.spec import ColumnSpec
from platform_assets.tasks.tabular_classification.values import number_of, text_of

if TYPE_CHECKING:
    import pyarrow as pa

ENCODING_FILE: Final = "encoding.json"
UNKNOWN: Final = -1.0
MOST_CATEGORIES: Final = 255
"""So many have a bin of their own in gradient boosting."""
FEWEST_ROWS: Final = 10
"""Training rows of a category. What fewer have may be what a single person wrote, and teaches a model next to nothing."""
Kind = Literal["number", "category", "ordinal"]
KINDS: Final[Mapping[str, Kind]] = {"numeric": "number", "categorical": "category", "ordinal": "ordinal"}
"""Kind by the role of a column."""


class EncodedColumn(BaseModel):
    """How one column becomes numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    values: tuple[str, ...] = ()
    """Of an ordinal or a category: the value of each number, from 0."""


class Encoding(BaseModel):
    """How rows become numbers, as it was fitted on training rows; travels as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[EncodedColumn, ...]

    @classmethod
    def fit(cls, train: "pa.Table", features: Mapping[str, ColumnSpec]) -> Self:
        """The encoding of these features.

        Args:
            train: Rows of split `train`, as the ingestion prepared them.
            features: The columns to encode, by name, in order.

        Raises:
            FeatureError: a column has no value in any row, or has no category of `FEWEST_ROWS`, or more than
                `MOST_CATEGORIES` of them.
        """
        return cls(columns=tuple(_fitted(train, name, column) for name, column in features.items()))

    @property
    def names(self) -> list[str]:
        """Names of the columns, in order."""
        return [column.name for column in self.columns]

    def rows(self, table: "pa.Table") -> NDArray[np.float64]:
        """The numbers of rows of a dataset, shape (rows, columns)."""
        return self._matrix(
            (
                table[column.name].to_numpy() if column.kind == "number" else table[column.name].to_pylist()
                for column in self.columns
            ),
            table.num_rows,
        )

    def instances(self, instances: Sequence[JsonValue]) -> NDArray[np.float64]:
        """The numbers of what somebody asks about, shape (instances, columns); see `read`.

        Raises:
            InstanceError: as `read`.
        """
        return self.encoded(self.read(instances))

    def encoded(self, read: Sequence[Mapping[str, float | str]]) -> NDArray[np.float64]:
        """The numbers of values that `read` gave, shape (instances, columns); further fields are passed over."""
        return self._matrix(
            (
                [each.get(column.name, np.nan if column.kind == "number" else None) for each in read]
                for column in self.columns
            ),
            len(read),
        )

    def read(self, instances: Sequence[JsonValue]) -> list[dict[str, float | str]]:
        """The values that are there of each instance, by column: an object like `{"Income": 129, "Home": "rent"}`.

        A key that is not there, or null, is a missing value.

        Raises:
            InstanceError: one is no object, or has a key that is no column, or a value of another type.
        """
        return [self._read(instance, f"instance {at}") for at, instance in enumerate(instances, start=1)]

    def to_bytes(self) -> bytes:
        """As canonical JSON: equal encodings have equal bytes."""
        return rfc8785.dumps(self.model_dump(mode="json"))

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The encoding that was written.

        Raises:
            FeatureError: it is none.
        """
        try:
            return cls.model_validate_json(content)
        except PydanticValidationError as problem:
            raise FeatureError(
                f"{ENCODING_FILE}: is no encoding ({problem.error_count()} problems)"
            ) from None

    def _matrix(self, columns: Iterable[Sequence[Any]], rows: int) -> NDArray[np.float64]:
        numbers = [_numbers(column, values) for column, values in zip(self.columns, columns, strict=True)]
        return np.stack(numbers, axis=1) if numbers else np.empty((rows, 0))

    def _read(self, instance: JsonValue, where: str) -> dict[str, float | str]:
        if not isinstance(instance, dict):
            raise InstanceError(f"{where}: is no object; give one with some of {', '.join(self.names)}")
        if unknown := [name for name in instance if name not in self.names]:
            raise InstanceError(f"{where}: {unknown[0]}: is no field; known are {', '.join(self.names)}")
        return {
            column.name: _read_value(column, value, f"{where}: {column.name}")
            for column in self.columns
            if (value := instance.get(column.name)) is not None
        }


def _read_value(column: EncodedColumn, value: JsonValue, where: str) -> float | str:
    if column.kind == "number":
        if isinstance(value, bool | str):
            raise InstanceError(f"{where}: is no number; write it without quotes")
        try:
            return number_of(value)
        except ValueError as problem:
            raise InstanceError(f"{where}: {problem}") from None
    if not isinstance(value, str | int):  # a bool is an int
        raise InstanceError(f"{where}: is no category; give a text, a whole number, true or false")
    text = text_of(value)
    if column.kind == "ordinal" and text not in column.values:
        raise InstanceError(f"{where}: is none of {', '.join(column.values)}")
    return text


def _fitted(train: "pa.Table", name: str, column: ColumnSpec) -> EncodedColumn:
    values = train[name].drop_null()
    if not len(values):
        raise FeatureError(f"column {name!r} has no value in any training row; remove it from columns")
    kind = KINDS[column.role]
    match kind:
        case "number":
            return EncodedColumn(name=name, kind=kind)
        case "ordinal":
            return EncodedColumn(name=name, kind=kind, values=tuple(map(text_of, column.order)))
        case "category":
            categories = sorted(
                each["values"] for each in values.value_counts().to_pylist() if each["counts"] >= FEWEST_ROWS
            )
            if not categories:
                raise FeatureError(
                    f"column {name!r} has no category that {FEWEST_ROWS} training rows have; put rare ones together in "
                    "the source, or say feature: false"
                )
            if len(categories) > MOST_CATEGORIES:
                raise FeatureError(
                    f"column {name!r} has {len(categories)} categories, and at most {MOST_CATEGORIES} can be told "
                    "apart; put rare ones together in the source, or say feature: false"
                )
            return EncodedColumn(name=name, kind=kind, values=tuple(categories))


def _numbers(column: EncodedColumn, values: Sequence[Any]) -> NDArray[np.float64]:
    if column.kind == "number":
        return np.asarray(values, dtype=np.float64)
    places: dict[Any, float] = {value: float(place) for place, value in enumerate(column.values)}
    places[None] = np.nan
    return np.array([places.get(value, UNKNOWN) for value in values], dtype=np.float64)
