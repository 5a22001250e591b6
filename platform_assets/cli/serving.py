"""What the commands that serve have in common: an address of their own, and an end within seconds."""

import signal
import socket
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Final

from resources.errors import ResourceError
from resources.signals import Ended, note, told_to_end

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_ANSWER_SECONDS: Final = 5
"""For requests under way when the end is near."""
_WAITING: Final = 2048
_PORTS: Final = range(1, 65_536)


class AddressError(ResourceError):
    """An address cannot be listened on."""


def serve(service: "ASGIApp", host: str, port: int) -> None:
    """Answer until this process is told to end, which goes up as `Ended`.

    Args:
        service: What answers.
        host: Address to listen on.
        port: The port there.

    Raises:
        AddressError: Somebody listens there already, or nobody can.
    """
    import uvicorn

    # Also one that comes after the socket is there and before the server has its handlers.
    with suppress(Ended), listening(host, port) as address:
        config = uvicorn.Config(
            service,
            log_level="warning",
            proxy_headers=False,  # whom a proxy may speak for, the settings say
            timeout_graceful_shutdown=_ANSWER_SECONDS,
        )
        server = uvicorn.Server(config)
        handle_exit = server.handle_exit

        def heard(number: int, frame: FrameType | None) -> None:
            note(number)  # which gives the end its time
            handle_exit(number, frame)

        server.handle_exit = heard
        # All of them now: it has its own for two of them only once its loop runs, and what is raised before that leaves
        # the loop in the middle of something.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) not in (signal.SIG_IGN, signal.SIG_DFL):
                signal.signal(number, heard)
        server.run(sockets=[address])  # which repeats the signal once it has served
    if (told := told_to_end()) is not None:
        raise Ended(told, "what had been taken was answered, and nobody listens any more")


def listening(host: str, port: int, *, option: str = "--port") -> socket.socket:
    """A socket with this address, which nobody else has.

    Args:
        host: The address.
        port: The port there.
        option: What chooses another port.

    Raises:
        AddressError: Somebody has, or nobody can.
    """
    if port not in _PORTS:  # resolvers take it modulo 65,536
        raise AddressError(f"there is no port {port}; choose one of 1 to 65535 with {option}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        try:
            # The last connections of a server that has just ended do not count as somebody.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen(_WAITING)
        except BaseException:
            bound.close()
            raise
    except OSError as problem:
        raise AddressError(
            f"port {port} of {host} cannot be listened on ({problem.strerror}): end whoever listens there, which may be another one of "
            f"these, or choose another with {option}"
        ) from None
    return bound
