"""The dataset asset: read, assert the schema, normalise, write to a branch, audit there, publish.

And the audit table of what the assertions on schemas have found.
"""

from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

import dagster as dg

from platform_assets.datasets.batch_judge import judge_rows
from platform_assets.datasets.contract import SCHEMA_DOMAIN, Contract
from platform_assets.datasets.contract_run import ContractReport, DomainResult
from platform_assets.datasets.data_docs import data_docs_key, data_docs_page
from platform_assets.datasets.errors import (
    BreakerOpenError,
    ContractError,
    DatasetError,
    UnfitFilesError,
    UnreadableError,
)
from platform_assets.datasets.ingestion import (
    Gated,
    Ingestion,
    PreparedRows,
    RawSource,
    Surroundings,
    raw_sources,
    sources_of,
)
from platform_assets.datasets.judging import (
    check_source_schema,
    domain_verdict,
    judged_again,
    judged_rows,
    prepared_rows,
    refusal,
    schema_judged_again,
    schema_result,
)
from platform_assets.datasets.promises import column_promises
from platform_assets.datasets.quarantine import publish_quarantine, releases, releases_hash
from platform_assets.datasets.quarantine_assets import quarantine_materialization
from platform_assets.datasets.schema_breaker import (
    GATE,
    Circumstances,
    SeenSource,
    begin,
    breaker_state,
    pass_trial,
    settle,
    trip,
    way_out,
)
from platform_assets.datasets.schema_changes import TABLE, schema_changes, schema_changes_table, summary_of
from platform_assets.datasets.snapshots import content_hash
from platform_assets.datasets.sources import sources_hash, without_secrets
from platform_assets.datasets.spec import OVERRIDABLE, DatasetSpec
from platform_assets.fingerprint import code_version, fingerprint
from platform_assets.governance.suppression import Suppression, publish_unless_erased
from platform_assets.governance.verdict import record
from platform_assets.ledger.ledger import Ledger
from platform_assets.manifest import identity_of
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import TABLES, DatasetVersion, TableSnapshot
from platform_assets.shown import stored_table
from platform_assets.step import (
    evaluation_of,
    foreseen_failures,
    judged_alone,
    line_asset,
    materialized,
    override_config,
    published_reference,
    with_overrides,
)
from resources.provenance import code_commit, descends, source_commit
from resources.row_batches import RowBatches
from resources.warehouse import Snapshot, Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

_CODE = code_version(
    "dataset",
    "platform_assets.datasets.ingestion",
    "platform_assets.datasets.large_files",
    "platform_assets.datasets.sources",
    "platform_assets.datasets.snapshots",
    "platform_assets.datasets.contract",
    "platform_assets.datasets.contract_run",
    "platform_assets.datasets.contract_values",
    "platform_assets.datasets.exact_columns",
    "platform_assets.datasets.raw_schema",
    "platform_assets.datasets.batch_judge",
    "platform_assets.datasets.batches",
    "platform_assets.datasets.comparisons",
    "platform_assets.datasets.means",
    "platform_assets.datasets.measures",
    "platform_assets.datasets.repeats",
    "platform_assets.reading",
)
SCHEMA_CHANGES = "schema_changes"
BREAKER_CHECK = "schema_breaker"
_RETENTION_DAYS = 3650
_SHOWN_CHANGES = 50


def dataset_fingerprint(
    spec: DatasetSpec,
    ingestion: Ingestion[Any],
    contract: Contract,
    *,
    source_hash: str,
    erasures: str,
    surroundings: Surroundings,
) -> str:
    """Identity of the dataset that `spec` would make of sources with this hash, less what was erased.

    Args:
        spec: The line's spec.
        ingestion: Its task's.
        contract: What the rows must keep.
        source_hash: Of all sources.
        erasures: Identity of the subjects that were erased.
        surroundings: What reading them would know.
    """
    upstream = {"sources": source_hash, "erasures": erasures, **contract.rule_set_hashes}
    if isinstance(ingestion, Gated):
        upstream["gate"] = ingestion.gate_hash(surroundings)
        upstream["releases"] = releases_hash(surroundings.releases)
    return fingerprint(
        f"{spec.line}_dataset",
        code=f"{_CODE}|{ingestion.code}",
        config=identity_of(spec, (*DatasetSpec.model_fields, *ingestion.fields)),
        upstream=upstream,
    )


def surroundings_of(
    line: str, ingestion: Ingestion[Any], contract: Contract, outside: OutsideSystems
) -> Surroundings:
    """What reading the sources of a line knows besides its spec."""
    return Surroundings(
        contract.path,
        outside.salt,
        outside.object_store,
        outside.settings.home / "cache",
        releases(outside.ledger, line) if isinstance(ingestion, Gated) else {},
    )


