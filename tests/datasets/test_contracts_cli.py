"""`platform-assets contracts`: a quality gate that a pipeline can trust by its exit status alone."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from platform_assets.cli import app
from platform_assets.datasets.contract import CONTRACTS_FOLDER, load_contract
from platform_assets.datasets.errors import ContractError, DatasetError
from platform_assets.datasets.row_hash import row_hashes
from platform_assets.datasets.snapshots import content_hash
from platform_assets.outside_systems import OutsideSystems
from resources.row_salt import row_salt
from resources.settings import PlatformSettings

TRANSACTIONS = Path(__file__).parents[1] / "fixtures" / "transactions"
GOOD, BAD = TRANSACTIONS / "good.csv", TRANSACTIONS / "bad.csv"
SHIPPED = ("--contract", "transactions.yaml")
LABELS = """\
name: reviews
expectations:
  - {type: expect_column_values_to_be_in_set, kwargs: {column: label, value_set: [0, 1]}, meta: {domain: label}}
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlatformSettings:
    """Settings with a home of their own, found through the environment."""
    for name in [name for name in os.environ if name.startswith("PLATFORM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))
    return PlatformSettings()


@pytest.fixture(autouse=True)
def _own_home(settings: PlatformSettings) -> None:
    """Every command of this file acts in a home of its own."""


def contracts(*arguments: object) -> Result:
    """Run `platform-assets contracts …` in this process."""
    return CliRunner().invoke(app, ["contracts", *map(str, arguments)])


def as_json(*arguments: object) -> dict[str, Any]:
    """What a check prints with --json, whatever its exit status."""
    printed: dict[str, Any] = json.loads(contracts("check", *arguments, "--json").stdout)
    return printed


def written_to(settings: PlatformSettings, *labels: int) -> pd.DataFrame:
    """Stage a small table of reviews as the newest write of the line `reviews_sentiment`."""
    texts = [f"t{row}" for row in range(len(labels))]
    frame = pd.DataFrame(
        {
            "review_id": [hashlib.sha256(text.encode()).hexdigest() for text in texts],
            "text": texts,
            "label": pd.Series(labels, dtype="int32"),
            "source": "imdb",
            "split": "train",
        }
    )
    rows = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    OutsideSystems(settings).warehouse.stage(
        "datasets.reviews_sentiment",
        rows,
        content_hash=content_hash(rows),
        gdpr_class="personal",
        retention_days=30,
        source_commit="c0ffee",
    )
    return rows.to_pandas()


def test_good_file_passes_every_domain() -> None:
    """A good file exits 0 with a line for the schema and for each domain."""
    done = contracts("check", GOOD, *SHIPPED)
    assert done.exit_code == 0
    assert [line.split(":")[0].split() for line in done.stdout.splitlines()] == [
        ["pass", f"contract.{domain}"] for domain in ("schema", "core_transaction", "money")
    ]


def test_bad_file_fails_with_its_reasons() -> None:
    """A bad file exits 1, with a line for each failed expectation, and a failed warning among them."""
    done = contracts("check", BAD, *SHIPPED)
    assert done.exit_code == 1
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["fail", "contract.schema:"],
        ["fail", "critical"],
        ["fail", "contract.core_transaction:"],
        *[["fail", "critical"]] * 2,
        ["fail", "contract.money:"],
        ["fail", "critical"],
        ["fail", "warning"],
        ["fail", "critical"],
    ]
    assert "Key `order_id` holds nulls: 1." in done.stdout


def test_gates_are_chosen_by_domain(tmp_path: Path) -> None:
    """Asked for one domain, the check evaluates that one: what is wrong elsewhere does not count."""
    file = tmp_path / "t.csv"
    file.write_text(GOOD.read_text().replace("19.90", "-19.90"))
    assert contracts("check", file, *SHIPPED, "--domain", "core_transaction").exit_code == 0
    assert contracts("check", file, *SHIPPED, "--domain", "money").exit_code == 1
    both = as_json(file, *SHIPPED, "--domain", "schema", "--domain", "core_transaction")
    assert [each["domain"] for each in both["domains"]] == ["schema", "core_transaction"]
    assert both["passed"] is True


def test_failed_warning_does_not_fail_the_check(tmp_path: Path) -> None:
    """Only critical failures and errors make an exit status of 1; a warning is shown."""
    file = tmp_path / "t.csv"
    file.write_text(GOOD.read_text().replace("19.90", "5000000"))
    done = contracts("check", file, *SHIPPED)
    assert done.exit_code == 0
    assert "fail   warning expect_column_values_to_be_between" in done.stdout


def test_error_fails_the_check(tmp_path: Path) -> None:
    """What cannot be evaluated exits 1: a column that is not there, an amount that is no number."""
    file = tmp_path / "t.csv"
    file.write_text(GOOD.read_text().replace("amount", "total"))
    printed = as_json(file, *SHIPPED, "--domain", "money")
    assert (printed["passed"], printed["domains"][0]["outcome"]) == (False, "error")
    assert contracts("check", file, *SHIPPED, "--domain", "money").exit_code == 1
    file.write_text(GOOD.read_text().replace("19.90", "plenty"))
    assert as_json(file, *SHIPPED, "--domain", "money")["domains"][0]["outcome"] == "error"


def test_json_tells_what_a_pipeline_needs(settings: PlatformSettings) -> None:
    """JSON holds the run, each domain and each result with counts, percents and row hashes; no cell value."""
    printed = as_json(BAD, *SHIPPED, "--domain", "core_transaction")
    assert (printed["passed"], printed["contract"], printed["rows"]) == (False, "transactions", 5)
    assert printed["ge_run_id"].startswith("contracts-check/")
    (domain,) = printed["domains"]
    assert (domain["domain"], domain["outcome"]) == ("core_transaction", "fail")
    assert domain["results"][0] == {
        "type": "expect_column_values_to_not_be_null",
        "column": "order_id",
        "severity": "critical",
        "outcome": "fail",
        "unexpected_count": 1,
        "element_count": 5,
        "unexpected_percent": 20.0,
        "observed": None,
        "reason": "1 of 5 values of column `order_id` are unexpected.",
        "row_hashes": domain["results"][0]["row_hashes"],
        "engine": "great_expectations",
    }
    assert [len(result["row_hashes"]) for result in domain["results"]] == [1, 2, 0]
    assert "T-2003" not in json.dumps(printed)
    assert (
        as_json(BAD, *SHIPPED, "--domain", "core_transaction")["domains"][0]["results"][0]
        == (domain["results"][0])
    )


def test_changed_schema_is_its_own_domain(tmp_path: Path) -> None:
    """A column that was added fails the schema and says so; the other domains are evaluated all the same."""
    file = tmp_path / "t.csv"
    pd.read_csv(GOOD, dtype=str).assign(note="x").to_csv(file, index=False)
    printed = as_json(file, *SHIPPED)
    assert [(each["domain"], each["outcome"]) for each in printed["domains"]] == [
        ("schema", "fail"), ("core_transaction", "pass"), ("money", "pass"),
    ]  # fmt: skip
    assert printed["domains"][0]["reason"] == "Column `note` was added."


def test_other_formats_keep_their_types(tmp_path: Path) -> None:
    """Parquet and JSON lines are checked under the same contract as csv."""
    frame = pd.read_csv(GOOD, parse_dates=["created_at"])
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True, date_format="iso")
    for name in ("t.parquet", "t.jsonl"):
        done = contracts("check", tmp_path / name, *SHIPPED)
        assert (done.exit_code, done.stdout.count("pass")) == (0, 3), done.stdout


