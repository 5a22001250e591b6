"""One process at a time executes a tuning."""

from pathlib import Path
from threading import Event, Thread

from platform_assets.tuning.executing import only_tuning
from resources.locks import FileLocks


def test_a_second_one_says_that_it_waits_and_goes_on_after_the_first(tmp_path: Path) -> None:
    """Nobody looks at a terminal that says nothing for a quarter of an hour."""
    told: list[str] = []
    waits, entered = Event(), Event()

    def tell(text: str) -> None:
        told.append(text)
        waits.set()

    def second() -> None:
        with only_tuning(FileLocks(tmp_path), "one", tell=tell):
            entered.set()

    other = Thread(target=second)
    with only_tuning(FileLocks(tmp_path), "one", tell=tell):
        assert not told
        other.start()
        assert waits.wait(20)
        assert not entered.is_set()
        with only_tuning(FileLocks(tmp_path), "another", tell=tell):
            pass
    other.join(20)
    assert entered.is_set()
    assert told == ["another process executes this tuning; waiting for it to end"]
