"""Builders of small tables: people of whom some did not pay back, and what a spec says about them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from platform_assets.datasets.ingestion import PreparedRows, read_sources
from platform_assets.features.featurizer import NONE_FITTED
from platform_assets.features.transformer import FittedTransformer, fit
from platform_assets.features.transformer_spec import TransformerSpec
from platform_assets.models.checkpoints import FolderCheckpoints
from platform_assets.models.trainer import TrainingResult
from platform_assets.tasks.tabular_classification.scorer import TabularScorer
from platform_assets.tasks.tabular_classification.spec import TabularTrainingSpec
from platform_assets.tasks.tabular_classification.task import TASK

COLUMNS: Mapping[str, Any] = {
    "person": "key",
    "Status": {"role": "target", "positive": "bad"},
    "Income": "numeric",
    "Home": "categorical",
    "Grade": {"role": "ordinal", "order": ["low", "middle", "high"]},
}


def make_spec(**changed: object) -> TabularTrainingSpec:
    """A valid spec; what is not given has a default."""
    spec = {
        "line": "loans",
        "task": "tabular-classification",
        "train_data_uri": "loans.csv",
        "contract": "loans.yaml",
        "columns": COLUMNS,
        "split": {"test": 0.3, "validation": 0.2},
        "gates": {"auc": "> 0.5"},
        "requires": {"deploy": [{"subject": "model", "rule_set": "gate.auc", "max_age_days": 1}]},
        "card": {"owner": "o", "intended_use": "i", "limitations": "l"},
    }
    return TabularTrainingSpec.model_validate(spec | changed)


def people(rows: int = 400, *, seed: int = 0, first: int = 0) -> pd.DataFrame:
    """As many people: the poorer and the lower their grade, the likelier bad; some values are missing."""
    rng = np.random.default_rng(seed)
    income = rng.normal(100, 30, rows).round(1)
    home = rng.choice(["own", "rent", "parents"], rows)
    grade = rng.integers(0, 3, rows)
    bad = rng.random(rows) < 1 / (1 + np.exp((income - 90) / 15 + grade - (home == "rent")))
    frame = pd.DataFrame(
        {
            "person": [f"p{first + at}" for at in range(rows)],
            "Status": np.where(bad, "bad", "good"),
            "Income": income,
            "Home": home.astype(object),
            "Grade": np.array(["low", "middle", "high"], dtype=object)[grade],
        }
    )
    frame.loc[rng.random(rows) < 0.1, "Income"] = np.nan
    frame.loc[rng.random(rows) < 0.1, "Home"] = None
    return frame


def written(folder: Path, frame: pd.DataFrame, name: str = "loans.parquet") -> str:
    """The path of a file with this frame."""
    path = folder / name
    match path.suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".jsonl":
            frame.to_json(path, orient="records", lines=True, date_format="iso")
        case _:
            frame.to_parquet(path)
    return str(path)


def prepared(spec: TabularTrainingSpec, *, erased: frozenset[str] = frozenset()) -> PreparedRows:
    """What becomes of the sources of a spec."""
    return TASK.ingestion.prepare(
        spec, read_sources(spec), is_erased=lambda ids: [each in erased for each in ids]
    )


def of_split(table: pa.Table, *splits: str) -> pa.Table:
    """Its rows of these splits."""
    return table.filter(pc.is_in(table["split"], pa.array(splits)))


def fitted_woe(rows: pa.Table, *columns: str, **woe: Any) -> dict[str, FittedTransformer]:
    """Weights of evidence of these columns, fitted on the training rows, as the transformer `loans_woe`."""
    spec = TransformerSpec.model_validate(
        {
            "inputSource": "asset://loans_dataset",
            "transformerType": "woe",
            "columns": list(columns or ("Income", "Home", "Grade")),
            "target": "label",
            "woe": {"maxBins": 5} | woe,
        }
    )
    return {"loans_woe": fit(spec, of_split(rows, "train"))}


def trained(
    rows: pa.Table,
    spec: TabularTrainingSpec,
    output: Path,
    *,
    threads: int | None = None,
    transformers: Mapping[str, FittedTransformer] = NONE_FITTED,
) -> tuple[TrainingResult, TabularScorer, pa.Table]:
    """A model of prepared rows: what training says, the scorer, and the features."""
    features = TASK.featurizer.apply(
        rows, spec, subject_column=TASK.ingestion.subject(spec).name, transformers=transformers
    )
    config = TASK.trainer.config(spec, features.recipe).model_copy(update={"threads": threads})
    result = TASK.trainer.fit(
        features.table, config, output=output, checkpoints=FolderCheckpoints(output.parent / "checkpoints")
    )
    TASK.trainer.complete(output, features.recipe, features.state)
    return result, TASK.trainer.load(output), features.table
