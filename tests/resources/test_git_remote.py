"""Git remotes: what a repository elsewhere holds, whatever becomes of its branches, and nothing run or leaked."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from resources.git_names import (
    GitNameError,
    branch_of,
    canonical_repository,
    is_commit_id,
    is_same_repository,
    matches,
)
from resources.git_remote import (
    GitRemoteError,
    MirroredRemote,
    UnknownCommitError,
    UnreachableError,
    open_remotes,
)
from resources.settings import PlatformSettings, WatchedRepository
from tests.git_factory import Origin


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    """An empty repository."""
    return Origin(tmp_path)


@pytest.fixture
def remote(origin: Origin, tmp_path: Path) -> MirroredRemote:
    """The repository, seen from the platform."""
    return MirroredRemote(str(origin.path), tmp_path / "home" / "git")


# --- Names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/owner/repo",
        "https://github.com/owner/repo.git",
        "https://GitHub.com:443/owner/repo.git/",
        "https://ada:s3cret@github.com/owner/repo",
        "https://github.com/owner/repo?private_token=s3cret#readme",
        "http://github.com:80/owner/repo",
        "git@github.com:owner/repo.git",
        "github.com:owner/repo",
        "ssh://git@github.com/owner/repo.git",
        "ssh://git@github.com:2222/owner//repo",
        "HTTPS://github.com./owner/repo",
    ],
)
def test_every_way_to_write_a_url_names_one_repository(url: str) -> None:
    """Protocol, user, password, query, suffix, default port and the case of the host do not count."""
    assert canonical_repository(url) == "github.com/owner/repo"


def test_different_repositories_have_different_names() -> None:
    """Path, its case, host and a port of https's own count; a folder of this machine is its path."""
    urls = ["https://h/o/r", "https://h/o/R", "https://h:8443/o/r", "https://h2/o/r", "/h/o/r", "/h/o/r.git"]
    assert len({canonical_repository(url) for url in urls}) == len(urls)
    assert canonical_repository("/srv/a/../b.git/") == canonical_repository("file:///srv/b.git")
    assert canonical_repository("https://[::1]:8443/o/r") == "[::1]:8443/o/r"


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            " ",
            "-u/x",
            "--upload-pack=touch x",
            "relative/path",
            "https://h",
            "https://h/",
            "https:///o/r",
        ),
        *("ext::sh -c id", "fd::17", "ssh://-oProxyCommand=id/o/r", "-oProxyCommand=id:o/r", "u@-o:p"),
        *("file://host/o/r", "ftp://h/o/r", "https://h:99999/o/r", "https://[::1/o/r", "https://h/../../r"),
        *("https://h/o\n/r", "https://h/o\0r", "\ud800", "x" * 5000, "https://h\\@evil/o/r"),
    ],
)
def test_what_names_no_repository_is_refused_without_repeating_it(url: str) -> None:
    """Options, foreign helpers and nonsense are one error, which does not hold what may be a password."""
    with pytest.raises(GitNameError) as caught:
        canonical_repository(url)
    assert not url.strip() or url not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "other", "same"),
    [
        *(("h/o/r", "h/o/r", True), ("h/o/r", "h/O/R", True), ("www.h/o/r", "h/o/r", True)),
        *(("h/o/r", "h2/o/r", False), ("h:8443/o/r", "h/o/r", False), ("file:///o/r", "file:///o/R", False)),
    ],
)
def test_forges_know_a_repository_in_any_case(name: str, other: str, *, same: bool) -> None:
    """And with `www.`; a folder's case counts, and so do hosts and ports."""
    assert is_same_repository(name, other) is same


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        *(("a" * 40, True), ("b" * 64, True), ("a" * 39, False), ("a" * 41, False), ("a" * 63, False)),
        *(("0" * 40, False), ("0" * 64, False), ("A" * 64, False), (f"{'a' * 64}\n", False)),
    ],
)
def test_commit_ids_have_40_or_64_digits(text: str, *, whole: bool) -> None:
    """By SHA-1 or SHA-256; zeros are no commit."""
    assert is_commit_id(text) is whole


