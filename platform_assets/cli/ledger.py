"""`platform-assets ledger …`."""

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from platform_assets.cli.common import AsJson, outside_systems, print_json
from platform_assets.cli.usage import examples
from platform_assets.processors import available_cpus

if TYPE_CHECKING:
    from platform_assets.ledger.head import HeadDocument
    from platform_assets.ledger.ledger import VerifyReport

app = typer.Typer(no_args_is_help=True, help="The hash-chained record of every decision.")

_COMPLETENESS_UNKNOWN = 3
"""Exit status: neither whole nor damaged, as far as anybody can tell."""


@app.command(
    "verify",
    epilog=examples("ledger verify", "ledger verify --head head.json", "ledger verify --file ledger.jsonl"),
)
def verify(
    file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Verify an exported file instead.")
    ] = None,
    head: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Head document that the chain must reach; default: the one beside FILE.",
        ),
    ] = None,
    public_key: Annotated[
        str | None, typer.Option(metavar="BASE64", help="Whose signature the head must carry.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check the whole chain; name the first bad entry.

    Ends with 1 where it is damaged or falls short of its head, and with 3 where it is sound as far as it goes and
    nothing says how far it must go: an exported file without its head.
    """
    from platform_assets.ledger.errors import LedgerError
    from platform_assets.ledger.ledger import VerifyReport, verify_file

    try:
        anchor = _anchor(head, file, public_key)
        if file is None:
            report = outside_systems().ledger.verify(anchor, processes=available_cpus())
        else:
            report = verify_file(file, anchor, processes=available_cpus())
    except LedgerError as problem:
        report = VerifyReport.refused(str(problem))
    if as_json:
        print_json(asdict(report))
    elif report.ok:
        print(f"{report.entries} entries, one chain, head {report.head_hash}\n{report.note}")
    elif report.complete is None:
        print(f"{report.entries} entries, one chain; {report.problem} (--head)", file=sys.stderr)
    else:
        print(f"error: {_sentence(report)}", file=sys.stderr)
    if not report.ok:
        raise typer.Exit(_COMPLETENESS_UNKNOWN if report.complete is None else 1)


@app.command("checkpoint", epilog=examples("ledger checkpoint"))
def make_checkpoint(as_json: AsJson = False) -> None:
    """Read the whole chain now, and vouch for it, so that decisions need not; the nightly sweep does so too."""
    entry = outside_systems().ledger.renew_checkpoint()
    if as_json:
        print_json(None if entry is None else {"seq": entry.seq, "hash": entry.hash, "covers": entry.seq - 1})
    elif entry is None:
        print("no checkpoint: the chain is short, and decisions read all of it")
    else:
        print(f"entry {entry.seq} vouches for the {entry.seq - 1} entries before it")


@app.command("head", epilog=examples("ledger head --json > head.json"))
def show_head(as_json: AsJson = False) -> None:
    """Verify the chain and print its head, signed where there is a key: keep it outside, for `verify --head`."""
    from platform_assets.ledger.errors import LedgerError
    from platform_assets.ledger.head import Head, seal, signing_key

    key = signing_key()
    report = outside_systems().ledger.verify(processes=available_cpus())
    if not report.ok:
        raise LedgerError(f"{_sentence(report)}; a damaged ledger gets no head")
    document = seal(Head(report.entries, report.head_hash), time=datetime.now(UTC), key=key)
    if as_json:
        print(document.to_json().decode())
    else:
        signer = f"signed by {document.public_key}" if document.public_key else "unsigned"
        print(f"{document.count} entries, head {document.hash}, {signer}")


@app.command("export", epilog=examples("ledger export ledger.jsonl"))
def export(file: Annotated[Path, typer.Argument(help="JSON Lines file to write.")]) -> None:
    """Write the entries, byte for byte, and FILE.head.json: for anybody to verify offline."""
    from platform_assets.ledger.head import seal, signing_key
    from platform_assets.ledger.ledger import verify_file

    key = signing_key()
    ledger = outside_systems().ledger
    recorded = ledger.head()
    _beside(file).unlink(missing_ok=True)  # of an earlier export
    with file.open("wb") as stream:
        end = ledger.export(stream)
    report = verify_file(file, recorded, processes=available_cpus())
    if not report.ok:
        print(f"error: {_sentence(report)}; exported as it is, without a head", file=sys.stderr)
        raise typer.Exit(1)
    _beside(file).write_bytes(seal(end, time=datetime.now(UTC), key=key).to_json() + b"\n")
    print(f"{end.count} entries, head {end.hash}")


@app.command("keygen", epilog=examples("ledger keygen"))
def make_keys(as_json: AsJson = False) -> None:
    """Print a new key pair for signed heads; nothing is stored."""
    from platform_assets.ledger.head import SIGNING_KEY_VARIABLE, new_key_pair

    private_key, public_key = new_key_pair()
    if as_json:
        print_json({"private_key": private_key, "public_key": public_key})
    else:
        print(f"private, for those who sign: {SIGNING_KEY_VARIABLE}={private_key}")
        print(f"public, for those who verify: --public-key {public_key}")


@app.command(
    "show", epilog=examples("ledger show --kind verdict", "ledger show --subject reviews_sentiment --json")
)
def show(
    kind: Annotated[str | None, typer.Option(help="Only entries of this kind.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only entries on this subject.")] = None,
    as_json: AsJson = False,
) -> None:
    """The entries, oldest first."""
    for entry in outside_systems().ledger.entries(kind=kind, subject=subject):
        if as_json:
            print(entry.raw.decode())
        else:
            detail = entry.body.get("outcome") or entry.body.get("reason") or ""
            print(
                f"{entry.seq:>5}  {entry.time:%Y-%m-%d %H:%M:%S}  {entry.kind:<12} {entry.subject:<60.60} {entry.body.get('rule_set', '')} {detail}"
            )


def _anchor(head: Path | None, file: Path | None, public_key: str | None) -> "HeadDocument | None":
    """The head that the chain must reach: the one given, or the one beside the exported file."""
    from platform_assets.ledger.errors import LedgerError
    from platform_assets.ledger.head import read_head

    if head is None and file is not None and _beside(file).exists():
        head = _beside(file)
    if head is not None:
        return read_head(head.read_bytes(), public_key=public_key)
    if public_key is not None:
        raise LedgerError("a signature is demanded, and there is no head that could carry it: give --head")
    return None


def _beside(file: Path) -> Path:
    """Where the head of an exported file lies."""
    return file.with_name(f"{file.name}.head.json")


def _sentence(report: "VerifyReport") -> str:
    where = "" if report.first_bad_seq is None else f"entry {report.first_bad_seq}: "
    return f"{where}{report.problem}"
