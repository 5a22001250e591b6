"""What modules do: a set of texts, one for each top-level statement, wherever it stands.

The texts leave out what says nothing: comments, docstrings, layout, annotations of functions and variables,
import lines, `__all__`. A name that was imported is written as what it stands for: one of another
distribution with its full path, one of our own by its name alone, since our modules may move. Fields of
classes keep their annotations, which pydantic and dataclasses read.

Where two of the modules define a name differently, whatever uses it is told apart by the definition that it
means. Statements whose order counts are one text (`statement_order`).
"""

import ast
import builtins
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec, resolve_name
from pathlib import Path

from platform_assets.statement_order import bound_names, groups_in_order, imported_as

OUR_PACKAGES = frozenset({"platform_assets", "resources", "sensors"})
_READS_ANNOTATIONS = frozenset(
    {"register", "validate_call", "computed_field", "field_serializer", "model_serializer"}
)
"""Decorators to which the annotations of a function are code: those of `functools.singledispatch` and pydantic."""
_SKIPPED = frozenset({"ctx", "kind", "type_comment"})
_BLOCKS = frozenset({"body", "orelse", "finalbody"})
_MOST_HOPS = 20
"""Two modules may import a name from each other; following it must end."""


@dataclass(frozen=True)
class _Imported:
    """What a name was imported as: a module, or a name in one."""

    module: str
    names: tuple[str, ...] = ()


_Scope = Mapping[str, _Imported | None]
"""What names stand for: None for a local one. A name that is missing is the module's own or built in."""
_Definition = tuple[str, str]
"""Module and name."""


@dataclass(frozen=True)
class _Piece:
    """Statements that stay together, as text."""

    text: str
    binds: frozenset[_Definition]
    means: frozenset[_Definition]


def statements(files: Mapping[str, Path]) -> set[str]:
    """What the modules do, as texts without order.

    Args:
        files: source file by dotted name of its module. Modules of the same distributions count as our own.
    """
    reading = _Reading(files)
    pieces = [piece for module in reading.modules.values() for piece in _Writer(module, reading).pieces()]
    defined: dict[_Definition, list[_Piece]] = defaultdict(list)
    for piece in pieces:
        for definition in piece.binds:
            defined[definition].append(piece)
    ambiguous = _ambiguous(defined)
    return {_told_apart(piece, ambiguous, defined) for piece in pieces} | reading.effects()


def _ambiguous(defined: Mapping[_Definition, Sequence[_Piece]]) -> set[_Definition]:
    """Definitions of names that several modules define, in texts that differ or mean what differs."""
    by_name: dict[str, list[_Definition]] = defaultdict(list)
    for definition in defined:
        by_name[definition[1]].append(definition)
    shared = [definitions for definitions in by_name.values() if len(definitions) > 1]
    found: set[_Definition] = set()
    while (
        more := {
            definition
            for definitions in shared
            if len({frozenset(each.text for each in defined[one]) for one in definitions}) > 1
            or any(found & each.means for one in definitions for each in defined[one])
            for definition in definitions
        }
        - found
    ):
        found |= more
    return found


def _told_apart(
    piece: _Piece, ambiguous: set[_Definition], defined: Mapping[_Definition, Sequence[_Piece]]
) -> str:
    """The text with those of the definitions it means by names that another module gives to something else."""
    meant: set[_Definition] = set()
    waiting = piece.means & ambiguous
    while waiting:
        meant |= waiting
        further = (each.means for definition in waiting for each in defined[definition])
        waiting = frozenset[_Definition]().union(*further) & ambiguous - meant
    texts = {each.text for definition in meant for each in defined[definition] if each is not piece}
    return "\n".join([piece.text, *sorted(texts)])


