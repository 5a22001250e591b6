"""The queue of pushes: each push once, in order, whoever tells of it and whoever dies in between."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from platform_assets.ledger.ledger import Entry, Ledger
from platform_assets.ledger.store import Row, entry_of
from resources.settings import WatchedRepository
from sensors.push_queue import PUSH, Push, enqueue, has_stood_at, known_heads, observe, push_of, queued
from sensors.push_review import DECISION, backlog_follower

MAIN = "refs/heads/main"
WATCHED = WatchedRepository(url="https://forge.example/owner/repo.git", branches=("main", "release/*"))
A, B, C, D = (letter * 40 for letter in "abcd")


def push(sha: str, ref: str = MAIN) -> Push:
    """A push to the watched repository."""
    return Push("forge.example/owner/repo", ref, sha)


def shas(ledger: Ledger) -> list[str]:
    """The commits in the queue."""
    return [each.push.sha for each in queued(ledger)]


@pytest.mark.parametrize(
    "url",
    [
        "https://forge.example/owner/repo",
        "git@FORGE.example:owner/repo.git",
        "ssh://git@forge.example/owner/repo",
    ],
)
def test_a_webhook_and_a_poll_mean_the_same_push(url: str) -> None:
    """Whatever form of URL and ref they bring, the key is one."""
    found = push_of(url, "refs/heads/main", A, [WATCHED])
    assert found == push_of(WATCHED.url, "main", A, [WATCHED])
    assert found is not None
    assert found.key == f"git:forge.example/owner/repo:{MAIN}:{A}"


@pytest.mark.parametrize(
    ("url", "ref", "sha"),
    [
        *(("https://other.example/owner/repo", MAIN, A), ("nonsense", MAIN, A), ("", MAIN, A)),
        *((WATCHED.url, "refs/heads/dev", A), (WATCHED.url, "refs/heads/release/1/2", A)),
        *((WATCHED.url, "refs/tags/main", A), (WATCHED.url, "", A), (WATCHED.url, "-main", A)),
        *(
            (WATCHED.url, MAIN, "0" * 40),
            (WATCHED.url, MAIN, "main"),
            (WATCHED.url, MAIN, A[:39]),
            (WATCHED.url, MAIN, ""),
        ),
        ("https://forge.example/owner/repo\ud800", "\ud800", "\ud800"),
    ],
)
def test_what_nobody_watches_is_no_push(url: str, ref: str, sha: str) -> None:
    """Unknown repositories and branches, tags, deletions and nonsense."""
    assert push_of(url, ref, sha, [WATCHED]) is None


@pytest.mark.parametrize(
    "url",
    [
        *(
            "https://forge.example/Owner/Repo.git",
            "https://www.forge.example/owner/repo",
            "git@forge.example:OWNER/repo",
        ),
        *("https://web.example:8443/owner/repo.git", "ssh://git@web.example:2222/owner/repo"),
    ],
)
def test_a_repository_is_known_by_what_forges_and_settings_call_it(url: str) -> None:
    """In any case, with `www.`, and by its other names; the push is always that of the one repository."""
    also = ("https://web.example:8443/owner/repo", "git@web.example:owner/repo")
    watched = WATCHED.model_copy(update={"also_named": also})
    assert push_of(url, MAIN, A, [watched]) == push(A)


def test_two_repositories_that_differ_in_case_are_told_apart() -> None:
    """Where both are watched each is meant by its own name, and neither by a third form."""
    watched = [WatchedRepository(url=f"https://h/o/{name}") for name in ("Repo", "repo")]
    found = [push_of(f"https://h/o/{name}", MAIN, A, watched) for name in ("Repo", "repo", "REPO")]
    assert [each.repository if each else None for each in found] == ["h/o/Repo", "h/o/repo", None]
    assert push_of("file:///srv/R", MAIN, A, [WatchedRepository(url="/srv/r")]) is None


def test_a_commit_may_be_named_by_sha_256() -> None:
    """64 digits are a push as well."""
    assert push_of(WATCHED.url, MAIN, "a" * 64, [WATCHED]) == push("a" * 64)


def test_a_password_in_a_webhooks_url_stays_out_of_the_ledger(ledger: Ledger) -> None:
    """The canonical form has none."""
    found = push_of("https://ada:s3cret@forge.example/owner/repo?token=s3cret", MAIN, A, [WATCHED])
    assert found is not None
    enqueue(ledger, found)
    assert all(b"s3cret" not in entry.raw for entry in ledger.entries())


def test_the_second_to_tell_changes_nothing(ledger: Ledger) -> None:
    """The queue keeps the order of arrival, and says what is new."""
    told = [enqueue(ledger, push(sha)) for sha in (A, B, A, B, C)]
    assert told == [True, True, False, False, True]
    assert shas(ledger) == [A, B, C]
    assert ledger.verify().ok


def test_many_tell_at_once(ledger: Ledger) -> None:
    """Threads that enqueue the same pushes: each is new to exactly one of them."""
    new: list[str] = []

    def tell() -> None:
        new.extend(sha for sha in (A, B, C, D) if enqueue(ledger, push(sha)))

    threads = [threading.Thread(target=tell) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(new) == [A, B, C, D]
    assert sorted(shas(ledger)) == [A, B, C, D]


def test_a_push_knows_where_its_branch_stood(ledger: Ledger) -> None:
    """At the push before of the same branch, or at the first sight of the repository."""
    observe(ledger, WATCHED, {}, {MAIN: A})
    for sha, ref in ((B, MAIN), (C, "refs/heads/release/1"), (D, MAIN)):
        enqueue(ledger, push(sha, ref))
    assert [each.base for each in queued(ledger)] == [A, None, B]


def test_the_first_sight_is_a_baseline(ledger: Ledger) -> None:
    """It starts nothing; from then on every move and every new branch is a push."""
    assert observe(ledger, WATCHED, {}, {MAIN: A}) == []
    assert known_heads(ledger, WATCHED.name) == {MAIN: A}
    heads = {MAIN: B, "refs/heads/release/1": C}
    assert observe(ledger, WATCHED, {MAIN: A}, heads) == [push(B), push(C, "refs/heads/release/1")]
    assert observe(ledger, WATCHED, heads, heads) == []


def test_the_first_push_to_an_empty_repository_counts(ledger: Ledger) -> None:
    """An empty repository was seen as well."""
    assert observe(ledger, WATCHED, {}, {}) == []
    assert observe(ledger, WATCHED, {}, {MAIN: A}) == [push(A)]


def test_branches_that_are_newly_watched_start_nothing(ledger: Ledger) -> None:
    """Their state is a baseline of its own; a branch that was watched before has not escaped meanwhile."""
    observe(ledger, WATCHED, {}, {MAIN: A})
    wider = WATCHED.model_copy(update={"branches": ("main", "dev")})
    assert observe(ledger, wider, {MAIN: A}, {MAIN: B, "refs/heads/dev": C}) == [push(B)]
    heads = {MAIN: B, "refs/heads/dev": D}
    assert observe(ledger, wider, {MAIN: B, "refs/heads/dev": C}, heads) == [push(D, "refs/heads/dev")]


def test_a_poll_that_died_before_it_kept_its_cursor_loses_nothing(ledger: Ledger) -> None:
    """The ledger knows the baseline and the pushes, so what came in between is found."""
    observe(ledger, WATCHED, {}, {MAIN: A})
    assert observe(ledger, WATCHED, known_heads(ledger, WATCHED.name), {MAIN: B}) == [push(B)]
    assert observe(ledger, WATCHED, known_heads(ledger, WATCHED.name), {MAIN: C}) == [push(C)]
    assert observe(ledger, WATCHED, {MAIN: A}, {MAIN: C}) == []
    assert shas(ledger) == [B, C]


# --- Back to an earlier commit ---------------------------------------------------------------------


def told(ledger: Ledger) -> list[tuple[str, int]]:
    """Commit and number of return of every push in the queue."""
    return [(each.push.sha, each.push.returned) for each in queued(ledger)]


def test_a_branch_that_is_pushed_back_is_pushed(ledger: Ledger) -> None:
    """As often as that happens; each time it is another push, and looking again finds no second one."""
    observe(ledger, WATCHED, {}, {MAIN: A})
    observe(ledger, WATCHED, {MAIN: A}, {MAIN: B})
    later = datetime.now(UTC) + timedelta(minutes=2)
    stands = B
    for sha in (A, B, A):
        assert observe(ledger, WATCHED, {MAIN: stands}, {MAIN: sha}, now=later) == []
        (found,) = observe(ledger, WATCHED, {MAIN: sha}, {MAIN: sha}, now=later)
        assert (found.sha, observe(ledger, WATCHED, {MAIN: sha}, {MAIN: sha}, now=later)) == (sha, [])
        stands = sha
    assert told(ledger) == [(B, 0), (A, 0), (B, 1), (A, 1)]
    assert len({each.push.key for each in queued(ledger)}) == 4
    assert queued(ledger)[2].base == A


def test_a_webhook_that_is_sent_again_pushes_no_branch_back(ledger: Ledger) -> None:
    """It cannot be told from a branch that is pushed back; the poller sees where the branch stands."""
    observe(ledger, WATCHED, {}, {MAIN: A})
    for sha in (B, C):
        enqueue(ledger, push(sha))
    assert not enqueue(ledger, push(B))
    assert observe(ledger, WATCHED, {MAIN: A}, {MAIN: C}) == []
    later = datetime.now(UTC) + timedelta(minutes=2)
    again = Push(WATCHED.name, MAIN, B, returned=1)
    assert observe(ledger, WATCHED, {MAIN: C}, {MAIN: B}, now=later) == []
    assert observe(ledger, WATCHED, {MAIN: B}, {MAIN: B}, now=later) == [again]


@pytest.mark.parametrize("late", [timedelta(), timedelta(minutes=10)])
@pytest.mark.parametrize("base", [A, D])
def test_replicas_that_take_turns_push_no_branch_back(ledger: Ledger, base: str, late: timedelta) -> None:
    """One lags, for however long: each other look shows where the branch stood before."""
    observe(ledger, WATCHED, {}, {MAIN: base})
    for sha in (A, B):
        enqueue(ledger, push(sha))
    stands = base
    for sha in (B, A) * 5:
        assert observe(ledger, WATCHED, {MAIN: stands}, {MAIN: sha}, now=datetime.now(UTC) + late) == []
        stands = sha
    assert told(ledger) == [(A, 0), (B, 0)]


def test_replicas_that_take_turns_do_not_push_back_to_the_first_sight(ledger: Ledger) -> None:
    """Of the commit at which the branch was first seen there is no push yet."""
    observe(ledger, WATCHED, {}, {MAIN: A})
    observe(ledger, WATCHED, {MAIN: A}, {MAIN: B})
    assert observe(ledger, WATCHED, {MAIN: B}, {MAIN: A}) == []
    assert told(ledger) == [(B, 0)]


def test_long_after_a_push_one_look_tells_that_a_branch_was_pushed_back(ledger: Ledger) -> None:
    """No replica lags for so long, and the push before may be too old to be looked for again."""
    observe(ledger, WATCHED, {}, {MAIN: A})
    observe(ledger, WATCHED, {MAIN: A}, {MAIN: B})
    for days in (2, 8):
        now = datetime.now(UTC) + timedelta(days=days)
        stands, sha = (B, A) if days == 2 else (A, B)
        assert [each.sha for each in observe(ledger, WATCHED, {MAIN: stands}, {MAIN: sha}, now=now)] == [sha]


def test_a_push_that_was_taken_back_between_two_looks_is_found(ledger: Ledger) -> None:
    """A webhook told of it. Not at once: a forge's replica may still show where the branch stood before."""
    observe(ledger, WATCHED, {}, {MAIN: A})
    enqueue(ledger, push(B))
    assert observe(ledger, WATCHED, {MAIN: A}, {MAIN: A}) == []
    later = datetime.now(UTC) + timedelta(minutes=2)
    assert observe(ledger, WATCHED, {MAIN: A}, {MAIN: A}, now=later) == [push(A)]
    assert observe(ledger, WATCHED, {MAIN: A}, {MAIN: A}, now=later) == []


