"""Git pushes retrain lines: what a poller finds, and what the queue of them holds.

Webhooks fill the same queue (`event_listener`). Nobody here keeps anything that the ledger does not
hold: a cursor that is lost costs time, and no push.
"""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from platform_assets.ledger.follower import Follower
from platform_assets.ledger.ledger import Ledger
from platform_assets.lines.line import Line
from platform_assets.outside_systems import OutsideSystems
from resources.git_names import BRANCH_PREFIX
from resources.git_remote import GitRemote, GitRemoteError, open_remotes
from resources.provenance import running_code
from resources.settings import PlatformSettings, WatchedRepository
from sensors.push_queue import Push, known_heads, observe
from sensors.push_review import Backlog, Reviewer, Waiting

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


def waiting_pushes(
    outside: OutsideSystems, lines: Sequence[Line], *, broken: Collection[str] = ()
) -> list[Waiting]:
    """The pushes that wait, and for what. Asks no repository."""
    return list(reviewer(outside, lines, running_code(), broken=broken).waiting())


def reviewer(
    outside: OutsideSystems,
    lines: Sequence[Line],
    code: Mapping[str, str],
    *,
    broken: Collection[str] = (),
    follower: Follower[Backlog] | None = None,
) -> Reviewer:
    """Who rules upon the open pushes, for these lines and this code."""
    return Reviewer(
        outside.ledger,
        lines,
        outside.settings.git_repositories,
        remotes_of(outside.settings),
        code,
        broken=broken,
        follower=follower,
    )


def remotes_of(settings: PlatformSettings) -> Mapping[str, GitRemote]:
    """The watched repositories, by canonical name."""
    return open_remotes((each.url for each in settings.git_repositories), settings.git_path)
