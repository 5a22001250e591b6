"""A trial trains on the training rows and is judged on the validation rows, and no other row is ever seen."""

import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from platform_assets.lines.line import load_line
from platform_assets.models.errors import TrainingError
from platform_assets.models.trainer import ShowsEpochs
from platform_assets.references import FeaturesVersion, TableSnapshot
from platform_assets.tuning.measures import METRICS, log_loss, measured
from platform_assets.tuning.trial import TrialError, printed, rows_of_splits, run_trial
from resources.row_batches import RowBatches
from tests.models.processes import DATASET
from tests.tasks.toys import toy_task, write_line

KATIB_FILTER = re.compile(r"([\w|-]+)\s*=\s*([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)", re.ASCII)
"""`DefaultFilter` of Katib's metrics collector (pkg/metricscollector/v1beta1/common/const.go)."""
POISON = 7
"""A label that no trainer takes."""


class Handed:
    """A warehouse with one table, of which nothing but its rows can be asked."""

    def __init__(self, rows: pa.Table) -> None:
        self.rows = rows

    def batches(self, table: str, snapshot_id: str) -> RowBatches:
        """The rows, in batches of five."""
        return RowBatches.of(pa.Table.from_batches(self.rows.to_batches(max_chunksize=5)))


class Seen:
    """A trainer that remembers the splits that it was handed."""

    def __init__(self, trainer) -> None:
        self._trainer = trainer
        self.splits: set[str] = set()

    def __getattr__(self, name):
        return getattr(self._trainer, name)

    def fit_showing(self, rows, config, **told):
        """As the other one."""
        self.splits |= set(rows["split"].to_pylist())
        return self._trainer.fit_showing(rows, config, **told)


@pytest.fixture(scope="module")
def texts(encoder):
    """A line of texts: its task, a short spec and the features' reference."""
    from tests.line_factory import SMALL_SPEC

    line = load_line(SMALL_SPEC)
    spec = line.task.with_overrides(
        line.spec,
        {"model": {"epochs": 2, "batch_size": 7, "learning_rate": 1e-3, "head_learning_rate": 1e-2}},
    )
    recipe = spec.model_dump(mode="json", include=set(line.task.featurizer.fields))
    features = FeaturesVersion(
        dataset=DATASET,
        snapshot=TableSnapshot(table="features.texts", snapshot_id="1", content_hash="0" * 64, rows=1),
        featurizer_sha256="0" * 64,
        recipe=recipe,
    )
    return line.task, spec, features


def rows_with(make_tokens, *, poisoned: bool) -> pa.Table:
    """Rows to train on and to judge by; between them, if asked, rows of other splits that would spoil both."""
    parts = [make_tokens(28), make_tokens(14, split="validation")]
    if poisoned:
        for split in ("test", "shift", "held"):
            odd = make_tokens(9, split=split)
            parts += [odd.set_column(1, "label", pa.array([POISON] * 9, pa.int32()))]
    table = pa.concat_tables(parts).combine_chunks()
    order = np.random.default_rng(0).permutation(table.num_rows)
    return table.take(order)


def test_rows_of_other_splits_are_never_seen(texts, make_tokens, tmp_path):
    """With rows of other splits in the table, whose labels no trainer takes, all is as if they were not there."""
    task, spec, features = texts
    trainer = Seen(task.trainer)
    told: dict[bool, list] = {False: [], True: []}
    mixed = rows_with(make_tokens, poisoned=True)
    tables = {
        True: mixed,
        False: mixed.filter(pa.compute.is_in(mixed["split"], pa.array(["train", "validation"]))),
    }
    for poisoned, rows in tables.items():
        run_trial(
            spec,
            trainer,
            features,
            warehouse=Handed(rows),
            state={},
            scratch=tmp_path / str(poisoned),
            report=told[poisoned].append,
        )
    assert trainer.splits == {"train"}
    assert told[True] == told[False]
    with pytest.raises(TrainingError, match="label outside"):
        task.trainer.fit(
            mixed.set_column(2, "split", pa.array(["train"] * mixed.num_rows)),
            task.trainer.config(spec, features.recipe),
            output=tmp_path / "spoilt",
            checkpoints=None,
        )


def test_each_epoch_is_told_and_the_last_is_the_models_own_score(texts, make_tokens, tmp_path):
    """As many reports as epochs; the last is what the saved model's scorer says of the validation rows."""
    task, spec, features = texts
    rows, told = rows_with(make_tokens, poisoned=False), []
    found = run_trial(
        spec,
        task.trainer,
        features,
        warehouse=Handed(rows),
        state={},
        scratch=tmp_path,
        report=told.append,
        threads=1,
    )
    assert isinstance(task.trainer, ShowsEpochs)
    assert len(told) == spec.epochs
    assert told[-1] == found
    assert told[0] != found
    scorer = task.trainer.load(tmp_path / "model", mixed_precision=True)
    judged = rows.filter(pa.compute.equal(rows["split"], "validation"))
    again = measured(judged["label"].to_numpy(), scorer.score_features(judged), threshold=0.5)
    assert found == again


