"""The picture of a quarantine: how many files each rule holds back, and what becomes of them. It shows no file."""

from collections.abc import Mapping
from typing import Final

from platform_assets.datasets.quarantine_cases import STATES, State
from platform_assets.pictures import COLOURS, GREY, as_png, new_figure, tidy

_MOST_RULES: Final = 20
_ROW_INCHES: Final = 0.32
_HEAD_INCHES: Final = 1.2
_COLOURS: Final[dict[State, str]] = {"waiting": COLOURS[4], "released": COLOURS[2], "rejected": GREY}


def quarantine_picture(by_rule: Mapping[str, Mapping[State, int]]) -> bytes:
    """A bar for each rule, in parts by state; the most frequent rule on top, the rarest left out beyond 20.

    Args:
        by_rule: As `Quarantine.by_rule` has it; at least one rule.

    Returns:
        A PNG, 640 pixels wide.
    """
    from matplotlib.ticker import MaxNLocator

    shown = list(by_rule.items())[:_MOST_RULES]
    figure = new_figure()
    figure.set_figheight(_HEAD_INCHES + _ROW_INCHES * len(shown))
    axes = figure.subplots()
    names = [rule for rule, _ in shown]
    left = [0] * len(shown)
    for state in STATES:
        counts = [states[state] for _, states in shown]
        axes.barh(names, counts, left=left, color=_COLOURS[state], label=state)
        left = [before + count for before, count in zip(left, counts, strict=True)]
    axes.invert_yaxis()
    left_out = len(by_rule) - len(shown)
    axes.set_xlabel("Files that break the rule" + (f"; {left_out} rarer rules left out" * (left_out > 0)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    tidy(axes)
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside upper center", ncols=len(STATES))
    return as_png(figure)
