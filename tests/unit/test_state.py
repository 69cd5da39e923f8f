from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from collector.state import KEY_BYTES, VERSION, KeyLost, StateError, locked, pseudonym_key

HOLDER = """
import sys
from pathlib import Path
from collector.state import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "state") as directory:
        assert directory.stat().st_mode & 0o777 == 0o700


def test_directory_held_by_another_process_is_refused(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StateError, match="in use by another collector"), locked(tmp_path):
            pass
        holder.stdin.close()
        holder.wait()
    with locked(tmp_path):
        pass


def test_directory_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.kill()
        holder.wait()
    with locked(tmp_path):
        pass


def test_directory_that_is_a_file_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StateError, match="cannot be made"), locked(tmp_path / "state"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_directory_without_permission_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o500)
    with pytest.raises(StateError, match="no permission"), locked(tmp_path / "state"):
        pass


def test_directory_says_its_version(tmp_path: Path) -> None:
    with locked(tmp_path):
        assert (tmp_path / "version").read_text() == f"{VERSION}\n"
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("older", [None, "", "1\n"])
def test_directory_of_an_older_version_is_taken_over(tmp_path: Path, older: str | None) -> None:
    pseudonym_key(tmp_path / "pseudonym.key", tmp_path)
    if older is not None:
        (tmp_path / "version").write_text(older)
    with locked(tmp_path):
        assert (tmp_path / "version").read_text() == f"{VERSION}\n"


def test_directory_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "version").write_text(f"{VERSION + 1}\n")
    wanted = f"of version {VERSION + 1}, newer than this collector's .* install the collector"
    with pytest.raises(StateError, match=wanted), locked(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"version"}


def test_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    key = pseudonym_key(tmp_path / "key", tmp_path)
    assert len(key) == KEY_BYTES
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert pseudonym_key(tmp_path / "key", tmp_path) == key


def test_keys_of_two_collectors_differ(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    keys = {pseudonym_key(tmp_path / name / "key", tmp_path / name) for name in ("a", "b")}
    assert len(keys) == 2


def test_lost_key_of_a_directory_that_took_reports_is_not_made_anew(tmp_path: Path) -> None:
    key = tmp_path / "key"
    first = pseudonym_key(key, tmp_path)
    key.unlink()
    with pytest.raises(KeyLost, match="--new-pseudonym-key"):
        pseudonym_key(key, tmp_path)
    assert not key.exists()
    second = pseudonym_key(key, tmp_path, new=True)
    assert second not in (first, pseudonym_key(tmp_path / "third", tmp_path, new=True))


def test_key_that_is_another_is_refused_until_it_is_meant(tmp_path: Path) -> None:
    key = tmp_path / "key"
    pseudonym_key(key, tmp_path)
    key.write_text("ab" * KEY_BYTES)
    with pytest.raises(KeyLost, match="is not the one"):
        pseudonym_key(key, tmp_path)
    assert pseudonym_key(key, tmp_path, new=True) == bytes.fromhex("ab" * KEY_BYTES)
    assert pseudonym_key(key, tmp_path) == bytes.fromhex("ab" * KEY_BYTES)


def test_key_of_an_earlier_version_is_known_again_from_now_on(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("cd" * KEY_BYTES)
    assert pseudonym_key(tmp_path / "key", tmp_path) == bytes.fromhex("cd" * KEY_BYTES)
    (tmp_path / "key").unlink()
    with pytest.raises(KeyLost):
        pseudonym_key(tmp_path / "key", tmp_path)


def test_fingerprint_tells_nothing_of_the_key(tmp_path: Path) -> None:
    key = pseudonym_key(tmp_path / "key", tmp_path)
    written = (tmp_path / "pseudonym.fingerprint").read_text()
    assert not any(key.hex()[at : at + 8] in written for at in range(56))
    assert (tmp_path / "pseudonym.fingerprint").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ["", "zz" * 32, "ab" * 31, "ab" * 33, "ü"])
def test_file_that_is_no_key_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text, encoding="utf-8")
    with pytest.raises(StateError, match="is no pseudonym key"):
        pseudonym_key(tmp_path / "key", tmp_path)
    assert (tmp_path / "key").read_text(encoding="utf-8") == text


def test_key_in_a_missing_directory_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be made"):
        pseudonym_key(tmp_path / "missing" / "key", tmp_path)


def test_key_that_is_a_directory_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be read"):
        pseudonym_key(tmp_path, tmp_path)
