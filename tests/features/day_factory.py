"""Builders for features by day: readings of meters that are published version by version, and the days made of them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from platform_assets.datasets.contract import Contract, load_contract
from platform_assets.datasets.snapshots import content_hash
from platform_assets.features.day_making import DayMaking, DayOutcome, current_version, table_of
from platform_assets.features.day_status import DailyStatus, daily_status
from platform_assets.features.declared import DeclaredTransformer, load_transformers
from platform_assets.features.version_making import make_version
from platform_assets.features.versions import latest_version, make_latest
from platform_assets.features.windows import WindowTransformer
from platform_assets.governance.erasure import ErasureReport
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import DatasetVersion, TableSnapshot, TransformerVersion
from resources.object_store import GdprClass
from resources.settings import PlatformSettings
from tests.erasures import erase_subject
from tests.features.shops import with_days, write_transformer

FIRST = date(2026, 1, 1)
NAME = "meter_use"
CONTRACT = """\
name: meters
expectations:
  - {type: expect_column_values_to_not_be_null, kwargs: {column: kwh, mostly: 0.5}, meta: {domain: readings}}
  - {type: expect_column_values_to_be_between, kwargs: {column: kwh, min_value: 0, mostly: 0.9}, meta: {domain: readings}}
  - {type: expect_column_values_to_be_in_set, kwargs: {column: meter, value_set: [m0]}, meta: {domain: others}, severity: warning}
  - {type: expect_column_values_to_be_unique, kwargs: {column: reading}, meta: {domain: others}}
"""
ZSCORE: Mapping[str, Any] = {
    "inputSource": "asset://meters_dataset",
    "transformerType": "zscore",
    "windowDays": 7,
    "columns": ["kwh"],
    "entityKey": "meter",
    "timestampColumn": "at",
    "availableColumn": "known",
    "zscore": {"minPeriods": 2},
}
LAG: Mapping[str, Any] = {
    **{key: value for key, value in ZSCORE.items() if key != "zscore"},
    "transformerType": "lag",
    "lag": {"days": 1, "tolerance": 3},
}


def readings(
    days: int, *, rows_a_day: int = 40, meters: int = 5, seed: int = 0, shuffled: bool = True
) -> pa.Table:
    """Readings of some meters; of each day as many, in no order, some without a value, some known only days later."""
    rng, rows = np.random.default_rng(seed), days * rows_a_day
    at = np.sort(rng.integers(0, days * 86_400, rows)) * 1_000_000
    # Each day has its rows, whatever chance says.
    at = at % 86_400_000_000 + np.repeat(np.arange(days), rows_a_day) * 86_400_000_000
    begin = (FIRST - date(1970, 1, 1)).days * 86_400_000_000
    known = at + rng.choice([0, 3_600, 3 * 86_400], rows, p=[0.6, 0.3, 0.1]) * 1_000_000
    table = pa.table(
        {
            "reading": [f"r{number}" for number in range(rows)],
            "meter": [f"m{number}" for number in rng.integers(0, meters, rows)],
            "at": pa.array(begin + at, pa.timestamp("us")),
            "known": pa.array(begin + known, pa.timestamp("us"), mask=rng.random(rows) < 0.02),
            "kwh": pa.array(rng.lognormal(3, 2, rows), mask=rng.random(rows) < 0.05),
        }
    )
    return table.take(rng.permutation(rows)) if shuffled else table


def day(number: int) -> date:
    """A day of the readings, from 0."""
    return FIRST + timedelta(days=number)


def days_of(table: pa.Table) -> "np.ndarray[Any, Any]":
    """The number of each row's day."""
    counted = table["at"].cast(pa.int64()).to_numpy() // 86_400_000_000
    return counted - (FIRST - date(1970, 1, 1)).days


def with_day(table: pa.Table, number: int, kwh: Sequence[float | None]) -> pa.Table:
    """The readings with other values on a day, in turn."""
    values, places = table["kwh"].to_pylist(), np.flatnonzero(days_of(table) == number)
    for turn, place in enumerate(places):
        values[place] = kwh[turn % len(kwh)]
    return table.set_column(table.schema.get_field_index("kwh"), "kwh", pa.array(values, pa.float64()))


