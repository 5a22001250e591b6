"""A line that reads features of other sources: of another line's dataset, and of a file, as of the time of each of its rows."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.definitions import build_definitions
from platform_assets.features import joined as joining
from platform_assets.features.errors import FeatureError
from platform_assets.features.fit_input import FILE_NAMESPACE
from platform_assets.features.join_inputs import FeatureTable
from platform_assets.features.joined import with_table
from platform_assets.features.leak_gate import judge_leaks
from platform_assets.features.transformer import FittedTransformer
from platform_assets.features.versions import load_fitted
from platform_assets.features.windows import WindowTransformer
from platform_assets.governance import release as releases
from platform_assets.governance.erasure import ErasureReport
from platform_assets.governance.lineage import trace
from platform_assets.governance.verdict import unmet
from platform_assets.lines import plan as planning
from platform_assets.lines.line import Line, Lines, load_line, with_transformers
from platform_assets.lines.runner import (
    Materialization,
    RunError,
    RunOutcome,
    materialize,
    open_instance,
    run_line,
)
from platform_assets.lines.status import line_status
from platform_assets.manifest import ManifestError
from platform_assets.models.errors import InstanceError
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import FeaturesVersion, ModelVersion
from platform_assets.serving.predictor import Predictor
from platform_assets.tasks.registry import load_scorer
from platform_assets.tasks.tabular_classification.task import TASK
from platform_assets.validation.production import ProductionScores, production_scores
from resources.settings import PlatformSettings
from tests.erasures import erase_subject
from tests.features.join_reference import joined_slowly
from tests.features.shops import COLUMNS, ZSCORE, declared, line_of, sales, write_line, write_transformer
from tests.governance.conftest import example
from tests.line_factory import FinishedHome, check_alone

USES = ["visits_z@latest", "stock_lag@latest", "sales_z@latest"]
BY_TIME = {"by": "time", "test": 0.3, "validation": 0.2}
VISITS = ZSCORE | {
    "inputSource": "asset://visits_dataset",
    "availableColumn": "Known",
    "outputNames": {"Amount": "visits_z"},
}


def stock(rows: int = 220) -> pd.DataFrame:
    """What shops had in stock, every three hours of the sales' time, known two hours later; some rows are never known."""
    rng = np.random.default_rng(5)
    at = pd.Timestamp("2026-01-02") + pd.to_timedelta(3 * np.arange(rows), "h")
    known = pd.Series(at + pd.Timedelta(hours=2))
    known[rng.random(rows) < 0.1] = pd.NaT
    return pd.DataFrame(
        {
            "Shop": rng.choice(list("abcdxy"), rows),  # none of g and h, and two that sell nothing
            "counted": at,
            "told": known,
            "pieces": rng.integers(0, 90, rows).astype(float),
        }
    )


