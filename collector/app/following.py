"""The part of a publisher that does what a receiver in the same process would do.

It keeps the node list up to date, carries out orders of other processes, and deletes the rollup's
cached facts of days on which a receiver has erased reports.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

from collector.app.part import Base, OpenPart, Part
from collector.nodelist import NodeList
from collector.orders import PUBLISHER
from collector.owners.notices import Follower, Notices, forget_facts
from collector.parts import participation
from collector.state import PUBLISHER_PARTICIPANT


@asynccontextmanager
async def following(base: Base) -> AsyncIterator[OpenPart]:
    """Follow the receivers from entry to exit."""
    settings, loop = base.settings, base.supervisor.loop
    nodelist = NodeList(settings.nodelist_url, directory=base.whole.state_dir, metrics=base.metrics)
    notices = Notices(base.influx, keep_seconds=settings.retention_notices)
    follower = Follower(notices, partial(forget_facts, base.daily, base.turns.lock))
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        await enter(loop("nodelist", nodelist.run, vital=False))
        await enter(loop("erasures", follower.run, vital=False))
        orders = await enter(participation(base.whole, PUBLISHER_PARTICIPANT, PUBLISHER, follower))
        await enter(loop("orders", orders, vital=False))
        yield OpenPart()


FOLLOWING: Final = Part("following", following)
