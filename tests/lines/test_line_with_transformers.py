"""A line with transformers, as its owner runs it: fitted between dataset and features, pinned or at the latest, and judged."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.definitions import build_definitions
from platform_assets.features.assets import transformer_asset
from platform_assets.features.errors import FeatureError
from platform_assets.features.fit_input import FILE_NAMESPACE
from platform_assets.features.join import point_in_time_join
from platform_assets.features.join_inputs import FeatureTable
from platform_assets.features.leak_gate import rows_of_version
from platform_assets.features.row_files import rows_of_table
from platform_assets.features.version_making import make_version
from platform_assets.features.versions import (
    is_intact,
    latest_version,
    load_fitted,
    make_latest,
    resolve,
    versions_of,
)
from platform_assets.governance import release as releases
from platform_assets.governance.erasure import ErasureReport
from platform_assets.governance.errors import LineageError
from platform_assets.governance.lineage import trace
from platform_assets.governance.verdict import unmet
from platform_assets.lines.definitions import platform_resources
from platform_assets.lines.line import BrokenLine, Line, Lines, load_line, with_transformers
from platform_assets.lines.plan import plan
from platform_assets.lines.runner import RunError, RunOutcome, materialize, open_instance, run_line
from platform_assets.lines.status import line_status
from platform_assets.manifest import ManifestError
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import FeaturesVersion, ModelVersion
from platform_assets.serving.predictor import Predictor
from platform_assets.step import recorded_reference
from platform_assets.tasks.registry import load_scorer
from resources.settings import PlatformSettings
from resources.warehouse import WarehouseError
from tests.erasures import erase_subject
from tests.features.join_reference import joined_slowly
from tests.features.shops import (
    COLUMNS,
    WOE,
    ZSCORE,
    declared,
    line_of,
    run,
    sales,
    write_line,
    write_transformer,
)
from tests.governance.conftest import example
from tests.line_factory import FinishedHome, check_alone
from tests.tasks.tabular_classification.tables import written as write_table

USES = ["sales_woe@latest", "sales_z@latest"]
TRAIN = 445
"""Training rows of the line, of 900 that are drawn."""
BY_TIME = {"by": "time", "test": 0.3, "validation": 0.2}


class Shop:
    """A folder of declarations, and a home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.woe = write_transformer(folder / "declared", "sales_woe", WOE)
        self.zscore = write_transformer(folder / "declared", "sales_z", ZSCORE)
        self.outside = OutsideSystems(PlatformSettings(home=folder / "home"))

    def line(self, *transformers: Path, **changes: Any) -> Line:
        """The line with some fields of its spec changed, and the transformers that are declared."""
        spec = write_line(self.folder, **({"transformers": USES} | changes))
        return line_of(spec, *(transformers or (self.woe, self.zscore)))

    def features(self, line: Line) -> FeaturesVersion:
        """Its dataset and features, made without the rest."""
        materialize(line, "dataset", self.outside)
        made = materialize(line, "features", self.outside).reference
        assert isinstance(made, FeaturesVersion)
        return made

    def blocked(self, line: Line, features: FeaturesVersion) -> str:
        """Why a model of these features could not be deployed, of what the leak gate says; empty where it could."""
        model = example(ModelVersion, features=features, fingerprint="f" * 64)
        found = unmet(self.outside.ledger, line.demands.of(model), now=datetime.now(UTC))
        return "; ".join(
            str(each) for each in found if each.resolved.requirement.rule_set == "features.no_leak"
        )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[FinishedHome, Shop, RunOutcome]:
    """A line of two transformers that was run once."""
    folder = tmp_path_factory.mktemp("shops")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(folder / "home" / "dagster"))
        shop = Shop(folder)
        outcome = run(write_line(folder, transformers=USES), shop.outside, shop.woe, shop.zscore)
    home = FinishedHome(folder / "home")
    home.save()
    return home, shop, outcome


