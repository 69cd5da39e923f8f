"""`collector outbox replay` and `recover`, typed by an operator."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from collector.metrics import Metrics
from collector.outbox import FILE, Entry, OutboxFile, check_at_start, set_aside
from collector.privacy import ServerPseudonym
from tests.command import Done, command

SERVER = ServerPseudonym("0123456789abcdef")
HOUR = 3600 * 10**9


def entry(age_ns: int) -> Entry:
    at = time.time_ns() - age_ns
    line = f'server_report,arch=x86_64 server="{SERVER}",nodes=1i {at}'
    return Entry(at, SERVER, 1, line.encode())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An outbox of two reports that are delivered, 5 hours old and new."""
    path = tmp_path / FILE
    with OutboxFile(path) as file:
        with file.transaction():
            file.insert(entry(5 * HOUR))
            file.insert(entry(0))
        with file.transaction():
            file.acknowledge(file.read(max_lines=10), [])
    return path


def outbox(path: Path, *arguments: str) -> Done:
    return command({"COLLECTOR_STATE_DIR": str(path.parent)}, "outbox", *arguments)


def waiting(path: Path) -> int:
    with OutboxFile(path) as file:
        return len(file.read(max_lines=100))


@pytest.mark.parametrize(
    ("since", "count"), [("1h", 1), ("6h", 2), ("2024-06-01", 2), ("yesterday", 2)]
)
def test_replay_says_how_much_is_given_again(path: Path, since: str, count: int) -> None:
    done = outbox(path, "replay", "--since", since)
    assert (done.code, waiting(path)) == (0, count)
    assert f"{count} reports wait for delivery" in done.out


def test_replay_of_one_target_leaves_the_others_as_they_are(path: Path) -> None:
    with OutboxFile(path) as file:
        file.append(Entry(time.time_ns(), None, 1, b"{} 1", "records", "telemetrics"))
    done = outbox(path, "replay", "--since", "6h", "--target", "records")
    assert "1 reports wait for delivery" in done.out
    assert waiting(path) == 0
    outbox(path, "replay", "--since", "6h", "--target", "influx")
    assert waiting(path) == 2


def test_replay_says_where_more_is_asked_for_than_is_kept(path: Path) -> None:
    assert (
        "oldest report in the outbox" in outbox(path, "replay", "--since", "2024-06-01T10:00").err
    )
    assert "oldest report in the outbox" not in outbox(path, "replay", "--since", "1h").err


def test_replay_of_no_time_is_refused_in_words(path: Path) -> None:
    done = outbox(path, "replay", "--since", "soon")
    assert done.code == 2
    assert "must be YYYY-MM-DD" in done.err


def test_recover_tells_what_came_out_and_renames_the_file(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(b"\xff" * 4096 + content[4096:])
    check_at_start(path, Metrics())
    (aside,) = set_aside(path.parent)
    done = outbox(path, "recover", "--all")
    assert done.code == 0
    assert "2 reports and 0 dead letters recovered; 0 reports lost" in done.out
    assert waiting(path) == 2
    assert set_aside(path.parent) == []
    assert aside.name.replace("damaged", "recovered") in done.out
    again = outbox(path, "recover", "--all")
    assert (again.code, again.out) == (0, "no outbox is set aside\n")


def test_recover_says_what_is_lost(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"nodes=1i", b"nodes=3i", 1))
    damaged = path.rename(path.with_name(f"{FILE}.damaged-x"))
    with OutboxFile(path):
        pass
    done = outbox(path, "recover", str(damaged))
    assert "1 reports and 0 dead letters recovered; 1 reports lost" in done.out
    assert "1 of them are damaged, 0 were not found" in done.err


def test_recover_wants_to_know_what(path: Path) -> None:
    for arguments in ((), ("--all", str(path))):
        done = outbox(path, "recover", *arguments)
        assert done.code == 1
        assert "or use --all" in done.err


def test_recover_of_a_file_that_is_not_there_is_refused_in_words(path: Path) -> None:
    done = outbox(path, "recover", str(path.with_name("none")))
    assert done.code == 1
    assert "is not there" in done.err


def test_check_says_that_an_outbox_is_set_aside(path: Path) -> None:
    path.with_name(f"{FILE}.damaged-x").write_bytes(b"x")
    done = command(
        {"COLLECTOR_STATE_DIR": str(path.parent), "COLLECTOR_INFLUX_URL": "http://127.0.0.1:1"},
        "check",
    )
    assert done.code == 1
    assert "1 damaged outboxes are set aside" in done.out
