"""Fitted versions: one number for a data version, one object, one entry; and nothing is made of what was altered."""

import json
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.features import versions
from platform_assets.features.declared import load_transformers
from platform_assets.features.diff import diff
from platform_assets.features.errors import FeatureError
from platform_assets.features.transformer_spec import read_transformer
from platform_assets.features.version_making import Made, bins_of, make_version
from platform_assets.features.versions import (
    LATEST_KIND,
    LostVersionError,
    data_version,
    entry_of,
    is_intact,
    latest_version,
    load_fitted,
    make_latest,
    recorded_table,
    resolve,
    split_reference,
    versions_of,
)
from platform_assets.governance.retention import expired
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import TableSnapshot
from resources.settings import PlatformSettings
from tests.features.shops import WOE, declared, sales, write_transformer
from tests.line_factory import ROOT, environment


@pytest.fixture
def outside(tmp_path: Path) -> OutsideSystems:
    """Systems of a home of its own."""
    return OutsideSystems(PlatformSettings(home=tmp_path / "home"))


class Desk:
    """Fits one transformer on a file, again and again."""

    def __init__(self, folder: Path, outside: OutsideSystems) -> None:
        self.folder, self.outside = folder, outside
        self.source = folder / "sales.parquet"
        self.write()

    def write(self, *, rows: int = 300, seed: int = 0) -> None:
        """Another file in its place."""
        table = pa.Table.from_pandas(sales(rows, seed=seed))
        pq.write_table(table, self.source)

    def fit(self, **changes: Any) -> Made:
        """The version of the transformer as it would be declared now."""
        given = {"inputSource": str(self.source), "target": "Sent", "woe": {"event": "back"}} | changes
        path = write_transformer(self.folder / "declared", "sales_woe", WOE, **given)
        made = make_version(declared(path).sound["sales_woe"], None, self.outside)
        make_latest(made.version, self.outside.ledger)
        return made

    def object(self, name: str = "fitted.json") -> Path:
        """Where the first version lies."""
        return self.outside.settings.objects_path / "data" / "models" / "dev" / "sales_woe" / "v1" / name


@pytest.fixture
def desk(tmp_path: Path, outside: OutsideSystems) -> Desk:
    """A file of 300 sales."""
    return Desk(tmp_path, outside)


def test_what_is_fitted_again_is_the_same_version(desk: Desk) -> None:
    """Nothing is fitted, stored or recorded a second time."""
    first, again = desk.fit(), desk.fit()

    assert (first.version.number, first.reused, again.reused) == (1, False, True)
    assert again.version == first.version
    assert again.fitted.to_bytes() == first.fitted.to_bytes()
    assert len(list(desk.outside.ledger.entries())) == 2


def test_the_ledger_says_which_table_a_version_published_last(desk: Desk) -> None:
    """Told again it records nothing; another version, and one that published none, has none."""
    ledger = desk.outside.ledger
    version, other = desk.fit().version, desk.fit(columns=["Amount"]).version
    tables = [
        TableSnapshot(table="features.sales", snapshot_id=each, content_hash="c", rows=1) for each in "78"
    ]
    for table in (*tables, tables[-1]):
        make_latest(version.model_copy(update={"table": table}), ledger)

    assert recorded_table(ledger, version) == tables[-1]
    assert recorded_table(ledger, other) is None
    assert latest_version(ledger, "sales_woe") == version
    assert len(list(ledger.entries(kind=LATEST_KIND))) == 4
    make_latest(other, ledger)
    assert recorded_table(ledger, version) == tables[-1]


@pytest.mark.parametrize(
    "change",
    [{"woe": {"event": "back", "maxBins": 3}}, {"columns": ["Amount"]}, {"outputNames": {"Size": "s"}}],
)
def test_a_change_that_means_something_is_another_version(desk: Desk, change: dict[str, Any]) -> None:
    """It has the next number, and is the latest."""
    first, second = desk.fit().version, desk.fit(**change).version

    assert (second.number, second.data_version != first.data_version) == (2, True)
    assert latest_version(desk.outside.ledger, "sales_woe") == second


def test_other_rows_are_another_version(desk: Desk) -> None:
    """The spec has not moved."""
    first = desk.fit().version
    desk.write(seed=1)

    assert desk.fit().version.number == 2
    assert resolve(desk.outside.ledger, "sales_woe@v1") == first


def test_what_is_taken_back_is_the_version_of_before_and_the_latest(desk: Desk) -> None:
    """A number stays with its data version."""
    first = desk.fit().version
    desk.fit(woe={"event": "back", "maxBins": 3})

    assert desk.fit().version == first
    assert resolve(desk.outside.ledger, "sales_woe@latest") == first
    assert [each.number for each in versions_of(desk.outside.ledger, "sales_woe")] == [1, 2]