@pytest.mark.parametrize(
    ("ref", "branch"),
    [
        *(("refs/heads/main", "main"), ("main", "main"), ("refs/heads/release/1.0", "release/1.0")),
        *(("refs/tags/v1", None), ("refs/heads/", None), ("", None), ("-x", None), ("refs/heads/-x", None)),
        *(("a..b", None), ("a b", None), ("a\n", None), ("a.lock", None), ("a:b", None), ("a@{1}", None)),
        *(("refs/pull/1/head", None), ("refs/heads/gh-readonly-queue/main", "gh-readonly-queue/main")),
    ],
)
def test_a_ref_means_a_branch_or_nothing(ref: str, branch: str | None) -> None:
    """Full and short names of branches are understood; tags, options and what Git forbids are not."""
    assert branch_of(ref) == branch


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        *(("models/**", "models/a/b.yaml", True), ("models/**", "models", False), ("main", "main", True)),
        *(("models/*", "models/a/b", False), ("release/*", "release/1", True), ("**/x", "x", True)),
        *(("a/**/z", "a/z", True), ("a/**/z", "a/b/c/z", True), ("a.c", "abc", False), ("?.c", "/.c", False)),
        *(("**", "any/thing", True), ("[a]", "[a]", True), ("*", "a\nb", True)),
    ],
)
def test_globs(pattern: str, name: str, *, expected: bool) -> None:
    """`*` and `?` stay within a folder, `**` does not, and every other sign means itself."""
    assert matches(pattern, name) is expected


# --- Settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        *("https://ada:s3cret@h/o/r", "https://s3cret@h/o/r", "https://h/o/r?token=s3cret"),
        *("ssh://git:s3cret@h/o/r", "http://h/o/s3cret", "s3cret"),
    ],
)
def test_settings_hold_no_secret_and_do_not_repeat_one(url: str) -> None:
    """A URL with a password or token is refused, and the refusal does not print it."""
    with pytest.raises(ValueError, match="git_repositories") as caught:
        PlatformSettings(git_repositories=({"url": url},))
    assert "s3cret" not in str(caught.value)


def test_settings_name_each_repository_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ways to write one repository are one too many; the environment takes a list of objects."""
    monkeypatch.setenv("PLATFORM_GIT_REPOSITORIES", '[{"url": "git@h:o/r"}]')
    (repository,) = PlatformSettings().git_repositories
    assert repository.name == "h/o/r"
    assert [repository.watches_branch(name) for name in ("main", "master", "dev")] == [True, True, False]
    monkeypatch.setenv("PLATFORM_GIT_REPOSITORIES", '[{"url": "git@h:o/r"}, {"url": "https://h/o/r.git"}]')
    with pytest.raises(ValueError, match="h/o/r stands twice"):
        PlatformSettings()


def test_settings_may_name_a_repository_in_more_than_one_way() -> None:
    """Each of them by one repository alone; what names none is refused, and not repeated."""
    watched = WatchedRepository(url="git@ssh.h:o/r.git", also_named=("https://h:8443/o/r",))
    assert watched.names == ("ssh.h/o/r", "h:8443/o/r")
    with pytest.raises(ValueError, match="h/o/r stands twice"):
        PlatformSettings(
            git_repositories=(
                {"url": "git@ssh.h:o/r", "also_named": ["https://h/o/r"]},
                {"url": "https://h/o/r"},
            )
        )
    with pytest.raises(ValueError, match="git_repositories") as caught:
        PlatformSettings(git_repositories=({"url": "git@h:o/r", "also_named": ["ftp://s3cret@h/o/r"]},))
    assert "s3cret" not in str(caught.value)


def test_by_default_specs_and_models_are_watched() -> None:
    """The spec at the root, and everything under the two models folders."""
    repository = WatchedRepository(url="/srv/r")
    paths = ("training-spec.yaml", "models/a/b", "platform_assets/models/x.py", "README.md", "a/models/b")
    assert [repository.watches_path(path) for path in paths] == [True, True, True, False, False]


# --- Repositories ----------------------------------------------------------------------------------


def test_an_empty_repository_has_no_heads(remote: MirroredRemote) -> None:
    """It answers, with nothing; a commit of it is unknown."""
    assert remote.heads() == {}
    with pytest.raises(UnknownCommitError, match="does not give out commit"):
        remote.fetch("a" * 40)


def test_heads_are_the_branches_only(origin: Origin, remote: MirroredRemote) -> None:
    """Tags and other refs are none."""
    first = origin.push({"a": "1"})
    origin.push({"a": "2"}, branch="release/1")
    origin.git("tag", "v1")
    origin.git("push", "--quiet", "origin", "v1", "HEAD:refs/pull/1/head")
    assert remote.heads() == {
        "refs/heads/main": first,
        "refs/heads/release/1": origin.git("rev-parse", "HEAD"),
    }


@pytest.mark.parametrize("what", ["missing", "no_repository", "silent"])
def test_a_repository_that_does_not_answer_is_unreachable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A folder that is not there, one that is no repository, and a server that says nothing: told in time."""
    (tmp_path / "no_repository").mkdir()
    url = str(tmp_path / what)
    with socket.create_server(("127.0.0.1", 0)) as server:
        if what == "silent":
            monkeypatch.setattr("resources.git_remote.HEADS_TIMEOUT_SECONDS", 0.3)
            url = f"https://127.0.0.1:{server.getsockname()[1]}/o/r"
        remote = MirroredRemote(url, tmp_path / "git")
        with pytest.raises(UnreachableError, match="ls-remote"):
            remote.heads()
        if what != "silent":
            with pytest.raises(UnreachableError):
                remote.fetch("a" * 40)


