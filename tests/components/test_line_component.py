"""Lines in a project of somebody else: side by side, beside assets of its own, and wrong ones."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from textwrap import dedent
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster.components.core.component_tree import ComponentTreeException
from dagster.components.testing.utils import component_defs

from platform_assets.components import LineComponent
from platform_assets.components.project import project_settings
from platform_assets.references import STAGES
from tests.benchmarks.imports import HEAVY
from tests.components.projects import TYPE, DgProject, causes
from tests.features.shops import WOE, write_line, write_transformer
from tests.line_factory import ROOT, environment

OWN_CODE = """
import dagster as dg


class Shelf(dg.IOManager):
    def handle_output(self, context, obj):
        context.add_output_metadata({"kept": obj})

    def load_input(self, context):
        raise AssertionError("nobody reads what stands on the shelf")


@dg.asset(deps=["sales_dataset"])
def report():
    return "a report"


defs = dg.Definitions(assets=[report], resources={"io_manager": Shelf()})
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DgProject:
    """An empty project, with a home beside it."""
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))
    return DgProject(tmp_path / "project")


def keys(definitions: dg.Definitions) -> list[str]:
    """Of its assets, each as often as it is there."""
    return sorted(spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs())


def assets_of(line: str) -> set[str]:
    """Names of a line's assets."""
    return {f"{line}_{stage}" for stage in (*STAGES, "drift")}


def selected(definitions: dg.Definitions, job: str) -> set[str]:
    """What a job materializes."""
    layer = definitions.resolve_job_def(job).asset_layer
    return {key.to_user_string() for key in layer.selected_asset_keys}


def test_a_line_of_one_component_has_its_assets_checks_and_job(project):
    """What the platform's own code location makes of the same spec."""
    project.line("sales")

    definitions = project.definitions()

    assert set(keys(definitions)) == assets_of("sales")
    checks = {key.name for key in definitions.resolve_asset_graph().asset_check_keys}
    assert checks >= {"contract_schema", "contract_labels", "gate_auc"}
    assert selected(definitions, "sales") == assets_of("sales") - {"sales_drift"}


def test_two_lines_and_assets_of_the_project_stand_side_by_side(project, tmp_path):
    """Dagster merges them, each job is its line's, and whatever the project stores its own assets with stays in charge."""
    project.line("sales")
    project.line("returns")
    (project.defs / "report.py").write_text(OWN_CODE)

    definitions = project.definitions()

    assert keys(definitions) == sorted([*assets_of("sales"), *assets_of("returns"), "report"])
    assert selected(definitions, "returns") == assets_of("returns") - {"returns_drift"}
    with dg.DagsterInstance.ephemeral() as instance:
        made = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey("sales_dataset"), dg.AssetKey("report")]
        )
    kept = {
        event.asset_key.to_user_string(): event.materialization.metadata
        for event in made.get_asset_materialization_events()
    }
    assert kept["report"]["kept"].value == "a report"
    assert kept["sales_dataset"]["reference"].value["snapshot"]["rows"] == 900
    assert (tmp_path / "home" / "ledger").is_dir()


def test_what_several_lines_use_is_there_once(project):
    """A transformer of one line's folder, which both use and which reads the later one's dataset."""
    folder = project.defs / "a_returns"
    write_transformer(folder / "transformers", "sales_woe", WOE)
    uses = {"transformers": ["sales_woe@latest"]}
    write_line(folder, "returns", **uses)
    write_line(project.defs / "sales", "sales", **uses)
    project.line("a_returns", spec="returns-spec.yaml", transformers=["transformers"])
    project.line("sales", spec="sales-spec.yaml")

    definitions = project.definitions()

    assert keys(definitions) == sorted([*assets_of("sales"), *assets_of("returns"), "sales_woe"])
    assert "sales_woe" in selected(definitions, "sales")
    assert "sales_woe" in selected(definitions, "returns")


def test_a_dataset_of_another_project_is_shown_once_and_made_by_nobody(project):
    """A transformer may read one: its newest version, wherever that is made."""
    folder = project.defs / "a"
    write_transformer(folder, "sales_woe", WOE)
    for name in ("a", "b"):
        write_line(project.defs / name, name, transformers=["sales_woe@latest"])
        project.line(name, spec=f"{name}-spec.yaml", transformers=["sales_woe.yaml"] if name == "a" else None)

    definitions = project.definitions()

    assert keys(definitions) == sorted([*assets_of("a"), *assets_of("b"), "sales_woe", "sales_dataset"])
    graph = definitions.resolve_asset_graph()
    assert not graph.get(dg.AssetKey("sales_dataset")).is_executable


def test_components_of_one_file_and_of_python_are_of_the_same_project(project):
    """However a component is written down."""
    write_line(project.defs / "two", "sales")
    write_line(project.defs / "two", "returns")
    project.component("two", {"spec": "sales-spec.yaml"}, {"spec": "returns-spec.yaml"})
    write_line(project.defs / "third", "third")
    (project.defs / "third" / "component.py").write_text(
        dedent("""
        import dagster as dg
        from platform_assets.components import LineComponent


        @dg.component_instance
        def load(context: dg.ComponentLoadContext) -> LineComponent:
            return LineComponent(spec="third-spec.yaml")
        """)
    )

    assert keys(project.definitions()) == sorted(
        [*assets_of("sales"), *assets_of("returns"), *assets_of("third")]
    )


