"""What of a line must run, and why."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from platform_assets.datasets.assets import dataset_fingerprint, surroundings_of
from platform_assets.datasets.ingestion import current_source_hash
from platform_assets.datasets.schema_breaker import breaker_state
from platform_assets.features.assets import applied_transformers, features_fingerprint, stale_transformer
from platform_assets.features.declared import DeclaredTransformer
from platform_assets.features.errors import FeatureError
from platform_assets.features.fit_input import FitInput
from platform_assets.features.joined import is_joined
from platform_assets.features.versions import (
    data_version,
    latest_version,
    recorded,
    recorded_table,
    resolve,
    split_reference,
    versions_of,
)
from platform_assets.governance import release as releases
from platform_assets.governance.assets import version_fingerprint
from platform_assets.governance.suppression import Suppression
from platform_assets.governance.verdict import unmet
from platform_assets.ledger.ledger import Ledger
from platform_assets.lines.assets import asset_key, transformer_keys
from platform_assets.lines.line import Line
from platform_assets.model_cards.assets import card_fingerprint
from platform_assets.models.assets import model_fingerprint
from platform_assets.models.errors import TrainingError
from platform_assets.models.job_files import files_prefix
from platform_assets.models.store import object_prefix
from platform_assets.models.tuned import require_of, tuned
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import (
    TUNING,
    AssetReference,
    CardVersion,
    DatasetVersion,
    DeploymentVersion,
    FeaturesVersion,
    ModelVersion,
    TuningVersion,
)
from platform_assets.serving.assets import deployment_fingerprint
from platform_assets.step import FINGERPRINT_KEY, recorded_materialization, recorded_reference
from platform_assets.tuning.assets import tuning_fingerprint
from platform_assets.validation.assets import validation_fingerprint
from resources.warehouse import Warehouse, WarehouseError


@dataclass(frozen=True, slots=True)
class Step:
    """What a plan says about one asset."""

    stage: str
    """One of the line's, or the name of a transformer."""
    key: dg.AssetKey
    runs: bool
    reason: str


def plan(
    line: Line, instance: dg.DagsterInstance, outside: OutsideSystems, *, now: datetime | None = None
) -> list[Step]:
    """Which assets of the line must run, and why; in the order of its stages, its transformers before the features.

    An asset is reused when its newest materialization has the fingerprint that it would have now, nothing
    before it runs, its rows are still there, and no verdict on it is missing or has grown too old.
    """
    ledger = outside.ledger
    line = line.adapted(ledger)
    recorded = {
        stage: recorded_reference(instance, asset_key(line, stage), kind)
        for stage, kind in line.stages.items()
    }
    known = {stage: reference for stage, reference in recorded.items() if reference is not None}
    stale = _stale(line, ledger, outside.warehouse, recorded, now or datetime.now(UTC))
    namespace = line.task.ingestion.subject(line.spec).namespace
    erasures = Suppression.of(ledger, outside.salt).hash_of(namespace)
    steps: list[Step] = []
    for stage in line.stages:
        if stage == "features":
            steps += plan_transformers(line, instance, outside, steps)
        reason, key = "", asset_key(line, stage)
        if before := next((step for step in steps if step.runs), None):
            reason = f"{before.stage} runs"
        elif stage not in known:
            reason = "never materialized"
        elif _current_fingerprint(line, stage, known, erasures, outside) != _recorded_fingerprint(
            instance, key
        ):
            reason = "its configuration, code or input has changed"
        elif stage in stale:
            reason = stale[stage]
        steps.append(Step(stage, key, runs=bool(reason), reason=reason or "unchanged"))
    return steps


def plan_transformers(
    line: Line, instance: dg.DagsterInstance, outside: OutsideSystems, before: Sequence[Step] = ()
) -> list[Step]:
    """What a plan says about the transformers of a line. One that is pinned runs only to become what it is pinned to.

    Raises:
        FeatureError: one is pinned to a version that there is not, and that it would not become.
    """
    steps = []
    for name, key in transformer_keys(line).items():
        declared, reference = line.transformers[name], line.transformer_references[name]
        running = next(
            (step for step in before if step.runs and step.key.to_user_string() == declared.spec.dataset),
            None,
        )
        if line.follows_latest(name):
            reason = f"{running.stage} runs" if running else stale_transformer(declared, instance, outside)
            reason = reason or _unrecorded(declared, line, outside.ledger)
        else:
            reason = _unmade(declared, reference, instance, outside, is_input_known=running is None)
        unchanged = "unchanged" if line.follows_latest(name) else f"pinned: {reference}"
        steps.append(Step(name, key, runs=bool(reason), reason=reason or unchanged))
    return steps


