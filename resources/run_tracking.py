"""Experiment tracking of a training step, through dagster-mlflow.

dagster-mlflow is an old-style resource that opens an MLflow run as soon as it is initialised, in every
process that initialises it. Training alone tracks anything, and not when finished weights are reused, so
its `MlFlow` object is made here on demand (docs/adr/0006).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Protocol

from resources.model_registry import prepared

_IDENTITY_TAG = "model_fingerprint"


class TrackedRun(Protocol):
    """One tracked run: what training tells about itself."""

    @property
    def run_id(self) -> str:
        """The tracker's own id of this run."""
        ...

    def params(self, values: dict[str, Any]) -> None:
        """Record the resolved configuration."""
        ...

    def metrics(self, values: dict[str, float], *, step: int) -> None:
        """Record measurements at an optimizer step."""
        ...


class _MlflowRun:
    def __init__(self, mlflow: Any) -> None:
        self._mlflow = mlflow

    @property
    def run_id(self) -> str:
        return str(self._mlflow.active_run().info.run_id)

    def params(self, values: dict[str, Any]) -> None:
        self._mlflow.log_params(values)

    def metrics(self, values: dict[str, float], *, step: int) -> None:
        self._mlflow.log_metrics(values, step=step)


class RunTracking:
    """Opens one MLflow run for each model; a training that was killed and goes on finds the run it began."""

    def __init__(self, tracking_uri: str) -> None:
        self._tracking_uri = tracking_uri

    @contextmanager
    def run(
        self, context: Any, *, experiment: str, identity: str, tags: dict[str, str]
    ) -> Iterator[TrackedRun]:
        """The tracked run of the model with this identity; it ends FINISHED, or FAILED on an error.

        Args:
            context: of the Dagster step that trains.
            experiment: MLflow experiment.
            identity: what tells this training from every other; the same after a kill.
            tags: set on the run.
        """
        from dagster_mlflow.resources import MlFlow
        from mlflow.entities import RunStatus

        mlflow = MlFlow(
            SimpleNamespace(
                log=context.log,
                dagster_run=context.run,
                run_id=context.run.run_id,
                resource_config={
                    "experiment_name": experiment,
                    "mlflow_tracking_uri": prepared(self._tracking_uri),
                    "mlflow_run_id": self._begun(experiment, identity),
                    "env": {},
                    "extra_tags": {_IDENTITY_TAG: identity, **tags},
                },
            )
        )
        try:
            yield _MlflowRun(mlflow)
        except BaseException:
            mlflow.end_run(status=RunStatus.to_string(RunStatus.FAILED))
            raise
        mlflow.end_run()

    def _begun(self, experiment: str, identity: str) -> str | None:
        """Id of the run that an earlier process began for this training."""
        from mlflow import MlflowClient

        client = MlflowClient(prepared(self._tracking_uri))
        known = client.get_experiment_by_name(experiment)
        if known is None:
            return None
        found = client.search_runs(
            [known.experiment_id], f"tags.{_IDENTITY_TAG} = '{identity}'", max_results=1
        )
        return str(found[0].info.run_id) if found else None
