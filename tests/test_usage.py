"""What the command line says of itself: groups, examples, completion, exit status, and what was probably meant."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.cli.completion import line_names, table_names
from platform_assets.cli.usage import EXIT_STATUS, PANELS, PROGRAM
from platform_assets.lines.line import load_lines
from resources.settings import PlatformSettings
from tests.line_factory import ROOT, environment, platform_assets, write_spec

COLUMNS = 80
ROOT_COMMAND = typer.main.get_command(app)


def _paths(command, path=()):
    """Every command, and every group of them, as one would type it."""
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from _paths(below, (*path, name))


def _command(path):
    command = ROOT_COMMAND
    for name in path:
        command = command.commands[name]
    return command


EVERY = list(_paths(ROOT_COMMAND))
LEAVES = [path for path in EVERY if not hasattr(_command(path), "commands")]


def _help(path, **variables):
    shown = CliRunner().invoke(
        app, [*path, "--help"], prog_name=PROGRAM, env={"COLUMNS": str(COLUMNS), **variables}
    )
    assert shown.exit_code == 0, shown.output
    return shown.output


def _examples(path):
    return re.findall(r"^ \$ (.*?) *$", re.sub(r" \\ *\n +", " ", _help(path)), re.MULTILINE)


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_help_is_legible_in_a_plain_terminal(path):
    """No line is longer than the terminal, nothing is coloured where nobody asked, and no sign of markup is left."""
    shown = _help(path, TERM="dumb")
    assert max(map(len, shown.splitlines())) <= COLUMNS
    assert "\x1b" not in shown
    assert "\\[" not in shown


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_the_examples_of_every_command_are_commands(path, tmp_path, monkeypatch):
    """At least one, each of this very command, unwrapped, and it parses: command, arguments and options."""
    examples = _examples(path)
    assert examples
    monkeypatch.chdir(tmp_path)
    for example in examples:
        words = shlex.split(example)
        words = words[: min([words.index(sign) for sign in (">", "<", "|") if sign in words], default=None)]
        assert words[: 1 + len(path)] == [PROGRAM, *path], example
        for word in words:
            if word.endswith((".json", ".jsonl")):
                Path(word).touch()  # `ledger verify` looks whether its files are there
        parent = None
        command = ROOT_COMMAND
        arguments = words[1:]
        for name in path:
            parent = typer.Context(command, parent=parent, info_name=name)
            command = command.commands[name]
        with command.make_context(path[-1], arguments[len(path) :], parent=parent) as context:
            assert not context.args, example


def test_every_command_stands_in_a_group():
    """Of those that are told in their order; the first sentence of each says what it is for."""
    assert {command.rich_help_panel for command in ROOT_COMMAND.commands.values()} <= set(PANELS)
    shown = _help(())
    places = [shown.index(panel) for panel in PANELS]
    assert places == sorted(places)
    assert all(command.help for command in ROOT_COMMAND.commands.values())


def test_a_command_joins_a_group_by_one_argument():
    """As those of other parts of the platform do; without it, it is shown first, and nothing else is lost."""
    from platform_assets.cli.usage import WATCH, Commands

    other = typer.Typer(cls=Commands)
    other.command("late", rich_help_panel=PANELS[-1])(lambda: None)
    other.add_typer(typer.Typer(), name="ungrouped")
    other.command("early", rich_help_panel=WATCH)(lambda: None)
    group = typer.main.get_command(other)
    assert group.list_commands(typer.Context(group)) == ["early", "late"] + (
        ["ungrouped"] if "ungrouped" in group.commands else []
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["rn"], "No such command 'rn'. Did you mean 'run' or 'features run'? See platform-assets --help"),
        (["statsu"], "Did you mean 'status' or 'breaker status' or 'drift status'?"),
        (["leger"], "Did you mean 'ledger'?"),
        (["verify"], "No such command 'verify'. Did you mean 'ledger verify'?"),
        (["replai"], "Did you mean 'drift replay'?"),
        (["drift", "wach"], "No such command 'wach'. Did you mean 'watch'?"),
        (["run", "--spce", "x"], "No such option: --spce. Did you mean --spec?"),
        (["run", "--nothing-like-it"], "No such option: --nothing-like-it. See platform-assets run --help"),
        (["xyzzy\nplugh"], r"No such command 'xyzzy\nplugh'. See platform-assets --help"),
        (["predict"], "Missing argument 'line'"),
        (["ui", "--port", "many"], "Invalid value for '--port'"),
        (["ledger", "verify", "--file", "nowhere.jsonl"], "'nowhere.jsonl' does not exist"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_sentence_that_says_what_was_meant(arguments, told):
    """On standard error, with where to read on, and exit status 2."""
    refused = CliRunner().invoke(app, arguments, prog_name=PROGRAM)
    assert refused.exit_code == 2
    (sentence,) = refused.stderr.splitlines()
    assert sentence.startswith("error: ")
    assert told in sentence
    assert refused.stdout == ""


def test_no_command_at_all_shows_the_help():
    """Which is wrong usage still, for a script."""
    shown = CliRunner().invoke(app, [])
    assert (shown.exit_code, PANELS[0] in shown.stdout, shown.stderr.strip()) == (2, True, "")


# --- Exit status ---------------------------------------------------------------------------------------

ENDED = """
import os, sys, time
from platform_assets.cli.endings import end_well
def command(): print("up", flush=True); time.sleep(60)
sys.exit(end_well(command))
"""


@pytest.mark.parametrize(
    ("status", "arguments"),
    [
        (0, ["--version"]),
        (1, ["predict", "no_such_line", "text"]),
        (1, ["policy", "check", "--input", "denied.json"]),
        (2, ["run", "--spce"]),
    ],
)
def test_the_exit_status_is_the_one_that_the_help_tells(tmp_path, status, arguments):
    """Of the real program."""
    (tmp_path / "denied.json").write_text("{}")
    arguments = [str(tmp_path / each) if each == "denied.json" else each for each in arguments]
    ended = platform_assets(tmp_path / "home", *arguments)
    assert ended.returncode == status, ended.stderr
    assert f"\n{status} " in EXIT_STATUS
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_gives_the_exit_status_that_the_help_tells(number):
    """128 and the signal's number."""
    process = subprocess.Popen(
        [sys.executable, "-c", ENDED],
        env=environment(Path("/nowhere")), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    process.communicate(timeout=30)
    assert f"\n{process.returncode} " in EXIT_STATUS
    assert process.returncode == 128 + number


def test_the_version_is_the_packages():
    """One line; nothing is made or looked for."""
    from importlib.metadata import version

    shown = CliRunner().invoke(app, ["--version"])
    assert shown.output == f"platform-assets {version('platform-assets')}\n"


# --- Completion ----------------------------------------------------------------------------------------


def _completed(home, words, **variables):
    asked = environment(
        home, _PLATFORM_ASSETS_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(words.count(" ")), **variables
    )  # fmt: skip
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "platform_assets.cli"],
        env=asked, capture_output=True, text=True, check=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("platform-assets rel", ["releases"]),
        ("platform-assets drift st", ["status"]),
        ("platform-assets run --sp", ["--spec"]),
        ("platform-assets predict cre", ["credit_scorecard"]),
        ("platform-assets versions reviews_sentiment_f", ["reviews_sentiment_features"]),
    ],
)
def test_a_shell_completes_commands_options_and_lines(tmp_path, words, offered):
    """Without loading anything heavy, and without making a home."""
    done = _completed(tmp_path / "home", words)
    assert done.stdout.split() == offered
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"dagster", "pandas", "numpy", "pyarrow", "torch", "mlflow", "yaml", "sqlalchemy"}
    assert not (tmp_path / "home").exists()


