"""Every outside system that the settings name: whether it answers, of which version, and what its clock says.

Each is only read, and made nowhere: what a first run would make is told as not there yet.
"""

import base64
import os
import sqlite3
import ssl
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from platform_assets.doctor.configuration import shown_uri
from platform_assets.doctor.findings import OWN_PATIENCE_SECONDS, Finding, Probe, one_line
from platform_assets.ledger.glance import glance
from resources.git_remote import GitRemoteError, MirroredRemote
from resources.postgres import address_of, is_postgres
from resources.settings import PlatformSettings
from resources.spark import (
    JAVA_ADVICE,
    OLDEST_JAVA,
    address_of_spark,
    java_version,
    needs_java,
    refuse_unreachable,
    server_version,
    shown_remote,
    spark_lacks,
)
from resources.sqlite_files import read_only_uri

_SYSTEMS: Final = "systems"
_ADVICE_POSTGRES: Final = (
    "see that the server runs and can be reached from here (pg_isready), and that PGPASSWORD is right"
)
_ADVICE_S3: Final = "see that the server runs at PLATFORM_S3_ENDPOINT, and that AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are its own"
_ADVICE_MLFLOW: Final = "see that the server runs at PLATFORM_TRACKING_URI, and MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
_ADVICE_SPARK: Final = "see that the server runs at PLATFORM_SPARK_REMOTE and can be reached from here"
_ADVICE_SPARK_FOLDER: Final = (
    "name a folder that executors and the steps of transformers' assets have under the same path"
)
_ADVICE_GIT: Final = "see that it can be reached and that Git has credentials for it: git ls-remote says more"
_ADVICE_FILE: Final = "restore it from a copy; nothing else knows what stood in it"
_OTHER_DRIVER: Final = "+"


def probes_of_systems(settings: PlatformSettings, environment: Mapping[str, str]) -> list[Probe]:
    """A probe for each system that the settings name.

    Args:
        settings: Name them.
        environment: Names Dagster's own home, and has the credentials of libraries.
    """
    return [
        Probe(_SYSTEMS, "ledger", lambda: _ledger(settings), _ADVICE_POSTGRES if settings.ledger_uri else _ADVICE_FILE),
        Probe(_SYSTEMS, "locks", lambda: _locks(settings), _ADVICE_POSTGRES),
        Probe(_SYSTEMS, "dagster storage", lambda: _dagster(settings, environment), _ADVICE_POSTGRES),
        Probe(_SYSTEMS, "catalogue", lambda: _catalogue(settings), _ADVICE_POSTGRES),
        Probe(_SYSTEMS, "warehouse", lambda: _files("warehouse", settings.warehouse_uri, settings.home / "warehouse", settings), _ADVICE_S3),
        Probe(_SYSTEMS, "objects", lambda: _files("objects", settings.objects_uri, settings.objects_path, settings), _ADVICE_S3),
        Probe(_SYSTEMS, "policy", _policy, "install again, or correct k8s/policy/minio_authz.rego"),
        Probe(_SYSTEMS, "spark", lambda: _spark(settings), _ADVICE_SPARK),
        Probe(_SYSTEMS, "mlflow", lambda: _mlflow(settings, environment), _ADVICE_MLFLOW),
        *(
            Probe(_SYSTEMS, f"git {each.name}", lambda each=each: _git(each.url, f"git {each.name}"), _ADVICE_GIT)  # type: ignore[misc]
            for each in settings.git_repositories
        ),
    ]  # fmt: skip


# --- Databases -----------------------------------------------------------------------------------------


