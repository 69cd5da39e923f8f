"""Queues: waiting callers, the ways in which callers left, and agents. Pure.

A caller who leaves was connected (AgentConnect, shortly before or after), gave up
(QueueCallerAbandon), or left for the dialplan, by a key or because the time was over. The last two
have no event of their own, but for that of the key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Final

from collector.asterisk_names import Names
from collector.intakes.ami.message import Message
from collector.intakes.ami.state.agents import Agents, AgentState
from collector.intakes.ami.state.queue import Caller, Queue
from collector.intakes.ami.state.times import NS_PER_S, Knowledge, since
from collector.intakes.series import Add
from collector.lines import label
from collector.schema.ami import QUEUES

MOST_QUEUES: Final = 200
MOST_CALLERS: Final = 20_000
"""Most callers in memory, of all queues: waiting, leaving, or talking."""
_DECIDED_AFTER: Final = 2 * NS_PER_S
"""Longest time between a Leave and its AgentConnect, QueueCallerAbandon or key."""
_WAIT_ROUNDED: Final = 2 * NS_PER_S
"""Most by which a listed wait is too short: it is in whole seconds, and some time old."""

_Handler = Callable[[Queue, Message, str, int], None]
"""Handles an event: its queue, its message, the channel's Uniqueid ("": none), the time."""


