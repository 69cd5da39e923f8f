"""An honest client during an attack: measures its replies and the cost of the attack."""

from __future__ import annotations

import os
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.busy import measured
from tests.conftest import Databases, Serve
from tests.reliability import Cost, Row, Suite, record
from tests.sender import encoded, eventually, key_of, metric, node_name, post, report

HONEST = "127.0.0.9"
_PAUSE_S = 0.1
_FIRST_NODE = 1_000_000_000


def resident(process: int) -> int:
    """Resident memory of a process, in bytes."""
    status = Path(f"/proc/{process}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) << 10


def descriptors(process: int) -> int:
    """Number of open file descriptors of a process."""
    return len(os.listdir(f"/proc/{process}/fd"))  # noqa: PTH208 - no Path each for a count


@dataclass
class Watch:
    """Measurements during an attack."""

    collector: Serve
    databases: Databases
    source: str
    before_reports: int
    before_bytes: int
    statuses: Counter[int] = field(default_factory=Counter)
    acknowledged: list[int] = field(default_factory=list)
    sent: int = 0
    slowest_s: float = 0.0
    most_bytes: int = 0
    most_descriptors: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def grown(self) -> int:
        """The largest growth of the collector's memory during the attack, in bytes."""
        return self.most_bytes - self.before_bytes

    def _honest(self) -> None:
        node = _FIRST_NODE + (uuid.uuid4().int & 0x3FFFFFFF)
        self.sent += 1
        with measured(self.collector.process.pid) as spent:
            try:
                body = encoded(report([node]))
                status = post(self.collector.url, body, source=self.source).status
            except OSError:
                status = 0
        self.slowest_s = max(self.slowest_s, spent.own_s)
        self.statuses[status] += 1
        if status == 200:
            self.acknowledged.append(node)

    def _run(self) -> None:
        process = self.collector.process.pid
        while True:
            self._honest()
            self.most_bytes = max(self.most_bytes, resident(process))
            self.most_descriptors = max(self.most_descriptors, descriptors(process))
            if self._stop.wait(_PAUSE_S):
                return


@contextmanager
def watching(collector: Serve, databases: Databases, *, source: str = HONEST) -> Iterator[Watch]:
    """Run an honest client that sends ten reports a second from entry to exit."""
    labels = {"intake": "asl", "outcome": "accepted"}
    accepted = metric(collector.metrics_url, "collector_reports_total", **labels)
    eventually(lambda: reports(databases) == accepted)
    watch = Watch(collector, databases, source, reports(databases), resident(collector.process.pid))
    thread = threading.Thread(target=watch._run)  # noqa: SLF001 - its other half
    thread.start()
    try:
        yield watch
    finally:
        watch._stop.set()  # noqa: SLF001
        thread.join()


def stored(databases: Databases) -> Counter[str]:
    """The number of points in InfluxDB for each node, by pseudonym."""
    rows = databases.server.query('SELECT "node" FROM "node_report"', databases.raw)
    return Counter(row["node"] for row in rows)


def reports(databases: Databases) -> int:
    """The number of reports in InfluxDB."""
    return databases.server.count(databases.raw, "server_report", "server")


def settle(
    watch: Watch, attack: str, outcomes: Counter[int] | None = None, *, posts: bool = True
) -> None:
    """Check that InfluxDB has all acknowledged reports, honest ones once each; record the figures.

    `outcomes` are the statuses of the replies to the attack (0: cut off).
    """
    databases = watch.databases
    key = key_of(watch.collector.state_dir)
    wanted = [node_name(node, key) for node in watch.acknowledged]
    found: Counter[str] = Counter()

    def all_there() -> bool:
        found.clear()
        found.update(stored(databases))
        return all(name in found for name in wanted)

    eventually(all_there)
    counts = [found[name] for name in wanted]
    outcomes = outcomes or Counter()
    acknowledged = len(wanted)
    in_influxdb = sum(counts)
    if posts:
        acknowledged += outcomes[200]
        eventually(lambda: reports(databases) - watch.before_reports >= acknowledged)
        in_influxdb = reports(databases) - watch.before_reports
    record(
        Suite.HOSTILE,
        Row(
            fault=attack,
            rounds=1,
            sent=outcomes.total() + watch.sent,
            acknowledged=acknowledged,
            in_influxdb=in_influxdb,
            lost=max(0, acknowledged - in_influxdb),
            doubled=sum(count > 1 for count in counts),
            refused=sum(n for status, n in outcomes.items() if status >= 400),
            unanswered=outcomes[0] + watch.statuses[0],
        ),
    )
    record(
        Suite.COST,
        Cost(
            attack=attack,
            honest=watch.sent,
            honest_taken=len(watch.acknowledged),
            slowest_ms=round(watch.slowest_s * 1000),
            memory_mib=watch.most_bytes >> 20,
            grown_mib=watch.grown >> 20,
            descriptors=watch.most_descriptors,
        ),
    )
    assert watch.statuses.keys() == {200}, (watch.statuses, watch.collector.tail())
    assert set(counts) == {1}
    assert in_influxdb == acknowledged
    log = watch.collector.logs()
    assert "Traceback" not in log
    assert "level=error" not in log
