"""The dataset asset: read, normalise, write to a branch, audit there, publish."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from platform_assets.datasets.contract import Contract, DomainResult, run_contract
from platform_assets.datasets.errors import ContractError
from platform_assets.datasets.reviews import prepare_reviews, sources_of
from platform_assets.datasets.snapshots import content_hash
from platform_assets.datasets.sources import open_source, sources_hash
from platform_assets.datasets.spec import DatasetSpec
from platform_assets.fingerprint import code_version, fingerprint
from platform_assets.governance.ledger import Ledger
from platform_assets.governance.verdict import Verdict, record
from platform_assets.references import DatasetVersion, TableSnapshot
from platform_assets.step import evaluation_of, foreseen_failures, launchpad, materialized, with_overrides
from resources.provenance import code_commit
from resources.warehouse import Warehouse

CONTRACTS_FOLDER = Path(__file__).parent / "contracts"
CODE = code_version(
    "platform_assets.datasets.reviews",
    "platform_assets.datasets.sources",
    "platform_assets.datasets.snapshots",
    "platform_assets.datasets.contract",
)


_LAUNCHPAD = ("train_data_uri", "val_data_uri", "shift_data_uri", "train_rows", "shift_rows")
"""What one run may change. Contract and splits are not among it: they are what makes runs comparable."""


def dataset_fingerprint(line: str, spec: DatasetSpec, contract: Contract, *, source_hash: str) -> str:
    """Identity of the dataset that `spec` would make of sources with this hash."""
    config = spec.model_dump(mode="json", include=set(DatasetSpec.model_fields))
    rules = {f"contract.{domain}": contract.rule_set_hash(domain) for domain in contract.domains}
    return fingerprint(
        f"{line}_dataset", code=CODE, config=config, upstream={"sources": source_hash, **rules}
    )


def current_source_hash(spec: DatasetSpec) -> str:
    """Hash of the sources as they are now."""
    return sources_hash(open_source(uri) for uri, _ in sources_of(spec))


def dataset_asset(
    line: str, spec: DatasetSpec, contract: Contract, *, description: str = ""
) -> dg.AssetsDefinition:
    """`<line>_dataset` with one check per domain of its contract."""
    name = f"{line}_dataset"
    launched = launchpad(spec, _LAUNCHPAD)

    @dg.asset(
        name=name,
        group_name=line,
        description=description
        or "Labelled texts, normalised, split and published after their contract passed.",
        kinds={"iceberg", "great_expectations"},
        code_version=CODE,
        check_specs=[
            dg.AssetCheckSpec(
                f"contract_{domain}",
                asset=name,
                blocking=True,
                description=f"Contract {contract.name}, domain {domain}",
            )
            for domain in contract.domains
        ],
    )
    def dataset(
        context: dg.AssetExecutionContext,
        warehouse: dg.ResourceParam[Warehouse],
        ledger: dg.ResourceParam[Ledger],
        config: launched,  # type: ignore[valid-type]
    ) -> Iterator[Any]:
        import pyarrow as pa

        with foreseen_failures():
            resolved = with_overrides(spec, config)
            prepared = prepare_reviews(resolved)
            rows = pa.Table.from_pandas(prepared.frame, preserve_index=False).replace_schema_metadata(None)
            staged = warehouse.stage(f"datasets.{line}", rows, content_hash=content_hash(rows))
            audited = warehouse.read(staged.table, staged.snapshot_id).to_pandas()
            report = run_contract(contract, audited, run_name=f"dagster-{context.run.run_id}")
            for domain in report.domains:
                record(
                    ledger,
                    domain_verdict(f"{name}@{staged.content_hash}", domain, report.ge_run_id),
                    evaluation_id=evaluation_of(context),
                )
                yield dg.AssetCheckResult(
                    check_name=f"contract_{domain.domain}",
                    passed=domain.outcome == "pass",
                    severity=dg.AssetCheckSeverity.ERROR,
                    description=" ".join(
                        result.reason for result in domain.results if result.outcome != "pass"
                    ),
                    metadata={**domain.counts, "ge_run_id": report.ge_run_id, "outcome": domain.outcome},
                )
            if not report.passed:
                raise ContractError(
                    refusal(line, [domain for domain in report.domains if domain.outcome != "pass"])
                )
            published = warehouse.publish(staged)
            reference = DatasetVersion(
                line=line,
                snapshot=TableSnapshot(
                    table=published.table,
                    snapshot_id=published.snapshot_id,
                    content_hash=published.content_hash,
                    rows=published.rows,
                ),
                rows_by_split=prepared.rows_by_split(),
                sources=tuple(uri for uri, _ in sources_of(resolved)),
                source_hash=prepared.source_hash,
                contract_rule_sets={
                    f"contract.{domain.domain}": domain.rule_set_hash for domain in report.domains
                },
                contract_quality=report.quality_score,
                ge_run_id=report.ge_run_id,
                published_at=published.committed_at.isoformat(),
            )
            yield materialized(
                reference,
                fingerprint=dataset_fingerprint(line, resolved, contract, source_hash=prepared.source_hash),
                metadata={
                    "dagster/row_count": published.rows,
                    "rows_by_split": reference.rows_by_split,
                    "raw_rows": prepared.raw_rows,
                    "duplicates_removed": prepared.duplicates,
                    "conflicting_labels_removed": prepared.conflicts,
                    "guard_rows_left_out": prepared.guard_rows,
                    "data_freshness_seconds": (datetime.now(UTC) - published.committed_at).total_seconds(),
                    "snapshot_id": published.snapshot_id,
                    "quality_score": report.quality_score,
                    "dagster/column_schema": dg.TableSchema(
                        columns=[dg.TableColumn(field.name, str(field.type)) for field in rows.schema]
                    ),
                },
            )

    return dataset


def domain_verdict(subject: str, domain: DomainResult, ge_run_id: str) -> Verdict:
    """The verdict of one contract domain: counts and names, never a cell's value."""
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
        },
        producer={"code_commit": code_commit()},
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
