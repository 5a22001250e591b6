"""The page of what a line holds back: what it shows, to whom, and that every look is recorded before."""

from collections.abc import Iterator

import pytest

from platform_assets.datasets.quarantine_reading import ACCESS
from resources.errors import ResourceError
from resources.settings import Principal
from resources.warehouse import WarehouseError
from tests.datasets.quarantine_factory import (
    LINE,
    PNG,
    decided,
    file_id,
    held,
    held_file,
    holding_task,
    publish,
)
from tests.reports.conftest import Platform
from tests.reports.test_pages import Page
from tests.tasks.toys import write_line

PATH = f"/quarantine/{LINE}"


@pytest.fixture(scope="module", autouse=True)
def _task() -> Iterator[None]:
    """A task that holds files back."""
    with holding_task():
        yield


@pytest.fixture
def platform(platform: Platform) -> Platform:
    """A platform with a line of it."""
    platform.specs.append(write_line(platform.home / "toy"))
    return platform


def text_of(page: Page) -> str:
    """What is read, each blank once."""
    return " ".join(page.text.split())


def looks(platform: Platform) -> list[dict]:
    """Bodies of the entries about who looked."""
    return [entry.body for entry in platform.outside.ledger.entries(kind=ACCESS)]


def test_the_page_shows_files_reasons_decisions_and_commands(platform, serve):
    """With their thumbnails; what nobody can release has no command."""
    publish(
        platform.outside,
        held_file("a", "shape.wrong"),
        held_file("b", "size.small", thumbnail=None, name=None),
        held_file("c", "file.unreadable", verdict="reject"),
    )
    decided(platform.outside.ledger, held("b", "size.small"))
    server = serve()
    answer = server.ask(PATH)
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    page = Page(answer.body.decode())
    text, short = text_of(page), file_id("a")[:12]
    assert "3 files were not let into its dataset" in text
    assert "Members of readers decide" in text
    assert f"platform-assets quarantine release {LINE} {short} --by NAME --reason TEXT" in text
    assert f"platform-assets quarantine reject {LINE} {file_id('b')[:12]} --by NAME" in text
    assert "release by Dr. Lee, " in text
    assert "Nobody can release it" in text
    assert f"release {LINE} {file_id('c')[:12]}" not in text
    assert page.pictures == [
        (f"{LINE}/{file_id(name)}.png", f"Thumbnail of file {file_id(name)[:12]}") for name in ("a", "c")
    ]
    assert "script" not in page.tags
    assert page.headings == sorted(page.headings)


def test_thumbnails_are_served_and_never_kept(platform, serve):
    """As they are in the table at that moment; a look at them is none more than at their page."""
    publish(platform.outside, held_file("a"))
    server = serve()
    page = Page(server.ask(PATH).body.decode())
    [(src, _)] = page.pictures
    answer = server.ask(f"/quarantine/{src}")
    assert (answer.status, answer.body) == (200, PNG)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "no-store"
    assert [(each["act"], each["files"]) for each in looks(platform)] == [("page", [file_id("a")])]
    publish(platform.outside)
    assert server.ask(f"/quarantine/{src}").status == 404
    assert not list(platform.home.rglob("*.png"))


@pytest.mark.parametrize(
    "path",
    [
        "/quarantine/none",
        "/quarantine/plain",
        f"{PATH}?page=2",
        f"{PATH}?page=0",
        f"{PATH}?page=x",
        f"{PATH}?page=%C2%B2",
        f"{PATH}?state=all",
        f"{PATH}/{file_id('b')}.png",
        f"{PATH}/..%2f..%2fa.png",
        f"{PATH}/{file_id('a')}",
    ],
)
def test_what_is_not_there_is_told_and_leaves_no_entry(platform, serve, path):
    """A line without a quarantine, a page beyond the last, a file that is not held."""
    platform.add_line("plain")
    publish(platform.outside, held_file("a"))
    answer = serve().ask(path)
    assert answer.status == 404
    assert b"<h1>Not Found</h1>" in answer.body
    assert looks(platform) == []


