"""What an answer carries of its model's reasons."""

from platform_assets.serving.predictor import Prediction


def answer(**explanation):
    """An answer with this explanation."""
    return Prediction(
        event_id="e",
        score=0.4,
        label=1,
        line="loans",
        model_version=3,
        release_id="r",
        explanation=explanation,
    )


def test_an_explanation_stands_beside_the_score():
    """What it has of its own comes after, and is not nested."""
    told = answer(points=512, reasons=[{"characteristic": "Income", "lost": 7}]).to_json()
    assert list(told)[:2] == ["event_id", "score"]
    assert (told["points"], told["reasons"]) == (512, [{"characteristic": "Income", "lost": 7}])
    assert "explanation" not in told


def test_an_explanation_cannot_say_who_answered():
    """A part that is called as one of the answer's own does not take its place."""
    told = answer(score=0.9, release_id="other").to_json()
    assert (told["score"], told["release_id"]) == (0.4, "r")


def test_most_answers_have_none():
    """They are what they were."""
    assert set(answer().to_json()) == {"event_id", "score", "label", "line", "model_version", "release_id"}
