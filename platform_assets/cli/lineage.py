"""The commands that walk the lineage: back to an older release, and back to where an answer came from."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from platform_assets.cli.completion import table_names
from platform_assets.cli.promotion import Promoted
from platform_assets.cli.usage import GOVERN, SERVE, examples
from platform_assets.governance.errors import LineageError, ReleaseError
from platform_assets.references import FORMER_TABLES, TABLES
from resources.errors import PlatformError
from resources.warehouse import Snapshot, Warehouse, WarehouseError

if TYPE_CHECKING:
    from platform_assets.lines.line import Line
    from platform_assets.outside_systems import OutsideSystems

app = typer.Typer(no_args_is_help=True)


@app.command(
    rich_help_panel=SERVE,
    epilog=examples(
        "rollback reviews_sentiment_dataset@47f72ea3b860 --dry-run",
        "rollback churn_model@9c1e4b7d --reason 'worse on news'",
    ),
)
def rollback(
    version: Annotated[
        str, typer.Argument(metavar="ASSET@VERSION", help="E.g. reviews_sentiment_dataset@47f72ea3b860.")
    ],
    reason: Annotated[str, typer.Option(help="Why, for whoever reads the history.")] = "no reason given",
    by: Annotated[
        str | None, typer.Option(help="Who goes back; asked of lines whose production is promoted.")
    ] = None,
    spec: SpecFile = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change; change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Activate the release that holds a version, with all that belongs to it, and pin the line to it."""
    from platform_assets.governance.lineage import AssetVersion, plan_rollback, roll_back
    from platform_assets.governance.promotion import bring_back, return_problems
    from platform_assets.governance.registry_moves import reconcile

    outside = outside_systems()
    ledger, asked, now = outside.ledger, AssetVersion.parse(version), datetime.now(UTC)
    line = _line_of(outside, asked.line, spec)
    promoted = Promoted.of(line, outside) if line else None
    plan = plan_rollback(ledger, asked, rules_now=line.rule_set_hashes if line else {}, now=now)
    if promoted is not None:
        if by is None:
            raise ReleaseError(f"production of {asked.line} is moved by people: name yourself with --by")
        given = promoted.asked(plan.target)
        plan = replace(plan, problems=return_problems(**given, act="rollback", by=by))
        if not dry_run:
            promoted.follow(acted=False)
            activation = bring_back(
                **given,
                act="rollback",
                by=by,
                reason=f"rollback to {asked.name}: {reason}",
                expected=promoted.expected,
            )
            promoted.follow()
            promoted.show()
    elif not dry_run:
        activation = roll_back(ledger, plan, reason=reason, now=now)
        # After the pointer, and repeated by a second run: the ledger says what is active, the alias follows.
        reconcile(outside.model_registry, ledger, asked.line)
    if as_json:
        shown = {"release_id": plan.target.release_id, "changes": plan.changes, "problems": plan.problems}
        print_json(shown | {"dry_run": dry_run, "entry": None if dry_run else activation.hash})
    else:
        _print_rollback(plan.changes)
        for problem in plan.problems:
            print(f"  blocked  {problem}")
        print(
            f"release {plan.target.release_id} would become active"
            if dry_run
            else f"release {plan.target.release_id} is active; {asked.line} is pinned to it (entry #{activation.seq})"
        )
    if plan.problems:
        raise typer.Exit(1)


def _line_of(outside: "OutsideSystems", name: str, spec: Path | None) -> "Line | None":
    """The line, where its spec can be loaded.

    Raises:
        LineError: It cannot, and production of the line is not moved without what it says.
    """
    from platform_assets.governance.release import is_moved_by_people, require_committed
    from platform_assets.lines.line import LineError

    try:
        line = chosen_line(outside, name, spec)
    except PlatformError as problem:
        if spec is None and not is_moved_by_people(outside.ledger, name):
            return None
        raise LineError(
            f"{name} goes back only by what its spec demands of a promotion, and the spec cannot be loaded: {problem}"
        ) from problem
    require_committed(outside.ledger, name, line.deployment_stage, lambda: line.spec_commit)
    return line


@app.command(
    rich_help_panel=SERVE, epilog=examples("unpin reviews_sentiment --by ada --reason 'the cause is mended'")
)
def unpin(
    line: LineName,
    by: Annotated[str, typer.Option(help="Who lets go of the pin.")],
    reason: Annotated[str, typer.Option(help="Why.")],
) -> None:
    """Let automation change a pinned line again."""
    from platform_assets.governance import release

    release.unpin(outside_systems().ledger, line, by=by, reason=reason)
    print(f"{line} is no longer pinned")


@app.command(rich_help_panel=GOVERN, epilog=examples("versions reviews_sentiment_dataset"))
def versions(
    asset: Annotated[
        str, typer.Argument(help="E.g. reviews_sentiment_dataset, or …_features.", autocompletion=table_names)
    ],
    as_json: AsJson = False,
) -> None:
    """List the published versions of a table, oldest first, and the commits that made them."""
    warehouse = outside_systems().warehouse
    tables = _tables(asset, warehouse)
    current = warehouse.current(tables[0])
    found: list[dict[str, Any]] = [
        {
            "version": each.content_hash,
            "snapshot_id": each.snapshot_id,
            "rows": each.rows,
            "source_commit": each.source_commit,
            "gdpr_class": each.gdpr_class,
            "published_at": each.committed_at,
            "current": current is not None and each.snapshot_id == current.snapshot_id,
        }
        for table in reversed(tables)
        for each in warehouse.versions(table)
    ]
    if as_json:
        print_json(found)
        return
    for row in found:
        print(
            f"{'●' if row['current'] else ' '} {row['version'][:12]}  {row['rows']:>9,} rows  {row['gdpr_class']:<9} "
            f"{row['published_at']:%Y-%m-%d %H:%M}  commit {row['source_commit'][:12]}"
        )