@pytest.fixture
def shop(finished: tuple[FinishedHome, Shop, RunOutcome], monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The home as it was after that run."""
    home, shop, _ = finished
    monkeypatch.setenv("DAGSTER_HOME", str(home.restore() / "dagster"))
    return Shop(shop.folder)


def planned(line: Line, shop: Shop) -> dict[str, str]:
    """What of the line would run, and why."""
    with open_instance(shop.outside.settings) as instance:
        return {step.stage: step.reason for step in plan(line, instance, shop.outside) if step.runs}


def test_transformers_run_between_dataset_and_features(
    finished: tuple[FinishedHome, Shop, RunOutcome], shop: Shop
) -> None:
    """The line is released, with the verdict that nobody asked for; what it was made with is told."""
    outcome = finished[2]
    with open_instance(shop.outside.settings) as instance:
        state = line_status(shop.line(), instance, shop.outside)

    assert outcome.success, outcome.failure
    assert [step.stage for step in outcome.steps][:4] == ["dataset", "sales_woe", "sales_z", "features"]
    assert state["blocked_by"] == []
    assert {each["rule_set"]: each["outcome"] for each in state["verdicts"]}["features.no_leak"] == "pass"
    assert [each["version"] for each in state["transformers"]] == ["sales_woe@v1", "sales_z@v1"]


def test_the_leak_gate_can_be_asked_again(shop: Shop) -> None:
    """By itself, on the published features; its verdict is about them, and no feature is made anew."""
    before = list(shop.outside.ledger.entries(kind="verdict"))
    with open_instance(shop.outside.settings) as instance:
        features = recorded_reference(instance, dg.AssetKey("sales_features"), FeaturesVersion)

    found, failure = check_alone(shop.outside.settings, shop.line(), "sales_features:features_no_leak")

    (made,) = list(shop.outside.ledger.entries(kind="verdict"))[len(before) :]
    assert failure is None
    assert found["features_no_leak"].passed
    assert features is not None
    assert made.body["subject"] == f"sales_features@{features.version}"
    assert (made.body["rule_set"], made.body["outcome"]) == ("features.no_leak", "pass")


def test_features_that_no_transformer_has_made_are_not_said_to_leak_nothing(shop: Shop) -> None:
    """A spec may name transformers since then: a verdict on nothing would pass."""
    shop.features(shop.line(transformers=[]))
    before = len(list(shop.outside.ledger.entries(kind="verdict")))

    found, failure = check_alone(shop.outside.settings, shop.line(), "sales_features:features_no_leak")

    assert not found
    assert failure is not None
    assert "were made without transformers" in failure
    assert len(list(shop.outside.ledger.entries(kind="verdict"))) == before


def test_the_ui_is_told_what_each_feature_is_made_of(shop: Shop) -> None:
    """A weight of its column; what looks back, also of the columns by which it does; what is carried over, of itself."""
    with open_instance(shop.outside.settings) as instance:
        shown = {
            name: instance.get_latest_materialization_event(dg.AssetKey(name)).asset_materialization.metadata
            for name in ("sales_features", "sales_z")
        }

    lineage = {
        name: {
            column: {(each.asset_key.to_user_string(), each.column_name) for each in of}
            for column, of in metadata["dagster/column_lineage"].value.deps_by_column.items()
        }
        for name, metadata in shown.items()
    }
    line = shop.line()
    woe, zscore = (line.transformers[name].spec.outputs for name in ("sales_woe", "sales_z"))
    looked_back = {("sales_dataset", name) for name in ("Amount", "Shop", "At")}
    features = lineage["sales_features"]
    assert {column: features[output] for column, output in woe.items()} == {
        column: {("sales_dataset", column)} for column in ("Amount", "Size")
    }
    assert features[zscore["Amount"]] == lineage["sales_z"][zscore["Amount"]] == looked_back
    assert features["label"] == {("sales_dataset", "label")}
    columns = {each.name for each in shown["sales_z"]["dagster/column_schema"].value.columns}
    assert columns == set(lineage["sales_z"])


def test_the_ui_is_shown_bins_weights_and_distribution(shop: Shop) -> None:
    """Tables and pictures stand in the metadata of the materialization."""
    with open_instance(shop.outside.settings) as instance:
        woe, zscore = (
            instance.get_latest_materialization_event(dg.AssetKey(name)).asset_materialization.metadata
            for name in ("sales_woe", "sales_z")
        )

    information = {each.data["column"]: each.data for each in woe["information"].records}
    assert {"iv", "psi_validation", "psi_test"} <= information["Amount"].keys()
    assert sum(each.data["rows"] for each in woe["bins"].records if each.data["column"] == "Size") == TRAIN
    assert woe["weights"].value.startswith("![weights](data:image/png;base64,")
    assert zscore["distribution"].value.startswith("![distribution](data:image/png;base64,")


def test_a_trace_leads_back_to_what_was_fitted_on_what(shop: Shop) -> None:
    """From a release to each transformer's version, its snapshot and its rows."""
    active = releases.active(shop.outside.ledger, "sales")
    walked = trace(shop.outside.ledger, active.release_id)

    woe = walked["transformers"]["sales_woe"]
    assert (woe["version"], woe["fit_split"], woe["fit_rows"]) == ("sales_woe@v1", "train", TRAIN)
    assert woe["snapshot"] == walked["tables"]["dataset"]["snapshot_id"]


def test_a_trace_leads_from_a_transformer_to_the_releases_that_use_it(shop: Shop) -> None:
    """By its number, or by the entry of its fit; a number that there is not is told with those that there are."""
    ledger = shop.outside.ledger
    active = releases.active(ledger, "sales")

    walked = trace(ledger, "sales_woe@v1")

    assert walked["transformer"]["fit_rows"] == TRAIN
    assert set(walked["releases"]) == {active.release_id}
    assert (
        walked["releases"][active.release_id]["line"],
        walked["releases"][active.release_id]["active"],
    ) == (
        "sales",
        True,
    )
    (entry,) = walked["entries"]
    assert trace(ledger, f"#{entry['seq']}")["releases"] == walked["releases"]
    shown = CliRunner().invoke(
        app, ["trace", "sales_woe@v1"], env={"PLATFORM_HOME": str(shop.folder / "home")}
    )
    assert active.release_id in shown.stdout
    for wrong in ("sales_woe@v9", "sales_woe@latest", "sales_woe"):
        with pytest.raises(
            LineageError, match=f"{wrong} names no version of the transformer; there are sales_woe@v1"
        ):
            trace(ledger, wrong)


def test_weights_stand_for_their_columns_and_windows_beside_them(shop: Shop) -> None:
    """The model reads weights instead of raw values; a z-score of a column that has weights is added."""
    features = releases.active(shop.outside.ledger, "sales").card.registered.report.model.features
    table = shop.outside.warehouse.read(features.snapshot.table, features.snapshot.snapshot_id)

    assert table.column_names[4:] == ["Amount_woe", "Size_woe", "Amount_zscore"]
    assert [each.label for each in features.transformers] == ["sales_woe@v1", "sales_z@v1"]


def test_online_and_offline_give_one_score(shop: Shop) -> None:
    """Of raw columns, with the z-score given by its name; left out, it is missing."""
    predictor = Predictor.of_active_release(
        "sales", load_scorer, ledger=shop.outside.ledger, store=shop.outside.object_store
    )
    features = predictor.model.features
    table = shop.outside.warehouse.read(features.snapshot.table, features.snapshot.snapshot_id)
    dataset = features.dataset.snapshot
    rows = shop.outside.warehouse.read(dataset.table, dataset.snapshot_id)
    scores = [row["Amount_zscore"] for row in table.to_pylist()]
    asked = [
        {name: value for name, value in row.items() if value is not None}
        | ({} if score is None else {"Amount_zscore": score})
        for row, score in zip(rows.select(["Amount", "Size"]).to_pylist(), scores, strict=True)
    ]

    online = predictor.scorer.score_instances(asked)

    assert np.array_equal(online, predictor.scorer.score_features(table))
    assert np.array_equal(online, predictor.scorer.score_rows(rows))
    chosen = np.arange(rows.num_rows) % 7 == 3
    assert np.array_equal(online[chosen], predictor.scorer.score_rows(rows, chosen))
    assert set(predictor.scorer.watched(asked)[0]) <= {"Amount", "Size"}


def test_nothing_runs_twice_and_a_comment_is_no_change(shop: Shop) -> None:
    """Everything is reused; so it is after a change that means nothing."""
    assert planned(shop.line(), shop) == {}
    shop.woe.write_text("# Reviewed.\n" + shop.woe.read_text())

    assert planned(shop.line(), shop) == {}


def test_a_change_of_a_transformer_runs_it_and_what_follows(shop: Shop) -> None:
    """Its version is another, and the features are made again with it."""
    changed = write_transformer(shop.folder / "changed", "sales_woe", WOE, woe={"maxBins": 2})
    line = shop.line(changed, shop.zscore)

    found = planned(line, shop)

    assert "dataset" not in found
    assert found["sales_woe"] == "its spec, code or input has changed"
    assert found["features"] == "sales_woe runs"
    assert "sales_z" not in found


def test_a_pinned_version_stays(shop: Shop) -> None:
    """Whatever becomes of the transformer, nothing is fitted, and the features are those of before."""
    before = releases.active(shop.outside.ledger, "sales").card.registered.report.model.features
    changed = write_transformer(shop.folder / "changed", "sales_woe", WOE, woe={"maxBins": 2})
    materialize(shop.line(changed, shop.zscore), "features", shop.outside)
    pinned = shop.line(changed, shop.zscore, transformers=["sales_woe@v1", "sales_z@latest"])

    assert latest_version(shop.outside.ledger, "sales_woe").number == 2
    assert "sales_woe" not in planned(pinned, shop)
    assert materialize(pinned, "features", shop.outside).reference.version == before.version


def test_another_name_of_the_same_version_is_no_change(shop: Shop) -> None:
    """Who pins what the latest is makes nothing again."""
    assert planned(shop.line(transformers=["sales_woe@v1", "sales_z@v1"]), shop) == {}


@pytest.mark.parametrize(
    ("number", "changes", "told"),
    [
        (9, {}, "fitted versions of sales_woe: v1. Fitted now, sales_woe would be v1, not v9"),
        (2, {}, "would be v1, not v2; name a version that there is, v1 or latest"),
        (3, {"maxBins": 2}, "would be v2, not v3"),
    ],
)
def test_a_version_that_a_transformer_would_not_become_is_told_at_once(
    shop: Shop, number: int, changes: dict[str, Any], told: str
) -> None:
    """With the numbers that there are; nothing is fitted, however often it is asked for."""
    woe = write_transformer(shop.folder / "changed", "sales_woe", WOE, woe={"maxBins": 4} | changes)
    line = shop.line(woe, shop.zscore, transformers=[f"sales_woe@v{number}", "sales_z@latest"])

    for attempt in (
        lambda: run_line(line, shop.outside),
        lambda: materialize(line, "features", shop.outside),
    ):
        with pytest.raises(FeatureError) as refused:
            attempt()
        assert told in str(refused.value)
    assert [each.number for each in versions_of(shop.outside.ledger, "sales_woe")] == [1]


def test_a_pinned_version_to_come_is_made_once(shop: Shop) -> None:
    """The number that the changed transformer gets next."""
    woe = write_transformer(shop.folder / "changed", "sales_woe", WOE, woe={"maxBins": 2})
    line = shop.line(woe, shop.zscore, transformers=["sales_woe@v2", "sales_z@latest"])

    assert planned(line, shop)["sales_woe"].startswith("there is no sales_woe@v2")
    made = materialize(line, "features", shop.outside).reference
    assert [each.label for each in made.transformers] == ["sales_woe@v2", "sales_z@v1"]
    assert "sales_woe" not in planned(line, shop)


@pytest.mark.long
def test_lost_state_ends_the_features_and_latest_is_put_back(shop: Shop) -> None:
    """A pinned version that is gone stops the line; at the latest, it is fitted again and has equal bytes."""
    version = resolve(shop.outside.ledger, "sales_woe@v1")
    shop.outside.object_store.delete(version.object_key)

    assert planned(shop.line(), shop)["sales_woe"] == "what was fitted is lost"
    with pytest.raises(RunError, match=r"sales_woe@v1: models/dev/sales_woe/v1/fitted.json is gone"):
        materialize(shop.line(transformers=["sales_woe@v1", "sales_z@latest"]), "features", shop.outside)
    materialize(shop.line(), "features", shop.outside)
    assert shop.outside.object_store.exists(version.object_key)


# --- The leak gate -------------------------------------------------------------------------------------


def second_line(shop: Shop, **changes: Any) -> Line:
    """Another line over the same sales, with a split of its own: some of its test rows train the first."""
    given = {"transformers": ["sales_woe@latest"], "split": {"test": 0.3, "validation": 0.2, "seed": 4}}
    spec = write_line(shop.folder / "second", "resale", **(given | changes))
    return line_of(spec, shop.woe)


def test_two_lines_may_use_one_transformer_and_the_gate_stops_the_leak(shop: Shop) -> None:
    """The second line's run ends without a release: its test rows are training rows of the first."""
    line = second_line(shop)

    features = shop.features(line)

    assert features.transformers == (
        releases.active(shop.outside.ledger, "sales").card.registered.report.model.features.transformers[0],
    )
    assert f"that are among the {TRAIN} that sales_woe@v1 was fitted on" in shop.blocked(line, features)


@pytest.mark.long
def test_two_lines_with_one_split_share_it_without_a_leak(shop: Shop) -> None:
    """What one trains on, the other does, too."""
    line = second_line(shop, split={"test": 0.3, "validation": 0.2})

    assert shop.blocked(line, shop.features(line)) == ""


def test_other_subjects_cannot_be_compared(shop: Shop) -> None:
    """Nobody can tell, so it blocks."""
    line = second_line(shop, subject="parcel")

    assert "it was fitted on subjects of sale, and those of this line are of parcel" in shop.blocked(
        line, shop.features(line)
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "without entityKey nobody knows whose those rows are"),
        (
            {"entityKey": "sale"},
            "455 of 455 rows that are measured on are of subjects that are among the 900",
        ),
    ],
)
def test_what_was_fitted_on_all_rows_of_a_file_blocks(
    shop: Shop, changes: Mapping[str, Any], reason: str
) -> None:
    """The deployment is refused, in words that say why; the release of before goes on."""
    before = releases.active(shop.outside.ledger, "sales")
    source = shop.folder / "all.parquet"
    sales().assign(label=lambda frame: (frame["Sent"] == "back").astype(int)).to_parquet(source)
    woe = write_transformer(shop.folder / "all", "sales_woe", WOE, inputSource=str(source), **changes)
    line = shop.line(woe, transformers=["sales_woe@latest"])

    features = shop.features(line)

    assert reason in shop.blocked(line, features)
    assert releases.active(shop.outside.ledger, "sales") == before


