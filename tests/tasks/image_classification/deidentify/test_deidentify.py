"""Copies tell nobody's identity, belong together as the originals do, and are whole; what cannot be made so is refused."""

import errno
import os
import random
import signal
import stat
import zipfile

import numpy as np
import pytest

from platform_assets.tasks.image_classification.deidentify.confidentiality import EDITION
from platform_assets.tasks.image_classification.deidentify.errors import DeidentifyError
from platform_assets.tasks.image_classification.deidentify.folders import deidentify
from platform_assets.tasks.image_classification.deidentify.options import Keep
from platform_assets.tasks.image_classification.dicom.files import open_files
from platform_assets.tasks.image_classification.dicom.standard import identifiers
from tests.tasks.image_classification.dicom.builders import (
    chest,
    chest_file,
    code,
    compressed,
    dataset,
    judged,
    rules,
    written,
)

KEY = b"a key of tests, long enough"
NAME, HOSPITAL, NUMBER = "Zyxwvut^Quentin", "Nowhere General", "MRN7734211"
BORN, TAKEN, TIME = "19420424", "20191112", "112233.445"
UID = "1.2.826.0.1.99.424242"
SECRETS = ("Zyxwvut", "Quentin", HOSPITAL, NUMBER, BORN, TAKEN, TIME, UID, "ACMEPRIV", "042Y")
IMPLICIT, DEFLATED, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
ENCODINGS = {"explicit": None, "implicit": IMPLICIT, "deflated": DEFLATED}


def _identified(made, *, image=1, study=1):
    """An X-ray as a hospital has it: names, numbers, dates and UIDs wherever there is room for them."""
    from pydicom.sequence import Sequence

    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientAge = NAME, NUMBER, BORN, "042Y"
    made.OtherPatientNames, made.PatientAddress, made.PatientComments = NAME, HOSPITAL, NAME
    made.InstitutionName = made.StationName = made.InstitutionAddress = HOSPITAL
    made.ReferringPhysicianName = made.OperatorsName = made.PerformingPhysicianName = NAME
    made.AccessionNumber = made.StudyID = NUMBER
    made.StudyDate = made.SeriesDate = made.ContentDate = made.AcquisitionDate = TAKEN
    made.StudyTime = made.ContentTime = TIME
    made.AcquisitionDateTime = TAKEN + "112233"
    made.StudyDescription = made.SeriesDescription = made.ProtocolName = f"{NAME} {NUMBER}"
    made.ImageComments, made.DerivationDescription = NAME, HOSPITAL
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"{UID}.3.{image}"
    made.StudyInstanceUID, made.SeriesInstanceUID = f"{UID}.1.{study}", f"{UID}.2.{study}"
    made.FrameOfReferenceUID, made.DeviceUID, made.DeviceSerialNumber = f"{UID}.4", f"{UID}.5", NUMBER
    item = code("113014")
    item.ReferencedSOPInstanceUID, item.PatientName, item.TextValue = f"{UID}.3.1", NAME, HOSPITAL
    item.PerformedProcedureStepStartDate = TAKEN
    made.AcquisitionContextSequence = Sequence([item])
    made.AnatomicRegionSequence[0].PatientID = NUMBER
    made.AnatomicRegionSequence[0].ReferencedImageBoxSequenceRetired = Sequence([item])
    made.RequestAttributesSequence = Sequence([item])
    made.SecondaryReviewerName, made.ContentDescription, made.ViewName = NAME, HOSPITAL, NAME[:16]
    made.ExpiryDate, made.ICCProfile = TAKEN, NAME.encode() + b"\0"
    block = made.private_block(0x0009, "ACMEPRIV", create=True)
    block.add_new(0x01, "LO", NAME)
    block.add_new(0x02, "SQ", Sequence([code(NUMBER)]))
    made.AnatomicRegionSequence[0].private_block(0x0011, "ACMEPRIV", create=True).add_new(1, "PN", NAME)
    made.add_new(0x60000022, "LO", NAME)
    made.add_new(0x60003000, "OW", NAME.encode() + b"\0")
    made.add_new(0x50003000, "OW", NAME.encode() + b"\0")
    made.file_meta.SourceApplicationEntityTitle = HOSPITAL
    made.file_meta.ImplementationVersionName = NUMBER
    for name in ("PatientIdentityRemoved", "DeidentificationMethodCodeSequence"):
        delattr(made, name)
    return made


