"""What Katib refuses in an Experiment, and what would go wrong on it or here later than it need.

Each function names its source in kubeflow/katib (33c8ff4). Where this is stricter, the comment says why: Katib's
webhook lets pass what its suggestion services, or its controllers, find out when trials should already run.
"""

import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from platform_assets.manifest import FieldPath
from platform_assets.tuning.algorithms import problem_of_setting, problems_of_space
from platform_assets.tuning.experiment_spec import (
    AlgorithmSpec,
    EarlyStoppingSpec,
    FeasibleSpace,
    KatibExperiment,
    ParameterSpec,
    Setting,
    TrialTemplate,
)
from platform_assets.tuning.search_space import Parameter, number
from platform_assets.tuning.trial_template import (
    OF_THE_TRIAL,
    PLACEHOLDER,
    SHELLS,
    own_value,
    placeholder,
    template_text,
)

Problem = tuple[FieldPath, str]
"""Where, and what is wrong and what to do."""
DEFAULT_FILTER: Final = r"([\w|-]+)\s*=\s*([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)"
"""`DefaultFilter` in pkg/metricscollector/v1beta1/common/const.go."""
_NAME: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LONGEST_NAME = 40
_TWO_GROUPS: Final = re.compile(r".*\(.*\).*\(.*\).*")
_PARAMETERS: Final = ("spec", "parameters")
_TEMPLATE: Final = ("spec", "trialTemplate")
_RESTARTS: Final = ("Never", "OnFailure")
_API, _KIND = "batch/v1", "Job"
DEADLINE: Final = "activeDeadlineSeconds"


def problems(experiment: KatibExperiment) -> Iterator[Problem]:
    """Everything that is wrong with an Experiment whose shape is right."""
    for rule in _RULES:
        yield from rule(experiment)


def parameter_of(spec: ParameterSpec) -> Parameter:
    """The parameter that a valid section declares."""
    space = spec.feasible_space
    if space.list:
        return Parameter(spec.name, spec.parameter_type, values=space.list)
    low, high = number(space.min), number(space.max)
    assert low is not None
    assert high is not None
    return Parameter(
        spec.name,
        spec.parameter_type,
        low,
        high,
        number(space.step) if space.step else None,
        logarithmic=space.distribution == "logUniform",
    )


def settings_of(section: AlgorithmSpec | EarlyStoppingSpec) -> dict[str, str]:
    """Text by name."""
    return {each.name: each.value for each in section.algorithm_settings}


def _name(experiment: KatibExperiment) -> Iterator[Problem]:
    """`ValidateExperiment`, whose expression has no end: an API server refuses what slips through it."""
    name = experiment.metadata.name
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        problem = (
            "must be lower-case letters, digits and hyphens, begin with a letter, end with a letter or digit, "
            f"and have {_LONGEST_NAME} characters at most"
        )
        yield ("metadata", "name"), problem


def _counts(experiment: KatibExperiment) -> Iterator[Problem]:
    """`ValidateExperiment`."""
    spec = experiment.spec
    most, failed, parallel = spec.max_trial_count, spec.max_failed_trial_count, spec.parallel_trial_count
    if failed is not None and failed < 0:
        yield ("spec", "maxFailedTrialCount"), "should not be less than 0"
    if most is not None and most <= 0:
        yield ("spec", "maxTrialCount"), "must be greater than 0"
    if parallel <= 0:
        yield ("spec", "parallelTrialCount"), "must be greater than 0"
    if failed is not None and most is not None and failed > most:
        yield ("spec", "maxFailedTrialCount"), f"should be at most maxTrialCount, which is {most}"
    if most is not None and parallel > most:
        yield ("spec", "parallelTrialCount"), f"should be at most maxTrialCount, which is {most}"
    # Stricter: such a study may never end, and nobody watches a laptop's as a cluster's is watched.
    if most is None and spec.algorithm.algorithm_name not in ("grid", "hyperband"):
        yield ("spec", "maxTrialCount"), "is missing, and this algorithm suggests trials without end; add it"


