"""The front page and a line's page: what an operator reads in the morning, whatever state the lines are in."""

import re
import sqlite3
from datetime import UTC, datetime
from html.parser import HTMLParser
from urllib.parse import urljoin

import pytest

from platform_assets.datasets.schema_breaker import Circumstances, trip
from platform_assets.governance import release as releases
from platform_assets.reports.overview import Overviews
from resources.object_store import ObjectStoreError

CIRCUMSTANCES = Circumstances(
    contract_hash="1", contract_commit="c0ffee", dagster_run_id="run-1", is_later_than=lambda _: False
)


class Page(HTMLParser):
    """A page as a reader takes it: texts, links, pictures, headings."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links, self.pictures, self.tags, self.headings = [], [], [], []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        """Takes note of what begins."""
        self.text += " " if tag in ("br", "td", "th", "dt", "dd") else ""
        given = dict(attributes)
        self.tags.append(tag)
        if tag == "a":
            self.links.append(given["href"])
        if tag == "img":
            self.pictures.append((given["src"], given.get("alt", "")))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_data(self, data):
        """Adds what is read."""
        self.text += data


@pytest.fixture
def look(serve):
    """The page at a path, and its status."""

    def look(path="/", status=200):
        answer = serve().ask(path)
        assert answer.status == status
        return Page(answer.body.decode())

    return look


def section(page, name):
    """What the front page says from a line's heading on."""
    return " ".join(page.text.partition(f"\n{name}\n")[2].split())


def test_a_platform_without_lines(platform):
    """There is nothing to be told of it, which is no error."""
    overview = platform.overviews(fresh_seconds=9).current()
    assert overview.ledger.entries == 0
    assert overview.ledger.problem is None


def test_one_line_blocked_and_one_with_drift(platform, look):
    """Each with its state and why, its release and version, its data; those that need somebody come first."""
    sound, blocked, drifting = (platform.add_line(name) for name in ("c_sound", "a_blocked", "b_drifting"))
    for line in (sound, drifting):
        platform.release(line, platform.register(line, 3))
    released = platform.release(blocked, platform.register(blocked, 1))
    platform.judge(blocked, platform.register(blocked, 2), gate_auc="fail")
    platform.drift(drifting, "alarm", "confirmed")
    page = look()
    assert "2 of 3 need somebody; 1 open alarm." in " ".join(page.text.split())
    text = section(page, "a_blocked")
    assert (
        "blocked: Version 2: gate.auc on a_blocked_model@222222222222…: failed (observed 0.5, demanded > 0.55)"
        in text
    )
    assert f"version 1, {released.release_id} since 20" in text
    assert "Newest version 2 of 20" in text
    assert "Test AUC 0.9412" in text
    assert "drift confirmed: score since 20" in section(page, "b_drifting")
    assert "healthy" in section(page, "c_sound")
    order = [page.text.index(f"\n{name}\n") for name in ("a_blocked", "b_drifting", "c_sound")]
    assert order == sorted(order)


def test_every_link_and_picture_opens(platform, serve):
    """Of both kinds of pages: cards, reports, Data Docs, pictures; from where they stand."""
    line = platform.add_line("first")
    platform.release(line, platform.register(line))
    platform.drift(line, "alarm")
    server, seen = serve(), {"/": None}
    todo = ["/"]
    while todo:
        at = todo.pop()
        answer = server.ask(at)
        assert answer.status == 200, at
        if at.startswith("/objects/"):
            continue
        page = Page(answer.body.decode())
        for link in [*page.links, *(source for source, _ in page.pictures)]:
            target = _resolved(at, link)
            if not link.startswith("#") and target not in seen:
                seen[target] = at
                todo.append(target)
    objects = {path.rpartition("/")[2] for path in seen if path.startswith("/objects/")}
    docs = {name for name in objects if re.fullmatch(r"[0-9a-f]{16}-0d8968b7\.html", name)}
    assert len(docs) == 1
    assert objects - docs == {
        "card-1.html",
        "report-1.json",
        "roc.png",
        "calibration.png",
        "score-distribution.png",
        "drift.png",
    }
    assert "/lines/first" in seen


