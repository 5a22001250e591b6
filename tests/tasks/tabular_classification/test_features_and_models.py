"""Features, models and scorers of tables: equal everywhere, and nothing runs when a model is loaded."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from platform_assets.features.errors import FeatureError
from platform_assets.models.errors import InstanceError, TrainingError
from platform_assets.tasks.tabular_classification.encoding import UNKNOWN, Encoding
from platform_assets.tasks.tabular_classification.logistic import fit_logistic
from platform_assets.tasks.tabular_classification.scorer import read_instance
from platform_assets.tasks.tabular_classification.spec import TabularParameters
from platform_assets.tasks.tabular_classification.task import TASK
from platform_assets.tasks.tabular_classification.trees import grow
from platform_assets.validation.metrics import roc_auc
from resources.errors import PlatformError
from tests.tasks.tabular_classification.tables import make_spec, of_split, people, trained

FEATURES = ("Income", "Home", "Grade")
MODELS = ("logistic", "gradient_boosting")
NUMBERS = st.one_of(st.just(np.nan), st.floats(-1e6, 1e6), st.integers(-3, 3).map(float))


@pytest.fixture(scope="module")
def models(loans, tmp_path_factory):
    """Result, scorer, features and folder of each kind of model."""
    found = {}
    for model in MODELS:
        folder = tmp_path_factory.mktemp(model) / "model"
        found[model] = (*trained(loans, make_spec(model=model), folder), folder)
    return found


def matrix(draw, rows):
    """Rows of two numbers and a category of up to three codes, and labels of both classes."""
    features = np.array(draw(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=rows, max_size=rows)))
    codes = draw(st.lists(st.sampled_from([np.nan, 0.0, 1.0, 2.0]), min_size=rows, max_size=rows))
    labels = np.array(draw(st.lists(st.integers(0, 1), min_size=rows, max_size=rows)))
    features = np.column_stack([features, codes])
    features[0], labels[:2] = (0.0, 0.0, 0.0), (0, 1)
    return features, labels


# --- Features --------------------------------------------------------------------------------------------


def test_features_are_one_number_a_column(loans):
    """Named as the column: numbers as they are, categories sorted, ordinals in their order; null where missing."""
    made = TASK.featurizer.apply(loans, make_spec(), subject_column="person")
    assert made.table.column_names == ["person", "label", "source", "split", *FEATURES]
    assert made.table["Income"].equals(loans["Income"])
    homes = dict(zip(loans["Home"].to_pylist(), made.table["Home"].to_pylist(), strict=True))
    assert homes == {"own": 0.0, "parents": 1.0, "rent": 2.0, None: None}
    assert set(zip(loans["Grade"].to_pylist(), made.table["Grade"].to_pylist(), strict=True)) == {
        ("low", 0.0),
        ("middle", 1.0),
        ("high", 2.0),
    }


def test_categories_are_those_of_training_rows(loans):
    """One that only other rows have is unknown, and no row of another split changes the featurizer."""
    homes = [
        "castle" if split == "test" else home
        for home, split in zip(loans["Home"].to_pylist(), loans["split"].to_pylist(), strict=True)
    ]
    changed = loans.set_column(loans.column_names.index("Home"), "Home", pa.array(homes))
    made, plain = (
        TASK.featurizer.apply(rows, make_spec(), subject_column="person") for rows in (changed, loans)
    )
    assert made.sha256 == plain.sha256
    assert set(of_split(made.table, "test")["Home"].to_pylist()) == {UNKNOWN}
    assert made.metadata["unknown_categories"] == of_split(loans, "test").num_rows


def with_homes(rows, homes):
    """The rows, with other homes in the first training rows."""
    at = rows.column_names.index("Home")
    train = np.flatnonzero(rows["split"].to_numpy() == "train")[: len(homes)]
    changed = rows["Home"].to_pylist()
    for row, home in zip(train, homes, strict=True):
        changed[row] = home
    return rows.set_column(at, "Home", pa.array(changed))


def test_what_few_training_rows_have_is_not_kept(loans):
    """Nine of a category may be one person's words: it is unknown, and stands in no file; ten are a category."""
    rows = with_homes(loans, ["with aunt Ada"] * 9 + ["boat"] * 10)
    made = TASK.featurizer.apply(rows, make_spec(), subject_column="person")
    found = set(zip(rows["Home"].to_pylist(), made.table["Home"].to_pylist(), strict=True))
    assert found == {
        ("boat", 0.0), ("own", 1.0), ("parents", 2.0), ("rent", 3.0), ("with aunt Ada", UNKNOWN), (None, None)
    }  # fmt: skip
    assert b"boat" in made.state["encoding.json"]
    assert b"Ada" not in made.state["encoding.json"]


