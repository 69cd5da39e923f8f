"""telemetrics-client's records: both forms on the wire, every check, and where they go."""

from __future__ import annotations

import asyncio
import io
import json
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr
from sqlalchemy import select

from collector.app import running
from collector.metrics import Metrics
from collector.outbox import FILE, Entry, OutboxFile, Queue, check_at_start, recover, set_aside
from collector.privacy import Pseudonymiser
from collector.records.record import Checked, from_row
from collector.records.store import RecordsStore
from collector.records.tables import FINDINGS, RECORDS
from collector.setting_types import Address
from collector.settings import Settings
from collector.state import pseudonym_key
from collector.tag_budget import ALONE
from tests.command import command
from tests.conftest import Databases, StartServe
from tests.length import repeat, seed
from tests.records import record_of
from tests.sender import encoded, eventually, report, until

CASES = Path(__file__).parents[1] / "cases" / "telemetrics"
FROM_CLIENT = json.loads((CASES / "client-2.4.3.json").read_text())
TID = "6907c830-eed9-4ce9-81ae-76daf8d88f0f"
MACHINE = "66c196ce4222dd761470da5e7e35f6f1"
FIRST = {
    "arch": "x86_64",
    "build": "17780",
    "creation_timestamp": "1505235249",
    "classification": "test/test/test",
    "host_type": "LenovoT20",
    "kernel_version": "3.16.4-123.generic",
    "machine_id": MACHINE,
    "severity": "2",
    "record_format_version": "1",
}
SECOND = FIRST | {
    "record_format_version": "2",
    "payload_format_version": "1",
    "system_name": '"clear-linux-os"',
    "x_telemetry_tid": TID,
}
THIRD = SECOND | {
    "record_format_version": "3",
    "board_name": "D54250WYK|Intel Corporation",
    "bios_version": "WYLPT10H.86A.0041.2015.0720.1108",
    "cpu_model": "Intel(R) Core(TM) i5-4250U CPU @ 1.30GHz",
}
FOURTH = THIRD | {
    "record_format_version": "4",
    "event_id": "39cc109a1079df96376693ebc7a0f632",
}
FORMATS = {"1": FIRST, "2": SECOND, "3": THIRD, "4": FOURTH}
WRONG = {
    "arch": ["", "arm", "X86_64"],
    "build": ["", "1!", "'a b'", "1" * 300],
    "creation_timestamp": ["", "-1", "1.5", "now", "9" * 19],
    "classification": ["", "a/b", "a/b/c/d", "a//b", "a/b/" + "c" * 140],
    "host_type": ["", "h" * 250],
    "kernel_version": ["", "3", "3.16", "a.b.c", "v3.16.4"],
    "machine_id": ["", "m" * 33],
    "severity": ["", "0", "5", "high", "1.0"],
    "record_format_version": ["", "0", "5", "two"],
    "payload_format_version": ["", "x", "-1", str(2**31)],
    "system_name": ["", "s" * 200],
    "x_telemetry_tid": ["", TID[:-1]],
    "board_name": ["", "b" * 200],
    "bios_version": ["", "b" * 200],
    "cpu_model": ["", "c" * 200],
    "event_id": ["", "39cc", "g" * 32],
}


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
        telemetrics=True,
        rate_limit=0,
    )


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        running(settings) as at,
        aiohttp.ClientSession(f"http://{at.public}") as session,
    ):
        yield session


def spelt(fields: Mapping[str, str], *, dashes: bool = False) -> dict[str, str]:
    """Headers in either spelling; the TID is always spelt as libcurl's users do."""
    named = {name: value for name, value in fields.items() if name != "x_telemetry_tid"}
    tid = fields.get("x_telemetry_tid")
    headers = {"X-Telemetry-TID": tid} if tid is not None else {}
    if dashes:
        named = {name.replace("_", "-").title(): value for name, value in named.items()}
    return headers | named


async def post(
    session: aiohttp.ClientSession,
    fields: Mapping[str, Any],
    payload: bytes | str = b"hello",
    *,
    form: str = "underscores",
    path: str = "/v2/collector",
) -> tuple[int, dict[str, Any]]:
    """Send a record in one of the forms; status and answer."""
    if form == "json":
        said = {name: value for name, value in fields.items() if name != "x_telemetry_tid"}
        headers = {"Content-Type": "application/json"}
        if "x_telemetry_tid" in fields:
            headers["X-Telemetry-TID"] = fields["x_telemetry_tid"]
        text = payload if isinstance(payload, str) else payload.decode()
        data = json.dumps(said | {"payload": text}).encode()
    else:
        headers = spelt(fields, dashes=form == "dashes")
        data = payload.encode() if isinstance(payload, str) else payload
    async with session.post(path, data=io.BytesIO(data), headers=headers) as response:
        return response.status, await response.json()


