"""A sender that the product has never heard of, added by this module alone.

It has a route, a measurement, a database and an API operation of its own, its owners see and erase
their reports, and a damaged outbox gives its reports back.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from pydantic import BaseModel, ValidationError

from collector.admission import RateLimit
from collector.app import running
from collector.fast_path import FastHandler
from collector.intakes import INTAKES, Intake, IntakeContext
from collector.intakes.gather import Gather
from collector.intakes.proof import Proof
from collector.lines import line
from collector.metrics import Metrics
from collector.operations import JSON, REPORTING, Answer, Operation
from collector.outbox import FILE, Entry, OutboxFile, check_at_start, recover, set_aside
from collector.privacy import Pseudonymiser, ServerPseudonym
from collector.privacy_section import PrivacySection
from collector.problems import Reason, Refusal
from collector.schema import OWNER, Field, FieldType, Measurement, ReportLayout, Tag
from collector.setting_types import Address
from collector.settings import Settings
from collector.state import pseudonym_key
from tests.conftest import Databases
from tests.sender import eventually

UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
OTHER_UUID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
TOYS = "toys"
TOY_REPORT = Measurement(
    TOYS,
    "toy_report",
    "when it was received",
    (Tag("colour", "its colour"),),
    (
        Field(OWNER, FieldType.STRING, "", "pseudonym of its owner"),
        Field("wheels", FieldType.INTEGER, "wheels", "how many it has"),
    ),
)


class Toy(BaseModel):
    """The body that the sender posts."""

    owner: str
    colour: str
    wheels: int


@dataclass(frozen=True)
class Taken:
    entry: Entry | None


class OpenToys:
    """Takes reports at `/toys`."""

    def __init__(self, context: IntakeContext) -> None:
        self._around = context
        self._gather: Gather[Toy, Taken] = Gather(context.outbox, self)
        self._limit = RateLimit(per_hour=1000, secret=bytes(32))

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.post("/toys", self.receive)]

    def fast_handlers(self) -> Mapping[str, FastHandler]:
        return {}

    def identify(self, body: bytes) -> Proof | Refusal:
        toy = self.parse(body)
        return toy if isinstance(toy, Refusal) else Proof(self._owner(toy), {})

    async def receive(self, request: web.Request) -> web.Response:
        body = await self._around.door.body(request, self._limit)
        outcome = body if isinstance(body, Refusal) else await self._gather.outcome(body)
        if isinstance(outcome, Refusal):
            return outcome.response()
        return web.json_response({"stored": outcome.entry is not None})

    def parse(self, body: bytes) -> Toy | Refusal:
        try:
            return Toy.model_validate_json(body)
        except ValidationError:
            return Refusal(Reason.MALFORMED_JSON, "this is no toy")

    def decide(self, parsed: Toy, now_ns: int) -> Taken | Refusal:
        owner = self._owner(parsed)
        if self._around.opted_out(owner):
            return Taken(None)
        fields: dict[str, Any] = {OWNER: owner, "wheels": parsed.wheels}
        at = self._around.stamper.take(now_ns, 1)[0]
        text = line(TOY_REPORT.name, f",colour={parsed.colour}", fields, at)
        return Taken(Entry(now_ns, owner, 1, text.encode(), TOYS, "toys"))

    def entries(self, outcome: Taken) -> Sequence[Entry]:
        return [] if outcome.entry is None else [outcome.entry]

    def stored(self, outcomes: Sequence[Taken]) -> None:
        self._around.metrics.reports.labels("toys", "accepted").inc(len(outcomes))

    def _owner(self, toy: Toy) -> ServerPseudonym:
        return self._around.pseudonyms.server(toy.owner)


class Toys(Intake):
    """The intake, as the contract asks for it."""

    name = "toys"
    measurements = (TOY_REPORT,)
    reports = (ReportLayout(TOY_REPORT),)

    def is_on(self, settings: Settings) -> bool:
        return True

    def retention(self, settings: Settings) -> Mapping[str, int]:
        return {TOYS: 30 * 86_400}

    def privacy(self, settings: Settings) -> PrivacySection:
        return PrivacySection(
            {"en": "## Toys of {{ host }}\n\nKept {{ toys }}.\n"}, {"toys": "30 d"}
        )

    def proofs(self) -> Sequence[type[BaseModel]]:
        return (Toy,)

    def operations(self) -> Iterable[Operation]:
        answers = {HTTPStatus.OK: Answer("it is durable", {JSON: None})}
        yield Operation("post", "/toys", "toys", "Take a toy", REPORTING, answers, bodies=(Toy,))

    @asynccontextmanager
    async def open(self, context: IntakeContext) -> AsyncIterator[OpenToys]:
        yield OpenToys(context)


def toy(owner: str = UUID, wheels: int = 4) -> dict[str, Any]:
    return {"owner": owner, "colour": "red", "wheels": wheels}


@pytest.fixture
def settings(databases: Databases, state_dir: Path) -> Settings:
    return Settings(
        listen=Address("127.0.0.1", 0),
        metrics_listen=Address("127.0.0.1", 0),
        state_dir=state_dir,
        influx_url=databases.server.url,
        influx_token=databases.server.token,
        influx_org=databases.server.org,
        influx_prefix=databases.prefix,
    )


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[aiohttp.ClientSession]:
    """A collector in this process that knows the sender; a session with its public address."""
    async with (
        running(settings, intakes=(*INTAKES, Toys())) as at,
        aiohttp.ClientSession(f"http://{at.public}") as session,
    ):
        yield session


async def posted(session: aiohttp.ClientSession, path: str, body: object) -> Any:
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    async with session.post(path, data=json.dumps(body), headers=headers) as response:
        assert response.status == 200, await response.text()
        return await response.json()


def wheels(databases: Databases) -> list[int]:
    name = f"{databases.prefix}{TOYS}"
    if name not in databases.server.databases():
        return []
    rows = databases.server.query(f'SELECT wheels FROM "{TOY_REPORT.name}"', name)
    return [int(row["wheels"]) for row in rows]


async def until_stored(databases: Databases, wanted: list[int]) -> None:
    await asyncio.to_thread(eventually, lambda: sorted(wheels(databases)) == wanted)


async def test_reports_reach_a_database_of_their_own_and_the_api_document(
    settings: Settings, databases: Databases
) -> None:
    async with serving(settings) as session:
        for number in range(1, 6):
            assert await posted(session, "/toys", toy(wheels=number)) == {"stored": True}
        await until_stored(databases, [1, 2, 3, 4, 5])
        async with session.get("/openapi.json") as response:
            paths = (await response.json())["paths"]
        pages = {}
        for page in ("/privacy", "/es/privacy"):
            async with session.get(page) as response:
                pages[page] = await response.text()
    assert "/toys" in paths
    # A language that the sender has no text in shows the English one.
    assert all("Kept 30 d." in page for page in pages.values())
    body = paths["/v1/my-data"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"$ref": "#/components/schemas/Toy"} in body["anyOf"]
    assert databases.server.retention(f"{databases.prefix}{TOYS}") == 30 * 86_400


async def test_owners_see_erase_and_stop_their_reports_and_no_one_elses(
    settings: Settings, databases: Databases
) -> None:
    async with serving(settings) as session:
        await posted(session, "/toys", toy(wheels=1))
        await posted(session, "/toys", toy(wheels=2))
        await posted(session, "/toys", toy(OTHER_UUID, wheels=3))
        await until_stored(databases, [1, 2, 3])
        shown = await posted(session, "/v1/my-data", toy())
        assert shown["held"]["reports"] == 2
        assert {report["fields"]["wheels"] for report in shown["reports"]} == {1, 2}
        receipt = await posted(session, "/v1/my-data/erase", toy())
        assert receipt["erased"]["reports"] == 2
        assert wheels(databases) == [3]
        await posted(session, "/v1/my-data/opt-out", toy())
        assert await posted(session, "/toys", toy(wheels=4)) == {"stored": False}
        shown = await posted(session, "/v1/my-data", toy())
        assert shown["held"]["reports"] == 0
        await posted(session, "/v1/my-data/opt-in", toy())
        assert await posted(session, "/toys", toy(wheels=5)) == {"stored": True}
        await until_stored(databases, [3, 5])


async def test_report_held_is_shown_in_words_to_a_person(
    settings: Settings, databases: Databases
) -> None:
    async with serving(settings) as session:
        await posted(session, "/toys", toy(wheels=7))
        await until_stored(databases, [7])
        async with session.post("/v1/my-data", data=json.dumps(toy())) as response:
            words = await response.text()
    assert "colour: red" in words
    assert "wheels: 7" in words


@pytest.mark.usefixtures("brief_stop")
async def test_reports_come_back_from_a_damaged_outbox(
    settings: Settings, databases: Databases
) -> None:
    path = settings.state_dir / FILE
    away = settings.model_copy(update={"influx_url": "http://127.0.0.1:9"})
    async with serving(away) as session:
        for number in range(1, 40):
            await posted(session, "/toys", toy(wheels=number))
    path.write_bytes(b"\xff" * 100 + path.read_bytes()[100:])
    check_at_start(path, Metrics())
    (aside,) = set_aside(settings.state_dir)
    mark = Pseudonymiser(pseudonym_key(settings.key_file, settings.state_dir)).mark
    with OutboxFile(path) as file:
        recovered = recover(aside, file, mark, {}, max_bytes=1 << 30)
    assert (recovered.reports, recovered.broken) == (39, 0)
    async with serving(settings):
        await until_stored(databases, list(range(1, 40)))
