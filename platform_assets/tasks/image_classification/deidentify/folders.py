"""De-identified copies of all files of a source, in a folder of their own: each is there as a whole or not at all.

A copy is made, judged by the gate's rules of identity, its pixels too, and only then written. What the gate finds is
told by rule and by the names of attributes, never by a value; the file's own name is not told either.
"""

import csv
import errno
import hashlib
import io
import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from platform_assets.tasks.image_classification.deidentify.errors import DeidentifyError
from platform_assets.tasks.image_classification.deidentify.options import BASIC, Keep
from platform_assets.tasks.image_classification.deidentify.pseudonyms import Pseudonyms
from platform_assets.tasks.image_classification.deidentify.rewriting import (
    BURNED_IN,
    Rewritten,
    rewritten,
)
from platform_assets.tasks.image_classification.dicom.extra import require_imaging
from platform_assets.tasks.image_classification.dicom.files import FileProblemError, SourceFiles
from platform_assets.tasks.image_classification.dicom.gate import DUPLICATE
from platform_assets.tasks.image_classification.dicom.judge import FileReport, judge_file, refused
from platform_assets.tasks.image_classification.dicom.processes import in_processes
from platform_assets.tasks.image_classification.dicom.rules import (
    AcquisitionRules,
    GateRules,
    ImageRules,
    Rule,
    TextRule,
)
from platform_assets.tasks.image_classification.dicom.verdicts import Finding

_COLUMNS: Final = (
    "file",
    "new_file",
    "patient",
    "new_patient",
    "study",
    "new_study",
    "instance",
    "new_instance",
)
_ONLY_OWNER: Final = 0o600
_READABLE: Final = 0o644


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file."""

    file: int
    """Its place in the sorted list of the source's files, from 0."""
    sha256: str | None
    """Of the file as it was; None where it could not be read."""
    written: str | None
    """Name of its copy; None where it was refused."""
    findings: tuple[Finding, ...]
    """Why it was refused; of a copy that was written, what is left for a person to look at."""


@dataclass(frozen=True, slots=True)
class DeidentifyReport:
    """What became of all files. Holds no value of any."""

    outcomes: tuple[Outcome, ...]
    """One for each file, in order."""
    actions: dict[str, dict[str, int]]
    """How often each action was taken in what was written, by the attribute's name."""
    codes: tuple[str, ...]
    """By which the copies state how they were made (CID 7050)."""

    @property
    def written(self) -> int:
        """How many copies there are."""
        return sum(each.written is not None for each in self.outcomes)

    @property
    def has_passed(self) -> bool:
        """Whether every file has a copy that breaks no rule of identity."""
        return all(each.written and not each.findings for each in self.outcomes)

    @property
    def rules(self) -> dict[str, int]:
        """How many files break each rule that any breaks, the most frequent first."""
        found = Counter(rule for each in self.outcomes for rule in {one.rule for one in each.findings})
        return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))


def require_deidentify() -> None:
    """Nothing, where what it needs is installed.

    Raises:
        ImagingMissingError: pydicom is not.
        DeidentifyError: dicom-anonymizer is not.
    """
    require_imaging()
    if find_spec("dicomanonymizer") is None:
        raise DeidentifyError(
            "files cannot be de-identified: dicom-anonymizer is not installed; install the extra imaging, e.g. "
            "pip install 'platform-assets[imaging]'"
        )


def deidentify(
    source: SourceFiles,
    out: Path,
    rules: GateRules,
    *,
    key: bytes,
    keep: Collection[Keep] = (),
    mapping: Path | None = None,
    workers: int = 0,
) -> DeidentifyReport:
    """Write a de-identified copy of each file that can have one, named by its new UID.

    Args:
        source: The files; none is changed.
        out: A folder that is empty, or is not there yet.
        rules: Of the contract that the copies are for; those of identity are asked, and for text among pixels always.
        key: Secret, by which the same identifier gets the same pseudonym in every run.
        keep: What stays.
        mapping: Where to write which file and whose became which, readable by its owner alone; None: nowhere.
        workers: Processes that judge, in which a file that takes its decoder down is refused and the others go on; 0:
            this process.

    Raises:
        DeidentifyError: `out` holds something, `mapping` exists or lies in `out`, a library is not installed, or the disk
            takes no more.
        ImagingMissingError: pydicom is not installed.
    """
    require_deidentify()
    _prepare(out, mapping)
    copies = _Copies(source, rules, Pseudonyms(key), frozenset(keep))
    asked = _asked(rules)
    reports = (
        in_processes(copies.files, asked, salt=key, with_pixels=True, workers=workers)
        if workers
        else _judged_here(copies.files, asked, key)
    )
    outcomes: list[Outcome] = []
    actions: dict[str, Counter[str]] = {}
    rows: list[list[str]] = []
    for at, report in enumerate(reports):
        outcome, copy = _outcome(at, copies, report, out)
        outcomes.append(outcome)
        if copy is not None and outcome.written is not None:
            for action, counts in copy.counts.items():
                actions.setdefault(action, Counter()).update(counts)
            rows.append([source.files[at].name, outcome.written, *_pairs(copy)])
        else:
            rows.append([source.files[at].name, *[""] * (len(_COLUMNS) - 1)])
    if mapping is not None:
        _write_mapping(mapping, rows)
    return DeidentifyReport(
        tuple(outcomes),
        {action: dict(sorted(counts.items())) for action, counts in sorted(actions.items())},
        (BASIC[0], *(each.code[0] for each in Keep if each in keep)),
    )


