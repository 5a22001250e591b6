"""Manifests: strict, and every complaint says where."""

from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from platform_assets.manifest import Manifest, ManifestError, Many, Section, read_manifest


class Inner(Section):
    """A section within a section."""

    size: Annotated[int, Field(ge=1)] = 1


class Sample(Section):
    """One field of each kind."""

    name: str
    rate: Annotated[float, Field(gt=0, lt=1)] = 0.5
    count: int = 1
    switch: bool = True
    many: Many[str] = ()
    inner: Inner = Inner()
    parts: Many[Inner] = ()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the manifest under test lies."""
    return tmp_path / "sample.yaml"


def complaints(path: Path, content: str | bytes) -> list[str]:
    """What is wrong with a file of this content, one line each, without the file's name."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, Sample)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{path}:") for line in lines)
    return [line.removeprefix(f"{path}:") for line in lines]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("name: a\nrat: 0.1\n", "2: rat: is not a known key"),
        ("name: a\ninner:\n  size: 1\n  sise: 2\n", "4: inner.sise: is not a known key"),
        ("rate: 0.1\n", "1: name: is missing"),
        ('name: a\ncount: "3"\n', "2: count: Input should be a valid integer (found '3')"),
        ("name: a\ncount: 3.0\n", "2: count: Input should be a valid integer"),
        ("name: a\ncount: true\n", "2: count: Input should be a valid integer"),
        (
            "name: a\nswitch: on\n",
            "2: switch: Input should be a valid boolean (found 'on'); write true or false",
        ),
        ("name: a\nswitch: 1\n", "2: switch: Input should be a valid boolean"),
        ('name: a\nrate: "0.1"\n', "2: rate: Input should be a valid number"),
        ("name: 3\n", "1: name: Input should be a valid string (found 3)"),
        ("name: 01067\n", "1: name: Input should be a valid string (found 1067); put text in quotes"),
        ("name:\n", "1: name: Input should be a valid string (found None)"),
        ("name: a\nrate: 1\n", "2: rate: Input should be less than 1 (found 1"),
        ("name: a\nrate: .nan\n", "2: rate: "),
        ("name: a\ninner: {size: 0}\n", "2: inner.size: Input should be greater than or equal to 1"),
        ("name: a\ninner: 3\n", "2: inner: "),
        ("name: a\nmany:\n  - b\n  - 4\n", "4: many.1: Input should be a valid string (found 4)"),
        ("name: a\n1: b\n", "2: 1: "),
    ],
)
def test_a_wrong_field_is_named_with_its_line(path, content, expected):
    """Unknown keys, wrong types and values out of range are one error each, at file, line and field."""
    (complaint,) = complaints(path, content)
    assert complaint.startswith(expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("name: a\nname: b\n", "2: name: stands twice; keep one (the first is on line 1)"),
        ("name: a\ninner:\n  size: 1\n  size: 1\n", "4: inner.size: stands twice"),
        ("name: [a\n", "2: is not valid YAML"),
        ("name: a\n\tcount: 1\n", "2: is not valid YAML"),
        ("name: a\ncount: *nowhere\n", "2: is not valid YAML"),
        ("name: a\n---\nname: b\n", "2: begins a second document; write it into another file"),
        ("name: !!python/object:os.system a\n", "1: name: has the tag python/object:os.system"),
        ("name: a\ncount: \x01\n", "2: is not valid YAML"),
        ("name: a\ncount: 2026-99-99\n", "2: count: "),
        ("name: a\ncount: !!int x\n", "2: count: "),
        ("name: a\n? [b, c]\n: d\n", "2: "),
        ("", "1: must hold keys and values, and is empty"),
        ("# nothing yet\n", "1: must hold keys and values, and is empty"),
        ("- name\n", "1: must hold keys and values"),
        ("name\n", "1: must hold keys and values"),
    ],
)
def test_a_file_that_is_no_manifest_is_one_error(path, content, expected):
    """Duplicate keys, broken YAML and empty files are told with their line, before any field is judged."""
    (complaint,) = complaints(path, content)
    assert complaint.startswith(expected)


@pytest.mark.parametrize(
    "content",
    [
        "name: &loop [*loop]\n",
        "name: &loop {again: *loop}\n",
        "name: a\nparts: &loop [{size: 1}, *loop]\n",
    ],
)
def test_a_manifest_without_end_is_refused(path, content):
    """An alias within what it names is an error and not an endless descent."""
    (complaint,) = complaints(path, content)
    assert complaint.endswith(": nests without end; an alias must not stand inside what it names")


