"""Fingerprints: the same for the same thing, another for another."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from platform_assets.fingerprint import canonical_sha256, fingerprint

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


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
