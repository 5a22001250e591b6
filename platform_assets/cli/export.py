"""`platform-assets export …`: a line for other runtimes."""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from platform_assets.cli.common import LineName, SpecFile, chosen_line, outside_systems, whole_file
from platform_assets.cli.usage import examples

if TYPE_CHECKING:
    from platform_assets.export.workflow import LineWorkflow

app = typer.Typer(
    no_args_is_help=True, help="A line as a file for other runtimes: Argo, Kubeflow, a Job of several nodes."
)

Image = Annotated[
    str | None, typer.Option(help="Container image of every step; default: this version of the platform's.")
]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="File to write instead of stdout.")]


@app.command(epilog=examples("export argo reviews_sentiment -o workflow.yaml"))
def argo(line: LineName, spec: SpecFile = None, image: Image = None, output: Output = None) -> None:
    """The line as an Argo Workflow: `kubectl create -f`, or `argo submit`."""
    from platform_assets.export.argo import argo_workflow
    from platform_assets.yaml_writer import to_yaml

    _write(to_yaml(argo_workflow(_workflow(line, spec, image))), output)


@app.command(epilog=examples("export kfp reviews_sentiment -o pipeline.yaml"))
def kfp(line: LineName, spec: SpecFile = None, image: Image = None, output: Output = None) -> None:
    """The line as a Kubeflow pipeline: KFP v2 IR YAML, compiled by the KFP SDK."""
    from platform_assets.export.kubeflow import find_kfp_python, kubeflow_pipeline

    python = find_kfp_python()
    _write(kubeflow_pipeline(_workflow(line, spec, image), python=python), output)


@app.command(epilog=examples("export job reviews_sentiment -o job.yaml"))
def job(
    line: LineName,
    spec: SpecFile = None,
    image: Image = None,
    namespace: Annotated[str, typer.Option(help="Where the objects are to be made.")] = "platform-assets",
    output: Output = None,
) -> None:
    """The Indexed Job, with its Service, that trains a line on several nodes; the platform makes it by itself."""
    from platform_assets.lines.plan import training_prefix
    from platform_assets.lines.runner import open_instance
    from platform_assets.models.distributed import training_job
    from platform_assets.yaml_writer import to_yaml

    outside = outside_systems()
    settings, chosen = outside.settings, chosen_line(outside, line, spec)
    with open_instance(settings) as instance:
        prefix = training_prefix(chosen, instance, env=settings.env)
    manifests = training_job(chosen.spec, prefix=prefix, image=_image(image), namespace=namespace)
    _write(to_yaml(*manifests), output)


def _workflow(name: str, spec: Path | None, image: str | None) -> "LineWorkflow":
    from platform_assets.export.workflow import line_workflow

    line = chosen_line(outside_systems(), name, spec)
    return line_workflow(line.task, line.spec, basis=line.basis, image=_image(image))


def _image(chosen: str | None) -> str:
    return chosen or f"platform-assets:{version('platform-assets')}"


def _write(text: str, output: Path | None) -> None:
    if output is None:
        print(text, end="")
    else:
        with whole_file(output) as target:
            target.write_text(text, encoding="utf-8")
