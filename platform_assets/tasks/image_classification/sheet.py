"""The sheet of a model of X-rays: its most certain errors, with what they rest on and how far that can be believed."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from platform_assets.models.scorer import Scorer
from platform_assets.sheets import Sheet
from platform_assets.tasks.image_classification.judging_spec import JudgedSpec
from platform_assets.tasks.image_classification.saliency import (
    Occlusion,
    asking,
    formed_boxes,
    peak,
    pixels_of,
    pointing,
)
from platform_assets.tasks.image_classification.saliency_tile import tile
from platform_assets.tasks.image_classification.scorer import ImageScorer
from platform_assets.tasks.image_classification.sources import SYNTHETIC
from platform_assets.validation.clusters import Clusters

if TYPE_CHECKING:
    import pyarrow as pa
    from pydantic import JsonValue


_SEED: Final = 20_262
_SUBJECT: Final = "patient"
_SYNTHETIC: Final = "The X-rays are SYNTHETIC: they show nobody."
_TITLE: Final = "What the most certain errors rest on"
_HOW: Final = (
    "Orange is what the answer rests on: squares of {side} pixels were filled with the mean of what surrounds them, and the "
    "score fell. The ring is where it fell most, the green box where the finding is."
)


def errors_sheet(
    scorer: Scorer,
    features: "pa.Table",
    scored: "pa.Table",
    spec: JudgedSpec,
    *,
    threshold: float,
    clusters: Clusters | None,
) -> Sheet:
    """The errors of either kind, the most certain first; measures `pointing` and `pointing_rate`.

    Args:
        scorer: The model.
        features: Test rows as it reads them.
        scored: The same rows with their scores, and where their findings are.
        spec: How images are covered, how many are shown, and how many are asked for.
        threshold: A score of at least this predicts label 1.
        clusters: Which rows depend on each other; none do if None.
    """
    import pyarrow as pa

    labels, scores = scored["label"].to_numpy(), scored["score"].to_numpy()
    occlusion = Occlusion(spec.occlusion_px, spec.occlusion_stride_px)
    # A run may have made and trained it with another form than the spec's.
    form = scorer.form if isinstance(scorer, ImageScorer) else spec
    boxes = formed_boxes(scored, form)
    has_box = np.isfinite(boxes[:, 0])
    predicted = scores >= threshold

    def mapped(row: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        chosen = features.slice(row, 1)
        image = pixels_of(chosen)[0]
        return image, occlusion.map(image, asking(scorer, chosen))

    asked = np.flatnonzero((labels == 1) & predicted & has_box)
    asked = np.sort(np.random.default_rng(_SEED).permutation(asked)[: spec.pointed_rows])
    maps = np.array([mapped(row)[1] for row in asked.tolist()])
    found = pointing(maps, boxes[asked], Clusters(clusters.unit, clusters.codes[asked]) if clusters else None)
    rows: list[dict[str, Any]] = []
    for group, wrong, order in (
        ("Taken for a finding, and there is none", (labels == 0) & predicted, -scores),
        ("A finding that was missed", (labels == 1) & ~predicted, scores),
    ):
        at = np.flatnonzero(wrong)
        for row in at[np.argsort(order[at], kind="stable")][: spec.shown_errors].tolist():
            image, heat = mapped(row)
            told = {name: scored[name][row].as_py() for name in ("view_position", "finding", "grade")}
            rows.append(
                {
                    _SUBJECT: scored[_SUBJECT][row].as_py(),
                    "group": group,
                    "caption": _caption(scores[row], told),
                    "png": tile(image, heat, peak(heat), boxes[row] if has_box[row] else None),
                }
            )
    columns = {_SUBJECT: pa.string(), "group": pa.string(), "caption": pa.string(), "png": pa.binary()}
    measures: dict[str, JsonValue] = {}
    if found is not None:
        measures = {"pointing": found.model_dump(mode="json"), "pointing_rate": found.rate.value}
    return Sheet(
        title=_TITLE,
        notes=(
            *([_SYNTHETIC] if SYNTHETIC in scored["source"].to_pylist() else []),
            _HOW.format(side=occlusion.side),
            _believed(found.hits, found.asked, found.rate.low, found.rate.high, found.chance)
            if found
            else "No finding that the model has found has a box, so nobody knows how far these maps can be believed.",
        ),
        images=pa.Table.from_pylist(rows, pa.schema(list(columns.items()))),
        measures=measures,
    )


def _believed(hits: int, asked: int, low: float, high: float, chance: float) -> str:
    return (
        f"Of {asked} findings that the model has found, the ring lies within the box in {hits} ({hits / asked:.0%}, 95 % interval "
        f"{low:.0%} to {high:.0%}); a point anywhere would in {chance:.1%}."
    )


def _caption(score: float, told: dict[str, Any]) -> str:
    parts = [f"score {score:.2f}", told["view_position"], told["finding"]]
    parts.append(None if told["grade"] is None else f"grade {told['grade']}")
    return ", ".join(str(each) for each in parts if each is not None)
