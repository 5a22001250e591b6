"""What metadata alone say: they find a shortcut where there is one, and nothing where there is none."""

import numpy as np
import pyarrow.compute as pc
import pytest

from platform_assets.tasks.image_classification.judging_spec import ALL_METADATA
from platform_assets.tasks.image_classification.metadata import metadata_scores
from platform_assets.validation.errors import ValidationError
from platform_assets.validation.metrics import roc_auc
from tests.tasks.image_classification.judged import make_rows


def measured(rows, columns=ALL_METADATA):
    """AUC on the test rows of what was learnt from the training rows."""
    train, tested = (rows.filter(pc.equal(rows["split"], split)) for split in ("train", "test"))
    return roc_auc(tested["label"].to_numpy(), metadata_scores(train, tested, columns))


@pytest.mark.parametrize(
    ("made", "low", "high"),
    [
        (make_rows(200, view_tells=0.5), 0.4, 0.6),
        (make_rows(200, view_tells=0.8), 0.75, 0.9),
        (make_rows(200, detector=lambda at: f"d{at % 2}"), 0.99, 1.0),
        (make_rows(200, pixel_spacing=lambda at: None if at % 2 else 0.5), 0.99, 1.0),
        (make_rows(200, bits=lambda at: 10 + 2 * (at % 2)), 0.99, 1.0),
        (make_rows(200, was_inverted=lambda at: at % 2 == 1), 0.99, 1.0),
    ],
)
def test_shortcuts_are_found(made, low, high):
    """The view, the device, a value that is missing, a number, a statement; and where there is none, none."""
    assert low <= measured(made) <= high


def test_values_that_training_rows_never_had_are_of_no_kind():
    """A new device at the test, and one that a single training row has: nothing is learnt by heart, and nothing fails."""
    rows = make_rows(100, detector=lambda at: f"d{at}")
    assert 0.4 <= measured(rows) <= 0.62


def test_where_nothing_varies_all_rows_have_the_share_of_the_label():
    """Nobody can be told from anybody."""
    rows = make_rows(20)
    assert metadata_scores(rows, rows, ["modality", "site"]).tolist() == [0.5] * rows.num_rows


def test_one_label_is_refused():
    """There is nothing to learn."""
    rows = make_rows(5)
    positive = rows.filter(pc.equal(rows["label"], 1))
    with pytest.raises(ValidationError, match="metadata alone: all 5 training labels"):
        metadata_scores(positive, rows, ALL_METADATA)


def test_labels_of_the_measured_rows_are_not_read():
    """Scores are the same whatever they are."""
    rows = make_rows(30)
    turned = rows.set_column(2, "label", pc.subtract(1, rows["label"]))
    scores = [metadata_scores(rows, each, ALL_METADATA) for each in (rows, turned)]
    assert np.array_equal(*scores)
