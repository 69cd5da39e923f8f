"""Reports at awkward moments of a clock: each lands in one day only, and counts once."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from collector.intakes.asl.points import ReportConverter
from tests.conftest import Databases
from tests.fleets import EPOCH
from tests.network import Network, converter, lines_of
from tests.oracle import DAY, HOUR, Points, S
from tests.sender import encoded, report

MIDNIGHT = (EPOCH + 1) * DAY
MINUTE = 60 * S
OLD = "Asterisk 20.7.0+asl3-1.3-1.deb12"
NEW = "Asterisk 22.2.0+asl3-3.3.0-1.deb12"


class Days:
    """Reports received at given moments, and the two days around `MIDNIGHT` as rolled up."""

    def __init__(self, network: Network, state: Path) -> None:
        self._network = network
        self._state = state
        self._intake = converter()

    def restart(self, *, last: int) -> None:
        """The collector starts again; `last` is the newest time in its outbox."""
        self._intake = converter(last=last)

    def receive(
        self,
        at: int,
        server: int,
        *,
        nodes: int = 1,
        version: str = NEW,
        intake: ReportConverter | None = None,
    ) -> None:
        """A report of a server with so many nodes of its own."""
        numbers = [3000 + 10 * server + n for n in range(nodes)]
        body = encoded(report(numbers, str(UUID(int=server)), ast_ver=version))
        self._network.lay(lines_of([(at, body)], intake or self._intake))

    async def rolled(self) -> tuple[dict[str, int], dict[str, int]]:
        """`daily_usage` of the day before midnight and of the one after."""
        now = MIDNIGHT + DAY + 2 * HOUR
        async with self._network.rollup(self._state) as rollup:
            await rollup.roll([EPOCH, EPOCH + 1], now)
        days = self._network.found("daily_usage")
        nothing: dict[str, int] = {"reports": 0, "node_reports": 0, "nodes": 0}
        return days.get((EPOCH * DAY, ()), nothing), days.get((MIDNIGHT, ()), nothing)

    def hours(self) -> Points:
        return self._network.found("hourly_usage")

    def versions(self, time: int) -> dict[str, int]:
        """Nodes by AllStarLink version on a day."""
        return {
            dict(tags)["value"]: fields["nodes"]
            for (at, tags), fields in self._network.found("daily_nodes").items()
            if at == time and dict(tags)["dimension"] == "asl_version"
            if dict(tags)["within"] == "all"
        }


@pytest.fixture
def days(databases: Databases, state_dir: Path) -> Days:
    network = Network(databases)
    network.create()
    return Days(network, state_dir)


def counted(day: dict[str, int]) -> tuple[int, int, int]:
    return day["reports"], day["node_reports"], day["nodes"]


async def test_the_last_nanosecond_and_midnight_are_of_different_days(days: Days) -> None:
    days.receive(MIDNIGHT - 1, 1, nodes=3)
    days.receive(MIDNIGHT, 2, nodes=2)
    before, after = await days.rolled()
    assert counted(before) == (1, 3, 3)
    assert counted(after) == (1, 2, 2)


async def test_reports_crowded_before_midnight_are_each_whole_in_one_day(days: Days) -> None:
    for server in range(1, 6):
        days.receive(MIDNIGHT - 1, server, nodes=4)
    before, after = await days.rolled()
    assert before["reports"] + after["reports"] == 5
    for day in (before, after):
        assert day["node_reports"] == 4 * day["reports"]
        assert day["nodes"] == 4 * day["reports"]


async def test_the_first_and_the_last_moment_of_an_hour_count_in_it(days: Days) -> None:
    noon = EPOCH * DAY + 12 * HOUR
    days.receive(noon, 1)
    days.receive(noon + HOUR - 100_000, 2)
    days.receive(noon + HOUR, 3)
    await days.rolled()
    hours = days.hours()
    assert hours[noon, ()]["reports"] == 2
    assert hours[noon, ()]["nodes"] == 2
    assert hours[noon + HOUR, ()]["reports"] == 1
    assert hours[noon + HOUR, ()]["nodes_24h"] == 3


async def test_a_clock_set_back_ten_minutes_loses_and_doubles_nothing(days: Days) -> None:
    noon = EPOCH * DAY + 12 * HOUR
    days.receive(noon, 1, nodes=2, version=OLD)
    days.receive(noon - 10 * MINUTE, 2, nodes=2)
    days.receive(noon - 10 * MINUTE, 3)
    before, after = await days.rolled()
    assert counted(before) == (3, 5, 5)
    assert counted(after) == (0, 0, 0)


async def test_after_a_clock_was_set_back_the_report_that_came_last_still_wins(days: Days) -> None:
    noon = EPOCH * DAY + 12 * HOUR
    days.receive(noon, 1, version=OLD)
    days.receive(noon - 10 * MINUTE, 1, version=NEW)
    before, _ = await days.rolled()
    assert counted(before) == (2, 2, 1)
    assert days.versions(EPOCH * DAY) == {"asl3-3.3.0": 1}


async def test_a_clock_set_back_over_midnight_puts_a_report_in_one_day(days: Days) -> None:
    days.receive(MIDNIGHT + 5 * MINUTE, 1, nodes=3)
    days.receive(MIDNIGHT - 5 * MINUTE, 2, nodes=3)
    before, after = await days.rolled()
    assert counted(before) == (0, 0, 0)
    assert counted(after) == (2, 6, 6)


async def test_a_clock_set_back_while_the_collector_was_down_overwrites_nothing(days: Days) -> None:
    noon = EPOCH * DAY + 12 * HOUR
    days.receive(noon, 1)
    days.restart(last=noon)
    days.receive(noon - 10 * MINUTE, 2)
    # The same moment as the first one's, had its clock been right.
    days.receive(noon, 3)
    before, _ = await days.rolled()
    assert counted(before) == (3, 3, 3)


async def test_two_reports_in_the_repeated_second_of_a_leap_second_count_once_each(
    days: Days,
) -> None:
    # At 23:59:60 a POSIX clock shows 23:59:59 again.
    second = MIDNIGHT - S
    days.receive(second + S // 2, 1, nodes=2)
    days.receive(second + S // 2, 2, nodes=2)
    days.receive(second + S // 4, 3, nodes=2)
    days.receive(MIDNIGHT + S // 4, 4, nodes=2)
    before, after = await days.rolled()
    assert counted(before) == (3, 6, 6)
    assert counted(after) == (1, 2, 2)


async def test_reports_that_two_collectors_receive_in_one_nanosecond_both_count(days: Days) -> None:
    noon = EPOCH * DAY + 12 * HOUR
    days.receive(noon, 1, nodes=2)
    days.receive(noon, 2, nodes=2, intake=converter(instance=1))
    before, _ = await days.rolled()
    assert counted(before) == (2, 4, 4)