def _ledger(settings: PlatformSettings) -> Iterator[Finding]:
    if settings.ledger_uri:
        server = list(_postgres("ledger", settings.ledger_uri))
        yield from server
        if any(each.status == "problem" for each in server):
            return
    found = glance(settings.ledger_uri or settings.ledger_path)
    where = "in Postgres" if settings.ledger_uri else str(settings.ledger_path)
    if found is None:
        yield Finding(_SYSTEMS, "ledger", "ok", f"none {where} yet: the first run makes it")
    elif found.problem:
        yield Finding(
            _SYSTEMS,
            "ledger",
            "problem",
            f"{where} is damaged: {one_line(found.problem)}",
            "platform-assets ledger verify names the first bad entry; restore the ledger from a copy",
        )
    else:
        read = (
            f"the newest {found.read:,} of {found.entries:,}"
            if found.read < found.entries
            else f"{found.entries:,}"
        )
        rest = "; platform-assets ledger verify reads all" if found.read < found.entries else ""
        # An entry cannot be of the future; that it is of the past says nothing.
        ahead = (found.newest_at - datetime.now(UTC)).total_seconds() if found.newest_at else 0.0
        yield Finding(
            _SYSTEMS,
            "ledger",
            "ok",
            f"{where}: {read} entries, one chain{rest}",
            skew_seconds=ahead if ahead > 0 else None,
        )


def _locks(settings: PlatformSettings) -> Iterator[Finding]:
    uri = settings.locks_uri or settings.ledger_uri
    if settings.locks_uri:
        yield from _postgres("locks", settings.locks_uri)
    elif uri:
        yield Finding(_SYSTEMS, "locks", "ok", "in the ledger's database")
    else:
        yield Finding(_SYSTEMS, "locks", "ok", f"files of this machine, {settings.locks_path}")


def _catalogue(settings: PlatformSettings) -> Iterator[Finding]:
    uri = settings.resolved_catalog_uri
    scheme, _, rest = uri.partition("://")
    dialect = scheme.partition(_OTHER_DRIVER)[0]
    if dialect in {"postgresql", "postgres"}:
        yield from _postgres("catalogue", f"{dialect}://{rest}", count="iceberg_tables")
    elif dialect == "sqlite":
        yield from _sqlite("catalogue", Path(rest.removeprefix("/")), count="iceberg_tables")
    else:
        yield Finding(_SYSTEMS, "catalogue", "not used", f"{shown_uri(uri)}: not looked at")


def _dagster(settings: PlatformSettings, environment: Mapping[str, str]) -> Iterator[Finding]:
    home = Path(environment.get("DAGSTER_HOME") or settings.dagster_home)
    file = home / "dagster.yaml"
    try:
        said = _yaml(file)
    except Exception as problem:  # noqa: BLE001 - whatever is wrong with it, Dagster cannot read it either
        yield Finding(
            _SYSTEMS,
            "dagster storage",
            "problem",
            f"{file}: {one_line(problem)}",
            "correct it: Dagster reads it, too",
        )
        return
    storage = said.get("storage") or {}
    if "run_storage" in said or not storage.keys() <= {"postgres", "sqlite"}:
        yield Finding(
            _SYSTEMS, "dagster storage", "not used", f"{file} names another kind of storage: not looked at"
        )
        return
    database = storage.get("postgres") or {}
    if not database:
        base = Path(_resolved((storage.get("sqlite") or {}).get("base_dir") or str(home), environment))
        yield from _sqlite("dagster storage", base / "history" / "runs.db", count="runs", called="runs")
        return
    where = "Postgres"
    if isinstance(database.get("postgres_url"), str | dict):
        address = _resolved(database["postgres_url"], environment)
    else:
        parts = {name: _resolved(each, environment) for name, each in database.get("postgres_db", {}).items()}
        address = " ".join(
            f"{keyword}={_quoted(parts[name])}"
            for name, keyword in (("hostname", "host"), ("port", "port"), ("username", "user"), ("password", "password"), ("db_name", "dbname"))
            if parts.get(name)
        )  # fmt: skip
        where = shown_uri(
            f"postgresql://{parts.get('hostname', '')}:{parts.get('port', '')}/{parts.get('db_name', '')}"
        )
    yield from _postgres("dagster storage", address, count="runs", called="runs", where=where)


