"""Training with the real encoder on a handful of rows: repeatable, resumable, the same on two processes."""

import logging
import random
import signal
import subprocess
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from platform_assets.models import training as loop
from platform_assets.models.checkpoints import FolderCheckpoints
from platform_assets.models.errors import TrainingError
from platform_assets.models.hardware import usable_gpus
from platform_assets.models.training import StepConfig
from platform_assets.tasks.text_classification.recipe import TextTrainingConfig
from platform_assets.tasks.text_classification.task import TASK
from tests.models.processes import (
    PROCESS,
    Stopped,
    assert_alike,
    eager,
    kill_at,
    result_of,
    start,
    stop_at,
    torchrun,
    train,
    wait_until,
    weights,
)


@pytest.fixture
def arguments(make_tokens, training_config, tmp_path):
    """Writes the input of a training process; returns its command-line arguments."""

    def arguments(tokens: pa.Table | None = None, config: TextTrainingConfig = training_config) -> list[str]:
        pq.write_table(make_tokens() if tokens is None else tokens, tmp_path / "tokens.parquet")
        (tmp_path / "config.json").write_text(config.model_dump_json())
        return [
            *("--tokens", str(tmp_path / "tokens.parquet"), "--config", str(tmp_path / "config.json")),
            *("--output", str(tmp_path / "model"), "--checkpoints", str(tmp_path / "checkpoints")),
            *("--checkpoint-interval", "0"),
        ]

    return arguments


@pytest.fixture
def eager_program(tmp_path):
    """A program that trains and saves after every step."""
    program = tmp_path / "eager.py"
    program.write_text(eager(PROCESS))
    return str(program)


def test_a_run_learns_and_reports(trained):
    """The loss falls, progress is told at the first, every tenth and the last step, and the files are there."""
    result, reported = trained
    assert list(reported) == [1, 10, 12]
    assert reported[12]["loss"] < 0.5 * reported[1]["loss"]
    assert result.final_loss == reported[12]["loss"]
    assert (result.steps, result.resumed_at_step, result.rows) == (12, 0, 84)
    assert {"config.json", "model.safetensors", "head.safetensors"} <= {
        path.name for path in result.output.iterdir()
    }
    assert reported[12]["rows_per_second"] > 0


def test_the_same_input_gives_the_same_weights(trained, make_tokens, training_config, tmp_path):
    """Repeated on a CPU, a run ends with the same bytes; another seed ends with others."""
    again = train(
        make_tokens(), training_config, output=tmp_path / "a", checkpoints=FolderCheckpoints(tmp_path)
    )
    assert again.weights_sha256 == trained[0].weights_sha256
    short = make_tokens(14)
    first, second = (
        train(
            short,
            training_config.model_copy(update={"seed": seed}),
            output=tmp_path / str(seed),
            checkpoints=FolderCheckpoints(tmp_path / str(seed)),
        )
        for seed in (1, 2)
    )
    assert first.weights_sha256 != second.weights_sha256


def test_a_killed_run_goes_on_where_it_was(
    trained, make_tokens, training_config, arguments, eager_program, tmp_path
):
    """Killed at its tenth step and started again, a run repeats no more than a step and ends with the same weights."""
    kill_at(start(eager_program, *arguments()), "step 10 of 12")
    assert not (tmp_path / "model").exists()
    reported = []
    resumed = train(
        make_tokens(),
        training_config,
        output=tmp_path / "model",
        checkpoints=FolderCheckpoints(tmp_path / "checkpoints"),
        on_progress=lambda step, metrics: reported.append(step),
    )
    assert resumed.resumed_at_step in {9, 10, 11}
    assert reported[0] == resumed.resumed_at_step + 1
    assert resumed.weights_sha256 == trained[0].weights_sha256
    assert resumed.final_loss == trained[0].final_loss


@pytest.mark.long
def test_a_run_survives_twenty_kills(trained, arguments, eager_program):
    """Killed at any moment, also while a checkpoint is written, a run ends with the weights of an undisturbed one."""
    command = (eager_program, *arguments())
    for _ in range(20):
        process = start(*command)
        assert process.stdout is not None
        with process.stdout:
            assert any(line.startswith("training on") for line in process.stdout)
            try:
                process.wait(timeout=random.uniform(0, 1.5))
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
    assert result_of(start(*command))["weights_sha256"] == trained[0].weights_sha256


