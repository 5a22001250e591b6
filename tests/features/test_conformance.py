"""Every engine of transformers keeps the contract: one table, chunks, one row at a time, files within little memory."""

from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from platform_assets.features.engine import run_transformer
from platform_assets.features.transformer import fit, read_fitted
from platform_assets.features.window_columns import times_of
from platform_assets.features.windows import WindowStream
from tests.features.conformance import ROW, TransformerContract
from tests.features.transformers import TINY


def in_time(transformer, rows):
    """The rows by entity and time, as they may be streamed; those of one instant as they stand."""
    spec = transformer.spec
    times = times_of(rows[spec.timestamp_column], spec.timestamp_column)
    entities = rows[spec.entity_key].to_pylist()
    return rows.take(
        pa.array(sorted(range(rows.num_rows), key=lambda row: (entities[row], times[row])), pa.int64())
    )


def cut(rows, seed=0):
    """The rows in chunks of random sizes, empty ones among them."""
    rng = np.random.default_rng(seed)
    at = 0
    while at < rows.num_rows:
        size = int(rng.choice([0, 1, 2, 3, 20, 50]))
        yield rows.slice(at, size)
        at += size


def with_rows(features, rows):
    """Features, and the rows that they are of."""
    return features.append_column(ROW, rows[ROW])


class TestTable(TransformerContract):
    """All rows at once, and what was fitted has been bytes in between."""

    @pytest.fixture
    def engine(self):
        """`transform` of what `read_fitted` reads."""

        def engine(transformer, rows):
            fitted = read_fitted(fit(transformer.spec, rows).to_bytes())
            return with_rows(fitted.transform(rows), rows)

        return engine


class TestChunks(TransformerContract):
    """Rows in chunks of random sizes, the state saved and read between any two."""

    @pytest.fixture(params=["newest", "all"])
    def engine(self, request):
        """`WindowStream.process`, and `transform` of pieces."""

        def engine(transformer, rows):
            if transformer.spec.transformer_type == "woe":
                fitted = fit(transformer.spec, rows)
                parts = [with_rows(fitted.transform(chunk), chunk) for chunk in cut(rows)]
                return pa.concat_tables(parts)
            stream = WindowStream(transformer.spec, keep=request.param)
            waiting, parts = rows.slice(0, 0), [with_rows(stream.process(rows.slice(0, 0)), rows.slice(0, 0))]
            for chunk in [*cut(in_time(transformer, rows)), None]:
                waiting = waiting if chunk is None else pa.concat_tables([waiting, chunk])
                count = waiting.num_rows if chunk is None else stream.complete_rows(waiting)
                ready, waiting = waiting.slice(0, count), waiting.slice(count)
                parts.append(with_rows(stream.process(ready), ready))
                stream = WindowStream.from_bytes(transformer.spec, stream.to_bytes(), keep=request.param)
            return pa.concat_tables(parts)

        return engine


class TestOneAtATime(TransformerContract):
    """Rows as a server sees them; those of an instant together where they see each other."""

    @pytest.fixture
    def engine(self):
        """`update`."""
        return one_at_a_time


def one_at_a_time(transformer, rows):
    """The features, asked for row by row."""
    spec = transformer.spec
    names = list(spec.outputs.values())
    if spec.transformer_type == "woe":
        fitted = fit(spec, rows)
        parts = [
            with_rows(fitted.transform(rows.slice(at, 1)), rows.slice(at, 1)) for at in range(rows.num_rows)
        ]
        return pa.concat_tables(parts)
    rows = in_time(transformer, rows)
    times = times_of(rows[spec.timestamp_column], spec.timestamp_column).tolist()
    known = [()] * rows.num_rows
    if spec.available_column is not None:
        column = rows[spec.available_column]
        found = iter(times_of(column.drop_null(), spec.available_column).tolist())
        known = [(next(found) if valid else None,) for valid in column.is_valid().to_pylist()]
    entities = rows[spec.entity_key].to_pylist()
    values = list(
        zip(*([_float(value) for value in rows[name].to_pylist()] for name in spec.columns), strict=True)
    )
    stream = WindowStream(spec)
    sees_others = spec.transformer_type == "zscore" and spec.of_type().include_current
    answers = []
    at = 0
    while at < rows.num_rows:
        of_instant = range(at, at + (_alike(entities, times, at) if sees_others else 1))
        if sees_others:
            found = stream.process(rows.slice(at, len(of_instant)))
            answers += zip(*(found[name].to_pylist() for name in names), strict=True)
        else:
            answers.append(stream.update(entities[at], times[at], values[at], *known[at]))
        at = of_instant.stop
    columns = list(zip(*answers, strict=True)) or [()] * len(names)
    return with_rows(
        pa.table({name: pa.array(each, pa.float64()) for name, each in zip(names, columns, strict=True)}),
        rows,
    )


def _float(value):
    return None if value is None else float(value)


def _alike(entities, times, at):
    key, count = (entities[at], times[at]), 1
    while at + count < len(times) and (entities[at + count], times[at + count]) == key:
        count += 1
    return count


class TestFiles(TransformerContract):
    """A Parquet file through the local engine, in so little memory that rows are sorted on disk."""

    @pytest.fixture(params=[1, 2])
    def engine(self, request, tmp_path):
        """`run_transformer`."""
        return partial(through_files, tmp_path, threads=request.param)


def through_files(folder, transformer, rows, *, threads):
    """The features, by way of Parquet."""
    source, target = folder / "rows.parquet", folder / "features.parquet"
    pq.write_table(rows, source, row_group_size=50)
    run_transformer(transformer, source, target, threads=threads, budget=TINY)
    return pq.read_table(target)
