"""What a plain (unquoted) YAML scalar means, to each of the readers that there are.

The platform reads YAML 1.2 with its core schema. Clusters read their files with Go, by rules that lie between
1.1 and 1.2, and most Python programs with PyYAML, by those of 1.1: to them `NO` is false, `0440` is 288 and
`12:30` is 750. A file that they read too may hold only what means the same to all of them, and what is written
is quoted wherever one of them would take text for something else.
"""

import math
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple

import yaml

_TAG: Final = "tag:yaml.org,2002:"
NULL, BOOL, INT, FLOAT, STR = (f"{_TAG}{name}" for name in ("null", "bool", "int", "float", "str"))

CORE_SCHEMA: Final[dict[str, re.Pattern[str]]] = {
    NULL: re.compile(r"|~|null|Null|NULL"),
    BOOL: re.compile(r"true|True|TRUE|false|False|FALSE"),
    INT: re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    FLOAT: re.compile(
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?(\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN"
    ),
}
"""Which plain scalars have which tag; any other is text. An integer comes before a float."""

_GO_BOOLEANS: Final = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
}
_GO_INTEGER: Final = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_GO_SIGNED_BINARY: Final = re.compile(r"-?0b[-+][01]+")
_GO_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_ODD_TEXT: Final = re.compile(r"[-+]?\.?[0-9_][0-9_,.:]*([eE][-+]?[0-9_]*)?", re.ASCII)
"""What some reader, if none of these, takes for a number (Ruby's: `1,000`; another of 1.2: `-_`). It costs two quotes."""
_MOST_DIGITS: Final = 4300
"""Python's own bound for integers."""


class Meaning(NamedTuple):
    """What a plain scalar is to one reader."""

    kind: str
    value: Any


class Ambiguity(NamedTuple):
    """A plain scalar that readers understand differently."""

    line: int
    """From 1."""
    problem: str


def core_value(tag: str, text: str) -> Any:
    """The value of a scalar with a tag of the core schema.

    Raises:
        ValueError: It has no such value, or none that stays what is written; the message says what to do.
    """
    if tag == STR:
        return _whole_characters(text)
    form = CORE_SCHEMA.get(tag)
    if form is None:
        name = tag.removeprefix(_TAG)
        raise ValueError(f"has the tag {name}, which YAML 1.2's core schema does not know; remove the tag")
    if not form.fullmatch(text) and not (tag == FLOAT and CORE_SCHEMA[INT].fullmatch(text)):
        raise ValueError(f"is no {tag.removeprefix(_TAG)}; remove the tag or mend the value")
    if tag == NULL:
        return None
    if tag == BOOL:
        return text[0] in "tT"
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"is a number of more than {_MOST_DIGITS:,} characters; put text in quotes")
    if CORE_SCHEMA[INT].fullmatch(text):
        integer = int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
        return integer if tag == INT else _float(str(integer))
    return _float(text)


def core_tag(text: str) -> str:
    """The tag of a plain scalar by the core schema of YAML 1.2."""
    return next((tag for tag, form in CORE_SCHEMA.items() if form.fullmatch(text)), STR)


def is_whole_to_clusters(value: int) -> bool:
    """Whether clusters keep each digit of an integer: it fits into 64 bits."""
    return -(2**63) <= value < 2**63


@lru_cache(maxsize=4096)
def is_text(text: str) -> bool:
    """Whether every reader takes this plain scalar for text."""
    return not _ODD_TEXT.fullmatch(text) and all(reader(text).kind == STR for reader in _READERS.values())


@lru_cache(maxsize=4096)
def ambiguity(text: str) -> str | None:
    """What is wrong with a plain scalar that readers understand differently; None where they agree."""
    ours = _core(text)
    for name, reader in _READERS.items():
        theirs = reader(text)
        if repr(theirs) != repr(ours):  # as nan is not equal to itself
            return (
                f"{text} is {_told(ours)} to YAML 1.2 and {_told(theirs)} to {name}; "
                "put text in quotes, and numbers in a form that all read alike"
            )
    return None


def ambiguities(text: str) -> Iterator[Ambiguity]:
    """Each plain scalar of YAML documents, keys as well, that readers understand differently.

    Raises:
        yaml.YAMLError: The text is no YAML.
    """
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.ScalarEvent) and event.implicit[0] and (found := ambiguity(event.value)):
            yield Ambiguity(event.start_mark.line + 1 if event.start_mark else 1, found)


def _core(text: str) -> Meaning:
    tag = core_tag(text)
    try:
        return Meaning(tag, core_value(tag, text))
    except ValueError:
        return Meaning(tag, text)


def _pyyaml(text: str) -> Meaning:
    """To PyYAML's SafeLoader, and `y` and `n` as the specification of 1.1 has them."""
    if text in {"y", "Y", "n", "N"}:
        return Meaning(BOOL, text in "yY")
    loader = yaml.SafeLoader("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    try:
        return Meaning(tag, loader.construct_object(yaml.ScalarNode(tag, text)))
    except (ValueError, yaml.YAMLError):
        return Meaning(tag, text)


def _go(text: str) -> Meaning:
    """To sigs.k8s.io/yaml, which kubectl, API servers and operators read with."""
    if text in _GO_BOOLEANS:
        return Meaning(BOOL, _GO_BOOLEANS[text])
    if text == "<<":
        return Meaning(f"{_TAG}merge", text)
    plain = text.replace("_", "") if text[:1] and text[0] in "+-.0123456789" else text
    if _GO_INTEGER.fullmatch(plain):
        return _go_integer(plain)
    if _GO_SIGNED_BINARY.fullmatch(plain):
        return Meaning(INT, plain)
    if _GO_FLOAT.fullmatch(plain) and math.isfinite(float(plain)):
        return Meaning(FLOAT, float(plain))
    tag = core_tag(text)
    return _core(text) if tag in {NULL, FLOAT} else Meaning(STR, text)


def _go_integer(plain: str) -> Meaning:
    digits = plain.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        digits = f"0o{digits}"
    value = int(digits, 0) if len(digits) <= _MOST_DIGITS else 2**64
    value = -value if plain[0] == "-" else value
    # JSON, into which clusters turn what they read, keeps no more.
    return Meaning(INT, value) if is_whole_to_clusters(value) else Meaning(FLOAT, plain)


_READERS: Final[dict[str, Callable[[str], Meaning]]] = {
    "YAML 1.2": _core,
    "YAML 1.1": _pyyaml,
    "clusters": _go,
}


def _float(text: str) -> float:
    if text[-1] in "fFnN":  # .inf, .nan
        return float(text.lower().replace(".", ""))
    value = float(text)
    if math.isinf(value):
        raise ValueError("is a number beyond what 64 bits hold; put text in quotes")
    return value


def _told(meaning: Meaning) -> str:
    name = {STR: "text", NULL: "null", BOOL: "a boolean", INT: "a number", FLOAT: "a number"}
    told = name.get(meaning.kind, f"a {meaning.kind.removeprefix(_TAG)}")
    return f"{told} ({meaning.value})" if meaning.kind in {BOOL, INT, FLOAT} else told


def _whole_characters(text: str) -> str:
    """The text, in which two escapes that stand for one character, as JSON writes them, are that character."""
    if not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    try:
        return text.encode("utf-16-be", "surrogatepass").decode("utf-16-be")
    except UnicodeDecodeError:
        raise ValueError("holds half of a character (a lone surrogate); write the whole one") from None
