"""The sensors that Dagster evaluates: thin ends of the decisions beside them."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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
from platform_assets.governance.promotion import promotion_problems, sha256_of_stored
from platform_assets.governance.promotion_assets import promotions_materialization
from platform_assets.governance.requirements import PromotionDemands
from platform_assets.governance.retraining import Retraining
from platform_assets.governance.review_requests import ask, gaps, is_objected_to, newest_reviews, noticed
from platform_assets.governance.reviewers import read_reviewers
from platform_assets.ledger.follower import Follower
from platform_assets.ledger.ledger import Entry, Ledger
from platform_assets.lines.line import RESERVED_NAMES, Line, LineError
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import TUNED_STAGES
from resources.custom_objects import CustomObjects
from resources.errors import PlatformError, ResourceError
from resources.outages import outage_of
from resources.provenance import running_code
from sensors.drift import TRIGGER as DRIFT_TRIGGER
from sensors.drift import Circumstances, confirmed_changes, retraining_for
from sensors.git_push import poll, remotes_of, reviewer
from sensors.promotion import Served, Staged, Wanted, reviews_wanted
from sensors.push_review import TRIGGER as GIT_TRIGGER
from sensors.push_review import backlog_follower
from sensors.runs import answered, in_flight
from sensors.transformers import Registrar, Surroundings

DRIFT_SENSOR: Final = "drift_retraining"
GIT_SENSOR: Final = "git_pushes"
_TICK_SECONDS: Final = 30
_LONGEST_UNLOOKED: Final = timedelta(minutes=10)
"""Reviews end, and reviewers change, without an entry of the ledger."""
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


def review_sensor(outside: OutsideSystems, lines: Sequence[Line]) -> dg.SensorDefinition:
    """`review_requests`: looks at every line that is promoted, once the ledger has grown and every few minutes."""
    newest_changes = newest_changes_follower()

    @dg.sensor(
        name="review_requests",
        minimum_interval_seconds=_TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Asks for a review of a version that stands complete in staging, and of the one in production once it drifts or "
            "its reviews end. Shows what has moved between the stages."
        ),
    )
    def review_requests(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        ledger, now, seen = outside.ledger, datetime.now(UTC), _Seen.of(context.cursor)
        tail = ledger.tail().hash
        if tail == seen.tail and now - seen.looked_at < _LONGEST_UNLOOKED:
            return dg.SensorResult(
                skip_reason="nothing was recorded since the last look", cursor=context.cursor
            )
        changes, reasons, events, shown = newest_changes.look(ledger), [], [], {}
        for line in lines:
            try:
                demands = line.adapted(ledger).promotion
                if demands is None:
                    continue
                wanted = _reviews_wanted(
                    line, demands, outside, list(changes.get(line.name, {}).values()), now=now
                )
                new = [each.why for each in wanted.requests if ask(ledger, each)]
                reasons += [f"{line.name}: asked for a review: {why}" for why in new]
                reasons += [f"{line.name}: {reason}" for reason in wanted.reasons if not new]
                moved = releases.newest_move(ledger, line.name)
                shown[line.name] = moved.seq if moved else 0
                if moved and (new or moved.seq != seen.shown.get(line.name)):
                    events.append(promotions_materialization(outside, line.name, now=now))
            except Exception as problem:
                # One line's trouble is no other's, and what passes is looked at again.
                foreseen = outage_of(problem) or problem
                if not isinstance(foreseen, PlatformError):
                    raise
                reasons.append(f"{line.name}: {foreseen}")
        return dg.SensorResult(
            skip_reason="\n".join(reasons) or "no review is missing",
            asset_events=events,
            cursor=_Seen(tail, now, {**seen.shown, **shown}).to_cursor(),
        )

    return review_requests


@dataclass(frozen=True, slots=True)
class _Seen:
    """Where a look at the promoted lines has left off; lost, it costs time and asks nothing twice."""

    tail: str
    """Hash of the ledger's last entry then."""
    looked_at: datetime
    shown: Mapping[str, int]
    """By line, the entry that moved a pointer last."""

    @classmethod
    def of(cls, cursor: str | None) -> "_Seen":
        kept = json.loads(cursor or "{}")
        looked_at = datetime.fromisoformat(kept.get("looked_at", "2000-01-01T00:00:00+00:00"))
        return cls(kept.get("tail", ""), looked_at, kept.get("shown", {}))

    def to_cursor(self) -> str:
        return json.dumps(
            {"tail": self.tail, "looked_at": self.looked_at.isoformat(), "shown": dict(self.shown)}
        )


def _reviews_wanted(
    line: Line, demands: PromotionDemands, outside: OutsideSystems, changes: Sequence[Entry], *, now: datetime
) -> Wanted:
    """What is to be known of a promoted line, and the reviews that this calls for."""
    ledger, reviewers = outside.ledger, read_reviewers(outside.settings.reviewers)
    notice = noticed(demands, timedelta(days=outside.settings.review_notice_days))
    staged = served = None
    if release := releases.active(ledger, line.name, "staging"):
        stored = sha256_of_stored(outside.object_store, release.card)
        lacks = promotion_problems(
            ledger, release, demands, reviewers, stored_card=stored, now=now, reviewed=False
        )
        staged = Staged(release, lacks, [] if lacks else gaps(ledger, release, demands, reviewers, now=now))
    if moved := releases.pointer(ledger, line.name, "production"):
        release = releases.release(ledger, line.name, moved.body["release_id"])
        known = newest_reviews(ledger, release, reviewers)
        served = Served(
            release,
            drift=confirmed_changes(changes, line.spec.drift),
            reviews=list(known.values()),
            gaps=gaps(ledger, release, demands, reviewers, now=now + notice),
            was_reviewed=bool((moved.body.get("promotion") or {}).get("reviews")),
            is_objected_to=is_objected_to(known),
        )
    return reviews_wanted(dict.fromkeys(rule.role for rule in demands.reviews), staged, served)


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
