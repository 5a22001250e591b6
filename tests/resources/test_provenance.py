"""Provenance: the commit that a file and the code stand at, and never one that did not run."""

import os
import subprocess
from pathlib import Path

import pytest

from resources import provenance
from resources.provenance import UNVERSIONED, code_commit, source_commit


class Repository:
    """A Git repository in a temporary folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.git("init", "--quiet")

    def git(self, *arguments: str) -> str:
        """What a git command prints."""
        return subprocess.check_output(["git", *arguments], cwd=self.root, text=True).strip()

    def write(self, name: str, content: str) -> Path:
        """Write a file of the working tree."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def commit(self) -> str:
        """Commit everything; returns the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "a change")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """An empty repository, apart from the git settings of this machine."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    identity = {"GIT_AUTHOR_NAME": "ada", "GIT_AUTHOR_EMAIL": "ada@example.org"}
    for name, value in identity.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.replace("AUTHOR", "COMMITTER"), value)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return Repository(tmp_path / "repository")


@pytest.fixture
def checkout(repository, monkeypatch):
    """The repository as this project's own: the running code lies in it."""
    repository.write("platform_assets/line.py", "")
    path = repository.write("resources/provenance.py", "")
    monkeypatch.setattr(provenance, "__file__", str(path))
    code_commit.cache_clear()
    yield repository
    code_commit.cache_clear()


def test_a_file_has_the_commit_that_changed_it_last(repository):
    """Later commits of other files do not count."""
    spec = repository.write("specs/spec.yaml", "line: a")
    first = repository.commit()
    repository.write("specs/other.yaml", "line: b")
    assert source_commit(spec) == first
    second = repository.commit()
    assert source_commit(spec) == first
    assert source_commit(repository.root / "specs/other.yaml") == second


def test_a_changed_file_is_dirty(repository):
    """Changed or staged, a file is not what its commit holds; another file's change is none of its own."""
    spec, other = repository.write("spec.yaml", "line: a"), repository.write("other.yaml", "line: b")
    commit = repository.commit()
    repository.write("spec.yaml", "line: c")
    assert source_commit(spec) == f"{commit}+dirty"
    assert source_commit(other) == commit
    repository.git("add", "--all")
    assert source_commit(spec) == f"{commit}+dirty"
    repository.write("spec.yaml", "line: a")
    repository.git("add", "--all")
    assert source_commit(spec) == commit


def test_a_file_that_git_does_not_know_is_unversioned(repository, tmp_path):
    """Outside a repository, before the first commit and never committed: no commit is claimed."""
    spec = repository.write("spec.yaml", "line: a")
    assert source_commit(spec) == UNVERSIONED
    repository.commit()
    assert source_commit(repository.write("new.yaml", "line: b")) == UNVERSIONED
    outside = tmp_path / "spec.yaml"
    outside.write_text("line: a")
    assert source_commit(outside) == UNVERSIONED


def test_a_name_is_no_pattern(repository):
    """A file whose name holds signs that git takes for a pattern has its own commit, not a neighbour's."""
    spec = repository.write("spec[1].yaml", "line: a")
    first = repository.commit()
    repository.write("spec1.yaml", "line: b")
    repository.commit()
    assert source_commit(spec) == first


def test_a_machine_without_git_claims_nothing(repository, monkeypatch):
    """Without the program there is no commit to name."""
    spec = repository.write("spec.yaml", "line: a")
    repository.commit()
    monkeypatch.setenv("PATH", "")
    assert source_commit(spec) == UNVERSIONED


def test_a_tree_that_git_cannot_compare_is_dirty(checkout):
    """Where the commit is known and its difference from the tree is not, cleanness is not claimed."""
    commit = checkout.commit()
    (checkout.root / ".git" / "index").write_bytes(b"garbage")
    assert source_commit(checkout.root / "platform_assets/line.py") == f"{commit}+dirty"
    assert code_commit() == f"{commit}+dirty"


def test_the_code_has_the_commit_of_its_checkout(checkout):
    """The last commit, whatever it changed."""
    checkout.commit()
    checkout.write("docs/text.md", "More.")
    commit = checkout.commit()
    assert code_commit() == commit


@pytest.mark.parametrize(
    ("name", "dirty"),
    [
        ("platform_assets/line.py", True),
        ("platform_assets/new.py", True),
        ("pyproject.toml", True),
        ("docs/text.md", False),
    ],
)
def test_only_code_makes_the_code_dirty(checkout, name, dirty):
    """A changed or new file of the packages counts, a changed text does not."""
    checkout.write("pyproject.toml", "")
    commit = checkout.commit()
    checkout.write(name, "changed = True")
    assert code_commit() == (f"{commit}+dirty" if dirty else commit)


def test_code_inside_somebody_elses_repository_has_the_version_of_its_wheel(repository, monkeypatch):
    """An installed package in a virtual environment within a checkout does not claim that checkout's commit."""
    path = repository.write("venv/site-packages/resources/provenance.py", "")
    commit = repository.commit()
    monkeypatch.setattr(provenance, "__file__", str(path))
    code_commit.cache_clear()
    claimed = code_commit()
    code_commit.cache_clear()
    assert commit not in claimed
    assert claimed == UNVERSIONED or claimed.startswith("platform-assets ")