def test_a_line_leads_to_the_images_of_its_errors(platform, serve):
    """Where its newest version has a sheet; where it has none nothing is said."""
    line = platform.add_line("first")
    platform.register(line)
    server = serve()
    assert "What its errors rest on" not in server.ask("/lines/first").body.decode()
    platform.register(line, 2, sheet_key="reports/dev/first/2/sheet-1.sheet")
    page = Page(server.ask("/lines/first").body.decode())
    assert "../objects/reports/dev/first/2/sheet-1.sheet" in page.links


def _resolved(at, link):
    return urljoin(f"http://h{at}", link).removeprefix("http://h")


def test_a_broken_line_shows_its_problem(platform, look):
    """With file and field, beside the lines that are sound."""
    platform.add_line("sound")
    (platform.specs[0].parent.parent / "broken").mkdir()
    spec = platform.specs[0].parent.parent / "broken" / "training-spec.yaml"
    spec.write_text(platform.specs[0].read_text().replace("line: sound", "line: hasty\nepochs: 0"))
    platform.specs.append(spec)
    page = look()
    assert "Broken lines" in page.text
    assert "Input should be greater than or equal to 1" in page.text
    assert "hasty" in page.text
    assert "sound" in page.text
    assert "broken" in look("/lines/hasty", status=404).text


def test_an_open_breaker_shows(platform, look):
    """With what opened it."""
    line = platform.add_line("first")
    platform.release(line, platform.register(line))
    trip(platform.outside.ledger, "first_dataset", "the file is no table", CIRCUMSTANCES)
    assert "breaker open: the file is no table" in section(look(), "first")


def test_a_pinned_line_shows_by_whom_and_why(platform, look):
    """It stays where it is until somebody lets go."""
    line = platform.add_line("first")
    release = platform.release(line, platform.register(line), pin=True)
    text = section(look(), "first")
    assert (
        f"pinned: To release {release.release_id} by {platform.outside.principal}: materialized in run 1"
        in text
    )


def test_a_contract_that_refused_the_newest_rows_shows(platform, look):
    """Also where the last published version is still served."""
    line = platform.add_line("first")
    platform.release(line, platform.register(line))
    later = platform.register(line, 2)
    platform.judge(line, later, contract_core_text="fail")
    assert "The contract has refused the newest rows" in section(look(), "first")


def test_a_check_by_itself_does_not_hide_what_the_contract_refused(platform, look):
    """Neither one of the published rows, where newer ones were refused; nor another one of the refused rows."""
    line = platform.add_line("first")
    published, later = platform.register(line), platform.register(line, 2)
    platform.release(line, published)
    platform.judge(line, later, contract_core_text="fail")
    platform.judge_alone(line, published, "contract.core_text")
    platform.judge_alone(line, later, "contract.schema")
    assert "The contract has refused the newest rows" in section(look(), "first")

    platform.judge_alone(line, later, "contract.core_text")
    assert "The contract has refused" not in section(look(), "first")


def test_a_check_by_itself_can_show_that_the_contract_refuses(platform, look):
    """A rule that was made stricter; the page of Data Docs stays that of all rules, which the materialization has made."""
    line = platform.add_line("first")
    registered = platform.register(line)
    platform.release(line, registered)
    docs = platform.overviews().current().line("first").docs_key
    platform.judge_alone(line, registered, "contract.core_text", "fail")
    platform.judge_alone(line, registered, "contract.schema")
    assert "The contract has refused the newest rows" in section(look(), "first")
    assert platform.overviews().current().line("first").docs_key == docs


def test_a_line_that_was_never_run_says_how(platform, look):
    """It is not healthy, and nothing is wrong with it."""
    platform.add_line("first")
    assert "It was never run: platform-assets run first" in section(look(), "first")
    assert "None was ever activated." in look("/lines/first").text


def test_a_damaged_ledger_blocks_every_line(platform, look, monkeypatch):
    """Nothing in it counts, and the page says so first."""
    line = platform.add_line("first")
    platform.release(line, platform.register(line))
    with sqlite3.connect(platform.outside.settings.ledger_path) as database:
        (last,) = database.execute("SELECT max(seq) FROM entries").fetchone()
        triggers = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            database.execute(f"DROP TRIGGER {name}")
        database.execute("DELETE FROM entries WHERE seq = ?", (last - 5,))
    page = look()
    assert "The ledger is damaged." in page.text
    assert "blocked" in section(page, "first")


