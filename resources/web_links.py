"""Where a browser shows a file of a Git repository as it is in the commit that runs."""

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from resources.provenance import code_commit, git_output

_REMOTE: Final = re.compile(
    r"(?:(?P<scheme>[a-z+]+)://(?:[^@/]*@)?|[^@/:]+@)(?P<host>[A-Za-z0-9.-]+)(?P<port>:\d+(?=/))?"
    r"[:/]/?(?P<path>[^?#]+?)(?:\.git)?/?"
)
_OF_SSH: Final = re.compile(r"(?:alt)?ssh\.(?=(?:github|gitlab)\.com$)")
"""Hosts that GitHub and GitLab have for SSH where only the web's ports are open."""
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
INSTALLATION: Final = Path(__file__).resolve().parent.parent
"""Where this code lies: a checkout, or the packages of an environment."""


@dataclass(frozen=True, slots=True)
class WebLinks:
    """Links to the files of one commit."""

    template: str
    """With `{commit}` and `{path}`."""
    commit: str
    root: Path
    """Where the commit's files lie."""
    unchanged: Collection[str] | None
    """Paths of those in the folder that was asked about that are as the commit has them; None: all there are."""

    def link(self, file: Path, line: int | None = None) -> str | None:
        """The address of a file, at a line; None where the commit does not have the file as it is."""
        whole = file.resolve()
        if not whole.is_relative_to(self.root):
            return None
        path = whole.relative_to(self.root).as_posix()
        if self.unchanged is not None and path not in self.unchanged:
            return None
        address = self.template.replace("{commit}", self.commit).replace("{path}", quote(os.fsencode(path)))
        return address if line is None else f"{address}#L{line}"


def web_links(folder: Path, template: str | None = None) -> WebLinks | None:
    """Links to the files of a folder in a repository; None where nobody shows them on the web.

    That is so, too, of a commit that was not pushed yet, as far as the remote's branches are known here.

    Args:
        folder: It. Of what lies elsewhere in the repository nothing is known: that may be a million files.
        template: Of this project's own files, wherever they are installed; default: that of remote `origin`, where it
            is on GitHub or GitLab.
    """
    place = (git_output(folder, "rev-parse", "--show-toplevel", "HEAD") or "").splitlines()
    if len(place) != 2:  # noqa: PLR2004 - the folder and its commit
        # An image or a wheel holds the files of a commit, and no repository.
        is_ours = folder.resolve().is_relative_to(INSTALLATION)
        commit = code_commit() if template and is_ours else ""
        return WebLinks(template or "", commit, INSTALLATION, None) if _COMMIT.fullmatch(commit) else None
    root, commit = Path(place[0]).resolve(), place[1]
    own = template if root == INSTALLATION else None
    chosen = own or template_of(git_output(folder, "remote", "get-url", "origin") or "")
    if chosen is None or not _is_pushed(root):
        return None
    paths = (git_output(folder, "ls-tree", "-r", "-z", "--full-name", "--name-only", "HEAD") or "").split(
        "\0"
    )
    changed = git_output(folder, "diff", "-z", "--no-relative", "--name-only", "HEAD", "--", ".")
    # None: Git could not tell, so no file is claimed to be what the commit has.
    return WebLinks(
        chosen, commit, root, frozenset(paths) - {"", *changed.split("\0")} if changed is not None else ()
    )


def _is_pushed(root: Path) -> bool:
    some = ("for-each-ref", "--count=1")
    # A clone of a tag or of one commit knows no branch of its remote.
    return bool(git_output(root, *some, "--contains", "HEAD", "refs/remotes")) or not git_output(
        root, *some, "refs/remotes"
    )


def template_of(remote: str) -> str | None:
    """Where GitHub or GitLab shows files of a repository, with `{commit}` and `{path}`; None of any other host.

    Args:
        remote: As Git has it: `git@github.com:acme/models.git`, `https://token@gitlab.acme.com/ml/models`. Names and
            tokens in it are left out.
    """
    found = _REMOTE.fullmatch(remote.strip())
    if found is None:
        return None
    if (scheme := found["scheme"]) in {"http", "https"}:
        site = f"{scheme}://{found['host']}{found['port'] or ''}"
    else:
        # The port is that of SSH.
        site = f"https://{_OF_SSH.sub('', found['host'])}"
    labels, repository = found["host"].lower().split("."), f"{site}/{quote(found['path'])}"
    if "github" in labels:
        return f"{repository}/blob/{{commit}}/{{path}}"
    return f"{repository}/-/blob/{{commit}}/{{path}}" if "gitlab" in labels else None