@pytest.fixture(scope="module")
def toy():
    """The toy is a task meanwhile."""
    with toy_task() as task:
        yield task


def toy_trial(toy, rows, tmp_path, report=lambda metrics: None):
    """A trial of numbers on rows of one's own."""
    line = load_line(write_line(tmp_path / "line"))
    state = {"mean.json": b"0"}
    features = FeaturesVersion(
        dataset=DATASET,
        snapshot=TableSnapshot(table="features.toy", snapshot_id="1", content_hash="0" * 64, rows=1),
        featurizer_sha256="0" * 64,
        recipe={"modulus": 2},
    )
    return run_trial(
        line.spec,
        toy.trainer,
        features,
        warehouse=Handed(rows),
        state=state,
        scratch=tmp_path,
        report=report,
    )


def toy_rows(labels, split):
    """Features of numbers with these labels."""
    count = len(labels)
    return pa.table(
        {
            "remainder": pa.array([row % 2 for row in range(count)], pa.int64()),
            "label": pa.array(labels, pa.int64()),
            "split": pa.array([split] * count, pa.string()),
        }
    )


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([], "has no rows of split 'validation', by which trials are judged"),
        ([1, 1, 1, 1], "cannot be judged on the split 'validation': AUC needs both classes"),
    ],
)
def test_a_model_that_cannot_be_judged_is_an_error(toy, tmp_path, labels, told):
    """And reports nothing."""
    rows = pa.concat_tables([toy_rows([0, 1, 0, 1], "train"), toy_rows(labels, "validation")])
    with pytest.raises(TrialError, match=told):
        toy_trial(toy, rows, tmp_path, report=lambda metrics: pytest.fail("nothing can be told"))


def test_scores_that_are_no_numbers_are_an_error(toy, tmp_path, monkeypatch):
    """A metric that is not finite would be Katib's best trial."""
    rows = pa.concat_tables([toy_rows([0, 1, 0, 1], "train"), toy_rows([0, 1, 1, 0], "validation")])
    trainer = type(toy.trainer)
    loaded = trainer.load
    odd = {0: float("nan"), 1: 0.5}
    monkeypatch.setattr(
        trainer, "load", lambda *given, **options: replace(loaded(*given, **options), shares=odd)
    )
    with pytest.raises(TrialError, match="NaN or infinite"):
        toy_trial(toy, rows, tmp_path, report=lambda metrics: pytest.fail("nothing can be told"))


def test_rows_of_splits_keep_their_order():
    """Of a table in many batches, empty ones among them."""
    rows = pa.table(
        {"number": range(23), "split": [["train", "test", "validation"][row % 3] for row in range(23)]}
    )
    snapshot = TableSnapshot(table="t", snapshot_id="1", content_hash="0" * 64, rows=23)
    found = rows_of_splits(Handed(rows), snapshot, ("validation",))
    assert found["number"].to_pylist() == list(range(2, 23, 3))
    assert rows_of_splits(Handed(rows), snapshot, ()).num_rows == 0


@given(
    value=st.floats(allow_nan=False, allow_infinity=False, min_value=0),
    seconds=st.integers(0, 1 << 33),
    microseconds=st.integers(0, 999_999),
    hours=st.integers(-12, 14),
)
def test_every_finite_metric_is_read_back_as_it_was(value, seconds, microseconds, hours):
    """Whatever its size; times are told in UTC."""
    zone = timezone(timedelta(hours=hours))
    at = datetime.fromtimestamp(seconds, zone).replace(microsecond=microseconds)
    time, _, report = printed({"log_loss": value}, at).partition(" ")
    name, text = KATIB_FILTER.fullmatch(report).group(1, 2)
    assert (name, float(text)) == ("log_loss", value)
    assert datetime.fromisoformat(time) == at
    assert time.endswith("Z")


@given(data=st.data(), rows=st.integers(2, 60))
def test_log_loss_is_that_of_the_library(data, rows):
    """Certain errors, which would be infinite, included."""
    from sklearn.metrics import log_loss as library

    labels = np.array(data.draw(st.lists(st.integers(0, 1), min_size=rows, max_size=rows)))
    scores = data.draw(arrays(np.float64, rows, elements=st.floats(0, 1)))
    assert log_loss(labels, scores) == pytest.approx(
        library(labels, scores, labels=[0, 1]), rel=1e-9, abs=1e-12
    )


def test_all_metrics_are_measured():
    """By the platform's own functions, each of them."""
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.55, 0.9])
    found = measured(labels, scores, threshold=0.5)
    assert tuple(found) == METRICS
    assert found["auc"] == 0.75
    assert found["accuracy"] == 0.75
    assert found["f1"] == pytest.approx(0.8)
    assert found["brier"] == pytest.approx(np.mean((scores - labels) ** 2))
