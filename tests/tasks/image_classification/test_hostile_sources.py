"""What a hospital's folders do to an ingestion: ids in several encodings, odd names, copies, the same images twice."""

import hashlib
import shutil
from pathlib import Path

import pytest

from platform_assets.datasets.errors import DatasetError, UnfitFilesError
from platform_assets.datasets.splits import drawn_splits
from platform_assets.governance.erasure import plan_erasure
from platform_assets.governance.subjects import Subject, hash_of
from platform_assets.outside_systems import OutsideSystems
from platform_assets.tasks.image_classification.dataset_spec import PatientSplitSpec
from platform_assets.tasks.image_classification.dicom.judge import FileReport, judge_file
from platform_assets.tasks.image_classification.ingestion import ImageIngestion
from platform_assets.tasks.image_classification.judged_files import (
    ELSEWHERE,
    KNOWN,
    NO_FILE,
    NO_LABEL,
    RawImages,
)
from platform_assets.tasks.image_classification.kept import keeping
from platform_assets.tasks.image_classification.sources import name_of
from platform_assets.tasks.registry import is_about
from resources.settings import PlatformSettings
from tests.tasks.image_classification.dicom.builders import SALT, chest, chest_file, rules
from tests.tasks.image_classification.test_ingestion import named, of_foot, sha256
from tests.tasks.image_classification.xray_folders import (
    by_id,
    dataset_spec,
    prepared,
    surroundings,
    write_labels,
    xrays,
)

CLAIMED, ALIKE = "dicom.image.duplicate", "dicom.image.near_duplicate"


def of_patient(id_bytes: bytes, character_set: str | None) -> bytes:
    """A file whose patient's id is these bytes, and which says which letters they are."""
    place = "Q" * (len(id_bytes) + len(id_bytes) % 2)

    def change(made) -> None:
        made.PatientID = place
        if character_set is not None:
            made.SpecificCharacterSet = character_set.split("\\")

    return chest_file(change, image=chest(side=64)).replace(place.encode(), id_bytes.ljust(len(place)), 1)


@pytest.mark.parametrize(
    ("character_set", "id_bytes", "subject"),
    [
        ("ISO_IR 100", "Krüger-17".encode("latin-1"), "Krüger-17"),
        ("ISO_IR 192", "Krüger-17".encode(), "Krüger-17"),
        ("ISO_IR 192", "Kru\u0308ger-17".encode(), "Krüger-17"),
        (None, "Krüger-17".encode(), "Krüger-17"),
        (None, "Krüger-17".encode("latin-1"), "Krüger-17"),
        ("ISO_IR 144", "Иван-17".encode("iso8859-5"), "Иван-17"),
        ("\\ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B-17", "山田-17"),
        ("ISO_IR 192", "Krüger-17".encode("latin-1"), "Krüger-17"),
    ],
)
def test_a_patient_is_one_person_in_whatever_encoding_the_id_is_written(
    character_set: str | None, id_bytes: bytes, subject: str
) -> None:
    """Whoever asks for an erasure writes letters, and no bytes; and splits are drawn by what is written."""

    def looked_at(number: int) -> FileReport:
        file = of_patient(id_bytes.replace(b"17", b"%d" % number), character_set)
        return judge_file(file, rules(), name="0", salt=SALT, with_pixels=False, keep=keep)

    spec = PatientSplitSpec(test=0.3, validation=0.3)
    keep = keeping(spec, cut_test=True, side_px=64, salt=SALT)
    numbers = range(13, 19)
    found = [looked_at(number) for number in numbers]
    letters = [subject.replace("17", str(number)) for number in numbers]
    assert [each.patient for each in found] == [hash_of("patient", each, SALT) for each in letters]
    assert [each.kept.split for each in found] == drawn_splits(letters, spec, cut_test=True).tolist()


def test_a_file_whose_name_is_no_text_is_held_without_it(tmp_path: Path) -> None:
    """Archives of other systems have such names; one of them must not take the others down."""
    folder = xrays(tmp_path / "one", changes={3: of_foot})
    odd = folder / b"\xe9l\xe8ve.dcm".decode("utf-8", "surrogateescape")
    (folder / "0003.dcm").rename(odd)
    found = prepared(dataset_spec(folder), tmp_path)
    assert found.held_back is not None
    [row] = found.held_back.to_pylist()
    assert (row["rules"], row["name"]) == (["dicom.acquisition.body_part"], None)


