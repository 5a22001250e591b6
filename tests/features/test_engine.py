"""The local engine: what it writes, and what it refuses without leaving anything behind."""

import json
import os
import tempfile
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import hypothesis.strategies as st
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, reject, settings

from platform_assets.features.engine import fit_rows, fit_to_file, run_transformer
from platform_assets.features.errors import FeatureError
from platform_assets.features.external_sort import SortBudget
from platform_assets.features.file_form import METADATA_KEY
from platform_assets.features.file_output import whole_output
from platform_assets.features.memory_budget import Budget
from platform_assets.features.row_files import open_rows
from platform_assets.features.transformer import fit, kernel_version, read_fitted
from platform_assets.features.window_report import NO_ANSWER, NO_VALUE
from platform_assets.features.windows import WindowTransformer
from resources.outages import DiskFullError
from tests.arrow_tables import tables
from tests.features.transformers import (
    TINY,
    credit_rows,
    event_rows,
    in_order,
    left_beside,
    transformer,
    write_rows,
)


@pytest.fixture
def events(tmp_path):
    """A file of a thousand rows in no order."""
    return write_rows(tmp_path / "rows.parquet", event_rows())


def refused(made, source, target, match, **options):
    """That a run of it is refused in one sentence, and leaves nothing at all."""
    before = target.read_bytes() if target.is_file() else None
    with pytest.raises(FeatureError, match=match) as caught:
        run_transformer(made, source, target, **{"budget": TINY, **options})
    assert "\n" not in str(caught.value)
    if before is None:
        assert not target.is_file()
    else:
        assert target.read_bytes() == before
    if target.parent.is_dir():
        assert left_beside(target) == []
    return str(caught.value)