def dataset_asset(
    spec: DatasetSpec, task: str, ingestion: Ingestion[Any], contract: Contract
) -> dg.AssetsDefinition:
    """`<line>_dataset` with one check per domain of its contract, and one for its schema breaker.

    Args:
        spec: The line's spec.
        task: Name of its task.
        ingestion: The task's part.
        contract: What the rows must keep.
    """
    line, name = spec.line, f"{spec.line}_dataset"
    overridden = override_config(spec, OVERRIDABLE)

    @line_asset(
        line,
        "dataset",
        description=ingestion.description,
        kinds=("iceberg", "great_expectations"),
        code=f"{_CODE}|{ingestion.code}",
        checks=[
            *(
                dg.AssetCheckSpec(
                    f"contract_{domain}",
                    asset=name,
                    blocking=True,
                    description=f"Contract {contract.name}, domain {domain}",
                )
                for domain in (SCHEMA_DOMAIN, *contract.domains)
            ),
            dg.AssetCheckSpec(
                BREAKER_CHECK,
                asset=name,
                blocking=True,
                description="Shuts the dataset when a source has changed shape",
            ),
        ],
    )
    def dataset(
        context: dg.AssetExecutionContext,
        outside: dg.ResourceParam[OutsideSystems],
        config: overridden,  # type: ignore[valid-type]
    ) -> Iterator[Any]:
        with foreseen_failures():
            making = DatasetMaking(context, line, ingestion, contract, outside)
            if checks := judged_alone(context):
                yield from making.judged_alone(with_overrides(spec, config), checks)
                return
            try:
                resolved = with_overrides(spec, config)
                _refuse_other_test_rows(spec, resolved)
                sources = yield from making.admitted_sources(resolved)
                try:
                    prepared = making.prepared(resolved, sources)
                except UnfitFilesError as unfit:
                    yield from making.refused(resolved, sources, unfit)
                    raise
                making.held_back(resolved, prepared.held_back)
                staged = making.staged(resolved, prepared.rows)
                report = yield from making.audited(staged, prepared.judged)
            except DatasetError:
                yield making.breaker_check()
                raise
            published = making.published(staged, resolved, prepared.rows)
            making.trial_passed()
            yield making.breaker_check()
            subject = ingestion.subject(resolved)
            reference = DatasetVersion(
                line=line,
                task=task,
                subject_namespace=subject.namespace,
                subject_column=subject.name,
                snapshot=TableSnapshot.of(published),
                rows_by_split=prepared.rows_by_split(),
                sources=tuple(without_secrets(uri) for uri, _ in sources_of(resolved)),
                first_sources=prepared.first_sources,
                train_rows=resolved.train_rows,
                source_hash=prepared.source_hash,
                contract_rule_sets=contract.rule_set_hashes,
                contract_quality=report.quality_score,
                ge_run_id=report.ge_run_id,
                published_at=published.committed_at.isoformat(),
                gdpr_class=resolved.gdpr_class,
                retention_days=resolved.retention_days,
            )
            yield materialized(
                reference,
                fingerprint=dataset_fingerprint(
                    resolved,
                    ingestion,
                    contract,
                    source_hash=prepared.source_hash,
                    erasures=making.erasures.hash_of(subject.namespace),
                    surroundings=making.surroundings,
                ),
                metadata=_shown(reference, prepared, published, report, making),
            )

    return dataset


def _shown(
    reference: DatasetVersion,
    prepared: PreparedRows,
    published: Snapshot,
    report: ContractReport,
    making: "DatasetMaking",
) -> dict[str, Any]:
    return {
        **stored_table(
            reference.snapshot,
            prepared.rows.schema,
            making.warehouse,
            constraints=column_promises(making.contract),
        ),
        "rows_by_split": reference.rows_by_split,
        "raw_rows": prepared.raw_rows,
        "erased_rows_left_out": prepared.erased,
        **prepared.left_out,
        "data_freshness_seconds": (datetime.now(UTC) - published.committed_at).total_seconds(),
        "quality_score": report.quality_score,
        "gdpr_class": reference.gdpr_class,
    }


def _refuse_other_test_rows(spec: DatasetSpec, resolved: DatasetSpec) -> None:
    if resolved.train_data_uri[0] != spec.train_data_uri[0]:
        raise DatasetError(
            f"train_data_uri: must begin with {without_secrets(spec.train_data_uri[0])}, as the spec has it: "
            "the gates measure on its test split, which no run may change; change the spec instead"
        )