class _Module:
    """One parsed module."""

    def __init__(self, name: str, file: Path) -> None:
        self.name = name
        self.package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        self.tree = ast.parse(file.read_bytes())
        self.imports, body = self.scope_of(self.tree.body)
        self.body = [statement for statement in body if not _is_list_of_exports(statement)]
        self.bound = frozenset(bound_names(self.body))

    def scope_of(
        self, body: Sequence[ast.stmt], others: Iterable[str] = ()
    ) -> tuple[dict[str, _Imported], list[ast.stmt]]:
        """What a body imports once for the whole scope, and the rest of it.

        An import under a condition, or of a name that is bound otherwise too, is a statement like any other.
        """
        runtime = list(_at_runtime(body))
        bound = {*others, *bound_names(each for each in runtime if not _is_import(each))}
        imports = self.imported(_only_for_types(body)) | self.imported(runtime)
        imports = {name: meant for name, meant in imports.items() if name not in bound}
        return imports, [each for statement in runtime for each in _less(statement, imports.keys())]

    def imported(self, body: Iterable[ast.AST]) -> dict[str, _Imported]:
        """What these statements import, by the names they bind."""
        found: dict[str, _Imported] = {}
        for each in body:
            if isinstance(each, ast.Import):
                for alias in each.names:
                    whole = alias.name if alias.asname else imported_as(alias)
                    found[imported_as(alias)] = _Imported(whole)
            elif isinstance(each, ast.ImportFrom) and each.module != "__future__":
                source = resolve_name("." * each.level + (each.module or ""), self.package)
                found |= {imported_as(alias): _Imported(source, (alias.name,)) for alias in each.names}
        return found

    @property
    def unnamed(self) -> list[_Imported]:
        """Imports that nothing names: they stand there for what importing them does."""
        names = self.imported(_at_runtime(self.tree.body)).keys() & self.imports.keys()
        names -= {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)}
        if names:
            names -= set(re.findall(r"\w+", " ".join(_strings(self.tree))))
        return [self.imports[name] for name in names]