def stored(settings: Settings) -> list[Any]:
    store = RecordsStore(settings.records_url.get_secret_value(), directory=settings.state_dir)
    try:
        store.prepare()
        return [from_row(row) for row in store.rows(select(RECORDS).order_by(RECORDS.c.id))]
    finally:
        store.close()


def left(settings: Settings) -> int:
    with OutboxFile(settings.state_dir / FILE) as file:
        return file.stats().reports


async def delivered(settings: Settings) -> None:
    await asyncio.to_thread(eventually, lambda: not left(settings))


async def test_record_of_each_format_in_each_form_is_answered_with_what_is_stored(
    settings: Settings, databases: Databases
) -> None:
    sent = 0
    async with serving(settings) as session:
        for version, fields in FORMATS.items():
            given = fields | {"x_telemetry_tid": TID}
            for form in ("underscores", "dashes", "json"):
                for path in ("/", "/v2/collector"):
                    status, answer = await post(session, given, form=form, path=path)
                    assert status == 201, answer
                    sent += 1
                    wanted = {
                        "arch": "x86_64",
                        "build": "17780",
                        "classification": "test/test/test",
                        "kernel_version": "3.16.4-123.generic",
                        "machine_id": MACHINE,
                        "machine_type": "LenovoT20",
                        "payload": "hello",
                        "record_format_version": int(version),
                        "severity": 2,
                        "ts_capture": "2017-09-12 16:54:09 UTC",
                    }
                    assert answer | wanted == answer
        await delivered(settings)
    records = stored(settings)
    assert len(records) == sent
    assert {record.owner for record in records} == {record.machine_id for record in records}
    assert len({record.stamp for record in records}) == sent
    name = f"{databases.prefix}telemetrics"
    assert databases.server.count(name, "record", "payload_bytes") == sent
    (row,) = databases.server.query("SELECT * FROM record LIMIT 1", name)
    assert (row["domain"], row["probe"], row["severity"]) == ("test", "test", "2")
    assert databases.server.retention(name) == 35 * 86_400


async def test_body_of_the_real_client_is_taken(settings: Settings) -> None:
    async with serving(settings) as session:
        headers = {"Content-Type": "application/json", "X-Telemetry-TID": TID}
        body = (CASES / "client-2.4.3.json").read_bytes()
        async with session.post("/v2/collector", data=body, headers=headers) as response:
            assert response.status == 201
            answer = await response.json()
        await delivered(settings)
    assert (answer["build"], answer["system_name"]) == ("12", "debian")
    (record,) = stored(settings)
    assert record.payload.decode() == FROM_CLIENT["payload"]
    assert record.machine_type == "no_sv_file|no_pn_file|no_pvr_file"


async def test_each_field_missing_or_wrong_in_turn_is_refused_in_each_form(
    settings: Settings,
) -> None:
    async with serving(settings) as session:
        for fields in FORMATS.values():
            given = fields | {"x_telemetry_tid": TID}
            for form in ("underscores", "dashes", "json"):
                for name in given:
                    less = {one: value for one, value in given.items() if one != name}
                    status, answer = await post(session, less, form=form)
                    assert status == 400, (name, form)
                    assert isinstance(answer["message"], str), answer
                    for value in WRONG[name]:
                        status, answer = await post(session, given | {name: value}, form=form)
                        assert status == 400, (name, value, form)
                        assert answer["message"]
                        assert answer["reason"] == "invalid-field"
        status, answer = await post(session, FOURTH | {"build": "12a"})
        assert (status, answer["message"][:8]) == (400, "Clear Li")
        assert left(settings) == 0


