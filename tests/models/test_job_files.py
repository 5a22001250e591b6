"""Training from the object store: killed, and started again on another disk."""

from dataclasses import replace

import pytest

from platform_assets.models.errors import TrainingError
from platform_assets.models.job_files import JobFiles
from platform_assets.models.training_site import environment_of
from platform_assets.outside_systems import OutsideSystems
from platform_assets.tasks.registry import find_task
from resources.settings import PlatformSettings
from tests.models.processes import (
    JOB_PROCESS,
    eager,
    environment,
    kill_at,
    make_inputs,
    put,
    result_of,
    start,
    weights,
)

PREFIX = "models/dev/reviews_small/0123456789abcdef.checkpoint"


def config_type(task):
    """What the trainer of a task is told."""
    return find_task(task).trainer.config_type


@pytest.fixture
def inputs(make_tokens, training_config):
    """What a job is made of."""
    return make_inputs(make_tokens(), training_config)


@pytest.fixture
def settings(s3_bucket, s3_endpoint, tmp_path):
    """Settings of a platform whose objects lie in a bucket."""
    return PlatformSettings(
        home=tmp_path / "home",
        objects_uri=f"s3://{s3_bucket}/objects",
        s3_endpoint=s3_endpoint,
        checkpoint_interval_seconds=1e-6,
    )


def test_inputs_and_result_come_back(settings, inputs, tmp_path):
    """What one process puts, another finds, with its class; until the job is cleared."""
    outside = OutsideSystems(settings)
    store = outside.object_store
    files = JobFiles(store, PREFIX)
    with pytest.raises(TrainingError, match="has no inputs"):
        files.inputs(config_type)
    put(inputs, outside, PREFIX)
    assert files.inputs(config_type) == inputs
    assert files.result() is None
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    files.put_result(model, {"steps": 12}, source_commit="0c0ffee")
    assert files.result() == {"steps": 12}
    assert [file.name for file in files.model().iterdir()] == ["config.json"]
    files.clear()
    assert files.result() is None
    assert list(store.list(PREFIX)) == []


@pytest.mark.parametrize(("of_the_dataset", "expected"), [(3650, 7), (3, 3)])
def test_rows_of_a_job_stay_no_longer_than_the_training_or_their_dataset(
    inputs, tmp_path, of_the_dataset, expected
):
    """Whichever is shorter: a copy of rows must not outlive the rows, nor lie about when nobody trains on it."""
    outside = OutsideSystems(PlatformSettings(home=tmp_path))
    dataset = inputs.dataset.model_copy(update={"retention_days": of_the_dataset})
    put(replace(inputs, dataset=dataset), outside, PREFIX)
    info = outside.object_store.info(f"{PREFIX}/rows.parquet")
    assert (info.retention_days, info.gdpr_class) == (expected, "personal")


@pytest.mark.long
def test_a_killed_job_goes_on_on_another_disk(trained, settings, inputs, tmp_path):
    """Killed at its tenth step, a job is taken up from the store alone and ends with the weights of an undisturbed run."""
    files = put(inputs, OutsideSystems(settings), PREFIX)
    program = tmp_path / "eager.py"
    program.write_text(eager(JOB_PROCESS))
    first = environment_of(settings, environment())
    kill_at(start(str(program), "--job", PREFIX, **first), "step 10 of 12")
    assert files.result() is None
    # The disk of a pod goes with it.
    settings = settings.model_copy(update={"home": tmp_path / "another"})
    told = result_of(start("-m", JOB_PROCESS, "--job", PREFIX, **environment_of(settings, environment())))
    assert told["resumed_at_step"] in {9, 10, 11}
    assert told["weights_sha256"] == trained[0].weights_sha256
    assert weights(files.model()).keys() == weights(trained[0].output).keys()
    assert files.result()["weights_sha256"] == trained[0].weights_sha256


def test_a_job_whose_inputs_are_gone_says_so(tmp_path):
    """One sentence and no traceback."""
    settings = PlatformSettings(home=tmp_path)
    process = start("-m", JOB_PROCESS, "--job", PREFIX, **environment_of(settings, environment()))
    told = process.communicate()[0]
    assert process.returncode == 1
    assert f"error: training job {PREFIX} has no inputs" in told
    assert "Traceback" not in told
