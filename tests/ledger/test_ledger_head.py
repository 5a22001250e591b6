"""An export with its head can be checked by anybody, anywhere; nothing in either can be changed unseen."""

import base64
import json
import re
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from platform_assets.cli.ledger import app
from platform_assets.ledger import verification
from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.head import (
    SIGNING_KEY_VARIABLE,
    Head,
    new_key_pair,
    read_head,
    seal,
    signing_key,
)
from platform_assets.ledger.ledger import Ledger, verify_export, verify_file
from tests.ledger.conftest import NOON, Tamperer

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC_KEY = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """The signed head document and the lines of a ledger with a few varied entries."""
    ledger = Ledger.open(tmp_path_factory.mktemp("export") / "ledger.db", principal="ada")
    for number in range(6):
        ledger.append(
            "note", f"line-{number % 2}", fingerprint=str(number), body={"auc": 0.9 + number / 100, "ü": "≥"}
        )
    path = tmp_path_factory.mktemp("export") / "ledger.jsonl"
    with path.open("wb") as stream:
        head = ledger.export(stream)
    return seal(head, time=NOON, key=KEY), path.read_bytes().splitlines(keepends=True)


def flipped(content):
    """The content with one bit changed, for each of its bits."""
    for at in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[at] ^= 1 << bit
            yield bytes(changed)


# --- The export -------------------------------------------------------------------------------------


def test_every_single_flipped_bit_of_an_export_is_detected(export):
    """All of them, line ends included."""
    head, lines = export
    assert verify_export(lines, head).ok
    for number, line in enumerate(lines):
        for changed in flipped(line):
            stream = b"".join([*lines[:number], changed, *lines[number + 1 :]])
            report = verify_export(stream.splitlines(keepends=True), head)
            assert (report.ok, report.first_bad_seq) in ((False, number + 1), (False, number + 2))


@given(data=st.data())
def test_any_removed_inserted_or_replaced_bytes_are_detected(export, data):
    """A run of bytes in place of another, anywhere."""
    head, lines = export
    stream = b"".join(lines)
    start = data.draw(st.integers(0, len(stream)))
    end = data.draw(st.integers(start, min(len(stream), start + 40)))
    changed = stream[:start] + data.draw(st.binary(max_size=40)) + stream[end:]
    assert verify_export(changed.splitlines(keepends=True), head).ok == (changed == stream)


@given(data=st.data())
def test_any_removed_repeated_or_swapped_line_is_detected(export, data):
    """No entry can be left out, told twice or moved."""
    head, lines = export
    first, second = data.draw(
        st.lists(st.sampled_from(range(len(lines))), min_size=2, max_size=2, unique=True)
    )
    swapped = lines.copy()
    swapped[first], swapped[second] = lines[second], lines[first]
    removed = lines[:first] + lines[first + 1 :]
    repeated = [*lines[:second], lines[first], *lines[second:]]
    for changed in (swapped, removed, repeated):
        report = verify_export(changed, head)
        assert not report.ok
        assert report.first_bad_seq <= max(first, second) + 1


def test_any_cut_tail_is_detected(export):
    """At every byte."""
    head, lines = export
    stream = b"".join(lines)
    for length in range(len(stream)):
        assert not verify_export(stream[:length].splitlines(keepends=True), head).ok


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_a_file_is_verified_in_stretches_as_it_is_in_one(export, tmp_path, monkeypatch, processes):
    """Wherever the bounds of the stretches fall, each line is read once."""
    head, lines = export
    file = tmp_path / "ledger.jsonl"
    for worth in (1, 50, 331, 332, 333):
        monkeypatch.setattr(verification, "_BYTES_WORTH_A_PROCESS", worth)
        for content in (lines, lines[:-1], [*lines[:3], b"{}\n", *lines[4:]], lines[1:], [], [b"\n"]):
            file.write_bytes(b"".join(content))
            assert verify_file(file, head, processes=processes) == verify_export(content, head)


# --- The head ---------------------------------------------------------------------------------------


def test_a_signed_head_is_what_its_description_says(export):
    """An auditor needs Ed25519, a JSON parser and RFC 8785."""
    head, _ = export
    document = json.loads(head.to_json())
    assert (document["count"], document["format"], document["public_key"]) == (6, "ledger-head-1", PUBLIC_KEY)
    assert document["time"] == "2026-11-22T12:00:00.000000Z"
    signature = base64.b64decode(document.pop("signature"))
    signed = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    Ed25519PublicKey.from_public_bytes(base64.b64decode(PUBLIC_KEY)).verify(signature, signed)


