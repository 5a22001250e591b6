"""Training as a process of its own: one of several that a launcher starts, or in the pods of a Job.

torchrun … -m platform_assets.tasks.training_process --job models/dev/reviews_sentiment/0123456789abcdef.checkpoint
"""

import argparse
import json
import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

from platform_assets.models.job_files import JobFiles
from platform_assets.outside_systems import OutsideSystems
from platform_assets.tasks.registry import find_task
from resources.errors import PlatformError
from resources.settings import PlatformSettings
from resources.signals import heeded


def main() -> None:
    """Entry point of `python -m` and `torchrun`."""
    parser = argparse.ArgumentParser(description="Train the model of a job.")
    parser.add_argument(
        "--job", metavar="PREFIX", required=True, help="key of a job in the platform's object store"
    )
    parser.add_argument(
        "--attached",
        action="store_true",
        help="end when standard input does, as it does when its writer dies",
    )
    arguments = parser.parse_args()
    first = os.environ.get("RANK", "0") == "0"
    # What all processes find, one tells.
    logging.basicConfig(level=logging.INFO if first else logging.ERROR, format="%(message)s")
    if arguments.attached:
        Thread(target=_end_with_standard_input, daemon=True).start()
    try:
        with heeded():
            summary = train_job(arguments.job, OutsideSystems(PlatformSettings()))
    except PlatformError as problem:
        sys.exit(f"error: {problem}")
    if first:
        print(json.dumps(summary))  # noqa: T201 - the result


def train_job(prefix: str, outside: OutsideSystems) -> dict[str, Any]:
    """Train what a job's files say, and put the model beside them.

    Args:
        prefix: Key of the files.
        outside: Holds them.

    Returns:
        What the training says of itself.
    """
    files = JobFiles(outside.object_store, prefix)
    inputs = files.inputs(lambda task: find_task(task).trainer.config_type)
    progress: list[dict[str, float]] = []
    with TemporaryDirectory(prefix="training-") as scratch:
        result = find_task(inputs.dataset.task).trainer.fit(
            inputs.rows,
            inputs.config,
            output=Path(scratch, "model"),
            checkpoints=files.checkpoints(inputs.source_commit),
            checkpoint_interval_seconds=outside.settings.checkpoint_interval_seconds,
            on_progress=lambda step, metrics: progress.append({"step": step, **metrics}),
        )
        summary = {**asdict(result), "output": files.uri, "progress": progress}
        if result.weights_sha256:
            files.put_result(result.output, summary, source_commit=inputs.source_commit)
    return summary


def _end_with_standard_input() -> None:
    # Not by Python's own file, whose lock the interpreter wants when it ends.
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