class _Reading:
    """The modules that are read together."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self.modules = {name: _Module(name, file) for name, file in files.items()}
        self._ours = OUR_PACKAGES | {name.partition(".")[0] for name in files}
        self._is_module: dict[str, bool] = {}

    def effects(self) -> set[str]:
        """Texts for imports of other distributions that are made for their effect."""
        unnamed = (each for module in self.modules.values() for each in module.unnamed)
        return {
            f"import {'.'.join((each.module, *each.names))}"
            for each in unnamed
            if not self.is_ours(each.module)
        }

    def is_ours(self, module: str) -> bool:
        """Whether a module is one that may move without a change of what it does."""
        return module.partition(".")[0] in self._ours

    def resolved(self, meant: _Imported) -> _Imported:
        """The module that really defines the name, as far as our own modules tell."""
        for _ in range(_MOST_HOPS):
            if not meant.names or not self.is_ours(meant.module):
                break
            name, *more = meant.names
            module = self.modules.get(meant.module)
            if module is not None and name in module.imports:
                origin = module.imports[name]
                meant = _Imported(origin.module, (*origin.names, *more))
            elif (module is None or name not in module.bound) and self._exists(f"{meant.module}.{name}"):
                meant = _Imported(f"{meant.module}.{name}", tuple(more))
            else:
                break
        return meant

    def _exists(self, module: str) -> bool:
        # By the files: a module must not be imported to learn what its neighbour does.
        if module not in self._is_module:
            root, *parts = module.split(".")
            spec = find_spec(root)
            places = [Path(place, *parts) for place in (spec and spec.submodule_search_locations) or ()]
            self._is_module[module] = any(
                place.is_dir() or place.with_name(f"{place.name}.py").is_file() for place in places
            )
        return self._is_module[module]


class _Writer:
    """Writes the statements of one module as texts."""

    def __init__(self, module: _Module, reading: _Reading) -> None:
        self._module = module
        self._reading = reading
        self._origins: dict[str, set[str]] = defaultdict(set)
        self._means: set[_Definition] = set()

    def pieces(self) -> list[_Piece]:
        """The module's statements."""
        groups = groups_in_order(self._module.body)
        pieces = [self._piece(group) for group in groups]
        if any(len(modules) > 1 for modules in self._origins.values()):
            # Only now is it known which names come from several of our modules.
            pieces = [self._piece(group) for group in groups]
        return pieces

    def _piece(self, group: Sequence[ast.stmt]) -> _Piece:
        self._means = set()
        text = self._block(group, self._module.imports, self._module.imports)
        here = self._module.name
        return _Piece(text, frozenset((here, name) for name in bound_names(group)), frozenset(self._means))

    def _block(self, body: Iterable[ast.stmt], scope: _Scope, inner: _Scope) -> str:
        """Statements as text.

        Args:
            body: The statements.
            scope: What names stand for in them.
            inner: And in functions among them, which do not see the names of a class around them.
        """
        texts: list[str] = []
        imports: set[str] = set()
        for statement in _at_runtime(body):
            if _is_import(statement):
                imports |= self._kept_imports(statement, scope)
                continue
            texts += sorted(imports)
            imports = set()
            if isinstance(statement, ast.AnnAssign):
                texts += self._annotated(statement, scope, inner)
            else:
                texts.append(self._text(statement, scope, inner))
        return f"[{'; '.join([*texts, *sorted(imports)])}]"

    def _kept_imports(self, statement: ast.stmt, scope: _Scope) -> set[str]:
        return {
            f"import {self._meaning(meant, (), name, scope)} as {name}"
            for name, meant in self._module.imported([statement]).items()
            if scope.get(name) != meant
        }

    def _annotated(self, statement: ast.AnnAssign, scope: _Scope, inner: _Scope) -> list[str]:
        if scope is inner:
            if statement.value is None:
                return []
            return [self._text(ast.Assign([statement.target], statement.value), scope, inner)]
        kind = _unquoted(statement.annotation)
        parts = (statement.target, kind, statement.value)
        return [f"Field({', '.join(self._text(part, scope, inner) for part in parts if part)})"]

    def _text(self, node: ast.AST, scope: _Scope, inner: _Scope) -> str:
        match node:
            case ast.Constant():
                return f"={node.value!r}"
            case ast.Name():
                return self._name(node.id, scope)
            case ast.Attribute():
                return self._attribute(node, scope, inner)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                return self._function(node, scope, inner)
            case ast.Lambda():
                within = {**inner, **dict.fromkeys(_arguments(node.args))}
                return f"Lambda({self._parameters(node.args, scope, inner)}: {self._text(node.body, within, within)})"
            case ast.ClassDef():
                within = {**scope, **dict.fromkeys(bound_names(node.body))}
                return f"{self._generic(node, scope, inner, without='body')}{self._block(node.body, within, inner)}"
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                targets = (each.target for each in node.generators)
                within = {**scope, **dict.fromkeys(bound_names(targets))}
                return self._generic(node, within, within)
            case _:
                return self._generic(node, scope, inner)

    def _generic(self, node: ast.AST, scope: _Scope, inner: _Scope, *, without: str = "") -> str:
        # What is empty is left out, so that a field that a later Python adds changes nothing.
        parts: list[str] = []
        for name in node._fields:
            value = getattr(node, name, None)
            if value is None or value == [] or name in _SKIPPED or name == without:
                continue
            if isinstance(value, ast.AST):
                text = self._text(value, scope, inner)
            elif not isinstance(value, list):
                text = repr(value)
            elif name in _BLOCKS:
                text = self._block(value, scope, inner)
            else:
                items = (
                    self._text(item, scope, inner) if isinstance(item, ast.AST) else repr(item)
                    for item in value
                )
                text = f"[{', '.join(items)}]"
            parts.append(f"{name}: {text}")
        return f"{type(node).__name__}({', '.join(parts)})"

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: _Scope, inner: _Scope) -> str:
        decorators = [self._text(each, scope, inner) for each in node.decorator_list]
        annotated = any(_READS_ANNOTATIONS.intersection(_words(each)) for each in node.decorator_list)
        parameters = self._parameters(node.args, scope, inner, annotated=annotated)
        if annotated and node.returns:
            parameters += f" -> {self._text(_unquoted(node.returns), scope, inner)}"
        arguments = _arguments(node.args)
        imports, body = self._module.scope_of(node.body, arguments)
        declared = {
            name for each in body if isinstance(each, ast.Global | ast.Nonlocal) for name in each.names
        }
        local = {*arguments, *bound_names(body)} - declared
        within = {**inner, **dict.fromkeys(local), **imports}
        kind = type(node).__name__
        return f"{kind} {node.name}({parameters}) @{decorators}{self._block(body, within, within)}"

    def _parameters(
        self, node: ast.arguments, scope: _Scope, inner: _Scope, *, annotated: bool = False
    ) -> str:
        def told(argument: ast.arg) -> str:
            if annotated and argument.annotation:
                return f"{argument.arg}: {self._text(_unquoted(argument.annotation), scope, inner)}"
            return argument.arg

        parts = [told(each) for each in node.posonlyargs] + ["/"] + [told(each) for each in node.args]
        parts += [f"*{told(node.vararg) if node.vararg else ''}", *map(told, node.kwonlyargs)]
        parts += [f"**{told(node.kwarg) if node.kwarg else ''}"]
        defaults = [*node.defaults, None, *node.kw_defaults]
        parts += [self._text(each, scope, inner) if each else "-" for each in defaults]
        return ", ".join(parts)

    def _name(self, name: str, scope: _Scope) -> str:
        if name not in scope:
            if name not in self._module.bound:
                return name
            self._means.add((self._module.name, name))
            return _own(name)
        meant = scope[name]
        return name if meant is None else self._meaning(meant, (), name, scope)

    def _attribute(self, node: ast.Attribute, scope: _Scope, inner: _Scope) -> str:
        names: list[str] = []
        base: ast.expr = node
        while isinstance(base, ast.Attribute):
            names.insert(0, base.attr)
            base = base.value
        meant = scope.get(base.id) if isinstance(base, ast.Name) else None
        if isinstance(base, ast.Name) and meant is not None:
            return self._meaning(meant, tuple(names), base.id, scope)
        return ".".join([self._text(base, scope, inner), *names])

    def _meaning(self, imported: _Imported, attributes: tuple[str, ...], local: str, scope: _Scope) -> str:
        """The text for an imported name and what is taken of it."""
        meant = self._reading.resolved(_Imported(imported.module, (*imported.names, *attributes)))
        if not self._reading.is_ours(meant.module):
            return f"<{'.'.join((meant.module, *meant.names))}>"
        if not meant.names:
            return f"<module {meant.module.rpartition('.')[2]}>"
        name, *more = meant.names
        self._means.add((meant.module, name))
        self._origins[name].add(meant.module)
        if len(self._origins[name]) > 1 and local != name:
            taken = [local, *attributes[: len(attributes) - len(more)]]
            return ".".join([f"<{name} as {'.'.join(taken)}>", *more])
        # Where nothing else has this name, it reads as if defined here: it may be one day, and may have been.
        is_free = name not in self._module.bound and (name not in scope or (imported.names and local == name))
        return ".".join([_own(name) if is_free else f"<our {name}>", *more])


