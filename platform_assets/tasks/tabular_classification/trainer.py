"""Training a model of a table, and loading what came of it."""

import hashlib
import shutil
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, JsonValue

from platform_assets.fingerprint import code_version
from platform_assets.models.checkpoints import Checkpoints
from platform_assets.models.errors import TrainingError
from platform_assets.models.hardware import Hardware
from platform_assets.models.trainer import ProgressCallback, TrainingConfig, TrainingResult
from platform_assets.processors import available_cpus
from platform_assets.tasks.tabular_classification.encoding import Kind
from platform_assets.tasks.tabular_classification.inputs import ModelInputs, model_features, no_weights
from platform_assets.tasks.tabular_classification.logistic import Logistic, fit_logistic
from platform_assets.tasks.tabular_classification.points import POINTS_FILE, points_table
from platform_assets.tasks.tabular_classification.scorecard import Scorecard, fit_scorecard
from platform_assets.tasks.tabular_classification.scorer import CLASSIFIER_FILE, Classifier, TabularScorer
from platform_assets.tasks.tabular_classification.spec import (
    NO_WEIGHT,
    ColumnsSpec,
    TabularParameters,
    TabularTrainingSpec,
)
from platform_assets.tasks.tabular_classification.trees import Trees, grow
from platform_assets.tasks.tabular_classification.values import text_of

if TYPE_CHECKING:
    import pyarrow as pa

_REPORTED_ITERATIONS: Final = 10
_FOLDER: Final = "platform_assets.tasks.tabular_classification"


class FeatureKind(BaseModel):
    """A column of the features, and what its numbers mean."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind


class TabularTrainingConfig(TrainingConfig, TabularParameters):
    """Which model, and the features that it reads."""

    features: tuple[FeatureKind, ...]


class TabularTrainer:
    """Gradient-boosted trees, a logistic regression or a scorecard, on the CPUs of one machine."""

    description: Final = "A model of a table; equal configuration and data give equal weights."
    kinds: Final = ("scikitlearn",)
    fields: Final = tuple(TabularParameters.model_fields)
    config_type: Final = TabularTrainingConfig

    @cached_property
    def code(self) -> str:
        """See `Trainer.code`."""
        return code_version(
            "table model",
            *(
                f"{_FOLDER}.{name}"
                for name in (
                    *("trainer", "trees", "logistic", "scorecard", "points"),
                    *("scorer", "encoding", "inputs", "derived"),
                )
            ),
        )

    def upstream(self, spec: TabularTrainingSpec, recipe: Mapping[str, JsonValue]) -> Mapping[str, str]:  # noqa: ARG002 - it starts from nothing
        """See `Trainer.upstream`."""
        return {}

    def config(self, spec: TabularTrainingSpec, recipe: Mapping[str, JsonValue]) -> TabularTrainingConfig:
        """See `Trainer.config`.

        Raises:
            TrainingError: a scorecard would read something else than weights of evidence.
        """
        if spec.model == "scorecard" and (other := no_weights(recipe)):
            raise TrainingError(f"{other[0]}: {NO_WEIGHT}")
        return TabularTrainingConfig(
            **spec.model_dump(include=set(self.fields)),
            features=tuple(
                FeatureKind(name=name, kind=kind) for name, kind in model_features(recipe).items()
            ),
        )

    def fit(
        self,
        rows: "pa.Table",
        config: TabularTrainingConfig,
        *,
        output: Path,
        checkpoints: Checkpoints,  # noqa: ARG002 - it takes seconds, so a killed one begins anew
        checkpoint_interval_seconds: float = 20.0,  # noqa: ARG002
        on_progress: ProgressCallback | None = None,
    ) -> TrainingResult:
        """See `Trainer.fit`. The loss after every ten trees is told once all have grown."""
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        features, labels = training_arrays(rows, config.features)
        names = [feature.name for feature in config.features]
        kinds = [feature.kind for feature in config.features]
        threads = config.threads or available_cpus()
        started = time.monotonic()
        model: Trees | Logistic | Scorecard
        if config.model == "gradient_boosting":
            with threadpool_limits(threads):
                model = grow(features, labels, kinds, names, config)
            steps, losses = model.roots.size, _staged_losses(model, features, labels)
        else:
            model = (
                fit_logistic(features, labels, kinds, names, regularisation=config.regularisation)
                if config.model == "logistic"
                else fit_scorecard(
                    features,
                    labels,
                    names,
                    regularisation=config.regularisation,
                    scale=config.scorecard,
                )
            )
            steps, losses = model.iterations, {model.iterations: _loss(model.log_odds(features), labels)}
        seconds = time.monotonic() - started
        if on_progress:
            rate = len(labels) * steps / max(seconds, 1e-9)
            for step, loss in losses.items():
                on_progress(step, {"loss": loss, "rows_per_second": rate})
        classifier = Classifier(
            model=config.model,
            threshold=config.threshold,
            features=tuple(names),
        )
        return TrainingResult(
            output=output,
            weights_sha256=_saved(model, classifier, output),
            steps=steps,
            resumed_at_step=0,
            final_loss=losses[steps],
            train_seconds=seconds,
            rows=len(labels),
            hardware=Hardware("cpu", "float64", threads, f"CPU with {threads} threads"),
        )

    def complete(self, output: Path, recipe: Mapping[str, JsonValue], state: Mapping[str, bytes]) -> None:
        """See `Trainer.complete`: the encoding and fitted transformers go beside the weights, and a scorecard's points."""
        for name, content in state.items():
            (output / name).write_bytes(content)
        classifier = Classifier.from_bytes((output / CLASSIFIER_FILE).read_bytes())
        if classifier.model == "scorecard":
            columns = ColumnsSpec.model_validate({"columns": recipe["columns"]})
            table = points_table(
                Scorecard.load(output, features=len(classifier.features)),
                ModelInputs.load(output).transformers,
                threshold=classifier.threshold,
                event=text_of(columns.columns[columns.target].positive),
            )
            (output / POINTS_FILE).write_bytes(table.to_bytes())

    def load(self, folder: Path, *, gpu: int = 0, mixed_precision: bool = False) -> TabularScorer:  # noqa: ARG002
        """See `Trainer.load`; always on the CPU."""
        return TabularScorer.load(folder)


