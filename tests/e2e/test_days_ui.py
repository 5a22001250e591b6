"""A backfill as a person starts it: partitions are chosen by clicks, the daemon runs it, and every day turns green."""

import json
import time
import urllib.request
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import dagster as dg
import pytest
from playwright.sync_api import Page, ViewportSize, expect

from platform_assets.definitions import build_definitions
from platform_assets.lines.runner import open_instance
from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings
from tests.e2e.ui_server import CHROMIUM, chromium, served_ui
from tests.features.shops import ZSCORE, declared, line_of, with_days, write_line, write_transformer

pytestmark = [pytest.mark.e2e, pytest.mark.long]
if CHROMIUM is None:
    pytest.skip("NO CHROMIUM ON PATH: THE UI IS NOT TESTED (apt install chromium)", allow_module_level=True)

FIRST, DAYS = date(2026, 1, 1), 38
DAILY: Final = "shop_z_daily"
BACKFILL_SECONDS: Final = 300
_POLL_SECONDS: Final = 1.0
_STATUSES: Final = f"""{{
    assetNodes(assetKeys: [{{path: ["{DAILY}"]}}]) {{
        assetPartitionStatuses {{ ... on TimePartitionStatuses {{ ranges {{ status startKey endKey }} }} }}
    }}
}}"""

expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The UI of a platform with a transformer that was made, and whose days were not."""
    folder = tmp_path_factory.mktemp("days")
    spec = write_line(folder, "shops")
    written = write_transformer(folder, "shop_z", {**ZSCORE, "inputSource": "asset://shops_dataset"})
    transformer = with_days(written, str(FIRST), str(FIRST + timedelta(days=DAYS - 1)))
    settings = PlatformSettings(home=folder / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(settings.dagster_home))
        _make(settings, spec, transformer)
    specs, transformers = (json.dumps([str(each)]) for each in (spec, transformer))
    with served_ui(folder / "home", PLATFORM_SPECS=specs, PLATFORM_TRANSFORMERS=transformers) as url:
        yield url


def _make(settings: PlatformSettings, spec: Path, transformer: Path) -> None:
    """The dataset and the transformer."""
    settings.dagster_home.mkdir(parents=True)
    definitions = build_definitions(
        OutsideSystems(settings), [line_of(spec)], transformers=declared(transformer)
    )
    with open_instance(settings) as instance:
        assert (
            definitions.resolve_implicit_global_asset_job_def()
            .execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey("shops_dataset"), dg.AssetKey("shop_z")],
            )
            .success
        )


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A window of the size of the pictures in the docs."""
    with chromium() as browser:
        page = browser.new_page(viewport=ViewportSize(width=1600, height=1000))
        page.set_default_timeout(60_000)
        yield page


def ranges(ui: str) -> list[dict[str, Any]]:
    """What the UI knows of the partitions that are not missing."""
    asked = urllib.request.Request(
        f"{ui}/graphql", json.dumps({"query": _STATUSES}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=60) as answer:
        (node,) = json.load(answer)["data"]["assetNodes"]
    found: list[dict[str, Any]] = node["assetPartitionStatuses"]["ranges"]
    return found


def wait_until_made(ui: str) -> None:
    """Return once no partition is being made any more, after some were."""
    deadline = time.monotonic() + BACKFILL_SECONDS
    while time.monotonic() < deadline:
        # Events come one by one, so some are made while others are being made.
        statuses = {each["status"] for each in ranges(ui)}
        if statuses and statuses <= {"MATERIALIZED", "FAILED"}:
            return
        time.sleep(_POLL_SECONDS)
    pytest.fail(f"no backfill has ended after {BACKFILL_SECONDS} s; the partitions are {ranges(ui)}")


def test_a_backfill_that_clicks_have_started_makes_every_day(ui: str, page: Page, tmp_path: Path) -> None:
    """All partitions in one run; each then shows its rows and its fingerprint."""
    last = str(FIRST + timedelta(days=DAYS - 1))
    partitions = f"{ui}/assets/{DAILY}?view=partitions"
    page.goto(partitions)
    expect(page.get_by_text(f"Missing ({DAYS})")).to_be_visible()
    page.get_by_role("button", name="Materialize…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("Backfills all partitions in a single run.")).to_be_visible()
    dialog.get_by_text("All", exact=True).click()
    dialog.get_by_role("button", name="Launch backfill").click()
    expect(dialog).to_be_hidden()
    # Not looked at meanwhile: drawing a run as it goes takes a core of its own.
    page.goto("about:blank")
    wait_until_made(ui)
    assert ranges(ui) == [{"status": "MATERIALIZED", "startKey": str(FIRST), "endKey": last}]

    page.goto(partitions)
    expect(page.get_by_text(f"Materialized ({DAYS})")).to_be_visible()
    page.get_by_text(str(FIRST + timedelta(days=30)), exact=True).first.click()
    expect(page.get_by_text("dagster/row_count", exact=True).first).to_be_visible()
    expect(page.get_by_text("features.shop_z_daily", exact=True).first).to_be_visible()
    page.screenshot(path=tmp_path / "partitions.png")
