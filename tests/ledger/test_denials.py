"""Denials: what is logged of a request that comes from outside, and what the ledger is told of them."""

import fcntl
import hashlib
import json
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from platform_assets.cli.policy import app
from platform_assets.ledger.denial_log import DenialLog
from platform_assets.ledger.denials import Denials
from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.ledger import Ledger
from platform_assets.outside_systems import OutsideSystems
from resources.object_store import ObjectStore
from resources.policed_object_store import AccessDeniedError
from resources.policy_engine import Decision
from resources.settings import PlatformSettings, Principal, PrincipalLabels

DENIED = Decision(allow=False, reasons=("user is not in group ml-engineers",))


@pytest.fixture
def clock():
    """A quarter past eight, until it is moved."""
    return StillClock()


@pytest.fixture
def ledger(tmp_path):
    """An empty ledger."""
    return Ledger.open(tmp_path / "ledger.sqlite", principal="store")


@pytest.fixture
def denials(tmp_path, ledger, clock):
    """What takes denials, with a log in `tmp_path/denials`."""
    return Denials(DenialLog(tmp_path / "denials", clock=clock), lambda: ledger)


def request(name="ada", path="/models/prod/line/1/a", method="GET"):
    """A request of the object store."""
    return {"method": method, "path": path, "user": {"name": name, "groups": ["staff"]}}


def lines(home):
    """The lines of the open segment."""
    return [json.loads(line) for line in (home / "denials" / "open.jsonl").read_bytes().splitlines()]


def summaries(ledger):
    """The bodies of the summaries in the ledger."""
    return [entry.body for entry in ledger.entries(kind="denial_summary")]


def told(ledger):
    """How many denials the ledger knows of."""
    return sum(body["denials"] for body in summaries(ledger))


class StillClock:
    """A clock that is moved by hand."""

    def __init__(self):
        """A quarter past eight."""
        self.now = datetime(2026, 11, 29, 20, 15, tzinfo=UTC)

    def __call__(self):
        """The time that it was moved to."""
        return self.now


# --- What is logged ------------------------------------------------------------------------------------------


def test_a_line_says_who_what_and_why(denials, tmp_path):
    """Time, path, principal, action, groups, environment and reasons; nothing else of the request."""
    asked = request() | {
        "user": {"name": "ada", "groups": ["staff"], "labels": {"env": "prod"}, "password": "hush"}
    }
    denials.record(asked, DENIED)
    assert lines(tmp_path) == [
        {
            "time": "2026-11-29T20:15:00.000000Z",
            "principal": "ada",
            "action": "GET",
            "account": "ada",
            "path": "/models/prod/line/1/a",
            "groups": ["staff"],
            "env": "prod",
            "reasons": ["user is not in group ml-engineers"],
        }
    ]


def test_a_plugin_request_keeps_its_secrets(denials, ledger, tmp_path):
    """Of claims only names and environment are logged, of conditions and headers nothing; the summary has neither."""
    asked = {
        "account": "root",
        "groups": None,
        "action": "s3:GetObject",
        "bucket": "models",
        "object": "prod/line/1/a",
        "claims": {"env": "prod", "email": "hush@example.org", "accessKey": "hush"},
        "conditions": {"Authorization": ["hush"], "X-Amz-Security-Token": ["hush"]},
    }
    denials.record(asked, DENIED)
    (line,) = lines(tmp_path)
    assert (line["principal"], line["action"], line["groups"], line["env"]) == (
        "root",
        "s3:GetObject",
        [],
        "prod",
    )
    assert line["path"] == "/models/prod/line/1/a"
    assert "hush" not in json.dumps(line)
    assert b"hush" not in denials.summarise().raw


@pytest.mark.parametrize(
    ("claims", "principal"),
    [
        ({"ldapUser": "uid=ada,dc=org", "ldapUsername": "ada"}, "ada"),
        ({"sub": "4711", "groups": ["staff"]}, "4711"),
        ({"parent": "9fQx", "sub": "4711"}, "9fQx"),
        ({"parent": ["ada"]}, "KEY1"),
        (None, "KEY1"),
    ],
)
def test_the_keys_of_sessions_are_of_one_person(denials, tmp_path, claims, principal):
    """Each session has a key of its own; whose it is stands in the claims, and the line has both."""
    denials.record({"action": "s3:GetObject", "account": "KEY1", "groups": None, "claims": claims}, DENIED)
    (line,) = lines(tmp_path)
    assert (line["principal"], line["account"]) == (principal, "KEY1")
    assert line["groups"] == (claims or {}).get("groups", [])


