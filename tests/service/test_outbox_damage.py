"""A damaged outbox: set aside with what it still tells, and what is whole of it recovered."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from collector import clock
from collector.metrics import Metrics
from collector.outbox import (
    FILE,
    Entry,
    Outbox,
    OutboxDamaged,
    OutboxFile,
    OutboxUnavailable,
    Recovered,
    check_at_start,
    mark_recovered,
    read_at_start,
    recover,
    set_aside,
)
from collector.outbox.layout import VERSION
from collector.privacy import OwnerMark, Pseudonymiser, ServerPseudonym
from tests.length import seed
from tests.sender import KEY, until

SERVER = ServerPseudonym("0123456789abcdef")
OTHER = ServerPseudonym("fedcba9876543210")
MARKS = Pseudonymiser(KEY).mark
MANY = 2000
FEW = 200
SEED = 20_241_122
PAGE = 4096


def entry(number: int, *, server: ServerPseudonym = SERVER, wide: int = 0) -> Entry:
    packages = f',packages="{"x" * wide}"' if wide else ""
    line = f'server_report,arch=x86_64 server="{server}",nodes={number}i{packages} {number + 1}'
    return Entry(number + 1, server, 1, line.encode())


def fill(path: Path, count: int = MANY, *, delivered: int = 0) -> None:
    """Entries 0 to `count`, now and then one that overflows into other pages."""
    with OutboxFile(path) as file:
        with file.transaction():
            for number in range(count):
                file.insert(entry(number, wide=20_000 if number % 100 == 50 else 0))
        if delivered:
            with file.transaction():
                file.acknowledge(file.read(max_lines=delivered), [])


def get_out(
    path: Path, aside: Path, erased: dict[OwnerMark, int] | None = None
) -> tuple[Recovered, list[bytes]]:
    """Recover it; what is to be delivered then."""
    with OutboxFile(path) as file:
        found = recover(aside, file, MARKS, erased or {}, max_bytes=1 << 30)
        return found, [one.lines for one in file.read(max_lines=1 << 30)]


def value(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(name)


def truncated(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def junked(path: Path) -> None:
    path.write_bytes(random.Random(seed(SEED)).randbytes(path.stat().st_size))


def emptied_in_place(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(0)


def junked_in_place(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(random.Random(seed(SEED)).randbytes(path.stat().st_size))


def beheaded(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\xff" * PAGE)


def made_another(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE entries (id)")
        database.execute("PRAGMA user_version=2")


def made_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = [truncated, emptied, junked, beheaded, made_another, made_a_directory]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_outbox_is_set_aside_and_a_new_one_begun(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / FILE
    fill(path)
    damage(path)
    metrics = Metrics()
    check_at_start(path, metrics)
    assert value(metrics, "collector_outboxes_set_aside") == 1
    with OutboxFile(path) as file:
        assert file.stats().reports == 0
        with file.transaction():
            file.insert(entry(1))
        assert file.stats().reports == 1
        assert [one.lines for one in file.read(max_lines=9)] == [entry(1).lines]
    check_at_start(path, metrics)
    assert len(set_aside(tmp_path)) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET lines = CAST('m f=1i x' || char(10) || 'm f=1i 7' AS BLOB)",
        "UPDATE clock SET marks = '[1, x'",
        "UPDATE clock SET offset_ns = 'x'",
        "UPDATE clock_steps SET by_ns = 'x'",
        "UPDATE entries SET received_ns = 'x'",
    ],
)
def test_outbox_with_a_damaged_row_on_whole_pages_is_set_aside_at_the_start(
    tmp_path: Path, statement: str
) -> None:
    path, metrics = tmp_path / FILE, Metrics()
    fill(path, FEW)
    with OutboxFile(path) as file:
        clock.record_start(file, metrics)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("INSERT INTO clock_steps VALUES (1, 0, 1000000, 0, 1 << 62, 1)")
        database.execute(statement)
    check_at_start(path, metrics)
    begun = read_at_start(
        path, metrics, lambda file: (clock.record_start(file, metrics), file.servers())
    )
    assert begun[0].used == []
    assert value(metrics, "collector_outboxes_set_aside") == len(set_aside(tmp_path)) == 1


def test_whole_outbox_stays_where_it_is(tmp_path: Path) -> None:
    path, metrics = tmp_path / FILE, Metrics()
    check_at_start(path, metrics)
    fill(path)
    check_at_start(path, metrics)
    assert set_aside(tmp_path) == []
    with OutboxFile(path) as file:
        assert file.stats().reports == MANY


@pytest.mark.parametrize("damage", [truncated, beheaded])
def test_what_is_whole_is_recovered_and_the_rest_counted(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / FILE
    fill(path, delivered=MANY // 4)
    damage(path)
    check_at_start(path, Metrics())
    (aside,) = set_aside(tmp_path)
    found, lines = get_out(path, aside)
    assert found.reports == len(set(lines)) > MANY // 4
    assert {entry(n, wide=20_000 if n % 100 == 50 else 0).lines for n in range(MANY)} >= set(lines)
    if damage is beheaded:
        # The first page holds the schema, and no report.
        assert (found.reports, found.broken, found.missing) == (MANY, 0, 0)
    else:
        assert found.missing >= MANY // 4


def test_nothing_comes_out_of_junk_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / FILE
    fill(path)
    junked(path)
    check_at_start(path, Metrics())
    found, lines = get_out(path, set_aside(tmp_path)[0])
    assert (found.reports, found.counted, lines) == (0, False, [])


def test_each_flipped_bit_costs_at_most_its_report_or_its_page(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    fill(whole / FILE)
    sent = {entry(n, wide=20_000 if n % 100 == 50 else 0).lines for n in range(MANY)}
    chance = random.Random(seed(SEED))
    flips = 40
    for round_ in range(10):
        directory = tmp_path / str(round_)
        shutil.copytree(whole, directory)
        aside = (directory / FILE).rename(directory / f"{FILE}.damaged-x")
        content = bytearray(aside.read_bytes())
        for at in chance.sample(range(len(content)), flips):
            content[at] ^= 1 << chance.randrange(8)
        aside.write_bytes(content)
        found, lines = get_out(directory / FILE, aside)
        assert sent >= set(lines), "a report that was never sent"
        assert found.reports == len(lines) >= MANY - flips * 12
        if found.counted:
            assert found.broken + found.missing == MANY - found.reports


def test_flipped_bit_in_a_report_is_found_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / FILE
    with OutboxFile(path) as file, file.transaction():
        file.insert(entry(1))
    path.write_bytes(path.read_bytes().replace(b"arch=x86_64", b"arch=x86_65"))
    with OutboxFile(path) as file, pytest.raises(OutboxDamaged, match="not as it was written"):
        file.read(max_lines=10)


def test_log_broken_before_its_end_is_set_aside_and_the_rest_of_it_recovered(
    tmp_path: Path,
) -> None:
    live, crashed = tmp_path / "live", tmp_path / "crashed"
    live.mkdir()
    with OutboxFile(live / FILE) as file:
        for number in range(50):
            with file.transaction():
                file.insert(entry(number))
        shutil.copytree(live, crashed)
    log = crashed / f"{FILE}-wal"
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 0x10
    log.write_bytes(content)
    check_at_start(crashed / FILE, Metrics())
    (aside,) = set_aside(crashed)
    found, lines = get_out(crashed / FILE, aside)
    assert set(lines) >= {entry(number).lines for number in range(48)}
    assert found.reports + found.broken + found.missing == 50


def test_torn_last_commit_is_no_damage(tmp_path: Path) -> None:
    live = tmp_path / "live"
    live.mkdir()
    with OutboxFile(live / FILE) as file:
        for number in range(20):
            with file.transaction():
                file.insert(entry(number))
        for torn in (1, 30, 3000):
            crashed = tmp_path / str(torn)
            shutil.copytree(live, crashed)
            log = crashed / f"{FILE}-wal"
            log.write_bytes(log.read_bytes()[:-torn] + b"\xff" * torn)
            check_at_start(crashed / FILE, Metrics())
            assert set_aside(crashed) == []


def test_what_an_owner_erased_since_does_not_come_back(tmp_path: Path) -> None:
    path = tmp_path / FILE
    with OutboxFile(path) as file, file.transaction():
        for number in range(10):
            file.insert(entry(number, server=OTHER if number < 4 else SERVER))
    beheaded(path)
    check_at_start(path, Metrics())
    # Up to its second report.
    found, lines = get_out(path, set_aside(tmp_path)[0], {MARKS(OTHER): 2})
    assert (found.erased, found.reports, found.missing) == (2, 8, 0)
    assert len(lines) == 8


def test_recovery_stops_before_it_fills_the_outbox(tmp_path: Path) -> None:
    path = tmp_path / FILE
    fill(path)
    beheaded(path)
    check_at_start(path, Metrics())
    (aside,) = set_aside(tmp_path)
    with OutboxFile(path) as file:
        with pytest.raises(OutboxUnavailable, match="COLLECTOR_OUTBOX_MAX"):
            recover(aside, file, MARKS, {}, max_bytes=200_000)
        assert 0 < file.stats().reports < MANY


def test_outbox_in_use_is_not_taken_for_one_set_aside(tmp_path: Path) -> None:
    fill(tmp_path / FILE, 1)
    with OutboxFile(tmp_path / FILE) as file:
        for wrong, words in ((FILE, "in use"), ("none", "is not there")):
            with pytest.raises(OutboxUnavailable, match=words):
                recover(tmp_path / wrong, file, MARKS, {}, max_bytes=1 << 30)


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_crash_while_an_outbox_is_set_aside_loses_neither(tmp_path: Path, moved: int) -> None:
    path, aside = tmp_path / FILE, tmp_path / f"{FILE}.damaged-x"
    live = tmp_path / "live"
    live.mkdir()
    with OutboxFile(live / FILE) as file:
        fill(live / FILE, 10)
        for name in (FILE, f"{FILE}-wal"):
            shutil.copy(live / name, tmp_path / name)
        assert file.stats().reports == 10
    (tmp_path / "outbox.new").mkdir()
    with OutboxFile(tmp_path / "outbox.new" / FILE) as file, file.transaction():
        file.begin_at(1000)
    if moved >= 1:
        path.rename(aside)
    if moved >= 2:
        Path(f"{path}-wal").rename(f"{aside}-wal")
    check_at_start(path, Metrics())
    assert not (tmp_path / "outbox.new").exists()
    if moved:
        found, lines = get_out(path, aside)
        assert (found.reports, len(lines)) == (10, 10)
    else:
        with OutboxFile(path) as file:
            assert file.stats().reports == 10


# While it is in use.


async def put(outbox: Outbox, *numbers: int) -> None:
    await asyncio.gather(*(outbox.append(entry(number)) for number in numbers))


def outbox_at(path: Path, metrics: Metrics) -> Outbox:
    return Outbox(path, max_bytes=1 << 30, keep_seconds=3600, metrics=metrics)


async def damaged_in_use(path: Path, damage: Callable[[Path], None]) -> Metrics:
    """Damage a file under a running outbox, then append until a new one is begun."""
    metrics = Metrics()
    fill(path)
    outbox = outbox_at(path, metrics)
    try:
        batch = await outbox.read(max_lines=10)
        damage(path)
        for number in range(MANY, MANY + 1000):
            await put(outbox, number)
            with contextlib.suppress(OutboxDamaged):
                await outbox.read(max_lines=MANY * 2)
            if value(metrics, "collector_outboxes_set_aside"):
                break
        await put(outbox, 1)
        # What was under way with the old file does nothing to the new one.
        await outbox.acknowledge(batch)
        assert entry(1).lines in [one.lines for one in await outbox.read(max_lines=5000)]
        assert outbox.unavailable is None
    finally:
        await outbox.close()
    return metrics


@pytest.mark.parametrize("damage", [truncated, junked])
async def test_outbox_damaged_in_use_is_set_aside_and_nobody_is_refused(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    metrics = await damaged_in_use(tmp_path / FILE, damage)
    assert value(metrics, "collector_outboxes_set_aside") == 1
    assert value(metrics, "collector_outbox_failures_total") == 0


async def test_damage_that_the_writer_finds_is_set_aside(tmp_path: Path) -> None:
    path, metrics = tmp_path / FILE, Metrics()
    fill(path, 100)
    path.write_bytes(path.read_bytes().replace(b"nodes=30i", b"nodes=31i"))
    outbox = outbox_at(path, metrics)
    try:
        with pytest.raises(OutboxDamaged):
            await outbox.read(max_lines=1000)
        await until(lambda: value(metrics, "collector_outboxes_set_aside") == 1)
        await put(outbox, 500)
        sent = [one.lines for one in await outbox.read(max_lines=200)]
        assert len(sent) == 100
        assert entry(30).lines not in sent
        assert sent[-1] == entry(500).lines
    finally:
        await outbox.close()
    found, lines = get_out(path, set_aside(tmp_path)[0])
    assert (found.reports, found.broken, found.missing) == (0, 1, 0)
    assert len(lines) == 100


@pytest.mark.parametrize("damage", [truncated, emptied_in_place, junked_in_place])
@pytest.mark.parametrize("together", [1, 10])
async def test_waiting_reports_survive_damage_to_a_file_in_use(
    tmp_path: Path, damage: Callable[[Path], None], together: int
) -> None:
    """However quick the machine: with one report a commit the log has gone round by then."""
    path, metrics = tmp_path / FILE, Metrics()
    outbox = outbox_at(path, metrics)
    try:
        for first in range(0, MANY, together):
            await put(outbox, *range(first, first + together))
        damage(path)
        with contextlib.suppress(OutboxDamaged):
            await outbox.read(max_lines=2 * MANY)
        await outbox.append()
        waiting = [one.lines for one in await outbox.read(max_lines=2 * MANY)]
        assert waiting == [entry(number).lines for number in range(MANY)]
    finally:
        await outbox.close()
    for aside in set_aside(tmp_path):
        found, lines = get_out(path, aside)
        assert (found.reports, found.broken, found.missing) == (0, 0, 0)
        assert len(lines) == MANY
        mark_recovered(aside)
    assert set_aside(tmp_path) == []


async def test_outbox_moved_away_in_use_is_kept_whole(tmp_path: Path) -> None:
    path, metrics = tmp_path / FILE, Metrics()
    outbox = outbox_at(path, metrics)
    try:
        await put(outbox, *range(100))
        path.unlink()
        await until(lambda: value(metrics, "collector_outboxes_set_aside") == 1)
        await put(outbox, 500)
    finally:
        await outbox.close()
    found, lines = get_out(path, set_aside(tmp_path)[0])
    assert (found.reports, found.missing) == (100, 0)
    assert len(lines) == 101


# Replay.


def test_replay_sends_what_was_received_since_a_time_again(tmp_path: Path) -> None:
    path = tmp_path / FILE
    fill(path, 20, delivered=20)
    with OutboxFile(path) as file:
        assert file.replay(since_ns=16) == 5
        again = [one.received_ns for one in file.read(max_lines=100)]
        assert again == [16, 17, 18, 19, 20]
        assert file.replay(since_ns=time.time_ns()) == 0
        assert file.replay(since_ns=0) == 20


def test_replay_is_not_undone_by_a_batch_that_was_under_way(tmp_path: Path) -> None:
    path = tmp_path / FILE
    fill(path, 20, delivered=10)
    with OutboxFile(path) as file, OutboxFile(path) as command:
        batch = file.read(max_lines=5)
        command.replay(since_ns=4)
        with file.transaction():
            file.acknowledge(batch, [(batch[0], batch[0].lines, "refused")])
        assert [one.received_ns for one in file.read(max_lines=100)] == list(range(4, 21))
        assert file.dead_letters() == []


def test_replay_of_what_an_owner_erased_sends_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / FILE
    fill(path, 20, delivered=20)
    with OutboxFile(path) as file:
        with file.transaction():
            file.insert(entry(30, server=OTHER))
        with file.transaction():
            file.acknowledge(file.read(max_lines=10), [])
        file.erase(OTHER, file.held(OTHER))
        assert file.replay(since_ns=0) == 20
        assert {one.server for one in file.read(max_lines=100)} == {SERVER}


# Versions.

OF_VERSION_1 = """
CREATE TABLE entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    received_ns INTEGER NOT NULL,
    server TEXT NOT NULL,
    points INTEGER NOT NULL,
    lines BLOB NOT NULL
);
CREATE TABLE cursor (one INTEGER PRIMARY KEY CHECK (one = 1), delivered_id INTEGER NOT NULL);
INSERT INTO cursor VALUES (1, 1);
CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT, received_ns INTEGER NOT NULL, server TEXT NOT NULL,
    line BLOB NOT NULL, reason TEXT NOT NULL, set_aside_ns INTEGER NOT NULL
);
CREATE TABLE tag_values (
    tag TEXT NOT NULL, value TEXT NOT NULL, day INTEGER NOT NULL, PRIMARY KEY (tag, value)
) WITHOUT ROWID;
CREATE TABLE erasures (
    id INTEGER PRIMARY KEY AUTOINCREMENT, asked_ns INTEGER NOT NULL, server TEXT NOT NULL,
    action TEXT NOT NULL, state TEXT NOT NULL, until_ns INTEGER NOT NULL, found TEXT NOT NULL,
    plan TEXT NOT NULL
);
CREATE TABLE owner_choices (
    owner TEXT PRIMARY KEY, choice TEXT NOT NULL, at_ns INTEGER NOT NULL, told INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE erasure_notices (at_ns INTEGER PRIMARY KEY, owner TEXT NOT NULL, days TEXT NOT NULL);
PRAGMA user_version=1;
"""


def of_version_1(path: Path) -> None:
    """An outbox as version 1 left it: one report delivered, one not, and an opt-out."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript(f"PRAGMA auto_vacuum=2;PRAGMA journal_mode=WAL;{OF_VERSION_1}")
        for number in (1, 2):
            one = entry(number)
            database.execute(
                "INSERT INTO entries (received_ns, server, points, lines) VALUES (?, ?, ?, ?)",
                (one.received_ns, one.server, one.points, one.lines),
            )
        database.execute("INSERT INTO owner_choices VALUES (?, 'opt-out', 5, 1)", (MARKS(OTHER),))


def test_outbox_of_version_1_is_migrated_in_place(tmp_path: Path) -> None:
    of_version_1(tmp_path / FILE)
    check_at_start(tmp_path / FILE, Metrics())
    with OutboxFile(tmp_path / FILE) as file:
        assert [one.lines for one in file.read(max_lines=10)] == [entry(2).lines]
        with file.transaction():
            file.insert(entry(3))
        assert [one.lines for one in file.read(max_lines=10)] == [entry(2).lines, entry(3).lines]
        assert file.legacy()["owner_choices"] == [(MARKS(OTHER), "opt-out", 5, 1)]
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)
    assert set_aside(tmp_path) == []


