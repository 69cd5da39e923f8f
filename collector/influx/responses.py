"""Parser for InfluxDB's JSON responses, one or several documents in a body. Pure.

Format: https://docs.influxdata.com/influxdb/v1/guides/query_data/
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from collector.influx.errors import CutShort, InfluxError, failure

_NOT_EXECUTED: Final = "not executed"


@dataclass(frozen=True, slots=True)
class Series:
    """One series of a response: its tags, column names and rows (times in ns)."""

    name: str
    tags: dict[str, str]
    columns: list[str]
    values: list[list[Any]]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each row as a dict by column; missing values are None."""
        for row in self.values:
            yield dict(zip(self.columns, row, strict=True))


def rows_of(series: Iterable[Series]) -> list[dict[str, Any]]:
    """The rows of several series, each as a dict by column."""
    return [row for one in series for row in one.rows()]


def parse_response(body: bytes) -> list[list[Series]]:
    """Parse a response body into the series of each statement, in order of the statements.

    A chunked response has one document for each chunk; series split over chunks are joined. Raises
    CutShort if announced chunks are missing, and InfluxUnavailable, InfluxError or NoDatabase if
    the response holds an error of that kind.
    """
    answers: list[list[Series]] = []
    continues = is_announced = False
    try:
        for document in _documents(body.decode()):
            # InfluxDB 2 answers a DELETE with `{}`.
            for result in document.get("results", []) if document == {} else document["results"]:
                if "error" in result:
                    raise _error_in(result["error"], body)
                number = int(result.get("statement_id", 0))
                answers += [[] for _ in range(number + 1 - len(answers))]
                is_announced = bool(result.get("partial"))
                for found in result.get("series", []):
                    _add(answers[number], found, continues=continues)
                    continues = bool(found.get("partial"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InfluxError(f"a response that is not InfluxDB's: {body[:100]!r}") from error
    if continues or is_announced:
        raise CutShort("InfluxDB's response was cut short: it is marked as partial")
    return answers


def _documents(text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    text = text.strip()
    if not text:
        raise ValueError("an empty body")
    at = 0
    while at < len(text):
        document, at = decoder.raw_decode(text, at)
        yield document
        while at < len(text) and text[at].isspace():
            at += 1


def _add(answer: list[Series], found: dict[str, Any], *, continues: bool) -> None:
    tags, values = found.get("tags", {}), found.get("values", [])
    if continues and answer and answer[-1].tags == tags:
        answer[-1].values.extend(values)
    else:
        answer.append(Series(found.get("name", ""), tags, found["columns"], values))


def _error_in(words: object, body: bytes) -> InfluxError:
    # InfluxDB 1.x replaces the error of the failed statement by this text if both are in one
    # document.
    if words == _NOT_EXECUTED:
        return CutShort(f"InfluxDB did not execute a query and gives no reason: {body[:100]!r}")
    return failure(str(words))
