"""What one asset of a line hands to the next: small immutable references, never the data itself.

A reference nests the reference it was made from, so any of them carries its whole lineage:

    DatasetVersion → FeaturesVersion → ModelVersion → ReportVersion → RegisteredVersion → CardVersion
    → DeploymentVersion
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, JsonValue, model_validator

from resources.object_store import GdprClass
from resources.warehouse import Snapshot


class Reference(BaseModel):
    """Base of all references: frozen, strict, serialised as JSON in the materialization's metadata."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class AssetReference(Reference, ABC):
    """A reference that an asset materializes; `version` is its data version."""

    @property
    @abstractmethod
    def version(self) -> str:
        """The data version."""

    def ancestry(self) -> "Iterator[AssetReference]":
        """Itself and everything it was made from, the newest first."""
        yield self
        for _, value in self:
            if isinstance(value, AssetReference):
                yield from value.ancestry()

    @property
    def of_dataset(self) -> "DatasetVersion":
        """The dataset that it goes back to."""
        return next(each for each in self.ancestry() if isinstance(each, DatasetVersion))

    @property
    def dataset_assets(self) -> tuple[str, ...]:
        """Names of the dataset assets whose breakers stand before whoever builds on it."""
        return (f"{self.of_dataset.line}_dataset",)


class TableSnapshot(Reference):
    """One immutable state of a warehouse table."""

    table: str
    snapshot_id: str
    """Opaque; a string, since JSON has no 64-bit integers."""
    content_hash: str
    """SHA-256 over the rows: equal rows give an equal hash, whenever and wherever they were written."""
    rows: int

    @classmethod
    def of(cls, snapshot: Snapshot) -> Self:
        """What assets hand on of a snapshot of the warehouse."""
        return cls(
            table=snapshot.table,
            snapshot_id=snapshot.snapshot_id,
            content_hash=snapshot.content_hash,
            rows=snapshot.rows,
        )


class DatasetVersion(AssetReference):
    """A published dataset: it passed its contract before anybody could read it."""

    line: str
    task: str = "text-classification"
    """Name of the machine-learning task that the line is of; older records are of the only one there was."""
    subject_namespace: str = "review"
    subject_column: str = "review_id"
    """Whose each row is: kind and column. Older records knew one kind."""
    snapshot: TableSnapshot
    rows_by_split: dict[str, int]
    sources: tuple[str, ...]
    """The source URIs as the spec names them."""
    first_sources: tuple[str, ...] = ()
    """Values of column `source` in the line's own rows, which gates measure on; none (older records): all."""
    train_rows: int | None = None
    """How many rows to train on, as asked for; None for all."""
    source_hash: str
    """SHA-256 over the raw bytes of all sources."""
    contract_rule_sets: dict[str, str]
    """Rule-set hash by domain, of the contract that let this snapshot pass."""
    contract_quality: float
    """Share of passed expectations, weighted by severity (0 … 1)."""
    ge_run_id: str
    published_at: str
    """ISO 8601, UTC."""
    gdpr_class: GdprClass = "personal"
    retention_days: int = 3650
    """Of its rows, and of whatever is made of them row by row."""

    @property
    def version(self) -> str:
        """The data version: the content hash."""
        return self.snapshot.content_hash


HISTORICAL = frozenset({"zscore", "lag"})
"""Types of transformers that make features of a row from rows before it."""


class TransformerVersion(AssetReference):
    """A fitted transformer, whoever uses it: what it is, on what it was fitted, and where it lies."""

    name: str
    """As lines write it: `credit_woe`."""
    number: int
    """From 1, in the order in which its versions were recorded."""
    transformer_type: str
    data_version: str
    """Hash of its normalised spec, of its kernel's code, and of what it was fitted on."""
    sha256: str
    """Of the fitted state, as it lies in the object store."""
    object_key: str
    """`models/<env>/<name>/v<number>/fitted.json`."""
    input_source: str
    """As its spec names it, without what may be secret."""
    input_hash: str
    """Content hash of the snapshot, or SHA-256 of the file."""
    fit_split: str | None = None
    """The only split whose rows it was fitted on; None: all rows of a file, or none at all."""
    fit_rows: int
    dataset_asset: str | None = None
    """The asset that it was fitted on; None where it was a file."""
    snapshot: TableSnapshot | None = None
    subject_namespace: str | None = None
    """Of the rows of that snapshot, as for the next."""
    subject_column: str | None = None
    table: TableSnapshot | None = None
    """Features of every row of its input, of a transformer that publishes them; among a line's features only where it
    was joined."""

    @property
    def version(self) -> str:
        """The data version."""
        return self.data_version

    @property
    def label(self) -> str:
        """As a line pins it: `credit_woe@v3`."""
        return f"{self.name}@v{self.number}"

    @property
    def dataset_assets(self) -> tuple[str, ...]:
        """See `AssetReference.dataset_assets`; a file has no breaker."""
        return () if self.dataset_asset is None else (self.dataset_asset,)


