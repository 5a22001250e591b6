"""JSON Lines as events come in: strictly, and with the bad lines told where reading is to go on."""

import pytest

from platform_assets.reading.errors import ReadingError
from platform_assets.reading.json_lines import json_lines


def test_objects_come_with_their_lines() -> None:
    """Numbers of lines are those of an editor; blank lines count and are no objects."""
    content = b'\xef\xbb\xbf{"a": {"b": [1, 2.5]}}\r\n\n{"a": "\xe2\x80\xa8"}\n\n'
    assert list(json_lines(content, name="events")) == [(1, {"a": {"b": [1, 2.5]}}), (3, {"a": "\u2028"})]


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
def test_what_json_does_not_have_is_refused(literal: str) -> None:
    """As everybody else who takes events refuses it."""
    with pytest.raises(ReadingError, match=r"row 1 \(line 1\): holds -?[A-z]+, which JSON does not have"):
        list(json_lines(f'{{"score": {literal}}}'.encode(), name="events"))


@pytest.mark.parametrize("literal", ["1e400", "-1e400", "9" * 400 + ".5"])
def test_numbers_beyond_any_float_are_refused(literal: str) -> None:
    """None is taken for an infinite one."""
    with pytest.raises(
        ReadingError, match=r"row 1 \(line 1\): holds a number beyond any float; write a smaller"
    ):
        list(json_lines(f'{{"score": {literal}}}'.encode(), name="events"))


@pytest.mark.parametrize(
    "line",
    [
        r'{"id": 1, "m": {"anna@x": 1, "anna@x": 2}}',
        r'{"id": 1, "m": [1, {"k": {"anna@x": 1, "anna@x": 2}}]}',
        r'{"id": 1, "m": {"anna@x": "\ud800"}}',
        r'{"id": 1, "m": {"anna@x\ud800": 1}}',
    ],
)
def test_names_within_values_are_not_quoted(line: str) -> None:
    """They may be data; the column says where to look."""
    with pytest.raises(ReadingError, match=r"row 1 \(line 1\), column 'm': (has|holds) ") as caught:
        list(json_lines(line.encode(), name="events"))
    assert "anna" not in str(caught.value)


def test_bad_lines_are_told_and_stop_nothing() -> None:
    """Each is named, and those after it are read."""
    content = b'{"a": 1}\n{"a": }\n{"a": 2, "a": 3}\n{"a": "\\ud800"}\n{"a": "\xe9"}\n{"a": 4}\n'
    refused: list[ReadingError] = []
    found = list(json_lines(content, name="events", refused=refused.append))
    assert found == [(1, {"a": 1}), (6, {"a": 4})]
    assert [problem.line for problem in refused] == [2, 3, 4, 5]
