"""What goes wrong when a tuning is run."""

from resources.errors import PlatformError


class TuningError(PlatformError):
    """A study cannot be run, or came to nothing."""


class StudyBusyError(TuningError):
    """Another process runs this study; two would start its trials twice."""

    passes = True
