"""JSON Schemas of manifests, for editors: what a field may be, and what its docstring says of it.

Pydantic makes the schemas. What it cannot see is added: a bare word in place of a list or section, where a
validator takes one, and the docstrings of fields, which the platform itself never reads.
"""

import ast
import inspect
import sys
from functools import cache
from typing import Any, Final, cast

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_WORD: Final = "word"


def editor_schema(model: type[BaseModel], title: str) -> dict[str, Any]:
    """The schema of a manifest, references within it included.

    Checks across fields are the model's alone.
    """
    schema = model.model_json_schema(by_alias=True, schema_generator=_ForEditors)
    tidied: dict[str, Any] = _tidied(schema)
    return {"$schema": DIALECT, "title": title} | tidied


class _ForEditors(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        """No: it would be the name once more."""
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """A section, its fields described by their docstrings."""
        found = super().model_schema(schema)
        model = cast("type[BaseModel]", schema["cls"])
        for name, text in field_docstrings(model).items():
            found["properties"][model.model_fields[name].alias or name]["description"] = text
        if "description" in found:
            found["description"] = " ".join(found["description"].split())
        return found

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        """What a validator is before, and a bare word where it makes that of one."""
        found = super().function_before_schema(schema)
        if schema["function"]["type"] != "no-info":
            return found
        made = schema["function"]["function"](cast("Any", _WORD))
        if made == (_WORD,):
            words = [each for each in _choices(found["items"]) if each.get("type") == "string"]
            return {"anyOf": [*words, found]} if words else found
        if isinstance(made, dict):
            ((field, _),) = made.items()
            return {"anyOf": [{"enum": _bare_words(schema["schema"], field)}, found]}
        return found


def _tidied(schema: Any) -> Any:
    """Lengths of lists are called so, and what tells nobody anything is left out: titles, defaults of sections."""
    if isinstance(schema, list):
        return [_tidied(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if isinstance(properties := schema.get("properties"), dict):
        schema = schema | {"properties": {name: _tidied(each) for name, each in properties.items()}}
    tidy = {
        key: value if key in ("properties", "default", "enum", "const") else _tidied(value)
        for key, value in schema.items()
        if key != "title" and not (key == "default" and (value is None or isinstance(value, dict)))
    }
    lists = [each for each in _choices(tidy) if each.get("type") == "array"]
    for wrong, right in (("minLength", "minItems"), ("maxLength", "maxItems")):
        if lists and wrong in tidy:
            lists[0][right] = tidy.pop(wrong)
    return tidy


def _choices(schema: JsonSchemaValue) -> list[JsonSchemaValue]:
    return cast("list[JsonSchemaValue]", schema.get("anyOf", [schema]))


def _bare_words(schema: Any, field: str) -> list[str]:
    """Those that are a whole section by themselves, because nothing else has to be said beside them."""
    model = _model_of(schema)
    words = model.model_json_schema()["properties"][field]["enum"]
    return [word for word in words if _is_valid(model, {field: word})]


def _model_of(schema: Any) -> type[BaseModel]:
    while "cls" not in schema:
        schema = schema["schema"]
    return cast("type[BaseModel]", schema["cls"])


def _is_valid(model: type[BaseModel], content: dict[str, str]) -> bool:
    try:
        model.model_validate(content)
    except ValidationError:
        return False
    return True


def field_docstrings(model: type[BaseModel]) -> dict[str, str]:
    """What stands below each field, those of base classes included; fields without a docstring are left out."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if issubclass(each, BaseModel) and each is not BaseModel:
            found |= _docstrings(each.__module__).get(each.__name__, {})
    return {name: text for name, text in found.items() if name in model.model_fields}


@cache
def _docstrings(module: str) -> dict[str, dict[str, str]]:
    """Docstring by field by class of a module."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {
        each.name: {
            field.target.id: " ".join(text.value.value.split())
            for field, text in zip(each.body, each.body[1:], strict=False)
            if isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        }
        for each in tree.body
        if isinstance(each, ast.ClassDef)
    }
