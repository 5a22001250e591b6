"""Compiles a pipeline with the KFP SDK: its description as JSON on stdin, the YAML on stdout.

Runs in the environment of constraints-kfp.lock, which has nothing of the platform.
"""

import inspect
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from kfp import compiler, dsl, kubernetes  # type: ignore[import-not-found, unused-ignore]

_TYPES = {kind.__name__: kind for kind in (str, int, float, bool, list, dict)}
_HOLDS = {">": lambda value, bound: value > bound, ">=": lambda value, bound: value >= bound}


def component_of(step: dict[str, Any]) -> Any:
    """The step as a container component: its inputs, what it writes, its command."""
    inputs = {each["name"]: _TYPES[each["type"]] for each in step["parameters"]}
    if step["after"]:
        inputs["made_from"] = str
    outputs = {name: dsl.OutputPath(_TYPES[kind]) for name, kind in step["figures"].items()}

    def component(*_: Any) -> Any:
        return dsl.ContainerSpec(image=step["image"], command=step["command"])

    return dsl.container_component(_named(component, step["name"], {**inputs, **outputs}))


def _named(function: Any, name: str, kinds: dict[str, Any], defaults: dict[str, Any] | None = None) -> Any:
    """The function under a signature of its own, which is what the SDK reads."""
    function.__name__ = name
    function.__annotations__ = dict(kinds)
    function.__signature__ = inspect.Signature(
        [
            inspect.Parameter(
                each,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                annotation=kind,
                default=(defaults or {}).get(each, inspect.Parameter.empty),
            )
            for each, kind in kinds.items()
        ]
    )
    return function


def configure(task: Any, step: dict[str, Any]) -> None:
    """What the task asks of its runtime: cache, amounts, accelerator, environment, volumes."""
    task.set_caching_options(step["cached"])
    amounts = step["resources"]
    task.set_cpu_request(amounts["cpu_request"]).set_cpu_limit(amounts["cpu_limit"])
    task.set_memory_request(amounts["memory_request"]).set_memory_limit(amounts["memory_limit"])
    if accelerator := step.get("accelerator"):
        task.set_accelerator_type(accelerator["type"]).set_accelerator_limit(accelerator["limit"])
    environment = step["environment"]
    settings = {name: name for name in environment["settings"]}
    secrets = {name: name for name in environment["secrets"]}
    kubernetes.use_config_map_as_env(task, environment["config_map"], settings, optional=True)
    kubernetes.use_secret_as_env(task, environment["secret"], secrets, optional=True)
    kubernetes.use_config_map_as_volume(task, step["instance"]["config_map"], step["instance"]["path"])
    kubernetes.empty_dir_mount(task, "scratch", step["scratch"])
    kubernetes.set_security_context(task, run_as_user=step["user"], run_as_non_root=True)
    for key, value in step["labels"].items():
        kubernetes.add_pod_label(task, key, value)
    if size := step.get("shared_memory"):
        kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", medium="Memory", size_limit=size)  # noqa: S108
    for key, value in step.get("node_selector", {}).items():
        kubernetes.add_node_selector(task, key, value)
    for toleration in step.get("tolerations", []):
        kubernetes.add_toleration(task, **toleration)


def pipeline_of(described: dict[str, Any]) -> Any:
    """The whole pipeline."""
    kinds = {each["name"]: _TYPES[each["type"]] for each in described["parameters"]}
    components = {step["name"]: component_of(step) for step in described["steps"]}

    def pipeline(*given: Any) -> None:
        values = dict(zip(kinds, given, strict=True))
        tasks: dict[str, Any] = {}

        def add(step: dict[str, Any]) -> None:
            taken = {each["name"]: values[each["name"]] for each in step["parameters"]}
            if step["after"]:
                taken["made_from"] = tasks[step["after"]].outputs["version"]
            tasks[step["name"]] = components[step["name"]](**taken)
            configure(tasks[step["name"]], step)

        for step in described["steps"]:
            if condition := step.get("condition"):
                figure = tasks[condition["of"]].outputs[condition["figure"]]
                with dsl.If(_HOLDS[condition["operator"]](figure, condition["bound"])):
                    add(step)
            else:
                add(step)

    defaults = {each["name"]: each["value"] for each in described["parameters"]}
    named = _named(pipeline, described["name"].replace("-", "_"), kinds, defaults)
    return dsl.pipeline(named, name=described["name"], description=described["description"])


def main() -> None:
    """Compile what stdin describes."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline_of(json.load(sys.stdin)), str(target))
        sys.stdout.write(target.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
