"""What a Git repository elsewhere holds: its branches, and any commit that it still gives out.

The adapter runs the git program on a bare mirror of its own. It prompts for nothing, runs no hooks, and
speaks https and ssh, or reads a folder of this machine. Credentials are Git's own affair: its credential
helper, ssh's agent and keys.
"""

import hashlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from resources.errors import ResourceError
from resources.git_names import BRANCH_PREFIX, branch_of, canonical_repository, is_commit_id
from resources.provenance import printable

HEADS_TIMEOUT_SECONDS = 20.0
FETCH_TIMEOUT_SECONDS = 600.0
"""A first fetch brings the whole history, and begins anew when it was cut off."""
_READ_TIMEOUT_SECONDS = 60.0
_LOCK_TIMEOUT_SECONDS = 2.0

_REGULAR_FILES = {"100644", "100755"}
_LINK = "120000"
_LONGEST_LINK_BYTES = 4096
"""As Linux has it."""
_SHA256_DIGITS = 64
# The part before the @ of a URL in git's messages may be a password; a URL of git's may hold a token.
_SECRET = re.compile(r"(?<=://)[^/@\s']*@|\?[^\s']*")
_OWN_VARIABLES = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_NAMESPACE",
    "GIT_COMMON_DIR",
)
_OPTIONS = {
    "core.hooksPath": os.devnull,
    "init.templateDir": "",
    "gc.autoDetach": "false",
    "fetch.unpackLimit": "1",  # a pack arrives as a whole or not at all, loose objects one by one
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "30",
}


class GitRemoteError(ResourceError):
    """Git refused, for the reason that it gives."""


class UnreachableError(GitRemoteError):
    """The repository does not answer, does not exist, or does not let us in."""


class UnknownCommitError(GitRemoteError):
    """The repository does not give this commit out: it is gone, or was never there."""


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit."""

    sha: str
    author: str
    """The name alone."""
    identity: str
    """The author as `Name <address>`: who may not approve what was trained by it is looked up by that."""
    committed_at: datetime
    """UTC, by the clock of whoever committed."""
    first_parent: str | None


@dataclass(frozen=True, slots=True)
class Blob:
    """A regular file's content in a tree; links and submodules are none."""

    blob_id: str
    """Git's hash of the content: equal contents, equal ids."""
    size: int
    """Bytes."""


class GitRemote(Protocol):
    """A repository elsewhere. Whatever fails raises GitRemoteError."""

    @property
    def name(self) -> str:
        """Canonical form of its URL."""

    def heads(self) -> dict[str, str]:
        """Commit by branch ref (`refs/heads/…`); empty for an empty repository.

        Raises:
            UnreachableError: It does not answer.
        """

    def holds(self, sha: str) -> bool:
        """Whether a commit was fetched already."""

    def fetch(self, sha: str) -> Commit:
        """Makes sure that this commit and its history are here, and stay here.

        Raises:
            UnknownCommitError: It answers, and does not give the commit out.
            UnreachableError: It does not answer.
        """

    def contains(self, sha: str, earlier: str) -> bool:
        """Whether a commit's history holds an earlier, fetched one; fetches the commit if need be."""

    def author(self, sha: str, path: str) -> str | None:
        """Who changed a file last, up to a fetched commit, as `Name <address>`; None where its history has no such file."""

    def changed_paths(self, base: str | None, sha: str) -> tuple[str, ...]:
        """Paths that differ between the trees of two fetched commits, sorted; all paths where `base` is None."""

    def tree(self, sha: str, *folders: str) -> dict[str, Blob]:
        """The regular files of a fetched commit by path; in these folders only, where some are named."""

    def links(self, sha: str) -> dict[str, str]:
        """Where each symbolic link of a fetched commit leads, as it says, by its path."""

    def read(self, blob: Blob) -> bytes:
        """The content of a file."""


