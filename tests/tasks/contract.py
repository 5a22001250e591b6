"""What every task promises: one suite for each of its parts.

A module of tests subclasses `Case` once, giving the fixtures that raise here, and each suite together with it:

    class Texts(Case):
        @pytest.fixture(scope="class")
        def task(self): ...

    class TestIngestion(Texts, IngestionContract): ...
"""

import ast
import inspect
import json
import operator
import pickletools
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pydantic import JsonValue

import platform_assets.tasks
from platform_assets.datasets.contract import find_contract
from platform_assets.datasets.ingestion import SPLITS, PreparedRows, RawSource, Surroundings, raw_sources
from platform_assets.datasets.snapshots import content_hash
from platform_assets.features.featurizer import Features, used_rows
from platform_assets.manifest import AddedLater, identity_of
from platform_assets.models.checkpoints import FolderCheckpoints
from platform_assets.models.errors import TrainingError
from platform_assets.models.scorer import Scorer
from platform_assets.models.trainer import TrainingResult
from platform_assets.references import DatasetVersion, FeaturesVersion, ModelVersion
from platform_assets.step import override_config
from platform_assets.tasks.registry import find_task
from platform_assets.tasks.task import AnyTask
from platform_assets.tasks.training_spec import TrainingSpec
from platform_assets.validation.clusters import clusters_of
from platform_assets.validation.evaluator import Examining
from platform_assets.validation.gate import SHARED_RULES, Gate
from platform_assets.validation.reference import SHARED_COLUMNS, reference_profile
from platform_assets.validation.scoring import scored_rows
from resources.object_store import LocalObjectStore
from tests.governance.conftest import example

MakeSpec = Callable[..., TrainingSpec]
HEAVY = ("pandas", "pyarrow", "torch", "transformers", "sklearn", "scipy", "numba", "pyiceberg", "matplotlib")
SALT = b"a salt of tests, long enough"
EXECUTES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
PNG = b"\x89PNG\r\n\x1a\n"


