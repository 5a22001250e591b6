"""Training as a process of its own, alone or as one of several that a launcher starts.

python -m platform_assets.models.training_process --tokens tokens.parquet --config config.json --output folder …
torchrun --nproc-per-node 2 -m platform_assets.models.training_process …
torchrun … -m platform_assets.models.training_process --job models/dev/reviews_sentiment/0123456789abcdef.checkpoint
"""

import argparse
import json
import logging
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

from platform_assets.models.checkpoints import FolderCheckpoints
from platform_assets.models.job_files import JobFiles
from platform_assets.models.training import TrainingConfig, train
from platform_assets.systems import open_object_store
from resources.errors import PlatformError
from resources.settings import PlatformSettings


def main() -> None:
    """Entry point of `python -m` and `torchrun`."""
    parser = argparse.ArgumentParser(description="Fine-tune a text encoder.")
    parser.add_argument("--tokens", type=Path, help="Parquet file: token_ids, label, split")
    parser.add_argument("--config", type=Path, help="JSON file with the fields of TrainingConfig")
    parser.add_argument("--output", type=Path, help="folder for the model's files")
    parser.add_argument("--checkpoints", type=Path, help="folder for the checkpoint")
    parser.add_argument("--checkpoint-interval", type=float, default=20.0, help="seconds between checkpoints")
    parser.add_argument(
        "--job",
        metavar="PREFIX",
        help="instead of the files above: key of a job in the platform's object store",
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
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if arguments.attached:
        Thread(target=_end_with_standard_input, daemon=True).start()
    try:
        told = _train_job(arguments.job) if arguments.job else _train_files(arguments)
    except PlatformError as problem:
        sys.exit(f"error: {problem}")
    if first:
        print(json.dumps(told))  # noqa: T201 - the result


def _train_files(arguments: argparse.Namespace) -> dict[str, Any]:
    import pyarrow.parquet as pq

    progress: list[dict[str, float]] = []
    result = train(
        pq.read_table(arguments.tokens),
        TrainingConfig.model_validate_json(arguments.config.read_bytes()),
        output=arguments.output,
        checkpoints=FolderCheckpoints(arguments.checkpoints),
        checkpoint_interval_seconds=arguments.checkpoint_interval,
        on_progress=lambda step, metrics: progress.append({"step": step, **metrics}),
    )
    return {**asdict(result), "output": str(result.output), "progress": progress}


def _train_job(prefix: str) -> dict[str, Any]:
    """Train what a job's files say, and put the model beside them."""
    settings = PlatformSettings()
    files = JobFiles(open_object_store(settings), prefix)
    inputs = files.inputs()
    progress: list[dict[str, float]] = []
    with TemporaryDirectory(prefix="training-") as scratch:
        result = train(
            inputs.tokens,
            inputs.config,
            output=Path(scratch, "model"),
            checkpoints=files.checkpoints(inputs.source_commit),
            checkpoint_interval_seconds=settings.checkpoint_interval_seconds,
            on_progress=lambda step, metrics: progress.append({"step": step, **metrics}),
        )
        told = {**asdict(result), "output": files.uri, "progress": progress}
        if result.weights_sha256:
            files.put_result(result.output, told, source_commit=inputs.source_commit)
    return told


def _end_with_standard_input() -> None:
    # Not by Python's own file, whose lock the interpreter wants when it ends.
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
