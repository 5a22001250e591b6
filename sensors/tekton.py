"""Tekton's trigger files as they are written: `triggers.tekton.dev/v1beta1`, read strictly.

What Tekton knows and this reader does not (trigger groups, selectors, webhooks as interceptors) is an error that
names file, line and field, so that no file means less here than it means in a cluster.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import ConfigDict, Field, JsonValue, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from platform_assets.manifest import FieldPath, Manifest, Section, read_manifest

P = TypeVar("P", bound=Section)

API_VERSION = "triggers.tekton.dev/v1beta1"


class _Camel(Section):
    """A section whose fields are written in camel case."""

    model_config = ConfigDict(alias_generator=to_camel)


class Metadata(Section):
    """Of any object."""

    name: str
    namespace: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)


class Param(Section):
    """A named value with `$(…)` in it."""

    name: str
    value: str


class SecretRef(_Camel):
    """One key of a Secret beside the event listener."""

    secret_name: str = Field(min_length=1)
    secret_key: str = Field(min_length=1)


class Enabled(Section):
    """A switch."""

    enabled: bool


class GithubParams(_Camel):
    """Of the interceptor `github`."""

    secret_ref: SecretRef
    event_types: list[str] | None = None
    add_changed_files: Enabled = Enabled(enabled=False)


class GitlabParams(_Camel):
    """Of the interceptor `gitlab`."""

    secret_ref: SecretRef
    event_types: list[str] | None = None


class Overlay(Section):
    """A value that an expression adds to `extensions`."""

    key: str = Field(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")
    expression: str


class CelParams(Section):
    """Of the interceptor `cel`."""

    filter: str | None = None
    overlays: list[Overlay] = Field(default_factory=list)


class InterceptorParam(Section):
    """A parameter of an interceptor."""

    name: str
    value: JsonValue


class InterceptorRef(_Camel):
    """Which interceptor."""

    name: Literal["github", "gitlab", "cel"]
    kind: Literal["ClusterInterceptor"] = "ClusterInterceptor"
    api_version: str | None = None


class Interceptor(Section):
    """A step on the way from an event to a template."""

    name: str | None = None
    ref: InterceptorRef
    params: list[InterceptorParam] = Field(default_factory=list)


class Binding(Section):
    """A TriggerBinding by name, or one parameter."""

    ref: str | None = None
    kind: Literal["TriggerBinding"] = "TriggerBinding"
    name: str | None = None
    value: str | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.ref is None) == (self.name is None) or (self.name is None) != (self.value is None):
            raise ValueError("is either a ref, or a name with a value")
        return self


class TemplateRef(Section):
    """A TriggerTemplate by name."""

    ref: str


class TriggerSection(Section):
    """From events to resources."""

    name: str
    interceptors: list[Interceptor] = Field(min_length=1)
    bindings: list[Binding] = Field(default_factory=list)
    template: TemplateRef


class EventListenerSpec(_Camel):
    """Of an EventListener."""

    service_account_name: str
    triggers: list[TriggerSection] = Field(min_length=1)
    resources: JsonValue = None
    """How a cluster deploys it."""


class BindingSpec(Section):
    """Of a TriggerBinding."""

    params: list[Param]


class ParamSpec(Section):
    """A parameter of a template."""

    name: str = Field(pattern=r"^[_a-zA-Z][_a-zA-Z0-9.-]*$")
    description: str = ""
    default: str | None = None


class TemplateSpec(Section):
    """Of a TriggerTemplate."""

    params: list[ParamSpec] = Field(default_factory=list)
    resourcetemplates: list[dict[str, JsonValue]] = Field(min_length=1)


class _Object(_Camel):
    api_version: Literal["triggers.tekton.dev/v1beta1"]
    metadata: Metadata


class EventListenerManifest(_Object):
    """An EventListener."""

    kind: Literal["EventListener"]
    spec: EventListenerSpec


class TriggerBindingManifest(_Object):
    """A TriggerBinding."""

    kind: Literal["TriggerBinding"]
    spec: BindingSpec


class TriggerTemplateManifest(_Object):
    """A TriggerTemplate."""

    kind: Literal["TriggerTemplate"]
    spec: TemplateSpec


class _AnyObject(_Camel):
    model_config = ConfigDict(extra="ignore")

    api_version: str
    kind: str


_KINDS: dict[str, type[_Object]] = {
    "EventListener": EventListenerManifest,
    "TriggerBinding": TriggerBindingManifest,
    "TriggerTemplate": TriggerTemplateManifest,
}


def read_folder(folder: Path) -> Iterator[Manifest[Any]]:
    """Tekton's objects in a folder, one a file; objects of other groups are the cluster's affair.

    Raises:
        ManifestError: A file cannot be read, or says what cannot be executed here.
    """
    for path in sorted(folder.glob("*.yaml")):
        head = read_manifest(path, _AnyObject, in_clusters=True)
        group = head.content.api_version.partition("/")[0]
        if group != API_VERSION.partition("/")[0]:
            continue
        if head.content.kind not in _KINDS:
            raise head.error(("kind",), f"{head.content.kind} is none of {', '.join(sorted(_KINDS))}")
        yield read_manifest(path, _KINDS[head.content.kind], in_clusters=True)


def typed_params(
    manifest: Manifest[EventListenerManifest], at: FieldPath, interceptor: Interceptor, model: type[P]
) -> P:
    """The interceptor's parameters, which Tekton keeps as a list of names and values.

    Args:
        manifest: Where it stands.
        at: In which field.
        interceptor: Whose parameters.
        model: What they may be.

    Raises:
        ManifestError: One stands twice, is missing, unknown or of another type.
    """
    given: dict[str, JsonValue] = {}
    for index, param in enumerate(interceptor.params):
        if param.name in given:
            raise manifest.error((*at, "params", index), f"{param.name} stands twice; keep one")
        given[param.name] = param.value
    try:
        return model.model_validate(given)
    except ValidationError as problem:
        error = problem.errors()[0]
        name, *below = error["loc"]
        where: FieldPath = (*at, "params")
        if name in given:
            where = (*where, list(given).index(str(name)), "value", *below)
        raise manifest.error(where, f"{name} of {interceptor.ref.name}: {error['msg']}") from None
