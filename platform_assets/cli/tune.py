"""`platform-assets tune`: an Experiment executed beside a line, which stays as it is."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from platform_assets.cli.common import AsJson, LineName, SpecFile, chosen_line, outside_systems, print_json

if TYPE_CHECKING:
    from platform_assets.tuning.tuning import Tuned


def tune(
    line: LineName,
    experiment: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A Katib Experiment; default: the one that the line's spec names.",
        ),
    ] = None,
    spec: SpecFile = None,
    as_json: AsJson = False,
) -> None:
    """Execute an Experiment on a line's newest features, and print what to write into its spec.

    Nothing of the line is changed. A study that was ended goes on where it stood.
    """
    from platform_assets.lines.runner import open_instance
    from platform_assets.lines.trials import features_for_trials
    from platform_assets.tuning.assets import tuning_fingerprint
    from platform_assets.tuning.declared import declared_experiment
    from platform_assets.tuning.errors import TuningError
    from platform_assets.tuning.executing import only_tuning, run_tuning

    outside = outside_systems()
    chosen = chosen_line(outside, line, spec).adapted(outside.ledger)
    trainer = chosen.task.trainer
    if experiment is not None:
        declared = declared_experiment(experiment, spec=chosen.spec, fields=trainer.fields)
    elif chosen.experiment is not None:
        declared = chosen.experiment
    else:
        raise TuningError(f"{chosen.name} has no Experiment: name one with --experiment FILE")
    with open_instance(outside.settings) as instance:
        features = features_for_trials(chosen, instance, None)
    identity = tuning_fingerprint(chosen.spec, trainer, declared, features)
    tell = partial(print, file=sys.stderr)
    with only_tuning(outside.locks, identity, tell=tell):
        tuned = run_tuning(
            outside,
            chosen.spec,
            trainer,
            declared,
            features,
            identity=identity,
            spec_path=chosen.manifest.path,
            tell=tell,
        )
    if as_json:
        print_json(_as_json(tuned))
    else:
        _print(tuned, chosen.manifest.path)
    if not tuned.is_complete:
        raise typer.Exit(1)


def _as_json(tuned: "Tuned") -> dict[str, Any]:
    return {
        "outcome": tuned.sentence,
        "trial": tuned.trial,
        "value": tuned.value,
        "default_value": tuned.default_value,
        "assignment": dict(tuned.assignment),
        "status": tuned.status.to_json(),
        "trials": [each.to_json() for each in tuned.status.trials],
    }


def _print(tuned: "Tuned", spec: Path) -> None:
    import yaml

    for each in tuned.status.trials:
        reached = f"{each.value:.4f}" if each.value is not None else "-"
        values = ", ".join(f"{name}={value}" for name, value in each.assignment.items())
        print(f"{each.state:<18}  {reached:>8}  {values}")
    print(f"\n{tuned.sentence}")
    if tuned.beats_defaults:
        print(f"\nTo train with it from now on, write into {spec}:\n")
        print(yaml.safe_dump(dict(tuned.assignment), sort_keys=False), end="")
