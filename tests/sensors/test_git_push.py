"""Pushes to real repositories retrain lines: exactly the pushed spec, once, and never under other code."""

import json
import re
import tempfile
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from platform_assets.datasets.contract import CONTRACTS_FOLDER
from platform_assets.datasets.schema_breaker import Circumstances, half_open, trip
from platform_assets.governance import retraining
from platform_assets.governance.release import ACTIVATION, UNPIN
from platform_assets.ledger.ledger import Entry, Ledger
from platform_assets.lines.assets import line_job
from platform_assets.lines.line import Line, load_line
from platform_assets.outside_systems import OutsideSystems
from platform_assets.tags import RETRAINING_TAG
from resources.git_remote import Blob, open_remotes
from resources.provenance import is_code, running_code
from resources.settings import PlatformSettings, WatchedRepository
from sensors.definitions import git_sensors
from sensors.git_push import waiting_pushes
from sensors.push_change import concerned_specs, missing_code
from sensors.push_queue import Push, enqueue, push_of, queued
from sensors.push_review import DECISION, WAITED, Reviewer, backlog_follower
from tests.git_factory import Origin, spec_text
from tests.line_factory import SMALL_SPEC, write_spec

LINE = "reviews_small"
SPEC = "models/reviews/training-spec.yaml"
MAIN = "refs/heads/main"


@cache
def served_line() -> Line:
    """The small line; loading it takes a while."""
    return load_line(SMALL_SPEC)


@cache
def served_code() -> dict[str, str]:
    """The code that runs here."""
    return running_code()


@cache
def shared_instance() -> dg.DagsterInstance:
    """Making one takes a while. Every retraining has a hash of its own, so tests do not meet in it."""
    return dg.DagsterInstance.ephemeral()


@dg.job
def whatever() -> None:
    """Stands for the job of a run that is never executed."""


class Platform:
    """A platform that watches repositories; a tick is what the daemon would do."""

    def __init__(self, home: Path, *origins: Origin, **watched: Any) -> None:
        repositories = tuple(WatchedRepository(url=str(origin.path), **watched) for origin in origins)
        self.settings = PlatformSettings(home=home, git_repositories=repositories)
        self.outside = OutsideSystems(self.settings)
        self.ledger: Ledger = self.outside.ledger
        self.lines: list[Line] = [served_line()]
        self.instance = shared_instance()
        self.cursors: dict[str, str | None] = {}
        self.sensors = git_sensors(self.outside, self.lines, [line_job(line) for line in self.lines])
        self.code = served_code()
        self.broken: set[str] = set()

    def tick(self, name: str, *, keep_cursor: bool = True) -> dg.SensorResult:
        """One tick of a sensor; without its cursor, the daemon has died before it was kept."""
        sensor = next(each for each in self.sensors if each.name == name)
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursors.get(name), sensor_name=name
        )
        result = sensor(context)
        assert isinstance(result, dg.SensorResult)
        if keep_cursor:
            self.cursors[name] = result.cursor
        return result

    def poll(self) -> str:
        """A tick of the poller; what it tells."""
        return str(self.tick("git_poller").skip_reason.skip_message)

    def drain(self) -> list[dg.RunRequest]:
        """A tick of the draining sensor, whose runs are then created as the daemon would do it."""
        requests = list(self.tick("git_pushes").run_requests or [])
        for request in requests:
            self.instance.create_run_for_job(
                whatever, tags=dict(request.tags), status=dg.DagsterRunStatus.STARTED
            )
        return requests

    def review(self, *, code: dict[str, str] | None = None, now: datetime | None = None) -> list[str]:
        """Rules upon the pushes as an installation with this code would; what waits."""
        remotes = open_remotes((each.url for each in self.settings.git_repositories), self.settings.git_path)
        reviewer = Reviewer(
            self.ledger,
            self.lines,
            self.settings.git_repositories,
            remotes,
            self.code if code is None else code,
            broken=self.broken,
        )
        return [str(each) for each in reviewer.review(now=now or datetime.now(UTC))]

    def requests(self) -> list[Entry]:
        """The retrainings that were requested."""
        return list(self.ledger.entries(kind=retraining.KIND))

    def decisions(self) -> list[tuple[str, str]]:
        """Outcome and reason of every push that has ended, in order."""
        return [
            (entry.body["outcome"], entry.body["reason"])
            for entry in self.ledger.entries(kind=DECISION)
            if "path" not in entry.body
        ]

    def rulings(self) -> list[tuple[str, str]]:
        """Outcome and reason of every spec, in order."""
        return [
            (entry.body["outcome"], entry.body["reason"])
            for entry in self.ledger.entries(kind=DECISION)
            if "path" in entry.body
        ]


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    """A repository with one commit."""
    return Origin(tmp_path, files={"README.md": "models", SPEC: spec_text()})


@pytest.fixture
def platform(origin: Origin, tmp_path: Path) -> Platform:
    """A platform that has seen the repository once."""
    platform = Platform(tmp_path / "home", origin)
    platform.poll()
    return platform


# --- From a push to a run --------------------------------------------------------------------------


def test_a_pushed_spec_is_trained_as_its_commit_has_it(platform: Platform, origin: Origin) -> None:
    """One run: with the values of that very commit, and tags that say where it comes from."""
    sha = origin.push({SPEC: spec_text(learning_rate=3e-4), "models/notes.md": "more"})
    assert f"found git:file://{origin.path}:{MAIN}:{sha}" in platform.poll()
    origin.push({"README.md": "later"})
    (request,) = platform.drain()

    assert request.job_name == LINE
    assert request.run_config["ops"][f"{LINE}_model"]["config"]["learning_rate"] == 3e-4
    (entry,) = platform.requests()
    assert entry.body["source_commit"] == sha
    assert entry.body["source_author"] == "Ada Lovelace <ada@example.org>"
    assert request.tags[RETRAINING_TAG] == entry.hash
    assert request.tags["platform/repository"] == str(origin.path)
    assert request.tags["platform/ref"] == MAIN
    assert request.tags["platform/sha"] == sha
    assert request.tags["platform/author"] == "Ada Lovelace"
    assert json.loads(request.tags["platform/changed_paths"]) == ["models/notes.md", SPEC]
    # The address stands where who may not approve is looked up by it, and in no tag.
    assert sum(entry.raw.count(b"ada@example.org") for entry in platform.ledger.entries()) == 1
    assert not any("ada@example.org" in value for value in request.tags.values())
    assert [outcome for outcome, _ in platform.decisions()] == ["retraining"]


