"""One model line: a training spec, checked as a whole against its task and its contract.

    <line>_dataset → _features → _model → _validation → _version → _card → _deployment

It stands above the domains; no domain knows the whole spec. What Dagster makes of it, `lines/assets.py` says.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path, PurePath
from typing import Any

from pydantic import JsonValue
from pydantic import ValidationError as PydanticValidationError

from platform_assets.datasets.contract import CONTRACTS_FOLDER, Contract, find_contract, load_contract
from platform_assets.datasets.schema_breaker import BREAKER, problem_of
from platform_assets.features.declared import DeclaredTransformer, Transformers
from platform_assets.features.leak import RULE_SET as LEAK_RULE_SET
from platform_assets.features.leak import RULE_SET_HASH as LEAK_RULE_SET_HASH
from platform_assets.features.leak_gate import REQUIREMENT as NO_LEAK
from platform_assets.features.versions import split_reference
from platform_assets.governance import retraining as retrainings
from platform_assets.governance.errors import GovernanceError
from platform_assets.governance.release import Stage
from platform_assets.governance.requirements import Condition, Demands, PromotionDemands
from platform_assets.governance.review_rule import ReviewRequirement
from platform_assets.governance.verdict import Requirement
from platform_assets.ledger.keys import Key
from platform_assets.ledger.ledger import Ledger, fingerprint_of
from platform_assets.manifest import Manifest, ManifestError, first_problem, read_yaml
from platform_assets.references import FORMER_TABLES, TUNED_STAGES, TUNING, AssetReference
from platform_assets.tasks.registry import read_training_spec
from platform_assets.tasks.task import AnyTask, Overrides
from platform_assets.tasks.training_spec import TrainingSpec
from platform_assets.tuning.declared import RULE_SET as TUNING_RULE_SET
from platform_assets.tuning.declared import RULE_SET_HASH as TUNING_RULE_SET_HASH
from platform_assets.tuning.declared import declared_experiment
from platform_assets.tuning.experiment import Experiment
from platform_assets.validation.gate import Gate
from resources.errors import PlatformError
from resources.provenance import commit_author, source_commit

SPECS_FOLDER = Path(__file__).parent.parent / "models"
SPEC_FILE = "training-spec.yaml"
RESERVED_NAMES = frozenset(
    {
        "broken_lines",
        "broken_transformers",
        "drift",
        "features",
        "governance",
        "promotions",
        "quarantine",
        "retention",
        "retention_sweep",
        "schema_changes",
    }
)
"""Groups, jobs and assets of the platform itself."""
RESERVED_ENDINGS = tuple(table.rpartition("{line}")[2] for table in FORMER_TABLES.values())
"""With one of them, a line's tables would be those that another line's versions of earlier releases lie in."""


class LineError(PlatformError):
    """A line is not there, or cannot be told from others."""


@dataclass(frozen=True)
class Line:
    """One model line: its spec, checked as a whole."""

    manifest: Manifest[TrainingSpec]
    task: AnyTask
    contract: Contract
    retraining: str | None = None
    """Ledger entry of the request whose values stand in the spec instead of the file's."""
    file_basis: str | None = None
    """Identity of the file's spec, where another's values stand in its place."""
    transformers: Mapping[str, DeclaredTransformer] = field(default_factory=dict)
    """Those of its spec that are declared, by name; the others can only be pinned to a version that there is."""
    experiment: Experiment | None = None
    """How it is tuned; None where it is not."""

    @property
    def spec(self) -> TrainingSpec:
        """The parsed spec."""
        return self.manifest.content

    @property
    def name(self) -> str:
        """The line's name; every asset's key begins with it."""
        return self.spec.line

    @property
    def stages(self) -> Mapping[str, type[AssetReference]]:
        """Its assets in the order in which data flows, and what each hands on."""
        return self.spec.stages

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """The verdicts that deploying demands: those of its spec, and of a line with transformers the leak gate's."""
        stated = self.spec.requires.deploy
        if not self.transformer_references or any(each.rule_set == LEAK_RULE_SET for each in stated):
            return stated
        return (*stated, NO_LEAK)

    @property
    def transformer_references(self) -> dict[str, str]:
        """The transformers that it uses, as its spec has them (`credit_woe@latest`), by name."""
        names = self.task.featurizer.uses(self.spec).names
        return {split_reference(each)[0]: each for each in names}

    @property
    def example_instance(self) -> str:
        """An argument of `predict` that its model answers, to be shown."""
        specs = {name: each.spec for name, each in self.transformers.items()}
        return self.task.example_instance(self.spec, specs)

    def follows_latest(self, name: str) -> bool:
        """Whether each run looks up what the transformer is at the latest; else it is pinned to a version."""
        return split_reference(self.transformer_references[name])[1] is None

    def using(self, transformers: Transformers) -> "Line":
        """The line with those of these transformers that its spec names.

        Raises:
            ManifestError: one does not fit the spec, is broken, or is asked for as `latest` and not declared.
        """
        sound, references = transformers.sound, self.transformer_references
        own = {name: sound[name] for name in references if name in sound}
        specs = {name: each.spec for name, each in own.items()}
        problems = {each.name: each.problem for each in transformers.broken}
        for at, (name, reference) in enumerate(references.items()):
            place = ("transformers", at) if len(references) > 1 else ("transformers",)
            if name in own:
                if refusal := self.task.featurizer.refusal(self.spec, name, specs):
                    raise self.manifest.error(refusal.field or place, refusal.reason)
            elif split_reference(reference)[1] is None:
                known = ", ".join(sound) or "none"
                why = (
                    f"{name} is broken: {problems[name]}"
                    if name in problems
                    else f"there is no transformer {name}"
                )
                # It may be in one of them, and there is no reading its name.
                unread = ", ".join(each.place for each in transformers.broken if name not in problems)
                also = f"; these cannot be loaded: {unread}" if unread else ""
                raise self.manifest.error(place, f"{why}; known are {known}{also}")
        return replace(self, transformers=own)

    @cached_property
    def rule_set_hashes(self) -> dict[str, str]:
        """Hash by rule set, as the files state the rules now: verdicts under older rules do not count."""
        rules, spec = self.task.rules, self.spec
        gates = (Gate.parse(name, condition, rules, spec) for name, condition in spec.gates.items())
        leaks = {LEAK_RULE_SET: LEAK_RULE_SET_HASH} if self.transformer_references else {}
        tunings = {TUNING_RULE_SET: TUNING_RULE_SET_HASH} if self.experiment else {}
        found = {gate.rule_set: gate.rule_set_hash for gate in gates}
        return self.contract.rule_set_hashes | found | leaks | tunings

    @property
    def demands(self) -> Demands:
        """What deploying demands, under the rules as they are now."""
        return Demands(self.requirements, self.rule_set_hashes, self.waivable)

    @property
    def deployment_stage(self) -> Stage:
        """Where a deployment of the line goes."""
        return "staging" if self.spec.requires.is_promoted else "production"

    @property
    def waivable(self) -> frozenset[str]:
        """Rule sets that a waiver meets."""
        return frozenset(self.spec.requires.waivable)

    @cached_property
    def spec_commit(self) -> str:
        """Of its spec, as `source_commit` tells it; `+dirty` also where its contract or its Experiment was changed."""
        folder, commit = self.manifest.path.parent, source_commit(self.manifest.path)
        contract = find_contract(self.spec.contract, beside=folder)
        beside = [contract, folder / self.spec.experiment if self.spec.experiment else None]
        changed = any(source_commit(each).endswith("+dirty") for each in beside if each is not None)
        return f"{commit}+dirty" if changed and not commit.endswith("+dirty") else commit

    @cached_property
    def promotion(self) -> PromotionDemands | None:
        """What promoting demands, under the rules as they are now; None where deployments go to production."""
        stated, dataset = self.spec.requires.promote, f"{self.name}_dataset"
        if not stated:
            return None
        further = [each for each in stated if isinstance(each, Requirement)]
        return PromotionDemands(
            verdicts=Demands(
                tuple(dict.fromkeys((*self.requirements, *further))), self.rule_set_hashes, self.waivable
            ),
            reviews=tuple(each.review for each in stated if isinstance(each, ReviewRequirement)),
            waivable=self.waivable,
            conditions=(Condition(Key(BREAKER, dataset), partial(problem_of, dataset)),),
            spec_commit=self.spec_commit,
            spec_author=commit_author(self.manifest.path, self.spec_commit),
        )

    @cached_property
    def basis(self) -> str:
        """Identity of what the file says, whatever its layout."""
        return self.file_basis or fingerprint_of(**self.spec.model_dump(mode="json", exclude_unset=True))

    @property
    def overrides(self) -> Overrides:
        """The values of everything that one run may change, by stage and field."""
        return self.task.overrides(self.spec)

    def fixed_differences(self, spec: TrainingSpec) -> list[str]:
        """Fields in which `spec` differs and that no run may change: they belong to the definitions."""
        if spec.task != self.spec.task:
            return ["task"]
        ours = self.spec.model_dump(mode="json")
        theirs = self.task.with_overrides(spec, self.overrides).model_dump(mode="json")
        found = [field for field in ours if ours[field] != theirs[field]]
        # The gates measure on rows of the first source, so a run cannot bring another one along.
        if spec.train_data_uri[0] != self.spec.train_data_uri[0]:
            found.append("train_data_uri[0]")
        return found

    def run_config(self, overrides: Mapping[str, Mapping[str, JsonValue]]) -> dict[str, Any]:
        """Dagster's run config that gives every stage these values; a tuning takes those of the model."""
        if TUNING in self.stages and "model" in overrides:
            overrides = {**overrides, TUNING: overrides["model"]}
        return {
            "ops": {f"{self.name}_{stage}": {"config": dict(values)} for stage, values in overrides.items()}
        }

    def adapted(self, ledger: Ledger) -> "Line":
        """The line as its active release was retrained: after drift, or from a pushed commit.

        A release that was made of the file as it is leaves the line as it is; so does a change of the file.

        Raises:
            LineError: the ledger names values that this version of the line cannot take.
        """
        try:
            found = retrainings.followed(ledger, self.name, basis=self.basis)
            if found is None:
                return self
            entry_hash, retraining = found
            spec = self.task.with_overrides(self.spec, retraining.config)
        except (GovernanceError, ValueError, KeyError) as problem:
            reason = first_problem(problem) if isinstance(problem, PydanticValidationError) else str(problem)
            raise LineError(
                f"{self.name} follows a retraining whose values it cannot take any more ({reason}); change its spec in any "
                "way to go on from the file, or deploy the version that asked for it"
            ) from None
        manifest = replace(self.manifest, content=spec)
        return replace(self, manifest=manifest, retraining=entry_hash, file_basis=self.basis)

    def asset_names(self) -> dict[str, str]:
        """Name of each asset of the line, by stage."""
        return {stage: f"{self.name}_{stage}" for stage in self.stages}