@pytest.mark.parametrize("role", ["train", "test"])
def test_an_image_of_an_earlier_source_under_another_patient_is_held(tmp_path: Path, role: str) -> None:
    """It would be trained on and tested on. The earlier source loses nothing; another image of one patient may come in."""
    one, two = xrays(tmp_path / "one", patients=20), xrays(tmp_path / "two", patients=20, first=30)
    alike = chest_file(seed=999, patient="Q-0001", image=chest(4, side=96))
    (two / "0002.dcm").write_bytes(alike)
    uris, options = ([one], {"val_data_uri": str(two)}) if role == "test" else ([one, two], {})
    found = prepared(dataset_spec(*uris, **options), tmp_path)
    assert found.held_back is not None
    [held] = found.held_back.to_pylist()
    assert (held["file_id"], held["rules"]) == (hashlib.sha256(alike).hexdigest(), [ALIKE])
    alone = by_id(prepared(dataset_spec(one), tmp_path))
    assert alone.keys() < by_id(found).keys()
    let_in = {hashlib.sha256(alike).hexdigest(): frozenset({ALIKE})}
    again = prepared(dataset_spec(*uris, **options), tmp_path, releases=let_in)
    assert by_id(again)[hashlib.sha256(alike).hexdigest()]["released"]


def test_another_image_that_claims_the_uid_of_one_in_an_earlier_source_is_held(tmp_path: Path) -> None:
    """Labels by instance would be about either. The same file again is only known."""
    one, two = xrays(tmp_path / "one", patients=20), xrays(tmp_path / "two", patients=20, first=30)
    claims = chest_file(seed=6, patient="P-0003", image=chest(4711, side=96))
    (two / "0002.dcm").write_bytes(claims)
    shutil.copy(one / "0007.dcm", two / "0003.dcm")
    found = prepared(dataset_spec(one, two), tmp_path)
    assert found.held_back is not None
    [held] = found.held_back.to_pylist()
    assert (held["file_id"], held["rules"]) == (hashlib.sha256(claims).hexdigest(), [CLAIMED])
    assert (found.left_out[KNOWN], found.left_out[NO_FILE]) == (1, 1)
    assert sha256(one, 6) in by_id(found)


def test_patients_of_a_shift_source_are_in_no_other_split(tmp_path: Path) -> None:
    """Who is trained on is no stranger; images are counted, and left out."""
    one, two = xrays(tmp_path / "one", patients=20), xrays(tmp_path / "two", patients=8, first=16, seed=1000)
    found = prepared(dataset_spec(one, shift_data_uri=str(two)), tmp_path)
    shifted = {row["patient"] for row in by_id(found).values() if row["split"] == "shift"}
    assert shifted == {hash_of("patient", f"P-{number:04d}", SALT) for number in range(20, 24)}
    assert found.left_out[ELSEWHERE] == 8
    assert found.raw_rows == found.rows.num_rows + sum(found.left_out.values())


def test_a_site_that_no_label_names_is_refused(tmp_path: Path) -> None:
    """A slip of the pen would leave the test where it is, and nobody would know."""
    rows = [{"file": f"{at:04d}.dcm", "label": at % 2, "site": "west"} for at in range(8)]
    folder = xrays(tmp_path / "one", patients=4, labels=rows)
    split = {"test": 0.3, "validation": 0.3, "test_sites": ["west", "wset"]}
    with pytest.raises(DatasetError, match="of no file that it is from wset; correct it"):
        prepared(dataset_spec(folder, split=split), tmp_path)


def test_what_is_held_is_told_where_nothing_is_left(tmp_path: Path) -> None:
    """A first export that names everybody: who would let a file in must see it."""
    folder = xrays(tmp_path / "one", patients=3, each=1, changes=dict.fromkeys(range(3), named))
    with pytest.raises(UnfitFilesError, match=r"has no image; .*\(0 of 3 files are rows\)") as refused:
        prepared(dataset_spec(folder), tmp_path)
    assert refused.value.held_back.num_rows == 3
    assert refused.value.judged.num_rows == 3


