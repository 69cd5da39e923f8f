"""`collector check` and `collector provision` with real NATS servers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from collector.jetstream.check import Told, examine
from collector.jetstream.connection import Connection
from collector.jetstream.publishing import Message, Publisher
from collector.settings import Settings
from tests.command import Done, command
from tests.conftest import Databases
from tests.nats_servers import make_queues, published
from tools.embedded import HOST
from tools.nats import NatsServer

STREAM = "usage"


def settings_for(server: NatsServer, **values: object) -> Settings:
    chosen = {"nats_url": [server.url], "nats_replicas": 1, "nats_stream_max": "1MiB", **values}
    return Settings.model_validate(chosen)


async def checked(settings: Settings) -> tuple[str, str]:
    """What a check finds good, and what it finds wrong."""
    told: list[Told] = await examine(settings)
    good, bad = ("\n".join(text for one, text in told if one is said) for said in (True, False))
    return good, bad


async def make(settings: Settings, *bodies: bytes) -> None:
    async with Connection(settings, name="test") as to:
        await make_queues(to, settings)
        subject = f"{STREAM}.influx.usage_raw.none"
        found = [Message(subject, str(n), body) for n, body in enumerate(bodies)]
        await published(Publisher(to, STREAM), found)


async def test_check_says_what_there_is_and_what_is_risky(nats_server: NatsServer) -> None:
    settings = settings_for(nats_server)
    good, wrong = await checked(settings)
    assert f"answers at {nats_server.url}" in good
    assert "stream usage is not there yet" in good
    assert "COLLECTOR_NATS_MONITOR_URL" in good
    assert "each report is on one server alone" in wrong
    await make(settings, b"x")
    good, wrong = await checked(settings)
    assert "stream usage holds 1 messages" in good
    assert "1 messages wait for influx and nobody pulls them: start `collector write`" in wrong


async def test_check_finds_a_stream_that_is_nearly_full(nats_server: NatsServer) -> None:
    settings = settings_for(nats_server)
    await make(settings, *[bytes(100_000)] * 9)
    _, wrong = await checked(settings)
    assert "MiB of 1 MiB: when it is full" in wrong


async def test_check_finds_differences_from_the_settings(nats_server: NatsServer) -> None:
    await make(settings_for(nats_server))
    _, wrong = await checked(settings_for(nats_server, nats_stream_max="2MiB"))
    assert "stream usage: max_bytes is 1048576, wanted 2097152" in wrong
    assert "`collector provision` changes it" in wrong


async def test_check_reads_sync_interval_and_space_where_the_servers_tell_them(
    nats_server: NatsServer,
) -> None:
    monitor = [f"http://{HOST}:{nats_server.monitor_port}"]
    _, wrong = await checked(settings_for(nats_server, nats_monitor_url=monitor))
    assert "sync_interval is 2m and each report is on one server" in wrong
    good, _ = await checked(settings_for(nats_server, nats_monitor_url=monitor, nats_replicas=3))
    assert "sync_interval is 2m; if most servers lose power at once" in good
    gone = ["http://127.0.0.1:9"]
    _, wrong = await checked(settings_for(nats_server, nats_monitor_url=gone))
    assert "NATS's monitoring at http://127.0.0.1:9 does not tell" in wrong


async def test_check_names_a_server_that_is_away(nats_server: NatsServer) -> None:
    other = "nats://127.0.0.1:9"
    good, wrong = await checked(settings_for(nats_server, nats_url=[nats_server.url, other]))
    assert f"answers at {nats_server.url}" in good
    assert f"no NATS server of {other} is connected" in wrong


@pytest.fixture
def environment(nats_server: NatsServer, databases: Databases, tmp_path: Path) -> dict[str, str]:
    return {
        **databases.environment,
        "COLLECTOR_STATE_DIR": str(tmp_path / "state"),
        "COLLECTOR_NATS_URL": nats_server.url,
        "COLLECTOR_NATS_REPLICAS": "1",
        "COLLECTOR_NATS_STREAM_MAX": "1MiB",
    }


def provision(environment: dict[str, str], tmp_path: Path) -> Done:
    return command(environment, "provision", "--tokens-dir", tmp_path / "tokens", columns=200)


def test_provision_makes_the_stream_once_and_applies_changed_settings(
    environment: dict[str, str], tmp_path: Path
) -> None:
    done = provision(environment, tmp_path)
    assert "made stream usage" in done.out
    assert "made consumer write-influx" in done.out
    assert "made consumer write-records" in done.out
    again = provision(environment, tmp_path)
    assert "stream" not in again.out
    larger = provision(environment | {"COLLECTOR_NATS_STREAM_MAX": "2MiB"}, tmp_path)
    assert "changed stream usage: max_bytes is 1048576, wanted 2097152" in larger.out
    assert (
        "changed"
        not in provision(environment | {"COLLECTOR_NATS_STREAM_MAX": "2MiB"}, tmp_path).out
    )


def test_provision_tells_what_no_server_changes(
    environment: dict[str, str], tmp_path: Path, nats_server: NatsServer
) -> None:
    settings = settings_for(nats_server)

    async def foreign() -> None:
        async with Connection(settings, name="test") as to:
            jetstream = await to.jetstream()
            await jetstream.add_stream(name=STREAM, subjects=[f"{STREAM}.>"], max_bytes=1 << 20)

    asyncio.run(foreign())
    done = provision(environment, tmp_path)
    assert "retention is limits, wanted workqueue, which no server changes" in done.err
    assert "changed stream usage: discard is old, wanted new" in done.out


def test_provision_says_when_no_server_answers(
    environment: dict[str, str], tmp_path: Path, nats_server: NatsServer
) -> None:
    nats_server.kill()
    done = provision(environment, tmp_path)
    assert done.code == 1
    assert "no NATS server of" in done.err
