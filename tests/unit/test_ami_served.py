"""Recorded sessions served by a manager interface: each TRUTH is what is stored.

The bytes are those of the recording, in pieces of 97; the connection breaks at random moments.
"""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest

from collector.intakes.ami.protocol import Drop
from tests.ami_answers import fresh
from tests.ami_claims import Claim
from tests.ami_replay import COUNTED, SUMMED, replay
from tests.ami_served import Served
from tests.ami_truths import read_truths
from tests.unit.test_ami_truths import fails, names_of
from tools.replay.captures import AMI, read_capture

SEED = int(os.environ.get("TEST_LONG", "15"))
BREAKS = 25 if "TEST_LONG" in os.environ else 5


def ids(path: Path) -> str:
    return path.name.split("-")[0]


@pytest.mark.parametrize("path", AMI, ids=ids)
async def test_every_truth_is_stored_of_a_session_in_pieces_of_97_bytes(path: Path) -> None:
    capture = read_capture(path)
    claims = [one for one in read_truths(capture) if isinstance(one, Claim)]
    async with Served(capture, names=names_of(capture), cut=97).running() as served:
        await served.advance(10_000)
        wrong = [f"{one.at} {one.what}" for one in claims if fails(served.stored, one)]
    assert not wrong, "\n".join(wrong[:40])
    lost = {Drop.TOO_LONG, Drop.MALFORMED, Drop.FOREIGN, Drop.LIST_TOO_LONG, Drop.FAILED}
    assert not lost & served.stored.drops.keys()


@pytest.mark.no_cover  # the slow repetition of what other tests cover
@pytest.mark.parametrize("path", AMI, ids=ids)
async def test_gauges_are_true_and_counts_not_too_high_wherever_the_connection_breaks(
    path: Path,
) -> None:
    capture = read_capture(path)
    claims = [one for one in read_truths(capture) if isinstance(one, Claim)]
    chance = random.Random(f"{SEED} {path.name}")
    async with Served(capture, names=names_of(capture), cut=97).running() as served:
        begin, end = served.script.begins, served.script.steps[-1].at
        breaks = sorted(chance.uniform(begin, end) for _ in range(BREAKS))
        for at in breaks:
            await served.advance(at)
            await served.lose(midway=chance.random() < 0.5)
        await served.advance(10_000)
        assert served.server.logins > BREAKS
        wrong = [
            f"{one.at} {one.what}" for one in claims if _is_gauge(one) and fails(served.stored, one)
        ]
    assert not wrong, f"broken at {breaks}:\n" + "\n".join(wrong[:40])
    whole = replay(capture, fresh(capture), names_of(capture)).last
    for measurement, field in (
        ("calls", "started"),
        ("calls", "answered"),
        ("queues", "entered"),
        ("queues", "abandoned"),
        ("security", "count"),
        ("dtmf", "count"),
        ("user_events", "sum"),
    ):
        most = whole.total(measurement, field)
        assert served.stored.last.total(measurement, field) <= most, (measurement, field, breaks)


def _is_gauge(claim: Claim) -> bool:
    """Whether a claim is of what is so now; counts and times miss what was not seen."""
    if "longest wait" in claim.what:
        return True
    found = re.fullmatch(r"(\w+) \{.*\} (\w+) = \S+", claim.what)
    return found is not None and found[1] not in COUNTED and found[2] not in SUMMED