def test_what_stands_behind_a_question_mark_is_not_logged(denials, tmp_path):
    """Signatures and tokens travel there; and what a terminal would obey is replaced."""
    denials.record(request("\x1b[2J", "/models/prod/a\0b?X-Amz-Signature=SECRET&token=hush"), DENIED)
    (line,) = lines(tmp_path)
    assert line["path"] == "/models/prod/a\N{REPLACEMENT CHARACTER}b"
    assert line["principal"] == "\N{REPLACEMENT CHARACTER}[2J"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    request_=st.dictionaries(
        st.sampled_from(
            ["method", "path", "user", "action", "bucket", "object", "groups", "claims", "account"]
        ),
        st.recursive(
            st.none()
            | st.integers()
            | st.floats()
            | st.text(st.characters(exclude_categories=()), max_size=400),
            lambda inner: (
                st.lists(inner) | st.dictionaries(st.sampled_from(["env", "name", "groups", "labels"]), inner)
            ),
            max_leaves=6,
        ),
    )
)
def test_any_request_can_be_recorded(denials, ledger, tmp_path, request_):
    """Whatever somebody sends, its denial is a line of moderate size, and an entry that the ledger takes."""
    denials.record(request_, DENIED)
    assert len(json.dumps(lines(tmp_path)[-1])) < 100_000
    assert denials.summarise(at_once=True).body["denials"] == 1
    assert ledger.verify().ok


def test_the_platforms_store_records_what_it_denies(tmp_path):
    """The store that the settings open asks the policy; its denials are in the home's log, then in the ledger."""
    outside = OutsideSystems(
        PlatformSettings(home=tmp_path, principal=Principal(user="ada", labels=PrincipalLabels(env="prod")))
    )
    store: ObjectStore = outside.object_store
    with pytest.raises(AccessDeniedError, match="label env prod does not match dev"):
        store.exists("models/dev/line/1/model.json")
    (line,) = lines(tmp_path)
    assert (line["path"], line["principal"]) == ("/models/dev/line/1/model.json", "ada")
    assert list(outside.ledger.entries()) == []
    outside.denials.summarise()
    ((count,),) = [body["counts"] for body in summaries(outside.ledger)]
    assert count == {
        "principal": "ada",
        "action": "HEAD",
        "reasons": ["label env prod does not match dev"],
        "denials": 1,
    }


def test_the_settings_choose_the_bucket(tmp_path):
    """`PLATFORM_OBJECTS_URI` opens the S3 store; nothing is connected to."""
    settings = PlatformSettings(
        home=tmp_path, objects_uri="s3://bucket/assets", s3_endpoint="http://127.0.0.1:9"
    )
    with pytest.raises(AccessDeniedError):
        OutsideSystems(settings).object_store.list("models/prod")


# --- What the ledger is told ---------------------------------------------------------------------------------


def test_a_summary_counts_and_vouches_for_the_log(denials, ledger, tmp_path):
    """How often who was denied what and why, and the hashes of the segments that say more."""
    for _ in range(3):
        denials.record(request(), DENIED)
    denials.record(request("bob", method="DELETE"), DENIED)
    entry = denials.summarise()
    (segment,) = entry.body["segments"]
    content = (tmp_path / "denials" / segment["name"]).read_bytes()
    assert (entry.kind, entry.subject) == ("denial_summary", "hour 2026-11-29T20")
    assert entry.body["denials"] == 4
    assert [(each["principal"], each["action"], each["denials"]) for each in entry.body["counts"]] == [
        ("ada", "GET", 3),
        ("bob", "DELETE", 1),
    ]
    assert segment == {
        "name": "00000001.jsonl",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "denials": 4,
    }
    assert (entry.body["others"], entry.body["segments_gone"]) == (0, 0)
    assert summaries(ledger) == [entry.body]


def test_there_is_one_summary_an_hour(denials, ledger, clock):
    """The first at once; what is denied after it in the same hour is told in the next."""
    denials.record(request(), DENIED)
    assert denials.summarise().body["denials"] == 1
    for _ in range(2):
        denials.record(request(), DENIED)
        assert denials.summarise() is None
    clock.now += timedelta(hours=1)
    assert denials.summarise().body["denials"] == 2
    clock.now += timedelta(hours=1)
    assert denials.summarise() is None
    assert told(ledger) == 3


