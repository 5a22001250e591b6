"""The ledger keeps what it was given, and notices when somebody changes it, in whatever store it lies."""

import io
import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from platform_assets.ledger import verification
from platform_assets.ledger.errors import LedgerConflictError, LedgerError
from platform_assets.ledger.head import seal
from platform_assets.ledger.ledger import GENESIS, Entry, Head, Ledger, verify_export
from tests.ledger.conftest import NOON, on_both_stores

pytestmark = on_both_stores


@pytest.fixture
def three(ledger):
    """Three entries, of two subjects."""
    return [
        ledger.append(
            "note", subject, fingerprint=str(number), body={"number": number, "text": "größer ≥ 😀"}
        )
        for number, subject in enumerate(["a", "b", "a"], start=1)
    ]


def test_an_entry_is_canonical_json_with_the_fields_of_format_1(ledger):
    """The bytes are exactly those that format 1 prescribes; the parsed fields come from them."""
    entry = ledger.append("note", "line", fingerprint="f", body={"z": 1.0, "a": [True, None, 1e-7, "ü"]})
    assert entry.raw.decode() == (
        '{"body":{"a":[true,null,1e-7,"ü"],"z":1},"fingerprint":"f","kind":"note","previous_hash":"'
        + GENESIS
        + '","principal":"ada","schema_version":1,"seq":1,"subject":"line","time":"2026-11-22T12:00:00.000000Z"}'
    )
    assert (entry.seq, entry.previous_hash, entry.principal) == (1, GENESIS, "ada")
    assert entry.time == datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_each_entry_names_the_hash_of_the_one_before(three):
    """The entries form a chain."""
    assert [entry.previous_hash for entry in three[1:]] == [entry.hash for entry in three[:-1]]


def test_what_was_appended_is_read_back(ledger, three):
    """Entries are found by kind, by subject and by hash; the latest is the newest."""
    assert list(ledger.entries()) == three
    assert list(ledger.entries(kind="note", subject="a")) == [three[0], three[2]]
    assert list(ledger.entries(subject="b")) == [three[1]]
    assert list(ledger.entries(kind="verdict")) == []
    assert ledger.latest("note", "a") == three[2]
    assert ledger.latest("note", "c") is None
    assert ledger.get(three[1].hash) == three[1]
    assert ledger.get("0" * 64) is None


def test_a_second_ledger_object_sees_the_same_chain(ledger, three, location):
    """Opening an existing ledger changes nothing in it, and another principal continues its chain."""
    other = Ledger.open(location, principal="grace")
    assert list(other.entries()) == three
    assert other.append("note", "a", fingerprint="4", body={}).previous_hash == three[-1].hash
    assert ledger.verify().ok


def test_the_same_key_and_body_is_appended_once(ledger, clock, three):
    """A retry returns the entry that is there, however much later it comes."""
    clock.advance(days=1)
    again = ledger.append("note", "a", fingerprint="1", body={"number": 1.0, "text": three[0].body["text"]})
    assert again == three[0]
    assert ledger.head().count == 3


@pytest.mark.parametrize("number", [2, True, "1"])
def test_the_same_key_with_another_body_is_a_contradiction(ledger, three, number):
    """One key says one thing once: the error names the entry that said otherwise."""
    with pytest.raises(LedgerConflictError, match="entry 1 has the same fingerprint 1"):
        ledger.append("note", "a", fingerprint="1", body={"number": number, "text": three[0].body["text"]})
    assert list(ledger.entries()) == three


@pytest.mark.parametrize(
    ("body", "culprit"),
    [
        ({"metrics": {"auc": math.nan}}, "entry.body.metrics.auc"),
        ({"metrics": [0.5, math.inf]}, "entry.body.metrics[1]"),
        ({"rows": 2**53}, "entry.body.rows"),
        ({"time": datetime(2026, 1, 1, tzinfo=UTC)}, "entry.body.time"),
        ({"texts": ("fine", "\ud800")}, "entry.body.texts[1]"),
        ({"by_id": {1: "key is no text"}}, "entry.body.by_id"),
    ],
)
def test_what_json_cannot_hold_exactly_is_refused_with_its_path(ledger, body, culprit):
    """NaN, infinity, big integers, foreign types and broken text never reach the ledger."""
    with pytest.raises(LedgerError) as refusal:
        ledger.append("note", "line", fingerprint="f", body=body)
    assert str(refusal.value).startswith(f"{culprit} cannot be recorded: ")
    assert ledger.verify().entries == 0


