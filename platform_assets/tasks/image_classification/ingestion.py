"""Labelled X-rays: DICOM files pass through the gate and become one table, split by patients.

A raw row is a file, whatever the gate says of it. What passed, or was let in by a person, is a row of the dataset; what did
not is a row of the quarantine. The contract is about all files. `judged_files` has the columns.
"""

import logging
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np

from platform_assets.datasets.errors import DatasetError, UnfitFilesError
from platform_assets.datasets.ingestion import (
    PreparedRows,
    RawSource,
    SubjectColumn,
    Surroundings,
    sources_of,
)
from platform_assets.datasets.sources import sources_hash
from platform_assets.fingerprint import code_version
from platform_assets.governance.subjects import Subject
from platform_assets.ledger.ledger import fingerprint_of
from platform_assets.processors import available_cpus
from platform_assets.tasks.image_classification.dataset_spec import ImageDatasetSpec
from platform_assets.tasks.image_classification.dicom.extra import (
    quiet_pydicom,
    require_imaging,
)
from platform_assets.tasks.image_classification.dicom.files import FileProblemError
from platform_assets.tasks.image_classification.dicom.gate import (
    GateReport,
    check_files,
    marked_across,
)
from platform_assets.tasks.image_classification.dicom.identity import PATIENT_ID
from platform_assets.tasks.image_classification.dicom.limits import Limits
from platform_assets.tasks.image_classification.dicom.reading import is_dicom, read_header
from platform_assets.tasks.image_classification.dicom.rules import load_rules
from platform_assets.tasks.image_classification.dicom.verdicts import DOMAINS
from platform_assets.tasks.image_classification.judged_files import (
    SUBJECT,
    JudgedFiles,
    RawImages,
    raw_images,
)
from platform_assets.tasks.image_classification.kept import Kept, KeptSpool, keeping
from platform_assets.tasks.image_classification.labels import Labels
from platform_assets.tasks.image_classification.sources import (
    ImageSource,
    OpenSource,
    name_of,
    open_source,
)
from resources.row_batches import RowBatches

_FOLDER: Final = "platform_assets.tasks.image_classification"
_PROGRESS_SECONDS: Final = 10.0

log = logging.getLogger(__name__)


