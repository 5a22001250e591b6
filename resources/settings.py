"""Where everything lives and who is acting: one object, read from the environment.

Every field can be set by itself through `PLATFORM_<FIELD>` (nested: `PLATFORM_PRINCIPAL__USER`).
Secrets are never fields here: adapters take them from their own environment variables.
"""

import getpass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class PrincipalLabels(BaseModel):
    """Attributes that policies compare with an object's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env: str = Field(default="dev", pattern=r"^[a-z][a-z0-9-]*$")
    region: str | None = None


class Principal(BaseModel):
    """In whose name this process acts; every ledger entry carries `user`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: str = Field(default_factory=getpass.getuser, min_length=1)
    groups: tuple[str, ...] = ("ml-engineers",)
    labels: PrincipalLabels = PrincipalLabels()
    roles: tuple[str, ...] = ("trainer",)
    """What this process does: `trainer` and `retention` write and delete objects."""
    consent: bool = True


class PlatformSettings(BaseSettings):
    """All state lies under `home` unless a field says otherwise."""

    model_config = SettingsConfigDict(
        env_prefix="PLATFORM_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    profile: Literal["local", "cluster"] = "local"
    """`local`: steps are processes of this machine. `cluster`: steps become pods."""
    home: Path = Path(".platform")
    principal: Principal = Field(default_factory=Principal)
    catalog_uri: str | None = None
    """SQLAlchemy URL of the Iceberg catalogue; default: SQLite under `home`."""
    warehouse_uri: str | None = None
    """Root of the table files, e.g. `s3://bucket/warehouse`; default: a folder under `home`."""
    objects_uri: str | None = None
    """Root of the object store, e.g. `s3://bucket/prefix`; default: a folder under `home`."""
    s3_endpoint: str | None = None
    """Address of an S3 server that is not AWS; for objects and table files alike."""
    s3_region: str = "us-east-1"
    ledger_uri: str | None = None
    """`postgresql://…` of the ledger; default: SQLite under `home`."""
    tracking_uri: str | None = None
    """MLflow tracking and registry; default: SQLite under `home`."""
    specs: tuple[Path, ...] = ()
    """Training specs to serve instead of the ones that ship with the package."""

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().resolve()

    @property
    def env(self) -> str:
        """The environment segment of every object key."""
        return self.principal.labels.env

    @property
    def ledger_path(self) -> Path:
        """The SQLite ledger."""
        return self.home / "ledger" / "ledger.sqlite"

    @property
    def objects_path(self) -> Path:
        """The local object store."""
        return self.home / "objects"

    @property
    def dagster_home(self) -> Path:
        """`DAGSTER_HOME` of the local instance."""
        return self.home / "dagster"

    @property
    def checkpoints_path(self) -> Path:
        """Unfinished training runs, one folder per model fingerprint."""
        return self.home / "checkpoints"

    @property
    def locks_path(self) -> Path:
        """Lock files that serialise writers on this machine."""
        return self.home / "locks"

    @cached_property
    def resolved_catalog_uri(self) -> str:
        """SQLAlchemy URL of the Iceberg catalogue."""
        return self.catalog_uri or f"sqlite:///{self.home / 'warehouse' / 'catalog.sqlite'}"

    @cached_property
    def resolved_warehouse_uri(self) -> str:
        """Root of the table files; a plain path where it is a folder, since pyiceberg does not decode URIs."""
        return self.warehouse_uri or str(self.home / "warehouse")

    @cached_property
    def resolved_tracking_uri(self) -> str:
        """MLflow URI."""
        return self.tracking_uri or f"sqlite:///{self.home / 'mlflow' / 'mlflow.sqlite'}"