def refuse_unmade_inputs(line: Line, steps: Iterable[Step], instance: dg.DagsterInstance) -> None:
    """Refuse what would run a transformer on another line's dataset that nobody has made: it is not run with this line.

    Raises:
        FeatureError: there is one; the message names the line to run first.
    """
    own = f"{line.name}_dataset"
    for step in steps:
        declared = line.transformers.get(step.stage)
        dataset = declared.spec.dataset if declared is not None and step.runs else None
        if dataset is None or dataset == own:
            continue
        if recorded_reference(instance, dg.AssetKey(dataset), DatasetVersion) is None:
            raise FeatureError(
                f"{step.stage} reads {dataset}, which was never materialized, and is not made with {line.name}; run that first: "
                f"platform-assets run {dataset.removesuffix('_dataset')}"
            )


def _unrecorded(declared: DeclaredTransformer, line: Line, ledger: Ledger) -> str:
    """Why a transformer that is otherwise up to date must say again which table it published, for the line to join it."""
    if not is_joined(declared.spec, line.name):
        return ""
    latest = latest_version(ledger, declared.name)
    return "" if latest and recorded_table(ledger, latest) else "which table it published was never recorded"


def _unmade(
    declared: DeclaredTransformer,
    reference: str,
    instance: dg.DagsterInstance,
    outside: OutsideSystems,
    *,
    is_input_known: bool,
) -> str:
    """Why a pinned transformer is fitted, to become what the reference says; empty where it is that already."""
    try:
        resolve(outside.ledger, reference)
    except FeatureError as problem:
        lack = str(problem)
    else:
        return ""
    spec, (name, wanted) = declared.spec, split_reference(reference)
    would_be = max((each.number for each in versions_of(outside.ledger, name)), default=0) + 1
    dataset = (
        recorded_reference(instance, dg.AssetKey(spec.dataset), DatasetVersion) if spec.dataset else None
    )
    if is_input_known and (dataset is not None or spec.dataset is None):
        now = data_version(spec, FitInput.of(spec, dataset).content_hash)
        if (known := recorded(outside.ledger, name, now)) is not None:
            would_be = known.number
    if would_be != wanted:
        raise FeatureError(
            f"{lack}. Fitted now, {name} would be v{would_be}, not v{wanted}; name a version that there is, v{would_be} or "
            "latest"
        )
    return lack


def _current_fingerprint(
    line: Line, stage: str, known: Mapping[str, AssetReference], erasures: str, outside: OutsideSystems
) -> str:
    """The fingerprint that a stage would have if it ran now, on these versions of the stages before it."""
    spec, task, name = line.spec, line.task, line.name
    versions = {before: reference.version for before, reference in known.items()}
    match stage:
        case "dataset":
            surroundings = surroundings_of(name, task.ingestion, line.contract, outside)
            return dataset_fingerprint(
                spec,
                task.ingestion,
                line.contract,
                source_hash=current_source_hash(spec, task.ingestion, surroundings),
                erasures=erasures,
                surroundings=surroundings,
            )
        case "features":
            return features_fingerprint(
                name,
                spec,
                task.featurizer,
                dataset_version=versions["dataset"],
                transformers=applied_transformers(
                    name, spec, task.featurizer, outside.ledger, outside.warehouse
                ),
            )
        case "tuning":
            assert line.experiment is not None, "only a line with one has the stage"
            return tuning_fingerprint(spec, task.trainer, line.experiment, _features_of(known))
        case "model":
            tuning = known.get(TUNING)
            assert tuning is None or isinstance(tuning, TuningVersion)
            return model_fingerprint(tuned(spec, tuning, file=spec), task.trainer, _features_of(known))
        case "validation":
            return validation_fingerprint(
                name, spec.gates, spec.drift, task.evaluator, spec, model_version=versions["model"]
            )
        case "version":
            return version_fingerprint(name, report_version=versions["validation"])
        case "card":
            return card_fingerprint(
                name,
                spec.card,
                task.card_sections,
                registered_version=versions["version"],
                report_version=versions["validation"],
            )
        case _:
            return deployment_fingerprint(
                name, spec.deployment, line.demands, task.model_format, card_version=versions["card"]
            )


