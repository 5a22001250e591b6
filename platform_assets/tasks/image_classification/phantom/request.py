"""What a URI `phantom://chest?n=2000&seed=7&defects=24` asks for."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from platform_assets.tasks.image_classification.phantom.errors import PhantomUriError

SCHEME: Final = "phantom"
_NAME: Final = "chest"
_MOST_FILES: Final = 1_000_000
_MOST_DIGITS: Final = 18
_FORM: Final = "phantom://chest?n=2000&seed=7&defects=24"


@dataclass(frozen=True, slots=True)
class PhantomRequest:
    """How many files, drawn from which seed, and how many of them, the last ones, with a defect."""

    n: int = 2000
    seed: int = 0
    defects: int = 0


def read_uri(uri: str) -> PhantomRequest:
    """The request in a URI.

    Raises:
        PhantomUriError: It is of another form.
    """
    try:
        parts = urlsplit(uri)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True) if parts.query else []
    except ValueError:
        raise PhantomUriError(f"a source of phantoms is written like {_FORM}; this one is no URI") from None
    if parts.scheme != SCHEME or parts.netloc != _NAME or parts.path not in ("", "/") or parts.fragment:
        raise PhantomUriError(f"a source of phantoms is written like {_FORM}; chest is the only one there is")
    asked = dict(pairs)
    if unknown := sorted(set(asked) - {"n", "seed", "defects"}):
        raise PhantomUriError(
            f"{SCHEME}://: {', '.join(unknown)}: no such parameter; it takes n, seed and defects"
        )
    if len(asked) < len(pairs):
        raise PhantomUriError(f"{SCHEME}://: a parameter is given twice; give each once, as in {_FORM}")
    usual = PhantomRequest()
    n = _whole("n", asked.get("n"), usual.n, 1, _MOST_FILES)
    return PhantomRequest(
        n,
        _whole("seed", asked.get("seed"), usual.seed, 0, 10**_MOST_DIGITS - 1),
        _whole("defects", asked.get("defects"), usual.defects, 0, n),
    )


def _whole(name: str, text: str | None, usual: int, least: int, most: int) -> int:
    if text is None:
        return usual
    if (
        not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS)
        or not least <= int(text) <= most
    ):
        raise PhantomUriError(
            f"{SCHEME}://: {name} is a whole number of {least:,} to {most:,}, as in {_FORM}"
        )
    return int(text)
