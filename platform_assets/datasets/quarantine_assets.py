"""The quarantine of a line in the UI: an asset that tells what is held and why, and a job by which a person decides.

The event log keeps what it is told for good, so it is told counts, rules and ids, and never what a file shows.
"""

from typing import Any, Final, Literal

import dagster as dg
from pydantic import Field

from platform_assets.datasets.quarantine import decide
from platform_assets.datasets.quarantine_cases import Quarantine, decidable, read_quarantine
from platform_assets.datasets.quarantine_picture import quarantine_picture
from platform_assets.fingerprint import code_version
from platform_assets.outside_systems import OutsideSystems
from platform_assets.pictures import as_markdown_image
from platform_assets.references import TableSnapshot
from platform_assets.shown import shown_table, stored_table
from platform_assets.step import foreseen_failures

GROUP: Final = "quarantine"
CODE: Final = code_version("quarantine", "platform_assets.datasets.quarantine_cases")
_SHOWN_DECISIONS: Final = 50
_SHOWN_DIGITS: Final = 12


class DecisionConfig(dg.Config):
    """What a person decides about one file."""

    file: str = Field(description="Its id, six digits of it, or its name; the page of the quarantine tells.")
    decision: Literal["release", "reject"] = Field(
        description="release: it may come in, in spite of the rules that it is held for. reject: it stays out."
    )
    by: str = Field(description="Who takes responsibility.")
    reason: str = Field(description="Why. It stays for good: write nothing that identifies anybody.")


def asset_name(line: str) -> str:
    """The asset's key."""
    return f"{line}_quarantine"


def job_name(line: str) -> str:
    """The job's name."""
    return f"{line}_quarantine_decision"


def quarantine_asset(line: str) -> dg.AssetsDefinition:
    """`<line>_quarantine`: shows what is held, with what the ledger says about it now."""

    @dg.asset(
        name=asset_name(line),
        group_name=GROUP,
        description="The files that were not let into the dataset: why, and what people have decided about them.",
        kinds={"iceberg"},
        code_version=CODE,
        deps=[dg.AssetDep(f"{line}_dataset")],
    )
    def quarantine(outside: dg.ResourceParam[OutsideSystems]) -> dg.MaterializeResult[None]:
        with foreseen_failures():
            return dg.MaterializeResult(metadata=quarantine_materialization(outside, line).metadata)

    return quarantine


def quarantine_materialization(outside: OutsideSystems, line: str) -> dg.AssetMaterialization:
    """What to tell the UI about the quarantine as it is now, for whoever has changed it.

    Raises:
        WarehouseError: The table cannot be read.
        LedgerError: The ledger cannot be read.
    """
    quarantine = read_quarantine(outside.warehouse, outside.ledger, line)
    return dg.AssetMaterialization(asset_key=asset_name(line), metadata=_shown(quarantine, outside))


def decision_job(line: str, role: str) -> dg.JobDefinition:
    """`<line>_quarantine_decision`: releases or rejects one file.

    Args:
        line: Whose file.
        role: The group that decides.
    """
    name = job_name(line)

    # A code location has one definition of a name, and this one is of a line; in its job it is called as people know it.
    @dg.op(name=f"{line}_decide", description="Writes the decision into the ledger.")
    def decide_op(
        context: dg.OpExecutionContext, config: DecisionConfig, outside: dg.ResourceParam[OutsideSystems]
    ) -> None:
        with foreseen_failures():
            ledger = outside.ledger
            held = decidable(read_quarantine(outside.warehouse, ledger, line), ledger, config.file)
            entry = decide(
                ledger,
                held,
                config.decision,
                by=config.by,
                reason=config.reason,
                principal=outside.settings.principal,
                role=role,
                on_denial=outside.denials.record,
            )
            context.log.info("%s of file %s is entry %d", config.decision, held.file_id, entry.seq)
            context.log_event(quarantine_materialization(outside, line))

    # Without the line's tag: of runs that carry it one is let through at a time, and a person would wait for a training.
    @dg.job(
        name=name,
        description=(
            f"Releases or rejects one file that {line} holds back, in the name of a person; members of {role} alone. "
            f"What was released comes in when {line}_dataset is materialized again."
        ),
    )
    def decision() -> None:
        decide_op.alias("decide")()

    return decision


def _shown(quarantine: Quarantine, outside: OutsideSystems) -> dict[str, Any]:
    by_rule, snapshot = quarantine.by_rule, quarantine.snapshot
    shown: dict[str, Any] = {
        **dict(quarantine.by_state.items()),
        "page": dg.MetadataValue.url(outside.quarantine_url(quarantine.line)),
    }
    if snapshot is None:
        return shown | {
            "note": f"Nothing was ever held: {quarantine.line}_dataset was not materialized since it holds files back."
        }
    schema = outside.warehouse.batches(snapshot.table, snapshot.snapshot_id).schema
    shown |= stored_table(TableSnapshot.of(snapshot), schema, outside.warehouse)
    if by_rule:
        records = [
            {
                "rule": rule,
                "verdict": " or ".join(quarantine.verdicts_of(rule)),
                "files": sum(states.values()),
                **states,
            }
            for rule, states in by_rule.items()
        ]
        picture = as_markdown_image(quarantine_picture(by_rule), "files by rule")
        shown |= shown_table("by_rule", records) | {"files by rule": dg.MetadataValue.md(picture)}
    newest = sorted(quarantine.decisions.values(), key=lambda each: -each.entry_seq)[:_SHOWN_DECISIONS]
    decided = [
        {
            "time": f"{each.decided_at:%Y-%m-%d %H:%M}",
            "file": each.file_id[:_SHOWN_DIGITS],
            "decision": each.decision,
            "by": each.by,
            "reason": each.reason,
            "entry": each.entry_seq,
        }
        for each in newest
    ]
    return shown | (shown_table("decisions", decided) if decided else {})
