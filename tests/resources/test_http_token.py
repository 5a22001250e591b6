"""Who may ask a server of ours: tokens, and the addresses that need one."""

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from resources.http_token import OpenServerError, demand_token, token_for


def given(host, token, monkeypatch):
    """What a server on this address asks of its callers, with this environment."""
    monkeypatch.delenv("A_TOKEN", raising=False)
    if token is not None:
        monkeypatch.setenv("A_TOKEN", token)
    return token_for(host, variable="A_TOKEN", otherwise="do harm")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "", "localhost.example.org", "example.org"])
@pytest.mark.parametrize("token", [None, ""])
def test_strangers_need_a_token(host, token, monkeypatch):
    """An address that others may reach is refused without one, and an empty one is none."""
    with pytest.raises(OpenServerError, match=r"could do harm: set A_TOKEN, or listen on 127\.0\.0\.1"):
        given(host, token, monkeypatch)
    assert given(host, "s3cret", monkeypatch) == "s3cret"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_needs_none(host, monkeypatch):
    """It is asked for all the same where there is one."""
    assert given(host, None, monkeypatch) is None
    assert given(host, "", monkeypatch) is None
    assert given(host, "s3cret", monkeypatch) == "s3cret"


@pytest.mark.parametrize("token", ["s3cret", "s3crét", "秘密"])
def test_only_the_token_itself_opens(token):
    """In any alphabet; not without Bearer, not its beginning, not another."""
    app = FastAPI()

    @app.get("/")
    async def home(request: Request) -> None:
        demand_token(request, token)

    client = TestClient(app)

    def status(*sent):
        return client.get("/", headers=[(b"authorization", each.encode()) for each in sent]).status_code

    assert status(f"Bearer {token}") == 200
    for sent in (
        "",
        token,
        f"Bearer {token[:-1]}",
        f"Bearer {token}x",
        f"bearer {token}",
        "Bearer é",
        "Bearer ",
    ):
        assert status(sent) == 401
    assert status() == 401
