"""`platform-assets contracts …`."""

from typing import Annotated

import typer

from platform_assets.cli.common import AsJson, LineName, SpecFile, chosen_line, print_json
from platform_assets.systems import open_warehouse
from resources.settings import PlatformSettings

app = typer.Typer(no_args_is_help=True, help="What data must be like before anybody reads it.")


@app.command("examples")
def examples(
    line: LineName,
    limit: Annotated[int, typer.Option(help="Rows for each expectation.", min=1)] = 5,
    spec: SpecFile = None,
    as_json: AsJson = False,
) -> None:
    """Rows of the newest write that break the contract, read from the live table and stored nowhere."""
    from platform_assets.datasets.contract import failing_rows
    from platform_assets.datasets.errors import ContractError

    settings = PlatformSettings()
    chosen = chosen_line(settings, line, spec)
    warehouse = open_warehouse(settings)
    staged = warehouse.staged(f"datasets.{line}")
    if staged is None:
        raise ContractError(
            f"dataset {line}_dataset was never written; run it with: platform-assets run {line}"
        )
    frame = warehouse.read(staged.table, staged.snapshot_id).to_pandas()
    found = []
    for expectation in chosen.contract.expectations:
        rows = failing_rows(chosen.contract, frame, expectation.index, limit=limit)
        if not rows.empty:
            found.append(
                {
                    "domain": expectation.domain,
                    "expectation": expectation.type,
                    "rows": rows.to_dict("records"),
                }
            )
    if as_json:
        print_json(found)
        return
    for each in found:
        print(f"contract.{each['domain']}: {each['expectation']}")
        for row in each["rows"]:
            print(f"    {row}")
    if not found:
        print("no row breaks the contract")
