"""Quarantine: files that were not let into a dataset, and what people have decided about them.

A file is held for the rules that it breaks. A person may let it in all the same:

    waiting ──release──▶ released: in the dataset from its next materialization on
       │   ◀── it breaks another rule ──┘ │
       └──reject──▶ rejected ◀──reject────┘

What is held lies in a table of its own, published before the dataset, so that nothing is lost with a dataset that is
refused. What was decided lies in the ledger: the newest `quarantine_decision` of a file counts. A release holds for these
very bytes (their SHA-256) and for the rules that they were held for, and for nothing else. What a decision says besides
are hashes and ids of rules, so it stays when a subject is erased.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

from platform_assets.datasets.errors import QuarantineDeniedError, QuarantineError
from platform_assets.datasets.snapshots import content_hash
from platform_assets.governance.suppression import publish_unless_erased
from platform_assets.ledger.ledger import GENESIS, Entry, Ledger, fingerprint_of
from resources.object_store import GdprClass
from resources.policed_object_store import DenialRecorder
from resources.policy_engine import Decision as PolicyDecision
from resources.settings import Principal
from resources.warehouse import Snapshot, Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

TABLE: Final = "quarantine.{line}"
"""In a namespace of its own: `datasets.<line>_quarantine` would be the dataset of a line of that name."""
DECISION: Final = "quarantine_decision"
"""The kind of the entries."""
NO_BYTES: Final = "name:"
"""Begins the id of a file of which no byte could be read."""
Verdict = Literal["quarantine", "reject"]
"""`quarantine`: a person decides. `reject`: nobody can release it."""
Choice = Literal["release", "reject"]


def quarantine_schema() -> "pa.Schema":
    """The columns that the table of every line has, a row a file; the subject's is added by its ingestion.

    `file_id` is the SHA-256 of the bytes, hexadecimal, or `name:<salted hash of the name>` where none could be read.
    `name` is null where it may identify somebody, `rules` are sorted ids, and `thumbnail` is a PNG of at most 192 pixels
    a side.
    """
    import pyarrow as pa

    text = pa.string()
    finding = pa.struct([("rule", text), ("verdict", text), ("tags", pa.list_(text)), ("count", pa.int64())])
    return pa.schema(
        [
            pa.field("file_id", text, nullable=False),
            ("name", text),
            pa.field("source", text, nullable=False),
            pa.field("verdict", text, nullable=False),
            pa.field("rules", pa.list_(text), nullable=False),
            pa.field("findings", pa.list_(finding), nullable=False),
            ("thumbnail", pa.binary()),
            pa.field("size_bytes", pa.int64(), nullable=False),
        ]
    )


@dataclass(frozen=True, slots=True)
class Held:
    """What a decision is about: a file of a line, and what it is held for."""

    line: str
    file_id: str
    verdict: Verdict
    rules: tuple[str, ...]
    """Ids, sorted."""

    @property
    def can_be_released(self) -> bool:
        """Whether a person may let it in: not what is rejected, nor what has no hash that a release could hold for."""
        return self.verdict == "quarantine" and not self.file_id.startswith(NO_BYTES)


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody has decided about a file."""

    line: str
    file_id: str
    decision: Choice
    rules: tuple[str, ...]
    """What the file was held for when this was decided."""
    by: str
    role: str
    """The group that its principal was in."""
    reason: str
    principal: str
    decided_at: datetime
    entry_seq: int

    @property
    def held(self) -> Held:
        """The file as it was decided upon, which could be released if it was."""
        return Held(self.line, self.file_id, "quarantine", self.rules)


def decisions(ledger: Ledger, line: str) -> dict[str, Decision]:
    """The newest decision on each file of a line, by its id."""
    about = _subject(line, "")
    found = (_decision(entry) for entry in ledger.entries(kind=DECISION) if entry.subject.startswith(about))
    return {each.file_id: each for each in found}


def history(ledger: Ledger, line: str, file_id: str) -> list[Decision]:
    """All decisions on a file, oldest first."""
    return [_decision(entry) for entry in ledger.entries(kind=DECISION, subject=_subject(line, file_id))]


def releases(ledger: Ledger, line: str) -> dict[str, frozenset[str]]:
    """The rules in spite of which each released file may come in, by its id."""
    return {
        file_id: frozenset(each.rules)
        for file_id, each in decisions(ledger, line).items()
        if each.decision == "release"
    }


def releases_hash(released: Mapping[str, Collection[str]]) -> str:
    """Identity of all releases, for fingerprints; empty where there is none."""
    return fingerprint_of(releases={each: sorted(released[each]) for each in released}) if released else ""


def may_come_in(held: Held, released: Mapping[str, Collection[str]]) -> bool:
    """Whether a file was released, in spite of every rule that it breaks now."""
    return (
        held.can_be_released and held.file_id in released and set(held.rules) <= set(released[held.file_id])
    )


