"""Running a contract over a frame, and what became of each expectation.

A contract passes only where every critical expectation was evaluated and held. What could not be
evaluated (a missing column, an exception inside GE, no value to look at) is an `error`, whatever its
severity. Reports hold counts, aggregates and salted row hashes, never cell values; `failing_rows` reads
those from the live frame when somebody asks.
"""

import math
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from numbers import Integral
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from platform_assets.datasets.contract import Contract, Expectation, RawType, Severity
from platform_assets.datasets.contract_values import Kind, misfit
from platform_assets.datasets.errors import ContractError
from platform_assets.datasets.exact_columns import ExactColumns
from platform_assets.datasets.row_hash import MOST_ROW_HASHES, row_hashes

if TYPE_CHECKING:
    import pandas as pd

Outcome = Literal["pass", "fail", "error"]
Engine = Literal["great_expectations", "batches"]
"""Who looked at the rows: Great Expectations, or the judge that reads them once, in batches."""

SEVERITY_WEIGHTS: Final[Mapping[Severity, int]] = {"critical": 3, "warning": 2, "info": 1}

# GE's `observed_value` of any other type (minimum, median, most common value, …) may be a cell value.
_AGGREGATES: Final = frozenset(
    {
        "expect_table_row_count_to_be_between",
        "expect_table_row_count_to_equal",
        "expect_table_column_count_to_be_between",
        "expect_table_column_count_to_equal",
        "expect_column_mean_to_be_between",
        "expect_column_stdev_to_be_between",
        "expect_column_sum_to_be_between",
        "expect_column_unique_value_count_to_be_between",
        "expect_column_proportion_of_unique_values_to_be_between",
        "expect_column_proportion_of_non_null_values_to_be_between",
    }
)

# They speak about nulls, or about the column and none of its values.
_ABOUT_NULLS: Final = frozenset(
    {
        "expect_column_to_exist",
        "expect_column_values_to_be_null",
        "expect_column_values_to_not_be_null",
        "expect_column_proportion_of_non_null_values_to_be_between",
        "expect_column_values_to_be_of_type",
        "expect_column_values_to_be_in_type_list",
    }
)

_KINDS: Final[Mapping[RawType, Kind]] = {
    "string": "text",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "timestamp": "time",
}

# GE returns results in an order of its own; the position in the contract travels in each expectation's meta.
_INDEX: Final = "contract_index"

# The name that ends the frames of a traceback's first block. What follows it, the message, may quote cells.
_EXCEPTION_NAME: Final = re.compile(r"Traceback \(most recent call last\):\n(?:[ \t].*\n)+(?:\w+\.)*(\w+)")


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ExpectationResult(_Result):
    """What became of one expectation."""

    index: int
    type: str
    column: str | None
    domain: str
    severity: Severity
    outcome: Outcome
    unexpected_count: int | None
    element_count: int | None
    """Rows looked at, nulls included; None for aggregates and for the table as a whole."""
    unexpected_percent: float | None
    """Of the values that are not null (0 … 100)."""
    observed: int | float | None
    """A count, mean, deviation, sum or share; None for expectations that have none."""
    reason: str
    row_hashes: tuple[str, ...] = ()
    """Salted hashes of the first rows that a failed expectation objects to, at most 20; see `row_hash`."""
    engine: Engine = "great_expectations"


class DomainResult(_Result):
    """One domain: error if any of its expectations is, else fail if a critical one failed, else pass."""

    domain: str
    outcome: Outcome
    results: tuple[ExpectationResult, ...]
    rule_set_hash: str
    counts: dict[str, int]
    """`expectations`, `passed`, `failed`, `errored`, `rows`."""

    @property
    def engines(self) -> tuple[Engine, ...]:
        """Who looked at the rows, each once."""
        return tuple(sorted({result.engine for result in self.results}))


class ContractReport(_Result):
    """One run of a contract over one frame."""

    contract: str
    ge_run_id: str
    """GE's run identifier: `<run name>/<UTC start time>`."""
    rows: int
    domains: tuple[DomainResult, ...]
    passed: bool
    """Whether every domain that was asked for passed."""
    quality_score: float
    """Share of expectations that passed, weighted critical 3, warning 2, info 1 (0 … 1)."""

    def domain(self, name: str) -> DomainResult:
        """The result of one domain.

        Raises:
            ContractError: The domain was not part of this run.
        """
        for result in self.domains:
            if result.domain == name:
                return result
        evaluated = ", ".join(result.domain for result in self.domains)
        raise ContractError(
            f"contract {self.contract}: this run has no domain {name}; it evaluated {evaluated}"
        )


