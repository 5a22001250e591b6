"""Training as a process of its own, from files into folders: what a step on a laptop does, where it can be killed.

python -m tests.models.training_process --tokens tokens.parquet --config config.json --output folder --checkpoints folder
"""

import argparse
import json
import logging
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq

from platform_assets.models.checkpoints import FolderCheckpoints
from platform_assets.tasks.text_classification.task import TASK


def main() -> None:
    """Entry point of `python -m` and `torchrun`."""
    parser = argparse.ArgumentParser(description="Fine-tune a text encoder.")
    parser.add_argument("--tokens", type=Path, help="Parquet file: token_ids, label, split")
    parser.add_argument("--config", type=Path, help="JSON file with what the trainer is told")
    parser.add_argument("--output", type=Path, help="folder for the model's files")
    parser.add_argument("--checkpoints", type=Path, help="folder for the checkpoint")
    parser.add_argument("--checkpoint-interval", type=float, default=20.0, help="seconds between checkpoints")
    arguments = parser.parse_args()
    first = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(level=logging.INFO if first else logging.ERROR, format="%(message)s")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    progress: list[dict[str, float]] = []
    result = TASK.trainer.fit(
        pq.read_table(arguments.tokens),
        TASK.trainer.config_type.model_validate_json(arguments.config.read_bytes()),
        output=arguments.output,
        checkpoints=FolderCheckpoints(arguments.checkpoints),
        checkpoint_interval_seconds=arguments.checkpoint_interval,
        on_progress=lambda step, metrics: progress.append({"step": step, **metrics}),
    )
    if first:
        print(json.dumps({**asdict(result), "output": str(result.output), "progress": progress}))


if __name__ == "__main__":
    main()
