"""Real files of three packages, each with its verdict and the rules that decide, as `real_files.csv` has them.

    python -m tests.tasks.image_classification.dicom.test_real_files    writes the table anew; read what changes

None of them passes: they are of other modalities, or identify somebody by the rules, or were made to be broken.
"""

import csv
from importlib.util import find_spec
from pathlib import Path

import pytest

TABLE = Path(__file__).with_name("real_files.csv")
PLACES = {"pydicom": "data/test_files", "deid_data": "data", "data_store": "data"}
"""Folder of the files in each package; `data_store` is that of pydicom-data."""
_PREFIX = "dicom."


def _folder(package):
    found = find_spec(package)
    locations = (found.submodule_search_locations if found else None) or ()
    return next((Path(place) / PLACES[package] for place in locations), None)


def _judged(package):
    """(verdict, rules) by name of the files of a package."""
    from tests.tasks.image_classification.dicom.builders import checked, rules

    asked = rules()
    asked = asked.model_copy(update={"ignore": (*asked.ignore, "*.py", "*.pyc")})
    found = checked(_folder(package), asked=asked)
    return {
        file.name: (
            report.verdict,
            " ".join(sorted({each.rule.removeprefix(_PREFIX) for each in report.findings})),
        )
        for file, report in zip(found.files, found.reports, strict=True)
    }


def _expected(package):
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {
            row["name"]: (row["verdict"], row["rules"])
            for row in csv.DictReader(file)
            if row["package"] == package
        }


def test_every_file_of_pydicoms_own_data_gets_its_verdict():
    """All that are in its wheel."""
    expected = _expected("pydicom")

    assert len(expected) > 150
    assert _judged("pydicom") == expected


@pytest.mark.long
@pytest.mark.parametrize(
    ("package", "distribution"), [("deid_data", "deid-data==0.0.20"), ("data_store", "pydicom-data==1.0.0")]
)
def test_every_file_of_larger_packages_gets_its_verdict(package, distribution):
    """Packages of 34 and 42 MB, which nothing else needs."""
    if _folder(package) is None:
        pytest.skip(f"{package} is not installed; pip install --no-deps {distribution}")

    assert _judged(package) == _expected(package)


if __name__ == "__main__":
    with TABLE.open("w", encoding="utf-8", newline="") as sink:
        writer = csv.writer(sink, lineterminator="\n")
        writer.writerow(["package", "name", "verdict", "rules"])
        for each in PLACES:
            writer.writerows([each, name, *judged] for name, judged in sorted(_judged(each).items()))
