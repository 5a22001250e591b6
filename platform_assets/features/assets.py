"""The features asset: token ids of one dataset version."""

import dagster as dg

from platform_assets.datasets.reviews import SUBJECT_COLUMN
from platform_assets.datasets.snapshots import content_hash
from platform_assets.features.spec import TokensSpec
from platform_assets.features.tokens import encoder_identity, load_tokenizer, model_location, token_features
from platform_assets.fingerprint import code_version, fingerprint
from platform_assets.governance.ledger import Ledger
from platform_assets.governance.subjects import REVIEW
from platform_assets.governance.suppression import publish_unless_erased
from platform_assets.references import TABLES, DatasetVersion, FeaturesVersion, TableSnapshot
from platform_assets.step import foreseen_failures, launchpad, materialized, with_overrides
from resources.provenance import code_commit
from resources.row_salt import row_salt
from resources.settings import PlatformSettings
from resources.warehouse import Warehouse

CODE = code_version("platform_assets.features.tokens", "platform_assets.datasets.snapshots")


def features_fingerprint(line: str, spec: TokensSpec, *, dataset_version: str) -> str:
    """Identity of the features that `spec` would make of a dataset version."""
    return fingerprint(
        f"{line}_features",
        code=CODE,
        config=spec.model_dump(mode="json", include=set(TokensSpec.model_fields)),
        upstream={"dataset": dataset_version, "encoder": encoder_identity(model_location(spec.model_name))},
    )


def features_asset(line: str, spec: TokensSpec) -> dg.AssetsDefinition:
    """`<line>_features`."""
    launched = launchpad(spec, TokensSpec.model_fields)

    @dg.asset(
        name=f"{line}_features",
        group_name=line,
        description="Token ids, head and tail of long texts kept, of every row that is trained or measured on.",
        kinds={"iceberg", "huggingface"},
        code_version=CODE,
        ins={"dataset": dg.AssetIn(f"{line}_dataset")},
    )
    def features(
        dataset: DatasetVersion,
        warehouse: dg.ResourceParam[Warehouse],
        ledger: dg.ResourceParam[Ledger],
        settings: dg.ResourceParam[PlatformSettings],
        config: launched,  # type: ignore[valid-type]
    ) -> dg.MaterializeResult[FeaturesVersion]:
        with foreseen_failures():
            resolved = with_overrides(spec, config)
            tokenizer = load_tokenizer(
                model_location(resolved.model_name),
                max_length=resolved.max_length,
                head_fraction=resolved.head_fraction,
            )
            tokens = token_features(
                warehouse.read(dataset.snapshot.table, dataset.snapshot.snapshot_id), tokenizer
            )
            staged = warehouse.stage(
                TABLES["features"].format(line=line),
                tokens,
                content_hash=content_hash(tokens),
                gdpr_class=dataset.gdpr_class,
                retention_days=dataset.retention_days,
                source_commit=code_commit(),
                subject_column=SUBJECT_COLUMN,
                subject_namespace=REVIEW,
            )
            snapshot = publish_unless_erased(
                staged,
                tokens[SUBJECT_COLUMN].to_pylist(),
                namespace=REVIEW,
                warehouse=warehouse,
                ledger=ledger,
                salt=row_salt(settings.home),
            )
            reference = FeaturesVersion(
                dataset=dataset,
                snapshot=TableSnapshot.of(snapshot),
                tokenizer_sha256=tokenizer.sha256,
                model_name=resolved.model_name,
                max_length=resolved.max_length,
                head_fraction=resolved.head_fraction,
            )
            lengths = tokens["tokens"].to_numpy()
            return materialized(
                reference,
                fingerprint=features_fingerprint(line, resolved, dataset_version=dataset.version),
                metadata={
                    "dagster/row_count": snapshot.rows,
                    "snapshot_id": snapshot.snapshot_id,
                    "tokenizer_sha256": tokenizer.sha256,
                    "tokens_mean": float(lengths.mean()),
                    "truncated_share": float((lengths > resolved.max_length).mean()),
                },
            )

    return features
