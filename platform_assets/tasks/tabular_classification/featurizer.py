"""Features of tables: each column that the model reads, as numbers, and what transformers make of columns."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from platform_assets.features.featurizer import (
    NONE_FITTED,
    USED_SPLITS,
    Features,
    Refusal,
    TransformerUse,
    used_rows,
)
from platform_assets.features.joined import is_joined
from platform_assets.features.transformer import FittedTransformer
from platform_assets.features.transformer_spec import RESERVED, TransformerSpec, ZscoreSpec
from platform_assets.fingerprint import code_version
from platform_assets.references import HISTORICAL
from platform_assets.tasks.tabular_classification.encoding import UNKNOWN, Encoding
from platform_assets.tasks.tabular_classification.inputs import ModelInputs, inputs_recipe, state_hash
from platform_assets.tasks.tabular_classification.spec import (
    NO_WEIGHT,
    ROW_ID,
    ColumnsSpec,
    TabularTrainingSpec,
)
from platform_assets.tasks.tabular_classification.values import text_of

if TYPE_CHECKING:
    import pyarrow as pa

_FOLDER: Final = "platform_assets.tasks.tabular_classification"
_LABEL_EVENT: Final = "1"
_ENTITY_ROLES: Final = ("key", "group", "categorical", "ordinal")
"""Of columns that are texts."""


class TabularFeaturizer:
    """One number a column, named as the column is, so that a model's answer can be told in the source's words."""

    description: Final = (
        "Every column that the model reads, as numbers, of every row that is trained or measured on; categories were "
        "counted on training rows. Fitted transformers add theirs."
    )
    kinds: Final = ("numpy",)
    fields: Final = (
        "columns",
        "derived",
    )  # transformers count by what they are resolved to, not by how they are named
    overridable: Final = ()

    @cached_property
    def code(self) -> str:
        """See `Featurizer.code`."""
        return code_version(
            "table features",
            *(f"{_FOLDER}.{name}" for name in ("featurizer", "encoding", "inputs", "derived", "values")),
        )

    def upstream(self, spec: ColumnsSpec) -> Mapping[str, str]:  # noqa: ARG002 - there is nothing
        """See `Featurizer.upstream`."""
        return {}

    def uses(self, spec: TabularTrainingSpec) -> TransformerUse:
        """See `Featurizer.uses`."""
        return TransformerUse(
            names=spec.transformers,
            split_time=spec.named("time")[0] if spec.split.by == "time" else None,
            time=next(iter(spec.named("time")), None),
            available=next(iter(spec.named("available")), None),
            group=next(iter(spec.named("group")), None),
            has_key=spec.key is not None,
        )

    def refusal(
        self, spec: TabularTrainingSpec, name: str, transformers: Mapping[str, TransformerSpec]
    ) -> Refusal | None:
        """See `Featurizer.refusal`: it must fit the line's columns, and what it makes must be nobody else's."""
        if reason := next(_refusals(spec, name, transformers), None):
            return Refusal(reason)
        if raw := _without_weight(spec, transformers):
            return Refusal(f"no transformer weighs {raw}; {NO_WEIGHT}", ("columns", raw))
        return None

    def apply(
        self,
        rows: "pa.Table",
        spec: ColumnsSpec,
        *,
        subject_column: str,
        transformers: Mapping[str, FittedTransformer] = NONE_FITTED,
    ) -> Features:
        """See `Featurizer.apply`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = used_rows(rows)
        inputs = ModelInputs.fit(
            wanted.filter(pc.equal(wanted["split"], "train")), spec.features, transformers, spec.derived
        )
        numbers = inputs.rows(rows, pc.is_in(rows["split"], pa.array(USED_SPLITS)).to_numpy())
        table = wanted.select([subject_column, "label", "source", "split"])
        for name, column in zip(inputs.names, numbers.T, strict=True):
            table = table.append_column(name, pa.array(column, from_pandas=True))
        state = inputs.to_state()
        return Features(
            table=table,
            sha256=state_hash(state),
            recipe=inputs_recipe(spec, transformers),
            state=state,
            metadata={
                "features": len(inputs.names),
                "missing_share": float(np.isnan(numbers).mean()),
                "unknown_categories": int((numbers[:, _categories(inputs.encoding)] == UNKNOWN).sum()),
            },
            made_from={
                output: columns
                for each in transformers.values()
                for output, columns in each.spec.made_from.items()
            },
        )


