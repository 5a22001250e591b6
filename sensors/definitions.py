"""The sensors that Dagster evaluates: thin ends of the decisions beside them."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

import dagster as dg

from platform_assets.datasets.schema_breaker import breaker_state
from platform_assets.drift.record import newest_changes_follower
from platform_assets.features.transformer_crd import PLURAL
from platform_assets.features.transformer_objects import registrations_follower
from platform_assets.features.transformer_spec import API_VERSION
from platform_assets.features.versions import latest_version
from platform_assets.governance import release as releases
from platform_assets.governance import retraining
from platform_assets.governance.retraining import Retraining
from platform_assets.ledger.follower import Follower
from platform_assets.ledger.ledger import Entry, Ledger
from platform_assets.lines.line import RESERVED_NAMES, Line, LineError
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import TUNED_STAGES
from resources.custom_objects import CustomObjects
from resources.errors import ResourceError
from resources.outages import outage_of
from resources.provenance import running_code
from sensors.drift import TRIGGER as DRIFT_TRIGGER
from sensors.drift import Circumstances, retraining_for
from sensors.git_push import poll, remotes_of, reviewer
from sensors.push_review import TRIGGER as GIT_TRIGGER
from sensors.push_review import backlog_follower
from sensors.runs import answered, in_flight
from sensors.transformers import Registrar, Surroundings

DRIFT_SENSOR: Final = "drift_retraining"
GIT_SENSOR: Final = "git_pushes"
_TICK_SECONDS: Final = 30
_LONGEST_REVIEW_SECONDS: Final = 30
"""Dagster gives up on a tick after a minute."""


def drift_sensor(outside: OutsideSystems, lines: Sequence[Line], jobs: Sequence[Any]) -> dg.SensorDefinition:
    """`drift_retraining`: looks at every line at every tick."""
    newest_changes, newest_requests = newest_changes_follower(), _newest_requests_follower()

    @dg.sensor(
        name=DRIFT_SENSOR,
        jobs=jobs,
        minimum_interval_seconds=_TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Retrains a line whose monitor has confirmed drift, on what its spec names for that.",
    )
    def drift_retraining(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        ledger = outside.ledger
        reasons = []
        changes, requests = newest_changes.look(ledger), newest_requests.look(ledger)
        for line in lines:
            found = _drift_decision(
                line,
                ledger,
                context.instance,
                list(changes.get(line.name, {}).values()),
                requests.get(line.name),
            )
            if isinstance(found, Retraining):
                retraining.request(ledger, found)
            else:
                reasons.append(f"{line.name}: {found}")
        return answered(
            context,
            outside,
            lines,
            DRIFT_TRIGGER,
            sensor=DRIFT_SENSOR,
            otherwise="\n".join(reasons) or "there are no lines",
        )

    return drift_retraining


def _newest_requests_follower() -> Follower[dict[str, Entry]]:
    """The newest request that drift made, by line."""

    def take(found: dict[str, Entry], entry: Entry) -> None:
        if entry.body["trigger"] == DRIFT_TRIGGER:
            found[entry.subject] = entry

    return Follower([retraining.KIND], dict, take)


def _drift_decision(
    line: Line,
    ledger: Ledger,
    instance: dg.DagsterInstance,
    changes: Sequence[Entry],
    last_request: Entry | None,
) -> Retraining | str:
    """The retraining that a line's drift calls for, or why there is none; one line's trouble is no other's."""
    try:
        adapted = line.adapted(ledger)
    except LineError as problem:
        return str(problem)
    return retraining_for(
        line,
        adapted.spec,
        changes,
        _circumstances_of(line, ledger, instance, last_request),
        now=datetime.now(UTC),
    )


