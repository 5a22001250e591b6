"""What computes the assets of transformers: on Spark they are the version and the table that this process makes."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from platform_assets.features.errors import FeatureError
from platform_assets.features.pod import DRIVER_LABEL, pod_tags
from platform_assets.features.table_engine import LocalTables, SparkTables, table_engine
from platform_assets.features.transformer import fit
from platform_assets.features.version_making import make_version, publish_features
from platform_assets.lines.definitions import line_definitions
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import TransformerVersion
from platform_assets.tags import MAX_MEMORY_TAG, POD_TAG
from resources.settings import PlatformSettings
from tests.features.shops import WOE, ZSCORE, declared, sales, write_transformer
from tests.features.spark_cluster import need_spark
from tests.features.transformers import event_rows, transformer

SPARK: dict[str, Any] = {"features_engine": "spark", "spark_remote": "local[2]"}


def made(folder: Path, spec: Any, source: Path, **settings: Any) -> tuple[TransformerVersion, Any]:
    """The version of a transformer of a file, and its table where it has one, in a home of its own."""
    outside = OutsideSystems(PlatformSettings(home=folder / "home", **settings))
    given = {"inputSource": str(source)} | (
        {"target": "Sent", "woe": {"event": "back"}} if spec is WOE else {}
    )
    (one,) = declared(write_transformer(folder, "sales_one", spec, **given)).sound.values()
    version = make_version(one, None, outside)
    if spec is WOE:
        return version.version, version.fitted.to_bytes()
    snapshot, _ = publish_features(version, one, None, outside)
    return version.version, outside.warehouse.read(snapshot.table, snapshot.snapshot_id)


@pytest.mark.parametrize(
    "spec", [pytest.param(ZSCORE, id="zscore"), pytest.param(WOE, id="woe", marks=pytest.mark.long)]
)
def test_an_asset_on_spark_is_that_of_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: Any
) -> None:
    """The same version, bytes and rows in the same order, though Spark gives them back in another; nothing is left behind."""
    need_spark()
    monkeypatch.setenv("PLATFORM_ROW_SALT", "of the tests, and of no one else")
    rows = sales(900).sample(frac=1, random_state=7)
    rows.to_parquet(tmp_path / "sales.parquet")

    here = made(tmp_path / "here", spec, tmp_path / "sales.parquet")
    by_spark = made(tmp_path / "there", spec, tmp_path / "sales.parquet", **SPARK)

    assert by_spark == here
    assert list((tmp_path / "there" / "home" / "spark").iterdir()) == []


def test_settings_choose_the_engine(tmp_path: Path) -> None:
    """This process, unless they say otherwise."""
    assert isinstance(table_engine(PlatformSettings(home=tmp_path)), LocalTables)
    assert isinstance(table_engine(PlatformSettings(home=tmp_path, **SPARK)), SparkTables)


def test_what_learns_nothing_needs_no_spark(tmp_path: Path) -> None:
    """A window is its spec: no session is started to fit one."""
    settings = PlatformSettings(home=tmp_path, features_engine="spark", spark_remote="sc://127.0.0.1:1")
    lag = transformer("lag")
    assert SparkTables(settings).fit(lag, event_rows(5)).to_bytes() == fit(lag.spec, event_rows(5)).to_bytes()


@pytest.mark.parametrize("remote", ["sc://spark.example", "spark://host:7077", "k8s://https://host:6443"])
def test_a_folder_of_this_machine_is_refused_where_executors_are_elsewhere(
    tmp_path: Path, remote: str
) -> None:
    """Before a session is asked for: they would not find the rows there."""
    settings = PlatformSettings(home=tmp_path, features_engine="spark", spark_remote=remote)
    zscore, rows = transformer("zscore"), event_rows(5)
    with pytest.raises(
        FeatureError, match=r"^PLATFORM_SPARK_FOLDER is not set: executors of \S+ see no folder"
    ):
        SparkTables(settings).features(zscore, fit(zscore.spec, rows), rows)


def test_a_step_asks_for_a_pod_only_where_it_makes_pods(tmp_path: Path) -> None:
    """Of its executors' size, with their volume, under an account that may make them, and known to their network."""
    settings = PlatformSettings(
        home=tmp_path,
        features_engine="spark",
        spark_remote="k8s://in-cluster",
        spark_folder=Path("/spark"),
        spark_pods={"cpu": "1500m", "memory": "6Gi", "claim": "rows", "account": "maker"},
    )
    tags = pod_tags(settings)
    pod = tags[POD_TAG]
    assert pod["container_config"]["resources"] == {
        "requests": {"cpu": "1500m", "memory": "6Gi"},
        "limits": {"cpu": "2", "memory": "6Gi"},
    }
    assert pod["container_config"]["volumeMounts"] == [{"name": "spark", "mountPath": "/spark"}]
    assert pod["pod_spec_config"]["volumes"] == [
        {"name": "spark", "persistentVolumeClaim": {"claimName": "rows"}}
    ]
    assert pod["pod_spec_config"]["serviceAccountName"] == "maker"
    assert pod["pod_template_spec_metadata"]["labels"] == {DRIVER_LABEL: "true"}
    assert tags[MAX_MEMORY_TAG] == "12Gi"
    for other in ({"features_engine": "local"}, {"spark_remote": "sc://spark.example"}):
        assert pod_tags(settings.model_copy(update=other)) == {}


@pytest.mark.parametrize("settings", [{}, {"features_engine": "spark", "spark_remote": "k8s://in-cluster"}])
def test_what_a_step_asks_for_stands_on_the_step(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Whoever starts it: automation, a backfill, the UI. Without Spark in pods nothing stands there."""
    outside = OutsideSystems(PlatformSettings(home=tmp_path / "home", **settings))
    given = declared(write_transformer(tmp_path, "sales_z", ZSCORE, inputSource="sales.parquet"))
    definitions = line_definitions(outside, [], transformers=given)
    (asset,) = [each for each in definitions.assets or () if isinstance(each, dg.AssetsDefinition)]
    assert (POD_TAG in asset.op.tags) is bool(settings)


def test_a_missing_column_is_told_by_the_name_of_the_transformer(tmp_path: Path) -> None:
    """And not by that of a file that is gone; no session is started for it."""
    settings = PlatformSettings(home=tmp_path, features_engine="spark", spark_remote="local[2]")
    zscore, rows = transformer("zscore"), event_rows(5).drop_columns("amount")
    with pytest.raises(FeatureError, match=r"^some_zscore: has no column 'amount', only 'entity', 'time'"):
        SparkTables(settings).features(zscore, fit(zscore.spec, rows), rows)
