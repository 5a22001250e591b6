"""Names in Git as they are compared: repositories by one canonical form, branches and paths by globs."""

import posixpath
import re
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from resources.errors import ResourceError

BRANCH_PREFIX = "refs/heads/"

_SCP = re.compile(r"(?:[^@/\s]+@)?(?P<host>[^:/@\s]+):(?P<path>[^/:].*)")
"""`git@host:owner/repository`, as scp and Git write what others write as an ssh:// URL."""
_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\]", re.ASCII)
_DEFAULT_PORTS = {"https": 443, "http": 80}
_COMMIT_ID = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?", re.ASCII)
_NO_BRANCH = re.compile(r"^[-/.]|[/.]$|//|\.\.|/\.|\.lock(/|$)|@\{|^@$|[\x00-\x20\x7f~^:?*\[\\\ud800-\udfff]")
_LONGEST_NAME = 1024


class GitNameError(ResourceError):
    """A URL that names no repository."""


def canonical_repository(url: str) -> str:
    """The repository that a URL names, the same for every way to write it and without what is secret in it.

    `host/owner/repository` for https, ssh and scp-like addresses: user, password, query, the suffix `.git`,
    the case of the host and the protocol's own port do not count. A port of https does count. One of ssh
    does not, since webhooks name repositories by https. `file:///folder` for a folder of this machine.

    Raises:
        GitNameError: It names no repository. The message does not repeat it: it may hold a password.
    """
    if (
        len(url) > _LONGEST_NAME
        or not url.isprintable()
        or url != url.strip()
        or url.startswith("-")
        or "\\" in url
    ):
        raise GitNameError("a repository's URL is one short line without a backslash or a dash in front")
    if url.startswith("/"):
        return f"file://{posixpath.normpath(url)}"
    if "://" not in url:
        scp = _SCP.fullmatch(url)
        if scp is None:
            raise GitNameError("a repository is named by https://, ssh://, file:///, user@host:path or /path")
        return _hosted(scp["host"], None, scp["path"])
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise GitNameError("a repository's URL has a malformed host or port") from None
    match parts.scheme.lower():
        case "file" if not parts.netloc and parts.path.startswith("/"):
            return f"file://{posixpath.normpath(unquote(parts.path))}"
        case "https" | "http" as scheme:
            return _hosted(host, None if port == _DEFAULT_PORTS[scheme] else port, unquote(parts.path))
        case "ssh":
            return _hosted(host, None, unquote(parts.path))
    raise GitNameError("a repository is read over https, ssh, or from a folder of this machine")


def _hosted(host: str, port: int | None, path: str) -> str:
    host = host.lower().rstrip(".")
    host = f"[{host}]" if ":" in host else host
    path = posixpath.normpath(path.strip("/")).removesuffix(".git")
    if not _HOST.fullmatch(host) or path in {"", "."} or path.startswith("..") or not path.isprintable():
        raise GitNameError("a repository's URL names a host, and a repository on it")
    return f"{host}:{port}/{path}" if port else f"{host}/{path}"


def is_same_repository(name: str, other: str) -> bool:
    """Whether two canonical names may mean one repository: forges know theirs in any case, and with `www.` before.

    Folders of this machine are told apart by every sign.
    """
    return name == other or _as_forges_know(name) == _as_forges_know(other)


def _as_forges_know(name: str) -> str:
    return name if name.startswith("file://") else name.casefold().removeprefix("www.")


def is_commit_id(text: str) -> bool:
    """Whether it is a whole commit id (SHA-1 or SHA-256), and not the zeros that stand for no commit."""
    return _COMMIT_ID.fullmatch(text) is not None and text.strip("0") != ""


def branch_of(ref: str) -> str | None:
    """The branch that a ref (`refs/heads/main`) or a short name (`main`) means; None for tags and nonsense."""
    branch = ref.removeprefix(BRANCH_PREFIX)
    if branch.startswith("refs/") or not 0 < len(branch) <= _LONGEST_NAME or _NO_BRANCH.search(branch):
        return None
    return branch


def matches(pattern: str, name: str) -> bool:
    """Whether a glob matches the whole name: `*` and `?` stay within a folder, `**` does not."""
    return _glob(pattern).fullmatch(name) is not None


@lru_cache
def _glob(pattern: str) -> re.Pattern[str]:
    signs = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return re.compile("".join(signs.get(part) or re.escape(part) for part in parts), re.DOTALL)
