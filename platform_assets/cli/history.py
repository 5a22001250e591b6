"""`platform-assets history`: which version stood in which stage when, by whom, and on what."""

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from platform_assets.cli.common import AsJson, LineName, outside_systems, print_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_SHOWN_DIGITS = 12


def _moment(text: str) -> datetime:
    """A time with its zone: of another one, nobody could tell which moment is meant."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise typer.BadParameter(f"{text} is no time with its zone; write one such as 2026-11-22T12:00Z")
    return found.astimezone(UTC)


def history(
    line: LineName,
    moment: Annotated[
        datetime | None,
        typer.Option("--at", parser=_moment, metavar="TIME", help="For one moment, e.g. 2026-11-22T12:00Z."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show which version stood in production and in staging, from when to when: by whom, and on which verdicts and reviews.

    With --at, what stood at that moment. The whole ledger is verified first.
    """
    from platform_assets.governance.history import at, told
    from platform_assets.governance.history import history as stays_of

    ledger = outside_systems().ledger
    report = ledger.verify()
    if moment is not None:
        standing = at(ledger, line, moment, now=datetime.now(UTC))
        stays: Sequence[Any] = standing.stays
    else:
        stays = stays_of(ledger, line)
    records = [told(ledger, each) for each in stays]
    if as_json:
        chain = {"ok": report.ok, "entries": report.entries, "problem": report.problem}
        asked_for = {"at": moment} if moment else {}
        print_json({"line": line, **asked_for, "stays": records, "chain": chain})
    elif moment is not None:
        for stage in ("production", "staging"):
            there = [each for each in records if each["stage"] == stage]
            print(stage if there else f"{stage}  nothing")
            _print(there)
    elif records:
        _print(records, with_stage=True)
    else:
        print(f"{line} has no history yet: nothing of it was ever deployed")
    if not report.ok:
        print(f"error: the ledger is damaged: {report.problem}", file=sys.stderr)
        raise typer.Exit(1)


def _print(records: "Iterable[Mapping[str, Any]]", *, with_stage: bool = False) -> None:
    for each in records:
        where = f"{each['stage']:<11}" if with_stage else ""
        print(
            f"  {where}version {each['version']:<4} {_time(each['since'])} to {_time(each['until']) or 'now'}"
        )
        for name, text in _lines(each):
            print(f"    {name:<10}{text}")


def _lines(stay: "Mapping[str, Any]") -> "Iterable[tuple[str, str]]":
    entry, snapshot = stay["entry"], stay["data_snapshot"]
    yield stay["act"], f"by {stay['by']}, entry {entry['seq']}: {stay['reason']}"
    verdicts = [
        f"{each['rule_set']} {each['outcome']}" + (f" by {each['waived_by']}" if "waived_by" in each else "")
        for each in stay["verdicts"]
    ]
    yield "verdicts", ", ".join(verdicts) or "none"
    for each in stay["reviews"]:
        yield (
            "review",
            f"{each['decision']} by {each['reviewer']}, {each['role']} ({each['authenticated']}), entry {each['entry']}",
        )
    if judged := stay["judged_by"]:
        commits = [(judged[name] or "none")[:_SHOWN_DIGITS] for name in ("spec_commit", "reviewers_commit")]
        yield "judged", "by spec {}, reviewers {}".format(*commits)
    author = f" by {stay['source_author']}" if stay["source_author"] else ""
    yield "spec", f"commit {stay['source_commit'][:_SHOWN_DIGITS]}{author}"
    yield "trained", f"started by {stay['started_by'] or 'nobody that is known'}"
    yield (
        "data",
        f"{snapshot['table']} snapshot {snapshot['snapshot_id']}, {stay['data_version'][:_SHOWN_DIGITS]}",
    )
    yield "release", f"{stay['release_id']}, model {stay['model_fingerprint'][:_SHOWN_DIGITS]}"
    if stay["ended_by"]:
        yield "ended", stay["ended_by"]


def _time(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else ""
