"""How messages name a Postgres database: never with what may be its password.

An address is `postgresql://user@host:port/database`. The password is libpq's own affair: `PGPASSWORD` or
`PGPASSFILE` in the environment, which is where a pod has its secrets.
"""

import re
from contextlib import suppress

ADDRESS_ADVICE = (
    "must be postgresql://user@host:port/database, with the password in PGPASSWORD; "
    "if it stands in the address, write / as %2F, @ as %40 and % as %25"
)


def is_postgres(uri: str) -> bool:
    """Whether this is the address of a Postgres database."""
    return uri.startswith(("postgresql://", "postgres://"))


def address_of(uri: str) -> str | None:
    """The address without user and password.

    None where it cannot be parsed, or where a stray character makes part of the password look like host,
    port or database, which messages do show.
    """
    import psycopg2
    from psycopg2.extensions import parse_dsn

    with suppress(psycopg2.ProgrammingError):
        parts = parse_dsn(uri)
        host, port, database = (parts.get(part, "") for part in ("host", "port", "dbname"))
        if re.fullmatch(r"[^@]*:[\d,]*/[^@]*", name := f"{host}:{port}/{database}"):
            return f"postgresql://{name}"
    return None
