"""Sources that come in parts become the rows that they become at once, or are refused in the same words."""

import json
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from platform_assets.datasets.errors import DatasetError
from platform_assets.datasets.ingestion import PreparedRows, RawSource, read_sources
from platform_assets.datasets.large_files import LargeRows
from platform_assets.datasets.row_groups import RowGroups
from platform_assets.datasets.row_spool import RowSpool
from platform_assets.datasets.snapshots import content_hash
from platform_assets.datasets.sources import open_source, read_frame
from platform_assets.tasks.tabular_classification.spec import TabularTrainingSpec
from platform_assets.tasks.tabular_classification.task import TASK
from platform_assets.tasks.tabular_classification.values import text_of, texts, time_of, times
from tests.tasks.tabular_classification.tables import make_spec
from tests.tasks.tabular_classification.whole_ingestion import prepare_whole

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Callable[[random.Random], None]:
    """Makes every file large, and each of its parts a few rows."""

    def chosen(draw: random.Random) -> None:
        rows = draw.randint(1, 9)
        monkeypatch.setattr("platform_assets.datasets.large_files.MOST_ROWS_FOR_GE", 0)
        monkeypatch.setattr("platform_assets.datasets.batches.MOST_BATCH_ROWS", rows)
        monkeypatch.setattr("platform_assets.datasets.ingestion.MOST_BATCH_ROWS", rows)
        monkeypatch.setattr("platform_assets.datasets.row_spool._BATCH_ROWS", draw.randint(1, 9))
        for kind in (RowSpool, RowGroups):
            monkeypatch.setitem(kind.__init__.__kwdefaults__, "most_bytes", draw.choice([0, 300, 1 << 20]))  # type: ignore[misc]

    return chosen


def column_of(draw: random.Random, role: str, rows: int) -> pa.Array:
    """Values of a column of this role in one of the types that it may have, some missing, and now and then a wrong one."""

    def some(values: Sequence[Any], missing: float = 0.1) -> list[Any]:
        return [None if draw.random() < missing else draw.choice(values) for _ in range(rows)]

    wrong = draw.random() < 0.04
    match role:
        case "key" | "group":
            missing = 0.05 if wrong else 0.0
            if draw.random() < 0.3:
                return pa.array(some(range(20), missing), pa.int64())
            return pa.array(some([f"k{at}" for at in range(25)], missing), pa.string())
        case "target":
            classes = ["yes", "no", "perhaps"] if wrong else ["yes", "no"]
            return pa.array(some(classes, draw.choice([0, 0.2])))
        case "numeric":
            if wrong:
                return pa.array(some(["1", "2.5", "none", "-0.0"]))
            return draw.choice(
                [
                    lambda: pa.array(some([0.0, -0.0, 1.5, float("nan"), 2.0**53 - 1, *([float("inf")] * (draw.random() < 0.02))])),
                    lambda: pa.array(some([0, 1, -7]), pa.int32()),
                    lambda: pa.array(some([Decimal("0.10"), Decimal("-3.25")]), pa.decimal128(9, 2)),
                    lambda: pa.array(some(["1e3", "+2", "0.5", "-0.0"])),
                    lambda: pa.array(some([True, False])),
                    lambda: pa.array(some([0.1, -0.0, 0.0]), pa.float32()),
                ]
            )()  # fmt: skip
        case "categorical":
            return draw.choice(
                [
                    lambda: pa.array(some(["", "a", "b:c", "5", "ü"])),
                    lambda: pa.array(some(["a", "b"])).dictionary_encode(),
                    lambda: pa.array(some([1, 2, 3]), pa.int16()),
                    lambda: pa.array(some([1.0, 2.5, -0.0, 0.0])),
                    lambda: pa.array(some([START.date(), START.date() + timedelta(1)])),
                ]
            )()
        case "ordinal":
            return pa.array(some(["low", "high", *(["odd"] if wrong else [])]))
        case _:
            missing = draw.choice([0, 0.1]) if role == "available" or wrong else 0
            spread = draw.choice([3, 1000])
            stated = some([START + timedelta(minutes=17 * at) for at in range(spread)], missing)
            kind = draw.choice(
                ["text", pa.timestamp("us", "Europe/Berlin"), pa.timestamp("ns"), pa.timestamp("s", "UTC")]
            )
            if isinstance(kind, str):
                return pa.array([each and each.isoformat() for each in stated])
            return pa.array(stated, pa.timestamp("us", "UTC")).cast(pa.int64()).cast(pa.timestamp("us")).cast(kind, safe=False)  # fmt: skip


