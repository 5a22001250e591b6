"""What rows take in memory, and that a process stays within what it was given."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from platform_assets.features.engine import fit_rows, run_transformer
from platform_assets.features.errors import FeatureError
from platform_assets.features.external_sort import SortBudget
from platform_assets.features.memory_budget import Budget, budget_for, refuse_too_large
from platform_assets.features.row_chunks import evened
from platform_assets.features.row_files import open_rows, rows_of_table
from platform_assets.features.row_size import spread
from platform_assets.features.row_weights import row_weights
from platform_assets.features.transformer import fit
from tests.features.transformers import (
    TINY,
    credit_rows,
    event_rows,
    transformer,
    write_rows,
    write_transformer,
)
from tests.line_factory import command, environment

MB = 1_000_000


def repeated(file, rows, *, texts, empty=10_000, row_group_rows=1 << 20, ordered=True):
    """A file of events whose first rows have an empty text, and the others one of some long ones."""
    rng = np.random.default_rng(0)
    codes = np.append(np.zeros(empty, np.int32), rng.integers(1, texts + 1, rows - empty, np.int32))
    long = pa.array(["", *(f"{number:05}" * 1_000 for number in range(texts))])
    table = event_rows(rows, ordered=ordered).drop_columns("note")
    table = table.append_column("text", pa.DictionaryArray.from_arrays(pa.array(codes), long))
    pq.write_table(table, file, store_schema=False, row_group_size=row_group_rows)
    return file


def size_of(file):
    """What a row of it takes, as is expected before it is read."""
    return open_rows(file, transformer("lag").spec).row_bytes()


class TestSize:
    """Expected sizes of rows."""

    @pytest.mark.parametrize("row_group_rows", [1 << 20, 5_000])
    def test_texts_that_repeat_after_the_first_rows_are_seen(self, tmp_path, row_group_rows):
        """On disk they are next to nothing."""
        found = size_of(repeated(tmp_path / "rows.parquet", 30_000, texts=9, row_group_rows=row_group_rows))
        assert found.most == pytest.approx(5_000, rel=0.02)
        assert 2_000 < found.usual < 5_000

    def test_a_later_row_group_with_larger_rows_is_seen(self, tmp_path):
        """The first ones are no measure."""
        texts = pa.array(["x"] * 900 + [str(number) * 1_000 for number in range(100)])
        table = event_rows(1_000).append_column("text", texts)
        found = size_of(write_rows(tmp_path / "rows.parquet", table, row_group_rows=100))
        assert found.most > 1_900
        assert found.usual < found.most / 2

    def test_of_some_columns(self, tmp_path):
        """Others take nothing, since they are not read."""
        file = repeated(tmp_path / "rows.parquet", 20_000, texts=9)
        rows = open_rows(file, transformer("lag").spec)
        assert rows.row_bytes(["entity", "amount"]).most < 40

    def test_places_that_are_looked_at(self):
        """The first and the last among them."""
        assert spread(0, 4) == []
        assert spread(1, 4) == [0]
        assert spread(3, 4) == [0, 1, 2]
        assert spread(1_000, 4) == [0, 333, 666, 999]


class TestChunks:
    """Rows that are larger than was expected."""

    def test_chunks_have_no_more_bytes_than_they_may(self):
        """Nor more rows; all rows come, in their order."""
        table = pa.table({"number": range(1_000), "text": ["x"] * 500 + ["x" * 100] * 500})
        budget = Budget(200, TINY.sort, batch_bytes=5_000)
        steps = [table.slice(start, 90) for start in range(0, 1_000, 90)]
        found = list(evened(iter(steps), budget))
        assert pa.concat_tables(found).equals(table)
        assert max(chunk.num_rows for chunk in found) == 200
        assert max(chunk.nbytes for chunk in found) < 2 * 5_000
        assert max(chunk.num_rows for chunk in found[-5:]) < 100

    def test_row_groups_are_as_small(self, tmp_path):
        """A chunk becomes one."""
        file = repeated(tmp_path / "rows.parquet", 2_000, texts=9, empty=1_000)
        budget = Budget(1_000, TINY.sort, batch_bytes=200_000)
        run_transformer(transformer("lag"), file, tmp_path / "f.parquet", budget=budget)
        metadata = pq.read_metadata(tmp_path / "f.parquet")
        sizes = [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)]
        assert sum(sizes) == 2_000
        assert min(sizes[1:-1]) >= 1
        assert max(sizes[len(sizes) // 2 :]) <= 80


class TestFit:
    """The sample of weights."""

    @pytest.mark.parametrize("rows", [1_000, 140_000])
    def test_some_columns_at_a_time_have_the_same_weights(self, tmp_path, monkeypatch, rows):
        """Down to one, where no more fit; no sample has more than may lie there."""
        from platform_assets.features import fitting

        table = credit_rows(rows)
        for number in range(5):
            table = table.append_column(
                f"more{number}", pa.array(np.roll(np.asarray(table["amount"]), number))
            )
        made = transformer("woe", columns=["amount", "home", *(f"more{number}" for number in range(5))])
        sizes, original = [], fitting._sample

        def sample(*said):
            found = original(*said)
            sizes.append(found.num_columns)
            return found

        monkeypatch.setattr(fitting, "_sample", sample)
        source = write_rows(tmp_path / "rows.parquet", table, row_group_rows=50_000)
        one = 9 * min(rows, 131_072)
        budget = Budget(50_000, SortBudget(run_bytes=4 * one))
        found = fit_rows(made, source, budget=budget)
        assert found.to_bytes() == fit(made.spec, table).to_bytes()
        assert sum(sizes) == 7
        assert max(sizes) <= 3


class TestLimits:
    """Limits that are too small, and why."""

    @pytest.fixture(autouse=True)
    def _nothing_besides(self, monkeypatch):
        """A process of tests has more in memory than a command."""
        monkeypatch.setattr("platform_assets.features.memory_budget.resident_bytes", lambda: 0)

    def test_rows_that_are_too_large(self):
        """Not so many of them fit that sorting is worth while; what is told to be enough is enough."""
        with pytest.raises(
            FeatureError, match=r"too small for big\.parquet: one row takes about 100\.0 kB"
        ) as caught:
            budget_for(500 * MB, 100_000, name="big.parquet")
        enough = float(str(caught.value).split("at least ")[1].split(" GB")[0])
        assert budget_for(int(1.1 * enough * 1e9), 100_000).batch_rows >= 16

    @pytest.mark.parametrize(
        ("limit", "row_bytes"), [(500, 5_000), (500, 20), (2_000, 100_000), (2_000, 1_000)]
    )
    def test_what_is_held_at_once_is_a_part_of_the_limit(self, limit, row_bytes):
        """Chunks, runs, and a block of each run that is merged."""
        found = budget_for(limit * MB, row_bytes)
        assert 16 * found.batch_rows * row_bytes < limit * MB
        assert 64 * found.sort.fewest_block_rows * row_bytes < limit * MB / 2

    def test_what_was_read_whole_is_told_apart_from_the_program(self, tmp_path):
        """The rows take it, and are named."""
        table = pa.table(
            {"entity": [1] * MB, "time": pa.array(range(MB), pa.timestamp("us")), "amount": [1.0] * MB}
        )
        rows = rows_of_table(pa.concat_tables([table] * 3).combine_chunks(), name="rows.csv")
        with pytest.raises(
            FeatureError, match=r"program itself takes about .*, and rows\.csv, which are read whole, 72"
        ):
            run_transformer(transformer("lag"), rows, tmp_path / "f.parquet", memory_limit_bytes=480 * MB)

    def test_files_that_are_read_whole_are_looked_at_before(self, tmp_path):
        """Large ones are refused by their size; those of Parquet are streamed."""
        for name in ("rows.csv", "rows.parquet"):
            with (tmp_path / name).open("wb") as stream:
                stream.truncate(600 * MB)
        refuse_too_large([tmp_path / "rows.parquet"], 500 * MB)
        with pytest.raises(FeatureError, match=r"rows\.csv: is read whole.*write it as Parquet"):
            refuse_too_large([tmp_path / "rows.csv"], 2_000 * MB)
        with pytest.raises(FeatureError, match=r"rows\.csv: is read whole"):
            run_transformer(transformer("lag"), tmp_path / "rows.csv", tmp_path / "f.parquet")


class TestWeights:
    """Bytes of each row, by its own values."""

    @pytest.mark.parametrize(
        ("values", "kind", "expected"),
        [
            (["", "abc", None], pa.string(), [8, 11, 8]),
            ([b"ab", None, b""], pa.large_binary(), [10, 8, 8]),
            ([[1, 2], None, []], pa.list_(pa.int32()), [16, 8, 8]),
            ([["ab", "c"], [], [None]], pa.large_list(pa.string()), [27, 8, 16]),
            ([[("a", 1)], None, []], pa.map_(pa.string(), pa.int16()), [19, 8, 8]),
            (
                [{"a": "xy", "b": 1}, None, {"a": "", "b": 2}],
                pa.struct({"a": pa.string(), "b": pa.int64()}),
                [18, 16, 16],
            ),
            (["{}", "[1]", None], pa.json_(), [10, 11, 8]),
        ],
    )
    def test_each_row_has_its_own(self, values, kind, expected):
        """Whatever chunks there are, and wherever they begin in memory."""
        column = pa.array(values, kind)
        chunks = pa.chunked_array([pa.concat_arrays([column, column]).slice(2, 3), column.slice(1)])
        assert row_weights(pa.table({"it": column})).tolist() == expected
        assert row_weights(pa.table({"it": chunks})).tolist() == [expected[2], *expected[:2], *expected[1:]]

    def test_columns_add_up(self):
        """Also those whose values take the same."""
        table = pa.table({"text": ["a", "bcd"], "number": [1, 2], "truth": [True, False]})
        assert row_weights(table).tolist() == [18, 20]

    def test_there_are_none_where_all_rows_are_alike(self):
        """Of numbers, vectors, objects of numbers, and dictionaries, whose values rows share."""
        vectors = pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float64(), 2))
        columns = {
            "vector": vectors,
            "object": [{"a": 1}, {"a": 2}],
            "category": pa.array(["a", "b"]).dictionary_encode(),
            "nothing": pa.nulls(2),
        }
        assert row_weights(pa.table(columns)) is None


WATCHER = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


def peak_of(folder, *arguments):
    """Bytes that a command of `features` had in memory at most, as the kernel has them, once it has ended well.

    Started by a small process: the kernel counts what lay in memory of whoever starts one, until it is another program.
    """
    watched = [sys.executable, "-c", WATCHER, *command("features", *map(str, arguments))]
    done = subprocess.run(watched, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, check=True)
    return int(done.stdout)


@pytest.mark.long
class TestPeaks:
    """Of processes, by the kernel's account, that may have 500 MB."""

    @pytest.mark.parametrize("ordered", [True, False])
    def test_texts_that_repeat(self, tmp_path, ordered):
        """Of half a gigabyte and more in memory, next to nothing on disk."""
        repeated(tmp_path / "rows.parquet", 150_000, texts=49, ordered=ordered)
        spec = write_transformer(tmp_path / "lag.yaml", "lag")
        arguments = (
            "run",
            spec,
            "--input",
            "rows.parquet",
            "--output",
            "f.parquet",
            "--memory-limit",
            "500MB",
        )
        assert peak_of(tmp_path, *arguments) <= 500 * MB

    def test_weights_of_hundreds_of_columns(self, tmp_path):
        """Whose samples together take 400 MB."""
        names = [f"column{number}" for number in range(400)]
        rng = np.random.default_rng(0)
        numbers, bad = rng.normal(size=140_000), rng.integers(0, 2, 140_000)
        schema = pa.schema([*((name, pa.float64()) for name in names), ("bad", pa.int64())])
        with pq.ParquetWriter(tmp_path / "rows.parquet", schema, use_dictionary=False) as writer:
            for start, stop in pairwise(range(0, 140_001, 10_000)):
                columns = dict.fromkeys(names, numbers[start:stop])
                writer.write_table(pa.table({**columns, "bad": bad[start:stop]}))
        spec = write_transformer(tmp_path / "woe.yaml", "woe", columns=names)
        arguments = (
            "fit",
            spec,
            "--input",
            "rows.parquet",
            "--output",
            "state.json",
            "--memory-limit",
            "500MB",
        )
        assert peak_of(tmp_path, *arguments) <= 500 * MB

    def test_an_explanation_of_rows_in_no_order(self, tmp_path):
        """Of which only what is looked at is sorted."""
        rng = np.random.default_rng(0)
        count = 6_000_000
        time = pa.array(rng.integers(0, 10**13, count), pa.timestamp("us"))
        values = {"amount": rng.normal(size=count), "other": rng.normal(size=count)}
        table = pa.table({"entity": rng.integers(0, 5_000, count), "time": time, **values})
        write_rows(tmp_path / "rows.parquet", table, row_group_rows=1 << 20)
        spec = write_transformer(tmp_path / "zscore.yaml", "zscore")
        assert (
            peak_of(tmp_path, "explain", spec, "--input", "rows.parquet", "--memory-limit", "500MB")
            <= 500 * MB
        )

    def test_large_rows(self, tmp_path):
        """A page of Parquet has a thousand of them."""
        rng = np.random.default_rng(0)
        table = event_rows(10_000).append_column(
            "text", pa.array([rng.bytes(15_000).hex() for _ in range(10_000)])
        )
        write_rows(tmp_path / "rows.parquet", table, row_group_rows=10_000)
        spec = write_transformer(tmp_path / "lag.yaml", "lag")
        arguments = (
            "run",
            spec,
            "--input",
            "rows.parquet",
            "--output",
            "f.parquet",
            "--memory-limit",
            "700MB",
        )
        assert peak_of(tmp_path, *arguments) <= 700 * MB

    def test_a_join_in_which_most_rows_have_the_same_large_feature(self, tmp_path):
        """Put behind all of them at once, it would take 20 GB; on disk it is there once for each row group."""
        rows = pa.table({"who": ["hot"] * 200_000, "time": pa.array([2] * 200_000, pa.timestamp("us"))})
        write_rows(tmp_path / "labels.parquet", rows)
        who, texts = ["hot", *map(str, range(50_000))], ["x" * 100_000, *["y"] * 50_000]
        time = pa.array([1] * 50_001, pa.timestamp("us"))
        write_rows(tmp_path / "features.parquet", pa.table({"who": who, "time": time, "text": texts}))
        arguments = ("join", "labels.parquet", "--entity", "who", "--time", "time")
        arguments += ("--features", "features.parquet", "--out", "joined.parquet", "--memory-limit", "500MB")
        assert peak_of(tmp_path, *arguments) <= 500 * MB
        assert pq.read_metadata(tmp_path / "joined.parquet").num_rows == 200_000

    def test_a_join_of_rows_in_no_order(self, tmp_path):
        """More label rows than fit at once, and more features; of which texts repeat, and take nothing on disk."""
        rng = np.random.default_rng(0)
        texts = pa.array([f"{number:04}" * 25 for number in range(100)])
        for name, seed, more in (("labels", 1, {}), ("features", 2, {"text": texts})):
            rows = np.random.default_rng(seed)
            schema = pa.schema(
                [("who", pa.string()), ("time", pa.timestamp("us")), *((each, pa.string()) for each in more)]
            )
            with pq.ParquetWriter(tmp_path / f"{name}.parquet", schema) as writer:
                for _ in range(10):
                    who = pc.binary_join_element_wise(
                        "customer", pa.array(rows.integers(0, 50_000, 400_000)).cast("string"), "-"
                    )
                    time = pa.array(rows.integers(0, 10**13, 400_000), pa.timestamp("us"))
                    values = {
                        each: of.take(pa.array(rng.integers(0, 100, 400_000))) for each, of in more.items()
                    }
                    writer.write_table(pa.table({"who": who, "time": time, **values}, schema=schema))
        arguments = (
            "join",
            "labels.parquet",
            "--entity",
            "who",
            "--time",
            "time",
            "--features",
            "features.parquet",
        )
        arguments += ("--out", "joined.parquet", "--memory-limit", "500MB")
        assert peak_of(tmp_path, *arguments) <= 500 * MB
        assert pq.read_metadata(tmp_path / "joined.parquet").num_rows == 4_000_000