def test_where_nothing_is_denied_nothing_is_written(denials, ledger, tmp_path):
    """No entry, and no folder."""
    assert denials.summarise() is None
    assert list(ledger.entries()) == []
    assert not (tmp_path / "denials").exists()


def test_a_flood_is_a_handful_of_entries(ledger, tmp_path, clock):
    """A hundred thousand denials of ever new names within three hours: the log is bounded, the count is exact."""
    denials = Denials(DenialLog(tmp_path / "denials", clock=clock), lambda: ledger)
    for number in range(100_000):
        if number % 1_000 == 0:
            clock.now += timedelta(minutes=1.5)
            denials.summarise()
        denials.record(request(f"invented {number}" if number % 10 else "ada"), DENIED)
    clock.now += timedelta(hours=1)
    denials.summarise()
    assert len(list(ledger.entries())) <= 5
    assert told(ledger) == 100_000
    assert sum(body["counts"][0]["denials"] for body in summaries(ledger)) == 10_000
    assert {body["counts"][0]["principal"] for body in summaries(ledger)} == {"ada"}
    assert max(len(entry.raw) for entry in ledger.entries()) < 20_000
    assert sum(file.stat().st_size for file in (tmp_path / "denials").iterdir()) < 18 << 20


def test_a_denial_does_not_wait_for_the_ledger(denials, ledger):
    """Not even where the very process holds it, as an erasure may."""
    with ledger.exclusive():
        denials.record(request(), DENIED)
    assert denials.summarise().body["denials"] == 1


def test_a_ledger_that_is_away_loses_nothing(tmp_path, ledger, clock, caplog):
    """It is told, and the next call tells the ledger."""
    reachable = []

    def opened():
        if not reachable:
            raise LedgerError("the database is away")
        return ledger

    denials = Denials(DenialLog(tmp_path / "denials", clock=clock), opened)
    denials.record(request(), DENIED)
    assert denials.summarise() is None
    assert "denials are not in the ledger yet: the database is away" in caplog.text
    denials.record(request(), DENIED)
    reachable.append(True)
    assert denials.summarise().body["denials"] == 1
    assert denials.summarise(at_once=True).body["denials"] == 1


def test_the_end_of_a_process_tells_what_it_denied(tmp_path):
    """Nobody has to ask for it."""
    run = [sys.executable, Path(__file__).with_name("denier.py"), tmp_path, "ada", "3", "end"]
    subprocess.run(run, check=True, capture_output=True, env=environment())
    assert told(Ledger.open(tmp_path / "ledger.sqlite", principal="test")) == 3


def test_entries_of_single_denials_stay_and_are_counted(denials, ledger):
    """An older ledger has one for each; it verifies, and the report says how many there are."""
    for number in range(2):
        ledger.append(
            "denial", "/models/prod/a", fingerprint=str(number), body={"user": "ada", "reasons": []}
        )
    denials.record(request(), DENIED)
    denials.summarise()
    assert denials.report(newest=9)["entries"] == 2
    assert ledger.verify().ok


# --- Whatever happens ----------------------------------------------------------------------------------------


def test_what_cannot_be_written_is_counted(ledger, tmp_path, clock, caplog):
    """A log that cannot be written raises nothing; once it can be, all of it is told."""
    home = tmp_path / "home"
    home.write_text("in the way of the folder")
    denials = Denials(DenialLog(home / "denials", clock=clock), lambda: ledger)
    for _ in range(3):
        denials.record(request(), DENIED)
    assert caplog.text.count("denials are only counted until") == 1
    assert denials.summarise() is None
    home.unlink()
    denials.record(request("bob"), DENIED)
    assert [(each["principal"], each["denials"]) for each in denials.summarise().body["counts"]] == [
        ("ada", 3),
        ("bob", 1),
    ]


def _deny_on_a_full_disk(home, most_bytes):
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    denials = DenialLog(home / "denials")
    takes = Denials(denials, lambda: None)
    for _ in range(20):
        takes.record(request(), DENIED)
    content = (home / "denials" / "open.jsonl").read_bytes()
    assert content.endswith(b"}\n"), "half a line"
    written = len(content.splitlines())
    assert 0 < written < 20
    assert denials.unwritten == 20 - written
    os._exit(0)


