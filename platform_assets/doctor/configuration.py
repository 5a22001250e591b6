"""The settings in force and where each comes from; variables that are no settings; nothing that is secret."""

import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import BaseModel

from platform_assets.doctor.findings import Finding, one_line
from resources.secret_names import SECRET_NAME
from resources.settings import PlatformSettings, WatchedRepository

PREFIX: Final = "PLATFORM_"
SECRETS: Final = {
    "PLATFORM_ROW_SALT": "the salt of row hashes; without it, a file under PLATFORM_HOME",
    "PLATFORM_LEDGER_SIGNING_KEY": "signs heads of the ledger",
    "PLATFORM_DECISION_TOKEN": "what callers of `policy serve` send",
    "PLATFORM_EVENTS_TOKEN": "what senders of events to `drift watch` send",
}
"""Variables of ours whose values nobody is shown."""
_SECRET_PREFIX: Final = "PLATFORM_SECRET_"  # noqa: S105 - what such names begin with
OTHERS: Final = frozenset(
    {
        *("PLATFORM_FEAST_PYTHON", "PLATFORM_KFP_PYTHON", "PLATFORM_PEERS_PYTHON"),
        *(f"PLATFORM_TRIAL_{each}" for each in ("FEATURES", "SPEC", "THREADS", "VALUES")),
    }
)
"""Variables of ours that are neither settings nor secrets."""
_TESTS_PREFIX: Final = "PLATFORM_TEST_"
_SERVICE_LINK: Final = re.compile(r"PLATFORM_ASSETS_\w*?(SERVICE_HOST|SERVICE_PORT|PORT)(_\w+)?")
"""Kubernetes tells a pod about the Services beside it, whose names begin like our variables."""
_SHORTEST_SECRET: Final = 4
_SHOWABLE_URI: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:[^/@?#]*@)?(?P<host>[A-Za-z0-9_.,:\[\]-]*)(?P<path>/[^@?#]*)?"
)
_PATH: Final = re.compile(r"[^@=?#:\s]*")
_ADDRESSES: Final = ("_uri", "_url", "_endpoint")
_HIDDEN: Final = "…"


def settings_in_force(settings: PlatformSettings, environment: Mapping[str, str]) -> Iterator[Finding]:
    """A line for each setting: its value, and the variable or the default that it comes from.

    Args:
        settings: As they were read.
        environment: What they were read from.
    """
    named = {name.upper() for name in environment}
    for field in PlatformSettings.model_fields:
        variable = f"{PREFIX}{field.upper()}"
        sources = sorted(name for name in named if name == variable or name.startswith(f"{variable}__"))
        value = getattr(settings, field)
        if field == "specs" and (gone := [each for each in settings.specs if not each.is_file()]):
            yield Finding(
                "settings",
                field,
                "problem",
                f"there is no {', '.join(map(str, gone))}",
                f"correct {variable}, a JSON list of files; from another folder, write whole paths",
            )
            continue
        is_address = isinstance(value, str) and field.endswith(_ADDRESSES)
        shown = one_line(shown_uri(value)) if is_address else _shown(value)
        source = ", ".join(sources) or "the default"
        yield Finding("settings", field, "ok", f"{shown}  (from {source})")
    for variable, use in SECRETS.items():
        told = "set" if environment.get(variable) else "not set"
        yield Finding("settings", variable, "ok" if told == "set" else "not used", f"{told}: {use}")
    for name in sorted(environment):
        if name.startswith(_SECRET_PREFIX):
            yield Finding("settings", name, "ok", "set" if environment[name] else "set, and empty")


def unknown_variables(environment: Mapping[str, str]) -> Iterator[Finding]:
    """A line for each variable that looks like one of ours and is none: it does nothing, and looks as if it did."""
    known = known_variables()
    for name in sorted(environment):
        upper = name.upper()
        if (
            not upper.startswith(PREFIX)
            or upper in known
            or upper.startswith((_SECRET_PREFIX, _TESTS_PREFIX))
            or _SERVICE_LINK.fullmatch(upper)
        ):
            continue
        meant = get_close_matches(upper, sorted(known), n=1, cutoff=0.6)
        yield Finding(
            "settings",
            one_line(name),
            "warning",
            "is no setting, and has no effect" + (f"; did you mean {meant[0]}?" if meant else ""),
            f"unset it{f', and set {meant[0]}' if meant else ''}",
        )


def known_variables() -> frozenset[str]:
    """Every variable of ours but those of webhook secrets, whose names their trigger files choose."""
    return frozenset({*_variables_of(PlatformSettings, PREFIX), *SECRETS, *OTHERS})


def _variables_of(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name.upper()}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _variables_of(field.annotation, f"{prefix}{name.upper()}__")


def without_secrets(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """A text, with the value of whatever may be secret taken out of it: libraries repeat what they were given."""
    for secret in sorted(_secrets(environment), key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    return text


def _secrets(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        if SECRET_NAME.search(name.upper()) and len(value) >= _SHORTEST_SECRET and not value.startswith("/"):
            yield value
        for address in re.findall(r"[a-z][a-z0-9+.-]*://[^\s\"',]+", value):
            user, at, _ = address.partition("://")[2].rpartition("@")
            password = user.partition(":")[2]
            if at and len(password) >= _SHORTEST_SECRET:
                yield password


def shown_uri(uri: str) -> str:
    """An address without user, password and query; no part of it where it is not sure which part is which."""
    found = _SHOWABLE_URI.fullmatch(uri)
    if found is not None:
        return f"{found['scheme']}://{found['host']}{found['path'] or ''}"
    return uri if _PATH.fullmatch(uri) else f"set, a {_scheme(uri)} address that is not shown"


def _scheme(uri: str) -> str:
    try:
        return urlsplit(uri).scheme or "strange"
    except ValueError:
        return "strange"


def _shown(value: Any) -> str:
    match value:
        case None:
            return "none"
        case WatchedRepository():
            return value.name
        case BaseModel():
            return one_line(
                ", ".join(f"{name} {_shown(getattr(value, name))}" for name in type(value).model_fields)
            )
        case tuple():
            return one_line(", ".join(map(_shown, value))) if value else "none"
    return one_line(value)
