"""The commands about a line: run, look, predict."""

import json
import os
import shlex
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from platform_assets.cli.common import (
    AsJson,
    LineName,
    SpecFile,
    chosen_line,
    chosen_lines_and_transformers,
    outside_systems,
    print_json,
)
from platform_assets.cli.completion import line_names
from platform_assets.cli.promoted import promotion_lines, promotion_summary
from platform_assets.cli.transformers import daily_lines
from platform_assets.cli.usage import BUILD, OPERATE, SERVE, WATCH, examples
from resources.settings import REPORTS_PORT, PlatformSettings, reports_address
from resources.signals import Ended

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from pydantic import JsonValue

    from platform_assets.features.day_status import DailyStatus
    from platform_assets.features.declared import Transformers
    from platform_assets.lines.line import Line
    from platform_assets.lines.runner import RunOutcome
    from platform_assets.outside_systems import OutsideSystems

app = typer.Typer(no_args_is_help=True)

_SHARED_METRICS: Final = frozenset({"auc", "auc_low", "auc_high", "pr_auc", "accuracy", "f1", "ece", "brier"})
"""Those that every task has; a task measures more."""


@app.command(
    rich_help_panel=BUILD, epilog=examples("run reviews_sentiment", "run --spec churn/training-spec.yaml")
)
def run(
    line: Annotated[
        str | None,
        typer.Argument(help="Name of a model line; may be left out with --spec.", autocompletion=line_names),
    ] = None,
    spec: SpecFile = None,
    as_json: AsJson = False,
) -> None:
    """Bring a line up to date: run what has changed, reuse the rest, deploy if every verdict allows it."""
    from platform_assets.lines.runner import run_line

    outside = outside_systems()
    chosen = chosen_line(outside, line, spec)
    outcome = run_line(chosen, outside)
    try:
        status = _status(chosen, outside)
    except Exception:
        # What ended the run may keep its status away as well; it is the run's own failure that people must see.
        if outcome.success:
            raise
        status = None
    if as_json:
        print_json({"run": asdict(outcome), "status": status})
    elif status is not None:
        _print_summary(outcome, status, example=chosen.example_instance, spec=spec)
    if not outcome.success:
        print(f"\nerror: {outcome.failure}", file=sys.stderr)
        raise typer.Exit(1)


@app.command(rich_help_panel=WATCH, epilog=examples("status", "status reviews_sentiment --json"))
def status(
    line: Annotated[
        str | None, typer.Argument(help="Only this line. Default: all.", autocompletion=line_names)
    ] = None,
    spec: SpecFile = None,
    as_json: AsJson = False,
) -> None:
    """Show data, model, metrics, verdicts, drift and the deployed version of each line; and who is asking."""
    from platform_assets.lines.definitions import adapted_lines
    from sensors.git_push import waiting_pushes

    outside = outside_systems()
    settings, (lines, transformers) = outside.settings, chosen_lines_and_transformers(outside, spec)
    _, stuck = adapted_lines(lines.sound, outside.ledger)
    broken = [each for each in (*lines.broken, *stuck) if line in (None, each.name)]
    down = {each.name for each in stuck}
    chosen = [each for each in lines.sound if line in (None, each.name) and each.name not in down]
    if not (chosen or broken):
        chosen = [chosen_line(outside, line, spec)]
    used = {name for each in chosen for name in each.transformer_references}
    no_transformers = [each for each in transformers.broken if line is None or each.name in used]
    states = {each.name: _status(each, outside) for each in chosen}
    daily = _daily(transformers, outside, used if line is not None else None)
    pushes = [
        str(each) for each in waiting_pushes(outside, lines.sound, broken={each.name for each in broken})
    ]
    found = {
        "principal": settings.principal.model_dump(mode="json"),
        "profile": settings.profile,
        "lines": states,
        "daily_features": [each.to_json() for each in daily],
        "broken_lines": [
            {"line": each.name, "spec": str(each.path), "problem": each.problem} for each in broken
        ],
        "broken_transformers": [
            {"transformer": each.name, "declared_in": each.place, "problem": each.problem}
            for each in no_transformers
        ],
        "waiting_pushes": pushes,
    }
    # Whoever asks for one line, and gets none, is told by the exit status too.
    failed = bool(broken) and (line is not None or spec is not None)
    if as_json:
        print_json(found)
        raise typer.Exit(int(failed))
    principal = settings.principal
    print(
        f"{principal.user} (groups {', '.join(principal.groups)}; env {principal.labels.env}), profile {settings.profile}"
    )
    for each in states.values():
        _print_status(each)
        if each["schema_breaker"] != "closed":
            print(f"  breaker   {each['schema_breaker']}: platform-assets breaker status")
        for problem in each["blocked_by"]:
            print(f"  blocked   {problem}")
        if each["pinned"]:
            print(
                f"  pinned    to {each['pinned']['release_id']} by {each['pinned']['by']}: {each['pinned']['reason']}"
            )
        for column, state in each["drift"].items():
            print(f"  drift     {column}: {state}")
    for days in daily:
        print(f"\n{days.asset}")
        for told in daily_lines(days):
            print(f"  {told}")
    for name, problem in [
        *((each.name, each.problem) for each in broken),
        *((f"transformer {each.name}", each.problem) for each in no_transformers),
    ]:
        print(f"\n{name}\n  broken    " + problem.replace("\n", "\n            "))
    for push in pushes:
        print(f"\nwaiting push {push}")
    raise typer.Exit(int(failed))


