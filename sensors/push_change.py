"""What a push concerns: the commit, the specs that it changed, and the lines that they declare."""

import posixpath
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Final

from platform_assets.lines.line import SPEC_FILE, Line, load_line
from platform_assets.tasks.registry import read_training_spec
from resources.errors import PlatformError
from resources.git_links import NO_LINKS, Linked, follow_links
from resources.git_remote import Blob, Commit, GitRemote, GitRemoteError, UnreachableError
from resources.provenance import is_code
from resources.settings import WatchedRepository
from sensors.push_queue import Push

PLATFORM_FILE: Final = "platform_assets/__init__.py"
"""A commit that has it holds the platform's own code."""
_LARGEST_FILE_BYTES: Final = 1_000_000
_MOST_PATHS_TOLD: Final = 20
_LONGEST_AUTHOR: Final = 200
_MOST_BRANCHES_COMPARED: Final = 50


class PushRejectedError(PlatformError):
    """What was pushed cannot be trained."""


def concerned_specs(
    changed: Iterable[str], present: Collection[str], repository: WatchedRepository
) -> tuple[str, ...]:
    """The training specs that a change of these paths concerns, sorted.

    A watched file concerns the nearest spec in its folder or above; where there is none, all below.

    Args:
        changed: Paths that differ.
        present: Paths that the commit has.
        repository: Says which paths are watched.
    """
    specs = {
        path for path in present if posixpath.basename(path) == SPEC_FILE and repository.watches_path(path)
    }
    found: set[str] = set()
    for path in filter(repository.watches_path, changed):
        above = (str(folder / SPEC_FILE) for folder in PurePosixPath(path).parents)
        if nearest := next((spec for spec in above if spec in specs), None):
            found.add(nearest)
        else:
            folder = posixpath.join(posixpath.dirname(path), "")
            found |= {spec for spec in specs if spec.startswith(folder)}
    return tuple(sorted(found))


def missing_code(
    running: Mapping[str, str], tree: Mapping[str, Blob], changed: Iterable[str]
) -> tuple[str, ...]:
    """Files of a commit's code that are not what runs, sorted; empty where nothing need be deployed.

    Args:
        running: Blob id by path of the code that runs.
        tree: The commit's files.
        changed: Watched paths that the push changed. Of a repository without the platform's code only
            these can be missing: Python that runs nowhere.
    """
    if PLATFORM_FILE not in tree:
        return tuple(sorted(path for path in changed if path.endswith(".py") and path in tree))
    pushed = {path: blob.blob_id for path, blob in tree.items() if is_code(path)}
    return tuple(
        path for path in sorted(running.keys() | pushed.keys()) if running.get(path) != pushed.get(path)
    )


@dataclass(frozen=True)
class Change:
    """A push, looked at."""

    push: Push
    commit: Commit
    changed: tuple[str, ...]
    """Paths in which its tree differs from where the branch stood before."""
    tree: Mapping[str, Blob]
    """Its files, those that are reached over a link among them."""
    repository: WatchedRepository
    linked: Linked = NO_LINKS

    @cached_property
    def specs(self) -> tuple[str, ...]:
        """The training specs that it concerns."""
        return self.specs_of(self.changed)

    def specs_of(self, changed: Iterable[str]) -> tuple[str, ...]:
        """The training specs that a change of these paths would concern."""
        return concerned_specs(changed, self.tree.keys() | self.linked.broken.keys(), self.repository)

    @property
    def evidence(self) -> dict[str, str | int | list[str]]:
        """What a retraining tells about it."""
        watched_first = sorted(self.changed, key=lambda path: (not self.repository.watches_path(path), path))
        return {
            "repository": self.repository.url,
            "ref": self.push.ref,
            "sha": self.push.sha,
            "author": self.commit.author[:_LONGEST_AUTHOR],
            "changed_paths": list(watched_first[:_MOST_PATHS_TOLD]),
            "changed_paths_total": len(self.changed),
        }


