"""A trial's Job is what Katib makes of the template."""

import re
import subprocess
from pathlib import Path
from typing import Any

from platform_assets.tuning.experiment import read_experiment
from scripts.k8s_schemas import violations
from tests.tuning.toy import DEPTH, RATE, experiment, manifest, written

ASSIGNMENT = {"rate": "0.001", "depth": "3"}
OWN = {
    "name": "${trialSpec.Name}",
    "namespace": "${trialSpec.Namespace}",
    "kind": "${trialSpec.Kind}",
    "version": "${trialSpec.APIVersion}",
    "team": "${trialSpec.Labels[example.com/team]}",
    "note": "${trialSpec.Annotations[note]}",
}


def test_placeholders_are_replaced_everywhere(tmp_path: Path) -> None:
    """`applyParameters` replaces text, wherever in the template it stands; name and namespace are the trial's."""
    content = manifest()
    pod = content["spec"]["trialTemplate"]["trialSpec"]["spec"]["template"]
    pod["metadata"] = {"labels": {"depth-${trialParameters.the-depth}": "d${trialParameters.the-depth}"}}
    content["metadata"]["namespace"] = "ml"
    job = read_experiment(written(content, tmp_path)).trial_manifest(ASSIGNMENT, "toy-1")
    assert job["spec"]["template"]["metadata"]["labels"] == {"depth-3": "d3"}
    assert job["metadata"] == {"name": "toy-1", "namespace": "ml"}
    assert "$" not in str(job)


def test_the_command_is_that_of_the_primary_container(tmp_path: Path) -> None:
    """Its command, and its arguments after it; other containers do not matter."""
    content = manifest()
    pod = content["spec"]["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]
    pod["containers"].insert(0, {"name": "sidecar", "image": "other:1.0", "command": ["sleep", "inf"]})
    tried = read_experiment(written(content, tmp_path))
    assert tried.trial_arguments(ASSIGNMENT, "toy-1") == ["toy", "trial", "rate=0.001", "depth=3"]


def test_a_trial_may_be_told_of_itself(tmp_path: Path) -> None:
    """Katib's metadata of a trial: name, namespace, kind, version, labels, annotations."""
    content = manifest()
    trial = content["spec"]["trialTemplate"]
    trial["trialSpec"]["metadata"] = {
        "labels": {"example.com/team": "imaging"},
        "annotations": {"note": "first"},
    }
    container = trial["trialSpec"]["spec"]["template"]["spec"]["containers"][0]
    for name, reference in OWN.items():
        trial["trialParameters"].append({"name": name, "reference": reference})
        container["args"].append(f"{name}=${{trialParameters.{name}}}")
    tried = read_experiment(written(content, tmp_path))
    assert tried.trial_arguments(ASSIGNMENT, "toy-1")[4:] == [
        "name=toy-1",
        "namespace=default",
        "kind=Job",
        "version=batch/v1",
        "team=imaging",
        "note=first",
    ]
    assert tried.trial_manifest(ASSIGNMENT, "toy-1")["metadata"]["labels"] == {"example.com/team": "imaging"}


def test_a_job_passes_kubernetes_own_schema(tmp_path: Path) -> None:
    """`validateTrialJob` converts it to a Job; a misspelt field would be left over."""
    job = experiment(tmp_path).trial_manifest(ASSIGNMENT, "toy-1")
    assert violations(job, crds=[]) == []
    job["spec"]["tempalte"] = job["spec"].pop("template")
    assert violations(job, crds=[])


def test_a_shell_makes_the_same_words_of_the_command(tmp_path: Path) -> None:
    """`wrapWorkerContainer` joins them by blanks and gives them to sh, with the output redirected."""
    optimizer = {
        "name": "optimizer",
        "parameterType": "categorical",
        "feasibleSpace": {"list": ["adam", "sgd-0.9", "a/b:c=d,e%"]},
    }
    tried = experiment(tmp_path, parameters=[RATE, DEPTH, optimizer])
    for value in optimizer["feasibleSpace"]["list"]:
        words = tried.trial_arguments({**ASSIGNMENT, "optimizer": value}, "toy-1")
        line = " ".join(["printf", "%s\\\\n", *words[1:]])
        told = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout
        assert told.splitlines() == words[1:]


def test_the_filter_finds_what_a_trial_prints(tmp_path: Path) -> None:
    """Katib's default filter, its characters those of ASCII, as Go has them."""
    (pattern,) = experiment(tmp_path).metrics_filter

    def found(line: str) -> list[tuple[Any, ...]]:
        return [match.group(1, 2) for match in pattern.finditer(line)]

    assert found("2026-11-30T12:00:00.000000Z auc=0.9312 loss = -1.5e-3") == [
        ("auc", "0.9312"),
        ("loss", "-1.5e-3"),
    ]
    assert found("auc=nan") == [("auc", "")]
    assert pattern.flags & re.ASCII


def test_a_value_with_quotes_is_given_as_it_is(tmp_path: Path) -> None:
    """No list may hold one, and the value of a spec, which is tried as trials are, may."""
    tried = experiment(tmp_path)
    odd = 'a "quoted" \\ value'
    assert tried.trial_arguments({"rate": odd, "depth": "3"}, "toy-1")[2] == f"rate={odd}"
