"""Folders of X-rays become rows: what passed, with its label and its image, split by patient; the rest is held back."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from platform_assets.datasets.errors import DatasetError
from platform_assets.governance.subjects import hash_of
from platform_assets.tasks.image_classification import ingestion
from platform_assets.tasks.image_classification.image_form import reduced
from platform_assets.tasks.image_classification.ingestion import ImageIngestion
from platform_assets.tasks.image_classification.judged_files import KNOWN, NO_FILE, NO_LABEL
from tests.tasks.image_classification.dicom.builders import SALT, chest
from tests.tasks.image_classification.xray_folders import (
    by_id,
    dataset_spec,
    prepared,
    table_of,
    write_labels,
    xrays,
)


def named(made: object) -> None:
    """Gives a file a patient's name."""
    made.PatientName, made.PatientIdentityRemoved = "Krause^Ilse", "NO"  # type: ignore[attr-defined]


def of_foot(made: object) -> None:
    """Makes a file say that it shows a foot."""
    made.BodyPartExamined = "FOOT"  # type: ignore[attr-defined]


def sha256(folder: Path, at: int) -> str:
    """Of the file at this position."""
    return hashlib.sha256((folder / f"{at:04d}.dcm").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 files of 12 patients: one names its patient, one shows a foot, one is no DICOM, one has no label."""
    folder = xrays(tmp_path_factory.mktemp("xrays") / "one", changes={0: named, 3: of_foot})
    (folder / "0004.dcm").write_bytes(b"Krause^Ilse is no DICOM file" * 20)
    rows = [{"file": f"{at:04d}.dcm", "label": (at // 2) % 2, "site": "north"} for at in range(24) if at != 5]
    write_labels(folder / "labels.csv", rows)
    return folder


def test_what_passed_and_has_a_label_is_a_row_and_each_other_file_is_counted_once(
    folder: Path, tmp_path: Path
) -> None:
    """One bad file takes no other down, and none goes missing."""
    found = prepared(dataset_spec(folder), tmp_path)
    rows = by_id(found)
    assert set(rows) == {sha256(folder, at) for at in range(24) if at not in (0, 3, 4, 5)}
    assert found.left_out[NO_FILE] == 3
    assert found.left_out[NO_LABEL] == 1
    assert found.raw_rows == 24 == found.rows.num_rows + sum(found.left_out.values()) + found.erased
    one = rows[sha256(folder, 6)]
    assert (one["label"], one["site"], one["view_position"], one["sex"], one["age_band"]) == (
        1,
        "north",
        "PA",
        "F",
        "40-49",
    )
    assert one["patient"] == hash_of("patient", "P-0003", SALT)


def test_images_are_kept_as_they_are_and_larger_ones_as_means(folder: Path, tmp_path: Path) -> None:
    """Light is high; rows and columns tell the shape."""
    for side, expected in ((96, chest(8, side=96)), (64, reduced(chest(8, side=96), 64))):
        table = table_of(prepared(dataset_spec(folder, stored_side_px=side), tmp_path))
        row = next(each for each in table.to_pylist() if each["image_id"] == sha256(folder, 8))
        image = np.frombuffer(row["image"], "<u2").reshape(row["stored_rows"], row["stored_columns"])
        np.testing.assert_array_equal(image, expected)
        assert (row["image_rows"], row["image_columns"], row["bits"]) == (96, 96, 12)


def test_a_dataset_is_of_the_code_that_reduces_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise, after a change, answers would reduce images in another way than the rows that a model was judged on."""
    told: list[str] = []
    monkeypatch.setattr(ingestion, "code_version", lambda _, *modules: told.extend(modules) or "")
    assert ImageIngestion().code == ""
    assert reduced.__module__ in told


def test_no_patient_is_in_two_splits(tmp_path: Path) -> None:
    """Nor between two sources; the same patients are in the same splits when others are read with them."""
    one = xrays(tmp_path / "one", patients=30)
    two = xrays(tmp_path / "two", patients=30, first=20)
    both = by_id(prepared(dataset_spec(one, two), tmp_path))
    splits: dict[str, set[str]] = {}
    for row in both.values():
        splits.setdefault(row["patient"], set()).add(row["split"])
    assert all(len(each) == 1 for each in splits.values())
    assert {each for of_one in splits.values() for each in of_one} == {"train", "validation", "test"}
    alone = by_id(prepared(dataset_spec(one), tmp_path))
    assert {each: row["split"] for each, row in alone.items()}.items() <= {
        each: row["split"] for each, row in both.items()
    }.items()


def test_files_of_an_earlier_source_are_known(folder: Path, tmp_path: Path) -> None:
    """The same file in two sources is one row."""
    again = tmp_path / "again"
    again.mkdir()
    for at in (6, 7):
        (again / f"{at:04d}.dcm").write_bytes((folder / f"{at:04d}.dcm").read_bytes())
    write_labels(again / "labels.csv", [{"file": "0006.dcm", "label": 0}, {"file": "0007.dcm", "label": 0}])
    found = prepared(dataset_spec(folder, again), tmp_path)
    assert found.left_out[KNOWN] == 2
    assert by_id(found)[sha256(folder, 6)]["label"] == 1


def test_files_that_are_called_as_synthetic_ones_are_refused(tmp_path: Path) -> None:
    """A card would say of images of people that they are of nobody."""
    with pytest.raises(DatasetError, match="cannot be told from synthetic ones"):
        prepared(dataset_spec(xrays(tmp_path / "phantom", patients=1)), tmp_path)


def test_labels_may_go_by_instance_and_lie_in_parquet(folder: Path, tmp_path: Path) -> None:
    """Whoever exports images seldom keeps the names of files."""
    import pyarrow as pa

    rows = {
        "instance": [f"2.25.{10**30 + at * 10}" for at in range(24)],
        "label": [(at // 2) % 2 for at in range(24)],
    }
    pq.write_table(pa.table(rows), folder / "by_instance.parquet")
    found = by_id(prepared(dataset_spec(folder, labels="by_instance.parquet"), tmp_path))
    (folder / "by_instance.parquet").unlink()
    assert {row["label"] for row in found.values()} == {0, 1}
    assert found[sha256(folder, 6)]["label"] == 1


def test_a_test_source_that_shares_patients_with_training_is_refused(tmp_path: Path) -> None:
    """Or the test measures memory."""
    one, two = xrays(tmp_path / "one", patients=30), xrays(tmp_path / "two", patients=5, first=29, seed=1000)
    with pytest.raises(DatasetError, match="2 of 10 images are of patients who are also in train_data_uri"):
        prepared(dataset_spec(one, val_data_uri=str(two)), tmp_path)


def test_fewer_rows_than_there_are_go_into_reserve_evenly(tmp_path: Path) -> None:
    """Of each label an equal share."""
    folder = xrays(tmp_path / "one", patients=40)
    rows = by_id(prepared(dataset_spec(folder, train_rows=16), tmp_path)).values()
    train = [row["label"] for row in rows if row["split"] == "train"]
    assert len(train) == 16
    assert 6 <= sum(train) <= 10
    assert any(row["split"] == "reserve" for row in rows)
