"""`platform-assets new`: two files that were not there before and are read as they are, or one sentence and none."""

import json
import os
import shlex
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from platform_assets.cli import app
from platform_assets.datasets.contract import load_contract
from platform_assets.lines.line import load_line
from platform_assets.scaffold.errors import ScaffoldError
from platform_assets.scaffold.write import write_all
from resources.errors import PlatformError
from tests.scaffold.tables import reviews, written

SPEC, CONTRACT = "training-spec.yaml", "opinions.yaml"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test works in a folder of its own, with settings of its own."""
    for name in [name for name in os.environ if name.startswith("PLATFORM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def new(
    line: str = "opinions", *, data: str | None = None, task: str = "text-classification", **options: object
) -> Result:
    """Run `platform-assets new …` in this process."""
    data = data or written(Path(), reviews(), "reviews.csv")
    extra = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return CliRunner().invoke(app, ["new", line, "--task", task, "--data", data, *extra])


def files() -> dict[Path, str | None]:
    """What lies below the folder, apart from data: text by path, None for links."""
    return {
        path: None if path.is_symlink() else path.read_text(encoding="utf-8")
        for path in Path().rglob("*")
        if path.is_symlink() or (path.is_file() and path.suffix != ".csv")
    }


def refusal(*arguments: str, **options: object) -> str:
    """Why nothing was written; the files below the folder are those that were there."""
    before = files()
    done = new(*arguments, **options)
    assert isinstance(done.exception, PlatformError)
    assert files() == before
    assert "\n" not in str(done.exception)
    return str(done.exception)


def test_the_files_are_those_of_a_line():
    """Spec and contract lie in a folder called like the line, and are read together as any other line's."""
    done = new()
    assert done.exit_code == 0, done.exception
    line = load_line(Path("opinions", SPEC))
    assert (line.name, line.contract.path.name) == ("opinions", CONTRACT)
    assert sorted(path.name for path in Path("opinions").iterdir()) == [CONTRACT, SPEC]


def test_what_was_found_and_what_comes_next_is_printed():
    """Where the files lie, what to look at, and three commands that can be pasted."""
    path = written(
        Path(),
        reviews(author="someone", text=[f"mail me: a{row}@example.org" for row in range(400)]),
        "r.csv",
    )
    lines = new(data=path).stdout.splitlines()
    assert lines[:2] == ["opinions/training-spec.yaml", "opinions/opinions.yaml"]
    assert "  left out  author  not read: this task reads text, label and source only" in lines
    assert "  used      text    personal data: e-mail addresses in 400 texts" in lines
    run, predict, ui = (shlex.split(line) for line in lines[-3:])
    assert run == ["platform-assets", "run", "--spec", "opinions/training-spec.yaml"]
    assert predict[:3] == ["platform-assets", "predict", "opinions"]
    assert len(predict) == 4
    assert ui == ["platform-assets", "ui", "--spec", "opinions/training-spec.yaml"]


def test_json():
    """The same for programs."""
    done = CliRunner().invoke(
        app,
        [
            "new",
            "opinions",
            "--task",
            "text-classification",
            "--data",
            written(Path(), reviews(), "r.csv"),
            "--json",
        ],
    )
    told = json.loads(done.stdout)
    assert sorted(told) == ["contract", "findings", "next", "seen", "spec"]
    assert told["spec"] == "opinions/training-spec.yaml"
    assert told["findings"] == []


def test_another_folder_is_made_with_all_above_it():
    """--folder says where the files are to lie."""
    assert new(folder="a/b").exit_code == 0
    assert load_line(Path("a/b", SPEC)).name == "opinions"


@pytest.mark.parametrize("name", [SPEC, CONTRACT])
def test_nothing_is_overwritten(name):
    """Where either file is there, neither is written."""
    Path("opinions").mkdir()
    Path("opinions", name).write_text("mine")
    assert (
        refusal()
        == f"opinions/{name}: there already, and nothing is overwritten; take another --folder, or move it away"
    )


def test_a_file_that_appears_in_the_meantime():
    """Whoever else writes one of two files keeps it, and the other one is taken back."""
    Path("spec.yaml").write_text("theirs")
    with pytest.raises(ScaffoldError, match=r"spec\.yaml: there already"):
        write_all({Path("contract.yaml"): "ours", Path("spec.yaml"): "ours"})
    assert files() == {Path("spec.yaml"): "theirs"}


def test_a_dangling_link_is_a_file_too():
    """What a link would be written through is not looked for."""
    Path("opinions").mkdir()
    Path("opinions", SPEC).symlink_to("nowhere")
    assert "there already" in refusal()
    assert not Path("opinions/nowhere").exists()


def test_a_file_in_the_place_of_the_folder():
    """One sentence says so, and the file stays."""
    Path("opinions").write_text("mine")
    assert refusal() == "opinions: is no folder; take another --folder"
    assert Path("opinions").read_text() == "mine"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Opinions", "cannot name a line"),
        ("9lives", "cannot name a line"),
        ("a-b", "cannot name a line"),
        ("a" * 49, "cannot name a line"),
        ("reviews_sentiment", "is taken"),
        ("retention", "is taken"),
        ("reviews_sentiment_tokens", "is taken"),
    ],
)
def test_names(line, said):
    """A name that no line may have, one of the platform's own, and that of a line that ships are refused."""
    assert said in refusal(line)


def test_unknown_tasks_are_listed():
    """A misspelt task is told with those that there are."""
    assert "known are" in refusal(task="tabular")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"label": None, "stars": 5},
            "has no column label, and this task reads the texts from text and 0 or 1 from label; rename",
        ),
        ({"label": ["pos", "neg"] * 200}, "label is 'pos' and 'neg', and this task reads 0 and 1"),
        ({"label": [0, 1, 2, 3] * 100}, "target 'label' has 4 different values"),
        ({"text": ["", "fine"] * 200}, "text is empty in 200 of 400 rows"),
        ({"text": [" ", "fine"] * 200}, "text is empty in 200 of 400 rows"),
        ({"source": [f"s{row}" for row in range(400)]}, "column source names 400 sources"),
    ],
)
def test_data_that_the_task_does_not_read(changes, said):
    """One sentence names the file, and says what to do."""
    path = written(Path(), reviews(**changes), "reviews.csv")
    assert refusal(data=path).startswith(f"{Path(path).resolve()}: {said}")


def test_another_target_of_texts():
    """The task reads its target from one column; another name is told to be changed in the file."""
    assert refusal(target="stars").endswith(
        "this task reads its target from label; rename 'stars' in the file"
    )


def test_the_draft_of_texts_has_gates_that_can_be_decided():
    """Gates that need more rows than there are stand in no draft; with enough of them they do."""
    assert new().exit_code == 0
    assert list(load_line(Path("opinions", SPEC)).spec.gates) == [
        "auc",
        "beats_baseline",
        "auc_drop_from_production",
    ]
    many = pd.concat([reviews()] * 60, ignore_index=True)
    assert new(data=written(Path(), many, "many.csv"), folder="many").exit_code == 0
    assert "score_drift_ks" in load_line(Path("many", SPEC)).spec.gates


def test_every_verdict_is_demanded():
    """Deploying demands the schema, each domain of the contract, and each gate."""
    assert new().exit_code == 0
    line = load_line(Path("opinions", SPEC))
    domains = load_contract(Path("opinions", CONTRACT)).domains
    assert [each.rule_set for each in line.requirements] == [
        "contract.schema", *(f"contract.{domain}" for domain in domains), *(f"gate.{gate}" for gate in line.spec.gates)
    ]  # fmt: skip
