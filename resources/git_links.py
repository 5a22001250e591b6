"""Symbolic links in a commit: what they lead to, within the commit's own tree and never out of it.

A checkout's links are the operating system's affair. A commit that is looked at without a checkout has nobody who
follows them, so this does, as Linux would with the repository as its root directory.
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
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
    found: dict[str, Blob] = {}
    broken: dict[str, str] = {}
    folders = folders_of([*files, *links])
    for link in sorted(links):
        try:
            target = resolved(link, links, folders)
        except LinkError as problem:
            broken[link] = str(problem)
            continue
        if target in files:
            found[link] = files[target]
            continue
        below = dict(_below(target, files, links, folders))
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


def _below(
    folder: str, files: Mapping[str, Blob], links: Mapping[str, str], folders: Collection[str]
) -> Iterator[tuple[str, Blob]]:
    """The files of a folder by the rest of their path, those that links in it lead to among them."""
    inside = f"{folder}/" if folder else ""
    for path, blob in files.items():
        if path.startswith(inside):
            yield path[len(inside) :], blob
    for link in links:
        if link.startswith(inside):
            try:
                target = resolved(link, links, folders)
            except LinkError:
                continue
            if target in files:
                yield link[len(inside) :], files[target]
