"""Signals end a process of ours, however it was started and whatever it is doing."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from resources.signals import heeded

NAMES = ("SIGTERM", "SIGINT", "SIGHUP")


def script(body: str, *, grace_seconds: float = 30) -> "subprocess.Popen[str]":
    """A process that heeds signals and does this; it was started with SIGINT ignored, and has told that it is up."""
    program = f"""\
        import ctypes, hashlib, os, signal, sys, threading, time
        from resources.signals import Ended, heeded, told_to_end
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        with heeded(grace_seconds={grace_seconds}):
    """
    process = subprocess.Popen(
        ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", sys.executable, "-c", textwrap.dedent(program) + textwrap.indent(body, "    ")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        # The tests themselves may run under nohup, and what is ignored there would be here.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509
    )  # fmt: skip
    assert process.stdout.readline() == "up\n"
    return process


def ended(process: "subprocess.Popen[str]", *signals: str, seconds: float = 20) -> tuple[int, str]:
    """Exit status and complaints after these signals."""
    for name in signals:
        process.send_signal(getattr(signal, name))
    _, complaints = process.communicate(timeout=seconds)
    return process.returncode, complaints


@pytest.mark.parametrize("name", NAMES)
def test_each_signal_ends_the_process_by_the_status_of_shells(name):
    """Also SIGINT, which was ignored; nobody sees a traceback."""
    process = script("print('up', flush=True); time.sleep(60)")
    assert ended(process, name) == (128 + getattr(signal, name), "")


def test_what_dagster_keeps_to_itself_and_what_it_makes_deaf():
    """It gives SIGTERM whatever SIGINT has, for ever after, and does not tell which signal came while it executed."""
    process = script(
        "import importlib.util, runpy\n"
        "dagster = importlib.util.find_spec('dagster').submodule_search_locations[0]\n"  # as it is, without the seconds that importing all of it takes
        "globals().update(runpy.run_path(dagster + '/_utils/interrupts.py'))\n"
        "setup_interrupt_handlers()\n"
        "with capture_interrupts():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    while not (check_captured_interrupt() and told_to_end()): time.sleep(0.01)\n"
        "assert told_to_end() == signal.SIGTERM\n"
        "print('up', flush=True); time.sleep(60)"
    )
    assert ended(process, "SIGTERM") == (143, "")


@pytest.mark.parametrize(
    "body",
    [
        # One call of a library; Python has no turn to look at a signal.
        "threading.Timer(0.3, print, ('up',), {'flush': True}).start(); hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)",
        "tells = [print]\nwhile True:\n    try: tells and tells.pop()('up', flush=True); time.sleep(1)\n    except BaseException: pass",
        "threading.Thread(target=time.sleep, args=(60,)).start(); print('up', flush=True); time.sleep(60)",
    ],
    ids=["computes", "swallows everything", "waits for a thread"],
)
def test_what_does_not_end_by_itself_is_ended_when_its_time_is_over(body):
    """And says so."""
    status, told = ended(script(body, grace_seconds=0.5), "SIGTERM")
    assert (status, "SIGTERM ended this in the middle" in told) == (143, True)


def test_a_second_signal_does_not_wait():
    """Two at once count as one: `timeout` sends it to the command and to its group."""
    process = script(
        "try: print('up', flush=True); time.sleep(60)\nfinally: print('cleaning', flush=True); time.sleep(60)"
    )
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "cleaning\n"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.5)
    assert ended(process, "SIGINT", seconds=5)[0] == 130


def test_a_handler_whose_turn_comes_late_is_no_second_signal():
    """A library may keep Python from it for longer than anybody is patient; what follows is cleaned up all the same."""
    process = script(
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"  # so that the other thread gets it
        "threading.Timer(0.2, print, ('up',), {'flush': True}).start()\n"
        "try:\n    ctypes.CDLL(None).sleep(2)\n    time.sleep(60)\n"
        "finally:\n    time.sleep(0.2); print('cleaned', flush=True)"
    )
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "cleaned\n"
    assert ended(process) == (143, "")


def test_a_forked_process_ends_by_itself_alone():
    """It neither keeps our handlers nor tells its parent of its own signals."""
    process = script(
        "reader, writer = os.pipe()\n"
        "child = os.fork()\n"
        "if not child:\n    os.write(writer, b'.')\n    time.sleep(60)\n    os._exit(1)\n"
        "os.read(reader, 1)\n"
        "os.kill(child, signal.SIGTERM)\n"
        "status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
        "print('up', flush=True)\n"
        "time.sleep(0.3)\n"
        "sys.exit(status == -signal.SIGTERM and told_to_end() is None)"
    )
    assert ended(process) == (1, "")


def test_sighup_stays_ignored_where_somebody_chose_so():
    """That is what nohup is for."""
    process = subprocess.Popen(
        ["nohup", sys.executable, "-c", "import time\nfrom resources.signals import heeded\nwith heeded(): print('up', flush=True); time.sleep(60)"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.terminate()
    assert process.wait(20) == 143
    process.stdout.close()


def test_afterwards_all_is_as_it_was():
    """For who runs a command in a process of his own, as tests do."""
    former = [signal.getsignal(getattr(signal, name)) for name in NAMES]
    with heeded():
        assert signal.getsignal(signal.SIGTERM) not in former
    assert [signal.getsignal(getattr(signal, name)) for name in NAMES] == former