def test_whoever_merges_a_spec_is_not_its_author(platform: Platform, origin: Origin) -> None:
    """Who changed it last answers for it; where the push changed what lies beside it alone, who made the commit."""
    platform.poll()
    origin.git("checkout", "-q", "-b", "side")
    (origin.clone / SPEC).write_text(spec_text(epochs=2), encoding="utf-8")
    origin.git("commit", "-q", "-a", "-m", "spec", "--author", "Bob <bob@example.org>")
    origin.git("checkout", "-q", "main")
    origin.git("merge", "-q", "--no-ff", "-m", "merge", "side")
    origin.git("push", "-q", "origin", "main")
    platform.poll()
    platform.drain()
    origin.push({f"{SPEC.rpartition('/')[0]}/notes.md": "more"})
    platform.poll()
    platform.drain()

    authors = [entry.body["source_author"] for entry in platform.requests()]
    assert authors == ["Bob <bob@example.org>", "Ada Lovelace <ada@example.org>"]


def test_a_webhook_and_a_poll_make_one_run(platform: Platform, origin: Origin) -> None:
    """Whichever comes first."""
    sha = origin.push({SPEC: spec_text(seed=1)})
    told = push_of(f"file://{origin.path}", MAIN, sha, platform.settings.git_repositories)
    assert told is not None
    assert enqueue(platform.ledger, told)
    assert "nothing was pushed" in platform.poll()
    assert len(platform.drain()) == 1
    assert not enqueue(platform.ledger, told)
    assert platform.drain() == []


def test_a_thousand_commits_at_once_are_one_push(platform: Platform, origin: Origin) -> None:
    """The range reaches back to where the branch stood, so a change in the first of them counts."""
    origin.commit({SPEC: spec_text(seed=2)})
    head = origin.git("rev-parse", "HEAD")
    stream = "".join(
        f"commit refs/heads/many\ncommitter Ada <> {1_700_000_000 + at} +0000\ndata 1\nx\n"
        + (f"from {head}\n" if at == 0 else "")
        + f"M 100644 inline README.md\ndata {len(str(at))}\n{at}\n"
        for at in range(1000)
    )
    origin.fast_import(stream)
    origin.git("push", "--quiet", "origin", "many:main")
    platform.poll()
    assert len(platform.drain()) == 1
    (entry,) = platform.requests()
    assert entry.body["evidence"]["changed_paths"] == [SPEC, "README.md"]


def test_many_changed_paths_are_counted_and_not_all_told(platform: Platform, origin: Origin) -> None:
    """The watched ones come first; an endless name is cut."""
    origin.git("config", "user.name", "x" * 5000)
    origin.push({SPEC: spec_text(seed=3), **{f"data/{at}": str(at) for at in range(300)}})
    platform.poll()
    (request,) = platform.drain()
    (entry,) = platform.requests()
    assert entry.body["evidence"]["changed_paths_total"] == 301
    assert entry.body["evidence"]["changed_paths"][0] == SPEC
    assert len(entry.raw) < 20_000
    assert all(len(value) <= 1000 for value in request.tags.values())


def test_pushes_are_taken_in_order(platform: Platform, origin: Origin) -> None:
    """Each has its own run, the older first."""
    for seed in (1, 2, 3):
        origin.push({SPEC: spec_text(seed=seed)})
        platform.poll()
    requests = platform.drain()
    seeds = [request.run_config["ops"][f"{LINE}_model"]["config"]["seed"] for request in requests]
    assert seeds == [1, 2, 3]


def test_a_webhook_that_comes_late_undoes_nothing(platform: Platform, origin: Origin) -> None:
    """The branch has gone on, and that was queued: the older commit is not trained after the newer one."""
    first = origin.push({SPEC: spec_text(seed=1)})
    second = origin.push({SPEC: spec_text(seed=2)})
    third = origin.push({SPEC: spec_text(seed=3)})
    for sha in (third, first, second):
        enqueue(platform.ledger, Push(f"file://{origin.path}", MAIN, sha))

    requests = platform.drain()

    assert [request.tags["platform/sha"] for request in requests] == [third]
    assert [outcome for outcome, _ in platform.decisions()] == ["retraining", "superseded", "superseded"]
    assert third in platform.decisions()[1][1]


def test_a_webhook_of_before_the_first_sight_starts_nothing(platform: Platform, origin: Origin) -> None:
    """It may be sent again at any time; the branch stood further on when it was first looked at."""
    old = origin.git("rev-parse", "HEAD")
    origin.push({SPEC: spec_text(seed=1)})
    later = Platform(platform.settings.home / "later", origin)
    later.poll()
    enqueue(later.ledger, Push(f"file://{origin.path}", MAIN, old))

    assert later.drain() == []
    assert later.decisions()[0][0] == "superseded"


def test_a_push_that_nobody_foresaw_holds_up_no_other(platform: Platform, origin: Origin) -> None:
    """A name that no file system takes is one: the push waits where people see it, and the next is trained."""
    origin.push({"models/long/training-spec.yaml": spec_text(contract="x" * 5000)})
    platform.poll()
    origin.push({SPEC: spec_text(seed=1)})
    platform.poll()

    assert len(platform.drain()) == 1

    (waiting,) = waiting_pushes(platform.outside, platform.lines)
    assert "OSError" in str(waiting)


# --- Branches come, go and are rewritten -----------------------------------------------------------


def test_the_first_sight_starts_nothing(platform: Platform) -> None:
    """What lies in the repository when it is first watched is known to be there, no more."""
    assert queued(platform.ledger) == []
    assert platform.drain() == []


def test_an_empty_repository_waits_for_its_first_push(tmp_path: Path) -> None:
    """Its first commit has no parent: all of it is new."""
    origin = Origin(tmp_path)
    platform = Platform(tmp_path / "home", origin)
    assert platform.poll() == "nothing was pushed"
    origin.push({SPEC: spec_text()})
    platform.poll()
    assert len(platform.drain()) == 1


def test_a_force_push_counts_from_where_the_branch_stood(platform: Platform, origin: Origin) -> None:
    """Tree against tree; where the old commit is gone for good, against the first parent."""
    first = origin.git("rev-parse", "HEAD")
    origin.push({SPEC: spec_text(seed=4)})
    platform.poll()
    origin.git("reset", "--quiet", "--hard", first)
    origin.push({"README.md": "rewritten"})
    platform.poll()
    assert len(platform.drain()) == 2  # the rewrite took the spec back as well
    assert platform.requests()[1].body["evidence"]["changed_paths"] == [SPEC, "README.md"]


def test_a_branch_stood_at_a_commit_that_is_gone(platform: Platform, origin: Origin) -> None:
    """Then the first parent is what the push is compared with."""
    vanished = Push(f"file://{origin.path}", MAIN, "e" * 40)
    enqueue(platform.ledger, vanished)
    origin.push({SPEC: spec_text(seed=5)})
    platform.poll()
    assert len(platform.drain()) == 1


