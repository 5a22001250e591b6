"""What a contract promises of a column, in words beside the column."""

from pathlib import Path

import yaml

from platform_assets.datasets.contract import load_contract
from platform_assets.datasets.promises import column_promises


def promises(tmp_path: Path, *expectations: tuple[str, dict[str, object], str]) -> dict[str, tuple[str, ...]]:
    """Of a contract with these expectations: type, kwargs, severity."""
    path = tmp_path / "contract.yaml"
    content = {
        "name": "sample",
        "expectations": [
            {
                "type": type_,
                "kwargs": kwargs,
                "meta": {"domain": "all", "owner": "tests"},
                "severity": severity,
            }
            for type_, kwargs, severity in expectations
        ],
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return column_promises(load_contract(path))


def test_promises_are_told_by_column(tmp_path: Path) -> None:
    """In the order of the contract; what is about the table is about none of its columns."""
    found = promises(
        tmp_path,
        ("expect_column_values_to_not_be_null", {"column": "a"}, "critical"),
        ("expect_column_values_to_be_unique", {"column": "a"}, "critical"),
        ("expect_column_values_to_be_between", {"column": "b", "min_value": 0, "max_value": 9}, "critical"),
        (
            "expect_column_values_to_be_between",
            {"column": "b", "min_value": 0, "strict_min": True},
            "critical",
        ),
        ("expect_column_values_to_be_in_set", {"column": "c", "value_set": ["x", "y"]}, "critical"),
        ("expect_column_mean_to_be_between", {"column": "b", "max_value": 5}, "critical"),
        ("expect_column_values_to_match_regex", {"column": "c", "regex": "^x"}, "critical"),
        ("expect_table_row_count_to_be_between", {"min_value": 1}, "critical"),
    )

    assert found == {
        "a": ("not null", "unique"),
        "b": ("between 0 and 9", "at least 0 strictly", "mean at most 5"),
        "c": ("one of x, y", "values to match regex"),
    }


def test_what_may_fail_is_not_told_as_a_rule(tmp_path: Path) -> None:
    """Neither what most rows keep, nor what is asked of some, nor what only warns."""
    found = promises(
        tmp_path,
        ("expect_column_values_to_not_be_null", {"column": "a", "mostly": 0.95}, "critical"),
        ("expect_column_values_to_not_be_null", {"column": "b"}, "warning"),
        ("expect_column_values_to_be_in_set", {"column": "c", "value_set": list("abcdefghij")}, "info"),
        (
            "expect_column_values_to_be_unique",
            {"column": "d", "row_condition": "a > 1", "condition_parser": "pandas"},
            "critical",
        ),
    )

    assert found == {
        "a": ("not null in at least 95% of the rows",),
        "b": ("not null (warning)",),
        "c": ("one of a, b, c, d, e, f, g, h and 2 more (info)",),
        "d": ("unique where a > 1",),
    }
