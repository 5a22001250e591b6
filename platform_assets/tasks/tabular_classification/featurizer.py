"""Features of tables: each column that the model reads, as numbers."""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from platform_assets.features.featurizer import Features, used_rows
from platform_assets.fingerprint import code_version
from platform_assets.tasks.tabular_classification.encoding import ENCODING_FILE, UNKNOWN, Encoding
from platform_assets.tasks.tabular_classification.spec import ColumnsSpec

if TYPE_CHECKING:
    import pyarrow as pa

_FOLDER: Final = "platform_assets.tasks.tabular_classification"


class TabularFeaturizer:
    """One number a column, named as the column is, so that a model's answer can be told in the source's words."""

    description: Final = (
        "Every column that the model reads, as numbers, of every row that is trained or measured on; categories were "
        "counted on training rows."
    )
    kinds: Final = ("numpy",)
    fields: Final = ("columns",)
    overridable: Final = ()

    @cached_property
    def code(self) -> str:
        """See `Featurizer.code`."""
        return code_version(
            "table features", *(f"{_FOLDER}.{name}" for name in ("featurizer", "encoding", "values"))
        )

    def upstream(self, spec: ColumnsSpec) -> Mapping[str, str]:  # noqa: ARG002 - there is nothing
        """See `Featurizer.upstream`."""
        return {}

    def apply(self, rows: "pa.Table", spec: ColumnsSpec, *, subject_column: str) -> Features:
        """See `Featurizer.apply`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = used_rows(rows)
        encoding = Encoding.fit(wanted.filter(pc.equal(wanted["split"], "train")), spec.features)
        numbers = encoding.rows(wanted)
        table = wanted.select([subject_column, "label", "source", "split"])
        for name, column in zip(encoding.names, numbers.T, strict=True):
            table = table.append_column(name, pa.array(column, from_pandas=True))
        state = encoding.to_bytes()
        return Features(
            table=table,
            sha256=hashlib.sha256(state).hexdigest(),
            recipe=spec.model_dump(mode="json", include=set(self.fields)),
            state={ENCODING_FILE: state},
            metadata={
                "features": len(encoding.columns),
                "missing_share": float(np.isnan(numbers).mean()),
                "unknown_categories": int((numbers[:, _categories(encoding)] == UNKNOWN).sum()),
            },
        )


def _categories(encoding: Encoding) -> list[int]:
    return [at for at, column in enumerate(encoding.columns) if column.kind == "category"]
