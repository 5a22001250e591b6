"""What a release answers to rows that have passed: the scores of its validation, in order of time, with labels."""

import io
import json
from datetime import UTC, datetime

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.drift.errors import DriftError
from platform_assets.drift.event_reading import read_events
from platform_assets.drift.past_answers import past_answers
from platform_assets.governance import release as releases
from platform_assets.lines.line import load_line
from platform_assets.outside_systems import OutsideSystems
from platform_assets.serving.predictor import Predictor
from platform_assets.tasks.registry import load_scorer
from resources.settings import PlatformSettings
from tests.features.shops import COLUMNS, ZSCORE, line_of, run, write_line, write_transformer

BY_TIME = {"by": "time", "test": 0.3, "validation": 0.2}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A line of 900 sales that looks back, split by time and released; and one that nobody split so."""
    folder = tmp_path_factory.mktemp("past")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(folder / "home" / "dagster"))
        patch.setenv("PLATFORM_HOME", str(folder / "home"))
        zscore = write_transformer(folder / "declared", "sales_z", ZSCORE)
        outside = OutsideSystems(PlatformSettings(home=folder / "home"))
        spec = write_line(folder, transformers="sales_z@latest", split=BY_TIME)
        assert run(spec, outside, zscore).success
        yield outside, line_of(spec, zscore), spec, folder


def asked(home, **changes):
    """Its answers; of all test rows, unless something else is asked."""
    outside, line, _, _ = home
    predictor = Predictor.of_active_release(
        line.name, load_scorer, ledger=outside.ledger, store=outside.object_store
    )
    given = {"time_column": "At", "splits": ["test"]} | changes
    return past_answers(
        predictor.release, predictor.scorer, line.task.evaluator, line.spec, outside.warehouse, **given
    )


def test_they_are_what_validation_found(home):
    """Row by row: the stored score, whatever the row looks back at; its label; and what is watched of it, as it was."""
    outside, line, _, _ = home
    report = releases.active(outside.ledger, line.name).card.registered.report
    stored = pq.read_table(io.BytesIO(outside.object_store.get(report.scores_key)))
    tested = stored.filter(pc.equal(stored["split"], "test"))
    events = asked(home)
    assert [each.event_time for each in events] == sorted(each.event_time for each in events)
    # One sale an hour, in order.
    assert [each.score for each in events] == pytest.approx(tested["score"].to_pylist(), abs=1e-12)
    assert [each.label for each in events] == tested["label"].to_pylist()
    assert [each.columns["Amount"] for each in events] == tested["Amount"].to_pylist()
    assert {each.columns["source"] for each in events} == {"sales"}
    assert {each.model_version for each in events} == {1}
    assert any("Size" not in each.columns for each in events)


def test_an_id_names_a_row_and_nobody(home):
    """Each its own, the same whenever it is asked, and no key of the source is in it."""
    events, again = asked(home), asked(home)
    ids = [each.event_id for each in events]
    assert len(set(ids)) == len(ids)
    assert ids == [each.event_id for each in again]
    # The key of a sale begins with an s, and a release's id is hexadecimal.
    assert not any("s" in each for each in ids)


def test_a_stretch_of_time_begins_with_its_first_moment_and_ends_before_its_last(home):
    """So that stretches beside each other have no row in common."""
    events = asked(home)
    cut = events[100].event_time
    early, late = asked(home, until=cut), asked(home, since=cut)
    assert [each.event_id for each in (*early, *late)] == [each.event_id for each in events]
    assert late[0].event_time == cut
    both = asked(home, splits=["test", "validation"])
    assert len(both) > len(events)
    assert both[-1] == events[-1]
    with pytest.raises(DriftError, match="has no rows of test in that time"):
        asked(home, since=datetime(2030, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("columns", "given", "told"),
    [
        ({**COLUMNS, "Weight": "numeric"}, {}, 'was made of other columns than the spec has now .*"Weight"'),
        (COLUMNS, {"time_column": "Sold"}, "has no times in Sold, as the spec has now"),
        (COLUMNS, {"time_column": "Size"}, "has no times in Size, as the spec has now"),
    ],
)
def test_a_spec_that_has_changed_since_is_told_with_what_to_run(home, columns, given, told):
    """The release was made of other columns, and nobody can say what it would have answered of these."""
    outside, _, spec, folder = home
    changed = load_line(write_line(folder / "changed", columns=columns, split=BY_TIME))
    with pytest.raises(
        DriftError, match=rf"release \w+ {told}.*; make a new release with: platform-assets run"
    ):
        asked((outside, changed, spec, folder), **given)


def test_the_command_writes_what_a_monitor_takes(home):
    """A file of events, which `drift watch --replay` reads; a line that is not split by time has no order to tell them in."""
    outside, _, spec, folder = home
    file = folder / "season.jsonl"
    command = [
        "drift",
        "answers",
        "sales",
        "--spec",
        str(spec),
        "--events",
        str(file),
        "--until",
        "2026-02-01",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLATFORM_HOME", str(outside.settings.home))
        patch.setenv("PLATFORM_TRANSFORMERS", json.dumps([str(folder / "declared")]))
        result = CliRunner().invoke(app, command, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        events = [event for _, event in read_events(file)]
        assert f"{len(events)} events from 2026-01-" in result.output
        assert events == asked(home, until=datetime(2026, 2, 1, tzinfo=UTC))
        command[command.index(str(spec))] = str(write_line(folder / "rows"))
        with pytest.raises(DriftError, match="sales is not split by time"):
            CliRunner().invoke(app, command, catch_exceptions=False)
