"""A stranger's file is read, or one sentence says what is wrong with it and what to do."""

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from platform_assets.datasets.errors import DatasetError
from platform_assets.scaffold.errors import ScaffoldError
from platform_assets.scaffold.reading import read_data
from tests.scaffold.tables import customers, written

GERMAN = customers(rows=20, Straße="Größe")


def refusal(path):
    """Why a file cannot be read; the sentence opens with where it lies."""
    with pytest.raises((ScaffoldError, DatasetError)) as caught:
        read_data(str(path))
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    assert "\n" not in said
    return said.removeprefix(f"{path}: ")


def obeyed(folder, said):
    """The frame after doing what a refusal says."""
    command = said.split("beside it: ")[1].replace("python3", sys.executable, 1)
    subprocess.run(["bash", "-c", command], cwd=folder, check=True)
    return read_data(str(folder / "customers-utf8.csv"))[1]


@pytest.mark.parametrize(
    ("sep", "encoding", "problem"),
    [
        (",", "latin1", "is not UTF-8 text, it reads as latin1; save it as UTF-8"),
        (",", "utf-16", "is not UTF-8 text, it reads as utf-16; save it as UTF-8"),
        (";", "utf-8", "separates its columns by semicolons; save it with commas"),
        ("\t", "utf-8", "separates its columns by tabs; save it with commas"),
        (
            ";",
            "latin1",
            "is not UTF-8 text, it reads as latin1 and separates its columns by semicolons; save it as UTF-8 with",
        ),
        ("|", "utf-16", "is not UTF-8 text, it reads as utf-16 and separates its columns by bars"),
    ],
)
def test_what_spreadsheets_save(tmp_path, sep, encoding, problem):
    """Other encodings and separators are told, with a command that makes the file one that is read."""
    said = refusal(written(tmp_path, GERMAN, sep=sep, encoding=encoding))
    assert said.startswith(problem)
    assert obeyed(tmp_path, said).columns.tolist() == GERMAN.columns.tolist()
    assert obeyed(tmp_path, said)["Straße"].unique().tolist() == ["Größe"]


def test_windows_text_is_no_latin_1(tmp_path):
    """The sign of the euro tells them apart."""
    path = written(tmp_path, customers(rows=5, price="5 €"), encoding="cp1252")
    said = refusal(path)
    assert "it reads as cp1252" in said
    assert obeyed(tmp_path, said)["price"].unique().tolist() == ["5 €"]


def test_utf_8_with_a_mark_at_its_beginning_is_read(tmp_path):
    """Spreadsheets put a byte order mark before UTF-8; it belongs to no column's name."""
    _, frame = read_data(written(tmp_path, GERMAN, encoding="utf-8-sig"))
    assert frame.columns.tolist() == GERMAN.columns.tolist()


def test_commas_win_where_both_stand(tmp_path):
    """Semicolons within quoted names are no separators."""
    _, frame = read_data(written(tmp_path, customers(rows=5).rename(columns={"plan": "plan; of all"})))
    assert "plan; of all" in frame.columns


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "is empty"),
        ("a,b\n", "has a header and 0 rows"),
        ("a\n1\n2\n", "has one column only"),
        ("1,2.5\n3,4\n", "its first row holds numbers only"),
        (
            "sep=;\na;b\n1;2\n",
            "begins with a line sep=';', which is for spreadsheets alone; remove it, and save",
        ),
        ("a,b\n1,2,3\n", "row 1 (line 2): has 3 fields, and the header 2"),
        ("a,b\n1,2\n3\n", "row 2 (line 3): has 1 field, and the header 2"),
        ("a,a\n1,2\n", "columns 1 and 2 have one name"),
        (f"a,{'b' * 300}\n1,2\n", "the name of column 2 has 300 characters"),
    ],
)
def test_files_that_are_no_table(tmp_path, content, problem):
    """Whatever else is wrong is one sentence, too."""
    path = tmp_path / "customers.csv"
    path.write_text(content, encoding="utf-8")
    assert refusal(path).startswith(problem)


def test_packed_files_are_named(tmp_path):
    """What is compressed under the name of a csv file is said to be that, and no text in another encoding."""
    path = tmp_path / "customers.CSV"
    path.write_bytes(gzip.compress(b"a,b\n1,2\n"))
    assert refusal(path) == "is no csv, it is compressed by gzip; unpack it"


def test_missing_files_and_unknown_formats(tmp_path):
    """A path that leads nowhere, and a spreadsheet, are told."""
    assert refusal(tmp_path / "none.csv").startswith("no such file")
    assert refusal(tmp_path / "book.xlsx").startswith("format '.xlsx' is unknown")


def test_secrets_are_refused():
    """What is secret in a URI would stand in the spec for everybody to read."""
    with pytest.raises(ScaffoldError) as caught:
        read_data("https://user:secret@example.org/a.csv?token=secret")
    assert str(caught.value).startswith("https://example.org/a.csv: holds a password or a query")
    assert "secret@" not in str(caught.value)


def test_the_uri_holds_anywhere(tmp_path, monkeypatch):
    """A relative path becomes an absolute one, so that the spec can be run from any folder."""
    monkeypatch.chdir(tmp_path)
    path = written(Path(), customers(rows=5))
    source, _ = read_data(path)
    assert source.uri == str((tmp_path / path).resolve())
