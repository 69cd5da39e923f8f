"""Each query of the dashboards and pages over five years, against a query of one point."""

from __future__ import annotations

import asyncio
import http.client
import json
import tempfile
import time
import urllib.parse
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any, Final

from bench import servers
from bench.report import middle, record, table
from bench.years import DAYS, Shape, lay_years, sampled
from collector.influx import Influx, Series
from collector.influx.databases import ensure
from collector.public.series import PublicSeries
from collector.schema import DAILY, OWNERS, RAW
from tools.dashboards.asked import COMMUNITY, Span, boards, filled, hidden, queries
from tools.embedded import EmbeddedInflux

_ROUNDS: Final = 25
_SHOWN: Final = 14
_LIMIT: Final = 20
_SETTLED_S: Final = 45.0
_DAY_MS: Final = 86_400_000
_FILTERS: Final = (("all", "all"), ("arch", "aarch64"), ("distro", "Debian"))
_YEAR: Final = "1 year"
_SPANS: Final = {"5 years": DAYS - 1, _YEAR: 365}
_WARM: Final = 200
_WARM_BYTES: Final = 50 << 20
_PATHS: Final = (
    "/",
    "/es",
    "/reports/basic",
    "/reports/daily",
    "/badge/nodes.json",
    "/v1/freshness.json",
    "/v1/daily.csv",
    "/v1/upgrades.csv",
    "/v1/daily/packages.csv",
    "/v1/daily/nodes.csv?from=yesterday",
    "/v1/daily/nodes.csv?dimension=arch&within=all",
    "/v1/daily/nodes.csv",
)


@dataclass(frozen=True, slots=True)
class Question:
    """A query, and what asks it."""

    asker: str
    span: str
    narrowed: str
    text: str
    accept: str = "application/json"


@dataclass(frozen=True, slots=True)
class Measured:
    """A question's median cost in s, in one-point queries, and the rows of its answer."""

    question: Question
    seconds: float
    ratio: float
    rows: int


async def main() -> None:
    """Measure, and write the section."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        samples = await sampled(folder)
        async with (
            # What a shard is compacted after: else most of the five years would lie as written.
            EmbeddedInflux(folder / "influx", compact_after="5s") as server,
            Influx(server.url) as influx,
        ):
            await ensure(influx, {RAW: 0, DAILY: 0, OWNERS: 0})
            shape = await lay_years(influx, samples)
            await asyncio.sleep(_SETTLED_S)
            pages_ask = await _pages(server.url)
            with Asking(server.port) as asking:
                asked = [*_panels(asking.second_column), *pages_ask]
                measured, point = asking.measure(asked)
                text = _queries_text(shape, measured, point, asking)
            pages = await _served(influx, folder, point)
    record("queries", "Queries of five years", f"{text}\n\n{pages}")


def _panels(second_column: Callable[[str], list[str]]) -> Iterator[Question]:
    """Every query of the community's Grafana over five years and one, as it fills them, once."""
    end = int(datetime.now(UTC).timestamp() * 1000) // _DAY_MS * _DAY_MS
    seen = set()
    for (name_of_span, days), (within, value) in product(_SPANS.items(), _FILTERS):
        span = Span(end - days * _DAY_MS, end - 1)
        variables = {"within": within, "within_value": value, "package": "asl3"}
        for board in boards(COMMUNITY):
            name = board["uid"].removeprefix("usage-")
            found = [(f"{name} / {query.panel}", query.text) for query in queries(board)]
            for kind in ("templating", "annotations"):
                found += [
                    (f"{name} / {each['name']}", each["query"])
                    for each in board[kind]["list"]
                    if each.get("datasource", {}).get("type") == "influxdb"
                ]
            known = hidden(board, variables, span, second_column)
            for asker, text in found:
                query = filled(text, known, span)
                if query not in seen:
                    seen.add(query)
                    yield Question(asker, name_of_span, "" if within == "all" else value, query)


class Noting(Influx):
    """A client that notes what is asked."""

    asked: list[Question]

    async def query_each(self, database: str | None, *statements: str) -> list[list[Series]]:
        """Note them, and ask."""
        self.asked.append(Question("the pages", "all", "", "; ".join(statements)))
        return await super().query_each(database, *statements)

    def csv(self, database: str, *statements: str) -> AsyncIterator[bytes]:
        """Note them, and ask."""
        text = "; ".join(statements)
        self.asked.append(Question("the pages", "all", "", text, "application/csv"))
        return super().csv(database, *statements)


async def _pages(url: str) -> list[Question]:
    """What the pages ask of InfluxDB."""
    async with Noting(url) as influx:
        influx.asked = []
        await PublicSeries(influx).snapshot()
        return influx.asked


