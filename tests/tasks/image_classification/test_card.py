"""What a card says of a model of X-rays: first of all whether they are of anybody."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

import platform_assets.model_cards
from platform_assets.model_cards.card import build_card, render_html
from platform_assets.tasks.image_classification.evaluator import ImageEvaluator
from platform_assets.tasks.image_classification.task import TASK
from tests.model_cards.test_card import make_inputs, make_report
from tests.tasks.image_classification.judged import BlobScorer, make_rows, make_spec
from tests.tasks.image_classification.test_evaluator import make_scored


def make_card(*, trained_on="phantom", **columns):
    """Card and page of a model that was judged on rows with these columns; its sheet was made."""
    spec, evaluator = make_spec(pointed_rows=6), ImageEvaluator()
    features, scored = make_scored(make_rows(60, **columns), spec, BlobScorer(middle=199.0))
    at = scored.column_names.index("source")
    reference = scored.set_column(at, "source", pa.array([trained_on] * scored.num_rows))
    measures = evaluator.measures(scored, spec, reference=reference, threshold=0.5)
    sheet = evaluator.examined(BlobScorer(middle=199.0), features, scored, spec, threshold=0.5)
    report = make_report() | {"measures": {**measures, **sheet.measures}}
    card = build_card(make_inputs(report=report), TASK.card_sections)
    return card.document, render_html(card, task_sections=TASK.card_sections), sheet


@pytest.fixture(scope="module")
def made():
    """Of phantoms."""
    return make_card()


def test_the_first_line_says_that_the_x_rays_are_synthetic(made):
    """Before what the model is for; of images of people nothing is said."""
    document, page, _ = made
    assert document["synthetic"].startswith("The X-rays are SYNTHETIC")
    assert page.index("SYNTHETIC") < page.index("Sentiment of English film reviews") < page.index("Gates")
    assert page.index('<section id="synthetic">') == page.index("<section")
    document, page, _ = make_card(source="clinic", trained_on="clinic")
    assert not {"synthetic", "synthetic_training"} & set(document)
    assert "SYNTHETIC" not in page


def test_a_model_of_phantoms_says_so_though_it_was_measured_on_people():
    """Whoever gives images of a clinic as test source reads first what the model has learnt from."""
    document, page, _ = make_card(source="clinic")
    assert "synthetic" not in document
    assert document["synthetic_training"].startswith("The X-rays that the model was trained on are SYNTHETIC")
    assert page.index('<section id="synthetic_training">') == page.index("<section")


def test_a_card_tells_shortcuts_slices_and_how_far_maps_can_be_believed(made):
    """Figures with intervals, and the recall of what looks for burned-in text."""
    document, page, sheet = made
    told = sheet.measures["pointing"]
    assert document["pointing"]["pointing_rate"] == told["rate"]["value"]
    assert document["pointing"]["pointing_chance"] == told["chance"]
    assert {each["slice"] for each in document["shortcuts"]["views"]} == {
        "view_position: AP",
        "view_position: PA",
    }
    assert 0 < document["shortcuts"]["metadata_alone"]["metadata_auc"] < 1
    assert any(each["slice"] == "sex: F" for each in document["parts"])
    assert (
        document["operating_points"][0]["sensitivity_low"] <= document["operating_points"][0]["sensitivity"]
    )
    assert "46 of 48" in document["burned_in_text"]
    assert "Operating points" in page


def test_the_recall_of_burned_in_text_is_that_of_its_documentation(made):
    """One measurement, told in two places."""
    documented = (Path(__file__).parents[3] / "docs" / "image-gate.md").read_text(encoding="utf-8")
    for figures in ("| 46 of 48 | 46 of 48 | 36 of 48 |", "| 92 of 96 | 92 of 96 | 94 of 96 |"):
        assert figures in documented
    for figure in ("46 of 48", "36 of 48", "92 and 94 of 96"):
        assert figure in made[0]["burned_in_text"]


def test_a_card_holds_no_image_of_a_patient(made):
    """It is public, and no erasure rewrites it."""
    document, page, sheet = made
    assert sheet.images.num_rows
    assert "data:image/png" not in page
    text = json.dumps(document)
    assert not any(patient in text for patient in sheet.images["patient"].to_pylist())


def test_every_key_has_a_term():
    """A card with a key that its context does not know would not be JSON-LD."""
    sections = yaml.safe_load(TASK.card_sections.read_text(encoding="utf-8"))
    folder = Path(platform_assets.model_cards.__file__).parent
    shared = json.loads((folder / "context.jsonld").read_bytes())["@context"]

    def keys(entries):
        for entry in entries:
            yield entry["key"]
            yield from keys(entry.get("fields", ()))

    assert {*keys(sections["first"]), *keys(sections["sections"])} <= {*shared, *sections["context"]}
