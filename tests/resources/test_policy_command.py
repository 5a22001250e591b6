"""`platform-assets policy check`: one request in, one JSON object and an exit status out."""

import json

import pytest
from typer.testing import CliRunner

from platform_assets.cli.policy import app
from resources.policy_engine import PolicyEngineError

REQUEST = {
    "method": "GET",
    "path": "/models/prod/line/1/model.json",
    "user": {"groups": ["ml-engineers"], "labels": {"env": "prod"}, "consent": {"gdpr": True}},
}


def check(*arguments: str, stdin: str | None = None):
    """Run the command."""
    return CliRunner().invoke(app, ["check", *arguments], input=stdin)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_an_allowed_request_exits_with_zero(tmp_path, wrapped, options):
    """Whether the file holds the request, or what would be posted to OPA."""
    file = tmp_path / "request.json"
    file.write_text(json.dumps({"input": REQUEST} if wrapped else REQUEST))
    result = check("--input", str(file), *options)
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"allow": True, "reasons": []})


def test_a_denied_request_exits_with_one(tmp_path):
    """The output is one JSON object with the reasons."""
    result = check("--input", "-", stdin=json.dumps(REQUEST | {"path": "/models/dev/line/1/a"}))
    assert result.exit_code == 1
    assert result.stdout == '{"allow": false, "reasons": ["label env prod does not match dev"]}\n'


@pytest.mark.parametrize("stdin", ["null", "[]", "7", '"root"', '{"input": null}', '{"input": [1]}'])
def test_what_is_no_request_is_denied(stdin):
    """JSON of any other shape is denied with a reason."""
    result = check("--input", "-", stdin=stdin)
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["allow"] is False
    assert told["reasons"]


@pytest.mark.parametrize("content", [None, "", "{", "method: GET"])
def test_a_file_that_is_no_json_is_an_error(tmp_path, content):
    """The file is named, and no decision is printed."""
    file = tmp_path / "request.json"
    if content is not None:
        file.write_text(content)
    result = check("--input", str(file))
    assert isinstance(result.exception, PolicyEngineError)
    assert "request.json cannot be read as JSON" in str(result.exception)
    assert result.stdout == ""
