"""What `run` and `status` tell people about a promoted line."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def promotion_lines(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is in the stages, what is missing and what is asked for: a word and a text for each line that is shown.

    Args:
        status: As `promotion_status` has it.
    """
    staged = status["staging"]
    if staged:
        yield (
            "staging",
            f"version {staged['version']}, release {staged['release_id']}, since {staged['since']:%Y-%m-%d %H:%M} UTC",
        )
    else:
        yield "staging", "nothing"
    for problem in staged["missing"] if staged else ():
        yield "missing", problem
    for each in status["review_requests"]:
        yield "asked", f"{each['why']}: a review by {' and '.join(each['roles'])} (entry {each['entry']})"


def promotion_summary(
    line: str, status: Mapping[str, Any], called: str, further: Sequence[str]
) -> Iterator[str]:
    """The end of a run's summary: where the line stands, what is missing, and the commands that come next.

    Args:
        line: Its name.
        status: As `promotion_status` has it.
        called: The program, as it was called.
        further: Options that name the line's spec.
    """
    from platform_assets.lines.promotion_status import next_commands

    staged, production = status["staging"], status["production"]
    if staged is None:
        if production:
            yield f"Version {production['version']} of {line} is in production, and nothing is in staging."
        return
    served = f"version {production['version']}" if production else "nothing"
    yield f"Version {staged['version']} of {line} is in staging; in production is {served}."
    if staged["missing"]:
        yield "Before it is promoted, this is missing:"
        yield from (f"  {problem}" for problem in staged["missing"])
    else:
        yield "Nothing is missing for its promotion."
    yield "To go on (the file of reviewers says who may):"
    yield from (f"  {shlex.join([called, *words])}" for words in next_commands(line, status, further))
