"""A page of every field of a manifest, made of its JSON Schema."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

_HEAD: Final = "| field | what it may be | default | meaning |\n|---|---|---|---|"
_AS_GOOD_AS_ANY: Final = 2**53 - 1
"""A bound of whole numbers that only keeps them whole elsewhere."""
Schema = Mapping[str, Any]


def reference_page(schema: Schema, introduction: str) -> str:
    """Markdown: a table of the fields, and one of each section within.

    Args:
        schema: As `editor_schema` makes it.
        introduction: What the page begins with, below its title.
    """
    definitions = schema.get("$defs", {})
    parts = [f"# {schema['title']}", introduction, _table(schema, (), definitions)]
    for path, section in _sections(schema, (), definitions):
        parts += [f"## {_heading(path, section)}", section.get("description", "")]
        parts += [_table(section, path, definitions)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _sections(
    section: Schema, path: tuple[str, ...], definitions: Schema
) -> Iterator[tuple[tuple[str, ...], Schema]]:
    for name, field in section["properties"].items():
        for within in _within(field, definitions):
            if "properties" in within:
                yield (*path, name), within
                yield from _sections(within, (*path, name), definitions)


def _within(field: Schema, definitions: Schema) -> Iterator[Schema]:
    """The sections that a field is, or is a list or mapping of."""
    if reference := field.get("$ref"):
        yield definitions[reference.rpartition("/")[2]]
    for each in (*field.get("anyOf", ()), *field.get("oneOf", ())):
        yield from _within(each, definitions)
    for key in ("items", "additionalProperties"):
        if isinstance(field.get(key), dict):
            yield from _within(field[key], definitions)


def _sections_at(field: Schema, definitions: Schema) -> list[Schema]:
    """The sections that a field is itself."""
    alone = {key: value for key, value in field.items() if key in ("$ref", "oneOf")}
    return list(_within(alone, definitions))


def _heading(path: tuple[str, ...], section: Schema) -> str:
    """Path of the section, and which of several it is, where a field says so."""
    which = [
        f", {name}: {field['const']}"
        for name, field in section["properties"].items()
        if "const" in field and name == "by"
    ]
    return f"`{'.'.join(path)}`{''.join(which)}"


def _anchor(heading: str) -> str:
    """As both GitHub and the site make it of a heading."""
    return "".join(each for each in heading.lower().replace(" ", "-") if each.isalnum() or each in "-_")


def _table(section: Schema, path: tuple[str, ...], definitions: Schema) -> str:
    required = section.get("required", ())
    rows = []
    for name, field in sorted(section["properties"].items(), key=lambda each: each[0] not in required):
        cells = (
            f"`{name}`",
            _form(field, (*path, name), definitions),
            "required" if name in required else _default(field, definitions),
            field.get("description") or _of_section(field, definitions),
        )
        rows.append("| " + " | ".join(_cell(each) for each in cells) + " |")
    return "\n".join([_HEAD, *rows])


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(field: Schema, definitions: Schema) -> str:
    if field.get("default") in (None, [], ""):
        nullable = {"type": "null"} in field.get("anyOf", ())
        return (
            "see there"
            if not nullable and any("properties" in each for each in _sections_at(field, definitions))
            else "none"
        )
    return f"`{json.dumps(field['default'], ensure_ascii=False)}`"


def _of_section(field: Schema, definitions: Schema) -> str:
    return next((each.get("description", "") for each in _within(field, definitions)), "")


def _form(field: Schema, path: tuple[str, ...], definitions: Schema) -> str:
    """What may be written, in words."""
    choices = field.get("anyOf") or field.get("oneOf")
    if choices and len(choices) > 1 and choices[-1].get("items") in (choices[0], {"anyOf": choices[:-1]}):
        return f"{_form(choices[0], path, definitions)}, or a list of such{_most(choices[-1])}"
    if choices:
        return ", or ".join(dict.fromkeys(_form(each, path, definitions) for each in choices))
    if "$ref" in field:
        (section,) = _within(field, definitions)
        if "properties" not in section:
            return "anything"
        heading = _heading(path, section)
        return f"[section {heading}](#{_anchor(heading)})"
    if "const" in field:
        return f"`{_written(field['const'])}`"
    if "enum" in field:
        return "one of " + ", ".join(f"`{each}`" for each in field["enum"])
    match field.get("type"):
        case "array":
            return "list of: " + _form(field["items"], path, definitions) + _most(field)
        case "object" if isinstance(field.get("additionalProperties"), dict):
            return "by name: " + _form(field["additionalProperties"], path, definitions)
        case "object":
            return "keys and values"
        case "string" if "examples" in field:
            return "such as " + " or ".join(f"`{each}`" for each in field["examples"])
        case "string":
            return "text" + (f" as `{field['pattern']}`" if "pattern" in field else "")
        case "integer":
            return "whole number" + _bounds(field)
        case "number":
            return "number" + _bounds(field)
        case "boolean":
            return "`true` or `false`"
        case "null":
            return "`null`"
    return "anything"


def _most(field: Schema) -> str:
    return f", at most {field['maxItems']}" if "maxItems" in field else ""


def _bounds(field: Schema) -> str:
    signs = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
    found = [
        f"{sign} {field[key]:,}" for key, sign in signs if key in field and abs(field[key]) < _AS_GOOD_AS_ANY
    ]
    return f" {' and '.join(found)}" if found else ""
