"""Every storage keeps studies apart, and whole; a journal that was torn is mended."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_assets.tuning.errors import TuningError
from platform_assets.tuning.storage import open_storage
from resources.locks import FileLocks
from tests.tuning.toy import Play, ToyTrial, experiment, run


@pytest.fixture(params=["sqlite", "journal", "postgres"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a storage that does not exist yet."""
    match request.param:
        case "sqlite":
            yield f"sqlite:///{tmp_path}/deep/down/study.sqlite"
        case "journal":
            yield f"{tmp_path}/deep/down/study.journal"
        case _:
            yield request.getfixturevalue("postgres_database")


def one_of_each() -> Play:
    """A trial that succeeds, one that fails, one without metrics, and one that succeeds."""
    plays = iter([[0.5], ToyTrial("", [0.1], ends="failed"), [], [0.25, 0.75]])
    return lambda _: next(plays)


def test_studies_of_one_storage_never_mix(tmp_path: Path, storage: str) -> None:
    """Another Experiment, and other features, are another study; each is found again, whatever has become of its trials."""
    few, more = (
        {"maxTrialCount": count, "earlyStopping": {"algorithmName": "medianstop"}} for count in (3, 4)
    )
    statuses = []
    for changes, identity in ((few, "day-1"), (more, "day-1"), (few, "day-2")):
        play = one_of_each()
        tried = experiment(tmp_path, **changes)
        statuses.append(run(tried, play, tmp_path, storage=storage, identity=identity)[0])
    names = [{each.name for each in status.trials} for status in statuses]
    assert [len(each) for each in names] == [3, 4, 3]
    assert len(set.union(*names)) == 10
    again, runner = run(
        experiment(tmp_path, **more), lambda _: [0.9], tmp_path, storage=storage, identity="day-1"
    )
    assert again == statuses[1]
    assert runner.started == []


def test_postgres_keeps_studies_in_a_schema_of_its_own(tmp_path: Path, postgres_database: str) -> None:
    """Optuna's tables have names that other programs' have too."""
    import psycopg2

    open_storage(postgres_database, FileLocks(tmp_path))
    connection = psycopg2.connect(postgres_database)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename IN ('trials', 'alembic_version')"
        )
        assert cursor.fetchall() == [("platform_tuning",)]
    connection.close()


@pytest.mark.parametrize("torn", [b"{", b'{"op_code": 4, "worker', b'{"op_code":4}'])
def test_a_torn_last_line_of_a_journal_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    """Optuna appends to it, and can then read nothing of the journal any more."""
    journal = tmp_path / "study.journal"
    tried = experiment(tmp_path, resumePolicy="LongRunning", maxTrialCount=3)
    first, _ = run(tried, lambda _: [0.5], tmp_path, storage=str(journal))
    with journal.open("ab") as file:
        file.write(torn)
    more = experiment(tmp_path, resumePolicy="LongRunning", maxTrialCount=5)
    second, runner = run(more, lambda _: [0.6], tmp_path, storage=str(journal))
    assert second.trials[:3] == first.trials
    assert len(runner.started) == 2
    for line in journal.read_bytes().splitlines():
        json.loads(line)


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("mysql://user:secret@host/db", "neither sqlite:///FILE nor the path of a journal"),
        ("postgresql://user:secret@localhost:1/db", "cannot be opened"),
        ("sqlite:////dev/null/study.sqlite", "cannot be opened"),
        ("/dev/null/study.journal", "cannot be opened"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_told_without_its_password(
    tmp_path: Path, address: str, problem: str
) -> None:
    """And what to do."""
    with pytest.raises(TuningError, match=problem) as refused:
        open_storage(address, FileLocks(tmp_path))
    assert "secret" not in str(refused.value)
