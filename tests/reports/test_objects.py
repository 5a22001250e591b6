"""Stored objects over HTTP: what the policy lets through, as what, and nothing by any other name."""

import random
import socket
from contextlib import ExitStack

import pytest

from platform_assets.outside_systems import OutsideSystems
from platform_assets.reports.openable import openable_key
from resources.object_store import ObjectStoreError
from resources.outages import OutageError
from resources.policed_object_store import PolicedObjectStore
from resources.policy_engine import RegoEngine
from resources.s3_object_store import S3ObjectStore
from resources.settings import PlatformSettings, Principal
from tests.reports.conftest import PNG, Platform, serving
from tests.servers import free_ports

CARD = "cards/dev/line/1/card-1.html"
PAGE = b"<!doctype html><title>a card</title>"
OUTSIDE = b"what nobody may see"


def with_objects(platform):
    """A card, and what is beside it but not for anybody's eyes."""
    platform.put(CARD, PAGE, "public")
    platform.put("reports/dev/line/1/scores.parquet", OUTSIDE)
    platform.put("models/dev/line/1/config.json", OUTSIDE)
    platform.put("reports/prod/line/1/report.json", OUTSIDE)
    platform.put("reports/dev/line/1/secret.html", OUTSIDE, "sensitive")
    (platform.home / "objects" / "outside.html").write_bytes(OUTSIDE)
    (platform.home / "outside.html").write_bytes(OUTSIDE)
    return platform


@pytest.fixture
def stored(platform):
    """A platform with these objects."""
    return with_objects(platform)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server of such a platform, for tests that only ask; it has a name besides this machine's."""
    platform = with_objects(Platform(tmp_path_factory.mktemp("shared") / "home"))
    with serving(platform, names=frozenset({"reports.example.org"})) as server:
        yield server


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("page.html", "text/html; charset=utf-8"),
        ("roc.png", "image/png"),
        ("report.json", "application/json"),
        ("card.jsonld", "application/ld+json"),
    ],
)
def test_what_people_open_comes_as_what_it_is(platform, serve, name, media_type):
    """Pages, pictures and documents, byte for byte."""
    platform.put(f"reports/dev/line/1/{name}", PNG)
    answer = serve().ask(f"/objects/reports/dev/line/1/{name}")
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, media_type, PNG)


