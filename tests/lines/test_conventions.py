"""What Dagster shows of the assets of a line by its own conventions: owner, tags, freshness, where they are written."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from platform_assets.definitions import build_definitions
from platform_assets.lines.conventions import CODE_REFERENCES, owner_of
from platform_assets.lines.line import load_line
from platform_assets.manifest import ManifestError
from platform_assets.models.assets import model_asset
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import STAGES
from resources.settings import PlatformSettings
from tests.git_factory import run_git
from tests.line_factory import SMALL_SPEC, write_spec

LINE = "reviews_small"


def specs_of(path: Path, home: Path, **settings: Any) -> dict[str, dg.AssetSpec]:
    """The spec of each asset of the line of a file, and of what keeps house, by name."""
    outside = OutsideSystems(PlatformSettings(home=home, **settings))
    found = build_definitions(outside, [load_line(path)]).resolve_all_asset_specs()
    return {each.key.to_user_string(): each for each in found}


@pytest.mark.parametrize(
    ("stated", "owner"),
    [
        ("risk-control", "team:risk-control"),
        ("Risk Control & Co", "team:risk-control-co"),
        ("ana@acme.com", "ana@acme.com"),
        ("team:risk", "team:risk"),
        ("ana@müller.de", "team:ana-m-ller.de"),
        ("o'hara@acme.com", "team:o-hara-acme.com"),
        ("ana@acme.engineering", "team:ana-acme.engineering"),
        ("-ana@acme.com", "team:ana-acme.com"),
        ("ana@acme.com.", "team:ana-acme.com."),
        ("x" * 200, f"team:{'x' * 200}"),
        (" ", "team:unnamed"),
        ("风控", "team:unnamed"),
    ],
)
def test_an_owner_is_an_address_or_a_team(stated: str, owner: str) -> None:
    """As Dagster takes them; a name that it cannot have is one all the same."""
    assert owner_of(stated) == owner
    dg.AssetSpec("a", owners=[owner])


def test_every_asset_of_a_line_says_whose_it_is_and_of_what(tmp_path: Path) -> None:
    """From the spec: owner, line, task, stage and class."""
    found = specs_of(SMALL_SPEC, tmp_path)

    for stage in (*STAGES, "drift"):
        spec = found[f"{LINE}_{stage}"]
        tags = {name: value for name, value in spec.tags.items() if not name.startswith("dagster/")}
        assert list(spec.owners) == ["team:tests"]
        assert tags == {
            "platform/line": LINE,
            "platform/task": "text-classification",
            "platform/stage": stage,
            "platform/gdpr-class": "personal",
        }


def test_a_description_leads_to_the_page_and_the_spec_of_its_line(tmp_path: Path) -> None:
    """What the asset is comes first."""
    line = load_line(SMALL_SPEC)
    found = specs_of(SMALL_SPEC, tmp_path, reports_url="https://reports.acme.com")[f"{LINE}_model"]

    plain = model_asset(line.spec, line.task.trainer, SMALL_SPEC, line.basis)
    first, _, about = str(found.description).partition("\n\n")
    assert first == plain.descriptions_by_key[found.key]
    assert f"[{LINE}](https://reports.acme.com/lines/{LINE})" in about
    assert "reviews_small/training-spec.yaml" in about


def test_a_spec_that_is_named_from_where_one_stands_is_found_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads the page stands somewhere else."""
    path = write_spec(tmp_path / "sales")
    monkeypatch.chdir(path.parent)

    found = specs_of(Path(path.name), tmp_path)[f"{LINE}_card"]

    assert "declared in `sales/training-spec.yaml`" in str(found.description)
    assert found.metadata[CODE_REFERENCES].code_references[1].file_path == str(path)


