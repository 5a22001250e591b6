"""What this machine has: Python, packages, torch and its devices, processors, memory, disks, other programs."""

import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import distributions, requires
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from platform_assets.doctor.findings import OWN_PATIENCE_SECONDS, Finding, Probe, one_line
from platform_assets.processors import available_cpus, cores, cpu_quota

_OLDEST_PYTHON: Final = (3, 11)
_LOCK: Final = Path(__file__).resolve().parents[2] / "constraints.lock"
_PIN: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)
_REQUIRED: Final = re.compile(r"^([A-Za-z0-9._-]+)")
_SHOWN_PACKAGES: Final = 5
_LITTLE_MEMORY_BYTES: Final = 4 << 30
"""Below it the line that ships and is largest does not train beside anything else."""
_LITTLE_DISK_BYTES: Final = 5 << 30
_NO_DISK_BYTES: Final = 256 << 20
_GIB: Final = 1 << 30
_CUDA: Final = re.compile(r"^cuda(?::[^=]+)? = ['\"]([^'\"]+)", re.MULTILINE)
_HIP: Final = re.compile(r"^hip(?::[^=]+)? = ['\"]([^'\"]+)", re.MULTILINE)
_SEES_DEVICES: Final = "import torch; print(*(torch.cuda.get_device_name(each) for each in range(torch.cuda.device_count())), sep=', ')"
_CGROUPS: Final = Path("/sys/fs/cgroup")
_BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")


def probes_of_machine(home: Path, temporary: Path) -> list[Probe]:
    """Everything about this machine.

    Args:
        home: Where the platform's state lies, or will.
        temporary: Where programs put what they need for a moment.
    """
    return [
        Probe("machine", "python", _python),
        Probe("machine", "packages", lambda: packages(_LOCK)),
        Probe("machine", "torch", _torch, "see that nvidia-smi answers at once"),
        Probe("machine", "processors", _processors),
        Probe("machine", "memory", lambda: memory(_CGROUPS)),
        Probe("machine", "home", lambda: disk("home", home), "see that its disk answers: ls the folder"),
        Probe("machine", "temporary", lambda: disk("temporary", temporary), "see that its disk answers"),
        Probe("machine", "programs", _programs),
    ]


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < _OLDEST_PYTHON:
        yield Finding("machine", "python", "problem", version, "use Python 3.11 or newer")
    elif sys.prefix != sys.base_prefix or _in_container():
        where = f"in {sys.prefix}" if sys.prefix != sys.base_prefix else "of this image"
        yield Finding("machine", "python", "ok", f"{version} {where}")
    else:
        yield Finding(
            "machine",
            "python",
            "warning",
            f"{version} in no virtual environment: what others install changes the platform's packages",
            "make one: python3 -m venv .venv, or make demo",
        )


def packages(lock: Path) -> Iterator[Finding]:
    """What is installed against what was tested.

    Args:
        lock: The file of pins; an installed wheel has none beside it.
    """
    installed = {
        _plain(each.metadata["Name"]): each.version for each in distributions() if each.metadata["Name"]
    }
    needed = [found[1] for each in requires("platform-assets") or () if "extra ==" not in each and (found := _REQUIRED.match(each))]  # fmt: skip
    if missing := [name for name in needed if _plain(name) not in installed]:
        yield Finding(
            "machine",
            "packages",
            "problem",
            f"{', '.join(missing)} not installed",
            "install them: pip install --constraint constraints.lock platform-assets",
        )
    if not lock.is_file():
        yield Finding("machine", "packages", "not used", "no constraints.lock lies beside this installation")
        return
    pins = {_plain(name): version for name, version in _PIN.findall(lock.read_text(encoding="utf-8"))}
    here = {name: version for name, version in pins.items() if name in installed}
    # A local label (2.13.0+cpu) is a build of the same release.
    others = [
        f"{name} {installed[name]} ({version} was tested)"
        for name, version in here.items()
        if installed[name].partition("+")[0] != version.partition("+")[0]
    ]
    if others:
        more = f" and {len(others) - _SHOWN_PACKAGES} more" if len(others) > _SHOWN_PACKAGES else ""
        yield Finding(
            "machine",
            "packages",
            "warning",
            f"{len(others)} of {len(here)} differ from constraints.lock: {', '.join(others[:_SHOWN_PACKAGES])}{more}",
            "install what was tested: pip install --constraint constraints.lock --editable .",
        )
    else:
        yield Finding("machine", "packages", "ok", f"{len(here)} as in constraints.lock")


def _torch() -> Iterator[Finding]:
    """From what is installed, since to import it takes seconds; it is asked itself only where there is a GPU to see."""
    spec = find_spec("torch")
    if spec is None or not spec.origin:
        yield Finding(
            "machine", "torch", "problem", "not installed", "pip install torch, the build of this machine"
        )
        return
    text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    version = next((each.version for each in distributions(name="torch")), "of unknown version")
    cuda, hip = _CUDA.search(text), _HIP.search(text)
    build = f"CUDA {cuda[1]}" if cuda else f"ROCm {hip[1]}" if hip else "no GPU support"
    begun = time.monotonic()
    gpus = _gpus()
    if gpus is None:
        yield Finding(
            "machine",
            "torch",
            "warning",
            f"{version} ({build}); nvidia-smi does not answer, so nobody knows which GPUs are here",
            "see what keeps nvidia-smi: a driver that hangs may need a restart of the machine",
        )
    elif not gpus:
        yield Finding(
            "machine", "torch", "ok", f"{version} ({build}); no GPU here, so trainings use the processors"
        )
    elif not cuda:
        yield Finding(
            "machine",
            "torch",
            "warning",
            f"{version} ({build}) cannot use the {len(gpus)} GPU here: {', '.join(gpus)}",
            "install a build for CUDA: make demo TORCH='torch==… --index-url …', see README",
        )
    else:
        left = OWN_PATIENCE_SECONDS - (time.monotonic() - begun)
        seen = _told([sys.executable, "-c", _SEES_DEVICES], seconds=left)
        if seen:
            yield Finding("machine", "torch", "ok", f"{version} ({build}) sees {seen}")
        else:
            yield Finding(
                "machine",
                "torch",
                "warning" if seen is None else "problem",
                f"{version} ({build}) "
                + ("did not say in time which GPUs it sees" if seen is None else "sees no GPU")
                + f"; here are {', '.join(gpus)}",
                "python -c 'import torch; torch.cuda.init()' says why; the driver may be too old for the build",
            )


