"""AMI's wire format: bytes into messages, and what is dropped before it is decoded."""

from __future__ import annotations

import random

import pytest

from collector.intakes.ami.message import Message
from collector.intakes.ami.protocol import (
    MAX_MESSAGE,
    MAX_VALUE,
    Answer,
    Drop,
    Item,
    NotAmi,
    Reader,
    Splitter,
    actions_listed,
)
from collector.intakes.ami.state.wanted import WANTED
from tools.replay.ami_server import BANNER, event
from tools.replay.captures import AMI, read_capture

HANGUP = event("Hangup", "call", Uniqueid="1.1", Cause="16", CallerIDNum="4930123")
READER = Reader({"Hangup": frozenset({"Uniqueid", "Cause"})}, "uc-")


def split(data: bytes, size: int | None = None) -> list[bytes]:
    splitter = Splitter()
    step = size or len(data)
    return [one for at in range(0, len(data), step) for one in splitter.feed(data[at : at + step])]


@pytest.mark.parametrize("size", [1, 2, 3, 97, 1000])
def test_messages_are_the_same_however_the_bytes_are_cut(size: int) -> None:
    stream = BANNER + HANGUP * 3 + b"Event: X\r\nA: b\rc\n\x00\xff\r\n\r\n"
    assert split(stream, size) == split(stream)
    assert len(split(stream)) == 4


def test_every_recorded_message_survives_cuts_at_each_97th_byte() -> None:
    for path in AMI:
        capture = read_capture(path)
        read = b"".join(data for _, data in capture.received())
        stream = BANNER + read.replace(BANNER, b"")
        assert split(stream, 97) == split(stream) == stream[len(BANNER) :].split(b"\r\n\r\n")[:-1]


@pytest.mark.parametrize(
    "first",
    [b"HTTP/1.1 400 Bad Request\r\n", b"SSH-2.0-OpenSSH\r\n", b"Asterisk Call", b"x" * 300],
)
def test_another_protocol_is_recognised_or_waited_for(first: bytes) -> None:
    splitter = Splitter()
    if first.startswith(b"Asterisk"):
        assert splitter.feed(first) == []
        assert not splitter.greeted
        assert splitter.feed(b" Manager/2.10.6\r\n" + HANGUP) == [HANGUP[:-4]]
        return
    with pytest.raises(NotAmi):
        splitter.feed(first)


@pytest.mark.parametrize("text", [b"Asterisk Call Manager/" + b"x" * 300, b"Asterisk\r\n"])
def test_a_banner_that_does_not_end_or_is_short_is_none(text: bytes) -> None:
    with pytest.raises(NotAmi):
        Splitter().feed(text)


def test_a_message_that_is_too_long_is_skipped_and_counted_and_nothing_grows() -> None:
    splitter = Splitter()
    splitter.feed(BANNER)
    for size in (1000, 99_991):
        found = []
        endless = b"Event: Hangup\r\nX: " + b"a" * 10 * MAX_MESSAGE + b"\r\n\r\n" + HANGUP
        for at in range(0, len(endless), size):
            found += splitter.feed(endless[at : at + size])
            assert len(splitter.pending) <= MAX_MESSAGE
        assert found == [HANGUP[:-4]]
    whole = b"Event: Hangup\r\nX: " + b"a" * MAX_MESSAGE + b"\r\n\r\n"
    assert splitter.feed(HANGUP + whole + HANGUP) == [HANGUP[:-4]] * 2
    assert splitter.too_long == 3


def test_only_wanted_headers_of_wanted_events_are_decoded() -> None:
    assert READER.read(HANGUP[:-4]) == Message("Hangup", {"Uniqueid": "1.1", "Cause": "16"})
    assert READER.read(event("Newexten", "dialplan", AppData="x")) is None


