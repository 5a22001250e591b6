"""`platform-assets dicom check`: counts, the files that did not pass, and an exit status that a pipeline can trust."""

import json

import pytest
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.tasks.image_classification.dicom.errors import RefusedSourceError
from tests.tasks.image_classification.dicom.builders import CONTRACT, chest_file

pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture
def folder(tmp_path):
    """One file that passes, one that is quarantined, one that is no image."""
    root = tmp_path / "files"
    root.mkdir()
    (root / "a.dcm").write_bytes(chest_file())
    (root / "b.dcm").write_bytes(chest_file(lambda made: setattr(made, "InstitutionName", "x"), seed=2))
    (root / "c.dcm").write_bytes(b"no image")
    return root


def dicom(*arguments):
    """Run `platform-assets dicom check …` in this process."""
    return CliRunner().invoke(app, ["dicom", "check", *map(str, arguments), "--workers", "0"])


def test_counts_and_the_files_that_did_not_pass_are_printed(folder):
    """By verdict, by rule, and file by file."""
    done = dicom(folder)

    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "pass               1",
        "quarantine         1",
        "reject             1",
        "",
        "      1  dicom.identity.direct_identifiers",
        "      1  dicom.image.not_dicom",
        "",
        "quarantine 'b.dcm'",
        "    dicom.identity.direct_identifiers: InstitutionName",
        "",
        "reject     'c.dcm'",
        "    dicom.image.not_dicom",
    ]


def test_where_every_file_passes_the_exit_status_is_zero(folder):
    """Also of one file."""
    assert dicom(folder / "a.dcm").exit_code == 0
    assert dicom(folder / "b.dcm").exit_code == 1


def test_json_tells_the_same(folder):
    """With hashes of the rules and of the source."""
    done = dicom(folder, "--json")
    told = json.loads(done.stdout)

    assert (done.exit_code, told["passed"], told["files"]) == (1, False, 3)
    assert told["verdicts"] == {"pass": 1, "quarantine": 1, "reject": 1}
    assert set(told["rule_set_hashes"]) == {"dicom.identity", "dicom.image", "dicom.acquisition"}
    assert told["not_passed"][0]["findings"] == [
        {
            "rule": "dicom.identity.direct_identifiers",
            "verdict": "quarantine",
            "tags": ["InstitutionName"],
            "count": 1,
        }
    ]
    assert len(told["content_hash"]) == 64


def test_a_name_that_names_the_patient_is_not_printed(folder):
    """The file is found by its position, and in JSON by its hash too."""
    (folder / "b.dcm").unlink()
    (folder / "Someone_1.dcm").write_bytes(
        chest_file(lambda made: setattr(made, "PatientName", "Someone^Real"), seed=3)
    )
    shown, told = dicom(folder), json.loads(dicom(folder, "--json").stdout)

    assert "someone" not in shown.output.casefold()
    assert "quarantine file 0" in shown.stdout
    assert (told["not_passed"][0]["name"], told["not_passed"][0]["file"]) == (None, 0)


def test_rules_of_another_contract_are_used(folder, tmp_path):
    """Named by its path; one that is not there is wrong usage."""
    other = tmp_path / "other.yaml"
    other.write_text("dicom: {image: {}}\n", encoding="utf-8")

    assert dicom(folder / "b.dcm", "--rules", other).exit_code == 0
    assert dicom(folder / "b.dcm", "--rules", CONTRACT).exit_code == 1
    assert dicom(folder / "b.dcm", "--rules", "nowhere.yaml").exit_code == 2


def test_headers_alone_can_be_asked_about(folder):
    """No pixel is decoded."""
    (folder / "d.dcm").write_bytes(
        chest_file(lambda made: setattr(made, "PixelData", b"\1\0" * 65_536), seed=4)
    )

    assert "dicom.image.constant" in dicom(folder).stdout
    assert "dicom.image.constant" not in dicom(folder, "--headers-only").stdout


def test_a_source_that_is_not_there_is_one_sentence(tmp_path):
    """Of the kind that the program foresees."""
    assert isinstance(dicom(tmp_path / "nowhere").exception, RefusedSourceError)