@pytest.mark.parametrize("depth", [900, 5000])
def test_nesting_without_sense_is_refused(path, depth):
    """No word of aliases, where there are none."""
    (complaint,) = complaints(path, "name: " + "[" * depth + "]" * depth)
    assert (
        complaint == "1: nests too deeply to be read; write it with fewer lists and mappings in one another"
    )


def test_a_file_that_is_not_there_or_no_text(path, tmp_path):
    """A missing file, a folder and a file that is not UTF-8 each get a sentence of their own."""
    with pytest.raises(ManifestError, match=r"sample\.yaml: cannot be read \(No such file"):
        read_manifest(path, Sample)
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(tmp_path, Sample)
    path.write_bytes(b"name: caf\xe9\n")
    with pytest.raises(ManifestError, match=r"sample\.yaml: is not UTF-8 text \(byte 9\)"):
        read_manifest(path, Sample)


def test_all_wrong_fields_are_told_at_once(path):
    """Whoever mends a manifest needs one look, not one for every mistake."""
    found = complaints(path, 'nmae: a\ncount: "3"\nrate: 7\ninner:\n  size: 0\n')
    assert [complaint.split(": ")[:2] for complaint in sorted(found)] == [
        ["1", "name"],
        ["1", "nmae"],
        ["2", "count"],
        ["3", "rate"],
        ["5", "inner.size"],
    ]


def test_a_good_manifest_is_read_as_written(path):
    """Numbers in exponent form are numbers, one string stands for a list of one, anchors are shared."""
    path.write_text(
        "name: 'no'\nrate: 1e-4\nmany: one\ninner: &small {size: 2}\nparts: [*small, {size: 3}]\n"
    )
    manifest = read_manifest(path, Sample)
    assert manifest.content == Sample(
        name="no", rate=0.0001, many=("one",), inner=Inner(size=2), parts=(Inner(size=2), Inner(size=3))
    )


def test_whoever_reads_a_manifest_can_complain_about_it(path):
    """A check that no model can make names the same file, line and field, or the nearest one above."""
    path.write_text("name: a\ninner:\n  size: 4\n")
    manifest = read_manifest(path, Sample)
    assert str(manifest.error(("inner", "size"), "is odd")) == f"{path}:3: inner.size: is odd"
    assert str(manifest.error(("inner", "color"), "is absent")) == f"{path}:2: inner.color: is absent"
    assert str(Manifest(path, manifest.content, {}).error((), "is odd")) == f"{path}:1: (top level): is odd"


@given(
    mantissa=st.integers(-999, 999),
    exponent=st.integers(-12, 12),
    mark=st.sampled_from("eE"),
    sign=st.sampled_from(["", "+"]),
)
def test_exponents_are_numbers(tmp_path_factory, mantissa, exponent, mark, sign):
    """Every number in exponent form is read as Python reads it."""

    class Number(Section):
        value: float

    written = f"{mantissa}{mark}{sign if exponent >= 0 else ''}{exponent}"
    path = tmp_path_factory.getbasetemp() / "number.yaml"
    path.write_text(f"value: {written}\n")
    assert read_manifest(path, Number).content.value == float(written)


def test_a_file_that_unfolds_into_billions_of_values_is_refused(path):
    """Nine lines of aliases of aliases must not fill the memory of whoever reads a pushed file."""
    levels = [f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 10)}]" for level in range(1, 9)]

    (complaint,) = complaints(path, "\n".join(["l0: &l0 [x]", *levels]))

    assert "more than 100,000 values" in complaint


class Whole(Section):
    """A section that checks its fields against one another."""

    names: Many[str]

    @model_validator(mode="after")
    def _none_stands_twice(self) -> "Whole":
        if len(set(self.names)) < len(self.names):
            raise ValueError("names: one stands twice")
        return self


def test_a_complaint_about_a_whole_section_does_not_repeat_it(path: Path) -> None:
    """The message says which part is wrong, on its line; a long value would hide it."""
    path.write_text(f"# all of them\nnames: [{', '.join(['same'] * 40)}]\n")
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, Whole)
    assert str(caught.value) == f"{path}:2: names: one stands twice"