def _postgres(
    subject: str, uri: str, *, count: str = "", called: str = "tables", where: str = "Postgres"
) -> Iterator[Finding]:
    """Server, version and clock; how many rows one of its tables has, where it is there."""
    if find_spec("psycopg2") is None:
        yield Finding(
            _SYSTEMS, subject, "problem", "Postgres needs psycopg2", "pip install 'platform-assets[cluster]'"
        )
        return
    import psycopg2

    address = (address_of(uri) if is_postgres(uri) else None) or where
    begun = time.time()
    options = f"-c statement_timeout={OWN_PATIENCE_SECONDS}s -c default_transaction_read_only=on"
    try:
        with closing(
            psycopg2.connect(uri, connect_timeout=OWN_PATIENCE_SECONDS, options=options)
        ) as connection:
            cursor = connection.cursor()
            begun = time.time()
            cursor.execute("SELECT current_setting('server_version'), extract(epoch FROM clock_timestamp())")
            server, clock = cursor.fetchone()
            skew = _skew(float(clock), begun)
            rows = ""
            if count:
                cursor.execute("SELECT to_regclass(%s)", (count,))
                if cursor.fetchone() == (None,):
                    rows = f", without {called} yet"
                else:
                    cursor.execute(f"SELECT count(*) FROM {count}")  # noqa: S608 - names of ours
                    rows = f", {_counted(cursor.fetchone()[0], called)}"
    except psycopg2.Error as problem:
        hangs = "timeout" in str(problem) and time.time() - begun > OWN_PATIENCE_SECONDS - 1
        told = (
            f"hangs: it takes connections and does not answer within {OWN_PATIENCE_SECONDS} s"
            if hangs
            else one_line(problem)
        )
        yield Finding(_SYSTEMS, subject, "problem", f"{address}: {told}", _ADVICE_POSTGRES)
        return
    yield Finding(_SYSTEMS, subject, "ok", f"{address}, version {one_line(server)}{rows}", skew_seconds=skew)


def _sqlite(subject: str, file: Path, *, count: str, called: str = "tables") -> Iterator[Finding]:
    if not file.exists():
        yield Finding(_SYSTEMS, subject, "ok", f"no {file} yet: the first run makes it")
        return
    try:
        with closing(
            sqlite3.connect(read_only_uri(file), uri=True, timeout=OWN_PATIENCE_SECONDS)
        ) as connection:
            ((there,),) = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = ?", (count,))
            rows = connection.execute(f"SELECT count(*) FROM {count}").fetchone()[0] if there else 0  # noqa: S608 - names of ours
    except sqlite3.Error as problem:
        yield Finding(_SYSTEMS, subject, "problem", f"{file}: {one_line(problem)}", _ADVICE_FILE)
        return
    yield Finding(_SYSTEMS, subject, "ok", f"{file}, {_counted(rows, called)}")


# --- Stores and servers --------------------------------------------------------------------------------


def _files(subject: str, uri: str | None, folder: Path, settings: PlatformSettings) -> Iterator[Finding]:
    """A bucket, or a folder of this machine."""
    parts = urlsplit(uri or "")
    if uri and parts.scheme == "s3":
        yield from _bucket(subject, parts.netloc, parts.path.strip("/"), settings)
        return
    if uri and parts.scheme not in {"", "file"}:
        yield Finding(_SYSTEMS, subject, "not used", f"{shown_uri(uri)}: not looked at")
        return
    folder = Path(parts.path) if uri else folder
    if not folder.exists():
        yield Finding(_SYSTEMS, subject, "ok", f"no {folder} yet: the first run makes it")
    elif not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(
            _SYSTEMS,
            subject,
            "problem",
            f"{folder} cannot be read and written",
            f"ls -ld {folder} says whose it is",
        )
    else:
        yield Finding(_SYSTEMS, subject, "ok", str(folder))


