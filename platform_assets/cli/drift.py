"""`platform-assets drift …`: whether what comes in still looks like what the model was tested on."""

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from platform_assets.cli.common import AsJson, LineName, SpecFile, chosen_line, outside_systems, print_json
from platform_assets.cli.serving import serve
from platform_assets.cli.usage import examples
from platform_assets.drift.errors import DriftError
from platform_assets.reading.errors import shown_name

if TYPE_CHECKING:
    from platform_assets.drift.replay import ManualClock
    from platform_assets.drift.watch import Watch

_WORD = re.compile(r"[\w.-]{1,64}")
_MOST_TOLD = 20
"""Rows that are named one by one; those beyond are counted."""
_MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]

app = typer.Typer(no_args_is_help=True, help="Whether the answers still look as the reference does.")


@app.command("replay", epilog=examples("drift replay --reference held_out.parquet --events week.csv"))
def replay(
    reference: Annotated[
        Path, typer.Option(help="Rows that are as they should be: Parquet, csv or JSON Lines.")
    ],
    events: Annotated[Path, typer.Option(help="The rows in question.")],
    as_json: AsJson = False,
) -> None:
    """Compare the columns of two files: KS distance with its certified interval, p-value, alarm.

    What cannot be compared is listed with the reason, and what is missing or infinite is counted; a change of its share
    is an alarm too. Exit status 1 where nothing at all could be compared.
    """
    from platform_assets.drift.report import compare_files

    found: dict[str, Any] = compare_files(reference, events)
    if as_json:
        print_json(found)
    else:
        print("\n".join(_report_lines(found)))
    if not found["columns"]:
        raise DriftError(f"{reference} and {events}: no column could be compared")


def _report_lines(found: dict[str, Any]) -> Iterator[str]:
    """A line a column: what was compared, and then what was not."""
    compared, others = found["columns"], found["not_compared"]
    shown = {name: _shown(name) for name in (*compared, *others)}
    width = max(map(len, shown.values()), default=0)
    for name, column in compared.items():
        interval = f"({column['ks_lower']:.4f} to {column['ks_upper']:.4f})  p {column['p_value']:.2g}"
        as_text = "  as text" * (column["compared_as"] == "text")
        yield f"{shown[name]:<{width}}  KS {column['ks']:.4f}  {interval}{as_text}{_counts(column)}{_alarm(column)}"
    for name, column in others.items():
        yield f"{shown[name]:<{width}}  not compared: {column['because']}{_counts(column)}{_alarm(column)}"
    rate = found["false_alarm_rate"]
    told = [f"{len(compared)} of {len(compared) + len(others)} columns compared"]
    told += [f"{side} {rows} rows" for side, rows in found["rows"].items()]
    yield f"{', '.join(told)}; a false alarm among all of them: once in {1 / rate:g} times"


def _shown(name: str) -> str:
    """A name that is one word as it is; any other quoted in one line, so that none looks like a part of the report."""
    return name if _WORD.fullmatch(name) else shown_name(name)


def _counts(column: dict[str, Any]) -> str:
    """What of a column is missing or infinite, where anything is."""
    sides = column["reference"], column["events"]
    told = [
        f"{what.replace('_', ' ')} {' → '.join(_share(side, what) for side in sides)}"
        for what in ("missing", "positive_infinity", "negative_infinity")
        if any(side and side[what] for side in sides)
    ]
    return "".join(f"  {each}" for each in told)


def _share(side: dict[str, int] | None, what: str) -> str:
    return "none there" if side is None else f"{side[what]} of {side['rows']}"


def _alarm(column: dict[str, Any]) -> str:
    because = [each.replace("_", " ") for each in column["alarm_because"]]
    if not because:
        return ""
    return "  ALARM" if because == ["distance"] else f"  ALARM ({', '.join(because)})"


@app.command(
    "watch",
    epilog=examples(
        "drift watch reviews_sentiment", "drift watch reviews_sentiment --replay events.jsonl --speed 60"
    ),
)
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
    chosen = chosen_line(outside, line, spec)
    ledger, store = outside.ledger, outside.object_store
    clock = ManualClock()
    watching = Watch(
        chosen.name,
        chosen.spec.drift,
        ledger=ledger,
        store=store,
        env=outside.env,
        salt=outside.salt,
        profile_of=released_profiles(ledger, store),
        clock=clock if replay else wall_clock_ms,
    )
    if replay:
        _replay(replay, watching, clock, speed)
    else:
        _serve(watching, host, port)


