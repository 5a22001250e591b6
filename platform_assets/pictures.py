"""What all pictures share: their size and colours, PNG bytes, and the Markdown that carries them in metadata."""

import base64
import io
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that stay apart for colour-blind readers (Okabe & Ito 2008).
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
GREY: Final = "#767676"
_SIZE_INCHES: Final = (6.4, 4.2)
_DPI: Final = 100


def as_png(figure: "Figure") -> bytes:
    """The figure as the bytes of a PNG."""
    import numpy as np
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
