"""What an X-ray goes through on its way to each pixel, by kind of tissue, for 18 ways to stand before the detector.

Glossary:

    u, v      columns and rows of a map; the middle of the body is projected at its own size
    y         millimetres from the middle of the body towards the tube
    D         millimetres from the tube to the middle of the body
    poses     view (PA, AP) × yaw × tilt, in this order

A ray through (u, v) meets the plane at y at x = u (1 − y / D) + y tan(yaw), and likewise in z: the detector stays parallel
to the body, the tube moves around it. The sum over all planes, times the length of the slanted ray, is the map.
"""

import hashlib
import os
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from platform_assets.fingerprint import code_version
from platform_assets.tasks.image_classification.phantom.anatomy import (
    COLUMN_MM,
    DEPTH,
    SLAB_MM,
    SLICE_MM,
    TISSUES,
    CtFiles,
    read_tissues,
)

if TYPE_CHECKING:
    import numpy.typing as npt

VIEWS: Final = ("PA", "AP")
ROWS, COLUMNS = 152, 144
"""Of a map."""
PIXEL_MM: Final = 2.5
TOP_MARGIN: Final = 8
"""Rows above the top of the CT, where its topmost slice is drawn out."""
YAWS: Final = (-4.0, 0.0, 4.0)
TILTS: Final = (-4.0, 0.0, 4.0)
POSES_A_VIEW: Final = len(YAWS) * len(TILTS)
_TUBE_MM: Final = {"PA": 1680.0, "AP": 920.0}
"""To the middle of the body: 183 and 107 cm to the detector, which is 15 cm behind the middle."""
_HERE: Final = "platform_assets.tasks.image_classification.phantom"


def pose_maps(files: CtFiles, cache: Path) -> "npt.NDArray[np.float32]":
    """The maps, shape (18, 5, ROWS, COLUMNS), in millimetres of water, and of lung for the last kind.

    They are computed once and kept in `cache`; a file there that is damaged is made anew.

    Args:
        files: Of the CT.
        cache: A folder; made where there is none.

    Raises:
        PhantomDataError: The files are not those that this code knows.
    """
    code = code_version("phantom poses", f"{_HERE}.anatomy", f"{_HERE}.poses")
    name = hashlib.sha256(f"{files.sha256} {code}".encode()).hexdigest()[:32]
    path = cache / f"chest-poses-{name}.npz"
    kept = _read(path)
    if kept is None:
        kept = _projected(read_tissues(files)).astype(np.float16)
        _write(path, kept)
    return kept.astype(np.float32)


def _read(path: Path) -> "npt.NDArray[np.float16] | None":
    try:
        with np.load(path, allow_pickle=False) as stored:
            maps, check = stored["maps"], str(stored["sha256"])
    except Exception:  # noqa: BLE001 - nothing there, or damaged in any of the ways in which a zip can be
        return None
    return maps if hashlib.sha256(maps.tobytes()).hexdigest() == check else None


def _write(path: Path, maps: "npt.NDArray[np.float16]") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=".chest-poses-", delete=False) as file:
        try:
            np.savez_compressed(file, maps=maps, sha256=np.array(hashlib.sha256(maps.tobytes()).hexdigest()))
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _projected(tissues: "npt.NDArray[np.float32]") -> "npt.NDArray[np.float32]":
    maps = np.empty((len(VIEWS) * POSES_A_VIEW, len(TISSUES), ROWS, COLUMNS), dtype=np.float32)
    middle = _middle(tissues)
    slabs = [
        (float((at - middle) * SLAB_MM), np.ascontiguousarray(tissues[:, :, at]))
        for at in range(tissues.shape[2])
        if tissues[:, :, at].any()
    ]
    at = 0
    for view in VIEWS:
        for yaw in YAWS:
            for tilt in TILTS:
                maps[at] = _one(slabs, view, yaw, tilt)
                at += 1
    return maps


def _middle(tissues: "npt.NDArray[np.float32]") -> float:
    """The slab in the middle of the lungs."""
    share = tissues[DEPTH].sum(axis=(0, 2))
    return float((share * np.arange(len(share))).sum() / share.sum())


def _one(slabs: "list[tuple[float, npt.NDArray[np.float32]]]", view: str, yaw: float, tilt: float) -> Any:
    tube = _TUBE_MM[view]
    _, slices, columns = slabs[0][1].shape
    u = (np.arange(COLUMNS) - (COLUMNS - 1) / 2) * PIXEL_MM
    v = (TOP_MARGIN - np.arange(ROWS)) * PIXEL_MM + (slices - 1) / 2 * SLICE_MM
    lean_x, lean_z = np.tan(np.radians([yaw, tilt]))
    summed = np.zeros((len(TISSUES), ROWS, COLUMNS), dtype=np.float32)
    for front, slab in slabs:
        y = -front if view == "PA" else front
        x = (u * (1 - y / tube) + y * lean_x) / COLUMN_MM + (columns - 1) / 2
        z = (v * (1 - y / tube) + y * lean_z) / SLICE_MM + (slices - 1) / 2
        left, right_share = _between(x, columns)
        low, up_share = _between(z, slices)
        across = slab[:, :, left] * (1 - right_share) + slab[:, :, left + 1] * right_share
        summed += across[:, low] * (1 - up_share)[:, None] + across[:, low + 1] * up_share[:, None]
    slant = np.sqrt(1 + (u / tube - lean_x) ** 2 + ((v / tube - lean_z) ** 2)[:, None])
    return summed * (SLAB_MM * slant).astype(np.float32)


def _between(places: "npt.NDArray[np.float64]", count: int) -> "tuple[Any, npt.NDArray[np.float32]]":
    """The sample before each place and the share of the one after; beyond the ends the last one goes on."""
    inside = np.clip(places, 0, count - 1)
    first = np.minimum(inside.astype(np.int64), count - 2)
    return first, (inside - first).astype(np.float32)