class Shops:
    """A folder of declarations, and a home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        stock().to_parquet(folder / "stock.parquet")
        lag = {
            "inputSource": str(folder / "stock.parquet"),
            "transformerType": "lag",
            "columns": ["pieces"],
            "entityKey": "Shop",
            "timestampColumn": "counted",
            "availableColumn": "told",
            "lag": {"rows": 1, "tolerance": 4},
        }
        self.transformers = (
            write_transformer(folder / "declared", "visits_z", VISITS),
            write_transformer(folder / "declared", "stock_lag", lag),
            write_transformer(folder / "declared", "sales_z", ZSCORE),
        )
        self.outside = OutsideSystems(PlatformSettings(home=folder / "home"))

    def line(self, **changes: Any) -> Line:
        """The line that joins, with some fields of its spec changed."""
        given = {"transformers": USES, "split": BY_TIME} | changes
        return line_of(write_line(self.folder, **given), *self.transformers)

    def visits(self, frame: pd.DataFrame | None = None) -> Line:
        """The line whose dataset is joined; nothing else of it is ever made."""
        frame = sales(700, seed=4, first=5000) if frame is None else frame
        return load_line(write_line(self.folder, "visits", frame=frame, subject="visit"))

    def table(self, reference: Any, *columns: str) -> pa.Table:
        """Rows of a snapshot."""
        return self.outside.warehouse.read(reference.table, reference.snapshot_id, columns=columns or None)

    def planned(self, line: Line) -> dict[str, str]:
        """What of the line would run, and why."""
        with open_instance(self.outside.settings) as instance:
            return {
                step.stage: step.reason for step in planning.plan(line, instance, self.outside) if step.runs
            }

    def features(self) -> FeaturesVersion:
        """Those of the active release."""
        active = releases.active(self.outside.ledger, "sales")
        assert active is not None
        return active.card.registered.report.model.features

    def erased(self, namespace: str, who: str) -> ErasureReport:
        """Erases somebody."""
        return erase_subject(self.outside, namespace, who)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[FinishedHome, Path, RunOutcome]:
    """A line that was run once beside the dataset of another."""
    folder = tmp_path_factory.mktemp("joined")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(folder / "home" / "dagster"))
        shops = Shops(folder)
        materialize(shops.visits(), "dataset", shops.outside)
        outcome = run_line(shops.line(), shops.outside)
    home = FinishedHome(folder / "home")
    home.save()
    return home, folder, outcome


@pytest.fixture
def shops(finished: tuple[FinishedHome, Path, RunOutcome], monkeypatch: pytest.MonkeyPatch) -> Shops:
    """The home as it was after that run."""
    home, folder, _ = finished
    monkeypatch.setenv("DAGSTER_HOME", str(home.restore() / "dagster"))
    return Shops(folder)


def test_rows_have_what_was_known_of_their_entity_elsewhere(
    finished: tuple[FinishedHome, Path, RunOutcome], shops: Shops
) -> None:
    """None is lost or moved, and each feature is the one that the definition gives, or null."""
    assert finished[2].success, finished[2].failure
    made = shops.features()
    features, rows = shops.table(made.snapshot), shops.table(made.dataset.snapshot)
    used = rows.filter(pc.not_equal(rows["split"], "reserve"))

    assert features["sale"].equals(used["sale"])
    tables = made.joined_tables
    assert set(tables) == {"visits_z", "stock_lag"}
    for name, output, time, available, days in (
        ("visits_z", "visits_z", "At", "Known", 5),
        ("stock_lag", "pieces_lag", "counted", "told", 4),
    ):
        known = shops.table(tables[name], "Shop", time, available, output)
        for column in (time, available):  # those of the file have no zone, so they are UTC
            at = known.column_names.index(column)
            known = known.set_column(at, column, known[column].cast(pa.timestamp("us", "UTC")))
        asked = used.select(["Shop", "At"]).rename_columns(["Shop", time])
        expected, counts = joined_slowly(
            asked, known, entity=["Shop"], time=time, available=available, max_age=timedelta(days=days)
        )
        assert features[output].to_pylist() == [row[output] for row in expected], name
        assert 0 < features[output].null_count < features.num_rows
        with open_instance(shops.outside.settings) as instance:
            event = instance.get_latest_materialization_event(dg.AssetKey("sales_features"))
        told = {
            each.data["transformer"]: each.data
            for each in event.asset_materialization.metadata["joined"].records
        }
        assert {key: told[name][key] for key in counts} == counts
    assert counts["no_row"] > 0
    assert counts["too_old"] > 0


def test_the_other_line_is_not_run_with_it(
    finished: tuple[FinishedHome, Path, RunOutcome], shops: Shops
) -> None:
    """The transformers are; the leak gate has looked at each, and the run can be told apart in status and trace."""
    outcome = finished[2]
    with open_instance(shops.outside.settings) as instance:
        state = line_status(shops.line(), instance, shops.outside)

    assert [step.stage for step in outcome.steps][:5] == [
        "dataset",
        "visits_z",
        "stock_lag",
        "sales_z",
        "features",
    ]
    assert state["blocked_by"] == []
    (verdict,) = [
        entry.body
        for entry in shops.outside.ledger.entries(kind="verdict")
        if entry.body["rule_set"] == "features.no_leak"
    ]
    assert {(each["transformer"], each["rule"]) for each in verdict["evidence"]["findings"]} == {
        ("visits_z@v1", "looked up"),
        ("visits_z@v1", "past only"),
        ("stock_lag@v1", "looked up"),
        ("stock_lag@v1", "past only"),
        ("sales_z@v1", "past only"),
    }
    assert shops.planned(shops.line()) == {}


def test_the_job_and_the_graph_hold_the_transformers_and_not_the_other_dataset(tmp_path: Path) -> None:
    """Features wait for what they join; whoever wants newer rows of the other line runs that."""
    shops = Shops(tmp_path)
    lines, transformers = with_transformers(
        Lines((load_line(write_line(tmp_path, transformers=USES)), shops.visits()), ()),
        declared(*shops.transformers),
    )
    definitions = build_definitions(shops.outside, lines.sound, lines.broken, transformers)

    graph = definitions.resolve_asset_graph()
    parents = {key.to_user_string() for key in graph.get(dg.AssetKey("sales_features")).parent_keys}
    selected = {
        key.to_user_string() for key in definitions.resolve_job_def("sales").asset_layer.selected_asset_keys
    }

    assert not lines.broken
    assert parents == {"sales_dataset", "visits_z", "stock_lag", "sales_z"}
    assert {"visits_z", "stock_lag"} <= selected
    assert "visits_dataset" not in selected


def test_the_lineage_of_a_joined_column_leads_to_the_transformers_own(shops: Shops) -> None:
    """And to the columns of the line by which it was found; nothing is said of a column of the same name here."""
    with open_instance(shops.outside.settings) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("sales_features"))
    told = event.asset_materialization.metadata["dagster/column_lineage"].value.deps_by_column
    lineage = {
        column: {(each.asset_key.to_user_string(), each.column_name) for each in of}
        for column, of in told.items()
    }

    found_by = {("sales_dataset", "Shop"), ("sales_dataset", "At")}
    assert lineage["visits_z"] == {("visits_z", "visits_z")} | found_by
    assert lineage["pieces_lag"] == {("stock_lag", "pieces_lag")} | found_by
    assert lineage["Amount_zscore"] == {("sales_dataset", "Amount")} | found_by


def test_a_trace_leads_back_to_the_table_and_to_what_it_was_made_of(shops: Shops) -> None:
    """From a release to the snapshot that was joined, and from it to the other line's dataset."""
    active = releases.active(shops.outside.ledger, "sales")
    walked = trace(shops.outside.ledger, active.release_id)

    visits = walked["transformers"]["visits_z"]
    current = shops.outside.warehouse.current("features.visits_z")
    dataset = shops.outside.warehouse.current("datasets.visits")
    assert (visits["joined"]["table"], visits["joined"]["snapshot_id"]) == (
        current.table,
        current.snapshot_id,
    )
    assert (visits["fitted_on"], visits["snapshot"]) == ("visits_dataset", dataset.snapshot_id)
    assert "joined" not in walked["transformers"]["sales_z"]


