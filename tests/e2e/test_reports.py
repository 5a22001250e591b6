"""The report server's pages in Chromium: one line blocked, one with drift, one broken; read by rules of accessibility too."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from platform_assets.drift.segments import newest_picture_key
from platform_assets.governance.subject_columns import as_object
from platform_assets.sheets import SUFFIX
from tests.datasets.quarantine_factory import (
    LINE,
    decided,
    file_id,
    held,
    held_file,
    holding_task,
    publish,
)
from tests.e2e.ui_server import CHROMIUM, ROOT, chromium
from tests.reports.conftest import Platform, Server, serving
from tests.reports.test_sheets import PATIENTS, make_sheet
from tests.tasks.toys import write_line

pytestmark = pytest.mark.e2e
if CHROMIUM is None:
    pytest.skip(
        "NO CHROMIUM ON PATH: THE PAGES ARE NOT TESTED (apt install chromium)", allow_module_level=True
    )

AXE = Path(os.environ.get("AXE_CORE", ROOT / ".axe-core" / "axe.min.js"))
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
SHEET = f"reports/dev/credit/3/sheet-1{SUFFIX}"
PAGES = ("/", "/lines/reviews", "/lines/credit", f"/quarantine/{LINE}", f"/objects/{SHEET}", "/lines/none")
SPEC = "line: churn\ntrain_data_uri: churn.csv\nepochs: 0\n"


def drift_png() -> bytes:
    """A picture as drift assets keep it: a column that leaves its reference in the night."""
    import pyarrow as pa

    from platform_assets.drift.pictures import drift_picture

    begin = datetime(2026, 11, 29, tzinfo=UTC)
    distances = [0.07 + (0.02 * (minute % 7) / 7) + (0.25 if minute > 300 else 0) for minute in range(480)]
    rows = [
        {
            "minute": begin + timedelta(minutes=minute),
            "model_version": 3,
            "column": column,
            "window": "count",
            "in_alarm": column == "score" and minute > 300,
            "ks": ks if column == "score" else 0.07,
            "ks_lower": (ks if column == "score" else 0.07) - 0.02,
            "ks_upper": (ks if column == "score" else 0.07) + 0.02,
            "threshold": 0.14,
            "psi": ks * ks if column == "score" else 0.01,
            "psi_by_chance": 0.04,
        }
        for minute, ks in enumerate(distances)
        for column in ("score", "income")
    ]
    return drift_picture(pa.Table.from_pylist(rows), begin.date())


@contextmanager
def theirs() -> Iterator[str]:
    """The address of a page of others, by another name of this machine."""

    class Theirs(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>theirs</title>")

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Theirs) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        try:
            yield f"http://localhost:{running.server_port}/"
        finally:
            running.shutdown()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The pages of a platform in a bad night."""
    platform = Platform(tmp_path_factory.mktemp("night") / "home")
    reviews = platform.add_line("reviews", description="Whether a review praises a film.")
    credit = platform.add_line("credit", description="Whether an application for credit ends in arrears.")
    toxicity = platform.add_line("toxicity", description="Whether a comment is meant to hurt.")
    platform.release(credit, platform.register(credit, 3, sheet_key=SHEET))
    platform.put(SHEET, as_object(make_sheet(ada=[40, 90], grace=[160]).as_table(), **PATIENTS))
    platform.release(reviews, platform.register(reviews, 1))
    platform.release(toxicity, platform.register(toxicity, 8))
    platform.judge(reviews, platform.register(reviews, 2), gate_auc="fail")
    platform.drift(credit, "alarm", "confirmed")
    platform.put(newest_picture_key("dev", "credit"), drift_png())
    broken = platform.home / "specs" / "churn" / "training-spec.yaml"
    broken.parent.mkdir()
    broken.write_text(SPEC)
    platform.specs.append(broken)
    with holding_task(), serving(platform) as running:
        platform.specs.append(write_line(platform.home / "specs" / LINE))
        publish(
            platform.outside,
            held_file("left.dat", "shape.wrong", "size.small", thumbnail=drift_png()),
            held_file("right.dat", thumbnail=drift_png()),
            held_file("broken.dat", "file.unreadable", verdict="reject", thumbnail=None, name=None),
            *(held_file(f"{at}.dat", "size.small", thumbnail=drift_png()) for at in range(25)),
        )
        decided(platform.outside.ledger, held("right.dat"))
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with chromium() as browser:
        yield browser


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    """What the reader's system asks for."""
    return str(request.param)


@pytest.fixture
def page(browser: Browser, scheme: str) -> Iterator[Page]:
    """A tab."""
    page = browser.new_page(color_scheme=scheme, viewport={"width": 1200, "height": 900})
    page.complaints = []
    page.on("console", lambda message: page.complaints.append(message.text))
    yield page
    page.close()


def opened(page: Page, server: Server, path: str) -> Page:
    """The page at a path, with all its pictures."""
    page.goto(f"http://127.0.0.1:{server.port}{path}")
    page.locator("img").evaluate_all(
        "images => Promise.all(images.map(each => (each.loading = 'eager', each.decode())))"
    )
    return page


