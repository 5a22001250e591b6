"""Judging a contract in one pass over batches: what Great Expectations (GE) says of a table that fits, of one that does not.

GE is the reference. It checks each expectation as it is written, and judges what no measure here covers, on the whole table
where that fits in memory. Verdicts, counts, figures, reasons and row hashes are those of `run_contract`; who looked is said.
The rows that a report names are read again, from the first one on until there are enough.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from platform_assets.datasets.batches import BatchedTable, Cells, batched, kind_of_type, plain_schema
from platform_assets.datasets.contract import Contract, Expectation
from platform_assets.datasets.contract_run import (
    ContractReport,
    ExpectationResult,
    contract_report,
    evaluate,
    expectation_result,
    refusal,
    run_contract,
    run_id,
    suite_of,
)
from platform_assets.datasets.contract_values import Kind
from platform_assets.datasets.errors import NoTableError
from platform_assets.datasets.measures import Measure, can_be_compared, measure_of
from platform_assets.datasets.row_hash import MOST_ROW_HASHES, row_hashes
from platform_assets.reading.errors import ReadingError
from platform_assets.reading.frames import to_frame
from resources.row_batches import RowBatches

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MOST_ROWS_FOR_GE: Final = 1_000_000
"""Larger tables are judged in batches. Up to here Great Expectations takes seconds and a few hundred megabytes beside the
table; both grow with its rows, and memory several times as fast as the table, since texts become Python's own."""
MOST_BYTES_FOR_GE: Final = 512 << 20
"""Of a table in Arrow's form that is given to Great Expectations whole, for what the batches do not cover."""


class Judged(NamedTuple):
    """What became of some expectations."""

    ge_run_id: str
    rows: int
    results: tuple[ExpectationResult, ...]
    filled: Mapping[str, int]
    """Values by column, of the columns that were looked at."""


def judge_table(
    contract: Contract,
    table: "pa.Table",
    *,
    run_name: str,
    domains: Collection[str] | None = None,
    salt: bytes | None = None,
) -> ContractReport:
    """The report on a table in memory: Great Expectations' own, or that of its batches where it has more than `MOST_ROWS_FOR_GE`.

    Raises:
        ContractError: A domain is unknown, or GE refuses the type or the kwargs of an expectation.
    """
    if table.num_rows > MOST_ROWS_FOR_GE:
        return judge_batches(contract, batched(table), run_name=run_name, domains=domains, salt=salt)
    return run_contract(contract, table.to_pandas(), run_name=run_name, domains=domains, salt=salt)


def judge_rows(
    contract: Contract,
    rows: RowBatches,
    *,
    run_name: str,
    domains: Collection[str] | None = None,
    salt: bytes | None = None,
) -> ContractReport:
    """The report on rows that come in batches, as `judge_table` has it of a table; few that are wide are many, too.

    Raises:
        ContractError: As `judge_table`.
    """
    if rows.num_rows <= MOST_ROWS_FOR_GE and (whole := _whole(rows.batches(), rows.schema)) is not None:
        return judge_table(contract, whole, run_name=run_name, domains=domains, salt=salt)
    table = BatchedTable("the table", plain_schema(rows.schema), rows.scan)
    return judge_batches(contract, table, run_name=run_name, domains=domains, salt=salt)


def judge_batches(
    contract: Contract,
    table: BatchedTable,
    *,
    run_name: str,
    domains: Collection[str] | None = None,
    salt: bytes | None = None,
) -> ContractReport:
    """The report on these domains of the contract (all for None), from one pass over the table's batches.

    Args:
        contract: What the table has promised.
        table: Its rows, in batches.
        run_name: What the run's id begins with.
        domains: Which domains to evaluate; all of them for None.
        salt: Of the row hashes; without one the report has none.

    Raises:
        ContractError: A domain is unknown, or GE refuses the type or the kwargs of an expectation.
        DatasetError: The rows cannot be read to their end, or hold what neither engine has.
    """
    judged = evaluate_batches(contract, contract.select(domains), table, run_name=run_name, salt=salt)
    return contract_report(
        contract, judged.results, domains=domains, ge_run_id=judged.ge_run_id, rows=judged.rows
    )


