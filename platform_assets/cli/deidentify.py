"""`platform-assets deidentify …`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from platform_assets.cli.common import AsJson, outside_systems, print_json
from platform_assets.cli.dicom import DEFAULT_RULES, rules_named
from platform_assets.processors import available_cpus
from platform_assets.tasks.image_classification.deidentify.options import Keep, Profile

if TYPE_CHECKING:
    from platform_assets.tasks.image_classification.deidentify.folders import DeidentifyReport, Outcome

_SHOWN_DIGITS = 12


def deidentify(
    path: Annotated[
        Path, typer.Argument(metavar="IN", help="A folder, a zip archive, or one file; none is changed.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder that is empty, or is not there yet.")],
    profile: Annotated[Profile, typer.Option(help="Of DICOM PS3.15, annex E.")],
    keep: Annotated[
        list[Keep] | None,
        typer.Option(help="What stays, by an option of the profile that the copies state. May be repeated."),
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write which file and whose became which: whoever has it can undo the rest. Only its owner can read it.",
        ),
    ] = None,
    rules: Annotated[
        str, typer.Option(metavar="FILE", help="Contract whose rules of identity judge the copies.")
    ] = DEFAULT_RULES,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that judge; 0: this one. Default: one for each core."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write copies of DICOM files without what identifies, as far as attributes tell; pixels stay as they are.

    Each copy is judged by the gate before it is written, and a file whose copy breaks a rule of identity, or shows text
    among its pixels, gets none. The same patient, study or image gets the same pseudonym in every run of this
    installation. Tells counts, rules and names of attributes, and never what stands in a file, nor a file's name.

    Exit status: 0 where every file has a copy that passes, 1 where one has not, 2 for wrong usage.
    """
    from platform_assets.tasks.image_classification.deidentify.folders import (
        deidentify as deidentify_files,
    )
    from platform_assets.tasks.image_classification.deidentify.folders import require_deidentify
    from platform_assets.tasks.image_classification.dicom.files import open_files

    require_deidentify()
    asked = rules_named(rules)
    _refuse_in_place(path, out)
    with open_files(path, asked.limits, ignore=asked.ignore) as files:
        done = deidentify_files(
            files,
            out,
            asked,
            key=outside_systems().salt,
            keep=frozenset(keep or ()),
            mapping=mapping,
            workers=available_cpus() if workers is None else workers,
        )
    if as_json:
        print_json(_as_json(profile, done, files.ignored))
    else:
        _print(done)
    if not done.has_passed:
        raise typer.Exit(1)


def _refuse_in_place(path: Path, out: Path) -> None:
    source, target = path.resolve(), out.resolve()
    if target.is_relative_to(source) or (path.is_dir() and source.is_relative_to(target)):
        raise typer.BadParameter(
            "lies within what is read, or around it; give a folder elsewhere", param_hint="OUT"
        )


def _print(done: "DeidentifyReport") -> None:
    print(f"{'written':<10} {done.written:>9,}")
    print(f"{'refused':<10} {len(done.outcomes) - done.written:>9,}")
    for action, counts in done.actions.items():
        print(f"\n{action}")
        for name, count in counts.items():
            print(f"{count:>7,}  {name}")
    if done.rules:
        print()
    for rule, count in done.rules.items():
        print(f"{count:>7,}  {rule}")
    for each in done.outcomes:
        if each.findings:
            _print_outcome(each)


def _print_outcome(outcome: "Outcome") -> None:
    found_by = f", SHA-256 {outcome.sha256[:_SHOWN_DIGITS]}…" if outcome.sha256 else ""
    print(f"\n{'look at' if outcome.written else 'refused':<10} file {outcome.file}{found_by}")
    if outcome.written:
        print(f"    {outcome.written}")
    for finding in outcome.findings:
        tags = ", ".join(finding.tags)
        print(f"    {finding.rule}{f': {tags}' if tags else ''}")


def _as_json(profile: Profile, done: "DeidentifyReport", ignored: int) -> dict[str, Any]:
    """The report as JSON has it: rules, names of attributes, counts and hashes, never a value."""
    return {
        "passed": done.has_passed,
        "profile": profile.value,
        "codes": done.codes,
        "files": len(done.outcomes),
        "left_out": ignored,
        "written": done.written,
        "actions": done.actions,
        "rules": done.rules,
        "not_passed": [
            {
                "file": each.file,
                "sha256": each.sha256,
                "written": each.written,
                "findings": [
                    {"rule": one.rule, "verdict": one.verdict, "tags": list(one.tags), "count": one.count}
                    for one in each.findings
                ],
            }
            for each in done.outcomes
            if each.findings
        ],
    }
