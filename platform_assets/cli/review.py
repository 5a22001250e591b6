"""`platform-assets review …`."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer
from typer.core import TyperGroup

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
    from collections.abc import Iterator

    from platform_assets.governance.review_statement import Request
    from platform_assets.governance.reviewing import ReviewDesk
    from platform_assets.ledger.ledger import Entry

_DECIDE: Final = "decide"
_SHOWN_DIGITS: Final = 12


class ReviewCommands(TyperGroup):
    """A group in which the name of a line in the place of a command's is a decision on it."""

    default: Final = _DECIDE
    """The command that is meant where none is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What is left of the arguments, with the command that is meant."""
        if args and args[0] not in self.commands and args[0] not in {"--help", *ctx.help_option_names}:
            args = [self.default, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=ReviewCommands,
    no_args_is_help=True,
    help="Reviews by named people, which a promotion asks for. `review LINE …` is `review decide LINE …`.",
)

Version = Annotated[
    int | None, typer.Option(min=1, help="Its number in the registry; default: the one in staging.")
]
By = Annotated[
    str | None,
    typer.Option(
        help="The reviewer: an id, a name, an address or a principal of reviewers.yaml; default: who acts."
    ),
]
Role = Annotated[
    str | None, typer.Option(help="In which role, where the person has several that are asked for.")
]
MadeDecision = Annotated[
    Literal["approve", "reject"],
    typer.Option(help="reject is an objection: it blocks until it is withdrawn."),
]
Comment = Annotated[
    str, typer.Option(help="Why; it stays for good. Needed to reject, and where a verdict was waived.")
]
Anomalies = Annotated[
    list[str] | None,
    typer.Option(
        "--anomaly", help="Something known to be wrong that is lived with; may be given several times."
    ),
]
Supersedes = Annotated[
    str | None,
    typer.Option(
        metavar="HASH", help="The objection of somebody else that this withdraws; `review show` tells."
    ),
]
_LINE = "chest_xray_detector"


@app.command(
    _DECIDE,
    epilog=examples(
        f"review decide {_LINE} --version 12 --by lee --decision approve --comment 'as good as the last one'",
        f"review decide {_LINE} --by lee --decision reject --comment 'misses small effusions'",
    ),
)
def decide(
    line: LineName,
    decision: MadeDecision,
    version: Version = None,
    by: By = None,
    comment: Comment = "",
    role: Role = None,
    anomaly: Anomalies = None,
    supersedes: Supersedes = None,
    spec: SpecFile = None,
) -> None:
    """Review a version that is in staging or in production, without a signature.

    PLATFORM_PRINCIPAL__USER has to be one of the person's principals. A line may accept signed reviews only: `review
    request`, `review sign` on a machine of one's own, `review add`.
    """
    desk = _desk(line, version, spec)
    entry = desk.give(
        by or desk.outside.principal,
        decision,
        comment=comment,
        role=role,
        residual_anomalies=anomaly or (),
        supersedes=_whole_hash(desk, supersedes),
    )
    _tell(desk, entry)


@app.command(epilog=examples(f"review request {_LINE} request.json --version 12 --by lee"))
def request(
    line: LineName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")],
    version: Version = None,
    by: By = None,
    role: Role = None,
    spec: SpecFile = None,
) -> None:
    """Export what a person is asked to review, to be signed elsewhere.

    Look at the cases first (`review sheet`): the request says how many were shown to the person.
    """
    _require_folder(file)
    desk = _desk(line, version, spec)
    asked = desk.request(by or desk.outside.principal, role)
    with whole_file(file) as incoming:
        incoming.write_bytes(asked.to_json())
    print(
        f"{file}: version {asked.number} of {line} for {asked.printed_name} ({asked.role}), {len(asked.criteria)} criteria, "
        f"cases of {asked.cases_viewed} subjects shown\n"
        f"To sign it: platform-assets review sign {file} --key KEY --decision approve"
    )


