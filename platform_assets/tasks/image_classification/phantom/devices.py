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
            is_inverse=False,
            bits=12,
            photons=60,
            scatter=0.25,
            edge=0.9,
            flat=0.25,
            gamma=1.0,
            latitude=0.80,
            level=0.50,
        ),
        Device(
            "Synthetic Imaging A",
            "Trolley 1",
            "A-1002",
            "SCINTILLATOR",
            is_inverse=False,
            bits=12,
            photons=30,
            scatter=0.55,
            edge=0.5,
            flat=0.35,
            gamma=0.9,
            latitude=0.72,
            level=0.54,
        ),
    ),
    (
        Device(
            "Synthetic Imaging B",
            "Upright X",
            "B-2001",
            "SCINTILLATOR",
            is_inverse=True,
            bits=12,
            photons=50,
            scatter=0.30,
            edge=1.4,
            flat=0.45,
            gamma=1.1,
            latitude=0.76,
            level=0.47,
        ),
        Device(
            "Synthetic Imaging B",
            "Cassette P",
            "B-2002",
            "STORAGE",
            is_inverse=True,
            bits=10,
            photons=22,
            scatter=0.60,
            edge=0.3,
            flat=0.20,
            gamma=1.0,
            latitude=0.66,
            level=0.55,
        ),
    ),
    (
        Device(
            "Synthetic Imaging C",
            "Chest Pro",
            "C-3001",
            "DIRECT",
            is_inverse=False,
            bits=14,
            photons=70,
            scatter=0.20,
            edge=0.6,
            flat=0.10,
            gamma=1.2,
            latitude=0.84,
            level=0.52,
        ),
        Device(
            "Synthetic Imaging C",
            "Mobile Go",
            "C-3002",
            "SCINTILLATOR",
            is_inverse=False,
            bits=14,
            photons=26,
            scatter=0.50,
            edge=1.1,
            flat=0.40,
            gamma=1.0,
            latitude=0.70,
            level=0.50,
        ),
    ),
)
"""By site: the one on the wall, for PA, and the mobile one, for AP."""