@pytest.mark.long
def test_a_file_that_is_no_longer_the_same_cannot_be_compared(shop: Shop) -> None:
    """Its rows might be others."""
    source = shop.folder / "all.parquet"
    dataset = releases.active(shop.outside.ledger, "sales").card.registered.report.model.features.dataset
    rows = shop.outside.warehouse.read(dataset.snapshot.table, dataset.snapshot.snapshot_id)
    pq.write_table(rows.filter(pc.equal(rows["split"], "train")).drop_columns(["split"]), source)
    woe = write_transformer(shop.folder / "all", "sales_woe", WOE, inputSource=str(source), entityKey="sale")
    line = shop.line(woe, transformers=["sales_woe@latest"])
    assert shop.blocked(line, shop.features(line)) == ""

    sales(seed=6, first=5000).to_parquet(source)
    pinned = shop.line(woe, transformers=["sales_woe@v2"])

    assert "is no longer the file that it was fitted on" in shop.blocked(pinned, shop.features(pinned))


@pytest.mark.long
def test_a_lost_snapshot_blocks(shop: Shop) -> None:
    """Nobody can say any more whom it was fitted on."""
    line = second_line(shop, split={"test": 0.3, "validation": 0.2}, transformers=["sales_woe@v1"])
    snapshot = resolve(shop.outside.ledger, "sales_woe@v1").snapshot
    shop.outside.warehouse.drop(snapshot.table, [snapshot.snapshot_id])

    assert "the snapshot of sales_dataset that it was fitted on is gone" in shop.blocked(
        line, shop.features(line)
    )


