"""All files of a source through the gate: each judged by itself, then all of them for being the same."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from platform_assets.governance.subjects import hash_of
from platform_assets.tasks.image_classification.dicom.extra import require_imaging
from platform_assets.tasks.image_classification.dicom.files import (
    FileProblemError,
    SourceFile,
    SourceFiles,
    content_hash,
)
from platform_assets.tasks.image_classification.dicom.judge import (
    FILE_NAMES,
    INSTANCES,
    FileReport,
    Keep,
    judge_file,
    refused,
)
from platform_assets.tasks.image_classification.dicom.likeness import near_pairs
from platform_assets.tasks.image_classification.dicom.processes import in_processes
from platform_assets.tasks.image_classification.dicom.rules import GateRules
from platform_assets.tasks.image_classification.dicom.verdicts import DOMAINS, FailedVerdict, Finding, worst

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

DUPLICATE: Final = "dicom.image.duplicate"
NEAR_DUPLICATE: Final = "dicom.image.near_duplicate"
_SOP_INSTANCE: Final = "SOPInstanceUID"


@dataclass(frozen=True, slots=True)
class GateReport:
    """Every file of a source with its verdict."""

    files: tuple[SourceFile, ...]
    reports: tuple[FileReport, ...]
    """One for each file, in the same order."""
    ignored: int
    """Files that were left out by name."""
    content_hash: str
    """Of the source: SHA-256 over the sorted list of names, sizes and SHA-256."""

    @property
    def verdicts(self) -> dict[str, int]:
        """How many files have each verdict."""
        found = Counter(report.verdict for report in self.reports)
        return {verdict: found.get(verdict, 0) for verdict in ("pass", "quarantine", "reject")}

    @property
    def rules(self) -> dict[str, int]:
        """How many files break each rule that any breaks, the most frequent first."""
        found = Counter(rule for report in self.reports for rule in {each.rule for each in report.findings})
        return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))

    def not_passed(self) -> Iterator[tuple[int, SourceFile, FileReport]]:
        """Position, file and report of those that did not pass."""
        for at, (file, report) in enumerate(zip(self.files, self.reports, strict=True)):
            if report.findings:
                yield at, file, report

    def to_table(self, salt: bytes) -> "pa.Table":
        """One row a file, of `table_schema`: what later stages need, and nothing that identifies.

        Args:
            salt: Of the hashes of file names; the one that the files were judged with.
        """
        import pyarrow as pa

        rows = [
            _row(at, file, report, salt)
            for at, (file, report) in enumerate(zip(self.files, self.reports, strict=True))
        ]
        return pa.Table.from_pylist(rows, schema=table_schema())


def table_schema() -> "pa.Schema":
    """The columns of the table of files."""
    import pyarrow as pa

    text, count = pa.string(), pa.int32()
    finding = pa.struct([("rule", text), ("verdict", text), ("tags", pa.list_(text)), ("count", pa.int64())])
    return pa.schema(
        [
            pa.field("file", pa.int64(), nullable=False),
            pa.field("name_hash", text, nullable=False),
            ("sha256", text),
            pa.field("size_bytes", pa.int64(), nullable=False),
            pa.field("verdict", text, nullable=False),
            pa.field("identity", text, nullable=False),
            pa.field("image", text, nullable=False),
            pa.field("acquisition", text, nullable=False),
            pa.field("rules", pa.list_(text), nullable=False),
            pa.field("findings", pa.list_(finding), nullable=False),
            ("patient", text),
            ("study", text),
            ("instance", text),
            ("transfer_syntax", text),
            ("sop_class", text),
            ("modality", text),
            ("presentation_intent", text),
            ("photometric", text),
            ("body_part", text),
            ("view_position", text),
            ("sex", text),
            ("age_band", text),
            ("rows", count),
            ("columns", count),
            ("frames", count),
            ("bits_stored", count),
            ("pixel_spacing", pa.float64()),
            ("was_inverted", pa.bool_()),
            ("levels", count),
            ("clipped_share", pa.float64()),
            ("likeness", pa.binary(32)),
        ]
    )


def name_hash(name: str, salt: bytes) -> str:
    """By what a table of files knows a name, e.g. one of a table of labels."""
    return hash_of(FILE_NAMES, name.encode("utf-8", "backslashreplace").decode(), salt)


def instance_hash(uid: str, salt: bytes) -> str:
    """By what a table of files knows a SOP Instance UID, e.g. one of a table of labels."""
    return hash_of(INSTANCES, uid, salt)


def check_files(
    source: SourceFiles,
    rules: GateRules,
    *,
    salt: bytes,
    with_pixels: bool = True,
    workers: int = 0,
    keep: Keep | None = None,
    take: Callable[[int, Any], None] | None = None,
) -> GateReport:
    """Hold every file of a source against the rules.

    Args:
        source: The files.
        rules: What is asked.
        salt: Of hashes.
        with_pixels: Whether the pixel stage follows the header stage.
        workers: Processes, in which a file that takes its decoder down is rejected and the others go on; 0: this process.
        keep: What is to be had of each file, as `judge_file` has it.
        take: Gets it, with the file's position, in order and as it comes; it is not in the report, which stays small.

    Raises:
        ImagingMissingError: pydicom is not installed.
    """
    require_imaging()
    judged = (
        in_processes(source, rules, salt=salt, with_pixels=with_pixels, workers=workers, keep=keep)
        if workers
        else _judged_here(source, rules, salt=salt, with_pixels=with_pixels, keep=keep)
    )
    reports = []
    for at, report in enumerate(judged):
        if take is not None:
            take(at, report.kept)
        reports.append(replace(report, kept=None) if report.kept is not None else report)
    _mark_duplicates(reports, rules)
    _mark_near_duplicates(reports, rules)
    return GateReport(
        source.files,
        tuple(reports),
        source.ignored,
        content_hash((file, report.sha256) for file, report in zip(source.files, reports, strict=True)),
    )


def marked_across(found: Sequence[GateReport], rules: GateRules) -> list[GateReport]:
    """The same reports, where a file is also held for what is in a source before its own.

    `check_files` compares the files of one source. A patient who is in two of them under two ids would be in two splits,
    and a second image may claim the UID of a first. The files of the earlier source stay as they are, so that a source
    which is added takes none away. Equal files are no fault here: who reads both takes one.

    Args:
        found: Of each source, in order.
        rules: What is asked.
    """
    reports = [each for one in found for each in one.reports]
    of_source = np.repeat(np.arange(len(found)), [len(one.reports) for one in found])
    if len(found) > 1:
        _mark_claimed_before(reports, of_source, rules)
        _mark_seen_before(reports, of_source, rules)
    ends = np.cumsum([len(one.reports) for one in found])
    return [
        replace(one, reports=tuple(reports[end - len(one.reports) : end]))
        for one, end in zip(found, ends, strict=True)
    ]


def _mark_claimed_before(reports: list[FileReport], of_source: "NDArray[np.int64]", rules: GateRules) -> None:
    if (rule := rules.image.duplicate) is None:
        return
    claims: dict[str, list[tuple[int, str | None]]] = defaultdict(list)
    for at, report in enumerate(reports):
        if not report.instance:
            continue
        before = claims[report.instance]
        others = {sha256 for source, sha256 in before if source < of_source[at]} - {report.sha256}
        before.append((int(of_source[at]), report.sha256))
        if others and DUPLICATE not in {each.rule for each in report.findings}:
            _add(reports, at, DUPLICATE, rule.verdict, (_SOP_INSTANCE,), 1 + len(others))


def _mark_seen_before(reports: list[FileReport], of_source: "NDArray[np.int64]", rules: GateRules) -> None:
    if (rule := rules.image.near_duplicate) is None:
        return
    for at, count in _near_ones(reports, rule.most_bits, of_source):
        if NEAR_DUPLICATE not in {each.rule for each in reports[at].findings}:
            _add(reports, at, NEAR_DUPLICATE, rule.verdict, ("PixelData",), count)


def _judged_here(
    source: SourceFiles, rules: GateRules, *, salt: bytes, with_pixels: bool, keep: Keep | None
) -> Iterator[FileReport]:
    for at, file in enumerate(source.files):
        try:
            content = source.read(at)
        except FileProblemError as problem:
            yield refused(problem.rule, source.sha256(at))
        else:
            yield judge_file(content, rules, name=file.name, salt=salt, with_pixels=with_pixels, keep=keep)


def _mark_duplicates(reports: list[FileReport], rules: GateRules) -> None:
    """The first of some same files stays; of others that claim to be one object nobody knows which is."""
    if (rule := rules.image.duplicate) is None:
        return
    same: dict[str, list[int]] = defaultdict(list)
    claimed: dict[str, list[int]] = defaultdict(list)
    for at, report in enumerate(reports):
        if report.sha256 is not None:
            same[report.sha256].append(at)
    for first, *others in same.values():
        for at in others:
            _add(reports, at, DUPLICATE, "reject", (), 1 + len(others))
        if instance := reports[first].instance:
            claimed[instance].append(first)
    for several in claimed.values():
        if len(several) > 1:
            for at in several:
                _add(reports, at, DUPLICATE, rule.verdict, (_SOP_INSTANCE,), len(several))


def _mark_near_duplicates(reports: list[FileReport], rules: GateRules) -> None:
    """Images of different patients that look the same. Those of one patient may: exposures are repeated."""
    if (rule := rules.image.near_duplicate) is None:
        return
    for at, count in _near_ones(reports, rule.most_bits):
        _add(reports, at, NEAR_DUPLICATE, rule.verdict, ("PixelData",), count)


def _near_ones(
    reports: Sequence[FileReport], most_bits: int, of_source: "NDArray[np.int64] | None" = None
) -> list[tuple[int, int]]:
    """Positions of images that look like those of others, and like how many.

    Args:
        reports: Of all files.
        most_bits: That two hashes may differ in.
        of_source: Which source each file is of, where only those of an earlier one count; shape (reports,).
    """
    seen = [at for at, each in enumerate(reports) if each.likeness and each.verdict != "reject"]
    if not seen:
        return []
    hashes = np.frombuffer(b"".join(reports[at].likeness or b"" for at in seen), np.uint8).reshape(
        len(seen), -1
    )
    # Whoever has no patient is one of their own.
    numbers: dict[str, int] = {}
    patients = np.array(
        [
            numbers.setdefault(reports[at].patient or f"none {reports[at].sha256}", len(numbers))
            for at in seen
        ],
        dtype=np.int64,
    )
    counts = np.zeros(len(seen), dtype=np.int64)
    for pairs in near_pairs(hashes, most_bits):
        others = pairs[patients[pairs[:, 0]] != patients[pairs[:, 1]]]
        if of_source is not None:
            sources = of_source[seen][others]
            others = others[sources[:, 0] < sources[:, 1], 1:]
        counts += np.bincount(others.ravel(), minlength=len(seen))
    return [(seen[place], int(counts[place])) for place in np.flatnonzero(counts)]


def _add(
    reports: list[FileReport], at: int, rule: str, verdict: FailedVerdict, tags: tuple[str, ...], count: int
) -> None:
    findings = (*reports[at].findings, Finding(rule, verdict, tags, count))
    reports[at] = replace(reports[at], findings=findings)


def _row(at: int, file: SourceFile, report: FileReport, salt: bytes) -> dict[str, Any]:
    names = {
        each for each in FileReport.__dataclass_fields__ if each not in ("findings", "is_nameable", "kept")
    }
    return {
        "file": at,
        "name_hash": name_hash(file.name, salt),
        "size_bytes": file.size_bytes,
        "verdict": report.verdict,
        # By domain, so that a contract's expectations can be about each.
        **{
            domain.removeprefix("dicom."): worst(each for each in report.findings if each.domain == domain)
            for domain in DOMAINS
        },
        "rules": sorted({each.rule for each in report.findings}),
        "findings": [
            {"rule": each.rule, "verdict": each.verdict, "tags": list(each.tags), "count": each.count}
            for each in report.findings
        ],
        **{name: getattr(report, name) for name in names},
    }
