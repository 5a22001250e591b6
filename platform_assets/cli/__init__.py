"""`platform-assets …`: each command is a few lines over a domain function."""

import sys
from typing import Annotated

import typer

from platform_assets.cli import (
    breaker,
    contracts,
    deidentify,
    dicom,
    doctor,
    drift,
    export,
    features,
    history,
    ledger,
    lineage,
    lines,
    listen,
    materialize,
    new,
    policy,
    promotion,
    quarantine,
    reports,
    retention,
    review,
    transformers,
    trial,
    tune,
    waiving,
)
from platform_assets.cli.endings import end_well
from platform_assets.cli.usage import (
    BUILD,
    EXIT_STATUS,
    GOVERN,
    JUDGE,
    OPERATE,
    PROGRAM,
    WATCH,
    Commands,
    examples,
)

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Declarative model lines: built from specs, judged by gates, served with their whole history.",
    epilog=EXIT_STATUS,
)
app.add_typer(lines.app)
app.add_typer(lineage.app)
app.add_typer(promotion.app)
app.add_typer(breaker.app, name="breaker", rich_help_panel=JUDGE)
app.add_typer(contracts.app, name="contracts", rich_help_panel=JUDGE)
app.add_typer(dicom.app, name="dicom", rich_help_panel=JUDGE)
app.add_typer(drift.app, name="drift", rich_help_panel=WATCH)
app.add_typer(export.app, name="export", rich_help_panel=BUILD)
app.add_typer(features.app, name="features", rich_help_panel=BUILD)
features.app.command(
    epilog=examples("features diff credit_woe@v2 @v3", "features diff credit_woe@v2 @latest --json")
)(transformers.diff)
features.app.command(epilog=examples("features versions", "features versions credit_woe"))(
    transformers.versions
)
features.app.command(
    epilog=examples("features days flight_delay_zscore", "features days flight_delay_zscore --state missing")
)(transformers.days)
app.add_typer(ledger.app, name="ledger", rich_help_panel=GOVERN)
app.add_typer(policy.app, name="policy", rich_help_panel=GOVERN)
app.add_typer(quarantine.app, name="quarantine", rich_help_panel=JUDGE)
app.add_typer(reports.app, name="reports", rich_help_panel=WATCH)
app.add_typer(retention.app, name="retention", rich_help_panel=GOVERN)
app.add_typer(review.app, name="review", rich_help_panel=GOVERN)
app.command(rich_help_panel=OPERATE, epilog=examples("listen", "listen --triggers k8s/triggers --port 8170"))(
    listen.listen
)
app.command(rich_help_panel=OPERATE, epilog=examples("doctor", "doctor --json"))(doctor.doctor)
app.command(
    rich_help_panel=OPERATE,
    epilog=examples(
        "materialize reviews_sentiment dataset", "materialize reviews_sentiment model --set epochs=2"
    ),
)(materialize.materialize)
app.command(
    rich_help_panel=GOVERN,
    epilog=examples(
        "deidentify images/ copies/ --profile basic",
        "deidentify images.zip copies/ --profile basic --keep characteristics --keep dates-modified",
        "deidentify images/ copies/ --profile basic --mapping mapping.csv --json",
    ),
)(deidentify.deidentify)
app.command(
    rich_help_panel=BUILD,
    epilog=examples(
        "trial reviews_sentiment --set learning_rate=0.0003 --set dropout_rate=0.2",
        "trial credit_scorecard --set regularisation=0.5",
    ),
)(trial.trial)
app.command(
    rich_help_panel=BUILD,
    epilog=examples(
        "tune chest_xray_detector",
        "tune credit_scorecard --experiment platform_assets/models/credit_scorecard/experiment.yaml",
    ),
)(tune.tune)
app.command(
    rich_help_panel=BUILD,
    epilog=examples("new churn --task tabular-classification --data c.csv --target churn"),
)(new.new)
app.command(
    rich_help_panel=GOVERN,
    epilog=examples("erase --subject applicant:4711 --by ada --reason 'request 7' --dry-run"),
)(retention.erase)
app.command(
    rich_help_panel=GOVERN,
    epilog=examples(
        "waive chest_xray_detector gate.worst_slice_auc --by 'Dr. Lee' --reason 'two cases' --expires-days 30",
        "waive chest_xray_detector gate.worst_slice_auc --version 12 --by ada --reason 'two cases' --expires-days 7",
    ),
)(waiving.waive)
app.command(
    rich_help_panel=GOVERN,
    epilog=examples(
        "history chest_xray_detector", "history chest_xray_detector --at 2026-11-22T12:00Z --json"
    ),
)(history.history)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"{PROGRAM} {version(PROGRAM)}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Options of the program itself."""


def main() -> None:
    """Entry point."""
    sys.exit(end_well(app))
