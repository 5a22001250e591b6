"""The factory: one training spec becomes the assets of one model line, and a plan of what to run.

    <line>_dataset → _features → _model → _validation → _version → _card → _deployment

It stands above the domains and composes them; no domain knows the whole spec.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import JsonValue

from platform_assets.datasets.assets import (
    current_source_hash,
    dataset_asset,
    dataset_fingerprint,
)
from platform_assets.datasets.contract import CONTRACTS_FOLDER, Contract, find_contract, load_contract
from platform_assets.datasets.schema_breaker import breaker_state
from platform_assets.features.assets import features_asset, features_fingerprint
from platform_assets.governance import release as releases
from platform_assets.governance import retraining as retrainings
from platform_assets.governance.assets import version_asset, version_fingerprint
from platform_assets.governance.erasure import Suppression
from platform_assets.governance.ledger import Ledger, fingerprint_of
from platform_assets.governance.requirements import resolve
from platform_assets.governance.verdict import Requirement, unmet
from platform_assets.manifest import Manifest
from platform_assets.model_cards.assets import card_asset, card_fingerprint
from platform_assets.models.assets import model_asset, model_fingerprint
from platform_assets.models.errors import TrainingError
from platform_assets.models.job_files import files_prefix
from platform_assets.models.store import object_prefix
from platform_assets.models.training_spec import TrainingSpec, launchable, read_training_spec, with_launched
from platform_assets.references import (
    STAGES,
    AssetReference,
    DatasetVersion,
    DeploymentVersion,
    FeaturesVersion,
    ModelVersion,
)
from platform_assets.serving.assets import deployment_asset, deployment_fingerprint
from platform_assets.step import FINGERPRINT_KEY, recorded_materialization, recorded_reference
from platform_assets.systems import open_warehouse
from platform_assets.validation.assets import validation_asset, validation_fingerprint
from platform_assets.validation.gate import Gate
from platform_assets.validation.reference import COLUMNS as PROFILED
from resources.dagster_home import LINE_TAG
from resources.row_salt import row_salt
from resources.settings import PlatformSettings
from resources.warehouse import Warehouse, WarehouseError

SPECS_FOLDER = Path(__file__).parent / "models"
SPEC_FILE = "training-spec.yaml"


@dataclass(frozen=True)
class Line:
    """One model line: its spec, checked as a whole."""

    manifest: Manifest[TrainingSpec]
    contract: Contract
    retraining: str | None = None
    """Ledger entry of the request whose values stand in the spec instead of the file's."""
    file_basis: str | None = None
    """Identity of the file's spec, where another's values stand in its place."""

    @property
    def spec(self) -> TrainingSpec:
        """The parsed spec."""
        return self.manifest.content

    @property
    def name(self) -> str:
        """The line's name; every asset's key begins with it."""
        return self.spec.line

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """The verdicts that deploying demands."""
        return self.spec.requires.deploy

    @cached_property
    def rule_set_hashes(self) -> dict[str, str]:
        """Hash by rule set, as the files state the rules now: verdicts under older rules do not count."""
        gates = (Gate.parse(name, condition) for name, condition in self.spec.gates.items())
        return self.contract.rule_set_hashes | {gate.rule_set: gate.rule_set_hash for gate in gates}

    @cached_property
    def basis(self) -> str:
        """Identity of the file's spec, whatever its layout."""
        return self.file_basis or fingerprint_of(**self.spec.model_dump(mode="json"))

    def fixed_differences(self, spec: TrainingSpec) -> list[str]:
        """Fields in which `spec` differs and that no run may change: they belong to the definitions."""
        ours = self.spec.model_dump(mode="json")
        theirs = with_launched(spec, launchable(self.spec)).model_dump(mode="json")
        found = [field for field in ours if ours[field] != theirs[field]]
        # The gates measure on rows of the first source, so a run cannot bring another one along.
        if spec.train_data_uri[0] != self.spec.train_data_uri[0]:
            found.append("train_data_uri[0]")
        return found

    def run_config(self, config: Mapping[str, Mapping[str, JsonValue]]) -> dict[str, Any]:
        """Dagster's run config that gives every stage these values."""
        return {"ops": {f"{self.name}_{stage}": {"config": dict(values)} for stage, values in config.items()}}

    def adapted(self, ledger: Ledger) -> "Line":
        """The line as its active release was retrained: after drift, or from a pushed commit.

        A release that was made of the file as it is leaves the line as it is; so does a change of the file.
        """
        found = retrainings.followed(ledger, self.name, basis=self.basis)
        if found is None:
            return self
        entry_hash, retraining = found
        spec = with_launched(self.spec, retraining.config)
        manifest = replace(self.manifest, content=spec)
        return replace(self, manifest=manifest, retraining=entry_hash, file_basis=self.basis)

    @cached_property
    def job(self) -> Any:
        """The job that materializes the whole line; one run of a line at a time."""
        return dg.define_asset_job(
            self.name,
            selection=dg.AssetSelection.groups(self.name),
            description=self.spec.description,
            tags={LINE_TAG: self.name},
        )

    def key(self, stage: str) -> dg.AssetKey:
        """Asset key of a stage."""
        return dg.AssetKey(f"{self.name}_{stage}")

    def assets(self, *, lost_pod_retries: int = 0) -> list[dg.AssetsDefinition]:
        """The line's assets, in the order of `STAGES`.

        Args:
            lost_pod_retries: How often training is tried again after its pod was lost.
        """
        spec, deployment = self.spec, self.spec.deployment.model_dump(mode="json")
        return [
            dataset_asset(self.name, spec, self.contract),
            features_asset(self.name, spec),
            model_asset(spec, self.manifest.path, self.basis, self.retraining, lost_pod_retries),
            validation_asset(self.name, spec.gates, spec.drift),
            version_asset(self.name, self.requirements, self.rule_set_hashes),
            card_asset(self.name, spec.card.model_dump(), self.requirements, self.rule_set_hashes),
            deployment_asset(self.name, deployment, self.requirements, self.rule_set_hashes, self.retraining),
        ]


