"""The words for what goes wrong with InfluxDB, and the kind of each error."""

from __future__ import annotations

import ssl

import aiohttp
import polars as pl
import pytest
from aiohttp import web
from aiohttp.client_reqrep import ConnectionKey

from collector.influx import Influx, InfluxError, InfluxUnavailable
from collector.influx.client import Written
from collector.influx.diagnosis import diagnose, speaks_tls, unreachable
from collector.influx.frames import Rows
from collector.influx.v2 import awaits_setup
from collector.influx.writing import BATCH, write_all
from tests.service.test_check_influxdb import answering
from tests.service.upstream import Answer, Upstream

KEY = ConnectionKey("127.0.0.1", 1, True, True, None, None, None)


async def test_points_are_all_written_or_an_error_tells_whether_waiting_helps() -> None:
    lines: list[str | bytes] = [f"m f={n}i {n}" for n in range(BATCH)] + [b"m f=1i 1"]
    async with Upstream().running() as upstream, Influx(upstream.url) as influx:
        await write_all(influx, "usage_raw", "the points", lines)
        assert [len(write.lines) for write in upstream.seen] == [BATCH, 1]
    for answer, kind, words in (
        (Answer(503, "busy"), InfluxUnavailable, "the points could not be written: .*busy"),
        (Answer(400, "field type conflict"), InfluxError, "field type conflict"),
        (Answer(401, "no"), InfluxError, r"the points could not be written \(401\): no"),
        (Answer(413, "large"), InfluxError, "too large for InfluxDB"),
    ):
        async with Upstream(always=answer).running() as upstream, Influx(upstream.url) as influx:
            with pytest.raises(InfluxError, match=words) as raised:
                await write_all(influx, "usage_raw", "the points", lines[:1])
        assert type(raised.value) is kind


async def test_user_who_may_not_see_policies_writes_to_the_default_one() -> None:
    upstream = Upstream(query=Answer(403, "not authorized to execute statement"))
    async with upstream.running(), Influx(upstream.url, token="writer:x") as influx:
        assert await influx.write("usage_raw", b"m f=1i 1") == Written()
        assert await influx.source("usage_raw", "m", everywhere=True) == '"m"'
    assert "rp" not in upstream.seen[0].params


async def test_write_waits_where_the_policy_cannot_be_learnt_now() -> None:
    upstream = Upstream(query=Answer(503, "starting"))
    async with upstream.running(), Influx(upstream.url) as influx:
        result = await influx.write("usage_raw", b"m f=1i 1")
    assert type(result).__name__ == "Unavailable"
    assert upstream.seen == []


def test_csv_that_is_not_what_was_asked_for_is_an_error() -> None:
    with pytest.raises(InfluxError, match="not InfluxDB's"):
        Rows({"n": pl.Int64()}).add(b"name,tags,time,n\nm,,1,many\n")


def test_what_breaks_a_connection_is_put_into_words() -> None:
    wrong_version = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    mismatch = ssl.SSLCertVerificationError(1, "Hostname mismatch")
    mismatch.verify_message = "Hostname mismatch, certificate is not valid for 'x'"
    unknown = ssl.SSLCertVerificationError(1, "self-signed")
    unknown.verify_message = "self-signed certificate"
    for error, words in (
        (aiohttp.ClientConnectorSSLError(KEY, wrong_version), "does not speak TLS"),
        (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "no shared cipher")), "TLS fails"),
        (aiohttp.ClientConnectorCertificateError(KEY, mismatch), "is for another name"),
        (aiohttp.ClientConnectorCertificateError(KEY, unknown), "COLLECTOR_INFLUX_CA_FILE"),
        (TimeoutError(), "does not answer in time"),
        (aiohttp.ServerDisconnectedError(), "ServerDisconnectedError"),
    ):
        assert words in unreachable(error)


async def test_tls_is_looked_for_where_it_may_be_only() -> None:
    async with answering(lambda _: web.Response(status=204)) as url:
        assert not await speaks_tls(url)
        garbled = InfluxUnavailable("garbled")
        garbled.__cause__ = aiohttp.ServerDisconnectedError()
        assert await diagnose(url, garbled) == "garbled"
    assert not await speaks_tls("https://127.0.0.1:9")
    assert not await speaks_tls("http://127.0.0.1:9")


async def test_only_an_influxdb_2_that_says_so_awaits_its_set_up() -> None:
    for answer, awaits in (
        (web.json_response({"allowed": True}), True),
        (web.json_response({"allowed": False}), False),
        (web.json_response([]), False),
        (web.Response(text="<html>", content_type="text/html"), False),
        (web.Response(status=404), False),
    ):

        def give(_: web.Request, answer: web.Response = answer) -> web.Response:
            return answer

        async with answering(give) as url, Influx(url) as influx:
            assert await awaits_setup(influx) is awaits
    async with Influx("http://127.0.0.1:9") as influx:
        with pytest.raises(InfluxUnavailable):
            await awaits_setup(influx)
