"""A scorecard: points by hand, reasons, signs, and the same score wherever it is asked."""

import json
import math
import shutil

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.lines.line import load_line
from platform_assets.manifest import ManifestError, identity_of
from platform_assets.models.errors import InstanceError, TrainingError
from platform_assets.models.scorer import explanations
from platform_assets.step import override_config, with_overrides
from platform_assets.tasks.tabular_classification.encoding import FEWEST_ROWS
from platform_assets.tasks.tabular_classification.points import (
    MOST_REASONS,
    Bin,
    Characteristic,
    PointsTable,
    explained,
    points_table,
)
from platform_assets.tasks.tabular_classification.scorecard import (
    Coefficient,
    Scorecard,
    fit_scorecard,
    rounded,
)
from platform_assets.tasks.tabular_classification.spec import ScorecardSpec
from platform_assets.tasks.tabular_classification.task import TASK
from resources.errors import PlatformError
from tests.tasks.tabular_classification.tables import fitted_woe, make_spec, of_split, trained

SPEC = make_spec(model="scorecard", transformers="loans_woe@latest", threshold=0.3)
NAMES = ("Income", "Home", "Grade")


@pytest.fixture(scope="module")
def woe(loans):
    """Weights of the people's columns."""
    return fitted_woe(loans)


@pytest.fixture(scope="module")
def folder(loans, woe, tmp_path_factory):
    """The folder of a trained scorecard."""
    output = tmp_path_factory.mktemp("scorecard") / "model"
    trained(loans, SPEC, output, transformers=woe)
    return output


@pytest.fixture(scope="module")
def scorer(folder):
    """The scorecard."""
    return TASK.trainer.load(folder)


def make_scorecard(*coefficients, intercept=-1.0, **scale):
    """A scorecard with these coefficients."""
    return Scorecard(
        intercept=intercept,
        coefficients=tuple(
            Coefficient(feature=f"c{at}_woe", coefficient=each) for at, each in enumerate(coefficients)
        ),
        scale=ScorecardSpec(**scale),
        iterations=1,
    )


# --- Points ------------------------------------------------------------------------------------------------


def test_points_by_hand():
    """Base score 600 at 50:1 and 20 to double the odds, as in Siddiqi's example; the numbers were computed by hand."""
    model = make_scorecard(-1.0, -0.5)
    assert model.factor == pytest.approx(28.8539, abs=1e-4)
    assert model.offset == pytest.approx(487.1229, abs=1e-4)
    # (487.1229 + 28.8539) / 2 = 257.9884; one more of weight counts 28.8539 or half of that.
    assert model.points_of(0, 1.0) == pytest.approx(286.8423, abs=1e-4)
    assert model.points_of(1, -2.0) == pytest.approx(229.1345, abs=1e-4)
    assert [rounded(each) for each in (286.8423, 229.1345, 0.5, -0.5, -1.51)] == [287, 229, 1, 0, -2]


def test_the_base_score_is_that_of_the_base_odds():
    """Whatever the scale."""
    model = make_scorecard(-1.0, base_score=500, base_odds=19, points_to_double_odds=35)
    assert model.points(-math.log(19)) == pytest.approx(500, abs=1e-9)
    assert model.points(-math.log(38)) == pytest.approx(535, abs=1e-9)


@given(
    st.floats(-15, 15),
    st.floats(0.1, 1000),
    st.floats(-1000, 1000),
    st.floats(0.01, 10_000),
)
def test_twice_the_odds_are_just_so_many_points(log_odds, doubling, base, odds):
    """Wherever it starts, and on every scale."""
    model = make_scorecard(-1.0, points_to_double_odds=doubling, base_score=base, base_odds=odds)
    difference = model.points(log_odds - math.log(2)) - model.points(log_odds)
    assert difference == pytest.approx(doubling, rel=1e-9, abs=1e-9)


