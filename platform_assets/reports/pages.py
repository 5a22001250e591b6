"""The server's own pages: HTML that needs no script, in which every text of others is escaped."""

import base64
import shlex
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platform_assets.reports.held_files import HeldFiles
from platform_assets.reports.overview import LineView, Overview
from platform_assets.sheets import Sheet
from platform_assets.validation.review_sheet import ReviewSheet

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"
_HASH_DIGITS = 12
_DEEPEST = 32


def front_page(overview: Overview) -> str:
    """All lines, those that need somebody first."""
    return _rendered("front.html.j2", overview=overview, root="")


def line_page(overview: Overview, line: LineView) -> str:
    """One line: what ails it, its releases, verdicts and pictures."""
    return _rendered("line.html.j2", overview=overview, line=line, root="../")


def sheet_page(sheet: Sheet, *, depth: int) -> str:
    """Images of single rows, as far as whoever they show was not erased.

    Args:
        sheet: What is left of it.
        depth: Levels of the page below the front page, from which the way there is told.
    """
    groups = {
        group: [{**each, "png": base64.b64encode(each["png"]).decode("ascii")} for each in images]
        for group, images in sheet.groups().items()
    }
    return _rendered("sheet.html.j2", sheet=sheet, groups=groups, root="../" * depth)


def quarantine_page(held: HeldFiles) -> str:
    """Files that a line holds back: why, what was decided, and what to type."""
    return _rendered("quarantine.html.j2", held=held, root="../")


def review_page(sheet: ReviewSheet) -> str:
    """What somebody sees who reviews a version: one file, with all that it shows in it."""
    from markupsafe import Markup

    tables = {
        name: value
        for name, value in sheet.report.measures.items()
        if isinstance(value, list) and value and all(_is_flat(row) for row in value)
    }
    # The style sheet is our own, and would not be one if it were escaped.
    return _rendered("review.html.j2", sheet=sheet, tables=tables, style=Markup(style().decode()))  # noqa: S704


def _is_flat(row: object) -> bool:
    """Whether something is a row of a table."""
    return isinstance(row, dict) and not any(isinstance(cell, dict | list) for cell in row.values())


def problem_page(status: int, sentence: str, *, path: str = "/") -> str:
    """Why there is nothing to see.

    Args:
        status: Of the answer.
        sentence: For people.
        path: Where they are, from which the way to the front page is told.
    """
    root = "../" * min(path.count("/") - 1, _DEEPEST)
    return _rendered("problem.html.j2", title=HTTPStatus(status).phrase, sentence=sentence, root=root)


@cache
def style() -> bytes:
    """The style sheet of all of them."""
    return (_TEMPLATES / "style.css").read_bytes()


def _rendered(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(values)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "moment": _moment,
        "short": _short,
        "figure": _figure,
        "value": _value,
        "spaced": lambda name: name.replace("_", " "),
        "quoted": shlex.quote,
        "base64": lambda content: base64.b64encode(content).decode("ascii"),
    }
    return environment


def _moment(time: datetime | None) -> str:
    return "" if time is None else f"{time:%Y-%m-%d %H:%M} UTC"


def _short(digest: str) -> str:
    return digest[:_HASH_DIGITS]


def _value(value: object) -> str:
    """Anything that JSON has, in few digits; nothing where there is nothing."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _figure(metrics: Mapping[str, float], name: str) -> str:
    value = metrics.get(name)
    return "" if value is None else f"{value:.4f}"