def _circumstances_of(
    line: Line, ledger: Ledger, instance: dg.DagsterInstance, last_request: Entry | None
) -> Circumstances:
    """What is to be known about a line before it is retrained."""
    active, pin = releases.active(ledger, line.name), releases.pin_state(ledger, line.name)
    followed = retraining.followed(ledger, line.name, basis=line.basis)
    return Circumstances(
        active_version=active.card.registered.number if active else None,
        in_flight=in_flight(instance, line),
        pinned_by=pin.by if pin else None,
        breaker=breaker_state(ledger, f"{line.name}_dataset").state,
        last_request=last_request.time if last_request else None,
        answered=_Asked(ledger, line.name),
        followed_commit=followed[1].source_commit if followed else None,
        followed_author=followed[1].source_author if followed else None,
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """The triggers that have made a request of a line: looked up one by one."""

    ledger: Ledger
    line: str

    def __contains__(self, key: object) -> bool:
        return retraining.asked_before(self.ledger, self.line, str(key)) is not None


def git_sensors(
    outside: OutsideSystems,
    lines: Sequence[Line],
    jobs: Sequence[Any],
    *,
    broken: Collection[str] = (),
    interval_seconds: int = 30,
) -> list[dg.SensorDefinition]:
    """`git_poller` and `git_pushes`; none where no repository is watched."""
    settings = outside.settings
    if not settings.git_repositories:
        return []
    loaded_code, follower = running_code(), backlog_follower()

    @dg.sensor(
        name="git_poller",
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Finds pushes to the watched repositories and puts them into the queue.",
    )
    def git_poller(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        found = poll(
            outside.ledger,
            settings.git_repositories,
            remotes_of(settings),
            json.loads(context.cursor or "{}"),
        )
        message = [*(f"found {push.key}" for push in found.new), *found.problems]
        return dg.SensorResult(
            skip_reason="\n".join(message) or "nothing was pushed", cursor=json.dumps(found.heads)
        )

    @dg.sensor(
        name=GIT_SENSOR,
        jobs=jobs,
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Retrains the lines whose training specs were pushed, each as its commit has it.",
    )
    def git_pushes(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        if running_code() != loaded_code:
            return dg.SensorResult(skip_reason="the code has changed since it was loaded: reload it")
        waiting = reviewer(outside, lines, loaded_code, broken=broken, follower=follower).review(
            now=datetime.now(UTC), seconds=_LONGEST_REVIEW_SECONDS
        )
        for each in waiting:
            context.log.info(str(each))
        message = "\n".join(map(str, waiting)) or "no push is open"
        return answered(context, outside, lines, GIT_TRIGGER, sensor=GIT_SENSOR, otherwise=message)

    return [git_poller, git_pushes]


def transformer_sensor(
    outside: OutsideSystems,
    lines: Collection[str],
    files: Mapping[str, str],
    *,
    objects: Callable[[], CustomObjects] | None = None,
) -> dg.SensorDefinition:
    """`transformer_objects`: registers the FeatureTransformers of this pod's namespace.

    Args:
        outside: The systems.
        lines: Names of those of the code location, also of broken ones.
        files: The transformers that files declare: where, by name. They keep their names.
        objects: The objects, made when they are first asked for; those of this pod's namespace by default.
    """
    assets = {
        f"{line}_{stage}": f"an asset of {line}" for line in lines for stage in (*TUNED_STAGES, "drift")
    }
    names = {**dict.fromkeys(RESERVED_NAMES, "the platform itself"), **dict.fromkeys(lines, "a line")}
    surroundings = Surroundings(
        taken={**assets, **names, **files}, datasets=[f"{line}_dataset" for line in lines]
    )
    newest = registrations_follower()
    reached = cache(objects or (lambda: outside.custom_objects(api_version=API_VERSION, plural=PLURAL)))

    def newest_number(name: str) -> int | None:
        found = latest_version(outside.ledger, name)
        return found.number if found else None

    @dg.sensor(
        name="transformer_objects",
        minimum_interval_seconds=_TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Registers the FeatureTransformers of the cluster and writes into their status what became of them.",
    )
    def transformer_objects(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        try:
            done = Registrar(
                outside.ledger, reached(), surroundings, lambda: newest.look(outside.ledger), newest_number
            ).look(now=datetime.now(UTC))
        except Exception as problem:
            foreseen = outage_of(problem) or problem
            if not isinstance(foreseen, ResourceError):
                raise
            return dg.SensorResult(skip_reason=str(foreseen))
        for each in done:
            context.log.info(each)
        return dg.SensorResult(skip_reason="\n".join(done) or "no object has changed")

    return transformer_objects
