"""Sheets of images about subjects, such as what a model looks at in somebody's X-ray.

A picture that holds many people cannot lose one of them. So a sheet is stored as a table with a row for each image, whose
subject column says whom it shows: an erasure takes a person's rows out of it as of any other table, and the page is made
of what is left whenever somebody opens it. No such image may stand anywhere else: not in metadata, not in a card.
"""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from pydantic import BaseModel, ConfigDict, JsonValue

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX: Final = ".sheet"
"""Of the keys of stored sheets."""
_ABOUT: Final = b"platform.sheet"
_COLUMNS: Final = ("group", "caption", "png")


class _About(BaseModel):
    """What the schema of a stored sheet says besides whose rows it holds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    title: str
    notes: tuple[str, ...]
    images: int
    measures: dict[str, JsonValue] = {}


@dataclass(frozen=True, slots=True)
class Sheet:
    """Images in groups, with what there is to say of them all."""

    title: str
    notes: tuple[str, ...]
    """Sentences above the images; they hold nothing of a single person."""
    images: "pa.Table"
    """Columns `group`, `caption` and `png`, and the one that names the subject; a row for each image."""
    measures: dict[str, JsonValue]
    """Figures that were measured together with the images, by name; of all rows, so that they stay when one is erased."""
    erased: int = 0
    """Images that are no more, since whoever they showed was erased."""

    def as_table(self) -> "pa.Table":
        """The table that is stored, as one about subjects (`put_unless_erased`)."""
        about = _About(
            title=self.title,
            notes=self.notes,
            images=self.images.num_rows + self.erased,
            measures=self.measures,
        )
        return self.images.replace_schema_metadata({_ABOUT: about.model_dump_json().encode()})

    @classmethod
    def of_bytes(cls, content: bytes) -> Self:
        """The sheet that is left in a stored object.

        Raises:
            ValueError: it holds none.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(io.BytesIO(content))
        except pa.ArrowInvalid:
            raise ValueError("the object is no table of images") from None
        told = (table.schema.metadata or {}).get(_ABOUT)
        if told is None or not {*_COLUMNS} <= {*table.column_names}:
            raise ValueError("the object is a table, and none of images")
        about = _About.model_validate_json(told)
        return cls(about.title, about.notes, table, about.measures, about.images - table.num_rows)

    def groups(self) -> dict[str, list[dict[str, Any]]]:
        """Caption and PNG of each image, by group, in order."""
        found: dict[str, list[dict[str, Any]]] = {}
        for row in self.images.select(_COLUMNS).to_pylist():
            found.setdefault(row["group"], []).append({"caption": row["caption"], "png": row["png"]})
        return found
