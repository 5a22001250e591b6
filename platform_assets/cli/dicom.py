"""`platform-assets dicom …`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from platform_assets.cli.common import AsJson, outside_systems, print_json
from platform_assets.cli.usage import examples
from platform_assets.processors import available_cpus
from resources.texts import quoted

if TYPE_CHECKING:
    from platform_assets.tasks.image_classification.dicom.gate import GateReport
    from platform_assets.tasks.image_classification.dicom.rules import GateRules

DEFAULT_RULES = "chest_xrays.yaml"
_SHOWN_TAGS = 6

app = typer.Typer(no_args_is_help=True, help="Whether DICOM files are images that may be used.")


@app.command(
    epilog=examples(
        "dicom check images/",
        "dicom check images.zip --rules contracts/chest_xrays.yaml --json",
        "dicom check images/ --headers-only",
    )
)
def check(
    path: Annotated[Path, typer.Argument(help="A folder, a zip archive, or one file.")],
    rules: Annotated[
        str, typer.Option(metavar="FILE", help="Contract with a section dicom, or one that ships.")
    ] = DEFAULT_RULES,
    headers_only: Annotated[
        bool, typer.Option("--headers-only", help="Look at headers alone; no pixel is decoded.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes; 0: this one. Default: one for each core."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Hold DICOM files against the rules of a contract: counts by verdict and rule, and the files that did not pass.

    Tells rules, names of attributes and counts, and never what stands in a file.

    Exit status: 0 where every file passed, 1 where one did not, 2 for wrong usage.
    """
    from platform_assets.tasks.image_classification.dicom.extra import require_imaging
    from platform_assets.tasks.image_classification.dicom.files import open_files
    from platform_assets.tasks.image_classification.dicom.gate import check_files

    require_imaging()
    asked = rules_named(rules)
    with open_files(path, asked.limits, ignore=asked.ignore) as files:
        found = check_files(
            files,
            asked,
            salt=outside_systems().salt,
            with_pixels=not headers_only,
            workers=available_cpus() if workers is None else workers,
        )
    if as_json:
        print_json(_as_json(asked, found))
    else:
        _print(found)
    if found.verdicts["pass"] < len(found.files):
        raise typer.Exit(1)


def rules_named(name: str) -> "GateRules":
    """The rules of a contract, by its file or by the name of one that ships.

    Raises:
        BadParameter: There is none.
        ContractError: It is wrong.
    """
    from platform_assets.datasets.contract import find_contract
    from platform_assets.tasks.image_classification.dicom.rules import load_rules

    path = find_contract(name, beside=Path())
    if path is None:
        raise typer.BadParameter(f"there is no file {name}, nor does one ship", param_hint="--rules")
    return load_rules(path)


def _print(found: "GateReport") -> None:
    for verdict, count in found.verdicts.items():
        print(f"{verdict:<10} {count:>9,}")
    if found.ignored:
        print(f"{'left out':<10} {found.ignored:>9,}")
    if found.rules:
        print()
    for rule, count in found.rules.items():
        print(f"{count:>7,}  {rule}")
    for at, file, report in found.not_passed():
        print(f"\n{report.verdict:<10} {quoted(file.name) if report.is_nameable else f'file {at}'}")
        for finding in report.findings:
            tags = ", ".join(finding.tags[:_SHOWN_TAGS]) + ", …"[: 3 * (len(finding.tags) > _SHOWN_TAGS)]
            print(f"    {finding.rule}{f': {tags}' if tags else ''}")


def _as_json(asked: "GateRules", found: "GateReport") -> dict[str, Any]:
    """The report as JSON has it: rules, names of attributes, counts and hashes, never a value."""
    return {
        "passed": found.verdicts["pass"] == len(found.files),
        "files": len(found.files),
        "left_out": found.ignored,
        "content_hash": found.content_hash,
        "rule_set_hashes": asked.rule_set_hashes,
        "verdicts": found.verdicts,
        "rules": found.rules,
        "not_passed": [
            {
                "file": at,
                # A name that holds what the file says of its patient is not told; the position and the hash find it.
                "name": file.name if report.is_nameable else None,
                "sha256": report.sha256,
                "verdict": report.verdict,
                "findings": [
                    {"rule": each.rule, "verdict": each.verdict, "tags": list(each.tags), "count": each.count}
                    for each in report.findings
                ],
            }
            for at, file, report in found.not_passed()
        ],
    }
