"""Folders of X-rays become rows: what passed, with its label and its image, split by patient; the rest is held back."""

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from platform_assets.datasets.errors import DatasetError
from platform_assets.datasets.quarantine import quarantine_schema
from platform_assets.governance.subjects import hash_of
from platform_assets.tasks.image_classification import ingestion
from platform_assets.tasks.image_classification.image_form import reduced
from platform_assets.tasks.image_classification.ingestion import ImageIngestion
from platform_assets.tasks.image_classification.judged_files import ALIKE, KNOWN, NO_FILE, NO_LABEL
from platform_assets.tasks.image_classification.sources import refuse_phantoms_of_one_draw
from tests.tasks.image_classification.dicom.builders import SALT, chest
from tests.tasks.image_classification.xray_folders import (
    by_id,
    dataset_spec,
    prepared,
    surroundings,
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


def test_an_image_that_an_earlier_source_has_of_another_patient_stays_out(tmp_path: Path) -> None:
    """Exported twice, each time under other ids: it would be trained on and tested on. Of the same patient, it is a repetition."""

    def repeated(made: Any) -> None:
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"{made.SOPInstanceUID}1"

    def renamed(made: Any) -> None:
        repeated(made)
        made.PatientID += "-again"

    first = xrays(tmp_path / "first", patients=12, each=1)
    changes = {0: renamed, 5: renamed, 7: repeated}
    second = xrays(tmp_path / "second", patients=12, each=1, changes=changes)
    found = prepared(dataset_spec(first, second), tmp_path)
    assert (found.left_out[ALIKE], found.left_out[KNOWN]) == (2, 9)
    assert len(by_id(found)) == 13
    with pytest.raises(DatasetError, match="who are also in train_data_uri"):
        prepared(dataset_spec(first, val_data_uri=str(second)), tmp_path)


def test_patients_of_a_test_site_are_all_in_the_test_split(tmp_path: Path) -> None:
    """And so are their images from elsewhere."""
    rows = [
        {"file": f"{at:04d}.dcm", "label": at % 2, "site": "west" if at in (0, 9) else "east"}
        for at in range(40)
    ]
    folder = xrays(tmp_path / "one", patients=20, labels=rows)
    split = {"test": 0.1, "validation": 0.3, "seed": 5, "test_sites": "west"}
    found = by_id(prepared(dataset_spec(folder, split=split), tmp_path))
    assert {found[sha256(folder, at)]["split"] for at in (0, 1, 8, 9)} == {"test"}


def test_only_the_test_split_sees_what_was_adjudicated(tmp_path: Path) -> None:
    """Training goes by the reader's word; where nobody has agreed, so does the test."""
    rows = [
        {"file": f"{at:04d}.dcm", "label": 0, "adjudicated_label": "" if at % 4 == 0 else 1}
        for at in range(40)
    ]
    folder = xrays(tmp_path / "one", patients=20, labels=rows)
    found = by_id(prepared(dataset_spec(folder), tmp_path))
    for at in range(40):
        row = found[sha256(folder, at)]
        assert row["label"] == (1 if row["split"] == "test" and at % 4 else 0)


def test_what_is_held_back_has_its_rules_and_a_picture_but_nothing_that_names_anybody(
    folder: Path, tmp_path: Path
) -> None:
    """A file that cannot be read is held, too; its name may hold anything, so it is not told."""
    found = prepared(dataset_spec(folder), tmp_path).held_back
    assert found is not None
    rows = {row["file_id"]: row for row in found.to_pylist()}
    assert set(rows) == {sha256(folder, at) for at in (0, 3, 4)}
    assert "dicom.identity.identity_removed" in rows[sha256(folder, 0)]["rules"]
    assert rows[sha256(folder, 3)]["rules"] == ["dicom.acquisition.body_part"]
    assert rows[sha256(folder, 3)]["thumbnail"].startswith(b"\x89PNG")
    assert (rows[sha256(folder, 4)]["name"], rows[sha256(folder, 4)]["thumbnail"]) == (None, None)
    assert "Krause" not in str(rows)
    assert {field.name for field in quarantine_schema()} | {"patient"} == set(found.column_names)


def test_a_file_is_let_in_in_spite_of_the_rules_that_it_was_released_for_and_of_no_other(
    folder: Path, tmp_path: Path
) -> None:
    """By its hash; and the row says so."""
    foot, name = sha256(folder, 3), sha256(folder, 0)
    releases = {foot: frozenset({"dicom.acquisition.body_part"}), name: frozenset({"dicom.image.size"})}
    found = prepared(dataset_spec(folder), tmp_path, releases=releases)
    assert by_id(found)[foot]["released"]
    assert not by_id(found)[sha256(folder, 6)]["released"]
    assert found.held_back is not None
    assert set(found.held_back["file_id"].to_pylist()) == {name, sha256(folder, 4)}


def test_who_was_erased_is_in_neither_table(folder: Path, tmp_path: Path) -> None:
    """Found by the hash of the patient's id."""
    found = prepared(dataset_spec(folder), tmp_path, erased=["P-0003", "P-0000"])
    assert found.erased == 4
    assert not {sha256(folder, at) for at in (6, 7)} & set(by_id(found))
    assert found.held_back is not None
    assert sha256(folder, 0) not in found.held_back["file_id"].to_pylist()
    assert hash_of("patient", "P-0003", SALT) not in str(found.judged and found.judged.read().to_pylist())


def test_a_zip_and_a_prefix_of_objects_give_the_rows_of_the_folder(folder: Path, tmp_path: Path) -> None:
    """Wherever the same files lie, they are the same source."""
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    store = surroundings(tmp_path).objects
    for file in folder.iterdir():
        store.put(
            f"datasets/chest/one/{file.name}",
            file.read_bytes(),
            gdpr_class="sensitive",
            retention_days=1,
            source_commit="x",
        )
    expected = prepared(dataset_spec(folder), tmp_path)
    for uri in (tmp_path / "one.zip", "objects://datasets/chest/one"):
        found = prepared(dataset_spec(uri), tmp_path)
        assert found.source_hash == expected.source_hash
        assert table_of(found).equals(table_of(expected))
        assert found.source_hash == ImageIngestion().source_hash(dataset_spec(uri), surroundings(tmp_path))


def test_the_hash_of_a_source_changes_with_a_file_and_with_a_label(folder: Path, tmp_path: Path) -> None:
    """And is found without judging anything."""
    copy = tmp_path / "one"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())

    def hashed() -> str:
        return ImageIngestion().source_hash(dataset_spec(copy), surroundings(tmp_path))

    first = hashed()
    text = (copy / "labels.csv").read_text()
    (copy / "labels.csv").write_text(text.replace("0006.dcm,1", "0006.dcm,0"))
    second = hashed()
    (copy / "0006.dcm").unlink()
    assert len({first, second, hashed()}) == 3


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([{"file": "0001.dcm", "finding": "x"}], "has no column label"),
        ([{"name": "0001.dcm", "label": 1}], "has no column file or instance"),
        (
            [{"file": "0001.dcm", "label": 1}, {"file": "0001.dcm", "label": 0}],
            r"1 of 2 rows name what an earlier one names \(first: row 2\)",
        ),
        ([{"file": "0001.dcm", "label": "yes"}], r"column label: 1 of 1 rows hold no whole number"),
        ([{"file": "", "label": "1"}], "rows name no file"),
    ],
)
def test_labels_that_nobody_can_go_by_are_one_clear_error(
    tmp_path: Path, labels: list[dict[str, object]], message: str
) -> None:
    """It names file, column and row."""
    folder = xrays(tmp_path / "one", patients=1, labels=labels)
    with pytest.raises(DatasetError, match=message):
        prepared(dataset_spec(folder), tmp_path)


