"""Reviewers: what counts of a file is what others than they themselves have committed."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from platform_assets.governance.reviewers import read_reviewers
from resources import git_history
from tests.git_factory import run_git
from tests.reviewing import ADA, ReviewersRepository, person

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LEE = "A. Lee <lee@hospital.example>"


@pytest.fixture
def repository(tmp_path: Path) -> ReviewersRepository:
    """An empty one."""
    return ReviewersRepository(tmp_path / "people")


def test_a_committed_person_is_found_by_every_name(repository):
    """Id, printed name, address, `Name <address>` and principal name one person, whatever their case."""
    reviewers = repository.commit(person())

    for name in (
        "lee",
        "dr. amira  LEE",
        "Lee@Hospital.example",
        "Somebody <lee@hospital.example>",
        "alee",
    ):
        assert reviewers.find(name).id == "lee", name
    assert reviewers.find("grace") is None
    assert reviewers.find("") is None
    assert reviewers.commit == run_git(repository.folder, "rev-parse", "HEAD")
    assert reviewers.counting("lee", NOW).roles == ("radiologist",)


def test_the_working_copy_does_not_count(repository):
    """What is written and not committed names nobody, and a deleted file still names whom its commit names."""
    repository.commit(person())
    repository.file.write_text("reviewers: []\n")
    assert repository.read().find("lee") is not None
    repository.file.unlink()

    assert repository.read().find("lee") is not None


@pytest.mark.parametrize("what", ["author", "committer"])
def test_a_role_of_ones_own_commit_does_not_count(repository, what):
    """Whoever gives themselves a role has the state before it; so says whoever asks for it."""
    repository.commit(person(roles=["technician"]))
    reviewers = repository.commit(person(roles=["technician", "radiologist"]), **{what: LEE})

    assert reviewers.people["lee"].roles == ("technician",)
    assert reviewers.people["lee"].withheld == ("role radiologist",)


def test_who_puts_themselves_into_the_file_has_nothing(repository):
    """A first entry of one's own gives no role, no principal and no key."""
    lee = repository.commit(person(public_key="A" * 43 + "="), author=LEE).people["lee"]

    assert (lee.roles, lee.principals, lee.public_key) == ((), (), None)


def test_what_somebody_else_puts_back_counts(repository):
    """A role that was one's own grant counts once another has taken it out and given it again, and not before."""
    repository.commit(person(), author=LEE)
    touched = repository.commit(person(emails=["lee@hospital.example", "a.lee@hospital.example"]))
    assert touched.people["lee"].roles == ()
    repository.commit(person(roles=[]))

    assert repository.commit(person()).people["lee"].roles == ("radiologist",)


def test_an_old_name_is_still_ones_own(repository):
    """A name that was taken out of the file, and one that came in later, are names of the person all the same."""
    repository.commit(person(roles=[], emails=["old@hospital.example"]))
    repository.commit(person(roles=[], emails=["lee@hospital.example"]))
    as_old = repository.commit(person(), author="X <old@hospital.example>")
    assert as_old.people["lee"].roles == ()
    assert as_old.is_named("lee", "X <OLD@hospital.example>")
    repository.commit(person(roles=[]))
    repository.commit(person(), author="X <later@hospital.example>")

    later = repository.commit(person(emails=["lee@hospital.example", "later@hospital.example"]))
    assert later.people["lee"].roles == ()


def test_a_renamed_entry_is_the_same_person(repository):
    """A new id with an address of the old one is one person: their own commit gives it nothing."""
    repository.commit(person())
    reviewers = repository.commit(person(id="amira"), author=LEE)

    assert reviewers.people["amira"].roles == ()
    assert reviewers.person("amira") == reviewers.person("lee")


def test_restrictions_count_whoever_made_them(repository):
    """One's own revocation, shorter validity, and removal of a role, a principal or a key count at once."""
    repository.commit(person(roles=["radiologist", "technician"], public_key="A" * 43 + "="))
    lee = repository.commit(
        person(
            valid_from="2026-11-20",
            valid_until="2026-12-31",
            revoked_at="2026-12-24T10:00:00Z",
            principals=[],
        ),
        author=LEE,
    ).people["lee"]

    assert lee.roles == ("radiologist",)
    assert lee.principals == ()
    assert lee.public_key is None
    assert lee.valid_from == datetime(2026, 11, 20, tzinfo=UTC)
    assert lee.valid_until == datetime(2027, 1, 1, tzinfo=UTC)
    assert lee.revoked_at == datetime(2026, 12, 24, 10, tzinfo=UTC)
    assert lee.withheld == ()


