"""One reader: what a file says is what the table holds, and whatever it cannot hold is named by row and column."""

import gzip
import io
import json
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from platform_assets.reading.errors import ReadingError
from platform_assets.reading.table import read_table

ORDERS = b"order_id,amount\no-1,1.5\no-2,3.0\n"
LINES = b'{"order_id": "o-1", "amount": 1.5}\n{"order_id": "o-2", "amount": 3.0}\n'
BOM = b"\xef\xbb\xbf"
IDS = [1497549923779084388, None, 1497549923779084389]


def read(content: bytes | str, suffix: str = ".csv") -> pa.Table:
    """The table of a file with this content."""
    return read_table(content.encode() if isinstance(content, str) else content, suffix, name="file")


def refusal(content: bytes | str, suffix: str = ".csv") -> ReadingError:
    """Why a file is refused; the sentence opens with its name."""
    with pytest.raises(ReadingError) as caught:
        read(content, suffix)
    assert str(caught.value).startswith("file: ")
    assert caught.value.__cause__ is None
    return caught.value


def said(content: bytes | str, suffix: str = ".csv") -> str:
    """The sentence without the name."""
    return str(refusal(content, suffix)).removeprefix("file: ")


def parquet(table: pa.Table | dict[str, Any], **options: Any) -> bytes:
    """A Parquet file of this table."""
    file = io.BytesIO()
    pq.write_table(pa.table(table), file, **options)
    return file.getvalue()


def broken_text(rows: int, at: int) -> pa.Array:
    """Texts of one letter, of which one is a byte of Latin-1."""
    letters = bytearray(b"a" * rows)
    letters[at] = 0xE9
    return pa.Array.from_buffers(
        pa.string(), rows, [None, pa.py_buffer(np.arange(rows + 1, dtype=np.int32)), pa.py_buffer(letters)]
    )


@pytest.mark.parametrize(
    "content",
    [
        BOM + ORDERS,
        BOM + ORDERS.replace(b"order_id", b'"order_id"'),
        ORDERS.replace(b"\n", b"\r\n"),
        ORDERS.replace(b"\n", b"\r"),
        ORDERS.replace(b"\n", b"\n\n") + b"\n\n",
        b"\n" + ORDERS.replace(b"\n", b"\n   \n"),
        ORDERS.removesuffix(b"\n"),
    ],
)
def test_forms_of_csv_that_are_read(content: bytes) -> None:
    """A mark before the text, other line ends and blank lines change nothing."""
    assert read(content, ".CSV").equals(read(ORDERS))


@pytest.mark.parametrize(
    "content",
    [
        BOM + LINES,
        LINES.replace(b"\n", b"\r\n"),
        LINES.replace(b"\n", b"\n\n") + b" \n\n",
        LINES.removesuffix(b"\n"),
    ],
)
def test_forms_of_json_lines_that_are_read(content: bytes) -> None:
    """Likewise; and a blank line is no row."""
    assert read(content, ".JSONL").equals(read(LINES, ".jsonl"))


@pytest.mark.parametrize(
    ("content", "suffix", "expected"),
    [
        (b"", ".csv", "is empty (0 rows)"),
        (BOM, ".csv", "is empty (0 rows)"),
        (ORDERS.decode().encode("utf-16"), ".csv", "is not UTF-8 text, it reads as utf-16; save it as UTF-8"),
        (ORDERS.decode().encode("utf-16-le"), ".csv", "is not UTF-8 text, it reads as utf-16le"),
        (ORDERS.decode().encode("utf-16-be"), ".csv", "is not UTF-8 text, it reads as utf-16be"),
        (LINES.decode().encode("utf-16"), ".jsonl", "is not UTF-8 text, it reads as utf-16"),
        (ORDERS.decode().encode("utf-32"), ".csv", "is not UTF-8 text, it reads as utf-32"),
        (gzip.compress(ORDERS, mtime=0), ".csv", "is no csv, it is compressed by gzip; unpack it"),
        (gzip.compress(LINES, mtime=0), ".jsonl", "is no jsonl, it is compressed by gzip"),
        (gzip.compress(ORDERS, mtime=0), ".parquet", "is no parquet, it is compressed by gzip"),
        (b"PK\x03\x04 sheet", ".csv", "is no csv, it is a zip archive, as spreadsheets are"),
        (b"BZh91AY&SY", ".csv", "is no csv, it is compressed by bzip2"),
        (parquet({"a": [1]}), ".csv", "is no csv, it is a Parquet file; give it the ending .parquet"),
        (ORDERS, ".parquet", "is no parquet, it is another file, or cut off"),
        (b"PAR1" + b"\0" * 20 + b"PAR1", ".parquet", "is no Parquet file that can be read: it is damaged"),
    ],
)
def test_other_forms_are_named(content: bytes, suffix: str, expected: str) -> None:
    """What a file is, where it is not what its ending says, is one sentence that says what to do."""
    assert said(content, suffix).startswith(expected)


