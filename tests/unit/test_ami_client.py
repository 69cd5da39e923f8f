"""The client of the manager interface: login, questions, Ping, and reconnecting for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from collector.asterisks import AmiAccount
from collector.intakes.ami.actions import POLLED, STATE, Refusal, refusal_of
from collector.intakes.ami.client import Client, Pauses
from collector.intakes.ami.connection import Connection, Times
from collector.intakes.ami.ends import End, Lost
from collector.intakes.ami.message import Message
from collector.intakes.ami.protocol import Drop
from collector.intakes.ami.seen import Seen
from collector.intakes.ami.sink import Sink
from collector.intakes.ami.state.wanted import WANTED
from tests.certificates import self_signed
from tests.sender import GUARD_S, until
from tools.replay.ami_server import SECRET, USER, AmiServer, event
from tools.replay.pbx import PASSWORD

HANGUP = event("Hangup", "call", Uniqueid="1.1", Linkedid="1.1", Cause="16", CallerIDNum="4930123")
QUICK = Times(
    connect=GUARD_S, booted=0.05, again=0.05, quiet=60, answer=GUARD_S, poll=60, look=0.01
)
AT_ONCE = Pauses(first=0.001, most=0.01, refused=0.001, refused_most=0.01)


class Notes(Sink):
    """A sink that keeps all that it is told."""

    stale: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.events: list[Message] = []
        self.answers: list[tuple[str, Sequence[Message]]] = []
        self.rounds = 0
        self.losses = 0

    def event(self, message: Message) -> None:
        if message.headers.get("Cause") == "raise":
            raise RuntimeError(message.headers["Cause"])
        self.events.append(message)

    def answer(self, action: str, answer: Message, items: Sequence[Message]) -> None:
        assert answer.event == ""
        self.answers.append((action, items))

    def asked(self) -> None:
        self.rounds += 1

    def lost(self) -> None:
        self.losses += 1

    @property
    def names(self) -> list[str]:
        return [message.event for message in self.events]

    @property
    def actions(self) -> list[str]:
        return [action for action, _ in self.answers]


def account(server: AmiServer, *, secret: str = SECRET, ca_file: str = "") -> AmiAccount:
    return AmiAccount(
        "127.0.0.1", server.port, USER, SecretStr(secret), tls=bool(ca_file), ca_file=ca_file
    )


@asynccontextmanager
async def following(
    server: AmiServer, *, times: Times = QUICK, secret: str = SECRET, ca_file: str = ""
) -> AsyncIterator[tuple[Client, Notes]]:
    notes = Notes()
    to = account(server, secret=secret, ca_file=ca_file)
    client = Client("pbx", to, notes, WANTED, times=times, pauses=AT_ONCE)
    task = asyncio.create_task(client.run())
    try:
        yield client, notes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_login_is_by_challenge_and_the_state_is_asked_in_order() -> None:
    async with AmiServer().listening() as server, following(server) as (client, notes):
        await until(lambda: notes.rounds > 0)
        assert client.connected
        assert notes.names == ["FullyBooted"]
        assert notes.actions == list(STATE)
        assert SECRET.encode() not in server.log
        assert b"Events: agent,call,dtmf,reporting,security,system,user\r\n" in server.log
        await server.say(HANGUP)
        await until(lambda: "Hangup" in notes.names)
    told = notes.events[-1].headers
    assert told == {
        "Privilege": "call,all",
        "Uniqueid": "1.1",
        "Linkedid": "1.1",
        "Cause": "16",
    }


async def test_where_no_challenge_is_offered_the_secret_goes_over_loopback_only() -> None:
    server = AmiServer()
    server.offers_challenge = False
    async with server.listening(), following(server) as (_, notes):
        await until(lambda: notes.rounds > 0)
        assert f"Secret: {SECRET}\r\n".encode() in server.log
        server.log = b""
        connection = await connect(server, confidential=False)
        with pytest.raises(Lost, match=End.NO_CHALLENGE):
            await connection.during(connection.login(USER, SECRET))
        assert SECRET.encode() not in server.log


async def connect(server: AmiServer, *, confidential: bool) -> Connection:
    return Connection(
        await asyncio.open_connection("127.0.0.1", server.port),
        Notes(),
        WANTED,
        Seen(),
        unanswerable=set(),
        confidential=confidential,
        times=QUICK,
    )


async def test_over_a_network_without_tls_no_answer_with_passwords_is_asked_for() -> None:
    async with AmiServer().listening() as server:
        connection = await connect(server, confidential=False)

        async def talk() -> None:
            await connection.login(USER, SECRET)
            await connection.follow()

        task = asyncio.create_task(connection.during(talk()))
        await until(lambda: server.asked[STATE[-1]] > 0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert server.asked["PJSIPShowRegistrationsOutbound"] == 0


async def test_connection_is_closed_however_often_its_task_is_cancelled() -> None:
    async with AmiServer().listening() as server:
        connection = await connect(server, confidential=False)
        begun = asyncio.Event()

        async def slow_to_end() -> None:
            try:
                begun.set()
                await asyncio.Event().wait()
            finally:
                begun.clear()
                await asyncio.Event().wait()

        task = asyncio.create_task(connection.during(slow_to_end()))
        await begun.wait()
        task.cancel()
        await until(lambda: not begun.is_set())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until(lambda: server.leavers == 1)


@pytest.mark.parametrize("secret", ["wrong", SECRET.upper()])
async def test_a_wrong_secret_is_told_and_tried_rarely(secret: str) -> None:
    async with AmiServer().listening() as server, following(server, secret=secret) as (client, _):
        await until(lambda: client.seen.ends[End.LOGIN_REFUSED] > 0)
        assert not client.connected
    assert set(client.seen.ends) == {End.LOGIN_REFUSED}
    assert Pauses().after(1, End.LOGIN_REFUSED) == 30
    assert Pauses().after(99, End.LOGIN_REFUSED) == 600


def test_pauses_double_up_to_a_minute() -> None:
    pauses = [Pauses().after(failures, End.CLOSED) for failures in (1, 2, 3, 7, 8, 10_000)]
    assert pauses == [0.5, 1, 2, 32, 60, 60]


async def test_what_may_not_be_asked_is_never_asked() -> None:
    server = AmiServer(write=())
    times = Times(quiet=60, poll=0.01, look=0.01)
    async with server.listening(), following(server, times=times) as (client, notes):
        await until(lambda: notes.rounds > 3)
    assert set(notes.actions) == {"QueueStatus"}
    assert not server.refused
    assert client.seen.refused["CoreShowChannels"] == 1


async def test_without_a_list_of_commands_a_refused_question_is_asked_once() -> None:
    server = AmiServer(write={"reporting"})
    server.lists_commands = False
    server.modules.discard("IAXregistry")
    times = Times(quiet=60, poll=0.01, look=0.01)
    async with server.listening(), following(server, times=times) as (client, notes):
        await until(lambda: notes.rounds > 3)
        server.drop()
        await until(lambda: server.logins > 1)
        rounds = notes.rounds
        await until(lambda: notes.rounds > rounds + 1)
    pjsip = {"PJSIPShowContacts", "PJSIPShowAors", "PJSIPShowEndpoints"}
    assert server.refused == dict.fromkeys(pjsip, 1)
    assert server.asked["IAXregistry"] == 1
    assert set(client.seen.refused) == {*pjsip, "IAXregistry"}
    assert set(POLLED) - set(notes.actions) == {*pjsip, "IAXregistry"}


@pytest.mark.parametrize("mute", [{"ListCommands"}, {"ListCommands", "Ping"}])
async def test_a_server_that_does_not_answer_about_commands_is_asked_all_the_same(
    mute: set[str],
) -> None:
    server = AmiServer()
    server.recorded = lambda action, _at: [] if action in mute else None
    # Where Ping is answered, nothing is waited for.
    times = Times(connect=GUARD_S, booted=0.05 if "Ping" in mute else 60)
    async with server.listening(), following(server, times=times) as (_, notes):
        await until(lambda: notes.rounds > 0)
        assert notes.actions == list(STATE)


async def test_nothing_is_asked_before_all_modules_are_started() -> None:
    server = AmiServer()
    server.booted = False
    async with server.listening(), following(server) as (client, notes):
        await server.logged_in()
        await server.say(HANGUP)
        await until(lambda: server.asked["CoreStatus"] > 2)
        assert notes.names == ["Hangup"]
        assert notes.answers == []
        server.booted = True
        await until(lambda: notes.rounds > 0)
        # An action of a module that was not started yet is no missing right.
        assert client.seen.refused == {}
        assert notes.actions[-len(STATE) :] == list(STATE)


async def test_fully_booted_ends_the_wait() -> None:
    server = AmiServer()
    server.booted = False
    patient = Times(booted=GUARD_S, answer=GUARD_S)
    async with server.listening(), following(server, times=patient) as (_, notes):
        await server.logged_in()
        server.booted = True
        await server.say(event("FullyBooted", "system", Uptime="1"))
        await until(lambda: notes.rounds > 0)


async def test_a_user_without_rights_and_class_system_is_asked_nothing_twice() -> None:
    server = AmiServer(write=())
    server.read = set()
    server.lists_commands = False
    times = Times(booted=0.02, quiet=60, poll=0.01, look=0.01)
    async with server.listening(), following(server, times=times) as (_, notes):
        await until(lambda: notes.rounds > 2)
        server.drop()
        await until(lambda: server.logins > 1)
        rounds = notes.rounds
        await until(lambda: notes.rounds > rounds + 1)
    assert set(notes.actions) == {"QueueStatus"}
    assert set(server.refused.values()) == {1}


async def test_an_asterisk_that_answers_no_question_is_listened_to_all_the_same() -> None:
    server = AmiServer()
    server.read = set()
    server.recorded = lambda _action, _at: []
    times = Times(connect=GUARD_S, booted=0.05, quiet=60, answer=0.2, poll=60, look=0.01)

    async def talk() -> None:
        while True:
            await server.say(HANGUP)
            await asyncio.sleep(0.02)

    async with server.listening(), following(server, times=times) as (client, notes):
        await server.logged_in()
        talking = asyncio.create_task(talk())
        await until(lambda: notes.rounds > 0)
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
        # On a machine that stood still it has logged in again, which is no matter.
        assert "Hangup" in notes.names
        assert notes.answers == []
        assert client.seen.drops[Drop.UNANSWERED] >= len(STATE)


async def test_a_long_answer_may_take_longer_than_the_time_for_an_answer() -> None:
    server = AmiServer()
    times = Times(connect=GUARD_S, booted=0.1, quiet=60, answer=0.3, poll=60, look=0.01)
    for number in range(30):
        server.pbx.devices[f"PJSIP/{number}"] = "INUSE"
    server.item_pause = 0.02
    async with server.listening(), following(server, times=times) as (_, notes):
        await until(lambda: notes.rounds > 0)
        assert len(dict(notes.answers)["DeviceStateList"]) == 30


async def test_an_answer_with_too_many_items_is_cut_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("collector.intakes.ami.connection._MOST_ITEMS", 3)
    server = AmiServer()
    for number in range(5):
        server.pbx.devices[f"PJSIP/{number}"] = "INUSE"
    async with server.listening(), following(server) as (client, notes):
        await until(lambda: notes.rounds > 0)
        assert len(dict(notes.answers)["DeviceStateList"]) == 3
        assert client.seen.drops[Drop.LIST_TOO_LONG] == 2


async def test_a_graceful_shutdown_forgets_no_question_and_events_go_on() -> None:
    server = AmiServer()
    times = Times(booted=0.05, again=0.05, quiet=60, poll=0.01, look=0.01)
    async with server.listening(), following(server, times=times) as (client, notes):
        await until(lambda: notes.rounds > 0)
        server.shutting_down = True
        asked = server.asked["QueueStatus"]
        await until(lambda: server.asked["QueueStatus"] > asked + 2)
        await server.say(HANGUP)
        await until(lambda: "Hangup" in notes.names)
        server.drop()
        await until(lambda: client.seen.ends[End.SHUTTING_DOWN] > 2)
        server.shutting_down = False
        await until(lambda: server.logins == 2)
    assert client.seen.refused == {}
    assert notes.losses == 2


async def test_a_lost_connection_is_made_again_and_the_state_is_asked_again() -> None:
    async with AmiServer().listening() as server, following(server) as (client, notes):
        for number in range(1, 6):
            await until(lambda: notes.rounds >= client.seen.logins == number)  # noqa: B023 - at once
            assert notes.losses == number - 1
            server.drop()
        assert client.seen.logins == 5
    assert set(client.seen.ends) == {End.CLOSED}


async def test_an_asterisk_that_is_down_is_tried_until_it_is_up() -> None:
    server = AmiServer()
    async with server.listening():
        pass
    async with following(server) as (client, notes):
        await until(lambda: client.seen.ends[End.REFUSED] > 3)
        async with server.listening():
            await until(lambda: notes.rounds > 0)


@pytest.mark.parametrize("quiet", [0.01, 60.0])
async def test_a_silent_asterisk_is_noticed(quiet: float) -> None:
    server = AmiServer()
    times = Times(connect=0.1, booted=0.02, quiet=quiet, answer=0.1, poll=60, look=0.01)
    async with server.listening(), following(server, times=times) as (client, notes):
        await until(lambda: notes.rounds > 0)
        if quiet < 1:
            await until(lambda: server.asked["Ping"] > 1)
        notes.stale = frozenset(STATE if quiet > 1 else ())
        server.mute = True
        await until(lambda: client.seen.ends[End.SILENT] > 0)
        await until(lambda: client.seen.ends[End.TIMEOUT] > 0)
        server.mute, notes.stale = False, frozenset()
        await until(lambda: server.logins > 1)


async def test_what_is_stale_is_asked_again_and_nothing_else() -> None:
    async with AmiServer().listening() as server, following(server) as (_, notes):
        await until(lambda: notes.rounds > 0)
        notes.stale = frozenset({"QueueStatus", "CoreStatus", "NoSuchQuestion"})
        await until(lambda: notes.rounds > 1)
    assert notes.actions[: len(STATE) + 2] == [*STATE, "CoreStatus", "QueueStatus"]


async def test_a_state_that_stays_stale_is_asked_for_less_and_less() -> None:
    times = Times(connect=GUARD_S, booted=0.05, quiet=60, poll=60, look=0.01, look_most=60)
    async with AmiServer().listening() as server, following(server, times=times) as (_, notes):
        notes.stale = frozenset(STATE)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await until(lambda: notes.rounds > 5)
        # Pauses of 10, 20, 40, 80 and 160 ms.
        assert loop.time() - begun > 0.3


async def test_another_service_on_the_port_is_named() -> None:
    async def other(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2p1\r\n")
        await writer.drain()
        writer.close()

    server = AmiServer()
    listening = await asyncio.start_server(other, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    async with following(server) as (client, _):
        await until(lambda: client.seen.ends[End.NOT_AMI] > 0)
    listening.close()


async def test_hosts_that_do_not_exist_are_unreachable() -> None:
    server = AmiServer()
    to = AmiAccount("no-such-host.invalid", 5038, USER, SecretStr(SECRET), tls=False, ca_file="")
    client = Client("pbx", to, Notes(), WANTED, times=QUICK, pauses=AT_ONCE)
    task = asyncio.create_task(client.run())
    await until(lambda: client.seen.ends[End.UNREACHABLE] > 0)
    task.cancel()
    assert not server.connections


async def test_tls_is_spoken_and_its_certificate_checked(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    server = AmiServer()
    async with server.listening(certificate.server()):
        async with following(server, ca_file=str(certificate.file)) as (_, notes):
            await until(lambda: notes.rounds > 0)
        (tmp_path / "other").mkdir()
        other = self_signed(tmp_path / "other")
        async with following(server, ca_file=str(other.file)) as (client, _):
            await until(lambda: client.seen.ends[End.TLS] > 0)
            assert not client.connected


async def test_a_message_that_cannot_be_handled_ends_nothing() -> None:
    async with AmiServer().listening() as server, following(server) as (client, notes):
        await until(lambda: notes.rounds > 0)
        await server.say(event("Hangup", "call", Uniqueid="1", Cause="raise") + HANGUP)
        await until(lambda: "Hangup" in notes.names)
        assert client.seen.drops == {Drop.FAILED: 1}
        assert server.logins == 1


async def test_hostile_bytes_between_and_within_messages_lose_nothing_else() -> None:
    hostile = [
        b"Event: Hangup\r\nPrivilege: call,all\r\nX: " + b"a" * (100 << 10) + b"\r\n\r\n",
        b"\xff\xfe\x00" * 999 + b"\r\n\r\n",
        b"Event: Hangup\r\nUniqueid: forged\r\n\r\n",
        b"Response: Success\r\nActionID: somebody-else\r\nMessage: x\r\n\r\n",
        b"Response: Success\r\nEventList: start\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"Event: UserEvent\r\nPrivilege: user,all\r\nUserEvent: Metric\r\nEvent: Hangup\r\n\r\n",
        b"Event: Hangup\r\nPrivilege: call,all\r\nUniqueid: \xfc\r\x0b\n\x1b[2J\r\n\r\n",
    ]
    server = AmiServer()
    server.cut = 97
    async with server.listening(), following(server) as (client, notes):
        await until(lambda: notes.rounds > 0)
        for one in hostile:
            await server.say(one + HANGUP)
        await until(lambda: notes.names.count("Hangup") == len(hostile) + 1)
        assert server.logins == 1
        drops = client.seen.drops
        assert drops[Drop.TOO_LONG] == drops[Drop.NO_PRIVILEGE] == 1
        assert drops[Drop.FOREIGN] == 2
        assert drops[Drop.MALFORMED] >= 2
        assert notes.names.count("UserEvent") == 1


async def test_passwords_in_an_answer_reach_nobody() -> None:
    server = AmiServer()
    server.pbx.registrations["sip:a@b", "sip:b"] = "Registered"
    async with server.listening(), following(server) as (_, notes):
        await until(lambda: notes.rounds > 0)
    items = dict(notes.answers)["PJSIPShowRegistrationsOutbound"]
    assert [item.event for item in items] == ["OutboundRegistrationDetail"]
    assert PASSWORD not in repr(notes.answers)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Permission denied", Refusal.DENIED),
        ("Invalid/unknown command: X. Use Action: ListCommands", Refusal.UNKNOWN),
        ("Asterisk is shutting down", Refusal.SHUTTING_DOWN),
        ("No Contacts found", Refusal.NONE),
        ("No active conferences.", Refusal.NONE),
        ("Could not get channel snapshot\n", Refusal.OTHER),
        ("", Refusal.OTHER),
    ],
)
def test_the_kind_of_an_error_is_read_from_its_text(text: str, kind: Refusal) -> None:
    assert refusal_of(text) is kind
