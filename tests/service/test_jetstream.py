"""Publishing to real NATS servers: stored is what the stream acknowledged."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from nats.js.errors import NotFoundError

from collector.jetstream.connection import Connection, NatsUnavailable
from collector.jetstream.publishing import Message, NotStored, Publisher
from collector.jetstream.pulling import Puller
from collector.outbox import Queue
from collector.settings import Settings
from tests.nats_servers import answered, make_queues, published
from tests.sender import GUARD_S
from tools.nats import NatsCluster, NatsServer

STREAM = "usage"


def settings_for(server: NatsServer | NatsCluster) -> Settings:
    return Settings(nats_url=server.urls.split(","), nats_stream=STREAM, nats_replicas=1)


def messages(first: int, last: int, *, size: int = 10) -> list[Message]:
    return [Message(f"{STREAM}.influx.a.00", f"id-{n}", b"x" * size) for n in range(first, last)]


@pytest.fixture
async def to_server(nats_server: NatsServer) -> AsyncIterator[Connection]:
    """A connection to a server that has a stream."""
    async with Connection(settings_for(nats_server), name="test") as opened:
        yield opened


async def make_stream(to: Connection, **options: Any) -> None:
    async def make() -> None:
        jetstream = await to.jetstream()
        await jetstream.add_stream(name=STREAM, subjects=[f"{STREAM}.>"], **options)

    await answered(make)


async def stored(to: Connection) -> int:
    """The number of messages."""

    async def info() -> int:
        return int((await (await to.jetstream()).stream_info(STREAM)).state.messages)

    return await answered(info)


async def test_published_messages_are_stored_once_though_sent_twice(to_server: Connection) -> None:
    await make_stream(to_server)
    publisher = Publisher(to_server, STREAM)
    await published(publisher, messages(0, 2500))
    await published(publisher, messages(0, 2500))
    await publisher.publish([])
    assert await stored(to_server) == 2500


async def test_full_stream_refuses_and_says_so(to_server: Connection) -> None:
    await make_stream(to_server, max_bytes=10_000, discard="new")
    publisher = Publisher(to_server, STREAM)
    with pytest.raises(NotStored, match="maximum bytes exceeded") as refused:
        await publisher.publish(messages(0, 300, size=100))
    assert refused.value.full
    assert 0 < await stored(to_server) < 300
    # Nothing of the refused batch disturbs the next.
    await (await to_server.jetstream()).purge_stream(STREAM)
    await published(publisher, messages(1000, 1010))


async def test_messages_without_a_stream_are_not_taken(to_server: Connection) -> None:
    with pytest.raises(NatsUnavailable, match="collector provision"):
        await Publisher(to_server, STREAM).publish(messages(0, 3))


async def test_another_stream_of_the_subjects_takes_nothing(to_server: Connection) -> None:
    jetstream = await to_server.jetstream()
    await jetstream.add_stream(name="foreign", subjects=[f"{STREAM}.>"])
    with pytest.raises(NotStored, match="expected stream") as refused:
        await Publisher(to_server, STREAM).publish(messages(0, 3))
    assert not refused.value.full


async def test_connection_comes_back_after_its_server_was_killed(
    nats_server: NatsServer, to_server: Connection
) -> None:
    await make_stream(to_server)
    publisher = Publisher(to_server, STREAM)
    await published(publisher, messages(0, 5))
    nats_server.kill()
    with pytest.raises(NatsUnavailable):
        await publisher.publish(messages(5, 10))
    nats_server.start()
    await published(publisher, messages(5, 10))
    assert await stored(to_server) == 10


async def test_missing_server_is_named(nats_server: NatsServer) -> None:
    nats_server.kill()
    async with Connection(settings_for(nats_server), name="test", patience_s=0.5) as away:
        with pytest.raises(NatsUnavailable, match=f"127.0.0.1:{nats_server.port}"):
            await away.client()


async def test_login_is_by_token_or_by_user_and_password(nats_server: NatsServer) -> None:
    for option, right, wrong in (
        ("authorization { token: sesame }", "sesame", "open"),
        ("authorization { user: u, password: p }", "u:p", "u:q"),
    ):
        nats_server.kill()
        nats_server.options = [option]
        nats_server.start()
        settings = settings_for(nats_server)
        async with Connection(
            Settings(nats_url=settings.nats_url, nats_token=right), name="test"
        ) as allowed:
            assert (await allowed.client()).is_connected
        async with Connection(
            Settings(nats_url=settings.nats_url, nats_token=wrong), name="test", patience_s=2
        ) as denied:
            # The server closes at once, and a reset may come before its words: it is asked again.
            words = ""
            async with asyncio.timeout(GUARD_S):
                while not re.search(r"(?i)authorization", words):
                    with pytest.raises(NatsUnavailable) as refused:
                        await denied.client()
                    words = str(refused.value)


async def test_three_servers_hold_a_stream_together(nats_cluster: NatsCluster) -> None:
    async with Connection(settings_for(nats_cluster), name="test") as to:
        await make_stream(to, num_replicas=3)
        publisher = Publisher(to, STREAM)
        await published(publisher, messages(0, 100))
        nats_cluster.leader(STREAM).kill()
        await published(publisher, messages(0, 200))
        assert await stored(to) == 200


async def test_stream_that_is_gone_is_not_found(to_server: Connection) -> None:
    with pytest.raises(NotFoundError):
        await stored(to_server)


async def test_message_larger_than_a_batch_is_pulled_alone(nats_server: NatsServer) -> None:
    nats_server.kill()
    nats_server.options = ["max_payload: 33554432"]
    nats_server.start()
    settings = settings_for(nats_server).model_copy(update={"nats_stream_max": 64 << 20})
    async with Connection(settings, name="test") as to:
        await make_queues(to, settings)
        large = Message(f"{STREAM}.influx.a.00", "large", bytes(17 << 20))
        await published(Publisher(to, STREAM), [*messages(0, 3), large, *messages(3, 6)])
        puller = Puller(to, STREAM, Queue.INFLUX)
        sizes: list[int] = []
        while len(sizes) < 7:
            batch = await puller.pull()
            sizes += [len(one.data) for one in batch]
            await puller.acknowledge(batch)
        assert sizes == [10, 10, 10, 17 << 20, 10, 10, 10]
        # The server deletes them soon after it has heard.
        while await stored(to):
            pass


async def test_puller_without_a_consumer_says_so(to_server: Connection) -> None:
    with pytest.raises(NatsUnavailable, match="JetStream delivers nothing"):
        await Puller(to_server, STREAM, Queue.INFLUX).pull()


async def test_what_is_given_back_is_delivered_again(nats_server: NatsServer) -> None:
    settings = settings_for(nats_server).model_copy(update={"nats_stream_max": 1 << 20})
    async with Connection(settings, name="test") as to:
        await make_queues(to, settings)
        await published(Publisher(to, STREAM), messages(0, 5))
        puller = Puller(to, STREAM, Queue.INFLUX)
        first = await puller.pull()
        await puller.in_progress(first)
        await puller.give_back(first, delay_s=0)
        again: list[int] = []
        while len(again) < 5:
            again += [one.metadata.num_delivered for one in await puller.pull()]
        assert again == [2] * 5
