"""A person releases a file in Dagster's UI: the job's launchpad takes what they say, and the asset shows what came of it."""

import json
import re
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
import yaml
from playwright.sync_api import Page, ViewportSize, expect

from platform_assets.datasets.quarantine import decisions
from platform_assets.datasets.quarantine_assets import asset_name, job_name
from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings
from tests.datasets.quarantine_factory import LINE, READER, file_id, held_file, publish
from tests.e2e.ui_server import CHROMIUM, chromium, open_picture, served_location, wait_until_ended
from tests.tasks.toys import write_line

pytestmark = [pytest.mark.e2e, pytest.mark.long]
if CHROMIUM is None:
    pytest.skip("NO CHROMIUM ON PATH: THE UI IS NOT TESTED (apt install chromium)", allow_module_level=True)

LOCATION = "tests.e2e.held_files_location"
RUN_SECONDS = 120

expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> OutsideSystems:
    """A platform whose line holds two files back."""
    home = tmp_path_factory.mktemp("held") / "home"
    outside = OutsideSystems(PlatformSettings(home=home, principal=READER))
    publish(outside, held_file("a", "shape.wrong"), held_file("b", verdict="reject"))
    return outside


@pytest.fixture(scope="module")
def ui(outside: OutsideSystems) -> Iterator[str]:
    """Dagster's UI on it, in the name of a reader."""
    home = outside.settings.home
    spec = write_line(home / "specs" / LINE)
    principal = {
        "PLATFORM_PRINCIPAL__USER": READER.user,
        "PLATFORM_PRINCIPAL__GROUPS": json.dumps(READER.groups),
    }
    with served_location(home, LOCATION, PLATFORM_SPECS=json.dumps([str(spec)]), **principal) as url:
        yield url


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A window."""
    with chromium() as browser:
        page = browser.new_page(viewport=ViewportSize(width=1600, height=1100))
        page.set_default_timeout(60_000)
        yield page


def launched(ui: str, page: Page, **said: str) -> str:
    """The page of the run that a click on "Launch Run" started, once it has ended."""
    asked = {"file": file_id("a")[:12], "decision": "release", "by": "Dr. Lee", "reason": "no text"} | said
    config = yaml.safe_dump({"ops": {"decide": {"config": asked}}})
    launchpad = f"{ui}/locations/__repository__@{LOCATION}/jobs/{job_name(LINE)}/playground/setup"
    page.goto(f"{launchpad}?{urlencode({'config': config})}")
    page.get_by_role("button", name="Launch Run").click()
    page.wait_for_url(re.compile("/runs/"))
    address = page.url.partition("?")[0]
    wait_until_ended(ui, address.rpartition("/")[2], seconds=RUN_SECONDS)
    page.goto(address)
    return address


def test_a_person_releases_a_file(outside: OutsideSystems, ui: str, page: Page) -> None:
    """With name and reason; the asset shows the release, and the chart of what is held."""
    launched(ui, page)
    expect(page.get_by_text("Success", exact=True)).to_be_visible()
    found = decisions(outside.ledger, LINE)[file_id("a")]
    assert (found.decision, found.by, found.role) == ("release", "Dr. Lee", "readers")
    page.goto(f"{ui}/assets/{asset_name(LINE)}")
    expect(page.get_by_text("released", exact=True).first).to_be_visible()
    expect(page.get_by_text(f"/quarantine/{LINE}").first).to_be_visible()
    picture = open_picture(page, f"{ui}/assets/{asset_name(LINE)}", "files by rule")
    assert picture.evaluate("image => image.naturalWidth") > 600


def test_wrong_input_is_told_where_it_was_given(outside: OutsideSystems, ui: str, page: Page) -> None:
    """One sentence, in the run that somebody looks at anyway."""
    launched(ui, page, file=file_id("b"))
    expect(page.get_by_text("Failure", exact=True).first).to_be_visible()
    expect(page.get_by_text(re.compile("nobody can release it")).first).to_be_visible()
    assert file_id("b") not in decisions(outside.ledger, LINE)