def _hospitals(*, syntax=None, image=1, study=1, **options):
    """Bytes of such a file."""
    options.setdefault("image", None)
    seed = image * 10 + study
    made = _identified(dataset(image=options["image"], seed=seed), image=image, study=study)
    return written(made, syntax=syntax, preamble=NAME.encode().ljust(128, b"\0")) + NAME.encode()


def _folder(root, files):
    root.mkdir()
    for name, content in files.items():
        (root / name).write_bytes(content)
    return root


def _run(source, out, **options):
    asked = rules()
    options = {"key": KEY, **options}
    with open_files(source, asked.limits, ignore=asked.ignore) as files:
        return deidentify(files, out, asked, **options)


def _copies(out):
    """Content by name of all that is in a folder, hidden or not."""
    return {file.name: file.read_bytes() for file in sorted(out.iterdir())}


def _read(content):
    import io

    from pydicom import dcmread

    return dcmread(io.BytesIO(content))


def _one(tmp_path, content, **options):
    """Report and content of the one copy of a file."""
    number = len(list(tmp_path.iterdir()))
    report = _run(
        _folder(tmp_path / f"in{number}", {"Zyxwvut.dcm": content}), tmp_path / f"out{number}", **options
    )
    return report, next(iter(_copies(tmp_path / f"out{number}").values()), None)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_no_invented_value_is_in_a_copy(encoding, tmp_path):
    """Whatever the encoding: not in its bytes, nor in its name; and the whole gate lets it pass."""
    original = _hospitals(syntax=ENCODINGS[encoding])
    report, copy = _one(tmp_path, original)

    assert report.has_passed
    assert [secret for secret in SECRETS if secret.encode() in copy] == []
    assert [secret for secret in SECRETS if secret.encode("utf-16-le") in copy] == []
    assert judged(copy).findings == ()
    assert report.outcomes[0].written == f"{_read(copy).SOPInstanceUID}.dcm"
    if encoding != "deflated":
        assert [secret for secret in SECRETS if secret.encode() not in original] == []


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_value_of_the_profile_is_in_a_copy(tmp_path):
    """A marker in each attribute of the table, at the top and within a sequence."""
    from pydicom.sequence import Sequence

    from tests.tasks.image_classification.dicom.test_identity import (
        DATE_MARKER,
        FORBIDDEN,
        MARKER,
        UID_MARKER,
        _filled,
    )

    made = dataset(patient=MARKER)
    item = code("113100")
    for tag in FORBIDDEN:
        for place in (made, item):
            place.add_new(tag, *_filled(tag))
    made.add_new(0x00400260, "SQ", Sequence([item]))
    made.Modality, made.BurnedInAnnotation = "DX", "NO"
    made.RecognizableVisualFeatures = "NO"
    _, copy = _one(tmp_path, written(made))

    assert copy is not None
    for marker in (MARKER, UID_MARKER, DATE_MARKER):
        assert marker.encode() not in copy


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90"])
def test_compressed_pixels_come_along_as_they_are(syntax, tmp_path):
    """Nothing is decoded and packed anew."""
    original = compressed(syntax)
    report, copy = _one(tmp_path, original)

    assert report.has_passed
    assert _read(copy).PixelData == _read(original).PixelData
    assert _read(copy).file_meta.TransferSyntaxUID == syntax


