"""The target is named, or the only column that can be meant; else one sentence says what to do."""

import numpy as np
import pytest

from platform_assets.scaffold.errors import ScaffoldError
from platform_assets.scaffold.target import find_target
from tests.scaffold.tables import customers, looked


def target_of(frame, name=None):
    """The target that is found in a frame."""
    return find_target(list(looked(frame).values()), name)


def refusal(frame, name=None):
    """Why no target is found."""
    with pytest.raises(ScaffoldError) as caught:
        target_of(frame, name)
    return str(caught.value)


def flags(*values, rows=400):
    """A column of these values in turn."""
    return np.resize(np.array(values, dtype=object), rows)


def test_the_only_column_that_can_be_meant_is_taken():
    """Of two columns with two values the one that is called like a target is it."""
    found = target_of(customers(paperless=flags("on", "off")))
    assert (found.column.name, found.positive) == ("churn", "yes")
    assert found.label.tolist() == (customers()["churn"] == "yes").astype(int).tolist()


def test_several_candidates_are_listed():
    """Where two could be meant nobody guesses."""
    said = refusal(customers(default=flags("no", "yes", "no")))
    assert said == "nobody can tell which column is the target; name it with --target, one of churn, default"


def test_all_columns_of_two_values_are_listed_where_none_is_called_like_a_target():
    """Without a telling name whoever knows the data is asked."""
    frame = customers(paperless=flags("on", "off"), gone=flags("a", "b")).drop(columns="churn")
    assert refusal(frame).endswith("one of paperless, gone")


def test_a_table_without_two_valued_columns_is_told():
    """There is nothing to tell apart."""
    assert refusal(customers(churn=None)).startswith("no column has two values")


def test_an_unknown_name_lists_the_columns():
    """A misspelt target is told with the names there are."""
    assert refusal(customers(), "chrn") == (
        "there is no column 'chrn'; the columns are customer_id, tenure, plan, spend, signup, churn"
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("yes", "no", "maybe"), "has 3 different values ('yes', 'no', 'maybe')"),
        (("yes",), "has 1 different value ('yes')"),
        (range(100), "has 100 different values, and"),
    ],
)
def test_more_or_fewer_classes_than_two(values, said):
    """Two classes are told apart: the sentence says how many there are, and which, if they are few."""
    assert said in refusal(customers(churn=flags(*values)), "churn")


def test_rows_without_a_target_are_told():
    """Rows whose target is missing must be left out by whoever knows why."""
    assert "is empty in 40 of 400 rows" in refusal(
        customers(churn=flags(*["yes", "no"] * 4, "yes", None)), "churn"
    )


def test_too_few_rows():
    """Fewer than 200 rows are refused, whatever else they are."""
    assert refusal(customers(rows=199)).startswith("has 199 rows, and 200 are the fewest")


def test_too_few_of_a_class():
    """29 rows of a class are refused, 30 are enough."""
    few = ["no"] * 400
    few[:29] = ["yes"] * 29
    assert "is 'yes' in 29 rows" in refusal(customers(churn=few), "churn")
    few[29] = "yes"
    assert target_of(customers(churn=few)).positives == 30


@pytest.mark.parametrize(
    ("values", "positive"),
    [
        (("1", "0", "0"), "1"),
        (("0", "1", "1"), "1"),
        (("Yes", "No", "No"), "Yes"),
        (("good", "bad", "bad", "bad"), "bad"),
        (("TRUE", "FALSE", "FALSE"), "TRUE"),
        (("a", "a", "b"), "b"),
        (("left", "exited", "exited"), "left"),
        (("a", "b"), "b"),
    ],
)
def test_the_positive_class(values, positive):
    """It is the one that is called like it, else the rarer one, and of two as frequent ones the later by its name."""
    found = target_of(customers(churn=flags(*values)), "churn")
    assert found.positive == positive
    assert found.label.tolist() == [int(value == positive) for value in flags(*values)]