def test_a_new_branch_knows_where_the_others_stood(ledger: Ledger) -> None:
    """It has no base of its own."""
    other = "refs/heads/release/1"
    observe(ledger, WATCHED, {}, {MAIN: A})
    enqueue(ledger, push(B))
    enqueue(ledger, push(C, other))
    enqueue(ledger, push(D, other))
    assert [(each.base, each.elsewhere) for each in queued(ledger)] == [(A, ()), (None, (B,)), (C, ())]


def test_pushes_of_earlier_releases_are_read(ledger: Ledger) -> None:
    """Their entries do not say how often a branch came back, and a first push says no more than they did."""
    enqueue(ledger, push(A))
    (entry,) = ledger.entries(kind=PUSH)
    assert entry.body == {"repository": WATCHED.name, "ref": MAIN, "sha": A}
    assert entry.fingerprint == f"git:{WATCHED.name}:{MAIN}:{A}"
    assert Push.of(entry) == push(A)


# --- What a look has to know ------------------------------------------------------------------------


def decide(ledger: Ledger, of: Push, path: str | None = None) -> None:
    """A decision on a spec of a push, or its end."""
    body = {"push": of.key, "outcome": "retraining", "reason": "r"} | ({"path": path} if path else {})
    ledger.append(DECISION, of.repository, fingerprint=f"{of.key}:{path}" if path else of.key, body=body)