def run_contract(
    contract: Contract,
    frame: "pd.DataFrame",
    *,
    run_name: str,
    domains: Collection[str] | None = None,
    salt: bytes | None = None,
) -> ContractReport:
    """The report on these domains of the contract (all for None), from one GE validation of the frame.

    Args:
        contract: What the frame has promised.
        frame: Any columns; the index takes no part.
        run_name: What GE's run id begins with.
        domains: Which domains to evaluate; all of them for None.
        salt: Of the row hashes; without one the report has none.

    Raises:
        ContractError: A domain is unknown, or GE refuses the type or the kwargs of an expectation.
    """
    ge_run_id, results = evaluate(contract, contract.select(domains), frame, run_name=run_name, salt=salt)
    return contract_report(contract, results, domains=domains, ge_run_id=ge_run_id, rows=len(frame))


def contract_report(
    contract: Contract,
    results: Collection[ExpectationResult],
    *,
    domains: Collection[str] | None,
    ge_run_id: str,
    rows: int,
) -> ContractReport:
    """What these results make of the domains that were asked for; all of them for None."""
    judged = tuple(
        domain_result(
            domain,
            tuple(result for result in results if result.domain == domain),
            rule_set_hash=contract.rule_set_hash(domain),
            rows=rows,
        )
        for domain in contract.domains
        if domains is None or domain in domains
    )
    possible = sum(SEVERITY_WEIGHTS[result.severity] for result in results)
    reached = sum(SEVERITY_WEIGHTS[result.severity] for result in results if result.outcome == "pass")
    return ContractReport(
        contract=contract.name,
        ge_run_id=ge_run_id,
        rows=rows,
        domains=judged,
        passed=all(domain.outcome == "pass" for domain in judged),
        quality_score=reached / possible,
    )


def evaluate(
    contract: Contract,
    expectations: Collection[Expectation],
    frame: "pd.DataFrame",
    *,
    run_name: str,
    salt: bytes | None,
) -> tuple[str, tuple[ExpectationResult, ...]]:
    """GE's run id, and one result for each of these expectations, in their order.

    Raises:
        ContractError: GE knows no such expectation or refuses its kwargs; the message lists every problem
            with file, line and field.
    """
    run = _answered(contract, expectations, frame, run_name=run_name, most_rows=MOST_ROW_HASHES)
    return run.ge_run_id, tuple(_judge(expectation, run, frame, salt) for expectation in expectations)


def domain_result(
    domain: str, results: tuple[ExpectationResult, ...], *, rule_set_hash: str, rows: int
) -> DomainResult:
    """What these results make of their domain."""
    outcomes = [result.outcome for result in results]
    outcome: Outcome = "pass"
    if "error" in outcomes:
        outcome = "error"
    elif any(result.outcome == "fail" and result.severity == "critical" for result in results):
        outcome = "fail"
    return DomainResult(
        domain=domain,
        outcome=outcome,
        results=results,
        rule_set_hash=rule_set_hash,
        counts={
            "expectations": len(results),
            "passed": outcomes.count("pass"),
            "failed": outcomes.count("fail"),
            "errored": outcomes.count("error"),
            "rows": rows,
        },
    )


def failing_rows(
    contract: Contract, frame: "pd.DataFrame", expectation_index: int, *, limit: int = 20
) -> "pd.DataFrame":
    """The first rows of the frame that an expectation objects to, tolerated ones included.

    Empty for an expectation about an aggregate or about the table as a whole. The rows hold cell
    values: show them to whoever asks, and store them nowhere.

    Raises:
        ContractError: There is no such expectation, or it cannot be evaluated on this frame.
    """
    if not 0 <= expectation_index < len(contract.expectations):
        raise ContractError(
            f"{contract.path}: has no expectation {expectation_index}; give 0 to {len(contract.expectations) - 1}"
        )
    expectation = contract.expectations[expectation_index]
    run = _answered(contract, [expectation], frame, run_name="failing-rows", most_rows=limit)
    result = _judge(expectation, run, frame, salt=None)
    if result.outcome == "error":
        raise ContractError(f"{contract.path}:{expectation.line}: {expectation.type}: {result.reason}")
    return frame.iloc[_positions(run.answers[expectation_index])]


