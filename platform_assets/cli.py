"""`platform-assets …`: each command is a few lines over a domain function."""

import json
import os
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resources.errors import PlatformError
from resources.settings import PlatformSettings

if TYPE_CHECKING:
    from platform_assets.governance.ledger import Ledger
    from platform_assets.line import Line
    from platform_assets.runner import RunOutcome

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
ledger_app = typer.Typer(no_args_is_help=True, help="The hash-chained record of every decision.")
contracts_app = typer.Typer(no_args_is_help=True, help="What data must be like before anybody reads it.")
app.add_typer(ledger_app, name="ledger")
app.add_typer(contracts_app, name="contracts")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LineName = Annotated[str, typer.Argument(help="Name of a model line, e.g. reviews_sentiment.")]
SpecFile = Annotated[
    Path | None, typer.Option("--spec", help="Training spec to use instead of the shipped ones.")
]


@app.command()
def run(
    line: Annotated[
        str | None, typer.Argument(help="Name of a model line; may be left out with --spec.")
    ] = None,
    spec: SpecFile = None,
    as_json: AsJson = False,
) -> None:
    """Bring a line up to date: run what has changed, reuse the rest, deploy if every verdict allows it."""
    from platform_assets.runner import run_line

    settings = PlatformSettings()
    chosen = _line(settings, line, spec)
    outcome = run_line(chosen, settings)
    status = _status(chosen, settings)
    if as_json:
        _print_json({"run": asdict(outcome), "status": status})
    else:
        _print_summary(outcome, status)
    if not outcome.success:
        print(f"\nerror: {outcome.failure}", file=sys.stderr)
        raise typer.Exit(1)


@app.command()
def status(
    line: Annotated[str | None, typer.Argument()] = None, spec: SpecFile = None, as_json: AsJson = False
) -> None:
    """Per line: data version, model version, metrics, verdicts, deployed version; and who is asking."""
    settings = PlatformSettings()
    lines = _lines(settings, spec)
    chosen = [each for each in lines if line in (None, each.name)] or [_line(settings, line, spec)]
    states = {each.name: _status(each, settings) for each in chosen}
    found = {
        "principal": settings.principal.model_dump(mode="json"),
        "profile": settings.profile,
        "lines": states,
    }
    if as_json:
        _print_json(found)
        return
    principal = settings.principal
    print(
        f"{principal.user} (groups {', '.join(principal.groups)}; env {principal.labels.env}), profile {settings.profile}"
    )
    for each in states.values():
        _print_status(each)
        for problem in each["blocked_by"]:
            print(f"  blocked   {problem}")
        if each["pinned"]:
            print(
                f"  pinned    to {each['pinned']['release_id']} by {each['pinned']['by']}: {each['pinned']['reason']}"
            )


@app.command()
def predict(
    line: LineName,
    texts: Annotated[list[str], typer.Argument(help="Texts to judge.")],
    as_json: AsJson = False,
) -> None:
    """Answer from the deployed release."""
    from platform_assets.serving.predictor import Predictor
    from resources.object_store import LocalObjectStore

    settings = PlatformSettings()
    predictor = Predictor.of_active_release(
        line, ledger=_ledger(settings), store=LocalObjectStore(settings.objects_path)
    )
    predictions = predictor.predict(texts)
    if as_json:
        _print_json([asdict(prediction) for prediction in predictions])
        return
    for text, prediction in zip(texts, predictions, strict=True):
        print(f"{prediction.label}  {prediction.score:.3f}  {text}")
    print(
        f"answered by {line} version {predictions[0].model_version}, release {predictions[0].release_id}",
        file=sys.stderr,
    )


@app.command()
def releases(line: LineName, as_json: AsJson = False) -> None:
    """The releases of a line, oldest first."""
    from platform_assets.governance import release

    ledger = _ledger(PlatformSettings())
    active = release.active(ledger, line)
    found = [
        {
            "release_id": each.release_id,
            "model_version": each.card.registered.number,
            "data_version": each.versions["dataset"],
            "created_at": each.created_at.isoformat() if each.created_at else None,
            "active": active is not None and each.release_id == active.release_id,
        }
        for each in release.releases(ledger, line)
    ]
    if as_json:
        _print_json(found)
        return
    for row in found:
        print(
            f"{'●' if row['active'] else ' '} {row['release_id']}  version {row['model_version']}  {row['created_at']}"
        )