async def test_fields_at_their_limits_are_taken(settings: Settings) -> None:
    right = {
        "kernel_version": ["3.16.generic", "5.0."],
        "classification": ["a/b/" + "c" * 136],
        "machine_id": ["m", "m" * 32],
        "host_type": ["h" * 249],
        "board_name": ["b" * 199],
        "severity": ["1", "4"],
        "build": ['"17780"', "'5'"],
        "arch": ["armv7l", "ppc"],
        "event_id": ["39CC109A1079DF96376693EBC7A0F632"],
        "payload_format_version": ["0", str(2**31 - 2)],
    }
    async with serving(settings) as session:
        for name, values in right.items():
            for value in values:
                status, answer = await post(session, FOURTH | {name: value})
                assert status == 201, (name, value, answer)
        other = FOURTH | {"system_name": "debian", "build": '"12.1-A_b"', "x_clr_external": "true"}
        status, answer = await post(session, other, form="dashes")
        assert (status, answer["build"], answer["external"]) == (201, "12.1-A_b", True)
        assert (await post(session, FOURTH | {"x_clr_external": "yes"}))[1]["external"] is False
        numbers = FOURTH | {"severity": 1, "creation_timestamp": 5}
        assert (await post(session, numbers, form="json"))[0] == 201


async def test_body_that_is_no_json_object_is_refused(settings: Settings) -> None:
    headers = {"Content-Type": "application/json", "X-Telemetry-TID": TID}
    async with serving(settings) as session:
        for body in (
            b"",
            b"{",
            b"[]",
            b"1",
            b"\xff",
            b"[" * 100_000,
            b'{"severity":' + b"9" * 9000,
        ):
            async with session.post("/", data=body, headers=headers) as response:
                assert response.status == 400
                assert (await response.json())["reason"] == "malformed-json"
        body = json.dumps(FOURTH | {"payload": 5}).encode()
        async with session.post("/", data=body, headers=headers) as response:
            assert (await response.json())["message"] == "payload is not text"


async def test_payload_of_any_text_comes_back_equal_up_to_300_kib(settings: Settings) -> None:
    source = random.Random(3)
    letters = 'aé€😀\u2028\x00\n"\\\ud800'
    largest = source.randbytes(300 << 10)
    texts = [
        "",
        "\x00" * (300 << 10),
        "".join(source.choices(letters, k=50_000)),
        "😀" * (75 << 10),
    ]
    raw = [largest, b"\x80", "é".encode() * 1000]
    async with serving(settings) as session:
        for text in texts:
            status, answer = await post(session, FOURTH, text, form="json")
            assert (status, answer["payload"]) == (201, text)
        for payload in raw:
            status, answer = await post(session, FOURTH, payload)
            assert status == 201
        headers = {"Content-Type": "application/json", "X-Telemetry-TID": TID}
        body = json.dumps(FOURTH).encode()[:-1] + b', "payload": "\xe9t\xe9"}'
        async with session.post("/", data=body, headers=headers) as response:
            answer = await response.json()
        assert answer["payload"].encode("utf-8", "surrogateescape") == b"\xe9t\xe9"
        for form in ("underscores", "json"):
            payload_over = "x" * ((300 << 10) + 1)
            status, answer = await post(session, FOURTH, payload_over, form=form)
            assert (status, answer["reason"]) == (413, "too-large")
        await delivered(settings)
    payloads = [record.payload for record in stored(settings)]
    assert payloads[: len(texts)] == [text.encode("utf-8", "surrogatepass") for text in texts]
    assert payloads[len(texts) : len(texts) + len(raw)] == raw


async def test_machine_that_sends_too_much_is_told_to_wait(settings: Settings) -> None:
    limited = settings.model_copy(update={"rate_limit": 1000, "server_rate_limit": 3})
    async with serving(limited) as session:
        told = [(await post(session, FOURTH))[0] for _ in range(5)]
        assert told.count(201) == 3
        status, answer = await post(session, FOURTH)
        assert (status, answer["reason"]) == (429, "rate-limited")
        assert (await post(session, FOURTH | {"machine_id": "another"}))[0] == 201


async def test_machine_ids_are_kept_only_if_the_operator_says_so(settings: Settings) -> None:
    for keep in (False, True):
        async with serving(settings.model_copy(update={"telemetrics_keep_ids": keep})) as session:
            assert (await post(session, FOURTH))[1]["machine_id"] == MACHINE
            await delivered(settings)
    hidden, shown = stored(settings)
    assert (hidden.machine_id, shown.machine_id) == (hidden.owner, MACHINE)
    assert hidden.owner == shown.owner


