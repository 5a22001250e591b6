"""Row hashes: names for rows that give no value away.

Whoever has the table and the salt computes the same hash and so finds the row again; without both a hash
says nothing.
"""

import math
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import rfc8785

from resources.row_salt import salted_hash

if TYPE_CHECKING:
    import pandas as pd

MOST_ROW_HASHES: Final = 20
"""How many rows of one expectation a report names."""
_LARGEST_EXACT: Final = 2**53 - 1
"""JSON knows no larger integers; larger ones are written as text."""


def row_hashes(rows: "pd.DataFrame", salt: bytes) -> tuple[str, ...]:
    """HMAC-SHA256 of every row, hexadecimal, over the RFC 8785 form of its [[column, value], …].

    The index takes no part, nor does the width of a number: 1 as int8, as Int64 and as float are one value.
    """
    names = [str(column) for column in rows.columns]
    columns = [_in_utc(rows.iloc[:, at]).tolist() for at in range(len(names))]
    return tuple(
        salted_hash(
            salt, rfc8785.dumps([[name, _plain(value)] for name, value in zip(names, row, strict=True)])
        )
        for row in zip(*columns, strict=True)
    )


def _in_utc(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Times with a zone in UTC, as they are hashed: of some zones pandas raises at times that it knows no rule for."""
    import pandas as pd

    return values.dt.tz_convert("UTC") if isinstance(values.dtype, pd.DatetimeTZDtype) else values


def _plain(value: Any) -> Any:
    """The value as JSON has it. What has no such form counts by its type, since `str` of it may raise."""
    import numpy as np
    import pandas as pd

    match value:
        case list() | tuple() | np.ndarray():
            return [_plain(item) for item in value]
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case str():
            # JSON lines may hold half a surrogate pair, which is no text.
            return value.encode("utf-8", "backslashreplace").decode()
        case _ if pd.isna(value):
            return None
        case bool() | np.bool_():
            return bool(value)
        case int() | np.integer():
            return int(value) if abs(int(value)) <= _LARGEST_EXACT else str(value)
        case float() | np.floating():
            return float(value) if math.isfinite(value) else str(value)
        case pd.Timestamp() if value.tzinfo is not None:
            return value.tz_convert("UTC").isoformat()
        case datetime() | date() | time():
            return value.isoformat()
        case bytes():
            return value.hex()
        case Decimal():
            return str(value)
        case _:
            return type(value).__name__
