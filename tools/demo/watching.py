"""The Prometheus of the demo, and the alert rules as Grafana would evaluate them."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from tools.dashboards.asked import OPS, RULES
from tools.demo.metrics_past import Past
from tools.demo.past import Cast, Laid, Story
from tools.demo.story import RECORDS_DATABASE, Place
from tools.prometheus import EmbeddedPrometheus, is_here, lay_samples
from tools.watch.rules import Provisioned, provisioned
from tools.watch.sources import Sources

SCRAPE_S: Final = 5
AGAIN_S: Final = 12.0
_SCRAPED_S: Final = 20.0
_LOOK_S: Final = 0.2
_CONFIG: Final = Path(__file__).resolve().parents[2] / "deploy/prometheus/prometheus.yml"


@dataclass(frozen=True)
class Watching:
    """The servers that dashboards and alerts ask; `prometheus` is None where there is none.

    `grafanas` are the URLs of the Grafanas that run, by kind: `community`, `ops`.
    """

    prometheus: EmbeddedPrometheus | None
    sources: Sources
    grafanas: dict[str, str] = field(default_factory=dict)

    def rules(self) -> list[Provisioned]:
        """The alert rules whose servers run."""
        return [rule for rule in provisioned() if all(map(self.sources.answers, rule.sources()))]

    async def firing(self) -> list[str]:
        """The rules whose condition holds now, and still does AGAIN_S later; Grafana waits longer.

        Raises AskError, aiohttp's errors.
        """
        held = await holding(self.rules(), self.sources, int(time.time()))
        if held:
            await asyncio.sleep(AGAIN_S)
            again = [rule for rule in self.rules() if rule.title in held]
            held = await holding(again, self.sources, int(time.time()))
        return list(held)


async def holding(
    rules: Sequence[Provisioned], sources: Sources, now: int
) -> dict[str, list[dict[str, str]]]:
    """The rules whose condition holds at a time in s, each with the labels for which it does.

    Raises AskError, aiohttp's errors.
    """
    found: dict[str, list[dict[str, str]]] = {}
    async with aiohttp.ClientSession() as session:
        for rule in rules:
            answers = await sources.of_rule(session, rule.queries(now))
            holds = [dict(item.labels) for item in rule.condition(answers) if item.value != 0]
            if holds:
                found[rule.title] = holds
    return found


def configuration(place: Place) -> str:
    """The project's configuration of Prometheus, with this machine's addresses, scraped often."""
    text = _CONFIG.read_text(encoding="utf-8")
    for there, here in (
        ("collector:16081", str(place.settings.metrics_listen)),
        ("influxdb:8086", place.server.url.removeprefix("http://")),
        ("_interval: 30s", f"_interval: {SCRAPE_S}s"),
    ):
        if there not in text:
            raise ValueError(f"{_CONFIG} does not name {there}")
        text = text.replace(there, here)
    return text


def asked_for() -> set[str]:
    """The names of the collector's metrics in the queries of dashboards and rules."""
    texts = [path.read_text(encoding="utf-8") for path in (*OPS.glob("*.json"), RULES)]
    return {name for text in texts for name in re.findall(r"collector_\w+", text)}


async def prepared(
    place: Place, cast: Cast, laid: Laid, started_s: float
) -> EmbeddedPrometheus | None:
    """A Prometheus with a made-up past of the collector's metrics, yet to be started.

    None where Prometheus is not installed. Raises PrometheusError, aiohttp's errors.
    """
    if not is_here():
        return None
    server = EmbeddedPrometheus(place.directory / "prometheus", configuration(place))
    url = f"http://{place.settings.metrics_listen}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        exposition = await answer.text()
    past = Past(
        arrivals=laid.arrivals,
        until_s=int(time.time()),
        started_s=started_s,
        instance=str(place.settings.metrics_listen),
        roll_s=laid.roll_s,
        refused_s=cast.heard_until_ns / 10**9 if cast.story is Story.OUTAGE else None,
    )
    await asyncio.to_thread(
        lay_samples, server.directory, past.samples(exposition, laid.exposition, asked_for())
    )
    return server


async def scraped(sources: Sources) -> None:
    """Wait until Prometheus has scraped the collector twice, so that it knows rates.

    Raises AskError, aiohttp's errors.
    """
    deadline = time.monotonic() + _SCRAPED_S
    query = f"count_over_time(collector_statsd_samples_total[{4 * SCRAPE_S}s])"
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < deadline:
            asked = ("prometheus", query, int(time.time()))
            (found,) = await sources.of_rule(session, [asked])
            if found and found[0].value > 1:
                return
            await asyncio.sleep(_LOOK_S)


def sources_of(place: Place, prometheus: EmbeddedPrometheus | None) -> Sources:
    """The servers of the demo."""
    return Sources(
        influx_url=place.server.url,
        prometheus_url="" if prometheus is None else prometheus.url,
        records=None if place.records is None else (place.records, RECORDS_DATABASE),
    )
