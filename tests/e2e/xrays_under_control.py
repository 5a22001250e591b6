"""A line of X-rays that is tuned and promoted, small enough to be run within a test; in a repository of its own."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from platform_assets.lines.line import SPEC_FILE, SPECS_FOLDER
from tests.tasks.image_classification.dicom.builders import CONTRACT

LINE = "chest_xray_detector"
GATES = {"auc": "> 0.0", "beats_baseline": "any"}


def git(folder: Path, *arguments: str, author: str = "Maker <maker@example.org>") -> str:
    """Output of a git command that somebody gives."""
    name, _, address = author.rstrip(">").partition(" <")
    identity = ["-c", f"user.name={name}", "-c", f"user.email={address}"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder: Path, message: str, *, author: str) -> str:
    """The commit of all that lies in the folder."""
    git(folder, "add", "-A", author=author)
    git(folder, "commit", "-q", "-m", message, author=author)
    return git(folder, "rev-parse", "HEAD")
