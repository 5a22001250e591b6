"""Pictures of a study are PNGs, and are drawn where there is something to see."""

from pathlib import Path

import pytest

from platform_assets.tuning.experiment import Experiment
from platform_assets.tuning.pictures import importance, study_pictures
from platform_assets.tuning.status import Status
from tests.tuning.toy import DEPTH, RATE, ToyTrial, experiment, run

OPTIMIZER = {
    "name": "optimizer",
    "parameterType": "categorical",
    "feasibleSpace": {"list": ["adam", "sgd", "lion"]},
}


def studied(folder: Path, count: int, *, constant: bool = False) -> tuple[Experiment, Status]:
    """A study whose objective depends on its rate, and hardly on its depth; one of its trials has failed."""
    plays = iter([ToyTrial("", [0.1], ends="failed")])
    tried = experiment(
        folder,
        parameters=[RATE, DEPTH, OPTIMIZER],
        maxTrialCount=count,
        objective={"type": "maximize", "objectiveMetricName": "auc", "goal": 2.0},
    )
    status, _ = run(
        tried,
        lambda each: next(plays, [0.5 if constant else float(each["rate"]) * 5 + int(each["depth"]) / 1000]),
        folder,
    )
    return tried, status


def test_a_study_is_drawn(tmp_path: Path) -> None:
    """History, parallel coordinates and importance, each a PNG of the house's size."""
    from PIL import Image

    tried, status = studied(tmp_path, 14)
    pictures = study_pictures(tried, status)
    assert list(pictures) == ["history", "parallel_coordinates", "importance"]
    for name, png in pictures.items():
        path = tmp_path / f"{name}.png"
        path.write_bytes(png)
        with Image.open(path) as image:
            assert (image.format, image.size) == ("PNG", (640, 420))
    shares = importance(tried, status)
    assert shares is not None
    assert next(iter(shares)) == "rate"
    assert shares["rate"] > 0.5
    assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize(("count", "constant"), [(8, False), (12, True)])
def test_importance_is_not_told_of_what_says_nothing(tmp_path: Path, count: int, *, constant: bool) -> None:
    """Of seven values, or of values that are all the same."""
    tried, status = studied(tmp_path, count, constant=constant)
    assert list(study_pictures(tried, status)) == ["history", "parallel_coordinates"]


def test_a_study_without_a_value_is_not_drawn(tmp_path: Path) -> None:
    """There is nothing to see."""
    tried = experiment(tmp_path, maxTrialCount=2)
    status, _ = run(tried, lambda _: [], tmp_path)
    assert study_pictures(tried, status) == {}
