"""Builders of strangers' files."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from platform_assets.scaffold.look import Column, look_at


def customers(rows: int = 400, **changes: Any) -> pd.DataFrame:
    """Customers who leave the likelier the shorter they stay; a change adds or replaces a column, None drops it."""
    rng = np.random.default_rng(5)
    tenure = rng.integers(0, 73, rows)
    leaves = rng.random(rows) < 1 / (1 + np.exp(0.06 * (tenure - 18)))
    frame = pd.DataFrame(
        {
            "customer_id": [f"C{number:05d}" for number in rng.permutation(rows)],
            "tenure": tenure,
            "plan": rng.choice(["basic", "plus", "pro"], rows, p=[0.5, 0.3, 0.2]),
            "spend": np.where(rng.random(rows) < 0.1, np.nan, rng.gamma(2, 20, rows).round(2)),
            "signup": pd.Series(
                pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 700, rows), "D")
            ).dt.strftime("%Y-%m-%d"),
            "churn": np.where(leaves, "yes", "no"),
        }
    )
    return _changed(frame, changes)


def reviews(rows: int = 400, **changes: Any) -> pd.DataFrame:
    """Short texts that praise or blame; a change adds or replaces a column, None drops it."""
    rng = np.random.default_rng(6)
    label = rng.integers(0, 2, rows)
    words = [rng.choice(["good", "kind", "fine"] if each else ["bad", "dull", "poor"], 3) for each in label]
    frame = pd.DataFrame(
        {"text": [f"{' '.join(three)}, number {row}" for row, three in enumerate(words)], "label": label}
    )
    return _changed(frame, changes)


def written(folder: Path, frame: pd.DataFrame, name: str = "customers.csv", **csv: Any) -> str:
    """The path of the frame as a csv file."""
    path = folder / name
    frame.to_csv(path, index=False, **csv)
    return str(path)


def looked(frame: pd.DataFrame) -> dict[str, Column]:
    """What the columns of the frame hold, as they would be read from a csv file."""
    texts = frame.astype(object).where(frame.notna(), None)
    return {
        column.name: column
        for column in look_at(texts.map(lambda value: None if value is None else str(value)), suffix=".csv")
    }


def _changed(frame: pd.DataFrame, changes: dict[str, Any]) -> pd.DataFrame:
    for name, values in changes.items():
        frame = frame.drop(columns=name) if values is None else frame.assign(**{name: values})
    return frame
