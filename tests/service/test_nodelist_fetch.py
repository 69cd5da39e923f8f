"""The public node list, from an HTTP server of its own to the reports that it decides on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from collector.metrics import Metrics
from collector.nodelist import NodeList
from tests.conftest import Databases, StartServe
from tests.sender import encoded, eventually, metric, post, report, until
from tests.servers import stop

TEXT = "".join(f"{node}|CALL|Hub|Town\n" for node in range(2000, 2100))
STAMP = "Sat, 01 Nov 2025 00:00:00 GMT"


@dataclass
class ListServer:
    """A server of the list, and the headers of each request to it."""

    text: bytes = TEXT.encode()
    status: int = 200
    etag: str = '"first"'
    breaks_off: bool = False
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.headers))
        if self.status == 200 and request.headers.get("If-None-Match") == self.etag:
            return web.Response(status=304)
        if self.breaks_off:
            response = web.StreamResponse(headers={"Content-Length": "100000"})
            await response.prepare(request)
            await response.write(self.text)
            assert request.transport is not None
            request.transport.abort()
            return response
        headers = {"ETag": self.etag, "Last-Modified": STAMP}
        return web.Response(status=self.status, body=self.text, headers=headers)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[ListServer]:
        application = web.Application()
        application.router.add_get("/list", self.answer)
        runner = web.AppRunner(application)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/list"
            yield self
        finally:
            await stop(runner)


@pytest.fixture
async def server() -> AsyncIterator[ListServer]:
    async with ListServer().running() as running:
        yield running


async def fetched(url: str, directory: Path) -> tuple[NodeList, str]:
    """A list after one fetch, as after a start of the collector, and how the fetch came out."""
    metrics = Metrics()
    nodes = NodeList(url, directory=directory, metrics=metrics)

    def outcome() -> str | None:
        for name in ("fetched", "unchanged", "failed"):
            labels = {"outcome": name}
            if metrics.registry.get_sample_value("collector_nodelist_fetches_total", labels):
                return name
        return None

    task = asyncio.create_task(nodes.run())
    try:
        await until(lambda: outcome() is not None)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    found = outcome()
    assert found is not None
    return nodes, found


def lists(nodes: NodeList) -> tuple[bool, bool]:
    return nodes.lists(2001), nodes.lists(511111)


async def test_list_is_fetched_and_decides(server: ListServer, tmp_path: Path) -> None:
    nodes, outcome = await fetched(server.url, tmp_path)
    assert (outcome, lists(nodes)) == ("fetched", (True, False))


async def test_list_is_asked_for_only_if_it_changed(server: ListServer, tmp_path: Path) -> None:
    await fetched(server.url, tmp_path)
    nodes, outcome = await fetched(server.url, tmp_path)
    assert (outcome, lists(nodes)) == ("unchanged", (True, False))
    assert "If-None-Match" not in server.asked[0]
    assert server.asked[1]["If-None-Match"] == '"first"'
    assert server.asked[1]["If-Modified-Since"] == STAMP


async def test_changed_list_replaces_the_one_before(server: ListServer, tmp_path: Path) -> None:
    await fetched(server.url, tmp_path)
    server.text, server.etag = b"511111|a|b|c\n" + TEXT.encode(), '"second"'
    nodes, outcome = await fetched(server.url, tmp_path)
    assert (outcome, lists(nodes)) == ("fetched", (True, True))


@pytest.mark.parametrize("status", [404, 500, 503, 204, 302])
async def test_last_good_list_serves_while_its_server_fails(
    server: ListServer, tmp_path: Path, status: int
) -> None:
    await fetched(server.url, tmp_path)
    server.status, server.etag = status, '"second"'
    nodes, outcome = await fetched(server.url, tmp_path)
    assert (outcome, lists(nodes)) == ("failed", (True, False))


@pytest.mark.parametrize(
    "text",
    [b"", b"<html>Please log in</html>", b"2000|a|b|c\n" * 3, b"\xff" * 100],
    ids=["empty", "page", "nearly empty", "noise"],
)
async def test_list_that_cannot_be_right_does_not_replace_a_good_one(
    server: ListServer, tmp_path: Path, text: bytes
) -> None:
    await fetched(server.url, tmp_path)
    server.text, server.etag = text, '"second"'
    nodes, outcome = await fetched(server.url, tmp_path)
    assert (outcome, lists(nodes)) == ("failed", (True, False))


async def test_list_broken_off_does_not_replace_a_good_one(
    server: ListServer, tmp_path: Path
) -> None:
    await fetched(server.url, tmp_path)
    server.breaks_off, server.etag = True, '"second"'
    nodes, outcome = await fetched(server.url, tmp_path)
    assert (outcome, lists(nodes)) == ("failed", (True, False))


async def test_without_any_list_every_public_node_counts(tmp_path: Path) -> None:
    nodes, outcome = await fetched("http://127.0.0.1:9/list", tmp_path)
    assert (outcome, lists(nodes)) == ("failed", (True, True))


async def test_unlisted_node_is_ignored_and_counted(
    server: ListServer, databases: Databases, serve: StartServe
) -> None:
    def told() -> None:
        collector = serve(databases.environment | {"COLLECTOR_NODELIST_URL": server.url})
        eventually(lambda: metric(collector.metrics_url, "collector_nodelist_nodes") == 100)
        answer = post(collector.url, encoded(report([2001, 511111, 1999])))
        assert answer.json["nodes"] == 1
        assert answer.json["ignored"] == {"unlisted": 1, "private": 1}
        assert metric(collector.metrics_url, "collector_nodes_total", outcome="unlisted") == 1
        answer = post(collector.url, encoded(report([511111])))
        assert (answer.status, answer.reason) == (400, "no-public-nodes")

    await asyncio.to_thread(told)
