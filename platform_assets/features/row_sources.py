"""Rows by the name of their source, as `inputSource` has it: a file or a data set rather than a dataset of a platform."""

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from platform_assets.datasets.sources import RDATASET, open_source, read_frame
from platform_assets.features.errors import FeatureError
from platform_assets.features.row_files import RowFiles, open_rows, rows_of_bytes, rows_of_table
from platform_assets.features.transformer_spec import ASSET_SCHEME

if TYPE_CHECKING:
    from platform_assets.features.transformer_spec import TransformerSpec


def rows_of_source(source: str, spec: "TransformerSpec") -> RowFiles:
    """The rows of a source. A path is streamed; what lies elsewhere is fetched whole.

    Args:
        source: A path, of a folder too, or a URI as `datasets.sources` has them.
        spec: What is to be made of them.

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
        return open_rows(Path(source), spec)
    if scheme == "file":
        return open_rows(Path(url2pathname(urlsplit(source).path)), spec)
    found = open_source(source)
    if found.suffix == RDATASET or found.selection:
        import pyarrow as pa

        table = pa.Table.from_pandas(read_frame(found), preserve_index=False)
        return rows_of_table(table.replace_schema_metadata(), name=found.uri)
    return rows_of_bytes(found.content, found.suffix, spec, name=found.uri)
