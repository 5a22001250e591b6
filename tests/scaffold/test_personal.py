"""Personal data is told by name and by pattern, without a value in the telling."""

import pytest

from platform_assets.scaffold.personal import is_protected, personal_by_name, personal_by_values, words_of


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("email", "e-mail"), ("E-Mail", "e-mail"), ("contactEmail", "e-mail"), ("phone_number", "phone"), ("Mobile", "phone"),
        ("SSN", "official"), ("passport.no", "official"), ("IBAN", "accounts"), ("creditCard", "accounts"),
        ("date_of_birth", "birth"), ("DOB", "birth"), ("BirthDate", "birth"), ("street", "addresses"), ("Zip", "addresses"),
        ("Name", "names"), ("customer_name", "names"), ("lastName", "names"), ("surname", "names"), ("ip_address", "addresses"),
    ],
)  # fmt: skip
def test_names_that_tell(name, what):
    """However it is spelt, the name of a column tells that it is about somebody."""
    assert what in personal_by_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "product_name",
        "model_name",
        "voice_mail_plan",
        "tenure",
        "embark_town",
        "emailed",
        "streets",
        "",
        "_",
        "123",
    ],
)
def test_names_that_do_not(name):
    """Words that only look like those of people are left alone."""
    assert personal_by_name(name) == ""


@pytest.mark.parametrize(
    ("sample", "what"),
    [
        (["ann@example.org", "bob@example.com"], "e-mail"),
        (["+44 20 7946 0958", "+1 555 010 4477"], "phone"),
        (["(555) 010-4477", "555-010-4478"], "phone"),
        (["123-45-6789", "987-65-4321"], "official"),
        (["192.0.2.1", "198.51.100.7"], "devices"),
        (
            ["Allen, Miss. Elisabeth", "Allison, Master. Hudson", "Brown, Mr. John", "Braund, Mrs. Ann"],
            "names",
        ),
        (["12 Long Street", "7b Old Mill Road"], "addresses"),
        (["Hauptstraße 12", "Ringstraße 3"], "addresses"),
        (["DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819"], "accounts"),
        (["4111 1111 1111 1111", "5500005555555559"], "accounts"),
    ],
)
def test_values_that_tell(sample, what):
    """Whatever a column is called, its values may look like somebody's."""
    assert what in personal_by_values(sample)


@pytest.mark.parametrize(
    "sample",
    [
        [],
        ["basic", "plus"],
        ["2026-01-31"],
        ["1.2.3"],
        ["12.50"],
        ["4111111111111112"],
        ["DE00370400440532013000"],
        ["A12-345"],
    ],
)
def test_values_that_do_not(sample):
    """Categories, dates, versions, and numbers whose check digits are wrong are nobody's."""
    assert personal_by_values(sample) == ""


def test_one_cell_makes_no_column():
    """A pattern must be that of a fifth of the values."""
    assert personal_by_values(["a@example.org", *map(str, range(9))]) == ""
    assert personal_by_values(["a@example.org", *map(str, range(4))]) != ""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CustomerID", ["customer", "id"]),
        ("customer.id", ["customer", "id"]),
        ("IBANCode_2", ["iban", "code", "2"]),
        ("Größe", ["grösse"]),
        ("", []),
    ],
)
def test_words_of_a_name(name, words):
    """Names are cut at capitals, signs and blanks."""
    assert words_of(name) == words


def test_protected_attributes():
    """Columns that nobody may be treated worse for are recognised, and no others."""
    assert [name for name in ("Sex", "applicant_gender", "race", "essex", "trace", "age") if is_protected(name)] == [
        "Sex", "applicant_gender", "race"
    ]  # fmt: skip