@given(
    st.lists(st.tuples(st.floats(-2, 2), st.floats(-3, 3)), min_size=1, max_size=15),
    st.floats(-5, 5),
)
def test_the_points_of_all_characteristics_are_those_of_the_log_odds(pairs, intercept):
    """Intercept and offset are spread evenly, and nothing of them is lost."""
    model = make_scorecard(*(coefficient for coefficient, _ in pairs), intercept=intercept)
    weights = np.array([[weight for _, weight in pairs]])
    total = sum(model.points_of(at, weight) for at, weight in enumerate(weights[0].tolist()))
    assert total == pytest.approx(model.points(float(model.log_odds(weights)[0])), abs=1e-6)


def test_whole_points_stay_within_the_rounding_that_is_told(loans, scorer):
    """Of each row, and the bound is below half a point a characteristic."""
    instances = instances_of(loans)
    whole = np.array([each["points"] for each in scorer.explain(instances)])
    scores = scorer.score_instances(instances)
    exact = np.array([scorer.model.points(each) for each in np.log(scores / (1 - scores)).tolist()])
    assert np.abs(whole - exact).max() <= scorer.points.rounding + 1e-6
    assert scorer.points.rounding <= len(NAMES) / 2
    assert len(np.unique(whole)) > 20


def test_the_cut_off_is_the_threshold_in_points(scorer):
    """A probability of 0.3 are odds of 7:3 of a non-event."""
    assert scorer.points.cut_off == pytest.approx(scorer.model.points(math.log(3 / 7)))


def test_the_table_is_that_of_the_fitted_bins(loans, woe, scorer):
    """Rows, shares and weights of training rows; as many points more as the weight is worth."""
    train = of_split(loans, "train")
    fitted = {column.name: column for column in woe["loans_woe"].columns}
    assert [each.name for each in scorer.points.characteristics] == sorted(NAMES)
    for at, each in enumerate(scorer.points.characteristics):
        column = fitted[each.name]
        assert [(found.name, found.rows, found.woe) for found in each.bins] == [
            (found.label, found.rows, found.woe) for found in column.bins
        ]
        assert sum(found.rows for found in each.bins) == train.num_rows
        assert sum(found.share for found in each.bins) == pytest.approx(1)
        assert [found.points for found in each.bins] == [
            rounded(scorer.model.points_of(at, found.woe)) for found in column.bins
        ]
        assert each.information_value == column.iv
        assert [found.event_rate for found in each.bins] == [
            found.events / found.rows if found.rows >= FEWEST_ROWS else None for found in column.bins
        ]


def test_the_outcome_of_a_few_rows_is_not_told(loans):
    """A card is public: nine rows without an income have neither a weight nor a rate of events."""
    income = loans["Income"].to_pylist()
    train = np.flatnonzero(loans["split"].to_numpy() == "train").tolist()
    for at in train:
        income[at] = 100.0 if income[at] is None else income[at]
    for at in train[:9]:
        income[at] = None
    at = loans.column_names.index("Income")
    woe = fitted_woe(loans.set_column(at, "Income", pa.array(income)))
    (column,) = (each for each in woe["loans_woe"].columns if each.name == "Income")
    model = Scorecard(
        intercept=0.0,
        coefficients=(Coefficient(feature="Income_woe", coefficient=-1.0),),
        scale=ScorecardSpec(),
        iterations=1,
    )
    (found,) = points_table(model, woe, threshold=0.5, event="bad").characteristics
    assert (column.bins[-1].rows, column.bins[-1].woe) == (0, 0.0)
    assert (found.bins[-1].rows, found.bins[-1].event_rate) == (0, None)
    assert all(each.event_rate is not None for each in found.bins[:-1])


# --- Reasons -----------------------------------------------------------------------------------------------


def make_table(**points):
    """A table of characteristics with one bin for each of these points; a last one, not attainable, where it is None."""
    return PointsTable(
        base_score=600,
        base_odds=50,
        points_to_double_odds=20,
        cut_off=500,
        rounding=1,
        event="bad",
        characteristics=tuple(
            Characteristic(
                name=name,
                feature=f"{name}_woe",
                coefficient=-1,
                agrees=True,
                information_value=0.1,
                bins=tuple(
                    Bin(
                        name=f"bin {at}",
                        attainable=at < 3,
                        rows=10,
                        share=0.1,
                        event_rate=0.2,
                        woe=0.0,
                        points=each,
                    )
                    for at, each in enumerate(found)
                ),
            )
            for name, found in points.items()
        ),
    )


