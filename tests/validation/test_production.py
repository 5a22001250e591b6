"""What the released model makes of the candidate's test rows: real tables, a real store, a real encoder."""

import io
import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from platform_assets.datasets.snapshots import content_hash
from platform_assets.governance.release import Release
from platform_assets.models.hardware import Hardware
from platform_assets.models.scorer import chosen_rows
from platform_assets.models.store import save_model
from platform_assets.models.trainer import TrainingResult
from platform_assets.references import (
    CardVersion,
    DatasetVersion,
    FeaturesVersion,
    ModelVersion,
    RegisteredVersion,
    ReportVersion,
    TableSnapshot,
    TransformerVersion,
)
from platform_assets.tasks.text_classification.recipe import build_classifier
from platform_assets.tasks.text_classification.task import TASK
from platform_assets.validation.production import ProductionScores, _Rows, production_scores
from platform_assets.validation.scoring import training_sources
from resources.iceberg_warehouse import IcebergWarehouse
from resources.locks import FileLocks
from resources.object_store import LocalObjectStore
from tests.governance.conftest import example
from tests.validation.scored import make_scored

TESTED = make_scored({("imdb", "validation"): 10, ("imdb", "test"): 40, ("rt", "test"): 20})
TRAINED = make_scored({("imdb", "train"): 30})
IN_TEST = TESTED.filter(pc.equal(TESTED["split"], "test"))
KEPT = {"gdpr_class": "internal", "retention_days": 30, "source_commit": "0" * 40}


@dataclass
class Line:
    """The tables and objects of one line."""

    warehouse: IcebergWarehouse
    store: LocalObjectStore

    def publish(self, table: str, rows: pa.Table) -> TableSnapshot:
        """The snapshot of these rows."""
        staged = self.warehouse.stage(table, rows, content_hash=content_hash(rows), **KEPT)
        return TableSnapshot.of(self.warehouse.publish(staged))

    def model(
        self,
        fingerprint: str,
        rows: pa.Table,
        *,
        dataset: Mapping[str, object] = MappingProxyType({}),
        **given: object,
    ) -> ModelVersion:
        """A model on features with the ids, sources and splits of these rows, and on a text for each."""
        rows = rows.select(["review_id", "source", "split"])
        texts = rows.append_column("text", pc.binary_join_element_wise("I saw", rows["review_id"], " "))
        made_of = example(
            DatasetVersion,
            line="line",
            snapshot=self.publish(f"datasets.{fingerprint}", texts),
            **dataset,
        )
        features = example(
            FeaturesVersion, dataset=made_of, snapshot=self.publish(f"features.{fingerprint}", rows)
        )
        return example(ModelVersion, features=features, fingerprint=fingerprint, **given)

    def release(
        self, *, trained: pa.Table, measured: pa.Table, object_prefix: str = "models/gone"
    ) -> Release:
        """The release of a model that was trained on some rows, and whose report holds scores of others."""
        others = measured.filter(pc.invert(pc.is_in(measured["review_id"], trained["review_id"])))
        sink = io.BytesIO()
        pq.write_table(measured, sink)
        self.store.put("reports/scores.parquet", sink.getvalue(), **KEPT)
        report = example(
            ReportVersion,
            model=self.model("released", pa.concat_tables([trained, others]), object_prefix=object_prefix),
            scores_key="reports/scores.parquet",
        )
        card = example(CardVersion, registered=example(RegisteredVersion, report=report))
        return Release(line="line", card=card, deployment={}, verdicts=("a",))

    def production_scores(self, release: Release, **dataset: object) -> ProductionScores:
        """Those for a candidate that is measured on `TESTED`, of a dataset with these values."""
        candidate = self.model("candidate", TESTED, dataset=dataset)
        return production_scores(
            release,
            candidate,
            TESTED,
            warehouse=self.warehouse,
            store=self.store,
            load=TASK.trainer.load,
        )


