"""The devices of three sites that do not exist, and how the pictures of each look."""

from dataclasses import dataclass
from typing import Final

SITES: Final = ("site-north", "site-harbour", "site-valley")


@dataclass(frozen=True, slots=True)
class Device:
    """One device: what its files say, and what it does to an image."""

    manufacturer: str
    model: str
    serial: str
    detector: str
    """Detector Type of DICOM: DIRECT, SCINTILLATOR or STORAGE."""
    is_inverse: bool
    """Whether it writes MONOCHROME1."""
    bits: int
    photons: float
    """That reach a pixel where nothing is in the way, in thousands."""
    scatter: float
    """Of the primary radiation."""
    edge: float
    """By how much fine detail is raised."""
    flat: float
    """By how much the slow differences are taken back."""
    gamma: float
    latitude: float
    """Share of the stored range that the body takes."""
    level: float
    """Where its middle lies in it."""


DEVICES: Final = (
    (
        Device(
            "Synthetic Imaging A",
            "Wallstand 1",
            "A-1001",
            "DIRECT",
            False,
            12,
            60,
            0.25,
            0.9,
            0.25,
            1.0,
            0.80,
            0.50,
        ),
        Device(
            "Synthetic Imaging A",
            "Trolley 1",
            "A-1002",
            "SCINTILLATOR",
            False,
            12,
            30,
            0.55,
            0.5,
            0.35,
            0.9,
            0.72,
            0.54,
        ),
    ),
    (
        Device(
            "Synthetic Imaging B",
            "Upright X",
            "B-2001",
            "SCINTILLATOR",
            True,
            12,
            50,
            0.30,
            1.4,
            0.45,
            1.1,
            0.76,
            0.47,
        ),
        Device(
            "Synthetic Imaging B",
            "Cassette P",
            "B-2002",
            "STORAGE",
            True,
            10,
            22,
            0.60,
            0.3,
            0.20,
            1.0,
            0.66,
            0.55,
        ),
    ),
    (
        Device(
            "Synthetic Imaging C",
            "Chest Pro",
            "C-3001",
            "DIRECT",
            False,
            14,
            70,
            0.20,
            0.6,
            0.10,
            1.2,
            0.84,
            0.52,
        ),
        Device(
            "Synthetic Imaging C",
            "Mobile Go",
            "C-3002",
            "SCINTILLATOR",
            False,
            14,
            26,
            0.50,
            1.1,
            0.40,
            1.0,
            0.70,
            0.50,
        ),
    ),
)
"""By site: the one on the wall, for PA, and the mobile one, for AP."""