def test_a_run_that_is_asked_to_end_saves_first(trained, make_tokens, training_config, arguments, tmp_path):
    """SIGTERM between two checkpoints, as a pod gets it, costs no step that was done."""
    rarely = [*arguments()[:-1], "3600"]
    process = start("-m", PROCESS, *rarely)
    wait_until(process, "step 10 of 12")
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert not (tmp_path / "model").exists()
    resumed = train(
        make_tokens(),
        training_config,
        output=tmp_path / "model",
        checkpoints=FolderCheckpoints(tmp_path / "checkpoints"),
    )
    assert resumed.resumed_at_step >= 10
    assert resumed.weights_sha256 == trained[0].weights_sha256


@pytest.fixture(scope="module")
def alike(make_tokens, training_config):
    """Twenty-two rows, so that the last batch of each epoch holds one, and a configuration without chance.

    What is kept is an average, which is one more thing that processes must agree on.
    """
    changed = {"dropout": 0.0, "epochs": 6, "threads": 1, "average_decay": 0.5}
    return make_tokens(22), training_config.model_copy(update=changed)


@pytest.fixture(scope="module")
def alone(alike, tmp_path_factory):
    """What one process makes of them, and its losses."""
    folder = tmp_path_factory.mktemp("alone")
    losses = {}
    result = train(
        *alike,
        output=folder / "model",
        checkpoints=FolderCheckpoints(folder),
        on_progress=lambda step, metrics: losses.update({step: metrics["loss"]}),
    )
    return result, losses


def test_two_processes_train_as_one(alike, alone, arguments, tmp_path):
    """Two processes follow the loss curve of one, also where a batch holds fewer rows than processes."""
    together = result_of(start(*torchrun(2, "-m", PROCESS, *arguments(*alike))))
    losses = {told["step"]: told["loss"] for told in together["progress"]}
    assert list(losses) == list(alone[1]) == [1, 10, 20, 24]
    assert losses == pytest.approx(alone[1], rel=1e-2, abs=1e-4)
    assert_alike(weights(alone[0].output), weights(tmp_path / "model"))
    assert together["hardware"]["processes"] == 2
    assert alone[0].hardware.processes == 1
    assert "leaves some" not in together["log"]


@pytest.mark.long
def test_two_processes_go_on_where_one_was(alike, alone, arguments, tmp_path):
    """The checkpoint of one process is taken up by two, that of two by one, and the end is the same."""
    output, checkpoints = tmp_path / "model", FolderCheckpoints(tmp_path / "checkpoints")
    with pytest.raises(Stopped):
        train(*alike, output=output, checkpoints=checkpoints, on_progress=stop_at(10))
    process = start(*torchrun(2, "-m", PROCESS, *arguments(*alike)))
    wait_until(process, "step 20 of 24")
    process.send_signal(signal.SIGTERM)
    told = process.communicate()[0]
    assert process.returncode != 0, told
    assert not output.exists()
    ended = train(*alike, output=output, checkpoints=checkpoints)
    # The two have saved once at least, after their first step.
    assert ended.resumed_at_step > 10
    assert_alike(weights(alone[0].output), weights(output))


@pytest.mark.long
def test_processes_go_on_only_where_all_can(make_tokens, training_config, arguments, tmp_path):
    """Where one of two processes has no checkpoint both start anew; where a batch has one row, the other idles.

    Each is told once, and the model is that of one process.
    """
    tokens = make_tokens(4)
    single = training_config.model_copy(update={"batch_size": 1, "dropout": 0.0, "threads": 1, "epochs": 3})
    with pytest.raises(Stopped):
        train(
            tokens,
            single,
            output=tmp_path / "model",
            checkpoints=FolderCheckpoints(tmp_path / "checkpoints-0"),
            on_progress=stop_at(10),
        )
    program = tmp_path / "apart.py"
    program.write_text(
        f"import os, sys\nsys.argv[-1] += '-' + os.environ['RANK']\nfrom {PROCESS} import main\nmain()\n"
    )
    apart = [*arguments(tokens, single), "--checkpoints", str(tmp_path / "checkpoints")]
    together = result_of(start(*torchrun(2, str(program), *apart)))
    assert together["resumed_at_step"] == 0
    assert together["log"].count("the processes do not find the same checkpoint") == 1
    assert together["log"].count("a batch of 1 rows leaves some of the 2 processes without any") == 1
    train(tokens, single, output=tmp_path / "alone", checkpoints=FolderCheckpoints(tmp_path / "a"))
    assert_alike(weights(tmp_path / "alone"), weights(tmp_path / "model"))