def _features_of(known: Mapping[str, AssetReference]) -> FeaturesVersion:
    features = known["features"]
    assert isinstance(features, FeaturesVersion)
    return features


def training_prefix(line: Line, instance: dg.DagsterInstance, *, env: str) -> str:
    """Key of the files through which several nodes would train the line's model now.

    Raises:
        TrainingError: there are no features yet, no tuning of them where the line has one, or the spec asks for one node.
    """
    spec = line.spec
    if spec.resources.nodes == 1:
        raise TrainingError(f"{line.name} trains on one node: set resources.nodes in {line.manifest.path}")
    features = recorded_reference(instance, asset_key(line, "features"), FeaturesVersion)
    if features is None:
        raise TrainingError(
            f"{line.name}_features was never materialized, and the Job's name follows from it; run the line first"
        )
    tuning = None
    if TUNING in line.stages:
        tuning = recorded_reference(instance, asset_key(line, TUNING), TuningVersion)
        if tuning is None:
            raise TrainingError(
                f"{line.name}_tuning was never materialized, and the Job's name follows from it; run the line first"
            )
        require_of(tuning, features)
    fingerprint = model_fingerprint(tuned(spec, tuning, file=spec), line.task.trainer, features)
    return files_prefix(object_prefix(env, line.name, fingerprint))


def _recorded_fingerprint(instance: dg.DagsterInstance, key: dg.AssetKey) -> object:
    materialization = recorded_materialization(instance, key)
    value = materialization.metadata.get(FINGERPRINT_KEY) if materialization else None
    return value.value if value else None


def _stale(
    line: Line,
    ledger: Ledger,
    warehouse: Warehouse,
    recorded: Mapping[str, AssetReference | None],
    now: datetime,
) -> dict[str, str]:
    """Reason by stage, for stages that must run although nothing they are made from has changed."""
    model, card, deployment = recorded["model"], recorded["card"], recorded["deployment"]
    stale: dict[str, str] = {}
    if isinstance(model, ModelVersion):
        for each in unmet(
            ledger, line.demands.of(model, card if isinstance(card, CardVersion) else None), now=now
        ):
            kind = each.resolved.requirement.subject_kind
            stale.setdefault("validation" if kind == "model" else kind, str(each))
    for stage in ("dataset", "features"):
        reference = recorded[stage]
        if isinstance(reference, DatasetVersion | FeaturesVersion):
            try:
                left = warehouse.left_of(reference.snapshot.table, reference.snapshot.snapshot_id)
            except WarehouseError as problem:
                stale[stage] = str(problem)
            else:
                if left != reference.snapshot.snapshot_id:
                    stale[stage] = "rows of it were erased or have expired"
    breaker = breaker_state(ledger, f"{line.name}_dataset")
    if breaker.state != "closed":
        stale["dataset"] = f"its schema breaker is {breaker.state}"
    if isinstance(deployment, DeploymentVersion) and (
        misplaced := _misplaced(line, ledger, deployment.release_id)
    ):
        stale.setdefault("deployment", misplaced)
    return stale


def _misplaced(line: Line, ledger: Ledger, release_id: str) -> str:
    """Why a release that was deployed is not where a deployment of the line goes; empty where it is."""
    active = releases.active(ledger, line.name)
    if active is not None and active.release_id == release_id:
        return ""
    if line.deployment_stage == "production":
        return "its release is not the active one"
    # One that people have promoted since, and gone back from, is not brought back to staging by a run.
    staged = ledger.latest(releases.STAGED, line.name)
    is_staged = staged is not None and staged.body["release_id"] == release_id
    return "" if is_staged else "its release is not the one in staging"
