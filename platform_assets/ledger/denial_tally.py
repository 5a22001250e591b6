"""How often who was denied what, and why, in bounded memory whatever names are invented."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

MOST_KINDS = 1_000
"""So many kinds of denials are told apart; the rarest of more are counted together."""


class Kind(NamedTuple):
    """What equal denials have in common."""

    principal: str
    action: str
    reasons: tuple[str, ...]


@dataclass
class Tally:
    """Denials by kind.

    The total is exact. Where `others` is not 0 the count of a kind is at least what stands there: it may have been
    among the rarest before.
    """

    counts: Counter[Kind] = field(default_factory=Counter)
    others: int = 0
    first: str | None = None
    """Time of the earliest denial, as ledger entries write it; None where there is none."""
    last: str | None = None

    @property
    def total(self) -> int:
        """How many denials."""
        return self.counts.total() + self.others

    def add(self, kind: Kind, time: str) -> None:
        """One more."""
        self.counts[kind] += 1
        self._span(time, time)
        if len(self.counts) > 2 * MOST_KINDS:
            self.shorten(MOST_KINDS)

    def merge(self, other: "Tally") -> None:
        """Add what another one counted."""
        self.counts.update(other.counts)
        self.others += other.others
        self._span(other.first, other.last)
        self.shorten(MOST_KINDS)

    def shorten(self, most: int) -> None:
        """Tell only the most frequent kinds apart; equal counts by name, so that equal tallies stay equal."""
        if len(self.counts) > most:
            kept = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))[:most]
            self.others += self.counts.total() - sum(count for _, count in kept)
            self.counts = Counter(dict(kept))

    def to_json(self) -> dict[str, Any]:
        """The fields, the most frequent kind first."""
        return {
            "first": self.first,
            "last": self.last,
            "denials": self.total,
            "counts": [
                {**kind._asdict(), "reasons": list(kind.reasons), "denials": count}
                for kind, count in sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
            ],
            "others": self.others,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """What `to_json` wrote."""
        counts = Counter(
            {
                Kind(each["principal"], each["action"], tuple(each["reasons"])): each["denials"]
                for each in document["counts"]
            }
        )
        return cls(counts, document["others"], document["first"], document["last"])

    def _span(self, first: str | None, last: str | None) -> None:
        # Times of this form sort as they follow each other.
        self.first = min(filter(None, (self.first, first)), default=None)
        self.last = max(filter(None, (self.last, last)), default=None)
