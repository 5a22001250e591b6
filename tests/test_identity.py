"""Identities of specs: what a later version adds changes them only where it is used."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from platform_assets.datasets.spec import DatasetSpec
from platform_assets.fingerprint import canonical_sha256
from platform_assets.governance.requirements import Demands
from platform_assets.lines.line import Line, load_line
from platform_assets.manifest import AddedLater, Manifest, Many, Section, identity_of
from platform_assets.model_cards.assets import card_fingerprint
from platform_assets.model_cards.spec import CardSpec
from platform_assets.serving.assets import deployment_fingerprint
from platform_assets.serving.spec import DeploymentSpec
from platform_assets.tasks.text_classification.spec import TextTrainingSpec
from tests.line_factory import SMALL_SPEC, write_spec


class Cut(Section):
    """A section within a section."""

    size: int = 1


class Step(Section):
    """A spec of today."""

    rate: float = 0.5
    cut: Cut = Cut()
    cuts: Many[Cut] = ()
    named: dict[str, Cut] = Field(default_factory=dict)
    kind: Literal["a", "b"] = "a"


class LaterCut(Cut):
    """The section within, in a later version."""

    depth: Annotated[int, Field(ge=0), AddedLater(0)] = 0


class LaterStep(Step):
    """The spec in a later version."""

    cut: LaterCut = LaterCut()
    cuts: Many[LaterCut] = ()
    named: dict[str, LaterCut] = Field(default_factory=dict)
    margin: Annotated[float | None, Field(gt=0), AddedLater(None)] = None
    words: Annotated[Many[str], AddedLater([])] = ()
    more: Annotated[LaterCut, AddedLater({"size": 1})] = LaterCut()


CONTENTS = [
    {},
    {"rate": 0.1, "kind": "b"},
    {"cut": {"size": 3}, "cuts": [{"size": 4}, {}], "named": {"x": {"size": 5}, "y": {}}},
]
USED = [
    {"margin": 0.5},
    {"words": ["a"]},
    {"more": {"size": 2}},
    {"more": {"depth": 1}},
    {"cut": {"depth": 1}},
    {"cuts": [{"depth": 1}]},
    {"named": {"x": {"depth": 1}}},
]


@pytest.mark.parametrize("content", CONTENTS)
def test_a_field_that_is_added_changes_no_identity(content):
    """A spec that says nothing of the new fields is what it was, in every section."""
    later = LaterStep.model_validate(content)
    assert identity_of(later) == identity_of(Step.model_validate(content))
    assert identity_of(later, Step.model_fields) == identity_of(Step.model_validate(content))


def test_saying_what_was_before_is_no_change():
    """It is the value that counts, not whether the file states it."""
    stated = LaterStep.model_validate({"margin": None, "words": [], "cut": {"depth": 0}, "more": {"size": 1}})
    assert identity_of(stated) == identity_of(LaterStep())


@pytest.mark.parametrize("content", USED)
def test_a_field_that_was_added_counts_where_it_is_used(content):
    """With any other value something else is made."""
    used = identity_of(LaterStep.model_validate(content))
    assert used != identity_of(LaterStep())
    assert len({canonical_sha256(identity_of(LaterStep.model_validate(each))) for each in USED}) == len(USED)


def test_a_default_that_changes_is_another_identity():
    """What a spec leaves out is resolved: another default makes something else, though the file is the same."""

    class OtherRate(Step):
        rate: float = 0.4

    class OtherCut(Step):
        cut: Cut = Cut(size=2)

    class OtherMargin(LaterStep):
        margin: Annotated[float | None, Field(gt=0), AddedLater(None)] = 0.1

    others = [identity_of(kind()) for kind in (Step, OtherRate, OtherCut, OtherMargin)]
    assert len({canonical_sha256(each) for each in others}) == len(others)


def test_an_ordinary_field_that_is_added_is_another_identity():
    """Nobody has promised that its default is what was before."""

    class Added(Step):
        margin: float = 0.0

    assert identity_of(Added()) == identity_of(Step()) | {"margin": 0.0}


def test_an_identity_holds_the_values_of_the_fields_asked_for():
    """As JSON, whether the file states them or not."""
    spec = Step(cuts=(Cut(size=2),))
    assert identity_of(spec, ("cuts", "kind")) == {"cuts": [{"size": 2}], "kind": "a"}
    assert identity_of(spec) == spec.model_dump(mode="json")


def test_fingerprints_of_stages_leave_out_what_was_added_later():
    """Card and deployment stay what they are until a new field is used."""

    class LaterCard(CardSpec):
        contact: Annotated[str | None, AddedLater(None)] = None

    class LaterDeployment(DeploymentSpec):
        timeout_seconds: Annotated[int, AddedLater(60)] = 60

    texts = {"owner": "a", "intended_use": "b", "limitations": "c"}

    def card(section: Section) -> str:
        return card_fingerprint("line", section, None, registered_version="1", report_version="2")

    def deployment(section: Section) -> str:
        return deployment_fingerprint("line", section, Demands((), {}), "huggingface", card_version="3")

    assert card(LaterCard(**texts)) == card(CardSpec(**texts))
    assert card(LaterCard(**texts, contact="d")) != card(CardSpec(**texts))
    assert deployment(LaterDeployment()) == deployment(DeploymentSpec())
    assert deployment(LaterDeployment(timeout_seconds=30)) != deployment(DeploymentSpec())


def test_the_basis_of_a_line_is_what_its_file_says(tmp_path: Path):
    """Layout, the order of keys and a list of one written as a string are no difference; a value is."""
    line = load_line(write_spec(tmp_path / "a"))
    text = SMALL_SPEC.read_text(encoding="utf-8")
    assert (
        load_line(write_spec(tmp_path / "b", train_data_uri=list(line.spec.train_data_uri))).basis
        == line.basis
    )
    for name, layout in {"comments": f"# for a test\n{text}", "order": _reversed(line)}.items():
        path = write_spec(tmp_path / name)
        path.write_text(layout, encoding="utf-8")
        assert load_line(path).basis == line.basis
    assert load_line(write_spec(tmp_path / "c", seed=line.spec.seed + 1)).basis != line.basis


def _reversed(line: Line) -> str:
    """The line's spec with its keys the other way round, and indented otherwise."""
    import yaml

    content = yaml.safe_load(SMALL_SPEC.read_text(encoding="utf-8"))
    return yaml.safe_dump(
        {
            key: dict(reversed(value.items())) if isinstance(value, dict) else value
            for key, value in reversed(content.items())
        },
        sort_keys=False,
        indent=7,
        default_flow_style=True,
    )


def test_the_basis_of_a_line_outlives_fields_that_its_file_does_not_name(tmp_path: Path):
    """A later version adds fields and changes defaults; what the file says stays what it says."""

    class LaterSpec(TextTrainingSpec):
        patience: int = 3
        retention_days: int = 10

    assert "retention_days" not in SMALL_SPEC.read_text(encoding="utf-8")
    assert "retention_days" in DatasetSpec.model_fields
    line = load_line(write_spec(tmp_path))
    content = line.spec.model_dump(exclude_unset=True)
    later = Manifest(line.manifest.path, LaterSpec.model_validate(content), line.manifest.lines)
    assert Line(later, line.task, line.contract).basis == line.basis
    stated = LaterSpec.model_validate(content | {"patience": 3})
    assert Line(Manifest(later.path, stated, later.lines), line.task, line.contract).basis != line.basis
