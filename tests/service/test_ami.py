"""The AMI intake in a running collector: what an Asterisk tells is stored, and its end is told."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest

from collector.app import Running, running
from collector.schema import LIVE
from collector.setting_types import Address, parse_endpoint
from collector.settings import Settings
from tests.conftest import Databases
from tests.sender import eventually, until
from tests.service.test_check import run
from tools import embedded
from tools.replay.ami_script import script
from tools.replay.ami_server import SECRET, USER, AmiServer, event
from tools.replay.captures import CASES, read_capture
from tools.replay.pbx import Pbx


def write(path: Path, text: str) -> None:
    path.write_text(text)


def write_asterisks(path: Path, servers: Mapping[str, AmiServer], more: str = "") -> None:
    """Write the file of Asterisks, each with its manager interface and `more`."""
    (path.parent / "secret").write_text(SECRET + "\n")
    tables = [
        f'[{name}]\nami = "127.0.0.1:{server.port}"\nami_user = "{USER}"\n'
        f'ami_secret_file = "secret"\n{more}'
        for name, server in servers.items()
    ]
    write(path, "".join(tables))


@pytest.fixture
def settings(databases: Databases, state_dir: Path, tmp_path: Path) -> Settings:
    return Settings(
        listen=Address("127.0.0.1", 0),
        metrics_listen=Address("127.0.0.1", 0),
        state_dir=state_dir,
        influx_url=databases.server.url,
        influx_token=databases.server.token,
        influx_org=databases.server.org,
        influx_prefix=databases.prefix,
        asterisk_file=str(tmp_path / "asterisks.toml"),
        statsd_flush=1,
    )


async def metrics(at: Running) -> str:
    url = f"http://{at.metrics}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return await response.text()


def total(databases: Databases, statement: str) -> float | None:
    rows = databases.server.query(statement, f"{databases.prefix}{LIVE}")
    return float(next(value for name, value in rows[0].items() if name != "time")) if rows else None


async def play(server: AmiServer, session: str) -> None:
    """Send a recorded session's events in pieces of 97 bytes, once the state was asked for."""
    made = script(read_capture(CASES / "ami" / f"{session}.ami.txt"))
    server.cut = 97
    await until(lambda: server.asked["IAXregistry"] > 0)
    for step in made.steps:
        if step.message is not None:
            await server.say(step.message)


async def test_calls_queues_and_attacks_of_recorded_sessions_are_stored_exactly(
    settings: Settings, databases: Databases
) -> None:
    def stored(measurement: str, field: str, where: str = "") -> float | None:
        return total(databases, f'SELECT sum("{field}") FROM "{measurement}" {where}')

    def queue(field: str, name: str) -> float | None:
        return stored("queues", field, f"WHERE queue = '{name}'")

    def attacks(service: str, kind: str) -> float | None:
        return stored("security", "count", f"WHERE service = '{service}' AND kind = '{kind}'")

    queues = AmiServer(Pbx(read_capture(CASES / "ami" / "03-queues.ami.txt").description))
    calls = "WHERE asterisk = 'pbx1'"
    async with (
        AmiServer().listening() as one,
        queues.listening() as two,
        AmiServer().listening() as three,
    ):
        servers = {"pbx1": one, "pbx2": two, "pbx3": three}
        write_asterisks(Path(settings.asterisk_file), servers)
        async with running(settings) as at:
            await asyncio.gather(
                play(one, "02a-calls"), play(two, "03-queues"), play(three, "06-security")
            )
            for is_stored in (
                lambda: stored("calls", "ended", calls) == 37,
                lambda: queue("completed", "sales") == 3,
                lambda: attacks("PJSIP", "ChallengeSent") == 620,
            ):
                await asyncio.to_thread(eventually, is_stored)
            page = await metrics(at)
    assert 'collector_ami_connected{asterisk="pbx1"} 1.0' in page
    assert 'collector_ami_events_total{asterisk="pbx1",event="Hangup"}' in page
    assert 'collector_ami_events_total{asterisk="pbx1",event="other"}' in page
    assert 'collector_ami_logins_total{asterisk="pbx1"} 1.0' in page
    assert 'collector_ami_bytes_total{asterisk="pbx1"}' in page
    assert stored("calls", "started", calls) == 37
    assert stored("calls", "answered", calls) == 17
    assert stored("calls", "ended", f"{calls} AND outcome = 'answered'") == 17
    fields = ("entered", "answered", "abandoned", "completed")
    assert [queue(field, "support") for field in fields] == [9, 7, 2, 7]
    assert [queue(field, "sales") for field in fields] == [3, 3, 0, 3]
    kinds = ("InvalidPassword", "InvalidAccountID", "ChallengeResponseFailed", "FailedACL")
    assert [attacks("AMI", kind) for kind in kinds] == [3, 3, 2, 2]
    assert [attacks("PJSIP", kind) or 0 for kind in kinds] == [0, 410, 10, 4]