@pytest.mark.parametrize(
    ("content", "row", "expected"),
    [
        ("a,b\n1,2\n3\n4,5\n", 2, "row 2 (line 3): has 1 field, and the header 2; "),
        ("a,b\n1,2\n\n3,4,5\n", 2, "row 2 (line 4): has 3 fields, and the header 2; "),
        ('a,b\n"1\n1",2\n3,4,"5,5"\n', 2, "row 2 (line 4): has 3 fields, and the header 2; "),
        ("a,b\n1,2,\n", 1, "row 1 (line 2): has 3 fields, and the header 2; "),
        ('a,b\n1,2\n3,"4\n5,6\n', 2, "row 2 (line 3): has a quoted field without an end; close it"),
        ('a,b\n1,"he said \\"no\\", twice"\n', 1, "row 1 (line 2): has a quote within a quoted field, and"),
        ('a,"b\n1,2\n', None, "the header has a quoted field without an end"),
        ("a,b\n1,2\nx\0,3\n", 2, "row 2, column 1: holds the character NUL, which is no text; remove it"),
        (b"a,b\n1,2\n3,\xe9\n", 2, "row 2 (line 3), column 2: is not UTF-8 text, the file reads as latin1; "),
        (b"a,b\n1,2\n3,\x80\n", 2, "row 2 (line 3), column 2: is not UTF-8 text, the file reads as cp1252; "),
        (b"a,b\n\xed\xa0\xbd,2\n", 1, "row 1 (line 2), column 1: is not UTF-8 text"),
        (b"a,\xe9\n1,2\n", None, "the name of column 2 is not UTF-8 text, the file reads as latin1"),
        ("a,b,a\n1,2,3\n", None, "columns 1 and 3 have one name; rename or remove one of them"),
        ("a,a.1,a\n1,2,3\n", None, "columns 1 and 3 have one name"),
        ("a,b\0\n1,2\n", None, "the name of column 2 holds the character NUL"),
    ],
)
def test_csv_that_is_no_table(content: bytes | str, row: int | None, expected: str) -> None:
    """Ragged rows, open quotes, other bytes and repeated names are told with row, line and column."""
    problem = refusal(content)
    assert str(problem).removeprefix("file: ").startswith(expected)
    assert problem.row == row


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("id;amount\n1;2,5\n\n2;3\n", "separates its columns by semicolons; save it with commas"),
        (BOM + b"id;text\r\n1;\xc3\xa9\r\n", "separates its columns by semicolons; save it with commas"),
        ('id;text\n1;"a;b, c"\n', "separates its columns by semicolons; save it with commas"),
        ("id\ttext\n1\ta, b\n", "separates its columns by tabs; save it with commas"),
        ("id|text\n1|a\n" * 9000, "separates its columns by bars; save it with commas"),
        ("sep=,\nid,a\n1,2\n", "begins with a line sep=',', which is for spreadsheets alone; remove it"),
        (
            BOM + b"sep=;\r\nid;a\r\n1;2\r\n",
            "begins with a line sep=';', which is for spreadsheets alone; remove it, and save it with commas",
        ),
    ],
)
def test_what_spreadsheets_save_is_named(content: bytes | str, expected: str) -> None:
    """Other separators, and the line that tells them."""
    assert said(content) == expected


@pytest.mark.parametrize(
    "content",
    [
        "text\na;b\nc;d\n",
        "text; all of it\na\nb;c\n",
        "text; all of it\na;b;c\nd;e\n",
        '"a;b"\n1;2\n',
        "sep=\n1\n",
    ],
)
def test_one_column_may_hold_separators(content: str) -> None:
    """Where its rows have not as many as its header, they are text."""
    assert read(content).num_columns == 1


