"""`platform-assets …`: each command is a few lines over a domain function."""

import sys

import typer

from platform_assets.cli import (
    breaker,
    contracts,
    drift,
    export,
    features,
    ledger,
    lineage,
    lines,
    listen,
    materialize,
    new,
    policy,
    retention,
    transformers,
)
from platform_assets.cli.endings import end_well

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(lines.app)
app.add_typer(lineage.app)
app.add_typer(breaker.app, name="breaker")
app.add_typer(contracts.app, name="contracts")
app.add_typer(drift.app, name="drift")
app.add_typer(export.app, name="export")
app.add_typer(features.app, name="features")
features.app.command()(transformers.diff)
features.app.command()(transformers.versions)
app.add_typer(ledger.app, name="ledger")
app.add_typer(policy.app, name="policy")
app.add_typer(retention.app, name="retention")
app.command()(listen.listen)
app.command()(materialize.materialize)
app.command()(new.new)
app.command()(retention.erase)


def main() -> None:
    """Entry point."""
    sys.exit(end_well(app))
