"""The form of a file of features: that of the file whose rows it holds, but for what is not true of them any more."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import rfc8785

from platform_assets.features.row_files import RowFiles

if TYPE_CHECKING:
    import pyarrow as pa

METADATA_KEY: Final = b"platform_assets.transformer"
"""Under it a file of features says what made them: a canonical JSON list, an object for each transformer in turn."""
_PANDAS: Final = b"pandas"
_DEFAULT_CODEC: Final = "SNAPPY"
_FLOATS: Final = {"FLOAT", "DOUBLE"}
_FLOAT16: Final = "FLOAT16"


def metadata_of(
    found: Mapping[bytes, bytes] | None, made_by: Mapping[str, Any], *, reordered: bool
) -> dict[bytes, bytes]:
    """The metadata of a file of features.

    Args:
        found: Those of the file whose rows it holds.
        made_by: What made the features; told behind what made earlier ones.
        reordered: Whether rows have another order there. A pandas index that is a range says nothing of them then.
    """
    metadata = dict(found or {})
    if reordered and _PANDAS in metadata:
        metadata[_PANDAS] = _without_ranges(metadata[_PANDAS])
    earlier = _json(metadata.get(METADATA_KEY, b"[]"))
    earlier = earlier if isinstance(earlier, list) else [earlier] if isinstance(earlier, dict) else []
    return {**metadata, METADATA_KEY: rfc8785.dumps([*earlier, dict(made_by)])}


def writing_options(schema: "pa.Schema", rows: RowFiles) -> dict[str, Any]:
    """What a `ParquetWriter` of features is to be told: codecs as in the first file of rows, and which columns repeat.

    Args:
        schema: Of what is written: the columns of the rows, and behind them the features.
        rows: Where they come from.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.ParquetWriter(sink, schema).close()
    written = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    leaves = [written.column(at) for at in range(len(written))]
    codecs = _codecs(rows)
    # A feature is packed as most columns are. Leaves are told apart by where they stand: names of inner ones differ.
    usual = Counter(codecs).most_common(1)[0][0] if codecs else _DEFAULT_CODEC
    codecs += [usual] * (len(leaves) - len(codecs))
    return {
        # Floats have hardly two alike: looking for them costs more than all else of writing.
        "use_dictionary": [
            leaf.path
            for leaf in leaves
            if leaf.physical_type not in _FLOATS and leaf.logical_type.type != _FLOAT16
        ],
        "compression": {leaf.path: codec for leaf, codec in zip(leaves, codecs, strict=False)},
    }


def _codecs(rows: RowFiles) -> list[str]:
    """Of each leaf, as the first row group has it; none where there is no such thing."""
    import pyarrow.parquet as pq

    if rows.table is not None or not rows.files:
        return []
    metadata = pq.read_metadata(rows.files[0])
    if not metadata.num_row_groups:
        return []
    group = metadata.row_group(0)
    names = [group.column(at).compression for at in range(group.num_columns)]
    return ["NONE" if name == "UNCOMPRESSED" else name for name in names]


def _without_ranges(content: bytes) -> bytes:
    found = _json(content)
    if not isinstance(found, dict) or not isinstance(found.get("index_columns"), list):
        return content
    # Names of columns are texts; a range is told by an object.
    found["index_columns"] = [each for each in found["index_columns"] if isinstance(each, str)]
    return json.dumps(found).encode()


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None