def test_a_stored_page_runs_nothing_and_loads_nothing(server):
    """Its styles and pictures are within it; scripts, other origins, frames and forms are forbidden."""
    headers = server.ask(f"/objects/{CARD}").headers
    policy = {part.split()[0]: part.split()[1:] for part in headers["content-security-policy"].split("; ")}
    assert policy == {
        "default-src": ["'none'"],
        "style-src": ["'unsafe-inline'"],
        "img-src": ["data:"],
        "sandbox": [],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize(
    "path", [f"/objects/{CARD}", "/", "/objects/cards/dev/none.html", "/lines/none", "/x"]
)
def test_every_answer_carries_the_headers(server, path):
    """Also those that tell of a problem."""
    headers = server.ask(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["cache-control"].startswith("private")


def test_head_is_get_without_the_body(server):
    """The same status and headers."""
    got, head = server.ask(f"/objects/{CARD}"), server.ask(f"/objects/{CARD}", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    for name in ("content-type", "content-length", "etag", "content-security-policy"):
        assert head.headers[name] == got.headers[name]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ["/", f"/objects/{CARD}"])
def test_nothing_is_ever_changed(server, method, path):
    """Every other method is refused, and told which there are."""
    answer = server.ask(path, method=method)
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD"


def test_a_copy_is_shown_again_only_once_the_policy_was_asked(serve, stored):
    """What is known already is not sent again; what has become sensitive is refused, copy or not."""
    server = serve()
    etag = server.ask(f"/objects/{CARD}").headers["etag"]
    again = server.ask(f"/objects/{CARD}", If_None_Match=etag)
    assert (again.status, again.body) == (304, b"")
    stored.put(CARD, PAGE, "sensitive")
    assert server.ask(f"/objects/{CARD}", If_None_Match=etag).status == 403


@pytest.mark.parametrize(
    ("principal", "reason"),
    [
        ({"groups": ()}, "group"),
        ({"consent": False}, "consent"),
        ({"labels": {"env": "prod"}}, "label env"),
    ],
)
def test_what_the_policy_refuses_is_refused_in_a_sentence(stored, serve, principal, reason):
    """With the policy's own reason, and nothing of the object."""
    settings = PlatformSettings(home=stored.home, principal=Principal.model_validate(principal))
    answer = serve(store=OutsideSystems(settings).object_store).ask(f"/objects/{CARD}")
    assert answer.status == 403
    assert reason in answer.body.decode()
    assert b"a card" not in answer.body


def test_sensitive_objects_are_for_the_privacy_group_alone(stored, serve):
    """Engineers are refused, whatever else they may read."""
    key = "reports/dev/line/1/secret.html"
    assert serve().ask(f"/objects/{key}").status == 403
    settings = PlatformSettings(home=stored.home, principal=Principal(groups=("privacy",)))
    answer = serve(store=OutsideSystems(settings).object_store).ask(f"/objects/{key}")
    assert (answer.status, answer.body) == (200, OUTSIDE)


def test_whoever_may_not_look_does_not_learn_what_is_there(stored, serve):
    """In another environment a missing object is refused like one that is there."""
    server = serve()
    there, missing = (server.ask(f"/objects/reports/prod/line/1/{name}.json") for name in ("report", "none"))
    assert (there.status, missing.status) == (403, 403)
    assert OUTSIDE not in there.body


def test_what_is_not_there_is_unknown(server):
    """As are kinds of files that nobody opens, files of models, and folders."""
    for path in (
        "cards/dev/line/1/none.html",
        "reports/dev/line/1/scores.parquet",
        "models/dev/line/1/config.json",
        "cards/dev/line/1",
        "cards/dev/line/1/",
        "cards",
        "",
    ):
        answer = server.ask(f"/objects/{path}")
        assert answer.status == 404, path
        assert OUTSIDE not in answer.body


TRICKS = [
    "/objects/../outside.html",
    "/objects/cards/../../outside.html",
    "/objects/cards/dev/line/1/../1/card-1.html",
    "/objects/./cards/dev/line/1/card-1.html",
    "/objects//cards/dev/line/1/card-1.html",
    "/objects/cards//dev/line/1/card-1.html",
    "/objects/cards%2Fdev%2Fline%2F1%2Fcard-1.html",
    "/objects/cards/dev/line/1/%63ard-1.html",
    "/objects/cards/dev/%2e%2e/dev/line/1/card-1.html",
    "/objects/%2e%2e%2f%2e%2e%2foutside.html",
    "/objects/..%5c..%5coutside.html",
    "/objects/cards\\dev\\line\\1\\card-1.html",
    "/objects/cards/dev/line/1/card-1.html%00.png",
    "/objects/cards/dev/line/1/card-1.html\x00",
    "/objects/cards/dev/line/1/card-1.html;a=b",
    "/objects/cards/dev/line/1/card-1.html/",
    "/objects/cards/dev/line/1/card-1.html/x.html",
    "/objects/CARDS/dev/line/1/card-1.html",
    "/objects/cards/dev/line/1/.card-1.html.pending",
    "/objects/cards/dev/line/1/\xe4.html",
    "/objects/cards/" + "a" * 201 + "/x.html",
    "/objects/cards/" + "a/" * 400 + "x.html",
    "/objects/cards/" + "a" * 70_000 + ".html",
    "/%6fbjects/cards/dev/line/1/card-1.html",
    "/objects%2fcards/dev/line/1/card-1.html",
    "//objects/cards/dev/line/1/card-1.html",
    "/lines/../objects/cards/dev/line/1/card-1.html",
    "/lines/%2e%2e%2fobjects",
    "*",
    "/style.css/../../overview.py",
]


@pytest.mark.parametrize("path", TRICKS, ids=range(len(TRICKS)))
def test_no_other_way_leads_to_an_object(server, path):
    """A key stands in a path as it is, and whoever writes it in another way is not understood."""
    answer = server.ask(path)
    assert answer.status in (400, 404), (path, answer)
    assert PAGE not in answer.body
    assert OUTSIDE not in answer.body


def test_a_query_changes_nothing(server):
    """It is no part of the path."""
    assert server.ask(f"/objects/{CARD}?x=../../y").body == PAGE


PIECES = [
    *("cards", "dev", "line", "1", "card-1.html", "reports", "models", "secret.html", "objects", "outside.html"),
    *("..", ".", "", "...", "~", "%2e%2e", "%2E.", "%2f", "%5c", "\\", "%00", "\x00", "%", "%zz", "%c0%af", ";", "@", "+"),
    *("\xff", "\t", " ", "a" * 255, "a" * 9000, "C:", "file:", "http:", "?", "#", "&", "'", '"', "<b>", "{}", "|", "..;"),
]  # fmt: skip


def fuzzed(numbers: random.Random) -> str:
    """A path made of pieces of good ones and bad ones."""
    begin = numbers.choice(["/objects/", "/objects", "/lines/", "/", "", "/objects/cards/dev/line/1/"])
    pieces = numbers.choices(PIECES, k=numbers.randint(0, 9))
    return begin + numbers.choice(["/", "/", "/", "%2f", "\\", ""]).join(pieces)


def fuzz(server, count: int) -> None:
    """Asks for so many paths; none may be an error of ours, or lead to what nobody may see."""
    numbers = random.Random(count)
    for number in range(count):
        path = fuzzed(numbers)
        answer = server.ask(path, method=numbers.choice(["GET", "GET", "HEAD"]))
        assert answer.status < 500, (number, path, answer)
        assert OUTSIDE not in answer.body, (number, path)
        if PAGE in answer.body:
            assert path.partition("?")[0] == f"/objects/{CARD}", (number, path)


def test_no_path_gets_at_anything(server):
    """500 of them."""
    fuzz(server, 500)


@pytest.mark.long
def test_no_path_of_ten_thousand_gets_at_anything(server):
    """10,000 of them."""
    fuzz(server, 10_000)


def test_a_key_of_every_character_that_keys_have_is_openable():
    """What the store lets somebody put, a link leads to."""
    key = "reports/dev/a.b_c+d@e=f-g/1/x.html"
    assert openable_key(key) == key


def test_an_object_that_is_too_large_is_not_read(platform, serve):
    """It is refused by what its metadata say."""
    platform.put("reports/dev/line/1/large.json", b" " * ((16 << 20) + 1))
    answer = serve().ask("/objects/reports/dev/line/1/large.json")
    assert answer.status == 413
    assert len(answer.body) < 10_000


def test_whoever_does_not_read_holds_up_nobody_for_long(platform, serve):
    """So many objects are in memory at once; of those who do not take theirs, none keeps its place."""
    large = b" " * (15 << 20)
    platform.put("reports/dev/line/1/large.json", large)
    server = serve(send_seconds=1.0)
    request = b"GET /objects/reports/dev/line/1/large.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(9):
            idle = stack.enter_context(socket.socket())
            idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            idle.connect(("127.0.0.1", server.port))
            idle.sendall(request)
        assert server.ask("/objects/reports/dev/line/1/large.json").body == large


def test_a_damaged_object_is_not_shown(stored, serve):
    """Its bytes are checked before the first is sent."""
    server = serve()
    (stored.home / "objects" / "data" / CARD).write_bytes(b"<script>forged</script>")
    answer = server.ask(f"/objects/{CARD}")
    assert answer.status == 503
    assert b"damaged" in answer.body
    assert b"forged" not in answer.body


def test_a_store_that_is_away_is_told_as_such(stored, serve, monkeypatch):
    """503 and a sentence; the front page still shows the lines."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nobody")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    (port,) = free_ports(1)
    nowhere = S3ObjectStore(
        "s3://nowhere", endpoint=f"http://127.0.0.1:{port}", region="us-east-1", cache=stored.home / "cache"
    )
    settings = stored.outside.settings
    store = PolicedObjectStore(nowhere, RegoEngine(), settings.principal, on_denial=lambda *_: None)
    line = stored.add_line("first")
    stored.release(line, stored.register(line))
    stored.outside.__dict__["object_store"] = store
    server = serve()
    answer = server.ask(f"/objects/{CARD}")
    assert answer.status == 503
    assert b"s3://nowhere" in answer.body
    front = server.ask("/")
    assert front.status == 200
    assert b"first" in front.body
    assert b"Object store:" in front.body


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (ObjectStoreError("the bucket is away"), 503),
        (OutageError("the object store does not answer"), 503),
        (PermissionError(13, "Permission denied"), 503),
        (RuntimeError("a secret of the insides"), 500),
    ],
)
def test_errors_are_told_in_a_sentence(stored, serve, monkeypatch, problem, status):
    """A bug without its message, which may quote anything."""

    def fail(_key):
        raise problem

    monkeypatch.setattr(stored.outside.object_store, "info", fail)
    answer = serve().ask(f"/objects/{CARD}")
    assert answer.status == status
    assert b"insides" not in answer.body
    assert b"Traceback" not in answer.body


# --- Hosts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:3001",
        "LOCALHOST.",
        "127.0.0.1:3001",
        "127.8.9.1",
        "[::1]:3001",
        "reports.example.org",
        "Reports.Example.Org:443",
    ],
)
def test_our_own_names_are_answered(server, host):
    """This machine's, and those that the settings give."""
    assert server.ask(f"/objects/{CARD}", host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:3001",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "reports.example.org.evil.example",
        "evil.example@localhost",
        "localhost@evil.example",
        "localhost:3001:80",
        "10.0.0.1",
        "0.0.0.0",
        "[::2]",
        "2130706433",
        "",
        None,
    ],
)
def test_foreign_names_are_refused(server, host):
    """A page of theirs that had its name point here reads nothing: not an object, not the front page."""
    for path in (f"/objects/{CARD}", "/", "/style.css", "/nothing"):
        answer = server.ask(path, host=host)
        assert answer.status in (400, 421), (host, path)
        assert PAGE not in answer.body


def test_two_hosts_are_none(server):
    """Whoever sends two means to be read differently by somebody."""
    request = (
        f"GET /objects/{CARD} HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    )
    assert server.send(request.encode()).status in (400, 421)


def test_forwarded_names_count_for_nothing(server):
    """Neither to let somebody in nor to keep them out."""
    forwarded = {"X_Forwarded_Host": "localhost", "Forwarded": "host=localhost"}
    assert server.ask("/", host="evil.example", **forwarded).status == 421
    assert server.ask("/", X_Forwarded_Host="evil.example").status == 200


def test_probes_ask_for_health_by_any_name(server):
    """A kubelet knows the address of the pod alone, and learns nothing else."""
    answer = server.ask("/health", host="10.42.0.7:3001")
    assert (answer.status, answer.body) == (200, b"{}")
