"""`training-spec.yaml`: one model line, declared.

The same file is read on a laptop and on a cluster. Each task adds what is its own, and parses the file strictly: an
unknown key, a wrong type or a value out of range is one error that names file, line and field.
"""

from typing import Annotated

from pydantic import Field

from platform_assets.drift.spec import DriftSpec
from platform_assets.governance.verdict import Requirement
from platform_assets.manifest import Many, Section
from platform_assets.model_cards.spec import CardSpec
from platform_assets.models.spec import ModelSpec
from platform_assets.serving.spec import DeploymentSpec

DEFAULT_TASK = "text-classification"


class RequiresSpec(Section):
    """The verdicts each act demands; an act that demands nothing is not allowed."""

    deploy: Annotated[Many[Requirement], Field(min_length=1)]
    """What activating a release demands."""


class TrainingSpec(ModelSpec):
    """What every line states: data, resources, gates, what deploying demands, serving, drift, card."""

    task: str = DEFAULT_TASK
    """Name of a folder of `platform_assets/tasks/`, with hyphens."""
    description: str = ""
    """What the model does, for people: in the UI and on the card."""

    gates: Annotated[dict[str, str | bool], Field(min_length=1)]
    """Condition by gate, as `auc: "> 0.92"`, or `true`."""
    requires: RequiresSpec
    deployment: DeploymentSpec = DeploymentSpec()
    drift: DriftSpec = DriftSpec()
    card: CardSpec
