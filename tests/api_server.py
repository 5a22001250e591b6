"""A real API server of Kubernetes with CEL, for custom resources.

The tool that starts it is looked for where `CRD_SERVER` says, else in `../shared/tools/crd-server` beside the repository.
Without it the tests that need it skip. The server has a network of its own; a socket in a folder leads into it.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.relay import Relay

ROOT = Path(__file__).resolve().parent.parent
TOOL = Path(os.environ.get("CRD_SERVER", ROOT.parent / "shared" / "tools" / "crd-server" / "run"))
NAMESPACE = "platform"


@dataclass(frozen=True)
class ApiServer:
    """The server, and the wire to it."""

    wire: Relay
    kubeconfig: Path
    program: str
    """A kubectl of its time."""

    def kubectl(
        self, *arguments: str, given: Mapping[str, Any] | str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """What kubectl says."""
        text = given if given is None or isinstance(given, str) else json.dumps(given)
        return subprocess.run(
            [self.program, "--kubeconfig", str(self.kubeconfig), *arguments],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )

    def client(self) -> Any:
        """A client of the Python library."""
        from kubernetes.config import new_client_from_config

        return new_client_from_config(str(self.kubeconfig))


@contextmanager
def api_server(crds: Path) -> Iterator[ApiServer]:
    """A server that serves the kinds of a folder of CRDs, and has no object."""
    if not TOOL.is_file():
        pytest.skip(f"NO API SERVER WITH CEL: {TOOL} is not there; set CRD_SERVER to crd-server/run")
    if os.geteuid() != 0:
        pytest.skip("NO API SERVER WITH CEL: run as root, which may give it a network of its own")
    # The path of a socket has room for a hundred characters, which pytest's own folders need for themselves.
    with TemporaryDirectory(prefix="api-server-") as name:
        door = Path(name) / "door"
        process = subprocess.Popen(
            [str(TOOL), "--", sys.executable, "-m", "tests.api_server", str(door)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            program = process.stdout.readline().strip()
            assert program, f"{TOOL} did not start a server"
            wire = Relay(lambda: _connected(door))
            try:
                server = ApiServer(wire, _kubeconfig(Path(name), wire), program)
                _serve(server, crds)
                yield server
            finally:
                wire.close()
        finally:
            process.stdin.close()
            process.wait()


def _connected(door: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(door))
    return connection


def _kubeconfig(folder: Path, wire: Relay) -> Path:
    path = folder / "kubeconfig"
    cluster = {"server": f"https://127.0.0.1:{wire.port}", "insecure-skip-tls-verify": True}
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "tests",
                "contexts": [
                    {
                        "name": "tests",
                        "context": {"cluster": "tests", "user": "tests", "namespace": NAMESPACE},
                    }
                ],
                "clusters": [{"name": "tests", "cluster": cluster}],
                "users": [{"name": "tests", "user": {"token": "any"}}],
            }
        )
    )
    return path


def _serve(server: ApiServer, crds: Path) -> None:
    applied = server.kubectl("apply", "-k", str(crds))
    assert applied.returncode == 0, applied.stderr
    established = server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    assert established.returncode == 0, established.stderr


def main(door: str) -> None:
    """In the server's network: hand on what comes through the door, until nobody holds it open."""
    ears = socket.socket(socket.AF_UNIX)
    ears.bind(door)
    ears.listen()
    wire = Relay(lambda: socket.create_connection(("127.0.0.1", 6443)), ears)
    print(shutil.which("kubectl"), flush=True)
    sys.stdin.read()
    wire.close()


if __name__ == "__main__":
    main(sys.argv[1])
