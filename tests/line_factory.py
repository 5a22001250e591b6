"""Builders for tests of a whole line: small specs, and a finished platform home to start from."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from platform_assets.definitions import build_definitions
from platform_assets.lines.assets import asset_key
from platform_assets.lines.line import Line, load_line
from platform_assets.lines.runner import open_instance
from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings

ROOT = Path(__file__).resolve().parent.parent
SMALL_SPEC = ROOT / "tests" / "fixtures" / "reviews_small" / "training-spec.yaml"


def write_spec(folder: Path, name: str = "training-spec.yaml", **changes: Any) -> Path:
    """The small spec with some fields changed; a value of None is written as null."""
    content = yaml.safe_load(SMALL_SPEC.read_text(encoding="utf-8")) | changes
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def environment(home: Path, **extra: str) -> dict[str, str]:
    """The environment of a platform process whose state lies in `home`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PLATFORM_", "DAGSTER_HOME"))
    }
    return {**kept, "PLATFORM_HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **extra}


def command(*arguments: str | Path) -> list[str]:
    """The command line of `platform-assets …`."""
    return [sys.executable, "-m", "platform_assets.cli", *map(str, arguments)]


def platform_assets(home: Path, *arguments: str | Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run `platform-assets …` to its end."""
    return subprocess.run(
        command(*arguments),
        env=environment(home, **extra),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def materialize_alone(
    settings: PlatformSettings,
    spec: Path,
    stage: str,
    *,
    tags: dict[str, str] | None = None,
    **config: object,
) -> tuple[dg.ExecuteInProcessResult, str | None]:
    """Materialize one asset of a line, as a person may in the UI: the result, and the failure's text if it failed."""
    line = load_line(spec)
    with open_instance(settings) as instance:
        result = (
            build_definitions(OutsideSystems(settings), [line])
            .resolve_job_def(line.name)
            .execute_in_process(
                instance=instance,
                asset_selection=[asset_key(line, stage)],
                run_config={"ops": {f"{line.name}_{stage}": {"config": config}}} if config else None,
                tags=tags,
                raise_on_error=False,
            )
        )
    failures = [
        event.step_failure_data.user_failure_data for event in result.all_events if event.is_step_failure
    ]
    return result, failures[0].description if failures else None


def check_alone(
    settings: PlatformSettings, line: Line, *checks: str
) -> tuple[dict[str, dg.AssetCheckEvaluation], str | None]:
    """Execute checks of a line (`<asset>:<check>`), as a click in the UI does: what each found, and the failure's text."""
    keys = {
        dg.AssetCheckKey(dg.AssetKey(asset), name) for asset, name in (each.split(":") for each in checks)
    }
    with open_instance(settings) as instance:
        job = build_definitions(OutsideSystems(settings), [line]).resolve_implicit_global_asset_job_def()
        result = job.get_subset(asset_selection=set(), asset_check_selection=keys).execute_in_process(
            instance=instance, raise_on_error=False
        )
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    told = [
        each.user_failure_data.description if each.user_failure_data else each.error.to_string()
        for each in failures
    ]
    found = {each.check_name: each for each in result.get_asset_check_evaluations()}
    assert not result.get_asset_materialization_events()
    return found, told[0] if told else None


class FinishedHome:
    """A home whose line is deployed; every test gets it as it was.

    Iceberg's catalogue holds absolute paths, so the home is put back in place and not copied elsewhere.
    """

    def __init__(self, home: Path) -> None:
        self.path = home
        self._saved = home.with_name(home.name + ".saved")

    def save(self) -> None:
        """Remember the present state."""
        shutil.rmtree(self._saved, ignore_errors=True)
        shutil.copytree(self.path, self._saved, copy_function=_linked_or_copied)

    def restore(self) -> Path:
        """Put the remembered state back, all but MLflow's: it keeps connections open within a process."""
        for part in self._saved.iterdir():
            if part.name != "mlflow":
                shutil.rmtree(self.path / part.name, ignore_errors=True)
                shutil.copytree(part, self.path / part.name, copy_function=_linked_or_copied)
        shutil.rmtree(self.path / "checkpoints", ignore_errors=True)
        return self.path


def _linked_or_copied(source: str, target: str) -> None:
    # Files of the object store and of tables are never written in place: links are as good and much faster.
    if source.endswith((".safetensors", ".parquet", ".avro")):
        os.link(source, target)
    else:
        shutil.copy2(source, target)
