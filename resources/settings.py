"""Where everything lives and who is acting: one object, read from the environment.

Every field can be set by itself through `PLATFORM_<FIELD>` (nested: `PLATFORM_PRINCIPAL__USER`).
Secrets are never fields here: adapters take them from their own environment variables.
"""

import getpass
import os
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from resources.errors import ResourceError
from resources.git_names import canonical_repository, matches
from resources.postgres import is_postgres
from resources.row_salt import SALT_VARIABLE
from resources.spark import REMOTE_ADVICE, REMOTE_FORM, SECRET_PARAMETER, THIS_MACHINE, address_of_spark
from resources.spark_pods import SparkPods
from resources.texts import is_text, quoted

_SHARED = {
    "ledger_uri": "postgresql://user@host:5432/database",
    "catalog_uri": "postgresql://user@host:5432/database",
    "warehouse_uri": "s3://bucket/warehouse",
    "objects_uri": "s3://bucket/objects",
    "tracking_uri": "http://mlflow:5000",
}
"""What every pod must find in the same place, with an example of such a place."""
_OF_ONE_MACHINE = {"", "file", "sqlite"}
REPORTS_PORT = 3001
"""Of the report server, where nobody chooses another."""


class SettingsError(ResourceError):
    """Settings that contradict each other."""


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


class WatchedRepository(BaseModel):
    """A Git repository whose pushes retrain lines."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    """Read over https, ssh, or from a folder of this machine. Credentials are Git's own affair (a credential
    helper, an ssh agent): a password or token in here is refused."""
    branches: tuple[str, ...] = Field(default=("master", "main"), min_length=1)
    """Globs: `*` stays within a folder, `**` does not."""
    paths: tuple[str, ...] = Field(
        default=("training-spec.yaml", "models/**", "platform_assets/models/**"), min_length=1
    )
    """Globs of the files whose change matters."""
    also_named: tuple[str, ...] = ()
    """Other URLs by which webhooks name it, such as https where `url` is that of ssh on another host."""

    @field_validator("also_named")
    @classmethod
    def _name_repositories(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            _checked_name(url)
        return urls

    @field_validator("url")
    @classmethod
    def _names_a_repository(cls, url: str) -> str:
        _checked_name(url)
        if url.lower().startswith("http://"):
            raise ValueError("a repository is not read over http: anybody on the way could change it")
        scheme, _, rest = url.rpartition("://")
        user, at, _ = rest.partition("/")[0].rpartition("@")
        # A token may stand in the place of the user, or in a query.
        if (at and (scheme.lower() == "https" or ":" in user)) or "?" in url:
            raise ValueError("leave what is secret out of the URL: Git takes it from its credential helper")
        return url

    @property
    def name(self) -> str:
        """The canonical form of its URL."""
        return canonical_repository(self.url)

    @property
    def names(self) -> tuple[str, ...]:
        """Its own name, and the canonical forms of the others."""
        return (self.name, *map(canonical_repository, self.also_named))

    def watches_branch(self, branch: str) -> bool:
        """Whether pushes to this branch count."""
        return any(matches(pattern, branch) for pattern in self.branches)

    def watches_path(self, path: str) -> bool:
        """Whether a change of this file counts."""
        return any(matches(pattern, path) for pattern in self.paths)


class LockSettings(BaseSettings):
    """Where locks are: all that a process needs to know which looks after others and touches no data itself."""

    model_config = SettingsConfigDict(
        env_prefix="PLATFORM_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,  # what is refused may be a secret
    )

    home: Path = Path(".platform")
    ledger_uri: str | None = None
    """`postgresql://…` of the ledger; default: SQLite under `home`."""
    locks_uri: str | None = None
    """`postgresql://…` of the locks that machines share; default: the ledger's, or files under `home`."""

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        home = home.expanduser().resolve()
        if not is_text(str(home)):
            raise SettingsError(
                f"home (PLATFORM_HOME) is {quoted(str(home))}, which is no UTF-8: what lies there has to be named in JSON and "
                "URLs; choose another folder"
            )
        if "?" in str(home):
            # SQLAlchemy knows no escape for it in the path of a SQLite URL, and Dagster and MLflow take nothing else.
            raise SettingsError(
                f"home (PLATFORM_HOME) is {quoted(str(home))}: a SQLite URL ends its path at the `?`, so databases of Dagster "
                "and MLflow would lie outside of it; choose a folder without `?` on its way"
            )
        return home

    @property
    def locks_path(self) -> Path:
        """Lock files that serialise writers on this machine, where no database does."""
        return self.home / "locks"