def test_contract_beside_the_caller_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A contract file of the working directory is taken before one of that name that ships."""
    shipped = (CONTRACTS_FOLDER / "transactions.yaml").read_text()
    (tmp_path / "transactions.yaml").write_text(shipped.replace("name: transactions", "name: mine"))
    monkeypatch.chdir(tmp_path)
    assert as_json(GOOD, *SHIPPED)["contract"] == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((GOOD,), "a file belongs to no line"),
        ((GOOD, "--contract", "nowhere.yaml"), "there is no file nowhere.yaml"),
        ((GOOD, *SHIPPED, "--domain", "money", "--domain", "colour"), "there is no colour here"),
        ((GOOD, *SHIPPED, "--domain", ""), "there is no"),
        (("reviews_sentiment", "--domain", "schema"), "there is no schema here"),
        ((), "Missing argument"),
    ],
)
def test_wrong_usage_is_told_from_a_failed_gate(arguments: tuple[object, ...], message: str) -> None:
    """Wrong usage exits 2 and says what is wrong; nothing is evaluated."""
    done = contracts("check", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize("target", ["nowhere.csv", "data/t.xml", "package://no_such_package"])
def test_unreadable_file_is_one_clear_error(target: str) -> None:
    """A file that cannot be read is an error for `main` to show, never a pass."""
    assert isinstance(contracts("check", target, *SHIPPED).exception, DatasetError)


def test_header_alone_is_no_pass(tmp_path: Path) -> None:
    """A file with a header and no rows does not pass by vacuity."""
    file = tmp_path / "t.csv"
    file.write_text(GOOD.read_text().splitlines()[0] + "\n")
    assert isinstance(contracts("check", file, *SHIPPED).exception, DatasetError)


@pytest.mark.parametrize("name", ["reviews_sentiment", "reviews_sentiment_dataset"])
def test_dataset_is_checked_as_it_was_written_last(
    settings: PlatformSettings, tmp_path: Path, name: str
) -> None:
    """A dataset's newest write is checked under the contract that is named, with the same row hashes as `examples`."""
    contract = tmp_path / "own.yaml"
    contract.write_text(LABELS)
    written_to(settings, 0, 1, 1)
    assert contracts("check", name, "--contract", contract).exit_code == 0
    frame = written_to(settings, 0, 2, 1)
    printed = as_json(name, "--contract", contract)
    assert (printed["passed"], printed["rows"]) == (False, 3)
    hashes = row_hashes(frame.iloc[1:2], row_salt(settings.home))
    assert printed["domains"][0]["results"][0]["row_hashes"] == list(hashes)


