"""`platform-assets features versions`, `diff` and `days`: what was fitted, what moved between two of it, what is made by day."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from platform_assets.cli.common import AsJson, outside_systems, print_json

if TYPE_CHECKING:
    from platform_assets.features.day_status import DailyStatus, State
    from platform_assets.features.diff import TransformerDiff

_SHOWN_DIGITS = 12
_SHOWN_SPANS: Final = 5


def versions(
    name: Annotated[
        str | None, typer.Argument(help="Of a transformer, e.g. credit_woe; all if left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The fitted versions of transformers, oldest first: of which rows they are, and who fitted them."""
    from platform_assets.features.errors import FeatureError
    from platform_assets.features.versions import latest_version, listed, names_of

    ledger = outside_systems().ledger
    known = names_of(ledger)
    if name is not None and name not in known:
        raise FeatureError(f"{name} was never fitted; fitted were {', '.join(known) or 'none'}")
    names = known if name is None else [name]
    latest = {each: latest_version(ledger, each) for each in names}
    found: list[dict[str, Any]] = [
        {
            "version": version.label,
            "type": version.transformer_type,
            "latest": version == latest[version.name],
            "data_version": version.data_version,
            "fitted_on": version.dataset_asset or version.input_source,
            "input_hash": version.input_hash,
            "fit_split": version.fit_split,
            "fit_rows": version.fit_rows,
            "object": version.object_key,
            "by": entry.principal,
            "at": entry.time,
            "entry": entry.hash,
        }
        for entry, version in listed(ledger, names)
    ]
    if as_json:
        print_json(found)
        return
    for row in found:
        print(
            f"{'●' if row['latest'] else ' '} {row['version']:<28} {row['type']:<7} {row['fit_rows']:>9,} rows of "
            f"{row['fitted_on']}@{row['input_hash'][:_SHOWN_DIGITS]}  {row['at']:%Y-%m-%d %H:%M}  by {row['by']}"
        )
    if not found:
        print("nothing was fitted yet")


def diff(
    before: Annotated[str, typer.Argument(help="E.g. credit_woe@v2.")],
    after: Annotated[
        str, typer.Argument(help="E.g. credit_woe@v3, or @v3 of the same transformer.")
    ] = "@latest",
    as_json: AsJson = False,
) -> None:
    """What moved between two fitted versions: spec, input, bins, information value, stability."""
    from platform_assets.features.diff import diff as compared
    from platform_assets.features.leak_gate import rows_of_version
    from platform_assets.features.versions import load_fitted, resolve

    outside = outside_systems()
    if after.startswith("@"):
        after = before.partition("@")[0] + after
    then, now = (resolve(outside.ledger, each) for each in (before, after))
    fitted = {each.label: load_fitted(outside.object_store, each) for each in (then, now)}
    found = compared(
        (then, fitted[then.label]),
        (now, fitted[now.label]),
        later_rows=rows_of_version(now, fitted[now.label], outside.warehouse),
    )
    if as_json:
        print_json(found.to_json())
    else:
        _print(found)


def days(
    name: Annotated[
        str, typer.Argument(help="Of a transformer with features by day, e.g. flight_delay_zscore.")
    ],
    state: Annotated[
        Literal["made", "missing", "reopened", "refused"] | None,
        typer.Option(help="Only the days in this state."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The days of a transformer: made, missing, open again since rows came late, or refused by the contract, and why."""
    from platform_assets.features.day_status import daily_status
    from platform_assets.features.declared import declared_transformers
    from platform_assets.features.errors import FeatureError

    outside = outside_systems()
    known = declared_transformers(outside).sound
    found = daily_status(known[name], outside) if name in known else None
    if found is None:
        daily = ", ".join(each for each, declared in known.items() if declared.days is not None) or "none"
        raise FeatureError(
            f"there is no transformer {name} with features by day; those that have them: {daily}"
        )
    shown = [each for each in found.days if state in (None, each.state)]
    if as_json:
        print_json(
            {
                "asset": found.asset,
                "version": found.version,
                "days": [{**asdict(each), "day": str(each.day)} for each in shown],
            }
        )
        return
    for each in shown:
        kept = ", rows of before are kept" if each.published and each.state in {"reopened", "refused"} else ""
        print(f"{each.day}  {each.state:<8} {each.rows:>11,} rows{kept}")
        for broken in each.broken:
            print(f"            {broken}")
    if not found.days:
        print(f"{found.asset}: no day of its input is known; materialize {name} first")


def daily_lines(found: "DailyStatus") -> list[str]:
    """What `status` tells of a transformer's days."""
    from platform_assets.features.day_status import spans_of

    if not found.days:
        return ["days      none is known yet"]
    told = [f"days      {len(found.of('made')):,} of {len(found.days):,} are made, to {found.days[-1].day}"]
    states: tuple[State, ...] = ("missing", "reopened", "refused")
    for state in states:
        spans = spans_of(found.of(state))
        shown = ", ".join(
            str(first) if first == last else f"{first} to {last}" for first, last in spans[:_SHOWN_SPANS]
        )
        more = f" and {len(spans) - _SHOWN_SPANS} more" if len(spans) > _SHOWN_SPANS else ""
        if spans:
            told.append(f"{state:<9} {shown}{more}")
    return told


def _print(found: "TransformerDiff") -> None:
    same = "the same rows" if found.same_input else "other rows"
    print(f"{found.before.label} → {found.after.label}: fitted on {same}")
    print(f"  fit rows  {found.before.fit_rows:,} → {found.after.fit_rows:,}")
    for name, (then, now) in found.spec.items():
        print(f"  spec      {name}: {then} → {now}")
    for column in found.columns:
        values = " → ".join("none" if each is None else f"{each:.4f}" for each in column.iv)
        told = [f"IV {values}"]
        if column.psi is not None:
            told.append(f"PSI {column.psi:.4f}")
        if column.largest_step is not None:
            told.append(f"weights moved by {column.largest_step:.4f} at most")
        print(f"  {column.column}: {', '.join(told)}")
        if not column.same_bins:
            for sign, labels in zip("-+", column.bins, strict=True):
                print(f"    {sign} {' | '.join(labels) or 'nothing'}")
    if not (found.spec or found.columns):
        print("  nothing else moved")
