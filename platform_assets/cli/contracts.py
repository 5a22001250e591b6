"""`platform-assets contracts …`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from platform_assets.cli.common import AsJson, LineName, SpecFile, chosen_line, outside_systems, print_json
from platform_assets.cli.usage import examples as usage_examples
from platform_assets.references import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.datasets.contract import Contract
    from platform_assets.datasets.contract_check import Check
    from platform_assets.lines.line import Line
    from platform_assets.outside_systems import OutsideSystems

app = typer.Typer(no_args_is_help=True, help="What data must be like before anybody reads it.")


@app.command(
    epilog=usage_examples(
        "contracts check reviews_sentiment_dataset",
        "contracts check sample.csv --contract contracts/orders.yaml",
        "contracts check sample.csv --contract orders.yaml --json",
    )
)
def check(
    target: Annotated[
        str, typer.Argument(help="A dataset, e.g. reviews_sentiment_dataset, or the path or URI of a file.")
    ],
    contract: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Contract file, or one that ships. Default for a dataset: its line's."
        ),
    ] = None,
    domain: Annotated[
        list[str] | None, typer.Option(help="Check this domain; may stand several times. Default: all.")
    ] = None,
    spec: SpecFile = None,
    as_json: AsJson = False,
) -> None:
    """Hold a file, or the newest write of a dataset, against its contract.

    Where a gate judges single files, as of X-rays, the contract is about them all: a line's sources are read again.

    A Parquet file of this machine may be larger than memory: with more than a million rows it is read in batches.

    Exit status: 0 where every domain passed, 1 where one did not, 2 for wrong usage.
    """
    from platform_assets.datasets.contract_check import check_table, check_uri, domains_of_file

    outside = outside_systems()
    salt, run_name = outside.salt, "contracts-check"
    if "." in target or "/" in target:
        promised = _contract_file(contract)
        domains = _known(domain, domains_of_file(promised))
        found = check_uri(promised, target, domains=domains, run_name=run_name, salt=salt)
    else:
        line = target.removesuffix("_dataset")
        chosen = None if contract else chosen_line(outside, line, spec)
        promised = chosen.contract if chosen else _contract_file(contract)
        domains = _known(domain, promised.domains)
        rows = (chosen and _judged_files(outside, chosen)) or _newest_write(outside, line)
        found = check_table(promised, rows, domains=domains, run_name=run_name, salt=salt)
    if as_json:
        print_json(_as_json(promised, found))
    else:
        for each in found.domains:
            print(f"{each.result.outcome:<6} contract.{each.result.domain}: {each.reason}")
            for result in each.result.results:
                if result.outcome != "pass":
                    print(f"    {result.outcome:<6} {result.severity} {result.type}: {result.reason}")
    if not found.passed:
        raise typer.Exit(1)


@app.command(
    epilog=usage_examples(
        "contracts examples reviews_sentiment", "contracts examples reviews_sentiment --limit 20"
    )
)
def examples(
    line: LineName,
    limit: Annotated[int, typer.Option(help="Rows for each expectation.", min=1)] = 5,
    spec: SpecFile = None,
    as_json: AsJson = False,
) -> None:
    """Rows of the newest write that break the contract, read from the live table and stored nowhere.

    Where a gate judges single files, as of X-rays, they are read again, and a row is what it says of one.
    """
    from platform_assets.datasets.contract_run import failing_rows
    from platform_assets.datasets.row_hash import row_hashes

    outside = outside_systems()
    chosen, salt = chosen_line(outside, line, spec), outside.salt
    contract, frame = (
        chosen.contract,
        (_judged_files(outside, chosen) or _newest_write(outside, line)).to_pandas(),
    )
    found = [
        {
            "domain": expectation.domain,
            "expectation": expectation.type,
            "rows": rows.to_dict("records"),
            "row_hashes": row_hashes(rows, salt),
        }
        for expectation in contract.expectations
        if not (rows := failing_rows(contract, frame, expectation.index, limit=limit)).empty
    ]
    if as_json:
        print_json(found)
        return
    for each in found:
        print(f"contract.{each['domain']}: {each['expectation']}")
        for name, row in zip(each["row_hashes"], each["rows"], strict=True):
            print(f"    {name}  {row}")
    if not found:
        print("no row breaks the contract")


def _contract_file(name: str | None) -> "Contract":
    from platform_assets.datasets.contract import find_contract, load_contract

    if name is None:
        raise typer.BadParameter("a file belongs to no line: name its contract", param_hint="--contract")
    path = find_contract(name, beside=Path())
    if path is None:
        raise typer.BadParameter(f"there is no file {name}, nor does one ship", param_hint="--contract")
    return load_contract(path)


def _known(asked: Sequence[str] | None, known: Sequence[str]) -> Sequence[str]:
    """The domains that were asked for, all where none was."""
    unknown = sorted(set(asked or ()) - set(known))
    if unknown:
        raise typer.BadParameter(
            f"there is no {', '.join(unknown)} here; choose among {', '.join(known)}", param_hint="--domain"
        )
    return asked or known


def _judged_files(outside: "OutsideSystems", line: "Line") -> "pa.Table | None":
    """What a gate says of all files of a line, those of erased subjects left out; None where its sources are tables."""
    from platform_assets.datasets.assets import surroundings_of
    from platform_assets.datasets.ingestion import Gated, raw_sources
    from platform_assets.datasets.judging import judged_rows
    from platform_assets.governance.suppression import Suppression

    spec, ingestion = line.spec, line.task.ingestion
    if not isinstance(ingestion, Gated):
        return None
    surroundings = surroundings_of(line.name, ingestion, line.contract, outside)
    sources = raw_sources(spec, ingestion, surroundings)
    return judged_rows(spec, ingestion, sources, Suppression.of(outside.ledger, outside.salt)).read()


def _newest_write(outside: "OutsideSystems", line: str) -> "pa.Table":
    """The newest write of a line's dataset, published or not."""
    from platform_assets.datasets.errors import ContractError

    warehouse = outside.warehouse
    staged = warehouse.staged(TABLES["dataset"].format(line=line))
    if staged is None:
        raise ContractError(
            f"dataset {line}_dataset was never written; run it with: platform-assets run {line}"
        )
    return warehouse.read(staged.table, staged.snapshot_id)


def _as_json(contract: "Contract", found: "Check") -> dict[str, Any]:
    """The check as JSON has it: counts, percents and row hashes, never a cell value."""
    return {
        "passed": found.passed,
        "contract": contract.name,
        "ge_run_id": found.domains[-1].ge_run_id,
        "rows": found.rows,
        "domains": [
            {
                "domain": each.result.domain,
                "outcome": each.result.outcome,
                "reason": each.reason,
                "ge_run_id": each.ge_run_id,
                "results": [result.model_dump(exclude={"index", "domain"}) for result in each.result.results],
            }
            for each in found.domains
        ],
    }