@pytest.fixture
def line(tmp_path):
    """A line without anything."""
    catalog = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    warehouse = IcebergWarehouse(catalog, str(tmp_path / "warehouse"), locks=FileLocks(tmp_path / "locks"))
    return Line(warehouse, LocalObjectStore(tmp_path / "objects"))


def test_stored_scores_are_used_where_all_rows_have_them(line):
    """In the order of the test rows, and without the model, which is not there."""
    released = line.release(trained=TRAINED, measured=TESTED.take(np.arange(TESTED.num_rows)[::-1]))

    found = line.production_scores(released)

    assert found.scores.tolist() == IN_TEST["score"].to_pylist()
    assert found.problem(["imdb", "rt"]) is None


@pytest.mark.parametrize(("leaked", "kept"), [("imdb", "rt"), ("rt", "imdb")])
def test_a_source_that_production_knows_is_refused_alone(line, leaked, kept):
    """Rows that the release was trained on say nothing about it; those of another source still do."""
    known = IN_TEST.filter(pc.equal(IN_TEST["source"], leaked))
    learnt = known.slice(0, 3).set_column(3, "split", pa.array(["train"] * 3))

    found = line.production_scores(line.release(trained=pa.concat_tables([TRAINED, learnt]), measured=TESTED))

    assert f"was trained on 3 of the {known.num_rows} test rows" in found.problem(["imdb", "rt"])
    assert found.problem([leaked]) == found.problem(["imdb", "rt"])
    assert found.problem([kept]) is None


def test_a_row_is_known_again_although_one_of_its_numbers_is_none():
    """NaN is no equal of itself, and the row is the same one."""
    rows = pa.table({"who": ["a"], "amount": [float("nan")], "split": ["train"]})

    known = _Rows.of(rows, rows, "who").known_to_training(divided=True)

    assert known.tolist() == [True]


def test_rows_that_were_only_measured_are_no_leak(line):
    """Validation, test and reserve rows of the release were never trained on."""
    reserve = IN_TEST.set_column(3, "split", pa.array(["reserve"] * IN_TEST.num_rows))

    found = line.production_scores(
        line.release(trained=pa.concat_tables([TRAINED, reserve]), measured=TESTED)
    )

    assert found.refused == {}


def test_training_data_that_expired_refuses_every_source(line):
    """Where nobody can tell what the release knows, nothing is compared."""
    released = line.release(trained=TRAINED, measured=TESTED)
    trained = released.card.registered.report.model.features.dataset.snapshot
    line.warehouse.drop(trained.table, [trained.snapshot_id])

    found = line.production_scores(released)

    assert set(found.refused) == {"imdb", "rt"}
    assert "has expired" in found.problem(["rt"])
    assert np.isnan(found.scores).all()


@pytest.mark.parametrize(
    "other", [{"subject_namespace": "applicant"}, {"subject_column": "row_id"}], ids=["namespace", "column"]
)
def test_subjects_that_go_by_something_else_refuse_every_source(line, other):
    """Where a row of one cannot be found in the other, nobody can tell what the release knows."""
    found = line.production_scores(line.release(trained=TRAINED, measured=TESTED), **other)

    assert set(found.refused) == {"imdb", "rt"}
    assert "nobody can tell whether it knows the test rows" in found.problem(["rt"])
    assert np.isnan(found.scores).all()


def test_the_candidate_itself_in_production_has_its_own_scores(line):
    """A model that is validated again is compared with itself."""
    released = line.release(trained=TRAINED, measured=TESTED)
    same = released.card.registered.report.model

    found = production_scores(
        released, same, TESTED, warehouse=line.warehouse, store=line.store, load=TASK.trainer.load
    )

    assert found.scores.tolist() == IN_TEST["score"].to_pylist()


