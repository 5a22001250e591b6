"""Builders for tests of a report: scored rows of several sources, and the model that they are of."""

import zlib

import numpy as np
import pyarrow as pa

from platform_assets.references import DatasetVersion, FeaturesVersion, ModelVersion
from tests.governance.conftest import example


def make_model(*first_sources: str, **given: object) -> ModelVersion:
    """A model whose dataset has these first sources; what is not given is blank."""
    dataset = example(DatasetVersion, line="line", first_sources=first_sources)
    return example(ModelVersion, features=example(FeaturesVersion, dataset=dataset), **given)


def probabilities(labels: np.ndarray, *, skill: float, seed: int = 0) -> np.ndarray:
    """Scores that tell the labels apart the better, the larger the skill; 0 is chance."""
    noise = np.random.default_rng(seed).normal(size=labels.size)
    return 1 / (1 + np.exp(-(skill * (labels - 0.5) + noise)))


def make_scored(rows: dict[tuple[str, str], int], *, skill: float = 3.0) -> pa.Table:
    """So many rows by (source, split), half of them positive; a source's rows do not depend on the others."""
    parts = []
    for (source, split), n in rows.items():
        seed = zlib.crc32(f"{source}|{split}".encode())
        labels = np.arange(n) % 2
        parts.append(
            pa.table(
                {
                    "review_id": [f"{source}-{split}-{at}" for at in range(n)],
                    "label": pa.array(labels, pa.int32()),
                    "source": pa.array([source] * n, pa.string()),
                    "split": pa.array([split] * n, pa.string()),
                    "words": pa.array(np.random.default_rng(seed).integers(5, 400, n), pa.int32()),
                    "score": probabilities(labels, skill=skill, seed=seed),
                    "baseline_score": probabilities(labels, skill=1.0, seed=seed + 1),
                }
            )
        )
    return pa.concat_tables(parts)
