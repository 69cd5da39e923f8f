"""What is no HTTP, or HTTP only to confuse: one refusal in our form, and no second request."""

from __future__ import annotations

import asyncio
import gzip
from collections import Counter
from collections.abc import Mapping

import pytest

from tests.busy import measured
from tests.conftest import Databases, Serve
from tests.hostile.conftest import WAIT_S
from tests.hostile.watch import settle, watching
from tests.hostile.wire import Answer, Wire, exchange, head, posted, split
from tests.length import repeat
from tests.sender import encoded, metric, report

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

BODY = encoded(report([2001]))
MIB = 1 << 20
CLOSE = "Connection: close"
INNER = b"GET /smuggled HTTP/1.1\r\nHost: inner\r\n\r\n"


def in_our_form(answer: Answer) -> None:
    """A refusal is a problem with its word, and no answer says what we are built on."""
    assert answer.status != 500, answer
    lower = answer.head.lower()
    assert b"\r\nserver: usage-collector" in lower, answer.head
    assert b"aiohttp" not in lower
    assert b"python" not in lower
    if answer.status >= 400:
        assert answer.problem["status"] == answer.status
        assert answer.reason


NO_HTTP = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/0.9": b"GET /usage\r\n",
    "HTTP/9.9": b"POST /usage HTTP/9.9\r\nHost: x\r\n\r\n",
    "only NUL": b"\0" * 4000,
    "no colon": b"POST /usage HTTP/1.1\r\nno colon here\r\n\r\n",
    "space before the colon": b"POST /usage HTTP/1.1\r\nHost : x\r\nContent-Length : 5\r\n\r\n",
    "NUL in a header": b"POST /usage HTTP/1.1\r\nX: a\0b\r\n\r\n",
    "bare CR in a header": b"POST /usage HTTP/1.1\r\nX: a\rContent-Length: 5\r\n\r\n",
    "folded header": b"POST /usage HTTP/1.1\r\nX: a\r\n Content-Length: 5\r\n\r\n",
    "folded length": b"POST /usage HTTP/1.1\r\nContent-Length:\r\n 5\r\n\r\nabcde",
    "space in the path": b"GET /us age HTTP/1.1\r\n\r\n",
    "control byte in the path": b"GET /\x01 HTTP/1.1\r\n\r\n",
}


async def each(url: str, cases: Mapping[str, bytes]) -> list[tuple[str, list[Answer]]]:
    """Send each on a connection of its own, all at once: what is not whole is waited for."""
    answers = await asyncio.gather(*(exchange(url, sent) for sent in cases.values()))
    return list(zip(cases, answers, strict=True))


async def test_no_http_gets_one_refusal_in_our_form(victim: Serve) -> None:
    for kind, answers in await each(victim.url, NO_HTTP):
        # A head that is not whole is ended in time.
        assert [one.status for one in answers] in ([400], [408], [404]), (kind, answers)
        in_our_form(answers[0])


LENGTHS = {
    "negative": "-5",
    "signed": "+5",
    "hexadecimal": "0x5",
    "decimal point": "5.0",
    "two in one": "5, 5",
    "not ASCII": "\u0665",
    "empty": "",
    "over 64 bits": "9" * 40,
    "with an underscore": "1_0",
}


async def test_length_that_is_no_number_is_refused(victim: Serve) -> None:
    sent = {
        kind: head(CLOSE, f"Content-Length: {length}") + b"abcde" + INNER
        for kind, length in LENGTHS.items()
    }
    for kind, answers in await each(victim.url, sent):
        assert [(one.status, one.reason) for one in answers] == [(400, "malformed-http")], kind
        in_our_form(answers[0])


async def test_length_over_the_limit_is_refused_before_it_is_sent(victim: Serve) -> None:
    answers = await exchange(victim.url, head(CLOSE, length=10**15) + b"{" * 200_000)
    assert [(one.status, one.reason) for one in answers] == [(413, "too-large")]