class FeaturesVersion(AssetReference):
    """What a model reads of one dataset version, under one featurizer as it was fitted."""

    dataset: DatasetVersion
    snapshot: TableSnapshot
    featurizer_sha256: str
    """Identity of the fitted featurizer: what it makes of a row."""
    recipe: dict[str, JsonValue]
    """The values of the spec that it was made by."""
    state_prefix: str | None = None
    """Where its fitted state lies in the object store; None where the recipe says all."""
    transformers: tuple[TransformerVersion, ...] = ()
    """Those that were applied, with what `latest` was; none in older records. One that was joined has its table."""

    @model_validator(mode="before")
    @classmethod
    def _of_an_older_record(cls, content: Any) -> Any:
        """Records of the time when there was one featurizer name its parts as fields of their own."""
        if not isinstance(content, dict) or "tokenizer_sha256" not in content:
            return content
        kept = {name: value for name, value in content.items() if name not in _FORMER_FIELDS}
        recipe = {name: content[name] for name in _FORMER_RECIPE}
        return {**kept, "featurizer_sha256": content["tokenizer_sha256"], "recipe": recipe}

    @property
    def joined_tables(self) -> dict[str, TableSnapshot]:
        """The tables beside the dataset that features were looked up in, by name of the transformer."""
        return {each.name: each.table for each in self.transformers if each.table is not None}

    @property
    def tables(self) -> tuple[TableSnapshot, ...]:
        """Every table whose rows its own rows were made of, and its own."""
        return (self.dataset.snapshot, self.snapshot, *self.joined_tables.values())

    @property
    def looks_at_history(self) -> bool:
        """Whether features of a row depend on other rows."""
        return any(each.transformer_type in HISTORICAL for each in self.transformers)

    @property
    def version(self) -> str:
        """The data version: what the table holds, and the featurizer that a model on it will need."""
        return hashlib.sha256(f"{self.snapshot.content_hash}|{self.featurizer_sha256}".encode()).hexdigest()


class TuningVersion(AssetReference):
    """An Experiment that was executed on these features, and the trial that came out best."""

    features: FeaturesVersion
    experiment: str
    """`metadata.name` of the Experiment."""
    experiment_sha256: str
    """Identity of what the Experiment says, and of what every trial has in common."""
    trial: str
    """Name of the best trial, as in the status."""
    objective: str
    """Name of the metric that decides."""
    value: float
    """What the best trial reached of it, on the validation split."""
    default_value: float | None = None
    """What the values of the spec reach of it in the same way; None where that could not be measured."""
    assignment: dict[str, JsonValue]
    """Value by field of the spec, of the best trial."""
    status_key: str
    """Object key of the status, as Katib would write it."""
    status_sha256: str

    @property
    def version(self) -> str:
        """The data version: what was executed, on what, and how it ended."""
        parts = (self.features.version, self.experiment_sha256, self.status_sha256)
        return hashlib.sha256("|".join(parts).encode()).hexdigest()


class TunedBy(Reference):
    """Where a model's hyper-parameters come from, other than from its spec."""

    tuning: str
    """Data version of the tuning."""
    experiment: str
    """`metadata.name` of the Experiment."""
    trial: str
    """Name of the trial."""
    status_key: str
    """Object key of the Experiment's status."""
    assignment: dict[str, JsonValue]
    """Value by field of the spec."""


