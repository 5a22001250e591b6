"""How many CPUs this process may use: those it may run on, and no more than its cgroup pays for.

A pod with `cpu: "2"` on a machine of 64 cores may run on all of them, and is stopped for most of each tenth of a second
once it has used up two cores' worth of it. Libraries count cores, so they would start 64 threads.

A leaf: whoever sizes a pool asks `available_cpus`, and a process that is just beginning calls `limit_threads`.
"""

import math
import os
import re
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",  # torch, scikit-learn, Arrow
    "OPENBLAS_NUM_THREADS",  # numpy, scipy
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",  # tokenizers
)
"""What libraries read when they are loaded."""
_SELF: Final = Path("/proc/self")
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")
"""Spaces and the like in /proc/self/mountinfo."""
_QUOTA_FILES: Final = ("cpu.cfs_quota_us", "cpu.cfs_period_us")


@dataclass(frozen=True, slots=True)
class _Hierarchy:
    """A mounted tree of cgroups that may limit CPU time, and where this process stands in it."""

    is_v2: bool
    top: Path
    """Where it is mounted: the highest group that this process can see."""
    group: Path
    """This process's own."""


def available_cpus(process: Path = _SELF) -> int:
    """CPUs that this process may use: of its affinity, and of the quotas of its cgroup and those above it.

    Args:
        process: its folder in /proc.

    Returns:
        At least 1; a quota of two and a half cores counts as three.
    """
    return max(1, math.ceil(min(_cores(), cpu_quota(process))))


def cores() -> int | None:
    """How many the machine has, whoever may use them; for people."""
    return os.cpu_count()


def cpu_quota(process: Path = _SELF) -> float:
    """Cores' worth of CPU time that the process's cgroup, or one above it, may use; infinite without a limit."""
    try:
        quotas = [quota for hierarchy in _hierarchies(process) for quota in _quotas(hierarchy)]
    except (OSError, ValueError):
        # Another system, or another kernel's form: what cannot be read limits nobody.
        return math.inf
    return min(quotas, default=math.inf)


def limit_threads(environment: MutableMapping[str, str] = os.environ, process: Path = _SELF) -> None:
    """Tell libraries that are loaded from now on, here and in child processes, how many threads to start.

    Says nothing where no quota is below the number of cores, and never contradicts what somebody has set.
    """
    cpus = available_cpus(process)
    if cpus < _cores():
        for variable in THREAD_VARIABLES:
            environment.setdefault(variable, str(cpus))


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def _hierarchies(process: Path) -> Iterator[_Hierarchy]:
    """Those of version 2, and of version 1 the one that has CPU time."""
    memberships = (process / "cgroup").read_text(encoding="utf-8").splitlines()
    mounts = (process / "mountinfo").read_text(encoding="utf-8").splitlines()
    paths = {}
    for membership in memberships:
        number, controllers, path = membership.split(":", 2)
        if number == "0" and not controllers:
            paths["cgroup2"] = path
        elif "cpu" in controllers.split(","):
            paths["cgroup"] = path
    for mount in mounts:
        before, _, after = mount.partition(" - ")
        kind, _, options = after.split(" ", 2)
        is_of_cpu = kind == "cgroup2" or (kind == "cgroup" and "cpu" in options.split(" ")[-1].split(","))
        if is_of_cpu and kind in paths:
            root, top = map(_unescaped, before.split(" ")[3:5])
            yield _Hierarchy(
                kind == "cgroup2", Path(top), _group(PurePosixPath(paths[kind]), root, Path(top))
            )


def _group(path: PurePosixPath, root: str, top: Path) -> Path:
    """Folder of a cgroup.

    In a container only the part of the tree from `root` on is mounted, or the path is told from there. It may also lie
    outside of what is seen; then the top is the container's own.
    """
    below = path.relative_to(root) if path.is_relative_to(root) else path.relative_to("/")
    return top if ".." in below.parts or not (top / below).is_dir() else top / below


def _quotas(hierarchy: _Hierarchy) -> Iterator[float]:
    """Quotas of a group and of those above it, in cores."""
    group = hierarchy.group
    while True:
        if (quota := _quota(group, is_v2=hierarchy.is_v2)) is not None:
            yield quota
        if group == hierarchy.top:
            return
        group = group.parent


def _quota(group: Path, *, is_v2: bool) -> float | None:
    try:
        if is_v2:
            amount, period = (group / "cpu.max").read_text(encoding="ascii").split()
        else:
            amount, period = ((group / name).read_text(encoding="ascii").strip() for name in _QUOTA_FILES)
        return None if amount in {"max", "-1"} else int(amount) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        # The topmost group has no such file.
        return None


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)
