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


_PAGES: Final = (
    ("log", "Accept an install's report, as LibreNMS sends it", _LOGGED, LibreNMSReport, "data"),
    ("clear", "Erase all that is stored of an install", _CLEARED, LibreNMSClear, "uuid"),
)


def operations() -> Iterator[Operation]:
    """`log.php` and `clear.php`, by POST and GET, at the root and under `/librenms`."""
    for page, summary, answers, body, field in _PAGES:
        query = Parameter(field, f"the form's field `{field}`", {"type": "string"})
        for prefix in PREFIXES:
            path, name = f"{prefix}/{page}.php", f"librenms-{page}"
            suffix = "-prefixed" if prefix else ""
            common = (summary, REPORTING, answers)
            of = name if prefix else ""
            yield Operation(
                "post", path, name + suffix, *common, bodies=(body,), form=field, variant_of=of
            )
            yield Operation(
                "get", path, f"{name}-get{suffix}", *common, parameters=(query,), variant_of=name
            )
