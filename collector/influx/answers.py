"""InfluxDB's answers in JSON, one document or several in a body. Pure.

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
    """One series of an answer: its tags, the columns' names, and rows (times in ns)."""

    name: str
    tags: dict[str, str]
    columns: list[str]
    values: list[list[Any]]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each row by column; what a point lacks is None."""
        for row in self.values:
            yield dict(zip(self.columns, row, strict=True))


def rows_of(series: Iterable[Series]) -> list[dict[str, Any]]:
    """The rows of several series, by column."""
    return [row for one in series for row in one.rows()]


def read_answers(body: bytes) -> list[list[Series]]:
    """The series that answer each statement, by the statement's number.

    A chunked answer is one document for each piece; a series in several pieces is put together.
    Raises CutShort where more pieces were announced than came, InfluxUnavailable, InfluxError and
    NoDatabase where the answer holds an error of that kind.
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
        raise InfluxError(f"an answer that is not InfluxDB's: {body[:100]!r}") from error
    if continues or is_announced:
        raise CutShort("InfluxDB's answer was cut short: it says itself that it is partial")
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
    # InfluxDB 1.x writes this over the words of the statement that failed, where both are in one
    # document.
    if words == _NOT_EXECUTED:
        return CutShort(f"InfluxDB did not carry out a query, and does not say why: {body[:100]!r}")
    return failure(str(words))