def training_arrays(
    table: "pa.Table", features: Sequence[FeatureKind]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Features (N, F) and labels (N,) of the rows of split `train`.

    Raises:
        TrainingError: there are none, a label is outside {0, 1}, or all are the same.
    """
    import pyarrow.compute as pc

    chosen = table.filter(pc.equal(table["split"], "train"))
    labels = chosen["label"].to_numpy().astype(np.int64)
    if not len(labels):
        raise TrainingError("split 'train' has 0 rows; check train_rows and split in the spec")
    if odd := int((~np.isin(labels, (0, 1))).sum()):
        raise TrainingError(f"{odd} of {len(labels)} training rows have a label outside {{0, 1}}")
    if len(np.unique(labels)) == 1:
        raise TrainingError(f"all {len(labels)} training rows have label {labels[0]}; both are needed")
    return np.stack([chosen[each.name].to_numpy() for each in features], axis=1), labels


def _staged_losses(
    trees: Trees, features: NDArray[np.float64], labels: NDArray[np.int64]
) -> dict[int, float]:
    """Mean loss on these rows by number of trees: every ten, and all."""
    last = trees.roots.size
    steps = sorted({*range(_REPORTED_ITERATIONS, last, _REPORTED_ITERATIONS), last})
    sums = dict.fromkeys(steps, 0.0)
    for rows, values in trees.leaves(features):
        reached = trees.baseline[0] + np.cumsum(values, axis=1)
        for step in steps:
            sums[step] += len(values) * _loss(reached[:, step - 1], labels[rows])
    return {step: total / len(labels) for step, total in sums.items()}


def _loss(log_odds: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean negative log-likelihood."""
    return float(np.logaddexp(0.0, np.where(labels == 1, -log_odds, log_odds)).mean())


def _saved(model: Any, classifier: Classifier, output: Path) -> str:
    """Write the model's folder and return the hash of what decides its scores and answers."""
    incoming = output.with_name(output.name + ".incoming")
    shutil.rmtree(incoming, ignore_errors=True)
    shutil.rmtree(output, ignore_errors=True)
    incoming.mkdir(parents=True)
    names = model.save(incoming)
    (incoming / CLASSIFIER_FILE).write_bytes(classifier.to_bytes())
    digest = hashlib.sha256()
    for name in (*names, CLASSIFIER_FILE):
        digest.update((incoming / name).read_bytes())
    incoming.replace(output)
    return digest.hexdigest()
