"""Symbolic links in a commit: what they lead to, within the commit's own tree and never out of it.

A checkout's links are the operating system's affair. A commit that is looked at without a checkout has nobody who
follows them, so this does, as Linux would with the repository as its root directory.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

from resources.git_remote import Blob, GitRemoteError

_MOST_FOLLOWED = 40
"""As Linux has it."""
_MOST_LINKED_FILES = 100_000


class LinkError(GitRemoteError):
    """A link that leads to no file of the commit."""


@dataclass(frozen=True)
class Linked:
    """What a commit has by way of links."""

    files: Mapping[str, Blob]
    """By the path that goes over a link."""
    broken: Mapping[str, str]
    """By the link's path, why it leads to nothing."""


NO_LINKS = Linked({}, {})


def follow_links(files: Mapping[str, Blob], links: Mapping[str, str]) -> Linked:
    """Every file that can be reached over a link, by the path that leads over it.

    A link within a folder that a link leads to is followed too; what lies deeper behind links within links is not.

    Args:
        files: The commit's regular files.
        links: Target by path, as the commit has it.

    Raises:
        LinkError: More than 100,000 files lie behind links.
    """
    broken: dict[str, str] = {}
    targets: dict[str, str] = {}
    folders = folders_of([*files, *links])
    for link in sorted(links):
        try:
            targets[link] = resolved(link, links, folders)
        except LinkError as problem:
            broken[link] = str(problem)
    direct = {link: files[target] for link, target in targets.items() if target in files}
    found = dict(direct)
    file_paths, link_paths = _Paths(files), _Paths(direct)
    for link, target in targets.items():
        if link in direct:
            continue
        inside = len(target) + bool(target)
        below = {path[inside:]: files[path] for path in file_paths.below(target)}
        below |= {path[inside:]: direct[path] for path in link_paths.below(target)}
        if not below:
            broken[link] = f"{link} is a link to {target or 'the root'}, where the commit has no file"
        found |= {f"{link}/{rest}": blob for rest, blob in below.items()}
        if len(found) > _MOST_LINKED_FILES:
            raise LinkError(
                f"more than {_MOST_LINKED_FILES:,} files lie behind links; have fewer links to folders"
            )
    return Linked(found, broken)


def folders_of(paths: Iterable[str]) -> set[str]:
    """Every folder that holds one of these paths, directly or below."""
    return {str(folder) for path in paths for folder in PurePosixPath(path).parents}


def resolved(path: str, links: Mapping[str, str], folders: Collection[str]) -> str:
    """Where a path leads, with every link on the way followed; empty for the root of the tree.

    Args:
        path: The link's.
        links: Target by path.
        folders: All that the commit has.

    Raises:
        LinkError: Out of the tree, round in circles, or through what is no folder.
    """
    ahead, gone, followed = deque(path.split("/")), list[str](), 0
    while ahead:
        part = ahead.popleft()
        if part in {"", "."}:
            continue
        if part == "..":
            if not gone:
                raise LinkError(f"{path} is a link that leads out of the repository")
            gone.pop()
            continue
        gone.append(part)
        here = "/".join(gone)
        target = links.get(here)
        if target is None:
            if ahead and here not in folders:
                raise LinkError(f"{path} is a link through {here}, where the commit has no folder")
            continue
        followed += 1
        if followed > _MOST_FOLLOWED:
            raise LinkError(f"{path} is a link that leads round in circles")
        if target.startswith("/"):
            raise LinkError(f"{path} is a link that leads out of the repository, to an absolute path")
        gone.pop()
        ahead.extendleft(reversed(target.split("/")))
    return "/".join(gone)


class _Paths:
    """Paths in an order in which those below a folder stand together."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._sorted = sorted(paths)

    def below(self, folder: str) -> Iterator[str]:
        """Those below a folder; all, below the root."""
        inside = f"{folder}/" if folder else ""
        for path in islice(self._sorted, bisect_left(self._sorted, inside), None):
            if not path.startswith(inside):
                return
            yield path
