"""Whatever is suggested lies in the feasible space, and is written as the file writes it."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.tuning.experiment import Experiment, read_experiment
from platform_assets.tuning.record import StudyRecord, utc_now
from platform_assets.tuning.search_space import Parameter, combinations, grid_point, number
from tests.tuning.toy import DEPTH, RATE, experiment, manifest, run, written

ANY_SPACE = ("random", "tpe", "multivariate-tpe", "sobol")
STEPPED = {
    "name": "size",
    "parameterType": "double",
    "feasibleSpace": {"min": "0.1", "max": "0.75", "step": "0.2"},
}
DISCRETE = {"name": "width", "parameterType": "discrete", "feasibleSpace": {"list": ["1e-3", "0.10", "2"]}}
OPTIMIZER = {"name": "optimizer", "parameterType": "categorical", "feasibleSpace": {"list": ["adam", "sgd"]}}


def texts(low: int, high: int) -> st.SearchStrategy[Decimal]:
    """Numbers as people write them: few digits, with and without an exponent."""
    return st.builds(
        lambda digits, exponent: Decimal(digits).scaleb(exponent), st.integers(low, high), st.integers(-6, 3)
    )


@st.composite
def parameters(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """A valid parameter of any type."""
    kind = draw(st.sampled_from(["double", "int", "discrete", "categorical"]))
    space: dict[str, Any]
    if kind == "categorical":
        space = {
            "list": draw(
                st.lists(
                    st.from_regex(r"[a-z0-9][a-z0-9._-]{0,8}", fullmatch=True),
                    min_size=1,
                    max_size=5,
                    unique=True,
                )
            )
        }
    elif kind == "discrete":
        space = {"list": draw(st.lists(texts(-999, 999).map(str), min_size=1, max_size=5, unique=True))}
    elif kind == "int":
        low = draw(st.integers(-50, 50))
        space = {"min": str(low), "max": str(low + draw(st.integers(0, 200)))}
        match draw(st.sampled_from(["plain", "step", "log"])):
            case "step":
                space["step"] = str(draw(st.integers(1, max(1, int(space["max"]) - low))))
            case "log" if low > 0:
                space["distribution"] = "logUniform"
            case _:
                pass
    else:
        low_text = draw(texts(-999, 999))
        width = draw(texts(1, 999))
        space = {"min": str(low_text), "max": str(low_text + width)}
        match draw(st.sampled_from(["plain", "step", "log"])):
            case "step":
                # A part of the range that decimal numbers can tell.
                space["step"] = str(width / draw(st.sampled_from([1, 2, 4, 5, 8, 10, 100])))
            case "log" if low_text > 0:
                space["distribution"] = "logUniform"
            case _:
                pass
    return {"name": name, "parameterType": kind, "feasibleSpace": space}


def suggested(tried: Experiment, count: int, value: float = 0.5) -> Sequence[Mapping[str, str]]:
    """The first trials of a study in memory."""
    from optuna.storages import InMemoryStorage

    record = StudyRecord(InMemoryStorage(), "study", tried, seed=3, now=utc_now)
    found = []
    for index in range(count):
        trial = record.suggest()
        assert not isinstance(trial, str)
        record.finish(trial, "Succeeded", "", value=value + index / 100)
        found.append(trial.assignment)
    return found


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_every_suggestion_lies_in_the_feasible_space(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """By any algorithm, at the start and when it has learnt; as text that means a value of the file's space."""
    space = [data.draw(parameters(name)) for name in ("first", "second")]
    name = data.draw(st.sampled_from(ANY_SPACE))
    content = manifest(parameters=space, algorithm={"algorithmName": name}, maxTrialCount=6)
    tried = read_experiment(written(content, tmp_path_factory.mktemp("space")))
    for assignment in suggested(tried, 5):
        assert list(assignment) == ["first", "second"]
        for each in tried.parameters:
            text = assignment[each.name]
            assert each.allows(text), (each, text)
            if each.is_listed:
                assert text in each.values
            elif each.type == "int":
                assert str(int(text)) == text


