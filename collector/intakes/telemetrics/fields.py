"""Fields of a record of telemetrics-client: readers of both forms, and checks. Pure.

The rules are those of telemetrics-backend, so that its clients get the same replies:
https://github.com/clearlinux/telemetrics-backend. It fails on a missing System-Name or
Payload-Format-Version in format 1, where they are optional; here the reply names the field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from collector.problems import Reason, Refusal
from collector.records import Checked

TID: Final = "x_telemetry_tid"
_EXTERNAL: Final = "x_clr_external"
_FORMAT: Final = "record_format_version"
_FIRST: Final = (
    "arch",
    "build",
    "creation_timestamp",
    "classification",
    "host_type",
    "kernel_version",
    "machine_id",
    "severity",
    _FORMAT,
)
_SECOND: Final = (*_FIRST, "payload_format_version", "system_name", TID)
_THIRD: Final = (*_SECOND, "board_name", "bios_version", "cpu_model")
REQUIRED: Final = {"1": _FIRST, "2": _SECOND, "3": _THIRD, "4": (*_THIRD, "event_id")}
"""Names of the required fields by record format version."""
NAMES: Final = frozenset((*REQUIRED["4"], _EXTERNAL))

MOST_PAYLOAD: Final = 300 << 10
"""Largest payload, in bytes."""
LONGEST_CLASSIFICATION: Final = 140
LONGEST_MACHINE_ID: Final = 32
LONGEST_BUILD: Final = 256
_LONGEST_HOST_TYPE: Final = 249
_LONGEST_SHORT: Final = 199
_MOST_FORMAT: Final = 2**31 - 1
_LAST_SECOND: Final = 253_402_300_799
"""The end of the year 9999, in s since 1970."""
ARCHITECTURES: Final = frozenset(
    ["armv7l", "armv6l", "aarch64", "amd64", "sparc64", "ppc64", "i686", "i386", "x86_64", "ppc"]
)
_NOT_SENT: Final = "N/A"
_KERNEL: Final = re.compile(r"[0-9]+\.[0-9]+\..*")
_EVENT: Final = re.compile(r"[0-9a-f]{32}")
_CLEAR_BUILD: Final = re.compile(r"[0-9]+")
_BUILD: Final = re.compile(r"[-_a-zA-Z0-9.]+")


def named(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Known fields by name with underscores, from headers in either spelling; the first wins."""
    found: dict[str, str] = {}
    for name, value in pairs:
        known = name.lower().replace("-", "_")
        if known in NAMES:
            found.setdefault(known, value.strip())
    return found


def from_json(said: Mapping[str, Any], tid: str | None) -> tuple[dict[str, str], bytes] | Refusal:
    """Fields and payload of the JSON form; `tid` is the header, which the object lacks."""
    payload = said.get("payload", "")
    if not isinstance(payload, str):
        return _wrong("payload is not text")
    found = named(
        (name, str(value))
        for name, value in said.items()
        if isinstance(value, str | int) and not isinstance(value, bool)
    )
    if tid is not None:
        found[TID] = tid
    return found, payload.encode("utf-8", "surrogatepass")


def check(fields: Mapping[str, str], payload: bytes, *, tid: str) -> Checked | Refusal:
    """Check a record's fields in the order of telemetrics-backend; the first failure is returned.

    `tid` is the X-Telemetry-TID that a record must have.
    """
    system, build = (unquoted(fields.get(name, "")) for name in ("system_name", "build"))
    wrong = _wrong_fields(fields, tid) or _wrong_build(system, build)
    if wrong is not None:
        return wrong
    if len(payload) > MOST_PAYLOAD:
        return Refusal(Reason.TOO_LARGE, "the payload is over 300 KiB")
    return Checked(
        record_format_version=int(fields[_FORMAT]),
        payload_format_version=int(fields.get("payload_format_version", "1")),
        severity=int(fields["severity"]),
        ts_capture=int(fields["creation_timestamp"]),
        classification=fields["classification"],
        machine_id=fields["machine_id"],
        machine_type=fields["host_type"],
        arch=fields["arch"],
        build=build,
        kernel_version=fields["kernel_version"],
        system_name=system,
        board_name=fields.get("board_name", _NOT_SENT),
        bios_version=fields.get("bios_version", _NOT_SENT),
        cpu_model=fields.get("cpu_model", _NOT_SENT),
        event_id=fields.get("event_id", _NOT_SENT),
        external=fields.get(_EXTERNAL) == "true",
        payload=payload,
    )


