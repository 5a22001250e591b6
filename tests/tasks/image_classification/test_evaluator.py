"""Judging models of X-rays: measures by patient, slices, shortcuts, and what errors rest on."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from PIL import Image

from platform_assets.fingerprint import code_version
from platform_assets.sheets import Sheet
from platform_assets.tasks.image_classification.evaluator import SCORE_OF_METADATA, ImageEvaluator
from platform_assets.tasks.image_classification.judging_spec import ImageJudgingSpec
from platform_assets.tasks.image_classification.task import TASK
from platform_assets.validation.clusters import COLUMN
from platform_assets.validation.evaluator import Comparing, Examining, Showing
from platform_assets.validation.gate import GateInputs, evaluate, rules_with
from platform_assets.validation.metrics import binary_metrics, roc_auc
from tests.tasks.image_classification.judged import (
    BlobScorer,
    CornerScorer,
    make_features,
    make_rows,
    make_spec,
)

EVALUATOR = ImageEvaluator()


def make_scored(rows, spec, scorer=None, *, split="test"):
    """Rows of a split with all columns of scored rows."""
    measured, train = (rows.filter(pc.equal(rows["split"], each)) for each in (split, "train"))
    features = make_features(measured, spec)
    scored = measured.select(["patient", "label", "source", "split"])
    own = EVALUATOR.columns(features, measured, spec)
    for name in own.column_names:
        scored = scored.append_column(name, own[name])
    scored = scored.append_column(COLUMN, pa.array(EVALUATOR.clusters(measured, spec)))
    scored = scored.append_column("score", pa.array((scorer or BlobScorer()).score_features(features)))
    scored = scored.append_column("baseline_score", pa.array(EVALUATOR.baseline(train, measured, spec)))
    for name, values in EVALUATOR.compared(train, measured, spec, trained_with={}).items():
        scored = scored.append_column(name, pa.array(values))
    return features, scored


@pytest.fixture(scope="module")
def spec():
    """Small images, few are asked for."""
    return make_spec()


@pytest.fixture(scope="module")
def rows():
    """140 patients; views tell a lot."""
    return make_rows(140, view_tells=0.8)


@pytest.fixture(scope="module")
def judged(rows, spec):
    """Features and scored rows of the test split, by a scorer that misses faint blobs."""
    return make_scored(rows, spec, BlobScorer(middle=199.0))


def measure(scored, spec, reference=None):
    """What the evaluator measures."""
    return EVALUATOR.measures(
        scored, spec, reference=scored if reference is None else reference, threshold=0.5
    )


def test_it_compares_and_examines():
    """Beside what every evaluator does."""
    assert isinstance(EVALUATOR, Comparing)
    assert isinstance(EVALUATOR, Examining)
    assert EVALUATOR.examining_code not in {EVALUATOR.code, EVALUATOR.scoring_code, code_version("x")}
    assert set(EVALUATOR.fields) == set(ImageJudgingSpec.model_fields)


def test_images_of_one_patient_are_drawn_together(rows, spec):
    """Their number is that of the patient."""
    codes = EVALUATOR.clusters(rows, spec)
    patients = rows["patient"].to_pylist()
    assert EVALUATOR.cluster_unit(spec) == "patients"
    assert (
        len(set(codes.tolist())) == len(set(patients)) == len(set(zip(codes.tolist(), patients, strict=True)))
    )


def test_measures_are_about_the_given_rows(judged, spec):
    """Operating points, slices that the data has, views, metadata, findings; all of it JSON."""
    _, scored = judged
    found = measure(scored, spec)
    assert json.loads(json.dumps(found)) == found
    assert found["sensitivity_at_90_specificity"] == found["operating_points"][0]["sensitivity"]
    slices = {each["slice"]: each for each in found["slices"]}
    assert {name.partition(":")[0] for name in slices} == {"view_position", "sex", "age_band"}
    rows = pc.equal(scored["sex"], "F")
    women = scored.filter(rows)
    assert slices["sex: F"]["auc"] == roc_auc(women["label"].to_numpy(), women["score"].to_numpy())
    assert [each["slice"] for each in found["views"]] == ["view_position: AP", "view_position: PA"]
    alone = found["metadata_alone"]
    labels, by_metadata = scored["label"].to_numpy(), scored[SCORE_OF_METADATA].to_numpy()
    assert found["auc_of_metadata"] == alone["auc"]["value"] == roc_auc(labels, by_metadata)
    model = binary_metrics(labels, scored["score"].to_numpy(), seed=0)
    assert alone["ahead"]["value"] == pytest.approx(model.auc - alone["auc"]["value"])
    assert [each["finding"] for each in found["sensitivity_by_finding"]][-3:] == [
        "grade: 1",
        "grade: 2",
        "grade: 3",
    ]
    graded = found["sensitivity_by_finding"][1:]
    total = sum(each["n"] * each["sensitivity"] for each in graded)
    assert total == pytest.approx(((scored["score"].to_numpy() >= 0.5) & (labels == 1)).sum())


def test_images_of_unknown_view_are_no_view(rows, spec):
    """Where one image tells its view and all others do not, no gate decides on what those others make of a mixture."""
    column = rows.column_names.index("view_position")
    views = ["PA", *[None] * (rows.num_rows - 1)]
    _, scored = make_scored(rows.set_column(column, "view_position", pa.array(views[::-1])), spec)
    found = measure(scored, spec)
    assert [each["slice"] for each in found["views"]] == ["view_position: PA"]
    inputs = GateInputs(
        test_metrics=binary_metrics(scored["label"].to_numpy(), scored["score"].to_numpy(), seed=0),
        has_production=False,
        measures=found,
    )
    (result,) = evaluate({"auc_within_views": "> 0.5"}, inputs, rules_with(EVALUATOR.rules), spec)
    assert result.outcome == "error"


def test_of_few_people_with_a_finding_nothing_is_told(judged, spec):
    """Ten images of one patient are one patient."""
    _, scored = judged
    one = scored.set_column(
        scored.column_names.index(COLUMN), COLUMN, pa.array(np.zeros(scored.num_rows, np.int64))
    )
    assert measure(scored, spec)["sensitivity_by_finding"]
    assert measure(one, spec)["sensitivity_by_finding"] == []


def test_a_threshold_that_validation_rows_fix_is_judged_on_test_rows(rows, judged, spec):
    """Beside those that the test rows choose for themselves; rows of one label fix none."""
    _, scored = judged
    reference = make_scored(rows, spec, split="validation")[1]
    points = measure(scored, spec, reference)["operating_points"]
    assert points[-1]["point"] == "90% specificity on validation rows"
    one_label = reference.filter(pc.equal(reference["label"], 1))
    assert len(measure(scored, spec, one_label)["operating_points"]) == 3


def test_a_model_that_knows_the_view_alone_is_stopped(rows, judged, spec):
    """It is fine on the whole, has nothing to say within a view, and knows no more than metadata."""
    _, scored = judged
    positive = scored["view_position"].to_pylist()
    noise = np.random.default_rng(0).normal(size=scored.num_rows) / 50
    by_view = np.where(np.array(positive) == "AP", 0.7, 0.3) + noise.clip(-0.2, 0.2)
    shortcut = scored.set_column(scored.column_names.index("score"), "score", pa.array(by_view))
    gates = {"auc_within_views": "> 0.7", "auc_above_metadata": "> 0.1", "worst_slice_auc": "> 0.9"}
    outcomes = []
    for each in (scored, shortcut):
        labels, scores = each["label"].to_numpy(), each["score"].to_numpy()
        inputs = GateInputs(
            test_metrics=binary_metrics(labels, scores, seed=0),
            has_production=False,
            measures=measure(each, make_spec(slice_min_rows=20)),
        )
        results = evaluate(gates, inputs, rules_with(EVALUATOR.rules), make_spec(slice_min_rows=20))
        outcomes.append([result.outcome for result in results])
    assert outcomes == [["pass"] * 3, ["fail"] * 3]


def test_the_sheet_shows_the_most_certain_errors_and_how_far_maps_can_be_believed(judged, spec):
    """Each with its patient; the highest score first among false alarms, the lowest among misses. No id is told in words."""
    features, scored = judged
    sheet = EVALUATOR.examined(BlobScorer(middle=199.0), features, scored, spec, threshold=0.5)
    groups = sheet.groups()
    missed = scored.filter(pc.and_(pc.equal(scored["label"], 1), pc.less(scored["score"], 0.5)))
    expected = missed.sort_by("score").slice(0, spec.shown_errors)
    assert list(groups) == ["A finding that was missed"]
    assert sheet.images["patient"].to_pylist() == expected["patient"].to_pylist()
    captions = [each["caption"] for each in groups["A finding that was missed"]]
    assert captions[0].startswith(f"score {expected['score'][0].as_py():.2f}, ")
    assert "nodule, grade" in captions[0]
    told = sheet.measures["pointing"]
    assert (told["asked"], sheet.measures["pointing_rate"]) == (spec.pointed_rows, told["rate"]["value"])
    assert told["rate"]["value"] > 0.7
    assert told["chance"] < 0.1
    assert sheet.notes[0].startswith("The X-rays are SYNTHETIC")
    assert f"in {told['hits']} (" in sheet.notes[2]
    words = " ".join([sheet.title, *sheet.notes, *captions])
    assert not any(patient in words for patient in scored["patient"].to_pylist())
    assert Sheet.of_bytes(_stored(sheet)).measures == sheet.measures


def test_maps_of_a_model_that_looks_elsewhere_point_elsewhere(rows, spec):
    """What has learnt a corner is seen to look there: its rate is no better than chance."""
    features, scored = make_scored(rows, spec, CornerScorer())
    sheet = EVALUATOR.examined(CornerScorer(), features, scored, spec, threshold=0.0)
    told = sheet.measures["pointing"]
    assert told["rate"]["low"] <= told["chance"]
    assert list(sheet.groups()) == ["Taken for a finding, and there is none"]
    alarms = scored.filter(pc.equal(scored["label"], 0)).sort_by([("score", "descending")])
    assert sheet.images["patient"].to_pylist() == alarms["patient"].to_pylist()[: spec.shown_errors]


def test_without_boxes_nobody_knows_and_without_errors_there_is_nothing_to_show(judged, spec):
    """Real data may have no boxes; then no rate is invented."""
    features, scored = judged
    for name in ("box_top", "box_left", "box_bottom", "box_right"):
        at = scored.column_names.index(name)
        scored = scored.set_column(at, name, pa.nulls(scored.num_rows, pa.int32()))
    sheet = EVALUATOR.examined(BlobScorer(middle=199.0), features, scored, spec, threshold=0.5)
    assert sheet.measures == {}
    assert "nobody knows how far" in sheet.notes[2]
    at = scored.column_names.index("source")
    of_people = scored.set_column(at, "source", pa.array(["clinic"] * scored.num_rows))
    sheet = EVALUATOR.examined(BlobScorer(middle=199.0), features, of_people, spec, threshold=0.5)
    assert len(sheet.notes) == 2
    assert "SYNTHETIC" not in " ".join(sheet.notes)
    at = scored.column_names.index("score")
    perfect = scored.set_column(at, "score", scored["label"].cast(pa.float64()))
    assert EVALUATOR.examined(BlobScorer(), features, perfect, spec, threshold=0.5).groups() == {}


def test_pictures_hold_no_image_of_a_patient(judged, spec):
    """They go into metadata and cards, which no erasure rewrites: curves and intervals alone."""
    _, scored = judged
    drawn = EVALUATOR.pictures(scored, measure(scored, spec), spec)
    assert set(drawn) == {"roc-operating-points", "slices-with-intervals"}
    assert all(png.startswith(b"\x89PNG") for png in drawn.values())


def _stored(sheet):
    from platform_assets.governance.subject_columns import as_object

    return as_object(sheet.as_table(), namespace="patient", column="patient")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"occlusion_px": 8, "occlusion_stride_px": 9}, "must be at most occlusion_px"),
        ({"image_size": 512}, "makes 3,969 squares of images of image_size 512"),
        ({"slices": ["weight"]}, "Input should be"),
        ({"slice_min_rows": 5}, "greater than or equal to 20"),
        ({"metadata": []}, "at least 1 item"),
    ],
)
def test_a_spec_that_could_not_judge_is_refused(changes, problem):
    """Field by field."""
    with pytest.raises(ValueError, match=problem):
        make_spec(**changes)


def test_single_images_are_shown_to_reviewers(judged, spec):
    """Each that is asked for with what its answer rests on, whatever its place; the line's evaluator measures as it did."""
    features, scored = judged
    showing = TASK.evaluator
    assert isinstance(showing, Showing)
    assert not isinstance(EVALUATOR, Showing)
    assert showing.code == EVALUATOR.code
    assert showing.scoring_code == EVALUATOR.scoring_code
    assert showing.examining_code == EVALUATOR.examining_code
    ill, well = (scored["label"].to_pylist().index(label) for label in (1, 0))
    shown = showing.shown(BlobScorer(), features, scored, [ill, well], spec)
    assert set(shown) == {ill, well}
    green = {row: np.array(Image.open(io.BytesIO(png)).convert("RGB")) for row, png in shown.items()}
    boxes = {row: bool((pixels == (0, 158, 115)).all(axis=2).any()) for row, pixels in green.items()}
    assert boxes == {ill: True, well: False}
    assert showing.shown(BlobScorer(), features, scored, [], spec) == {}