def load_line(path: Path) -> Line:
    """The line that the spec in `path` declares.

    Raises:
        ManifestError: the spec is wrong, in itself or against its contract; file, line and field are named.
        ContractError: the contract file is wrong.
    """
    manifest = read_training_spec(path)
    spec = manifest.content
    for name, condition in spec.gates.items():
        try:
            Gate.parse(name, condition)
        except ValueError as problem:
            raise manifest.error(("gates", name), str(problem)) from None
    if unknown := [column for column in spec.drift.columns if column not in PROFILED]:
        raise manifest.error(
            ("drift", "columns"), f"no reference profile has {unknown[0]}; known are {', '.join(PROFILED)}"
        )
    retrain = spec.drift.retrain
    if retrain is not None and retrain.train_data_uri[0] != spec.train_data_uri[0]:
        raise manifest.error(
            ("drift", "retrain", "train_data_uri"),
            f"must begin with {spec.train_data_uri[0]}, the line's own first source: the gates measure on its test split",
        )
    contract_path = find_contract(spec.contract, beside=path.parent)
    if contract_path is None:
        raise manifest.error(
            ("contract",), f"no contract file {spec.contract} beside the spec or in {CONTRACTS_FOLDER.name}/"
        )
    contract = load_contract(contract_path)
    contract.require_raw()
    line = Line(manifest, contract)
    demanded = {requirement.rule_set for requirement in line.requirements}
    for at, requirement in enumerate(line.requirements):
        if requirement.rule_set not in line.rule_set_hashes:
            known = ", ".join(line.rule_set_hashes)
            raise manifest.error(
                ("requires", "deploy", at, "rule_set"),
                f"nothing yields verdicts of {requirement.rule_set}; known are {known}",
            )
    if idle := [name for name in spec.gates if f"gate.{name}" not in demanded]:
        raise manifest.error(
            ("gates", idle[0]), "decides nothing: list it under requires.deploy, or remove it"
        )
    return line


def load_lines(specs: tuple[Path, ...] = ()) -> list[Line]:
    """The lines of these specs, or of every spec that ships with the package."""
    return [load_line(path) for path in specs or sorted(SPECS_FOLDER.glob(f"*/{SPEC_FILE}"))]


