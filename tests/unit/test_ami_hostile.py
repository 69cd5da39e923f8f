"""No message can raise, grow the state without bound, or put a person's data into a point."""

from __future__ import annotations

import math
import random
import re
from pathlib import Path

import pytest

from collector.asterisk_names import Names
from collector.intakes.ami.actions import STATE
from collector.intakes.ami.message import Message
from collector.intakes.ami.state.agents import MOST_MEMBERS
from collector.intakes.ami.state.calls import MOST_CHANNELS
from collector.intakes.ami.state.conferences import MOST_PEOPLE, MOST_ROOMS
from collector.intakes.ami.state.kind import MOST_DEVICES
from collector.intakes.ami.state.queues import MOST_CALLERS, MOST_QUEUES
from collector.intakes.ami.state.spread import KEPT, Spread
from collector.intakes.ami.state.state import State
from collector.intakes.ami.state.user_events import MOST_NAMES
from collector.intakes.ami.state.wanted import EVENTS, ITEMS, WANTED
from collector.lines import Point, line, tag_set
from collector.schema import MEASUREMENTS, FieldType
from collector.schema.ami import AMI_MEASUREMENTS
from tests.ami_answers import fresh
from tests.ami_replay import START_NS, follow
from tests.length import LONG
from tools.replay.captures import AMI, Way, read_capture

NS = 10**9
TYPES = {FieldType.FLOAT: float, FieldType.INTEGER: int, FieldType.STRING: str}
DECLARED = {one.name: one for one in MEASUREMENTS}


def event(name: str, **headers: str) -> Message:
    return Message(name, {"Privilege": f"{EVENTS[name].privilege},all", **headers})


def conforms(point: Point) -> bool:
    """Whether a point has only declared tags and fields, of the declared types, and no NaN."""
    declared = DECLARED[point.measurement]
    fields = {field.name: field.type for field in declared.fields}
    return (
        point.tags.keys() <= {tag.name for tag in declared.tags}
        and point.fields.keys() <= fields.keys()
        and bool(point.fields)
        and all(type(value) is TYPES[fields[name]] for name, value in point.fields.items())
        and all(not isinstance(v, float) or math.isfinite(v) for v in point.fields.values())
        and all(0 < len(value) <= 64 and value.isprintable() for value in point.tags.values())
    )


def flushed(path: Path, names: Names | None = None) -> list[Point]:
    """The points of a session, with a flush every 10 s as in service."""
    capture = read_capture(path)
    state, points, due = State("pbx", names), list[Point](), 0.0
    for at in follow(state, capture, fresh(capture)):
        while at >= due:
            points += state.flush(START_NS + round(due * NS))
            due += 10
    return points + state.flush(START_NS + round(due * NS))


def test_points_of_every_session_are_as_declared() -> None:
    for path in AMI:
        for point in flushed(path):
            assert conforms(point), point


def test_every_declared_field_and_tag_is_in_the_points_of_some_session() -> None:
    names = Names({"PJSIP/trunk": "provider"}, {"PJSIP/agent1": "desk 1"}, {"1000": "team"})
    written = {
        (point.measurement, name)
        for path in AMI
        for point in flushed(path, names)
        for name in (*point.fields, *point.tags)
    }
    declared = {(one.name, field.name) for one in AMI_MEASUREMENTS for field in one.fields}
    declared |= {(one.name, tag.name) for one in AMI_MEASUREMENTS for tag in one.tags}
    # A right to ask for IAX2 without the others is in no session.
    rare = {("iax2_peers", "uncertain"), ("iax2_registrations", "uncertain")}
    assert declared - written == rare


def test_any_headers_whatever_raise_nothing_and_make_proper_points() -> None:
    chance = random.Random(None if LONG else 7)
    odd = (
        *("", " ", "0", "1", "-1", "6", "1e3", "nan", "inf", "-inf", "9" * 400, "\u0664", "1_0"),
        *("a\rb\nc", "\x00\x1b[2J", "\ufffd", "a,b=c d", "\\", "x" * 600),
        *("PJSIP/a-1", "Local/5@x-1;2", "a/b,c/d", "00:00:0x", "-", "/"),
        *("Metric", "counter", "gauge", "timer", "CANCEL", "Received", "PJSIP", "IAX2", "Removed"),
    )
    state = State("pbx", Names({"PJSIP/a": "one"}, {"PJSIP/a": "desk"}, {"6": "team"}))
    now = START_NS
    actions = (*STATE, "Nothing")
    for _ in range(200_000 if LONG else 15_000):
        now += chance.randrange(-NS, 2 * NS)
        name = chance.choice(tuple(EVENTS))
        state.take(event(name, **{h: chance.choice(odd) for h in EVENTS[name].headers}), now)
        if chance.random() < 0.02:
            items = [
                Message(item, {h: chance.choice(odd) for h in ITEMS[item]})
                for item in chance.choices(tuple(ITEMS), k=5)
            ]
            answer = Message("", {"CoreCurrentCalls": chance.choice(odd)})
            state.answer(chance.choice(actions), answer, items, now)
            chance.choice((state.asked, state.lost))(now)
        if chance.random() < 0.01:
            for point in state.flush(now):
                assert conforms(point), point
            state.truth()


