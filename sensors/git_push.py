"""Git pushes retrain lines: a poller that finds them, and a sensor that drains their queue.

Webhooks fill the same queue (`event_listener`). Neither sensor keeps anything that the ledger does not
hold: a cursor that is lost costs time, and no push.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import dagster as dg

from platform_assets.governance.ledger import Ledger
from platform_assets.lines.line import Line
from platform_assets.systems import open_ledger
from resources.git_names import BRANCH_PREFIX
from resources.git_remote import GitRemote, GitRemoteError, open_remotes
from resources.provenance import running_code
from resources.settings import PlatformSettings, WatchedRepository
from sensors.push_queue import Push, known_heads, observe
from sensors.push_review import TRIGGER, Reviewer, Waiting
from sensors.retraining import answered

_LONGEST_REVIEW_SECONDS: Final = 30
"""Dagster gives up on a tick after a minute."""
_MOST_AT_ONCE: Final = 8
"""Repositories that are asked at the same time, so that one that does not answer holds up no other."""

Heads = Mapping[str, Mapping[str, str]]
"""Commit by ref, by repository."""


@dataclass(frozen=True, slots=True)
class Poll:
    """What the repositories have told."""

    heads: Heads
    """Where their branches stand; of one that did not answer, where they stood before."""
    new: tuple[Push, ...]
    problems: tuple[str, ...]


def poll(
    ledger: Ledger,
    repositories: Sequence[WatchedRepository],
    remotes: Mapping[str, GitRemote],
    known: Heads,
) -> Poll:
    """Looks at every repository and enqueues what has moved since.

    Args:
        ledger: Holds the queue.
        repositories: The watched ones.
        remotes: By canonical name.
        known: What the poll before has found; what it lacks is taken from the ledger.
    """
    heads: dict[str, Mapping[str, str]] = {}
    new: list[Push] = []
    problems: list[str] = []
    with ThreadPoolExecutor(_MOST_AT_ONCE) as pool:
        answers = pool.map(_asked, (remotes[repository.name] for repository in repositories))
        for repository, answer in zip(repositories, answers, strict=True):
            name = repository.name
            before = known[name] if name in known else known_heads(ledger, name)
            if isinstance(answer, GitRemoteError):
                problems.append(str(answer))
                heads[name] = before
                continue
            heads[name] = {
                ref: sha
                for ref, sha in answer.items()
                if repository.watches_branch(ref.removeprefix(BRANCH_PREFIX))
            }
            new += observe(ledger, repository, before, heads[name])
    return Poll(heads, tuple(new), tuple(problems))


def _asked(remote: GitRemote) -> dict[str, str] | GitRemoteError:
    try:
        return remote.heads()
    except GitRemoteError as problem:
        return problem


def waiting_pushes(ledger: Ledger, settings: PlatformSettings, lines: Sequence[Line]) -> list[Waiting]:
    """The pushes that wait, and for what. Asks no repository."""
    return list(_reviewer(ledger, settings, lines, running_code()).waiting())


def git_sensors(
    settings: PlatformSettings, lines: Sequence[Line], *, interval_seconds: int = 30
) -> list[dg.SensorDefinition]:
    """`git_poller` and `git_pushes`; none where no repository is watched."""
    if not settings.git_repositories:
        return []
    loaded_code = running_code()

    @dg.sensor(
        name="git_poller",
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Finds pushes to the watched repositories and puts them into the queue.",
    )
    def git_poller(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        found = poll(
            open_ledger(settings),
            settings.git_repositories,
            _remotes(settings),
            json.loads(context.cursor or "{}"),
        )
        told = [*(f"found {push.key}" for push in found.new), *found.problems]
        return dg.SensorResult(
            skip_reason="\n".join(told) or "nothing was pushed", cursor=json.dumps(found.heads)
        )

    @dg.sensor(
        name="git_pushes",
        jobs=[line.job for line in lines],
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Retrains the lines whose training specs were pushed, each as its commit has it.",
    )
    def git_pushes(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        ledger = open_ledger(settings)
        if running_code() != loaded_code:
            return dg.SensorResult(skip_reason="the code has changed since it was loaded: reload it")
        waiting = _reviewer(ledger, settings, lines, loaded_code).review(
            now=datetime.now(UTC), seconds=_LONGEST_REVIEW_SECONDS
        )
        for each in waiting:
            context.log.info(str(each))
        told = "\n".join(map(str, waiting)) or "no push is open"
        return answered(context, ledger, lines, TRIGGER, otherwise=told)

    return [git_poller, git_pushes]


def _reviewer(
    ledger: Ledger, settings: PlatformSettings, lines: Sequence[Line], code: Mapping[str, str]
) -> Reviewer:
    return Reviewer(ledger, lines, settings.git_repositories, _remotes(settings), code)


def _remotes(settings: PlatformSettings) -> Mapping[str, GitRemote]:
    return open_remotes((each.url for each in settings.git_repositories), settings.git_path)
