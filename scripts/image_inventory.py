"""What is in the image: which requirements go in, whether what came is what was locked, and the SBOM.

Runs in the image's build stage, on the interpreter that has cyclonedx-bom.

    requirements   the dependencies of pyproject.toml, so that they make a layer of their own under the project
    check          fails unless every package is the one in the lock, torch is the build that the variant names, and
                   the shared libraries find what they were linked with
    strip          removes what no process of the platform reads
    sbom           CycloneDX: the Python packages of the environment and the Debian packages under it
"""

import argparse
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

ENVIRONMENT = Path("/opt/platform")
DEBIAN_PACKAGES = Path("/usr/share/platform-assets/debian-packages.tsv")
PROJECT = "platform-assets"

# They come with a CUDA build of torch, which pins them itself; constraints.lock serves both builds.
CUDA_PREFIXES = ("nvidia-", "triton", "cuda-")

UNREAD_FOLDER = "tests"
"""Not `test`: some packages keep helpers there that they import (dagster does)."""
UNREAD_FILES = ("lib*.a", "*.pyx", "*.pxd")
HEADERS = ("torch/include", "pyarrow/include")
"""For compilers, of which the image has none."""

UNUSED_LIBRARIES = ("libtbb.so",)
"""What numba's parallel loops could use in place of its own pool."""
NVIDIA_FOLDER = "nvidia"
"""Parts for interconnects that few machines have; what torch needs of them lies in the same folder."""
DRIVER_LIBRARIES = ("libcuda.so", "libnvidia-")
"""Come into a container with the device."""


class ImageError(Exception):
    """The image would not be what was asked for."""


def requirements(pyproject: Path, extras: Iterable[str]) -> list[str]:
    """Dependencies of the project and of these extras.

    Raises:
        ImageError: the project has no such extra.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    if unknown := sorted(set(extras) - set(optional)):
        raise ImageError(
            f"{pyproject} has no extra {', '.join(unknown)}; it has {', '.join(sorted(optional))}: change EXTRAS"
        )
    return [*project["dependencies"], *(each for extra in extras for each in optional[extra])]


def canonical(name: str) -> str:
    """A package's name as indexes spell it."""
    return name.lower().replace("_", "-").replace(".", "-")


def installed(environment: Path) -> dict[str, str]:
    """Version by name of all packages of a virtual environment."""
    folders = [str(folder) for folder in environment.glob("lib/python3*/site-packages")]
    return {canonical(each.metadata["Name"]): each.version for each in distributions(path=folders)}


def locked(lock: Path) -> dict[str, str]:
    """Version by name of a constraints file."""
    lines = (line.strip() for line in lock.read_text(encoding="utf-8").splitlines())
    pins = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonical(name): version for name, version in pins}


def check_lock(packages: Mapping[str, str], pins: Mapping[str, str]) -> None:
    """Whether every package has the version that was tested.

    Raises:
        ImageError: some have another, or none was locked.
    """
    strangers = [
        f"{name}=={version} (locked: {pins.get(name, 'not at all')})"
        for name, version in sorted(packages.items())
        if name != PROJECT
        and not name.startswith(CUDA_PREFIXES)
        # A local label names the build (2.13.0+cpu), not another version.
        and version.partition("+")[0] != pins.get(name)
    ]
    if strangers:
        raise ImageError(
            f"installed but not as locked: {', '.join(strangers)}; run `make lock` and build again"
        )


def check_variant(packages: Mapping[str, str], variant: str) -> None:
    """Whether the build of torch fits the variant.

    Raises:
        ImageError: CUDA libraries where none were asked for, or none where they were.
    """
    cuda = sorted(name for name in packages if name.startswith(CUDA_PREFIXES))
    if variant == "cpu" and cuda:
        raise ImageError(
            f"variant cpu, but torch {packages.get('torch')} brought {', '.join(cuda)}; "
            "give TORCH or PIP_FIND_LINKS that lead to a CPU build"
        )
    if variant == "cuda" and not cuda:
        raise ImageError(
            f"variant cuda, but torch {packages.get('torch')} brought no CUDA library; "
            "give a TORCH that leads to a CUDA build"
        )


