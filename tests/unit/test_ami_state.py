"""The state of an Asterisk: connections and gaps, what is certain, trunks, agents, conferences."""

from __future__ import annotations

from typing import Any

from collector.asterisk_names import Names
from collector.intakes.ami.actions import STATE
from collector.intakes.ami.message import Message
from collector.intakes.ami.state.state import State
from collector.intakes.ami.state.wanted import EVENTS
from collector.intakes.series import Series
from collector.schema import LIVE, MEASUREMENTS

NS = 10**9
DONE = Message("", {"Response": "Success"})


class Asterisk:
    """A state, and a clock in s."""

    def __init__(self, names: Names | None = None, *, has_statsd: bool = False) -> None:
        self.state = State("pbx", names, has_statsd=has_statsd)
        self.now = 0.0

    def say(self, name: str, at: float | None = None, **headers: str) -> None:
        self.now = self.now if at is None else at
        about = {"Privilege": f"{EVENTS[name].privilege},all", **headers}
        self.state.take(Message(name, about), round(self.now * NS))

    def channel(self, name: str, of: str = "", at: float | None = None, **headers: str) -> None:
        event = headers.pop("Event", "Newchannel")
        self.say(event, at, Uniqueid=name, Linkedid=of or name, **headers)

    def answer(self, action: str, *items: Message, **headers: str) -> None:
        about = Message("", {**DONE.headers, **headers})
        self.state.answer(action, about, items, round(self.now * NS))

    def asked(self, at: float | None = None) -> None:
        self.now = self.now if at is None else at
        self.state.asked(round(self.now * NS))

    def lost(self, at: float) -> None:
        self.now = at
        self.state.lost(round(at * NS))

    def flush(self, at: float | None = None) -> dict[tuple[str, ...], dict[str, Any]]:
        """Fields by measurement and values of the tags but `asterisk`, in order of the tags."""
        self.now = self.now if at is None else at
        points = self.state.flush(round(self.now * NS))
        assert all(point.tags["asterisk"] == "pbx" for point in points)
        return {
            (
                point.measurement,
                *(point.tags[tag] for tag in sorted(point.tags) if tag != "asterisk"),
            ): dict(point.fields)
            for point in points
        }


def test_time_without_a_connection_is_told_and_gauges_are_not() -> None:
    pbx = Asterisk()
    assert pbx.flush(5)[("ami_traffic",)]["connected"] == 0
    # From its first flush on.
    assert pbx.flush(6)[("ami_traffic",)]["gap"] == 1.0
    pbx.asked(6)
    pbx.channel("1", at=7)
    pbx.lost(12)
    away = pbx.flush(15)
    assert away[("ami_traffic",)] == {
        "connected": 0,
        "events": 1,
        "dropped": 0,
        "gap": 3.0,
        "restarts": 0,
    }
    assert "calls" not in away[("calls", "unknown", "none")]
    assert away[("calls", "unknown", "none")]["started"] == 1
    assert "people" not in away[("conferences",)]
    assert pbx.flush(25)[("ami_traffic",)]["gap"] == 10.0
    pbx.answer("CoreShowChannels")
    pbx.asked(29)
    back = pbx.flush(35)
    assert back[("ami_traffic",)] == {
        "connected": 1,
        "events": 0,
        "dropped": 0,
        "gap": 4.0,
        "restarts": 0,
    }
    assert back[("calls", "unknown", "none")]["calls"] == 0
    # The tags are cause, direction, outcome, tech_cause, trunk.
    assert back[("calls", "other", "unknown", "lost", "none", "none")] == {"ended": 1}
    assert pbx.flush(45)[("ami_traffic",)]["gap"] == 0.0


def test_attempts_to_connect_that_fail_do_not_end_the_gap() -> None:
    pbx = Asterisk()
    pbx.asked(0)
    pbx.flush(10)
    for at in (12, 13, 14):
        pbx.lost(at)
    assert pbx.flush(20)[("ami_traffic",)]["gap"] == 8.0


def test_restart_is_told_from_a_connection_that_was_only_lost() -> None:
    for uptime, restarts in (("0", 1), ("7", 1), ("8", 0), ("100", 0), ("x", 0)):
        pbx = Asterisk()
        pbx.asked(0)
        pbx.lost(12.5)
        pbx.say("FullyBooted", at=20, Uptime=uptime)
        pbx.asked(20)
        pbx.say("FullyBooted", at=21, Uptime="0")
        assert pbx.flush(30)[("ami_traffic",)]["restarts"] == restarts, uptime


