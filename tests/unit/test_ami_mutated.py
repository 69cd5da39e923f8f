"""Recorded sessions with bytes changed: nothing raises, and every point stored is a whole line."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

from collector.intakes.ami.message import Message
from collector.intakes.ami.protocol import Drop, Item, Reader, Splitter
from collector.intakes.ami.state.state import State
from collector.intakes.ami.state.wanted import WANTED
from collector.lines import line, parse, tag_set
from collector.schema import MEASUREMENTS
from tools.replay.ami_script import script
from tools.replay.ami_server import BANNER
from tools.replay.captures import AMI, read_capture

SEED = int(os.environ.get("TEST_LONG", "15"))
MUTATIONS = 1_000_000 if "TEST_LONG" in os.environ else 20_000
FLUSH_EVERY = 500
PIECES = [
    b"\r\n",
    b"\r\n\r\n",
    b"\r",
    b"\n",
    b": ",
    b"\x00",
    b"\xff\xfe",
    b"Event: Hangup\r\n",
    b"Privilege: call,all\r\n",
    b"Uniqueid: ",
    b"nan",
    b"-1",
    b"9" * 40,
    b"1e999",
    b',= \\"',
    "Grüße €".encode(),
    b"a" * 5000,
]
FIELDS = {one.name: {field.name for field in one.fields} for one in MEASUREMENTS}


def mutated(chance: random.Random, messages: list[bytes]) -> Iterator[bytes]:
    """Messages with up to three changes each."""
    for _ in range(MUTATIONS):
        found = bytearray(chance.choice(messages))
        for _ in range(chance.randrange(4)):
            at = chance.randrange(len(found) + 1)
            match chance.randrange(5):
                case 0:
                    found[at : at + 1] = bytes([chance.randrange(256)])
                case 1:
                    del found[at : at + chance.randrange(40)]
                case 2:
                    found[at:at] = chance.choice(PIECES)
                case 3:
                    other = chance.choice(messages)
                    begin = chance.randrange(len(other))
                    found[at:at] = other[begin : begin + chance.randrange(200)]
                case _:
                    # The value of a header becomes another.
                    colon = found.find(b": ", at)
                    end = found.find(b"\r\n", colon)
                    if 0 <= colon < end:
                        found[colon + 2 : end] = chance.choice(PIECES)
        yield bytes(found)


def test_no_change_to_a_session_raises_or_stores_what_is_no_line() -> None:
    chance = random.Random(SEED)
    events = [
        step.message
        for path in AMI
        for step in script(read_capture(path)).steps
        if step.message is not None
    ]
    reader, state, splitter = Reader(WANTED, "uc-"), State("pbx"), Splitter()
    splitter.feed(BANNER)
    now, stored, taken = 10**18, 0, 0
    for number, message in enumerate(mutated(chance, events)):
        now += chance.randrange(10**8)
        for raw in splitter.feed(message):
            match reader.read(raw):
                case Message() as told:
                    state.take(told, now)
                    taken += 1
                case Item(_, told, _) if told is not None:
                    state.take(told, now)
                case Drop() | None | _:
                    pass
        if number % FLUSH_EVERY == 0:
            for point in state.flush(now):
                text = line(point.measurement, tag_set(point.tags), point.fields, point.time)
                assert "\n" not in text
                read = parse(text)
                assert read == point
                assert set(read.fields) <= FIELDS[read.measurement]
                stored += 1
    assert len(splitter.pending) < 1 << 17
    assert taken > MUTATIONS // 4
    assert stored > MUTATIONS // FLUSH_EVERY