class PlatformSettings(LockSettings):
    """All state lies under `home` unless a field says otherwise."""

    profile: Literal["local", "cluster"] = "local"
    """`local`: everything on this machine. `cluster`: runs are pods, and all state is shared."""
    step_pods: Literal["resources", "all"] = "resources"
    """On a cluster: `resources` gives a pod to each step that asks for resources of its own, and runs the rest
    in the run's pod; `all` gives one to every step (dagster-k8s' own executor)."""
    principal: Principal = Field(default_factory=Principal)
    catalog_uri: str | None = None
    """SQLAlchemy URL of the Iceberg catalogue, e.g. `postgresql://…`; default: SQLite under `home`."""
    warehouse_uri: str | None = None
    """Root of the table files, e.g. `s3://bucket/warehouse`; default: a folder under `home`."""
    objects_uri: str | None = None
    """Root of the object store, e.g. `s3://bucket/prefix`; default: a folder under `home`."""
    s3_endpoint: str | None = None
    """Address of an S3 server that is not AWS; for objects and table files alike."""
    s3_region: str = "us-east-1"
    tuning_uri: str | None = None
    """Where studies of tunings are kept: `sqlite:///FILE`, `postgresql://…`, or the path of a journal; default: the
    ledger's database where that is Postgres, else SQLite under `home`."""
    tracking_uri: str | None = None
    """MLflow tracking and registry, e.g. `http://mlflow:5000`; default: SQLite under `home`."""
    checkpoint_interval_seconds: float = Field(default=20.0, gt=0)
    """Training saves its state this often, or less often where saving takes long."""
    drift_versions_days: int = Field(default=7, gt=0)
    """Versions of drift tables are made every hour and go after so many days; the newest has all rows."""
    specs: tuple[Path, ...] = ()
    """Training specs to serve instead of the ones that ship with the package."""
    features_engine: Literal["local", "spark"] = "local"
    """What computes the assets of transformers: `local`, the step's own process; `spark`, Spark at `spark_remote`."""
    spark_remote: str = THIS_MACHINE
    """Where Spark computes: `sc://host:15002` (Spark Connect), `spark://host:7077`, `k8s://in-cluster` or
    `k8s://https://host:6443` (executors are pods beside this one), `local[2]`, or `local-cluster[workers,cores,megabytes]`.
    A token is Spark's own affair: `SPARK_CONNECT_AUTHENTICATE_TOKEN`."""
    spark_folder: Path | None = None
    """A folder that driver and executors see under the same path, for the rows of transformers' assets; default: one under
    `home`, where executors are processes of this machine."""
    spark_pods: SparkPods = SparkPods()
    """Executors, where they are pods, and the step that is their driver."""
    transformers: tuple[Path, ...] = ()
    """Files of feature transformers, or folders of them, to serve besides those that ship with the package."""
    reviewers: Path | None = None
    """Who may review models: a file in a Git checkout, read as it is committed there; default: the one that ships, which
    names nobody."""
    review_notice_days: float = Field(default=7.0, ge=0, allow_inf_nan=False)
    """So many days before the reviews of what is in production end, others are asked for; at most a quarter of the days that
    reviews count."""
    git_repositories: tuple[WatchedRepository, ...] = ()
    """Repositories whose pushes retrain the lines."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks of the proxies before the webhook listener, e.g. `10.42.0.0/16`: their `X-Forwarded-For` tells for
    which client a request is counted. Without them, all that a proxy passes on counts for one client."""

    reports_url: str = f"http://127.0.0.1:{REPORTS_PORT}"
    """Where people reach the report server, as their browsers are to address it; links in metadata begin with it."""
    reports_hosts: tuple[str, ...] = ()
    """Further names by which the report server may be addressed, without ports, e.g. `["reports.internal"]`. It answers to those of this machine and
    to the host of `reports_url` anyway, and to no other: a foreign name may be one that was made to point here."""

    code_url: str | None = None
    """Where a browser shows a file of this code in a commit, e.g. `https://git.acme.com/ml/platform/src/commit/{commit}/{path}`;
    default: as remote `origin` says, where that is on GitHub or GitLab."""

    @field_validator("code_url")
    @classmethod
    def _names_commit_and_path(cls, url: str | None) -> str | None:
        if url is not None and not (
            urlsplit(url).scheme in {"http", "https"} and "{commit}" in url and "{path}" in url
        ):
            raise ValueError("write https://… with {commit} and {path} where the commit and the path belong")
        if url is not None and "@" in urlsplit(url).netloc:
            raise ValueError("leave user and password out of it: it stands in every link")
        return url

    @field_validator("reports_url")
    @classmethod
    def _is_a_web_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(
                "write http://host:port, or https://host with the path that a proxy serves it under"
            )
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("leave user, password, query and fragment out of it: it stands in every link")
        return url.rstrip("/")

    @field_validator("spark_remote")
    @classmethod
    def _names_a_spark(cls, remote: str) -> str:
        try:
            known = REMOTE_FORM.fullmatch(remote) is not None
            address_of_spark(remote)
        except ValueError:
            known = False
        if not known:
            raise ValueError(REMOTE_ADVICE)
        if "@" in remote or SECRET_PARAMETER.search(remote):
            raise ValueError("leave what is secret out of it: Spark takes SPARK_CONNECT_AUTHENTICATE_TOKEN")
        return remote

    @field_validator("spark_folder")
    @classmethod
    def _is_the_same_everywhere(cls, folder: Path | None) -> Path | None:
        if folder is not None and not folder.is_absolute():
            raise ValueError("write a path that begins with /: processes of other machines find it by that")
        return folder

    @field_validator("tracking_uri")
    @classmethod
    def _names_a_server(cls, uri: str | None) -> str | None:
        # MLflow's messages repeat its address.
        if uri and urlsplit(uri).scheme in {"http", "https"} and "@" in urlsplit(uri).netloc:
            raise ValueError(
                "leave user and password out of it: MLflow takes MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD"
            )
        return uri

    @field_validator("trusted_proxies")
    @classmethod
    def _not_everybody(
        cls, networks: tuple[IPv4Network | IPv6Network, ...]
    ) -> tuple[IPv4Network | IPv6Network, ...]:
        if any(network.prefixlen == 0 for network in networks):
            raise ValueError("not everybody is a proxy to be trusted: any client could then give any address")
        return networks

    @field_validator("git_repositories")
    @classmethod
    def _each_once(cls, repositories: tuple[WatchedRepository, ...]) -> tuple[WatchedRepository, ...]:
        names = [name for repository in repositories for name in dict.fromkeys(repository.names)]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{', '.join(sorted(twice))} stands twice; keep one")
        return repositories

    @model_validator(mode="after")
    def _mounts_the_claim(self) -> Self:
        if self.spark_pods.claim is not None and self.spark_folder is None:
            raise SettingsError(
                f"spark_pods.claim (PLATFORM_SPARK_PODS__CLAIM) is {self.spark_pods.claim}, and nobody says where pods have it; set "
                "spark_folder (PLATFORM_SPARK_FOLDER, e.g. /spark)"
            )
        return self

    @model_validator(mode="after")
    def _shares_all_state(self) -> Self:
        """A pod's disk ends with the pod, and no other pod sees it."""
        if self.profile == "cluster":
            variables = {field: f"{self.model_config['env_prefix']}{field.upper()}" for field in _SHARED}
            missing = [
                f"{field} ({variables[field]}, e.g. {example})"
                for field, example in _SHARED.items()
                if _is_of_one_machine(getattr(self, field))
            ]
            if not os.environ.get(SALT_VARIABLE):
                missing.append(f"the salt of row hashes ({SALT_VARIABLE}, from a secret)")
            if missing:
                raise SettingsError(
                    "profile cluster: these would lie on a pod's disk, where other pods do not find them and "
                    f"which ends with the pod; set {'; '.join(missing)}"
                )
        return self

    @property
    def env(self) -> str:
        """The environment segment of every object key."""
        return self.principal.labels.env

    @property
    def ledger_path(self) -> Path:
        """The SQLite ledger."""
        return self.home / "ledger" / "ledger.sqlite"

    @property
    def denials_path(self) -> Path:
        """The log of denied accesses."""
        return self.home / "denials"

    @property
    def objects_path(self) -> Path:
        """The local object store."""
        return self.home / "objects"

    @property
    def dagster_home(self) -> Path:
        """`DAGSTER_HOME` of the local instance."""
        return self.home / "dagster"

    @property
    def git_path(self) -> Path:
        """Mirrors of the watched repositories."""
        return self.home / "git"

    @property
    def checkpoints_path(self) -> Path:
        """Unfinished training runs, one folder per model fingerprint."""
        return self.home / "checkpoints"

    @cached_property
    def resolved_catalog_uri(self) -> str:
        """SQLAlchemy URL of the Iceberg catalogue."""
        return self.catalog_uri or f"sqlite:///{self.home / 'warehouse' / 'catalog.sqlite'}"

    @cached_property
    def resolved_warehouse_uri(self) -> str:
        """Root of the table files; a plain path where it is a folder, since pyiceberg does not decode URIs."""
        return self.warehouse_uri or str(self.home / "warehouse")

    @cached_property
    def resolved_tuning_uri(self) -> str:
        """Where studies of tunings are kept."""
        shared = self.ledger_uri if self.ledger_uri and is_postgres(self.ledger_uri) else None
        return self.tuning_uri or shared or f"sqlite:///{self.home / 'tuning' / 'studies.sqlite'}"

    @cached_property
    def resolved_tracking_uri(self) -> str:
        """MLflow URI."""
        return self.tracking_uri or f"sqlite:///{self.home / 'mlflow' / 'mlflow.sqlite'}"


def reports_address(host: str, port: int) -> str:
    """Where a browser of this machine finds a report server that listens so."""
    if host in {"", "0.0.0.0", "::"}:  # noqa: S104 - compared, and not listened on
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _checked_name(url: str) -> str:
    try:
        return canonical_repository(url)
    except ResourceError as problem:
        raise ValueError(str(problem)) from None


def _is_of_one_machine(uri: str | None) -> bool:
    """Whether it is a path, or names one."""
    return urlsplit(uri or "").scheme.partition("+")[0] in _OF_ONE_MACHINE
