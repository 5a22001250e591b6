"""What the tests of phantoms need: the CT, which is a wheel of its own, and the projections of it, made once."""

import pytest

from platform_assets.tasks.image_classification.dicom.limits import Limits
from platform_assets.tasks.image_classification.phantom.anatomy import INSTALL, find_ct
from platform_assets.tasks.image_classification.phantom.errors import PhantomDataError
from platform_assets.tasks.image_classification.phantom.source import open_phantom


@pytest.fixture(scope="session")
def ct():
    """Where the CT lies."""
    try:
        return find_ct()
    except PhantomDataError:
        # `make test` installs it; who set up an environment by hand may not have.
        pytest.skip(f"NO PHANTOM TESTED: no CT; run: {INSTALL}")


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """The folder of the projections."""
    return tmp_path_factory.mktemp("phantom")


@pytest.fixture(scope="session")
def opened(ct, cache):
    """Opens a source."""

    def opened(n=40, seed=5, defects=0):
        return open_phantom(f"phantom://chest?n={n}&seed={seed}&defects={defects}", Limits(), cache=cache)

    return opened


@pytest.fixture(scope="session")
def sixty(opened):
    """Sixty images without a defect."""
    return opened(60, 3)