@app.command(
    rich_help_panel=SERVE,
    epilog=examples(
        "predict reviews_sentiment 'A wonderful film.'",
        'predict credit_scorecard \'{"Income": 129, "Home": "rent"}\'',
        "predict reviews_sentiment 'So so.' --json > answer.json",
        "predict chest_xray_detector film.png --stage staging",
    ),
)
def predict(
    line: LineName,
    instances: Annotated[
        list[str],
        typer.Argument(help="What to judge: texts, or JSON objects of columns, as the task has it."),
    ],
    events: Annotated[
        str | None,
        typer.Option(help="Tell a drift monitor: a file to append to, or the address of `drift watch`."),
    ] = None,
    source: Annotated[str | None, typer.Option(help="Where the instances come from, for its events.")] = None,
    stage: Annotated[
        Literal["production", "staging"], typer.Option(help="Which of the line's releases answers.")
    ] = "production",
    as_json: AsJson = False,
) -> None:
    """Answer from the deployed release."""
    from platform_assets.serving.predictor import Predictor
    from platform_assets.tasks.registry import load_scorer, read_instances

    outside = outside_systems()
    predictor = Predictor.of_active_release(
        line, load_scorer, ledger=outside.ledger, store=outside.object_store, stage=stage
    )
    asked = read_instances(predictor.model, instances)
    predictions = predictor.predict(asked)
    if events is not None:
        from platform_assets.drift.answers import prediction_events
        from platform_assets.drift.delivery import TOKEN_VARIABLE, deliver

        watched = predictor.scorer.watched(asked)
        answers = prediction_events(predictions, watched, event_time=datetime.now(UTC), source=source)
        deliver(answers, events, token=os.environ.get(TOKEN_VARIABLE))
    if as_json:
        print_json([prediction.to_json() for prediction in predictions])
        return
    for text, prediction in zip(instances, predictions, strict=True):
        print(f"{prediction.label}  {prediction.score:.3f}  {text}")
        for line_of_it in _explained(prediction.explanation):
            print(f"   {line_of_it}")
    print(
        f"answered by {line} version {predictions[0].model_version}, release {predictions[0].release_id}",
        file=sys.stderr,
    )


