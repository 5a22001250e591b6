"""`platform-assets waive`: a person takes responsibility for going on without a pass."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from platform_assets.cli.common import AsJson, LineName, SpecFile, chosen_line, outside_systems, print_json


def waive(
    line: LineName,
    rule_set: Annotated[str, typer.Argument(help="What is set aside, as status shows it, e.g. gate.auc.")],
    by: Annotated[str, typer.Option(metavar="NAME", help="Who takes responsibility.")],
    reason: Annotated[str, typer.Option(help="Why it may be. It stays for good.")],
    expires_days: Annotated[
        float,
        typer.Option("--expires-days", metavar="N", help="For how many days it counts, at most 366."),
    ],
    version: Annotated[
        int | None, typer.Option(metavar="N", help="Of the model. Default: the one registered last.")
    ] = None,
    spec: SpecFile = None,
    as_json: AsJson = False,
) -> None:
    """Set aside a verdict that fails or is missing, for a while, in the name of a person.

    Only what the line's spec lists under requires.waivable, and nothing that objects, as an erasure does. The next judgement
    of the same rules takes its place.
    """
    from platform_assets.governance.waiving import registered_version
    from platform_assets.governance.waiving import waive as set_aside

    outside = outside_systems()
    chosen = chosen_line(outside, line, spec)
    ledger, demands = outside.ledger, chosen.promotion.verdicts if chosen.promotion else chosen.demands
    registered = registered_version(ledger, chosen.name, version)
    entries = set_aside(
        ledger,
        demands,
        registered,
        rule_set,
        by=by,
        reason=reason,
        days=expires_days,
        now=datetime.now(UTC),
    )
    if as_json:
        print_json([{"entry": each.hash, "seq": each.seq, **each.body} for each in entries])
        return
    for each in entries:
        evidence, waiver = each.body["evidence"], each.body["waiver"]
        print(
            f"{rule_set} of {chosen.name} version {registered.number} ({evidence['sets_aside']}) is waived by {waiver['by']} "
            f"until {datetime.fromisoformat(waiver['expires_at']):%Y-%m-%d %H:%M} UTC (entry {each.seq})"
        )