def test_a_ledger_that_cannot_be_read_is_told_as_such(platform, serve):
    """503 and a sentence."""
    platform.add_line("first")
    server = serve()
    path = platform.outside.settings.ledger_path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"this is no database" * 100)
    answer = server.ask("/")
    assert answer.status == 503
    assert b"Traceback" not in answer.body


def test_texts_of_others_are_escaped(platform, serve):
    """Descriptions, owners, reasons, column names: whoever writes them writes no HTML here."""
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'>&"
    line = platform.add_line(
        "first", description=evil, card={"owner": evil, "intended_use": "x", "limitations": "x"}
    )
    platform.release(line, platform.register(line))
    platform.drift(line, "alarm", column=evil)
    trip(platform.outside.ledger, "first_dataset", evil, CIRCUMSTANCES)
    server = serve()
    for path in ("/", "/lines/first"):
        html = server.ask(path).body.decode()
        page = Page(html)
        assert evil in page.text
        assert "script" not in page.tags
        assert all("onerror" not in source for source, _ in page.pictures)
        assert "<script" not in html


def test_a_broken_specs_text_is_escaped(platform, serve):
    """It is somebody's file."""
    spec = platform.home / "specs" / "x" / "training-spec.yaml"
    spec.parent.mkdir(parents=True)
    spec.write_text("line: '<script>alert(1)</script>'\n")
    platform.specs.append(spec)
    html = serve().ask("/").body.decode()
    assert "&lt;script&gt;" in html
    assert "<script" not in html


def test_nothing_of_a_path_is_written_into_a_page(serve):
    """Whoever sends a link cannot make the server say something."""
    answer = serve().ask("/%3Cscript%3Ealert(1)%3C/script%3E")
    assert answer.status == 404
    assert b"alert" not in answer.body


def test_pages_can_be_found_ones_way_in(platform, serve):
    """Language, title, landmarks, one h1, no heading skipped, every picture told, every table headed."""
    line = platform.add_line("first")
    platform.release(line, platform.register(line))
    platform.drift(line, "alarm")
    server = serve()
    for path in ("/", "/lines/first", "/nothing"):
        html = server.ask(path).body.decode()
        page = Page(html)
        assert '<html lang="en">' in html
        assert re.search("<title>[^<]+</title>", html)
        assert {"main", "header", "nav"} <= set(page.tags)
        assert page.headings.count(1) == 1
        assert all(
            after - before <= 1 for before, after in zip(page.headings, page.headings[1:], strict=False)
        )
        assert all(alternative for _, alternative in page.pictures)
        assert html.count("<th scope=") == page.tags.count("th")
        assert "<script" not in html


def test_one_reading_serves_everybody_for_a_while(platform):
    """However many look, the ledger is read every few seconds."""
    line = platform.add_line("first")
    slow, eager = platform.overviews(fresh_seconds=600), platform.overviews()
    before = slow.current()
    platform.release(line, platform.register(line))
    assert slow.current() is before
    assert eager.current().line("first").active is not None


def test_an_object_store_that_is_away_is_waited_for_once(platform, monkeypatch):
    """And not for each line."""
    for name in ("first", "second"):
        line = platform.add_line(name)
        platform.release(line, platform.register(line))
    asked = []

    def fail(key):
        asked.append(key)
        raise ObjectStoreError("the bucket is away")

    monkeypatch.setattr(platform.outside.object_store, "list", fail)
    overview = Overviews(platform.outside, platform.overviews()._load).current()
    assert overview.store_problem == "the bucket is away"
    assert len(asked) == 1
    assert all(each.card_key for each in overview.lines)  # the ledger knows that of the release


def test_releases_show_which_is_active(platform, look):
    """Also one that somebody has gone back to, with when, by whom and why."""
    line = platform.add_line("first")
    first = platform.release(line, platform.register(line, 1))
    platform.release(line, platform.register(line, 2))
    releases.activate(
        platform.outside.ledger,
        "first",
        first.release_id,
        reason="rollback to it",
        requirements=line.demands.of(first.card.registered.report.model),
        pin=True,
        now=datetime.now(UTC),
    )
    text = " ".join(look("/lines/first").text.split())
    assert f"{first.release_id} active 1 20" in text
    assert text.count(" active ") == 1
    assert "rollback to it" in text
