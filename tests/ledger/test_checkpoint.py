"""Checkpoints: what they spare, when they count, and that nothing they hold is believed unseen."""

import itertools
import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from platform_assets.ledger import checkpoint, memory, store
from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.follower import Follower
from platform_assets.ledger.keys import Key
from platform_assets.ledger.ledger import Entry, Ledger
from tests.ledger.conftest import on_both_stores

pytestmark = on_both_stores
STEP = 8


@pytest.fixture(autouse=True)
def short_steps(monkeypatch):
    """Checkpoints follow one another as they would in a ledger a hundred times as long."""
    monkeypatch.setattr(checkpoint, "STEP", STEP)
    monkeypatch.setattr(checkpoint, "_MOST_IN_PASSING", 4 * STEP)


@pytest.fixture
def entries_read(monkeypatch):
    """Counts the entries that are read from now on."""
    count = [0]

    def counted(row):
        count[0] += 1
        return entry_of(row)

    entry_of = store.entry_of
    for module in ("checkpoint", "verification", "ledger"):
        monkeypatch.setattr(f"platform_assets.ledger.{module}.entry_of", counted)
    return count


def fill(ledger, count, *, kind="note", start=0):
    """Appends entries on as many subjects, one by one."""
    for number in range(start, start + count):
        ledger.append(kind, f"s{number}", fingerprint="1", body={"rule_set": f"r{number}"})


def checkpoints(ledger):
    """Numbers of the checkpoint entries."""
    return [entry.seq for entry in ledger.entries(kind=checkpoint.KIND)]


def question(number):
    """What `fill` has answered."""
    return Key("note", f"s{number}", "rule_set", f"r{number}")


def test_what_is_asked_costs_what_is_new(ledger, entries_read):
    """However long the chain, an answer reads what it needs and the entries since the last checkpoint."""
    fill(ledger, 20 * STEP)
    entries_read[0] = 0
    found = ledger.established({question(3), question(150), question(9999)})
    assert {key: entry.subject for key, entry in found.items()} == {question(3): "s3", question(150): "s150"}
    assert entries_read[0] <= STEP + 10
    assert ledger.verify().checkpoint == checkpoints(ledger)[-1]


def test_a_short_chain_is_read_whole(ledger):
    """Nothing is added to a ledger that is read in a moment."""
    fill(ledger, STEP - 1)
    assert ledger.renew_checkpoint() is None
    assert ledger.established({question(3)})[question(3)].subject == "s3"
    assert checkpoints(ledger) == []


def test_checkpoints_come_by_themselves_every_step(ledger):
    """Whoever appends the entry that makes a step full appends the checkpoint as well."""
    fill(ledger, 5 * STEP)
    found = checkpoints(ledger)
    assert len(found) >= 4
    assert all(later - earlier <= 2 * STEP for earlier, later in itertools.pairwise(found))
    assert ledger.verify().ok


def test_a_ledger_that_was_filled_at_once_gets_its_checkpoint_by_a_reading(ledger):
    """So does one of an older program: nobody who appends is made to wait for it."""
    with ledger.exclusive() as writer:
        for number in range(10 * STEP):
            writer.append("note", f"s{number}", fingerprint="1", body={"rule_set": f"r{number}"})
    assert checkpoints(ledger) == []
    assert ledger.renew_checkpoint(only_if_needed=True).seq == 10 * STEP + 1
    assert ledger.renew_checkpoint(only_if_needed=True) is None
    assert ledger.established({question(3)})[question(3)].subject == "s3"


def test_a_checkpoint_that_much_came_after_is_replaced(ledger, entries_read):
    """Who appends very much at once leaves it far behind; the next activation or night reads all of it."""
    fill(ledger, 2 * STEP)
    before = checkpoints(ledger)
    with ledger.exclusive() as writer:
        for number in range(100, 100 + 6 * STEP):
            writer.append("note", f"s{number}", fingerprint="1", body={"rule_set": f"r{number}"})
    assert checkpoints(ledger) == before
    assert ledger.renew_checkpoint(only_if_needed=True).seq == checkpoints(ledger)[-1]
    entries_read[0] = 0
    found = ledger.established({question(3), question(101)})
    assert {key.subject for key in found} == {"s3", "s101"}
    assert entries_read[0] <= 8
    assert ledger.verify().ok


def test_a_checkpoint_counts_for_a_day(ledger, clock, entries_read):
    """Then the chain is read whole again, and by the nightly reading before that."""
    fill(ledger, 4 * STEP)
    clock.advance(hours=24)
    fill(ledger, STEP, start=4 * STEP)  # goes on from it, and makes it no younger
    clock.advance(hours=2)
    entries_read[0] = 0
    assert question(3) in ledger.established({question(3)})
    assert entries_read[0] >= 4 * STEP
    ledger.renew_checkpoint()
    entries_read[0] = 0
    assert question(3) in ledger.established({question(3)})
    assert entries_read[0] <= STEP + 5