def look_at(
    push: Push,
    base: str | None,
    remote: GitRemote,
    repository: WatchedRepository,
    elsewhere: Sequence[str] = (),
) -> Change:
    """The push with what it changed: since `base`, or since its first parent where that is not to be had.

    Args:
        push: The push.
        base: Where its branch stood; None for a branch that is new.
        remote: Its repository.
        repository: The same, as the settings watch it.
        elsewhere: Where other branches stood when this one was new: it is compared with what it grew from, so that
            a branch which is only called otherwise has changed nothing.

    Raises:
        GitRemoteError: The commit cannot be had.
    """
    commit = remote.fetch(push.sha)
    if base is None:
        base = _grown_from(push.sha, elsewhere, remote)
    else:
        try:
            remote.fetch(base)
        except UnreachableError:
            raise
        except GitRemoteError:
            base = None  # a force-push has removed it
    files, linked = remote.tree(push.sha), linked_files(remote, push.sha)
    changed = changed_since(base or commit.first_parent, push.sha, linked, remote)
    return Change(push, commit, changed, {**files, **linked.files}, repository, linked)


def changed_since(before: str | None, sha: str, linked: Linked, remote: GitRemote) -> tuple[str, ...]:
    """Paths in which two fetched commits differ, those that are reached over links among them, sorted.

    Args:
        before: The one; None for an empty tree.
        sha: The other.
        linked: What `sha` has by way of links.
        remote: Their repository.
    """
    changed = set(remote.changed_paths(before, sha))
    then = linked_files(remote, before) if before else NO_LINKS
    for old, new in ((then.files, linked.files), (then.broken, linked.broken)):
        changed |= {path for path in old.keys() | new.keys() if old.get(path) != new.get(path)}
    return tuple(sorted(changed))


def linked_files(remote: GitRemote, sha: str) -> Linked:
    """What a fetched commit has by way of links.

    Raises:
        GitRemoteError: It is too much.
    """
    links = remote.links(sha)
    return follow_links(remote.tree(sha), links) if links else NO_LINKS


def _grown_from(sha: str, elsewhere: Sequence[str], remote: GitRemote) -> str | None:
    """Of these commits, the one in the history of `sha` that differs least from it."""

    def is_behind(candidate: str) -> bool:
        try:
            return remote.contains(sha, candidate)
        except UnreachableError:
            raise
        except GitRemoteError:
            return False  # what is not even here is no part of its history

    behind = filter(is_behind, elsewhere[:_MOST_BRANCHES_COMPARED])
    return min(behind, key=lambda candidate: len(remote.changed_paths(candidate, sha)), default=None)


def pushed_line(path: str, tree: Mapping[str, Blob], remote: GitRemote) -> Line:
    """The line that a commit's spec declares, checked as a whole.

    Raises:
        PushRejectedError: It is wrong; the message names file, line and field.
    """
    with tempfile.TemporaryDirectory() as folder:
        # A path of a foreign tree is never written to.
        spec = Path(folder) / SPEC_FILE
        try:
            spec.write_bytes(_content(path, tree[path], remote))
            task, manifest = read_training_spec(spec)
            for field, name in task.files_of(manifest.content).items():
                beside = posixpath.join(posixpath.dirname(path), name)
                if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                    raise PushRejectedError(f"{path}: {field}: {name} must lie beside the spec or below")
                if beside in tree:
                    companion = Path(folder) / name
                    companion.parent.mkdir(parents=True, exist_ok=True)
                    companion.write_bytes(_content(beside, tree[beside], remote))
            return load_line(spec)
        except GitRemoteError:
            raise
        except PlatformError as problem:
            here = posixpath.join(posixpath.dirname(path), "")
            raise PushRejectedError(str(problem).replace(f"{folder}/", here)) from None


def fixed_differences(line: Line, pushed: Line) -> list[str]:
    """What a pushed line states differently, and no run of the served one may change."""
    try:
        found = line.fixed_differences(pushed.spec)
    except ValueError:  # each fits its own spec only
        found = ["what no run may change"]
    if pushed.contract.rule_set_hashes != line.contract.rule_set_hashes:
        found.append(pushed.contract.path.name)
    ours, theirs = line.experiment, pushed.experiment
    if ours and theirs and ours.sha256 != theirs.sha256:
        found.append(str(pushed.spec.experiment))
    return found


def _content(path: str, blob: Blob, remote: GitRemote) -> bytes:
    if blob.size > _LARGEST_FILE_BYTES:
        raise PushRejectedError(f"{path}: has {blob.size} bytes; {_LARGEST_FILE_BYTES} are allowed")
    return remote.read(blob)
