"""No single attribute that identifies gets through, and no value comes out again."""

import logging
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from platform_assets.tasks.image_classification.dicom.standard import identifiers, tag_name
from tests.tasks.image_classification.dicom.builders import (
    SALT,
    checked,
    chest_file,
    code,
    dataset,
    judged,
    rules,
    written,
)

MARKER = "ZQ7MARKER"
UID_MARKER = "1.2.826.0.1.99.424242.1"
DATE_MARKER = "19420424"
KEPT = rules().identity.direct_identifiers.keep


def _filled(tag):
    """A value for an attribute that stands for a real one, by how it is represented; None of what holds only others."""
    from pydicom.datadict import dictionary_VR

    try:
        vr = dictionary_VR(tag)
    except KeyError:
        vr = "LO"
    vr = vr.partition(" ")[0]
    by_vr = {
        "UI": UID_MARKER, "DA": DATE_MARKER, "TM": "112233", "DT": DATE_MARKER, "AS": "042Y", "DS": "42.5", "IS": "42",
        "SQ": [code(MARKER)], "OB": MARKER.encode() + b"0", "OW": MARKER.encode() + b"0", "UN": MARKER.encode() + b"0",
        "US": 4242, "UL": 4242, "FL": 4.5, "FD": 4.5, "SS": 42, "SL": 42, "UV": 42, "OF": b"0000",
    }  # fmt: skip
    return vr, by_vr.get(vr, MARKER)


def _with(tag, *, nested=False, behind=False):
    from pydicom.sequence import Sequence

    made = dataset()
    vr, value = _filled(tag)
    place = made
    if nested:
        item = code("113100")
        made.add_new(0x00400260, "SQ", Sequence([item]))
        place = item
    place.add_new(tag, vr, value)
    if behind:
        made.private_block(0x7FE1, MARKER, create=True).add_new(1, "LO", MARKER)
    return written(made)


PATIENT_ID = 0x00100020
"""May be a pseudonym, which nothing tells from an id of a hospital."""
FORBIDDEN = sorted(tag for tag in identifiers() if tag >> 16 > 0x0002 and tag != PATIENT_ID)


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=35, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tag=st.sampled_from(FORBIDDEN), nested=st.booleans())
def test_any_attribute_of_the_profile_is_found(tag, nested):
    """At the top and inside sequences, whatever it is, unless an option under which it stays is stated."""
    _assert_found(tag, nested=nested)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("nested", [False, True])
def test_every_attribute_of_the_profile_is_found(nested):
    """All of them, one at a time."""
    for tag in FORBIDDEN:
        _assert_found(tag, nested=nested)


def _assert_found(tag, *, nested):
    known = identifiers()[tag]
    found = {
        each.rule: each.tags for each in judged(_with(tag, nested=nested)).findings if "identity" in each.rule
    }
    if known.kept_by == "113108":
        assert found == {}, "stated by the file and kept by the line"
        return
    named = {"dicom.identity.direct_identifiers", "dicom.identity.uid_roots", "dicom.identity.dates"}
    assert any(tag_name(tag) in found.get(rule, ()) for rule in named), known


@settings(max_examples=20)
@given(group=st.integers(0x0009, 0x7FDF).filter(lambda group: group % 2), element=st.integers(0x1000, 0x10FF))
def test_any_private_attribute_is_found(group, element):
    """Whatever its group, be it named or not."""
    made = dataset()
    made.add_new((group << 16) | element, "LO", MARKER)

    (found,) = judged(written(made)).findings
    assert found.rule == "dicom.identity.private_tags"
    assert found.tags == (f"({group:04X},{element:04X})",)


def test_what_an_option_keeps_must_be_stated_by_the_file():
    """Age and sex stay under 113108; without it they identify, and are not told."""
    made = dataset()
    made.DeidentificationMethodCodeSequence = made.DeidentificationMethodCodeSequence[:1]
    found = judged(written(made))

    assert [(each.rule, each.tags) for each in found.findings] == [
        ("dicom.identity.direct_identifiers", ("PatientAge", "PatientSex"))
    ]
    assert (found.sex, found.age_band) == (None, None)
    kept = judged(chest_file())
    assert (kept.sex, kept.age_band) == ("F", "40-49")


