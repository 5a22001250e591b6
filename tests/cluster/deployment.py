"""A platform whose runs and training steps are pods of a real cluster, with Postgres, S3 and MLflow beside it.

The servers are processes of this machine at an address that pods reach: that of the node, which the shared test
cluster names in CLUSTER_NODE_IP, or PLATFORM_TEST_HOST. The pods' image, PLATFORM_TEST_IMAGE, must hold this
project as it is here; that of the shared test cluster shows the pods this very checkout.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from platform_assets.ledger.ledger import Ledger
from platform_assets.lines.line import SPEC_FILE, SPECS_FOLDER
from tests import servers
from tests.cluster.spark_volume import install_spark, pod_settings, pod_variables, shared_folder
from tests.line_factory import ROOT, write_spec
from tests.servers import free_ports
from tests.waiting import wait_for

NAMESPACE = os.environ.get("PLATFORM_TEST_NAMESPACE", "platform")
SERVICE_ACCOUNT = os.environ.get("PLATFORM_TEST_SERVICE_ACCOUNT", "dagster")
IMAGE = os.environ.get("PLATFORM_TEST_IMAGE", "localhost/platform-test:1")
SPECS_MOUNT = "/etc/platform/specs"
DAGSTER_HOME = "/opt/dagster/home"
SCRATCH = "/scratch"
LOCATION = "platform_assets.definitions"
RUN_SECONDS = 420

GPU_POD = {
    "gpu": 1,
    "cpu": "1",
    "memory": "2Gi",
    "node_selector": {"accelerator": "nvidia"},
    "shared_memory": "64Mi",
}
LINES: dict[str, dict[str, Any]] = {
    "reviews_small": {"resources": GPU_POD},
    "reviews_other": {"resources": GPU_POD},
    # Long enough to be killed in the middle.
    "reviews_killed": {"resources": GPU_POD, "epochs": 15},
    # torch alone needs more than the first limit, and training more than the last.
    "reviews_hungry": {"resources": {"gpu": 0, "cpu": "1", "memory": "200Mi", "max_memory": "300Mi"}},
}


SHIPPED = ("credit_scorecard",)
"""Lines as they ship; the others are small ones of texts."""


def reachable_host() -> str | None:
    """This machine's address as pods see it; None where no cluster is at hand."""
    host = os.environ.get("CLUSTER_NODE_IP") or os.environ.get("PLATFORM_TEST_HOST")
    return host if os.environ.get("KUBECONFIG") else None


@contextmanager
def cluster_platform(folder: Path, host: str) -> Iterator["ClusterPlatform"]:
    """The platform on the cluster, empty, with its daemon running."""
    password, key, secret = (secrets.token_hex(12) for _ in range(3))
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        postgres = stack.enter_context(servers.postgres(folder / "postgres", host, password))
        s3 = stack.enter_context(servers.s3(folder / "s3", host, key, secret))
        hidden = {"PGPASSWORD": password, "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
        tracking = stack.enter_context(
            servers.mlflow(folder / "mlflow", host, f"postgresql://platform@{postgres}/mlflow", hidden)
        )
        hidden["PLATFORM_ROW_SALT"] = secrets.token_hex(16)
        shown = {
            "PLATFORM_PROFILE": "cluster",
            "PLATFORM_HOME": f"{SCRATCH}/platform",
            "PLATFORM_PRINCIPAL__USER": "tests",
            "PLATFORM_LEDGER_URI": f"postgresql://platform@{postgres}/platform",
            "PLATFORM_CATALOG_URI": f"postgresql://platform@{postgres}/platform",
            "PLATFORM_WAREHOUSE_URI": "s3://platform/warehouse",
            "PLATFORM_OBJECTS_URI": "s3://platform/objects",
            "PLATFORM_S3_ENDPOINT": s3,
            "PLATFORM_TRACKING_URI": tracking,
            "PLATFORM_CHECKPOINT_INTERVAL_SECONDS": "1",
            "PLATFORM_SPECS": json.dumps([f"{SPECS_MOUNT}/{name}.yaml" for name in (*LINES, *SHIPPED)]),
            "HF_HUB_OFFLINE": "1",
            **(pod_settings() if shared_folder() else {}),
        }
        _make_bucket(s3, key, secret)
        wait_for(servers.answers(f"{tracking}/health"), "MLflow is up", seconds=180)
        for name, value in hidden.items():
            patch.setenv(name, value)
        made = ClusterPlatform(folder, postgres, shown, hidden, s3)
        made.install()
        patch.setenv("DAGSTER_HOME", str(made.dagster_home))
        stack.enter_context(made.code_server())
        with (
            made.process("dagster-daemon", "run", "-w", str(made.workspace)),
            dg.DagsterInstance.from_config(str(made.dagster_home)) as instance,
        ):
            made.instance = instance
            yield made
        made.kubectl("delete", "jobs,pods", "--all", "--wait=false")


def _make_bucket(endpoint: str, key: str, secret: str) -> None:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="platform")


