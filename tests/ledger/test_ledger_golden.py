"""Format 1 is final: a ledger written today verifies for ever."""

import hashlib
import json
from pathlib import Path

import rfc8785

from platform_assets.governance.verdict import KIND, verdict_of
from platform_assets.ledger.ledger import Entry, Head, verify_export

LINES = (Path(__file__).parent / "golden" / "ledger-format-1.jsonl").read_bytes().splitlines(keepends=True)
HEAD = Head(9, "de9a04a0527c296fb55c191e5553f2ee8c1e038af5f3d98598ebdbe8699db7cd")


def test_the_golden_ledger_verifies_against_its_recorded_head():
    """All kinds of entries, written by the first version. If this fails, the code is wrong: never the file."""
    report = verify_export(LINES, HEAD)
    assert (report.ok, report.entries, report.head_hash, report.problem) == (
        True,
        HEAD.count,
        HEAD.hash,
        None,
    )
    assert {Entry.parse(line[:-1]).kind for line in LINES} == {"verdict", "release", "activation", "unpin"}


def test_the_format_can_be_verified_without_this_code():
    """An auditor needs SHA-256, a JSON parser and the description of the format."""
    previous_hash = "0" * 64
    for seq, line in enumerate(LINES, start=1):
        entry = json.loads(line)
        assert (entry["schema_version"], entry["seq"], entry["previous_hash"]) == (1, seq, previous_hash)
        previous_hash = hashlib.sha256(line.removesuffix(b"\n")).hexdigest()
    assert previous_hash == HEAD.hash


def test_golden_verdicts_are_still_understood():
    """Each outcome is read as what it was, and its key is still the key that it would get."""
    verdicts = [entry for entry in map(Entry.parse, (line[:-1] for line in LINES)) if entry.kind == KIND]
    assert [verdict_of(entry).outcome for entry in verdicts] == ["pass", "error", "fail", "pass", "waived"]
    for entry in verdicts:
        names = ("subject", "rule_set", "rule_set_hash", "outcome", "evaluation_id")
        key = rfc8785.dumps({name: entry.body[name] for name in names})
        assert entry.fingerprint == hashlib.sha256(key).hexdigest()
