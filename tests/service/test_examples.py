"""The examples in the help of the commands run, on a small network with stored days."""

from __future__ import annotations

import re
import shlex
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from collector.cli.commands import examples_in
from collector.outbox import FILE, OutboxFile
from tests.command import Done, command
from tests.conftest import Databases
from tests.dates import last_final_day
from tests.owners import DAYS_BACK, lay_past
from tests.sender import lay_key
from tools.manual import commands

ROOT: Final = Path(__file__).parents[2]
BESIDE_ASL_USAGE: Final = "collector import asl3-usage  # a dry run, beside asl-usage"
"""Needs the old server on this machine: test_import_asl3_usage.py."""
ELSEWHERE: Final = {
    "serve": "runs until it is stopped; every other test of this directory starts it",
    "receive": "runs until it is stopped: test_roles.py",
    "publish": "runs until it is stopped: test_roles.py",
    "write": "runs until it is stopped: test_write.py",
    "move": "needs a second InfluxDB: test_move.py",
    "provision": "needs an InfluxDB with users: test_provision.py",
}
ONE_MAY_LACK: Final = {
    # The collector does not run here.
    ("doctor",),
    # There is no batch 3, no event 3, no erasure 12, no such file, no database of that server.
    ("quarantine", "release"),
    ("event", "remove"),
    ("my-data", "release"),
    ("my-data", "drop"),
    ("my-data", "forget"),
    ("outbox", "recover"),
    ("outbox", "drop"),
    ("import", "asl3-usage"),
    # No node reported arch=x, and there are no installs of LibreNMS.
    ("quarantine", "add"),
    ("librenms", "sysdescr"),
    ("librenms", "verify"),
    ("librenms", "rollup"),
    # More than what is stored is kept for longer than the setting says.
    ("retention", "set"),
    ("retention", "plan"),
}
"""Commands whose examples may also end with 1 and a sentence, for a reason."""


def test_every_example_runs(
    databases: Databases, state_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datagrams.txt").write_text("PJSIP.contacts.states.Reachable:3|g\n")
    shutil.copy(ROOT / "collector/intakes/statsd/asterisk.yml", "new.yml")
    shutil.copy(ROOT / "tests/cases/asl3-usage/dump.sql", "usage.sql.gz")
    lay_past(databases)
    lay_key(state_dir)
    with OutboxFile(state_dir / FILE):
        pass
    environment = databases.environment | {
        "COLLECTOR_STATE_DIR": str(state_dir),
        "COLLECTOR_K_ANONYMITY": "1",
        "COLLECTOR_METRICS_LISTEN": "127.0.0.1:1",
    }
    ran = 0
    for found, context in commands():
        words = tuple(context.command_path.split()[1:])
        if words[0] in ELSEWHERE:
            continue
        for example in examples_in(found.epilog):
            if example == BESIDE_ASL_USAGE:
                continue
            done = run(environment, example, tmp_path)
            allowed = {0, 1} if words in ONE_MAY_LACK else {0}
            assert done.code in allowed, f"{example}: {done.code}\n{done.out}{done.err}"
            assert done.code == 0 or done.err or words == ("doctor",), example
            ran += 1
    assert ran > 40


def run(environment: dict[str, str], example: str, place: Path) -> Done:
    """Run an example in this process; its fixed paths and dates are those of the test."""
    given, piped, line = example.rpartition("|") if "| collector" in example else ("", "", example)
    first = last_final_day() - timedelta(days=DAYS_BACK - 1)
    line = re.sub(r"\b\d{4}-\d\d-\d\d\b(?!T|-|\.)", first.isoformat(), line)
    line = re.sub(r"(?<= )/(?:var|root|etc)\b", str(place), line)
    answer = shlex.split(given)[1] + "\n" if piped else "y\n"
    _, *words = shlex.split(line, comments=True)
    return command(environment, *words, answer=answer)
