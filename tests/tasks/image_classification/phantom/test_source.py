"""The files of a source: the same for ever, valid, judged as they should be; and what their labels say."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from platform_assets.datasets.contract import CONTRACTS_FOLDER
from platform_assets.tasks.image_classification.dicom.files import TOO_LARGE, FileProblemError
from platform_assets.tasks.image_classification.dicom.gate import check_files
from platform_assets.tasks.image_classification.dicom.limits import Limits
from platform_assets.tasks.image_classification.dicom.rules import load_rules
from platform_assets.tasks.image_classification.phantom.defects import DEFECTS
from platform_assets.tasks.image_classification.phantom.devices import DEVICES, SITES
from platform_assets.tasks.image_classification.phantom.source import open_phantom
from tests.line_factory import ROOT

_SALT = b"a salt of tests, long enough"


@pytest.fixture(scope="session")
def gate():
    """Holds a source against the rules that ship."""
    pytest.importorskip("pydicom", reason="no pydicom: install the extra `imaging`")
    rules = load_rules(CONTRACTS_FOLDER / "chest_xrays.yaml")
    return lambda phantom: check_files(phantom.files, rules, salt=_SALT)


@pytest.fixture(scope="session")
def judged(gate, sixty):
    """The report on sixty images."""
    return gate(sixty)


def test_a_file_is_the_same_whenever_it_is_read(opened, sixty):
    """In whatever order, by whichever object; of the length that was listed."""
    again = opened(60, 3)
    read = [sixty.files.read(at) for at in range(60)]

    assert [again.files.read(at) for at in reversed(range(60))] == read[::-1]
    assert [len(content) for content in read] == [file.size_bytes for file in sixty.files.files]
    assert len(set(read)) == 60


def test_bits_depend_on_neither_threads_nor_processors(sixty, cache):
    """Another process, with one thread and without the newer instructions of this processor, renders the same."""
    import hashlib

    program = """