def test_a_blank_before_a_quote_is_told() -> None:
    """The quote opens no field then, and the commas within separate."""
    problem = said('a,b\n1,2\n3, "4, 5"\n')
    assert problem == (
        "row 2 (line 3): has 3 fields, and the header 2; remove the blank before the quote, or it opens no quoted field"
    )


def test_texts_of_csv_stay_as_they_are() -> None:
    """Separators, quotes, blanks and words for nothing are text; only an empty field is missing."""
    long = "x" * 1_000_000
    table = read(f'a,b,c\n" one, ""two""\r\nthree ",NA,007\n"",5" pipe,{long}\n')
    assert table.to_pydict() == {
        "a": [' one, "two"\r\nthree ', None], "b": ["NA", '5" pipe'], "c": ["007", long],
    }  # fmt: skip


def test_columns_without_a_name_are_called_by_their_position() -> None:
    """As an index that was written without its name."""
    assert read(",a,\n0,1,2\n").column_names == ["Unnamed: 0", "a", "Unnamed: 2"]


def test_one_column_may_be_blank() -> None:
    """Where a row is one field, blanks are a value and an empty line is none."""
    assert read('a\n  \n\n""\nx\n')["a"].to_pylist() == ["  ", None, "x"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"a": 2, }', "is no JSON: a comma stands before a closing bracket, at character"),
        ('{"a": [2,]}', "is no JSON: a comma stands before a closing bracket"),
        ('{"a": ', "is no JSON: it ends in the middle"),
        ('{"a": "x', "is no JSON: a text is not closed"),
        ('{"a": "x\ty"}', "is no JSON: a control character stands unescaped in a text"),
        ("{'a': 2}", "is no JSON: it cannot go on as it does at character 2"),
        ('{"a": 2} {"a": 3}', "is no JSON: something stands behind its end"),
        ("[2]", "is JSON and no object; write one object a line"),
        ("nothing", "is no JSON"),
        ('{"a": 2, "b": 3, "a": 4}', "has the name 'a' twice in one object"),
        ('[{"b": 3, "b": 4}]', "has a name twice in one object"),
        ('{"\\ud83d": 1}', "has a name with half a surrogate pair"),
        ("[" * 100_000, "is nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "holds a number of thousands of digits"),
    ],
)
def test_a_line_that_is_no_object_is_named(line: str, expected: str) -> None:
    """By row and line, blank lines among the latter; it is never swallowed."""
    problem = refusal(f'{{"a": 1}}\n\n{line}\n{{"a": 3}}\n', ".jsonl")
    assert (problem.row, problem.line) == (2, 3)
    assert str(problem).removeprefix("file: row 2 (line 3): ").startswith(expected)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"t": "\\ud83d"}', "row 2 (line 2), column 't': holds half a surrogate pair"),
        ('{"t": {"u": ["\\udc00"]}}', "row 2 (line 2), column 't': holds half a surrogate pair"),
        ('{"t": "x\\u0000"}', "row 2, column 't': holds the character NUL"),
        ('{"t": ["x\\u0000"]}', "row 2, column 't': holds the character NUL"),
        ('{"t": {"u": [null, {"v": "x\\u0000"}, 1]}}', "row 2, column 't': holds the character NUL"),
        ('{"t": {"x\\u0000": 1}}', "row 2, column 't': holds the character NUL"),
        ('{"t": ' + "9" * 77 + "}", "row 2 (line 2), column 't': holds numbers of 77 digits"),
        ('{"t": 1e400}', "row 2 (line 2), column 't': holds numbers of 401 digits"),
    ],
)
def test_values_that_no_table_holds_are_named(line: str, expected: str) -> None:
    """By row and column."""
    assert said('{"t": null}\n' + line + "\n", ".jsonl").startswith(expected)


def test_bytes_of_another_encoding_in_json_are_named() -> None:
    """By the row, with what the file reads as."""
    expected = "row 2 (line 2): is not UTF-8 text, it reads as latin1; save it as UTF-8"
    assert said(b'{"t": "a"}\n{"t": "\xe9"}\n', ".jsonl") == expected


def test_whole_emoji_are_text() -> None:
    """Both halves of a pair, as many writers escape them."""
    assert read(r'{"t": "\ud83d\udc69"}', ".jsonl")["t"].to_pylist() == ["👩"]


