"""What the compiled loops and the code that prepares their tables agree on."""

from typing import Final

FAST_COMPARES: Final = 4
"""Up to so many edges in a cell are all compared with; among more, the place is searched for by halving."""