@app.command(rich_help_panel=SERVE, epilog=examples("releases reviews_sentiment"))
def releases(line: LineName, as_json: AsJson = False) -> None:
    """List the releases of a line, oldest first."""
    from platform_assets.governance import release

    ledger = outside_systems().ledger
    active, staged = release.active(ledger, line), release.active(ledger, line, "staging")
    found = [
        {
            "release_id": each.release_id,
            "model_version": each.card.registered.number,
            "data_version": each.versions["dataset"],
            "created_at": each.created_at.isoformat() if each.created_at else None,
            "active": active is not None and each.release_id == active.release_id,
            "staged": staged is not None and each.release_id == staged.release_id,
        }
        for each in release.releases(ledger, line)
    ]
    if as_json:
        print_json(found)
        return
    for row in found:
        print(
            f"{'●' if row['active'] else ' '} {row['release_id']}  version {row['model_version']}  {row['created_at']}"
            f"{'  in staging' if row['staged'] else ''}"
        )


@app.command(
    rich_help_panel=OPERATE,
    epilog=examples("ui", "ui --spec churn/training-spec.yaml", "ui --port 3100 --reports-port 3101"),
)
def ui(
    spec: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="A training spec to show beside the others; for several, repeat it."
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    reports_port: Annotated[
        int, typer.Option("--reports-port", help="Port of the report server.")
    ] = REPORTS_PORT,
) -> None:
    """The Dagster UI, webserver and daemon, on the same storage; and beside them the report server, to begin with."""
    from platform_assets.cli.reports import serve_command
    from platform_assets.cli.serving import AddressError, listening
    from resources.dagster_home import prepare_dagster_home
    from resources.process_tree import beside, run_tree

    settings = PlatformSettings()
    if spec:
        os.environ["PLATFORM_SPECS"] = json.dumps(_beside(settings, spec))
    if port == reports_port:
        raise AddressError(f"port {port} cannot be both: choose another with --reports-port")
    # Its parts start one by one, and the last one would find out.
    listening(host, port).close()
    listening(host, reports_port, option="--reports-port").close()
    os.environ.setdefault("DAGSTER_HOME", str(prepare_dagster_home(settings)))
    os.environ["PLATFORM_HOME"] = str(settings.home)
    # What its assets link to is what it starts, unless somebody says that people get there in another way.
    begin = os.environ.setdefault("PLATFORM_REPORTS_URL", reports_address(host, reports_port))
    arguments = ["dagster", "dev", "-m", "platform_assets.definitions", "-h", host, "-p", str(port)]
    print(f"begin here: {begin}", file=sys.stderr)
    try:
        with beside(serve_command(host, reports_port), os.environ):
            status = run_tree([sys.executable, "-m", *arguments], os.environ)
    except Ended as ended:
        raise Ended(ended.number, "the UI and all that it had started have ended") from None
    raise typer.Exit(status)


def _daily(
    transformers: "Transformers", outside: "OutsideSystems", names: "Collection[str] | None"
) -> "list[DailyStatus]":
    """The days of those of these transformers that have them; names of None are all."""
    from platform_assets.features.day_status import daily_status

    chosen = [each for name, each in transformers.sound.items() if names is None or name in names]
    return [found for each in chosen if (found := daily_status(each, outside)) is not None]


def _beside(settings: PlatformSettings, more: "Sequence[Path]") -> list[str]:
    """All specs that are shown: those of the settings, or that ship, and more, wherever processes are started.

    Raises:
        ManifestError: one of them is no spec; it is told now, and not in the log of a server.
    """
    from platform_assets.lines.line import load_line, shipped_specs

    for each in more:
        load_line(each)
    return [str(path.resolve()) for path in (*(settings.specs or shipped_specs()), *more)]


