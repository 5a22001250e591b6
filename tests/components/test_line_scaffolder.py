"""`dg scaffold defs … LineComponent`: a line that loads, or one sentence and no folder."""

import json
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from dagster.components.component_scaffolding import scaffold_object

from tests.components.projects import TYPE, DgProject
from tests.features.shops import write_line
from tests.scaffold.tables import customers, written


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DgProject:
    """An empty project in the current folder, with a file of customers beside it."""
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))
    project = DgProject(tmp_path / "project")
    written(tmp_path, customers())
    monkeypatch.chdir(project.root)
    return project


def scaffold(project: DgProject, folder: str, *, python: bool = False, **parameters: Any) -> Path:
    """What `dg scaffold defs` does with its arguments."""
    path = project.defs / folder
    form = "python" if python else "yaml"
    scaffold_object(path, TYPE, json.dumps(parameters), form, project.root)
    return path


def refusal(project: DgProject, folder: str, **parameters: Any) -> str:
    """Why nothing was written; the name of the folder is as free as before."""
    with pytest.raises(click.ClickException) as refused:
        scaffold(project, folder, **parameters)
    assert not (project.defs / folder).exists()
    return refused.value.message


@pytest.mark.parametrize("python", [False, True])
def test_a_line_is_drafted_from_a_file(project, capsys, python):
    """Three files that the project loads as they are; what was seen is told, and what comes next."""
    folder = scaffold(project, "churn", python=python, data="../customers.csv", target="churn")

    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["component.py" if python else "defs.yaml", "churn.yaml", "training-spec.yaml"]
    )
    assert [job.name for job in project.definitions().jobs or ()] == ["churn"]
    told = capsys.readouterr().out
    assert '400 rows, 6 columns, 3 to learn from; churn is "yes"' in told
    assert told.rstrip().endswith("What next:\n  dg check defs\n  dg launch --job churn")


def test_a_line_may_be_called_otherwise_than_its_folder(project):
    """--line says how; the folder's name is free."""
    scaffold(project, "Some-Folder", data="../customers.csv", target="churn", line="leaving")

    assert [job.name for job in project.definitions().jobs or ()] == ["leaving"]


def test_a_spec_that_there_is_stays_where_it_is(project):
    """Only `defs.yaml` is written; its path leads to the spec from there."""
    write_line(project.root / "specs", "sales")

    folder = scaffold(project, "sales", spec="specs/sales-spec.yaml")

    assert [path.name for path in folder.iterdir()] == ["defs.yaml"]
    written = yaml.safe_load((folder / "defs.yaml").read_text())
    assert written == {"type": TYPE, "attributes": {"spec": "../../../../specs/sales-spec.yaml"}}
    assert [job.name for job in project.definitions().jobs or ()] == ["sales"]


def test_without_data_or_spec_both_ways_are_said(project):
    """As commands that can be pasted."""
    told = refusal(project, "churn")

    assert f"`dg scaffold defs {TYPE} churn --data FILE.csv --target COLUMN`" in told
    assert f"`dg scaffold defs {TYPE} churn --spec FILE.yaml`" in told


@pytest.mark.parametrize(
    ("folder", "parameters", "told"),
    [
        ("churn", {"data": "../customers.csv", "spec": "spec.yaml"}, "one of both"),
        ("churn", {"spec": "spec.yaml", "target": "churn"}, "--target and --line are for drafts"),
        ("churn", {"spec": "spec.yaml"}, "spec.yaml: cannot be read"),
        ("churn", {"data": "../none.csv"}, "none.csv"),
        ("churn", {"data": "../customers.csv", "target": "leaves"}, "leaves"),
        ("churn", {"data": "../customers.csv", "task": "oracle"}, "there is no task 'oracle'"),
        ("my-line", {"data": "../customers.csv"}, "'my-line' cannot name a line"),
        ("drift", {"data": "../customers.csv"}, "drift is taken"),
    ],
)
def test_what_no_line_can_be_made_of(project, folder, parameters, told):
    """One sentence, and a second try is free to use the same name."""
    assert told in refusal(project, folder, **parameters)


def test_a_folder_that_holds_something_is_left_alone(project):
    """A refusal takes nothing away that was there before."""
    kept = project.defs / "churn" / "notes.txt"
    kept.parent.mkdir()
    kept.write_text("mine")

    with pytest.raises(click.ClickException):
        scaffold(project, "churn")

    assert kept.read_text() == "mine"