def test_a_file_of_nobody_is_let_in_by_nobody_and_shows_nothing(tmp_path: Path) -> None:
    """It would be no row, and gone from the quarantine as well; and no erasure would find its picture."""

    def of_nobody(made) -> None:
        of_foot(made)
        made.PatientID = ""

    folder = xrays(tmp_path / "one", changes={3: of_nobody})
    released = {sha256(folder, 3): frozenset({"dicom.acquisition.body_part"})}
    found = prepared(dataset_spec(folder), tmp_path, releases=released)
    assert found.held_back is not None
    [row] = found.held_back.to_pylist()
    assert (row["file_id"], row["verdict"]) == (sha256(folder, 3), "reject")
    assert (row["patient"], row["name"], row["thumbnail"]) == (None, None, None)
    assert row["rules"] == ["dicom.acquisition.body_part"]


def test_a_table_without_a_first_line_is_no_label_and_is_not_quoted(tmp_path: Path) -> None:
    """What stands in its first row may be somebody's name."""
    folder = xrays(tmp_path / "one", patients=1)
    (folder / "labels.csv").write_text("Krause_Ilse.dcm,1\n0001.dcm,0\n")
    with pytest.raises(
        DatasetError, match=r"has no column file or instance; .* none can be told by name"
    ) as refused:
        prepared(dataset_spec(folder), tmp_path)
    assert "Krause" not in str(refused.value)


