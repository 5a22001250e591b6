"""Names of sources where they may not stand: what a stream calls its sources may be somebody's name."""

from resources.row_salt import salted_hash

_PREFIX = "hmac:"
_PURPOSE = b"source:"


def hashed_source(name: str, salt: bytes) -> str:
    """What stands for a source in the ledger; whoever has the name and the salt knows it again."""
    # JSON can spell lone surrogates, which UTF-8 cannot.
    return _PREFIX + salted_hash(salt, _PURPOSE + name.encode(errors="surrogatepass"))
