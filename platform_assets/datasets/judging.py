"""What a contract has found, as verdicts; and found anew, of a dataset that is published already."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from platform_assets.datasets.batch_judge import judge_rows
from platform_assets.datasets.contract import SCHEMA_DOMAIN, Contract
from platform_assets.datasets.contract_run import ContractReport, DomainResult, domain_result
from platform_assets.datasets.errors import DatasetError, UnfitFilesError
from platform_assets.datasets.ingestion import Ingestion, PreparedRows, RawSource
from platform_assets.datasets.large_files import LargeRows
from platform_assets.datasets.raw_schema import RawReport, check_raw, check_raw_batches
from platform_assets.datasets.remains import remains_of
from platform_assets.datasets.schema_breaker import SeenSource
from platform_assets.datasets.sources import sources_hash
from platform_assets.datasets.spec import DatasetSpec
from platform_assets.governance.suppression import Suppression
from platform_assets.governance.verdict import Verdict
from platform_assets.references import DatasetVersion, TableSnapshot
from resources.provenance import code_commit
from resources.row_batches import RowBatches
from resources.warehouse import Warehouse

ALONE: Final = "alone"
"""Stands beside who judged where a check was executed by itself, on a dataset that was there already."""


@dataclass(frozen=True, slots=True)
class SchemaJudgement:
    """What the contract says about the shape of the sources as they are now."""

    result: DomainResult
    ge_run_id: str
    source_hash: str
    """Of all sources, as they are now."""


def check_source_schema(contract: Contract, given: RawSource, *, run_name: str, salt: bytes) -> RawReport:
    """The report on the shape of a source: Great Expectations' own, or where it is large that of its batches."""
    if isinstance(given.rows, LargeRows):
        return check_raw_batches(contract, given.rows.table, run_name=run_name, salt=salt)
    return check_raw(contract, given.rows, suffix=given.source.suffix, run_name=run_name, salt=salt)


def schema_result(contract: Contract, seen: Sequence[SeenSource]) -> DomainResult:
    """The domain `schema` over all sources."""
    results = tuple(
        result.model_copy(update={"reason": f"{source.uri}: {result.reason}"})
        for source in seen
        for result in source.report.result.results
    )
    rows = sum(source.report.rows for source in seen)
    return domain_result(SCHEMA_DOMAIN, results, rule_set_hash=contract.schema_hash, rows=rows)


def judged_again(
    contract: Contract,
    dataset: DatasetVersion,
    domains: Collection[str],
    warehouse: Warehouse,
    *,
    run_name: str,
    salt: bytes,
) -> tuple[ContractReport, TableSnapshot]:
    """The report of these domains on a published dataset, and the rows that it speaks about: those that are left of it.

    Raises:
        DatasetError: None are left.
        WarehouseError: The warehouse does not answer.
    """
    left = remains_of(dataset.snapshot, warehouse)
    if left is None:
        raise DatasetError(
            f"snapshot {dataset.snapshot.snapshot_id} of {dataset.snapshot.table} is gone; materialize "
            f"{dataset.line}_dataset again"
        )
    rows = warehouse.batches(left.table, left.snapshot_id)
    return judge_rows(contract, rows, run_name=run_name, domains=domains, salt=salt), left


def prepared_rows(
    spec: DatasetSpec, ingestion: Ingestion[Any], sources: Sequence[RawSource], erasures: Suppression
) -> PreparedRows:
    """The rows of these sources, less those of subjects that were erased.

    Raises:
        DatasetError: as `Ingestion.prepare`.
    """
    namespace = ingestion.subject(spec).namespace
    return ingestion.prepare(spec, sources, is_erased=lambda ids: erasures.covers_each(namespace, ids))


def judged_rows(
    spec: DatasetSpec, ingestion: Ingestion[Any], sources: Sequence[RawSource], erasures: Suppression
) -> RowBatches:
    """What a contract is about, of sources that were read again; also where they make no dataset.

    Raises:
        DatasetError: as `Ingestion.prepare`.
    """
    try:
        prepared = prepared_rows(spec, ingestion, sources, erasures)
    except UnfitFilesError as problem:
        return problem.judged
    return prepared.judged or prepared.rows


def schema_judged_again(
    contract: Contract, sources: Sequence[RawSource], *, run_name: str, salt: bytes
) -> SchemaJudgement:
    """What the contract says about the shape of sources that were read again. It moves no breaker."""
    seen = [
        SeenSource(
            each.source.uri,
            check_source_schema(contract, each, run_name=run_name, salt=salt),
        )
        for each in sources
    ]
    return SchemaJudgement(
        schema_result(contract, seen), seen[0].report.ge_run_id, sources_hash(each.source for each in sources)
    )


def domain_verdict(subject: str, domain: DomainResult, ge_run_id: str, *, alone: bool = False) -> Verdict:
    """The verdict of one contract domain: counts and names, never a cell's value.

    Args:
        subject: What was judged.
        domain: What was found.
        ge_run_id: The run of Great Expectations.
        alone: Whether its check was executed by itself.
    """
    failed = [result for result in domain.results if result.outcome != "pass"]
    return Verdict(
        subject=subject,
        rule_set=f"contract.{domain.domain}",
        rule_set_hash=domain.rule_set_hash,
        outcome=domain.outcome,
        evidence={
            **domain.counts,
            "ge_run_id": ge_run_id,
            **({"observed": " ".join(result.reason for result in failed)} if failed else {}),
            # What Great Expectations alone has judged says nothing of it, as it always did.
            **({"engine": ", ".join(domain.engines)} if "batches" in domain.engines else {}),
        },
        producer={"code_commit": code_commit()} | ({ALONE: True} if alone else {}),
    )


def refusal(line: str, refused: list[DomainResult]) -> str:
    """One clear error for a dataset that its contract refuses."""
    reasons = "\n".join(
        f"  contract.{domain.domain}: {result.reason}"
        for domain in refused
        for result in domain.results
        if result.outcome != "pass"
    )
    return (
        f"dataset {line}_dataset is refused by its contract; the last published version stays current:\n{reasons}\n"
        f"  look at the rows with: platform-assets contracts examples {line}"
    )
