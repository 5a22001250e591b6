"""What the tests of the gate need: the extra, and one valid file."""

import pytest

from tests.tasks.image_classification.dicom.builders import chest_file


def pytest_collection_modifyitems(items):
    """Without pydicom there is nothing to test here."""
    try:
        import pydicom  # noqa: F401
    except ImportError:
        # An extra that who works on other lines may leave out; the extra `dev`, which CI installs, brings it.
        missing = pytest.mark.skip(reason="no pydicom: install the extra `imaging`")
        for item in items:
            if "image_classification/dicom" in item.nodeid:
                item.add_marker(missing)


@pytest.fixture(scope="session")
def valid():
    """The bytes of a file that passes."""
    return chest_file()
