"""Tracking may drop and catch up; it never ends a training and never holds one up."""

import logging
import threading
import time

import pytest

from resources import run_tracking
from resources.run_tracking import Measurement, RefusedError, TrackedRun
from tests.waiting import wait_for

PATIENCE_SECONDS = 30.0
"""More than any of these needs; a test that waits so long fails."""


class Tracker:
    """Remembers what it is told, refuses it, or breaks, as it is told to."""

    def __init__(self) -> None:
        self.away = self.refuses = False
        self.asked = threading.Event()
        self.answers = threading.Event()
        self.answers.set()
        self.configuration: dict[str, object] = {}
        self.measured: list[tuple[str, float, int]] = []
        self.times_ms: list[int] = []
        self.status: str | None = None
        self.run_id = "run"

    def open(self) -> "Tracker":
        """The run, if the tracker is there."""
        self._answer()
        return self

    def params(self, values) -> None:
        """Kept."""
        self._answer()
        if self.refuses:
            raise RefusedError("these are not the parameters of before")
        self.configuration |= values

    def metrics(self, values: list[Measurement]) -> None:
        """Kept."""
        self._answer()
        self.measured += [(each.name, each.value, each.step) for each in values]
        self.times_ms += [each.time_ms for each in values]

    def end(self, status: str) -> None:
        """Kept."""
        self._answer()
        self.status = status

    def _answer(self) -> None:
        self.asked.set()
        self.answers.wait()
        if self.away:
            raise ConnectionError("connection refused")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Attempts follow each other at once."""
    monkeypatch.setattr(run_tracking, "_FIRST_RETRY_SECONDS", 0.001)
    monkeypatch.setattr(run_tracking, "_LONGEST_RETRY_SECONDS", 0.001)


@pytest.fixture
def tracker() -> Tracker:
    """One that answers."""
    return Tracker()


def begin(tracker: Tracker) -> TrackedRun:
    """A run of a training that starts now."""
    return TrackedRun(tracker.open, where="the tracker")


def test_all_is_told_in_order(tracker, caplog):
    """Configuration and measurements arrive, the run ends as the training does, and nobody is warned."""
    run = begin(tracker)
    run.params({"epochs": 2})
    for step in (1, 10, 20):
        run.metrics({"loss": 1 / step}, step=step)
    run.end("FINISHED", patience_seconds=PATIENCE_SECONDS)

    assert tracker.configuration == {"epochs": 2}
    assert tracker.measured == [("loss", 1.0, 1), ("loss", 0.1, 10), ("loss", 0.05, 20)]
    assert (tracker.status, run.run_id, run.lost) == ("FINISHED", "run", None)
    assert caplog.records == []


def test_a_tracker_that_comes_late_is_told_all(tracker, caplog):
    """Away when the training begins and in the middle of it: one warning, and then everything with its own time."""
    tracker.away = True
    run = begin(tracker)
    run.params({"epochs": 2})
    before_ms = time.time_ns() // 1_000_000
    run.metrics({"loss": 1.0}, step=1)
    tracker.asked.wait()
    after_ms = time.time_ns() // 1_000_000
    wait_for(lambda: run._problem, "the attempt has failed", every=0.01)
    run.metrics({"loss": 0.5}, step=2)
    tracker.away = False
    wait_for(lambda: len(tracker.measured) == 2, "it is told", every=0.01)
    run.end("FINISHED", patience_seconds=PATIENCE_SECONDS)

    assert tracker.measured == [("loss", 1.0, 1), ("loss", 0.5, 2)]
    assert before_ms <= tracker.times_ms[0] <= after_ms
    assert (tracker.status, run.lost) == ("FINISHED", None)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith("tracking: the tracker cannot be told (connection refused); training goes on")


def test_a_tracker_that_stays_away_costs_what_is_said(tracker, caplog):
    """The training ends well, without a run, and what was lost is counted and has its reason."""
    tracker.away = True
    run = begin(tracker)
    run.params({"epochs": 2})
    run.metrics({"loss": 1.0, "rows_per_second": 3.0}, step=1)
    run.end("FINISHED", patience_seconds=PATIENCE_SECONDS)

    assert run.run_id == ""
    assert run.lost == "3 of 3 values did not reach the tracker: connection refused"
    assert run.lost in caplog.records[-1].getMessage()


@pytest.mark.parametrize("moment", ["start", "middle", "end"])
def test_a_tracker_that_never_answers_holds_nobody_up(tracker, moment):
    """Telling it returns at once, and the end is waited for no longer than was said."""
    run = None
    if moment == "start":
        tracker.answers.clear()
    run = begin(tracker)
    run.metrics({"loss": 1.0}, step=1)
    if moment != "start":
        wait_for(lambda: tracker.measured, "the first is told", every=0.01)
        tracker.answers.clear()
    if moment == "middle":
        run.metrics({"loss": 0.5}, step=2)
    began = time.monotonic()
    run.end("FINISHED", patience_seconds=0.05)
    took = time.monotonic() - began
    tracker.answers.set()

    assert took < PATIENCE_SECONDS
    assert {
        "start": "1 of 1 values did not reach the tracker: it does not answer",
        "middle": "1 of 2 values did not reach the tracker: it does not answer",
        "end": "the end of the run did not reach the tracker: it does not answer",
    }[moment] == run.lost


def test_what_the_tracker_refuses_stands_in_nobodys_way(tracker):
    """Parameters that differ from those of an earlier attempt are told as lost, and the rest goes on."""
    tracker.refuses = True
    run = begin(tracker)
    run.params({"epochs": 2, "seed": 1})
    run.metrics({"loss": 1.0}, step=1)
    run.end("FINISHED", patience_seconds=PATIENCE_SECONDS)

    assert tracker.measured == [("loss", 1.0, 1)]
    assert run.lost == "2 of 3 values did not reach the tracker: these are not the parameters of before"


def test_what_waits_has_a_bound(tracker, monkeypatch):
    """A tracker that is away for ever does not fill the memory: the oldest goes first, and is counted."""
    monkeypatch.setattr(run_tracking, "_MOST_WAITING", 10)
    tracker.answers.clear()
    run = begin(tracker)
    for step in range(25):
        run.metrics({"loss": 1.0}, step=step)
    assert len(run._waiting) == 10
    tracker.answers.set()
    run.end("FINISHED", patience_seconds=PATIENCE_SECONDS)

    assert [step for _, _, step in tracker.measured] == list(range(15, 25))
    assert run.lost == "15 of 25 values did not reach the tracker: it does not answer"


def test_nothing_is_sent_twice_where_room_is_made_while_it_is_sent(tracker, monkeypatch):
    """Measurements that are on their way when the oldest are dropped arrive once, and those after them too."""
    monkeypatch.setattr(run_tracking, "_MOST_WAITING", 3)
    run = begin(tracker)
    wait_for(lambda: run.run_id, "it is open", every=0.01)
    tracker.answers.clear()
    tracker.asked.clear()
    for step in (1, 2):
        run.metrics({"loss": 1.0}, step=step)
    tracker.asked.wait()
    for step in (3, 4):
        run.metrics({"loss": 1.0}, step=step)
    tracker.answers.set()
    run.end("FAILED", patience_seconds=PATIENCE_SECONDS)

    steps = [step for _, _, step in tracker.measured]
    assert steps == sorted(set(steps))
    assert steps[-2:] == [3, 4]
    assert tracker.status == "FAILED"


def test_a_closed_run_ends_by_itself(tracker):
    """Nobody waits for it, and a tracker that is away then is told when it is back; the first word of its end counts."""
    run = begin(tracker)
    wait_for(lambda: run.run_id, "it is open", every=0.001)
    tracker.away = True
    run.metrics({"auc": 0.5}, step=1)
    run.close("FAILED")
    wait_for(lambda: run._problem, "the attempt has failed", every=0.001)
    assert tracker.status is None
    tracker.away = False
    wait_for(lambda: tracker.status, "the run ends", every=0.001)
    assert (tracker.measured, tracker.status) == ([("auc", 0.5, 1)], "FAILED")
    run.close("FINISHED")
    run.end("FINISHED", patience_seconds=PATIENCE_SECONDS)
    assert (tracker.status, run.lost) == ("FAILED", None)


def test_an_outage_is_told_once(tracker, caplog):
    """Hours without a tracker are one warning, and one more at the end."""
    tracker.away = True
    run = begin(tracker)
    with caplog.at_level(logging.WARNING):
        for step in range(50):
            run.metrics({"loss": 1.0}, step=step)
            wait_for(lambda: run._problem, "it has failed", every=0.001)
        run.end("FINISHED", patience_seconds=PATIENCE_SECONDS)
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (
            "API request failed with exception HTTPConnectionPool(…): (Caused by …: [Errno 111] Connection refused'))",
            "[Errno 111] Connection refused",
        ),
        ("HTTPConnectionPool(host='mlflow', port=5000): Read timed out. (read timeout=30)", "Read timed out"),
        ("INTERNAL_ERROR: something\n  else", "INTERNAL_ERROR: something else"),
        ("", "ConnectionError"),
    ],
)
def test_an_outage_is_told_in_few_words(told, said):
    """Not as a library wraps it."""
    assert run_tracking._said(ConnectionError(told)) == said
