"""Whatever is posted: never a 500, never a traceback, and the memory stays flat."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.asl_cases import DIRECTORY
from tests.conftest import Databases, Serve, StartServe
from tests.length import repeat, seed
from tests.sender import eventually, metric, post

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

COUNT = repeat(2_000, 10_000)
SEED = 4711
SENDERS = 20
GROWTH = 48 << 20
"""Bytes of memory that the second half may cost more than the first left."""

SAMPLES = [path.read_bytes() for path in sorted(DIRECTORY.glob("*.json"))]
ALLOWED = {200, 400, 413}

ODD_VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    2**31,
    10**30,
    1.5,
    1e308,
    "",
    " ",
    "x" * 257,
    "\0",
    "\u202e",
    "a,b=c d\\",
    'quote"',
    "line\nline",
    [],
    {},
    [[]],
    {"a": {}},
    list(range(2000, 2600)),
    {str(n): "x" for n in range(600)},
]
TOKENS = [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u", b"\\ud800", b"null", b"NaN"]
TOKENS += [b"1e999", b"-", b"\xff", b"\x00", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"9" * 400]


def flipped(chance: random.Random, body: bytes) -> bytes:
    mutable = bytearray(body)
    for _ in range(chance.randint(1, 8)):
        mutable[chance.randrange(len(mutable))] ^= 1 << chance.randrange(8)
    return bytes(mutable)


def truncated(chance: random.Random, body: bytes) -> bytes:
    return body[: chance.randrange(len(body))]


def inserted(chance: random.Random, body: bytes) -> bytes:
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(body))
        body = body[:at] + chance.choice(TOKENS) * chance.choice([1, 1, 2, 300]) + body[at:]
    return body


def spliced(chance: random.Random, body: bytes) -> bytes:
    other = chance.choice(SAMPLES)
    return body[: chance.randrange(len(body))] + other[chance.randrange(len(other)) :]


def restructured(chance: random.Random, body: bytes) -> bytes:
    said: dict[str, Any] = json.loads(body)
    for _ in range(chance.randint(1, 4)):
        name = chance.choice(list(said))
        match chance.randrange(5):
            case 0 if len(said) > 1:
                del said[name]
            case 1:
                said[name] = chance.choice(ODD_VALUES)
            case 2:
                said[chance.choice(list(said))] = said[name]
            case 3 if isinstance(said[name], list):
                said[name] = [*said[name], chance.choice(ODD_VALUES)]
            case _ if isinstance(said[name], dict):
                said[name] = {**said[name], f"k{chance.random()}": chance.choice(ODD_VALUES)}
            case _:
                said[f"k{chance.random()}"] = chance.choice(ODD_VALUES)
    return json.dumps(said).encode()


MUTATIONS = [flipped, truncated, inserted, spliced, restructured]


def mutated(count: int) -> Iterator[bytes]:
    """So many mutated samples, the same ones each time."""
    chance = random.Random(seed(SEED))
    for _ in range(count):
        yield chance.choice(MUTATIONS)(chance, chance.choice(SAMPLES))


def resident(collector: Serve) -> int:
    """Bytes of memory that the collector's process holds."""
    status = Path(f"/proc/{collector.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) << 10


async def post_all(collector: Serve, bodies: Iterator[bytes]) -> Counter[int]:
    statuses: Counter[int] = Counter()

    async def sender(session: aiohttp.ClientSession) -> None:
        for body in bodies:
            async with session.post(f"{collector.url}/usage", data=body) as answer:
                await answer.read()
                statuses[answer.status] += 1

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(sender(session) for _ in range(SENDERS)))
    return statuses


async def test_thousands_of_mutated_samples_cause_no_error_and_no_growth(
    databases: Databases, serve: StartServe
) -> None:
    collector = serve(databases.environment | {"COLLECTOR_RATE_LIMIT": "0"})
    bodies = list(mutated(COUNT))
    first = await post_all(collector, iter(bodies[: COUNT // 2]))
    half = resident(collector)
    second = await post_all(collector, iter(bodies[COUNT // 2 :]))
    grown = resident(collector) - half
    statuses = first + second
    assert sum(statuses.values()) == COUNT
    assert statuses.keys() <= ALLOWED, statuses
    assert statuses[200] > COUNT / 20
    assert statuses[400] > COUNT / 20
    assert grown < GROWTH, f"{grown >> 20} MiB more after the second half"
    log = collector.logs()
    assert "Traceback" not in log
    assert "level=error" not in log
    # Nothing that was accepted is such that InfluxDB would not have it.
    stored = metric(collector.metrics_url, "collector_nodes_total", outcome="stored")
    server = databases.server
    await asyncio.to_thread(
        eventually, lambda: server.count(databases.raw, "node_report", "node") == stored
    )
    assert "dead-letter" not in collector.logs()


def json_values() -> st.SearchStrategy[Any]:
    texts = st.text(max_size=20)
    return st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | texts,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=8,
    )


def field_names() -> st.SearchStrategy[str]:
    return st.sampled_from(sorted(json.loads(SAMPLES[0])))


def test_no_json_whatever_causes_an_error(databases: Databases, serve: StartServe) -> None:
    collector = serve(databases.environment | {"COLLECTOR_RATE_LIMIT": "0"})
    sample = json.loads(SAMPLES[0])

    @settings(
        max_examples=repeat(60, 400),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.dictionaries(field_names(), json_values(), max_size=3), st.booleans())
    def answers(changes: dict[str, Any], alone: bool) -> None:
        said = changes if alone else sample | changes
        assert post(collector.url, json.dumps(said).encode()).status in ALLOWED

    @settings(
        max_examples=repeat(60, 300),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.binary(max_size=300))
    def answers_bytes(body: bytes) -> None:
        assert post(collector.url, body).status in ALLOWED

    answers()
    answers_bytes()
    assert "Traceback" not in collector.logs()
    assert "level=error" not in collector.logs()
