"""From a tuning to production, as people go it: a run ends in staging, a radiologist signs, and somebody promotes."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml
from mlflow import MlflowClient
from playwright.sync_api import Page, ViewportSize, expect

from platform_assets.governance import release
from platform_assets.governance.review import REVIEW
from platform_assets.ledger.ledger import Ledger
from resources.settings import PlatformSettings
from tests.e2e.ui_server import CHROMIUM, chromium, open_picture, served_ui, wait_until_ended
from tests.e2e.xrays_under_control import LINE, Repository, small_line
from tests.line_factory import platform_assets

pytestmark = pytest.mark.e2e
if CHROMIUM is None:
    pytest.skip("NO CHROMIUM ON PATH: THE UI IS NOT TESTED (apt install chromium)", allow_module_level=True)

RUN_SECONDS = 120
LOCATION = "platform_assets.definitions"

expect.set_options(timeout=60_000)


@dataclass(frozen=True)
class Controlled:
    """The line after its first run."""

    home: Path
    repository: Repository
    told: str
    """By that run."""

    @property
    def settings(self) -> PlatformSettings:
        """Of its home."""
        return PlatformSettings(home=self.home)

    @property
    def ledger(self) -> Ledger:
        """Of its home."""
        return Ledger.open(self.settings.ledger_path, principal="tests")

    def does(self, *arguments: str | Path) -> str:
        """What a command says, that ends well."""
        done = self.tries(*arguments)
        assert done.returncode == 0, done.stderr
        told: str = done.stdout
        return told

    def tries(self, *arguments: str | Path) -> Any:
        """A command, ended."""
        return platform_assets(self.home, *arguments, PLATFORM_REVIEWERS=str(self.repository.reviewers))

    def signed(self, folder: Path, decision: str = "approve") -> Path:
        """The review of a radiologist whom somebody else has named, signed with a key of her own."""
        key, spec = folder / "lee.key", self.repository.spec
        public = self.does("review", "keygen", key).split("public key")[1].strip()
        lee = {
            "id": "lee",
            "name": "Dr. Amira Lee",
            "roles": ["radiologist"],
            "emails": ["lee@example.org"],
            "valid_from": "2026-01-01",
            "public_key": public,
        }
        self.repository.name_reviewers(lee)
        self.does("review", "request", LINE, folder / "request.json", "--by", "lee", "--spec", spec)
        said = ("--decision", decision, "--comment", "seen", "--out", folder / "signed.json")
        self.does("review", "sign", folder / "request.json", "--key", key, *said)
        return folder / "signed.json"


@pytest.fixture(scope="module")
def controlled(tmp_path_factory: pytest.TempPathFactory) -> Controlled:
    """The line, run once."""
    folder = tmp_path_factory.mktemp("controlled")
    repository, home = small_line(folder / "specs"), folder / "home"
    ran = platform_assets(
        home, "run", "--spec", repository.spec, PLATFORM_REVIEWERS=str(repository.reviewers)
    )
    assert ran.returncode == 0, ran.stderr
    return Controlled(home, repository, ran.stdout + ran.stderr)


@pytest.fixture(scope="module")
def ui(controlled: Controlled) -> Iterator[str]:
    """The UI on it."""
    reviewers = str(controlled.repository.reviewers)
    with served_ui(
        controlled.home, "--spec", str(controlled.repository.spec), PLATFORM_REVIEWERS=reviewers
    ) as url:
        yield url


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A window."""
    with chromium() as browser:
        page = browser.new_page(viewport=ViewportSize(width=1600, height=1100))
        page.set_default_timeout(60_000)
        yield page


def test_a_run_ends_in_staging_and_says_what_is_missing(controlled: Controlled) -> None:
    """The model is trained by the best values of two trials; nothing is in production."""
    ledger, line = controlled.ledger, LINE
    staged = release.active(ledger, line, "staging")
    assert staged is not None
    assert release.active(ledger, line) is None
    assert re.search(r"radiologist must approve", controlled.told)
    model = staged.card.registered.report.model
    assert model.tuned_by is not None
    assert set(model.tuned_by.assignment) == {"learning_rate", "dropout", "label_smoothing", "weight_decay"}
    assert {field: model.training[field] for field in model.tuned_by.assignment} == model.tuned_by.assignment
    assert controlled.ledger.latest("verdict", f"{line}_tuning@{model.tuned_by.tuning}") is not None
    plan = json.loads(controlled.does("plan", line, "--spec", controlled.repository.spec, "--json"))
    assert [each["asset"] for each in plan if each["runs"]] == []


def test_the_ui_shows_the_tuning(ui: str, page: Page) -> None:
    """Its trials, what came of them, and a picture of the history."""
    asset = f"{ui}/assets/{LINE}_tuning"
    page.goto(asset)
    expect(page.get_by_text("best_values").first).to_be_visible()
    picture = open_picture(page, asset, "history")
    assert picture.evaluate("image => image.naturalWidth") >= 600


def test_a_radiologist_signs_in_the_ui_and_somebody_promotes(
    controlled: Controlled, ui: str, page: Page, tmp_path: Path
) -> None:
    """Before that, production stays closed; after it, version 1 answers, in the ledger, in MLflow and in the UI."""
    spec = controlled.repository.spec
    act = (
        "promote",
        LINE,
        "--version",
        "1",
        "--by",
        "lee",
        "--reason",
        "as good as asked for",
        "--spec",
        spec,
    )
    refused = controlled.tries(*act)
    assert refused.returncode == 1
    assert "radiologist" in refused.stderr
    signed = controlled.signed(tmp_path)

    config = yaml.safe_dump({"ops": {"review": {"config": {"signed": signed.read_text()}}}})
    page.goto(
        f"{ui}/locations/__repository__@{LOCATION}/jobs/{LINE}_review/playground/setup?{urlencode({'config': config})}"
    )
    page.get_by_role("button", name="Launch Run").click()
    page.wait_for_url(re.compile("/runs/"))
    wait_until_ended(ui, page.url.partition("?")[0].rpartition("/")[2], seconds=RUN_SECONDS)
    [review] = controlled.ledger.entries(kind=REVIEW)
    assert review.body["statement"]["printed_name"] == "Dr. Amira Lee"

    controlled.does(*act)
    active = release.active(controlled.ledger, LINE)
    assert active is not None
    assert active.card.registered.number == 1
    client = MlflowClient(controlled.settings.resolved_tracking_uri)
    assert str(client.get_model_version_by_alias(LINE, "production").version) == "1"
    assert client.get_model_version(LINE, "1").current_stage == "Production"
    page.goto(f"{ui}/assets/{LINE}_promotions")
    expect(page.get_by_text("version 1").first).to_be_visible()
    open_picture(page, f"{ui}/assets/{LINE}_promotions", "stages over time")
    answered = json.loads(controlled.does("predict", LINE, "phantom://chest?n=1&seed=7", "--json"))
    assert answered[0]["model_version"] == 1
    told = controlled.does("history", LINE)
    assert "production" in told