def table_of(draw: random.Random, kinds: dict[str, str]) -> pa.Table:
    """Rows of which some repeat."""
    rows = draw.randint(4, 60)
    table = pa.table({name: column_of(draw, role, rows) for name, role in kinds.items()})
    again = [draw.randrange(rows) for _ in range(draw.choice([0, rows // 3]))]
    return table.take(pa.array([*range(rows), *again], pa.int64()))


def case(draw: random.Random, folder: Path) -> tuple[TabularTrainingSpec, set[str]]:
    """A spec whose sources are written, and whom nobody may hear of again."""
    columns: dict[str, Any] = {"t": {"role": "target", "positive": "yes"}, "n": "numeric", "c": "categorical"}
    kinds = {"t": "target", "n": "numeric", "c": "categorical", "unused": draw.choice(["numeric", "categorical", "time"])}  # fmt: skip
    by = draw.choice(["rows", "group", "time", "blocks"])
    optional = {
        "k": draw.random() < 0.6, "g": by == "group", "o": draw.random() < 0.5, "w": by == "time", "a": draw.random() < 0.3,
    }  # fmt: skip
    stated = {
        "k": "key", "g": "group", "o": {"role": "ordinal", "order": ["low", "high"]}, "w": "time", "a": "available",
    }  # fmt: skip
    for name, wanted in optional.items():
        if wanted:
            role = stated[name]
            columns[name] = role
            kinds[name] = role if isinstance(role, str) else str(role["role"])
    given: dict[str, Any] = {"columns": columns}
    if draw.random() < 0.3 and "a" in columns:
        given["derived"] = {"d": {"time": "a", "plus_minutes": "n"}, "j": {"joined": ["c", "unused"]}}
        columns |= {"d": "time" if "w" not in columns else "categorical", "j": "categorical"}
    given["split"] = {"by": by, "test": 0.25, "validation": 0.2, "seed": draw.randrange(99)}
    if by == "blocks":
        given["split"] |= {"block_rows": draw.randint(2, 6), "guard_rows": draw.randint(0, 1)}
    if draw.random() < 0.3:
        given["train_rows"] = 16
    given["shift_rows"] = draw.choice([None, 1, 7])
    files = [folder / f"s{at}.parquet" for at in range(draw.randint(1, 4))]
    kept = draw.random() < 0.95
    for file in files:
        table = table_of(draw, kinds)
        pq.write_table(table if kept else table.drop_columns(["c"]), file, row_group_size=draw.randint(1, 80))
    uris = [str(file) for file in files]
    roles = draw.choice([["train"], ["train", "test"], ["train", "shift"], ["train", "test", "shift"]])
    for role in roles[1:]:
        if len(uris) > 1:
            given[{"test": "val_data_uri", "shift": "shift_data_uri"}[role]] = uris.pop()
    return make_spec(train_data_uri=uris, **given), {
        f"k{draw.randrange(25)}" for _ in range(draw.choice([0, 3]))
    }


def whole_sources(spec: TabularTrainingSpec) -> list[RawSource]:
    """The sources, each read at once."""
    return [
        RawSource(source, role, read_frame(source))
        for uri, role in (
            *((uri, "train") for uri in spec.train_data_uri),
            (spec.val_data_uri, "test"),
            (spec.shift_data_uri, "shift"),
        )
        if uri
        for source in [open_source(uri)]
    ]


def told(
    prepare: Callable[..., PreparedRows], sources: Callable[..., list[RawSource]], spec: Any, erased: set[str]
) -> Any:
    """All that there is to say about prepared rows, or why there are none."""
    try:
        found = prepare(spec, sources(spec), is_erased=lambda ids: [each in erased for each in ids])
    except DatasetError as problem:
        return str(problem)
    rows = found.rows.read()
    assert rows.num_rows == found.rows.num_rows
    return (
        rows.to_pylist(), rows.schema, content_hash(found.rows), content_hash(rows), found.first_sources, found.source_hash,
        found.raw_rows, found.erased, found.left_out, found.rows_by_split(),
    )  # fmt: skip


def compare(seed: int, folder: Path, tiny: Callable[[random.Random], None]) -> str:
    """One random case; says what became of it."""
    draw = random.Random(seed)
    try:
        spec, erased = case(draw, folder)
    except ValidationError:
        return "no spec"
    whole = told(prepare_whole, whole_sources, spec, erased)
    tiny(draw)
    streamed = told(TASK.ingestion.prepare, read_sources, spec, erased)
    assert all(isinstance(each.rows, LargeRows) for each in read_sources(spec))
    assert streamed == whole, f"case {seed}"
    return "refused" if isinstance(whole, str) else "made"


@pytest.mark.parametrize("begin", [0, pytest.param(1000, marks=pytest.mark.long)])
def test_parts_and_the_whole_are_one(tmp_path, tiny, begin):
    """Rows, ids, splits, hashes, counters and refusals, of random tables, specs, parts and bounds of memory."""
    outcomes = []
    for seed in range(begin, begin + (begin or 20)):
        folder = tmp_path / str(seed)
        folder.mkdir()
        outcomes.append(compare(seed, folder, tiny))
    assert {"made", "refused"} <= set(outcomes)
    assert outcomes.count("made") > len(outcomes) / 4


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "America/New_York"])
def test_times_of_a_column_are_those_of_its_cells(unit, zone):
    """Whether they are converted one by one or all at once: to the microsecond, in UTC."""
    seconds = np.array([0, -1, 1_700_000_000, 1_743_296_400, -9_000_000_000], dtype="int64")
    counted = seconds * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit] + [0, 1, 1, -1, -1]
    values = pd.Series([*counted.view(f"datetime64[{unit}]"), np.datetime64("NaT")]).astype(
        f"datetime64[{unit}]"
    )
    if zone:
        values = values.dt.tz_localize("UTC").dt.tz_convert(zone)
    expected = [time_of(value) for value in values[:-1]]
    found = times(values, "here")
    assert found[:-1].tolist() == [each.item() for each in expected]
    assert np.isnat(found[-1])


@pytest.mark.parametrize("given", [["a", None, ""], ["a", 1], [1, 1.0, True, None], [None], []])
def test_texts_of_a_column_are_those_of_its_cells(given):
    """Texts alone are taken as they are."""
    found = texts(pd.Series(given, dtype=object), "here")
    assert found == [None if value is None else text_of(value) for value in given]


def test_both_zeros_are_one_id_whichever_part_they_are_in(tmp_path, tiny):
    """Of a column of floats the first zero decides how both are spelt, as it always did."""
    zeros = [0.0, -0.0, 1.0, -0.0, 0.0, 2.0] * 4
    for at, values in enumerate((zeros, zeros[::-1])):
        table = pa.table({"t": ["yes", "no", "no"] * 8, "n": values, "c": ["a", "b"] * 12, "u": range(24)})
        pq.write_table(table, tmp_path / f"{at}.parquet")
    columns = {"t": {"role": "target", "positive": "yes"}, "n": "numeric", "c": "categorical"}
    uris = [str(tmp_path / f"{at}.parquet") for at in range(2)]
    spec = make_spec(train_data_uri=uris, columns=columns, split={"test": 0.3, "validation": 0.3})
    whole = told(prepare_whole, whole_sources, spec, set())
    assert not isinstance(whole, str)
    tiny(random.Random(1))
    assert told(TASK.ingestion.prepare, read_sources, spec, set()) == whole


@pytest.mark.parametrize(
    ("ending", "key", "odd"),
    [("jsonl", None, "x"), ("jsonl", "k", "1"), ("parquet", "k", 2.0**53)],
    ids=["ids", "numbers", "the largest number"],
)
def test_a_zero_has_the_sign_that_it_has_in_the_whole(tmp_path, tiny, ending, key, odd):
    """Whatever stands beside it in one part: a text, or a number of which the next one is too large."""
    zeros = [0.0, -0.0, 1.0, -0.0, 0.0, 2.0] * 4
    frame = pd.DataFrame(
        {"t": ["yes", "no", "no"] * 8, "n": [*zeros[:-1], odd], "c": ["a", "b"] * 12, "k": range(24)}
    )
    columns = {"t": {"role": "target", "positive": "yes"}, "n": "numeric", "c": "categorical"}
    if key:
        columns[key] = "key"
    else:
        del columns["n"]
    file = tmp_path / f"rows.{ending}"
    if ending == "jsonl":
        file.write_text("".join(f"{json.dumps(row)}\n" for row in frame.to_dict("records")))
    else:
        frame.to_parquet(file)
    spec = make_spec(train_data_uri=str(file), columns=columns, split={"test": 0.3, "validation": 0.3})
    whole = told(prepare_whole, whole_sources, spec, set())
    assert not isinstance(whole, str)
    tiny(random.Random(1))
    assert told(TASK.ingestion.prepare, read_sources, spec, set()) == whole
