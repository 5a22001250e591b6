"""Model versions with their provenance, registered once per fingerprint (MLflow)."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from http import HTTPStatus
from typing import Any, Protocol

from resources.errors import ResourceError
from resources.locks import Locks
from resources.mlflow_file import make_whole

FINGERPRINT_TAG = "fingerprint"
_LOCK_TIMEOUT_SECONDS = 600
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "30", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
"""MLflow's own are 120 s and seven more attempts: a quarter of an hour with a server that accepts and never answers."""


class RegistryError(ResourceError):
    """The registry refused, or holds something that contradicts what is asked."""


class RegistryUnreachableError(RegistryError):
    """The registry does not answer, or says that it cannot just now."""

    passes = True


class ModelRegistry(Protocol):
    """The contract of every registry."""

    def register(
        self, name: str, *, fingerprint: str, source: str, run_id: str, tags: Mapping[str, str]
    ) -> int:
        """The version number of the model with this fingerprint, registering it where it is new.

        Args:
            name: of the model.
            fingerprint: of this version.
            source: where its files are.
            run_id: the tracker's, of the training; empty where the tracker never answered.
            tags: set on the version.
        """
        ...

    def find(self, name: str, fingerprint: str) -> int | None:
        """The version number registered for this fingerprint."""
        ...

    def tag(self, name: str, number: int, tags: Mapping[str, str]) -> None:
        """Set tags on a version."""
        ...

    def point(self, name: str, alias: str, number: int) -> None:
        """Let `alias` name this version."""
        ...


class MlflowRegistry:
    """MLflow's registry; a lock makes find-then-register one act, which MLflow itself does not offer.

    Args:
        tracking_uri: `http://…` of an MLflow server, or the SQLAlchemy URL of a registry without one.
        locks: must reach as far as the registry does.
    """

    def __init__(self, tracking_uri: str, *, locks: Locks) -> None:
        self._tracking_uri = tracking_uri
        self._locks = locks

    @cached_property
    def _client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=prepared(self._tracking_uri), registry_uri=self._tracking_uri)

    def register(
        self, name: str, *, fingerprint: str, source: str, run_id: str, tags: Mapping[str, str]
    ) -> int:
        """See `ModelRegistry.register`."""
        with self._locks.hold("registry", timeout_seconds=_LOCK_TIMEOUT_SECONDS):
            existing = self.find(name, fingerprint)
            if existing is not None:
                self.tag(name, existing, tags)
                return existing
            with _explained(f"model {name} cannot be registered"):
                self._ensure_model(name)
                # Tags travel with the creation: a killed process cannot leave a version without a fingerprint.
                created = self._client.create_model_version(
                    name, source, run_id=run_id or None, tags={FINGERPRINT_TAG: fingerprint, **tags}
                )
            return int(created.version)

    def find(self, name: str, fingerprint: str) -> int | None:
        """See `ModelRegistry.find`."""
        with _explained(f"versions of model {name} cannot be looked up"):
            found = self._client.search_model_versions(
                f"name = '{name}' and tags.{FINGERPRINT_TAG} = '{fingerprint}'"
            )
        if len(found) > 1:
            numbers = ", ".join(sorted(str(version.version) for version in found))
            raise RegistryError(
                f"model {name}: versions {numbers} carry one fingerprint {fingerprint}; delete all but one"
            )
        return int(found[0].version) if found else None

    def tag(self, name: str, number: int, tags: Mapping[str, str]) -> None:
        """See `ModelRegistry.tag`."""
        with _explained(f"version {number} of model {name} cannot be tagged"):
            for key, value in tags.items():
                self._client.set_model_version_tag(name, str(number), key, value)

    def point(self, name: str, alias: str, number: int) -> None:
        """See `ModelRegistry.point`."""
        with _explained(f"alias {alias} cannot be set to version {number} of model {name}"):
            self._client.set_registered_model_alias(name, alias, str(number))

    def _ensure_model(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.get_registered_model(name)
        except MlflowException as problem:
            if problem.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            self._client.create_registered_model(name)


@contextmanager
def _explained(failure: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as problem:
        # What never came to an answer has the code of an internal error, as have errors of the server.
        passes = problem.get_http_status_code() >= HTTPStatus.INTERNAL_SERVER_ERROR
        raise (RegistryUnreachableError if passes else RegistryError)(
            f"{failure}: {problem}; check PLATFORM_TRACKING_URI, MLFLOW_TRACKING_…, and that the server runs, "
            "then run again: what is done is not done twice"
        ) from problem


def prepared(tracking_uri: str) -> str:
    """The URI itself, once a SQLite store of it exists, MLflow's log is quiet and its patience has an end."""
    import logging

    for variable, value in _PATIENCE.items():
        os.environ.setdefault(variable, value)

    # A fresh SQLite store logs each of its schema migrations, every new experiment and every new version; and errors
    # of the database, with their traces, before it raises them.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    for name in (
        "alembic",
        "mlflow.store.model_registry.abstract_store",
        "mlflow.tracking.fluent",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    make_whole(tracking_uri)
    return tracking_uri
