"""Reports that come together are understood and stored together, each answered for itself."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp import AiohttpClient

from collector.outbox import OutboxFile
from collector.privacy import ServerPseudonym
from tests.receiving import PSEUDONYMS, Receiving
from tests.sender import encoded, report

MANY = 40

Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def receiving(tmp_path: Path) -> AsyncIterator[Receiving]:
    made = Receiving(tmp_path)
    yield made
    await made.outbox.close()


@pytest.fixture
async def client(receiving: Receiving, aiohttp_client: AiohttpClient) -> Client:
    application = web.Application()
    application.add_routes(receiving.intake.routes())
    return await aiohttp_client(application)


async def posted(client: Client, bodies: list[bytes]) -> list[tuple[int, object]]:
    """All at once, each on a connection of its own: status and answer."""

    async def one(body: bytes) -> tuple[int, object]:
        async with client.post("/usage", data=body) as response:
            told = await response.json(content_type=None) if response.status != 500 else None
            return response.status, told

    return await asyncio.gather(*(one(body) for body in bodies))


def named(name: str, nodes: list[int]) -> tuple[ServerPseudonym, bytes]:
    return PSEUDONYMS.server(name), encoded(report(nodes) | {"uuid": name})


async def test_each_of_many_gets_the_answer_to_its_own_report(
    receiving: Receiving, client: Client
) -> None:
    bodies: list[bytes] = []
    expected: list[tuple[int, object]] = []
    stored: set[ServerPseudonym] = set()
    nodes = 0
    for number in range(MANY):
        server, body = named(str(uuid.uuid4()), [2000 + number] * (1 + number % 3))
        ignored = {"duplicate": number % 3} if number % 3 else {}
        status = 200
        told: dict[str, object] = {"status": "accepted", "nodes": 1, "ignored": ignored}
        match number % 5:
            case 0 | 1:
                stored.add(server)
                nodes += 1
            case 2:
                receiving.choices.out.add(server)
                told |= {"nodes": 0, "ignored": ignored | {"opted-out": 1}}
            case 3:
                receiving.choices.broken.add(server)
                status = 500
            case 4:
                body, status = body[:-20], 400
        bodies.append(body)
        expected.append((status, told))

    answers = await posted(client, bodies)

    assert [status for status, _ in answers] == [status for status, _ in expected]
    for (status, answer), (_, wanted) in zip(answers, expected, strict=True):
        if status == 200:
            assert answer == wanted
    assert sorted(receiving.servers()) == sorted(stored)
    # A dropped report is counted, without a trace of its owner.
    assert len(receiving.dropped()) == MANY / 5
    for line in receiving.dropped():
        assert re.fullmatch(rb"opted_out_report reports=1i \d{19}", line)
    reports = "collector_reports_total"
    assert receiving.metric(reports, intake="asl", outcome="accepted") == len(stored)
    assert receiving.metric(reports, intake="asl", outcome="opted-out") == MANY / 5
    assert receiving.metric(reports, intake="asl", outcome="malformed-json") == MANY / 5
    assert receiving.metric("collector_nodes_total", outcome="stored") == nodes


async def test_reports_that_come_together_share_commits(
    receiving: Receiving, client: Client
) -> None:
    bodies = [named(str(uuid.uuid4()), [2000 + number])[1] for number in range(MANY)]
    before = receiving.metric("collector_outbox_commits_total") or 0
    assert [status for status, _ in await posted(client, bodies)] == [200] * MANY
    commits = (receiving.metric("collector_outbox_commits_total") or 0) - before
    assert commits < MANY / 2


async def test_all_are_refused_where_they_could_not_be_stored_and_none_is_counted(
    receiving: Receiving, client: Client
) -> None:
    bodies = [named(str(uuid.uuid4()), [2000 + number])[1] for number in range(MANY)]
    with OutboxFile(receiving.path) as file:
        file._database.execute("DROP TABLE entries")  # noqa: SLF001
    answers = await posted(client, bodies)
    assert [status for status, _ in answers] == [503] * MANY
    assert not receiving.metric("collector_nodes_total", outcome="stored")
    reports = "collector_reports_total"
    assert not receiving.metric(reports, intake="asl", outcome="accepted")
    assert receiving.metric(reports, intake="asl", outcome="unavailable") == MANY


async def test_a_sender_that_went_away_costs_nobody_else_the_answer(
    receiving: Receiving, client: Client
) -> None:
    bodies = [named(str(uuid.uuid4()), [2000 + number])[1] for number in range(MANY)]
    impatient = asyncio.create_task(client.post("/usage", data=bodies[0]))
    await asyncio.sleep(0)
    impatient.cancel()
    assert [status for status, _ in await posted(client, bodies[1:])] == [200] * (MANY - 1)
    with pytest.raises((asyncio.CancelledError, aiohttp.ClientError)):
        await impatient
    assert len(receiving.servers()) >= MANY - 1