def _refusals(
    spec: TabularTrainingSpec, name: str, transformers: Mapping[str, TransformerSpec]
) -> Iterator[str]:
    wanted, features = transformers[name], spec.features
    historical = wanted.transformer_type in HISTORICAL
    if spec.model == "scorecard" and wanted.transformer_type != "woe":
        yield f"{name} makes a {wanted.transformer_type}; {NO_WEIGHT}"
    if wanted.transformer_type == "woe" and (
        spec.model == "scorecard" or wanted.dataset == f"{spec.line}_dataset"
    ):
        yield from _refused_targets(spec, name, wanted)
    joined = is_joined(wanted, spec.line)
    for column in () if joined else wanted.columns:
        if column not in features:
            yield f"{name} transforms {column}, which is no feature of this line; known are {', '.join(features)}"
        elif historical and features[column].role != "numeric":
            yield f"{name} transforms {column}, which is {features[column].role}; a {wanted.transformer_type} needs a numeric one"
        elif not historical and spec.model != "scorecard" and column in spec.monotonic:
            yield (
                f"{name} takes the place of {column}, which monotonic.{column} is about; remove that, and say "
                "`monotonic` in the transformer"
            )
    if joined:
        yield from _refused_joins(spec, name, wanted)
    elif historical:
        there = {spec.key or ROW_ID, *spec.columns} - {spec.target}
        if wanted.entity_key not in there:
            yield f"{name} looks along {wanted.entity_key}, which is no column of this line"
        for column in filter(None, (wanted.timestamp_column, wanted.available_column)):
            if column not in spec.columns or spec.columns[column].role not in {"time", "available"}:
                yield f"{name} reads times of {column}, which has not the role time or available in this line"
        yield from _told_by_history(spec, name, wanted)
    others = {other: each for other, each in transformers.items() if other != name}
    taken = {output: other for other, each in others.items() for output in each.outputs.values()}
    # Whoever asks gives what columns are derived of beside features that look back.
    sources = {column for each in spec.derived.values() for _, column in each.reads()}
    for output in wanted.outputs.values():
        if output in {*spec.columns, *spec.derived, *sources, *RESERVED}:
            yield f"{name} makes {output}, which is the name of a column of this line; give it another under outputNames"
        if output in taken:
            yield f"{name} makes {output}, and so does {taken[output]}; give it another name under outputNames"
    if not historical:
        for other, each in others.items():
            if each.transformer_type == "woe" and (
                shared := [c for c in wanted.columns if c in each.columns]
            ):
                yield f"{name} takes the place of {shared[0]}, and so does {other}; keep one of them"


def _refused_joins(spec: TabularTrainingSpec, name: str, wanted: TransformerSpec) -> Iterator[str]:
    """What a table of another source needs of this line's rows: whose they are, and as of when they are asked about."""
    entity, time = str(wanted.entity_key), next(iter(spec.named("time")), None)
    looked_up = f"{name} is of another source, so its features are looked up"
    if entity not in spec.columns:
        yield f"{looked_up} by {entity}, which is no column of this line; known are {', '.join(spec.columns)}"
    elif (role := spec.columns[entity].role) not in _ENTITY_ROLES:
        yield (
            f"{looked_up} by {entity}, which is {role}; an entity is named by texts: give it the role categorical, with "
            "feature: false where the model must not read it"
        )
    if time is None:
        yield f"{looked_up} as of the time of each row, and this line has none; give a column the role time"
    for does, column in (("by", entity), ("as of", time)):
        if made_of := _of_target(spec, column):
            yield f"{looked_up} {does} {column}, which is made of {made_of}, as the target is, so it tells the answer"


def _of_target(spec: TabularTrainingSpec, column: str | None) -> str | None:
    """A column of the source that both this one and the target are made of."""
    return min(spec.lineage.raw(column or "") & spec.lineage.raw(spec.target), default=None)


def _told_by_history(spec: TabularTrainingSpec, name: str, wanted: TransformerSpec) -> Iterator[str]:
    """Where a window's place, owner or own row follows from what the target is made of."""
    for does, column in (
        ("orders rows by", wanted.timestamp_column),
        ("looks along", wanted.entity_key),
    ):
        if made_of := _of_target(spec, column):
            yield (
                f"{name} {does} {column}, which is made of {made_of}, as the target is, so it tells the answer; name it as "
                "availableColumn only"
            )
    settings = wanted.of_type()
    # A row is in its own window only if it was known at its time, which is the answer.
    if (
        isinstance(settings, ZscoreSpec)
        and settings.include_current
        and (made_of := _of_target(spec, wanted.available_column))
    ):
        yield (
            f"{name} includes a row in its own window where {wanted.available_column} says that it was known, which is made "
            f"of {made_of}, as the target is, so it tells the answer; remove zscore.includeCurrent"
        )


def _without_weight(spec: TabularTrainingSpec, transformers: Mapping[str, TransformerSpec]) -> str | None:
    """A column that a scorecard would read as it is."""
    # Of a version that is pinned and declared no more, nobody knows here what it takes; training does.
    if spec.model != "scorecard" or len(transformers) != len(spec.transformers):
        return None
    weighed = {column for each in transformers.values() for column in each.columns}
    return next((column for column in spec.features if column not in weighed), None)


def _refused_targets(spec: TabularTrainingSpec, name: str, wanted: TransformerSpec) -> Iterator[str]:
    """Weights of something else than label 1 would be leaks, or points that mean the opposite."""
    event = str(wanted.woe.event) if wanted.woe else _LABEL_EVENT
    positive = text_of(spec.columns[spec.target].positive)
    # A file has the line's own target, and no label.
    of_file = wanted.dataset is None and (wanted.target, event) == (spec.target, positive)
    if of_file or (wanted.target, event) == ("label", _LABEL_EVENT):
        return
    has = f"{name} has weights of the event {wanted.target} = {event}, and this line predicts"
    if wanted.dataset:
        yield f"{has} label = {_LABEL_EVENT} ({spec.target} = {positive}); set target: label and woe.event: {_LABEL_EVENT}"
    else:
        yield f"{has} {spec.target} = {positive}; name that as its target and woe.event"


def _categories(encoding: Encoding) -> list[int]:
    return [at for at, column in enumerate(encoding.columns) if column.kind == "category"]
