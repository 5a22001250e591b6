"""A wire to a server that can be cut, or go dead: what a network does to a client."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal

State = Literal["open", "cut", "dead"]


class Relay:
    """Hands on what arrives at `port`, or where `ears` listen, to where `connect` leads.

    `cut`: whoever comes, and whoever is connected, is turned away. `dead`: all are let in, and nothing comes back.
    """

    def __init__(self, connect: Callable[[], socket.socket], ears: socket.socket | None = None) -> None:
        self._connect = connect
        self._state: State = "open"
        self._connections: set[socket.socket] = set()
        self._ears = ears or socket.create_server(("127.0.0.1", 0))
        self.port = int(self._ears.getsockname()[1]) if ears is None else None
        self.tried = threading.Event()
        """Set when somebody comes to a wire that is not open."""
        threading.Thread(target=self._listen, daemon=True).start()

    def become(self, state: State) -> None:
        """Change what becomes of those who come, and of those who are there."""
        self._state = state
        self.tried.clear()
        for each in list(self._connections):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """No more."""
        self.become("cut")
        self._ears.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._ears.accept()
                self._connections.add(client)
                if self._state == "open":
                    server = self._connect()
                    self._connections.add(server)
                    for pair in ((client, server), (server, client)):
                        threading.Thread(target=self._hand_on, args=pair, daemon=True).start()
                    continue
                self.tried.set()
                if self._state == "cut":
                    client.close()

    def _hand_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(1 << 16):
                sink.sendall(content)
        for each in (source, sink):
            self._connections.discard(each)
            each.close()


@contextmanager
def relay(host: str, port: int) -> Iterator[Relay]:
    """An open wire to a server."""
    wire = Relay(lambda: socket.create_connection((host, port)))
    try:
        yield wire
    finally:
        wire.close()