async def test_no_record_is_taken_unless_it_is_switched_on(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"telemetrics": False})) as session:
        for path, status in (("/", 405), ("/v2/collector", 404)):
            async with session.post(path, data=b"x", headers=spelt(FOURTH)) as response:
                assert response.status == status
        async with session.get("/privacy") as response:
            assert "telemetrics" not in await response.text()
        async with session.get("/openapi.json") as response:
            assert "/v2/collector" not in (await response.json())["paths"]
    assert not list(settings.state_dir.glob("records*"))
    async with serving(settings) as session:
        async with session.get("/privacy") as response:
            assert "telemetrics-client" in await response.text()
        async with session.get("/openapi.json") as response:
            paths = (await response.json())["paths"]
    (header,) = paths["/v2/collector"]["post"]["parameters"]
    assert (header["name"], header["in"], header["required"]) == ("X-Telemetry-TID", "header", True)
    assert {"get", "post"} <= paths["/"].keys()


@pytest.mark.usefixtures("brief_stop")
async def test_records_wait_while_one_store_is_away_and_the_other_gets_its_own(
    settings: Settings, databases: Databases, tmp_path: Path
) -> None:
    name = f"{databases.prefix}telemetrics"
    away = f"sqlite:///{tmp_path}/none/records.sqlite3"
    own = Settings.model_validate(settings.model_dump() | {"records_url": away})
    async with serving(own) as session:
        for _ in range(5):
            assert (await post(session, FOURTH))[0] == 201
        await asyncio.to_thread(
            eventually,
            lambda: (
                name in databases.server.databases()
                and databases.server.count(name, "record", "external") == 5
            ),
        )
        with OutboxFile(settings.state_dir / FILE) as file:

            def waiting() -> tuple[int, int]:
                found = file.stats().waiting
                return found[Queue.INFLUX].reports, found[Queue.RECORDS].reports

            # InfluxDB has them a moment before they are acknowledged.
            await until(lambda: waiting() == (0, 5))
    gone = settings.model_copy(update={"influx_url": "http://127.0.0.1:9"})
    async with serving(gone) as session:
        for _ in range(5):
            assert (await post(session, FOURTH))[0] == 201
        await asyncio.to_thread(eventually, lambda: len(stored(settings)) == 10)
    # Switched off, what waits is delivered all the same.
    async with serving(settings.model_copy(update={"telemetrics": False})):
        await delivered(settings)
    assert databases.server.count(name, "record", "external") == 10


async def asked(session: aiohttp.ClientSession, what: str, machine: str = MACHINE) -> Any:
    headers = {"Accept": "application/json"}
    data = json.dumps({"machine_id": machine}).encode()
    async with session.post(f"/v1/my-data{what}", data=data, headers=headers) as response:
        assert response.status == 200, await response.text()
        return await response.json()


@pytest.mark.usefixtures("brief_stop")
async def test_machine_sees_erases_and_stops_its_records_and_no_other_ones(
    settings: Settings, databases: Databases
) -> None:
    name = f"{databases.prefix}telemetrics"
    keeping = settings.model_copy(update={"telemetrics_keep_ids": True})
    async with serving(keeping) as session:
        for machine, count in ((MACHINE, 3), ("another", 2)):
            for _ in range(count):
                assert (await post(session, FOURTH | {"machine_id": machine}))[0] == 201
        await delivered(settings)
        shown = await asked(session, "")
        assert (shown["held"]["reports"], shown["held"]["records"]) == (3, 3)
        assert {one["classification"] for one in shown["records"]} == {"test/test/test"}
        record, unshown = shown["records"][0], {"machine_id", "payload"}
        assert record.keys() >= set(Checked.__dataclass_fields__) - unshown
        assert record["payload_bytes"] > 0
        assert not record.keys() & (unshown | {"owner"})
        assert shown["reports"][0]["tags"]["probe"] == "test"
        receipt = await asked(session, "/erase")
        assert (receipt["erased"]["reports"], receipt["erased"]["records"]) == (3, 3)
        assert {record.machine_id for record in stored(settings)} == {"another"}
        assert databases.server.count(name, "record", "external") == 2
        await asked(session, "/opt-out")
        status, answer = await post(session, FOURTH)
        assert (status, answer["machine_id"]) == (201, MACHINE)
        await asked(session, "/opt-in")
        assert (await post(session, FOURTH))[0] == 201
        await delivered(settings)
    environment = databases.environment | {"COLLECTOR_STATE_DIR": str(settings.state_dir)}
    for action, told in (("show", "1 reports, 1 records"), ("erase", "records erased: 1")):
        words = ("my-data", action, f"machine:{MACHINE}")
        own = await asyncio.to_thread(command, environment, *words)
        assert own.code == 0, own.err
        assert told in own.out
    assert {record.machine_id for record in stored(settings)} == {"another"}
    # What waits for a store that is away is erased in the outbox.
    away = Settings.model_validate(
        settings.model_dump() | {"records_url": f"sqlite:///{settings.state_dir}/none/x.sqlite3"}
    )
    async with serving(away) as session:
        assert (await post(session, FOURTH))[0] == 201
        assert left(settings) > 0
    async with serving(settings) as session:
        await delivered(settings)
        assert len(stored(settings)) == 3
        receipt = await asked(session, "/erase")
        assert receipt["erased"]["records"] == 1
    names = [path for path in settings.state_dir.rglob("*") if path.is_file()]
    assert not [path for path in names if MACHINE.encode() in path.read_bytes()]