def test_a_commit_that_is_gone_before_it_was_looked_at_ends_in_a_rejection(
    platform: Platform, origin: Origin
) -> None:
    """Not at once: a forge may tell of a commit before it gives it out."""
    enqueue(platform.ledger, Push(f"file://{origin.path}", MAIN, "e" * 40))
    (reason,) = platform.review()
    assert "does not give out commit" in reason
    assert platform.review(now=datetime.now(UTC) + timedelta(hours=2)) == []
    assert platform.decisions()[0][0] == "rejected"


def test_a_deleted_branch_is_forgotten(platform: Platform, origin: Origin) -> None:
    """Deleting it starts nothing, and when it comes back with another commit, that is a push."""
    origin.push({"README.md": "one"})
    platform.poll()
    origin.git("push", "--quiet", "origin", ":main")
    assert platform.poll() == "nothing was pushed"
    assert json.loads(platform.cursors["git_poller"]) == {f"file://{origin.path}": {}}
    origin.push({SPEC: spec_text(seed=6)})
    platform.poll()
    assert len(platform.drain()) == 1


def test_other_branches_and_tags_start_nothing(platform: Platform, origin: Origin) -> None:
    """Only what the filters name."""
    origin.push({SPEC: spec_text(seed=7)}, branch="dev")
    origin.git("tag", "main")
    origin.git("push", "--quiet", "origin", "refs/tags/main")
    assert platform.poll() == "nothing was pushed"


def test_a_repository_that_does_not_answer_holds_up_no_other(tmp_path: Path, origin: Origin) -> None:
    """The others are polled and drained, the reason is told, and its own pushes are found later."""
    other = Origin(tmp_path, "other")
    other.push({"README.md": "x"})
    platform = Platform(tmp_path / "home", other, origin)
    platform.poll()
    other.push({SPEC: spec_text(seed=8)})
    away = other.path.rename(tmp_path / "away")
    origin.push({SPEC: spec_text(seed=9)})
    told = platform.poll()
    assert "ls-remote failed" in told
    assert "found git:" in told
    assert len(platform.drain()) == 1
    away.rename(other.path)
    platform.poll()
    other.path.rename(away)
    assert platform.drain() == []
    (waiting,) = waiting_pushes(platform.outside, platform.lines)
    assert "not looked at yet" in str(waiting)
    away.rename(other.path)
    assert len(platform.drain()) == 1


# --- What is rejected, and what is nothing to do ---------------------------------------------------


WRONG = {
    "key": (spec_text(learning_rat=1), r":\d\d: learning_rat: is not a known key"),
    "gate": (spec_text(gates={"auc": "> x"}), r":\d\d: gates.auc: "),
    "yaml": (": not yaml [", ":1: is not valid YAML"),
    "empty": ("", ":1: must hold keys"),
    "outside": (spec_text(contract="../../etc/contract.yaml"), ": contract: .* must lie beside the spec"),
    "absolute": (spec_text(contract="/etc/passwd"), ": contract: .* must lie beside the spec"),
    "none": (spec_text(contract="none.yaml"), r":\d+: contract: no contract file none.yaml"),
    "broken": (spec_text(contract="c.yaml"), "models/broken/c.yaml:1: "),
    "long": ("#" * 1_000_001, ": has 1000001 bytes"),
}


def test_a_wrong_spec_is_rejected_with_file_line_and_field(platform: Platform, origin: Origin) -> None:
    """Once, for good, in the ledger; and the specs beside it are looked at as if nothing had been."""
    files = {f"models/{name}/training-spec.yaml": content for name, (content, _) in WRONG.items()}
    origin.push(files | {"models/broken/c.yaml": "nothing", SPEC: spec_text(seed=10)})
    platform.poll()
    assert len(platform.drain()) == 1
    assert platform.drain() == []
    rulings = {
        entry.body["path"]: (entry.body["outcome"], entry.body["reason"])
        for entry in platform.ledger.entries(kind=DECISION)
        if "path" in entry.body
    }
    for name, (_, told) in WRONG.items():
        outcome, reason = rulings.pop(f"models/{name}/training-spec.yaml")
        assert outcome == "rejected"
        assert re.match(told if name == "broken" else f"models/{name}/training-spec.yaml{told}", reason)
        assert tempfile.gettempdir() not in reason
    assert rulings[SPEC][0] == "retraining"
    assert platform.decisions() == [("retraining", f"{len(WRONG)} × rejected, 1 × retraining")]


@pytest.mark.parametrize("files", [{"README.md": "new"}, {SPEC: None}, {"training-spec.yaml.orig": "x"}])
def test_a_push_that_concerns_no_spec_ends_with_nothing_to_do(
    platform: Platform, origin: Origin, files: dict[str, str | None]
) -> None:
    """Other files, and a spec that was only deleted."""
    origin.push(files)
    platform.poll()
    assert platform.drain() == []
    assert [outcome for outcome, _ in platform.decisions()] == ["nothing to do"]


def test_two_specs_of_one_line_in_a_push_make_one_run(platform: Platform, origin: Origin) -> None:
    """The second is rejected: nobody can tell which was meant."""
    origin.push({"models/a/training-spec.yaml": spec_text(seed=1), SPEC: spec_text(seed=2)})
    platform.poll()
    assert len(platform.drain()) == 1
    assert [outcome for outcome, _ in platform.rulings()] == ["retraining", "rejected"]


def test_a_watched_file_concerns_the_nearest_spec() -> None:
    """In its folder or above it; where there is none, all below; what is not watched, none."""
    watched = WatchedRepository(url="/srv/r")
    root, a, b = "training-spec.yaml", "models/a/training-spec.yaml", "models/b/training-spec.yaml"
    files = {a, b, "models/a/data/x", "models/y", "other/training-spec.yaml"}
    assert concerned_specs(["models/a/data/x"], files, watched) == (a,)
    assert concerned_specs(["models/y"], files, watched) == (a, b)
    assert concerned_specs(["models/y", "models/c/z"], files | {root}, watched) == (root,)
    assert concerned_specs(["other/training-spec.yaml", "README.md"], files, watched) == ()
    assert concerned_specs(["models/c/training-spec.yaml"], files, watched) == ()


# --- Links -----------------------------------------------------------------------------------------


def test_a_spec_behind_a_link_is_trained_when_what_it_leads_to_changes(
    platform: Platform, origin: Origin
) -> None:
    """The file lies where nothing is watched; the link is."""
    origin.push({SPEC: None, "shared/base.yaml": spec_text(seed=1)})
    platform.poll()
    assert platform.drain() == []
    origin.link(SPEC, "../../shared/base.yaml")
    origin.push({})
    platform.poll()
    assert len(platform.drain()) == 1
    origin.push({"shared/base.yaml": spec_text(seed=2), "shared/other.yaml": "no spec"})
    platform.poll()
    (request,) = platform.drain()
    assert request.run_config["ops"][f"{LINE}_model"]["config"]["seed"] == 2
    assert json.loads(request.tags["platform/changed_paths"])[0] == SPEC
    origin.push({"shared/other.yaml": "still none"})
    platform.poll()
    assert platform.drain() == []


