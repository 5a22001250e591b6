"""The factory: one training spec becomes the assets of one model line, and a plan of what to run.

    <line>_dataset → _features → _model → _validation → _version → _card → _deployment

It stands above the domains and composes them; no domain knows the whole spec.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import JsonValue

from platform_assets.datasets.assets import (
    dataset_asset,
)
from platform_assets.datasets.contract import CONTRACTS_FOLDER, Contract, find_contract, load_contract
from platform_assets.features.assets import features_asset
from platform_assets.governance import retraining as retrainings
from platform_assets.governance.assets import version_asset
from platform_assets.governance.ledger import Ledger, fingerprint_of
from platform_assets.governance.verdict import Requirement
from platform_assets.manifest import Manifest
from platform_assets.model_cards.assets import card_asset
from platform_assets.models.assets import model_asset
from platform_assets.models.training_spec import TrainingSpec, launchable, read_training_spec, with_launched
from platform_assets.serving.assets import deployment_asset
from platform_assets.validation.assets import validation_asset
from platform_assets.validation.gate import Gate
from platform_assets.validation.reference import COLUMNS as PROFILED
from resources.dagster_home import LINE_TAG

SPECS_FOLDER = Path(__file__).parent.parent / "models"
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
        """Identity of what the file's spec says, whatever its layout.

        What it leaves to defaults is no part of it: a field that a later version adds changes no basis.
        """
        return self.file_basis or fingerprint_of(**self.spec.model_dump(mode="json", exclude_unset=True))

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
        spec = self.spec
        return [
            dataset_asset(self.name, spec, self.contract),
            features_asset(self.name, spec),
            model_asset(spec, self.manifest.path, self.basis, self.retraining, lost_pod_retries),
            validation_asset(self.name, spec.gates, spec.drift),
            version_asset(self.name, self.requirements, self.rule_set_hashes),
            card_asset(self.name, spec.card, self.requirements, self.rule_set_hashes),
            deployment_asset(
                self.name, spec.deployment, self.requirements, self.rule_set_hashes, self.retraining
            ),
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
