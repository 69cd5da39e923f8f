"""Five years of the published series of a large fleet: days rolled up, and the days between."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final

from collector.days import day_ns
from collector.influx import Influx
from collector.influx.client import Written
from collector.influx.databases import ensure
from collector.lines import FieldValue, line, tag_set
from collector.rollup.cache import FactsCache
from collector.rollup.daily import Daily
from collector.rollup.points import Points, Tags
from collector.rollup.raw import span_of
from collector.rollup.store import stored_points
from collector.schema import (
    ASL_VERSION,
    ASTERISK_VERSION,
    DAILY,
    DAILY_UPGRADES,
    DAILY_USAGE,
    HOURLY_USAGE,
    MEASUREMENTS,
    RAW,
    WEEKLY,
    Measurement,
)
from collector.schema.budgets import ASL_BUDGETS
from tools.embedded import EmbeddedInflux
from tools.simulation.catalogue import RELEASES
from tools.simulation.fleet import Fleet
from tools.simulation.sending import converter_of_past, lay_down

DAYS: Final = 5 * 365 + 1
_SERVERS: Final = 22_000
_GROWTH: Final = 0.2
_FLEET_DAYS: Final = int(RELEASES[0].age) + 13
"""The catalogue's releases span half of the time: the older half has older versions."""
_SAMPLES: Final = 10
_PUBLISHED: Final = tuple(item for item in MEASUREMENTS if item.database == DAILY)
_VERSIONS: Final = (ASL_VERSION.name, ASTERISK_VERSION.name)
_NOISE: Final = 0.03
_BATCH: Final = 10_000

Day = Mapping[Measurement, Points]
"""All that the rollup stored of one day."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What was laid down, and what the rollup itself made of its last day."""

    points: int
    series: int
    samples: int
    rolled_points: int
    nodes: int


async def sampled(folder: Path, samples: int = _SAMPLES) -> list[Day]:
    """Days spread evenly over the fleet's time, each rolled up from the reports of two days.

    The last is the fleet's last. The day before each is what upgrades are counted from.
    """
    start = datetime.now(UTC).date() - timedelta(days=_FLEET_DAYS)
    fleet = Fleet(seed=1, servers=_SERVERS, start=start, days=_FLEET_DAYS, growth=_GROWTH)
    step = (_FLEET_DAYS - 2) / (samples - 1)
    found: list[Day] = []
    async with EmbeddedInflux(folder / "sampled") as server, Influx(server.url) as influx:
        await ensure(influx, {RAW: 0, DAILY: 0})
        converter = converter_of_past(
            bytes(32), instance=0, budgets=ASL_BUDGETS, memory_days=_FLEET_DAYS
        )
        daily = Daily(influx, k=5, retention_s=0, cache=FactsCache(folder / "rolled", k=5))
        for number in range(samples):
            day = start + timedelta(days=1 + round(number * step))
            both = (day - timedelta(days=1), day)
            await lay_down((fleet.day(each) for each in both), converter, influx, done=lambda: None)
            for each in both:
                await daily.roll(each, datetime.now(UTC))
            span = span_of(day, day)
            found.append({item: await stored_points(influx, item, span) for item in _PUBLISHED})
    return found


async def lay_years(influx: Influx, samples: Sequence[Day], days: int = DAYS) -> Shape:
    """Write the days that end with yesterday."""
    batches = _batches(samples, datetime.now(UTC).date() - timedelta(days=days), days)
    nothing: list[str] = []
    count, batch = 0, await asyncio.to_thread(next, batches, nothing)
    while batch:
        count += len(batch)
        # One batch is made while InfluxDB stores the one before.
        result, batch = await asyncio.gather(
            influx.write(DAILY, "\n".join(batch).encode()),
            asyncio.to_thread(next, batches, nothing),
        )
        assert isinstance(result, Written), result
    found = await influx.query(DAILY, "SHOW SERIES CARDINALITY")
    last = samples[-1]
    return Shape(
        points=count,
        series=found[0].values[0][0],
        samples=len(samples),
        rolled_points=sum(len(points) for points in last.values()),
        nodes=int(next(iter(last[DAILY_USAGE].values()))["nodes"]),
    )


def _batches(samples: Sequence[Day], first: date, days: int) -> Iterator[list[str]]:
    batch: list[str] = []
    for number in range(days):
        batch += lines_of(samples, first + timedelta(days=number), number, days)
        while len(batch) >= _BATCH:
            yield batch[:_BATCH]
            batch = batch[_BATCH:]
    if batch:
        yield batch


def lines_of(samples: Sequence[Day], day: date, number: int, days: int) -> Iterator[str]:
    """The lines of one day, the `number`-th of so many.

    They are those of the sample before it, in the older half under the versions before; counts
    have grown less, and each is up to 3 per cent more or less.
    """
    chance = Random(number)
    half = (days + 1) // 2
    older, place = number < days - half, (number - (days - half)) % half
    sample = samples[place * len(samples) // half]
    grown = (1 + _GROWTH) ** ((number // half - 1) * _FLEET_DAYS / 365)
    for measurement, points in sample.items():
        for (time, tags), fields in points.items():
            at = day_ns(day) + time % (86_400 * 10**9)
            named = _older(tags) if older else tags
            changed = {
                name: value
                if name == "final"
                else _moved(value, grown * (1 + _NOISE * (2 * chance.random() - 1)))
                for name, value in fields.items()
            }
            changed.pop(WEEKLY.name, None)
            if WEEKLY in measurement.fields and day.isoweekday() == 7:
                changed[WEEKLY.name] = changed[measurement.fields[0].name]
            if measurement is HOURLY_USAGE:
                # The rollup leaves them out where the days before are missing.
                changed.setdefault("expected_reports", float(changed["reports"]))
                changed.setdefault("expected_nodes_24h", float(changed["nodes_24h"]))
            yield line(measurement.name, tag_set(dict(named)), changed, at)


def _moved(value: FieldValue, factor: float) -> FieldValue:
    return max(1, round(value * factor)) if isinstance(value, int) else value


def _older(tags: Tags) -> Tags:
    of = dict(tags)
    renamed = {
        "value": of.get("dimension") in _VERSIONS,
        "within_value": of.get("within") in _VERSIONS,
        **dict.fromkeys((tag.name for tag in DAILY_UPGRADES.tags), True),
        "version": True,
    }
    return tuple((name, _before(value) if renamed.get(name) else value) for name, value in tags)


def _before(version: str) -> str:
    """Another version that looks like one of the line before."""
    return re.sub(r"\d+", lambda found: str(max(0, int(found[0]) - 1)), version, count=1)
