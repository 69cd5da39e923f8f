"""Bodies of one pass of the loop, of a sender that only this test has: one batch, one commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from collector.intakes.gather import Gather
from collector.metrics import Metrics
from collector.outbox import FILE, Entry, Outbox, OutboxFile
from collector.privacy import Pseudonymiser
from collector.problems import Reason, Refusal
from tests.sender import KEY

SERVER = Pseudonymiser(KEY).server("5f0e2d1c-0000-4000-9000-000000000001")


class Words:
    """A toy sender: a body is words, each of which is an entry; some words do something else."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.durable: list[int] = []

    def parse(self, body: bytes) -> list[str] | Refusal:
        self.steps.append("parse")
        words = body.decode().split()
        if words == ["fail"]:
            raise KeyError(body)
        return words or Refusal(Reason.MALFORMED_JSON, "no word")

    def decide(self, parsed: list[str], now_ns: int) -> int | Refusal:
        self.steps.append("decide")
        match parsed:
            case ["no"]:
                return Refusal(Reason.RATE_LIMITED, "no", 7)
            case ["fail", "late"]:
                raise ValueError(now_ns)
            case ["nothing"]:
                return 0
        return len(parsed)

    def entries(self, outcome: int) -> Sequence[Entry]:
        return [Entry(1, SERVER, 1, b"m f=1i %d" % n) for n in range(outcome)]

    def stored(self, outcomes: Sequence[int]) -> None:
        self.durable += outcomes


class Gathering:
    def __init__(self, path: Path) -> None:
        self.metrics = Metrics()
        self.path = path / FILE
        self.outbox = Outbox(self.path, max_bytes=1 << 30, keep_seconds=60, metrics=self.metrics)
        self.words = Words()
        self.gather = Gather(self.outbox, self.words)

    @property
    def commits(self) -> float:
        return self.metrics.registry.get_sample_value("collector_outbox_commits_total") or 0.0

    async def outcomes(self, bodies: list[bytes]) -> list[int | Refusal | BaseException]:
        waiting = [self.gather.outcome(body) for body in bodies]
        return await asyncio.gather(*waiting, return_exceptions=True)


@pytest.fixture
async def gathering(tmp_path: Path) -> AsyncIterator[Gathering]:
    made = Gathering(tmp_path)
    yield made
    await made.outbox.close()


async def test_bodies_of_one_pass_are_one_batch_step_by_step_and_one_commit(
    gathering: Gathering,
) -> None:
    before = gathering.commits
    assert await gathering.outcomes([b"a", b"a b", b"a b c"]) == [1, 2, 3]
    assert gathering.words.steps == ["parse"] * 3 + ["decide"] * 3
    assert gathering.words.durable == [1, 2, 3]
    assert gathering.commits == before + 1
    with OutboxFile(gathering.path) as file:
        assert sum(one.points for one in file.read(max_lines=100)) == 6


async def test_refusals_and_errors_are_told_to_their_own_sender_only(gathering: Gathering) -> None:
    found = await gathering.outcomes([b"a", b"", b"fail", b"no", b"fail late", b"nothing", b"b c"])
    assert [one if isinstance(one, int) else type(one) for one in found] == [
        *(1, Refusal, KeyError, Refusal, ValueError, 0, 2)
    ]
    assert gathering.words.durable == [1, 2]


async def test_what_needs_no_entry_is_told_without_a_commit(gathering: Gathering) -> None:
    before = gathering.commits
    assert await gathering.outcomes([b"nothing", b"nothing"]) == [0, 0]
    assert gathering.commits == before
    assert gathering.words.durable == []


async def test_nothing_is_counted_as_stored_where_the_outbox_could_not_store(
    gathering: Gathering,
) -> None:
    with OutboxFile(gathering.path) as file:
        file._database.execute("DROP TABLE entries")  # noqa: SLF001
    first, nothing, last = await gathering.outcomes([b"a", b"nothing", b"a b"])
    for refused in (first, last):
        assert isinstance(refused, Refusal)
        assert refused.reason is Reason.UNAVAILABLE
        assert refused.retry_after
    assert nothing == 0
    assert gathering.words.durable == []


async def test_sender_that_went_away_is_not_missed_by_the_others(gathering: Gathering) -> None:
    gone, stays = gathering.gather.outcome(b"a"), gathering.gather.outcome(b"b")
    gone.cancel()
    assert await stays == 1
    assert gathering.words.durable == [1, 1]
