"""`platform-assets trial`: one model of one assignment, trained and judged; the command of an Experiment's trials."""

import json
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Final

import typer

from platform_assets.cli.common import LineName, SpecFile, chosen_line, outside_systems

if TYPE_CHECKING:
    from collections.abc import Mapping

    from platform_assets.lines.line import Line
    from platform_assets.tasks.training_spec import TrainingSpec

FEATURES: Final = "PLATFORM_TRIAL_FEATURES"
VALUES: Final = "PLATFORM_TRIAL_VALUES"
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
    spec: SpecFile = None,
    features: Annotated[
        str | None,
        typer.Option(envvar=FEATURES, help="Version of the line's features; default: the newest."),
    ] = None,
    values: Annotated[
        str | None,
        typer.Option(
            envvar=VALUES,
            metavar="JSON",
            help="Values by field of the spec, in the place of the line's; --set goes before them.",
        ),
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
    basis = _with_values(chosen, values) if values else chosen.spec
    resolved = assigned(basis, _pairs(assignments or []), trainer.fields)
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


def _with_values(line: "Line", text: str) -> "TrainingSpec":
    try:
        found: TrainingSpec = line.task.with_overrides(line.spec, {"model": dict(json.loads(text))})
    except (ValueError, TypeError, KeyError) as problem:
        raise typer.BadParameter(
            f"--values is no JSON object of values by field of {line.name}: {problem}"
        ) from None
    return found


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
