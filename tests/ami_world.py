"""A made-up Asterisk: it does things at random, says so in AMI's words, and knows what is true.

The truth is kept as plain counts and lists, by what was done, not by what was said: it is the
oracle for the state, which sees the messages alone.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from collector.intakes.ami.message import Message

NS = 10**9
QUEUES = {"support": 5, "sales": 20}
"""Service level by queue, in s."""
AGENTS = ("PJSIP/agent1", "PJSIP/agent2", "PJSIP/agent3")
PHONES = ("PJSIP/alice", "PJSIP/bob", "PJSIP/+4930123456", "IAX2/dan")
TRUNKS = {"PJSIP/prov-one": "one", "IAX2/two": "two"}
_STATUS = {1: "available", 2: "in_use", 5: "unavailable", 6: "ringing", 8: "on_hold"}
_ENDS = {
    "busy": ("17", "486"),
    "failed": ("34", "503"),
    "no_answer": ("19", "480"),
    "cancelled": ("127", "487"),
}
_LEG_ENDS = {
    "busy": ("17", "486"),
    "failed": ("21", "603"),
    "no_answer": ("0", ""),
    "cancelled": ("26", ""),
}
_KINDS = ("InvalidPassword", "ChallengeSent", "FailedACL", "InvalidAccountID")


@dataclass
class Leg:
    name: str
    trunk: str
    is_up: bool = False


@dataclass
class Call:
    """A call; `seen` says whether its beginning was told, `route` what was told of its trunk."""

    first: str
    name: str
    began: int
    seen: bool
    route: tuple[str, str] = ("internal", "none")
    legs: dict[str, Leg] = field(default_factory=dict)
    answered: int | None = None
    answer_seen: bool = False
    queue: str = ""
    joined: int = 0
    joined_seen: bool = True
    connected: int | None = None
    connected_in: int = 0
    agent: str = ""
    room: str = ""
    leg_cause: tuple[str, str] | None = None

    def waits(self, queue: str) -> bool:
        """Whether its caller waits in a queue."""
        return self.queue == queue and self.connected is None


Counts = Counter[tuple[Any, ...]]


def nearest_rank(values: list[float], percent: int) -> float:
    """The least value that at least `percent` % of all values do not exceed."""
    return min(v for v in values if sum(o <= v for o in values) * 100 >= percent * len(values))


class World:
    """An Asterisk that does things at random. `tell` is called with each message it sends."""

    def __init__(self, seed: int, tell: Callable[[Message, int], None]) -> None:
        self.random = random.Random(seed)
        self.tell_one = tell
        self.now = 1_800_000_000 * NS
        self.hears = True
        self.serial = 0
        self.calls: dict[str, Call] = {}
        self.members = {queue: dict.fromkeys(AGENTS, (1, False)) for queue in QUEUES}
        self.rooms: dict[str, set[str]] = {}
        self.contacts: dict[tuple[str, str], str] = {}
        self.registrations = {("sip:a@reg", "sip:reg"): "Unregistered"}
        self.counts: Counts = Counter()
        self.values: dict[tuple[Any, ...], list[float]] = defaultdict(list)
        self.gauges: dict[str, float] = {}
        self.connection = 0

    # What it says

    def say(self, event: str, privilege: str, **headers: str) -> None:
        message = Message(event, {"Privilege": f"{privilege},all", **headers})
        if self.hears:
            self.tell_one(message, self.now)

    def channel(self, uniqueid: str, call: Call) -> dict[str, str]:
        return {"Uniqueid": uniqueid, "Linkedid": call.first}

    def wait(self, most_ms: int = 400) -> None:
        self.now += self.random.randrange(1, most_ms) * 10**6

    def count(self, *key: Any, by: float = 1) -> None:
        if self.hears:
            self.counts[key] += by  # type: ignore[assignment]

    def value(self, *key: Any, seconds: float) -> None:
        if self.hears:
            self.values[key].append(seconds)

    # What it does

    def step(self) -> None:
        """Do one thing."""
        self.wait()
        calls = list(self.calls.values())
        if not calls or self.random.random() < 0.15:
            self.begin()
            return
        call = self.random.choice(calls)
        done = self.random.choice((self.move, self.move, self.move, self.aside))
        done(call)

    def begin(self) -> None:
        self.serial += 1
        uniqueid = f"{self.serial}.0"
        endpoint = self.random.choice((*PHONES, *TRUNKS))
        call = Call(uniqueid, f"{endpoint}-{self.serial:08x}", self.now, self.hears)
        if endpoint in TRUNKS:
            call.route = ("in", TRUNKS[endpoint])
        self.calls[uniqueid] = call
        self.say(
            "Newchannel",
            "call",
            Channel=call.name,
            ChannelState="4",
            **self.channel(uniqueid, call),
        )
        self.count("started")
        if self.random.random() < 0.3:
            self.answer(call)

    def answer(self, call: Call, by: str = "Newstate") -> None:
        if call.answered is None:
            call.answered, call.answer_seen = self.now, self.hears
            self.count("call answered", call.route)
            if call.seen:
                self.value("ring", call.route, seconds=(self.now - call.began) / NS)
        if by == "Newstate":
            self.say("Newstate", "call", ChannelState="6", **self.channel(call.first, call))
        else:
            self.say("BridgeEnter", "call", **self.channel(call.first, call))

    def move(self, call: Call) -> None:
        """Take a call further."""
        if call.queue:
            self.leave_queue(call) if call.connected is None else self.end_talk(call)
        elif call.room:
            self.leave_room(call)
        elif call.legs:
            self.end_leg(call)
        else:
            self.random.choice(
                (self.dial, self.dial, self.join_queue, self.join_room, self.hang_up)
            )(call)

    def dial(self, call: Call) -> None:
        for _ in range(self.random.randrange(1, 3)):
            self.serial += 1
            uniqueid = f"{self.serial}.1"
            endpoint = self.random.choice((*PHONES, *TRUNKS))
            name = f"{endpoint}-{self.serial:08x}"
            leg = call.legs[uniqueid] = Leg(name, TRUNKS.get(endpoint, "none"))
            if self.hears and leg.trunk != "none" and call.route[0] != "in":
                call.route = ("out", leg.trunk)
            about = self.channel(uniqueid, call)
            self.say("Newchannel", "call", Channel=name, ChannelState="0", **about)
            dialled = {"DestUniqueid": uniqueid, "DestLinkedid": call.first}
            self.say("DialBegin", "call", **self.channel(call.first, call), **dialled)
            self.wait(50)

    def end_leg(self, call: Call) -> None:
        """The legs of a call: one is answered, or all end unanswered, or the caller gives up."""
        chosen = self.random.choice(("answer", *_LEG_ENDS))
        first, *others = call.legs
        if chosen == "answer" and not any(leg.is_up for leg in call.legs.values()):
            call.legs[first].is_up = True
            self.say("Newstate", "call", ChannelState="6", **self.channel(first, call))
            self.say("DialEnd", "call", DestUniqueid=first, DialStatus="ANSWER")
            for other in others:
                self.drop_leg(call, other, "cancelled", ("26", ""))
            self.wait(20)
            self.answer(call, self.random.choice(("Newstate", "BridgeEnter")))
        elif any(leg.is_up for leg in call.legs.values()):
            self.drop_leg(call, first, "answered", ("16", ""))
            self.hang_up(call)
        else:
            for uniqueid in list(call.legs):
                self.drop_leg(call, uniqueid, chosen, _LEG_ENDS.get(chosen, ("26", "")))

    def drop_leg(self, call: Call, uniqueid: str, end: str, cause: tuple[str, str]) -> None:
        leg = call.legs.pop(uniqueid)
        outcome = "answered" if leg.is_up else end if end != "answer" else "cancelled"
        route = ("out", leg.trunk) if leg.trunk != "none" else call.route
        if outcome == "cancelled":
            self.say("DialEnd", "call", DestUniqueid=uniqueid, DialStatus="CANCEL")
        self.count("attempts", route, outcome, cause[0], cause[1] or "none")
        if not leg.is_up and outcome != "cancelled" and cause[0] not in ("0", "16", "26"):
            call.leg_cause = cause if self.hears else call.leg_cause
        self.say(
            "Hangup", "call", Cause=cause[0], TechCause=cause[1], **self.channel(uniqueid, call)
        )

    def hang_up(self, call: Call) -> None:
        self.wait(100)
        end = self.random.choice(tuple(_ENDS))
        cause = ("16", "") if call.answered is not None else _ENDS[end]
        self.say(
            "Hangup", "call", Cause=cause[0], TechCause=cause[1], **self.channel(call.first, call)
        )
        del self.calls[call.first]
        self.rooms_without(call)
        if not self.hears:
            return
        outcome = end
        shown = call.leg_cause or cause
        if call.answered is not None:
            outcome, shown = "answered", cause
            if call.answer_seen:
                self.value("talk", call.route, seconds=(self.now - call.answered) / NS)
        self.count("ended", call.route, outcome, shown[0], shown[1] or "none")

    # Queues

    def join_queue(self, call: Call) -> None:
        self.answer(call)
        self.wait(30)
        call.queue = self.random.choice(tuple(QUEUES))
        call.joined, call.joined_seen = self.now, self.hears
        call.connected = None
        self.count("entered", call.queue)
        self.say_queue("QueueCallerJoin", call, Count=str(self.waiting(call.queue)))

    def say_queue(self, event: str, call: Call, **headers: str) -> None:
        self.say(event, "agent", Queue=call.queue, **self.channel(call.first, call), **headers)

    def waiting(self, queue: str) -> int:
        return sum(call.waits(queue) for call in self.calls.values())

    def leave_queue(self, call: Call) -> None:
        queue, held = call.queue, (self.now - call.joined) / NS
        hold_time = str(round(held))
        how = self.random.choice(("answered", "answered", "abandoned", "timed_out", "left_by_key"))
        self.count(how, queue)
        if how == "answered":
            call.agent = self.random.choice(AGENTS)
            call.connected, call.connected_in = self.now, self.connection
            self.value("wait", queue, seconds=held)
            if round(held) <= QUEUES[queue]:
                self.count("within", queue)
            said = [
                ("QueueCallerLeave", {"Count": str(self.waiting(queue))}),
                ("AgentConnect", {"HoldTime": hold_time, "Interface": call.agent}),
            ]
            # They come by different ways, and overtake each other.
            self.random.shuffle(said)
            for event, headers in said:
                self.say_queue(event, call, **headers)
            return
        if how == "left_by_key":
            self.say("DTMFEnd", "dtmf", Direction="Received", Uniqueid=call.first)
            self.count("dtmf", "received")
        call.queue = ""
        about = {"Queue": queue, **self.channel(call.first, call)}
        said = [("QueueCallerLeave", {"Count": str(self.waiting(queue))})]
        if how == "abandoned":
            self.value("gave_up", queue, seconds=held)
            if round(held) <= QUEUES[queue]:
                self.count("abandoned_within", queue)
            said.append(("QueueCallerAbandon", {"HoldTime": hold_time}))
            self.random.shuffle(said)
        for event, headers in said:
            self.say(event, "agent", **about, **headers)
        if how == "abandoned":
            self.hang_up(call)
        else:
            self.now += 3 * NS

    def end_talk(self, call: Call) -> None:
        assert call.connected is not None
        is_late = self.random.random() < 0.3
        if is_late:
            self.hang_up(call)
        self.count("completed", call.queue)
        if call.connected_in == self.connection:
            self.value("queue_talk", call.queue, seconds=(self.now - call.connected) / NS)
        self.say_queue("AgentComplete", call, Interface=call.agent)
        call.queue = ""
        if not is_late:
            self.hang_up(call)

    # Conferences

    def join_room(self, call: Call) -> None:
        self.answer(call)
        call.room = self.random.choice(("1000", "2000", "+49301234"))
        if call.room not in self.rooms:
            self.rooms[call.room] = set()
            self.say("ConfbridgeStart", "call", Conference=call.room)
        self.rooms[call.room].add(call.first)
        self.count("joined")
        self.say("ConfbridgeJoin", "call", Conference=call.room, Uniqueid=call.first)

    def leave_room(self, call: Call) -> None:
        self.say("ConfbridgeLeave", "call", Conference=call.room, Uniqueid=call.first)
        self.rooms_without(call)
        self.hang_up(call)

    def rooms_without(self, call: Call) -> None:
        room, call.room = call.room, ""
        if room:
            self.rooms[room].discard(call.first)
            if not self.rooms[room]:
                del self.rooms[room]
                self.say("ConfbridgeEnd", "call", Conference=room)

    # What has to do with no call

    def aside(self, call: Call) -> None:
        self.random.choice(
            (self.contact, self.member, self.attack, self.key, self.metric, self.register)
        )()

    def contact(self) -> None:
        aor = self.random.choice(("alice", "bob", "+4930123456"))
        key = (aor, f"sip:{aor}@192.0.2.{self.random.randrange(1, 4)}")
        status = self.random.choice(("Reachable", "Unreachable", "NonQualified", "Removed"))
        if status == "Removed":
            self.contacts.pop(key, None)
        else:
            self.contacts[key] = status
        self.say("ContactStatus", "system", AOR=key[0], URI=key[1], ContactStatus=status)

    def register(self) -> None:
        key = self.random.choice(("sip:a@reg", "sip:b@reg")), "sip:reg"
        status = self.random.choice(("Registered", "Unregistered", "Rejected"))
        self.registrations[key] = status
        about = {"ChannelType": "PJSIP", "Username": key[0], "Domain": key[1]}
        self.say("Registry", "system", Status=status, **about)

    def member(self) -> None:
        queue, agent = self.random.choice(tuple(QUEUES)), self.random.choice(AGENTS)
        if self.random.random() < 0.15:
            self.members[queue].pop(agent, None)
            self.say("QueueMemberRemoved", "agent", Queue=queue, Interface=agent)
            return
        status, paused = self.random.choice(tuple(_STATUS)), self.random.random() < 0.3
        self.members[queue][agent] = (status, paused)
        event = self.random.choice(("QueueMemberStatus", "QueueMemberPause", "QueueMemberAdded"))
        about = {"Status": str(status), "Paused": str(int(paused))}
        self.say(event, "agent", Queue=queue, Interface=agent, **about)

    def attack(self) -> None:
        kind, service = self.random.choice(_KINDS), self.random.choice(("PJSIP", "AMI"))
        self.count("security", kind, service)
        self.say(kind, "security", Service=service)

    def key(self) -> None:
        way = self.random.choice(("Received", "Sent"))
        self.count("dtmf", way.lower())
        self.say("DTMFEnd", "dtmf", Direction=way, Uniqueid="none")

    def metric(self) -> None:
        name = self.random.choice(("orders", "room.temperature", "setup"))
        kind = {"orders": "counter", "room.temperature": "gauge", "setup": "timer"}[name]
        value = self.random.choice((1, -2.5, 1e3, 0.125))
        text = self.random.choice((repr(value), f"{value:e}"))
        if self.hears:
            self.count("metric", name)
            if kind == "counter":
                self.count("sum", name, by=value)
            elif kind == "gauge":
                self.gauges[name] = value
            else:
                self.value("timer", name, seconds=value)
        self.say("UserEvent", "user", UserEvent="Metric", Name=name, Value=text, Type=kind)

    # The connection

    def away(self, steps: int) -> None:
        """Go on for some steps while nobody hears."""
        routes = {name: call.route for name, call in self.calls.items()}
        legs = {uniqueid for call in self.calls.values() for uniqueid in call.legs}
        waiting = [
            (name, call.queue, call.joined)
            for name, call in self.calls.items()
            if call.queue and call.connected is None
        ]
        self.hears = False
        self.connection += 1
        for _ in range(steps):
            self.step()
        self.hears = True
        self.connection += 1
        for name in routes.keys() - self.calls.keys():
            self.count("ended", routes[name], "lost", "other", "none")
        for name, queue, joined in waiting:
            call = self.calls.get(name)
            if call is None or not call.waits(queue) or call.joined != joined:
                self.count("lost", queue)
        for call in self.calls.values():
            for uniqueid, leg in call.legs.items():
                # The list tells of those that were called meanwhile.
                if uniqueid not in legs and leg.trunk != "none" and call.route[0] != "in":
                    call.route = ("out", leg.trunk)

    def answers(self) -> Iterator[tuple[str, Message, list[Message]]]:
        """Answers to the questions about the present state."""
        done = Message("", {"Response": "Success"})
        channels = []
        for call in self.calls.values():
            state = "6" if call.answered is not None else "4"
            told = {"Channel": call.name, "ChannelState": state, "Duration": "00:00:01"}
            channels.append(Message("CoreShowChannel", {**self.channel(call.first, call), **told}))
            for uniqueid, leg in call.legs.items():
                told = {"Channel": leg.name, "ChannelState": "6" if leg.is_up else "5"}
                about = self.channel(uniqueid, call)
                channels.append(Message("CoreShowChannel", {**about, **told}))
        yield "CoreStatus", Message("", {"CoreCurrentCalls": str(len(channels))}), []
        yield "CoreShowChannels", done, channels
        items = []
        for queue, level in QUEUES.items():
            items.append(Message("QueueParams", {"Queue": queue, "ServiceLevel": str(level)}))
            for agent, (status, paused) in self.members[queue].items():
                told = {"Location": agent, "Status": str(status), "Paused": str(int(paused))}
                items.append(Message("QueueMember", {"Queue": queue, **told}))
            for call in self.calls.values():
                if call.waits(queue):
                    waited = (self.now - call.joined) // NS
                    if not call.joined_seen:
                        # The list tells whole seconds.
                        call.joined, call.joined_seen = self.now - waited * NS, True
                    told = {"Uniqueid": call.first, "Wait": str(waited)}
                    items.append(Message("QueueEntry", {"Queue": queue, **told}))
        yield "QueueStatus", done, items
        rooms = [
            Message("ConfbridgeListRooms", {"Conference": room, "Parties": str(len(people))})
            for room, people in self.rooms.items()
        ]
        yield "ConfbridgeListRooms", done, rooms
        contacts = [
            Message("ContactList", {"ObjectName": f"{aor};@1", "Uri": uri, "Status": status})
            for (aor, uri), status in self.contacts.items()
        ]
        yield "PJSIPShowContacts", done, contacts
        aors = [
            Message("AorList", {"ObjectName": aor, "Contacts": f"{aor}/{uri}"})
            for aor, uri in self.contacts
        ]
        yield "PJSIPShowAors", done, aors
        registrations = [
            Message(
                "OutboundRegistrationDetail",
                {"ClientUri": client, "ServerUri": server, "Status": status},
            )
            for (client, server), status in self.registrations.items()
        ]
        yield "PJSIPShowRegistrationsOutbound", done, registrations

    def member_states(self, queue: str) -> Counter[str]:
        """Agents of a queue by state."""
        return Counter(
            "paused" if paused else _STATUS[status]
            for status, paused in self.members[queue].values()
        )


def close(a: float, b: float) -> bool:
    """Whether two times in s are the same but for rounding."""
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
