"""An intake with its own outbox, without the rest of a collector."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from collector.admission import Network, RateLimit
from collector.intakes.asl.intake import AslIntake
from collector.intakes.asl.points import ReportConverter
from collector.intakes.door import Door
from collector.lines import Stamper
from collector.metrics import Metrics
from collector.outbox import FILE, Outbox, OutboxFile
from collector.privacy import Pseudonymiser, ServerPseudonym
from collector.schema.budgets import ASL_BUDGETS
from collector.tag_budget import Change, TagBudget
from tests.sender import GUARD_S, KEY
from tools.simulation.sending import EveryNode

PSEUDONYMS = Pseudonymiser(KEY)


class Choices:
    """Choices of owners; the look-up fails for servers in `broken`."""

    def __init__(self) -> None:
        self.out: set[ServerPseudonym] = set()
        self.broken: set[ServerPseudonym] = set()

    def opted_out(self, server: ServerPseudonym) -> bool:
        if server in self.broken:
            raise KeyError(server)
        return server in self.out


class Receiving:
    """An intake with an outbox in the directory `path`; it needs a running event loop."""

    def __init__(
        self,
        path: Path,
        *,
        rate_limit: int = 0,
        trusted_proxies: Sequence[Network] = (),
        read_timeout_s: float = GUARD_S,
    ) -> None:
        self.metrics = Metrics()
        self.choices = Choices()
        self.remembered: list[Change] = []
        self.path = path / FILE
        self.outbox = Outbox(self.path, max_bytes=1 << 30, keep_seconds=60, metrics=self.metrics)
        self.intake = AslIntake(
            ReportConverter(
                pseudonyms=PSEUDONYMS,
                stamper=Stamper(instance=0),
                budget=TagBudget(ASL_BUDGETS, memory_days=90),
                nodelist=EveryNode(),
                metrics=self.metrics,
            ),
            opted_out=self.choices.opted_out,
            remember=self.remembered.extend,
            outbox=self.outbox,
            door=Door(
                trusted_proxies=trusted_proxies,
                read_timeout_s=read_timeout_s,
                unavailable=lambda: self.outbox.unavailable,
            ),
            rate_limit=RateLimit(per_hour=rate_limit, secret=bytes(32)),
            metrics=self.metrics,
            clock=time.time_ns,
        )

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    def servers(self) -> list[str]:
        """The server pseudonym of each stored report, in order."""
        with OutboxFile(self.path) as file:
            return [one.server for one in file.read(max_lines=10_000) if one.server]

    def dropped(self) -> list[bytes]:
        """The lines that count dropped reports."""
        with OutboxFile(self.path) as file:
            return [one.lines for one in file.read(max_lines=10_000) if not one.server]
