"""`platform-assets features versions` and `features diff`: what was fitted, and what moved between two of it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from platform_assets.cli.common import AsJson, outside_systems, print_json

if TYPE_CHECKING:
    from platform_assets.features.diff import TransformerDiff

_SHOWN_DIGITS = 12


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
