"""A state directory of an earlier version is migrated in place, and loses nothing by it."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from collector.memory import Action, Choice, Memory, Notice, State, path_in
from collector.metrics import Metrics
from collector.outbox import FILE, OutboxFile, check_at_start, recover, set_aside
from collector.outbox.layout import VERSION
from collector.privacy import Pseudonymiser, ServerPseudonym
from collector.state import StateInUse, locked
from collector.upgrade import migrate_outboxes
from collector.worker import directories
from tests.old_state import T0, WAITING, lay
from tests.owners import uuid_of
from tests.sender import KEY

PSEUDONYMS = Pseudonymiser(KEY)
ROOT = Path(__file__).parents[2]
KILLED = """
import os, sys
from pathlib import Path
from collector import upgrade
from collector.memory import Memory
from collector.outbox import OutboxFile
state, where, skipped = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
calls = 0

def dying(kind, name, first):
    done = getattr(kind, name)
    def work(*args, **kwargs):
        global calls
        calls += 1
        if calls <= skipped:
            return done(*args, **kwargs)
        if not first:
            done(*args, **kwargs)
        os.kill(os.getpid(), 9)
    setattr(kind, name, work)

kind = {"import_legacy": Memory, "drop_legacy": OutboxFile}[where.split(":")[1]]
dying(kind, where.split(":")[1], where.startswith("before"))
upgrade.migrate_outboxes(state, Memory(state))
"""


def server(number: int) -> ServerPseudonym:
    return PSEUDONYMS.server(uuid_of(number))


def mark(number: int) -> str:
    return PSEUDONYMS.mark(server(number))


def check_whole(state: Path) -> None:
    """All that the old state directory remembered is in the memory, and every report waits."""
    memory = Memory(state)
    assert {one.owner: one for one in memory.choices.all()} == {
        mark(5): Choice(PSEUDONYMS.mark(server(5)), True, T0 + 5500),
        mark(7): Choice(PSEUDONYMS.mark(server(7)), False, T0 + 7500),
        mark(8): Choice(PSEUDONYMS.mark(server(8)), True, T0 + 8000),
    }
    assert {one.owner for one in memory.choices.all(unsynced=True)} == {mark(7), mark(8)}
    asked = memory.erasures.all(*State)
    assert sorted((one.asked_ns - T0, one.server, one.action, one.state) for one in asked) == [
        (5000, server(1), Action.ERASE, State.QUEUED),
        (5500, server(6), Action.ERASE, State.ACCEPTED),
        (6000, server(2), Action.OPT_OUT, State.QUEUED),
        (6500, server(4), Action.ERASE, State.PLANNED),
        (6700, server(3), Action.NOTICE, State.ACCEPTED),
    ]
    planned = next(one for one in asked if one.state is State.PLANNED)
    assert (planned.until_ns, planned.found[:12]) == (T0 + 6600, '{"waiting": ')
    assert memory.erasures.notices() == [
        Notice(PSEUDONYMS.mark(server(9)), T0 + 9000, "2026-11-20,2026-11-21")
    ]
    assert memory.erasures.erased() == {mark(9): T0 + 9000, mark(1): T0 + 100}
    values = {(one.tag, one.value) for one in memory.tags.values()}
    assert {("distro", f"Distro{number}") for number in range(3)} <= values
    for own in directories(state):
        with OutboxFile(own / FILE) as file:
            assert file.legacy() == {}
            waiting = file.read(max_lines=1000)
            assert len(waiting) == WAITING[own.name if own != state else "outbox"]
            assert {(one.target, one.sender) for one in waiting} == {("usage_raw", "asl")}
            (letter,) = file.dead_letters()
            assert (letter.target, letter.sender) == ("usage_raw", "asl")
        with closing(sqlite3.connect(own / FILE)) as database:
            assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert set_aside(own) == []


def test_state_of_three_workers_is_migrated_and_nothing_is_lost(tmp_path: Path) -> None:
    lay(tmp_path)
    for _ in range(2):
        migrate_outboxes(tmp_path, Memory(tmp_path))
        check_whole(tmp_path)
    # Neither a choice's owner nor an erasure's server stays in a page of an outbox.
    for own in directories(tmp_path):
        assert mark(8).encode() not in (own / FILE).read_bytes()


@pytest.mark.parametrize(
    "where", ["before:import_legacy", "after:import_legacy", "after:drop_legacy"]
)
@pytest.mark.parametrize("outbox", [0, 2])
def test_killed_in_the_middle_the_next_run_brings_it_to_the_same_end(
    tmp_path: Path, where: str, outbox: int
) -> None:
    lay(tmp_path)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path, where, str(outbox)], cwd=ROOT, check=False
    )
    assert killed.returncode == -9
    migrate_outboxes(tmp_path, Memory(tmp_path))
    check_whole(tmp_path)


def test_damaged_outbox_of_an_earlier_version_gives_what_it_remembers(tmp_path: Path) -> None:
    lay(tmp_path)
    path = tmp_path / FILE
    content = path.read_bytes()
    path.write_bytes(b"\xff" * 4096 + content[4096:])
    migrate_outboxes(tmp_path, Memory(tmp_path))
    (aside,) = set_aside(tmp_path)
    with OutboxFile(path) as file:
        found = recover(aside, file, PSEUDONYMS.mark, {}, max_bytes=1 << 30)
    # Whether they were delivered was said in a page that is gone: all are given again.
    assert found.reports >= WAITING["outbox"]
    choices = {one.owner: one.out for one in Memory(tmp_path).choices.all()}
    assert choices == {mark(5): True, mark(7): False, mark(8): True}
    queued = Memory(tmp_path).erasures.all(State.QUEUED)
    assert {one.server for one in queued} == {server(1), server(2)}


def test_outbox_of_a_running_collector_of_an_earlier_version_is_left_alone(tmp_path: Path) -> None:
    lay(tmp_path)
    with locked(tmp_path / "worker-1"), pytest.raises(StateInUse, match="restart it first"):
        migrate_outboxes(tmp_path, Memory(tmp_path))
    migrate_outboxes(tmp_path, Memory(tmp_path))
    check_whole(tmp_path)


def test_outbox_of_an_earlier_version_laid_back_is_migrated_again(tmp_path: Path) -> None:
    lay(tmp_path)
    shutil.copy(tmp_path / FILE, tmp_path / "copy")
    migrate_outboxes(tmp_path, Memory(tmp_path))
    (tmp_path / "copy").replace(tmp_path / FILE)
    Path(f"{path_in(tmp_path)}").unlink()
    check_at_start(tmp_path / FILE, Metrics())
    migrate_outboxes(tmp_path, Memory(tmp_path))
    assert mark(8) in {one.owner for one in Memory(tmp_path).choices.all()}