@pytest.mark.parametrize(
    ("literals", "kind", "values"),
    [
        (["1", "null", "-2"], pa.int64(), [1, None, -2]),
        ([str(IDS[0]), "null", str(IDS[2])], pa.int64(), IDS),
        ([str(2**64 - 1), "0"], pa.uint64(), [2**64 - 1, 0]),
        ([str(2**64), "-1"], pa.decimal128(20, 0), [Decimal(2**64), Decimal(-1)]),
        (["1" * 70], pa.decimal256(70, 0), [Decimal("1" * 70)]),
        (["1", "2.5"], pa.float64(), [1.0, 2.5]),
        (["0.1", "5e-324", "1e300", "-0.0"], pa.float64(), [0.1, 5e-324, 1e300, -0.0]),
        (["0.10000000000000001", "0.30000000000000004"], pa.float64(), [0.1, 0.1 + 0.2]),
        # Exactly in the middle of two spellings of so many digits.
        (["5.960464477539063e-8"], pa.float64(), [2.0**-24]),
        ([str(IDS[0]), "0.5"], pa.decimal128(20, 1), [Decimal(1497549923779084388), Decimal("0.5")]),
        (["0.1234567890123456789", "1"], pa.decimal128(20, 19), [Decimal("0.1234567890123456789"), 1]),
        (
            ["3950878111211.4712", "0.1234567890123456789"],
            pa.decimal128(32, 19),
            [Decimal("3950878111211.4712"), Decimal("0.1234567890123456789")],
        ),
        (["3950878111211.4712"], pa.float64(), [3950878111211.4712]),
        (["9007199254740993.5"], pa.decimal128(17, 1), [Decimal("9007199254740993.5")]),
        (["true", "null"], pa.bool_(), [True, None]),
        (["null", "null"], pa.null(), [None, None]),
        (['"2026-01-01"', '"007"'], pa.string(), ["2026-01-01", "007"]),
    ],
)
def test_a_column_of_json_has_the_type_that_holds_all_of_it(
    literals: list[str], kind: pa.DataType, values: list[Any]
) -> None:
    """Whole numbers keep every digit, others are floats where a float prints so, and decimals where none does."""
    column = read("".join(f'{{"v": {literal}}}\n' for literal in literals), ".jsonl")["v"]
    assert column.type == kind
    assert column.to_pylist() == values


@pytest.mark.parametrize(
    "values",
    [
        [1, "1", None, True, 1.5],
        [{"a": 1, "b": "x"}, {"a": None, "b": None}, None],
        [[1, 2], [], None, ["x"]],
        [[[2**63]], [[]]],
        [{}, None],
    ],
)
def test_values_of_several_types_are_kept(values: list[Any]) -> None:
    """Each as it is, types within lists and objects included."""
    content = "".join(json.dumps({"v": value}) + "\n" for value in values)
    found = read(content, ".jsonl")["v"].to_pylist()
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@pytest.mark.parametrize(
    "value",
    [
        lambda row: {"m": {f"u{row}": 1}},
        lambda row: {f"u{row}": 1},
        lambda row: {"m": [{f"u{row}": "x"}]},
        lambda row: {"m": {f"u{row}": 1} if row % 50 else row},
        lambda row: {"m": {"a": {"b": {f"u{row}": 1}}}},
        lambda row: {"m": {f"u{row}-{each}": 1 for each in range(100)}},
    ],
)
def test_names_that_are_data_are_refused(value: Callable[[int], Any]) -> None:
    """Names such as ids, new ones in every object, would make a table of the square of what the file takes."""
    content = "".join(json.dumps(value(row)) + "\n" for row in range(2100))
    problem = refusal(content, ".jsonl")
    assert problem.row is not None
    assert "different names in " in problem.reason
    assert problem.reason.endswith("objects; write them as a list of keys and values")
    assert "u1" not in str(problem)


def test_wide_tables_are_read() -> None:
    """Many names are no fault where most rows have most of them, or where there are few rows."""
    wide = {f"c{at}": at for at in range(10_000)}
    table = read(f'{{"m": {json.dumps(wide)}}}\n{json.dumps(wide)}\n{{"c3": 7}}\n', ".jsonl")
    assert (table.num_columns, table["c3"].to_pylist()) == (10_001, [None, 3, 7])
    assert table["m"].to_pylist() == [wide, None, None]


