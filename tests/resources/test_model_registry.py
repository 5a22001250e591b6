"""MLflow, as a file and as a server: one version for one fingerprint, and one run for one training."""

import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit
from uuid import uuid4

import dagster as dg
import pytest

from platform_assets.tuning.tracked_trials import TrackedTrials
from resources import run_tracking
from resources.locks import FileLocks
from resources.model_registry import MlflowRegistry, RegistryError, ShownModel, prepared
from resources.run_tracking import RunTracking
from tests.relay import relay
from tests.resources.holder import opened
from tests.servers import free_ports
from tests.tuning.toy import MIDNIGHT, ToyRunner, ToyTrial
from tests.waiting import wait_for

RACED = "reviews_sentiment"


@dataclass(frozen=True)
class Place:
    """Where a registry is."""

    tracking_uri: str
    locks: str
    """A folder, or the address of a database."""

    def open(self) -> MlflowRegistry:
        """The registry, as another process would open it."""
        return MlflowRegistry(self.tracking_uri, locks=opened(self.locks))


@pytest.fixture(scope="module", params=["file", "server"])
def place(request, tmp_path_factory) -> Place:
    """On this machine without a server, or behind one with locks in Postgres, as pods reach it."""
    if request.param == "file":
        home = tmp_path_factory.mktemp("registry")
        return Place(f"sqlite:///{home / 'mlflow' / 'mlflow.sqlite'}", str(home / "locks"))
    locks = request.getfixturevalue("postgres_server").get_uri()
    return Place(request.getfixturevalue("mlflow_server"), locks)


@pytest.fixture(scope="module")
def raced(place) -> list[list[str]]:
    """What two processes printed that registered three models at once, before anybody had used the registry."""
    command = [
        *(sys.executable, Path(__file__).with_name("registrar.py")),
        *(place.tracking_uri, place.locks, RACED, "3"),
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
            for _ in range(2)
        ]
        return [process.communicate()[0].split() for process in processes]


@pytest.fixture
def registry(place, raced):
    """The registry of this module."""
    return place.open()


@pytest.fixture
def name():
    """A model name that no other test uses."""
    return f"model_{uuid4().hex[:8]}"


def register(registry: MlflowRegistry, name: str, fingerprint: str = "f0", **tags: str) -> int:
    """Register a model that was trained somewhere."""
    return registry.register(
        name, fingerprint=fingerprint, source="s3://bucket/models/1", run_id="", tags=tags
    )


def stored(registry: MlflowRegistry, name: str) -> dict[int, dict[str, str]]:
    """Tags by version number, as MLflow shows them."""
    found = registry._client.search_model_versions(f"name = '{name}'")
    return {int(version.version): dict(version.tags) for version in found}


def test_a_fingerprint_is_registered_once(registry, place, name):
    """Registering again, also from a fresh process's view, finds the version; a new fingerprint gets the next."""
    assert registry.find(name, "f0") is None
    assert register(registry, name) == 1
    assert register(registry, name) == 1
    assert register(place.open(), name) == 1
    assert register(registry, name, "f1") == 2
    assert (registry.find(name, "f0"), registry.find(name, "f1"), registry.find(name, "f2")) == (1, 2, None)
    assert set(stored(registry, name)) == {1, 2}


def test_a_version_carries_its_provenance(registry, name):
    """Tags travel with the registration; registering again and tagging later change them, and no other version's."""
    number = register(registry, name, source_commit="0c0ffee", release="blocked")
    other = register(registry, name, "f1", release="blocked")
    assert stored(registry, name)[number] == {
        "fingerprint": "f0",
        "source_commit": "0c0ffee",
        "release": "blocked",
    }
    register(registry, name, code_commit="0c0ffee")
    registry.tag(name, number, {"release": "passed"})
    assert stored(registry, name)[number] == {
        "fingerprint": "f0",
        "source_commit": "0c0ffee",
        "code_commit": "0c0ffee",
        "release": "passed",
    }
    assert stored(registry, name)[other]["release"] == "blocked"


def test_models_do_not_share_fingerprints(registry, name):
    """The same fingerprint under another name is another model."""
    assert register(registry, name) == 1
    assert registry.find(f"{name}_other", "f0") is None
    assert register(registry, f"{name}_other", "f1") == 1
    assert register(registry, f"{name}_other") == 2


def test_an_alias_names_one_version(registry, name):
    """An alias points where it was pointed last."""
    for fingerprint in ("f0", "f1"):
        register(registry, name, fingerprint)
    for number in (2, 1):
        registry.point(name, "production", number)
        assert int(registry._client.get_model_version_by_alias(name, "production").version) == number


