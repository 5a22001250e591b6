"""Lines of the toy task: numbers, their contract and a spec in a folder."""

import csv
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

import platform_assets.tasks
from platform_assets.tasks.registry import find_task
from platform_assets.tasks.task import AnyTask

TOY = "toy-parity"
CONTRACT = """\
name: numbers
raw: {columns: {number: integer, label: integer}, keys: [number, label]}
expectations:
  - {type: expect_column_values_to_be_in_set, kwargs: {column: label, value_set: [0, 1]},
     meta: {domain: labels, owner: tests}, severity: critical}
"""


@contextmanager
def toy_task() -> Iterator[AnyTask]:
    """The toy, found as every task is: by its folder on the path of tasks."""
    with pytest.MonkeyPatch.context() as patch:
        path = [*platform_assets.tasks.__path__, str(Path(__file__).parent)]
        patch.setattr(platform_assets.tasks, "__path__", path)
        find_task.cache_clear()
        yield find_task(TOY)
    find_task.cache_clear()


def write_numbers(path: Path, numbers: Iterable[int]) -> Path:
    """Numbers with their label; each twentieth is mistaken."""
    with path.open("w", newline="", encoding="utf-8") as sink:
        rows = csv.writer(sink)
        rows.writerow(["number", "label"])
        rows.writerows([each, each % 2 if each % 20 else 1] for each in numbers)
    return path


def write_line(folder: Path, **changes: Any) -> Path:
    """A line of the first thousand numbers, with some fields of its spec changed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "numbers.yaml").write_text(CONTRACT, encoding="utf-8")
    content = {
        "line": "toy",
        "task": TOY,
        "train_data_uri": str(write_numbers(folder / "numbers.csv", range(1000))),
        "contract": "numbers.yaml",
        "gates": {"auc": "> 0.9", "beats_baseline": True, "odd_share": "< 0.7"},
        "requires": {
            "deploy": [
                {"subject": "dataset", "rule_set": "contract.schema"},
                {"subject": "dataset", "rule_set": "contract.labels"},
                *(
                    {"subject": "model", "rule_set": f"gate.{gate}"}
                    for gate in ("auc", "beats_baseline", "odd_share")
                ),
            ]
        },
        "card": {"owner": "tests", "intended_use": "Telling odd from even.", "limitations": "Numbers only."},
    } | changes
    path = folder / "training-spec.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path
