"""Weight of evidence: what a value tells about the odds of an event, fitted to a target with two values.

    prebins(spec, sample).fitted(counts)        counts = prebins.count(rows) + prebins.count(more rows) + …

Fine bins are laid by a sample; all rows are counted into them, in any number of pieces and on any number of machines;
and the counts alone decide which of them are put together (`woe_bins`, which has the formulas, too). `fit_woe` does the
three on one table.

A number belongs to an interval (lower, upper]; infinite ones to those at the ends; NaN and null are missing. A category
is a text, or a boolean. One that fewer fitted rows have than `rareShare`, or than `FEWEST_ROWS`, is not named: what is
fitted outlives an erasure (docs/adr/0028). It shares a bin with all categories that come later. Special, rare and missing
values of fewer than `FEWEST_ROWS` weigh nothing, and are counted among the largest bin.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import numpy as np
import rfc8785
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator
from pydantic import ValidationError as PydanticValidationError

from platform_assets.features.errors import FeatureError
from platform_assets.features.table_columns import column_of, first_missing
from platform_assets.features.transformer_spec import TransformerSpec, WoeSpec
from platform_assets.features.woe_bins import Counts, Odds
from platform_assets.features.woe_columns import check_kind, kind_of
from platform_assets.features.woe_prebins import CategoryPrebins, Counted, NumberPrebins, Prebinned, no_value
from platform_assets.features.woe_table import WoeColumn, kernels_for
from platform_assets.features.woe_target import check_classes, read_target, refuse_texts
from platform_assets.fingerprint import canonical_sha256

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT: Final = 1
SAMPLE_ROWS: Final = 131_072
"""No more rows than that decide where prebins begin and end."""


class Woe(BaseModel):
    """Weights of evidence as they were fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    format: Literal[1] = FORMAT
    type: Literal["woe"] = "woe"
    spec: TransformerSpec
    rows: int
    """Fitted ones."""
    events: int
    columns: tuple[WoeColumn, ...]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if {found.name: found.output for found in self.columns} != self.spec.outputs:
            raise ValueError("the columns are not those of the spec")
        for found in self.columns:
            if (sum(b.rows for b in found.bins), sum(b.events for b in found.bins)) != (
                self.rows,
                self.events,
            ):
                raise ValueError(f"bins of {found.name}: their rows are not all rows")
        return self

    def transform(self, rows: "pa.Table") -> "pa.Table":
        """The weight of each value: float64, a column for each of `spec.outputs`, row by row.

        Raises:
            FeatureError: a column is missing or of another type than the fitted one, or a value is missing and the
                spec refuses that.
        """
        import pyarrow as pa

        answers = self._answers(rows, [column.weights for column in self.columns], np.float64)
        return pa.table({column.output: values for column, values in zip(self.columns, answers, strict=True)})

    def indices(self, rows: "pa.Table") -> dict[str, NDArray[np.int32]]:
        """The position of each row's bin in `bins`, shape (rows,), by column.

        Raises:
            FeatureError: as `transform`.
        """
        positions = [np.arange(len(column.bins), dtype=np.int32) for column in self.columns]
        answers = self._answers(rows, positions, np.int32)
        return {column.name: values for column, values in zip(self.columns, answers, strict=True)}

    def bin_counts(self, rows: "pa.Table") -> dict[str, Counts]:
        """How many rows each bin has, shape (bins,), by column; those of pieces of a table add up.

        Raises:
            FeatureError: as `transform`.
        """
        return {
            column.name: np.bincount(found, minlength=len(column.bins))
            for column, found in zip(self.columns, self.indices(rows).values(), strict=True)
        }

    def psi(self, rows: "pa.Table") -> dict[str, float]:
        """Population stability index between the fitted rows and these, by column; see `stability`.

        Raises:
            FeatureError: as `transform`, or there are no rows.
        """
        return self.stability(self.bin_counts(rows))

    def stability(self, counts: Mapping[str, Counts]) -> dict[str, float]:
        """Population stability index between the fitted rows and others, by column: Σ (p - q) ln(p / q) over the bins.

        Half a row is added to each bin on both sides, so that an empty one leaves the index finite; bins that are empty
        on both do not count.

        Args:
            counts: As `bin_counts` has them.

        Raises:
            FeatureError: the others are no rows.
        """
        found = {}
        for column in self.columns:
            both = np.array([[fitted.rows for fitted in column.bins], counts[column.name]], np.float64)
            if not both[1].any():
                raise FeatureError("there are no rows to compare with the fitted ones")
            both = both[:, both.any(axis=0)] + 0.5
            q, p = both / both.sum(axis=1, keepdims=True)
            found[column.name] = float(((p - q) * np.log(p / q)).sum())
        return found

    def to_bytes(self) -> bytes:
        """As canonical JSON with its own SHA-256: equal weights have equal bytes."""
        content = self.model_dump(mode="json", by_alias=True)
        return rfc8785.dumps(content | {"sha256": canonical_sha256(content)})

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The weights that `to_bytes` wrote.

        Raises:
            FeatureError: it is something else, is damaged, or is of a later format.
        """
        found = _json(content)
        if found.get("type") != "woe":
            raise FeatureError(f"these {len(content)} bytes are no fitted weights of evidence")
        if found.get("format") != FORMAT:
            raise FeatureError(
                f"weights of evidence of format {found.get('format')}: this code reads {FORMAT}; install a newer one"
            )
        found.pop("sha256", None)
        try:
            woe = cls.model_validate_json(json.dumps(found))
        except PydanticValidationError as problem:
            wrong = problem.errors(include_input=False, include_url=False)[0]
            where = ".".join(map(str, wrong["loc"]))
            raise FeatureError(f"weights of evidence are damaged: {where}: {wrong['msg']}") from None
        # The hash is among the bytes. A digit more or less may leave a number what it is, and they still differ.
        if woe.to_bytes() != content:
            raise FeatureError("weights of evidence are damaged: written again, their bytes differ")
        return woe

    def _answers(self, rows: "pa.Table", answers: Sequence[NDArray[Any]], kind: Any) -> list[NDArray[Any]]:
        kernels = kernels_for(rows.num_rows * len(self.columns))
        refuses = _settings(self.spec).missing == "refuse"
        found = []
        for column, of_bins in zip(self.columns, answers, strict=True):
            values = column_of(rows, column.name)
            check_kind(values, column.name, column.kind)
            if refuses:
                _refuse_missing(values, column.name)
            into = np.empty(rows.num_rows, kind)
            column.reader.answered(values, column.name, of_bins, into, kernels)
            found.append(into)
        return found


@dataclass(frozen=True, slots=True)
class WoeCounts:
    """Rows of each prebin; those of pieces of a table add up to those of the whole."""

    rows: int
    events: int
    others: frozenset[str]
    """Spellings of what is no event: one, unless all rows are events."""
    columns: tuple[Counted, ...]

    def __add__(self, other: Self) -> "WoeCounts":
        return WoeCounts(
            self.rows + other.rows,
            self.events + other.events,
            self.others | other.others,
            tuple(mine + theirs for mine, theirs in zip(self.columns, other.columns, strict=True)),  # type: ignore[operator]
        )


@dataclass(frozen=True, slots=True)
class Prebins:
    """Fine bins of each column."""

    spec: TransformerSpec
    columns: tuple[Prebinned, ...]

    def count(self, rows: "pa.Table") -> WoeCounts:
        """Rows of each prebin. Whoever adds counts adds them in any order.

        Raises:
            FeatureError: a column is missing or of another type than in the sample, the target has a null or more than
                two values, or a value is missing and the spec refuses that.
        """
        settings = _settings(self.spec)
        assert self.spec.target is not None
        target = read_target(rows, self.spec.target, settings.event)
        kernels = kernels_for(rows.num_rows * len(self.columns))
        if settings.missing == "refuse":
            for column in self.columns:
                _refuse_missing(column_of(rows, column.name), column.name)
        return WoeCounts(
            rows.num_rows,
            int(np.count_nonzero(target.labels)),
            target.others,
            tuple(column.count(rows, target.labels, kernels) for column in self.columns),
        )

    def fitted(self, counts: WoeCounts) -> Woe:
        """The weights of what was counted.

        Raises:
            FeatureError: the target has one value only or more than two, or a column has no value.
        """
        settings = _settings(self.spec)
        assert self.spec.target is not None
        check_classes(self.spec.target, counts.others)
        if not 0 < counts.events < counts.rows:
            which = "is" if counts.events else "is not"
            raise FeatureError(
                f"target {self.spec.target}: each of the {counts.rows} rows {which} an event, and weights need both; "
                "look at the rows, and at woe.event"
            )
        odds = Odds(counts.rows - counts.events, counts.events, settings.smoothing)
        outputs = self.spec.outputs
        return Woe(
            spec=self.spec,
            rows=counts.rows,
            events=counts.events,
            columns=tuple(
                column.fitted(counted, odds, settings, outputs[column.name])  # type: ignore[arg-type]
                for column, counted in zip(self.columns, counts.columns, strict=True)
            ),
        )


def sample_of(rows: int) -> NDArray[np.int64]:
    """Which of so many rows make the sample, ascending: all, or `SAMPLE_ROWS` of them at even distances."""
    if rows <= SAMPLE_ROWS:
        return np.arange(rows)
    return np.arange(SAMPLE_ROWS) * rows // SAMPLE_ROWS


def prebins(spec: TransformerSpec, sample: "pa.Table") -> Prebins:
    """Fine bins by the rows of a sample, all of which are looked at; see `sample_of`.

    Raises:
        FeatureError: a column is missing, has no value, or is of a type that has no weights.
    """
    return joined(spec, [prebinned(spec, sample, name) for name in spec.columns])


def prebinned(spec: TransformerSpec, sample: "pa.Table", name: str) -> Prebinned:
    """Fine bins of one column, which need no other of the sample.

    Raises:
        FeatureError: as `prebins`.
    """
    column = column_of(sample, name)
    kind = kind_of(column, name)
    if kind is None:
        raise no_value(name)
    return NumberPrebins.of(column, name, _settings(spec)) if kind == "numeric" else CategoryPrebins(name)


def joined(spec: TransformerSpec, columns: Sequence[Prebinned]) -> Prebins:
    """The fine bins of all columns of the spec, in its order.

    Raises:
        FeatureError: a special value is a text, and no column is of texts.
    """
    if all(isinstance(each, NumberPrebins) for each in columns):
        refuse_texts(_settings(spec).special_values)
    return Prebins(spec, tuple(columns))


def fit_woe(spec: TransformerSpec, rows: "pa.Table") -> Woe:
    """The weights of these rows. Their order is of no consequence, up to `SAMPLE_ROWS` of them.

    Raises:
        FeatureError: as `prebins`, `Prebins.count` and `Prebins.fitted`.
    """
    fine = prebins(spec, sampled(spec, rows))
    return fine.fitted(fine.count(rows))


def sampled(spec: TransformerSpec, rows: "pa.Table") -> "pa.Table":
    """The sample of a table. Of categories, whose prebins look at no row, only the type is there."""
    import pyarrow as pa

    if rows.num_rows <= SAMPLE_ROWS:
        return rows
    taken = sample_of(rows.num_rows)
    columns = {}
    for name in spec.columns:
        column = column_of(rows, name)
        is_number = kind_of(column, name) == "numeric"
        columns[name] = column.take(taken) if is_number else pa.nulls(taken.size, column.type)
    return pa.table(columns)


def _settings(spec: TransformerSpec) -> WoeSpec:
    settings = spec.of_type()
    if not isinstance(settings, WoeSpec):
        raise FeatureError(f"a transformer of type {spec.transformer_type} has no weights of evidence")
    return settings


def _refuse_missing(column: "pa.ChunkedArray", name: str) -> None:
    missing, first = first_missing(column)
    if missing:
        raise FeatureError(
            f"column {name}: {missing} of {len(column)} values are missing (first: row {first}), and woe.missing refuses "
            "that; fill them in, or give them a bin with `missing: bin`"
        )


def _json(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}
