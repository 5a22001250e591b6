"""Which rows of a table depend on each other: as its split says."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from platform_assets.tasks.tabular_classification.task import TASK
from tests.tasks.tabular_classification.tables import COLUMNS, make_spec

SHARES = {"test": 0.3, "validation": 0.2}


def table(**columns):
    """Eight rows of one source; the first four of split test."""
    rows = {
        "person": [f"p{at // 2}" for at in range(8)],
        "household": ["a", "a", "b", "a", "c", "c", "c", "d"],
        "seen": [datetime(2026, 1, 1, 22, tzinfo=UTC) + timedelta(hours=at) for at in range(8)],
        "source": ["loans"] * 8,
        "split": ["test"] * 4 + ["train"] * 4,
    }
    return pa.table(rows | columns)


def spec(split, **columns):
    """A spec with such a split and such further columns."""
    return make_spec(columns={**COLUMNS, **columns}, split={**SHARES, **split})


@pytest.mark.parametrize(
    ("made", "unit", "codes"),
    [
        (spec({}), "values of person", [0, 0, 1, 1, 2, 2, 3, 3]),
        (spec({"by": "group"}, household="group"), "values of household", [0, 0, 1, 0, 2, 2, 2, 3]),
        (spec({"by": "time"}, seen="time"), "days of seen", [0, 0, 1, 1, 1, 1, 1, 1]),
        (
            spec({"by": "blocks", "block_rows": 3, "guard_rows": 0}),
            "blocks of neighbours",
            [0, 0, 0, 1, 2, 2, 2, 3],
        ),
    ],
)
def test_rows_that_a_split_keeps_together_depend_on_each_other(made, unit, codes):
    """Those of a key; of a group where one is named; of a day where time decides; neighbours where blocks are cut."""
    found = TASK.evaluator.clusters(table(), made).tolist()
    assert TASK.evaluator.cluster_unit(made) == unit
    assert [found.index(each) for each in found] == [codes.index(each) for each in codes]


def test_rows_of_nobody_depend_on_no_other():
    """Without key and group there is nothing to draw together."""
    columns = {name: role for name, role in COLUMNS.items() if role != "key"}
    assert TASK.evaluator.cluster_unit(make_spec(columns=columns)) is None
