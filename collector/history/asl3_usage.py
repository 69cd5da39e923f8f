"""Import of an ASL3-Usage database: its plan, and its execution.

Rows of `asl_usage` become days of `daily_usage`; rows of `nodes` become raw reports. The plan is
complete before anything is written and leaves out points that are stored already, so that an
interrupted import can be repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final, Self, TypeVar

from collector.days import day_ns, day_of
from collector.history.asl3_dump import Row
from collector.history.asl3_raw import (
    DayReports,
    SecondStamper,
    imported_lines,
    stored_reports,
    time_of,
)
from collector.history.asl3_rows import (
    IMPORTED,
    Gap,
    OldDay,
    OldNode,
    OldReport,
    Skipped,
    last_of_each_day,
    old_day,
    old_node,
    old_reports,
)
from collector.influx import Influx, Select, read_if_there, rows_of
from collector.influx.writing import write_all
from collector.intakes.asl.points import ListedNodes, ReportConverter
from collector.lines import line
from collector.metrics import Metrics
from collector.outbox import Entry
from collector.privacy import Pseudonymiser, ServerPseudonym
from collector.problems import Refusal
from collector.schema import DAILY, DAILY_USAGE, RAW, SERVER_REPORT
from collector.tag_budget import TagBudget

T = TypeVar("T")

_DAY_S: Final = 86_400
_EXPIRY_MARGIN: Final = timedelta(hours=1)
"""Points that expire within this time are skipped: they could expire before they are written."""
_BATCH: Final = 500


@dataclass(slots=True)
class SourceTables:
    """Rows of an ASL3-Usage database, the numbers of all by table and of skipped ones by reason."""

    days: list[OldDay] = field(default_factory=list)
    nodes: list[OldNode] = field(default_factory=list)
    rows: Counter[str] = field(default_factory=Counter)
    skipped_days: Counter[str] = field(default_factory=Counter)
    skipped_nodes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, rows: Iterable[tuple[str, Row]], zone: tzinfo) -> Self:
        """Convert all `rows`; times in `nodes` are in `zone`. Raises TableError."""
        data = cls()
        for table, row in rows:
            data.rows[table] += 1
            if table == "asl_usage":
                day = old_day(row)
                if isinstance(day, Skipped):
                    data.skipped_days[day] += 1
                else:
                    data.days.append(day)
            else:
                node = old_node(row, zone)
                if isinstance(node, Skipped):
                    data.skipped_nodes[node] += 1
                else:
                    data.nodes.append(node)
        return data


@dataclass(slots=True)
class Plan:
    """Plan of an import.

    `days` will be written; those in `changed` replace days of an earlier import. Days in
    `unchanged` are stored already with the same fields. `own_days` were computed by the collector
    and are not overwritten. `reports` are raw lines by report, oldest first.
    """

    days: dict[date, dict[str, int]] = field(default_factory=dict)
    changed: set[date] = field(default_factory=set)
    unchanged: list[date] = field(default_factory=list)
    own_days: list[date] = field(default_factory=list)
    skipped_days: Counter[str] = field(default_factory=Counter)
    reports: list[Entry] = field(default_factory=list)
    nodes: int = 0
    skipped_nodes: Counter[str] = field(default_factory=Counter)
    gaps: Counter[Gap] = field(default_factory=Counter)

    @property
    def steps(self) -> int:
        """The number of days and reports to write."""
        return len(self.days) + len(self.reports)


@dataclass(eq=False)
class Import:
    """Imports an older server's history into one InfluxDB, as of `now` (UTC).

    `retention` is in seconds by database, 0 for unlimited. `listed` decides which public nodes
    count; `opted_out` returns whether the owner of a server has opted out.
    """

    influx: Influx
    _: KW_ONLY
    pseudonyms: Pseudonymiser
    budget: TagBudget
    listed: ListedNodes
    k: int
    retention: dict[str, int]
    now: datetime
    opted_out: Callable[[ServerPseudonym], bool] = lambda _: False

    def __post_init__(self) -> None:
        self._stamper = SecondStamper()
        self._converter = ReportConverter(
            pseudonyms=self.pseudonyms,
            stamper=self._stamper,
            budget=self.budget,
            nodelist=self.listed,
            metrics=Metrics(),
        )

    async def plan(self, data: SourceTables) -> Plan:
        """Make the plan; writes nothing. Raises InfluxError."""
        plan = Plan(skipped_days=data.skipped_days.copy(), skipped_nodes=data.skipped_nodes.copy())
        await self._plan_days(plan, data.days)
        await self._plan_reports(plan, data.nodes)
        return plan

    async def apply(self, plan: Plan, advance: Callable[[int], None]) -> None:
        """Execute a plan; `advance` is called with the number of days or reports written.

        The databases must exist. After an interruption, plan and apply again. Raises InfluxError.
        """
        days = sorted(plan.days)
        for batch in _batches(days):
            for day in (day for day in batch if day in plan.changed):
                # InfluxDB cannot delete a field: the point is deleted and rewritten.
                await self.influx.delete(DAILY, DAILY_USAGE.name, f"time = {day_ns(day)}")
            lines = [line(DAILY_USAGE.name, "", plan.days[day], day_ns(day)) for day in batch]
            await write_all(self.influx, DAILY, DAILY, lines)
            advance(len(batch))
        for reports in _batches(plan.reports):
            await write_all(self.influx, RAW, RAW, [imported_lines(entry) for entry in reports])
            advance(len(reports))

    async def _plan_days(self, plan: Plan, days: list[OldDay]) -> None:
        found = last_of_each_day(days)
        if superseded := len(days) - len(found):
            plan.skipped_days[Skipped.SUPERSEDED] += superseded
        if not found:
            return
        stored = await self._stored_days()
        ours = await self._days_with_own_reports(found[0].day, found[-1].day)
        for old in found:
            there = stored.get(old.day)
            if old.day >= self.now.date():
                plan.skipped_days[Skipped.NOT_ENDED] += 1
            elif self._expires(DAILY, datetime.combine(old.day, datetime.min.time(), UTC)):
                plan.skipped_days[Skipped.EXPIRED] += 1
            elif old.day in ours or (there is not None and there.get(IMPORTED) != 1):
                plan.own_days.append(old.day)
            elif there == (wanted := old.fields(self.k)):
                plan.unchanged.append(old.day)
            else:
                plan.days[old.day] = wanted
                plan.gaps[Gap.CHANNELS_CONTRADICT] += old.contradicts
                if there is not None:
                    plan.changed.add(old.day)

    async def _stored_days(self) -> dict[date, dict[str, int]]:
        """Read the fields of each day of `daily_usage`."""
        found = rows_of(await read_if_there(self.influx, Select.rows(DAILY_USAGE)))
        return {
            day_of(int(row["time"])): {
                name: value for name, value in row.items() if name != "time" and value is not None
            }
            for row in found
        }

    async def _days_with_own_reports(self, first: date, last: date) -> set[date]:
        """The days with raw reports that senders sent to this collector, rolled up or not."""
        start, end = day_ns(first), day_ns(last + timedelta(days=1))
        select = Select(
            RAW,
            SERVER_REPORT.name,
            ["count(server) AS received", f"count({IMPORTED}) AS imported"],
            f"time >= {start} AND time < {end}",
            "GROUP BY time(1d) fill(none)",
        )
        found = rows_of(await read_if_there(self.influx, select))
        return {day_of(row["time"]) for row in found if row["received"] > (row["imported"] or 0)}

    async def _plan_reports(self, plan: Plan, nodes: list[OldNode]) -> None:
        valid = []
        for node in nodes:
            written = datetime.fromtimestamp(node.written_s, UTC)
            if written > self.now:
                plan.skipped_nodes[Skipped.IN_THE_FUTURE] += 1
            elif self._expires(RAW, written):
                plan.skipped_nodes[Skipped.EXPIRED] += 1
            else:
                valid.append(node)
        day, there = -1, DayReports()
        for report in old_reports(valid):
            if (new := report.second // _DAY_S) != day:
                day, there = new, await stored_reports(self.influx, new)
                for stored in there.imported.values():
                    self._stamper.hold(stored.time_ns, stored.nodes + 1)
            self._plan_report(plan, report, there)

    def _plan_report(self, plan: Plan, report: OldReport, there: DayReports) -> None:
        rows = len(report.nodes)
        server = self.pseudonyms.server(report.uuid)
        if (why := there.skip_reason(server, report)) is not None:
            plan.skipped_nodes[why] += rows
            return
        if self.opted_out(server):
            plan.skipped_nodes[Skipped.OPTED_OUT] += rows
            return
        understood = self._converter.of(report.body(), time_of(report, server))
        if isinstance(understood, Refusal):
            plan.skipped_nodes[understood.reason.value] += rows
            return
        plan.skipped_nodes.update(understood.ignored)
        plan.reports.append(understood.entry)
        plan.nodes += understood.nodes
        plan.gaps.update(gap for node in report.nodes for gap in node.gaps)

    def _expires(self, database: str, moment: datetime) -> bool:
        seconds = self.retention[database]
        return seconds > 0 and moment < self.now - timedelta(seconds=seconds) + _EXPIRY_MARGIN


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for first in range(0, len(items), _BATCH):
        yield items[first : first + _BATCH]
