"""How commands end: by themselves, by a signal, by a reader who has seen enough, by a full disk. One sentence each."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.cli.common import whole_file
from platform_assets.cli.serving import AddressError
from platform_assets.lines.runner import open_instance
from resources.settings import PlatformSettings
from resources.signals import Ended
from tests.background import processes_of, started
from tests.line_factory import command, environment
from tests.servers import free_ports
from tests.tasks.toys import write_line
from tests.waiting import wait_for

SERVERS = {
    "listen": ("listen",),
    "policy serve": ("policy", "serve"),
    "drift watch": ("drift", "watch", "reviews_sentiment"),
    "reports serve": ("reports", "serve"),
    "ui": ("ui",),
}
TOY = "from platform_assets.cli import main\nfrom tests.tasks.toys import toy_task\nwith toy_task(): main()"


def is_listening(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


# --- Servers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in SERVERS if name != "ui"])
def test_a_server_in_the_background_of_a_script_ends_within_seconds(tmp_path, name):
    """SIGINT was ignored when it was started, and Dagster would have SIGTERM be so, too. Of the UI, tests/e2e say it."""
    (port,) = free_ports(1)
    serving = command(*SERVERS[name], "--port", str(port))
    with started(tmp_path, serving, environment(tmp_path)) as server:
        wait_for(lambda: is_listening(port), f"{name} listens", every=0.1, otherwise=server.told)
        with socket.create_connection(("127.0.0.1", port)) as idle:  # a client that never asks anything
            idle.send(b"POST / HTTP/1.1\r\n")
            assert server.end() == 143, server.told()
        assert "SIGTERM: what had been taken was answered" in server.told()
        assert "Traceback" not in server.told()
        assert processes_of(tmp_path) == []


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """Runs a command in this process, which must refuse: gives the message."""
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))

    def refused(*arguments: str) -> str:
        result = CliRunner().invoke(app, arguments)
        assert isinstance(result.exception, AddressError)
        return str(result.exception)

    return refused


@pytest.mark.parametrize("name", SERVERS)
def test_a_port_that_is_taken_is_told_at_once(tmp_path, refused, name):
    """Above all of a second UI, whose parts would start one by one and end one by one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told = refused(*SERVERS[name], "--port", port)
    assert told.startswith(
        f"port {port} of 127.0.0.1 cannot be listened on (Address already in use): end whoever"
    )
    assert processes_of(tmp_path) == []


def test_a_ui_whose_report_server_has_no_port_does_not_begin(tmp_path, refused):
    """Its links would lead to whoever listens there."""
    (port,) = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken_port = str(taken.getsockname()[1])
        told = refused("ui", "--port", str(port), "--reports-port", taken_port)
    assert told.startswith(f"port {taken_port} of 127.0.0.1 cannot be listened on")
    assert told.endswith("with --reports-port")
    assert "cannot be both" in refused("ui", "--port", str(port), "--reports-port", str(port))
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (("--port", "99999"), "there is no port 99999"),
        (("--host", "no.such.host.invalid"), "port 8170 of no.such.host.invalid cannot be listened on"),
    ],
)
def test_an_address_that_nobody_can_have_is_one_sentence(refused, address, told):
    """Neither a port that there is not, nor a host that is not this machine."""
    assert told in refused("listen", *address)


@pytest.mark.long
def test_a_ui_that_is_killed_leaves_nothing_behind(tmp_path):
    """Neither webserver nor daemon nor code servers nor report server, although it could tell them nothing."""
    port, reports_port = free_ports(2)
    ui = command("ui", "--port", str(port), "--reports-port", str(reports_port))
    with started(tmp_path, ui, environment(tmp_path)) as server:
        for each in (port, reports_port):
            wait_for(lambda each=each: is_listening(each), "the UI listens", otherwise=server.told)
        assert server.end(signal.SIGKILL) == 137
        wait_for(lambda: not processes_of(tmp_path), "all have ended", seconds=30)


# --- Runs ----------------------------------------------------------------------------------------------