class TestOutput:
    """What is in the file."""

    @pytest.mark.parametrize("ordered", [True, False])
    def test_rows_come_out_by_entity_time_and_input_order(self, tmp_path, ordered):
        """All columns of the input, as they were, and the features behind them."""
        table = event_rows(ordered=ordered)
        source = write_rows(tmp_path / "rows.parquet", table)
        made = transformer("zscore")

        done = run_transformer(made, source, tmp_path / "features.parquet", budget=TINY)

        found, expected = pq.read_table(tmp_path / "features.parquet"), in_order(table)
        assert found.column_names == [*table.column_names, "amount_zscore"]
        assert found.schema.types[:-1] == table.schema.types
        for name in table.column_names:
            assert found[name].to_pylist() == expected[name].to_pylist()
        features = WindowTransformer(made.spec).transform(expected)["amount_zscore"]
        assert found["amount_zscore"].equals(features)
        assert (done.rows, done.sorting) == (1_000, "already sorted" if ordered else "on disk")
        missing = table["amount"].null_count
        assert done.nulls == {"amount_zscore": {NO_VALUE: missing, NO_ANSWER: features.null_count - missing}}
        assert (done.runs > 9) is not ordered

    def test_rows_of_woe_stay_in_their_order(self, tmp_path):
        """Fitted on the file itself where nothing is given."""
        table = credit_rows()
        source = write_rows(tmp_path / "rows.parquet", table)
        made = transformer("woe")

        done = run_transformer(made, source, tmp_path / "features.parquet", budget=TINY)

        found = pq.read_table(tmp_path / "features.parquet")
        assert found.select(table.column_names).equals(table)
        assert found.select(["amount_woe", "home_woe"]).equals(fit(made.spec, table).transform(table))
        assert done.sorting == "not needed"
        assert done.nulls == {"amount_woe": {}, "home_woe": {}}

    def test_what_was_fitted_on_other_rows_is_applied(self, tmp_path):
        """The weights are those of the rows that they were fitted to."""
        made = transformer("woe")
        fitted = fit(made.spec, credit_rows(seed=1))
        table = credit_rows(seed=2)
        source = write_rows(tmp_path / "rows.parquet", table)

        run_transformer(made, source, tmp_path / "features.parquet", fitted=fitted, budget=TINY)

        found = pq.read_table(tmp_path / "features.parquet", columns=["amount_woe", "home_woe"])
        assert found.equals(fitted.transform(table))

    def test_metadata_tells_what_made_it(self, tmp_path, events):
        """Name and spec of the transformer, version of the kernel, what was fitted; what stood there stays."""
        table = event_rows().replace_schema_metadata({"owner": "risk"})
        made = transformer("lag")
        run_transformer(made, write_rows(events, table), tmp_path / "features.parquet", budget=TINY)

        metadata = pq.read_schema(tmp_path / "features.parquet").metadata
        (told,) = json.loads(metadata[METADATA_KEY])
        assert metadata[b"owner"] == b"risk"
        assert (told["name"], told["kernel_version"]) == ("some_lag", kernel_version("lag"))
        assert told["spec"] == made.spec.normalised()
        assert len(told["fitted_sha256"]) == 64

    def test_metadata_names_each_transformer_in_turn(self, tmp_path, events):
        """Of features beside features; also where the first one was told alone, as an object."""
        run_transformer(transformer("zscore"), events, tmp_path / "z.parquet", budget=TINY)
        run_transformer(transformer("lag"), tmp_path / "z.parquet", tmp_path / "l.parquet", budget=TINY)
        told = json.loads(pq.read_schema(tmp_path / "l.parquet").metadata[METADATA_KEY])
        assert [each["name"] for each in told] == ["some_zscore", "some_lag"]

        write_rows(events, event_rows().replace_schema_metadata({METADATA_KEY: b'{"name": "first"}'}))
        run_transformer(transformer("lag"), events, tmp_path / "l.parquet", budget=TINY)
        told = json.loads(pq.read_schema(tmp_path / "l.parquet").metadata[METADATA_KEY])
        assert [each["name"] for each in told] == ["first", "some_lag"]

    @pytest.mark.parametrize("ordered", [True, False])
    def test_an_index_of_pandas_that_is_a_range_ends_with_the_order(self, tmp_path, ordered):
        """Where rows were sorted, it would name other ones; an index with values of its own stays."""
        frame = event_rows(ordered=ordered).to_pandas()
        frame.index = range(5_000, 7_000, 2)
        frame.to_parquet(tmp_path / "rows.parquet")
        made, target = transformer("lag"), tmp_path / "f.parquet"
        run_transformer(made, tmp_path / "rows.parquet", target, budget=TINY)
        found = pd.read_parquet(target)
        if ordered:
            assert list(found.index) == list(frame.index)
        else:
            assert list(found.index) == list(range(1_000))

        frame.index = pd.Index(range(1_000, 0, -1), name="sale")
        frame.reset_index().set_index("sale").to_parquet(tmp_path / "rows.parquet", index=True)
        run_transformer(made, tmp_path / "rows.parquet", target, budget=TINY)
        found = pd.read_parquet(target)
        assert found.index.name == "sale"
        assert (frame["number"].loc[found.index].to_numpy() == found["number"].to_numpy()).all()

    def test_codecs_and_dictionaries_are_those_of_the_source(self, tmp_path):
        """Inner columns among them; floats of the features have no dictionary."""
        table = event_rows().append_column("tags", pa.array([["some text"], ["another"]] * 500))
        table = table.append_column("pair", pa.array([{"text": "some text", "size": 0.5}] * 1_000))
        codecs = dict.fromkeys(["tags.list.element", "amount"], "zstd")
        pq.write_table(
            table,
            tmp_path / "rows.parquet",
            compression=dict.fromkeys(table.column_names, "gzip") | codecs,
        )
        run_transformer(
            transformer("lag"),
            tmp_path / "rows.parquet",
            tmp_path / "f.parquet",
            budget=Budget(1_000, TINY.sort),
        )
        group, source = (
            pq.ParquetFile(tmp_path / name).metadata.row_group(0) for name in ("f.parquet", "rows.parquet")
        )
        found = {group.column(at).path_in_schema: group.column(at) for at in range(group.num_columns)}
        for at in range(source.num_columns):
            leaf = source.column(at)
            assert found[leaf.path_in_schema].compression == leaf.compression
        assert found["amount_lag"].compression == "GZIP"
        with_dictionary = {name for name, leaf in found.items() if leaf.has_dictionary_page}
        assert {"tags.list.element", "pair.text", "note"} <= with_dictionary
        assert not {"pair.size", "amount", "amount_lag"} & with_dictionary

    def test_bytes_are_the_same_each_time(self, tmp_path, events):
        """Whatever the threads."""
        contents = set()
        for threads in (1, 2, 2):
            run_transformer(
                transformer("zscore"), events, tmp_path / "f.parquet", threads=threads, budget=TINY
            )
            contents.add((tmp_path / "f.parquet").read_bytes())
        assert len(contents) == 1

    def test_a_folder_of_files_is_read_by_their_names(self, tmp_path):
        """Hidden ones and those of other kinds are left out."""
        folder = tmp_path / "rows"
        folder.mkdir()
        table = event_rows(90)
        for name, start in (("b.parquet", 30), ("a.parquet", 0), ("c.PARQUET", 60)):
            write_rows(folder / name, table.slice(start, 30))
        (folder / "_SUCCESS").touch()
        (folder / ".old.parquet").write_text("no table")

        run_transformer(transformer("lag"), folder, tmp_path / "features.parquet", budget=TINY)

        found = pq.read_table(tmp_path / "features.parquet")
        assert found["number"].to_pylist() == in_order(table)["number"].to_pylist()

    def test_no_rows_become_no_rows(self, tmp_path):
        """A file with all columns; of woe with what was fitted before."""
        source = write_rows(tmp_path / "rows.parquet", event_rows().slice(0, 0))
        done = run_transformer(transformer("zscore"), source, tmp_path / "f.parquet")
        assert done.rows == 0
        assert pq.read_table(tmp_path / "f.parquet").num_rows == 0
        assert "amount_zscore" in pq.read_schema(tmp_path / "f.parquet").names

    def test_what_was_at_the_target_is_replaced(self, tmp_path, events):
        """Also through a link, which stays one."""
        (tmp_path / "real.parquet").write_text("old")
        (tmp_path / "link.parquet").symlink_to(tmp_path / "real.parquet")
        run_transformer(transformer("lag"), events, tmp_path / "link.parquet", budget=TINY)
        assert (tmp_path / "link.parquet").is_symlink()
        assert pq.read_table(tmp_path / "real.parquet").num_rows == 1_000

    def test_a_csv_file_has_types_where_they_are_needed(self, tmp_path):
        """Numbers and times that the transformer reads are such; what it does not read stays text."""
        (tmp_path / "rows.csv").write_text(
            "entity,time,amount,code\n"
            "7,2024-03-01T10:00:00,1.5,007\n7,2024-03-02T10:00:00,,008\n3,2024-03-01T10:00:00,2,009\n"
        )
        made = transformer("lag", lag={"rows": 1})
        run_transformer(made, tmp_path / "rows.csv", tmp_path / "f.parquet")
        found = pq.read_table(tmp_path / "f.parquet")
        assert found["entity"].to_pylist() == ["3", "7", "7"]
        assert found["amount_lag"].to_pylist() == [None, None, 1.5]
        assert found["code"].to_pylist() == ["009", "007", "008"]

    @pytest.mark.parametrize("ordered", [True, False])
    def test_texts_that_are_views(self, tmp_path, ordered):
        """As other programs write them: of entities, times and what passes through; they come out as large texts."""
        table = event_rows(ordered=ordered)
        times = pc.strftime(table["time"], "%Y-%m-%dT%H:%M:%S")
        texts = table["entity"].cast(pa.string())
        if ordered:
            table = table.take(
                pc.sort_indices(pa.table({"e": texts, "t": times}), [("e", "ascending"), ("t", "ascending")])
            )
            texts, times = table["entity"].cast(pa.string()), pc.strftime(table["time"], "%Y-%m-%dT%H:%M:%S")
        plain = pa.table({"entity": texts, "time": times, "amount": table["amount"], "note": texts})
        views = plain.cast(
            pa.schema(
                [
                    (each.name, pa.string_view() if each.name != "amount" else each.type)
                    for each in plain.schema
                ]
            )
        )
        note = views["note"].combine_chunks()
        lists = pa.ListArray.from_arrays(range(1_001), note)
        views = views.append_column("object", pa.StructArray.from_arrays([note], ["x"]))
        pairs = pa.MapArray.from_arrays(range(1_001), note.cast(pa.string()), note)
        views = views.append_column("list", lists).append_column("map", pairs)
        views = views.append_column("bytes", note.cast(pa.binary_view()))
        # In one group: Arrow cannot slice the objects.
        source = write_rows(tmp_path / "rows.parquet", views, row_group_rows=1_000)
        assert pq.read_schema(source).field("entity").type == pa.string_view()
        found = []
        for name in ("plain", "rows"):
            write_rows(tmp_path / "plain.parquet", plain)
            run_transformer(
                transformer("lag"), tmp_path / f"{name}.parquet", tmp_path / "f.parquet", budget=TINY
            )
            found.append(pq.read_table(tmp_path / "f.parquet"))
        notes = found[0]["note"].to_pylist()
        assert found[1]["list"].to_pylist() == [[note] for note in notes]
        assert found[1]["object"].to_pylist() == [{"x": note} for note in notes]
        assert found[1]["map"].to_pylist() == [[(note, note)] for note in notes]
        assert found[1]["bytes"].to_pylist() == [note.encode() for note in notes]
        assert found[1].drop_columns(["list", "map", "bytes", "object"]).to_pydict() == found[0].to_pydict()
        assert found[1]["entity"].type == pa.large_string()

    def test_null_in_a_later_file(self, tmp_path):
        """Where the first file of a folder allows none."""
        folder = tmp_path / "rows"
        folder.mkdir()
        rows = event_rows()
        firm = rows.append_column(pa.field("x", pa.int64(), nullable=False), pa.array(range(1_000)))
        loose = rows.append_column("x", pa.array([None] * 1_000, pa.int64()))
        for names in (("a", "b"), ("b", "a")):
            for name, table in zip(names, (firm, loose), strict=True):
                write_rows(folder / f"{name}.parquet", table)
            run_transformer(transformer("lag"), folder, tmp_path / "f.parquet", budget=TINY)
            found = pq.read_table(tmp_path / "f.parquet")
            assert (found.num_rows, found["x"].null_count) == (2_000, 1_000)

    def test_a_name_with_a_dot(self, tmp_path):
        """Beside an object whose field has the same path."""
        rows = event_rows().rename_columns(["entity", "time", "a.b", "note", "number"])
        rows = rows.append_column("a", pa.array([{"b": 1}] * 1_000))
        source = write_rows(tmp_path / "rows.parquet", rows)
        made = transformer("lag", columns=["a.b"])
        run_transformer(made, source, tmp_path / "f.parquet", budget=TINY)
        assert pq.read_table(tmp_path / "f.parquet")["a"].to_pylist() == [{"b": 1}] * 1_000
        (chunk,) = open_rows(source, made.spec).chunks(["a.b", "entity"], batch_rows=1_000)
        assert chunk.column_names == ["entity", "a.b"]

    def test_a_column_that_parquet_cannot_hold_is_refused(self, tmp_path):
        """As JSON Lines may have them."""
        (tmp_path / "rows.jsonl").write_text(
            '{"entity": 1, "time": "2024-03-01T10:00:00", "amount": 1, "x": 1}\n'
            '{"entity": 1, "time": "2024-03-02T10:00:00", "amount": 2, "x": "two"}\n'
        )
        refused(
            transformer("lag"),
            tmp_path / "rows.jsonl",
            tmp_path / "f.parquet",
            "column 'x' is of type dense_union",
        )

    @settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(others=tables(min_rows=1), data=st.data())
    def test_no_value_of_another_column_changes(self, tmp_path, others, data):
        """Of whatever type: nanoseconds, decimals, large integers, lists and structs, dictionaries, nulls."""
        count = others.num_rows
        keys = st.lists(st.integers(0, 2), min_size=count, max_size=count)
        entity, day = data.draw(keys), data.draw(keys)
        rows = others.append_column("entity", pa.array(entity, pa.int8()))
        rows = rows.append_column("time", pa.array([each * 86400 for each in day], pa.timestamp("s", "UTC")))
        rows = rows.append_column("amount", pa.array(range(count), pa.float64()))
        pq.write_table(rows, tmp_path / "rows.parquet", row_group_size=2, store_decimal_as_integer=False)
        try:
            stored = pq.read_table(tmp_path / "rows.parquet")
        except pa.ArrowInvalid:  # Arrow writes lists of a fixed size that are null, and does not read them
            reject()
        smallest = Budget(batch_rows=2, sort=SortBudget(run_bytes=1, fan_in=2, fewest_block_rows=1))

        run_transformer(
            transformer("lag"), tmp_path / "rows.parquet", tmp_path / "f.parquet", budget=smallest
        )

        order = sorted(range(count), key=lambda row: (entity[row], day[row]))
        found = pq.read_table(tmp_path / "f.parquet").drop_columns("amount_lag")
        assert found.schema.equals(stored.schema)
        assert found.to_pylist() == stored.take(pa.array(order, pa.int64())).to_pylist()

    def test_old_times_are_exact_or_refused(self, tmp_path):
        """INT96 is read to the nanosecond; what wraps around there is refused."""
        table = event_rows(50).append_column("noted", pa.array(range(50), pa.timestamp("ns")))
        pq.write_table(table, tmp_path / "rows.parquet", use_deprecated_int96_timestamps=True)
        run_transformer(transformer("lag"), tmp_path / "rows.parquet", tmp_path / "f.parquet", budget=TINY)
        found = pq.read_table(tmp_path / "f.parquet").sort_by("number")
        assert found["noted"].cast(pa.int64()).to_pylist() == list(range(50))

        early = pa.array([datetime(1500, 1, 1)] * 50, pa.timestamp("us"))  # noqa: DTZ001 - INT96 has no zone
        table = table.set_column(table.column_names.index("noted"), "noted", early)
        pq.write_table(table, tmp_path / "rows.parquet", use_deprecated_int96_timestamps=True)
        (tmp_path / "f.parquet").unlink()
        refused(
            transformer("lag"),
            tmp_path / "rows.parquet",
            tmp_path / "f.parquet",
            "'noted'.*outside 1677 to 2262",
        )

    def test_a_large_dictionary_is_counted_once(self, tmp_path):
        """Not for each row of the sample: else far too much room would be asked for."""
        names = pa.array([f"a name of some length, number {number}" for number in range(20_000)])
        rows = event_rows(40_000).drop_columns("note")
        plain = rows.append_column("name", pa.array(range(40_000), pa.int32()))
        coded = rows.append_column(
            "name", pa.DictionaryArray.from_arrays(pa.array(list(range(20_000)) * 2, pa.int32()), names)
        )
        sizes = [
            open_rows(
                write_rows(tmp_path / "rows.parquet", each, row_group_rows=40_000), transformer("lag").spec
            )
            .row_bytes()
            .most
            for each in (plain, coded)
        ]
        assert sizes[0] < sizes[1] < sizes[0] + 40


