"""What Tekton would make of a webhook, made in this process from the same files."""

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import resources
from platform_assets.manifest import FieldPath, Manifest
from resources.errors import PlatformError
from sensors.cel import CelError, Expression
from sensors.interceptors import CelStep, Event, EventTypes, Signature, Step, StoppedError, changed_files
from sensors.substitution import TEMPLATE_VARIABLE, BoundValue, Template
from sensors.tekton import (
    Binding,
    CelParams,
    EventListenerManifest,
    GithubParams,
    GitlabParams,
    Interceptor,
    TriggerBindingManifest,
    TriggerSection,
    TriggerTemplateManifest,
    read_folder,
    typed_params,
)


class TriggerError(PlatformError):
    """The trigger files cannot be executed."""


@dataclass(frozen=True)
class Trigger:
    """From an event to resources."""

    name: str
    signature: Signature
    steps: tuple[Step, ...]
    bindings: Mapping[str, BoundValue]
    template: Template

    def resources(self, event: Event) -> tuple[dict[str, Any], ...]:
        """What Tekton would create for an event whose signature holds.

        Raises:
            StoppedError: Nothing, because an interceptor stops it or a value is missing.
            BodyError: The body is no JSON object.
        """
        extensions: dict[str, Any] = {}
        for step in self.steps:
            extensions |= step(event, extensions)
        scope = {
            "body": event.document,
            "header": {name: ",".join(values) for name, values in event.headers.items()},
            "extensions": extensions,
            "context": {"eventID": event.id},
        }
        params = {name: value for name, value in self.template.defaults.items() if value is not None}
        for name, bound in self.bindings.items():
            try:
                params[name] = bound.resolve(scope)
            except KeyError:
                if name not in params:
                    raise StoppedError(f"the event has no {bound.text} for {name}") from None
        return self.template.resolve(params, uid=str(uuid.uuid4()))


@dataclass(frozen=True)
class Triggers:
    """An EventListener with all that it refers to."""

    name: str
    triggers: tuple[Trigger, ...]


def triggers_folder() -> Path:
    """The trigger files of this checkout, or the copy that an installed wheel carries.

    Raises:
        TriggerError: There is neither.
    """
    beside = Path(__file__).resolve().parents[1]
    packaged = Path(resources.__file__).resolve().parent
    for folder in (beside, packaged):
        if (folder / "k8s" / "triggers").is_dir():
            return folder / "k8s" / "triggers"
    raise TriggerError(f"there is no k8s/triggers in {beside} or {packaged}; install again")


def read_triggers(folder: Path) -> Triggers:
    """The one EventListener in a folder, ready to execute.

    Raises:
        ManifestError: A file says what cannot be executed; the message names file, line and field.
        TriggerError: There is no EventListener, or more than one.
    """
    manifests = list(read_folder(folder))
    listeners = [each for each in manifests if isinstance(each.content, EventListenerManifest)]
    if len(listeners) != 1:
        raise TriggerError(
            f"{folder} must hold one EventListener in its *.yaml files, and holds {len(listeners)}"
        )
    reader = _Reader(listeners[0], manifests)
    return Triggers(
        name=listeners[0].content.metadata.name,
        triggers=tuple(
            reader.trigger(("spec", "triggers", index), section)
            for index, section in enumerate(listeners[0].content.spec.triggers)
        ),
    )