class Meters:
    """A home with a dataset of readings, and a transformer with days."""

    def __init__(
        self,
        home: Path,
        spec: Mapping[str, Any] = ZSCORE,
        *,
        until: date | None = None,
        gdpr_class: GdprClass = "internal",
        contract: str = CONTRACT,
        subject: str = "reading",
    ) -> None:
        self.outside = OutsideSystems(PlatformSettings(home=home / "home"))
        self._folder, self._spec, self._subject = home, spec, subject
        self.gdpr_class: GdprClass = gdpr_class
        self.until, self._contract = until, contract
        self.version: TransformerVersion | None = None

    @property
    def file(self) -> Path:
        """Where the transformer is declared."""
        return with_days(
            write_transformer(self._folder, NAME, self._spec),
            str(FIRST),
            str(self.until) if self.until else None,
        )

    @cached_property
    def declared(self) -> DeclaredTransformer:
        """The transformer."""
        found = load_transformers([self.file])
        assert found.sound.get(NAME), found.broken
        return found.sound[NAME]

    @cached_property
    def contract(self) -> Contract:
        """Of the readings."""
        path = self._folder / "meters.yaml"
        path.write_text(self._contract, encoding="utf-8")
        return load_contract(path)

    def dataset(self, rows: pa.Table) -> DatasetVersion:
        """A version of the dataset."""
        warehouse = self.outside.warehouse
        staged = warehouse.stage(
            "datasets.meters",
            rows,
            content_hash=content_hash(rows),
            gdpr_class=self.gdpr_class,
            retention_days=400,
            source_commit="0c0ffee",
            subject_column=self._subject,
            subject_namespace="reading",
        )
        return DatasetVersion(
            line="meters",
            task="tabular-classification",
            subject_namespace="reading",
            subject_column=self._subject,
            snapshot=TableSnapshot.of(warehouse.publish(staged)),
            rows_by_split={"train": rows.num_rows},
            sources=("meters.parquet",),
            source_hash="0" * 64,
            contract_rule_sets={},
            contract_quality=1.0,
            ge_run_id="none",
            published_at=datetime.now(UTC).isoformat(),
            gdpr_class=self.gdpr_class,
            retention_days=400,
        )

    def publish(self, rows: pa.Table) -> TransformerVersion:
        """A version of the dataset, and of the transformer."""
        self.version = make_version(self.declared, self.dataset(rows), self.outside).version
        make_latest(self.version, self.outside.ledger)
        assert self.making().index.days
        return self.version

    def making_of_latest(self) -> DayMaking:
        """A making of days of the version that somebody else has made."""
        self.version = latest_version(self.outside.ledger, NAME)
        return self.making()

    def make(self, *numbers: int) -> list[DayOutcome]:
        """Days of the newest version."""
        return list(self.making().made([day(number) for number in numbers]))

    def making(self) -> DayMaking:
        """A making of days of the newest version."""
        assert self.version is not None
        assert self.declared.days is not None
        return DayMaking(self.declared.spec, self.declared.days, self.version, self.contract, self.outside)

    def outcomes(self, *numbers: int) -> dict[int, str]:
        """What became of them, by number."""
        return {(each.day - FIRST).days: each.outcome for each in self.make(*numbers)}

    def table(self) -> pa.Table:
        """All that is published."""
        current = current_version(NAME, self.outside)
        assert current is not None
        return self.outside.warehouse.read(table_of(NAME), current.snapshot_id)

    def expected(self, rows: pa.Table) -> pa.Table:
        """What one run over all of these rows gives, day by day."""
        spec = self.declared.spec
        made = rows.drop_columns(list(spec.columns))
        features = WindowTransformer(spec).transform(rows)
        for name in features.column_names:
            made = made.append_column(name, features[name])
        return made.take(np.argsort(days_of(rows), kind="stable"))

    def status(self) -> DailyStatus:
        """Of the days."""
        found = daily_status(self.declared, self.outside)
        assert found is not None
        return found

    @property
    def states(self) -> list[str]:
        """Keys of the kept states."""
        return [key for key in self.outside.object_store.list("models") if key.endswith(".state")]


def bits(table: pa.Table) -> pa.Table:
    """The table with its floats as the integers that their bits are: equal where every bit is."""
    columns = [
        pc.if_else(
            column.is_valid(), pa.chunked_array([column.fill_null(0).combine_chunks().view(pa.int64())]), None
        )
        if pa.types.is_float64(column.type)
        else column
        for column in table.columns
    ]
    return pa.table(dict(zip(table.column_names, columns, strict=True)))


def erased(meters: Meters, reading: str) -> ErasureReport:
    """Erases a reading."""
    return erase_subject(meters.outside, "reading", reading)