@pytest.mark.parametrize(
    "values",
    [
        [{"a": 1}, {"b": "x"}, None, {}, {"a": 2**63, "b": None, "c": [1]}, {"c": [None, 0.5]}],
        [[{"a": 1}], None, [], [{"a": None}, None, {"b": {"c": 1}}], [{"b": {"d": "x"}}], [[]]],
        [{"a": {"b": 1}}, {"a": None}, {"a": {"b": "x"}}, {"a": 1}],
        [[], [[1]], [[]], [["x", None]], None, [None]],
        [1, None, {"a": 1}, {"b": 1}, [1], ["x"]],
        [None, {}, None, {"c": []}, None, {"c": {"b": {"c": None}}}],
    ],
)
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_batches_are_joined_as_if_they_were_one(
    monkeypatch: pytest.MonkeyPatch, values: list[Any], rows: int
) -> None:
    """Where types differ within objects and lists, too; the bounds of batches are nowhere in the table."""
    content = "".join(json.dumps({"v": value}) + "\n" for value in values)
    whole = read(content, ".jsonl")
    monkeypatch.setattr("platform_assets.reading.json_table._BATCH_ROWS", rows)
    found = read(content, ".jsonl")
    assert found.schema == whole.schema
    assert found.to_pydict() == whole.to_pydict()


@pytest.fixture
def usual_stack() -> Iterator[None]:
    """As deep as Python's own; hypothesis may have left a deeper one behind."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.usefixtures("usual_stack")
@pytest.mark.parametrize("depth", [350, 400, 450])
@pytest.mark.parametrize(("opening", "closing"), [('{"a": ', "}"), ("[", "]")])
def test_depth_is_no_crash(monkeypatch: pytest.MonkeyPatch, depth: int, opening: str, closing: str) -> None:
    """It is one sentence, wherever the stack ends."""
    monkeypatch.setattr("platform_assets.reading.json_table._BATCH_ROWS", 1)
    line = f'{{"v": {opening * depth}%s{closing * depth}}}\n'
    assert said(line % 1 + line % '"x"', ".jsonl").endswith("is nested too deeply to be read")


def test_long_numbers_within_lists_are_told_by_their_row() -> None:
    """Not by their place in the list."""
    content = '{"v": [1, 2, 3]}\n{"v": "x"}\n{"v": [4, [5, %s]]}\n' % ("9" * 77)
    assert said(content, ".jsonl").startswith("row 3 (line 3), column 'v': holds numbers of 77 digits")


def test_types_are_told_from_the_whole_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from its beginning: what comes later counts as much, and names that come later are missing before."""
    monkeypatch.setattr("platform_assets.reading.json_table._BATCH_ROWS", 2)
    lines = ["{}", '{"a": 1}', '{"a": 2}', '{"a": 3, "b": "x"}', '{"a": 0.5}', f'{{"a": {IDS[0]}}}']
    table = read("\n".join(lines), ".jsonl")
    assert table["a"].to_pylist() == [None, 1, 2, 3, Decimal("0.5"), IDS[0]]
    assert table["b"].to_pylist() == [None, None, None, "x", None, None]


def test_digits_of_one_column_are_no_matter_of_another() -> None:
    """Where one needs decimals, floats beside it that no decimal holds stay floats."""
    content = '{"a": 1e300, "b": 0.5}\n{"a": 0.5, "b": 0.1234567890123456789}\n'
    assert read(content, ".jsonl").to_pydict() == {
        "a": [1e300, 0.5],
        "b": [Decimal("0.5"), Decimal("0.1234567890123456789")],
    }


def test_infinities_that_python_writes_are_read() -> None:
    """Python's own writer writes them into data, though JSON does not have them."""
    content = "".join(
        json.dumps({"v": value}) + "\n" for value in (float("inf"), float("-inf"), float("nan"))
    )
    found = read(content, ".jsonl")["v"].to_pylist()
    assert found[:2] == [float("inf"), float("-inf")]
    assert found[2] != found[2]


def test_notes_of_pandas_are_no_schema() -> None:
    """An index is columns like others, in front, where it stood; its file equals one without."""
    frame = pa.table({"id": ["a", "b"], "day": [1, 2], "amount": [1.5, 2.5]}).to_pandas()
    plain = read(parquet(pa.table(frame)), ".parquet")
    for index in ("id", ["id", "day"]):
        assert read(frame_file(frame.set_index(index)), ".parquet").equals(plain)
    extra = read(frame_file(frame.set_index([[7, 8]], append=True)), ".parquet")
    assert extra.column_names == ["__index_level_1__", "id", "day", "amount"]