def test_targets_that_were_not_yet_known_block(shop: Shop) -> None:
    """Of a line that is split by time, with weights that were fitted where rows were drawn at random."""
    drawn = write_transformer(
        shop.folder / "drawn", "sales_woe", WOE, timestampColumn="At", availableColumn="Known"
    )
    line = shop.line(drawn, transformers=["sales_woe@latest"])
    shop.features(line)
    fresh = sales(first=9000)
    spec = write_line(
        shop.folder / "later", "later", frame=fresh, split=BY_TIME, transformers=["sales_woe@v2"]
    )
    later = line_of(spec, drawn)

    assert "were not yet known when held-out rows began, by At and Known" in shop.blocked(
        later, shop.features(later)
    )


def test_a_split_by_time_leaves_out_what_was_not_yet_known(shop: Shop) -> None:
    """Fitted on its own dataset, the transformer looks at `availableColumn` itself, and passes."""
    woe = write_transformer(
        shop.folder / "timed", "sales_woe", WOE, timestampColumn="At", availableColumn="Known"
    )
    line = shop.line(woe, transformers=["sales_woe@latest"], split=BY_TIME)

    features = shop.features(line)

    assert shop.blocked(line, features) == ""
    assert features.transformers[0].fit_rows == 450 - 30


def test_who_is_silent_about_time_is_judged_by_the_line(shop: Shop) -> None:
    """Leaving out `availableColumn` switches nothing off: a target that is known 400 days later is not known."""
    late = sales()
    late["Known"] = late["At"] + pd.Timedelta(days=400)
    line = shop.line(frame=late, transformers=["sales_woe@latest"], split=BY_TIME)

    features = shop.features(line)

    assert "450 of 450 rows that sales_woe@v2 was fitted on" in shop.blocked(line, features)


@pytest.mark.long
def test_weights_of_later_rows_block_a_line_that_is_split_by_time(shop: Shop) -> None:
    """Fitted on another dataset, 1,000 days after the line's test, without a word about time."""
    after = sales(first=890, seed=3)
    after[["At", "Known"]] += pd.Timedelta(days=1000)
    later = load_line(
        write_line(
            shop.folder / "after", "after", frame=after, split={"by": "time", "test": 0.1, "validation": 0.1}
        )
    )
    materialize(later, "dataset", shop.outside)
    woe = write_transformer(shop.folder / "after", "after_woe", WOE, inputSource="asset://after_dataset")
    spec = write_line(shop.folder / "timed", split=BY_TIME, transformers=["after_woe@latest"])
    line = line_of(spec, woe)

    assert "rows that after_woe@v1 was fitted on, or their target, were not yet known" in shop.blocked(
        line, shop.features(line)
    )


def test_two_sources_by_time_are_fitted_on_what_was_known(shop: Shop) -> None:
    """The second one, 200 days later, is not learnt from; the gate counts none of its rows."""
    late = sales(300, seed=9, first=7000)
    late[["At", "Known"]] += pd.Timedelta(days=200)
    folder = shop.folder / "two"
    folder.mkdir()
    late.to_parquet(folder / "late.parquet")
    woe = write_transformer(folder, "sales_woe", WOE, timestampColumn="At", availableColumn="Known")
    spec = write_line(
        folder,
        split=BY_TIME,
        transformers=["sales_woe@latest"],
        train_data_uri=[str(folder / "sales.parquet"), str(folder / "late.parquet")],
    )
    line = line_of(spec, woe)

    features = shop.features(line)

    assert shop.blocked(line, features) == ""
    assert features.transformers[0].fit_rows == 450 - 30