def _own(name: str) -> str:
    # The name of a builtin means that one wherever our own is not defined or imported.
    return f"<our {name}>" if hasattr(builtins, name) else name


def _at_runtime(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that do something; of `if TYPE_CHECKING`, its else."""
    for statement in body:
        match statement:
            case ast.Expr(value=ast.Constant()) | ast.Pass() | ast.ImportFrom(module="__future__"):
                pass
            case ast.If() if "TYPE_CHECKING" in _words(statement.test):
                yield from _at_runtime(statement.orelse)
            case _:
                yield statement


def _only_for_types(body: Iterable[ast.stmt]) -> Iterator[ast.AST]:
    for statement in body:
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in _words(statement.test):
            for each in statement.body:
                yield from ast.walk(each)


def _is_import(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Import | ast.ImportFrom)


def _less(statement: ast.stmt, names: Collection[str]) -> list[ast.stmt]:
    """The statement, or an import without these names, if anything is left of it."""
    if not isinstance(statement, ast.Import | ast.ImportFrom):
        return [statement]
    left = [alias for alias in statement.names if imported_as(alias) not in names]
    if isinstance(statement, ast.Import):
        return [ast.Import(left)] if left else []
    return [ast.ImportFrom(statement.module, left, statement.level)] if left else []


def _is_list_of_exports(statement: ast.stmt) -> bool:
    match statement:
        case ast.Assign(targets=[target]) | ast.AnnAssign(target=target) | ast.AugAssign(target=target):
            return isinstance(target, ast.Name) and target.id == "__all__"
        case _:
            return False


def _words(node: ast.expr) -> tuple[str, ...]:
    """Names of a dotted expression, of what is called where it is a call."""
    match node:
        case ast.Call():
            return _words(node.func)
        case ast.Attribute():
            return (*_words(node.value), node.attr)
        case ast.Name():
            return (node.id,)
        case _:
            return ()


def _arguments(node: ast.arguments) -> list[str]:
    every = (*node.posonlyargs, *node.args, node.vararg, *node.kwonlyargs, node.kwarg)
    return [each.arg for each in every if each is not None]


def _unquoted(annotation: ast.expr) -> ast.expr:
    """An annotation is quoted where its import is only for type checkers; it says the same."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            return ast.parse(annotation.value, mode="eval").body
        except SyntaxError:
            return annotation
    return annotation


def _strings(tree: ast.AST) -> Iterator[str]:
    """All strings but those that stand alone, such as docstrings."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
            waiting += ast.iter_child_nodes(node)
