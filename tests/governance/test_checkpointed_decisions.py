"""A decision by a checkpoint is the decision by a replay of the whole chain, whatever was done to the ledger."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from platform_assets.governance import release as releases
from platform_assets.governance.release import ACTIVATION, ERASURE, RELEASE, RETENTION, UNPIN, Release
from platform_assets.governance.verdict import (
    OBJECTIONS,
    Requirement,
    ResolvedRequirement,
    Verdict,
    record,
    unmet,
)
from platform_assets.ledger import checkpoint, memory
from platform_assets.ledger.entry import Entry
from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.ledger import Ledger
from platform_assets.references import (
    CardVersion,
    DatasetVersion,
    FeaturesVersion,
    ModelVersion,
    RegisteredVersion,
    ReportVersion,
    TableSnapshot,
)
from resources.errors import PlatformError
from tests.governance.conftest import example
from tests.ledger.conftest import Clock, Tamperer

LINE, STEP, MODELS = "reviews", 8, 3
RULE_SETS = ("gate.auc", "gate.ece")


@pytest.fixture(autouse=True)
def short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints follow one another as they would in a ledger a hundred times as long."""
    monkeypatch.setattr(checkpoint, "STEP", STEP)
    monkeypatch.setattr(checkpoint, "_MOST_IN_PASSING", 4 * STEP)


class Replaying(Ledger):
    """Trusts no checkpoint: what every decision did before there were any."""

    def established(self, keys: Any) -> dict[Any, Entry]:  # noqa: D102
        found: dict[Any, Entry] = {}
        for entry in self.replay():
            checkpoint.note_answers(found, entry, keys)
        return found

    def renew_checkpoint(self, *, only_if_needed: bool = False) -> None:  # noqa: D102
        return None


# --- Histories ----------------------------------------------------------------------------------------


def subject_of(model: int) -> str:
    """Of the verdicts on a model."""
    return f"{LINE}_model@{model}"


def snapshots_of(model: int) -> list[TableSnapshot]:
    """Two models share their dataset."""
    return [
        TableSnapshot(table="dataset", snapshot_id=f"s{model // 2}", content_hash=f"c{model // 2}", rows=1),
        TableSnapshot(table="features", snapshot_id=f"s{model}", content_hash=f"c{model}", rows=1),
    ]


def release_of(model: int, verdict: Entry) -> Release:
    """A release of a model."""
    dataset, features = snapshots_of(model)
    made_of = example(
        FeaturesVersion, snapshot=features, dataset=example(DatasetVersion, line=LINE, snapshot=dataset)
    )
    report = example(ReportVersion, model=example(ModelVersion, fingerprint=str(model), features=made_of))
    card = example(CardVersion, registered=example(RegisteredVersion, report=report))
    return Release(line=LINE, card=card, deployment={}, verdicts=(verdict.hash,))


def requirements_of(model: int) -> list[ResolvedRequirement]:
    """Both rule sets, under the rules of today."""
    return [
        ResolvedRequirement(Requirement(subject_kind="model", rule_set=each), subject_of(model), "rules")
        for each in RULE_SETS
    ]


@dataclass
class History:
    """A ledger that things happen to."""

    path: Path
    clock: Clock = field(default_factory=Clock)
    releases: list[Release] = field(default_factory=list)
    older_nodes: list[tuple[int, bytes]] = field(default_factory=list)
    number: int = 0

    def __post_init__(self) -> None:
        self.ledger = Ledger.open(self.path, principal="ada", clock=self.clock)
        for model in range(MODELS):
            for rule_set in RULE_SETS:
                verdict = self.judge(model, rule_set, "pass")
            self.releases.append(release_of(model, verdict))
            releases.record(self.ledger, self.releases[-1])

    def _next(self) -> str:
        self.number += 1
        return str(self.number)

    def judge(self, model: int, rule_set: str, outcome: Any) -> Entry:
        """A verdict on a model."""
        verdict = Verdict(
            subject=subject_of(model),
            rule_set=rule_set,
            rule_set_hash="rules",
            outcome=outcome,
            evidence={},
            producer={},
        )
        return record(self.ledger, verdict, evaluation_id=self._next())

    def activate(self, model: int, *, pin: bool) -> None:
        """Tries to."""
        with suppress(PlatformError):
            decide(self.ledger, self, model, pin=pin)

    def unpin(self) -> None:
        """Tries to."""
        with suppress(PlatformError):
            releases.unpin(self.ledger, LINE, by="ada", reason="done")

    def remove(self, kind: str, model: int) -> None:
        """Rows are taken out of what a model was made of."""
        dataset, features = snapshots_of(model)
        version = (features if model else dataset).model_dump()
        self.ledger.append(kind, self._next(), fingerprint="1", body={"versions": [version]})

    def notes(self, count: int) -> None:
        """Entries that no decision relies on, in one block."""
        with self.ledger.exclusive() as writer:
            for _ in range(count):
                writer.append("note", LINE, fingerprint=self._next(), body={"rule_set": "gate.auc"})

    def fail_to_append(self) -> None:
        """A writer that dies before it commits."""
        with suppress(ZeroDivisionError), self.ledger.exclusive() as writer:
            writer.append("note", LINE, fingerprint=self._next(), body={})
            raise ZeroDivisionError

    def renew(self) -> None:
        """The nightly reading."""
        self.ledger.renew_checkpoint()

    def keep_nodes(self) -> None:
        """Somebody takes a copy of the memory, to put it back later."""
        with closing(sqlite3.connect(self.path)) as connection:
            self.older_nodes = connection.execute("SELECT * FROM checkpoint_nodes").fetchall()


