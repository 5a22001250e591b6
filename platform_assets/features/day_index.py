"""The days of a version's input: of each its rows, their hash, and what of the contract they break.

It lies beside the version, as `models/<env>/<name>/v<N>/days.json`, so that nobody reads all rows to know which days have
changed. Who reads them anyway, the asset of the version, writes it; where it is missing or was judged by another contract,
whoever needs it does.

The fingerprint of a day is made of what its features are made of: the spec's meaning, the kernel, and the hashes of the days
in its window, those that are refused left out. So a row that comes late changes the days whose windows it is in, and no other.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from platform_assets.datasets.contract import Contract
from platform_assets.datasets.day_judge import judge_days
from platform_assets.datasets.snapshots import content_hash
from platform_assets.features.daily import ENDING, day_of, history_days, today
from platform_assets.features.errors import FeatureError
from platform_assets.features.table_columns import column_of, first_missing
from platform_assets.features.transformer import kernel_version
from platform_assets.features.transformer_spec import DAY_US, TransformerSpec
from platform_assets.features.window_columns import times_of
from platform_assets.fingerprint import canonical_sha256
from platform_assets.governance.verdict import KIND as VERDICT
from platform_assets.governance.verdict import Verdict, record, verdict_of
from platform_assets.ledger.ledger import Ledger, canonical
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import TableSnapshot, TransformerVersion
from resources.object_store import ObjectMissingError, ObjectStoreError
from resources.provenance import code_commit

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT: Final = 1
FILE: Final = "days.json"
RULE_SET: Final = "contract.days"
_MOST_TOLD: Final = 10
"""Refused days of which a verdict says what they break; it names all of them."""
_DIGITS_OF_SPEC: Final = 16

log = logging.getLogger(__name__)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputDay(_Part):
    """One day of an input."""

    day: date
    rows: int
    hash: str
    """Content hash of its rows, in their order, of the columns that are read."""
    broken: tuple[str, ...] = ()
    """What of the contract they break: rules and counts, no values; then the day is refused."""


class DayIndex(_Part):
    """The days of an input, oldest first; those without a row are not there."""

    format: Literal[1] = FORMAT
    contract: str
    """Identity of the rules by which they were judged."""
    expectations: int
    """How many of these rules were judged by day."""
    days: tuple[InputDay, ...]

    @cached_property
    def by_day(self) -> Mapping[date, InputDay]:
        """The same by day."""
        return {each.day: each for each in self.days}

    @property
    def refused(self) -> Mapping[date, tuple[str, ...]]:
        """What the refused days break."""
        return {each.day: each.broken for each in self.days if each.broken}

    @property
    def newest(self) -> date | None:
        """The last day that has a row, of those that have begun: a time in the future does not say how far rows reach."""
        now = today()
        return next((each.day for each in reversed(self.days) if each.day <= now), None)

    def is_read(self, day: date) -> bool:
        """Whether the day has rows that features are made of."""
        return day in self.by_day and not self.by_day[day].broken

    def fingerprints(self, spec: TransformerSpec) -> "Fingerprints":
        """Those of its days under a spec."""
        return Fingerprints(self, spec)


class Fingerprints:
    """The identities of days of features, and of what is remembered when a day has ended."""

    def __init__(self, index: DayIndex, spec: TransformerSpec) -> None:
        """Take up an index.

        Args:
            index: Of the input.
            spec: Of a transformer that has days.
        """
        history = history_days(spec)
        assert history is not None, "the days of a transformer that looks back without end are refused"
        self._index, self._history = index, history
        self._kernel = kernel_version(spec.transformer_type)
        self._spec = canonical_sha256(spec.normalised())

    def of(self, day: date) -> str:
        """Of a day's features: 64 hexadecimal digits, of which the first 16 tell what the spec means."""
        made_by = {"spec": self._spec, "kernel": self._kernel}
        whole = canonical_sha256({**made_by, "day": str(day), "window": self._window(day)})
        return self._spec[:_DIGITS_OF_SPEC] + whole[_DIGITS_OF_SPEC:]

    def is_of_this_spec(self, fingerprint: str | None) -> bool:
        """Whether features with this fingerprint mean the same."""
        return fingerprint is not None and fingerprint[:_DIGITS_OF_SPEC] == self._spec[:_DIGITS_OF_SPEC]

    def at_the_end_of(self, day: date) -> str:
        """Of what the rows of the next day may look at."""
        next_day = day + timedelta(days=1)
        return canonical_sha256(
            {
                "spec": self._spec,
                "kernel": self._kernel,
                "after": str(day),
                "window": self._window(next_day, with_itself=False),
            }
        )

    def _window(self, day: date, *, with_itself: bool = True) -> list[list[str]]:
        index = self._index
        days = (day - timedelta(days=back) for back in range(self._history, 0 if not with_itself else -1, -1))
        return [[str(each), index.by_day[each].hash] for each in days if index.is_read(each)]


def read_columns(spec: TransformerSpec, subject_column: str) -> list[str]:
    """The columns of an input that features by day are made of, and that stand beside them."""
    wanted = (subject_column, spec.entity_key, spec.timestamp_column, spec.available_column, *spec.columns)
    return list(dict.fromkeys(filter(None, wanted)))


