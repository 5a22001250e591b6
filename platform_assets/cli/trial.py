"""`platform-assets trial`: one model of one assignment, trained and judged; the command of an Experiment's trials."""

import json
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Final

import typer

from platform_assets.cli.common import LineName, chosen_line, outside_systems

if TYPE_CHECKING:
    from collections.abc import Mapping

SPEC: Final = "PLATFORM_TRIAL_SPEC"
VALUES: Final = "PLATFORM_TRIAL_VALUES"
FEATURES: Final = "PLATFORM_TRIAL_FEATURES"
THREADS: Final = "PLATFORM_TRIAL_THREADS"


def trial(
    line: LineName,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A parameter of the model for this trial: a field of the spec, or another name for it.",
        ),
    ] = None,
    spec: Annotated[
        Path | None,
        typer.Option("--spec", envvar=SPEC, help="Training spec to use instead of the shipped ones."),
    ] = None,
    values: Annotated[
        str | None,
        typer.Option(
            envvar=VALUES,
            metavar="JSON",
            help="Values of the spec that stand where --set names no other; default: those of its file.",
        ),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(envvar=FEATURES, help="Version of the line's features; default: the newest."),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(envvar=THREADS, min=1, help="CPU threads; default: as many as there are CPUs."),
    ] = None,
) -> None:
    """Train a model with some values, judge it on the validation rows, and print its metrics as Katib reads them.

    It reads the features that were materialized before, and nothing of what it makes is kept.
    """
    from platform_assets.features.assets import state_of
    from platform_assets.lines.runner import open_instance
    from platform_assets.lines.trials import features_for_trials
    from platform_assets.tuning.assignment import assigned
    from platform_assets.tuning.trial import printed, run_trial

    def report(metrics: "Mapping[str, float]") -> None:
        # At once: whoever reads may end this trial by what it has told so far.
        print(printed(metrics, datetime.now(UTC)), flush=True)

    outside = outside_systems()
    chosen = chosen_line(outside, line, spec).adapted(outside.ledger)
    trainer = chosen.task.trainer
    base = assigned(chosen.spec, _texts(values), trainer.fields)
    resolved = assigned(base, _pairs(assignments or []), trainer.fields)
    with open_instance(outside.settings) as instance:
        made_from = features_for_trials(chosen, instance, features)
    with TemporaryDirectory(prefix="trial-") as scratch:
        run_trial(
            resolved,
            trainer,
            made_from,
            warehouse=outside.warehouse,
            state=state_of(outside, made_from),
            scratch=Path(scratch),
            report=report,
            threads=threads,
        )


def _texts(values: str | None) -> dict[str, str]:
    try:
        found = json.loads(values or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise typer.BadParameter("--values: write a JSON object of fields and values")
    # As JSON: of a text that looks like a number, its quotes say that it is none.
    return {name: json.dumps(value) for name, value in found.items()}


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise typer.BadParameter(f"--set {text}: write NAME=VALUE")
        if name in pairs:
            raise typer.BadParameter(f"--set {name} stands twice; keep one")
        pairs[name] = value
    return pairs