def _bucket(subject: str, bucket: str, prefix: str, settings: PlatformSettings) -> Iterator[Finding]:
    """A list of one key: whether it answers, lets us in, and what time it has."""
    if find_spec("boto3") is None:
        yield Finding(
            _SYSTEMS, subject, "problem", "S3 needs boto3", "pip install 'platform-assets[cluster]'"
        )
        return
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, ReadTimeoutError

    where = f"s3://{bucket}{f'/{prefix}' if prefix else ''} at {shown_uri(settings.s3_endpoint) if settings.s3_endpoint else 'AWS'}"
    patience = Config(
        connect_timeout=OWN_PATIENCE_SECONDS,
        read_timeout=OWN_PATIENCE_SECONDS - 1,
        retries={"max_attempts": 0, "mode": "standard"},
    )
    try:
        client = boto3.Session().client(
            "s3", endpoint_url=settings.s3_endpoint, region_name=settings.s3_region, config=patience
        )
        begun = time.time()
        told = client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/" if prefix else "", MaxKeys=1)
    except (ConnectTimeoutError, ReadTimeoutError) as problem:
        yield Finding(_SYSTEMS, subject, "problem", f"{where} hangs: {one_line(problem)}", _ADVICE_S3)
        return
    except (ClientError, BotoCoreError, ValueError) as problem:
        yield Finding(_SYSTEMS, subject, "problem", f"{where}: {one_line(problem)}", _ADVICE_S3)
        return
    headers = told["ResponseMetadata"]["HTTPHeaders"]
    holds = "holds objects" if told.get("KeyCount") else "empty"
    server = f", {one_line(headers['server'])}" if headers.get("server") else ""
    yield Finding(
        _SYSTEMS,
        subject,
        "ok",
        f"{where}{server}, {holds}",
        skew_seconds=_skew_of(headers.get("date"), begun),
    )


def _policy() -> Iterator[Finding]:
    from resources.policy_engine import RegoEngine, policy_file

    RegoEngine()  # decides known cases, or refuses
    yield Finding(
        _SYSTEMS,
        "policy",
        "ok",
        f"{policy_file().name} decides its known cases, by regopy {version('regopy')}",
    )


def _spark(settings: PlatformSettings) -> Iterator[Finding]:
    """Only where it was asked for: without it, this machine is as good a one as with it."""
    computes_assets = settings.features_engine == "spark"
    if not computes_assets and "spark_remote" not in settings.model_fields_set:
        yield Finding(_SYSTEMS, "spark", "not used", "PLATFORM_SPARK_REMOTE names none")
        return
    remote = settings.spark_remote
    if computes_assets and settings.spark_folder is None and address_of_spark(remote) is not None:
        yield Finding(_SYSTEMS, "spark", "problem", "PLATFORM_SPARK_FOLDER is not set", _ADVICE_SPARK_FOLDER)
        return
    if lack := spark_lacks():
        yield Finding(_SYSTEMS, "spark", "problem", *lack)
        return
    told = f"pyspark {version('pyspark')}"
    if needs_java(remote):
        found = java_version(patience_seconds=OWN_PATIENCE_SECONDS)
        if found is None:
            yield Finding(_SYSTEMS, "spark", "problem", "no Java answers", JAVA_ADVICE)
            return
        if found < OLDEST_JAVA:
            yield Finding(_SYSTEMS, "spark", "problem", f"Java {found} is too old", JAVA_ADVICE)
            return
        told = f"{told}, Java {found}"
    refuse_unreachable(remote)
    server = server_version(remote)
    where = f"{shown_remote(remote)}, version {one_line(server)}" if server else shown_remote(remote)
    yield Finding(_SYSTEMS, "spark", "ok", f"{where}, {told}")