def _objective(experiment: KatibExperiment) -> Iterator[Problem]:
    """`validateObjective`, and the lists that the API server keeps as sets and maps."""
    objective, at = experiment.spec.objective, ("spec", "objective")
    if objective.objective_metric_name in objective.additional_metric_names:
        yield (*at, "additionalMetricNames"), "should not hold the objectiveMetricName; remove it there"
    yield from _twice(objective.additional_metric_names, (*at, "additionalMetricNames"))
    names = [each.name for each in objective.metric_strategies]
    yield from _twice(names, (*at, "metricStrategies"))
    known = {objective.objective_metric_name, *objective.additional_metric_names}
    for index, name in enumerate(names):
        # Stricter: Katib shows such a metric as unavailable for ever, which is a misspelt name.
        if name not in known:
            yield (*at, "metricStrategies", index, "name"), "is no metric of this objective; correct it"
    for name in known:
        # Katib hands metric names to its collector as one text (getMetricsCollectorArgs in pod/inject_webhook.go).
        if ";" in name:
            yield at, "a metric's name must not hold a semicolon, at which Katib's collector parts names"


def _algorithm(experiment: KatibExperiment) -> Iterator[Problem]:
    """`validateAlgorithm`, and the `ValidateAlgorithmSettings` of its service, which Katib asks later."""
    section, at = experiment.spec.algorithm, ("spec", "algorithm")
    found = list(_settings(section.algorithm_settings, (*at, "algorithmSettings")))
    for index, each in enumerate(section.algorithm_settings):
        if problem := problem_of_setting(section.algorithm_name, each.name, each.value):
            found.append(((*at, "algorithmSettings", index), problem))
    yield from found
    spec = experiment.spec
    if not found and not any(_parameters(experiment)):
        space = [parameter_of(each) for each in spec.parameters]
        for problem in problems_of_space(
            section.algorithm_name,
            settings_of(section),
            space,
            spec.parallel_trial_count,
            spec.max_trial_count,
        ):
            yield at, problem


def _early_stopping(experiment: KatibExperiment) -> Iterator[Problem]:
    """`validate_medianstop_setting` of pkg/earlystopping/v1beta1/medianstop/service.py."""
    section = experiment.spec.early_stopping
    if section is None:
        return
    at: FieldPath = ("spec", "earlyStopping", "algorithmSettings")
    yield from _settings(section.algorithm_settings, at)
    for index, each in enumerate(section.algorithm_settings):
        if each.name not in ("min_trials_required", "start_step"):
            yield (
                (*at, index),
                "medianstop knows no such setting; it knows min_trials_required and start_step",
            )
        elif not (each.value.isascii() and each.value.isdigit() and int(each.value) >= 1):
            yield (*at, index), "must be a whole number from 1 on"


def _parameters(experiment: KatibExperiment) -> Iterator[Problem]:
    """`validateParameters`, and what its services find when they convert the space."""
    yield from _twice([each.name for each in experiment.spec.parameters], _PARAMETERS)
    for index, each in enumerate(experiment.spec.parameters):
        at: FieldPath = (*_PARAMETERS, index, "feasibleSpace")
        space = each.feasible_space
        if each.parameter_type in ("double", "int"):
            if space.list:
                yield (*at, "list"), f"is not for parameterType {each.parameter_type}; write min and max"
            elif not space.max or not space.min:
                yield at, f"min and max must be there for parameterType {each.parameter_type}; add them"
            else:
                yield from _range(each, at)
        elif space.max or space.min or space.step:
            yield at, f"min, max and step are not for parameterType {each.parameter_type}; write list"
        else:
            yield from _list(each, at)