def test_comments_layout_and_description_change_nothing(desk: Desk, tmp_path: Path) -> None:
    """Nor do defaults that are written out, another order of keys, and what its type does not read."""
    path = write_transformer(tmp_path, "sales_woe", WOE)
    plain = read_transformer(path).content
    content = yaml.safe_load(path.read_text())
    content["metadata"]["annotations"] = {"platform-assets/description": "Other words."}
    content["spec"]["woe"] |= {"smoothing": 1.0, "monotonic": "auto"}
    content["spec"]["windowDays"] = 7
    path.write_text("# A comment.\n" + yaml.safe_dump(content, sort_keys=True, indent=8))
    told = read_transformer(path).content

    assert told.description == "Other words."
    assert data_version(told.spec, "h") == data_version(plain.spec, "h")


def test_the_kernel_is_part_of_the_version(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that computes otherwise makes another version of the same spec and rows."""
    desk.fit()
    monkeypatch.setattr(versions, "kernel_version", lambda kind: f"another {kind}")

    assert desk.fit().version.number == 2


def test_the_ledger_says_who_fitted_on_which_rows(desk: Desk) -> None:
    """Who, of which file, how many rows, whose they were (as one digest), by which spec; and no id."""
    made = desk.fit(entityKey="sale")
    entry = entry_of(desk.outside.ledger, made.version)

    assert entry.principal == desk.outside.principal
    assert entry.body["version"]["fit_rows"] == 300
    assert entry.body["version"]["input_hash"] == made.version.input_hash
    assert entry.body["spec"] == made.fitted.spec.normalised()
    assert len(entry.body["subjects"]) == 64
    assert "s12" not in json.dumps(entry.body)


def test_the_digest_of_subjects_tells_others_apart(desk: Desk) -> None:
    """Equal people in another order have an equal one."""
    first = entry_of(desk.outside.ledger, desk.fit(entityKey="sale").version).body["subjects"]
    table = pq.read_table(desk.source)
    pq.write_table(table.take(list(range(299, -1, -1))), desk.source)
    turned = entry_of(desk.outside.ledger, desk.fit(entityKey="sale").version).body["subjects"]
    desk.write(rows=299)
    fewer = entry_of(desk.outside.ledger, desk.fit(entityKey="sale").version).body["subjects"]

    assert turned == first
    assert fewer != first


def test_the_manifest_beside_the_state_says_what_it_is(desk: Desk) -> None:
    """Whoever finds the object needs no ledger to know."""
    made = desk.fit()
    manifest = json.loads(desk.object("manifest.json").read_bytes())

    assert manifest["sha256"] == made.version.sha256
    assert manifest["spec"] == made.fitted.spec.normalised()


def test_objects_are_personal_and_expire(desk: Desk) -> None:
    """Nobody says what class a file is of, so it is the one of people; the sweep of retention takes them."""
    version = desk.fit().version
    info = desk.outside.object_store.info(version.object_key)

    def names(days: int) -> set[str]:
        now = datetime.now(UTC) + timedelta(days=days)
        found = expired(
            warehouse=desk.outside.warehouse,
            store=desk.outside.object_store,
            ledger=desk.outside.ledger,
            now=now,
        )
        return {each.name for each in found}

    assert (info.gdpr_class, info.retention_days) == ("personal", 3650)
    assert version.object_key not in names(3649)
    assert version.object_key in names(3651)


def alter(path: Path) -> None:
    """Another bound, in the object and in what the store says of it."""
    path.write_bytes(path.read_bytes().replace(b'"rows":300', b'"rows":301'))


@pytest.mark.parametrize("damage", [Path.unlink, alter])
def test_what_is_lost_or_altered_is_not_used(desk: Desk, damage: Any) -> None:
    """One clear error; the same rows put equal bytes back."""
    version = desk.fit().version
    damage(desk.object())

    with pytest.raises(LostVersionError, match=r"sales_woe@v1: .*materialize sales_woe again"):
        load_fitted(desk.outside.object_store, version)
    again = desk.fit()

    assert again.version == version
    assert is_intact(desk.outside.object_store, version)


def test_an_object_that_was_replaced_with_its_metadata_is_refused(desk: Desk) -> None:
    """The store vouches for the new bytes; the ledger does not."""
    version = desk.fit().version
    other = desk.fit(woe={"event": "back", "maxBins": 3}).version
    desk.outside.object_store.put(
        version.object_key,
        desk.outside.object_store.get(other.object_key),
        gdpr_class="personal",
        retention_days=1,
        source_commit="x",
    )

    with pytest.raises(LostVersionError, match="does not have the bytes that were recorded"):
        load_fitted(desk.outside.object_store, version)


def test_a_version_that_comes_out_otherwise_is_not_put_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine may round otherwise: a version's bytes never change."""
    version = desk.fit().version
    other = desk.fit(woe={"event": "back", "maxBins": 3}).fitted
    desk.object().unlink()
    monkeypatch.setattr("platform_assets.features.table_engine.fit", lambda spec, rows: other)

    with pytest.raises(LostVersionError, match="came out otherwise"):
        desk.fit()
    assert not is_intact(desk.outside.object_store, version)


def test_leftovers_of_a_killed_fit_are_no_version(desk: Desk) -> None:
    """Objects without an entry: the next fit takes their place."""
    desk.outside.object_store.put(
        "models/dev/sales_woe/v1/fitted.json",
        b"half",
        gdpr_class="personal",
        retention_days=1,
        source_commit="x",
    )

    with pytest.raises(FeatureError, match="never fitted"):
        resolve(desk.outside.ledger, "sales_woe@latest")
    assert desk.fit().version.number == 1
    assert is_intact(desk.outside.object_store, resolve(desk.outside.ledger, "sales_woe@latest"))


def test_fits_side_by_side_get_one_number_each(desk: Desk) -> None:
    """Equal ones the same, others another."""
    files = [
        write_transformer(
            desk.folder / str(at),
            "sales_woe",
            WOE,
            inputSource=str(desk.source),
            target="Sent",
            woe={"event": "back", "maxBins": 3 + at % 2},
        )
        for at in range(6)
    ]
    specs = [declared(path).sound["sales_woe"] for path in files]

    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda each: make_version(each, None, desk.outside).version, specs))

    assert {each.number for each in made} == {1, 2}
    assert len({each.data_version for each in made}) == 2
    assert len(versions_of(desk.outside.ledger, "sales_woe")) == 2


