"""Real Git repositories for tests: a bare one to watch, and a clone that pushes to it."""

import os
import subprocess
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


class Origin:
    """A bare repository, and a clone that pushes to its branch `main`."""

    def __init__(self, folder: Path, name: str = "origin") -> None:
        self.path = folder / f"{name}.git"
        self.clone = folder / f"{name}-clone"
        self._git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(self.path))
        self._git(folder, "init", "--quiet", "--initial-branch=main", str(self.clone))
        self._git(self.path, "config", "receive.denyDeleteCurrent", "ignore")
        self.git("remote", "add", "origin", str(self.path))

    def git(self, *arguments: str) -> str:
        """What a git command prints in the clone."""
        return self._git(self.clone, *arguments)

    def fast_import(self, stream: str) -> None:
        """Many commits at once, in the language of `git fast-import`."""
        self._git(self.clone, "fast-import", "--quiet", given=stream)

    @staticmethod
    def _git(folder: Path, *arguments: str, given: str = "") -> str:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        return subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=kept | IDENTITY,
            text=True,
            capture_output=True,
            check=True,
            input=given,
        ).stdout.strip()

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
        return self.git("rev-parse", "HEAD")

    def push(self, files: dict[str, str | None], branch: str = "main") -> str:
        """Commit these files and push them to a branch, by force if need be; returns the commit."""
        sha = self.commit(files)
        self.git("push", "--quiet", "--force", "origin", f"HEAD:refs/heads/{branch}")
        return sha