class ModelVersion(AssetReference):
    """Trained weights. Their identity is the fingerprint of everything that went into them."""

    features: FeaturesVersion
    fingerprint: str
    weights_sha256: str
    object_prefix: str
    """Where the model's files lie in the object store: `models/<env>/<line>/<version>`."""
    tracking_run_id: str
    """The tracker's own id of the training; empty where the tracker never answered."""
    training: dict[str, str | int | float | bool | None]
    """Resolved configuration and circumstances: device, precision, threads, steps, seconds, final loss."""
    source_commit: str
    """Commit of the training spec; `unversioned` outside a Git checkout."""
    code_commit: str
    """Commit of the code that ran (`+dirty` where so), or the version of the installed wheel."""
    source_author: str | None = None
    """Who made that commit of the spec, as `Name <address>`; None where nobody can tell, and in older records."""
    started_by: str | None = None
    """Who started the run that finished its training, as far as a signed tag says (`starters`): a principal's name, or
    `automation/<sensor>`; None where nobody can tell."""
    tuned_by: TunedBy | None = None
    """The tuning that some of its hyper-parameters come from."""

    @property
    def version(self) -> str:
        """The data version: the fingerprint."""
        return self.fingerprint


_FORMER_RECIPE = ("model_name", "max_length", "head_fraction")
_FORMER_FIELDS = ("tokenizer_sha256", *_FORMER_RECIPE)


class ReportVersion(AssetReference):
    """A stored validation report and the verdicts of its gates."""

    model: ModelVersion
    report_key: str
    scores_key: str
    """Object key of the scores table: subject, source, split, label, score and what is watched."""
    report_sha256: str
    metrics: dict[str, float]
    """`auc`, `auc_low`, `auc_high`, `accuracy`, … on the test rows of the dataset's `first_sources`."""
    gate_rule_sets: dict[str, str]
    """Rule-set hash by gate, as evaluated."""
    profile_key: str | None = None
    """Object key of the reference profile that drift is measured against; None in older records."""
    pictures: tuple[str, ...] = ("roc", "calibration", "score-distribution")
    """Names of the PNG files beside the report, in reading order."""
    sheet_key: str | None = None
    """Object key of images of single rows, see `sheets`; None where the task shows none, and in older records."""

    @property
    def version(self) -> str:
        """The data version: the hash of the stored report."""
        return self.report_sha256


class RegisteredVersion(AssetReference):
    """A model version in the registry."""

    report: ReportVersion
    name: str
    number: int

    @property
    def version(self) -> str:
        """The data version: the registry's version number."""
        return str(self.number)


class CardVersion(AssetReference):
    """A model card in the object store."""

    registered: RegisteredVersion
    json_ld_key: str
    html_key: str
    card_sha256: str

    @property
    def version(self) -> str:
        """The data version: the hash of the JSON-LD document."""
        return self.card_sha256


class DeploymentVersion(AssetReference):
    """A release that was made the active one of its line."""

    card: CardVersion
    release_id: str
    manifest_key: str
    """Object key of the rendered InferenceService."""

    @property
    def version(self) -> str:
        """The data version: the release's id."""
        return self.release_id


TUNING: Final = "tuning"
"""The stage between features and model that only lines with an Experiment have."""
STAGES: dict[str, type[AssetReference]] = {
    "dataset": DatasetVersion,
    "features": FeaturesVersion,
    "model": ModelVersion,
    "validation": ReportVersion,
    "version": RegisteredVersion,
    "card": CardVersion,
    "deployment": DeploymentVersion,
}
"""The assets of every line in the order in which data flows, and what each hands on."""
TUNED_STAGES: dict[str, type[AssetReference]] = {
    stage: kind
    for before, after in STAGES.items()
    for stage, kind in (
        ((TUNING, TuningVersion), (before, after)) if before == "model" else ((before, after),)
    )
}
"""The same for a line with an Experiment."""

TABLES = {"dataset": "datasets.{line}", "features": "features.{line}"}
"""The warehouse table of each asset that has one."""
FORMER_TABLES = {"features": "features.{line}_tokens"}
"""Where versions of before 2026-12 lie. References name their table, so only who looks by the asset's name asks."""
