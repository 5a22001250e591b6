"""CPUs that may be used: what cgroups of both versions, nested and seen from a container, leave of the machine's cores."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from platform_assets import processors
from platform_assets.processors import THREAD_VARIABLES, available_cpus, cpu_quota, limit_threads
from tests.line_factory import environment

CORES = 64
QUOTA = "cpu.cfs_quota_us"


@pytest.fixture(autouse=True)
def machine(request, monkeypatch):
    """A machine of many cores, but for tests of the real one."""
    if "real" not in request.node.name:
        monkeypatch.setattr(processors, "_cores", lambda: CORES)


@dataclass
class Process:
    """A process as /proc and the mounted cgroups show it."""

    folder: Path
    memberships: list[str] = field(default_factory=list)
    mounts: list[str] = field(default_factory=list)

    def mounted(self, name: str, kind: str, options: str = "rw", *, root: str = "/") -> Path:
        """The top of a mounted tree."""
        top = self.folder / name
        top.mkdir(parents=True)
        told = str(top).replace(" ", "\\040")
        self.mounts.append(f"31 23 0:28 {root} {told} rw,nosuid shared:9 - {kind} {kind} {options}")
        return top

    def member(self, line: str) -> None:
        """One line of its /proc/self/cgroup."""
        self.memberships.append(line)

    @property
    def proc(self) -> Path:
        """Its folder in /proc."""
        (self.folder / "cgroup").write_text("".join(f"{each}\n" for each in self.memberships))
        (self.folder / "mountinfo").write_text("".join(f"{each}\n" for each in self.mounts))
        return self.folder


@pytest.fixture
def process(tmp_path: Path) -> Process:
    """In no cgroup yet."""
    (tmp_path / "a process").mkdir()
    return Process(tmp_path / "a process")


def limit(group: Path, quota: int | None, *, period: int = 100_000, v2: bool = True) -> None:
    """Give a group its quota, in microseconds a period."""
    group.mkdir(parents=True, exist_ok=True)
    if v2:
        (group / "cpu.max").write_text(f"{'max' if quota is None else quota} {period}\n")
    else:
        (group / QUOTA).write_text(f"{-1 if quota is None else quota}\n")
        (group / "cpu.cfs_period_us").write_text(f"{period}\n")


@pytest.mark.parametrize("v2", [True, False])
@pytest.mark.parametrize(
    ("quota", "period", "cpus"),
    [
        (200_000, 100_000, 2),
        (250_000, 100_000, 3),
        (10_000, 100_000, 1),
        (100_000, 50_000, 2),
        (None, 100_000, CORES),
        (6_500_000, 100_000, CORES),
    ],
)
def test_a_quota_in_cores(process, v2, quota, period, cpus):
    """Rounded up, at least one, never more than the cores; without a limit, all of them."""
    kind, options = ("cgroup2", "rw") if v2 else ("cgroup", "rw,cpu,cpuacct")
    top = process.mounted("cpu", kind, options)
    process.member("0::/pod" if v2 else "4:cpu,cpuacct:/pod")
    limit(top / "pod", quota, period=period, v2=v2)
    assert available_cpus(process.proc) == cpus


@pytest.mark.parametrize("v2", [True, False])
@pytest.mark.parametrize("smallest", ["", "kubepods", "kubepods/pod", "kubepods/pod/container"])
def test_the_smallest_quota_of_nested_groups_counts(process, v2, smallest):
    """A container without a limit of its own has that of its pod, and a pod that of its slice."""
    top = process.mounted("cpu", *(("cgroup2",) if v2 else ("cgroup", "rw,cpu")))
    path = "kubepods/pod/container"
    process.member(f"0::/{path}" if v2 else f"4:cpu:/{path}")
    for group in ("kubepods", "kubepods/pod", path):
        limit(top / group, None if group == "kubepods" else 800_000, v2=v2)
    limit(top / smallest, 300_000, v2=v2)
    assert available_cpus(process.proc) == 3


@pytest.mark.parametrize("v2", [True, False])
@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("/", "/"),  # a namespace of its own
        ("/kubepods/pod1/c1", "/kubepods/pod1/c1"),  # the host's namespace, and only its own group mounted
        ("/kubepods/pod1/c1", "/"),  # the host's path, and the container's group mounted as the root
        ("/../../other", "/"),  # moved to a group that it cannot see
    ],
)
def test_a_container_sees_its_own_group_at_the_top(process, v2, path, root):
    """However the path is told, what lies at the mount is what limits the container."""
    top = process.mounted("cpu", *(("cgroup2",) if v2 else ("cgroup", "rw,cpu")), root=root)
    process.member(f"0::{path}" if v2 else f"4:cpu:{path}")
    limit(top, 150_000, v2=v2)
    assert available_cpus(process.proc) == 2


def test_a_machine_with_both_versions(process):
    """CPU time is version 1's, and the empty tree of version 2 says nothing; where both limit, the smaller counts."""
    one = process.mounted("cpu", "cgroup", "rw,cpu,cpuacct")
    process.mounted("memory", "cgroup", "rw,memory")
    two = process.mounted("unified", "cgroup2")
    for line in ("9:memory:/m", "4:cpu,cpuacct:/pod", "1:name=systemd:/s", "0::/"):
        process.member(line)
    limit(one / "pod", 400_000, v2=False)
    assert cpu_quota(process.proc) == 4.0
    limit(two, 250_000)
    assert cpu_quota(process.proc) == 2.5


