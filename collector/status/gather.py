"""Reads the state of a collector. It changes nothing and waits for nothing longer than seconds."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final, NamedTuple, TypeVar

import aiohttp

from collector.check import databases_of
from collector.influx import Influx, InfluxError, Select, read
from collector.influx.databases import retentions
from collector.influx.diagnosis import NotSupported
from collector.orders import OrdersUnavailable
from collector.outbox import FILE, OutboxUnavailable, set_aside
from collector.outbox.peek import peek
from collector.parts import influx_of
from collector.redaction import redacted
from collector.schema import DAILY, DAILY_USAGE, HOURLY_USAGE, Measurement
from collector.settings import Settings
from collector.status.certificates import certificates
from collector.status.report import (
    Alerts,
    InfluxDB,
    Intake,
    LastDay,
    Outbox,
    Process,
    Retention,
    Status,
)
from collector.status.report import Disk as DiskPart
from collector.worker import directories

_PATIENCE_S: Final = 5.0
_ACCEPTED: Final = "accepted"
_NEWEST_DAYS: Final = 5

T = TypeVar("T")
Samples = dict[str, dict[str, float]]
"""Values of metrics by name and by their labels, joined by commas."""


async def gather(settings: Settings) -> Status:
    """Read the state of the collector with these settings. It raises nothing of what it finds."""
    (process, samples), stored, ends, behind = await asyncio.gather(
        _process(settings), _stored(settings), certificates(settings), _behind(settings)
    )
    outbox, newest = await asyncio.to_thread(_outbox, settings)
    published, *raw = stored
    day, hour = published.day, published.hour
    wrong = _metric(samples, "collector_clock_wrong")
    return Status(
        made=datetime.now(UTC).replace(microsecond=0),
        version=version("usage-collector"),
        collector=process,
        intake=Intake(
            outcomes=_outcomes(samples) if process.running else None,
            newest=newest,
            hour=None if hour is None else _moment(hour["time"]),
            reports=_whole(hour, "reports"),
            expected_reports=_number(hour, "expected_reports"),
        ),
        outbox=outbox.model_copy(update={"blocked": _blocked(samples)}),
        influxdb=published.server,
        influxdb_raw=raw[0].server if raw else None,
        last_day=LastDay(
            day=None if day is None else _moment(day["time"]).date(),
            **{name: _whole(day, name) for name in ("nodes", "servers", "reports")},
        ),
        alerts=Alerts(
            nodes_24h=_whole(hour, "nodes_24h"),
            expected_nodes_24h=_number(hour, "expected_nodes_24h"),
            erasures_queued=_metric(samples, "collector_erasures_queued"),
            orders_behind=behind,
            days_due=_metric(samples, "collector_rollup_days_due"),
            days_failing=_metric(samples, "collector_rollup_days_failing"),
            clock_wrong=None if wrong is None else bool(wrong),
        ),
        retention=[one for each in stored for one in each.kept],
        disk=_disk(settings),
        certificates=ends,
    )


async def _behind(settings: Settings) -> list[str] | None:
    """Name the processes that have not carried out all orders; None if NATS does not tell."""
    if not settings.nats_url:
        return None
    from collector.jetstream.board import Board  # noqa: PLC0415 - an extra, which may be missing
    from collector.jetstream.connection import Connection  # noqa: PLC0415
    from collector.jetstream.participants import ORDER_S, behind  # noqa: PLC0415

    async with Connection(settings, name="collector status", patience_s=_PATIENCE_S) as to:
        try:
            late = await behind(Board(to, settings), for_s=ORDER_S)
        except OrdersUnavailable:
            return None
    return [f"{one.name} on {one.host}" for one in late]


async def _process(settings: Settings) -> tuple[Process, Samples]:
    """Ask the private address for its state and its metrics."""
    at = settings.metrics_listen
    host = "127.0.0.1" if at.host in {"*", "0.0.0.0"} else at.host  # noqa: S104 - compared, not bound
    host = f"[{host}]" if ":" in host else host
    workers = settings.workers
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
    try:
        async with aiohttp.ClientSession(f"http://{host}:{at.port}", timeout=timeout) as session:
            why = [await _refusal(session, path) for path in ("/readyz", "/healthz")]
            async with session.get("/metrics") as response:
                samples = _samples(await response.text())
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        words = f"nothing answers at {host}:{at.port} (COLLECTOR_METRICS_LISTEN)"
        if not isinstance(error, aiohttp.ClientConnectorError):
            words = f"no answer in time at {host}:{at.port} ({type(error).__name__})"
        return Process(running=False, why=words, workers=workers), {}
    role = _label(next(iter(samples.get("collector_role", ())), ""), "role")
    words = "; ".join(filter(None, why))
    process = Process(running=True, ready=not words, why=words, workers=workers)
    return process.model_copy(update={"role": role} if role else {}), samples


async def _refusal(session: aiohttp.ClientSession, path: str) -> str:
    """The reason why a path answers with an error; empty if it does not."""
    async with session.get(path) as response:
        if response.ok:
            return ""
        try:
            return str((await response.json(content_type=None)).get("detail", "")) or path
        except (ValueError, AttributeError):
            return f"{path} answers {response.status}"


def _samples(page: str) -> Samples:
    found: Samples = {}
    for line in page.splitlines():
        if line.startswith("collector_"):
            key, _, value = line.rpartition(" ")
            name, _, labels = key.partition("{")
            found.setdefault(name, {})[labels.removesuffix("}")] = float(value)
    return found


def _label(labels: str, name: str) -> str:
    """The value of a label; empty if it is missing."""
    return labels.partition(f'{name}="')[2].partition('"')[0]


def _outcomes(samples: Samples) -> dict[str, int]:
    """Submissions by outcome, of all intakes together; `accepted` is always there."""
    found = {_ACCEPTED: 0}
    for labels, value in samples.get("collector_reports_total", {}).items():
        outcome = _label(labels, "outcome")
        found[outcome] = found.get(outcome, 0) + int(value)
    return {name: count for name, count in found.items() if count or name == _ACCEPTED}


def _blocked(samples: Samples) -> list[str]:
    """The targets to which delivery makes no progress, with the reason."""
    return [
        f"{_label(labels, 'target')}: {_label(labels, 'reason')}"
        for labels, value in samples.get("collector_writer_blocked", {}).items()
        if value
    ]


def _metric(samples: Samples, name: str) -> int | None:
    values = samples.get(name)
    return None if values is None else int(sum(values.values()))


Row = dict[str, float]


class _Stored(NamedTuple):
    """One server's part of the status: itself, newest final day, newest whole hour, retentions."""

    server: InfluxDB
    day: Row | None = None
    hour: Row | None = None
    kept: Sequence[Retention] = ()


