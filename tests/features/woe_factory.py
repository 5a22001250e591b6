"""Specs and rows of weight of evidence, with defaults."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from platform_assets.features.transformer_spec import TransformerSpec


def woe_spec(columns: Sequence[str] = ("income", "home"), **settings: Any) -> TransformerSpec:
    """A spec of type woe for these columns; `settings` are those of its section, as in YAML."""
    return TransformerSpec.model_validate(
        {
            "inputSource": "asset://loans_dataset",
            "transformerType": "woe",
            "columns": list(columns),
            "target": "bad",
            "woe": settings,
        }
    )


def loans(rows: int = 2_000, seed: int = 0) -> pa.Table:
    """Applications: the richer the fewer events; income has gaps and codes, and twelve have a home that few have."""
    random = np.random.default_rng(seed)
    income = random.lognormal(3, 0.5, rows).round(2)
    home = np.array(["rent", "owner", "parents", "other"], object)[
        random.choice(4, rows, p=(0.4, 0.4, 0.15, 0.05))
    ]
    odds = 1.5 - 0.08 * income + (home == "rent")
    bad = random.random(rows) < 1 / (1 + np.exp(-odds))
    income[::19] = np.nan
    income[::31] = -999
    home[:6], home[6:12] = "houseboat", "caravan"
    home[12:50:3] = None
    return pa.table({"income": income, "home": home, "bad": bad.astype(np.int64)})