@pytest.mark.long
def test_windows_say_when_values_were_known_where_the_line_does(shop: Shop) -> None:
    """Without `availableColumn` nobody can tell; by its time, if they were known at once."""
    silent = {name: value for name, value in ZSCORE.items() if name != "availableColumn"}
    zscore = write_transformer(shop.folder / "silent", "sales_z", silent)
    line = shop.line(zscore, transformers=["sales_z@latest"])

    assert "name availableColumn: Known, or At if they were known at once" in shop.blocked(
        line, shop.features(line)
    )


def without_key(folder: Path, line: str = "sales", **changes: Any) -> Path:
    """A line without a key: a row's subject is a hash of its values."""
    columns = {name: role for name, role in COLUMNS.items() if name != "sale"}
    path = write_line(
        folder,
        line,
        **({"frame": sales().drop(columns="sale"), "columns": columns, "subject": "row"} | changes),
    )
    contract = folder / "sales.yaml"
    contract.write_text(
        contract.read_text().replace("sale: string, ", "").replace("keys: [sale]", "keys: [At]")
    )
    return path


def test_rows_without_a_key_are_found_in_no_file(shop: Shop) -> None:
    """Whatever column `entityKey` names, its values are no hashes of rows."""
    source = shop.folder / "all.parquet"
    sales().assign(label=lambda frame: (frame["Sent"] == "back").astype(int)).to_parquet(source)
    woe = write_transformer(shop.folder / "all", "all_woe", WOE, inputSource=str(source), entityKey="sale")
    line = line_of(without_key(shop.folder / "keyless", transformers=["all_woe@latest"]), woe)

    assert "rows of this line have no key by which they could be found there" in shop.blocked(
        line, shop.features(line)
    )


@pytest.mark.long
def test_rows_without_a_key_are_found_in_no_other_dataset(shop: Shop) -> None:
    """One column more there, and every hash is another; on the line's own dataset it passes."""
    wide = load_line(without_key(shop.folder / "wide", "wide"))
    materialize(wide, "dataset", shop.outside)
    woe = write_transformer(shop.folder / "wide", "wide_woe", WOE, inputSource="asset://wide_dataset")
    own = write_transformer(shop.folder / "own", "own_woe", WOE)
    path = without_key(shop.folder / "keyless", transformers=["wide_woe@latest"])
    line = line_of(path, woe)

    assert "it was fitted on wide_dataset, and rows of this line have no key" in shop.blocked(
        line, shop.features(line)
    )
    line = line_of(without_key(shop.folder / "keyless", transformers=["own_woe@latest"]), own)
    assert shop.blocked(line, shop.features(line)) == ""


@pytest.mark.long
def test_a_key_of_another_numbering_is_no_proof(shop: Shop) -> None:
    """None of a file's ids is among the line's rows, so nobody can tell."""
    source = shop.folder / "all.parquet"
    frame = sales().assign(label=lambda each: (each["Sent"] == "back").astype(int), Number=range(900))
    frame.to_parquet(source)
    woe = write_transformer(shop.folder / "all", "all_woe", WOE, inputSource=str(source), entityKey="Number")
    line = shop.line(woe, transformers=["all_woe@latest"])

    assert "none of the 900 rows that it was fitted on is about anybody in this line" in shop.blocked(
        line, shop.features(line)
    )


@pytest.mark.long
def test_groups_that_are_measured_on_may_not_have_been_fitted_on(shop: Shop) -> None:
    """Other sales of a shop that the line keeps for its test."""
    old = load_line(write_line(shop.folder / "old", "old", frame=sales(seed=4, first=5000)))
    materialize(old, "dataset", shop.outside)
    woe = write_transformer(shop.folder / "old", "old_woe", WOE, inputSource="asset://old_dataset")
    line = shop.line(
        woe,
        columns=COLUMNS | {"Shop": "group"},
        split={"by": "group", "test": 0.3, "validation": 0.2},
        transformers=["old_woe@latest"],
    )

    assert "rows that are measured on are of a subject or Shop that is among" in shop.blocked(
        line, shop.features(line)
    )


class _Away:
    """A warehouse that does not answer."""

    def __getattr__(self, name: str) -> Any:
        def fail(*_: Any, **__: Any) -> None:
            raise WarehouseError("the catalog does not answer")

        return fail


def test_an_outage_is_no_verdict(shop: Shop) -> None:
    """The step fails and is tried again; only what is really lost is recorded as that."""
    version = resolve(shop.outside.ledger, "sales_woe@v1")
    fitted = load_fitted(shop.outside.object_store, version)

    with pytest.raises(WarehouseError, match="does not answer"):
        rows_of_version(version, fitted, _Away())  # type: ignore[arg-type]
    lost = version.model_copy(update={"snapshot": version.snapshot.model_copy(update={"snapshot_id": "7"})})
    assert rows_of_version(lost, fitted, shop.outside.warehouse) is None


def test_pinning_what_latest_is_runs_nothing(shop: Shop) -> None:
    """The features are those of the versions, however the spec names them."""
    assert planned(shop.line(transformers=["sales_woe@v1", "sales_z@v1"]), shop) == {}