class Asking:
    """One connection to InfluxDB, kept alive."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def measure(self, questions: Sequence[Question]) -> tuple[list[Measured], float]:
        """Each in turn with a one-point query; costliest first. And a one-point query's cost."""
        day = (datetime.now(UTC).date() - timedelta(days=3)).isoformat()
        point = f"SELECT nodes FROM daily_usage WHERE time = '{day}'"
        assert _rows(self.ask(point)) == 1
        found, points = [], []
        for question in questions:
            rounds = [
                (self.seconds(point), self.seconds(question.text, question.accept))
                for _ in range(_ROUNDS)
            ]
            one, its = (middle([pair[n] for pair in rounds]) for n in (0, 1))
            points.append(one)
            found.append(Measured(question, its, its / one, _rows(self.ask(question.text))))
        return sorted(found, key=lambda each: -each.ratio), middle(points)

    def of_rows(self, rows: int) -> float:
        """The median cost in s of merely being sent so many rows of one series."""
        text = f"SELECT nodes FROM hourly_usage WHERE time >= now() - {rows}h AND time < now()"
        return middle([self.seconds(text) for _ in range(_ROUNDS)])

    def seconds(self, text: str, accept: str = "application/json") -> float:
        """Until the whole answer is there."""
        begun = time.perf_counter()
        self.ask(text, accept)
        return time.perf_counter() - begun

    def second_column(self, text: str) -> list[str]:
        """The second column of an answer, of which a variable's values are made."""
        results = json.loads(self.ask(text))["results"]
        rows = (
            row for each in results for found in each.get("series", ()) for row in found["values"]
        )
        return [str(row[1]) for row in rows]

    def ask(self, text: str, accept: str = "application/json") -> bytes:
        """The answer."""
        form = urllib.parse.urlencode({"q": text, "db": DAILY, "epoch": "ms"})
        self._connection.request("GET", f"/query?{form}", headers={"Accept": accept})
        return self._connection.getresponse().read()


def _rows(answer: bytes) -> int:
    results: list[dict[str, Any]] = json.loads(answer)["results"]
    assert not any("error" in result for result in results), answer
    return sum(len(series["values"]) for one in results for series in one.get("series", ()))


def _queries_text(shape: Shape, measured: Sequence[Measured], point: float, asking: Asking) -> str:
    years = [each for each in measured if each.question.span != _YEAR]
    one_year = [each for each in measured if each.question.span == _YEAR]
    rows = [
        (
            each.question.asker,
            each.question.narrowed or "-",
            f"{each.rows:,}",
            f"{each.seconds * 1000:.1f}",
            f"{each.ratio:.1f}",
            f"{asking.of_rows(each.rows) / point:.1f}" if each.rows else "-",
        )
        for each in years[:_SHOWN]
    ]
    return (
        f"{DAYS} days of the published series of a fleet that grows to {shape.nodes:,} nodes:"
        f" {shape.points:,} points in {shape.series:,} series. {shape.samples} days of it are real"
        " rollups of two simulated days' reports each; the days between repeat them with every"
        " count up to 3 per cent more or less, and the older half under other versions' names. The"
        f" last rolled-up day has {shape.rolled_points:,} points, a day laid down"
        f" {shape.points // DAYS:,} on average.\n\n"
        "Every query of the community's dashboards, filled as Grafana does, without a filter and"
        " under two, and of the pages: each in turn with a query of one point"
        f" ({point * 1000:.2f} ms) on one connection, medians of {_ROUNDS} rounds. Over five years"
        f" {_within_limit(years)} Over the last year, of which every day is drawn,"
        f" {_within_limit(one_year)} The adoption panel looks at 400 days whatever the range, and"
        " numbers each version's days within InfluxDB. Of five years, the"
        f" {_SHOWN} that cost most; the last column is what it costs merely to be sent as many"
        " rows of one series.\n\n"
        + table(("query of", "filter", "rows", "ms", "one-point queries", "its rows alone"), rows)
    )


def _within_limit(measured: Sequence[Measured]) -> str:
    over = [each for each in measured if each.ratio > _LIMIT]
    empty = sum(each.rows == 0 for each in measured)
    said = f"{len(measured) - len(over)} of {len(measured)} cost at most {_LIMIT} one-point queries"
    if over:
        panels = sorted({each.question.asker for each in over})
        said += f"; {len(over)} cost more, up to {measured[0].ratio:.0f} ({', '.join(panels)})"
    return f"{said}; {empty} have no rows, being for another filter or range."


async def _served(influx: Influx, folder: Path, point: float) -> str:
    """The pages and downloads, of a collector begun for each: the first request, and many more."""
    rows = []
    for number, path in enumerate(_PATHS):
        with servers.collector(influx.url, folder / f"state-{number}") as ours:
            parts = urllib.parse.urlsplit(ours.url)
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
            cold, size = _get(connection, path)
            before = await _asked_of(influx)
            times = min(_WARM, max(5, int(_WARM_BYTES / size)))
            warm = middle([_get(connection, path)[0] for _ in range(times)])
            # The question itself counts.
            more = await _asked_of(influx) - before - 1
            connection.close()
        rows.append(
            (
                f"`{path}`",
                _size(size),
                f"{cold * 1000:.0f}",
                f"{warm * 1000:.2f}",
                f"{warm / point:.1f}",
                f"{more} by {times}",
            )
        )
    return (
        "The pages and downloads of a running collector: the first request after it has begun,"
        " when nothing is in its memory, and the median of those after it, until the rollup writes"
        " again.\n\n"
        + table(
            (
                "address",
                "size (gzip)",
                "first, ms",
                "later, ms",
                "one-point queries",
                "queries of InfluxDB by later ones",
            ),
            rows,
        )
    )


def _get(connection: http.client.HTTPConnection, path: str) -> tuple[float, int]:
    begun = time.perf_counter()
    connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
    response = connection.getresponse()
    size = len(response.read())
    assert response.status == http.HTTPStatus.OK, (path, response.status)
    return time.perf_counter() - begun, size


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 1 << 20 else f"{count / 1024:.1f} KiB"


async def _asked_of(influx: Influx) -> int:
    """How many queries InfluxDB was asked since it began."""
    found = await influx.query(None, "SHOW STATS FOR 'queryExecutor'")
    ran = dict(zip(found[0].columns, found[0].values[0], strict=True))
    return int(ran["queriesExecuted"])