@pytest.mark.parametrize("model", MODELS)
def test_no_file_of_a_model_tells_a_rare_category(loans, tmp_path, model):
    """And rows that have one are scored as those of any other unknown one, by features and by instance."""
    rows = with_homes(loans, ["with aunt Ada"] * 9)
    _, scorer, features = trained(rows, make_spec(model=model), tmp_path / "model")
    assert all(b"Ada" not in file.read_bytes() for file in (tmp_path / "model").iterdir())
    asked = [{"Income": 90.0, "Home": home} for home in ("with aunt Ada", "castle")]
    assert len(set(scorer.score_instances(asked).tolist())) == 1
    assert np.array_equal(scorer.score_rows(rows), scorer.score_features(features))


def test_a_column_that_says_nothing_or_too_much_is_refused():
    """Without any value among the training rows, without a category of enough, or with more than can be told apart."""
    for values, message in (
        ([None] * 2560, "has no value in any training row"),
        ([f"h{row}" for row in range(2560)], "has no category that 10 training rows have"),
        ([f"h{row % 256}" for row in range(2560)], "has 256 categories, and at most 255"),
    ):
        with pytest.raises(FeatureError, match=f"column 'Home' {message}"):
            Encoding.fit(
                pa.table({"Home": pa.array(values, pa.string())}), {"Home": make_spec().columns["Home"]}
            )


# --- Models ----------------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(st.data())
def test_trees_score_as_the_library_that_grew_them_to_the_last_bit(data):
    """With missing values, gaps among the codes, and categories that no training row has or that are unknown in some."""
    features, labels = matrix(data.draw, 60)
    codes = np.array([0.0, 3.0, 7.0])
    known = ~np.isnan(features[:, 2])
    features[known, 2] = codes[features[known, 2].astype(int)]
    rare = np.array(data.draw(st.lists(st.booleans(), min_size=60, max_size=60)))
    rare[0] = False
    features[rare, 2] = UNKNOWN
    parameters = TabularParameters(max_iterations=12, min_samples_leaf=2, max_leaf_nodes=6)
    trees = grow(features, labels, ("number", "number", "category"), ("a", "b", "c"), parameters)
    library = HistGradientBoostingClassifier(
        max_iter=12,
        min_samples_leaf=2,
        max_leaf_nodes=6,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=7,
        categorical_features=[2],
    ).fit(np.column_stack([features[:, :2], np.where(rare, np.nan, features[:, 2])]), labels)
    asked = np.concatenate([features, [[1.0, np.nan, 5.0], [np.nan, 2.0, UNKNOWN], [0.5, 0.5, 255.0]]])
    expected = library.decision_function(asked)
    assert np.array_equal(trees.log_odds(asked), expected)
    assert np.array_equal(np.concatenate([trees.log_odds(row[None]) for row in asked]), expected)


@settings(max_examples=10)
@given(st.data())
def test_a_logistic_model_is_that_of_the_librarys_own_transformers(data):
    """Median and an indicator for gaps, standardised numbers, one indicator a category."""
    features, labels = matrix(data.draw, 40)
    found = fit_logistic(
        features, labels, ("number", "number", "category"), ("a", "b", "c"), regularisation=1.0
    )
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    categories = make_pipeline(
        SimpleImputer(strategy="constant", fill_value=-9.0), OneHotEncoder(handle_unknown="ignore")
    )
    missing = np.isnan(features[:, :2])
    shown = missing[:, missing.any(axis=0)].astype(float)
    transformer = make_column_transformer((numbers, [0, 1]), (categories, [2]), sparse_threshold=0.0)
    design = np.hstack([transformer.fit_transform(features), shown])
    library = LogisticRegression(max_iter=10_000, tol=1e-8).fit(design, labels)
    assert found.log_odds(features) == pytest.approx(library.decision_function(design), abs=1e-3)


