"""What columns of csv are to a transformer, on the command line and in a line alike."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from platform_assets.datasets.sources import open_source
from platform_assets.features.engine import fit_rows, run_transformer
from platform_assets.features.errors import FeatureError
from platform_assets.features.fit_input import file_rows
from platform_assets.features.row_files import open_rows
from platform_assets.features.row_sources import rows_of_source
from tests.features.transformers import transformer


def woe(*columns):
    """A transformer of these columns."""
    return transformer("woe", columns=list(columns), woe={"minBinShare": 0, "rareShare": 0})


def csv_file(folder, columns, rows=None, name="rows.csv"):
    """A csv file of these columns, each a list of texts that is repeated up to so many rows."""
    count = rows or max(map(len, columns.values()))
    lines = [",".join(texts[at % len(texts)] for texts in columns.values()) for at in range(count)]
    file = folder / name
    file.write_text("\n".join([",".join(columns), *lines]) + "\n")
    return file


def type_of(folder, texts, kind="woe"):
    """What the column `amount` is that holds these texts."""
    made = woe("amount") if kind == "woe" else transformer(kind)
    columns = {"amount": texts, "bad": ["0", "1"], "entity": ["7"], "time": ["2024-03-01"]}
    return open_rows(csv_file(folder, columns), made.spec).schema.field("amount").type


def test_entities_stay_text(tmp_path):
    """`007` and `7` are two, each with a history of its own, and come out as they were."""
    times = [f"2024-03-0{day}" for day in range(1, 5)]
    source = csv_file(
        tmp_path, {"entity": ["007", "7", "007", "7"], "time": times, "amount": ["1", "2", "3", "4"]}
    )
    run_transformer(transformer("lag", lag={"rows": 1}), source, tmp_path / "f.parquet")
    found = pq.read_table(tmp_path / "f.parquet")
    assert found["entity"].to_pylist() == ["007", "007", "7", "7"]
    assert found["amount_lag"].to_pylist() == [None, 1, None, 2]


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["1", "2", ""], pa.int64()),
        (["-0.5", ".5", "1e-3", "2."], pa.float64()),
        (["18446744073709551615", "1"], pa.uint64()),
        (["True", "false", ""], pa.bool_()),
        (["01000", "1000"], pa.string()),
        (["75001", "2A004", "01000"], pa.string()),
        (["1", "2", "A"], pa.string()),
        (["rent", "NA"], pa.string()),
        (["", ""], pa.string()),
    ],
)
def test_columns_have_the_type_that_loses_nothing(tmp_path, texts, kind):
    """Numbers and booleans where each text is one; codes stay as they are written."""
    assert type_of(tmp_path, texts) == kind


def test_codes_come_out_as_they_were(tmp_path):
    """Each a category: 01000 is not 1000."""
    source = csv_file(tmp_path, {"zip": ["01000", "1000", "20000"], "bad": ["0", "1", "1", "0"]}, rows=120)
    run_transformer(woe("zip"), source, tmp_path / "f.parquet")
    found = pq.read_table(tmp_path / "f.parquet")
    assert found["zip"].to_pylist()[:3] == ["01000", "1000", "20000"]
    assert fit_rows(woe("zip"), source).columns[0].kind == "categorical"


@pytest.mark.parametrize("odd", ["N/A", "NA", "nan", "null", " 1", "1 ", "+1", "inf", "-", "A"])
def test_numbers_with_a_few_texts_are_refused(tmp_path, odd):
    """As categories nearly all would be rare, and their weights 0; the column and the first row are named."""
    numbers = [f"{number:.2f}" for number in np.random.default_rng(0).lognormal(8, 1, 200)]
    numbers[6] = odd
    source = csv_file(tmp_path, {"amount": numbers, "bad": ["0", "1"]})
    with pytest.raises(FeatureError, match=r"'amount' is of numbers, and 1 of 200 rows .*first: row 7"):
        fit_rows(woe("amount"), source)


@pytest.mark.parametrize("odd", ["N/A", " 1", "+1"])
def test_so_are_few_whole_numbers_with_a_word_for_none(tmp_path, odd):
    """Only an empty field is missing, and nobody means a category by these."""
    with pytest.raises(FeatureError, match=r"first: row 3"):
        type_of(tmp_path, ["1", "2", odd])


def test_integers_that_no_type_holds_are_refused(tmp_path):
    """Rather than rounded, or taken as categories."""
    with pytest.raises(FeatureError, match="'amount' has integers of more than 64 bits"):
        type_of(tmp_path, ["1", "99999999999999999999999"])


@pytest.mark.parametrize("odd", ["N/A", "05"])
def test_windows_are_of_numbers(tmp_path, odd):
    """Anything else is refused with its row; a column without values is one of missing numbers."""
    with pytest.raises(FeatureError, match=r"'amount' is of numbers.*first: row 2"):
        type_of(tmp_path, ["1", odd], "zscore")
    assert type_of(tmp_path, ["", ""], "lag") == pa.float64()


@pytest.mark.parametrize("labels", [["1", "0"], ["1.0", "0.0"], ["True", "False"], ["true", "false"]])
def test_targets_in_all_spellings(tmp_path, labels):
    """1 is 1.0 and true."""
    source = csv_file(tmp_path, {"amount": ["1", "2", "3"], "bad": labels}, rows=120)
    assert fit_rows(woe("amount"), source).events == 60


def test_a_line_and_a_command_read_one_file_alike(tmp_path):
    """Whether it is streamed, fetched, or has a word in it that other readers take for none."""
    columns = {
        "amount": ["1.5", "2.5", ""],
        "home": ["NA", "rent", "True"],
        "flag": ["True", "False"],
        "zip": ["01000", "75001"],
        "bad": ["1.0", "0.0"],
        "day": ["2024-03-01"],
    }
    source = csv_file(tmp_path, columns, rows=60)
    spec = woe("amount", "home", "flag", "zip").spec
    opened = open_source(str(source))
    for rows in (rows_of_source(str(source), spec).table, rows_of_source(source.as_uri(), spec).table):
        assert rows.equals(file_rows(opened, spec))
    assert [str(kind) for kind in rows.schema.types] == [
        "double",
        "string",
        "bool",
        "string",
        "double",
        "string",
    ]


class TestFitted:
    """With a state, what a column is does not depend on the values that later rows happen to hold."""

    def test_codes_stay_categories(self, tmp_path):
        """Fitted on 1, 2 and A; later there are only 1 and 2."""
        made = woe("code")
        bad = list("100110100")
        fitted = fit_rows(made, csv_file(tmp_path, {"code": ["1", "2", "A"], "bad": bad}, rows=150))
        later = csv_file(tmp_path, {"code": ["2", "1"], "bad": ["0"]}, name="later.csv")
        run_transformer(made, later, tmp_path / "f.parquet", fitted=fitted)
        expected = fitted.transform(pa.table({"code": ["2", "1"]}))["code_woe"]
        assert pq.read_table(tmp_path / "f.parquet")["code_woe"].equals(expected)
        assert all(expected.to_pylist())

    def test_words_stay_what_they_were(self, tmp_path):
        """A state of booleans reads booleans, one of texts texts."""
        later = csv_file(tmp_path, {"flag": ["True", "False"], "bad": ["0"]}, name="later.csv")
        made = woe("flag")
        for words, bad, kind in (
            (["True", "False"], list("1000"), pa.bool_()),
            (["True", "False", "Maybe"], list("100110100"), pa.string()),
        ):
            fitted = fit_rows(made, csv_file(tmp_path, {"flag": words, "bad": bad}, rows=144))
            run_transformer(made, later, tmp_path / "f.parquet", fitted=fitted)
            found = pq.read_table(tmp_path / "f.parquet")
            assert all(found["flag_woe"].to_pylist())
            assert found["flag"].type == kind

    def test_numbers_stay_numbers(self, tmp_path):
        """An empty column is one of missing numbers, and a text is refused with its row."""
        made = woe("amount")
        fitted = fit_rows(
            made, csv_file(tmp_path, {"amount": ["1", "2", "3"], "bad": ["0", "1", "1", "0"]}, rows=120)
        )
        empty = csv_file(tmp_path, {"amount": [""], "bad": ["0", "1"]}, name="empty.csv")
        assert open_rows(empty, made.spec, fitted=fitted).schema.field("amount").type == pa.float64()
        with pytest.raises(FeatureError, match=r"'amount' is of numbers, and 1 of 2 .*first: row 2"):
            open_rows(csv_file(tmp_path, {"amount": ["1", "A"], "bad": ["0"]}), made.spec, fitted=fitted)