class TestFit:
    """Fitting on files."""

    def test_pieces_are_fitted_as_one_table(self, tmp_path):
        """More rows than the sample has: the state has the bytes of a fit on the whole table."""
        table = credit_rows(150_000)
        source = write_rows(tmp_path / "rows.parquet", table, row_group_rows=40_000)
        made = transformer("woe")
        budget = Budget(batch_rows=7_000, sort=TINY.sort)
        fitted = fit_rows(made, source, threads=2, budget=budget)
        assert fitted.to_bytes() == fit(made.spec, table).to_bytes()

    def test_the_state_is_a_whole_file(self, tmp_path):
        """Which `read_fitted` reads."""
        source = write_rows(tmp_path / "rows.parquet", credit_rows())
        fitted = fit_to_file(transformer("woe"), source, tmp_path / "state.json")
        assert read_fitted((tmp_path / "state.json").read_bytes()).to_bytes() == fitted.to_bytes()
        assert left_beside(tmp_path / "state.json") == []

    @pytest.mark.parametrize(
        ("rows", "match"),
        [
            (credit_rows().slice(0, 0), "has 0 rows"),
            (credit_rows().drop_columns("bad"), "has no column 'bad', only 'amount', 'home'"),
            (credit_rows().drop_columns("home"), "has no column 'home'"),
            (credit_rows().set_column(2, "bad", pa.array(range(1_000))), "target bad"),
            (credit_rows().set_column(2, "bad", pa.array([0] * 1_000)), "target bad"),
            (
                credit_rows().set_column(2, "bad", pa.array([0, None] * 500)),
                "target bad: 8 of 16 values are missing",
            ),
        ],
    )
    def test_rows_that_weights_cannot_be_fitted_to(self, tmp_path, rows, match):
        """Are refused by the name of the file, and there is no state."""
        source = write_rows(tmp_path / "rows.parquet", rows)
        message = refused(transformer("woe"), source, tmp_path / "f.parquet", match)
        assert message.startswith(str(source))
        with pytest.raises(FeatureError, match=match.replace("8 of 16", "500 of 1000")):
            fit_to_file(transformer("woe"), source, tmp_path / "state.json")
        assert not (tmp_path / "state.json").exists()
        assert left_beside(tmp_path / "state.json") == []