def test_eight_bits_come_along_as_they_are(tmp_path):
    """Bytes stay bytes, in both orders of representation."""
    for syntax in ("1.2.840.10008.1.2.1", IMPLICIT):
        made = dataset(image=(chest(3) >> 4).astype(np.uint8))
        made.BitsAllocated = made.BitsStored = 8
        made.HighBit = 7
        made.PixelData = (chest(3) >> 4).astype(np.uint8).tobytes()
        made["PixelData"].VR = "OB"
        report, copy = _one(tmp_path, written(made, syntax=syntax))

        assert report.has_passed
        assert _read(copy).PixelData == made.PixelData


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_files_of_one_study_stay_together_and_so_do_runs(tmp_path):
    """UIDs and the patient's pseudonym are the same for the same, also in references, and again in the next run."""
    source = _folder(tmp_path / "in", {f"{at}.dcm": _hospitals(image=at) for at in (1, 2)})
    _run(source, tmp_path / "one")
    _run(source, tmp_path / "again")
    _run(source, tmp_path / "other", key=b"another key, long enough too")
    one, again, other = (_copies(tmp_path / name) for name in ("one", "again", "other"))
    first, second = (_read(content) for content in one.values())

    assert one == again
    assert one.keys().isdisjoint(other)
    assert first.PatientID == second.PatientID != NUMBER
    assert first.StudyInstanceUID == second.StudyInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID
    assert _read(next(iter(other.values()))).PatientID != first.PatientID


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_was_read_is_not_touched(tmp_path):
    """Neither bytes nor times."""
    source = _folder(tmp_path / "in", {"1.dcm": _hospitals()})
    before = (_copies(source), (source / "1.dcm").stat().st_mtime_ns)
    _run(source, tmp_path / "out")

    assert (_copies(source), (source / "1.dcm").stat().st_mtime_ns) == before


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_archive_and_processes_make_the_same_copies(tmp_path):
    """As a folder in one process does."""
    source = _folder(
        tmp_path / "in", {f"{at}.dcm": _hospitals(image=at) for at in (1, 2)} | {"3.dcm": b"none"}
    )
    packed = tmp_path / "in.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in sorted(source.iterdir()):
            archive.write(file, file.name)
    here = _run(source, tmp_path / "here")
    there = _run(packed, tmp_path / "there", workers=2)

    assert here == there
    assert _copies(tmp_path / "here") == _copies(tmp_path / "there")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_characteristics_stay_where_that_is_asked(tmp_path):
    """Stated by code; whoever is older than 89 becomes 90."""
    old = _identified(dataset())
    old.PatientAge, old.PatientSex = "097Y", "F"
    kept, copy = _one(tmp_path, written(old), keep=[Keep.CHARACTERISTICS])
    _, plain = _one(tmp_path, written(old))

    assert (_read(copy).PatientSex, _read(copy).PatientAge) == ("F", "090Y")
    assert kept.codes == ("113100", "113108")
    assert [item.CodeValue for item in _read(copy).DeidentificationMethodCodeSequence] == list(kept.codes)
    assert judged(copy).findings == ()
    assert (_read(plain).PatientSex, "PatientAge" in _read(plain)) == ("", False)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_texts_of_a_patient_do_not_stay_with_the_characteristics(tmp_path):
    """The option wants them cleaned (code C of the table), and nothing here can tell a name from an allergy."""
    told = _identified(dataset())
    told.Allergies = told.SpecialNeeds = told.PatientState = told.PreMedication = f"{NAME}, {NUMBER}"
    told.SmokingStatus = "NO"
    _, copy = _one(tmp_path, written(told), keep=[Keep.CHARACTERISTICS])
    assert _read(copy).SmokingStatus == "NO"
    for secret in SECRETS:
        assert secret == "042Y" or secret.encode() not in copy


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_device_stays_where_that_is_asked(tmp_path):
    """Its number and its UID."""
    report, copy = _one(tmp_path, _hospitals(), keep=[Keep.DEVICE])

    assert (_read(copy).DeviceSerialNumber, _read(copy).DeviceUID) == (NUMBER, f"{UID}.5")
    assert report.codes == ("113100", "113109")
    assert judged(copy).findings == ()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_dates_are_moved_by_the_same_days_for_a_patient(tmp_path):
    """Intervals stay, dates do not, the date of birth goes; without the option all of them go."""
    from datetime import datetime

    made = _identified(dataset())
    made.StudyDate, made.ContentDate, made.AcquisitionDateTime = TAKEN, "20191119", "20191120101112.5+0100"
    _, copy = _one(tmp_path, written(made), keep=[Keep.DATES_MODIFIED])
    moved = _read(copy)
    days = [
        datetime.strptime(text[:8], "%Y%m%d").date().toordinal()  # noqa: DTZ007 - a date has no zone
        for text in (moved.StudyDate, moved.ContentDate, moved.AcquisitionDateTime)
    ]

    assert (days[1] - days[0], days[2] - days[0]) == (7, 8)
    assert moved.StudyDate < TAKEN
    assert moved.AcquisitionDateTime.endswith("101112.5+0100")
    assert (moved.PatientBirthDate, moved.LongitudinalTemporalInformationModified) == ("", "MODIFIED")
    assert judged(copy).findings == ()
    _, plain = _one(tmp_path, written(made))
    assert (_read(plain).StudyDate, _read(plain).LongitudinalTemporalInformationModified) == ("", "REMOVED")


