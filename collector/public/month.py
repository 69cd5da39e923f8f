"""Words and charts of a month's page, made from its report. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median_low
from typing import Final

from collector.events.event import Event, Kind
from collector.months.report import Change, MonthReport
from collector.public.charts import Chart, chart
from collector.public.events import words
from collector.public.language import Language
from collector.public.overview import Kind as RowKind
from collector.public.overview import ShareRow, shares
from collector.public.rendering import chart_alt, value_label
from collector.schema import (
    ARCH,
    ASL_VERSION,
    ASTERISK_VERSION,
    CHANNEL,
    OTHER,
    REGISTRATION,
    RELEASE,
    UNKNOWN,
)

_TOLD: Final = (ASL_VERSION.name, ASTERISK_VERSION.name)
"""Dimensions whose gains and losses have a section each."""
_BRIEFLY: Final = (RELEASE.name, ARCH.name, CHANNEL.name, REGISTRATION.name)
_MOST_NAMED: Final = 3
_MOST_LISTED: Final = 8
_MOST_BARS: Final = 8


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the sentences under it; `key` is `span`, `intake` or a dimension."""

    key: str
    heading: str
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """Change of one value's count in a month; `share` is relative to the largest change."""

    name: str
    change: int
    now: int
    share: float


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chart, the names of its lines, and its text alternative."""

    chart: Chart
    names: tuple[str, ...]
    alt: str


class MonthPage:
    """A month's page in one language."""

    def __init__(self, report: MonthReport, language: Language) -> None:
        self.report = report
        self._lang = language
        self._t, self._n = language.text, language.number

    @property
    def name(self) -> str:
        """The month in words, as a heading begins."""
        name = self._lang.month(self.report.first)
        return name[:1].upper() + name[1:]

    def lead(self) -> list[str]:
        """The first sentences: the last day, and what has changed since the first."""
        report, lang = self.report, self._lang
        nodes, servers = report.nodes_on(report.end), report.servers_on(report.end)
        found = [
            self._t(
                "month.lead",
                end=lang.short_day(report.end),
                nodes=self._n(nodes),
                servers=self._n(servers),
            )
        ]
        if report.begin < report.end:
            found.append(
                self._t(
                    "month.change",
                    begin=lang.short_day(report.begin),
                    nodes=lang.signed(nodes - report.nodes_on(report.begin)),
                    servers=lang.signed(servers - report.servers_on(report.begin)),
                )
            )
        return found

    def sections(self) -> list[Section]:
        """Everything that the page tells in sentences."""
        found = [Section("span", self._t("month.span"), tuple(self._span()))]
        for dimension in _TOLD:
            if change := self.report.tables.get(dimension):
                told = [*self._largest(dimension, change), *self._movements(dimension, change)]
                if dimension == ASL_VERSION.name:
                    told += self._upgrades()
                found.append(
                    Section(dimension, self._t(f"month.dimension.{dimension}"), tuple(told))
                )
        brief = [
            sentence
            for dimension in _BRIEFLY
            if (change := self.report.tables.get(dimension))
            for sentence in self._briefly(dimension, change)
        ]
        if brief:
            found.append(Section("platforms", self._t("month.platforms"), tuple(brief)))
        found.append(Section("intake", self._t("month.intake"), tuple(self._intake())))
        notes = [words(each, self._lang) for each in self._events(Kind.NOTE)]
        if notes:
            found.append(Section("notes", self._t("month.notes"), tuple(notes)))
        return found

    def summary(self) -> str:
        """The page in a few sentences, for a feed."""
        told = [*self.lead()]
        for section in self.sections():
            if section.key in _TOLD:
                told += [f"{section.heading}: {sentence}" for sentence in section.sentences[:3]]
        return " ".join(told)

    def node_chart(self) -> Drawn | None:
        """Nodes and servers of each day."""
        nodes, servers = self._by_day(self.report.nodes), self._by_day(self.report.servers)
        drawn = chart((nodes, servers), self.report.first, self.report.last)
        if drawn is None or not servers:
            return None
        return Drawn(
            drawn,
            (self._t("chart.nodes"), self._t("chart.servers")),
            chart_alt(self._lang, min(nodes), max(nodes), [*nodes.values()], [*servers.values()]),
        )

    def version_chart(self) -> Drawn | None:
        """Nodes of the most frequent AllStarLink versions, on each day."""
        counts = {name: self._by_day(line) for name, line in self.report.lines.items()}
        counts = {name: days for name, days in counts.items() if days}
        drawn = chart(tuple(counts.values()), self.report.first, self.report.last)
        if drawn is None:
            return None
        told = [
            self._t(
                "month.alt_line",
                version=self._label(ASL_VERSION.name, name),
                first=self._n(days[min(days)]),
                last=self._n(days[max(days)]),
            )
            for name, days in counts.items()
        ]
        names = tuple(self._label(ASL_VERSION.name, name) for name in counts)
        return Drawn(drawn, names, self._t("month.alt_versions", list="; ".join(told)))

    def bars(self) -> list[Bar]:
        """The largest gains and losses of AllStarLink versions, gains first."""
        change = self.report.tables.get(ASL_VERSION.name)
        moved = {v: n for v, n in _moved(change, {UNKNOWN}).items() if n} if change else {}
        most = sorted(moved, key=lambda value: (-abs(moved[value]), value))[:_MOST_BARS]
        scale = max((abs(moved[value]) for value in most), default=1)
        return [
            Bar(
                self._label(ASL_VERSION.name, value),
                moved[value],
                (change.is_now(value) or 0) if change else 0,
                abs(moved[value]) / scale,
            )
            for value in sorted(most, key=lambda value: (-moved[value], value))
        ]

    def bars_alt(self, bars: Iterable[Bar]) -> str:
        """Text alternative of the chart of `bars`."""
        told = (f"{bar.name} {self._lang.signed(bar.change)}" for bar in bars)
        return self._t("month.alt_bars", list="; ".join(told))

    def tables(self) -> Iterator[tuple[str, list[tuple[ShareRow, int | None]]]]:
        """The shares of the last day, by dimension, each with its change in the month if known."""
        for dimension in (*_TOLD, *_BRIEFLY):
            if change := self.report.tables.get(dimension):
                moved = _moved(change)
                yield (
                    dimension,
                    [
                        (row, moved.get(row.value) if row.kind is RowKind.VALUE else None)
                        for row in shares(dimension, change.after).rows
                    ],
                )

    def _span(self) -> list[str]:
        report, lang = self.report, self._lang
        found = []
        if report.begin > report.first:
            found.append(self._t("month.begins", begin=lang.short_day(report.begin)))
        if report.missing:
            key = "month.gap_one" if report.missing == 1 else "month.gap"
            found.append(self._t(key, number=self._n(report.missing)))
        nodes = self._by_day(report.nodes)
        high = max(nodes, key=lambda day: (nodes[day], day))
        low = min(nodes, key=lambda day: (nodes[day], day))
        if len(nodes) > 1:
            found.append(
                self._t(
                    "month.extremes",
                    high=self._n(nodes[high]),
                    high_day=lang.short_day(high),
                    low=self._n(nodes[low]),
                    low_day=lang.short_day(low),
                    middle=self._n(median_low(nodes.values())),
                )
            )
        if "nodes_30d" in report.windows:
            now, before = report.windows["nodes_30d"], report.windows_before.get("nodes_30d")
            found.append(
                self._t("month.window", nodes=self._n(now), end=lang.short_day(report.end))
                if before is None
                else self._t(
                    "month.window_change",
                    nodes=self._n(now),
                    end=lang.short_day(report.end),
                    change=lang.signed(now - before),
                    before=lang.short_day(report.first - timedelta(days=1)),
                )
            )
        if report.flows_known and {"new_nodes", "lapsed_nodes"} <= report.sums.keys():
            found.append(
                self._t(
                    "month.flow",
                    new=self._n(report.sums["new_nodes"]),
                    lapsed=self._n(report.sums["lapsed_nodes"]),
                )
            )
        if "reports" in report.sums:
            found.append(self._t("month.reports", reports=self._n(report.sums["reports"])))
        return found

    def _largest(self, dimension: str, change: Change) -> list[str]:
        named = change.after.keys() - {OTHER}
        if not named:
            return []
        value = max(named, key=lambda each: (change.after[each], each))
        share = change.after[value] / sum(change.after.values())
        key = "month.largest_unknown" if value == UNKNOWN else "month.largest"
        return [
            self._t(
                key,
                value=self._label(dimension, value),
                nodes=self._n(change.after[value]),
                share=self._lang.percent(share),
            )
        ]

    def _movements(self, dimension: str, change: Change) -> list[str]:
        moved = _moved(change, {UNKNOWN})
        found = []
        for key, values in (
            ("month.gained", sorted((v for v in moved if moved[v] > 0), key=lambda v: -moved[v])),
            ("month.lost", sorted((v for v in moved if moved[v] < 0), key=lambda v: moved[v])),
        ):
            told = [
                self._t(
                    "month.movement",
                    value=self._label(dimension, value),
                    change=self._lang.signed(moved[value]),
                    now=self._n(change.is_now(value) or 0),
                )
                for value in values[:_MOST_NAMED]
            ]
            if told:
                found.append(self._t(key, list=", ".join(told)))
        first = [each.item for each in self._events(Kind.VERSION) if each.subject == dimension]
        if first:
            listed = [self._label(dimension, value) for value in first]
            found.append(self._t("month.new", list=self._listed(listed)))
        return found

    def _upgrades(self) -> list[str]:
        if not self.report.upgraded:
            return []
        told = [
            self._t(
                "month.upgrade", origin=each.origin, target=each.target, nodes=self._n(each.nodes)
            )
            for each in self.report.upgrades[:_MOST_NAMED]
        ]
        number = self._n(self.report.upgraded)
        if not told:
            return [self._t("month.upgraded", number=number)]
        return [self._t("month.upgrades", number=number, list=", ".join(told))]

    def _briefly(self, dimension: str, change: Change) -> list[str]:
        """The most frequent values of a property, with their shares and changes."""
        total = sum(change.after.values())
        moved = _moved(change)
        most = sorted(change.after.keys() - {OTHER}, key=lambda v: (-change.after[v], v))
        told = [
            self._t(
                "month.share_change" if value in moved else "month.share",
                value=self._label(dimension, value),
                nodes=self._n(change.after[value]),
                share=self._lang.percent(change.after[value] / total),
                change=self._lang.signed(moved.get(value, 0)),
            )
            for value in most[:_MOST_NAMED]
        ]
        name = self._t(f"dimension.{dimension}")
        return [self._t("month.briefly", name=name, list=", ".join(told))] if told else []

    def _intake(self) -> list[str]:
        return [
            f"{self._lang.short_day(each.day)}: {words(each, self._lang)}."
            for each in self._events(Kind.OUTAGE)
        ] or [self._t("month.no_outage")]

    def _events(self, kind: Kind) -> list[Event]:
        return [each for each in self.report.events if each.kind is kind]

    def _listed(self, names: Sequence[str]) -> str:
        more = len(names) - _MOST_LISTED
        shown = [*names[:_MOST_LISTED]]
        if more > 0:
            shown.append(self._t("value.rest", number=self._n(more)))
        return ", ".join(shown)

    def _label(self, dimension: str, value: str) -> str:
        return value_label(self._lang, dimension, ShareRow(RowKind.VALUE, value, 0, 0.0))

    def _by_day(self, counts: Sequence[int | None]) -> dict[date, int]:
        return {
            self.report.first + timedelta(days=number): count
            for number, count in enumerate(counts)
            if count is not None
        }


def _moved(change: Change, without: Set[str] = frozenset()) -> Mapping[str, int]:
    """The change of each value whose counts on both days are known, except of `without`."""
    found = {}
    for value in {*change.before, *change.after} - {OTHER, *without}:
        then, now = change.was(value), change.is_now(value)
        if then is not None and now is not None:
            found[value] = now - then
    return found