def test_a_folder_behind_a_link_is_seen_with_the_companions_of_its_spec(
    platform: Platform, origin: Origin
) -> None:
    """The contract beside the spec is a link as well, and states what the running one does not."""
    contract = (CONTRACTS_FOLDER / "reviews.yaml").read_text(encoding="utf-8")
    origin.link("models/linked", "../lines/a")
    origin.link("lines/a/own.yaml", "../../contracts/own.yaml")
    loose = contract.replace("max_value: 20000", "max_value: 99999")
    origin.push(
        {
            SPEC: None,
            "lines/a/training-spec.yaml": spec_text(contract="own.yaml"),
            "contracts/own.yaml": loose,
        }
    )
    platform.poll()
    assert platform.drain() == []
    (waiting,) = waiting_pushes(platform.outside, platform.lines)
    assert "models/linked/training-spec.yaml" in str(waiting)
    assert "contract, own.yaml differs" in str(waiting)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/etc/passwd", "out of the repository, to an absolute path"),
        ("../../../training-spec.yaml", "out of the repository"),
        ("training-spec.yaml", "round in circles"),
        ("../gone.yaml", "where the commit has no file"),
    ],
)
def test_a_spec_behind_a_link_that_leads_to_nothing_is_rejected(
    platform: Platform, origin: Origin, target: str, reason: str
) -> None:
    """With the link's path; no file of this machine is read in its place."""
    origin.link(SPEC, target)
    origin.push({})
    platform.poll()
    assert platform.drain() == []
    ((outcome, told),) = platform.rulings()
    assert outcome == "rejected"
    assert told.startswith(f"{SPEC} is a link")
    assert reason in told


# --- Branches that are only called otherwise -------------------------------------------------------


def test_a_branch_that_is_renamed_retrains_nothing(platform: Platform, origin: Origin) -> None:
    """Whether or not its spec was trained before; a change that comes with the new name counts."""
    origin.git("push", "--quiet", "origin", "HEAD:refs/heads/master", ":main")
    platform.poll()
    assert platform.drain() == []
    assert [outcome for outcome, _ in platform.decisions()] == ["nothing to do"]
    origin.push({SPEC: spec_text(seed=1)}, branch="master")
    platform.poll()
    assert len(platform.drain()) == 1
    origin.push({"README.md": "renamed"})
    origin.git("push", "--quiet", "origin", ":master")
    platform.poll()
    assert platform.drain() == []
    origin.git("push", "--quiet", "origin", ":main")
    platform.poll()
    origin.commit({SPEC: spec_text(seed=2)})
    origin.push({"README.md": "later"}, branch="master")
    platform.poll()
    assert len(platform.drain()) == 1


def test_two_branches_at_one_commit_are_trained_once(platform: Platform, origin: Origin) -> None:
    """What is pushed to both is one change of the spec; what differs between them is another."""
    first = origin.git("rev-parse", "HEAD")
    origin.git("push", "--quiet", "origin", f"{first}:refs/heads/master")
    platform.poll()
    platform.drain()
    sha = origin.push({SPEC: spec_text(seed=1)})
    origin.git("push", "--quiet", "origin", f"{sha}:refs/heads/master")
    platform.poll()
    assert len(platform.drain()) == 1
    ((_, reason),) = [told for told in platform.rulings() if told[0] == "nothing to do"]
    assert f"as it was at {sha}" in reason
    origin.push({SPEC: spec_text(seed=2)}, branch="master")
    platform.poll()
    assert len(platform.drain()) == 1


@pytest.fixture
def caught_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The forge's replicas show at once where a branch stands."""
    monkeypatch.setattr("sensors.push_queue._SETTLED", timedelta())


@pytest.mark.usefixtures("caught_up")
def test_a_branch_that_is_pushed_back_is_trained_as_it_was(platform: Platform, origin: Origin) -> None:
    """What a bad push has changed is taken back, and forth again, as often as somebody does so."""
    good = origin.push({SPEC: spec_text(seed=1)})
    platform.poll()
    bad = origin.push({SPEC: spec_text(seed=2)})
    platform.poll()
    assert len(platform.drain()) == 2
    for sha, seed in ((good, 1), (bad, 2), (good, 1)):
        origin.git("push", "--quiet", "--force", "origin", f"{sha}:refs/heads/main")
        assert platform.poll() == "nothing was pushed"
        platform.poll()
        (request,) = platform.drain()
        assert request.run_config["ops"][f"{LINE}_model"]["config"]["seed"] == seed
        assert request.tags["platform/sha"] == sha
    assert platform.poll() == "nothing was pushed"
    assert platform.drain() == []


@pytest.mark.usefixtures("caught_up")
def test_webhooks_that_come_late_leave_no_wrong_trace(platform: Platform, origin: Origin) -> None:
    """The poller, which lost its cursor, sees the branch where it stood all the time: nothing has changed."""
    first, second = (origin.push({SPEC: spec_text(seed=seed)}) for seed in (1, 2))
    for sha in (second, first):
        enqueue(platform.ledger, Push(f"file://{origin.path}", MAIN, sha))
    assert len(platform.drain()) == 1
    platform.cursors.clear()
    platform.poll()
    platform.poll()
    assert platform.drain() == []
    assert [outcome for outcome, _ in platform.decisions()] == ["retraining", "superseded", "nothing to do"]


def test_a_repository_by_sha_256_retrains(tmp_path: Path) -> None:
    """Its commits have 64 digits, and are trained like others."""
    origin = Origin(tmp_path, files={SPEC: spec_text()}, object_format="sha256")
    platform = Platform(tmp_path / "home", origin)
    platform.poll()
    sha = origin.push({SPEC: spec_text(seed=1)})
    platform.poll()
    (request,) = platform.drain()
    assert (len(sha), request.tags["platform/sha"]) == (64, sha)


# --- Code that does not run ------------------------------------------------------------------------


def platform_code(version: int) -> dict[str, str | None]:
    """A repository of a platform, as far as its code matters here."""
    return {
        "platform_assets/__init__.py": "",
        "platform_assets/lines/line.py": f"version = {version}",
        "k8s/policy/authz.rego": "package x",
        "README.md": f"version {version}",
    }


PACKAGED = "platform_assets/models/reviews/training-spec.yaml"


