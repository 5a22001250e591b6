"""A report on several sources: the gates are about the line's own, the others are compared one by one."""

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.lines.line import load_line
from platform_assets.tasks.text_classification.task import TASK
from platform_assets.validation import pictures
from platform_assets.validation.assets import report_pictures
from platform_assets.validation.errors import ValidationError
from platform_assets.validation.metrics import roc_auc
from platform_assets.validation.production import ProductionScores
from platform_assets.validation.report import assess
from tests.line_factory import SMALL_SPEC
from tests.validation.scored import make_model, make_scored, probabilities

SPEC = load_line(SMALL_SPEC).spec
OWN = {("imdb", "validation"): 1000, ("imdb", "test"): 1200}
OTHER = {("rt", "validation"): 300, ("rt", "test"): 400}
GATES = {
    "auc": "> 0.9",
    "beats_baseline": True,
    "score_drift_ks": "<= 0.1",
    "auc_drop_from_production": "<= 0.01",
    "auc_drop_by_source": "<= 0.0",
}


def labels_of(scored):
    """The test rows' labels."""
    return scored.filter(pc.equal(scored["split"], "test"))["label"].to_numpy()


def in_production(scored, *, skill=1.0, **refused):
    """A version in production of that skill, refused for these sources."""
    return ProductionScores(probabilities(labels_of(scored), skill=skill, seed=5), refused)


def report_on(scored, *first, trained=("imdb", "rt"), production=None, gates=GATES):
    """The report on scored rows of a model whose dataset has these first sources."""
    return assess(
        scored,
        make_model(*first),
        gates,
        TASK.evaluator,
        SPEC,
        training_sources=trained,
        production=production,
        now=datetime(2026, 11, 22, tzinfo=UTC),
    )


def outcomes(report):
    """Outcome by gate."""
    return {result.rule_set.removeprefix("gate."): result.outcome for result in report.gates}


def test_another_source_changes_nothing_that_the_gates_measure():
    """Metrics, baselines and drift are those of the first source's rows, whatever else is trained on."""
    alone = report_on(make_scored(OWN), "imdb", trained=("imdb",))
    both = report_on(make_scored(OTHER | OWN), "imdb")

    assert both.measured_sources == alone.measured_sources == ("imdb",)
    assert (both.metrics, both.baselines, both.drift) == (alone.metrics, alone.baselines, alone.drift)
    assert both.metrics.n == OWN["imdb", "test"]
    assert [part.name for part in both.slices] == ["imdb (test)", "rt (test)"]
    assert outcomes(both) == dict.fromkeys(GATES, "pass")


def test_an_older_dataset_is_measured_as_a_whole():
    """A record that names no first sources means all of them; which are the others, if there are two, nobody knows."""
    report = report_on(make_scored(OWN | OTHER))

    assert report.measured_sources == ("imdb", "rt")
    assert report.metrics.n == OWN["imdb", "test"] + OTHER["rt", "test"]
    assert report.other_sources == ()
    assert outcomes(report)["auc_drop_by_source"] == "error"
    assert outcomes(report_on(make_scored(OWN), trained=("imdb",)))["auc_drop_by_source"] == "pass"


def test_a_shifted_source_is_shown_and_no_source_in_training():
    """Rows that were never to be trained on have a slice and a drift finding, and no gate."""
    report = report_on(make_scored(OWN | {("rt", "shift"): 500}), "imdb", trained=("imdb",))

    assert [part.name for part in report.slices] == ["imdb (test)", "rt (shift)"]
    assert [(each.reference, each.current, each.n_current) for each in report.drift if not each.gated] == [
        ("validation", "test", 1200),
        ("test", "shift", 500),
        ("test", "shift", 500),
    ]
    assert report.other_sources == ()


