"""The line as a Kubeflow pipeline: KFP v2 IR YAML, compiled by the real SDK.

The SDK holds `kubernetes` back to version 30, so it lives in an environment of its own and is called as a
process: it reads a description of the pipeline and writes the YAML.
"""

import json
import os
import subprocess
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel

from platform_assets.export.argo import (
    INSTANCE,
    INSTANCE_PATH,
    POD_LABELS,
    SCRATCH_PATH,
    SECRETS,
    SETTINGS,
    USER,
)
from platform_assets.export.workflow import ExportError, LineWorkflow, Parameter, WorkflowStep, spelled
from platform_assets.models.pod import GPU
from platform_assets.yaml_writer import to_yaml
from resources.settings import PlatformSettings

PYTHON_VARIABLE: Final = "PLATFORM_KFP_PYTHON"
_BESIDE: Final = Path(".kfp-venv/bin/python")
_COMPILER: Final = Path(__file__).with_name("kfp_compile.py")
_SECRET_VARIABLES: Final = (
    "PGPASSWORD",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "PLATFORM_ROW_SALT",
    "PLATFORM_LEDGER_SIGNING_KEY",
)
_LIGHT: Final = {"cpu_request": "0.5", "cpu_limit": "2", "memory_request": "2Gi", "memory_limit": "4Gi"}
_TIMEOUT_SECONDS: Final = 300


def kubeflow_pipeline(workflow: LineWorkflow, *, python: Path) -> str:
    """The pipeline's YAML. Equal workflows give equal text.

    Args:
        workflow: The line.
        python: An interpreter that has the SDK.

    Raises:
        ExportError: the SDK is not there, or refuses.
    """
    try:
        done = subprocess.run(
            # Isolated: neither this folder nor this environment's packages stand in the SDK's way.
            [str(python), "-I", str(_COMPILER)],
            input=json.dumps(description(workflow)),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise ExportError(f"{python} cannot compile the pipeline: {problem}\n{_advice()}") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        advice = f"\n{_advice()}" if "ModuleNotFoundError" in reason else ""
        raise ExportError(f"{python} cannot compile the pipeline: {reason}{advice}")
    return _for_any_reader(done.stdout)


def _for_any_reader(compiled: str) -> str:
    """The SDK's YAML, which it writes for readers of YAML 1.1 alone, quoted for all; its comment on top stays."""
    lines = compiled.splitlines(keepends=True)
    comment = "".join(takewhile(lambda line: line.startswith("#"), lines))
    return comment + to_yaml(*yaml.load_all(compiled, Loader=yaml.CSafeLoader))


def find_kfp_python() -> Path:
    """The interpreter of the environment that has the KFP SDK.

    Raises:
        ExportError: there is none.
    """
    chosen = Path(os.environ.get(PYTHON_VARIABLE) or _BESIDE)
    if not chosen.is_file():
        raise ExportError(f"there is no {chosen}, which would have the KFP SDK\n{_advice()}")
    return chosen


def _advice() -> str:
    return (
        "make its environment, or name another by PLATFORM_KFP_PYTHON:\n"
        "    python3 -m venv .kfp-venv\n"
        "    .kfp-venv/bin/pip install -r constraints-kfp.lock"
    )


def description(workflow: LineWorkflow) -> dict[str, Any]:
    """What the compiler reads: parameters, steps with their command lines, and what they ask of Kubernetes."""
    return {
        "name": workflow.line.replace("_", "-"),
        "description": workflow.spec.description,
        "parameters": [_parameter(each) for each in workflow.parameters],
        "steps": [_step(workflow, step) for step in workflow.steps],
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    if parameter.is_optional or parameter.value is None:
        # A pipeline's parameter has one type, and null has none: these are JSON texts.
        return {"name": parameter.name, "type": "str", "value": spelled(parameter.value)}
    return {"name": parameter.name, "type": type(parameter.value).__name__, "value": parameter.value}


def _step(workflow: LineWorkflow, step: WorkflowStep) -> dict[str, Any]:
    resources = workflow.spec.resources
    described: dict[str, Any] = {
        "name": step.stage,
        "after": step.after,
        "image": workflow.image,
        "command": workflow.command(
            step,
            workflow="kubeflow",
            made_from=_value_of("made_from"),
            value_of=_value_of,
            file_of=lambda figure: f"{{{{$.outputs.parameters['{figure}'].output_file}}}}",
        ),
        "parameters": [_parameter(each) for each in step.parameters],
        "figures": {figure: "float" if figure == workflow.headline else "str" for figure in step.figures},
        "cached": step.is_pure,
        "resources": dict(_LIGHT),
        "environment": {
            "config_map": SETTINGS,
            "settings": setting_variables(),
            "secret": SECRETS,
            "secrets": list(_SECRET_VARIABLES),
        },
        "instance": {"config_map": INSTANCE, "path": INSTANCE_PATH},
        "scratch": SCRATCH_PATH,
        "user": USER,
        "labels": dict(POD_LABELS),
    }
    if step.condition:
        described["condition"] = {
            "of": "validation",
            "figure": workflow.headline,
            "operator": step.condition.operator,
            "bound": step.condition.bound,
        }
    # On several nodes the step itself only starts the Job that trains, and waits for it.
    if step.stage == "model" and resources.nodes == 1:
        described["resources"] = {
            "cpu_request": resources.cpu,
            "cpu_limit": resources.cpu,
            "memory_request": resources.memory,
            "memory_limit": resources.memory,
        }
        described["node_selector"] = dict(resources.node_selector)
        described["tolerations"] = [each.model_dump(exclude_none=True) for each in resources.tolerations]
        if resources.gpu:
            described["accelerator"] = {"type": GPU, "limit": resources.gpu}
        if resources.shared_memory:
            described["shared_memory"] = resources.shared_memory
    return described


def _value_of(name: str) -> str:
    return f"{{{{$.inputs.parameters['{name}']}}}}"


def setting_variables() -> list[str]:
    """Every environment variable that the platform's settings are read from."""
    prefix = str(PlatformSettings.model_config["env_prefix"])
    delimiter = str(PlatformSettings.model_config["env_nested_delimiter"])
    return [f"{prefix}{name.upper()}" for name in _names(PlatformSettings, delimiter)]


def _names(section: type[BaseModel], delimiter: str) -> list[str]:
    names = []
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += [f"{name}{delimiter}{each}" for each in _names(field.annotation, delimiter)]
        else:
            names.append(name)
    return names