def test_a_head_is_read_as_it_was_written(export):
    """Signed or not, and however its JSON is laid out."""
    signed, _ = export
    unsigned = seal(signed.head, time=NOON)
    for document in (signed, unsigned):
        assert read_head(document.to_json()) == document
        assert read_head(json.dumps(json.loads(document.to_json()), indent=2).encode()) == document
    assert read_head(signed.to_json(), public_key=PUBLIC_KEY) == signed
    assert (unsigned.public_key, unsigned.signature) == (None, None)
    assert set(json.loads(unsigned.to_json())) == {"count", "format", "hash", "time"}


def test_every_single_flipped_bit_of_a_signed_head_is_detected(export):
    """Including the bits of base64 that stand for nothing."""
    for changed in flipped(export[0].to_json()):
        with pytest.raises(LedgerError):
            read_head(changed)


def test_a_signature_must_be_there_and_by_the_right_key_where_one_is_demanded(export):
    """A head signed by somebody else, or by nobody, does not count."""
    head = export[0].head
    stranger = seal(head, time=NOON, key=Ed25519PrivateKey.generate())
    assert read_head(stranger.to_json()) == stranger
    with pytest.raises(
        LedgerError, match=f"must be signed by .*; it is signed by {re.escape(stranger.public_key[:8])}"
    ):
        read_head(stranger.to_json(), public_key=PUBLIC_KEY)
    with pytest.raises(LedgerError, match="signed by nobody"):
        read_head(seal(head, time=NOON).to_json(), public_key=PUBLIC_KEY)
    claimed = json.loads(stranger.to_json()) | {"public_key": PUBLIC_KEY}
    with pytest.raises(LedgerError, match="signature of the head is wrong"):
        read_head(json.dumps(claimed).encode(), public_key=PUBLIC_KEY)


@pytest.mark.parametrize("missing", ["signature", "public_key", "time", "count"])
def test_a_head_with_a_missing_part_is_refused(export, missing):
    """Half a signature is none."""
    document = json.loads(export[0].to_json())
    del document[missing]
    with pytest.raises(LedgerError):
        read_head(json.dumps(document).encode())


