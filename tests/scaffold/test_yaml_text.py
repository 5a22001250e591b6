"""YAML that is written by hand reads back as what it was written from."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from platform_assets.manifest import read_yaml
from platform_assets.scaffold.yaml_text import WIDTH, comment, entries, entry, flow, one_line, percent, scalar

MISREAD = (
    "yes", "No", "ON", "off", "y", "N", "true", "False", "null", "Null", "~", "", " ", "1_000", "12:30", "190:20:30",
    "0o17", "017", "0x1f", "0b11", "1e5", "1E5", ".5", "5.", "-3", "+1", ".inf", "-.INF", ".nan", "NaN", "inf",
    "2026-01-31", "2026-01-31T10:00:00Z", "2026-1-1", "00123", "=", "<<", "-", "--- a", "...", "?", "? a", ":", "a: b",
    "a:", "a #b", "#a", "- a", "[a", "a]", "{a", "a}", "a, b", "*a", "&a", "!a", "|", ">", "%a", "@a", "`a", '"a"', "'a'",
    "a'b", 'a"b', "a\\b", "\\d+", "a\nb", "a\tb", "a\u0085b", "a\u2028b", "\ufeffa", "a\x07b", " a", "a ", "null ", "é", "日本",
    "🙂", "a b", "A (b)", "e5", "n/a", "none", "x" * 180,
)  # fmt: skip
plain_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**62), 2**62),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)
nested = st.recursive(
    plain_values,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def read_by_the_platform(path: Path, text: str) -> dict[str, Any]:
    """What the platform's own reader sees in a file of this text."""
    path.write_text(text, encoding="utf-8")
    return read_yaml(path).content


@pytest.mark.parametrize("value", MISREAD)
def test_text_that_looks_like_something_else_stays_text(tmp_path, value):
    """As a value, as a key and within a list it is the same text to the platform's reader and to those of 1.1 and 1.2."""
    text = f"a: {scalar(value)}\n{flow({'b': [value, {value: value}]})[1:-1]}\n"
    expected = {"a": value, "b": [value, {value: value}]}
    assert read_by_the_platform(tmp_path / "a.yaml", text) == expected
    assert yaml.safe_load(text) == expected
    assert YAML(typ="safe", pure=True).load(text) == expected


@pytest.mark.parametrize(
    "value", ["churn.yaml", "No phone service", "Bank transfer (automatic)", "train", "a/b-c_d"]
)
def test_plain_words_stand_without_quotes(value):
    """What no reader can take for something else is written as a person would."""
    assert scalar(value) == value


@given(value=nested)
def test_every_value_reads_back(tmp_path_factory, value):
    """Whatever is written on one line is read back as it was, by the platform's reader and by PyYAML's."""
    text = f"a: {flow(value)}\n"
    assert read_by_the_platform(tmp_path_factory.getbasetemp() / "any.yaml", text) == {"a": value}
    assert yaml.safe_load(text) == {"a": value}


@given(items=st.lists(st.text(max_size=30), max_size=60), name=st.text(min_size=1, max_size=20))
def test_long_mappings_are_wrapped_and_read_back(tmp_path_factory, items, name):
    """A mapping that is too long for a line is broken between values, and means the same."""
    value = {"column": name, "value_set": items}
    text = entry("kwargs", value, indent=0)
    assert read_by_the_platform(tmp_path_factory.getbasetemp() / "any.yaml", text) == {"kwargs": value}


def test_lines_are_no_longer_than_they_must_be():
    """Wrapped lists and comments keep within the width."""
    text = entry("kwargs", {"column_list": [f"column_{number}" for number in range(100)]}, indent=4)
    text += comment("word " * 100, indent=2) + entries([("key: value", "said " * 40)])
    assert max(map(len, text.splitlines())) <= WIDTH


def test_comments_hold_no_line_that_is_none():
    """Names with line breaks cannot leave the comment that they stand in."""
    name = one_line("a\nb: c")
    text = comment(f"the column {name} is odd") + entries([("a: 1", "beside")])
    assert yaml.safe_load(text) == {"a": 1}


def test_infinite_numbers_are_refused():
    """A number that no manifest can hold is an error where it is written, not where it is read."""
    with pytest.raises(ValueError, match="finite"):
        scalar(float("inf"))


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.141, "14.1 %"), (0.5, "50 %"), (0.0004, "under 0.1 %"), (0.0, "0 %"), (1.0, "100 %")],
)
def test_percent(share, text):
    """Shares are told to a tenth of a percent."""
    assert percent(share) == text
