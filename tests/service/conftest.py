"""A collector that all tests of a module share, if none of them harms it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.conftest import Databases, InfluxServer, Serve, start_collector
from tests.sender import lay_key


@pytest.fixture(scope="module")
def module_databases(influx_server: InfluxServer) -> Iterator[Databases]:
    """Databases of a module on the shared InfluxDB; not created, but deleted afterwards."""
    pair = Databases(influx_server, f"m{secrets.token_hex(6)}_")
    yield pair
    for name in influx_server.databases():
        if name.startswith(pair.prefix):
            influx_server.drop(name)


@pytest.fixture(scope="module")
def collector(
    module_databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serve]:
    """A running collector that the tests of a module share, with the tests' pseudonym key."""
    directory = tmp_path_factory.mktemp("collector")
    lay_key(directory / "state")
    running = start_collector(module_databases.environment, directory / "serve.log")
    try:
        running.wait_ready()
        yield running
    finally:
        running.terminate()
