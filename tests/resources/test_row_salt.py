"""The salt of row hashes: made once, kept secret, the same for everybody who asks."""

import hashlib
import hmac
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from resources.row_salt import SALT_VARIABLE, RowSaltError, row_salt, salted_hash

PRINT_SALT = (
    "import sys; from pathlib import Path; from resources.row_salt import row_salt;"
    " sys.stdin.readline(); print(row_salt(Path(sys.argv[1])).decode())"
)


@pytest.fixture(autouse=True)
def _no_stated_salt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SALT_VARIABLE, raising=False)


def test_salt_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    """The first call makes a salt that only the owner may read; later calls give the same one."""
    salt = row_salt(tmp_path)
    assert len(salt) == 64
    assert row_salt(tmp_path) == salt
    assert [file.name for file in (tmp_path / "keys").iterdir()] == ["row-salt"]
    assert stat.S_IMODE((tmp_path / "keys" / "row-salt").stat().st_mode) == 0o600


def test_salts_of_two_homes_differ(tmp_path: Path) -> None:
    """A salt is random: nobody can know it from another installation."""
    assert row_salt(tmp_path / "a") != row_salt(tmp_path / "b")


def test_environment_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A salt in the environment is used, and no file is made."""
    monkeypatch.setenv(SALT_VARIABLE, "sixteen-or-more-characters")
    assert row_salt(tmp_path) == b"sixteen-or-more-characters"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stated", ["", "  ", "too short"])
def test_short_salt_is_refused_without_being_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stated: str
) -> None:
    """A salt that can be guessed is no salt; the message does not quote it."""
    monkeypatch.setenv(SALT_VARIABLE, stated)
    with pytest.raises(RowSaltError, match="at least 16") as caught:
        row_salt(tmp_path)
    assert "too short" not in str(caught.value)


def test_damaged_file_is_refused(tmp_path: Path) -> None:
    """A truncated file is an error: a new salt would silently change every hash."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "row-salt").write_text("")
    with pytest.raises(RowSaltError, match="row-salt"):
        row_salt(tmp_path)


def test_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Where no file can be made, the error names it and the variable to set instead."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RowSaltError, match=SALT_VARIABLE):
        row_salt(tmp_path / "file")


def test_processes_that_start_at_once_share_one_salt(tmp_path: Path) -> None:
    """Of several processes that make the salt at the same moment, all end up with one and the same."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PRINT_SALT, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for process in processes:  # each waits for a line, so that none has a head start
        process.stdin.write("go\n")
        process.stdin.flush()
    salts = {process.communicate(timeout=60)[0] for process in processes}
    assert len(salts) == 1
    assert salts != {""}


def test_salted_hash_is_hmac_sha256() -> None:
    """The hash is the standard construction, so that an auditor needs no code of ours."""
    assert salted_hash(b"salt", b"row") == hmac.new(b"salt", b"row", hashlib.sha256).hexdigest()
    assert salted_hash(b"salt", b"row") != salted_hash(b"other", b"row")