def test_features_of_rows_to_come_block(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that looks ahead is found, and the check in the UI fails with it."""
    line = shop.line(transformers=["sales_z@v1"])

    class Ahead:
        def __init__(self, inner: Any) -> None:
            self.inner, self.spec, self.to_bytes = inner, inner.spec, inner.to_bytes

        def transform(self, rows: pa.Table) -> pa.Table:
            values = rows["Amount"].to_numpy()
            return pa.table({"Amount_zscore": values - values.mean()})

    from platform_assets.features import assets

    loaded = assets.load_fitted
    monkeypatch.setattr(assets, "load_fitted", lambda store, version: Ahead(loaded(store, version)))
    made = materialize(line, "features", shop.outside)

    assert made.checks == {"features_no_leak": False}
    assert "have other features of sales_z@v1" in shop.blocked(line, made.reference)


def test_a_run_with_a_leak_ends_before_its_deployment(shop: Shop) -> None:
    """The whole line: the verdict is named, and nothing becomes active."""
    source = shop.folder / "all.parquet"
    sales().assign(label=lambda frame: (frame["Sent"] == "back").astype(int)).to_parquet(source)
    woe = write_transformer(shop.folder / "all", "sales_woe", WOE, inputSource=str(source), entityKey="sale")
    before = releases.active(shop.outside.ledger, "sales")

    outcome = run(write_line(shop.folder, transformers="sales_woe@latest"), shop.outside, woe)

    assert not outcome.success
    assert "features.no_leak on sales_features@" in outcome.failure
    assert releases.active(shop.outside.ledger, "sales") == before


@pytest.mark.parametrize("broken", ["stability_of", "woe_picture"])
def test_what_could_not_be_shown_is_not_the_latest(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """The asset has failed, so lines go on with the version of before, and it runs again."""

    def fail(*_: Any) -> None:
        raise FeatureError("it cannot be shown")

    changed = write_transformer(shop.folder / "changed", "sales_woe", WOE, woe={"maxBins": 2})
    line = shop.line(changed, shop.zscore)
    place = "features.assets" if broken == "stability_of" else "features.woe_pictures"
    with monkeypatch.context() as patch:
        patch.setattr(f"platform_assets.{place}.{broken}", fail)
        with pytest.raises(RunError, match="it cannot be shown"):
            materialize(line, "features", shop.outside)

    assert latest_version(shop.outside.ledger, "sales_woe").number == 1
    assert planned(line, shop)["sales_woe"] == "its spec, code or input has changed"
    materialize(line, "features", shop.outside)
    assert latest_version(shop.outside.ledger, "sales_woe").number == 2


def test_a_latest_version_without_a_materialization_runs_again(shop: Shop) -> None:
    """A run may have been killed between the ledger's entry and Dagster's."""
    changed = write_transformer(shop.folder / "changed", "sales_woe", WOE, woe={"maxBins": 2})
    line = shop.line(changed, shop.zscore)
    dataset = releases.active(shop.outside.ledger, "sales").card.registered.report.model.features.dataset
    made = make_version(line.transformers["sales_woe"], dataset, shop.outside)
    make_latest(made.version, shop.outside.ledger)

    assert planned(line, shop)["sales_woe"] == "its latest version was never materialized"
    made_again = materialize(line, "features", shop.outside)
    assert made_again.reference.transformers[0].label == "sales_woe@v2"
    assert "sales_woe" not in planned(line, shop)


# --- Erasure, declarations, definitions ------------------------------------------------------------------


def erased(outside: OutsideSystems, namespace: str, who: str) -> ErasureReport:
    """Erases somebody."""
    return erase_subject(outside, namespace, who)


def test_a_transformer_is_fitted_again_once_its_input_has_lost_rows(shop: Shop) -> None:
    """Of another line's dataset, too, which nobody has made again; the weights of before stay what they were."""
    old = load_line(write_line(shop.folder / "old", "old", frame=sales(seed=4, first=5000)))
    dataset = materialize(old, "dataset", shop.outside).reference
    woe = write_transformer(shop.folder / "old", "old_woe", WOE, inputSource="asset://old_dataset")
    line = shop.line(woe, transformers=["old_woe@latest"])
    shop.features(line)
    rows = shop.outside.warehouse.read(dataset.snapshot.table, dataset.snapshot.snapshot_id)
    someone = rows.filter(pc.equal(rows["split"], "train"))["sale"][0].as_py()

    erased(shop.outside, "sale", someone)

    assert planned(line, shop)["old_woe"] == "rows of old_dataset were erased or have expired"
    made = materialize(line, "features", shop.outside).reference
    first, second = versions_of(shop.outside.ledger, "old_woe")
    assert made.transformers == (second,)
    assert second.fit_rows == first.fit_rows - 1
    assert is_intact(shop.outside.object_store, first)
    assert "old_woe" not in planned(line, shop)


@pytest.mark.long
def test_whoever_is_erased_is_in_no_table_of_features(shop: Shop) -> None:
    """Windows publish rows; the weights hold no row, and the next run fits them without."""
    warehouse = shop.outside.warehouse
    current = warehouse.current("features.sales_z")
    someone = warehouse.read(current.table, current.snapshot_id)["sale"][0].as_py()

    report = erased(shop.outside, "sale", someone)
    features = shop.features(shop.line())

    assert report.outcome == "pass"
    left = warehouse.current("features.sales_z")
    assert someone not in warehouse.read(left.table, left.snapshot_id)["sale"].to_pylist()
    assert {each.label for each in features.transformers} == {"sales_woe@v2", "sales_z@v2"}


@pytest.mark.parametrize(
    ("transformer", "changes", "problem"),
    [
        (
            {"columns": ["Amount", "Colour"]},
            {},
            "sales_woe transforms Colour, which is no feature of this line",
        ),
        ({"columns": ["Shop"]}, {}, "sales_woe transforms Shop, which is no feature"),
        ({"outputNames": {"Amount": "At"}}, {}, "sales_woe makes At, which is the name of a column"),
        (
            {},
            {"model": "gradient_boosting", "monotonic": {"Amount": "increasing"}},
            "takes the place of Amount, which monotonic.Amount is about",
        ),
        (
            {},
            {"transformers": ["other_woe@latest"]},
            "there is no transformer other_woe; known are sales_woe",
        ),
        (
            {"woe": {"event": 0}},
            {},
            "weights of the event label = 0, and this line predicts label = 1 (Sent = back); set target: label and woe.event: 1",
        ),
        (
            {"target": "Known"},
            {"model": "scorecard"},
            "weights of the event Known = 1, and this line predicts",
        ),
        (
            {"target": "Paid", "inputSource": "asset://resale_dataset"},
            {"model": "scorecard"},
            "weights of the event Paid = 1, and this line predicts label = 1",
        ),
        (
            {"target": "Sent", "inputSource": "sales.parquet", "woe": {"event": "kept"}},
            {"model": "scorecard"},
            "weights of the event Sent = kept, and this line predicts Sent = back",
        ),
    ],
)
def test_a_transformer_that_does_not_fit_is_told_with_file_and_line(
    tmp_path: Path, transformer: dict[str, Any], changes: dict[str, Any], problem: str
) -> None:
    """Before anything runs."""
    woe = write_transformer(tmp_path, "sales_woe", WOE, **transformer)
    spec = write_line(tmp_path, **({"transformers": "sales_woe@latest"} | changes))

    with pytest.raises(ManifestError, match=r"sales-spec.yaml:\d+: transformers") as refused:
        line_of(spec, woe)
    assert problem in str(refused.value)


def test_a_column_without_a_weight_is_told_where_it_stands(tmp_path: Path) -> None:
    """It is the column that is too many, and not the transformer."""
    woe = write_transformer(tmp_path, "sales_woe", WOE, columns=["Amount"])
    spec = write_line(tmp_path, model="scorecard", transformers="sales_woe@latest")
    at = 1 + next(at for at, text in enumerate(spec.read_text().splitlines()) if "Size:" in text)

    with pytest.raises(
        ManifestError, match=rf"spec.yaml:{at}: columns.Size: no transformer weighs Size; a score"
    ):
        line_of(spec, woe)


def test_weights_of_a_files_own_target_are_those_of_the_label(tmp_path: Path) -> None:
    """A file has the target as the source has it; a model that is no scorecard may read what else was learnt elsewhere."""
    woe = write_transformer(
        tmp_path, "sales_woe", WOE, inputSource="sales.parquet", target="Sent", woe={"event": "back"}
    )
    other = write_transformer(tmp_path / "other", "sales_woe", WOE, inputSource="f.parquet", target="Paid")
    uses = {"transformers": "sales_woe@latest"}

    assert line_of(write_line(tmp_path, model="scorecard", **uses), woe).transformers
    assert line_of(write_line(tmp_path, **uses), other).transformers


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"Shop": None}, "looks along Shop, which is no column"),
        ({"At": {"role": "categorical", "feature": False}}, "reads times of At, which has not the role time"),
        ({"Amount": "categorical"}, "which is categorical; a zscore needs a numeric one"),
    ],
)
def test_a_window_needs_its_columns(tmp_path: Path, columns: dict[str, Any], problem: str) -> None:
    """Entity, time and values, each of its role."""
    zscore = write_transformer(tmp_path, "sales_z", ZSCORE)
    given = {name: role for name, role in {**COLUMNS, **columns}.items() if role is not None}
    spec = write_line(tmp_path, columns=given, transformers="sales_z@latest")

    with pytest.raises(ManifestError) as refused:
        line_of(spec, zscore)
    assert problem in str(refused.value)


