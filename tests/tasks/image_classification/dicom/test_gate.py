"""All files of a source: counts, duplicates, and a decoder that crashes."""

import os
import zipfile

import numpy as np
import pytest

from platform_assets.datasets.contract import load_contract
from platform_assets.governance.subjects import Subject
from platform_assets.tasks.image_classification.dicom import judge
from platform_assets.tasks.image_classification.dicom.gate import instance_hash, name_hash, table_schema
from tests.tasks.image_classification.dicom.builders import (
    CONTRACT,
    SALT,
    checked,
    chest,
    chest_file,
    dataset,
    judged,
    written,
)


@pytest.fixture
def folder(tmp_path):
    """Three good files of two patients, one that is quarantined, one that is rejected, and a table beside them."""
    root = tmp_path / "files"
    root.mkdir()
    for seed, patient in ((1, "P-1"), (2, "P-1"), (3, "P-2")):
        (root / f"{seed}.dcm").write_bytes(chest_file(seed=seed, patient=patient))
    (root / "4.dcm").write_bytes(
        chest_file(lambda made: setattr(made, "BurnedInAnnotation", "YES"), seed=4, patient="P-3")
    )
    (root / "5.dcm").write_bytes(b"no image")
    (root / "labels.csv").write_bytes(b"file,label\n1.dcm,1\n")
    return root


def _rules_of(report):
    return [sorted(each.rule for each in one.findings) for one in report.reports]


def test_every_file_has_a_verdict_and_the_rules_that_decided(folder):
    """In the order of the files' names, with counts by verdict and by rule."""
    found = checked(folder)

    assert [report.verdict for report in found.reports] == ["pass", "pass", "pass", "quarantine", "reject"]
    assert found.verdicts == {"pass": 3, "quarantine": 1, "reject": 1}
    assert found.rules == {"dicom.identity.burned_in_annotation": 1, "dicom.image.not_dicom": 1}
    assert found.ignored == 1
    assert [at for at, _, _ in found.not_passed()] == [3, 4]


def test_an_archive_and_a_folder_of_the_same_files_get_the_same_report(folder):
    """With or without processes."""
    packed = folder.parent / "files.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    here, there, apart = checked(folder), checked(packed), checked(packed, workers=2)

    assert here == there == apart


def test_the_table_has_a_row_a_file_and_nothing_that_identifies(folder):
    """Hashes under the salt stand for patients and names; whoever has both finds them."""
    table = checked(folder).to_table(SALT)
    first = table.slice(0, 1).to_pylist()[0]

    assert table.schema == table_schema()
    assert table.num_rows == 5
    assert first["patient"] == Subject("patient", "P-1").hashed(SALT)
    assert first["name_hash"] == name_hash("1.dcm", SALT)
    assert first["instance"] == instance_hash(str(dataset(seed=1).SOPInstanceUID), SALT)
    assert (
        table["patient"].to_pylist()[0] == table["patient"].to_pylist()[1] != table["patient"].to_pylist()[2]
    )
    assert "P-1" not in str(table.to_pydict())
    assert table["verdict"].to_pylist() == ["pass"] * 3 + ["quarantine", "reject"]
    assert table["identity"].to_pylist() == ["pass"] * 3 + ["quarantine", "pass"]
    assert table["image"].to_pylist() == ["pass"] * 4 + ["reject"]
    assert (first["modality"], first["view_position"], first["sex"], first["age_band"]) == (
        "DX",
        "PA",
        "F",
        "40-49",
    )


def test_another_salt_makes_other_hashes(valid):
    """A hash says nothing to those who lack the salt."""
    one, other = (
        judge.judge_file(valid, _rules(), name="x", salt=salt) for salt in (SALT, b"another salt, long")
    )

    assert {one.patient, one.study, one.instance}.isdisjoint({other.patient, other.study, other.instance})


def _rules():
    from tests.tasks.image_classification.dicom.builders import rules

    return rules()


def test_of_equal_files_the_first_stays(folder):
    """Whatever they are called; the others are rejected, since nothing is lost with them."""
    (folder / "9.dcm").write_bytes((folder / "1.dcm").read_bytes())
    found = checked(folder)

    assert _rules_of(found)[0] == []
    assert (found.reports[-1].verdict, _rules_of(found)[-1]) == ("reject", ["dicom.image.duplicate"])


def test_files_that_claim_to_be_one_object_are_quarantined(folder):
    """Nobody knows which of them is."""
    (folder / "9.dcm").write_bytes(chest_file(seed=1, image=chest(77), patient="P-1"))
    found = checked(folder)

    assert _rules_of(found)[0] == _rules_of(found)[-1] == ["dicom.image.duplicate"]
    assert found.reports[0].verdict == "quarantine"


