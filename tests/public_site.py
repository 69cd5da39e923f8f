"""A public site with real numbers: a simulated fleet, stored, rolled up and served over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from collector.app import site_of
from collector.influx import Influx
from collector.public import downloads, librenms
from collector.public.links import mounted
from collector.public.series import PublicSeries
from collector.settings import Settings
from tests import servers
from tests.conftest import Databases, clean_environment
from tests.sender import GUARD_S, Reply
from tests.uncovered import FOR_CHILDREN

INTEGRATION_LINKS = {
    "https://shields.io/badges/endpoint-badge",
    "https://www.home-assistant.io/integrations/rest/",
    "https://grafana.com/docs/plugins/yesoreyeram-infinity-datasource/latest/",
}
"""Addresses of others that /integrations leads to."""


def run_collector(
    environment: Mapping[str, str], state: Path, *words: str, module: str = "collector"
) -> str:
    """Run a command of the collector, or of another module; return its standard output."""
    settings = clean_environment() | {"COLLECTOR_STATE_DIR": str(state)} | dict(environment)
    if module != "collector":
        # A tool, which uses the collector's modules without testing them.
        settings.pop(FOR_CHILDREN, None)
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        env=settings,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{module} {' '.join(words)}:\n{done.stdout}{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def served(
    databases: Databases, *, memory_s: float = 300.0, patient: bool = True, **settings: Any
) -> Iterator[str]:
    """Serve only the public site, in a thread, from entry to exit; yields its URL.

    If it is `patient`, it waits for InfluxDB as long as a busy machine may need.
    """
    configured = Settings(
        influx_url=databases.server.url,
        influx_token=databases.server.token,
        influx_org=databases.server.org,
        influx_prefix=databases.prefix,
        **settings,
    )
    runs = asyncio.Runner()
    loop = runs.get_loop()
    stop = asyncio.Event()
    ready = threading.Event()
    address: list[str] = []

    async def serve() -> None:
        async with Influx(
            configured.influx_url,
            token=configured.influx_token.get_secret_value(),
            org=configured.influx_org,
            prefix=configured.influx_prefix,
        ) as influx:
            patience = {"patience_s": GUARD_S} if patient else {}
            site = site_of(configured, influx, PublicSeries(influx, memory_s=memory_s, **patience))
            application = web.Application()
            application.add_routes(mounted(site.routes(), configured.public_url))
            application.on_response_prepare.append(site.headers)
            runner = web.AppRunner(application, access_log=None)
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                address.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
                ready.set()
                await stop.wait()
            finally:
                await servers.stop(runner)

    def run() -> None:
        # At its end transports that are closing are closed, unlike with a mere loop.
        with runs, pytest.MonkeyPatch.context() as patch:
            if patient:
                patch.setattr(downloads, "RESPONSE_TIMEOUT_S", GUARD_S)
                patch.setattr(librenms, "RESPONSE_TIMEOUT_S", GUARD_S)
            runs.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(GUARD_S)
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)


def problem_of(reply: Reply) -> tuple[int, str]:
    """The status and the reason of a refusal."""
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json["status"] == reply.status
    return reply.status, reply.reason
