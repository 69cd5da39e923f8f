"""A proxy before InfluxDB that truncates answers, like InfluxDB's limits or a faulty proxy."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from aiohttp import web

from tests.faulty import FaultyProxy

Cut = Callable[[bytes], bytes]


def csv_cut(body: bytes) -> bytes:
    """Keep the first half of the lines; the answer still ends cleanly, without an error."""
    lines = body.splitlines(keepends=True)
    return b"".join(lines[: max(1, len(lines) // 2)])


def csv_rows_lost(body: bytes) -> bytes:
    """Drop half of the rows of the longest part of an answer."""
    parts = body.split(b"\n\n")
    longest = max(range(len(parts)), key=lambda number: len(parts[number]))
    lines = parts[longest].split(b"\n")
    parts[longest] = b"\n".join(lines[: len(lines) // 2 + 1])
    return b"\n\n".join(parts)


def json_cut(body: bytes) -> bytes:
    """Keep the first half of the longest series, then an error, like 1.6.7 after a timeout."""
    documents, at = _longest(body)
    result = documents[at]["results"][0]
    series = result["series"][-1]
    series["values"] = series["values"][: len(series["values"]) // 2]
    number = result.get("statement_id", 0)
    error = {"results": [{"statement_id": number, "error": "query-timeout limit exceeded"}]}
    return _written([*documents[: at + 1], error])


def json_partial(body: bytes) -> bytes:
    """Keep the first half of the longest series, marked partial, like 1.x at its row limit."""
    documents, at = _longest(body)
    series = documents[at]["results"][0]["series"][-1]
    series["values"] = series["values"][: len(series["values"]) // 2]
    series["partial"] = True
    return _written(documents[: at + 1])


def json_documents_lost(body: bytes) -> bytes:
    """Drop the documents after the longest one; the answer still ends cleanly."""
    documents, at = _longest(body)
    return _written(documents[: at + 1])


def json_rows_lost(body: bytes) -> bytes:
    """Drop half of the rows of the longest series, without any mark."""
    documents, at = _longest(body)
    series = documents[at]["results"][0]["series"][-1]
    series["values"] = series["values"][: len(series["values"]) // 2]
    return _written(documents)


CSV_CUTS: dict[str, Cut] = {"cut": csv_cut, "rows lost": csv_rows_lost, "empty": lambda _: b""}
JSON_CUTS: dict[str, Cut] = {
    "cut": json_cut,
    "partial": json_partial,
    "documents lost": json_documents_lost,
    "rows lost": json_rows_lost,
}


def _longest(body: bytes) -> tuple[list[Any], int]:
    """Parse the documents of an answer; return them and the index of one with the most rows."""
    documents = [json.loads(line) for line in body.splitlines()]
    most = max(map(_rows, documents))
    longest = [at for at, document in enumerate(documents) if _rows(document) == most]
    return documents, longest[len(longest) // 2]


def _rows(document: Any) -> int:
    return sum(
        len(series.get("values", ()))
        for result in document.get("results", ())
        for series in result.get("series", ())
    )


def _written(documents: list[Any]) -> bytes:
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


@dataclass
class CuttingProxy(FaultyProxy):
    """A proxy to a real InfluxDB that truncates answers while `cutting`.

    It truncates answers of at least `least` rows, to queries that contain `only`.
    """

    cutting: bool = False
    csv: Cut = csv_cut
    json: Cut = json_cut
    least: int = 4
    only: str = ""
    cuts: int = 0

    def altered(self, request: web.Request, body: bytes, answer: bytes) -> bytes:
        queried = request.path == "/query" and self.only in unquote_plus(body.decode())
        if not self.cutting or not queried:
            return answer
        is_csv = "csv" in request.headers.get("Accept", "")
        if is_csv:
            rows = max((part.count(b"\n") for part in answer.split(b"\n\n")), default=0)
        else:
            rows = sum(map(_rows, _longest(answer)[0]))
        if rows < self.least:
            return answer
        self.cuts += 1
        return self.csv(answer) if is_csv else self.json(answer)
