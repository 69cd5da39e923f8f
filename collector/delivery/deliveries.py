"""The delivery loops of one outbox, one for each target."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from collector.delivery.loop import Delivery
from collector.delivery.target import Target
from collector.metrics import Metrics
from collector.outbox import Outbox, Queue
from collector.outbox.delivering import DeliveryLock

_NONE: Final[Mapping[Queue, int]] = MappingProxyType({})


class Deliveries:
    """The delivery loops of an outbox; each waits and retries independently.

    `lock` and `holds` are as in `Delivery`; `sent` are the highest numbers, by queue, that an
    earlier process may have sent.
    """

    def __init__(
        self,
        outbox: Outbox,
        targets: Mapping[Queue, Target[Any]],
        metrics: Metrics,
        lock: DeliveryLock,
        *,
        holds: Callable[[], str | None] = lambda: None,
        sent: Mapping[Queue, int] = _NONE,
    ) -> None:
        self._loops = {
            queue: Delivery(
                outbox,
                target,
                metrics,
                lock,
                queue=queue,
                holds=holds,
                sent_id=sent.get(queue, 0),
            )
            for queue, target in targets.items()
        }

    def __iter__(self) -> Iterator[Delivery[Any]]:
        return iter(self._loops.values())

    def stop(self) -> None:
        """Make each loop deliver the rest and return, all at the same time."""
        for loop in self._loops.values():
            loop.stop()

    def sent(self) -> Mapping[Queue, int]:
        """Return, for each queue, the highest number of an entry that may have been sent."""
        return {queue: loop.sent_id for queue, loop in self._loops.items()}
