"""Days are UTC days, whatever the machine's time zone and locale are."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from tests.conftest import Databases, StartServe
from tests.dates import last_final_day
from tests.network import Network, lines_of
from tests.owners import DAY, DAYS_BACK, body_of, midnight, start_world

pytestmark = pytest.mark.no_cover  # what other tests cover, in whole processes

S = 10**9


def test_days_are_the_same_under_every_time_zone_and_locale(
    serve: StartServe, databases: Databases, state_dir: Path
) -> None:
    # Reports just before and just after midnight, UTC, where zones would tell the days apart.
    opens = midnight()
    edges = [
        (opens - back * DAY + seconds * S, body_of(50 + 2 * back + at))
        for back in range(1, DAYS_BACK)
        for at, seconds in enumerate((1, 86_399))
    ]
    Network(databases).create()
    Network(databases).lay(lines_of(sorted(edges)))
    world = start_world(
        serve,
        databases,
        state_dir,
        {"TZ": "America/New_York", "LC_ALL": "de_DE.UTF-8", "LANG": "de_DE.UTF-8"},
    )
    world.collector.terminate()
    days = {row["time"]: row["nodes"] for row in world.days() if row["final"] == 1}
    # Seven servers of two nodes a day, and two more servers on all days but the first.
    first = min(days)
    assert days[first] == 14
    assert {nodes for day, nodes in days.items() if day != first} == {18}
    last = last_final_day()
    for zone, locale in (
        ("UTC", "C.UTF-8"),
        ("Pacific/Kiritimati", "C"),
        ("America/New_York", "C"),
    ):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "collector", "verify"),
                *("--from", f"{last - timedelta(days=DAYS_BACK - 1)}", "--to", f"{last}"),
            ],
            env=os.environ | world.collector.environment | {"TZ": zone, "LC_ALL": locale},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{zone}, {locale}: {done.stdout}{done.stderr}"
        assert last.isoformat() in done.stdout