@dataclass
class DatasetMaking:
    """One materialization of a dataset: what its steps share."""

    context: dg.AssetExecutionContext
    line: str
    ingestion: Ingestion[Any]
    contract: Contract
    outside: OutsideSystems

    def __post_init__(self) -> None:
        self.name = f"{self.line}_dataset"
        self.ledger, self.warehouse = self.outside.ledger, self.outside.warehouse
        self.salt = self.outside.salt
        self.erasures = Suppression.of(self.ledger, self.salt)
        self.commit = source_commit(self.contract.path)
        self.run_name = f"dagster-{self.context.run.run_id}"
        self.surroundings = surroundings_of(self.line, self.ingestion, self.contract, self.outside)
        self.circumstances = Circumstances(
            contract_hash=self.contract.schema_hash,
            contract_commit=self.commit,
            dagster_run_id=self.context.run.run_id,
            is_later_than=lambda earlier: descends(self.contract.path, self.commit, earlier),
        )

    def admitted_sources(self, spec: DatasetSpec) -> Generator[Any, None, list[RawSource]]:
        """The raw sources, each of the shape that the contract states; a violation opens the breaker."""
        begin(self.ledger, self.name, self.circumstances)
        try:
            sources = self._raw(spec)
        except UnreadableError as problem:
            # A file whose shape nobody can tell is no better than one of the wrong shape.
            state = trip(self.ledger, self.name, str(problem), self.circumstances)
            raise BreakerOpenError(f"{problem}\n  {way_out(state)}") from None
        seen = [
            SeenSource(
                each.source.uri,
                check_source_schema(self.contract, each, run_name=self.run_name, salt=self.salt),
            )
            for each in sources
        ]
        state, changed = settle(self.ledger, self.name, seen, self.circumstances)
        self.schema = schema_result(self.contract, seen)
        self.schema_ge_run_id = seen[0].report.ge_run_id
        yield self._check(self.schema, self.schema_ge_run_id)
        if changed:
            self.context.log_event(publish_schema_changes(self.ledger, self.warehouse))
        if self.schema.outcome != "pass":
            refused = f"{self.name}@{sources_hash(each.source for each in sources)}"
            self._record(refused, self.schema, self.schema_ge_run_id)
            reasons = "".join(f"\n  {each.uri}: {each.report.reason}" for each in seen if not each.passed)
            raise BreakerOpenError(
                f"dataset {self.name}: a source does not have the shape that {self.contract.path.name} states "
                f"under `raw`:{reasons}\n  {way_out(state)}"
            )
        return sources

    def prepared(self, spec: DatasetSpec, sources: Sequence[RawSource]) -> PreparedRows:
        """The rows of these sources, less those of subjects that were erased."""
        return prepared_rows(spec, self.ingestion, sources, self.erasures)

    def refused(
        self, spec: DatasetSpec, sources: Sequence[RawSource], unfit: UnfitFilesError
    ) -> Iterator[dg.AssetCheckResult]:
        """What there is to say of files that make no dataset: what is held, and what the contract says of them all.

        Raises:
            BreakerOpenError: So many fail that the sources have changed shape; the breaker is open now.
        """
        self.held_back(spec, unfit.held_back)
        report = judge_rows(self.contract, unfit.judged, run_name=self.run_name, salt=self.salt)
        of_sources = sources_hash(each.source for each in sources)
        docs = self._data_docs(report, of_sources)
        for domain in report.domains:
            self._record(f"{self.name}@{of_sources}", domain, report.ge_run_id)
            yield self._check(domain, report.ge_run_id, **docs)
        refusal = self._refused([domain for domain in report.domains if domain.outcome != "pass"])
        if isinstance(refusal, BreakerOpenError):
            raise refusal from unfit

    def held_back(self, spec: DatasetSpec, rows: "pa.Table | None") -> None:
        """Publishes what was set aside, before anything that was not: an entry may be early, and is never missing."""
        if rows is None:
            return
        subject = self.ingestion.subject(spec)
        publish_quarantine(
            rows,
            line=self.line,
            subject_column=subject.name,
            subject_namespace=subject.namespace,
            gdpr_class=spec.gdpr_class,
            retention_days=spec.retention_days,
            source_commit=self.commit,
            warehouse=self.warehouse,
            ledger=self.ledger,
            salt=self.salt,
        )
        self.context.log_event(quarantine_materialization(self.outside, self.line))

    def published(self, staged: Snapshot, spec: DatasetSpec, rows: RowBatches) -> Snapshot:
        """The staged rows as the current version, unless a subject among them was erased meanwhile."""
        subject = self.ingestion.subject(spec)
        return publish_unless_erased(
            staged,
            chain.from_iterable(batch.column(0).to_pylist() for batch in rows.batches([subject.name])),
            namespace=subject.namespace,
            warehouse=self.warehouse,
            ledger=self.ledger,
            salt=self.salt,
        )

    def staged(self, spec: DatasetSpec, rows: RowBatches) -> Snapshot:
        """The prepared rows, where only an audit reads them."""
        subject = self.ingestion.subject(spec)
        return self.warehouse.stage(
            TABLES["dataset"].format(line=self.line),
            rows,
            content_hash=content_hash(rows),
            gdpr_class=spec.gdpr_class,
            retention_days=spec.retention_days,
            source_commit=self.commit,
            subject_column=subject.name,
            subject_namespace=subject.namespace,
        )

    def audited(
        self, staged: Snapshot, judged: RowBatches | None = None
    ) -> Generator[Any, None, ContractReport]:
        """The contract's report on the staged rows, each domain a verdict and a check.

        Args:
            staged: The rows.
            judged: What the contract is about instead, where it is about more than them.
        """
        rows = judged or self.warehouse.batches(staged.table, staged.snapshot_id)
        report = judge_rows(self.contract, rows, run_name=self.run_name, salt=self.salt)
        docs = self._data_docs(report, staged.content_hash)
        self._record(f"{self.name}@{staged.content_hash}", self.schema, self.schema_ge_run_id)
        for domain in report.domains:
            self._record(f"{self.name}@{staged.content_hash}", domain, report.ge_run_id)
            yield self._check(domain, report.ge_run_id, **docs)
        if not report.passed:
            failed = [domain for domain in report.domains if domain.outcome != "pass"]
            raise self._refused(failed)
        return report

    def _refused(self, failed: list[DomainResult]) -> DatasetError:
        """Opens the breaker, where what a gate looks at has another shape: single files may, and many may not."""
        reason = refusal(self.line, failed)
        if not isinstance(self.ingestion, Gated) or not {each.domain for each in failed}.intersection(
            self.ingestion.domains
        ):
            return ContractError(reason)
        state = trip(self.ledger, self.name, reason, self.circumstances, via=GATE)
        return BreakerOpenError(f"{reason}\n  {way_out(state)}")

    def judged_alone(self, spec: DatasetSpec, checks: Collection[str]) -> Iterator[Any]:
        """These checks, on the published version; nothing is published, and the breaker stays as it is."""
        if BREAKER_CHECK in checks:
            yield self.breaker_check()
        domains = {each.removeprefix("contract_") for each in checks if each != BREAKER_CHECK}
        if not domains:
            return
        dataset = published_reference(self.context, self.name, DatasetVersion)
        if SCHEMA_DOMAIN in domains:
            yield self._schema_judged_alone(spec, dataset)
        of_rows = domains - {SCHEMA_DOMAIN}
        if of_rows and isinstance(self.ingestion, Gated):
            yield from self._sources_judged_alone(spec, dataset, of_rows)
        elif of_rows:
            report, left = judged_again(
                self.contract, dataset, of_rows, self.warehouse, run_name=self.run_name, salt=self.salt
            )
            docs = self._data_docs(report, left.content_hash)
            for domain in report.domains:
                self._record(f"{self.name}@{left.content_hash}", domain, report.ge_run_id, alone=True)
                yield self._check(domain, report.ge_run_id, snapshot_id=left.snapshot_id, **docs)

    def _schema_judged_alone(self, spec: DatasetSpec, dataset: DatasetVersion) -> dg.AssetCheckResult:
        judged = schema_judged_again(self.contract, self._raw(spec), run_name=self.run_name, salt=self.salt)
        subject, spoken_of = self._sources_as_they_are(dataset, judged.source_hash)
        self._record(subject, judged.result, judged.ge_run_id, alone=True)
        return self._check(judged.result, judged.ge_run_id, judged=spoken_of)

    def _sources_judged_alone(
        self, spec: DatasetSpec, dataset: DatasetVersion, domains: Collection[str]
    ) -> Iterator[dg.AssetCheckResult]:
        """Domains about what a gate looks at, of which the published rows hold only what it let in."""
        sources = self._raw(spec)
        rows = judged_rows(spec, self.ingestion, sources, self.erasures)
        report = judge_rows(self.contract, rows, run_name=self.run_name, domains=domains, salt=self.salt)
        source_hash = sources_hash(each.source for each in sources)
        subject, spoken_of = self._sources_as_they_are(dataset, source_hash)
        docs = self._data_docs(report, source_hash)
        for domain in report.domains:
            self._record(subject, domain, report.ge_run_id, alone=True)
            yield self._check(domain, report.ge_run_id, judged=spoken_of, **docs)

    def _sources_as_they_are(self, dataset: DatasetVersion, source_hash: str) -> tuple[str, str]:
        """What a verdict on the sources is about, for the ledger and for people.

        A verdict on other bytes than those that the published rows were made of is no verdict on these rows.
        """
        if source_hash == dataset.source_hash:
            return f"{self.name}@{dataset.version}", "the sources, which are those of the published version"
        changed = "the sources as they are now; they have changed since the published version was made"
        return f"{self.name}@{source_hash}", changed

    def _raw(self, spec: DatasetSpec) -> list[RawSource]:
        return raw_sources(spec, self.ingestion, self.surroundings)

    def trial_passed(self) -> None:
        """Closes the breaker where this materialization was its trial."""
        if pass_trial(self.ledger, self.name, self.circumstances):
            self.context.log_event(publish_schema_changes(self.ledger, self.warehouse))

    def breaker_check(self) -> dg.AssetCheckResult:
        """The breaker as it stands."""
        state = breaker_state(self.ledger, self.name)
        return dg.AssetCheckResult(
            check_name=BREAKER_CHECK,
            passed=state.state == "closed",
            severity=dg.AssetCheckSeverity.ERROR,
            description=state.reason,
            metadata={"state": state.state}
            | ({"by": state.by, "since": state.since.isoformat()} if state.since else {}),
        )

    def _record(self, subject: str, result: DomainResult, ge_run_id: str, *, alone: bool = False) -> None:
        record(
            self.ledger,
            domain_verdict(subject, result, ge_run_id, alone=alone),
            evaluation_id=evaluation_of(self.context),
        )

    def _check(self, result: DomainResult, ge_run_id: str, **more: Any) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(
            check_name=f"contract_{result.domain}",
            passed=result.outcome == "pass",
            severity=dg.AssetCheckSeverity.ERROR,
            description=" ".join(each.reason for each in result.results if each.outcome != "pass"),
            metadata={**result.counts, "ge_run_id": ge_run_id, "outcome": result.outcome, **more},
        )

    def _data_docs(self, report: ContractReport, content_hash: str) -> dict[str, Any]:
        """Where the page lies that Great Expectations renders of the report, for people and for machines."""
        key = data_docs_key(
            self.outside.env, self.line, content_hash=content_hash, run_id=self.context.run.run_id
        )
        self.outside.object_store.put(
            key,
            data_docs_page(self.contract, report),
            gdpr_class="internal",
            retention_days=_RETENTION_DAYS,
            source_commit=self.commit,
        )
        return {
            "data_docs": dg.MetadataValue.url(self.outside.report_url(key)),
            "data_docs_object": self.outside.object_store.uri(key),
        }