def test_first_login_is_no_restart() -> None:
    pbx = Asterisk()
    pbx.say("FullyBooted", Uptime="0")
    pbx.asked()
    assert pbx.flush()[("ami_traffic",)]["restarts"] == 0


def test_gauges_are_uncertain_until_their_question_is_answered() -> None:
    pbx = Asterisk()
    pbx.asked(0)
    points = pbx.flush(10)
    for key in (("calls", "unknown", "none"), ("conferences",), ("pjsip_contacts", "Reachable")):
        assert points[key]["uncertain"] == 10, key
    pbx.answer("CoreShowChannels")
    pbx.answer("ConfbridgeListRooms")
    pbx.answer("PJSIPShowContacts")
    pbx.answer("PJSIPShowAors")
    points = pbx.flush(20)
    for key in (("calls", "unknown", "none"), ("conferences",), ("pjsip_contacts", "Reachable")):
        assert "uncertain" not in points[key], key
    assert points[("pjsip_registrations", "all")]["uncertain"] == 20


def test_uncertain_gauges_of_an_asterisk_that_sends_statsd_are_left_to_it() -> None:
    pbx = Asterisk(has_statsd=True)
    pbx.asked()
    pbx.say("ContactStatus", AOR="a", URI="u", ContactStatus="Reachable")
    assert ("pjsip_contacts", "Reachable") not in pbx.flush()
    pbx.answer("PJSIPShowContacts")
    pbx.answer("PJSIPShowAors")
    assert pbx.flush()[("pjsip_contacts", "Reachable")] == {"count": 0.0}


def contact(aor: str, status: str) -> Message:
    return Message(
        "ContactList", {"ObjectName": f"{aor};@0", "Uri": f"sip:{aor}", "Status": status}
    )


def test_truth_for_statsd_has_what_is_certain_and_the_announcers_channels() -> None:
    pbx = Asterisk()
    assert pbx.state.truth() == {}
    pbx.answer("CoreStatus", CoreCurrentCalls="5")
    listed = [
        Message("CoreShowChannel", {"Uniqueid": n, "Linkedid": n, "ChannelState": "6"})
        for n in "123"
    ]
    pbx.answer("CoreShowChannels", *listed)
    pbx.answer(
        "ConfbridgeListRooms", Message("ConfbridgeListRooms", {"Conference": "1", "Parties": "3"})
    )
    pbx.answer("PJSIPShowContacts", contact("a", "Reachable"), contact("b", "Unreachable"))
    pbx.answer(
        "PJSIPShowAors",
        Message("AorList", {"ObjectName": "a", "Contacts": "a/sip:a"}),
        Message("AorList", {"ObjectName": "b", "Contacts": "b/sip:b"}),
    )
    assert pbx.state.truth() == {}
    pbx.asked()
    truth = pbx.state.truth()
    assert truth[Series("channels")] == 5
    assert truth[Series("pjsip_contacts", (("state", "Reachable"),))] == 1
    assert truth[Series("pjsip_contacts", (("state", "Unreachable"),))] == 1
    assert not [key for key in truth if key[0] == "endpoints"]
    # The conference ends, and with it its announcer.
    pbx.say("ConfbridgeEnd", Conference="1")
    assert pbx.state.stale
    assert pbx.state.truth()[Series("channels")] == 3


def test_endpoints_count_those_of_pjsip_and_iax2() -> None:
    pbx = Asterisk()
    pbx.answer(
        "PJSIPShowEndpoints",
        *(
            Message("EndpointList", {"ObjectName": state, "DeviceState": state})
            for state in ("Not in use", "In use", "Unavailable")
        ),
    )
    pbx.answer(
        "IAXpeerlist",
        *(
            Message("PeerEntry", {"ObjectName": status, "Status": status})
            for status in ("OK (3 ms)", "LAGGED (900 ms)", "UNREACHABLE", "Unmonitored", "UNKNOWN")
        ),
    )
    pbx.asked()
    truth = pbx.state.truth()
    counts = {tags[0][1]: count for (name, tags), count in truth.items() if name == "endpoints"}
    assert counts == {"online": 4, "offline": 2, "unknown": 2, "all": 8}


