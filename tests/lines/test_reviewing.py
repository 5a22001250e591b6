"""Reviewing by command and by a job in the UI: one act, with one record."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from platform_assets.cli import app
from platform_assets.governance.errors import ReviewError
from platform_assets.governance.review import REVIEW, review_of
from platform_assets.governance.review_assets import job_name, review_job
from platform_assets.governance.verdict import record, verdict_of
from platform_assets.lines.assets import line_jobs
from platform_assets.lines.line import load_line
from resources.settings import PlatformSettings
from tests.line_factory import SMALL_SPEC
from tests.reviewed_line import LINE, StagedVersion, reviewed_line
from tests.reviewing import ReviewersRepository, person


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReviewersRepository:
    """Where reviewers are looked up."""
    repository = ReviewersRepository(tmp_path / "people")
    monkeypatch.setenv("PLATFORM_REVIEWERS", str(repository.file))
    return repository


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: ReviewersRepository) -> Any:
    """Makes a platform with version 12 in staging, which commands find, in the name of Dr. Lee's principal."""

    def platform(**rule: Any) -> StagedVersion:
        line = reviewed_line(tmp_path / "spec", **rule)
        monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("PLATFORM_SPECS", json.dumps([str(line.manifest.path)]))
        monkeypatch.setenv("PLATFORM_PRINCIPAL__USER", "alee")
        return StagedVersion(PlatformSettings(), line)

    return platform


