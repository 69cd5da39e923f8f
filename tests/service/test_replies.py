"""What a sender hears, by the reply table, and what it hears when it is no proper HTTP client."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
import struct
import time
import urllib.parse

import pytest

from tests.busy import measured
from tests.conftest import Databases, Serve, StartServe
from tests.sender import GUARD_S, Reply, encoded, eventually, get, metric, post, report, request

pytestmark = pytest.mark.no_cover  # what other tests cover, in whole processes

BODY = encoded(report([2001]))
LIMIT = 64 << 10
SLOW = 2.0

# aiohttp answers in the version that it understood.
STATUS_4XX = (b"HTTP/1.1 4", b"HTTP/1.0 4", b"HTTP/0.9 4")


def raw(url: str, sent: bytes, *, half: bool = False) -> bytes:
    """Send these bytes as they are; all that comes back."""
    parts = urllib.parse.urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    with socket.create_connection((parts.hostname, parts.port), timeout=GUARD_S) as connection:
        received = bytearray()
        # What is no HTTP may be answered, and the connection closed, before it was sent whole.
        with contextlib.suppress(OSError):
            connection.sendall(sent)
            if half:
                connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                received += piece
        return bytes(received)


def reset(url: str, sent: bytes) -> None:
    """Send these bytes, then break the connection off."""
    parts = urllib.parse.urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    with socket.create_connection((parts.hostname, parts.port), timeout=GUARD_S) as connection:
        connection.sendall(sent)
        time.sleep(0.1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def problem(answer: Reply) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["type"] == "about:blank"
    assert answer.json["status"] == answer.status
    assert answer.json["title"]
    assert answer.json["detail"]
    return answer.status, answer.reason


def padded(size: int) -> bytes:
    return BODY + b" " * (size - len(BODY))


def head(length: int | None = None, *more: str) -> bytes:
    lines = ["POST /usage HTTP/1.1", "Host: x", "Connection: close", *more]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def serves_on(collector: Serve) -> bool:
    return post(collector.url, BODY).status == 200


def test_body_of_just_the_limit_is_accepted(collector: Serve) -> None:
    assert post(collector.url, padded(LIMIT)).status == 200


def test_body_one_byte_over_the_limit_is_too_large(collector: Serve) -> None:
    assert problem(post(collector.url, padded(LIMIT + 1))) == (413, "too-large")


def test_length_over_the_limit_is_too_large_before_the_body_has_arrived(collector: Serve) -> None:
    address = urllib.parse.urlsplit(collector.url).netloc
    with contextlib.closing(http.client.HTTPConnection(address, timeout=GUARD_S)) as sending:
        sending.putrequest("POST", "/usage")
        sending.putheader("Content-Length", str(LIMIT + 1))
        sending.endheaders()
        assert sending.getresponse().status == 413


def test_chunked_body_one_byte_over_the_limit_is_too_large(collector: Serve) -> None:
    body = padded(LIMIT + 1)
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    answer = raw(collector.url, head(None, "Transfer-Encoding: chunked") + chunks)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_too_large_body_is_counted_and_logged_by_its_word(collector: Serve) -> None:
    labels = {"intake": "asl", "outcome": "too-large"}
    counted = metric(collector.metrics_url, "collector_reports_total", **labels)
    post(collector.url, padded(LIMIT * 3))
    assert metric(collector.metrics_url, "collector_reports_total", **labels) == counted + 1
    eventually(lambda: "reason=too-large" in collector.logs())


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, identity"])
def test_compressed_body_is_of_unsupported_encoding(collector: Serve, encoding: str) -> None:
    answer = post(collector.url, gzip.compress(BODY), headers={"Content-Encoding": encoding})
    assert problem(answer) == (415, "unsupported-encoding")


def test_identity_is_no_encoding(collector: Serve) -> None:
    assert post(collector.url, BODY, headers={"Content-Encoding": "identity"}).status == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_content_type_does_not_matter(collector: Serve, kind: str) -> None:
    assert post(collector.url, BODY, headers={"Content-Type": kind}).status == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_method_on_usage_is_not_allowed(collector: Serve, method: str) -> None:
    answer = request(collector.url, method, "/usage")
    assert problem(answer) == (405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "path", ["/nowhere", "/usage/nowhere", "/usage/usage/usage", "/metrics", "/%00"]
)
def test_unknown_path_is_not_found(collector: Serve, path: str) -> None:
    assert problem(get(collector.url, path)) == (404, "not-found")


def test_report_that_no_route_takes_is_counted_and_logged_by_its_word(collector: Serve) -> None:
    expecting = {"Expect": "nothing"}
    wrong: tuple[tuple[str, str, dict[str, str], str], ...] = (
        ("POST", "/elsewhere/usage", {}, "not-found"),
        ("PUT", "/usage", {}, "method-not-allowed"),
        ("POST", "/usage", expecting, "unsupported-expectation"),
    )
    url, name = collector.metrics_url, "collector_http_refusals_total"
    before = [metric(url, name, reason=word) for *_, word in wrong]
    for method, path, headers, word in wrong:
        assert request(collector.url, method, path, BODY, headers=headers).reason == word
        get(collector.url, path)
    assert [metric(url, name, reason=word) - 1 for *_, word in wrong] == before
    eventually(lambda: all(f"reason={word}" in collector.logs() for *_, word in wrong))


def test_dump_is_gone_and_says_why(collector: Serve) -> None:
    answer = get(collector.url, "/reports/dump")
    assert problem(answer) == (410, "gone")
    assert "node numbers" in answer.json["detail"]


def test_chunked_body_is_accepted(collector: Serve) -> None:
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    answer = raw(collector.url, head(None, "Transfer-Encoding: chunked") + chunks)
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_sender_that_waits_for_continue_is_accepted(collector: Serve) -> None:
    answer = raw(collector.url, head(len(BODY), "Expect: 100-continue") + BODY)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")


def test_http_1_0_is_answered(collector: Serve) -> None:
    sent = b"POST /usage HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
    assert raw(collector.url, sent).startswith(b"HTTP/1.0 200 ")


def test_requests_in_one_packet_are_answered_one_by_one(collector: Serve) -> None:
    one = head(len(BODY)).replace(b"Connection: close\r\n", b"") + BODY
    answer = raw(collector.url, one + one + head(len(BODY)) + BODY)
    assert answer.count(b"HTTP/1.1 200 ") == 3


BROKEN = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "no method": b"@@@ /usage HTTP/1.1\r\n\r\n",
    "unknown method": b"FOO /usage HTTP/1.1\r\nHost: x\r\n\r\n",
    "no version": b"POST /usage\r\n\r\n",
    "bad header": b"POST /usage HTTP/1.1\r\nno colon here\r\n\r\n",
    "bad length": b"POST /usage HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    "two lengths": b"POST /usage HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "long line": b"POST /" + b"u" * 20_000 + b" HTTP/1.1\r\n\r\n",
    "long header": b"POST /usage HTTP/1.1\r\nX: " + b"u" * 20_000 + b"\r\n\r\n",
    "NUL in header": b"POST /usage HTTP/1.1\r\nX: a\0b\r\n\r\n",
    "bad chunk": head(None, "Transfer-Encoding: chunked") + b"zz\r\nabc\r\n0\r\n\r\n",
    "length and chunks": head(3, "Transfer-Encoding: chunked") + b"0\r\n\r\n",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_http_gets_4xx_and_no_traceback(collector: Serve, kind: str) -> None:
    answer = raw(collector.url, BROKEN[kind], half=True)
    assert answer == b"" or answer.startswith(STATUS_4XX), answer
    assert "Traceback" not in collector.logs()
    assert " 500" not in answer.decode("latin-1")
    assert serves_on(collector)


def test_short_body_is_malformed(collector: Serve) -> None:
    answer = raw(collector.url, head(len(BODY) + 10) + BODY, half=True)
    assert answer == b"" or b'"reason":"malformed-json"' in answer


@pytest.mark.parametrize("sent", [0, 20, 100, len(BODY) - 1])
def test_sender_that_breaks_off_leaves_no_error(collector: Serve, sent: int) -> None:
    reset(collector.url, head(len(BODY)) + BODY[:sent])
    assert serves_on(collector)
    assert "level=error" not in collector.logs()
    assert "error handling" not in collector.logs()


def test_sender_that_does_not_wait_for_the_answer_leaves_no_error(collector: Serve) -> None:
    for _ in range(20):
        reset(collector.url, head(len(BODY)) + BODY)
    assert serves_on(collector)
    assert "level=error" not in collector.logs()


def test_silent_connection_keeps_nobody_waiting(collector: Serve) -> None:
    parts = urllib.parse.urlsplit(collector.url)
    assert parts.hostname is not None
    assert parts.port is not None
    with socket.create_connection((parts.hostname, parts.port)) as silent:
        silent.sendall(head(len(BODY)) + BODY[:10])
        with measured(collector.process.pid) as spent:
            assert serves_on(collector)
        assert spent.own_s < SLOW


def test_rate_limited_sender_is_told_when_to_come_back(
    databases: Databases, serve: StartServe
) -> None:
    collector = serve(databases.environment | {"COLLECTOR_RATE_LIMIT": "3"})
    answers = [post(collector.url, BODY) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert problem(answers[3]) == (429, "rate-limited")
    assert 1 <= int(answers[3].headers["retry-after"]) <= 1200
    labels = {"intake": "asl", "outcome": "rate-limited"}
    assert metric(collector.metrics_url, "collector_reports_total", **labels) == 1
    eventually(lambda: "reason=rate-limited" in collector.logs())
    assert post(collector.url, BODY, source="127.0.0.2").status == 200


def test_forwarded_address_counts_only_from_a_trusted_proxy(
    databases: Databases, serve: StartServe
) -> None:
    collector = serve(
        databases.environment
        | {"COLLECTOR_RATE_LIMIT": "1", "COLLECTOR_TRUSTED_PROXIES": "127.0.0.8/30, ::1"}
    )

    def statuses(source: str) -> list[int]:
        forwarded = [{"X-Forwarded-For": f"198.51.100.{n}"} for n in (1, 2)]
        return [post(collector.url, BODY, headers=h, source=source).status for h in forwarded]

    assert statuses("127.0.0.9") == [200, 200]
    assert statuses("127.0.0.1") == [200, 429]


def test_a_sender_behind_a_proxy_is_limited_alone_however_the_proxy_writes_its_address(
    databases: Databases, serve: StartServe
) -> None:
    collector = serve(
        databases.environment
        | {"COLLECTOR_RATE_LIMIT": "2", "COLLECTOR_TRUSTED_PROXIES": "127.0.0.1, ,"}
    )

    def status(forwarded: str, **more: str) -> int:
        return post(collector.url, BODY, headers={"X-Forwarded-For": forwarded} | more).status

    def forms(address: str) -> list[str]:
        return [f"{address}:4711", f'"{address}:4712"', f"noise, {address}:4713"]

    assert [status(form) for form in forms("203.0.113.7")] == [200, 200, 429]
    assert [status(form) for form in forms("[2001:db8::1]")] == [200, 200, 429]
    # `Forwarded` may be the sender's own: proxies hand on what they do not write.
    claims = [status("203.0.113.8", Forwarded=f"for=198.51.100.{n}") for n in range(3)]
    assert claims == [200, 200, 429]
    # Where the proxy names nobody, garbage is no way round the limit.
    assert [status(f"garbage-{n}") for n in range(3)] == [200, 200, 429]
    assert status("203.0.113.9") == 200
    warning = "a trusted proxy names no sender"
    assert collector.logs().count(warning) == 1


def test_empty_content_encoding_is_none(collector: Serve) -> None:
    for said in ("", " ", "identity", "IDENTITY"):
        assert post(collector.url, BODY, headers={"Content-Encoding": said}).status == 200
    reply = request(collector.url, "POST", "/v1/my-data", BODY, headers={"Content-Encoding": ""})
    assert reply.status == 200


def test_hundreds_behind_one_address_pass_under_the_default(
    databases: Databases, serve: StartServe
) -> None:
    collector = serve(databases.environment)
    statuses = {post(collector.url, BODY).status for _ in range(600)}
    assert statuses == {200}


def test_log_in_json_is_an_object_a_line(databases: Databases, serve: StartServe) -> None:
    collector = serve(databases.environment | {"COLLECTOR_LOG_FORMAT": "json"})
    post(collector.url, b"{")
    raw(collector.url, BROKEN["bad header"])
    collector.terminate()
    lines = [json.loads(line) for line in collector.logs().splitlines()]
    refusal = next(line for line in lines if line.get("reason") == "malformed-json")
    assert refusal["level"] == "info"