def test_a_source_without_labels_or_with_another_scheme_is_refused(tmp_path: Path) -> None:
    """With what to do."""
    folder = xrays(tmp_path / "one", patients=1)
    (folder / "labels.csv").unlink()
    with pytest.raises(DatasetError, match=r"labels\.csv is not there; put it beside the images"):
        prepared(dataset_spec(folder), tmp_path)
    with pytest.raises(DatasetError, match="images are read from a folder"):
        prepared(dataset_spec("https://example.org/xrays"), tmp_path)


def test_files_that_are_called_as_synthetic_ones_are_refused(tmp_path: Path) -> None:
    """A card would say of images of people that they are of nobody."""
    with pytest.raises(DatasetError, match="cannot be told from synthetic ones"):
        prepared(dataset_spec(xrays(tmp_path / "phantom", patients=1)), tmp_path)


@pytest.mark.parametrize("role", ["train_data_uri", "val_data_uri", "shift_data_uri"])
def test_phantoms_that_differ_by_defects_alone_are_refused(tmp_path: Path, role: str) -> None:
    """They are the same images under other ids, which no hash and no patient tells; nothing is rendered for that."""
    first, second = "phantom://chest?n=40&seed=3", "phantom://chest?seed=3&n=40&defects=2"
    changed = {role: [first, second]} if role == "train_data_uri" else {role: second}
    with pytest.raises(DatasetError, match="has the images of"):
        prepared(dataset_spec(first, **changed), tmp_path)
    refuse_phantoms_of_one_draw([first, first, "phantom://chest?n=40&seed=4&defects=2", "images/"])


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
