"""The records API against a plain-Python oracle, in SQLite and in PostgreSQL."""

from __future__ import annotations

import asyncio
import csv
import io
import itertools
import json
import random
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from collector.privacy import Pseudonymiser
from collector.record_api.routes import COLUMNS, RecordsApi
from collector.records import FILE, Record
from collector.records.record import answer
from collector.records.store import RecordsStore
from tests import postgresql
from tests.length import repeat, seed
from tests.records import record_of
from tests.sender import KEY

TOKEN = "t0k3n-of-the-api"
PSEUDONYMS = Pseudonymiser(KEY)
MANY = repeat(1500, 5000)
DAY = 86_400
NS = 10**9
SEED = seed(11)
CLASSES = ("org.clearlinux/hello/world", "org.clearlinux/crash/clr", "a/b/c")
BUILDS = ("1", "12.1", "32000", "Rolling")
MACHINES = tuple(f"machine{number}" for number in range(20))


@pytest.fixture(scope="module")
def server() -> Iterator[postgresql.PostgreSql]:
    with postgresql.running() as found:
        yield found


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RecordsStore]:
    if request.param == "sqlite":
        made = RecordsStore(f"sqlite:///{tmp_path}/{FILE}", directory=tmp_path)
        made.prepare()
        yield made
        made.close()
        return
    found: postgresql.PostgreSql = request.getfixturevalue("server")
    with found.database() as name:
        made = RecordsStore(found.url(name), directory=tmp_path)
        made.prepare()
        yield made
        made.close()


@asynccontextmanager
async def serving(store: RecordsStore, token: str = TOKEN) -> AsyncIterator[aiohttp.ClientSession]:
    application = web.Application()
    application.add_routes(RecordsApi(lambda: store, PSEUDONYMS, token=token).routes())
    async with TestServer(application) as server:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(server.make_url("/"), headers=headers) as session:
            yield session


async def asked(session: aiohttp.ClientSession, **filters: object) -> list[dict[str, Any]]:
    parameters = {name: str(value) for name, value in filters.items()}
    async with session.get("/api/records", params=parameters) as response:
        text = await response.text()
        assert response.status == 200, text
        found: list[dict[str, Any]] = json.loads(text)["records"]
        return found


def fleet(source: random.Random, now: int) -> list[Record]:
    """Records of the last 40 days, in the order in which they are stored; some keep raw ids."""
    records = []
    for number in range(MANY):
        machine = source.choice(MACHINES)
        owner = PSEUDONYMS.machine(machine)
        records.append(
            record_of(
                (now - source.randrange(40 * DAY)) * NS + number,
                owner=owner,
                machine_id=machine if source.random() < 0.5 else owner,
                classification=source.choice(CLASSES),
                severity=source.randint(1, 4),
                build=source.choice(BUILDS),
                ts_capture=now - source.randrange(60 * DAY),
                external=source.random() < 0.2,
                payload=source.randbytes(source.randrange(30)),
            )
        )
    return records


def selected(records: list[Record], now: int, filters: dict[str, Any]) -> list[dict[str, Any]]:
    """What the filters select, as the documentation says it."""
    back = 30 * DAY
    if "created_in_sec" in filters:
        back = filters["created_in_sec"]
    if "created_in_days" in filters:
        back = filters["created_in_days"] * DAY
    back = min(back, 30 * DAY)
    found = []
    for number, record in enumerate(records, start=1):
        machine = filters.get("machine_id")
        if (
            record.stamp > (now - back) * NS
            and record.classification == filters.get("classification", record.classification)
            and record.severity == filters.get("severity", record.severity)
            and record.build == filters.get("build", record.build)
            and (
                machine is None
                or machine in {record.machine_id, record.owner}
                or PSEUDONYMS.machine(machine) == record.owner
            )
            and number >= filters.get("from_id", 0)
            and record.ts_capture > filters.get("ts_capture", 0)
        ):
            found.append(answer(record, number=number))
    found.reverse()
    return found[: filters.get("limit", 10_000)]