def test_many_files_come_page_by_page(platform, serve, monkeypatch):
    """Each look names the files that were shown, and no other."""
    monkeypatch.setattr("platform_assets.reports.held_files.FILES_A_PAGE", 2)
    names = [f"file {at}" for at in range(5)]
    publish(platform.outside, *map(held_file, names))
    server, seen, at = serve(), [], PATH
    while at:
        page = Page(server.ask(at).body.decode())
        seen += [src for src, _ in page.pictures]
        following = [
            link for link in page.links if link.startswith(f"{LINE}?page={len(looks(platform)) + 1}")
        ]
        at = f"/quarantine/{following[0]}" if following else None
    assert sorted(seen) == sorted(f"{LINE}/{file_id(name)}.png" for name in names)
    assert [len(each["files"]) for each in looks(platform)] == [2, 2, 1]


def test_files_of_one_state_are_told_apart(platform, serve):
    """The link of each state leads to those alone."""
    publish(platform.outside, held_file("a"), held_file("b"))
    decided(platform.outside.ledger, held("b"), "reject")
    page = Page(serve().ask(f"{PATH}?state=rejected").body.decode())
    assert f"{LINE}?state=waiting" in page.links
    assert [src for src, _ in page.pictures] == [f"{LINE}/{file_id('b')}.png"]
    assert looks(platform)[0]["files"] == [file_id("b")]


def test_what_files_are_called_is_escaped(platform, serve):
    """Names, rules and reasons are other people's texts."""
    evil = "<script>alert(1)</script>"
    publish(platform.outside, held_file("a", name=evil))
    decided(platform.outside.ledger, held("a"), reason=evil)
    page = Page(serve().ask(PATH).body.decode())
    assert "script" not in page.tags
    assert page.text.count(evil) == 2


def test_whoever_the_policy_keeps_out_sees_nothing(platform, serve):
    """Neither page nor picture; both are counted, and no entry says that somebody looked."""
    publish(platform.outside, held_file("a"))
    settings = platform.outside.settings
    platform.outside.settings = settings.model_copy(
        update={"principal": Principal(user="eve", consent=False)}
    )
    server = serve()
    for path in (PATH, f"{PATH}/{file_id('a')}.png"):
        answer = server.ask(path)
        assert answer.status == 403
        assert file_id("a")[:12].encode() not in answer.body
    assert looks(platform) == []
    log = (settings.denials_path / "open.jsonl").read_text()
    assert log.count(f"/datasets/dev/{LINE}/quarantine") == 2


def test_what_cannot_be_recorded_is_not_shown(platform, serve, monkeypatch):
    """A ledger that takes no entry keeps the page shut."""
    publish(platform.outside, held_file("a"))

    def full(*_, **__):
        raise ResourceError("the disk is full")

    monkeypatch.setattr(platform.outside.ledger, "append", full)
    answer = serve().ask(PATH)
    assert answer.status == 503
    assert file_id("a")[:12].encode() not in answer.body


def test_a_table_that_cannot_be_read_is_told(platform, serve, monkeypatch):
    """The front page comes all the same."""

    def away(*_):
        raise WarehouseError("the catalogue is away")

    monkeypatch.setattr(platform.outside.warehouse, "current", away)
    server = serve()
    assert "quarantine not read: the catalogue is away" in text_of(Page(server.ask("/").body.decode()))
    assert server.ask(PATH).status == 503


def test_the_front_page_tells_that_files_wait(platform, serve):
    """With the way there; once all are decided on it tells no more. To be counted is not to be looked at."""
    publish(platform.outside, held_file("a"), held_file("b"))
    server = serve()
    page = Page(server.ask("/").body.decode())
    assert "2 files wait: Somebody has to let them in, or keep them out." in text_of(page)
    assert PATH.lstrip("/") in page.links
    assert f"..{PATH}" in Page(server.ask(f"/lines/{LINE}").body.decode()).links
    for name in "ab":
        decided(platform.outside.ledger, held(name), "reject")
    assert "file waits" not in text_of(Page(server.ask("/").body.decode()))
    assert looks(platform) == []


def test_an_empty_quarantine_says_so(platform, serve):
    """Before the first materialization, and where nothing is held."""
    server = serve()
    assert "Nothing was ever held" in text_of(Page(server.ask(PATH).body.decode()))
    publish(platform.outside)
    assert "No file is held." in text_of(Page(server.ask(PATH).body.decode()))
    assert looks(platform) == []
