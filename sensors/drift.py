"""Confirmed drift retrains a line: the decision.

The sensor that asks for it reads the state changes that the monitors have left in the ledger. Whether a change was acted
upon is a ledger entry too, and whether its run exists is known to Dagster: a daemon that dies anywhere in
between finds both as they are.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from platform_assets.drift.source_names import MIX
from platform_assets.drift.spec import DriftSpec, RetrainSpec
from platform_assets.governance.retraining import Retraining
from platform_assets.ledger.ledger import Entry
from platform_assets.lines.line import Line
from platform_assets.tasks.training_spec import TrainingSpec

TRIGGER: Final = "drift"


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What else there is to know before a line is retrained."""

    active_version: int | None
    """Model version of the active release."""
    in_flight: bool
    pinned_by: str | None
    breaker: str
    last_request: datetime | None
    """When drift last had the line retrained."""
    answered: Container[str] = frozenset()
    """Keys of the requests there have been."""
    followed_commit: str | None = None
    """The pushed commit whose values the line goes on from."""
    followed_author: str | None = None
    """Its author."""


def retraining_for(
    line: Line, spec: TrainingSpec, changes: Sequence[Entry], circumstances: Circumstances, *, now: datetime
) -> Retraining | str:
    """The retraining that these state changes call for, or the reason why there is none now.

    Args:
        line: As its file has it.
        spec: As its active release has adapted it.
        changes: The line's drift entries, oldest first; of each column, the newest will do.
        circumstances: Of the line, now.
        now: The current time.
    """
    confirmed = confirmed_changes(changes, spec.drift)
    if not confirmed:
        return "no confirmed drift"
    what = "drift of " + ", ".join(sorted(entry.body["column"] for entry in confirmed))
    retrain = spec.drift.retrain
    if retrain is None:
        return f"{what}, and the spec names nothing to retrain on (drift.retrain)"
    # What an earlier version has seen is settled by the release that came after it.
    concerned = [entry for entry in confirmed if entry.body["model_version"] == circumstances.active_version]
    if not concerned:
        return f"{what} was seen by a version that is no longer active"
    if circumstances.pinned_by:
        return f"{what}, and the line is pinned by {circumstances.pinned_by}"
    if circumstances.breaker != "closed":
        return f"{what}, and the dataset's schema breaker is {circumstances.breaker}"
    if circumstances.in_flight:
        return f"{what}, and a run of the line is in flight"
    interval = timedelta(hours=retrain.min_interval_hours)
    if circumstances.last_request and now - circumstances.last_request < interval:
        return f"{what}, and the last retraining for drift was less than {interval} ago"
    key, trigger = f"{TRIGGER}:{concerned[-1].hash}", concerned[-1].body
    # The ledger's hashes: the reference knows its own sources again by them, and no request holds others' names.
    mix = trigger[MIX] if MIX in trigger else trigger["mix"]
    if key in circumstances.answered:
        return f"{what}, for which the line was retrained already: see what became of that run"
    return Retraining(
        key=key,
        line=line.name,
        trigger=TRIGGER,
        config=line.task.overrides(_on_both(spec, retrain, mix)),
        basis=line.basis,
        source_commit=circumstances.followed_commit,
        source_author=circumstances.followed_author,
        evidence={
            "drift_entries": [entry.hash for entry in concerned],
            "drift_columns": [entry.body["column"] for entry in concerned],
            "drift_window": f"{trigger['window_start']} to {trigger['window_end']}",
            "drift_mix": mix,
            "drifted_version": trigger["model_version"],
        },
    )


def confirmed_changes(changes: Sequence[Entry], policy: DriftSpec) -> list[Entry]:
    """The newest change of every column that now stands confirmed, oldest first."""
    newest = {entry.body["column"]: entry for entry in changes if entry.body["column"] in policy.columns}
    return sorted(
        (entry for entry in newest.values() if entry.body["state"] == "confirmed"),
        key=lambda entry: entry.seq,
    )


def _on_both(spec: TrainingSpec, retrain: RetrainSpec, mix: Mapping[str, float]) -> TrainingSpec:
    """The spec with the sources that it names for this, and a reference weighted as the stream is."""
    return spec.model_copy(
        update={
            "train_data_uri": retrain.train_data_uri,
            # What is trained on is no longer somebody else's data.
            "shift_data_uri": None if spec.shift_data_uri in retrain.train_data_uri else spec.shift_data_uri,
            "drift": spec.drift.model_copy(update={"reference_mix": dict(mix) or None}),
        }
    )
