"""CEL expressions as Tekton's `cel` interceptor evaluates them.

cel-python evaluates; here are Tekton's functions, the variables, and what it leaves open: a name that nobody
knows is an error when an expression is read, not a filter that never matches, and an evaluation ends
after a bounded number of steps.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import celpy
import lark
from celpy import celtypes
from celpy.evaluation import Activation, Evaluator, base_functions

from resources.errors import PlatformError

_VARIABLES = {"body", "header", "extensions", "requestURL"}
_MACROS = {"has", "all", "exists", "exists_one", "filter", "map"}
_MOST_STEPS = 50_000
"""An ordinary filter takes some hundred; this many take less than a second."""


class CelError(PlatformError):
    """Text that is no CEL, or names what an interceptor does not know."""


class EvaluationError(Exception):
    """An expression has no value for this event."""


def canonical_header(name: str) -> str:
    """A header's name as Go writes it: `X-Github-Event`."""
    return "-".join(part.capitalize() for part in name.split("-"))


def cel_value(document: Any) -> Any:
    """Parsed JSON as CEL sees it in Tekton, where every number is a double."""
    match document:
        case None:
            return None
        case bool():
            return celtypes.BoolType(document)
        case str():
            return celtypes.StringType(document)
        case int() | float():
            return celtypes.DoubleType(document)
        case list() | tuple():
            return celtypes.ListType([cel_value(item) for item in document])
    return celtypes.MapType({celtypes.StringType(name): cel_value(value) for name, value in document.items()})


class Expression:
    """A compiled expression; may be evaluated by many threads at once."""

    def __init__(self, text: str) -> None:
        """Compiles it.

        Raises:
            CelError: It is not CEL, or uses a variable or function that is not known.
        """
        self.text = text
        environment = celpy.Environment()
        try:
            tree = environment.compile(text)
        except celpy.CELParseError as problem:
            raise CelError(
                f"is not CEL: unexpected text in line {problem.line}, column {problem.column} of the expression"
            ) from None
        unknown = sorted(_names(tree) - _KNOWN)
        if unknown:
            raise CelError(f"uses {', '.join(unknown)}, which is not known here; check the spelling")
        self._tree = tree
        self._activation = environment.program(tree, functions=dict(_FUNCTIONS)).new_activation

    def __call__(self, variables: Mapping[str, Any]) -> Any:
        """The value for an event, whose variables were made by `cel_value`.

        Raises:
            EvaluationError: Something is missing, of another type, or it takes too many steps.
        """
        evaluator = _BoundedEvaluator(self._tree, self._activation(), _Budget(_MOST_STEPS))
        try:
            return evaluator.evaluate(dict(variables))
        except Exception as problem:  # noqa: BLE001 - whatever cel-python stumbles over, there is no value
            raise EvaluationError(_first_line(problem)) from None


def to_json(value: Any) -> Any:
    """A value as plain JSON, as Tekton puts it into `extensions`."""
    return json.loads(json.dumps(value, cls=celpy.CELJSONEncoder))


class _OutOfStepsError(Exception):
    """The budget is spent."""


@dataclass
class _Budget:
    left: int

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise _OutOfStepsError(f"takes more than {_MOST_STEPS:,} steps")


class _BoundedEvaluator(Evaluator):  # type: ignore[misc]
    """cel-python's interpreter, which counts the nodes that it visits."""

    def __init__(self, ast: lark.Tree[Any], activation: Activation, budget: _Budget) -> None:
        super().__init__(ast, activation)
        self._budget = budget

    def sub_evaluator(self, ast: lark.Tree[Any]) -> Evaluator:
        return _BoundedEvaluator(ast, self.activation, self._budget)

    def visit_children(self, tree: lark.Tree[Any]) -> Any:
        self._budget.spend()
        return super().visit_children(tree)


def _canonical(header: celtypes.MapType, name: celtypes.StringType) -> celtypes.StringType:
    values = header.get(celtypes.StringType(canonical_header(name)), [])
    return celtypes.StringType(values[0] if values else "")


def _match(
    header: celtypes.MapType, name: celtypes.StringType, value: celtypes.StringType
) -> celtypes.BoolType:
    return celtypes.BoolType(_canonical(header, name) == value)


def _split(text: celtypes.StringType, separator: celtypes.StringType) -> celtypes.ListType:
    return celtypes.ListType([celtypes.StringType(part) for part in text.split(separator)])


_FUNCTIONS = {"canonical": _canonical, "match": _match, "split": _split}
_KNOWN = _VARIABLES | _MACROS | set(base_functions) | set(_FUNCTIONS)


def _names(tree: lark.Tree[Any]) -> set[str]:
    """Names of variables and functions, without those that a macro binds."""
    names: set[str] = set()
    bound: set[str] = set()
    for node in tree.iter_subtrees():
        if node.data in {"ident", "ident_arg", "dot_ident", "dot_ident_arg"}:
            names.add(str(node.children[0]))
        elif node.data == "member_dot_arg":
            names.add(str(node.children[1]))
            if str(node.children[1]) in _MACROS:
                bound.update(_bound(node.children[2]))
    return names - bound


def _bound(arguments: Any) -> Iterable[str]:
    return (str(ident.children[0]) for ident in arguments.children[0].find_data("ident"))


def _first_line(problem: Exception) -> str:
    reason = problem.args[0] if problem.args else problem
    return str(reason).partition("\n")[0][:200]
