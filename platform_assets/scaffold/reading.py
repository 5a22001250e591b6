"""Reading a file that nobody has prepared: whatever is wrong with it is one sentence that says what to do."""

import json
import shlex
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from platform_assets.datasets.sources import Source, open_source, read_frame, without_secrets
from platform_assets.reading.forms import HEADER_BYTES, SEPARATORS, encoding_of, foreign_form, separator_of
from platform_assets.scaffold.errors import ScaffoldError

if TYPE_CHECKING:
    import pandas as pd

LONGEST_NAME: Final = 200
"""Characters of a column's name; a longer one is text in the place of a header, and YAML keys end at 1,024."""


def read_data(uri: str) -> "tuple[Source, pd.DataFrame]":
    """The source behind a path or URI, and its raw frame; its URI is absolute, so that it holds anywhere.

    Raises:
        DatasetError: nothing lies there, or it cannot be read.
        ScaffoldError: it can, and is no table of named columns in UTF-8 with commas.
    """
    if without_secrets(uri) != uri:
        raise ScaffoldError(
            f"{without_secrets(uri)}: holds a password or a query, and a spec is no place for a secret; "
            "give a URI without, or a copy of the file"
        )
    source = open_source(uri if "://" in uri else str(Path(uri).resolve()))
    if source.suffix == ".csv" and foreign_form(source.content, source.suffix) is None:
        _refuse_foreign_text(source)
    frame = read_frame(source)
    frame = frame.set_axis([str(name) for name in frame.columns], axis="columns")
    _refuse_odd_header(source, list(frame.columns))
    return source, frame


def _refuse_foreign_text(source: Source) -> None:
    """Refuse what a spreadsheet of another country saves: other encodings and separators."""
    encoding = encoding_of(source.content)
    head = source.content[:HEADER_BYTES].decode(encoding, errors="replace")
    delimiter = separator_of(head)
    problems, name = [], PurePosixPath(source.uri).name
    if encoding != "utf-8":
        problems.append(f"is not UTF-8 text, it reads as {encoding}")
    if delimiter != ",":
        problems.append(f"separates its columns by {SEPARATORS[delimiter]}")
    if not problems:
        return
    wanted = (
        "with commas" if encoding == "utf-8" else "as UTF-8" if delimiter == "," else "as UTF-8 with commas"
    )
    made = f"{PurePosixPath(name).stem}-utf8.csv"
    if delimiter == ",":
        command = f"iconv -f {encoding} -t utf-8 {shlex.quote(name)} > {shlex.quote(made)}"
    else:
        code = (
            f"import pandas; pandas.read_csv({json.dumps(name)}, sep={json.dumps(delimiter)}, "
            f'encoding="{encoding}", dtype=str, keep_default_na=False).to_csv({json.dumps(made)}, index=False)'
        )
        command = f"python3 -c {shlex.quote(code)}"
    raise ScaffoldError(
        f"{source.uri}: {' and '.join(problems)}; save it {wanted}, e.g. beside it: {command}"
    )


def _refuse_odd_header(source: Source, names: list[str]) -> None:
    if len(names) == 1:
        raise ScaffoldError(
            f"{source.uri}: has one column only; give a file with a target and columns that tell it"
        )
    for at, name in enumerate(names, start=1):
        if len(name) > LONGEST_NAME:
            raise ScaffoldError(
                f"{source.uri}: the name of column {at} has {len(name):,} characters, at most {LONGEST_NAME} will do; "
                "give a file whose first row names its columns"
            )
    if source.suffix == ".csv" and all(_is_number(name) for name in names):
        raise ScaffoldError(
            f"{source.uri}: its first row holds numbers only; put a row above it that names the columns"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
