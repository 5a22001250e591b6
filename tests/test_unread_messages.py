"""What a library says of a cell is not stored: neither in the event log nor in a verdict."""

import logging
from collections.abc import Callable

import dagster as dg
import pytest

from platform_assets.datasets.errors import DatasetError
from platform_assets.step import foreseen_failures, without_retries
from platform_assets.validation.gate import Gate, Rule, parse_condition
from resources.unread import unread, unread_trace

MARKER = "Zq7Marker"


def convert() -> float:
    """Fails as libraries do, with the cell in the message."""
    cell = MARKER
    return float(cell)


def foreseen() -> None:
    """Our own error, with a library's behind it."""
    try:
        convert()
    except ValueError as problem:
        raise DatasetError("file.csv: row 3, column age: is no number") from problem


def stored(compute: Callable[[], object]) -> str:
    """All that Dagster keeps of a step that fails."""

    @dg.asset
    def failing() -> None:
        with without_retries(), foreseen_failures():
            compute()

    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize([failing], instance=instance, raise_on_error=False)
        assert not done.success
        events = instance.all_logs(done.run_id)
    return "\n".join(each.to_json() for each in events)


def test_no_message_of_a_library_is_in_the_event_log(caplog: pytest.LogCaptureFixture) -> None:
    """A bug is stored as its class and its lines, our own error as its sentence, and neither with what is behind."""
    with caplog.at_level(logging.INFO):
        bug, ours = stored(convert), stored(foreseen)
    assert MARKER not in bug + ours + caplog.text
    assert "ValueError" in bug
    assert "test_unread_messages.py" in bug
    assert "row 3, column age: is no number" in ours


def test_the_message_is_there_for_who_asks(caplog: pytest.LogCaptureFixture) -> None:
    """At level DEBUG the whole of it is logged."""
    with caplog.at_level(logging.DEBUG), pytest.raises(dg.Failure), foreseen_failures():
        convert()
    assert MARKER in caplog.text


def test_a_gate_with_a_bug_stores_no_message() -> None:
    """Its verdict is an error that names the class and the line."""
    rule = Rule(decide=lambda *_: convert(), operators=(">",), version=1)  # type: ignore[arg-type, return-value]
    result = Gate("auc", parse_condition("> 0.5"), rule).evaluate(None)  # type: ignore[arg-type]
    assert result.outcome == "error"
    assert result.reason.startswith("ValueError at ")
    assert MARKER not in result.reason


def test_a_trace_names_causes_and_places() -> None:
    """Each error on the way is there with its lines, none with its message."""
    with pytest.raises(DatasetError) as caught:
        foreseen()
    trace = unread_trace(caught.value)
    assert MARKER not in trace
    assert "is no number" not in trace.replace(
        'raise DatasetError("file.csv: row 3, column age: is no number")', ""
    )
    assert trace.startswith("DatasetError\n")
    assert "\ncaused by ValueError\n" in trace
    assert unread(ValueError(MARKER)) == "ValueError"
