"""The main job as one plain script: no Dagster, MLflow, Great Expectations, Iceberg or ledger.

    python -m tests.benchmarks.bare training-spec.yaml folder

It reads, splits, tokenizes, trains and scores the same rows with the same seeds, through the same pure
functions, and hands everything on in memory.
"""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from platform_assets.datasets.reviews import prepare_reviews, read_reviews
from platform_assets.features.tokens import load_tokenizer, model_location, token_features
from platform_assets.models.checkpoints import FolderCheckpoints
from platform_assets.models.hyper_parameters import HyperParameters
from platform_assets.models.training import TrainingConfig, score, token_lists, train
from platform_assets.models.training_spec import read_training_spec
from platform_assets.validation.baseline import tfidf_logistic_scores
from platform_assets.validation.metrics import roc_auc

_MEASURED_SPLITS = ("validation", "test", "shift")


def main(spec_path: Path, folder: Path) -> None:
    """Print the AUCs on the test split; leave the scores of every measured row in `folder`."""
    spec = read_training_spec(spec_path).content
    rows = pa.Table.from_pandas(prepare_reviews(spec, read_reviews(spec)).frame, preserve_index=False)
    location = model_location(spec.model_name)
    tokenizer = load_tokenizer(location, max_length=spec.max_length, head_fraction=spec.head_fraction)
    tokens = token_features(rows, tokenizer)
    config = TrainingConfig(
        **spec.model_dump(include=set(HyperParameters.model_fields)),
        model_location=location,
        gpu=spec.resources.gpu,
        mixed_precision=spec.resources.mixed_precision,
        pad_id=tokenizer.pad_id,
    )
    trained = train(tokens, config, output=folder / "model", checkpoints=FolderCheckpoints(folder))

    from platform_assets.models.classifier import TextClassifier

    measured = tokens.filter(pc.is_in(tokens["split"], pa.array(_MEASURED_SPLITS)))
    model = TextClassifier.load(trained.output).to(trained.hardware.device)
    scores = score(token_lists(measured), model, pad_id=tokenizer.pad_id, hardware=trained.hardware)
    train_rows = rows.filter(pc.equal(rows["split"], "train"))
    text_of = dict(zip(rows["review_id"].to_pylist(), rows["text"].to_pylist(), strict=True))
    (baseline,) = tfidf_logistic_scores(
        train_rows["text"].to_pylist(),
        train_rows["label"].to_numpy(),
        [text_of[review_id] for review_id in measured["review_id"].to_pylist()],
        seed=0,
    )
    scored = (
        measured.select(["review_id", "label", "split"])
        .append_column("score", pa.array(scores))
        .append_column("baseline_score", pa.array(baseline))
    )
    pq.write_table(scored, folder / "scores.parquet")
    test = scored.filter(pc.equal(scored["split"], "test"))
    aucs = {
        name: roc_auc(test["label"].to_numpy(), test[column].to_numpy())
        for name, column in (("auc", "score"), ("baseline_auc", "baseline_score"))
    }
    print(json.dumps(aucs))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
