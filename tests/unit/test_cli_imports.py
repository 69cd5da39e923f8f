"""Commands start quickly: none imports what it does without.

Held by the modules that a command has loaded, which is the same on every machine; time is not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from typer.main import get_command

from collector.cli import cli
from collector.outbox import FILE, OutboxFile

SLOW_TO_LOAD = {
    "aiohttp",
    "aiohttp_jinja2",
    "collector.intakes",
    "influxdb_client",
    "jinja2",
    "plotext",
    "polars",
    "prometheus_client",
    "pydantic_settings",
    "rich.progress",
    "structlog",
    "uvloop",
}
NEEDED_LATER = {
    "babel",
    "collector.asterisks",
    "collector.intakes.ami.intake",
    "collector.intakes.librenms.intake",
    "collector.intakes.statsd.intake",
    "collector.intakes.telemetrics.intake",
    "influxdb_client",
    "jinja2",
    "markdown_it",
    "nats",
    "polars",
    "sqlalchemy",
    "yaml",
}
"""What a process that serves needs for its first day or page, or for a sender that is off."""
SERVED = """
import asyncio, json, sys
from collector.app import running
from collector.app.roles import ROLES
from collector.settings import load
from collector.worker import Worker

async def serve():
    async with running(load(), Worker(int(sys.argv[2]), 2), role=ROLES[sys.argv[1]]):
        print(json.dumps(sorted(sys.modules)), file=sys.stderr)

asyncio.run(serve())
"""
LOADED = """
import json, sys
from collector.cli import cli

for arguments in json.loads(sys.argv[1]):
    try:
        cli(arguments, prog_name="collector")
    except SystemExit as ended:
        code = ended.code
    print(json.dumps([arguments, code, sorted(sys.modules)]), file=sys.stderr)
"""


def test_help_loads_nothing_slow() -> None:
    top = get_command(cli)
    lines = [["--help"], ["--version"]]
    for name, command in top.commands.items():  # type: ignore[attr-defined]
        lines.append([name, "--help"])
        lines += [[name, inner, "--help"] for inner in getattr(command, "commands", ())]
    assert ["outbox", "dead", "--help"] in lines
    for line, code, loaded in ran(lines):
        assert code == 0, line
        assert not loaded, line


def test_a_command_loads_no_slow_library_that_it_does_without(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with OutboxFile(state / FILE):
        pass
    settings, client, log = "pydantic_settings", "aiohttp", "structlog"
    metrics = "prometheus_client"
    needs: dict[tuple[str, ...], tuple[int, set[str]]] = {
        ("check",): (1, {settings, client, log}),
        ("status",): (0, {settings, client, log}),
        ("retention", "show"): (1, {settings, client, log, metrics}),
        ("outbox", "dead"): (0, {settings, log}),
        ("my-data", "queue"): (0, {settings, log}),
        ("tags", "list"): (0, {settings, log}),
    }
    for line, (code, allowed) in needs.items():
        (done,) = ran([list(line)], state)
        assert done[1] == code, line
        assert done[2] <= allowed, line
    (refused,) = ran([["tags", "list"]], tmp_path / "missing")
    assert refused[1] == 1
    assert refused[2] <= {settings, log}


def test_a_process_that_serves_loads_no_library_before_it_is_used(tmp_path: Path) -> None:
    for role, number in (("serve", 0), ("receive", 1)):
        done = subprocess.run(
            [sys.executable, "-c", SERVED, role, str(number)],
            env=environment(tmp_path / f"{role}-{number}"),
            capture_output=True,
            text=True,
            check=True,
        )
        (modules,) = (json.loads(each) for each in done.stderr.splitlines() if each[0] == "[")
        assert "collector.app" in modules
        assert not NEEDED_LATER.intersection(modules), role


def environment(state: Path | None) -> dict[str, str]:
    """Return an environment with a state directory, and with an InfluxDB that never answers."""
    settings = {name: value for name, value in os.environ.items() if "COLLECTOR" not in name}
    settings["COLLECTOR_INFLUX_URL"] = "http://127.0.0.1:1"
    settings["COLLECTOR_LISTEN"] = settings["COLLECTOR_METRICS_LISTEN"] = "127.0.0.1:0"
    if state is not None:
        settings["COLLECTOR_STATE_DIR"] = str(state)
    return settings


def ran(lines: list[list[str]], state: Path | None = None) -> list[tuple[list[str], int, set[str]]]:
    """Run commands in one new process: each with its exit code, and the slow modules loaded."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, json.dumps(lines)],
        env=environment(state),
        cwd=state and state.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    told = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("[[")]
    assert [line for line, _, _ in told] == lines, done.stderr
    return [(line, code, SLOW_TO_LOAD.intersection(modules)) for line, code, modules in told]