@pytest.mark.usefixtures("brief_stop")
async def test_records_come_back_from_a_damaged_outbox(settings: Settings, tmp_path: Path) -> None:
    away = Settings.model_validate(
        settings.model_dump()
        | {
            "records_url": f"sqlite:///{tmp_path}/none/x.sqlite3",
            "influx_url": "http://127.0.0.1:9",
        }
    )
    async with serving(away) as session:
        for number in range(20):
            assert (await post(session, FOURTH, f"payload {number}"))[0] == 201
    path = settings.state_dir / FILE
    path.write_bytes(b"\xff" * 100 + path.read_bytes()[100:])
    check_at_start(path, Metrics())
    (aside,) = set_aside(settings.state_dir)
    mark = Pseudonymiser(pseudonym_key(settings.key_file, settings.state_dir)).mark
    with OutboxFile(path) as file:
        recovered = recover(aside, file, mark, {}, max_bytes=1 << 30)
    assert (recovered.reports, recovered.broken, recovered.missing) == (40, 0, 0)
    async with serving(settings):
        await delivered(settings)
    found = sorted(record.payload for record in stored(settings))
    assert found == sorted(b"payload %d" % number for number in range(20))


def test_retention_shows_and_plans_the_records_and_check_names_a_store_that_is_away(
    databases: Databases, serve: StartServe
) -> None:
    collector = serve(databases.environment | {"COLLECTOR_TELEMETRICS": "1"})
    environment = collector.environment
    store = RecordsStore("", directory=collector.state_dir)
    day = 86_400 * 10**9
    eventually((collector.state_dir / "records.sqlite3").exists)
    store.prepare()
    store.add([record_of(time.time_ns() - n * day) for n in range(20)])
    eventually(lambda: f"{databases.prefix}telemetrics" in databases.server.databases())
    shown = json.loads(command(environment, "retention", "show", "--json").out)
    (own,) = [one for one in shown if one["database"] == "records store"]
    assert (own["points"], own["kept_seconds"]) == (20, 35 * 86_400)
    plan = json.loads(command(environment, "retention", "plan", "--records", "10d", "--json").out)
    (lost,) = [one for one in plan["lost"] if one["database"] == "records store"]
    assert (lost["days"], lost["reports"]) == (10, 10)
    done = command(environment, "retention", "set", "--records", "10d", "--yes")
    assert done.code == 0, done.err
    assert "COLLECTOR_RETENTION_RECORDS is 35d" in done.err
    assert databases.server.retention(f"{databases.prefix}telemetrics") == 10 * 86_400
    assert len(store.rows(select(RECORDS.c.id))) == 20
    store.close()
    assert "the records store answers" in command(environment, "check").out
    away = environment | {"COLLECTOR_RECORDS_URL": "postgresql://x:s3cr3t@127.0.0.1:9/z"}
    told = command(away, "check")
    assert told.code != 0
    assert "COLLECTOR_RECORDS_URL" in told.out + told.err
    assert "s3cr3t" not in told.out + told.err


async def test_records_of_a_former_worker_are_delivered(settings: Settings) -> None:
    left_by = settings.state_dir / "worker-3"
    left_by.mkdir(mode=0o700, parents=True)
    with OutboxFile(left_by / FILE) as file:
        for number in range(5):
            one = record_of(time.time_ns() + number)
            file.append(Entry(one.stamp, None, 1, one.line(), "records", "telemetrics"))
    async with serving(settings):
        await asyncio.to_thread(eventually, lambda: len(stored(settings)) == 5)


