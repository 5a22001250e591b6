"""How values of an event come into a resource: bindings, then a template.

A value goes into a template as text inside a JSON string and is never expanded again, so that nothing
in an event can reach another field. (Tekton replaces one parameter after the other, and a value that looks
like a variable may be replaced once more.)

Source of the semantics: tektoncd/triggers, `pkg/template` (June 2026).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sensors.cel import canonical_header
from sensors.interceptors import StoppedError

TEMPLATE_VARIABLE = re.compile(r"\$\(tt\.params\.([_a-zA-Z][_a-zA-Z0-9.-]*)\)|\$\(uid\)")

_EXPRESSION = re.compile(r"\$\(([^()]*)\)")
_STEP = re.compile(r"""\.?(?P<name>[^.\[\]{}()'"*?@:,$\s\\]+)|\[(?P<index>\d+)\]|\['(?P<key>[^']+)'\]""")
_ROOTS = {"body", "header", "extensions", "context"}
_LARGEST_WRITTEN_OUT = 1e21
_GO_ESCAPES = {ord(each): f"\\u{ord(each):04x}" for each in "<>&\u2028\u2029"}


@dataclass(frozen=True)
class BoundValue:
    """A parameter's value: text with paths into the event between."""

    text: str
    paths: Mapping[str, tuple[str | int, ...]]
    """By the expression as it stands in the text."""

    @classmethod
    def parse(cls, text: str) -> "BoundValue":
        """The value with its paths read.

        Raises:
            ValueError: It holds a path of a form that is not executed here.
        """
        paths = {match[0]: _path(match[1]) for match in _EXPRESSION.finditer(text)}
        if "$(" in _EXPRESSION.sub("", text):
            raise ValueError(f"{text} is no text with $(body.…), $(header.…) or $(extensions.…) in it")
        return cls(text, paths)

    def resolve(self, scope: Mapping[str, Any]) -> str:
        """The text, values as they stand inside a JSON string.

        Raises:
            KeyError: A path leads nowhere.
        """
        found = {expression: _embedded(_at(scope, path)) for expression, path in self.paths.items()}
        return _EXPRESSION.sub(lambda match: found[match[0]], self.text)


@dataclass(frozen=True)
class Template:
    """Resources with parameters."""

    defaults: Mapping[str, str | None]
    """By name; None where a value must be bound."""
    resources: tuple[str, ...]
    """JSON."""

    def resolve(self, params: Mapping[str, str], uid: str) -> tuple[dict[str, Any], ...]:
        """The resources, each variable replaced once; what replaces it is not looked at again.

        Raises:
            StoppedError: A value is no text for a JSON string, such as an object.
        """
        for name, text in params.items():
            if not _is_inside_of_a_string(text):
                raise StoppedError(f"the value of {name} does not fit into the template; bind plain text")

        def value(match: re.Match[str]) -> str:
            # Tekton Pipelines takes $$( for a $( that is meant literally.
            return uid if match[1] is None else params[match[1]].replace("$(", "$$(")

        return tuple(json.loads(TEMPLATE_VARIABLE.sub(value, text)) for text in self.resources)


def _is_inside_of_a_string(text: str) -> bool:
    """Whether quotes around the text make it one JSON string: then it cannot end the one that it is put into."""
    try:
        json.loads(f'"{text}"')
    except ValueError:
        return False
    return True


def _path(expression: str) -> tuple[str | int, ...]:
    """`body.commits[0].id`, also in curly brackets or with a dot before it, as keys and indices."""
    inner = expression[1:-1] if expression.startswith("{") and expression.endswith("}") else expression
    inner = inner.removeprefix(".")
    steps: list[str | int] = []
    position = 0
    while position < len(inner):
        match = _STEP.match(inner, position)
        if match is None or inner.startswith(".") or (match["name"] and position and inner[position] != "."):
            break
        steps.append(int(match["index"]) if match["index"] else match["name"] or match["key"])
        position = match.end()
    if position < len(inner) or not steps or steps[0] not in _ROOTS:
        raise ValueError(
            f"$({expression}) is no path such as $(body.repository.name) or $(body.commits[0].id)"
        )
    if steps[0] == "header":
        steps[1:2] = [canonical_header(str(name)) for name in steps[1:2]]
    return tuple(steps)


def _at(scope: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        match scope:
            case dict() if step in scope:
                scope = scope[step]
            case list() if isinstance(step, int) and step < len(scope):
                scope = scope[step]
            case _:
                raise KeyError(step)
    return scope


def _embedded(value: Any) -> str:
    """A value as Go's JSON, a text without its quotes."""
    if isinstance(value, str):
        return _go_json(value)[1:-1]
    return _go_json(value)


def _go_json(value: Any) -> str:
    text = json.dumps(_as_doubles(value), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return text.translate(_GO_ESCAPES)


def _as_doubles(value: Any) -> Any:
    """Numbers as Go reads JSON's: doubles, a whole one written without its fraction."""
    match value:
        case bool() | str() | None:
            return value
        case int() | float():
            double = float(value)
            return int(double) if double.is_integer() and abs(double) < _LARGEST_WRITTEN_OUT else double
        case list():
            return [_as_doubles(item) for item in value]
    return {name: _as_doubles(item) for name, item in value.items()}