def _again(seed, patient, change):
    """An image under another identity."""
    return chest_file(seed=seed + 500, image=change(chest(seed)), patient=patient)


ALIKE = {
    "brighter": lambda image: (image * 0.8 + 500).astype(np.uint16),
    "half as large": lambda image: np.ascontiguousarray(image[::2, ::2]),
    "noisier": lambda image: np.clip(
        image + np.random.default_rng(1).normal(0, 30, image.shape), 0, 4095
    ).astype(np.uint16),
}


@pytest.mark.parametrize("change", ALIKE)
def test_an_image_of_two_patients_is_quarantined_in_both(folder, change):
    """A leak between splits, or a patient under two names; not so of one patient, whose exposures are repeated."""
    (folder / "9.dcm").write_bytes(_again(1, "P-2", ALIKE[change]))
    found = checked(folder)
    assert _rules_of(found)[0] == _rules_of(found)[-1] == ["dicom.image.near_duplicate"]

    (folder / "9.dcm").write_bytes(_again(1, "P-1", ALIKE[change]))
    assert _rules_of(checked(folder))[-1] == []


def test_different_patients_of_one_kind_are_not_taken_for_one(tmp_path):
    """Eighty chests, none of which is another."""
    for seed in range(80):
        (tmp_path / f"{seed:02}.dcm").write_bytes(
            chest_file(seed=seed, image=chest(seed, side=96), patient=f"P-{seed}")
        )

    assert checked(tmp_path).verdicts == {"pass": 80, "quarantine": 0, "reject": 0}


def _crashing(content, *arguments, **options):
    if b"CRASH" in content:
        os._exit(9)
    return judged(content)


def test_a_file_that_takes_its_process_down_is_rejected_and_no_other(folder, monkeypatch):
    """A decoder in C may do that; each file of its batch is judged again, in a process of its own."""
    monkeypatch.setattr("platform_assets.tasks.image_classification.dicom.processes.judge_file", _crashing)
    monkeypatch.setattr("multiprocessing.get_context", _forking(__import__("multiprocessing").get_context))
    (folder / "3a.dcm").write_bytes(b"CRASH")
    found = checked(folder, workers=2)

    assert _rules_of(found) == [
        [],
        [],
        [],
        ["dicom.image.crashes"],
        ["dicom.identity.burned_in_annotation"],
        ["dicom.image.not_dicom"],
    ]


def _forking(get_context):
    """Children that have what this process has, the crash among it."""
    return lambda method: get_context("fork")


def test_headers_alone_decode_nothing(folder):
    """An image of one grey passes; and nothing is said of pixels."""
    made = dataset(seed=8)
    made.PixelData = np.full((made.Rows, made.Columns), 700, "<u2").tobytes()
    (folder / "1.dcm").write_bytes(written(made))
    found = checked(folder, with_pixels=False)

    assert (found.reports[0].verdict, found.reports[0].levels) == ("pass", None)
    assert checked(folder).reports[0].verdict == "reject"


@pytest.mark.parametrize(("share", "failing"), [(0.02, set()), (0.3, {"dicom_identity"})])
def test_the_contract_judges_the_table_of_files(share, failing, tmp_path):
    """The expectations of the contract that ships: single files may fail, and a scanner that changes its tags may not."""
    from platform_assets.datasets.contract_check import check_table

    contract = load_contract(CONTRACT)
    row = checked_row(tmp_path)
    rows = []
    for at in range(200):
        is_bad = at < share * 200
        rows.append(row | {"file": at, "identity": "quarantine" if is_bad else "pass", "verdict": "pass"})
    import pyarrow as pa

    table = pa.Table.from_pylist(rows, schema=table_schema())
    # What the labels and the splits add.
    added = {"label": [0, 1] * 100, "split": ["train"] * 200, "released": [False] * 200}
    for name, values in added.items():
        table = table.append_column(name, pa.array(values))
    found = check_table(
        contract,
        table,
        domains=contract.domains,
        run_name="tests",
        salt=SALT,
    )

    assert {each.result.domain for each in found.domains if each.result.outcome != "pass"} == failing


def checked_row(root):
    """The row of a file that passes."""
    (root / "1.dcm").write_bytes(chest_file())
    return checked(root).to_table(SALT).to_pylist()[0]


def test_a_missing_library_is_told_in_a_sentence(folder, monkeypatch):
    """With what to install."""
    from platform_assets.tasks.image_classification.dicom.errors import ImagingMissingError

    monkeypatch.setattr("platform_assets.tasks.image_classification.dicom.extra.find_spec", lambda name: None)
    with pytest.raises(ImagingMissingError, match=r"pip install 'platform-assets\[imaging\]'"):
        checked(folder)