def test_freshness_is_what_the_spec_says_and_nothing_else(tmp_path: Path) -> None:
    """By stage; a stage that is not named has none."""
    path = write_spec(
        tmp_path / "spec",
        freshness={
            "dataset": {"warn_after_days": 0.5, "fail_after_days": 1},
            "deployment": {"fail_after_days": 30},
        },
    )

    found = specs_of(path, tmp_path)

    assert found[f"{LINE}_dataset"].freshness_policy == dg.FreshnessPolicy.time_window(
        fail_window=timedelta(days=1), warn_window=timedelta(hours=12)
    )
    assert found[f"{LINE}_deployment"].freshness_policy == dg.FreshnessPolicy.time_window(
        fail_window=timedelta(days=30)
    )
    assert found[f"{LINE}_model"].freshness_policy is None


@pytest.mark.parametrize(
    ("freshness", "told"),
    [
        ({"data": {"fail_after_days": 1}}, "a line has no data; its assets are dataset, features"),
        ({"dataset": {"fail_after_days": 0}}, "dataset.fail_after_days"),
        ({"dataset": {"warn_after_days": 2, "fail_after_days": 2}}, "must be below fail_after_days"),
        ({"dataset": {"warn_after_days": 1 - 1e-14, "fail_after_days": 1}}, "must be below fail_after_days"),
        ({"dataset": {"warn_after_days": 2}}, "fail_after_days"),
        ({"dataset": {"fail_after_days": 1e12}}, "dataset.fail_after_days"),
        ({"dataset": {"warn_after_days": 1e12, "fail_after_days": 2}}, "dataset.warn_after_days"),
    ],
)
def test_freshness_that_cannot_be_is_refused(tmp_path: Path, freshness: dict[str, Any], told: str) -> None:
    """With the field, where the spec is read."""
    with pytest.raises(ManifestError, match=told):
        load_line(write_spec(tmp_path, freshness=freshness))


def test_code_is_shown_on_this_machine_where_no_browser_can(tmp_path: Path) -> None:
    """The function that makes the asset, though it is wrapped, and the file that declares it."""
    found = specs_of(write_spec(tmp_path / "spec"), tmp_path)

    for name, module in (("dataset", "datasets"), ("model", "models"), ("drift", "drift")):
        code, declared = found[f"{LINE}_{name}"].metadata[CODE_REFERENCES].code_references
        lines = Path(code.file_path).read_text(encoding="utf-8").splitlines()
        assert code.file_path.endswith(f"platform_assets/{module}/assets.py")
        assert lines[code.line_number - 1].lstrip().startswith(("@line_asset", "@dg.asset", "def "))
        assert declared.file_path == str(tmp_path / "spec" / "training-spec.yaml")
    assert CODE_REFERENCES in found["retention_sweep"].metadata
    assert CODE_REFERENCES in found["schema_changes"].metadata


def test_a_spec_on_github_is_linked_at_the_commit_that_runs(tmp_path: Path) -> None:
    """In the references and in the description, by whatever name; once changed, it is no longer what the commit has."""
    path = write_spec(tmp_path / "repository")
    folder = path.parent
    run_git(folder, "init", "--quiet")
    run_git(folder, "add", ".")
    run_git(folder, "commit", "--quiet", "-m", "first")
    run_git(folder, "remote", "add", "origin", "git@github.com:acme/models.git")
    commit = run_git(folder, "rev-parse", "HEAD").strip()

    linked = specs_of(path, tmp_path)[f"{LINE}_card"]
    (tmp_path / "by-link.yaml").symlink_to(path)
    by_link = specs_of(tmp_path / "by-link.yaml", tmp_path)[f"{LINE}_card"]
    path.write_text(path.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    changed = specs_of(path, tmp_path)[f"{LINE}_card"]

    address = f"https://github.com/acme/models/blob/{commit}/training-spec.yaml"
    assert f"({address})" in str(linked.description)
    assert linked.metadata[CODE_REFERENCES].code_references[1].url == f"{address}#L1"
    assert f"({address})" in str(by_link.description)
    assert address not in str(changed.description)
    assert changed.metadata[CODE_REFERENCES].code_references[1].file_path == str(path)