@app.command(
    epilog=examples(
        "review sign request.json --key ~/review.key --decision approve --comment 'all cases seen'",
        "review sign request.json --key ~/review.key --decision reject --comment 'misses effusions'",
    )
)
def sign(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A request.")],
    decision: MadeDecision,
    key: Annotated[Path, typer.Option(help="Your private key, as `review keygen` made it.")],
    comment: Comment = "",
    anomaly: Anomalies = None,
    supersedes: Supersedes = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Default: beside the request, `.signed.json`.")
    ] = None,
) -> None:
    """Sign a request with your decision: on a machine of your own, which reaches nothing of the platform."""
    from platform_assets.governance.review_signature import read_review_key
    from platform_assets.governance.review_signature import sign as signed_by
    from platform_assets.governance.review_statement import Request, decided, read_said

    asked = read_said(_read(file), Request, name=str(file))
    for line in _shown(asked):
        print(line)
    statement = decided(
        asked,
        decision,
        comment=comment,
        at=datetime.now(UTC),
        residual_anomalies=anomaly or (),
        supersedes=supersedes,
    )
    signed = signed_by(statement, read_review_key(key))
    target = out or file.with_suffix(".signed.json")
    with whole_file(target) as incoming:
        incoming.write_bytes(signed.to_json())
    print(
        f"{target}: {_line(statement.printed_name)} ({_line(statement.role)}) decides to {decision} version {asked.number} of "
        f"{_line(asked.line)}: {statement.meaning}\nTo hand it in: platform-assets review add {target}"
    )


@app.command(epilog=examples("review add request.signed.json"))
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A signed request.")], spec: SpecFile = None
) -> None:
    """Record a review that was signed elsewhere, whoever brings it."""
    from platform_assets.governance.review_signature import read_signed

    signed = read_signed(_read(file), name=str(file))
    desk = _desk(signed.statement.line, signed.statement.number, spec)
    _tell(desk, desk.add(signed))


@app.command(
    epilog=examples(
        f"review sheet {_LINE} sheet.html --version 12 --by lee",
        f"review sheet {_LINE} sheet.html --by lee --per-stratum 10 --pictures 300",
    )
)
def sheet(
    line: LineName,
    file: Annotated[Path, typer.Argument(metavar="FILE.html", help="Where to write the page.")],
    version: Version = None,
    by: By = None,
    per_stratum: Annotated[
        int,
        typer.Option(min=1, max=1000, help="Cases of each label, band of scores, and part that are shown."),
    ] = 4,
    pictures: Annotated[
        int,
        typer.Option(
            min=0,
            max=5000,
            help="So many cases have a picture, missed ones first; each takes seconds where the model is asked for it.",
        ),
    ] = 100,
    spec: SpecFile = None,
) -> None:
    """Write a page of all that a reviewer should see: criteria, figures, limits, and cases.

    All missed cases are on it, and a sample of the others. That you were shown them is recorded first. The page holds data of
    people: keep it where they may lie, and delete it after the review.
    """
    from platform_assets.governance.access import AccessLog
    from platform_assets.governance.reviewing import ReviewDesk, card_of
    from platform_assets.reports.pages import review_page
    from platform_assets.validation.review_sheet import review_sheet

    _require_folder(file)
    outside = outside_systems()
    chosen = chosen_line(outside, line, spec)
    desk = ReviewDesk(outside, chosen.name, chosen.promotion, version)
    found = desk.reviewers.find(by or outside.principal)
    shown = review_sheet(
        outside,
        desk.release,
        card_of(outside, desk.release),
        desk.criteria(),
        chosen.task.evaluator,
        chosen.task.trainer,
        chosen.spec,
        by=found.id if found else by or outside.principal,
        log=AccessLog(outside),
        per_stratum=per_stratum,
        most_pictures=pictures,
    )
    with whole_file(file) as incoming:
        incoming.write_text(review_page(shown), encoding="utf-8")
    print(
        f"{file}: {shown.shown_cases} cases of {shown.shown_subjects} subjects, version "
        f"{desk.release.card.registered.number} of {line}, for {shown.by}"
    )


