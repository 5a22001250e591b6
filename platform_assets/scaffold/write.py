"""A new line: two files that were not there before, or none."""

import os
import re
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from platform_assets.datasets.spec import LINE_PATTERN
from platform_assets.scaffold.draft import Draft, Drafter, Wanted
from platform_assets.scaffold.errors import ScaffoldError
from platform_assets.scaffold.reading import read_data


@dataclass(frozen=True, slots=True)
class NewLine:
    """What was written where."""

    spec: Path
    contract: Path
    draft: Draft

    @property
    def told(self) -> str:
        """For people: where the files lie, what was seen, and which columns to look at."""
        findings = self.draft.findings
        width = max((len(finding.column) for finding in findings), default=0)
        listed = [
            f"  {'used    ' if finding.used else 'left out'}  {finding.column:<{width}}  {finding.what}"
            for finding in findings
        ]
        looked_at = ["", "Look at:", *listed] if listed else []
        return "\n".join([str(self.spec), str(self.contract), "", self.draft.seen, *looked_at])


def new_line(
    drafter: Drafter,
    line: str,
    *,
    data: str,
    target: str | None,
    spec: Path,
    owner: str,
    taken: Collection[str],
) -> NewLine:
    """A line drafted from the data and written into a folder; no file that is there is touched.

    Args:
        drafter: The task's.
        line: Its name.
        data: Path or URI of its training data.
        target: Name of the column to tell; None: the only one that can be meant.
        spec: Where the spec is to lie, and the contract beside it; folders are made where they are not there.
        owner: Who answers for the line.
        taken: Names of the lines that there are, and those that no line may have.

    Raises:
        ScaffoldError: the name is no good, a file is there, or no line can be made of the data. Nothing was written.
        DatasetError: the data cannot be read. Nothing was written.
    """
    if not re.fullmatch(LINE_PATTERN, line):
        raise ScaffoldError(
            f"{line!r} cannot name a line; take small letters, digits and underscores, a letter first, "
            "48 characters at most"
        )
    if line in taken:
        raise ScaffoldError(
            f"{line} is taken, by another line or by the platform itself; choose another name"
        )
    contract = spec.with_name(f"{line}.yaml")
    _refuse_existing(spec, contract)
    source, frame = read_data(data)
    try:
        draft = drafter.draft(Wanted(line, source, frame, target, contract.name, owner))
    except ScaffoldError as problem:
        raise ScaffoldError(f"{source.uri}: {problem}") from None
    write_all({contract: draft.contract, spec: draft.spec})
    return NewLine(spec, contract, draft)


def _refuse_existing(*files: Path) -> None:
    if there := [str(file) for file in files if file.exists() or file.is_symlink()]:
        raise ScaffoldError(
            f"{' and '.join(there)}: there already, and nothing is overwritten; take another --folder, or move it away"
        )


def write_all(texts: Mapping[Path, str]) -> None:
    """Write every file, or none; one that has appeared in the meantime is left alone.

    Args:
        texts: Content by path; all lie in one folder, which is made where it is not there.

    Raises:
        ScaffoldError: one of the files is there, or the folder cannot be written to.
    """
    folder = next(iter(texts)).parent
    try:
        with ExitStack() as undo:
            made = next((each for each in reversed([folder, *folder.parents]) if not each.exists()), None)
            folder.mkdir(parents=True, exist_ok=True)
            if made:
                undo.callback(_remove_empty, folder, made)
            # Written under other names first: whoever sees a file under its own sees all of it.
            with TemporaryDirectory(prefix=".new-", dir=folder) as scratch:
                for file, text in texts.items():
                    whole = Path(scratch, file.name)
                    whole.write_text(text, encoding="utf-8")
                    os.link(whole, file)  # unlike a rename, refuses to replace a file
                    undo.callback(file.unlink, missing_ok=True)
            undo.pop_all()
    except FileExistsError:
        _refuse_existing(*texts)
        raise ScaffoldError(f"{folder}: is no folder; take another --folder") from None
    except OSError as problem:
        raise ScaffoldError(
            f"{folder}: cannot be written to ({problem.strerror}); take another --folder"
        ) from None


def _remove_empty(folder: Path, topmost: Path) -> None:
    """Remove the folders from `folder` up to `topmost`, as far as nothing else lies in them."""
    for each in (folder, *folder.parents):
        try:
            each.rmdir()
        except OSError:
            return
        if each == topmost:
            return
