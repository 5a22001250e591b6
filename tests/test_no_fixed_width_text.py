"""No text lies in numpy's arrays of a fixed width: one long text would pad all others to its length, and NULs be cut."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path for folder in ("platform_assets", "resources", "sensors") for path in (ROOT / folder).rglob("*.py")
)
_FIXED_WIDTH = re.compile(r"[<>|=]?[USa]\d*")
_SORTING = {"isin", "in1d", "unique", "union1d", "intersect1d", "setdiff1d"}
"""They make arrays of what they are given; of lists and tuples of texts, such of a fixed width."""
_MAKING = {"array", "asarray", "asanyarray", "full", "append", "repeat", "select", "where"}


def fixed_widths(source: str) -> Iterator[int]:
    """Lines at which such an array is made, or may be."""
    tree = ast.parse(source)
    uses_pandas = "pd." in source
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and _is_numpy(node.value)
            and node.attr in {"str_", "bytes_", "char"}
        ):
            yield node.lineno
        if not isinstance(node, ast.Call):
            continue
        named = {keyword.arg: keyword.value for keyword in node.keywords}
        function = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        of_numpy = isinstance(node.func, ast.Attribute) and _is_numpy(node.func.value)
        types = [named["dtype"]] if "dtype" in named and of_numpy else []
        if function == "astype" and not uses_pandas:
            types += node.args[:1]
        if of_numpy and function in _MAKING and len(node.args) > 1:
            types += node.args[1:]
        if any(_is_text_type(each) for each in types):
            yield node.lineno
        if (
            of_numpy
            and function in _SORTING | _MAKING
            and "dtype" not in named
            and any(map(_may_list_texts, node.args))
        ):
            yield node.lineno


def _is_numpy(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in {"np", "numpy"}


def _is_text_type(node: ast.expr) -> bool:
    if isinstance(node, ast.Name):
        return node.id in {"str", "bytes"}
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and bool(_FIXED_WIDTH.fullmatch(node.value))
    )


def _may_list_texts(node: ast.expr) -> bool:
    """A list or tuple of texts written down, or one that Python has sorted, as only texts are here."""
    if isinstance(node, ast.List | ast.Tuple):
        return any(_is_text(each) for each in node.elts)
    if isinstance(node, ast.ListComp):
        return _is_text(node.elt)
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "sorted"


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    )


@pytest.mark.parametrize(
    "line",
    [
        "np.unique(values.astype(np.str_))",
        "values.astype(str)",
        "values.astype('U10')",
        "np.array(['a', name])",
        "np.array([f'{row}' for row in rows])",
        "np.isin(sources, sorted(names))",
        "np.full(3, 'train', dtype=str)",
        "np.zeros(3, dtype='S8')",
        "np.array(texts, 'U')",
    ],
)
def test_the_scan_sees_them(line):
    """A scan that finds nothing anywhere is one that nobody should trust."""
    assert list(fixed_widths(line)) == [1]


def test_the_scan_lets_objects_and_numbers_pass():
    """Texts as Python's objects are as long as they are."""
    for line in (
        "np.array(names, dtype=object)",
        "np.isin(labels, (0, 1))",
        "np.full(3, 'train', dtype=object)",
    ):
        assert not list(fixed_widths(line))


def test_no_module_makes_one():
    """In all of the project."""
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        for line in fixed_widths(path.read_text(encoding="utf-8"))
    ]
    assert found == []
