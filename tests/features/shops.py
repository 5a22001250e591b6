"""Builders of lines with transformers: sales of shops of which some were sent back, and what is declared about them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from platform_assets.features.daily import DAILY_FROM, DAILY_UNTIL
from platform_assets.features.declared import Transformers, load_transformers
from platform_assets.lines.line import Line, load_line
from platform_assets.lines.runner import RunOutcome, run_line
from platform_assets.outside_systems import OutsideSystems

COLUMNS: Mapping[str, Any] = {
    "sale": "key",
    "Sent": {"role": "target", "positive": "back"},
    "At": "time",
    "Known": "available",
    "Shop": {"role": "categorical", "feature": False},
    "Amount": "numeric",
    "Size": "categorical",
}
CONTRACT = """\
name: sales
raw:
  columns: {sale: string, Sent: string, At: timestamp, Known: timestamp, Shop: string, Amount: number, Size: string}
  keys: [sale]
expectations:
  - {type: expect_column_values_to_be_in_set, kwargs: {column: label, value_set: [0, 1]},
     meta: {domain: labels, owner: tests}, severity: critical}
"""
WOE: Mapping[str, Any] = {
    "inputSource": "asset://sales_dataset",
    "transformerType": "woe",
    "target": "label",
    "columns": ["Amount", "Size"],
    "woe": {"maxBins": 4},
}
ZSCORE: Mapping[str, Any] = {
    "inputSource": "asset://sales_dataset",
    "transformerType": "zscore",
    "windowDays": 5,
    "columns": ["Amount"],
    "entityKey": "Shop",
    "timestampColumn": "At",
    "availableColumn": "At",
    "zscore": {"minPeriods": 3},
}


def sales(rows: int = 900, *, seed: int = 0, first: int = 0) -> pd.DataFrame:
    """As many sales of eight shops, one an hour: the dearer, the likelier they were sent back; some sizes are missing."""
    rng = np.random.default_rng(seed)
    amount = rng.gamma(3, 20, rows).round(2)
    size = rng.choice(["small", "middle", "large"], rows).astype(object)
    back = rng.random(rows) < 1 / (1 + np.exp(2 - amount / 40 - (size == "large")))
    size[rng.random(rows) < 0.05] = None
    at = pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(rows), "h")
    return pd.DataFrame(
        {
            "sale": [f"s{first + at}" for at in range(rows)],
            "Sent": np.where(back, "back", "kept"),
            "At": at,
            "Known": at + pd.Timedelta(hours=30),
            "Shop": rng.choice(list("abcdefgh"), rows),
            "Amount": amount,
            "Size": size,
        }
    )


def write_line(
    folder: Path, line: str = "sales", *, frame: pd.DataFrame | None = None, **changes: Any
) -> Path:
    """The spec of a line of these sales, beside its contract and its source, with some fields changed."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / f"{line}.parquet"
    (sales() if frame is None else frame).to_parquet(source)
    (folder / "sales.yaml").write_text(CONTRACT, encoding="utf-8")
    content = {
        "line": line,
        "task": "tabular-classification",
        "train_data_uri": str(source),
        "contract": "sales.yaml",
        "subject": "sale",
        "columns": dict(COLUMNS),
        "split": {"test": 0.3, "validation": 0.2},
        "model": "logistic",
        "gates": {"auc": "> 0.5"},
        "requires": {
            "deploy": [
                {"subject": "dataset", "rule_set": "contract.labels"},
                {"subject": "model", "rule_set": "gate.auc"},
            ]
        },
        "card": {"owner": "tests", "intended_use": "Telling what comes back.", "limitations": "Made up."},
    } | changes
    path = folder / f"{line}-spec.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def write_transformer(folder: Path, name: str, spec: Mapping[str, Any], **changes: Any) -> Path:
    """The file of a transformer."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "FeatureTransformer",
        "metadata": {"name": name.replace("_", "-")},
        "spec": dict(spec) | changes,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def with_days(path: Path, first: str, last: str | None = None) -> Path:
    """The file of a transformer, which has features by day from now on."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    days = {DAILY_FROM: first} | ({DAILY_UNTIL: last} if last else {})
    content["metadata"]["annotations"] = days
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def declared(*paths: Path) -> Transformers:
    """What these files declare, those that ship aside."""
    found = load_transformers(paths)
    return Transformers({name: each for name, each in found.sound.items() if not each.ships}, found.broken)


def line_of(spec: Path, *transformers: Path) -> Line:
    """The line, with those of these transformers that it uses."""
    return load_line(spec).using(declared(*transformers))


def run(spec: Path, outside: OutsideSystems, *transformers: Path) -> RunOutcome:
    """Bring the line up to date."""
    return run_line(line_of(spec, *transformers), outside)
