"""The shape of a Katib `Experiment` of `kubeflow.org/v1beta1`: fields, types and defaults as upstream has them.

What upstream has and cannot be executed here is refused by name, so that nobody looks for a spelling mistake. Rules
across fields are in `katib_rules.py`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from platform_assets.manifest import Section

T = TypeVar("T")
_Listed = Annotated[
    tuple[T, ...], BeforeValidator(lambda found: tuple(found) if isinstance(found, list) else found)
]
NonEmpty = Annotated[str, Field(min_length=1)]
Strategy = Literal["min", "max", "latest"]
ALGORITHMS: Final = ("random", "grid", "tpe", "multivariate-tpe", "cmaes", "sobol", "hyperband")
_KATIBS_ALONE: Final = {
    "bayesianoptimization": "scikit-optimize's Gaussian process has no equal in Optuna; write tpe or cmaes",
    "pbt": "it hands checkpoints from trial to trial; write tpe",
    "enas": "it searches architectures, not values; run it on Katib",
    "darts": "it searches architectures, not values; run it on Katib",
}
_COLLECTORS: Final = ("File", "TensorFlowEvent", "PrometheusMetric", "Custom", "Push")
_OF_THE_CLUSTER: Final = frozenset(
    {"creationTimestamp", "finalizers", "generation", "managedFields", "resourceVersion", "selfLink", "uid"}
)
# setDefaultTrialTemplate in experiment_defaults.go
_SUCCESS: Final = 'status.conditions.#(type=="Complete")#|#(status=="True")#'
_FAILURE: Final = 'status.conditions.#(type=="Failed")#|#(status=="True")#'


class KatibSection(Section):
    """Base of the parts of an Experiment: keys are in camelCase, as Kubernetes has them."""

    model_config = ConfigDict(alias_generator=to_camel, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, content: Any) -> Any:
        """A field that is null does not stand: clusters drop it before they look."""
        if not isinstance(content, Mapping):
            return content
        return {key: value for key, value in content.items() if value is not None}


class Metadata(KatibSection):
    """The object's metadata. What a cluster adds is not read."""

    name: NonEmpty
    namespace: NonEmpty = "default"
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _without_what_clusters_add(cls, content: Any) -> Any:
        if not isinstance(content, Mapping):
            return content
        return {key: value for key, value in content.items() if key not in _OF_THE_CLUSTER}


class MetricStrategy(KatibSection):
    """Which of a metric's reports is its value."""

    name: NonEmpty
    value: Strategy


class ObjectiveSpec(KatibSection):
    """What is sought."""

    type: Literal["minimize", "maximize"]
    goal: float | None = None
    """The study succeeds as soon as a trial reaches it."""
    objective_metric_name: NonEmpty
    additional_metric_names: _Listed[NonEmpty] = ()
    metric_strategies: _Listed[MetricStrategy] = ()


class Setting(KatibSection):
    """A setting of an algorithm; its value is text."""

    name: NonEmpty
    value: str


class AlgorithmSpec(KatibSection):
    """What suggests the trials."""

    algorithm_name: NonEmpty
    algorithm_settings: _Listed[Setting] = ()

    @field_validator("algorithm_name")
    @classmethod
    def _can_be_executed(cls, name: str) -> str:
        if name in _KATIBS_ALONE:
            raise ValueError(f"{name} is executed by Katib alone: {_KATIBS_ALONE[name]}")
        if name not in ALGORITHMS:
            raise ValueError(f"there is no such algorithm; write one of {', '.join(ALGORITHMS)}")
        return name