class _Reader:
    """Puts together what the files of one listener say."""

    def __init__(self, listener: Manifest[EventListenerManifest], manifests: list[Manifest[Any]]) -> None:
        self._listener = listener
        self._bindings = self._by_name(manifests, TriggerBindingManifest)
        self._templates = self._by_name(manifests, TriggerTemplateManifest)

    def trigger(self, at: FieldPath, section: TriggerSection) -> Trigger:
        signature, *steps = self._steps((*at, "interceptors"), section.interceptors)
        if not isinstance(signature, Signature):
            problem = "the first interceptor must be github or gitlab, which check a signature"
            raise self._listener.error((*at, "interceptors", 0, "ref", "name"), problem)
        bindings: dict[str, BoundValue] = {}
        for index, binding in enumerate(section.bindings):
            where: FieldPath = (*at, "bindings", index)
            for name, value in self._params(where, binding):
                if name in bindings:
                    raise self._listener.error(where, f"binds {name} a second time")
                bindings[name] = value
        template_at: FieldPath = (*at, "template", "ref")
        found = self._templates.get(section.template.ref)
        if found is None:
            raise self._listener.error(template_at, f"there is no TriggerTemplate {section.template.ref}")
        template = self._template(found)
        unbound = {name for name, default in template.defaults.items() if default is None} - set(bindings)
        if unbound:
            problem = (
                f"{', '.join(sorted(unbound))} of {section.template.ref} is not bound and has no default"
            )
            raise self._listener.error(template_at, problem)
        return Trigger(
            name=section.name,
            signature=signature,
            steps=tuple(step for step in steps if not isinstance(step, Signature)),
            bindings=bindings,
            template=template,
        )

    def _steps(self, at: FieldPath, interceptors: list[Interceptor]) -> Iterator[Signature | Step]:
        for index, interceptor in enumerate(interceptors):
            where: FieldPath = (*at, index)
            name = interceptor.ref.name
            if name == "cel":
                yield self._cel(where, interceptor)
                continue
            if index > 0:
                raise self._listener.error(where, f"{name} must be the first interceptor of its trigger")
            if name == "github":
                github = typed_params(self._listener, where, interceptor, GithubParams)
                yield Signature(github.secret_ref, "X-Hub-Signature-256", is_hmac=True)
                if github.event_types is not None:
                    yield EventTypes("X-Github-Event", tuple(github.event_types))
                if github.add_changed_files.enabled:
                    yield changed_files
            else:
                gitlab = typed_params(self._listener, where, interceptor, GitlabParams)
                yield Signature(gitlab.secret_ref, "X-Gitlab-Token", is_hmac=False)
                if gitlab.event_types is not None:
                    yield EventTypes("X-Gitlab-Event", tuple(gitlab.event_types))

    def _cel(self, at: FieldPath, interceptor: Interceptor) -> CelStep:
        params = typed_params(self._listener, at, interceptor, CelParams)
        try:
            return CelStep(
                name=interceptor.name or "cel",
                filter=None if params.filter is None else Expression(params.filter),
                overlays=tuple((each.key, Expression(each.expression)) for each in params.overlays),
            )
        except CelError as problem:
            raise self._listener.error((*at, "params"), str(problem)) from None

    def _params(self, at: FieldPath, binding: Binding) -> Iterator[tuple[str, BoundValue]]:
        if binding.name is not None and binding.value is not None:
            yield binding.name, self._bound(self._listener, (*at, "value"), binding.value)
            return
        found = self._bindings.get(binding.ref or "")
        if found is None:
            raise self._listener.error((*at, "ref"), f"there is no TriggerBinding {binding.ref}")
        for index, param in enumerate(found.content.spec.params):
            yield param.name, self._bound(found, ("spec", "params", index, "value"), param.value)

    @staticmethod
    def _bound(manifest: Manifest[Any], at: FieldPath, text: str) -> BoundValue:
        try:
            return BoundValue.parse(text)
        except ValueError as problem:
            raise manifest.error(at, str(problem)) from None

    @staticmethod
    def _template(manifest: Manifest[TriggerTemplateManifest]) -> Template:
        spec = manifest.content.spec
        defaults = {param.name: param.default for param in spec.params}
        texts = tuple(json.dumps(resource) for resource in spec.resourcetemplates)
        for index, text in enumerate(texts):
            undeclared = {name for name in TEMPLATE_VARIABLE.findall(text) if name} - set(defaults)
            if undeclared:
                problem = f"uses {', '.join(sorted(undeclared))}, which spec.params does not declare"
                raise manifest.error(("spec", "resourcetemplates", index), problem)
        return Template(defaults, texts)

    @staticmethod
    def _by_name(manifests: list[Manifest[Any]], model: type[Any]) -> dict[str, Manifest[Any]]:
        found: dict[str, Manifest[Any]] = {}
        for manifest in manifests:
            if isinstance(manifest.content, model):
                name = manifest.content.metadata.name
                if name in found:
                    raise manifest.error(("metadata", "name"), f"{found[name].path} has this name too")
                found[name] = manifest
        return found
