"""What keeps a whole source of DICOM files from being judged; what is wrong with one file is a finding instead.

ImagingError
├── ImagingMissingError   the libraries that read DICOM are not installed
└── RefusedSourceError    a folder, an archive or a prefix cannot be read, or an archive is not to be trusted
"""

from platform_assets.datasets.errors import DatasetError


class ImagingError(DatasetError):
    """DICOM files cannot be judged at all."""


class ImagingMissingError(ImagingError):
    """The extra `imaging` is not installed."""


class RefusedSourceError(ImagingError):
    """A source is missing, holds no file, or is an archive that no honest tool has made."""