def great_expectations() -> Any:
    """The library, imported now, with its telemetry off."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # GE reads it once, while it is imported
    import great_expectations

    return great_expectations


def run_id(run_name: str) -> str:
    """GE's run identifier of a run that begins now: `<run name>/<UTC time>`."""
    # Without a time GE tries to read one out of the name.
    now = great_expectations().RunIdentifier(run_name=run_name, run_time=datetime.now(UTC))
    identifier: str = "/".join(now.to_tuple())
    return identifier


class Answer(NamedTuple):
    """What an engine says of one expectation. None of it is a cell value."""

    success: bool | None
    elements: int | None = None
    unexpected: int | None = None
    missing: int = 0
    unexpected_percent: float | None = None
    observed: Any = None
    """Of an aggregate; None for any other."""
    exception: str | None = None
    """Class of what stopped the evaluation."""


class _Run(NamedTuple):
    ge_run_id: str
    answers: Mapping[int, Any]
    """GE's result by position in the contract."""
    crashes: Mapping[int, str]
    """Class of the exception that left an expectation without a result, by position in the contract."""
    refused: Mapping[int, str] = MappingProxyType({})
    """Why an expectation was not judged, by position in the contract."""
    units: Mapping[int, Any] = MappingProxyType({})
    """What one of an observed figure stands for, by position in the contract."""


def _answered(
    contract: Contract,
    expectations: Collection[Expectation],
    frame: "pd.DataFrame",
    *,
    run_name: str,
    most_rows: int,
) -> _Run:
    """GE's answers about the frame, each from columns in a form that GE judges exactly.

    Raises:
        ContractError: GE knows no such expectation or refuses its kwargs.
    """
    import pandas as pd

    suite_of(contract, expectations)  # as they are written: GE refuses what is in the file
    # GE names rows by index label, and labels may repeat; positions do not.
    positioned = frame.set_axis(pd.RangeIndex(len(frame)), axis="index")
    columns = ExactColumns(positioned)
    names = [str(name) for name in frame.columns]
    refused = {
        each.index: reason
        for each in expectations
        if (reason := refusal(contract, each, names, columns.kind)) is not None
    }
    fit = [each for each in expectations if each.index not in refused]
    judged = {each.index: found for each in fit if (found := columns.judged(each) or columns.alone(each))}
    ge_run_id = run_id(run_name)
    as_they_are = [each for each in fit if each.index not in judged]
    others = [replace(each, kwargs=judged[each.index].kwargs) for each in fit if each.index in judged]
    answers: dict[int, Any] = {}
    crashes: dict[int, str] = {}
    # Table expectations must not see the columns that stand beside the table's own.
    for asked, table in (
        (as_they_are, positioned),
        (others, pd.concat([positioned, pd.DataFrame(columns.beside)], axis="columns")),
    ):
        if asked:
            told, crashed = _validate(contract, asked, table, most_rows=most_rows)
            answers |= told
            crashes |= crashed
    return _Run(
        ge_run_id=ge_run_id,
        answers=answers,
        crashes=crashes,
        refused=refused,
        units={index: each.unit for index, each in judged.items()},
    )


def refusal(
    contract: Contract, expectation: Expectation, names: Sequence[str], kind: Callable[[str], Kind]
) -> str | None:
    """Why an expectation cannot be judged on these columns, whatever an engine would make of it; None where it can.

    Args:
        contract: Whose it is.
        expectation: What is stated.
        names: Of all columns of the table.
        kind: What a column holds; `empty` where it has no value.
    """
    # What the table's columns are called is what such an expectation is about.
    stated = [] if expectation.type.startswith("expect_table_") else _columns(expectation)
    for column in map(str, stated):
        if column not in names and (
            alike := [name for name in names if name.casefold() == column.casefold()]
        ):
            return f"There is no column `{column}`; `{alike[0]}` differs in case."
    if expectation.type not in _ABOUT_NULLS and (
        empty := _unfilled(expectation, [str(name) for name in stated if name in names], kind)
    ):
        return f"Nothing was checked: column `{empty}` holds no value."
    found = misfit(expectation, kind)
    if found is None:
        return None
    stated_types = contract.raw.columns if contract.raw else {}
    for name in map(str, stated):
        if name in stated_types and kind(name) not in {_KINDS[stated_types[name]], "empty"}:
            # The file broke its schema, so that advice on the contract would lead astray.
            return f"Nothing was checked: column `{name}` is not the stated {stated_types[name]}."
    field, problem = found
    # What is stored names the file, and no folder of the machine that it was found on.
    named = replace(contract.manifest, path=Path(contract.path.name))
    return str(named.error(("expectations", expectation.index, "kwargs", *field), f"{problem}."))