import hashlib, sys
from pathlib import Path
from platform_assets.tasks.image_classification.dicom.limits import Limits
from platform_assets.tasks.image_classification.phantom.source import open_phantom
files = open_phantom("phantom://chest?n=60&seed=3", Limits(), cache=Path(sys.argv[1])).files
print(hashlib.sha256(b"".join(files.read(at) for at in range(4))).hexdigest())
"""
    told = subprocess.run(
        [sys.executable, "-c", program, str(cache)],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "OPENBLAS_CORETYPE": "Haswell",
        }
        | {"NPY_DISABLE_CPU_FEATURES": "AVX512F,AVX512_SKX,AVX2,FMA3", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )

    here = hashlib.sha256(b"".join(sixty.files.read(at) for at in range(4))).hexdigest()
    assert told.stdout.strip() == here


def test_files_are_listed_as_any_source_lists_them(sixty):
    """By the bytes of their names, which tell nothing of the patient; SHA-256 is that of what is read."""
    import hashlib

    names = [file.name for file in sixty.files.files]

    assert names == sorted(names)
    assert names[0] == "images/0000000/1.dcm"
    assert sixty.files.sha256(7) == hashlib.sha256(sixty.files.read(7)).hexdigest()


def test_the_identity_is_that_of_all_that_decides(opened):
    """Count, seed and defects; the same for the same."""
    identities = [
        opened(*each).identity for each in ((20, 1, 0), (20, 1, 0), (21, 1, 0), (20, 2, 0), (20, 1, 1))
    ]

    assert identities[0] == identities[1]
    assert len(set(identities)) == 4
    assert all(len(each) == 64 for each in identities)


def test_bounds_hold_here_too(cache, ct):
    """A file that is larger than what a line reads is listed with the rule, and not rendered."""
    phantom = open_phantom("phantom://chest?n=2", Limits(file_bytes=1000), cache=cache)

    assert [file.rule for file in phantom.files.files] == [TOO_LARGE] * 2
    with pytest.raises(FileProblemError, match=TOO_LARGE):
        phantom.files.read(0)


def test_every_file_passes_the_gate(judged):
    """All rules that ship; none has text in it, none looks like that of another patient."""
    assert judged.rules == {}
    assert judged.verdicts == {"pass": 60, "quarantine": 0, "reject": 0}


def test_the_gate_sees_what_the_files_say(judged, sixty):
    """Views, sexes, ages, devices of both kinds of grey; 1 to 4 images a patient."""
    reports = judged.reports
    cohort = sixty._renderer.cohort

    assert [report.view_position for report in reports] == ["AP" if each else "PA" for each in cohort.is_ap]
    assert [report.sex for report in reports] == ["F" if each else "M" for each in cohort.is_woman]
    assert [report.was_inverted for report in reports] == [site == 1 for site in cohort.site]
    assert {report.bits_stored for report in reports} == {10, 12, 14}
    assert {report.age_band for report in reports} >= {"50-59"}
    assert len({report.instance for report in reports}) == len({report.study for report in reports}) == 60
    patients = [report.patient for report in reports]
    assert {patients.count(each) for each in patients} <= {1, 2, 3, 4}
    assert len(set(patients)) == cohort.patient[-1] + 1


def test_each_defect_breaks_its_own_rule_and_no_other(opened, gate):
    """The last files of a source, each kind at least once; all files before them are good."""
    count = len(DEFECTS) + 2
    phantom = opened(count + 6, 9, count)
    found = gate(phantom)
    broken = {
        file.name: [each.rule for each in report.findings]
        for file, report in zip(found.files, found.reports, strict=True)
        if report.findings
    }

    assert broken == {name: [rule] for name, rule in phantom.defects.items()}
    assert list(phantom.defects) == [file.name for file in phantom.files.files[6:]]
    assert len(set(phantom.defects.values())) == len(DEFECTS)
    assert [len(phantom.files.read(at)) for at in range(count + 6)] == [
        file.size_bytes for file in phantom.files.files
    ]
    assert {"quarantine", "reject"} == {report.verdict for report in found.reports[6:]}


def test_files_are_valid_dx_objects(sixty, tmp_path):
    """The validator dciodvfy names the kind of object and has nothing else to say, for every device and view."""
    beside = Path(sys.executable).with_name("dciodvfy")
    tool = str(beside) if beside.exists() else shutil.which("dciodvfy")
    if tool is None:
        pytest.skip("DX FILES NOT VALIDATED: no dciodvfy; install the extra `dev`")
    cohort = sixty._renderer.cohort
    seen = set()
    for at in range(24):
        path = tmp_path / f"{at}.dcm"
        path.write_bytes(sixty.files.read(at))
        told = subprocess.run([tool, path], capture_output=True, text=True, check=False)

        assert (told.returncode, told.stdout + told.stderr) == (0, "DXImageForPresentation\n")
        seen.add((cohort.site[at], cohort.is_ap[at]))
    assert len(seen) == sum(map(len, DEVICES))


def test_labels_have_a_row_a_file(sixty, judged):
    """In the order of the files; what is unknown is null, and a box is where a finding is."""
    from platform_assets.tasks.image_classification.dicom.gate import instance_hash

    labels = sixty.labels()
    rows = labels.to_pylist()

    assert labels.column_names == [
        "file",
        "instance",
        "label",
        "adjudicated_label",
        "reader",
        "finding",
        "grade",
        "box_top",
        "box_left",
        "box_bottom",
        "box_right",
        "site",
    ]
    assert [row["file"] for row in rows] == [file.name for file in sixty.files.files]
    assert [instance_hash(row["instance"], _SALT) for row in rows] == [
        report.instance for report in judged.reports
    ]
    assert {row["site"] for row in rows} == set(SITES)
    for row in rows:
        box = [row[f"box_{side}"] for side in ("top", "left", "bottom", "right")]
        if not row["adjudicated_label"]:
            assert [row["finding"], row["grade"], *box] == [None] * 6
            continue
        top, left, bottom, right = box
        assert row["finding"] in ("nodule", "consolidation", "multifocal")
        assert 1 <= row["grade"] <= 5
        assert 0 <= top < bottom <= 128
        assert 0 <= left < right <= 128


def test_a_finding_is_what_is_in_its_box(sixty):
    """Without it the same image is darker there, and hardly another anywhere else."""
    renderer = sixty._renderer
    cohort = renderer.cohort
    without = dataclasses.replace(
        renderer, cohort=dataclasses.replace(cohort, finding=np.full_like(cohort.finding, -1))
    )
    for at in np.flatnonzero(cohort.finding >= 0)[:15]:
        device = DEVICES[cohort.site[at]][int(cohort.is_ap[at])]
        added = (renderer.image(at).astype(float) - without.image(at)) / (1 << device.bits)
        box = renderer.box(at)
        inside = np.zeros(added.shape, dtype=bool)
        inside[box.top : box.bottom, box.left : box.right] = True

        assert added[inside].mean() > added[~inside].mean() + 0.01
        assert inside.ravel()[added.argmax()]
        assert without.box(at) is None


def test_a_higher_grade_is_easier_to_see(opened):
    """What a finding adds grows with its grade."""
    renderer = opened(60, 3)._renderer
    at = int(np.flatnonzero(renderer.cohort.finding >= 0)[0])
    sums = []
    for grade in range(1, 6):
        grades = renderer.cohort.grade.copy()
        grades[at] = grade
        graded = dataclasses.replace(renderer, cohort=dataclasses.replace(renderer.cohort, grade=grades))
        sums.append(graded.image(at).astype(float).sum())

    assert sums == sorted(sums)
    assert len(set(sums)) == 5
