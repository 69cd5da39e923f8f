"""Events of the published series: found again by each recomputation, beside operators' notes."""

from __future__ import annotations

import asyncio
import csv
import io
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from collector.events.event import Event, Kind, first_version, outage
from collector.events.stored import read_events, write_events
from collector.rollup.events import newcomers, outages
from tests import dates
from tests.command import command
from tests.conftest import Databases
from tests.fleets import EPOCH, random_fleet
from tests.length import seeds
from tests.network import Network, day_of, influx_of
from tests.oracle import DAY, HOUR, Oracle, said
from tests.owners import uuid_of
from tests.public_site import problem_of, served
from tests.sender import encoded, get, report, request

NOTE = Event(day_of(EPOCH + 8), Kind.NOTE, "operator", "1", 'Mirror moved, "=+cmd" \\ , 50 %')


def keys(events: list[Event]) -> set[tuple[int, str, str, str]]:
    return {
        ((event.day - day_of(0)).days, event.kind.value, event.subject, event.item)
        for event in events
    }


@pytest.mark.no_cover  # the slow repetition of what other tests cover
@pytest.mark.parametrize("seed", seeds(2, 30))
async def test_events_of_a_random_fleet_equal_brute_force_and_leave_notes_alone(
    databases: Databases, state_dir: Path, seed: int
) -> None:
    days = 12
    received = random_fleet(seed, days=days, servers=5, untidy=seed % 2 == 1)
    # One server moves to software that nobody had in the first week.
    new = report([2999], uuid_of(9), ast_ver="Asterisk 23.9.0+asl3-9.9.0-1", pkgs={"asl3": "9.9"})
    received += [((EPOCH + day) * DAY + day * HOUR, encoded(new)) for day in (8, 9)]
    rng = random.Random(seed)
    late = {each for each in received if rng.random() < 0.2}
    network = Network(databases)
    network.create()
    chosen, now = range(EPOCH, EPOCH + days), (EPOCH + days) * DAY + 2 * HOUR
    async with network.rollup(state_dir) as rollup, influx_of(databases) as influx:
        await write_events(influx, [NOTE])
        # Late reports move the first day of some versions.
        for part in (set(received) - late, late):
            network.lay_received(sorted(part))
            await rollup.roll(chosen, now)
            await rollup.mark(now)
        found = await read_events(influx, Kind.VERSION, Kind.PACKAGE)
        assert keys(found) == Oracle(said(received), now).events()
        assert len(found) >= 3
        assert await read_events(influx, Kind.NOTE) == [NOTE]
        # A second run changes nothing, nor does one that computes every day again.
        stored = await read_events(influx)
        await rollup.roll(chosen, now, force=True)
        await rollup.mark(now)
        assert await read_events(influx) == stored


async def test_versions_under_k_are_no_event_until_k_nodes_have_them(
    databases: Databases, state_dir: Path
) -> None:
    def sent(day: int, node: int, version: str) -> tuple[int, bytes]:
        body = report([2000 + node], uuid_of(node), ast_ver=f"Asterisk 20.7.0+{version}-1")
        return (EPOCH + day) * DAY + node * HOUR // 10, encoded(body)

    # One node a day moves to the new version; k are there on the eleventh day.
    received = [
        sent(day, node, "asl3-9.9" if node <= day - 7 else "asl3-1.3")
        for day in range(14)
        for node in range(1, 20)
    ]
    network = Network(databases)
    network.create()
    network.lay_received(received)
    now = (EPOCH + 14) * DAY + 2 * HOUR
    async with network.rollup(state_dir, k=4) as rollup, influx_of(databases) as influx:
        await rollup.roll(range(EPOCH, EPOCH + 14), now)
        await rollup.mark(now)
        assert keys(await read_events(influx)) == {
            (EPOCH + 11, "version", "asl_version", "asl3-9.9")
        }