def _gpus() -> list[str] | None:
    """GPUs with their drivers; None where nobody says in time."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    asked = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    told = _told(asked, seconds=OWN_PATIENCE_SECONDS / 2)
    return None if told is None else [one_line(line) for line in told.splitlines() if line.strip()]


def _told(command: list[str], *, seconds: float) -> str | None:
    """What a program prints; empty where it fails, None where it does not end in time."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=seconds,
            stdin=subprocess.DEVNULL, errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _processors() -> Iterator[Finding]:
    cpus, quota = available_cpus(), cpu_quota()
    limit = "no limit" if math.isinf(quota) else f"a limit of {quota:g}"
    yield Finding("machine", "processors", "ok", f"{cpus} to use, of {cores()} cores with {limit}")


def memory(cgroups: Path, meminfo: Path = Path("/proc/meminfo")) -> Iterator[Finding]:
    """How much memory this process may use.

    Args:
        cgroups: Where cgroups are mounted.
        meminfo: What the kernel says of the machine's.
    """
    total = _memory_total(meminfo)
    limit = min(_memory_limits(cgroups), default=math.inf)
    usable = min(total, limit)
    if math.isinf(usable):
        yield Finding("machine", "memory", "not used", "this system does not say how much there is")
        return
    told = f"{usable / _GIB:.1f} GiB" + (f", of {total / _GIB:.1f} in the machine" if limit < total else "")
    if usable < _LITTLE_MEMORY_BYTES:
        yield Finding(
            "machine",
            "memory",
            "warning",
            told,
            f"give it {_LITTLE_MEMORY_BYTES // _GIB} GiB, or train with fewer rows (train_rows) and smaller batches",
        )
    else:
        yield Finding("machine", "memory", "ok", told)


def _memory_total(meminfo: Path) -> float:
    try:
        found = re.search(r"^MemTotal:\s*(\d+) kB", meminfo.read_text(encoding="ascii"), re.MULTILINE)
    except (OSError, ValueError):
        found = None
    return int(found[1]) * 1024.0 if found else math.inf


def _memory_limits(cgroups: Path) -> Iterator[int]:
    """Of this process's group and those above it, as far as they can be seen."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    below = next((line[3:] for line in lines if line.startswith("0::")), "/").strip("/")
    own = cgroups / below if ".." not in below and (cgroups / below).is_dir() else cgroups
    groups = [own, *(each for each in own.parents if each == cgroups or cgroups in each.parents)]
    for file in [*(group / "memory.max" for group in groups), cgroups / "memory" / "memory.limit_in_bytes"]:
        try:
            yield int(file.read_text(encoding="ascii"))
        except (OSError, ValueError):  # there is none, or it says `max`
            continue


def disk(subject: str, folder: Path) -> Iterator[Finding]:
    """Whether a folder, or the one that it will be made in, can be written to, and how much room there is.

    Args:
        subject: What the finding is called.
        folder: Need not exist.
    """
    there = next(each for each in (folder, *folder.parents) if each.exists())
    where = str(folder) if there == folder else f"{folder} (not made yet)"
    if not there.is_dir():
        yield Finding(
            "machine",
            subject,
            "problem",
            f"{there} is a file",
            "choose a folder: PLATFORM_HOME, or move the file",
        )
        return
    state = os.statvfs(there)
    free = state.f_bavail * state.f_frsize
    room = f"{where}, {free / _GIB:.1f} GiB free"
    if state.f_flag & os.ST_RDONLY or not os.access(there, os.W_OK | os.X_OK):
        yield Finding(
            "machine",
            subject,
            "problem",
            f"{where} cannot be written to",
            f"choose another folder, or let this user write: ls -ld {there}; findmnt -T {there}",
        )
    elif free < _NO_DISK_BYTES or (state.f_files and not state.f_favail):
        yield Finding(
            "machine",
            subject,
            "problem",
            room if free < _NO_DISK_BYTES else f"{where} has no room for another file (inodes)",
            "free some space: df -h and df -i show what is full",
        )
    elif free < _LITTLE_DISK_BYTES:
        yield Finding("machine", subject, "warning", room, f"have {_LITTLE_DISK_BYTES // _GIB} GiB: trainings keep checkpoints and tables their versions")  # fmt: skip
    else:
        yield Finding("machine", subject, "ok", room)


def _programs() -> Iterator[Finding]:
    """Those that only some things need."""
    git = shutil.which("git")
    yield (
        Finding("machine", "git", "ok", git)
        if git
        else Finding("machine", "git", "problem", "not found", "install git: every version names its commit")
    )
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    yield (
        Finding("machine", "chromium", "ok", browser)
        if browser
        else Finding("machine", "chromium", "not used", "not found: only tests of the UI need it")
    )
    java = shutil.which("java")
    yield (
        Finding("machine", "java", "ok", java)
        if java
        else Finding("machine", "java", "not used", "not found: only sources that Spark reads need it")
    )


def _in_container() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ or Path("/.dockerenv").exists()


def _plain(name: str) -> str:
    """As PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()
