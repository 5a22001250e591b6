"""What plain scalars mean: YAML 1.2 to the platform, and where other readers differ."""

import json
import math
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from platform_assets.manifest import ManifestError, read_yaml
from platform_assets.yaml_scalars import ambiguities, ambiguity, is_text
from platform_assets.yaml_writer import YamlError, to_yaml
from tests.scaffold.test_yaml_text import MISREAD

ROOT = Path(__file__).resolve().parents[1]
# What is made of these is a number, a boolean, a date, … to one reader or another, much more often than any text is.
_NUMBER_LIKE = st.text("0123456789+-._:,eExXoObBaAfFyYnNtTrRuUlLsS~=<> ", max_size=9)
texts = _NUMBER_LIKE | st.text(max_size=40) | st.sampled_from(MISREAD)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        *((text, text) for text in ("NO", "no", "on", "Off", "yes", "y", "n", "nO", "tRUE")),
        *((text, text) for text in ("12:30", "190:20:30", "1_000", "0b11", "2026-01-31", "-0x1F", "=", "1,000", "e5")),
        ("2026-01-31T10:00:00Z", "2026-01-31T10:00:00Z"),
        ("01067", 1067), ("-007", -7), ("+12", 12), ("0o17", 15), ("0x1F", 31),
        ("1e3", 1000.0), ("680841e1", 6808410.0), (".5", 0.5), ("5.", 5.0), ("-.5E-1", -0.05), ("1.0", 1.0),
        (".inf", math.inf), ("-.INF", -math.inf), ("+.Inf", math.inf),
        ("true", True), ("TRUE", True), ("False", False),
        ("", None), ("~", None), ("null", None), ("NULL", None),
        ("!!str 12", "12"), ("!!str yes", "yes"), ("!!float 3", 3.0), ('!!int "12"', 12), ("! 12", "12"),
        ('"\\ud83d\\ude00"', "😀"), ("'01067'", "01067"), ('"NO"', "NO"), ("|\n  12\n", "12\n"),
    ],
)  # fmt: skip
def test_what_is_read_is_yaml_1_2(tmp_path, written, value):
    """Plain scalars are what the core schema of YAML 1.2 says, whatever older readers make of them."""
    path = tmp_path / "sample.yaml"
    path.write_text(
        f"value: {written}\nin_a_list: [{written}]\n" if "\n" not in written else f"value: {written}"
    )
    read = read_yaml(path).content["value"]
    assert (type(read), read) == (type(value), value)


def test_not_a_number_is_read(tmp_path):
    """The three forms of nan are floats."""
    path = tmp_path / "sample.yaml"
    path.write_text("value: [.nan, .NaN, .NAN]\n")
    assert all(math.isnan(each) for each in read_yaml(path).content["value"])


def test_keys_are_read_as_they_stand(tmp_path):
    """A key is a word: no country becomes a boolean, no postcode loses its zero."""
    path = tmp_path / "sample.yaml"
    path.write_text("NO: 1\n01067: 2\non: 3\n12:30: 4\n'<<': 5\n")
    assert read_yaml(path).content == {"NO": 1, "01067": 2, "on": 3, "12:30": 4, "<<": 5}


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("value: 1e999", "2: value: is a number beyond what 64 bits hold; put text in quotes"),
        (f"value: {'9' * 5000}", "2: value: is a number of more than 4,300 characters"),
        ("value: !!timestamp 2026-01-31", "2: value: has the tag timestamp, which YAML 1.2's core schema"),
        ("value: !!bool yes", "2: value: is no bool"),
        ("value: !!int 0b11", "2: value: is no int"),
        ("value: !!set {a, b}", "2: value: has the tag tag:yaml.org,2002:set"),
        ("value: !mine {a: b}", "2: value: has the tag !mine"),
        ("value: !!python/name:os.system x", "2: value: has the tag python/name:os.system"),
        ("base: &base {a: 1}\nvalue: {<<: *base}", "3: value.<<: merges nothing in YAML 1.2"),
        ('value: "\\ud83d"', "2: value: holds half of a character"),
        ('"\\ud83d": 1', "2: (top level): has a key that holds half of a character"),
        ("value: a\u2028b", "2: holds U+2028, a line break to some readers of YAML and none to others"),
        ("# a\u0085value: 1", "2: holds U+0085"),
    ],
)  # fmt: skip
def test_what_has_no_one_meaning_is_refused_with_its_line(tmp_path, written, complaint):
    """What YAML 1.2 does not know, or no value can hold, is one error with file, line and field."""
    path = tmp_path / "sample.yaml"
    path.write_text(f"first: 1\n{written}\n", encoding="utf-8")
    with pytest.raises(ManifestError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}:{complaint}")


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        (
            "value: NO",
            "2: value: NO is text to YAML 1.2 and a boolean (False) to YAML 1.1; put text in quotes",
        ),
        ("value: 0440", "2: value: 0440 is a number (440) to YAML 1.2 and a number (288) to YAML 1.1"),
        ("value: y", "2: value: y is text"),
        ("on: 1", "2: on: on is text"),
        ("value: [a, 2026-01-31]", "2: value.1: 2026-01-31 is text to YAML 1.2 and a timestamp to YAML 1.1"),
        ("value: 1e3", "2: value: 1e3 is a number (1000.0) to YAML 1.2 and text to YAML 1.1"),
        ("value: 9223372036854775808123", "2: value: 9223372036854775808123 is a number"),
    ],
)
def test_what_clusters_read_too_must_mean_the_same_to_them(tmp_path, written, problem):
    """In a file of a cluster a word that readers take differently is refused; in quotes it is taken."""
    path = tmp_path / "sample.yaml"
    path.write_text(f"first: 1\n{written}\n", encoding="utf-8")
    read_yaml(path)
    with pytest.raises(ManifestError) as caught:
        read_yaml(path, in_clusters=True)
    assert str(caught.value).startswith(f"{path}:{problem}")
    path.write_text('first: 0x1F\nvalue: "NO"\n"on": [null, true, 1.5, 2Gi, 12]\n', encoding="utf-8")
    assert read_yaml(path, in_clusters=True).content["value"] == "NO"


