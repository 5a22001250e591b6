"""The leak gate of a line's features: brings the rows that `leak` judges, and says what cannot be judged."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platform_assets.datasets.errors import DatasetError
from platform_assets.datasets.sources import open_source
from platform_assets.features.errors import FeatureError
from platform_assets.features.featurizer import TransformerUse
from platform_assets.features.fit_input import file_rows, rows_to_fit
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
from platform_assets.features.transformer import FittedTransformer
from platform_assets.governance.errors import SubjectError
from platform_assets.governance.verdict import Requirement, Verdict
from platform_assets.references import HISTORICAL, DatasetVersion, TransformerVersion
from resources.provenance import code_commit
from resources.warehouse import Warehouse, WarehouseError

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
    if version.transformer_type in HISTORICAL:
        try:
            yield past_only(version.label, fitted, rows)
        except FeatureError as problem:
            yield _unjudged(version, "past only", problem)
        return
    try:
        learnt_from = _fitted_rows(version, fitted, dataset, warehouse)
        yield kept_apart(version.label, learnt_from, rows, dataset.subject_column)
    except (FeatureError, SubjectError) as problem:
        yield _unjudged(version, "apart", problem)
        return
    available = fitted.spec.available_column
    if available is not None and use.split_time is not None:
        try:
            yield targets_known(version.label, learnt_from.rows, available, rows, use.split_time)
        except FeatureError as problem:
            yield _unjudged(version, "known", problem)


def _unjudged(version: TransformerVersion, rule: str, problem: Exception) -> Finding:
    return Finding(version.label, rule, "error", f"nobody can tell of {version.label}: {problem}", {})


def _fitted_rows(
    version: TransformerVersion, fitted: FittedTransformer, dataset: DatasetVersion, warehouse: Warehouse
) -> FittedRows:
    """The rows that it was fitted on, whose subjects can be compared with those of the dataset."""
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
    """The rows that a version was fitted on, as they are today; None where they are gone."""
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
    assert version.snapshot is not None
    lost = f"the snapshot of {version.dataset_asset} that it was fitted on is gone; name a later version"
    try:
        # What an erasure or retention took out of it is among nobody's rows.
        left = warehouse.left_of(version.snapshot.table, version.snapshot.snapshot_id)
    except WarehouseError:
        left = None
    if left is None:
        raise _UnjudgedError(lost)
    return rows_to_fit(fitted.spec, warehouse.read(version.snapshot.table, left)).rows


def _rows_of_file(version: TransformerVersion, fitted: FittedTransformer) -> FittedRows:
    key = fitted.spec.entity_key
    if key is None:
        raise _UnjudgedError(
            f"it was fitted on {version.input_source}, and without entityKey nobody knows whose those rows are; "
            "name the column, or fit it on asset://<dataset>"
        )
    try:
        source = open_source(fitted.spec.input_source)
        if source.sha256 != version.input_hash:
            raise _UnjudgedError(
                f"{version.input_source} is no longer the file that it was fitted on; materialize it again"
            )
        return FittedRows(file_rows(source, fitted.spec), key)
    except DatasetError as problem:
        raise _UnjudgedError(str(problem)) from None
