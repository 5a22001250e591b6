"""`platform-assets erase` and `platform-assets retention …`: what must go, and what must stay."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from platform_assets.cli.common import AsJson, outside_systems, print_json
from platform_assets.cli.usage import examples

if TYPE_CHECKING:
    from platform_assets.governance.erasure import ErasurePlan
    from platform_assets.governance.retention import Expired

app = typer.Typer(no_args_is_help=True, help="What is past its days, and what must stay.")

By = Annotated[str, typer.Option(help="Who asks for it.")]
Reason = Annotated[str, typer.Option(help="Why, for whoever reads the history.")]


def erase(
    subject: Annotated[
        str, typer.Option(help="Whom: namespace:id, e.g. applicant:4711; 64 hexadecimal digits are a review.")
    ],
    by: By,
    reason: Reason,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what it concerns; touch nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take every row of a subject out of all versions of all tables and all objects, for good."""
    from platform_assets.datasets.snapshots import content_hash
    from platform_assets.governance import erasure
    from platform_assets.governance.subjects import Subject
    from platform_assets.tasks.registry import is_about

    whom = Subject.parse(subject)
    outside = outside_systems()
    ledger, salt = outside.ledger, outside.salt
    warehouse, store = outside.warehouse, outside.object_store
    if dry_run:
        plan = erasure.plan_erasure(
            whom, ledger=ledger, warehouse=warehouse, store=store, salt=salt, is_about=is_about
        )
        _show_erasure(plan, {"dry_run": True}, as_json=as_json)
        return
    report = erasure.erase(
        whom,
        by=by,
        reason=reason,
        ledger=ledger,
        warehouse=warehouse,
        store=store,
        locks=outside.locks,
        salt=salt,
        content_hash=content_hash,
        environment=outside.env,
        now=datetime.now(UTC),
        is_about=is_about,
    )
    shown = {"entry": report.entry.hash, "verdict": report.verdict.hash, "outcome": report.outcome}
    _show_erasure(report.plan, {"dry_run": False, **shown, "left": report.left}, as_json=as_json)
    if report.left:
        print(f"error: the subject is still in {', '.join(report.left)}", file=sys.stderr)
        raise typer.Exit(1)


@app.command("due", epilog=examples("retention due"))
def due(as_json: AsJson = False) -> None:
    """What is past its days, and of that, what would stay."""
    from platform_assets.governance.retention import expired

    outside = outside_systems()
    found = expired(outside.object_store, outside.warehouse, outside.ledger, now=datetime.now(UTC))
    _show_expired(found, {}, as_json=as_json)


@app.command("sweep", epilog=examples("retention sweep --by ada"))
def sweep(
    by: Annotated[str | None, typer.Option(help="Who sweeps; the settings' principal by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Remove what is past its days now, as the schedule does every night."""
    from platform_assets.datasets.snapshots import content_hash
    from platform_assets.governance.retention import retain

    outside = outside_systems()
    report = retain(
        outside.object_store,
        outside.warehouse,
        outside.ledger,
        content_hash=content_hash,
        environment=outside.env,
        by=by or outside.principal,
        now=datetime.now(UTC),
    )
    shown = {"verdict": report.verdict.hash, "outcome": report.outcome, "problems": report.problems}
    _show_expired((*report.deleted, *report.spared), shown, as_json=as_json)
    for problem in report.problems:
        print(f"error: {problem}", file=sys.stderr)
    if report.problems:
        raise typer.Exit(1)


@app.command("hold", epilog=examples("retention hold datasets.reviews_sentiment --by ada --reason 'case 7'"))
def hold(
    name: Annotated[
        str, typer.Argument(help="A table, e.g. datasets.reviews_sentiment, or an object's key.")
    ],
    by: By,
    reason: Reason,
    lift: Annotated[bool, typer.Option("--lift", help="Lift the hold instead.")] = False,
) -> None:
    """Place a legal hold: neither retention nor an erasure removes anything of it."""
    from platform_assets.governance.retention import set_legal_hold

    outside = outside_systems()
    set_legal_hold(
        name,
        held=not lift,
        by=by,
        reason=reason,
        store=outside.object_store,
        warehouse=outside.warehouse,
        ledger=outside.ledger,
    )
    print(f"{name} is {'no longer' if lift else 'now'} under legal hold")


def _show_erasure(plan: "ErasurePlan", shown: dict[str, Any], *, as_json: bool) -> None:
    search = plan.search
    if as_json:
        print_json(
            {
                "namespace": plan.namespace,
                "subject": plan.subject,
                "versions": search.versions,
                "objects": search.objects,
                "mentions": search.mentions,
                "held": search.held,
                "releases": [{"line": line, "release_id": release_id} for line, release_id in plan.releases],
                "models": plan.models,
                "erased_before": [entry.hash for entry in plan.earlier],
                **shown,
            }
        )
        return
    verb = "would lose" if shown["dry_run"] else "lost"
    for version in search.versions:
        print(f"  {verb} {version['rows']} rows  {version['table']} version {version['content_hash'][:12]}")
    for each in search.objects:
        print(f"  {verb} {each['rows']} rows  {each['key']}")
    for key in search.mentions:
        print(f"  names the subject, and is no table: {key}")
    for name in search.held:
        print(f"  under legal hold: {name}")
    for line, release_id in plan.releases:
        print(f"  erased       release {release_id} of {line}")
    for model in plan.models:
        print(f"  to retrain   {model[:60]}")
    if not (search.found or search.mentions):
        print(
            f"  nothing holds this {plan.namespace} any more: it was erased before, entry {plan.earlier[-1].seq}"
        )
    print(
        f"{search.versions_searched} table versions and {search.objects_searched} objects were searched; "
        + ("nothing was touched" if shown["dry_run"] else f"searched again: {shown['outcome']}")
    )


def _show_expired(found: "Sequence[Expired]", shown: dict[str, Any], *, as_json: bool) -> None:
    rows = [
        {
            "kind": each.kind,
            "name": each.name,
            "gdpr_class": each.gdpr_class,
            "version": each.version.content_hash if each.version else None,
            "rows": each.rows,
            "stays": each.spared or None,
        }
        for each in found
    ]
    if as_json:
        print_json({"expired": rows, **shown})
        return
    for each in found:
        version = f"  version {each.version.content_hash[:12]}, {each.rows} rows" if each.version else ""
        stays = f"  stays: {each.spared}" if each.spared else ""
        print(f"  {each.kind:<8} {each.gdpr_class:<10} {each.name}{version}{stays}")
    if not rows:
        print("nothing is past its days")