def test_the_card_names_every_source(shops: Shops) -> None:
    """Also those that were joined to the dataset."""
    card = releases.active(shops.outside.ledger, "sales").card

    written = shops.outside.object_store.get(card.html_key).decode()

    for source in (shops.folder / "sales.parquet", "asset://visits_dataset", shops.folder / "stock.parquet"):
        assert str(source) in written


# --- Answers ---------------------------------------------------------------------------------------------


def test_whoever_asks_says_what_was_known_elsewhere(shops: Shops) -> None:
    """A feature that is left out is refused and never silently missing; with it, the answer is the one of the offline row."""
    predictor = Predictor.of_active_release(
        "sales", load_scorer, ledger=shops.outside.ledger, store=shops.outside.object_store
    )
    features = shops.table(predictor.model.features.snapshot)
    rows = shops.table(predictor.model.features.dataset.snapshot)
    of_row = features.select(["visits_z", "pieces_lag", "Amount_zscore"]).to_pylist()
    asked = [
        row | {name: value for name, value in given.items() if value is not None or name != "Amount_zscore"}
        for row, given in zip(rows.select(["Amount", "Size"]).to_pylist(), of_row, strict=True)
    ]

    assert np.array_equal(predictor.scorer.score_instances(asked), predictor.scorer.score_features(features))
    assert set(predictor.scorer.watched(asked)[0]) <= {"Amount", "Size"}
    with pytest.raises(
        InstanceError,
        match="instance 2: visits_z: comes from the table of visits_z, which this model has not beside it; give its",
    ):
        predictor.predict([asked[0], {"Amount": 5}])
    with pytest.raises(FeatureError, match="is looked up in a table that is not here"):
        predictor.scorer.score_rows(rows)


def test_the_example_that_a_run_shows_is_answered(shops: Shops) -> None:
    """It states what is looked up, as nothing known."""
    given = shops.line().example_instance

    answered = CliRunner().invoke(
        app, ["predict", "sales", given], env={"PLATFORM_HOME": str(shops.folder / "home")}
    )

    assert '"visits_z": null, "pieces_lag": null' in given
    assert answered.exit_code == 0, answered.output
    assert "answered by sales version 1" in answered.output


