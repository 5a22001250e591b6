"""The status of an Experiment, as Katib has it: values are text, counters and conditions have upstream's names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

TrialState = Literal["Running", "Succeeded", "Failed", "Killed", "EarlyStopped", "MetricsUnavailable"]
ConditionType = Literal["Created", "Running", "Restarting", "Succeeded", "Failed"]
UNAVAILABLE: Final = "unavailable"
"""`UnavailableMetricValue` in pkg/controller.v1beta1/consts/const.go."""
_COUNTERS: Final[Mapping[TrialState, tuple[str, str]]] = {
    "Running": ("trialsRunning", "runningTrialList"),
    "Succeeded": ("trialsSucceeded", "succeededTrialList"),
    "Failed": ("trialsFailed", "failedTrialList"),
    "Killed": ("trialsKilled", "killedTrialList"),
    "EarlyStopped": ("trialsEarlyStopped", "earlyStoppedTrialList"),
    "MetricsUnavailable": ("trialMetricsUnavailable", "metricsUnavailableTrialList"),
}


@dataclass(frozen=True, slots=True)
class Metric:
    """What a trial has reported of one metric; each value is text as it was printed, or `unavailable`."""

    name: str
    min: str = UNAVAILABLE
    max: str = UNAVAILABLE
    latest: str = UNAVAILABLE

    def to_json(self) -> dict[str, str]:
        """As Katib has it."""
        return {"name": self.name, "min": self.min, "max": self.max, "latest": self.latest}


@dataclass(frozen=True, slots=True)
class TrialStatus:
    """One trial."""

    name: str
    number: int
    """From 0 on, in the order in which they were suggested."""
    state: TrialState
    assignment: Mapping[str, str]
    metrics: tuple[Metric, ...]
    value: float | None
    """The objective, by its strategy; None where there is none that counts."""
    start_time: datetime
    completion_time: datetime | None
    message: str
    """Why it is in this state."""
    reports: tuple[str, ...] = ()
    """What it has printed of the objective so far, in order."""

    def to_json(self) -> dict[str, Any]:
        """Shaped like the parts of a Trial of Katib's that matter."""
        found: dict[str, Any] = {
            "name": self.name,
            "state": self.state,
            "message": self.message,
            "parameterAssignments": _assignments(self.assignment),
            "observation": {"metrics": [each.to_json() for each in self.metrics]},
            "startTime": rfc3339(self.start_time),
        }
        if self.completion_time is not None:
            found["completionTime"] = rfc3339(self.completion_time)
        return found


@dataclass(frozen=True, slots=True)
class Condition:
    """What an Experiment has come to."""

    type: ConditionType
    reason: str
    message: str
    time: datetime

    def to_json(self, *, holds: bool) -> dict[str, str]:
        """As Katib has it."""
        time = rfc3339(self.time)
        return {
            "type": self.type,
            "status": "True" if holds else "False",
            "reason": self.reason,
            "message": self.message,
            "lastUpdateTime": time,
            "lastTransitionTime": time,
        }


@dataclass(frozen=True, slots=True)
class Status:
    """A study at one moment."""

    experiment: str
    trials: tuple[TrialStatus, ...]
    optimal: TrialStatus | None
    """The best trial so far; None as long as none has a value that counts."""
    conditions: tuple[Condition, ...]
    """All so far, the one that holds last."""
    start_time: datetime

    @property
    def condition(self) -> Condition:
        """What holds."""
        return self.conditions[-1]

    @property
    def is_over(self) -> bool:
        """Whether it has succeeded or failed."""
        return self.condition.type in ("Succeeded", "Failed")

    def count(self, *states: TrialState) -> int:
        """How many trials are in one of these states."""
        return sum(each.state in states for each in self.trials)

    def to_json(self) -> dict[str, Any]:
        """The `status` of the Experiment as Katib writes it, but that every value is stated, zeros too."""
        found: dict[str, Any] = {
            "startTime": rfc3339(self.start_time),
            "conditions": [
                # Created stays true; of the others only the last holds (MarkExperimentStatusRunning and its like).
                each.to_json(holds=each.type == "Created" or each is self.condition)
                for each in self.conditions
            ],
            "trials": len(self.trials),
        }
        if self.is_over:
            found["completionTime"] = rfc3339(self.condition.time)
        for state, (counter, names) in _COUNTERS.items():
            found[counter] = self.count(state)
            found[names] = [each.name for each in self.trials if each.state == state]
        if self.optimal is not None:
            found["currentOptimalTrial"] = {
                "bestTrialName": self.optimal.name,
                "parameterAssignments": _assignments(self.optimal.assignment),
                "observation": {"metrics": [each.to_json() for each in self.optimal.metrics]},
            }
        return found


def rfc3339(time: datetime) -> str:
    """As Kubernetes writes times: UTC, whole seconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _assignments(assignment: Mapping[str, str]) -> Sequence[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in assignment.items()]
