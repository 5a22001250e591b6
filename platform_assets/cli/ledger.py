"""`platform-assets ledger …`."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from platform_assets.cli.common import AsJson, print_json
from platform_assets.systems import open_ledger
from resources.settings import PlatformSettings

app = typer.Typer(no_args_is_help=True, help="The hash-chained record of every decision.")


@app.command("verify")
def verify(
    file: Annotated[Path | None, typer.Option(help="Verify an exported file instead.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check the whole chain; name the first bad entry."""
    from platform_assets.governance.ledger import verify_export

    if file is None:
        report = open_ledger(PlatformSettings()).verify()
    else:
        with file.open("rb") as stream:
            report = verify_export(stream)
    if as_json:
        print_json(asdict(report))
    elif report.ok:
        print(f"{report.entries} entries, one chain, head {report.head_hash}")
    else:
        print(f"error: entry {report.first_bad_seq}: {report.problem}", file=sys.stderr)
    if not report.ok:
        raise typer.Exit(1)


@app.command("export")
def export(file: Annotated[Path, typer.Argument(help="JSON Lines file to write.")]) -> None:
    """Write the entries, byte for byte, for anybody to verify offline."""
    with file.open("wb") as stream:
        head = open_ledger(PlatformSettings()).export(stream)
    print(f"{head.count} entries, head {head.hash}")


@app.command("show")
def show(
    kind: Annotated[str | None, typer.Option(help="Only entries of this kind.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only entries on this subject.")] = None,
    as_json: AsJson = False,
) -> None:
    """The entries, oldest first."""
    for entry in open_ledger(PlatformSettings()).entries(kind=kind, subject=subject):
        if as_json:
            print(entry.raw.decode())
        else:
            told = entry.body.get("outcome") or entry.body.get("reason") or ""
            print(
                f"{entry.seq:>5}  {entry.time:%Y-%m-%d %H:%M:%S}  {entry.kind:<12} {entry.subject:<60.60} {entry.body.get('rule_set', '')} {told}"
            )