@pytest.mark.parametrize(
    ("age", "band"), [("005Y", "0-9"), ("089Y", "80-89"), ("090Y", "90+"), ("117Y", "90+"), ("018M", "0-9")]
)
def test_ages_are_told_in_bands(age, band):
    """Ten years each, and whoever is ninety or older is in one."""
    assert judged(chest_file(lambda made: setattr(made, "PatientAge", age))).age_band == band


def test_no_value_of_a_file_comes_out_again(tmp_path, capfd, caplog):
    """Markers in every attribute, also such as break what reads them: no report, table, log or warning holds one."""
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        made = dataset(patient=MARKER)
        for tag in FORBIDDEN:
            vr, value = _filled(tag)
            made.add_new(tag, vr, value)
        for name in ("Modality", "ViewPosition", "BodyPartExamined", "PhotometricInterpretation", "PatientSex",
                     "PresentationIntentType", "LossyImageCompression", "BurnedInAnnotation"):  # fmt: skip
            setattr(made, name, MARKER)
        made.private_block(0x0009, MARKER, create=True).add_new(1, "LO", MARKER)
        content = written(made)
        warned.clear()
        caplog.clear()
        capfd.readouterr()
        (tmp_path / "files").mkdir()
        for at, each in enumerate(
            (content, content[:-9000], content.replace(b"CS\x02\x00", b"DS\x02\x00"), content + b"x")
        ):
            (tmp_path / "files" / f"{at}.dcm").write_bytes(each)
        found = checked(tmp_path / "files")
        table = found.to_table(SALT)
    told = [repr(found.reports), repr(table.to_pydict()), caplog.text, *map(str, capfd.readouterr())]
    told += [str(each.message) for each in warned]

    assert found.verdicts["pass"] == 0
    for text in told:
        for marker in (MARKER, UID_MARKER, DATE_MARKER):
            assert marker.casefold() not in text.casefold()


TWICE = b"PN\x0c\x00Someone^Real"


def test_a_name_behind_another_of_the_same_tag_is_found(valid):
    """Of two elements with one tag, a parser shows the last, which is empty."""
    tag = b"\x10\x00\x10\x00"
    at = valid.index(tag + b"PN")
    hidden = valid[:at] + tag + TWICE + valid[at:]

    assert [each.rule for each in judged(hidden).findings] == ["dicom.identity.hidden_bytes"]


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_name_behind_another_within_a_sequence_is_found(is_closed):
    """Whether or not the sequence states its length."""
    made = dataset()
    made["AnatomicRegionSequence"].is_undefined_length = not is_closed
    made.AnatomicRegionSequence[0].is_undefined_length_sequence_item = not is_closed
    content = written(made)
    tag = b"\x08\x00\x04\x01"
    at = content.index(tag + b"LO\x06\x00Chest ")
    inserted = tag + b"LO\x0c\x00Someone^Real"
    hidden = content[:at] + inserted + content[at:]
    if is_closed:
        start = content.index(b"\x08\x00\x18\x22SQ") + 8
        for place in (start, start + 8):
            length = int.from_bytes(content[place : place + 4], "little") + len(inserted)
            hidden = hidden[:place] + length.to_bytes(4, "little") + hidden[place + 4 :]

    assert judged(content).findings == ()
    assert [each.rule for each in judged(hidden).findings] == ["dicom.identity.hidden_bytes"]


def test_a_name_behind_another_behind_the_pixels_is_found():
    """There, too."""
    made = dataset()
    made.add_new(0x7FE11010, "LO", "x")
    content = written(made)
    element = content[content.rindex(b"\xe1\x7f\x10\x10LO") :]
    found = {each.rule for each in judged(content + element).findings}

    assert found == {"dicom.identity.hidden_bytes", "dicom.identity.private_tags"}
