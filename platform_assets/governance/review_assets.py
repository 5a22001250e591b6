"""A job by which a person reviews a version in the UI.

What a run is configured with is seen by everybody who sees the run, so no key belongs there. Where a line accepts signed
reviews only, the job takes what `platform-assets review sign` has made.
"""

from typing import Literal

import dagster as dg
from pydantic import Field

from platform_assets.governance.errors import ReviewError
from platform_assets.governance.requirements import PromotionDemands
from platform_assets.governance.review import review_of
from platform_assets.governance.review_signature import read_signed
from platform_assets.governance.reviewing import ReviewDesk
from platform_assets.ledger.ledger import Entry
from platform_assets.outside_systems import OutsideSystems
from platform_assets.step import foreseen_failures


class ReviewConfig(dg.Config):
    """What a person says about a version. Everybody who sees the run reads it, and it stays for good."""

    version: int | None = Field(
        default=None, description="Its number in the registry; empty for the one in staging."
    )
    by: str = Field(
        default="",
        description="The reviewer: an id, a name, an address or a principal of reviewers.yaml. Empty with `signed`.",
    )
    decision: Literal["approve", "reject", "as signed"] = Field(
        default="as signed", description="reject is an objection: it blocks until it is withdrawn."
    )
    comment: str = Field(
        default="", description="Why. Needed to reject, and where a verdict was waived. Empty with `signed`."
    )
    role: str | None = Field(
        default=None, description="In which role, where the person has several that are asked for."
    )
    anomalies: list[str] = Field(default=[], description="What is known to be wrong, and is lived with.")
    supersedes: str | None = Field(
        default=None, description="Hash of the entry of somebody else's objection that this withdraws."
    )
    signed: str = Field(
        default="",
        description="Content of the file that `platform-assets review sign` has made. Never a key.",
    )


def job_name(line: str) -> str:
    """The job's name."""
    return f"{line}_review"


def review_job(line: str, demands: PromotionDemands) -> dg.JobDefinition:
    """`<line>_review`: records what a person says about a version that is in staging or in production.

    Args:
        line: The line.
        demands: What promoting any of its models demands.
    """

    # A code location has one definition of a name, and this one is of a line; in its job it is called as people know it.
    @dg.op(name=f"{line}_give_review", description="Writes the review into the ledger.")
    def review_op(
        context: dg.OpExecutionContext, config: ReviewConfig, outside: dg.ResourceParam[OutsideSystems]
    ) -> None:
        with foreseen_failures():
            desk = ReviewDesk(outside, line, demands, config.version)
            entry = _recorded(desk, config)
            said = review_of(entry).statement
            context.log.info(
                "%s of version %d by %s (%s) is entry %d",
                *(said.decision, said.number, said.printed_name, said.role, entry.seq),
            )
            for problem in desk.problems():
                context.log.info("still missing: %s", problem)

    roles = " and ".join(dict.fromkeys(rule.role for rule in demands.reviews))

    # Without the line's tag: of runs that carry it one is let through at a time, and a person would wait for a training.
    @dg.job(
        name=job_name(line),
        description=f"Reviews a version of {line} in the name of a person ({roles}); a promotion asks for it.",
    )
    def review() -> None:
        review_op.alias("review")()

    return review


def _recorded(desk: ReviewDesk, config: ReviewConfig) -> Entry:
    if config.signed:
        said = [
            name for name in ("by", "comment", "role", "anomalies", "supersedes") if getattr(config, name)
        ]
        if said or config.decision != "as signed":
            raise ReviewError(
                f"the signed review says all of it; leave out {', '.join([*said, 'decision'])}, or leave out `signed`"
            )
        return desk.add(read_signed(config.signed.encode(), name="`signed`"))
    if config.decision == "as signed":
        raise ReviewError("nothing is decided: choose approve or reject, or give a signed review")
    if not config.by.strip():
        raise ReviewError("nobody is named: say who reviews (`by`)")
    return desk.give(
        config.by,
        config.decision,
        comment=config.comment,
        role=config.role,
        residual_anomalies=config.anomalies,
        supersedes=config.supersedes,
    )
