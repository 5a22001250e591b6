"""The features of a transformer by day: an asset of daily partitions, any of which is made by itself or in a backfill."""

import warnings
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, Final

import dagster as dg

from platform_assets.datasets.contract import Contract
from platform_assets.features.daily import ENDING, DailyRange
from platform_assets.features.day_making import DayMaking, DayOutcome
from platform_assets.features.declared import DeclaredTransformer
from platform_assets.features.errors import FeatureError
from platform_assets.features.transformer import kernel_version
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import TransformerVersion
from platform_assets.step import FINGERPRINT_KEY, IO_MANAGER, REUSED_KEY, foreseen_failures

DATA_VERSION_TAG: Final = "dagster/data_version"
"""By which Dagster finds the data version in an event that is not an asset's output."""
_MOST_TOLD: Final = 20
"""Days of which a failure says why they were not made; it counts the others."""


def daily_asset(declared: DeclaredTransformer, days: DailyRange, contract: Contract) -> dg.AssetsDefinition:
    """`<transformer>_daily`: a partition for each day, made of the transformer's newest version.

    Args:
        declared: The transformer.
        days: Of its features.
        contract: Of its dataset.
    """
    with warnings.catch_warnings():
        # What a backfill does is in beta; the pin of Dagster is exact.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return _by_day(declared, days, contract)


def _by_day(declared: DeclaredTransformer, days: DailyRange, contract: Contract) -> dg.AssetsDefinition:
    name = f"{declared.name}{ENDING}"

    @dg.asset(
        name=name,
        group_name="features",
        description=(
            f"The features of {declared.name} by day. A day is made of its own rows and those of the days that it looks back "
            "to; one that has changed in nothing is not made again, and one that the contract refuses is left out."
        ),
        kinds={declared.spec.transformer_type, "iceberg"},
        code_version=kernel_version(declared.spec.transformer_type),
        io_manager_key=IO_MANAGER,
        metadata={"declared_in": declared.place},
        ins={"version": dg.AssetIn(declared.name)},
        partitions_def=dg.DailyPartitionsDefinition(
            start_date=str(days.first),
            # Dagster's end is no day of it any more.
            end_date=None if days.last is None else str(days.last + timedelta(days=1)),
        ),
        backfill_policy=dg.BackfillPolicy.single_run(),
        # Each day is told by an event of its own: of a run's one output, all days would have the same to say.
        output_required=False,
    )
    def by_day(
        context: dg.AssetExecutionContext,
        version: TransformerVersion,
        outside: dg.ResourceParam[OutsideSystems],
    ) -> Iterator[Any]:
        with foreseen_failures():
            making = DayMaking(declared.spec, days, version, contract, outside)
            unmade = []
            for each in making.made([date.fromisoformat(key) for key in context.partition_keys]):
                if each.outcome in {"made", "reused"}:
                    yield _told(name, making.table, each)
                else:
                    unmade.append(each)
            if unmade:
                raise FeatureError(_refusal(name, unmade))

    return by_day


def _told(name: str, table: str, made: DayOutcome) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        name,
        partition=str(made.day),
        metadata={
            "dagster/row_count": made.rows,
            "table": table,
            FINGERPRINT_KEY: made.fingerprint,
            REUSED_KEY: made.outcome == "reused",
        },
        tags={DATA_VERSION_TAG: made.fingerprint},
    )


def _refusal(name: str, unmade: list[DayOutcome]) -> str:
    """One clear error for days that were not made."""
    told = "\n".join(f"  {each.day} is {each.outcome}: {each.problem}" for each in unmade[:_MOST_TOLD])
    more = f"\n  and {len(unmade) - _MOST_TOLD} more" if len(unmade) > _MOST_TOLD else ""
    return (
        f"{name}: {len(unmade)} days were not made, all others of this run were; mend the rows of those that are refused, wait "
        f"for those that are awaited, and materialize them again:\n{told}{more}"
    )
