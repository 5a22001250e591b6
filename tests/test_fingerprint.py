"""Fingerprints: the same for the same thing, another for another."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_assets.fingerprint import canonical_sha256, code_version, fingerprint

CODE = '''
"""What the module is for."""

RATE = 0.1  # per step


class Step:
    """What the class is for."""

    size: int
    """In rows."""

    def run(self, rows: int) -> str:
        """What the function is for."""
        # why it is so
        return "done" if rows > self.size else "waiting"
'''

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def version_of(tmp_path, monkeypatch):
    """The code version of a module with this text."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def version_of(text: str, name: str = "sample_code") -> str:
        (tmp_path / f"{name}.py").write_text(text)
        code_version.cache_clear()
        return code_version(name)

    yield version_of
    code_version.cache_clear()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# why it is so", "# why it must be so"),
        ("  # per step", ""),
        ('"""What the module is for."""', '"""What this is for, told better."""'),
        ('    """What the class is for."""\n', ""),
        ('        """What the function is for."""\n', ""),
        ('    """In rows."""\n', ""),
        ("RATE = 0.1", "RATE = (\n    0.1\n)"),
        ('"done"', "'done'"),
        ("\n\n\nclass", "\n\nclass"),
    ],
)
def test_words_and_layout_are_no_code(version_of, old, new):
    """Comments, docstrings and formatting leave the version as it is: nothing is retrained for a sentence."""
    assert CODE.count(old) == 1
    assert version_of(CODE.replace(old, new)) == version_of(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.1", "0.2"),
        ("0.1", "1"),
        ("rows > self.size", "rows >= self.size"),
        ('"done"', '"ended"'),
        ("def run", "def execute"),
        ("rows: int", "rows: float"),
        ("class Step:", "class Step(dict):"),
        ("size: int", "size: int = 3"),
    ],
)
def test_every_change_of_the_code_shows(version_of, old, new):
    """Numbers, operators, names, texts that are values: each is another version."""
    assert version_of(CODE.replace(old, new, 1)) != version_of(CODE)


def test_the_version_covers_all_modules_named(version_of):
    """Several modules have one version, which each of them changes."""
    version_of(CODE)
    version_of(CODE, "other_code")
    before = code_version("sample_code", "other_code")
    assert before not in {
        code_version("sample_code"),
        code_version("other_code"),
        code_version("other_code", "sample_code"),
    }
    version_of(CODE.replace("0.1", "0.2"), "other_code")
    assert code_version("sample_code", "other_code") != before


def test_canonical_form_is_that_of_the_rfc():
    """Sorted keys, no blanks, shortest numbers, UTF-8: the example of RFC 8785, section 3.2.2 in short."""
    content = {"peach": 1e30, "1": "€", "10": [True, None, 4.50]}
    canonical = '{"1":"€","10":[true,null,4.5],"peach":1e+30}'
    assert canonical_sha256(content) == hashlib.sha256(canonical.encode()).hexdigest()


@given(content=st.dictionaries(st.text(), JSON, max_size=4), data=st.data())
def test_the_order_of_keys_does_not_count(content, data):
    """Equal content has one hash, however its keys are ordered."""
    keys = data.draw(st.permutations(list(content)))
    assert canonical_sha256({key: content[key] for key in keys}) == canonical_sha256(content)


@given(config=st.dictionaries(st.text(max_size=3), JSON, max_size=3), other=JSON)
def test_each_part_of_a_fingerprint_counts(config, other):
    """Asset, code, any field of the configuration and any upstream version are told apart."""
    parts = {"code": "1", "config": config, "upstream": {"features": "a"}}
    variants = [
        fingerprint("line_model", **parts),
        fingerprint("line_report", **parts),
        fingerprint("line_model", **{**parts, "code": "2"}),
        fingerprint("line_model", **{**parts, "config": {**config, "a new field": other}}),
        fingerprint("line_model", **{**parts, "upstream": {"features": "b"}}),
        fingerprint("line_model", **{**parts, "upstream": {"features": "a", "encoder": "a"}}),
    ]
    assert len({*variants}) == len(variants)
    assert fingerprint("line_model", **parts) == variants[0]
