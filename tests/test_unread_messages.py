"""What a library says of a cell is not stored: neither in the event log nor in a verdict."""

import logging
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from platform_assets.datasets.contract_run import run_contract
from platform_assets.datasets.data_docs import data_docs_page
from platform_assets.datasets.errors import DatasetError
from platform_assets.step import foreseen_failures, without_retries
from platform_assets.validation.gate import Gate, Rule, parse_condition
from resources.unread import unread, unread_trace
from tests.datasets.test_contract import contract_with

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


def test_the_message_is_there_for_who_asks(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At level DEBUG the whole of it is logged."""
    logger = logging.getLogger("platform_assets.step")
    # Migrations of databases, which other tests run, switch off whatever loggers there are.
    monkeypatch.setattr(logger, "disabled", False)
    monkeypatch.setattr(logger.parent, "propagate", True)
    with caplog.at_level(logging.DEBUG, logger=logger.name), pytest.raises(dg.Failure), foreseen_failures():
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


def test_what_great_expectations_says_of_cells_is_kept_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exceptions about a cell, caught by GE or not, leave no trace of it in report, log and terminal."""
    contract = contract_with(
        tmp_path,
        "expect_column_values_to_match_json_schema, {column: text, json_schema: {type: object}}",
        "expect_multicolumn_sum_to_equal, {column_list: [text, size], sum_total: 3}",
        "expect_column_values_to_be_in_set, {column: text, value_set: [1]}",
        "expect_column_mean_to_be_between, {column: mixed, min_value: 0}",
    )
    frame = pd.DataFrame({"text": [MARKER, f"{MARKER} 2"], "size": [1, 2], "mixed": [1, MARKER]})
    with caplog.at_level(logging.DEBUG):
        report = run_contract(contract, frame, run_name="run-1", salt=b"a salt for the tests")
    assert [each.outcome for each in report.domain("core").results] == ["error"] * 4
    page = data_docs_page(contract, report).decode()
    assert MARKER not in report.model_dump_json() + page + caplog.text + "".join(capfd.readouterr())