@dataclass(frozen=True, slots=True)
class BrokenLine:
    """A spec that is none: it takes down itself and no other."""

    path: Path
    name: str
    """As the spec says, where that much can be read; else the name of its folder."""
    problem: str
    """What is wrong, with file, line and field."""


@dataclass(frozen=True, slots=True)
class Lines:
    """What a set of specs declares."""

    sound: tuple[Line, ...]
    broken: tuple[BrokenLine, ...]


def is_reserved(name: str) -> bool:
    """Whether no line and no transformer may have this name."""
    return name in RESERVED_NAMES or name.endswith(RESERVED_ENDINGS)


def load_line(path: Path) -> Line:
    """The line that the spec in `path` declares.

    Raises:
        ManifestError: the spec is wrong, in itself or against its contract; file, line and field are named.
        ContractError: the contract file is wrong.
    """
    task, manifest = read_training_spec(path)
    spec = manifest.content
    if is_reserved(spec.line):
        raise manifest.error(
            ("line",),
            f"{spec.line} is a name of the platform's own, or ends in {' or '.join(RESERVED_ENDINGS)} as tables of "
            "earlier releases do; choose another",
        )
    for name, condition in spec.gates.items():
        try:
            Gate.parse(name, condition, task.rules, spec)
        except ValueError as problem:
            raise manifest.error(("gates", name), str(problem)) from None
    watchable = task.watchable(spec)
    if unknown := [column for column in spec.drift.columns if column not in watchable]:
        raise manifest.error(
            ("drift", "columns"), f"no reference profile has {unknown[0]}; known are {', '.join(watchable)}"
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
    if misfit := spec.misfit(contract.require_raw().columns):
        raise manifest.error(*misfit)
    line = Line(manifest, task, contract, experiment=_experiment_of(manifest, task))
    _check_requirements(line)
    return line


def _check_requirements(line: Line) -> None:
    """Nothing, where something yields each verdict that is demanded, and each gate is demanded.

    Raises:
        ManifestError: it is not so.
    """
    manifest, spec, known = line.manifest, line.spec, line.rule_set_hashes
    demanded = set()
    for act, requirements in (("deploy", line.requirements), ("promote", spec.requires.promote)):
        for at, requirement in enumerate(requirements):
            if isinstance(requirement, ReviewRequirement):
                continue
            demanded.add(requirement.rule_set)
            if requirement.rule_set not in known:
                raise manifest.error(
                    ("requires", act, at, "rule_set"),
                    f"nothing yields verdicts of {requirement.rule_set}; known are {', '.join(known)}",
                )
    for at, rule_set in enumerate(spec.requires.waivable):
        if rule_set not in demanded:
            raise manifest.error(
                ("requires", "waivable", at),
                f"{rule_set} is not demanded, so there is nothing to waive; demanded are {', '.join(sorted(demanded))}",
            )
    if idle := [name for name in spec.gates if f"gate.{name}" not in demanded]:
        raise manifest.error(
            ("gates", idle[0]),
            "decides nothing: list it under requires.deploy or requires.promote, or remove it",
        )


def _experiment_of(manifest: Manifest[TrainingSpec], task: AnyTask) -> Experiment | None:
    spec = manifest.content
    if spec.experiment is None:
        return None
    name = PurePath(spec.experiment)
    if name.is_absolute() or ".." in name.parts:
        raise manifest.error(("experiment",), f"{name} must lie beside the spec or below")
    file = manifest.path.parent / name
    if not file.is_file():
        raise manifest.error(("experiment",), f"there is no file {spec.experiment} beside the spec")
    return declared_experiment(file, spec=spec, fields=task.trainer.fields)


def shipped_specs() -> tuple[Path, ...]:
    """The specs that come with the package."""
    return tuple(sorted(SPECS_FOLDER.glob(f"*/{SPEC_FILE}")))


def load_lines(specs: Iterable[Path] = ()) -> Lines:
    """The lines of these specs, or of every spec that ships with the package.

    A spec that is wrong, or that has the name of one before it, is told as broken and leaves the others alone. One
    that is given twice counts once.
    """
    sound: dict[str, Line] = {}
    broken: list[BrokenLine] = []
    for path in tuple(dict.fromkeys(specs)) or shipped_specs():
        try:
            line = load_line(path)
            if line.name in sound:
                taken = sound[line.name].manifest.path
                raise line.manifest.error(
                    ("line",), f"{line.name} is the name of the line in {taken}, too; rename one"
                )
        except PlatformError as problem:
            broken.append(BrokenLine(path, _name_in(path), str(problem)))
        else:
            sound[line.name] = line
    return Lines(tuple(sound.values()), tuple(broken))


def with_transformers(
    lines: Lines, transformers: Transformers, *, are_all: bool = True
) -> tuple[Lines, Transformers]:
    """These lines with the transformers that they use, and the transformers that are sound beside them.

    A line whose transformers do not fit it is told as broken. So is a transformer whose name is taken or whose dataset
    nobody makes; one that ships with a line that is not served is left out.

    Args:
        lines: The lines.
        transformers: What is declared.
        are_all: Whether there are no other lines, whose datasets transformers may read.
    """
    names = [*(each.name for each in lines.sound), *(each.name for each in lines.broken)]
    beside = transformers.among(
        {f"{name}_dataset" for name in names} if are_all else None, _taken(names, transformers)
    )
    sound, broken = [], list(lines.broken)
    for line in lines.sound:
        try:
            sound.append(line.using(beside))
        except ManifestError as problem:
            broken.append(BrokenLine(line.manifest.path, line.name, str(problem)))
    return Lines(tuple(sound), tuple(broken)), beside


def _taken(lines: Iterable[str], transformers: Transformers) -> set[str]:
    """What no transformer may be called beside these lines."""
    assets = {
        f"{line}_{stage}" for line in lines for stage in (*TUNED_STAGES, "drift", "quarantine", "promotions")
    }
    return {*lines, *assets, *RESERVED_NAMES, *filter(is_reserved, transformers.sound)}


def _name_in(path: Path) -> str:
    try:
        name = read_yaml(path).content.get("line")
    except ManifestError:
        name = None
    return name if isinstance(name, str) else path.resolve().parent.name
