"""Domains serve lines of every task: they speak of rows, subjects and features, and of nobody's films or tokens.

A review is also what people give of a version, so the word alone is of no task.
"""

import re

import pytest

from tests.line_factory import ROOT

PACKAGE = ROOT / "platform_assets"
ABOVE_TASKS = {"tasks", "cli", "scaffold"}
"""What is of a task, or shows tasks to people."""
DOMAINS = sorted({folder.parent.name for folder in PACKAGE.glob("*/__init__.py")} - ABOVE_TASKS)
OF_ONE_TASK = re.compile(
    r"\b(review_ids?|movie_reviews|tokeni[sz]\w*|token_ids?|words|films?|imdb|encoders?)\b",
    re.IGNORECASE,
)
EXCEPTIONS = {
    # Machine words: a state of a window is an array of them.
    "features/window_kernels.py": {"words"},
    "features/window_state.py": {"words"},
}
"""By file of `platform_assets`, what it may say all the same."""


def mentions(source: str) -> list[tuple[int, str]]:
    """Line number and word of everything in a source text that only one task knows."""
    return [
        (number, found.group().lower())
        for number, line in enumerate(source.splitlines(), start=1)
        for found in OF_ONE_TASK.finditer(line)
    ]


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_names_nothing_of_one_task(domain: str) -> None:
    """Code, defaults, messages, docstrings and comments; what belongs to a task stands in `tasks/`."""
    files = sorted((PACKAGE / domain).rglob("*.py"))
    assert files
    found = [
        f"{path.relative_to(ROOT)}:{number}: {word}"
        for path in files
        for number, word in mentions(path.read_text(encoding="utf-8"))
        if word not in EXCEPTIONS.get(str(path.relative_to(PACKAGE)), ())
    ]

    assert found == []


def test_every_exception_is_needed() -> None:
    """One that is not would let the next mention through."""
    used = {
        name: {word for _, word in mentions((PACKAGE / name).read_text(encoding="utf-8"))}
        for name in EXCEPTIONS
    }

    assert {name: words - used[name] for name, words in EXCEPTIONS.items() if words - used[name]} == {}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ('key: str = "review_id"', ["review_id"]),
        ("# Neighbours are reviews\n# of one film", ["film"]),
        ('raise Error(f"{path}: no TOKENIZER")', ["tokenizer"]),
        ('columns = ("score", "words")', ["words"]),
        ("token_ids = rows[column]", ["token_ids"]),
        ('"""A preview of the rows, and its reviewer\'s password."""', []),
    ],
)
def test_a_mention_is_found(source: str, words: list[str]) -> None:
    """Wherever it stands, and only as a word of its own."""
    assert [word for _, word in mentions(source)] == words