def test_the_lines_that_are_offered_are_those_that_there_are(tmp_path, monkeypatch):
    """Whether they ship or the settings name them; wrong settings are told by the command, and not here."""
    assert line_names("") == [line.name for line in load_lines().sound]
    assert table_names("credit") == ["credit_scorecard_dataset", "credit_scorecard_features"]
    spec = write_spec(tmp_path / "mine", line="mine")
    monkeypatch.setenv("PLATFORM_SPECS", f'["{spec}", "{tmp_path}/gone.yaml"]')
    assert line_names("") == ["mine"] == [line.name for line in load_lines(PlatformSettings().specs).sound]
    monkeypatch.setenv("PLATFORM_SPECS", "no JSON")
    assert line_names("") == []


def test_the_completion_can_be_installed(tmp_path):
    """By typer's own option, for the name that people type."""
    installed = subprocess.run(
        [sys.executable, "-m", "platform_assets.cli", "--install-completion", "bash"],
        env=environment(tmp_path / "home", HOME=str(tmp_path), _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"),
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert installed.returncode == 0, installed.stderr
    scripts = [
        Path(folder, name) for folder, _, names in os.walk(tmp_path) for name in names if name.endswith(".sh")
    ]
    assert [script.name for script in scripts] == ["platform-assets.sh"]
    assert "_PLATFORM_ASSETS_COMPLETE" in scripts[0].read_text()
