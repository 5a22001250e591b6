"""Rows that no window can be computed of: one clear error each, which names column and row and quotes no value."""

import json

import pyarrow as pa
import pytest

from platform_assets.features.errors import FeatureError
from platform_assets.features.transformer_spec import TransformerSpec
from platform_assets.features.windows import WindowStream, WindowTransformer
from tests.features.window_factory import spec

TIMES = pa.array([0, 1, 2], pa.timestamp("us"))
SECRET = "4929-0000"


def rows(**columns: object) -> pa.Table:
    """Three rows of one entity."""
    return pa.table({"e": ["a", "a", "a"], "t": TIMES, "x": [1.0, 2.0, 3.0], "a": TIMES} | columns)


def null_within(value: object) -> pa.Array:
    """Three values of a dictionary, one of whose own values is null: Arrow counts none in the column."""
    return pa.DictionaryArray.from_arrays(pa.array([0, 1, 0], pa.int32()), pa.array([value, None]))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"e": ["a", None, None]}, r"column e: 2 of 3 values are missing \(first: row 2\)"),
        (
            {"t": pa.array([0, 1, None], pa.timestamp("us"))},
            r"column t: 1 of 3 values are missing \(first: row 3\)",
        ),
        ({"e": null_within("a")}, r"column e: 1 of 3 values are missing \(first: row 2\)"),
        ({"t": null_within(TIMES[0].as_py())}, r"column t: 1 of 3 values are missing \(first: row 2\)"),
        ({"e": [1.5, 1.5, 1.5]}, "column e: is of type double; an entity is named by a text or an integer"),
        ({"t": [0, 1, 2]}, "column t: is of type int64; whether an integer counts seconds"),
        ({"t": [0.0, 1.0, 2.0]}, "column t: is of type double; a time is a timestamp"),
        ({"t": pa.array([0, 1, 2], pa.time64("us"))}, r"column t: is of type time64\[us\]"),
        ({"t": ["2024-01-01", SECRET, "soon"]}, r"column t: 2 of 3 texts are no time \(first: row 2\)"),
        (
            {"t": pa.array([0, 2**60, 2], pa.timestamp("s"))},
            "column t: the time of row 2 is more than 146,000 years",
        ),
        (
            {"t": pa.array([-(2**63) + 1, 1, 2], pa.timestamp("us"))},
            "column t: the time of row 1 is more than 146,000 years",
        ),
        ({"x": [1.0, float("inf"), 3.0]}, "column x: the value of row 2 is infinite"),
        ({"x": [1.0, 2.0, -float("inf")]}, "column x: the value of row 3 is infinite"),
        ({"x": [1.0, 1e141, 1e152]}, "column x: the value of row 2 is infinite or beyond 1e140"),
        ({"x": [SECRET, "b", "c"]}, "column x: is of type string; a window is computed of numbers"),
        ({"x": TIMES}, r"column x: is of type timestamp\[us\]"),
        ({"x": [1, 2**53 + 1, 3]}, r"column x: has integers beyond 2\^53"),
        ({"a": [0, 1, 2]}, "column a: is of type int64"),
        ({"a": [None, SECRET, "2024-01-01"]}, r"column a: 1 of 3 texts are no time \(first: row 2\)"),
    ],
)
def test_a_column_that_cannot_be(columns: dict[str, object], message: str) -> None:
    """A table, and a batch of a stream that stays as it was."""
    said = spec(available=True)
    stream = WindowStream(said)
    before = stream.to_bytes()
    for computed in (WindowTransformer(said).transform, stream.process):
        with pytest.raises(FeatureError, match=message) as refused:
            computed(rows(**columns))
        assert SECRET not in str(refused.value)
    assert stream.to_bytes() == before


@pytest.mark.parametrize("name", ["e", "t", "x", "a"])
def test_a_column_that_is_missing(name: str) -> None:
    """It is named."""
    with pytest.raises(FeatureError, match=f"^column {name} is missing; there are "):
        WindowTransformer(spec(available=True)).transform(rows().drop_columns([name]))


def test_a_column_that_stands_twice() -> None:
    """Which of them is meant, nobody knows."""
    doubled = rows().append_column("x", pa.array([1.0, 2.0, 3.0]))
    with pytest.raises(FeatureError, match="column x stands 2 times"):
        WindowTransformer(spec()).transform(doubled)


def test_weights_of_evidence_have_no_window() -> None:
    """A spec of another type is refused."""
    woe = TransformerSpec.model_validate(
        {"inputSource": "rows.parquet", "transformerType": "woe", "columns": ["x"], "target": "y"}
    )
    with pytest.raises(FeatureError, match="transformerType: woe has no window"):
        WindowTransformer(woe)


@pytest.mark.parametrize("content", [b"", b"{}", b"no JSON", b"later"])
def test_fitted_bytes_that_are_none(content: bytes) -> None:
    """Or are of a later format: fit again, or update."""
    if content == b"later":
        content = json.dumps(json.loads(WindowTransformer(spec()).to_bytes()) | {"format": 2}).encode()
    with pytest.raises(FeatureError, match="fit it again, or update"):
        WindowTransformer.from_bytes(content)
