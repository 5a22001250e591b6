"""Whatever becomes of a command, nothing of what it has started stays behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from resources.process_tree import descendants, run_tree
from tests.background import processes_of
from tests.waiting import wait_for

SECONDS = 30
TREE = textwrap.dedent(
    """\
    import os, signal, subprocess, sys, time
    # Of three generations: one that is deaf, in a session of its own, whose parent has ended.
    deaf = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open(sys.argv[1], 'w'); time.sleep(600)"
    start = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', *sys.argv[1:]], start_new_session=True)"
    up = os.environ["PLATFORM_HOME"] + "/up"
    subprocess.run([sys.executable, "-c", start, deaf, up])
    while not os.path.exists(up): time.sleep(0.01)
    print("up", flush=True)
    ENDS
    """
)
STAYS = "time.sleep(600)"
RUNS = "import os, sys\nfrom resources.process_tree import run_tree\nsys.exit(run_tree([sys.executable, '-c', sys.argv[1]], os.environ, plain_seconds=0.5))"


@pytest.fixture
def environment(tmp_path):
    """By which the processes of a test are found."""
    return os.environ | {
        "PLATFORM_HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }


def started(environment: dict[str, str], tree: str) -> "subprocess.Popen[str]":
    """A process that runs a tree, once all of the tree is up."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUNS, tree], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "up\n"
    process.stdout.close()
    return process


def assert_nothing_left(home: Path) -> None:
    """Nothing, whatever its parent, group and session."""
    wait_for(lambda: not processes_of(home), "all have ended", seconds=SECONDS, every=0.05)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_command_that_is_ended_takes_its_tree_along(tmp_path, environment, how):
    """Even where it was killed, and could do nothing about it."""
    process = started(environment, TREE.replace("ENDS", STAYS))
    assert len(processes_of(tmp_path)) == 4
    process.send_signal(how)
    assert process.wait(SECONDS) == -how
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("who", ["guard", "child"])
def test_whoever_of_the_tree_is_killed_the_rest_ends(tmp_path, environment, who):
    """The guard as well as the process that it guards."""
    process = started(environment, TREE.replace("ENDS", STAYS))
    (guard,) = [pid for pid in descendants(process.pid) if b"process_tree" in _arguments(pid)]
    (child,) = [pid for pid in descendants(guard) if b"start_new_session" in _arguments(pid)]
    os.kill({"guard": guard, "child": child}[who], signal.SIGKILL)
    assert process.wait(SECONDS) == 128 + signal.SIGKILL
    if who == "guard":
        # Of what had lost its parent nobody knows any more; the child itself is told by the kernel.
        wait_for(lambda: not Path(f"/proc/{child}/cmdline").exists(), "the child has ended", seconds=SECONDS)
        for pid in processes_of(tmp_path):
            os.kill(pid, signal.SIGKILL)
    else:
        assert_nothing_left(tmp_path)


def test_a_command_that_ends_by_itself_leaves_nothing_and_tells_its_status(tmp_path, environment):
    """What it has started and left alone ends as well."""
    process = started(environment, TREE.replace("ENDS", "sys.exit(3)"))
    assert process.wait(SECONDS) == 3
    assert_nothing_left(tmp_path)


def test_the_dead_of_a_long_life_are_buried(tmp_path, environment):
    """A UI that lives for months leaves the guard every process whose parent ends before it does."""
    orphan = "import os, time; os.fork() or (time.sleep(0.2), os._exit(0)); os._exit(0)"
    tree = f"import subprocess, sys, time\nfor _ in range(3): subprocess.run([sys.executable, '-c', {orphan!r}])\nprint('up', flush=True); time.sleep(600)"
    process = started(environment, tree)
    (guard,) = [pid for pid in descendants(process.pid) if b"process_tree" in _arguments(pid)]
    children = Path(f"/proc/{guard}/task/{guard}/children")
    wait_for(lambda: len(children.read_text().split()) == 1, "only the child is left", seconds=10, every=0.05)
    process.terminate()
    process.wait(SECONDS)
    assert_nothing_left(tmp_path)


def test_an_impatient_second_word_does_without_politeness(tmp_path, environment):
    """Whoever takes his time to end is killed when the guard is told twice."""
    slow = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: time.sleep(600)); print('up', flush=True); time.sleep(600)"
    process = started(environment, slow)
    (guard,) = [pid for pid in descendants(process.pid) if b"process_tree" in _arguments(pid)]
    begun = time.monotonic()
    os.kill(guard, signal.SIGTERM)
    time.sleep(0.2)
    os.kill(guard, signal.SIGINT)
    assert process.wait(SECONDS) == 128 + signal.SIGKILL
    assert time.monotonic() - begun < 6
    assert_nothing_left(tmp_path)


def test_the_status_of_a_command(environment):
    """As it is, or as a shell tells the signal that has ended it."""
    assert run_tree(["true"], environment) == 0
    assert run_tree(["sh", "-c", "kill -TERM $$"], environment) == 143


def _arguments(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


BESIDE = "import os, sys, time\nfrom resources.process_tree import beside\nwith beside([sys.executable, '-c', sys.argv[1]], os.environ): print('up', flush=True); ENDS"
SLEEPS = "import time; time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


@pytest.mark.parametrize("how", [None, signal.SIGKILL])
def test_what_runs_beside_something_ends_with_it(tmp_path, environment, how):
    """When the block ends, and when this process is killed in it."""
    code = BESIDE.replace("ENDS", "time.sleep(600)" if how else "pass")
    with subprocess.Popen(
        [sys.executable, "-c", code, SLEEPS], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "up\n"
        if how:
            process.send_signal(how)
        assert process.wait(SECONDS) == (-how if how else 0)
    assert_nothing_left(tmp_path)


def test_what_is_deaf_is_killed(tmp_path, environment, monkeypatch):
    """After a while; nobody waits for ever."""
    code = BESIDE.replace("ENDS", "time.sleep(0.5)").replace(
        "import beside",
        "import beside\nimport resources.process_tree\nresources.process_tree._POLITE_SECONDS = 0.2",
    )
    subprocess.run([sys.executable, "-c", code, DEAF], env=environment, check=True, timeout=SECONDS)
    assert_nothing_left(tmp_path)
