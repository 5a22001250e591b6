"""One image: tissue, finding and hardware to what a detector sees, and from there to the picture that a device makes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from platform_assets.tasks.image_classification.phantom.anatomy import BONE, DEPTH, HEART, LUNG, SOFT
from platform_assets.tasks.image_classification.phantom.cohort import Cohort
from platform_assets.tasks.image_classification.phantom.devices import DEVICES, Device
from platform_assets.tasks.image_classification.phantom.findings import Box, box_of, finding_of
from platform_assets.tasks.image_classification.phantom.geometry import SIDE, Places, places_at, places_of
from platform_assets.tasks.image_classification.phantom.hardware import breasts_of, hardware_of, marker_of

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

WATER_PER_MM: Final = 0.019
"""Of the radiation that a chest is X-rayed with, taken by a millimetre of water."""
_BUILD, _EXPOSURE = 31, 32
_HEART_MIDDLE: Final = (78.0, 79.0)
"""In a map."""
_WIDE_PX: Final = 4.0
_SCATTER_PX, _DETAIL_PX, _SLOW_PX, _DETECTOR_PX = 12.0, 1.4, 16.0, 0.45


@dataclass(frozen=True, slots=True)
class Renderer:
    """Renders images of a cohort."""

    cohort: Cohort
    maps: "Floats"
    """`pose_maps`."""
    common: "Floats"
    """`common_depth` of them."""

    def image(self, at: int) -> "npt.NDArray[np.uint16]":
        """The pixels of image `at`, shape (SIDE, SIDE): 0 to 2**bits - 1 of its device, light is high."""
        cohort, maps = self.cohort, self.maps[self.cohort.pose[at]]
        device = DEVICES[cohort.site[at]][int(cohort.is_ap[at])]
        places = places_of(cohort, at)
        tissue = places.of(maps)
        water = self._water(at, places, tissue, maps)
        finding = finding_of(cohort, at, places, tissue[DEPTH], self.common)
        if finding is not None:
            water += finding
        water += hardware_of(cohort, at, places, tissue[DEPTH])
        return _developed(_seen(water, device, cohort.random(_EXPOSURE, at)), marker_of(cohort, at), device)

    def box(self, at: int) -> Box | None:
        """Where the finding of image `at` is; None where it has none. Nothing is rendered for it."""
        if self.cohort.finding[at] < 0:
            return None
        places = places_of(self.cohort, at)
        depth = places.of(self.maps[self.cohort.pose[at], DEPTH])
        finding = finding_of(self.cohort, at, places, depth, self.common)
        return None if finding is None or not finding.any() else box_of(finding)

    def _water(self, at: int, places: Places, tissue: "Floats", maps: "Floats") -> "Floats":
        """Millimetres of water of the body itself."""
        person = self.cohort.random(_BUILD, int(self.cohort.patient[at]))
        heart_size = np.float32(person.uniform(0.85, 1.3))
        lung, bone, soft = (
            np.float32(person.uniform(*each)) for each in ((0.75, 1.4), (0.75, 1.15), (0.8, 1.2))
        )
        fat = np.float32(person.uniform(0, 45))
        row, column = (np.float32(each) for each in _HEART_MIDDLE)
        heart = places_at(
            row + (places.rows - row) / heart_size, column + (places.columns - column) / heart_size
        ).of(maps[HEART])
        # A larger heart takes the place of lung, and a smaller one leaves it.
        takes = np.clip((heart - tissue[HEART]) / np.float32(60), -0.4, 0.8)
        water: Floats = tissue[LUNG] * lung * (1 - takes) + heart + tissue[BONE] * bone + tissue[SOFT] * soft
        water += fat * np.minimum(tissue[SOFT] / np.float32(60), 1)
        breasts = breasts_of(self.cohort, at, places)
        if breasts is not None:
            water += breasts
        return water


def _seen(water: "Floats", device: Device, random: np.random.Generator) -> "Floats":
    """What the detector counts, as the logarithm, so that a millimetre of water is the same everywhere."""
    photons = np.float32(device.photons * 1000 * random.uniform(0.7, 1.4))
    primary = np.exp(np.float32(-WATER_PER_MM) * water)
    scattered = _blurred(primary, _SCATTER_PX) * np.float32(device.scatter * random.uniform(0.8, 1.2))
    light = primary + scattered
    noise = random.standard_normal((SIDE, SIDE), dtype=np.float32)
    counted = light + _blurred(noise, _DETECTOR_PX) * np.sqrt(light / photons)
    seen: Floats = -np.log(np.maximum(counted, 1 / photons))
    return seen


def _developed(seen: "Floats", marker: "Floats", device: Device) -> "npt.NDArray[np.uint16]":
    """The picture that a device makes of it."""
    picture = seen - np.float32(device.flat) * _blurred(seen, _SLOW_PX)
    picture += np.float32(device.edge) * (seen - _blurred(seen, _DETAIL_PX))
    low, high = np.quantile(picture[8:120, 8:120], (0.01, 0.99))
    share: Floats = (picture - np.float32(low)) / np.float32(max(high - low, 1e-3))
    share = np.float32(device.level) + np.float32(device.latitude) * (share - np.float32(0.5))
    light = np.maximum(np.clip(share, 0, 1) ** np.float32(device.gamma), marker * np.float32(0.97))
    top = (1 << device.bits) - 1
    values: npt.NDArray[np.uint16] = np.round(light * np.float32(top)).astype(np.uint16)
    return values


def _blurred(image: "Floats", width_px: float) -> "Floats":
    """An image blurred by a Gaussian, or by three means in a row, which is the same where it is wide.

    Not by matrices: how a library for those adds up depends on how many threads it has, and bits must not.
    """
    from scipy.ndimage import gaussian_filter, uniform_filter

    if width_px < _WIDE_PX:
        return np.asarray(gaussian_filter(image, width_px, mode="nearest"), dtype=np.float32)
    side = 2 * round(width_px) + 1
    for _ in range(3):
        image = uniform_filter(image, side, mode="nearest")
    return image
