"""What the driver's pod of a test runs: `python -m tests.cluster.spark_driver FOLDER`, where rows and their transformer lie."""

import sys
from pathlib import Path

from platform_assets.features.engine import run_transformer
from platform_assets.features.spark_engine import SparkEngine
from platform_assets.features.transformer_spec import read_transformer
from resources.settings import PlatformSettings
from resources.spark import spark_session
from tests.features.spark_cluster import HASTE, SMALL
from tests.waiting import wait_for

PARTS = 30


def main(folder: Path) -> None:
    """Compute, and hold the session until somebody has seen what they wanted to see of it."""
    settings = PlatformSettings()
    hasty = {"spark.executor.extraJavaOptions": HASTE}
    with spark_session(settings.spark_remote, folder, options=hasty, pods=settings.spark_pods) as session:
        run_transformer(
            read_transformer(folder / "zscore.yaml").content,
            folder / "rows.parquet",
            folder / "by_pods.parquet",
            budget=SMALL,
            spark=SparkEngine(session, slice_rows=5_000, parts=PARTS),
        )
        wait_for((folder / "seen").exists, "the test has seen enough", seconds=120)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
