"""Commands that root runs on the state directory of another user leave nothing of root's in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.identity import become_owner
from collector.outbox import FILE, Entry, OutboxFile
from collector.privacy import ServerPseudonym
from tests.conftest import Databases, clean_environment
from tests.old_state import lay
from tests.owners import uuid_of
from tests.sender import GUARD_S

OWNER = 54_321
"""A user that no system has."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def readable_python() -> list[str]:
    """What stands before a command so that every user can read this Python.

    Where it lies under a directory of root's alone, the command sees that directory with nothing
    but the Python in it.
    """
    library = Path(os.__file__)
    closed = [path for path in library.parents if not path.stat().st_mode & 0o001]
    if not closed:
        return []
    hidden, python = closed[-1], Path(sys.base_prefix)
    script = (
        f'mount --bind "{python}" /mnt && mount -t tmpfs -o mode=755 tmpfs "{hidden}"'
        f' && mkdir -p "{python}" && mount --move /mnt "{python}" && exec "$@"'
    )
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("this Python can be read by root alone, and there is no unshare")
    return [unshare, "--mount", "sh", "-c", script, "sh"]


def run(state: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = clean_environment() | {"COLLECTOR_STATE_DIR": str(state), **settings}
    # It would be written into the working directory, which is root's.
    environment = {name: said for name, said in environment.items() if "COVERAGE" not in name}
    return subprocess.run(
        [*readable_python(), sys.executable, "-m", "collector", *arguments],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=GUARD_S,
        check=False,
    )


def content(state: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file and directory: its owner, its mode and what is in it."""
    return {
        str(path.relative_to(state)): (
            path.lstat().st_uid,
            path.lstat().st_mode,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(state.rglob("*"))
    }


@pytest.fixture
def state() -> Iterator[Path]:
    """A state directory of version 2 that belongs to a user without a name."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        made = Path(directory) / "state"
        made.mkdir(mode=0o700)
        lay(made)
        for path in (made, *made.rglob("*")):
            os.chown(path, OWNER, OWNER)
        yield made


@needs_root
def test_commands_of_root_leave_nothing_of_roots(state: Path, databases: Databases) -> None:
    before = content(state)
    asked = run(state, "check", **databases.environment)
    assert content(state) == before, "check changes nothing"
    assert "7 undelivered reports" in asked.stdout, asked.stderr
    for arguments in (
        ("outbox", "dead"),
        ("outbox", "retry"),
        ("my-data", "queue"),
        ("my-data", "opt-out", uuid_of(3)),
        ("rollup", "--from", "yesterday"),
    ):
        done = run(state, *arguments, **databases.environment)
        assert f"running as {OWNER}" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
        assert {path.lstat().st_uid for path in state.rglob("*")} == {OWNER}, arguments
    assert (state / "memory" / "memory.sqlite3").exists()


@needs_root
def test_check_tells_of_files_that_root_left_there(state: Path) -> None:
    os.chown(state / "pseudonym.key", 0, 0)
    said = run(state, "check").stdout
    assert "belong to another user" in said or "cannot be read" in said


def test_root_that_may_not_become_the_owner_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert become_owner(tmp_path / "none") is None
    if tmp_path.stat().st_uid == 0:
        assert become_owner(tmp_path) is None
        os.chown(tmp_path, OWNER, OWNER)
    program = (
        "import os, sys; from pathlib import Path; from collector.identity import become_owner\n"
        "os.geteuid = lambda: 0\n"
        "def refused(*_): raise PermissionError(1, 'Operation not permitted')\n"
        "os.setgroups = refused\n"
        "become_owner(Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "root may not become that user here" in done.stderr
    assert "run this command as" in done.stderr


def test_check_makes_and_migrates_nothing(tmp_path: Path) -> None:
    nowhere = {"COLLECTOR_INFLUX_URL": "http://127.0.0.1:9"}
    said = run(tmp_path / "state", "check", **nowhere)
    assert "not there yet; `collector serve` makes it" in said.stdout
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "state").mkdir(mode=0o700)
    said = run(tmp_path / "state", "check", **nowhere)
    assert "no pseudonym key yet" in said.stdout
    assert list((tmp_path / "state").iterdir()) == []


def test_check_counts_what_is_in_a_log_that_a_crash_left(tmp_path: Path) -> None:
    live, crashed = tmp_path / "live", tmp_path / "crashed"
    live.mkdir()
    with OutboxFile(live / FILE) as file:
        file.append(Entry(1, ServerPseudonym("s"), 1, b"m f=1i 1"))
        shutil.copytree(live, crashed)
        (crashed / f"{FILE}-shm").unlink()
        before = content(crashed)
        for state in (live, crashed):
            said = run(state, "check", COLLECTOR_INFLUX_URL="http://127.0.0.1:9").stdout
            assert "1 undelivered reports" in said
        assert content(crashed) == before