def _unfilled(expectation: Expectation, present: Sequence[str], kind: Callable[[str], Kind]) -> str | None:
    """A column without any value, where that leaves nothing to look at; None where something is."""
    empty = [name for name in present if kind(name) == "empty"]
    looks_away = str(expectation.kwargs.get("ignore_row_if")).startswith(("either", "any"))
    enough = expectation.column is not None or looks_away or len(empty) == len(present)
    return empty[0] if empty and enough else None


def suite_of(contract: Contract, expectations: Collection[Expectation]) -> Any:
    """GE's own form of these expectations.

    Raises:
        ContractError: GE knows no such expectation or refuses its kwargs; the message lists every problem.
    """
    gx = great_expectations()
    # Fields that every expectation has (meta, severity, result_format, …) are no kwargs of a particular one.
    reserved = gx.expectations.expectation.BatchExpectation.__fields__
    manifest, made, problems = contract.manifest, [], []
    for expectation in expectations:
        at = ("expectations", expectation.index)
        try:
            kind = gx.expectations.registry.get_expectation_impl(expectation.type)
            if misplaced := sorted(reserved & expectation.kwargs.keys()):
                problems += [
                    manifest.error((*at, "kwargs", key), "is not a kwarg; remove it") for key in misplaced
                ]
                continue
            meta = {**expectation.meta, _INDEX: expectation.index}
            made.append(kind(**expectation.kwargs, meta=meta, severity=expectation.severity))
        except gx.exceptions.ExpectationNotFoundError:
            problem = f"Great Expectations {gx.__version__} has no {expectation.type}; check the spelling"
            problems.append(manifest.error((*at, "type"), problem))
        except gx.compatibility.pydantic.ValidationError as refusal:
            # GE may state several reasons for a kwarg, and follow-on ones about "__root__", the whole.
            reasons = {error["loc"][0]: error["msg"] for error in reversed(refusal.errors())}
            named = {key: reason for key, reason in reasons.items() if key != "__root__"}
            problems += [manifest.error((*at, "kwargs", key), reason) for key, reason in named.items()]
            if not named:
                problems.append(manifest.error((*at, "kwargs"), reasons["__root__"]))
    if problems:
        raise ContractError("\n".join(map(str, problems)))
    return gx.ExpectationSuite(name=contract.name, expectations=made)


def _validate(
    contract: Contract, expectations: Sequence[Expectation], frame: "pd.DataFrame", *, most_rows: int
) -> tuple[dict[int, Any], dict[int, str]]:
    """GE's answers, each with the positions of at most `most_rows` unexpected rows and without their values.

    And the class of the exception that left an expectation without one, both by position in the contract.
    """
    gx = great_expectations()
    from great_expectations.validator.v1_validator import Validator

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("live").add_dataframe_asset("frame")
    # A validation definition would store what it found, and GE cannot write all of that.
    validator = Validator(
        batch_definition=asset.add_batch_definition_whole_dataframe("whole"),
        batch_parameters={"dataframe": frame},
        result_format={
            "result_format": "SUMMARY",
            "partial_unexpected_count": most_rows,
            "exclude_unexpected_values": True,
        },
    )
    answers: dict[int, Any] = {}
    crashes: dict[int, str] = {}

    def ask(some: Sequence[Expectation]) -> None:
        try:
            validation = validator.validate_expectation_suite(suite_of(contract, some))
        except Exception as problem:  # noqa: BLE001 - whatever stops GE, nothing was shown to hold
            if len(some) == 1:
                crashes[some[0].index] = type(problem).__name__
            else:  # one that GE breaks on hides none of the others
                for each in some:
                    ask([each])
        else:
            answers.update({answer.expectation_config.meta[_INDEX]: answer for answer in validation.results})

    try:
        ask(expectations)
    finally:
        # GE would keep this context for the life of the process, and with it the frame and its failing cells.
        gx.data_context.set_context(None)
    return answers, crashes


