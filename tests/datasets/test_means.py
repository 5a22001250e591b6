"""A mean that comes in batches is to the last bit the one that pandas gives of the whole."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from platform_assets.datasets.means import FloatMean, Mean, WholeMean

SIZES = (1, 7, 8, 9, 127, 129, 8191, 8193, 65_535, 65_537, 300_001)


def told(
    mean: Mean, values: np.ndarray[Any, Any], given: np.ndarray[Any, Any] | None, step: int
) -> float | None:
    """The mean of values that come so many at a time."""
    for start in range(0, len(values), step):
        some = None if given is None else given[start : start + step]
        mean.add(values[start : start + step].astype(np.float64), some)
    found = mean.value()
    mean.close()
    return found


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("rows", SIZES)
def test_floats(rows, missing):
    """Of sizes from 1e-15 to 1e15, so that each order of additions gives other last bits; batches of any size."""
    random = np.random.default_rng(rows)
    values = random.lognormal(0, 12, rows) * random.choice([-1, 1], rows)
    gone = random.random(rows) < missing
    gone[0] = False
    given = ~gone if missing else None
    expected = pd.Series(np.where(gone, np.nan, values)).mean()
    assert told(FloatMean(), np.where(gone, np.nan, values), given, 1 + rows // 7) == expected


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("rows", SIZES)
def test_whole_numbers(rows, missing):
    """Of 63 bits, which no float holds; beside nulls as pandas' own integers."""
    random = np.random.default_rng(rows)
    values = random.integers(-(2**62), 2**62, rows)
    gone = random.random(rows) < missing
    gone[0] = False
    whole = pd.Series(pd.arrays.IntegerArray(values, gone)) if missing else pd.Series(values)
    assert told(WholeMean(), values, ~gone if missing else None, 1 + rows // 7) == whole.mean()


def test_of_none():
    """No value has no mean."""
    assert told(FloatMean(), np.zeros(3), np.zeros(3, dtype=bool), 2) is None
    assert told(WholeMean(), np.zeros(0), None, 1) is None


def test_many_lie_on_disk(tmp_path, monkeypatch):
    """What does not fit into the memory that is allowed for gives the same bits."""
    monkeypatch.setattr("platform_assets.datasets.means._MOST_BYTES", 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    values = np.random.default_rng(0).lognormal(0, 12, 100_000)
    assert told(FloatMean(), values, None, 999) == pd.Series(values).mean()
    assert not [*tmp_path.iterdir()]
