"""`collector tags`: the values of tags are shown, and given back."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from collector.admission import News, TagBudget, TagValue
from collector.intakes.remember import TagNews
from collector.memory import Memory
from tests.command import command
from tests.conftest import Databases, StartServe
from tests.sender import encoded, eventually, post, report, until

BUDGET = 40


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
    assert "arch: 20 of 40 values; a new one needs 5 servers" in listed(environment)
    names = [f"made-up-{n}" for n in range(BUDGET // 2)]
    done = command(environment, "tags", "forget", "arch", *names)
    assert (done.code, done.out) == (0, "20 values of arch are forgotten\n")
    assert command(environment, "tags", "forget", "registration", "x").code == 1
    server = str(uuid.uuid4())
    again = encoded(report([2999], server, arch="said again"))

    def admitted() -> bool:
        # By one server alone: only a place that was given back can be its own.
        assert post(collector.url, again).status == 200
        return "arch: 1 of 40" in listed(environment)

    eventually(admitted)
    assert "said again (open; servers: 1)" in listed(environment)


async def test_memory_that_is_away_for_a_while_costs_no_change(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    assert memory.tags.values() == []
    budget = TagBudget({"arch": 40}, memory_days=90)
    news = TagNews(memory, budget, memory_days=90)
    directory, away = memory.store.path.parent, tmp_path / "away"
    directory.rename(away)
    directory.touch()
    loop = asyncio.create_task(news.run())
    try:
        changes: News = []
        today = int(time.time()) // 86_400
        assert budget.admit("arch", "mips", "s", today, changes) == "mips"
        news.add(changes)
        await asyncio.sleep(1.5)
        assert not loop.done()
        directory.unlink()
        away.rename(directory)
        await until(lambda: memory.tags.values() == [TagValue("arch", "mips", today)])
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
