"""Strict reading of YAML manifests: every complaint names file, line and field. And what of them is identity.

A leaf module: any domain that has manifests of its own calls `read_manifest`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Generic, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, JsonValue
from pydantic import ValidationError as PydanticValidationError

from platform_assets.yaml_scalars import CORE_SCHEMA, NULL, STR, ambiguity, core_value
from resources.errors import PlatformError

FieldPath = tuple[str | int, ...]
_MOST_VALUES = 100_000
"""A few aliases of aliases can stand for billions; a pushed file must not fill the memory."""
_LONGEST_FOUND = 120
_ADVICE: Final[dict[tuple[str, type], str]] = {
    **{("string_type", kind): "; put text in quotes" for kind in (bool, int, float)},
    ("bool_type", str): "; write true or false",
}
M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


def _as_tuple(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


Many = Annotated[tuple[T, ...], BeforeValidator(_as_tuple)]
"""A YAML list; a single string stands for a list of one."""


class Section(BaseModel):
    """Base of everything read from a manifest: frozen, unknown keys refused, types meant as written."""

    # strict: "3" is not a number and 1 is not a boolean. Infinity has no canonical JSON, so no fingerprint.
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=()
    )


@dataclass(frozen=True, slots=True)
class AddedLater:
    """Marks a field that a later version has added, and states the value that means what was before it.

    While the field has this value it is left out of the identity, so that whatever was made before the field
    was added stays what it is:

        patience: Annotated[int, Field(ge=0), AddedLater(0)] = 0

    It is the outermost metadata of a field. The value is stated as JSON, for a section too
    (`AddedLater({"patience": 0})`), and never changes again, whatever becomes of the default.
    """

    value: JsonValue


def identity_of(section: BaseModel, fields: Iterable[str] | None = None) -> dict[str, JsonValue]:
    """What of a section enters fingerprints: the resolved value of every field, defaults too.

    A default that a later version changes is another identity, since what is made changes as well. A field
    that is marked as `AddedLater` is left out while it has the stated value, in sections within as well.

    Args:
        section: The section.
        fields: Names of its fields that count; all of them if None.
    """
    declared = type(section).model_fields
    names = list(declared if fields is None else fields)
    written = section.model_dump(mode="json", include=set(names))
    found: dict[str, JsonValue] = {}
    for name in names:
        value = _identity_within(getattr(section, name), written[name])
        if not any(isinstance(each, AddedLater) and each.value == value for each in declared[name].metadata):
            found[name] = value
    return found


def _identity_within(value: Any, written: JsonValue) -> JsonValue:
    """The field's value as JSON (`written`), with the identities of the sections in it."""
    if isinstance(value, BaseModel):
        return identity_of(value)
    if isinstance(value, Mapping) and isinstance(written, dict):
        pairs = zip(value.values(), written.items(), strict=True)
        return {key: _identity_within(each, item) for each, (key, item) in pairs}
    if isinstance(value, list | tuple) and isinstance(written, list):
        return [_identity_within(each, item) for each, item in zip(value, written, strict=True)]
    return written


class _CoreLoader(yaml.SafeLoader):
    """The syntax of SafeLoader, which is that of YAML 1.1, with the tags of YAML 1.2's core schema."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - no instance has one of its own

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        """The node; the tag `!` makes it text, as 1.2 has it."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if event.tag == "!":
            event.implicit = (False, True)
        node: yaml.ScalarNode = super().compose_scalar_node(anchor)
        return node


for _tag, _form in CORE_SCHEMA.items():
    _first = ["", *"~nN"] if _tag == NULL else list("tTfF-+.0123456789")
    _CoreLoader.add_implicit_resolver(_tag, re.compile(rf"(?:{_form.pattern})\Z"), _first)

_ODD_BREAK: Final = re.compile("[\x85\u2028\u2029]")
"""They end lines, and comments, in YAML 1.1 alone."""
_ONE_DOCUMENT: Final = "expected a single document in the stream"
"""How the parser calls it."""


class ManifestError(PlatformError):
    """A manifest cannot be read, or says something that its model does not allow."""