@app.command(
    "read",
    rich_help_panel=GOVERN,
    epilog=examples("read reviews_sentiment_dataset@47f72ea3b860 rows.parquet"),
)
def read_version(
    version: Annotated[
        str, typer.Argument(metavar="ASSET@VERSION", help="The first digits of a version, or a Git commit.")
    ],
    file: Annotated[Path, typer.Argument(help="Parquet file to write.")],
) -> None:
    """Write the rows of a table as they were in a version."""
    import pyarrow.parquet as pq

    asset, _, wanted = version.partition("@")
    warehouse = outside_systems().warehouse
    found = _version(_tables(asset, warehouse), wanted, warehouse)
    with whole_file(file) as target:
        pq.write_table(warehouse.read(found.table, found.snapshot_id), target)
    print(f"{found.rows:,} rows of {asset}@{found.content_hash[:12]} in {file}; class {found.gdpr_class}")


@app.command(
    rich_help_panel=GOVERN,
    epilog=examples("trace answer.json", "trace reviews_sentiment/3 --json", "trace credit_woe@v1"),
)
def trace(
    target: Annotated[
        str,
        typer.Argument(
            help="A prediction (JSON, a file of it, or `-`), a release id, ASSET@VERSION, TRANSFORMER@vNUMBER, "
            "LINE/NUMBER of a registered model, or an entry (#SEQ or its hash)."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Walk back to commit, data snapshot, GE run and verdicts."""
    from platform_assets.governance import lineage

    ledger = outside_systems().ledger
    found = lineage.trace(ledger, _prediction(target) or target)
    if as_json:
        print_json(found)
    else:
        _print_tree(found)
    if not found["chain"]["ok"]:
        print(f"error: the ledger is damaged: {found['chain']['problem']}", file=sys.stderr)
        raise typer.Exit(1)


def _tables(asset: str, warehouse: Warehouse) -> list[str]:
    """Where the versions of an asset lie, the newest table first; one where there is none yet."""
    line, _, stage = asset.rpartition("_")
    if not line or stage not in TABLES:
        raise LineageError(f"{asset!r} has no table; tables have <line>_dataset and <line>_features")
    names = [names[stage].format(line=line) for names in (TABLES, FORMER_TABLES) if stage in names]
    there = set(warehouse.tables())
    return [name for name in names if name in there] or names[:1]


def _version(tables: Sequence[str], wanted: str, warehouse: Warehouse) -> Snapshot:
    """The version in the first table that has it."""
    for table in tables[:-1]:
        with suppress(WarehouseError):
            return warehouse.at(table, wanted)
    return warehouse.at(tables[-1], wanted)


def _prediction(target: str) -> dict[str, Any] | None:
    """The prediction that `target` is or holds; the first one of a list.

    Raises:
        LineageError: it is a file, or what was piped in, without one.
    """
    # A prediction itself is longer than any name of a file, which pathlib takes amiss.
    is_file = target != "-" and os.path.isfile(target)  # noqa: PTH113
    text = sys.stdin.read() if target == "-" else target
    try:
        found = json.loads(Path(target).read_bytes() if is_file else text)
    except ValueError:
        found = None
    first = found[0] if isinstance(found, list) and found else found
    if isinstance(first, dict):
        return first
    if is_file or target == "-":
        named = target if is_file else "the input"
        raise LineageError(
            f"{named} holds no answer; write one with: platform-assets predict LINE INSTANCE --json > {target if is_file else 'FILE'}"
        )
    return None


def _print_rollback(changes: dict[str, tuple[str | None, str]]) -> None:
    for stage, (before, after) in changes.items():
        print(f"  {stage:<11}{(before or 'nothing')[:12]:<13} → {after[:12]}")
    if not changes:
        print("  nothing changes: that release is active already")


def _entry(entry: Mapping[str, Any]) -> str:
    """A line for an entry of the ledger."""
    shown = (entry.get("rule_set"), entry.get("outcome") or entry.get("reason"), entry.get("observed"))
    return f"#{entry['seq']}  {entry['time']:%Y-%m-%d %H:%M:%S}  {entry['kind']}  " + "  ".join(
        str(part) for part in shown if part is not None
    )


def _said(record: Mapping[str, Any]) -> str:
    """A line for what an answer came with, such as a reason."""
    return ", ".join(f"{name} {value}" for name, value in record.items())


def _print_tree(record: Any, indent: str = "") -> None:
    for name, value in record.items():
        if isinstance(value, dict):
            print(f"{indent}{name}")
            _print_tree(value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            print(f"{indent}{name}")
            for each in value:
                print(f"{indent}  {_entry(each) if 'seq' in each else _said(each)}")
        else:
            print(f"{indent}{name:<18} {', '.join(map(str, value)) if isinstance(value, list) else value}")