def review(*arguments: object, status: int = 0) -> Result:
    """Run `platform-assets review …`."""
    result = CliRunner().invoke(app, ["review", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result


def refused(*arguments: object) -> str:
    """Why `platform-assets review …` refuses."""
    result = CliRunner().invoke(app, ["review", *map(str, arguments)])
    assert isinstance(result.exception, ReviewError), result.output
    return str(result.exception)


def run_job(staged: StagedVersion, **config: Any) -> str | None:
    """Execute the job, as a click in the UI does: why it failed, or None."""
    job = review_job(LINE, staged.line.promotion)
    result = job.execute_in_process(
        resources={"outside": staged.outside},
        run_config={"ops": {"review": {"config": config}}},
        raise_on_error=False,
    )
    failures = [
        each.step_failure_data.user_failure_data for each in result.all_events if each.is_step_failure
    ]
    return failures[0].description if failures else None


def test_a_review_by_command_is_recorded_and_told(platform, repository):
    """The name of a line in the place of a command is a decision on it; what is missing is told after it."""
    version = platform()
    repository.commit(person())
    told = review(LINE, "--version", 12, "--by", "lee", "--decision", "approve", "--comment", "fine").output
    assert "approve by Dr. Amira Lee (radiologist) is entry" in told
    assert "still missing" not in told
    (entry,) = version.outside.ledger.entries(kind=REVIEW)
    statement = review_of(entry).statement
    assert (statement.intended_use, statement.comment) == ("A demonstration.", "fine")
    assert [(each.rule_set, each.observed, each.demanded) for each in statement.criteria] == [
        ("gate.auc", 0.61, "> 0.5")
    ]
    shown = json.loads(review("show", LINE, "--json").output)
    assert (shown["missing"], len(shown["reviews"])) == ([], 1)
    # An option may come first, and the person is who acts where nobody is named.
    review("--decision", "reject", LINE, "--comment", "misses <5 mm")
    assert "objects to version 12" in review("show", LINE).output


def test_what_cannot_be_reviewed_is_told(platform, repository):
    """In a sentence, and nothing is recorded."""
    version = platform()
    repository.commit(person())
    for told, *arguments in (
        (
            "version 11 of reviews_small is neither in staging nor",
            LINE,
            "--version",
            11,
            "--decision",
            "approve",
        ),
        (
            f"mallory names nobody of {repository.file} as it is",
            LINE,
            "--by",
            "mallory",
            "--decision",
            "approve",
        ),
        ("and for none by a surgeon", LINE, "--decision", "approve", "--role", "surgeon"),
        ("nothing.json cannot be read", "add", "nothing.json"),
        ("is no folder; make it", "sheet", LINE, repository.folder / "none" / "sheet.html"),
        ("is no folder; make it", "request", LINE, repository.folder / "none" / "request.json"),
        ("is no request of a review", "sign", __file__, "--key", __file__, "--decision", "approve"),
    ):
        assert told in refused(*arguments)

    assert list(version.outside.ledger.entries(kind=REVIEW)) == []


def test_nobody_is_a_reviewer_of_a_file_outside_a_repository(platform, tmp_path, monkeypatch):
    """The command says so, and what to do."""
    platform()
    monkeypatch.setenv("PLATFORM_REVIEWERS", str(tmp_path / "reviewers.yaml"))

    assert "set PLATFORM_REVIEWERS to its path" in refused(LINE, "--decision", "approve")


def test_a_signed_review_goes_from_hand_to_hand(platform, repository, tmp_path, monkeypatch):
    """Made key, shown cases, exported request, signed elsewhere, handed in by somebody else; a key is not written over."""
    version = platform(signature="required")
    key, request, signed = (tmp_path / name for name in ("lee.key", "request.json", "request.signed.json"))
    public = review("keygen", key).output.split()[-1]
    assert key.stat().st_mode & 0o777 == 0o600
    assert "is there already" in refused("keygen", key)
    repository.commit(person(public_key=public))
    assert "have to be signed" in refused(LINE, "--decision", "approve")
    review("sheet", LINE, tmp_path / "sheet.html", "--by", "lee", "--per-stratum", 1)
    review("request", LINE, request, "--version", 12, "--by", "Dr. Amira Lee")
    with monkeypatch.context() as elsewhere:
        # The machine of whoever signs knows nothing of the platform.
        elsewhere.setenv("PLATFORM_HOME", str(tmp_path / "nowhere"))
        elsewhere.setenv("PLATFORM_REVIEWERS", str(tmp_path / "nowhere.yaml"))
        elsewhere.setenv("PLATFORM_SPECS", "[]")
        told = review(
            "sign",
            request,
            "--key",
            key,
            "--decision",
            "approve",
            "--comment",
            "seen",
            "--anomaly",
            "one anatomy",
        ).output
        assert "pass        gate.auc: observed 0.61, demanded > 0.5" in told
        assert not (tmp_path / "nowhere").exists()
    monkeypatch.setenv("PLATFORM_PRINCIPAL__USER", "courier")
    altered = tmp_path / "altered.json"
    altered.write_bytes(signed.read_bytes().replace(b"one anatomy", b"no anomaly!"))
    assert "the signature is wrong" in refused("add", altered)
    review("add", signed)
    (entry,) = version.outside.ledger.entries(kind=REVIEW)
    found = review_of(entry)
    assert (found.authenticated, entry.principal) == ("ed25519 signature", "courier")
    assert found.statement.residual_anomalies == ("one anatomy",)
    assert found.statement.cases_viewed == len(
        list(version.outside.ledger.get(found.statement.accesses[0]).body["objects"])
    )
    assert key.read_text().strip() not in entry.raw.decode()
    assert key.read_text().strip() not in signed.read_text()
    assert "nothing is missing" in review("show", LINE).output


def test_the_job_of_the_ui_records_the_same(platform, repository, tmp_path):
    """By launchpad config, or by the content of a signed file; what contradicts itself is refused."""
    version = platform()
    key = tmp_path / "lee.key"
    public = review("keygen", key).output.split()[-1]
    repository.commit(person(public_key=public))
    assert "nothing is decided" in (run_job(version, version=12) or "")
    assert "nobody is named" in (run_job(version, decision="approve") or "")
    assert run_job(version, by="lee", decision="reject", comment="misses effusions") is None
    review("request", LINE, tmp_path / "r.json")
    review("sign", tmp_path / "r.json", "--key", key, "--decision", "approve")
    signed = (tmp_path / "r.signed.json").read_text()
    both = run_job(version, signed=signed, by="lee", decision="approve")
    assert "the signed review says all of it; leave out by, decision" in (both or "")
    assert run_job(version, signed=signed) is None

    decisions = [review_of(each).statement.decision for each in version.outside.ledger.entries(kind=REVIEW)]
    assert decisions == ["reject", "approve"]


def test_a_request_that_somebody_else_wrote_is_read_with_care(platform, repository, tmp_path):
    """A validity beyond all bounds is refused, and a terminal is sent nothing but text."""
    platform()
    key, file = tmp_path / "lee.key", tmp_path / "request.json"
    repository.commit(person(public_key=review("keygen", key).output.split()[-1]))
    review("request", LINE, file)
    content = json.loads(file.read_text())
    for days in (1e12, float("inf"), float("nan")):
        file.write_text(json.dumps(content | {"valid_days": days}))
        assert "valid_days" in refused("sign", file, "--key", key, "--decision", "approve")
    file.write_text(json.dumps(content | {"intended_use": "\x1b[2Kall\r", "printed_name": "\x1b[31mLee"}))
    told = review("sign", file, "--key", key, "--decision", "approve").output

    assert "\x1b" not in told
    assert "\r" not in told


def test_a_key_that_is_taken_for_another_file_is_not_shown(platform, tmp_path):
    """Where the arguments were swapped, or the key is handed in: not a sign of it is told."""
    version = platform()
    key = tmp_path / "lee.key"
    review("keygen", key)
    told = [
        refused("add", key),
        refused("sign", key, "--key", key, "--decision", "approve"),
        run_job(version, signed=key.read_text()) or "",
    ]

    for each in told:
        assert "Invalid JSON" in each
        assert key.read_text()[:8] not in each


def test_only_a_line_that_asks_for_reviews_has_the_job(tmp_path):
    """Others have the job of the line alone."""
    asking, other = reviewed_line(tmp_path), load_line(SMALL_SPEC)

    assert [job.name for job in line_jobs(asking)] == [LINE, job_name(LINE)]
    assert [job.name for job in line_jobs(other)] == [other.name]


def test_a_request_that_was_altered_is_not_taken(platform, repository, tmp_path):
    """Signed by the very person, and all the same of something else than the platform has exported."""
    version = platform()
    key, file = tmp_path / "lee.key", tmp_path / "request.json"
    repository.commit(person(public_key=review("keygen", key).output.split()[-1]))
    review("request", LINE, file)
    (shown,) = json.loads(file.read_text())["criteria"]
    unrecorded = {key: value for key, value in shown.items() if key != "entry"}
    other = f"{LINE}_model@better"
    judged = verdict_of(version.outside.ledger.get(shown["entry"]))
    better = record(
        version.outside.ledger, judged.model_copy(update={"subject": other}), evaluation_id="other"
    )
    for at, (field, value, told) in enumerate(
        (
            ("criteria", [], "what was signed does not show gate.auc"),
            ("criteria", [unrecorded | {"observed": 0.99}], "the ledger has no such verdict of gate.auc"),
            (
                "criteria",
                [{"rule_set": "gate.auc", "subject": shown["subject"], "outcome": "missing"}],
                "no such verdict",
            ),
            ("criteria", [shown | {"subject": other, "entry": better.hash}], "shows gate.auc of .*@better"),
            ("intended_use", "Anything.", "what was signed states another intended use"),
        )
    ):
        cut = tmp_path / f"{at}.json"
        cut.write_text(json.dumps(json.loads(file.read_text()) | {field: value}))
        review("sign", cut, "--key", key, "--decision", "approve")
        assert re.search(told, refused("add", cut.with_suffix(".signed.json")))
    review("sign", file, "--key", key, "--decision", "approve")
    worse = judged.model_copy(update={"evidence": judged.evidence | {"observed": 0.51}})
    record(version.outside.ledger, worse, evaluation_id="again")
    assert "gate.auc was judged again since" in refused("add", file.with_suffix(".signed.json"))