def evaluate_batches(
    contract: Contract,
    expectations: Sequence[Expectation],
    table: BatchedTable,
    *,
    run_name: str,
    salt: bytes | None,
    also: Collection[str] = (),
) -> Judged:
    """One result for each of these expectations, in their order.

    Args:
        contract: Whose they are.
        expectations: With positions of their own.
        table: The rows.
        run_name: What the run's id begins with.
        salt: Of the row hashes; without one there is none.
        also: Columns whose values are to be counted besides.

    Raises:
        ContractError: GE refuses the type or the kwargs of an expectation.
        DatasetError: The rows cannot be read to their end, or hold what neither engine has.
    """
    suite_of(contract, expectations)
    with ExitStack() as at_the_end:
        # What cannot be compared with its column is refused below, whatever its rows are.
        misfits = {
            each.index
            for each in expectations
            if each.column is not None and not can_be_compared(each, table.schema)
        }
        measures = {
            each.index: measure
            for each in expectations
            if each.index not in misfits and (measure := measure_of(each, table.schema)) is not None
        }
        for measure in measures.values():
            at_the_end.callback(measure.close)
        stated = {each.column for each in expectations if each.column in table.schema.names}
        rows, filled = _read(table, [*measures.values()], {*also, *filter(None, stated)})
        if not rows:
            empty = _frame(table, table.schema.empty_table())
            ge_run_id, results = evaluate(contract, expectations, empty, run_name=run_name, salt=salt)
            return Judged(ge_run_id, 0, results, filled)

        def kind(name: str) -> Kind:
            return kind_of_type(table.schema.field(name).type) if filled.get(name) else "empty"

        found: dict[int, ExpectationResult] = {}
        rest: list[Expectation] = []
        for each in expectations:
            if each.index not in measures and each.index not in misfits:
                rest.append(each)
                continue
            refused = refusal(contract, each, table.schema.names, kind)
            answer = None if refused else measures[each.index].answer()
            found[each.index] = expectation_result(
                each, answer, refused=refused, names=table.schema.names, rows=rows, engine="batches"
            )
        if salt is not None:
            failed = {
                at: measures[at]
                for at, result in found.items()
                if result.outcome == "fail" and result.unexpected_count
            }
            found |= _with_hashes(table, failed, found, salt)
        found |= _by_ge(contract, rest, table, run_name=run_name, salt=salt)
    return Judged(run_id(run_name), rows, tuple(found[each.index] for each in expectations), filled)


def _read(
    table: BatchedTable, measures: Sequence[Measure], counted: Collection[str]
) -> tuple[int, Mapping[str, int]]:
    """The one pass: rows, and values by column."""
    rows, filled = 0, Counter[str]()
    for batch in table.batches(counted):
        cells = _cells(table, batch, counted, first_row=rows)
        for name, each in cells.items():
            filled[name] += each.filled
        for measure in measures:
            about = None if measure.column is None else cells[measure.column]
            measure.add(about, first_row=rows, rows=batch.num_rows)
        rows += batch.num_rows
    return rows, filled


def _cells(
    table: BatchedTable, batch: "pa.RecordBatch", columns: Collection[str], *, first_row: int
) -> dict[str, Cells]:
    return {
        name: Cells(batch.column(name), table=table.name, column=name, first_row=first_row)
        for name in batch.schema.names
        if name in columns
    }