async def test_no_input_is_answered_with_an_error_of_the_server(settings: Settings) -> None:
    source = random.Random(seed(5))
    odd: list[Any] = [
        None,
        True,
        -1,
        1.5,
        10**30,
        [],
        {},
        "",
        "\x00",
        "\ud800",
        "é",
        "a/b/c",
        "9" * 400,
    ]
    async with serving(settings) as session:
        for _ in range(repeat(150, 3000)):
            fields: dict[str, Any] = dict(FOURTH)
            for name in source.sample(sorted(fields), source.randint(1, 5)):
                fields[name] = source.choice(odd)
            payload = source.choice(odd)
            said = {name: value for name, value in fields.items() if name != "x_telemetry_tid"}
            headers = {"Content-Type": "application/json", "X-Telemetry-TID": TID}
            body = json.dumps(said | {"payload": payload}).encode()
            body = body[: source.choice([len(body), len(body), source.randrange(len(body))])]
            async with session.post("/", data=body, headers=headers) as response:
                assert response.status in (201, 400), (fields, payload)
                assert await response.json()
        await delivered(settings)
    with OutboxFile(settings.state_dir / FILE) as file:
        assert file.dead_letters() == []


async def test_programs_with_the_token_read_what_was_sent_and_find_machines_by_their_ids(
    settings: Settings,
) -> None:
    token = "t0k3n"
    reading = settings.model_copy(update={"api_token": SecretStr(token)})
    for keep in (False, True):
        own = reading.model_copy(update={"telemetrics_keep_ids": keep})
        async with serving(own) as session:
            for machine in (MACHINE, "another"):
                assert (await post(session, FOURTH | {"machine_id": machine}))[0] == 201
            await delivered(settings)
            async with session.get("/api/records") as response:
                assert response.status == 401
            headers = {"Authorization": f"Bearer {token}"}
            asked_for = {"machine_id": MACHINE, "severity": "2", "build": '"17780"'}
            async with session.get("/api/records", params=asked_for, headers=headers) as response:
                found = (await response.json())["records"]
            assert len(found) == 1 + keep
            assert (found[0]["machine_id"] == MACHINE) is keep
            async with session.get("/openapi.json") as response:
                paths = (await response.json())["paths"]
            assert {"/api/records", "/api/records/{id}/payload"} <= paths.keys()
    async with serving(settings) as session, session.get("/api/records") as response:
        assert response.status == 403


async def test_one_machine_cannot_fill_the_budget_of_a_tag(
    settings: Settings, databases: Databases
) -> None:
    name = f"{databases.prefix}telemetrics"
    async with serving(settings) as session:
        for number in range(20):
            assert (await post(session, FOURTH | {"build": str(number)}))[0] == 201
        await delivered(settings)
    values = databases.server.query('SHOW TAG VALUES WITH KEY = "build"', name)
    builds = {row["value"] for row in values}
    assert "other" in builds
    assert len(builds) <= ALONE + 1
    assert {record.build for record in stored(settings)} == {str(n) for n in range(20)}


async def test_changed_list_of_never_guilty_functions_changes_what_is_found_in_old_crashes(
    settings: Settings, tmp_path: Path
) -> None:
    listed = tmp_path / "never.txt"
    listed.write_text("f0\n")
    crash = "Process: /bin/x\n\nBacktrace (TID 1):\n" + "".join(
        f"#{number} f{number}() - [libx.so]\n" for number in range(100)
    )

    def guilty() -> list[str]:
        store = RecordsStore("", directory=settings.state_dir)
        found = store.rows(select(FINDINGS.c.label))
        store.close()
        return [row["label"] for row in found]

    own = settings.model_copy(update={"telemetrics_never_guilty": str(listed)})
    async with serving(own) as session:
        fields = FOURTH | {"classification": "org.clearlinux/crash/clr"}
        assert (await post(session, fields, crash))[0] == 201
        await delivered(settings)
        assert await asyncio.to_thread(guilty) == ["f1 - [libx.so]"]
        listed.write_text("".join(f"f{number}\n" for number in range(60)))
        await asyncio.to_thread(eventually, lambda: guilty() == ["f60 - [libx.so]"])


async def test_reports_of_asl_telemetry_are_taken_as_before_beside_it(settings: Settings) -> None:
    async with serving(settings) as session:
        for path in ("/usage", "/usage/usage"):
            async with session.post(path, data=encoded(report([2001]))) as response:
                assert (response.status, (await response.json())["status"]) == (200, "accepted")
        for path in ("/", "/v2/collector", "/usage/v2/collector"):
            assert (await post(session, FOURTH, path=path))[0] == 201
        async with session.get("/") as response:
            assert response.content_type == "text/html"
