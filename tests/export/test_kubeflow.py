"""The Kubeflow pipeline of a line: what its compiler is told, and what the real SDK makes of it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from platform_assets.export.kubeflow import (
    PYTHON_VARIABLE,
    description,
    find_kfp_python,
    kubeflow_pipeline,
    setting_variables,
)
from platform_assets.export.workflow import ExportError
from platform_assets.yaml_scalars import ambiguities
from resources.settings import PlatformSettings
from tests.export.factory import IMAGE, make_workflow
from tests.export.test_argo import GPU_RESOURCES
from tests.line_factory import ROOT


def compiled(python: Path, **changes):
    """The pipeline's two documents: IR, and what it asks of Kubernetes."""
    ir, kubernetes = yaml.safe_load_all(kubeflow_pipeline(make_workflow(**changes), python=python))
    return ir, kubernetes["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def executor(ir, name):
    """The container of a step."""
    return ir["deploymentSpec"]["executors"][f"exec-{name}"]["container"]


def test_parameters_keep_their_types_and_what_may_be_null_is_text():
    """A pipeline's parameter has one type, and null has none."""
    given = {each["name"]: each for each in description(make_workflow())["parameters"]}

    assert given["epochs"] == {"name": "epochs", "type": "int", "value": 1}
    assert given["learning_rate"] == {"name": "learning_rate", "type": "float", "value": 1e-4}
    assert given["freeze_embeddings"] == {"name": "freeze_embeddings", "type": "bool", "value": True}
    assert given["train_data_uri"]["type"] == "list"
    assert given["train_rows"] == {"name": "train_rows", "type": "str", "value": "320"}
    assert given["shift_data_uri"] == {"name": "shift_data_uri", "type": "str", "value": "null"}


def test_every_setting_reaches_the_steps_by_a_name_that_the_settings_know():
    """Nothing is forgotten when a setting is added, and nothing is asked for that nobody reads."""
    names = setting_variables()

    assert "PLATFORM_PRINCIPAL__LABELS__ENV" in names
    assert {name.removeprefix("PLATFORM_").partition("__")[0].lower() for name in names} == set(
        PlatformSettings.model_fields
    )


def test_missing_sdk_is_one_error_with_the_commands_that_make_its_environment(monkeypatch, tmp_path):
    """The default place is empty here, and nothing is installed behind anybody's back."""
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ExportError, match=r"there is no \.kfp-venv/bin/python") as refused:
        find_kfp_python()

    assert "python3 -m venv .kfp-venv" in str(refused.value)
    assert ".kfp-venv/bin/pip install -r constraints-kfp.lock" in str(refused.value)


def test_interpreter_that_is_named_comes_first(monkeypatch):
    """One environment may serve several checkouts."""
    monkeypatch.setenv(PYTHON_VARIABLE, sys.executable)

    assert find_kfp_python() == Path(sys.executable)


def test_interpreter_without_the_sdk_says_what_is_missing(tmp_path):
    """The platform's own environment does not have it."""
    with pytest.raises(ExportError, match=r"No module named 'kfp'[\s\S]*pip install -r constraints-kfp.lock"):
        kubeflow_pipeline(make_workflow(), python=Path(sys.executable))


def test_interpreter_that_cannot_be_started_is_one_error(tmp_path):
    """A broken link where the environment was, for example."""
    with pytest.raises(ExportError, match="cannot compile the pipeline"):
        kubeflow_pipeline(make_workflow(), python=tmp_path / "gone")


def test_lock_pins_every_package_of_the_environment():
    """Equal environments give equal YAML: nothing in it is left open."""
    lines = (ROOT / "constraints-kfp.lock").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]

    assert all(re.fullmatch(r"[a-z0-9._-]+==\S+", pin) for pin in pins)
    assert {"kfp", "kfp-kubernetes"} <= {pin.partition("==")[0] for pin in pins}


