"""What two columns of files are compared as, by their Arrow types."""

from typing import TYPE_CHECKING, Final

from platform_assets.drift.errors import DriftError
from platform_assets.reading.errors import shown_name

if TYPE_CHECKING:
    import pyarrow as pa

TEXT: Final = "text"
INTEGER: Final = "integer"
DECIMAL: Final = "decimal"
FLOATS: Final = ("float16", "float32", "float64")
_TICKS: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_MILLISECONDS_OF_A_DAY: Final = 86_400_000


class NotComparableError(DriftError):
    """There is no distance of such columns; the message says why."""


def is_text(kind: "pa.DataType") -> bool:
    """Whether values of this type are texts."""
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def decoded(kind: "pa.DataType") -> "pa.DataType":
    """The type of the values themselves, where a dictionary holds them."""
    from pyarrow import types

    return kind.value_type if types.is_dictionary(kind) else kind


def compared_as(reference: "pa.DataType", events: "pa.DataType") -> str:
    """What the columns of two files are compared as.

    `text`, `date`, `time`, `timestamp`, `timestamp with a zone`, `duration`, `integer` (truth values among them) and `decimal`
    (integers among them) are compared exactly. Where one of the columns holds floating-point numbers, both are compared
    in the less precise of the two types: `float64`, `float32` or `float16`.

    Raises:
        NotComparableError: They are of types that have no order here, or not of one kind.
    """
    reference, events = decoded(reference), decoded(events)
    families = _family(reference), _family(events)
    if families[0] == families[1]:
        return families[0]
    if not {*families} <= {INTEGER, DECIMAL, *FLOATS}:
        raise NotComparableError(
            f"it is {_shown(reference)} in the reference and {_shown(events)} in the events"
        )
    return next((each for each in FLOATS if each in families), DECIMAL)


def _family(kind: "pa.DataType") -> str:
    from pyarrow import types

    if is_text(kind):
        return TEXT
    if types.is_floating(kind):
        return f"float{kind.bit_width}"
    if types.is_integer(kind) or types.is_boolean(kind):
        return INTEGER
    if types.is_decimal(kind):
        return DECIMAL
    if types.is_date(kind):
        return "date"
    if types.is_time(kind):
        return "time"
    if types.is_timestamp(kind):
        return "timestamp" if kind.tz is None else "timestamp with a zone"
    if types.is_duration(kind):
        return "duration"
    raise NotComparableError(f"values of type {_shown(kind)} have no distance")


def _shown(kind: "pa.DataType") -> str:
    """The type in one line, cut where it is long: a nested one holds names."""
    return shown_name(str(kind))[1:-1]


def factors(reference: "pa.DataType", events: "pa.DataType") -> tuple[int, int]:
    """By what the integers that two exact types store are to be multiplied, so that both count the same unit."""
    from pyarrow import types

    kinds = decoded(reference), decoded(events)
    if any(map(types.is_decimal, kinds)):
        scales = [kind.scale if types.is_decimal(kind) else 0 for kind in kinds]
        ticks = [10 ** (scale - min(*scales, 0)) for scale in scales]
    elif any(map(types.is_date, kinds)):
        ticks = [1 if types.is_date32(kind) else _MILLISECONDS_OF_A_DAY for kind in kinds]
    else:
        ticks = [_TICKS[kind.unit] for kind in kinds]
    return max(ticks) // ticks[0], max(ticks) // ticks[1]
