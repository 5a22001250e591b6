"""What a URI asks for, and which ones nobody understands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_assets.datasets.errors import DatasetError
from platform_assets.tasks.image_classification.phantom.errors import PhantomUriError
from platform_assets.tasks.image_classification.phantom.request import PhantomRequest, read_uri


@given(n=st.integers(1, 1_000_000), seed=st.integers(0, 10**18 - 1), data=st.data())
def test_what_is_written_is_what_is_asked(n, seed, data):
    """In whatever order the parameters stand."""
    defects = data.draw(st.integers(0, n))
    pairs = data.draw(st.permutations([f"n={n}", f"seed={seed}", f"defects={defects}"]))

    assert read_uri("phantom://chest?" + "&".join(pairs)) == PhantomRequest(n, seed, defects)


def test_parameters_may_be_left_out():
    """2,000 files of seed 0, all of them good."""
    assert read_uri("phantom://chest") == PhantomRequest(2000, 0, 0)


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("phantom://chest?n=0", "n is a whole number of 1 to 1,000,000"),
        ("phantom://chest?n=1000001", "n is a whole number of 1 to 1,000,000"),
        ("phantom://chest?n=1e3", "n is a whole number"),
        ("phantom://chest?n=", "n is a whole number"),
        ("phantom://chest?n=-5", "n is a whole number"),
        ("phantom://chest?n=٣", "n is a whole number"),
        ("phantom://chest?seed=secret-word", "seed is a whole number"),
        ("phantom://chest?seed=1.5", "seed is a whole number"),
        ("phantom://chest?n=10&defects=11", "defects is a whole number of 0 to 10"),
        ("phantom://chest?n=10&n=11", "given twice"),
        ("phantom://chest?size=3", "size: no such parameter; it takes n, seed and defects"),
        ("phantom://chest?n", "is written like phantom://chest"),
        ("phantom://knee?n=10", "chest is the only one there is"),
        ("phantom://chest/lateral", "chest is the only one there is"),
        ("phantom:chest", "chest is the only one there is"),
        ("phantom://[chest", "this one is no URI"),
    ],
)
def test_a_uri_that_nobody_understands_is_refused(uri, told):
    """With what is wrong and what to write, and without what was written."""
    with pytest.raises(PhantomUriError, match=told) as refused:
        read_uri(uri)

    assert "secret-word" not in str(refused.value)
    assert isinstance(refused.value, DatasetError)
