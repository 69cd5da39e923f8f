"""Bodies made to break a parser, line protocol, the log, or the bounds of the tags."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.conftest import Databases, Serve
from tests.hostile.watch import settle, watching
from tests.length import repeat
from tests.sender import encoded, eventually, key_of, metric, node_name, post, report

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

MIB = 1 << 20
LIMIT = 64 << 10
EVIL = [
    'x\nnode_report,arch=evil node="1" 1',
    "x\r\ntime=2026-01-01T00:00:00Z level=error event=forged",
    'x"',
    "x\\",
    'x" level=error event="forged',
    "x,arch=evil",
    'x node="evil"',
    "x=y",
    "x\0y",
    "\u2028x\u2029y\x85z",
    "\x1b[31mred\x1b[0m",
    "\u202egnp.exe",
    "'; DROP MEASUREMENT node_report; --",
    "${jndi:ldap://127.0.0.1/x}",
    "{{7*7}}",
    "../../../../etc/passwd",
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
]
TEXTS = ("ast-ver", "distro", "release", "kernel", "arch", "uptime", "reload-time")


def bodies() -> Iterator[tuple[str, bytes, int]]:
    """Name, body and status of the answer."""
    whole = encoded(report([2001]))
    said = report([2001])
    yield "deep arrays", b"[" * 30_000 + b"]" * 30_000, 400
    yield "deep objects", b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400
    yield (
        "deep within a field",
        whole[:-1] + b',"pkgs":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        400,
    )
    yield (
        "deep within an unknown field",
        whole[:-1] + b',"z":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        400,
    )
    yield "endless digits", whole.replace(b"[2001]", b"[" + b"9" * 60_000 + b"]", 1), 400
    yield (
        "endless fraction",
        whole.replace(b"[2001]", b"[2001." + b"9" * 60_000 + b"]", 1),
        200,
    )
    yield "great exponent", whole.replace(b"[2001]", b"[1e999999999]", 1), 400
    yield "small exponent", whole.replace(b"[2001]", b"[1e-999999999]", 1), 400
    for word in (b"NaN", b"Infinity", b"-Infinity", b"nan", b"1e400", b"-0", b"0x7d1", b"true"):
        yield f"node {word.decode()}", whole.replace(b"[2001]", b"[" + word + b"]", 1), 400
    yield "node over 31 bits", encoded(said | {"nodes": [2**31]}), 400
    yield "node over 64 bits", encoded(said | {"nodes": [2**64 + 2001]}), 400
    yield "501 nodes", encoded(said | {"nodes": list(range(2000, 2501))}), 400
    yield "10 000 nodes", encoded(said | {"nodes": list(range(2000, 12_000))}), 400
    yield (
        "10 000 channels",
        encoded(said | {"nodes-channels": {str(n): "x" for n in range(5000)}}),
        200,
    )
    yield "lone surrogate", whole.replace(b'"Debian"', b'"\\ud800"'), 200
    yield "surrogates in reverse", whole.replace(b'"Debian"', b'"\\udc00\\ud800"'), 200
    yield "surrogate as a key", whole.replace(b'"asl3"', b'"\\udfff"'), 200
    yield "raw surrogate", whole.replace(b'"Debian"', b'"\xed\xa0\x80"'), 200
    yield "overlong UTF-8", whole.replace(b'"Debian"', b'"\xc0\xaf"'), 200
    yield "UTF-16", json.dumps(said).encode("utf-16"), 400
    yield "byte order mark", b"\xef\xbb\xbf" + whole, 200
    yield "NUL outside", whole + b"\0", 200
    yield "two documents", whole + whole, 400
    yield (
        "long bare words",
        whole.replace(b'"nodes-reg-iax": []', b'"nodes-reg-iax": [' + b"a," * 25_000 + b"b]"),
        400,
    )
    yield "brackets without end", b'"nodes-reg-iax": [' * 3500, 400
    yield "UUID with a newline", encoded(said | {"uuid": f"{uuid.uuid4()}\n"}), 200
    yield (
        "UUID of other digits",
        encoded(said | {"uuid": str(uuid.uuid4()).replace("4", "\u0664")}),
        400,
    )


def series(databases: Databases) -> int:
    (row,) = databases.server.query("SHOW SERIES CARDINALITY", databases.raw)
    return int(next(value for name, value in row.items() if name != "time"))


def test_no_body_made_to_break_a_parser_breaks_ours(
    victim: Serve, victim_databases: Databases
) -> None:
    outcomes: Counter[int] = Counter()
    wrong = []
    with watching(victim, victim_databases) as watch:
        for _ in range(repeat(1, 20)):
            for name, body, status in bodies():
                assert len(body) <= LIMIT, name
                answer = post(victim.url, body)
                outcomes[answer.status] += 1
                if answer.status != status:
                    wrong.append((name, answer.status, answer.body[:200]))
    assert wrong == []
    assert watch.grown < 60 * MIB
    settle(watch, "bodies made to break a parser", outcomes)


def test_of_fields_given_twice_the_last_counts_as_everywhere(
    victim: Serve, victim_databases: Databases
) -> None:
    body = encoded(report([777_001]))[:-1] + b',"nodes":[777002],"nodes":[777003]}'
    assert post(victim.url, body).status == 200
    key = key_of(victim.state_dir)
    name = node_name(777_003, key)
    server = victim_databases.server

    def nodes() -> set[str]:
        rows = server.query('SELECT "node" FROM "node_report"', victim_databases.raw)
        return {row["node"] for row in rows}

    eventually(lambda: name in nodes())
    assert not {node_name(777_001, key), node_name(777_002, key)} & nodes()


def test_nothing_injected_reaches_line_protocol_or_the_log(
    victim: Serve, victim_databases: Databases
) -> None:
    first = 3_000_000
    log_before = len(victim.logs().splitlines())
    outcomes: Counter[int] = Counter()
    sent = 0
    with watching(victim, victim_databases) as watch:
        for word in EVIL:
            for field in TEXTS:
                said = report([first + sent]) | {field: word}
                outcomes[post(victim.url, encoded(said)).status] += 1
                sent += 1
            said = report([first + sent], pkgs={word: word}, nodes_channels={word: word})
            outcomes[post(victim.url, encoded(said)).status] += 1
            sent += 1
            headers = {"User-Agent": re.sub(r"[\0\r\n]|[^\x00-\xff]", "", word)}
            path = "/" + re.sub(r"[^!-~]", "", word)
            assert post(victim.url, b"{}", headers=headers, path=path).status in {400, 404}
    assert outcomes == {200: sent}
    settle(watch, "injected newlines, quotes and NULs", outcomes)
    server, database = victim_databases.server, victim_databases.raw
    key = key_of(victim.state_dir)
    wanted = Counter(node_name(first + n, key) for n in range(sent))
    columns = 'node,server,arch,distro,"release",asterisk_version,asl_version,channel'

    def rows() -> list[dict[str, Any]]:
        found = server.query(f"SELECT {columns} FROM node_report", database)
        return [row for row in found if row["node"] in wanted]

    eventually(lambda: len(rows()) == sent)
    # One point each, under its own name: none forged, none broken off.
    assert Counter(row["node"] for row in rows()) == wanted
    names = {row["name"] for row in server.query("SHOW MEASUREMENTS", database)}
    assert names == {"node_report", "server_report"}
    keys = {row["tagKey"] for row in server.query("SHOW TAG KEYS FROM node_report", database)}
    assert keys == {
        "asterisk_version",
        "asl_version",
        "distro",
        "release",
        "arch",
        "channel",
        "registration",
    }
    for row in rows():
        for value in row.values():
            assert not isinstance(value, str) or value.isprintable(), row
    for line in victim.logs().splitlines()[log_before:]:
        assert line.startswith("time="), line
        assert "forged" not in line
        assert "evil" not in line
        assert line.isprintable()


async def test_10000_versions_make_no_more_series_than_the_budget(
    victim: Serve, victim_databases: Databases
) -> None:
    wanted = repeat(2_000, 10_000)
    numbers = iter(range(wanted))
    outcomes: Counter[int] = Counter()

    async def attack(session: aiohttp.ClientSession) -> None:
        for n in numbers:
            said = report([4_000_000 + n], ast_ver=f"Asterisk 99.{n}.0+asl3-9.{n}-1.deb12")
            async with session.post(f"{victim.url}/usage", data=encoded(said)) as answer:
                await answer.read()
                outcomes[answer.status] += 1

    with watching(victim, victim_databases) as watch:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(attack(session) for _ in range(8)))
    assert outcomes == {200: wanted}
    await asyncio.to_thread(settle, watch, f"{wanted:,} versions".replace(",", " "), outcomes)
    for tag in ("asterisk_version", "asl_version"):
        budget = metric(victim.metrics_url, "collector_tag_budget", tag=tag)
        assert metric(victim.metrics_url, "collector_tag_values", tag=tag) <= budget
        over = metric(victim.metrics_url, "collector_tag_values_over_budget_total", tag=tag)
        assert over >= wanted - budget
        values = victim_databases.server.query(
            f'SHOW TAG VALUES FROM node_report WITH KEY = "{tag}"', victim_databases.raw
        )
        assert len(values) <= budget + 2
    # A version that was there before is told apart as ever.
    assert series(victim_databases) < 10_000