def test_loosening_of_ones_own_does_not_count(repository):
    """One's own longer validity, lifted revocation and other key leave what was; of two keys, neither."""
    repository.commit(
        person(
            valid_from="2026-11-20",
            valid_until="2026-12-31",
            revoked_at="2026-12-24T10:00:00Z",
            public_key="A" * 43 + "=",
        )
    )
    lee = repository.commit(
        person(public_key="B" + "A" * 42 + "=", principals=["alee", "grace"]), author=LEE
    ).people["lee"]

    assert lee.valid_from == datetime(2026, 11, 20, tzinfo=UTC)
    assert lee.valid_until == datetime(2027, 1, 1, tzinfo=UTC)
    assert lee.revoked_at == datetime(2026, 12, 24, 10, tzinfo=UTC)
    assert lee.principals == ("alee",)
    assert lee.public_key is None
    assert lee.withheld == ("principal grace", "the public key", "the validity")


def test_validity_is_asked_at_a_time(repository):
    """Before, after, and from the revocation on, nobody counts; the last day does."""
    reviewers = repository.commit(
        person(valid_until="2026-11-22"),
        person(id="kay", name="K", emails=["k@x"], principals=["k"], revoked_at="2026-11-22T12:00:00Z"),
    )

    assert reviewers.counting("lee", NOW) is not None
    assert reviewers.counting("lee", datetime(2026, 10, 31, tzinfo=UTC)) is None
    assert reviewers.counting("lee", datetime(2026, 11, 23, tzinfo=UTC)) is None
    assert reviewers.counting("kay", NOW) is None
    assert "revoked" in reviewers.people["kay"].problem(NOW)


def merge(folder: Path, onto: str, other: str, *options: str, author: str) -> None:
    """Merges in the name of somebody."""
    run_git(folder, "checkout", "-q", "-f", onto)
    run_git(folder, "merge", "-q", "--no-ff", "-m", "merge", *options, other, by=author)


def test_merging_what_others_granted_takes_nothing_away(repository):
    """A reviewer may merge main into a branch of theirs, and back, without losing what others gave them."""
    folder = repository.folder
    repository.commit(person(roles=[]))
    run_git(folder, "branch", "feature")
    repository.commit(person())
    run_git(folder, "checkout", "-q", "-f", "feature")
    run_git(folder, "commit", "-q", "--allow-empty", "-m", "work", by=LEE)
    merge(folder, "feature", "main", author=LEE)
    merge(folder, "main", "feature", author=LEE)

    assert repository.read().people["lee"].roles == ("radiologist",)


@pytest.mark.parametrize("by", [LEE, ADA])
def test_a_merge_of_two_changes_of_the_file_keeps_each(repository, by):
    """Who brings together what others did to two entries changes neither; of a third they do, for whom it counts."""
    kay = person(id="kay", name="Kay", emails=["kay@hospital.example"], principals=["kay"], roles=[])
    repository.commit(person(roles=[]), kay)
    run_git(repository.folder, "branch", "side", "main")
    repository.commit(person(), kay)
    run_git(repository.folder, "branch", "-m", "main", "other")
    run_git(repository.folder, "branch", "-m", "side", "main")
    run_git(repository.folder, "symbolic-ref", "HEAD", "refs/heads/main")
    repository.commit(person(roles=[]), kay | {"roles": ["technician"]})
    merged = repository.commit(
        person(principals=["alee", "new"]),
        kay | {"roles": ["technician"]},
        author=by,
        committer=by,
        merges="other",
    )
    lee = merged.people["lee"]
    assert merged.people["kay"].roles == ("technician",)
    # The merge itself has changed this entry, so that all of it is the work of whoever merged.
    assert (lee.roles, lee.principals) == (
        ((), ("alee",)) if by == LEE else (("radiologist",), ("alee", "new"))
    )
    run_git(repository.folder, "update-ref", "refs/heads/main", "main^1")
    clean = repository.commit(
        person(), kay | {"roles": ["technician"]}, author=by, committer=by, merges="other"
    )

    assert clean.people["lee"].roles == ("radiologist",)
    assert clean.people["kay"].roles == ("technician",)


def test_a_merge_by_another_does_not_make_ones_own_grant_count(repository):
    """A self-made role on a branch does not count once somebody merges the branch."""
    folder = repository.folder
    repository.commit(person(roles=[]))
    run_git(folder, "branch", "side", "main")
    repository.commit(person(), author=LEE)
    run_git(folder, "branch", "-m", "main", "self")
    run_git(folder, "branch", "-m", "side", "main")
    run_git(folder, "checkout", "-q", "-f", "main")
    run_git(folder, "commit", "-q", "--allow-empty", "-m", "work")
    merge(folder, "main", "self", author=ADA)

    assert repository.read().people["lee"].roles == ()


