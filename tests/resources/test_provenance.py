"""Provenance: the commit that a file and the code stand at, and never one that did not run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from resources import provenance
from resources.object_store import LocalObjectStore
from resources.provenance import UNVERSIONED, code_commit, commit_author, running_code, source_commit


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
    repository.write("platform_assets/lines/line.py", "")
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


def test_a_link_has_the_newer_commit_of_its_own_and_of_what_it_leads_to(repository):
    """Whatever the two are called: what is read changes with either. One that leads out of the repository has none."""
    shared = repository.write("shared/base.yaml", "line: a")
    spec = repository.root / "specs" / "training-spec.yaml"
    spec.parent.mkdir()
    spec.symlink_to("../shared/base.yaml")
    commits = [repository.commit()]
    assert source_commit(spec) == commits[0]
    shared.write_text("line: b")
    assert source_commit(spec) == f"{commits[0]}+dirty"
    commits.append(repository.commit())
    assert source_commit(spec) == commits[1]
    repository.write("shared/other.yaml", "line: c")
    repository.commit()
    spec.unlink()
    spec.symlink_to("../shared/other.yaml")
    assert source_commit(spec).endswith("+dirty")
    commits.append(repository.commit())
    assert source_commit(spec) == commits[-1]
    outside = repository.root.parent / "outside.yaml"
    outside.write_text("line: d")
    spec.unlink()
    spec.symlink_to(outside)
    repository.commit()
    assert source_commit(spec) == UNVERSIONED


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


def test_a_commit_has_an_author_and_what_is_no_commit_has_none(repository, tmp_path):
    """Nobody answers for a changed file, for one that was never committed, or for what Git does not know."""
    file = repository.write("specs/spec.yaml", "line: a")
    commit = repository.commit()

    assert commit_author(file, commit) == "ada <ada@example.org>"
    for none in (f"{commit}+dirty", UNVERSIONED, "0" * 40, "--all", "HEAD"):
        assert commit_author(file, none) is None
    assert commit_author(tmp_path / "spec.yaml", commit) is None


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
    assert source_commit(checkout.root / "platform_assets/lines/line.py") == f"{commit}+dirty"
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
        ("platform_assets/lines/line.py", True),
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
    assert claimed == UNVERSIONED or claimed.startswith("platform-assets==")


def test_what_an_installed_package_claims_can_stand_beside_an_object(tmp_path, monkeypatch):
    """Whoever has installed the platform, and no checkout, stores objects too."""
    monkeypatch.setattr(
        provenance, "__file__", str(tmp_path / "site-packages" / "resources" / "provenance.py")
    )
    (tmp_path / "site-packages" / "resources").mkdir(parents=True)
    code_commit.cache_clear()
    claimed = code_commit()
    code_commit.cache_clear()
    assert claimed.startswith("platform-assets==")

    info = LocalObjectStore(tmp_path / "objects").put(
        "models/dev/a/b", b"1", gdpr_class="internal", retention_days=1, source_commit=claimed
    )

    assert info.source_commit == claimed


@pytest.fixture
def image(checkout, tmp_path, monkeypatch):
    """What an image holds of a commit: its code without Git, and the record that the build made of it."""
    checkout.write("k8s/policy/access.rego", "package access")
    checkout.write("platform_assets/models/line/training-spec.yaml", "line: a")
    commit = checkout.commit()
    folders = ("platform_assets", "resources", "sensors", "k8s/policy")
    tree = checkout.git("-c", "core.quotePath=false", "ls-tree", "-r", commit, "--", *folders)
    site = tmp_path / "site-packages"
    shutil.copytree(checkout.root, site, ignore=shutil.ignore_patterns(".git", "k8s"))
    shutil.copytree(checkout.root / "k8s", site / "resources" / "k8s")
    (site / "resources" / "code-tree.txt").write_text(f"{commit}\n{tree}\n")
    monkeypatch.setattr(provenance, "__file__", str(site / "resources" / "provenance.py"))
    code_commit.cache_clear()
    return site, commit


def test_an_image_claims_the_commit_whose_code_it_holds(image):
    """File by file what Git has there, wherever a wheel puts it."""
    _, commit = image
    assert code_commit() == commit


def test_code_of_a_repository_that_names_objects_by_sha_256(image):
    """The same files by the other ids: an image of such a commit claims it, and one that differs does not."""
    site, _ = image
    (site / "resources" / "empty.py").write_text("")
    code, commit = running_code(site, sha256=True), "b" * 64
    # What `git hash-object` says in such a repository.
    assert code["resources/empty.py"] == "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813"
    tree = "\n".join(f"100644 blob {blob}\t{path}" for path, blob in code.items())
    (site / "resources" / "code-tree.txt").write_text(f"{commit}\n{tree}\n")
    assert code_commit() == commit
    (site / "resources" / "empty.py").write_text("changed = True")
    code_commit.cache_clear()
    assert code_commit() == f"{commit}+dirty"


def test_specs_of_an_image_are_input_and_may_differ(image):
    """They carry a commit of their own."""
    site, commit = image
    (site / "platform_assets/models/line/training-spec.yaml").write_text("line: b")
    assert code_commit() == commit


@pytest.mark.parametrize(
    "name", ["platform_assets/lines/line.py", "sensors/new.py", "resources/k8s/policy/access.rego"]
)
def test_an_image_whose_code_differs_is_dirty(image, name):
    """A record alone proves nothing: changed and added files are seen, whoever wrote the record."""
    site, commit = image
    (site / name).parent.mkdir(exist_ok=True)
    (site / name).write_text("changed = True")
    assert code_commit() == f"{commit}+dirty"


def test_an_image_that_lacks_code_of_its_commit_is_dirty(image):
    """A file that was left out is a difference, too."""
    site, commit = image
    (site / "platform_assets/lines/line.py").unlink()
    assert code_commit() == f"{commit}+dirty"


def test_an_image_of_a_changed_checkout_says_so(image):
    """What the build itself called dirty never becomes clean: requirements and manifests count there as well."""
    site, commit = image
    record = site / "resources" / "code-tree.txt"
    record.write_text(record.read_text().replace(commit, f"{commit}+dirty", 1))
    assert code_commit() == f"{commit}+dirty"