class _Copies:
    """The copies as a source of files for the gate; each is kept until it is asked for."""

    def __init__(
        self, source: SourceFiles, rules: GateRules, pseudonyms: Pseudonyms, keep: frozenset[Keep]
    ) -> None:
        self._source, self._limits, self._pseudonyms, self._keep = source, rules.limits, pseudonyms, keep
        self._texts = rules.identity.free_text.allowed if rules.identity.free_text else ()
        self._made: dict[int, Rewritten] = {}
        self._sha256: dict[int, str | None] = {}
        self.files = SourceFiles(source.files, source.ignored, self._read, source.sha256)

    def take(self, at: int) -> Rewritten | None:
        """The copy of the file at a position, once; None where there is none."""
        return self._made.pop(at, None)

    def sha256(self, at: int) -> str | None:
        """SHA-256 of the file as it was."""
        return self._sha256.pop(at, None)

    def _read(self, at: int) -> bytes:
        content = self._source.read(at)
        self._sha256[at] = hashlib.sha256(content).hexdigest()
        made = rewritten(content, self._limits, self._pseudonyms, keep=self._keep, texts=self._texts)
        self._made[at] = made
        return made.content


def _asked(rules: GateRules) -> GateRules:
    """What is asked of a copy: that it tells nobody's identity, and that its pixels can be looked at."""
    identity = rules.identity.model_copy(
        update={"burned_in_text": rules.identity.burned_in_text or TextRule(), "file_name": None}
    )
    looked_at = ImageRules(decodes=Rule(verdict="reject"))
    return GateRules(limits=rules.limits, identity=identity, image=looked_at, acquisition=AcquisitionRules())


def _judged_here(files: SourceFiles, asked: GateRules, salt: bytes) -> Iterator[FileReport]:
    for at in range(len(files.files)):
        try:
            content = files.read(at)
        except FileProblemError as problem:
            yield refused(problem.rule, files.sha256(at))
        else:
            yield judge_file(content, asked, name="", salt=salt)


def _outcome(at: int, copies: _Copies, report: FileReport, out: Path) -> tuple[Outcome, Rewritten | None]:
    copy = copies.take(at)
    sha256 = copies.sha256(at) if copy else report.sha256
    # That nobody has said whether anything is burned in is nothing that this can mend; what is said, is refused.
    is_fit = copy is not None and {each.rule for each in report.findings} <= {BURNED_IN}
    if copy is None or not is_fit:
        return Outcome(at, sha256, None, report.findings), copy
    name = f"{copy.instance}.dcm"
    try:
        _write(out / name, copy.content, _READABLE)
    except FileExistsError:
        same = Finding(DUPLICATE, "quarantine", ("SOPInstanceUID",))
        return Outcome(at, sha256, None, (*report.findings, same)), copy
    return Outcome(at, sha256, name, report.findings), copy


def _pairs(copy: Rewritten) -> list[str]:
    return [each for name in ("patient", "study", "instance") for each in copy.mapping[name]]


def _prepare(out: Path, mapping: Path | None) -> None:
    if mapping is not None:
        if os.path.lexists(mapping):
            raise DeidentifyError(f"{mapping}: is there already; give another file for the mapping")
        if mapping.resolve().is_relative_to(out.resolve()):
            raise DeidentifyError(f"{mapping}: lies among the copies, which it undoes; give a file elsewhere")
        if not mapping.parent.is_dir():
            raise DeidentifyError(f"{mapping}: there is no folder {mapping.parent}; make it")
    try:
        out.mkdir(parents=True, exist_ok=True)
        is_empty = next(out.iterdir(), None) is None
    except OSError as problem:
        raise DeidentifyError(
            f"{out}: no folder can be written there ({type(problem).__name__}); give another"
        ) from None
    if not is_empty:
        raise DeidentifyError(f"{out}: holds something; give a folder that is empty, or is not there yet")


def _write(path: Path, content: bytes, mode: int) -> None:
    """A file that has no name before all of it is on the disk.

    Raises:
        FileExistsError: There is one.
        DeidentifyError: It cannot be written.
    """
    try:
        _link(path, content, mode)
    except FileExistsError:
        raise
    except OSError as problem:
        name = errno.errorcode.get(problem.errno or 0, type(problem).__name__)
        raise DeidentifyError(
            f"{path.parent}: nothing more can be written there ({name}); what is there is whole. Give an empty folder "
            "on a disk that has room, and can hold files without a name (O_TMPFILE), which not every network's can"
        ) from None


def _link(path: Path, content: bytes, mode: int) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        descriptor = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
            # Only with a folder's descriptor does it follow the link in /proc to the file.
            os.link(f"/proc/self/fd/{descriptor}", path.name, dst_dir_fd=folder)
    finally:
        os.close(folder)


def _write_mapping(path: Path, rows: list[list[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(rows)
    _write(path, text.getvalue().encode("utf-8", "surrogateescape"), _ONLY_OWNER)
