"""The code location: what it holds, what it costs to load, and that an installed wheel is complete."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from platform_assets.definitions import build_definitions, defs
from platform_assets.features.declared import load_transformers
from platform_assets.features.transformer_spec import TRANSFORMERS_FOLDER
from platform_assets.lines.line import Line, Lines, load_line, load_lines, with_transformers
from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings
from tests.e2e.xrays_under_control import small_line
from tests.line_factory import ROOT, SMALL_SPEC, environment

HEAVY = (
    "torch",
    "transformers",
    "mlflow",
    "great_expectations",
    "sklearn",
    "scipy",
    "matplotlib",
    "pandas",
    "pyiceberg",
    "numba",
)

SHIPPED_TRANSFORMERS = {"credit_woe", "flight_delay_lag", "flight_delay_zscore", "flight_woe"}
SHIPPED_DAYS = {"flight_delay_lag_daily", "flight_delay_zscore_daily"}
"""Of those that have features by day."""


def test_lines_that_ship_hold_their_assets_checks_and_jobs(tmp_path: Path) -> None:
    """What each declares, and what keeps house; nothing else, and nothing is left out."""
    lines, transformers = with_transformers(load_lines(), load_transformers())
    definitions = build_definitions(
        OutsideSystems(PlatformSettings(home=tmp_path)), lines.sound, transformers=transformers
    )

    keys = {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()}
    checks = {key.to_user_string() for key in definitions.resolve_asset_graph().asset_check_keys}

    assert lines.broken == ()
    assert transformers.broken == ()
    assert set(transformers.sound) == SHIPPED_TRANSFORMERS
    assert {line.name for line in lines.sound} >= {
        "chest_xray_detector",
        "credit_scorecard",
        "flight_delays",
        "reviews_sentiment",
    }
    assert keys == {
        *(f"{line.name}_{stage}" for line in lines.sound for stage in (*line.stages, "drift")),
        *transformers.sound,
        *SHIPPED_DAYS,
        "chest_xray_detector_promotions",
        "chest_xray_detector_quarantine",
        "retention_sweep",
        "schema_changes",
    }
    assert checks == {check for line in lines.sound for check in checks_of(line)}
    for line in lines.sound:
        job = definitions.resolve_job_def(line.name)
        selected = {key.to_user_string() for key in job.asset_layer.selected_asset_keys}
        assert selected == {*(f"{line.name}_{stage}" for stage in line.stages), *line.transformers}
    assert [sensor.name for sensor in definitions.sensors or ()] == ["drift_retraining", "review_requests"]
    assert [each.name for each in definitions.schedules or ()] == [
        "retention_every_night",
        "drift_every_hour",
    ]


def test_a_second_transformer_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever adds one writes YAML into a folder that the settings name, and nothing else."""
    shipped = TRANSFORMERS_FOLDER / "credit_woe.yaml"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "income.yaml").write_text(shipped.read_text().replace("credit-woe", "income-woe"))
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PLATFORM_TRANSFORMERS", json.dumps([str(tmp_path / "mine")]))

    groups = {spec.key.to_user_string(): spec.group_name for spec in defs().resolve_all_asset_specs()}

    assert {name for name, group in groups.items() if group == "features"} == {
        *SHIPPED_TRANSFORMERS,
        *SHIPPED_DAYS,
        "income_woe",
    }


def test_two_lines_of_one_task_stand_beside_each_other(tmp_path: Path) -> None:
    """Each with its own jobs by which people decide and review."""
    lines = (*load_lines().sound, load_line(small_line(tmp_path / "specs").spec))
    ours = with_transformers(Lines(lines, ()), load_transformers([TRANSFORMERS_FOLDER]))[0].sound
    outside = OutsideSystems(PlatformSettings(home=tmp_path / "home"))

    repository = build_definitions(outside, ours).get_repository_def()

    jobs = {job.name for job in repository.get_all_jobs()}
    for line in ("chest_xray_detector", "small_xrays"):
        assert {line, f"{line}_quarantine_decision", f"{line}_review"} <= jobs


def checks_of(line: Line) -> set[str]:
    """One for each domain of the contract and each gate that its spec declares, the breaker's, and the leak gate's."""
    domains = {"schema", *line.contract.domains}
    return {
        f"{line.name}_dataset:schema_breaker",
        *([f"{line.name}_features:features_no_leak"] if line.transformers else []),
        *(f"{line.name}_dataset:contract_{domain}" for domain in domains),
        *(f"{line.name}_validation:gate_{gate}" for gate in line.spec.gates),
    }