@pytest.mark.parametrize("most_bytes", range(500, 1200, 50))
def test_a_full_disk_leaves_whole_lines(tmp_path, most_bytes):
    """Wherever in a line the room ends: what does not fit is counted, and nothing is half written."""
    child = multiprocessing.get_context("fork").Process(
        target=_deny_on_a_full_disk, args=(tmp_path, most_bytes)
    )
    child.start()
    child.join()
    assert child.exitcode == 0


def test_what_could_not_be_written_is_written_before_the_process_ends(denials, tmp_path):
    """Even in an hour that has its summary."""
    denials.record(request(), DENIED)
    denials.summarise()
    descriptor = os.open(tmp_path / "denials" / "lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    denials.record(request(), DENIED)
    os.close(descriptor)
    assert denials.summarise() is None
    assert [line["unwritten"]["denials"] for line in lines(tmp_path)] == [1]


def test_a_log_that_others_keep_busy_holds_nobody_up(denials, tmp_path):
    """The denial is counted in a moment, and written with the next."""
    denials.record(request(), DENIED)
    descriptor = os.open(tmp_path / "denials" / "lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    begin = time.monotonic()
    denials.record(request(), DENIED)
    assert time.monotonic() - begin < 5
    os.close(descriptor)
    assert denials.summarise().body["denials"] == 2


@pytest.mark.parametrize("in_the_way", ["state.json", "state.draft"])
def test_a_log_whose_counts_cannot_be_stored_stays_bounded(tmp_path, ledger, clock, in_the_way):
    """Neither files nor segments grow without end, and nothing is lost once they can be stored."""
    log = DenialLog(tmp_path / "denials", clock=clock, segment_bytes=1_000, kept_segments=2)
    denials = Denials(log, lambda: ledger)
    obstacle = tmp_path / "denials" / in_the_way
    obstacle.mkdir(parents=True)
    for _ in range(300):
        log._cut_from = 0.0  # as if a minute had passed
        denials.record(request(), DENIED)
    files = [file for file in (tmp_path / "denials").iterdir() if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 10_000
    obstacle.rmdir()
    assert denials.summarise().body["denials"] == 300


def test_a_garbled_line_is_a_denial(denials, tmp_path):
    """As a power cut may leave it; the others are counted as they are."""
    denials.record(request(), DENIED)
    with (tmp_path / "denials" / "open.jsonl").open("ab") as sink:
        sink.write(b'{"time": "2026-11-\n')
    denials.record(request(), DENIED)
    body = denials.summarise().body
    assert (body["denials"], body["others"], body["counts"][0]["denials"]) == (3, 1, 2)


def test_an_altered_state_counts_nothing_twice(denials, ledger, clock, tmp_path, caplog):
    """It is set aside and told, and counting goes on."""
    denials.record(request(), DENIED)
    denials.summarise()
    (tmp_path / "denials" / "state.json").write_text("{")
    denials.record(request(), DENIED)
    clock.now += timedelta(hours=1)
    assert denials.summarise().body["denials"] == 1
    assert "state.json was altered and is now state.unreadable" in caplog.text
    assert told(ledger) == 2


def _summarise_until(home, owner, name):
    setattr(owner, name, lambda *_, **__: os._exit(9))
    ledger = Ledger.open(home / "ledger.sqlite", principal="store")
    Denials(DenialLog(home / "denials"), lambda: ledger).summarise()
    os._exit(0)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (DenialLog, "_count"),
        (DenialLog, "_store"),
        (Path, "replace"),
        (Ledger, "append"),
        (DenialLog, "kept"),
    ],
    ids=["cut", "counted", "drafted", "summed up", "appended"],
)
def test_a_kill_at_any_step_of_a_summary_neither_loses_nor_doubles(tmp_path, ledger, owner, name):
    """Between the cut and the count, the count and the entry, the entry and the log that learns of it."""
    log = DenialLog(tmp_path / "denials")
    denials = Denials(log, lambda: ledger)
    for _ in range(5):
        denials.record(request(), DENIED)
    child = multiprocessing.get_context("fork").Process(target=_summarise_until, args=(tmp_path, owner, name))
    child.start()
    child.join()
    assert child.exitcode == 9
    denials.record(request(), DENIED)
    denials.summarise(at_once=True)
    denials.summarise(at_once=True)
    assert told(ledger) == 6


def environment():
    """Of a process that imports what this one does."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def denier(home, name, count, stdout):
    """A process that denies and often sums up, and prints a letter for each denial."""
    run = [sys.executable, Path(__file__).with_name("denier.py"), home, name, str(count), "often"]
    return subprocess.Popen(run, stdout=stdout, env=environment())


@pytest.mark.parametrize("count", [300, pytest.param(5_000, marks=pytest.mark.long)])
def test_processes_share_a_log(tmp_path, ledger, count):
    """They deny, cut, count and sum up at the same time: each denial is told once."""
    running = [denier(tmp_path, f"denier {number}", count, subprocess.DEVNULL) for number in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    Denials(DenialLog(tmp_path / "denials"), lambda: ledger).summarise(at_once=True)
    found = {}
    for body in summaries(ledger):
        for each in body["counts"]:
            found[each["principal"]] = found.get(each["principal"], 0) + each["denials"]
    assert found == {f"denier {number}": count for number in range(4)}


@pytest.mark.parametrize("kills", [4, pytest.param(100, marks=pytest.mark.long)])
def test_killed_processes_lose_and_double_nothing(tmp_path, ledger, kills):
    """Two processes deny and sum up; whenever they are killed, the ledger is told of each denial once."""
    recorded = 0
    for number in range(kills):
        read_end, write_end = os.pipe()  # shared: the kill comes at any point of either process
        with os.fdopen(read_end, "rb") as printed:
            processes = [denier(tmp_path, f"{name}{number}", 10**6, write_end) for name in "ab"]
            os.close(write_end)
            recorded += len(printed.read(random.randint(1, 400)))
            for process in processes:
                process.kill()
                process.wait()
            recorded += len(printed.read())
    denials = Denials(DenialLog(tmp_path / "denials"), lambda: ledger)
    denials.summarise(at_once=True)
    denials.summarise(at_once=True)
    assert recorded <= told(ledger) <= recorded + 2 * kills  # one each that died before it printed
    assert ledger.verify().ok


# --- What is shown -------------------------------------------------------------------------------------------


def test_the_report_tells_what_became_of_the_log(tmp_path, ledger, clock):
    """Segments that are as they were, that went with time, and that somebody changed."""
    log = DenialLog(tmp_path / "denials", clock=clock, segment_bytes=200, kept_segments=3)
    denials = Denials(log, lambda: ledger)
    for _ in range(9):  # two fill a segment
        denials.record(request(), DENIED)
    denials.summarise()
    denials.record(request(), DENIED)
    (summary,) = denials.report(newest=9)["summaries"]
    *_, last = summary["segments"]
    assert set(summary["segments"].values()) == {"kept"}
    assert (summary["segments_gone"], len(summary["segments"])) == (2, 3)
    with (tmp_path / "denials" / last).open("ab") as sink:
        sink.write(b"\n")
    for _ in range(2):
        denials.record(request(), DENIED)
    found = denials.report(newest=9)
    assert sorted(found["summaries"][0]["segments"].values()) == ["changed", "gone", "kept"]
    assert found["waiting"]["denials"] == 3


def test_the_command_shows_denials(tmp_path, monkeypatch):
    """Those in the ledger, those that wait, and the entries of older ledgers; in text and JSON."""
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    assert CliRunner().invoke(app, ["denials"]).stdout == "nothing was denied\n"
    outside = OutsideSystems(PlatformSettings())
    outside.ledger.append("denial", "/models/prod/a", fingerprint="1", body={})
    for _ in range(1_500):
        outside.denials.record(request(), DENIED)
    outside.denials.summarise()
    outside.denials.record(request("", method="PUT"), DENIED)
    (segment,) = (tmp_path / "denials").glob("0*.jsonl")
    segment.write_bytes(b"")
    shown = CliRunner().invoke(app, ["denials"]).stdout
    assert "1,500 denials" in shown
    assert "1,500  ada GET: user is not in group ml-engineers" in shown
    assert "CHANGED since: 00000001.jsonl" in shown
    assert "not in the ledger yet:" in shown
    assert "1  (nobody) PUT" in shown
    assert "1 older ones are entries of their own" in shown
    found = json.loads(CliRunner().invoke(app, ["denials", "--json"]).stdout)
    assert [each["denials"] for each in found["summaries"]] == [1_500]
