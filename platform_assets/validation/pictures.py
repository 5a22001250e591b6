"""Pictures of a validation report as PNG bytes, and the Markdown that carries them in metadata."""

import base64
import io
from collections.abc import Iterator, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from platform_assets.validation.drift import ks_drift
from platform_assets.validation.metrics import Labels, Scores, reliability_curve, roc_auc, roc_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that stay apart for colour-blind readers (Okabe & Ito 2008), and line styles that stay apart in grey.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
_LINES: Final = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
GREY: Final = "#767676"
_SIZE_INCHES: Final = (6.4, 4.2)
_DPI: Final = 100


def roc_picture(labels_by_name: Mapping[str, Labels], scores_by_name: Mapping[str, Scores]) -> bytes:
    """ROC curves, such as of the model, the baseline and the version in production.

    Args:
        labels_by_name: 0 or 1, shape (n,), by the name of the curve; the same names as the scores.
        scores_by_name: Finite scores, shape (n,), by the name of the curve.

    Returns:
        A PNG of 640 × 420 pixels.

    Raises:
        ValidationError: A curve's rows cannot be measured.
    """
    figure = new_figure()
    axes = figure.add_subplot(
        xlabel="False positive rate (share of negative rows)",
        ylabel="True positive rate (share of positive rows)",
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
    )
    tidy(axes)
    for style, (name, scores) in zip(_styles(), scores_by_name.items(), strict=False):
        labels = labels_by_name[name]
        auc = roc_auc(labels, scores)
        axes.plot(*roc_curve(labels, scores), **style, label=f"{name}: AUC {auc:.3f}, n = {labels.size:,}")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, label="chance: AUC 0.500")
    axes.legend(loc="lower right")
    return as_png(figure)


def calibration_picture(labels_by_name: Mapping[str, Labels], scores_by_name: Mapping[str, Scores]) -> bytes:
    """Reliability diagram over the 15 bins of the ECE, above the number of rows in each bin.

    Args:
        labels_by_name: 0 or 1, shape (n,), by the name of the curve; the same names as the scores.
        scores_by_name: Probabilities of label 1, shape (n,), by the name of the curve.

    Returns:
        A PNG of 640 × 420 pixels.
    """
    figure = new_figure()
    axes, counts = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    axes.set(ylabel="Positive rows (share of bin)", xlim=(-0.01, 1.01), ylim=(-0.02, 1.02))
    counts.set(xlabel="Predicted probability of label 1", ylabel="Rows in bin")
    tidy(axes)
    tidy(counts)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, label="perfectly calibrated")
    for style, (name, scores) in zip(_styles(), scores_by_name.items(), strict=False):
        curve = reliability_curve(labels_by_name[name], scores)
        label = f"{name}: ECE {curve.expected_calibration_error:.3f}, n = {scores.size:,}"
        axes.plot(curve.mean_score, curve.positive_share, marker="o", markersize=4, **style, label=label)
        counts.hist(scores, bins=15, range=(0, 1), histtype="step", **style)
    # Logarithmic: a good model piles rows up at both ends, and the thin bins between are the doubtful ones.
    counts.set(yscale="log", ylim=(0.9, None))
    counts.yaxis.set_major_formatter("{x:,.0f}")
    counts.minorticks_off()
    axes.legend(loc="upper left")
    return as_png(figure)


def score_distribution_picture(scores_by_split: Mapping[str, Scores]) -> bytes:
    """How the scores of each split are distributed, and their KS distance from the first split.

    Args:
        scores_by_split: Probabilities of label 1, shape (n,), by split; the first is the reference.

    Returns:
        A PNG of 640 × 420 pixels.

    Raises:
        ValidationError: A split is empty or holds scores that are not finite.
    """
    figure = new_figure()
    axes = figure.add_subplot(
        xlabel="Predicted probability of label 1",
        ylabel="Rows (% of split, per bin of 0.05)",
        xlim=(-0.01, 1.01),
    )
    tidy(axes)
    reference_name, reference = next(iter(scores_by_split.items()))
    for style, (name, scores) in zip(_styles(), scores_by_split.items(), strict=False):
        label = f"{name}: n = {scores.size:,}"
        if name != reference_name:
            drift = ks_drift(
                reference, scores, column="score", reference_name=reference_name, current_name=name
            )
            label += f", KS {drift.ks:.3f} from {reference_name}"
        share = np.full(scores.size, 100 / scores.size)
        axes.hist(scores, bins=20, range=(0, 1), weights=share, histtype="step", **style, label=label)
    figure.legend(loc="outside upper center")
    return as_png(figure)


def as_markdown_image(png: bytes, alt: str) -> str:
    """The picture as a Markdown image that holds its own bytes: metadata has no type for images."""
    return f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode('ascii')})"


def new_figure() -> "Figure":
    """An empty figure of the house's size and background."""
    # The object interface, not pyplot: no global state, no display, nothing to close.
    from matplotlib.figure import Figure

    return Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained", facecolor="white")


def tidy(axes: "Axes") -> None:
    """No frame, and a grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)


def _styles() -> Iterator[dict[str, Any]]:
    """Endless: every round through the colours gives them other lines."""
    for at in count():
        line = _LINES[(at + at // len(COLOURS)) % len(_LINES)]
        yield {"color": COLOURS[at % len(COLOURS)], "linestyle": line, "linewidth": 1.8}


def as_png(figure: "Figure") -> bytes:
    """The figure as the bytes of a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    buffer = io.BytesIO()
    # The bytes travel in metadata, so a palette: it looks the same at a quarter of the size.
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(128).save(
        buffer, format="png", optimize=True
    )
    return buffer.getvalue()
