"""The simulated fleet: the client's layout to the byte, and a history that can be believed."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tools.simulation.bodies import Odd, Telemetry
from tools.simulation.catalogue import PLATFORMS, RELEASES
from tools.simulation.fleet import Fleet
from tools.simulation.timeline import DAY, SECOND

pytestmark = pytest.mark.no_cover  # the project's tools are not measured

SAMPLES = sorted((Path(__file__).parents[1] / "cases" / "asl").glob("*.json"))
SAMPLE_NAMES = {
    "armv7l-raspbian",
    "multi-node-mixed",
    "readme-sample",
    "ubuntu-release-dotted",
    "uptime-missing",
}
START = date(2025, 3, 1)
DAYS = 70
BARE_WORD = re.compile(rb'("nodes-reg-iax" : \[ (?:[\d",]*,)?)[a-z][\w.-]* \]')


@dataclass(frozen=True)
class Report:
    received_ns: int
    said: dict[str, Any]
    bare_word: bool

    @property
    def server(self) -> str:
        return str(self.said["uuid"])

    @property
    def public(self) -> set[int]:
        return {int(number) for number in self.said["nodes"] if int(number) >= 2000}

    @property
    def day(self) -> int:
        return self.received_ns // DAY


def read(received_ns: int, body: bytes) -> Report:
    """A report as it can be read once a bare word is out of it; any other flaw raises."""
    mended, words = BARE_WORD.subn(lambda match: match[1].rstrip(b",") + b" ]", body)
    return Report(received_ns, json.loads(mended), bool(words))


@cache
def fleet() -> Fleet:
    return Fleet(seed=7, servers=400, start=START, days=DAYS)


@cache
def reports() -> tuple[Report, ...]:
    """Every report of the fleet, in order of time."""
    days = (fleet().day(START + timedelta(days=n)) for n in range(DAYS))
    return tuple(read(each.received_ns, each.body) for day in days for each in day)


@cache
def by_server() -> dict[str, list[Report]]:
    servers = defaultdict(list)
    for report in reports():
        servers[report.server].append(report)
    return dict(servers)


def servers_by_day() -> list[set[str]]:
    days: dict[int, set[str]] = defaultdict(set)
    for report in reports():
        days[report.day].add(report.server)
    return [days[day] for day in sorted(days)]


def seconds(text: str) -> int | None:
    return int(text) if text else None


@pytest.mark.parametrize("name", sorted(SAMPLE_NAMES))
def test_rendering_what_a_sample_says_gives_its_bytes(name: str) -> None:
    body = next(path for path in SAMPLES if path.stem == name).read_bytes()
    said = json.loads(body)
    stencil = Telemetry(
        uuid=said["uuid"],
        asterisk=said["ast-ver"],
        nodes=said["nodes"],
        registered_http=said["nodes-reg-http"],
        registered_iax=said["nodes-reg-iax"],
        channels=said["nodes-channels"],
        distro=said["distro"],
        release=said["release"],
        kernel=said["kernel"],
        arch=said["arch"],
        packages=said["pkgs"],
    ).stencil()
    assert stencil.body(seconds(said["uptime"]), seconds(said["reload-time"])) == body


def test_same_seed_gives_the_same_bytes() -> None:
    one, two, other = (Fleet(seed=seed, servers=40, start=START, days=5) for seed in (1, 1, 2))
    day = START + timedelta(days=3)
    assert one.day(day) == two.day(day)
    assert one.day(day) != other.day(day)


def test_any_day_alone_equals_that_day_in_sequence() -> None:
    one, two = (Fleet(seed=3, servers=40, start=START, days=6) for _ in range(2))
    days = [START + timedelta(days=n) for n in range(6)]
    in_sequence = [one.day(day) for day in days]
    assert [two.day(day) for day in reversed(days)] == in_sequence[::-1]
    whole = one.between(0, 1 << 62)
    assert whole == [each for day in in_sequence for each in day]


def test_submissions_come_in_order_of_time_and_inside_their_day() -> None:
    submissions = fleet().day(START)
    times = [each.received_ns for each in submissions]
    assert times == sorted(times)
    assert {datetime.fromtimestamp(at // SECOND, UTC).date() for at in times} == {START}


def test_between_gives_the_next_seconds_and_never_one_twice() -> None:
    day = fleet().day(START)
    middle = day[len(day) // 2].received_ns
    since, until = day[0].received_ns, day[-1].received_ns + 1
    assert fleet().between(since, middle) + fleet().between(middle, until) == day


@pytest.mark.parametrize("day", [START - timedelta(days=1), START + timedelta(days=DAYS)])
def test_day_outside_the_fleet_is_refused(day: date) -> None:
    with pytest.raises(ValueError, match="not one of the fleet's days"):
        fleet().day(day)


@pytest.mark.parametrize(("servers", "days", "growth"), [(0, 1, 0.2), (1, 0, 0.2), (1, 1, -1.0)])
def test_empty_fleet_is_refused(servers: int, days: int, growth: float) -> None:
    with pytest.raises(ValueError, match="a fleet needs"):
        Fleet(seed=1, servers=servers, start=START, days=days, growth=growth)


def test_fleet_of_one_server_reports() -> None:
    assert Fleet(seed=1, servers=1, start=START, days=30).between(0, 1 << 62)


def test_fleet_grows_by_a_fifth_in_a_year_to_about_the_size_asked_for() -> None:
    year = Fleet(seed=5, servers=600, start=START, days=372)

    def size(first_day: int) -> float:
        days = [year.day(START + timedelta(days=first_day + n)) for n in range(7)]
        return sum(len({each.body[:50] for each in day}) for day in days) / 7

    assert 0.92 * 600 < size(365) < 600
    assert 1.15 < size(365) / size(0) < 1.25


def test_newest_release_is_adopted_steadily_in_an_s_shape() -> None:
    newest = RELEASES[-1].asl
    weeks = []
    for week in range(DAYS // 7):
        last = {report.server: report for report in reports() if week_of(report) == week}
        on_it = sum(newest in report.said["ast-ver"] for report in last.values())
        weeks.append(on_it / len(last))
    released = DAYS // 7 - int(RELEASES[-1].age // 7) - 1
    assert max(weeks[:released]) == 0
    assert weeks == sorted(weeks)
    assert 0.5 < weeks[-1] < 0.9
    gains = [after - before for before, after in pairwise(weeks)]
    assert gains.index(max(gains)) > released - 1
    assert gains[-1] < max(gains) / 2


def week_of(report: Report) -> int:
    return (report.day - (START - date(1970, 1, 1)).days) // 7


def test_some_servers_never_upgrade_and_none_goes_back() -> None:
    rank = {release.asl: place for place, release in enumerate(RELEASES)}
    stayed = 0
    for history in by_server().values():
        words = [re.search(r"asl3-[\d.]+\d(?=-)", report.said["ast-ver"]) for report in history]
        ranks = [rank[word[0]] for word in words if word]
        assert ranks == sorted(ranks)
        stayed += bool(ranks) and max(ranks) <= 3 and history[-1].day == reports()[-1].day
    assert 0.02 < stayed / len(servers_by_day()[-1]) < 0.15


def test_reports_follow_each_other_in_24_hours_until_a_boot() -> None:
    ordinary = cycles_seen = 0
    for history in by_server().values():
        for before, after in pairwise(history):
            if not (before.said["uptime"] and after.said["uptime"]):
                continue
            gap = after.received_ns - before.received_ns
            longer = int(after.said["uptime"]) - int(before.said["uptime"])
            if abs(gap / SECOND - longer) > 2:
                continue
            cycles = round(gap / DAY)
            assert cycles >= 1
            assert 0 < gap - cycles * DAY < cycles * 4 * SECOND
            ordinary += cycles == 1
            cycles_seen += 1
    assert ordinary > 0.98 * cycles_seen > 0.7 * len(reports())


def test_first_report_after_a_boot_comes_two_minutes_later() -> None:
    young = [int(each.said["uptime"]) for each in reports() if each.said["uptime"]]
    assert min(young) >= 0
    assert sum(100 < uptime <= 121 for uptime in young) > 0.03 * len(young)


def test_reload_is_never_older_than_the_start_of_asterisk() -> None:
    pairs = [
        (int(each.said["reload-time"]), int(each.said["uptime"]))
        for each in reports()
        if each.said["uptime"]
    ]
    assert all(0 <= reload <= uptime for reload, uptime in pairs)
    assert any(reload < uptime for reload, uptime in pairs)


def test_reboots_give_duplicates_and_drop_outs_give_silence() -> None:
    a_day = Counter((report.server, report.day) for report in reports())
    assert 0.005 < sum(count > 1 for count in a_day.values()) / len(a_day) < 0.1
    silences = [
        after.day - before.day
        for history in by_server().values()
        for before, after in pairwise(history)
    ]
    assert sum(days >= 3 for days in silences) > 20


def test_servers_are_born_and_die() -> None:
    days = servers_by_day()
    first, last = set().union(*days[:10]), set().union(*days[-10:])
    assert len(last - first) > 5
    assert len(first - last) > 5


def test_weekends_are_a_little_busier() -> None:
    sizes: dict[bool, list[int]] = {True: [], False: []}
    for number, servers in enumerate(servers_by_day()):
        sizes[(START + timedelta(days=number)).weekday() >= 5].append(len(servers))
    weekend, week = (sum(sizes[each]) / len(sizes[each]) for each in (True, False))
    assert 1 < weekend / week < 1.05


def test_a_node_has_one_server_at_a_time_and_some_move() -> None:
    owners: dict[int, list[str]] = defaultdict(list)
    for report in reports():
        for number in report.public:
            if owners[number][-1:] != [report.server]:
                owners[number].append(report.server)
    assert all(len(held_by) == len(set(held_by)) for held_by in owners.values())
    assert sum(len(held_by) > 1 for held_by in owners.values()) > 10
    assert all(2000 <= number <= 699_999 for number in owners)
    assert any(report.public != set(map(int, report.said["nodes"])) for report in reports())


def test_a_node_moves_between_servers_that_both_go_on_reporting() -> None:
    held: dict[str, set[int]] = {}
    gave: dict[int, str] = {}
    taken_over = 0
    for report in reports():
        before = held.get(report.server, report.public)
        gave.update(dict.fromkeys(before - report.public, report.server))
        taken_over += sum(number in gave for number in report.public - before)
        held[report.server] = report.public
    assert taken_over > 0


def test_uuids_are_random_ones_of_version_4() -> None:
    assert {UUID(server).version for server in by_server()} == {4}


def test_only_bodies_with_a_bare_word_are_not_json() -> None:
    submissions = fleet().between(0, 1 << 62)
    for report, submission in zip(reports(), submissions, strict=True):
        if report.bare_word:
            with pytest.raises(json.JSONDecodeError):
                json.loads(submission.body)
        else:
            assert json.loads(submission.body) == report.said


@pytest.mark.parametrize("odd", Odd)
def test_every_odd_client_is_in_a_fleet_of_a_hundred(odd: Odd) -> None:
    small = Fleet(seed=11, servers=100, start=START, days=10).between(0, 1 << 62)
    assert any(shows(odd, read(each.received_ns, each.body)) for each in small)


def shows(odd: Odd, report: Report) -> bool:
    said = report.said
    signs: dict[Odd, bool] = {
        Odd.BARE_WORD: report.bare_word,
        Odd.EMPTY_UPTIME: said["uptime"] == "" == said["reload-time"],
        Odd.ARMV7L: said["arch"] == "armv7l",
        Odd.QUOTED_NUMBERS: all(isinstance(number, str) for number in said["nodes"]),
        Odd.SAME_NODE_TWICE: len(said["nodes"]) > len(set(said["nodes"])),
        Odd.PRIVATE_ONLY: not report.public,
        Odd.FOREIGN_BUILD: said["ast-ver"].startswith("Asterisk GIT-master-"),
    }
    return signs[odd]


def test_shares_are_those_of_the_network() -> None:
    last = {
        report.server: report.said for report in reports() if report.day > reports()[-1].day - 7
    }
    channels = Counter(
        channel
        for said in last.values()
        for number, channel in said["nodes-channels"].items()
        if int(number) >= 2000
    )
    assert 0.55 < channels["SimpleUSB"] / channels.total() < 0.75
    assert channels["Radio"] > channels["USRP"] > channels["Voter"]
    assert channels[""] > 0
    arches = Counter(said["arch"] for said in last.values())
    assert [arch for arch, _ in arches.most_common(3)] == ["aarch64", "x86_64", "armv7l"]
    common = {platform.distro for platform in PLATFORMS}
    rare = Counter(said["distro"] for said in last.values() if said["distro"] not in common)
    assert rare
    assert max(rare.values()) < 5
    single = sum(len(said["nodes"]) == 1 for said in last.values())
    assert 0.6 < single / len(last) < 0.85