def test_a_watched_repository_brings_its_sensors(tmp_path: Path) -> None:
    """Who watches no repository is not shown sensors that do nothing."""
    settings = PlatformSettings(home=tmp_path, git_repositories=({"url": "https://example.org/models.git"},))

    definitions = build_definitions(OutsideSystems(settings), load_lines().sound)

    names = [sensor.name for sensor in definitions.sensors or ()]
    assert names == ["drift_retraining", "review_requests", "git_poller", "git_pushes"]


def test_a_cluster_brings_the_sensor_of_its_objects(tmp_path: Path) -> None:
    """On one machine there are none to look for."""
    settings = PlatformSettings(home=tmp_path).model_copy(update={"profile": "cluster"})

    definitions = build_definitions(OutsideSystems(settings), [load_line(SMALL_SPEC)])

    names = [sensor.name for sensor in definitions.sensors or ()]
    assert names == ["drift_retraining", "transformer_objects"]


def test_training_step_asks_for_what_its_spec_says(tmp_path: Path) -> None:
    """The GPU stands in the step's own tags, where an executor that makes pods reads it."""
    definitions = build_definitions(OutsideSystems(PlatformSettings(home=tmp_path)), load_lines().sound)

    tags = {
        node.name: json.loads(node.tags["dagster-k8s/config"])
        for node in definitions.resolve_job_def("reviews_sentiment").nodes
        if "dagster-k8s/config" in node.tags
    }

    limits = tags["reviews_sentiment_model"]["container_config"]["resources"]["limits"]
    assert list(tags) == ["reviews_sentiment_model"]
    assert limits == {"cpu": "2", "memory": "8Gi", "nvidia.com/gpu": "1"}


def test_run_config_shows_the_values_of_the_spec(tmp_path: Path) -> None:
    """Every value that one run may change starts as what the file says."""
    line = load_line(SMALL_SPEC)
    definitions = build_definitions(OutsideSystems(PlatformSettings(home=tmp_path)), [line])

    fields = (
        definitions.resolve_job_def(line.name).get_node_named(f"{line.name}_model").definition.config_schema
    )

    shown = {name: field.default_value for name, field in fields.config_type.fields.items()}
    assert shown["epochs"] == line.spec.epochs
    assert shown["learning_rate"] == line.spec.learning_rate
    assert shown["seed"] == line.spec.seed


def test_loading_the_code_location_imports_nothing_heavy(tmp_path: Path) -> None:
    """Every step process pays for what definitions import; libraries for one step are that step's own affair."""
    script = (
        "import sys, json; from platform_assets.definitions import defs; defs(); "
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )

    assert json.loads(done.stdout) == []


def test_usage_telemetry_is_off_by_default(tmp_path: Path) -> None:
    """Importing the package switches it off before any library could send anything."""
    script = "import platform_assets, os; print(os.environ['DAGSTER_DISABLE_TELEMETRY'], os.environ['GX_ANALYTICS_ENABLED'])"

    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(tmp_path), capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["yes", "false"]


def test_installed_wheel_is_complete(tmp_path: Path) -> None:
    """`resources` travels with the package, and so do specs, contracts, transformers, policy, the card's schema and template."""
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode != 0 and "hatchling" in built.stderr:
        pytest.skip("the build backend cannot be fetched here: the wheel is not tested")
    assert built.returncode == 0, built.stderr
    site = tmp_path / "site"
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    kept = {**environment(tmp_path / "home"), "PYTHONPATH": str(site)}
    script = (
        "import platform_assets, resources; from platform_assets.definitions import defs; "
        "from sensors.triggers import read_triggers, triggers_folder; read_triggers(triggers_folder()); "
        "from platform_assets.model_cards.card import _schema; "
        "from platform_assets.tasks.registry import find_task, known_tasks; "
        "[_schema(find_task(name).card_sections) for name in known_tasks()]; "
        "print(platform_assets.__file__, len(list(defs().resolve_all_asset_specs())))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], env=kept, capture_output=True, text=True, check=False, cwd=tmp_path
    )

    assert done.returncode == 0, done.stderr
    location, assets = done.stdout.split()
    assert location.startswith(str(site))
    assert int(assets) == 43
    assert (site / "resources" / "k8s" / "policy" / "minio_authz.rego").is_file()
    assert (site / "platform_assets" / "model_cards" / "templates" / "card.html.j2").is_file()
