"""Which commit a file, and the running code, stand at. Never claims a commit that did not run."""

import hashlib
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from resources.git_names import is_commit_id

CODE_FOLDERS = ("platform_assets", "resources", "sensors", "pyproject.toml")
UNVERSIONED = "unversioned"

_CODE_SUFFIXES = (".py", ".rego", ".yaml", ".jsonld", ".j2")
_CODE_PREFIXES = ("platform_assets/", "resources/", "sensors/", "k8s/policy/")
_PACKAGED_MANIFESTS = "resources/k8s/"
"""Where a wheel has what the repository has under k8s/."""
_SHA256_DIGITS = 64
_LONGEST_AUTHOR = 200
_CODE_TREE = "resources/code-tree.txt"
"""In an image: the commit that it was built of, and what `git ls-tree -r` says of that commit's code."""


def git_output(folder: Path, *arguments: str) -> str | None:
    """Output of a git command in `folder`, or None where there is no git or no repository."""
    try:
        result = subprocess.run(
            ["git", "--literal-pathspecs", *arguments],
            cwd=folder,
            capture_output=True,
            # Names are bytes to Git, and need not be text.
            encoding="utf-8",
            errors="surrogateescape",
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def source_commit(file: Path) -> str:
    """The commit that last changed `file`; `+dirty` where the file differs from it.

    `unversioned` outside a repository and for a file that was never committed.
    """
    target = file.resolve()
    folder, names = target.parent, [target.name]
    if file.is_symlink():
        link = file.parent.resolve() / file.name
        # A link that leads elsewhere now is a change, where the same repository has it.
        if git_output(link.parent, "rev-parse", "--show-toplevel") == git_output(
            folder, "rev-parse", "--show-toplevel"
        ):
            names.append(str(link))
    commit = git_output(folder, "log", "-1", "--format=%H", "--", *names)
    if not commit:
        return UNVERSIONED
    changed = git_output(folder, "status", "--porcelain", "--", *names)
    # None: git could not tell, so cleanness is not claimed.
    return commit if changed == "" else f"{commit}+dirty"


def commit_author(file: Path, commit: str) -> str | None:
    """Who made a commit in the repository of `file`, as `Name <address>`.

    None for what is no commit by itself (`unversioned`, `…+dirty`), and where Git cannot tell.
    """
    if not is_commit_id(commit):
        return None
    said = git_output(
        file.resolve().parent, "log", "-1", "--no-show-signature", "--format=%an <%ae>", commit, "--"
    )
    return printable(said or "") or None


def printable(text: str) -> str:
    """One line of it, without what no terminal should be sent; bytes that are no text are told as `\ufffd`."""
    told = text.encode(errors="surrogateescape").decode(errors="replace")
    return "".join(sign if sign.isprintable() else " " for sign in told).strip()[:_LONGEST_AUTHOR]


def descends(file: Path, commit: str, earlier: str) -> bool:
    """Whether `commit` was made on top of `earlier`, in the repository of `file`; False where Git cannot tell."""
    return git_output(file.resolve().parent, "merge-base", "--is-ancestor", earlier, commit) is not None


@lru_cache(maxsize=1)
def code_commit() -> str:
    """The commit of the running code (`+dirty` where the files differ), or the installed wheel's version."""
    root = Path(__file__).resolve().parent.parent
    commit = git_output(root, "rev-parse", "HEAD")
    top = git_output(root, "rev-parse", "--show-toplevel")
    # An installed wheel may lie inside somebody else's repository: only our own checkout counts.
    if commit and top and Path(top) == root:
        present = [name for name in CODE_FOLDERS if (root / name).exists()]
        return (
            commit if git_output(root, "status", "--porcelain", "--", *present) == "" else f"{commit}+dirty"
        )
    if (root / _CODE_TREE).is_file():
        return _built_commit(root)
    try:
        return f"platform-assets=={version('platform-assets')}"  # no space: it stands in headers of objects
    except PackageNotFoundError:
        return UNVERSIONED


def _built_commit(root: Path) -> str:
    """The commit that the image's build names, as far as the files that run are the ones that Git has there."""
    commit, *entries = (root / _CODE_TREE).read_text(encoding="utf-8").splitlines()
    blobs = {
        path: attributes.split()[2] for attributes, _, path in (each.partition("\t") for each in entries)
    }
    committed = {path: blob for path, blob in blobs.items() if is_code(path)}
    running = running_code(root, sha256=len(commit) == _SHA256_DIGITS)
    return commit if commit.endswith("+dirty") or committed == running else f"{commit}+dirty"


def is_code(path: str) -> bool:
    """Whether a file of this project's repository is part of what runs. Training specs are input."""
    return (
        path.startswith(_CODE_PREFIXES)
        and path.endswith(_CODE_SUFFIXES)
        and not path.endswith("training-spec.yaml")
    )


def running_code(root: Path | None = None, *, sha256: bool = False) -> dict[str, str]:
    """Git's blob id of every file of the installation that is code, by its path in the repository.

    By content, so that it can be compared with any commit whether the installation is a checkout, changed
    or not, or a wheel.

    Args:
        root: The installation; default: the one that runs.
        sha256: Ids as repositories have them whose objects are named by SHA-256, not by SHA-1.
    """
    digest = hashlib.sha256 if sha256 else hashlib.sha1
    root = root or Path(__file__).resolve().parent.parent
    found = {}
    for prefix in _CODE_PREFIXES:
        for file in (root / prefix).rglob("*"):
            path = file.relative_to(root).as_posix()
            if path.startswith(_PACKAGED_MANIFESTS):
                path = path.removeprefix("resources/")
            if is_code(path) and file.is_file():
                content = file.read_bytes()
                found[path] = digest(b"blob %d\0" % len(content) + content).hexdigest()
    return found