async def test_length_shorter_than_the_body_makes_no_second_request(victim: Serve) -> None:
    answers = await exchange(victim.url, head(length=2) + b"{}trailing garbage\r\n\r\n")
    # In one packet, what is no HTTP takes with it what came before.
    assert [(one.status, one.reason) for one in answers] == [(400, "malformed-http")]


async def test_length_longer_than_the_body_is_too_slow(victim: Serve) -> None:
    answers = await exchange(victim.url, head(length=len(BODY) + 10) + BODY)
    assert [(one.status, one.reason) for one in answers] == [(408, "too-slow")]


CHUNKED = "Transfer-Encoding: chunked"
ZERO = b"0\r\n\r\n"
SMUGGLED = {
    "length and chunks": head("Content-Length: 5", CHUNKED) + ZERO + INNER,
    "chunks and length": head(CHUNKED, "Content-Length: 5") + ZERO + INNER,
    "two lengths": head("Content-Length: 0", f"Content-Length: {len(INNER)}") + INNER,
    "two lengths alike": head("Content-Length: 5", "Content-Length: 5") + b"abcde" + INNER,
    "chunked twice": head(CHUNKED, CHUNKED) + ZERO + INNER,
    "chunked, identity": head("Transfer-Encoding: chunked, identity") + ZERO + INNER,
    "unknown encoding": head("Transfer-Encoding: xchunked") + ZERO + INNER,
    "spaced encoding": head("Transfer-Encoding : chunked") + ZERO + INNER,
    "encoding after a tab": head("Transfer-Encoding:\tchunked", "Content-Length: 3") + ZERO + INNER,
    "vertical tab": head("Transfer-Encoding: \x0bchunked") + ZERO + INNER,
    "folded encoding": head("Transfer-Encoding:\r\n chunked") + ZERO + INNER,
    "negative chunk": head(CHUNKED) + b"-1\r\n" + INNER,
    "signed chunk": head(CHUNKED) + b"+0\r\n\r\n" + INNER,
    "prefixed chunk": head(CHUNKED) + b"0x0\r\n\r\n" + INNER,
    "chunk without CR": head(CHUNKED) + b"1\n{\n0\n\n" + INNER,
    "overflowing chunk": head(CHUNKED) + b"1" + b"0" * 16 + b"\r\n" + INNER,
    "LF in an extension": head(CHUNKED) + b"1;a\nb\r\n{\r\n0\r\n\r\n" + INNER,
    "bare LF ends the head": b"POST /usage HTTP/1.1\nHost: x\nContent-Length: 0\n\n" + INNER,
    "chunks of HTTP/1.0": (
        b"POST /usage HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER
    ),
}


async def test_request_that_hides_another_is_one_request(victim: Serve) -> None:
    for kind, answers in await each(victim.url, SMUGGLED):
        for one in answers:
            in_our_form(one)
        # The hidden one asks for what is not there: nothing may have looked for it.
        assert [one.status for one in answers].count(404) == 0, (kind, answers)
        assert len(answers) <= 1, (kind, answers)


async def test_endless_head_is_refused(victim: Serve) -> None:
    for sent in (
        b"POST /usage HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(5000)),
        b"POST /usage HTTP/1.1\r\nX: " + b"y" * (2 * MIB),
        b"POST /" + b"u" * (2 * MIB),
        b"POST /usage HTTP/1.1\r\n"
        + b"".join(b"X-%d: %b\r\n" % (n, b"y" * 4000) for n in range(99)),
        b"y" * (2 * MIB),
    ):
        answers = await exchange(victim.url, sent)
        # What comes on is not read: an answer may be lost with the connection.
        assert {one.reason for one in answers} <= {"head-too-large", "malformed-http"}
        for one in answers:
            in_our_form(one)
    refused = metric(victim.metrics_url, "collector_http_refusals_total", reason="head-too-large")
    assert refused >= 3