async def _stored(settings: Settings) -> list[_Stored]:
    """The part of each server, that of the published series first."""
    async with influx_of(settings, retry_ping=False) as influx:
        held = influx.by_server(databases_of(settings))
        looks = (_server(server, held[server]) for server in influx.servers())
        return list(await asyncio.gather(*looks))


async def _server(influx: Influx, names: Sequence[str]) -> _Stored:
    made = InfluxDB(url=redacted(influx.url))
    days: list[Row] = []
    hours: list[Row] = []
    try:
        async with asyncio.timeout(_PATIENCE_S):
            answers = made.model_copy(update={"version": await influx.ping()})
            if DAILY in names:
                days = await _or(_rows(influx, DAILY_USAGE, _NEWEST_DAYS), [])
                hours = await _or(_rows(influx, HOURLY_USAGE, 1), [])
            held = await _or(retentions(influx, names), {})
    except TimeoutError:
        words = f"no answer within {_PATIENCE_S:.0f} s"
        return _Stored(made.model_copy(update={"problem": words}))
    except (NotSupported, InfluxError) as error:
        return _Stored(made.model_copy(update={"problem": str(error)}))
    day = next((row for row in days if row.get("final")), None)
    kept = [
        Retention(database=influx.name(name), seconds=seconds) for name, seconds in held.items()
    ]
    return _Stored(answers, day, next(iter(hours), None), kept)


async def _or(work: Awaitable[T], nothing: T) -> T:
    """The result of `work`, or `nothing` if this token may not read it, or it is not there yet."""
    try:
        return await work
    except InfluxError:
        return nothing


async def _rows(influx: Influx, measurement: Measurement, count: int) -> list[Row]:
    """The newest rows of a measurement, the newest first."""
    more = f"ORDER BY time DESC LIMIT {count}"
    found = await read(influx, Select(DAILY, measurement.name, ["*"], more=more))
    return [row for series in found for row in series.rows()]


def _outbox(settings: Settings) -> tuple[Outbox, datetime | None]:
    """The outboxes of all workers, and when the newest report was received."""
    limit = int(settings.outbox_max)
    empty = Outbox(waiting={}, bytes=0, limit_bytes=limit, dead_letters=0, set_aside=0)
    if not settings.state_dir.exists():
        return empty, None
    try:
        own = directories(settings.state_dir)
        found = [peek(path) for one in own if (path := one / FILE).exists()]
        size = sum(
            path.stat().st_size
            for one in own
            for path in (one / FILE, one / f"{FILE}-wal")
            if path.exists()
        )
        aside = sum(len(set_aside(one)) for one in own)
    except (OutboxUnavailable, OSError) as error:
        return empty.model_copy(update={"problem": str(error)}), None
    waiting: Counter[str] = Counter()
    refusals: Counter[str] = Counter()
    for one in found:
        waiting.update(one.waiting)
        refusals.update(one.refusals)
    now_ns = datetime.now(UTC).timestamp() * 10**9
    oldest = min((one.oldest_ns for one in found if one.oldest_ns), default=None)
    newest = max((one.newest_ns for one in found), default=0)
    return Outbox(
        waiting=dict(waiting),
        oldest_age_s=None if oldest is None else max(0, int((now_ns - oldest) // 10**9)),
        bytes=size,
        limit_bytes=limit,
        dead_letters=refusals.total(),
        refusals=dict(refusals),
        set_aside=aside,
    ), _moment(newest) if newest else None


def _disk(settings: Settings) -> DiskPart:
    made = DiskPart(path=str(settings.state_dir.absolute()))
    try:
        usage = shutil.disk_usage(settings.state_dir)
    except OSError:
        return made
    return made.model_copy(update={"free_bytes": usage.free, "size_bytes": usage.total})


def _moment(time_ns: float) -> datetime:
    return datetime.fromtimestamp(int(time_ns) // 10**9, UTC)


def _whole(row: Row | None, name: str) -> int | None:
    value = _number(row, name)
    return None if value is None else int(value)


def _number(row: Row | None, name: str) -> float | None:
    value = None if row is None else row.get(name)
    return None if value is None else float(value)
