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

from platform_assets.datasets.ingestion import (
    PreparedRows,
    RawSource,
    SubjectColumn,
    Surroundings,
    sources_of,
)
from platform_assets.datasets.sources import sources_hash
from platform_assets.fingerprint import code_version
from platform_assets.ledger.ledger import fingerprint_of
from platform_assets.processors import available_cpus
from platform_assets.tasks.image_classification.dataset_spec import ImageDatasetSpec
from platform_assets.tasks.image_classification.dicom.extra import require_imaging
from platform_assets.tasks.image_classification.dicom.gate import check_files
from platform_assets.tasks.image_classification.dicom.rules import load_rules
from platform_assets.tasks.image_classification.dicom.verdicts import DOMAINS
from platform_assets.tasks.image_classification.judged_files import (
    SUBJECT,
    JudgedFiles,
    RawImages,
    raw_images,
)
from platform_assets.tasks.image_classification.kept import Kept, KeptSpool, keeping
from platform_assets.tasks.image_classification.sources import (
    ImageSource,
    open_source,
    refuse_phantoms_of_one_draw,
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
                for name in ("ingestion", "judged_files", "kept", "labels", "sources", "held_back", "dicom")
            ),
            # Images are stored reduced: by what answers reduce them by, too.
            f"{_FOLDER}.image_form",
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
        refuse_phantoms_of_one_draw(uri for uri, _ in sources_of(spec))
        rules = load_rules(surroundings.contract)
        near = rules.image.near_duplicate
        keep = keeping(
            spec.split,
            cut_test=spec.val_data_uri is None,
            side_px=spec.stored_side_px,
            salt=surroundings.salt,
        )
        found: list[RawSource] = []
        for uri, role in sources_of(spec):
            with open_source(uri, rules, surroundings, labels=spec.labels) as source:
                # First of all: what is wrong with them is told before hours of images.
                labels, spool = source.labels(), KeptSpool()
                report = check_files(
                    source.files,
                    rules,
                    salt=surroundings.salt,
                    workers=available_cpus(),
                    keep=keep,
                    take=_telling(spool.take, len(source.files.files)),
                )
                found.append(
                    raw_images(
                        source,
                        role,
                        report,
                        labels,
                        spool.rows(),
                        surroundings,
                        near_bits=near.most_bits if near else None,
                    )
                )
        return found

    def prepare(
        self,
        spec: ImageDatasetSpec,
        sources: Sequence[RawSource],
        *,
        is_erased: Callable[[Sequence[str]], Sequence[bool]],
    ) -> PreparedRows:
        """See `Ingestion.prepare`; what the gate holds back, has no label, patient or image, or came earlier stays out.

        Raises:
            DatasetError: the test source shares patients with the training sources, or a split has no image.
        """
        files = JudgedFiles.of([each for each in sources if isinstance(each, RawImages)], spec)
        gone = np.array(is_erased([each or "" for each in files.patients]), dtype=np.bool_)
        left_out = files.left_out()
        kept = ~gone & ~np.logical_or.reduce(list(left_out.values()))
        files.refuse_shared_patients(kept, spec.val_data_uri)
        splits = files.splits(kept, spec)
        return PreparedRows(
            rows=files.rows(kept, splits),
            first_sources=files.first_sources,
            source_hash=sources_hash(each.source for each in sources),
            raw_rows=len(gone),
            erased=int(gone.sum()),
            left_out={reason: int((mask & ~gone).sum()) for reason, mask in left_out.items()},
            judged=RowBatches.of(files.judged(kept, splits).filter(~gone)),
            held_back=files.held_back(~gone),
        )


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