class MirroredRemote:
    """A `GitRemote` by the git program and a bare mirror, which is made when the first commit is fetched.

    Any number of processes may share a mirror. One that is killed leaves it usable.
    """

    def __init__(
        self, url: str, mirrors: Path, *, heads_timeout_seconds: float = HEADS_TIMEOUT_SECONDS
    ) -> None:
        self.name = canonical_repository(url)
        self._heads_timeout_seconds = heads_timeout_seconds
        self._url = url
        self._mirrors = mirrors
        # A folder's name cannot hold every sign that a URL can.
        self._mirror = (
            mirrors / f"{re.sub('[^A-Za-z0-9._-]+', '-', self.name).strip('-.')}-{_digest(self.name)}.git"
        )

    def heads(self) -> dict[str, str]:
        """See `GitRemote`."""
        self._mirrors.mkdir(parents=True, exist_ok=True)
        try:
            # Outside the mirror: it need not exist, and no other repository is to be found on the way up.
            told = self._git(
                "ls-remote",
                "--heads",
                "--",
                self._url,
                timeout_seconds=self._heads_timeout_seconds,
                mirrored=False,
            )
        except GitRemoteError as problem:
            raise UnreachableError(str(problem)) from None
        found = [line.split("\t", 1) for line in _text(told).split("\n")[:-1]]
        return {ref: sha for sha, ref in found if branch_of(ref)}

    def holds(self, sha: str) -> bool:
        """See `GitRemote`."""
        if not self._mirror.is_dir():
            return False
        try:
            # A ref of our own, written once everything behind the commit has arrived.
            self._git("rev-parse", "--quiet", "--verify", f"{_kept(sha)}^{{commit}}")
        except GitRemoteError:
            return False
        return True

    def fetch(self, sha: str) -> Commit:
        """See `GitRemote`."""
        if not is_commit_id(sha):
            raise UnknownCommitError(f"{self.name}: {sha[:80]!r} is no whole commit id")
        if not self.holds(sha):
            self._mirrors.mkdir(parents=True, exist_ok=True)
            try:
                with FileLock(self._mirror.with_suffix(".lock"), timeout=_LOCK_TIMEOUT_SECONDS):
                    self._bring(sha)
            except Timeout:
                raise UnreachableError(f"{self.name}: another process is fetching from it") from None
        return self._commit(sha)

    def contains(self, sha: str, earlier: str) -> bool:
        """See `GitRemote`."""
        self.fetch(sha)
        return not self._git("rev-list", "--max-count=1", earlier, f"^{sha}", "--")

    def author(self, sha: str, path: str) -> str | None:
        """See `GitRemote`."""
        told = self._git("log", "-1", "--no-show-signature", "--format=%an <%ae>", sha, "--", path)
        return printable(_text(told)) or None

    def changed_paths(self, base: str | None, sha: str) -> tuple[str, ...]:
        """See `GitRemote`."""
        if base is None:
            told = self._git("ls-tree", "-r", "-z", "--full-tree", "--name-only", sha)
        else:
            told = self._git("diff-tree", "-r", "-z", "--no-renames", "--name-only", base, sha, "--")
        return tuple(sorted(_text(told).split("\0")[:-1]))

    def tree(self, sha: str, *folders: str) -> dict[str, Blob]:
        """See `GitRemote`."""
        return {path: blob for mode, path, blob in self._entries(sha, *folders) if mode in _REGULAR_FILES}

    def links(self, sha: str) -> dict[str, str]:
        """See `GitRemote`."""
        found = {
            path: blob
            for mode, path, blob in self._entries(sha)
            if mode == _LINK and blob.size <= _LONGEST_LINK_BYTES
        }
        asked = "".join(f"{blob.blob_id}\n" for blob in found.values()).encode()
        told = self._git("cat-file", "--batch=", given=asked) if found else b""
        targets, at = {}, 0
        for path, blob in found.items():
            at += 1  # the empty line before each content
            targets[path] = _text(told[at : at + blob.size])
            at += blob.size + 1
        return targets

    def read(self, blob: Blob) -> bytes:
        """See `GitRemote`."""
        return self._git("cat-file", "blob", blob.blob_id)

    def _entries(self, sha: str, *folders: str) -> Iterator[tuple[str, str, Blob]]:
        """Mode, path and content of whatever a tree has but folders and submodules."""
        told = self._git("ls-tree", "-r", "-z", "-l", "--full-tree", sha, "--", *folders)
        for record in _text(told).split("\0")[:-1]:
            description, path = record.split("\t", 1)
            mode, _, blob_id, size = description.split()
            if size != "-":
                yield mode, path, Blob(blob_id, int(size))

    def _bring(self, sha: str) -> None:
        # Whoever held these was killed: the lock of the mirror is ours.
        for left in self._mirror.rglob("*.lock"):
            left.unlink(missing_ok=True)
        self._make(sha)
        try:
            self._fetch(f"+{sha}:{_kept(sha)}")
        except GitRemoteError:
            # Old servers give out only what a branch holds; and it may be the line that is down.
            self._fetch(f"+{BRANCH_PREFIX}*:refs/mirror/*")
            try:
                self._git("update-ref", "--no-deref", _kept(sha), f"{sha}^{{commit}}")
            except GitRemoteError:
                raise UnknownCommitError(
                    f"{self.name}: does not give out commit {sha}: it was removed, or never pushed"
                ) from None

    def _make(self, sha: str) -> None:
        """Make the mirror, for commits that are named as this one is, where it is not there."""
        hashes = f"--object-format={'sha256' if len(sha) == _SHA256_DIGITS else 'sha1'}"
        init = ("init", "--quiet", "--bare", hashes, str(self._mirror))
        try:
            self._git(*init, mirrored=False)
        except GitRemoteError as problem:
            if "different hash" not in str(problem):
                raise
            if self._git("for-each-ref", "--count=1", "refs/commits/"):
                raise GitRemoteError(
                    f"{self.name}: it was made anew with commit ids of another kind; remove {self._mirror}, which "
                    "holds the former ones"
                ) from None
            # It was made for a commit that was never there.
            shutil.rmtree(self._mirror)
            self._git(*init, mirrored=False)

    def _fetch(self, refspec: str) -> None:
        options = ("--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
        try:
            self._git("fetch", *options, "--", self._url, refspec, timeout_seconds=FETCH_TIMEOUT_SECONDS)
        except GitRemoteError as problem:
            raise UnreachableError(str(problem)) from None

    def _commit(self, sha: str) -> Commit:
        told = self._git(
            "log", "-1", "--no-show-signature", "--format=%H%x00%ct%x00%P%x00%an%x00%ae", sha, "--"
        )
        found, time, parents, author, address = _text(told).rstrip("\n").split("\0", 4)
        return Commit(
            found,
            printable(author),
            printable(f"{author} <{address}>"),
            datetime.fromtimestamp(int(time), UTC),
            next(iter(parents.split()), None),
        )

    def _git(
        self,
        *arguments: str,
        timeout_seconds: float = _READ_TIMEOUT_SECONDS,
        mirrored: bool = True,
        given: bytes = b"",
    ) -> bytes:
        """What a git command prints that is given this."""
        options = [part for name, value in _OPTIONS.items() for part in ("-c", f"{name}={value}")]
        own = (
            {"GIT_DIR": str(self._mirror)}
            if mirrored
            else {"GIT_CEILING_DIRECTORIES": str(self._mirrors.parent)}
        )
        try:
            process = subprocess.Popen(
                ["git", "--literal-pathspecs", *options, *arguments],
                cwd=self._mirrors,
                env=_environment(local=self.name.startswith("file://")) | own,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # no terminal to prompt on, and one group to end
            )
        except OSError as problem:
            raise GitRemoteError(f"{self.name}: git cannot be run ({problem.strerror}); install it") from None
        with process:
            try:
                output, complaint = process.communicate(given, timeout=timeout_seconds)
            except BaseException as problem:
                os.killpg(process.pid, signal.SIGKILL)
                if not isinstance(problem, subprocess.TimeoutExpired):
                    raise
                raise UnreachableError(
                    f"{self.name}: git {arguments[0]} took longer than {timeout_seconds:g} s"
                ) from None
        if process.returncode != 0:
            reason = _SECRET.sub("", " ".join(_text(complaint).split()))[-500:]
            raise GitRemoteError(f"{self.name}: git {arguments[0]} failed: {reason or 'without a word'}")
        return output


def open_remotes(urls: Iterable[str], mirrors: Path) -> Mapping[str, GitRemote]:
    """A remote for each URL, by its canonical name."""
    remotes = (MirroredRemote(url, mirrors) for url in urls)
    return {remote.name: remote for remote in remotes}


def _environment(*, local: bool) -> dict[str, str]:
    """This process's environment, where git asks nobody anything and other protocols are closed."""
    kept = {name: value for name, value in os.environ.items() if name not in _OWN_VARIABLES}
    return kept | {
        "GIT_TERMINAL_PROMPT": "0",
        "SSH_ASKPASS_REQUIRE": "never",
        "GIT_ALLOW_PROTOCOL": "file" if local else "https:ssh",
        "LC_ALL": "C",
    }


def _kept(sha: str) -> str:
    """The mirror's ref that keeps a commit, whatever becomes of its branch."""
    return f"refs/commits/{sha}"


def _text(output: bytes) -> str:
    # Names are bytes to Git; what is no UTF-8 must still be told.
    return output.decode(errors="replace")


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:12]
