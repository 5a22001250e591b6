"""Links to files as the running commit has them, and none that would show something else."""

import os
import subprocess
from pathlib import Path

import pytest

from resources.web_links import template_of, web_links
from tests.line_factory import ROOT

GITHUB = "https://github.com/acme/models/blob/{commit}/{path}"
GITLAB = "https://gitlab.acme.com/ml/risk/models/-/blob/{commit}/{path}"


def git(folder: Path, *arguments: str) -> str:
    """Output of a Git command."""
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.c")
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One with two committed files, on GitHub."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a b.yaml").write_text("a: 1\n")
    (tmp_path / "models" / "c.yaml").write_text("c: 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    git(tmp_path, "remote", "add", "origin", "git@github.com:acme/models.git")
    return tmp_path


@pytest.mark.parametrize(
    ("remote", "template"),
    [
        ("git@github.com:acme/models.git", GITHUB),
        ("https://github.com/acme/models", GITHUB),
        ("https://user:secret@github.com/acme/models.git/", GITHUB),
        ("ssh://git@github.com:22/acme/models.git", GITHUB),
        ("https://gitlab.acme.com/ml/risk/models.git", GITLAB),
        ("git@gitlab.acme.com:ml/risk/models.git", GITLAB),
        ("ssh://git@ssh.github.com:443/acme/models.git", GITHUB),
        ("ssh://git@gitlab.acme.com:2222/ml/risk/models.git", GITLAB),
        (
            "https://me:secret@gitlab.acme.com:8443/ml/models.git",
            "https://gitlab.acme.com:8443/ml/models/-/blob/{commit}/{path}",
        ),
        ("http://gitlab.acme/ml/models", "http://gitlab.acme/ml/models/-/blob/{commit}/{path}"),
        ("https://notgithub.example.org/acme/models", None),
        ("/srv/git/models.git", None),
        ("../models", None),
        ("", None),
    ],
)
def test_who_shows_a_repository_is_told_by_its_remote(remote: str, template: str | None) -> None:
    """GitHub and GitLab, by any address, and without what is secret in it; of others nothing is guessed."""
    assert template_of(remote) == template


def test_a_link_names_commit_file_and_line(repository: Path) -> None:
    """As the browser needs it."""
    links = web_links(repository / "models")

    assert links is not None
    commit = git(repository, "rev-parse", "HEAD")
    assert links.link(repository / "models" / "a b.yaml", 7) == (
        f"https://github.com/acme/models/blob/{commit}/models/a%20b.yaml#L7"
    )


def test_what_the_commit_does_not_have_has_no_link(repository: Path) -> None:
    """A changed file, a new one, one of elsewhere: the page would show something else than what runs."""
    (repository / "models" / "c.yaml").write_text("c: 2\n")
    (repository / "models" / "new.yaml").write_text("n: 1\n")

    links = web_links(repository)

    assert links is not None
    assert links.link(repository / "models" / "c.yaml") is None
    assert links.link(repository / "models" / "new.yaml") is None
    assert links.link(Path(__file__)) is None
    assert links.link(repository / "models" / "a b.yaml") is not None


def test_names_that_are_no_text_hide_no_links(repository: Path) -> None:
    """Git keeps names as bytes, and one may lie anywhere in a repository; a file of such a name has a link as well."""
    name = os.fsdecode(b"caf\xe9.yaml")
    (repository / "models" / name).write_text("c: 1\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "second")

    links = web_links(repository / "models")

    assert links is not None
    assert links.link(repository / "models" / "c.yaml") is not None
    assert str(links.link(repository / "models" / name)).endswith("/models/caf%E9.yaml")


def test_a_commit_that_was_not_pushed_has_no_links(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Nobody's browser could open them; once it is pushed, they are there."""
    origin = tmp_path_factory.mktemp("origin")
    git(origin, "init", "-q", "--bare")
    git(repository, "config", f"url.{origin}.pushInsteadOf", "git@github.com:acme/models.git")
    git(repository, "push", "-q", "origin", "HEAD")
    pushed = web_links(repository)
    (repository / "models" / "c.yaml").write_text("c: 2\n")
    git(repository, "commit", "-qam", "second")
    before = web_links(repository)
    git(repository, "push", "-q", "origin", "HEAD")

    assert pushed is not None
    assert before is None
    assert web_links(repository) is not None


def test_git_is_asked_about_the_folder_and_not_about_all_of_a_repository(repository: Path) -> None:
    """It may have a million files, and definitions are loaded for every step."""
    (repository / "elsewhere").mkdir()
    (repository / "elsewhere" / "d.yaml").write_text("d: 1\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "second")

    links = web_links(repository / "models")

    assert links is not None
    assert links.unchanged == {"models/a b.yaml", "models/c.yaml"}


def test_a_template_is_for_our_own_files_only(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Another repository is shown where its own remote says."""
    template = "https://git.acme.com/platform/src/commit/{commit}/{path}"
    own = web_links(ROOT, template)
    other = web_links(repository, template)

    assert own is not None
    assert own.link(ROOT / "LICENSE") == f"https://git.acme.com/platform/src/commit/{own.commit}/LICENSE"
    assert other is not None
    assert other.template == GITHUB
    assert web_links(tmp_path_factory.mktemp("nowhere"), template) is None