@pytest.mark.parametrize(
    "text", ["sales_woe", "sales_woe@3", "sales_woe@v0", "@latest", "Sales@v1", "sales_woe@v1@v2"]
)
def test_what_is_no_reference_is_told(text: str) -> None:
    """With an example of one."""
    with pytest.raises(FeatureError, match=r"write e\.g\. credit_woe@v3"):
        split_reference(text)


def test_a_version_that_never_was_is_told_with_those_that_were(desk: Desk) -> None:
    """Numbers that there are."""
    desk.fit()

    with pytest.raises(FeatureError, match=r"there is no sales_woe@v7; fitted versions of sales_woe: v1"):
        resolve(desk.outside.ledger, "sales_woe@v7")


def test_a_diff_tells_what_moved(desk: Desk) -> None:
    """Fields of the spec, bins, information, and how far the rows are from those of before."""
    before = desk.fit(columns=["Amount"])
    desk.write(seed=3)
    after = desk.fit(woe={"event": "back", "maxBins": 2})

    found = diff(
        (before.version, before.fitted), (after.version, after.fitted), later_rows=after.rows
    ).to_json()

    amount, size = found["columns"]
    assert found["spec"]["woe.maxBins"] == [10, 2]
    assert found["spec"]["columns"] == [["Amount"], ["Amount", "Size"]]
    assert (amount["column"], amount["same_bins"], len(amount["bins"][1])) == ("Amount", False, 3)
    assert amount["psi"] > 0
    assert size["iv"][0] is None
    assert size["psi"] is None


@pytest.mark.parametrize("change", ["missing", "kind", "gone"])
def test_a_diff_is_told_although_rows_of_one_column_do_not_fit_the_version_of_before(
    desk: Desk, change: str
) -> None:
    """A missing value where that was refused, numbers where texts were, or no column: no index of it, and all the rest."""
    whole = sales(300).dropna()
    pq.write_table(pa.Table.from_pandas(whole, preserve_index=False), desk.source)
    before = desk.fit(woe={"event": "back", "missing": "refuse"})
    later = {
        "missing": sales(300),
        "kind": whole.assign(Size=range(len(whole))),
        "gone": whole.drop(columns="Size"),
    }[change]
    after = desk.fit()
    rows = pa.Table.from_pandas(later, preserve_index=False)

    amount, size = diff(
        (before.version, before.fitted), (after.version, after.fitted), later_rows=rows
    ).columns

    assert amount.psi is not None
    assert size.psi is None
    assert size.iv[1] is not None