async def test_an_outage_is_found_once_a_receiver_was_silent_and_goes_when_reports_arrive_late(
    databases: Databases, state_dir: Path
) -> None:
    received = [
        ((EPOCH + day) * DAY + hour * HOUR + node, encoded(report([2000 + node], uuid_of(node))))
        for day in range(9)
        for hour in range(24)
        for node in range(9)
    ]
    out = range((EPOCH + 8) * DAY + 22 * HOUR, (EPOCH + 9) * DAY)
    network = Network(databases)
    network.create()
    network.lay_received([each for each in received if each[0] not in out])
    now = (EPOCH + 9) * DAY + 2 * HOUR
    async with network.rollup(state_dir) as rollup, influx_of(databases) as influx:
        await rollup.roll(range(EPOCH, EPOCH + 9), now)
        # 9 reports an hour were expected: two hours without any are no proof of an outage.
        await rollup.mark(now)
        assert await read_events(influx) == []
        await rollup.roll([EPOCH + 9], now)
        await rollup.mark(now)
        assert await read_events(influx) == [
            outage(datetime.fromtimestamp(out.start // 10**9, UTC), 3, 27)
        ]
        network.lay_received([each for each in received if each[0] in out])
        await rollup.roll(range(EPOCH + 8, EPOCH + 10), now)
        await rollup.mark(now)
        assert await read_events(influx) == []


def test_outages_are_runs_of_silence_in_which_many_reports_were_expected() -> None:
    start = datetime(2026, 11, 3, 4, tzinfo=UTC)

    def silence(*expected: float) -> dict[int, float]:
        hours = (start + timedelta(hours=n) for n in range(len(expected)))
        return {int(at.timestamp()) * 10**9: each for at, each in zip(hours, expected, strict=True)}

    cases = {
        "one busy hour": (silence(40), [outage(start, 1, 40)]),
        "too few": (silence(4, 6, 4), []),
        "nothing known": (silence(*[0.0] * 30), []),
        "quiet hours at both ends": (
            silence(0, 0, 12, 0, 12, 0),
            [outage(start + timedelta(hours=2), 3, 24)],
        ),
        "days of it, the expected number of which is forgotten": (
            silence(*[2.0] * 24, *[1.0] * 24, *[0.0] * 24),
            [outage(start, 72, 144)],
        ),
        "two runs": (
            silence(30) | {key + 5 * HOUR: each for key, each in silence(25).items()},
            [outage(start, 1, 30), outage(start + timedelta(hours=5), 1, 25)],
        ),
        "none": ({}, []),
    }
    for name, (silent, expected) in cases.items():
        assert outages(silent) == expected, name


def test_words_of_an_outage_name_days_only_where_they_differ() -> None:
    start = datetime(2026, 11, 3, 22, tzinfo=UTC)
    assert outage(start, 1, 30).text.startswith("No report received from 22:00 to 23:00 UTC,")
    assert outage(start, 2, 30).text.startswith("No report received from 22:00 to 24:00 UTC,")
    assert outage(start, 3, 30).text.startswith(
        "No report received from 2026-11-03 22:00 to 2026-11-04 01:00 UTC,"
    )


def test_what_the_tables_name_from_their_first_week_is_no_event() -> None:
    first = datetime(2026, 11, 1, tzinfo=UTC).date()
    found = newcomers(
        {
            ("asl_version", "old"): first,
            ("asl_version", "early"): first + timedelta(days=6),
            ("asl_version", "new"): first + timedelta(days=7),
            ("asl_version", "other"): first + timedelta(days=9),
            ("asterisk_version", "unknown"): first + timedelta(days=9),
        }
    )
    assert found == {("asl_version", "new"): first + timedelta(days=7)}
    assert newcomers({}) == {}


async def test_notes_outlive_a_forced_rollup_a_backup_and_a_restore(
    databases: Databases, state_dir: Path, tmp_path: Path
) -> None:
    settings = databases.environment | {"COLLECTOR_STATE_DIR": str(state_dir)}
    network = Network(databases)
    network.create()
    day = dates.last_final_day()
    before = day - timedelta(days=1)

    def run(*words: str) -> str:
        done = command(settings, *words)
        assert done.code == 0, done.out + done.err
        return done.out

    said = 'Receiver [moved], "=1+1", a\\b, 50 %'
    assert run("event", "add", "--day", str(day), said) == f"note 1 of {day}: {said}\n"
    assert run("event", "add", "--day", str(before), "Second").startswith("note 2 of ")
    refused = command(settings, "event", "add", "--day", str(day), "W1AW moved")
    assert (refused.code, "looks like a call sign" in refused.err) == (1, True)
    again = command(settings, "event", "add", "--day", str(day), said)
    assert (again.code, again.err) == (1, "this is note 1 already\n")
    for wrong in (
        ("add", "--day", str(day + timedelta(days=9)), "later"),
        ("add", "--day", "2020-01-01", "expired"),
    ):
        done = command(settings | {"COLLECTOR_RETENTION_DAILY": "400d"}, "event", *wrong)
        assert done.code == 2, done.out

    run("rollup", "--from", str(before), "--to", str(day), "--force")
    run("backup", str(tmp_path / "backup"))
    databases.server.drop(databases.daily)
    run("restore", str(tmp_path / "backup"))
    listed = run("event", "list")
    assert said in listed
    assert "Second" in listed

    missing = command(settings, "event", "remove", "2", "7")
    assert (missing.code, missing.err) == (1, "there is no note 7; nothing was removed\n")
    assert run("event", "remove", "2") == "removed: 1\n"
    async with influx_of(databases) as influx:
        assert await read_events(influx) == [Event(day, Kind.NOTE, "operator", "1", said)]


async def test_downloads_of_events_are_json_or_csv_of_a_span_and_a_kind(
    databases: Databases,
) -> None:
    network = Network(databases)
    network.create()
    stored = [
        first_version(day_of(EPOCH), "asl_version", "=1+1"),
        NOTE,
        outage(datetime.fromtimestamp((EPOCH + 9) * DAY // 10**9, UTC), 3, 27),
    ]
    async with influx_of(databases) as influx:
        await write_events(influx, stored)
    with served(databases) as url:
        answer = await asyncio.to_thread(get, url, "/v1/events.json")
        assert answer.json["rows"] == [
            {
                "day": str(event.day),
                **event.tags,
                "text": event.text,
                "hours": event.hours or None,
                "expected": event.expected or None,
            }
            for event in stored
        ]
        tag = {"If-None-Match": answer.headers["etag"]}
        again = await asyncio.to_thread(request, url, "GET", "/v1/events", headers=tag)
        assert again.status == 304
        path = f"/v1/events?from={NOTE.day}&kind=note"
        assert [row["text"] for row in (await asyncio.to_thread(get, url, path)).json["rows"]] == [
            NOTE.text
        ]
        table = (await asyncio.to_thread(get, url, "/v1/events.csv")).body.decode()
        rows = list(csv.DictReader(io.StringIO(table)))
        assert [row["text"] for row in rows] == [event.text for event in stored]
        # A spreadsheet would run it.
        assert rows[0]["item"] == "'=1+1"
        assert rows[2]["hours"] == "3"
        for wrong in ("kind=quake", "value=1", "from=never", "from=2026-01-02&to=2026-01-01"):
            answer = await asyncio.to_thread(get, url, f"/v1/events?{wrong}")
            assert problem_of(answer) == (400, "invalid-parameter")


@pytest.mark.parametrize(
    ("listed", "code", "said"),
    [
        (True, "", "50 of the 400 nodes on the public node list sent reports: 12.5"),
        (True, "/es", "50 de los 400 nodos de la lista pública: 12,5"),
        (False, "", ""),
    ],
)
async def test_home_page_shows_events_on_its_chart_and_who_the_sample_is(
    databases: Databases, listed: bool, code: str, said: str
) -> None:
    network = Network(databases)
    network.create()
    sample = ",listed_nodes=400i,coverage=50i,opted_out_reports=15i" if listed else ""
    network.publish(
        [
            f"daily_usage nodes=9i,servers=8i,reports=9i,node_reports=9i,final=1i{sample}"
            f" {(EPOCH + n) * DAY}"
            for n in range(10)
        ]
    )
    async with influx_of(databases) as influx:
        await write_events(influx, [NOTE])
    with served(databases) as url:
        page = (await asyncio.to_thread(get, url, code or "/")).body.decode()
    # The mark is a link to its text, by mouse, keyboard and screen reader.
    assert page.count('<a href="#event-1" aria-label="1: ') == 1
    assert page.count('<li id="event-1" value="1">') == 1
    assert "Mirror moved, &#34;=+cmd&#34; \\ , 50 %" in page
    assert said in page
    text = "15 reports of that day were dropped" if not code else "descartaron 15 informes"
    assert (text in page) == listed
    assert ("public node list" in page or "lista pública" in page) == listed