def test_the_first_header_of_a_name_counts() -> None:
    forged = b"Event: Hangup\r\nPrivilege: call,all\r\nUniqueid: 1\r\nUniqueid: 2\r\nEvent: Other"
    assert READER.read(forged) == Message("Hangup", {"Uniqueid": "1"})
    other = b"Event: Other\r\nPrivilege: user,all\r\nEvent: Hangup\r\nUniqueid: 2"
    assert READER.read(other) is None


@pytest.mark.parametrize(
    ("raw", "dropped"),
    [
        (b"Event: Hangup\r\nUniqueid: 1", Drop.NO_PRIVILEGE),
        (b"Event: Hangup\r\nUniqueid: 1\r\nActionID: somebody-1", Drop.NO_PRIVILEGE),
        (b"Response: Success\r\nActionID: somebody-1", Drop.FOREIGN),
        (b"Response: Success", Drop.FOREIGN),
        (b"Response: Success\r\nActionID: uc-x", Drop.FOREIGN),
        (b"Response: Success\r\nActionID: uc-" + b"9" * 40, Drop.FOREIGN),
        (b"Response: Success\r\nActionID: a\r\nActionID: uc-1", Drop.FOREIGN),
        (b"Privilege: call,all\r\nEvent: Hangup", Drop.MALFORMED),
        (b"garbage", Drop.MALFORMED),
        (b"", Drop.MALFORMED),
    ],
)
def test_each_message_that_is_none_has_a_name(raw: bytes, dropped: Drop) -> None:
    assert READER.read(raw) is dropped


def test_values_may_hold_anything_and_are_cut() -> None:
    value = b"a\rb\nc\x00\xff" + b"d" * 100_000
    found = READER.read(b"Event: Hangup\r\nPrivilege: call,all\r\nUniqueid: " + value)
    assert isinstance(found, Message)
    text = found.headers["Uniqueid"]
    assert text.startswith("a\rb\nc\x00\ufffdd")
    assert len(text) < MAX_VALUE


def test_an_answer_between_events_is_told_apart() -> None:
    items = Reader({"QueueEntry": frozenset({"Queue"})}, "uc-")
    entry = b"Event: QueueEntry\r\nQueue: support\r\nWait: 3\r\nActionID: uc-7"
    assert items.read(entry) == Item(7, Message("QueueEntry", {"Queue": "support"}), complete=False)
    secret = b"Event: AuthDetail\r\nActionID: uc-7\r\nPassword: right"
    assert items.read(secret) == Item(7, None, complete=False)
    end = b"Event: QueueStatusComplete\r\nActionID: uc-7\r\nEventList: Complete\r\nListItems: 5"
    assert items.read(end) == Item(7, None, complete=True)
    error = b"Response: Error\r\nActionID: uc-8\r\nMessage: Permission denied"
    told = {"Response": "Error", "Message": "Permission denied"}
    assert items.read(error) == Answer(8, Message("", told), error)


def test_an_event_with_another_clients_action_id_is_an_event() -> None:
    users = Reader({"UserEvent": frozenset({"Name"})}, "uc-")
    raw = b"Event: UserEvent\r\nPrivilege: user,all\r\nUserEvent: Metric\r\nActionID: c9\r\nName: a"
    assert users.read(raw) == Message("UserEvent", {"Name": "a"})


def test_listed_actions_are_those_with_a_privilege() -> None:
    answer = b"Response: Success\r\nActionID: uc-1\r\nPing: Keepalive command.  (Priv: <none>)"
    assert actions_listed(answer) == {"Ping"}


def test_no_bytes_whatever_raise() -> None:
    chance = random.Random(15)
    reader = Reader(WANTED, "uc-")
    seeds = [b"Event: ", b"Hangup", b"\r\n", b"\r\n\r\n", b"Privilege: call,all", b"\xff", b": "]
    seeds += [b"ActionID: uc-1", b"Response: ", b"EventList: Complete", b"\r", b"\n", b"\x00"]
    splitter = Splitter()
    splitter.feed(BANNER)
    for _ in range(3000):
        data = b"".join(chance.choice(seeds) for _ in range(chance.randrange(1, 12)))
        for raw in splitter.feed(data):
            reader.read(raw)