class ImageIngestion:
    """Rows of labelled images; patients are their subjects, known by a salted hash."""

    description: Final = (
        "X-rays that passed the gate, split by patient, published after the contract on all files passed."
    )
    fields: Final = ("split", "labels", "stored_side_px")

    @cached_property
    def code(self) -> str:
        """See `Ingestion.code`."""
        return code_version(
            "image dataset",
            *(
                f"{_FOLDER}.{name}"
                for name in (
                    *("ingestion", "judged_files", "kept", "labels", "sources", "held_back", "dicom"),
                    "image_form",
                )
            ),
            "platform_assets.datasets.splits",
        )

    @property
    def domains(self) -> tuple[str, ...]:
        """See `Gated.domains`."""
        return tuple(domain.replace(".", "_") for domain in DOMAINS)

    def released_by(self, spec: ImageDatasetSpec) -> str:
        """See `HoldsBack.released_by`."""
        return spec.released_by

    def subject(self, spec: ImageDatasetSpec) -> SubjectColumn:  # noqa: ARG002 - the same for every line
        """See `Ingestion.subject`."""
        return SUBJECT

    def is_about(self, subject: Subject, content: bytes) -> bool:
        """See `TellsWhose.is_about`: a DICOM file, by its patient's id; one that cannot be read, by these letters in it."""
        if subject.namespace != SUBJECT.namespace or not is_dicom(content):
            return False
        require_imaging()
        with quiet_pydicom():
            try:
                return read_header(content, Limits()).spelt(PATIENT_ID) == subject.id.strip()
            except FileProblemError:
                return subject.id.encode() in content

    def gate_hash(self, surroundings: Surroundings) -> str:
        """See `Gated.gate_hash`."""
        rules = load_rules(surroundings.contract)
        return fingerprint_of(
            **rules.rule_set_hashes, ignore=sorted(rules.ignore), limits=rules.limits.model_dump()
        )

    def source_hash(self, spec: ImageDatasetSpec, surroundings: Surroundings) -> str:
        """See `Gated.source_hash`."""
        rules, found = load_rules(surroundings.contract), []
        for uri, _ in sources_of(spec):
            with open_source(uri, rules, surroundings, labels=spec.labels) as source:
                found.append(ImageSource(uri, source.name, source.hashed()))
        return sources_hash(found)

    def read(self, spec: ImageDatasetSpec, surroundings: Surroundings) -> list[RawSource]:
        """See `Gated.read`: every file through the gate, header and pixels.

        Raises:
            DatasetError: a source is not there or not to be trusted, its labels are none, or pydicom is missing.
        """
        require_imaging()
        _refuse_one_name([uri for uri, _ in sources_of(spec)])
        rules = load_rules(surroundings.contract)
        keep = keeping(
            spec.split,
            cut_test=spec.val_data_uri is None,
            side_px=spec.stored_side_px,
            salt=surroundings.salt,
        )
        found: list[tuple[OpenSource, str, Labels, RowBatches]] = []
        reports: list[GateReport] = []
        for uri, role in sources_of(spec):
            with open_source(uri, rules, surroundings, labels=spec.labels) as source:
                # First of all: what is wrong with them is told before hours of images.
                labels, spool = source.labels(), KeptSpool()
                _tell_of(labels, source)
                reports.append(
                    check_files(
                        source.files,
                        rules,
                        salt=surroundings.salt,
                        workers=available_cpus(),
                        keep=keep,
                        take=_telling(spool.take, len(source.files.files)),
                    )
                )
                found.append((source, role, labels, spool.rows()))
        return [
            raw_images(source, role, report, labels, kept, surroundings)
            for (source, role, labels, kept), report in zip(found, marked_across(reports, rules), strict=True)
        ]

    def prepare(
        self,
        spec: ImageDatasetSpec,
        sources: Sequence[RawSource],
        *,
        is_erased: Callable[[Sequence[str]], Sequence[bool]],
    ) -> PreparedRows:
        """See `Ingestion.prepare`; what the gate holds back, has no label, patient or image, or was in an earlier source stays out.

        Raises:
            UnfitFilesError: the test source shares patients with the training sources, or a split has no image.
            DatasetError: no file is of a site that the spec names.
        """
        files = JudgedFiles.of([each for each in sources if isinstance(each, RawImages)], spec)
        gone = np.array(is_erased([each or "" for each in files.patients]), dtype=np.bool_)
        left_out = files.left_out()
        kept = ~gone & ~np.logical_or.reduce(list(left_out.values()))
        held_back = files.held_back(~gone)
        try:
            files.refuse_shared_patients(kept, spec.val_data_uri)
            splits = files.splits(kept, spec)
        except DatasetError as problem:
            # What was held must be seen all the same, or nobody could let anything in.
            judged = RowBatches.of(files.judged(kept, files.drawn).filter(~gone))
            raise UnfitFilesError(str(problem), judged=judged, held_back=held_back) from None
        return PreparedRows(
            rows=files.rows(kept, splits),
            first_sources=files.first_sources,
            source_hash=sources_hash(each.source for each in sources),
            raw_rows=len(gone),
            erased=int(gone.sum()),
            left_out={reason: int((mask & ~gone).sum()) for reason, mask in left_out.items()},
            judged=RowBatches.of(files.judged(kept, splits).filter(~gone)),
            held_back=held_back,
        )


def _refuse_one_name(uris: Sequence[str]) -> None:
    """Rows are told apart by their source's name: what is of the line's own, and what another source costs."""
    first: dict[str, str] = {}
    for uri in uris:
        if (name := name_of(uri)) in first:
            raise DatasetError(
                f"{uri}: is called {name}, as {first[name]} is, so their rows cannot be told apart; rename one of them, or ask "
                "one phantom for more files"
            )
        first[name] = uri


def _tell_of(labels: Labels, source: OpenSource) -> None:
    """Tell what of the labels is about nothing; hours before the gate would.

    Raises:
        DatasetError: it is all of them.
    """
    if labels.ignored:
        log.info("%s: %d columns of the labels are not read", source.name, len(labels.ignored))
    if labels.key != "file":
        return
    found = labels.rows_of([file.name for file in source.files.files])
    strangers = labels.rows.num_rows - len({row for row in found if row is not None})
    if strangers == labels.rows.num_rows:
        raise DatasetError(
            f"{source.uri}: none of the {strangers} rows of its labels names one of its {len(found)} files; column file holds "
            "the path of each within the source, e.g. 2026/0001.dcm"
        )
    if strangers:
        log.warning("%s: %d rows of the labels name no file", source.name, strangers)


def _telling(take: Callable[[int, Kept | None], None], files: int) -> Callable[[int, Any], None]:
    """The same, which tells every now and then how far the gate is."""
    told = time.monotonic()

    def taking(at: int, kept: Kept | None) -> None:
        nonlocal told
        take(at, kept)
        if time.monotonic() - told > _PROGRESS_SECONDS:
            told = time.monotonic()
            log.info("gate: %s of %s files", f"{at + 1:,}", f"{files:,}")

    return taking