def test_a_logistic_model_counts_nothing_for_an_unknown_category(models):
    """And something of its own for a missing one."""
    _, scorer, _, _ = models["logistic"]
    term = next(each for each in scorer.model.terms if each.name == "Home")
    assert term.of(np.array([UNKNOWN, 250.0, 0.0, np.nan])).tolist() == [
        0.0,
        0.0,
        term.categories[0],
        term.missing,
    ]


@pytest.mark.parametrize("model", MODELS)
def test_a_model_tells_good_from_bad(models, loans, model):
    """Of rows that it has not seen; the loss falls as it learns."""
    result, scorer, features, _ = models[model]
    test = of_split(features, "test")
    assert roc_auc(test["label"].to_numpy(), scorer.score_features(test)) > 0.75
    assert result.rows == of_split(loans, "train").num_rows
    assert 0 < result.final_loss < 0.6


def test_progress_is_told_every_ten_trees(loans, tmp_path):
    """With a loss that never rises."""
    told = {}
    features = TASK.featurizer.apply(loans, make_spec(), subject_column="person")
    TASK.trainer.fit(
        features.table,
        TASK.trainer.config(make_spec(max_iterations=25), features.recipe),
        output=tmp_path / "model",
        checkpoints=None,
        on_progress=lambda step, metrics: told.update({step: metrics["loss"]}),
    )
    assert list(told) == [10, 20, 25]
    assert list(told.values()) == sorted(told.values(), reverse=True)


def test_a_monotonic_column_moves_the_score_one_way(loans, tmp_path):
    """More income never means a higher score, whatever else is said; without the constraint it does somewhere."""
    asked = [
        {"Income": income, "Home": home, "Grade": grade}
        for home in ("own", "rent", None)
        for grade in ("low", "high")
        for income in range(20, 200)
    ]
    rises = {}
    for name, monotonic in (("free", {}), ("kept", {"Income": "decreasing"})):
        spec = make_spec(monotonic=monotonic, max_iterations=60)
        _, scorer, _ = trained(loans, spec, tmp_path / name)
        rises[name] = (np.diff(scorer.score_instances(asked).reshape(6, 180), axis=1) > 0).any()
    assert rises == {"free": True, "kept": False}


@pytest.mark.parametrize("model", MODELS)
def test_equal_input_gives_equal_bytes_with_any_number_of_threads(models, loans, model, tmp_path):
    """Also where a record has put the columns into another order."""
    result, _, _, folder = models[model]
    spec = make_spec(model=model)
    for threads in (1, 2):
        again, _, _ = trained(loans, spec, tmp_path / f"threads-{threads}", threads=threads)
        assert again.weights_sha256 == result.weights_sha256
    recipe = spec.model_dump(mode="json", include={"columns"})
    turned = {"columns": dict(reversed(recipe["columns"].items()))}
    assert TASK.trainer.config(spec, turned) == TASK.trainer.config(spec, recipe)
    assert {file.name for file in folder.iterdir()} == {
        "classifier.json",
        "encoding.json",
        "logistic.json" if model == "logistic" else "trees.safetensors",
    }


