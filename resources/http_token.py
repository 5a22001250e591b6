"""Who may ask a server of ours: whoever sends its token, and where it has none, whoever is on this machine."""

import hmac
import ipaddress
import os

from fastapi import HTTPException, Request

from resources.errors import ResourceError


class OpenServerError(ResourceError):
    """A server would listen to strangers without knowing them."""


def token_for(host: str, *, variable: str, otherwise: str) -> str | None:
    """The token that callers of a server on this address must send; None where there is none, which needs loopback.

    Args:
        host: The address that the server will listen on.
        variable: Name of the environment variable that holds the token.
        otherwise: What somebody who reaches the address could do without a token.

    Raises:
        OpenServerError: There is no token, and others than this machine may reach the address.
    """
    token = os.environ.get(variable) or None
    if token is None and not _is_loopback(host):
        raise OpenServerError(
            f"anybody who reaches {host} could {otherwise}: set {variable}, or listen on 127.0.0.1"
        )
    return token


def demand_token(request: Request, token: str | None) -> None:
    """Returns where the request carries `Authorization: Bearer <token>`, or none is asked for.

    Raises:
        HTTPException: 401.
    """
    # Starlette decodes headers as Latin-1, so that these are the bytes that were sent.
    sent = request.headers.get("authorization", "").encode("latin-1", "replace")
    if token is not None and not hmac.compare_digest(sent, f"Bearer {token}".encode()):
        raise HTTPException(401, "send the token as Authorization: Bearer …")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