def frame_file(frame: Any) -> bytes:
    """A Parquet file as pandas writes it."""
    file = io.BytesIO()
    frame.to_parquet(file)
    return file.getvalue()


def test_encodings_are_no_types() -> None:
    """Dictionaries, views and types of extensions are read as the values that they stand for."""
    table = pa.table(
        {
            "dictionary": pa.array(["a", None, "a"]).dictionary_encode(),
            "view": pa.array(["a", None, "b"], pa.string_view()),
            "list": pa.array([["a"], None, []], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
            "json": pa.array(["{}", None, "[]"], pa.json_(pa.string())),
        }
    )
    found = read(parquet(table), ".parquet")
    assert found.to_pydict() == table.to_pydict()
    kinds = [pa.string(), pa.large_string(), pa.list_(pa.string()), pa.string()]
    assert found.schema.types == kinds


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"t": broken_text(1000, 777)}, "row 778, column 't': holds bytes that are no UTF-8 text"),
        (
            {"t": pa.StructArray.from_arrays([broken_text(1000, 777)], ["u"])},
            "row 778, column 't': holds bytes that are no UTF-8 text",
        ),
        ({"t": pa.array(["a", "b\0", None])}, "row 2, column 't': holds the character NUL"),
        ({"t": pa.array([["a"], ["b\0"]])}, "row 2, column 't': holds the character NUL"),
        (
            pa.table([pa.array([1]), pa.array([2]), pa.array(["x"])], names=["id", "value", "value"]),
            "columns 2 and 3 have one name 'value'; rename or remove one of them",
        ),
    ],
)
def test_parquet_that_is_refused(table: Any, expected: str) -> None:
    """Texts that are none and repeated names are told; nothing is repaired."""
    assert said(parquet(table), ".parquet").startswith(expected)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (pa.map_(pa.string(), pa.int8()), [[("a", 1)], None, []], [("b", 1), ("c\0", 2)]),
        (pa.map_(pa.int8(), pa.string()), [[(1, "a")], None, []], [(1, "b\0")]),
        (pa.list_(pa.string(), 2), [["a", "b"], ["c", None]], ["c", "d\0"]),
        (pa.large_list(pa.struct({"a": pa.int8(), "b": pa.large_string()})), [[], [None]], [{"b": "\0"}]),
        (pa.struct({"a": pa.struct({"b": pa.string()})}), [{"a": None}, None], {"a": {"b": "\0"}}),
    ],
)
def test_nul_is_told_wherever_it_is(kind: pa.DataType, good: list[Any], bad: Any) -> None:
    """In keys and in values, by the first of the rows, and never where there is none."""
    assert read(parquet({"v": pa.array(good * 3, kind)}), ".parquet")["v"].to_pylist() == good * 3
    found = said(parquet({"v": pa.array([*good, bad, *good, bad], kind)}), ".parquet")
    assert found.startswith(f"row {len(good) + 1}, column 'v': holds the character NUL")


def test_only_texts_are_looked_at_as_texts() -> None:
    """What else is within lists and objects is no matter of theirs, not even a year that Python does not have."""
    times = pa.array([[0, 2**62]], pa.list_(pa.int64())).cast(pa.list_(pa.timestamp("us")))
    table = pa.table({"t": times, "u": pa.StructArray.from_arrays([times, pa.array(["x"])], ["at", "text"])})
    assert read(parquet(table), ".parquet").equals(table)


def test_old_times_are_read_exactly() -> None:
    """INT96 counts nanoseconds, which wrap around beyond 2262: then they are microseconds, unless digits were lost."""
    far = [-62_135_596_800_000_000, None, 253_402_300_799_999_999]
    times = pa.array(far, pa.int64()).cast(pa.timestamp("us"))
    old = {"use_deprecated_int96_timestamps": True}
    assert read(parquet({"at": times}, **old), ".parquet")["at"].cast(pa.int64()).to_pylist() == far
    near = pa.array([-1, None, 1_577_836_800_000_000_123], pa.int64()).cast(pa.timestamp("ns"))
    assert read(parquet({"at": near}, **old), ".parquet")["at"].combine_chunks().equals(near)
