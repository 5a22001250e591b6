"""A session of Spark: a server of Spark Connect (`sc://…`), a cluster, pods, or processes of this machine (`local[2]`).

Of a master, this process is the driver: it starts Java, whose output goes to a file, and ends it. What Spark writes on this
machine lies in a folder of the caller's. There is no web UI, and nothing listens on another address than this machine's own
where all processes are on it.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from resources.errors import ResourceError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from resources.spark_pods import SparkPods

REMOTE_FORM: Final = re.compile(
    r"sc://\S+|spark://[^\s,]+:\d+|local(\[(\d+|\*)(,\d+)?\])?|local-cluster\[\d+,\d+,\d+\]"
    r"|k8s://(in-cluster|https://[^\s,/?#]+/?)"
)
REMOTE_ADVICE: Final = (
    "write sc://host:15002, spark://host:7077, k8s://in-cluster, k8s://https://host:6443, local[2], or "
    "local-cluster[workers,cores,megabytes]"
)
IN_CLUSTER: Final = "k8s://in-cluster"
"""The API server of the cluster that this process runs in, as the kubelet tells it."""
SECRET_PARAMETER: Final = re.compile(r";[^=;]*(token|secret|passw|auth|key|credential)[^=;]*=", re.IGNORECASE)
"""Of Spark Connect: what it does not know itself becomes a header of each request."""
THIS_MACHINE: Final = "local[*]"
"""Where nothing else is said."""
OLDEST_JAVA: Final = 17
JAVA_ADVICE: Final = f"install a Java of {OLDEST_JAVA} or later (Debian: apt-get install openjdk-17-jre-headless), or set JAVA_HOME"
EXTRA_ADVICE: Final = "pip install 'platform-assets[spark]'"
_CONNECT: Final = "sc"
_CONNECT_PORT: Final = 15002
_KUBERNETES: Final = "k8s://"
_API_PORT: Final = 443
_PATIENCE_SECONDS: Final = 4.0
_LOOPBACK: Final = "127.0.0.1"
_OPTIONS: Final[Mapping[str, str]] = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # Jobs are few, and each knows how many partitions it is to have.
    "spark.sql.adaptive.enabled": "false",
}
_ON_THIS_MACHINE: Final[Mapping[str, str]] = {
    "spark.driver.host": _LOOPBACK,
    "spark.driver.bindAddress": _LOOPBACK,
}
_OF_SESSION: Final[Mapping[str, str]] = {
    # A row is a block of some megabytes, and so many lie in memory at once.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "8",
    "spark.sql.adaptive.enabled": "false",
}
_LIBRARIES: Final = frozenset({"pyspark", "py4j", "grpc"})
_ERROR_NAME: Final = re.compile(r"^(?:[a-z_]+\.)*([A-Z]\w*(?:Error|Exception))(?::|$)", re.MULTILINE)
_KNOWN: Final = (
    ("No module named 'platform_assets", "its executors lack platform-assets: install this release in their image"),
    ("No module named 'pyarrow", "its executors lack pyarrow: install platform-assets in their image"),
    ("PYTHON_VERSION_MISMATCH", f"its executors have another Python: this is {sys.version_info[0]}.{sys.version_info[1]}, and both must be alike"),
    ("No space left on device", "a disk of its executors is full: free some space, or name another folder (--scratch; of assets PLATFORM_SPARK_FOLDER)"),
    ("OutOfMemoryError", "Java ran out of memory: give its driver and executors more (spark.driver.memory, spark.executor.memory)"),
    ("StatusCode.UNAVAILABLE", "its server is gone: see that it runs, and run again"),
    ("repartitionById", "the server is too old: Spark 4.1 or later is needed"),
    ("Python worker exited unexpectedly", "a Python worker was killed again and again: give executors more memory, or run with a lower --memory-limit"),
)  # fmt: skip


class SparkError(ResourceError):
    """Spark cannot be had, cannot be reached, or has given up."""


def spark_lacks() -> tuple[str, str] | None:
    """What is missing on this machine for any Spark, and what to do about it; None where all is there."""
    if find_spec("pyspark") is None:
        return "pyspark is not installed", EXTRA_ADVICE
    return None


def java() -> Path | None:
    """The Java that Spark would start, if there is one."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home, "bin"))) if home else shutil.which("java")
    return Path(found) if found else None


