"""What Dagster makes of a line: its assets, and the job that materializes them."""

from typing import Any, Final

import dagster as dg

from platform_assets.datasets.assets import dataset_asset
from platform_assets.datasets.ingestion import HoldsBack
from platform_assets.datasets.quarantine_assets import decision_job, quarantine_asset
from platform_assets.drift.assets import drift_asset
from platform_assets.features.assets import features_asset
from platform_assets.governance.assets import version_asset
from platform_assets.governance.promotion_assets import promotions_asset
from platform_assets.governance.review_assets import review_job
from platform_assets.lines.line import BrokenLine, Line
from platform_assets.model_cards.assets import card_asset
from platform_assets.models.assets import model_asset
from platform_assets.serving.assets import deployment_asset
from platform_assets.step import broken_asset
from platform_assets.tuning.assets import tuning_asset
from platform_assets.validation.assets import validation_asset
from resources.dagster_home import LINE_TAG

BROKEN_GROUP: Final = "broken_lines"


def line_assets(line: Line, *, lost_pod_retries: int = 0) -> list[dg.AssetsDefinition]:
    """The line's assets, in the order of its stages, its drift, and where it has them its quarantine and its promotions.

    Args:
        line: The line, as its active release has adapted it.
        lost_pod_retries: How often training is tried again after its pod was lost.
    """
    spec, task, name = line.spec, line.task, line.name
    return [
        dataset_asset(spec, task.name, task.ingestion, line.contract),
        features_asset(name, spec, task.featurizer),
        *([tuning_asset(spec, task.trainer, line.experiment, line.manifest.path)] if line.experiment else []),
        model_asset(
            spec,
            task.trainer,
            line.manifest.path,
            line.basis,
            line.retraining,
            lost_pod_retries,
            is_tuned=bool(spec.experiment),
        ),
        validation_asset(name, spec.gates, spec.drift, task.evaluator, task.trainer, spec),
        version_asset(name, line.demands),
        card_asset(name, spec.card, line.demands, task.card_sections),
        deployment_asset(
            name,
            spec.deployment,
            line.demands,
            task.model_format,
            line.retraining,
            stage=line.deployment_stage,
            spec_commit=lambda: line.spec_commit,
        ),
        drift_asset(name),
        *([quarantine_asset(name)] if isinstance(task.ingestion, HoldsBack) else []),
        *([promotions_asset(name)] if line.promotion else []),
    ]


def line_job(line: Line) -> Any:
    """The job that materializes the whole line; one run of a line at a time.

    The transformers that it uses as they are at the latest are made with it, between dataset and features.
    """
    selection: dg.AssetSelection = dg.AssetSelection.groups(line.name)
    if latest := [asset for name, asset in transformer_keys(line).items() if line.follows_latest(name)]:
        selection |= dg.AssetSelection.assets(*latest)
    return dg.define_asset_job(
        line.name,
        selection=selection,
        description=line.spec.description,
        tags={LINE_TAG: line.name},
    )


def line_jobs(line: Line) -> list[Any]:
    """The job of the line, and beside it those by which people decide: about files held back, and about versions."""
    ingestion, jobs = line.task.ingestion, [line_job(line)]
    if isinstance(ingestion, HoldsBack):
        jobs.append(decision_job(line.name, ingestion.released_by(line.spec)))
    if line.promotion is not None and line.promotion.reviews:
        jobs.append(review_job(line.name, line.promotion))
    return jobs


def asset_key(line: Line, stage: str) -> dg.AssetKey:
    """Key of a line's asset."""
    return dg.AssetKey(f"{line.name}_{stage}")


def transformer_keys(line: Line) -> dict[str, dg.AssetKey]:
    """Keys of the declared transformers that the line uses, by name."""
    return {name: dg.AssetKey(name) for name in line.transformers}


def broken_line_asset(line: BrokenLine) -> dg.AssetSpec:
    """What the UI shows of a line that cannot be loaded: its name, and why. Nothing can materialize it."""
    path = str(line.path)
    return broken_asset(
        "line", line.name, line.problem, identity=path, group=BROKEN_GROUP, declared={"spec": path}
    )
