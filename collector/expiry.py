"""Deletes files and dead letters that were set aside, once raw retention is over for them.

They hold pseudonyms: dead letters, outboxes that were set aside or recovered, and memories that
were set aside. The log and a metric warn a week before the first is deleted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from collector.memory import path_in
from collector.metrics import Metrics
from collector.outbox import FILE, OutboxFile, OutboxUnavailable
from collector.outbox.aside import all_set_aside, delete_aside, set_aside_at
from collector.worker import directories

log = structlog.get_logger("collector.expiry")

_PAUSE_S: Final = 60.0
_DAY_NS: Final = 86_400 * 10**9
WARNING_NS: Final = 7 * _DAY_NS
"""Time between the warning and the deletion."""
_LEAST_NS: Final = _DAY_NS
"""Shortest life of a dead letter: its report may already be old when it is set aside."""


@dataclass(slots=True, eq=False)
class Expiry:
    """Deletes expired set-aside data in a state directory; runs in one process only.

    `retention_s` is the retention of raw reports, `retentions` that of each database in seconds
    (0: for ever), which is a dead letter's. `keep_s` is that of delivered copies, and is used
    for recovered outboxes.
    """

    state_dir: Path
    metrics: Metrics
    _: KW_ONLY
    retention_s: int
    keep_s: int
    retentions: Mapping[str, int] = field(default_factory=dict)
    _warned_ns: int = field(default=0, init=False)

    async def run(self) -> None:
        """Check every minute, until cancelled."""
        while True:
            await asyncio.to_thread(self.once, time.time_ns())
            await asyncio.sleep(_PAUSE_S)

    def once(self, now_ns: int) -> None:
        """Delete data expired at `now_ns`, and report data that expires soon. Blocks."""
        soon: list[int] = []
        for directory in directories(self.state_dir):
            soon += self._dead_letters(directory / FILE, now_ns)
        for at_ns, path, kind in self._files():
            if at_ns <= now_ns:
                self._delete(path, kind)
            elif kind != "recovered" and at_ns - now_ns <= WARNING_NS:
                soon.append(at_ns)
        self.metrics.expiring.set(len(soon))
        if soon and now_ns - self._warned_ns >= _DAY_NS:
            self._warned_ns = now_ns
            log.warning(
                "dead letters and damaged files will be deleted: they approach the retention of raw"
                " reports; see `collector outbox dead`, `retry` and `recover`",
                reason="expiring",
                count=len(soon),
                first=datetime.fromtimestamp(min(soon) / 1e9, UTC).isoformat(timespec="seconds"),
            )

    def _dead_letters(self, path: Path, now_ns: int) -> list[int]:
        """Delete an outbox's expired dead letters; return when those due within a week expire."""
        if not path.exists():
            return []
        try:
            with OutboxFile(path) as file:
                ends = {
                    letter.id: max(
                        letter.received_ns
                        + (self.retentions.get(letter.target) or self.retention_s) * 10**9,
                        letter.set_aside_ns + _LEAST_NS,
                    )
                    for letter in file.dead_letters()
                }
                due = [number for number, at in ends.items() if at <= now_ns]
                if due:
                    file.drop_dead_letters(due)
                    self._record("dead-letter", len(due), path.parent.name)
        except OutboxUnavailable as error:
            log.warning("dead letters could not be read", why=str(error))
            return []
        return [at for at in ends.values() if now_ns < at <= now_ns + WARNING_NS]

    def _files(self) -> Iterator[tuple[int, Path, str]]:
        """Yield when each file that was set aside is deleted (ns since 1970), its path and kind."""
        for directory in directories(self.state_dir):
            for path in all_set_aside(directory):
                recovered = ".recovered-" in path.name
                keep_s = min(self.keep_s, self.retention_s) if recovered else self.retention_s
                kind = "recovered" if recovered else "set-aside"
                yield set_aside_at(path) + keep_s * 10**9, path, kind
        # The memory's file, and that of live values beside it.
        for path in path_in(self.state_dir).parent.glob("*.sqlite3.damaged-*"):
            if not path.name.endswith("-wal"):
                yield set_aside_at(path) + self.retention_s * 10**9, path, "set-aside"

    def _delete(self, path: Path, kind: str) -> None:
        try:
            delete_aside(path)
        except OSError as error:
            log.error(
                "an expired file cannot be deleted",
                reason="undeletable",
                file=path.name,
                why=error.strerror,
            )
        else:
            self._record(kind, 1, path.name)

    def _record(self, kind: str, count: int, where: str) -> None:
        self.metrics.expired.labels(kind).inc(count)
        if kind != "recovered":
            log.error(
                "dead letters or damaged files are deleted: the retention of raw reports is over",
                reason="expired",
                kind=kind,
                count=count,
                where=where,
            )
