"""Who started a run: what a tag says, and whom nobody believes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest

from platform_assets.outside_systems import OutsideSystems
from platform_assets.starters import automation_tag, person_tag, starter_of
from platform_assets.step import signed_schedule, started_by
from platform_assets.tags import STARTED_BY_TAG
from resources.settings import PlatformSettings

SALT, OTHER_SALT = b"0123456789abcdef", b"fedcba9876543210"
CONFIG = {"ops": {"toy_model": {"config": {"epochs": 2, "rate": 1e-3}}}}
RUN_KEY = "dagster/run_key"
NIGHT = datetime(2026, 11, 22, 2, tzinfo=UTC)


@dataclass(frozen=True)
class Run:
    """A run, as far as it is looked at."""

    run_id: str = "run-1"
    tags: Mapping[str, str] = field(default_factory=dict)
    run_config: Mapping[str, Any] = field(default_factory=dict)


def starter(run: Run, first: str | None = "run-1", salt: bytes = SALT) -> str | None:
    """Who is found to have started it, where this run was the first with its tag."""
    return starter_of(run, salt, lambda _: first)


def asked_for(**changes: Any) -> Run:
    """A run that a sensor has asked for."""
    tags = {RUN_KEY: "drift:1", **automation_tag("drift_retraining", "drift:1", CONFIG, SALT)}
    return Run(**{"tags": tags, "run_config": CONFIG, **changes})


@pytest.mark.parametrize("user", ["ada", "a/b", "Zoë Ångström <zoe@acme.com>", "\udcff"])
def test_a_run_of_the_command_line_is_its_principals(user):
    """Whatever a person is called."""
    assert starter(Run(tags=person_tag(user, "run-1", SALT))) == user


def test_a_run_of_a_sensor_is_no_persons():
    """It says which sensor's."""
    assert starter(asked_for()) == "automation/drift_retraining"


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {STARTED_BY_TAG: ""},
        {STARTED_BY_TAG: "ada"},
        {STARTED_BY_TAG: f"ada/{'0' * 64}"},
        {STARTED_BY_TAG: "ada/\udcff"},
        {STARTED_BY_TAG: "/" + person_tag("", "run-1", SALT)[STARTED_BY_TAG]},
        person_tag("ada", "run-1", OTHER_SALT),
        person_tag("ada", "run-2", SALT),
        {STARTED_BY_TAG: person_tag("ada", "run-1", SALT)[STARTED_BY_TAG].replace("ada", "bob")},
        person_tag("automation/drift_retraining", "run-1", SALT),
        {RUN_KEY: "run-1", **person_tag("automation/drift_retraining", "run-1", SALT)},
        automation_tag("drift_retraining", "run-1", {}, SALT),
    ],
    ids=[
        "none",
        "empty",
        "unsigned",
        "made up",
        "no text",
        "nobody",
        "other salt",
        "copied from another run",
        "another name",
        "a person named like a sensor",
        "a person named like a sensor, with a key",
        "a sensor's without its key",
    ],
)
def test_what_is_not_signed_for_this_run_is_by_nobody(tags):
    """A tag that was typed, copied or made elsewhere proves nothing."""
    assert starter(Run(tags=tags)) is None


@pytest.mark.parametrize(
    "run",
    [
        asked_for(run_config={"ops": {"toy_model": {"config": {"epochs": 9, "rate": 1e-3}}}}),
        asked_for(tags={**asked_for().tags, RUN_KEY: "drift:2"}),
        asked_for(run_id="run-2"),
        asked_for(tags={**asked_for().tags, "dagster/parent_run_id": "run-0"}),
        asked_for(tags={**asked_for().tags, "dagster/root_run_id": "run-0"}),
        Run(tags={**person_tag("ada", "run-1", SALT), "dagster/parent_run_id": "run-0"}),
    ],
    ids=[
        "configured otherwise",
        "another key",
        "not the first",
        "again",
        "again, at last",
        "a person's again",
    ],
)
def test_a_copy_of_a_sensors_run_is_by_nobody(run):
    """Key, configuration and tag can be copied in the launchpad; that another run came before cannot be undone."""
    assert starter(run) is None


def test_a_configuration_is_the_same_after_it_was_stored():
    """Dagster keeps it as JSON, where keys are texts and nothing is a tuple."""
    given = {"ops": {"a": {"config": {1: (0.1, 2), "b": None}}}}
    stored = {"ops": {"a": {"config": {"b": None, "1": [0.1, 2]}}}}
    tags = {RUN_KEY: "k", **automation_tag("s", "k", given, SALT)}

    assert starter(Run(tags=tags, run_config=stored)) == "automation/s"


@pytest.fixture
def told() -> list[str | None]:
    """What runs of the job below have found."""
    return []


@pytest.fixture
def job(told: list[str | None]) -> dg.JobDefinition:
    """A job that asks who has started it."""

    @dg.op
    def ask(context: dg.OpExecutionContext) -> None:
        told.append(started_by(context, SALT))

    @dg.job
    def asking() -> None:
        ask()

    return asking


def test_a_tag_copied_in_the_launchpad_is_told_from_the_run_that_had_it_first(told, job):
    """As a person would do it in the UI: a run with all tags of one that the command line, or a sensor, has started."""
    key = {RUN_KEY: "drift:1", **automation_tag("drift_retraining", "drift:1", {}, SALT)}
    with dg.DagsterInstance.ephemeral() as instance:
        first = job.execute_in_process(instance=instance, tags=key)
        job.execute_in_process(instance=instance, tags=first.dagster_run.tags)
        run_id = str(uuid4())
        mine = job.execute_in_process(instance=instance, run_id=run_id, tags=person_tag("ada", run_id, SALT))
        job.execute_in_process(instance=instance, tags=mine.dagster_run.tags)
        job.execute_in_process(instance=instance)

    assert told == ["automation/drift_retraining", None, "ada", None, None]


def test_a_schedule_signs_for_its_runs(told, job):
    """What it asks for becomes a run that is its own."""
    outside = OutsideSystems(PlatformSettings())
    outside.salt = SALT
    schedule = signed_schedule("every_night", job, "0 2 * * *", description="")
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_schedule_context(
            instance, scheduled_execution_time=NIGHT, resources={"outside": outside}
        ) as context,
    ):
        (request,) = schedule.evaluate_tick(context).run_requests
        tags = {RUN_KEY: request.run_key, **request.tags}
        job.execute_in_process(instance=instance, tags=tags, run_config=request.run_config)

    assert told == ["automation/every_night"]