def test_a_diff_with_itself_is_empty(desk: Desk) -> None:
    """Nothing has moved."""
    made = desk.fit()

    found = diff((made.version, made.fitted), (made.version, made.fitted), later_rows=made.rows)

    assert found.spec == {}
    assert {(each.same_bins, each.largest_step, each.psi) for each in found.columns} == {(True, 0.0, 0.0)}


def test_bins_are_shown_by_column(desk: Desk) -> None:
    """All fitted rows of a column are in one of its bins."""
    made = desk.fit()

    shown = bins_of(made.fitted)  # type: ignore[arg-type]

    assert sum(each["rows"] for each in shown if each["column"] == "Amount") == 300
    assert {each["column"] for each in shown} == {"Amount", "Size"}


def test_broken_files_take_down_nobody_else(tmp_path: Path) -> None:
    """A wrong spec and a name that is taken are told with their file; a folder stands for its files."""
    folder = tmp_path / "given"
    good = write_transformer(folder, "sales_woe", WOE)
    write_transformer(folder / "more", "sales_woe", WOE)
    wrong = write_transformer(folder, "wrong_woe", WOE, windowDays=0)
    found = load_transformers([folder, folder / "more", tmp_path / "missing.yaml"])
    problems = {each.name: each.problem for each in found.broken}

    assert found.sound["sales_woe"].place == str(good)
    assert f"{wrong}:" in problems["wrong_woe"]
    assert "spec.windowDays" in problems["wrong_woe"]
    assert "too; rename one" in problems["sales_woe"]
    assert "cannot be read" in problems["missing"]


def test_names_and_datasets_that_are_not_to_be_had_are_told(tmp_path: Path) -> None:
    """A name of a line or asset, a dataset that no line makes; what ships is left out without its line."""
    found = load_transformers(
        [
            write_transformer(tmp_path, "sales", WOE),
            write_transformer(tmp_path, "other_woe", WOE, inputSource="asset://others_dataset"),
            write_transformer(tmp_path, "sales_woe", WOE),
        ]
    )
    beside = found.among({"sales_dataset"}, {"sales", "sales_dataset"})

    assert set(beside.sound) == {"sales_woe"}
    assert {each.name for each in beside.broken} == {"sales", "other_woe"}
    assert any(
        "no line makes others_dataset; known are sales_dataset" in each.problem for each in beside.broken
    )


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.long)])
def test_a_killed_fit_leaves_one_whole_version_at_last(desk: Desk, tmp_path: Path, kills: int) -> None:
    """At whatever moment it was killed: the next one ends with version 1 and the same bytes."""
    given = {"inputSource": str(desk.source), "target": "Sent", "woe": {"event": "back"}}
    path = write_transformer(tmp_path / "killed", "sales_woe", WOE, **given)
    expected = desk.fit().version.sha256
    moments = random.Random(kills)

    for at in range(kills):
        home = tmp_path / f"home{at}"
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.features.fitter", str(path)],
            env=environment(home),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        with suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0, 0.6))
        process.kill()
        process.communicate()
        made = make_version(
            declared(path).sound["sales_woe"], None, OutsideSystems(PlatformSettings(home=home))
        ).version
        outside = OutsideSystems(PlatformSettings(home=home))
        make_latest(made, outside.ledger)
        assert (made.number, made.sha256) == (1, expected)
        assert [each.number for each in versions_of(outside.ledger, "sales_woe")] == [1]
        assert is_intact(outside.object_store, resolve(outside.ledger, "sales_woe@latest"))


def test_versions_and_diffs_are_commands(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """For people and, as JSON, for machines; the second name may be short."""
    monkeypatch.setenv("PLATFORM_HOME", str(desk.outside.settings.home))
    desk.fit()
    desk.fit(woe={"event": "back", "maxBins": 2})

    def told(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["features", *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    rows = json.loads(told("versions", "sales_woe", "--json"))
    moved = json.loads(told("diff", "sales_woe@v1", "@v2", "--json"))

    assert [(row["version"], row["latest"]) for row in rows] == [
        ("sales_woe@v1", False),
        ("sales_woe@v2", True),
    ]
    assert "● sales_woe@v2" in told("versions")
    assert moved["spec"] == {"woe.maxBins": [10, 2]}
    assert "spec      woe.maxBins: 10 → 2" in told("diff", "sales_woe@v1")
    assert "fitted on the same rows" in told("diff", "sales_woe@v1", "@v1")


def test_versions_of_what_was_never_fitted_are_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the names that there are."""
    monkeypatch.setenv("PLATFORM_HOME", str(desk.outside.settings.home))
    desk.fit()

    with pytest.raises(FeatureError, match=r"others_woe was never fitted; fitted were sales_woe"):
        CliRunner().invoke(app, ["features", "versions", "others_woe"], catch_exceptions=False)