def _replay(files: list[Path], watching: "Watch", clock: "ManualClock", speed: float) -> None:
    from platform_assets.drift.event import moment
    from platform_assets.drift.event_reading import NoEventError
    from platform_assets.drift.monitor import MISSING
    from platform_assets.drift.replay import replay

    refused = 0

    def tell(problem: NoEventError) -> None:
        nonlocal refused
        refused += 1
        if refused <= _MOST_TOLD:
            print(f"refused: {problem}", file=sys.stderr)

    for change in replay(files, watching, clock, refused=tell, speed=speed):
        verdict = change.verdict
        what = "share differs by" if change.column.endswith(MISSING) else "KS"
        distance = (
            ""
            if verdict is None
            else f"  {what} {verdict.ks:.4f}, threshold {verdict.threshold:.4f}, PSI {verdict.psi:.3f}"
        )
        # Not by strftime, which writes the year 900 as 900.
        time = moment(clock.now_ms).isoformat(" ", "seconds")[:19]
        print(f"{time}  {change.column:<16} {change.state:<10}{distance}")
    for version, watched in watching.by_version.items():
        counters = watched.monitor.counters
        shown = ", ".join(
            f"{count} {outcome.replace('_', ' ')}" for outcome, count in asdict(counters).items()
        )
        print(f"version {version}: {shown}")
        for name, because in watched.monitor.not_watched.items():
            print(f"version {version}: {name} is not watched: {because}")
    if refused:
        more = f"; the first {_MOST_TOLD} are named above" if refused > _MOST_TOLD else ""
        raise DriftError(f"{refused:,} row{'s'[: refused != 1]} refused, and all others taken{more}")


def _serve(watching: "Watch", host: str, port: int) -> None:
    from platform_assets.drift.delivery import TOKEN_VARIABLE
    from platform_assets.drift.service import watch_service
    from resources.http_token import token_for

    token = token_for(host, variable=TOKEN_VARIABLE, otherwise="cause alarms")
    service = watch_service(watching, token=token)
    serve(service, host, port)


@app.command(
    "answers",
    epilog=examples(
        "drift answers flight_delays --events season.jsonl",
        "drift answers flight_delays --split validation --since 2013-10-15 --events october.jsonl",
    ),
)
def answers(
    line: LineName,
    events: Annotated[
        str, typer.Option(help="Where they go: a file to append to, or the address of `drift watch`.")
    ],
    spec: SpecFile = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Rows of this split; repeatable. Default: test.")
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=_MOMENTS, help="The first moment that counts, UTC.")
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(formats=_MOMENTS, help="The first moment that does not count any more, UTC."),
    ] = None,
) -> None:
    """Write what the deployed release answers to rows of its own dataset, as events in order of time, with labels.

    A season that has passed can so be replayed through the monitor: `drift watch --replay`. For lines that are split by
    time.
    """
    from platform_assets.drift.delivery import TOKEN_VARIABLE, deliver
    from platform_assets.drift.past_answers import past_answers
    from platform_assets.serving.predictor import Predictor
    from platform_assets.tasks.registry import load_scorer

    outside = outside_systems()
    chosen = chosen_line(outside, line, spec)
    time_column = chosen.task.featurizer.uses(chosen.spec).split_time
    if time_column is None:
        raise DriftError(f"{chosen.name} is not split by time, so nobody knows the order of its rows")
    predictor = Predictor.of_active_release(
        chosen.name, load_scorer, ledger=outside.ledger, store=outside.object_store
    )
    found = past_answers(
        predictor.release,
        predictor.scorer,
        chosen.task.evaluator,
        chosen.spec,
        outside.warehouse,
        time_column=time_column,
        splits=split or ["test"],
        since=since and since.replace(tzinfo=UTC),
        until=until and until.replace(tzinfo=UTC),
    )
    deliver(found, events, token=os.environ.get(TOKEN_VARIABLE))
    first, last = found[0].event_time, found[-1].event_time
    print(f"{len(found):,} events from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC", file=sys.stderr)


@app.command(
    "status", epilog=examples("drift status reviews_sentiment", "drift status reviews_sentiment --json")
)
def status(line: LineName, as_json: AsJson = False) -> None:
    """The drift states of a line, since when, and the newest alarm."""
    from platform_assets.drift.record import newest_alarm, newest_changes, onsets
    from platform_assets.drift.source_names import named_mix, own_mix
    from platform_assets.sketch.stability import band
    from resources.object_store import ObjectStoreError

    outside = outside_systems()
    ledger = outside.ledger
    changes, begun = newest_changes(ledger, line), onsets(ledger, line)
    columns = {
        column: {
            "state": entry.body["state"],
            "since": entry.time,
            "not_clear_since": begun[column].time if column in begun else None,
            "release_id": entry.body["release_id"],
            "ks": entry.body.get("ks"),
            "psi": entry.body.get("psi"),
        }
        for column, entry in sorted(changes.items())
    }
    alarm = newest_alarm(ledger, line)
    mix: dict[str, float] = {}
    if alarm:
        try:
            mix = named_mix(outside.object_store, alarm.body, env=outside.env, line=line)
        except ObjectStoreError as problem:
            # The states are the ledger's alone.
            mix = own_mix(alarm.body)
            print(f"names of sources cannot be read, so hashes stand for them: {problem}", file=sys.stderr)
    shown = {
        "line": line,
        "columns": columns,
        "newest_alarm": alarm and {"entry": alarm.hash, "time": alarm.time, **alarm.body, "mix": mix},
    }
    if as_json:
        print_json(shown)
        return
    for column, found in columns.items():
        psi = "" if found["psi"] is None else f"  PSI {found['psi']:.3f}, {band(found['psi'])}"
        print(f"{column:<16} {found['state']:<10} since {found['since']:%Y-%m-%d %H:%M:%S} UTC{psi}")
    if mix:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in mix.items())
        print(f"sources in the window of the newest alarm: {shares}")
    if not columns:
        print(f"{line} has never drifted, as far as it was watched")