def test_the_newest_entry_counts_and_the_first_that_names_a_version(ledger):
    """Before a checkpoint, after it, and across it."""
    versions = [{"table": "t", "content_hash": "c", "snapshot_id": "s"}]
    newest, first = Key("note", "a", "rule_set", "r"), Key("erasure", "t", "content_hash", "c")
    for number in range(3 * STEP):
        ledger.append("note", "a", fingerprint=str(number), body={"rule_set": "r"})
        ledger.append("erasure", "b", fingerprint=str(number), body={"versions": versions})
        found = ledger.established({newest, first, Key("note", "a"), Key("note", "b")})
        assert (found[newest].fingerprint, found[first].fingerprint) == (str(number), "0")
        assert found[Key("note", "a")] == found[newest]
        assert Key("note", "b") not in found


def test_damage_that_verify_has_found_is_refused_from_then_on(ledger, tamper):
    """Also where no decision looks at it: the checkpoint counts no more, and none is made of a damaged chain."""
    fill(ledger, 4 * STEP)
    tamper.execute("DELETE FROM entries WHERE seq = 2")
    assert question(9) in ledger.established({question(9)})  # not looked at yet
    report = ledger.verify()
    assert (report.ok, report.first_bad_seq) == (False, 2)
    for _ in range(2):
        with pytest.raises(LedgerError, match="entry 2 is missing"):
            ledger.established({question(9)})
        with pytest.raises(LedgerError, match="entry 2 is missing"):
            ledger.renew_checkpoint()
        fill(ledger, STEP, start=100)
        fill(ledger, STEP, start=200)


def kept_nodes(ledger):
    """The memory as it lies in the database."""
    with ledger._store.session() as session:
        return dict(session.all_nodes())


def put_nodes(ledger, nodes):
    """Puts another memory in its place."""
    with ledger._store.session(exclusive=True) as session:
        session.clear_nodes()
        session.put_nodes(nodes.items())


def without_a_record(ledger, key):
    """The memory as somebody makes it who takes a key out, and every hash above it right."""
    changes: memory.Changes = {}
    for entry in ledger.entries(until=checkpoints(ledger)[-1] - 1):
        memory.note(changes, entry)
    changes.pop(key.digest())
    return memory.changed(lambda _: {}, None, changes)[1]


@pytest.mark.parametrize("edit", ["older", "a leaf forgets", "all forgets", "empty"])
def test_a_memory_that_was_edited_is_not_believed(ledger, edit):
    """Neither that of an earlier checkpoint nor one that has forgotten something: the whole chain is read."""
    objection = Key("verdict", "model", "rule_set", "erasure")
    fill(ledger, 2 * STEP)
    older = kept_nodes(ledger)
    ledger.append("verdict", "model", fingerprint="1", body={"rule_set": "erasure"})
    fill(ledger, 2 * STEP, start=100)
    nodes = kept_nodes(ledger)
    assert older != nodes
    if edit == "a leaf forgets":
        digest = objection.digest()
        number = digest[0] * 256 + digest[1]
        nodes[number] = b"".join(
            nodes[number][at : at + 40]
            for at in range(0, len(nodes[number]), 40)
            if nodes[number][at : at + 16] != digest
        )
    forgetful = {"older": older, "a leaf forgets": nodes, "empty": {}}
    put_nodes(ledger, forgetful[edit] if edit in forgetful else without_a_record(ledger, objection))
    assert ledger.established({objection})[objection].kind == "verdict"
    ledger.renew_checkpoint()
    assert ledger.established({objection})[objection].kind == "verdict"
    assert ledger.verify().ok


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM entries WHERE seq = 3",
        "UPDATE entries SET subject = 'elsewhere' WHERE seq = 3",
        "UPDATE entries SET raw = (SELECT raw FROM entries WHERE seq = 4) WHERE seq = 3",
        "DELETE FROM entries WHERE seq > 30",
        "UPDATE head SET hash = 'f'",
        "UPDATE entries SET kind = 'note' WHERE kind = 'checkpoint'",
    ],
)
def test_what_a_decision_looks_at_is_refused_at_once(ledger, tamper, statement):
    """Removed, hidden from the indices, replaced; the chain cut, its head or its checkpoints altered."""
    fill(ledger, 4 * STEP)
    assert checkpoints(ledger)
    tamper.execute(statement)
    with pytest.raises(LedgerError) as refusal:
        ledger.established({question(2)})
    with pytest.raises(LedgerError) as replayed:
        list(ledger.replay())
    assert str(refusal.value) == str(replayed.value)


