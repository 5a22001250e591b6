"""From a request in the ledger to a run: what every trigger shares."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg
from pydantic import JsonValue

from platform_assets.governance.retraining import KIND, UNSERVED_FOR, Retraining
from platform_assets.ledger.ledger import Entry
from platform_assets.lines.line import Line
from platform_assets.outside_systems import OutsideSystems
from platform_assets.starters import automation_tag
from platform_assets.tags import RETRAINING_TAG
from resources.dagster_home import LINE_TAG

TRIGGER_TAG = "platform/trigger"
_LONGEST_TAG = 1000
_FINISHED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}


def run_request(line: Line, entry: Entry, sensor: str, salt: bytes) -> dg.RunRequest:
    """The run that a request asks for; Dagster starts no second one with its key.

    Args:
        line: The line.
        entry: The request's.
        sensor: Name of the sensor that has it started.
        salt: The platform's, which signs that.
    """
    retraining = Retraining.of(entry)
    config = line.run_config(retraining.config)
    evidence = {f"platform/{name}": _tag_text(value) for name, value in retraining.evidence.items()}
    return dg.RunRequest(
        run_key=retraining.key,
        job_name=line.name,
        run_config=config,
        tags=evidence
        | {RETRAINING_TAG: entry.hash, TRIGGER_TAG: retraining.trigger, LINE_TAG: line.name}
        | automation_tag(sensor, retraining.key, config, salt),
    )


def answered(
    context: dg.SensorEvaluationContext,
    outside: OutsideSystems,
    lines: Sequence[Line],
    trigger: str,
    *,
    sensor: str,
    otherwise: str,
) -> dg.SensorResult:
    """A run for every request of this trigger that none follows yet: a daemon may have died between the two.

    The cursor is the sequence number in the ledger up to which every request is known to have its run, so that
    a run which somebody deletes later is not started anew. After a colon follow the numbers of those before it that
    have none: their line is not served at present, for as long as `UNSERVED_FOR`, or was not until now.

    Args:
        context: Of the tick.
        outside: Has the ledger that holds the requests.
        lines: Those that may be retrained.
        trigger: `git` or `drift`.
        sensor: Name of the sensor whose tick it is.
        otherwise: Why there is nothing to do, where there is not.
    """
    ledger = outside.ledger
    number, _, kept = (context.cursor or "0").partition(":")
    after = int(number)
    # Of those after it, all are looked at anyhow.
    earlier = [seq for each in kept.split(",") if each and (seq := int(each)) <= after]
    kept_back = [entry for seq in earlier if (entry := ledger.at(seq)) and entry.kind == KIND]
    # Read before the requests are: none that comes later is skipped.
    seen = ledger.tail().count
    served = {line.name: line for line in lines}
    unanswered = [
        entry
        for entry in (*kept_back, *ledger.entries(kind=KIND, after=after))
        if entry.body["trigger"] == trigger
        and (entry.subject in served or datetime.now(UTC) - entry.time < UNSERVED_FOR)
        and not _has_run(context.instance, entry)
    ]
    open_requests = [entry for entry in unanswered if entry.subject in served]
    unserved = [entry for entry in unanswered if entry.subject not in served]
    names = dict.fromkeys(entry.subject for entry in unserved)
    reasons = [otherwise, *(f"{name}: is to be retrained, and is not served at present" for name in names)]
    cursor = min((entry.seq - 1 for entry in open_requests if entry.seq > after), default=seen)
    waiting = ",".join(
        str(entry.seq) for entry in unanswered if entry.seq <= after or entry.subject not in served
    )
    return dg.SensorResult(
        run_requests=[
            run_request(served[entry.subject], entry, sensor, outside.salt) for entry in open_requests
        ],
        skip_reason=None if open_requests else "\n".join(reasons),
        cursor=f"{cursor}:{waiting}" if waiting else str(cursor),
    )


def _has_run(instance: dg.DagsterInstance, entry: Entry) -> bool:
    # A run that was created and never submitted is asked for again: Dagster then submits that one.
    begun = [status for status in dg.DagsterRunStatus if status is not dg.DagsterRunStatus.NOT_STARTED]
    return bool(instance.get_runs_count(dg.RunsFilter(statuses=begun, tags={RETRAINING_TAG: entry.hash})))


def in_flight(instance: dg.DagsterInstance, line: Line) -> bool:
    """Whether a run of the line, or of any asset of it, is queued or running."""
    unfinished = [status for status in dg.DagsterRunStatus if status not in _FINISHED]
    keys = {dg.AssetKey(name) for name in line.asset_names().values()}
    # Runs of single assets, as the UI starts them, carry no tag of the line.
    return any(
        run.tags.get(LINE_TAG) == line.name or keys & set(run.asset_selection or ())
        for run in instance.get_runs(dg.RunsFilter(statuses=unfinished))
    )


def _tag_text(value: JsonValue) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST_TAG else f"{text[: _LONGEST_TAG - 1]}…"
