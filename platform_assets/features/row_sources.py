"""Rows by the name of their source, as `inputSource` has it: a file or a data set rather than a dataset of a platform."""

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from platform_assets.datasets.errors import DatasetError
from platform_assets.datasets.sources import RDATASET, Source, open_source, read_frame
from platform_assets.features.csv_types import typed
from platform_assets.features.errors import FeatureError
from platform_assets.features.row_files import CSV, RowFiles, open_rows, rows_of_bytes, rows_of_table
from platform_assets.features.transformer_spec import ASSET_SCHEME

if TYPE_CHECKING:
    from platform_assets.features.transformer import FittedTransformer
    from platform_assets.features.transformer_spec import TransformerSpec


def rows_of_source(
    source: str, spec: "TransformerSpec", *, fitted: "FittedTransformer | None" = None
) -> RowFiles:
    """The rows of a source. A path is streamed; what lies elsewhere is fetched whole.

    Args:
        source: A path, of a folder too, or a URI as `datasets.sources` has them.
        spec: What is to be made of them.
        fitted: Of woe and csv: what says which columns are numbers.

    Raises:
        FeatureError: it names a dataset, which only a platform has.
        DatasetError: the source is malformed, nothing lies there, or its format is unknown.
    """
    scheme = urlsplit(source).scheme if "://" in source else ""
    if scheme == ASSET_SCHEME:
        line = source.removeprefix(f"{ASSET_SCHEME}://").removesuffix("_dataset")
        raise FeatureError(
            f"{source}: is a dataset of the platform, which `platform-assets run {line}` makes along "
            "with what is made of it; here, name a file with --input"
        )
    if not scheme:
        return open_rows(Path(source), spec, fitted=fitted)
    if scheme == "file":
        return open_rows(Path(url2pathname(urlsplit(source).path)), spec, fitted=fitted)
    return rows_of_opened(open_source(source), spec, fitted=fitted)


def rows_of_opened(
    source: Source, spec: "TransformerSpec", *, fitted: "FittedTransformer | None" = None
) -> RowFiles:
    """The rows of a source that was fetched whole, as a command and a line read them alike.

    Args:
        source: The file, or the data set.
        spec: What is to be made of them.
        fitted: Of woe and csv: what says which columns are numbers.

    Raises:
        DatasetError: a selection finds no row.
        FeatureError: the file is not what its ending says, or is damaged.
    """
    import pyarrow as pa

    if source.suffix != RDATASET and not source.selection:
        return rows_of_bytes(source.content, source.suffix, spec, name=source.uri, fitted=fitted)
    try:
        table = pa.Table.from_pandas(read_frame(source), preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        raise DatasetError(
            f"{source.uri}: a column holds values of several types; give each one type"
        ) from None
    if source.suffix == CSV:
        table = typed(table, spec, name=source.uri, fitted=fitted)
    return rows_of_table(table.replace_schema_metadata(), name=source.uri)
