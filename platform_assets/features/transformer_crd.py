"""The CustomResourceDefinition of FeatureTransformers: what a laptop refuses in a file, a cluster refuses in an object.

Types, bounds, defaults and descriptions come from the models of `transformer_spec.py`. What the validators of the models
demand across fields stands here again, as rules in CEL in equal wording; a test holds an API server's answers
and the models' against each other.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from platform_assets.features.transformer_spec import (
    API_VERSION,
    ASSET_SCHEME,
    DIFFERENT_KEYS,
    KEYS,
    KIND,
    NAME_FORM,
    NAME_RULE,
    RESERVED,
    SCHEMES,
    LagSpec,
    TransformerSection,
    TransformerSpec,
    WoeSpec,
    ZscoreSpec,
)

PLURAL: Final = "featuretransformers"
GROUP, VERSION = API_VERSION.split("/")
REGISTERED: Final = "Registered"
"""The condition that tells whether the platform has taken an object up."""
_TYPES: Final = ("woe", "zscore", "lag")
_KEPT: Final = frozenset(
    [
        "type",
        "enum",
        "default",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "maxProperties",
    ]
)


def crd() -> dict[str, Any]:
    """The CustomResourceDefinition, as `kubectl apply` takes it."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["ft"],
                "categories": ["features"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": list(_printer_columns()),
                    "schema": {"openAPIV3Schema": _schema()},
                }
            ],
        },
    }


# --- The schema -----------------------------------------------------------------------------------------------


def _schema() -> dict[str, Any]:
    spec = _section(TransformerSpec)
    for section in (WoeSpec, ZscoreSpec, LagSpec):
        name = section.__name__.removesuffix("Spec").lower()
        spec["properties"][name] |= {"type": "object", "properties": _section(section)["properties"]}
    # The order of columns is that of features, so the list is a set to the API server only in being without doubles.
    spec["properties"]["columns"]["x-kubernetes-list-type"] = "set"
    spec["properties"]["woe"]["x-kubernetes-validations"] = [each.written() for each in _WOE_RULES]
    spec["properties"]["lag"]["x-kubernetes-validations"] = [each.written() for each in _LAG_RULES]
    spec["x-kubernetes-validations"] = [each.written() for each in _spec_rules()]
    return {
        "description": "What makes features of columns, declared once and used by many lines.",
        "type": "object",
        "required": ["spec"],
        "properties": {"spec": spec, "status": _STATUS},
        "x-kubernetes-validations": [_NAME.written()],
    }


def _section(model: type[TransformerSection]) -> dict[str, Any]:
    """A model as a structural schema; the sections in it are left open."""
    found = model.model_json_schema(by_alias=True)
    schema = {"description": found["description"], "type": "object"}
    if required := found.get("required"):
        schema["required"] = required
    schema["properties"] = {name: _structural(field) for name, field in found["properties"].items()}
    return schema


