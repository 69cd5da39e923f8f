"""OpenAPI descriptions of the routes of LibreNMS's intake."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Final, Literal

from pydantic import BaseModel, Field

from collector.intakes import door
from collector.intakes.librenms.report import LibreNMSReport
from collector.operations import JSON, REPORTING, Answer, Operation, Parameter, problem

PREFIXES: Final = ("", "/librenms")
"""The second is for collectors that share an address with another server's `log.php`."""


class LibreNMSAccepted(BaseModel):
    """Response to a report of LibreNMS that is durable."""

    status: Literal["accepted"]
    groups: int = Field(ge=0, description="groups stored")
    pairs: int = Field(ge=0, description="pairs of sysDescr and sysObjectID stored")
    ignored: dict[str, int] = Field(description="what was left out, by kind")


class LibreNMSCleared(BaseModel):
    """Response to a request to erase an install's data."""

    status: Literal["erased", "delayed", "queued"]


class LibreNMSClear(BaseModel):
    """The form's only field."""

    uuid: str = Field(description="the install's UUID")


_LOGGED: Final = {
    HTTPStatus.OK: Answer("the report is durable", {JSON: LibreNMSAccepted}),
    HTTPStatus.BAD_REQUEST: problem("`malformed-json` or `invalid-field`: do not send it again"),
    **door.ANSWERS,
}
_CLEARED: Final = {
    HTTPStatus.OK: Answer("nothing of the install is stored", {JSON: LibreNMSCleared}),
    HTTPStatus.ACCEPTED: Answer(
        "remembered, and erased as soon as it can be", {JSON: LibreNMSCleared}
    ),
    HTTPStatus.BAD_REQUEST: problem("`invalid-field`: there is no uuid"),
    **door.ANSWERS,
}


def operations() -> Iterator[Operation]:
    """`log.php` and `clear.php`, by POST and GET, at the root and under `/librenms`."""
    for page, summary, answers, body, field in (
        (
            "log",
            "Accept an install's report, as LibreNMS sends it",
            _LOGGED,
            LibreNMSReport,
            "data",
        ),
        ("clear", "Erase all that is stored of an install", _CLEARED, LibreNMSClear, "uuid"),
    ):
        by_status = {int(status): answer for status, answer in answers.items()}
        for prefix in PREFIXES:
            for method in ("post", "get"):
                name = f"librenms-{page}" + (f"-{method}" if method == "get" else "")
                name += "-prefixed" if prefix else ""
                posts = method == "post"
                yield Operation(
                    method,
                    f"{prefix}/{page}.php",
                    name,
                    summary,
                    REPORTING,
                    by_status,
                    parameters=()
                    if posts
                    else (Parameter(field, f"the form's field `{field}`", {"type": "string"}),),
                    bodies=(body,) if posts else (),
                    form=field if posts else "",
                    variant_of="" if name == f"librenms-{page}" else f"librenms-{page}",
                )
