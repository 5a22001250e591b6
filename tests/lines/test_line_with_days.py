"""A line whose transformer has features by day: beside it, not within it, and told by `status` and `features days`."""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.definitions import build_definitions
from platform_assets.lines.runner import open_instance
from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings
from tests.features.shops import ZSCORE, declared, line_of, sales, with_days, write_line, write_transformer

DAYS = 38


class Shops:
    """A home with the line `shops`, whose transformer `shop_z` has days."""

    def __init__(self, folder: Path) -> None:
        self.spec = write_line(folder, "shops", transformers=["shop_z@latest"])
        transformer = write_transformer(folder, "shop_z", {**ZSCORE, "inputSource": "asset://shops_dataset"})
        self.transformer = with_days(transformer, "2026-01-01", "2026-02-07")
        self.folder, self.settings = folder, PlatformSettings(home=folder / "home")

    def definitions(self) -> dg.Definitions:
        """As the code location has them."""
        line = line_of(self.spec, self.transformer)
        return build_definitions(
            OutsideSystems(self.settings), [line], transformers=declared(self.transformer)
        )

    def run(self, *assets: str, days: tuple[str, str] | None = None) -> bool:
        """A run of these assets, of days from the first to the last."""
        tags = dict(zip(("start", "end"), days, strict=True)) if days else {}
        with open_instance(self.settings) as instance:
            return bool(
                self.definitions()
                .resolve_implicit_global_asset_job_def()
                .execute_in_process(
                    instance=instance,
                    asset_selection=[dg.AssetKey(each) for each in assets],
                    tags={f"dagster/asset_partition_range_{end}": day for end, day in tags.items()},
                    raise_on_error=False,
                )
                .success
            )


@pytest.fixture
def shops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shops]:
    """Whose commands find it."""
    made = Shops(tmp_path)
    monkeypatch.setenv("PLATFORM_HOME", str(made.settings.home))
    monkeypatch.setenv("PLATFORM_SPECS", json.dumps([str(made.spec)]))
    monkeypatch.setenv("PLATFORM_TRANSFORMERS", json.dumps([str(made.transformer)]))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    yield made
    # `open_instance` sets it.
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


def told(*arguments: str) -> str:
    """What a command prints."""
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_days_are_beside_the_line_and_told(shops):
    """The line's job has no part of them; status shows gaps, what is open again, and how far they go."""
    job = shops.definitions().resolve_job_def("shops")
    assert "shop_z" in job.graph.node_dict
    assert "shop_z_daily" not in job.graph.node_dict
    assert "none is known yet" in told("status")
    assert "materialize shop_z first" in told("features", "days", "shop_z")
    assert shops.run("shops_dataset", "shop_z")
    assert shops.run("shop_z_daily", days=("2026-01-01", "2026-01-20"))
    assert shops.run("shop_z_daily", days=("2026-01-25", "2026-02-07"))

    shown = told("status")
    assert (
        "shop_z_daily\n  days      34 of 38 are made, to 2026-02-07\n  missing   2026-01-21 to 2026-01-24"
        in shown
    )
    (found,) = json.loads(told("status", "shops", "--json"))["daily_features"]
    assert found["asset"] == "shop_z_daily"
    assert (found["made"], found["reopened"], found["refused"]) == (34, [], [])
    assert found["missing"] == [f"2026-01-2{number}" for number in (1, 2, 3, 4)]

    # One sale of the 10th comes late; five days look back to it.
    late = sales()
    late.loc[9 * 24 + 3, "Amount"] += 1
    late.to_parquet(shops.folder / "shops.parquet")
    assert shops.run("shops_dataset", "shop_z")
    days = json.loads(told("features", "days", "shop_z", "--state", "reopened", "--json"))["days"]
    assert [each["day"] for each in days] == [f"2026-01-{number}" for number in range(10, 16)]
    assert all(each["published"] and each["rows"] == 24 for each in days)
    shown = told("features", "days", "shop_z")
    assert "2026-01-10  reopened          24 rows, rows of before are kept" in shown
    assert shown.count("\n") == DAYS
    refused = CliRunner().invoke(app, ["features", "days", "credit_woe"])
    assert refused.exit_code == 1
    assert "those that have them: " in str(refused.exception)
    assert "shop_z" in str(refused.exception)