def _with_hashes(
    table: BatchedTable,
    failed: Mapping[int, Measure],
    found: Mapping[int, ExpectationResult],
    salt: bytes,
) -> dict[int, ExpectationResult]:
    """The failed results with the hashes of the first rows that each objects to; other columns are read for that alone."""
    import pyarrow as pa

    wanted = {at: min(MOST_ROW_HASHES, found[at].unexpected_count or 0) for at in failed}
    named: dict[int, list[pa.RecordBatch]] = {at: [] for at in failed}
    if not any(wanted.values()):
        return {}
    fine = _FineTimes(table.schema)
    objecting = {measure.column for measure in failed.values() if measure.column is not None}
    rows = 0
    for batch in table.batches(table.schema.names):
        fine.look_at(batch)
        cells = _cells(table, batch, objecting, first_row=rows)
        for at, measure in failed.items():
            if wanted[at] and measure.column is not None:
                wrong = measure.unexpected(cells[measure.column])
                places = np.arange(0) if wrong is None else np.flatnonzero(wrong)[: wanted[at]]
                wanted[at] -= len(places)
                if len(places):
                    named[at].append(batch.take(pa.array(places)))
        rows += batch.num_rows
        if not any(wanted.values()) and fine.is_settled:
            break
    return {
        at: found[at].model_copy(
            update={
                "row_hashes": row_hashes(
                    _frame(table, fine.shown(pa.Table.from_batches(batches, table.schema))), salt
                )
            }
        )
        for at, batches in named.items()
    }


class _FineTimes:
    """Times of day that have nanoseconds somewhere: then pandas has the whole column as durations."""

    def __init__(self, schema: "pa.Schema") -> None:
        import pyarrow as pa

        self._unsettled = {each.name for each in schema if each.type.equals(pa.time64("ns"))}
        self._fine: set[str] = set()

    @property
    def is_settled(self) -> bool:
        """Whether no further row could tell anything."""
        return not self._unsettled

    def look_at(self, batch: "pa.RecordBatch") -> None:
        """The next rows."""
        import pyarrow as pa

        for name in [*self._unsettled]:
            counted = batch.column(name).drop_null().cast(pa.int64()).to_numpy()
            if (counted % 1000).any():
                self._unsettled.remove(name)
                self._fine.add(name)

    def shown(self, rows: "pa.Table") -> "pa.Table":
        """The rows with such columns as pandas has them."""
        import pyarrow as pa

        for name in self._fine:
            at = rows.schema.get_field_index(name)
            rows = rows.set_column(at, name, rows[name].cast(pa.int64()).cast(pa.duration("ns")))
        return rows


def _by_ge(
    contract: Contract,
    rest: Sequence[Expectation],
    table: BatchedTable,
    *,
    run_name: str,
    salt: bytes | None,
) -> dict[int, ExpectationResult]:
    """What GE says of those that no measure covers; an error where the table is too large for it."""
    if not rest:
        return {}
    # Of a column that is not there, rows say nothing.
    absent = [each for each in rest if each.column is not None and each.column not in table.schema.names]
    others = [each for each in rest if each not in absent]
    found: dict[int, Any] = {}
    if absent:
        empty = _frame(table, table.schema.empty_table())
        _, results = evaluate(contract, absent, empty, run_name=run_name, salt=salt)
        found |= {result.index: result for result in results}
    if others and (whole := _whole(table.batches(table.schema.names), table.schema)) is not None:
        frame = _frame(table, whole)
        _, results = evaluate(contract, others, frame, run_name=run_name, salt=salt)
        found |= {result.index: result for result in results}
    elif others:
        too_large = (
            "Nothing was checked: Great Expectations alone judges this, with the whole table in memory, and that "
            f"takes more than {MOST_BYTES_FOR_GE >> 20:,} MiB; check a sample, or state it otherwise."
        )
        found |= {
            each.index: expectation_result(each, None, refused=too_large, names=table.schema.names, rows=0)
            for each in others
        }
    return found


def _frame(table: BatchedTable, rows: "pa.Table") -> "pd.DataFrame":
    try:
        return to_frame(rows, name=table.name)
    except ReadingError as problem:
        raise NoTableError(str(problem)) from None


def _whole(batches: "Iterator[pa.RecordBatch]", schema: "pa.Schema") -> "pa.Table | None":
    """The table of these batches, unless it takes more than `MOST_BYTES_FOR_GE`."""
    import pyarrow as pa

    kept, size = [], 0
    for batch in batches:
        kept.append(batch)
        size += batch.nbytes
        if size > MOST_BYTES_FOR_GE:
            return None
    return pa.Table.from_batches(kept, schema)