def test_event_of_another_class_is_forged() -> None:
    state = State("pbx")
    state.take(event("Newchannel", Uniqueid="1", Linkedid="1"), 0)
    for privilege in ("user,all", "", "callous", "agent,all"):
        state.take(Message("Hangup", {"Privilege": privilege, "Uniqueid": "1"}), 0)
    state.take(Message("Hangup", {"Uniqueid": "1"}), 0)
    state.take(Message("NoSuchEvent", {"Privilege": "call,all"}), 0)
    state.asked(0)
    assert state.drops == {"forged": 5, "unknown-event": 1}
    assert [p.fields["calls"] for p in state.flush(0) if p.measurement == "calls"] == [1]


def test_forged_hangup_with_a_class_makes_the_state_ask_again() -> None:
    state = State("pbx")
    state.asked(0)
    assert not state.stale
    state.take(event("Hangup", Uniqueid="fake", Linkedid="fake", Cause="16"), 0)
    assert state.stale
    state.answer("CoreShowChannels", Message("", {}), [], 0)
    state.asked(0)
    assert not state.stale
    assert state.drops == {"unknown-channel": 1}


def test_forged_channel_is_gone_once_asterisk_does_not_list_it_twice() -> None:
    state = State("pbx")
    state.asked(0)
    state.take(event("Newchannel", Uniqueid="fake", Linkedid="fake"), 0)
    for at in (1, 4):
        state.answer("CoreShowChannels", Message("", {}), [], at * NS)
    calls = [p for p in state.flush(4 * NS) if p.measurement == "calls"]
    assert calls[0].fields["channels"] == 0
    assert calls[1].tags["outcome"] == "lost"


FLOODS = {
    "channels": ("Newchannel", MOST_CHANNELS, {"Uniqueid": "{}", "Linkedid": "{}"}),
    "queues": ("QueueCallerJoin", MOST_QUEUES, {"Queue": "{}", "Uniqueid": "1"}),
    "callers": ("QueueCallerJoin", MOST_CALLERS, {"Queue": "q", "Uniqueid": "{}"}),
    "members": ("QueueMemberAdded", MOST_MEMBERS, {"Queue": "q", "Interface": "{}"}),
    "conferences": ("ConfbridgeStart", MOST_ROOMS, {"Conference": "{}"}),
    "people": ("ConfbridgeJoin", MOST_PEOPLE, {"Conference": "1", "Uniqueid": "{}"}),
    "contacts": ("ContactStatus", MOST_DEVICES, {"AOR": "{}", "ContactStatus": "Reachable"}),
    "endpoints": ("DeviceStateChange", MOST_DEVICES, {"Device": "PJSIP/{}", "State": "INUSE"}),
    "registrations": ("Registry", MOST_DEVICES, {"ChannelType": "PJSIP", "Username": "{}"}),
    "peers": ("PeerStatus", MOST_DEVICES, {"ChannelType": "IAX2", "Peer": "IAX2/{}"}),
    "user-event-names": (
        "UserEvent",
        MOST_NAMES,
        {"UserEvent": "Metric", "Name": "m{}", "Value": "1"},
    ),
}


@pytest.mark.parametrize("drop", FLOODS)
def test_flood_is_held_to_a_bound_and_the_rest_is_counted(drop: str) -> None:
    name, most, headers = FLOODS[drop]
    state = State("pbx")
    for number in range(most + 5):
        filled = {key: value.format(number) for key, value in headers.items()}
        state.take(event(name, **filled), 0)
    assert state.drops == {drop: 5}


def test_services_of_attacks_are_held_to_a_bound() -> None:
    state = State("pbx")
    for number in range(100):
        state.take(event("InvalidPassword", Service=f"S{number}"), 0)
    state.take(event("InvalidPassword", Service="203.0.113.7"), 0)
    attacks = {p.tags["service"]: p.fields["count"] for p in state.flush(0) if "service" in p.tags}
    assert len(attacks) == 21
    assert attacks["other"] == 81


