"""Features by day: in whatever order and however often they are made, they are those of one run over everything."""

import random

import numpy as np
import pyarrow as pa
import pytest

from tests.features.day_factory import LAG, ZSCORE, Meters, bits, day, days_of, readings, with_day


@pytest.mark.parametrize("spec", [ZSCORE, LAG], ids=["zscore", "lag"])
@pytest.mark.parametrize("shuffled", [True, False])
def test_ninety_days_are_one_run_over_everything(tmp_path, spec, shuffled):
    """A backfill of all days gives the bits of one run, whatever order the rows stand in."""
    meters, rows = Meters(tmp_path, spec), readings(90, shuffled=shuffled)
    meters.publish(rows)
    assert set(meters.outcomes(*range(90)).values()) == {"made"}
    assert bits(meters.table()).equals(bits(meters.expected(rows)))
