"""Reading never changes a value: tables of all types, written by several writers, are read back as they were."""

import csv
import io
import json
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from platform_assets.reading import csv_table
from platform_assets.reading.errors import ReadingError
from platform_assets.reading.forms import SEPARATORS
from platform_assets.reading.frames import to_frame
from platform_assets.reading.table import read_table
from tests.arrow_tables import tables

FEW, MANY = 30, 10_000
NAMES = st.lists(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=8),
    min_size=1, max_size=4, unique=True,
)  # fmt: skip
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=6) | st.sampled_from(
    ["NA", "null", "1e5", "007", " x ", '"', ',"', "a\nb", "a\r\nb", "\ufeff", "\u2028", "x" * 300]
)  # fmt: skip
JSON_LEAVES = {
    "integer": st.integers(-(2**63), 2**63 - 1),
    "unsigned": st.integers(0, 2**64 - 1),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "text": TEXT,
    "truth": st.booleans(),
    "list": st.lists(st.integers(-5, 5), max_size=3),
    "object": st.fixed_dictionaries({"k": st.integers(0, 2**53), "t": TEXT}),
}


def columns_of(leaf: st.SearchStrategy[Any], rows: int) -> st.SearchStrategy[list[Any]]:
    """Columns of this kind, with nulls."""
    return st.lists(st.none() | leaf, min_size=rows, max_size=rows)


@st.composite
def json_columns(draw: st.DrawFn) -> dict[str, list[Any]]:
    """Columns of JSON's types by name, one type a column."""
    rows = draw(st.integers(1, 6))
    return {
        name: draw(columns_of(JSON_LEAVES[draw(st.sampled_from(sorted(JSON_LEAVES)))], rows))
        for name in draw(NAMES)
    }


@st.composite
def text_columns(draw: st.DrawFn) -> dict[str, list[str | None]]:
    """Columns of texts by name; an empty one is a missing one."""
    rows = draw(st.integers(1, 6))
    return {name: draw(columns_of(TEXT.filter(bool), rows)) for name in draw(NAMES)}


def rows_of(columns: dict[str, list[Any]]) -> list[tuple[Any, ...]]:
    """The rows of these columns."""
    return list(zip(*columns.values(), strict=True))


def exactly(values: list[Any]) -> list[Any]:
    """What tells values apart that Python takes for equal: 1, 1.0 and True, 0.0 and -0.0."""
    return [
        sorted((key, exactly([each])) for key, each in value.items())
        if isinstance(value, dict)
        else (type(value), repr(value))
        for value in values
    ]


def csv_is_read_back(columns: dict[str, list[str | None]]) -> None:
    """By both writers, however they quote and end lines."""
    first = next(iter(columns))
    # A mark at its beginning is none of the text, and a line of blanks is no header.
    assume(not first.startswith("\ufeff") and (len(columns) > 1 or first.strip(" \t\r\n")))
    # One column may be taken for several that something else separates.
    assume(len(columns) > 1 or not set(SEPARATORS).intersection(first))
    # Python's writer leaves a carriage return alone where lines do not end in one.
    for quoting, end in ((csv.QUOTE_MINIMAL, "\r\n"), (csv.QUOTE_ALL, "\r\n"), (csv.QUOTE_ALL, "\n")):
        file = io.StringIO()
        writer = csv.writer(file, quoting=quoting, lineterminator=end)
        writer.writerow(columns)
        writer.writerows(rows_of(columns))
        assert read_table(file.getvalue().encode(), ".csv", name="file").to_pydict() == columns
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    written = io.BytesIO()
    pa_csv.write_csv(table, written, pa_csv.WriteOptions(quoting_style="needed"))
    # It writes a row of nothing but one missing field as a blank line, which no reader can tell from none.
    assume(len(columns) > 1 or None not in next(iter(columns.values())))
    assert read_table(written.getvalue(), ".csv", name="file").to_pydict() == columns


def json_is_read_back(columns: dict[str, list[Any]]) -> None:
    """By both writers, with escapes and without."""
    objects = [dict(zip(columns, row, strict=True)) for row in rows_of(columns)]
    for lines in (
        [json.dumps(each).encode() for each in objects],
        [json.dumps(each, ensure_ascii=False, separators=(",", ":")).encode() for each in objects],
        [orjson.dumps(each) for each in objects],
    ):
        found = read_table(b"\n".join(lines) + b"\n", ".jsonl", name="file").to_pydict()
        assert list(found) == list(columns)
        for name, values in columns.items():
            assert exactly(found[name]) == exactly(values)


def parquet_is_read_back(table: pa.Table, options: dict[str, Any]) -> None:
    """By pyarrow with these options, and by pandas from the frame of the table."""
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    assume(_pyarrow_reads(file))
    assume(not any(map(_holds_nul, table.to_pylist())))
    found = read_table(file.getvalue(), ".parquet", name="file")
    assert found.column_names == table.column_names
    for name in table.column_names:
        kind = IN_PARQUET.get(table[name].type, table[name].type)
        if not pa.types.is_nested(kind):
            assert found[name].equals(table[name].cast(kind))
        assert found[name].to_pylist() == table[name].to_pylist()
    flat = found.select([name for name in found.column_names if not pa.types.is_nested(found[name].type)])
    if flat.num_columns:
        file = io.BytesIO()
        to_frame(flat, name="file").to_parquet(file)
        again = read_table(file.getvalue(), ".parquet", name="file")
        for name in flat.column_names:
            assert again[name].cast(flat[name].type).equals(flat[name])


