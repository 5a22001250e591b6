"""`platform-assets deidentify`: counts, what got no copy, and an exit status that a pipeline can trust."""

import json

import pytest
from typer.testing import CliRunner

from platform_assets.cli import app
from tests.tasks.image_classification.dicom.builders import chest_file, judged

NAME = "Zyxwvut^Quentin"


pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture
def folder(tmp_path):
    """One file of somebody, one that nobody vouches for, one that is no image."""
    root = tmp_path / "files"
    root.mkdir()
    (root / "zyxwvut.dcm").write_bytes(chest_file(lambda made: setattr(made, "PatientName", NAME)))
    (root / "b.dcm").write_bytes(chest_file(lambda made: delattr(made, "BurnedInAnnotation"), seed=2))
    (root / "a.dcm").write_bytes(b"no image")
    return root


def deidentify(*arguments):
    """Run `platform-assets deidentify … --profile basic` in this process."""
    return CliRunner().invoke(
        app, ["deidentify", *map(str, arguments), "--profile", "basic", "--workers", "0"]
    )


def test_counts_and_what_got_no_copy_are_printed(folder, tmp_path):
    """By action and attribute, by rule, and file by file, whose names are not told."""
    done = deidentify(folder, tmp_path / "out")

    assert done.exit_code == 1
    assert done.stdout.startswith("written            2\nrefused            1\n\nemptied\n")
    assert "\n      1  PatientName\n" in done.stdout
    assert "\nrefused    file 0, SHA-256 " in done.stdout
    assert "\n    dicom.image.not_dicom\n" in done.stdout
    assert "\nlook at    file 1, SHA-256 " in done.stdout
    assert "\n    dicom.identity.burned_in_annotation: BurnedInAnnotation\n" in done.stdout
    assert "zyxwvut" not in done.output.casefold()
    assert "a.dcm" not in done.output


def test_json_has_names_of_attributes_and_counts(folder, tmp_path):
    """And no value."""
    done = deidentify(folder, tmp_path / "out", "--json", "--keep", "characteristics")
    told = json.loads(done.stdout)

    assert (told["passed"], told["files"], told["written"]) == (False, 3, 2)
    assert told["codes"] == ["113100", "113108"]
    assert told["actions"]["kept"] == {"PatientAge": 2, "PatientSex": 2}
    assert told["rules"] == {"dicom.identity.burned_in_annotation": 1, "dicom.image.not_dicom": 1}
    assert [each["file"] for each in told["not_passed"]] == [0, 1]
    assert "zyxwvut" not in done.output.casefold()


def test_where_every_copy_passes_the_exit_status_is_zero(folder, tmp_path):
    """Also of one file; and of the same installation the same copy."""
    outs = [tmp_path / "one", tmp_path / "again"]
    for out in outs:
        assert deidentify(folder / "zyxwvut.dcm", out).exit_code == 0
    (one,), (again,) = (list(out.iterdir()) for out in outs)

    assert (one.name, one.read_bytes()) == (again.name, again.read_bytes())
    assert judged(one.read_bytes()).findings == ()


@pytest.mark.parametrize("place", ["files", "files/below", ""])
def test_copies_do_not_lie_where_the_originals_do(place, folder, tmp_path):
    """Neither in place, nor below, nor around."""
    done = deidentify(folder, tmp_path / place)

    assert done.exit_code == 2
    assert sorted(file.name for file in folder.iterdir()) == ["a.dcm", "b.dcm", "zyxwvut.dcm"]


def test_a_profile_must_be_named():
    """Nothing is guessed about what identifies."""
    assert CliRunner().invoke(app, ["deidentify", "in", "out"]).exit_code == 2
