"""An entry is written in one way only, and no other bytes are an entry."""

import json

import orjson
import pytest
import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st

from platform_assets.ledger.entry import Entry, _read_exactly, _read_fast, canonical
from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.ledger import GENESIS

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: (
        st.lists(children) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), children)
    ),
    max_leaves=8,
)


@given(value=json_values)
def test_any_json_body_survives_byte_for_byte(value):
    """Parsing an entry and writing it again gives the same bytes, for floats beyond 2^53 as well."""
    raw = canonical(
        {
            "schema_version": 1,
            "seq": 1,
            "previous_hash": GENESIS,
            "time": "2026-11-22T12:00:00.000000Z",
            "kind": "note",
            "subject": "line",
            "fingerprint": "f",
            "principal": "ada",
            "body": {"value": value},
        },
        "entry",
    )
    assert canonical(Entry.parse(raw).body, "body") == canonical({"value": value}, "body")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"seq":1', b'"seq": 1'),
        (b'"seq":1', b'"seq":true'),
        (b'"seq":1', b'"seq":1,"seq":1'),
        (b'"seq":1', b'"seq":NaN'),
        (b'"seq":1', b'"seq":1' + b"0" * 400),
        (b'"schema_version":1', b'"schema_version":2'),
        (b'"principal":"ada",', b""),
        (b"12:00:00.000000Z", b"12:00:00Z"),
        (b"12:00:00.000000Z", b"12:00:00.000000"),
        (b"2026-11-22T", b"2026-13-22T"),
        (b"note", b"\xff"),
        (b"{}", b"[" * 100_000),
    ],
)
def test_bytes_that_are_not_format_1_are_no_entry(ledger, old, new):
    """Whatever deviates from the one way to write an entry is refused."""
    raw = ledger.append("note", "line", fingerprint="f", body={}).raw
    assert raw.count(old) == 1
    with pytest.raises(LedgerError):
        Entry.parse(raw.replace(old, new))


# --- The fast path ----------------------------------------------------------------------------------
# It may only say yes where the exact one does, and must then have read the same.


def assert_sound(raw):
    """Whatever the fast path accepts, the exact one accepts as the same values of the same types."""
    document = _read_fast(raw)
    if document is not None:
        exact = _read_exactly(raw)
        assert repr(exact) == repr(document)
        assert rfc8785.dumps(document) == raw


# Where orjson, RFC 8785 or Python change the way they write a number.
turning_points = st.sampled_from(
    [
        0.0,
        -0.0,
        5e-324,
        1e-7,
        1e-6,
        1e-5,
        1e-4,
        1.0,
        2.0**52,
        2.0**53,
        1e15,
        1e16,
        1e17,
        2.0**63,
        2.0**64,
        1e21,
        1e22,
    ]
)
near_turning_points = st.builds(
    lambda point, steps, sign: sign * (point + steps * (abs(point) * 2**-52 or 5e-324)),
    turning_points,
    st.integers(-40, 40),
    st.sampled_from([1, -1]),
)
number_texts = st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
keys = st.text(st.sampled_from('ab\x7f\u00fc\ud7ff\ue000\uffff\U00010000\U0010ffff"\\\n'), max_size=3)


@settings(max_examples=400)
@given(number=near_turning_points | st.floats(allow_nan=False, allow_infinity=False))
def test_the_fast_path_is_exact_about_floats(number):
    """In each form in which somebody may write them."""
    forms = {repr(number), json.dumps(number), orjson.dumps(number).decode(), rfc8785.dumps(number).decode()}
    forms |= {f"{number:.17g}", f"{number:.3f}", f"{number:e}", f"{number:.0f}"}
    for form in forms:
        assert_sound(b'{"x":[' + form.encode() + b"]}")


@settings(max_examples=400)
@given(text=number_texts)
@example(text="9007199254740992")
@example(text="-9007199254740993")
@example(text="18446744073709551615")
@example(text="-0")
@example(text="1e+21")
def test_the_fast_path_is_exact_about_the_text_of_numbers(text):
    """Digits, signs, fractions and exponents of any kind."""
    assert_sound(b'{"x":' + text.encode() + b"}")


@settings(max_examples=300)
@given(
    document=st.dictionaries(keys, json_values | st.dictionaries(keys, json_values, max_size=3), max_size=4),
    write=st.sampled_from(
        [
            rfc8785.dumps,
            orjson.dumps,
            lambda value: orjson.dumps(value, option=orjson.OPT_SORT_KEYS),
            lambda value: json.dumps(value, sort_keys=True, separators=(",", ":")).encode(),
            lambda value: json.dumps(value, ensure_ascii=False).encode(),
        ]
    ),
    data=st.data(),
)
def test_the_fast_path_is_exact_about_any_bytes(document, write, data):
    """Written by one library or another, and with some bytes replaced."""
    raw = bytearray(write(document))
    assert_sound(bytes(raw))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        new = data.draw(
            st.sampled_from([b"", *(bytes([byte]) for byte in b'0159.eE+-"\\{}[],: un\x7f\x1f\xc3\xbc\xee')])
        )
        raw[at : at + data.draw(st.integers(0, 1))] = new
        assert_sound(bytes(raw))


@pytest.mark.parametrize(
    "body",
    [
        {
            "evidence": {"observed": 0.9517, "interval": [0.9432123412341235, 0.9599], "rows": 1950},
            "waiver": None,
        },
        {"text": 'größer ≥ 0,92\n"und" \\', "largest": 2**53 - 1, "smallest": -(2**53) + 1, "p": 0.00001},
    ],
)
def test_ordinary_entries_are_spared_the_exact_path(body):
    """Otherwise a long ledger would take minutes to verify."""
    assert _read_fast(rfc8785.dumps(body)) == body


@pytest.mark.parametrize("value", [1e-6, 1.5e-7, 1e16, 1e21, 2.0**53, {"\ue000": 1, "\U00010000": 2}])
def test_rare_values_go_the_exact_path_and_are_accepted_there(value):
    """The fast path cannot tell, which is not the same as no."""
    raw = rfc8785.dumps({"x": value})
    assert _read_fast(raw) is None
    assert _read_exactly(raw) == {"x": value}