@pytest.mark.parametrize("text", ["sales_woe", "sales_woe@3", "sales_woe@v0", "Sales@v1"])
def test_a_reference_states_its_version(tmp_path: Path, text: str) -> None:
    """So that nobody wonders which one was meant."""
    with pytest.raises(ManifestError, match="transformers"):
        load_line(write_line(tmp_path, transformers=[text]))


def test_two_versions_of_one_transformer_are_refused(tmp_path: Path) -> None:
    """Their features would have one name."""
    with pytest.raises(ManifestError, match="sales_woe stands twice"):
        load_line(write_line(tmp_path, transformers=["sales_woe@v1", "sales_woe@v2"]))


def test_a_line_without_transformers_demands_nothing_new(tmp_path: Path) -> None:
    """And has no check."""
    line = load_line(write_line(tmp_path))

    assert line.requirements == line.spec.requires.deploy
    assert "features.no_leak" not in line.rule_set_hashes


def test_definitions_show_what_is_broken_beside_what_is_sound(tmp_path: Path) -> None:
    """A line, its transformer in the job, another that nobody uses, and two that cannot be loaded."""
    spec = write_line(tmp_path, transformers="sales_woe@latest")
    lines, transformers = with_transformers(
        Lines((load_line(spec),), ()),
        declared(
            write_transformer(tmp_path, "sales_woe", WOE),
            write_transformer(tmp_path, "sales_z", ZSCORE),
            write_transformer(tmp_path, "lost_woe", WOE, inputSource="asset://lost_dataset"),
            write_transformer(tmp_path, "wrong_woe", WOE, columns=[]),
        ),
    )
    definitions = build_definitions(
        OutsideSystems(PlatformSettings(home=tmp_path / "home")), lines.sound, lines.broken, transformers
    )
    groups = {spec.key.to_user_string(): spec.group_name for spec in definitions.resolve_all_asset_specs()}
    job = definitions.resolve_job_def("sales")

    assert {name for name, group in groups.items() if group == "features"} == {"sales_woe", "sales_z"}
    broken = {name.rpartition("_")[0] for name, group in groups.items() if group == "broken_transformers"}
    assert broken == {"lost_woe", "wrong_woe"}
    selected = {key.to_user_string() for key in job.asset_layer.selected_asset_keys}
    assert "sales_woe" in selected
    assert "sales_z" not in selected
    checks = {key.to_user_string() for key in definitions.resolve_asset_graph().asset_check_keys}
    assert "sales_features:features_no_leak" in checks