TRUNKS = Names({"PJSIP/one": "one", "IAX2/two": "two", "DAHDI/i1": "isdn"})


def test_direction_and_trunk_of_a_call() -> None:
    for channel, trunk in (
        ("PJSIP/one-00000001", "one"),
        ("IAX2/two-1234", "two"),
        ("DAHDI/i1/5551234-1", "isdn"),
        ("PJSIP/one-more-00000001", "none"),
        ("PJSIP/alice-00000001", "none"),
        ("Local/5@one-00000001;2", "none"),
        ("", "none"),
    ):
        assert TRUNKS.trunk(channel) == trunk, channel


def test_call_out_belongs_to_the_trunk_that_is_called_last() -> None:
    pbx = Asterisk(TRUNKS)
    pbx.answer("CoreShowChannels")
    pbx.asked(0)
    pbx.channel("1", at=1, Channel="PJSIP/alice-1", ChannelState="4")
    assert pbx.flush()[("calls", "internal", "none")]["calls"] == 1
    for leg, channel, cause in (("2", "PJSIP/one-2", "34"), ("3", "IAX2/two-3", "")):
        pbx.channel(leg, "1", Channel=channel, ChannelState="0")
        pbx.channel("1", Event="DialBegin", DestUniqueid=leg, DestLinkedid="1")
        if cause:
            pbx.channel(leg, "1", Event="Hangup", Cause=cause, TechCause="503")
    pbx.channel("3", "1", at=3, Event="Newstate", ChannelState="6")
    pbx.channel("1", at=3, Event="Newstate", ChannelState="6")
    points = pbx.flush(4)
    assert points[("calls", "out", "two")]["answered"] == 1
    assert points[("calls", "out", "two")]["ring_max"] == 2.0
    assert points[("calls", "out", "two")]["calls"] == 1
    assert points[("calls", "34", "out", "failed", "503", "one")] == {"attempts": 1}
    assert points[("calls", "in", "isdn")] == {
        "calls": 0,
        "channels": 0,
        "started": 0,
        "answered": 0,
        "talks": 0,
        "talk_sum": 0.0,
    }
    pbx.channel("3", "1", at=9, Event="Hangup", Cause="16")
    pbx.channel("1", at=9, Event="Hangup", Cause="16")
    points = pbx.flush(10)
    assert points[("calls", "16", "out", "answered", "none", "two")] == {"ended": 1, "attempts": 1}
    assert points[("calls", "out", "two")]["talk_sum"] == 6.0


def test_call_that_the_pbx_begins_on_a_trunk_goes_out() -> None:
    pbx = Asterisk(TRUNKS)
    pbx.channel("1", Channel="PJSIP/one-1", ChannelState="0")
    pbx.say("DialBegin", DestUniqueid="1", DestLinkedid="1")
    assert pbx.flush()[("calls", "out", "one")]["started"] == 1


def test_call_whose_first_leg_was_transferred_ends_with_its_last() -> None:
    pbx = Asterisk()
    pbx.answer("CoreShowChannels")
    pbx.asked(0)
    pbx.channel("1", at=1)
    pbx.channel("2", "1")
    pbx.channel("1", at=2, Event="BridgeEnter")
    pbx.channel("1", at=3, Event="Hangup", Cause="16")
    assert pbx.flush(4)[("calls", "unknown", "none")]["calls"] == 1
    # Merged with an older call: later legs come with its name.
    pbx.channel("2", "0", at=5, Event="BridgeEnter")
    pbx.channel("3", "0", at=5)
    points = pbx.flush(6)
    assert (points[("calls", "unknown", "none")]["calls"]) == 1
    assert points[("calls", "unknown", "none")]["channels"] == 2
    for leg in ("2", "3"):
        pbx.channel(leg, "0", at=7, Event="Hangup", Cause="16")
    points = pbx.flush(8)
    assert points[("calls", "16", "unknown", "answered", "none", "none")] == {"ended": 1}
    assert points[("calls", "unknown", "none")]["talk_sum"] == 5.0


