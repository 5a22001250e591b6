"""Each column gets a role, or a reason why it is left out; nothing that is said quotes a value."""

import numpy as np
import pytest

from platform_assets.scaffold.errors import ScaffoldError
from platform_assets.scaffold.judging import judge
from platform_assets.scaffold.target import find_target
from tests.scaffold.tables import customers, looked

RESERVED = ("label", "source", "split", "score", "row_id")
RNG = np.random.default_rng(1)
NUMBERS = RNG.normal(size=400).round(3)


def judged(frame):
    """What becomes of each column of the frame, by name."""
    columns = list(looked(frame).values())
    return {each.name: each for each in judge(columns, find_target(columns, "churn"), reserved=RESERVED)}


def reason(**changes):
    """Why the last of the added columns is left out."""
    *_, last = changes
    found = judged(customers(**changes))[last]
    assert found.role is None
    return found.suspicion


def test_ordinary_columns_get_their_role_and_no_remark():
    """Numbers, categories, a time, the key and the target are what they look like."""
    found = judged(customers())
    assert {name: (each.role, each.suspicion) for name, each in found.items()} == {
        "customer_id": ("key", ""),
        "tenure": ("numeric", ""),
        "plan": ("categorical", ""),
        "spend": ("numeric", ""),
        "signup": ("time", ""),
        "churn": ("target", ""),
    }


def test_constant_and_empty_columns():
    """What never changes, or is hardly ever there, tells nothing."""
    assert reason(region="north") == "the same value in every row"
    assert reason(note=[None] * 400) == "empty in every row"
    assert reason(note=["x", "y"] + [None] * 398) == "empty in 99.5 % of the rows"


def test_leaks_are_left_out_with_their_figure():
    """A number and a category that tell the target alone are named with their AUC, and without a value."""
    churned = (customers()["churn"] == "yes").to_numpy()
    assert reason(refund=churned * 50 + NUMBERS).startswith("tells the target alone (AUC 1.000)")
    assert reason(status=np.where(churned, "closed", "open")).startswith("tells the target alone (AUC 1.000)")


def test_strong_columns_are_used_and_marked():
    """Below the bound of a leak, a column that tells much is asked about."""
    churned = (customers()["churn"] == "yes").to_numpy()
    found = judged(customers(calls=churned * 2.2 + NUMBERS))["calls"]
    assert found.role == "numeric"
    assert found.suspicion.startswith("tells much of the target alone (AUC 0.9")


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ([f"person{row}@example.org" for row in range(400)], "personal data: e-mail addresses"),
        ([f"Allen, Miss. Ann {row}" for row in range(400)], "personal data: names of people"),
        (
            [f"Wanted to know why the bill of month {row} is so high" for row in range(400)],
            "personal data: free text",
        ),
        ([f"word{row}" for row in range(400)], "another value in every row"),
        ([f"word{row % 60}" for row in range(400)], "60 categories, too many to learn from"),
        ([f"word{row % 20}" for row in range(400)], "no category has 30 rows, too few"),
        (["x" if row < 29 else None for row in range(400)], "no category has 30 rows, too few"),
        (range(400), "the number of the row"),
        ([f"{row},5" for row in RNG.integers(0, 99, 400)], "numbers with decimal commas"),
    ],
)
def test_columns_that_are_left_out(values, what):
    """Personal data, unique and many-valued text, row numbers and foreign spellings are left out, each with its reason."""
    assert reason(extra=list(values)).startswith(what)


def test_personal_by_name_alone():
    """Columns whose values look like nothing are told by what they are called, unless they tell nobody apart."""
    assert reason(birth_date=customers()["signup"].tolist()) == "personal data: dates of birth"
    assert reason(phone=RNG.permutation(np.arange(400) + 5550100)) == "personal data: phone numbers"
    assert judged(customers(phone=np.where(NUMBERS > 0, "home", "mobile")))["phone"].role == "categorical"


def test_protected_attributes_are_used_and_marked():
    """Whether the model may use them is asked, not decided."""
    found = judged(customers(sex=np.where(NUMBERS > 0, "m", "f")))["sex"]
    assert (found.role, found.suspicion) == (
        "categorical",
        "nobody may be treated worse for it: may the model use it?",
    )


@pytest.mark.parametrize("name", ["source", "split", "Score", "row_id", "Label"])
def test_reserved_names(name):
    """A column that is called like one of the platform's is told to be renamed."""
    assert reason(**{name: NUMBERS}) == (
        "its name is that of a column which the platform adds; rename it in the file to use it"
    )


def test_names_that_differ_in_case_only():
    """The second of two is left out, and the first is named."""
    assert (
        reason(Tenure=NUMBERS)
        == "its name differs from 'tenure' in case only; rename one of them in the file to use it"
    )


def test_twins():
    """Of columns that say the same the first is used, whatever its kind."""
    assert reason(cents=customers()["spend"] * 100) == "says the same as 'spend'"
    assert (
        reason(plan_code=customers()["plan"].map({"basic": 1, "plus": 2, "pro": 3}))
        == "says the same as 'plan'"
    )


def test_identifiers():
    """A unique identifier is the key; else one that repeats; numbers that name something are no numbers."""
    account = np.repeat(np.arange(200), 2) + 7000
    found = judged(customers(account_id=account, shop_id=RNG.integers(1, 9, 400)))
    assert (found["customer_id"].role, found["account_id"].role, found["shop_id"].role) == (
        "key",
        None,
        "categorical",
    )
    assert "its role is group" in found["account_id"].suspicion
    assert judged(customers(customer_id=None, account_id=account))["account_id"].role == "key"


def test_a_second_time_is_left_out():
    """A line has one time."""
    assert reason(last_seen=customers()["signup"].tolist()[::-1]).startswith("a time; a line has one")


def test_missing_marks_tell_what_to_do_in_the_file():
    """A column of numbers with NA for missing ones is left out with what to do about it."""
    marked = [str(value) if value > -1 else "NA" for value in NUMBERS]
    assert (
        reason(debt=marked)
        == "numbers, but 'NA' stands where one is missing; leave those fields empty in the file"
    )


def test_nothing_left_to_learn_from():
    """Where every column is left out the reasons are told together."""
    frame = customers(tenure=None, plan=None, spend=None, signup=None, region="north")
    with pytest.raises(
        ScaffoldError, match=r"no column is left to tell 'churn' from .*region: the same value in every row"
    ):
        judged(frame)
