"""Which environment variables hold something secret, as far as their names tell."""

import re
from typing import Final

SECRET_NAME: Final = re.compile(r"PASSWORD|SECRET|TOKEN|_KEY\b|SIGNING_KEY|ROW_SALT")
"""In names in capital letters, ours and those of libraries."""