def test_an_entry_that_was_replaced_consistently_is_refused_at_once(ledger, tamper):
    """Its own hash is right and its columns are; the memory knows the hash of the one that stood there."""
    fill(ledger, 4 * STEP)
    entry = ledger.at(3)
    raw = entry.raw.replace(b'"principal":"ada"', b'"principal":"eve"')
    tamper.execute("UPDATE entries SET raw = ?, hash = ? WHERE seq = 3", (raw, Entry.parse(raw).hash))
    with pytest.raises(LedgerError, match="entry 4 does not continue"):
        ledger.established({question(2)})


def test_a_false_checkpoint_is_found_and_replaced(ledger, tamper):
    """One whose memory is not what the entries say, in a chain that is sound: whoever appends may lie."""
    fill(ledger, 2 * STEP)
    ledger.renew_checkpoint()
    changes: memory.Changes = {}
    for entry in ledger.entries():
        if entry.subject != "s3":
            memory.note(changes, entry)
    root, nodes = memory.changed(lambda _: {}, None, changes)
    body = {"format": memory.FORMAT, "root": root, "read_whole_at": "2026-11-22T12:00:00.000000Z"}
    lie = ledger.append(checkpoint.KIND, checkpoint.SUBJECT, fingerprint="lie", body=body)
    with ledger._store.session(exclusive=True) as session:
        session.clear_nodes()
        session.put_nodes(nodes.items())
    report = ledger.verify()
    assert (report.ok, report.first_bad_seq, report.complete) == (False, lie.seq, True)
    assert "the checkpoint does not hold" in report.problem
    assert ledger.established({question(3)})[question(3)].subject == "s3"
    assert ledger.renew_checkpoint().seq > lie.seq
    assert ledger.verify().ok
    assert ledger.established({question(3)})[question(3)].subject == "s3"


def test_processes_that_share_the_work_verify_the_checkpoint_too(ledger, monkeypatch):
    """What each has noted adds up to what one alone would have noted."""
    monkeypatch.setattr("platform_assets.ledger.verification._ENTRIES_WORTH_A_PROCESS", 10)
    fill(ledger, 6 * STEP)
    assert ledger.verify(processes=3) == ledger.verify()
    assert ledger.verify(processes=3).checkpoint == checkpoints(ledger)[-1]


def test_a_ledger_of_an_older_program_is_added_to_when_it_is_opened(ledger, location, tamper):
    """By however many processes at once; its entries stay as they are, and a lagging head where it was."""
    fill(ledger, 3)
    tamper.execute("DROP TABLE checkpoint_nodes")
    tamper.execute("DROP INDEX entries_of_kind")
    tamper.execute("UPDATE head SET count = 1, hash = ?", (next(ledger.entries()).hash,))
    before = list(ledger.entries())
    with ThreadPoolExecutor(6) as pool:
        opened = list(pool.map(lambda _: Ledger.open(location, principal="ada"), range(6)))
    assert [list(each.entries()) for each in opened] == [before] * 6
    assert opened[0].verify().ahead_of_head == 2
    fill(opened[0], 3 * STEP, start=3)
    assert checkpoints(ledger)


def test_without_what_is_new_a_ledger_works_as_before(ledger, tamper):
    """Where nobody may add to the database, decisions read the whole chain."""
    tamper.execute("DROP TABLE checkpoint_nodes")
    fill(ledger, 3 * STEP)
    assert checkpoints(ledger) == []
    assert ledger.established({question(3)})[question(3)].subject == "s3"
    assert ledger.verify().ok


def test_those_who_ask_and_those_who_append_do_not_disturb_one_another(ledger):
    """Threads append, renew and ask at once: each answer is that of some moment, and the chain is whole."""
    fill(ledger, 2 * STEP)
    done = threading.Event()

    def ask():
        seen = 0
        while not done.is_set():
            newest = ledger.established({Key("count", "c")}).get(Key("count", "c"))
            number = newest.body["number"] if newest else 0
            assert number >= seen
            seen = number
        return seen

    def renew():
        while not done.is_set():
            ledger.renew_checkpoint()

    with ThreadPoolExecutor(3) as pool:
        asking, renewing = [pool.submit(ask)], pool.submit(renew)
        for number in range(4 * STEP):
            ledger.append("count", "c", fingerprint=str(number), body={"number": number})
        done.set()
        assert all(each.result() < 4 * STEP for each in asking)
        renewing.result()
    report = ledger.verify()
    assert (report.ok, report.checkpoint) == (True, checkpoints(ledger)[-1])
    assert ledger.established({Key("count", "c")})[Key("count", "c")].body["number"] == 4 * STEP - 1