def test_a_component_by_itself(project, monkeypatch):
    """As tests of components make one, outside any folder of definitions."""
    monkeypatch.chdir(project.root)
    write_line(project.root, "sales")

    definitions = component_defs(component=LineComponent(spec="sales-spec.yaml"))

    assert set(keys(definitions)) == assets_of("sales")


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ({"gates": {"auk": "> 0.5"}}, "training-spec.yaml:{line}: gates.auk: "),
        ({"model": "oracle"}, "training-spec.yaml:{line}: model: "),
        ({"contract": "none.yaml"}, "training-spec.yaml:{line}: contract: no contract file none.yaml"),
        (
            {"transformers": ["no_woe@latest"]},
            "training-spec.yaml:{line}: transformers: there is no transformer no_woe",
        ),
    ],
)
def test_a_wrong_spec_is_told_with_file_line_and_field(project, broken, told):
    """So that `dg check defs` fails with it; no line is missing without a word."""
    here = project.line("sales", spec="training-spec.yaml")
    content = yaml.safe_load(write_line(here).read_text()) | broken
    text = yaml.safe_dump(content, sort_keys=False)
    (here / "training-spec.yaml").write_text(text)
    field = "auk" if "gates" in broken else next(iter(broken))
    line = next(at for at, each in enumerate(text.splitlines(), 1) if each.strip().startswith(f"{field}:"))

    with pytest.raises(ComponentTreeException) as failed:
        project.definitions()

    assert f"{here}/{told.format(line=line)}" in causes(failed.value)


def test_a_spec_that_is_not_there(project):
    """Where it was looked for is said."""
    here = project.component("sales", {})

    with pytest.raises(ComponentTreeException) as failed:
        project.definitions()

    assert f"{here}/training-spec.yaml: cannot be read (No such file or directory)" in causes(failed.value)


def test_a_broken_transformer_is_told_by_the_component_that_names_its_folder(project):
    """Although no line uses it: somebody has put it there."""
    here = project.line("sales", transformers=["mine"])
    write_transformer(here / "mine", "sales_woe", WOE, transformerType="woo")

    with pytest.raises(ComponentTreeException) as failed:
        project.definitions()

    assert f"{here}/mine/sales_woe.yaml:" in causes(failed.value)
    assert "transformerType" in causes(failed.value)


def test_two_lines_of_one_name_are_refused(project):
    """The second one says where the first one is."""
    first = project.line("sales")
    write_line(project.defs / "z", "sales")
    project.line("z", spec="sales-spec.yaml")

    with pytest.raises(ComponentTreeException) as failed:
        project.definitions()

    assert f"sales is the name of the line in {first}/sales-spec.yaml, too; rename one" in causes(
        failed.value
    )


def test_one_spec_in_two_components_is_refused(project):
    """Its assets would be there twice."""
    first = project.line("sales")
    project.line("z", spec="../sales/sales-spec.yaml")

    with pytest.raises(ComponentTreeException) as failed:
        project.definitions()

    assert f"{first}/sales-spec.yaml: is the spec of two components; keep one" in causes(failed.value)


def test_a_word_that_is_no_attribute_is_refused(project):
    """By Dagster, from the model of the component."""
    project.component("sales", {"spek": "training-spec.yaml"})

    with pytest.raises(ComponentTreeException) as failed:
        project.definitions()

    assert "spek" in causes(failed.value)


def test_the_home_is_in_the_project_unless_the_environment_says_otherwise(tmp_path, monkeypatch):
    """Wherever `dg` is started from."""
    monkeypatch.delenv("PLATFORM_HOME", raising=False)
    assert project_settings(tmp_path).home == tmp_path / ".platform"
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "elsewhere"))
    assert project_settings(tmp_path).home == tmp_path / "elsewhere"


def test_dg_finds_the_component_in_any_environment():
    """By the entry point that `dg list components` reads; the name that it shows is the one of defs.yaml."""
    (found,) = [
        each
        for each in entry_points(group="dagster_dg_cli.registry_modules")
        if each.name == "platform_assets"
    ]

    assert f"{found.value}.LineComponent" == TYPE
    assert found.load().LineComponent is LineComponent


def test_what_dg_lists_is_imported_fast(tmp_path):
    """Every `dg` command imports all components that are installed: what makes a line is not needed for that."""
    probe = f"import sys, platform_assets.components; print([n for n in {(*HEAVY, 'numpy', 'platform_assets.lines.line')!r} if n in sys.modules])"

    done = subprocess.run(
        [sys.executable, "-c", probe],
        env=environment(tmp_path),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "[]"


def test_the_schema_describes_every_attribute():
    """`dg docs` and editors show it."""
    model: Any = LineComponent.get_model_cls()
    properties = model.model_json_schema()["properties"]

    assert set(properties) == {"spec", "transformers"}
    assert all(each["description"] for each in properties.values())
