"""The script for readers, docs/recompute.py, against the product's rollup of random fleets."""

from __future__ import annotations

import csv
import io
import random
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Databases
from tests.fleets import EPOCH, random_fleet
from tests.length import seeds
from tests.network import Network, day_of
from tests.oracle import DAY, HOUR, Series

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

SCRIPT = Path(__file__).parents[2] / "docs" / "recompute.py"
TABLES = {
    "daily_nodes": ("daily/nodes", "nodes", ("dimension", "within", "within_value", "value")),
    "daily_servers": ("daily/servers", "servers", ("dimension", "within", "within_value", "value")),
    "daily_packages": ("daily/packages", "servers", ("package", "version")),
    "daily_upgrades": ("upgrades", "nodes", ("from_version", "to_version")),
}


def export(databases: Databases, measurement: str, path: Path) -> Path:
    """Write the raw rows of a measurement to a CSV file, as a reader does with curl."""
    server = databases.server
    query = {"db": databases.raw, "q": f"SELECT * FROM {measurement}"}
    headers = {"Accept": "application/csv"}
    if server.token:
        headers["Authorization"] = f"Token {server.token}"
    request = urllib.request.Request(  # noqa: S310 - the server of the fixtures
        f"{server.url}/query?{urllib.parse.urlencode(query)}", headers=headers
    )
    with urllib.request.urlopen(request) as response:  # noqa: S310
        path.write_bytes(response.read())
    return path


def recomputed(nodes: Path, servers: Path, day: int, k: int) -> set[tuple[str, ...]]:
    run = subprocess.run(
        [sys.executable, str(SCRIPT), str(nodes), str(servers), str(day_of(day)), str(k)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    # Lines end as those of the downloads do, so that `diff` compares them.
    assert "\r" not in run.stdout
    rows = [tuple(row) for row in csv.reader(io.StringIO(run.stdout))]
    assert len(set(rows)) == len(rows)
    return set(rows)


def published(series: Series, day: int) -> Iterator[tuple[str, ...]]:
    """The rows of a day's downloads up to the column `count`."""
    for (time, _), fields in series["daily_usage"].items():
        if time == day * DAY:
            for name in fields.keys() - {"final"}:
                yield "daily", name, str(fields[name])
    for measurement, (path, unit, columns) in TABLES.items():
        for (time, tags), fields in series[measurement].items():
            if time == day * DAY:
                named = dict(tags)
                yield path, *(named[column] for column in columns), str(fields[unit])


@pytest.mark.parametrize("seed", seeds(3, 100))
async def test_the_script_for_readers_gives_each_row_of_a_published_day(
    databases: Databases, state_dir: Path, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    k = (1, 5, 3, 2)[seed % 4]
    # A long fleet has windows that close, a large one has tables with much to show.
    days, servers = ((33, 4), (3, 70), (6, 24))[seed % 3]
    received = random_fleet(seed, days=days, servers=servers, untidy=rng.random() < 0.4)
    chosen = sorted({EPOCH + days - 1, EPOCH + rng.randrange(days)})
    network = Network(databases)
    network.create()
    network.lay_received(received)
    async with network.rollup(state_dir, k=k) as rollup:
        await rollup.roll(chosen, (EPOCH + days) * DAY + 2 * HOUR)
    series = network.series()
    nodes = export(databases, "node_report", tmp_path / "nodes.csv")
    reports = export(databases, "server_report", tmp_path / "servers.csv")

    for day in chosen:
        expected = set(published(series, day))
        assert any(row[0] == "daily/nodes" for row in expected)
        assert recomputed(nodes, reports, day, k) == expected
