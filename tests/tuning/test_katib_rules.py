"""Katib's own rules as a table; each row names the function of kubeflow/katib (33c8ff4) that it comes from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from platform_assets.manifest import ManifestError
from platform_assets.tuning.experiment import read_experiment
from tests.crd_schemas import violations
from tests.tuning.toy import DEPTH, RATE, experiment, manifest, template, written

Change = Callable[[dict[str, Any]], object]
MISSING = object()


def put(path: str, value: Any) -> Change:
    """A change of one field, as `spec.parameters.0.name`; MISSING takes it away."""

    def change(content: dict[str, Any]) -> None:
        *within, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in within:
            content = content[part]
        if value is MISSING:
            del content[last]
        elif isinstance(content, list) and last == len(content):
            content.append(value)
        else:
            content[last] = value

    return change


def algorithm(name: str, **settings: str) -> Change:
    """A change of the algorithm."""
    listed = [{"name": key, "value": value} for key, value in settings.items()]
    return put("spec.algorithm", {"algorithmName": name, "algorithmSettings": listed})


def space(**fields: Any) -> Change:
    """A change of the first parameter, which is a double, to this space."""
    return put("spec.parameters.0.feasibleSpace", fields)


def listed(kind: str, **fields: Any) -> Change:
    """A change of the first parameter to a list."""
    return put("spec.parameters.0", {"name": "rate", "parameterType": kind, "feasibleSpace": fields})


def whole(**fields: Any) -> Change:
    """A change of the second parameter, which is an int, to this space."""
    return put("spec.parameters.1.feasibleSpace", fields)


def median(**settings: str) -> Change:
    """Early stopping with these settings."""
    listed = [{"name": key, "value": value} for key, value in settings.items()]
    return put("spec.earlyStopping", {"algorithmName": "medianstop", "algorithmSettings": listed})


def together(*changes: Change) -> Change:
    """All of these."""
    return lambda content: [change(content) for change in changes]


CONTAINERS = "spec.trialTemplate.trialSpec.spec.template.spec.containers"
COLLECTOR = "spec.metricsCollectorSpec"
COMPLETE = 'status.conditions.#(type=="Complete")#|#(status=="True")#'
HYPERBAND = {"r_l": "9", "resource_name": "depth"}
NINE = together(put("spec.parallelTrialCount", 9), put("spec.maxTrialCount", 30))
REFUSED: list[tuple[str, Change, str]] = [
    # Of pkg/webhook/v1beta1/experiment/validator/validator.go, as all that begin with `validate`:
    ("ValidateExperiment", put("metadata.name", "Toy"), "metadata.name: must be lower-case"),
    ("ValidateExperiment", put("metadata.name", "1toy"), "metadata.name: must be lower-case"),
    ("ValidateExperiment", put("metadata.name", "a" * 41), "metadata.name: must be lower-case"),
    # Its expression has no `$`; what slips through is refused by the API server.
    ("ValidateExperiment", put("metadata.name", "toy-"), "metadata.name: must be lower-case"),
    ("ValidateExperiment", put("spec.maxFailedTrialCount", -1), "maxFailedTrialCount: should not be less"),
    ("ValidateExperiment", put("spec.maxTrialCount", 0), "maxTrialCount: must be greater than 0"),
    ("ValidateExperiment", put("spec.parallelTrialCount", 0), "parallelTrialCount: must be greater than 0"),
    ("ValidateExperiment", put("spec.maxFailedTrialCount", 7), "maxFailedTrialCount: should be at most"),
    ("ValidateExperiment", put("spec.parallelTrialCount", 7), "parallelTrialCount: should be at most"),
    # setDefaultParallelTrialCount (pkg/apis/controller/experiments/v1beta1/experiment_defaults.go): 3
    (
        "setDefaultParallelTrialCount",
        together(
            put("spec.parallelTrialCount", MISSING),
            put("spec.maxTrialCount", 2),
            put("spec.maxFailedTrialCount", 2),
        ),
        "parallelTrialCount: should be at most",
    ),
    ("ValidateExperiment", put("spec.parameters", MISSING), "spec.parameters: is missing"),
    (
        "ValidateExperiment",
        put("spec.nasConfig", {"graphConfig": {}}),
        "nasConfig: the search of architectures",
    ),
    # validateObjective
    ("validateObjective", put("spec.objective", MISSING), "spec.objective: is missing"),
    ("validateObjective", put("spec.objective.type", "best"), "spec.objective.type"),
    ("validateObjective", put("spec.objective.type", MISSING), "spec.objective.type: is missing"),
    ("validateObjective", put("spec.objective.objectiveMetricName", ""), "objectiveMetricName"),
    (
        "validateObjective",
        put("spec.objective.additionalMetricNames", ["loss", "auc"]),
        "additionalMetricNames: should not hold",
    ),
    # listType and listMapKey of experiment_types.go and common_types.go, which the API server keeps
    ("listType=set", put("spec.objective.additionalMetricNames", ["loss", "loss"]), "Names.1: stands twice"),
    (
        "listMapKey=name",
        put("spec.objective.metricStrategies", [{"name": "auc", "value": "max"}] * 2),
        "metricStrategies.1: stands twice",
    ),
    (
        "MetricStrategyType",
        put("spec.objective.metricStrategies", [{"name": "auc", "value": "mean"}]),
        "metricStrategies.0.value",
    ),
    ("listMapKey=name", put("spec.parameters.2", RATE), "parameters.2: stands twice"),
    ("listType=set", listed("categorical", list=["a", "a"]), "list.1: stands twice"),
    # Of pkg/webhook/v1beta1/pod/inject_webhook.go:
    (
        "getMetricsCollectorArgs",
        put("spec.objective.objectiveMetricName", "a;b"),
        "must not hold a semicolon",
    ),
    # validateAlgorithm
    ("validateAlgorithm", put("spec.algorithm", MISSING), "spec.algorithm: is missing"),
    ("validateAlgorithm", put("spec.algorithm.algorithmName", ""), "algorithmName"),
    ("validateAlgorithm", algorithm("annealing"), "algorithmName: there is no such algorithm"),
    (
        "bayesianoptimization",
        algorithm("bayesianoptimization"),
        "bayesianoptimization is executed by Katib alone",
    ),
    ("pbt", algorithm("pbt"), "pbt is executed by Katib alone"),
    ("enas", algorithm("enas"), "enas is executed by Katib alone"),
    ("darts", algorithm("darts"), "darts is executed by Katib alone"),
    # ValidateAlgorithmSettings of the services (pkg/suggestion/v1beta1)
    ("hyperopt _validate_random_setting", algorithm("random", random_state="-1"), "whole number that is not"),
    ("hyperopt _validate_random_setting", algorithm("random", gamma="0.2"), "random knows no setting gamma"),
    ("hyperopt _validate_tpe_setting", algorithm("tpe", n_EI_candidates="0"), "n_EI_candidates must be"),
    ("hyperopt _validate_tpe_setting", algorithm("tpe", n_startup_trials="4"), "not known to Katib's tpe"),
    ("hyperopt _validate_tpe_setting", algorithm("tpe", gamma="0.2"), "gamma is hyperopt's alone"),
    (
        "hyperopt _validate_tpe_setting",
        algorithm("tpe", prior_weight="1"),
        "prior_weight is hyperopt's alone",
    ),
    (
        "optuna _validate_tpe_setting",
        algorithm("multivariate-tpe", n_startup_trials="x"),
        "n_startup_trials must",
    ),
    ("optuna _validate_tpe_setting", algorithm("multivariate-tpe", sigma="1"), "knows no setting sigma"),
    ("optuna _validate_grid_setting", algorithm("grid"), "grid needs a step for rate"),
    (
        "optuna _validate_grid_setting",
        together(
            algorithm("grid"),
            put("spec.parameters", [DEPTH]),
            put("spec.trialTemplate", template(["depth"])),
            put("spec.maxTrialCount", 10),
        ),
        "maxTrialCount is 10 and the grid has 9 points",
    ),
    (
        "goptuna ValidateAlgorithmSettings",
        together(algorithm("cmaes"), listed("discrete", list=["1", "2"])),
        "cmaes searches numbers, two or more",
    ),
    ("goptuna toGoptunaSampler", algorithm("cmaes", restart_strategy="ipop"), "Optuna restarts no CMA-ES"),
    ("goptuna toGoptunaSampler", algorithm("cmaes", sigma="0.1"), "sigma counts in the parameters' units"),
    ("goptuna toGoptunaSampler", algorithm("sobol", random_state="1"), "sobol knows no setting random_state"),
    (
        "hyperband ValidateAlgorithmSettings",
        together(NINE, algorithm("hyperband")),
        "needs the setting r_l and",
    ),
    (
        "hyperband ValidateAlgorithmSettings",
        together(NINE, algorithm("hyperband", r_l="-9", resource_name="depth")),
        "r_l must be a number above 0",
    ),
    (
        "hyperband ValidateAlgorithmSettings",
        together(NINE, algorithm("hyperband", r_l="9", resource_name="epochs")),
        "resource_name must be one of the parameters",
    ),
    ("hyperband ValidateAlgorithmSettings", algorithm("hyperband", **HYPERBAND), "must be 9 or more"),
    (
        "hyperband HyperBandParam.convert",
        together(NINE, algorithm("hyperband", r_l="9", resource_name="rate")),
        "resource_name must be a parameter of type int",
    ),
    (
        "listMapKey=name",
        put("spec.algorithm.algorithmSettings", [{"name": "random_state", "value": "1"}] * 2),
        "twice",
    ),
    (
        "AlgorithmSetting",
        put("spec.algorithm.algorithmSettings", [{"name": "random_state", "value": 1}]),
        "in quotes",
    ),
    # validateEarlyStopping, and validate_medianstop_setting (pkg/earlystopping/v1beta1/medianstop/service.py)
    ("validateEarlyStopping", put("spec.earlyStopping", {"algorithmName": "asha"}), "write medianstop"),
    ("validate_medianstop_setting", median(min_trials_required="0"), "must be a whole number from 1 on"),
    ("validate_medianstop_setting", median(start_step="0"), "must be a whole number from 1 on"),
    ("validate_medianstop_setting", median(start_step="four"), "must be a whole number from 1 on"),
    ("validate_medianstop_setting", median(patience="3"), "medianstop knows no such setting"),
    # validateResumePolicy
    ("validateResumePolicy", put("spec.resumePolicy", "Always"), "spec.resumePolicy"),
    # validateParameters
    ("validateParameters", put("spec.parameters.0.parameterType", "float"), "parameters.0.parameterType"),
    ("validateParameters", put("spec.parameters.0.parameterType", "unknown"), "parameters.0.parameterType"),
    ("validateParameters", space(min="0", max="1", distribution="beta"), "there is no such distribution"),
    (
        "hyperopt create_hyperopt_domain",
        space(min="1", max="2", distribution="normal"),
        "normal has no bounds",
    ),
    (
        "hyperopt create_hyperopt_domain",
        space(min="1", max="2", distribution="logNormal"),
        "logNormal has no",
    ),
    ("validateParameters", put("spec.parameters.0.feasibleSpace", MISSING), "feasibleSpace: is missing"),
    ("validateParameters", space(), "feasibleSpace: min and max must be there"),
    ("validateParameters", space(min="0", max="1", list=["1"]), "list: is not for parameterType double"),
    ("validateParameters", space(min="0"), "min and max must be there for parameterType double"),
    ("validateParameters", whole(max="3"), "min and max must be there for parameterType int"),
    ("validateParameters", listed("discrete", list=["1"], min="1"), "min, max and step are not for"),
    ("validateParameters", listed("categorical", list=["a"], step="1"), "min, max and step are not for"),
    # convert_to_combinations, _get_optuna_search_space and their like, which Katib comes to with the first suggestion
    (
        "FeasibleSpace",
        space(min=0.1, max="1"),
        "min: Input should be a valid string (found 0.1); put text in quotes",
    ),
    ("FeasibleSpace", listed("discrete", list=[1, 2]), "list.0: Input should be a valid string"),
    ("_get_optuna_search_space", space(min="a", max="1"), "min: must be a finite number"),
    ("_get_optuna_search_space", space(min="0", max="inf"), "max: must be a finite number"),
    ("_get_optuna_search_space", space(min="0", max="1_0"), "max: must be a finite number"),
    ("_get_optuna_search_space", whole(min="1", max="2.5"), "max: must be a whole number"),
    ("_get_optuna_search_space", whole(min="1", max="1e3"), "max: must be a whole number"),
    ("_get_optuna_search_space", space(min="2", max="1"), "max: must not be below min"),
    ("_get_optuna_search_space", space(min="0", max="1", step="0"), "step: must be above 0"),
    ("_get_optuna_search_space", space(min="0", max="1", step="2"), "step: must be above 0 and at most"),
    ("_get_optuna_search_space", space(min="0", max="1", distribution="logUniform"), "min: must be above 0"),
    (
        "_get_optuna_search_space",
        space(min="0.1", max="1", step="0.1", distribution="logUniform"),
        "step: there are no steps on a logarithmic scale",
    ),
    ("toGoptunaParams", listed("categorical"), "must be specified: add a list"),
    ("parse_parameter_configs", listed("discrete", list=["1", "two"]), "list.1: must be a number"),
    (
        "FeasibleSpace",
        listed("categorical", list=["a"], distribution="logUniform"),
        "distribution: is not for a list",
    ),
    # Of pkg/webhook/v1beta1/pod/utils.go:
    ("wrapWorkerContainer", listed("categorical", list=["a b"]), "list.0: must be one word to a shell"),
    ("wrapWorkerContainer", listed("categorical", list=["$(reboot)"]), "list.0: must be one word to a shell"),
    ("wrapWorkerContainer", put(f"{CONTAINERS}.0.args.2", "a; b"), "args.2: must be one word to a shell"),
    ("getContainerCommand", put(f"{CONTAINERS}.0.command", MISSING), "containers.0: command must be there"),
    # validateTrialTemplate
    ("validateTrialTemplate", put("spec.trialTemplate", MISSING), "spec.trialTemplate: is missing"),
    (
        "validateTrialTemplate",
        put("spec.trialTemplate.primaryContainerName", MISSING),
        "primaryContainerName",
    ),
    (
        "validateTrialTemplate",
        put("spec.trialTemplate.successCondition", "status.ok"),
        "successCondition: a Job",
    ),
    (
        "validateTrialTemplate",
        put("spec.trialTemplate.trialParameters", MISSING),
        "trialParameters: is missing",
    ),
    ("validateTrialTemplate", put("spec.trialTemplate.trialSpec", MISSING), "trialSpec must be specified"),
    (
        "validateTrialTemplate",
        put("spec.trialTemplate.configMap", {"configMapName": "a"}),
        "configMap: a template in a ConfigMap is not at hand",
    ),
    (
        "validateTrialTemplate",
        put("spec.trialTemplate.trialParameters.0.name", "{a}"),
        "must not hold { or }",
    ),
    ("validateTrialTemplate", put("spec.trialTemplate.trialParameters.0.reference", ""), "0.reference"),
    (
        "validateTrialTemplate",
        put("spec.trialTemplate.trialParameters.1.name", "the-rate"),
        "1.name: stands twice",
    ),
    (
        "validateTrialTemplate",
        put("spec.trialTemplate.trialParameters.1.reference", "rate"),
        "1.reference: stands",
    ),
    (
        "validateTrialTemplate",
        put("spec.trialTemplate.trialParameters.1.reference", "size"),
        "is no parameter of",
    ),
    ("validateTrialTemplate", put(f"{CONTAINERS}.0.args.0", "rate=1"), "0.name: does not stand in trialSpec"),
    (
        "validateTrialTemplate",
        put(f"{CONTAINERS}.0.args.2", "${trialParameters.size}"),
        "${trialParameters.size} is not among trialParameters",
    ),
    (
        "isMetaKey",
        together(
            put(f"{CONTAINERS}.0.args.2", "${trialParameters.own}"),
            put("spec.trialTemplate.trialParameters.2", {"name": "own", "reference": "${trialSpec.Uid}"}),
        ),
        "2.reference: is nothing that a trial has",
    ),
    (
        "validateTrialTemplate",
        put("spec.trialTemplate.trialSpec.metadata", {"name": "a"}),
        "must be left out",
    ),
    (
        "validateTrialTemplate",
        put("spec.trialTemplate.trialSpec.metadata", {"namespace": "a"}),
        "must be left out",
    ),
    ("validateTrialTemplate", put("spec.trialTemplate.trialSpec.kind", MISSING), "must be a Job of batch/v1"),
    ("validateTrialJob", put("spec.trialTemplate.trialSpec.kind", "PyTorchJob"), "must be a Job of batch/v1"),
    ("validateTrialJob", put(f"{CONTAINERS}.0.args", "rate"), "args: must be a list of texts"),
    (
        "validateTrialJob",
        put("spec.trialTemplate.trialSpec.spec.template.spec.restartPolicy", "Always"),
        "Policy",
    ),
    *(
        (
            "validateTrialJob",
            put("spec.trialTemplate.trialSpec.spec.activeDeadlineSeconds", found),
            "activeDeadlineSeconds: must be a whole number of seconds",
        )
        for found in ("600", 0, 1.5, True)
    ),
    # Likewise, errPrimaryContainerNotFound:
    (
        "getPrimaryContainerIndex",
        put("spec.trialTemplate.primaryContainerName", "main"),
        "one container of trialSpec",
    ),
    # Of pkg/controller.v1beta1/experiment/manifest/generator.go, errParamNotFoundInTrialParameters:
    (
        "applyParameters",
        put(
            "spec.parameters.2",
            {"name": "size", "parameterType": "int", "feasibleSpace": {"min": "1", "max": "2"}},
        ),
        "the parameter size is given to no trial",
    ),
    # validateMetricsCollector
    ("validateMetricsCollector", put(COLLECTOR, {"collector": {"kind": "Telepathy"}}), "no such collector"),
    *(
        (
            "validateMetricsCollector",
            put(COLLECTOR, {"collector": {"kind": kind}}),
            f"kind: {kind} is Katib's alone",
        )
        for kind in ("File", "TensorFlowEvent", "PrometheusMetric", "Custom", "Push")
    ),
    (
        "validateMetricsCollector",
        put(COLLECTOR, {"source": {"fileSystemPath": {"path": "/a"}}}),
        "fileSystemPath: metrics are read from what a trial prints",
    ),
    (
        "validateMetricsCollector",
        put(COLLECTOR, {"source": {"filter": {"metricsFormat": ["(a"]}}}),
        "metricsFormat.0: is not a regular expression",
    ),
    # Go's regular expressions look neither ahead nor behind
    (
        "validateMetricsCollector",
        put(COLLECTOR, {"source": {"filter": {"metricsFormat": [r"(\w+)=(?=(\d+))"]}}}),
        "metricsFormat.0: is not a regular expression",
    ),
    (
        "validateMetricsCollector",
        put(COLLECTOR, {"source": {"filter": {"metricsFormat": [r"auc=(\d+)"]}}}),
        "metricsFormat.0: two top subexpressions are required",
    ),
    # GetFilterRegexpList, whose filters are parted at semicolons
    (
        "GetFilterRegexpList",
        put(COLLECTOR, {"source": {"filter": {"metricsFormat": [r"(\w+);(\d+)"]}}}),
        "metricsFormat.0: must not hold a semicolon",
    ),
    # Stricter than Katib
    ("a study without end", put("spec.maxTrialCount", MISSING), "maxTrialCount: is missing"),
    (
        "a misspelt metric",
        put("spec.objective.metricStrategies", [{"name": "acu", "value": "max"}]),
        "is no metric",
    ),
    ("a misspelt key", put("spec.maxTrials", 3), "spec.maxTrials: is not a known key"),
    ("another kind", put("kind", "Trial"), "kind: Input should be 'Experiment'"),
]
ACCEPTED: list[tuple[str, Change]] = [
    ("ValidateExperiment", put("metadata.name", "a" * 40)),
    ("ValidateExperiment", put("spec.maxFailedTrialCount", 6)),
    ("ValidateExperiment", put("spec.parallelTrialCount", 6)),
    ("setDefaultResumePolicy", put("spec.resumePolicy", "FromVolume")),
    ("setDefaultMetricsCollector", put(COLLECTOR, {"collector": {"kind": "StdOut"}})),
    (
        "validateMetricsCollector",
        put(COLLECTOR, {"source": {"filter": {"metricsFormat": [r"(\w+): ([\d.]+)"]}}}),
    ),
    ("setDefaultParameterDistribution", space(min="-1", max="1")),
    ("validateParameters", space(min="1e-5", max="1e-3", distribution="logUniform")),
    ("validateParameters", space(min="1", max="1")),
    ("_get_optuna_search_space", whole(min="1", max="64", step="1", distribution="logUniform")),
    ("validateParameters", listed("discrete", list=["0.1", "1e-3", "-2"])),
    ("validateParameters", listed("categorical", list=["adam", "sgd"])),
    ("validateTrialTemplate", put("spec.trialTemplate.trialSpec.metadata", {"labels": {"a": "b"}})),
    ("validateTrialTemplate", put("spec.trialTemplate.retain", value=True)),
    ("wrapWorkerContainer", put(f"{CONTAINERS}.0.command", ["sh", "-c", "toy | tee log"])),
    ("hyperopt _validate_tpe_setting", algorithm("tpe", n_EI_candidates="12", random_state="3")),
    (
        "optuna _validate_tpe_setting",
        algorithm("multivariate-tpe", n_startup_trials="0", n_ei_candidates="3"),
    ),
    ("goptuna toGoptunaSampler", algorithm("cmaes", restart_strategy="none", random_state="1")),
    ("goptuna", algorithm("sobol")),
    ("hyperband ValidateAlgorithmSettings", together(NINE, algorithm("hyperband", **HYPERBAND))),
    (
        "hyperband without a count",
        together(NINE, put("spec.maxTrialCount", MISSING), algorithm("hyperband", **HYPERBAND)),
    ),
    ("validate_medianstop_setting", median(min_trials_required="1", start_step="1")),
    ("what kubectl has written", together(put("status", {"trials": 3}), put("metadata.uid", "1-2-3"))),
    ("setDefaultTrialTemplate", put("spec.trialTemplate.successCondition", COMPLETE)),
    (
        "setDefaultTrialTemplate",
        put("spec.trialTemplate.failureCondition", COMPLETE.replace("Complete", "Failed")),
    ),
    ("a field that is null", put("spec.earlyStopping", None)),
]


@pytest.mark.parametrize(
    ("rule", "change", "problem"), REFUSED, ids=[f"{rule}-{at}" for at, (rule, *_) in enumerate(REFUSED)]
)
def test_what_katib_refuses_is_refused(tmp_path: Path, rule: str, change: Change, problem: str) -> None:
    """One error names the file, the line of the field, and what to do."""
    content = manifest()
    change(content)
    with pytest.raises(ManifestError) as refused:
        read_experiment(written(content, tmp_path))
    assert problem in str(refused.value), rule
    for line in str(refused.value).splitlines():
        assert line.startswith(f"{tmp_path}/experiment.yaml:")


@pytest.mark.parametrize(
    ("rule", "change"), ACCEPTED, ids=[f"{rule}-{at}" for at, (rule, _) in enumerate(ACCEPTED)]
)
def test_what_katib_takes_is_taken(tmp_path: Path, rule: str, change: Change) -> None:
    """Rules are not stricter than their table says."""
    content = manifest()
    change(content)
    assert read_experiment(written(content, tmp_path)).name, rule


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    """Nobody corrects one, to be told of the next."""
    content = manifest(parallelTrialCount=0, maxFailedTrialCount=-1)
    content["metadata"]["name"] = "Toy"
    with pytest.raises(ManifestError) as refused:
        read_experiment(written(content, tmp_path))
    assert len(str(refused.value).splitlines()) == 3


def test_the_error_stands_on_the_line_of_its_field(tmp_path: Path) -> None:
    """Within lists too."""
    content = manifest(parameters=[RATE, {**DEPTH, "feasibleSpace": {"min": "9", "max": "1"}}])
    path = written(content, tmp_path)
    lines = path.read_text(encoding="utf-8").splitlines()
    line = 1 + max(at for at, text in enumerate(lines) if text.strip().startswith('"max":'))
    with pytest.raises(
        ManifestError, match=rf":{line}: spec.parameters.1.feasibleSpace.max: must not be below min"
    ):
        read_experiment(path)


def test_defaults_are_those_of_katib(tmp_path: Path) -> None:
    """Of experiment_defaults.go: three trials side by side, StdOut's filter, strategies of the objective's direction."""
    tried = experiment(
        tmp_path,
        parallelTrialCount=None,
        objective={
            "type": "minimize",
            "objectiveMetricName": "loss",
            "additionalMetricNames": ["auc", "f1"],
            "metricStrategies": [{"name": "f1", "value": "latest"}],
        },
    )
    assert tried.parallel_trials == 3
    assert tried.objective.strategies == {"loss": "min", "auc": "min", "f1": "latest"}
    (pattern,) = tried.metrics_filter
    assert pattern.pattern == r"([\w|-]+)\s*=\s*([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)"
    assert tried.early_stopping is None


def test_a_manifest_passes_the_upstream_crd() -> None:
    """The CRD asks for an object and leaves the rest to the webhook, whose rules are the table above."""
    assert violations(manifest(), crd="katib-experiment.yaml") == []
    assert violations({**manifest(), "metadata": {}}, crd="katib-experiment.yaml")


def test_identity_is_what_the_file_says_and_not_how(tmp_path: Path) -> None:
    """Comments and order change nothing, any value does."""
    first = experiment(tmp_path)
    path = written(dict(reversed(manifest(maxFailedTrialCount=None).items())), tmp_path)
    path.write_text(f"# A comment.\n{path.read_text(encoding='utf-8')}", encoding="utf-8")
    assert read_experiment(path).sha256 == first.sha256
    assert experiment(tmp_path, maxTrialCount=7).sha256 != first.sha256


@pytest.mark.parametrize(("policy", "same"), [("Never", False), ("LongRunning", True), ("FromVolume", True)])
def test_a_study_that_may_go_on_is_the_same_with_another_count(
    tmp_path: Path, policy: str, *, same: bool
) -> None:
    """`IsCompletedExperimentRestartable`: with Never an Experiment is over once it is."""
    few = experiment(tmp_path, resumePolicy=policy, maxTrialCount=6)
    many = experiment(tmp_path, resumePolicy=policy, maxTrialCount=9)
    assert few.sha256 != many.sha256
    assert (few.study_sha256 == many.study_sha256) is same
