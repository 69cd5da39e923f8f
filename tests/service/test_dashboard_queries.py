"""Every query of every panel against a real InfluxDB with 75 days of a simulated fleet."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from collector.days import start_of
from collector.events.event import Event, Kind, outage
from collector.events.stored import write_events
from tests.conftest import Databases, InfluxServer
from tests.network import Network, ns, number_of
from tests.oracle import DAY, NODE_KEYS, Oracle, S, said
from tools.dashboards.asked import (
    COMMUNITY,
    OPS,
    Query,
    Span,
    boards,
    filled,
    hidden,
    queries,
)
from tools.simulation.fleet import Fleet

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

DAYS = 75
SERVERS = 160
K = 5
MS = 10**6
COMPLETE_AFTER = DAY + 75 * 60 * S

Filter = tuple[str, str]
EVERYTHING: Filter = ("all", "all")
Rows = list[dict[str, Any]]

QUERIES = [query for board in boards(COMMUNITY) for query in queries(board)]
WEEKLY = [query for query in QUERIES if '"weekly"' in query.text]
"""Those that ask one day a week where the range is long, in the place of others."""
SAMPLE = ("coverage", "listed_nodes", "opted_out_reports")
DAILY = [query for query in QUERIES if query not in WEEKLY]


@dataclass(frozen=True)
class Published:
    """The published series of a fleet, and what they should be."""

    databases: Databases
    oracle: Oracle
    first: int
    """The fleet's first day, of 1970."""
    complete: int
    """The last complete day."""
    known: dict[tuple[str, Filter, Span], dict[str, str]] = field(default_factory=dict)
    """Variables by dashboard, filter and range."""

    @property
    def span(self) -> Span:
        """The dashboards' own range: a year, to the end of yesterday."""
        today = self.oracle.now // DAY * DAY
        return Span((today - 365 * DAY) // MS, today // MS - 1)

    @property
    def years(self) -> Span:
        """A range of five years with the same end."""
        return Span(self.span.until + 1 - 5 * 365 * DAY // MS, self.span.until)

    def ask(self, texts: Sequence[Query], narrowed: Filter, span: Span | None = None) -> list[Rows]:
        """Each query's rows under a filter, its tags among its columns."""
        span = span or self.span
        variables = {
            board: self.variables(board, narrowed, span) for board in {each.board for each in texts}
        }
        return [
            self.databases.server.query(
                filled(query.text, variables[query.board], span), self.databases.daily
            )
            for query in texts
        ]

    def variables(self, board: str, narrowed: Filter, span: Span) -> dict[str, str]:
        """The variables of a dashboard under a filter, the hidden ones too."""
        key = (board, narrowed, span)
        if key not in self.known:
            (found,) = (each for each in boards(COMMUNITY) if each["uid"] == board)
            said = {"within": narrowed[0], "within_value": narrowed[1], "package": "asl3"}
            self.known[key] = hidden(found, said, span, self.second_column)
        return self.known[key]

    def second_column(self, text: str) -> list[str]:
        """The second column of a query's rows."""
        rows = self.databases.server.query(text, self.databases.daily)
        return [str(list(row.values())[1]) for row in rows]

    def units(self, narrowed: Filter, day: int, *, servers: bool = False) -> int:
        """How many nodes, or servers, of a day have the filter's value, by brute force."""
        units = self.oracle.units(day, servers=servers)
        within, value = narrowed
        return len(units) if within == "all" else sum(unit[within] == value for unit in units)


@pytest.fixture(scope="module")
def published(
    influx_server: InfluxServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Published]:
    databases = Databases(influx_server, f"g{secrets.token_hex(6)}_")
    now = datetime.now(UTC)
    first = now.date() - timedelta(days=DAYS - 1)
    fleet = Fleet(seed=7, servers=SERVERS, start=first, days=DAYS)
    received = [
        (each.received_ns, each.body)
        for day in range(DAYS)
        for each in fleet.day(first + timedelta(days=day))
        if each.received_ns < ns(now)
    ]
    network = Network(databases)
    network.create()
    network.lay_received(received)
    start = number_of(first)

    async def roll() -> None:
        async with network.rollup(tmp_path_factory.mktemp("state"), k=K) as rollup:
            await rollup.roll(range(start, start + DAYS), ns(now))
            await rollup.mark(ns(now))
            note = Event(first + timedelta(days=DAYS // 2), Kind.NOTE, "operator", "1", "A note")
            await write_events(rollup.influx, [note, outage(start_of(note.day), 3, 27)])

    asyncio.run(roll())
    complete = (ns(now) - COMPLETE_AFTER) // DAY
    yield Published(databases, Oracle(said(received), ns(now)), start, complete)
    for name in (databases.raw, databases.daily):
        influx_server.drop(name)


def filters(published: Published) -> list[Filter]:
    """Everything, and each value that the dashboards' variable offers for each dimension."""
    variable = next(
        each
        for each in boards(COMMUNITY)[0]["templating"]["list"]
        if each["name"] == "within_value"
    )
    within = next(
        each for each in boards(COMMUNITY)[0]["templating"]["list"] if each["name"] == "within"
    )
    offered = [option["value"] for option in within["options"]]
    assert set(offered) == {"all", *NODE_KEYS}
    found = []
    for dimension in offered:
        rows = published.databases.server.query(
            filled(variable["query"], {"within": dimension}, published.span),
            published.databases.daily,
        )
        found += [(dimension, row["value"]) for row in rows]
    assert EVERYTHING in found
    return found


def by_day(rows: Rows, column: str) -> dict[int, int]:
    """The sum of a column on each day (of 1970)."""
    found: dict[int, int] = defaultdict(int)
    for row in rows:
        if row[column] is not None:
            found[row["time"] // DAY] += row[column]
    return dict(found)


def panel(title: str, *, board: str = "usage-overview") -> list[Query]:
    """The targets of one panel."""
    found = [each for each in QUERIES if each.panel == title and each.board == board]
    assert found, title
    return found


def whole_only(query: Query) -> bool:
    return "'$within' = 'all'" in query.text


def test_every_query_of_the_community_returns_rows_without_the_filter(
    published: Published,
) -> None:
    for query, rows in zip(DAILY, published.ask(DAILY, EVERYTHING), strict=True):
        # What is put together, and windows that tell no more than the day, may be nothing.
        may_be_none = "= 'other'" in query.text and "!= 'other'" not in query.text
        may_be_none |= "!~ /" in query.text or "1.05 *" in query.text or '"count"' in query.text
        # There is no node list, and nobody has opted out.
        may_be_none |= any(f'"{name}"' in query.text for name in SAMPLE)
        for_filter = "\"value\" = '${within_value:raw}'" in query.text and "OR" not in query.text
        assert bool(rows) != for_filter or may_be_none, f"{query} has no rows, or has"


def test_what_is_counted_for_the_whole_network_alone_is_not_shown_under_a_filter(
    published: Published,
) -> None:
    narrow = [query for query in QUERIES if whole_only(query)]
    assert narrow
    for query, rows in zip(narrow, published.ask(narrow, ("arch", "aarch64")), strict=True):
        assert not rows, f"{query} ignores the filter"


@pytest.mark.timeout(600)
def test_every_table_under_every_value_of_the_filter_sums_to_the_oracle(
    published: Published,
) -> None:
    tables: dict[tuple[str, str], list[Query]] = defaultdict(list)
    for query in DAILY:
        if re.fullmatch(r"Nodes by .*, (last full day|share of each day)", query.panel):
            tables[query.board, query.panel].append(query)
    # A query that several panels ask is asked once.
    asked: dict[str, Query] = {query.text: query for parts in tables.values() for query in parts}
    summed = 0
    for narrowed in filters(published):
        rows = dict(zip(asked, published.ask(list(asked.values()), narrowed), strict=True))
        days = [
            day
            for day in range(published.first, published.complete + 1)
            if named(published, narrowed, day)
        ]
        for (board, title), parts in tables.items():
            # The greatest, the rest together, and `other`.
            assert len(parts) == 3
            text = parts[0].text
            drawn = [row for each in parts for row in rows[each.text]]
            # A value's line has one point a day.
            assert len({(row["value"], row["time"]) for row in drawn}) == len(drawn)
            last_only = "timeFilter" not in text
            if last_only:
                # The rest is a sum, and bears the start of the range.
                found = {published.complete: sum(row["nodes"] for row in drawn)} if drawn else {}
            else:
                found = by_day(drawn, "nodes")
            if "'release' AND" in text and narrowed[0] == "distro":
                # Of a distribution's releases, those of too few nodes are not drawn.
                assert all(
                    published.units(narrowed, day) - found.get(day, 0) >= 0 for day in days
                ), (title, narrowed)
                continue
            wanted = {
                day: published.units(narrowed, day)
                for day in days
                if not last_only or day == published.complete
            }
            assert found == wanted, f"{board} / {title} under {narrowed}"
            summed += len(wanted)
    assert summed > 10_000


def named(published: Published, narrowed: Filter, day: int) -> bool:
    """Whether the value is published on that day, so that its tables are."""
    if narrowed == EVERYTHING:
        return True
    rows = published_values(published)
    return (day, *narrowed) in rows


def published_values(published: Published) -> set[tuple[int, str, str]]:
    key = id(published)
    if key not in _VALUES:
        rows = published.databases.server.query(
            'SELECT "nodes", "dimension", "value" FROM daily_nodes'
            " WHERE within = 'all' AND value != 'other'",
            published.databases.daily,
        )
        _VALUES[key] = {(row["time"] // DAY, row["dimension"], row["value"]) for row in rows}
    return _VALUES[key]


_VALUES: dict[int, set[tuple[int, str, str]]] = {}


def test_totals_under_every_value_of_the_filter_equal_the_oracle(published: Published) -> None:
    nodes = panel("Nodes, last full day")
    servers = panel("Servers, last full day")
    for narrowed in filters(published):
        node_rows, server_rows = (
            [row for rows in published.ask(both, narrowed) for row in rows]
            for both in (nodes, servers)
        )
        days = [
            day
            for day in range(published.first, published.complete + 1)
            if named(published, narrowed, day)
        ]
        wanted = {day: published.units(narrowed, day) for day in days}
        assert by_day(node_rows, "nodes") == wanted, narrowed
        if narrowed[0] in ("channel", "registration"):
            assert not server_rows
        elif narrowed == EVERYTHING:
            assert by_day(server_rows, "servers") == {
                day: published.units(narrowed, day, servers=True) for day in days
            }
        for day, count in by_day(server_rows, "servers").items():
            assert count == published.units(narrowed, day, servers=True), (narrowed, day)


def test_headline_numbers_and_flows_equal_the_oracle(published: Published) -> None:
    exact = {
        day: published.oracle.usage(day)[day * DAY, ()]
        for day in range(published.first, published.complete + 1)
    }
    for title, ref, field_name in (
        ("New, last full day", "A", "new_nodes"),
        ("Lapsed, full day", "A", "lapsed_nodes"),
        ("New and lapsed nodes, each day", "A", "new_nodes"),
        ("New and lapsed nodes, each day", "B", "lapsed_nodes"),
    ):
        query = next(each for each in panel(title) if each.ref == ref)
        (rows,) = published.ask([query], EVERYTHING)
        assert by_day(rows, field_name) == {
            day: fields[field_name]
            for day, fields in exact.items()
            # The day on which counting began is no day of many newcomers.
            if field_name != "new_nodes" or fields[field_name] < fields["nodes"] / 2
        }
    for ref, window, than in (("B", "nodes_7d", "nodes"), ("C", "nodes_30d", "nodes_7d")):
        query = next(each for each in panel("Nodes, each day") if each.ref == ref)
        (rows,) = published.ask([query], EVERYTHING)
        assert by_day(rows, window) == {
            day: fields[window]
            for day, fields in exact.items()
            if fields[window] > 1.05 * fields[than]
        }
    (rows,) = published.ask(panel("Last full day"), EVERYTHING)
    last_final = max(day for day, fields in exact.items() if fields["final"])
    assert rows[0]["time"] // DAY >= last_final
    for days in (7, 30):
        rows, for_filter = published.ask(panel(f"Nodes, {days} d change"), EVERYTHING)
        assert not for_filter
        now, then = (exact[published.complete - back]["nodes"] for back in (0, days))
        assert list(rows[0].values())[-1] == pytest.approx(100 * (now - then) / then)


def test_the_open_day_is_drawn_by_no_panel_but_its_own(published: Published) -> None:
    wide = Span(published.span.since, published.oracle.now // MS)
    texts = [q for q in QUERIES if q.panel not in ("Nodes, today so far", "Last full day")]
    for query, rows in zip(texts, published.ask(texts, EVERYTHING, wide), strict=True):
        late = [row for row in rows if row["time"] // DAY > published.complete]
        assert not late, f"{query} draws {late[:2]}"


def test_upgrades_are_those_that_the_oracle_counts(published: Published) -> None:
    (rows,) = published.ask(panel("Nodes that changed version", board=VERSIONS), EVERYTHING)
    exact: dict[tuple[str, str], int] = defaultdict(int)
    for day in range(published.first, published.complete + 1):
        for (_, tags), fields in published.oracle.upgrades(day).items():
            exact[tags[0][1], tags[1][1]] += fields["nodes"]
    flows = [row for row in rows if row["from_version"] != "other"]
    assert flows
    for row in flows:
        assert 0 < row["nodes"] <= exact[row["from_version"], row["to_version"]]
    assert sum(row["nodes"] for row in rows) <= sum(exact.values())


def versions_by_day(published: Published) -> dict[str, list[int]]:
    """The days on which each AllStarLink version was published, in order."""
    days: dict[str, list[int]] = defaultdict(list)
    for day, dimension, value in sorted(published_values(published)):
        if dimension == "asl_version" and value != "unknown" and day <= published.complete:
            days[value].append(day)
    return days


def test_curves_of_adoption_begin_on_the_first_day_of_the_newest_version(
    published: Published,
) -> None:
    days = versions_by_day(published)

    def share(value: str, day: int) -> float:
        nodes = published.units(("asl_version", value), day)
        return 10_000 * nodes // published.units(EVERYTHING, day) / 100

    recent = {
        value: published.complete - seen[0]
        for value, seen in days.items()
        if seen[-1] == published.complete
        and published.complete - seen[0] >= 14
        and share(value, seen[0]) <= 10 < max(share(value, day) for day in seen)
    }
    assert recent
    newest = min(recent, key=lambda value: (recent[value], value))
    shown = sorted(recent, key=lambda value: (recent[value], value))[:6]
    curves, thick = published.ask(
        panel("Nodes by AllStarLink version, since first seen", board=VERSIONS), EVERYTHING
    )
    last = published.span.until // (DAY // MS)

    def drawn(rows: Rows, value: str) -> dict[int, float]:
        return {
            row["moment"] // (DAY // MS) - last + recent[newest]: row["share"]
            for row in rows
            if row["value"] == value
        }

    assert {row["value"] for row in curves} == set(shown)
    for value in shown:
        assert drawn(curves, value) == {
            day - days[value][0]: share(value, day)
            for day in days[value]
            if day - days[value][0] <= recent[newest]
        }
    assert drawn(thick, "asl_version") == drawn(curves, newest)


def test_age_counts_the_days_on_which_a_version_was_published(published: Published) -> None:
    (rows,) = published.ask(
        panel("Nodes on the oldest versions, last full day", board=VERSIONS), EVERYTHING
    )
    assert {row["value"]: (row["days"], row["nodes"]) for row in rows} == {
        value: (len(seen), published.units(("asl_version", value), published.complete))
        for value, seen in versions_by_day(published).items()
        if seen[-1] == published.complete
    }


VERSIONS = "usage-versions"


def test_packages_sum_to_the_servers_of_the_day(published: Published) -> None:
    for what in ("version", "revision"):
        bars = panel(f"Servers by $package {what}, last full day", board="usage-packages")
        drawn = [row for rows in published.ask(bars, EVERYTHING) for row in rows]
        whole = published.units(EVERYTHING, published.complete, servers=True)
        assert sum(row["servers"] for row in drawn) == whole
    title = "Servers by $package version, share of each day"
    parts = published.ask(panel(title, board="usage-packages"), EVERYTHING)
    found = by_day([row for rows in parts for row in rows], "servers")
    assert published.complete in found
    for day, count in found.items():
        assert count == published.units(EVERYTHING, day, servers=True)
    versions = {row["value"] for rows in parts for row in rows} - {"other", "none", "asl3"}
    assert versions
    assert not any("-" in version for version in versions)


@pytest.mark.parametrize("narrowed", [EVERYTHING, ("arch", "aarch64"), ("distro", "Debian")])
def test_range_of_years_draws_the_sundays_of_what_a_year_draws(
    published: Published, narrowed: Filter
) -> None:
    assert len(WEEKLY) == 3 * 10 + 2 * 2

    def part(query: Query) -> str:
        signs = (sign for sign in ("=~ /^${greatest", "!~ /^${greatest") if sign in query.text)
        return next(signs, "other")

    drawn = 0
    for query in WEEKLY:
        same = [
            each
            for each in DAILY
            if (each.board, each.panel) == (query.board, query.panel) and part(each) == part(query)
        ]
        assert len(same) == 1
        (of_year,) = published.ask(same, narrowed)
        (of_years,) = published.ask([query], narrowed, published.years)
        assert published.ask([query], narrowed) == [[]]
        assert published.ask(same, narrowed, published.years) == [[]]
        sundays = [
            row
            for row in of_year
            if datetime.fromtimestamp(row["time"] // S, UTC).isoweekday() == 7
        ]
        of_years.sort(key=lambda row: (row["time"], row["value"]))
        sundays.sort(key=lambda row: (row["time"], row["value"]))
        assert of_years == sundays
        drawn += len(sundays)
    assert drawn > 100


async def test_a_day_at_which_the_rollup_stopped_is_not_drawn_as_a_drop(
    databases: Databases, tmp_path: Path
) -> None:
    today = datetime.now(UTC).date()
    first, stopped = today - timedelta(days=12), today - timedelta(days=2)
    noon = datetime(stopped.year, stopped.month, stopped.day, 12, tzinfo=UTC)
    fleet = Fleet(seed=5, servers=60, start=first, days=12)
    network = Network(databases)
    network.create()
    network.lay_received(
        (each.received_ns, each.body)
        for day in range(11)
        for each in fleet.day(first + timedelta(days=day))
        if each.received_ns < ns(noon)
    )
    start = number_of(first)
    async with network.rollup(tmp_path, k=K) as rollup:
        await rollup.roll(range(start, start + 11), ns(noon))
    span = Span((ns(noon) - 20 * DAY) // MS, (ns(noon) + 3 * DAY) // MS)
    open_rows = databases.server.query('SELECT * FROM "daily_nodes"', databases.daily)
    assert number_of(stopped) in {row["time"] // DAY for row in open_rows}
    drawn = set()
    said = {"within": "all", "within_value": "all", "package": "asl3"}

    def rows_of(text: str) -> Rows:
        return databases.server.query(text, databases.daily)

    for board in boards(COMMUNITY):
        variables = hidden(
            board, said, span, lambda text: [str(list(row.values())[1]) for row in rows_of(text)]
        )
        for query in queries(board):
            if "time(1d)" not in query.text and not query.text.startswith('SELECT "'):
                # Their rows bear no day of their own: they are asked through the same condition.
                assert '"final" = 1' in query.text, query
                continue
            days = {row["time"] // DAY for row in rows_of(filled(query.text, variables, span))}
            assert number_of(stopped) not in days, query
            drawn |= days
    assert number_of(stopped) - 1 in drawn


def test_events_in_the_range_are_annotations_of_every_dashboard(published: Published) -> None:
    ask, daily = published.databases.server.query, published.databases.daily
    stored = ask("SELECT * FROM event", daily)
    drawn = {row["text"] for row in stored if row["kind"] != "package"}
    assert drawn > {"A note"}
    for board in boards(COMMUNITY):
        queries = [each["query"] for each in board["annotations"]["list"] if "query" in each]
        packages = [query for query in queries if "$package" in query]
        assert bool(packages) == (board["uid"] == "usage-packages")
        found = [
            row["text"]
            for query in queries
            if query not in packages
            for row in ask(filled(query, {}, published.span), daily)
        ]
        assert sorted(found) == sorted(drawn)
        for query in packages:
            of_package = ask(filled(query, {"package": "asl3"}, published.span), daily)
            assert {row["text"] for row in of_package} == {
                row["text"]
                for row in stored
                if (row["kind"], row["subject"]) == ("package", "asl3")
            }
            assert of_package


def test_variables_offer_what_is_published(published: Published) -> None:
    names = next(
        each for each in boards(COMMUNITY)[2]["templating"]["list"] if each["name"] == "package"
    )
    rows = published.databases.server.query(names["query"], published.databases.daily)
    assert names["current"]["value"] in {row["value"] for row in rows}


def test_every_query_of_the_operators_runs_and_those_of_influxdb_return_rows(
    published: Published,
) -> None:
    now = published.oracle.now // MS
    quiet = {"Days not final", "Nodes in other, by property"}
    for board in boards(OPS):
        for query in queries(board):
            if query.source in ("prometheus", "asterisk-live", "telemetrics", "records"):
                # Their queries run in tests of their own, on data of their own senders.
                continue
            database = {
                "usage-daily": published.databases.daily,
                "usage-raw": published.databases.raw,
            }[query.source]
            text = filled(query.text, {}, Span(now - 7 * DAY // MS, now))
            rows = published.databases.server.query(text, database)
            assert rows or query.panel in quiet, f"{query} has no rows"
