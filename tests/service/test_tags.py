"""`collector tags`: the values of tags are shown, and given back."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from collector.intakes.tag_sync import TagSync
from collector.memory import Memory
from collector.tag_budget import Change, Changes, Sighting, TagBudget, TagValue
from tests.command import command
from tests.conftest import Databases, StartServe
from tests.sender import encoded, eventually, post, report, until

BUDGET = 40


def today() -> int:
    """Days since 1970, in UTC."""
    return int(time.time()) // 86_400


def listed(environment: Mapping[str, str]) -> str:
    done = command(environment, "tags", "list", "arch")
    assert done.code == 0, done.err
    return done.out


def test_values_are_listed_and_given_back(databases: Databases, serve: StartServe) -> None:
    collector = serve(databases.environment)
    for n in range(BUDGET // 2 + 1):
        body = encoded(report([2000 + n], arch=f"made-up-{n}"))
        assert post(collector.url, body).status == 200
    environment = {"COLLECTOR_STATE_DIR": str(collector.state_dir)}
    waits = f"made-up-{BUDGET // 2} (stored as `other`; servers: 1)"
    eventually(lambda: waits in listed(environment))
    assert "arch: 20 of 40 values; servers needed for a new one: 5" in listed(environment)
    names = [f"made-up-{n}" for n in range(BUDGET // 2)]
    done = command(environment, "tags", "forget", "arch", *names)
    assert (done.code, done.out) == (0, "20 values of arch are removed\n")
    assert command(environment, "tags", "forget", "registration", "x").code == 1
    server = str(uuid.uuid4())
    again = encoded(report([2999], server, arch="said again"))

    def admitted() -> bool:
        # By one server alone: only a place that was given back can be its own.
        assert post(collector.url, again).status == 200
        return "arch: 1 of 40" in listed(environment)

    eventually(admitted)
    assert "said again (open; servers: 1)" in listed(environment)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.intakes.tag_sync._PAUSE_S", 0.02)
    monkeypatch.setattr("collector.intakes.tag_sync._LOOK_S", 0)


@asynccontextmanager
async def in_step(
    memory: Memory, size: int
) -> AsyncIterator[tuple[Callable[[str, object], str], TagBudget]]:
    """A process's budget, kept in step with a memory; it says values of `arch` for servers."""
    budget = TagBudget({"arch": size}, memory_days=90)
    sync = TagSync(memory, budget, memory_days=90)
    loop = asyncio.create_task(sync.run())

    def say(value: str, server: object) -> str:
        changes: Changes = []
        given = budget.admit("arch", value, str(server), today(), changes)
        sync.add(changes)
        return given

    try:
        yield say, budget
        assert not loop.done()
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)


@pytest.mark.usefixtures("quick")
async def test_memory_that_is_away_for_a_while_costs_no_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory(tmp_path)
    assert memory.tags.values() == []
    tries: list[Sequence[Change]] = []
    keep = memory.tags.keep

    def counted(changes: Sequence[Change]) -> None:
        tries.append(changes)
        keep(changes)

    monkeypatch.setattr(memory.tags, "keep", counted)
    directory, away = memory.store.path.parent, tmp_path / "away"
    directory.rename(away)
    directory.touch()
    async with in_step(memory, 40) as (say, _):
        assert say("mips", "s") == "mips"
        await until(lambda: len(tries) > 2)
        directory.unlink()
        away.rename(directory)
        await until(lambda: memory.tags.values() == [TagValue("arch", "mips", today())])


@pytest.mark.usefixtures("quick")
async def test_workers_count_servers_and_share_places_together(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    old = TagValue("arch", "old", today() - 91, firm=True)
    memory.tags.keep([old, Sighting("arch", "x", "s", today() - 8)])
    async with in_step(memory, 4) as (one, _), in_step(memory, 4) as (other, known):
        # What is too old is forgotten by whoever looks first.
        await until(lambda: not memory.tags.values() and not memory.tags.server_counts())
        assert [one("a", n) for n in range(3)] == ["a"] * 3
        await until(lambda: memory.tags.server_counts() == {("arch", "a"): 3})
        for n in range(3, 6):
            other("a", n)
        await until(lambda: memory.tags.server_counts() == {("arch", "a"): 6})
        firm = TagValue("arch", "a", today(), firm=True)
        # The sixth server is counted with those of the other worker, once that has looked.
        await until(lambda: bool(one("a", 6)) and memory.tags.values() == [firm])
        assert one("b", "s") == "b"
        await until(lambda: known.held("arch") == 2)
        # The other one knows that half is spent, and may give the place of an open value away.
        assert other("c", "t") == "other"
        assert other("c", "u") == "c"
        await until(lambda: [one.value for one in memory.tags.values()] == ["a", "c"])
        await until(lambda: one("b", "s") == "other")