# --- What changes elsewhere ------------------------------------------------------------------------------


@pytest.mark.long
def test_new_rows_of_the_other_line_are_joined_at_the_next_run(shops: Shops) -> None:
    """At the latest; what is pinned stays with the table of its version."""
    more = sales(760, seed=4, first=5000)
    materialize(shops.visits(more), "dataset", shops.outside)
    pinned = ["visits_z@v1", *USES[1:]]

    assert shops.planned(shops.line())["visits_z"] == "its spec, code or input has changed"
    assert shops.planned(shops.line(transformers=pinned)) == {}
    made = materialize(shops.line(), "features", shops.outside).reference
    assert made.transformers[0].label == "visits_z@v2"
    again = materialize(shops.line(transformers=pinned), "features", shops.outside).reference
    assert again.version == shops.features().version
    assert again.joined_tables == shops.features().joined_tables


@pytest.mark.long
def test_another_table_under_the_same_version_is_another_input(shops: Shops) -> None:
    """A pinned version does not say what an erasure has left of its table; the features are made again of that."""
    pinned = shops.line(transformers=["visits_z@v1", *USES[1:]])
    version = shops.features().transformers[0]
    someone = shops.table(version.table, "sale")["sale"][40].as_py()
    assert shops.planned(pinned) == {}

    report = shops.erased("visit", someone)

    assert report.outcome == "pass"
    assert list(releases.erased(shops.outside.ledger, "sales")) == [
        releases.active(shops.outside.ledger, "sales").release_id
    ]
    assert shops.planned(pinned)["features"] == "its configuration, code or input has changed"
    made = materialize(pinned, "features", shops.outside).reference
    assert made.transformers[0].data_version == version.data_version
    assert made.transformers[0].table.rows == version.table.rows - 1
    assert someone not in shops.table(made.transformers[0].table, "sale")["sale"].to_pylist()
    assert shops.planned(shops.line())["visits_z"] == "rows of visits_dataset were erased or have expired"


@pytest.mark.long
def test_an_entity_of_a_file_that_is_erased_is_known_no_more(shops: Shops) -> None:
    """Its rows leave the table, the transformer is made again without them, and so are the features."""
    assert shops.erased(FILE_NAMESPACE, "a").outcome == "pass"

    assert shops.planned(shops.line())["stock_lag"] == "its table is not there"
    made = materialize(shops.line(), "features", shops.outside).reference
    features, rows = shops.table(made.snapshot), shops.table(made.dataset.snapshot)
    known = features.filter(pc.equal(rows["Shop"], "a"))["pieces_lag"]
    assert known.null_count == len(known) > 0


@pytest.mark.long
def test_a_table_that_is_gone_is_one_clear_error_or_made_again(shops: Shops) -> None:
    """Pinned, nothing is joined in its place; at the latest, the same rows are published once more."""
    table = shops.features().joined_tables["visits_z"]
    shops.outside.warehouse.drop(table.table, [table.snapshot_id], also_current=True)
    pinned = shops.line(transformers=["visits_z@v1", *USES[1:]])

    with pytest.raises(
        FeatureError, match=r"visits_z@v1: its table \(features.visits_z, snapshot \d+\) is gone"
    ):
        run_line(pinned, shops.outside)
    with pytest.raises(RunError, match="is gone, so it cannot be joined; materialize visits_z again"):
        materialize(pinned, "features", shops.outside)
    assert shops.planned(shops.line())["visits_z"] == "its table is not there"
    made = materialize(shops.line(), "features", shops.outside).reference
    assert made.joined_tables["visits_z"].content_hash == table.content_hash
    assert made.version == shops.features().version


def test_a_dataset_that_nobody_has_made_is_told_with_what_to_run_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything of the line runs."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    shops = Shops(tmp_path)
    told = (
        "visits_z reads visits_dataset, which was never materialized, and is not made with sales; run that first: "
        "platform-assets run visits"
    )

    for attempt in (
        lambda: run_line(shops.line(), shops.outside),
        lambda: materialize(shops.line(), "features", shops.outside),
    ):
        with pytest.raises(FeatureError, match=told):
            attempt()
    assert shops.outside.warehouse.tables() == []