@app.command(
    "plan",
    rich_help_panel=BUILD,
    epilog=examples("plan reviews_sentiment", "plan churn --spec churn/training-spec.yaml"),
)
def show_plan(line: LineName, spec: SpecFile = None, as_json: AsJson = False) -> None:
    """Show what `run` would do, and why."""
    from platform_assets.lines.plan import plan
    from platform_assets.lines.runner import open_instance

    outside = outside_systems()
    chosen = chosen_line(outside, line, spec)
    with open_instance(outside.settings) as instance:
        steps = plan(chosen, instance, outside)
    rows = [{"asset": step.key.to_user_string(), "runs": step.runs, "reason": step.reason} for step in steps]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        print(f"{'run  ' if row['runs'] else 'reuse'}  {row['asset']}: {row['reason']}")


def _explained(explanation: "Mapping[str, JsonValue]") -> "Iterator[str]":
    """A line for each figure, and one for each entry of a list."""
    for name, value in explanation.items():
        for at, each in enumerate(value if isinstance(value, list) else [value]):
            told = (
                ", ".join(f"{key} {item}" for key, item in each.items()) if isinstance(each, dict) else each
            )
            yield f"{name if at == 0 else '':<9} {told}"


def _status(line: "Line", outside: "OutsideSystems") -> dict[str, Any]:
    from platform_assets.lines.runner import open_instance
    from platform_assets.lines.status import line_status

    with open_instance(outside.settings) as instance:
        return line_status(line, instance, outside)


def _print_summary(outcome: "RunOutcome", status: dict[str, Any], *, example: str, spec: Path | None) -> None:
    print()
    for step in outcome.steps:
        seconds = f"{step.seconds:7.1f} s" if step.seconds is not None else " " * 9
        print(f"  {step.outcome:<8}{seconds}  {step.asset}")
    _print_status(status)
    if outcome.pin:
        print(
            f"\n{outcome.line} is pinned to release {outcome.pin.release_id} by {outcome.pin.by} ({outcome.pin.reason}); nothing was changed."
        )
        print(f"To let go: platform-assets unpin {outcome.line} --by NAME --reason TEXT")
    if outcome.success:
        # As it was called now: whoever has just begun has it on no path.
        called = sys.argv[0] if Path(sys.argv[0]).name == "platform-assets" else "platform-assets"
        further = ["--spec", str(spec)] if spec else []
        if status["promotion"]:
            print()
            for line in promotion_summary(outcome.line, status["promotion"], called, further):
                print(line)
        print("\nWhat next:")
        shown = shlex.join([called, "ui", *further])
        print(f"  {shown:<57}  see lineage, checks and pictures")
        # What only staging has, production does not answer with.
        stage = (
            ["--stage", "staging"] if status["promotion"] and not status["promotion"]["production"] else []
        )
        print(f"  {shlex.join([called, 'predict', outcome.line, example, *stage])}")


def _print_status(status: dict[str, Any]) -> None:
    print(f"\n{status['line']}")
    if status["rows_by_split"]:
        rows = ", ".join(f"{split} {count:,}" for split, count in status["rows_by_split"].items())
        print(f"  data      {status['data_version'][:12]}  {rows}")
    for each in status["transformers"]:
        print(f"  features  {each['version']}, fitted on {each['fit_rows']:,} rows of {each['fitted_on']}")
    if tuned_by := status["tuned_by"]:
        values = ", ".join(f"{name} {value}" for name, value in tuned_by["assignment"].items())
        print(f"  tuned     {values}, by trial {tuned_by['trial']}")
    if status["metrics"]:
        metrics = status["metrics"]
        print(
            f"  test AUC  {metrics['auc']:.4f}  (95 % interval {metrics['auc_low']:.4f} to {metrics['auc_high']:.4f}), "
            f"accuracy {metrics['accuracy']:.3f}, F1 {metrics['f1']:.3f}, ECE {metrics['ece']:.3f}"
        )
        if own := {name: value for name, value in metrics.items() if name not in _SHARED_METRICS}:
            print("  measures  " + ", ".join(f"{name} {value:.3f}" for name, value in own.items()))
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
    for word, text in promotion_lines(status["promotion"]) if status["promotion"] else ():
        print(f"  {word:<8}  {text}")
