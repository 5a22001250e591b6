"""Events on their way out: all of them arrive, or somebody is told why not."""

import os
import socket
import threading

import pytest

from platform_assets.drift.delivery import deliver
from platform_assets.drift.errors import DriftError
from tests.drift.watching import Stream


@pytest.fixture
def events():
    """Some of them."""
    return Stream().events(50)


def test_a_file_has_all_lines_however_many_writes_it_takes(events, tmp_path, monkeypatch):
    """Linux writes no more than 2 GiB at once, and less where a disk is nearly full."""
    deliver(events, str(tmp_path / "whole.jsonl"))
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, lines: write(file, lines[:1000]))
    deliver(events, str(tmp_path / "pieces.jsonl"))
    assert (tmp_path / "pieces.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.parametrize("address", ["http://[half", "http://a b"])
def test_an_address_that_is_none_is_told(events, address):
    """As one that does not answer is."""
    with pytest.raises(DriftError, match="cannot be reached"):
        deliver(events, address)


def test_who_speaks_no_http_is_no_monitor(events):
    """Whatever else listens there."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"220 mail at your service\r\n")

        speaker = threading.Thread(target=answer)
        speaker.start()
        with pytest.raises(DriftError, match="cannot be reached"):
            deliver(events, f"http://127.0.0.1:{server.getsockname()[1]}")
        speaker.join()
