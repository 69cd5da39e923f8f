"""The last words of the demo: addresses of what runs, what to try, and how it goes on."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiohttp

from collector.schema import DAILY, LIBRENMS, LIVE, RAW
from collector.schema.telemetrics import TELEMETRICS
from tools.demo.grafana import HOME_VARIABLE
from tools.demo.live import RESTART_EVERY_S, RESTARTS, Live
from tools.demo.past import Story
from tools.demo.screen import Screen
from tools.demo.story import SAMPLES, Place
from tools.demo.watching import Watching
from tools.watch.sources import AskError

_PORT_THERE: Final = 9080
_LOOK_EVERY_S: Final = 20.0


def say_where(screen: Screen, place: Place, watching: Watching) -> None:
    """Print the addresses of all that runs, and what to try."""
    settings = place.settings
    addresses = {
        "post reports to": place.url,
        "pages": f"{place.base}/",
        "daily numbers": f"{place.base}/reports/daily",
        "summary": f"{place.base}/reports/basic",
        "metrics": f"http://{settings.metrics_listen}/metrics",
        "InfluxDB": place.server.url,
        "log": str(place.serving.log),
    }
    if watching.prometheus is not None:
        addresses["Prometheus"] = watching.prometheus.url
    screen.say(f"\nReady after {screen.seconds:.0f} s. Running now, for this machine only:\n")
    for name, address in addresses.items():
        screen.say(f"  {name:<17}{address}")
    screen.say(f"\nDatabases: {RAW}, {DAILY}, {LIVE}, {LIBRENMS}, {TELEMETRICS}.")
    if watching.prometheus is None:
        screen.say("No Prometheus was found: `make setup` unpacks Debian's.")
    where = "SQLite" if place.records is None else "PostgreSQL"
    screen.say(f"The records of telemetrics-client are in {where}.")
    sample = _from_here(SAMPLES / "readme-sample.json")
    screen.say("\nPost a report yourself:\n", style="bold")
    screen.say(f"  curl -d @{sample} {place.url}")
    screen.say("\nLet a real AllStarLink node that you reach by ssh report to it:\n", style="bold")
    screen.say(
        f"  ssh -R {_PORT_THERE}:{settings.listen} NODE"
        f" asl-telemetry -u http://127.0.0.1:{_PORT_THERE}/usage"
    )


def say_no_grafana(screen: Screen, place: Place) -> None:
    """Print how to get a Grafana, and which page shows the same."""
    screen.say("\nNo Grafana was found, so no dashboards are shown. To have them, unpack Grafana's")
    screen.say(f"tar.gz (grafana.com/grafana/download) and name it: {HOME_VARIABLE}=DIR make demo")
    screen.say("The main panels are on the pages too: nodes, versions and platforms on")
    screen.say(f"{place.base}/ , health on {place.base}/v1/freshness")


def say_how_it_goes_on(screen: Screen, story: Story) -> None:
    """Print what happens from now on."""
    minutes = RESTARTS * RESTART_EVERY_S / 60
    if story is Story.OUTAGE:
        screen.say(
            "\nReports go on to come, and are refused. `make demo` alone is the healthy one."
        )
        return
    screen.say(
        f"\nReports go on to come: for {minutes:.0f} minutes some servers restart, and report"
    )
    screen.say("after it. Today is counted every 20 s. `make demo STORY=outage` breaks it.")


async def say_alerts(screen: Screen, watching: Watching) -> list[str]:
    """Print which alert rules hold, and return them. Raises AskError, aiohttp's errors."""
    rules = watching.rules()
    firing = await watching.firing()
    words = ", ".join(firing) if firing else "none holds"
    screen.say(
        f"\nAlert rules, evaluated as Grafana does ({len(rules)}): {words}.",
        style="bold red" if firing else "bold green",
    )
    return firing


async def tell_changes(screen: Screen, watching: Watching, live: Live, known: list[str]) -> None:
    """Print each change of the alerts, and on a terminal what has come in, for ever."""
    while True:
        accepted = live.outcomes["accepted"]
        refused = sum(live.outcomes.values()) - accepted
        words = f"{accepted:,} reports came in since" + (
            f", {refused:,} were refused" if refused else ""
        )
        with screen.status(f"{words}. Ctrl-C stops everything."):
            await asyncio.sleep(_LOOK_EVERY_S)
        try:
            firing = await watching.firing()
        except (AskError, aiohttp.ClientError, TimeoutError):
            # A server has ended, or is restarted: the demo's main loop tells it.
            continue
        if firing != known:
            known = firing
            at = datetime.now(UTC).strftime("%H:%M:%S")
            screen.say(f"{at} UTC: alert rules that hold: {', '.join(firing) or 'none'}")


def _from_here(path: Path) -> Path:
    """The shorter of a path and the same path relative to the current directory."""
    return min(path, Path(os.path.relpath(path)), key=lambda each: len(str(each)))