def decide(ledger: Ledger, history: History, model: int, *, pin: bool = False) -> Entry:
    """The activation of a model's release."""
    return releases.activate(
        ledger,
        LINE,
        history.releases[model].release_id,
        reason="routine",
        requirements=requirements_of(model),
        pin=pin,
        now=history.clock.time,
    )


models = st.integers(0, MODELS - 1)
events: st.SearchStrategy[Callable[[History], object]] = st.one_of(
    st.builds(
        lambda model, rule_set, outcome: lambda history: history.judge(model, rule_set, outcome),
        models,
        st.sampled_from([*RULE_SETS, *OBJECTIONS]),
        st.sampled_from(["pass", "fail"]),
    ),
    st.builds(lambda model, pin: lambda history: history.activate(model, pin=pin), models, st.booleans()),
    st.builds(
        lambda kind, model: lambda history: history.remove(kind, model),
        st.sampled_from([ERASURE, RETENTION]),
        models,
    ),
    st.builds(lambda count: lambda history: history.notes(count), st.integers(1, 2 * STEP)),
    st.sampled_from([History.unpin, History.fail_to_append, History.renew]),
)

# --- Tampering ----------------------------------------------------------------------------------------

Damage = Callable[[History, Tamperer, Sequence[Entry]], set[int]]
"""Does it, and returns the numbers of the entries concerned."""