class EarlyStoppingSpec(KatibSection):
    """What ends trials before their time."""

    algorithm_name: NonEmpty
    algorithm_settings: _Listed[Setting] = ()

    @field_validator("algorithm_name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name != "medianstop":
            raise ValueError("there is no such algorithm; write medianstop, the one that Katib has")
        return name


class FeasibleSpace(KatibSection):
    """Which values a parameter may have. All numbers are text."""

    max: str = ""
    min: str = ""
    list: _Listed[str] = ()
    step: str = ""
    distribution: str = "uniform"

    @field_validator("distribution")
    @classmethod
    def _can_be_sampled(cls, distribution: str) -> str:
        if distribution in ("normal", "logNormal"):
            raise ValueError(
                f"{distribution} has no bounds on Katib and no equal in Optuna; write uniform or logUniform"
            )
        if distribution not in ("uniform", "logUniform"):
            raise ValueError("there is no such distribution; write uniform or logUniform")
        return distribution


class ParameterSpec(KatibSection):
    """One parameter of the search."""

    name: NonEmpty
    parameter_type: Literal["double", "int", "discrete", "categorical"]
    feasible_space: FeasibleSpace


class Filter(KatibSection):
    """How metrics are found in what a trial prints."""

    metrics_format: _Listed[str] = ()


class Source(KatibSection):
    """Where metrics are read."""

    filter: Filter = Filter()
    file_system_path: JsonValue = None
    http_get: JsonValue = None

    @field_validator("file_system_path", "http_get")
    @classmethod
    def _is_printed(cls, _: JsonValue) -> JsonValue:
        raise ValueError("metrics are read from what a trial prints; remove it")


class Collector(KatibSection):
    """What reads the metrics of a trial."""

    kind: str = "StdOut"
    custom_collector: JsonValue = None

    @field_validator("kind")
    @classmethod
    def _reads_what_is_printed(cls, kind: str) -> str:
        if kind in _COLLECTORS:
            raise ValueError(
                f"{kind} is Katib's alone: here a trial's metrics are what it prints; write StdOut, or nothing"
            )
        if kind != "StdOut":
            raise ValueError("there is no such collector; write StdOut, or nothing")
        return kind

    @field_validator("custom_collector")
    @classmethod
    def _is_none(cls, _: JsonValue) -> JsonValue:
        raise ValueError("a collector of one's own is Katib's alone; remove it and print the metrics")


class MetricsCollectorSpec(KatibSection):
    """How metrics are collected."""

    source: Source = Source()
    collector: Collector = Collector()


class TrialParameter(KatibSection):
    """A placeholder of the template, and what stands in its place."""

    name: NonEmpty
    description: str = ""
    reference: NonEmpty
    """A parameter of the search, or of the trial itself: `${trialSpec.Name}` and the like."""


class TrialTemplate(KatibSection):
    """What a trial is."""

    retain: bool = False
    """Whether a trial's Job stays when it has ended."""
    trial_spec: dict[str, Any] | None = None
    config_map: JsonValue = None
    trial_parameters: Annotated[_Listed[TrialParameter], Field(min_length=1)]
    primary_pod_labels: dict[str, str] = Field(default_factory=dict)
    primary_container_name: NonEmpty
    success_condition: str = _SUCCESS
    failure_condition: str = _FAILURE

    @field_validator("config_map")
    @classmethod
    def _stands_in_the_file(cls, _: JsonValue) -> JsonValue:
        raise ValueError("a template in a ConfigMap is not at hand on a laptop; write it as trialSpec")

    @field_validator("success_condition", "failure_condition")
    @classmethod
    def _is_that_of_a_job(cls, condition: str, field: ValidationInfo) -> str:
        if condition != (_SUCCESS if field.field_name == "success_condition" else _FAILURE):
            raise ValueError("a Job has succeeded when its command has; remove the condition")
        return condition


class ExperimentSpec(KatibSection):
    """What an Experiment says."""

    parameters: Annotated[_Listed[ParameterSpec], Field(min_length=1)]
    objective: ObjectiveSpec
    algorithm: AlgorithmSpec
    early_stopping: EarlyStoppingSpec | None = None
    trial_template: TrialTemplate
    parallel_trial_count: int = 3
    max_trial_count: int | None = None
    max_failed_trial_count: int | None = None
    metrics_collector_spec: MetricsCollectorSpec = MetricsCollectorSpec()
    nas_config: JsonValue = None
    resume_policy: Literal["Never", "LongRunning", "FromVolume"] = "Never"
    """With `Never` another count of trials is another study; else a study that has ended at its count goes on."""

    @field_validator("nas_config")
    @classmethod
    def _searches_values(cls, _: JsonValue) -> JsonValue:
        raise ValueError("the search of architectures is Katib's alone; write parameters")


class KatibExperiment(KatibSection):
    """An Experiment as a file has it."""

    api_version: Literal["kubeflow.org/v1beta1"]
    kind: Literal["Experiment"]
    metadata: Metadata
    spec: ExperimentSpec

    @model_validator(mode="before")
    @classmethod
    def _without_status(cls, content: Any) -> Any:
        """A file may be what `kubectl get -o yaml` has written."""
        if not isinstance(content, Mapping):
            return content
        return {key: value for key, value in content.items() if key != "status"}