TABLE = make_table(
    zeta=(10, 30, 50), alpha=(10, 30, 50), beta=(0, 5, 7), gamma=(1, 2, 40), delta=(9, 8, 7), eta=(1, 2, 3)
)


def reasons(*row, label=1, table=TABLE):
    """Name and lost points of each reason of a row with these bins."""
    (found,) = explained(table, [row], [label])
    return [(each["characteristic"], each["lost"]) for each in found["reasons"]]


def test_reasons_are_the_characteristics_that_cost_most():
    """The costliest first, of equal cost the first by name; no more than four, and none that is at its best."""
    assert reasons(0, 0, 0, 0, 2, 0) == [("alpha", 40), ("zeta", 40), ("gamma", 39), ("beta", 7)]
    assert len(reasons(0, 0, 0, 0, 2, 0)) == MOST_REASONS
    assert reasons(2, 2, 2, 0, 0, 2) == [("gamma", 39)]
    assert reasons(2, 2, 2, 2, 0, 2) == []


def test_an_answer_says_points_decision_and_why():
    """Whole points that add up; the decision by the target's value; what each reason is measured against."""
    found = explained(TABLE, [(0, 2, 1, 2, 0, 2), (2, 2, 2, 2, 0, 2)], [1, 0])
    assert found[0] == {
        "points": 10 + 50 + 5 + 40 + 9 + 3,
        "decision": "bad",
        "reasons": [
            {"characteristic": "zeta", "bin": "bin 0", "points": 10, "best": 50, "lost": 40},
            {"characteristic": "beta", "bin": "bin 1", "points": 5, "best": 7, "lost": 2},
        ],
    }
    assert (found[1]["decision"], found[1]["reasons"]) == ("not bad", [])


def test_a_missing_value_is_never_the_best_one():
    """Where it has the most points, those who give a value lose nothing by that; where it has few, it is a reason."""
    table = make_table(alpha=(10, 20, 30, 99), beta=(10, 20, 30, 5))
    assert reasons(2, 2, table=table) == []
    assert reasons(3, 3, table=table) == [("beta", 25)]
    assert reasons(1, 3, table=table) == [("beta", 25), ("alpha", 10)]


def test_a_report_tells_all_that_a_characteristic_can_give():
    """A bin of missing values is among them, and what informs most comes first, as a page may not hold everything."""
    table = make_table(alpha=(10, 20, 30, 99), beta=(10, 20, 30, 5))
    strong = table.characteristics[1].model_copy(update={"information_value": 0.5})
    told = table.model_copy(update={"characteristics": (table.characteristics[0], strong)}).measures()
    found = [(row["characteristic"], row["least_points"], row["most_points"]) for row in told["coefficients"]]
    assert found == [("beta", 5, 30), ("alpha", 10, 99)]
    assert [row["characteristic"] for row in told["points"]] == ["beta"] * 4 + ["alpha"] * 4


def test_missing_values_and_unknown_categories_are_told_as_their_bins(scorer):
    """By the words of the table; a category that nobody had shares the bin of rare ones."""
    nothing, strange = scorer.explain([{}, {"Home": "castle", "Income": 1e9, "Grade": "low"}])
    bins = {each["characteristic"]: each["bin"] for each in nothing["reasons"]}
    assert set(bins.values()) <= {"missing"}
    home = next(each for each in scorer.points.characteristics if each.name == "Home")
    rare = next(at for at, each in enumerate(home.bins) if "rare" in each.name or "other" in each.name)
    assert scorer.inputs.positions([{"Home": "castle"}])["Home_woe"].tolist() == [rare]
    assert all(each["lost"] > 0 for each in strange["reasons"])


def test_a_wrong_instance_is_refused_as_when_it_is_scored(scorer):
    """With its place and field."""
    with pytest.raises(InstanceError, match="instance 2: Incme: is no field"):
        scorer.explain([{}, {"Incme": 1}])


def test_other_models_explain_nothing(loans, tmp_path):
    """An empty mapping an answer, so that every scorer is asked alike."""
    _, logistic, _ = trained(loans, make_spec(model="logistic"), tmp_path / "model")
    assert explanations(logistic, [{}, {}]) == [{}, {}]
    assert explanations(object(), [{}]) == [{}]


