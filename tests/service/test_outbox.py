"""The outbox on a real disk: what is on it stays, and what cannot be stored is said."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from collector.lines import NS_PER_DAY
from collector.metrics import Metrics
from collector.outbox import FILE, Entry, Outbox, OutboxFile, OutboxUnavailable
from collector.privacy import ServerPseudonym
from tests.sender import until

SERVER = ServerPseudonym("0123456789abcdef")
MANY = 1000


def entry(number: int = 1, *, points: int = 1, size: int = 0) -> Entry:
    lines = "\n".join(f'm s="{"x" * size}",f={number}i {number}' for _ in range(points))
    return Entry(time.time_ns(), SERVER, points, lines.encode())


def put(path: Path, *entries: Entry) -> None:
    with OutboxFile(path) as file, file.transaction():
        for one in entries:
            file.insert(one)


def outbox_at(path: Path, metrics: Metrics, *, max_bytes: int = 1 << 30) -> Outbox:
    return Outbox(path, max_bytes=max_bytes, keep_seconds=3600, metrics=metrics)


def value(metrics: Metrics, name: str, **labels: str) -> float:
    found = metrics.registry.get_sample_value(name, labels)
    assert found is not None
    return found


def test_entries_are_read_in_order_and_found_again(tmp_path: Path) -> None:
    put(tmp_path / FILE, *(entry(n) for n in range(5)))
    with OutboxFile(tmp_path / FILE) as file:
        assert [one.lines for one in file.read(max_lines=100)] == [entry(n).lines for n in range(5)]


def test_read_takes_at_most_so_many_lines_but_at_least_an_entry(tmp_path: Path) -> None:
    put(tmp_path / FILE, entry(1, points=6), entry(2, points=3), entry(3, points=3))
    with OutboxFile(tmp_path / FILE) as file:
        assert [one.points for one in file.read(max_lines=5)] == [6]
        assert [one.points for one in file.read(max_lines=9)] == [6, 3]


def test_acknowledged_entries_are_not_read_again(tmp_path: Path) -> None:
    put(tmp_path / FILE, entry(1), entry(2), entry(3))
    with OutboxFile(tmp_path / FILE) as file:
        batch = file.read(max_lines=2)
        with file.transaction():
            file.acknowledge(batch, [])
        assert [one.lines for one in file.read(max_lines=100)] == [entry(3).lines]
        assert file.stats().reports == 1


def test_delivered_entries_stay_for_replay_until_they_are_old(tmp_path: Path) -> None:
    put(tmp_path / FILE, *(entry(n) for n in range(10)))
    with OutboxFile(tmp_path / FILE) as file:
        with file.transaction():
            file.acknowledge(file.read(max_lines=4), [])
        assert file.prune(older_than_ns=time.time_ns() - 10**12).entries == 0
        assert file.prune(older_than_ns=time.time_ns()).entries == 4
        assert file.stats().reports == 6


def test_newest_timestamp_is_found_behind_an_old_dead_letter_sent_again(tmp_path: Path) -> None:
    put(tmp_path / FILE, entry(2_000), entry(3_000), entry(1_000))
    with OutboxFile(tmp_path / FILE) as file:
        assert file.newest_ns() == 3_000


def test_outbox_is_for_its_owner_alone(tmp_path: Path) -> None:
    with OutboxFile(tmp_path / FILE):
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}, modes


def test_outbox_of_a_newer_version_is_refused_in_words(tmp_path: Path) -> None:
    put(tmp_path / FILE, entry())
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(OutboxUnavailable, match="version 99, newer than"):
        OutboxFile(tmp_path / FILE)


def test_file_that_is_no_outbox_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"precious" * 1000)
    with pytest.raises(OutboxUnavailable, match="not a database"):
        OutboxFile(tmp_path / FILE)
    assert (tmp_path / FILE).read_bytes() == b"precious" * 1000


@pytest.mark.parametrize("torn", [1, 100, 4096, 5000])
def test_torn_last_write_costs_nothing_that_was_committed_before(tmp_path: Path, torn: int) -> None:
    live, crashed = tmp_path / "live", tmp_path / "crashed"
    live.mkdir()
    with OutboxFile(live / FILE) as file:
        for number in range(20):
            with file.transaction():
                file.insert(entry(number))
        # A copy with the log still beside it is what a crash leaves; then its last commit is torn.
        shutil.copytree(live, crashed)
    log = crashed / f"{FILE}-wal"
    log.write_bytes(log.read_bytes()[:-torn])
    with OutboxFile(crashed / FILE) as file:
        found = [one.lines for one in file.read(max_lines=100)]
        assert len(found) >= 18
        assert found == [entry(n).lines for n in range(len(found))]
        with file.transaction():
            file.insert(entry(99))
        assert file.read(max_lines=100)[-1].lines == entry(99).lines


def test_garbled_last_write_costs_nothing_that_was_committed_before(tmp_path: Path) -> None:
    live, crashed = tmp_path / "live", tmp_path / "crashed"
    live.mkdir()
    with OutboxFile(live / FILE) as file:
        for number in range(20):
            with file.transaction():
                file.insert(entry(number))
        shutil.copytree(live, crashed)
    log = crashed / f"{FILE}-wal"
    log.write_bytes(log.read_bytes()[:-3000] + b"\xff" * 3000)
    with OutboxFile(crashed / FILE) as file:
        found = [one.lines for one in file.read(max_lines=100)]
    assert len(found) >= 19
    assert found == [entry(n).lines for n in range(len(found))]


async def test_many_reports_at_once_are_few_commits(tmp_path: Path) -> None:
    metrics = Metrics()
    outbox = outbox_at(tmp_path / FILE, metrics)
    # All of them come while another connection's transaction is waited for.
    with OutboxFile(tmp_path / FILE) as file, file.transaction():
        waiting = [outbox.append(entry(n)) for n in range(MANY)]
    await asyncio.gather(*waiting)
    commits = value(metrics, "collector_outbox_commits_total")
    await outbox.close()
    # What came first, and the rest.
    assert 1 <= commits <= 2
    with OutboxFile(tmp_path / FILE) as file:
        assert file.stats().reports == MANY


async def test_report_is_on_disk_when_its_append_is_done(tmp_path: Path) -> None:
    outbox = outbox_at(tmp_path / FILE, Metrics())
    await outbox.append(entry(7))
    with OutboxFile(tmp_path / FILE) as file:
        assert [one.lines for one in file.read(max_lines=10)] == [entry(7).lines]
    await outbox.close()


async def test_close_commits_what_waits(tmp_path: Path) -> None:
    outbox = outbox_at(tmp_path / FILE, Metrics())
    waiting = [outbox.append(entry(n)) for n in range(100)]
    await outbox.close()
    await asyncio.gather(*waiting)
    with OutboxFile(tmp_path / FILE) as file:
        assert file.stats().reports == 100


@pytest.mark.parametrize("ahead_ns", [0, NS_PER_DAY], ids=["clock right", "clock was ahead"])
async def test_full_outbox_refuses_until_it_is_delivered(tmp_path: Path, ahead_ns: int) -> None:
    metrics = Metrics()
    outbox = outbox_at(tmp_path / FILE, metrics, max_bytes=1 << 20)
    at = time.time_ns() + ahead_ns
    waiting = [
        outbox.append(entry(number, size=10_000)._replace(received_ns=at)) for number in range(90)
    ]
    await asyncio.gather(*waiting)
    while outbox.unavailable is None:
        # The last of them may already be refused.
        await asyncio.gather(outbox.append(entry(size=10_000)), return_exceptions=True)
    with pytest.raises(OutboxUnavailable, match="COLLECTOR_OUTBOX_MAX"):
        await outbox.append(entry())
    assert value(metrics, "collector_outbox_accepting") == 0
    batch = await outbox.read(max_lines=1000)
    assert 90 <= len(batch) < 120
    await outbox.acknowledge(batch)
    await until(lambda: outbox.unavailable is None)
    await outbox.append(entry(1))
    await outbox.close()


async def test_batch_read_in_parts_has_as_many_lines_as_asked_for_and_no_more(
    tmp_path: Path,
) -> None:
    sizes = [300, 300, 600, 1, 299, 5000, 2, 998, 400]
    put(tmp_path / FILE, *(entry(number, points=points) for number, points in enumerate(sizes)))
    outbox = outbox_at(tmp_path / FILE, Metrics())
    found, after = [], 0
    while batch := await outbox.read(max_lines=1500, after=after):
        found.append([one.points for one in batch])
        after = batch[-1].id
    await outbox.close()
    assert found == [[300, 300, 600, 1, 299], [5000], [2, 998, 400]]


async def test_depth_age_and_size_are_measured(tmp_path: Path) -> None:
    old = Entry(time.time_ns() - 60 * 10**9, SERVER, 1, b"m f=1i 1")
    put(tmp_path / FILE, old, entry(2))
    metrics = Metrics()
    outbox = outbox_at(tmp_path / FILE, metrics)
    await outbox.close()
    assert value(metrics, "collector_outbox_reports", target="influx") == 2
    most = (time.time_ns() - old.received_ns) / 1e9
    assert 59 < value(metrics, "collector_outbox_age_seconds", target="influx") <= most
    assert value(metrics, "collector_outbox_bytes") > 4096
    assert value(metrics, "collector_dead_letters") == 0


def test_dead_letters_are_kept_with_their_reason_and_sent_again_at_the_end(
    tmp_path: Path,
) -> None:
    put(tmp_path / FILE, entry(1, points=2), entry(2))
    with OutboxFile(tmp_path / FILE) as file:
        batch = file.read(max_lines=10)
        with file.transaction():
            file.acknowledge(batch, [(batch[0], b"m f=1i 1", "too old")])
        (letter,) = file.dead_letters()
        assert (letter.line, letter.reason) == (b"m f=1i 1", "too old")
        assert letter.received_ns == batch[0].received_ns
        assert file.retry_dead_letters() == 1
        assert file.dead_letters() == []
        assert [one.lines for one in file.read(max_lines=10)] == [b"m f=1i 1"]


def mixed(count: int) -> list[Entry]:
    """Reports of two senders for two targets, one of which are nobody's."""
    return [
        entry(number)
        if number % 3
        else Entry(number + 1, None, 1, b"call ok=1i %d" % number, "asterisk_live", "statsd")
        for number in range(count)
    ]


def test_target_sender_and_nobody_stay_with_an_entry_to_its_end(tmp_path: Path) -> None:
    entries = mixed(250)
    with OutboxFile(tmp_path / FILE) as file:
        file.append(*entries)
        file.append(entries[0])
        batch = file.read(max_lines=1000)
        assert [tuple(one[1:]) for one in batch] == [tuple(one) for one in [*entries, entries[0]]]
        assert file.servers().keys() == {SERVER}
        with file.transaction():
            file.acknowledge(batch, [(batch[0], batch[0].lines, "refused")])
        (letter,) = file.dead_letters()
        assert (letter.server, letter.target, letter.sender) == (None, "asterisk_live", "statsd")
        file.retry_dead_letters()
        assert [tuple(one[1:]) for one in file.read(max_lines=1000)] == [tuple(entries[0])]
