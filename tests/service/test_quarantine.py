"""A batch taken out is in no number, put back is in all again, however often it was stopped."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from collector.delivery.writing import marked
from collector.influx.contents import Span
from collector.memory import Memory
from collector.privacy import ServerPseudonym
from collector.quarantine.batch import QuarantineError, State, span_between
from collector.quarantine.pattern import Pattern
from collector.quarantine.quarantine import OnWay, Quarantine
from collector.tag_budget import Sighting, TagValue
from tests.command import Done, command
from tests.conftest import Databases, StartServe, clean_environment
from tests.fleets import EPOCH, Received, random_fleet
from tests.network import Network, Rollup, day_of, differences, lines_of, moment
from tests.oracle import DAY, HOUR, Oracle, Series, said
from tests.safety import unsafe
from tests.sender import encoded, eventually, lay_key, post, report, server_name

DAYS = 40
"""Enough for the days after an attack whose windows hold it, and one more."""
FEW = 12
"""Enough where windows do not matter."""
NOW = (EPOCH + DAYS) * DAY + 2 * HOUR
SOON = (EPOCH + FEW) * DAY + 2 * HOUR
BAD = range(EPOCH + 5, EPOCH + 7)
"""Two days of an attack."""
SPAN = Span(BAD[0] * DAY, (BAD[-1] + 1) * DAY)
FIRST_SEEN = Pattern(first_seen=True)
EVIL = "Asterisk 66.6.0+asl3-6.6-1.deb12"


@pytest.fixture
def network(databases: Databases) -> Network:
    made = Network(databases)
    made.create()
    return made


def honest(days: int = DAYS) -> Received:
    """Servers that are all there before the attack, and report each day."""
    received: Received = []
    for server in range(12):
        name = str(uuid.UUID(int=server + 1, version=4))
        for day in range(EPOCH, EPOCH + days):
            body = encoded(report([3000 + 3 * server, 3001 + 3 * server], name))
            received.append((day * DAY + (5 + server) * HOUR, body))
    return sorted(received)


def attack(fields: dict[str, object] | None = None, *, reports: int = 1) -> Received:
    """New servers on two days, which claim nodes of their own and two of the honest ones."""
    received: Received = []
    for server in range(8):
        name = str(uuid.UUID(int=0xBAD + server, version=4))
        nodes = [50_000 + server, 3000, 3003 + 3 * (server % 3)]
        body = encoded(report(nodes, name) | (fields or {}))
        for day in BAD:
            received += [
                (day * DAY + (3 + server) * HOUR + n * 10**9, body) for n in range(reports)
            ]
    return sorted(received)


def both(one: Received, other: Received) -> Received:
    return sorted([*one, *other])


def quarantine(rollup: Rollup, on_way: OnWay | None = None) -> Quarantine:
    return Quarantine(
        rollup.influx,
        rollup.daily(),
        rollup.reconciler(),
        retention_s=rollup.retention_s,
        on_way=on_way,
    )


def of(days: Sequence[int], series: Series) -> Series:
    """The series on these days."""
    return {
        name: {key: fields for key, fields in points.items() if key[0] // DAY in days}
        for name, points in series.items()
    }


def wrong(network: Network, received: Received, now: int = NOW) -> list[str]:
    truth = Oracle(said(received), now).series(range(EPOCH, now // DAY + 1))
    return differences(network.series(), truth)


@pytest.mark.no_cover  # the slow repetition of what other tests cover
async def test_batch_taken_out_is_in_no_number_and_put_back_is_in_all(
    network: Network, state_dir: Path
) -> None:
    good = honest()
    everything = both(good, attack())
    network.lay_received(everything)
    async with network.rollup(state_dir) as rollup:
        await rollup.reconcile(NOW)
        assert not wrong(network, everything)

        found = await quarantine(rollup).preview(FIRST_SEEN, SPAN, moment(NOW))
        assert [(one.reports, one.servers, one.nodes) for one in found.days] == [(8, 8, 12)] * 2
        assert not wrong(network, everything)

        batch, _ = await quarantine(rollup).add(FIRST_SEEN, SPAN, "burst", moment(NOW))
        assert (batch.state, batch.reports, batch.node_reports) == (State.IN_FORCE, 16, 48)
        # Its days lose far more than a fifth, and the 30 after them have it in no window.
        assert not wrong(network, good)
        assert not await rollup.due(NOW)

        # Another collector's look, with a state directory of its own, changes nothing.
        async with network.rollup(state_dir.parent / "second") as second:
            await second.reconcile(NOW)
        assert not wrong(network, good)

        # Lines that are delivered again are the same points, and stay where they are.
        network.lay_received(everything)
        await rollup.reconcile(NOW)
        assert not wrong(network, good)

        released, _ = await quarantine(rollup).release(batch, moment(NOW))
        assert released.state is State.RELEASED
        assert not wrong(network, everything)
        assert not await rollup.due(NOW)
        with pytest.raises(QuarantineError, match="already"):
            await quarantine(rollup).release(released, moment(NOW))


async def test_batches_of_the_same_size_are_told_apart(network: Network, state_dir: Path) -> None:
    everything = both(honest(FEW), attack())
    names = [server_name(str(uuid.UUID(int=0xBAD + n, version=4))) for n in range(8)]
    network.lay_received(everything)
    async with network.rollup(state_dir) as rollup:
        await rollup.reconcile(SOON)
        one, other = (Pattern(servers=tuple(half)) for half in (names[:4], names[4:]))
        first, _ = await quarantine(rollup).add(one, SPAN, "", moment(SOON))
        await quarantine(rollup).release(first, moment(SOON))
        await quarantine(rollup).add(other, SPAN, "", moment(SOON))
    left = [
        (at, body)
        for at, body in everything
        if server_name(json.loads(body)["uuid"]) not in names[4:]
    ]
    assert not wrong(network, left, SOON)


@pytest.mark.parametrize(
    ("pattern", "fields"),
    [
        (Pattern(tags=(("asl_version", "asl3-6.6"),)), {"ast-ver": EVIL}),
        (Pattern(tags=(("channel", "evil"),)), {"nodes-channels": {"3000": "Evil/1"}}),
        (Pattern(disputed=2), {}),
        (Pattern(impossible_uptime=True), {"uptime": "10", "reload-time": "4000"}),
        (Pattern(first_seen=True, disputed=1), {}),
    ],
    ids=["server's tag", "node's tag", "disputed", "uptime", "both"],
)
async def test_each_pattern_finds_the_attackers_and_no_one_else(
    network: Network, state_dir: Path, pattern: Pattern, fields: dict[str, object]
) -> None:
    good = honest(FEW)
    network.lay_received(both(good, attack(fields, reports=2)))
    async with network.rollup(state_dir) as rollup:
        found = await quarantine(rollup).preview(pattern, SPAN, moment(SOON))
        bad = {server_name(str(uuid.UUID(int=0xBAD + n, version=4))) for n in range(8)}
        assert {name for name, _, _ in found.servers} == bad


async def test_reports_of_a_batch_that_are_on_their_way_are_marked_when_they_are_stored(
    network: Network, state_dir: Path
) -> None:
    good, bad = honest(FEW), attack(reports=3)
    # Of each server a report is stored; one is stored in the middle of it all, one afterwards.
    stored, meanwhile, later = bad[::3], bad[1::3], bad[2::3]
    network.lay_received(both(good, stored))
    told: list[tuple[int, tuple[int, int], int]] = []

    async def on_way(
        number: int, span: tuple[int, int], servers: Sequence[ServerPseudonym]
    ) -> None:
        told.append((number, span, len(set(servers))))
        network.lay_received(meanwhile)

    async with network.rollup(state_dir) as rollup:
        await rollup.reconcile(SOON)
        batch, _ = await quarantine(rollup, on_way).add(FIRST_SEEN, SPAN, "", moment(SOON))
        assert told == [(batch.number, (SPAN.start, SPAN.end), 8)]
        lines = "\n".join(lines_of(later)).encode()
        network.lay(marked(lines, batch.number).decode().split("\n"))
        await rollup.reconcile(SOON)
        assert not wrong(network, good, SOON)
        released, _ = await quarantine(rollup, on_way).release(batch, moment(SOON))
        assert told[1:] == [(batch.number, (SPAN.start, SPAN.end), 0)]
        assert released.state is State.RELEASED
        assert not wrong(network, both(good, bad), SOON)


async def test_only_reports_of_the_span_go_and_each_goes_whole(
    network: Network, state_dir: Path
) -> None:
    good = honest(FEW)
    bad = attack()
    network.lay_received(both(good, bad))
    # The span begins with an attacker's very report and ends with another's.
    times = [at for at, _ in bad if at // DAY == BAD[0]]
    span = Span(times[1], times[4])
    async with network.rollup(state_dir) as rollup:
        await rollup.reconcile(SOON)
        batch, _ = await quarantine(rollup).add(FIRST_SEEN, span, "", moment(SOON))
        assert (batch.reports, batch.node_reports) == (3, 9)
        left = [each for each in bad if not span.start <= each[0] < span.end]
        assert not wrong(network, both(good, left), SOON)


@pytest.mark.no_cover  # the slow repetition of what other tests cover
async def test_random_fleets_and_batches_equal_brute_force_and_stay_k_safe(
    network: Network, state_dir: Path
) -> None:
    received = random_fleet(21, days=DAYS, servers=30)
    network.lay_received(received)
    rng = random.Random(5)
    reports = said(received)
    names = sorted({one.server for one in reports})
    chosen = rng.sample(names, 9)
    pattern = Pattern(servers=tuple(server_name(name) for name in chosen))
    left = [one for one in reports if not (one.server in chosen and one.at // DAY in BAD)]
    truth = Oracle(left, NOW).series(range(EPOCH, NOW // DAY + 1))
    async with network.rollup(state_dir, k=5) as rollup:
        await rollup.reconcile(NOW)
        await quarantine(rollup).add(pattern, SPAN, "", moment(NOW))
        assert not unsafe(network.series(), truth, 5)
    # Days before, of and after the batch, and the first that has it in no window.
    days = (BAD[0] - 1, *BAD, BAD[-1] + 1, BAD[-1] + 31)
    async with network.rollup(state_dir.parent / "exact", k=1) as rollup:
        await rollup.roll(days, NOW, force=True)
        assert not differences(of(days, network.series()), of(days, truth))


async def test_days_that_begin_to_expire_and_days_to_come_are_refused(
    network: Network, state_dir: Path
) -> None:
    network.lay_received(both(honest(), attack()))
    async with network.rollup(state_dir, retention_s=36 * 86_400) as rollup:
        early, late = Span(SPAN.start - 2 * DAY, SPAN.end), Span(SPAN.start, NOW + DAY)
        none, fine = Pattern(tags=(("arch", "pdp11"),)), Span(NOW - 2 * DAY, NOW - DAY)
        with pytest.raises(QuarantineError, match="may have begun to expire"):
            await quarantine(rollup).preview(FIRST_SEEN, early, moment(NOW))
        with pytest.raises(QuarantineError, match="future"):
            await quarantine(rollup).add(FIRST_SEEN, late, "", moment(NOW))
        with pytest.raises(QuarantineError, match="no report"):
            await quarantine(rollup).add(none, fine, "", moment(NOW))
        assert not await quarantine(rollup).batches()
    with pytest.raises(QuarantineError):
        span_between(moment(NOW), moment(NOW))


def commands(databases: Databases, state: Path) -> dict[str, str]:
    return databases.environment | {"COLLECTOR_STATE_DIR": str(state), "COLLECTOR_K_ANONYMITY": "5"}


@pytest.fixture
def recent(databases: Databases, network: Network, state_dir: Path) -> tuple[dict[str, str], str]:
    """An attack on the day before yesterday by the real clock; its settings and its date."""
    lay_key(state_dir)
    today = time.time_ns() // DAY
    shift = (today - 2 - BAD[0]) * DAY
    received = [(at + shift, body) for at, body in both(honest(FEW), attack())]
    kept = [each for each in received if each[0] // DAY < today - 1]
    network.lay_received(kept)
    environment = commands(databases, state_dir)
    day = day_of(today - 2)
    first = (day - timedelta(days=4)).isoformat()
    done = command(environment, "rollup", "--from", first, "--to", day.isoformat())
    assert done.code == 0, done.err
    return environment, day.isoformat()


def nodes_of(databases: Databases, day: str) -> int:
    rows = databases.server.query(
        f"SELECT nodes FROM daily_usage WHERE time = '{day}T00:00:00Z'", databases.daily
    )
    return int(rows[0]["nodes"])


def number_in(done: Done) -> str:
    found = re.search(r"batch (\d+)", done.out)
    assert found, done.out + done.err
    return found[1]


def test_commands_show_take_list_and_put_back(
    databases: Databases, recent: tuple[dict[str, str], str]
) -> None:
    environment, day = recent
    span = ("--from", day, "--to", day, "--first-seen")
    shown = command(environment, "quarantine", "preview", *span)
    assert shown.code == 0, shown.err
    assert "8 from 8 servers" in shown.out
    assert nodes_of(databases, day) == 32

    unsure = command(environment, "quarantine", "add", *span, "--note", "burst", answer="n\n")
    assert unsure.code == 1
    assert nodes_of(databases, day) == 32

    done = command(environment, "quarantine", "add", *span, "--note", "burst", "--yes")
    assert done.code == 0, done.err
    assert nodes_of(databases, day) == 24
    number = number_in(done)
    listed = command(environment, "quarantine", "list", columns=80)
    assert number in listed.out
    assert "in-force" in listed.out
    assert "burst" in listed.out
    # In a terminal that is too narrow for all of it, the number that `release` takes is whole.
    assert number in command(environment, "quarantine", "list", columns=50).out

    back = command(environment, "quarantine", "release", number, "--yes")
    assert back.code == 0, back.err
    assert nodes_of(databases, day) == 32
    assert command(environment, "quarantine", "release", number, "--yes").code == 1
    assert "no batch" in command(environment, "quarantine", "release", "7", "--yes").err
    assert "no batch was interrupted" in command(environment, "quarantine", "resume").out


def test_values_that_only_quarantined_reports_say_give_their_places_back(
    databases: Databases, network: Network, state_dir: Path
) -> None:
    lay_key(state_dir)
    today = time.time_ns() // DAY
    shift = (today - 2 - BAD[0]) * DAY
    evil = attack({"ast-ver": EVIL, "arch": "evil", "distro": "Debian"})
    received = [(at + shift, body) for at, body in both(honest(FEW), evil)]
    network.lay_received([each for each in received if each[0] // DAY < today - 1])
    memory = Memory(state_dir)
    held = [
        TagValue("arch", "evil", today, firm=True),
        TagValue("arch", "x86_64", today, firm=True),
        TagValue("asterisk_version", "66.6.0", today, firm=True),
        TagValue("distro", "Debian", today, firm=True),
        TagValue("distro", "Unheard-of", today),
    ]
    memory.tags.keep([*held, Sighting("asl_version", "asl3-6.6", "s", today)])
    day = day_of(today - 2).isoformat()
    span = ("--from", day, "--to", day, "--first-seen")
    environment = commands(databases, state_dir)
    done = command(environment, "quarantine", "add", *span, "--note", "burst", "--yes")
    assert done.code == 0, done.err
    assert memory.tags.values() == [held[1], *held[3:]]
    assert memory.tags.server_counts() == {}
    # They may come again, and a batch that is put back takes nothing from others.
    assert command(environment, "quarantine", "release", number_in(done), "--yes").code == 0
    assert memory.tags.values() == [held[1], *held[3:]]


def test_fewer_than_k_are_told_of_only_on_purpose(
    databases: Databases, recent: tuple[dict[str, str], str]
) -> None:
    environment, day = recent
    name = server_name(str(uuid.UUID(int=0xBAD, version=4)))
    add = ("quarantine", "add", "--from", day, "--to", day, "--server", name, "--note", "", "--yes")
    refused = command(environment, *add)
    assert refused.code == 1
    assert "--below-k" in refused.err
    assert nodes_of(databases, day) == 32
    assert command(environment, *add, "--below-k").code == 0
    assert nodes_of(databases, day) == 31
    # The list tells of no pseudonym: an owner may have theirs erased.
    batches = json.dumps(databases.server.query("SELECT * FROM quarantine_batch", databases.raw))
    assert "1 servers by name" in batches
    assert name not in batches


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "give at least one criterion"),
        (("--tag", "colour=red"), "not a tag"),
        (("--tag", "arch"), "NAME=VALUE"),
    ],
)
def test_pattern_that_says_nothing_is_refused(
    databases: Databases, state_dir: Path, options: tuple[str, ...], said: str
) -> None:
    span = ("--from", "yesterday", "--to", "yesterday")
    done = command(commands(databases, state_dir), "quarantine", "preview", *span, *options)
    assert done.code == 2
    assert said in done.err


def test_killed_at_any_moment_it_is_finished_later(
    databases: Databases, network: Network, recent: tuple[dict[str, str], str]
) -> None:
    environment, day = recent
    rng = random.Random(3)
    points = network.databases.server.count(databases.raw, "node_report", "node")

    def killed(*arguments: str, after: float) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "collector", "quarantine", *arguments],
            env=clean_environment() | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    add = ("add", "--from", day, "--to", day, "--first-seen", "--note", "x", "--yes")
    for _ in range(3):
        killed(*add, after=rng.uniform(0.8, 2.5))
        killed("resume", after=rng.uniform(0.8, 2.0))
    assert command(environment, "quarantine", "resume").code == 0
    command(environment, "quarantine", *add)
    assert nodes_of(databases, day) == 24
    listed = databases.server.query("SELECT * FROM quarantine_batch", databases.raw)
    assert {row["state"] for row in listed} == {"in-force"}
    for row in listed:
        number = str(row["time"] // 10**9)
        killed("release", number, "--yes", "--below-k", after=rng.uniform(0.8, 2.0))
        assert command(environment, "quarantine", "resume").code == 0
        command(environment, "quarantine", "release", number, "--yes", "--below-k")
    assert nodes_of(databases, day) == 32
    # No point was lost on the way, and none made.
    assert network.databases.server.count(databases.raw, "node_report", "node") == points


def test_owner_erases_what_is_in_quarantine_too(
    databases: Databases, serve: StartServe, state_dir: Path
) -> None:
    collector = serve(databases.environment)
    server, bodies = databases.server, [encoded(report([7000 + n])) for n in range(6)]
    assert {post(collector.url, body).status for body in bodies} == {200}
    eventually(lambda: server.count(databases.raw, "node_report", "node") == 6)
    environment = commands(databases, state_dir)
    add = ("quarantine", "add", "--from", "today", "--to", "today", "--first-seen")
    done = command(environment, *add, "--note", "burst", "--yes")
    assert done.code == 0, done.err
    assert server.count(databases.raw, "node_report", "quarantine") == 6
    answer = post(collector.url, bodies[0], path="/v1/my-data/erase")
    assert answer.status == 200
    assert server.count(databases.raw, "node_report", "node") == 5
    assert server.count(databases.raw, "server_report", "server") == 5
    back = command(environment, "quarantine", "release", number_in(done), "--yes")
    assert back.code == 0, back.err
    rows = server.query("SELECT last(nodes) AS nodes FROM daily_usage", databases.daily)
    assert rows[0]["nodes"] == 5
