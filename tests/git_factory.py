"""Real Git repositories for tests: a bare one to watch, and a clone that pushes to it."""

import atexit
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import yaml

from tests.line_factory import SMALL_SPEC

IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada Lovelace",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada Lovelace",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


@cache
def _small_spec() -> dict[str, object]:
    return yaml.safe_load(SMALL_SPEC.read_text(encoding="utf-8"))


def spec_text(**changes: object) -> str:
    """The small training spec with some fields changed."""
    return yaml.safe_dump(_small_spec() | changes, sort_keys=False)


def run_git(folder: Path, *arguments: str, given: str = "", by: str = "") -> str:
    """What a git command prints in a folder, in the name of `by` (`Name <address>`)."""
    name, _, email = by.rstrip(">").partition(" <")
    identity = {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", name), ("EMAIL", email))
        if by
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=kept | IDENTITY | identity,
        text=True,
        capture_output=True,
        check=True,
        input=given,
    ).stdout.strip()


class Origin:
    """A bare repository, and a clone that pushes to its branch `main`."""

    def __init__(
        self,
        folder: Path,
        name: str = "origin",
        *,
        files: dict[str, str] | None = None,
        object_format: str = "sha1",
    ) -> None:
        """Empty ones, or ones with a first commit of these files."""
        self.path = folder / f"{name}.git"
        self.clone = folder / f"{name}-clone"
        # Copied, since git takes a process for every step.
        template = _template(tuple((files or {}).items()), object_format)
        shutil.copytree(template / "origin.git", self.path)
        shutil.copytree(template / "clone", self.clone)
        config = self.clone / ".git" / "config"
        config.write_text(f'{config.read_text()}[remote "origin"]\n\turl = {self.path}\n')

    def git(self, *arguments: str) -> str:
        """What a git command prints in the clone."""
        return run_git(self.clone, *arguments)

    def fast_import(self, stream: str) -> None:
        """Many commits at once, in the language of `git fast-import`."""
        run_git(self.clone, "fast-import", "--quiet", given=stream)

    def link(self, name: str, target: str) -> None:
        """Put a symbolic link into the next commit, in place of a file that may be there."""
        path = self.clone / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    def commit(self, files: dict[str, str | None]) -> str:
        """Commit these files, those with None removed; returns the commit."""
        for name, content in files.items():
            path = self.clone / name
            if content is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content, encoding="utf-8")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "a change")
        git = self.clone / ".git"
        return (git / (git / "HEAD").read_text().removeprefix("ref: ").strip()).read_text().strip()

    def push(self, files: dict[str, str | None], branch: str = "main") -> str:
        """Commit these files and push them to a branch, by force if need be; returns the commit."""
        sha = self.commit(files)
        self.git("push", "--quiet", "--force", "origin", f"HEAD:refs/heads/{branch}")
        return sha


@cache
def _template(files: tuple[tuple[str, str], ...], object_format: str) -> Path:
    """A folder with `origin.git` and `clone`, for copies."""
    folder = Path(tempfile.mkdtemp(prefix="git-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if files:
        origin = Origin(folder, "seeded", object_format=object_format)
        origin.push(dict(files))
        origin.git("remote", "remove", "origin")
        origin.path.rename(folder / "origin.git")
        origin.clone.rename(folder / "clone")
        return folder
    options = ("--quiet", "--template=", "--initial-branch=main", f"--object-format={object_format}")
    run_git(folder, "init", *options, "--bare", "origin.git")
    run_git(folder, "init", *options, "clone")
    run_git(folder / "origin.git", "config", "receive.denyDeleteCurrent", "ignore")
    return folder
