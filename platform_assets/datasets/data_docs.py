"""Data Docs: the report on a contract as the page that Great Expectations (GE) makes of a validation.

GE renders a validation result that is rebuilt here from the report, so the page holds what the report
holds: counts, percents, aggregates and row hashes, never a cell value. GE's own page frame loads style
sheets, scripts and pictures from a dozen hosts; this one is a single file that opens offline.
"""

from copy import deepcopy
from typing import Any, Final

from platform_assets.datasets.contract import Contract
from platform_assets.datasets.contract_run import (
    ContractReport,
    DomainResult,
    ExpectationResult,
    great_expectations,
)

_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Contract {{ report.contract | e }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #212529; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: 0.5rem 0 1.5rem; }
th, td { border: 1px solid #dee2e6; padding: 0.3rem 0.6rem; text-align: left; vertical-align: top; }
th { background: #f1f3f5; }
h5 { font-size: 1rem; margin: 1rem 0 0; }
.badge { background: #e7ecf1; border-radius: 0.3rem; padding: 0 0.3rem; }
.pass, .text-success { color: #1a7f37; }
.fail, .text-danger { color: #b42318; }
.error, .text-warning { color: #9a6700; }
.fa-check-circle::before { content: "✓"; }
.fa-times::before { content: "✗"; }
.fa-exclamation-triangle::before { content: "!"; }
.hash { min-width: 20rem; font-family: monospace; font-size: 0.8rem; overflow-wrap: anywhere; }
.collapse, [data-toggle="collapse"] { display: none; }
</style>
</head>
<body>
<h1>Contract {{ report.contract | e }}: <span class="{{ 'pass' if report.passed else 'fail' }}">{{ "passed" if report.passed else "not passed" }}</span></h1>
<p>{{ report.rows }} rows, quality score {{ "%.3f" | format(report.quality_score) }},
GE run {{ report.ge_run_id | e }}, Great Expectations {{ ge_version }}.
Row hashes are salted: whoever has the table and the salt finds the rows again.
{% if batches %}{{ batches }} of {{ results }} expectations were judged in one pass over batches of rows, with Great Expectations as the measure.{% endif %}</p>
<table>
<thead><tr><th>Domain</th><th>Outcome</th><th>Expectations</th><th>Passed</th><th>Failed</th><th>Errors</th></tr></thead>
<tbody>
{% for domain in report.domains %}<tr><td>{{ domain.domain }}</td><td class="{{ domain.outcome }}">{{ domain.outcome }}</td>
{% for count in ("expectations", "passed", "failed", "errored") %}<td>{{ domain.counts[count] }}</td>{% endfor %}</tr>
{% endfor %}</tbody>
</table>
{% if refused %}<table>
<thead><tr><th>Domain</th><th>Severity</th><th>Expectation</th><th>Outcome</th><th>Reason</th><th>Row hashes</th></tr></thead>
<tbody>
{% for result in refused %}<tr><td>{{ result.domain }}</td><td>{{ result.severity }}</td><td>{{ result.type }}</td>
<td class="{{ result.outcome }}">{{ result.outcome }}</td><td>{{ result.reason | e }}</td>
<td class="hash">{{ result.row_hashes | join("<br>") }}</td></tr>
{% endfor %}</tbody>
</table>{% endif %}
{% for section in sections %}{% set section_loop = loop %}
{% if loop.index0 in headings %}<h2>{{ headings[loop.index0] }}</h2>{% endif %}
{% include "section.j2" %}
{% endfor %}
</body>
</html>
"""


def data_docs_key(env: str, line: str, *, content_hash: str, run_id: str) -> str:
    """The object key of the page on some rows, as the run judged them.

    Args:
        env: The environment's part of the key.
        line: The line.
        content_hash: Of the rows.
        run_id: Dagster's id of the run.
    """
    return f"reports/{env}/{line}/data-docs/{content_hash[:16]}-{run_id[:8]}.html"


def data_docs_page(contract: Contract, report: ContractReport) -> bytes:
    """One HTML page, UTF-8, that loads nothing from anywhere.

    Args:
        contract: The one that was evaluated.
        report: What `run_contract` made of it.
    """
    gx = great_expectations()
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView
    from jinja2 import ChoiceLoader, DictLoader

    headings: dict[int, str] = {}
    sections: list[Any] = []
    for domain in report.domains:
        headings[len(sections)] = domain.domain
        document = ValidationResultsPageRenderer().render(_validation(gx, contract, domain))
        # The first section is an overview, which links to pages that are not there.
        sections += document.sections[1:]
    document.sections = sections
    view = DefaultJinjaPageView()
    view.env.loader = ChoiceLoader([DictLoader({"page.j2": _PAGE}), view.env.loader])
    results = [result for domain in report.domains for result in domain.results]
    page: str = view.render(
        document,
        report=report,
        refused=[result for result in results if result.outcome != "pass"],
        headings=headings,
        results=len(results),
        batches=sum(result.engine == "batches" for result in results),
    )
    return page.encode()


def _validation(gx: Any, contract: Contract, domain: DomainResult) -> Any:
    """GE's own form of a domain's results, without a single cell value."""
    passed = domain.counts["passed"]
    return gx.core.ExpectationSuiteValidationResult(
        success=domain.outcome == "pass",
        results=[_validated(gx, contract, result) for result in domain.results],
        suite_name=domain.domain,
        statistics={
            "evaluated_expectations": len(domain.results),
            "successful_expectations": passed,
            "unsuccessful_expectations": len(domain.results) - passed,
            "success_percent": 100 * passed / len(domain.results),
        },
        meta={},
    )


def _validated(gx: Any, contract: Contract, result: ExpectationResult) -> Any:
    kwargs = contract.expectations[result.index].kwargs
    # GE's renderer wants all counts or none, and then an observed value.
    shown = (
        {"observed_value": "--" if result.observed is None else result.observed}
        if result.element_count is None
        else {
            "element_count": result.element_count,
            "unexpected_count": result.unexpected_count,
            "unexpected_percent": result.unexpected_percent or 0.0,
        }
    )
    raised = result.outcome == "error"
    return gx.core.ExpectationValidationResult(
        success=result.outcome == "pass",
        expectation_config=gx.expectations.expectation_configuration.ExpectationConfiguration(
            type=result.type, kwargs=deepcopy(dict(kwargs)), meta={}, severity=result.severity
        ),
        result=shown,
        exception_info={
            "raised_exception": raised,
            "exception_message": result.reason if raised else None,
            "exception_traceback": "" if raised else None,
        },
    )
