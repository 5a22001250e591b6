"""The reference profile of a model version: how its answers are distributed over rows that it never saw.

What drift of the deployed model is measured against, so it holds held-out rows only: a model is surer of
what it was trained on than of anything that it will be asked.

    n_s  held-out rows of source s        m_s  weight of source s in the mix        w  weight of a row
"""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from platform_assets.sketch.sketch import ReferenceProfile
from platform_assets.validation.errors import ValidationError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

SHARED_COLUMNS: Final = ("score", "source", "error")
"""Of every profile. `error` is |label − score|: it joins the others where labels come later."""
HELD_OUT_SPLITS: Final = ("validation", "test")


def reference_profile(
    scored: "pa.Table", columns: Sequence[str], *, mix: Mapping[str, float] | None
) -> ReferenceProfile:
    """The profile of a model's held-out rows; with a mix, as if sources had these shares among them.

    Each row of source s weighs w = m_s / n_s, so that a source weighs what the mix says, however many
    rows it has. Rows of a source that the mix does not name are left out, and so is a source of the mix that
    no held-out row is of, with a warning: a stream may hold what nobody has data of. Rows that were never to
    be trained on (split `shift`) are not among the held-out ones.

    Args:
        scored: What `scoring.scored_rows` yields.
        columns: The task's own columns among them, besides `SHARED_COLUMNS`.
        mix: Positive weight by source, of any sum; None for the rows as they are.

    Raises:
        ValidationError: no row was held out, or none of any source that the mix names.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = scored.filter(pc.is_in(scored["split"], pa.array(HELD_OUT_SPLITS)))
    if not rows.num_rows:
        raise ValidationError("no row was held out of training, so there is nothing to measure drift against")
    values = {name: rows[name].to_numpy() for name in ("score", *columns, "source")}
    values["error"] = np.abs(rows["label"].to_numpy() - values["score"])
    weights = None if mix is None else _weights(values["source"], mix)
    return ReferenceProfile.of(values, weights=weights)


def _weights(sources: "NDArray[np.object_]", mix: Mapping[str, float]) -> "NDArray[np.float64]":
    """The w of every row, 0 for those of a source outside the mix; only their ratios count."""
    held_out, source_of_row, n = np.unique(sources.astype(str), return_inverse=True, return_counts=True)
    names = held_out.tolist()
    message = f"reference_mix names %s, and held-out rows are of {', '.join(names)} only"
    if not set(mix) & set(names):
        raise ValidationError(f"{message % ', '.join(mix)}; name one of these, or train on them too")
    if missing := sorted(set(mix) - set(names)):
        log.warning("%s; the reference leaves it out", message % ", ".join(missing))
    m = np.array([mix.get(name, 0.0) for name in names])
    weights: NDArray[np.float64] = (m / n)[source_of_row]
    return weights
