"""LibreNMS's clients against a running collector, up to InfluxDB and back out of it."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from collector.metrics import Metrics
from collector.outbox import FILE, OutboxFile, check_at_start, recover, set_aside
from collector.privacy import Pseudonymiser
from collector.settings import Settings
from collector.state import pseudonym_key
from tests.conftest import Databases
from tests.librenms import (
    FORM,
    REPORT,
    UUID,
    clearing,
    earlier,
    expected,
    query,
    report,
    serving,
    settings_of,
    stored_totals,
    today,
)
from tests.sender import KEY, eventually, server_name

OTHER_UUID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
JSON = {"Accept": "application/json"}


@pytest.fixture
def settings(databases: Databases, state_dir: Path) -> Settings:
    return settings_of(databases, state_dir, asl=False)


async def sent(session: aiohttp.ClientSession, body: bytes, path: str = "/log.php") -> Any:
    async with session.post(path, data=io.BytesIO(body), headers=FORM | JSON) as response:
        assert response.status == 200, await response.text()
        return await response.json()


def rows(databases: Databases, measurement: str) -> list[dict[str, Any]]:
    name = f"{databases.prefix}librenms"
    if name not in databases.server.databases():
        return []
    return databases.server.query(f'SELECT * FROM "{measurement}"', name)


def stored(databases: Databases) -> dict[str, Any]:
    """Totals by group, of all reports in the database."""
    return stored_totals(row["totals"] for row in rows(databases, "librenms_content"))


async def until_stored(databases: Databases, reports: int) -> None:
    await asyncio.to_thread(eventually, lambda: len(rows(databases, "librenms_report")) == reports)


async def test_48_groups_come_back_from_the_database_however_they_were_sent(
    settings: Settings, databases: Databases
) -> None:
    accepted = {"status": "accepted", "groups": 48, "pairs": 5, "ignored": {}}
    fresh = [f"{n:08x}-0000-4000-8000-000000000000" for n in range(3)]
    async with serving(settings) as session:
        assert await sent(session, earlier(REPORT)) == accepted
        await until_stored(databases, 1)
        assert stored(databases) == expected(REPORT)
        (pairs,) = [row["pairs"] for row in rows(databases, "librenms_content")]
        assert [pair["descr"] for pair in json.loads(pairs)] == [
            one["sysDescr"] for one in REPORT["info"]
        ]
        assert await sent(session, today(report(fresh[0])), "/librenms/log.php") == accepted
        async with session.get(URL(query(report(fresh[1])), encoded=True)) as response:
            assert await response.json() == accepted
        assert await sent(session, today(report(fresh[2])), "/usage/log.php") == accepted
        await until_stored(databases, 4)
        async with session.get("/openapi.json") as response:
            document = await response.json()
        async with session.get("/privacy") as response:
            privacy = await response.text()
    servers = {row["server"] for row in rows(databases, "librenms_content")}
    assert servers == {server_name(uuid) for uuid in (UUID, *fresh)}
    assert databases.server.retention(f"{databases.prefix}librenms") == 90 * 86_400
    form = document["paths"]["/log.php"]["post"]["requestBody"]["content"]
    assert set(form) == {"application/json", "application/x-www-form-urlencoded"}
    assert "/usage" not in document["paths"]
    assert "Clear remote stats" in privacy
    assert "asl-telemetry" not in privacy


async def test_sender_that_is_off_has_no_route_and_no_word_anywhere(
    settings: Settings, databases: Databases
) -> None:
    off = settings.model_copy(update={"librenms": False, "asl": True})
    async with serving(off) as session:
        for path in ("/log.php", "/clear.php", "/librenms/log.php"):
            async with session.post(path, data=today(REPORT), headers=FORM) as response:
                assert response.status == 404
        for page in ("/privacy", "/es/privacy", "/method", "/es/method", "/openapi.json"):
            async with session.get(page) as response:
                assert "librenms" not in (await response.text()).lower(), page
    assert f"{databases.prefix}librenms" not in databases.server.databases()


async def test_refusals_have_their_reasons(settings: Settings) -> None:
    limited = settings.model_copy(update={"server_rate_limit": 2})
    async with serving(limited) as session:
        for path, body, status, reason in (
            ("/log.php", b"data={", 400, "malformed-json"),
            ("/log.php", b"", 400, "malformed-json"),
            ("/log.php", today(REPORT | {"uuid": "x"}), 400, "invalid-field"),
            ("/log.php", today(REPORT | {"data": {}}), 400, "invalid-field"),
            ("/log.php", b"data=" + b"x" * (2 << 20), 413, "too-large"),
            ("/clear.php", b"", 400, "invalid-field"),
            ("/clear.php", b"uuid=", 400, "invalid-field"),
        ):
            async with session.post(path, data=io.BytesIO(body), headers=FORM) as response:
                assert (response.status, (await response.json())["reason"]) == (status, reason)
        async with session.get("/clear.php") as response:
            assert response.status == 400
        async with session.head(f"/clear.php?uuid={UUID}") as response:
            assert response.status == 405
        large = report(hardware=[{"total": 1, "hardware": f"model {n}"} for n in range(15_000)])
        assert len(today(large)) > 500_000
        await sent(session, today(large))
        await sent(session, today(REPORT))
        async with session.post("/log.php", data=today(REPORT), headers=FORM) as response:
            assert response.status == 429
            # Half an hour after the first of the two.
            assert 1600 < int(response.headers["Retry-After"]) <= 1800


async def test_owners_see_erase_and_stop_their_reports_by_what_the_client_sends(
    settings: Settings, databases: Databases
) -> None:
    async with serving(settings) as session:
        await sent(session, today(REPORT))
        await sent(session, earlier(report(OTHER_UUID)))
        await until_stored(databases, 2)
        shown = await sent(session, clearing(), "/v1/my-data")
        assert (shown["held"]["reports"], shown["not_shown"], shown["reports"]) == (1, 1, [])
        shown = await sent(session, earlier(REPORT), "/v1/my-data")
        (held,) = shown["reports"]
        assert held["fields"]["groups"] == 48
        (content,) = [part["fields"] for part in held["parts"]]
        assert {"g": "os", "n": "os", "v": "ios", "t": 12} in content["totals"]
        assert len(content["pairs"]) == 5
        async with session.post("/v1/my-data", data=today(REPORT), headers=FORM) as response:
            words = await response.text()
        assert "os ios: 12" in words
        receipt = await sent(session, clearing(), "/v1/my-data/erase")
        assert receipt["erased"]["reports"] == 1
        await sent(session, clearing(), "/v1/my-data/opt-out")
        answer = await sent(session, today(REPORT))
        assert (answer["groups"], answer["ignored"]) == (0, {"opted-out": 1})
        await sent(session, clearing(), "/v1/my-data/opt-in")
        assert (await sent(session, today(REPORT)))["groups"] == 48
        await until_stored(databases, 2)


async def test_clear_answers_2xx_for_every_uuid_and_leaves_the_neighbours(
    settings: Settings, databases: Databases
) -> None:
    async with serving(settings) as session:
        await sent(session, today(REPORT))
        await sent(session, today(REPORT))
        await sent(session, today(report(OTHER_UUID)))
        await until_stored(databases, 3)
        assert await sent(session, clearing(), "/clear.php") == {"status": "erased"}
        assert {row["server"] for row in rows(databases, "librenms_content")} == {
            server_name(OTHER_UUID)
        }
        assert len(rows(databases, "librenms_report")) == 1
        for body in (clearing(), b"uuid=0123456789abc", f"uuid={UUID.upper()}&".encode()):
            assert await sent(session, body, "/clear.php") == {"status": "erased"}
        # The install opts in again and gets a new UUID, or keeps this one.
        assert (await sent(session, today(REPORT)))["groups"] == 48
        await until_stored(databases, 2)
        async with session.get(f"/librenms/clear.php?uuid={UUID}") as response:
            assert (response.status, await response.json()) == (200, {"status": "erased"})
        assert len(rows(databases, "librenms_report")) == 1


@pytest.mark.usefixtures("brief_stop")
async def test_reports_come_back_from_a_damaged_outbox(
    settings: Settings, databases: Databases
) -> None:
    path = settings.state_dir / FILE
    away = settings.model_copy(update={"influx_url": "http://127.0.0.1:9"})
    uuids = [f"{n:08x}-0000-4000-8000-000000000000" for n in range(12)]
    async with serving(away) as session:
        for uuid in uuids:
            # Larger than a page of the file, and than several.
            named = [{"total": 1, "hardware": f"{uuid} {n}"} for n in range(400)]
            await sent(session, today(report(uuid, hardware=named)))
    path.write_bytes(b"\xff" * 100 + path.read_bytes()[100:])
    check_at_start(path, Metrics())
    (aside,) = set_aside(settings.state_dir)
    mark = Pseudonymiser(pseudonym_key(settings.key_file, settings.state_dir)).mark
    with OutboxFile(path) as file:
        recovered = recover(aside, file, mark, {}, max_bytes=1 << 30)
    assert (recovered.reports, recovered.broken) == (12, 0)
    async with serving(settings):
        await until_stored(databases, 12)
    assert {row["server"] for row in rows(databases, "librenms_report")} == {
        server_name(uuid, KEY) for uuid in uuids
    }