# --- One score, wherever it is asked -----------------------------------------------------------------------


def instances_of(rows):
    """What is there of each row, as somebody would ask."""
    return [
        {name: row[name] for name in NAMES if row[name] is not None}
        for row in rows.select(list(NAMES)).to_pylist()
    ]


def test_rows_features_and_instances_have_equal_scores(loans, woe, scorer, tmp_path):
    """To the last bit: by table of features, by raw rows, by instance, one at a time and all at once."""
    _, again, features = trained(loans, SPEC, tmp_path / "model", transformers=woe)
    by_features, by_rows = again.score_features(features), scorer.score_rows(loans)
    by_instance = scorer.score_instances(instances_of(loans))
    assert np.array_equal(by_features, by_rows)
    assert np.array_equal(by_rows, by_instance)
    one_by_one = [float(scorer.score_instances([each])[0]) for each in instances_of(loans)[:50]]
    assert one_by_one == by_instance[:50].tolist()


def test_equal_rows_give_an_equal_model(loans, woe, folder, tmp_path):
    """Every file, with another number of threads."""
    trained(loans, SPEC, tmp_path / "model", transformers=woe, threads=1)
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert {file.name: file.read_bytes() for file in (tmp_path / "model").iterdir()} == files
    assert {"points.json", "scorecard.json", "classifier.json", "encoding.json"} <= files.keys()


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_scores_are_those_of_the_library(data):
    """Of any weights: the coefficients are its own."""
    from sklearn.linear_model import LogisticRegression

    rows = data.draw(st.integers(10, 40))
    weights = np.array(
        data.draw(
            st.lists(
                st.tuples(*[st.sampled_from([-1.5, -0.3, 0.0, 0.4, 1.2])] * 3), min_size=rows, max_size=rows
            )
        )
    )
    labels = np.array(data.draw(st.lists(st.integers(0, 1), min_size=rows, max_size=rows)))
    labels[:2] = 0, 1
    model = fit_scorecard(weights, labels, ("a", "b", "c"), regularisation=0.5, scale=ScorecardSpec())
    library = LogisticRegression(C=2.0, max_iter=10_000, tol=1e-8).fit(weights, labels)
    assert model.log_odds(weights) == pytest.approx(library.decision_function(weights), abs=1e-6)


# --- Files -------------------------------------------------------------------------------------------------


def damaged(folder, target, name, change):
    """The model's folder with one file changed."""
    shutil.copytree(folder, target)
    file = target / name
    file.write_bytes(change(file.read_bytes()))
    return target


@pytest.mark.parametrize(
    "name",
    ["points.json", "scorecard.json", "classifier.json", "transformed.json", "transformer-loans_woe.json"],
)
@pytest.mark.parametrize(
    "change", [lambda content: content[:-20], lambda _: b"", lambda _: b"[]"], ids=["cut", "empty", "other"]
)
def test_a_damaged_file_is_refused(folder, tmp_path, name, change):
    """Each of them, with one error of the platform."""
    with pytest.raises(PlatformError):
        TASK.trainer.load(damaged(folder, tmp_path / "model", name, change))


def test_a_table_that_an_earlier_release_has_written_otherwise_is_read(folder, tmp_path):
    """What it shows of rows and names decides no answer, so a model is not lost by an update that shows more, or less."""

    def shown_otherwise(content):
        table = json.loads(content)
        table["characteristics"][0]["bins"][0] |= {"rows": 7, "share": 0.5, "name": "as it was called"}
        return PointsTable.model_validate(table).to_bytes()

    TASK.trainer.load(damaged(folder, tmp_path / "model", "points.json", shown_otherwise))


