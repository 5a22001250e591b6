"""The tasks that there are: every folder beside this file that holds a `task.py`, by its name with hyphens."""

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue

import platform_assets.tasks
from platform_assets.datasets.ingestion import TellsWhose
from platform_assets.governance.subjects import Subject
from platform_assets.manifest import Manifest, bound, read_yaml
from platform_assets.models.errors import InstanceError
from platform_assets.models.scorer import Scorer
from platform_assets.references import ModelVersion
from platform_assets.scaffold.draft import Drafter
from platform_assets.scaffold.errors import ScaffoldError
from platform_assets.tasks.task import AnyTask
from platform_assets.tasks.training_spec import DEFAULT_TASK, TrainingSpec
from resources.errors import PlatformError

_TASK_MODULE = "task"


class TaskError(PlatformError):
    """No folder holds such a task, or a library that it needs is missing."""


class _NamesItsTask(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    task: str = DEFAULT_TASK


def known_tasks() -> tuple[str, ...]:
    """Names of all tasks, sorted."""
    folders = [
        folder
        for place in platform_assets.tasks.__path__
        for folder in Path(place).iterdir()
        if (folder / f"{_TASK_MODULE}.py").is_file()
    ]
    return tuple(sorted(folder.name.replace("_", "-") for folder in folders))


@cache
def find_task(name: str) -> AnyTask:
    """The task of this name.

    Raises:
        TaskError: there is none, or it cannot be imported.
    """
    if name not in known_tasks():
        raise TaskError(f"there is no task {name!r}; known are {', '.join(known_tasks())}")
    module = f"{platform_assets.tasks.__name__}.{name.replace('-', '_')}.{_TASK_MODULE}"
    try:
        task: AnyTask = import_module(module).TASK
    except ImportError as problem:
        raise TaskError(f"the task {name} cannot be imported ({problem}); install what it needs") from problem
    except Exception as problem:
        # Whatever is wrong with it, it takes down the lines of this task and no other.
        raise TaskError(
            f"the task {name} cannot be used ({type(problem).__name__}: {problem}); mend {module}"
        ) from problem
    return task


def find_drafter(name: str) -> Drafter:
    """What drafts lines of the task of this name.

    Raises:
        TaskError: there is no such task.
        ScaffoldError: its lines cannot be drafted.
    """
    drafter = find_task(name).drafter
    if drafter is None:
        raise ScaffoldError(
            f"lines of {name} cannot be drafted; write the spec by hand, as those that ship are"
        )
    return drafter


def is_about(subject: Subject, content: bytes) -> bool:
    """Whether a file is about a subject, as some task's files tell.

    Raises:
        TaskError: a task cannot be imported, so nobody knows.
        DatasetError: the file is of a kind that cannot be read here.
    """
    ingestions = (find_task(name).ingestion for name in known_tasks())
    return any(each.is_about(subject, content) for each in ingestions if isinstance(each, TellsWhose))


def load_scorer(model: ModelVersion, folder: Path) -> Scorer:
    """The model in a folder, ready to answer."""
    scorer: Scorer = find_task(model.features.dataset.task).trainer.load(folder)
    return scorer


def read_instances(model: ModelVersion, arguments: Sequence[str]) -> list[JsonValue]:
    """What somebody asks a model about, from arguments of the command line.

    Raises:
        InstanceError: an argument is nothing that the model's task can answer.
    """
    read = find_task(model.features.dataset.task).read_instance
    instances = []
    for at, argument in enumerate(arguments, start=1):
        try:
            instances.append(read(argument))
        except ValueError as problem:
            raise InstanceError(f"instance {at}: {problem}") from None
    return instances


def read_training_spec(path: Path) -> tuple[AnyTask, Manifest[TrainingSpec]]:
    """The spec in `path`, parsed by the model of the task that it names.

    Raises:
        ManifestError: names file, line and field of everything that is wrong.
    """
    yaml = read_yaml(path)
    named = bound(yaml, _NamesItsTask)
    try:
        task = find_task(named.content.task)
    except TaskError as problem:
        raise named.error(("task",), str(problem)) from None
    return task, bound(yaml, task.spec)