def check_libraries(environment: Path) -> None:
    """Whether every shared library of the environment finds the ones that it needs.

    Raises:
        ImageError: some need a Debian package that the image does not have.
    """
    libraries = [path for path in environment.rglob("*.so*") if path.is_file() and not path.is_symlink()]
    own = {path.name for path in libraries}
    missing: dict[str, str] = {}
    for path in libraries:
        if NVIDIA_FOLDER in path.parts:
            continue
        told = subprocess.run(["ldd", str(path)], check=False, capture_output=True, text=True).stdout
        for line in told.splitlines():
            name, _, found = line.strip().partition(" => ")
            # A neighbour that is not found by path is loaded by the package before it is needed.
            if (
                found == "not found"
                and name not in own
                and not name.startswith((*UNUSED_LIBRARIES, *DRIVER_LIBRARIES))
            ):
                missing[name] = str(path.relative_to(environment))
    if missing:
        needed = ", ".join(f"{name} (for {path})" for name, path in sorted(missing.items()))
        raise ImageError(
            f"the image lacks {needed}; add the Debian package to the first stage of the Containerfile"
        )


def strip(site: Path) -> dict[str, int]:
    """Remove tests, static libraries and headers below `site`; bytes freed by kind."""
    freed = {"tests": 0, "static libraries and Cython sources": 0, "headers": 0}
    for folder in sorted(site.rglob(UNREAD_FOLDER), key=lambda path: len(path.parts)):
        # A folder of data may bear the name, and so may a package that stands by itself.
        if folder.is_dir() and folder.parent != site and (folder / "__init__.py").is_file():
            freed["tests"] += _size(folder)
            shutil.rmtree(folder)
    for pattern in UNREAD_FILES:
        for file in list(site.rglob(pattern)):
            freed["static libraries and Cython sources"] += file.stat().st_size
            file.unlink()
    for folder in (site / name for name in HEADERS):
        if folder.is_dir():
            freed["headers"] += _size(folder)
            shutil.rmtree(folder)
    return freed


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def python_bom(environment: Path, pyproject: Path) -> dict[str, Any]:
    """CycloneDX document of a virtual environment, without serial number and time: equal content, equal file."""
    command = ["cyclonedx_py", "environment", "--output-reproducible", "--output-format", "JSON"]
    told = subprocess.run(
        [sys.executable, "-m", *command, "--pyproject", str(pyproject), str(environment / "bin" / "python")],
        check=True,
        capture_output=True,
        text=True,
    )
    bom: dict[str, Any] = json.loads(told.stdout)
    return bom


def debian_components(packages: str) -> Iterator[dict[str, str]]:
    """CycloneDX components of `name<tab>version<tab>architecture` lines."""
    for line in packages.splitlines():
        name, version, architecture = line.split("\t")
        # As the package-url specification has it: a plus sign of a version is encoded.
        purl = f"pkg:deb/debian/{name}@{version.replace('+', '%2B')}?arch={architecture}&distro=debian-12"
        yield {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def main() -> None:
    """One of the four steps, as the Containerfile asks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("requirements")
    step.add_argument("--extras", default="")
    step.add_argument("--project", type=Path, default=Path("pyproject.toml"))
    step = steps.add_parser("check")
    step.add_argument("--variant", choices=("cpu", "cuda"), required=True)
    step.add_argument("--lock", type=Path, required=True)
    steps.add_parser("strip")
    step = steps.add_parser("sbom")
    step.add_argument("--project", type=Path, required=True)
    step.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        if arguments.step == "requirements":
            print(
                "\n".join(
                    requirements(arguments.project, [each for each in arguments.extras.split(",") if each])
                )
            )
        elif arguments.step == "check":
            packages = installed(ENVIRONMENT)
            check_lock(packages, locked(arguments.lock))
            check_variant(packages, arguments.variant)
            check_libraries(ENVIRONMENT)
            print(f"{len(packages)} packages as locked, variant {arguments.variant}")
        elif arguments.step == "strip":
            for site in ENVIRONMENT.glob("lib/python3*/site-packages"):
                for kind, size_bytes in strip(site).items():
                    print(f"removed {kind}: {size_bytes / 1e6:.1f} MB")
        else:
            bom = python_bom(ENVIRONMENT, arguments.project)
            bom["components"] += debian_components(DEBIAN_PACKAGES.read_text(encoding="utf-8"))
            arguments.output.parent.mkdir(parents=True, exist_ok=True)
            arguments.output.write_text(json.dumps(bom, indent=1) + "\n", encoding="utf-8")
            print(f"{arguments.output}: {len(bom['components'])} components")
    except ImageError as problem:
        sys.exit(f"error: {problem}")


if __name__ == "__main__":
    main()
