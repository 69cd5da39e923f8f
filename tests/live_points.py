"""Points of the live database, made from the schema: every measurement, tag and field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from collector.schema import MEASUREMENTS, FieldType, Measurement
from collector.schema.live import LIVE, UNCERTAIN

EVERY_S: Final = 10
ASTERISKS: Final = ("office", "call.centre")
VALUES: Final = {
    "state": (
        "Reachable",
        "Unreachable",
        "Registered",
        "Rejected",
        "unreachable",
        "online",
        "in_use",
        "all",
    ),
    "outcome": ("answered", "failed"),
    "kind": (
        "InvalidPassword",
        "InvalidAccountID",
        "FailedACL",
        "RequestBadFormat",
        "SuccessfulAuth",
    ),
    "service": ("PJSIP", "AMI"),
    "agent": ("", "anna"),
    "name": ("channels.calltime", "confBridgeUsers", "queue.support.waiting"),
}
"""Values of a tag that queries ask for by name; every other tag has two made-up ones."""


WRITTEN: Final = {
    FieldType.FLOAT: "{}",
    FieldType.INTEGER: "{}i",
    FieldType.STRING: '"{}"',
}
"""How line protocol writes a number as a value of each type."""


def value(measurement: Measurement, asterisk: str, second: int) -> int:
    """The number that every field of a measurement's points has at a time."""
    return 1 + len(measurement.name) + 100 * ASTERISKS.index(asterisk) + second // EVERY_S % 7


def lines(measurement: Measurement, since: int, until: int, *, unsure: range) -> Iterator[str]:
    """Points at every flush of `since` to `until` (s); gauges may be wrong in `unsure`."""
    combinations: list[dict[str, str]] = [{}]
    for tag in measurement.tags:
        values = ASTERISKS if tag.name == "asterisk" else VALUES.get(tag.name, ("one", "two"))
        combinations = [known | {tag.name: value} for known in combinations for value in values]
    for second in range(since, until, EVERY_S):
        for tags in combinations:
            key = ",".join(f"{name}={text}" for name, text in tags.items() if text)
            number = value(measurement, tags["asterisk"], second)
            fields = ",".join(
                f"{field.name}={WRITTEN[field.type].format(number)}"
                for field in measurement.fields
                if field.name != UNCERTAIN or second in unsure
            )
            if fields:
                yield f"{measurement.name},{key} {fields} {second}000000000"


def live_measurements() -> list[Measurement]:
    """The measurements of the live database."""
    return [each for each in MEASUREMENTS if each.database == LIVE]
