"""The features asset: what models read of one dataset version."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import BaseModel

from platform_assets.datasets.snapshots import content_hash
from platform_assets.features.errors import FeatureError
from platform_assets.features.featurizer import Features, Featurizer
from platform_assets.fingerprint import code_version, fingerprint
from platform_assets.governance.suppression import publish_unless_erased
from platform_assets.manifest import identity_of
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import TABLES, DatasetVersion, FeaturesVersion, TableSnapshot
from platform_assets.step import foreseen_failures, line_asset, materialized, override_config, with_overrides
from resources.provenance import code_commit

_CODE = code_version("features", "platform_assets.features.featurizer", "platform_assets.datasets.snapshots")


def features_fingerprint(
    line: str, spec: BaseModel, featurizer: Featurizer[Any], *, dataset_version: str
) -> str:
    """Identity of the features that `spec` would make of a dataset version."""
    return fingerprint(
        f"{line}_features",
        code=f"{_CODE}|{featurizer.code}",
        config=identity_of(spec, featurizer.fields),
        upstream={"dataset": dataset_version, **featurizer.upstream(spec)},
    )


def features_asset(line: str, spec: BaseModel, featurizer: Featurizer[Any]) -> dg.AssetsDefinition:
    """`<line>_features`."""
    overridden = override_config(spec, featurizer.overridable)

    @line_asset(
        line,
        "features",
        description=featurizer.description,
        kinds=("iceberg", *featurizer.kinds),
        code=f"{_CODE}|{featurizer.code}",
        made_from={"dataset": "dataset"},
    )
    def features(
        dataset: DatasetVersion,
        outside: dg.ResourceParam[OutsideSystems],
        config: overridden,  # type: ignore[valid-type]
    ) -> dg.MaterializeResult[FeaturesVersion]:
        with foreseen_failures():
            resolved = with_overrides(spec, config)
            made = featurizer.apply(
                outside.warehouse.read(dataset.snapshot.table, dataset.snapshot.snapshot_id),
                resolved,
                subject_column=dataset.subject_column,
            )
            reference = FeaturesVersion(
                dataset=dataset,
                snapshot=_published(outside, made, dataset),
                featurizer_sha256=made.sha256,
                recipe=dict(made.recipe),
                state_prefix=_kept_state(outside, made, dataset),
            )
            return materialized(
                reference,
                fingerprint=features_fingerprint(line, resolved, featurizer, dataset_version=dataset.version),
                metadata={
                    "dagster/row_count": reference.snapshot.rows,
                    "snapshot_id": reference.snapshot.snapshot_id,
                    **made.metadata,
                },
            )

    return features


def state_of(outside: OutsideSystems, features: FeaturesVersion) -> Mapping[str, bytes]:
    """The fitted state that features were made with, by file name.

    Raises:
        FeatureError: it is lost.
    """
    if features.state_prefix is None:
        return {}
    store, prefix = outside.object_store, features.state_prefix
    state = {key.removeprefix(f"{prefix}/"): store.get(key) for key in store.list(prefix)}
    if not state:
        raise FeatureError(
            f"what was fitted for {features.dataset.line}_features is no longer at {prefix}; materialize the features again"
        )
    return state


def _published(outside: OutsideSystems, made: Features, dataset: DatasetVersion) -> TableSnapshot:
    staged = outside.warehouse.stage(
        TABLES["features"].format(line=dataset.line),
        made.table,
        content_hash=content_hash(made.table),
        gdpr_class=dataset.gdpr_class,
        retention_days=dataset.retention_days,
        source_commit=code_commit(),
        subject_column=dataset.subject_column,
        subject_namespace=dataset.subject_namespace,
    )
    published = publish_unless_erased(
        staged,
        made.table[dataset.subject_column].to_pylist(),
        namespace=dataset.subject_namespace,
        warehouse=outside.warehouse,
        ledger=outside.ledger,
        salt=outside.salt,
    )
    return TableSnapshot.of(published)


def _kept_state(outside: OutsideSystems, made: Features, dataset: DatasetVersion) -> str | None:
    if not made.state:
        return None
    prefix = f"models/{outside.env}/{dataset.line}/featurizer-{made.sha256[:16]}"
    for name, content in made.state.items():
        outside.object_store.put(
            f"{prefix}/{name}",
            content,
            gdpr_class=dataset.gdpr_class,
            retention_days=dataset.retention_days,
            source_commit=code_commit(),
        )
    return prefix