async def test_chunked_bombs_are_cut_off(victim: Serve, victim_databases: Databases) -> None:
    sizes = {"one byte": (1, 70_000), "a megabyte": (MIB, 64)}
    outcomes: Counter[int] = Counter()

    async def attack(size: int, count: int) -> None:
        wire = await Wire.open(victim.url)
        piece = b"%x\r\n%b\r\n" % (size, b"7" * size)
        await wire.send(head(CLOSE, CHUNKED))
        for _ in range(count):
            if not await wire.send(piece):
                break
        answers = split(await wire.rest())
        await wire.close()
        outcomes.update([answers[0].status if answers else 0])

    with watching(victim, victim_databases) as watch:
        for size, count in sizes.values():
            await asyncio.gather(*(attack(size, count) for _ in range(repeat(4, 20))))
    # A busy machine may be too slow for a megabyte in the time there is.
    assert outcomes.keys() <= {413, 408, 0}
    assert watch.grown < 60 * MIB
    settle(watch, "chunked bombs", outcomes)


async def test_chunk_extensions_without_end_are_cut_off(victim: Serve) -> None:
    sent = head(CLOSE, CHUNKED) + b"1;" + b"e" * (4 * MIB)
    with measured(victim.process.pid) as spent:
        answers = await exchange(victim.url, sent)
    assert {one.status for one in answers} <= {400, 408, 413}
    assert spent.own_s < 3 * WAIT_S + 3


async def test_gzip_bomb_is_never_unpacked(victim: Serve, victim_databases: Databases) -> None:
    bomb = gzip.compress(b"[" * (50 * MIB))
    sent = posted(bomb, CLOSE, "Content-Encoding: gzip")
    with watching(victim, victim_databases) as watch:
        answers = [await exchange(victim.url, sent) for _ in range(repeat(10, 200))]
    outcomes = Counter(one[0].status if one else 0 for one in answers)
    assert outcomes.keys() <= {415, 0}
    assert outcomes[415] > 0
    assert watch.grown < 30 * MIB
    settle(watch, "gzip bombs", outcomes)


async def test_unknown_expectation_is_refused_in_our_form(victim: Serve) -> None:
    (answer,) = await exchange(victim.url, posted(BODY, CLOSE, "Expect: the-moon"))
    assert (answer.status, answer.reason) == (417, "unsupported-expectation")
    in_our_form(answer)


async def test_upgrade_is_no_way_around(victim: Serve) -> None:
    sent = posted(BODY, "Connection: Upgrade", "Upgrade: websocket") + posted(BODY, CLOSE)
    answers = await exchange(victim.url, sent)
    assert {one.status for one in answers} <= {200, 400}
    for one in answers:
        in_our_form(one)


async def test_1000_requests_in_one_packet_are_answered_in_order(
    victim: Serve, victim_databases: Databases
) -> None:
    count = 1000
    sent = b"".join(
        posted(b"{}") if n % 2 else head(method="GET", path=f"/none/{n}") for n in range(count - 1)
    )
    with watching(victim, victim_databases) as watch:
        answers = await exchange(victim.url, sent + posted(b"[]", CLOSE))
    assert [one.status for one in answers] == [404, 400] * (count // 2 - 1) + [404, 400]
    settle(watch, "1 000 requests in one packet", Counter(a.status for a in answers))


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
async def test_answers_of_every_kind_hide_what_we_are_built_on(
    victim: Serve, version: bytes
) -> None:
    for line in (b"GET / ", b"GET /nowhere ", b"PUT /usage ", b"GET /v1/daily ", b"HEAD / "):
        answers = await exchange(victim.url, line + version + b"\r\nConnection: close\r\n\r\n")
        assert len(answers) == 1
        if line != b"HEAD / ":
            in_our_form(answers[0])


async def test_metrics_address_is_bounded_too(victim: Serve) -> None:
    (answer,) = await exchange(victim.metrics_url, b"\0\0\0\0\r\n\r\n")
    assert (answer.status, answer.reason) == (400, "malformed-http")
    (page,) = await exchange(victim.metrics_url, head(CLOSE, method="GET", path="/metrics"))
    assert b"server: usage-collector" in page.head.lower()
