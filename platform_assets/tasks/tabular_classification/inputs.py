"""What a model of a table reads: columns as numbers, and the features of fitted transformers, offline as online.

| transformer | what the model reads of its columns | online |
|---|---|---|
| woe | its outputs, in place of the raw columns | computed of the raw columns of the instance |
| zscore, lag | its outputs, beside the raw columns | the instance may give an output by its name; missing otherwise |
| the same of another source | likewise | the instance gives each output, or null where nothing is known |

A z-score or a lag looks along the history of an entity, which nobody keeps online yet. Of another source, not even the
caller has that history before the eyes: who leaves such a feature out would be answered as somebody of whom nothing is known.
Columns that the spec derives are derived of the instance, by the same code as of the sources.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import rfc8785
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic import ValidationError as PydanticValidationError

from platform_assets.datasets.errors import DatasetError
from platform_assets.features.errors import FeatureError
from platform_assets.features.featurizer import NONE_FITTED
from platform_assets.features.joined import JoinedTransformer
from platform_assets.features.transformer import FittedTransformer, read_fitted
from platform_assets.features.woe import Woe
from platform_assets.models.errors import InstanceError
from platform_assets.references import HISTORICAL
from platform_assets.tasks.tabular_classification.derived import with_derived
from platform_assets.tasks.tabular_classification.derived_spec import DerivedSpec, Lineage
from platform_assets.tasks.tabular_classification.encoding import (
    ENCODING_FILE,
    KINDS,
    EncodedColumn,
    Encoding,
    Kind,
)
from platform_assets.tasks.tabular_classification.spec import ColumnSpec, ColumnsSpec
from platform_assets.tasks.tabular_classification.values import text_of, texts

if TYPE_CHECKING:
    import pyarrow as pa

TRANSFORMED_FILE: Final = "transformed.json"
"""Beside the encoding of a model that reads features of transformers, and of no other."""
DERIVED_FILE: Final = "derived.json"
"""Beside the encoding of a model that reads derived columns, and of no other."""
_FITTED_FILE: Final = "transformer-{name}.json"
_NONE_DERIVED: Final[Mapping[str, DerivedSpec]] = MappingProxyType({})


class DerivedColumn(BaseModel):
    """A column that is made of others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    made: DerivedSpec


