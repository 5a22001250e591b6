"""Perceptual hashes and the pairs that are near."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.tasks.image_classification.dicom.likeness import near_pairs, perceptual_hash


@settings(max_examples=40)
@given(rows=st.integers(1, 200), columns=st.integers(1, 200))
def test_an_image_of_any_size_has_a_hash(rows, columns):
    """256 bits, the same each time."""
    image = np.random.default_rng(rows).integers(0, 256, (rows, columns), dtype=np.uint8)

    assert len(perceptual_hash(image)) == 32
    assert perceptual_hash(image) == perceptual_hash(image.copy())


@settings(max_examples=20)
@given(count=st.integers(0, 1500), most=st.integers(0, 64), seed=st.integers(0, 100))
def test_near_pairs_are_those_of_all_pairs(count, most, seed):
    """Each once, beyond the size of a block, and no other."""
    random = np.random.default_rng(seed)
    hashes = random.integers(0, 256, (count, 32), dtype=np.uint8)
    copies = random.integers(0, max(1, count), (20, 2))
    for one, other in copies[: 20 * (count > 0)]:
        hashes[other] = hashes[one]
        hashes[other, 0] ^= 1
    bits = np.unpackbits(hashes, axis=1).astype(np.float32)
    ones = bits.sum(axis=1)
    differ = ones[:, None] + ones[None, :] - 2 * bits @ bits.T
    expected = {(int(a), int(b)) for a, b in np.argwhere(np.triu(differ <= most, 1))}

    assert {(int(a), int(b)) for part in near_pairs(hashes, most) for a, b in part} == expected