def _pyarrow_reads(file: io.BytesIO) -> bool:
    """Whether pyarrow reads what it has written: lists of a fixed size that are null it does not."""
    try:
        pq.ParquetFile(file).read()
    except pa.ArrowInvalid:
        return False
    return True


def _holds_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_nul, value.values()))
    return (
        any(map(_holds_nul, value)) if isinstance(value, list) else isinstance(value, str) and "\0" in value
    )


IN_PARQUET = {
    pa.date64(): pa.date32(),
    pa.time32("s"): pa.time32("ms"),
    pa.timestamp("s"): pa.timestamp("ms"),
}
"""What Parquet has no type for, and what its values are there."""
PARQUET = st.fixed_dictionaries(
    {
        "use_dictionary": st.booleans(),
        "data_page_version": st.sampled_from(["1.0", "2.0"]),
        "compression": st.sampled_from(["none", "snappy", "zstd"]),
        "row_group_size": st.integers(1, 4),
    }
)


def frame_is_exact(table: pa.Table) -> None:
    """Each cell of the frame is that of the table; nulls are missing."""
    frame = to_frame(table, name="file")
    assert list(frame.columns) == table.column_names
    for name in table.column_names:
        column, values = table[name], frame[name]
        assert values.isna().tolist() == column.is_null().to_pylist()
        wanted, found = column.drop_null(), values.dropna()
        if pa.types.is_temporal(column.type) and not pa.types.is_date(column.type):
            back = pa.array(found, from_pandas=True)
            assert pa.chunked_array([back]).cast(column.type).equals(wanted)
        else:
            assert exactly(plain(found.tolist())) == exactly(plain(wanted.to_pylist()))


def plain(value: Any) -> Any:
    """A value with lists for whatever is one."""
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def mutated(content: bytes, changes: list[tuple[int, bytes]]) -> bytes:
    """The content with these bytes put in at these places."""
    for at, inserted in changes:
        content = content[: at % (len(content) + 1)] + inserted + content[at % (len(content) + 1) :]
    return content


def parsers_agree(content: bytes) -> None:
    """What Arrow's parser reads, Python's reads alike; what Python's refuses, Arrow's does not read."""
    outcomes: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        for fast in (csv_table._read_fast, lambda content, header: None):
            patch.setattr(csv_table, "_read_fast", fast)
            try:
                table = csv_table.read_csv(content, name="file")
                outcomes.append((table.schema, table.to_pydict()))
            except ReadingError as problem:
                outcomes.append(str(problem))
    assert outcomes[0] == outcomes[1]


MUTATIONS = st.lists(
    st.tuples(
        st.integers(0, 200),
        st.sampled_from([b'"', b",", b"\n", b"\r", b'""', b" ", b"\xff", b"\0", b"\xef\xbb\xbf", b'"\n"']),
    ),
    max_size=3,
)


def lines_of(columns: dict[str, list[str | None]], *, end: str, every: bool) -> bytes:
    """A csv file of these columns."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator=end, quoting=csv.QUOTE_ALL if every else csv.QUOTE_MINIMAL)
    writer.writerow(columns)
    writer.writerows(rows_of(columns))
    return file.getvalue().encode()


@settings(max_examples=FEW)
@given(text_columns())
def test_csv_is_read_back(columns):
    """Texts of any kind, by Python's writer and by pyarrow's."""
    csv_is_read_back(columns)


@settings(max_examples=FEW)
@given(json_columns())
def test_json_lines_are_read_back(columns):
    """Whole numbers to 64 bits, floats to the last, texts, lists and objects, by Python's writer and by orjson."""
    json_is_read_back(columns)


@settings(max_examples=FEW)
@given(tables(min_rows=1), PARQUET)
def test_parquet_is_read_back(table, options):
    """Every type that Parquet has, whatever its pages look like, by pyarrow and by pandas."""
    parquet_is_read_back(table, options)


@settings(max_examples=FEW)
@given(tables())
def test_frames_are_exact(table):
    """What GE and the tasks see is what the table holds."""
    frame_is_exact(table)


@settings(max_examples=2 * FEW)
@given(text_columns(), MUTATIONS, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_both_parsers_of_csv_agree(columns, changes, end, every):
    """On good files and on broken ones: the fast one reads nothing that the strict one would not."""
    parsers_agree(mutated(lines_of(columns, end=end, every=every), changes))


@pytest.mark.long
@settings(max_examples=MANY)
@given(text_columns())
def test_csv_is_read_back_many_times(columns):
    """The same, often."""
    csv_is_read_back(columns)


@pytest.mark.long
@settings(max_examples=MANY)
@given(json_columns())
def test_json_lines_are_read_back_many_times(columns):
    """The same, often."""
    json_is_read_back(columns)


@pytest.mark.long
@settings(max_examples=MANY)
@given(tables(min_rows=1), PARQUET)
def test_parquet_is_read_back_many_times(table, options):
    """The same, often."""
    parquet_is_read_back(table, options)


@pytest.mark.long
@settings(max_examples=MANY)
@given(tables())
def test_frames_are_exact_many_times(table):
    """The same, often."""
    frame_is_exact(table)


@pytest.mark.long
@settings(max_examples=MANY)
@given(text_columns(), MUTATIONS, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_both_parsers_of_csv_agree_many_times(columns, changes, end, every):
    """The same, often."""
    parsers_agree(mutated(lines_of(columns, end=end, every=every), changes))