@pytest.mark.parametrize("content", ["", "nonsense", "max", "100000 0"])
def test_what_cannot_be_read_is_no_limit(process, content):
    """A file that a later kernel writes otherwise leaves the cores as they are."""
    top = process.mounted("cpu", "cgroup2")
    process.member("0::/")
    (top / "cpu.max").write_text(content)
    assert available_cpus(process.proc) == CORES


def test_a_system_without_cgroups(tmp_path):
    """Nothing to read is no limit, nor is what has another form."""
    assert available_cpus(tmp_path) == CORES
    for name in ("cgroup", "mountinfo"):
        (tmp_path / name).write_text("another form\n")
    assert available_cpus(tmp_path) == CORES


def test_libraries_are_told_of_a_quota_and_of_nothing_else(process):
    """Threads are limited by a quota below the cores; what somebody has set stays."""
    top = process.mounted("cpu", "cgroup2")
    process.member("0::/")
    limit(top, None)
    free: dict[str, str] = {}
    limit_threads(free, process.proc)
    assert free == {}

    limit(top, 200_000)
    limited = {"OMP_NUM_THREADS": "7"}
    limit_threads(limited, process.proc)
    assert limited == {**dict.fromkeys(THREAD_VARIABLES, "2"), "OMP_NUM_THREADS": "7"}


def test_no_pool_is_sized_by_the_cores_alone():
    """Nobody but the one function counts cores."""
    root = Path(processors.__file__).parent.parent
    counting = {
        path.relative_to(root).as_posix()
        for folder in ("platform_assets", "resources", "sensors")
        for path in (root / folder).rglob("*.py")
        if any(word in path.read_text() for word in ("sched_getaffinity", "cpu_count", "n_jobs=-1"))
    }
    assert counting == {"platform_assets/processors.py"}


REPORT = """
import json
from platform_assets.processors import available_cpus
import numba, pyarrow, torch
from sklearn.utils._openmp_helpers import _openmp_effective_n_threads
from threadpoolctl import threadpool_info
from platform_assets.models.hardware import detect_hardware
print(json.dumps({
    "available": available_cpus(),
    "training": detect_hardware(gpu=0, mixed_precision=False).threads,
    "torch": torch.get_num_threads(),
    "numba": numba.get_num_threads(),
    "arrow": pyarrow.cpu_count(),
    "sklearn": _openmp_effective_n_threads(),
    "pools": max(each["num_threads"] for each in threadpool_info()),
}))
"""


@pytest.fixture
def real_group() -> Iterator[Path]:
    """A cgroup of the kernel's own, of one core and no more."""
    name = f"platform-assets-tests-{os.getpid()}"
    one, two = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
    is_v2 = (two / "cgroup.controllers").is_file()
    group = (two if is_v2 else one) / name
    try:
        if is_v2:
            (two / "cgroup.subtree_control").write_text("+cpu")
        group.mkdir()
        (group / ("cpu.max" if is_v2 else QUOTA)).write_text("100000 100000" if is_v2 else "100000")
    except OSError as problem:
        if group.is_dir():
            group.rmdir()
        pytest.skip(f"NO CGROUP OF ITS OWN: run as root where cgroups may be made ({problem})")
    yield group
    group.rmdir()


def test_every_library_of_a_real_process_keeps_to_a_real_quota(real_group, tmp_path):
    """In a group that the kernel holds to one core, whatever counts cores starts one thread."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("ONE CORE ONLY: a quota below it has nothing to change")
    unset = {name: value for name, value in environment(tmp_path).items() if name not in THREAD_VARIABLES}
    done = subprocess.run(
        ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', real_group, sys.executable, "-c", REPORT],
        env=unset,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout).values()) == {1}, done.stdout