def test_a_source_with_a_row_that_was_never_scored_is_scored_by_the_model(line, encoder, tmp_path):
    """All rows of that source, by the released model itself; the other source keeps its stored scores."""
    build_classifier(encoder, dropout=0.0).save(tmp_path, pad_id=0)
    TASK.trainer.complete(tmp_path, {"model_name": encoder, "max_length": 16, "head_fraction": 0.25}, {})
    save_model(
        line.store,
        TrainingResult(tmp_path, "", 1, 0, 0.0, 0.0, 1, Hardware("cpu", "float32", 1, "cpu")),
        features=example(FeaturesVersion),
        fingerprint="released",
        prefix="models/released",
        tracking_run_id="",
        settings={},
        source_commit="0" * 40,
        code_commit="0" * 40,
    )
    released = line.release(
        trained=TRAINED, measured=TESTED.slice(0, TESTED.num_rows - 1), object_prefix="models/released"
    )

    found = line.production_scores(released)

    of_rt = pc.equal(IN_TEST["source"], "rt").to_numpy()
    texts = [f"I saw {review_id}" for review_id in IN_TEST.filter(pa.array(of_rt))["review_id"].to_pylist()]
    expected = TASK.trainer.load(line.store.folder("models/released")).score_texts(texts)
    assert found.scores[of_rt] == pytest.approx(expected, abs=1e-6)
    assert found.scores[~of_rt].tolist() == IN_TEST.filter(pa.array(~of_rt))["score"].to_pylist()


PEOPLE = pa.table(
    {
        "applicant": [f"a{row}" for row in range(8)],
        "income": pa.array([float(row) for row in range(8)]),
        "label": pa.array([row % 2 for row in range(8)], pa.int32()),
        "source": ["loans"] * 8,
        "split": ["train"] * 4 + ["test"] * 4,
    }
)
"""Four applicants to train on, four to test on."""


@dataclass
class IncomeScorer:
    """Scores by income, of what it is shown."""

    def score_rows(self, rows: pa.Table, chosen: np.ndarray | None = None) -> np.ndarray:
        """The income of each row, as a share of a hundred."""
        return chosen_rows(rows, chosen)["income"].to_numpy() / 100


def compared(
    line: Line,
    before: pa.Table,
    now: pa.Table,
    transformers: tuple[TransformerVersion, ...] = (),
    **then: object,
) -> ProductionScores:
    """What a release on `before`, which stored the scores of its test rows, makes of the test rows of `now`."""
    stored = before.filter(pc.equal(before["split"], "test")).append_column("score", pa.array([0.5] * 4))
    sink = io.BytesIO()
    pq.write_table(stored, sink)
    line.store.put("reports/scores.parquet", sink.getvalue(), **KEPT)
    line.store.put("models/released/weights", b"weights", **KEPT)

    def dataset(name: str, rows: pa.Table, **given: object) -> DatasetVersion:
        about = {
            "subject_namespace": "applicant",
            "subject_column": "applicant",
            "task": "tabular-classification",
        }
        return example(
            DatasetVersion, line="line", snapshot=line.publish(f"datasets.{name}", rows), **(about | given)
        )

    def model(name: str, on: DatasetVersion) -> ModelVersion:
        features = example(FeaturesVersion, dataset=on, snapshot=on.snapshot, transformers=transformers)
        return example(ModelVersion, features=features, fingerprint=name, object_prefix="models/released")

    report = example(
        ReportVersion,
        model=model("released", dataset("before", before, **then)),
        scores_key="reports/scores.parquet",
    )
    card = example(CardVersion, registered=example(RegisteredVersion, report=report))
    tested = now.append_column("score", pa.array(np.zeros(now.num_rows)))
    return production_scores(
        Release(line="line", card=card, deployment={}, verdicts=("a",)),
        model("candidate", dataset("now", now)),
        tested,
        warehouse=line.warehouse,
        store=line.store,
        load=lambda _: IncomeScorer(),
    )


def test_a_row_that_has_changed_is_scored_again(line):
    """Its subject is the same, and its stored score was given to another row."""
    richer = PEOPLE.set_column(1, "income", pa.array([float(row) for row in range(7)] + [70.0]))

    found = compared(line, PEOPLE, richer)

    assert found.refused == {}
    assert found.scores.tolist() == [0.04, 0.05, 0.06, 0.7]