def test_very_many_causes_become_one_and_the_count_stays() -> None:
    state = State("pbx")
    for number in range(300):
        name = str(number)
        about = {"Cause": str(number % 128), "TechCause": str(300 + number)}
        state.take(event("Newchannel", Uniqueid=name, Linkedid=name), 0)
        state.take(event("Hangup", Uniqueid=name, Linkedid=name, **about), 0)
    ended = [(p.tags["cause"], p.fields["ended"]) for p in state.flush(0) if "outcome" in p.tags]
    assert len(ended) < 210
    assert sum(int(count) for _, count in ended) == 300
    assert sum(int(count) for cause, count in ended if cause == "other") == 100


def test_very_many_calls_of_one_flush_are_all_counted() -> None:
    state = State("pbx", Names({"PJSIP/a": "one"}))
    for number in range(50_010):
        name = str(number)
        told = {"Uniqueid": name, "Linkedid": name, "Channel": "PJSIP/a-1"}
        state.take(event("Newchannel", **told), 0)
        state.take(event("Hangup", **told, Cause="16"), 0)
    started = {
        p.tags["direction"]: p.fields["started"] for p in state.flush(0) if "started" in p.fields
    }
    assert started == {"in": 50_000, "out": 0, "internal": 10}


def test_percentiles_of_very_many_values_are_near_and_the_rest_exact() -> None:
    spread = Spread()
    values = list(range(50_000))
    random.Random(3).shuffle(values)
    for value in values:
        spread.add(value)
    fields = spread.fields("x")
    assert (spread.count, spread.sum, fields["x_max"]) == (50_000, sum(values), 49_999)
    for name, percent in (("x_p50", 0.5), ("x_p90", 0.9), ("x_p99", 0.99)):
        assert abs(fields[name] / 50_000 - percent) < 0.025
    assert KEPT < 50_000


PERSONAL = frozenset(
    [
        *("Channel", "CallerIDNum", "CallerIDName", "ConnectedLineNum", "ConnectedLineName"),
        *(
            "AccountCode",
            "Exten",
            "DestChannel",
            "DestCallerIDNum",
            "DestCallerIDName",
            "DestExten",
        ),
        *("Interface", "MemberName", "StateInterface", "Location", "AOR", "URI", "Uri"),
        *("EndpointName", "Username", "Domain", "ClientUri", "ServerUri", "RemoteAddress"),
        *("LocalAddress", "AccountID", "SessionID", "Challenge", "ExpectedResponse", "From", "To"),
        *("Conference", "Peer", "Address", "ObjectName", "Contacts", "ViaAddr", "Password"),
        *("IPaddress", "DialString", "Source", "Destination", "CallerID", "LastData", "Agent"),
        *("TransfererChannel", "TransfereeChannel", "Uniqueid", "Linkedid", "DestUniqueid"),
    ]
)
"""Headers whose values may tell of a person, a number, an address or a call."""


def test_no_personal_value_of_any_session_is_in_its_points() -> None:
    for path in AMI:
        capture = read_capture(path)
        found = set[str]()
        for one in capture.traffic:
            if one.way is Way.IN:
                for raw in one.data.split(b"\r\n"):
                    name, _, value = raw.decode(errors="replace").partition(": ")
                    if name in PERSONAL and len(value) > 1:
                        found.add(value.strip())
        points = flushed(path)
        text = "\n".join(line(p.measurement, tag_set(p.tags), p.fields, 0) for p in points)
        # Words of our own, such as the tag `trunk`, may be names there too.
        own = {*DECLARED, *(t.name for m in MEASUREMENTS for t in m.tags), "unknown", "<unknown>"}
        words = set(re.findall(r"[^,= \n\"]+", text))
        values = found - own
        assert not values & words, path.name
        assert not [value for value in values if len(value) > 6 and value in text], path.name


def test_only_wanted_headers_are_read() -> None:
    for name, headers in WANTED.items():
        assert not headers & {"Digit", "Password", "Challenge", "RemoteAddress", "LastData"}, name


def test_every_reason_of_a_drop_is_in_the_docs() -> None:
    root = Path(__file__).parents[2]
    docs = "".join(
        page.read_text() for page in (root / "docs" / "senders").glob("asterisk-ami*.md")
    )
    code = "".join(
        module.read_text()
        for module in (root / "collector" / "intakes" / "ami" / "state").glob("*.py")
    )
    reasons = set(re.findall(r'drops(?:\[|, )"([a-z-]+)"', code))
    assert {"forged", "channels", "endpoints"} <= reasons
    for reason in reasons:
        assert f"`{reason}`" in docs, reason
