"""What Argo and Kubeflow do with an exported file, as far as a line needs it: order, values, conditions, outputs.

Everything is taken from the file itself. What the file does not say, or says in a way that is not known here, is
an error.
"""

import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

RunStep = Callable[[list[str]], int]
"""Runs a container's command and returns its exit status."""

_PLACEHOLDER = re.compile(r"\{\{([^{}]+)\}\}")
_COMPARISON = re.compile(r"(\S+) (>=|<=|>|<) (\S+)")
_OPERATORS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_DEPENDS = re.compile(r"([a-z0-9-]+)\.(Succeeded)")
_KFP_VALUE = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")
_KFP_FILE = re.compile(r"\{\{\$\.outputs\.parameters\['([^']+)'\]\.output_file\}\}")
_KFP_CONDITION = re.compile(r"inputs\.parameter_values\['([^']+)'\] (>=|<=|>|<) (\S+)")


@dataclass
class Execution:
    """What became of each step, in the order in which they came up."""

    states: dict[str, str] = field(default_factory=dict)
    """`Succeeded`, `Failed`, `Skipped` or `Omitted`, by step."""
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)


def compare(text: str) -> bool:
    """A condition between two numbers, as it stands after substitution."""
    found = _COMPARISON.fullmatch(text)
    assert found, f"not a comparison: {text!r}"
    return _OPERATORS[found[2]](float(found[1]), float(found[3]))


def run_argo(
    manifest: Mapping[str, Any],
    run_step: RunStep,
    *,
    scratch: Path,
    arguments: Mapping[str, str] | None = None,
) -> Execution:
    """Execute a Workflow.

    Args:
        manifest: The Workflow.
        run_step: Runs a container's command.
        scratch: The folder behind the mount of the volume `scratch`, whose path stands in the commands.
        arguments: Values of workflow parameters, where they differ from the file's.
    """
    spec = manifest["spec"]
    templates = {each["name"]: each for each in spec["templates"]}
    tasks = {each["name"]: each for each in templates[spec["entrypoint"]]["dag"]["tasks"]}
    parameters = {each["name"]: each["value"] for each in spec["arguments"]["parameters"]} | dict(
        arguments or {}
    )
    known = {"workflow.name": f"{manifest['metadata']['generateName']}x7k2p"}
    known |= {f"workflow.parameters.{name}": value for name, value in parameters.items()}
    execution = Execution()
    order = TopologicalSorter({name: argo_ancestors(task) for name, task in tasks.items()})
    for name in order.static_order():
        task = tasks[name]
        if not all(execution.states[each] == "Succeeded" for each in argo_ancestors(task)):
            execution.states[name] = "Omitted"
            continue
        if "when" in task and not compare(_filled(task["when"], known)):
            execution.states[name] = "Skipped"
            continue
        given = {
            f"inputs.parameters.{each['name']}": _filled(each["value"], known)
            for each in task.get("arguments", {}).get("parameters", [])
        }
        template = templates[task["template"]]
        mount = _scratch_mount(template)
        command = [_filled(part, known | given) for part in template["container"]["command"]]
        command = [part.replace(f"{mount}/", f"{scratch}/") for part in command]
        if run_step(command):
            execution.states[name] = "Failed"
            continue
        execution.states[name] = "Succeeded"
        execution.outputs[name] = {
            each["name"]: (scratch / Path(each["valueFrom"]["path"]).relative_to(mount)).read_text()
            for each in template["outputs"]["parameters"]
        }
        known |= {
            f"tasks.{name}.outputs.parameters.{each}": value
            for each, value in execution.outputs[name].items()
        }
    return execution


def argo_ancestors(task: Mapping[str, Any]) -> set[str]:
    """The tasks that must have succeeded before; any other condition than that is refused."""
    if "depends" not in task:
        return set()
    parts = [_DEPENDS.fullmatch(part.strip()) for part in task["depends"].split("&&")]
    assert all(parts), f"not only successes: {task['depends']!r}"
    return {part[1] for part in parts if part}


def _filled(text: str, known: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: known[found[1].strip()], text)


def _scratch_mount(template: Mapping[str, Any]) -> str:
    return next(
        each["mountPath"] for each in template["container"]["volumeMounts"] if each["name"] == "scratch"
    )


def run_kubeflow(ir: Mapping[str, Any], run_step: RunStep, *, scratch: Path) -> Execution:
    """Execute a pipeline: its IR, with the default values of its parameters."""
    execution = Execution()
    given = {
        name: each["defaultValue"] for name, each in ir["root"]["inputDefinitions"]["parameters"].items()
    }
    _run_kubeflow_dag(ir, ir["root"], given, run_step, scratch, execution)
    return execution


def _run_kubeflow_dag(
    ir: Mapping[str, Any],
    component: Mapping[str, Any],
    given: Mapping[str, Any],
    run_step: RunStep,
    scratch: Path,
    execution: Execution,
) -> None:
    tasks = component["dag"]["tasks"]
    order = TopologicalSorter({name: set(task.get("dependentTasks", [])) for name, task in tasks.items()})
    for name in order.static_order():
        task = tasks[name]
        inputs = {
            each: _kubeflow_value(source, given, execution)
            for each, source in task.get("inputs", {}).get("parameters", {}).items()
        }
        called = ir["components"][task["componentRef"]["name"]]
        if any(execution.states.get(each) != "Succeeded" for each in task.get("dependentTasks", [])):
            execution.states[name] = "Omitted"
        elif "triggerPolicy" in task and not _kubeflow_condition(task["triggerPolicy"]["condition"], inputs):
            execution.states[name] = "Skipped"
        elif "dag" in called:
            _run_kubeflow_dag(ir, called, inputs, run_step, scratch, execution)
            execution.states[name] = "Succeeded"
        else:
            container = ir["deploymentSpec"]["executors"][called["executorLabel"]]["container"]
            folder = scratch / name
            command = [
                _KFP_FILE.sub(
                    lambda found, folder=folder: str(folder / found[1]),
                    _KFP_VALUE.sub(lambda found, inputs=inputs: _kubeflow_text(inputs[found[1]]), part),
                )
                for part in container["command"]
            ]
            assert "{{" not in "".join(command), f"a placeholder is left: {command}"
            if run_step(command):
                execution.states[name] = "Failed"
                continue
            execution.states[name] = "Succeeded"
            outputs = called["outputDefinitions"]["parameters"]
            execution.outputs[name] = {each: (folder / each).read_text() for each in outputs}


def _kubeflow_value(source: Mapping[str, Any], given: Mapping[str, Any], execution: Execution) -> Any:
    if "componentInputParameter" in source:
        return given[source["componentInputParameter"]]
    output = source["taskOutputParameter"]
    return execution.outputs[output["producerTask"]][output["outputParameterKey"]]


def _kubeflow_text(value: Any) -> str:
    """A parameter's value in a command line: numbers without an exponent, the rest as JSON, strings as they are."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and not isinstance(value, bool):
        return f"{value:.10f}".rstrip("0").rstrip(".")
    return json.dumps(value)


def _kubeflow_condition(text: str, inputs: Mapping[str, Any]) -> bool:
    found = _KFP_CONDITION.fullmatch(text)
    assert found, f"not a condition: {text!r}"
    return compare(f"{inputs[found[1]]} {found[2]} {found[3]}")
