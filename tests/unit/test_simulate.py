"""What simulated reports become on their way, with an InfluxDB that only answers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date, timedelta

import pytest

from collector.influx import Influx, InfluxError
from collector.influx.client import Denied, Rejected, TooLarge, Unavailable, WriteResult, Written
from collector.intakes.asl.points import ReportConverter
from collector.schema.budgets import ASL_BUDGETS
from tools.simulation.fleet import Fleet, Submission
from tools.simulation.sending import Reply, Tally, converter_of_past, days_kept, lay_down

START = date(2026, 3, 1)
DAYS = [START + timedelta(days=n) for n in range(4)]


class Answering(Influx):
    """Gives one answer to every write, and keeps what was sent."""

    def __init__(self, answer: WriteResult) -> None:
        super().__init__("http://127.0.0.1:9")
        self.answer = answer
        self.writes: list[list[bytes]] = []

    async def write(self, database: str, lines: bytes) -> WriteResult:
        self.writes.append(lines.split(b"\n"))
        return self.answer


def converter(key: bytes = b"k" * 32) -> ReportConverter:
    return converter_of_past(key, instance=7, budgets=ASL_BUDGETS, memory_days=4)


def fleet(servers: int = 100) -> Fleet:
    return Fleet(seed=1, servers=servers, start=START, days=len(DAYS))


async def laid(influx: Influx, days: Iterable[Iterable[Submission]]) -> tuple[Tally, int]:
    done: list[None] = []
    tally = await lay_down(days, converter(), influx, done=lambda: done.append(None))
    return tally, len(done)


async def test_every_submission_is_stored_or_counted_as_refused() -> None:
    influx = Answering(Written())
    days = [fleet().day(day) for day in DAYS]
    tally, done = await laid(influx, days)
    lines = [line for write in influx.writes for line in write]
    assert tally.accepted + tally.refused.total() == sum(map(len, days))
    assert tally.points == len(lines)
    assert tally.accepted == sum(line.startswith(b"server_report,") for line in lines)
    assert set(tally.refused) == {"no-public-nodes"}
    assert done == len(DAYS)


async def test_points_keep_the_time_of_their_submission_and_are_unique() -> None:
    influx = Answering(Written())
    days = [fleet().day(day) for day in DAYS]
    await laid(influx, days)
    times = [int(line.rsplit(b" ", 1)[1]) for write in influx.writes for line in write]
    received = [each.received_ns for day in days for each in day]
    assert len(set(times)) == len(times)
    assert {at % 1000 for at in times} == {7}
    assert received[0] - 1000 <= min(times)
    assert max(times) <= received[-1] + 10**6


async def test_writes_hold_at_most_5000_points() -> None:
    influx = Answering(Written())
    await laid(influx, [fleet(1000).day(day) for day in DAYS])
    assert len(influx.writes) > 1
    assert all(0 < len(write) <= 5000 for write in influx.writes)


async def test_fleet_that_sends_nothing_writes_nothing() -> None:
    influx = Answering(Written())
    tally, _ = await laid(influx, [[]])
    assert (tally.accepted, tally.refusals, influx.writes) == (0, "none", [])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Rejected("points beyond retention policy", 3), "points beyond retention policy"),
        (Denied(401, "authorization failed"), r"\(401\): authorization failed"),
        (TooLarge(), "too large"),
        (Unavailable("InfluxDB cannot be reached"), "cannot be reached"),
    ],
    ids=["rejected", "denied", "too-large", "unavailable"],
)
async def test_write_that_influxdb_does_not_take_ends_the_laying_down(
    answer: WriteResult, words: str
) -> None:
    with pytest.raises(InfluxError, match=words):
        await laid(Answering(answer), [fleet().day(START)])


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        (200, '{"status":"accepted"}', None),
        (400, json.dumps({"reason": "no-public-nodes"}), "no-public-nodes"),
        (503, json.dumps({"reason": "unavailable"}), "unavailable"),
        (502, "<html>Bad Gateway</html>", "http-502"),
        (404, "[]", "http-404"),
        (500, "{}", "http-500"),
    ],
)
def test_reply_has_one_word_for_a_refusal(status: int, text: str, reason: str | None) -> None:
    assert Reply(status, text).reason == reason


def test_refusals_are_worded_by_reason() -> None:
    tally = Tally(accepted=3)
    tally.refused.update({"rate-limited": 1, "no-public-nodes": 1200})
    assert tally.refusals == "1,200 no-public-nodes, 1 rate-limited"


@pytest.mark.parametrize(
    ("back", "kept"), [((91, 0), 0), ((90, 89, 1, 0), 2), ((3, 2), 2)], ids=["none", "edge", "all"]
)
def test_days_kept_are_whole_and_inside_retention(back: tuple[int, ...], kept: int) -> None:
    today = date(2026, 6, 1)
    days = [today - timedelta(days=each) for each in back]
    found = days_kept(days, today=today, retention_s=90 * 86_400)
    assert len(found) == kept
    assert all(timedelta(0) < today - day < timedelta(days=90) for day in found)
