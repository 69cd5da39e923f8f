"""The other senders of the demo, LibreNMS's installs and telemetrics-client's machines.

Their past goes through the code of their intakes, straight into the stores; what is due while the
demo runs is posted over HTTP, as their clients do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import aiohttp

from collector.influx import Influx
from collector.influx.writing import write_all
from collector.intakes.librenms.points import Prepared, prepare
from collector.intakes.librenms.points import ReportConverter as InstallConverter
from collector.intakes.telemetrics.fields import TID, check
from collector.intakes.telemetrics.points import RecordConverter
from collector.lines import ReportStamper, Stamper
from collector.metrics import Metrics
from collector.privacy import Pseudonymiser
from collector.problems import Refusal
from collector.records.parsers.registry import Parsers, installed
from collector.records.store import RecordsStore
from collector.schema import LIBRENMS
from collector.schema.budgets import LIBRENMS_BUDGETS, TELEMETRICS_BUDGETS
from collector.schema.telemetrics import TELEMETRICS
from collector.settings import Settings
from collector.tag_budget import TagBudget
from tools.simulation.fleet import Submission
from tools.simulation.installs import Installs
from tools.simulation.records import Machines, RecordSent
from tools.simulation.sending import PostError

DAYS: Final = 30
"""Days of their past."""
INSTALLS: Final = 60
MACHINES: Final = 40
_AT_ONCE: Final = 200
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True)
class Senders:
    """The installs and the machines of a demo whose last day is `today`."""

    installs: Installs
    machines: Machines
    today: date

    @classmethod
    def until(cls, today: date, *, seed: int) -> Senders:
        """Those that report for DAYS up to today, and some days more."""
        start = today - timedelta(days=DAYS - 1)
        return cls(
            Installs(seed=seed, installs=INSTALLS, start=start, days=DAYS),
            Machines(seed=seed, machines=MACHINES, start=start, days=DAYS),
            today,
        )

    @property
    def days(self) -> list[date]:
        """The days of the past, today last."""
        return [self.today - timedelta(days=back) for back in reversed(range(DAYS))]


async def lay_installs(
    reports: Iterable[Submission], influx: Influx, settings: Settings, key: bytes
) -> int:
    """Store LibreNMS's reports, each at its time; return their number. Raises InfluxError."""
    converter = InstallConverter(
        pseudonyms=Pseudonymiser(key),
        stamper=ReportStamper(instance=settings.instance),
        budget=TagBudget(LIBRENMS_BUDGETS, memory_days=DAYS),
        metrics=Metrics(),
    )
    lines = []
    for each in reports:
        prepared = prepare(each.body)
        if isinstance(prepared, Prepared):
            lines.append(converter.entry(prepared, each.received_ns, []).lines)
    for first in range(0, len(lines), _AT_ONCE):
        batch = b"\n".join(lines[first : first + _AT_ONCE])
        await write_all(influx, LIBRENMS, "the installs' past", [batch])
    return len(lines)


async def lay_records(
    sent: Iterable[RecordSent], influx: Influx, settings: Settings, key: bytes
) -> int:
    """Store records, each at its time; return their number.

    Raises InfluxError, RecordsError, PostError.
    """
    converter = RecordConverter(
        pseudonyms=Pseudonymiser(key),
        stamper=Stamper(instance=settings.instance),
        budget=TagBudget(TELEMETRICS_BUDGETS, memory_days=DAYS),
        metrics=Metrics(),
        keep_ids=settings.telemetrics_keep_ids,
    )
    parsers = Parsers(installed(settings), Metrics())
    records, points = [], []
    for each in sent:
        fields = {**each.fields, TID: settings.telemetrics_tid}
        checked = check(fields, each.payload, tid=settings.telemetrics_tid)
        if isinstance(checked, Refusal):
            raise PostError(f"a simulated record is refused: {checked.detail}")
        record = converter.record(checked, each.received_ns)
        records.append(record)
        points.append(converter.entries(record, each.received_ns, [])[1].lines)
    if points:
        await write_all(influx, TELEMETRICS, "the records' past", [b"\n".join(points)])
    store = RecordsStore(settings.records_url.get_secret_value(), directory=settings.state_dir)
    try:
        # The collector prepares it too, perhaps later.
        await asyncio.to_thread(store.prepare)
        await asyncio.to_thread(store.add, records, [parsers.find(one) for one in records])
    finally:
        store.close()
    return len(records)


async def post_install(session: aiohttp.ClientSession, base: str, body: bytes) -> int:
    """Post a report of LibreNMS; return the status of the reply. Raises aiohttp's errors."""
    async with session.post(f"{base}/log.php", data=body, headers=_FORM) as reply:
        return reply.status


async def post_record(
    session: aiohttp.ClientSession, base: str, settings: Settings, sent: RecordSent
) -> int:
    """Post a record in the form of its client, old or new; return the status of the reply.

    Raises aiohttp's errors.
    """
    tid = {"X-Telemetry-Tid": settings.telemetrics_tid}
    if sent.received_ns % 2:
        headers, body = dict(sent.fields) | tid | {"Content-Type": "text/plain"}, sent.payload
    else:
        headers, body = tid | {"Content-Type": "application/json"}, sent.json
    async with session.post(f"{base}/v2/collector", data=body, headers=headers) as reply:
        return reply.status