def _mlflow(settings: PlatformSettings, environment: Mapping[str, str]) -> Iterator[Finding]:
    uri = settings.resolved_tracking_uri
    if uri.startswith("sqlite:///"):
        yield from _sqlite(
            "mlflow", Path(uri.removeprefix("sqlite:///")), count="model_versions", called="model versions"
        )
        return
    if urlsplit(uri).scheme not in {"http", "https"}:
        yield Finding(_SYSTEMS, "mlflow", "not used", f"{shown_uri(uri)}: not looked at")
        return
    user, password = environment.get("MLFLOW_TRACKING_USERNAME"), environment.get("MLFLOW_TRACKING_PASSWORD")
    request = urllib.request.Request(f"{uri.rstrip('/')}/version")  # noqa: S310 - http or https, as was just looked at
    if user and password:
        credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {credentials}")
    elif token := environment.get("MLFLOW_TRACKING_TOKEN"):
        request.add_header("Authorization", f"Bearer {token}")
    begun = time.time()
    try:
        with urllib.request.urlopen(  # noqa: S310
            request, timeout=OWN_PATIENCE_SECONDS, context=_trusted(environment)
        ) as answer:
            server, date = one_line(answer.read(64).decode(errors="replace")), answer.headers.get("Date")
    except OSError as problem:
        hangs = "timed out" in str(problem)
        told = f"hangs: no answer within {OWN_PATIENCE_SECONDS} s" if hangs else one_line(problem)
        yield Finding(_SYSTEMS, "mlflow", "problem", f"{shown_uri(uri)}: {told}", _ADVICE_MLFLOW)
        return
    skew = _skew_of(date, begun)
    with suppress(PackageNotFoundError):
        client = version("mlflow")
        if server.split(".")[0] != client.split(".")[0]:
            yield Finding(
                _SYSTEMS, "mlflow", "warning", f"{shown_uri(uri)} is version {server}, the client {client}",
                "bring both to the same major version", skew,
            )  # fmt: skip
            return
    yield Finding(_SYSTEMS, "mlflow", "ok", f"{shown_uri(uri)}, version {server}", skew_seconds=skew)


def _trusted(environment: Mapping[str, str]) -> ssl.SSLContext:
    """The certificates that MLflow's own client would trust."""
    file = environment.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or environment.get("REQUESTS_CA_BUNDLE")
    trusted = ssl.create_default_context(cafile=file or None)
    if environment.get("MLFLOW_TRACKING_INSECURE_TLS") == "true":
        trusted.check_hostname, trusted.verify_mode = False, ssl.CERT_NONE
    return trusted


def _git(url: str, subject: str) -> Iterator[Finding]:
    try:
        heads = MirroredRemote(url, Path(os.sep), heads_timeout_seconds=OWN_PATIENCE_SECONDS).heads()
    except GitRemoteError as problem:
        told = one_line(problem)
        hangs = "hangs: " if "took longer than" in told else ""
        yield Finding(_SYSTEMS, subject, "problem", f"{hangs}{told}", _ADVICE_GIT)
        return
    yield Finding(_SYSTEMS, subject, "ok", _counted(len(heads), "branches"))


# --- Small things --------------------------------------------------------------------------------------


def _skew(server: float, begun: float) -> float:
    """How far a server's clock is ahead: nothing where its answer lies within the time that the question took."""
    now = time.time()
    return server - now if server > now else min(0.0, server - begun)


def _skew_of(date: str | None, begun: float) -> float | None:
    """Of a Date header, which has whole seconds: those that are cut off are no skew."""
    try:
        told = parsedate_to_datetime(date).timestamp() if date else None
    except ValueError:
        return None
    if told is None:
        return None
    now = time.time()
    return told - now if told > now else min(0.0, told + 1 - begun)


def _counted(count: int, called: str) -> str:
    """A number of things, of which there may be one."""
    one = {"branches": "branch"}.get(called, called.removesuffix("s"))
    return f"{count:,} {one if count == 1 else called}"


def _yaml(file: Path) -> dict[str, Any]:
    """What a file says; nothing where there is none.

    Raises:
        yaml.YAMLError: It is no YAML.
    """
    import yaml

    if not file.exists():
        return {}
    said = yaml.safe_load(file.read_text(encoding="utf-8"))
    return said if isinstance(said, dict) else {}


def _resolved(value: Any, environment: Mapping[str, str]) -> str:
    """A value of dagster.yaml, which may name a variable."""
    if isinstance(value, dict):
        return environment.get(str(value.get("env")), "")
    return str(value)


def _quoted(value: str) -> str:
    """As libpq takes it."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