def test_a_run_that_is_ended_in_the_middle_of_a_step_says_so_and_is_recorded_as_canceled(
    tmp_path, monkeypatch
):
    """130 for Ctrl-C, one sentence with what was done, no traceback; nothing keeps the next run from going on."""
    home, spec = tmp_path / "platform", write_line(tmp_path / "toy")
    run = [sys.executable, "-c", TOY, "run", "--spec", str(spec)]
    with subprocess.Popen(run, env=environment(home), stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "▶ toy_dataset" in line:
                process.send_signal(signal.SIGINT)
                break
        told = process.stderr.read().splitlines()
    assert process.returncode == 130, told
    assert "Traceback" not in "".join(told)
    assert told[-1].startswith("error: run ")
    assert "was told to end by SIGINT (Ctrl-C) in the middle of toy_" in told[-1]
    assert told[-1].endswith("the same command goes on from there")
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    with open_instance(PlatformSettings(home=home)) as instance:
        assert [each.status for each in instance.get_runs()] == [dg.DagsterRunStatus.CANCELED]


SLOW = "import time\nfrom platform_assets.cli.endings import end_well\nimport sys\nBODY\nsys.exit(end_well(command))"


@pytest.mark.parametrize(
    "body",
    ["def command(): print('up', flush=True); time.sleep(60)",
     "def command():\n    try: print('up', flush=True); time.sleep(60)\n    except BaseException as e: raise RuntimeError('a library') from e"],
    ids=["plain", "wrapped by a library"],
)  # fmt: skip
def test_any_command_that_is_ended_says_so_in_one_sentence(body):
    """By one mechanism: also where a library has made an error of its own of it."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW.replace("BODY", body)],
        env=environment(Path("/nowhere")), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "up\n"
    process.terminate()
    _, told = process.communicate(timeout=30)
    assert process.returncode == 143
    assert told.splitlines() == [
        "error: ended by SIGTERM before it was done; what it had finished stays, and the same command goes on from there"
    ]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_processes_that_verify_a_ledger_end_with_their_command(tmp_path, how):
    """Nobody waits for stretches that nobody wants any more; where the command is killed, the kernel tells them."""
    body = (
        "import os\n"
        "from pathlib import Path\n"
        "from platform_assets.ledger import verification\n"
        "from platform_assets.ledger.ledger import Ledger\n"
        "def slow(*given): os.write(1, b'up\\n'); time.sleep(60)\n"
        "verification._stretch, verification._ENTRIES_WORTH_A_PROCESS = slow, 1\n"
        "ledger = Ledger.open(Path(os.environ['PLATFORM_HOME'], 'ledger.sqlite'), principal='tests')\n"
        "for at in range(4): ledger.append('note', str(at), fingerprint=str(at), body={})\n"
        "def command(): ledger.verify(processes=2)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW.replace("BODY", body)],
        env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert [process.stdout.readline() for _ in range(2)] == ["up\n"] * 2
    assert len(processes_of(tmp_path)) == 3
    process.send_signal(how)
    assert process.wait(30) == {signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}[how]
    wait_for(lambda: not processes_of(tmp_path), "all have ended", seconds=10, every=0.05)
    process.stdout.close()


# --- What is printed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_who_has_seen_enough_ends_it_quietly(lines):
    """As `| head` does; 141, as a shell tells SIGPIPE. Few lines come to it only when the command is done."""
    body = f"def command():\n    for _ in range({lines}): print('x')"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW.replace("BODY", body)],
        env=environment(Path("/nowhere")) | {"PYTHONUNBUFFERED": ""},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(30) == 141
    process.stderr.close()


def test_a_broken_connection_is_no_reader_who_has_seen_enough():
    """It is an error like any other, although Python has one name for both."""
    body = (
        "import typer, errno\napp = typer.Typer()\n"
        "@app.command()\ndef command_(): raise BrokenPipeError(errno.EPIPE, 'Broken pipe')\n"
        "command = app"
    )
    ended = subprocess.run(
        [sys.executable, "-c", SLOW.replace("BODY", body)],
        env=environment(Path("/nowhere")), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "BrokenPipeError" in ended.stderr


def test_a_full_disk_behind_its_output_is_one_sentence():
    """What could not be printed is no success."""
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            command("policy", "--help"),
            env=environment(Path("/nowhere")) | {"PYTHONUNBUFFERED": ""},
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: no space is left")
    assert "Traceback" not in ended.stderr


def test_a_terminal_that_cannot_show_a_sign_is_no_reason_to_fail():
    """What it does not know is shown escaped."""
    body = "def command(): print('▶ a step')"
    ended = subprocess.run(
        [sys.executable, "-c", SLOW.replace("BODY", body)],
        env=environment(Path("/nowhere"), PYTHONIOENCODING="ascii"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (0, "\\u25b6 a step\n")


def test_a_file_that_is_asked_for_is_there_wholly_or_as_it_was(tmp_path):
    """Whatever ends the command in the middle of it; nothing else is left beside it."""
    file = tmp_path / "rows.parquet"
    file.write_text("old")

    def ended_halfway():
        with whole_file(file) as target:
            target.write_text("ha")
            raise Ended(signal.SIGTERM)

    with pytest.raises(Ended):
        ended_halfway()
    assert (file.read_text(), list(tmp_path.iterdir())) == ("old", [file])
    with whole_file(file) as target:
        target.write_text("new")
    assert (file.read_text(), list(tmp_path.iterdir())) == ("new", [file])
    with whole_file(Path("/dev/null")) as target:
        assert target == Path("/dev/null")


# --- The tests themselves ------------------------------------------------------------------------------


@pytest.mark.long
def test_tests_in_the_background_of_a_script_end_with_their_workers_and_servers(tmp_path):
    """`make test` is started by scripts, too: SIGTERM to the first process ends whatever it has started."""
    (tmp_path / "test_slow.py").write_text(
        "import subprocess, time, pytest\n"
        "@pytest.fixture\n"
        "def server():\n"
        "    with subprocess.Popen(['sleep', '600'], start_new_session=True) as process:\n"
        "        yield\n"
        "        process.kill()\n"
        "def test_slow(server): (__import__('pathlib').Path(__file__).with_name('up')).touch(); time.sleep(600)\n"
    )
    root = Path(__file__).parent
    (tmp_path / "conftest.py").write_text(
        (root / "conftest.py").read_text().partition("# Before anything imports")[0]
    )
    tests = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "1",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    home = tmp_path / "home"
    with started(home, tests, environment(home) | {"PYTHONPATH": str(root.parent)}) as run:
        wait_for((tmp_path / "up").exists, "the test runs", every=0.1, otherwise=run.told)
        assert run.end() == pytest.ExitCode.INTERRUPTED, run.told()
        wait_for(lambda: not processes_of(home), "all have ended", seconds=20, every=0.1)
