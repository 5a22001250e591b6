"""The gate for DICOM files beside plain pydicom: processor seconds on the same files, in turns."""

import json
import statistics
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.measure import BenchmarkError, measure

PLAIN: Final = {"pydicom": False, "pydicom with pixels": True}
"""Whether pixels are decoded, by way."""
GATE: Final[dict[str, tuple[dict[str, None], bool, bool]]] = {
    "header rules": ({"attribute_types": None}, False, False),
    "header rules and types": ({}, False, False),
    "pixels": ({}, True, False),
    "pixels and text": ({}, True, True),
}
"""Rules of `image` to change, whether pixels are decoded, whether text is looked for."""
_CORES: Final = 2


@dataclass(frozen=True, slots=True)
class Looked:
    """What one way of looking took."""

    way: str
    files_per_second: float
    """On two cores, from processor seconds."""
    ratio: float
    """Processor seconds over those of plain pydicom, with pixels where it decodes them."""

    def __str__(self) -> str:
        return f"  {self.way:<26}{self.files_per_second:>10,.0f}{self.ratio:>8.2f}"


@dataclass(frozen=True, slots=True)
class DicomFigures:
    """All ways, on the same files."""

    files: int
    side: int
    ways: tuple[Looked, ...]

    def __str__(self) -> str:
        head = f"  {'median':<26}{'files/s':>10}{'ratio':>8}"
        return "\n".join(
            [
                f"DICOM gate, {self.files:,} files of {self.side} × {self.side} pixels",
                head,
                *map(str, self.ways),
            ]
        )


def measure_dicom(folder: Path, *, files: int = 400, side: int = 256, rounds: int = 3) -> DicomFigures:
    """Let each way look at the same files, in turns.

    Raises:
        BenchmarkError: pydicom is not installed, a process fails, or two ways have seen different things.
    """
    if find_spec("pydicom") is None:
        raise BenchmarkError("pydicom is not installed: install the extra imaging")
    _write(folder / "files", files, side)
    told: dict[str, list[dict[str, Any]]] = {way: [] for way in (*PLAIN, *GATE)}
    for turn in range(rounds):
        for way, of_way in told.items():
            done = measure(
                "-m", "tests.benchmarks.dicom_worker", way, folder / "files", folder=folder / f"{turn}"
            )
            of_way.append(json.loads(done.succeeded().output.splitlines()[-1]))
    _agree(told, files)
    seconds = {way: statistics.median(one["seconds"] for one in of_way) for way, of_way in told.items()}
    return DicomFigures(
        files=files,
        side=side,
        ways=tuple(
            Looked(way, _CORES * files / seconds[way], seconds[way] / seconds[_peer(way)]) for way in told
        ),
    )


def _peer(way: str) -> str:
    with_pixels = PLAIN[way] if way in PLAIN else GATE[way][1]
    return next(name for name, decodes in PLAIN.items() if decodes == with_pixels)


def _agree(told: dict[str, list[dict[str, Any]]], files: int) -> None:
    for way, of_way in told.items():
        for one in of_way:
            if one["seen"] != told[_peer(way)][0]["seen"]:
                raise BenchmarkError(f"{way} has seen other things than {_peer(way)}")
            if one.get("passed", files) != files:
                raise BenchmarkError(f"{way}: {files - one['passed']} files did not pass")


def _write(folder: Path, files: int, side: int) -> None:
    from tests.tasks.image_classification.dicom.builders import chest, dataset, written

    folder.mkdir(parents=True)
    for at in range(files):
        made = dataset(seed=at, image=chest(at, side=side), patient=f"P-{at:04}")
        (folder / f"{at:05}.dcm").write_bytes(written(made))
