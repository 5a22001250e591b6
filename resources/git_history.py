"""What a file held in every commit of the history that the checkout around it stands on, and who made each of them.

Nothing here looks at the working copy. What Git tells of authors and committers are their own words.
"""

import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from resources.errors import ResourceError
from resources.git_names import is_commit_id

_TIMEOUT_SECONDS: Final = 60.0
_MOST_COMMITS: Final = 5_000
_MOST_BYTES: Final = 1 << 20
_REGULAR_FILES: Final = ("100644", "100755")
_FIELDS: Final = "%H%x00%P%x00%an%x00%ae%x00%cn%x00%ce"
_STATE = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_NAMESPACE",
    "GIT_COMMON_DIR",
)
_OPTIONS: Final = ("-c", "log.follow=false", "-c", "log.showSignature=false")
"""Whatever somebody's own configuration says."""
_AS_COMMITTED: Final = {
    # Replaced objects and grafts of one checkout would tell a history that nobody else sees.
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_GRAFT_FILE": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}


class GitHistoryError(ResourceError):
    """There is no history to read a file from, or it is not whole."""


@dataclass(frozen=True, slots=True)
class Maker:
    """Somebody as a commit names them."""

    name: str
    email: str


@dataclass(frozen=True, slots=True)
class FileState:
    """A commit that matters to a file, and what the file held in it."""

    commit: str
    parents: tuple[str, ...]
    """The nearest earlier commits that matter to the file, one for each line of history that meets here."""
    makers: tuple[Maker, ...]
    """Its author and its committer."""
    content: bytes | None
    """None where it had no such file, or something else than a regular file."""


@dataclass(frozen=True, slots=True)
class FileHistory:
    """A file in every commit that changed it or brought changes of it together, up to `HEAD`."""

    file: Path
    repository: Path
    """Top folder of the checkout."""
    path: str
    """Of the file within it."""
    commit: str
    """Id of the commit that `HEAD` was."""
    states: tuple[FileState, ...]
    """Parents before children; the last one is what `HEAD` has."""

    def has(self, commit: str) -> bool:
        """Whether `HEAD` is that commit or came after it.

        Raises:
            GitHistoryError: Git cannot be run.
        """
        if not is_commit_id(commit):
            return False
        return (
            _text(_git(self.repository, "merge-base", commit, self.commit, may_fail=True)).strip() == commit
        )

    def at_forks(self, one: str, other: str) -> Iterator[bytes | None]:
        """What the file held where two of these commits parted; several times where they met in between.

        Raises:
            GitHistoryError: Git refuses.
        """
        told = _git(self.repository, "merge-base", "--all", one, other, may_fail=True) or b""
        yield from _contents(self.repository, [f"{each}:{self.path}" for each in _text(told).split()])


def file_history(file: Path) -> FileHistory:
    """The history of a file, whether or not the working copy still has it.

    The same answer is given again while `HEAD` is the same.

    Args:
        file: Its path in a checkout.

    Raises:
        GitHistoryError: There is no repository or no commit, the file was never committed, or is a link or too large, the
            history is cut short, or Git cannot be run.
    """
    file = file.absolute()
    folder = next((each for each in file.parents if each.is_dir()), Path("/"))
    top = _git(folder, "rev-parse", "--show-toplevel", may_fail=True)
    if not top or not top.strip():
        raise GitHistoryError(f"{file} lies in no Git checkout")
    repository = Path(os.fsdecode(top.rstrip(b"\n")))
    try:
        # A link in the folders before it is followed, as Git does; one in its own place is not.
        path = (file.parent.resolve() / file.name).relative_to(repository.resolve()).as_posix()
    except ValueError:
        raise GitHistoryError(f"{file} does not lie in the checkout {repository}") from None
    head = _git(repository, "rev-parse", "--verify", "--quiet", "HEAD^{commit}", may_fail=True)
    if not head:
        raise GitHistoryError(f"{repository} has no commit yet")
    return _history(file, repository, path, _text(head).strip())


@lru_cache(maxsize=8)
def _history(file: Path, repository: Path, path: str, commit: str) -> FileHistory:
    if _text(_git(repository, "rev-parse", "--is-shallow-repository")).strip() != "false":
        raise GitHistoryError(
            f"{repository} is a shallow clone, so nobody can tell who made {path} what it is: `git fetch --unshallow`"
        )
    told = _git(
        repository,
        "log",
        "--full-history",
        # Keeps a merge that took one side's file although the other side had changed it.
        "--simplify-merges",
        "--parents",
        "--topo-order",
        "--reverse",
        "--no-show-signature",
        "--no-color",
        # Of whatever encoding a commit is, and whatever the machine's configuration asks for.
        "--encoding=UTF-8",
        f"--format={_FIELDS}",
        commit,
        "--",
        path,
    )
    lines = [line for line in _text(told).split("\n") if line]
    if not lines:
        raise GitHistoryError(f"{file} was never committed in {repository}: commit it")
    if len(lines) > _MOST_COMMITS:
        raise GitHistoryError(
            f"{path} of {repository} was changed in {len(lines):,} commits, more than {_MOST_COMMITS:,}: "
            "keep it in a file of its own"
        )
    fields = [line.split("\0") for line in lines]
    contents = _contents(repository, [f"{each[0]}:{path}" for each in fields])
    states = tuple(
        FileState(
            commit=found,
            parents=tuple(parents.split()),
            makers=(Maker(author, author_email), Maker(committer, committer_email)),
            content=content,
        )
        for (found, parents, author, author_email, committer, committer_email), content in zip(
            fields, contents, strict=True
        )
    )
    entry = _text(_git(repository, "ls-tree", commit, "--", path)).split()
    if states[-1].content is not None and (not entry or entry[0] not in _REGULAR_FILES):
        raise GitHistoryError(f"{path} of {repository} is no regular file in commit {commit[:12]}")
    return FileHistory(file, repository, path, commit, states)


def _contents(repository: Path, names: Iterable[str]) -> Iterator[bytes | None]:
    """The content of each blob, by one process; None where there is none."""
    asked = list(names)
    if not asked:
        return
    told = _git(repository, "cat-file", "--batch", given="".join(f"{each}\n" for each in asked).encode())
    at = 0
    for name in asked:
        end = told.index(b"\n", at)
        header, at = told[at:end], end + 1
        if header.endswith(b" missing"):
            yield None
            continue
        _, kind, size = header.rsplit(b" ", 2)
        length = int(size)
        if length > _MOST_BYTES:
            raise GitHistoryError(
                f"{name.partition(':')[2]} of {repository} has {length:,} bytes in commit {name[:12]}, more than "
                f"{_MOST_BYTES:,}"
            )
        yield told[at : at + length] if kind == b"blob" else None
        at += length + 1


def _git(folder: Path, *arguments: str, may_fail: bool = False, given: bytes | None = None) -> bytes:
    """What a git command prints; nothing where it fails and may."""
    environment = {name: value for name, value in os.environ.items() if name not in _STATE} | _AS_COMMITTED
    try:
        done = subprocess.run(
            ["git", "--no-pager", "--literal-pathspecs", *_OPTIONS, *arguments],
            cwd=folder,
            env=environment,
            input=given or b"",
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except OSError as problem:
        raise GitHistoryError(f"git cannot be run ({problem.strerror}); install it") from None
    except subprocess.TimeoutExpired:
        raise GitHistoryError(
            f"git {arguments[0]} took longer than {_TIMEOUT_SECONDS:g} s in {folder}"
        ) from None
    if done.returncode != 0:
        complaint = " ".join(_text(done.stderr).split())[-300:]
        # It is there, and Git does not trust it: to be told, and not to be taken for no repository.
        if may_fail and "dubious ownership" not in complaint:
            return b""
        raise GitHistoryError(f"git {arguments[0]} failed in {folder}: {complaint or 'without a word'}")
    return done.stdout


def _text(output: bytes) -> str:
    return output.decode(errors="replace")
