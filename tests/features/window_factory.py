"""Builders of specs and rows for tests of windows."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from platform_assets.features.transformer_spec import TransformerSpec
from platform_assets.features.windows import WindowTransformer
from tests.features.window_reference import DAY, Row


def spec(kind: str = "zscore", *, available: bool = False, **said: Any) -> TransformerSpec:
    """Of a column x of entity e at time t, known since a if told so; minPeriods is 2, for small examples."""
    if kind == "zscore":
        said["zscore"] = {"minPeriods": 2} | said.get("zscore", {})
    if available:
        said["availableColumn"] = "a"
    return TransformerSpec.model_validate(
        {
            "inputSource": "rows.parquet",
            "transformerType": kind,
            "columns": ["x"],
            "entityKey": "e",
            "timestampColumn": "t",
        }
        | said
    )


def table(rows: Sequence[Row]) -> pa.Table:
    """The rows, in their order."""
    return pa.table(
        {
            "e": pa.array([row.entity for row in rows], pa.string()),
            "t": pa.array([row.time for row in rows], pa.timestamp("us", "UTC")),
            "x": pa.array([row.value for row in rows], pa.float64()),
            "a": pa.array([row.available for row in rows], pa.timestamp("us", "UTC")),
        }
    )


def history(*values: float | None, step_days: float = 1, entity: str = "a") -> list[Row]:
    """An entity's rows at equal distances, each known at its time."""
    times = [int(k * step_days * DAY) for k in range(len(values))]
    return [Row(entity, time, value, time) for time, value in zip(times, values, strict=True)]


def current(said: TransformerSpec) -> bool:
    """Whether rows of an instant see one another."""
    return said.transformer_type == "zscore" and said.of_type().include_current


def whole(said: TransformerSpec, rows: Sequence[Row]) -> list[float | None]:
    """What each row is given, of a table."""
    return WindowTransformer(said).transform(table(rows)).column(0).to_pylist()


def known(said: TransformerSpec, row: Row) -> tuple[int | None, ...]:
    """The argument that says when it was available, where there is one."""
    return () if said.available_column is None else (row.available,)


def cuts(data: st.DataObject, said: TransformerSpec, rows: list[Row]) -> list[list[Row]]:
    """The rows in chunks of any size, instants whole where that matters."""
    places = data.draw(st.sets(st.integers(0, len(rows)), max_size=8)) | {0, len(rows)}
    if current(said):
        places = {at for at in places if at in {0, len(rows)} or rows[at - 1].time != rows[at].time}
    return [rows[start:stop] for start, stop in pairwise(sorted(places))] or [rows]


ZSCORES = st.builds(
    lambda days, **said: ("zscore", {"windowDays": days, "zscore": said}),
    days=st.sampled_from([1, 3, 30, 36_500]),
    minPeriods=st.sampled_from([2, 3, 5]),
    includeCurrent=st.booleans(),
    deviation=st.sampled_from(["sample", "population"]),
)
LAGS = st.sampled_from(
    [
        ("lag", {"lag": said})
        for said in (
            {"days": 1},
            {"days": 3},
            {"days": 2, "tolerance": 1},
            {"rows": 1},
            {"rows": 3},
            {"rows": 2, "tolerance": 2},
        )
    ]
)
SPECS = st.builds(
    lambda kind, available: spec(kind[0], available=available, **kind[1]),
    st.one_of(ZSCORES, LAGS),
    st.booleans(),
)
STEPS = st.sampled_from([0, 0, 1, DAY // 24, DAY // 2, DAY - 1, DAY, DAY + 1, 2 * DAY, 3 * DAY, 40 * DAY])
DELAYS = st.sampled_from([None, 0, 0, 0, -DAY, 1, DAY // 2, DAY, 5 * DAY, 50 * DAY])
VALUES = st.one_of(
    st.none(),
    st.just(float("nan")),
    st.sampled_from([-1.0, 0.0, 1.0, 2.0]),
    st.floats(-100, 100, width=32),
    st.floats(-100, 100, width=32),
)


@st.composite
def streams(draw: st.DrawFn, known: TransformerSpec | None = None) -> list[Row]:
    """Rows of up to three entities in the order of their times: gaps, ties, duplicates, missing values, late knowledge."""
    rows, time = [], draw(st.sampled_from([0, -(10**15), 1_700_000_000_000_000]))
    for step, delay, value, entity in draw(
        st.lists(st.tuples(STEPS, DELAYS, VALUES, st.sampled_from("aab")), max_size=40)
    ):
        time += step
        available = None if delay is None else time + delay
        if known is not None and known.available_column is None:
            available = time
        rows.append(Row(entity, time, value, available))
    return rows
