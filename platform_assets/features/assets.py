"""The features of a line, made of one dataset version; and transformers, which lines share."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import dagster as dg
from pydantic import BaseModel

from platform_assets.datasets.contract import Contract
from platform_assets.datasets.snapshots import content_hash
from platform_assets.datasets.sources import without_secrets
from platform_assets.features.day_index import recorded_index
from platform_assets.features.declared import BrokenTransformer, DeclaredTransformer
from platform_assets.features.errors import FeatureError
from platform_assets.features.featurizer import Features, Featurizer, TransformerUse, used_rows
from platform_assets.features.fit_input import FitInput
from platform_assets.features.joined import (
    columns_behind,
    join_code,
    outcomes_by_name,
    with_recorded_tables,
    with_table,
    with_what_is_left,
)
from platform_assets.features.leak import RULE_SET
from platform_assets.features.leak_gate import judge_leaks
from platform_assets.features.transformer import FittedTransformer, kernel_version
from platform_assets.features.version_making import (
    Made,
    as_it_is,
    bins_of,
    make_version,
    publish_features,
    stability_of,
)
from platform_assets.features.versions import (
    data_version,
    is_intact,
    latest_version,
    load_fitted,
    make_latest,
    resolve,
    split_reference,
)
from platform_assets.fingerprint import code_version, fingerprint
from platform_assets.governance.suppression import publish_unless_erased
from platform_assets.governance.verdict import record
from platform_assets.ledger.ledger import Ledger
from platform_assets.manifest import identity_of
from platform_assets.outside_systems import OutsideSystems
from platform_assets.pictures import as_markdown_image
from platform_assets.references import (
    HISTORICAL,
    TABLES,
    DatasetVersion,
    FeaturesVersion,
    TableSnapshot,
    TransformerVersion,
)
from platform_assets.shown import shown_table, stored_table
from platform_assets.step import (
    IO_MANAGER,
    broken_asset,
    evaluation_of,
    foreseen_failures,
    judged_alone,
    line_asset,
    materialized,
    override_config,
    published_reference,
    recorded_reference,
    with_overrides,
    without_retries,
)
from resources.provenance import code_commit
from resources.warehouse import Warehouse, WarehouseError

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.features.woe import Woe

TRANSFORMERS_GROUP: Final = "features"
BROKEN_TRANSFORMERS_GROUP: Final = "broken_transformers"
LEAK_CHECK: Final = RULE_SET.replace(".", "_")
_CODE = code_version("features", "platform_assets.features.featurizer", "platform_assets.datasets.snapshots")


def features_fingerprint(
    line: str,
    spec: BaseModel,
    featurizer: Featurizer[Any],
    *,
    dataset_version: str,
    transformers: Mapping[str, TransformerVersion],
) -> str:
    """Identity of the features that `spec` would make of a dataset version with these transformers."""
    applied = {f"transformer {name}": each.version for name, each in transformers.items()}
    if transformers:
        # Their features stand in this order.
        applied["transformers"] = " ".join(transformers)
    if tables := {
        f"table {name}": each.table.content_hash for name, each in transformers.items() if each.table
    }:
        # A version says of which rows its table was made, and not what an erasure has left of it.
        applied |= tables | {"join": join_code()}
    return fingerprint(
        f"{line}_features",
        code=f"{_CODE}|{featurizer.code}",
        config=identity_of(spec, featurizer.fields),
        upstream={"dataset": dataset_version, **applied, **featurizer.upstream(spec)},
    )


def applied_transformers(
    line: str, spec: BaseModel, featurizer: Featurizer[Any], ledger: Ledger, warehouse: Warehouse
) -> dict[str, TransformerVersion]:
    """What the transformers of a line's spec are now, by name; those that it joins with their tables as they are now.

    Raises:
        FeatureError: one was never fitted, never had the version that the spec names, or has lost its table.
        WarehouseError: the warehouse does not answer.
    """
    found = {split_reference(each)[0]: resolve(ledger, each) for each in featurizer.uses(spec).names}
    return with_recorded_tables(found, line, ledger, warehouse)


def features_asset(line: str, spec: BaseModel, featurizer: Featurizer[Any]) -> dg.AssetsDefinition:
    """`<line>_features`; with transformers it waits for them, and has a check of its leak gate."""
    overridden = override_config(spec, featurizer.overridable)
    use = featurizer.uses(spec)
    names = [split_reference(each)[0] for each in use.names]

    @line_asset(
        line,
        "features",
        description=featurizer.description,
        kinds=("iceberg", *featurizer.kinds),
        code=f"{_CODE}|{featurizer.code}",
        made_from={"dataset": "dataset"},
        deps=names,
        # Not blocking: the deployment asks the ledger, and names the verdict that is missing or failed.
        checks=[
            dg.AssetCheckSpec(
                LEAK_CHECK,
                asset=f"{line}_features",
                description="Transformers have learnt from training rows only, and look at nothing that is not known yet",
            )
        ]
        if names
        else [],
    )
    def features(
        context: dg.AssetExecutionContext,
        dataset: DatasetVersion,
        outside: dg.ResourceParam[OutsideSystems],
        config: overridden,  # type: ignore[valid-type]
    ) -> Iterator[Any]:
        with foreseen_failures():
            resolved = with_overrides(spec, config)
            if judged_alone(context):
                published = published_reference(context, f"{line}_features", FeaturesVersion)
                yield _judged_again(context, published, outside, featurizer.uses(resolved))
                return
            transformers = applied_transformers(line, resolved, featurizer, outside.ledger, outside.warehouse)
            fitted = _fitted(outside, resolved, featurizer, transformers)
            rows = outside.warehouse.read(dataset.snapshot.table, dataset.snapshot.snapshot_id)
            made = featurizer.apply(
                rows, resolved, subject_column=dataset.subject_column, transformers=fitted
            )
            known = outcomes_by_name(fitted, used_rows(rows))
            reference = FeaturesVersion(
                dataset=dataset,
                snapshot=_published(outside, made, dataset),
                featurizer_sha256=made.sha256,
                recipe=dict(made.recipe),
                state_prefix=_kept_state(outside, made, dataset),
                transformers=tuple(transformers.values()),
            )
            if transformers:
                yield _judged(context, reference, outside, featurizer.uses(resolved), fitted, rows)
            yield materialized(
                reference,
                fingerprint=features_fingerprint(
                    line, resolved, featurizer, dataset_version=dataset.version, transformers=transformers
                ),
                metadata={
                    **stored_table(
                        reference.snapshot,
                        made.table.schema,
                        outside.warehouse,
                        made_from=_lineage(
                            f"{line}_dataset", made.table.column_names, made.made_from, rows.column_names
                        )
                        | columns_behind(fitted, f"{line}_dataset"),
                    ),
                    **(
                        {"transformers": [each.label for each in reference.transformers]}
                        if transformers
                        else {}
                    ),
                    **(shown_table("joined", known) if known else {}),
                    **made.metadata,
                },
            )

    return features


def _lineage(
    dataset: str | None,
    columns: Iterable[str],
    made_from: Mapping[str, Sequence[str]],
    known: Collection[str],
) -> dict[str, list[tuple[str, str]]]:
    """Asset and column that each column of a table is made of: those that are named, else that of its own name.

    Args:
        dataset: The asset; nothing is told of a file, which is none.
        columns: Of the table.
        made_from: Columns of the dataset, by feature.
        known: All columns of the dataset; nothing is told of a column that none of them has made.
    """
    if dataset is None:
        return {}
    found = {
        column: [(dataset, each) for each in made_from.get(column, (column,)) if each in known]
        for column in columns
    }
    return {column: of for column, of in found.items() if of}


def transformer_asset(
    declared: DeclaredTransformer,
    contract: Contract | None = None,
    *,
    op_tags: Mapping[str, Any] | None = None,
    retry_policy: dg.RetryPolicy | None = None,
) -> dg.AssetsDefinition:
    """The asset of a transformer, called as it is: a fitted version, and where it looks at history a table of features.

    Args:
        declared: The transformer.
        contract: Of its dataset, where it has features by day: its rows are read here, so their days are judged here.
        op_tags: Of its step, e.g. what it asks of Kubernetes.
        retry_policy: Where its step has a pod that may be lost.
    """
    spec, name = declared.spec, declared.name
    historical = spec.transformer_type in HISTORICAL

    def declare(ins: Mapping[str, dg.AssetIn]) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
        made: Callable[[Callable[..., Any]], dg.AssetsDefinition] = dg.asset(
            name=name,
            group_name=TRANSFORMERS_GROUP,
            description=declared.content.description or _DESCRIPTIONS[spec.transformer_type],
            kinds={spec.transformer_type, *(["iceberg"] if historical else [])},
            code_version=kernel_version(spec.transformer_type),
            io_manager_key=IO_MANAGER,
            metadata={"declared_in": declared.place, "input_source": without_secrets(spec.input_source)},
            ins=ins,
            op_tags=op_tags,
            retry_policy=retry_policy,
        )
        return made

    if spec.dataset is None:

        @declare({})
        def of_file(
            context: dg.AssetExecutionContext, outside: dg.ResourceParam[OutsideSystems]
        ) -> dg.MaterializeResult[TransformerVersion]:
            return _transformer_made(context, declared, None, outside, None)

        return of_file

    @declare({"dataset": dg.AssetIn(spec.dataset)})
    def of_dataset(
        context: dg.AssetExecutionContext,
        dataset: DatasetVersion,
        outside: dg.ResourceParam[OutsideSystems],
    ) -> dg.MaterializeResult[TransformerVersion]:
        return _transformer_made(context, declared, dataset, outside, contract)

    return of_dataset


def broken_transformer_asset(transformer: BrokenTransformer) -> dg.AssetSpec:
    """What the UI shows of a transformer that cannot be loaded: its name, and why. Nothing can materialize it."""
    return broken_asset(
        "transformer",
        transformer.name,
        transformer.problem,
        identity=f"{transformer.place} {transformer.name}",
        group=BROKEN_TRANSFORMERS_GROUP,
        declared={"declared_in": transformer.place},
    )


def stale_transformer(
    declared: DeclaredTransformer, instance: dg.DagsterInstance, outside: OutsideSystems
) -> str:
    """Why the transformer would make another version now, or its features again; empty where it would not.

    Raises:
        DatasetError: its file is missing.
    """
    spec = declared.spec
    dataset = (
        recorded_reference(instance, dg.AssetKey(spec.dataset), DatasetVersion) if spec.dataset else None
    )
    if spec.dataset and dataset is None:
        return f"{spec.dataset} was never materialized"
    latest = latest_version(outside.ledger, declared.name)
    if latest is None:
        return "never fitted"
    changed = "its spec, code or input has changed"
    if dataset is not None:
        try:
            left = as_it_is(dataset, outside.warehouse)
        except WarehouseError as problem:
            return str(problem)
        if left is None:
            return f"the snapshot of {spec.dataset} is gone"
        if left != dataset:
            dataset, changed = left, f"rows of {spec.dataset} were erased or have expired"
    if latest.data_version != data_version(spec, FitInput.of(spec, dataset).content_hash):
        return changed
    if not is_intact(outside.object_store, latest):
        return "what was fitted is lost"
    made = recorded_reference(instance, dg.AssetKey(declared.name), TransformerVersion)
    if made is None or made.data_version != latest.data_version:
        return "its latest version was never materialized"
    if spec.transformer_type in HISTORICAL and not _table_is_whole(made, latest, outside.warehouse):
        return "its table is not there"
    return ""


_DESCRIPTIONS: Final = {
    "woe": "Weights of evidence, fitted on training rows.",
    "zscore": "How a value compares with those of its entity in the days before.",
    "lag": "An earlier value of the same entity.",
}


def _transformer_made(
    context: dg.AssetExecutionContext,
    declared: DeclaredTransformer,
    dataset: DatasetVersion | None,
    outside: OutsideSystems,
    contract: Contract | None,
) -> dg.MaterializeResult[TransformerVersion]:
    with without_retries(), foreseen_failures():
        made = make_version(declared, dataset, outside)
        if declared.days is not None and contract is not None:
            recorded_index(made.version, declared.spec, contract, outside, lambda: made.rows)
        version, reused, shown = made.version, made.reused, {}
        if version.transformer_type in HISTORICAL:
            before = recorded_reference(context.instance, context.asset_key, TransformerVersion)
            if reused and before is not None and _table_is_whole(before, version, outside.warehouse):
                version = version.model_copy(update={"table": before.table})
            else:
                table, rows = publish_features(made, declared, dataset, outside)
                version, reused = version.model_copy(update={"table": table}), False
                shown = _shown_history(declared, rows) | stored_table(
                    table,
                    rows.schema,
                    outside.warehouse,
                    made_from=_lineage(
                        declared.spec.dataset,
                        rows.column_names,
                        declared.spec.made_from,
                        made.rows.column_names,
                    ),
                )
        else:
            shown = _shown_weights(made)
        result = materialized(
            version,
            fingerprint=version.data_version,
            reused=reused,
            metadata={
                **shown,
                "version": version.label,
                "fit_rows": version.fit_rows,
                "rows_not_yet_known": made.fit_rows.not_yet_known,
                "input_source": version.input_source,
                "snapshot_id": version.snapshot.snapshot_id if version.snapshot else "none: it was a file",
                "fitted": outside.object_store.uri(version.object_key),
                **({"dagster/row_count": version.table.rows} if version.table else {}),
            },
        )
        # Nobody follows what could not be shown or published.
        make_latest(version, outside.ledger)
        return result


def _table_is_whole(
    made: TransformerVersion | None, version: TransformerVersion, warehouse: Warehouse
) -> bool:
    if made is None or made.table is None or made.data_version != version.data_version:
        return False
    try:
        left = warehouse.left_of(made.table.table, made.table.snapshot_id)
    except WarehouseError:
        return False
    return left == made.table.snapshot_id


def _shown_weights(made: Made) -> dict[str, Any]:
    from platform_assets.features.woe_pictures import woe_picture

    fitted: Woe = made.fitted  # type: ignore[assignment]
    information = stability_of(fitted, made.rows)
    # Of many columns, those are shown that say most.
    rank = {each["column"]: at for at, each in enumerate(information)}
    return {
        **shown_table("information", information),
        **shown_table("bins", sorted(bins_of(fitted), key=lambda each: rank[each["column"]])),
        "weights": dg.MetadataValue.md(as_markdown_image(woe_picture(fitted), "weights")),
    }


def _shown_history(declared: DeclaredTransformer, rows: "pa.Table") -> dict[str, Any]:
    from platform_assets.features.pictures import history_picture

    png = history_picture(rows, list(declared.spec.outputs.values()), str(declared.spec.timestamp_column))
    return {"distribution": dg.MetadataValue.md(as_markdown_image(png, "distribution"))}


def _judged(
    context: dg.AssetExecutionContext,
    features: FeaturesVersion,
    outside: OutsideSystems,
    use: TransformerUse,
    fitted: Mapping[str, FittedTransformer],
    rows: "pa.Table",
) -> dg.AssetCheckResult:
    report = judge_leaks(features.transformers, fitted, use, features.dataset, rows, outside.warehouse)
    verdict = report.verdict(f"{features.dataset.line}_features@{features.version}")
    record(outside.ledger, verdict, evaluation_id=evaluation_of(context))
    return dg.AssetCheckResult(
        check_name=LEAK_CHECK,
        passed=report.outcome == "pass",
        severity=dg.AssetCheckSeverity.ERROR,
        description=report.reason,
        metadata={"outcome": report.outcome},
    )


def _judged_again(
    context: dg.AssetExecutionContext, features: FeaturesVersion, outside: OutsideSystems, use: TransformerUse
) -> dg.AssetCheckResult:
    if not features.transformers:
        raise FeatureError(
            f"{features.dataset.line}_features, as they are published, were made without transformers, so there is nothing "
            "to judge; materialize them: the check runs with them"
        )
    transformers = [
        with_what_is_left(each, outside.warehouse) if each.table else each for each in features.transformers
    ]
    left = as_it_is(features.dataset, outside.warehouse)
    if left is None:
        raise FeatureError(
            f"the rows that {features.dataset.line}_features were made of are gone; materialize the dataset and the "
            "features again"
        )
    fitted = {
        each.name: with_table(each, load_fitted(outside.object_store, each), use.time, outside.warehouse)
        for each in transformers
    }
    rows = outside.warehouse.read(left.snapshot.table, left.snapshot.snapshot_id)
    return _judged(context, features, outside, use, fitted, rows)


def _fitted(
    outside: OutsideSystems,
    spec: BaseModel,
    featurizer: Featurizer[Any],
    transformers: Mapping[str, TransformerVersion],
) -> dict[str, FittedTransformer]:
    fitted = {name: load_fitted(outside.object_store, each) for name, each in transformers.items()}
    specs = {name: each.spec for name, each in fitted.items()}
    for name, each in transformers.items():
        if refusal := featurizer.refusal(spec, name, specs):
            raise FeatureError(f"{each.label}: {refusal.reason}")
    time = featurizer.uses(spec).time
    return {
        name: with_table(each, fitted[name], time, outside.warehouse) for name, each in transformers.items()
    }


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