def test_a_table_that_is_not_the_models_is_refused(folder, tmp_path):
    """One point more, or a coefficient that the table was not made by; a missing one is told as well."""

    def one_point_more(content):
        table = json.loads(content)
        table["characteristics"][0]["bins"][0]["points"] += 1
        return PointsTable.model_validate(table).to_bytes()

    def another_intercept(content):
        model = json.loads(content)
        return json.dumps(model | {"intercept": model["intercept"] + 1}).encode()

    for at, (name, change) in enumerate(
        [("points.json", one_point_more), ("scorecard.json", another_intercept)]
    ):
        with pytest.raises(TrainingError, match=r"points.json: is not the table of this scorecard"):
            TASK.trainer.load(damaged(folder, tmp_path / str(at), name, change))
    (tmp_path / "0" / "points.json").unlink()
    with pytest.raises(TrainingError, match=r"points.json: the scorecard has no table of points"):
        TASK.trainer.load(tmp_path / "0")


# --- Signs -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def contrary():
    """Weights of which the second says the first over again, only weaker: so it is taken back. And labels."""
    rng = np.random.default_rng(3)
    first = rng.normal(size=2000)
    second = first + 0.1 * rng.normal(size=2000)
    labels = (rng.random(2000) < 1 / (1 + np.exp(3 * first - 2 * second))).astype(np.int64)
    return np.stack([first, second], axis=1), labels


def test_a_wrong_sign_is_told(contrary):
    """By name, while the model stands."""
    model = fit_scorecard(*contrary, ("first_woe", "second_woe"), regularisation=1.0, scale=ScorecardSpec())
    assert model.wrong_signs == ("second_woe",)


def test_a_wrong_sign_is_refused_where_the_spec_says_so(contrary):
    """The message names the characteristic and what can be done."""
    scale = ScorecardSpec(refuse_wrong_signs=True)
    with pytest.raises(TrainingError, match="second_woe: the coefficient has the wrong sign"):
        fit_scorecard(*contrary, ("first_woe", "second_woe"), regularisation=1.0, scale=scale)


def test_a_wrong_sign_stands_in_the_report(woe):
    """In the figures, and beside its coefficient."""
    features = sorted(woe["loans_woe"].spec.outputs.values())
    model = Scorecard(
        intercept=0.0,
        coefficients=tuple(
            Coefficient(feature=name, coefficient=coefficient)
            for name, coefficient in zip(features, (-1.0, 0.2, -0.5), strict=True)
        ),
        scale=ScorecardSpec(),
        iterations=1,
    )
    told = points_table(model, woe, threshold=0.5, event="bad").measures()
    assert told["scale"]["wrong_signs"] == ["Home"]
    assert {each["characteristic"]: each["agrees"] for each in told["coefficients"]} == {
        "Grade": True,
        "Home": False,
        "Income": True,
    }


def test_a_weight_that_is_missing_is_refused(contrary):
    """With the column and how many rows lack it."""
    weights, labels = contrary
    weights = weights.copy()
    weights[:3, 1] = np.nan
    with pytest.raises(TrainingError, match="second: 3 of 2000 training rows have no weight of evidence"):
        fit_scorecard(weights, labels, ("first", "second"), regularisation=1.0, scale=ScorecardSpec())


# --- What a spec may say -----------------------------------------------------------------------------------


def test_a_model_that_reads_a_raw_column_is_refused(loans, tmp_path):
    """By training, whatever a run has changed; and by the check of transformers against the line, with the column."""
    with pytest.raises(TrainingError, match="Grade: a scorecard reads weights of evidence and nothing else"):
        trained(loans, SPEC, tmp_path / "model", transformers=fitted_woe(loans, "Income", "Home"))
    transformers = {name: each.spec for name, each in fitted_woe(loans, "Income").items()}
    refused = TASK.featurizer.refusal(SPEC, "loans_woe", transformers)
    assert refused.field == ("columns", "Home")
    assert refused.reason.startswith("no transformer weighs Home; a scorecard reads")
    every = {name: each.spec for name, each in fitted_woe(loans).items()}
    assert TASK.featurizer.refusal(SPEC, "loans_woe", every) is None


