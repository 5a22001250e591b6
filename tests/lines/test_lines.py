"""Several lines from several specs: one that is wrong takes down itself alone, and says why."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import platform_assets.tasks
from platform_assets.cli import app
from platform_assets.cli.common import chosen_line
from platform_assets.definitions import build_definitions
from platform_assets.lines.assets import BROKEN_GROUP
from platform_assets.lines.line import LineError, Lines, load_lines
from platform_assets.manifest import ManifestError
from platform_assets.outside_systems import OutsideSystems
from platform_assets.tasks.registry import find_task
from resources.settings import PlatformSettings
from tests.line_factory import write_spec

SOUND = ("first", "second")
TAKEN = "a name that is taken"
WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "an unknown task": (
        {"line": "seers", "task": "clairvoyance"},
        "task",
        "there is no task 'clairvoyance'; known are ",
    ),
    "a broken spec": ({"line": "hasty", "epochs": 0}, "epochs", "Input should be greater than or equal to 1"),
    "a gate of no rule": ({"line": "loose", "gates": {"roc": "> 0.9"}}, "gates.roc", 'unknown gate "roc"'),
    TAKEN: ({"line": "first"}, "line", "first is the name of the line in "),
    "a reserved name": ({"line": "governance"}, "line", "governance is a name of the platform's own"),
    "the former table of another line's features": (
        {"line": "first_tokens"},
        "line",
        "first_tokens is a name of the platform's own, or ends in _tokens as tables of earlier releases do",
    ),
    "the name of the group of broken lines": (
        {"line": "broken_lines"},
        "line",
        "broken_lines is a name of the platform's own",
    ),
}


@pytest.fixture(params=WRONG)
def wrong(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str, str]:
    """A spec that declares no line, the field that is wrong, and what is wrong with it."""
    changes, field, problem = WRONG[request.param]
    return write_spec(tmp_path / "wrong", **changes), field, problem


@pytest.fixture
def sound(tmp_path: Path) -> list[Path]:
    """Two specs that declare a line each."""
    return [write_spec(tmp_path / name, line=name) for name in SOUND]


def names(lines: Lines) -> tuple[str, ...]:
    """Of the lines that are sound."""
    return tuple(line.name for line in lines.sound)


def line_of(path: Path, field: str) -> int:
    """Where a field of the first level, or one below it, stands in a file."""
    texts = path.read_text(encoding="utf-8").splitlines()
    return next(
        at for at, text in enumerate(texts, 1) if text.strip().startswith(f"{field.rpartition('.')[2]}:")
    )


def test_a_wrong_spec_takes_down_itself_alone(sound: list[Path], wrong: tuple[Path, str, str]) -> None:
    """The others are loaded, whatever stands before or after them; file, line and field are named."""
    path, field, problem = wrong

    lines = load_lines([sound[0], path, sound[1]])

    assert names(lines) == SOUND
    (broken,) = lines.broken
    assert broken.path == path
    assert broken.problem.startswith(f"{path}:{line_of(path, field)}: {field}: {problem}")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("line: [", "is not valid YAML"),
        ("", "must hold keys and values, and is empty"),
        ("line: 7\n", "line: Input should be a valid string"),
    ],
)
def test_a_file_that_names_no_line_is_called_by_its_folder(
    sound: list[Path], tmp_path: Path, content: str, problem: str
) -> None:
    """Whatever is left of it."""
    path = tmp_path / "scraps" / "training-spec.yaml"
    path.parent.mkdir()
    path.write_text(content, encoding="utf-8")

    (broken,) = load_lines([*sound, path]).broken

    assert broken.name == "scraps"
    assert f"{path}:" in broken.problem
    assert problem in broken.problem


def test_a_spec_that_is_not_there_is_broken(sound: list[Path], tmp_path: Path) -> None:
    """A path of the settings may have gone."""
    lines = load_lines([tmp_path / "gone" / "training-spec.yaml", *sound])

    assert names(lines) == SOUND
    assert "cannot be read" in lines.broken[0].problem


def test_a_spec_that_is_given_twice_is_one_line(sound: list[Path]) -> None:
    """It does not stand in its own way."""
    assert load_lines([*sound, *sound]) == load_lines(sound)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import no_such_library_at_all\n", "cannot be imported (No module named 'no_such_library_at_all')"),
        ("TASK = \n", "cannot be used (SyntaxError"),
        ("task = 1\n", "cannot be used (AttributeError"),
    ],
)
def test_a_task_that_is_no_good_breaks_its_lines_alone(
    sound: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, problem: str
) -> None:
    """A missing library, a slip of the pen, no task at all: told for the lines of that task."""
    folder = tmp_path / "tasks" / "thirsty_task"
    folder.mkdir(parents=True)
    (folder / "task.py").write_text(code, encoding="utf-8")
    sys.modules.pop("platform_assets.tasks.thirsty_task.task", None)
    path = [*platform_assets.tasks.__path__, str(folder.parent)]
    monkeypatch.setattr(platform_assets.tasks, "__path__", path)
    thirsty = write_spec(tmp_path / "thirsty", line="thirsty", task="thirsty-task")

    lines = load_lines([*sound, thirsty])

    assert names(lines) == SOUND
    assert f"task: the task thirsty-task {problem}" in lines.broken[0].problem


def test_definitions_hold_the_sound_lines_and_show_the_broken_one(
    sound: list[Path], wrong: tuple[Path, str, str], tmp_path: Path
) -> None:
    """Every asset of the others, their jobs, and an asset that only says what is wrong."""
    lines = load_lines([*sound, wrong[0]])

    definitions = build_definitions(
        OutsideSystems(PlatformSettings(home=tmp_path / "platform")), lines.sound, lines.broken
    )

    specs = {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}
    assert {f"{name}_{stage}" for name in SOUND for stage in ("dataset", "deployment", "drift")} <= set(specs)
    assert {name for name in SOUND if definitions.resolve_job_def(name)} == set(SOUND)
    (shown,) = [spec for spec in specs.values() if spec.group_name == BROKEN_GROUP]
    assert lines.broken[0].problem in shown.description
    assert shown.key.to_user_string().startswith(lines.broken[0].name)
    assert not definitions.resolve_asset_graph().get(shown.key).is_executable


def test_two_broken_lines_of_one_name_are_both_shown(tmp_path: Path) -> None:
    """Each by its file."""
    specs = [write_spec(tmp_path / name, line="twin", epochs=0) for name in SOUND]
    lines = load_lines(specs)

    definitions = build_definitions(
        OutsideSystems(PlatformSettings(home=tmp_path / "platform")), lines.sound, lines.broken
    )

    shown = [spec for spec in definitions.resolve_all_asset_specs() if spec.group_name == BROKEN_GROUP]
    assert sorted(spec.metadata["spec"] for spec in shown) == sorted(map(str, specs))


@pytest.fixture
def home(
    sound: list[Path], wrong: tuple[Path, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A home whose settings name all three specs, the wrong one in their midst."""
    home = tmp_path / "platform"
    monkeypatch.setenv("PLATFORM_HOME", str(home))
    monkeypatch.setenv("PLATFORM_SPECS", json.dumps([str(sound[0]), str(wrong[0]), str(sound[1])]))
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    yield home
    find_task.cache_clear()


