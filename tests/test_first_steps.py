"""What somebody meets who has just begun: each dead end says where to go on."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from platform_assets.cli import app


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home in which nothing was ever done, and nothing that a former test has set."""
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    monkeypatch.delenv("PLATFORM_SPECS", raising=False)


def refused(*arguments: str, given: str | None = None) -> str:
    """The one sentence that a command ends with."""
    result = CliRunner().invoke(app, arguments, input=given)
    assert result.exit_code == 1
    return str(result.exception)


def test_a_line_of_ones_own_is_not_known_by_its_name() -> None:
    """Whoever has drafted one asks for it by name next."""
    assert "by --spec FILE, or by PLATFORM_SPECS" in refused("run", "churn")


def test_nothing_answers_before_a_release() -> None:
    """The command that makes one is told, also for a line of one's own."""
    assert "platform-assets run churn (with --spec FILE, where" in refused("predict", "churn", "{}")


@pytest.mark.parametrize("content", ["", "error: no release", "[]", "3"])
def test_a_file_without_an_answer_is_no_entry_of_the_ledger(tmp_path: Path, content: str) -> None:
    """As a shell leaves it where the command before it failed, whatever the file is called."""
    for name in ("answer.json", "answer"):
        (tmp_path / name).write_text(content)
        told = refused("trace", str(tmp_path / name))
        assert told.startswith(f"{tmp_path / name} holds no answer; write one with: platform-assets predict")


def test_nothing_piped_in_is_no_answer() -> None:
    """The same of standard input."""
    assert refused("trace", "-", given="").startswith("the input holds no answer")


def test_a_spec_that_is_none_starts_no_server(tmp_path: Path) -> None:
    """It is told before anything is started, with the file."""
    spec = tmp_path / "training-spec.yaml"
    spec.write_text("line: churn\n")

    assert str(spec) in refused("ui", "--spec", str(spec))