def test_the_backlog_begins_at_the_oldest_open_push(ledger: Ledger) -> None:
    """What ended before it is let go of; what ended behind it stays, because the open one may end in it."""
    follower = backlog_follower()
    for sha in (A, B, C, D):
        enqueue(ledger, push(sha))
    decide(ledger, push(A), "spec.yaml")
    decide(ledger, push(A))
    decide(ledger, push(C), "spec.yaml")
    decide(ledger, push(C))
    backlog = follower.look(ledger)
    assert [each.push.sha for each in backlog.queue] == [B, C, D]
    assert [each.base for each in backlog.queue] == [A, B, C]
    assert (backlog.ended, list(backlog.decisions)) == ({push(C).key}, [push(C).key])
    decide(ledger, push(B))
    backlog = follower.look(ledger)
    assert [each.push.sha for each in backlog.queue] == [D]
    assert (backlog.ended, dict(backlog.decisions)) == (set(), {})
    assert vars(backlog)["queue"] == vars(backlog_follower().look(ledger))["queue"]


def test_a_look_reads_what_came_since_the_last_one(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many pushes there have been."""
    read = 0

    def counted(row: Row) -> Entry:
        nonlocal read
        read += 1
        return entry_of(row)

    follower = backlog_follower()
    for number in range(30):
        enqueue(ledger, push(f"{number:040x}"))
        decide(ledger, push(f"{number:040x}"))
    follower.look(ledger)
    enqueue(ledger, push(A))
    monkeypatch.setattr("platform_assets.ledger.ledger.entry_of", counted)
    assert [each.push.sha for each in follower.look(ledger).queue] == [A]
    assert read <= 4


def test_where_a_branch_has_stood_is_known_of_pushes_and_of_the_first_sight(ledger: Ledger) -> None:
    """Before a push, and not after it; another branch is another."""
    observe(ledger, WATCHED, {}, {MAIN: A})
    enqueue(ledger, push(B))
    enqueue(ledger, push(C))
    b, c = queued(ledger)
    assert has_stood_at(ledger, b.push, A, before=b.seq)
    assert has_stood_at(ledger, c.push, B, before=c.seq)
    assert not has_stood_at(ledger, b.push, C, before=b.seq)
    assert not has_stood_at(ledger, b.push, B, before=b.seq)
    assert not has_stood_at(ledger, push(D, "refs/heads/release/1"), A, before=c.seq)
