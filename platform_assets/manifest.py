"""Strict reading of YAML manifests: every complaint names file, line and field. And what of them is identity.

A leaf module: any domain that has manifests of its own calls `read_manifest`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, JsonValue
from pydantic import ValidationError as PydanticValidationError

from resources.errors import PlatformError

FieldPath = tuple[str | int, ...]
_MOST_VALUES = 100_000
"""A few aliases of aliases can stand for billions; a pushed file must not fill the memory."""
_LONGEST_FOUND = 120
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


class _Yaml12Loader(yaml.SafeLoader):
    """SafeLoader that reads `1e-4` as the number it is; YAML 1.1 demanded a dot."""


_Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


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


def read_manifest(path: Path, model: type[M]) -> Manifest[M]:
    """The manifest in `path`, validated by `model`.

    Raises:
        ManifestError: the file is missing, is not YAML, holds a duplicate key, or breaks the model; the
            message lists every problem with file, line and field.
    """
    return bound(read_yaml(path), model)


def bound(yaml_file: Yaml, model: type[M]) -> Manifest[M]:
    """The file as `model` reads it.

    Raises:
        ManifestError: it breaks the model.
    """
    path, lines = yaml_file.path, yaml_file.lines
    try:
        return Manifest(path, model.model_validate(yaml_file.content), lines)
    except PydanticValidationError as problem:
        found = [_complaint(path, lines, error["loc"], _sentence(error)) for error in problem.errors()]
        raise ManifestError("\n".join(found)) from None


def read_yaml(path: Path) -> Yaml:
    """The keys and values in `path`.

    Raises:
        ManifestError: the file is missing, is not YAML, or holds a duplicate key; the message names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as problem:
        raise ManifestError(
            f"{path}: cannot be read ({problem.strerror}); give the path of a YAML file"
        ) from None
    except UnicodeDecodeError as problem:
        raise ManifestError(f"{path}: is not UTF-8 text (byte {problem.start}); save it as UTF-8") from None
    lines: dict[FieldPath, int] = {}
    try:
        node = yaml.compose(text, Loader=_Yaml12Loader)
        content = _plain(node, (), lines, path) if node is not None else None
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 1
        raise ManifestError(f"{path}:{line}: is not valid YAML: {problem.problem}") from None
    except yaml.reader.ReaderError as problem:
        line = text.count("\n", 0, problem.position) + 1
        raise ManifestError(f"{path}:{line}: is not valid YAML: {problem.reason}") from None
    except RecursionError:
        raise ManifestError(
            f"{path}:1: nests without end; an alias must not stand inside what it names"
        ) from None
    if not isinstance(content, dict):
        raise ManifestError(
            f"{path}:1: must hold keys and values, and is {'empty' if content is None else 'something else'}"
        )
    return Yaml(path, content, lines)


def _plain(node: yaml.Node, at: FieldPath, lines: dict[FieldPath, int], path: Path) -> Any:
    """The node as plain Python values; fills `lines` with the 1-based line of every field."""
    if len(lines) >= _MOST_VALUES:
        raise ManifestError(f"{path}:1: holds more than {_MOST_VALUES:,} values, aliases written out")
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ManifestError(f"{path}:{line}: {_dotted(at)}: has a key that is not a word")
            key = key_node.value
            field = (*at, key)
            if key in mapping:
                raise ManifestError(
                    f"{path}:{line}: {_dotted(field)}: stands twice; keep one (the first is on line {lines[field]})"
                )
            lines[field] = line
            mapping[key] = _plain(value_node, field, lines, path)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*at, index), lines, path) for index, item in enumerate(node.value)]
    try:
        return _Yaml12Loader("").construct_object(node)
    except ValueError as problem:
        raise ManifestError(f"{path}:{lines[at]}: {_dotted(at)}: cannot be read ({problem})") from None


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
            # Of a whole section the message says which part is wrong, and its values may hold secrets.
            whole = isinstance(error["input"], dict | BaseModel)
            return message if whole or len(found) > _LONGEST_FOUND else f"{message} (found {found})"
