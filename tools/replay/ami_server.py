"""A manager interface (AMI) on a loopback port: logins, rights, questions, and events as told.

It behaves as wire recordings of Asterisk 22 show: the banner at once, `Response` before `ActionID`,
lists as events, an error for some empty lists, a refused login after a while and then the end.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

from collector.intakes.ami.actions import RIGHTS
from tools.replay.pbx import COMPLETE, EMPTY, Headers, Pbx, headers

BANNER = b"Asterisk Call Manager/11.0.0\r\n"
USER, SECRET = "collector", "s3cret-of-ami"
UNASKED = {"Ping": "", "ListCommands": "", "Events": "", "Logoff": "", "Originate": "originate"}
"""Actions that are no questions about the state, with the right that each needs."""

Recorded = Callable[[str, float], list[bytes] | None]
"""A recorded answer to an action at a time: its messages, with `%ID%` for the ActionID."""


def message(first: str, value: str, told: Headers) -> bytes:
    """The bytes of a message."""
    lines = {first: value, **told}
    return "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode() + b"\r\n"


def event(name: str, privilege: str, **told: str) -> bytes:
    """The bytes of an event of a class, such as `call`."""
    return message("Event", name, {"Privilege": f"{privilege},all", **told})


class AmiServer:
    """One Asterisk's manager interface. `now` is its time in s.

    `write` are the rights of its one user. `sent` counts bytes over all connections, `asked` the
    actions, `refused` those without a right. `log` keeps all that the clients sent. `leavers` are
    connections that have ended.
    """

    def __init__(
        self, pbx: Pbx | None = None, *, write: Iterable[str] = ("system", "reporting")
    ) -> None:
        self.pbx = pbx or Pbx()
        self.write = set(write)
        self.read = {"system"}
        """Classes whose events follow a login by themselves."""
        self.now = 0.0
        self.sent = 0
        self.asked: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.log = b""
        self.port = 0
        self.offers_challenge = True
        self.lists_commands = True
        self.booted = True
        self.shutting_down = False
        self.mute = False
        """Takes what is sent and says nothing."""
        self.reads = True
        self.modules = set(RIGHTS)
        self.login_pause = 0.0
        self.item_pause = 0.0
        self.logins = 0
        self.connections = 0
        self.leavers = 0
        self.recorded: Recorded = lambda _action, _at: None
        self.cut: int | None = None
        self._turn = asyncio.Lock()
        self._logged_in = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._listeners: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def listening(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[AmiServer]:
        """Listen until the context ends; the port stays the same over several."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.drop()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def logged_in(self) -> None:
        """Wait until a client is logged in."""
        await self._logged_in.wait()

    def admit(self, writer: asyncio.StreamWriter) -> None:
        """Send events to a connection from now on."""
        self.logins += 1
        self._listeners.add(writer)
        self._logged_in.set()

    def drop(self) -> None:
        """End all connections at once."""
        for writer in self._writers:
            writer.transport.abort()
        self._logged_in.clear()
        self._listeners.clear()

    async def say(self, data: bytes) -> None:
        """Send bytes to the clients that are logged in, cut after every `cut` bytes if set."""
        for writer in list(self._listeners):
            await self.write_to(writer, data)

    async def write_to(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """Send bytes on one connection."""
        size = self.cut or len(data) or 1
        # No answer comes within an event.
        async with self._turn:
            for at in range(0, len(data), size):
                writer.write(data[at : at + size])
                self.sent += len(data[at : at + size])
                if self.cut:
                    # Each part leaves in a packet of its own.
                    await asyncio.sleep(0)
            with suppress(ConnectionError):
                await writer.drain()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        session = _Session(self, writer)
        try:
            if not self.mute:
                await self.write_to(writer, BANNER)
            while True:
                raw = await reader.readuntil(b"\r\n\r\n")
                self.log += raw
                if not self.mute and not await session.answer(headers(raw)):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self.leavers += 1
            self._writers.discard(writer)
            self._listeners.discard(writer)
            writer.close()


class _Session:
    """The conversation of one connection."""

    def __init__(self, server: AmiServer, writer: asyncio.StreamWriter) -> None:
        self._server, self._writer = server, writer
        self._challenge = str(180_000_000 + server.connections)
        self._in = False

    async def answer(self, told: Headers) -> bool:
        """Answer an action; return False where the connection is to end."""
        server, action = self._server, told.get("Action", "")
        server.asked[action] += 1
        if action == "Challenge" and server.offers_challenge:
            await self._reply(told, "Success", Challenge=self._challenge)
        elif action == "Login":
            return await self._login(told)
        elif not self._in:
            await self._reply(told, "Error", Message="Permission denied")
        elif server.shutting_down:
            await self._reply(told, "Error", Message="Asterisk is shutting down")
        elif not server.booted and action in RIGHTS:
            await self._unknown(told)
        else:
            await self._perform(told, action)
        return True

    async def _login(self, told: Headers) -> bool:
        server = self._server
        key = hashlib.md5((self._challenge + SECRET).encode()).hexdigest()  # noqa: S324
        right = key == told.get("Key") if "Key" in told else told.get("Secret") == SECRET
        if server.shutting_down:
            await self._reply(told, "Error", Message="Asterisk is shutting down")
            return False
        if not right or told.get("Username") != USER:
            await asyncio.sleep(server.login_pause)
            await self._reply(told, "Error", Message="Authentication failed")
            return False
        self._in = True
        await self._reply(told, "Success", Message="Authentication accepted")
        if server.booted and "system" in server.read:
            uptime = str(int(server.now))
            told = {"Uptime": uptime, "LastReload": uptime, "Status": "Fully Booted"}
            await server.write_to(self._writer, event("FullyBooted", "system", **told))
        if "security" in server.read:
            known = event("SuccessfulAuth", "security", Service="AMI", AccountID=USER)
            await server.write_to(self._writer, known)
        server.admit(self._writer)
        return True

    async def _perform(self, told: Headers, action: str) -> None:
        server, rights = self._server, {**RIGHTS, **UNASKED}
        if action not in rights or (action in RIGHTS and action not in server.modules):
            await self._unknown(told)
        elif rights[action] and rights[action] not in server.write:
            server.refused[action] += 1
            await self._reply(told, "Error", Message="Permission denied")
            await server.say(event("RequestNotAllowed", "security", Service="AMI"))
        elif (messages := server.recorded(action, server.now)) is not None:
            mark = told["ActionID"].encode()
            await server.write_to(
                self._writer, b"".join(one.replace(b"%ID%", mark) for one in messages)
            )
        elif action in COMPLETE:
            await self._list(told, action)
        elif action == "ListCommands":
            await self._list_commands(told, rights)
        elif action == "CoreStatus":
            date, _, time = server.pbx.started.partition(" ")
            calls = str(len(server.pbx.channels))
            began = {"CoreStartupDate": date, "CoreStartupTime": time}
            await self._reply(told, "Success", **began, CoreCurrentCalls=calls)
        else:
            await self._reply(told, "Success", Ping="Pong")

    async def _list(self, told: Headers, action: str) -> None:
        server, mark = self._server, {"ActionID": told["ActionID"]}
        items = list(server.pbx.items(action, server.now))
        if not items and action in EMPTY:
            await self._reply(told, "Error", Message=EMPTY[action])
            return
        await self._reply(told, "Success", EventList="start", Message="A list will follow")
        end = {**mark, "EventList": "Complete", "ListItems": str(len(items))}
        data = [message("Event", name, {**mark, **item}) for name, item in items]
        data.append(message("Event", COMPLETE[action], end))
        if not server.item_pause:
            data = [b"".join(data)]
        for one in data:
            await server.write_to(self._writer, one)
            await asyncio.sleep(server.item_pause)

    async def _list_commands(self, told: Headers, rights: Headers) -> None:
        server = self._server
        if not server.lists_commands:
            await self._unknown(told)
            return
        allowed = {
            action: f"Does something. (Priv: {right or '<none>'},all)"
            for action, right in rights.items()
            if (not right or right in server.write)
            and (action not in RIGHTS or action in server.modules)
        }
        await self._reply(told, "Success", **allowed)

    async def _unknown(self, told: Headers) -> None:
        text = f"Invalid/unknown command: {told.get('Action')}. Use Action: ListCommands"
        await self._reply(told, "Error", Message=text)

    async def _reply(self, told: Headers, response: str, **more: str) -> None:
        mark = {"ActionID": told["ActionID"]} if "ActionID" in told else {}
        data = message("Response", response, {**mark, **more})
        await self._server.write_to(self._writer, data)
