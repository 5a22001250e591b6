"""The Job of one trial, made of the template as Katib makes it.

A transcription of `applyParameters` and `GetRunSpecWithHyperParameters` (kubeflow/katib
pkg/controller.v1beta1/experiment/manifest/generator.go): the template as JSON text, every placeholder replaced in it, read
again, name and namespace set.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from platform_assets.tuning.experiment_spec import TrialParameter, TrialTemplate

PLACEHOLDER: Final = re.compile(r"\$\{trialParameters\..+?\}")
OF_THE_TRIAL: Final = re.compile(r"\$\{trialSpec\.(.+?)\}")
_INDEXED: Final = re.compile(r"(.+)\[(.+)]")
_PLAIN_KEYS: Final = ("Name", "Namespace", "Kind", "APIVersion")
_INDEXED_KEYS: Final = {"Annotations": "annotations", "Labels": "labels"}
SHELLS: Final = ("sh", "bash")


def placeholder(name: str) -> str:
    """What stands in the template for a trial parameter."""
    return f"${{trialParameters.{name}}}"


def template_text(template: TrialTemplate) -> str:
    """The template as JSON text."""
    return json.dumps(template.trial_spec, ensure_ascii=False)


def own_value(template: TrialTemplate, reference: str, trial: str, namespace: str) -> str | None:
    """What a reference to the trial itself stands for, as `${trialSpec.Labels[team]}`; None if there is no such thing.

    Args:
        template: The template.
        reference: As the file has it.
        trial: The trial's name.
        namespace: The trial's namespace.
    """
    found = OF_THE_TRIAL.search(reference)
    key = found[1] if found else ""
    spec = template.trial_spec or {}
    plain = {
        "Name": trial,
        "Namespace": namespace,
        "Kind": spec.get("kind"),
        "APIVersion": spec.get("apiVersion"),
    }
    if key in _PLAIN_KEYS:
        return plain[key]
    indexed = _INDEXED.search(key)
    if indexed is None or indexed[1] not in _INDEXED_KEYS:
        return None
    stated = (spec.get("metadata") or {}).get(_INDEXED_KEYS[indexed[1]]) or {}
    value: str | None = stated.get(indexed[2])
    return value


def render(
    template: TrialTemplate, assignment: Mapping[str, str], *, trial: str, namespace: str
) -> dict[str, Any]:
    """The Job of a trial.

    Args:
        template: The template; `katib_rules` has found nothing against it.
        assignment: Text by parameter of the search.
        trial: The trial's name.
        namespace: The trial's namespace.
    """
    text = template_text(template)
    for each in template.trial_parameters:
        value = _value(template, each, assignment, trial, namespace)
        # As it stands within quotes: values of a spec, which are tried too, may hold some.
        text = text.replace(placeholder(each.name), json.dumps(value, ensure_ascii=False)[1:-1])
    job: dict[str, Any] = json.loads(text)
    job["metadata"] = {**job.get("metadata", {}), "name": trial, "namespace": namespace}
    return job


def command(job: Mapping[str, Any], container: str) -> list[str]:
    """What the primary container executes: its command and its arguments."""
    (primary,) = [each for each in containers(job) if each["name"] == container]
    return [*primary.get("command", []), *primary.get("args", [])]


def containers(job: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The containers of a Job."""
    found: Sequence[Mapping[str, Any]] = job["spec"]["template"]["spec"]["containers"]
    return found


def _value(
    template: TrialTemplate,
    parameter: TrialParameter,
    assignment: Mapping[str, str],
    trial: str,
    namespace: str,
) -> str:
    if OF_THE_TRIAL.search(parameter.reference) is None:
        return assignment[parameter.reference]
    value = own_value(template, parameter.reference, trial, namespace)
    assert value is not None, "checked when the file was read"
    return value