def java_version(*, patience_seconds: float) -> int | None:
    """Of the Java that Spark would start; None where there is none that says so in time."""
    found = java()
    if found is None:
        return None
    try:
        told = subprocess.run(
            [found, "-version"], capture_output=True, text=True, check=False, timeout=patience_seconds
        ).stderr
    except (OSError, subprocess.TimeoutExpired):
        return None
    # Of Java 8, it is 1.8.
    number = re.search(r'version "(?:1\.)?(\d+)', told)
    return int(number[1]) if number else None


def needs_java(remote: str) -> bool:
    """Whether this process is to be the driver; a server of Spark Connect has one of its own."""
    return urlsplit(remote).scheme != _CONNECT


def on_kubernetes(remote: str) -> bool:
    """Whether executors are pods that this process, their driver, asks an API server for."""
    return remote.startswith(_KUBERNETES)


def address_of_spark(remote: str) -> tuple[str, int] | None:
    """Host and port of what is somewhere else; None of processes of this machine.

    Raises:
        ValueError: it has no host, or no port that there is.
    """
    if "://" not in remote:
        return None
    if remote == IN_CLUSTER:
        host = os.environ.get("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc")
        return host, int(os.environ.get("KUBERNETES_SERVICE_PORT", _API_PORT))
    parts = urlsplit(remote.partition(";")[0].removeprefix(_KUBERNETES))
    if not parts.hostname:
        raise ValueError("no host is named")
    return parts.hostname, parts.port or (_API_PORT if on_kubernetes(remote) else _CONNECT_PORT)


def shown_remote(remote: str) -> str:
    """As messages name it: without what may be secret. Of an API server, it is how Spark wants to be told, too."""
    address = address_of_spark(remote)
    if address is None:
        return remote
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    scheme = f"{_KUBERNETES}https" if on_kubernetes(remote) else urlsplit(remote).scheme
    return f"{scheme}://{host}:{address[1]}"


def refuse_unreachable(remote: str) -> None:
    """Nothing, where somebody listens there, or where it is this machine.

    Raises:
        SparkError: nobody does; Spark itself would try again for minutes.
    """
    address = address_of_spark(remote)
    if address is None:
        return
    try:
        socket.create_connection(address, timeout=_PATIENCE_SECONDS).close()
    except OSError as problem:
        raise SparkError(
            f"Spark does not answer at {shown_remote(remote)} ({problem.strerror or 'it took too long'}); see that it runs and "
            "can be reached from here, and that PLATFORM_SPARK_REMOTE is right"
        ) from None


def server_version(remote: str) -> str | None:
    """Of a server of Spark Connect; a master does not tell its own.

    Raises:
        SparkError: it lets nobody in.
    """
    if needs_java(remote):
        return None
    with _client(remote) as session:
        return str(session.version)


@contextmanager
def spark_session(
    remote: str,
    folder: Path,
    *,
    options: Mapping[str, str] | None = None,
    pods: "SparkPods | None" = None,
) -> "Iterator[SparkSession]":
    """A session, which ends with the block, and with it whatever was started for it.

    Args:
        remote: `sc://host:port`, `spark://host:port`, `k8s://in-cluster`, `k8s://https://host:port`, `local[2]`, or
            `local-cluster[workers,cores,megabytes]`.
        folder: Exists; what Spark writes on this machine lies in it, its log (`spark.log`) too.
        options: Further ones of Spark, or others than ours.
        pods: What executors are, where they are pods; as many and as large as by default if None.

    Raises:
        SparkError: pyspark or Java is missing, or nobody answers.
    """
    if lack := spark_lacks():
        raise SparkError(f"Spark: {lack[0]}; {lack[1]}")
    if needs_java(remote) and java() is None:
        raise SparkError(f"Spark: there is no Java; {JAVA_ADVICE}")
    if on_kubernetes(remote):
        made = _driver_of_pods(remote, folder, options or {}, pods)
    else:
        refuse_unreachable(remote)
        made = _driver(remote, folder, options or {}) if needs_java(remote) else _client(remote)
    with made as session:
        for name, value in _OF_SESSION.items():
            session.conf.set(name, value)
        yield session