def forged(entry: Entry, **changes: object) -> Entry:
    """Another entry in its place, consistent in itself."""
    from platform_assets.ledger.entry import canonical

    names = ("kind", "subject", "fingerprint", "principal", "seq", "previous_hash", "body")
    document = {name: getattr(entry, name) for name in names} | {
        "schema_version": 1,
        "time": entry.time.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    return Entry.parse(canonical(document | changes, "entry"))


def put(tamper: Tamperer, entry: Entry) -> set[int]:
    """An entry in the place of the one with its number."""
    tamper.execute("DELETE FROM entries WHERE seq = ?", (entry.seq,))
    with suppress(sqlite3.IntegrityError):  # it has the key of another one: the place stays empty
        tamper.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", entry[:6])
    return {entry.seq}


def picked(entries: Sequence[Entry], share: float) -> Entry:
    """One of them, by how far along it is."""
    return entries[min(int(share * len(entries)), len(entries) - 1)]


def delete(share: float) -> Damage:
    """An entry vanishes."""

    def damage(_history: History, tamper: Tamperer, entries: Sequence[Entry]) -> set[int]:
        gone = picked(entries, share)
        tamper.execute("DELETE FROM entries WHERE seq = ?", (gone.seq,))
        return {gone.seq}

    return damage


def truncate(share: float) -> Damage:
    """The chain is cut."""

    def damage(_history: History, tamper: Tamperer, entries: Sequence[Entry]) -> set[int]:
        first = picked(entries, share).seq
        tamper.execute("DELETE FROM entries WHERE seq >= ?", (first,))
        return {each.seq for each in entries if each.seq >= first}

    return damage


def alter_bytes(share: float) -> Damage:
    """The bytes change, and nothing else."""

    def damage(_history: History, tamper: Tamperer, entries: Sequence[Entry]) -> set[int]:
        entry = picked(entries, share)
        other = forged(entry, principal="eve")
        tamper.execute("UPDATE entries SET raw = ? WHERE seq = ?", (other.raw, entry.seq))
        return {entry.seq}

    return damage


def alter_column(share: float, column: str) -> Damage:
    """A derived column changes, so that indices no longer lead to the entry."""

    def damage(_history: History, tamper: Tamperer, entries: Sequence[Entry]) -> set[int]:
        entry = picked(entries, share)
        # Another one for each entry: the columns' indices allow no two alike.
        tamper.execute(f"UPDATE entries SET {column} = ? WHERE seq = ?", (f"{entry.seq:x>64}", entry.seq))
        return {entry.seq}

    return damage


def forge_verdict(share: float, model: int, outcome: str) -> Damage:
    """An entry becomes a verdict that was never given, consistent in itself."""

    def damage(_history: History, tamper: Tamperer, entries: Sequence[Entry]) -> set[int]:
        entry = picked(entries, share)
        subject, body = subject_of(model), None
        for each in entries:
            if each.kind == "verdict" and each.subject == subject and each.body["rule_set"] in RULE_SETS:
                body = each.body | {"outcome": outcome}
        return put(tamper, forged(entry, kind="verdict", subject=subject, body=body, fingerprint="forged"))

    return damage


def forge_pointer(share: float, model: int) -> Damage:
    """An entry becomes an activation that never was."""

    def damage(history: History, tamper: Tamperer, entries: Sequence[Entry]) -> set[int]:
        body = {
            "release_id": history.releases[model].release_id,
            "pinned": False,
            "reason": "forged",
            "previous": None,
        }
        return put(
            tamper,
            forged(picked(entries, share), kind=ACTIVATION, subject=LINE, body=body, fingerprint="forged"),
        )

    return damage


def forge_checkpoint(share: float, *, without: float) -> Damage:
    """The memory is made anew without an entry, and an entry becomes the checkpoint that vouches for it."""

    def damage(_history: History, tamper: Tamperer, entries: Sequence[Entry]) -> set[int]:
        last, left_out = picked(entries, share), picked(entries, without)
        changes: memory.Changes = {}
        for entry in entries[: last.seq - 1]:
            if entry is not left_out:
                memory.note(changes, entry)
        root, nodes = memory.changed(lambda _: {}, None, changes)
        tamper.execute("DELETE FROM checkpoint_nodes")
        for node in nodes.items():
            tamper.connection.execute("INSERT INTO checkpoint_nodes VALUES (?, ?)", node)
        body = {"format": memory.FORMAT, "root": root, "read_whole_at": "2026-11-22T12:00:00.000000Z"}
        return put(
            tamper,
            forged(last, kind=checkpoint.KIND, subject=checkpoint.SUBJECT, body=body, fingerprint="forged"),
        )

    return damage


def edit_memory(share: float, how: str) -> Damage:
    """The nodes of the memory are edited, removed, or those of an earlier checkpoint."""

    def damage(history: History, tamper: Tamperer, _entries: Sequence[Entry]) -> set[int]:
        connection = tamper.connection
        nodes = connection.execute("SELECT number, content FROM checkpoint_nodes ORDER BY number").fetchall()
        if how == "older":
            connection.execute("DELETE FROM checkpoint_nodes")
            connection.executemany("INSERT INTO checkpoint_nodes VALUES (?, ?)", history.older_nodes)
        elif nodes:
            number, content = nodes[min(int(share * len(nodes)), len(nodes) - 1)]
            # What is left of a leaf without its last record is a leaf as well.
            content = content[:-40] if how == "forget" else bytes([content[0] ^ 1]) + content[1:]
            connection.execute("UPDATE checkpoint_nodes SET content = ? WHERE number = ?", (content, number))
        return set()

    return damage


def edit_head(share: float, *, to_forged: bool) -> Damage:
    """The recorded head is another one."""

    def damage(_history: History, tamper: Tamperer, entries: Sequence[Entry]) -> set[int]:
        entry = picked(entries, share)
        tamper.execute(
            "UPDATE head SET count = ?, hash = ?", (entry.seq, "f" * 64 if to_forged else entry.hash)
        )
        return set()

    return damage


shares = st.floats(0, 1)
damages: st.SearchStrategy[Damage] = st.one_of(
    st.builds(delete, shares),
    st.builds(truncate, shares),
    st.builds(alter_bytes, shares),
    st.builds(alter_column, shares, st.sampled_from(["kind", "subject", "fingerprint", "hash"])),
    st.builds(forge_verdict, shares, models, st.sampled_from(["pass", "fail"])),
    st.builds(forge_pointer, shares, models),
    st.builds(forge_checkpoint, shares, without=shares),
    st.builds(edit_memory, shares, st.sampled_from(["flip", "forget", "older"])),
    st.builds(edit_head, shares, to_forged=st.booleans()),
)


# --- The comparison -----------------------------------------------------------------------------------


def outcome_of(kind: type[Ledger], history: History, model: int, *, by: str = "activate") -> object:
    """What becomes of a decision on a copy of the ledger: what it says, or how it is refused."""
    copy = history.path.with_name("copy.db")
    for left in copy.parent.glob("copy.db*"):
        left.unlink()
    shutil.copy(history.path, copy)
    try:
        ledger = kind.open(copy, principal="ada", clock=history.clock)
        if by == "demand":
            return [str(each) for each in unmet(ledger, requirements_of(model), now=history.clock.time)]
        return decide(ledger, history, model).body
    except PlatformError as refusal:
        return type(refusal), str(refusal)


def relied_upon(entries: Sequence[Entry], model: int, release_id: str) -> set[int]:
    """Numbers of the entries that an activation looks at: found by reading all, as people would say it."""
    newest: dict[object, int] = {}
    first: dict[object, int] = {}
    names = {("erasure", each.table, each.content_hash) for each in snapshots_of(model)}
    names |= {("retention", each.table, each.snapshot_id) for each in snapshots_of(model)}
    for entry in entries:
        body = entry.body
        if entry.kind == "verdict" and entry.subject == subject_of(model):
            newest[body["rule_set"]] = entry.seq
        elif entry.kind in (ACTIVATION, UNPIN) and entry.subject == LINE:
            newest[entry.kind] = entry.seq
        elif entry.kind == RELEASE and body["release_id"] == release_id:
            newest[RELEASE] = entry.seq
        for version in body.get("versions", []):
            of = version["content_hash"] if entry.kind == ERASURE else version["snapshot_id"]
            if (name := (entry.kind, version["table"], of)) in names:
                first.setdefault(name, entry.seq)
    return {*newest.values(), *first.values()}


def is_refused_as_damaged(outcome: object) -> bool:
    """Whether a decision met damage."""
    return isinstance(outcome, tuple) and outcome[0] is LedgerError


def compare(history: History, damaging: Sequence[Damage]) -> None:
    """Decides everything in both ways, before and after the damage."""
    entries = list(history.ledger.entries())
    for model in range(MODELS):
        assert outcome_of(Ledger, history, model) == outcome_of(Replaying, history, model)
    sound = [outcome_of(Replaying, history, model) for model in range(MODELS)]
    sound_demands = [outcome_of(Replaying, history, model, by="demand") for model in range(MODELS)]
    covered = max((each.seq - 1 for each in entries if each.kind == checkpoint.KIND), default=0)
    concerned: set[int] = set()
    tamper = Tamperer(history.path)
    with closing(tamper.connection):
        for damage in damaging:
            concerned |= damage(history, tamper, entries)
    unseen = []
    for model in range(MODELS):
        for by, before in (("activate", sound), ("demand", sound_demands)):
            fast, full = (outcome_of(kind, history, model, by=by) for kind in (Ledger, Replaying))
            if fast == full:
                continue
            # The one difference: damage that no decision looks at is not noticed, and changes no decision.
            assert is_refused_as_damaged(full)
            assert fast == before[model]
            assert all(seq < covered for seq in concerned)
            relied = relied_upon(entries, model, history.releases[model].release_id)
            assert by == "demand" or not relied & concerned
            unseen.append((model, by, full))
    later = history.clock.time + checkpoint.VALID_FOR + timedelta(minutes=1)
    if unseen:
        now, history.clock.time = history.clock.time, later
        for model, by, _ in unseen:  # a day later it is noticed, without anybody's doing
            assert is_refused_as_damaged(outcome_of(Ledger, history, model, by=by))
        history.clock.time = now
        assert not history.ledger.verify().ok
        for model, by, full in unseen:  # and at once, when it has been looked for
            assert outcome_of(Ledger, history, model, by=by) == full


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """A new place for each example; in memory, where that is, since nothing here is about power cuts."""
    shared = Path("/dev/shm")
    with TemporaryDirectory(dir=shared if shared.is_dir() else tmp_path) as name:
        place = Path(name, "example")

        def new() -> Path:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            return place / "ledger.db"

        yield new


@pytest.mark.parametrize("examples", [25, pytest.param(10_000, marks=pytest.mark.long)])
def test_a_decision_by_a_checkpoint_is_that_by_a_replay(folder, examples):
    """Over histories and tampering of every kind; what is not noticed changes no decision, and is found by verify."""

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.lists(events, min_size=3, max_size=16), st.lists(damages, max_size=2))
    def check(happening, damaging):
        history = History(folder())
        for number, event in enumerate(happening):
            event(history)
            if number == len(happening) // 2:
                history.keep_nodes()
        compare(history, damaging)

    check()
