"""The file of live values on a real disk: whole after a crash, begun anew when damaged."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from collector.memory import Flushed, Journaled, Memory, MemoryUnavailable, Saved, path_in
from collector.schema import LIVE

T = 1_764_000_000 * 10**9
FLUSHED = Flushed(T, 1, b"channels,asterisk=a count=1.0 1", LIVE, "statsd")


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path)


@pytest.fixture
def file(memory: Memory) -> Path:
    memory.live.flush({"a": {"one": "1"}}, [FLUSHED])
    return memory.live.store.path


def test_state_journal_and_flush_are_read_as_they_were_saved(memory: Memory) -> None:
    memory.live.flush({"a": {"one": "1", "two": "2"}, "b": {"one": "9"}}, [FLUSHED])
    datagrams = [b"", b"a:1|c", b"\xff\n\0|", b"x" * 70_000]
    memory.live.save([Journaled("a", T, datagrams), Journaled("b", T, None)], delivered=False)
    memory.live.save([Journaled("a", T + 1, [b"b:1|c"])], delivered=False)
    assert memory.live.read() == Saved(
        {"a": {"one": "1", "two": "2"}, "b": {"one": "9"}},
        [Journaled("a", T, datagrams), Journaled("b", T, None), Journaled("a", T + 1, [b"b:1|c"])],
        [FLUSHED],
    )


def test_flush_changes_states_and_ends_the_journal(memory: Memory) -> None:
    memory.live.flush({"a": {"one": "1", "two": "2"}}, [FLUSHED])
    memory.live.save([Journaled("a", T, [b"a:1|c"])], delivered=True)
    assert memory.live.read().flushes == []
    memory.live.flush({"a": {"one": None, "two": "3", "gone": None}}, [])
    assert memory.live.read() == Saved({"a": {"two": "3"}}, [], [])


def test_asterisk_that_is_out_of_the_file_is_forgotten(memory: Memory) -> None:
    memory.live.flush({"a": {"one": "1"}, "b": {"one": "2"}}, [])
    memory.live.save([Journaled("a", T, [b"a:1|c"]), Journaled("b", T, [b"b"])], delivered=True)
    memory.live.forget(but=["b"])
    assert memory.live.read() == Saved({"b": {"one": "2"}}, [Journaled("b", T, [b"b"])], [])


def test_what_was_saved_survives_a_kill(memory: Memory, tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from collector.memory import *\n"
        "live = Memory(Path(sys.argv[1])).live\n"
        "live.flush({'a': {'one': '1'}}, [])\n"
        "live.save([Journaled('a', 5, [b'x'])], delivered=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert memory.live.read() == Saved({"a": {"one": "1"}}, [Journaled("a", 5, [b"x"])], [])


def test_writing_live_values_is_no_change_to_those_who_watch_the_memory(memory: Memory) -> None:
    memory.choices.all()
    before = memory.store.stamp()
    memory.live.flush({"a": {"one": "1"}}, [])
    memory.live.save([Journaled("a", T, [b"x"])], delivered=True)
    assert memory.store.stamp() == before


def test_memory_of_an_earlier_version_is_used_as_it_is_and_gets_the_file_beside_it(
    memory: Memory, tmp_path: Path
) -> None:
    memory.choices.all()
    before = path_in(tmp_path).read_bytes()
    assert not memory.live.store.path.exists()
    assert memory.live.read() == Saved({}, [], [])
    assert memory.live.store.path.exists()
    assert path_in(tmp_path).read_bytes() == before


def test_damaged_file_is_set_aside_and_a_new_one_begun(memory: Memory, file: Path) -> None:
    file.write_bytes(b"\xff" * file.stat().st_size)
    assert memory.live.read() == Saved({}, [], [])
    memory.live.flush({"a": {"one": "1"}}, [])
    assert memory.live.read().states == {"a": {"one": "1"}}
    assert list(file.parent.glob(f"{file.name}.damaged-*"))
    assert path_in(file.parent.parent).name != file.name


def test_damaged_row_ends_nothing(memory: Memory, file: Path) -> None:
    memory.live.save([Journaled("a", T, [b"x"])], delivered=False)
    for damage in ("x'00'", "'text'", "x'789c'"):
        with closing(sqlite3.connect(file)) as database, database:
            database.execute(f"UPDATE journal SET datagrams = {damage}")
        assert memory.live.read() == Saved({}, [], [])
        memory.live.save([Journaled("a", T, [b"x"])], delivered=False)


def test_file_of_a_newer_version_is_refused(memory: Memory, file: Path) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(MemoryUnavailable, match="of version 99, newer than this one's"):
        memory.live.read()


def test_file_without_tables_is_set_aside(memory: Memory, file: Path) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.execute("DROP TABLE journal")
    assert memory.live.read() == Saved({}, [], [])
    assert list(file.parent.glob(f"{file.name}.damaged-*"))