def test_a_push_waits_for_its_code_and_is_trained_once_it_runs(platform: Platform, origin: Origin) -> None:
    """Nothing is trained under a commit that did not run; deploying it is enough."""
    sha = origin.push(platform_code(1) | {PACKAGED: spec_text(seed=1)})
    platform.poll()
    before = running_code(origin.clone) | {"platform_assets/lines/line.py": "0" * 40}
    for _ in range(2):
        (waiting,) = platform.review(code=before)
        assert "needs deploy: platform_assets/lines/line.py is not the code that runs here" in waiting
        assert sha[:12] in waiting
    assert platform.requests() == []
    assert platform.decisions() == []

    assert platform.review(code=running_code(origin.clone)) == []
    assert [entry.body["source_commit"] for entry in platform.requests()] == [sha]


def test_a_spec_beside_unchanged_code_needs_no_deploy(platform: Platform, origin: Origin) -> None:
    """Specs and texts are no code, so the platform's own repository can retrain without a deployment."""
    origin.push(platform_code(1))
    deployed = running_code(origin.clone)
    platform.poll()
    origin.push({PACKAGED: spec_text(seed=1), "README.md": "changed"})
    platform.poll()
    assert platform.review(code=deployed) == []
    assert len(platform.requests()) == 1


def test_a_push_whose_code_was_overtaken_ends_in_the_later_one(platform: Platform, origin: Origin) -> None:
    """The later commit was deployed: the spec that waited is trained, under the commit that runs."""
    first = origin.push(platform_code(1) | {PACKAGED: spec_text(seed=1)})
    platform.poll()
    second = origin.push(platform_code(2))
    platform.poll()
    assert len(platform.review(code={})) == 1  # the second concerns no spec
    assert platform.review(code=running_code(origin.clone)) == []
    (entry,) = platform.requests()
    assert entry.body["source_commit"] == second
    assert entry.body["config"]["model"]["seed"] == 1
    assert dict(platform.rulings())["superseded"].startswith(f"by {second}")
    assert platform.review(code=running_code(origin.clone)) == []
    assert len(platform.requests()) == 1
    assert first != second


def test_a_push_that_waits_for_code_does_not_end_in_a_late_one(platform: Platform, origin: Origin) -> None:
    """What is queued behind it may be older: training that would go back."""
    older = origin.push(platform_code(1) | {PACKAGED: spec_text(seed=1)})
    runs_here = running_code(origin.clone)
    newer = origin.push(platform_code(2) | {PACKAGED: spec_text(seed=2)})
    for sha in (newer, older):
        enqueue(platform.ledger, Push(f"file://{origin.path}", MAIN, sha))

    (waiting,) = platform.review(code=runs_here)

    assert "needs deploy" in waiting
    assert platform.requests() == []
    assert [outcome for outcome, _ in platform.decisions()] == ["superseded"]


def test_two_waiting_pushes_of_one_spec_end_in_one_run_of_the_later(
    platform: Platform, origin: Origin
) -> None:
    """The first is superseded by the one whose code was deployed, and nothing is doubled."""
    for version in (1, 2):
        origin.push(platform_code(version) | {PACKAGED: spec_text(seed=version)})
        platform.poll()
    assert len(platform.review(code={})) == 2
    assert platform.review(code=running_code(origin.clone)) == []
    assert [entry.body["config"]["model"]["seed"] for entry in platform.requests()] == [2]
    assert sorted(outcome for outcome, _ in platform.decisions()) == ["retraining", "superseded"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"gates": {"auc": "> 0.01"}, "requires": {"deploy": [{"subject": "model", "rule_set": "gate.auc", "max_age_days": 30}]}}, "requires, gates"),
        ({"split": {"test": 0.2, "validation": 0.14, "block_rows": 50, "guard_rows": 5, "seed": 17}}, "split"),
        ({"contract": "own.yaml"}, "contract"),
    ],
)  # fmt: skip
def test_a_spec_whose_fixed_fields_differ_needs_a_deployment(
    platform: Platform, origin: Origin, changes: dict[str, Any], field: str
) -> None:
    """No push loosens what the line is judged by; the reason names the field."""
    contract = (CONTRACTS_FOLDER / "reviews.yaml").read_text(encoding="utf-8")
    origin.push({SPEC: spec_text(**changes), "models/reviews/own.yaml": contract})
    platform.poll()
    assert platform.drain() == []
    (waiting,) = waiting_pushes(platform.outside, platform.lines)
    assert "needs deploy" in str(waiting)
    assert all(each in str(waiting) for each in field.split(", "))


def test_a_contract_beside_the_spec_must_state_what_the_running_one_does(
    platform: Platform, origin: Origin
) -> None:
    """It is read from the commit as well: other rules need a deployment, the same ones do not."""
    contract = (CONTRACTS_FOLDER / "reviews.yaml").read_text(encoding="utf-8")
    origin.push({SPEC: spec_text(seed=1), "models/reviews/reviews.yaml": contract + "# a remark\n"})
    platform.poll()
    assert len(platform.drain()) == 1
    loosened = contract.replace("max_value: 20000", "max_value: 99999")
    assert loosened != contract
    origin.push({"models/reviews/reviews.yaml": loosened})
    platform.poll()
    assert platform.drain() == []
    (waiting,) = waiting_pushes(platform.outside, platform.lines)
    assert "reviews.yaml differs" in str(waiting)


def test_python_of_a_foreign_repository_runs_nowhere(platform: Platform, origin: Origin) -> None:
    """A push that brings some under the watched paths waits; taking it back lets the spec go."""
    origin.push({SPEC: spec_text(seed=1), "models/reviews/train.py": "print()"})
    platform.poll()
    assert platform.drain() == []
    assert "models/reviews/train.py" in platform.tick("git_pushes").skip_reason.skip_message
    origin.push({"models/reviews/train.py": None, "scripts/other.py": "print()"})
    platform.poll()
    assert len(platform.drain()) == 1


def test_a_line_that_the_pushed_code_brings_waits_for_it(platform: Platform, origin: Origin) -> None:
    """In the platform's own repository an unknown line is one that is not deployed yet."""
    origin.push(platform_code(1) | {PACKAGED: spec_text(line="brand_new")})
    platform.poll()
    (waiting,) = platform.review(code=running_code(origin.clone))
    assert "needs deploy: line brand_new is not among those served" in waiting


def test_a_push_to_a_line_that_is_broken_here_waits(platform: Platform, origin: Origin) -> None:
    """It may be the very push that mends it: it is not lost, and is trained once the line can be loaded."""
    line, platform.lines, platform.broken = platform.lines, [], {"reviews_small"}
    origin.push({SPEC: spec_text(epochs=2)})
    platform.poll()

    (waiting,) = platform.review()
    assert "needs deploy: line reviews_small cannot be loaded where this runs" in waiting
    assert platform.rulings() == []

    platform.lines, platform.broken = line, set()
    assert platform.review() == []
    assert [outcome for outcome, _ in platform.rulings()] == ["retraining"]


