"""Checks of `collector check`: NATS servers, the stream, its consumers, and what is risky."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import aiohttp
from nats.js.api import StreamInfo

from collector.jetstream.board import Board
from collector.jetstream.connection import FAILURES, Connection, NatsUnavailable
from collector.jetstream.naming import consumer
from collector.jetstream.participants import ORDER_S, behind
from collector.jetstream.stream import Found, differences, look
from collector.outbox.queues import Queue
from collector.setting_types import format_duration
from collector.settings import Settings

_PATIENCE_S: Final = 3.0
_FULL: Final = 0.8
"""Share of a size limit from which on it is a problem."""
_NS: Final = 10**9


Told = tuple[bool, str]
"""Result of one check: whether it is good, and the state, or the problem and its remedy."""


async def examine(settings: Settings) -> list[Told]:
    """Run all checks; they change nothing."""
    told = list(await asyncio.gather(*(_server(settings, url) for url in settings.nats_url)))
    if any(good for good, _ in told):
        async with Connection(settings, name="collector check", patience_s=_PATIENCE_S) as to:
            try:
                told += [one async for one in _stream(to, settings)]
                told += [one async for one in _orders(to, settings)]
            except NatsUnavailable as error:
                told.append(_bad(f"JetStream: {error}"))
    told += await asyncio.gather(*(_monitored(settings, url) for url in settings.nats_monitor_url))
    if not settings.nats_monitor_url:
        words = (
            "NATS's sync_interval and free space are not looked at: COLLECTOR_NATS_MONITOR_URL"
            " names no monitoring address"
        )
        told.append(_good(words))
    return told


def _good(text: str) -> Told:
    return True, text


def _bad(text: str) -> Told:
    return False, text


async def _server(settings: Settings, url: str) -> Told:
    """Connect to one server."""
    alone = settings.model_copy(update={"nats_url": [url]})
    async with Connection(alone, name="collector check", patience_s=_PATIENCE_S) as to:
        try:
            version = (await to.client()).connected_server_version
        except NatsUnavailable as error:
            return _bad(f"{error} (reports wait in the outboxes meanwhile)")
    return _good(f"NATS {version} answers at {url}")


async def _stream(to: Connection, settings: Settings) -> AsyncIterator[Told]:
    jetstream = await to.jetstream()
    found = await look(jetstream, settings)
    name = settings.nats_stream
    if found.stream is None:
        yield _good(
            f"stream {name} is not there yet: receivers and writers make it, or `collector"
            " provision`"
        )
    else:
        for told in (*_state(found.stream, name), *_consumers(found)):
            yield told
        for one in differences(found, settings):
            remedy = (
                ", which no server changes: delete the stream when it is empty"
                if one.fixed
                else "; `collector provision` changes it"
            )
            yield _bad(f"{one}{remedy}")
    if settings.nats_replicas == 1:
        yield _bad(
            "COLLECTOR_NATS_REPLICAS=1: each report is on one server alone; when its disk is"
            " lost, only `collector outbox replay` brings back what no writer had stored"
        )
    try:
        account = await jetstream.account_info()
    except FAILURES as error:
        raise NatsUnavailable(str(error)) from error
    limit = account.limits.max_storage
    needed = int(settings.nats_stream_max) * settings.nats_replicas
    if found.stream is None and 0 <= limit < needed:
        yield _bad(
            f"the account may store {limit >> 20} MiB, and the stream needs {needed >> 20} MiB"
            " with its replicas: lower COLLECTOR_NATS_STREAM_MAX, or raise that limit"
        )


async def _orders(to: Connection, settings: Settings) -> AsyncIterator[Told]:
    """Check that all participants have carried out owners' orders, but those of the last minute."""
    board = Board(to, settings)
    replicas = await board.replicas()
    if replicas not in {None, settings.nats_replicas}:
        yield _bad(
            f"stream {board.name}, which has owners' orders and the keys of messages, is on"
            f" {replicas} servers, wanted {settings.nats_replicas}; `collector provision`"
            " changes it"
        )
    for one in await behind(board, for_s=ORDER_S):
        yield _bad(
            f"{one.name} on {one.host} has not carried out {one.orders} orders of owners (erasures,"
            f" opt-outs) since {one.since:%Y-%m-%d %H:%M} UTC; last heard of at"
            f" {one.at:%Y-%m-%d %H:%M}: start it, or, if its files are gone for good,"
            f" `collector my-data forget {one.name}`"
        )


def _state(stream: StreamInfo, name: str) -> Iterator[Told]:
    """Check how full a stream is, and whether its replicas are current."""
    most, used = stream.config.max_bytes or 0, stream.state.bytes
    text = f"stream {name} holds {stream.state.messages} messages, {used >> 20} MiB"
    if most > 0 and used > _FULL * most:
        yield _bad(
            f"{text} of {most >> 20} MiB: when it is full, reports wait in the outboxes; see"
            " that `collector write` makes progress"
        )
    else:
        yield _good(text)
    cluster = stream.cluster
    behind = [one.name for one in (cluster.replicas if cluster else None) or () if not one.current]
    if behind:
        yield _bad(
            f"stream {name}: the replicas on {', '.join(map(str, behind))} are behind or away;"
            " one more server lost may stop the stream"
        )


def _consumers(found: Found) -> Iterator[Told]:
    for queue in Queue:
        info = found.consumers.get(queue)
        if info is None:
            yield _bad(f"consumer {consumer(queue)} is missing: `collector provision` makes it")
            continue
        waiting = (info.num_pending or 0) + (info.num_ack_pending or 0)
        if waiting and not info.num_waiting and not info.num_ack_pending:
            yield _bad(
                f"{waiting} messages wait for {queue} and nobody pulls them: start `collector"
                " write`, for records with the settings of their sender"
            )


async def _monitored(settings: Settings, url: str) -> Told:
    """Check what a server's monitoring tells of its disk."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PATIENCE_S)) as session,
            session.get(f"{url}/jsz") as answer,
        ):
            said: dict[str, Any] = await answer.json(content_type=None)
        config = said["config"]
        interval = int(config.get("sync_interval", 0)) // _NS
        most, used = int(config["max_storage"]), int(said["storage"])
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
        words = str(error) or "no answer"
        return _bad(f"NATS's monitoring at {url} does not tell of JetStream: {words}")
    if most and used > _FULL * most:
        return _bad(f"{url}: JetStream uses {used >> 20} of {most >> 20} MiB: give it more room")
    synced = "after each message" if config.get("sync_always") else format_duration(interval)
    if settings.nats_replicas == 1 and not config.get("sync_always"):
        return _bad(
            f"{url}: sync_interval is {synced} and each report is on one server: its power cut"
            " loses what it acknowledged since; set `sync_interval: always`, or 3 replicas"
        )
    return _good(
        f"{url}: sync_interval is {synced}; if most servers lose power at once, replay the"
        " outboxes from before it"
    )