def test_a_loss_that_is_no_number_ends_the_run(make_tokens, training_config, tmp_path):
    """A run that diverges is an error that says where, and leaves no model."""
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step \d+ of 4; lower learning_rate"):
        train(
            make_tokens(28),
            training_config.model_copy(update={"learning_rate": 1e30}),
            output=tmp_path / "model",
            checkpoints=FolderCheckpoints(tmp_path),
        )
    assert not (tmp_path / "model").exists()


def test_a_gpu_that_is_not_there_costs_a_warning(make_tokens, training_config, tmp_path, caplog):
    """A spec that asks for a GPU runs on the CPU of a machine that has none, and says so once."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with caplog.at_level(logging.WARNING, logger="platform_assets"):
        result = train(
            make_tokens(7),
            training_config.model_copy(update={"gpu": 1}),
            output=tmp_path / "model",
            checkpoints=FolderCheckpoints(tmp_path),
        )
    assert result.hardware.device == "cpu"
    (warning,) = [
        record.getMessage() for record in caplog.records if record.name.startswith("platform_assets")
    ]
    assert warning == "the spec asks for 1 GPU and this machine has none: running on the CPU"


@pytest.mark.parametrize(
    ("asked", "visible", "used"), [(0, 8, 0), (1, 0, 1), (4, 8, 4), (4, 2, 2), (4, 0, 0)]
)
def test_no_more_gpus_are_used_than_there_are(monkeypatch, caplog, asked, visible, used):
    """As many as asked for, or all that are there, with a warning; of none at all the training itself warns."""
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    with caplog.at_level(logging.WARNING, logger="platform_assets"):
        assert usable_gpus(asked) == used
    warned = [record.getMessage() for record in caplog.records]
    expected = "the spec asks for 4 GPUs and this machine has 2: training on those"
    assert warned == ([expected] if (asked, visible) == (4, 2) else [])


@dataclass(frozen=True)
class LineRecipe:
    """Two numbers a row, and which of them is the larger: nothing of it is a text."""

    config: StepConfig

    def sizes(self, rows):
        """All alike."""
        return np.ones(len(rows), dtype=np.int64)

    def build(self):
        """A straight line."""
        import torch

        return torch.nn.Linear(2, 2)

    def parameter_groups(self, network):
        """One."""
        return [
            {
                "params": list(network.parameters()),
                "lr": self.config.learning_rate,
                "weight_decay": self.config.weight_decay,
            }
        ]

    def tensors(self, rows, device):
        """Numbers, and labels."""
        import torch

        numbers = torch.tensor([row[:2] for row in rows], dtype=torch.float32, device=device)
        return (numbers,), torch.tensor([row[2] for row in rows], device=device)

    def loss(self, outputs, labels):
        """Cross entropy."""
        import torch

        return torch.nn.functional.cross_entropy(outputs.float(), labels, reduction="sum")

    def identity(self, rows):
        """Configuration and rows."""
        yield self.config.model_dump_json().encode()
        yield np.array(rows).tobytes()

    def save(self, network, folder):
        """One file."""
        from safetensors.torch import save_file

        save_file(network.state_dict(), folder / "line.safetensors")
        return ["line.safetensors"]


def test_the_loop_trains_whatever_a_recipe_brings(tmp_path):
    """Another network on other rows: it learns, ends where it was ended, and comes to the same weights."""
    numbers = np.random.default_rng(0).normal(size=(64, 2)).tolist()
    rows = [(one, other, int(one > other)) for one, other in numbers]
    config = StepConfig(epochs=8, batch_size=8, learning_rate=0.05, mixed_precision=False, threads=1)
    losses = {}
    whole = loop.train(
        LineRecipe(config),
        rows,
        config,
        output=tmp_path / "whole",
        checkpoints=FolderCheckpoints(tmp_path / "a"),
        on_progress=lambda step, metrics: losses.update({step: metrics["loss"]}),
    )
    with pytest.raises(Stopped):
        loop.train(
            LineRecipe(config),
            rows,
            config,
            output=tmp_path / "parts",
            checkpoints=FolderCheckpoints(tmp_path / "b"),
            on_progress=stop_at(20),
        )
    resumed = loop.train(
        LineRecipe(config),
        rows,
        config,
        output=tmp_path / "parts",
        checkpoints=FolderCheckpoints(tmp_path / "b"),
    )

    assert losses[64] < 0.5 * losses[1]
    assert (whole.steps, resumed.resumed_at_step) == (64, 20)
    assert resumed.weights_sha256 == whole.weights_sha256
    assert [path.name for path in whole.output.iterdir()] == ["line.safetensors"]


def lines(config, folder, **options):
    """What the loop makes of 64 points."""
    numbers = np.random.default_rng(0).normal(size=(64, 2)).tolist()
    return loop.train(
        LineRecipe(config),
        [(one, other, int(one > other)) for one, other in numbers],
        config,
        output=folder / "model",
        checkpoints=FolderCheckpoints(folder / "checkpoints"),
        **options,
    )


LINE = StepConfig(epochs=4, batch_size=8, learning_rate=0.05, mixed_precision=False, threads=1)


def line_of(result):
    """The weights that were kept."""
    from safetensors.numpy import load_file

    return load_file(result.output / "line.safetensors")


def test_what_is_kept_may_be_an_average(tmp_path):
    """With decay d, w' = d w' + (1 - d) w after each step; ended and begun again, it is as if it had never been ended."""
    averaged = LINE.model_copy(update={"average_decay": 0.75})
    whole = lines(averaged, tmp_path / "whole")
    with pytest.raises(Stopped):
        lines(averaged, tmp_path / "parts", on_progress=stop_at(20))
    resumed = lines(averaged, tmp_path / "parts")
    assert resumed.resumed_at_step == 20
    assert resumed.weights_sha256 == whole.weights_sha256

    steps = []

    class Watched(LineRecipe):
        def tensors(self, rows, device):
            steps.append({name: each.clone() for name, each in self.network.state_dict().items()})
            return super().tensors(rows, device)

        def build(self):
            object.__setattr__(self, "network", super().build())
            return self.network

    recipe = Watched(LINE)
    numbers = np.random.default_rng(0).normal(size=(64, 2)).tolist()
    rows = [(one, other, int(one > other)) for one, other in numbers]
    plain = loop.train(
        recipe, rows, LINE, output=tmp_path / "plain", checkpoints=FolderCheckpoints(tmp_path / "c")
    )
    after = [*steps[1:], recipe.network.state_dict()]
    expected = after[0]
    for state in after[1:]:
        expected = {name: 0.75 * expected[name] + 0.25 * state[name] for name in state}
    assert len(after) == 32
    for name, values in line_of(whole).items():
        assert values == pytest.approx(expected[name].numpy(), abs=1e-5)
        assert np.array_equal(line_of(plain)[name], after[-1][name].numpy())
    assert plain.weights_sha256 != whole.weights_sha256


@pytest.mark.parametrize(
    ("decay", "batch_size", "used"), [(0.99, 8, 0.875), (0.75, 8, 0.75), (0.99, 64, 0.0)]
)
def test_an_average_of_few_steps_has_forgotten_its_start(tmp_path, decay, batch_size, used):
    """It reaches back over a quarter of the steps at most, 32 or 4; of 0.99, 73 % of it would be the network at its start."""
    changes = {"average_decay": decay, "batch_size": batch_size}
    asked = lines(LINE.model_copy(update=changes), tmp_path / "asked")
    same = lines(LINE.model_copy(update=changes | {"average_decay": used}), tmp_path / "same")
    for name, values in line_of(asked).items():
        assert np.array_equal(values, line_of(same)[name])


def test_an_average_is_of_its_own_configuration(tmp_path):
    """A checkpoint without an average is not gone on from by a run that wants one."""
    with pytest.raises(Stopped):
        lines(LINE, tmp_path, on_progress=stop_at(20))
    assert lines(LINE.model_copy(update={"average_decay": 0.5}), tmp_path).resumed_at_step == 0


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", {1: 0.05 * 2 / 3, 10: 0.05 * 22 / 29, 20: 0.05 * 12 / 29, 32: 0}),
        (
            "cosine",
            {
                step: 0.05 * ((step + 1) / 3 if step < 3 else (1 + np.cos(np.pi * (step - 3) / 29)) / 2)
                for step in (1, 10, 20, 32)
            },
        ),
    ],
)
def test_rates_follow_the_schedule(tmp_path, schedule, expected):
    """Three of 32 steps up to the highest, and from there to nothing."""
    rates = {}
    lines(
        LINE.model_copy(update={"schedule": schedule}),
        tmp_path,
        on_progress=lambda step, told: rates.update({step: told["learning_rate"]}),
    )
    assert {step: rates[step] for step in expected} == pytest.approx(expected, abs=1e-9)


def test_no_rows_are_an_error(tmp_path):
    """Before anything is built."""
    with pytest.raises(TrainingError, match="split 'train' has 0 rows"):
        loop.train(
            LineRecipe(StepConfig()),
            [],
            StepConfig(),
            output=tmp_path / "model",
            checkpoints=FolderCheckpoints(tmp_path),
        )


@pytest.mark.parametrize("decay", [0.0, 0.75])
def test_whoever_looks_on_changes_nothing(tmp_path, decay):
    """Shown the model after each epoch but the last, one may draw numbers and take threads: it is trained as without.

    It is the one that would be kept: its average, where there is one, as files that the result has too.
    """
    import torch
    from safetensors.numpy import load_file

    config = LINE.model_copy(update={"average_decay": decay})
    plain = lines(config, tmp_path / "plain")
    shown, threads, state = {}, torch.get_num_threads(), []

    def look(epoch, folder):
        shown[epoch] = load_file(folder / "line.safetensors")
        torch.manual_seed(epoch)
        torch.set_num_threads(threads + epoch)
        state.append(folder)

    watched = lines(config, tmp_path / "watched", on_epoch=look)

    assert watched.weights_sha256 == plain.weights_sha256
    assert torch.get_num_threads() == threads
    assert [*shown] == [1, 2, 3]
    assert not any(folder.exists() for folder in state)
    ends = [*shown.values(), line_of(watched)]
    for before, after in pairwise(ends):
        assert all(not np.array_equal(before[name], after[name]) for name in before)
    again = {}
    lines(config, tmp_path / "again", on_epoch=lambda epoch, at: again.update({epoch: look_into(at)}))
    assert again == {epoch: {name: each.tolist() for name, each in shown[epoch].items()} for epoch in shown}


def look_into(folder):
    """The weights in a folder, to be compared."""
    from safetensors.numpy import load_file

    return {name: each.tolist() for name, each in load_file(folder / "line.safetensors").items()}


def test_what_is_shown_is_what_would_be_kept(tmp_path):
    """After an epoch of eight steps it is the average of these, of which only the last is left without one."""
    averaged = LINE.model_copy(update={"average_decay": 0.75})
    kept, shown = [], {}

    class Told(LineRecipe):
        def save(self, network, folder):
            kept.append(network)
            return super().save(network, folder)

    numbers = np.random.default_rng(0).normal(size=(64, 2)).tolist()
    result = loop.train(
        Told(averaged),
        [(one, other, int(one > other)) for one, other in numbers],
        averaged,
        output=tmp_path / "model",
        checkpoints=FolderCheckpoints(tmp_path / "checkpoints"),
        on_epoch=lambda epoch, folder: shown.update({epoch: look_into(folder)}),
    )
    assert len(kept) == 4
    assert {id(network) for network in kept} == {id(kept[-1])}
    assert look_into(result.output) == {name: each.tolist() for name, each in line_of(result).items()}
    assert len({str(each) for each in shown.values()}) == 3


def test_a_training_that_goes_on_shows_what_is_left(tmp_path):
    """Ended in its third epoch, it goes on to the same weights, and shows the end of that one and not of those before."""
    whole, ended, again = [], [], []
    result = lines(LINE, tmp_path / "whole", on_epoch=lambda epoch, _: whole.append(epoch))
    with pytest.raises(Stopped):
        lines(
            LINE, tmp_path / "parts", on_progress=stop_at(20), on_epoch=lambda epoch, _: ended.append(epoch)
        )
    resumed = lines(LINE, tmp_path / "parts", on_epoch=lambda epoch, _: again.append(epoch))
    assert (whole, ended, again) == ([1, 2, 3], [1, 2], [3])
    assert resumed.resumed_at_step == 20
    assert resumed.weights_sha256 == result.weights_sha256


def test_an_error_of_who_looks_on_ends_the_training(tmp_path):
    """And leaves nothing of what it was shown."""

    def fail(epoch, folder):
        raise TrainingError("seen enough")

    with pytest.raises(TrainingError, match="seen enough"):
        lines(LINE, tmp_path, on_epoch=fail)
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_text_model_is_shown_whole(make_tokens, training_config, tmp_path):
    """What is shown of an encoder are the files that its training leaves; the result is that of `fit`."""
    config, rows = training_config.model_copy(update={"epochs": 2}), make_tokens(14)
    plain = train(rows, config, output=tmp_path / "plain", checkpoints=FolderCheckpoints(tmp_path / "a"))
    names = []
    watched = TASK.trainer.fit_showing(
        rows,
        config,
        output=tmp_path / "watched",
        checkpoints=FolderCheckpoints(tmp_path / "b"),
        checkpoint_interval_seconds=20.0,
        on_progress=None,
        on_epoch=lambda epoch, folder: names.append(sorted(each.name for each in folder.iterdir())),
    )
    assert names == [sorted(each.name for each in plain.output.iterdir())]
    assert watched.weights_sha256 == plain.weights_sha256