def _range(parameter: ParameterSpec, at: FieldPath) -> Iterator[Problem]:
    space: FeasibleSpace = parameter.feasible_space
    read = {
        name: number(text)
        for name, text in (("min", space.min), ("max", space.max), ("step", space.step))
        if text
    }
    whole = parameter.parameter_type == "int"
    wrong = False
    for name, found in read.items():
        written_whole = getattr(space, name).lstrip("+-").isdigit()
        if found is None or (whole and not written_whole):
            wrong = True
            yield (*at, name), "must be a whole number" if whole else "must be a finite number"
    if wrong:
        return
    low, high, step = read["min"], read["max"], read.get("step")
    assert low is not None
    assert high is not None
    if low > high:
        yield (*at, "max"), "must not be below min"
    elif step is not None and not 0 < step <= max(high - low, 1 if whole else high - low):
        yield (*at, "step"), "must be above 0 and at most the distance of min and max"
    if space.distribution == "logUniform":
        # Stricter: Katib raises such a min to 1e-10, or to 1, and tells nobody.
        if low <= 0:
            yield (*at, "min"), "must be above 0 for logUniform; raise it, or write uniform"
        # Stricter: Katib's Optuna leaves the step out, and hyperopt keeps it.
        if step is not None and not (whole and step == 1):
            yield (*at, "step"), "there are no steps on a logarithmic scale; remove it, or write uniform"


def _list(parameter: ParameterSpec, at: FieldPath) -> Iterator[Problem]:
    space = parameter.feasible_space
    if not space.list:
        yield at, "must be specified: add a list"
    if space.distribution != "uniform":
        yield (*at, "distribution"), "is not for a list, of which every value is as likely; remove it"
    yield from _twice(space.list, (*at, "list"))
    for index, text in enumerate(space.list):
        if parameter.parameter_type == "discrete" and number(text) is None:
            yield (*at, "list", index), "must be a number; of texts write parameterType categorical"
        elif shlex.quote(text) != text:
            # Katib gives the command to sh, its parts joined by blanks (wrapWorkerContainer in pod/utils.go).
            yield (*at, "list", index), "must be one word to a shell, into whose command it is put"


def _trial_template(experiment: KatibExperiment) -> Iterator[Problem]:
    """`validateTrialTemplate`, and `applyParameters`, which Katib comes to with the first trial."""
    template = experiment.spec.trial_template
    if template.trial_spec is None:
        yield _TEMPLATE, "trialSpec must be specified; add the Job of a trial"
        return
    text = template_text(template)
    at: FieldPath = (*_TEMPLATE, "trialParameters")
    names = {each.name for each in experiment.spec.parameters}
    yield from _twice([each.name for each in template.trial_parameters], at, "name")
    yield from _twice([each.reference for each in template.trial_parameters], at, "reference")
    for index, each in enumerate(template.trial_parameters):
        if "{" in each.name or "}" in each.name:
            yield (*at, index, "name"), "must not hold { or }"
        elif placeholder(each.name) not in text:
            yield (
                (*at, index, "name"),
                "does not stand in trialSpec; add its placeholder there, or remove it here",
            )
        if OF_THE_TRIAL.search(each.reference):
            if own_value(template, each.reference, "trial", "namespace") is None:
                yield (
                    (*at, index, "reference"),
                    "is nothing that a trial has; write ${trialSpec.Name} or the like",
                )
        elif each.reference not in names:
            yield (*at, index, "reference"), "is no parameter of this Experiment; correct it"
    known = {placeholder(each.name) for each in template.trial_parameters}
    for found in sorted({*PLACEHOLDER.findall(text)} - known):
        yield (*_TEMPLATE, "trialSpec"), f"{found} is not among trialParameters; add it there"
    for name in sorted(names - {each.reference for each in template.trial_parameters}):
        yield at, f"the parameter {name} is given to no trial; add one with that reference"
    yield from _job(template)