def day_numbers(spec: TransformerSpec, rows: "pa.Table") -> NDArray[np.int64]:
    """The day of each row, as `number_of` counts; shape (rows,).

    Raises:
        FeatureError: a row has no time, or none that can be read.
    """
    name = str(spec.timestamp_column)
    column = column_of(rows, name)
    missing, first = first_missing(column)
    if missing:
        raise FeatureError(
            f"column {name}: {missing} of {len(column)} values are missing (first: row {first}); a row without a time is of "
            "no day: fill it in, or leave the row out"
        )
    return np.asarray(times_of(column, name) // DAY_US)


def index_of(spec: TransformerSpec, rows: "pa.Table", subject_column: str, contract: Contract) -> DayIndex:
    """The days of these rows.

    Args:
        spec: Of a transformer.
        rows: All of its input.
        subject_column: Names whom a row is about.
        contract: Of the dataset.

    Raises:
        FeatureError: a row has no time.
        DatasetError: a value cannot be hashed or judged.
    """
    numbers = day_numbers(spec, rows)
    judged = judge_days(contract, rows, numbers)
    told = rows.select(read_columns(spec, subject_column))
    if (numbers[1:] < numbers[:-1]).any():
        order = np.argsort(numbers, kind="stable")
        numbers, told = numbers[order], told.take(order)
    # A dataset's chunks would make of each slice many small ones.
    told = told.combine_chunks()
    known, starts = np.unique(numbers, return_index=True)
    bounds = [*starts.tolist(), len(numbers)]
    return DayIndex(
        contract=rules_of(contract),
        expectations=len(judged.judged),
        days=tuple(
            InputDay(
                day=day_of(int(number)),
                rows=stop - start,
                hash=content_hash(told.slice(start, stop - start)),
                broken=tuple(map(str, judged.broken.get(int(number), ()))),
            )
            for number, start, stop in zip(known, bounds[:-1], bounds[1:], strict=True)
        ),
    )


def rules_of(contract: Contract) -> str:
    """Identity of all rules of a contract that may be judged by day."""
    return canonical_sha256({domain: contract.rule_set_hash(domain) for domain in contract.domains})


def recorded_index(
    version: TransformerVersion,
    spec: TransformerSpec,
    contract: Contract,
    outside: OutsideSystems,
    rows: "Callable[[], pa.Table]",
) -> DayIndex:
    """The days of a version's input, as they are recorded, or recorded now; with a verdict on them in the ledger.

    Args:
        version: Of a transformer with days.
        spec: What it was made by.
        contract: Of its dataset, as it is now.
        outside: The systems.
        rows: Gives all rows of its input.

    Raises:
        FeatureError: see `index_of`.
        WarehouseError: the table of its input is gone.
    """
    found = known_index(version, outside)
    if found is None or found.contract != rules_of(contract):
        found = index_of(spec, rows(), str(version.subject_column), contract)
        policy = outside.warehouse.policy(input_of(version).table)
        outside.object_store.put(
            _key(version),
            canonical(found.model_dump(mode="json"), FILE),
            gdpr_class=policy.gdpr_class,
            retention_days=policy.retention_days,
            source_commit=code_commit(),
        )
    _record_once(version, found, outside.ledger)
    return found


def known_index(version: TransformerVersion, outside: OutsideSystems) -> DayIndex | None:
    """The days of a version's input as they are recorded; None where they are not, are damaged, or are of another release."""
    try:
        return DayIndex.model_validate_json(outside.object_store.get(_key(version)))
    except (ObjectMissingError, ValidationError):
        return None
    except ObjectStoreError as problem:
        log.warning("the days of %s are found anew: %s", version.label, problem)
        return None


def input_of(version: TransformerVersion) -> TableSnapshot:
    """The rows that a version was made of.

    Raises:
        FeatureError: those of a file.
    """
    if version.snapshot is None:
        raise FeatureError(
            f"{version.label} was made of a file, which has no days; materialize {version.name} of a dataset"
        )
    return version.snapshot


def _key(version: TransformerVersion) -> str:
    return f"{version.object_key.rpartition('/')[0]}/{FILE}"


def _record_once(version: TransformerVersion, index: DayIndex, ledger: Ledger) -> None:
    """The verdict on a version's days, which the next one records where a process died between it and the index."""
    verdict = _verdict(version, index)
    known = (verdict_of(entry) for entry in ledger.entries(kind=VERDICT, subject=verdict.subject))
    if not any(each.rule_set_hash == verdict.rule_set_hash for each in known):
        record(ledger, verdict, evaluation_id=f"{version.data_version}/{index.contract}")


def _verdict(version: TransformerVersion, index: DayIndex) -> Verdict:
    refused = index.refused
    told = [f"{day}: {'; '.join(broken)}" for day, broken in [*refused.items()][:_MOST_TOLD]]
    return Verdict(
        subject=f"{version.name}{ENDING}@{version.data_version}",
        rule_set=RULE_SET,
        rule_set_hash=index.contract,
        outcome="fail" if refused else "pass",
        evidence={
            "days": len(index.days),
            "expectations": index.expectations,
            "refused": [str(day) for day in refused],
            **({"observed": ". ".join(told)} if refused else {}),
        },
        producer={"code_commit": code_commit()},
    )
