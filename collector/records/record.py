"""A record of telemetrics-client, and its line in the outbox. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

_NS: Final = 10**9
_ENCODED: Final = "payload_base64"


@dataclass(frozen=True, slots=True)
class Checked:
    """Fields of a record as sent, cleaned and checked. `ts_capture` is in s since 1970."""

    ts_capture: int
    machine_id: str
    machine_type: str
    arch: str
    build: str
    classification: str
    severity: int
    kernel_version: str
    record_format_version: int
    payload_format_version: int
    system_name: str
    board_name: str
    bios_version: str
    cpu_model: str
    event_id: str
    external: bool
    payload: bytes


@dataclass(frozen=True, slots=True)
class Record(Checked):
    """A record to be stored.

    `stamp` is the time of reception in ns since 1970, unique among all collectors of a store, so it
    is the record's key. `owner` is the pseudonym of the machine; `machine_id` is the same, or the
    id as sent if the operator keeps ids.
    """

    stamp: int
    owner: str

    def line(self) -> bytes:
        """The record as one line that ends with its stamp, as every line of the outbox does."""
        fields = asdict(self)
        del fields["stamp"]
        try:
            fields["payload"] = self.payload.decode()
        except UnicodeDecodeError:
            fields[_ENCODED] = base64.b64encode(self.payload).decode()
            del fields["payload"]
        text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
        return b"%s %d" % (text.encode(), self.stamp)


def from_line(line: bytes) -> Record:
    """The record of a line. Raises ValueError for any other line."""
    text, _, stamp = line.rpartition(b" ")
    try:
        fields = json.loads(text)
        if _ENCODED in fields:
            payload = base64.b64decode(fields.pop(_ENCODED), validate=True)
        else:
            payload = fields["payload"].encode()
        fields |= {"stamp": int(stamp), "payload": payload}
        record = Record(**fields)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("the line is no record") from error
    return record


def text_of(payload: bytes) -> str:
    """A payload as text: decoded as UTF-8, or as Latin-1 if it is not UTF-8.

    Lone surrogates, which JSON can express but UTF-8 cannot, are preserved.
    """
    try:
        return payload.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return payload.decode("latin-1")


def spoken(seconds: int) -> str:
    """Format a time in s since 1970 as `2015-09-30 00:39:35 UTC`."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def answer(record: Record, *, number: int | None = None) -> dict[str, Any]:
    """The JSON object of a record for senders and the API; `number` is its id, if it has one."""
    found: dict[str, Any] = {} if number is None else {"id": number}
    return found | {
        "arch": record.arch,
        "build": record.build,
        "classification": record.classification,
        "kernel_version": record.kernel_version,
        "machine_id": record.machine_id,
        "machine_type": record.machine_type,
        "payload": text_of(record.payload),
        "record_format_version": record.record_format_version,
        "severity": record.severity,
        "ts_capture": spoken(record.ts_capture),
        "ts_reception": spoken(record.stamp // _NS),
        "system_name": record.system_name,
        "payload_format_version": record.payload_format_version,
        "board_name": record.board_name,
        "bios_version": record.bios_version,
        "cpu_model": record.cpu_model,
        "event_id": record.event_id,
        "external": record.external,
    }


def from_row(row: Mapping[str, Any]) -> Record:
    """The record of a row of the store."""
    return Record(**{name: row[name] for name in Record.__dataclass_fields__})
