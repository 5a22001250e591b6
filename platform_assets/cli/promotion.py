"""The commands by which people move production: promote, and demote."""

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from platform_assets.cli.common import AsJson, LineName, SpecFile, chosen_line, outside_systems, print_json
from platform_assets.cli.usage import SERVE, examples
from platform_assets.governance.errors import PromotionRefusedError
from resources.outages import outage_of

if TYPE_CHECKING:
    from platform_assets.governance.release import Release
    from platform_assets.governance.requirements import PromotionDemands
    from platform_assets.governance.reviewers import Reviewers
    from platform_assets.ledger.ledger import Entry
    from platform_assets.lines.line import Line
    from platform_assets.outside_systems import OutsideSystems

app = typer.Typer(no_args_is_help=True)

By = Annotated[str, typer.Option(help="Who does it, as the file of reviewers names them.")]
Reason = Annotated[str, typer.Option(help="Why, for whoever reads the history.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what is missing; change nothing.")]


@dataclass(frozen=True, slots=True)
class Promoted:
    """A line whose production people move, and what that takes."""

    outside: "OutsideSystems"
    line: str
    demands: "PromotionDemands"
    reviewers: "Reviewers"
    expected: str | None
    """Hash of the activation that is seen in production; None where there is none."""

    def show(self) -> None:
        """Let the UI show what was done; where its storage is away, that is told and no more."""
        from platform_assets.lines.promotion_status import show_promotions
        from platform_assets.lines.runner import open_instance

        try:
            with open_instance(self.outside.settings) as instance:
                show_promotions(self.line, self.outside, instance)
        except Exception as problem:
            if (outage := outage_of(problem)) is None:
                raise
            print(f"warning: the act stands, and the UI does not show it yet ({outage})", file=sys.stderr)

    @classmethod
    def of(cls, line: "Line", outside: "OutsideSystems") -> "Promoted | None":
        """What moves the line's production; None where its deployments do."""
        from platform_assets.governance.release import ACTIVATION
        from platform_assets.governance.reviewers import read_reviewers

        demands = line.adapted(outside.ledger).promotion
        if demands is None:
            return None
        current = outside.ledger.latest(ACTIVATION, line.name)
        reviewers = read_reviewers(outside.settings.reviewers)
        return cls(outside, line.name, demands, reviewers, current.hash if current else None)

    def asked(self, release: "Release") -> dict[str, Any]:
        """What every question about a release of it is asked with."""
        from platform_assets.governance.promotion import sha256_of_stored

        return {
            "ledger": self.outside.ledger,
            "release": release,
            "demands": self.demands,
            "reviewers": self.reviewers,
            "stored_card": sha256_of_stored(self.outside.object_store, release.card),
            "now": datetime.now(UTC),
        }

    def follow(self, *, acted: bool = True) -> None:
        """Let the registry follow what the ledger says; where it is away, that is told once something was done."""
        from platform_assets.governance.registry_moves import follow

        behind = follow(self.outside.model_registry, self.outside.ledger, self.line)
        if behind and acted:
            print(f"warning: {behind}", file=sys.stderr)


@app.command(
    rich_help_panel=SERVE,
    epilog=examples(
        "promote chest_xray_detector --version 12 --by grace --reason 'reviewed'",
        "promote chest_xray_detector --version 12 --by grace --reason 'reviewed' --dry-run",
    ),
)
def promote(
    line: LineName,
    version: Annotated[int, typer.Option(min=1, help="Number of the version, which is in staging.")],
    by: By,
    reason: Reason,
    spec: SpecFile = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Bring the version in staging to production, if every verdict and review allows it."""
    from platform_assets.governance import promotion

    promoted = _promoted(line, spec)
    if not dry_run:
        promoted.follow(acted=False)
    release = promotion.version_to_promote(promoted.outside.ledger, promoted.line, version)
    asked = promoted.asked(release)
    if dry_run:
        _show(promoted, release, promotion.promotion_problems(**asked, by=by), as_json=as_json)
        return
    entry = promotion.promote(**asked, by=by, reason=reason, expected=promoted.expected)
    promoted.follow()
    promoted.show()
    _tell(promoted, release, entry, as_json=as_json)


@app.command(
    rich_help_panel=SERVE,
    epilog=examples("demote chest_xray_detector --by grace --reason 'misses small nodules'"),
)
def demote(
    line: LineName,
    by: By,
    reason: Reason,
    spec: SpecFile = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Bring the former version back to production, if its verdicts and reviews still allow it."""
    from platform_assets.governance import promotion

    promoted = _promoted(line, spec)
    if not dry_run:
        promoted.follow(acted=False)
    release = promotion.former(promoted.outside.ledger, promoted.line)
    if release is None:
        raise PromotionRefusedError(
            f"demotion of {promoted.line}",
            ["no version was in production before, and readers are never left without one"],
        )
    asked = promoted.asked(release)
    if dry_run:
        problems = promotion.return_problems(**asked, act="demote", by=by)
        _show(promoted, release, problems, as_json=as_json)
        return
    entry = promotion.bring_back(**asked, act="demote", by=by, reason=reason, expected=promoted.expected)
    promoted.follow()
    promoted.show()
    _tell(promoted, release, entry, as_json=as_json)


def _promoted(name: str, spec: Any) -> Promoted:
    outside = outside_systems()
    line = chosen_line(outside, name, spec)
    found = Promoted.of(line, outside)
    if found is None:
        raise PromotionRefusedError(
            f"an act on production of {line.name}",
            [
                f"its deployments go to production; list what a promotion takes under requires.promote in {line.manifest.path}"
            ],
        )
    return found


def _show(promoted: Promoted, release: "Release", problems: list[str], *, as_json: bool) -> None:
    number = release.card.registered.number
    if as_json:
        print_json(
            {
                "line": promoted.line,
                "version": number,
                "release_id": release.release_id,
                "problems": problems,
                "dry_run": True,
                "entry": None,
            }
        )
    else:
        for problem in problems:
            print(f"  missing  {problem}")
        print(
            f"version {number} of {promoted.line} {'would not get' if problems else 'would get'} to production"
        )
    if problems:
        raise typer.Exit(1)


def _tell(promoted: Promoted, release: "Release", entry: "Entry", *, as_json: bool) -> None:
    number = release.card.registered.number
    if as_json:
        print_json(
            {
                "line": promoted.line,
                "version": number,
                "release_id": release.release_id,
                "problems": [],
                "dry_run": False,
                "entry": entry.hash,
            }
        )
        return
    changed = "" if entry.hash != promoted.expected else " already"
    print(f"version {number} of {promoted.line} is in production{changed} (entry #{entry.seq})")