def schema_changes_asset() -> dg.AssetsDefinition:
    """`schema_changes`: the audit table, made anew from the ledger."""

    @dg.asset(
        name=SCHEMA_CHANGES,
        group_name="governance",
        description="Every change of shape of every source: what, when, in which run, and who let it through.",
        kinds={"iceberg"},
    )
    def schema_changes_table_asset(outside: dg.ResourceParam[OutsideSystems]) -> dg.MaterializeResult[None]:
        with foreseen_failures():
            shown = publish_schema_changes(outside.ledger, outside.warehouse)
            return dg.MaterializeResult(metadata=shown.metadata)

    return schema_changes_table_asset


def publish_schema_changes(ledger: Ledger, warehouse: Warehouse) -> dg.AssetMaterialization:
    """Brings the audit table up to date with the ledger; what to tell the UI about it."""
    rows = schema_changes_table(ledger)
    published = warehouse.publish(
        warehouse.stage(
            TABLE,
            rows,
            content_hash=content_hash(rows),
            gdpr_class="internal",
            retention_days=_RETENTION_DAYS,
            source_commit=code_commit(),
        )
    )
    newest = [
        dg.TableRecord(
            {
                "time": change["time"][:19],
                "principal": change["principal"],
                "dataset": change["dataset"],
                "change": summary_of(change),
                **{name: change[name] for name in ("breaker_state", "closed_by", "close_reason")},
                "git_commit": change["git_commit"][:12],
                **{name: change[name] for name in ("ge_run_id", "source")},
            }
        )
        for change in reversed(schema_changes(ledger)[-_SHOWN_CHANGES:])
    ]
    return dg.AssetMaterialization(
        asset_key=SCHEMA_CHANGES,
        metadata={
            **stored_table(TableSnapshot.of(published), rows.schema, warehouse),
            **({"newest": dg.MetadataValue.table(newest)} if newest else {}),
        },
    )
