"""Which top-level statements of a module must keep their order.

Definitions may stand in any order; `total += 1` may not. A statement *changes* the names that it binds,
those whose items or attributes it sets, and every name in an expression that stands alone (`NAMES.append(x)`,
`random.seed(1)`); a call also changes what stands in it and came out of a call itself (`next(numbers)`).
Functions of the module that are called while it is imported count with what they do. A name with two
changes is unsettled, and all statements that touch it stay in order.

Assumed of what is imported from elsewhere: a decorator or a function does not care which of two independent
definitions comes first.
"""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DISPLAYS = (ast.Tuple, ast.List, ast.Set, ast.Dict, ast.ListComp, ast.SetComp, ast.DictComp)


def imported_as(alias: ast.alias) -> str:
    """The name that an import binds."""
    return alias.asname or alias.name.partition(".")[0]


def bound_names(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Names that these statements bind in the scope in which they stand, repeated where they are bound again."""
    for node in nodes:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Lambda() | ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                pass
            case ast.Import() | ast.ImportFrom():
                yield from map(imported_as, node.names)
            case ast.Name():
                if not isinstance(node.ctx, ast.Load):
                    yield node.id
            case ast.ExceptHandler() | ast.MatchAs() | ast.MatchStar():
                if node.name:
                    yield node.name
                yield from bound_names(ast.iter_child_nodes(node))
            case ast.MatchMapping():
                if node.rest:
                    yield node.rest
                yield from bound_names(ast.iter_child_nodes(node))
            case _:
                yield from bound_names(ast.iter_child_nodes(node))


def groups_in_order(body: Sequence[ast.stmt]) -> list[list[ast.stmt]]:
    """The statements, those together and in their order whose order counts; most stand alone."""
    module = _Names(body)
    changes = [module.changed(statement) for statement in body]
    changed_by: dict[str, set[int]] = defaultdict(set)
    for at, names in enumerate(changes):
        for name in names:
            changed_by[name].add(at)
    # What no statement binds was bound before: it is imported or built in.
    unsettled = {name for name, by in changed_by.items() if len(by) + (name not in module.bound) > 1}
    if not unsettled:
        return [[statement] for statement in body]
    group_of = list(range(len(body)))
    first_of: dict[str, int] = {}
    for at, statement in enumerate(body):
        for name in sorted((changes[at] | module.mentioned(statement)) & unsettled):
            joined, other = group_of[at], group_of[first_of.setdefault(name, at)]
            group_of = [other if group == joined else group for group in group_of]
    groups: dict[int, list[ast.stmt]] = defaultdict(list)
    for group, statement in zip(group_of, body, strict=True):
        groups[group].append(statement)
    return list(groups.values())


class _Names:
    """The names of one module: which statement binds them, and how."""

    def __init__(self, body: Sequence[ast.stmt]) -> None:
        self.definitions: dict[str, ast.stmt] = {}
        self.bound: set[str] = set()
        self.variables: set[str] = set()
        self.from_calls: set[str] = set()
        for statement in body:
            names = set(bound_names([statement]))
            self.bound |= names
            if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
                self.definitions[statement.name] = statement
                continue
            self.variables |= names
            if not isinstance(getattr(statement, "value", None), _DISPLAYS) and any(
                isinstance(node, ast.Call | ast.GeneratorExp) for node in _evaluated(statement)
            ):
                self.from_calls |= names

    def changed(self, statement: ast.stmt) -> set[str]:
        """Names that hold something else once this statement was executed."""
        names = set(bound_names([statement])) | self._changed_by(_evaluated(statement))
        for definition in self._called(statement):
            nodes = list(ast.walk(definition))
            declared = {name for node in nodes if isinstance(node, ast.Global) for name in node.names}
            names |= (self._changed_by(nodes) & self.variables) | declared
        return names

    def mentioned(self, statement: ast.stmt) -> set[str]:
        """Names that executing this statement reads."""
        return _names(_evaluated(statement)).union(*map(_names, map(ast.walk, self._called(statement))))

    def _changed_by(self, nodes: Iterable[ast.AST]) -> set[str]:
        names: set[str] = set()
        for node in nodes:
            match node:
                case ast.Attribute() | ast.Subscript() if not isinstance(node.ctx, ast.Load):
                    names |= _root(node)
                case ast.Expr():
                    names |= _names(ast.walk(node))
                case ast.Call() if self.from_calls:
                    names |= _names(ast.walk(node)) & self.from_calls
        return names

    def _called(self, statement: ast.stmt) -> list[ast.stmt]:
        """Definitions of the module that may be executed by this statement, directly or by one another."""
        calls: list[ast.AST] = []
        for node in _evaluated(statement):
            if isinstance(node, ast.Call):
                calls.append(node)
            elif isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
                calls += node.decorator_list
        found: dict[str, ast.stmt] = {}
        wanted = {name for call in calls for name in _names(ast.walk(call))}
        while wanted := {name for name in wanted if name in self.definitions and name not in found}:
            found |= {name: self.definitions[name] for name in wanted}
            wanted = {other for name in wanted for other in _names(ast.walk(found[name]))}
        return list(found.values())


def _evaluated(statement: ast.AST) -> Iterator[ast.AST]:
    """The nodes that are evaluated when the statement is executed: of a function, decorators and defaults."""
    waiting = [statement]
    while waiting:
        node = waiting.pop()
        yield node
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                waiting += [*node.decorator_list, *_defaults(node.args)]
            case ast.Lambda():
                waiting += _defaults(node.args)
            case _:
                waiting += ast.iter_child_nodes(node)


def _defaults(arguments: ast.arguments) -> list[ast.expr]:
    return [default for default in (*arguments.defaults, *arguments.kw_defaults) if default is not None]


def _names(nodes: Iterable[ast.AST]) -> set[str]:
    return {node.id for node in nodes if isinstance(node, ast.Name)}


def _root(node: ast.expr) -> set[str]:
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return {node.id} if isinstance(node, ast.Name) else set()
