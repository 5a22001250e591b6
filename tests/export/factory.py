"""Builders for tests of exports: the line as a workflow, containers, and what a run has left behind."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from platform_assets.export.workflow import LineWorkflow, line_workflow
from platform_assets.governance import release
from platform_assets.ledger.ledger import Ledger
from platform_assets.lines.line import load_line
from platform_assets.lines.runner import open_instance
from platform_assets.references import DeploymentVersion
from platform_assets.step import recorded_reference
from resources.settings import PlatformSettings
from tests.export.runtimes import Execution
from tests.line_factory import ROOT, SMALL_SPEC, FinishedHome, environment, platform_assets

LINE = "reviews_small"
IMAGE = "registry.example/platform-assets:1.2.3"


def make_workflow(**changes: Any) -> LineWorkflow:
    """The small line as a workflow, with some fields of its spec changed."""
    line = load_line(SMALL_SPEC)
    changed = type(line.spec).model_validate({**line.spec.model_dump(), **changes})
    return line_workflow(line.task, changed, basis="0" * 64, image=IMAGE)


@dataclass
class Outcome:
    """What a run of the line has left behind, as far as any other run of it must leave the same."""

    dataset: str
    weights: str
    auc: float
    ledger: list[tuple[str, str, object, object, object]]
    """Kind, subject, rule set, its hash and outcome of every entry, in order."""
    is_active: bool


@dataclass
class Exported:
    """A home in which the steps of an exported file were run one by one."""

    finished: FinishedHome
    execution: Execution
    outcome: Outcome
    told: list[dict[str, object]] = field(default_factory=list)
    """The JSON line of each step."""


def outcome_in(home: Path) -> Outcome:
    """What the newest deployment in a home was made of, and its ledger."""
    ledger = Ledger.open(home / "ledger" / "ledger.sqlite", principal="tests")
    active = release.active(ledger, LINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home / "dagster"))
        with open_instance(PlatformSettings(home=home)) as instance:
            deployed = recorded_reference(instance, dg.AssetKey(f"{LINE}_deployment"), DeploymentVersion)
    report = deployed.card.registered.report
    return Outcome(
        dataset=deployed.of_dataset.snapshot.content_hash,
        weights=report.model.weights_sha256,
        auc=report.metrics["auc"],
        ledger=[
            (
                each.kind,
                each.subject,
                *(each.body.get(key) for key in ("rule_set", "rule_set_hash", "outcome")),
            )
            for each in ledger.entries()
        ],
        is_active=active is not None and active.release_id == deployed.release_id,
    )


def container(
    home: Path, told: list[dict[str, object]], *, specs: Path = SMALL_SPEC
) -> Callable[[list[str]], int]:
    """Runs a container's command as it stands, with the platform's settings in its environment."""
    settings = {"PLATFORM_SPECS": json.dumps([str(specs)])}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

    def run_step(command: list[str]) -> int:
        done = subprocess.run(
            command,
            env=environment(home, **settings, PATH=path),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            print(done.stderr)
        else:
            told.append(json.loads(done.stdout))
        return done.returncode

    return run_step


@dataclass
class Told:
    """What a command said."""

    stdout: str
    stderr: str


def export(format_: str, home: Path, *, specs: Path = SMALL_SPEC, **extra: str) -> str:
    """What `platform-assets export` writes about the small line."""
    done = platform_assets(home, "export", format_, LINE, "--spec", specs, **extra)
    assert done.returncode == 0, done.stderr
    return done.stdout
