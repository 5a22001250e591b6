"""What a task makes of a dataset's rows before a model reads them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from pydantic import BaseModel, JsonValue

from platform_assets.features.transformer import FittedTransformer
from platform_assets.features.transformer_spec import TransformerSpec

if TYPE_CHECKING:
    import pyarrow as pa

S_contra = TypeVar("S_contra", bound=BaseModel, contravariant=True)
USED_SPLITS = ("train", "validation", "test", "shift")
"""The splits that features are made of; `reserve` stays as it is."""
NONE_FITTED: Final[Mapping[str, FittedTransformer]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class TransformerUse:
    """What a spec says about transformers."""

    names: tuple[str, ...] = ()
    """Those that it uses, in its order: `credit_woe@v3`, `credit_woe@latest`."""
    split_time: str | None = None
    """The column by whose times its rows are split; None where they are split otherwise."""
    time: str | None = None
    """The column of the time as of which rows know what is joined to them; None where the spec names none."""
    available: str | None = None
    """The column that says when what is learnt from a row became known; None where the spec names none."""
    group: str | None = None
    """The column whose groups its split keeps together; None where it does not."""
    has_key: bool = True
    """Whether subjects are those of a key; without one a row's subject is a hash of its values."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a line cannot use a transformer."""

    reason: str
    field: tuple[str, ...] | None = None
    """What of the line's spec it is about; None where it is what names the transformer."""


@dataclass(frozen=True, slots=True)
class Features:
    """The features of a dataset version, and what is needed to make them of further rows."""

    table: "pa.Table"
    """A row for each row of `USED_SPLITS`, in their order: subject, `label`, `source`, `split`, and the features."""
    sha256: str
    """Identity of the featurizer as it was fitted."""
    recipe: Mapping[str, JsonValue]
    """The values of the spec that it was made by."""
    state: Mapping[str, bytes] = field(default_factory=dict)
    """What was fitted, by file name; kept beside every model that is trained on these features, whoever is erased later:
    no value in it may be that of a single row."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Figures for people, by name."""
    made_from: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Columns of the dataset that each feature is made of; a feature that is not named is the column of its own name."""


class Featurizer(Protocol[S_contra]):
    """How a task makes features. What is fitted is fitted on rows of split `train` only."""

    @property
    def code(self) -> str:
        """Version of the code that makes features."""
        ...

    @property
    def description(self) -> str:
        """What the features are, for people."""
        ...

    @property
    def kinds(self) -> Collection[str]:
        """What they are made with, as Dagster shows it."""
        ...

    @property
    def fields(self) -> Collection[str]:
        """Fields of the spec that decide."""
        ...

    @property
    def overridable(self) -> Collection[str]:
        """Those of them that one run may change."""
        ...

    def upstream(self, spec: S_contra) -> Mapping[str, str]:
        """Identity of what it is made of besides the dataset, by name.

        Raises:
            FeatureError: it is not there.
        """
        ...

    def uses(self, spec: S_contra) -> TransformerUse:
        """The transformers that the spec uses."""
        ...

    def refusal(
        self, spec: S_contra, name: str, transformers: Mapping[str, TransformerSpec]
    ) -> Refusal | None:
        """Why a line of this spec cannot use one of these transformers beside the others; None where it can."""
        ...

    def apply(
        self,
        rows: "pa.Table",
        spec: S_contra,
        *,
        subject_column: str,
        transformers: Mapping[str, FittedTransformer] = NONE_FITTED,
    ) -> Features:
        """The features of the rows of `USED_SPLITS`.

        Args:
            rows: What the task's ingestion has prepared.
            spec: The line's spec.
            subject_column: Whose each row is.
            transformers: Those of `uses`, fitted, by name without a version. They see all rows as history; one of another
                source (`JoinedTransformer`) carries its table, and looks there what was known of each row.

        Raises:
            FeatureError: they cannot be made of these rows.
        """
        ...


def used_rows(rows: "pa.Table") -> "pa.Table":
    """The rows of `USED_SPLITS`, in order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return rows.filter(pc.is_in(rows["split"], pa.array(USED_SPLITS)))
