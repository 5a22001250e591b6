"""Why no draft is written."""

from resources.errors import PlatformError


class ScaffoldError(PlatformError):
    """A file, a target or a name is not what a line can be drafted from; nothing was written."""