@dataclass(frozen=True, slots=True)
class Manifest(Generic[M]):
    """A parsed manifest that still knows where each field stands."""

    path: Path
    content: M
    lines: dict[FieldPath, int]

    def error(self, field: FieldPath, problem: str) -> ManifestError:
        """An error about `field`, naming file and line; for checks that a model cannot make itself."""
        return ManifestError(_complaint(self.path, self.lines, field, problem))


@dataclass(frozen=True, slots=True)
class Yaml:
    """A file of keys and values that no model has looked at."""

    path: Path
    content: dict[str, Any]
    lines: dict[FieldPath, int]


def read_manifest(path: Path, model: type[M], *, in_clusters: bool = False) -> Manifest[M]:
    """The manifest in `path`, validated by `model`.

    Args:
        path: The file.
        model: What it may say.
        in_clusters: Whether clusters read it too; see `read_yaml`.

    Raises:
        ManifestError: the file is missing, is not YAML, holds a duplicate key, or breaks the model; the
            message lists every problem with file, line and field.
    """
    return bound(read_yaml(path, in_clusters=in_clusters), model)


def bound(yaml_file: Yaml, model: type[M]) -> Manifest[M]:
    """The file as `model` reads it.

    Raises:
        ManifestError: it breaks the model.
    """
    path, lines = yaml_file.path, yaml_file.lines
    try:
        return Manifest(path, model.model_validate(yaml_file.content), lines)
    except PydanticValidationError as problem:
        found = [
            _complaint(path, lines, *_located(lines, error["loc"], _sentence(error)))
            for error in problem.errors()
        ]
        raise ManifestError("\n".join(found)) from None


def read_yaml(path: Path, *, in_clusters: bool = False) -> Yaml:
    """The keys and values in `path`, as YAML 1.2 with its core schema has them.

    Args:
        path: The file.
        in_clusters: Whether clusters read it too. What means something else to them is refused then.

    Raises:
        ManifestError: the file is missing, is not YAML, or holds a duplicate key; the message names file and line.
    """
    try:
        raw = path.read_bytes()
    except OSError as problem:
        raise ManifestError(
            f"{path}: cannot be read ({problem.strerror}); give the path of a YAML file"
        ) from None
    return parsed_yaml(raw, path, in_clusters=in_clusters)


def parsed_yaml(raw: bytes, path: Path, *, in_clusters: bool = False) -> Yaml:
    """As `read_yaml`, of what was read already.

    Args:
        raw: The bytes of the file.
        path: Names it in messages.
        in_clusters: See `read_yaml`.

    Raises:
        ManifestError: as `read_yaml`.
    """
    try:
        # As a file is read as text: any of the three ways to end a line.
        text = raw.decode().replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as problem:
        raise ManifestError(f"{path}: is not UTF-8 text (byte {problem.start}); save it as UTF-8") from None
    if odd := _ODD_BREAK.search(text):
        line = text.count("\n", 0, odd.start()) + 1
        raise ManifestError(
            f"{path}:{line}: holds U+{ord(odd[0]):04X}, a line break to some readers of YAML and none to others; "
            f'remove it, or write it as "\\u{ord(odd[0]):04x}"'
        )
    reading = _Reading(path, in_clusters)
    lines = reading.lines
    try:
        node = yaml.compose(text, Loader=_CoreLoader)
        content = reading.value(node, ()) if node is not None else None
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 1
        if problem.context == _ONE_DOCUMENT:
            raise ManifestError(
                f"{path}:{line}: begins a second document; write it into another file"
            ) from None
        raise ManifestError(f"{path}:{line}: is not valid YAML: {problem.problem}") from None
    except yaml.reader.ReaderError as problem:
        line = text.count("\n", 0, problem.position) + 1
        raise ManifestError(f"{path}:{line}: is not valid YAML: {problem.reason}") from None
    except RecursionError:
        raise ManifestError(
            f"{path}:1: nests too deeply to be read; write it with fewer lists and mappings in one another"
        ) from None
    if not isinstance(content, dict):
        raise ManifestError(
            f"{path}:1: must hold keys and values, and is {'empty' if content is None else 'something else'}"
        )
    return Yaml(path, content, lines)


