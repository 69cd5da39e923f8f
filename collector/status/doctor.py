"""Checks of `collector doctor`: those of `collector check`, and the first steps of the runbook."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

from collector.check import Area, examine
from collector.influx import InfluxError
from collector.parts import influx_of, reconciler_of
from collector.settings import Settings
from collector.sqlite.errors import StoreUnavailable
from collector.status.gather import gather
from collector.status.problems import examined
from collector.status.report import Diagnosis, Finding

_PATIENCE_S: Final = 30.0
_ADVICE: Final = {
    Area.STATE: (
        "do what the line says, then run `collector check` again",
        "",
    ),
    Area.INFLUX: (
        "start InfluxDB, or correct COLLECTOR_INFLUX_URL, _TOKEN and _ORG (of raw data's own"
        " InfluxDB: COLLECTOR_INFLUX_RAW_URL, …); reports wait in the outbox as long as it has"
        " room",
        "InfluxUnreachable",
    ),
    Area.NATS: (
        "do what the line says; docs/jetstream.md tells how the servers should be; reports wait in"
        " the outbox as long as it has room",
        "InfluxUnreachable",
    ),
    Area.RECORDS: (
        "make the store reachable, or correct COLLECTOR_RECORDS_URL; records wait in the outbox",
        "InfluxUnreachable",
    ),
    Area.STATSD: (
        "correct the setting or the file that the line names, and restart the collector",
        "AsteriskSilent",
    ),
    Area.ASTERISK: (
        "correct manager.conf or the file of Asterisks (docs/senders/asterisk-ami.md), and send the"
        " collector SIGHUP",
        "AmiAway",
    ),
}


async def diagnose(settings: Settings) -> Diagnosis:
    """Run all checks; they change nothing, and what they find is no error."""
    status, checks = await asyncio.gather(gather(settings), examine(settings))
    findings = examined(status)
    for one in checks:
        do, runbook = ("", "") if one.good else _ADVICE[one.area]
        findings.append(
            Finding(check=one.area, good=one.good, text=one.text, do=do, runbook=runbook)
        )
    if status.influxdb.version is not None:
        findings += await _due(settings)
    return Diagnosis(made=status.made, good=all(one.good for one in findings), findings=findings)


async def _due(settings: Settings) -> list[Finding]:
    """Compare the stored days with their raw reports, as the collector does by itself."""
    try:
        async with asyncio.timeout(_PATIENCE_S), influx_of(settings) as influx:
            due = sorted(await reconciler_of(settings, influx).due(datetime.now(UTC)))
    except (InfluxError, StoreUnavailable, TimeoutError, OSError):
        # Without a database there are no days, and an InfluxDB that fails is a finding already.
        return []
    past = [day for day in due if day < datetime.now(UTC).date()]
    if not past:
        return [Finding(check="days", good=True, text="every past day is as its raw reports say")]
    return [
        Finding(
            check="days",
            good=False,
            text=f"{len(past)} past days differ from their raw reports, the first is {past[0]}",
            do=f"a running collector computes them by itself; `collector verify --from {past[0]}"
            f" --to {past[-1]} --repair` does so now",
            runbook="DailySeriesLate",
        )
    ]
