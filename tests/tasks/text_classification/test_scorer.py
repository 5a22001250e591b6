"""A saved model of texts, as validation and serving load it."""

import shutil

import numpy as np
import pyarrow as pa
import pytest

from platform_assets.models.errors import InstanceError
from platform_assets.models.inference import score
from platform_assets.tasks.text_classification.recipe import padded, token_lists
from platform_assets.tasks.text_classification.tokens import token_features
from platform_assets.tasks.text_classification.trainer import TextTrainer


@pytest.fixture(scope="module")
def scorer(trained, encoder, tmp_path_factory):
    """The trained model, completed with its tokenizer."""
    folder = tmp_path_factory.mktemp("scorer") / "model"
    shutil.copytree(trained[0].output, folder)
    trainer = TextTrainer()
    trainer.complete(folder, {"model_name": encoder, "max_length": 16, "head_fraction": 0.25}, {})
    return trainer.load(folder)


def test_a_score_does_not_depend_on_its_neighbours(scorer, make_tokens):
    """Whatever the order and the size of the batches, each row keeps its score."""
    ids = token_lists(make_tokens(40))
    order = np.random.default_rng(5).permutation(len(ids))

    def scores(rows, **given):
        return score(
            rows,
            scorer.model,
            sizes=np.array([len(row) for row in rows]),
            tensors=lambda chosen, device: padded(
                [(row, 0) for row in chosen], scorer.tokenizer.pad_id, device
            )[:2],
            hardware=scorer.hardware,
            **given,
        )

    expected = scores(ids)
    assert expected.shape == (40,)
    assert ((expected > 0) & (expected < 1)).all()
    assert np.array_equal(expected, scorer.score_features(make_tokens(40)))
    for batch_rows in (1, 7, 64):
        shuffled = scores([ids[row] for row in order], batch_rows=batch_rows)
        assert shuffled == pytest.approx(expected[order], abs=1e-5)


def test_a_saved_model_scores_texts(scorer):
    """The trained model tells great from awful, whole texts as their tokens, and nothing for nothing."""
    scores = scorer.score_texts(["the film was great", "the film was awful"])
    assert scores[0] > 0.5 > scores[1]
    assert scorer.score_texts([]).shape == (0,)


def test_an_instance_is_a_text_or_an_object_that_holds_one(scorer):
    """Both forms give the score of the text."""
    texts = ["the film was great", "awful"]
    expected = scorer.score_texts(texts)
    assert np.array_equal(scorer.score_instances(texts), expected)
    assert np.array_equal(scorer.score_instances([{"text": text} for text in texts]), expected)


@pytest.mark.parametrize("odd", [7, None, ["a"], {}, {"text": 7}, {"texts": "a"}])
def test_an_instance_that_is_no_text_is_refused(scorer, odd):
    """Its place is named, and what to give."""
    with pytest.raises(InstanceError, match=r"instance 2: is no text; give a string, or"):
        scorer.score_instances(["fine", odd])
    with pytest.raises(InstanceError, match="instance 2: is no text"):
        scorer.watched(["fine", odd])


def test_words_are_those_of_the_features(scorer):
    """The reference profile is made of the features' counts, so what is watched must count alike, whatever the spaces."""
    texts = ["", " a  film ", "naïve\u00a0Kieślowski\nfilm", "one\ttwo\r\nthree four"]
    rows = pa.table(
        {
            "review_id": [str(each) for each in range(len(texts))],
            "text": texts,
            "label": [0] * len(texts),
            "source": ["imdb"] * len(texts),
            "split": ["test"] * len(texts),
        }
    )
    features = token_features(rows, scorer.tokenizer)
    assert [columns["words"] for columns in scorer.watched(texts)] == features["words"].to_pylist()
    assert scorer.watched(texts) == scorer.watched([{"text": text} for text in texts])
