"""`platform-assets materialize`: one asset of a line, as a step of a workflow that others run."""

import json
from pathlib import Path
from typing import Annotated

import typer

from platform_assets.cli.common import LineName, SpecFile, chosen_line, outside_systems


def materialize(
    line: LineName,
    stage: Annotated[
        str,
        typer.Argument(
            help="dataset, features, tuning (of a line with an Experiment), model, validation, version, card, deployment."
        ),
    ],
    spec: SpecFile = None,
    made_from: Annotated[
        str | None,
        typer.Option("--from", help="Version of the asset before it to make it from; default: the newest."),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="FIELD=VALUE", help="A value of the spec for this run; VALUE is JSON or text."
        ),
    ] = None,
    run_tags: Annotated[
        list[str] | None, typer.Option("--run-tag", metavar="KEY=VALUE", help="A tag of the run.")
    ] = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option(
            "--output", metavar="NAME=FILE", help="A figure to write into a file, e.g. auc=/tmp/auc."
        ),
    ] = None,
    basis: Annotated[
        str | None, typer.Option(help="Refuse where the line's spec is not the one with this identity.")
    ] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait while the line runs elsewhere.")] = 0.0,
) -> None:
    """Materialize one asset of a line, and print its key figures as one line of JSON."""
    from platform_assets.export.workflow import ExportError, assigned, figure_texts, key_figures
    from platform_assets.lines.runner import materialize as materialize_asset

    outside = outside_systems()
    chosen = chosen_line(outside, line, spec)
    if stage not in chosen.stages:
        raise ExportError(f"there is no asset {line}_{stage}; a line has {', '.join(chosen.stages)}")
    if basis not in (None, chosen.basis):
        raise ExportError(
            f"the spec of {line} is {chosen.basis[:12]} and this workflow was exported from {basis[:12]}: export it again"
        )
    config, tags = assigned(chosen.task, chosen.spec, stage, assignments or []), _pairs("--run-tag", run_tags)
    files = _pairs("--output", outputs)
    made = materialize_asset(
        chosen, stage, outside, made_from=made_from, config=config, tags=tags, wait_seconds=wait
    )
    figures = key_figures(made.reference)
    for name, text in figure_texts(figures, list(files)).items():
        target = Path(files[name])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    print(json.dumps({"line": line, "stage": stage, "run_id": made.run_id, **figures, "checks": made.checks}))


def _pairs(option: str, texts: list[str] | None) -> dict[str, str]:
    pairs = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise typer.BadParameter(f"{option} {text}: write NAME=VALUE")
        pairs[name] = value
    return pairs
