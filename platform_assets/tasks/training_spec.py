"""`training-spec.yaml`: one model line, declared.

The same file is read on a laptop and on a cluster. Each task adds what is its own, and parses the file strictly: an
unknown key, a wrong type or a value out of range is one error that names file, line and field.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from platform_assets.drift.spec import DriftSpec
from platform_assets.governance.review_rule import PromotionRequirement
from platform_assets.governance.verdict import NonBlank, Requirement
from platform_assets.manifest import AddedLater, Many, Section
from platform_assets.model_cards.spec import CardSpec
from platform_assets.models.spec import ModelSpec
from platform_assets.references import STAGES, TUNED_STAGES, AssetReference
from platform_assets.serving.spec import DeploymentSpec

DEFAULT_TASK = "text-classification"
Misfit = tuple[tuple[str, ...], str]
"""A field of the spec, and what is wrong with it."""
_SHORTEST_DAYS, _LONGEST_DAYS = 1 / 24, 36_500
_OF_STAGES: Any = Field(
    default_factory=dict, json_schema_extra={"propertyNames": {"enum": list(TUNED_STAGES)}}
)


class RequiresSpec(Section):
    """The verdicts each act demands; an act that demands nothing is not allowed."""

    deploy: Annotated[Many[Requirement], Field(min_length=1)]
    """What activating a release demands; of a line whose promotion demands something, in staging."""
    promote: Annotated[Many[PromotionRequirement], AddedLater([])] = ()
    """What making a release the production one demands, verdicts and reviews. Where it demands nothing, deployments go
    to production and there is no staging."""
    waivable: Annotated[Many[NonBlank], AddedLater([])] = ()
    """Rule sets whose verdict a named person may waive."""

    @property
    def is_promoted(self) -> bool:
        """Whether production moves by promotion alone."""
        return bool(self.promote)


class FreshnessSpec(Section):
    """After how long without a new version an asset is told to be stale. It is shown; no gate asks for it."""

    fail_after_days: Annotated[float, Field(ge=_SHORTEST_DAYS, le=_LONGEST_DAYS)]
    """From then on it is overdue."""
    warn_after_days: Annotated[float, Field(ge=_SHORTEST_DAYS, le=_LONGEST_DAYS)] | None = None
    """From then on it is soon to be."""

    @model_validator(mode="after")
    def _warns_first(self) -> Self:
        # As Dagster compares them, which counts microseconds.
        if self.warn_after_days is not None and timedelta(self.warn_after_days) >= timedelta(
            self.fail_after_days
        ):
            raise ValueError("warn_after_days must be below fail_after_days, or nobody is warned")
        return self


class TrainingSpec(ModelSpec):
    """What every line states: data, resources, gates, what deploying demands, serving, drift, card."""

    experiment: Annotated[str | None, AddedLater(None)] = None
    """A Katib Experiment beside this file, e.g. `experiment.yaml`: its best trial's values stand in the place of the
    spec's. None: the line is not tuned."""
    task: str = DEFAULT_TASK
    """Name of a folder of `platform_assets/tasks/`, with hyphens."""
    description: str = ""
    """What the model does, for people: in the UI and on the card."""

    gates: Annotated[dict[str, str | bool], Field(min_length=1)]
    """Condition by gate, as `auc: "> 0.92"`, or `true`."""
    requires: RequiresSpec
    deployment: DeploymentSpec = DeploymentSpec()
    drift: DriftSpec = DriftSpec()
    freshness: Annotated[dict[str, FreshnessSpec], _OF_STAGES]
    """How old an asset may become, by stage, as `dataset: {warn_after_days: 75, fail_after_days: 90}`."""
    card: CardSpec

    @field_validator("freshness")
    @classmethod
    def _of_known_stages(
        cls, freshness: dict[str, FreshnessSpec], told: ValidationInfo
    ) -> dict[str, FreshnessSpec]:
        stages = TUNED_STAGES if told.data.get("experiment") else STAGES
        if unknown := [stage for stage in freshness if stage not in stages]:
            raise ValueError(f"a line has no {unknown[0]}; its assets are {', '.join(stages)}")
        return freshness

    @property
    def stages(self) -> Mapping[str, type[AssetReference]]:
        """The assets of the line in the order in which data flows, and what each hands on."""
        return TUNED_STAGES if self.experiment else STAGES

    def misfit(self, raw: Mapping[str, str]) -> Misfit | None:  # noqa: ARG002 - a task may say more
        """What does not fit the columns that the contract states of every source.

        Args:
            raw: Type by column.
        """
        return None
