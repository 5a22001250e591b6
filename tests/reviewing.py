"""Reviewers in a real Git repository, and what they say about a release, for tests."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from platform_assets.governance.release import Release
from platform_assets.governance.review_statement import Criterion, Statement, decided, requested
from platform_assets.governance.reviewers import Reviewer, Reviewers, read_reviewers
from tests.git_factory import run_git

ADA = "Ada Lovelace <ada@example.org>"
"""Who commits, unless a test says otherwise; no reviewer."""


def person(**given: Any) -> dict[str, Any]:
    """An entry of `reviewers.yaml`: Dr. Lee, a radiologist, unless a test says otherwise."""
    return {
        "id": "lee",
        "name": "Dr. Amira Lee",
        "roles": ["radiologist"],
        "emails": ["lee@hospital.example"],
        "principals": ["alee"],
        "valid_from": "2026-11-01",
    } | given


class ReviewersRepository:
    """A repository with `reviewers.yaml`, each state of which is one commit."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "reviewers.yaml"
        folder.mkdir(parents=True)
        run_git(folder, "init", "-q", "-b", "main")

    def commit(
        self, *people: Mapping[str, Any], author: str = ADA, committer: str = ADA, merges: str = ""
    ) -> Reviewers:
        """Who is a reviewer once these people are committed, by a merge of that branch where one is named."""
        return self.commit_text(
            yaml.safe_dump({"reviewers": list(people)}), author=author, committer=committer, merges=merges
        )

    def commit_text(
        self, text: str, *, author: str = ADA, committer: str = ADA, merges: str = ""
    ) -> Reviewers:
        """The same for any content."""
        head = run_git(self.folder, "for-each-ref", "refs/heads/main")
        parent = "from refs/heads/main^0\n" if head else ""
        parent += f"merge refs/heads/{merges}^0\n" if merges else ""
        size = len(text.encode())
        stream = (
            f"commit refs/heads/main\nauthor {author} 1790000000 +0000\ncommitter {committer} 1790000000 +0000\n"
            f"data 1\nx\n{parent}M 100644 inline reviewers.yaml\ndata {size}\n{text}\n"
        )
        run_git(self.folder, "fast-import", "--quiet", given=stream)
        return self.read()

    def read(self) -> Reviewers:
        """Who is a reviewer at `HEAD`."""
        return read_reviewers(self.file)


def said(
    release: Release,
    reviewer: Reviewer,
    decision: str = "approve",
    *,
    role: str = "radiologist",
    at: datetime = datetime(2026, 11, 22, 12, tzinfo=UTC),
    comment: str = "looked at all of it",
    valid_days: float = 365,
    criteria: Sequence[Criterion] = (),
    supersedes: str | None = None,
    **changes: Any,
) -> Statement:
    """What a reviewer says about a release."""
    request = requested(
        release,
        reviewer=reviewer,
        role=role,
        intended_use="A demonstration.",
        valid_days=valid_days,
        criteria=criteria,
    )
    return decided(
        request.model_copy(update=changes),
        decision,
        comment=comment,
        at=at,
        supersedes=supersedes,
    )