def test_code_is_compared_by_content(tmp_path: Path) -> None:
    """A wheel, a checkout and a commit of the same files are the same code."""
    checkout, wheel = tmp_path / "checkout", tmp_path / "wheel"
    for root, policy in ((checkout, "k8s/policy"), (wheel, "resources/k8s/policy")):
        for name in (
            "platform_assets/a.py",
            f"{policy}/x.rego",
            "platform_assets/models/l/training-spec.yaml",
        ):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("content\n")
    (checkout / "tests").mkdir()
    (checkout / "tests" / "test_a.py").write_text("")
    (wheel / "resources" / "k8s" / "triggers").mkdir()
    (wheel / "resources" / "k8s" / "triggers" / "listener.yaml").write_text("no code of a training")
    (wheel / "platform_assets" / "__pycache__").mkdir()
    (wheel / "platform_assets" / "__pycache__" / "a.pyc").write_text("")
    content = "d95f3ad14dee633a758d2e331151e950dd13e4ed"  # what `git hash-object` says
    assert running_code(checkout) == running_code(wheel)
    assert running_code(wheel) == {"platform_assets/a.py": content, "k8s/policy/x.rego": content}


def test_the_installation_that_runs_has_code() -> None:
    """Modules, contracts and policies are among it; specs are not."""
    running = running_code()
    for path in (
        "sensors/git_push.py",
        "platform_assets/datasets/contracts/reviews.yaml",
        "k8s/policy/minio_authz.rego",
    ):
        assert path in running
    assert not is_code("platform_assets/models/reviews_sentiment/training-spec.yaml")


def test_missing_code_names_changed_added_and_removed_files() -> None:
    """Whatever differs in either direction."""
    running = {"platform_assets/__init__.py": "1", "resources/a.py": "1", "resources/gone.py": "1"}
    tree = {
        "platform_assets/__init__.py": "1",
        "resources/a.py": "2",
        "sensors/new.py": "1",
        "docs/x.py": "1",
    }
    blobs = {path: Blob(blob_id, 1) for path, blob_id in tree.items()}
    assert missing_code(running, blobs, []) == ("resources/a.py", "resources/gone.py", "sensors/new.py")


