"""What an executor pod runs: Java, as Spark's variables of the pod say it. `python -m resources.spark_executor executor`."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from resources.spark import JAVA_ADVICE, SparkError, java, spark_home

_BACKEND: Final = "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"
_ARGUMENTS: Final[Mapping[str, str]] = {
    "--driver-url": "SPARK_DRIVER_URL",
    "--executor-id": "SPARK_EXECUTOR_ID",
    "--cores": "SPARK_EXECUTOR_CORES",
    "--app-id": "SPARK_APPLICATION_ID",
    "--hostname": "SPARK_EXECUTOR_POD_IP",
    "--resourceProfileId": "SPARK_RESOURCE_PROFILE_ID",
    "--podName": "SPARK_EXECUTOR_POD_NAME",
}
_OPTION: Final = "SPARK_JAVA_OPT_"


def executor_command(environment: Mapping[str, str], java_program: Path, home: Path) -> list[str]:
    """The command line of Java.

    Args:
        environment: Of an executor pod.
        java_program: That starts it.
        home: Spark's own folder.

    Raises:
        SparkError: a variable is missing: nobody but Spark is to start this.
    """
    missing = [name for name in (*_ARGUMENTS.values(), "SPARK_EXECUTOR_MEMORY") if name not in environment]
    if missing:
        raise SparkError(
            f"Spark's executor: {missing[0]} is not set; Spark itself starts it, in pods that it makes"
        )
    options = sorted(
        (name for name in environment if name.startswith(_OPTION)),
        key=lambda name: int(name.removeprefix(_OPTION)),
    )
    memory = environment["SPARK_EXECUTOR_MEMORY"]
    # The root of a pod may be read-only.
    local = environment.get("SPARK_LOCAL_DIRS", "").split(",")[0]
    return [
        str(java_program),
        *([f"-Djava.io.tmpdir={local}"] if local else []),
        *(environment[name] for name in options),
        f"-Xms{memory}",
        f"-Xmx{memory}",
        "-cp",
        f"{home}/jars/*",
        _BACKEND,
        *(word for option, name in _ARGUMENTS.items() for word in (option, environment[name])),
    ]


def main(arguments: Sequence[str]) -> None:
    """Become Java.

    Raises:
        SparkError: there is none, or it is not Spark that asks.
    """
    if list(arguments) != ["executor"]:
        raise SparkError("Spark's executor: Spark itself starts it, with the word executor")
    found = java()
    if found is None:
        raise SparkError(f"Spark's executor: there is no Java; {JAVA_ADVICE}")
    command = executor_command(os.environ, found, Path(spark_home()))
    os.execv(command[0], command)  # noqa: S606 - in the place of this process, which is the pod's


if __name__ == "__main__":
    main(sys.argv[1:])
