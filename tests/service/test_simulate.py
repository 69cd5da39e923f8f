"""`python -m tools.simulation` with a real InfluxDB and a real collector."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.command import same_log_afterwards
from tests.conftest import Databases, Serve, StartServe, clean_environment
from tests.sender import GUARD_S, eventually
from tools.simulation.__main__ import cli
from tools.simulation.fleet import Fleet
from tools.simulation.timeline import DAY

pytestmark = pytest.mark.no_cover  # what other tests cover, in whole processes

SERVERS = 110
SEED = 5


def simulate(
    databases: Databases, state_dir: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run `python -m tools.simulation` on the test's databases and state directory."""
    return subprocess.run(
        [sys.executable, "-m", "tools.simulation", *arguments],
        env=clean_environment()
        | databases.environment
        | {"COLLECTOR_STATE_DIR": str(state_dir), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=GUARD_S,
    )


def of_fleet(days: int, servers: int = SERVERS) -> tuple[str, ...]:
    return ("--servers", str(servers), "--days", str(days), "--seed", str(SEED))


def today() -> date:
    return datetime.now(UTC).date()


def accepted(said: str) -> int:
    found = re.search(r"([\d,]+) reports (?:laid down|accepted)", said)
    assert found, said
    return int(found[1].replace(",", ""))


def servers_of(databases: Databases) -> set[str]:
    rows = databases.server.query('SELECT "server" FROM "server_report"', databases.raw)
    return {row["server"] for row in rows}


def test_history_lays_every_past_report_down_once(databases: Databases, state_dir: Path) -> None:
    done = simulate(databases, state_dir, "--history", *of_fleet(6))
    assert done.returncode == 0, done.stderr
    start = today() - timedelta(days=5)
    fleet = Fleet(seed=SEED, servers=SERVERS, start=start, days=6)
    sent = [len(fleet.day(start + timedelta(days=n))) for n in range(5)]
    stored = databases.server.count(databases.raw, "server_report", "server")
    refused = re.search(r"refused: ([\d,]+) no-public-nodes", done.stdout)
    assert refused, done.stdout
    assert stored == accepted(done.stdout) == sum(sent) - int(refused[1])
    points = databases.server.count(databases.raw, "node_report", "node")
    assert f"as {stored + points:,} points" in done.stdout
    times = [
        row["time"] // DAY
        for row in databases.server.query('SELECT "server" FROM "server_report"', databases.raw)
    ]
    assert (min(times), max(times)) == (
        (start - date(1970, 1, 1)).days,
        (today() - date(1970, 1, 1)).days - 1,
    )


def test_history_is_not_mixed_with_stored_reports_unless_forced(
    databases: Databases, state_dir: Path
) -> None:
    arguments = ("--history", *of_fleet(3, servers=8))
    assert simulate(databases, state_dir, *arguments).returncode == 0
    stored = databases.server.count(databases.raw, "node_report", "node")
    again = simulate(databases, state_dir, *arguments)
    assert again.returncode == 1
    assert "holds reports already" in again.stderr
    forced = simulate(databases, state_dir, *arguments, "--force")
    assert forced.returncode == 0, forced.stderr
    # The same fleet under the same key is the same points.
    assert databases.server.count(databases.raw, "node_report", "node") == stored


def test_history_beyond_retention_is_left_out_with_words(
    databases: Databases, state_dir: Path
) -> None:
    done = simulate(databases, state_dir, "--history", *of_fleet(120, servers=3))
    assert done.returncode == 0, done.stderr
    first = today() - timedelta(days=89)
    assert "raw reports are kept 90d: of 119 past days" in done.stdout
    assert f"from {first} on" in done.stdout
    rows = databases.server.query('SELECT first("server") FROM "server_report"', databases.raw)
    assert rows[0]["time"] >= (first - date(1970, 1, 1)).days * DAY


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--history", "--days", "1"), "no day before today"),
        (("--history", "--to", "2020-01-01"), "none of these days"),
    ],
    ids=["today-alone", "long-ago"],
)
def test_history_without_a_day_to_lay_down_says_why(
    databases: Databases, state_dir: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = simulate(databases, state_dir, *arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert not state_dir.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "one of --history and --post"),
        (("--history", "--post", "http://127.0.0.1:9/usage"), "one of --history and --post"),
        (("--history", "--rate", "5"), "go with --post"),
        (("--post", "http://127.0.0.1:9/usage", "--force"), "goes with --history"),
        (("--post", "127.0.0.1:16080/usage"), "http:// or https://"),
        (("--history", "--to", "2999-01-01"), "not be in the future"),
        (("--history", "--servers", "0"), "--servers"),
    ],
    ids=["neither", "both", "rate", "force", "no-scheme", "future", "no-servers"],
)
def test_wrong_options_are_refused_with_words(arguments: tuple[str, ...], words: str) -> None:
    # In this process, as nothing is begun: what one sees is all there is.
    with same_log_afterwards():
        done = CliRunner().invoke(cli, [*arguments], env={"TERMINAL_WIDTH": "200"})
    assert done.exit_code == 2
    assert words in done.stderr


def test_history_without_influxdb_fails_with_words(
    databases: Databases, state_dir: Path, free_port: Callable[[], int]
) -> None:
    gone = Databases(type(databases.server)(f"http://127.0.0.1:{free_port()}"), "")
    done = simulate(gone, state_dir, "--history", *of_fleet(3, servers=3))
    assert done.returncode == 1
    assert "InfluxDB cannot be reached" in done.stderr


def test_posted_servers_are_those_laid_down(
    databases: Databases, state_dir: Path, serve: StartServe
) -> None:
    collector: Serve = serve(databases.environment)
    laid = simulate(databases, state_dir, "--history", *of_fleet(8))
    assert laid.returncode == 0, laid.stderr
    before = servers_of(databases)
    stored = databases.server.count(databases.raw, "server_report", "server")
    done = simulate(
        databases, state_dir, "--post", f"{collector.url}/usage", *of_fleet(8), "--rate", "0"
    )
    assert done.returncode == 0, done.stderr
    start = today() - timedelta(days=7)
    sent = Fleet(seed=SEED, servers=SERVERS, start=start, days=8).day(today())
    assert len(sent) * 0.9 < accepted(done.stdout) <= len(sent)
    eventually(
        lambda: (
            databases.server.count(databases.raw, "server_report", "server")
            == stored + accepted(done.stdout)
        )
    )
    assert len(servers_of(databases) - before) < 0.1 * len(before)


def test_post_keeps_to_its_rate_and_count(
    databases: Databases, state_dir: Path, serve: StartServe
) -> None:
    collector = serve(databases.environment)
    begun = time.monotonic()
    done = simulate(
        databases,
        state_dir,
        *("--post", f"{collector.url}/usage", "--rate", "10", "--count", "15"),
        *of_fleet(1),
    )
    assert time.monotonic() - begun > 1.4
    assert done.returncode == 0, done.stderr
    refused = sum(map(int, re.findall(r"(\d+) no-public-nodes", done.stdout)))
    assert accepted(done.stdout) + refused == 15


def test_post_to_nobody_fails_with_words(
    databases: Databases, state_dir: Path, free_port: Callable[[], int]
) -> None:
    url = f"http://127.0.0.1:{free_port()}/usage"
    done = simulate(databases, state_dir, "--post", url, *of_fleet(1, servers=3))
    assert done.returncode == 1
    assert f"{url} does not answer" in done.stderr
    assert "0 reports were accepted before that" in done.stderr
