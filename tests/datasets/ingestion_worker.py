"""Makes a dataset of one large file as the asset does, and prints by how many bytes the process grew over it.

`ingestion_worker.py FILE HOME`: the file has the columns of `large_file` in test_streamed_datasets.py.
"""

import resource
import sys
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa

from platform_assets.datasets.batch_judge import judge_rows
from platform_assets.datasets.contract import load_contract
from platform_assets.datasets.ingestion import read_sources
from platform_assets.datasets.judging import check_source_schema
from platform_assets.datasets.snapshots import content_hash
from platform_assets.tasks.tabular_classification.task import TASK
from tests.datasets.test_streamed_datasets import CONTRACT, spec_of
from tests.warehouse_factory import opened

SALT = b"a salt for the tests"


def peak_bytes() -> int:
    """As the kernel has it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


file, home = map(Path, sys.argv[1:])
(home / "contract.yaml").write_text(CONTRACT)
contract, spec = load_contract(home / "contract.yaml"), spec_of(file)
warehouse = opened(home)
# What libraries take once, whatever the rows.
small = warehouse.stage(
    "datasets.small",
    pa.table({"x": pd.Series(["a"])}),
    content_hash="0" * 64,
    gdpr_class="public",
    retention_days=1,
    source_commit="0c0ffee",
)
warehouse.publish(small)
before, began = peak_bytes(), time.process_time()
sources = read_sources(spec)
raw = check_source_schema(contract, sources[0], run_name="run", salt=SALT)
prepared = TASK.ingestion.prepare(spec, sources, is_erased=lambda ids: [False] * len(ids))
staged = warehouse.stage(
    "datasets.large",
    prepared.rows,
    content_hash=content_hash(prepared.rows),
    gdpr_class="public",
    retention_days=1,
    source_commit="0c0ffee",
)
report = judge_rows(contract, warehouse.batches(staged.table, staged.snapshot_id), run_name="run", salt=SALT)
warehouse.publish(staged)
print(
    peak_bytes() - before,
    staged.rows,
    raw.outcome,
    report.passed,
    round(time.process_time() - began, 1),
)
