"""One way to look at a folder of DICOM files; prints processor seconds without imports, and what it saw."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from platform_assets.datasets.contract import CONTRACTS_FOLDER
from platform_assets.tasks.image_classification.dicom.files import open_files
from platform_assets.tasks.image_classification.dicom.gate import check_files
from platform_assets.tasks.image_classification.dicom.rules import GateRules, load_rules
from platform_assets.tasks.image_classification.dicom.verdicts import worst
from tests.benchmarks.dicom import GATE, PLAIN

_WARM = 8


def _plain(files: list[Path], *, with_pixels: bool) -> dict[str, Any]:
    seen = []
    for file in files:
        read = pydicom.dcmread(file, stop_before_pixels=not with_pixels)
        seen.append([read.Modality, int(read.Rows), int(read.Columns), str(read.PhotometricInterpretation)])
        if with_pixels:
            seen[-1].append(len(np.unique(read.pixel_array)))
    return {"seen": seen}


def _gate(folder: Path, rules: GateRules, *, with_pixels: bool) -> dict[str, Any]:
    with open_files(folder, rules.limits, ignore=rules.ignore) as source:
        found = check_files(source, rules, salt=b"a salt of benchmarks", with_pixels=with_pixels)
    seen = [
        [each.modality, each.rows, each.columns, each.photometric, *([each.levels] if with_pixels else [])]
        for each in found.reports
    ]
    return {"seen": seen, "passed": sum(worst(each.findings) == "pass" for each in found.reports)}


def main() -> None:
    """Look at the files: way, folder."""
    way, folder = sys.argv[1], Path(sys.argv[2])
    files = sorted(folder.glob("*.dcm"))
    if way in PLAIN:
        _plain(files[:_WARM], with_pixels=True)
        began = time.process_time()
        told = _plain(files, with_pixels=PLAIN[way])
    else:
        changes, with_pixels, with_text = GATE[way]
        rules = load_rules(CONTRACTS_FOLDER / "chest_xrays.yaml")
        identity = rules.identity if with_text else rules.identity.model_copy(update={"burned_in_text": None})
        rules = rules.model_copy(
            update={"image": rules.image.model_copy(update=changes), "identity": identity}
        )
        warm = folder
        _gate(warm, rules, with_pixels=with_pixels)
        began = time.process_time()
        told = _gate(folder, rules, with_pixels=with_pixels)
    print(json.dumps({"seconds": time.process_time() - began, "files": len(told["seen"]), **told}))


if __name__ == "__main__":
    main()