@pytest.mark.parametrize(
    ("kind", "scores"),
    [("zscore", [0.04, 0.05, 0.06, 0.07]), ("lag", [0.04, 0.05, 0.06, 0.07]), ("woe", [0.5] * 4)],
)
def test_a_model_that_looks_at_history_is_asked_again_where_history_is_another(line, kind, scores):
    """A training row has changed and no test row has: what was stored was given to another past."""
    another_past = PEOPLE.set_column(1, "income", pa.array([50.0] + [float(row) for row in range(1, 8)]))
    applied = (example(TransformerVersion, transformer_type=kind),)

    assert compared(line, PEOPLE, another_past, applied).scores.tolist() == scores
    assert compared(line, PEOPLE, PEOPLE, applied).scores.tolist() == [0.5] * 4


def test_columns_that_came_and_went_leave_stored_scores_as_they_are(line):
    """The rows are the same in all that both have."""
    with_home = PEOPLE.append_column("home", pa.array(["rent"] * 8))

    assert compared(line, with_home, PEOPLE).scores.tolist() == [0.5] * 4
    assert compared(line, PEOPLE, with_home).scores.tolist() == [0.5] * 4


def test_rows_that_lack_what_production_reads_are_not_compared(line):
    """They would have to be scored again, and a score without a column would say nothing: the gates err."""
    with_home = PEOPLE.append_column("home", pa.array(["rent"] * 8))
    richer = PEOPLE.set_column(1, "income", pa.array([90.0] * 8))

    found = compared(line, with_home, richer)

    assert "reads home, which the rows to compare on lack or hold as another type" in found.problem(["loans"])


@pytest.mark.parametrize(
    ("then", "problem"),
    [
        ({"task": "text-classification"}, "a dataset of the task text-classification"),
        ({"subject_namespace": "patient"}, "rows that patient applicant names"),
    ],
)
def test_a_release_of_something_else_is_not_compared(line, then, problem):
    """Nobody can tell whether it knows the rows."""
    found = compared(line, PEOPLE, PEOPLE, **then)

    assert problem in found.problem(["loans"])
    assert np.isnan(found.scores).all()


def test_where_the_split_divides_subjects_only_the_very_rows_are_leaks(line):
    """By time, yesterday's customers come back; what production must not know is the row."""
    back = PEOPLE.set_column(0, "applicant", pa.array([f"a{row % 4}" for row in range(8)]))
    learnt = back.set_column(4, "split", pa.array(["train"] * 5 + ["test"] * 3))

    assert compared(line, back, back).refused == {}
    assert "was trained on 1 of the 4 test rows" in compared(line, learnt_with_scores(learnt), back).problem(
        ["loans"]
    )


def learnt_with_scores(rows: pa.Table) -> pa.Table:
    """The rows with one more to test on, so that four scores are stored."""
    extra = rows.slice(7, 1).set_column(0, "applicant", pa.array(["z"]))
    return pa.concat_tables([rows, extra])


def test_the_sources_in_training_are_those_of_the_training_rows(line):
    """A source that is only measured, or held in reserve, is not in training."""
    rows = make_scored(
        {("b", "train"): 2, ("a", "train"): 2, ("c", "test"): 2, ("d", "reserve"): 2, ("e", "shift"): 2}
    )

    assert training_sources(line.model("candidate", rows), line.warehouse) == ("a", "b")


def test_images_are_told_apart_without_a_copy_of_each():
    """20 MB of them, in two tables, take some kB more; one that was changed by a bit is another, and none is none."""
    images = [bytes([at]) * 100_000 for at in range(100)]

    def table(images):
        ids = [f"patient-{at}" for at in range(len(images))]
        columns = {"review_id": ids, "split": ["train"] * len(images), "image": pa.array(images, pa.binary())}
        return pa.table(columns)

    before, now = table(images), table([b"\1" + images[0][1:], *images[1:-1], None])
    tracemalloc.start()
    rows = _Rows.of(before, now, "review_id")
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    same = [one == other for one, other in zip(rows.before_keys, rows.now_keys, strict=True)]
    assert same == [False, *[True] * 98, False]
    assert peak_bytes < 1_000_000
