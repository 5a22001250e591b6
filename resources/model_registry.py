"""Model versions with their provenance, registered once per fingerprint (MLflow)."""

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import Any, Final, Literal, Protocol

from resources.errors import ResourceError
from resources.locks import Locks
from resources.mlflow_file import make_whole

Stage = Literal["Staging", "Production", "Archived"]
"""As MLflow writes them."""
FINGERPRINT_TAG = "fingerprint"
_LOCK_TIMEOUT_SECONDS = 600
_NO_STAGES: Final = frozenset({"ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED"})
"""What a server answers that has stages no more."""
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "30", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
"""MLflow's own are 120 s and seven more attempts: a quarter of an hour with a server that accepts and never answers."""


class RegistryError(ResourceError):
    """The registry refused, or holds something that contradicts what is asked."""


class RegistryUnreachableError(RegistryError):
    """The registry does not answer, or says that it cannot just now."""

    passes = True


@dataclass(frozen=True, slots=True)
class ShownVersion:
    """What a registry shows of one version."""

    stage: str | None
    """`None`, `Staging`, `Production` or `Archived`, each a text; None where the server has no stages."""
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ShownModel:
    """What a registry shows of a model."""

    versions: Mapping[int, ShownVersion]
    """By number; none where it does not know the model."""
    aliases: Mapping[str, int]
    """Number by alias."""


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

    def unpoint(self, name: str, alias: str) -> None:
        """Let `alias` name no version any more."""
        ...

    def shown(self, name: str) -> ShownModel:
        """What it shows of a model."""
        ...

    def transition(self, name: str, number: int, stage: Stage) -> None:
        """Bring a version into a stage, where the server has stages.

        Whichever version was in production or in staging before is archived in the same act.
        """
        ...

    def moving(self, name: str) -> AbstractContextManager[object]:
        """Holds apart all who compare what a model shows and change it."""
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

    def unpoint(self, name: str, alias: str) -> None:
        """See `ModelRegistry.unpoint`."""
        with _explained(f"alias {alias} of model {name} cannot be removed"):
            self._client.delete_registered_model_alias(name, alias)

    def shown(self, name: str) -> ShownModel:
        """See `ModelRegistry.shown`."""
        from mlflow.exceptions import MlflowException

        with _explained(f"model {name} cannot be looked up"):
            try:
                aliases = self._client.get_registered_model(name).aliases
            except MlflowException as problem:
                if problem.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return ShownModel({}, {})
            versions = {
                int(each.version): ShownVersion(getattr(each, "current_stage", None) or None, each.tags)
                for each in self._versions(name)
            }
        return ShownModel(versions, {alias: int(number) for alias, number in aliases.items()})

    def _versions(self, name: str) -> Iterator[Any]:
        page = None
        while page is None or page.token:
            page = self._client.search_model_versions(
                f"name = '{name}'", page_token=page.token if page else None
            )
            yield from page

    def transition(self, name: str, number: int, stage: Stage) -> None:
        """See `ModelRegistry.transition`."""
        from mlflow.exceptions import MlflowException

        act = getattr(self._client, "transition_model_version_stage", None)
        if act is None:
            return
        with (
            _explained(f"version {number} of model {name} cannot be brought into stage {stage}"),
            warnings.catch_warnings(),
        ):
            # Each call says that stages will be removed one day; aliases and tags are there for that day.
            warnings.simplefilter("ignore", FutureWarning)
            try:
                act(name, str(number), stage, archive_existing_versions=stage != "Archived")
            except MlflowException as problem:
                if problem.error_code not in _NO_STAGES:
                    raise

    def moving(self, name: str) -> AbstractContextManager[object]:
        """See `ModelRegistry.moving`."""
        return self._locks.hold(f"registry-{name}", timeout_seconds=_LOCK_TIMEOUT_SECONDS)

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