class Queues:
    """Queues of one Asterisk."""

    def __init__(self, names: Names, drops: Counter[str]) -> None:
        self._drops = drops
        self._agents = Agents(names, drops)
        self._queues: dict[str, Queue] = {}
        self._callers = 0
        # The queue that each caller, by Uniqueid, entered last.
        self._places: dict[str, Queue] = {}
        self._connection = 0
        self._was_listed = False
        self.knowledge = Knowledge()
        self.is_stale = False
        self.handlers: Final[Mapping[str, _Handler]] = {
            "QueueCallerJoin": self._join,
            "QueueCallerLeave": self._leave,
            "QueueCallerAbandon": self._abandon,
            "AgentConnect": self._connect,
            "AgentComplete": self._complete,
            "AgentRingNoAnswer": self._no_answer,
            "QueueMemberAdded": self._member,
            "QueueMemberStatus": self._member,
            "QueueMemberPause": self._member,
            "QueueMemberRemoved": self._remove_member,
        }
        """The handler of each event, by name."""

    # Events

    def take(self, message: Message, now_ns: int) -> None:
        """Handle an event of a queue."""
        queue = self._queue(message)
        if queue is not None:
            self.handlers[message.event](queue, message, message.get("Uniqueid"), now_ns)

    def _join(self, queue: Queue, message: Message, name: str, now_ns: int) -> None:
        """QueueCallerJoin: a caller begins to wait."""
        if not name:
            return
        queue.counts["entered"] += 1
        caller = queue.callers.get(name)
        if caller is not None and caller.left_ns is not None:
            # The same call returns before it is known how it left: it was not answered.
            self._settle(queue, name, caller)
            caller = None
        if caller is None:
            self._hold(queue, name, Caller(now_ns, self._connection))
        queue.count_waiting(message, 1)

    def _leave(self, queue: Queue, message: Message, name: str, now_ns: int) -> None:
        """QueueCallerLeave: a caller stops waiting."""
        caller = queue.callers.get(name)
        if caller is None:
            self._drops["unknown-caller"] += 1
            self.is_stale = True
        elif caller.has_given_up:
            self._release(queue, name)
        elif caller.left_ns is None:
            caller.left_ns = now_ns
        queue.count_waiting(message, -1)

    def _abandon(self, queue: Queue, message: Message, name: str, now_ns: int) -> None:
        """QueueCallerAbandon: a caller hung up while waiting; Leave follows."""
        queue.counts["abandoned"] += 1
        if queue.is_within(message):
            queue.counts["abandoned_within"] += 1
        caller = queue.callers.get(name)
        if caller is None:
            return
        queue.gave_up.add(since(caller.joined_ns, caller.left_ns or now_ns) / NS_PER_S)
        if caller.left_ns is not None:
            self._release(queue, name)
        else:
            caller.has_given_up, caller.left_ns = True, now_ns

    def _connect(self, queue: Queue, message: Message, name: str, now_ns: int) -> None:
        """AgentConnect: a caller is connected to an agent."""
        queue.counts["answered"] += 1
        if queue.is_within(message):
            queue.counts["within"] += 1
        self._agents.count(queue.name, message.get("Interface"), "answered")
        caller = queue.callers.get(name)
        if caller is None:
            caller = Caller(now_ns, self._connection)
            self._hold(queue, name, caller)
        else:
            queue.wait.add(since(caller.joined_ns, caller.left_ns or now_ns) / NS_PER_S)
        caller.left_ns = caller.left_ns or now_ns
        caller.answered_ns = now_ns

    def _complete(self, queue: Queue, message: Message, name: str, now_ns: int) -> None:
        """AgentComplete: a talk with an agent ends."""
        queue.counts["completed"] += 1
        caller = queue.callers.get(name)
        if caller is None or caller.answered_ns is None:
            return
        talk = since(caller.answered_ns, now_ns)
        queue.talk.add(talk / NS_PER_S)
        self._agents.count(queue.name, message.get("Interface"), "talk_ns", talk)
        self._release(queue, name)

    def _no_answer(self, queue: Queue, message: Message, name: str, now_ns: int) -> None:
        """AgentRingNoAnswer: an agent was called and did not answer."""
        queue.counts["unanswered"] += 1
        self._agents.count(queue.name, message.get("Interface"), "unanswered")

    def _member(self, queue: Queue, message: Message, name: str, now_ns: int) -> None:
        """QueueMemberAdded, -Status, -Pause: an agent and its state now."""
        self._agents.set(queue.name, message.get("Interface"), message)

    def _remove_member(self, queue: Queue, message: Message, name: str, now_ns: int) -> None:
        """QueueMemberRemoved: an agent is taken out of a queue."""
        self._agents.remove(queue.name, message.get("Interface"))

    def key(self, name: str, now_ns: int) -> None:
        """Record that a channel, by Uniqueid, sent a key."""
        if (caller := self._placed(name)) is not None:
            caller.key_ns = now_ns

    def hangup(self, name: str, now_ns: int) -> None:
        """Record that a channel, by Uniqueid, ended: its AgentComplete arrives now or never."""
        if (caller := self._placed(name)) is not None:
            caller.ended_ns = now_ns

    # Answers

    def listed(self, items: Sequence[Message], now_ns: int) -> None:
        """QueueStatus: all queues with their members, waiting callers and waits."""
        self._agents.clear()
        self._drop_unless({item.get("Queue") for item in items})
        waiting: dict[str, set[str]] = {}
        for item in items:
            found = self._queue(item)
            if found is None:
                continue
            listed = waiting.setdefault(found.name, set())
            found.is_confirmed = True
            if item.event == "QueueParams":
                found.service_level = item.whole("ServiceLevel")
            elif item.event == "QueueMember":
                self._agents.set(found.name, item.get("Location"), item)
            elif item.event == "QueueEntry":
                self._find(found, item, now_ns)
                listed.add(item.get("Uniqueid"))
        for name, queue in list(self._queues.items()):
            self._compare(queue, waiting.get(name, set()))
            if name not in waiting and not queue.callers and not queue.counts:
                # Asterisk no longer has it, and nothing is left to count.
                del self._queues[name]
        self.knowledge.complete()
        self._was_listed = True
        self.is_stale = False

    def lost(self, now_ns: int) -> None:
        """The connection has ended."""
        self._connection += 1
        self.knowledge.lose(now_ns)

    def asked(self, now_ns: int) -> None:
        """All questions are answered: unlisted callers of an earlier connection have left."""
        for queue in self._queues.values():
            self._miss(queue, set())
        self.knowledge.asked(now_ns)

    # Points

    def flush(self, now_ns: int, add: Add) -> None:
        """Add the points of a flush and reset the counts."""
        for queue in self._queues.values():
            self._decide(queue, now_ns)
        uncertain, now = self.knowledge.fields(now_ns), self.knowledge.is_known
        for name, queue in sorted(self._queues.items()):
            if not queue.is_confirmed:
                continue
            tags = {"queue": label(name)}
            fields = {**queue.take_counts(), **uncertain}
            if now:
                states = self._agents.states(name)
                fields |= queue.gauges(now_ns)
                fields |= {"members": states.total(), "available": states[AgentState.AVAILABLE]}
            add(QUEUES.name, tags, fields)
            self._agents.flush(name, tags, uncertain, now=now, add=add)

    # Parts

    def _queue(self, message: Message) -> Queue | None:
        """The queue of a message; None, counted as dropped, without a name or over the limit."""
        name = message.get("Queue")
        queue = self._queues.get(name)
        if queue is not None:
            return queue
        if not name:
            self._drops["malformed"] += 1
            return None
        if len(self._queues) >= MOST_QUEUES:
            self._drops["queues"] += 1
            return None
        self.is_stale = self.is_stale or self._was_listed
        return self._queues.setdefault(name, Queue(name, not self._was_listed))

    def _hold(self, queue: Queue, name: str, caller: Caller) -> None:
        if self._callers >= MOST_CALLERS:
            self._drops["callers"] += 1
            return
        self._callers += 1
        queue.callers[name] = caller
        self._places[name] = queue

    def _release(self, queue: Queue, name: str) -> None:
        del queue.callers[name]
        self._callers -= 1
        if self._places.get(name) is queue:
            del self._places[name]

    def _placed(self, name: str) -> Caller | None:
        queue = self._places.get(name)
        return None if queue is None else queue.callers.get(name)

    def _find(self, queue: Queue, item: Message, now_ns: int) -> None:
        """Add or update a waiting caller from the list."""
        name = item.get("Uniqueid")
        waited = (item.whole("Wait") or 0) * NS_PER_S
        caller = queue.callers.get(name)
        if (
            caller is not None
            and caller.seen < self._connection
            and since(caller.joined_ns, now_ns) > waited + _WAIT_ROUNDED
        ):
            # It left and came again while the connection was away.
            self._leave_unseen(queue, name, caller)
            caller = None
        if caller is not None:
            # The list may have been made before a Leave that arrived earlier.
            caller.seen = self._connection
        elif name:
            self._hold(queue, name, Caller(now_ns - waited, self._connection))

    def _miss(self, queue: Queue, listed: set[str]) -> None:
        """Count unlisted callers of an earlier connection as having left unseen."""
        for name, caller in list(queue.callers.items()):
            if caller.seen < self._connection and name not in listed:
                self._leave_unseen(queue, name, caller)
                queue.waiting = len(queue.inside())

    def _leave_unseen(self, queue: Queue, name: str, caller: Caller) -> None:
        if caller.left_ns is None:
            queue.counts["lost"] += 1
        self._settle(queue, name, caller)

    def _drop_unless(self, listed: Set[str]) -> None:
        """Remove queues that are known from events alone and missing from Asterisk's list."""
        for name, queue in list(self._queues.items()):
            if not queue.is_confirmed and name not in listed:
                self._drops["unknown-queue"] += 1
                for caller in list(queue.callers):
                    self._release(queue, caller)
                del self._queues[name]

    def _compare(self, queue: Queue, listed: set[str]) -> None:
        """Compare the callers of a queue with those that Asterisk lists."""
        self._miss(queue, listed)
        for name, caller in list(queue.callers.items()):
            is_missing = caller.left_ns is None and name not in listed
            if is_missing and caller.is_missing:
                # Missing twice: its Leave was not seen, rather than being on the way.
                queue.counts["lost"] += 1
                self._release(queue, name)
            caller.is_missing = is_missing
        queue.waiting = len(listed)

    def _decide(self, queue: Queue, now_ns: int) -> None:
        """Settle callers who left or ended so long ago that no further event concerns them."""
        for name, caller in list(queue.callers.items()):
            at = caller.left_ns if caller.answered_ns is None else caller.ended_ns
            if at is not None and since(at, now_ns) > _DECIDED_AFTER:
                self._settle(queue, name, caller)

    def _settle(self, queue: Queue, name: str, caller: Caller) -> None:
        """Remove a caller, counting one who left for the dialplan."""
        if caller.answered_ns is None and not caller.has_given_up and caller.left_ns is not None:
            key = caller.key_ns
            is_key = key is not None and abs(key - caller.left_ns) < _DECIDED_AFTER
            queue.counts["left_by_key" if is_key else "timed_out"] += 1
        self._release(queue, name)
