"""`platform-assets quarantine …`."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from platform_assets.cli.common import (
    AsJson,
    LineName,
    SpecFile,
    chosen_line,
    outside_systems,
    print_json,
    whole_file,
)
from platform_assets.cli.usage import examples

if TYPE_CHECKING:
    from platform_assets.datasets.quarantine import Choice, Decision
    from platform_assets.datasets.quarantine_cases import Case
    from platform_assets.outside_systems import OutsideSystems

app = typer.Typer(
    no_args_is_help=True, help="Files that were not let into a dataset, and who decides about them."
)

FileName = Annotated[
    str, typer.Argument(metavar="FILE", help="Its id, the first six or more digits of it, or its name.")
]
By = Annotated[str, typer.Option(help="Who takes responsibility.")]
Reason = Annotated[str, typer.Option(help="Why; it stays for good, so nothing in it may identify anybody.")]
_LINE = "chest_xray_detector"
_SHOWN_DIGITS = 12


@app.command(
    "list",
    epilog=examples(
        f"quarantine list {_LINE}",
        f"quarantine list {_LINE} --state waiting --json",
    ),
)
def list_files(
    line: LineName,
    state: Annotated[
        Literal["waiting", "released", "rejected"] | None, typer.Option(help="Only files in this state.")
    ] = None,
    spec: SpecFile = None,
    as_json: AsJson = False,
) -> None:
    """What a line holds back: counts by rule and verdict, and each file's id, state and rules.

    waiting: a person has to decide. released: it comes in with the dataset's next materialization. rejected: it stays
    out, because of a rule that nobody can set aside, or by a person's decision.
    """
    from platform_assets.datasets.quarantine_cases import read_quarantine

    outside = outside_systems()
    _role(outside, line, spec)
    quarantine = read_quarantine(outside.warehouse, outside.ledger, line)
    cases = [case for case in quarantine.cases if state in (None, case.state)]
    if as_json:
        print_json(
            {
                "line": line,
                "snapshot_id": quarantine.snapshot.snapshot_id if quarantine.snapshot else None,
                "by_state": quarantine.by_state,
                "by_rule": [
                    {"rule": rule, "verdicts": quarantine.verdicts_of(rule), **states}
                    for rule, states in quarantine.by_rule.items()
                ],
                "files": [
                    {"file_id": each.file_id, "state": each.state, "verdict": each.held.verdict}
                    | {"rules": each.held.rules}
                    for each in cases
                ],
            }
        )
        return
    told = ", ".join(f"{count} {name}" for name, count in quarantine.by_state.items())
    print(f"{line}: {len(quarantine.cases)} files are held; {told}")
    for rule, states in quarantine.by_rule.items():
        print(f"{sum(states.values()):>6}  {rule} ({' or '.join(quarantine.verdicts_of(rule))})")
    for case in cases:
        print(f"{case.state:<8}  {_short(case.file_id)}  {', '.join(case.held.rules)}")


@app.command(
    "show",
    epilog=examples(
        f"quarantine show {_LINE} 3f2a91c04b7e",
        f"quarantine show {_LINE} 3f2a91c04b7e --thumbnail case.png",
    ),
)
def show(
    line: LineName,
    file: FileName,
    thumbnail: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Write its thumbnail there.")
    ] = None,
    spec: SpecFile = None,
    as_json: AsJson = False,
) -> None:
    """One file: what was found, and every decision about it. That you have looked at it is recorded."""
    from platform_assets.datasets.errors import QuarantineError
    from platform_assets.datasets.quarantine import history
    from platform_assets.datasets.quarantine_reading import QuarantineReader

    outside = outside_systems()
    _role(outside, line, spec)
    reader = QuarantineReader(outside)
    quarantine = reader.read(line)
    case = quarantine.case(file)
    assert quarantine.snapshot is not None  # where there is a case there is a table
    reader.look_at(line, quarantine.snapshot, [case.file_id], "case")
    decided = history(outside.ledger, line, case.file_id)
    if as_json:
        print_json(_as_json(case, decided))
    else:
        _print(case, decided)
    if thumbnail is not None:
        png = reader.thumbnail(line, case.file_id)
        if png is None:
            raise QuarantineError(
                f"file {case.file_id} has no thumbnail: no picture could be made of what was read of it"
            )
        with whole_file(thumbnail) as incoming:
            incoming.write_bytes(png)


@app.command(
    epilog=examples(f"quarantine release {_LINE} 3f2a91c04b7e --by 'Dr. Lee' --reason 'marker, no text'")
)
def release(line: LineName, file: FileName, by: By, reason: Reason, spec: SpecFile = None) -> None:
    """Let a file in, in spite of the rules that it is held for: these very bytes, and these rules alone.

    PLATFORM_PRINCIPAL__GROUPS must name the group that the line's spec says (`released_by`).
    """
    _decide(line, file, "release", by, reason, spec)


@app.command(epilog=examples(f"quarantine reject {_LINE} 3f2a91c04b7e --by 'Dr. Lee' --reason 'a hand'"))
def reject(line: LineName, file: FileName, by: By, reason: Reason, spec: SpecFile = None) -> None:
    """Keep a file out, or take back its release: it is out from the dataset's next materialization on.

    PLATFORM_PRINCIPAL__GROUPS must name the group that the line's spec says (`released_by`).
    """
    _decide(line, file, "reject", by, reason, spec)


def _decide(line: str, file: str, decision: "Choice", by: str, reason: str, spec: Path | None) -> None:
    from platform_assets.datasets.quarantine import decide
    from platform_assets.datasets.quarantine_assets import quarantine_materialization
    from platform_assets.datasets.quarantine_cases import decidable, read_quarantine
    from platform_assets.lines.runner import open_instance

    outside = outside_systems()
    role, ledger = _role(outside, line, spec), outside.ledger
    held = decidable(read_quarantine(outside.warehouse, ledger, line), ledger, file)
    entry = decide(
        ledger,
        held,
        decision,
        by=by,
        reason=reason,
        principal=outside.settings.principal,
        role=role,
        on_denial=outside.denials.record,
    )
    with open_instance(outside.settings) as instance:
        instance.report_runless_asset_event(quarantine_materialization(outside, line))
    what = "released: it comes in" if decision == "release" else "rejected: it is out"
    print(
        f"{held.file_id} is {what} from the next materialization on (entry {entry.seq}): platform-assets run "
        f"{f'--spec {spec}' if spec else line}"
    )


def _role(outside: "OutsideSystems", name: str, spec: Path | None) -> str:
    """The group that decides of a line's files.

    Raises:
        QuarantineError: The line holds none back.
    """
    from platform_assets.datasets.errors import QuarantineError
    from platform_assets.datasets.ingestion import HoldsBack

    line = chosen_line(outside, name, spec)
    ingestion = line.task.ingestion
    if not isinstance(ingestion, HoldsBack):
        raise QuarantineError(f"{name} has no quarantine: its task, {line.task.name}, holds no files back")
    return ingestion.released_by(line.spec)


def _print(case: "Case", decided: "Iterable[Decision]") -> None:
    print(f"file        {case.file_id}")
    print(f"state       {case.state}" + ("" if case.held.can_be_released else "; nobody can release it"))
    print(f"name        {case.name or 'not kept, as it may identify somebody'}")
    print(f"source      {', '.join(case.sources)}")
    print(f"size        {case.size_bytes:,} bytes")
    for each in case.findings:
        tags = f": {', '.join(each.tags)}" if each.tags else ""
        print(f"{each.verdict:<10}  {each.rule} ({each.count}){tags}")
    for one in decided:
        print(
            f"{'decided':<12}{one.decision} by {one.by} ({one.principal}, {one.role}) at {one.decided_at:%Y-%m-%d %H:%M} UTC, "
            f"held for {', '.join(one.rules)}: {one.reason}"
        )


def _as_json(case: "Case", decided: "Iterable[Decision]") -> dict[str, Any]:
    return {
        "file_id": case.file_id,
        "state": case.state,
        "verdict": case.held.verdict,
        "can_be_released": case.held.can_be_released,
        "rules": case.held.rules,
        "name": case.name,
        "sources": case.sources,
        "size_bytes": case.size_bytes,
        "findings": [
            {"rule": each.rule, "verdict": each.verdict, "tags": each.tags, "count": each.count}
            for each in case.findings
        ],
        "decisions": [
            {
                "decision": each.decision,
                "by": each.by,
                "principal": each.principal,
                "role": each.role,
                "reason": each.reason,
                "rules": each.rules,
                "decided_at": each.decided_at,
                "entry": each.entry_seq,
            }
            for each in decided
        ],
    }


def _short(file_id: str) -> str:
    """Enough of an id to name the file by."""
    head, colon, digits = file_id.rpartition(":")
    return f"{head}{colon}{digits[:_SHOWN_DIGITS]}"