def test_a_version_that_gets_to_a_stage_archives_the_one_before(registry, name):
    """In one act, in staging and in production alike; what is shown is what MLflow has, and of no model nothing."""
    assert registry.shown(name) == ShownModel({}, {})
    for fingerprint in ("f0", "f1", "f2"):
        register(registry, name, fingerprint)
    for number, stage in ((1, "Production"), (3, "Staging"), (2, "Production"), (3, "Archived")):
        registry.transition(name, number, stage)
    registry.point(name, "production", 2)
    registry.point(name, "staging", 3)
    registry.unpoint(name, "staging")
    registry.unpoint(name, "staging")

    shown = registry.shown(name)

    assert {number: each.stage for number, each in shown.versions.items()} == {
        1: "Archived",
        2: "Production",
        3: "Archived",
    }
    assert shown.versions[2].tags == {"fingerprint": "f1"}
    assert shown.aliases == {"production": 2}


def test_two_versions_of_one_fingerprint_are_told(registry, name):
    """What this platform never makes, but somebody else's hand may: the numbers are named, none is chosen."""
    number = register(registry, name)
    other = register(registry, name, "f1")
    registry._client.set_model_version_tag(name, str(other), "fingerprint", "f0")
    with pytest.raises(
        RegistryError, match=f"model {name}: versions {number}, {other} carry one fingerprint f0"
    ):
        register(registry, name)


def test_processes_that_register_at_once_make_one_version(raced, registry):
    """Two processes start without a registry and register the same three models: each gets the same three numbers."""
    assert raced == [["1", "2", "3"]] * 2
    assert set(stored(registry, RACED)) == {1, 2, 3}


def test_a_source_carries_over(registry, name):
    """Where the model's files lie is what the platform's object store said, on the server too."""
    register(registry, name)
    (version,) = registry._client.search_model_versions(f"name = '{name}'")
    assert version.source == "s3://bucket/models/1"


def test_a_server_that_does_not_answer_is_told(tmp_path, monkeypatch):
    """What could not be done, and the settings to look at."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (port,) = free_ports(1)
    registry = MlflowRegistry(f"http://127.0.0.1:{port}", locks=FileLocks(tmp_path))
    for act in (
        lambda: registry.register("model", fingerprint="f0", source="s3://b/1", run_id="", tags={}),
        lambda: registry.tag("model", 1, {"release": "passed"}),
        lambda: registry.point("model", "production", 1),
    ):
        with pytest.raises(RegistryError, match=rf"model.*{port}.*PLATFORM_TRACKING_URI"):
            act()


# --- Run tracking --------------------------------------------------------------------------------------


def test_a_training_that_goes_on_elsewhere_finds_its_run(place, name):
    """A second process of the same training continues the run of the first; another training has its own."""
    from mlflow import MlflowClient

    tracking = RunTracking(place.tracking_uri)

    def train(identity: str, step: int, *, lost: bool) -> str:
        runs = []

        @dg.op
        def training(context: dg.OpExecutionContext) -> None:
            with tracking.run(context, experiment=name, identity=identity, tags={"line": name}) as run:
                runs.append(run)
                run.params({"epochs": 2})
                run.metrics({"loss": 1 / step}, step=step)
                if lost:
                    raise dg.Failure("the pod is gone", allow_retries=False)

        @dg.job
        def line() -> None:
            training()

        assert line.execute_in_process(raise_on_error=False).success is not lost
        assert runs[0].lost is None
        return runs[0].run_id

    first = train("a", 1, lost=True)
    client = MlflowClient(prepared(place.tracking_uri))
    assert client.get_run(first).info.status == "FAILED"
    assert train("a", 2, lost=False) == first
    assert train("b", 1, lost=False) != first
    found = client.get_run(first)
    assert (found.info.status, found.data.params, found.data.tags["line"]) == (
        "FINISHED",
        {"epochs": "2"},
        name,
    )
    assert [(each.step, each.value) for each in client.get_metric_history(first, "loss")] == [
        (1, 1.0),
        (2, 0.5),
    ]


def test_trials_are_runs_below_that_of_their_study(place, name):
    """With what they were given and each report under its number; a study that goes on finds all of them again."""
    from mlflow import MlflowClient

    tracking = RunTracking(place.tracking_uri)
    played = {
        "ends": ToyTrial("ends", ["0.5", "0.75"]),
        "fails": ToyTrial("fails", ["0.5"], ends="failed"),
        "stays": ToyTrial("stays", ["0.25", "nan", "0.5", "0.6"]),
    }

    def execute(*names: str, lost: bool) -> str:
        with tracking.study(experiment=name, identity="s", name="study", tags={"line": name}) as study:
            runner = TrackedTrials(ToyRunner(lambda assignment: played[assignment["name"]]), study)
            running = [runner.start(each, {"name": each, "rate": "0.05"}) for each in names]
            runner.wait(running, 0)
            runner.wait(running, 0)
            for each in running:
                if each.outcome() != "running":
                    each.stop()
            if lost:
                raise_(dg.Failure("the pod is gone"))
        assert study.run.lost is None
        return study.run.run_id

    with pytest.raises(dg.Failure):
        execute("ends", "fails", "stays", lost=True)
    client = MlflowClient(prepared(place.tracking_uri))
    (experiment,) = client.search_experiments(filter_string=f"name = '{name}'")

    def runs() -> dict:
        return {each.info.run_name: each for each in client.search_runs([experiment.experiment_id])}

    before = runs()
    assert {each: found.info.status for each, found in before.items()} == {
        "study": "FAILED",
        "ends": "FINISHED",
        "fails": "FAILED",
        "stays": "KILLED",
    }
    parent = before["study"].info.run_id
    for each in played:
        tags, params = before[each].data.tags, before[each].data.params
        assert (tags["mlflow.parentRunId"], tags["line"]) == (parent, name)
        assert params == {"name": each, "rate": "0.05"}
    history = client.get_metric_history(before["ends"].info.run_id, "auc")
    assert [(each.step, each.value, each.timestamp) for each in history] == [
        (1, 0.5, round(MIDNIGHT.timestamp() * 1000)),
        (2, 0.75, round(MIDNIGHT.timestamp() * 1000) + 1000),
    ]
    assert [each.step for each in client.get_metric_history(before["stays"].info.run_id, "auc")] == [1]

    assert execute("stays", lost=False) == parent
    after = runs()
    assert {each: found.info.run_id for each, found in after.items()} == {
        each: found.info.run_id for each, found in before.items()
    }
    assert (after["study"].info.status, after["stays"].info.status) == ("FINISHED", "FINISHED")
    told = client.get_metric_history(after["stays"].info.run_id, "auc")
    assert {(each.step, each.value) for each in told} == {(1, 0.25), (3, 0.5), (4, 0.6)}


def raise_(problem: Exception) -> None:
    """Raise it."""
    raise problem


@pytest.fixture
def wire(request, monkeypatch):
    """A wire to a real MLflow server that can be cut, and requests that are soon given up."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(run_tracking, "_FIRST_RETRY_SECONDS", 0.05)
    monkeypatch.setattr(run_tracking, "_LONGEST_RETRY_SECONDS", 0.05)
    address = urlsplit(request.getfixturevalue("mlflow_server"))
    with relay(str(address.hostname), int(address.port or 0)) as wire:
        yield wire


