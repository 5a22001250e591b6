"""A contract as a quality gate on a file: its schema as it is read, then the expectations on typed columns."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NamedTuple

from platform_assets.datasets.batch_judge import judge_batches, judge_table
from platform_assets.datasets.batches import BatchedTable
from platform_assets.datasets.contract import SCHEMA_DOMAIN, Contract
from platform_assets.datasets.contract_run import ContractReport, DomainResult, run_contract
from platform_assets.datasets.errors import NoTableError
from platform_assets.datasets.large_files import large_parquet
from platform_assets.datasets.raw_schema import check_raw, check_raw_batches, typed_frame
from platform_assets.datasets.sources import Source, open_source, read_frame

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class CheckedDomain(NamedTuple):
    """What became of one domain."""

    result: DomainResult
    ge_run_id: str
    reason: str
    """One sentence on the domain as a whole; each result has its own."""


class Check(NamedTuple):
    """What became of every domain that was asked for."""

    rows: int
    domains: tuple[CheckedDomain, ...]

    @property
    def passed(self) -> bool:
        """Whether all of them passed; False where there is none."""
        return bool(self.domains) and all(each.result.outcome == "pass" for each in self.domains)


def domains_of_file(contract: Contract) -> tuple[str, ...]:
    """What can be asked of a file: the schema, where the contract states one, and every domain."""
    return ((SCHEMA_DOMAIN,) if contract.raw else ()) + contract.domains


def check_uri(
    contract: Contract, uri: str, *, domains: Collection[str], run_name: str, salt: bytes | None
) -> Check:
    """The check of a file in these domains; a large Parquet file of this machine is read in batches.

    Raises:
        DatasetError: As `check_source` has it.
    """
    large = large_parquet(uri)
    if large is None:
        return check_source(contract, open_source(uri), domains=domains, run_name=run_name, salt=salt)
    try:
        return check_batches(contract, large, domains=domains, run_name=run_name, salt=salt)
    except NoTableError as problem:
        if SCHEMA_DOMAIN not in domains:
            raise
        return _check_of_no_table(contract, domains, str(problem))


def check_batches(
    contract: Contract, table: BatchedTable, *, domains: Collection[str], run_name: str, salt: bytes | None
) -> Check:
    """The check of the rows of a Parquet file in these domains, in one pass for the schema and one for the rest.

    Raises:
        DatasetError: The file is damaged, or the contract has no such domain.
    """
    checked: tuple[CheckedDomain, ...] = ()
    rows = 0
    if SCHEMA_DOMAIN in domains:
        raw = check_raw_batches(contract, table, run_name=run_name, salt=salt)
        checked, rows = (CheckedDomain(raw.result, raw.ge_run_id, raw.reason),), raw.rows
    if others := [domain for domain in domains if domain != SCHEMA_DOMAIN]:
        found = _check_of(judge_batches(contract, table, run_name=run_name, domains=others, salt=salt))
        checked, rows = checked + found.domains, found.rows
    return Check(rows, checked)


def check_source(
    contract: Contract, source: Source, *, domains: Collection[str], run_name: str, salt: bytes | None
) -> Check:
    """The check of a source file in these domains.

    Text is read as the types that the section `raw` states, so that expectations see numbers and times. A
    column whose text cannot be read so stays text. A file that is no table fails its schema, and nothing else of it
    can be told.

    Raises:
        DatasetError: The file cannot be read or holds no row, and no schema was asked for; or the contract has no
            such domain.
    """
    try:
        frame = read_frame(source)
    except NoTableError as problem:
        if SCHEMA_DOMAIN not in domains:
            raise
        return _check_of_no_table(contract, domains, str(problem))
    checked: tuple[CheckedDomain, ...] = ()
    if SCHEMA_DOMAIN in domains:
        raw = check_raw(contract, frame, suffix=source.suffix, run_name=run_name, salt=salt)
        checked = (CheckedDomain(raw.result, raw.ge_run_id, raw.reason),)
    if others := [domain for domain in domains if domain != SCHEMA_DOMAIN]:
        typed = typed_frame(contract.raw, frame, suffix=source.suffix) if contract.raw else frame
        checked += check_table(contract, typed, domains=others, run_name=run_name, salt=salt).domains
    return Check(len(frame), checked)


def _check_of_no_table(contract: Contract, domains: Collection[str], reason: str) -> Check:
    def judged(domain: str) -> CheckedDomain:
        is_schema = domain == SCHEMA_DOMAIN
        rules = contract.require_raw().rule_set_hash if is_schema else contract.rule_set_hash(domain)
        result = DomainResult(
            domain=domain,
            outcome="fail" if is_schema else "error",
            results=(),
            rule_set_hash=rules,
            counts=dict.fromkeys(("expectations", "passed", "failed", "errored", "rows"), 0),
        )
        return CheckedDomain(
            result, ge_run_id="", reason=reason if is_schema else "Nothing was checked: the file is no table."
        )

    return Check(0, tuple(judged(domain) for domain in domains))


def check_table(
    contract: Contract,
    table: "pd.DataFrame | pa.Table",
    *,
    domains: Collection[str],
    run_name: str,
    salt: bytes | None,
) -> Check:
    """The check of a table in these domains; a large one of Arrow is judged in batches.

    Raises:
        ContractError: The contract has no such domain.
    """
    import pandas as pd

    judge: Any = run_contract if isinstance(table, pd.DataFrame) else judge_table
    return _check_of(judge(contract, table, run_name=run_name, domains=domains, salt=salt))


def _check_of(report: ContractReport) -> Check:
    return Check(
        report.rows,
        tuple(
            CheckedDomain(
                result,
                report.ge_run_id,
                f"{result.counts['passed']} of {result.counts['expectations']} expectations hold.",
            )
            for result in report.domains
        ),
    )