@pytest.mark.parametrize("present", [0, 1])
def test_a_column_that_is_almost_empty_is_told_and_the_others_are_judged(present):
    """With fewer than two values in a split a column cannot be compared there; the reason names column and split."""
    scored = make_scored(OWN | {("rt", "shift"): 500})
    at, words = scored.column_names.index("words"), scored["words"].to_numpy().astype(float)
    tested = (scored["split"].to_numpy() == "test").nonzero()[0]
    words[tested[present:]] = float("nan")
    report = report_on(scored.set_column(at, "words", pa.array(words)), "imdb", trained=("imdb",))

    few = f"words: test has {present} rows, too few to compare"
    assert report.not_compared == {"words": f"{few}; {few}"}
    told, shifted = report.missing_values
    assert (told.current, told.missing_reference, told.missing_current, told.alarm) == (
        "test",
        0,
        told.n_current - present,
        True,
    )
    assert (shifted.reference, shifted.missing_current, shifted.alarm) == ("test", 0, True)
    assert [(each.column, each.current) for each in report.drift] == [("score", "test"), ("score", "shift")]
    assert outcomes(report)["score_drift_ks"] == "pass"


def test_what_is_missing_on_both_sides_alike_is_told_and_no_drift(monkeypatch):
    """Counted a side; a watched column of texts is told as not compared, and what it lacks is counted too."""
    scored = make_scored(OWN)
    at, words = scored.column_names.index("words"), scored["words"].to_numpy().astype(float)
    words[::10] = float("inf")
    towns = [None if row % 10 == 1 else "Bonn" for row in range(scored.num_rows)]
    scored = scored.set_column(at, "words", pa.array(words)).append_column("town", pa.array(towns))
    monkeypatch.setattr(type(TASK.evaluator), "profiled", lambda *_: ("words", "town"))
    report = report_on(scored, "imdb", trained=("imdb",))

    assert "words" in [each.column for each in report.drift]
    assert list(report.not_compared) == ["town"]
    assert [
        (each.column, each.infinite_current > 0, each.missing_current > 0, each.alarm)
        for each in report.missing_values
    ] == [("words", True, False, False), ("town", False, True, False)]


def test_a_score_that_is_missing_is_refused():
    """Of the score nothing is left out: it cannot be measured at all."""
    scored = make_scored(OWN)
    at, scores = scored.column_names.index("score"), scored["score"].to_numpy().copy()
    scores[0] = float("nan")
    with pytest.raises(ValidationError, match="score: 1 of 1000 values of validation are NaN"):
        report_on(scored.set_column(at, "score", pa.array(scores)), "imdb", trained=("imdb",))


def test_rows_of_the_first_source_are_required():
    """Without own test rows there is nothing to gate on, however many the other source has."""
    with pytest.raises(ValidationError, match="no rows to measure"):
        report_on(make_scored({("imdb", "validation"): 1000} | OTHER), "imdb")


def test_a_good_second_source_saves_no_gate():
    """Own rows on which the model has learnt nothing block, however well it does on a larger second source."""
    scored = pa.concat_tables(
        [
            make_scored(OWN, skill=0.0),
            make_scored({("rt", "test"): 5000, ("rt", "validation"): 5000}, skill=9.0),
        ]
    )
    report = report_on(scored, "imdb", production=in_production(scored))

    assert outcomes(report) == dict.fromkeys(GATES, "pass") | dict.fromkeys(
        ("auc", "beats_baseline", "auc_drop_from_production"), "fail"
    )
    assert report.metrics.auc < 0.6


def test_drift_between_own_splits_is_not_diluted():
    """Own validation and test rows that differ block, though as many rows of a second source agree."""
    scored = pa.concat_tables(
        [
            make_scored({("imdb", "test"): 1200}, skill=9.0),
            make_scored({("imdb", "validation"): 1000}, skill=0.0),
            make_scored({("rt", "validation"): 20_000, ("rt", "test"): 20_000}),
        ]
    )

    assert outcomes(report_on(scored, "imdb"))["score_drift_ks"] == "fail"


def test_a_drop_on_another_source_blocks():
    """A candidate below production on the second source's frozen test rows fails, and says by how much."""
    scored = make_scored(OWN | OTHER)
    report = report_on(scored, "imdb", production=in_production(scored, skill=5.0))

    result = next(each for each in report.gates if each.rule_set == "gate.auc_drop_by_source")
    (compared,) = report.other_sources
    assert result.outcome == "fail"
    assert result.observed == pytest.approx(compared.production_auc - compared.auc, abs=1e-12)
    assert compared.drop_low < result.observed < compared.drop_high
    assert "on rt" in result.reason