def _wrong_fields(fields: Mapping[str, str], tid: str) -> Refusal | None:
    if fields.get(TID) != tid:
        return _wrong("Telemetry ID mismatch")
    version = fields.get(_FORMAT, "")
    if version not in REQUIRED:
        return _wrong("Record-Format-Version is invalid")
    for name in REQUIRED[version]:
        if not fields.get(name):
            return _wrong(f"Record-Format-Version headers are invalid, {_spoken(name)} missing")
    for name, is_right, message in _CHECKS:
        # Checked whenever it is sent, required or not.
        if (value := fields.get(name)) is not None and not is_right(value):
            return _wrong(message)
    return None


def _wrong_build(system: str, build: str) -> Refusal | None:
    if len(build) > LONGEST_BUILD:
        return _wrong("Build version is too long")
    if system == "clear-linux-os":
        if not _CLEAR_BUILD.fullmatch(build):
            return _wrong("Clear Linux OS build version has invalid characters")
    elif not _BUILD.fullmatch(build):
        return _wrong("Build version has invalid characters")
    return None


def is_machine_id(text: str) -> bool:
    """Whether a text has the form of a machine's id."""
    return 0 < len(text) <= LONGEST_MACHINE_ID and text.isprintable()


def is_classification(text: str) -> bool:
    """Whether a text has the form of a classification: three non-empty parts."""
    return (
        len(text) <= LONGEST_CLASSIFICATION
        and text.isprintable()
        and len(text.split("/")) == 3
        and all(text.split("/"))
    )


def is_number(text: str) -> bool:
    """Whether a text is all digits, and few enough for a number of the store."""
    return text.isascii() and text.isdigit() and len(text) <= 18


def is_severity(text: str) -> bool:
    """Whether a text is a severity."""
    return is_number(text) and 1 <= int(text) <= 4


def _is_text(most: int) -> Callable[[str], bool]:
    return lambda text: len(text) <= most and text.isprintable()


def _is_within(most: int) -> Callable[[str], bool]:
    return lambda text: is_number(text) and int(text) <= most


_is_short: Final = _is_text(_LONGEST_SHORT)
_CHECKS: Final[tuple[tuple[str, Callable[[str], bool], str], ...]] = (
    ("severity", is_severity, "severity value is out of range"),
    ("classification", is_classification, "Classification value is invalid"),
    ("machine_id", is_machine_id, "Machine id value is invalid"),
    ("creation_timestamp", _is_within(_LAST_SECOND), "timestamp is invalid"),
    ("arch", ARCHITECTURES.__contains__, "architecture is invalid"),
    ("host_type", _is_text(_LONGEST_HOST_TYPE), "host type is invalid"),
    (
        "kernel_version",
        lambda text: _is_short(text) and _KERNEL.fullmatch(text) is not None,
        "kernel version is invalid",
    ),
    ("board_name", _is_short, "board name is invalid"),
    ("cpu_model", _is_short, "cpu model is invalid"),
    ("bios_version", _is_short, "BIOS version is invalid"),
    ("event_id", lambda text: _EVENT.fullmatch(text.lower()) is not None, "Event id is invalid"),
    ("system_name", _is_short, "system name is invalid"),
    (
        "payload_format_version",
        _is_within(_MOST_FORMAT - 1),
        "Payload format version outside of range supported",
    ),
)


def unquoted(text: str) -> str:
    """A text without quotes, which os-release has around values."""
    return text.replace('"', "").replace("'", "")


def _spoken(name: str) -> str:
    return "-".join(word.capitalize() for word in name.split("_"))


def _wrong(message: str) -> Refusal:
    return Refusal(Reason.INVALID_FIELD, message)
