"""Promotions at once, and promotions that are killed: one version in production, whoever looks and whenever."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from platform_assets.governance.release import ACTIVATION
from platform_assets.ledger.ledger import Ledger
from tests.governance.promoters import PROCESSES, opened, start_again

_SCRIPT = Path(__file__).with_name("promoters.py")


def told(*arguments: object) -> list[str]:
    """What the script prints, line by line."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, _SCRIPT, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def history(folder: Path) -> list[tuple[str | None, str]]:
    """Each activation's predecessor and release; the chain holds."""
    ledger = Ledger.open(folder / "ledger.sqlite", principal="tests")
    assert ledger.verify().ok
    return [(each.body["previous"], each.body["release_id"]) for each in ledger.entries(kind=ACTIVATION)]


@pytest.mark.parametrize(
    ("rounds", "registry"), [(4, False), pytest.param(200, True, marks=pytest.mark.long)]
)
def test_of_eight_promotions_at_once_one_wins(tmp_path, rounds, registry):
    """No round has two winners or none, and no activation is lost; MLflow ends at what the ledger says."""
    outcomes = [line.split() for line in told("race", tmp_path, rounds, *(["registry"] if registry else []))]

    assert len(outcomes) == rounds
    for each in outcomes:
        assert len(each) == PROCESSES
        assert each.count("won") == 1
        assert set(each) <= {"won", "conflict", "refused", "already"}
    moves = history(tmp_path)
    assert len(moves) == 1 + rounds
    assert [previous for previous, _ in moves] == [None, *[release_id for _, release_id in moves[:-1]]]
    if registry:
        start_again(tmp_path)


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.long)])
def test_a_kill_at_any_moment_leaves_one_version_in_production(tmp_path, kills):
    """Promote, demote and rollback: readers of ledger and MLflow never miss one, and both agree after the next start."""
    *killed, readers = map(json.loads, told("kill", tmp_path, kills, 7))

    assert [each["act"] for each in killed] == [
        ("promote", "demote", "rollback")[at % 3] for at in range(kills)
    ]
    assert readers["reads"] > kills
    moves = history(tmp_path)
    assert [previous for previous, _ in moves] == [None, *[release_id for _, release_id in moves[:-1]]]
    assert opened(tmp_path)[0].production is not None
    if kills > 2:
        # Some were killed after production had moved, and some before.
        assert {each["moved"] for each in killed} == {True, False}
