"""Data Docs: one page that opens offline, shows every expectation, and holds no cell value."""

import logging
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from platform_assets.datasets.contract import CONTRACTS_FOLDER, Contract, load_contract
from platform_assets.datasets.contract_run import run_contract
from platform_assets.datasets.data_docs import data_docs_page

CANARY = "Zq7Canary"
SALT = b"a salt for the tests"
EVERY_KIND = """\
name: kinds
expectations:
  - {type: expect_table_columns_to_match_ordered_list, kwargs: {column_list: [text, age]}, meta: {domain: shape}}
  - {type: expect_table_columns_to_match_set, kwargs: {column_set: [text]}, meta: {domain: shape}}
  - {type: expect_table_row_count_to_be_between, kwargs: {min_value: 5}, meta: {domain: shape, severity: warning}}
  - {type: expect_column_max_to_be_between, kwargs: {column: age, max_value: 1}, meta: {domain: values}}
  - {type: expect_column_median_to_be_between, kwargs: {column: age, max_value: 1}, meta: {domain: values}}
  - {type: expect_column_mean_to_be_between, kwargs: {column: age, min_value: 1}, meta: {domain: values}}
  - {type: expect_column_most_common_value_to_be_in_set, kwargs: {column: text, value_set: [x]}, meta: {domain: values}}
  - {type: expect_column_distinct_values_to_be_in_set, kwargs: {column: text, value_set: [x]}, meta: {domain: values}}
  - {type: expect_column_values_to_be_in_set, kwargs: {column: text, value_set: [x]}, meta: {domain: values}}
  - {type: expect_column_values_to_be_unique, kwargs: {column: text}, meta: {domain: values}}
  - {type: expect_column_values_to_not_be_null, kwargs: {column: age}, meta: {domain: values}}
  - {type: expect_column_pair_values_to_be_equal, kwargs: {column_A: text, column_B: age}, meta: {domain: values}}
  - {type: expect_compound_columns_to_be_unique, kwargs: {column_list: [text, age]}, meta: {domain: values}}
  - {type: expect_column_values_to_match_regex, kwargs: {column: text, regex: "<script>alert</script>"}, meta: {domain: values}}
  - {type: expect_column_mean_to_be_between, kwargs: {column: text, max_value: 1}, meta: {domain: values}}
  - {type: expect_column_values_to_not_be_null, kwargs: {column: gone}, meta: {domain: values}}
"""


class Loads(HTMLParser):
    """Everything in a page that a browser would fetch or follow, and every script."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what fetches."""
        self.found += [f"{tag} {name}" for name, _ in attrs if name in {"src", "srcset", "action", "data"}]
        self.found += [
            f"{tag} {value}" for name, value in attrs if name == "href" and not value.startswith("#")
        ]
        if tag in {"script", "link", "iframe", "object", "embed", "base", "img"}:
            self.found.append(tag)


@pytest.fixture
def contract(tmp_path: Path) -> Contract:
    """A contract with every kind of expectation, most of which do not hold."""
    path = tmp_path / "kinds.yaml"
    path.write_text(EVERY_KIND, encoding="utf-8")
    return load_contract(path)


def page_of(contract: Contract, frame: pd.DataFrame) -> str:
    """The page about this frame."""
    return data_docs_page(contract, run_contract(contract, frame, run_name="<b>run</b>", salt=SALT)).decode()


def table() -> pd.DataFrame:
    """A table where everything is wrong."""
    return pd.DataFrame({"text": [CANARY] * 3, "age": [778801, 778899, None], CANARY: CANARY})


def test_page_loads_nothing(contract: Contract) -> None:
    """The page has no script, and neither its markup nor its styles name anything outside it."""
    page = page_of(contract, table())
    loads = Loads()
    loads.feed(page)
    assert loads.found == []
    assert re.findall(r"url\(|@import|https?:", page) == []


def test_page_holds_no_cell_value(contract: Contract) -> None:
    """Maxima, medians, common and unexpected values, foreign column names: none is on the page."""
    page = page_of(contract, table())
    assert CANARY not in page
    assert re.findall(r"778801|778899", page) == []


def test_every_expectation_is_shown(contract: Contract, caplog: pytest.LogCaptureFixture) -> None:
    """GE renders each expectation of each domain, with its figures; none makes its renderer stumble."""
    with caplog.at_level(logging.WARNING):
        page = page_of(contract, table())
    assert caplog.records == []
    assert page.count("fa-check-circle text-success") == 2
    assert page.count("fa-exclamation-triangle text-warning") == 3
    assert page.count("fa-times text-danger") == 11
    assert page.index("<h2>shape</h2>") < page.index("<h2>values</h2>")
    assert "Must have these columns in this order" in page
    assert page.count("unexpected values found") == 4
    assert "3 unexpected values found. 100% of 3 total rows." in page


def test_page_tells_the_verdict(contract: Contract) -> None:
    """Above GE's sections stand the run, the outcome of each domain, and what did not pass, with row hashes."""
    report = run_contract(contract, table(), run_name="<b>run</b>", salt=SALT)
    page = data_docs_page(contract, report).decode()
    assert "not passed" in page
    assert "<b>run</b>" not in page
    assert "&lt;b&gt;run&lt;/b&gt;/" in page
    assert '<td>shape</td><td class="fail">fail</td>' in page
    assert '<td>values</td><td class="error">error</td>' in page
    assert "<td>warning</td><td>expect_table_row_count_to_be_between</td>" in page
    hashes = [name for domain in report.domains for result in domain.results for name in result.row_hashes]
    assert hashes
    assert all(name in page for name in hashes)


def test_contract_cannot_smuggle_markup(contract: Contract) -> None:
    """A regex that is markup is shown as text."""
    assert "<script" not in page_of(contract, table())


def test_good_report_gives_a_good_page() -> None:
    """A passed contract makes a page without anything refused."""
    contract = load_contract(CONTRACTS_FOLDER / "transactions.yaml")
    frame = pd.DataFrame(
        {
            "order_id": ["T-1"],
            "customer_id": ["C-1"],
            "amount": [1.5],
            "currency": ["EUR"],
            "created_at": ["-"],
        }
    )
    page = page_of(contract, frame)
    assert "Contract transactions" in page
    assert 'class="pass">passed' in page
    assert "text-danger" not in page.split("</style>")[1]
    assert page.count("fa-check-circle text-success") == 7