# Its rules come from npm, which not every machine has; the structure of pages is tested by rules of ours all the same.
@pytest.mark.skipif(
    not AXE.is_file(), reason="NOT CHECKED BY AXE: make axe, or AXE_CORE names its axe.min.js"
)
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing_against_wcag_aa(page: Page, server: Server, path: str) -> None:
    """Contrast, names, roles, structure, in light and dark."""
    opened(page, server, path)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate(
        "rules => axe.run(document, {runOnly: {type: 'tag', values: rules}})", RULES
    )
    assert found["passes"]
    told = [
        (each["id"], each["help"], [node["html"] for node in each["nodes"]]) for each in found["violations"]
    ]
    assert told == []


@pytest.mark.parametrize("path", PAGES[:5])
def test_the_browser_has_nothing_to_complain_of(page: Page, server: Server, path: str) -> None:
    """No style, picture or script that the server's own policy forbids, and none that is missing."""
    opened(page, server, path)
    assert page.complaints == []
    assert page.locator("main").evaluate("each => getComputedStyle(each).maxWidth") == "1152px"


@pytest.mark.parametrize("scheme", ["light"], indirect=True)
@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_is_wider_than_the_window(page: Page, server: Server, width: int) -> None:
    """On a telephone neither; a table scrolls by itself."""
    page.set_viewport_size({"width": width, "height": 800})
    for path in PAGES:
        opened(page, server, path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


@pytest.mark.parametrize("scheme", ["light"], indirect=True)
def test_the_keyboard_reaches_everything(page: Page, server: Server) -> None:
    """The first stop leads past the head of the page, and every stop shows where it is."""
    opened(page, server, "/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    stops = page.locator("a, [tabindex='0']").count()
    for _ in range(stops - 1):
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", page.evaluate("document.activeElement.outerHTML")


@pytest.mark.parametrize("scheme", ["light"], indirect=True)
def test_a_person_finds_what_waits_and_what_to_type(page: Page, server: Server) -> None:
    """From the front page to the files of one state, with thumbnails that the browser draws and the commands for each."""
    opened(page, server, "/").get_by_role("link", name=f"Quarantine of {LINE}").click()
    page.get_by_role("link", name="waiting (26)").click()
    assert page.get_by_role("img").count() == 25
    page.get_by_role("link", name="Page 2").click()
    page.get_by_role("link", name="released (1)").click()
    picture = page.get_by_role("img", name=f"Thumbnail of file {file_id('right.dat')[:12]}")
    picture.evaluate("image => image.decode()")
    assert picture.evaluate("image => image.naturalWidth") > 100
    row = page.get_by_role("row").filter(has=picture)
    assert "release by Dr. Lee" in row.inner_text()
    assert (
        f"platform-assets quarantine reject {LINE} {file_id('right.dat')[:12]} --by NAME" in row.inner_text()
    )


@pytest.mark.parametrize("scheme", ["light"], indirect=True)
def test_a_person_sees_what_errors_rest_on(page: Page, server: Server) -> None:
    """From the line's page to the images, which the browser draws; each is named by what is known of it."""
    opened(page, server, "/lines/credit").get_by_role("link", name="What its errors rest on").click()
    assert page.get_by_role("heading", level=1).inner_text() == "What it looks at"
    picture = page.get_by_role("img", name="Missed <here>: shade 40 & more")
    picture.evaluate("image => image.decode()")
    assert picture.evaluate("image => image.naturalWidth") == 8
    assert page.get_by_role("img").count() == 3


@pytest.mark.parametrize("scheme", ["light"], indirect=True)
def test_a_stored_page_runs_no_script_and_reads_nothing(page: Page, tmp_path: Path) -> None:
    """Whatever got into one: no script runs, no picture of elsewhere loads, and its styles do."""
    platform = Platform(tmp_path / "home")
    evil = (
        "<!doctype html><title>before</title><style>p { color: rgb(1, 2, 3) }</style><p>text</p>"
        "<script>document.title = 'after'</script><img src=/style.css onerror=\"document.title = 'after'\">"
        "<iframe src=/></iframe><form action=/><button>send</button></form>"
    )
    key = platform.put("reports/dev/line/1/evil.html", evil.encode())
    with serving(platform) as server:
        asked: list[str] = []
        page.on("requestfinished", lambda request: asked.append(request.url))
        page.goto(f"http://127.0.0.1:{server.port}/objects/{key}")
        page.get_by_role("button").click()
        assert page.title() == "before"
        assert page.locator("p").evaluate("each => getComputedStyle(each).color") == "rgb(1, 2, 3)"
        assert page.evaluate("window.origin") == "null"
        assert [url.partition("/objects/")[2] for url in asked] == [key]


@pytest.mark.parametrize("scheme", ["light"], indirect=True)
def test_a_page_of_others_gets_nothing(page: Page, tmp_path: Path) -> None:
    """Neither as a picture nor by asking: what this machine serves is not for any page it opens."""
    platform = Platform(tmp_path / "home")
    key = platform.put("reports/dev/line/1/roc.png", drift_png())
    with serving(platform) as server, theirs() as address_of_theirs:
        address = f"http://127.0.0.1:{server.port}/objects/{key}"
        page.goto(address_of_theirs)
        got = page.evaluate(
            """async url => {
                const image = new Image();
                const shown = new Promise(done => { image.onload = () => done(true); image.onerror = () => done(false); });
                image.src = url;
                const read = fetch(url).then(() => true, () => false);
                return [await shown, await read];
            }""",
            address,
        )
        assert got == [False, False]
