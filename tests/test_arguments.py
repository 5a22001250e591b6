"""Arguments, settings and file names that are no text: one sentence that names them, at the door of every command."""

import os

import pytest

from platform_assets.cli.endings import ArgumentError, end_well, refuse_undecodable
from platform_assets.models.errors import InstanceError
from platform_assets.models.instances import refuse_untexts
from platform_assets.serving.predictor import Predictor
from resources.settings import PlatformSettings
from resources.texts import is_text, quoted, without_long_words
from tests.line_factory import platform_assets

LATIN_1 = os.fsdecode(b"caf\xe9.csv")
EVERY_COMMAND = (
    ("predict", "reviews_sentiment", LATIN_1),
    ("erase", "--subject", f"applicant:{LATIN_1}", "--by", "ada", "--reason", "request 7"),
    ("contracts", "check", LATIN_1, "--contract", "transactions.yaml"),
    ("drift", "replay", "--reference", LATIN_1, "--events", LATIN_1),
    ("ledger", "verify", "--file", LATIN_1),
    ("run", "--spec", LATIN_1),
    ("no such command", LATIN_1),
)


def test_an_argument_that_is_no_text_is_named_before_anything_is_done(tmp_path):
    """Its number and its bytes, exit status 2; a file that is really called so is no other case."""
    (tmp_path / LATIN_1).write_text("id\n1\n")
    refused = platform_assets(
        tmp_path / "home", "contracts", "check", tmp_path / LATIN_1, "--contract", "x.yaml"
    )
    assert refused.returncode == 2
    (complaint,) = refused.stderr.splitlines()
    assert complaint.startswith("error: argument 3 is no text in UTF-8: '")
    assert r"caf\xe9.csv'" in complaint
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("arguments", EVERY_COMMAND, ids=lambda arguments: arguments[0])
def test_every_command_refuses_them(arguments):
    """By one mechanism, which knows none of them."""
    with pytest.raises(ArgumentError, match=r"argument \d+ is no text in UTF-8: '(applicant:)?caf\\xe9.csv'"):
        refuse_undecodable(arguments, {})


def test_settings_are_looked_at_too():
    """The variable is named; those of others are theirs."""
    with pytest.raises(ArgumentError, match=r"PLATFORM_SPECS is no text in UTF-8: '\[\\xff\]'"):
        refuse_undecodable((), {"PLATFORM_SPECS": os.fsdecode(b"[\xff]"), "OTHER": os.fsdecode(b"\xff")})
    refuse_undecodable(("café", "😀", "", "a\nb"), {"OTHER": os.fsdecode(b"\xff")})


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ({"PLATFORM_PROFILE": "s3cret"}, "PLATFORM_PROFILE: Input should be 'local' or 'cluster'"),
        ({"PLATFORM_SPECS": "s3cret"}, 'field "specs"'),
        (
            {"PLATFORM_PRINCIPAL__USER": ""},
            "PLATFORM_PRINCIPAL__USER: String should have at least 1 character",
        ),
    ],
    ids=["value", "no JSON", "nested"],
)
def test_a_wrong_setting_is_one_sentence_without_its_value(monkeypatch, capsys, setting, named):
    """It may be a secret."""
    monkeypatch.setattr("sys.argv", ["platform-assets"])
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    assert end_well(PlatformSettings) == 2
    (complaint,) = capsys.readouterr().err.splitlines()
    assert named in complaint
    assert "s3cret" not in complaint


@pytest.mark.parametrize(
    ("instances", "named"),
    [
        (["fine", "half \ud83d of it"], r"instance 2: 'half \\ud83d of it' holds half of a surrogate pair"),
        ([{"Income": 1}, {"Name": "\udc00"}], r"instance 2: column Name: '\\udc00' holds"),
        ([{"\ud83d": 1}], r"instance 1: column '\\ud83d' holds"),
        ([[1, ["\ud83d"]]], r"instance 1: '\\ud83d' holds"),
    ],
)
def test_half_a_surrogate_pair_is_named_by_row(instances, named):
    """JSON can spell it, and no tokenizer, table or ledger can hold it."""
    with pytest.raises(InstanceError, match=named):
        refuse_untexts(instances)


def test_a_model_is_not_asked_about_it():
    """Whoever asks: the command, or a program."""
    with pytest.raises(InstanceError, match="instance 1"):
        Predictor(release=None, scorer=None).predict(["\ud83d"])


def test_other_instances_are_left_to_the_task():
    """NUL, whole characters beyond the first plane, and what is no string."""
    refuse_untexts(["a\0b", "\U0001f600", {"a": None, "b": [1.5, True]}, 7, None])


def test_what_is_shown_is_one_short_line():
    """Whatever it holds, and however long it is."""
    assert (quoted("a\nb"), quoted(LATIN_1), quoted("\ud83d")) == (r"'a\nb'", r"'caf\xe9.csv'", r"'\ud83d'")
    assert not is_text(LATIN_1)
    assert quoted("x" * 5000).endswith("…' (5,000 characters)")
    assert len(quoted("x" * 5000)) < 200
    message = without_long_words(f"there is no line {'x' * 90_000}; known are a, b")
    assert (len(message) < 250, message.endswith("known are a, b")) == (True, True)