def _job(template: TrialTemplate) -> Iterator[Problem]:
    """`validateTrialJob`, as far as trials here depend on it."""
    at: FieldPath = (*_TEMPLATE, "trialSpec")
    job: Any = template.trial_spec
    if (job.get("apiVersion"), job.get("kind")) != (_API, _KIND):
        yield (
            at,
            f"must be a {_KIND} of {_API}: a laptop executes the command of its container, and no other kind's",
        )
        return
    metadata = job.get("metadata") or {}
    if not isinstance(metadata, dict) or {"name", "namespace"} & set(metadata):
        yield (*at, "metadata"), "name and namespace must be left out: each trial gets its own"
    found = _at(job, "spec", "template", "spec", "containers")
    named = [each for each in found or [] if isinstance(each, dict)] if isinstance(found, list) else []
    primary = [each for each in named if each.get("name") == template.primary_container_name]
    if len(primary) != 1:
        yield (*_TEMPLATE, "primaryContainerName"), "must be the name of one container of trialSpec"
        return
    if _at(job, "spec", "template", "spec", "restartPolicy") not in _RESTARTS:
        yield (*at, "spec", "template", "spec"), f"restartPolicy must be {' or '.join(_RESTARTS)} in a Job"
    deadline = _at(job, "spec", DEADLINE)
    if deadline is not None and (not isinstance(deadline, int) or isinstance(deadline, bool) or deadline < 1):
        yield (*at, "spec", DEADLINE), "must be a whole number of seconds from 1 on"
    yield from _command(primary[0], (*at, "spec", "template", "spec", "containers", named.index(primary[0])))


def _command(container: dict[str, Any], at: FieldPath) -> Iterator[Problem]:
    """`wrapWorkerContainer` of pod/utils.go: what it makes a shell's command of must come to the same there."""
    parts = {name: container.get(name) or [] for name in ("command", "args")}
    for name, part in parts.items():
        if not isinstance(part, list) or not all(isinstance(text, str) for text in part):
            yield (*at, name), "must be a list of texts"
            return
    if not parts["command"]:
        yield at, "command must be there: a laptop has no image to look it up in"
        return
    if parts["command"][0] in SHELLS:
        return
    for name, part in parts.items():
        for index, text in enumerate(part):
            bare = PLACEHOLDER.sub("x", text)
            if shlex.quote(bare) != bare:
                yield (
                    (*at, name, index),
                    "must be one word to a shell: Katib joins them by blanks, and gives that to sh",
                )


def _metrics_collector(experiment: KatibExperiment) -> Iterator[Problem]:
    """`validateMetricsCollector`, and how its formats reach the collector."""
    at: FieldPath = ("spec", "metricsCollectorSpec", "source", "filter", "metricsFormat")
    formats = experiment.spec.metrics_collector_spec.source.filter.metrics_format
    yield from _twice(formats, at)
    for index, each in enumerate(formats):
        if ";" in each:
            yield (*at, index), "must not hold a semicolon, at which Katib's collector parts formats"
        elif (problem := _no_expression(each)) is not None:
            yield (*at, index), problem
        elif not _TWO_GROUPS.match(each):
            yield (*at, index), "two top subexpressions are required: the metric's name and its value"


def _no_expression(text: str) -> str | None:
    # Go's expressions are RE2's, and so are Arrow's: what Python alone understands is refused as Katib would.
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        re.compile(text, re.ASCII)
        pc.match_substring_regex(pa.array([""]), pattern=text)
    except (re.error, pa.ArrowInvalid):
        return "is not a regular expression of RE2 and of Python alike; write a plainer one"
    return None


def _settings(settings: Sequence[Setting], at: FieldPath) -> Iterator[Problem]:
    yield from _twice([each.name for each in settings], at)


def _twice(values: Sequence[str], at: FieldPath, field: str | None = None) -> Iterator[Problem]:
    """A list that the API server keeps as a set, or as a map by name."""
    first = Counter(values)
    seen: set[str] = set()
    for index, value in enumerate(values):
        if first[value] > 1 and value in seen:
            yield (*at, index, *([field] if field else [])), "stands twice; remove one"
        seen.add(value)


def _at(content: Any, *path: str) -> Any:
    for name in path:
        content = content.get(name) if isinstance(content, dict) else None
    return content


_RULES: Final[Sequence[Callable[[KatibExperiment], Iterator[Problem]]]] = (
    _name,
    _counts,
    _objective,
    _algorithm,
    _early_stopping,
    _parameters,
    _trial_template,
    _metrics_collector,
)
