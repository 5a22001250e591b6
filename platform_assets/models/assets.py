"""The model asset: train once per fingerprint, keep the files, tell the tracker."""

from contextlib import AbstractContextManager
from pathlib import Path

import dagster as dg

from platform_assets.datasets.reviews import sources_of
from platform_assets.datasets.sources import without_secrets
from platform_assets.features.spec import TokensSpec
from platform_assets.features.tokens import TextTokenizer, encoder_identity, load_tokenizer, model_location
from platform_assets.fingerprint import code_version, fingerprint
from platform_assets.governance.ledger import Ledger
from platform_assets.governance.retraining import requested
from platform_assets.manifest import identity_of
from platform_assets.models.hyper_parameters import HyperParameters
from platform_assets.models.job_files import JobInputs
from platform_assets.models.pod import gpu_pool, pod_tags
from platform_assets.models.store import find_model, object_prefix, save_model
from platform_assets.models.training import TrainingConfig
from platform_assets.models.training_spec import TrainingSpec, with_launched
from platform_assets.models.workplace import Workplace
from platform_assets.references import FeaturesVersion, ModelVersion
from platform_assets.step import foreseen_failures, launchpad, materialized, with_overrides, without_retries
from platform_assets.systems import open_job_runner, open_locks
from platform_assets.tags import RETRAINING_TAG
from resources.locks import Held
from resources.object_store import ObjectStore
from resources.provenance import code_commit, source_commit
from resources.run_tracking import RunTracking
from resources.settings import PlatformSettings
from resources.warehouse import Warehouse

CODE = code_version(
    "model",
    *("platform_assets.models.training", "platform_assets.models.batches"),
    *("platform_assets.models.world", "platform_assets.models.classifier"),
)
_RETRY_DELAY_SECONDS = 2.0


def model_fingerprint(spec: TrainingSpec, *, features_version: str, model_name: str) -> str:
    """Identity of the model that `spec` would train on a features version."""
    return fingerprint(
        f"{spec.line}_model",
        code=CODE,
        config={
            **identity_of(spec, HyperParameters.model_fields),
            **identity_of(spec.resources, ("mixed_precision",)),
        },
        upstream={"features": features_version, "encoder": encoder_identity(model_location(model_name))},
    )


def training_settings(spec: TrainingSpec) -> dict[str, str | int | float | bool | None]:
    """The hyper-parameters, by name."""
    return spec.model_dump(include=set(HyperParameters.model_fields))


