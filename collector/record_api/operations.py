"""OpenAPI descriptions of the records API."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel

from collector.intakes.telemetrics.operations import TelemetricsStored, refused
from collector.operations import CSV, JSON, Operation, Parameter, get

GROUP: Final = "records"
_NUMBER: Final = {"type": "integer", "minimum": 0}


class RecordOfApi(TelemetricsStored):
    """A record with its id, which rises in the order of storing."""

    id: int


class RecordsOfApi(BaseModel):
    """The records that were selected, newest first."""

    records: list[RecordOfApi]


def _text(longest: int) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": longest}


_PARAMETERS: Final = (
    Parameter("classification", "exactly this `domain/probe/rest`", _text(140)),
    Parameter("severity", "1 to 4", {"type": "integer", "minimum": 1, "maximum": 4}),
    Parameter("machine_id", "a machine's id as sent, or its pseudonym", _text(32)),
    Parameter("build", "exactly this build", _text(256)),
    Parameter("created_in_days", "received in the last so many days, at most 30", _NUMBER),
    Parameter("created_in_sec", "the same in seconds; counts if no days are given", _NUMBER),
    Parameter("from_id", "ids from this one on", _NUMBER),
    Parameter("ts_capture", "captured after this time, in s since 1970", _NUMBER),
    Parameter("limit", "most records", _NUMBER | {"maximum": 10_000, "default": 10_000}),
)


_REFUSALS: Final = {
    HTTPStatus.UNAUTHORIZED: refused("`unauthorized`: no or another token", "WWW-Authenticate"),
    HTTPStatus.FORBIDDEN: refused("`forbidden`: no token is configured"),
    HTTPStatus.SERVICE_UNAVAILABLE: refused("`unavailable`: ask later", "Retry-After"),
}


def record_operations() -> Iterator[Operation]:
    """The list of records, and one record's payload."""
    yield get(
        "/api/records",
        "records",
        "Records, newest first, of the last 30 days at most; needs the bearer token",
        GROUP,
        {JSON: RecordsOfApi, CSV: None},
        parameters=_PARAMETERS,
        more={HTTPStatus.BAD_REQUEST: refused("`invalid-parameter`"), **_REFUSALS},
    )
    yield get(
        "/api/records/{id}/payload",
        "record-payload",
        "A record's payload as it came; needs the bearer token",
        GROUP,
        {"application/octet-stream": None},
        parameters=(Parameter("id", "the record's id", _NUMBER, place="path"),),
        more={HTTPStatus.NOT_FOUND: refused("`not-found`: no such record"), **_REFUSALS},
    )
