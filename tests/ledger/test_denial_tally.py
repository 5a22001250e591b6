"""Counting denials: exact in all, in bounded memory, the frequent ones by name."""

import json
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from platform_assets.ledger.denial_tally import MOST_KINDS, Kind, Tally

KINDS = st.builds(
    Kind, st.sampled_from("abcdef"), st.sampled_from(["GET", "PUT"]), st.just(("no",)) | st.just(())
)


@given(parts=st.lists(st.lists(KINDS, max_size=30), max_size=5), most=st.integers(0, 10))
def test_whatever_is_shortened_the_total_stays(parts, most):
    """Counts of kinds are at most what they were, the rest stands under others, and no more kinds are told apart."""
    tally, exact = Tally(), Counter()
    for number, part in enumerate(parts):
        other = Tally()
        for kind in part:
            other.add(kind, f"2026-11-29T20:00:0{number}.000000Z")
        tally.merge(other)
        tally.shorten(most)
        exact.update(part)
    assert tally.total == exact.total()
    assert len(tally.counts) <= most
    assert all(count <= exact[kind] for kind, count in tally.counts.items())


@given(kinds=st.lists(KINDS, max_size=30))
def test_a_tally_survives_json(kinds):
    """Written and read back it is the same."""
    tally = Tally()
    for kind in kinds:
        tally.add(kind, "2026-11-29T20:00:00.000000Z")
    tally.shorten(3)
    assert Tally.from_json(json.loads(json.dumps(tally.to_json()))) == tally


def test_invented_names_take_no_memory():
    """However many there are, and whoever is denied often among them keeps the exact count."""
    tally = Tally()
    for number in range(5 * MOST_KINDS):
        tally.add(Kind(f"invented {number}", "GET", ()), "2026-11-29T20:00:00.000000Z")
        tally.add(Kind("ada", "GET", ()), "2026-11-29T20:00:01.000000Z")
        assert len(tally.counts) <= 2 * MOST_KINDS
    tally.shorten(1)
    assert tally.counts == {Kind("ada", "GET", ()): 5 * MOST_KINDS}
    assert tally.others == 5 * MOST_KINDS
    assert (tally.first, tally.last) == ("2026-11-29T20:00:00.000000Z", "2026-11-29T20:00:01.000000Z")
