"""Orders of owners over a real NATS server: what each hop does with them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from collector.app.writing import WriterDuties
from collector.delivery.jetstream import JetStreamTarget
from collector.delivery.target import Blocked, Dead
from collector.delivery.writing import Writing, marked
from collector.jetstream import check, erasing, sealing
from collector.jetstream.board import Board, Conflict
from collector.jetstream.connection import Connection, NatsUnavailable
from collector.jetstream.erasing import JetStreamHops
from collector.jetstream.message import NotAnEntry, encode
from collector.jetstream.naming import message_id, range_of, subject
from collector.jetstream.orders import (
    Book,
    LateReport,
    order_erasure,
    order_quarantine,
    read_late,
    salt_of,
    tell_choice,
    tell_late,
)
from collector.jetstream.participants import Participation, behind, forget, participants
from collector.jetstream.publishing import Message, Publisher
from collector.jetstream.pulling import Puller
from collector.jetstream.sealing import Keeper, Keys, seal
from collector.memory import Choice
from collector.metrics import Metrics
from collector.orders import Cleared, ErasureOrder, Participant, digest_of
from collector.outbox import FILE, Entry, Outbox, Outboxes, OutboxFile, Pending, Queue
from collector.outbox.delivering import DeliveryLock
from collector.privacy import OwnerMark, ServerPseudonym
from collector.settings import Settings
from tests.command import command
from tests.conftest import Databases, StartServe
from tests.hops import Hops
from tests.nats_servers import answered, entries_in, make_queues
from tests.owners import OWN, OWNER, ask, body_of, holding, uuid_of
from tests.sender import GUARD_S, eventually, lay_key, post, server_name, until
from tools.nats import NatsServer

MINE = ServerPseudonym("3f00000000000001")
NEAR = ServerPseudonym("3f00000000000002")
"""A server in the same range of pseudonyms."""
MARK = OwnerMark("00000000000000aa")
ERASED = "collector_writer_erased_total"
BEFORE = 1_000
UNTIL = 2_000
AFTER = 3_000


def entry(server: ServerPseudonym, received_ns: int) -> Entry:
    line = f'node_report server="{server}" {received_ns}'.encode()
    return Entry(received_ns, server, 1, line)


@dataclass
class Place:
    """A state directory with an outbox, whose participant carries out orders when it is told."""

    board: Board
    directory: Path

    def __post_init__(self) -> None:
        self.directory.mkdir()
        self.lock = DeliveryLock(self.directory)
        outboxes = Outboxes(lambda: [self.directory])
        duties = WriterDuties(outboxes, self.lock)
        me = Participant(f"write-{self.directory.name}", "write", "alpha")
        self.participation = Participation(self.board, me, duties)

    def lay(self, *entries: Entry) -> None:
        with OutboxFile(self.directory / FILE) as file:
            file.append(*entries)

    def servers(self) -> set[ServerPseudonym]:
        with OutboxFile(self.directory / FILE) as file:
            return set(file.servers())


@dataclass
class Nats:
    """A connection to a server, and the settings for it."""

    to: Connection
    settings: Settings

    def board(self) -> Board:
        return Board(self.to, self.settings)

    def hops(self) -> JetStreamHops:
        return JetStreamHops(self.to, self.settings, "own")

    async def order(self, *, until_ns: int = UNTIL, asked_ns: int = 1) -> int:
        """Order the erasure of MINE, and wait for nobody."""
        board = self.board()
        digest = digest_of(MINE, await salt_of(board))
        return await order_erasure(board, ErasureOrder(digest, MARK, until_ns, asked_ns))

    async def publish(self, *entries: Entry) -> Metrics:
        """Publish entries as a receiver does."""
        metrics = Metrics()
        target = JetStreamTarget(self.to, self.settings, metrics, Queue.INFLUX)
        await target.prepare()
        pending = [Pending(number, *one) for number, one in enumerate(entries, start=1)]
        assert await target.store(await target.pack(pending)) == []
        return metrics

    async def put(self, *entries: Entry) -> None:
        """Publish entries as a receiver does that knows of no order."""
        key = await Keys(self.board()).newest()
        stream = self.settings.nats_stream
        await Publisher(self.to, stream).publish(
            [
                Message(
                    subject(stream, one.target, one.server), message_id(one), seal(key, encode(one))
                )
                for one in entries
            ]
        )

    async def held(self) -> list[tuple[ServerPseudonym | None, int]]:
        return [(one.server, one.received_ns) for one in await entries_in(self.to, self.settings)]


@pytest.fixture
async def nats(nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Nats]:
    # A machine that stands still is no failure here.
    monkeypatch.setattr("collector.jetstream.connection._REQUEST_S", GUARD_S)
    monkeypatch.setattr("collector.jetstream.publishing._ACK_S", GUARD_S)
    settings = Settings(nats_url=[nats_server.url], nats_replicas=1)
    async with Connection(settings, name="test", patience_s=GUARD_S) as to:
        yield Nats(to, settings)


async def test_a_participant_deletes_what_an_order_erases_and_states_it(
    nats: Nats, tmp_path: Path
) -> None:
    place = Place(nats.board(), tmp_path / "a")
    place.lay(entry(MINE, BEFORE), entry(MINE, AFTER), entry(NEAR, BEFORE))
    await place.participation.step()
    revision = await nats.order()
    (late,) = await behind(nats.board())
    assert (late.name, late.host, late.orders) == ("write-a", "alpha", 1)
    await place.participation.step()
    assert await behind(nats.board()) == []
    ((stated, _),) = await participants(nats.board())
    assert stated.upto == revision
    assert list(stated.cleared.values()) == [Cleared(waiting=1)]
    with OutboxFile(place.directory / FILE) as file:
        assert [one.received_ns for one in file.held(MINE).waiting] == [AFTER]
        assert len(file.held(NEAR).waiting) == 1
    # The same request again, with a later end: its counts are added.
    await nats.order(until_ns=AFTER)
    await place.participation.step()
    ((stated, _),) = await participants(nats.board())
    assert list(stated.cleared.values()) == [Cleared(waiting=2)]
    assert holding(MINE, place.directory) == []
    assert await forget(nats.board(), "write-a")
    assert not await forget(nats.board(), "write-a")


async def test_an_order_never_erases_less_than_an_earlier_one(nats: Nats) -> None:
    await nats.order(until_ns=AFTER)
    await nats.order(until_ns=BEFORE, asked_ns=2)
    book = Book(nats.board())
    (order,) = (await book.refresh()).erasures
    assert (order.until_ns, order.asked_ns) == (AFTER, 2)
    assert book.erased(MINE, AFTER)
    assert not book.erased(MINE, AFTER + 1)
    assert not book.erased(NEAR, BEFORE)
    assert not book.erased(None, BEFORE)
    assert MINE not in str(order)


async def test_an_erasure_names_who_has_carried_it_out_and_who_has_not(
    nats: Nats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "_PATIENCE_S", GUARD_S)
    monkeypatch.setattr(erasing, "SILENT", timedelta(seconds=GUARD_S))
    await make_queues(nats.to, nats.settings)
    here, away = (Place(nats.board(), tmp_path / name) for name in ("a", "b"))
    for place in (here, away):
        place.lay(entry(MINE, BEFORE), entry(NEAR, BEFORE))
    stopped = asyncio.create_task(away.participation.run())
    await until_stated(nats, 1)
    stopped.cancel()
    await asyncio.gather(stopped, return_exceptions=True)
    running = asyncio.create_task(here.participation.run())
    await until_stated(nats, 2)
    await nats.publish(entry(MINE, BEFORE), entry(NEAR, BEFORE), entry(MINE, AFTER))
    found = await nats.hops().erase(MINE, MARK, until_ns=UNTIL, asked_ns=1)
    assert found.stream == 1
    assert found.carried_out == ("write-a",)
    assert found.cleared == {"write-a": Cleared(waiting=1)}
    assert list(found.not_yet) == ["write-b"]
    assert await nats.held() == [(NEAR, BEFORE), (MINE, AFTER)]
    assert here.servers() == {NEAR}
    monkeypatch.setattr(check, "ORDER_S", 0.0)
    wrong = [text for good, text in await check.examine(nats.settings) if not good]
    assert any("write-b on alpha has not carried out 1 orders of owners" in one for one in wrong)
    # When it is back it does so first.
    await away.participation.step()
    assert away.servers() == {NEAR}
    assert await behind(nats.board()) == []
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def until_stated(nats: Nats, count: int) -> None:
    board = nats.board()
    async with asyncio.timeout(GUARD_S):
        while len(await participants(board)) < count:  # noqa: ASYNC110 - another process states it
            await asyncio.sleep(0.05)


async def test_a_receiver_publishes_nothing_that_an_order_erases(nats: Nats) -> None:
    await make_queues(nats.to, nats.settings)
    await nats.order()
    assert range_of(MINE) == range_of(NEAR)
    metrics = await nats.publish(entry(MINE, BEFORE), entry(NEAR, BEFORE), entry(MINE, AFTER))
    assert await nats.held() == [(NEAR, BEFORE), (MINE, AFTER)]
    assert metrics.registry.get_sample_value(ERASED, {"target": "influx"}) == 1


@dataclass
class Meanwhile:
    """A target that orders an erasure while it stores a batch, unless `orders` is negative."""

    nats: Nats
    stored: list[Pending] = field(default_factory=list)
    orders: int = 0

    def reports(self) -> set[tuple[ServerPseudonym | None, int]]:
        return {(one.server, one.received_ns) for one in self.stored}

    async def prepare(self) -> None:
        pass

    async def pack(self, entries: Sequence[Pending]) -> Sequence[Pending]:
        return entries

    async def store(self, packed: Sequence[Pending]) -> Sequence[Dead]:
        self.stored += packed
        if self.orders >= 0 and any(one.server == MINE for one in packed):
            self.orders += 1
            await self.nats.order()
        return []


@asynccontextmanager
async def writing(nats: Nats, target: Meanwhile, directory: Path) -> AsyncIterator[Metrics]:
    metrics = Metrics()
    outbox = Outbox(directory / FILE, max_bytes=1 << 20, keep_seconds=0, metrics=metrics)
    loop = Writing(
        Puller(nats.to, nats.settings.nats_stream, Queue.INFLUX),
        target,
        outbox,
        nats.board(),
        DeliveryLock(directory),
        metrics,
        queue=Queue.INFLUX,
    )
    running = asyncio.create_task(loop.run())
    yield metrics
    loop.stop()
    await running
    await outbox.close()


async def test_a_writer_drops_what_is_erased_and_tells_of_what_it_stored_too_late(
    nats: Nats, tmp_path: Path
) -> None:
    await make_queues(nats.to, nats.settings)
    target = Meanwhile(nats)
    async with writing(nats, target, tmp_path) as metrics:
        await nats.publish(entry(MINE, BEFORE), entry(NEAR, BEFORE))
        await until(lambda: target.orders == 1)
        # A receiver that knows of no order yet has published it.
        await nats.put(entry(MINE, BEFORE + 1), entry(NEAR, BEFORE + 1))
        await until(lambda: (NEAR, BEFORE + 1) in target.reports())
        dropped = {"target": "influx"}
        await until(lambda: bool(metrics.registry.get_sample_value(ERASED, dropped)))
    assert target.orders == 1
    assert target.reports() == {(MINE, BEFORE), (NEAR, BEFORE), (NEAR, BEFORE + 1)}
    book, keys = Book(nats.board()), Keys(nats.board())
    (told,) = (await book.refresh()).late
    assert MINE.encode() not in told.value
    late = await read_late(keys, told)
    assert late == (MINE, BEFORE)


async def test_reports_of_a_batch_in_quarantine_are_marked_when_they_are_stored(
    nats: Nats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.jetstream.orders._MOST_DIGESTS", 1)
    await make_queues(nats.to, nats.settings)
    board = nats.board()
    await nats.hops().quarantine(7, (BEFORE, AFTER), [NEAR, MINE])
    assert await order_quarantine(board, 7, (BEFORE, AFTER), [MINE]) > 0
    for stamp in (BEFORE, AFTER):
        await nats.put(entry(MINE, stamp), entry(NEAR, stamp))
    target = Meanwhile(nats)
    target.orders = -1
    async with writing(nats, target, tmp_path):
        laid = {(server, stamp) for server in (MINE, NEAR) for stamp in (BEFORE, AFTER)}
        await until(lambda: target.reports() == laid)
        await nats.hops().quarantine(7, (BEFORE, AFTER), [])
        await nats.put(entry(MINE, BEFORE + 1))
        await until(lambda: (MINE, BEFORE + 1) in target.reports())
    with_mark = {
        (one.server, one.received_ns) for one in target.stored if b"quarantine=7i " in one.lines
    }
    assert with_mark == {(MINE, BEFORE)}
    assert b"quarantine" not in target.stored[-1].lines
    assert marked(b"node_report a=1i 5\nother a=1i 6", 3) == (
        b"node_report a=1i,quarantine=3i 5\nother a=1i 6"
    )


async def test_a_replaced_key_is_destroyed_when_no_message_needs_it(
    nats: Nats, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_queues(nats.to, nats.settings)
    board, keeper = nats.board(), Keeper(nats.board())
    await keeper.look()
    (first,) = (await sealing.read(board)).values()
    await nats.publish(entry(NEAR, BEFORE))
    sealed = await answered(lambda: message(nats, 1))
    assert NEAR.encode() not in sealed
    await sealing.replace(board, await sealing.read(board))
    await keeper.look()
    assert len(await sealing.read(board)) == 2
    monkeypatch.setattr(sealing, "_SPARED_S", 0.0)
    await keeper.look()
    # A message is sealed with it.
    assert len(await sealing.read(board)) == 2
    keys = Keys(nats.board())
    assert NEAR.encode() in await keys.opened(sealed)
    jetstream = await nats.to.jetstream()
    await jetstream.purge_stream(nats.settings.nats_stream)
    assert any(first.secret in file.read_bytes() for file in nats_server.store.rglob("*.blk"))
    await keeper.look()
    assert [one.number for one in (await sealing.read(board)).values()] == [first.number + 1]
    assert not any(first.secret in file.read_bytes() for file in nats_server.store.rglob("*.blk"))
    with pytest.raises(NotAnEntry, match="destroyed"):
        await Keys(nats.board()).opened(sealed)
    monkeypatch.setattr(sealing, "REPLACED_S", 0.0)
    monkeypatch.setattr(sealing, "_MOST_KEYS", 1)
    await keeper.look()
    assert max(await sealing.read(board)) == first.number + 1
    monkeypatch.setattr(sealing, "_MOST_KEYS", 2)
    await keeper.look()
    assert max(await sealing.read(board)) == first.number + 2


async def message(nats: Nats, seq: int) -> bytes:
    found = await (await nats.to.jetstream()).get_msg(nats.settings.nats_stream, seq)
    return found.data or b""


async def test_a_sender_that_heard_nothing_of_the_keys_for_long_sends_again(
    nats: Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_queues(nats.to, nats.settings)
    target = JetStreamTarget(nats.to, nats.settings, Metrics(), Queue.INFLUX)
    pending = [Pending(1, *entry(NEAR, BEFORE))]
    await target.prepare()
    with monkeypatch.context() as patched:
        patched.setattr(sealing, "VALID_S", 0.0)
        with pytest.raises(Blocked, match="too late"):
            await target.store(await target.pack(pending))
    board = nats.board()
    await sealing.replace(board, await sealing.read(board))
    monkeypatch.setattr(sealing, "LOOK_S", 0.0)
    monkeypatch.setattr(sealing, "VALID_S", GUARD_S)
    assert await target.store(await target.pack(pending)) == []
    # Under another key it is another message to the stream, which would drop an equal one.
    assert await nats.held() == [(NEAR, BEFORE)] * 2


async def test_what_is_not_readable_is_left_out_and_named(
    nats: Nats, capsys: pytest.CaptureFixture[str]
) -> None:
    board = nats.board()
    for key in ("do.erase.x", "do.choice.x", "do.late.x", "do.quarantine.x", "at.x"):
        await board.put(key, b"[]")
    await board.put("do.erase.y", b"{")
    news = await Book(board).refresh()
    assert (news.erasures, news.choices, len(news.late)) == ([], [], 1)
    assert await read_late(Keys(board), news.late[0]) is None
    assert await participants(board) == []
    said = capsys.readouterr().out
    for words in ("an order", "a choice", "a writer's report", "a quarantine", "a participant"):
        assert f"{words} in NATS cannot be read" in said
    keys = Keys(board)
    number = (await keys.newest()).number
    for body in (b"2 x\n", b"2 99\n", b"2 %d\nshort" % number, b"2 %d\n%b" % (number, bytes(99))):
        with pytest.raises(NotAnEntry):
            await keys.opened(body)
    assert await keys.opened(b"1 of an earlier version") == b"1 of an earlier version"


async def test_orders_are_given_again_after_all_are_lost(
    nats: Nats, nats_server: NatsServer
) -> None:
    book, board = Book(nats.board()), nats.board()
    await nats.order()
    await book.refresh()
    assert book.erased(MINE, BEFORE)
    with pytest.raises(Conflict):
        await board.put("salt", b"", last=0)
    await board.erase(10_000)
    nats_server.kill()
    async with Connection(nats.settings, name="test", patience_s=0.2) as to:
        away = Nats(to, nats.settings)
        there = away.board()
        for asked in (
            there.last("salt"), there.after("do", 0), there.put("x", b""), there.erase(1),
            there.replicas(), Book(there).refresh(), away.hops().sweep(MINE, until_ns=1),
        ):  # fmt: skip
            with pytest.raises(NatsUnavailable):
                await asked
    nats_server.wipe()
    nats_server.start()
    assert await answered(lambda: nats.hops().sweep(MINE, until_ns=UNTIL)) == 0
    assert await answered(nats.board().replicas) is None
    await answered(book.refresh)
    assert not book.erased(MINE, BEFORE)
    await nats.order()
    await book.refresh()
    assert book.erased(MINE, BEFORE)


async def test_a_board_of_fewer_replicas_is_used_and_named_by_the_check(nats: Nats) -> None:
    await nats.board().adapt()
    await nats.board().adapt()
    settings = nats.settings.model_copy(update={"nats_replicas": 3})
    wanted = Board(nats.to, settings)
    await wanted.put("x", b"y")
    wrong = [text for good, text in await check.examine(settings) if not good]
    assert any("stream usage-orders" in one and "1 servers, wanted 3" in one for one in wrong)
    # There are no three servers.
    with pytest.raises(NatsUnavailable):
        await wanted.adapt()


async def test_the_latest_choice_holds(nats: Nats) -> None:
    board, book = nats.board(), Book(nats.board())
    for out, at in ((True, 5), (False, 9), (True, 7)):
        await tell_choice(board, Choice(MARK, out, at))
    assert (await book.refresh()).choices == [Choice(MARK, False, 9)]


def test_choices_and_late_reports_reach_every_receiver(
    nats_server: NatsServer, databases: Databases, serve: StartServe, tmp_path: Path
) -> None:
    hops = Hops(nats_server, databases, serve, tmp_path)
    for number in (1, 2):
        lay_key(tmp_path / f"receiver-{number}")
    # The first erasure waits as long for the lock of the rollup, which nobody has had yet.
    lease = {"COLLECTOR_LEASE": "5s"}
    first, second, _ = hops.receiver(**lease), hops.receiver(**lease), hops.writer()
    for body in (OWN, body_of(1)):
        assert post(second.url, body).status == 200
    eventually(lambda: raw_of(databases, OWNER) == 1)
    # On a machine that stands still the lock may be lost, and the erasure be done later.
    assert ask(first.url, "/opt-out").status in {200, 202}
    eventually(lambda: raw_of(databases, OWNER) == 0)

    def ignored() -> bool:
        return "opted-out" in post(second.url, OWN).body.decode()

    eventually(ignored)
    # What it took before it knew is erased as well.
    eventually(lambda: raw_of(databases, OWNER) == 0)
    eventually(lambda: not holding(OWNER, second.state_dir / FILE))
    assert ask(second.url, "/opt-in").status == 200
    eventually(lambda: "opted-out" not in post(first.url, OWN).body.decode())
    eventually(lambda: raw_of(databases, OWNER) >= 1)

    async def tell() -> None:
        async with Connection(hops.settings, name="test", patience_s=GUARD_S) as to:
            board = Board(to, hops.settings)
            report = LateReport(ServerPseudonym(OWNER), time.time_ns())
            await tell_late(board, Keys(board), await salt_of(board), report)

    asyncio.run(tell())
    eventually(lambda: raw_of(databases, OWNER) == 0)
    eventually(lambda: raw_of(databases, server_name(uuid_of(1))) == 1)
    asked = command(first.environment, "my-data", "erase", uuid_of(0))
    assert "write-" in asked.out or "is stored" in asked.out
    assert command(first.environment, "my-data", "forget", "write-none").code == 1


def raw_of(databases: Databases, server: str) -> int:
    where = f"\"server\" = '{server}'"
    found = databases.server.query(f"SELECT nodes FROM server_report WHERE {where}", databases.raw)
    return len(found)