def test_a_line_that_is_broken_takes_no_transformer_and_no_other_line_down(tmp_path: Path) -> None:
    """Its dataset is made by nobody for now; the definitions load all the same."""
    sound = load_line(write_line(tmp_path / "sound", "resale"))
    lines, transformers = with_transformers(
        Lines((sound,), (BrokenLine(tmp_path / "spec.yaml", "sales", "it is wrong"),)),
        declared(write_transformer(tmp_path, "sales_woe", WOE)),
    )

    definitions = build_definitions(
        OutsideSystems(PlatformSettings(home=tmp_path / "home")), lines.sound, lines.broken, transformers
    )

    keys = {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()}
    assert {"sales_woe", "resale_deployment"} <= keys


# --- By itself ------------------------------------------------------------------------------------------


def materialized_alone(
    path: Path, outside: OutsideSystems, instance: dg.DagsterInstance
) -> dg.AssetMaterialization:
    """A transformer's asset, materialized without any line."""
    (one,) = declared(path).sound.values()
    result = dg.materialize(
        [transformer_asset(one)], instance=instance, resources=platform_resources(outside)
    )
    (event,) = result.get_asset_materialization_events()
    return event.materialization


def test_features_of_a_file_are_a_table_of_their_own(tmp_path: Path) -> None:
    """Reused while nothing changes; made again once their table is gone."""
    outside, instance = (
        OutsideSystems(PlatformSettings(home=tmp_path / "home")),
        dg.DagsterInstance.ephemeral(),
    )
    sales(200).to_parquet(tmp_path / "sales.parquet")
    given = {"inputSource": str(tmp_path / "sales.parquet")}
    path = write_transformer(tmp_path, "sales_z", ZSCORE, **given)

    first = materialized_alone(path, outside, instance)
    again = materialized_alone(path, outside, instance)
    table = outside.warehouse.current("features.sales_z")
    rows = outside.warehouse.read(table.table, table.snapshot_id)
    outside.warehouse.drop(table.table, [table.snapshot_id])
    restored = materialized_alone(path, outside, instance)

    assert rows.column_names == ["Shop", "At", "Amount_zscore"]
    assert rows.num_rows == 200
    assert [each.metadata["reused"].value for each in (first, again, restored)] == [False, True, False]
    assert {each.metadata["version"].value for each in (first, again, restored)} == {"sales_z@v1"}
    assert outside.warehouse.current("features.sales_z").content_hash == table.content_hash


def test_a_table_of_features_is_joined_as_of_the_time_of_other_rows(tmp_path: Path) -> None:
    """It says of when its rows are and when they became known, and no row of it is known before."""
    outside = OutsideSystems(PlatformSettings(home=tmp_path / "home"))
    sales(200).to_parquet(tmp_path / "sales.parquet")
    given = {"inputSource": str(tmp_path / "sales.parquet"), "availableColumn": "Known"}
    path = write_transformer(tmp_path, "sales_z", ZSCORE, **given)
    materialized_alone(path, outside, dg.DagsterInstance.ephemeral())
    table = outside.warehouse.current("features.sales_z")
    features = outside.warehouse.read(table.table, table.snapshot_id)
    asked = pa.table({"Shop": features["Shop"], "At": features["At"], "order": range(200)})
    asked = asked.take(pa.array(range(199, -1, -1)))

    known = FeatureTable(rows_of_table(features, name="sales_z"), "At", available="Known")
    joined = point_in_time_join(asked, [known], entity=["Shop"], time="At")

    assert features.column_names == ["Shop", "At", "Known", "Amount_zscore"]
    expected, _ = joined_slowly(asked, features, entity=["Shop"], time="At", available="Known")
    assert joined.to_pylist() == expected
    assert joined["order"].to_pylist() == list(range(199, -1, -1))
    assert 0 < joined["Amount_zscore"].null_count < 200


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_numbers_of_a_file_are_numbers_whatever_its_ending(tmp_path: Path, ending: str) -> None:
    """Text files, too: their columns have the types that all values fit."""
    outside, instance = (
        OutsideSystems(PlatformSettings(home=tmp_path / "home")),
        dg.DagsterInstance.ephemeral(),
    )
    source = write_table(tmp_path, sales(200).drop(columns=["At", "Known"]), f"sales.{ending}")
    given = {"inputSource": source, "target": "Sent", "woe": {"event": "back", "maxBins": 4}}

    made = materialized_alone(write_transformer(tmp_path, "sales_woe", WOE, **given), outside, instance)

    bins = [each.data["bin"] for each in made.metadata["bins"].records if each.data["column"] == "Amount"]
    assert any(each.startswith("(") for each in bins)


def test_an_erasure_finds_what_was_made_of_a_file(tmp_path: Path) -> None:
    """Its entities are the subjects of the table, in the namespace of files; they do not come back with the file."""
    outside, instance = (
        OutsideSystems(PlatformSettings(home=tmp_path / "home")),
        dg.DagsterInstance.ephemeral(),
    )
    sales(200).to_parquet(tmp_path / "sales.parquet")
    path = write_transformer(tmp_path, "sales_z", ZSCORE, inputSource=str(tmp_path / "sales.parquet"))
    materialized_alone(path, outside, instance)

    def shops() -> set[str]:
        current = outside.warehouse.current("features.sales_z")
        return set(outside.warehouse.read(current.table, current.snapshot_id)["Shop"].to_pylist())

    assert shops() == set("abcdefgh")
    report = erased(outside, FILE_NAMESPACE, "a")

    assert report.outcome == "pass"
    assert shops() == set("bcdefgh")
    materialized_alone(path, outside, instance)
    assert shops() == set("bcdefgh")


def test_a_file_that_is_gone_is_one_clear_error(tmp_path: Path) -> None:
    """Nothing is recorded."""
    outside = OutsideSystems(PlatformSettings(home=tmp_path / "home"))
    path = write_transformer(tmp_path, "sales_z", ZSCORE, inputSource=str(tmp_path / "gone.parquet"))

    with pytest.raises(dg.Failure, match=r"gone.parquet: no such file"):
        materialized_alone(path, outside, dg.DagsterInstance.ephemeral())
    assert list(outside.ledger.entries()) == []
