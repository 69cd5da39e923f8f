"""OpenAPI descriptions of the routes of `asl-telemetry`'s intake."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Final, Literal

from pydantic import BaseModel, Field

from collector.intakes import door
from collector.intakes.asl.report import PublicReport
from collector.operations import JSON, REPORTING, Answer, Operation, problem


class Accepted(BaseModel):
    """Response to a report that is durable."""

    status: Literal["accepted"]
    nodes: int = Field(ge=0, description="nodes stored")
    ignored: dict[str, int] = Field(description="nodes ignored, by reason")


_ANSWERS: Final = {
    HTTPStatus.OK: Answer("the report is durable", {JSON: Accepted}),
    HTTPStatus.BAD_REQUEST: problem(
        "`malformed-json`, `invalid-field` or `no-public-nodes`: do not send it again"
    ),
    **door.ANSWERS,
}


def operations() -> Iterator[Operation]:
    """`/usage`, and `/usage/usage` for proxies that do not strip their prefix."""
    for path, name in (("/usage", "report"), ("/usage/usage", "report-behind-prefix")):
        yield Operation(
            "post",
            path,
            name,
            "Accept a server's report, as `asl-telemetry` sends it",
            REPORTING,
            _ANSWERS,
            bodies=(PublicReport,),
            variant_of="" if name == "report" else "report",
        )