@contextmanager
def job_errors() -> Iterator[None]:
    """What Spark says of a failed job, in one sentence: its own has pages of Java, and values of rows among them.

    Raises:
        SparkError: whatever pyspark raises.
    """
    try:
        yield
    except Exception as problem:
        if not _is_of_spark(problem):
            raise
        text = str(problem)
        for sign, meaning in _KNOWN:
            if sign in text:
                raise SparkError(f"Spark gave up: {meaning}") from None
        if says_gone(problem):
            raise SparkError(
                "Spark's driver process has ended, killed or out of memory, or it has given up on pods of executors that ended again and "
                "again (kubectl get events); nothing was written, run again"
            ) from None
        names = _ERROR_NAME.findall(text)
        named = f" ({names[-1]})" if names else ""
        raise SparkError(
            f"Spark gave up: a task failed again and again{named}; the log of its executors says why. Nothing was written"
        ) from None


def _is_of_spark(problem: BaseException) -> bool:
    return type(problem).__module__.partition(".")[0] in _LIBRARIES or says_gone(problem)


def says_gone(problem: BaseException) -> bool:
    """How py4j tells that Java does not answer any more: one of its errors is what Java has answered."""
    kind = type(problem)
    return isinstance(problem, ConnectionError) or (
        kind.__module__.startswith("py4j") and kind.__name__ != "Py4JJavaError"
    )


@contextmanager
def _client(remote: str) -> "Iterator[SparkSession]":
    from pyspark.sql import SparkSession

    try:
        session = SparkSession.builder.remote(remote).create()
        session.version  # noqa: B018 - the first question to the server
    except Exception as problem:
        if not _is_of_spark(problem) and not isinstance(problem, ImportError):
            raise
        lacks = isinstance(problem, ImportError)
        raise SparkError(
            f"Spark Connect needs more than pyspark; {EXTRA_ADVICE}"
            if lacks
            else f"Spark at {shown_remote(remote)} refuses a session; see that it is a server of Spark Connect of 4.1 or later, "
            "and that SPARK_CONNECT_AUTHENTICATE_TOKEN is right where it asks for one"
        ) from None
    try:
        yield session
    finally:
        with suppress(Exception):  # whoever is gone needs no farewell
            session.stop()


@contextmanager
def _driver_of_pods(
    remote: str, folder: Path, options: Mapping[str, str], pods: "SparkPods | None"
) -> "Iterator[SparkSession]":
    from resources.spark_pods import PATIENCE_SECONDS, SparkPods, await_executors, driver_options

    cluster, of_pods = driver_options(pods or SparkPods(), folder)
    refuse_unreachable(remote)
    with _driver(shown_remote(remote), folder, {**of_pods, **options}) as session:
        with job_errors():
            await_executors(session.sparkContext, cluster, patience_seconds=PATIENCE_SECONDS)
        yield session


