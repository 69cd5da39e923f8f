"""A collector for tests of attacks: short timeout, no rate limit, defaults otherwise."""

from __future__ import annotations

import resource
import secrets
from collections.abc import Iterator

import pytest

from tests.conftest import Databases, InfluxServer, Serve, start_collector

WAIT_S = 3
"""COLLECTOR_READ_TIMEOUT of the shared collector."""

_DESCRIPTORS = 16_384
"""Files that a test may hold open: enough for its thousands of connections."""


@pytest.fixture(scope="session", autouse=True)
def many_descriptors() -> None:
    """Let this process hold as many files open: a login allows 1024 unless it asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@pytest.fixture(scope="module")
def victim_databases(influx_server: InfluxServer) -> Iterator[Databases]:
    """Databases of a module on the shared InfluxDB; not created, but deleted afterwards."""
    pair = Databases(influx_server, f"h{secrets.token_hex(6)}_")
    yield pair
    for name in influx_server.databases():
        if name.startswith(pair.prefix):
            influx_server.drop(name)


@pytest.fixture(scope="module")
def victim(
    victim_databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serve]:
    """A running collector that the tests of a module share."""
    settings = {
        **victim_databases.environment,
        "COLLECTOR_RATE_LIMIT": "0",
        "COLLECTOR_READ_TIMEOUT": f"{WAIT_S}s",
    }
    running = start_collector(settings, tmp_path_factory.mktemp("victim") / "serve.log")
    try:
        running.wait_ready()
        yield running
    finally:
        running.terminate()
