"""YAML for any reader: text that one of them would take for something else is quoted.

Whatever is written is read back equal by readers of YAML 1.1 (PyYAML), of 1.2, and by the Go ones of clusters.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import yaml

from platform_assets.yaml_scalars import is_text, is_whole_to_clusters
from resources.errors import PlatformError

_WIDTH: Final = 110
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SPECIAL: Final = re.compile(
    "[^\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
"""What YAML cannot hold as it is, or breaks lines at, in one version and not in the other."""


class YamlError(PlatformError):
    """A value has no form in YAML that every reader reads as that value."""


def to_yaml(*documents: Mapping[str, Any]) -> str:
    """The documents as YAML, keys in their own order. Equal documents give equal text.

    Args:
        documents: Mappings, lists, texts, finite numbers, booleans and None, as in JSON.

    Raises:
        YamlError: A value is none of these, or text holds half of a character; the message names its place.
    """
    return yaml.dump_all(
        [_plain(document, "") for document in documents],
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=_WIDTH,
    )


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes for all readers, and writes each thing out where it stands."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    quoted = not is_text(text) or _SPECIAL.search(text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if quoted else None)


_Dumper.add_representer(str, _text)


def _plain(value: Any, at: str) -> Any:
    """The value in Python's own types, each of which has one form in YAML."""
    match value:
        case None | bool():
            return value
        case int() if is_whole_to_clusters(value):
            return int(value)
        case int():
            raise YamlError(f"{at}: is an integer of more than 64 bits; write it as text")
        case float() if math.isfinite(value):
            return float(value)
        case float():
            raise YamlError(f"{at}: is {value}, which no manifest can hold; give a finite number")
        case str() if _SURROGATE.search(value):
            raise YamlError(f"{at}: holds half of a character (a lone surrogate); mend the text")
        case str():
            return str(value)
        case Mapping():
            return {_key(key, at): _plain(each, f"{at}.{key}" if at else key) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each, f"{at}.{index}") for index, each in enumerate(value)]
    raise YamlError(f"{at}: is a {type(value).__name__}, which has no form in YAML; give text or numbers")


def _key(key: Any, at: str) -> str:
    if isinstance(key, str) and not _SURROGATE.search(key):
        return str(key)
    raise YamlError(f"{at or 'the top level'}: has the key {key!a}; keys are text of whole characters")
