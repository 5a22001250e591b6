"""A real `platform-assets ui` and a real Chromium to look at it with."""

import json
import os
import shutil
import signal
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, sync_playwright

from resources.dagster_home import prepare_dagster_home
from resources.settings import PlatformSettings
from tests.background import Background, processes_of, started
from tests.servers import free_ports

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


@contextmanager
def served_ui(home: Path, *arguments: str, **environment: str) -> Iterator[str]:
    """The base URL of a UI on the storage in `home`, in the background of a shell.

    Afterwards it is told to end, and must leave nothing behind.

    Args:
        home: `PLATFORM_HOME`; the server's own output goes to `output.log` in it.
        arguments: further ones of the command.
        environment: further variables; no other `PLATFORM_…` and no `DAGSTER_HOME` reaches the server.

    Raises:
        RuntimeError: the server ended, or did not answer in time; the message has its output.
    """
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PLATFORM_", "DAGSTER_"))
    }
    port, reports_port = free_ports(2)
    command = [sys.executable, "-m", "platform_assets.cli", "ui", "--port", str(port)]
    command += ["--reports-port", str(reports_port), *arguments]
    variables = inherited | {"PLATFORM_HOME": str(home), "PYTHONPATH": str(ROOT)} | environment
    with started(home, command, variables) as server:
        url = f"http://127.0.0.1:{port}"
        _wait_until_served(server, url)
        yield url
        assert server.end() == 128 + signal.SIGTERM, server.told()
        assert processes_of(home) == []


@contextmanager
def served_location(home: Path, module: str, **environment: str) -> Iterator[str]:
    """The base URL of Dagster's own UI of a module of tests, on the storage in `home`.

    Args:
        home: `PLATFORM_HOME`; the server's own output goes to `output.log` in it.
        module: Holds the definitions.
        environment: Further variables; no other `PLATFORM_…` and no `DAGSTER_HOME` reaches the server.

    Raises:
        RuntimeError: as `served_ui`.
    """
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PLATFORM_", "DAGSTER_"))
    }
    [port] = free_ports(1)
    command = [sys.executable, "-m", "dagster", "dev", "-m", module, "-h", "127.0.0.1", "-p", str(port)]
    dagster_home = prepare_dagster_home(PlatformSettings(home=home))
    variables = inherited | {"PLATFORM_HOME": str(home), "DAGSTER_HOME": str(dagster_home)} | environment
    with started(home, command, variables | {"PYTHONPATH": str(ROOT)}) as server:
        url = f"http://127.0.0.1:{port}"
        _wait_until_served(server, url)
        yield url


def _wait_until_served(server: Background, url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while server.is_running() and time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(f"{url}/server_info", timeout=5):
            return
        time.sleep(_POLL_SECONDS)
    raise RuntimeError(f"no UI at {url} after {_START_SECONDS} s, or it ended:\n{server.told()}")


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


def job_url(ui: str, job: str) -> str:
    """The page with the graph of a job, from which all of it can be materialized."""
    return f"{ui}/locations/__repository__@platform_assets.definitions/jobs/{job}"


def open_picture(page: Page, asset_url: str, name: str) -> Locator:
    """The image `name` in an asset's metadata, where the UI shows Markdown only on demand."""
    page.goto(asset_url)
    row = page.get_by_role("row").filter(has=page.get_by_text(name, exact=True))
    row.get_by_text("Show Markdown").click()
    picture = page.get_by_role("dialog").get_by_role("img", name=name)
    picture.evaluate("image => image.decode()")  # waits for the picture; an error if it is none
    return picture
