"""`collector librenms …`: operators search, export and check what installs have reported."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from collector.schema.librenms import LIBRENMS
from tests.command import command
from tests.conftest import Databases
from tests.dates import today
from tests.librenms import REPORT, Installs, report, uuid_of

OLD = "Linux fw7.corp.example.org 4.4.0 x86_64 SN: ABC123"


@pytest.fixture
def filled(databases: Databases) -> Databases:
    """Three installs of which one reported twice, and one that was not seen for long."""
    databases.server.create(f"{databases.prefix}{LIBRENMS}")
    databases.server.create(databases.daily)
    installs = Installs(databases)
    latest = today()
    for day, number in ((40, 9), (3, 1), (2, 1), (1, 2), (1, 3)):
        installs.send(latest - timedelta(days=day), number, report(uuid_of(number)))
    odd = [{"count": 2, "os": "odd", "sysDescr": "=cmd() ü\r\nx", "sysObjectID": ".1.3.6.1.4.1.9"}]
    installs.send(latest, 4, report(uuid_of(4)) | {"info": odd})
    return databases


def pairs_of(info: list[dict[str, Any]], times: int) -> list[dict[str, Any]]:
    found = [
        {
            "os": one["os"],
            "sysObjectID": one["sysObjectID"],
            "sysDescr": one["sysDescr"],
            "devices": times * one["count"],
            "installs": times,
        }
        for one in info
    ]
    return sorted(found, key=lambda one: -one["devices"])


def test_pairs_are_searched_and_exported_by_the_last_report_of_each_install(
    filled: Databases, tmp_path: Path
) -> None:
    run = filled.environment
    exported = tmp_path / "pairs.json"
    done = command(run, "librenms", "sysdescr", "--export", str(exported))
    assert (done.code, done.out) == (0, f"6 pairs written to {exported}\n")
    found = json.loads(exported.read_text(encoding="utf-8"))
    (odd,) = [one for one in found if one["os"] == "odd"]
    assert (odd["devices"], odd["installs"]) == (2, 1)
    assert [one for one in found if one is not odd] == pairs_of(REPORT["info"], 3)
    table = tmp_path / "pairs.csv"
    command(run, "librenms", "sysdescr", "--oid", ".1.3.6.1.4.1.9", "--export", str(table))
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    # A spreadsheet must not run a device's text.
    assert [row["sysDescr"][:6] for row in rows] == ["Cisco ", "'=cmd("]
    assert rows[1]["sysDescr"] == "'=cmd() ü\r\nx"
    for words, shown in (
        (("--os", "junos"), 1),
        (("--contains", "CISCO IOS"), 1),
        (("--match", r"Version 15\.2"), 1),
        (("--match", "^RouterOS", "--os", "ios"), 0),
        (("--oid", "1.3.6.1.4.1.2636"), 1),
        (("--oid", "1.3.6.1.4.1.2"), 0),
        (("--from", (today() - timedelta(days=50)).isoformat(), "--to", "yesterday"), 5),
    ):
        done = command(run, "librenms", "sysdescr", *words)
        assert f"{shown} pairs" in done.out, words
    assert command(run, "librenms", "sysdescr", "--match", "(").code == 2
    assert command(run, "librenms", "sysdescr", "--export", "x.xml").code == 2
    assert (
        "0 pairs" in command(run | {"COLLECTOR_INFLUX_PREFIX": "none_"}, "librenms", "sysdescr").out
    )


def test_days_are_computed_checked_and_their_retention_planned(
    filled: Databases, state_dir: Path
) -> None:
    run = filled.environment | {"COLLECTOR_STATE_DIR": str(state_dir)}
    first = (today() - timedelta(days=3)).isoformat()
    done = command(run, "librenms", "verify", "--from", first, "--to", "today")
    assert done.code == 1
    assert "differs" in done.out
    done = command(run, "librenms", "rollup", "--from", first, "--to", "today")
    assert (done.code, done.out.count("written")) == (0, 4)
    done = command(run, "librenms", "verify", "--from", first, "--to", "today")
    assert (done.code, done.out.count("good")) == (0, 4)
    done = command(run, "retention", "plan", "--librenms", "20d", "--json")
    (lost,) = json.loads(done.out)["lost"]
    assert (lost["database"], lost["days"], lost["reports"]) == (
        f"{filled.prefix}{LIBRENMS}",
        1,
        1,
    )
    assert "librenms" in command(run, "retention", "show").out


def test_texts_of_older_reports_are_cleaned_by_the_rules_of_today(filled: Databases) -> None:
    pairs = json.dumps([{"os": "linux", "oid": ".1", "descr": OLD, "count": 1}])
    at = int(datetime.now(UTC).timestamp()) * 10**9
    text = pairs.replace("\\", "\\\\").replace('"', '\\"')
    filled.server.write(
        f"{filled.prefix}{LIBRENMS}",
        f'librenms_report server="00",points=1i {at}\n'
        f'librenms_content server="00",pairs="{text}" {at + 1000}',
    )
    done = command(filled.environment, "librenms", "sysdescr", "--contains", "4.4.0")
    assert "fw7" not in done.out
    assert "ABC123" not in done.out
    assert "1 pairs" in done.out
