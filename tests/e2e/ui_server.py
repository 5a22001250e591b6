"""A real `platform-assets ui` and a real Chromium to look at it with."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",  # containers and CI run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_START_SECONDS = 120
_POLL_SECONDS = 0.3
_STOP_SECONDS = 20


@contextmanager
def served_ui(home: Path, **environment: str) -> Iterator[str]:
    """The base URL of a UI on the storage in `home`; nothing of it is left running afterwards.

    Args:
        home: `PLATFORM_HOME`; the server's own output goes to `ui.log` in it.
        environment: further variables; no other `PLATFORM_…` and no `DAGSTER_HOME` reaches the server.

    Raises:
        RuntimeError: the server ended, or did not answer in time; the message has its output.
    """
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PLATFORM_", "DAGSTER_"))
    }
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    home.mkdir(parents=True, exist_ok=True)
    log = home / "ui.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "platform_assets.cli", "ui", "--port", str(port)],
            cwd=ROOT,
            env=inherited | {"PLATFORM_HOME": str(home)} | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_served(server, url, log)
        yield url
    finally:
        _end_group(server)


def _wait_until_served(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(f"{url}/server_info", timeout=5):
            return
        with suppress(subprocess.TimeoutExpired):
            server.wait(_POLL_SECONDS)
            break
    raise RuntimeError(
        f"no UI at {url} after {_START_SECONDS} s, or it ended:\n{log.read_text(errors='replace')}"
    )


def _end_group(server: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        server.wait(_STOP_SECONDS)
    # Webserver, daemon, code server and run workers outlive the process that started them.
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


@contextmanager
def chromium() -> Iterator[Browser]:
    """The distribution's own Chromium: Playwright downloads none."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_CHROMIUM_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def wait_until_ended(ui: str, run_id: str, *, seconds: float) -> None:
    """Return once a run has ended, however it did.

    Raises:
        TimeoutError: it has not by then.
    """
    query = {"query": f'{{ runOrError(runId: "{run_id}") {{ ... on Run {{ endTime }} }} }}'}
    asked = urllib.request.Request(
        f"{ui}/graphql", json.dumps(query).encode(), {"Content-Type": "application/json"}
    )
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            if json.load(answer)["data"]["runOrError"].get("endTime"):
                return
        time.sleep(_POLL_SECONDS)
    raise TimeoutError(f"run {run_id} has not ended after {seconds} s")


def lineage_url(ui: str, line: str) -> str:
    """The page with the graph of a line's assets; the global lineage page shows groups only."""
    return f"{ui}/locations/__repository__@platform_assets.definitions/asset-groups/{line}/lineage"


def open_picture(page: Page, asset_url: str, name: str) -> Locator:
    """The image `name` in an asset's metadata, where the UI shows Markdown only on demand."""
    page.goto(asset_url)
    row = page.get_by_role("row").filter(has=page.get_by_text(name, exact=True))
    row.get_by_text("Show Markdown").click()
    picture = page.get_by_role("dialog").get_by_role("img", name=name)
    picture.evaluate("image => image.decode()")  # waits for the picture; an error if it is none
    return picture