class DerivedColumns(BaseModel):
    """Those that a model needs, each after what it is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[DerivedColumn, ...]


class Transformed(BaseModel):
    """What is said of the transformers beside their fitted states."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[EncodedColumn, ...]
    """Columns that transformers read in place of the model, by what they hold; nothing of them is fitted."""
    transformers: tuple[str, ...]
    """Names, in the order of their outputs."""
    joined: dict[str, str] = Field(default_factory=dict)
    """Of those that are looked up in a table: the dataset's column of the time as of which its rows know, by name."""


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """How rows become what a model reads, as it was fitted on training rows."""

    encoding: Encoding
    """Of the columns that the model reads as they are."""
    replaced: tuple[EncodedColumn, ...] = ()
    """Of the columns that it reads as weights of evidence only."""
    transformers: Mapping[str, FittedTransformer] = field(default_factory=lambda: NONE_FITTED)
    """By name."""
    derived: Mapping[str, DerivedSpec] = field(default_factory=lambda: _NONE_DERIVED)
    """Those of these columns that are made of others, and what they are made of, in order."""

    @classmethod
    def fit(
        cls,
        train: "pa.Table",
        features: Mapping[str, ColumnSpec],
        transformers: Mapping[str, FittedTransformer] = NONE_FITTED,
        derived: Mapping[str, DerivedSpec] = _NONE_DERIVED,
    ) -> Self:
        """The inputs of these features; the transformers were fitted before.

        Args:
            train: Rows of split `train`, as the ingestion prepared them.
            features: The columns of the spec that a model may read, by name, in order.
            transformers: Those that the spec uses, by name.
            derived: The columns that the spec makes of others, by name, in order.

        Raises:
            FeatureError: as `Encoding.fit`.
        """
        gone = replaced_columns(transformers)
        kept = {name: column for name, column in features.items() if name not in gone}
        return cls(
            Encoding.fit(train, kept),
            tuple(_unfitted(name, column) for name, column in features.items() if name in gone),
            transformers,
            Lineage(derived).needed(features),
        )

    @property
    def names(self) -> list[str]:
        """Names of the numbers, in order."""
        return [*self.encoding.names, *self._outputs()]

    def rows(self, table: "pa.Table", chosen: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        """The numbers of rows of a dataset, NaN where there is none.

        Args:
            table: All its rows: they are the history of those that are chosen.
            chosen: Which rows to give, shape (rows,); all of them if None.

        Returns:
            Shape (chosen rows, columns).
        """
        wanted = table if chosen is None else table.filter(chosen)
        parts = [self.encoding.rows(wanted)]
        for each in self.transformers.values():
            if _looks_along_rows(each):
                of_all = _matrix(each, table)
                parts.append(of_all if chosen is None else of_all[chosen])
            else:
                parts.append(_matrix(each, wanted))
        return np.hstack(parts)

    def instances(self, instances: Sequence[JsonValue]) -> NDArray[np.float64]:
        """The numbers of what somebody asks about, shape (instances, columns); see `read`.

        Raises:
            InstanceError: as `read`, or one says nothing of a feature that is joined.
        """
        read = self._all_of(instances)
        self._refuse_unsaid(instances)
        parts = [self.encoding.encoded(read)]
        for each in self.transformers.values():
            if each.spec.transformer_type in HISTORICAL:
                parts.append(
                    np.array(
                        [[row.get(name, np.nan) for name in each.spec.outputs.values()] for row in read],
                        dtype=np.float64,
                    )
                )
                continue
            parts.append(_matrix(each, self._raw(each, read)))
        return np.hstack(parts)

    def positions(self, instances: Sequence[JsonValue]) -> dict[str, NDArray[np.int32]]:
        """The position of each instance's bin, shape (instances,), by name of the weight of evidence.

        Raises:
            InstanceError: as `read`.
        """
        read = self._all_of(instances)
        return {
            each.spec.outputs[name]: found
            for each in self.transformers.values()
            if isinstance(each, Woe)
            for name, found in each.indices(self._raw(each, read)).items()
        }

    def read(self, instances: Sequence[JsonValue]) -> list[dict[str, float | str]]:
        """The values that are there of each instance, by column that the model reads; see `Encoding.read`.

        An instance gives columns of the source. It may also give features of transformers that look at history; they are
        checked, and not given here.

        Raises:
            InstanceError: as `Encoding.read`, or a column cannot be derived.
        """
        read = {column.name for column in self._read}
        return [
            {name: value for name, value in row.items() if name in read} for row in self._all_of(instances)
        ]

    def to_state(self) -> dict[str, bytes]:
        """As files by name; equal inputs have equal bytes."""
        state = {ENCODING_FILE: self.encoding.to_bytes()}
        if self.transformers:
            told = Transformed(
                columns=self.replaced,
                transformers=tuple(self.transformers),
                joined={name: each.time for name, each in self.joined.items()},
            )
            # A model that joins nothing has the bytes that it always had.
            state[TRANSFORMED_FILE] = rfc8785.dumps(
                told.model_dump(mode="json", exclude=None if told.joined else {"joined"})
            )
            state |= {
                _FITTED_FILE.format(name=name): each.to_bytes() for name, each in self.transformers.items()
            }
        if self.derived:
            made = DerivedColumns(
                columns=tuple(DerivedColumn(name=name, made=each) for name, each in self.derived.items())
            )
            state[DERIVED_FILE] = rfc8785.dumps(made.model_dump(mode="json", exclude_defaults=True))
        return state

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `to_state` wrote into a folder.

        Raises:
            OSError: a file is missing.
            FeatureError: one is damaged.
        """
        encoding = Encoding.from_bytes((folder / ENCODING_FILE).read_bytes())
        derived = _derived_in(folder)
        if not (folder / TRANSFORMED_FILE).exists():
            return cls(encoding, derived=derived)
        try:
            told = Transformed.model_validate_json((folder / TRANSFORMED_FILE).read_bytes())
        except PydanticValidationError as problem:
            raise FeatureError(
                f"{TRANSFORMED_FILE}: does not say which transformers were applied ({problem.error_count()} problems)"
            ) from None
        fitted = {
            name: read_fitted((folder / _FITTED_FILE.format(name=name)).read_bytes())
            for name in told.transformers
        }
        joined = {name: JoinedTransformer(fitted[name], time) for name, time in told.joined.items()}
        return cls(encoding, told.columns, fitted | joined, derived)

    @property
    def joined(self) -> dict[str, JoinedTransformer]:
        """Those of the transformers that are looked up in a table, by name."""
        return {name: each for name, each in self.transformers.items() if isinstance(each, JoinedTransformer)}

    def with_tables(self, tables: Mapping[str, "pa.Table"]) -> Self:
        """The same, with these tables for what is looked up, by name of the transformer."""
        beside = {name: replace(each, table=tables[name]) for name, each in self.joined.items()}
        return replace(self, transformers={**self.transformers, **beside})

    @property
    def _read(self) -> tuple[EncodedColumn, ...]:
        """The columns of the dataset that the model reads, by itself or by weights of evidence."""
        return (*self.encoding.columns, *self.replaced)

    @property
    def _fields(self) -> Encoding:
        """All that an instance may give."""
        given = [
            EncodedColumn(name=name, kind="number")
            for each in self._of_history()
            for name in each.spec.outputs.values()
        ]
        own = [column for column in self._read if column.name not in self.derived]
        reads = [read for each in self.derived.values() for read in each.reads()]
        numbers = {name for field, name in reads if field != "joined"}
        sources = dict.fromkeys(name for _, name in reads if name not in self.derived)
        known = {column.name for column in own}
        made_of = [
            EncodedColumn(name=name, kind="number" if name in numbers else "category")
            for name in sources
            if name not in known
        ]
        return Encoding(columns=(*own, *made_of, *given))

    def _all_of(self, instances: Sequence[JsonValue]) -> list[dict[str, float | str]]:
        """What instances give and what is derived of it, as far as it is there.

        Raises:
            InstanceError: as `read`.
        """
        read = self._fields.read(instances)
        if not self.derived:
            return read
        import pandas as pd

        names = self._fields.names
        frame = pd.DataFrame(
            {name: pd.Series([row.get(name) for row in read], dtype=object) for name in names}
        )
        try:
            made = with_derived(frame, self.derived, "instances")
            columns = {name: texts(made[name], f"instances: {name}") for name in self.derived}
        except DatasetError as problem:
            raise InstanceError(str(problem)) from None
        self._refuse_without_place(columns)
        return [
            row | {name: value for name, values in columns.items() if (value := values[at]) is not None}
            for at, row in enumerate(read)
        ]

    def _refuse_unsaid(self, instances: Sequence[JsonValue]) -> None:
        """Whoever asks says what was known of an entity elsewhere, if only that nothing was."""
        for name, each in self.joined.items():
            for output in each.spec.outputs.values():
                for at, instance in enumerate(instances, start=1):
                    if isinstance(instance, dict) and output not in instance:
                        raise InstanceError(
                            f"instance {at}: {output}: comes from the table of {name}, which this model has not beside it; "
                            "give its value, or null where nothing is known"
                        )

    def _refuse_without_place(self, derived: Mapping[str, Sequence[str | None]]) -> None:
        """A derived value of an ordinal column has a place in its order, as one that is given has."""
        for column in self._read:
            if column.kind != "ordinal" or column.name not in derived:
                continue
            order = dict.fromkeys(column.values)
            for at, value in enumerate(derived[column.name], start=1):
                if value is not None and value not in order:
                    raise InstanceError(
                        f"instance {at}: {column.name}: what is derived is none of {', '.join(order)}"
                    )

    def _raw(self, transformer: FittedTransformer, read: Sequence[Mapping[str, float | str]]) -> "pa.Table":
        """The columns that a transformer reads, of instances as they were read."""
        import pyarrow as pa

        kinds = {column.name: column.kind for column in self._read}
        return pa.table(
            {
                name: pa.array(
                    [row.get(name) for row in read], pa.float64() if kinds[name] == "number" else pa.string()
                )
                for name in transformer.spec.columns
            }
        )

    def _outputs(self) -> Iterator[str]:
        return (name for each in self.transformers.values() for name in each.spec.outputs.values())

    def _of_history(self) -> list[FittedTransformer]:
        return [each for each in self.transformers.values() if each.spec.transformer_type in HISTORICAL]


def replaced_columns(transformers: Mapping[str, FittedTransformer]) -> set[str]:
    """The columns of which a model reads weights of evidence and nothing else."""
    return {
        name
        for each in transformers.values()
        if each.spec.transformer_type not in HISTORICAL
        for name in each.spec.columns
    }


def inputs_recipe(spec: ColumnsSpec, transformers: Mapping[str, FittedTransformer]) -> dict[str, JsonValue]:
    """What decides what a model reads, for `model_features`."""
    recipe: dict[str, JsonValue] = spec.model_dump(mode="json", include={"columns"})
    if transformers:
        recipe["transformers"] = {
            name: {"type": each.spec.transformer_type, "outputs": dict(each.spec.outputs)}
            for name, each in transformers.items()
        }
    return recipe


def model_features(recipe: Mapping[str, JsonValue]) -> dict[str, Kind]:
    """Kind by name of all that a model of this recipe reads, sorted by name.

    By name: records do not keep the order of a mapping, and equal recipes must give equal models.
    """
    columns = ColumnsSpec.model_validate({"columns": recipe["columns"]}).features
    found: dict[str, Kind] = {name: KINDS[column.role] for name, column in columns.items()}
    applied: Any = recipe.get("transformers", {})
    for each in applied.values():
        if each["type"] not in HISTORICAL:
            for name in each["outputs"]:
                found.pop(name, None)
    for each in applied.values():
        found |= dict.fromkeys(each["outputs"].values(), "number")
    return dict(sorted(found.items()))


def no_weights(recipe: Mapping[str, JsonValue]) -> list[str]:
    """What a model of this recipe reads that is no weight of evidence, sorted by name."""
    applied: Any = recipe.get("transformers", {})
    weights = {
        name for each in applied.values() if each["type"] == "woe" for name in each["outputs"].values()
    }
    return [name for name in model_features(recipe) if name not in weights]


def state_hash(state: Mapping[str, bytes]) -> str:
    """Identity of fitted files: of one alone its SHA-256."""
    if len(state) == 1:
        return hashlib.sha256(next(iter(state.values()))).hexdigest()
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in state.items()}
    return hashlib.sha256(rfc8785.dumps(digests)).hexdigest()


def _derived_in(folder: Path) -> Mapping[str, DerivedSpec]:
    """What `to_state` wrote of derived columns.

    Raises:
        FeatureError: it is damaged.
    """
    if not (folder / DERIVED_FILE).exists():
        return _NONE_DERIVED
    try:
        told = DerivedColumns.model_validate_json((folder / DERIVED_FILE).read_bytes())
    except PydanticValidationError as problem:
        raise FeatureError(
            f"{DERIVED_FILE}: does not say how columns are derived ({problem.error_count()} problems)"
        ) from None
    return {each.name: each.made for each in told.columns}


def _unfitted(name: str, column: ColumnSpec) -> EncodedColumn:
    return EncodedColumn(name=name, kind=KINDS[column.role], values=tuple(map(text_of, column.order)))


def _looks_along_rows(transformer: FittedTransformer) -> bool:
    """Whether other rows of the dataset are the history of those that are chosen."""
    return transformer.spec.transformer_type in HISTORICAL and not isinstance(transformer, JoinedTransformer)


def _matrix(transformer: FittedTransformer, rows: "pa.Table") -> NDArray[np.float64]:
    """What it makes of these rows, shape (rows, outputs); null is NaN."""
    made = transformer.transform(rows)
    return np.stack([made[name].to_numpy() for name in transformer.spec.outputs.values()], axis=1)
