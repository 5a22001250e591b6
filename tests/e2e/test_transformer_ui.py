"""What an analyst sees of a transformer: a click on the line's job fits it, and its page shows bins and weights."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.e2e.ui_server import CHROMIUM, chromium, job_url, open_picture, served_ui, wait_until_ended

pytestmark = [pytest.mark.e2e, pytest.mark.long]
if CHROMIUM is None:
    pytest.skip("NO CHROMIUM ON PATH: THE UI IS NOT TESTED (apt install chromium)", allow_module_level=True)

LINE, TRANSFORMER = "credit_scorecard", "credit_woe"
RUN_SECONDS = 300

expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The UI of a platform that has run nothing yet."""
    with served_ui(tmp_path_factory.mktemp("ui") / "home") as url:
        yield url


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A window that is wide enough for whole tables."""
    with chromium() as browser:
        page = browser.new_page(viewport=ViewportSize(width=1900, height=1200))
        page.set_default_timeout(60_000)
        yield page


@pytest.fixture(scope="module")
def materialized(ui: str, page: Page) -> str:
    """The run that a click on the job's "Materialize all" started, once it has ended."""
    page.goto(job_url(ui, LINE))
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_text("View", exact=True).click()
    page.wait_for_url(re.compile("/runs/"))
    run_id = page.url.rpartition("/")[2].partition("?")[0]
    # Not looked at meanwhile: drawing a run as it goes takes a core of its own.
    page.goto("about:blank")
    wait_until_ended(ui, run_id, seconds=RUN_SECONDS)
    return run_id


def test_the_lines_job_fits_what_the_line_uses(ui, page, materialized):
    """One click makes the dataset, fits the transformer on it, and ends with a release."""
    page.goto(f"{ui}/runs/{materialized}")
    expect(page.get_by_text("Success", exact=True)).to_be_visible()
    page.goto(f"{ui}/assets/{TRANSFORMER}")
    expect(page.get_by_text(f"{TRANSFORMER}@v1", exact=True).first).to_be_visible()


def test_bins_are_a_table(ui, page, materialized):
    """Each bin of each column, with what it weighs."""
    page.goto(f"{ui}/assets/{TRANSFORMER}")
    expect(page.get_by_text("bins", exact=True).first).to_be_attached()
    for told in ("event_rate", "woe", "Seniority", "Home", "missing"):
        expect(page.get_by_text(told, exact=True).first).to_be_attached()


def test_weights_are_a_picture(ui, page, materialized):
    """One that the browser can draw."""
    picture = open_picture(page, f"{ui}/assets/{TRANSFORMER}", "weights")
    assert picture.evaluate("image => image.naturalWidth") > 600


def test_the_leak_gate_is_a_check_that_is_green(ui, page, materialized):
    """Whoever looks at the features sees that nothing was learnt from the rows that the model is measured on."""
    page.goto(f"{ui}/assets/{LINE}_features?view=checks")
    expect(page.get_by_title("features_no_leak", exact=True).locator("..")).to_contain_text("Succeeded")


def test_points_are_in_the_validations_metadata(ui, page, materialized, tmp_path: Path):
    """The scorecard as people read it."""
    page.goto(f"{ui}/assets/{LINE}_validation")
    expect(page.get_by_text("points", exact=True).first).to_be_visible()
