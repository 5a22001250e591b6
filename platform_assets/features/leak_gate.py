"""The leak gate of a line's features: brings the rows that `leak` judges, and says what cannot be judged."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platform_assets.datasets.errors import DatasetError
from platform_assets.datasets.remains import remains_of
from platform_assets.datasets.sources import open_source
from platform_assets.features.errors import FeatureError
from platform_assets.features.featurizer import TransformerUse
from platform_assets.features.fit_input import file_rows, rows_to_fit
from platform_assets.features.joined import JoinedTransformer
from platform_assets.features.leak import (
    RULE_SET,
    RULE_SET_HASH,
    Finding,
    FittedRows,
    Outcome,
    kept_apart,
    past_only,
    targets_known,
)
from platform_assets.features.leak_join import looked_up
from platform_assets.features.transformer import FittedTransformer
from platform_assets.features.transformer_spec import TransformerSpec
from platform_assets.governance.errors import SubjectError
from platform_assets.governance.verdict import Requirement, Verdict
from platform_assets.references import HISTORICAL, DatasetVersion, TransformerVersion
from resources.provenance import code_commit
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

REQUIREMENT = Requirement(subject_kind="features", rule_set=RULE_SET)
"""What deploying a line with transformers demands, whether or not its spec says so."""


class _UnjudgedError(FeatureError):
    """Nobody can tell."""


@dataclass(frozen=True, slots=True)
class LeakReport:
    """What the gate found."""

    findings: tuple[Finding, ...]

    @property
    def outcome(self) -> Outcome:
        """The worst of all."""
        outcomes = {each.outcome for each in self.findings}
        return "fail" if "fail" in outcomes else "error" if "error" in outcomes else "pass"

    @property
    def reason(self) -> str:
        """What decided, in counts."""
        return "; ".join(each.reason for each in self.findings if each.outcome == self.outcome)

    def verdict(self, subject: str) -> Verdict:
        """On features `<line>_features@<version>`."""
        return Verdict(
            subject=subject,
            rule_set=RULE_SET,
            rule_set_hash=RULE_SET_HASH,
            outcome=self.outcome,
            evidence={
                "demanded": "nothing is learnt from, or looked up in, what is not known yet",
                "observed": self.reason,
                "reason": self.reason,
                "findings": [
                    {
                        "transformer": each.transformer,
                        "rule": each.rule,
                        "outcome": each.outcome,
                        **each.counts,
                    }
                    for each in self.findings
                ],
            },
            producer={"code_commit": code_commit()},
        )


def judge_leaks(
    versions: Sequence[TransformerVersion],
    fitted: Mapping[str, FittedTransformer],
    use: TransformerUse,
    dataset: DatasetVersion,
    rows: "pa.Table",
    warehouse: Warehouse,
) -> LeakReport:
    """What the rules find about the transformers of a line.

    Args:
        versions: Those that it applies.
        fitted: The same, by name.
        use: What its spec says about them.
        dataset: The version that its features are made of.
        rows: All its rows.
        warehouse: Holds what they were fitted on.
    """
    findings = [
        finding
        for version in versions
        for finding in _findings(version, fitted[version.name], use, dataset, rows, warehouse)
    ]
    return LeakReport(tuple(findings))


def _findings(
    version: TransformerVersion,
    fitted: FittedTransformer,
    use: TransformerUse,
    dataset: DatasetVersion,
    rows: "pa.Table",
    warehouse: Warehouse,
) -> Iterator[Finding]:
    spec = fitted.spec
    if version.transformer_type in HISTORICAL and use.available is not None and spec.available_column is None:
        # A file may be the very one that the line's rows are of.
        column = "" if isinstance(fitted, JoinedTransformer) else f": {use.available}"
        yield _unjudged(
            version,
            "known",
            FeatureError(
                f"it does not say when the values that it looks back at were known, and this line has {use.available} "
                f"for that; name availableColumn{column}, or {spec.timestamp_column} if they were known at once"
            ),
        )
    if isinstance(fitted, JoinedTransformer):
        try:
            yield looked_up(version.label, fitted, rows)
        except FeatureError as problem:
            yield _unjudged(version, "looked up", problem)
        try:
            # Its table was made along the rows of its own source.
            yield past_only(version.label, fitted.fitted, _input_rows(version, spec, warehouse))
        except FeatureError as problem:
            yield _unjudged(version, "past only", problem)
        return
    if version.transformer_type in HISTORICAL:
        try:
            yield past_only(version.label, fitted, rows)
        except FeatureError as problem:
            yield _unjudged(version, "past only", problem)
        return
    try:
        learnt_from = _fitted_rows(version, fitted, use, dataset, warehouse)
    except (FeatureError, SubjectError) as problem:
        yield _unjudged(version, "apart", problem)
        return
    try:
        yield kept_apart(
            version.label,
            learnt_from,
            rows,
            dataset.subject_column,
            group_column=use.group,
            time_column=use.split_time,
            has_key=use.has_key,
        )
    except (FeatureError, SubjectError) as problem:
        yield _unjudged(version, "apart", problem)
    if use.split_time is not None:
        try:
            known = _known_columns(spec, use, learnt_from.rows.column_names)
            yield targets_known(version.label, learnt_from.rows, known, rows, use.split_time)
        except FeatureError as problem:
            yield _unjudged(version, "known", problem)


def _known_columns(spec: TransformerSpec, use: TransformerUse, there: Sequence[str]) -> list[str]:
    """By which columns of the fitted rows one tells when they and their targets were known.

    Whoever leaves a time out of the transformer is judged by the line's, and at the least by when rows were.
    """
    event = use.split_time if use.split_time in there else spec.timestamp_column
    available = spec.available_column or (use.available if use.available in there else None)
    columns = list(dict.fromkeys(name for name in (event, available) if name is not None))
    if not columns:
        raise _UnjudgedError(
            "nobody says when the rows that it was fitted on were; name timestampColumn, and availableColumn where their "
            "target became known later"
        )
    return columns


def _unjudged(version: TransformerVersion, rule: str, problem: Exception) -> Finding:
    return Finding(version.label, rule, "error", f"nobody can tell of {version.label}: {problem}", {})


def _fitted_rows(
    version: TransformerVersion,
    fitted: FittedTransformer,
    use: TransformerUse,
    dataset: DatasetVersion,
    warehouse: Warehouse,
) -> FittedRows:
    """The rows that it was fitted on, whose subjects can be compared with those of the dataset."""
    if not use.has_key and version.dataset_asset != (own := f"{dataset.line}_dataset"):
        raise _UnjudgedError(
            f"it was fitted on {version.dataset_asset or version.input_source}, and rows of this line have no key by which "
            f"they could be found there; fit it on asset://{own}, or give a column the role key"
        )
    if version.snapshot is None:
        return _rows_of_file(version, fitted)
    if version.subject_namespace != dataset.subject_namespace or version.subject_column is None:
        raise _UnjudgedError(
            f"it was fitted on subjects of {version.subject_namespace}, and those of this line are of "
            f"{dataset.subject_namespace}; fit it on a dataset of the same subjects"
        )
    found = _rows_of_snapshot(version, fitted, warehouse)
    return FittedRows(found, version.subject_column)


def rows_of_version(
    version: TransformerVersion, fitted: FittedTransformer, warehouse: Warehouse
) -> "pa.Table | None":
    """The rows that a version was fitted on, as they are today; None where they are gone.

    Raises:
        WarehouseError: the warehouse does not answer.
    """
    try:
        if version.snapshot is not None:
            return _rows_of_snapshot(version, fitted, warehouse)
        source = open_source(fitted.spec.input_source)
        return file_rows(source, fitted.spec) if source.sha256 == version.input_hash else None
    except (FeatureError, DatasetError):
        return None


def _rows_of_snapshot(
    version: TransformerVersion, fitted: FittedTransformer, warehouse: Warehouse
) -> "pa.Table":
    return rows_to_fit(fitted.spec, _input_rows(version, fitted.spec, warehouse)).rows


def _input_rows(version: TransformerVersion, spec: TransformerSpec, warehouse: Warehouse) -> "pa.Table":
    """All rows of what it was fitted on, as they are today."""
    if version.snapshot is None:
        return _whole_file(version, spec)
    # What an erasure or retention took out of it is among nobody's rows.
    left = remains_of(version.snapshot, warehouse)
    if left is None:
        raise _UnjudgedError(
            f"the snapshot of {version.dataset_asset} that it was fitted on is gone; name a later version"
        )
    return warehouse.read(left.table, left.snapshot_id)


def _rows_of_file(version: TransformerVersion, fitted: FittedTransformer) -> FittedRows:
    key = fitted.spec.entity_key
    if key is None:
        raise _UnjudgedError(
            f"it was fitted on {version.input_source}, and without entityKey nobody knows whose those rows are; "
            "name the column, or fit it on asset://<dataset>"
        )
    return FittedRows(_whole_file(version, fitted.spec), key)


def _whole_file(version: TransformerVersion, spec: TransformerSpec) -> "pa.Table":
    try:
        source = open_source(spec.input_source)
        if source.sha256 != version.input_hash:
            raise _UnjudgedError(
                f"{version.input_source} is no longer the file that it was fitted on; materialize it again"
            )
        return file_rows(source, spec)
    except DatasetError as problem:
        raise _UnjudgedError(str(problem)) from None