def test_code_that_changed_under_a_running_process_stops_the_sensor(
    platform: Platform, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Definitions and steps would not be of one commit: nothing starts until they are loaded anew."""
    origin.push({SPEC: spec_text(seed=1)})
    platform.poll()
    monkeypatch.setattr(
        "sensors.definitions.running_code", lambda: {"platform_assets/lines/line.py": "changed"}
    )
    assert "reload" in platform.tick("git_pushes").skip_reason.skip_message
    assert platform.requests() == []


# --- Pins and breakers -----------------------------------------------------------------------------


def test_a_pinned_line_waits_until_it_is_unpinned(platform: Platform, origin: Origin) -> None:
    """The reason names who pinned it."""
    pin(platform)
    origin.push({SPEC: spec_text(seed=1)})
    platform.poll()
    reason = platform.tick("git_pushes").skip_reason.skip_message
    assert f"{LINE} is pinned by" in reason
    assert "bad answers" in reason
    unpin(platform)
    assert len(platform.drain()) == 1


def pin(platform: Platform, *, number: int = 1) -> None:
    """As a rollback does."""
    body = {"release_id": "r", "previous": None, "reason": "bad answers", "pinned": True, "verdicts": []}
    platform.ledger.append(ACTIVATION, LINE, fingerprint=f"pin {number}", body=body)


def unpin(platform: Platform, *, number: int = 1) -> None:
    """As a person does."""
    platform.ledger.append(UNPIN, LINE, fingerprint=f"unpin {number}", body={})


def test_of_the_pushes_that_waited_the_newest_trains(platform: Platform, origin: Origin) -> None:
    """The others end as superseded, and say by which; pushes that need not wait are trained one by one again."""
    pin(platform)
    pushed = []
    for seed in (1, 2, 3):
        pushed.append(origin.push({SPEC: spec_text(seed=seed)}))
        platform.poll()
        assert platform.drain() == []
    assert len({entry.body["push"] for entry in platform.ledger.entries(kind=WAITED)}) == 3
    assert len(list(platform.ledger.entries(kind=WAITED))) == 3
    unpin(platform)
    (request,) = platform.drain()
    assert request.tags["platform/sha"] == pushed[-1]
    assert [outcome for outcome, _ in platform.decisions()] == ["superseded", "superseded", "retraining"]
    reasons = [reason for outcome, reason in platform.rulings() if outcome == "superseded"]
    assert all(reason.startswith(f"by {pushed[-1]}") for reason in reasons)
    assert waiting_pushes(platform.outside, platform.lines) == []
    for seed in (4, 5):
        origin.push({SPEC: spec_text(seed=seed)})
        platform.poll()
    assert len(platform.drain()) == 2


def test_of_the_pushes_to_several_branches_the_newest_of_the_line_trains(
    platform: Platform, origin: Origin
) -> None:
    """Wherever they were pushed to; another line's are no concern of it."""
    pin(platform)
    for seed, branch in ((1, "master"), (2, "main"), (3, "master")):
        newest = origin.push({SPEC: spec_text(seed=seed)}, branch=branch)
        platform.poll()
    origin.push({SPEC: spec_text(seed=4, line="nobody")}, branch="main")
    platform.poll()
    platform.review()
    unpin(platform)
    (request,) = platform.drain()
    assert request.tags["platform/sha"] == newest
    assert [outcome for outcome, _ in platform.decisions()] == ["superseded", "superseded", "retraining"]


@pytest.mark.usefixtures("caught_up")
def test_a_push_that_waited_and_was_taken_back_trains_nothing(platform: Platform, origin: Origin) -> None:
    """The branch says again what was trained last."""
    good = origin.push({SPEC: spec_text(seed=1)})
    platform.poll()
    assert len(platform.drain()) == 1
    pin(platform)
    origin.push({SPEC: spec_text(seed=2)})
    platform.poll()
    platform.drain()
    origin.git("push", "--quiet", "--force", "origin", f"{good}:refs/heads/main")
    platform.poll()
    platform.poll()
    platform.drain()
    unpin(platform)
    assert platform.drain() == []
    assert waiting_pushes(platform.outside, platform.lines) == []


def test_a_wrong_spec_after_one_that_waited_does_not_end_it(platform: Platform, origin: Origin) -> None:
    """It is rejected by itself; what waited is the newest that can be trained."""
    pin(platform)
    waited = origin.push({SPEC: spec_text(seed=1)})
    platform.poll()
    platform.drain()
    origin.push({SPEC: spec_text(gates={"auc": "> x"})})
    platform.poll()
    platform.drain()
    unpin(platform)
    (request,) = platform.drain()
    assert request.tags["platform/sha"] == waited


def test_a_push_that_nobody_foresaw_does_not_hold_up_one_that_waited(
    platform: Platform, origin: Origin
) -> None:
    """One that was made before it, of the same branch, is trained once it need not wait."""
    pin(platform)
    waited = origin.push({SPEC: spec_text(seed=1)})
    platform.poll()
    platform.review()
    origin.push({SPEC: spec_text(contract="x" * 5000)})
    platform.poll()
    assert ["OSError" in each for each in platform.review()] == [False, True]
    unpin(platform)
    assert ["OSError" in each for each in platform.review()] == [True]
    assert [entry.body["source_commit"] for entry in platform.requests()] == [waited]


def test_a_push_that_nobody_foresaw_does_not_end_one_that_waits_for_its_code(
    platform: Platform, origin: Origin
) -> None:
    """Which says what it waits for, although the code of the later one runs."""
    for version, contract in ((1, "contract.yaml"), (2, "x" * 5000)):
        origin.push(platform_code(version) | {PACKAGED: spec_text(contract=contract)})
        platform.poll()
    earlier, later = platform.review(code=running_code(origin.clone))
    assert "needs deploy" in earlier
    assert "OSError" in later


def test_a_push_that_could_not_be_looked_at_is_not_trained_after_a_later_one(
    tmp_path: Path, origin: Origin
) -> None:
    """Its repository did not answer while the later one of the line, in another repository, was trained."""
    other = Origin(tmp_path, "other", files={"README.md": "x"})
    platform = Platform(tmp_path / "home", other, origin)
    platform.poll()
    other.push({SPEC: spec_text(seed=1)})
    platform.poll()
    away = other.path.rename(tmp_path / "away")
    newest = origin.push({SPEC: spec_text(seed=2)})
    platform.poll()
    assert [request.tags["platform/sha"] for request in platform.drain()] == [newest]
    away.rename(other.path)
    assert platform.drain() == []
    assert [outcome for outcome, _ in platform.decisions()] == ["retraining", "superseded"]
    assert f"by {newest}" in dict(platform.rulings())["superseded"]


def test_a_line_that_is_not_served_waits_and_is_not_refused(platform: Platform, origin: Origin) -> None:
    """It may be there again at any time, and then its newest push trains; only after a week it is rejected."""
    lines, platform.lines = platform.lines, []
    pushed = []
    for seed in (1, 2):
        pushed.append(origin.push({SPEC: spec_text(seed=seed)}))
        platform.poll()
        waiting = platform.review()
    assert len(waiting) == 2
    assert all(f"line {LINE} is not among those served" in each for each in waiting)
    platform.lines = lines
    assert platform.review() == []
    assert [entry.body["source_commit"] for entry in platform.requests()] == pushed[-1:]

    origin.push({"models/typing/training-spec.yaml": spec_text(line="nobody")})
    platform.poll()
    assert len(platform.review()) == 1
    assert platform.review(now=datetime.now(UTC) + timedelta(days=8)) == []
    assert "line nobody is not among those served" in dict(platform.rulings())["rejected"]


def test_a_request_of_a_line_that_is_not_served_waits_for_it(platform: Platform, origin: Origin) -> None:
    """It was requested, and then the spec broke: the cursor remembers it, and goes past all others."""
    origin.push({SPEC: spec_text(seed=1)})
    platform.poll()
    platform.review()
    without = git_sensors(platform.outside, [], [])
    served, platform.sensors = platform.sensors, without
    for _ in range(2):
        told = platform.tick("git_pushes").skip_reason.skip_message
        assert f"{LINE}: is to be retrained, and is not served at present" in told
        number = platform.requests()[0].seq
        assert platform.cursors["git_pushes"] == f"{platform.ledger.tail().count}:{number}"
    platform.sensors = served
    assert len(platform.drain()) == 1
    assert platform.drain() == []
    assert platform.cursors["git_pushes"] == str(platform.ledger.tail().count)


def test_an_open_breaker_holds_pushes_back(platform: Platform, origin: Origin) -> None:
    """A half-open one does not: the run is its trial."""
    circumstances = Circumstances("hash", "commit", "run", lambda _: False)
    trip(platform.ledger, f"{LINE}_dataset", "a column is missing", circumstances)
    origin.push({SPEC: spec_text(seed=1)})
    platform.poll()
    assert "a column is missing" in platform.tick("git_pushes").skip_reason.skip_message
    half_open(platform.ledger, f"{LINE}_dataset", by="ada", reason="repaired")
    assert len(platform.drain()) == 1


# --- A daemon that dies ----------------------------------------------------------------------------


def test_a_run_is_asked_for_until_it_exists(platform: Platform, origin: Origin) -> None:
    """A daemon that dies after the decision, before the run: the request comes again, with the same key."""
    origin.push({SPEC: spec_text(seed=1)})
    platform.poll()
    asked = [platform.tick("git_pushes", keep_cursor=keep).run_requests for keep in (False, True)]
    again = platform.drain()
    assert len({request.run_key for requests in (*asked, again) for request in requests}) == 1
    assert platform.drain() == []
    platform.cursors.clear()
    assert platform.drain() == []


def test_a_run_that_somebody_deletes_is_not_started_anew(platform: Platform, origin: Origin) -> None:
    """Once it was seen, its request is done with."""
    origin.push({SPEC: spec_text(seed=1)})
    platform.poll()
    platform.drain()
    assert platform.drain() == []
    tags = {RETRAINING_TAG: platform.requests()[0].hash}
    (run,) = platform.instance.get_runs(dg.RunsFilter(tags=tags))
    platform.instance.delete_run(run.run_id)
    assert platform.drain() == []


def test_a_line_that_is_served_again_starts_no_deleted_run_anew(platform: Platform, origin: Origin) -> None:
    """The cursor does not go back to what was kept back, whose request is asked for until it has its run."""
    origin.push({SPEC: spec_text(seed=1)})
    platform.poll()
    served, platform.sensors = platform.sensors, git_sensors(platform.outside, [], [])
    platform.review()
    platform.tick("git_pushes")
    origin.push({SPEC: spec_text(seed=2)})
    platform.poll()
    platform.review()
    kept_back, deleted = platform.requests()
    platform.cursors["git_pushes"] = f"{platform.ledger.tail().count}:{kept_back.seq}"
    platform.sensors = served
    for _ in range(2):
        (request,) = platform.tick("git_pushes").run_requests or []
        assert request.tags[RETRAINING_TAG] == kept_back.hash != deleted.hash
    assert [request.tags[RETRAINING_TAG] for request in platform.drain()] == [kept_back.hash]
    assert platform.drain() == []
    assert platform.cursors["git_pushes"] == str(platform.ledger.tail().count)


def test_a_cursor_that_names_other_entries_is_no_request(platform: Platform) -> None:
    """It may be of another ledger, which had its requests elsewhere."""
    count = platform.ledger.tail().count
    platform.cursors["git_pushes"] = f"{count}:{count},{count + 1}"
    assert platform.drain() == []
    assert platform.cursors["git_pushes"] == str(count)


class Killed(BaseException):
    """The process ends here."""


def test_a_death_after_any_entry_loses_and_doubles_nothing(platform: Platform, origin: Origin) -> None:
    """However many entries a drain has written when it dies, the next one ends where one would have ended."""
    for seed in range(3):
        origin.push({SPEC: spec_text(seed=seed), "models/b/training-spec.yaml": "line: [wrong"})
        platform.poll()
    deaths = 0
    append = platform.ledger.append

    def dies(*arguments: Any, **named: Any) -> Entry:
        entry = append(*arguments, **named)
        if entry.hash not in seen:
            seen.add(entry.hash)
            raise Killed
        return entry

    seen: set[str] = set()
    platform.ledger.append = dies  # type: ignore[method-assign]
    while True:
        try:
            assert platform.review() == []
            break
        except Killed:
            deaths += 1
    # A request, a ruling and an end for each push; the rejected spec was in the first one only.
    assert deaths == len(seen) == 3 * 3 + 1
    assert [entry.body["config"]["model"]["seed"] for entry in platform.requests()] == [0, 1, 2]
    assert [outcome for outcome, _ in platform.decisions()] == ["retraining"] * 3
    assert platform.ledger.verify().ok


def test_a_death_while_the_newest_of_those_that_waited_is_found_doubles_nothing(
    platform: Platform, origin: Origin
) -> None:
    """After every entry once: the newest is trained, the others are superseded by it, and all of them have ended."""
    pin(platform)
    pushed = []
    for seed in (1, 2, 3):
        pushed.append(origin.push({SPEC: spec_text(seed=seed)}))
        platform.poll()
    platform.review()
    unpin(platform)
    append, seen = platform.ledger.append, set[str]()

    def dies(*arguments: Any, **named: Any) -> Entry:
        entry = append(*arguments, **named)
        if entry.hash not in seen:
            seen.add(entry.hash)
            raise Killed
        return entry

    platform.ledger.append = dies  # type: ignore[method-assign]
    while True:
        try:
            assert platform.review() == []
            break
        except Killed:
            pass
    # A request, a ruling for each push, and its end.
    assert len(seen) == 1 + 3 + 3
    assert [entry.body["source_commit"] for entry in platform.requests()] == pushed[-1:]
    assert sorted(outcome for outcome, _ in platform.decisions()) == [
        "retraining",
        "superseded",
        "superseded",
    ]


def test_a_request_stands_although_the_line_has_changed_since(platform: Platform, origin: Origin) -> None:
    """A death between request and decision, then a deployment: the request is not made a second time."""
    origin.push({SPEC: spec_text(seed=1)})
    platform.poll()
    append = platform.ledger.append

    def dies(kind: str, *arguments: Any, **named: Any) -> Entry:
        entry = append(kind, *arguments, **named)
        if kind == retraining.KIND:
            raise Killed
        return entry

    platform.ledger.append = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        platform.review()
    platform.ledger.append = append  # type: ignore[method-assign]
    platform.lines = [load_line(write_spec(platform.settings.home / "spec", description="another"))]
    origin.push({SPEC: spec_text(seed=1, description="another")})
    platform.poll()
    platform.review()
    assert len({entry.fingerprint for entry in platform.requests()}) == 2


def test_a_slow_look_leaves_the_rest_for_the_next(platform: Platform, origin: Origin) -> None:
    """A tick has an end, whatever the queue holds."""
    for seed in range(2):
        origin.push({SPEC: spec_text(seed=seed)})
        platform.poll()
    remotes = open_remotes([str(origin.path)], platform.settings.git_path)
    arguments = (platform.ledger, platform.lines, platform.settings.git_repositories, remotes, platform.code)
    (waiting,) = Reviewer(*arguments).review(now=datetime.now(UTC), seconds=-1)
    assert "next look" in str(waiting)
    assert platform.requests() == []
    assert len(platform.drain()) == 2


# --- The sensors as Dagster sees them --------------------------------------------------------------


def test_without_a_repository_there_is_no_sensor(tmp_path: Path) -> None:
    """Nothing is watched, nothing ticks."""
    assert git_sensors(OutsideSystems(PlatformSettings(home=tmp_path)), [], []) == []


def test_the_sensors_run_by_default_and_touch_nothing_when_loaded(tmp_path: Path, origin: Origin) -> None:
    """Definitions load without ledger, mirror or network."""
    settings = PlatformSettings(
        home=tmp_path / "home", git_repositories=(WatchedRepository(url=str(origin.path)),)
    )
    line = served_line()
    sensors = git_sensors(OutsideSystems(settings), [line], [line_job(line)])
    assert [(each.name, each.default_status, each.minimum_interval_seconds) for each in sensors] == [
        ("git_poller", dg.DefaultSensorStatus.RUNNING, 30),
        ("git_pushes", dg.DefaultSensorStatus.RUNNING, 30),
    ]
    assert not settings.home.exists()


def test_a_push_of_a_repository_that_is_no_longer_watched_waits_visibly(
    platform: Platform, origin: Origin
) -> None:
    """It is not lost, and starts nothing."""
    origin.push({SPEC: spec_text(seed=1)})
    platform.poll()
    unwatched = platform.settings.model_copy(update={"git_repositories": ()})
    (waiting,) = waiting_pushes(OutsideSystems(unwatched), platform.lines)
    assert "no longer watched" in str(waiting)


def test_a_push_of_a_repository_that_nobody_watches_any_more_ends_after_a_week(
    platform: Platform, origin: Origin, tmp_path: Path
) -> None:
    """Counted from when that was seen first, so that no slip of a day ends one that waited; the ruling says why."""
    pin(platform)
    origin.push({SPEC: spec_text(seed=1)})
    platform.poll()
    platform.review()
    watched = platform.settings
    platform.settings = watched.model_copy(
        update={"git_repositories": (WatchedRepository(url=str(tmp_path / "another")),)}
    )
    now = datetime.now(UTC)
    for _ in range(2):
        (waiting,) = platform.review(now=now + timedelta(days=6))
        assert "no longer watched" in waiting
    assert len(list(platform.ledger.entries(kind=WAITED))) == 2
    assert platform.review(now=now + timedelta(days=8)) == []
    ((outcome, reason),) = platform.decisions()
    assert (outcome, "no longer watched, nor was it for 7 days" in reason) == ("rejected", True)
    assert not backlog_follower().look(platform.ledger).queue
    platform.settings = watched
    assert platform.review() == []
    assert platform.requests() == []