@settings(max_examples=8)
@given(skills=st.lists(st.floats(0, 6), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_the_largest_drop_decides(skills, seed):
    """The observed figure is the largest difference of the two AUCs over the other sources, each on its rows."""
    names = [f"s{at}" for at in range(len(skills))]
    scored = pa.concat_tables(
        [make_scored(OWN)]
        + [make_scored({(name, "test"): 60}, skill=skill) for name, skill in zip(names, skills, strict=True)]
    )
    production = in_production(scored, skill=2.0)
    report = report_on(scored, "imdb", trained=("imdb", *names), production=production)

    test = scored.filter(pc.equal(scored["split"], "test"))
    drops = []
    for name in names:
        rows = pc.equal(test["source"], name).to_numpy()
        labels, now = test["label"].to_numpy()[rows], test["score"].to_numpy()[rows]
        drops.append(roc_auc(labels, production.scores[rows]) - roc_auc(labels, now))
    result = next(each for each in report.gates if each.rule_set == "gate.auc_drop_by_source")
    assert result.observed == pytest.approx(max(drops), abs=1e-12)
    assert result.outcome == ("pass" if result.observed <= 0 else "fail")


@pytest.mark.parametrize(
    ("rows", "refused", "reason"),
    [
        (OTHER, {"rt": "it was trained on 3 of the 400 test rows"}, "rt: it was trained on 3"),
        ({("rt", "test"): 49}, {}, "rt: 49 rows, at least 50 are needed"),
        ({("rt", "validation"): 300}, {}, "rt: 0 rows, at least 50 are needed"),
    ],
)
def test_a_source_that_cannot_be_compared_is_an_error_of_its_own_gate(rows, refused, reason):
    """It blocks, and the comparison on the line's own rows goes on."""
    scored = make_scored(OWN | rows)
    report = report_on(scored, "imdb", production=in_production(scored, **refused))

    assert outcomes(report) == dict.fromkeys(GATES, "pass") | {"auc_drop_by_source": "error"}
    assert reason in report.gates[-1].reason
    assert report.other_sources[0].production_auc is None


def test_a_source_of_one_class_cannot_be_compared():
    """An AUC needs both labels; without them the gate errs."""
    other = make_scored(OTHER)
    scored = pa.concat_tables([make_scored(OWN), other.filter(pc.equal(other["label"], 1))])
    report = report_on(scored, "imdb", production=in_production(scored))

    assert outcomes(report)["auc_drop_by_source"] == "error"
    assert "AUC needs both" in report.gates[-1].reason


def test_own_rows_that_production_was_trained_on_block_the_first_source_alone():
    """A leak of own rows is an error of the comparison on them; the other source is still compared."""
    scored = make_scored(OWN | OTHER)
    report = report_on(scored, "imdb", production=in_production(scored, imdb="it knows 7 of the rows"))

    assert outcomes(report) == dict.fromkeys(GATES, "pass") | {"auc_drop_from_production": "error"}
    assert report.baselines[-1].not_measured_because == "it knows 7 of the rows"


def test_pictures_show_what_the_gates_measure(monkeypatch):
    """The curves are of own test rows; every other source has a distribution of its own."""
    scored = make_scored(OWN | OTHER | {("rt", "shift"): 500})
    drawn = {}
    for name in ("roc_picture", "score_distribution_picture"):
        real = getattr(pictures, name)
        monkeypatch.setattr(
            pictures, name, lambda *given, real=real, name=name: drawn.update({name: given}) or real(*given)
        )
    model = make_model("imdb")
    named = report_pictures(scored, model, TASK.evaluator.baseline_name(SPEC), in_production(scored))
    _, curves = drawn["roc_picture"]

    assert all(png.startswith(b"\x89PNG") for png in named.values())
    assert {name: scores.size for name, scores in curves.items()} == dict.fromkeys(
        ("model", "TF-IDF baseline", "in production"), 1200
    )
    (distributions,) = drawn["score_distribution_picture"]
    assert {name: scores.size for name, scores in distributions.items()} == {
        "validation": 1000,
        "test": 1200,
        "shift": 500,
        "test, rt": 400,
    }
    report_pictures(
        scored, model, TASK.evaluator.baseline_name(SPEC), in_production(scored, imdb="it knows them")
    )
    assert set(drawn["roc_picture"][1]) == {"model", "TF-IDF baseline"}
