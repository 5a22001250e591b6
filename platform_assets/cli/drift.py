"""`platform-assets drift …`: whether what comes in still looks like what the model was tested on."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from platform_assets.cli.common import AsJson, LineName, SpecFile, chosen_line, outside_systems, print_json
from platform_assets.drift.errors import DriftError

if TYPE_CHECKING:
    from platform_assets.drift.replay import ManualClock
    from platform_assets.drift.watch import Watch

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
    replay: Annotated[
        list[Path] | None,
        typer.Option(
            help="Take the events of this file (JSON Lines, Parquet) instead of listening; repeatable."
        ),
    ] = None,
    speed: Annotated[
        float,
        typer.Option(min=0, help="Of a replay: seconds of events in one second; 0: as fast as possible."),
    ] = 0.0,
) -> None:
    """Watch the answers of a line: POST /v1/events, GET /metrics, /v1/verdicts, /health.

    Senders of events must send the token of PLATFORM_EVENTS_TOKEN where it is set. A replay prints each change of
    state; verdicts are stored and changes recorded, as of live events.
    """
    from platform_assets.drift.monitor import wall_clock_ms
    from platform_assets.drift.profiles import released_profiles
    from platform_assets.drift.replay import ManualClock
    from platform_assets.drift.watch import Watch

    if speed and not replay:
        raise DriftError("--speed is that of a replay: name its files with --replay")
    outside = outside_systems()
    chosen = chosen_line(outside.settings, line, spec)
    ledger, store = outside.ledger, outside.object_store
    clock = ManualClock()
    watching = Watch(
        chosen.name,
        chosen.spec.drift,
        ledger=ledger,
        store=store,
        env=outside.env,
        profile_of=released_profiles(ledger, store),
        clock=clock if replay else wall_clock_ms,
    )
    if replay:
        _replay(replay, watching, clock, speed)
    else:
        _serve(watching, host, port)


def _replay(files: list[Path], watching: "Watch", clock: "ManualClock", speed: float) -> None:
    from platform_assets.drift.event import moment
    from platform_assets.drift.replay import replay

    for change in replay(files, watching, clock, speed=speed):
        verdict = change.verdict
        distance = "" if verdict is None else f"  KS {verdict.ks:.4f}, threshold {verdict.threshold:.4f}"
        print(f"{moment(clock.now_ms):%Y-%m-%d %H:%M:%S}  {change.column:<16} {change.state:<10}{distance}")
    for version, watched in watching.by_version.items():
        counters = watched.monitor.counters
        shown = ", ".join(
            f"{count} {outcome.replace('_', ' ')}" for outcome, count in asdict(counters).items()
        )
        print(f"version {version}: {shown}")


def _serve(watching: "Watch", host: str, port: int) -> None:
    import uvicorn

    from platform_assets.drift.delivery import TOKEN_VARIABLE
    from platform_assets.drift.service import watch_service
    from resources.http_token import token_for

    token = token_for(host, variable=TOKEN_VARIABLE, otherwise="cause alarms")
    service = watch_service(watching, token=token)
    uvicorn.run(service, host=host, port=port, log_level="warning")


@app.command("status")
def status(line: LineName, as_json: AsJson = False) -> None:
    """The drift states of a line, since when, and the newest alarm."""
    from platform_assets.drift.record import newest_alarm, newest_changes, onsets

    ledger = outside_systems().ledger
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
    shown = {
        "line": line,
        "columns": columns,
        "newest_alarm": alarm and {"entry": alarm.hash, "time": alarm.time, **alarm.body},
    }
    if as_json:
        print_json(shown)
        return
    for column, found in columns.items():
        print(f"{column:<16} {found['state']:<10} since {found['since']:%Y-%m-%d %H:%M:%S} UTC")
    if not columns:
        print(f"{line} has never drifted, as far as it was watched")