def test_all_that_clusters_read_is_unambiguous():
    """Every file below k8s/ means the same to Go's readers, to Python's and to ours."""
    files = [
        path
        for path in sorted((ROOT / "k8s").rglob("*"))
        if path.suffix == ".yaml" or path.name == "Kustomization"
    ]
    found = [
        f"{path.relative_to(ROOT)}:{each.line}: {each.problem}"
        for path in files
        for each in ambiguities(path.read_text(encoding="utf-8"))
    ]
    assert len(files) > 20
    assert found == []


def kubectl_reads(words: list[str]) -> list[object]:
    """What the reader of clusters, which kubectl holds, makes of plain scalars."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("NOT COMPARED with a cluster's reader: no kubectl in the path")
    lines = "".join(f"  k{at}: {word}\n" for at, word in enumerate(words))
    done = subprocess.run(
        [kubectl, "label", "--local", "--filename=-", "--output=json", "read=by"],
        input=f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: words}}\ndata:\n{lines}",
        capture_output=True,
        text=True,
        check=True,
    )
    read = json.loads(done.stdout)["data"]
    return [read[f"k{at}"] for at in range(len(words))]


def test_a_clusters_own_reader_agrees():
    """What is held to be text or unambiguous is to kubectl what it is to the platform."""
    pieces = ["", "0", "1", "-", "+", ".", "_", "e", "E", "x", "o", "0b", "7", "y", "5"]
    words = sorted({a + b + c for a in pieces for b in pieces for c in pieces} - {"", "-", "---", "..."})
    words += [
        "NO",
        "on",
        "12:30",
        "1_000",
        "2026-01-31",
        "680841e1",
        "9223372036854775808",
        "nO",
        "0x1F",
        "0o17",
    ]
    for word, read in zip(words, kubectl_reads(words), strict=True):
        if is_text(word):
            assert read == word
        elif ambiguity(word) is None:
            assert read == yaml.safe_load(word)


def read_by_all(folder: Path, text: str) -> list[object]:
    """The document to the platform, to a reader of YAML 1.1 and to another of 1.2."""
    path = folder / "any.yaml"
    path.write_text(text, encoding="utf-8")
    return [
        read_yaml(path, in_clusters=True).content,
        yaml.safe_load(text),
        YAML(typ="safe", pure=True).load(text),
    ]


@given(document=st.dictionaries(texts, values, max_size=5))
@example(document={text: text for text in MISREAD})
@example(document={"-_": "._"})
@example(document={"pool": "680841e1", "mode": "0o17", "at": "12:30", "rows": "1_000", "switch": "yes"})
def test_what_is_written_means_the_same_to_all(tmp_path_factory, document):
    """Whatever is written is read back equal by readers of YAML 1.1 and of 1.2, and nothing in it is ambiguous."""
    text = to_yaml(document)
    for read in read_by_all(tmp_path_factory.getbasetemp(), text):
        assert read == document
    assert list(ambiguities(text)) == []


@pytest.mark.long
@settings(max_examples=10_000)
@given(document=st.dictionaries(texts, values, max_size=5))
def test_what_is_written_means_the_same_to_all_at_length(tmp_path_factory, document):
    """Likewise for ten thousand documents."""
    test_what_is_written_means_the_same_to_all.hypothesis.inner_test(tmp_path_factory, document)


def test_what_is_written_is_the_same_to_a_cluster():
    """Texts that look like something else, as they are written, are texts to kubectl."""
    words = [word for word in MISREAD if not word.endswith("\n") and "\x07" not in word]
    written = [to_yaml({"a": word}).removeprefix("a: ").rstrip("\n").replace("\n", "\n  ") for word in words]
    assert kubectl_reads(written) == words


def test_documents_stand_one_behind_another():
    """Several documents are separated, each with its keys in order, and nothing refers to another place."""
    shared = {"b": "NO", "a": 1}
    assert to_yaml({"u": shared, "v": shared}, {"z": 1e20}) == (
        'u:\n  b: "NO"\n  a: 1\nv:\n  b: "NO"\n  a: 1\n---\nz: 1.0e+20\n'
    )


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({"a": [1, "\ud83d"]}, "a.1: holds half of a character"),
        ({"a": {"\udc00": 1}}, r"a: has the key '\udc00'"),
        ({"a": {1: 1}}, "a: has the key 1"),
        ({"a": {"b": math.nan}}, "a.b: is nan"),
        ({"a": math.inf}, "a: is inf"),
        ({"a": 2**63}, "a: is an integer of more than 64 bits"),
        ({"a": object()}, "a: is a object"),
    ],
)
def test_what_has_no_form_is_refused(document, complaint):
    """What no reader could read back is an error with its place, and nothing is written."""
    with pytest.raises(YamlError) as caught:
        to_yaml(document)
    assert str(caught.value).startswith(complaint)