@dataclass
class ClusterPlatform:
    """Settings and instance of the platform, and a person's ways to use both."""

    folder: Path
    postgres: str
    shown: dict[str, str]
    hidden: dict[str, str]
    s3: str
    instance: Any = None

    @property
    def dagster_home(self) -> Path:
        """Of processes of this machine; pods have the same dagster.yaml elsewhere."""
        return self.folder / "dagster"

    @property
    def specs(self) -> Path:
        """Folder of the training specs."""
        return self.folder / "specs"

    @property
    def environment(self) -> dict[str, str]:
        """Of processes of this machine that are part of the platform."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PLATFORM_")}
        here = json.dumps([str(self.specs / f"{name}.yaml") for name in (*LINES, *SHIPPED)])
        return {
            **kept,
            **self.shown,
            **self.hidden,
            "DAGSTER_HOME": str(self.dagster_home),
            "PLATFORM_HOME": str(self.folder / "home"),
            "PLATFORM_SPECS": here,
        }

    @property
    def workspace(self) -> Path:
        """Where the code server is, for those who ask it."""
        return self.folder / "workspace.yaml"

    @contextmanager
    def process(self, program: str, *arguments: str) -> Iterator[None]:
        """One of Dagster's programs, with the platform's settings, until the end of the block."""
        with (self.folder / f"{program}-{arguments[0]}.log").open("wb") as log:
            running = subprocess.Popen(
                [str(Path(sys.executable).parent / program), *arguments],
                env=self.environment,
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield
        finally:
            os.killpg(running.pid, 9)
            running.wait()

    @contextmanager
    def code_server(self, module: str = LOCATION) -> Iterator[None]:
        """The server of a code location, as its own Deployment would be; nobody starts one of their own then."""
        (port,) = free_ports(1)
        servers = [{"grpc_server": {"host": "127.0.0.1", "port": port, "location_name": module}}]
        self.workspace.write_text(yaml.safe_dump({"load_from": servers}))
        with self.process("dagster", "api", "grpc", "-m", module, "-h", "127.0.0.1", "-p", str(port)):
            check = [
                str(Path(sys.executable).parent / "dagster"),
                "api",
                "grpc-health-check",
                "-p",
                str(port),
            ]
            wait_for(
                lambda: subprocess.run(check, capture_output=True, check=False).returncode == 0,
                "the code server is up",
            )
            yield

    def install(self) -> None:
        """Everything that an overlay of k8s/ would bring, with this machine's addresses."""
        for name, changes in LINES.items():
            write_spec(self.specs, f"{name}.yaml", line=name, **changes)
        for name in SHIPPED:
            shutil.copy(SPECS_FOLDER / name / SPEC_FILE, self.specs / f"{name}.yaml")
        self.dagster_home.mkdir()
        (self.dagster_home / "dagster.yaml").write_text(yaml.safe_dump(self._dagster_yaml(), sort_keys=False))
        if shared_folder():
            install_spark(self.apply, NAMESPACE)
        specs = {file.name: file.read_text() for file in self.specs.iterdir()}
        self.apply({"kind": "ConfigMap", "metadata": {"name": "platform-settings"}, "data": self.shown})
        self.apply({"kind": "ConfigMap", "metadata": {"name": "platform-specs"}, "data": specs})
        self.apply({"kind": "Secret", "metadata": {"name": "platform-secrets"}, "stringData": self.hidden})
        dagster_yaml = (self.dagster_home / "dagster.yaml").read_text()
        self.apply(
            {
                "kind": "ConfigMap",
                "metadata": {"name": "dagster-instance"},
                "data": {"dagster.yaml": dagster_yaml},
            }
        )

    def _dagster_yaml(self) -> dict[str, Any]:
        host, _, port = self.postgres.partition(":")
        database = {
            "hostname": host,
            "port": int(port),
            "username": "platform",
            "password": {"env": "PGPASSWORD"},
            "db_name": "dagster",
        }
        pod = {
            "volumes": [
                {"name": "specs", "config_map": {"name": "platform-specs"}},
                {"name": "scratch", "empty_dir": {}},
            ]
        }
        container = {
            "volume_mounts": [
                {"name": "specs", "mount_path": SPECS_MOUNT},
                {"name": "scratch", "mount_path": SCRATCH},
            ],
            "working_dir": str(ROOT),
        }
        return {
            "storage": {"postgres": {"postgres_db": database}},
            "run_launcher": {
                "module": "platform_assets.execution.run_launcher",
                "class": "PlatformRunLauncher",
                "config": {
                    "job_namespace": NAMESPACE,
                    "service_account_name": SERVICE_ACCOUNT,
                    "load_incluster_config": True,
                    "instance_config_map": "dagster-instance",
                    "dagster_home": DAGSTER_HOME,
                    "job_image": IMAGE,
                    "image_pull_policy": "IfNotPresent",
                    "env_config_maps": ["platform-settings"],
                    "env_secrets": ["platform-secrets"],
                    "env_vars": [f"{name}={value}" for name, value in pod_variables().items()],
                    "resources": {
                        "requests": {"cpu": "100m", "memory": "512Mi"},
                        "limits": {"memory": "3Gi"},
                    },
                    "run_k8s_config": {"pod_spec_config": pod, "container_config": container},
                    "fail_pod_on_run_failure": True,
                },
            },
            "run_monitoring": {"enabled": True, "poll_interval_seconds": 5, "max_resume_run_attempts": 2},
            "concurrency": {"pools": {"default_limit": 1, "granularity": "op"}},
            "python_logs": {
                "managed_python_loggers": ["platform_assets", "resources"],
                "python_log_level": "INFO",
            },
            "compute_logs": {
                "module": "dagster._core.storage.noop_compute_log_manager",
                "class": "NoOpComputeLogManager",
            },
            "telemetry": {"enabled": False},
        }

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """Output of kubectl in the platform's namespace."""
        done = subprocess.run(
            ["kubectl", "-n", NAMESPACE, *arguments], input=given, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def apply(self, manifest: dict[str, Any]) -> None:
        """Make it so."""
        self.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", **manifest}))

    def launch(
        self,
        line: str,
        *stages: str,
        config: dict[str, Any] | None = None,
        tags: dict[str, str] | None = None,
    ) -> str:
        """Launch the line's job, or a run of single assets, and give the run's id."""
        if not stages:
            return self.launch_job(line, config=config, tags=tags)
        assets = [f"{line}_{stage}" for stage in stages]
        return self.launch_job("__ASSET_JOB", assets=assets, config=config, tags=tags)

    def launch_job(
        self,
        job: str,
        *,
        assets: Sequence[str] = (),
        config: dict[str, Any] | None = None,
        tags: dict[str, str] | None = None,
        module: str = LOCATION,
    ) -> str:
        """Launch a job through Dagster's API, as its UI does, and give the run's id."""
        selector: dict[str, Any] = {
            "repositoryLocationName": module,
            "repositoryName": "__repository__",
            "pipelineName": job,
        }
        if assets:
            selector["assetSelection"] = [{"path": [asset]} for asset in assets]
        variables = {
            "executionParams": {
                "selector": selector,
                "runConfigData": config or {},
                "mode": "default",
                "executionMetadata": {
                    "tags": [{"key": name, "value": value} for name, value in (tags or {}).items()]
                },
            }
        }
        done = subprocess.run(
            [
                *(str(Path(sys.executable).parent / "dagster-graphql"), "-w", str(self.workspace)),
                *("-p", "launchPipelineExecution", "-v", json.dumps(variables)),
            ],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        answered = next(line for line in done.stdout.splitlines() if line.startswith('{"data"'))
        answer = json.loads(answered)["data"]["launchPipelineExecution"]
        assert "run" in answer, answer
        return str(answer["run"]["runId"])

    def finished(self, run_id: str, *, seconds: float = RUN_SECONDS) -> dg.DagsterRun:
        """The run, once it has ended."""

        def ended() -> dg.DagsterRun | None:
            run = self.instance.get_run_by_id(run_id)
            return run if run is not None and run.is_finished else None

        return wait_for(
            ended, f"run {run_id} ends", seconds=seconds, every=1, otherwise=lambda: self.story(run_id)
        )

    def story(self, run_id: str) -> str:
        """What the event log tells of a run, a line an event."""
        lines = []
        for entry in self.instance.all_logs(run_id):
            event = entry.dagster_event
            data = event.event_specific_data if event else None
            error = getattr(data, "error", None)
            told = (entry.user_message or (event.message if event else "") or "").splitlines()
            named = event.event_type_value if event else "LOG"
            lines.append(f"{entry.timestamp:.1f} {named} {told[:1]} {error.message if error else ''}")
        return "\n".join(lines)

    def trained_steps(self, run_id: str) -> int:
        """The number of the last step of training that the run's log tells of."""
        told = (entry.user_message for entry in self.instance.all_logs(run_id) if entry.dagster_event is None)
        return max((int(text.split()[1]) for text in told if text.startswith("step ")), default=0)

    def events(self, run_id: str, *kinds: dg.DagsterEventType) -> list[dg.DagsterEvent]:
        """The run's events of these kinds, oldest first."""
        found = (entry.dagster_event for entry in self.instance.all_logs(run_id))
        return [event for event in found if event is not None and event.event_type in kinds]

    def entries(self, run_id: str, kind: dg.DagsterEventType) -> list[dg.EventLogEntry]:
        """The run's log entries of a kind, oldest first."""
        return [
            entry
            for entry in self.instance.all_logs(run_id)
            if entry.dagster_event and entry.dagster_event.event_type is kind
        ]

    def pods(self, run_id: str, step: str | None = None) -> list[dict[str, Any]]:
        """Pods of a run; with `step`, those of one step alone."""
        labels = f"dagster/run-id={run_id}" + (f",dagster/op={step}" if step else "")
        found: Sequence[dict[str, Any]] = json.loads(self.kubectl("get", "pods", "-l", labels, "-o", "json"))[
            "items"
        ]
        return sorted(found, key=lambda pod: pod["metadata"]["creationTimestamp"])

    @property
    def ledger(self) -> Ledger:
        """The platform's ledger."""
        return Ledger.open(self.shown["PLATFORM_LEDGER_URI"], principal="tests")
