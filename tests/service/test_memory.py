"""The memory on a real disk: shared by processes, whole after a crash, set aside when damaged."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from collector.lines import Stamper
from collector.memory import (
    Action,
    Choice,
    Memory,
    MemoryUnavailable,
    Notice,
    State,
    path_in,
)
from collector.metrics import Metrics
from collector.owners.choices import Choices
from collector.privacy import OwnerMark, Pseudonymiser, ServerPseudonym
from collector.tag_budget import Freed, Sighting, TagValue
from tests.busy import measured
from tests.sender import GUARD_S, KEY, until

HOUR = 3600 * 10**9
SERVER = ServerPseudonym("0123456789abcdef")
OTHER = ServerPseudonym("fedcba9876543210")
OWNER, NEIGHBOUR = OwnerMark("aa" * 8), OwnerMark("bb" * 8)
ADDER = """
import sys
from pathlib import Path
from collector.memory import Choice, Memory
from collector.privacy import OwnerMark
memory = Memory(Path(sys.argv[1]))
for number in range(30):
    memory.choices.keep(Choice(OwnerMark(f"{sys.argv[2]}{number:08x}"), True, number), synced=False)
"""


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path)


def test_later_choice_of_an_owner_holds_whatever_comes_after_it(memory: Memory) -> None:
    memory.choices.keep(Choice(OWNER, True, 5), synced=False)
    memory.choices.keep(Choice(OWNER, False, 3), Choice(NEIGHBOUR, True, 7), synced=True)
    assert sorted(memory.choices.all(), key=lambda one: one.owner) == [
        Choice(OWNER, True, 5),
        Choice(NEIGHBOUR, True, 7),
    ]
    assert memory.choices.all(unsynced=True) == [Choice(OWNER, True, 5)]
    memory.choices.keep(Choice(OWNER, True, 5), synced=True)
    assert memory.choices.all(unsynced=True) == []
    # What InfluxDB has is not unsynced again because a process remembers it.
    memory.choices.keep(Choice(OWNER, True, 5), synced=False)
    assert memory.choices.all(unsynced=True) == []
    memory.choices.mark_unsynced(since_ns=6)
    assert memory.choices.all(unsynced=True) == [Choice(NEIGHBOUR, True, 7)]


def test_brake_counts_what_all_ask_and_an_hour_frees_it(memory: Memory, tmp_path: Path) -> None:
    other = Memory(tmp_path)
    asked = [
        one.erasures.ask_limited(ServerPseudonym(f"{number:016x}"), Action.ERASE, at, per_hour=2)[1]
        for number, (one, at) in enumerate(
            [(memory, HOUR), (other, HOUR + 1), (memory, HOUR + 2), (other, 2 * HOUR)]
        )
    ]
    assert asked == [State.ACCEPTED, State.ACCEPTED, State.QUEUED, State.ACCEPTED]
    # One who was first and had to wait for the file lets nobody through in another's place.
    late = [
        memory.erasures.ask_limited(SERVER, Action.OPT_OUT, 2 * HOUR - n, per_hour=2)[1]
        for n in range(3)
    ]
    assert late == [State.QUEUED] * 3
    # A clock that was set back holds nobody up.
    assert memory.erasures.ask_limited(SERVER, Action.ERASE, 7, per_hour=2)[1] is State.ACCEPTED


def test_same_erasure_asked_twice_is_one(memory: Memory) -> None:
    first = memory.erasures.ask(SERVER, Action.ERASE, 1)
    assert memory.erasures.ask(SERVER, Action.ERASE, 2) == first
    assert memory.erasures.ask(OTHER, Action.ERASE, 2) != first


def test_erasure_goes_from_its_request_to_a_receipt_without_its_pseudonym(memory: Memory) -> None:
    number, _ = memory.erasures.ask_limited(SERVER, Action.OPT_OUT, 1, per_hour=0)
    assert [one.state for one in memory.erasures.all(*State)] == [State.QUEUED]
    assert memory.erasures.release([number, 99]) == 1
    memory.erasures.note(number, until_ns=5, found='{"waiting": 1}')
    memory.erasures.begin(number, plan="{}")
    later, _ = memory.erasures.ask_limited(OTHER, Action.ERASE, 2, per_hour=9)
    memory.erasures.delay([number])
    assert not next(one for one in memory.erasures.all(*State) if one.id == later).delayed
    memory.erasures.delay()
    assert all(one.delayed for one in memory.erasures.all(*State))
    (asked,) = memory.erasures.all(State.PLANNED)
    assert (asked.until_ns, asked.found, asked.delayed) == (5, '{"waiting": 1}', True)
    memory.erasures.finish(asked, receipt="done", notice=Notice(OWNER, 9, "2026-01-01"))
    done = memory.erasures.one(number)
    assert done is not None
    assert (done.state, done.server, done.plan) == (State.DONE, "", "done")
    assert memory.erasures.erased() == {OWNER: 9}
    assert memory.erasures.notices() == [Notice(OWNER, 9, "2026-01-01")]
    memory.erasures.remove_notice(Notice(OWNER, 9, ""))
    assert memory.erasures.notices() == []
    assert memory.store.scrub(SERVER.encode())
    assert SERVER.encode() not in path_in(memory.store.path.parents[1]).read_bytes()


def test_value_that_different_servers_said_is_counted_once_for_each(memory: Memory) -> None:
    memory.tags.keep(
        [Sighting("arch", "mips", server, day) for server in (SERVER, OTHER) for day in (9, 10)]
    )
    memory.tags.keep([Sighting("arch", "vax", SERVER, 8)])
    assert memory.tags.server_counts() == {("arch", "mips"): 2, ("arch", "vax"): 1}
    assert memory.tags.server_counts(since_day=9) == {("arch", "mips"): 2}
    memory.tags.keep([TagValue("arch", "mips", 10), TagValue("arch", "mips", 9)])
    assert memory.tags.values() == [TagValue("arch", "mips", 10)]
    assert memory.tags.server_counts() == {("arch", "mips"): 2, ("arch", "vax"): 1}
    memory.tags.keep([TagValue("arch", "mips", 10, firm=True), TagValue("arch", "mips", 10)])
    assert memory.tags.values() == [TagValue("arch", "mips", 10, firm=True)]
    assert memory.tags.server_counts() == {("arch", "vax"): 1}
    asked = memory.erasures.one(memory.erasures.ask(SERVER, Action.ERASE, 1))
    assert asked is not None
    memory.erasures.finish(asked, receipt="", notice=None)
    assert memory.tags.server_counts() == {}
    assert memory.tags.forget("arch", ["mips", "none"]) == 1
    memory.tags.keep([TagValue("arch", "old", 1), TagValue("arch", "new", 9)])
    memory.tags.forget_before(values=5, sightings=5)
    assert memory.tags.values() == [TagValue("arch", "new", 9)]


def test_what_reports_did_for_values_is_taken_back(memory: Memory) -> None:
    def firm(value: str) -> TagValue:
        return TagValue("arch", value, 9, firm=True)

    def sighting(value: str) -> Sighting:
        return Sighting("arch", value, SERVER, 9)

    names = ("bad", "shared", "good")
    memory.tags.keep([*map(firm, names), TagValue("arch", "open", 9)])
    memory.tags.keep([sighting("open"), sighting("waits"), Sighting("distro", "x", SERVER, 9)])
    for _ in range(2):
        memory.tags.discount({"arch": {"bad", "shared", "other"}}, {"arch": {"bad"}})
    good, shared = firm("good"), TagValue("arch", "shared", 9)
    assert memory.tags.values() == [good, TagValue("arch", "open", 9), shared]
    assert memory.tags.server_counts() == {("arch", "open"): 1, ("distro", "x"): 1}


def test_value_that_is_freed_and_admitted_again_is_held(memory: Memory) -> None:
    value = TagValue("arch", "mips", 9)
    memory.tags.keep([value, Freed("arch", "mips"), value])
    assert memory.tags.values() == [value]
    memory.tags.keep([Freed("arch", "mips")])
    assert memory.tags.values() == []


def test_sightings_of_made_up_values_are_bounded(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.memory.tags._MOST_SIGHTINGS", 10)
    memory.tags.keep([Sighting("arch", f"made up {n}", SERVER, n) for n in range(50)])
    assert memory.tags.server_counts() == {("arch", f"made up {n}"): 1 for n in range(40, 50)}


def test_processes_share_it_and_lose_nothing(memory: Memory, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    processes = [
        subprocess.Popen([sys.executable, "-c", ADDER, tmp_path, f"{n:08x}"], cwd=root)
        for n in range(3)
    ]
    assert [process.wait(GUARD_S) for process in processes] == [0, 0, 0]
    assert len(memory.choices.all()) == 90
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "memory").iterdir()} == {0o600}


def truncated(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(4096)


def junked(path: Path) -> None:
    path.write_bytes(random.Random(7).randbytes(path.stat().st_size))


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def beheaded(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\xff" * 4096)


def remember(memory: Memory) -> None:
    memory.choices.keep(Choice(OWNER, True, 5), synced=True)
    memory.erasures.ask(SERVER, Action.ERASE, 1)
    memory.erasures.remember_erased([Notice(NEIGHBOUR, 3, "")], oldest_ns=0)
    memory.tags.keep([TagValue("arch", "mips", 10)])
    memory.tags.keep([Sighting("arch", "vax", SERVER, 8)])


@pytest.mark.parametrize("damage", [truncated, junked, beheaded])
def test_damaged_memory_is_set_aside_and_work_goes_on(
    memory: Memory, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    remember(memory)
    damage(path_in(tmp_path))
    with ThreadPoolExecutor(4) as threads:
        # Whoever meets it first sets it aside, once.
        kept = list(
            threads.map(
                lambda n: memory.choices.keep(Choice(NEIGHBOUR, True, n), synced=False), range(8)
            )
        )
    assert len(kept) == 8
    assert Choice(NEIGHBOUR, True, 7) in memory.choices.all()
    assert len(list((tmp_path / "memory").glob("*.damaged-*"))) == 1


def test_rows_that_can_still_be_read_go_into_the_new_file(memory: Memory, tmp_path: Path) -> None:
    remember(memory)
    beheaded(path_in(tmp_path))
    assert memory.choices.all(unsynced=True) == [Choice(OWNER, True, 5)]
    (asked,) = memory.erasures.all(*State)
    assert (asked.server, asked.action, asked.state) == (SERVER, Action.ERASE, State.ACCEPTED)
    assert memory.erasures.erased() == {NEIGHBOUR: 3}
    assert memory.tags.values() == [TagValue("arch", "mips", 10)]
    assert memory.tags.server_counts() == {("arch", "vax"): 1}


def test_crash_while_a_memory_is_set_aside_loses_nothing(memory: Memory, tmp_path: Path) -> None:
    remember(memory)
    path = path_in(tmp_path)
    path.rename(path.with_name(f"{path.name}.new"))
    assert memory.choices.all() == [Choice(OWNER, True, 5)]


def test_memory_of_a_newer_version_is_refused_and_left_alone(
    memory: Memory, tmp_path: Path
) -> None:
    remember(memory)
    with closing(sqlite3.connect(path_in(tmp_path))) as database:
        database.execute("PRAGMA user_version=99")
    content = path_in(tmp_path).read_bytes()
    with pytest.raises(MemoryUnavailable, match="version 99, newer than"):
        memory.choices.all()
    assert path_in(tmp_path).read_bytes() == content


def choices_of(memory: Memory, instance: int) -> Choices:
    return Choices(
        memory.choices.all(),
        memory,
        Metrics(),
        pseudonyms=Pseudonymiser(KEY),
        stamper=Stamper(instance=instance),
    )


async def test_choice_made_by_one_process_holds_in_another_within_a_second(
    memory: Memory, tmp_path: Path
) -> None:
    here, there = choices_of(memory, 0), choices_of(Memory(tmp_path), 1)
    watching = asyncio.create_task(there.watch(lambda: None))
    best_s = float("inf")
    for number in range(6):
        out = number % 2 == 0
        await here.choose(SERVER, out=out)
        with measured() as spent:
            await until(lambda: there.opted_out(SERVER) is out)  # noqa: B023 - at once
        best_s = min(best_s, spent.own_s)
    # The best of some, since a busy disk takes its time.
    assert best_s < 1
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_choices_come_back_into_a_memory_that_lost_them(
    memory: Memory, tmp_path: Path
) -> None:
    here = choices_of(memory, 0)
    await here.choose(SERVER, out=True)
    junked(path_in(tmp_path))
    await here.refresh()
    (choice,) = memory.choices.all(unsynced=True)
    assert choice.out
    assert here.opted_out(SERVER)