@app.command(epilog=examples(f"review show {_LINE}", f"review show {_LINE} --version 12 --json"))
def show(line: LineName, version: Version = None, spec: SpecFile = None, as_json: AsJson = False) -> None:
    """What reviews say about a version, and what is still missing."""
    from platform_assets.governance.review import review_of

    desk = _desk(line, version, spec)
    found, problems = desk.history(), desk.problems()
    number = desk.release.card.registered.number
    if as_json:
        print_json(
            {
                "line": line,
                "version": number,
                "reviewers_commit": desk.reviewers.commit or None,
                "missing": problems,
                "reviews": [
                    {"entry": each.seq, "hash": each.hash, "time": each.time, "principal": each.principal}
                    | review_of(each).model_dump(mode="json")
                    for each in found
                ],
            }
        )
        return
    print(f"version {number} of {line}: {len(found)} reviews")
    for each in found:
        review = review_of(each)
        statement = review.statement
        print(
            f"{each.time:%Y-%m-%d %H:%M}  {statement.decision:<7}  {statement.printed_name} ({statement.role}, "
            f"{review.authenticated}), shown cases of {statement.cases_viewed} subjects, until {statement.expires_at:%Y-%m-%d}, "
            # Whole, where somebody may have to name it.
            f"{each.hash if statement.decision == 'reject' else each.hash[:12]}"
            + (f": {_line(statement.comment)}" if statement.comment else "")
        )
    for problem in problems or ["nothing is missing of reviews"]:
        print(problem)


@app.command(epilog=examples("review keygen ~/review.key"))
def keygen(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write the private key; keep it.")],
) -> None:
    """Make a key to sign reviews with. Have somebody else commit the public one to reviewers.yaml."""
    from platform_assets.governance.errors import ReviewError
    from platform_assets.governance.review_signature import new_review_key

    private, public = new_review_key()
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ReviewError(
            f"{file} is there already: a key is not written over; choose another name"
        ) from None
    except OSError as problem:
        raise ReviewError(f"{file} cannot be written ({problem.strerror})") from None
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(f"{private}\n")
    print(f"private key  {file}\npublic key   {public}")


def _desk(line: str, version: int | None, spec: Path | None) -> "ReviewDesk":
    from platform_assets.governance.reviewing import ReviewDesk

    outside = outside_systems()
    chosen = chosen_line(outside, line, spec)
    return ReviewDesk(outside, chosen.name, chosen.promotion, version)


def _tell(desk: "ReviewDesk", entry: "Entry") -> None:
    from platform_assets.governance.review import review_of

    statement = review_of(entry).statement
    print(
        f"version {statement.number} of {statement.line}: {statement.decision} by {statement.printed_name} ({statement.role}) "
        f"is entry {entry.seq}, {entry.hash[:12]}"
    )
    for problem in desk.problems():
        print(f"still missing: {problem}")


def _shown(asked: "Request") -> "Iterator[str]":
    """What somebody puts their name to: nobody signs what they were not shown."""
    yield f"version {asked.number} of {_line(asked.line)}, model {_line(asked.model_fingerprint)[:_SHOWN_DIGITS]}"
    yield f"  for use     {_line(asked.intended_use)}"
    for each in asked.criteria:
        values = {"observed": each.observed, "demanded": each.demanded, "by": each.waived_by}
        said = ", ".join(f"{name} {_line(str(value))}" for name, value in values.items() if value is not None)
        yield f"  {each.outcome:<10}  {_line(each.rule_set)}{f': {said}' if said else ''}"
    yield f"  cases       of {asked.cases_viewed} subjects were shown"


def _line(text: str) -> str:
    """One line of a text that anybody may have written, without what no terminal should be sent."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _require_folder(file: Path) -> None:
    """Nothing, where there is a folder to write a file to: that is known before anybody is shown anything."""
    from platform_assets.governance.errors import ReviewError

    if not file.parent.is_dir():
        raise ReviewError(
            f"{file} cannot be written: {file.parent} is no folder; make it, or write elsewhere"
        )


def _whole_hash(desk: "ReviewDesk", given: str | None) -> str | None:
    """The hash of the review that the first digits of one name."""
    found = [each.hash for each in desk.history() if given and each.hash.startswith(given)]
    return found[0] if len(found) == 1 else given


def _read(file: Path) -> bytes:
    from platform_assets.governance.errors import ReviewError

    try:
        return file.read_bytes()
    except OSError as problem:
        raise ReviewError(f"{file} cannot be read ({problem.strerror})") from None
