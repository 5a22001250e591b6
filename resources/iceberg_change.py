"""Changes of an Iceberg table that are one commit.

pyiceberg applies all that a transaction has gathered to a deep copy of the table's metadata, whenever one of its steps asks
for them: some thirty times a commit, and what is copied grows with the versions. Here it does so once after each change.
"""

from functools import cache
from typing import Any


def change_of(target: Any) -> Any:
    """A transaction on a table, which is committed where its context ends without an error."""
    return _transaction()(target)


@cache
def _transaction() -> type:
    from pyiceberg.table import Transaction

    class Change(Transaction):  # type: ignore[misc]
        _applied: tuple[Any, Any, Any] = (None, None, None)

        @property
        def table_metadata(self) -> Any:
            base, updates, applied = self._applied
            if base is not self._table.metadata or updates is not self._updates:
                base, updates, applied = self._table.metadata, self._updates, super().table_metadata
                self._applied = base, updates, applied
            return applied

    return Change