def test_another_process_makes_the_same_bytes(models, tmp_path):
    """From the files that a training process is given."""
    program = """
import sys
from pathlib import Path
import pyarrow.parquet as pq
from platform_assets.tasks.tabular_classification.task import TASK

for file in map(Path, sys.argv[1:]):
    config = TASK.trainer.config_type.model_validate_json(file.read_bytes())
    rows = pq.read_table(file.with_suffix(".parquet"))
    print(TASK.trainer.fit(rows, config, output=file.with_suffix(""), checkpoints=None).weights_sha256)
"""
    for model, (_, _, features, _) in models.items():
        spec = make_spec(model=model)
        config = TASK.trainer.config(spec, spec.model_dump(mode="json", include={"columns"}))
        (tmp_path / f"{model}.json").write_text(config.model_dump_json())
        pq.write_table(features, tmp_path / f"{model}.parquet")
    there = subprocess.run(
        [sys.executable, "-c", program, *(tmp_path / f"{model}.json" for model in models)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.split() == [result.weights_sha256 for result, *_ in models.values()]


@pytest.mark.parametrize(
    ("labels", "message"),
    [([], "has 0 rows"), ([0, 2], "1 of 2 training rows have a label outside"), ([1, 1], "both are needed")],
)
def test_rows_that_teach_nothing_are_refused(labels, message, tmp_path):
    """None, of a third class, or of one class only."""
    rows = pa.table({name: pa.array([1.0] * len(labels)) for name in FEATURES}).append_column(
        "label", pa.array(labels, pa.int32())
    )
    config = TASK.trainer.config(make_spec(), make_spec().model_dump(mode="json", include={"columns"}))
    with pytest.raises(TrainingError, match=message):
        TASK.trainer.fit(
            rows.append_column("split", pa.array(["train"] * len(labels), pa.string())),
            config,
            output=tmp_path / "model",
            checkpoints=None,
        )


# --- Loading ---------------------------------------------------------------------------------------------


class _Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("model", MODELS)
def test_loading_a_tampered_model_runs_nothing(models, model, tmp_path):
    """A pickle in place of any of its files is an error that names the file or the folder, and nothing happened."""
    *_, folder = models[model]
    for file in sorted(folder.iterdir()):
        tampered = tmp_path / file.stem
        tampered.mkdir()
        for each in folder.iterdir():
            (tampered / each.name).write_bytes(each.read_bytes())
        (tampered / file.name).write_bytes(pickle.dumps(_Payload(tmp_path / "executed")))
        with pytest.raises(PlatformError, match=r"is no |holds no whole model"):
            TASK.trainer.load(tampered)
    assert not (tmp_path / "executed").exists()
    # The payload does work where somebody lets it.
    pickle.loads(pickle.dumps(_Payload(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("array", "change"),
    [
        ("left", np.zeros_like),
        ("feature", lambda nodes: nodes + 99),
        ("roots", lambda nodes: nodes - 1),
        ("category_set", lambda nodes: nodes + 10_000),
        ("value", lambda nodes: nodes * np.nan),
        ("threshold", lambda nodes: nodes[1:]),
        ("missing_left", lambda nodes: nodes.astype(np.float32)),
    ],
)
def test_arrays_that_form_no_trees_are_refused(models, tmp_path, array, change):
    """So that no crafted model walks in circles or reads elsewhere."""
    from safetensors.numpy import load_file, save_file

    *_, folder = models["gradient_boosting"]
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    arrays = load_file(folder / "trees.safetensors")
    save_file({**arrays, array: change(arrays[array])}, tmp_path / "trees.safetensors")
    with pytest.raises(TrainingError, match=r"trees\.safetensors: is no model of trees"):
        TASK.trainer.load(tmp_path)


def test_an_encoding_of_other_columns_is_refused(models, tmp_path):
    """A model that would read the wrong numbers answers nothing."""
    *_, folder = models["logistic"]
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    encoding = Encoding.from_bytes((folder / "encoding.json").read_bytes())
    fewer = encoding.model_copy(update={"columns": encoding.columns[1:]})
    (tmp_path / "encoding.json").write_bytes(fewer.to_bytes())
    with pytest.raises(TrainingError, match="the encoding is of other columns than the model"):
        TASK.trainer.load(tmp_path)


# --- Scoring ---------------------------------------------------------------------------------------------

VALUES = {
    "Income": st.one_of(st.none(), st.floats(-1e9, 1e9), st.integers(-1000, 1000)),
    "Home": st.one_of(st.none(), st.sampled_from(["own", "rent", "parents", "castle", ""])),
    "Grade": st.sampled_from([None, "low", "middle", "high"]),
}


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=40)
@given(data=st.data())
def test_rows_features_and_instances_score_alike_to_the_last_bit(models, model, data):
    """Whatever is missing or unknown, however many are asked about together, and in whatever order."""
    _, scorer, _, _ = models[model]
    asked = data.draw(st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=9))
    rows = pa.table(
        {
            "Income": pa.array([each["Income"] for each in asked], pa.float64()),
            "Home": pa.array([each["Home"] for each in asked], pa.string()),
            "Grade": pa.array([each["Grade"] for each in asked], pa.string()),
        }
    )
    encoded = scorer.inputs.rows(rows)
    features = pa.table(
        {name: pa.array(encoded[:, at], from_pandas=True) for at, name in enumerate(scorer.inputs.names)}
    )
    scores = scorer.score_instances(asked)
    shortened = [{name: value for name, value in each.items() if value is not None} for each in asked]
    assert ((scores >= 0) & (scores <= 1)).all()
    for others in (
        scorer.score_rows(rows),
        scorer.score_features(features),
        scorer.score_instances(shortened),
        np.concatenate([scorer.score_instances([each]) for each in asked]),
        scorer.score_instances(asked[::-1])[::-1],
    ):
        assert np.array_equal(others, scores)


@pytest.mark.parametrize(
    ("instance", "message"),
    [
        ({"Incme": 1}, "instance 2: Incme: is no field; known are Income, Home, Grade"),
        ({"person": "p1"}, "instance 2: person: is no field"),
        ({"Income": "129"}, "instance 2: Income: is no number; write it without quotes"),
        ({"Income": True}, "instance 2: Income: is no number"),
        ({"Income": [1]}, "instance 2: Income: is no number"),
        ({"Income": 10**400}, "instance 2: Income: is not finite, or too large"),
        ({"Home": 1.5}, "instance 2: Home: is no category"),
        ({"Grade": "highest"}, "instance 2: Grade: is none of low, middle, high"),
        ("rich", "instance 2: is no object; give one with some of Income, Home, Grade"),
    ],
)
def test_what_is_no_instance_is_refused_by_place_and_field(models, instance, message):
    """By scoring and by what is watched alike."""
    _, scorer, _, _ = models["logistic"]
    for ask in (scorer.score_instances, scorer.watched):
        with pytest.raises(InstanceError) as caught:
            ask([{"Income": 1}, instance])
        assert message in str(caught.value)


def test_the_monitor_is_told_the_values_as_given(models):
    """A missing value is left out."""
    _, scorer, _, _ = models["logistic"]
    assert scorer.watched([{"Income": 129, "Home": "castle", "Grade": None}, {}]) == [
        {"Income": 129.0, "Home": "castle"},
        {},
    ]


def test_the_threshold_is_the_specs(loans, tmp_path):
    """And one half where it states none."""
    thresholds = [
        trained(loans, make_spec(model="logistic", **given), tmp_path / f"{at}")[1].threshold
        for at, given in enumerate(({}, {"threshold": 0.28}))
    ]
    assert thresholds == [0.5, 0.28]


def test_an_argument_of_the_command_line_is_a_json_object():
    """Anything else is refused with a reason."""
    assert read_instance('{"Income": 129, "Home": "rent"}') == {"Income": 129, "Home": "rent"}
    for argument, message in (("rent", "is no JSON"), ("[1]", "is no JSON object")):
        with pytest.raises(ValueError, match=message):
            read_instance(argument)


def test_texts_that_spell_one_value_are_one():
    """A CSV file's 1, a typed file's 1.0 and JSON's true are spelt in one way each."""
    from platform_assets.tasks.tabular_classification.values import text_of

    assert [text_of(value) for value in (1, 1.0, np.int64(1), "1")] == ["1"] * 4
    assert [text_of(value) for value in (True, np.array([True])[0])] == ["true"] * 2
    assert people(3)["person"].tolist() == ["p0", "p1", "p2"]
