"""By which names a server may be addressed.

A page of anybody's can have its own name point at the loopback address, and a browser then takes what is answered for that
page's own. Only the name in the request tells: it is the page's, and not ours.
"""

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?P<port>:[0-9]{1,5})?")


def known_names(url: str, more: Iterable[str] = ()) -> frozenset[str]:
    """The names that a server answers to besides those of its own machine.

    Args:
        url: Where people reach it.
        more: Further names.
    """
    return frozenset(name.lower() for name in (urlsplit(url).hostname or "", *more) if name)


def is_ours(host: str, names: frozenset[str]) -> bool:
    """Whether a `Host` header addresses us, by one of these names or as the machine itself."""
    parts = _HOST.fullmatch(host)
    if parts is None:
        return False
    name = parts["name"].strip("[]").lower().removesuffix(".")
    return name == "localhost" or name in names or _is_loopback(name)


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
