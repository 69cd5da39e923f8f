"""Parses the payloads of stored records again after a change of a parser or of its list."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from sqlalchemy import and_, or_, select

from collector.records.errors import RecordsError
from collector.records.parsers.registry import Parsers
from collector.records.record import from_row
from collector.records.store import RecordsStore
from collector.records.tables import FINDINGS, RECORDS

log = structlog.get_logger("collector.records")

_PAUSE_S: Final = 5.0
_ROWS: Final = 50


class Recompute:
    """Keeps findings up to date with the installed parsers; runs in one process only."""

    def __init__(self, store: RecordsStore, parsers: Parsers) -> None:
        self._store = store
        self._parsers = parsers
        self._clean: dict[str, str] | None = None
        """The parsers' versions at which nothing was outdated; delivery parses newer records."""

    async def run(self) -> None:
        """Look for outdated findings every 5 s, until cancelled."""
        while True:
            done = 0
            try:
                # In small steps: a thread cannot be cancelled, and a stop waits for it.
                while count := await asyncio.to_thread(self.step):
                    done += count
            except RecordsError as error:
                log.warning("payloads cannot be parsed again now", why=str(error))
            if done:
                log.info("payloads are parsed again", records=done)
            await asyncio.sleep(_PAUSE_S)

    def step(self) -> int:
        """Parse some outdated records again, the newest first; return their number. Blocks.

        Raises RecordsError.
        """
        versions = self._parsers.versions()
        if versions == self._clean:
            return 0
        self._store.prepare()
        current = [
            and_(FINDINGS.c.parser == name, FINDINGS.c.version == version)
            for name, version in versions.items()
        ]
        outdated = (
            select(RECORDS)
            .outerjoin(FINDINGS, FINDINGS.c.stamp == RECORDS.c.stamp)
            .where(or_(FINDINGS.c.stamp.is_(None), ~or_(*current)))
            .order_by(RECORDS.c.id.desc())
            .limit(_ROWS)
        )
        records = [from_row(row) for row in self._store.rows(outdated)]
        found = [self._parsers.find(record) for record in records]
        self._store.replace_findings(found, of=[record.stamp for record in records])
        if not records:
            self._clean = versions
        return len(records)