def without(name):
    """Rows that lack a column."""
    return event_rows().drop_columns(name)


def changed(name, column):
    """Rows with another column in the place of one."""
    rows = event_rows()
    return rows.set_column(rows.column_names.index(name), name, column)


def with_null(name, at):
    """Rows that lack some values."""
    values = event_rows()[name].to_pylist()
    return changed(
        name,
        pa.array(
            [None if row in at else value for row, value in enumerate(values)],
            event_rows().schema.field(name).type,
        ),
    )


@contextmanager
def of_nobody():
    """Without root's right to do all, if this is root."""
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(mine)


class TestRefusals:
    """Each is one sentence that says where and what to do; no file is left."""

    @pytest.mark.parametrize("ordered", [True, False])
    @pytest.mark.parametrize(
        ("rows", "match"),
        [
            (
                without("entity"),
                "rows.parquet: has no column 'entity', only 'time', 'amount', 'note', 'number'; correct",
            ),
            (without("time"), "has no column 'time'"),
            (without("amount"), "has no column 'amount'"),
            (with_null("entity", {41, 700}), r"column 'entity' is null in 2 rows \(first: row 42\)"),
            (with_null("time", {999}), r"column 'time' is null in 1 rows \(first: row 1,000\)"),
            (changed("time", pa.array(range(1_000))), "column time: is of type int64"),
            (changed("time", pa.array(["yesterday"] * 1_000)), "column time: .* texts are no time"),
            (changed("entity", pa.array([0.5] * 1_000)), "column entity: is of type double"),
            (changed("amount", pa.array(["much"] * 1_000)), "column amount: is of type string"),
            (
                changed("amount", pa.array([1.0] * 500 + [float("inf")] * 500)),
                "column amount: the value of row",
            ),
        ],
    )
    def test_rows_without_history(self, tmp_path, rows, match, ordered):
        """Columns and values that windows cannot be computed from."""
        if (
            ordered
            and {"entity", "time"} <= {*rows.column_names}
            and not rows["entity"].null_count + rows["time"].null_count
        ):
            rows = rows.sort_by([("entity", "ascending"), ("time", "ascending")])
        source = write_rows(tmp_path / "rows.parquet", rows)
        message = refused(transformer("zscore"), source, tmp_path / "f.parquet", match)
        assert message.startswith(str(source))
        for value in ("yesterday", "much", "inf"):
            assert value not in message.replace("infinite", "")

    def test_the_row_of_a_value_is_that_of_the_file(self, tmp_path):
        """Counted from the chunk that the message names, before anything is sorted."""
        source = write_rows(
            tmp_path / "rows.parquet", changed("amount", pa.array([1.0] * 500 + [float("inf")] * 500))
        )
        message = refused(transformer("zscore"), source, tmp_path / "f.parquet", "row")
        # 500 rows are 31 chunks of 16, and 4 more.
        assert "rows are counted from row 497 on" in message
        assert "the value of row 5 " in message

    def test_a_feature_that_is_there_already(self, tmp_path):
        """Neither is overwritten."""
        rows = event_rows().append_column("amount_lag", pa.array([0] * 1_000))
        refused(
            transformer("lag"),
            write_rows(tmp_path / "rows.parquet", rows),
            tmp_path / "f.parquet",
            "'amount_lag' already.*outputNames",
        )

    @pytest.mark.parametrize(
        ("content", "match"),
        [
            (b"", r"is empty \(0 bytes\)"),
            (b"PAR1", "cut off"),
            (b"a,b\n1,2\n", "is no parquet"),
            (b"\x1f\x8b0123456789", "compressed by gzip"),
            (b"PAR1" + bytes(100) + b"PAR1", "is damaged"),
        ],
    )
    def test_files_that_are_no_parquet(self, tmp_path, content, match):
        """Or none any more."""
        (tmp_path / "rows.parquet").write_bytes(content)
        refused(transformer("lag"), tmp_path / "rows.parquet", tmp_path / "f.parquet", match)

    def test_a_file_that_is_cut_off(self, tmp_path, events):
        """At any place."""
        content = events.read_bytes()
        for size in (len(content) - 1, len(content) // 2, 5):
            events.write_bytes(content[:size])
            refused(transformer("lag"), events, tmp_path / "f.parquet", "cut off")

    def test_a_file_that_is_damaged_within(self, tmp_path):
        """Only when its rows are read."""
        rows = event_rows(ordered=True)
        pq.write_table(
            rows,
            tmp_path / "rows.parquet",
            row_group_size=100,
            write_page_checksum=False,
            compression="snappy",
        )
        content = bytearray((tmp_path / "rows.parquet").read_bytes())
        content[len(content) // 3 : len(content) // 3 + 3_000] = bytes(3_000)
        (tmp_path / "rows.parquet").write_bytes(content)
        refused(
            transformer("lag"),
            tmp_path / "rows.parquet",
            tmp_path / "f.parquet",
            "rows.parquet: is damaged.*write it again",
        )

    def test_files_of_a_folder_that_differ(self, tmp_path):
        """Column and types are told."""
        folder = tmp_path / "rows"
        folder.mkdir()
        write_rows(folder / "a.parquet", event_rows())
        write_rows(folder / "b.parquet", changed("amount", pa.array(range(1_000))))
        refused(
            transformer("lag"),
            folder,
            tmp_path / "f.parquet",
            "b.parquet: column 'amount' is int64, and double in the file",
        )
        write_rows(folder / "b.parquet", without("note"))
        refused(
            transformer("lag"),
            folder,
            tmp_path / "f.parquet",
            "b.parquet: column 4 is 'number', and 'note' in",
        )

    @pytest.mark.parametrize("name", ["more/b.parquet", "b.pq", "b.parquet.gz", "notes.txt"])
    def test_a_folder_with_something_else(self, tmp_path, name):
        """Whose rows would be missing without a word; what begins with a dot or an underscore holds none."""
        folder = tmp_path / "rows"
        (folder / "_temporary").mkdir(parents=True)
        write_rows(folder / "a.parquet", event_rows())
        for about in ("_SUCCESS", ".a.parquet.crc"):
            (folder / about).write_text("x")
        made, target = transformer("lag"), tmp_path / "f.parquet"
        assert run_transformer(made, folder, target).rows == 1_000
        target.unlink()
        (folder / name).parent.mkdir(exist_ok=True)
        write_rows(folder / name, event_rows())
        refused(made, folder, target, f"holds '{name.partition('/')[0]}', which is .* would be left out")

    @pytest.mark.parametrize("kind", [pa.list_(pa.int64()), pa.struct([("x", pa.int64())]), pa.binary()])
    @pytest.mark.parametrize("name", ["entity", "time", "amount"])
    def test_types_are_looked_at_before_any_row_is(self, tmp_path, kind, name):
        """By the schema alone: a pass over the rows may take minutes."""
        values = {pa.list_(pa.int64()): [1], pa.binary(): b"x"}.get(kind, {"x": 1})
        source = write_rows(tmp_path / "rows.parquet", changed(name, pa.array([values] * 1_000, kind)))
        told = []
        refused(
            transformer("lag"),
            source,
            tmp_path / "f.parquet",
            f"column {name}: is of type {kind}".replace("item", "element"),
            on_progress=lambda *done: told.append(done),
        )
        assert all(done == 0 for _, done, _ in told)

    def test_a_layout_that_cannot_be_read_in_pieces(self, tmp_path):
        """It is sound, and is not called damaged."""
        names = pa.array(["a", "b"] * 500).dictionary_encode()
        rows = event_rows().append_column("name", pa.StructArray.from_arrays([names], ["s"]))
        pq.write_table(rows, tmp_path / "rows.parquet", row_group_size=300)
        refused(
            transformer("lag"),
            tmp_path / "rows.parquet",
            tmp_path / "f.parquet",
            "rows.parquet: has a column of a layout that cannot be read in pieces",
        )

    def test_sources_that_are_not_there(self, tmp_path):
        """Or hold nothing, or are of no known form."""
        made, target = transformer("lag"), tmp_path / "f.parquet"
        refused(made, tmp_path / "none.parquet", target, "none.parquet: no such file")
        (tmp_path / "empty").mkdir()
        refused(made, tmp_path / "empty", target, r"holds no file that ends in \.parquet")
        (tmp_path / "rows.xlsx").write_text("x")
        refused(made, tmp_path / "rows.xlsx", target, r"'\.xlsx' is unknown")
        (tmp_path / "rows.csv").write_text("")
        refused(made, tmp_path / "rows.csv", target, "is empty")

    def test_targets_that_cannot_be(self, tmp_path, events):
        """The input itself, a folder, a folder that is missing, a part of the input."""
        made = transformer("lag")
        refused(made, events, events, "is read and cannot be written")
        (tmp_path / "same.parquet").hardlink_to(events)
        refused(made, events, tmp_path / "same.parquet", "is read and cannot be written")
        refused(made, events, tmp_path / "missing" / "f.parquet", "its folder does not exist")
        (tmp_path / "folder").mkdir()
        refused(made, events, tmp_path / "folder", "is no ordinary file")
        inputs = tmp_path / "inputs"
        inputs.mkdir()
        write_rows(inputs / "rows.parquet", event_rows())
        refused(made, inputs, inputs / "f.parquet", "would be part of it next time")
        refused(made, events, tmp_path / "f.parquet", "no such folder", scratch=tmp_path / "nowhere")

    def test_a_target_where_no_file_can_be(self, events):
        """It is named, and not what is written on the way."""
        message = refused(
            transformer("lag"), events, Path("/proc/f.parquet"), "^/proc/f.parquet: cannot be made"
        )
        assert "incoming" not in message

    def test_what_may_not_be_read_or_written(self):
        """Folder or file is named."""
        with tempfile.TemporaryDirectory(prefix="platform-assets-permission-") as name:
            folder = Path(name)
            source = write_rows(folder / "rows.parquet", event_rows())
            folder.chmod(0o555)
            with of_nobody():
                refused(transformer("lag"), source, folder / "f.parquet", f"^{folder}: may not be written to")
            source.chmod(0o200)
            with of_nobody():
                refused(transformer("lag"), source, folder / "f.parquet", "rows.parquet: may not be read")
            folder.chmod(0o755)

    def test_memory_that_is_too_little(self, tmp_path, events):
        """How much would do is told."""
        refused(
            transformer("lag"),
            events,
            tmp_path / "f.parquet",
            "too small.*give at least",
            budget=None,
            memory_limit_bytes=10_000_000,
        )

    def test_another_run_of_the_same_target(self, tmp_path, events):
        """Neither disturbs the other."""
        target = tmp_path / "f.parquet"
        with whole_output(target) as first:
            first.incoming.write_text("first")
            with pytest.raises(FeatureError, match="another run is writing it"):
                run_transformer(transformer("lag"), events, target, budget=TINY)
            assert first.incoming.read_text() == "first"
        assert target.read_text() == "first"


class TestDisks:
    """Disks that are too small, and what killed runs leave on them."""

    def test_space_is_asked_for_before_anything_is_written(self, small_disk, tmp_path):
        """What is needed, what is there, and where."""
        disk = small_disk(1 << 18)
        source = write_rows(tmp_path / "rows.parquet", event_rows(50_000))
        message = refused(
            transformer("lag"),
            source,
            disk / "f.parquet",
            "not enough space: about .* MB in .* are needed, and .* kB are free",
        )
        assert str(disk) in message
        assert "rows that are sorted" in message

    def test_scratch_may_lie_elsewhere(self, small_disk, tmp_path):
        """What is sorted needs room there alone, and is gone in the end."""
        disk, scratch = small_disk(1 << 20), tmp_path / "scratch"
        scratch.mkdir()
        rows = event_rows(12_000).append_column("padding", pa.array(["x" * 200] * 12_000))
        source = write_rows(tmp_path / "rows.parquet", rows, row_group_rows=4_000)
        made, budget = (
            transformer("lag"),
            Budget(batch_rows=2_000, sort=SortBudget(run_bytes=400_000, fan_in=9)),
        )
        refused(made, source, disk / "f.parquet", "not enough space", budget=budget)
        done = run_transformer(made, source, disk / "f.parquet", scratch=scratch, budget=budget)
        assert done.sorting == "on disk"
        assert list(scratch.iterdir()) == []
        refused(made, source, tmp_path / "f.parquet", "not enough space", scratch=disk, budget=budget)

    @pytest.mark.parametrize("threads", [1, 2])
    def test_a_disk_that_becomes_full_leaves_what_was_there(self, small_disk, tmp_path, monkeypatch, threads):
        """Somebody else fills it meanwhile: the file of before stays, and nothing lies about."""
        disk = small_disk(1 << 18)
        source = write_rows(tmp_path / "rows.parquet", event_rows(40_000))
        (disk / "f.parquet").write_text("before")
        monkeypatch.setattr("platform_assets.features.engine.refuse_full_disk", lambda needs: None)
        with pytest.raises(DiskFullError, match="no space is left"):
            run_transformer(
                transformer("lag"),
                source,
                disk / "f.parquet",
                threads=threads,
                budget=Budget(5_000, TINY.sort),
            )
        assert (disk / "f.parquet").read_text() == "before"
        assert left_beside(disk / "f.parquet") == []

    def test_what_a_killed_run_left_is_removed_at_the_next_start(self, tmp_path, events):
        """Even where the next one is refused a moment later."""
        target = tmp_path / "f.parquet"
        with whole_output(target) as output:
            incoming, scratch = output.incoming, output.scratch
        target.unlink()
        for _ in range(2):
            incoming.write_text("half")
            scratch.mkdir()
            (scratch / "run-000000.arrows").write_text("half")
            run_transformer(transformer("lag"), events, target, budget=TINY)
            assert left_beside(target) == []
            assert not scratch.exists()
        assert pq.read_table(target).num_rows == 1_000
