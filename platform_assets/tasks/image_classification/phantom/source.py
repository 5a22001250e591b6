"""The data source `phantom://chest?n=2000&seed=7`: DICOM files that are rendered when they are read, and their labels."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from platform_assets.fingerprint import code_version
from platform_assets.tasks.image_classification.dicom.files import TOO_LARGE, SourceFile, SourceFiles
from platform_assets.tasks.image_classification.dicom.limits import Limits
from platform_assets.tasks.image_classification.phantom.anatomy import DEPTH, find_ct
from platform_assets.tasks.image_classification.phantom.cohort import FINDINGS, READERS, Cohort, draw_cohort
from platform_assets.tasks.image_classification.phantom.defects import DEFECTS, Defect
from platform_assets.tasks.image_classification.phantom.devices import SITES
from platform_assets.tasks.image_classification.phantom.dx_file import dx_file
from platform_assets.tasks.image_classification.phantom.findings import common_depth
from platform_assets.tasks.image_classification.phantom.geometry import SIDE
from platform_assets.tasks.image_classification.phantom.poses import pose_maps
from platform_assets.tasks.image_classification.phantom.render import Renderer
from platform_assets.tasks.image_classification.phantom.request import read_uri

if TYPE_CHECKING:
    import pyarrow as pa

_HERE: Final = "platform_assets.tasks.image_classification.phantom"


@dataclass(frozen=True, slots=True)
class Phantom:
    """A source of phantoms."""

    files: SourceFiles
    """The files; each is rendered when it is read, in this process."""
    identity: str
    """SHA-256 of what decides every byte: the code, the CT, and the parameters."""
    defects: Mapping[str, str]
    """Names of the files that have a defect, with the rule that each breaks."""
    _renderer: Renderer = field(repr=False)

    def labels(self) -> "pa.Table":
        """The table of labels, a row a file, in their order.

        Columns: `file`, `instance`; `label`, the reader's, which may be wrong, and `adjudicated_label`, the truth, 0 or 1;
        `reader`; `finding` (nodule, consolidation or multifocal), `grade` (1 to 5) and the box that it is in (`box_top`,
        `box_left`, `box_bottom`, `box_right`: pixels, the last two exclusive), null where there is none; `site`.
        """
        return _labels(self._renderer)


def open_phantom(uri: str, limits: Limits, *, cache: Path) -> Phantom:
    """The source that a URI `phantom://chest?n=2000&seed=7&defects=24` names.

    Args:
        uri: Its parameters may be left out: 2,000 files, seed 0, no defects. The last `defects` of the files have one each.
        limits: Bounds, as for any other source.
        cache: A folder for what is computed once, some seconds of it.

    Raises:
        PhantomUriError: It is of another form.
        PhantomDataError: The CT is not installed.
    """
    request = read_uri(uri)
    ct = find_ct()
    maps = pose_maps(ct, cache)
    cohort = draw_cohort(request)
    renderer = Renderer(cohort, maps, common_depth(maps[:, DEPTH]))
    first = request.n - request.defects

    def defect(at: int) -> Defect | None:
        return DEFECTS[(at - first) % len(DEFECTS)] if at >= first else None

    def read(at: int) -> bytes:
        return _content(cohort, at, renderer.image(at), defect(at))

    names = [cohort.name(at) for at in range(request.n)]
    sizes = _sizes(cohort, [defect(at) for at in range(first, request.n)])
    files = tuple(
        SourceFile(name, size, TOO_LARGE if size > limits.file_bytes else None)
        for name, size in zip(names, sizes, strict=True)
    )
    parts = [code_version("phantom", _HERE), ct.sha256, request.n, request.seed, request.defects]
    return Phantom(
        files=SourceFiles(files, 0, read, lambda at: hashlib.sha256(read(at)).hexdigest()),
        identity=hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest(),
        defects=MappingProxyType(
            {names[at]: found.rule for at in range(first, request.n) if (found := defect(at))}
        ),
        _renderer=renderer,
    )


def _content(cohort: Cohort, at: int, image: "np.typing.NDArray[np.uint16]", defect: Defect | None) -> bytes:
    if defect is None:
        return dx_file(cohort, at, image).encoded()
    return defect.content(defect.header(dx_file(cohort, at, defect.pixels(image))).encoded())


def _sizes(cohort: Cohort, defects: list[Defect | None]) -> list[int]:
    """How long each file will be: values have one length for each device."""
    blank = np.zeros((SIDE, SIDE), dtype=np.uint16)
    n = len(cohort.patient)
    first = n - len(defects)
    kinds = cohort.site * 2 + cohort.is_ap
    by_kind = {int(kind): int(np.argmax(kinds == kind)) for kind in np.unique(kinds)}
    usual = {kind: len(_content(cohort, at, blank, None)) for kind, at in by_kind.items()}
    sizes = [usual[kind] for kind in kinds[:first].tolist()]
    return sizes + [len(_content(cohort, at, blank, defects[at - first])) for at in range(first, n)]


def _labels(renderer: Renderer) -> "pa.Table":
    import pyarrow as pa

    cohort = renderer.cohort
    every = range(len(cohort.patient))
    boxes = [renderer.box(at) for at in every]
    whole = pa.int32()
    sides = {
        f"box_{side}": pa.array([None if box is None else getattr(box, side) for box in boxes], whole)
        for side in ("top", "left", "bottom", "right")
    }
    return pa.table(
        {
            "file": pa.array([cohort.name(at) for at in every], pa.string()),
            "instance": pa.array([cohort.uid("instance", at) for at in every], pa.string()),
            "label": pa.array(cohort.label, whole),
            "adjudicated_label": pa.array((cohort.finding >= 0).astype(np.int32), whole),
            "reader": pa.array([READERS[reader] for reader in cohort.reader], pa.string()),
            "finding": pa.array(
                [FINDINGS[kind] if kind >= 0 else None for kind in cohort.finding], pa.string()
            ),
            "grade": pa.array([int(grade) or None for grade in cohort.grade], whole),
            **sides,
            "site": pa.array([SITES[site] for site in cohort.site], pa.string()),
        }
    )
