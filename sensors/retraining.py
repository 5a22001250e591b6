"""From a request in the ledger to a run: what every trigger shares."""

import json
from collections.abc import Iterator

import dagster as dg
from pydantic import JsonValue

from platform_assets.governance.ledger import Entry, Ledger
from platform_assets.governance.retraining import KIND, Retraining
from platform_assets.line import Line
from platform_assets.step import RETRAINING_TAG
from resources.dagster_home import LINE_TAG

TRIGGER_TAG = "platform/trigger"
_LONGEST_TAG = 1000
_FINISHED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}


def run_request(line: Line, entry: Entry) -> dg.RunRequest:
    """The run that a request asks for; Dagster starts no second one with its key."""
    retraining = Retraining.of(entry)
    evidence = {f"platform/{name}": _told(value) for name, value in retraining.evidence.items()}
    return dg.RunRequest(
        run_key=retraining.key,
        job_name=line.name,
        run_config=line.run_config(retraining.config),
        tags=evidence | {RETRAINING_TAG: entry.hash, TRIGGER_TAG: retraining.trigger, LINE_TAG: line.name},
    )


def unstarted(
    ledger: Ledger, instance: dg.DagsterInstance, line: Line, trigger: str, *, after: int = 0
) -> Iterator[Entry]:
    """Requests of this trigger that no run follows yet: a daemon may have died between the two.

    Args:
        ledger: Holds the requests.
        instance: Holds the runs.
        line: The line to be retrained.
        trigger: `git` or `drift`.
        after: Sequence number in the ledger up to which every request is known to have its run.
    """
    for entry in ledger.entries(kind=KIND, subject=line.name):
        if entry.seq > after and entry.body["trigger"] == trigger and not _has_run(instance, entry):
            yield entry


def _has_run(instance: dg.DagsterInstance, entry: Entry) -> bool:
    return bool(instance.get_runs_count(dg.RunsFilter(tags={RETRAINING_TAG: entry.hash})))


def in_flight(instance: dg.DagsterInstance, line: Line) -> bool:
    """Whether a run of the line is queued or running."""
    unfinished = [status for status in dg.DagsterRunStatus if status not in _FINISHED]
    return bool(instance.get_runs_count(dg.RunsFilter(statuses=unfinished, tags={LINE_TAG: line.name})))


def _told(value: JsonValue) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST_TAG else f"{text[: _LONGEST_TAG - 1]}…"
