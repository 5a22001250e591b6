"""A line of tables whose spec compares other groups of people than before: the model stays, its verdicts do not."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from platform_assets.governance import release as releases
from platform_assets.lines.line import Line, load_line
from platform_assets.lines.runner import run_line
from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings
from tests.tasks.tabular_classification.tables import COLUMNS, people, written

CONTRACT = """\
name: loans
raw:
  columns: {person: string, Status: string, Income: number, Home: string, Grade: string, Sex: string}
  keys: [person]
expectations:
  - {type: expect_column_values_to_be_in_set, kwargs: {column: label, value_set: [0, 1]},
     meta: {domain: labels, owner: tests}, severity: critical}
"""
HOME = {"home": {"column": "Home"}}
SEX = {"sex": {"column": "Sex"}}
GATES = {"auc": "> 0.6", "parity_ratio": ">= 0.1"}


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OutsideSystems]:
    """Systems of a home of its own."""
    home = tmp_path / "platform"
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    return OutsideSystems(PlatformSettings(home=home))


def line_of(folder: Path, **fairness: object) -> Line:
    """The line of some loans; people's sex is in the table, and no feature."""
    data = folder / "loans.csv"
    if not data.exists():
        frame = people(1500)
        frame["Sex"] = np.random.default_rng(1).choice(["f", "m"], len(frame))
        written(folder, frame, data.name)
        (folder / "loans.yaml").write_text(CONTRACT, encoding="utf-8")
    spec = {
        "line": "loans",
        "task": "tabular-classification",
        "train_data_uri": str(data),
        "contract": "loans.yaml",
        "columns": {**COLUMNS, "Sex": {"role": "categorical", "feature": False}},
        "split": {"test": 0.3, "validation": 0.2},
        "max_iterations": 20,
        "fairness": {"favourable": 0, "min_rows": 50} | fairness,
        "gates": GATES,
        "requires": {"deploy": [{"subject": "model", "rule_set": f"gate.{gate}"} for gate in GATES]},
        "card": {"owner": "o", "intended_use": "i", "limitations": "l"},
    }
    path = folder / "training-spec.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    return load_line(path)


def test_another_grouping_is_another_rule(tmp_path: Path) -> None:
    """What is demanded follows what groups are compared; gates that say nothing of them stay as they are."""
    one, two, stricter = (
        line_of(tmp_path, **fairness).rule_set_hashes
        for fairness in ({"groups": HOME}, {"groups": HOME | SEX}, {"groups": HOME, "min_rows": 80})
    )
    assert len({each["gate.parity_ratio"] for each in (one, two, stricter)}) == 3
    assert one["gate.auc"] == two["gate.auc"] == stricter["gate.auc"]


def test_a_grouping_on_a_column_that_is_no_feature_is_added_to_a_model_that_stays(
    tmp_path: Path, outside: OutsideSystems
) -> None:
    """The model is scored once more, with the column, judged anew and released under the rule as it is now."""
    found = []
    for groups in (HOME, HOME | SEX):
        line = line_of(tmp_path, groups=groups)
        outcome = run_line(line, outside)
        assert outcome.success, outcome.failure
        report = releases.active(outside.ledger, "loans").card.registered.report
        assert report.gate_rule_sets == {
            each: line.rule_set_hashes[each] for each in ("gate.auc", "gate.parity_ratio")
        }
        found.append(report)
    before, after = found
    assert after.model == before.model
    assert after.scores_key != before.scores_key
    assert outside.object_store.exists(before.scores_key)
