"""What assets share with Dagster: tables in metadata."""

import json

import pytest

from platform_assets.shown import shown_table


def records(columns: int, bins: int) -> list[dict[str, object]]:
    """So many bins of so many columns."""
    return [{"column": f"c{column}", "bin": f"b{at}"} for column in range(columns) for at in range(bins)]


@pytest.mark.parametrize(
    ("columns", "bins", "shown", "told"),
    [
        (3, 4, 12, None),
        (300, 1, 300, None),
        (500, 1, 300, "200 of 500 rows"),
        (500, 20, 300, "9,700 of 10,000 rows"),
        (500, 7, 294, "3,206 of 3,500 rows"),
        (1, 400, 300, "100 of 400 rows"),
    ],
)
def test_a_table_in_metadata_is_one_that_a_page_can_hold(
    columns: int, bins: int, shown: int, told: str | None
) -> None:
    """The first rows, no column by half, and how many are not there."""
    given = records(columns, bins)

    found = shown_table("bins", given)

    rows = [each.data for each in found["bins"].value.records]
    assert rows == given[:shown]
    assert (found["bins_left_out"].value if told else found.get("bins_left_out")) == told
    assert len(json.dumps(rows)) < 20_000
