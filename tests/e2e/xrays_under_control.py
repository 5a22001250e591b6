"""A line of X-rays that is tuned and promoted, small enough to be run within a test; in a repository of its own."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from platform_assets.lines.line import SPEC_FILE, SPECS_FOLDER
from tests.tasks.image_classification.dicom.builders import CONTRACT

LINE = "small_xrays"
SHIPPED = SPECS_FOLDER / "chest_xray_detector"


def git(folder: Path, *arguments: str, author: str = "Maker <maker@example.org>") -> str:
    """Output of a git command that somebody gives."""
    name, _, address = author.rstrip(">").partition(" <")
    identity = ["-c", f"user.name={name}", "-c", f"user.email={address}"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit(folder: Path, message: str, *, author: str) -> str:
    """The commit of all that lies in the folder."""
    git(folder, "add", "-A", author=author)
    git(folder, "commit", "-q", "-m", message, author=author)
    return git(folder, "rev-parse", "HEAD")


@dataclass(frozen=True)
class Repository:
    """What people commit: a spec with its contract and Experiment, and who may review."""

    folder: Path

    @property
    def spec(self) -> Path:
        """The line's spec."""
        return self.folder / SPEC_FILE

    @property
    def reviewers(self) -> Path:
        """Who may review."""
        return self.folder / "reviewers.yaml"

    def name_reviewers(self, *people: dict[str, Any], author: str = "Head <head@example.org>") -> str:
        """The commit in which somebody names all reviewers."""
        self.reviewers.write_text(yaml.safe_dump({"reviewers": list(people)}), encoding="utf-8")
        return commit(self.folder, "reviewers", author=author)


def small_line(folder: Path, *, author: str = "Maker <maker@example.org>", **changes: Any) -> Repository:
    """200 phantoms, small images, short trainings, two trials; gates that any model passes."""
    folder.mkdir(parents=True, exist_ok=True)
    shipped = yaml.safe_load((SHIPPED / SPEC_FILE).read_text())
    dataset = [each for each in shipped["requires"]["deploy"] if each["subject"] == "dataset"]
    given = {
        "line": LINE,
        "train_data_uri": "phantom://chest?n=200&seed=7",
        "contract": "few.yaml",
        "image_size": 64,
        "widths": [8, 16],
        "depths": [1, 1],
        "epochs": 2,
        "gates": {"auc": "> 0.01"},
        "requires": {
            **shipped["requires"],
            "deploy": [*dataset, {"subject": "model", "rule_set": "gate.auc"}],
            "waivable": [],
        },
    }
    (folder / SPEC_FILE).write_text(yaml.safe_dump(shipped | given | changes, sort_keys=False))
    (folder / "few.yaml").write_text(CONTRACT.read_text().replace("min_value: 100,", "min_value: 10,"))
    experiment = yaml.safe_load((SHIPPED / "experiment.yaml").read_text())
    experiment["spec"] |= {
        "maxTrialCount": 2,
        "maxFailedTrialCount": 1,
        "algorithm": {
            "algorithmName": "random",
            "algorithmSettings": [{"name": "random_state", "value": "3"}],
        },
    }
    del experiment["spec"]["earlyStopping"]
    container = experiment["spec"]["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]["containers"][0]
    others = {"epochs=12": "epochs=1", SHIPPED.name: LINE}
    container["command"] = [others.get(each, each) for each in container["command"]]
    (folder / "experiment.yaml").write_text(yaml.safe_dump(experiment, sort_keys=False))
    git(folder, "init", "-q", "-b", "main")
    commit(folder, "a line", author=author)
    return Repository(folder)
