"""`platform-assets breaker …`."""

from typing import Annotated

import typer

from platform_assets.cli.common import AsJson, chosen_lines, print_json
from platform_assets.systems import open_ledger, open_warehouse
from resources.settings import PlatformSettings

app = typer.Typer(no_args_is_help=True, help="What shuts a dataset whose source has changed shape.")


@app.command("status")
def show_status(as_json: AsJson = False) -> None:
    """The breaker of every dataset."""
    from platform_assets.datasets.schema_breaker import breaker_state

    settings = PlatformSettings()
    ledger = open_ledger(settings)
    found = [breaker_state(ledger, f"{line.name}_dataset") for line in chosen_lines(settings, None)]
    if as_json:
        print_json(
            [
                {
                    "dataset": each.dataset,
                    "state": each.state,
                    "reason": each.reason,
                    "by": each.by,
                    "since": each.since,
                }
                for each in found
            ]
        )
        return
    for each in found:
        print(f"{each.state:<10} {each.dataset}: {each.reason}")


@app.command()
def close(
    dataset: Annotated[str, typer.Argument(help="E.g. reviews_sentiment_dataset.")],
    by: Annotated[str, typer.Option(help="Who takes responsibility.")],
    reason: Annotated[str, typer.Option(help="Why it may be tried again.")],
) -> None:
    """Let the next materialization try: it closes the breaker if it passes, and opens it again otherwise."""
    from platform_assets.datasets.assets import publish_schema_changes
    from platform_assets.datasets.schema_breaker import half_open
    from platform_assets.lines.runner import open_instance

    settings = PlatformSettings()
    ledger = open_ledger(settings)
    found = half_open(ledger, dataset, by=by, reason=reason)
    with open_instance(settings) as instance:
        instance.report_runless_asset_event(publish_schema_changes(ledger, open_warehouse(settings)))
    print(f"{found.dataset} is {found.state}; its next materialization is the one trial")


@app.command()
def changes(as_json: AsJson = False) -> None:
    """Every schema change of every dataset, oldest first."""
    from platform_assets.datasets.schema_changes import schema_changes, told

    found = schema_changes(open_ledger(PlatformSettings()))
    if as_json:
        print_json(found)
        return
    for row in found:
        print(
            f"{row['time'][:19]}  {row['dataset']}  {told(row)}  "
            f"({'accepted' if row['accepted'] else 'refused'}, breaker {row['breaker_state']}, GE run {row['ge_run_id']}, "
            f"commit {row['git_commit'][:12]}, {row['principal']})"
        )