async def test_an_asterisk_that_leaves_the_file_leaves_series_and_metrics(
    settings: Settings, databases: Databases
) -> None:
    def points(name: str) -> float | None:
        where = f"WHERE \"asterisk\" = '{name}'"
        return total(databases, f'SELECT count("connected") FROM "ami_traffic" {where}')

    file = Path(settings.asterisk_file)
    async with AmiServer().listening() as one, AmiServer(write=()).listening() as other:
        write_asterisks(file, {"one": one, "other": other})
        async with running(settings) as at:
            await one.logged_in()
            await other.logged_in()
            await asyncio.to_thread(eventually, lambda: bool(points("one") and points("other")))
            refused = 'collector_ami_refused_total{asterisk="other",question="CoreStatus"} 1.0'
            # Points come before the answer to this question.
            while refused not in await metrics(at):  # noqa: ASYNC110 - asked over HTTP
                await asyncio.sleep(0.05)
            write(file, "[broken")
            at.reload()
            before = await asyncio.to_thread(points, "other")
            await asyncio.to_thread(eventually, lambda: (points("other") or 0) > (before or 0))
            assert other.leavers == 0
            write_asterisks(file, {"one": one})
            at.reload()
            await until(lambda: other.leavers == 1)
            one.drop()
            await until(lambda: one.logins == 2)

            async def two_flushes() -> None:
                more = await asyncio.to_thread(points, "one") or 0
                await asyncio.to_thread(eventually, lambda: (points("one") or 0) > more + 1)

            # Its last points may have been under way.
            await two_flushes()
            gone = await asyncio.to_thread(points, "other")
            await two_flushes()
            assert await asyncio.to_thread(points, "other") == gone
            page = await metrics(at)
            assert 'collector_ami_connected{asterisk="one"} 1.0' in page
            assert 'collector_ami_connected{asterisk="other"}' not in page
            assert 'collector_ami_ends_total{asterisk="one",reason="closed"} 1.0' in page
            assert "collector_ami_dropped" in page


async def test_check_tries_the_login_of_each_asterisk(
    databases: Databases, state_dir: Path, tmp_path: Path
) -> None:
    file = tmp_path / "asterisks.toml"
    environment = databases.environment | {"COLLECTOR_ASTERISK_FILE": str(file)}
    async with AmiServer().listening() as one:
        write_asterisks(file, {"one": one, "two": AmiServer()})
        code, out, _ = await asyncio.to_thread(run, "check", environment, state_dir)
    assert code == 1
    assert f"Asterisk one: logged in to the manager interface at 127.0.0.1:{one.port}" in out
    assert "WRONG Asterisk one: read=security is missing in manager.conf" in out
    assert "WRONG Asterisk two: the manager interface at 127.0.0.1:0" in out
    write(file, "[broken")
    code, out, err = await asyncio.to_thread(run, "check", environment, state_dir)
    assert code != 0
    assert "COLLECTOR_ASTERISK_FILE" in out + err


async def test_state_asked_by_ami_corrects_what_statsd_counts(
    settings: Settings, databases: Databases
) -> None:
    """Increments that came before the collector knew the gauge leave it wrong until AMI tells."""

    def last(field: str) -> float | None:
        return total(databases, f'SELECT last("{field}") FROM "channels"')

    async with AmiServer().listening() as server:
        for number in range(3):
            channel = event(
                "Newchannel", "call", Channel=f"PJSIP/a-{number}", Uniqueid=f"1.{number}"
            )
            server.pbx.take(channel, 0.0)
        server.shutting_down = True
        file = Path(settings.asterisk_file)
        write_asterisks(file, {"pbx1": server}, more='statsd_from = "127.0.0.1"\n')
        port = embedded.free_port()
        both = settings.model_copy(update={"statsd_listen": [parse_endpoint(f"127.0.0.1:{port}")]})
        async with running(both):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
                sending.sendto(b"channels.count:+1|g\n" * 10, ("127.0.0.1", port))
            await asyncio.to_thread(eventually, lambda: last("count") == 10)
            assert await asyncio.to_thread(last, "uncertain") is not None
            server.shutting_down = False
            await until(lambda: server.logins > 0)
            await asyncio.to_thread(eventually, lambda: last("count") == 3)
            where = "FROM channels ORDER BY time DESC LIMIT 1"
            (row,) = databases.server.query(f"SELECT * {where}", f"{databases.prefix}{LIVE}")
            assert row.get("uncertain") is None
