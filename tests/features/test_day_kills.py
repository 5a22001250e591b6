"""kill -9 at any moment of a backfill, then again: the same bits, and no day that is half of one thing and half of another."""

import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest

from platform_assets.features.day_making import published_marks
from tests.features.day_factory import NAME, Meters, bits, day, days_of, readings
from tests.line_factory import ROOT, environment
from tests.test_kills import unreferenced

DAYS = 8


def rows_of(table: pa.Table, number: int) -> pa.Table:
    """The rows of a day, bit by bit."""
    return bits(table.filter(days_of(table) == number)).combine_chunks()


def killed(home: Path, chance: random.Random) -> int:
    """How many days a backfill had told of when it was killed: after some of them, at a moment that chance chose."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.features.day_maker", str(home)],
        env=environment(home / "home"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        told = 0
        for _ in range(chance.randint(0, DAYS // 2)):
            told += bool(process.stdout.readline())
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=chance.uniform(0, 0.5))
        process.kill()
        return told + len(process.stdout.readlines())


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.long)])
def test_a_killed_backfill_leaves_whole_days_and_ends_with_the_same_bits(tmp_path, kills):
    """Each day is as it was or as it is to be, as its fingerprint says; the next run makes the rest."""
    meters, chance = Meters(tmp_path), random.Random(kills)
    before = readings(DAYS)
    old = meters.expected(before)
    meters.publish(before)
    meters.make(*range(DAYS))
    for kill in range(kills):
        rows = readings(DAYS, seed=kill + 1)
        meters.publish(rows)
        new, fingerprints = meters.expected(rows), meters.making().fingerprints
        told = killed(tmp_path, chance)
        found, marks = meters.table(), published_marks(NAME, meters.outside)
        assert len(marks) == DAYS
        made = [number for number in range(DAYS) if marks[day(number)] == fingerprints.of(day(number))]
        assert told <= len(made) <= DAYS
        for number in range(DAYS):
            assert rows_of(found, number).equals(rows_of(new if number in made else old, number))
        outcomes = meters.outcomes(*range(DAYS))
        assert [number for number, outcome in outcomes.items() if outcome == "reused"] == made
        assert bits(meters.table()).equals(bits(new))
        meters.outside.warehouse.sweep()
        assert unreferenced(meters.outside.settings) == []
        old = new