def _text(values):
    from tests.tasks.image_classification.dicom.test_burned_text import _with_text

    return _with_text(values, random.Random(3), text="DOE^JOHN 1970-03-04", size=20)


def _big_endian():
    return written(dataset(), syntax=BIG)


REFUSED = {
    "text among pixels": (lambda: chest_file(image=_text(chest(1, side=512))), "identity.burned_in_text"),
    "burned in: YES": (
        lambda: chest_file(lambda made: setattr(made, "BurnedInAnnotation", "YES")),
        "identity.burned_in_annotation",
    ),
    "recognizable": (
        lambda: chest_file(lambda made: setattr(made, "RecognizableVisualFeatures", "YES")),
        "identity.recognizable_features",
    ),
    "two frames": (
        lambda: chest_file(
            lambda made: (setattr(made, "NumberOfFrames", 2), setattr(made, "PixelData", made.PixelData * 2))
        ),
        "image.frames",
    ),
    "no pixels": (lambda: chest_file(lambda made: delattr(made, "PixelData")), "image.pixel_data"),
    "colours": (lambda: chest_file(lambda made: setattr(made, "SamplesPerPixel", 3)), "image.decodes"),
    "bits that are not theirs": (
        lambda: chest_file(
            lambda made: setattr(
                made, "PixelData", (np.frombuffer(made.PixelData, "<u2") | 0x8000).astype("<u2").tobytes()
            )
        ),
        "identity.hidden_bytes",
    ),
    "big endian": (_big_endian, "image.transfer_syntax"),
    "cut short": (lambda: chest_file()[:-900], "image.truncated"),
    "no image": (lambda: b"no image", "image.not_dicom"),
    "a name as a code": (
        lambda: chest_file(lambda made: setattr(made.AnatomicRegionSequence[0], "CodeValue", NAME)),
        "identity.value_forms",
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_vouched_for_gets_no_copy(name, tmp_path):
    """It is told by rule; the others go on."""
    make, rule = REFUSED[name]
    source = _folder(tmp_path / "in", {"1.dcm": make(), "2.dcm": chest_file(seed=2)})
    report = _run(source, tmp_path / "out")
    refused, other = report.outcomes

    assert refused.written is None
    assert f"dicom.{rule}" in {each.rule for each in refused.findings}
    assert other.written
    assert list(_copies(tmp_path / "out")) == [other.written]
    assert not report.has_passed


def test_a_file_that_does_not_say_is_left_to_a_person(tmp_path):
    """Nobody else can say that nothing is burned in: the copy is there, and has not passed."""
    report, copy = _one(tmp_path, chest_file(lambda made: delattr(made, "BurnedInAnnotation")))

    assert copy is not None
    assert "BurnedInAnnotation" not in _read(copy)
    assert [each.rule for each in report.outcomes[0].findings] == ["dicom.identity.burned_in_annotation"]
    assert not report.has_passed


def test_of_two_files_of_one_instance_the_second_gets_no_copy(tmp_path):
    """Nobody knows which is the one."""
    source = _folder(
        tmp_path / "in", {"1.dcm": chest_file(seed=1), "2.dcm": chest_file(seed=1, patient="P-2")}
    )
    report = _run(source, tmp_path / "out")

    assert [each.written is not None for each in report.outcomes] == [True, False]
    assert report.rules == {"dicom.image.duplicate": 1}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_report_counts_by_action_and_name_and_holds_no_value(tmp_path):
    """Of what was written."""
    report, _ = _one(tmp_path, _hospitals())

    assert report.actions["replaced"]["StudyInstanceUID"] == 1
    assert report.actions["replaced"]["ReferencedSOPInstanceUID"] == 1
    assert report.actions["emptied"]["PatientBirthDate"] == 1
    assert report.actions["removed"]["ViewName"] == 1
    assert report.actions["removed"]["(0009,1001)"] == 1
    for secret in SECRETS:
        assert secret not in repr(report)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_mapping_is_written_where_it_is_asked_for_and_for_its_owner_alone(tmp_path):
    """What was whose; a file that got no copy has a row as well."""
    source = _folder(tmp_path / "in", {"a.dcm": _hospitals(), "b.dcm": b"none"})
    report = _run(source, tmp_path / "out", mapping=tmp_path / "mapping.csv")
    _, first, second = (tmp_path / "mapping.csv").read_text(encoding="utf-8").splitlines()
    copy = _read((tmp_path / "out" / report.outcomes[0].written).read_bytes())

    assert stat.S_IMODE((tmp_path / "mapping.csv").stat().st_mode) == 0o600
    assert first == ",".join(
        ["a.dcm", report.outcomes[0].written, NUMBER, copy.PatientID, f"{UID}.1.1", copy.StudyInstanceUID,
         f"{UID}.3.1", copy.SOPInstanceUID]
    )  # fmt: skip
    assert second == "b.dcm,,,,,,,"


def test_where_something_lies_nothing_is_written(tmp_path):
    """In a folder that holds something, over a mapping, or to a mapping among the copies."""
    source = _folder(tmp_path / "in", {"1.dcm": chest_file()})
    (tmp_path / "mapping.csv").write_text("mine", encoding="utf-8")

    with pytest.raises(DeidentifyError, match="holds something"):
        _run(source, source)
    with pytest.raises(DeidentifyError, match="is there already"):
        _run(source, tmp_path / "out", mapping=tmp_path / "mapping.csv")
    with pytest.raises(DeidentifyError, match="lies among the copies"):
        _run(source, tmp_path / "out", mapping=tmp_path / "out" / "mapping.csv")
    with pytest.raises(DeidentifyError, match="no folder"):
        _run(source, source / "1.dcm" / "out")
    assert list(_copies(source)) == ["1.dcm"]


def test_a_disk_that_takes_no_more_is_told_in_a_sentence(tmp_path, monkeypatch):
    """What is there is whole, and the error is one that we foresaw."""

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "a message")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(DeidentifyError, match=r"nothing more can be written there \(ENOSPC\)"):
        _run(_folder(tmp_path / "in", {"1.dcm": chest_file()}), tmp_path / "out")
    assert _copies(tmp_path / "out") == {}


def test_a_missing_library_is_told_in_a_sentence(tmp_path, monkeypatch):
    """With what to install."""
    monkeypatch.setattr(
        "platform_assets.tasks.image_classification.deidentify.folders.find_spec", lambda name: None
    )

    with pytest.raises(DeidentifyError, match=r"pip install 'platform-assets\[imaging\]'"):
        _run(_folder(tmp_path / "in", {"1.dcm": chest_file()}), tmp_path / "out")


def test_the_library_knows_every_attribute_that_the_gate_looks_for():
    """Both have the same table, so that a later edition of one alone is seen."""
    from dicomanonymizer.simpledicomanonymizer import initialize_actions

    known = {(tag[0] << 16) | tag[1] for tag in initialize_actions(f"dicomfields_{EDITION}") if len(tag) == 2}

    assert set(identifiers()) - known == set()


def _killed_at(source, out, place):
    """Status of a process that is killed where its third file gets its name: before that, or right after."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    link, count = os.link, 0

    def counting(*arguments, **options):
        nonlocal count
        count += 1
        if count == place[0] and not place[1]:
            os.kill(os.getpid(), signal.SIGKILL)
        link(*arguments, **options)
        if count == place[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    os.link = counting
    _run(source, out)
    os._exit(0)


PLACES = [(2, False), (2, True)]


@pytest.mark.parametrize(
    "place",
    [*PLACES, *(pytest.param((at // 2, bool(at % 2)), marks=pytest.mark.long) for at in range(6, 26))],
)
@pytest.mark.filterwarnings("ignore")
def test_a_kill_leaves_whole_copies_alone(place, tmp_path):
    """What has a name is all there, and nothing else is; the same command into another folder makes the same."""
    count = place[0] + 2
    source = _folder(
        tmp_path / "in",
        {f"{at:02}.dcm": chest_file(seed=at, image=chest(at, side=64)) for at in range(count)},
    )
    status = _killed_at(source, tmp_path / "killed", place)
    _run(source, tmp_path / "whole")
    killed, whole = _copies(tmp_path / "killed"), _copies(tmp_path / "whole")

    assert os.WTERMSIG(status) == signal.SIGKILL
    assert len(killed) == place[0] - (not place[1])
    assert killed.items() <= whole.items()
    assert len(whole) == count