def test_without_git_the_error_says_so(remote: MirroredRemote, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the program."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UnreachableError, match="install it"):
        remote.heads()


def test_a_commit_tells_author_time_and_parent(origin: Origin, remote: MirroredRemote) -> None:
    """And the author's address apart from the name."""
    first = origin.push({"a": "1"})
    second = origin.push({"a": "2"})
    commit = remote.fetch(second)
    assert (commit.sha, commit.author, commit.first_parent) == (second, "Ada Lovelace", first)
    assert commit.identity == "Ada Lovelace <ada@example.org>"
    assert commit.committed_at.timestamp() == int(origin.git("log", "-1", "--format=%ct"))
    assert remote.fetch(first).first_parent is None


def test_the_author_of_a_file_is_who_changed_it_last(origin: Origin, remote: MirroredRemote) -> None:
    """Whoever commits or merges later, and up to the commit that is asked about."""
    first = origin.push({"models/spec.yaml": "a", "x": "1"})
    origin.git("checkout", "-q", "-b", "side")
    for name, author in (("models/spec.yaml", "Bob \x1b[2J <bob@example.org>"), ("x", "Cy <cy@example.org>")):
        (origin.clone / name).write_text("b", encoding="utf-8")
        origin.git("commit", "-q", "-a", "-m", name, "--author", author)
    origin.git("checkout", "-q", "main")
    origin.git("merge", "-q", "--no-ff", "-m", "merge", "side")
    origin.git("push", "-q", "origin", "main")
    merge = origin.git("rev-parse", "HEAD")

    remote.fetch(merge)

    assert remote.author(merge, "models/spec.yaml") == "Bob  [2J <bob@example.org>"
    assert remote.author(merge, "x") == "Cy <cy@example.org>"
    assert remote.author(first, "models/spec.yaml") == "Ada Lovelace <ada@example.org>"
    assert remote.author(merge, "no/such") is None


def test_trees_and_contents_are_those_of_the_commit(origin: Origin, remote: MirroredRemote) -> None:
    """Whatever later commits did; links are no files, and odd names are names."""
    odd = "models/a b/ü\n:(glob)*.yaml"
    files = {"models/spec.yaml": "line: a", odd: "odd", "other/x": "y"}
    (origin.clone / "models").mkdir(parents=True)
    (origin.clone / "models" / "link").symlink_to("/etc/passwd")
    first = origin.push(dict(files))
    second = origin.push({"models/spec.yaml": "line: b", odd: None})
    remote.fetch(second)
    tree = remote.tree(first)
    assert {path: remote.read(blob).decode() for path, blob in tree.items()} == files
    assert set(remote.tree(first, "models")) == {"models/spec.yaml", odd}
    assert remote.changed_paths(first, second) == tuple(sorted(["models/spec.yaml", odd]))
    assert remote.changed_paths(None, second) == ("models/link", "models/spec.yaml", "other/x")


def test_links_say_where_they_lead(origin: Origin, remote: MirroredRemote) -> None:
    """Each as it was written, whatever it leads to; files and folders are none."""
    links = {"a": "models/spec.yaml", "models/out": "/etc/passwd", "models/odd": "new\nline ü", "z": "z"}
    for name, target in links.items():
        origin.link(name, target)
    sha = origin.push({"models/spec.yaml": "line: a"})
    remote.fetch(sha)
    assert remote.links(sha) == links
    assert set(remote.tree(sha)) == {"models/spec.yaml"}
    without = origin.push(dict.fromkeys(links))
    remote.fetch(without)
    assert remote.links(without) == {}


def test_a_repository_may_name_its_objects_by_sha_256(tmp_path: Path) -> None:
    """All that is asked of one is answered; its ids have 64 digits."""
    origin = Origin(tmp_path, files={"a": "1"}, object_format="sha256")
    remote = MirroredRemote(str(origin.path), tmp_path / "git")
    ((ref, first),) = remote.heads().items()
    origin.link("link", "a")
    second = origin.push({"a": "2"})
    assert (ref, len(first)) == ("refs/heads/main", 64)
    assert remote.fetch(second).first_parent == first
    assert remote.changed_paths(first, second) == ("a", "link")
    assert remote.contains(second, first)
    assert {path: remote.read(blob) for path, blob in remote.tree(second).items()} == {"a": b"2"}
    assert remote.links(second) == {"link": "a"}


def test_a_repository_that_was_made_anew_with_other_ids_says_what_to_do(tmp_path: Path) -> None:
    """The mirror holds commits that nothing else has any more: a person removes it, nobody else."""
    origin = Origin(tmp_path, files={"a": "1"})
    remote = MirroredRemote(str(origin.path), tmp_path / "git")
    first = remote.heads()["refs/heads/main"]
    remote.fetch(first)
    origin.path.rename(tmp_path / "former.git")
    other = Origin(tmp_path / "anew", files={"a": "1"}, object_format="sha256")
    other.path.rename(origin.path)
    with pytest.raises(GitRemoteError, match=r"made anew with commit ids of another kind; remove .*\.git"):
        remote.fetch(remote.heads()["refs/heads/main"])
    assert remote.holds(first)


def test_an_id_of_another_kind_spoils_no_mirror(origin: Origin, remote: MirroredRemote) -> None:
    """Whoever tells of a commit that was never there decides nothing about those that are."""
    first = origin.push({"a": "1"})
    with pytest.raises(GitRemoteError):
        remote.fetch("a" * 64)
    assert remote.fetch(first).sha == first
    with pytest.raises(GitRemoteError, match="another kind"):
        remote.fetch("b" * 64)
    assert remote.holds(first)


def test_a_commit_that_a_force_push_removed_can_still_be_had(origin: Origin, remote: MirroredRemote) -> None:
    """Servers give it out until they clean up; once fetched, it stays for good."""
    first = origin.push({"a": "1"})
    lost = origin.push({"a": "2"})
    origin.git("reset", "--quiet", "--hard", first)
    kept = origin.push({"a": "3"})
    assert remote.heads() == {"refs/heads/main": kept}
    assert remote.changed_paths(remote.fetch(lost).sha, remote.fetch(kept).sha) == ("a",)

    other = origin.push({"a": "4"})
    origin.git("reset", "--quiet", "--hard", kept)
    origin.push({"a": "5"})
    prune(origin.path)
    with pytest.raises(UnknownCommitError):
        remote.fetch(other)
    prune(next((remote._mirrors).glob("*.git")))
    assert remote.holds(lost)
    assert remote.fetch(lost).sha == lost


def test_a_server_that_gives_out_branches_only_is_served_too(origin: Origin, remote: MirroredRemote) -> None:
    """A commit behind a branch's head comes with the branch, where it cannot be asked for by its name."""
    first = origin.push({"a": "1"})
    origin.push({"a": "2"})
    subprocess.check_call(["git", "-C", origin.path, "config", "uploadpack.hideRefs", "refs/none"])
    refuse = "GIT_PROTOCOL"
    os.environ[refuse] = "version=0"
    try:
        assert remote.fetch(first).sha == first
    finally:
        del os.environ[refuse]


def test_a_fetch_that_was_killed_leaves_a_usable_mirror(origin: Origin, remote: MirroredRemote) -> None:
    """Half a mirror and the locks of the dead are no obstacle."""
    first = origin.push({"a": "1"})
    remote._mirror.mkdir(parents=True)
    assert remote.fetch(first).sha == first
    second = origin.push({"a": "2"})
    for name in (f"refs/commits/{second}.lock", "packed-refs.lock", "config.lock"):
        (remote._mirror / name).touch()
    assert remote.fetch(second).sha == second


@pytest.mark.parametrize("sha", ["--upload-pack=touch pwned", "HEAD", "main", "a" * 39, "0" * 40, "A" * 40])
def test_only_whole_commit_ids_are_fetched(origin: Origin, remote: MirroredRemote, sha: str) -> None:
    """Nothing else reaches git's command line."""
    origin.push({"a": "1"})
    with pytest.raises(UnknownCommitError, match="no whole commit id"):
        remote.fetch(sha)


def test_no_hook_runs_and_no_foreign_protocol_is_spoken(
    origin: Origin, remote: MirroredRemote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks of the machine's Git settings are passed over, and a rewritten URL cannot start a program."""
    first = origin.push({"a": "1"})
    hooks, ran = tmp_path / "hooks", tmp_path / "ran"
    hooks.mkdir()
    for name in ("reference-transaction", "post-checkout", "pre-auto-gc"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {ran}\n")
        (hooks / name).chmod(0o755)
    settings = tmp_path / "gitconfig"
    settings.write_text(f"[core]\nhooksPath = {hooks}\n[protocol]\nallow = always\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    assert remote.fetch(first).sha == first
    assert not ran.exists()
    rewritten = f'[url "ext::touch {ran} "]\ninsteadOf = {origin.path}\n'
    settings.write_text(settings.read_text() + rewritten)
    with pytest.raises(UnreachableError, match="not allowed"):
        remote.heads()
    assert not ran.exists()


def test_what_git_complains_about_holds_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git's settings may put credentials into a URL, and git repeats it when it fails."""
    settings = tmp_path / "gitconfig"
    settings.write_text('[url "https://ada:s3cret@127.0.0.1:1/"]\ninsteadOf = https://h.invalid/\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    with pytest.raises(GitRemoteError) as caught:
        MirroredRemote("https://h.invalid/o/r", tmp_path / "git").heads()
    assert "s3cret" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


def test_a_surrounding_repository_plays_no_part(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The home may lie in somebody's checkout, and git's own variables may point to another."""
    first = origin.push({"a": "1"})
    monkeypatch.setenv("GIT_DIR", str(origin.clone / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(origin.clone))
    remotes = open_remotes([str(origin.path)], origin.clone / ".platform" / "git")
    remote = remotes[f"file://{origin.path}"]
    assert remote.heads() == {"refs/heads/main": first}
    assert remote.fetch(first).sha == first
    assert origin.git("for-each-ref", "refs/commits") == ""


def prune(repository: Path) -> None:
    """What a server's clean-up does at once."""
    for command in (["reflog", "expire", "--expire=now", "--all"], ["gc", "--quiet", "--prune=now"]):
        subprocess.check_call(
            ["git", "-C", repository, *command], env=os.environ | {"GIT_CONFIG_NOSYSTEM": "1"}
        )
