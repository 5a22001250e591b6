"""The model asset: train once per fingerprint, keep the files, tell the tracker."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
from pydantic import JsonValue

from platform_assets.datasets.ingestion import sources_of
from platform_assets.datasets.sources import without_secrets
from platform_assets.features.assets import state_of
from platform_assets.fingerprint import fingerprint
from platform_assets.governance.retraining import requested
from platform_assets.ledger.ledger import Ledger
from platform_assets.manifest import identity_of
from platform_assets.models.job_files import JobInputs
from platform_assets.models.pod import gpu_pool, pod_tags
from platform_assets.models.spec import ModelSpec
from platform_assets.models.store import find_model, object_prefix, save_model
from platform_assets.models.trainer import AnyTrainer
from platform_assets.models.training_site import TrainingSite
from platform_assets.models.tuned import require_of, tuned, tuned_by
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import TUNING, FeaturesVersion, ModelVersion, TunedBy, TuningVersion
from platform_assets.step import (
    foreseen_failures,
    line_asset,
    lost_pod_policy,
    materialized,
    override_config,
    started_by,
    with_overrides,
    without_retries,
)
from platform_assets.tags import RETRAINING_TAG
from resources.provenance import code_commit, commit_author, source_commit


def model_fingerprint(spec: ModelSpec, trainer: AnyTrainer, features: FeaturesVersion) -> str:
    """Identity of the model that `spec` would train on these features."""
    return fingerprint(
        f"{spec.line}_model",
        code=trainer.code,
        config=identity_of(spec, trainer.fields) | {"mixed_precision": spec.resources.mixed_precision},
        upstream={"features": features.version, **trainer.upstream(spec, features.recipe)},
    )


def model_asset(
    spec: ModelSpec,
    trainer: AnyTrainer,
    spec_path: Path,
    basis: str,
    retraining: str | None = None,
    lost_pod_retries: int = 0,
    *,
    is_tuned: bool = False,
) -> dg.AssetsDefinition:
    """`<line>_model`.

    Args:
        spec: The line's spec.
        trainer: Its task's.
        spec_path: Its file.
        basis: Identity of the file's spec.
        retraining: Ledger entry of the request that the line follows; a run that follows another says so.
        lost_pod_retries: How often it is tried again after its pod was lost.
        is_tuned: Whether a tuning stands before it, whose best trial's values it is trained by.
    """
    overridden = override_config(spec, trainer.fields)

    def trained(
        context: dg.AssetExecutionContext,
        features: FeaturesVersion,
        tuning: TuningVersion | None,
        outside: OutsideSystems,
        config: dg.Config,
    ) -> dg.MaterializeResult[ModelVersion]:
        with without_retries(), foreseen_failures():
            if tuning is not None:
                require_of(tuning, features)
            store, asked = outside.object_store, with_overrides(spec, config)
            # A retraining brings the values of a whole spec; a person means the one that differs from it.
            stated = asked if RETRAINING_TAG in context.run.tags else spec
            resolved, source_of_values = (
                tuned(asked, tuning, file=stated),
                tuned_by(asked, tuning, file=stated),
            )
            fingerprinted = model_fingerprint(resolved, trainer, features)
            prefix = object_prefix(outside.env, spec.line, fingerprinted)
            site = TrainingSite(outside, prefix=prefix)
            # Two runs that want the same model would write one checkpoint: the second waits, and finds the model.
            with outside.locks.hold(f"model-{fingerprinted[:16]}"):
                reference = find_model(store, prefix, features)
                reused, untracked = reference is not None, None
                if reference is None:
                    retrained_by = context.run.tags.get(RETRAINING_TAG, retraining)
                    source = spec_source(
                        outside.ledger, retrained_by, asked, trainer, features, spec_path, basis=basis
                    )
                    # Of a training that was killed and goes on: who started the run that finishes it.
                    starter = started_by(context, outside.salt)
                    inputs = JobInputs(
                        features.dataset,
                        outside.warehouse.read(features.snapshot.table, features.snapshot.snapshot_id),
                        trainer.config(resolved, features.recipe),
                        source.commit,
                    )
                    parameters = flat_parameters(resolved, trainer, features)
                    with outside.run_tracking.run(
                        context, experiment=spec.line, identity=fingerprinted, tags={"line": spec.line}
                    ) as tracked:
                        tracked.params(parameters)
                        result = site.train(
                            inputs,
                            trainer,
                            resolved,
                            on_progress=lambda step, metrics: tracked.metrics(metrics, step=step),
                        )
                    untracked = tracked.lost
                    trainer.complete(result.output, features.recipe, state_of(outside, features))
                    reference = save_model(
                        store,
                        result,
                        features=features,
                        fingerprint=fingerprinted,
                        prefix=prefix,
                        tracking_run_id=tracked.run_id,
                        settings=parameters,
                        source_commit=source.commit,
                        code_commit=code_commit(),
                        source_author=source.author,
                        started_by=starter,
                    )
                # Kept until the model is whole in the store: a step killed before this goes on from it.
                site.clear()
            reference = reference.model_copy(update={"tuned_by": source_of_values})
            return materialized(
                reference,
                fingerprint=fingerprinted,
                reused=reused,
                metadata={
                    **reference.training,
                    "weights_sha256": reference.weights_sha256,
                    "objects": store.uri(prefix),
                    "dagster/uri": store.uri(prefix),
                    **_shown(source_of_values),
                    **({"tracking_lost": untracked} if untracked else {}),
                },
            )

    declare = line_asset(
        spec.line,
        "model",
        description=trainer.description,
        kinds=(*trainer.kinds, "mlflow"),
        code=trainer.code,
        made_from={"features": "features", **({"tuning": TUNING} if is_tuned else {})},
        op_tags=pod_tags(spec.resources),
        pool=gpu_pool(spec.resources),
        retry_policy=lost_pod_policy(lost_pod_retries),
    )
    if is_tuned:

        def tuned_model(
            context: dg.AssetExecutionContext,
            features: FeaturesVersion,
            tuning: TuningVersion,
            outside: dg.ResourceParam[OutsideSystems],
            config: overridden,  # type: ignore[valid-type]
        ) -> dg.MaterializeResult[ModelVersion]:
            return trained(context, features, tuning, outside, config)

        return declare(tuned_model)

    def model(
        context: dg.AssetExecutionContext,
        features: FeaturesVersion,
        outside: dg.ResourceParam[OutsideSystems],
        config: overridden,  # type: ignore[valid-type]
    ) -> dg.MaterializeResult[ModelVersion]:
        return trained(context, features, None, outside, config)

    return declare(model)


def flat_parameters(
    spec: ModelSpec, trainer: AnyTrainer, features: FeaturesVersion
) -> dict[str, str | int | float | bool | None]:
    """What the tracker and the model's record are told: the values among hyper-parameters and the features' recipe.

    What is no single value, such as the roles of columns, stands in the recipe that the features carry.
    """
    values = spec.model_dump(mode="json", include=set(trainer.fields)) | features.recipe
    return {
        name: value for name, value in values.items() if isinstance(value, str | int | float | bool | None)
    }


def _shown(source: TunedBy | None) -> dict[str, Any]:
    """Where hyper-parameters come from, as the UI shows it."""
    if source is None:
        return {}
    found = source.model_dump(include={"experiment", "trial", "assignment"})
    return {"tuned_by": dg.MetadataValue.json(found)}


class SpecSource(NamedTuple):
    """Where the spec of a training comes from."""

    commit: str
    """As `source_commit` tells it, or a pushed commit's id."""
    author: str | None
    """`Name <address>`; None where nobody can tell."""