@pytest.mark.parametrize("empty", ["kind", "subject", "fingerprint"])
def test_an_empty_name_is_refused(ledger, empty):
    """An entry without kind, subject or key could not be found again."""
    names = {"kind": "k", "subject": "s", "fingerprint": "f"} | {empty: ""}
    with pytest.raises(LedgerError, match=f"{empty} of a ledger entry must not be empty"):
        ledger.append(names["kind"], names["subject"], fingerprint=names["fingerprint"], body={})


def test_a_clock_without_time_zone_is_refused(location):
    """A local time would be recorded as something else."""
    ledger = Ledger.open(location, principal="ada", clock=lambda: datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(LedgerError, match="no time zone"):
        ledger.append("note", "line", fingerprint="f", body={})


# --- Damage -----------------------------------------------------------------------------------------


def test_a_whole_chain_verifies_and_says_that_it_is_unsigned(ledger, three):
    """The report counts the entries, names the head, and claims no more than it can."""
    report = ledger.verify()
    assert (report.ok, report.entries, report.head_hash, report.ahead_of_head) == (True, 3, three[-1].hash, 0)
    assert (report.first_bad_seq, report.problem, report.signed) == (None, None, False)
    assert "rewrites the whole chain" in report.note


def test_an_empty_ledger_verifies(ledger):
    """Nothing recorded is nothing broken."""
    assert (ledger.verify().ok, ledger.verify().entries, ledger.verify().head_hash) == (True, 0, GENESIS)


DAMAGES = {
    "deleted": ["DELETE FROM entries WHERE seq = 2"],
    "reordered": [
        "UPDATE entries SET seq = -2 WHERE seq = 2",
        "UPDATE entries SET seq = 2 WHERE seq = 3",
        "UPDATE entries SET seq = 3 WHERE seq = -2",
    ],
    "hash": ["UPDATE entries SET hash = 'h' WHERE seq = 2"],
    "kind": ["UPDATE entries SET kind = 'k' WHERE seq = 2"],
    "subject": ["UPDATE entries SET subject = 's' WHERE seq = 2"],
    "fingerprint": ["UPDATE entries SET fingerprint = 'f' WHERE seq = 2"],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_verify_finds_the_damaged_entry(ledger, three, tamper, damage):
    """The report says where the chain breaks; the replay that gates read raises."""
    for statement in DAMAGES[damage]:
        tamper.execute(statement)
    assert_broken_at_entry_2(ledger, three)


@pytest.mark.parametrize(
    "alter", [lambda raw: raw.replace(b'"number":2', b'"number":9'), lambda raw: b"{", lambda raw: raw + b" "]
)
def test_verify_finds_the_altered_entry(ledger, three, tamper, alter):
    """So it does when the bytes themselves were changed."""
    tamper.execute("UPDATE entries SET raw = ? WHERE seq = 2", (alter(three[1].raw),))
    assert_broken_at_entry_2(ledger, three)


def assert_broken_at_entry_2(ledger, three):
    """Every way to read the whole chain stops before entry 2, and says so."""
    report = ledger.verify()
    assert (report.ok, report.first_bad_seq, report.entries, report.head_hash) == (False, 2, 1, three[0].hash)
    assert "entry 2" in report.problem
    with pytest.raises(LedgerError, match="entry 2"):
        list(ledger.replay())


def test_a_consistently_forged_entry_breaks_the_chain(ledger, three, tamper):
    """Adjusting the derived columns of an altered entry does not help: the next entry knows its hash."""
    forged = Entry.parse(three[1].raw.replace(b'"number":2', b'"number":9'))
    tamper.execute("UPDATE entries SET raw = ?, hash = ? WHERE seq = 2", (forged.raw, forged.hash))
    report = ledger.verify()
    assert (report.ok, report.first_bad_seq) == (False, 3)
    assert report.problem == "entry 3 does not continue the entry before it"


def test_a_forged_last_entry_differs_from_the_head(ledger, three, tamper):
    """Nothing follows the last entry, but the head knows its hash."""
    forged = Entry.parse(three[2].raw.replace(b'"number":3', b'"number":9'))
    tamper.execute("UPDATE entries SET raw = ?, hash = ? WHERE seq = 3", (forged.raw, forged.hash))
    assert ledger.verify().problem == "entry 3 is not the one that the head recorded"
    with pytest.raises(LedgerError, match="not the head that was recorded"):
        ledger.append("note", "a", fingerprint="4", body={})


def test_a_cut_tail_falls_short_of_the_head(ledger, three, tamper):
    """Removing the newest entries leaves a sound but too short chain, and nothing is built upon it."""
    tamper.execute("DELETE FROM entries WHERE seq = 3")
    report = ledger.verify()
    assert (report.ok, report.first_bad_seq) == (False, 3)
    assert report.problem == "the chain ends at entry 2, its head was at entry 3"
    with pytest.raises(LedgerError, match="damaged ledger"):
        ledger.append("note", "a", fingerprint="3", body={})


@pytest.mark.parametrize(
    "statement", ["DELETE FROM head", "INSERT INTO head VALUES (0, 'h')", "DROP TABLE head"]
)
def test_without_its_head_a_ledger_cannot_be_verified(ledger, three, tamper, statement):
    """A missing or doubled head is damage, not freedom from checks."""
    tamper.execute(statement)
    with pytest.raises(LedgerError, match="head"):
        ledger.verify()


def test_an_altered_entry_is_never_read(ledger, three, tamper):
    """Every way of reading re-hashes what it reads."""
    forged = three[2].raw.replace(b'"number":3', b'"number":9')
    tamper.execute("UPDATE entries SET raw = ? WHERE seq = 3", (forged,))
    for read in (
        lambda: ledger.latest("note", "a"),
        lambda: ledger.get(three[2].hash),
        lambda: list(ledger.entries(subject="a")),
        lambda: ledger.append("note", "a", fingerprint="3", body=three[2].body),
    ):
        with pytest.raises(LedgerError, match="entry 3 was altered"):
            read()


def test_a_head_that_lags_is_reported_and_raised_by_the_next_append(ledger, three, tamper):
    """A process killed between its entry and the head leaves a sound chain that has outrun its head."""
    tamper.execute("UPDATE head SET count = 1, hash = ?", (three[0].hash,))
    report = ledger.verify()
    assert (report.ok, report.ahead_of_head) == (True, 2)
    ledger.append("note", "a", fingerprint="4", body={})
    assert (ledger.verify().ahead_of_head, ledger.head().count) == (0, 4)


@pytest.mark.parametrize("bad_seq", [1, 4, 5, 10])
def test_processes_that_share_the_work_find_the_same(ledger, tamper, monkeypatch, bad_seq):
    """Stretches of a chain that were verified apart must join; the first damage is named."""
    monkeypatch.setattr(verification, "_ENTRIES_WORTH_A_PROCESS", 3)
    entries = [ledger.append("note", "line", fingerprint=str(number), body={}) for number in range(10)]
    assert ledger.verify(processes=3) == ledger.verify()
    assert ledger.verify(processes=3).entries == 10
    forged = entries[bad_seq - 1].raw.replace(b'"principal":"ada"', b'"principal":"eve"')
    tamper.execute("UPDATE entries SET raw = ? WHERE seq = ?", (forged, bad_seq))
    assert ledger.verify(processes=3) == ledger.verify()
    assert ledger.verify(processes=3).first_bad_seq == bad_seq
    forged = Entry.parse(forged)
    tamper.execute("UPDATE entries SET hash = ? WHERE seq = ?", (forged.hash, bad_seq))
    assert ledger.verify(processes=3) == ledger.verify()
    assert ledger.verify(processes=3).first_bad_seq == min(bad_seq + 1, 10)
    tamper.execute("DELETE FROM entries WHERE seq = ?", (bad_seq,))
    assert ledger.verify(processes=3) == ledger.verify()
    assert ledger.verify(processes=3).first_bad_seq == bad_seq


def test_a_chain_must_reach_the_head_that_was_kept_elsewhere_too(ledger, three):
    """Besides the recorded head; entries after it are fine, another chain is not."""
    kept = seal(Head(2, three[1].hash), time=NOON)
    assert ledger.verify(kept).ok
    for head in (Head(2, three[0].hash), Head(3, three[1].hash), Head(4, three[2].hash), Head(0, "f" * 64)):
        report = ledger.verify(seal(head, time=NOON))
        assert not report.ok
        assert "head" in report.problem


def test_a_rewritten_chain_is_only_noticed_against_a_head_kept_elsewhere(ledger, three, tmp_path):
    """What unsigned mode cannot see, as its note says, and what can."""
    kept = ledger.export(io.BytesIO())
    rewritten = Ledger.open(tmp_path / "rewritten.db", principal="mallory")
    for entry in three:
        rewritten.append(entry.kind, entry.subject, fingerprint=entry.fingerprint, body={})
    assert rewritten.verify().ok
    rewritten.export(copy := io.BytesIO())
    assert not verify_export(copy.getvalue().splitlines(keepends=True), kept).ok


# --- Export -----------------------------------------------------------------------------------------


def exported(ledger):
    """The head and the bytes of an export."""
    stream = io.BytesIO()
    return ledger.export(stream), stream.getvalue()


def test_an_export_is_the_verbatim_entries_one_a_line(ledger, three):
    """The export can be read by any JSON tool and verified without the database."""
    head, lines = exported(ledger)
    assert lines == b"".join(entry.raw + b"\n" for entry in three)
    assert head == Head(3, three[-1].hash)
    assert [json.loads(line)["seq"] for line in lines.splitlines()] == [1, 2, 3]
    report = verify_export(io.BytesIO(lines), head)
    assert (report.ok, report.entries, report.head_hash, report.ahead_of_head) == (True, 3, head.hash, 0)


def test_an_export_may_have_grown_since_its_head_was_kept(ledger, three):
    """An older head still anchors the entries up to it."""
    _, lines = exported(ledger)
    report = verify_export(io.BytesIO(lines), Head(2, three[1].hash))
    assert (report.ok, report.ahead_of_head) == (True, 1)


def test_a_missing_tail_needs_a_head_to_be_seen(ledger, three):
    """Without a head nobody knows whether an export is complete: it is not ok, and says why."""
    head, lines = exported(ledger)
    whole = lines.splitlines(keepends=True)
    for part in (whole, whole[:-1], []):
        report = verify_export(part)
        assert (report.ok, report.complete, report.entries) == (False, None, len(part))
        assert "completeness unknown" in report.problem
    report = verify_export(whole[:-1], head)
    assert (report.ok, report.complete, report.first_bad_seq) == (False, False, 3)
    assert (verify_export(whole, head).ok, verify_export(whole, head).complete) == (True, True)


# --- Threads ----------------------------------------------------------------------------------------


def test_many_that_open_a_ledger_at_once_find_the_same(location):
    """Whoever comes first creates it; nobody fails, and nobody's entry is lost."""
    ready = threading.Barrier(12)

    def open_and_append(number):
        ready.wait()
        return Ledger.open(location, principal="ada").append("note", "line", fingerprint=str(number), body={})

    with ThreadPoolExecutor(12) as pool:
        appended = list(pool.map(open_and_append, range(12)))
    assert sorted(entry.seq for entry in appended) == list(range(1, 13))
    assert Ledger.open(location, principal="ada").verify().entries == 12


def test_threads_share_one_ledger(ledger):
    """Appends from many threads queue up into one chain."""
    with ThreadPoolExecutor(8) as pool:
        appended = list(
            pool.map(
                lambda number: ledger.append("note", "line", fingerprint=str(number), body={}), range(80)
            )
        )
    assert sorted(entry.seq for entry in appended) == list(range(1, 81))
    assert ledger.verify().ok


def test_one_key_appended_by_many_threads_is_one_entry(ledger):
    """Whoever comes second gets the entry of whoever came first."""
    with ThreadPoolExecutor(8) as pool:
        appended = list(
            pool.map(lambda _: ledger.append("note", "line", fingerprint="f", body={}), range(16))
        )
    assert {entry.hash for entry in appended} == {ledger.latest("note", "line").hash}
    assert ledger.verify().entries == 1


def test_nobody_appends_while_somebody_decides(ledger):
    """What was read in an exclusive block is still the newest when its entry lands."""
    about_to_append = threading.Event()

    def interfere():
        about_to_append.set()
        return ledger.append("note", "line", fingerprint="other", body={})

    with ThreadPoolExecutor(1) as pool:
        with ledger.exclusive() as writer:
            other = pool.submit(interfere)
            about_to_append.wait()
            assert ledger.latest("note", "line") is None
            mine = writer.append("note", "line", fingerprint="mine", body={})
        assert (mine.seq, other.result().seq) == (1, 2)


def test_an_exclusive_block_that_raises_appends_nothing(ledger):
    """All or nothing."""

    def append_and_fail():
        with ledger.exclusive() as writer:
            writer.append("note", "line", fingerprint="1", body={})
            writer.append("note", "line", fingerprint="2", body={})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        append_and_fail()
    assert (ledger.verify().ok, ledger.verify().entries) == (True, 0)


def test_an_exclusive_block_may_append_several_entries(ledger):
    """They commit together, in order."""
    with ledger.exclusive() as writer:
        one = writer.append("note", "line", fingerprint="1", body={})
        assert writer.append("note", "line", fingerprint="1", body={}) == one
        writer.append("note", "line", fingerprint="2", body={})
    assert (ledger.verify().ok, ledger.verify().entries, ledger.head().count) == (True, 2, 2)