def test_dataset_is_held_against_its_lines_contract(settings: PlatformSettings) -> None:
    """Without a contract named, the one of the line decides; too few rows do not pass."""
    written_to(settings, 0, 1)
    printed = as_json("reviews_sentiment")
    assert printed["contract"] == "reviews"
    assert [each["domain"] for each in printed["domains"]] == list(
        load_contract(CONTRACTS_FOLDER / "reviews.yaml").domains
    )
    assert printed["passed"] is False


def test_dataset_that_was_never_written_is_an_error() -> None:
    """There is nothing to check before the first write, and that is no pass."""
    assert isinstance(contracts("check", "reviews_sentiment").exception, ContractError)


def test_examples_name_each_row_by_its_hash(settings: PlatformSettings) -> None:
    """The rows that `examples` shows carry the hashes that the reports hold."""
    row = written_to(settings, 0, 2, 1).iloc[1:2]
    (expected,) = row_hashes(row, row_salt(settings.home))
    (found,) = json.loads(contracts("examples", "reviews_sentiment", "--json").stdout)
    assert (found["domain"], found["expectation"]) == ("label_quality", "expect_column_values_to_be_in_set")
    assert (found["rows"], found["row_hashes"]) == (row.to_dict("records"), [expected])
    in_report = as_json("reviews_sentiment", "--domain", "label_quality")["domains"][0]["results"][1]
    assert in_report["row_hashes"] == [expected]
    assert f"    {expected}  {{'review_id'" in contracts("examples", "reviews_sentiment").stdout


def test_command_is_quiet_and_fails_by_its_exit_status(settings: PlatformSettings) -> None:
    """As CI runs it: one process, nothing on stderr, no progress bars, JSON alone on stdout, exit status 1."""
    command = [sys.executable, "-m", "platform_assets.cli", "contracts", "check", str(BAD), *SHIPPED]
    done = subprocess.run(
        [*command, "--domain", "core_transaction", "--json"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads(done.stdout)["passed"] is False
