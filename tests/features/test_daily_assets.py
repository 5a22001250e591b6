"""Features by day as Dagster has them: partitions with data versions of their own, in one run as in many."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from platform_assets.features.assets import transformer_asset
from platform_assets.features.daily_assets import daily_asset
from platform_assets.lines.definitions import platform_resources
from platform_assets.step import IO_MANAGER, REFERENCE_KEY
from tests.features.day_factory import NAME, Meters, bits, day, readings, with_day

DAILY = f"{NAME}_daily"


class InDagster:
    """Meters whose transformer and days are assets of an instance."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.meters, self.instance = Meters(folder, until=day(99)), instance
        declared, contract = self.meters.declared, self.meters.contract
        assert declared.days is not None
        self.daily = daily_asset(declared, declared.days, contract)
        definitions = dg.Definitions(
            assets=[
                transformer_asset(declared, contract),
                self.daily,
                dg.AssetSpec("meters_dataset").with_io_manager_key(IO_MANAGER),
            ],
            resources=platform_resources(self.meters.outside),
        )
        self.job = definitions.resolve_implicit_global_asset_job_def()

    def publish(self, rows: object) -> None:
        """A version of the dataset, and a run of the transformer."""
        dataset = self.meters.dataset(rows)
        metadata = {REFERENCE_KEY: dg.MetadataValue.json(dataset.model_dump(mode="json"))}
        self.instance.report_runless_asset_event(dg.AssetMaterialization("meters_dataset", metadata=metadata))
        assert self.run(NAME).success

    def run(self, asset: str, *numbers: int) -> dg.ExecuteInProcessResult:
        """A run of an asset; of days, from the first to the last in one."""
        tags = (
            {
                "dagster/asset_partition_range_start": str(day(numbers[0])),
                "dagster/asset_partition_range_end": str(day(numbers[-1])),
            }
            if len(numbers) > 1
            else {}
        )
        return self.job.execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(asset)],
            partition_key=str(day(numbers[0])) if len(numbers) == 1 else None,
            tags=tags,
            raise_on_error=False,
        )

    def events(self) -> dict[str, dg.AssetMaterialization]:
        """The newest materialization of each day."""
        records = self.instance.fetch_materializations(dg.AssetKey(DAILY), limit=1000).records
        return {
            str(record.partition_key): record.asset_materialization
            for record in reversed(records)
            if record.asset_materialization
        }


@pytest.fixture
def dagster(tmp_path: Path) -> Iterator[InDagster]:
    """In an instance of its own."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield InDagster(tmp_path, instance)


def test_a_backfill_of_ninety_days_tells_each_day(dagster):
    """One run: ninety materializations, each with the data version and rows of its day, and the bits of one run."""
    rows = readings(90, rows_a_day=10)
    dagster.publish(rows)
    assert dagster.run(DAILY, 0, 89).success
    events, making = dagster.events(), dagster.meters.making_of_latest()
    assert list(events) == [str(day(number)) for number in range(90)]
    for number in range(90):
        event = events[str(day(number))]
        assert event.tags["dagster/data_version"] == making.fingerprints.of(day(number))
        assert event.metadata["dagster/row_count"].value == 10
        assert event.metadata["reused"].value is False
    assert bits(dagster.meters.table()).equals(bits(dagster.meters.expected(rows)))
    # As the backfill of another person: in one run again, and nothing is made.
    assert dagster.run(DAILY, 3, 4).success
    assert dagster.events()[str(day(3))].metadata["reused"].value is True


def test_the_partition_of_a_refused_day_fails_and_the_others_are_made(dagster):
    """Dagster shows it as failed, by rule and counts; alone it fails as well."""
    from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

    dagster.publish(with_day(readings(6), 2, [-5.25]))
    failed = dagster.run(DAILY, 0, 5)
    assert not failed.success
    (event,) = [event for event in failed.all_events if event.is_step_failure]
    told = event.step_failure_data.user_failure_data.description
    assert f"{day(2)} is refused: contract.readings: expect_column_values_to_be_between" in told
    assert "5.25" not in told
    partitions = dagster.daily.partitions_def
    status = get_and_update_asset_status_cache_value(dagster.instance, dg.AssetKey(DAILY), partitions)
    made = status.deserialize_materialized_partition_subsets(partitions).get_partition_keys()
    assert sorted(made) == [str(day(number)) for number in (0, 1, 3, 4, 5)]
    assert list(status.deserialize_failed_partition_subsets(partitions).get_partition_keys()) == [str(day(2))]
    assert not dagster.run(DAILY, 2).success
    assert dagster.run(DAILY, 3).success


def test_a_backfill_is_one_run(dagster):
    """So a state is handed on from day to day."""
    assert dagster.daily.backfill_policy == dg.BackfillPolicy.single_run()
    first = dagster.daily.partitions_def.get_first_partition_key()
    assert (first, dagster.daily.partitions_def.get_last_partition_key()) == (str(day(0)), str(day(99)))
