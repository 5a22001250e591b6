"""The reference profile of a model version: how its answers are distributed over rows that it never saw.

What drift of the deployed model is measured against, so it holds held-out rows only: a model is surer of
what it was trained on than of anything that it will be asked.

    n_s  held-out rows of source s        m_s  weight of source s in the mix        w  weight of a row
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from platform_assets.sketch.errors import SketchError
from platform_assets.sketch.sketch import ColumnProfile, ReferenceProfile
from platform_assets.validation.errors import ValidationError
from platform_assets.validation.source_names import hashed_source

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

SHARED_COLUMNS: Final = ("score", "source", "error")
"""Of every profile. `error` is |label − score|: it joins the others where labels come later."""
HELD_OUT_SPLITS: Final = ("validation", "test")
_FEWEST_NAMED_ROWS: Final = 5
"""A category of fewer rows may be about one person. The profile counts it, and does not name it."""


def reference_profile(
    scored: "pa.Table",
    columns: Sequence[str],
    *,
    mix: Mapping[str, float] | None,
    salt: bytes,
    splits: Sequence[str] = HELD_OUT_SPLITS,
) -> ReferenceProfile:
    """The profile of a model's held-out rows; with a mix, as if sources had these shares among them.

    Each row of source s weighs w = m_s / n_s, so that a source weighs what the mix says, however many
    rows it has. Rows of a source that the mix does not name are left out, and so is a source of the mix that
    no held-out row is of, with a warning: a stream may hold what nobody has data of. Rows that were never to
    be trained on (split `shift`) are not among the held-out ones. A column of the task's that cannot be compared is left out,
    with the reason in the profile; categories of a few rows are not named there.

    Args:
        scored: What `scoring.scored_rows` yields.
        columns: The task's own columns among them, besides `SHARED_COLUMNS`.
        mix: Positive weight by source, of any sum; None for the rows as they are. A source may stand as the hash by
            which the ledger knows it (`hashed_source`).
        salt: Of these hashes.
        splits: Which of the held-out rows it is of.

    Raises:
        ValidationError: no row was held out, or none of any source that the mix names; or scores or errors cannot be
            compared.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = scored.filter(pc.is_in(scored["split"], pa.array(splits)))
    if not rows.num_rows:
        raise ValidationError("no row was held out of training, so there is nothing to measure drift against")
    values = {name: _values(rows[name]) for name in ("score", *columns, "source")}
    values["error"] = np.abs(rows["label"].to_numpy() - values["score"])
    weights = None if mix is None else _weights(values["source"], mix, salt)
    profiles, left_out = {}, {}
    for name, column in values.items():
        try:
            profiles[name] = ColumnProfile.of(column, weights=weights, fewest_rows=_FEWEST_NAMED_ROWS)
        except SketchError as problem:
            if name in ("score", "error"):
                raise ValidationError(f"{name} of the held-out rows: {problem}") from None
            left_out[name] = str(problem)
    if left_out:
        log.warning(
            "drift is not measured of %s", "; ".join(f"{name}: {why}" for name, why in left_out.items())
        )
    return ReferenceProfile(profiles, left_out)


def _values(column: "pa.ChunkedArray") -> "NDArray[Any]":
    """The values; integers with gaps as they are, since as floats long identifiers would look like measurements."""
    from pyarrow import types

    if types.is_integer(column.type) and column.null_count:
        return np.array(column.to_pylist(), dtype=object)
    values: NDArray[Any] = column.to_numpy()
    return values


def _weights(sources: "NDArray[np.object_]", mix: Mapping[str, float], salt: bytes) -> "NDArray[np.float64]":
    """The w of every row, 0 for those of a source outside the mix; only their ratios count."""
    rows_of = Counter(sources.tolist())
    named = {name: name if name in mix else hashed_source(name, salt) for name in sorted(rows_of)}
    message = f"reference_mix names %s, and held-out rows are of {', '.join(named)} only"
    if not set(mix) & {*named.values()}:
        raise ValidationError(f"{message % ', '.join(mix)}; name one of these, or train on them too")
    if missing := sorted(set(mix) - {*named.values()}):
        log.warning("%s; the reference leaves it out", message % ", ".join(missing))
    weight_of = {name: mix.get(stated, 0.0) / rows_of[name] for name, stated in named.items()}
    return np.array([weight_of[name] for name in sources.tolist()])