def test_a_version_of_before_its_table_was_recorded_runs_once_more(
    shops: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an earlier release has published cannot be joined until the ledger says where it is; only that is asked for."""
    monkeypatch.setattr(planning, "recorded_table", lambda *_: None)

    planned = shops.planned(shops.line())

    assert planned["visits_z"] == "which table it published was never recorded"
    assert "sales_z" not in planned


# --- The released model beside a new one -----------------------------------------------------------------


def compared(shops: Shops, features: FeaturesVersion) -> ProductionScores:
    """What the released model makes of the test rows of these features."""
    rows = shops.table(features.snapshot, "sale", "label", "source", "split")
    release = releases.active(shops.outside.ledger, "sales")
    model = example(ModelVersion, features=features, fingerprint="f" * 64)
    return production_scores(
        release,
        model,
        rows.append_column("score", pa.array(np.zeros(rows.num_rows))),
        warehouse=shops.outside.warehouse,
        store=shops.outside.object_store,
        load=TASK.trainer.load,
    )


def scored_again(shops: Shops, table: pa.Table) -> np.ndarray:
    """What it makes of rows of such features itself."""
    predictor = Predictor.of_active_release(
        "sales", load_scorer, ledger=shops.outside.ledger, store=shops.outside.object_store
    )
    return predictor.scorer.score_features(table.filter(pc.equal(table["split"], "test")))


@pytest.mark.long
def test_the_released_model_is_compared_on_what_it_would_have_known_by_then(shops: Shops) -> None:
    """On new rows it looks features up in the candidate's newer table; where nothing is new, its stored scores count."""
    assert np.array_equal(
        compared(shops, shops.features()).scores, scored_again(shops, shops.table(shops.features().snapshot))
    )
    materialize(shops.visits(sales(800, seed=4, first=5000)), "dataset", shops.outside)
    line = shops.line(frame=sales(960))
    materialize(line, "dataset", shops.outside)
    newer = materialize(line, "features", shops.outside).reference

    found = compared(shops, newer)

    assert newer.joined_tables["visits_z"] != shops.features().joined_tables["visits_z"]
    assert found.problem(["sales"]) is None
    assert np.array_equal(found.scores, scored_again(shops, shops.table(newer.snapshot)))


@pytest.mark.long
def test_a_table_that_means_something_else_is_not_given_to_the_released_model(shops: Shops) -> None:
    """It keeps its own; once that is gone nobody can compare, which is said."""
    own = shops.features().joined_tables["visits_z"]
    write_transformer(shops.folder / "declared", "visits_z", VISITS, windowDays=2)
    changed = line_of(write_line(shops.folder, transformers=USES, split=BY_TIME), *shops.transformers)
    other = materialize(changed, "features", shops.outside).reference
    assert other.transformers[0].label == "visits_z@v2"

    assert np.array_equal(
        compared(shops, other).scores, scored_again(shops, shops.table(shops.features().snapshot))
    )
    shops.outside.warehouse.drop(own.table, [own.snapshot_id])
    refused = compared(shops, other)
    assert "looks features up in a table that cannot be read (visits_z@v1: its table" in refused.problem(
        ["sales"]
    )
    assert np.isnan(refused.scores).all()


# --- The leak gate ---------------------------------------------------------------------------------------


def blocked(shops: Shops, line: Line, made: Materialization) -> str:
    """Why a model of these features could not be deployed."""
    model = example(ModelVersion, features=made.reference, fingerprint="f" * 64)
    found = unmet(shops.outside.ledger, line.demands.of(model), now=datetime.now(UTC))
    return "; ".join(map(str, found))


def test_a_value_from_the_future_blocks(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    """A join that forgets when values became known: the check fails, and a model of it could not be deployed."""

    def careless(*args: Any, available: str | None, **given: Any) -> FeatureTable:
        return FeatureTable(*args, **given)

    line = shops.line()
    monkeypatch.setattr(joining, "FeatureTable", careless)
    made = materialize(line, "features", shops.outside)

    told = blocked(shops, line, made)
    assert made.checks == {"features_no_leak": False}
    assert "features.no_leak on sales_features@" in told
    assert "rows have other features of visits_z@v1 than the newest of its table" in told


def test_a_table_that_says_not_when_it_was_known_blocks_where_the_line_does(shops: Shops) -> None:
    """A file may be the very one of the line's rows, and what came of these is known late."""
    line, made = shops.line(), shops.features()
    version = made.transformers[0]
    spec = load_fitted(shops.outside.object_store, version).spec
    silent = WindowTransformer(spec.model_copy(update={"available_column": None}))
    use = line.task.featurizer.uses(line.spec)
    joined = with_table(version, silent, use.time, shops.outside.warehouse)

    report = judge_leaks(
        [version],
        {version.name: joined},
        use,
        made.dataset,
        shops.table(made.dataset.snapshot),
        shops.outside.warehouse,
    )

    assert report.outcome == "error"
    assert (
        "this line has Known for that; name availableColumn, or At if they were known at once"
        in report.reason
    )


def test_a_table_that_was_made_of_the_future_blocks(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    """The join may be right, and what it joins may have looked ahead where it was made."""
    from platform_assets.features import assets

    class Ahead:
        def __init__(self, inner: FittedTransformer) -> None:
            self.spec, self.to_bytes = inner.spec, inner.to_bytes

        def transform(self, rows: pa.Table) -> pa.Table:
            values = rows["Amount"].to_numpy()
            return pa.table({"visits_z": values - values.mean()})

    loaded, line = assets.load_fitted, shops.line(transformers=USES[:1])
    monkeypatch.setattr(assets, "load_fitted", lambda store, version: Ahead(loaded(store, version)))
    made = materialize(line, "features", shops.outside)

    assert made.checks == {"features_no_leak": False}
    assert "have other features of visits_z@v1 if only rows that were available" in blocked(shops, line, made)


@pytest.mark.long
@pytest.mark.parametrize("gone", ["file", "snapshot"])
def test_what_a_table_was_made_of_must_be_there_to_look_at(shops: Shops, gone: str) -> None:
    """Where nobody can tell whether it looked ahead, it blocks."""
    line = shops.line(transformers=[each.replace("latest", "v1") for each in USES])
    if gone == "file":
        stock(180).to_parquet(shops.folder / "stock.parquet")
        told = "stock.parquet is no longer the file that it was fitted on"
    else:
        snapshot = shops.features().transformers[0].snapshot
        shops.outside.warehouse.drop(snapshot.table, [snapshot.snapshot_id], also_current=True)
        told = "the snapshot of visits_dataset that it was fitted on is gone"

    made = materialize(line, "features", shops.outside)

    assert made.checks == {"features_no_leak": False}
    assert told in blocked(shops, line, made)


@pytest.mark.long
def test_the_gate_can_be_asked_again(shops: Shops) -> None:
    """By itself, on the published features, with the tables that they were joined with."""
    found, failure = check_alone(shops.outside.settings, shops.line(), "sales_features:features_no_leak")

    assert failure is None
    assert found["features_no_leak"].passed


# --- What does not fit -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "transformer", "problem"),
    [
        (
            {"Shop": None},
            {},
            "are looked up by Shop, which is no column of this line; known are sale, Sent, At",
        ),
        ({"Shop": "numeric"}, {}, "are looked up by Shop, which is numeric; an entity is named by texts"),
        ({"At": None}, {}, "as of the time of each row, and this line has none; give a column the role time"),
        (
            {},
            {"outputNames": {"Amount": "Size"}},
            "visits_z makes Size, which is the name of a column of this line",
        ),
        (
            {},
            {"outputNames": {"Amount": "Amount_zscore"}},
            "visits_z makes Amount_zscore, and so does sales_z",
        ),
    ],
)
def test_what_cannot_be_joined_is_told_with_file_and_line(
    tmp_path: Path, columns: dict[str, Any], transformer: dict[str, Any], problem: str
) -> None:
    """Before anything runs."""
    visits = write_transformer(tmp_path, "visits_z", VISITS, **transformer)
    uses, own = ["visits_z@latest"], ()
    if not columns:
        uses, own = [*uses, "sales_z@latest"], (write_transformer(tmp_path, "sales_z", ZSCORE),)
    given = {name: role for name, role in {**COLUMNS, **columns}.items() if role is not None}
    spec = write_line(tmp_path, columns=given, transformers=uses)

    with pytest.raises(ManifestError, match=r"sales-spec.yaml:\d+: transformers") as refused:
        line_of(spec, visits, *own)
    assert problem in str(refused.value)


def test_columns_of_the_other_source_need_not_be_the_lines(tmp_path: Path) -> None:
    """What it was made of stays there; only its features are looked up."""
    stock = write_transformer(
        tmp_path, "visits_z", VISITS, columns=["Pieces"], outputNames={}, timestampColumn="Counted"
    )

    assert line_of(write_line(tmp_path, transformers=["visits_z@latest"]), stock).transformers
