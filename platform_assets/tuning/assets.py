"""The tuning asset: the line's Experiment, executed on its features; the best trial's values train the model."""

from pathlib import Path
from typing import Any, Final

import dagster as dg

from platform_assets.fingerprint import code_version, fingerprint
from platform_assets.governance.verdict import Verdict, record
from platform_assets.manifest import identity_of
from platform_assets.models.spec import ModelSpec
from platform_assets.models.trainer import AnyTrainer
from platform_assets.outside_systems import OutsideSystems
from platform_assets.pictures import as_markdown_image
from platform_assets.references import TUNING, FeaturesVersion, TuningVersion
from platform_assets.step import (
    evaluation_of,
    foreseen_failures,
    line_asset,
    materialized,
    override_config,
    with_overrides,
)
from platform_assets.tuning.declared import RULE_SET, RULE_SET_HASH
from platform_assets.tuning.errors import TuningError
from platform_assets.tuning.executing import execute_tuning, only_tuning
from platform_assets.tuning.experiment import Experiment
from platform_assets.tuning.stored import StoredTuning, find_tuning, tuning_folder
from resources.provenance import code_commit

CODE: Final = code_version(
    "tuning",
    *(
        f"platform_assets.tuning.{module}"
        for module in (
            *("study", "record", "collecting", "samplers", "search_space", "hyperband", "median_stop"),
            *("katib_rules", "trial_template", "trial", "measures", "assignment", "tuning"),
        )
    ),
)


def tuning_fingerprint(
    spec: ModelSpec, trainer: AnyTrainer, experiment: Experiment, features: FeaturesVersion
) -> str:
    """Identity of the tuning of a model that `spec` would train on these features."""
    return fingerprint(
        f"{spec.line}_{TUNING}",
        code=f"{CODE}-{trainer.code}",
        config=identity_of(spec, trainer.fields) | {"experiment": experiment.sha256},
        upstream={"features": features.version, **trainer.upstream(spec, features.recipe)},
    )


def tuning_asset(
    spec: ModelSpec, trainer: AnyTrainer, experiment: Experiment, spec_path: Path
) -> dg.AssetsDefinition:
    """`<line>_tuning`.

    Args:
        spec: The line's spec.
        trainer: Its task's.
        experiment: What is executed.
        spec_path: The spec's file.
    """
    overridden = override_config(spec, trainer.fields)

    @line_asset(
        spec.line,
        TUNING,
        description=f"The Experiment {experiment.name}, executed: {len(experiment.parameters)} parameters, judged on "
        "the validation split. The best trial's values train the model.",
        kinds=("optuna", "mlflow"),
        code=CODE,
        made_from={"features": "features"},
    )
    def tuning(
        context: dg.AssetExecutionContext,
        features: FeaturesVersion,
        outside: dg.ResourceParam[OutsideSystems],
        config: overridden,  # type: ignore[valid-type]
    ) -> dg.MaterializeResult[TuningVersion]:
        with foreseen_failures():
            resolved, store = with_overrides(spec, config), outside.object_store
            fingerprinted = tuning_fingerprint(resolved, trainer, experiment, features)
            folder = tuning_folder(outside.env, spec.line, fingerprinted)
            with only_tuning(outside.locks, fingerprinted):
                found = find_tuning(store, folder)
                # What made trials fail may have been mended since: only one that has succeeded is over.
                reused = found is not None and found.is_complete
                if found is None or not reused:
                    found = execute_tuning(
                        outside,
                        resolved,
                        trainer,
                        experiment,
                        features,
                        folder=folder,
                        identity=fingerprinted,
                        spec_path=spec_path,
                    )
            reference = found.reference(features)
            record_completion(outside, found, reference, evaluation_of(context))
            return materialized(
                reference, fingerprint=fingerprinted, reused=reused, metadata=_shown(found, outside)
            )

    return tuning


def record_completion(
    outside: OutsideSystems, found: StoredTuning, reference: TuningVersion, evaluation_id: str
) -> None:
    """Record whether the Experiment has ended as it should.

    Raises:
        TuningError: It has not.
    """
    line = reference.features.dataset.line
    verdict = Verdict(
        subject=f"{line}_{TUNING}@{reference.version}",
        rule_set=RULE_SET,
        rule_set_hash=RULE_SET_HASH,
        outcome="pass" if found.is_complete else "fail",
        evidence={
            "experiment": reference.experiment,
            "trials": len(found.trials),
            "trial": reference.trial,
            "objective": reference.objective,
            "observed": reference.value,
            "default": reference.default_value,
            "reason": found.sentence,
        },
        producer={"code_commit": code_commit(), "status": reference.status_key},
    )
    record(outside.ledger, verdict, evaluation_id=evaluation_id)
    if not found.is_complete:
        raise TuningError(
            f"{line}_{TUNING}: {found.sentence}; {reference.status_key} has every trial. Mend what made them fail and run again"
        )


def _shown(found: StoredTuning, outside: OutsideSystems) -> dict[str, Any]:
    store = outside.object_store
    rows = [
        dg.TableRecord(
            {
                "trial": each["name"],
                "state": each["state"],
                **{one["name"]: one["value"] for one in each["parameterAssignments"]},
                **{one["name"]: one["latest"] for one in each["observation"]["metrics"]},
            }
        )
        for each in found.trials
    ]
    return {
        "outcome": found.sentence,
        "best_values": dg.MetadataValue.json(found.outcome["assignment"]),
        "trials": dg.MetadataValue.table(rows) if rows else "none",
        **{
            name: dg.MetadataValue.md(as_markdown_image(store.get(f"{found.folder}/{name}.png"), name))
            for name in found.pictures
        },
        "status": dg.MetadataValue.url(outside.report_url(found.status_key)),
        "dagster/uri": store.uri(found.folder),
    }