def test_labels_may_begin_with_a_mark_end_lines_otherwise_and_name_files_without_ending(
    tmp_path: Path,
) -> None:
    """As a spreadsheet writes them. A name that is a number stays the text that it is."""
    folder = xrays(tmp_path / "one")
    for file in sorted(folder.glob("*.dcm")):
        (folder / "a").mkdir(exist_ok=True)
        file.rename(folder / "a" / file.stem)
    lines = ["file,label", *(f"./a/{at:04d},{(at // 2) % 2}" for at in range(24))]
    (folder / "labels.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert len(by_id(prepared(dataset_spec(folder), tmp_path))) == 24


def test_labels_name_files_as_another_system_writes_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With its slashes and its letters; but never two files by one name. What names no file is told, without its name."""
    names = ["a/Kru\u0308ger.dcm", "b\\1.dcm", "b/1.dcm", "c/2.dcm"]
    folder = xrays(tmp_path / "one", patients=4, each=1)
    for at, name in enumerate(names):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{at:04d}.dcm").rename(folder / name)
    labels = ["a\\Krüger.dcm", "c\\2.dcm", "b/1.dcm", "Krause.dcm"]
    write_labels(folder / "labels.csv", [{"file": each, "label": 1} for each in labels])
    with caplog.at_level("WARNING"):
        [source] = ImageIngestion().read(dataset_spec(folder), surroundings(tmp_path))
    assert isinstance(source, RawImages)
    labelled = dict(zip(sorted(names), source.files["label"].to_pylist(), strict=True))
    assert labelled == {names[0]: 1, names[1]: None, names[2]: 1, names[3]: 1}
    assert "one: 1 rows of the labels name no file" in caplog.text
    assert "Krause" not in caplog.text
    write_labels(folder / "labels.csv", [{"file": "Krause.dcm", "label": 1}])
    with pytest.raises(DatasetError, match="none of the 1 rows of its labels names one of its 4 files"):
        prepared(dataset_spec(folder), tmp_path)


def test_a_copy_has_the_label_of_the_first_and_two_labels_are_none(tmp_path: Path) -> None:
    """Whichever of them the table names; what is said of one image twice, and otherwise, nobody knows."""
    folder = xrays(tmp_path / "one")
    for at in (4, 5, 6):
        shutil.copy(folder / f"{at:04d}.dcm", folder / f"copy{at}.dcm")
    rows = [{"file": f"{at:04d}.dcm", "label": (at // 2) % 2} for at in range(24) if at != 4]
    copies = [
        {"file": "copy4.dcm", "label": 0},
        {"file": "copy5.dcm", "label": 1},
        {"file": "copy6.dcm", "label": 1},
    ]
    write_labels(folder / "labels.csv", rows + copies)
    found = prepared(dataset_spec(folder), tmp_path)
    kept = by_id(found)
    assert kept[sha256(folder, 4)]["label"] == 0
    assert sha256(folder, 5) not in kept
    assert kept[sha256(folder, 6)]["label"] == 1
    assert (found.left_out[NO_FILE], found.left_out[NO_LABEL]) == (3, 1)


def test_a_source_is_called_the_same_as_a_folder_and_as_an_archive_and_no_two_alike(tmp_path: Path) -> None:
    """Or nobody knows of which source a row is."""
    folder = xrays(tmp_path / "chest.v1", patients=1)
    shutil.make_archive(str(folder), "zip", folder)
    assert name_of(str(folder)) == name_of(f"{folder}/") == name_of(f"{folder}.zip") == "chest.v1"
    with pytest.raises(
        DatasetError, match=r"is called chest\.v1, as .*chest\.v1 is, so their rows cannot be told apart"
    ):
        ImageIngestion().read(dataset_spec(folder, f"{folder}.zip"), surroundings(tmp_path))


def test_a_table_of_labels_in_a_folder_of_its_own_is_no_image(tmp_path: Path) -> None:
    """Of a prefix as of a folder, whatever the contract leaves out."""
    labels = "tables/labels-1.csv"
    folder = xrays(tmp_path / "one", patients=8)
    (folder / "tables").mkdir()
    (folder / "labels.csv").rename(folder / labels)
    strict = tmp_path / "contract.yaml"
    shipped = surroundings(tmp_path).contract.read_text()
    strict.write_text(shipped.replace('ignore: ["*.csv", ', "ignore: ["))
    around = surroundings(tmp_path)
    for file in folder.rglob("*"):
        if file.is_file():
            around.objects.put(
                f"datasets/one/{file.relative_to(folder)}",
                file.read_bytes(),
                gdpr_class="sensitive",
                retention_days=1,
                source_commit="x",
            )
    for uri in (folder, "objects://datasets/one"):
        spec = dataset_spec(uri, labels=labels)
        [source] = ImageIngestion().read(
            spec, type(around)(strict, around.salt, around.objects, around.cache)
        )
        assert source.num_rows == 16


@pytest.mark.parametrize(
    ("subject", "expected"),
    [("patient:P-0001", True), ("patient:P-000", False), ("applicant:P-0001", False)],
)
def test_a_stored_file_tells_whose_it_is(subject: str, *, expected: bool) -> None:
    """An erasure must not pass over the images that lie in the platform's own store; the id is short, and no telling text."""
    assert is_about(Subject.parse(subject), chest_file(image=chest(side=64))) is expected


def test_a_stored_file_that_cannot_be_read_is_looked_at_by_a_person() -> None:
    """Where the letters of the id stand in it. What is no DICOM is none of these files."""
    cut = chest_file(image=chest(side=64))
    cut = cut[: cut.index(b"P-0001") + 7]
    assert is_about(Subject.parse("patient:P-0001"), cut)
    assert not is_about(Subject.parse("patient:P-0002"), cut)
    assert not is_about(Subject.parse("patient:P-0001"), b"P-0001 has called")


def test_an_erasure_names_the_stored_images_of_a_patient(tmp_path: Path) -> None:
    """It takes rows out of tables; such a file somebody must delete, and until then it has not passed."""
    outside = OutsideSystems(PlatformSettings(home=tmp_path / "home"))
    file = chest_file(image=chest(side=64))
    key = "datasets/dev/chest/2026/0001.dcm"
    outside.object_store.put(key, file, gdpr_class="personal", retention_days=1, source_commit="x")
    systems = {"ledger": outside.ledger, "warehouse": outside.warehouse, "store": outside.object_store}
    plan = plan_erasure(Subject.parse("patient:P-0001"), salt=outside.salt, is_about=is_about, **systems)
    assert plan.search.mentions == (key,)
