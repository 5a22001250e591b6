"""Subjects: two of them are never taken for one, and one is found again however its id was stored."""

import decimal
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_assets.governance.errors import SubjectError
from platform_assets.governance.subject_columns import about_others, as_object, ids_of, subject_of
from platform_assets.governance.subjects import Subject, hash_of, id_text
from resources.row_salt import salted_hash

SALT = b"a salt of the tests"
REVIEW_ID = "3f" * 32
namespaces = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
subjects = st.builds(Subject, namespaces, ids)


# --- Names ---------------------------------------------------------------------------------------------


@given(subjects)
def test_a_subject_is_what_its_text_says(subject):
    """Whatever the id holds, colons and blanks included."""
    assert Subject.parse(str(subject)) == subject


def test_the_id_is_all_behind_the_first_colon():
    """Ids may have colons of their own; 64 hexadecimal digits alone are a review."""
    assert Subject.parse("visit:2026:17") == Subject("visit", "2026:17")
    assert Subject.parse(REVIEW_ID) == Subject("review", REVIEW_ID)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("4711", r"no namespace, .* write namespace:id, e\.g\. applicant:4711"),
        (REVIEW_ID.upper(), "no namespace"),
        ("", "no namespace"),
        ("applicant:", "applicant has a blank id"),
        ("applicant: \t", "applicant has a blank id"),
        (":4711", "'' is no namespace"),
        ("Applicant:4711", "'Applicant' is no namespace"),
        ("4applicant:4711", "'4applicant' is no namespace"),
        ("applicant\n:4711", "is no namespace"),
        ("applicant:\udcff", "is no valid text"),
    ],
)
def test_what_names_no_subject_is_refused(text, problem):
    """One message says what to write."""
    with pytest.raises(SubjectError, match=problem):
        Subject.parse(text)


# --- Hashes --------------------------------------------------------------------------------------------


@given(ids)
def test_a_review_is_hashed_as_it_always_was(subject_id):
    """Over its bare id: what earlier versions have recorded stays true."""
    assert Subject("review", subject_id).hashed(SALT) == salted_hash(SALT, subject_id.encode())


@given(subjects, subjects)
def test_two_subjects_have_two_hashes(one, other):
    """Neither the namespace nor the id may be lost on the way."""
    assert (one.hashed(SALT) == other.hashed(SALT)) == (one == other)


@given(namespaces.filter(lambda each: each != "review"), ids)
def test_no_review_has_the_hash_of_another_namespace(namespace, subject_id):
    """Not even one whose id is the other's whole name."""
    other = Subject(namespace, subject_id)
    assert other.hashed(SALT) not in {
        hash_of("review", text, SALT) for text in (subject_id, str(other), f"\xff{other}")
    }


# --- Ids -----------------------------------------------------------------------------------------------

COLUMNS = [
    pa.array(["4711", None, "04711"]),
    pa.array(["4711", None, "04711"], pa.large_string()),
    pa.array(["4711", None, "04711"]).dictionary_encode(),
    pa.array([4711, None, 4712], pa.int32()),
    pa.array([4711, None, 4712], pa.uint64()),
    pa.array([4711, None, 4712]).dictionary_encode(),
    pa.array([4711.0, float("nan"), 4712.0]),
    pa.array([4711.0, None, 4712.0], pa.float32()),
    pa.array([decimal.Decimal("4711.00"), None, decimal.Decimal("4712.00")]),
]


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: str(column.type))
def test_an_id_is_the_same_whatever_its_column_holds(column):
    """Compared as texts: 4711 is "4711", "04711" is not, and a missing value is nobody."""
    assert about_others(pa.chunked_array([column]), ("4711", "its hash")).to_pylist() == [False, True, True]


@given(st.lists(st.none() | st.integers(-(2**53) + 1, 2**53 - 1), min_size=1))
def test_whole_numbers_survive_as_floats(numbers):
    """A missing neighbour makes floats of them in pandas; no point, no exponent comes of it, one by one or as a column."""
    wanted = [None if each is None else str(each) for each in numbers]
    floats = [float("nan") if each is None else float(each) for each in numbers]
    assert [id_text(each) for each in numbers] == wanted
    assert [id_text(each) for each in floats] == wanted
    assert ids_of(pa.chunked_array([pa.array(floats, pa.float64())])).to_pylist() == wanted
    assert ids_of(pa.chunked_array([pa.array(numbers, pa.int64())])).to_pylist() == wanted


@pytest.mark.parametrize(
    "column",
    [
        pa.array([4711.5]),
        pa.array([2.0**53]),
        pa.array([float("inf")]),
        pa.array([decimal.Decimal("4711.5")]),
        pa.array([b"4711"]),
        pa.array([True]),
        pa.array([["4711"]]),
    ],
    ids=lambda column: f"{column.type} {column[0]}",
)
def test_what_can_be_no_id_is_refused(column):
    """Nobody could say whom such a row is about, so it must not be passed over."""
    with pytest.raises(SubjectError, match="use texts or whole numbers"):
        ids_of(pa.chunked_array([column]))
    with pytest.raises(SubjectError, match="use texts or whole numbers"):
        id_text(column[0].as_py())


# --- Tables as objects ---------------------------------------------------------------------------------


def test_a_stored_table_says_whose_rows_it_holds():
    """In its schema, beside what was there; its rows are as they were."""
    table = pa.table({"applicant:id": [4711, 4712]}).replace_schema_metadata({"made-by": "test"})
    content = as_object(table, namespace="applicant", column="applicant:id")
    read = pq.read_table(io.BytesIO(content))
    assert read.schema.metadata == {b"made-by": b"test", b"platform.subject": b"applicant:applicant:id"}
    assert read.equals(table)
    assert str(subject_of(content)) == str(subject_of(read.schema)) == "applicant:applicant:id"
    assert (subject_of(content).namespace, subject_of(content).column) == ("applicant", "applicant:id")
    assert subject_of(table.schema) is None


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (
            {"column": "patient_id"},
            "no column 'patient_id' that could name its applicant subjects; it has id, score",
        ),
        ({"namespace": "An applicant"}, "is no namespace"),
        ({"column": "score"}, "numbers with a fraction cannot be ids"),
    ],
)
def test_a_table_that_could_not_be_searched_is_not_stored(given, problem):
    """What an erasure would stumble over is refused before it is written."""
    with pytest.raises(SubjectError, match=problem):
        as_object(pa.table({"id": [1], "score": [0.5]}), **{"namespace": "applicant", "column": "id"} | given)


@pytest.mark.parametrize("told", ["applicant", "applicant:", "An applicant:id"])
def test_a_declaration_that_says_nothing_is_an_error(told):
    """It is not taken for none: the table holds rows about somebody."""
    with pytest.raises(SubjectError):
        subject_of(pa.schema([("id", pa.int64())], metadata={"platform.subject": told}))
