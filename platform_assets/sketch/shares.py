"""How likely a difference of shares is while nothing drifts: of values that are missing, for one.

Glossary:

    n_0, x_0  rows of the reference, and how many of them are missing        p   the unknown share, the same for all
    W, N      events in the window, and how many of them are missing        k   a number of missing events
"""

import math
from functools import lru_cache
from typing import Final

import numpy as np

REFERENCE_CONFIDENCE: Final = 0.999
"""With which the share that a reference was drawn from lies in the interval that bounds are made for."""
_STEPS: Final = 4096
_NEGLIGIBLE: Final = 1e-18


def share_p_value(reference_missing: int, reference_rows: int, missing: int, rows: int) -> float:
    """Chance of shares that differ at least so much, between two samples of one distribution, two-sided.

    Fisher's exact test (1935): given how many are missing in both samples together, how many of them fall into one is
    hypergeometric, whatever the share. Twice the smaller tail, at most 1. Where the samples together decide the
    outcome (nothing is missing, or everything), it is 1.

    Args:
        reference_missing: Missing values of the one sample.
        reference_rows: Its size.
        missing: Missing values of the other.
        rows: Its size.
    """
    all_missing, all_rows = reference_missing + missing, reference_rows + rows
    at_least, at_most = max(0, all_missing - reference_rows), min(all_missing, rows)
    if at_least == at_most:
        return 1.0
    # The tail on the side of `missing`; by symmetry the upper one is a lower one of what is not missing.
    if missing * all_rows <= all_missing * rows:
        tail, at = _lower_tail(missing, at_least, all_missing, rows, all_rows)
    else:
        present = rows - missing
        tail, at = _lower_tail(present, rows - at_most, all_rows - all_missing, rows, all_rows)
    return min(1.0, 2 * min(tail, 1.0 - tail + at))


def _lower_tail(drawn: int, fewest: int, marked: int, rows: int, all_rows: int) -> tuple[float, float]:
    """Chance of at most `drawn` and of just `drawn` marked ones among `rows` of `all_rows`, of which `marked` are."""
    at = math.exp(
        _log_choose(marked, drawn)
        + _log_choose(all_rows - marked, rows - drawn)
        - _log_choose(all_rows, rows)
    )
    total, term, k = 1.0, 1.0, drawn
    # Below the mean each term is smaller than the one above it, and their ratios fall too.
    while k > fewest and term > _NEGLIGIBLE * total:
        steps = np.arange(k, max(fewest, k - _STEPS), -1, dtype=np.float64)
        ratios = steps * (all_rows - marked - rows + steps) / ((marked - steps + 1) * (rows - steps + 1))
        terms = term * np.cumprod(ratios)
        total, term, k = total + float(terms.sum()), float(terms[-1]), int(steps[-1]) - 1
    return at * total, at


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


@lru_cache(maxsize=256)
def share_bound(
    *, window: int, reference_rows: float, reference_missing: float, expected_run_length: int
) -> float:
    """The distance of shares that a sliding window exceeds once in `expected_run_length` events, or more seldom.

    While nothing drifts, events are missing independently with the chance p. N rises to k with an event exactly if that
    event is missing, the one that leaves the window is not, and k - 1 of the W - 1 between are; so it does so with the
    chance p (1 - p) Bin(k - 1; W - 1, p), and falls to k with p (1 - p) Bin(k; W - 1, p). An alarm begins only where N
    crosses a limit: so these are upper bounds of its rate, and exact, not asymptotic (level crossings of a moving sum of
    Bernoulli trials, as of scan statistics: Naus 1982). Each of the two limits has half of the rate. It holds for every
    p in the interval of Clopper and Pearson (1934) around the reference's share, at `REFERENCE_CONFIDENCE`.

    Args:
        window: W.
        reference_rows: n_0, at least 1; effective ones if the reference is weighted.
        reference_missing: x_0, as many of these.
        expected_run_length: Events between two false alarms.
    """
    lowest, highest = _interval(reference_missing, reference_rows)
    log_rate = -math.log(2 * expected_run_length)
    share = reference_missing / reference_rows
    # Beyond the mode the chance to cross a limit is largest at the end of the interval that is next to it.
    rises = next(
        k
        for k in range(math.ceil((window + 1) * highest), window + 2)
        if k > window or _log_crossing(k - 1, window, highest) <= log_rate
    )
    falls = next(
        k
        for k in range(math.floor((window + 1) * lowest) - 1, -2, -1)
        if k < 0 or _log_crossing(k, window, lowest) <= log_rate
    )
    return max((max(rises, 1) - 1) / window - share, share - (falls + 1) / window)


def _log_crossing(between: int, window: int, p: float) -> float:
    """Logarithm of p (1 - p) Bin(between; window - 1, p)."""
    if p in (0.0, 1.0):
        return -math.inf
    return (
        _log_choose(window - 1, between) + (between + 1) * math.log(p) + (window - between) * math.log1p(-p)
    )


def _interval(missing: float, rows: float) -> tuple[float, float]:
    from scipy.special import betaincinv

    tail = (1 - REFERENCE_CONFIDENCE) / 2
    present = rows - missing
    lowest = float(betaincinv(missing, present + 1, tail)) if missing > 0 else 0.0
    highest = float(betaincinv(missing + 1, present, 1 - tail)) if present > 0 else 1.0
    return lowest, highest