def _judge(
    expectation: Expectation, run: _Run, frame: "pd.DataFrame", salt: bytes | None
) -> ExpectationResult:
    """What GE's answer means. Figures are copied by name: anything else in the answer may be a cell value."""
    told = run.answers.get(expectation.index)
    figures = told.result if told is not None else {}
    observed = figures.get("observed_value") if expectation.type in _AGGREGATES else None
    if observed is not None:
        observed *= run.units.get(expectation.index, 1)
    answer = (
        Answer(
            success=told.success,
            elements=figures.get("element_count"),
            unexpected=figures.get("unexpected_count"),
            missing=figures.get("missing_count", 0),
            unexpected_percent=figures.get("unexpected_percent"),
            observed=observed,
            exception=_exception_name(told.exception_info),
        )
        if told is not None
        else None
    )
    result = expectation_result(
        expectation,
        answer,
        refused=run.refused.get(expectation.index),
        crash=run.crashes.get(expectation.index),
        names=frame.columns,
        rows=len(frame),
    )
    if salt is None or result.outcome != "fail":
        return result
    return result.model_copy(update={"row_hashes": row_hashes(frame.iloc[_positions(told)], salt)})


def expectation_result(
    expectation: Expectation,
    answer: Answer | None,
    *,
    refused: str | None,
    crash: str | None = None,
    names: Collection[Any],
    rows: int,
    engine: Engine = "great_expectations",
) -> ExpectationResult:
    """What an answer means, whichever engine gave it; without row hashes.

    Args:
        expectation: What was asked.
        answer: What was said; None where nothing was.
        refused: Why it was not asked.
        crash: Class of the exception that left it without an answer.
        names: Of the table's columns.
        rows: Of the table.
        engine: Who said it.
    """
    observed = answer.observed if answer else None
    if observed is not None:
        observed = int(observed) if isinstance(observed, Integral) else float(observed)
    elements, unexpected = (answer.elements, answer.unexpected) if answer else (None, None)
    subject = f"column `{expectation.column}`" if expectation.column else "the table"

    outcome: Outcome
    if refused:
        outcome, reason = "error", refused
    elif answer is None:
        outcome, reason = "error", f"Great Expectations gave no result ({crash or 'and no reason'})."
    elif answer.exception:
        missing = [f"`{column}`" for column in _columns(expectation) if column not in names]
        cause = f"there is no column {', '.join(missing)}" if missing else f"{subject} could not be evaluated"
        outcome, reason = "error", f"{answer.exception}: {cause}."
    elif answer.success is None:
        outcome, reason = "error", f"Great Expectations neither passed nor failed {subject}."
    elif answer.success and expectation.column and (rows == 0 or elements == answer.missing):
        outcome, reason = "error", f"Nothing was checked: {subject} holds no value."
    elif answer.success and observed is not None and not math.isfinite(observed):
        outcome, reason = "error", f"The observed value of {subject} is not a finite number."
    else:
        outcome = "pass" if answer.success else "fail"
        if elements is not None and unexpected is not None:
            reason = f"{unexpected:,} of {elements:,} values of {subject} are unexpected."
        elif observed is not None:
            reason = f"Observed {observed:,} for {subject}."
        else:
            reason = f"{'Holds' if answer.success else 'Does not hold'} for {subject}."
    return ExpectationResult(
        index=expectation.index,
        type=expectation.type,
        column=expectation.column,
        domain=expectation.domain,
        severity=expectation.severity,
        outcome=outcome,
        unexpected_count=unexpected,
        element_count=elements,
        unexpected_percent=answer.unexpected_percent if answer else None,
        observed=observed,
        reason=reason,
        engine=engine,
    )


def _positions(answer: Any) -> list[int]:
    positions: list[int] = answer.result.get("partial_unexpected_index_list") or []
    return positions


def _exception_name(exception_info: Mapping[str, Any]) -> str | None:
    """Class of the first exception behind an answer; None where there was none.

    GE states either one exception, or one for each metric that raised.
    """
    stated = [exception_info] if "raised_exception" in exception_info else exception_info.values()
    for info in stated:
        if info["raised_exception"]:
            name = _EXCEPTION_NAME.match(info["exception_traceback"] or "")
            return name[1] if name else "Exception"
    return None


def _columns(expectation: Expectation) -> list[Any]:
    kwargs: Mapping[str, Any] = expectation.kwargs
    several = kwargs.get("column_list")
    single = [kwargs[key] for key in ("column", "column_A", "column_B") if key in kwargs]
    return single + (several if isinstance(several, list) else [])