def _structural(field: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON Schema says of a field, as an API server takes it: each value has one type, and none is null.

    Raises:
        ValueError: a structural schema has no word for it.
    """
    schema: dict[str, Any] = {}
    if "description" in field:
        schema["description"] = " ".join(field["description"].split())
    choices = [each for each in field.get("anyOf", [field]) if each.get("type") != "null"]
    match [each.get("type") for each in choices]:
        case ["integer", "string"]:
            schema |= {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
        case [_]:
            pass
        case others:
            raise ValueError(f"{field.get('title')}: one of {others} is no structural schema")
    for choice in choices:
        schema |= {key: value for key, value in choice.items() if key in _KEPT - {"default"}}
    if "x-kubernetes-int-or-string" in schema:
        del schema["type"]
    if field.get("default") not in (None, []):
        schema["default"] = field["default"]
    if "items" in choices[0]:
        schema["items"] = _structural(choices[0]["items"])
    if isinstance(choices[0].get("additionalProperties"), dict):
        schema["additionalProperties"] = _structural(choices[0]["additionalProperties"])
    return schema


def _printer_columns() -> Iterator[dict[str, Any]]:
    for name, kind, path, wide in (
        ("Type", "string", ".spec.transformerType", False),
        ("Days", "integer", ".spec.windowDays", False),
        ("Source", "string", ".spec.inputSource", False),
        (REGISTERED, "string", f'.status.conditions[?(@.type=="{REGISTERED}")].status', False),
        ("Reason", "string", f'.status.conditions[?(@.type=="{REGISTERED}")].reason', True),
        ("Newest", "string", ".status.newestVersion", False),
        ("Columns", "string", ".spec.columns", True),
        ("Age", "date", ".metadata.creationTimestamp", False),
    ):
        yield {"name": name, "type": kind, "jsonPath": path} | ({"priority": 1} if wide else {})


_CONDITION: Final = {
    "type": "object",
    "required": ["type", "status", "lastTransitionTime", "reason", "message"],
    "properties": {
        "type": {"type": "string", "maxLength": 316},
        "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
        "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
        "lastTransitionTime": {"type": "string", "format": "date-time"},
        "reason": {
            "type": "string",
            "minLength": 1,
            "maxLength": 1024,
            "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        },
        "message": {"type": "string", "maxLength": 32768},
    },
}
"""As metav1.Condition."""
_STATUS: Final = {
    "description": "What the platform has made of it.",
    "type": "object",
    "properties": {
        "observedGeneration": {
            "description": "Generation of the spec that this tells of.",
            "type": "integer",
            "format": "int64",
            "minimum": 0,
        },
        "assetKey": {
            "description": "The asset that it is, where it is registered.",
            "type": "string",
            "maxLength": 253,
        },
        "newestVersion": {
            "description": "The newest fitted version, e.g. v3; none before the first fit.",
            "type": "string",
            "pattern": "^v[1-9][0-9]*$",
        },
        "conditions": {
            "description": "`Registered`: whether lines may use it; the reason is Registered, Invalid or NameTaken.",
            "type": "array",
            "maxItems": 16,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": _CONDITION,
        },
    },
}


# --- The rules ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rule:
    """What holds of a section, in CEL."""

    holds: str
    otherwise: str
    """What is wrong, as the model says it; `{…}` is CEL of the section."""
    field: str | None = None

    def written(self) -> dict[str, str]:
        """As the API server takes it."""
        rule = {"rule": self.holds}
        if "{" in self.otherwise:
            rule["messageExpression"] = _concatenated(self.otherwise)
        else:
            rule["message"] = self.otherwise
        return rule | ({"fieldPath": f".{self.field}"} if self.field else {})


def _concatenated(text: str) -> str:
    parts = []
    for piece in text.split("{"):
        expression, closed, rest = piece.rpartition("}")
        parts += [expression] if closed else []
        parts += [f"'{rest}'"] if rest else []
    return " + ".join(parts)


_NAME: Final = _Rule(f"self.metadata.name.matches('^{NAME_FORM}$')", f"metadata.name: {NAME_RULE}")
_WOE_RULES: Final = (
    _Rule(
        "!has(self.specialValues) || self.specialValues.all(each, "
        "self.specialValues.exists_one(other, string(other) == string(each)))",
        "specialValues: a value stands twice; keep one",
        "specialValues",
    ),
)
_LAG_RULES: Final = (_Rule("!(has(self.days) && has(self.rows))", "counts days or rows; keep one"),)


def _spec_rules() -> Iterator[_Rule]:
    yield from _rules_of_types()
    yield from _rules_of_keys()
    yield from _rules_of_names()
    yield from _rules_of_sources()


def _rules_of_types() -> Iterator[_Rule]:
    for section in _TYPES:
        yield _Rule(
            f"!has(self.{section}) || self.transformerType == '{section}'",
            f"{section}: the type is {{self.transformerType}}; remove this section, or change transformerType",
            section,
        )
    yield _Rule(
        "self.transformerType != 'woe' || has(self.target)",
        "target: weights of evidence are fitted to one; name the column with two values",
        "target",
    )
    yield _Rule(
        "self.transformerType == 'woe' || !has(self.target)",
        "target: {self.transformerType} reads none; remove it",
        "target",
    )
    for key in ("entityKey", "timestampColumn"):
        yield _Rule(
            f"self.transformerType == 'woe' || has(self.{key})",
            f"{key}: {{self.transformerType}} looks along the history of an entity; name the column",
            key,
        )
    yield _Rule(
        "!has(self.availableColumn) || has(self.timestampColumn)",
        "availableColumn: needs timestampColumn, which it is compared with",
        "availableColumn",
    )


def _rules_of_keys() -> Iterator[_Rule]:
    for key in KEYS:
        yield _Rule(
            f"!has(self.{key}) || !(self.{key} in self.columns)",
            f"columns: {{self.{key}}} is the {key}; it cannot be transformed, too",
            "columns",
        )
    for one, other in DIFFERENT_KEYS:
        yield _Rule(
            f"!has(self.{one}) || !has(self.{other}) || self.{one} != self.{other}",
            f"{one}: {{self.{one}}} is the {other}, too; name another column",
            one,
        )


def _rules_of_names() -> Iterator[_Rule]:
    suffix, names = "'_' + self.transformerType", "self.outputNames"
    unknown = f"{names}.filter(each, !(each in self.columns))"
    yield _Rule(
        f"!has({names}) || {names}.all(each, each in self.columns)",
        f"outputNames: {{{unknown}[0]}} is not among columns",
        "outputNames",
    )
    one_name = "outputNames: two columns have features of one name; rename one"
    yield _Rule(
        f"!has({names}) || {names}.all(each, {names}.exists_one(other, {names}[other] == {names}[each]))",
        one_name,
        "outputNames",
    )
    # A given name that another column's feature has by default.
    column = f"{names}[each].substring(0, size({names}[each]) - size({suffix}))"
    yield _Rule(
        f"!has({names}) || {names}.all(each, !{names}[each].endsWith({suffix}) || "
        f"!({column} in self.columns) || {column} in {names})",
        one_name,
        "outputNames",
    )
    # No column is called nothing, so a key that is not named takes no name.
    keys = (f"has(self.{key}) ? self.{key} : ''" for key in KEYS)
    present = f"self.columns + [{', '.join((*(repr(each) for each in RESERVED), *keys))}]"
    yield _Rule(
        f"!has({names}) || {names}.all(each, !({names}[each] in {present}))",
        f"outputNames: the table has a column {{{names}[{names}.filter(each, {names}[each] in {present})[0]]}} already; "
        "give another name",
        "outputNames",
    )
    named = f"has({names}) && each in {names}"
    yield _Rule(
        f"self.columns.all(each, ({named}) || !((each + {suffix}) in {present}))",
        f"outputNames: the table has a column {{self.columns.filter(each, !({named}) && (each + {suffix}) in {present})[0] "
        f"+ {suffix}}} already; give another name",
        "columns",
    )


def _rules_of_sources() -> Iterator[_Rule]:
    scheme = "self.inputSource.split('://', 2)[0]"
    yield _Rule(
        f"!self.inputSource.contains('://') || self.inputSource.matches('^({'|'.join(SCHEMES)})://')",
        f"inputSource: {{{scheme}}}:// is none of {', '.join(SCHEMES)}; write one of them, or a path",
        "inputSource",
    )
    yield _Rule(
        "self.inputSource.indexOf('://') != size(self.inputSource) - 3",
        f"inputSource: nothing follows {{{scheme}}}://; say what is to be read",
        "inputSource",
    )
    yield _Rule(
        f"!self.inputSource.startsWith('{ASSET_SCHEME}://') || self.inputSource.size() < 9 || "
        f"self.inputSource.matches('^{ASSET_SCHEME}://[A-Za-z0-9_]+$')",
        f"inputSource: {ASSET_SCHEME}:// is followed by the name of a dataset, as asset://loans_dataset",
        "inputSource",
    )
