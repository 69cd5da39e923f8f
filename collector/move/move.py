"""Move of all databases of the schema to another InfluxDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from collector.days import NS_PER_S
from collector.influx import Influx
from collector.influx.contents import Contents
from collector.influx.databases import ensure, retentions
from collector.move.copy import Copy, MoveError, Progress, Totals
from collector.move.journal import Journal
from collector.schema import DATABASES

_MARGIN_S: Final = 3600
"""Points that expire within this time stay behind: the target would refuse them a moment later."""


async def move(
    source: Influx,
    target: Influx,
    journal: Journal,
    *,
    now: datetime,
    overwrite: bool,
    progress: Progress,
    databases: Sequence[str] = DATABASES,
) -> dict[str, Totals]:
    """Make the target's databases equal to the source's, within retention.

    Databases that the target lacks are created with the source's retention. Without `overwrite`, a
    target that holds points of another origin is refused. Raises MoveError, InfluxError.
    """
    held = await retentions(source, databases)
    kept = {database: seconds for database, seconds in held.items() if seconds is not None}
    if not kept:
        names = ", ".join(source.name(database) for database in databases)
        urls = " and ".join(server.url for server in source.by_server(databases))
        raise MoveError(f"{urls} has none of the databases {names}")
    await _check(target, kept, strangers=not (journal.begun or overwrite))
    journal.begin()
    await ensure(target, kept)
    totals = {}
    for database, seconds in kept.items():
        oldest_s = int(now.timestamp()) - seconds + _MARGIN_S
        copy = Copy(
            database,
            Contents(source, database, everywhere=True),
            Contents(target, database),
            journal,
            oldest_ns=oldest_s * NS_PER_S if seconds else None,
            progress=progress,
        )
        totals[database] = await copy.run()
    return totals


async def _check(target: Influx, kept: Mapping[str, int], *, strangers: bool) -> None:
    """Refuse a target whose retention is too short, or, if `strangers`, that has points."""
    for database, there in (await retentions(target, kept)).items():
        if there is None:
            continue
        name, seconds = target.name(database), kept[database]
        if there and (not seconds or there < seconds):
            raise MoveError(
                f"{name} at {target.url} keeps points for {there // 86_400} days, the source for"
                f" {f'{seconds // 86_400} days' if seconds else 'ever'}: what is older would be"
                " lost. Lengthen the retention there, or delete the empty database: it is made anew"
            )
        contents = Contents(target, database)
        if strangers and await contents.extent(*await contents.measurements()):
            raise MoveError(
                f"{name} at {target.url} holds points that this move has not written; they would be"
                " replaced. Delete that database, or use --overwrite if they may go"
            )
