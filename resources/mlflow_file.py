"""MLflow's SQLite file, made whole or not at all.

MLflow brings a new file through all of its migrations where it is to stay, and SQLite commits each change of a table by
itself: a process that is killed among them leaves a file that no later one can open. So a file is made beside its place,
and moved there once it is whole.
"""

from pathlib import Path
from typing import Final

from resources.locks import FileLocks

_PREFIX: Final = "sqlite:///"


def make_whole(tracking_uri: str) -> None:
    """Make the SQLite file of a tracking URI where it does not exist; other URIs are somebody else's.

    Of several processes that come at once, one makes it and the others wait.
    """
    if not tracking_uri.startswith(_PREFIX):
        return
    file = Path(tracking_uri.removeprefix(_PREFIX))
    if file.exists():
        return
    with FileLocks(file.parent).hold(file.stem):
        if not file.exists():
            _make(file)


def _make(file: Path) -> None:
    from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    incoming = file.with_name(f"{file.name}.incoming")
    for left in file.parent.glob(f"{incoming.name}*"):  # with SQLite's own journal of it
        left.unlink()
    SqlAlchemyStore(f"{_PREFIX}{incoming}", DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH).engine.dispose()
    incoming.replace(file)