def test_agent_whom_the_operator_named_has_points_of_its_own() -> None:
    pbx = Asterisk(Names(agents={"PJSIP/alice": "desk 1", "PJSIP/gone": "desk 2"}))
    pbx.asked(0)
    pbx.say("QueueMemberAdded", Queue="q", Interface="PJSIP/alice", Status="1", Paused="0")
    pbx.say("QueueMemberAdded", Queue="q", Interface="PJSIP/bob", Status="1", Paused="1")
    caller = {"Queue": "q", "Uniqueid": "1", "Interface": "PJSIP/alice"}
    pbx.say("QueueCallerJoin", at=1, Count="1", **caller)
    pbx.say("AgentRingNoAnswer", at=2, **caller)
    pbx.say("AgentConnect", at=3, HoldTime="2", **caller)
    pbx.say("QueueCallerLeave", at=3, Count="0", **caller)
    pbx.say("AgentComplete", at=13, **caller)
    points = pbx.flush(14)
    assert points[("agents", "desk 1", "q")] == {
        "answered": 1,
        "unanswered": 1,
        "talk_sum": 10.0,
        "status": "available",
        "uncertain": 14,
    }
    assert ("agents", "desk 2", "q") not in points
    assert points[("agents", "q", "paused")]["count"] == 1
    assert points[("queues", "q")]["wait_max"] == 2.0
    assert "within" not in points[("queues", "q")]


def test_conference_that_the_operator_named_has_a_point_of_its_own() -> None:
    pbx = Asterisk(Names(conferences={"1000": "team"}))
    pbx.answer("ConfbridgeListRooms")
    pbx.asked()
    assert pbx.flush()[("conferences", "team")] == {"present": 0}
    for room, person in (("1000", "1"), ("1000", "2"), ("2000", "3")):
        pbx.say("ConfbridgeJoin", Conference=room, Uniqueid=person)
    points = pbx.flush()
    assert points[("conferences", "team")] == {"present": 2}
    assert points[("conferences",)] == {"joined": 3, "rooms": 2, "people": 3, "largest": 2}


def test_first_of_repeated_joins_and_leaves_counts() -> None:
    pbx = Asterisk()
    pbx.asked()
    for _ in range(2):
        pbx.say("ConfbridgeJoin", Conference="1", Uniqueid="1")
    assert pbx.flush()[("conferences",)]["people"] == 1
    for _ in range(2):
        pbx.say("ConfbridgeLeave", Conference="1", Uniqueid="1")
    pbx.say("ConfbridgeLeave", Conference="2", Uniqueid="1")
    assert pbx.flush()[("conferences",)]["people"] == 0


def test_caller_who_enters_a_second_queue_at_once_has_timed_out_of_the_first() -> None:
    pbx = Asterisk()
    pbx.asked(0)
    for queue, event, at in (
        ("a", "QueueCallerJoin", 1),
        ("a", "QueueCallerLeave", 5),
        ("b", "QueueCallerJoin", 5.1),
        ("a", "QueueCallerJoin", 5.2),
    ):
        pbx.say(event, at=at, Queue=queue, Uniqueid="1", Count="0")
    points = pbx.flush(6)
    assert points[("queues", "a")]["timed_out"] == 1
    assert points[("queues", "a")]["entered"] == 2
    assert points[("queues", "b")]["entered"] == 1


def test_queue_that_asterisk_has_no_more_has_no_points_any_more() -> None:
    pbx = Asterisk()
    pbx.answer("QueueStatus", Message("QueueParams", {"Queue": "q", "ServiceLevel": "20"}))
    pbx.asked()
    assert pbx.flush()[("queues", "q")]["service_level"] == 20
    pbx.answer("QueueStatus")
    assert ("queues", "q") not in pbx.flush()


def test_queue_of_which_an_event_alone_tells_is_written_once_asterisk_lists_it() -> None:
    pbx = Asterisk()
    pbx.answer("QueueStatus")
    pbx.asked(0)
    for queue in ("realtime", "+49301234567"):
        pbx.say("QueueCallerJoin", at=1, Queue=queue, Uniqueid=queue, Count="1")
    assert pbx.state.stale
    assert not [key for key in pbx.flush(2) if key[0] in ("queues", "agents")]
    entry = {"Queue": "realtime", "Uniqueid": "realtime", "Wait": "2"}
    pbx.answer(
        "QueueStatus",
        Message("QueueParams", {"Queue": "realtime", "ServiceLevel": "5"}),
        Message("QueueEntry", entry),
    )
    pbx.asked(3)
    assert pbx.state.drops == {"unknown-queue": 1}
    points = pbx.flush(4)
    assert [key for key in points if key[0] == "queues"] == [("queues", "realtime")]
    assert points[("queues", "realtime")]["entered"] == 1
    assert points[("queues", "realtime")]["waiting"] == 1
    assert points[("queues", "realtime")]["longest_wait"] == 3.0