def test_an_old_branch_does_not_bring_back_what_was_taken(repository):
    """A merge of one's own that keeps an old branch's file, against what main has revoked, restores nothing."""
    folder = repository.folder
    repository.commit(person())
    run_git(folder, "branch", "old")
    repository.commit(person(roles=[], revoked_at="2026-11-20T00:00:00Z"))
    run_git(folder, "checkout", "-q", "-f", "old")
    run_git(folder, "commit", "-q", "--allow-empty", "-m", "work", by=LEE)
    merge(folder, "old", "main", "-s", "ours", author=LEE)

    lee = repository.read().people["lee"]
    assert "radiologist" in repository.file.read_text()
    assert lee.roles == ()
    assert lee.revoked_at == datetime(2026, 11, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("people", "told"),
    [
        ([person(role="x")], "reviewers.0.role: is not a known key"),
        ([person(roles=[])], ""),
        ([person(valid_from="soon")], "reviewers.0.valid_from: write a day"),
        ([person(revoked_at="2026-11-22")], "reviewers.0.revoked_at: write a time with its zone"),
        ([person(valid_until="2026-10-01")], "reviewers.0.valid_until: must be later"),
        ([person(public_key="c2VjcmV0")], "reviewers.0.public_key: must be base64 of the 32 bytes"),
        ([person(emails=[])], "reviewers.0.emails: "),
        ([person(), person(id="two", name="Two", principals=["ALEE"])], "shares a name"),
    ],
)
def test_a_wrong_file_makes_nobody_a_reviewer(repository, people, told):
    """Each mistake is told with file, line and field; a key is never shown."""
    reviewers = repository.commit(*people)

    assert bool(reviewers.problem) == bool(told)
    assert told in reviewers.problem
    assert "c2VjcmV0" not in reviewers.problem
    if told:
        assert "reviewers.yaml@" in reviewers.problem
        assert reviewers.people == {}


def test_outside_a_repository_nobody_is_a_reviewer(tmp_path, repository):
    """So it is without a commit, and in a shallow clone; each time it is told what to do."""
    file = tmp_path / "elsewhere" / "reviewers.yaml"
    file.parent.mkdir()
    file.write_text("reviewers: []\n")
    assert "lies in no Git checkout" in read_reviewers(file).problem
    assert "PLATFORM_REVIEWERS" in read_reviewers(file).problem
    assert "has no commit yet" in repository.read().problem
    repository.commit(person())
    repository.commit(person(roles=["technician"]))
    run_git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repository.folder}", "shallow")
    assert "never committed" in read_reviewers(repository.folder / "other.yaml").problem

    assert "git fetch --unshallow" in read_reviewers(tmp_path / "shallow" / "reviewers.yaml").problem


def test_who_mends_the_file_does_not_grant_what_broke_it(repository):
    """A role of one's own that comes with a mistake does not count once somebody else has mended the mistake."""
    repository.commit(person(roles=[]))
    broken = repository.commit_text("reviewers: [", author=LEE)
    assert "is not valid YAML" in broken.problem
    mended = repository.commit(person())
    assert mended.people["lee"].roles == ()
    repository.commit(person(roles=[]))

    assert repository.commit(person()).people["lee"].roles == ("radiologist",)


def test_a_long_history_costs_two_processes_of_git_and_is_read_once(repository, monkeypatch):
    """Only commits that touch the file are looked at, all their contents come at once, and the same head is not read again."""
    stream = "".join(
        f"commit refs/heads/main\ncommitter {ADA} {1_700_000_000 + at} +0000\ndata 1\nx\n"
        f"M 100644 inline other\ndata {len(str(at))}\n{at}\n"
        for at in range(500)
    )
    run_git(repository.folder, "fast-import", "--quiet", given=stream)
    for at in range(3):
        repository.commit(person(roles=[f"role {at}"]))
    asked = []
    run = git_history._git
    monkeypatch.setattr(
        git_history,
        "_git",
        lambda folder, *arguments, **rest: (asked.append(arguments[0]), run(folder, *arguments, **rest))[1],
    )
    git_history._history.cache_clear()
    first = git_history.file_history(repository.file)

    assert len(first.states) == 3
    assert asked.count("log") == asked.count("cat-file") == 1
    assert len(asked) <= 6
    asked.clear()
    assert git_history.file_history(repository.file) is first
    assert asked == ["rev-parse", "rev-parse"]


def test_names_are_read_whatever_encoding_the_machine_shows_them_in(repository):
    """Somebody's own configuration of Git does not make of them somebody else."""
    run_git(repository.folder, "config", "i18n.logOutputEncoding", "ISO-8859-1")
    own = repository.commit(person(name="Zoë Lee"), author="Zoë Lee <private@example.org>")

    assert own.people["lee"].withheld == ("role radiologist", "principal alee")
