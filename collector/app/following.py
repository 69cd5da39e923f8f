"""The part that does for a publisher what a receiver in the same process would do.

It keeps the node list up to date, and deletes the rollup's cached facts of days on which a receiver
has erased reports.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from collector.app.part import Base, OpenPart, Part
from collector.nodelist import NodeList
from collector.owners.notices import Notices, follow


@asynccontextmanager
async def following(base: Base) -> AsyncIterator[OpenPart]:
    """Follow the receivers from entry to exit."""
    settings, loop = base.settings, base.supervisor.loop
    nodelist = NodeList(settings.nodelist_url, directory=base.whole.state_dir, metrics=base.metrics)
    notices = Notices(base.influx, keep_seconds=settings.retention_raw)
    async with (
        loop("nodelist", nodelist.run, vital=False),
        loop("erasures", partial(follow, notices, base.daily, base.turns.lock), vital=False),
    ):
        yield OpenPart()


FOLLOWING: Final = Part("following", following)
