"""`platform-assets breaker …`."""

from typing import Annotated

import typer

from platform_assets.cli.common import AsJson, chosen_lines, outside_systems, print_json
from platform_assets.cli.usage import examples

app = typer.Typer(no_args_is_help=True, help="What shuts a dataset whose source has changed shape.")


@app.command("status", epilog=examples("breaker status", "breaker status --json"))
def show_status(as_json: AsJson = False) -> None:
    """The breaker of every dataset."""
    from platform_assets.datasets.schema_breaker import breaker_state

    outside = outside_systems()
    lines = chosen_lines(outside, None).sound
    found = [breaker_state(outside.ledger, f"{line.name}_dataset") for line in lines]
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


@app.command(epilog=examples("breaker close reviews_sentiment_dataset --by ada --reason fixed"))
def close(
    dataset: Annotated[str, typer.Argument(help="E.g. reviews_sentiment_dataset.")],
    by: Annotated[str, typer.Option(help="Who takes responsibility.")],
    reason: Annotated[str, typer.Option(help="Why it may be tried again.")],
) -> None:
    """Let the next materialization try: it closes the breaker if it passes, and opens it again otherwise."""
    from platform_assets.datasets.assets import publish_schema_changes
    from platform_assets.datasets.schema_breaker import half_open
    from platform_assets.lines.runner import open_instance

    outside = outside_systems()
    ledger = outside.ledger
    found = half_open(ledger, dataset, by=by, reason=reason)
    with open_instance(outside.settings) as instance:
        instance.report_runless_asset_event(publish_schema_changes(ledger, outside.warehouse))
    print(f"{found.dataset} is {found.state}; its next materialization is the one trial")


@app.command(epilog=examples("breaker changes", "breaker changes --json"))
def changes(as_json: AsJson = False) -> None:
    """Every schema change of every dataset, oldest first."""
    from platform_assets.datasets.schema_changes import schema_changes, summary_of

    found = schema_changes(outside_systems().ledger)
    if as_json:
        print_json(found)
        return
    for row in found:
        print(
            f"{row['time'][:19]}  {row['dataset']}  {summary_of(row)}  "
            f"({'accepted' if row['accepted'] else 'refused'}, breaker {row['breaker_state']}, GE run {row['ge_run_id']}, "
            f"commit {row['git_commit'][:12]}, {row['principal']})"
        )