async def test_every_filter_alone_and_with_others_selects_what_a_plain_search_does(
    store: RecordsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = random.Random(SEED)
    now = int(time.time())
    records = fleet(source, now)
    await asyncio.to_thread(store.add, records)
    # One moment for both: a record at the edge of a span must not fall out in between.
    monkeypatch.setattr(time, "time_ns", lambda: now * NS)
    choices: dict[str, list[Any]] = {
        "classification": [*CLASSES, "x/y/z"],
        "severity": [1, 4],
        "machine_id": [MACHINES[0], PSEUDONYMS.machine(MACHINES[1]), "nobody"],
        "build": list(BUILDS[:2]),
        "created_in_days": [0, 1, 29, 300],
        "created_in_sec": [3600, 10**9],
        "from_id": [0, MANY // 2, MANY - 1],
        "ts_capture": [0, now - 5 * DAY],
        "limit": [0, 1, 77, 10_000],
    }
    cases: list[dict[str, Any]] = [{}]
    cases += [{name: value} for name, values in choices.items() for value in values]
    cases += [
        {one: source.choice(choices[one]), other: source.choice(choices[other])}
        for one, other in itertools.combinations(choices, 2)
    ]
    for _ in range(repeat(20, 500)):
        names = source.sample(sorted(choices), source.randint(3, 7))
        cases.append({name: source.choice(choices[name]) for name in names})
    async with serving(store) as session:
        for filters in cases:
            assert await asked(session, **filters) == selected(records, now, filters), filters


async def test_csv_has_the_same_records_as_json(store: RecordsStore) -> None:
    now = time.time_ns()
    payloads = [b"", b'a,"b"\n\r\n', "é\u2028".encode(), b"\xff\x00"]
    await asyncio.to_thread(
        store.add, [record_of(now + n, payload=payload) for n, payload in enumerate(payloads)]
    )
    async with serving(store) as session:
        wanted = await asked(session)
        async with session.get("/api/records", headers={"Accept": "text/csv"}) as response:
            assert response.content_type == "text/csv"
            text = (await response.read()).decode()
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert tuple(rows[0]) == COLUMNS
    assert [dict(zip(COLUMNS, row, strict=True)) for row in rows[1:]] == [
        {name: str(one[name]) for name in COLUMNS} for one in wanted
    ]


async def test_wrong_and_over_long_filters_are_refused(store: RecordsStore) -> None:
    wrong = {
        "classification": ["", "a/b", "a/b/" + "c" * 137],
        "severity": ["0", "5", "x", "-1", ""],
        "machine_id": ["", "m" * 33],
        "build": ["", "b" * 257],
        "created_in_days": ["-1", "x", "1.5", ""],
        "created_in_sec": ["-1", "x", ""],
        "from_id": ["x", "-1", "9" * 40],
        "ts_capture": ["now", ""],
        "limit": ["10001", "x", "-1", ""],
        "colour": ["red"],
    }
    async with serving(store) as session:
        for name, values in wrong.items():
            for value in values:
                async with session.get("/api/records", params={name: value}) as response:
                    assert response.status == 400, (name, value)
                    said = await response.json()
                    assert said["reason"] == "invalid-parameter"
                    assert said["message"]


async def test_only_who_has_the_token_reads(store: RecordsStore) -> None:
    await asyncio.to_thread(store.add, [record_of(time.time_ns(), payload=b"\x00\xff")])
    async with serving(store) as session:
        for given in ("", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer \xff", TOKEN):
            for path in ("/api/records", "/api/records/1/payload"):
                async with session.get(path, headers={"Authorization": given}) as response:
                    assert response.status == 401
                    assert response.headers["WWW-Authenticate"] == "Bearer"
        async with session.get("/api/records/1/payload") as response:
            assert await response.read() == b"\x00\xff"
        async with session.get("/api/records/2/payload") as response:
            assert response.status == 404
    async with serving(store, token="") as session:
        for given in ("", "Bearer ", f"Bearer {TOKEN}"):
            async with session.get("/api/records", headers={"Authorization": given}) as response:
                assert response.status == 403


async def test_many_large_records_are_streamed_in_flat_memory(tmp_path: Path) -> None:
    store = RecordsStore("", directory=tmp_path)
    store.prepare()
    now, count, size = time.time_ns(), 400, 300 << 10
    for first in range(0, count, 50):
        store.add([record_of(now + n, payload=b"x" * size) for n in range(first, first + 50)])
    async with serving(store) as session:
        tracemalloc.start()
        got = 0
        async with session.get("/api/records") as response:
            async for chunk in response.content.iter_any():
                got += len(chunk)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    store.close()
    assert got > count * size
    assert most < 60 << 20


async def test_store_that_is_away_is_said_before_anything_is_answered(tmp_path: Path) -> None:
    store = RecordsStore("postgresql://x:y@127.0.0.1:9/z", directory=tmp_path)
    async with serving(store) as session:
        for path in ("/api/records", "/api/records/1/payload"):
            async with session.get(path) as response:
                assert response.status == 503
                assert response.headers["Retry-After"]


async def test_answer_that_fails_in_the_middle_is_cut_and_not_complete(tmp_path: Path) -> None:
    store = RecordsStore("", directory=tmp_path)
    store.prepare()
    now = time.time_ns()
    store.add([record_of(now + n, payload=b"x" * 200_000) for n in range(100)])

    async def read(session: aiohttp.ClientSession) -> None:
        async with session.get("/api/records") as response:
            await response.content.readexactly(1000)
            store.close()
            (tmp_path / FILE).write_bytes(b"no database any more" * 1000)
            await response.read()

    async with serving(store) as session:
        with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError)):
            await read(session)
