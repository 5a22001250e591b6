"""What keeps files from being de-identified at all; what is wrong with one file is a finding instead.

DeidentifyError (an ImagingError)    the library is missing, or where to write is no place to write to
"""

from platform_assets.tasks.image_classification.dicom.errors import ImagingError


class DeidentifyError(ImagingError):
    """No file can be de-identified, or nothing be written."""
