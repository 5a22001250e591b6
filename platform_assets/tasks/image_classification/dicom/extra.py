"""The libraries of the extra `imaging`, which an installation may lack, and how they are kept quiet."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from platform_assets.tasks.image_classification.dicom.errors import ImagingMissingError


def require_imaging() -> None:
    """Nothing, where pydicom is installed.

    Raises:
        ImagingMissingError: It is not.
    """
    if find_spec("pydicom") is None:
        raise ImagingMissingError(
            "DICOM files cannot be read: pydicom is not installed; install the extra imaging, e.g. "
            "pip install 'platform-assets[imaging]'"
        )


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Within, pydicom neither warns nor logs: what it says quotes values of the file."""
    from pydicom import config

    logger = logging.getLogger("pydicom")
    was_disabled, mode = logger.disabled, config.settings.reading_validation_mode
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.disabled = True
        config.settings.reading_validation_mode = config.IGNORE
        try:
            yield
        finally:
            logger.disabled = was_disabled
            config.settings.reading_validation_mode = mode