def spec_source(
    ledger: Ledger,
    retraining: str | None,
    spec: ModelSpec,
    trainer: AnyTrainer,
    features: FeaturesVersion,
    spec_path: Path,
    *,
    basis: str,
) -> SpecSource:
    """The commit of the spec that this model was trained by, and its author.

    That of the push which the run follows, but only where the run really used its values; else that of the
    line's file.
    """
    if retraining is not None:
        asked = requested(ledger, spec.line, retraining)
        # What no run may change was compared with the commit when this was asked for.
        agrees = asked.basis == basis and _used(asked.config, spec, trainer, features)
        if asked.source_commit and agrees:
            return SpecSource(asked.source_commit, asked.source_author)
    commit = source_commit(spec_path)
    return SpecSource(commit, commit_author(spec_path, commit))


def _used(
    asked: Mapping[str, Mapping[str, JsonValue]],
    spec: ModelSpec,
    trainer: AnyTrainer,
    features: FeaturesVersion,
) -> bool:
    """Whether these are the values that the model, its features and its dataset were made by."""
    trained: dict[str, Any] = spec.model_dump(mode="json", include=set(trainer.fields))
    data = with_values(spec, asked.get("dataset", {}))
    return (
        all(trained.get(field) == value for field, value in asked.get("model", {}).items())
        and all(features.recipe.get(field) == value for field, value in asked.get("features", {}).items())
        and tuple(without_secrets(uri) for uri, _ in sources_of(data)) == features.dataset.sources
        and data.train_rows == features.dataset.train_rows
    )


def with_values(spec: ModelSpec, values: Mapping[str, JsonValue]) -> ModelSpec:
    """The spec with these values of its own fields."""
    return type(spec).model_validate({**spec.model_dump(mode="json"), **values})
