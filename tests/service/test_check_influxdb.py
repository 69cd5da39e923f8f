"""`check` and `serve` before an InfluxDB that is not as it should be: the words and the remedy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from collector.influx import Influx, InfluxError, InfluxUnavailable
from collector.influx.diagnosis import NotSupported, version_of
from collector.metrics import Metrics
from collector.nodelist import NodeList
from tests.certificates import self_signed
from tests.conftest import Databases, StartServe
from tests.cut_short import CuttingProxy
from tests.influx_two import ORG, InfluxTwo
from tests.sender import encoded, eventually, post, report, until
from tests.servers import stop
from tests.service.test_check import run
from tools.embedded import EmbeddedInflux

HTTPS = "https://127.0.0.1:{}"


async def checked(settings: Mapping[str, str], state: Path) -> tuple[int, str]:
    """Exit code and output of `collector check`."""
    code, out, _ = await asyncio.to_thread(run, "check", settings, state)
    return code, out


@asynccontextmanager
async def answering(handler: Callable[[web.Request], web.Response]) -> AsyncIterator[str]:
    """A server that answers every request alike; its address."""

    async def handle(request: web.Request) -> web.Response:
        return handler(request)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    async with serving(application) as url:
        yield url


@asynccontextmanager
async def serving(application: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await stop(runner)


async def test_self_signed_certificate_is_named_and_trusted_by_the_setting(
    own_influx: EmbeddedInflux, state_dir: Path, tmp_path: Path
) -> None:
    certificate = self_signed(tmp_path)
    async with CuttingProxy(own_influx.url, tls=certificate.server()).open() as proxy:
        settings = {"COLLECTOR_INFLUX_URL": HTTPS.format(proxy.port)}
        code, out = await checked(settings, state_dir)
        assert code == 1
        assert "certificate is not trusted (self-signed certificate)" in out
        assert "set COLLECTOR_INFLUX_CA_FILE" in out
        trusting = {"COLLECTOR_INFLUX_CA_FILE": str(certificate.file)}
        assert (await checked(settings | trusting, state_dir))[0] == 0
        # The variable that OpenSSL itself knows does as well.
        assert (await checked(settings | {"SSL_CERT_FILE": str(certificate.file)}, state_dir))[
            0
        ] == 0
        other = {"COLLECTOR_INFLUX_URL": f"https://localhost:{proxy.port}"}
        code, out = await checked(other | trusting, state_dir)
        assert code == 1
        assert "its certificate is for another name" in out


async def test_reports_are_delivered_to_an_influxdb_behind_tls(
    own_influx: EmbeddedInflux,
    own_databases: Databases,
    serve: StartServe,
    tmp_path: Path,
) -> None:
    certificate = self_signed(tmp_path)
    async with CuttingProxy(own_influx.url, tls=certificate.server()).open() as proxy:
        collector = await asyncio.to_thread(
            serve,
            {
                "COLLECTOR_INFLUX_URL": HTTPS.format(proxy.port),
                "COLLECTOR_INFLUX_CA_FILE": str(certificate.file),
            },
        )
        body = encoded(report([2001]))
        assert (await asyncio.to_thread(post, collector.url, body)).status == 200
        count = own_databases.server.count
        await asyncio.to_thread(eventually, lambda: count("usage_raw", "node_report", "node") == 1)


async def test_tls_against_a_plain_port_and_the_reverse_are_told_apart(
    own_influx: EmbeddedInflux, state_dir: Path, tmp_path: Path
) -> None:
    code, out = await checked({"COLLECTOR_INFLUX_URL": HTTPS.format(own_influx.port)}, state_dir)
    assert code == 1
    assert "the port does not speak TLS" in out
    assert "set COLLECTOR_INFLUX_URL to http://" in out
    tls = self_signed(tmp_path).server()
    async with CuttingProxy(own_influx.url, tls=tls).open() as proxy:
        code, out = await checked(
            {"COLLECTOR_INFLUX_URL": f"http://127.0.0.1:{proxy.port}"}, state_dir
        )
    assert code == 1
    assert "the port speaks TLS" in out
    assert "set COLLECTOR_INFLUX_URL to https://" in out


async def test_file_that_holds_no_certificate_is_a_wrong_setting(
    state_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "none.pem").write_text("none")
    for file in (tmp_path / "none.pem", tmp_path / "missing.pem"):
        code, _, err = await asyncio.to_thread(
            run, "check", {"COLLECTOR_INFLUX_CA_FILE": str(file)}, state_dir
        )
        assert code == 2
        assert "COLLECTOR_INFLUX_CA_FILE" in err
        assert "certificates in PEM" in err


async def test_a_proxys_page_is_told_from_influxdb(state_dir: Path) -> None:
    page = "<html><head><title>Sign in\n</title></head></html>"
    for status in (200, 403, 502):

        def answer(_: web.Request, status: int = status) -> web.Response:
            return web.Response(text=page, content_type="text/html", status=status)

        async with answering(answer) as url:
            code, out = await checked({"COLLECTOR_INFLUX_URL": url}, state_dir)
        assert code == 1
        assert f"a web page ('Sign in') answers /ping with {status}, not InfluxDB" in out
        assert "not to a proxy's own pages" in out


def influxdb_3(request: web.Request) -> web.Response:
    """The answers of InfluxDB 3 Core to /ping and to a v1 query."""
    if request.path == "/ping":
        headers = {"X-Influxdb-Version": "3.10.0", "X-Influxdb-Build": "Core"}
        return web.json_response({"version": "3.10.0", "revision": "x"}, headers=headers)
    return web.json_response({"results": [{"statement_id": 0}]})


async def test_influxdb_3_is_recognised_and_refused_with_the_reason(state_dir: Path) -> None:
    async with answering(influxdb_3) as url:
        code, out = await checked({"COLLECTOR_INFLUX_URL": url}, state_dir)
        assert code == 1
        assert "InfluxDB 3.10.0 is not supported: it cannot delete points" in out
        assert "Use InfluxDB 1.6 to 1.12 or 2.x" in out
        settings = {
            "COLLECTOR_INFLUX_URL": url,
            "COLLECTOR_LISTEN": "127.0.0.1:1",
            "COLLECTOR_WORKERS": "2",
        }
        for workers in ("1", "2"):
            code, _, err = await asyncio.to_thread(
                run, "serve", settings | {"COLLECTOR_WORKERS": workers}, state_dir
            )
            assert code == 2
            assert "InfluxDB 3.10.0 is not supported" in err
        async with Influx(url) as influx:
            with pytest.raises(NotSupported):
                await influx.ping()
            with pytest.raises(InfluxError):
                await influx.source("usage_raw", "m")


def test_version_is_read_from_a_header_or_a_body_whatever_the_status() -> None:
    three = b'{"version":"3.0.1"}'
    for status, headers, body in (
        (200, {"X-Influxdb-Version": "v3.1.0"}, b""),
        (401, {"X-Influxdb-Version": "3.1.0"}, b""),
        (200, {}, three),
    ):
        with pytest.raises(NotSupported):
            version_of(status, headers, body)
    assert version_of(204, {"X-Influxdb-Version": "1.6.7~rc0"}, b"") == "1.6.7~rc0"
    assert version_of(204, {"X-Influxdb-Version": "v2.8.0"}, b"") == "2.8.0"
    assert version_of(204, {}, b"") == "unknown"
    for body in (b"[]", b"7", b"ok"):
        with pytest.raises(InfluxUnavailable, match="answers 200, not 204"):
            version_of(200, {}, body)
    with pytest.raises(InfluxUnavailable, match="speaks TLS"):
        version_of(400, {}, b"Client sent an HTTP request to an HTTPS server.\n")


async def test_influxdb_2_before_its_set_up_and_before_its_buckets(state_dir: Path) -> None:
    two = InfluxTwo()
    two.allows_setup = True
    async with serving(two.application()) as url:
        settings = {"COLLECTOR_INFLUX_URL": url, "COLLECTOR_INFLUX_ORG": ORG}
        code, out = await checked(settings, state_dir)
        assert code == 1
        assert "has not been set up yet: run `influx setup`" in out
        two.allows_setup = False
        code, out = await checked(settings, state_dir)
        assert code == 1
        assert "requires a token: set COLLECTOR_INFLUX_TOKEN" in out
        settings["COLLECTOR_INFLUX_TOKEN"] = "operator-token"
        code, out = await checked(settings, state_dir)
        assert code == 0
        for name in ("usage_raw", "usage_daily", "usage_owners"):
            assert f"{name} is not there yet" in out
        assert "`collector serve` makes it at its start" in out
        assert (await checked(settings | {"COLLECTOR_INFLUX_TOKEN": "wrong"}, state_dir))[0] == 1


async def test_node_list_is_fetched_through_the_proxy_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(request: web.Request) -> web.Response:
        asked.append(str(request.raw_path))
        return web.Response(text="2001 node one\n2002 node two\n")

    async with answering(answer) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        url = "http://nodes.example/list.txt"
        nodes = NodeList(url, directory=tmp_path, metrics=Metrics())
        running = asyncio.create_task(nodes.run())
        await until(lambda: bool(asked))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert asked == [url]


async def test_influxdb_is_never_asked_through_a_proxy(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with Influx(databases.server.url) as influx:
        assert (await influx.ping())[0] in "12"
