"""What a person does in the UI: sees a line, materializes it, reads its checks, looks at its pictures."""

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from platform_assets.lines.line import SPEC_FILE, SPECS_FOLDER, load_line
from resources.settings import PlatformSettings
from tests.e2e.ui_server import CHROMIUM, chromium, lineage_url, open_picture, served_ui, wait_until_ended
from tests.features.shops import sales, write_line
from tests.line_factory import SMALL_SPEC, materialize_alone

pytestmark = pytest.mark.e2e
if CHROMIUM is None:
    pytest.skip("NO CHROMIUM ON PATH: THE UI IS NOT TESTED (apt install chromium)", allow_module_level=True)

SPECS = (*sorted(SPECS_FOLDER.glob(f"*/{SPEC_FILE}")), SMALL_SPEC)
"""Every line that ships with the package, and a small one to run."""
LINE = "reviews_small"
SHAPES = "shapes"
STAGES = ("dataset", "features", "model", "validation", "version", "card", "deployment")
CHECKED = ("dataset", "validation")
# Below a certain zoom the graph shortens the assets' names; the whole line fits into this width above it.
WIDE = ViewportSize(width=3100, height=900)
RUN_SECONDS = 600  # a minute or two on a quiet machine

expect.set_options(timeout=60_000)

Look = Callable[[Path, str], AbstractContextManager[Page]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the platform's home, and of a line whose source can change shape."""
    return tmp_path_factory.mktemp("ui")


@pytest.fixture(scope="module")
def shapes(folder: Path) -> Path:
    """The spec of that line."""
    return write_line(folder, SHAPES)


@pytest.fixture(scope="module")
def ui(folder: Path, shapes: Path) -> Iterator[str]:
    """The UI of a platform that knows the lines and has never run one."""
    specs = json.dumps([str(spec) for spec in SPECS])
    with served_ui(folder / "home", "--spec", str(shapes), PLATFORM_SPECS=specs) as url:
        yield url


@pytest.fixture(scope="module")
def refused(ui: str, folder: Path, shapes: Path) -> None:
    """That line's dataset was made once; then its source lost a column, and it was refused."""
    settings = PlatformSettings(home=folder / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(settings.dagster_home))
        materialize_alone(settings, shapes, "dataset")
        sales().drop(columns="Size").to_parquet(folder / f"{SHAPES}.parquet")
        materialize_alone(settings, shapes, "dataset")


@pytest.fixture(scope="module")
def look(ui: str) -> Iterator[Look]:
    """Opens a page of the UI; if what follows fails, a picture of it is left behind."""
    with chromium() as browser:

        @contextmanager
        def look(folder: Path, url: str) -> Iterator[Page]:
            page = browser.new_page(viewport=WIDE)
            page.set_default_timeout(60_000)
            try:
                page.goto(url)
                yield page
            except BaseException as problem:
                page.screenshot(path=folder / "failure.png")
                problem.add_note(f"{page.url} looked like {folder / 'failure.png'}")
                raise
            finally:
                page.close()

        yield look


@pytest.fixture(scope="module")
def run(ui: str, look: Look, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a run that a click on "Materialize all" started, once the run has ended."""
    with look(tmp_path_factory.mktemp("run"), lineage_url(ui, LINE)) as page:
        page.get_by_role("button", name="Materialize all").click()
        page.get_by_text("View", exact=True).click()
        page.wait_for_url(re.compile("/runs/"))
        url = page.url
    # Not looked at meanwhile: drawing a run as it goes takes a core of its own.
    wait_until_ended(ui, url.rpartition("/")[2].partition("?")[0], seconds=RUN_SECONDS)
    return url


def checks_of(stage: str) -> list[str]:
    """The checks of the small line's asset, as its spec and its contract declare them."""
    rule_sets = [name.replace(".", "_") for name in load_line(SMALL_SPEC).rule_set_hashes]
    contract = [name for name in rule_sets if name.startswith("contract_")]
    gates = [name for name in rule_sets if name.startswith("gate_")]
    return {"dataset": [*contract, "schema_breaker"], "validation": gates}[stage]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.parent.name)
def test_lineage_page_shows_every_asset_of_a_line(look, ui, spec, tmp_path):
    """The page of the line's group draws its seven assets, by name."""
    line = load_line(spec).name
    with look(tmp_path, lineage_url(ui, line)) as page:
        for stage in STAGES:
            expect(page.get_by_text(f"{line}_{stage}", exact=True)).to_be_visible()


def test_materialize_all_brings_the_whole_line_to_success(look, ui, run, tmp_path):
    """A click is enough: the run succeeds, and every asset of the line is materialized."""
    with look(tmp_path, run) as page:
        expect(page.get_by_text("Success", exact=True)).to_be_visible()
    with look(tmp_path, lineage_url(ui, LINE)) as page:
        expect(page.get_by_text("Materialized", exact=True)).to_have_count(len(STAGES))
        for stage in CHECKED:
            count = len(checks_of(stage))
            expect(page.get_by_text(f"{count} / {count} Passed", exact=True)).to_be_visible()


def test_a_run_shows_what_the_training_loop_reports(look, run, tmp_path):
    """Messages of logic that knows no Dagster, logged in a step's own process, are events of the run."""
    with look(tmp_path, run) as page:
        page.get_by_placeholder("Filter…").fill("rows/s")
        expect(page.get_by_text(re.compile(r"step 20 of 20: loss \d\.\d+, \d+\.\d rows/s"))).to_be_visible()


@pytest.mark.parametrize("stage", CHECKED)
def test_checks_turn_green(look, ui, run, stage, tmp_path):
    """Every contract domain and every gate is a check that has succeeded."""
    with look(tmp_path, f"{ui}/assets/{LINE}_{stage}?view=checks") as page:
        for check in checks_of(stage):
            expect(page.get_by_title(check, exact=True).locator("..")).to_contain_text("Succeeded")


def test_a_check_is_executed_by_itself(look, ui, run, tmp_path):
    """A click judges what is published once more, and makes nothing."""
    with look(tmp_path, f"{ui}/assets/{LINE}_dataset?view=checks&checkDetail=contract_core_text") as page:
        page.locator("button", has_text=re.compile("^Execute$")).click()
        page.get_by_text("View", exact=True).click()
        page.wait_for_url(re.compile("/runs/"))
        run_id = page.url.rpartition("/")[2].partition("?")[0]
    wait_until_ended(ui, run_id, seconds=RUN_SECONDS)

    asked = f"""{{
        runOrError(runId: "{run_id}") {{ ... on Run {{ status assetSelection {{ path }} assetCheckSelection {{ name }} }} }}
        assetCheckExecutions(
            assetKey: {{path: ["{LINE}_dataset"]}}, checkName: "contract_core_text", limit: 9
        ) {{ runId status evaluation {{ success }} }}
        assetNodes {{ assetChecksOrError {{ ... on AssetChecks {{ checks {{ name canExecuteIndividually }} }} }} }}
    }}"""
    answer = graphql(ui, asked)
    made, executions = answer["runOrError"], answer["assetCheckExecutions"]
    buttons = {
        check["name"]: check["canExecuteIndividually"]
        for node in answer["assetNodes"]
        for check in node["assetChecksOrError"].get("checks") or []
    }
    assert made["status"] == "SUCCESS"
    assert not made["assetSelection"]
    assert [check["name"] for check in made["assetCheckSelection"]] == ["contract_core_text"]
    assert executions[0]["runId"] == run_id
    assert executions[0]["evaluation"]["success"]
    assert set(buttons.values()) == {"CAN_EXECUTE"}


def test_a_dataset_shows_whose_it_is_what_it_keeps_and_where_it_is_written(look, ui, run, tmp_path):
    """On one page: owner, tags, what the contract promises of columns, freshness, and its code."""
    with look(tmp_path, f"{ui}/assets/{LINE}_dataset?view=overview") as page:
        for told in ("tests", f"platform/line: {LINE}", "non-nullable", "one of 0, 1"):
            expect(page.get_by_text(told, exact=True).first).to_be_visible()
        expect(page.get_by_text("training-spec.yaml").first).to_be_visible()
        expect(page.get_by_text("Source code", exact=True)).to_be_visible()
        expect(page.get_by_role("link", name=LINE, exact=True).first).to_be_visible()


def test_an_opened_breaker_is_red(look, ui, refused, tmp_path):
    """Whoever looks at the line's graph sees that its dataset was refused, and by which check."""
    with look(tmp_path, lineage_url(ui, SHAPES)) as page:
        dataset = page.locator(f"[data-tooltip='{SHAPES}_dataset'], a[href*='{SHAPES}_dataset']").first
        expect(dataset).to_be_visible()
        expect(page.get_by_text(re.compile("Failed")).first).to_be_visible()
    with look(tmp_path, f"{ui}/assets/{SHAPES}_dataset?view=checks&checkDetail=schema_breaker") as page:
        expect(page.get_by_title("schema_breaker", exact=True).locator("..")).to_contain_text("Failed")
        expect(page.get_by_text("open", exact=True).first).to_be_visible()


def test_the_roc_picture_shows(look, ui, run, tmp_path):
    """The picture in the validation's metadata is one that the browser can draw."""
    with look(tmp_path, ui) as page:
        picture = open_picture(page, f"{ui}/assets/{LINE}_validation", "roc")
        expect(picture).to_have_attribute("src", re.compile("^data:image/png;base64,"))
        assert picture.evaluate("image => image.naturalWidth") > 0


def test_the_breaker_shows_its_state(look, ui, run, tmp_path):
    """Whoever opens the breaker's check reads whether the dataset is shut, and since when."""
    with look(tmp_path, f"{ui}/assets/{LINE}_dataset?view=checks&checkDetail=schema_breaker") as page:
        expect(page.get_by_text("closed", exact=True).first).to_be_visible()


def test_schema_changes_are_a_table_with_who_and_when(look, ui, run, tmp_path):
    """The audit table's newest rows stand in the asset's metadata: what changed, when, in whose name."""
    with look(tmp_path, f"{ui}/assets/schema_changes?view=events") as page:
        for told in ("time", "principal", "breaker_state", f"{LINE}_dataset", "added text, label, source"):
            expect(page.get_by_text(told, exact=True).first).to_be_visible()


def graphql(ui: str, query: str) -> dict[str, Any]:
    """What Dagster answers."""
    asked = urllib.request.Request(
        f"{ui}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=60) as answer:
        data: dict[str, Any] = json.load(answer)["data"]
    return data


def metadata_links(ui: str) -> dict[str, set[str]]:
    """Every URL in the metadata of the newest materialization and of the newest check of every asset, by asset."""
    entries = "metadataEntries { __typename label ... on UrlMetadataEntry { url } ... on TextMetadataEntry { text } }"
    query = f"""{{ assetNodes {{
        assetKey {{ path }}
        description
        assetMaterializations(limit: 1) {{ {entries} }}
        assetChecksOrError {{ ... on AssetChecks {{ checks {{ executionForLatestMaterialization {{ evaluation {{ {entries} }} }} }} }} }}
    }} }}"""
    nodes = graphql(ui, query)["assetNodes"]
    found: dict[str, set[str]] = {}
    for node in nodes:
        checks = node["assetChecksOrError"].get("checks") or []
        evaluations = [
            (check["executionForLatestMaterialization"] or {}).get("evaluation") for check in checks
        ]
        told = [
            entry
            for each in [*node["assetMaterializations"], *filter(None, evaluations)]
            for entry in each["metadataEntries"]
        ]
        found[node["assetKey"]["path"][0]] = {entry["url"] for entry in told if entry.get("url")}
        described = set(re.findall(r"\]\((.*?)\)", node["description"] or ""))
        assert all(url.startswith("http://127.0.0.1:") for url in described), described
        found["descriptions"] = found.get("descriptions", set()) | described
        # What is no link for a browser is not made one.
        assert not any(url.startswith(("file:", "s3:")) for url in found[node["assetKey"]["path"][0]])
    return found


def test_every_link_of_every_asset_opens(look, ui, run, tmp_path):
    """Cards, reports, Data Docs, the line's page: each is there, is what it says, and is allowed all that it needs."""
    by_asset = metadata_links(ui)
    kinds = {
        f"{LINE}_dataset": ["data-docs/"],
        f"{LINE}_validation": ["report-"],
        f"{LINE}_card": [".html", ".jsonld"],
        f"{LINE}_deployment": [f"/lines/{LINE}"],
    }
    for asset, parts in kinds.items():
        # Each execution of a check has a page of its own.
        found = [next((part for part in parts if part in url), url) for url in by_asset[asset]]
        assert set(found) == set(parts), by_asset[asset]
    assert any(url.endswith(f"/lines/{LINE}") for url in by_asset["descriptions"])
    titles = {"data-docs/": "Contract", ".html": "model card", "/lines/": LINE}
    for url in set().union(*by_asset.values()):
        with look(tmp_path, "about:blank") as page:
            complaints: list[str] = []
            page.on("console", lambda message, told=complaints: told.append(message.text))
            answer = page.goto(url)
            assert answer is not None
            assert answer.status == 200, url
            kind = next((kind for kind in titles if kind in url), None)
            if kind is None:
                assert "json" in answer.headers["content-type"]
            else:
                assert titles[kind] in page.title() or url in by_asset["descriptions"]
                sizes = page.locator("img").evaluate_all(
                    "images => Promise.all(images.map(async each => (await each.decode(), each.naturalWidth)))"
                )
                assert all(sizes), url
                family = page.locator("body").evaluate("body => getComputedStyle(body).fontFamily")
                assert "sans-serif" in family  # its styles are in force
            assert complaints == [], url


def test_a_link_in_the_ui_leads_to_the_card(look, ui, run, tmp_path):
    """As a person follows it: from the asset's page, in a tab of its own."""
    with look(tmp_path, f"{ui}/assets/{LINE}_card") as page:
        link = page.locator(f"a[href*='/objects/cards/dev/{LINE}/1/'][href$='.html']").first
        expect(link).to_be_visible()
        with page.context.expect_page() as opened:
            link.click()
        card = opened.value
        expect(card.get_by_role("heading", level=1)).to_contain_text(LINE)
        card.close()


def test_the_front_page_is_where_the_day_begins(look, ui, run, tmp_path):
    """The report server that `ui` has started tells of every line, and of the one that was run that it is healthy."""
    (page_of_line,) = metadata_links(ui)[f"{LINE}_deployment"]
    with look(tmp_path, page_of_line.partition("/lines/")[0]) as page:
        line = page.get_by_role("article", name=LINE)
        expect(line).to_contain_text("healthy")
        line.get_by_role("link", name=LINE, exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(LINE)
        expect(page.get_by_text("active", exact=True)).to_be_visible()