def test_damaged_outbox_of_version_1_is_recovered(tmp_path: Path) -> None:
    path = tmp_path / FILE
    of_version_1(path)
    beheaded(path)
    check_at_start(path, Metrics())
    found, lines = get_out(path, set_aside(tmp_path)[0])
    assert lines == [entry(1).lines, entry(2).lines]
    assert (found.reports, found.missing, found.counted) == (2, 0, True)


def test_newer_outbox_is_refused_and_not_set_aside(tmp_path: Path) -> None:
    fill(tmp_path / FILE, 1)
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        database.execute("PRAGMA user_version=99")
    with pytest.raises(OutboxUnavailable, match="version 99, newer than"):
        check_at_start(tmp_path / FILE, Metrics())
    assert set_aside(tmp_path) == []


def test_reports_of_another_sender_are_recovered_with_their_target(tmp_path: Path) -> None:
    path = tmp_path / FILE
    theirs = [
        Entry(n + 1, None, 1, b"call ok=1i %d" % n, "asterisk_live", "statsd") for n in range(50)
    ]
    with OutboxFile(path) as file:
        file.append(*theirs, *(entry(n) for n in range(50)))
        with file.transaction():
            file.acknowledge(file.read(max_lines=1), [(file.read(max_lines=1)[0], b"l", "no")])
    beheaded(path)
    check_at_start(path, Metrics())
    (aside,) = set_aside(tmp_path)
    with OutboxFile(path) as file:
        found = recover(aside, file, MARKS, {}, max_bytes=1 << 30)
        assert (found.reports, found.dead_letters, found.broken) == (100, 1, 0)
        again = {tuple(one[1:]) for one in file.read(max_lines=1000)}
        assert again == {tuple(one) for one in (*theirs, *(entry(n) for n in range(50)))}
        (letter,) = file.dead_letters()
        assert (letter.target, letter.sender) == ("asterisk_live", "statsd")
