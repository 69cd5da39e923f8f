"""Each target has a queue and a cursor of its own in the outbox: none waits for another."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from collector.metrics import Metrics
from collector.outbox import (
    FILE,
    Entry,
    OutboxFile,
    Pending,
    Queue,
    check_at_start,
    recover,
    set_aside,
)
from collector.outbox.dating import ClockReading
from collector.outbox.layout import VERSION
from collector.outbox.peek import peek
from collector.privacy import Pseudonymiser, ServerPseudonym
from collector.schema import RECORDS
from tests.owners import uuid_of
from tests.sender import KEY

SERVER = ServerPseudonym("0123456789abcdef")
OF_VERSION_3 = Path(__file__).parents[1] / "cases" / "state-3" / "outbox.sql"
T0 = 1_795_600_000_000_000_000
S = 10**9


def point(number: int, *, received_ns: int | None = None) -> Entry:
    line = f'server_report,arch=x86_64 server="{SERVER}",nodes={number}i {number}'
    return Entry(number if received_ns is None else received_ns, SERVER, 1, line.encode())


def record(number: int, *, size: int = 10, received_ns: int | None = None) -> Entry:
    line = b'{"payload":"%s"} %d' % (b"x" * size, number)
    at = number if received_ns is None else received_ns
    return Entry(at, SERVER, 1, line, RECORDS, "telemetrics")


def mixed(first: int, last: int) -> list[Entry]:
    """Records with odd numbers, points with even ones."""
    return [record(n) if n % 2 else point(n) for n in range(first, last)]


def numbers(entries: Sequence[Pending]) -> list[int]:
    return [one.received_ns for one in entries]


def deliver(file: OutboxFile, queue: Queue, *, most: int = 1 << 30) -> list[int]:
    batch = file.read(max_lines=most, queue=queue)
    if batch:
        with file.transaction():
            file.acknowledge(batch, [])
    return numbers(batch)


def waiting(file: OutboxFile) -> dict[Queue, int]:
    return {queue: found.reports for queue, found in file.stats().waiting.items()}


def test_each_queue_is_read_in_order_and_acknowledged_by_itself(tmp_path: Path) -> None:
    with OutboxFile(tmp_path / FILE) as file:
        file.append(*mixed(1, 21))
        assert waiting(file) == {Queue.INFLUX: 10, Queue.RECORDS: 10}
        assert deliver(file, Queue.INFLUX, most=4) == [2, 4, 6, 8]
        assert waiting(file) == {Queue.INFLUX: 6, Queue.RECORDS: 10}
        assert numbers(file.read(max_lines=3, queue=Queue.RECORDS)) == [1, 3, 5]
        assert numbers(file.read(max_lines=3, after=5, queue=Queue.RECORDS)) == [7, 9, 11]
        assert deliver(file, Queue.RECORDS) == list(range(1, 21, 2))
        file.append(*mixed(21, 25))
        assert deliver(file, Queue.RECORDS) == [21, 23]
        assert deliver(file, Queue.INFLUX) == [*range(10, 21, 2), 22, 24]
        stats = file.stats()
        assert {found.oldest_ns for found in stats.waiting.values()} == {None}
        assert stats.reports == 0


def test_acknowledgement_of_a_batch_whose_queue_was_replayed_changes_nothing(
    tmp_path: Path,
) -> None:
    with OutboxFile(tmp_path / FILE) as file:
        file.append(*mixed(1, 13))
        deliver(file, Queue.RECORDS, most=2)
        deliver(file, Queue.INFLUX)
        batch = file.read(max_lines=10, queue=Queue.RECORDS)
        assert file.replay(since_ns=0, queues=[Queue.RECORDS]) == 6
        with file.transaction():
            file.acknowledge(batch, [])
        assert waiting(file) == {Queue.INFLUX: 0, Queue.RECORDS: 6}
        assert file.replay(since_ns=9) == 4
        assert waiting(file) == {Queue.INFLUX: 2, Queue.RECORDS: 6}


def test_what_one_target_has_is_pruned_while_another_is_away(tmp_path: Path) -> None:
    with OutboxFile(tmp_path / FILE) as file:
        for away, there in ((Queue.INFLUX, Queue.RECORDS), (Queue.RECORDS, Queue.INFLUX)):
            file.append(*mixed(1, 2001))
            while deliver(file, there, most=400):
                pass
            assert file.prune(older_than_ns=10**6).entries == 1000
            file.append(*mixed(2001, 2011))
            assert waiting(file) == {away: 1005, there: 5}
            assert file.prune(older_than_ns=10**6).entries == 0
            assert len(deliver(file, away)) == 1005
            deliver(file, there)
            assert file.prune(older_than_ns=10**6).entries == 1010
            assert file.oldest_ns() is None


def test_entry_received_later_than_those_after_it_is_pruned_in_its_time(tmp_path: Path) -> None:
    """As when the clock was set back, or a dead letter was sent again."""
    with OutboxFile(tmp_path / FILE) as file:
        file.append(point(1), record(2), point(3, received_ns=100), record(4, received_ns=100))
        file.append(point(5), record(6))
        for queue in Queue:
            deliver(file, queue)
        assert file.prune(older_than_ns=50).entries == 4
        assert file.prune(older_than_ns=50).entries == 0
        assert file.prune(older_than_ns=200).entries == 2
        assert file.oldest_ns() is None


def test_a_step_of_pruning_looks_at_4000_numbers_and_the_steps_reach_every_entry(
    tmp_path: Path,
) -> None:
    young = 10**6
    entries = [point(n) if n == 8500 else point(n, received_ns=young) for n in range(1, 9001)]
    entries[8499:8501] = [point(8500), record(8501)]
    with OutboxFile(tmp_path / FILE) as file:
        file.append(*entries)
        for queue in Queue:
            deliver(file, queue)
        found = []
        after: int | None = 0
        while after is not None:
            found.append(file.prune(older_than_ns=young, after=after))
            after = found[-1].next
        assert found == [(0, 4000), (0, 8000), (2, None)]
        assert file.stats().reports == 0


def test_batch_of_records_is_bounded_in_bytes_but_holds_at_least_one(tmp_path: Path) -> None:
    size = 3 << 20
    with OutboxFile(tmp_path / FILE) as file:
        file.append(*(record(n, size=size) for n in range(1, 5)), record(5, size=4 * size))
        assert deliver(file, Queue.RECORDS) == [1, 2]
        assert deliver(file, Queue.RECORDS) == [3, 4]
        assert deliver(file, Queue.RECORDS) == [5]
        # Only the ends of long lines are read for the stamps that were given.
        assert sorted(set(file.used_stamps())) == [1, 2, 3, 4, 5]


def test_owner_holds_and_erases_what_waits_and_what_is_delivered_in_each_queue(
    tmp_path: Path,
) -> None:
    with OutboxFile(tmp_path / FILE) as file:
        file.append(*mixed(1, 9))
        deliver(file, Queue.RECORDS, most=2)
        deliver(file, Queue.INFLUX, most=3)
        held = file.held(SERVER)
        assert numbers(held.waiting) == [5, 7, 8]
        assert numbers(held.delivered) == [1, 2, 3, 4, 6]
        file.erase(SERVER, held)
        assert file.oldest_ns() is None


def test_outbox_of_version_3_is_migrated_in_place(tmp_path: Path) -> None:
    path = tmp_path / FILE
    with closing(sqlite3.connect(path)) as database:
        database.executescript(OF_VERSION_3.read_text())
    before = peek(path)
    assert (before.reports, before.dead_letters) == (5, 1)
    check_at_start(path, Metrics())
    assert set_aside(tmp_path) == []
    with OutboxFile(path) as file:
        assert waiting(file) == {Queue.INFLUX: 5, Queue.RECORDS: 0}
        assert file.dating.sent() == {Queue.INFLUX: 6, Queue.RECORDS: 0}
        assert file.dating.marks() == [T0 + 99 * S]
        assert [(one.id, one.target) for one in file.read(max_lines=100)] == [
            (n, "asterisk_live" if n % 3 == 2 else "usage_raw") for n in range(5, 10)
        ]
        assert [one.reason for one in file.dead_letters()] == ["refused"]
        assert file.replay(since_ns=T0 + 3 * S) == 7
        file.append(record(10))
        assert deliver(file, Queue.RECORDS) == [10]
    assert (peek(path).reports, peek(path).dead_letters) == (7, 1)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_damaged_outbox_of_version_3_gives_its_reports_back(tmp_path: Path) -> None:
    path = tmp_path / FILE
    with closing(sqlite3.connect(path)) as database:
        database.executescript(OF_VERSION_3.read_text())
    path.write_bytes(b"\xff" * 100 + path.read_bytes()[100:])
    check_at_start(path, Metrics())
    (aside,) = set_aside(tmp_path)
    marks = Pseudonymiser(KEY)
    gone = marks.server(uuid_of(1))
    with OutboxFile(path) as file:
        found = recover(aside, file, marks.mark, {marks.mark(gone): T0 + 5 * S}, max_bytes=1 << 30)
    assert (found.reports, found.broken, found.missing, found.counted) == (8, 0, 0, True)


def beheaded(path: Path) -> Path:
    path.write_bytes(b"\xff" * 4096 + path.read_bytes()[4096:])
    check_at_start(path, Metrics())
    (aside,) = set_aside(path.parent)
    return aside


def test_entries_of_both_queues_come_back_from_a_damaged_outbox_and_none_counts_as_lost(
    tmp_path: Path,
) -> None:
    path = tmp_path / FILE
    with OutboxFile(path) as file:
        file.append(*mixed(1, 1001))
        while deliver(file, Queue.RECORDS):
            pass
        file.prune(older_than_ns=10**6)
        file.append(*mixed(1001, 1011))
        deliver(file, Queue.INFLUX, most=100)
    aside = beheaded(path)
    with OutboxFile(path) as file:
        found = recover(aside, file, Pseudonymiser(KEY).mark, {}, max_bytes=1 << 30)
        assert (found.broken, found.missing, found.counted) == (0, 0, True)
        assert set(deliver(file, Queue.RECORDS)) == set(range(1001, 1011, 2))
        assert set(range(202, 1011, 2)) <= set(deliver(file, Queue.INFLUX))


def test_lost_record_before_the_cursor_of_influxdb_counts_as_lost(tmp_path: Path) -> None:
    path = tmp_path / FILE
    with OutboxFile(path) as file:
        file.append(
            *(record(n, size=3000) for n in range(1, 51)), *(point(n) for n in range(51, 61))
        )
        deliver(file, Queue.INFLUX)
        deliver(file, Queue.RECORDS, most=10)
        file.fold()
    content = path.read_bytes()
    at = content.index(b" 30\x00") if b" 30\x00" in content else content.index(b'xxx"} 30')
    page = at // 4096 * 4096
    path.write_bytes(b"\xff" * 4096 + content[4096:page] + b"\xff" * 4096 + content[page + 4096 :])
    check_at_start(path, Metrics())
    (aside,) = set_aside(tmp_path)
    with OutboxFile(path) as file:
        found = recover(aside, file, Pseudonymiser(KEY).mark, {}, max_bytes=1 << 30)
        got = deliver(file, Queue.RECORDS)
    lost = {n for n in range(11, 51) if n not in got}
    assert 30 in lost
    assert found.missing + found.broken == len(lost)


def test_records_that_waited_are_dated_anew_when_the_clock_was_set(tmp_path: Path) -> None:
    wrong = 10**18
    right = time.time_ns()
    with OutboxFile(tmp_path / FILE) as file:
        with file.transaction():
            file.dating.begin(
                ClockReading("boot", wrong - 5 * S), now_ns=wrong, earliest_ns=0, tolerance_ns=S
            )
        for number in range(6):
            at = wrong + number * S
            file.append(record(at), point(at + 1))
        deliver(file, Queue.INFLUX, most=2)
        deliver(file, Queue.RECORDS, most=1)
        with file.transaction():
            file.dating.note_sent(Queue.RECORDS, 9)
            reading = ClockReading("boot", right - 5 * S)
            file.dating.step(reading, now_ns=wrong + 60 * S + right - wrong)
            (done,) = file.dating.apply(now_ns=right)
        # Two points and one record were delivered, and four more records may have been sent.
        assert done.moved == 12 - 2 - 1 - 4
        moved = [one for queue in Queue for one in file.read(max_lines=99, queue=queue)]
        late = [one for one in moved if one.received_ns > right - 100 * S]
        assert len(late) == done.moved
        for one in late:
            assert abs(int(one.lines.rpartition(b" ")[2]) - one.received_ns) < S


def test_outbox_that_is_being_made_is_empty(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.touch()
    assert (peek(path).reports, peek(path).dead_letters) == (0, 0)
