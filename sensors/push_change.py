"""What a push concerns: the commit, the specs that it changed, and the lines that they declare."""

import posixpath
import tempfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Final

from platform_assets.lines.line import SPEC_FILE, Line, load_line
from platform_assets.tasks.registry import read_training_spec
from resources.errors import PlatformError
from resources.git_remote import Blob, Commit, GitRemote, GitRemoteError, UnreachableError
from resources.provenance import is_code
from resources.settings import WatchedRepository
from sensors.push_queue import Push

PLATFORM_FILE: Final = "platform_assets/__init__.py"
"""A commit that has it holds the platform's own code."""
_LARGEST_FILE_BYTES: Final = 1_000_000
_MOST_PATHS_TOLD: Final = 20
_LONGEST_AUTHOR: Final = 200


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
    repository: WatchedRepository

    @cached_property
    def specs(self) -> tuple[str, ...]:
        """The training specs that it concerns."""
        return concerned_specs(self.changed, self.tree, self.repository)

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


def look_at(push: Push, base: str | None, remote: GitRemote, repository: WatchedRepository) -> Change:
    """The push with what it changed: since `base`, or since its first parent where that is not to be had.

    Raises:
        GitRemoteError: The commit cannot be had.
    """
    commit = remote.fetch(push.sha)
    if base is not None:
        try:
            remote.fetch(base)
        except UnreachableError:
            raise
        except GitRemoteError:
            base = None  # a force-push has removed it
    changed = remote.changed_paths(base or commit.first_parent, push.sha)
    return Change(push, commit, changed, remote.tree(push.sha), repository)


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
            for field, name in task.companions(manifest.content).items():
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
    return found


def _content(path: str, blob: Blob, remote: GitRemote) -> bytes:
    if blob.size > _LARGEST_FILE_BYTES:
        raise PushRejectedError(f"{path}: has {blob.size} bytes; {_LARGEST_FILE_BYTES} are allowed")
    return remote.read(blob)