CRASH_POINTS = ("clear_nodes", "put_nodes", "half of put_nodes", "insert", "commit")


def die_at(point, ledger):
    """Replaces what a session does by death in the middle of it."""
    with ledger._store.session() as session:
        kind = type(session)
    name = point.rpartition(" ")[2]
    if name == "commit":
        true_insert = kind.insert

        def insert(self, row):
            true_insert(self, row)
            if row[2] == checkpoint.KIND:  # all is written, and nothing committed
                os._exit(9)

        kind.insert = insert
        return
    true = getattr(kind, name)

    def die(self, *arguments):
        if name == "insert" and arguments[0][2] != checkpoint.KIND:
            return true(self, *arguments)
        if point.startswith("half"):
            nodes = list(arguments[0])
            true(self, nodes[: len(nodes) // 2])
        os._exit(9)

    setattr(kind, name, die)


@pytest.mark.parametrize("point", CRASH_POINTS)
@pytest.mark.parametrize("way", ["appending", "renewing"])
def test_a_writer_that_is_killed_leaves_the_checkpoint_before_or_none(ledger, location, point, way):
    """At whatever point it dies: what was asked before has the same answer, and the next writer goes on."""
    # Nothing is kept yet where it dies while clearing: that happens at the first checkpoint alone.
    fill(ledger, STEP - 1 if point == "clear_nodes" else 3 * STEP)
    before = len(checkpoints(ledger))

    def child():
        mine = Ledger.open(location, principal="eve", clock=ledger._clock)
        die_at(point, mine)
        if way == "appending":
            fill(mine, 3 * STEP, start=1000)
        else:
            with suppress(LedgerError), mine._store.session() as session:
                session.clear_nodes() if point != "clear_nodes" else None
            fill(mine, 1, start=1000)
            mine.renew_checkpoint()
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 9
    assert len(checkpoints(ledger)) == before
    report = ledger.verify()
    assert report.ok or report.first_bad_seq is None, report.problem
    assert ledger.established({question(3)})[question(3)].subject == "s3"
    fill(ledger, 3 * STEP, start=2000)
    ledger.renew_checkpoint()
    assert len(checkpoints(ledger)) > before
    assert ledger.verify().ok
    assert ledger.established({question(1000), question(2000), question(3)}).keys() >= {
        question(2000),
        question(3),
    }


# --- Readers -------------------------------------------------------------------------------------------


def test_readers_take_what_they_ask_for_and_no_more(ledger, entries_read):
    """By number, by key, from a number on, newest first."""
    fill(ledger, 3)
    fill(ledger, 30, kind="other", start=3)
    fill(ledger, 2, start=50)
    entries_read[0] = 0
    assert [entry.subject for entry in ledger.entries(kind="note")] == ["s0", "s1", "s2", "s50", "s51"]
    assert [entry.subject for entry in ledger.entries(kind="note", after=2)] == ["s2", "s50", "s51"]
    assert [entry.subject for entry in ledger.entries(kind="note", after=1, until=3)] == ["s1", "s2"]
    assert next(ledger.entries(kind="note", newest_first=True)).subject == "s51"
    assert ledger.find("other", "s4", "1").subject == "s4"
    assert ledger.find("other", "s4", "2") is None
    assert ledger.at(2).subject == "s1"
    assert (ledger.at(0), ledger.at(99)) == (None, None)
    assert ledger.tail() == ledger.head()
    assert entries_read[0] <= 16


def test_a_follower_reads_only_what_is_new(ledger, entries_read):
    """What the entries of its kinds add up to, in the order of the chain."""
    follower = Follower(("note", "other"), list, lambda found, entry: found.append(entry.seq))
    fill(ledger, 20)
    fill(ledger, 20, kind="other", start=20)
    relevant = [entry.seq for entry in ledger.entries() if entry.kind != checkpoint.KIND]
    assert follower.look(ledger) == relevant
    ledger.append("note", "new", fingerprint="1", body={})
    entries_read[0] = 0
    assert follower.look(ledger) == [*relevant, ledger.latest("note", "new").seq]
    assert follower.look(ledger)[-1] == ledger.latest("note", "new").seq
    assert entries_read[0] <= 8


def test_a_follower_of_a_ledger_that_was_replaced_begins_anew(ledger, tmp_path):
    """Of a restored copy, or of another ledger, nothing is known."""
    follower = Follower(["note"], list, lambda found, entry: found.append(entry.subject))
    fill(ledger, 5)
    assert len(follower.look(ledger)) == 5
    other = Ledger.open(tmp_path / "other.db", principal="grace")
    fill(other, 6, start=100)
    assert follower.look(other) == [f"s{number}" for number in range(100, 106)]