class Case:
    """One task, and a small line of it. The first four fixtures are the subclass's."""

    @pytest.fixture(scope="class")
    @classmethod
    def task(cls) -> AnyTask:
        """The task."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def make_spec(cls) -> MakeSpec:
        """Builds a spec that trains on sources, given by URI, with some of its fields changed."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def sources(cls) -> tuple[str, str]:
        """URIs of two sources; the second has some subjects of the first, and others. Each fills three splits."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def instances_of(cls) -> Callable[[pa.Table], list[JsonValue]]:
        """Rows of the dataset as somebody would ask about them."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def wrong_instances(cls) -> list[JsonValue]:
        """What nobody can be answered about."""
        return [None, [], {}, {"there is no such field": 1}]

    @pytest.fixture(scope="class")
    @classmethod
    def spec(cls, make_spec: MakeSpec, sources: tuple[str, str]) -> TrainingSpec:
        """Trains on the first source."""
        return make_spec(sources[0])

    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls, task: AnyTask, spec: TrainingSpec) -> str:
        """The column that says whose a row is."""
        name: str = task.ingestion.subject(spec).name
        return name

    @pytest.fixture(scope="class")
    @classmethod
    def read(
        cls, task: AnyTask, tmp_path_factory: pytest.TempPathFactory
    ) -> Callable[[TrainingSpec], list[RawSource]]:
        """Reads the sources of a spec."""
        folder = tmp_path_factory.mktemp("surroundings")

        def read(spec: TrainingSpec) -> list[RawSource]:
            contract = find_contract(spec.contract, beside=folder) or folder / spec.contract
            surroundings = Surroundings(
                contract, SALT, LocalObjectStore(folder / "objects"), folder / "cache"
            )
            return raw_sources(spec, task.ingestion, surroundings)

        return read

    @pytest.fixture(scope="class")
    @classmethod
    def prepare(
        cls, task: AnyTask, read: Callable[[TrainingSpec], list[RawSource]]
    ) -> Callable[..., PreparedRows]:
        """Prepares the rows of a spec, less those of the erased subjects."""

        def prepare(spec: TrainingSpec, *, erased: Sequence[str] = ()) -> PreparedRows:
            found: PreparedRows = task.ingestion.prepare(
                spec, read(spec), is_erased=lambda ids: [each in erased for each in ids]
            )
            return found

        return prepare

    @pytest.fixture(scope="class")
    @classmethod
    def rows(cls, prepare: Callable[..., PreparedRows], spec: TrainingSpec) -> pa.Table:
        """The rows of the first source."""
        return prepare(spec).rows.read()

    @pytest.fixture(scope="class")
    @classmethod
    def features(cls, task: AnyTask, rows: pa.Table, spec: TrainingSpec, subject: str) -> Features:
        """Their features."""
        found: Features = task.featurizer.apply(rows, spec, subject_column=subject)
        return found

    @pytest.fixture(scope="class")
    @classmethod
    def fit(cls, task: AnyTask, spec: TrainingSpec, features: Features) -> Callable[..., TrainingResult]:
        """Trains into a folder, on the features or on others."""

        def fit(folder: Path, rows: pa.Table | None = None) -> TrainingResult:
            result: TrainingResult = task.trainer.fit(
                features.table if rows is None else rows,
                task.trainer.config(spec, features.recipe),
                output=folder / "model",
                checkpoints=FolderCheckpoints(folder),
                checkpoint_interval_seconds=3600.0,
                on_progress=None,
            )
            return result

        return fit

    @pytest.fixture(scope="class")
    @classmethod
    def trained(
        cls, fit: Callable[..., TrainingResult], tmp_path_factory: pytest.TempPathFactory
    ) -> TrainingResult:
        """What training came to, the model not yet complete."""
        return fit(tmp_path_factory.mktemp("trained"))

    @pytest.fixture(scope="class")
    @classmethod
    def saved(
        cls,
        task: AnyTask,
        trained: TrainingResult,
        features: Features,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> Path:
        """The folder of the whole model."""
        folder = tmp_path_factory.mktemp("saved") / "model"
        shutil.copytree(trained.output, folder)
        task.trainer.complete(folder, features.recipe, features.state)
        return folder

    @pytest.fixture(scope="class")
    @classmethod
    def scorer(cls, task: AnyTask, saved: Path) -> Scorer:
        """The model, loaded."""
        found: Scorer = task.trainer.load(saved)
        return found


class IngestionContract:
    """Rows of one table, each in a split that it never leaves for another."""

    def test_rows_have_the_shared_columns(self, rows: pa.Table, subject: str) -> None:
        """Label, source, split and subject, none of them missing, of types that all stages read."""
        assert rows.schema.field("label").type == pa.int32()
        for name in ("source", "split", subject):
            assert rows.schema.field(name).type in (pa.string(), pa.large_string())
        for name in ("label", "source", "split", subject):
            assert rows[name].null_count == 0
        assert set(rows["label"].to_pylist()) == {0, 1}
        assert {"train", "validation", "test"} <= set(rows["split"].to_pylist()) <= set(SPLITS)

    def test_equal_input_gives_equal_rows(
        self, prepare: Callable[..., PreparedRows], spec: TrainingSpec, rows: pa.Table
    ) -> None:
        """In the same order, under one content hash."""
        again = prepare(spec)
        assert content_hash(again.rows) == content_hash(rows)
        assert again.source_hash == prepare(spec).source_hash

    def test_another_source_has_another_hash(
        self, prepare: Callable[..., PreparedRows], make_spec: MakeSpec, sources: tuple[str, str]
    ) -> None:
        """Else a change of the data would go unnoticed."""
        hashes = {prepare(make_spec(*uris)).source_hash for uris in (sources, sources[:1], sources[1:])}
        assert len(hashes) == 3

    @pytest.mark.parametrize("order", [1, -1], ids=["after", "before"])
    def test_splits_are_frozen(
        self,
        prepare: Callable[..., PreparedRows],
        make_spec: MakeSpec,
        sources: tuple[str, str],
        subject: str,
        order: int,
    ) -> None:
        """Beside another source, named before or after, a row is in the split that it always was in, or gone."""
        both = prepare(make_spec(*sources[::order])).rows.read()
        for uri in sources:
            alone = prepare(make_spec(uri)).rows.read()
            before = _split_of(alone, subject)
            now = {row: split for row, split in _split_of(both, subject).items() if row in before}
            assert now == {row: before[row] for row in now}
            assert {"train", "validation", "test"} <= set(now.values())

    def test_rows_of_the_first_source_all_stay(
        self,
        prepare: Callable[..., PreparedRows],
        make_spec: MakeSpec,
        sources: tuple[str, str],
        rows: pa.Table,
        subject: str,
    ) -> None:
        """What comes later takes none of them away: gates measure on them."""
        both = prepare(make_spec(*sources)).rows.read()
        assert _split_of(rows, subject).items() <= _split_of(both, subject).items()
        assert both.num_rows > rows.num_rows

    def test_erased_rows_are_absent(
        self, prepare: Callable[..., PreparedRows], spec: TrainingSpec, rows: pa.Table, subject: str
    ) -> None:
        """Whatever the sources still hold; they are counted, and no other row moves."""
        of_split = {
            split: rows.filter(pc.equal(rows["split"], split)) for split in ("train", "validation", "test")
        }
        erased = [table[subject][0].as_py() for table in of_split.values()]
        prepared = prepare(spec, erased=erased)
        left = rows.filter(pc.invert(pc.is_in(rows[subject], pa.array(erased))))
        assert not set(erased) & set(prepared.rows.read()[subject].to_pylist())
        assert prepared.rows.read().drop_columns("split").equals(left.drop_columns("split"))
        assert _split_of(prepared.rows.read(), subject) == _split_of(left, subject)
        assert prepared.erased >= rows.num_rows - left.num_rows >= 3

    def test_every_raw_row_is_counted_once(
        self,
        prepare: Callable[..., PreparedRows],
        read: Callable[[TrainingSpec], list[RawSource]],
        make_spec: MakeSpec,
        sources: tuple[str, str],
    ) -> None:
        """It is in the table, erased, or left out for a reason."""
        for uris in (sources, sources[:1]):
            prepared = prepare(make_spec(*uris))
            counted = prepared.rows.num_rows + prepared.erased + sum(prepared.left_out.values())
            assert counted == prepared.raw_rows == sum(len(each.frame) for each in read(make_spec(*uris)))

    def test_the_first_sources_are_those_of_the_first_uri(
        self,
        prepare: Callable[..., PreparedRows],
        make_spec: MakeSpec,
        sources: tuple[str, str],
        rows: pa.Table,
    ) -> None:
        """What gates measure on does not change because more is trained on."""
        alone, both = prepare(make_spec(sources[0])), prepare(make_spec(*sources))
        assert both.first_sources == alone.first_sources == tuple(sorted(set(rows["source"].to_pylist())))

    def test_a_shifted_source_is_never_trained_on(
        self,
        prepare: Callable[..., PreparedRows],
        make_spec: MakeSpec,
        sources: tuple[str, str],
        rows: pa.Table,
    ) -> None:
        """It is a split of its own, and leaves the others as they are."""
        shifted = prepare(make_spec(sources[0], shift_data_uri=sources[1], shift_rows=None)).rows.read()
        known = set(rows["source"].to_pylist())
        own = shifted.filter(pc.is_in(shifted["source"], pa.array(sorted(known))))
        other = shifted.filter(pc.invert(pc.is_in(shifted["source"], pa.array(sorted(known)))))
        assert own.equals(rows)
        assert "shift" in set(other["split"].to_pylist()) <= {"shift", "reserve"}

    def test_what_decides_is_declared(self, task: AnyTask, spec: TrainingSpec) -> None:
        """Each field is one of the spec, and the subject has a name of its own kind."""
        fields, declared = set(task.ingestion.fields), type(spec).model_fields
        later = {
            name for name in fields if any(isinstance(each, AddedLater) for each in declared[name].metadata)
        }
        assert fields - later <= identity_of(spec, fields).keys() <= fields
        assert all(task.ingestion.subject(spec))
        assert task.ingestion.code
        assert task.ingestion.description


def _split_of(rows: pa.Table, subject: str) -> dict[tuple[str, str], str]:
    """Split by source and subject; `reserve` counts as train, from which it was taken."""
    splits = ["train" if split == "reserve" else split for split in rows["split"].to_pylist()]
    return dict(
        zip(zip(rows["source"].to_pylist(), rows[subject].to_pylist(), strict=True), splits, strict=True)
    )


class FeaturizerContract:
    """Features row by row, fitted on training rows alone."""

    def test_features_are_of_the_used_rows_in_order(
        self, features: Features, rows: pa.Table, subject: str
    ) -> None:
        """Subject, label, source and split as the dataset has them, and something to learn from."""
        shared = [subject, "label", "source", "split"]
        assert features.table.select(shared).equals(used_rows(rows).select(shared))
        assert set(features.table.column_names) > set(shared)

    def test_reserve_is_left_out(
        self, task: AnyTask, rows: pa.Table, spec: TrainingSpec, features: Features, subject: str
    ) -> None:
        """Rows that nobody asked for change nothing, and have no features."""
        reserve = rows.filter(pc.equal(rows["split"], "test"))
        at = reserve.column_names.index("split")
        reserve = reserve.set_column(at, "split", pa.array(["reserve"] * reserve.num_rows))
        more = task.featurizer.apply(pa.concat_tables([rows, reserve]), spec, subject_column=subject)
        assert more.table.equals(features.table)
        assert (more.sha256, more.state) == (features.sha256, features.state)

    def test_equal_rows_give_equal_features(
        self, task: AnyTask, rows: pa.Table, spec: TrainingSpec, features: Features, subject: str
    ) -> None:
        """Table, identity, recipe and state."""
        again = task.featurizer.apply(rows, spec, subject_column=subject)
        assert content_hash(again.table) == content_hash(features.table)
        assert (again.sha256, again.recipe, again.state) == (features.sha256, features.recipe, features.state)

    def test_what_is_fitted_is_fitted_on_training_rows(
        self, task: AnyTask, rows: pa.Table, spec: TrainingSpec, features: Features, subject: str
    ) -> None:
        """Without the rows that are measured on, the state is the same, and so are the features of the others."""
        train = rows.filter(pc.equal(rows["split"], "train"))
        alone = task.featurizer.apply(train, spec, subject_column=subject)
        assert (alone.sha256, alone.state) == (features.sha256, features.state)
        assert alone.table.equals(features.table.filter(pc.equal(features.table["split"], "train")))

    def test_the_recipe_is_what_the_spec_says(
        self, task: AnyTask, spec: TrainingSpec, features: Features
    ) -> None:
        """It travels as JSON and names fields of the spec with their values."""
        values = spec.model_dump(mode="json")
        assert json.loads(json.dumps(dict(features.recipe))) == features.recipe
        assert features.recipe == {name: values[name] for name in features.recipe}
        assert set(features.recipe) <= set(task.featurizer.fields)

    def test_what_decides_is_declared(self, task: AnyTask, spec: TrainingSpec) -> None:
        """Each field is one of the spec; what a run may change is among them; what it starts from has an identity."""
        featurizer = task.featurizer
        assert set(featurizer.overridable) <= set(featurizer.fields)
        assert set(featurizer.fields) <= type(spec).model_fields.keys()
        assert identity_of(spec, featurizer.fields).keys() <= set(featurizer.fields)
        assert all(featurizer.upstream(spec).values())
        assert featurizer.code
        assert featurizer.description


class TrainerContract:
    """A model that is the same for the same rows, and answers alike whatever it is asked by."""

    @pytest.fixture(scope="class")
    @classmethod
    def tested(cls, rows: pa.Table, features: Features) -> tuple[pa.Table, pa.Table]:
        """Rows and features that are measured on."""
        return tuple(table.filter(pc.equal(table["split"], "test")) for table in (rows, features.table))  # type: ignore[return-value]

    def test_equal_input_gives_an_equal_model(
        self, fit: Callable[..., TrainingResult], trained: TrainingResult, tmp_path: Path
    ) -> None:
        """Byte for byte, under one hash of the weights."""
        again = fit(tmp_path)
        assert again.weights_sha256 == trained.weights_sha256
        assert _files(again.output) == _files(trained.output)

    def test_other_labels_give_another_model(
        self, fit: Callable[..., TrainingResult], trained: TrainingResult, features: Features, tmp_path: Path
    ) -> None:
        """The hash of the weights is of what was learnt."""
        table = features.table
        turned = pc.subtract(pa.scalar(1, pa.int32()), table["label"])
        other = fit(tmp_path, table.set_column(table.column_names.index("label"), "label", turned))
        assert other.weights_sha256 != trained.weights_sha256

    def test_it_tells_what_it_did(self, trained: TrainingResult, features: Features) -> None:
        """Where the files are, what was learnt, on how many rows."""
        train = pc.sum(pc.equal(features.table["split"], "train")).as_py()
        assert trained.output.is_dir()
        assert len(trained.weights_sha256) == 64
        assert trained.rows == train
        assert (trained.resumed_at_step, trained.steps > 0) == (0, True)

    def test_no_training_rows_are_an_error_and_no_model(
        self, fit: Callable[..., TrainingResult], features: Features, tmp_path: Path
    ) -> None:
        """The output is whole or not there."""
        table = features.table
        with pytest.raises(TrainingError, match="0 rows"):
            fit(tmp_path, table.filter(pc.not_equal(table["split"], "train")))
        assert not (tmp_path / "model").exists()

    def test_the_configuration_travels_as_json(
        self, task: AnyTask, spec: TrainingSpec, features: Features
    ) -> None:
        """Other processes read what this one wrote."""
        config = task.trainer.config(spec, features.recipe)
        assert isinstance(config, task.trainer.config_type)
        assert task.trainer.config_type.model_validate_json(config.model_dump_json()) == config

    def test_features_rows_and_instances_score_alike(
        self,
        scorer: Scorer,
        tested: tuple[pa.Table, pa.Table],
        instances_of: Callable[[pa.Table], list[JsonValue]],
    ) -> None:
        """Bit for bit: what is judged is what is served. Of some of the rows only, batches may round otherwise."""
        rows, features = tested
        expected = scorer.score_features(features)
        assert expected.shape == (rows.num_rows,)
        assert expected.dtype == np.float64
        assert ((expected >= 0) & (expected <= 1)).all()
        assert len(set(expected.tolist())) > 1
        assert np.array_equal(scorer.score_rows(rows), expected)
        chosen = np.arange(rows.num_rows) % 3 == 1
        assert scorer.score_rows(rows, chosen) == pytest.approx(expected[chosen], rel=0, abs=1e-6)
        assert np.array_equal(scorer.score_instances(instances_of(rows)), expected)

    def test_no_instance_is_no_score(self, scorer: Scorer) -> None:
        """Nothing is answered with nothing."""
        assert scorer.score_instances([]).shape == (0,)
        assert scorer.watched([]) == []

    def test_what_is_no_instance_is_refused_by_its_place(
        self,
        scorer: Scorer,
        tested: tuple[pa.Table, pa.Table],
        instances_of: Callable[[pa.Table], list[JsonValue]],
        wrong_instances: list[JsonValue],
    ) -> None:
        """Before anything is scored."""
        (fine,) = instances_of(tested[0].slice(0, 1))
        for wrong in wrong_instances:
            for ask in (scorer.score_instances, scorer.watched):
                with pytest.raises(Exception, match="instance 2"):
                    ask([fine, wrong])

    def test_the_example_is_an_instance(self, task: AnyTask, spec: TrainingSpec, scorer: Scorer) -> None:
        """What the command line shows can be asked."""
        instance = task.read_instance(task.example_instance(spec, {}))
        assert scorer.score_instances([instance]).shape == (1,)
        assert len(scorer.watched([instance])) == 1

    def test_a_saved_model_needs_nothing_else(
        self, task: AnyTask, saved: Path, scorer: Scorer, tested: tuple[pa.Table, pa.Table], tmp_path: Path
    ) -> None:
        """Moved elsewhere it scores the same."""
        moved = tmp_path / "elsewhere"
        shutil.copytree(saved, moved)
        assert np.array_equal(task.trainer.load(moved).score_rows(tested[0]), scorer.score_rows(tested[0]))

    def test_loading_executes_nothing_of_the_files(self, saved: Path) -> None:
        """None of them is, or holds, what Python's pickle would run."""
        files = [path for path in saved.rglob("*") if path.is_file()]
        assert files
        assert [path.name for path in files if _holds_a_pickle(path)] == []

    def test_what_decides_is_declared(self, task: AnyTask, spec: TrainingSpec, features: Features) -> None:
        """Each field is one of the spec, and what it starts from has an identity."""
        trainer = task.trainer
        assert (
            set(trainer.fields) <= type(spec).model_fields.keys()
        )  # one added later may be no part of the identity
        assert all(trainer.upstream(spec, features.recipe).values())
        assert trainer.code
        assert trainer.description


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def _holds_a_pickle(path: Path) -> bool:
    """Whether the file is a pickle, or an archive with one in it, as torch and numpy write them."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return any(_is_a_pickle(archive.read(name)) for name in archive.namelist())
    return _is_a_pickle(path.read_bytes())


def _is_a_pickle(content: bytes) -> bool:
    if content.startswith(b"\x93NUMPY"):
        return b"'descr': '|O'" in content[:200]
    try:
        # Anything that ends as a pickle does, before an opcode that is none.
        return any(opcode.name == "STOP" for opcode, _, _ in pickletools.genops(content))
    except (ValueError, IndexError, UnicodeDecodeError):
        return content.startswith(tuple(bytes([0x80, protocol]) for protocol in range(2, 6)))


class EvaluatorContract:
    """Measures that follow from rows and scores alone."""

    @pytest.fixture(scope="class")
    @classmethod
    def measured(cls, rows: pa.Table, features: Features) -> tuple[pa.Table, pa.Table]:
        """Rows and features of the splits that are measured on."""
        return tuple(  # type: ignore[return-value]
            table.filter(pc.is_in(table["split"], pa.array(["validation", "test"])))
            for table in (rows, features.table)
        )

    @pytest.fixture(scope="class")
    @classmethod
    def scored(
        cls,
        task: AnyTask,
        spec: TrainingSpec,
        scorer: Scorer,
        rows: pa.Table,
        features: Features,
        subject: str,
    ) -> pa.Table:
        """What validation makes of them."""
        dataset = example(DatasetVersion, task=task.name, subject_column=subject)
        table = dataset.snapshot.model_copy(update={"table": "features"})
        model = example(ModelVersion, features=example(FeaturesVersion, dataset=dataset, snapshot=table))
        return scored_rows(
            model, scorer, task.evaluator, spec, _Tables({"": rows, "features": features.table})
        )  # type: ignore[arg-type]

    def test_columns_hold_what_is_profiled(
        self, task: AnyTask, spec: TrainingSpec, measured: tuple[pa.Table, pa.Table], subject: str
    ) -> None:
        """Row by row, beside the shared columns and not in their place."""
        rows, features = measured
        columns = task.evaluator.columns(features, rows, spec)
        assert set(task.evaluator.profiled(spec)) <= set(columns.column_names)
        assert columns.num_rows == rows.num_rows
        shared = {subject, "label", "source", "split", "score", "baseline_score", "error", "row_cluster"}
        assert not shared & set(columns.column_names)

    def test_scored_rows_know_their_cluster(
        self, task: AnyTask, spec: TrainingSpec, scored: pa.Table, rows: pa.Table, subject: str
    ) -> None:
        """Where the task knows of rows that depend on each other: the number that the row of the dataset has."""
        found = clusters_of(scored, task.evaluator.cluster_unit(spec))
        assert (found is None) == (task.evaluator.cluster_unit(spec) is None)
        if found is not None:
            of_all = task.evaluator.clusters(rows, spec)
            numbers = dict(zip(rows[subject].to_pylist(), of_all.tolist(), strict=True))
            assert found.codes.tolist() == [numbers[each] for each in scored[subject].to_pylist()]

    def test_what_is_watched_is_what_is_profiled(
        self,
        task: AnyTask,
        spec: TrainingSpec,
        scorer: Scorer,
        measured: tuple[pa.Table, pa.Table],
        instances_of: Callable[[pa.Table], list[JsonValue]],
    ) -> None:
        """A monitor is told of an instance what the reference profile holds of its row: the same values, no others."""
        rows, features = measured
        profiled = task.evaluator.profiled(spec)
        columns = task.evaluator.columns(features, rows, spec).select(list(profiled)).to_pylist()
        watched = scorer.watched(instances_of(rows))
        assert [set(each) for each in watched] == [
            {name for name, value in row.items() if value is not None} for row in columns
        ]
        for told, row in zip(watched, columns, strict=True):
            assert told == {name: pytest.approx(row[name]) for name in told}

    def test_the_reference_profile_can_be_made(
        self, task: AnyTask, spec: TrainingSpec, scored: pa.Table
    ) -> None:
        """Of every column that drift may be watched on."""
        profile = reference_profile(scored, task.evaluator.profiled(spec), mix=None, salt=b"salt")
        assert set(profile.columns) == set(task.watchable(spec))
        assert set(SHARED_COLUMNS) <= set(profile.columns)
        assert set(spec.drift.columns) <= set(profile.columns)

    def test_the_baseline_learns_from_training_rows_alone(
        self, task: AnyTask, spec: TrainingSpec, rows: pa.Table, measured: tuple[pa.Table, pa.Table]
    ) -> None:
        """A probability a row, the same each time, whatever the measured labels are."""
        train, tested = rows.filter(pc.equal(rows["split"], "train")), measured[0]
        at = tested.column_names.index("label")
        unknown = tested.set_column(at, "label", pa.array([0] * tested.num_rows, pa.int32()))
        scores, again = (task.evaluator.baseline(train, each, spec) for each in (tested, unknown))
        assert scores.shape == (tested.num_rows,)
        assert ((scores >= 0) & (scores <= 1)).all()
        assert np.array_equal(scores, again)

    def test_its_rules_parse(self, task: AnyTask, spec: TrainingSpec) -> None:
        """Each of its own, with each operator that it may be written with; none hides a shared one."""
        own = task.evaluator.rules
        assert not own.keys() & SHARED_RULES.keys()
        for name, rule in own.items():
            for symbol in rule.operators:
                gate = Gate.parse(name, symbol if symbol == "true" else f"{symbol} 0.5", task.rules, spec)
                assert gate.rule_set == f"gate.{name}"
        assert task.rules.keys() == own.keys() | SHARED_RULES.keys()

    def test_what_decides_a_rule_brings_a_new_verdict(self, task: AnyTask) -> None:
        """A field of a rule is one that the report depends on, and none that a run can change under the verdict."""
        overridable = {field for fields in task.overridable.values() for field in fields}
        for rule in task.rules.values():
            assert set(rule.fields) <= set(task.evaluator.fields)
            assert not set(rule.fields) & overridable

    def test_measures_are_json_and_follow_from_the_rows(
        self, task: AnyTask, spec: TrainingSpec, scored: pa.Table
    ) -> None:
        """Twice the same, and readable for whoever reads the report."""
        measures, again = (_measures(task, spec, scored) for _ in range(2))
        assert json.loads(json.dumps(measures)) == again

    def test_pictures_are_png_and_have_names_of_their_own(
        self, task: AnyTask, spec: TrainingSpec, scored: pa.Table
    ) -> None:
        """They stand beside the shared ones, and beside the figures in the asset's metadata."""
        tested = scored.filter(pc.equal(scored["split"], "test"))
        measures = _measures(task, spec, scored)
        pictures = task.evaluator.pictures(tested, measures, spec)
        figures = {name for name, value in measures.items() if isinstance(value, int | float)}
        assert not figures & {name.replace("-", "_") for name in pictures}
        assert not {"roc", "calibration", "score-distribution"} & pictures.keys()
        assert all(png.startswith(PNG) for png in pictures.values())

    def test_images_of_rows_say_whose_they_are(
        self,
        task: AnyTask,
        spec: TrainingSpec,
        scorer: Scorer,
        scored: pa.Table,
        features: Features,
        subject: str,
    ) -> None:
        """Where it shows any: each with the subject of its row, and no word about it; measures have names of their own."""
        if not isinstance(task.evaluator, Examining):
            return
        tested, read = (rows.filter(pc.equal(rows["split"], "test")) for rows in (scored, features.table))
        threshold = task.evaluator.threshold(spec)
        sheet = task.evaluator.examined(scorer, read, tested, spec, threshold=threshold)
        subjects = set(tested[subject].to_pylist())
        assert set(sheet.images[subject].to_pylist()) <= subjects
        told = [each["caption"] for images in sheet.groups().values() for each in images]
        words = " ".join([sheet.title, *sheet.notes, *sheet.groups(), *told])
        assert not [each for each in subjects if str(each) in words]
        assert all(png.as_py().startswith(PNG) for png in sheet.images["png"])
        assert json.loads(json.dumps(sheet.measures)) == sheet.measures
        assert not sheet.measures.keys() & _measures(task, spec, scored).keys()
        assert task.evaluator.examining_code

    def test_one_threshold_judges_and_answers(
        self, task: AnyTask, spec: TrainingSpec, scorer: Scorer
    ) -> None:
        """Metrics are about the labels that are given out."""
        assert scorer.threshold == task.evaluator.threshold(spec)
        assert 0 < scorer.threshold < 1

    def test_what_decides_is_declared(self, task: AnyTask, spec: TrainingSpec) -> None:
        """Each field is one of the spec; figures and baseline have names."""
        evaluator = task.evaluator
        assert identity_of(spec, evaluator.fields).keys() == set(evaluator.fields)
        assert evaluator.code
        assert evaluator.scoring_code
        assert evaluator.headline
        assert evaluator.baseline_name(spec)


def _measures(task: AnyTask, spec: TrainingSpec, scored: pa.Table) -> dict[str, JsonValue]:
    """What the evaluator measures on the test rows."""
    reference, tested = (scored.filter(pc.equal(scored["split"], split)) for split in ("validation", "test"))
    threshold = task.evaluator.threshold(spec)
    return dict(task.evaluator.measures(tested, spec, reference=reference, threshold=threshold))


class _Tables:
    """A warehouse of these tables, each in one version."""

    def __init__(self, tables: dict[str, pa.Table]) -> None:
        self._tables = tables

    def read(self, table: str, snapshot_id: str) -> pa.Table:
        """The table."""
        return self._tables[table]


class TaskContract:
    """The four parts as one, in a folder that knows no other task."""

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, task: AnyTask) -> Path:
        """Where the task lies."""
        name = f"{platform_assets.tasks.__name__}.{task.name.replace('-', '_')}"
        return Path(next(iter(find_spec(name).submodule_search_locations)))

    def test_it_is_found_by_the_name_of_its_folder(self, task: AnyTask, folder: Path) -> None:
        """With hyphens, as specs write it."""
        assert find_task(task.name) is task
        assert folder.name.replace("_", "-") == task.name

    def test_it_imports_no_other_task(self, folder: Path) -> None:
        """What two tasks share stands above both; neither takes from the other."""
        others = {
            f"{platform_assets.tasks.__name__}.{each.name}"
            for place in platform_assets.tasks.__path__
            for each in Path(place).iterdir()
            if each.is_dir() and each.name not in {folder.name, "__pycache__"}
        }
        imported = _imports(folder)
        assert [
            (file, module)
            for file, module in imported
            if any(module == other or module.startswith(f"{other}.") for other in others)
        ] == []

    def test_it_imports_neither_dagster_nor_what_runs_code_of_files(self, folder: Path) -> None:
        """Logic knows no orchestrator, and a model is read as data."""
        assert [
            (file, module)
            for file, module in _imports(folder)
            if module.partition(".")[0] in {"dagster", *EXECUTES}
        ] == []

    def test_importing_it_is_cheap(self, task: AnyTask, folder: Path) -> None:
        """Every step process pays for what definitions import."""
        script = (
            f"import sys, platform_assets.tasks as tasks; tasks.__path__.append({str(folder.parent)!r})\n"
            f"import platform_assets.tasks.{folder.name}.task\n"
            f"print([name for name in {HEAVY!r} if name in sys.modules])"
        )
        root = Path(platform_assets.tasks.__file__).parents[2]
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=root
        )
        assert done.stdout.strip() == "[]", done.stderr

    @pytest.mark.parametrize("part", ["ingestion", "featurizer", "trainer", "evaluator"])
    def test_a_part_is_another_one_once_its_module_is(
        self, task: AnyTask, folder: Path, part: str, tmp_path: Path
    ) -> None:
        """Its versions of code count the module in which they are stated: else what it made before would be reused.

        What only shows to people, and makes nothing that is kept, may stand in a class beside it.
        """
        copy = tmp_path / folder.name
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("__pycache__"))
        makes = next(each for each in type(getattr(task, part)).__mro__ if "code" in vars(each))
        module = Path(inspect.getfile(makes)).relative_to(folder)
        codes = _codes(copy, part)
        with (copy / module).open("a", encoding="utf-8") as file:
            file.write("\nCHANGED = 1\n")
        changed = _codes(copy, part)
        found = getattr(task, part)
        assert codes == {name: getattr(found, name) for name in codes}
        assert codes.keys() == changed.keys() >= {"code"}
        assert not set(codes.values()) & set(changed.values())

    def test_overrides_put_back_give_the_same_spec(self, task: AnyTask, spec: TrainingSpec) -> None:
        """Nothing is lost on the way through a run's config, and every value can be given there."""
        overrides = task.overrides(spec)
        assert task.with_overrides(spec, overrides) == spec
        for stage, fields in task.overridable.items():
            section = spec.drift if stage == "validation" else spec
            assert set(override_config(section, fields).model_fields) == set(fields)

    def test_no_run_loosens_what_it_is_judged_by(self, task: AnyTask) -> None:
        """Gates, demands, contract and splits are no values of a run."""
        changeable = reduce(operator.or_, (set(fields) for fields in task.overridable.values()))
        assert not changeable & {"gates", "requires", "contract", "split", "val_data_uri", "task", "line"}

    def test_no_two_stages_share_a_field(self, task: AnyTask) -> None:
        """An exported workflow has one parameter of each name."""
        names = [name for fields in task.overridable.values() for name in fields]
        assert len(names) == len(set(names))

    def test_companions_of_a_spec_are_files_that_it_names(self, task: AnyTask, spec: TrainingSpec) -> None:
        """The contract is always one."""
        assert spec.contract in task.files_of(spec).values()


def _codes(folder: Path, part: str) -> dict[str, str]:
    """The versions of code of a part by name, as another process finds them of the task in this folder."""
    script = (
        f"import json, platform_assets.tasks as tasks; tasks.__path__.insert(0, {str(folder.parent)!r})\n"
        f"from platform_assets.tasks.{folder.name}.task import TASK\n"
        f"print(json.dumps({{name: getattr(TASK.{part}, name) for name in ('code', 'scoring_code') "
        f"if hasattr(TASK.{part}, name)}}))"
    )
    root = Path(platform_assets.tasks.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-B", "-c", script], capture_output=True, text=True, check=True, cwd=root
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _imports(folder: Path) -> Iterator[tuple[str, str]]:
    """Every module that a file of the folder imports, wherever in the file."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            yield from ((path.name, name) for name in names)