@app.command()
def unpin(
    line: LineName,
    by: Annotated[str, typer.Option(help="Who lets go of the pin.")],
    reason: Annotated[str, typer.Option(help="Why.")],
) -> None:
    """Let automation change a pinned line again."""
    from platform_assets.governance import release

    release.unpin(_ledger(PlatformSettings()), line, by=by, reason=reason)
    print(f"{line} is no longer pinned")


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """The Dagster UI, webserver and daemon, on the same storage."""
    from resources.dagster_home import prepare_dagster_home

    settings = PlatformSettings()
    os.environ.setdefault("DAGSTER_HOME", str(prepare_dagster_home(settings)))
    os.environ["PLATFORM_HOME"] = str(settings.home)
    arguments = ["dagster", "dev", "-m", "platform_assets.definitions", "-h", host, "-p", str(port)]
    os.execv(sys.executable, [sys.executable, "-m", *arguments])  # noqa: S606 - fixed arguments


@ledger_app.command("verify")
def ledger_verify(
    file: Annotated[Path | None, typer.Option(help="Verify an exported file instead.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check the whole chain; name the first bad entry."""
    from platform_assets.governance.ledger import verify_export

    if file is None:
        report = _ledger(PlatformSettings()).verify()
    else:
        with file.open("rb") as stream:
            report = verify_export(stream)
    if as_json:
        _print_json(asdict(report))
    elif report.ok:
        print(f"{report.entries} entries, one chain, head {report.head_hash}")
    else:
        print(f"error: entry {report.first_bad_seq}: {report.problem}", file=sys.stderr)
    if not report.ok:
        raise typer.Exit(1)


@ledger_app.command("export")
def ledger_export(file: Annotated[Path, typer.Argument(help="JSON Lines file to write.")]) -> None:
    """Write the entries, byte for byte, for anybody to verify offline."""
    with file.open("wb") as stream:
        head = _ledger(PlatformSettings()).export(stream)
    print(f"{head.count} entries, head {head.hash}")


@ledger_app.command("show")
def ledger_show(
    kind: Annotated[str | None, typer.Option(help="Only entries of this kind.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only entries on this subject.")] = None,
    as_json: AsJson = False,
) -> None:
    """The entries, oldest first."""
    for entry in _ledger(PlatformSettings()).entries(kind=kind, subject=subject):
        if as_json:
            print(entry.raw.decode())
        else:
            told = entry.body.get("outcome") or entry.body.get("reason") or ""
            print(
                f"{entry.seq:>5}  {entry.time:%Y-%m-%d %H:%M:%S}  {entry.kind:<12} {entry.subject:<60.60} {entry.body.get('rule_set', '')} {told}"
            )


@contracts_app.command("examples")
def contracts_examples(
    line: LineName,
    limit: Annotated[int, typer.Option(help="Rows for each expectation.", min=1)] = 5,
    spec: SpecFile = None,
    as_json: AsJson = False,
) -> None:
    """Rows of the newest write that break the contract, read from the live table and stored nowhere."""
    from platform_assets.datasets.contract import failing_rows
    from platform_assets.datasets.errors import ContractError
    from platform_assets.definitions import platform_resources

    settings = PlatformSettings()
    chosen = _line(settings, line, spec)
    warehouse = platform_resources(settings)["warehouse"]
    staged = warehouse.staged(f"datasets.{line}")
    if staged is None:
        raise ContractError(
            f"dataset {line}_dataset was never written; run it with: platform-assets run {line}"
        )
    frame = warehouse.read(staged.table, staged.snapshot_id).to_pandas()
    found = []
    for expectation in chosen.contract.expectations:
        rows = failing_rows(chosen.contract, frame, expectation.index, limit=limit)
        if not rows.empty:
            found.append(
                {
                    "domain": expectation.domain,
                    "expectation": expectation.type,
                    "rows": rows.to_dict("records"),
                }
            )
    if as_json:
        _print_json(found)
        return
    for each in found:
        print(f"contract.{each['domain']}: {each['expectation']}")
        for row in each["rows"]:
            print(f"    {row}")
    if not found:
        print("no row breaks the contract")


@app.command("plan")
def show_plan(line: LineName, spec: SpecFile = None, as_json: AsJson = False) -> None:
    """What `run` would do, and why."""
    from platform_assets.line import plan
    from platform_assets.runner import open_instance

    settings = PlatformSettings()
    chosen = _line(settings, line, spec)
    with open_instance(settings) as instance:
        steps = plan(chosen, instance, _ledger(settings))
    rows = [{"asset": step.key.to_user_string(), "runs": step.runs, "reason": step.reason} for step in steps]
    if as_json:
        _print_json(rows)
        return
    for row in rows:
        print(f"{'run  ' if row['runs'] else 'reuse'}  {row['asset']}: {row['reason']}")


def main() -> None:
    """Entry point: an error that we foresaw is one message and exit status 1."""
    try:
        app()
    except PlatformError as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(1)


def _lines(settings: PlatformSettings, spec: Path | None) -> "list[Line]":
    from platform_assets.line import load_lines

    return load_lines((spec,) if spec else settings.specs)


def _line(settings: PlatformSettings, name: str | None, spec: Path | None) -> "Line":
    from platform_assets.runner import RunError

    lines = _lines(settings, spec)
    chosen = [each for each in lines if name in (None, each.name)]
    if len(chosen) != 1:
        known = ", ".join(each.name for each in lines)
        raise RunError(
            f"name one line ({known})" if name is None else f"there is no line {name}; known are {known}"
        )
    return chosen[0]


def _ledger(settings: PlatformSettings) -> "Ledger":
    from platform_assets.governance.ledger import Ledger

    return Ledger.open(settings.ledger_path, principal=settings.principal.user)


def _status(line: "Line", settings: PlatformSettings) -> dict[str, Any]:
    from platform_assets.runner import open_instance
    from platform_assets.status import line_status
    from resources.object_store import LocalObjectStore

    with open_instance(settings) as instance:
        return line_status(line, instance, _ledger(settings), LocalObjectStore(settings.objects_path))


def _print_json(content: Any) -> None:
    print(
        json.dumps(
            content,
            indent=2,
            default=lambda value: value.isoformat() if isinstance(value, datetime) else str(value),
        )
    )


def _print_summary(outcome: "RunOutcome", status: dict[str, Any]) -> None:
    print()
    for step in outcome.steps:
        seconds = f"{step.seconds:7.1f} s" if step.seconds is not None else " " * 9
        print(f"  {step.outcome:<8}{seconds}  {outcome.line}_{step.stage}")
    _print_status(status)
    if outcome.pin:
        print(
            f"\n{outcome.line} is pinned to release {outcome.pin.release_id} by {outcome.pin.by} ({outcome.pin.reason}); nothing was changed."
        )
        print(f"To let go: platform-assets unpin {outcome.line} --by NAME --reason TEXT")
    if outcome.success:
        print("\nWhat next:")
        print("  make ui                                                    see lineage, checks and pictures")
        print(f'  .venv/bin/platform-assets predict {outcome.line} "A wonderful film."')


def _print_status(status: dict[str, Any]) -> None:
    print(f"\n{status['line']}")
    if status["rows_by_split"]:
        rows = ", ".join(f"{split} {count:,}" for split, count in status["rows_by_split"].items())
        print(f"  data      {status['data_version'][:12]}  {rows}")
    if status["metrics"]:
        metrics = status["metrics"]
        print(
            f"  test AUC  {metrics['auc']:.4f}  (95 % interval {metrics['auc_low']:.4f} to {metrics['auc_high']:.4f}), "
            f"accuracy {metrics['accuracy']:.3f}, F1 {metrics['f1']:.3f}, ECE {metrics['ece']:.3f}"
        )
    for verdict in status["verdicts"]:
        print(
            f"  {verdict['outcome']:<8}  {verdict['rule_set']}"
            + (f": {verdict['reason']}" if verdict["reason"] else "")
        )
    if status["card"]:
        print(f"  card      {status['card']}")
    deployed = status["deployed_version"]
    print(
        f"  deployed  version {deployed['model_version']}, release {deployed['release_id']}"
        if deployed
        else "  deployed  nothing"
    )


if __name__ == "__main__":
    main()