@pytest.mark.usefixtures("home")
def test_status_tells_of_the_broken_line_beside_the_others(wrong: tuple[Path, str, str]) -> None:
    """As JSON for machines, and in the text for people."""
    told = CliRunner().invoke(app, ["status", "--json"], catch_exceptions=False)
    shown = CliRunner().invoke(app, ["status"], catch_exceptions=False)

    status = json.loads(told.stdout)
    (broken,) = load_lines(PlatformSettings().specs).broken
    assert set(status["lines"]) == set(SOUND)
    assert [(each["line"], each["spec"]) for each in status["broken_lines"]] == [(broken.name, str(wrong[0]))]
    assert wrong[2] in status["broken_lines"][0]["problem"]
    assert f"{wrong[0]}:" in shown.stdout
    assert wrong[2] in shown.stdout


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("wrong", [case for case in WRONG if case != TAKEN], indirect=True)
def test_a_broken_line_cannot_be_run_and_says_why(wrong: tuple[Path, str, str]) -> None:
    """With the very text that the UI shows."""
    (broken,) = load_lines(PlatformSettings().specs).broken

    refused = CliRunner().invoke(app, ["run", broken.name])

    assert refused.exit_code == 1
    assert isinstance(refused.exception, LineError)
    assert str(refused.exception) == broken.problem


def test_a_name_is_that_of_the_line_that_had_it_first(
    sound: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes second takes nothing away: commands go on with the first."""
    second = write_spec(tmp_path / "wrong", line="first", seed=99)
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "platform"))
    monkeypatch.setenv("PLATFORM_SPECS", json.dumps([str(sound[0]), str(second)]))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "platform" / "dagster"))

    chosen = chosen_line(OutsideSystems(PlatformSettings()), "first", None)
    planned = CliRunner().invoke(app, ["plan", "first", "--json"], catch_exceptions=False)

    assert chosen.manifest.path == sound[0]
    assert json.loads(planned.stdout)[0]["asset"] == "first_dataset"


def test_a_broken_spec_that_is_given_by_its_path_is_refused(tmp_path: Path) -> None:
    """Nothing is run of it."""
    path = write_spec(tmp_path, epochs=0)

    refused = CliRunner().invoke(app, ["run", "--spec", str(path)])

    assert refused.exit_code == 1
    assert isinstance(refused.exception, ManifestError)
    assert f"{path}:" in str(refused.exception)
