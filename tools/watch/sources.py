"""Answers queries of panels and alert rules from running servers, as Grafana's datasources do."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from tools.dashboards.asked import Json, Query, Span
from tools.postgresql import PostgreSql
from tools.watch.expressions import Value, number, series

_PROMETHEUS: Final = "prometheus"
_RECORDS: Final = "records"
_POINTS: Final = 300
_DAY_NS: Final = 86_400 * 10**9


class AskError(Exception):
    """A server refused a query; the text holds the query and its words."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The servers behind the datasources: InfluxDB's databases by uid, the others where there are.

    `prefix` is put before the names of databases; `records` is a server and its database's name.
    """

    influx_url: str
    prometheus_url: str = ""
    records: tuple[PostgreSql, str] | None = None
    prefix: str = ""
    token: str = ""
    _headers: Mapping[str, str] = field(init=False, default_factory=dict)

    def answers(self, source: str) -> bool:
        """Whether there is a server behind a datasource."""
        if source == _PROMETHEUS:
            return bool(self.prometheus_url)
        return source != _RECORDS or self.records is not None

    async def influx(
        self, session: aiohttp.ClientSession, source: str, text: str, *, epoch: str = "ns"
    ) -> list[Json]:
        """The series of an InfluxQL query, as the API returns them. Raises AskError."""
        fields = {"q": text, "db": self.prefix + source.replace("-", "_"), "epoch": epoch}
        headers = {"Authorization": f"Token {self.token}"} if self.token else {}
        async with session.post(f"{self.influx_url}/query", data=fields, headers=headers) as answer:
            body = await answer.json(content_type=None)
        results = body.get("results", [])
        wrong = body.get("error") or next((each["error"] for each in results if "error" in each), 0)
        if wrong:
            raise AskError(f"{text}: {wrong}")
        return [each for result in results for each in result.get("series", ())]

    async def _prometheus(
        self, session: aiohttp.ClientSession, path: str, fields: Mapping[str, str]
    ) -> list[Json]:
        async with session.post(f"{self.prometheus_url}/api/v1/{path}", data=fields) as answer:
            body = await answer.json(content_type=None)
        if body["status"] != "success":
            raise AskError(f"{fields['query']}: {body['error']}")
        found: list[Json] = body["data"]["result"]
        return found

    async def _rows(self, text: str, span: Span) -> list[Any]:
        if self.records is None:
            return []
        server, database = self.records
        since, until = span.since * 10**6, span.until * 10**6
        text = re.sub(
            r"\$__unixEpochNanoFilter\(([^)]*)\)", rf"\1 >= {since} AND \1 <= {until}", text
        )
        text = re.sub(
            r"\$__unixEpochNanoGroup\(([^,]*), '1d'\)", rf"floor(\1/{_DAY_NS})*{_DAY_NS}", text
        )
        text = text.replace("$__unixEpochNanoTo()", str(until))
        text = re.sub(r"\$\{\w+:raw\}", "", text)
        return await asyncio.to_thread(server.run, text, database)

    async def of_rule(
        self, session: aiohttp.ClientSession, queries: Sequence[tuple[str, str, int]]
    ) -> list[Value]:
        """Answers to the queries of a rule. Raises AskError."""
        return [await self._value(session, *query) for query in queries]

    async def _value(
        self, session: aiohttp.ClientSession, source: str, text: str, at: int
    ) -> Value:
        if source == _PROMETHEUS:
            if not self.prometheus_url:
                return []
            found = await self._prometheus(session, "query", {"query": text, "time": str(at)})
            pairs = [(each["metric"], float(each["value"][1])) for each in found]
            return [
                number(value, frozenset(labels.items()))
                for labels, value in pairs
                if not math.isnan(value)
            ]
        try:
            rows = await self.influx(session, source, text, epoch="s")
        except AskError as error:
            if "database not found" in str(error):
                return []
            raise
        return [
            series(
                frozenset(each.get("tags", {}).items()),
                {at: value for at, value in each["values"] if value is not None},
            )
            for each in rows
        ]

    async def has_data(
        self, session: aiohttp.ClientSession, query: Query, text: str, span: Span
    ) -> bool:
        """Whether a panel's query, filled in, gives any value in a range. Raises AskError."""
        if query.source == _PROMETHEUS:
            if query.table:
                at = {"query": text, "time": str(span.until // 1000)}
                return any(await self._prometheus(session, "query", at))
            step = max(5, (span.until - span.since) // 1000 // _POINTS)
            fields = {
                "query": text,
                "start": str(span.since // 1000),
                "end": str(span.until // 1000),
                "step": str(step),
            }
            return any(await self._prometheus(session, "query_range", fields))
        if query.source == _RECORDS:
            return any(await self._rows(text, span))
        rows = await self.influx(session, query.source, text)
        return any(
            value is not None for each in rows for row in each["values"] for value in row[1:]
        )
