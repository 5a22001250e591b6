"""Files that passed through the gate, with their labels: which of them are rows of the dataset, and in which split.

Columns of the dataset, in this order:

| column | type | meaning |
|---|---|---|
| patient | string | salted hash of the patient's id, which finds the rows of whoever is to be erased |
| study | string | salted hash of the study's UID |
| image_id | string | SHA-256 of the file |
| label | int32 | 0 or 1; in the test split what was adjudicated, where it was |
| source, split | string | where it comes from; train, validation, test, shift or reserve |
| site, reader, finding | string | what the labels say of it |
| grade, box_top, box_left, box_bottom, box_right | int32 | likewise; in pixels of the original image, ends exclusive |
| modality, view_position, sex, age_band | string | codes of the header |
| detector | string | salted hash of the device |
| image_rows, image_columns, bits | int32 | of the original image |
| pixel_spacing | double | mm |
| was_inverted, released | bool | whether it was MONOCHROME1; whether a person has let it in |
| stored_rows, stored_columns | int32 | of the image as it is kept |
| image | binary | uint16, little endian, row by row, 0 to 2^bits − 1; light is high |
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from platform_assets.datasets.errors import DatasetError
from platform_assets.datasets.ingestion import RawSource, SubjectColumn, Surroundings
from platform_assets.datasets.quarantine import Held, may_come_in
from platform_assets.datasets.splits import left_over
from platform_assets.reading.frames import to_frame
from platform_assets.tasks.image_classification.dataset_spec import ImageDatasetSpec
from platform_assets.tasks.image_classification.dicom.gate import GateReport, instance_hash
from platform_assets.tasks.image_classification.held_back import HeldFile, held_back_rows
from platform_assets.tasks.image_classification.labels import ADJUDICATED, LABEL, Labels
from platform_assets.tasks.image_classification.sources import OpenSource
from resources.row_batches import RowBatches

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

SUBJECT: Final = SubjectColumn("patient", "patient")
NO_FILE, NO_LABEL, NO_PATIENT, NO_IMAGE, KNOWN, ELSEWHERE = (
    "held_back_by_the_gate",
    "without_label",
    "without_patient",
    "without_image",
    "known_from_an_earlier_source",
    "patient_in_another_split",
)
_STORED: Final = ("stored_rows", "stored_columns", "image")
_NAMES: Final[Mapping[str, str]] = {
    "image_id": "sha256",
    "image_rows": "rows",
    "image_columns": "columns",
    "bits": "bits_stored",
}
"""Columns of the dataset that the gate's table calls otherwise."""


@dataclass(frozen=True, slots=True)
class RawImages(RawSource):
    """A source whose files have passed through the gate."""

    files: "pa.Table"
    """A row a file: what the gate says, what the labels say, and what was drawn."""
    held: tuple[HeldFile | None, ...]
    """Of each file, what it is held for; None where it passed, or a person has let it in."""
    released: "NDArray[np.bool_]"
    kept: RowBatches
    """A row a file, as `kept_schema` has it."""


def raw_images(
    source: OpenSource,
    role: str,
    report: GateReport,
    labels: Labels,
    kept: RowBatches,
    surroundings: Surroundings,
) -> RawImages:
    """A source after its gate.

    Args:
        source: Its files.
        role: As `RawSource` has it.
        report: What the gate has found.
        labels: What is said of the files.
        kept: What it has kept of the files.
        surroundings: The salt that it hashed with, and what persons have let in.
    """
    files = _files(report, labels, kept, surroundings.salt)
    held = [
        None if each.verdict == "pass" else HeldFile.of(file, each, name_hash)
        for file, each, name_hash in zip(
            report.files, report.reports, files["name_hash"].to_pylist(), strict=True
        )
    ]
    released = np.array(
        [
            each is not None
            and may_come_in(Held("", each.file_id, each.verdict, each.rules), surroundings.releases)
            for each in held
        ],
        dtype=bool,
    )
    frame = files.drop_columns(["rules", "findings", "likeness", "split", "detector"])
    return RawImages(
        source.source(report.content_hash),
        role,
        to_frame(frame, name=source.uri),
        files,
        tuple(None if let_in else each for each, let_in in zip(held, released, strict=True)),
        released,
        kept,
    )


