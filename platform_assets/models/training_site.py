"""Where one model is trained: in this process, in one process for each GPU of this machine, or on several nodes."""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from platform_assets.models.checkpoints import FolderCheckpoints
from platform_assets.models.distributed import TRAINING_MODULE, JobRunner, training_job
from platform_assets.models.errors import TrainingError
from platform_assets.models.hardware import Hardware, usable_gpus
from platform_assets.models.job_files import JobFiles, JobInputs, files_prefix
from platform_assets.models.spec import ModelSpec
from platform_assets.models.trainer import AnyTrainer, ProgressCallback, TrainingResult
from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings

_GRACE_SECONDS: Final = 25.0
"""For processes that are asked to end; Kubernetes waits 30 s for all of it."""

log = logging.getLogger(__name__)


class TrainingSite:
    """Where one model is trained. What lies there outlives a killed step, and goes once the model is whole."""

    def __init__(self, outside: OutsideSystems, *, prefix: str) -> None:
        """Touches nothing yet.

        Args:
            outside: keeps what must outlive a pod, or reach another process; others are started with its settings.
            prefix: key of the model's files, `models/<env>/<line>/<version>`.
        """
        self._outside = outside
        self._settings = outside.settings
        self._files = JobFiles(outside.object_store, files_prefix(prefix))
        self._scratch = self._settings.checkpoints_path / PurePosixPath(prefix).name

    def train(
        self,
        inputs: JobInputs,
        trainer: AnyTrainer,
        spec: ModelSpec,
        *,
        on_progress: ProgressCallback,
    ) -> TrainingResult:
        """Train where the spec's resources and this machine say.

        Args:
            inputs: what to train on, and how.
            trainer: of the inputs' task.
            spec: names nodes and GPUs, and what a pod of them needs.
            on_progress: told of each report; by other processes, when they have ended.

        Raises:
            TrainingError: training cannot start or went wrong.
        """
        nodes, on_cluster = spec.resources.nodes, self._settings.profile == "cluster"
        if nodes > 1 and on_cluster:
            runner: JobRunner = self._outside.job_runner()
            manifests = training_job(
                spec, prefix=self._files.prefix, image=runner.image, namespace=runner.namespace
            )
            return self._train_elsewhere(inputs, lambda: runner.run(manifests), on_progress)
        if nodes > 1:
            log.warning("the spec asks for %s nodes and this is one machine: training on it alone", nodes)
        processes = usable_gpus(inputs.config.gpu)
        if processes > 1:
            return self._train_elsewhere(inputs, lambda: self._launch(processes), on_progress)
        return trainer.fit(
            inputs.rows,
            inputs.config,
            output=self._scratch / "model",
            checkpoints=(
                self._files.checkpoints(inputs.source_commit)
                if on_cluster
                else FolderCheckpoints(self._scratch)
            ),
            checkpoint_interval_seconds=self._settings.checkpoint_interval_seconds,
            on_progress=on_progress,
        )

    def clear(self) -> None:
        """Remove what is left of the training."""
        self._files.clear()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _launch(self, processes: int) -> None:
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *(f"--nproc-per-node={processes}", "-m", TRAINING_MODULE),
            *("--attached", "--job", self._files.prefix),
        ]
        run_attached(command, environment_of(self._settings, os.environ))

    def _train_elsewhere(
        self, inputs: JobInputs, launch: Callable[[], None], on_progress: ProgressCallback
    ) -> TrainingResult:
        # They may have ended well after this step was lost, in an attempt before this one.
        outcome = self._files.result()
        if outcome is None:
            outside = self._outside
            self._files.put_inputs(inputs, ledger=outside.ledger, salt=outside.salt, locks=outside.locks)
            launch()
            outcome = self._files.result()
        if outcome is None:
            raise TrainingError(
                f"the processes that train {self._files.prefix} ended without a result; their log says why"
            )
        output = self._scratch / "model"
        shutil.rmtree(output, ignore_errors=True)
        shutil.copytree(self._files.model(), output)
        for report in outcome.pop("progress"):
            on_progress(int(report.pop("step")), report)
        return TrainingResult(**outcome | {"output": output, "hardware": Hardware(**outcome["hardware"])})


def run_attached(command: list[str], environment: Mapping[str, str]) -> None:
    """Run a command that ends with this process: when this one is asked to end, and when it is killed.

    Raises:
        TrainingError: it does not end well.
    """
    # Its standard input ends when this process does, in whatever way.
    with subprocess.Popen(command, env=dict(environment), stdin=subprocess.PIPE) as process:
        try:
            status = process.wait()
        except BaseException:
            process.terminate()
            try:
                process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    if status:
        raise TrainingError(f"the training processes ended with {status}; the log above says why")


def environment_of(settings: PlatformSettings, environment: Mapping[str, str]) -> dict[str, str]:
    """An environment whose processes have these settings, and of the given one all that is no setting."""
    names = {f"PLATFORM_{field.upper()}" for field in type(settings).model_fields}
    kept = {name: value for name, value in environment.items() if name.partition("__")[0] not in names}
    values: dict[str, Any] = settings.model_dump(mode="json", exclude_none=True)
    return kept | {
        f"PLATFORM_{field.upper()}": value if isinstance(value, str) else json.dumps(value)
        for field, value in values.items()
    }
