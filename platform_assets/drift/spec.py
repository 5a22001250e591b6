"""What a training spec says about drift of its deployed model."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from platform_assets.manifest import Many, Section
from platform_assets.validation.spec import ReferenceSpec


class RetrainSpec(Section):
    """What to train on once drift is confirmed."""

    train_data_uri: Annotated[Many[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    """Replaces the line's training sources. The first must stay the line's own: its test split is what the
    gates measure on."""
    min_interval_hours: Annotated[float, Field(ge=0)] = 24.0
    """Between two retrainings of the line for drift."""


class DriftSpec(ReferenceSpec):
    """How the answers of the deployed release are watched."""

    columns: Annotated[Many[str], Field(min_length=1)] = ("score",)
    """Columns of prediction events that may raise an alarm; each must be in the reference profile."""
    window_events: Annotated[int, Field(ge=50, le=100_000)] = 250
    """Newest events that are compared with the reference after every event."""
    expected_run_length: Annotated[int, Field(ge=1000, le=10_000_000)] = 100_000
    """Events between two false alarms of the whole monitor, on average, while nothing drifts."""
    tolerance_ks: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """A Kolmogorov-Smirnov distance up to this is no alarm, however significant it may be."""
    tolerance_missing: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """A change of the share of values that are missing or infinite up to this is no alarm, however significant."""
    clear_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Hysteresis: an alarm clears when the distance stays below this fraction of its threshold for a window."""
    cool_down_seconds: Annotated[float, Field(ge=0)] = 60.0
    """After an alarm has cleared, no other of the same column for so long."""
    slot_ms: Annotated[int, Field(ge=1)] = 20
    """The grid of both windows over event time."""
    l1_ms: Annotated[int, Field(ge=1)] = 200
    """The early window over event time."""
    l2_ms: Annotated[int, Field(ge=1)] = 600
    """The late window: events up to this much behind are still put where they belong."""
    deadline_ms: Annotated[float, Field(gt=0)] = 785.0
    """P99 from an event's time to the first verdict that contains it."""
    retrain: RetrainSpec | None = None
    """Left out: drift is told and never acted upon."""

    @model_validator(mode="after")
    def _windows_fit(self) -> Self:
        if self.l1_ms % self.slot_ms or self.l2_ms % self.slot_ms or self.l1_ms >= self.l2_ms:
            raise ValueError("l1_ms and l2_ms must be multiples of slot_ms, and l1_ms the smaller one")
        return self