@dataclass(frozen=True, slots=True)
class Step:
    """What a plan says about one asset."""

    stage: str
    key: dg.AssetKey
    runs: bool
    reason: str


def plan(
    line: Line,
    instance: dg.DagsterInstance,
    ledger: Ledger,
    settings: PlatformSettings,
    *,
    now: datetime | None = None,
) -> list[Step]:
    """Which assets of the line must run, and why; in the order of `STAGES`.

    An asset is reused when its newest materialization has the fingerprint that it would have now, nothing
    before it runs, its rows are still there, and no verdict on it is missing or has grown too old.
    """
    line = line.adapted(ledger)
    recorded = {stage: recorded_reference(instance, line.key(stage), kind) for stage, kind in STAGES.items()}
    versions = {stage: reference.version for stage, reference in recorded.items() if reference is not None}
    stale = _stale(line, ledger, open_warehouse(settings), recorded, now or datetime.now(UTC))
    erasures = Suppression.of(ledger, row_salt(settings.home)).hash
    steps: list[Step] = []
    for stage in STAGES:
        reason = ""
        if before := next((step for step in steps if step.runs), None):
            reason = f"{before.stage} runs"
        elif stage not in versions:
            reason = "never materialized"
        elif _current_fingerprint(line, stage, versions, erasures) != _recorded_fingerprint(
            instance, line.key(stage)
        ):
            reason = "its configuration, code or input has changed"
        elif stage in stale:
            reason = stale[stage]
        steps.append(Step(stage, line.key(stage), runs=bool(reason), reason=reason or "unchanged"))
    return steps


def _current_fingerprint(line: Line, stage: str, versions: Mapping[str, str], erasures: str) -> str:
    """The fingerprint that a stage would have if it ran now, on these versions of the stages before it."""
    spec, name = line.spec, line.name
    match stage:
        case "dataset":
            sources = current_source_hash(spec)
            return dataset_fingerprint(name, spec, line.contract, source_hash=sources, erasures=erasures)
        case "features":
            return features_fingerprint(name, spec, dataset_version=versions["dataset"])
        case "model":
            return model_fingerprint(spec, features_version=versions["features"], model_name=spec.model_name)
        case "validation":
            return validation_fingerprint(name, spec.gates, spec.drift, model_version=versions["model"])
        case "version":
            return version_fingerprint(name, report_version=versions["validation"])
        case "card":
            return card_fingerprint(
                name,
                spec.card.model_dump(),
                registered_version=versions["version"],
                report_version=versions["validation"],
            )
        case _:
            return deployment_fingerprint(
                name,
                spec.deployment.model_dump(mode="json"),
                line.requirements,
                line.rule_set_hashes,
                card_version=versions["card"],
            )


def training_prefix(line: Line, instance: dg.DagsterInstance, settings: PlatformSettings) -> str:
    """Key of the files through which several nodes would train the line's model now.

    Raises:
        TrainingError: there are no features yet, or the spec asks for one node.
    """
    spec = line.spec
    if spec.resources.nodes == 1:
        raise TrainingError(f"{line.name} trains on one node: set resources.nodes in {line.manifest.path}")
    features = recorded_reference(instance, line.key("features"), FeaturesVersion)
    if features is None:
        raise TrainingError(
            f"{line.name}_features was never materialized, and the Job's name follows from it; run the line first"
        )
    identity = model_fingerprint(spec, features_version=features.version, model_name=features.model_name)
    return files_prefix(object_prefix(settings.env, line.name, identity))


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
    model, deployment = recorded["model"], recorded["deployment"]
    stale: dict[str, str] = {}
    if isinstance(model, ModelVersion):
        judged_by = {"dataset": "dataset", "model": "validation"}
        for each in unmet(ledger, resolve(line.requirements, model, line.rule_set_hashes), now=now):
            stale.setdefault(judged_by[each.resolved.requirement.subject_kind], str(each))
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
    active = releases.active(ledger, line.name)
    if isinstance(deployment, DeploymentVersion) and (
        active is None or active.release_id != deployment.release_id
    ):
        stale.setdefault("deployment", "its release is not the active one")
    return stale