def test_reload_makes_the_state_ask_again() -> None:
    pbx = Asterisk()
    pbx.asked()
    pbx.say("Reload", Module="nosuch", Status="2")
    assert not pbx.state.stale
    pbx.say("Reload", Module="res_pjsip.so", Status="0")
    assert pbx.state.stale == set(STATE)
    for action in STATE[1:]:
        pbx.answer(action)
    pbx.asked()
    assert pbx.state.stale == {STATE[0]}
    # Asterisk refuses it.
    pbx.asked()
    assert not pbx.state.stale


def test_what_becomes_stale_while_other_questions_are_answered_stays_so() -> None:
    pbx = Asterisk()
    pbx.asked()
    pbx.say("ConfbridgeStart", Conference="1")
    assert pbx.state.stale == {"CoreStatus", "CoreShowChannels"}
    pbx.answer("CoreStatus", CoreCurrentCalls="0")
    pbx.answer("CoreShowChannels")
    pbx.say("ConfbridgeEnd", Conference="1")
    pbx.asked()
    assert pbx.state.stale == {"CoreStatus", "CoreShowChannels"}


def test_channels_are_listed_again_now_and_then() -> None:
    pbx = Asterisk()
    pbx.answer("CoreShowChannels")
    pbx.asked(0)
    pbx.flush(290)
    assert not pbx.state.stale
    pbx.flush(310)
    assert pbx.state.stale


def test_clock_that_is_set_back_makes_no_negative_time() -> None:
    pbx = Asterisk()
    pbx.asked(100)
    pbx.channel("1", at=100)
    pbx.channel("1", at=50, Event="BridgeEnter")
    pbx.channel("1", at=20, Event="Hangup", Cause="16")
    fields = pbx.flush(10)[("calls", "unknown", "none")]
    assert (fields["ring_max"], fields["talk_max"]) == (0.0, 0.0)


def test_measurements_of_ami_are_in_the_live_database() -> None:
    names = {point[0] for point in Asterisk().flush()}
    assert names <= {one.name for one in MEASUREMENTS if one.database == LIVE}


def test_announcers_device_makes_the_state_count_channels_again() -> None:
    pbx = Asterisk()
    pbx.answer("CoreShowChannels")
    pbx.answer("ConfbridgeListRooms")
    pbx.asked()
    pbx.say("DeviceStateChange", Device="CBAnn/1000-00000001;1", State="INUSE")
    assert pbx.state.stale
    pbx.answer("CoreStatus", CoreCurrentCalls="2")
    pbx.answer("CoreShowChannels")
    pbx.asked()
    assert not pbx.state.stale
    assert pbx.flush()[("calls", "unknown", "none")]["channels"] == 2


def test_channels_that_go_between_count_and_list_are_not_taken_for_hidden_ones() -> None:
    pbx = Asterisk()
    pbx.answer("CoreShowChannels")
    pbx.asked()
    for name in "123":
        pbx.channel(name)
    pbx.answer("CoreStatus", CoreCurrentCalls="3")
    pbx.answer("CoreShowChannels", Message("CoreShowChannel", {"Uniqueid": "1", "Linkedid": "1"}))
    for name in "23":
        pbx.channel(name, Event="Hangup", Cause="16")
    assert pbx.flush()[("calls", "unknown", "none")]["channels"] == 1


def test_gauges_without_an_answer_are_what_the_events_told() -> None:
    pbx = Asterisk()
    pbx.asked()
    pbx.say("PeerStatus", ChannelType="PJSIP", Peer="PJSIP/alice", PeerStatus="Reachable")
    pbx.say("Registry", ChannelType="SIP", Username="u", Domain="d", Status="Registered")
    pbx.say("PeerStatus", ChannelType="IAX2", Peer="IAX2/two", PeerStatus="Reachable")
    pbx.say("ConfbridgeJoin", Conference="1", Uniqueid="1")
    pbx.say("ConfbridgeLeave", Conference="1", Uniqueid="2")
    points = pbx.flush()
    assert points[("iax2_peers", "reachable")]["count"] == 1
    assert points[("endpoints", "online")]["count"] == 1
    assert points[("pjsip_registrations", "all")]["count"] == 0
    assert points[("conferences",)]["people"] == 1