def decide(
    ledger: Ledger,
    held: Held,
    decision: Choice,
    *,
    by: str,
    reason: str,
    principal: Principal,
    role: str,
    on_denial: DenialRecorder,
) -> Entry:
    """The entry of a decision on a file: appended now, or there already where the newest one says the same.

    Args:
        ledger: Where it is kept for good.
        held: What is decided on.
        decision: Whether it may come in.
        by: The person who takes responsibility.
        reason: Why. It stays for good, so nothing in it may identify anybody.
        principal: In whose name this process acts.
        role: The group that decides of this line's files.
        on_denial: Told where the principal is not in it.

    Raises:
        QuarantineError: The name or the reason is blank, or nobody can release this file.
        QuarantineDeniedError: The principal is not in the group; the denial is counted.
        LedgerError: The ledger cannot be written.
    """
    by, reason = by.strip(), reason.strip()
    if not (by and reason):
        raise QuarantineError(f"nothing is decided about a file of {held.line}: name who decides it, and why")
    _require_role(held, decision, principal, role, on_denial)
    if decision == "release" and not held.can_be_released:
        why = (
            f"no byte of {held.file_id} could be read, and a release holds for bytes"
            if held.file_id.startswith(NO_BYTES)
            else f"file {held.file_id} is rejected ({', '.join(held.rules)})"
        )
        raise QuarantineError(
            f"{why}: nobody can release it; repair or replace it in the source, and materialize {held.line}_dataset"
        )
    body = {
        "line": held.line,
        "file_id": held.file_id,
        "decision": decision,
        "rules": sorted(held.rules),
        "by": by,
        "role": role,
        "reason": reason,
    }
    subject = _subject(held.line, held.file_id)
    with ledger.exclusive() as writer:
        previous = ledger.latest(DECISION, subject)
        if previous is not None and (previous.body, previous.principal) == (body, principal.user):
            return previous
        # Keyed by the entry it succeeds, so that the same may be decided again after the contrary.
        return writer.append(DECISION, subject, fingerprint=previous.hash if previous else GENESIS, body=body)


def publish_quarantine(
    rows: "pa.Table",
    *,
    line: str,
    subject_column: str,
    subject_namespace: str,
    gdpr_class: GdprClass,
    retention_days: int,
    source_commit: str,
    warehouse: Warehouse,
    ledger: Ledger,
    salt: bytes,
) -> Snapshot:
    """The table of a line as it is now: these files, and none that is about a subject who was erased meanwhile.

    Args:
        rows: Of `quarantine_schema` and the subject's column, in any order; of no file where nothing is held.
        line: Whose they are.
        subject_column: Whom a file is about; null where nobody can tell.
        subject_namespace: Of these ids.
        gdpr_class: See `Warehouse.stage`, as for the next two.
        retention_days: How long a version stays.
        source_commit: What made it.
        warehouse: Where it is published.
        ledger: Knows who was erased.
        salt: Of the hash by which it knows them.

    Raises:
        ErasureError: A subject among them was erased since they were read.
    """
    rows = rows.sort_by([("file_id", "ascending"), ("source", "ascending")]).combine_chunks()
    staged = warehouse.stage(
        TABLE.format(line=line),
        rows,
        content_hash=content_hash(rows),
        gdpr_class=gdpr_class,
        retention_days=retention_days,
        source_commit=source_commit,
        subject_column=subject_column,
        subject_namespace=subject_namespace,
    )
    return publish_unless_erased(
        staged,
        rows[subject_column].to_pylist(),
        namespace=subject_namespace,
        warehouse=warehouse,
        ledger=ledger,
        salt=salt,
    )


def _require_role(
    held: Held, decision: Choice, principal: Principal, role: str, on_denial: DenialRecorder
) -> None:
    if role in principal.groups:
        return
    reason = f"files of {held.line} are decided on by group {role}"
    request = {
        "method": decision.upper(),
        "path": f"/quarantine/{held.line}/{held.file_id}",
        "user": {
            "name": principal.user,
            "groups": list(principal.groups),
            "labels": principal.labels.model_dump(),
        },
    }
    on_denial(request, PolicyDecision(allow=False, reasons=(reason,)))
    raise QuarantineDeniedError(
        f"{principal.user} may not {decision} file {held.file_id}: {reason}; ask a member, or whoever grants groups "
        "(PLATFORM_PRINCIPAL__GROUPS)"
    )


def _subject(line: str, file_id: str) -> str:
    return f"{line}_quarantine@{file_id}"


def _decision(entry: Entry) -> Decision:
    body = entry.body
    return Decision(
        line=body["line"],
        file_id=body["file_id"],
        decision=body["decision"],
        rules=tuple(body["rules"]),
        by=body["by"],
        role=body["role"],
        reason=body["reason"],
        principal=entry.principal,
        decided_at=entry.time,
        entry_seq=entry.seq,
    )
