"""OpenAPI descriptions of the routes of telemetrics-client's intake."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from collector.operations import JSON, REPORTING, Answer, Operation, Parameter
from collector.problems import Reason

_NUMBER: Final = r"^[0-9]{1,18}$"


class TelemetricsRecord(BaseModel):
    """A record, as telemetrics-client 2.4 sends it; 2.3 sends each field as a header."""

    # As clients write them; other members are ignored.
    model_config = ConfigDict(title="TelemetricsRecord")

    machine_id: str = Field(min_length=1, max_length=32)
    record_format_version: str = Field(pattern="^[1-4]$")
    severity: str = Field(pattern="^[1-4]$")
    classification: str = Field(max_length=140, description="domain/probe/rest")
    creation_timestamp: str = Field(pattern=_NUMBER, description="s since 1970")
    arch: str
    host_type: str = Field(max_length=249)
    build: str
    kernel_version: str
    payload_format_version: str = Field("1", pattern=_NUMBER)
    system_name: str = ""
    board_name: str = ""
    cpu_model: str = ""
    bios_version: str = ""
    event_id: str = ""
    payload: str = Field("", description="text of at most 300 KiB")


class TelemetricsStored(BaseModel):
    """A record as it is stored; `machine_id` as the sender knows it."""

    arch: str
    build: str
    classification: str
    kernel_version: str
    machine_id: str
    machine_type: str
    payload: str
    record_format_version: int
    severity: int
    ts_capture: str = Field(description="such as `2015-09-30 00:39:35 UTC`")
    ts_reception: str
    system_name: str
    payload_format_version: int
    board_name: str
    bios_version: str
    cpu_model: str
    event_id: str
    external: bool


class TelemetricsRefused(BaseModel):
    """Body of a refusal."""

    message: str
    reason: Reason


def refused(meaning: str, *headers: str) -> Answer:
    """A refusal, described for OpenAPI; `headers` are names."""
    return Answer(meaning, {JSON: TelemetricsRefused}, dict.fromkeys(headers, ""))


_ANSWERS: Final = {
    HTTPStatus.CREATED: Answer("the record is durable", {JSON: TelemetricsStored}),
    HTTPStatus.BAD_REQUEST: refused("`malformed-json` or `invalid-field`: do not send it again"),
    HTTPStatus.REQUEST_TIMEOUT: refused("the body did not arrive completely in time: `too-slow`"),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: refused("the payload is over the limit: `too-large`"),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: refused("the body is compressed: `unsupported-encoding`"),
    HTTPStatus.TOO_MANY_REQUESTS: refused("too many records: `rate-limited`", "Retry-After"),
    HTTPStatus.SERVICE_UNAVAILABLE: refused(
        "nothing can be stored now: `unavailable`", "Retry-After"
    ),
}
_TID: Final = Parameter(
    "X-Telemetry-TID",
    "the value of `COLLECTOR_TELEMETRICS_TID`, which clients have in their configuration",
    {"type": "string"},
    place="header",
)


def operations() -> Iterator[Operation]:
    """`/v2/collector`, and `/` for older clients."""
    for path, name in (("/v2/collector", "telemetrics-record"), ("/", "telemetrics-record-root")):
        yield Operation(
            "post",
            path,
            name,
            "Accept a record, as telemetrics-client sends it",
            REPORTING,
            _ANSWERS,
            parameters=(_TID,),
            bodies=(TelemetricsRecord,),
            variant_of="" if path != "/" else "telemetrics-record",
        )
