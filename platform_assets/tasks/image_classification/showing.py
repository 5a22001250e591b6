"""What people who review a model of X-rays are shown: the images, with what the answers rest on.

Apart from `ImageEvaluator`, whose code decides what is measured: how cases are shown changes no report.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from platform_assets.models.scorer import Scorer
from platform_assets.tasks.image_classification.evaluator import ImageEvaluator
from platform_assets.tasks.image_classification.judging_spec import JudgedSpec
from platform_assets.tasks.image_classification.saliency import (
    Occlusion,
    asking,
    formed_boxes,
    peak,
    pixels_of,
)
from platform_assets.tasks.image_classification.saliency_tile import tile
from platform_assets.tasks.image_classification.scorer import ImageScorer

if TYPE_CHECKING:
    import pyarrow as pa


class ShowingImageEvaluator(ImageEvaluator):
    """The evaluator, which also shows cases (`Showing`)."""

    legend: Final = (
        "Orange is what the answer rests on: squares were filled with the mean of what surrounds them, and the score fell. The "
        "ring is where it fell most, the green box where the finding is."
    )

    def shown(
        self,
        scorer: Scorer,
        features: "pa.Table",
        scored: "pa.Table",
        rows: Sequence[int],
        spec: JudgedSpec,
    ) -> Mapping[int, bytes]:
        """See `Showing.shown`."""
        occlusion = Occlusion(spec.occlusion_px, spec.occlusion_stride_px)
        boxes = formed_boxes(scored, scorer.form if isinstance(scorer, ImageScorer) else spec)
        found = {}
        for row in rows:
            chosen = features.slice(row, 1)
            image = pixels_of(chosen)[0]
            heat = occlusion.map(image, asking(scorer, chosen))
            found[row] = tile(image, heat, peak(heat), boxes[row] if np.isfinite(boxes[row, 0]) else None)
        return found
