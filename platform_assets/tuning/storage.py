"""Where Optuna keeps studies: a SQLite file, Optuna's journal, or Postgres.

| given | is | of whom |
|---|---|---|
| `sqlite:///FILE` | SQLite | a laptop: every change is whole or not there, whenever a process dies |
| a path | Optuna's journal | a file system on which SQLite cannot lock, as NFS |
| `postgresql://…` | Postgres, in a schema of its own | a cluster |

A journal is one line a change, and a killed process may leave a torn last one, after which nothing that is appended can be
read: it is cut off before the journal is opened.
"""

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from platform_assets.tuning.errors import TuningError
from resources.postgres import ADDRESS_ADVICE, is_postgres

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from resources.locks import Locks

_SQLITE: Final = "sqlite:///"
# Optuna's tables have names, such as `alembic_version`, that others of the same database use too.
_SCHEMA: Final = "platform_tuning"
_SQLITE_PATIENCE_SECONDS = 60
_CREATION: Final = "tuning-storage"


def open_storage(address: str, locks: "Locks") -> "BaseStorage":
    """The storage, made where it does not exist.

    Args:
        address: `sqlite:///FILE`, `postgresql://…`, or the path of a journal.
        locks: Hold processes apart that come to make it at once.

    Raises:
        TuningError: It cannot be opened; no message shows an address that may hold a password.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    # Its account of each study and trial is ours to give.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with locks.hold(_CREATION):
            if is_postgres(address):
                return _postgres(address)
            if address.startswith(_SQLITE):
                return _sqlite(Path(address.removeprefix(_SQLITE)))
            if "://" in address:
                raise TuningError(
                    f"the storage of tunings is neither sqlite:///FILE nor the path of a journal; else it {ADDRESS_ADVICE}"
                )
            return _journal(Path(address))
    except SQLAlchemyError as problem:
        told = " ".join(str(getattr(problem, "orig", None) or type(problem).__name__).split())
        raise TuningError(f"the storage of tunings cannot be opened ({told}); check its address") from problem
    except OSError as problem:
        raise TuningError(
            f"{problem.filename}: the storage of tunings cannot be opened ({problem.strerror}); give another path"
        ) from problem


def _sqlite(file: Path) -> "BaseStorage":
    from optuna.storages import RDBStorage

    file.parent.mkdir(parents=True, exist_ok=True)
    patience = {"timeout": _SQLITE_PATIENCE_SECONDS, "factory": _SqliteConnection}
    return RDBStorage(f"{_SQLITE}{file}", engine_kwargs={"connect_args": patience})


class _SqliteConnection(sqlite3.Connection):
    """Does not wait for the disk at each of the ten changes that a trial is made of.

    What a killed process has written is there all the same. Where the machine's power fails, the last trials may be gone, and
    the file is whole.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=NORMAL")


def _postgres(address: str) -> "BaseStorage":
    from optuna.storages import RDBStorage
    from sqlalchemy import create_engine, text

    # SQLAlchemy knows no `postgres://`.
    url = "postgresql://" + address.partition("://")[2]
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {_SCHEMA}"))
    engine.dispose()
    return RDBStorage(
        url,
        engine_kwargs={"pool_pre_ping": True, "connect_args": {"options": f"-csearch_path={_SCHEMA}"}},
    )


def _journal(file: Path) -> "BaseStorage":
    from filelock import FileLock
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.storages.journal._file import BaseJournalFileLock

    class _KernelLock(BaseJournalFileLock):
        """The kernel ends it with its holder; of Optuna's own a dead one's is waited for half a minute."""

        def __init__(self, path: Path) -> None:
            self._lock = FileLock(path)

        def acquire(self) -> bool:
            self._lock.acquire()
            return True

        def release(self) -> None:
            self._lock.release()

    file.parent.mkdir(parents=True, exist_ok=True)
    lock = _KernelLock(file.with_name(f"{file.name}.lock"))
    lock.acquire()
    try:
        _cut_torn_line(file)
    finally:
        lock.release()
    backend: Any = JournalFileBackend(str(file), lock_obj=lock)
    return JournalStorage(backend)


def _cut_torn_line(file: Path) -> None:
    if not file.exists():
        return
    with file.open("r+b") as journal:
        content = journal.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            journal.truncate(whole)
