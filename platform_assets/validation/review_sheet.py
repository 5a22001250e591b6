"""What somebody sees who reviews a version: criteria, figures, limits, and cases.

The cases are those of people, so who looks is recorded before anything of them is handed out, the policy decides by the
class of the data, and nobody who was erased is among them.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydantic import BaseModel

from platform_assets.governance.access import AccessLog, review_look
from platform_assets.governance.release import Release
from platform_assets.governance.review_statement import Criterion
from platform_assets.governance.subject_columns import ids_of
from platform_assets.governance.subjects import hash_of
from platform_assets.governance.suppression import Suppression
from platform_assets.models.trainer import AnyTrainer
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import ModelVersion
from platform_assets.validation.errors import ValidationError
from platform_assets.validation.evaluator import Evaluator, Showing
from platform_assets.validation.report import ValidationReport, own_test_rows, threshold_of
from platform_assets.validation.review_cases import CaseGroup, case_groups, groupings_of
from resources.errors import PlatformError

if TYPE_CHECKING:
    import pyarrow as pa

_SCORED: Final = ("label", "score", "baseline_score", "source", "split")
_UNKNOWN: Final = "unknown"
_HASH: Final = re.compile(r"\b[0-9a-f]{64}\b")
_SHOWN_DIGITS: Final = 12
_NOT_JUDGED: Final = "not_judged_because"
"""Of a measured table, why a part of the rows decides nothing."""


@dataclass(frozen=True, slots=True)
class ShownCase:
    """One case."""

    subject: str
    """The id of whom it is about, or its hash."""
    label: int
    score: float
    told: Mapping[str, str]
    """Watched columns, names of parts, and what tells rows of a subject apart."""
    png: bytes | None
    """The image with what the answer rests on; None where the task shows none, or no more of them were asked for."""


@dataclass(frozen=True, slots=True)
class ShownGroup:
    """Cases that belong together."""

    title: str
    of: int
    """How many such cases there are; the rest are not shown."""
    cases: tuple[ShownCase, ...]


@dataclass(frozen=True, slots=True)
class ReviewSheet:
    """All that is shown."""

    release: Release
    by: str
    """Whom it is shown to: the id of a reviewer, or a principal."""
    criteria: tuple[Criterion, ...]
    report: ValidationReport
    card: Mapping[str, Any]
    """The document."""
    threshold: float
    groups: tuple[ShownGroup, ...]
    anomalies: tuple[str, ...]
    """What is known to be wrong or unknown, a sentence each."""
    notes: tuple[str, ...] = ()
    """What is to be known of the sheet: what pictures show, and what is missing on it."""

    @property
    def model(self) -> ModelVersion:
        """The trained weights."""
        return self.release.card.registered.report.model

    @property
    def shown_cases(self) -> int:
        """How many cases there are on it."""
        return sum(len(group.cases) for group in self.groups)

    @property
    def shown_subjects(self) -> int:
        """Of how many people, or whatever rows are about, they are."""
        return len({case.subject for group in self.groups for case in group.cases})


def review_sheet(
    outside: OutsideSystems,
    release: Release,
    card: Mapping[str, Any],
    criteria: Sequence[Criterion],
    evaluator: Evaluator[Any],
    trainer: AnyTrainer,
    spec: BaseModel,
    *,
    by: str,
    log: AccessLog,
    per_stratum: int,
    most_pictures: int,
) -> ReviewSheet:
    """The sheet of a version. Once this returns, the ledger says who was shown which cases.

    Args:
        outside: The systems.
        release: The version.
        card: Its card's document.
        criteria: What a promotion demands, with what was found.
        evaluator: Of the line's task; one that is `Showing` gives pictures.
        trainer: Loads its models.
        spec: The line's spec.
        by: Whom it is for: the id of a reviewer, or a principal.
        log: Records who looks.
        per_stratum: How many cases of a label and band of scores, and of a part, are shown; whatever was missed is.
        most_pictures: So many cases have a picture, the first ones first.

    Raises:
        AccessDeniedError: The policy does not let the principal read data of this class; the denial is counted.
        LedgerError: It cannot be recorded that somebody looks, so nothing is shown.
        ValidationError: The stored report is another one, or no case is left.
    """
    stored = release.card.registered.report
    model, store = stored.model, outside.object_store
    dataset = model.features.dataset
    content = store.get(stored.report_key)
    if store.info(stored.report_key).sha256 != stored.report_sha256:
        raise ValidationError(
            f"{stored.report_key} is not the report that was released; materialize {release.line}_validation again"
        )
    report = ValidationReport.model_validate_json(content)
    tested = own_test_rows(_table(store.get(stored.scores_key)), model)
    left, subjects = _not_erased(tested, model, outside)
    if not left.num_rows:
        raise ValidationError(f"no test row of version {release.card.registered.number} is left to be shown")
    threshold = threshold_of(model, evaluator, spec)
    groupings = groupings_of(left, without=(dataset.subject_column, *_SCORED))
    groups = case_groups(
        left["label"].to_numpy(),
        left["score"].to_numpy(),
        groupings,
        threshold=threshold,
        per_stratum=per_stratum,
    )
    rows = [row for group in groups for row in group.rows]
    log.look_at(
        review_look(release.line, model.fingerprint, act="sheet", by=by),
        {hash_of(dataset.subject_namespace, subjects[row], outside.salt) for row in rows},
        path=f"/{stored.scores_key}",
        gdpr_class=dataset.gdpr_class,
    )
    pictures, notes = _pictures(outside, model, evaluator, trainer, tested, left, rows[:most_pictures], spec)
    if pictures and len(pictures) < len(rows):
        notes = (f"The first {len(pictures)} of {len(rows)} cases have pictures.", *notes)
    told = _told(left, [*evaluator.profiled(spec), *groupings], dataset.subject_column)
    return ReviewSheet(
        release=release,
        by=by,
        criteria=tuple(criteria),
        report=report,
        card=card,
        threshold=threshold,
        groups=tuple(_shown(group, left, subjects, told, pictures) for group in groups),
        anomalies=tuple(anomalies(criteria, report)),
        notes=notes,
    )


def anomalies(criteria: Sequence[Criterion], report: ValidationReport) -> list[str]:
    """What is known to be wrong with a version, or not known: a sentence each."""
    found = []
    for each in criteria:
        if each.outcome == "waived":
            found.append(f"{each.rule_set} was waived by {each.waived_by}.")
        elif each.outcome != "pass":
            found.append(f"{each.rule_set}: {'no verdict' if each.outcome == 'missing' else each.outcome}.")
    found += [
        f"{each.name}: not measured, {each.not_measured_because}."
        for each in report.slices
        if each.not_measured_because
    ]
    found += [
        f"{next(iter(row.values()))}: not judged, {row[_NOT_JUDGED]}."
        for table in report.measures.values()
        for row in (table if isinstance(table, list) else ())
        if isinstance(row, dict) and row.get(_NOT_JUDGED)
    ]
    found += [f"{name} was not compared: {why}." for name, why in report.not_compared.items()]
    found += [
        f"{each.source}: not compared with production, {each.not_compared_because}."
        for each in report.other_sources
        if each.not_compared_because
    ]
    found += [
        f"{each.name}: not measured, {each.not_measured_because}."
        for each in report.baselines
        if each.not_measured_because
    ]
    return found


def _table(content: bytes) -> "pa.Table":
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(content))


def _not_erased(
    tested: "pa.Table", model: ModelVersion, outside: OutsideSystems
) -> "tuple[pa.Table, list[str]]":
    """Rows of subjects who were not erased, also of an erasure that has not come to these scores yet; and their subjects."""
    dataset = model.features.dataset
    ids = [each or "" for each in ids_of(tested[dataset.subject_column]).to_pylist()]
    erased = Suppression.of(outside.ledger, outside.salt).covers_each(dataset.subject_namespace, ids)
    kept = ~np.array(erased, dtype=bool)
    return tested.filter(kept), [each for each, gone in zip(ids, erased, strict=True) if not gone]


def _pictures(
    outside: OutsideSystems,
    model: ModelVersion,
    evaluator: Evaluator[Any],
    trainer: AnyTrainer,
    tested: "pa.Table",
    left: "pa.Table",
    rows: Sequence[int],
    spec: BaseModel,
) -> tuple[Mapping[int, bytes], tuple[str, ...]]:
    """A picture of each row by its place in `left`, and what is to be known of them: why there are none, too."""
    if not isinstance(evaluator, Showing):
        return {}, ()
    table, subject = model.features.snapshot, model.features.dataset.subject_column
    try:
        features = own_test_rows(outside.warehouse.read(table.table, table.snapshot_id), model)
    except PlatformError as problem:
        return {}, (f"There are no pictures: {problem}.",)
    if not features[subject].equals(tested[subject]):
        return {}, (f"There are no pictures: {table.table} and the stored scores are not of the same rows.",)
    if left.num_rows != tested.num_rows:
        kept = np.isin(tested[subject].to_numpy(), left[subject].to_numpy())
        features = features.filter(kept)
    scorer = trainer.load(outside.object_store.folder(model.object_prefix))
    return evaluator.shown(scorer, features, left, rows, spec), ((evaluator.legend,) if rows else ())


def _told(left: "pa.Table", columns: Sequence[str], subject: str) -> Callable[[int], dict[str, str]]:
    """What is told of a row: these columns, and those that tell all rows apart."""
    from pyarrow import types

    apart = [
        name
        for name in left.column_names
        if name != subject
        and types.is_string(left.schema.field(name).type)
        and len(left[name].unique()) == left.num_rows
    ]
    chosen = {name: left[name] for name in dict.fromkeys((*apart, *columns)) if name in left.column_names}
    return lambda row: {name: _text(column[row].as_py()) for name, column in chosen.items()}


def _text(value: Any) -> str:
    if value is None:
        return _UNKNOWN
    if isinstance(value, float):
        return f"{value:.4g}"
    return _shortened(str(value))


def _shortened(text: str) -> str:
    """A text in which each hash is as long as people can compare it."""
    return _HASH.sub(lambda found: f"{found[0][:_SHOWN_DIGITS]}…", text)


def _shown(
    group: CaseGroup,
    left: "pa.Table",
    subjects: Sequence[str],
    told: Callable[[int], dict[str, str]],
    pictures: Mapping[int, bytes],
) -> ShownGroup:
    cases = tuple(
        ShownCase(
            subject=subjects[row],
            label=int(left["label"][row].as_py()),
            score=float(left["score"][row].as_py()),
            told=told(row),
            png=pictures.get(row),
        )
        for row in group.rows
    )
    return ShownGroup(_shortened(group.title), group.of, cases)