@contextmanager
def _driver(remote: str, folder: Path, options: Mapping[str, str]) -> "Iterator[SparkSession]":
    from pyspark.conf import SparkConf
    from pyspark.core.context import SparkContext
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    if SparkContext._active_spark_context is not None:  # noqa: SLF001 - there is no other way to know
        raise SparkError(
            "Spark: this process has a session already, and there is one at a time; end that one"
        )
    on_this_machine = _ON_THIS_MACHINE if address_of_spark(remote) is None else {}
    package_folder = str(Path(__file__).resolve().parents[1])
    conf = SparkConf().setMaster(remote).setAppName("platform-assets")
    for name, value in {
        **_OPTIONS,
        **on_this_machine,
        "spark.executorEnv.PYTHONPATH": package_folder,
        **options,
    }.items():
        conf.set(name, value)
    gateway: Any = None
    context: Any = None
    with (folder / "spark.log").open("ab") as log, _environment(_places(remote, folder)):
        try:
            gateway = _started(conf, log)
            with _own_interrupt():
                context = SparkContext(conf=conf, gateway=gateway)
            # Where Java is killed, a thread that nobody asked would print its traceback.
            context._accumulatorServer.handle_error = _say_nothing  # noqa: SLF001
            session = SparkSession(context)
        except BaseException as problem:
            _end(context, gateway)
            if not isinstance(problem, PySparkException) and not _is_of_spark(problem):
                raise
            advice = (
                "see what became of its executors (kubectl get events): their image needs Java, pyspark and this release"
                if on_kubernetes(remote)
                else "see that Java is 17 or later (java -version), and that PLATFORM_SPARK_REMOTE is right"
            )
            raise SparkError(f"Spark did not start at {shown_remote(remote)}; {advice}") from None
    try:
        yield session
    finally:
        with suppress(Exception):  # it may have been killed
            session.stop()
        _end(context, gateway)


def _started(conf: Any, log: IO[bytes]) -> Any:
    """Java; a signal waits until it answers: pyspark would leave it to itself in the middle of its start, for ever."""
    from pyspark.java_gateway import launch_gateway

    starter = ThreadPoolExecutor(max_workers=1)
    starting = starter.submit(launch_gateway, conf, popen_kwargs={"stdout": log, "stderr": log})
    try:
        return starting.result()
    except BaseException:
        with suppress(Exception):  # where it failed by itself, there is nothing to end
            _end(None, starting.result())
        raise


@contextmanager
def _own_interrupt() -> Iterator[None]:
    """What Ctrl-C does stays what it is: pyspark has a handler of its own, which prints a traceback."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGINT, before)


def _say_nothing(*_: object) -> None:
    """What fails because Java is gone is told by the job that fails."""


def _end(context: Any, gateway: Any) -> None:
    """End Java, and let another one be started in this process."""
    from pyspark.core.context import SparkContext

    with suppress(Exception):
        if context is not None:
            context.stop()
    if gateway is not None:
        with suppress(Exception):
            gateway.shutdown()
        with suppress(OSError):
            gateway.proc.stdin.close()  # whereupon it ends by itself
        gateway.proc.wait()
    with SparkContext._lock:  # noqa: SLF001 - as pyspark's own tests do
        SparkContext._gateway = SparkContext._jvm = None  # noqa: SLF001


def _places(remote: str, folder: Path) -> dict[str, str]:
    """Variables that keep what Spark writes in a folder, and its workers to this Python."""
    is_elsewhere = address_of_spark(remote) is not None
    found = {
        # Executors of other machines may have theirs at another place.
        "PYSPARK_PYTHON": (is_elsewhere and os.environ.get("PYSPARK_PYTHON")) or sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "SPARK_LOCAL_DIRS": str(folder),
    }
    if not is_elsewhere:
        found["SPARK_LOCAL_IP"] = _LOOPBACK
    if remote.startswith("local-cluster"):
        # Its workers write below SPARK_HOME, and nowhere else.
        home = folder / "home"
        home.mkdir(exist_ok=True)
        for each in Path(spark_home()).iterdir():
            if not (home / each.name).exists():
                (home / each.name).symlink_to(each)
        found["SPARK_HOME"] = str(home)
    return found


def spark_home() -> str:
    """The folder of Spark's programs and jars."""
    from pyspark.find_spark_home import _find_spark_home

    home: str = _find_spark_home()
    return home


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Variables of this process, which Java inherits when it starts, put back afterwards."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
