"""What is written to InfluxDB is what the schema declares: no more, no less, of those types."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.days import start_of
from collector.events.event import outage
from collector.events.stored import write_events
from collector.influx.contents import Span
from collector.months.report import last_day
from collector.quarantine.pattern import Pattern
from collector.quarantine.quarantine import Quarantine
from collector.rollup.months import Months
from collector.schema import DAILY, MEASUREMENTS, RAW
from collector.schema.librenms import LIBRENMS_MEASUREMENTS
from tests.conftest import Databases
from tests.fleets import EPOCH, random_fleet
from tests.network import Network, moment
from tests.oracle import DAY, HOUR

NOW = (EPOCH + 10) * DAY + 2 * HOUR
ELSEWHERE = {
    ("daily_usage", "imported"),
    ("server_report", "imported"),
    ("daily_usage", "erased_reports"),
    ("daily_usage", "erased_node_reports"),
    ("hourly_usage", "missed"),
    ("daily_usage", "listed_nodes"),
    ("daily_usage", "coverage"),
    ("daily_usage", "opted_out_reports"),
    ("opted_out_report", "reports"),
}
"""Fields that an import, an erasure or a failure writes and a day's ordinary run does not."""
_OURS = [
    one for one in MEASUREMENTS if one.database in (RAW, DAILY) and one not in LIBRENMS_MEASUREMENTS
]
"""Those of LibreNMS are held by the test of its days."""


@pytest.fixture
async def filled(databases: Databases, state_dir: Path) -> Databases:
    """Databases after ten days of reports, their rollup, and a batch put in quarantine."""
    network = Network(databases)
    network.create()
    network.lay_received(random_fleet(2, days=10, servers=8))
    async with network.rollup(state_dir) as rollup:
        await rollup.reconcile(NOW)
        await write_events(rollup.influx, [outage(start_of(moment(NOW).date()), 3, 27)])
        await Months(rollup.influx).roll(last_day(moment(NOW).date()), moment(NOW))
        quarantine = Quarantine(rollup.influx, rollup.daily(), rollup.reconciler(), retention_s=0)
        pattern, span = Pattern(tags=(("distro", "Debian"),)), Span(NOW - 3 * DAY, NOW - 2 * DAY)
        await quarantine.add(pattern, span, "tried", moment(NOW))
    return databases


def keys(filled: Databases, kind: str, *columns: str) -> set[tuple[str, ...]]:
    """(measurement, key, …) of both databases, as InfluxDB tells them."""
    found = set()
    for database in (filled.raw, filled.daily):
        for row in filled.server.query("SHOW MEASUREMENTS", database):
            name = row["name"]
            rows = filled.server.query(f'SHOW {kind} KEYS FROM "{name}"', database)
            found |= {(name, *(str(row[column]) for column in columns)) for row in rows}
    return found


def test_every_field_written_is_declared_with_its_type_and_every_declared_one_is_written(
    filled: Databases,
) -> None:
    declared = {
        (measurement.name, field.name, str(field.type))
        for measurement in MEASUREMENTS
        if measurement in _OURS
        for field in measurement.fields
        if (measurement.name, field.name) not in ELSEWHERE
    }
    assert keys(filled, "FIELD", "fieldKey", "fieldType") == declared


def test_every_tag_written_is_declared_and_every_declared_one_is_written(filled: Databases) -> None:
    declared = {
        (measurement.name, tag.name)
        for measurement in MEASUREMENTS
        if measurement in _OURS
        for tag in measurement.tags
    }
    assert keys(filled, "TAG", "tagKey") == declared


def test_fields_written_elsewhere_are_declared() -> None:
    declared = {(m.name, field.name) for m in MEASUREMENTS for field in m.fields}
    assert declared >= ELSEWHERE
