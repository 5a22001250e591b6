"""`platform-assets drift …`: whether what comes in still looks like what the model was tested on."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from platform_assets.cli.common import AsJson, LineName, SpecFile, chosen_line, print_json
from platform_assets.systems import open_ledger, open_object_store
from resources.settings import PlatformSettings

app = typer.Typer(no_args_is_help=True, help="Whether the answers still look as the reference does.")


@app.command("replay")
def replay(
    reference: Annotated[Path, typer.Option(help="Parquet file of rows that are as they should be.")],
    events: Annotated[Path, typer.Option(help="Parquet file of the rows in question.")],
    as_json: AsJson = False,
) -> None:
    """Compare the columns of two files: KS distance with its certified interval, p-value, alarm."""
    from platform_assets.drift.report import compare_files

    found: dict[str, Any] = compare_files(reference, events)
    if as_json:
        print_json(found)
        return
    width = max(map(len, found["columns"]), default=0)
    for name, column in found["columns"].items():
        interval = f"({column['ks_lower']:.4f} to {column['ks_upper']:.4f})  p {column['p_value']:.2g}"
        distance = "no values" if column["ks"] is None else f"KS {column['ks']:.4f}"
        print(f"{name:<{width}}  {distance:<9}  {interval}{'  ALARM' if column['alarm'] else ''}")


@app.command("watch")
def watch(
    line: LineName,
    spec: SpecFile = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8190,
) -> None:
    """Watch the answers of a line: POST /v1/events, GET /metrics, /v1/verdicts, /health.

    Senders of events must send the token of PLATFORM_EVENTS_TOKEN where it is set.
    """
    import uvicorn

    from platform_assets.drift.delivery import TOKEN_VARIABLE
    from platform_assets.drift.profiles import released_profiles
    from platform_assets.drift.service import watch_service
    from platform_assets.drift.watch import Watch

    settings = PlatformSettings()
    chosen = chosen_line(settings, line, spec)
    ledger, store = open_ledger(settings), open_object_store(settings)
    watching = Watch(
        chosen.name,
        chosen.spec.drift,
        ledger=ledger,
        store=store,
        env=settings.env,
        profile_of=released_profiles(ledger, store),
    )
    service = watch_service(watching, token=os.environ.get(TOKEN_VARIABLE))
    uvicorn.run(service, host=host, port=port, log_level="warning")


@app.command("status")
def status(line: LineName, as_json: AsJson = False) -> None:
    """The drift states of a line, since when, and the newest alarm."""
    from platform_assets.drift.record import newest_alarm, newest_changes, onsets

    ledger = open_ledger(PlatformSettings())
    changes, begun = newest_changes(ledger, line), onsets(ledger, line)
    columns = {
        column: {
            "state": entry.body["state"],
            "since": entry.time,
            "not_clear_since": begun[column].time if column in begun else None,
            "release_id": entry.body["release_id"],
            "ks": entry.body.get("ks"),
        }
        for column, entry in sorted(changes.items())
    }
    alarm = newest_alarm(ledger, line)
    told = {
        "line": line,
        "columns": columns,
        "newest_alarm": alarm and {"entry": alarm.hash, "time": alarm.time, **alarm.body},
    }
    if as_json:
        print_json(told)
        return
    for column, found in columns.items():
        print(f"{column:<16} {found['state']:<10} since {found['since']:%Y-%m-%d %H:%M:%S} UTC")
    if not columns:
        print(f"{line} has never drifted, as far as it was watched")
