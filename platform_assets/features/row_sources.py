"""The rows of a transformer's own `inputSource`, where that is a file or a data set rather than a dataset of a platform."""

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from platform_assets.datasets.sources import RDATASET, open_source, read_frame
from platform_assets.features.errors import FeatureError
from platform_assets.features.row_files import RowFiles, open_rows, rows_of_bytes, rows_of_table

if TYPE_CHECKING:
    from platform_assets.features.transformer_spec import FeatureTransformer


def rows_of_source(transformer: "FeatureTransformer") -> RowFiles:
    """The rows that the spec names. A path is streamed; what lies elsewhere is fetched whole.

    Raises:
        FeatureError: it names a dataset, which only a platform has.
        DatasetError: the source is malformed, nothing lies there, or its format is unknown.
    """
    spec = transformer.spec
    if (dataset := spec.dataset) is not None:
        line = dataset.removesuffix("_dataset")
        raise FeatureError(
            f"inputSource: {spec.input_source} is a dataset of the platform, which `platform-assets run {line}` makes along "
            "with what is made of it; here, name a file with --input"
        )
    scheme = urlsplit(spec.input_source).scheme if "://" in spec.input_source else ""
    if not scheme:
        return open_rows(Path(spec.input_source), spec)
    if scheme == "file":
        return open_rows(Path(url2pathname(urlsplit(spec.input_source).path)), spec)
    source = open_source(spec.input_source)
    if source.suffix == RDATASET or source.selection:
        import pyarrow as pa

        table = pa.Table.from_pandas(read_frame(source), preserve_index=False)
        return rows_of_table(table.replace_schema_metadata(), name=source.uri)
    return rows_of_bytes(source.content, source.suffix, spec, name=source.uri)
