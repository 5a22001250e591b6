"""What every transformer can do once it is fitted, whatever its type."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from platform_assets.features.errors import FeatureError
from platform_assets.features.transformer_spec import TransformerSpec, TransformerType
from platform_assets.fingerprint import code_version

if TYPE_CHECKING:
    import pyarrow as pa

_ROOM: Final = "platform_assets.features"
_WINDOWS: Final = (
    "csv_types",
    "table_columns",
    "windows",
    "window_columns",
    "window_entity",
    "window_groups",
    "window_kernels",
    "window_state",
)
_MODULES: Final[Mapping[TransformerType, tuple[str, ...]]] = MappingProxyType(
    {
        "woe": (
            "csv_types",
            "table_columns",
            "woe",
            "woe_bins",
            "woe_columns",
            "woe_kernels",
            "woe_labels",
            "woe_prebins",
            "woe_table",
            "woe_target",
        ),
        "zscore": _WINDOWS,
        "lag": _WINDOWS,
    }
)


class FittedTransformer(Protocol):
    """Makes features of rows, the same ones wherever it runs."""

    @property
    def spec(self) -> TransformerSpec:
        """What it was fitted by."""
        ...

    def transform(self, rows: "pa.Table") -> "pa.Table":
        """The features of rows in any order: a float64 column for each of `spec.outputs`, row by row as they came.

        Raises:
            FeatureError: a column is missing or of another type; the message names column and first row, and no value.
        """
        ...

    def to_bytes(self) -> bytes:
        """As canonical JSON: equal transformers have equal bytes."""
        ...


def fit(spec: TransformerSpec, rows: "pa.Table") -> FittedTransformer:
    """The transformer, fitted on these rows.

    Args:
        spec: What it is to do.
        rows: Of woe, those that may be learnt from. The others learn nothing and look at none.

    Raises:
        FeatureError: the rows do not fit the spec, e.g. the target has not two values.
    """
    if spec.transformer_type == "woe":
        from platform_assets.features.woe import fit_woe

        return fit_woe(spec, rows)
    from platform_assets.features.windows import WindowTransformer

    return WindowTransformer(spec)


def read_fitted(content: bytes) -> FittedTransformer:
    """The transformer that `to_bytes` wrote.

    Raises:
        FeatureError: it is none, is damaged, or is of a later format.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and found.get("type") == "woe":
        from platform_assets.features.woe import Woe

        return Woe.from_bytes(content)
    if isinstance(found, dict) and set(found) == {"format", "spec"}:
        from platform_assets.features.windows import WindowTransformer

        return WindowTransformer.from_bytes(content)
    raise FeatureError(
        f"these {len(content):,} bytes are a damaged fitted transformer, or none; name the file of one, or fit anew"
    )


def kernel_version(kind: TransformerType) -> str:
    """Version of the code that computes features of a type; part of the data version of each that is fitted."""
    return code_version(f"transformer {kind}", *(f"{_ROOM}.{name}" for name in _MODULES[kind]))