@pytest.mark.parametrize(
    ("changes", "field", "problem"),
    [
        (
            {"transformers": None},
            "model",
            "a scorecard reads weights of evidence and nothing else; name what",
        ),
        (
            {"gates.beats_baseline": "true"},
            "gates.beats_baseline",
            "what a scorecard is compared with is its",
        ),
        ({"learning_rate": "0.2", "challenger_regularisation": "10"}, None, None),
        (
            {"model": "logistic", "scorecard": None, "learning_rate": "0.2"},
            "learning_rate",
            "a logistic model has none",
        ),
        (
            {"model": "gradient_boosting", "scorecard": None, "challenger_regularisation": "10"},
            "challenger_regularisation",
            "a gradient_boosting model has no challenger",
        ),
        ({"scorecard.base_odds": "0"}, "scorecard.base_odds", "Input should be greater than 0"),
        ({"scorecard.points": "20"}, "scorecard.points", "is not a known key"),
        ({"model": "logistic"}, "scorecard", "a logistic model has no points"),
        (
            {"model": "logistic", "scorecard": None},
            "gates.auc_behind_challenger",
            "is measured of scorecards only",
        ),
    ],
)
def test_a_wrong_spec_is_told_with_file_line_and_field(tmp_path, changes, field, problem):
    """Of the section that it is about."""
    path = tmp_path / "training-spec.yaml"
    lines = SPEC_LINES | changes
    path.write_text("\n".join(text for name, text in written_lines(lines)) + "\n", encoding="utf-8")
    if field is None:
        with pytest.raises(ManifestError, match="no contract file"):
            load_line(path)
        return
    at = [name for name, _ in written_lines(lines)].index(field) + 1
    with pytest.raises(ManifestError) as caught:
        load_line(path)
    assert str(caught.value).startswith(f"{path}:{at}: {field}: {problem}")


SPEC_LINES = {
    "line": "loans",
    "task": "tabular-classification",
    "train_data_uri": "loans.csv",
    "contract": "loans.yaml",
    "columns": "{Status: {role: target, positive: bad}, Income: numeric}",
    "transformers": "[loans_woe@latest]",
    "model": "scorecard",
    "scorecard": "",
    "scorecard.base_score": "500",
    "gates": "",
    "gates.auc": '"> 0.5"',
    "gates.auc_behind_challenger": '"<= 0.03"',
    "requires": "{deploy: [{subject: model, rule_set: gate.auc, max_age_days: 1}, "
    "{subject: model, rule_set: gate.auc_behind_challenger, max_age_days: 1}]}",
    "card": "{owner: o, intended_use: i, limitations: l}",
}


def written_lines(lines):
    """Field and text of each line of a spec; what is None is left out, with what is below it."""
    order = list(SPEC_LINES)
    extra = [name for name in lines if name not in order]
    found = []
    for name in order:
        value = lines[name]
        if value is None or lines.get(name.partition(".")[0]) is None:
            continue
        last = name.rpartition(".")[2]
        found.append((name, f"{'  ' * name.count('.')}{last}: {value}"))
        found += [
            (each, f"  {each.rpartition('.')[2]}: {lines[each]}")
            for each in extra
            if each.rpartition(".")[0] == name
        ]
    return found + [(each, f"{each}: {lines[each]}") for each in extra if "." not in each]


def test_one_run_may_have_another_scale():
    """As any other value of training, checked as strictly; what is not given has its default."""
    overridden = override_config(SPEC, TASK.trainer.fields)
    assert with_overrides(SPEC, overridden()) == SPEC
    doubled = with_overrides(SPEC, overridden(scorecard={"points_to_double_odds": 40.0}))
    assert doubled.scorecard == ScorecardSpec(points_to_double_odds=40)
    with pytest.raises(dg.Failure, match=r"run config: scorecard.base_odds: Input should be greater than 0"):
        with_overrides(SPEC, overridden(scorecard={"base_odds": 0}))


def test_a_scale_is_part_of_a_models_identity():
    """Another scale, another model; and the one that there was before scales had a field is none."""
    usual, other = (
        identity_of(make_spec(**shared_by_scorecards(scorecard)), TASK.trainer.fields)
        for scorecard in ({}, {"base_score": 500})
    )
    assert usual != other
    assert "scorecard" not in usual
    assert other["scorecard"]["base_score"] == 500


def shared_by_scorecards(scorecard):
    """What makes a spec one of a scorecard of this scale."""
    return {"model": "scorecard", "transformers": "loans_woe@latest", "scorecard": scorecard}
