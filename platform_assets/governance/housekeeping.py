"""The retention sweep as an asset: every day, what is past its days goes."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from platform_assets.governance.errors import RetentionError
from platform_assets.governance.retention import retain
from platform_assets.outside_systems import OutsideSystems
from platform_assets.step import foreseen_failures, signed_schedule

if TYPE_CHECKING:
    import pyarrow as pa

RETENTION_SWEEP = "retention_sweep"
_EVERY_NIGHT = "30 2 * * *"


def retention_asset(content_hash: "Callable[[pa.Table], str]") -> dg.AssetsDefinition:
    """`retention_sweep`.

    Args:
        content_hash: The identity of a table's rows.
    """

    @dg.asset(
        name=RETENTION_SWEEP,
        group_name="governance",
        description="Removes what is past its days, never what is under legal hold, and what killed runs have left behind; reads the whole ledger and vouches for it.",
    )
    def retention_sweep(
        outside: dg.ResourceParam[OutsideSystems],
    ) -> dg.MaterializeResult[None]:
        with foreseen_failures():
            # Where nothing was denied since, nobody else tells the ledger of what was.
            outside.denials.summarise()
            report = retain(
                outside.object_store,
                outside.warehouse,
                outside.ledger,
                content_hash=content_hash,
                by=outside.principal,
                environment=outside.env,
                now=datetime.now(UTC),
            )
            if report.problems:
                raise RetentionError(
                    f"{len(report.problems)} of what is past its days could not be removed:\n  "
                    + "\n  ".join(report.problems)
                )
            # Decisions of the next day rely on it; what was damaged since last night is refused from now on.
            outside.ledger.renew_checkpoint()
            return dg.MaterializeResult(
                metadata={
                    **report.counts,
                    "leftovers": report.leftovers,
                    "deleted": len(report.deleted),
                    "stays": len(report.spared),
                    "verdict": report.verdict.hash,
                }
            )

    return retention_sweep


def retention_schedule() -> dg.ScheduleDefinition:
    """The job `retention`, every night."""
    return signed_schedule(
        "retention_every_night",
        dg.define_asset_job(
            "retention", selection=[RETENTION_SWEEP], description="Removes what is past its days."
        ),
        _EVERY_NIGHT,
        description="Personal data past its date goes, whether or not anybody thinks of it.",
    )