def test_cmaes_stays_within_bounds(tmp_path: Path) -> None:
    """Its numbers by evolution, and what is no number at random."""
    tried = experiment(
        tmp_path,
        algorithm={"algorithmName": "cmaes"},
        parameters=[RATE, STEPPED, OPTIMIZER],
        maxTrialCount=30,
    )
    found = suggested(tried, 12)
    assert all(each.allows(assignment[each.name]) for assignment in found for each in tried.parameters)
    assert {assignment["optimizer"] for assignment in found} == {"adam", "sgd"}


def test_steps_are_written_as_decimal_numbers(tmp_path: Path) -> None:
    """0.3 is 0.3, and no step leads beyond max, where that lies between two."""
    tried = experiment(tmp_path, parameters=[STEPPED], maxTrialCount=40)
    assert {each["size"] for each in suggested(tried, 40)} == {"0.1", "0.3", "0.5", "0.7"}


def test_zeros_that_say_nothing_are_left_out() -> None:
    """However the bounds are written, no value has an exponent either."""
    space = Parameter("size", "double", Decimal("1.00e1"), Decimal(30), Decimal("0.50e1"))
    assert [space.at(index) for index in range(space.count or 0)] == ["10", "15", "20", "25", "30"]
    assert Parameter("size", "double", Decimal("0.10"), Decimal(1), Decimal("0.20")).at(0) == "0.1"


def test_values_of_a_list_are_given_as_they_are_written(tmp_path: Path) -> None:
    """`0.10` stays `0.10`, and `1e-3` is not made 0.001."""
    tried = experiment(tmp_path, parameters=[DISCRETE], maxTrialCount=40)
    assert {each["width"] for each in suggested(tried, 40)} == {"1e-3", "0.10", "2"}


def test_a_logarithmic_scale_is_one(tmp_path: Path) -> None:
    """Half of the values of 0.001 to 0.1 lie below 0.01; on a linear scale it would be one in eleven."""
    tried = experiment(tmp_path, parameters=[RATE], maxTrialCount=200)
    below = sum(float(each["rate"]) < 0.01 for each in suggested(tried, 200))
    assert 70 < below < 130


def test_a_grid_visits_each_point_once(tmp_path: Path) -> None:
    """And then there is nothing more to suggest."""
    tried = experiment(
        tmp_path,
        algorithm={"algorithmName": "grid"},
        parameters=[STEPPED, DISCRETE, {**DEPTH, "feasibleSpace": {"min": "2", "max": "8", "step": "4"}}],
        maxTrialCount=None,
        parallelTrialCount=5,
    )
    status, runner = run(tried, lambda _: [0.5], tmp_path)
    points = [tuple(assignment.values()) for _, assignment in runner.started]
    assert len(points) == len(set(points)) == 4 * 3 * 2 == combinations(tried.parameters)
    assert {depth for *_, depth in points} == {"2", "6"}
    assert status.condition.reason == "ExperimentSuggestionEndReached"


def test_points_of_a_grid_are_numbered() -> None:
    """The last parameter's values change fastest."""
    space = [Parameter("a", "categorical", values=("x", "y")), Parameter("b", "int", Decimal(1), Decimal(3))]
    found = [tuple(grid_point(space, index).values()) for index in range(6)]
    assert found == [("x", "1"), ("x", "2"), ("x", "3"), ("y", "1"), ("y", "2"), ("y", "3")]


def test_sobol_fills_the_space_evenly(tmp_path: Path) -> None:
    """Of its first eight points after the random one, each quarter of the range gets two."""
    whole = {"name": "share", "parameterType": "double", "feasibleSpace": {"min": "0", "max": "4"}}
    tried = experiment(
        tmp_path, algorithm={"algorithmName": "sobol"}, parameters=[whole, RATE], maxTrialCount=9
    )
    quarters = sorted(int(float(each["share"])) for each in suggested(tried, 9)[1:])
    assert quarters == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("text", ["", "nan", "inf", "1_000", " 1", "1 ", "0x1", "¼", "1e999", "one"])
def test_what_is_no_number_is_none(text: str) -> None:
    """Python reads more than a trial's parser need."""
    assert number(text) is None


@pytest.mark.parametrize("text", ["0", "-1.5", "1e-5", "+2", ".5", "1E3"])
def test_numbers_are_read_exactly(text: str) -> None:
    """As decimal numbers."""
    assert number(text) == Decimal(text)