def test_pipeline_is_the_chain_of_steps_with_the_deployment_under_its_condition(kfp_python):
    """Seven container components of one image; each is given the version that the one before has made."""
    ir, _ = compiled(kfp_python, gates={"auc": "> 0.92"})
    tasks = ir["root"]["dag"]["tasks"]

    assert ir["schemaVersion"].startswith("2.")
    assert set(tasks) == {"dataset", "features", "model", "validation", "version", "card", "condition-1"}
    assert tasks["condition-1"]["triggerPolicy"]["condition"] == (
        "inputs.parameter_values['pipelinechannel--validation-auc'] > 0.92"
    )
    assert list(ir["components"]["comp-condition-1"]["dag"]["tasks"]) == ["deployment"]
    assert tasks["model"]["inputs"]["parameters"]["made_from"] == {
        "taskOutputParameter": {"outputParameterKey": "version", "producerTask": "features"}
    }
    assert {executor(ir, name)["image"] for name in (*tasks, "deployment") if name != "condition-1"} == {
        IMAGE
    }


def test_cache_is_on_for_what_computes_and_off_for_what_reads_judges_or_acts(kfp_python):
    """KFP knows inputs and nothing else: neither a source that has changed nor a release rolled back."""
    ir, _ = compiled(kfp_python)
    tasks = ir["root"]["dag"]["tasks"] | ir["components"]["comp-condition-1"]["dag"]["tasks"]

    assert {name for name, task in tasks.items() if task.get("cachingOptions", {}).get("enableCache")} == {
        "features",
        "model",
    }


def test_training_carries_its_accelerator_and_amounts(kfp_python):
    """In the IR: type and number of GPUs, cpu, memory. Beside it: node selector, tolerations, /dev/shm."""
    ir, kubernetes = compiled(kfp_python, resources=GPU_RESOURCES)
    resources, asked = executor(ir, "model")["resources"], kubernetes["exec-model"]

    assert resources["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert resources["accelerator"]["resourceCount"] == "2"
    assert (resources["resourceCpuLimit"], resources["resourceMemoryLimit"]) == ("6", "16Gi")
    assert asked["nodeSelector"]["labels"] == {"accelerator": "a100"}
    assert asked["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert {each["mountPath"]: each.get("sizeLimit") for each in asked["emptyDirMounts"]} == {
        "/scratch": None,
        "/dev/shm": "4Gi",
    }
    assert "accelerator" not in executor(ir, "validation")["resources"]


def test_steps_get_settings_secrets_and_instance_by_reference(kfp_python):
    """Names only; no value stands in the file, nor a path of the machine that wrote it."""
    text = kubeflow_pipeline(make_workflow(), python=kfp_python)
    _, kubernetes = yaml.safe_load_all(text)
    for asked in kubernetes["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        assert asked["configMapAsEnv"][0]["configMapName"] == "platform-settings"
        assert asked["secretAsEnv"][0]["secretName"] == "platform-secrets"
        assert asked["configMapAsVolume"][0]["configMapName"] == "dagster-instance"
        assert asked["securityContext"] == {"runAsUser": "65532", "runAsNonRoot": True}
    assert not re.search(r"/home/|/root|/tmp", text)


def test_text_is_text_to_kubeflow_too(kfp_python):
    """The SDK writes for readers of YAML 1.1; Kubeflow's own, in Go, take `680841e1` for a number unless it is quoted."""
    selector = {f"pool-{at}": text for at, text in enumerate(["680841e1", "0o17", "12:30", "1_000", "yes"])}
    text = kubeflow_pipeline(make_workflow(resources={"node_selector": selector}), python=kfp_python)
    _, kubernetes = yaml.safe_load_all(text)
    executors = kubernetes["platforms"]["kubernetes"]["deploymentSpec"]["executors"]

    assert executors["exec-model"]["nodeSelector"]["labels"] == selector
    assert list(ambiguities(text)) == []
    assert text.startswith("# PIPELINE DEFINITION\n")


def test_equal_lines_compile_to_equal_text(kfp_python):
    """Exporting again shows no difference in Git."""
    texts = {kubeflow_pipeline(make_workflow(), python=kfp_python) for _ in range(2)}

    assert len(texts) == 1


def test_compiler_needs_nothing_of_the_platform(kfp_python):
    """Its environment has the SDK and no more, so it imports nothing else."""
    source = (ROOT / "platform_assets" / "export" / "kfp_compile.py").read_text(encoding="utf-8")
    imported = set(re.findall(r"^(?:from|import) (\w+)", source, flags=re.MULTILINE))

    assert imported <= set(sys.stdlib_module_names) | {"kfp"}
    probe = [kfp_python, "-I", "-c", "import importlib.util as u; print(u.find_spec('platform_assets'))"]
    assert subprocess.run(probe, capture_output=True, text=True, check=True).stdout.strip() == "None"