def model_asset(
    spec: TrainingSpec,
    spec_path: Path,
    basis: str,
    retraining: str | None = None,
    lost_pod_retries: int = 0,
) -> dg.AssetsDefinition:
    """`<line>_model`.

    Args:
        spec: The line's spec.
        spec_path: Its file.
        basis: Identity of the file's spec.
        retraining: Ledger entry of the request that the line follows; a run that follows another says so.
        lost_pod_retries: How often it is tried again after its pod was lost.
    """
    launched = launchpad(spec, HyperParameters.model_fields)
    retries = dg.RetryPolicy(
        max_retries=lost_pod_retries, delay=_RETRY_DELAY_SECONDS, backoff=dg.Backoff.EXPONENTIAL
    )

    @dg.asset(
        name=f"{spec.line}_model",
        group_name=spec.line,
        description="Fine-tuned weights; equal configuration and data give equal weights on a CPU.",
        kinds={"pytorch", "mlflow"},
        code_version=CODE,
        op_tags=pod_tags(spec.resources),
        pool=gpu_pool(spec.resources),
        retry_policy=retries if lost_pod_retries else None,
        ins={"features": dg.AssetIn(f"{spec.line}_features")},
    )
    def model(
        context: dg.AssetExecutionContext,
        features: FeaturesVersion,
        warehouse: dg.ResourceParam[Warehouse],
        object_store: dg.ResourceParam[ObjectStore],
        run_tracking: dg.ResourceParam[RunTracking],
        ledger: dg.ResourceParam[Ledger],
        settings: dg.ResourceParam[PlatformSettings],
        config: launched,  # type: ignore[valid-type]
    ) -> dg.MaterializeResult[ModelVersion]:
        with without_retries(), foreseen_failures():
            resolved = with_overrides(spec, config)
            identity = model_fingerprint(
                resolved, features_version=features.version, model_name=features.model_name
            )
            prefix = object_prefix(settings.env, spec.line, identity)
            workplace = Workplace(settings, object_store, prefix=prefix)
            with _only_trainer(settings, identity):
                reference = find_model(object_store, prefix, features)
                reused = reference is not None
                if reference is None:
                    tokenizer, training = _training_inputs(resolved, features)
                    inputs = JobInputs(
                        warehouse.read(features.snapshot.table, features.snapshot.snapshot_id),
                        training,
                        spec_commit(
                            ledger,
                            context.run.tags.get(RETRAINING_TAG, retraining),
                            resolved,
                            features,
                            spec_path,
                            basis=basis,
                        ),
                        features.dataset.gdpr_class,
                    )
                    parameters = {
                        **training_settings(resolved),
                        "model_name": features.model_name,
                        "max_length": features.max_length,
                    }
                    with run_tracking.run(
                        context, experiment=spec.line, identity=identity, tags={"line": spec.line}
                    ) as tracked:
                        tracked.params(parameters)
                        result = workplace.train(
                            inputs,
                            resolved,
                            open_job_runner=open_job_runner,
                            on_progress=lambda step, metrics: tracked.metrics(metrics, step=step),
                        )
                        tracking_run_id = tracked.run_id
                    reference = save_model(
                        object_store,
                        result,
                        tokenizer,
                        features=features,
                        fingerprint=identity,
                        prefix=prefix,
                        tracking_run_id=tracking_run_id,
                        settings=parameters,
                        source_commit=inputs.source_commit,
                        code_commit=code_commit(),
                    )
                # Kept until the model is whole in the store: a step killed before this goes on from it.
                workplace.clear()
            return materialized(
                reference,
                fingerprint=identity,
                reused=reused,
                metadata={
                    **reference.training,
                    "weights_sha256": reference.weights_sha256,
                    "objects": object_store.uri(prefix),
                },
            )

    return model


def spec_commit(
    ledger: Ledger,
    retraining: str | None,
    spec: TrainingSpec,
    features: FeaturesVersion,
    spec_path: Path,
    *,
    basis: str,
) -> str:
    """The commit of the spec that this model was trained by.

    That of the push which the run follows, but only where the run really used its values; else that of the
    line's file.
    """
    if retraining is not None:
        asked = requested(ledger, spec.line, retraining)
        pushed = with_launched(spec, asked.config)
        agrees = (
            # What no run may change was compared with the commit when this was asked for.
            asked.basis == basis
            and training_settings(pushed) == training_settings(spec)
            and all(getattr(pushed, field) == getattr(features, field) for field in TokensSpec.model_fields)
            and tuple(without_secrets(uri) for uri, _ in sources_of(pushed)) == features.dataset.sources
            and pushed.train_rows == features.dataset.train_rows
        )
        if asked.source_commit and agrees:
            return asked.source_commit
    return source_commit(spec_path)


def _training_inputs(spec: TrainingSpec, features: FeaturesVersion) -> tuple[TextTokenizer, TrainingConfig]:
    """The tokenizer that made the features, and the configuration to train on them with."""
    location = model_location(features.model_name)
    tokenizer = load_tokenizer(location, max_length=features.max_length, head_fraction=features.head_fraction)
    return tokenizer, TrainingConfig(
        **spec.model_dump(include=set(HyperParameters.model_fields)),
        model_location=location,
        gpu=spec.resources.gpu,
        mixed_precision=spec.resources.mixed_precision,
        pad_id=tokenizer.pad_id,
    )


def _only_trainer(settings: PlatformSettings, identity: str) -> AbstractContextManager[Held]:
    """Two runs that want the same model would write one checkpoint: the second waits, and finds the model."""
    return open_locks(settings).hold(f"model-{identity[:16]}")
