"""Take the pictures of a finished line; PLATFORM_HOME says where it lies.

python -m scripts.screenshot reviews_sentiment          lineage.png, validation.png
python -m scripts.screenshot flight_delays season       season.png: the drift of many days
"""

import sys

from playwright.sync_api import Page, ViewportSize, expect

from platform_assets.references import STAGES
from resources.settings import PlatformSettings
from tests.e2e.ui_server import ROOT, chromium, lineage_url, open_picture, served_ui

IMAGES = ROOT / "docs" / "images"
# Higher, and the panel beside the graph would show paths of this machine.
VIEWPORT = ViewportSize(width=1000, height=812)
TALL = ViewportSize(width=1000, height=1320)
SCALE = 1.4
# Dagster's own preferences, by their keys in the browser's storage: a narrow column of legible nodes.
PREFERENCES = {
    "dagster-nav-collapsed": "true",
    "asset-graph-direction": '"vertical"',
    "asset-node-facets": '["checks","status","kind-tag"]',
    "defaultZoom": "0.6",  # below it the nodes lose their rows
}


def main() -> None:
    """Write what is asked for."""
    line, *asked = sys.argv[1:]
    IMAGES.mkdir(parents=True, exist_ok=True)
    with served_ui(PlatformSettings().home) as ui, chromium() as browser:
        page = browser.new_page(viewport=VIEWPORT, device_scale_factor=SCALE)
        page.add_init_script(f"Object.assign(localStorage, {PREFERENCES})")
        if asked == ["season"]:
            page.set_viewport_size(TALL)
            open_picture(page, f"{ui}/assets/{line}_drift", "KS by day")
            # What is behind it shows paths of this machine.
            page.get_by_role("dialog").screenshot(path=IMAGES / "season.png")
        else:
            _line(page, ui, line)


def _line(page: Page, ui: str, line: str) -> None:
    """Its graph, and the ROC of its validation."""
    validation = f"{line}_validation"
    # The fourth of seven assets is selected: the graph is centred on it.
    page.goto(f"{lineage_url(ui, line)}/{validation}")
    expect(page.get_by_text("Materialized", exact=True)).to_have_count(len(STAGES), timeout=60_000)
    page.get_by_role("cell", name="auc", exact=True).wait_for()
    page.wait_for_load_state("networkidle")
    page.screenshot(path=IMAGES / "lineage.png")
    open_picture(page, f"{ui}/assets/{validation}", "roc")
    page.screenshot(path=IMAGES / "validation.png")


if __name__ == "__main__":
    main()