@pytest.mark.parametrize(
    ("moment", "state"),
    [
        ("start", "cut"),
        ("middle", "dead"),
        pytest.param("start", "dead", marks=pytest.mark.long),
        pytest.param("middle", "cut", marks=pytest.mark.long),
    ],
)
def test_a_server_that_goes_and_comes_back_is_told_all(wire, name, state, moment):
    """Refused or left without an answer, as training begins or in the middle of it: the run is whole in the end."""
    from mlflow import MlflowClient

    uri = f"http://127.0.0.1:{wire.port}"
    context = SimpleNamespace(run=SimpleNamespace(job_name=name, run_id=str(uuid4())))
    if moment == "start":
        wire.become(state)
    with RunTracking(uri).run(context, experiment=name, identity="a", tags={"line": name}) as run:
        run.params({"epochs": 2})
        run.metrics({"loss": 1.0}, step=1)
        if moment == "middle":
            wait_for(lambda: not run._waiting, "the first is told", every=0.02)
            wire.become(state)
            run.metrics({"loss": 0.5}, step=2)
        assert wire.tried.wait(60)
        wire.become("open")
        run.metrics({"loss": 0.25}, step=3)
    assert run.lost is None
    client = MlflowClient(uri)
    found = client.get_run(run.run_id)
    assert (found.info.status, found.data.params) == ("FINISHED", {"epochs": "2"})
    told = [(each.step, each.value) for each in client.get_metric_history(run.run_id, "loss")]
    assert told == ([(1, 1.0), (3, 0.25)] if moment == "start" else [(1, 1.0), (2, 0.5), (3, 0.25)])
    (experiment,) = client.search_experiments(filter_string=f"name = '{name}'")
    assert len(client.search_runs([experiment.experiment_id])) == 1


def test_a_registry_that_never_answers_is_one_error_that_passes(wire, name, tmp_path):
    """An act is no telemetry: it fails, soon, and may be tried again."""
    wire.become("dead")
    registry = MlflowRegistry(f"http://127.0.0.1:{wire.port}", locks=FileLocks(tmp_path))
    with pytest.raises(RegistryError, match="then run again") as refusal:
        registry.register(name, fingerprint="f0", source="s3://b/1", run_id="", tags={})
    assert refusal.value.passes

    wire.become("open")
    assert registry.register(name, fingerprint="f0", source="s3://b/1", run_id="", tags={}) == 1
    assert registry.register(name, fingerprint="f0", source="s3://b/1", run_id="", tags={}) == 1
