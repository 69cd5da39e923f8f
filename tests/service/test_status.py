"""`collector status` and `collector doctor`: what they say of a collector that is well, or not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from collector.settings import Settings
from collector.status.certificates import certificates
from collector.status.problems import examined
from collector.status.report import Certificate, Diagnosis, Status
from tests.certificates import self_signed
from tests.command import Done, command
from tests.conftest import Databases, StartServe
from tests.dates import last_final_day
from tests.owners import NEIGHBOURS, body_of, start_world
from tests.releases import releases
from tests.sender import eventually, post
from tools import embedded

COLUMNS = 80
MADE = datetime(2026, 11, 26, 12, tzinfo=UTC)
WELL: dict[str, Any] = {
    "made": MADE,
    "version": "0.2.0",
    "collector": {"running": True, "ready": True, "workers": 1},
    "intake": {
        "outcomes": {"accepted": 1},
        "newest": MADE,
        "hour": MADE,
        "reports": 40,
        "expected_reports": 41.0,
    },
    "outbox": {
        "waiting": {"influx": 3},
        "oldest_age_s": 2,
        "bytes": 1000,
        "limit_bytes": 10_000,
        "dead_letters": 0,
        "set_aside": 0,
    },
    "influxdb": {"url": "http://127.0.0.1:8086", "version": "1.6.7"},
    "last_day": {"day": date(2026, 11, 25), "nodes": 10, "servers": 5, "reports": 5},
    "alerts": {
        "nodes_24h": 990,
        "expected_nodes_24h": 1000.0,
        "erasures_queued": 0,
        "days_failing": 0,
        "clock_wrong": False,
    },
    "retention": [],
    "disk": {"path": "/state", "free_bytes": 50, "size_bytes": 100},
    "certificates": [],
}
WRONG: dict[str, dict[str, dict[str, Any]]] = {
    "running": {"collector": {"running": False, "ready": None, "why": "nothing answers"}},
    "ready": {"collector": {"ready": False, "why": "the outbox is full"}},
    "outbox-readable": {"outbox": {"problem": "permission denied"}},
    "outbox-backlog": {"outbox": {"oldest_age_s": 901}},
    "delivery": {"outbox": {"blocked": ["influx: denied"]}},
    "outbox-size": {"outbox": {"bytes": 8001}},
    "dead-letters": {"outbox": {"dead_letters": 2, "refusals": {"too old": 2}}},
    "disk": {"disk": {"free_bytes": 9}},
    "last-day": {"last_day": {"day": date(2026, 11, 24)}},
    "days-failing": {"alerts": {"days_failing": 1}},
    "nodes": {"alerts": {"nodes_24h": 849}},
    "reports": {"intake": {"reports": 0}},
    "erasures": {"alerts": {"erasures_queued": 2}},
    "orders": {"alerts": {"orders_behind": ["receive-3fa1c2 on alpha"]}},
    "clock": {"alerts": {"clock_wrong": True}},
}


def status_of(changes: Mapping[str, Mapping[str, Any]]) -> Status:
    parts = {name: {**WELL[name], **change} for name, change in changes.items()}
    return Status.model_validate(WELL | parts)


def test_each_problem_is_found_by_its_name_and_nothing_else_with_it() -> None:
    assert [one.check for one in examined(status_of({})) if not one.good] == []
    runbook = (Path(__file__).parents[2] / "docs" / "runbook.md").read_text(encoding="utf-8")
    for name, changes in WRONG.items():
        (found,) = [one for one in examined(status_of(changes)) if not one.good]
        assert found.check == name
        assert found.do
        assert found.runbook == "" or f"\n## {found.runbook}\n" in runbook


def test_day_counts_as_late_four_hours_after_its_end() -> None:
    for hour, late in ((3, False), (4, True)):
        yesterday = {"day": date(2026, 11, 24)}
        at = MADE.replace(hour=hour)
        found = examined(status_of({"last_day": yesterday}).model_copy(update={"made": at}))
        assert ("last-day" in {one.check for one in found if not one.good}) is late


def test_certificate_that_ends_soon_or_is_not_trusted_is_a_problem() -> None:
    for ends, problem, good in (
        (MADE + timedelta(days=22), "", True),
        (MADE + timedelta(days=20), "", False),
        (None, "certificate has expired", False),
    ):
        one = Certificate(
            setting="COLLECTOR_PUBLIC_URL", address="a:443", ends=ends, problem=problem
        )
        found = examined(status_of({}).model_copy(update={"certificates": [one]}))
        assert [one.good for one in found if one.check == "certificate"] == [good]


async def test_end_of_a_certificate_is_read_from_the_server_that_a_setting_names(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    made = self_signed(tmp_path)
    port, closed = free_port(), free_port()
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), embedded.HOST, port, ssl=made.server()
    )
    async with server:
        settings = Settings(
            influx_url=f"https://{embedded.HOST}:{port}",
            influx_ca_file=str(made.file),
            grafana_url=f"https://{embedded.HOST}:{closed}",
        )
        trusted, away = await certificates(settings)
        assert trusted.ends is not None
        assert timedelta(days=1) < trusted.ends - datetime.now(UTC) <= timedelta(days=2)
        assert (away.setting, away.ends) == ("COLLECTOR_GRAFANA_URL", None)
        assert away.problem.startswith("not reached")
        (unknown,) = await certificates(
            settings.model_copy(update={"influx_ca_file": "", "grafana_url": ""})
        )
        assert "self-signed" in unknown.problem


def shown(environment: Mapping[str, str], *words: str) -> Done:
    """Run a command as in a terminal of 80 columns."""
    done = command(environment, *words, columns=COLUMNS)
    assert all(len(line) <= COLUMNS for line in done.out.splitlines()), done.out
    assert "\x1b" not in done.out, "colours, though this is no terminal"
    return done


def test_nothing_there_yet_is_said_in_words(tmp_path: Path) -> None:
    nothing = {
        "COLLECTOR_STATE_DIR": str(tmp_path / "none"),
        "COLLECTOR_INFLUX_URL": "http://127.0.0.1:1",
        "COLLECTOR_METRICS_LISTEN": "127.0.0.1:1",
    }
    done = shown(nothing, "status")
    assert done.code == 0
    for words in (
        "does not run: nothing answers at 127.0.0.1:1",
        "no report yet",
        "no outbox yet",
        "InfluxDB cannot be reached",
        "not there yet",
        "Needs attention: running",
    ):
        assert words in done.out
    done = shown(nothing, "doctor")
    assert done.code == 1
    assert "start it (`systemctl start collector`" in done.out
    assert "Do: start InfluxDB" in done.out
    found = Diagnosis.model_validate_json(command(nothing, "doctor", "--json").out)
    assert not found.good
    assert all(one.do for one in found.findings if not one.good)
    assert not (tmp_path / "none").exists()


def test_running_collector_is_shown_as_it_is_and_the_doctor_finds_nothing(
    serve: StartServe, databases: Databases, state_dir: Path
) -> None:
    world = start_world(serve, databases, state_dir, {"COLLECTOR_WORKERS": "2"})
    for number in range(100, 105):
        assert post(world.url, body_of(number)).status == 200
    assert post(world.url, b"{").status == 400
    environment = world.collector.environment

    def read() -> Status:
        return Status.model_validate_json(command(environment, "status", "--json").out)

    eventually(lambda: read().outbox.waiting == {"influx": 0, "records": 0})
    found = read()
    assert (found.collector.running, found.collector.ready, found.collector.why) == (True, True, "")
    assert found.intake.outcomes == {"accepted": 5, "malformed-json": 1}
    assert found.intake.newest is not None
    assert found.influxdb.version is not None
    day = found.last_day
    assert (day.day, day.nodes, day.servers) == (
        last_final_day(),
        2 * (NEIGHBOURS + 1),
        NEIGHBOURS + 1,
    )
    newest = "SELECT reports FROM hourly_usage ORDER BY time DESC LIMIT 1"

    def is_of_the_newest_hour() -> bool:
        (row,) = databases.server.query(newest, databases.daily)
        hour = read().intake.hour
        return hour is not None and hour.timestamp() * 10**9 == row["time"]

    eventually(is_of_the_newest_hour)
    assert {one.database for one in found.retention} >= {databases.raw, databases.daily}
    assert found.outbox.bytes > 0
    text = shown(environment, "status").out
    assert "runs, 2 workers, takes reports" in text
    assert "5 accepted, 1 malformed-json" in text
    assert f"{day.day}: {day.nodes} nodes" in text
    assert "Needs attention" not in text
    # Days that the schedule has still to compute may be due; nothing else is wrong.
    done = command(environment, "doctor", "--json")
    diagnosis = Diagnosis.model_validate_json(done.out)
    assert {one.check for one in diagnosis.findings if not one.good} <= {"days"}
    assert json.loads(done.out)["good"] is (done.code == 0)


def test_doctor_says_what_waits_and_why_lines_were_refused_and_changes_nothing(
    databases: Databases, state_dir: Path
) -> None:
    (release, *_) = releases()
    release.lay_state(state_dir)
    before = {path: path.read_bytes() for path in state_dir.rglob("outbox.sqlite3")}
    environment = databases.environment | {
        "COLLECTOR_STATE_DIR": str(state_dir),
        "COLLECTOR_METRICS_LISTEN": "127.0.0.1:1",
    }
    found = Diagnosis.model_validate_json(command(environment, "doctor", "--json").out)
    wrong = {one.check: one for one in found.findings if not one.good}
    assert wrong.keys() >= {"running", "outbox-backlog", "dead-letters"}
    assert "field type conflict" in wrong["dead-letters"].text
    text = " ".join(shown(environment, "doctor").out.split())
    assert "collector outbox retry" in text
    assert "docs/runbook.md, OutboxBacklog" in text
    text = shown(environment, "status").out
    assert "1 dead letters, 0 damaged outboxes set aside" in text
    assert {path: path.read_bytes() for path in before} == before