def _files(report: GateReport, labels: Labels, kept: RowBatches, salt: bytes) -> "pa.Table":
    import pyarrow as pa

    names = [file.name for file in report.files]
    if labels.key == "instance":
        by_hash = {instance_hash(uid, salt): row for uid, row in labels.row_of.items()}
        found = [by_hash.get(each.instance or "") for each in report.reports]
    else:
        found = _of_copies(report, labels, labels.rows_of(names))
    files = report.to_table(salt)
    of_files = labels.rows.take(pa.array(found, pa.int64()))
    for name in of_files.column_names:
        files = files.append_column(name, of_files[name])
    drawn = kept.read(["split", "detector"])
    for name in drawn.column_names:
        files = files.append_column(name, drawn[name])
    return files


def _of_copies(report: GateReport, labels: Labels, found: "list[int | None]") -> "list[int | None]":
    """The same, where equal files have one label, whichever of them it is about; none where they have several.

    The gate lets the first of them pass, and the table may name another.
    """
    rows: dict[str, set[int]] = defaultdict(set)
    for each, row in zip(report.reports, found, strict=True):
        if each.sha256 is not None and row is not None:
            rows[each.sha256].add(row)
    said = list(zip(labels.rows[LABEL].to_pylist(), labels.rows[ADJUDICATED].to_pylist(), strict=True))
    agreed = {
        sha256: min(of_one) if len({said[row] for row in of_one}) == 1 else None
        for sha256, of_one in rows.items()
    }
    return [
        row if each.sha256 is None else agreed.get(each.sha256)
        for each, row in zip(report.reports, found, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class JudgedFiles:
    """The files of all sources, in their order."""

    sources: tuple[RawImages, ...]
    table: "pa.Table"
    """`RawImages.files` of all, with columns `source` and `role`."""
    drawn: "NDArray[np.object_]"
    """The split of each file, if it is in any; shape (files,)."""

    @classmethod
    def of(cls, sources: Sequence[RawImages], spec: ImageDatasetSpec) -> Self:
        """Those of these sources, with patients of the spec's test sites moved into the test split."""
        import pyarrow as pa

        tables = [
            each.files.append_column(
                "source", pa.array([each.source.name] * each.files.num_rows, pa.string())
            ).append_column("role", pa.array([each.role] * each.files.num_rows, pa.string()))
            for each in sources
        ]
        table = pa.concat_tables(tables)
        drawn = np.array(table["split"].to_pylist(), dtype=object)
        if spec.split.test_sites:
            _refuse_unknown_sites(table, spec.split.test_sites)
            patients, sites = table["patient"].to_pylist(), table["site"].to_pylist()
            at_site = [each in spec.split.test_sites for each in sites]
            moved = {patient for patient, is_there in zip(patients, at_site, strict=True) if is_there}
            moved.discard(None)
            drawn[[each in moved for each in patients]] = "test"
            drawn[at_site] = "test"
        roles = np.array(table["role"].to_pylist(), dtype=object)
        drawn = np.where(roles == "train", drawn, roles)
        return cls(tuple(sources), table, drawn)

    @property
    def patients(self) -> list[str | None]:
        """Whose each file is, by hash; None where the file does not tell."""
        found: list[str | None] = self.table["patient"].to_pylist()
        return found

    @property
    def first_sources(self) -> tuple[str, ...]:
        """See `PreparedRows.first_sources`."""
        trained = {each.source.name for each in self.sources if each.role == "train"}
        tested = {each.source.name for each in self.sources if each.role == "test"}
        return tuple(sorted((tested - trained) | {self.sources[0].source.name}))

    def left_out(self) -> "dict[str, NDArray[np.bool_]]":
        """Which files are no rows, by reason; each file has at most one."""
        held = np.array([each is not None for source in self.sources for each in source.held], dtype=bool)
        decoded = np.concatenate([_has(source.kept.read(["columns"])["columns"]) for source in self.sources])
        found = {
            NO_FILE: held,
            NO_LABEL: ~_has(self.table[LABEL]),
            NO_PATIENT: ~_has(self.table["patient"]),
            NO_IMAGE: ~decoded,
        }
        counted = np.zeros(len(held), dtype=bool)
        for reason, mask in found.items():
            found[reason] = mask & ~counted
            counted |= mask
        found[KNOWN] = ~counted & self._known(counted)
        counted |= found[KNOWN]
        return found | {ELSEWHERE: ~counted & self._elsewhere(counted)}

    def _elsewhere(self, out: "NDArray[np.bool_]") -> "NDArray[np.bool_]":
        """Files of a shift source whose patients are in one of the others."""
        patients, roles = self.patients, self.table["role"].to_pylist()
        of_shift = np.array([role == "shift" for role in roles], dtype=np.bool_)
        others = {patients[at] for at in np.flatnonzero(~out & ~of_shift)}
        return of_shift & np.array([each in others for each in patients], dtype=np.bool_)

    def _known(self, out: "NDArray[np.bool_]") -> "NDArray[np.bool_]":
        """Files that an earlier source has, too."""
        seen: set[str] = set()
        known = np.zeros(len(out), dtype=bool)
        for at, each in enumerate(self.table["sha256"].to_pylist()):
            if not out[at]:
                known[at] = each in seen
                seen.add(each)
        return known

    def refuse_shared_patients(self, kept: "NDArray[np.bool_]", val_uri: str | None) -> None:
        """Refuse a given test source that has patients of the training sources.

        Raises:
            DatasetError: it has some.
        """
        if val_uri is None:
            return
        patients = np.array(self.patients, dtype=object)
        roles = np.array(self.table["role"].to_pylist(), dtype=object)
        trained = set(patients[kept & (roles == "train")])
        tested = patients[kept & (roles == "test")]
        if shared := sum(each in trained for each in tested):
            raise DatasetError(
                f"{val_uri}: {shared} of {len(tested)} images are of patients who are also in train_data_uri; "
                "remove them from one of the two, or the test measures memory"
            )

    def splits(self, kept: "NDArray[np.bool_]", spec: ImageDatasetSpec) -> "NDArray[np.object_]":
        """The split of each file that is a row; `reserve` where fewer were asked for.

        Raises:
            DatasetError: a split has no image, or fewer than the spec asks for.
        """
        splits = self.drawn.copy()
        labels = np.array(self.table[LABEL].to_pylist(), dtype=object)
        ids = self.table["sha256"].to_pylist()
        sources = np.array(self.table["source"].to_pylist(), dtype=object)
        for split, wanted in (("train", spec.train_rows), ("shift", spec.shift_rows)):
            members = np.flatnonzero(kept & (splits == split))
            if wanted is None or not len(members) or (split == "shift" and wanted > len(members)):
                continue
            strata = [
                f"{source}|{label}" for source, label in zip(sources[members], labels[members], strict=True)
            ]
            _, groups = np.unique(strata, return_inverse=True)
            over = left_over(groups, split, wanted, seed=spec.split.seed, ids=(ids[at] for at in members))
            splits[members[over]] = "reserve"
        for split in ("train", "validation", "test"):
            if not (kept & (splits == split)).any():
                raise DatasetError(
                    f"split {split!r} has no image; give more patients, or change `split` "
                    f"({int(kept.sum())} of {len(kept)} files are rows)"
                )
        return splits

    def rows(self, kept: "NDArray[np.bool_]", splits: "NDArray[np.object_]") -> RowBatches:
        """The rows of the dataset; images are read as they are asked for."""
        import pyarrow as pa

        table = self._dataset_table(splits)
        starts = np.cumsum([0, *(each.files.num_rows for each in self.sources)])
        schema = table.schema
        for name, kind in zip(_STORED, (pa.int32(), pa.int32(), pa.binary()), strict=True):
            schema = schema.append(pa.field(name, kind))

        def scan(columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
            wanted = [name for name in columns if name in _STORED]
            for source, start in zip(self.sources, starts, strict=False):
                at = int(start)
                for batch in source.kept.batches([_KEPT_NAMES[name] for name in wanted or _STORED[:1]]):
                    part = slice(at, at + batch.num_rows)
                    at = part.stop
                    chosen = pa.array(kept[part])
                    told = table.slice(part.start, batch.num_rows).filter(chosen).combine_chunks()
                    stored = dict(zip(wanted, batch.filter(chosen).columns, strict=False))
                    arrays = [
                        stored[name] if name in stored else _array(told[name], schema.field(name).type)
                        for name in columns
                    ]
                    if len(arrays[0]):
                        yield pa.RecordBatch.from_arrays(
                            arrays, schema=pa.schema([schema.field(name) for name in columns])
                        )

        return RowBatches(schema, int(kept.sum()), scan)

    def judged(self, kept: "NDArray[np.bool_]", splits: "NDArray[np.object_]") -> "pa.Table":
        """What the contract is about: every file, with the split and label that it has as a row, null where it is none."""
        import pyarrow as pa

        table = self.table.drop_columns(
            ["split", "role", "findings", "rules", "likeness", LABEL, ADJUDICATED]
        )
        told = self._dataset_table(splits)
        out = pa.array(~kept)
        for name in (LABEL, "split", "released"):
            values = _array(told[name], told.schema.field(name).type)
            table = table.append_column(name, _where_not(out, values))
        return table

    def held_back(self, of_whom: "NDArray[np.bool_]") -> "pa.Table":
        """The files that are held, as `quarantine_schema` has them, with their patient.

        Args:
            of_whom: Files whose patient has not been erased.
        """
        return held_back_rows(
            (
                (held, source.source.name, patient, kept["rows"], kept["columns"], kept["image"])
                for source, chosen in zip(self.sources, self._parts(of_whom), strict=True)
                for held, patient, kept in _held_rows(source, chosen)
            )
        )

    def _parts(self, mask: "NDArray[np.bool_]") -> "list[NDArray[np.bool_]]":
        return np.split(mask, np.cumsum([each.files.num_rows for each in self.sources])[:-1])

    def _dataset_table(self, splits: "NDArray[np.object_]") -> "pa.Table":
        """The columns of the dataset but those of images, of every file."""
        import pyarrow as pa
        import pyarrow.compute as pc

        in_test = pa.array(splits == "test")
        agreed = pc.if_else(in_test, self.table[ADJUDICATED], None)
        columns: dict[str, Any] = {
            LABEL: pc.coalesce(agreed, self.table[LABEL]),
            "split": pa.array(splits, pa.string()),
            "released": pa.array(np.concatenate([each.released for each in self.sources])),
        }
        return pa.table(
            {
                name: columns[name] if name in columns else self.table[_NAMES.get(name, name)]
                for name in DATASET_COLUMNS
            }
        )


DATASET_COLUMNS: Final = (
    *("patient", "study", "image_id", LABEL, "source", "split", "site", "reader", "finding"),
    *(name for name in ("grade", "box_top", "box_left", "box_bottom", "box_right")),
    *("modality", "view_position", "sex", "age_band", "detector", "image_rows", "image_columns", "bits"),
    *("pixel_spacing", "was_inverted", "released"),
)
"""Those that a row has besides its image."""
_KEPT_NAMES: Final = {"stored_rows": "rows", "stored_columns": "columns", "image": "image"}


def _held_rows(
    source: RawImages, chosen: "NDArray[np.bool_]"
) -> Iterator[tuple[HeldFile, str | None, dict[str, Any]]]:
    patients = source.files["patient"].to_pylist()
    at = 0
    for batch in source.kept.batches(["rows", "columns", "image"]):
        for row in range(batch.num_rows):
            held = source.held[at]
            if held is not None and chosen[at]:
                yield held, patients[at], batch.slice(row, 1).to_pylist()[0]
            at += 1


def _refuse_unknown_sites(table: "pa.Table", wanted: Sequence[str]) -> None:
    if lacking := sorted(set(wanted) - set(table["site"].unique().to_pylist())):
        raise DatasetError(
            f"split.test_sites: the labels say of no file that it is from {', '.join(lacking)}; correct it, or the labels' "
            "column site"
        )


def _has(column: "pa.ChunkedArray") -> "NDArray[np.bool_]":
    found: NDArray[np.bool_] = column.is_valid().to_numpy()
    return found


def _array(column: "pa.ChunkedArray", kind: "pa.DataType") -> "pa.Array":
    import pyarrow as pa

    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], kind)


def _where_not(out: "pa.Array", values: "pa.Array") -> "pa.Array":
    import pyarrow.compute as pc

    return pc.if_else(out, None, values)