@given(
    content=st.binary(max_size=60)
    | st.recursive(st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_what_is_no_head_is_refused(content):
    """With a message, never a crash."""
    with pytest.raises(LedgerError, match="not a head document"):
        read_head(content)


def test_key_pairs_are_new_and_belong_together(monkeypatch):
    """The private key signs what the public key verifies."""
    private_key, public_key = new_key_pair()
    assert new_key_pair()[0] != private_key
    monkeypatch.setenv(SIGNING_KEY_VARIABLE, private_key)
    assert seal(Head(1, "0" * 64), time=NOON, key=signing_key()).public_key == public_key


@pytest.mark.parametrize("key", ["c2VjcmV0", "s3cret!", "A" * 42 + "B=", "ü"])
def test_a_wrong_signing_key_is_refused_and_not_told(monkeypatch, key):
    """Too short, not base64, or not the one way to write it."""
    monkeypatch.setenv(SIGNING_KEY_VARIABLE, key)
    with pytest.raises(LedgerError, match="keygen") as refusal:
        signing_key()
    assert key not in str(refusal.value)


def test_without_a_key_there_is_no_signature(monkeypatch):
    """Signing is a choice."""
    monkeypatch.delenv(SIGNING_KEY_VARIABLE, raising=False)
    assert signing_key() is None


# --- The command line -------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A platform home with a ledger of three entries; who runs commands there signs."""
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    monkeypatch.setenv(SIGNING_KEY_VARIABLE, base64.b64encode(bytes(range(32))).decode())
    ledger = Ledger.open(tmp_path / "ledger" / "ledger.sqlite", principal="ada")
    for number in range(3):
        ledger.append("note", "line", fingerprint=str(number), body={})
    return tmp_path


def run(*arguments):
    """Exit status and output of `platform-assets ledger …`; JSON is parsed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, LedgerError):
        return 1, str(result.exception)
    with suppress(json.JSONDecodeError):
        return result.exit_code, json.loads(result.stdout)
    return result.exit_code, result.output


def test_an_export_and_its_head_verify_elsewhere(home, monkeypatch):
    """`export` writes both; `verify --file` finds the head beside the file and checks the signature."""
    file = home / "ledger.jsonl"
    assert run("export", file)[0] == 0
    monkeypatch.setenv("PLATFORM_HOME", str(home / "elsewhere"))
    status, report = run("verify", "--file", file, "--public-key", PUBLIC_KEY, "--json")
    assert (status, report["ok"], report["signed"], report["entries"]) == (0, True, True, 3)
    assert PUBLIC_KEY in report["note"]
    assert not (home / "elsewhere").exists()
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    status, report = run("verify", "--file", file, "--json")
    assert (status, report["first_bad_seq"]) == (1, 3)
    (home / "ledger.jsonl.head.json").unlink()
    status, report = run("verify", "--file", file, "--json")
    assert (status, report["ok"], report["complete"], report["signed"]) == (3, False, None, False)
    status, report = run("verify", "--file", file, "--public-key", PUBLIC_KEY, "--json")
    assert (status, report["ok"]) == (1, False)
    assert "signature is demanded" in report["problem"]


def test_an_export_whose_completeness_nobody_knows_is_not_ok(home):
    """Without a head an empty file, a cut tail and a whole export look alike: status, text and JSON say so."""
    file = home / "ledger.jsonl"
    run("export", file)
    (home / "ledger.jsonl.head.json").rename(home / "kept.json")
    lines = file.read_bytes().splitlines(keepends=True)
    for part in ([], lines[:-1], lines):
        file.write_bytes(b"".join(part))
        status, report = run("verify", "--file", file, "--json")
        assert (status, report["ok"], report["complete"], report["entries"]) == (3, False, None, len(part))
        status, told = run("verify", "--file", file)
        assert (status, "completeness unknown" in told, "error" in told) == (3, True, False)
        status, report = run("verify", "--file", file, "--head", home / "kept.json", "--json")
        is_whole = part == lines
        assert (status, report["ok"], report["complete"]) == (int(not is_whole), is_whole, is_whole)
    file.write_bytes(b"".join(lines)[:-1])
    assert run("verify", "--file", file, "--json")[0] == 1  # a line that is cut is damage, head or none


def test_a_head_kept_outside_anchors_the_ledger(home):
    """Later entries are fine; a rewritten ledger is not."""
    kept = home / "kept.json"
    status, document = run("head", "--json")
    kept.write_text(json.dumps(document))
    assert (status, document["count"], document["public_key"]) == (0, 3, PUBLIC_KEY)
    path = home / "ledger" / "ledger.sqlite"
    Ledger.open(path, principal="ada").append("note", "line", fingerprint="4", body={})
    status, report = run("verify", "--head", kept, "--public-key", PUBLIC_KEY, "--json")
    assert (status, report["signed"], report["entries"]) == (0, True, 4)
    path.unlink()
    for number in range(4):
        Ledger.open(path, principal="eve").append("note", "line", fingerprint=str(number), body={})
    assert run("verify", "--json")[1]["ok"]
    status, report = run("verify", "--head", kept, "--json")
    assert (status, report["ok"], report["first_bad_seq"]) == (1, False, 3)


def test_a_damaged_ledger_is_exported_without_a_head_and_gets_none(home):
    """A signature says that the chain was whole; an old head must not stay beside a new export."""
    assert run("export", home / "ledger.jsonl")[0] == 0
    tamperer = Tamperer(home / "ledger" / "ledger.sqlite")
    tamperer.execute("UPDATE entries SET raw = ? WHERE seq = 2", (b"{}",))
    tamperer.connection.close()
    status, told = run("export", home / "ledger.jsonl")
    assert (status, "entry 2" in told) == (1, True)
    assert (home / "ledger.jsonl").read_bytes().splitlines()[1] == b"{}"
    assert not (home / "ledger.jsonl.head.json").exists()
    status, told = run("head")
    assert (status, "damaged ledger" in told) == (1, True)
    assert run("verify")[0] == 1


def test_without_a_key_heads_are_unsigned_and_verify_says_what_that_means(home, monkeypatch):
    """The note names what is not protected."""
    monkeypatch.delenv(SIGNING_KEY_VARIABLE)
    status, document = run("head", "--json")
    assert (status, "signature" in document) == (0, False)
    (home / "kept.json").write_text(json.dumps(document))
    status, told = run("verify", "--head", home / "kept.json")
    assert (status, "3 entries" in told, "rewrites the whole chain" in told) == (0, True, True)
    assert "unsigned" in run("head")[1]


def test_keygen_prints_a_pair_that_works(home, monkeypatch):
    """What it prints is what the variable and the option take."""
    _, pair = run("keygen", "--json")
    monkeypatch.setenv(SIGNING_KEY_VARIABLE, pair["private_key"])
    assert run("head", "--json")[1]["public_key"] == pair["public_key"]
    assert f"{SIGNING_KEY_VARIABLE}=" in run("keygen")[1]