class _Reading:
    """From nodes to plain Python values; notes the 1-based line of every field."""

    def __init__(self, path: Path, in_clusters: bool) -> None:  # noqa: FBT001
        self.path, self.in_clusters = path, in_clusters
        self.lines: dict[FieldPath, int] = {}
        self._open: set[int] = set()
        """Nodes that are being read: an alias of one of them would never end."""

    def value(self, node: yaml.Node, at: FieldPath) -> Any:
        """What stands at a field."""
        if len(self.lines) >= _MOST_VALUES:
            raise ManifestError(
                f"{self.path}:1: holds more than {_MOST_VALUES:,} values, aliases written out"
            )
        line = node.start_mark.line + 1
        self.lines.setdefault(at, line)
        if id(node) in self._open:
            raise self._error(line, at, "nests without end; an alias must not stand inside what it names")
        self._open.add(id(node))
        content = self._content(node, at, line)
        self._open.remove(id(node))
        return content

    def _content(self, node: yaml.Node, at: FieldPath, line: int) -> Any:
        if isinstance(node, yaml.MappingNode) and node.tag == _CoreLoader.DEFAULT_MAPPING_TAG:
            return self._mapping(node, at)
        if isinstance(node, yaml.SequenceNode) and node.tag == _CoreLoader.DEFAULT_SEQUENCE_TAG:
            return [self.value(item, (*at, index)) for index, item in enumerate(node.value)]
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(line, at, f"has the tag {node.tag}, which YAML 1.2's core schema does not know")
        self._agreed(node, at)
        try:
            return core_value(node.tag, node.value)
        except ValueError as problem:
            raise self._error(line, at, str(problem)) from None

    def _mapping(self, node: yaml.MappingNode, at: FieldPath) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(line, at, "has a key that is not a word")
            try:
                key = core_value(STR, key_node.value)
            except ValueError as problem:
                raise self._error(line, at, f"has a key that {problem}") from None
            field = (*at, key)
            if key == "<<" and key_node.style is None:
                merged = "merges nothing in YAML 1.2; write the keys out, or put a key of that name in quotes"
                raise self._error(line, field, merged)
            if key in mapping:
                first = self.lines[field]
                raise self._error(line, field, f"stands twice; keep one (the first is on line {first})")
            self.lines[field] = line
            self._agreed(key_node, field)
            mapping[key] = self.value(value_node, field)
        return mapping

    def _agreed(self, node: yaml.ScalarNode, at: FieldPath) -> None:
        if self.in_clusters and node.style is None and (problem := ambiguity(node.value)):
            raise self._error(node.start_mark.line + 1, at, problem)

    def _error(self, line: int, at: FieldPath, problem: str) -> ManifestError:
        return ManifestError(f"{self.path}:{line}: {_dotted(at)}: {problem}")


def _located(lines: Mapping[FieldPath, int], field: FieldPath, problem: str) -> tuple[FieldPath, str]:
    """Field and problem; where a check of a whole section begins with the part that it is about, that part."""
    name, separator, rest = problem.partition(": ")
    part = (*field, *name.split("."))
    if not separator or part[: len(field) + 1] not in lines:
        return field, problem
    return part, rest


def _complaint(path: Path, lines: dict[FieldPath, int], field: FieldPath, problem: str) -> str:
    known = field
    while known and known not in lines:
        known = known[:-1]
    return f"{path}:{lines.get(known, 1)}: {_dotted(field)}: {problem}"


def _dotted(field: FieldPath) -> str:
    return ".".join(str(part) for part in field) or "(top level)"


def first_problem(problem: PydanticValidationError) -> str:
    """`field: what is wrong` of the first thing that a model refuses; of a whole section never its values."""
    first = problem.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {_sentence(first)}" if where else _sentence(first)


def _sentence(error: Any) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "is not a known key; check the spelling"
        case "missing":
            return "is missing; add it"
        case _:
            message = str(error["msg"]).removeprefix("Value error, ")
            found = repr(error["input"])
            # Of a whole section the message says which part is wrong, and its values may hold secrets. What is no JSON
            # may be any file, as a private key that was taken for another one.
            whole = isinstance(error["input"], dict | BaseModel) or error["type"] == "json_invalid"
            if whole or len(found) > _LONGEST_FOUND:
                return message
            advice = _ADVICE.get((error["type"], type(error["input"])), "")
            return f"{message} (found {found}){advice}"
