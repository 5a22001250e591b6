"""What moved between two versions of a transformer: its spec, what it was fitted on, its bins and what they tell."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from platform_assets.features.errors import FeatureError
from platform_assets.features.transformer import FittedTransformer
from platform_assets.references import HISTORICAL, TransformerVersion

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.features.woe import Woe
    from platform_assets.features.woe_table import WoeColumn


@dataclass(frozen=True, slots=True)
class ColumnDiff:
    """One column of weights of evidence."""

    column: str
    iv: tuple[float | None, float | None]
    """Information value before and after; None where the version has no such column."""
    psi: float | None
    """Population stability index of the rows that the later one was fitted on, over the bins of the earlier one; None
    where those rows cannot be read, the earlier one refuses them, or one of the two has no such column."""
    bins: tuple[tuple[str, ...], tuple[str, ...]]
    """Labels before and after."""
    largest_step: float | None
    """The largest change of the weight of a bin that both have."""

    @property
    def same_bins(self) -> bool:
        """Whether both have the same bins, whatever their weights."""
        return self.bins[0] == self.bins[1]


@dataclass(frozen=True, slots=True)
class TransformerDiff:
    """What moved."""

    before: TransformerVersion
    after: TransformerVersion
    spec: dict[str, tuple[JsonValue, JsonValue]]
    """Values before and after by field of the spec, as `woe.maxBins`; None where one says nothing."""
    columns: tuple[ColumnDiff, ...]

    @property
    def same_input(self) -> bool:
        """Whether both were fitted on the same rows."""
        return self.before.input_hash == self.after.input_hash

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "before": _told(self.before),
            "after": _told(self.after),
            "same_state": self.before.sha256 == self.after.sha256,
            "spec": {name: list(values) for name, values in self.spec.items()},
            "columns": [
                {
                    "column": each.column,
                    "iv": list(each.iv),
                    "psi": each.psi,
                    "same_bins": each.same_bins,
                    "largest_step": each.largest_step,
                    "bins": [list(labels) for labels in each.bins],
                }
                for each in self.columns
            ],
        }


def diff(
    before: tuple[TransformerVersion, FittedTransformer],
    after: tuple[TransformerVersion, FittedTransformer],
    *,
    later_rows: "pa.Table | None" = None,
) -> TransformerDiff:
    """What moved from one version to the other.

    Args:
        before: A version, as it was fitted.
        after: Another one, as a rule of the same transformer.
        later_rows: What `after` was fitted on, where it can be read.
    """
    specs = (before[1].spec.normalised(), after[1].spec.normalised())
    columns: tuple[ColumnDiff, ...] = ()
    if not {before[0].transformer_type, after[0].transformer_type} & HISTORICAL:
        columns = _columns(before[1], after[1], later_rows)  # type: ignore[arg-type]
    return TransformerDiff(before[0], after[0], _changes(*map(_flat, specs)), columns)


def _columns(before: "Woe", after: "Woe", later_rows: "pa.Table | None") -> tuple[ColumnDiff, ...]:
    then = {column.name: column for column in before.columns}
    now = {column.name: column for column in after.columns}
    return tuple(
        ColumnDiff(
            column=name,
            iv=(_iv(then.get(name)), _iv(now.get(name))),
            psi=_psi(before, name, later_rows) if name in then and name in now else None,
            bins=(_labels(then.get(name)), _labels(now.get(name))),
            largest_step=_largest_step(then.get(name), now.get(name)),
        )
        for name in dict.fromkeys((*then, *now))
    )


def _psi(before: "Woe", name: str, later_rows: "pa.Table | None") -> float | None:
    """Of one column by itself: what makes no sense in another says nothing about it."""
    if later_rows is None:
        return None
    alone = before.model_copy(
        update={"columns": tuple(column for column in before.columns if column.name == name)}
    )
    try:
        return alone.psi(later_rows)[name]
    except FeatureError:
        return None


def _iv(column: "WoeColumn | None") -> float | None:
    return None if column is None else column.iv


def _labels(column: "WoeColumn | None") -> tuple[str, ...]:
    return () if column is None else tuple(each.label for each in column.bins)


def _largest_step(before: "WoeColumn | None", after: "WoeColumn | None") -> float | None:
    if before is None or after is None:
        return None
    then = {each.label: each.woe for each in before.bins}
    return max((abs(each.woe - then[each.label]) for each in after.bins if each.label in then), default=None)


def _flat(spec: Mapping[str, JsonValue], at: str = "") -> dict[str, JsonValue]:
    found: dict[str, JsonValue] = {}
    for name, value in spec.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{at}{name}.")
        else:
            found[f"{at}{name}"] = value
    return found


def _changes(
    before: Mapping[str, JsonValue], after: Mapping[str, JsonValue]
) -> dict[str, tuple[JsonValue, JsonValue]]:
    return {
        name: (before.get(name), after.get(name))
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    }


def _told(version: TransformerVersion) -> dict[str, Any]:
    return {
        "version": version.label,
        "data_version": version.data_version,
        "sha256": version.sha256,
        "input": version.dataset_asset or version.input_source,
        "input_hash": version.input_hash,
        "snapshot": version.snapshot.snapshot_id if version.snapshot else None,
        "fit_rows": version.fit_rows,
    }
